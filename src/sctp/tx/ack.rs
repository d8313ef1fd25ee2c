//! What SACKs and timers change: what arrived, what is lost, what is given up.

use super::*;

impl Recovery {
    /// Chunks whose being sent again is watched; a recovery that sends more of them was surely needed.
    const WATCHED: usize = 64;

    fn new(exit: Serial32, may_grow: bool) -> Self {
        Recovery { exit, is_over: false, may_grow, lost: 0, resent: Vec::new(), is_watched: true }
    }

    pub(super) fn on_resent(&mut self, tsn: Serial32) {
        if self.resent.len() >= Self::WATCHED {
            self.is_watched = false;
        } else if self.is_watched {
            self.resent.push(tsn);
        }
    }

    /// So many chunks had not been lost. True when that was the last of them.
    fn on_false_losses(&mut self, count: u32) -> bool {
        let had_any = self.lost > 0;
        self.lost = self.lost.saturating_sub(count);
        self.is_watched && had_any && self.lost == 0
    }
}

/// What one SACK acknowledged for the first time.
#[derive(Debug, Default)]
struct Tally {
    bytes: usize,
    chunks: usize,
    /// Chunks that counted as lost and were not sent again.
    false_losses: u32,
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
        self.silent_timeouts = 0;
        let flight_before = self.outstanding.flight_bytes();
        let advanced = cumulative != self.outstanding.cumulative();
        let tally = self.take_acknowledged(now, cumulative, gaps);
        self.peer_window = window as usize;
        if tally.chunks > 0 {
            self.is_window_probe = false;
        } else if self.is_window_probe && self.peer_room() >= self.max_payload {
            self.on_window_opened();
        }
        self.on_duplicates(duplicates);
        if tally.false_losses > 0 {
            self.on_false_losses(tally.false_losses);
        }
        // Only what was sent last tells the time: a SACK has room for so many gaps, so others may have arrived long ago.
        let newest = self.outstanding.newest_arrival();
        if let Some(sent_at) = tally.sent_at.filter(|at| newest.is_none_or(|newest| *at >= newest)) {
            self.latest_rtt = now.saturating_duration_since(sent_at);
            self.rtt.on_sample(self.latest_rtt);
        }
        if let Some(recovery) = &mut self.recovery {
            recovery.is_over |= !cumulative.is_before(recovery.exit);
        }
        self.detect_losses(now);
        if tally.chunks == 0 && self.outstanding.next_lost().is_some() {
            // RFC 9260 §7.2.4: a SACK without news still says that a packet left the network, so one may enter. Gaps that
            // find no room in the SACK count as in flight, and would keep the window closed.
            self.may_probe = true;
        }
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
        self.update_forward(now);
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
        let mut on_acked = |item: &Item, was: ItemState| {
            tally.bytes += item.payload.len();
            tally.chunks += 1;
            tally.false_losses += u32::from(was == ItemState::Lost && item.transmissions == 1);
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
        outstanding.acknowledge(arrival, cumulative, &mut on_acked);
        outstanding.acknowledge_gaps(arrival, gaps, &mut on_acked);
        tally
    }

