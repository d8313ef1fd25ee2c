//! Nominating and selecting (RFC 8445 §8), once and again.
//!
//! **Renomination** (draft-thatcher-ice-renomination), where both ends have the ICE option of that name: nominations
//! are numbered, and of several the highest counts, whatever the priorities of their pairs and the order in which they
//! arrive. The first one of a session is a plain USE-CANDIDATE, and counts as number 1. Later ones have NOMINATION
//! beside it, with numbers that go up over restarts too. A peer without the option gets USE-CANDIDATE alone, and is
//! understood by time and priority: see [`Agent`].

use std::time::{Duration, Instant};

use super::ConnectionState;
use super::agent::Agent;
use super::config::{BACKUP_INTERVAL, CONCLUSION, MIN_RTO, MOVE_INTERVAL};
use super::pair::{Pair, PairId, PairState};
use crate::stun::Message;
use crate::types::setup::IceRole;

/// The least time that a controlling agent gives better pairs to become valid.
const LEAST_WAIT: Duration = Duration::from_millis(100);

impl Agent {
    /// Nominates the best valid pair if it is time to (see [`Agent`]), or sees to it that it will be.
    pub(super) fn consider_nomination(&mut self, now: Instant) {
        if self.config.lite || self.is_inert() {
            return;
        }
        if self.current.selected.is_some() {
            self.consider_another_pair(now);
            return;
        }
        if self.role == IceRole::Controlled || self.current.nominating.is_some() {
            return;
        }
        let Some(best) = self.current.checklist.best_valid() else { return };
        let (id, due) = (best.id, self.nomination_due(best));
        match due {
            Some(due) if due > now => self.timers.nomination.arm(due),
            _ => self.nominate(now, id),
        }
    }

    /// RFC 8445 §8.1.1 allows one nomination in a session. When the selected pair has died and another one lives,
    /// as it happens when a NAT forgets a mapping, a second one is what browsers do, and better than waiting for
    /// somebody to restart. The controlled end may be the only one to notice; then it goes over by itself: that
    /// its check was answered there is consent (RFC 7675 §5.1).
    fn consider_another_pair(&mut self, now: Instant) {
        if !self.is_selected_silent() {
            match self.role {
                IceRole::Controlling => self.consider_better_pair(now),
                IceRole::Controlled => self.consider_own_choice(now),
            }
            return;
        }
        let Some(id) = self.living_spare(now) else { return };
        match self.role {
            IceRole::Controlling if self.current.nominating.is_none() => self.nominate(now, id),
            IceRole::Controlling => {}
            IceRole::Controlled => {
                self.select(now, id);
                self.current.is_own_choice = true;
            }
        }
    }

    /// Whether the selected pair is silent for so long that another one that answers is to be preferred.
    fn is_selected_silent(&self) -> bool {
        self.current.state == ConnectionState::Disconnected
            || self.current.selected.is_some() && self.is_doubted()
    }

    /// The written rule of moving: a controlling agent nominates another pair while the selected one works, when the
    /// other has succeeded, has a higher pair priority (RFC 8445 §6.1.2.3), and five seconds have passed since the
    /// last selection.
    fn consider_better_pair(&mut self, now: Instant) {
        if !self.config.moves || self.current.nominating.is_some() {
            return;
        }
        let Some(better) = self.better_pair() else { return };
        let due = self.current.selected_at.map_or(now, |at| at + MOVE_INTERVAL);
        if due > now {
            self.timers.nomination.arm(due);
        } else {
            self.nominate(now, better);
        }
    }

    /// What a controlled agent went over to by itself was what lived at that moment. The peer may be well where it
    /// was, as behind a NAT that has made a new mapping; it does not nominate again then. So the controlled end follows
    /// it to a better pair that has just answered.
    fn consider_own_choice(&mut self, now: Instant) {
        if !self.may_better_own_choice(now) {
            return;
        }
        let better = self.better_pair().and_then(|id| self.current.checklist.pair(id));
        if let Some(id) = better.filter(|pair| has_just_answered(pair, now)).map(|pair| pair.id) {
            self.select(now, id);
        }
    }

    /// The peer checks a pair, which may be the one that it uses: whether it is better than an own choice, a check
    /// tells.
    pub(super) fn probe_better(&mut self, now: Instant, checked: PairId) {
        if self.role == IceRole::Controlled
            && self.may_better_own_choice(now)
            && self.better_pair() == Some(checked)
        {
            self.send_check(now, self.current.id, checked, false);
        }
    }

    /// Whether the selected pair is an own choice, and not too new a one.
    fn may_better_own_choice(&self, now: Instant) -> bool {
        let is_old = |at: Instant| now.saturating_duration_since(at) >= MOVE_INTERVAL;
        self.config.moves && self.current.is_own_choice && self.current.selected_at.is_some_and(is_old)
    }

