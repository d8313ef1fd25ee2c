//! AV1 (RTP payload format for AV1, §4): OBUs without sizes, aggregated and cut at packets.
//!
//! ```text
//! |Z|Y| W |N|-|-|-|   Z: the first element continues an OBU; Y: the last one goes on; N: a new sequence starts
//! | size | element | ... | element |   sizes in leb128; with W of 1 to 3 the last of W elements has none
//! ```

use bytes::BytesMut;

use super::Info;
use crate::wire::Malformed;
use crate::wire::leb128;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;
const FRAME_HEADER: u8 = 3;
const FRAME: u8 = 6;
const TILE_LIST: u8 = 8;

/// The flag that says that a size follows the header (AV1 §5.3.2).
const HAS_SIZE: u8 = 0x02;
const HAS_EXTENSION: u8 = 0x04;

/// The type of an OBU, from its first byte.
fn kind(first: u8) -> u8 {
    first >> 3 & 0x0f
}

/// Walks the elements of a payload, each with whether it is the last one.
#[derive(Debug, Clone, Copy)]
struct Elements<'a> {
    head: u8,
    /// Elements yet to come, when the head counts them.
    left: Option<u8>,
    r: Reader<'a>,
}

impl<'a> Elements<'a> {
    fn new(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload, "AV1 payload");
        let head = r.u8()?;
        // An aggregate of nothing is no payload; a new sequence does not continue the old one (§4.4).
        if r.is_empty() || (head & 0x08 != 0 && head & 0x80 != 0) {
            return Err(r.malformed());
        }
        let count = head >> 4 & 0x03;
        Ok(Elements { head, left: (count > 0).then_some(count), r })
    }

    fn continues(&self) -> bool {
        self.head & 0x80 != 0
    }

    fn goes_on(&self) -> bool {
        self.head & 0x40 != 0
    }

    fn next_element(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.left {
            Some(0) => {
                // More bytes than elements cannot be, as the last one takes all.
                return Ok(None);
            }
            Some(1) => {
                self.left = Some(0);
                let last = self.r.rest();
                return if last.is_empty() { Err(self.r.malformed()) } else { Ok(Some(last)) };
            }
            Some(more) => self.left = Some(more - 1),
            None if self.r.is_empty() => return Ok(None),
            None => {}
        }
        let size = leb128::read(&mut self.r)?;
        let size = usize::try_from(size).map_err(|_| self.r.malformed())?;
        self.r.take(size).map(Some)
    }

    /// Whether the element just taken was the last one.
    fn is_done(&self) -> bool {
        self.left == Some(0) || (self.left.is_none() && self.r.is_empty())
    }
}

pub(super) fn describe(payload: &[u8]) -> Result<Info, Malformed> {
    let mut elements = Elements::new(payload)?;
    let continues = elements.continues();
    let new_sequence = elements.head & 0x08 != 0;
    let (mut layers, mut first, mut starts_key) = (None, None, false);
    let mut at_start = true;
    while let Some(element) = elements.next_element()? {
        if let (false, [head, rest @ ..]) = (at_start && continues, element) {
            first = first.or(Some(kind(*head)));
            starts_key |= kind(*head) == SEQUENCE_HEADER;
            if let (true, Some(extension)) = (head & HAS_EXTENSION != 0, rest.first()) {
                layers = Some((extension >> 5, extension >> 3 & 0x03));
            }
        }
        at_start = false;
    }
    let spatial = layers.map(|(_, spatial)| spatial);
    // Tile groups, metadata and padding do not tell where a unit starts; upper layers are not its start.
    let opens = matches!(first, Some(SEQUENCE_HEADER | TEMPORAL_DELIMITER | FRAME_HEADER | FRAME));
    Ok(Info {
        starts_frame: !continues && (new_sequence || (opens && spatial.unwrap_or(0) == 0)),
        // §4.4: N marks the first packet of a coded video sequence, which a key frame starts.
        key_frame: new_sequence || starts_key,
        spatial,
        temporal: layers.map(|(temporal, _)| temporal),
        ..Info::default()
    })
}

