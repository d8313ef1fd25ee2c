//! The RTP header (RFC 3550 §5.1): read once into a small value, rewritten in place, emitted.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |V=2|P|X|  CC   |M|     PT      |       sequence number         |
//! |                           timestamp                           |
//! |                             SSRC                              |
//! |                        CC x 4: CSRCs                          |
//! |  X: profile  | length in words |  extension elements ...      |
//! |  payload ...                     P: padding ... | pad count   |
//! ```
//!
//! [`Header`] holds offsets, not a borrow: it stays valid while the packet behind it is decrypted in place.
//! Padding can be checked only once the payload is clear, so that is the step from [`Header`] to [`Packet`].

use bytes::BytesMut;

use super::elements::{Elements, ElementsWriter, Form};
use crate::types::ids::{Pt, Ssrc};
use crate::wire::Malformed;
use crate::wire::serial::{Serial16, Serial32};
use crate::wire::writer::Writer;

/// The length of the fixed header, in bytes.
pub const FIXED_LEN: usize = 12;
/// The length of the header of an extension block, in bytes.
pub const EXTENSION_HEADER_LEN: usize = 4;

const VERSION: u8 = 2;
const MARKER: u8 = 0x80;
const EXTENSION: u8 = 0x10;

/// Where the extension block of a packet lies and what it says of itself (RFC 3550 §5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// The 16 bits "defined by profile": which form the elements have (RFC 8285 §4.2, §4.3).
    pub profile: u16,
    /// Offset of the elements from the start of the packet: 4 bytes behind the start of the block.
    pub start: usize,
    /// Length of the elements with their padding, in bytes: a multiple of 4.
    pub len: usize,
}

/// A header that fits its packet. A small value: fields, and offsets into the packet that it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The marker bit: in video the last packet of a frame, in audio the first after silence.
    pub marker: bool,
    /// The payload type.
    pub payload_type: Pt,
    /// The sequence number.
    pub sequence: Serial16,
    /// The media time, in units of the payload's clock rate.
    pub timestamp: Serial32,
    /// Who sends.
    pub ssrc: Ssrc,
    /// The extension block, if there is one.
    pub extension: Option<Block>,
    padded: bool,
    csrcs: u8,
    len: usize,
}

impl Header {
    /// Reads and checks the header of `packet`, which may still be encrypted.
    ///
    /// Everything that the header counts is checked against the packet's length, padding excepted.
    pub fn parse(packet: &[u8]) -> Result<Header, Malformed> {
        const MALFORMED: Malformed = Malformed("RTP header");
        // The fixed part in one step: this is read for every packet, in and out.
        let fixed = packet.first_chunk::<FIXED_LEN>().ok_or(MALFORMED)?;
        let [first, second, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3] = *fixed;
        if first >> 6 != VERSION {
            return Err(MALFORMED);
        }
        let csrcs = first & 0x0f;
        let mut len = FIXED_LEN + 4 * usize::from(csrcs);
        let mut extension = None;
        if first & EXTENSION != 0 {
            let head = packet.get(len..).and_then(|rest| rest.first_chunk::<EXTENSION_HEADER_LEN>());
            let [p0, p1, w0, w1] = *head.ok_or(MALFORMED)?;
            let start = len + EXTENSION_HEADER_LEN;
            let block = 4 * usize::from(u16::from_be_bytes([w0, w1]));
            extension = Some(Block { profile: u16::from_be_bytes([p0, p1]), start, len: block });
            len = start + block;
        }
        if len > packet.len() {
            return Err(MALFORMED);
        }
        Ok(Header {
            marker: second & MARKER != 0,
            payload_type: Pt::new(second & !MARKER).ok_or(MALFORMED)?,
            sequence: Serial16(u16::from_be_bytes([s0, s1])),
            timestamp: Serial32(u32::from_be_bytes([t0, t1, t2, t3])),
            ssrc: Ssrc(u32::from_be_bytes([i0, i1, i2, i3])),
            extension,
            padded: first & 0x20 != 0,
            csrcs,
            len,
        })
    }

    /// The length of the header with CSRCs and extension block, in bytes: where the payload starts.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The length of the CSRC list, in bytes.
    pub fn csrc_len(&self) -> usize {
        4 * usize::from(self.csrcs)
    }

