//! ChannelData: four bytes in front of a packet (RFC 8656 §12.4).

use crate::wire::reader::Reader;

/// Bytes in front of the data.
pub const HEADER_LEN: usize = 4;

/// A channel: 0x4000 to 0x4fff (RFC 8656 §12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChannelNumber(u16);

impl ChannelNumber {
    /// The first one.
    pub const FIRST: u16 = 0x4000;
    /// The last one.
    pub const LAST: u16 = 0x4fff;

    /// The channel `number`; `None` outside the range.
    pub fn new(number: u16) -> Option<Self> {
        (Self::FIRST..=Self::LAST).contains(&number).then_some(ChannelNumber(number))
    }

    /// The `index`th channel, from 0 to 4095.
    pub fn from_index(index: usize) -> Option<Self> {
        Self::new(u16::try_from(index).ok()?.checked_add(Self::FIRST)?)
    }

    /// The number on the wire.
    pub fn number(self) -> u16 {
        self.0
    }

    /// How many channels are before it.
    pub fn index(self) -> usize {
        usize::from(self.0 - Self::FIRST)
    }
}

/// Whether a packet can be nothing but ChannelData on a path to a TURN server (RFC 8656 §12, table 3).
pub fn is_channel_data(packet: &[u8]) -> bool {
    packet.len() >= HEADER_LEN && packet[0] >> 4 == 4
}

/// The channel and the number of data bytes behind the header. Bytes behind the data are padding, also over UDP
/// (RFC 8656 §12.5); missing ones make it no message (§12.6).
pub fn parse(packet: &[u8]) -> Option<(ChannelNumber, usize)> {
    let mut r = Reader::new(packet, "ChannelData");
    let channel = ChannelNumber::new(r.u16().ok()?)?;
    let length = usize::from(r.u16().ok()?);
    (length <= r.remaining()).then_some((channel, length))
}

/// The header for `length` bytes of data; `None` when they are too many.
pub fn header(channel: ChannelNumber, length: usize) -> Option<[u8; HEADER_LEN]> {
    let [a, b] = channel.0.to_be_bytes();
    let [c, d] = u16::try_from(length).ok()?.to_be_bytes();
    Some([a, b, c, d])
}

/// Bytes to append to `length` bytes of data on a stream (RFC 8656 §12.5).
pub fn padding(length: usize) -> usize {
    length.next_multiple_of(4) - length
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn channel_numbers_end_where_other_protocols_begin() {
        // RFC 8656 §12, table 2.
        for (number, valid) in [(0x3fff, false), (0x4000, true), (0x4fff, true), (0x5000, false)] {
            assert_eq!(ChannelNumber::new(number).is_some(), valid);
        }
        assert_eq!(ChannelNumber::from_index(4095).map(ChannelNumber::number), Some(0x4fff));
        assert_eq!(ChannelNumber::from_index(4096), None);
    }

    #[test]
    fn a_datagram_shorter_than_it_claims_is_nothing_and_a_longer_one_is_padded() {
        // RFC 8656 §12.5, §12.6.
        let whole = b"\x40\x07\x00\x03abc\0";
        assert_eq!(parse(whole), Some((ChannelNumber(0x4007), 3)));
        (0..7).for_each(|cut| assert_eq!(parse(&whole[..cut]), None));
    }

    proptest! {
        #[test]
        fn a_header_is_read_as_it_was_written(index in 0usize..4096, data in prop::collection::vec(any::<u8>(), 0..100)) {
            let channel = ChannelNumber::from_index(index).unwrap();
            let mut packet = header(channel, data.len()).unwrap().to_vec();
            packet.extend_from_slice(&data);
            prop_assert!(is_channel_data(&packet));
            prop_assert_eq!(parse(&packet), Some((channel, data.len())));
            prop_assert_eq!(channel.index(), index);
        }
    }
}
