//! What leaves, and in which order: FORWARD-TSN, what got lost, then what is new.

use super::*;
use crate::sctp::chunk::forward_tsn::{Skipped, emit_forward_tsn};

impl Sender {
    /// Appends chunks of at most `room` bytes, all padding included, to a packet; says how many bytes it wrote.
    /// A chunk that was cut for a larger packet size exceeds the room of a packet that it has for itself (RFC 9260
    /// §6.9 leaves no other way).
    pub(in crate::sctp) fn emit_chunks(&mut self, now: Instant, w: &mut Writer<'_>, room: usize) -> usize {
        let Some(agreed) = self.agreed else { return 0 };
        let before = w.written();
        if self.forward_due {
            self.emit_forward(agreed, w, room);
        }
        let rate = self.rate();
        self.pacer.refill(now, rate);
        if self.pacer.is_open() {
            self.emit_lost(now, agreed, w, before + room);
            self.emit_new(now, agreed, w, before + room);
        } else if self.has_work() {
            self.timers.pacing.arm(self.pacer.opens_at(rate));
        }
        let written = w.written() - before;
        if written > 0 {
            self.pacer.on_sent(written);
            self.arm_after_sending(now);
        }
        written
    }

    fn rate(&self) -> Rate {
        Rate {
            window: self.congestion.window(),
            rtt: self.rtt.smoothed().unwrap_or(Duration::ZERO),
            is_slow_start: self.congestion.is_slow_start(),
            packet: self.max_payload,
        }
    }

    /// Whether the pacer alone keeps something from leaving.
    fn has_work(&mut self) -> bool {
        let lost = self.outstanding.next_lost().is_some();
        lost || (!self.queues.is_empty() && self.has_window())
    }

    /// Whether the congestion window lets something leave.
    fn has_window(&self) -> bool {
        self.may_probe || self.outstanding.flight_bytes() < self.congestion.window()
    }

    fn emit_lost(&mut self, now: Instant, agreed: Agreed, w: &mut Writer<'_>, end: usize) {
        while let Some(tsn) = self.outstanding.next_lost() {
            if !self.has_window() && self.outstanding.flight_bytes() > 0 {
                return;
            }
            let Some(item) = self.outstanding.get(tsn) else { return };
            let chunk = chunk(tsn, item);
            let is_oversized = item.payload.len() > self.max_payload && w.written() <= 12;
            if w.written() + chunk.emitted_len(agreed.format) > end && !is_oversized {
                return;
            }
            chunk.emit(agreed.format, w);
            self.outstanding.on_resent(now, tsn);
            self.may_probe = false;
            self.stats.chunks_sent += 1;
            self.stats.chunks_resent += 1;
            if let Some(recovery) = &mut self.recovery {
                recovery.on_resent(tsn);
            }
        }
    }

    fn emit_new(&mut self, now: Instant, agreed: Agreed, w: &mut Writer<'_>, end: usize) {
        let header = agreed.format.header_len();
        while self.has_window() {
            let Some(room) = end.checked_sub(w.written() + header).filter(|&r| r >= 4) else { return };
            let room = (room / 4 * 4).min(self.max_payload);
            let peer_room = self.peer_window.saturating_sub(self.outstanding.flight_bytes());
            let is_idle = self.outstanding.is_empty();
            let Some((stream, outbound)) = self.queues.turn() else { return };
            let Some(message) = outbound.queue.front_mut() else { return };
            let len = message.data.len().min(room);
            let is_last = len == message.data.len();
            // A sliver of a message that fits the next packet whole is not worth its header.
            if !is_last && len < MIN_FRAGMENT.min(self.max_payload) {
                return;
            }
            // RFC 9260 §6.1 A: a closed window is probed by one chunk, when nothing is on its way.
            if len > peer_room && !is_idle {
                return;
            }
            let payload =
                if is_last { std::mem::take(&mut message.data) } else { message.data.split_to(len) };
            let begun = message.begun;
            let is_unordered = message.is_unordered;
            let (policy, ppid, is_control) = (message.policy, message.ppid, message.is_control);
            let Begun { sequence, fsn } = begun.unwrap_or_else(|| {
                let next = match (is_unordered, agreed.format) {
                    // RFC 9260 §3.3.1: the SSN of unordered DATA means nothing.
                    (true, DataFormat::Plain) => return Begun { sequence: 0, fsn: 0 },
                    (true, DataFormat::Interleaved) => &mut outbound.next_unordered,
                    (false, _) => &mut outbound.next_ordered,
                };
                let sequence = *next;
                *next = next.wrapping_add(1);
                if agreed.format == DataFormat::Plain {
                    *next &= 0xffff;
                }
                Begun { sequence, fsn: 0 }
            });
            if is_last {
                outbound.queue.pop_front();
            } else {
                message.begun = Some(Begun { sequence, fsn: fsn.wrapping_add(1) });
            }
            outbound.outstanding += 1;
            if is_control {
                self.control_bytes -= len;
            } else {
                let was_above = outbound.buffered > outbound.low_threshold;
                outbound.buffered -= len;
                self.queued_bytes -= len;
                self.queued_messages -= usize::from(is_last);
                if was_above && outbound.buffered <= outbound.low_threshold {
                    self.events.push_back(Event::BufferedAmountLow(stream));
                }
            }
            self.queues.charge(len + header, !is_last && agreed.format == DataFormat::Plain);
            let item = Item {
                payload,
                sent_at: now,
                ppid,
                sequence,
                fsn,
                policy,
                stream,
                transmissions: 1,
                is_unordered,
                is_first: begun.is_none(),
                is_last,
                state: ItemState::InFlight,
            };
            let tsn = self.outstanding.next_tsn();
            chunk(tsn, &item).emit(agreed.format, w);
            if let Some(policy) = policy {
                self.policies.on_sent(policy, tsn, is_last);
            }
            self.outstanding.push(item);
            self.may_probe = false;
            self.stats.chunks_sent += 1;
        }
    }

