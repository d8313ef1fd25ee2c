//! Congestion control feedback (RFC 8888 §3.1): for each stream, when each packet came and how it was marked.

use std::time::Duration;

use bytes::{BufMut, BytesMut};

use super::types;
use crate::packet::Ecn;
use crate::types::ids::Ssrc;
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

pub(super) const FORMAT: u8 = 11;

/// Packets reported of one stream at most: a quarter of the number space (RFC 8888 §3.1).
pub const MAX_REPORTS: usize = 16_384;

/// Feedback about some streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feedback<'a> {
    /// Who reports.
    pub sender: Ssrc,
    /// The moment that arrival times count back from: the middle of an NTP time, units of 1/65,536 s.
    pub timestamp: u32,
    blocks: &'a [u8],
}

/// The packets of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    /// The stream.
    pub ssrc: Ssrc,
    /// The sequence number of the first packet reported.
    pub begin: u16,
    metrics: &'a [u8],
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its ECN mark.
    pub ecn: Ecn,
    /// How long before the report's moment it came, in 1/1024 s; `None` when unknown or above 7.99 s.
    pub before: Option<u16>,
}

/// "Too long ago" and "not known" (RFC 8888 §3.1).
const OVER_RANGE: u16 = 0x1ffe;
const UNAVAILABLE: u16 = 0x1fff;

impl<'a> Feedback<'a> {
    pub(super) fn read(mut r: Reader<'a>) -> Result<Self, Malformed> {
        let sender = Ssrc(r.u32()?);
        let len = r.remaining().checked_sub(4).ok_or(r.malformed())?;
        let mut blocks = r.sub(len)?;
        let feedback = Feedback { sender, timestamp: r.u32()?, blocks: blocks.peek() };
        while !blocks.is_empty() {
            Block::read(&mut blocks)?;
        }
        Ok(feedback)
    }

    /// The streams reported on, in order.
    pub fn blocks(&self) -> impl Iterator<Item = Block<'a>> + use<'a> {
        let mut r = Reader::new(self.blocks, "RFC 8888 block");
        std::iter::from_fn(move || Block::read(&mut r).ok())
    }
}

impl<'a> Block<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (ssrc, begin, count) = (Ssrc(r.u32()?), r.u16()?, usize::from(r.u16()?));
        if count > MAX_REPORTS {
            return Err(r.malformed());
        }
        let metrics = r.take(2 * count)?;
        // RFC 8888 §3.1: an odd number is filled up to a word.
        r.skip(2 * (count % 2))?;
        Ok(Block { ssrc, begin, metrics })
    }

    /// Each packet's sequence number, and what became of it; `None` when it did not come.
    pub fn metrics(&self) -> impl Iterator<Item = (u16, Option<Metric>)> + use<'a> {
        let begin = self.begin;
        self.metrics.as_chunks::<2>().0.iter().zip(0u16..).map(move |(bytes, at)| {
            let word = u16::from_be_bytes(*bytes);
            let [high, _] = bytes;
            let offset = word & 0x1fff;
            let metric = Metric {
                ecn: Ecn::from_bits(high >> 5 & 0x03),
                before: (offset < OVER_RANGE).then_some(offset),
            };
            (begin.wrapping_add(at), (word & 0x8000 != 0).then_some(metric))
        })
    }
}

/// A packet that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When it came, as time since the fixed point that the writer's `now` counts from.
    pub at: Duration,
    /// Its ECN mark.
    pub ecn: Ecn,
}

impl Arrival {
    /// RFC 8888 §3.1: one bit "received", two of ECN, 13 of time.
    fn word(&self, now: Duration) -> u16 {
        let offset = match now.checked_sub(self.at) {
            Some(before) => u16::try_from((before.as_nanos() << 10) / 1_000_000_000)
                .map_or(OVER_RANGE, |offset| offset.min(OVER_RANGE)),
            None => UNAVAILABLE,
        };
        0x8000 | u16::from(self.ecn as u8) << 13 | offset
    }
}

/// Writes one feedback packet, block by block, never longer than it may be.
#[derive(Debug)]
pub struct FeedbackWriter<'a> {
    out: &'a mut BytesMut,
    start: usize,
    room: usize,
    now: Duration,
}

impl<'a> FeedbackWriter<'a> {
    /// Starts a packet of at most `room` bytes at the end of `out`; `now` is the report's moment, as time
    /// since the fixed point that arrivals count from. `None` below 16 bytes.
    pub fn new(out: &'a mut BytesMut, room: usize, sender: Ssrc, now: Duration) -> Option<Self> {
        // The length field counts up to 65,535 words.
        let room = room.min(4 * 0xffff);
        if room < 16 {
            return None;
        }
        let start = out.len();
        let mut w = Writer::new(out);
        w.u8(2 << 6 | FORMAT);
        w.u8(types::TRANSPORT_FEEDBACK);
        w.u16(0);
        w.u32(sender.0);
        Some(FeedbackWriter { out, start, room, now })
    }

    /// Adds a block for the packets of one stream from number `begin` on, `None` for those that did not
    /// come. Says how many of them went in: the rest is for another packet.
    pub fn push(&mut self, ssrc: Ssrc, begin: u16, packets: &[Option<Arrival>]) -> usize {
        let used = self.out.len() - self.start;
        // The block's head, and the time stamp that ends the packet.
        let Some(rest) = self.room.checked_sub(used + 8 + 4) else { return 0 };
        let count = packets.len().min(rest / 4 * 2).min(MAX_REPORTS);
        if count == 0 && !packets.is_empty() {
            return 0;
        }
        let mut w = Writer::new(self.out);
        w.u32(ssrc.0);
        w.u16(begin);
        w.u16(u16::try_from(count).unwrap_or(0));
        for packet in packets.iter().take(count) {
            w.u16(packet.map_or(0, |arrival| arrival.word(self.now)));
        }
        w.pad_to(4);
        count
    }

    /// Ends the packet with the report's moment in the middle form of NTP time.
    pub fn finish(self, timestamp: u32) {
        self.out.put_u32(timestamp);
        let words = u16::try_from((self.out.len() - self.start) / 4 - 1).unwrap_or(u16::MAX);
        if let Some([_, _, a, b]) = self.out.get_mut(self.start..).and_then(|p| p.first_chunk_mut::<4>()) {
            [*a, *b] = words.to_be_bytes();
        }
    }
}
