//! Audio payloads that mean something to a packet's carrier: Opus durations, comfort noise, telephone events.

use std::time::Duration;

use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// How much sound an Opus packet holds, at most 120 ms (RFC 6716 §3.1, §3.2).
pub fn opus_duration(payload: &[u8]) -> Result<Duration, Malformed> {
    let mut r = Reader::new(payload, "Opus packet");
    let head = r.u8()?;
    let config = head >> 3;
    // RFC 6716 table 2: SILK of 10 to 60 ms, hybrid of 10 and 20 ms, CELT of 2.5 to 20 ms.
    let micros = match (config, config & 0x03) {
        (0..12, 3) => 60_000,
        (0..12, step) => 10_000 << step,
        (12..16, _) => 10_000 << (config & 0x01),
        (_, step) => 2_500 << step,
    };
    let frames = match head & 0x03 {
        0 => 1,
        1 | 2 => 2,
        _ => u64::from(r.u8()? & 0x3f),
    };
    // RFC 6716 §3.2.5: at least one frame, at most 120 ms.
    let total = Duration::from_micros(frames * micros);
    if total.is_zero() || total > Duration::from_millis(120) {
        return Err(r.malformed());
    }
    Ok(total)
}

/// Whether an Opus packet asks a stereo decoder (RFC 6716 §3.1).
pub fn opus_is_stereo(payload: &[u8]) -> bool {
    payload.first().is_some_and(|head| head & 0x04 != 0)
}

/// How loud comfort noise is and how it sounds (RFC 3389 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComfortNoise<'a> {
    /// Steps of 1 dB below overload, 0 to 127.
    pub below_overload: u8,
    /// Quantised reflection coefficients; none for white noise.
    pub spectrum: &'a [u8],
}

impl<'a> ComfortNoise<'a> {
    /// Reads a payload.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload, "comfort noise");
        let below_overload = r.u8()? & 0x7f;
        Ok(ComfortNoise { below_overload, spectrum: r.rest() })
    }

    /// Writes the payload.
    pub fn emit(&self, w: &mut Writer<'_>) {
        w.u8(self.below_overload & 0x7f);
        w.slice(self.spectrum);
    }
}

/// A telephone event in progress (RFC 4733 §2.3): a key being pressed, for instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// Which event: 0 to 9 are digits, 10 is `*`, 11 is `#`, 12 to 15 are A to D.
    pub event: u8,
    /// Whether the event ended.
    pub end: bool,
    /// Power, in steps of 1 dB below 1 mW, 0 to 63.
    pub volume: u8,
    /// How long the event has lasted, in units of media time, from the packet's time stamp on.
    pub duration: u16,
}

impl TelephoneEvent {
    /// Reads a payload. Events behind the first are of RFC 2833's making, and ignored.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload, "telephone event");
        let [event, flags] = r.array()?;
        let duration = r.u16()?;
        Ok(TelephoneEvent { event, end: flags & 0x80 != 0, volume: flags & 0x3f, duration })
    }

    /// The payload.
    pub fn emit(&self) -> [u8; 4] {
        let [a, b] = self.duration.to_be_bytes();
        [self.event, if self.end { 0x80 } else { 0 } | self.volume & 0x3f, a, b]
    }

    /// The event of a key of a telephone: 0-9, `*`, `#`, A-D (RFC 4733 §3.2).
    pub fn code(key: char) -> Option<u8> {
        "0123456789*#ABCD"
            .chars()
            .position(|c| c == key.to_ascii_uppercase())
            .and_then(|at| u8::try_from(at).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;

    #[test]
    #[allow(clippy::unusual_byte_groupings, reason = "the digits are grouped as the fields are")]
    fn opus_packets_tell_their_duration() {
        // RFC 6716 table 2 and §3.2: configuration in five bits, stereo, count code in two.
        let micros = |payload: &[u8]| opus_duration(payload).map(|d| d.as_micros());
        assert_eq!(micros(&[0b01111_0_00]), Ok(20_000));
        assert_eq!(micros(&[0b00011_0_01]), Ok(120_000));
        assert_eq!(micros(&[0b11100_1_00]), Ok(2_500));
        assert_eq!(micros(&[0b11111_1_11, 6]), Ok(120_000));
        assert!(micros(&[0b11111_1_11, 7]).is_err());
        assert!(micros(&[0b11111_1_11, 0]).is_err());
        assert!(micros(&[0b11111_1_11]).is_err() && micros(&[]).is_err());
        assert!(opus_is_stereo(&[0b11111_1_00]) && !opus_is_stereo(&[]));
    }

    #[test]
    fn events_and_noise_round_trip() {
        let event = TelephoneEvent { event: 11, end: true, volume: 10, duration: 800 };
        assert_eq!(TelephoneEvent::parse(&event.emit()), Ok(event));
        assert!(TelephoneEvent::parse(&[1, 2, 3]).is_err());
        assert_eq!(
            (TelephoneEvent::code('#'), TelephoneEvent::code('d'), TelephoneEvent::code('e')),
            (Some(11), Some(15), None)
        );
        let noise = ComfortNoise { below_overload: 60, spectrum: &[1, 2] };
        let mut out = BytesMut::new();
        noise.emit(&mut Writer::new(&mut out));
        assert_eq!(ComfortNoise::parse(&out), Ok(noise));
        assert!(ComfortNoise::parse(&[]).is_err());
    }
}
