//! Packets out of a byte stream: RFC 4571 between ICE agents, RFC 8489 §6.2.2 towards a TURN server.
//!
//! ```text
//! RFC 4571:  | length (2) | packet                     |     length 0: nothing, skipped
//! STUN:      | 00 type    | length (2) | 16 + length    |     a message, its length a multiple of four
//! ChannelData| 01 channel | length (2) | length, padded |     RFC 8656 §12.5: to a multiple of four
//! ```

use bytes::{Buf as _, BytesMut};

use super::Malformed;
use super::reader::Reader;

/// How packets lie in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// A two-byte length before each packet (RFC 4571 §2).
    LengthPrefixed,
    /// STUN messages and ChannelData, which tell their own length (RFC 8489 §6.2.2, RFC 8656 §12.5).
    Stun,
}

/// Cuts a stream into packets.
///
/// Push what arrived, then take packets until there is none. What is kept in between is less than one packet.
/// After an error the stream is lost: nothing says where the next packet starts.
#[derive(Debug)]
pub struct Deframer {
    framing: Framing,
    /// The longest packet, header and padding included.
    limit: usize,
    buffer: BytesMut,
    broken: bool,
}

/// Where the next packet lies.
struct Frame {
    /// Bytes before the packet.
    head: usize,
    /// Bytes of the packet.
    packet: usize,
    /// Bytes behind it.
    padding: usize,
}

/// The longest packet that any framing can hold: ChannelData of 65,535 bytes, its header and its padding.
pub const MAX_FRAME: usize = 4 + 65_536;

impl Deframer {
    /// A stream whose packets have at most `limit` bytes, header and padding included; longer ones break it.
    pub fn new(framing: Framing, limit: usize) -> Self {
        Deframer { framing, limit: limit.min(MAX_FRAME), buffer: BytesMut::new(), broken: false }
    }

    /// Takes what arrived. Bytes of a broken stream are dropped.
    pub fn push(&mut self, bytes: BytesMut) {
        if self.broken {
            return;
        }
        if self.buffer.is_empty() {
            self.buffer = bytes;
        } else {
            self.buffer.extend_from_slice(&bytes);
        }
    }

