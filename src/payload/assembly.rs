//! Frames from packets: what all formats share. A format only says what a payload is and adds it up.

use bytes::{Bytes, BytesMut};

use super::{Codec, Info, av1, h264, h265, vp8, vp9};
use crate::wire::Malformed;

/// The largest frame by default: 4 MiB.
pub const DEFAULT_MAX_FRAME: usize = 4 * 1024 * 1024;

/// A packet, in the order of its stream.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The sequence number without wraps.
    pub sequence: u64,
    /// The time stamp.
    pub timestamp: u32,
    /// The marker bit.
    pub marker: bool,
    /// The payload without padding.
    pub payload: &'a [u8],
}

/// A whole frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The encoded frame.
    pub data: Bytes,
    /// The time stamp of its packets.
    pub timestamp: u32,
    /// The sequence number of its first packet.
    pub first: u64,
    /// The sequence number of its last packet.
    pub last: u64,
    /// Whether it can be decoded without others.
    pub key_frame: bool,
    /// What its first payload said.
    pub info: Info,
    /// Whether packets are missing between the frame before and this one: what it refers to may be lost.
    pub after_gap: bool,
}

/// Why a frame was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// Packets of it are missing.
    Lost,
    /// A payload of it makes no sense.
    Malformed,
    /// It grew beyond the largest frame allowed.
    TooLarge,
}

/// What came of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A frame is whole.
    Frame(Frame),
    /// The frame with this time stamp was given up; told once.
    Dropped {
        /// Its time stamp.
        timestamp: u32,
        /// Why.
        reason: Dropped,
    },
}

/// What came of a packet: it may end the frame before it, and its own.
#[derive(Debug, Default)]
pub struct Outcomes {
    before: Option<Outcome>,
    own: Option<Outcome>,
}

impl Iterator for Outcomes {
    type Item = Outcome;

    fn next(&mut self) -> Option<Outcome> {
        self.before.take().or_else(|| self.own.take())
    }
}

/// Assembles the frames of one stream. Packets come in order; those that are missing are simply not given.
#[derive(Debug)]
pub struct Depacketizer {
    codec: Codec,
    max_frame: usize,
    format: Format,
    /// The frame being assembled.
    open: Option<Open>,
    /// Its bytes.
    data: BytesMut,
    /// The sequence number that follows the last packet.
    next: Option<u64>,
    /// Whether the last packet ended its frame.
    at_boundary: bool,
    /// Whether packets are missing since the last whole frame.
    gap: bool,
    /// A frame that was given up: the rest of its packets is skipped.
    given_up: Option<u32>,
}

#[derive(Debug)]
struct Open {
    timestamp: u32,
    first: u64,
    last: u64,
    info: Info,
    key_frame: bool,
    after_gap: bool,
}

/// What a format keeps between the payloads of a frame.
#[derive(Debug)]
enum Format {
    Whole,
    Vp8,
    Vp9,
    H264(h264::Assembly),
    H265(h265::Assembly),
    Av1(av1::Assembly),
}

impl Format {
    fn new(codec: Codec) -> Format {
        match codec {
            Codec::Vp8 => Format::Vp8,
            Codec::Vp9 => Format::Vp9,
            Codec::H264 => Format::H264(h264::Assembly::default()),
            Codec::H265 => Format::H265(h265::Assembly::default()),
            Codec::Av1 => Format::Av1(av1::Assembly::default()),
            _ => Format::Whole,
        }
    }

    /// Adds a payload to the frame; says whether it shows the frame to be a key frame.
    fn push(&mut self, payload: &[u8], frame: &mut BytesMut) -> Result<bool, Malformed> {
        match self {
            Format::Whole => {
                frame.extend_from_slice(payload);
                Ok(true)
            }
            Format::Vp8 => vp8::push(payload, frame),
            Format::Vp9 => vp9::push(payload, frame),
            Format::H264(assembly) => assembly.push(payload, frame),
            Format::H265(assembly) => assembly.push(payload, frame),
            Format::Av1(assembly) => assembly.push(payload, frame),
        }
    }

    /// Ends the frame; false when a fragment is still open.
    fn finish(&mut self, frame: &BytesMut) -> bool {
        let whole = match self {
            Format::Whole | Format::Vp8 | Format::Vp9 => true,
            Format::H264(assembly) => assembly.is_whole(),
            Format::H265(assembly) => assembly.is_whole(),
            Format::Av1(assembly) => assembly.is_whole(),
        };
        whole && !frame.is_empty()
    }
}