/// What is kept between the payloads of a temporal unit.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    /// Where the OBU starts whose fragments are being added.
    open: Option<usize>,
}

impl Assembly {
    /// Whether no fragment is open.
    pub(super) fn is_whole(&self) -> bool {
        self.open.is_none()
    }

    /// Adds the payload to its temporal unit; says whether it starts a coded video sequence.
    pub(super) fn push(&mut self, payload: &[u8], frame: &mut BytesMut) -> Result<bool, Malformed> {
        let mut elements = Elements::new(payload)?;
        let key_frame = elements.head & 0x08 != 0;
        if elements.continues() != self.open.is_some() {
            return Err(Malformed("AV1 payload"));
        }
        let mut sequence = false;
        while let Some(element) = elements.next_element()? {
            let start = self.open.take().unwrap_or(frame.len());
            sequence |=
                start == frame.len() && element.first().is_some_and(|head| kind(*head) == SEQUENCE_HEADER);
            frame.extend_from_slice(element);
            if elements.is_done() && elements.goes_on() {
                self.open = Some(start);
            } else {
                close(frame, start)?;
            }
        }
        Ok(key_frame || sequence)
    }
}

/// Gives the OBU that is `frame[start..]` its size, or drops it when it is of a kind that is not passed on.
fn close(frame: &mut BytesMut, start: usize) -> Result<(), Malformed> {
    let obu = frame.get(start..).unwrap_or_default();
    // §4.5: an element may be empty.
    let Some(head) = obu.first().copied() else { return Ok(()) };
    let header_len = if head & HAS_EXTENSION != 0 { 2 } else { 1 };
    let mut r = Reader::new(obu, "AV1 OBU");
    // AV1 §5.3.2: the top bit is forbidden.
    if head & 0x80 != 0 || r.skip(header_len).is_err() {
        return Err(r.malformed());
    }
    // §5: delimiters and tile lists are ignored by receivers.
    if matches!(kind(head), TEMPORAL_DELIMITER | TILE_LIST) {
        frame.truncate(start);
        return Ok(());
    }
    if head & HAS_SIZE != 0 {
        // A size of its own must be that of the element.
        let size = usize::try_from(leb128::read(&mut r)?).map_err(|_| r.malformed())?;
        return if size == r.remaining() { Ok(()) } else { Err(r.malformed()) };
    }
    let size = u32::try_from(r.remaining()).map_err(|_| r.malformed())?;
    let (at, end, added) = (start + header_len, frame.len(), leb128::len(size));
    leb128::write(&mut Writer::new(frame), size);
    // The size was written at the end: it changes places with the OBU's payload.
    frame.get_mut(at..end + added).unwrap_or_default().rotate_right(added);
    if let Some(head) = frame.get_mut(start) {
        *head |= HAS_SIZE;
    }
    Ok(())
}

/// An OBU as it travels: a header of one or two bytes without size, and the payload.
#[derive(Debug, Clone, Copy)]
struct Obu<'a> {
    header: [u8; 2],
    header_len: usize,
    payload: &'a [u8],
}

impl<'a> Obu<'a> {
    /// Reads the next OBU of a temporal unit that is passed on; one without size takes all.
    fn read(r: &mut Reader<'a>) -> Option<Obu<'a>> {
        while !r.is_empty() {
            let head = r.u8().ok()?;
            let extension = if head & HAS_EXTENSION != 0 { Some(r.u8().ok()?) } else { None };
            let payload = match head & HAS_SIZE {
                0 => r.rest(),
                _ => {
                    let size = leb128::read(r).ok()?;
                    r.take(usize::try_from(size).ok()?).ok()?
                }
            };
            if !matches!(kind(head), TEMPORAL_DELIMITER | TILE_LIST) {
                let header_len = if extension.is_some() { 2 } else { 1 };
                return Some(Obu { header: [head & !HAS_SIZE, extension.unwrap_or(0)], header_len, payload });
            }
        }
        None
    }

    fn len(&self) -> usize {
        self.header_len + self.payload.len()
    }

    fn extension(&self) -> Option<u8> {
        let [_, extension] = self.header;
        (self.header_len == 2).then_some(extension)
    }

    /// Writes `len` bytes from `from` on.
    fn write(&self, w: &mut Writer<'_>, from: usize, len: usize) {
        let header = self.header.get(..self.header_len).unwrap_or_default();
        let head =
            header.get(from.min(self.header_len)..(from + len).min(self.header_len)).unwrap_or_default();
        w.slice(head);
        let at = from.saturating_sub(self.header_len);
        w.slice(self.payload.get(at..at + len - head.len()).unwrap_or_default());
    }
}

/// An element planned for a packet.
#[derive(Debug, Clone, Copy)]
struct Planned<'a> {
    obu: Obu<'a>,
    from: usize,
    len: usize,
}

