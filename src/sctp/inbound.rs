//! What a packet does: the tag check (RFC 9260 §8.5), then chunk by chunk.

use std::time::Instant;

use bytes::Bytes;

use super::association::{Association, State};
use super::chunk::data::{DataChunk, DataFormat};
use super::chunk::error::{Cause, TAG_REFLECTED, describe, has_stale_cookie};
use super::chunk::forward_tsn::ForwardTsn;
use super::chunk::parameter::Unknown;
use super::chunk::sack::Sack;
use super::chunk::{CHUNK_HEADER_LEN, Chunks, RawChunk, emit_chunk, kind};
use super::packet::{HEADER_LEN, Header, is_intact};
use super::tx::SackOutcome;
use super::types::CloseReason;
use crate::packet::Ecn;
use crate::wire::Malformed;

/// Of an unknown chunk, so much is told back.
const MAX_REPORTED: usize = 256;

/// Whether the rest of the packet is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    Stop,
}

impl Association {
    /// Takes in one packet: the plaintext of one DTLS record (RFC 8261 §5). `ecn` is the mark that its datagram came
    /// with; SCTP has no use for it yet.
    pub fn handle_packet(&mut self, now: Instant, packet: Bytes, ecn: Ecn) {
        let _ = ecn;
        self.stats.packets_received += 1;
        self.stats.bytes_received += packet.len() as u64;
        let Ok(header) = Header::parse(&packet) else {
            self.stats.packets_malformed += 1;
            return;
        };
        if header.destination != self.config.local_port {
            self.stats.packets_malformed += 1;
            return;
        }
        // RFC 9653 §5.3: zero is taken for "protected elsewhere", once we have said that we accept it.
        let is_exempt = self.offer.extensions.zero_checksum && header.checksum == [0; 4];
        if !is_exempt && !is_intact(&packet, header.checksum) {
            self.stats.packets_corrupt += 1;
            return;
        }
        match self.admit(&header, &packet) {
            Verdict::Ours => {
                // Two time-outs in a row: the path was dead, and this packet says that it is back.
                if self.sender.timeouts_in_a_row() >= 2 {
                    self.sender.on_sign_of_life(now);
                }
                self.handle_chunks(now, header.tag, packet);
            }
            Verdict::OutOfTheBlue => self.answer_out_of_the_blue(&header, &packet),
            Verdict::Foreign => self.stats.packets_foreign += 1,
        }
    }

    /// RFC 9260 §8.5 and §8.5.1: whose packet is it?
    fn admit(&self, header: &Header, packet: &[u8]) -> Verdict {
        if matches!(self.state, State::Ended) {
            return Verdict::OutOfTheBlue;
        }
        if header.tag == self.offer.tag && self.peer.is_some() {
            return Verdict::Ours;
        }
        let mut chunks = Chunks::new(packet, HEADER_LEN);
        let Some(Ok(first)) = chunks.next() else { return Verdict::Foreign };
        let is_reflected = first.flags & TAG_REFLECTED != 0;
        let is_peers_tag = self.peer.is_some_and(|peer| peer.tag == header.tag);
        match first.kind {
            // §8.5.1 A: alone, and with tag 0.
            kind::INIT if header.tag == 0 && chunks.next().is_none() => Verdict::Ours,
            _ if header.tag == 0 => Verdict::Foreign,
            // §8.5.1 D: the tag is compared with the cookie's.
            kind::COOKIE_ECHO => Verdict::Ours,
            kind::ABORT | kind::SHUTDOWN_COMPLETE if is_reflected && is_peers_tag => Verdict::Ours,
            kind::INIT_ACK | kind::ABORT if header.tag == self.offer.tag => Verdict::Ours,
            _ if matches!(self.state, State::Closed) && header.tag != self.offer.tag => Verdict::OutOfTheBlue,
            // §8.5.1 E.
            kind::SHUTDOWN_ACK if self.is_in_handshake() => Verdict::OutOfTheBlue,
            _ => Verdict::Foreign,
        }
    }

    fn is_in_handshake(&self) -> bool {
        matches!(self.state, State::CookieWait { .. } | State::CookieEchoed { .. })
    }

    /// RFC 9260 §8.4: a packet of no association gets at most one answer.
    fn answer_out_of_the_blue(&mut self, header: &Header, packet: &[u8]) {
        self.stats.packets_foreign += 1;
        let mut chunks = Chunks::new(packet, HEADER_LEN);
        let mut has_shutdown_ack = false;
        while let Some(Ok(chunk)) = chunks.next() {
            match chunk.kind {
                kind::ABORT | kind::SHUTDOWN_COMPLETE | kind::COOKIE_ACK | kind::INIT => return,
                kind::COOKIE_ECHO => return,
                kind::ERROR if has_stale_cookie(chunk.value) => return,
                kind::SHUTDOWN_ACK => has_shutdown_ack = true,
                _ => {}
            }
        }
        let ports = self.ports();
        if has_shutdown_ack {
            self.control.shutdown_complete_reflected(ports, header.tag);
        } else {
            self.control.abort_reflected(ports, header.tag);
        }
    }

