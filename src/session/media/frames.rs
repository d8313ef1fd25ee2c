//! Frames: packets put in order and assembled on one side, cut on the other.
//!
//! ```text
//!  packets ── Reorder ──> in order, gaps given up ── Depacketizer ──> Event::Frame, Event::FrameLost
//!                                                         └ lost, or no key frame yet ──> a key frame is asked for
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::payload::{self, DEFAULT_MAX_FRAME, Depacketizer, Dropped, FrameInfo, Outcome, Received};
use crate::rtp::ext::Kind;
use crate::rtp::ext::audio::AudioLevel;
use crate::rtp::ext::video::Orientation;
use crate::rtp::extended::ExtendedTime;
use crate::rtp::stream::receive::{Next, Reorder, ReorderConfig};
use crate::session::event::Event;
use crate::session::negotiate::TransceiverId;
use crate::types::codec::Codec;
use crate::types::ids::{Pt, Rid};
use crate::wire::serial::Serial32;

use super::MAX_EVENTS;
use super::packet::{ReceiverId, RtpPacket};

/// Bytes of frames that wait for the application to poll them, with what each event takes; more are dropped.
pub(super) const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// An encoded frame that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MediaFrame {
    /// The transceiver that it belongs to.
    pub transceiver: TransceiverId,
    /// The stream that it belongs to.
    pub receiver: ReceiverId,
    /// The stream's name within its transceiver, in a simulcast.
    pub rid: Option<Rid>,
    /// Its encoding; what a frame of each is, [`payload`] says.
    pub codec: Codec,
    /// The payload type of its packets.
    pub payload_type: Pt,
    /// The encoded frame.
    pub data: Bytes,
    /// Its media time without wraps, in units of the format's clock rate.
    pub timestamp: u64,
    /// The sequence numbers of its first and its last packet, without wraps.
    pub packets: (u64, u64),
    /// When the packet that made it whole came.
    pub received: Instant,
    /// Whether it can be decoded without others.
    pub key_frame: bool,
    /// Whether something is missing before it: what it refers to may be lost.
    pub after_gap: bool,
    /// What its first payload said of its layers.
    pub info: payload::Info,
    /// Which way is up, when its packets told.
    pub orientation: Option<Orientation>,
    /// How loud it is, when its packets told (RFC 6464).
    pub audio_level: Option<AudioLevel>,
}

/// A frame that was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostFrame {
    /// The transceiver that it belongs to.
    pub transceiver: TransceiverId,
    /// The stream that it belongs to.
    pub receiver: ReceiverId,
    /// Its media time without wraps.
    pub timestamp: u64,
    /// Why.
    pub reason: Dropped,
}

/// A frame to be sent.
#[derive(Debug, Clone, Copy)]
pub struct FrameToSend<'a> {
    /// The payload type: one that was agreed for sending.
    pub payload_type: Pt,
    /// The media time, in units of the format's clock rate.
    pub timestamp: u32,
    /// The encoded frame, in the form that [`payload`] says for its encoding.
    pub data: &'a [u8],
    /// What the encoder says of it.
    pub info: FrameInfo,
    /// Header extension elements for each of its packets.
    pub extensions: &'a [(Kind, &'a [u8])],
}

impl<'a> FrameToSend<'a> {
    /// A frame of which nothing but its time is known.
    pub fn new(payload_type: Pt, timestamp: u32, data: &'a [u8]) -> Self {
        FrameToSend { payload_type, timestamp, data, info: FrameInfo::default(), extensions: &[] }
    }

    /// The same, said to be decodable without others.
    #[must_use]
    pub fn key_frame(mut self) -> Self {
        self.info.key_frame = true;
        self
    }
}

/// The machine of payloads for an encoding; `None` for what wraps or repairs others.
pub(super) fn payload_codec(codec: Codec) -> Option<payload::Codec> {
    Some(match codec {
        Codec::Opus => payload::Codec::Opus,
        Codec::Pcmu => payload::Codec::Pcmu,
        Codec::Pcma => payload::Codec::Pcma,
        Codec::G722 => payload::Codec::G722,
        Codec::L16 => payload::Codec::L16,
        Codec::ComfortNoise => payload::Codec::ComfortNoise,
        Codec::TelephoneEvent => payload::Codec::TelephoneEvent,
        Codec::Vp8 => payload::Codec::Vp8,
        Codec::Vp9 => payload::Codec::Vp9,
        Codec::H264 => payload::Codec::H264,
        Codec::H265 => payload::Codec::H265,
        Codec::Av1 => payload::Codec::Av1,
        Codec::Rtx | Codec::Red | Codec::Ulpfec | Codec::Flexfec => return None,
    })
}

/// What a packet brings to its frame.
#[derive(Debug)]
struct Part {
    codec: Codec,
    payload_type: Pt,
    timestamp: u32,
    marker: bool,
    payload: Bytes,
    orientation: Option<Orientation>,
    audio_level: Option<AudioLevel>,
}

/// Assembles the frames of one stream.
#[derive(Debug)]
pub(super) struct Assembler {
    reorder: Reorder<Part>,
    depacketizer: Option<(Codec, Depacketizer)>,
    time: ExtendedTime,
    /// The number that the next packet has, when none is missing.
    next: Option<u64>,
    /// Whether a key frame has come: before, nothing can be decoded.
    has_key_frame: bool,
    orientation: Option<Orientation>,
    audio_level: Option<AudioLevel>,
}

