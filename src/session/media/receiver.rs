//! One RTP stream of the peer.

use std::time::Instant;

use crate::rtp::extended::{ExtendedSequence, ExtendedTime};
use crate::rtp::header::Header;
use crate::types::ids::{Rid, Ssrc};

use super::packet::ReceiverId;

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
    pub(super) sequence: ExtendedSequence,
    pub(super) time: ExtendedTime,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) last_packet: Instant,
    /// When a key frame was asked for.
    pub(super) key_frame_asked: Option<Instant>,
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
            sequence: ExtendedSequence::new(),
            time: ExtendedTime::new(),
            packets: 0,
            bytes: 0,
            last_packet: now,
            key_frame_asked: None,
        }
    }

    /// Whether it carries media of its own.
    pub(super) fn is_media(&self) -> bool {
        self.role == Role::Media
    }

    /// Counts a packet of this stream's own; its sequence number and media time without wraps.
    pub(super) fn on_packet(&mut self, now: Instant, header: &Header, payload_len: usize) -> (u64, u64) {
        self.packets += 1;
        self.bytes += payload_len as u64;
        self.last_packet = now;
        (self.sequence.extend(header.sequence), self.time.extend(header.timestamp))
    }
}