    fn handle_chunks(&mut self, now: Instant, tag: u32, packet: Bytes) {
        let mut chunks = Chunks::new(&packet, HEADER_LEN);
        let mut reported = false;
        while let Some(chunk) = chunks.next() {
            let flow = match chunk {
                Ok(chunk) => self.on_chunk(now, tag, &packet, &chunk, &mut reported),
                Err(malformed) => Err(malformed),
            };
            match flow {
                Ok(Flow::Continue) => {}
                Ok(Flow::Stop) => break,
                Err(Malformed(what)) => {
                    self.stats.chunks_malformed += 1;
                    tracing::debug!(what, "malformed SCTP chunk");
                    break;
                }
            }
        }
        // Also when it ended the association: what it brought before that is handed out.
        self.receiver.end_of_packet(now, packet);
        if !matches!(self.state, State::Ended) {
            self.settle(now);
        }
    }

    fn on_chunk(
        &mut self,
        now: Instant,
        tag: u32,
        packet: &[u8],
        chunk: &RawChunk<'_>,
        reported: &mut bool,
    ) -> Result<Flow, Malformed> {
        match chunk.kind {
            kind::DATA => return self.on_data(now, DataFormat::Plain, chunk),
            kind::SACK => self.on_sack(now, chunk.value)?,
            kind::I_DATA if self.offer.extensions.interleaving => {
                return self.on_data(now, DataFormat::Interleaved, chunk);
            }
            // RFC 9260 §8.5.1 A: with tag 0, and then it is alone; bundled with anything it is dropped.
            kind::INIT if tag == 0 => return self.on_init(now, chunk.value),
            kind::INIT => return Ok(Flow::Stop),
            kind::INIT_ACK => return self.on_init_ack(chunk.value),
            kind::COOKIE_ECHO => return self.on_cookie_echo(now, packet, chunk),
            kind::COOKIE_ACK => self.on_cookie_ack(now),
            kind::HEARTBEAT => self.on_heartbeat(chunk.value),
            kind::HEARTBEAT_ACK => {
                if let Some(rtt) = self.heartbeat.on_ack(now, chunk.value) {
                    self.sender.on_rtt(rtt);
                }
            }
            kind::ABORT | kind::SHUTDOWN_COMPLETE if !self.is_for_us(tag, chunk.flags) => {
                return Ok(Flow::Stop);
            }
            kind::ABORT => return Ok(self.on_abort(chunk.value)),
            kind::ERROR => self.on_error(chunk.value),
            kind::SHUTDOWN => self.on_shutdown(now, chunk.value)?,
            kind::SHUTDOWN_ACK => return Ok(self.on_shutdown_ack()),
            kind::SHUTDOWN_COMPLETE => return Ok(self.on_shutdown_complete()),
            kind::RE_CONFIG => self.on_reconfig(now, chunk.value),
            kind::FORWARD_TSN => return self.on_forward_tsn(DataFormat::Plain, chunk.value),
            kind::I_FORWARD_TSN if self.offer.extensions.interleaving => {
                return self.on_forward_tsn(DataFormat::Interleaved, chunk.value);
            }
            _ => return Ok(self.on_unknown(packet, chunk, reported)),
        }
        Ok(Flow::Continue)
    }

    /// RFC 9260 §8.5.1 B and C: our tag, or the peer's own sent back to us.
    fn is_for_us(&self, tag: u32, flags: u8) -> bool {
        match flags & TAG_REFLECTED {
            0 => tag == self.offer.tag,
            _ => self.peer.is_some_and(|peer| peer.tag == tag),
        }
    }

    #[inline]
    fn on_data(&mut self, now: Instant, format: DataFormat, chunk: &RawChunk<'_>) -> Result<Flow, Malformed> {
        let Some(peer) = self.peer else { return Ok(Flow::Stop) };
        match self.state {
            State::Established | State::ShutdownPending | State::ShutdownSent { .. } => {}
            // A peer that sends data has taken our cookie: its COOKIE ACK is late or lost. RFC 9260 §6 would
            // discard the data, which costs a time-out and gains nothing.
            State::CookieEchoed { .. } => self.establish(now),
            // RFC 9260 §6: discarded in all other states.
            _ => return Ok(Flow::Continue),
        }
        // RFC 8260 §2.2.1, §2.2.3: one of the two was agreed on.
        if format != peer.format() {
            return Ok(self.violation("DATA and I-DATA are mixed"));
        }
        let data = DataChunk::parse(format, chunk)?;
        if data.payload.is_empty() {
            // RFC 9260 §6.2: No User Data.
            let reason = CloseReason::ProtocolViolation("DATA without user data");
            self.end_with(reason, Some(Cause::NoUserData(data.tsn.0)));
            return Ok(Flow::Stop);
        }
        if data.stream.0 >= peer.inbound_streams {
            // RFC 9260 §6.5: acknowledged, told, and not kept. The receiver acknowledges.
            self.control.error(Cause::InvalidStream(data.stream.0));
            self.receiver.on_discarded(data.tsn);
            return Ok(Flow::Continue);
        }
        match self.receiver.on_data(&data, chunk.range.end - data.payload.len()) {
            Ok(()) => {
                if let State::ShutdownSent { t2_shutdown } = &mut self.state {
                    // RFC 9260 §9.2: answered with SHUTDOWN at once.
                    t2_shutdown.send_now();
                }
                Ok(Flow::Continue)
            }
            Err(violation) => Ok(self.violation(violation.0)),
        }
    }