    /// Whether the padding bit is set.
    pub fn is_padded(&self) -> bool {
        self.padded
    }
}

/// A clear packet, validated once.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    header: Header,
    bytes: &'a [u8],
    padding: usize,
}

impl<'a> Packet<'a> {
    /// Reads and checks a clear packet.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        Packet::new(Header::parse(bytes)?, bytes)
    }

    /// Checks the padding of a packet whose `header` was read before it was decrypted.
    pub fn new(header: Header, bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut packet = Packet { header, bytes, padding: 0 };
        let body = bytes.get(header.len..).ok_or(Malformed("RTP header"))?;
        if header.padded {
            // RFC 3550 §5.1: the last byte counts the padding, itself included, so it is never 0.
            let count = body.last().copied().map(usize::from).unwrap_or(0);
            if count == 0 || count > body.len() {
                return Err(Malformed("RTP padding"));
            }
            packet.padding = count;
        }
        Ok(packet)
    }

    /// The header's fields.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The payload without padding; empty in a packet that is all padding.
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(self.payload_range()).unwrap_or_default()
    }

    /// Where the payload without padding lies in the packet.
    pub fn payload_range(&self) -> std::ops::Range<usize> {
        self.header.len..self.bytes.len() - self.padding
    }

    /// Bytes of padding at the end, its count included.
    pub fn padding(&self) -> usize {
        self.padding
    }

    /// The contributing sources (RFC 3550 §5.1), at most 15.
    pub fn csrcs(&self) -> impl Iterator<Item = Ssrc> + use<'a> {
        let list = self.bytes.get(FIXED_LEN..FIXED_LEN + self.header.csrc_len()).unwrap_or_default();
        list.as_chunks::<4>().0.iter().map(|bytes| Ssrc(u32::from_be_bytes(*bytes)))
    }

    /// The extension elements (RFC 8285 §4); none when the block has another profile.
    pub fn elements(&self) -> Elements<'a> {
        let Some(block) = self.header.extension else { return Elements::default() };
        let bytes = self.bytes.get(block.start..block.start + block.len).unwrap_or_default();
        Elements::new(block.profile, bytes)
    }

    /// The whole packet.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// What a forwarder changes in a header; `None` leaves a field as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// The new SSRC.
    pub ssrc: Option<Ssrc>,
    /// The new payload type.
    pub payload_type: Option<Pt>,
    /// The new sequence number.
    pub sequence: Option<Serial16>,
    /// The new time stamp.
    pub timestamp: Option<Serial32>,
    /// The new marker bit.
    pub marker: Option<bool>,
}

impl Rewrite {
    /// Writes the new fields over those of `packet`. Lengths never change.
    ///
    /// A packet shorter than the fixed header is left alone.
    pub fn apply(&self, packet: &mut [u8]) {
        let Some(fixed) = packet.first_chunk_mut::<FIXED_LEN>() else { return };
        let [_, second, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3] = fixed;
        if let Some(marker) = self.marker {
            *second = *second & !MARKER | if marker { MARKER } else { 0 };
        }
        if let Some(payload_type) = self.payload_type {
            *second = *second & MARKER | payload_type.value();
        }
        if let Some(sequence) = self.sequence {
            [*s0, *s1] = sequence.0.to_be_bytes();
        }
        if let Some(timestamp) = self.timestamp {
            [*t0, *t1, *t2, *t3] = timestamp.0.to_be_bytes();
        }
        if let Some(ssrc) = self.ssrc {
            [*i0, *i1, *i2, *i3] = ssrc.0.to_be_bytes();
        }
    }
}

/// The fields of a header to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fields {
    /// The marker bit.
    pub marker: bool,
    /// The payload type.
    pub payload_type: Pt,
    /// The sequence number.
    pub sequence: Serial16,
    /// The time stamp.
    pub timestamp: Serial32,
    /// Who sends.
    pub ssrc: Ssrc,
}

impl From<&Header> for Fields {
    fn from(header: &Header) -> Self {
        Fields {
            marker: header.marker,
            payload_type: header.payload_type,
            sequence: header.sequence,
            timestamp: header.timestamp,
            ssrc: header.ssrc,
        }
    }
}