    /// The best valid pair, when it is above the selected one.
    fn better_pair(&self) -> Option<PairId> {
        let best = self.current.checklist.best_valid()?;
        let selected = self.current.checklist.pair(self.current.selected?)?;
        let is_better = best.priority(self.role) > selected.priority(self.role);
        is_better.then_some(best.id)
    }

    /// When `best` is to be nominated if nothing better comes; `None`: at once.
    fn nomination_due(&self, best: &Pair) -> Option<Instant> {
        let better = self.current.checklist.iter().take_while(|pair| pair.id != best.id).any(Pair::is_open);
        // The direct way may still be on its way through signalling.
        let hopes = best.is_relayed() && !self.current.end_of_candidates;
        if !better && !hopes {
            return None;
        }
        let limit = self.config.nomination_wait.max(LEAST_WAIT);
        let wait = match best.rtt.mean() {
            Some(rtt) if !best.is_relayed() => (rtt * 3).clamp(LEAST_WAIT, limit),
            _ => limit,
        };
        Some(self.current.valid_since? + wait)
    }

    /// A valid pair other than the selected one that has just answered.
    fn living_spare(&self, now: Instant) -> Option<PairId> {
        let lives = |pair: &&Pair| has_just_answered(pair, now) && Some(pair.id) != self.current.selected;
        self.current.checklist.iter().find(lives).map(|pair| pair.id)
    }

    /// Repeats the check of a valid pair, with USE-CANDIDATE (RFC 8445 §8.1.1).
    fn nominate(&mut self, now: Instant, id: PairId) {
        self.current.nominating = Some(id);
        self.current.nominations = 0;
        self.nomination = self.nomination.saturating_add(1);
        self.send_nomination(now, id);
    }

    /// The number that goes into a nominating check, where the peer counts; the first one needs none.
    pub(super) fn nomination_number(&self) -> Option<u32> {
        (self.renominates && self.nomination > 1).then_some(self.nomination)
    }

    /// By which number a request nominates its pair; `None`: it does not.
    pub(super) fn nomination_in(&self, message: &Message<'_>) -> Option<u32> {
        // R12: one that is malformed, or that was not agreed upon, is as if it were not there.
        let number = message.nomination().filter(|_| self.renominates);
        number.or(message.use_candidate().then_some(1))
    }

    /// Sends the nominating check, and sees to its repetition: a new transaction after one round trip with its
    /// usual deviation, then after twice that, up to a second.
    fn send_nomination(&mut self, now: Instant, id: PairId) {
        let timeout = self.current.checklist.pair(id).and_then(|pair| pair.rtt.timeout());
        let first = timeout.unwrap_or(MIN_RTO).clamp(Duration::from_millis(50), MIN_RTO);
        let doubled = first.saturating_mul(1 << self.current.nominations.min(5));
        self.current.nominations += 1;
        self.timers.nomination.arm(now + doubled.min(Duration::from_secs(1)));
        self.send_check(now, self.current.id, id, true);
    }

    /// The nomination was not answered in time, or its time has come.
    pub(super) fn on_nomination_due(&mut self, now: Instant) {
        /// Tries after which another valid pair has its turn, if there is one.
        const TRIES: u32 = 10;
        match self.current.nominating {
            // There is nothing to be gained any more by moving there.
            Some(id) if self.current.checklist.pair(id).is_none() => {
                self.current.nominating = None;
                self.consider_nomination(now);
            }
            Some(id) if self.current.nominations >= TRIES && self.has_other_valid(id) => {
                // RFC 8445 §7.2.5.3.4: a nomination that fails takes its pair along.
                self.current.fail(id);
                self.reconsider(now);
                self.consider_nomination(now);
            }
            Some(id) => self.send_nomination(now, id),
            None => self.consider_nomination(now),
        }
    }

    fn has_other_valid(&self, id: PairId) -> bool {
        self.current.checklist.iter().any(|pair| pair.is_valid() && pair.id != id)
    }

