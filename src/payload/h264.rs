//! H.264 (RFC 6184): single NAL units, STAP-A and FU-A, that is packetization modes 0 and 1.

use bytes::BytesMut;

use super::Info;
use super::nal::{START_CODE, Units, append};
use super::packetizer::Pieces;
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

const IDR_SLICE: u8 = 5;
const SEI: u8 = 6;
const SEQUENCE_PARAMETERS: u8 = 7;
const DELIMITER: u8 = 9;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// The type of a NAL unit, from its first byte (RFC 6184 §1.3).
fn kind(first: u8) -> u8 {
    first & 0x1f
}

/// The first unit of a payload, as far as it is there: its header, and the byte behind it.
fn first_unit(payload: &[u8]) -> Option<(u8, Option<u8>)> {
    match payload {
        [head, _, _, first, rest @ ..] if kind(*head) == STAP_A => Some((*first, rest.first().copied())),
        [head, fu, rest @ ..] if kind(*head) == FU_A => {
            Some((head & 0xe0 | fu & 0x1f, rest.first().copied()))
        }
        [head, rest @ ..] if (1..STAP_A).contains(&kind(*head)) => Some((*head, rest.first().copied())),
        _ => None,
    }
}

pub(super) fn describe(payload: &[u8]) -> Result<Info, Malformed> {
    let (header, second) = first_unit(payload).ok_or(Malformed("H.264 payload"))?;
    let continues = matches!(payload, [head, fu, ..] if kind(*head) == FU_A && fu & 0x80 == 0);
    // H.264 §7.3.3: a slice header starts with first_mb_in_slice, whose code for 0 is a single 1 bit.
    let starts_picture = match kind(header) {
        // An IDR slice does not count: its parameter sets come before it, and may be what is missing.
        1 | 2 => second.is_some_and(|byte| byte & 0x80 != 0),
        // H.264 §7.4.1.2.3: these stand before the first slice of an access unit.
        SEI..=DELIMITER => true,
        _ => false,
    };
    Ok(Info {
        starts_frame: starts_picture && !continues,
        key_frame: matches!(kind(header), IDR_SLICE | SEQUENCE_PARAMETERS) || holds_idr(payload),
        // RFC 6184 §5.3: a reference indicator of 0 means that nothing refers to the unit.
        discardable: header & 0x60 == 0 && matches!(kind(header), 1 | 2),
        ..Info::default()
    })
}

/// Whether an aggregate holds an IDR slice.
fn holds_idr(payload: &[u8]) -> bool {
    let [head, rest @ ..] = payload else { return false };
    kind(*head) == STAP_A && {
        let mut r = Reader::new(rest, "STAP-A");
        std::iter::from_fn(|| r.sub_u16().ok())
            .any(|unit| unit.peek().first().is_some_and(|first| kind(*first) == IDR_SLICE))
    }
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

    /// Adds the payload to its access unit; says whether it holds a part of an IDR picture.
    pub(super) fn push(&mut self, payload: &[u8], frame: &mut BytesMut) -> Result<bool, Malformed> {
        let mut r = Reader::new(payload, "H.264 payload");
        let head = r.u8()?;
        if self.fragmented.is_some() && kind(head) != FU_A {
            return Err(r.malformed());
        }
        match kind(head) {
            1..STAP_A => {
                append(frame, &[payload]);
                Ok(kind(head) == IDR_SLICE)
            }
            STAP_A => {
                let mut key_frame = false;
                while !r.is_empty() {
                    let unit = r.sub_u16()?.rest();
                    // RFC 6184 §5.7.1: no empty units, no aggregates within aggregates.
                    let inner = kind(*unit.first().ok_or(r.malformed())?);
                    if !(1..STAP_A).contains(&inner) {
                        return Err(r.malformed());
                    }
                    key_frame |= inner == IDR_SLICE;
                    append(frame, &[unit]);
                }
                Ok(key_frame)
            }
            FU_A => self.push_fragment(head, r, frame),
            _ => Err(r.malformed()),
        }
    }

    /// RFC 6184 §5.8: a start bit, an end bit, and the type of the unit that was cut.
    fn push_fragment(
        &mut self,
        head: u8,
        mut r: Reader<'_>,
        frame: &mut BytesMut,
    ) -> Result<bool, Malformed> {
        let fu = r.u8()?;
        let (start, end, inner) = (fu & 0x80 != 0, fu & 0x40 != 0, kind(fu));
        let expected = if start { None } else { Some(inner) };
        if self.fragmented != expected || !(1..STAP_A).contains(&inner) || r.is_empty() {
            return Err(r.malformed());
        }
        if start {
            append(frame, &[&[head & 0xe0 | inner]]);
        }
        frame.extend_from_slice(r.rest());
        self.fragmented = (!end).then_some(inner);
        Ok(inner == IDR_SLICE)
    }
}

/// The payloads of an access unit in Annex B form.
#[derive(Debug)]
pub(super) struct Payloads<'a> {
    units: std::iter::Peekable<Units<'a>>,
    max: usize,
    /// The header of the unit being cut, and what is left of it.
    fragments: Option<(u8, Pieces<'a>, bool)>,
}

impl<'a> Payloads<'a> {
    pub(super) fn new(frame: &'a [u8], max: usize) -> Self {
        Payloads { units: Units::new(frame).peekable(), max, fragments: None }
    }

    pub(super) fn next_payload(&mut self, out: &mut BytesMut) -> Option<bool> {
        if self.fragments.is_none() {
            let unit = self.units.next()?;
            if unit.len() > self.max {
                let (first, rest) = unit.split_first()?;
                self.fragments = Some((*first, Pieces::new(rest, self.max - 2), true));
            } else if !self.aggregate(unit, out) {
                Writer::new(out).slice(unit);
            }
        }
        if let Some((header, mut pieces, start)) = self.fragments.take() {
            let piece = pieces.next_piece()?;
            let end = pieces.is_done();
            let mut w = Writer::new(out);
            w.u8(header & 0xe0 | FU_A);
            w.u8(if start { 0x80 } else { 0 } | if end { 0x40 } else { 0 } | kind(header));
            w.slice(piece);
            self.fragments = (!end).then_some((header, pieces, false));
        }
        Some(self.fragments.is_none() && self.units.peek().is_none())
    }

    /// RFC 6184 §5.7.1: several small units in one payload. False when `unit` stays alone.
    fn aggregate(&mut self, unit: &'a [u8], out: &mut BytesMut) -> bool {
        let mut room = self.max.saturating_sub(1 + 2 + unit.len());
        let fits = |unit: &&[u8], room: usize| 2 + unit.len() <= room && unit.len() <= 0xffff;
        if unit.len() > 0xffff || self.units.peek().is_none_or(|next| !fits(next, room)) {
            return false;
        }
        let start = out.len();
        let mut w = Writer::new(out);
        w.u8(STAP_A);
        w.nested_u16(|w| w.slice(unit));
        let mut header = unit.first().copied().unwrap_or(0);
        while let Some(next) = self.units.next_if(|next| fits(next, room)) {
            room -= 2 + next.len();
            w.nested_u16(|w| w.slice(next));
            let first = next.first().copied().unwrap_or(0);
            // RFC 6184 §5.7.1: F is set if any is; the reference indicator is the highest of all.
            header = (header | first) & 0x80 | (header & 0x60).max(first & 0x60);
        }
        if let Some(place) = out.get_mut(start) {
            *place = header & 0xe0 | STAP_A;
        }
        true
    }
}

/// What Annex B form adds to each unit, in bytes.
pub const UNIT_OVERHEAD: usize = START_CODE.len();