impl Fields {
    /// Appends a header to `out`: these fields, at most 15 `csrcs`, and what `elements` writes.
    ///
    /// The extension block is left out when `elements` writes nothing. `form` is where the elements start
    /// from: see [`ElementsWriter::push`]. The payload is appended behind it by the caller.
    #[inline]
    pub fn emit(
        &self,
        out: &mut BytesMut,
        csrcs: &[Ssrc],
        form: Form,
        elements: impl FnOnce(&mut ElementsWriter<'_>),
    ) {
        let start = out.len();
        let csrcs = csrcs.get(..csrcs.len().min(15)).unwrap_or_default();
        let fixed = self.fixed(u8::try_from(csrcs.len()).unwrap_or(0));
        let mut writer = ElementsWriter::new(out, form, fixed, csrcs);
        elements(&mut writer);
        if writer.finish() {
            set_bit(out, start, EXTENSION);
        }
    }

    /// Appends a header without contributing sources whose extension block was written before.
    #[inline]
    pub(crate) fn emit_with(&self, out: &mut BytesMut, block: &WrittenBlock) {
        let mut front = [0; FIXED_LEN + WrittenBlock::MAX];
        let fixed = self.fixed(if block.len > 0 { EXTENSION } else { 0 });
        front.first_chunk_mut().into_iter().for_each(|place| *place = fixed);
        front.last_chunk_mut().into_iter().for_each(|place| *place = block.bytes);
        out.extend_from_slice(front.get(..FIXED_LEN + usize::from(block.len)).unwrap_or_default());
    }

    /// The first twelve bytes; `bits` go beside the version.
    #[inline]
    fn fixed(&self, bits: u8) -> [u8; FIXED_LEN] {
        let second = self.payload_type.value() | if self.marker { MARKER } else { 0 };
        let [s0, s1] = self.sequence.0.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.0.to_be_bytes();
        let [i0, i1, i2, i3] = self.ssrc.0.to_be_bytes();
        [VERSION << 6 | bits, second, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3]
    }
}

/// An extension block as it was written, its own header included: most packets of a stream have the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WrittenBlock {
    bytes: [u8; WrittenBlock::MAX],
    len: u8,
}

impl WrittenBlock {
    /// Longer ones are not remembered, in bytes.
    const MAX: usize = 32;

    /// The block of a header without contributing sources, which ends where `header` ends.
    pub(crate) fn of(header: &[u8]) -> Option<Self> {
        let block = header.get(FIXED_LEN..)?;
        let mut bytes = [0; WrittenBlock::MAX];
        bytes.get_mut(..block.len())?.copy_from_slice(block);
        Some(WrittenBlock { bytes, len: u8::try_from(block.len()).ok()? })
    }
}

/// Appends `count` bytes of padding (1 to 255) to the packet that is `out[start..]`, and sets its padding bit.
///
/// Does nothing for 0 (RFC 3550 §5.1).
pub fn pad(out: &mut BytesMut, start: usize, count: u8) {
    if count > 0 {
        let mut w = Writer::new(out);
        w.zeros(usize::from(count - 1));
        w.u8(count);
        set_bit(out, start, 0x20);
    }
}