/// The payloads of a temporal unit.
#[derive(Debug)]
pub(super) struct Payloads<'a> {
    r: Reader<'a>,
    max: usize,
    /// The OBU being sent, and how much of it was.
    current: Option<(Obu<'a>, usize)>,
    first: bool,
}

impl<'a> Payloads<'a> {
    pub(super) fn new(frame: &'a [u8], max: usize) -> Self {
        let mut r = Reader::new(frame, "AV1 temporal unit");
        let current = Obu::read(&mut r).map(|obu| (obu, 0));
        Payloads { r, max, current, first: true }
    }

    pub(super) fn next_payload(&mut self, out: &mut BytesMut) -> Option<bool> {
        let continues = self.current?.1 > 0;
        let (planned, goes_on) = self.plan();
        let count = planned.iter().flatten().count();
        let starts = |p: &Planned<'_>| kind(p.obu.header[0]) == SEQUENCE_HEADER && p.from == 0;
        // §4.4: only the first packet of a sequence says so.
        let new_sequence = self.first && planned.iter().flatten().any(starts);
        self.first = false;
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let mut w = Writer::new(out);
        let elements = u8::try_from(count).unwrap_or(0) << 4;
        w.u8(bit(continues, 0x80) | bit(goes_on, 0x40) | elements | bit(new_sequence, 0x08));
        for (at, element) in planned.iter().flatten().enumerate() {
            if at + 1 < count {
                leb128::write(&mut w, u32::try_from(element.len).unwrap_or(u32::MAX));
            }
            element.obu.write(&mut w, element.from, element.len);
        }
        Some(self.current.is_none())
    }

    /// Takes up to three elements that fit; says whether the last of them goes on in the next packet.
    fn plan(&mut self) -> ([Option<Planned<'a>>; 3], bool) {
        let mut planned: [Option<Planned<'a>>; 3] = [None; 3];
        let mut room = self.max - 1;
        let mut layer = None;
        let mut last_len = None;
        for place in &mut planned {
            let Some((obu, from)) = self.current else { break };
            // The element before gets a size, now that it is not the last one.
            let size_len = last_len.map_or(0, |len| leb128::len(u32::try_from(len).unwrap_or(u32::MAX)));
            // §5: the OBUs of one packet are of one layer.
            let other_layer = matches!((layer, obu.extension()), (Some(a), Some(b)) if a != b);
            let Some(rest) = room.checked_sub(size_len).filter(|rest| *rest > 0 && !other_layer) else {
                break;
            };
            let left = obu.len() - from;
            // A few bytes at the end of a packet are not worth an element.
            if left > rest && last_len.is_some() && rest < 32 {
                break;
            }
            layer = layer.or(obu.extension());
            // What is cut is cut into almost equal pieces when it has the packet for itself.
            let len = if left <= rest {
                left
            } else if last_len.is_none() {
                left.div_ceil(left.div_ceil(rest))
            } else {
                rest
            };
            *place = Some(Planned { obu, from, len });
            if len < left {
                self.current = Some((obu, from + len));
                return (planned, true);
            }
            room = rest - len;
            last_len = Some(len);
            self.current = Obu::read(&mut self.r).map(|obu| (obu, 0));
        }
        (planned, false)
    }
}
