//! What leaves, and in which order: FORWARD-TSN, what got lost, then what is new.

use super::*;
use std::collections::BTreeMap;

use crate::sctp::chunk::forward_tsn::{self, Skipped, emit_forward_tsn};

impl Sender {
    /// Appends chunks of at most `room` bytes, all padding included, to a packet; says how many bytes it wrote.
    /// A chunk that was cut for a larger packet size exceeds the room of a packet that it has for itself (RFC 9260
    /// §6.9 leaves no other way).
    pub(in crate::sctp) fn emit_chunks(&mut self, now: Instant, w: &mut Writer<'_>, room: usize) -> usize {
        let Some(agreed) = self.agreed else { return 0 };
        let before = w.written();
        if self.forward_due {
            self.emit_forward(now, agreed, w, room);
        }
        self.timers.pacing.cancel();
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
        while self.has_window() && self.outstanding.len() < MAX_OUTSTANDING {
            let Some(room) = end.checked_sub(w.written() + header).filter(|&r| r >= 4) else { return };
            let room = (room / 4 * 4).min(self.max_payload);
            let peer_room = self.peer_room();
            let room_to_begin = self.queues.room_to_begin();
            let Some((stream, outbound)) = self.queues.turn() else { return };
            let Some(message) = outbound.front() else { return };
            let len = message.data.len().min(room);
            let is_last = len == message.data.len();
            // A sliver of a message that fits the next packet better is not worth its header.
            if !is_last && len < MIN_FRAGMENT.min(self.max_payload) {
                return;
            }
            // RFC 9260 §6.1 A: a closed window is probed by one chunk, when nothing is on its way.
            if len > peer_room && !self.outstanding.is_empty() {
                return;
            }
            let is_beginning = message.begun.is_none() && !is_last;
            if is_beginning && agreed.format == DataFormat::Interleaved && message.data.len() > room_to_begin
            {
                self.queues.defer();
                continue;
            }
            let was_above = outbound.buffered > outbound.low_threshold;
            let Some(piece) = outbound.cut(len, agreed.format) else { return };
            if was_above && outbound.buffered <= outbound.low_threshold {
                self.events.push_back(Event::BufferedAmountLow(stream));
            }
            self.is_window_probe = len > peer_room;
            self.account(&piece, len + header, agreed.format);
            let item = self.item(now, stream, piece);
            chunk(self.outstanding.next_tsn(), &item).emit(agreed.format, w);
            self.outstanding.push(item);
            self.may_probe = false;
            self.stats.chunks_sent += 1;
        }
    }

    /// A piece of a message left its queue.
    #[inline]
    fn account(&mut self, piece: &Piece, charge: usize, format: DataFormat) {
        if piece.is_control {
            self.control_bytes -= piece.payload.len();
            // Only what was given up behind it left with it.
            self.queued_messages -= piece.removed.saturating_sub(1);
        } else {
            self.queued_bytes -= piece.payload.len();
            self.queued_messages -= piece.removed;
        }
        self.queues.on_removed(piece.removed);
        self.queues.charge(charge, !piece.is_last && format == DataFormat::Plain);
        match piece.begun.total {
            0 => {}
            total if piece.is_first => self.queues.on_begun(total),
            total if piece.is_last => self.queues.on_ended(total),
            _ => {}
        }
    }

    /// The piece as a chunk that gets the next TSN.
    #[inline]
    fn item(&mut self, now: Instant, stream: StreamId, piece: Piece) -> Item {
        let tsn = self.outstanding.next_tsn();
        let before = piece.policy.and_then(|policy| self.policies.on_sent(policy, tsn, piece.is_last));
        Item {
            payload: piece.payload,
            sent_at: now,
            ppid: piece.ppid,
            sequence: piece.begun.sequence,
            fsn: piece.begun.fsn,
            policy: piece.policy,
            stream,
            transmissions: 1,
            back: before.map_or(0, |before| tsn.0.wrapping_sub(before.0)),
            is_unordered: piece.is_unordered,
            is_first: piece.is_first,
            is_last: piece.is_last,
            state: ItemState::InFlight,
        }
    }

    /// The peer's window less what is on its way, counted as a receiver counts that says what it holds.
    pub(super) fn peer_room(&self) -> usize {
        let on_its_way =
            self.outstanding.flight_bytes() + PEER_CHUNK_OVERHEAD * self.outstanding.flight_chunks();
        self.peer_window.saturating_sub(on_its_way)
    }

    /// RFC 3758 §3.5 C3, RFC 8260 §2.3.1: tells the peer what not to wait for. When that concerns more streams than
    /// fit into the packet, it goes only as far as those that do.
    fn emit_forward(&mut self, now: Instant, agreed: Agreed, w: &mut Writer<'_>, room: usize) {
        let Some(goal) = self.outstanding.forward_point() else {
            self.forward_due = false;
            return;
        };
        let most = room.saturating_sub(forward_tsn::MIN_LEN) / forward_tsn::entry_len(agreed.format);
        let mut skipped = BTreeMap::new();
        let mut point = None;
        for (tsn, item) in self.outstanding.iter() {
            let point_before = point.replace(tsn);
            if tsn.is_after(goal) {
                point = point_before;
                break;
            }
            let named = item.state == ItemState::Abandoned
                && (agreed.format == DataFormat::Interleaved || !item.is_unordered);
            if !named {
                continue;
            }
            let is_new = !skipped.contains_key(&(item.stream, item.is_unordered));
            if is_new && skipped.len() >= most {
                point = point_before;
                break;
            }
            // Later messages of a stream come later: the last entry of each stream stands.
            skipped.insert((item.stream, item.is_unordered), item.sequence);
        }
        let Some(point) = point else { return };
        let skipped = skipped.into_iter().map(|((stream, unordered), ssn_or_mid)| Skipped {
            stream,
            unordered,
            ssn_or_mid,
        });
        if emit_forward_tsn(agreed.format, w, room, point, skipped) {
            self.forward_due = false;
            self.forwarded = Some((goal, now));
        }
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

#[inline]
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
