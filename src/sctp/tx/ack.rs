//! What SACKs and timers change: what arrived, what is lost, what is given up.

use super::*;

impl Recovery {
    /// Chunks whose being sent again is watched; a recovery that sends more of them was surely needed.
    const WATCHED: usize = 64;

    fn new(exit: Serial32) -> Self {
        Recovery { exit, resent: Vec::new(), is_watched: true, needless: 0 }
    }

    pub(super) fn on_resent(&mut self, tsn: Serial32) {
        if self.resent.len() >= Self::WATCHED {
            self.is_watched = false;
        } else {
            self.resent.push(tsn);
        }
    }

    /// The peer got a chunk twice. True when all that was sent again since the loss had not been lost at all.
    fn on_duplicate(&mut self, tsn: Serial32) -> bool {
        if let Some(at) = self.resent.iter().position(|&t| t == tsn) {
            self.resent.swap_remove(at);
            self.needless += 1;
        }
        self.is_watched && self.needless > 0 && self.resent.is_empty()
    }
}

/// What one SACK acknowledged for the first time.
#[derive(Debug, Default)]
struct Tally {
    bytes: usize,
    chunks: usize,
    /// When the newest chunk that was sent only once had left: gives the round-trip time.
    sent_at: Option<Instant>,
}

impl Sender {
    /// RFC 9260 §6.2.1: the peer acknowledges.
    pub(in crate::sctp) fn on_sack(
        &mut self,
        now: Instant,
        cumulative: Serial32,
        window: u32,
        gaps: impl Iterator<Item = (u16, u16)>,
        duplicates: impl Iterator<Item = Serial32>,
    ) -> SackOutcome {
        // RFC 9260 §6.2.1 D i: older than what is known; or of TSNs that were never sent.
        if cumulative.is_before(self.outstanding.cumulative()) || !self.outstanding.is_plausible(cumulative) {
            return SackOutcome::Ignored;
        }
        let flight_before = self.outstanding.flight_bytes();
        let advanced = cumulative != self.outstanding.cumulative();
        let tally = self.take_acknowledged(now, cumulative, gaps);
        self.peer_window = window as usize;
        for tsn in duplicates {
            self.on_duplicate(tsn);
        }
        if let Some(sent_at) = tally.sent_at {
            self.latest_rtt = now.saturating_duration_since(sent_at);
            self.rtt.on_sample(self.latest_rtt);
        }
        if self.recovery.as_ref().is_some_and(|r| !cumulative.is_before(r.exit)) {
            self.recovery = None;
        }
        self.detect_losses(now);
        if tally.chunks > 0 {
            self.grow(now, cumulative, flight_before, &tally);
            self.rtt.on_progress();
            self.has_probed = false;
        }
        if tally.chunks > 0 || advanced {
            // RFC 9260 §6.3.2 R3.
            self.timers.t3_rtx.cancel();
        }
        self.rearm(now);
        self.on_room();
        if tally.chunks > 0 || advanced { SackOutcome::Progress } else { SackOutcome::Unchanged }
    }

    fn take_acknowledged(
        &mut self,
        now: Instant,
        cumulative: Serial32,
        gaps: impl Iterator<Item = (u16, u16)>,
    ) -> Tally {
        let arrival = Arrival { now, min_rtt: self.rtt.minimum() };
        let mut tally = Tally::default();
        let Sender { outstanding, policies, queues, events, .. } = self;
        let mut on_acked = |item: &Item| {
            tally.bytes += item.payload.len();
            tally.chunks += 1;
            if item.transmissions == 1 {
                tally.sent_at = tally.sent_at.max(Some(item.sent_at));
            }
            if let Some(outbound) = queues.stream_mut(item.stream) {
                outbound.outstanding -= 1;
            }
            if let Some(policy) = item.policy {
                events.extend(policies.on_acked(policy));
            }
        };
        outstanding.acknowledge(arrival, cumulative, |item, newly| {
            if newly == Newly::Acked {
                on_acked(item);
            }
        });
        outstanding.acknowledge_gaps(arrival, gaps, &mut on_acked);
        tally
    }

