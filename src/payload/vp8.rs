//! VP8 (RFC 7741).
//!
//! ```text
//! |X|R|N|S|R| PID |  N: nothing refers to the frame; S: a partition starts here
//! |I|L|T|K| RSV   |  when X
//! |M| PictureID   |  when I; 15 bits when M
//! | TL0PICIDX     |  when L
//! |TID|Y| KEYIDX  |  when T or K
//! ```

use bytes::BytesMut;

use super::packetizer::Pieces;
use super::{FrameInfo, Info, PictureId};
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// The payload descriptor (RFC 7741 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Descriptor {
    /// No other frame refers to this one.
    pub non_reference: bool,
    /// A partition starts with this payload.
    pub partition_start: bool,
    /// Which partition, 0 to 7.
    pub partition: u8,
    /// The picture's number.
    pub picture_id: Option<PictureId>,
    /// The number of the base layer's frame.
    pub tl0: Option<u8>,
    /// The temporal layer, 0 to 3, and whether one may switch up to it here.
    pub temporal: Option<(u8, bool)>,
    /// The number of the key frame that this one depends on, 0 to 31.
    pub key_index: Option<u8>,
}

impl Descriptor {
    /// Reads the descriptor in front of a payload.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let first = r.u8()?;
        let mut descriptor = Descriptor {
            non_reference: first & 0x20 != 0,
            partition_start: first & 0x10 != 0,
            partition: first & 0x07,
            ..Descriptor::default()
        };
        if first & 0x80 == 0 {
            return Ok(descriptor);
        }
        let extension = r.u8()?;
        if extension & 0x80 != 0 {
            descriptor.picture_id = Some(read_picture_id(r)?);
        }
        if extension & 0x40 != 0 {
            descriptor.tl0 = Some(r.u8()?);
        }
        if extension & 0x30 != 0 {
            let byte = r.u8()?;
            descriptor.temporal = (extension & 0x20 != 0).then_some((byte >> 6, byte & 0x20 != 0));
            descriptor.key_index = (extension & 0x10 != 0).then_some(byte & 0x1f);
        }
        Ok(descriptor)
    }

    /// Writes the descriptor: at most 6 bytes.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let extension = bit(self.picture_id.is_some(), 0x80)
            | bit(self.tl0.is_some(), 0x40)
            | bit(self.temporal.is_some(), 0x20)
            | bit(self.key_index.is_some(), 0x10);
        let first =
            bit(extension != 0, 0x80) | bit(self.non_reference, 0x20) | bit(self.partition_start, 0x10);
        w.u8(first | self.partition & 0x07);
        if extension == 0 {
            return;
        }
        w.u8(extension);
        if let Some(id) = self.picture_id {
            emit_picture_id(id, w);
        }
        if let Some(tl0) = self.tl0 {
            w.u8(tl0);
        }
        if self.temporal.is_some() || self.key_index.is_some() {
            let (layer, switch) = self.temporal.unwrap_or_default();
            w.u8(layer << 6 | bit(switch, 0x20) | self.key_index.unwrap_or(0) & 0x1f);
        }
    }
}

pub(super) fn read_picture_id(r: &mut Reader<'_>) -> Result<PictureId, Malformed> {
    let first = r.u8()?;
    if first & 0x80 == 0 {
        return Ok(PictureId { number: u16::from(first), long: false });
    }
    Ok(PictureId { number: u16::from_be_bytes([first & 0x7f, r.u8()?]), long: true })
}

pub(super) fn emit_picture_id(id: PictureId, w: &mut Writer<'_>) {
    match u8::try_from(id.number & 0x7f) {
        Ok(short) if !id.long => w.u8(short),
        _ => w.u16(id.number & 0x7fff | 0x8000),
    }
}