    fn grow(&mut self, now: Instant, cumulative: Serial32, flight_before: usize, tally: &Tally) {
        let is_new_round = cumulative.is_after(self.round_end);
        if is_new_round {
            self.round_end = self.last_tsn();
        }
        if self.recovery.as_ref().is_some_and(|recovery| !recovery.is_over && !recovery.may_grow) {
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

    /// Chunks arrived twice: either the network did that, or they were sent again for nothing.
    fn on_duplicates(&mut self, duplicates: impl Iterator<Item = Serial32>) {
        for tsn in duplicates {
            let Some(recovery) = &mut self.recovery else { return };
            if let Some(at) = recovery.resent.iter().position(|&t| t == tsn) {
                recovery.resent.swap_remove(at);
                self.on_false_losses(1);
            }
        }
    }

    /// So many chunks were taken for lost and had only been late.
    fn on_false_losses(&mut self, count: u32) {
        // RFC 8985 §6.2 step 4: the path reorders more than was thought.
        self.reordering_quarters = (self.reordering_quarters + 1).min(16);
        if self.recovery.as_mut().is_some_and(|recovery| recovery.on_false_losses(count)) {
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
        if lost > 0 {
            if self.recovery.as_ref().is_none_or(|recovery| recovery.is_over) {
                self.recovery = Some(Recovery::new(exit, false));
                self.congestion.on_loss(now);
            }
            self.note_lost(lost);
        }
        hopeless.into_iter().for_each(|policy| self.abandon(now, policy));
    }

    fn note_lost(&mut self, count: u32) {
        if let Some(recovery) = &mut self.recovery {
            recovery.lost = recovery.lost.saturating_add(count);
        }
    }

    /// The window was closed when the last chunk left, and is open now: whether that chunk was dropped need not be
    /// waited for.
    fn on_window_opened(&mut self) {
        self.is_window_probe = false;
        self.rtt.on_progress();
        self.timers.t3_rtx.cancel();
        self.may_probe = true;
        self.outstanding.lose_last(|_| true);
    }

    /// Gives a message up: what is queued of it, and what is on its way (RFC 3758 §3.5 A1).
    fn abandon(&mut self, now: Instant, index: u32) {
        if self.agreed.is_some_and(|a| !a.partial_reliability) {
            return;
        }
        let Some(policy) = self.policies.remove(index) else { return };
        self.stats.messages_abandoned += 1;
        self.events.extend(policy.abandoned());
        if let Some(last) = policy.last {
            let given_up = self.outstanding.abandon_message(last);
            if let Some(outbound) = self.queues.stream_mut(policy.stream) {
                outbound.outstanding -= given_up;
            }
        }
        if !policy.is_fully_sent {
            self.unqueue(now, policy.stream, policy.number);
        }
    }

    /// Gives up what is not sent yet of a message.
    fn unqueue(&mut self, now: Instant, stream: StreamId, number: u32) {
        let Some((message, removed)) = self.queues.give_up(stream, number) else { return };
        self.forget_queued(&message, removed);
        if let Some(outbound) = self.queues.stream_mut(stream) {
            let was_above = outbound.buffered + message.data.len() > outbound.low_threshold;
            if was_above && outbound.buffered <= outbound.low_threshold {
                self.events.push_back(Event::BufferedAmountLow(stream));
            }
        }
        let Some(begun) = message.begun else { return };
        // What was sent of it may all have arrived, and the peer waits for the rest. A TSN that stands for the end can
        // be skipped, and names the message.
        self.outstanding.push_given_up(Item {
            payload: Bytes::new(),
            sent_at: now,
            ppid: message.ppid,
            sequence: begun.sequence,
            fsn: begun.fsn,
            policy: None,
            stream,
            transmissions: 1,
            back: 0,
            is_unordered: message.is_unordered,
            is_first: false,
            is_last: true,
            state: ItemState::Abandoned,
        });
    }

    /// Decides whether FORWARD-TSN leaves: when it goes further than the last one, or when that one seems lost.
    fn update_forward(&mut self, now: Instant) {
        let Some(point) = self.outstanding.forward_point() else {
            self.forward_due = false;
            return;
        };
        let rtt = self.rtt.smoothed().unwrap_or_else(|| self.rtt.rto());
        self.forward_due |= match self.forwarded {
            // The SACK that answers the last one makes this be asked again.
            Some((last, at)) if point.is_after(last) => now >= at + (rtt / 8).min(Duration::from_millis(5)),
            Some((_, at)) => now >= at + rtt * 5 / 4 + Duration::from_millis(1),
            None => true,
        };
    }

    /// Tells the streams that were refused room that there is some again.
    fn on_room(&mut self) {
        if self.blocked.is_empty() || self.cost() > self.send_buffer / 2 {
            return;
        }
        for stream in std::mem::take(&mut self.blocked) {
            if let Some(outbound) = self.queues.stream_mut(stream)
                && std::mem::take(&mut outbound.is_blocked)
            {
                self.events.push_back(Event::BufferedAmountLow(stream));
            }
        }
    }

    fn rearm(&mut self, now: Instant) {
        if self.outstanding.is_empty() {
            self.timers.t3_rtx.cancel();
            self.timers.probe.cancel();
            self.timers.reordering.cancel();
            self.timers.pacing.cancel();
        } else {
            self.timers.t3_rtx.arm_if_idle(now + self.rtt.rto());
            self.arm_probe(now);
        }
    }

    pub(in crate::sctp) fn handle_timeout(&mut self, now: Instant) {
        self.timers.pacing.expire(now);
        if self.timers.lifetime.expire(now) {
            while let Some(index) = self.policies.expired(now) {
                self.expire(now, index);
            }
            self.arm_lifetime();
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
        self.on_room();
        self.update_forward(now);
    }

    /// A lifetime is over. A peer without FORWARD-TSN gets the message all the same.
    fn expire(&mut self, now: Instant, index: u32) {
        if self.agreed.is_some_and(|a| !a.partial_reliability) {
            self.policies.forget_deadline(index);
        } else {
            self.abandon(now, index);
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
        if self.queues.is_empty() || self.peer_room() < self.max_payload {
            let policies = &self.policies;
            let is_probed = self.outstanding.lose_last(|item| {
                item.policy.is_none_or(|policy| policies.may_resend(policy, item.transmissions))
            });
            self.note_lost(u32::from(is_probed));
        }
    }

    /// RFC 9260 §6.3.3.
    fn on_t3_rtx(&mut self, now: Instant) {
        if self.outstanding.is_empty() {
            return;
        }
        self.stats.timeouts += 1;
        self.silent_timeouts = self.silent_timeouts.saturating_add(1);
        // RFC 5681 §3.1: the threshold falls once, not again with each time-out in a row; nor for a closed window.
        if self.rtt.backoff() == 0 && !self.is_window_probe {
            self.congestion.on_timeout();
        }
        self.rtt.on_timeout();
        let exit = self.last_tsn();
        self.recovery = Some(Recovery::new(exit, true));
        let mut lost = 0;
        let mut hopeless = Vec::new();
        let (policies, queues) = (&self.policies, &mut self.queues);
        self.outstanding.lose_all(|item, taken| {
            lost += 1;
            hopeless.extend(item.policy.filter(|&p| !policies.may_resend(p, item.transmissions)));
            if taken == Taken::Back
                && let Some(outbound) = queues.stream_mut(item.stream)
            {
                outbound.outstanding += 1;
            }
        });
        hopeless.into_iter().for_each(|policy| self.abandon(now, policy));
        self.note_lost(lost);
        self.has_probed = true;
        self.may_probe = true;
        self.forward_due = self.outstanding.forward_point().is_some();
        self.timers.t3_rtx.arm(now + self.rtt.rto());
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
        self.blocked = Vec::new();
        self.queued_bytes = 0;
        self.queued_messages = 0;
        self.control_bytes = 0;
        self.agreed = None;
    }
}