    /// A valid pair was nominated, by either end. Of several nominations within three seconds the one of the pair
    /// with the highest priority counts, if it still lives (RFC 8445 §8.1.1), as of a peer that nominates whatever
    /// works; a later one is a move, and counts for itself. Where nominations are numbered, the number decides alone.
    pub(super) fn on_nominated(&mut self, now: Instant, id: PairId) {
        if self.current.nominating == Some(id) {
            self.current.nominating = None;
            self.timers.nomination.cancel();
        }
        let role = self.role;
        let Some(pair) = self.current.checklist.pair_mut(id) else { return };
        pair.nominated = true;
        let (priority, nomination) = (pair.priority(role), pair.nomination);
        let former = self.current.selected.and_then(|former| self.current.checklist.pair(former));
        let is_settled = role == IceRole::Controlled
            && self.current.selected_at.is_some_and(|at| now.saturating_duration_since(at) >= CONCLUSION);
        let keeps = former.is_some_and(|former| {
            let is_above = match former.nomination.cmp(&nomination) {
                // The numbers say which one came last.
                order if self.renominates && role == IceRole::Controlled && order.is_ne() => order.is_gt(),
                _ => former.priority(role) >= priority && !is_settled,
            };
            former.is_valid() && is_above && !self.is_selected_silent()
        });
        if former.is_some_and(|former| former.id == id) {
            self.current.is_own_choice = false;
        } else if !keeps {
            self.select(now, id);
        }
    }

    /// Data goes over this pair from now on.
    fn select(&mut self, now: Instant, id: PairId) {
        if let Some(pair) = self.current.checklist.pair_mut(id) {
            pair.nominated = true;
        }
        self.current.selected = Some(id);
        self.current.selected_at = Some(now);
        self.current.is_own_choice = false;
        self.current.nominating = None;
        self.timers.nomination.cancel();
        self.timers.patience.cancel();
        // One of them may be the backup.
        if !self.config.keep_backup {
            self.current.checklist.abandon_open();
        }
        if !self.config.moves {
            self.timers.pace.cancel();
        }
        self.timers.conclusion.arm(now + CONCLUSION);
        if self.previous.is_some() {
            self.timers.retirement.arm_if_idle(now + CONCLUSION);
        }
        self.reconsider(now);
    }

    /// RFC 8445 §8.3.1: some seconds after a pair was selected the others go. One that the peer still uses stays
    /// as long as it does, and so do one that is moved to, those that came later and are being checked, and the backup.
    pub(super) fn conclude(&mut self, now: Instant) {
        let Some(selected) = self.current.selected else { return };
        let is_recent = |pair: &Pair| now.saturating_duration_since(pair.last_heard) < CONCLUSION;
        let kept = [
            Some(selected),
            self.current.nominating,
            self.better_pair().filter(|_| self.config.moves && self.role == IceRole::Controlling),
            self.backup(now),
        ];
        let since = self.current.selected_at.filter(|_| self.config.moves);
        self.current.retain_pairs(|pair| {
            kept.contains(&Some(pair.id))
                || is_recent(pair)
                || since.is_some_and(|since| pair.is_hopeful(now, since))
        });
        self.slim();
        if self.current.checklist.iter().any(|pair| !kept.contains(&Some(pair.id))) {
            self.timers.conclusion.arm(now + CONCLUSION);
        }
        if kept[3].is_some() {
            self.timers.backup.arm_if_idle(now + BACKUP_INTERVAL);
        }
    }

    /// The pair that is kept beside the selected one: the best that answered of late, from another local address
    /// before one from the same.
    fn backup(&self, now: Instant) -> Option<PairId> {
        let selected = self.current.selected.filter(|_| self.config.keep_backup)?;
        let local = self.current.checklist.pair(selected)?.local.address;
        let answered = |pair: &&Pair| {
            let limit = self.config.consent_timeout;
            let lately = pair.last_response.is_some_and(|at| now.saturating_duration_since(at) < limit);
            pair.id != selected && pair.is_valid() && lately
        };
        let spares = || self.current.checklist.iter().filter(answered);
        spares().find(|pair| pair.local.address != local).or_else(|| spares().next()).map(|pair| pair.id)
    }

    /// Checks the backup.
    pub(super) fn warm_backup(&mut self, now: Instant) {
        let Some(id) = self.backup(now) else { return };
        self.send_check(now, self.current.id, id, false);
        self.timers.backup.arm(now + BACKUP_INTERVAL);
    }

    /// Two lite agents check nothing: the best pair is the one (RFC 8445 §8.2).
    pub(super) fn conclude_between_lites(&mut self, now: Instant) {
        if !self.config.lite || !self.is_remote_lite() || self.current.selected.is_some() {
            return;
        }
        let Some(id) = self.current.checklist.iter().next().map(|pair| pair.id) else { return };
        if let Some(pair) = self.current.checklist.pair_mut(id) {
            pair.state = PairState::Succeeded;
        }
        self.on_nominated(now, id);
    }
}

/// Whether a pair is valid, and was answered of late.
fn has_just_answered(pair: &Pair, now: Instant) -> bool {
    let is_recent = |at: Instant| now.saturating_duration_since(at) < CONCLUSION;
    pair.is_valid() && pair.last_response.is_some_and(is_recent)
}
