//! What is sent: control chunks, then SACK, then data, in packets of at most the packet size (RFC 9260 §6.10).

use std::time::Instant;

use bytes::BytesMut;

use super::association::{Association, Peer, State};
use super::chunk::sack::{GapBlock, emit_sack};
use super::chunk::{CHUNK_HEADER_LEN, emit_chunk, kind};
use super::handshake::emit_cookie_echo;
use super::heartbeat;
use super::packet::{HEADER_LEN, emit_header, patch_checksum};
use crate::wire::writer::Writer;

/// Bytes of SHUTDOWN.
const SHUTDOWN_LEN: usize = 8;

/// Whether a packet carries its checksum (RFC 9653 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checksum {
    Real,
    Zero,
}

impl Association {
    /// Appends one packet behind what `out` holds, at most the packet size long; false when nothing has to leave.
    ///
    /// `now` is the one of the last input. Polling until `false` leaves nothing behind: polling again without new
    /// input writes nothing.
    pub fn poll_packet(&mut self, now: Instant, out: &mut BytesMut) -> bool {
        let start = out.len();
        let wrote = match self.control.poll_packet() {
            Some(packet) => {
                out.extend_from_slice(&packet);
                true
            }
            None => self.write_packet(now, out, start),
        };
        if wrote {
            self.stats.packets_sent += 1;
            self.stats.bytes_sent += (out.len() - start) as u64;
        }
        wrote
    }

    /// True only when [`poll_packet`](Self::poll_packet) would write nothing: asked before a place is made for a
    /// packet.
    pub(crate) fn is_silent(&self) -> bool {
        let is_empty = match (&self.state, self.peer) {
            (State::Ended, _) | (State::Closed, None) => true,
            (State::Established, Some(_)) => {
                let is_due = self.heartbeat.is_due() || self.reset.is_due() || self.receiver.is_sack_due();
                !is_due && self.sender.is_silent()
            }
            _ => false,
        };
        is_empty && self.control.is_empty()
    }

    fn write_packet(&mut self, now: Instant, out: &mut BytesMut, start: usize) -> bool {
        let (end, checksum) = match (&self.state, self.peer) {
            (State::Ended, _) | (State::Closed, None) => return false,
            (State::CookieWait { .. }, _) => return self.write_init(now, out),
            (_, None) => return false,
            (_, Some(peer)) => {
                let ports = self.ports();
                let mut w = Writer::new(out);
                emit_header(&mut w, ports, peer.tag);
                let (is_kept, checksum) = self.write_chunks(now, &mut w, &peer);
                // A SACK that could still wait does not leave alone.
                (if is_kept { w.written() } else { 0 }, checksum)
            }
        };
        out.truncate(start + end);
        if end <= HEADER_LEN {
            out.truncate(start);
            return false;
        }
        if checksum == Checksum::Real {
            patch_checksum(out.get_mut(start..).unwrap_or_default());
        }
        true
    }

    fn write_init(&mut self, now: Instant, out: &mut BytesMut) -> bool {
        let State::CookieWait { t1_init } = &mut self.state else { return false };
        if !t1_init.is_due() {
            return false;
        }
        t1_init.on_sent(now);
        let mut w = Writer::new(out);
        emit_header(&mut w, self.ports(), 0);
        self.emit_init(&mut w);
        // RFC 9653 §5.2: the peer cannot know yet what we accept.
        patch_checksum(w.as_mut_slice());
        true
    }

    /// Writes chunks behind the header; says whether they are worth a packet.
    fn write_chunks(&mut self, now: Instant, w: &mut Writer<'_>, peer: &Peer) -> (bool, Checksum) {
        let mtu = self.config.mtu;
        let mut checksum = if peer.agreed.zero_checksum { Checksum::Zero } else { Checksum::Real };
        if let State::CookieEchoed { t1_cookie, cookie } = &mut self.state {
            // RFC 9260 §5.1 C: until COOKIE ACK, nothing leaves but what rides with COOKIE ECHO.
            if !t1_cookie.is_due() {
                return (false, checksum);
            }
            emit_cookie_echo(w, cookie);
            t1_cookie.on_sent(now);
            checksum = Checksum::Real;
        }
        self.control.emit(w, mtu - w.written());
        self.write_shutdown(now, w);
        if self.heartbeat.is_due() && w.written() + heartbeat::CHUNK_LEN <= mtu {
            self.heartbeat.emit(now, w);
        }
        self.reset.emit(now, w, mtu - w.written());
        let before_sack = w.written();
        let is_due = self.receiver.is_sack_due();
        let with_sack = (is_due || self.receiver.is_sack_owed()) && self.write_sack(w, mtu);
        let after_sack = w.written();
        if self.may_send_data() {
            self.sender.emit_chunks(now, w, mtu.saturating_sub(after_sack));
        }
        let has_company = before_sack > HEADER_LEN || w.written() > after_sack;
        let is_kept = has_company || (with_sack && is_due);
        if with_sack && is_kept {
            self.receiver.on_sack_sent();
        }
        (is_kept, checksum)
    }

    fn may_send_data(&self) -> bool {
        matches!(
            self.state,
            State::CookieEchoed { .. }
                | State::Established
                | State::ShutdownPending
                | State::ShutdownReceived
        )
    }

    fn write_shutdown(&mut self, now: Instant, w: &mut Writer<'_>) {
        let room = self.config.mtu - w.written();
        match &mut self.state {
            State::ShutdownSent { t2_shutdown } if t2_shutdown.is_due() && room >= SHUTDOWN_LEN => {
                t2_shutdown.on_sent(now);
                let cumulative = self.receiver.cumulative();
                emit_chunk(w, kind::SHUTDOWN, 0, |w| w.u32(cumulative.0));
            }
            State::ShutdownAckSent { t2_shutdown } if t2_shutdown.is_due() && room >= CHUNK_HEADER_LEN => {
                t2_shutdown.on_sent(now);
                emit_chunk(w, kind::SHUTDOWN_ACK, 0, |_| {});
            }
            _ => {}
        }
    }

    fn write_sack(&mut self, w: &mut Writer<'_>, mtu: usize) -> bool {
        let sack = self.receiver.sack();
        let gaps = sack.gaps().map(|(start, end)| GapBlock { start, end });
        let duplicates = sack.duplicates().iter().copied();
        emit_sack(w, mtu - w.written(), sack.cumulative(), sack.window(), gaps, duplicates)
    }
}