/// How long a gap is waited for: long enough for some requests where the peer sends again, or else about the time
/// that packets overtake each other.
pub(super) fn patience(nack: bool) -> Duration {
    Duration::from_millis(if nack { 500 } else { 50 })
}

/// Which stream frames belong to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) transceiver: TransceiverId,
    pub(super) receiver: ReceiverId,
    pub(super) rid: Option<Rid>,
}

/// What came of packets: frames, and whether one was lost.
pub(super) struct Assembled<'e> {
    pub(super) events: &'e mut VecDeque<Event>,
    /// Bytes of frames that wait.
    pub(super) waiting: &'e mut usize,
    /// Frames that were dropped because nobody polls.
    pub(super) dropped: &'e mut u64,
    pub(super) is_lost: bool,
}

impl Assembler {
    /// `max_wait` is how long a gap is waited for.
    pub(super) fn new(max_wait: Duration) -> Self {
        let config = ReorderConfig { max_wait, ..ReorderConfig::default() };
        Assembler {
            reorder: Reorder::new(config),
            depacketizer: None,
            time: ExtendedTime::new(),
            next: None,
            has_key_frame: false,
            orientation: None,
            audio_level: None,
        }
    }

    /// The sender has started to count anew.
    pub(super) fn restart(&mut self) {
        self.reorder.hurry();
    }

    /// Takes a packet; what comes of it goes into `out`.
    pub(super) fn handle_packet(
        &mut self,
        now: Instant,
        owner: Owner,
        packet: RtpPacket,
        out: &mut Assembled<'_>,
    ) {
        let (orientation, audio_level) = (packet.orientation(), packet.audio_level());
        let in_order = self.reorder.is_empty() && self.next.is_none_or(|next| next == packet.sequence);
        let RtpPacket { codec, payload_type, sequence, marker, payload, contents, header, .. } = packet;
        let range = contents.get(payload.clone()).unwrap_or_default();
        // What waits for others is copied: a slice would hold the memory of all that was received beside it.
        let payload = if in_order { contents.freeze().slice(payload) } else { Bytes::copy_from_slice(range) };
        let len = payload.len();
        let timestamp = header.timestamp.0;
        let part = Part { codec, payload_type, timestamp, marker, payload, orientation, audio_level };
        // One that comes too late, or again, is of no use.
        let _ = self.reorder.handle_packet(now, sequence, len + size_of::<Part>(), part);
        self.run(now, owner, out);
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.reorder.next_timeout()
    }

    /// Assembles what is in order, and gives up what has been waited for long enough.
    pub(super) fn run(&mut self, now: Instant, owner: Owner, out: &mut Assembled<'_>) {
        while let Some(next) = self.reorder.poll(now) {
            match next {
                Next::Packet { sequence, packet } => self.on_part(now, owner, sequence, packet, out),
                // The assembly sees by the numbers that something is missing.
                Next::Gap { .. } => {}
            }
        }
    }

    fn on_part(&mut self, now: Instant, owner: Owner, sequence: u64, part: Part, out: &mut Assembled<'_>) {
        self.next = Some(sequence + 1);
        let Some(codec) = payload_codec(part.codec) else { return };
        let is_same = self.depacketizer.as_ref().is_some_and(|(held, _)| *held == part.codec);
        if !is_same {
            self.depacketizer = Some((part.codec, Depacketizer::new(codec, DEFAULT_MAX_FRAME)));
        }
        let Some((_, depacketizer)) = &mut self.depacketizer else { return };
        self.orientation = part.orientation.or(self.orientation);
        self.audio_level = part.audio_level.or(self.audio_level);
        let Part { codec, payload_type, timestamp, marker, payload, .. } = part;
        let received = Received { sequence, timestamp, marker, payload: &payload };
        for outcome in depacketizer.handle_packet(received) {
            match outcome {
                Outcome::Frame(frame) => {
                    self.has_key_frame |= frame.key_frame;
                    out.is_lost |= !frame.key_frame && (frame.after_gap || !self.has_key_frame);
                    let (orientation, audio_level) = (self.orientation, self.audio_level.take());
                    let Owner { transceiver, receiver, rid } = owner;
                    out.push(MediaFrame {
                        transceiver,
                        receiver,
                        rid,
                        codec,
                        payload_type,
                        timestamp: self.time.extend(Serial32(frame.timestamp)),
                        packets: (frame.first, frame.last),
                        received: now,
                        key_frame: frame.key_frame,
                        after_gap: frame.after_gap,
                        info: frame.info,
                        orientation,
                        audio_level,
                        data: frame.data,
                    });
                }
                Outcome::Dropped { timestamp, reason } => {
                    out.is_lost = true;
                    let timestamp = self.time.extend(Serial32(timestamp));
                    let Owner { transceiver, receiver, .. } = owner;
                    out.tell_lost(LostFrame { transceiver, receiver, timestamp, reason });
                }
            }
        }
    }
}

impl MediaFrame {
    /// What it takes while it waits: one without data takes something as well.
    pub(super) fn weight(&self) -> usize {
        self.data.len() + size_of::<Event>()
    }
}

impl Assembled<'_> {
    fn push(&mut self, frame: MediaFrame) {
        if *self.waiting + frame.weight() > MAX_WAITING_BYTES {
            *self.dropped += 1;
            return;
        }
        *self.waiting += frame.weight();
        self.events.push_back(Event::Frame(frame));
    }

    fn tell_lost(&mut self, lost: LostFrame) {
        if self.events.len() < MAX_EVENTS {
            self.events.push_back(Event::FrameLost(lost));
        } else {
            *self.dropped += 1;
        }
    }
}