impl Depacketizer {
    /// Assembles frames of `codec`, each of at most `max_frame` bytes.
    pub fn new(codec: Codec, max_frame: usize) -> Self {
        Depacketizer {
            codec,
            max_frame,
            format: Format::new(codec),
            open: None,
            data: BytesMut::new(),
            next: None,
            at_boundary: true,
            gap: false,
            given_up: None,
        }
    }

    /// Bytes held of a frame that is not whole yet.
    pub fn buffered(&self) -> usize {
        self.data.len()
    }

    /// Takes the next packet. A packet older than the last one is ignored.
    pub fn handle_packet(&mut self, packet: Received<'_>) -> Outcomes {
        let mut outcomes = Outcomes::default();
        if self.next.is_some_and(|next| packet.sequence < next) {
            return outcomes;
        }
        let contiguous = self.next.is_none_or(|next| next == packet.sequence);
        let first_ever = self.next.is_none();
        self.next = packet.sequence.checked_add(1);
        if !contiguous {
            self.gap = true;
            self.at_boundary = false;
            outcomes.before = self.give_up(Dropped::Lost);
        }
        if self.open.as_ref().is_some_and(|open| open.timestamp != packet.timestamp) {
            // No marker, but the next time stamp: the frame ended (RFC 6184 §5.1, AV1 §4.2).
            outcomes.before = self.finish();
            self.at_boundary = true;
        }
        if self.given_up.is_some_and(|timestamp| timestamp != packet.timestamp) {
            self.given_up = None;
            self.at_boundary |= contiguous;
        }
        // A packet without payload is a probe, and part of no frame.
        if !packet.payload.is_empty() && self.given_up.is_none() {
            outcomes.own = self.add(packet, first_ever);
        }
        if packet.marker || !self.codec.is_video() {
            outcomes.own = outcomes.own.or_else(|| self.finish());
            self.at_boundary = true;
            self.given_up = None;
        }
        outcomes
    }

    /// Adds a packet to the frame that it belongs to.
    fn add(&mut self, packet: Received<'_>, first_ever: bool) -> Option<Outcome> {
        let info = match self.codec.describe(packet.payload) {
            Ok(info) => info,
            Err(_) => return self.refuse(packet.timestamp, Dropped::Malformed),
        };
        if self.open.is_none() {
            // Without a word from the format, a frame starts where another one ended.
            let starts = info.starts_frame || (self.at_boundary && !first_ever);
            if !starts {
                return self.refuse(packet.timestamp, Dropped::Lost);
            }
            self.format = Format::new(self.codec);
            self.data.reserve(packet.payload.len().min(self.max_frame));
            let (timestamp, first) = (packet.timestamp, packet.sequence);
            self.open =
                Some(Open { timestamp, first, last: first, info, key_frame: false, after_gap: self.gap });
        }
        self.at_boundary = false;
        let pushed = self.format.push(packet.payload, &mut self.data);
        if self.data.len() > self.max_frame {
            return self.refuse(packet.timestamp, Dropped::TooLarge);
        }
        match (pushed, &mut self.open) {
            (Ok(key_frame), Some(open)) => {
                open.last = packet.sequence;
                open.key_frame |= key_frame;
                None
            }
            _ => self.refuse(packet.timestamp, Dropped::Malformed),
        }
    }

    /// Ends the frame being assembled, if there is one.
    fn finish(&mut self) -> Option<Outcome> {
        if !self.format.finish(&self.data) {
            return self.give_up(Dropped::Malformed);
        }
        let open = self.open.take()?;
        self.gap = false;
        Some(Outcome::Frame(Frame {
            // Its own memory, so that a frame that is kept pins no other.
            data: std::mem::take(&mut self.data).freeze(),
            timestamp: open.timestamp,
            first: open.first,
            last: open.last,
            key_frame: open.key_frame,
            info: open.info,
            after_gap: open.after_gap,
        }))
    }

    /// Gives up the frame that a packet belongs to, assembled or not; the rest of it will be skipped.
    fn refuse(&mut self, timestamp: u32, reason: Dropped) -> Option<Outcome> {
        self.give_up(reason);
        self.given_up = Some(timestamp);
        self.gap = true;
        Some(Outcome::Dropped { timestamp, reason })
    }

    /// Gives up the frame being assembled, if there is one, and its memory.
    fn give_up(&mut self, reason: Dropped) -> Option<Outcome> {
        let open = self.open.take()?;
        self.data = BytesMut::new();
        self.given_up = Some(open.timestamp);
        self.gap = true;
        Some(Outcome::Dropped { timestamp: open.timestamp, reason })
    }
}
