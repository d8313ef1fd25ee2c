//! Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).
//!
//! ```text
//! sender SSRC, media SSRC
//! base sequence (16), status count (16)
//! reference time (24, signed, units of 64 ms), feedback count (8)
//! status chunks (16 each): runs of one status, or vectors of 14 one-bit or 7 two-bit statuses
//! receive deltas: one byte (0 to 63.75 ms) or two (signed) for each packet that came, units of 250 µs
//! ```

use std::time::Duration;

use bytes::BytesMut;

use super::{emit, types};
use crate::types::ids::Ssrc;
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

pub(super) const FORMAT: u8 = 15;

/// Units of receive deltas, in microseconds.
pub const TICK_MICROS: i64 = 250;
/// Ticks in one unit of the reference time: 64 ms.
const TICKS_PER_REFERENCE: i64 = 256;
/// Bytes before the chunks, RTCP header included.
const HEAD_LEN: usize = 20;

/// Feedback about the packets of a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feedback<'a> {
    /// Who reports.
    pub sender: Ssrc,
    /// One of the streams reported on.
    pub media: Ssrc,
    /// The transport-wide number of the first packet.
    pub base: u16,
    /// How many packets are reported on, lost ones included.
    pub count: u16,
    /// The time that deltas count from, in units of 64 ms, signed, 24 bits.
    pub reference: i32,
    /// One higher for each feedback: gaps tell of lost feedback.
    pub feedback_count: u8,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

/// What became of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Its transport-wide number.
    pub sequence: u16,
    /// When it came, in ticks of 250 µs on the receiver's clock; `None` when it did not.
    pub arrival: Option<i64>,
}

/// How a status is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Symbol {
    Lost = 0,
    Small = 1,
    Large = 2,
}

impl Symbol {
    fn from_bits(bits: u16) -> Option<Symbol> {
        match bits {
            0 => Some(Symbol::Lost),
            1 => Some(Symbol::Small),
            2 => Some(Symbol::Large),
            // Reserved: how long its delta is, nobody knows.
            _ => None,
        }
    }

    fn delta_len(self) -> usize {
        usize::from(self as u8)
    }
}

/// A chunk, with how many of its symbols were taken.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    word: u16,
    taken: u16,
}

impl Chunk {
    fn len(self) -> u16 {
        match self.word >> 14 {
            0 | 1 => self.word & 0x1fff,
            2 => 14,
            _ => 7,
        }
    }

    fn symbol(self, at: u16) -> Option<Symbol> {
        Symbol::from_bits(match self.word >> 14 {
            0 | 1 => self.word >> 13 & 0x03,
            2 => self.word >> (13 - at.min(13)) & 0x01,
            _ => self.word >> (12 - 2 * at.min(6)) & 0x03,
        })
    }
}

impl<'a> Feedback<'a> {
    pub(super) fn read(mut r: Reader<'a>) -> Result<Self, Malformed> {
        let (sender, media) = (Ssrc(r.u32()?), Ssrc(r.u32()?));
        let (base, count) = (r.u16()?, r.u16()?);
        let reference = (r.u24()? << 8).cast_signed() >> 8;
        let feedback_count = r.u8()?;
        let body = r.peek();
        // The chunks end where they have told `count` statuses; their deltas must all be there.
        let mut left = count;
        let mut delta_len = 0;
        while left > 0 {
            let chunk = Chunk { word: r.u16()?, taken: 0 };
            let told = chunk.len().min(left);
            delta_len += match chunk.word >> 14 {
                0 | 1 => chunk.symbol(0).ok_or(r.malformed())?.delta_len() * usize::from(told),
                _ => (0..told)
                    .try_fold(0, |sum, at| chunk.symbol(at).map(|s| sum + s.delta_len()))
                    .ok_or(r.malformed())?,
            };
            left -= told;
        }
        let chunks = body.get(..body.len() - r.remaining()).unwrap_or_default();
        let deltas = r.take(delta_len)?;
        Ok(Feedback { sender, media, base, count, reference, feedback_count, chunks, deltas })
    }

    /// The status of each packet in order: `count` of them.
    pub fn statuses(&self) -> Statuses<'a> {
        Statuses {
            chunks: Reader::new(self.chunks, "TWCC chunk"),
            deltas: Reader::new(self.deltas, "TWCC delta"),
            chunk: Chunk { word: 0, taken: 0 },
            sequence: self.base,
            left: self.count,
            ticks: i64::from(self.reference) * TICKS_PER_REFERENCE,
        }
    }

    /// The reference time in microseconds.
    pub fn reference_micros(&self) -> i64 {
        i64::from(self.reference) * TICKS_PER_REFERENCE * TICK_MICROS
    }
}

