//! VP9 (RFC 9628), in flexible mode and not.
//!
//! ```text
//! |I|P|L|F|B|E|V|Z|  P: refers to earlier pictures; B, E: a layer's frame starts, ends; Z: no layer refers to it
//! |M| PICTURE ID  |  when I; 15 bits when M
//! | TID |U| SID |D|  when L; U: one may switch up; D: refers to the spatial layer below
//! |   TL0PICIDX   |  when L and not F
//! | P_DIFF      |N|  when P and F: up to three
//! | SS ...        |  when V: the scalability structure
//! ```

use bytes::BytesMut;

use super::packetizer::Pieces;
use super::vp8::{emit_picture_id, read_picture_id};
use super::{FrameInfo, Info, PictureId};
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// The payload descriptor (RFC 9628 §4.2). A scalability structure is kept as bytes: [`Structure::parse`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Descriptor<'a> {
    /// The picture's number.
    pub picture_id: Option<PictureId>,
    /// Whether the frame refers to earlier pictures.
    pub inter_predicted: bool,
    /// Which layer the frame belongs to.
    pub layer: Option<Layer>,
    /// The number of the base layer's picture; in non-flexible mode with layers.
    pub tl0: Option<u8>,
    /// Flexible mode: references are told with each frame.
    pub flexible: bool,
    /// Distances to the pictures referred to, 1 to 127; 0 for none. In flexible mode.
    pub references: [u8; 3],
    /// Whether the frame starts with this payload.
    pub start: bool,
    /// Whether the frame ends with this payload.
    pub end: bool,
    /// Whether no frame of a higher spatial layer refers to this one.
    pub not_for_upper: bool,
    /// The scalability structure, if it comes with this payload.
    pub structure: Option<&'a [u8]>,
}

/// The layer of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Layer {
    /// Temporal layer, 0 to 7.
    pub temporal: u8,
    /// Whether a receiver of lower temporal layers may go up to this one here.
    pub switching_up: bool,
    /// Spatial layer, 0 to 7.
    pub spatial: u8,
    /// Whether the frame refers to the spatial layer below.
    pub inter_layer: bool,
}

impl<'a> Descriptor<'a> {
    /// Reads the descriptor in front of a payload.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let first = r.u8()?;
        let has = |bit: u8| first & bit != 0;
        let mut descriptor = Descriptor {
            inter_predicted: has(0x40),
            flexible: has(0x10),
            start: has(0x08),
            end: has(0x04),
            not_for_upper: has(0x01),
            ..Descriptor::default()
        };
        if has(0x80) {
            descriptor.picture_id = Some(read_picture_id(r)?);
        }
        if has(0x20) {
            let byte = r.u8()?;
            descriptor.layer = Some(Layer {
                temporal: byte >> 5,
                switching_up: byte & 0x10 != 0,
                spatial: byte >> 1 & 0x07,
                inter_layer: byte & 0x01 != 0,
            });
            if !descriptor.flexible {
                descriptor.tl0 = Some(r.u8()?);
            }
        }
        if descriptor.flexible && descriptor.inter_predicted {
            let mut more = true;
            for reference in &mut descriptor.references {
                if more {
                    let byte = r.u8()?;
                    (*reference, more) = (byte >> 1, byte & 0x01 != 0);
                    // RFC 9628 §4.2: a distance of 0 is not allowed.
                    if *reference == 0 {
                        return Err(r.malformed());
                    }
                }
            }
            // RFC 9628 §4.2: at most three.
            if more {
                return Err(r.malformed());
            }
        }
        if has(0x02) {
            let before = r.peek();
            Structure::read(r)?;
            descriptor.structure = before.get(..before.len() - r.remaining());
        }
        Ok(descriptor)
    }

    /// Writes the descriptor.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        w.u8(bit(self.picture_id.is_some(), 0x80)
            | bit(self.inter_predicted, 0x40)
            | bit(self.layer.is_some(), 0x20)
            | bit(self.flexible, 0x10)
            | bit(self.start, 0x08)
            | bit(self.end, 0x04)
            | bit(self.structure.is_some(), 0x02)
            | bit(self.not_for_upper, 0x01));
        if let Some(id) = self.picture_id {
            emit_picture_id(id, w);
        }
        if let Some(layer) = self.layer {
            let switch = bit(layer.switching_up, 0x10);
            w.u8(layer.temporal << 5 | switch | (layer.spatial & 0x07) << 1 | bit(layer.inter_layer, 0x01));
            if !self.flexible {
                w.u8(self.tl0.unwrap_or(0));
            }
        }
        if self.flexible && self.inter_predicted {
            let [a, b, c] = self.references;
            w.u8(a << 1 | bit(b != 0, 1));
            if b != 0 {
                w.u8(b << 1 | bit(c != 0, 1));
                if c != 0 {
                    w.u8(c << 1);
                }
            }
        }
        if let Some(structure) = self.structure {
            w.slice(structure);
        }
    }
}