/// Writes another picture number and base layer number over those of a payload, in place, keeping their
/// widths: what a forwarder does so that a viewer sees no jump. Numbers that are not there are not added.
pub fn renumber(payload: &mut [u8], picture: u16, tl0: u8) {
    // Only what the numbers' places depend on is read: this is done for every packet and viewer.
    let Some([first, extension]) = payload.first_chunk::<2>().copied() else { return };
    if first & 0x80 == 0 {
        return;
    }
    let picture_bytes = match (extension & 0x80 != 0, payload.get(2)) {
        (false, _) => 0,
        (true, Some(first)) => 1 + usize::from(first >> 7),
        (true, None) => return,
    };
    let has_tl0 = extension & 0x40 != 0;
    let end = 2 + picture_bytes + usize::from(has_tl0) + usize::from(extension & 0x30 != 0);
    if payload.len() < end {
        return;
    }
    if let Some(place) = payload.get_mut(2..2 + picture_bytes) {
        let [high, low] = picture.to_be_bytes();
        match place {
            [a, b] => (*a, *b) = (high | 0x80, low),
            [a] => *a = low & 0x7f,
            _ => {}
        }
    }
    if let Some(place) = payload.get_mut(2 + picture_bytes).filter(|_| has_tl0) {
        *place = tl0;
    }
}

/// The first payload of a frame: the start of partition 0 (RFC 7741 §4.2).
fn starts_frame(descriptor: &Descriptor) -> bool {
    descriptor.partition_start && descriptor.partition == 0
}

pub(super) fn describe(payload: &[u8]) -> Result<Info, Malformed> {
    let mut r = Reader::new(payload, "VP8 descriptor");
    let descriptor = Descriptor::read(&mut r)?;
    let starts_frame = starts_frame(&descriptor);
    // RFC 7741 §4.3: the P bit of the frame's first byte is clear in a key frame.
    let key_frame = starts_frame && r.u8()? & 0x01 == 0;
    Ok(Info {
        starts_frame,
        ends_frame: false,
        key_frame,
        spatial: None,
        temporal: descriptor.temporal.map(|(layer, _)| layer),
        switching_point: descriptor.temporal.is_some_and(|(_, switch)| switch),
        discardable: descriptor.non_reference,
        picture_id: descriptor.picture_id,
        tl0: descriptor.tl0,
    })
}

/// Adds the payload to its frame; says whether it is the start of a key frame.
pub(super) fn push(payload: &[u8], frame: &mut BytesMut) -> Result<bool, Malformed> {
    let mut r = Reader::new(payload, "VP8 payload");
    let descriptor = Descriptor::read(&mut r)?;
    // A second start within one frame means that packets of two frames got mixed.
    if starts_frame(&descriptor) != frame.is_empty() || r.is_empty() {
        return Err(r.malformed());
    }
    let data = r.rest();
    let key_frame = frame.is_empty() && data.first().is_some_and(|byte| byte & 0x01 == 0);
    frame.extend_from_slice(data);
    Ok(key_frame)
}

/// The payloads of a frame.
#[derive(Debug)]
pub(super) struct Payloads<'a> {
    descriptor: Descriptor,
    pieces: Pieces<'a>,
}

impl<'a> Payloads<'a> {
    pub(super) fn new(frame: &'a [u8], max: usize, picture_id: PictureId, tl0: u8, info: FrameInfo) -> Self {
        let descriptor = Descriptor {
            non_reference: info.discardable,
            partition_start: true,
            partition: 0,
            picture_id: Some(picture_id),
            // RFC 7741 §4.2: TL0PICIDX comes with temporal layers only.
            tl0: info.temporal.map(|_| tl0),
            temporal: info.temporal.map(|layer| (layer & 0x03, info.switching_point)),
            key_index: None,
        };
        let head = if info.temporal.is_some() { 6 } else { 4 };
        Payloads { descriptor, pieces: Pieces::new(frame, max - head) }
    }

    pub(super) fn next_payload(&mut self, out: &mut BytesMut) -> Option<bool> {
        let piece = self.pieces.next_piece()?;
        let mut w = Writer::new(out);
        self.descriptor.emit(&mut w);
        w.slice(piece);
        self.descriptor.partition_start = false;
        Some(self.pieces.is_done())
    }
}