/// Walks the statuses of a [`Feedback`].
#[derive(Debug, Clone)]
pub struct Statuses<'a> {
    chunks: Reader<'a>,
    deltas: Reader<'a>,
    chunk: Chunk,
    sequence: u16,
    left: u16,
    ticks: i64,
}

impl Iterator for Statuses<'_> {
    type Item = Status;

    fn next(&mut self) -> Option<Status> {
        self.left = self.left.checked_sub(1)?;
        // A run may have length 0; each round reads on, so this ends.
        while self.chunk.taken == self.chunk.len() {
            self.chunk = Chunk { word: self.chunks.u16().ok()?, taken: 0 };
        }
        let symbol = self.chunk.symbol(self.chunk.taken)?;
        self.chunk.taken += 1;
        let delta = match symbol {
            Symbol::Lost => None,
            Symbol::Small => Some(i64::from(self.deltas.u8().ok()?)),
            Symbol::Large => Some(i64::from(self.deltas.u16().ok()?.cast_signed())),
        };
        let arrival = delta.map(|delta| {
            self.ticks += delta;
            self.ticks
        });
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        Some(Status { sequence, arrival })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

/// A packet that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Its transport-wide number without wraps.
    pub sequence: u64,
    /// When it came, as time since a fixed point.
    pub at: Duration,
}

impl Arrival {
    fn ticks(&self) -> i64 {
        i64::try_from(self.at.as_micros() / 250).unwrap_or(i64::MAX / 2)
    }
}

/// What went into a feedback packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Covered {
    /// How many of the arrivals were taken.
    pub arrivals: usize,
    /// The number that the next feedback starts with.
    pub next_base: u64,
}

/// Appends one feedback packet of at most `room` bytes.
///
/// It covers the numbers from `base` on, those missing from `arrivals` being told as lost. `arrivals` are
/// ordered by number, each number once, none below `base`. What does not fit, or lies too far away in time or
/// number, is for the next packet: call again with [`Covered::next_base`] and the arrivals left. `None`, and
/// nothing appended, when there is nothing to tell or no room for it.
pub fn emit_feedback(
    out: &mut BytesMut,
    room: usize,
    (sender, media): (Ssrc, Ssrc),
    feedback_count: u8,
    base: u64,
    arrivals: &[Arrival],
) -> Option<Covered> {
    let first = arrivals.first()?;
    // A gap that statuses cannot bridge is not told.
    let base =
        if first.sequence.saturating_sub(base) > 0x4000 { first.sequence } else { base.min(first.sequence) };
    let reference = first.ticks().div_euclid(TICKS_PER_REFERENCE);
    // The packet is filled up to whole words.
    let mut chunks = ChunkWriter::new(room.min(0xffff) / 4 * 4);
    let mut last_ticks = reference * TICKS_PER_REFERENCE;
    let mut taken = 0;
    let mut next = base;
    let start = out.len();
    emit(out, types::TRANSPORT_FEEDBACK, FORMAT, |w| {
        w.u32(sender.0);
        w.u32(media.0);
        w.u16(low_16(base));
        w.u16(0);
        w.u24(u32::try_from(reference & 0x00ff_ffff).unwrap_or(0));
        w.u8(feedback_count);
        for arrival in arrivals {
            let delta = arrival.ticks() - last_ticks;
            let Some(gap) = arrival.sequence.checked_sub(next) else { break };
            if next - base + gap > 0xfffe || !chunks.push(w, gap, delta) {
                break;
            }
            last_ticks = arrival.ticks();
            next = arrival.sequence + 1;
            taken += 1;
        }
        chunks.flush(w);
        w.patch_u16(14, low_16(next - base));
        write_deltas(w, arrivals.get(..taken).unwrap_or_default(), reference);
    });
    if taken == 0 {
        out.truncate(start);
        return None;
    }
    Some(Covered { arrivals: taken, next_base: next })
}

fn write_deltas(w: &mut Writer<'_>, arrivals: &[Arrival], reference: i64) {
    let mut last = reference * TICKS_PER_REFERENCE;
    for arrival in arrivals {
        let delta = arrival.ticks() - last;
        last = arrival.ticks();
        match (u8::try_from(delta), i16::try_from(delta)) {
            (Ok(small), _) => w.u8(small),
            (_, Ok(large)) => w.u16(large.cast_unsigned()),
            _ => debug_assert!(false, "a delta of {delta} was let through"),
        }
    }
}

