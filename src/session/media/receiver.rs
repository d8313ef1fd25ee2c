//! One RTP stream of the peer.

use std::time::Instant;

use crate::fec::Recovery;
use crate::rtp::extended::ExtendedTime;
use crate::rtp::header::Header;
use crate::rtp::stream::key_frames::{DEFAULT_INTERVAL, KeyFrameRequests, Repeat};
use crate::rtp::stream::receive::{NackConfig, Nacks, Statistics, Verdict};
use crate::types::codec::{Codec, Feedback};
use crate::types::ids::{Pt, Rid, Ssrc};
use crate::wire::window::ReplayWindow;

use super::frames::Assembler;
use super::packet::{ReceiverId, RtpPacket};
use super::sender::starts_key_frame;
use super::stats::{Requests, Told};

/// What a stream is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It carries media.
    Media,
    /// It repairs the stream at this place; `None` while that one is not there yet (RFC 4588).
    Repair {
        /// The place among the receivers.
        of: Option<u32>,
    },
}

/// A stream that at least one authentic packet arrived of.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) id: ReceiverId,
    pub(super) ssrc: Ssrc,
    /// The transceiver that it belongs to.
    pub(super) line: u16,
    pub(super) rid: Option<Rid>,
    pub(super) role: Role,
    pub(super) statistics: Statistics,
    pub(super) time: ExtendedTime,
    /// What is missing.
    pub(super) nacks: Nacks,
    /// Which of the last numbers were delivered: packets come as they are, again, and out of redundancy.
    pub(super) delivered: ReplayWindow<16>,
    /// Parity and what it covers, from the first parity on.
    pub(super) recovery: Option<Box<Recovery>>,
    /// The application's requests for key frames.
    pub(super) key_frames: KeyFrameRequests,
    /// The number of the last full intra request (RFC 5104 §4.3.1.1).
    pub(super) full_intra_number: u8,
    /// What was agreed for the format that came last.
    pub(super) feedback: Feedback,
    /// The format that came last.
    pub(super) codec: Option<(Codec, Pt)>,
    pub(super) last_packet: Instant,
    /// When the last packet with a payload came.
    pub(super) heard: Instant,
    /// It has been silent for [`PAUSED_AFTER`](super::pause::PAUSED_AFTER), and the application was told.
    pub(super) is_paused: bool,
    /// Missing packets that came in a stream of retransmissions, and out of redundancy.
    pub(super) retransmitted: u64,
    pub(super) recovered: u64,
    /// What was asked for.
    pub(super) requests: Requests,
    /// The sender's last report.
    pub(super) told: Option<Told>,
    /// Assembles frames, where the application takes those.
    pub(super) frames: Option<Box<Assembler>>,
}

impl Receiver {
    pub(super) fn new(
        id: ReceiverId,
        ssrc: Ssrc,
        line: u16,
        rid: Option<Rid>,
        role: Role,
        now: Instant,
    ) -> Self {
        Receiver {
            id,
            ssrc,
            line,
            rid,
            role,
            statistics: Statistics::new(90_000),
            time: ExtendedTime::new(),
            nacks: Nacks::new(NackConfig::default()),
            delivered: ReplayWindow::default(),
            recovery: None,
            key_frames: KeyFrameRequests::new(DEFAULT_INTERVAL, Repeat::Times(MAX_REQUESTS)),
            full_intra_number: 0,
            feedback: Feedback::default(),
            codec: None,
            last_packet: now,
            heard: now,
            is_paused: false,
            retransmitted: 0,
            recovered: 0,
            requests: Requests::default(),
            told: None,
            frames: None,
        }
    }

    /// Whether it carries media of its own.
    pub(super) fn is_media(&self) -> bool {
        self.role == Role::Media
    }

    /// Counts a packet of this stream's own; what its number says.
    pub(super) fn on_packet(&mut self, now: Instant, header: &Header, payload_len: usize) -> Verdict {
        self.last_packet = now;
        // Padding probes the path; it is no sign of life of what the stream carries.
        if payload_len > 0 {
            self.heard = now;
        }
        let Header { sequence, timestamp, .. } = *header;
        let verdict = self.statistics.handle_packet(now, sequence, timestamp, payload_len);
        if matches!(verdict, Verdict::Restart(_)) {
            self.nacks.reset();
            self.frames.iter_mut().for_each(|frames| frames.restart());
        }
        self.time.extend(timestamp);
        verdict
    }

    /// Whether the packet with this number was not delivered, and still may be.
    pub(super) fn is_missing(&self, sequence: u64) -> bool {
        self.delivered.is_fresh(sequence)
    }

    /// A packet is delivered: with the start of a key frame nobody waits for one any more.
    pub(super) fn note_key_frame(&mut self, packet: &RtpPacket) {
        if self.key_frames.next_timeout().is_some() && starts_key_frame(packet.codec, packet.payload()) {
            self.key_frames.on_key_frame();
        }
    }
}

/// How often a request for a key frame is made again while none comes.
const MAX_REQUESTS: u8 = 5;
