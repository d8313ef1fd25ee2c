//! H.265 (RFC 7798): single NAL units, aggregation packets and fragmentation units, without decoding order
//! numbers (`sprop-max-don-diff` of 0, which is what WebRTC uses). PACI packets are refused.

use bytes::BytesMut;

use super::Info;
use super::nal::{Units, append};
use super::packetizer::Pieces;
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

const AGGREGATE: u8 = 48;
const FRAGMENT: u8 = 49;

/// The type of a NAL unit, from its first byte (RFC 7798 §1.1.4).
fn kind(first: u8) -> u8 {
    first >> 1 & 0x3f
}

/// Pictures that decoding can start with: BLA, IDR and CRA (H.265 §7.4.2.2, 16 to 21).
fn is_random_access(kind: u8) -> bool {
    (16..=21).contains(&kind)
}

/// A header of two bytes with another type in it.
fn with_kind([first, second]: [u8; 2], kind: u8) -> [u8; 2] {
    [first & 0x81 | kind << 1, second]
}

pub(super) fn describe(payload: &[u8]) -> Result<Info, Malformed> {
    let mut r = Reader::new(payload, "H.265 payload");
    let header: [u8; 2] = r.array()?;
    let [first, second] = header;
    let (unit_kind, starts_unit, body) = match kind(first) {
        AGGREGATE => {
            let mut unit = r.sub_u16()?;
            let [first, _] = unit.array()?;
            (kind(first), true, unit.peek())
        }
        FRAGMENT => {
            let fu = r.u8()?;
            (fu & 0x3f, fu & 0x80 != 0, r.peek())
        }
        0..AGGREGATE => (kind(first), true, r.peek()),
        _ => return Err(r.malformed()),
    };
    let starts_picture = match unit_kind {
        // H.265 §7.3.6.1: slices start with first_slice_segment_in_pic_flag.
        // One that decoding can start with does not count: its parameter sets come before it, and may be
        // what is missing.
        0..=31 => !is_random_access(unit_kind) && body.first().is_some_and(|byte| byte & 0x80 != 0),
        // H.265 §7.4.2.4.4: parameter sets, delimiter and prefix SEI stand before the first slice.
        32..=35 | 39 => true,
        _ => false,
    };
    Ok(Info {
        starts_frame: starts_unit && starts_picture,
        key_frame: is_random_access(unit_kind) || (32..=34).contains(&unit_kind),
        spatial: Some((first & 0x01) << 5 | second >> 3).filter(|layer| *layer > 0),
        // RFC 7798 §1.1.4: the temporal id is sent plus one.
        temporal: (second & 0x07).checked_sub(1),
        // H.265 §7.4.2.2: TSA and STSA pictures; random access needs no other frame at all.
        switching_point: (2..=5).contains(&unit_kind) || is_random_access(unit_kind),
        // H.265 §7.4.2.2: even types up to 14 are not referred to within their temporal layer.
        discardable: unit_kind <= 14 && unit_kind % 2 == 0,
        ..Info::default()
    })
}

/// What is kept between the payloads of an access unit.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    /// The type of the NAL unit whose fragments are being added.
    fragmented: Option<u8>,
}

impl Assembly {
    /// Whether no fragment is open.
    pub(super) fn is_whole(&self) -> bool {
        self.fragmented.is_none()
    }

    /// Adds the payload to its access unit; says whether it holds a part of a random access picture.
    pub(super) fn push(&mut self, payload: &[u8], frame: &mut BytesMut) -> Result<bool, Malformed> {
        let mut r = Reader::new(payload, "H.265 payload");
        let header: [u8; 2] = r.array()?;
        let [first, _] = header;
        if r.is_empty() || (self.fragmented.is_some() && kind(first) != FRAGMENT) {
            return Err(r.malformed());
        }
        match kind(first) {
            0..AGGREGATE => {
                append(frame, &[payload]);
                Ok(is_random_access(kind(first)))
            }
            AGGREGATE => {
                let mut key_frame = false;
                while !r.is_empty() {
                    let mut unit = r.sub_u16()?;
                    let whole = unit.peek();
                    let [first, _] = unit.array()?;
                    // RFC 7798 §4.4.2: no aggregates within aggregates.
                    if kind(first) >= AGGREGATE {
                        return Err(r.malformed());
                    }
                    key_frame |= is_random_access(kind(first));
                    append(frame, &[whole]);
                }
                Ok(key_frame)
            }
            FRAGMENT => self.push_fragment(header, r, frame),
            // RFC 7798 §4.4.4: PACI; and types that do not exist.
            _ => Err(r.malformed()),
        }
    }