    /// The peer did what it must not: ABORT, with the words.
    pub(super) fn violation(&mut self, words: &'static str) -> Flow {
        self.end_with(CloseReason::ProtocolViolation(words), Some(Cause::ProtocolViolation(words)));
        Flow::Stop
    }

    #[inline]
    fn on_sack(&mut self, now: Instant, value: &[u8]) -> Result<(), Malformed> {
        let sack = Sack::parse(value)?;
        // Until the peer took our cookie it has nothing to acknowledge.
        if !matches!(self.state, State::Closed | State::CookieWait { .. }) {
            self.peer_window = sack.a_rwnd;
            let gaps = sack.gaps().map(|gap| (gap.start, gap.end));
            let outcome = self.sender.on_sack(now, sack.cumulative_tsn, sack.a_rwnd, gaps, sack.duplicates());
            // What rode with COOKIE ECHO has arrived, so the cookie has: its COOKIE ACK is late or lost.
            if outcome == SackOutcome::Progress && matches!(self.state, State::CookieEchoed { .. }) {
                self.establish(now);
            }
        }
        Ok(())
    }

    fn on_forward_tsn(&mut self, format: DataFormat, value: &[u8]) -> Result<Flow, Malformed> {
        let forward = ForwardTsn::parse(format, value)?;
        let Some(peer) = self.peer else { return Ok(Flow::Stop) };
        // RFC 8260 §2.3.1: each goes with its own DATA.
        if format != peer.format() {
            return Ok(self.violation("FORWARD-TSN and I-FORWARD-TSN are mixed"));
        }
        if matches!(self.state, State::Established | State::ShutdownPending | State::ShutdownSent { .. }) {
            self.receiver.on_forward_tsn(forward.new_cumulative, forward.skipped());
        }
        Ok(Flow::Continue)
    }

    /// RFC 9260 §8.3: the same information goes back. What would not fit a packet is not answered.
    fn on_heartbeat(&mut self, value: &[u8]) {
        if HEADER_LEN + CHUNK_HEADER_LEN + value.len().next_multiple_of(4) <= self.config.mtu {
            self.control.chunk(|w| emit_chunk(w, kind::HEARTBEAT_ACK, 0, |w| w.slice(value)));
        }
    }

    fn on_abort(&mut self, value: &[u8]) -> Flow {
        self.end_with(CloseReason::PeerAborted(describe(value)), None);
        self.control.clear();
        Flow::Stop
    }

    fn on_error(&mut self, value: &[u8]) {
        if has_stale_cookie(value) && matches!(self.state, State::CookieEchoed { .. }) {
            return self.on_stale_cookie();
        }
        tracing::debug!(cause = describe(value), "SCTP peer reports an error");
    }

    fn on_reconfig(&mut self, now: Instant, value: &[u8]) {
        if !matches!(self.state, State::Established) {
            return;
        }
        let rto = self.sender.rto();
        let Some((reset, mut parts)) = self.reset_parts() else { return };
        let answers = reset.on_reconfig(now, value, rto, &mut parts);
        if !answers.is_empty() {
            self.control.reconfig_answers(&answers);
            // RFC 6525 §5.2.1: with a SACK, so that the peer learns what is still missing.
            self.receiver.owe_sack();
        }
    }

    /// RFC 9260 §3.2: the two highest bits of the type say what to do.
    fn on_unknown(&mut self, packet: &[u8], chunk: &RawChunk<'_>, reported: &mut bool) -> Flow {
        self.stats.chunks_unknown += 1;
        let unknown = Unknown::chunk(chunk.kind);
        // One report per packet, so that many small chunks are not answered with many larger ones.
        if unknown.report && !*reported && self.peer.is_some() {
            *reported = true;
            let start = chunk.range.start - CHUNK_HEADER_LEN;
            let end = chunk.range.end.min(start + MAX_REPORTED);
            self.control.error(Cause::UnrecognizedChunk(packet.get(start..end).unwrap_or_default()));
        }
        if unknown.skip { Flow::Continue } else { Flow::Stop }
    }
}

/// Whose a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Of this association, or about to make one.
    Ours,
    /// Of none, and worth an answer.
    OutOfTheBlue,
    /// Of none: dropped.
    Foreign,
}
