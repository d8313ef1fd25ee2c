//! Elements about time: sending, capture, playout, and the number that feedback refers to.

use std::time::Duration;

use super::whole;
use crate::wire::Malformed;

/// When a packet left, in units of 2^-18 s modulo 64 s (abs-send-time).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbsSendTime(
    /// 6 bits of seconds, 18 bits of fraction.
    pub u32,
);

impl AbsSendTime {
    /// The value for a moment, given as time since any fixed point.
    pub fn new(since: Duration) -> Self {
        let fraction = (u64::from(since.subsec_nanos()) << 18) / 1_000_000_000;
        let ticks = (since.as_secs() & 0x3f) << 18 | fraction;
        AbsSendTime(u32::try_from(ticks).unwrap_or(0))
    }

    /// Reads the element's data.
    pub fn parse(data: &[u8]) -> Result<Self, Malformed> {
        whole(data, "abs-send-time", |r| r.u24().map(AbsSendTime))
    }

    /// The element's data.
    pub fn emit(self) -> [u8; 3] {
        low_three(self.0)
    }

    /// Time from `earlier` to this one, less than 64 s.
    pub fn since(self, earlier: AbsSendTime) -> Duration {
        let ticks = u64::from(self.0.wrapping_sub(earlier.0) & 0x00ff_ffff);
        Duration::from_nanos((ticks * 1_000_000_000) >> 18)
    }
}

/// The number of a packet among all of its transport (transport-wide-cc-extensions-01 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransportSequence {
    /// The number, one higher for each packet of any stream.
    pub number: u16,
    /// Version 2 of the extension: feedback is asked for.
    pub request: Option<FeedbackRequest>,
}

/// Asks for transport-wide feedback now (version 2 of the extension).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedbackRequest {
    /// Whether receive times are wanted.
    pub timing: bool,
    /// How many packets, this one included, the feedback shall cover; 0 to 32,767.
    pub packets: u16,
}

impl TransportSequence {
    /// Reads the element's data: 2 bytes, or 4 with a request.
    pub fn parse(data: &[u8]) -> Result<Self, Malformed> {
        whole(data, "transport sequence number", |r| {
            let number = r.u16()?;
            let request = match r.is_empty() {
                true => None,
                false => {
                    let word = r.u16()?;
                    let request = FeedbackRequest { timing: word & 0x8000 != 0, packets: word & 0x7fff };
                    // A count of 0 asks for nothing.
                    (request.packets > 0).then_some(request)
                }
            };
            Ok(TransportSequence { number, request })
        })
    }

    /// The element's data without a request: what senders put on every packet.
    pub fn emit(number: u16) -> [u8; 2] {
        number.to_be_bytes()
    }

    /// The element's data with a request (version 2).
    pub fn emit_request(number: u16, request: FeedbackRequest) -> [u8; 4] {
        let [a, b] = number.to_be_bytes();
        let timing = if request.timing { 0x8000 } else { 0 };
        let [c, d] = (request.packets & 0x7fff | timing).to_be_bytes();
        [a, b, c, d]
    }
}

/// Bounds of the time between capture and display (playout-delay), in units of 10 ms up to 40.95 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlayoutDelay {
    /// The least delay, in units of 10 ms, 0 to 4095.
    pub min: u16,
    /// The largest delay, in units of 10 ms, 0 to 4095.
    pub max: u16,
}

impl PlayoutDelay {
    /// Reads the element's data; refused when the least exceeds the largest.
    pub fn parse(data: &[u8]) -> Result<Self, Malformed> {
        whole(data, "playout delay", |r| {
            let [a, b, c] = r.array()?;
            let delay = PlayoutDelay {
                min: u16::from(a) << 4 | u16::from(b >> 4),
                max: u16::from(b & 0x0f) << 8 | u16::from(c),
            };
            if delay.min <= delay.max { Ok(delay) } else { Err(r.malformed()) }
        })
    }

    /// The element's data.
    pub fn emit(self) -> [u8; 3] {
        low_three(u32::from(self.min.min(0xfff)) << 12 | u32::from(self.max.min(0xfff)))
    }
}