    /// RFC 7798 §4.4.3: a start bit, an end bit, and the type of the unit that was cut.
    fn push_fragment(
        &mut self,
        header: [u8; 2],
        mut r: Reader<'_>,
        frame: &mut BytesMut,
    ) -> Result<bool, Malformed> {
        let fu = r.u8()?;
        let (start, end, inner) = (fu & 0x80 != 0, fu & 0x40 != 0, fu & 0x3f);
        let expected = if start { None } else { Some(inner) };
        if self.fragmented != expected || inner >= AGGREGATE || r.is_empty() {
            return Err(r.malformed());
        }
        if start {
            append(frame, &[&with_kind(header, inner)]);
        }
        frame.extend_from_slice(r.rest());
        self.fragmented = (!end).then_some(inner);
        Ok(is_random_access(inner))
    }
}

/// The units that hold more than their header.
type WholeUnits<'a> = std::iter::Filter<Units<'a>, fn(&&'a [u8]) -> bool>;

/// The payloads of an access unit in Annex B form.
#[derive(Debug)]
pub(super) struct Payloads<'a> {
    units: std::iter::Peekable<WholeUnits<'a>>,
    max: usize,
    /// The header of the unit being cut, what is left of it, and whether its first piece is to come.
    fragments: Option<([u8; 2], Pieces<'a>, bool)>,
}

impl<'a> Payloads<'a> {
    pub(super) fn new(frame: &'a [u8], max: usize) -> Self {
        let whole: fn(&&'a [u8]) -> bool = |unit| unit.len() > 2;
        Payloads { units: Units::new(frame).filter(whole).peekable(), max, fragments: None }
    }

    pub(super) fn next_payload(&mut self, out: &mut BytesMut) -> Option<bool> {
        if self.fragments.is_none() {
            let unit = self.units.next()?;
            if unit.len() > self.max {
                let (header, rest) = unit.split_first_chunk::<2>()?;
                self.fragments = Some((*header, Pieces::new(rest, self.max - 3), true));
            } else if !self.aggregate(unit, out) {
                Writer::new(out).slice(unit);
            }
        }
        if let Some((header, mut pieces, start)) = self.fragments.take() {
            let piece = pieces.next_piece()?;
            let end = pieces.is_done();
            let [first, _] = header;
            let mut w = Writer::new(out);
            w.slice(&with_kind(header, FRAGMENT));
            w.u8(if start { 0x80 } else { 0 } | if end { 0x40 } else { 0 } | kind(first));
            w.slice(piece);
            self.fragments = (!end).then_some((header, pieces, false));
        }
        Some(self.fragments.is_none() && self.units.peek().is_none())
    }

    /// RFC 7798 §4.4.2: several small units in one payload. False when `unit` stays alone.
    fn aggregate(&mut self, unit: &'a [u8], out: &mut BytesMut) -> bool {
        let mut room = self.max.saturating_sub(2 + 2 + unit.len());
        let fits = |unit: &&[u8], room: usize| 2 + unit.len() <= room && unit.len() <= 0xffff;
        if unit.len() > 0xffff || self.units.peek().is_none_or(|next| !fits(next, room)) {
            return false;
        }
        let start = out.len();
        let mut header = unit.first_chunk::<2>().copied().unwrap_or_default();
        let mut w = Writer::new(out);
        w.u16(0);
        w.nested_u16(|w| w.slice(unit));
        while let Some(next) = self.units.next_if(|next| fits(next, room)) {
            room -= 2 + next.len();
            w.nested_u16(|w| w.slice(next));
            // RFC 7798 §4.4.2: the lowest layer and temporal id of all.
            let other = next.first_chunk::<2>().copied().unwrap_or_default();
            let low = |[first, second]: [u8; 2]| ((first & 0x01) << 5 | second >> 3, second & 0x07);
            let (layer, temporal) = (low(header).0.min(low(other).0), low(header).1.min(low(other).1));
            header = [header[0] & 0x80 | other[0] & 0x80 | layer >> 5, layer << 3 | temporal];
        }
        if let Some(place) = out.get_mut(start..start + 2) {
            place.copy_from_slice(&with_kind(header, AGGREGATE));
        }
        true
    }
}
