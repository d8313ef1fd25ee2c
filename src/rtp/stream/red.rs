//! Redundant audio (RFC 2198): a packet carries its own payload and some of those before it.
//!
//! ```text
//!  F=1 | type (7) | time offset (14) | length (10)     for each redundant block, the oldest first
//!  F=0 | type (7)                                      for the primary, whose length is what is left
//!  redundant payloads in the same order, primary payload
//! ```

use std::collections::VecDeque;

use bytes::{Buf as _, BytesMut};

use crate::rtp::header::{Header, Packet, Rewrite};
use crate::types::ids::Pt;
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::serial::Serial32;
use crate::wire::writer::Writer;

/// The largest time offset, in units of media time, plus one.
const OFFSETS: u32 = 1 << 14;
/// The largest redundant block, in bytes, plus one.
const LENGTHS: usize = 1 << 10;
/// Redundant blocks in one packet at most, in either direction.
pub const MAX_REDUNDANT: usize = 8;

/// A payload of an earlier packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redundant<'a> {
    /// Its payload type.
    pub payload_type: Pt,
    /// How much older than the packet it is, in units of media time, below 2^14.
    pub offset: u16,
    /// How many packets back it was sent first, 1 for the one before: redundancy goes back without a break.
    pub distance: u8,
    /// The payload.
    pub payload: &'a [u8],
}

/// A redundant payload, validated once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Red<'a> {
    headers: &'a [u8],
    payloads: &'a [u8],
    /// The payload type of the primary.
    pub payload_type: Pt,
    /// The primary payload.
    pub primary: &'a [u8],
}

/// The head of a redundant block: type, offset, length. `None` for the primary's, which has one byte.
type Head = Option<(u16, usize)>;

/// Reads a block's head.
fn read_head(r: &mut Reader<'_>) -> Result<(Pt, Head), Malformed> {
    let first = r.u8()?;
    let payload_type = Pt::new(first & 0x7f).ok_or(r.malformed())?;
    if first & 0x80 == 0 {
        return Ok((payload_type, None));
    }
    let word = r.u24()?;
    let offset = u16::try_from(word >> 10).map_err(|_| r.malformed())?;
    let len = usize::try_from(word & 0x03ff).map_err(|_| r.malformed())?;
    Ok((payload_type, Some((offset, len))))
}

impl<'a> Red<'a> {
    /// Reads a payload. More than eight redundant blocks are malformed: nobody sends them.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload, "RED payload");
        let (mut headers_len, mut redundant_len) = (0, 0);
        let payload_type = loop {
            match read_head(&mut r)? {
                (payload_type, None) => break payload_type,
                (_, Some((_, len))) => {
                    headers_len += 4;
                    redundant_len += len;
                }
            }
        };
        if headers_len > 4 * MAX_REDUNDANT {
            return Err(r.malformed());
        }
        let headers = payload.get(..headers_len).unwrap_or_default();
        let payloads = r.take(redundant_len)?;
        Ok(Red { headers, payloads, payload_type, primary: r.rest() })
    }

    /// The redundant payloads, the oldest first; empty ones stand for packets that had none to repeat.
    pub fn redundant(&self) -> impl Iterator<Item = Redundant<'a>> + use<'a> {
        let mut heads = Reader::new(self.headers, "RED payload");
        let mut payloads = Reader::new(self.payloads, "RED payload");
        std::iter::from_fn(move || {
            let distance = u8::try_from(heads.remaining() / 4).ok()?;
            let (payload_type, head) = read_head(&mut heads).ok()?;
            let (offset, len) = head?;
            Some(Redundant { payload_type, offset, distance, payload: payloads.take(len).ok()? })
        })
    }
}

/// Turns a packet with a redundant payload into the one that its primary is. The payload stays where it is; the
/// header moves up to it. Padding stays, too.
pub fn strip(packet: &mut BytesMut) -> Result<Header, Malformed> {
    let parsed = Packet::parse(packet)?;
    let red = Red::parse(parsed.payload())?;
    let payload_type = red.payload_type;
    let header_len = parsed.header().len();
    let skipped = parsed.payload().len() - red.primary.len();
    packet.copy_within(..header_len, skipped);
    packet.advance(skipped);
    Rewrite { payload_type: Some(payload_type), ..Rewrite::default() }.apply(packet);
    Header::parse(packet)
}