/// When the first frame of a packet was captured, on the capturer's clock (abs-capture-time).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbsCaptureTime {
    /// NTP time: 32 bits of seconds since 1900, 32 bits of fraction.
    pub captured: u64,
    /// The sender's estimate of the capturer's clock minus its own, in units of 2^-32 s.
    pub clock_offset: Option<i64>,
}

impl AbsCaptureTime {
    /// Reads the element's data: 8 or 16 bytes.
    pub fn parse(data: &[u8]) -> Result<Self, Malformed> {
        whole(data, "abs-capture-time", |r| {
            let captured = r.u64()?;
            let clock_offset = if r.is_empty() { None } else { Some(r.u64()?.cast_signed()) };
            Ok(AbsCaptureTime { captured, clock_offset })
        })
    }

    /// The element's data: an array and how many bytes of it count.
    pub fn emit(self) -> ([u8; 16], usize) {
        let offset = self.clock_offset.unwrap_or(0).cast_unsigned();
        let both = u128::from(self.captured) << 64 | u128::from(offset);
        (both.to_be_bytes(), if self.clock_offset.is_some() { 16 } else { 8 })
    }
}

/// Time between a packet's time stamp and its sending, in units of its clock rate (RFC 5450 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransmissionOffset(
    /// 24 bits, signed.
    pub i32,
);

impl TransmissionOffset {
    /// Reads the element's data.
    pub fn parse(data: &[u8]) -> Result<Self, Malformed> {
        // The sign is the 24th bit.
        whole(data, "transmission offset", |r| {
            r.u24().map(|v| TransmissionOffset((v << 8).cast_signed() >> 8))
        })
    }

    /// The element's data.
    pub fn emit(self) -> [u8; 3] {
        low_three(self.0.cast_unsigned())
    }
}

fn low_three(value: u32) -> [u8; 3] {
    let [_, a, b, c] = value.to_be_bytes();
    [a, b, c]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn send_times_are_fixed_point_seconds() {
        assert_eq!(AbsSendTime::new(Duration::from_millis(65_500)), AbsSendTime(0x06_0000));
        let (a, b) = (AbsSendTime(0x00ff_ffff), AbsSendTime(0x0003_ffff));
        assert_eq!(b.since(a), Duration::from_secs(1));
    }

    proptest! {
        #[test]
        fn values_round_trip(a: u16, b: u16, c: u64, d: i64, e in -(1i32 << 23)..1 << 23, t in 0u32..1 << 24) {
            prop_assert_eq!(AbsSendTime::parse(&AbsSendTime(t).emit()), Ok(AbsSendTime(t)));
            prop_assert_eq!(TransmissionOffset::parse(&TransmissionOffset(e).emit()), Ok(TransmissionOffset(e)));
            let (min, max) = ((a & 0xfff).min(b & 0xfff), (a & 0xfff).max(b & 0xfff));
            let delay = PlayoutDelay { min, max };
            prop_assert_eq!(PlayoutDelay::parse(&delay.emit()), Ok(delay));
            for clock_offset in [None, Some(d)] {
                let time = AbsCaptureTime { captured: c, clock_offset };
                let (bytes, len) = time.emit();
                prop_assert_eq!(AbsCaptureTime::parse(&bytes[..len]), Ok(time));
            }
            let plain = TransportSequence { number: a, request: None };
            prop_assert_eq!(TransportSequence::parse(&TransportSequence::emit(a)), Ok(plain));
            let request = FeedbackRequest { timing: d > 0, packets: b & 0x7fff | 1 };
            let asked = TransportSequence { number: a, request: Some(request) };
            prop_assert_eq!(TransportSequence::parse(&TransportSequence::emit_request(a, request)), Ok(asked));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            let _ = AbsSendTime::parse(&bytes);
            let _ = TransportSequence::parse(&bytes);
            let _ = AbsCaptureTime::parse(&bytes);
            if let Ok(delay) = PlayoutDelay::parse(&bytes) {
                prop_assert_eq!(&delay.emit()[..], &bytes[..]);
            }
            if let Ok(offset) = TransmissionOffset::parse(&bytes) {
                prop_assert_eq!(&offset.emit()[..], &bytes[..]);
            }
        }
    }
}
