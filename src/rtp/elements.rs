//! Header extension elements (RFC 8285 §4): both forms read alike, written in the smaller one that fits.
//!
//! A block says in its profile which form its elements have. One-byte elements have ids 1 to 14 and 1 to 16
//! bytes of data; two-byte elements have ids 1 to 255 and 0 to 255 bytes. A byte of 0 is padding.

use bytes::{BufMut, BytesMut};

use crate::types::ids::Ssrc;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

use super::header::FIXED_LEN;

/// The profile of one-byte elements (RFC 8285 §4.2).
pub const ONE_BYTE: u16 = 0xbede;
/// The profile of two-byte elements, the four low bits being free for the application (RFC 8285 §4.3).
pub const TWO_BYTE: u16 = 0x1000;

/// How the elements of one block are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An id and a length share one byte.
    OneByte,
    /// A byte each for id and length.
    TwoByte,
}

impl Form {
    /// The form that a profile stands for; `None` for those of other specifications.
    pub fn of_profile(profile: u16) -> Option<Form> {
        match profile {
            ONE_BYTE => Some(Form::OneByte),
            // RFC 8285 §4.3: the application's bits are ignored.
            _ if profile & 0xfff0 == TWO_BYTE => Some(Form::TwoByte),
            _ => None,
        }
    }

    fn profile(self) -> u16 {
        match self {
            Form::OneByte => ONE_BYTE,
            Form::TwoByte => TWO_BYTE,
        }
    }
}

/// One element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    /// The local identifier, 1 to 255, whose meaning was negotiated.
    pub id: u8,
    /// The data, 0 to 255 bytes.
    pub data: &'a [u8],
    /// Offset of the data from the start of the block's elements.
    pub offset: usize,
}

/// Walks the elements of a block. Stops at the first that does not fit: what came before it counts.
#[derive(Debug, Clone, Copy)]
pub struct Elements<'a> {
    form: Form,
    whole: usize,
    r: Reader<'a>,
}

impl Default for Elements<'_> {
    fn default() -> Self {
        Elements { form: Form::OneByte, whole: 0, r: Reader::new(&[], "RTP header extension") }
    }
}

impl<'a> Elements<'a> {
    /// The elements of a block with this `profile`; none when the profile is of another specification.
    pub fn new(profile: u16, bytes: &'a [u8]) -> Self {
        match Form::of_profile(profile) {
            Some(form) => {
                Elements { form, whole: bytes.len(), r: Reader::new(bytes, "RTP header extension") }
            }
            None => Elements::default(),
        }
    }

    /// The form of this block.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The data of the first element with this `id`.
    pub fn find(mut self, id: u8) -> Option<&'a [u8]> {
        self.find_map(|element| (element.id == id).then_some(element.data))
    }

    fn one_byte(&mut self) -> Option<(u8, usize)> {
        let first = self.r.u8().ok()?;
        match (first >> 4, first & 0x0f) {
            // RFC 8285 §4.1.2: a padding byte has no length; one that has ends the block.
            (0, 0) => Some((0, 0)),
            // RFC 8285 §4.2: 15 is reserved and ends the block.
            (0 | 15, _) => None,
            (id, len) => Some((id, usize::from(len) + 1)),
        }
    }

    fn two_bytes(&mut self) -> Option<(u8, usize)> {
        match self.r.u8().ok()? {
            // RFC 8285 §4.3: padding is a single byte here, too.
            0 => Some((0, 0)),
            id => Some((id, usize::from(self.r.u8().ok()?))),
        }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        loop {
            let head = match self.form {
                Form::OneByte => self.one_byte(),
                Form::TwoByte => self.two_bytes(),
            };
            let found = match head {
                Some((0, _)) => continue,
                Some((id, len)) => {
                    let offset = self.whole - self.r.remaining();
                    self.r.take(len).ok().map(|data| Element { id, data, offset })
                }
                None => None,
            };
            if found.is_none() {
                self.r.rest();
            }
            return found;
        }
    }
}

/// How many elements one block takes when it is written.
const MAX_ELEMENTS: usize = 32;

/// Bytes of a header that are put together before they are appended: nearly always all of them.
const STAGE: usize = 96;