/// Appends to `out` the packet that `block` was in, `carrier` being the clear packet that repeats it: the same
/// header, older. The marker is unknown, and left out.
pub fn restore(out: &mut BytesMut, carrier: &Packet<'_>, block: &Redundant<'_>) {
    let header = carrier.header();
    let start = out.len();
    out.extend_from_slice(carrier.bytes().get(..header.len()).unwrap_or_default());
    out.extend_from_slice(block.payload);
    if let Some(packet) = out.get_mut(start..) {
        if let Some(first) = packet.first_mut() {
            // The padding stays with the carrier.
            *first &= !0x20;
        }
        let older = Rewrite {
            payload_type: Some(block.payload_type),
            sequence: Some(header.sequence.add(u16::from(block.distance).wrapping_neg())),
            timestamp: Some(header.timestamp.add(u32::from(block.offset).wrapping_neg())),
            marker: Some(false),
            ..Rewrite::default()
        };
        older.apply(packet);
    }
}

/// Makes redundant payloads of a stream.
#[derive(Debug)]
pub struct RedWriter {
    distance: usize,
    /// The last payloads, the oldest first.
    held: VecDeque<Held>,
}

#[derive(Debug)]
struct Held {
    payload_type: Pt,
    timestamp: Serial32,
    /// Reused: in steady state nothing is allocated.
    payload: Vec<u8>,
}

impl RedWriter {
    /// Repeats the last `distance` payloads, at most eight. At 50 packets each second one repairs most losses.
    pub fn new(distance: u8) -> Self {
        RedWriter { distance: usize::from(distance).min(MAX_REDUNDANT), held: VecDeque::new() }
    }

    /// Appends the redundant payload for the next packet of the stream to `out`, in at most `room` bytes: what
    /// does not fit is left out, and all that is older, so that the distance of each can be told. False, and
    /// nothing appended, when not even `payload` fits.
    pub fn emit(
        &mut self,
        out: &mut BytesMut,
        room: usize,
        payload_type: Pt,
        timestamp: Serial32,
        payload: &[u8],
    ) -> bool {
        let Some(mut left) = room.checked_sub(1 + payload.len()) else { return false };
        let fitting = self.held.iter().rev().take_while(|held| {
            let age = held.timestamp.distance_to(timestamp);
            let cost = 4 + held.payload.len();
            let fits = u32::try_from(age).is_ok_and(|age| age < OFFSETS) && held.payload.len() < LENGTHS;
            fits && left.checked_sub(cost).map(|rest| left = rest).is_some()
        });
        let count = fitting.count();
        let repeated = self.held.len() - count;
        let mut w = Writer::new(out);
        for held in self.held.iter().skip(repeated) {
            let age = u32::try_from(held.timestamp.distance_to(timestamp)).unwrap_or(0);
            let len = u32::try_from(held.payload.len()).unwrap_or(0);
            w.u8(0x80 | held.payload_type.value());
            w.u24(age << 10 | len);
        }
        w.u8(payload_type.value());
        self.held.iter().skip(repeated).for_each(|held| w.slice(&held.payload));
        w.slice(payload);
        self.hold(payload_type, timestamp, payload);
        true
    }

    fn hold(&mut self, payload_type: Pt, timestamp: Serial32, payload: &[u8]) {
        if self.distance == 0 {
            return;
        }
        let mut memory = if self.held.len() < self.distance {
            Vec::new()
        } else {
            self.held.pop_front().map_or_else(Vec::new, |held| held.payload)
        };
        memory.clear();
        // What is too long is never repeated: its place says that the distance ends here.
        memory.extend_from_slice(payload.get(..payload.len().min(LENGTHS)).unwrap_or_default());
        self.held.push_back(Held { payload_type, timestamp, payload: memory });
    }

