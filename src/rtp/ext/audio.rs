//! How loud a packet is: client to mixer (RFC 6464) and mixer to client (RFC 6465).

use super::whole;
use crate::wire::Malformed;
use crate::wire::writer::Writer;

/// The level of a packet's audio (RFC 6464 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioLevel {
    /// Whether the encoder heard speech; means nothing unless `vad=on` was negotiated.
    pub voice: bool,
    /// Steps of 1 dB below overload: 0 is the loudest, 127 is silence.
    pub below_overload: u8,
}

impl AudioLevel {
    /// Reads the element's data. Bytes behind the first are padding that some senders add.
    pub fn parse(data: &[u8]) -> Result<Self, Malformed> {
        let [byte, ..] = data else { return Err(Malformed("audio level")) };
        Ok(AudioLevel { voice: byte & 0x80 != 0, below_overload: byte & 0x7f })
    }

    /// The element's data.
    pub fn emit(self) -> [u8; 1] {
        [self.below_overload.min(127) | if self.voice { 0x80 } else { 0 }]
    }
}

/// The levels of a mix, one per contributing source in the order of the CSRC list (RFC 6465 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MixerLevels<'a> {
    data: &'a [u8],
}

impl<'a> MixerLevels<'a> {
    /// Reads the element's data: 1 to 15 levels.
    pub fn parse(data: &'a [u8]) -> Result<Self, Malformed> {
        whole(data, "mixer levels", |r| {
            let data = r.rest();
            if (1..=15).contains(&data.len()) { Ok(MixerLevels { data }) } else { Err(r.malformed()) }
        })
    }

    /// Steps of 1 dB below overload, 0 to 127, in the order of the CSRC list.
    pub fn levels(&self) -> impl Iterator<Item = u8> + use<'a> {
        // RFC 6465 §3: the highest bit is reserved and ignored.
        self.data.iter().map(|level| level & 0x7f)
    }

    /// Writes `levels`, of which there should be as many as CSRCs, at most 15.
    pub fn emit(levels: &[u8], w: &mut Writer<'_>) {
        levels.iter().take(15).for_each(|level| w.u8(level & 0x7f));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;

    #[test]
    fn levels_round_trip() {
        for byte in 0..=255 {
            assert_eq!(AudioLevel::parse(&[byte]).unwrap().emit(), [byte]);
        }
        assert!(AudioLevel::parse(&[]).is_err());
        let mut out = BytesMut::new();
        MixerLevels::emit(&[1, 127, 255], &mut Writer::new(&mut out));
        assert_eq!(MixerLevels::parse(&out).unwrap().levels().collect::<Vec<_>>(), [1, 127, 127]);
        assert!(MixerLevels::parse(&[]).is_err());
        assert!(MixerLevels::parse(&[0; 16]).is_err());
    }
}