/// The scalability structure (RFC 9628 §4.2.1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Structure {
    /// How many spatial layers, 1 to 8.
    pub spatial_layers: u8,
    /// Width and height of each, if told.
    pub sizes: Vec<(u16, u16)>,
    /// The pictures of one group, if told: at most 255.
    pub group: Vec<GroupPicture>,
}

/// A picture of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupPicture {
    /// Temporal layer, 0 to 7.
    pub temporal: u8,
    /// Whether a receiver of lower temporal layers may go up to this one here.
    pub switching_up: bool,
    /// Distances to the pictures referred to; 0 for none.
    pub references: [u8; 3],
}

impl Structure {
    /// Reads what [`Descriptor::structure`] holds.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes, "VP9 scalability structure");
        let structure = Structure::read(&mut r)?;
        r.finish()?;
        Ok(structure)
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let first = r.u8()?;
        let mut structure = Structure { spatial_layers: (first >> 5) + 1, ..Structure::default() };
        if first & 0x10 != 0 {
            for _ in 0..structure.spatial_layers {
                structure.sizes.push((r.u16()?, r.u16()?));
            }
        }
        if first & 0x08 != 0 {
            for _ in 0..r.u8()? {
                let byte = r.u8()?;
                let mut references = [0; 3];
                let count = usize::from(byte >> 2 & 0x03);
                for reference in references.iter_mut().take(count) {
                    *reference = r.u8()?;
                }
                let (temporal, switching_up) = (byte >> 5, byte & 0x10 != 0);
                structure.group.push(GroupPicture { temporal, switching_up, references });
            }
        }
        Ok(structure)
    }
}

/// Writes another picture number and base layer number over those of a payload, in place, keeping their
/// widths. Numbers that are not there are not added.
pub fn renumber(payload: &mut [u8], picture: u16, tl0: u8) {
    let Ok(old) = Descriptor::read(&mut Reader::new(payload, "VP9 descriptor")) else { return };
    let (picture_id, has_tl0) = (old.picture_id, old.tl0.is_some());
    let mut at = 1;
    if let Some(id) = picture_id {
        let [high, low] = picture.to_be_bytes();
        match payload.get_mut(at..) {
            Some([a, b, ..]) if id.long => (*a, *b) = (high | 0x80, low),
            Some([a, ..]) if !id.long => *a = low & 0x7f,
            _ => {}
        }
        at += if id.long { 2 } else { 1 };
    }
    if let Some(place) = payload.get_mut(at + 1).filter(|_| has_tl0) {
        *place = tl0;
    }
}

pub(super) fn describe(payload: &[u8]) -> Result<Info, Malformed> {
    let descriptor = Descriptor::read(&mut Reader::new(payload, "VP9 descriptor"))?;
    let layer = descriptor.layer.unwrap_or_default();
    Ok(Info {
        // A picture starts with the frame of its lowest layer.
        starts_frame: descriptor.start && layer.spatial == 0,
        ends_frame: false,
        key_frame: descriptor.start
            && !descriptor.inter_predicted
            && !layer.inter_layer
            && layer.spatial == 0,
        spatial: descriptor.layer.map(|layer| layer.spatial),
        temporal: descriptor.layer.map(|layer| layer.temporal),
        switching_point: layer.switching_up,
        discardable: false,
        picture_id: descriptor.picture_id,
        tl0: descriptor.tl0,
    })
}

/// Adds the payload to its picture; says whether it is the start of a key picture.
pub(super) fn push(payload: &[u8], frame: &mut BytesMut) -> Result<bool, Malformed> {
    let mut r = Reader::new(payload, "VP9 payload");
    let descriptor = Descriptor::read(&mut r)?;
    if (frame.is_empty() && !descriptor.start) || r.is_empty() {
        return Err(r.malformed());
    }
    let key_frame = frame.is_empty() && !descriptor.inter_predicted;
    frame.extend_from_slice(r.rest());
    Ok(key_frame)
}

/// The payloads of a picture with a single spatial layer.
#[derive(Debug)]
pub(super) struct Payloads<'a> {
    descriptor: Descriptor<'static>,
    pieces: Pieces<'a>,
}

impl<'a> Payloads<'a> {
    pub(super) fn new(frame: &'a [u8], max: usize, picture_id: PictureId, tl0: u8, info: FrameInfo) -> Self {
        let layer = info.temporal.map(|temporal| Layer {
            temporal: temporal & 0x07,
            switching_up: info.switching_point,
            ..Layer::default()
        });
        let descriptor = Descriptor {
            picture_id: Some(picture_id),
            inter_predicted: !info.key_frame,
            layer,
            tl0: layer.map(|_| tl0),
            start: true,
            ..Descriptor::default()
        };
        let head = if layer.is_some() { 5 } else { 3 };
        Payloads { descriptor, pieces: Pieces::new(frame, max - head) }
    }

    pub(super) fn next_payload(&mut self, out: &mut BytesMut) -> Option<bool> {
        let piece = self.pieces.next_piece()?;
        self.descriptor.end = self.pieces.is_done();
        let mut w = Writer::new(out);
        self.descriptor.emit(&mut w);
        w.slice(piece);
        self.descriptor.start = false;
        Some(self.descriptor.end)
    }
}