    /// The stream has a gap: nothing before it is repeated.
    pub fn reset(&mut self) {
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::elements::Form;
    use crate::rtp::header::{Fields, pad};
    use crate::types::ids::Ssrc;
    use crate::wire::serial::Serial16;
    use proptest::prelude::*;

    fn opus() -> Pt {
        Pt::new(111).unwrap()
    }

    fn carrier(sequence: u16, timestamp: u32, payload: &[u8], padding: u8) -> BytesMut {
        let mut out = BytesMut::new();
        let fields = Fields {
            marker: true,
            payload_type: Pt::new(63).unwrap(),
            sequence: Serial16(sequence),
            timestamp: Serial32(timestamp),
            ssrc: Ssrc(1),
        };
        fields.emit(&mut out, &[], Form::OneByte, |w| assert!(w.push(3, b"0")));
        out.extend_from_slice(payload);
        pad(&mut out, 0, padding);
        out
    }

    fn redundant(writer: &mut RedWriter, timestamp: u32, payload: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        assert!(writer.emit(&mut out, 1200, opus(), Serial32(timestamp), payload));
        out
    }

    #[test]
    fn the_example_of_the_rfc_is_read() {
        // RFC 2198 §5: a redundant block of type 7, then the primary of type 5.
        let mut payload = vec![0x80 | 7, 0, 0, 0, 5];
        let word = (160u32 << 10 | 14).to_be_bytes();
        payload[1..4].copy_from_slice(&word[1..]);
        payload.extend([1; 14]);
        payload.extend([2; 20]);
        let red = Red::parse(&payload).unwrap();
        assert_eq!((red.payload_type.value(), red.primary), (5, &[2; 20][..]));
        let block = red.redundant().next().unwrap();
        assert_eq!((block.payload_type.value(), block.offset, block.distance), (7, 160, 1));
        assert_eq!((block.payload, red.redundant().count()), (&[1; 14][..], 1));
        for len in 0..19 {
            assert!(Red::parse(&payload[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn too_many_blocks_are_malformed() {
        let with = |count: usize| {
            let mut payload = [0x80, 0, 0, 0].repeat(count);
            payload.push(0);
            Red::parse(&payload).map(|red| red.redundant().count())
        };
        assert_eq!(with(MAX_REDUNDANT), Ok(MAX_REDUNDANT));
        assert!(with(MAX_REDUNDANT + 1).is_err() && with(300).is_err());
    }

    #[test]
    fn what_is_too_long_too_old_or_does_not_fit_is_not_repeated() {
        let mut writer = RedWriter::new(2);
        let count = |payload: &[u8]| Red::parse(payload).unwrap().redundant().count();
        assert_eq!(count(&redundant(&mut writer, 0, b"a")), 0);
        assert_eq!(count(&redundant(&mut writer, 960, b"b")), 1);
        assert_eq!(count(&redundant(&mut writer, 1920, &[0; 1024])), 2);
        assert_eq!(count(&redundant(&mut writer, 2880, b"d")), 0);
        assert_eq!(count(&redundant(&mut writer, 2880 + 16_384, b"e")), 0);
        let mut out = BytesMut::new();
        assert!(writer.emit(&mut out, 4, opus(), Serial32(20_000), b"fff") && count(&out) == 0);
        assert!(!writer.emit(&mut out, 3, opus(), Serial32(20_960), b"fff") && out.len() == 4);
        writer.reset();
        assert_eq!(count(&redundant(&mut writer, 21_920, b"g")), 0);
    }

    proptest! {
        #[test]
        fn each_packet_comes_back_from_those_behind_it(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 3..20),
            distance in 1u8..4,
            padding: u8,
        ) {
            let mut writer = RedWriter::new(distance);
            for (n, payload) in (0u16..).zip(&payloads) {
                let timestamp = u32::from(n) * 960;
                let red = redundant(&mut writer, timestamp, payload);
                let mut packet = carrier(n, timestamp, &red, padding);
                for block in Red::parse(&red).unwrap().redundant() {
                    let mut out = BytesMut::new();
                    restore(&mut out, &Packet::parse(&packet).unwrap(), &block);
                    let restored = Packet::parse(&out).unwrap();
                    let header = restored.header();
                    prop_assert_eq!(header.timestamp.0, u32::from(header.sequence.0) * 960);
                    prop_assert_eq!(restored.payload(), &payloads[usize::from(header.sequence.0)][..]);
                    prop_assert_eq!((header.payload_type, header.marker), (opus(), false));
                }
                strip(&mut packet).unwrap();
                let stripped = Packet::parse(&packet).unwrap();
                prop_assert_eq!(stripped.payload(), &payload[..]);
                prop_assert_eq!((stripped.header().payload_type, stripped.header().marker), (opus(), true));
                prop_assert_eq!(stripped.padding(), usize::from(padding));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(payload in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(red) = Red::parse(&payload) {
                let redundant: usize = red.redundant().map(|block| block.payload.len() + 4).sum();
                prop_assert_eq!(redundant + 1 + red.primary.len(), payload.len());
            }
            let mut packet = carrier(1, 1, &payload, 0);
            prop_assert_eq!(strip(&mut packet).is_ok(), Red::parse(&payload).is_ok());
        }
    }
}