    fn grow(&mut self, now: Instant, cumulative: Serial32, flight_before: usize, tally: &Tally) {
        let is_new_round = cumulative.is_after(self.round_end);
        if is_new_round {
            self.round_end = self.last_tsn();
        }
        if self.recovery.is_some() {
            return;
        }
        let window = self.congestion.window();
        let used = if self.congestion.is_slow_start() {
            2 * flight_before
        } else {
            flight_before + 4 * self.max_payload
        };
        self.congestion.on_ack(Acked {
            now,
            bytes: tally.bytes,
            window_was_full: used >= window,
            rtt: tally.sent_at.map(|_| self.latest_rtt),
            smoothed_rtt: self.rtt.smoothed().unwrap_or(self.latest_rtt),
            is_new_round,
        });
    }

    /// A chunk arrived twice: either the network did that, or it was sent again for nothing.
    fn on_duplicate(&mut self, tsn: Serial32) {
        let Some(recovery) = &mut self.recovery else { return };
        let before = recovery.needless;
        let undo = recovery.on_duplicate(tsn);
        if recovery.needless > before {
            // RFC 8985 §6.2 step 4: the path reorders more than was thought.
            self.reordering_quarters = (self.reordering_quarters + 1).min(16);
        }
        if undo {
            self.congestion.undo();
            self.recovery = None;
            self.stats.losses_undone += 1;
        }
    }

    fn detect_losses(&mut self, now: Instant) {
        let quarter = self.rtt.minimum() / 4;
        let smoothed = self.rtt.smoothed().unwrap_or(self.latest_rtt);
        let reordering = (quarter * self.reordering_quarters).min(smoothed);
        let rtt = self.latest_rtt.max(smoothed);
        let exit = self.last_tsn();
        let mut lost = 0;
        let mut hopeless = Vec::new();
        let policies = &self.policies;
        let next = self.outstanding.detect_losses(now, rtt, reordering, |_, item| {
            lost += 1;
            hopeless.extend(item.policy.filter(|&p| !policies.may_resend(p, item.transmissions)));
        });
        match next {
            Some(at) => self.timers.reordering.arm(at),
            None => self.timers.reordering.cancel(),
        }
        if lost > 0 && self.recovery.is_none() {
            self.recovery = Some(Recovery::new(exit));
            self.congestion.on_loss(now);
        }
        hopeless.into_iter().for_each(|policy| self.abandon(policy));
    }

    /// Gives a message up: what is queued of it, and what is on its way (RFC 3758 §3.5 A1).
    fn abandon(&mut self, index: u32) {
        if self.agreed.is_some_and(|a| !a.partial_reliability) {
            return;
        }
        let Some(policy) = self.policies.remove(index) else { return };
        self.stats.messages_abandoned += 1;
        self.events.extend(policy.abandoned());
        self.unqueue(policy.stream, index);
        let Some((first, last)) = policy.span else { return };
        let mut tsn = first;
        while !tsn.is_after(last) {
            let is_of_message = self.outstanding.get(tsn).is_some_and(|item| item.policy == Some(index));
            if is_of_message
                && self.outstanding.abandon(tsn).is_some()
                && let Some(outbound) = self.queues.stream_mut(policy.stream)
            {
                outbound.outstanding -= 1;
            }
            tsn = tsn.next();
        }
        self.forward_due = self.forward_point().is_some();
    }

    fn unqueue(&mut self, stream: StreamId, index: u32) {
        let Some(outbound) = self.queues.stream_mut(stream) else { return };
        let Some(at) = outbound.queue.iter().position(|m| m.policy == Some(index)) else { return };
        let Some(message) = outbound.queue.remove(at) else { return };
        let was_above = outbound.buffered > outbound.low_threshold;
        outbound.buffered -= message.data.len();
        self.queued_bytes -= message.data.len();
        self.queued_messages -= 1;
        if was_above && outbound.buffered <= outbound.low_threshold {
            self.events.push_back(Event::BufferedAmountLow(stream));
        }
        if message.begun.is_some() {
            self.queues.charge(0, false);
        }
    }