fn set_bit(packet: &mut BytesMut, start: usize, bit: u8) {
    if let Some(first) = packet.get_mut(start) {
        *first |= bit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields() -> Fields {
        Fields {
            marker: true,
            payload_type: Pt::new(96).unwrap(),
            sequence: Serial16(0xfffe),
            timestamp: Serial32(0x01020304),
            ssrc: Ssrc(0xdecafbad),
        }
    }

    fn packet(csrcs: &[Ssrc], elements: &[(u8, &[u8])], payload: &[u8], padding: u8) -> BytesMut {
        let mut out = BytesMut::new();
        fields().emit(&mut out, csrcs, Form::OneByte, |w| {
            for (id, data) in elements {
                assert!(w.push(*id, data));
            }
        });
        out.extend_from_slice(payload);
        pad(&mut out, 0, padding);
        out
    }

    #[test]
    fn every_part_is_found_again() {
        let bytes = packet(&[Ssrc(1), Ssrc(2)], &[(3, b"abc"), (9, b"z")], b"payload", 5);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(Fields::from(packet.header()), fields());
        assert_eq!(packet.csrcs().collect::<Vec<_>>(), [Ssrc(1), Ssrc(2)]);
        let elements: Vec<_> = packet.elements().map(|e| (e.id, e.data)).collect();
        assert_eq!(elements, [(3, &b"abc"[..]), (9, b"z")]);
        assert_eq!((packet.payload(), packet.padding()), (&b"payload"[..], 5));
    }

    #[test]
    fn a_packet_cut_within_its_header_is_refused() {
        let bytes = packet(&[Ssrc(1)], &[(3, b"abcd")], b"", 0);
        for len in 0..bytes.len() {
            assert!(Header::parse(&bytes[..len]).is_err(), "{len} bytes");
        }
        assert_eq!(Header::parse(&bytes).unwrap().len(), bytes.len());
    }

    #[test]
    fn counts_beyond_the_packet_are_refused() {
        let good = packet(&[], &[(1, b"a")], b"xyz", 0);
        let mut many_csrcs = good.clone();
        many_csrcs[0] |= 0x0f;
        assert!(Header::parse(&many_csrcs).is_err());
        let mut long_extension = good.clone();
        long_extension[14..16].copy_from_slice(&[0xff, 0xff]);
        assert!(Header::parse(&long_extension).is_err());
        let mut version = good;
        version[0] = version[0] & 0x3f | 0x40;
        assert!(Header::parse(&version).is_err());
    }

    #[test]
    fn padding_of_zero_or_beyond_the_payload_is_refused() {
        // R49.
        // RFC 3550 §5.1: the count includes itself.
        for (count, good) in [(0u8, false), (1, true), (4, true), (5, false), (255, false)] {
            let mut bytes = packet(&[], &[(1, b"a")], &[0, 0, 0, count], 0);
            bytes[0] |= 0x20;
            assert_eq!(Packet::parse(&bytes).is_ok(), good, "count {count}");
        }
        let mut empty = packet(&[], &[], b"", 0);
        empty[0] |= 0x20;
        assert!(Packet::parse(&empty).is_err());
    }

    #[test]
    fn rewriting_changes_what_is_named_and_nothing_else() {
        let mut bytes = packet(&[Ssrc(7)], &[(3, b"abc")], b"payload", 0);
        let before = bytes.clone();
        Rewrite::default().apply(&mut bytes);
        assert_eq!(bytes, before);
        let rewrite = Rewrite {
            ssrc: Some(Ssrc(5)),
            payload_type: Pt::new(1),
            sequence: Some(Serial16(2)),
            timestamp: Some(Serial32(3)),
            marker: Some(false),
        };
        rewrite.apply(&mut bytes);
        let header = Header::parse(&bytes).unwrap();
        assert_eq!((header.ssrc, header.payload_type.value()), (Ssrc(5), 1));
        assert_eq!((header.sequence, header.timestamp, header.marker), (Serial16(2), Serial32(3), false));
        assert_eq!(bytes[FIXED_LEN..], before[FIXED_LEN..]);
        rewrite.apply(&mut [0; 11]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(packet) = Packet::parse(&bytes) {
                prop_assert_eq!(
                    packet.header().len() + packet.payload().len() + packet.padding(),
                    bytes.len()
                );
                prop_assert!(packet.elements().count() <= bytes.len());
                prop_assert!(packet.csrcs().count() <= 15);
            }
        }

        #[test]
        fn what_is_emitted_is_read_back(
            csrcs in prop::collection::vec(any::<u32>(), 0..16),
            elements in prop::collection::vec((1u8..=255, prop::collection::vec(any::<u8>(), 0..40)), 0..8),
            payload in prop::collection::vec(any::<u8>(), 0..50),
            padding: u8,
        ) {
            let csrcs: Vec<Ssrc> = csrcs.into_iter().map(Ssrc).collect();
            let borrowed: Vec<(u8, &[u8])> = elements.iter().map(|(id, data)| (*id, &data[..])).collect();
            let bytes = packet(&csrcs, &borrowed, &payload, padding);
            let packet = Packet::parse(&bytes).unwrap();
            prop_assert_eq!(packet.csrcs().collect::<Vec<_>>(), csrcs);
            prop_assert_eq!(packet.elements().map(|e| (e.id, e.data)).collect::<Vec<_>>(), borrowed);
            prop_assert_eq!(packet.payload(), &payload[..]);
            prop_assert_eq!(packet.padding(), usize::from(padding));
        }
    }
}