/// Writes the extension block of one packet. Made by [`Fields::emit`](super::header::Fields::emit).
///
/// What is written is staged, and appended in one step when it is complete: this is done for every packet, and each
/// step costs more than the few bytes of an element.
#[derive(Debug)]
pub struct ElementsWriter<'a> {
    out: &'a mut BytesMut,
    stage: [u8; STAGE],
    staged: usize,
    /// Where the block starts, its 4-byte header included.
    start: usize,
    form: Form,
    /// Offsets of the elements from `start`, for the change of form.
    places: [u16; MAX_ELEMENTS],
    count: usize,
}

impl<'a> ElementsWriter<'a> {
    /// A writer of the block that follows `fixed` and `csrcs`, the front of the header, which it appends as well.
    pub(super) fn new(out: &'a mut BytesMut, form: Form, fixed: [u8; FIXED_LEN], csrcs: &[Ssrc]) -> Self {
        let mut stage = [0; STAGE];
        // The stage is longer.
        stage.first_chunk_mut().into_iter().for_each(|front| *front = fixed);
        let mut w = ElementsWriter {
            out,
            stage,
            staged: FIXED_LEN,
            start: 0,
            form,
            places: [0; MAX_ELEMENTS],
            count: 0,
        };
        csrcs.iter().for_each(|csrc| w.append(&csrc.0.to_be_bytes()));
        w.start = w.end();
        w
    }

    /// Where the next byte goes in `out`.
    #[inline]
    fn end(&self) -> usize {
        self.out.len() + self.staged
    }

    /// Writes bytes.
    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        if self.staged + bytes.len() > STAGE {
            self.flush();
        }
        match self.stage.get_mut(self.staged..self.staged + bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.staged += bytes.len();
            }
            // Longer than the stage, which is empty now.
            None => self.out.put_slice(bytes),
        }
    }

    /// Appends what is staged.
    fn flush(&mut self) {
        self.out.put_slice(self.stage.get(..self.staged).unwrap_or_default());
        self.staged = 0;
    }

    /// Appends an element: `id` 1 to 255 and at most 255 bytes of `data`. False when it cannot be written.
    ///
    /// One-byte elements become two-byte ones as soon as an element needs it: an id above 14, no data, or
    /// more than 16 bytes. Whether the peer allows that is the caller's business (RFC 8285 §6).
    #[inline]
    pub fn push(&mut self, id: u8, data: &[u8]) -> bool {
        if !self.begin(id, data.len()) {
            return false;
        }
        self.append(data);
        true
    }

    /// Appends an element of `len` bytes that `write` writes.
    pub fn push_with(&mut self, id: u8, len: usize, write: impl FnOnce(&mut Writer<'_>)) -> bool {
        if !self.begin(id, len) {
            return false;
        }
        self.flush();
        let mut w = Writer::new(self.out);
        write(&mut w);
        debug_assert_eq!(w.written(), len, "an element wrote another length than announced");
        true
    }

    /// Writes the head of an element, and in front of the first one room for that of the block.
    #[inline]
    fn begin(&mut self, id: u8, len: usize) -> bool {
        let Ok(len) = u8::try_from(len) else { return false };
        if id == 0 || self.count == MAX_ELEMENTS {
            return false;
        }
        if self.end() == self.start {
            self.append(&[0; 4]);
        }
        if self.form == Form::OneByte && (id > 14 || !(1..=16).contains(&len)) {
            self.widen();
        }
        let at = u16::try_from(self.end() - self.start).unwrap_or(u16::MAX);
        let Some(place) = self.places.get_mut(self.count) else { return false };
        *place = at;
        self.count += 1;
        match self.form {
            Form::OneByte => self.append(&[id << 4 | (len - 1)]),
            Form::TwoByte => self.append(&[id, len]),
        }
        true
    }

    /// Gives every element written so far a head of two bytes, from the last to the first.
    fn widen(&mut self) {
        self.flush();
        self.form = Form::TwoByte;
        let mut end = self.out.len();
        let places = self.places.get_mut(..self.count).unwrap_or_default();
        self.out.put_bytes(0, places.len());
        for (before, place) in places.iter_mut().enumerate().rev() {
            let from = self.start + usize::from(*place);
            let to = from + before;
            let head = self.out.get(from).copied().unwrap_or(0);
            self.out.copy_within(from + 1..end, to + 2);
            if let Some([id, len]) = self.out.get_mut(to..).and_then(|s| s.first_chunk_mut::<2>()) {
                (*id, *len) = (head >> 4, (head & 0x0f) + 1);
            }
            *place = u16::try_from(to - self.start).unwrap_or(u16::MAX);
            end = from;
        }
    }

    /// Pads the block, fills its header in and appends all that is staged; false when there is no block.
    pub(super) fn finish(mut self) -> bool {
        let len = self.end() - self.start;
        let padding = len.next_multiple_of(4) - len;
        self.append([0; 3].get(..padding).unwrap_or_default());
        self.flush();
        if len == 0 {
            return false;
        }
        // RFC 3550 §5.3.1: the length counts 32-bit words behind the block's own header.
        let words = u16::try_from((len + padding - 4) / 4).unwrap_or(u16::MAX);
        if let Some(head) = self.out.get_mut(self.start..).and_then(|s| s.first_chunk_mut::<4>()) {
            let ([a, b], [c, d]) = (self.form.profile().to_be_bytes(), words.to_be_bytes());
            *head = [a, b, c, d];
        }
        true
    }
}