    /// Tells the streams that were refused room that there is some again.
    fn on_room(&mut self) {
        if self.is_blocked && self.cost() <= self.send_buffer / 2 {
            self.is_blocked = false;
            for (stream, outbound) in self.queues.iter_mut() {
                if std::mem::take(&mut outbound.is_blocked) {
                    self.events.push_back(Event::BufferedAmountLow(stream));
                }
            }
        }
    }

    fn rearm(&mut self, now: Instant) {
        if self.outstanding.is_empty() {
            self.timers.t3_rtx.cancel();
            self.timers.probe.cancel();
            self.timers.reordering.cancel();
        } else {
            self.timers.t3_rtx.arm_if_idle(now + self.rtt.rto());
            self.arm_probe(now);
            // RFC 3758 §3.5: chunks that were given up stand before the peer's cumulative TSN until it skips them.
            self.forward_due |= self.forward_point().is_some() && self.outstanding.flight_bytes() == 0;
        }
    }

    pub(in crate::sctp) fn handle_timeout(&mut self, now: Instant) {
        self.timers.pacing.expire(now);
        if self.timers.lifetime.expire(now) {
            while let Some(index) = self.policies.expired(now) {
                self.expire(index);
            }
            self.arm_lifetime();
            self.on_room();
        }
        if self.timers.reordering.expire(now) {
            self.detect_losses(now);
        }
        if self.timers.probe.expire(now) {
            self.on_probe();
        }
        if self.timers.t3_rtx.expire(now) {
            self.on_t3_rtx(now);
        }
    }

    /// A lifetime is over. A peer without FORWARD-TSN gets the message all the same.
    fn expire(&mut self, index: u32) {
        if self.agreed.is_some_and(|a| !a.partial_reliability) {
            self.policies.forget_deadline(index);
        } else {
            self.abandon(index);
        }
    }

    pub(super) fn arm_lifetime(&mut self) {
        match self.policies.next_deadline() {
            Some(at) => self.timers.lifetime.arm(at),
            None => self.timers.lifetime.cancel(),
        }
    }

    /// RFC 8985 §7.3: sends something new, or the last chunk again, to make the peer tell what is missing.
    fn on_probe(&mut self) {
        self.has_probed = true;
        self.may_probe = true;
        if self.queues.is_empty() || self.peer_window <= self.outstanding.flight_bytes() {
            self.outstanding.lose_last();
        }
    }

    /// RFC 9260 §6.3.3.
    fn on_t3_rtx(&mut self, now: Instant) {
        if self.outstanding.is_empty() {
            return;
        }
        self.stats.timeouts += 1;
        self.rtt.on_timeout();
        self.congestion.on_timeout();
        let exit = self.last_tsn();
        self.recovery = Some(Recovery::new(exit));
        let mut hopeless = Vec::new();
        let policies = &self.policies;
        self.outstanding.lose_all(|_, item| {
            hopeless.extend(item.policy.filter(|&p| !policies.may_resend(p, item.transmissions)));
        });
        hopeless.into_iter().for_each(|policy| self.abandon(policy));
        self.has_probed = true;
        self.may_probe = true;
        self.forward_due = self.forward_point().is_some();
        self.timers.t3_rtx.arm(now + self.rtt.rto());
        self.on_room();
    }

    /// The path works again, someone else found out: what waits for the time-out goes now.
    pub(in crate::sctp) fn on_sign_of_life(&mut self, now: Instant) {
        if self.rtt.backoff() > 0 {
            self.rtt.on_progress();
            self.timers.t3_rtx.arm_no_later_than(now);
        }
    }

    /// The association is over: every promise ends.
    pub(in crate::sctp) fn abandon_all(&mut self) {
        self.timers = Timers::default();
        self.events.extend(self.policies.take_all().filter_map(|policy| policy.abandoned()));
        self.queues = Queues::default();
        self.outstanding = Outstanding::new(self.outstanding.next_tsn());
        self.queued_bytes = 0;
        self.queued_messages = 0;
        self.control_bytes = 0;
        self.agreed = None;
    }
}