/// Codes statuses as chunks. What is pending always fits into one chunk.
#[derive(Debug)]
struct ChunkWriter {
    pending: [Symbol; 14],
    /// How many are pending: above 14 only when all are the same.
    len: u16,
    /// Whether all that is pending equals the first.
    same: bool,
    /// Whether a large delta is pending, which one-bit vectors cannot say.
    large: bool,
    /// Bytes used by head, chunks written and deltas to come.
    used: usize,
    room: usize,
}

impl ChunkWriter {
    fn new(room: usize) -> Self {
        ChunkWriter { pending: [Symbol::Lost; 14], len: 0, same: true, large: false, used: HEAD_LEN, room }
    }

    /// Adds `gap` lost packets and one that came `delta` ticks after the last; false when it does not fit.
    fn push(&mut self, w: &mut Writer<'_>, gap: u64, delta: i64) -> bool {
        let symbol = match (u8::try_from(delta), i16::try_from(delta)) {
            (Ok(_), _) => Symbol::Small,
            (_, Ok(_)) => Symbol::Large,
            _ => return false,
        };
        // At worst: what is pending, the runs of lost ones with what breaks off before them, and the last.
        let runs = usize::try_from(gap / 0x1fff).unwrap_or(usize::MAX / 4);
        if self.used + 2 * (runs + 5) + symbol.delta_len() > self.room {
            return false;
        }
        (0..gap).for_each(|_| self.add(w, Symbol::Lost));
        self.add(w, symbol);
        self.used += symbol.delta_len();
        true
    }

    fn add(&mut self, w: &mut Writer<'_>, symbol: Symbol) {
        if !self.takes(symbol) {
            self.write_one(w);
        }
        if self.len == 0 {
            (self.same, self.large) = (true, false);
        }
        self.same &= self.len == 0 || self.pending.first() == Some(&symbol);
        self.large |= symbol == Symbol::Large;
        if let Some(place) = self.pending.get_mut(usize::from(self.len)) {
            *place = symbol;
        }
        self.len += 1;
    }

    /// Whether one more still fits into one chunk with what is pending.
    fn takes(&self, symbol: Symbol) -> bool {
        let same = self.same && self.pending.first() == Some(&symbol);
        self.len < 7
            || (self.len < 14 && !self.large && symbol != Symbol::Large)
            || (self.len < 0x1fff && same)
    }

    /// Writes the fullest chunk that what is pending allows; at most 7 symbols stay behind.
    fn write_one(&mut self, w: &mut Writer<'_>) {
        let symbols = self.pending.iter().take(usize::from(self.len));
        let (word, told) = if self.same {
            let first = self.pending.first().map_or(0, |symbol| *symbol as u16);
            (first << 13 | self.len, self.len)
        } else if self.len == 14 {
            (symbols.fold(2, |word, symbol| word << 1 | *symbol as u16), 14)
        } else {
            let told = self.len.min(7);
            let word = symbols.take(7).fold(3, |word, symbol| word << 2 | *symbol as u16);
            (word << (2 * (7 - told)), told)
        };
        w.u16(word);
        self.used += 2;
        self.keep_from(told);
    }

    /// Writes what is pending as the last chunk: a vector may have places that nobody counts.
    fn flush(&mut self, w: &mut Writer<'_>) {
        if !self.same && !self.large && self.len > 7 {
            let symbols = self.pending.iter().take(usize::from(self.len));
            w.u16(symbols.fold(2, |word, symbol| word << 1 | *symbol as u16) << (14 - self.len));
            self.used += 2;
            self.keep_from(self.len);
        }
        while self.len > 0 {
            self.write_one(w);
        }
    }

    /// Drops the first `told` pending symbols.
    fn keep_from(&mut self, told: u16) {
        let told_symbols = usize::from(told).min(self.pending.len());
        self.pending.rotate_left(told_symbols % 14);
        self.len -= told;
        let kept = self.pending.get(..usize::from(self.len)).unwrap_or_default();
        self.same = kept.iter().all(|symbol| Some(symbol) == kept.first());
        self.large = kept.contains(&Symbol::Large);
    }
}

fn low_16(value: u64) -> u16 {
    u16::try_from(value & 0xffff).unwrap_or(0)
}