/// Gives the elements of a block other ids, in place; those for which `map` says `None` become padding.
///
/// `block` is the block's elements without its header. An id that the block's form cannot hold counts as
/// `None`, so a forwarder whose ids may be above 14 writes a new header instead. Linear; lengths never change.
pub fn map_ids(form: Form, block: &mut [u8], mut map: impl FnMut(u8) -> Option<u8>) {
    let profile = form.profile();
    let mut at = 0;
    // Each round looks at the bytes behind the last element, as a fresh walk would.
    while let Some((id, offset, len)) = {
        let rest = block.get(at..).unwrap_or_default();
        Elements::new(profile, rest).next().map(|e| (e.id, e.offset, e.data.len()))
    } {
        let head = at + offset - if form == Form::OneByte { 1 } else { 2 };
        let end = at + offset + len;
        let highest = if form == Form::OneByte { 14 } else { 255 };
        match map(id).filter(|new| (1..=highest).contains(new)) {
            Some(new) => {
                if let Some(byte) = block.get_mut(head) {
                    *byte = if form == Form::OneByte { new << 4 | *byte & 0x0f } else { new };
                }
            }
            None => block.get_mut(head..end).unwrap_or_default().fill(0),
        }
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(profile: u16, bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        Elements::new(profile, bytes).map(|e| (e.id, e.data.to_vec())).collect()
    }

    #[test]
    fn the_one_byte_example_of_the_rfc_is_read() {
        // RFC 8285 §4.2, its figure: L=0, L=1, two bytes of padding, L=3.
        let bytes = [0x10, 0xa1, 0x21, 0xb1, 0xb2, 0, 0, 0x33, 0xc1, 0xc2, 0xc3, 0xc4];
        let expected = vec![(1, vec![0xa1]), (2, vec![0xb1, 0xb2]), (3, vec![0xc1, 0xc2, 0xc3, 0xc4])];
        assert_eq!(list(ONE_BYTE, &bytes), expected);
    }

    #[test]
    fn the_two_byte_example_of_the_rfc_is_read() {
        // RFC 8285 §4.3, its figure: L=0, L=1, padding, L=4.
        let bytes = [1, 0, 2, 1, 0xa1, 0, 3, 4, 1, 2, 3, 4];
        let expected = vec![(1, vec![]), (2, vec![0xa1]), (3, vec![1, 2, 3, 4])];
        assert_eq!(list(TWO_BYTE, &bytes), expected);
        assert_eq!(list(TWO_BYTE | 7, &bytes), expected);
    }

    #[test]
    fn walking_stops_at_reserved_ids_and_at_lengths_that_lie() {
        // R50.
        // RFC 8285 §4.1.2 and §4.2: id 15, and id 0 with a length, end the block.
        assert_eq!(list(ONE_BYTE, &[0x10, 1, 0xf0, 2, 0x20, 3]), [(1, vec![1])]);
        assert_eq!(list(ONE_BYTE, &[0x10, 1, 0x01, 2, 0x20, 3]), [(1, vec![1])]);
        assert_eq!(list(ONE_BYTE, &[0x10, 1, 0x2f, 2]), [(1, vec![1])]);
        assert_eq!(list(TWO_BYTE, &[1, 1, 1, 2, 200, 3]), [(1, vec![1])]);
        assert_eq!(list(TWO_BYTE, &[1, 1, 1, 2]), [(1, vec![1])]);
        assert_eq!(list(0xc0de, &[0x10, 1]), []);
    }

    #[test]
    fn a_block_grows_to_two_byte_heads_when_an_element_needs_it() {
        let mut out = BytesMut::from(&b"head"[..]);
        let mut w = ElementsWriter::new(&mut out, Form::OneByte, *b"fixed header", &[]);
        assert!(w.push(1, b"a"));
        assert!(w.push(2, b"bcd"));
        assert!(w.push(200, b""));
        assert!(w.push(3, b"e"));
        assert!(!w.push(0, b"e"));
        assert!(!w.push(4, &[0; 256]));
        assert!(w.finish());
        assert_eq!(&out[..20], b"headfixed header\x10\x00\x00\x04");
        let expected = vec![(1, b"a".to_vec()), (2, b"bcd".to_vec()), (200, vec![]), (3, b"e".to_vec())];
        assert_eq!(list(TWO_BYTE, &out[20..]), expected);
    }

    #[test]
    fn what_the_stage_does_not_hold_is_written_all_the_same() {
        let elements: Vec<(u8, Vec<u8>)> = (1..=14).map(|id| (id, vec![id; usize::from(id)])).collect();
        for last in [16, 17, 255] {
            let csrcs: Vec<Ssrc> = (0..15).map(Ssrc).collect();
            let mut out = BytesMut::new();
            let mut w = ElementsWriter::new(&mut out, Form::OneByte, [7; FIXED_LEN], &csrcs);
            assert!(elements.iter().all(|(id, data)| w.push(*id, data)));
            assert!(w.push(1, &vec![9; last]));
            assert!(w.push_with(2, 5, |w| w.slice(b"large")));
            assert!(w.finish());
            let block = FIXED_LEN + 4 * csrcs.len();
            assert_eq!((out[0], out[block - 1], out.len() % 4), (7, 14, 0));
            let profile = if last > 16 { TWO_BYTE } else { ONE_BYTE };
            assert_eq!(out[block..block + 2], profile.to_be_bytes());
            let mut expected = elements.clone();
            expected.extend([(1, vec![9; last]), (2, b"large".to_vec())]);
            assert_eq!(list(profile, &out[block + 4..]), expected);
        }
    }

    #[test]
    fn ids_are_mapped_in_place_and_unknown_ones_become_padding() {
        let mut block = [0x10, 1, 0x21, 2, 2, 0x30, 3];
        map_ids(Form::OneByte, &mut block, |id| [None, Some(5), None, Some(1)][usize::from(id)]);
        assert_eq!(block, [0x50, 1, 0, 0, 0, 0x10, 3]);
        let mut block = [1, 1, 9, 2, 0, 3, 2, 8, 8];
        map_ids(Form::TwoByte, &mut block, |id| (id != 2).then_some(id + 100));
        assert_eq!(block, [101, 1, 9, 0, 0, 103, 2, 8, 8]);
    }

    proptest! {
        #[test]
        fn mapping_any_bytes_keeps_what_is_kept(
            mut bytes in prop::collection::vec(any::<u8>(), 0..64),
            two: bool,
            keep: u8,
        ) {
            let (form, profile) = if two { (Form::TwoByte, TWO_BYTE) } else { (Form::OneByte, ONE_BYTE) };
            let mut expected = list(profile, &bytes);
            expected.retain(|(id, _)| *id == keep);
            map_ids(form, &mut bytes, |id| (id == keep).then_some(id));
            prop_assert_eq!(list(profile, &bytes), expected);
        }
    }
}