    /// The next whole packet: without its length under [`Framing::LengthPrefixed`], with its header and without
    /// padding under [`Framing::Stun`].
    pub fn next_packet(&mut self) -> Result<Option<BytesMut>, Malformed> {
        loop {
            let frame = match self.frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    self.keep_little();
                    return Ok(None);
                }
                Err(malformed) => {
                    self.broken = true;
                    self.buffer = BytesMut::new();
                    return Err(malformed);
                }
            };
            self.buffer.advance(frame.head);
            let packet = self.buffer.split_to(frame.packet);
            self.buffer.advance(frame.padding);
            // RFC 4571 §2: an empty packet is allowed and means nothing.
            if !packet.is_empty() {
                return Ok(Some(packet));
            }
        }
    }

    /// Bytes of an unfinished packet.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// Whether the stream can yield no more packets.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// The next packet if all of it is there.
    fn frame(&self) -> Result<Option<Frame>, Malformed> {
        if self.broken {
            return Err(Malformed("framed stream"));
        }
        let mut r = Reader::new(&self.buffer, "framed stream");
        let frame = match self.framing {
            Framing::LengthPrefixed => {
                let Ok(length) = r.u16() else { return Ok(None) };
                Frame { head: 2, packet: usize::from(length), padding: 0 }
            }
            Framing::Stun => {
                let (Ok(kind), Ok(length)) = (r.u16(), r.u16()) else { return Ok(None) };
                let length = usize::from(length);
                match kind >> 12 {
                    // RFC 8489 §5: two zero bits, and a length that is a multiple of four.
                    0..4 if length % 4 == 0 => Frame { head: 0, packet: 20 + length, padding: 0 },
                    // RFC 8656 §12: channel numbers are 0x4000 to 0x4fff.
                    4 => Frame { head: 0, packet: 4 + length, padding: length.next_multiple_of(4) - length },
                    _ => return Err(r.malformed()),
                }
            }
        };
        let whole = frame.head + frame.packet + frame.padding;
        match () {
            () if whole > self.limit => Err(r.malformed()),
            () if whole > self.buffer.len() => Ok(None),
            () => Ok(Some(frame)),
        }
    }

    /// What waits for its rest must not pin the slab that it came in.
    fn keep_little(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        } else if self.buffer.capacity() > 2 * self.buffer.len().max(1024) {
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drain(deframer: &mut Deframer) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| deframer.next_packet().unwrap()).map(|packet| packet.to_vec()).collect()
    }

    #[test]
    fn frames_of_length_zero_are_skipped_and_the_longest_fits() {
        // RFC 4571 §2.
        let mut deframer = Deframer::new(Framing::LengthPrefixed, MAX_FRAME);
        let mut stream = BytesMut::zeroed(2 * 1000);
        stream.extend_from_slice(&[0xff, 0xff]);
        stream.extend_from_slice(&[7; 65_535]);
        deframer.push(stream);
        let packets = drain(&mut deframer);
        assert_eq!((packets.len(), packets[0].len(), deframer.pending()), (1, 65_535, 0));
    }

    #[test]
    fn channel_data_loses_its_padding_on_a_stream() {
        // RFC 8656 §12.5.
        let mut deframer = Deframer::new(Framing::Stun, MAX_FRAME);
        deframer.push(BytesMut::from(&b"\x40\x00\x00\x01a\0\0\0\x40\x01\x00\x00\x4f\xff\x00\x04abcd"[..]));
        assert_eq!(drain(&mut deframer), [&b"\x40\x00\x00\x01a"[..], b"\x40\x01\0\0", b"\x4f\xff\0\x04abcd"]);
    }

    #[test]
    fn what_is_no_frame_or_too_long_breaks_the_stream_for_good() {
        for bytes in [&b"\x50\x00\x00\x00"[..], b"\x00\x01\x00\x01", b"GET / HTTP/1.1", b"\x40\x00\xff\xff"] {
            let mut deframer = Deframer::new(Framing::Stun, 2000);
            deframer.push(BytesMut::from(bytes));
            assert!(deframer.next_packet().is_err());
            deframer.push(BytesMut::from(&b"\x40\x00\x00\x00"[..]));
            assert!(deframer.next_packet().is_err() && deframer.is_broken() && deframer.pending() == 0);
        }
    }

    #[test]
    fn a_claimed_length_costs_nothing_until_its_bytes_come() {
        let mut deframer = Deframer::new(Framing::LengthPrefixed, MAX_FRAME);
        deframer.push(BytesMut::from(&[0xff, 0xff, 1][..]));
        assert_eq!(deframer.next_packet(), Ok(None));
        assert!(deframer.buffer.capacity() < 4096);
    }

    proptest! {
        #[test]
        fn packets_come_out_however_the_stream_is_cut(
            packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..20),
            cut in 1usize..50,
        ) {
            let mut stream = Vec::new();
            for packet in &packets {
                stream.extend_from_slice(&u16::try_from(packet.len()).unwrap().to_be_bytes());
                stream.extend_from_slice(packet);
            }
            let mut deframer = Deframer::new(Framing::LengthPrefixed, MAX_FRAME);
            let mut found = Vec::new();
            for piece in stream.chunks(cut) {
                deframer.push(BytesMut::from(piece));
                found.extend(drain(&mut deframer));
            }
            prop_assert_eq!(found, packets);
        }

        #[test]
        fn any_bytes_end_in_packets_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            for framing in [Framing::LengthPrefixed, Framing::Stun] {
                let mut deframer = Deframer::new(framing, 100);
                deframer.push(BytesMut::from(&bytes[..]));
                while let Ok(Some(_)) = deframer.next_packet() {}
                prop_assert!(deframer.pending() <= 102);
            }
        }
    }
}
