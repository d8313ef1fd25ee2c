//! What waits to be sent and is not data: whole packets, and chunks that ride in the next packet.
//!
//! Both are answers to the peer, so both are bounded: what does not fit is dropped, and the peer asks again.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::chunk::error::{Cause, TAG_REFLECTED, emit_abort, emit_error};
use super::chunk::reconfig::{Outcome, emit_responses};
use super::chunk::{emit_chunk, kind};
use super::packet::{emit_header, patch_checksum};
use crate::wire::writer::Writer;

/// Whole packets kept.
const MAX_PACKETS: usize = 4;
/// Bytes of chunks kept.
const MAX_CHUNK_BYTES: usize = 8192;

/// Answers that wait.
#[derive(Debug, Default)]
pub(super) struct Control {
    packets: VecDeque<Bytes>,
    chunks: VecDeque<Bytes>,
    chunk_bytes: usize,
}

impl Control {
    /// Keeps a packet of its own: other tag, and always with a checksum.
    pub(super) fn packet(&mut self, ports: (u16, u16), tag: u32, body: impl FnOnce(&mut Writer<'_>)) {
        if self.packets.len() >= MAX_PACKETS {
            return;
        }
        let mut packet = BytesMut::new();
        let mut w = Writer::new(&mut packet);
        emit_header(&mut w, ports, tag);
        body(&mut w);
        patch_checksum(w.as_mut_slice());
        self.packets.push_back(packet.freeze());
    }

    /// ABORT, in answer to what we know the tag of.
    pub(super) fn abort(&mut self, ports: (u16, u16), tag: u32, cause: Cause<'_>) {
        self.packet(ports, tag, |w| emit_abort(w, 0, Some(cause)));
    }

    /// ABORT for a packet of no association (RFC 9260 §8.4 rule 8): its tag goes back.
    pub(super) fn abort_reflected(&mut self, ports: (u16, u16), tag: u32) {
        self.packet(ports, tag, |w| emit_abort(w, TAG_REFLECTED, None));
    }

    /// SHUTDOWN COMPLETE for a SHUTDOWN ACK of no association (RFC 9260 §8.4 rule 5).
    pub(super) fn shutdown_complete_reflected(&mut self, ports: (u16, u16), tag: u32) {
        self.packet(ports, tag, |w| emit_chunk(w, kind::SHUTDOWN_COMPLETE, TAG_REFLECTED, |_| {}));
    }

    /// Keeps chunks for the next packet.
    pub(super) fn chunk(&mut self, body: impl FnOnce(&mut Writer<'_>)) {
        let mut chunk = BytesMut::new();
        body(&mut Writer::new(&mut chunk));
        if self.chunk_bytes + chunk.len() <= MAX_CHUNK_BYTES {
            self.chunk_bytes += chunk.len();
            self.chunks.push_back(chunk.freeze());
        }
    }

    /// COOKIE ACK goes before everything else (RFC 9260 §5.1.5 step 6).
    pub(super) fn cookie_ack(&mut self) {
        let mut chunk = BytesMut::new();
        emit_chunk(&mut Writer::new(&mut chunk), kind::COOKIE_ACK, 0, |_| {});
        if self.chunks.front().is_none_or(|first| *first != chunk) {
            self.chunk_bytes += chunk.len();
            self.chunks.push_front(chunk.freeze());
        }
    }

    pub(super) fn error(&mut self, cause: Cause<'_>) {
        self.chunk(|w| emit_error(w, cause));
    }

    pub(super) fn reconfig_answers(&mut self, answers: &[(u32, Outcome)]) {
        self.chunk(|w| emit_responses(w, answers));
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty() && self.chunks.is_empty()
    }

    pub(super) fn poll_packet(&mut self) -> Option<Bytes> {
        self.packets.pop_front()
    }

    /// Appends as many of the waiting chunks as fit into `room` bytes, in order.
    pub(super) fn emit(&mut self, w: &mut Writer<'_>, room: usize) {
        let end = w.written() + room;
        while let Some(chunk) = self.chunks.front().filter(|chunk| w.written() + chunk.len() <= end) {
            self.chunk_bytes -= chunk.len();
            w.slice(chunk);
            self.chunks.pop_front();
        }
    }

    /// Gives back memory that is not in use.
    pub(super) fn slim(&mut self) {
        self.packets.shrink_to_fit();
        self.chunks.shrink_to_fit();
    }

    /// Forgets what waits: the association is over.
    pub(super) fn clear(&mut self) {
        *self = Control::default();
    }
}