    /// RFC 3758 §3.5 C3, RFC 8260 §2.3.1: tells the peer what not to wait for.
    fn emit_forward(&mut self, agreed: Agreed, w: &mut Writer<'_>, room: usize) {
        self.forward_due = false;
        let Some(point) = self.forward_point() else { return };
        let mut skipped: Vec<Skipped> = Vec::new();
        for (tsn, item) in self.outstanding.iter() {
            if tsn.is_after(point) {
                break;
            }
            let named = item.state == ItemState::Abandoned
                && (agreed.format == DataFormat::Interleaved || !item.is_unordered);
            if !named {
                continue;
            }
            let entry =
                Skipped { stream: item.stream, unordered: item.is_unordered, ssn_or_mid: item.sequence };
            // Later messages of a stream come later: the last entry of each stream stands.
            match skipped.iter_mut().find(|s| s.stream == entry.stream && s.unordered == entry.unordered) {
                Some(known) => *known = entry,
                None => skipped.push(entry),
            }
        }
        if !emit_forward_tsn(agreed.format, w, room, point, skipped) {
            self.forward_due = true;
        }
    }

    /// RFC 3758 §3.5 C2: the last chunk that was given up before anything that the peer still needs.
    pub(super) fn forward_point(&self) -> Option<Serial32> {
        let mut point = None;
        for (tsn, item) in self.outstanding.iter() {
            match item.state {
                ItemState::Abandoned => point = Some(tsn),
                ItemState::Acked => {}
                ItemState::InFlight | ItemState::Lost => break,
            }
        }
        point
    }

    fn arm_after_sending(&mut self, now: Instant) {
        if self.outstanding.is_empty() {
            return;
        }
        // RFC 9260 §6.3.2 R1.
        self.timers.t3_rtx.arm_if_idle(now + self.rtt.rto());
        self.arm_probe(now);
    }

    /// RFC 8985 §7.2: if no SACK comes within two round trips, the tail is sent again before the time-out.
    pub(super) fn arm_probe(&mut self, now: Instant) {
        let Some(rtt) = self.rtt.smoothed().filter(|_| !self.has_probed && !self.outstanding.is_empty())
        else {
            self.timers.probe.cancel();
            return;
        };
        let is_lone = self.outstanding.flight_bytes() <= self.max_payload;
        let wait = 2 * rtt + if is_lone { PEER_ACK_DELAY } else { Duration::from_millis(2) };
        let at = now + wait;
        if self.timers.t3_rtx.deadline().is_some_and(|t3| t3 <= at) {
            self.timers.probe.cancel();
        } else {
            self.timers.probe.arm(at);
        }
    }
}

fn chunk(tsn: Serial32, item: &Item) -> DataChunk<&[u8]> {
    DataChunk {
        tsn,
        stream: item.stream,
        unordered: item.is_unordered,
        beginning: item.is_first,
        ending: item.is_last,
        immediate: false,
        ssn_or_mid: item.sequence,
        fsn: item.fsn,
        ppid: item.ppid,
        payload: &item.payload,
    }
}
