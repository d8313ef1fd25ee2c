//! The client's side of connectivity checks (RFC 8445 §7.2): when they leave, and what an answer means.

use std::net::SocketAddr;
use std::time::Instant;

use super::agent::Agent;
use super::checklist::{Next, same};
use super::config::MIN_PACING;
use super::encode::{Body, Outgoing};
use super::facts::Fact;
use super::generation::{GenerationId, Transaction};
use super::pair::{Pair, PairId, PairState};
use super::{ConnectionState, DropReason, Handled};
use crate::packet::Protocol;
use crate::stun::{Class, Message, TransactionId};
use crate::types::candidate::CandidateKind;
use crate::types::setup::IceRole;

impl Agent {
    // ----- sending -----

    /// Makes the next ordinary check due as soon as pacing allows.
    pub(super) fn kick(&mut self, now: Instant) {
        if self.checks_go_on() {
            let paced = self.last_ordinary.map_or(now, |last| (last + self.pacing()).max(now));
            self.timers.pace.arm_no_later_than(paced);
        }
    }

    /// Whether ordinary checks are sent at all.
    fn checks_go_on(&self) -> bool {
        // RFC 8445 §8.1.2: with a selected pair the checklist is completed, but for those who may move.
        let completed = self.current.selected.is_some() && !self.config.moves;
        !self.config.lite && !self.is_inert() && !completed && self.current.remote.is_some()
    }

    /// Sends one ordinary check (RFC 8445 §6.1.4.2).
    pub(super) fn on_pace(&mut self, now: Instant) {
        if !self.checks_go_on() {
            return;
        }
        match self.current.checklist.next_check(now, self.pacing()) {
            Next::Check(id) => {
                self.current.triggered.retain(|other| *other != id);
                self.send_check(now, self.current.id, id, false);
                self.last_ordinary = Some(now);
                self.timers.pace.arm(now + self.pacing());
            }
            Next::At(at) => self.timers.pace.arm(at.max(now + MIN_PACING)),
            Next::Nothing => {}
        }
        // Pairs may have been given up, so that nothing better is to be hoped for.
        self.consider_nomination(now);
    }

    /// Checks a pair out of turn, because its remote end was heard of (RFC 8445 §7.3.1.4).
    pub(super) fn trigger(&mut self, now: Instant, id: PairId) {
        let Some(pair) = self.current.checklist.pair_mut(id) else { return };
        if self.config.lite || pair.is_valid() {
            return;
        }
        if pair.state == PairState::Failed {
            pair.checks = 0;
        }
        pair.state = PairState::Waiting;
        let free_at = self.last_check.map_or(now, |last| last + MIN_PACING);
        if self.current.remote.is_some() && free_at <= now {
            self.current.triggered.retain(|other| *other != id);
            self.send_check(now, self.current.id, id, false);
            self.kick(now);
            return;
        }
        if !self.current.triggered.contains(&id) {
            self.current.triggered.push_back(id);
        }
        // Without the peer's password it waits until the password is known.
        if self.current.remote.is_some() {
            self.timers.triggered.arm_no_later_than(free_at.max(now));
        }
    }

    /// Sends the next of the triggered checks that had to wait.
    pub(super) fn on_triggered_due(&mut self, now: Instant) {
        while let Some(id) = self.current.triggered.pop_front() {
            if self.current.checklist.pair(id).is_some_and(|pair| !pair.is_valid()) {
                self.send_check(now, self.current.id, id, false);
                self.kick(now);
                break;
            }
        }
        if !self.current.triggered.is_empty() {
            self.timers.triggered.arm(now + MIN_PACING);
        }
    }

    /// Sends one check, as a new transaction (RFC 8445 §7.2.4).
    pub(super) fn send_check(&mut self, now: Instant, generation: GenerationId, id: PairId, nominates: bool) {
        let transaction = TransactionId::tagged(self.tag, &mut self.rng);
        let (role, tie_breaker) = (self.role, self.tie_breaker);
        let nomination = self.nomination_number().filter(|_| nominates);
        let Some(generation) = self.generation_mut(generation) else { return };
        let generation_id = generation.id;
        let Some(pair) = generation.checklist.pair_mut(id) else { return };
        if !pair.is_valid() {
            pair.state = PairState::InProgress;
        }
        pair.checks = pair.checks.saturating_add(1);
        pair.last_check = Some(now);
        pair.stats.requests_sent = pair.stats.requests_sent.wrapping_add(1);
        let outgoing = Outgoing {
            generation: generation_id,
            transaction,
            local: pair.local.address,
            remote: pair.remote.address,
            protocol: pair.protocol,
            body: Body::Check { priority: pair.check_priority(), role, tie_breaker, nominates, nomination },
        };
        generation.begin(Transaction {
            id: transaction,
            pair: id,
            sent: now,
            role,
            nominates,
            embedded: None,
        });
        self.last_check = Some(now);
        self.may_switch_role = true;
        self.send(outgoing);
    }

    // ----- answers -----

    /// Takes an answer (RFC 8445 §7.2.5).
    pub(super) fn handle_response(
        &mut self,
        now: Instant,
        source: SocketAddr,
        local: SocketAddr,
        protocol: Protocol,
        message: &Message<'_>,
    ) -> Handled {
        let generations = [Some(&self.current), self.previous.as_deref()].into_iter().flatten();
        let found = generations.filter_map(|g| g.transaction(message.transaction()).map(|t| (g, *t))).next();
        let Some((generation, transaction)) = found else {
            return Handled::Dropped(DropReason::UnknownTransaction);
        };
        // RFC 8489 §9.1.4: an answer that is not authentic is as if it had never come.
        let authentic = generation.remote.as_ref().is_some_and(|s| message.verify_integrity(&s.key).is_ok());
        if !authentic {
            return Handled::Dropped(DropReason::NotAuthentic);
        }
        let Some(pair) = generation.checklist.pair(transaction.pair) else {
            return Handled::Dropped(DropReason::UnknownTransaction);
        };
        // RFC 8445 §7.2.5.2.1: only a symmetric answer proves the pair. The RFC has the pair fail at once
        // otherwise; here the answer is left unheard, so that whoever can copy a packet cannot end a pair by
        // sending it again from elsewhere.
        let symmetric = same(pair.remote.address, source) && same(pair.local.address, local);
        if !symmetric || pair.protocol != protocol {
            return Handled::Dropped(DropReason::WrongAddress);
        }
        let generation = generation.id;
        if message.class() == Class::Success {
            self.on_embedded(message, transaction.embedded);
        }
        match (message.class(), message.mapped_address()) {
            (Class::Success, Some(mapped)) => self.on_success(now, generation, transaction, mapped),
            (Class::Success, None) => return Handled::Dropped(DropReason::Malformed),
            _ => {
                let code = message.error_code().map_or(0, |error| error.code);
                self.on_refusal(now, generation, transaction, code);
            }
        }
        Handled::Consumed
    }

    /// Ends the transaction and notes what every authentic answer tells. Gives whether the pair was valid before.
    fn on_answer(&mut self, now: Instant, id: GenerationId, transaction: Transaction) -> Option<&mut Pair> {
        let generation = self.generation_mut(id)?;
        generation.end(transaction.id);
        let pair = generation.checklist.pair_mut(transaction.pair)?;
        pair.last_heard = now;
        pair.stats.responses_received = pair.stats.responses_received.wrapping_add(1);
        let rtt = now.saturating_duration_since(transaction.sent);
        pair.rtt.sample(rtt);
        pair.stats.total_round_trip_time = pair.stats.total_round_trip_time.saturating_add(rtt);
        Some(pair)
    }

    /// The check succeeded (RFC 8445 §7.2.5.3).
    fn on_success(&mut self, now: Instant, id: GenerationId, transaction: Transaction, mapped: SocketAddr) {
        let Some(pair) = self.on_answer(now, id, transaction) else { return };
        pair.last_response = Some(now);
        let first = !pair.is_valid();
        let (base, foundation) = (pair.local.address, pair.foundation);
        pair.mapped = Some(mapped);
        if first {
            pair.state = PairState::Succeeded;
            let is_base = same(base, mapped);
            let known = self.local_priority(mapped, base);
            let Some(generation) = self.generation_mut(id) else { return };
            let Some(pair) = generation.checklist.pair_mut(transaction.pair) else { return };
            // RFC 8445 §7.2.5.3.1, §7.2.5.3.2: the valid pair's local candidate is the mapped address. What is
            // relayed stays relayed.
            // The streams of an active candidate leave from other ports than its own.
            let is_stream = pair.protocol == Protocol::Tcp && base.ip() == mapped.ip();
            if !is_base && !is_stream && pair.local.kind != CandidateKind::Relayed {
                pair.local.priority = known.unwrap_or(pair.check_priority());
                pair.local.kind = match known {
                    Some(_) => CandidateKind::ServerReflexive,
                    None => CandidateKind::PeerReflexive,
                };
            }
            let path = pair.path();
            generation.checklist.thaw(foundation);
            generation.triggered.retain(|other| *other != transaction.pair);
            generation.valid_since.get_or_insert(now);
            let role = self.role;
            self.current.checklist.sort(role);
            self.facts.push(Fact::PairValid(path));
            self.kick(now);
        }
        self.renew_consent(now, id, transaction.pair);
        if id == self.current.id {
            let pair = self.current.checklist.pair_mut(transaction.pair);
            let nominated = pair.is_some_and(|pair| match self.role {
                // RFC 8445 §7.2.5.3.4.
                IceRole::Controlling => transaction.nominates && transaction.role == IceRole::Controlling,
                IceRole::Controlled => std::mem::take(&mut pair.nominated_when_valid),
            });
            if nominated {
                self.on_nominated(now, transaction.pair);
            }
        }
        self.reconsider(now);
        self.consider_nomination(now);
    }

    /// The check was refused (RFC 8445 §7.2.5.1, §7.2.5.2.4).
    fn on_refusal(&mut self, now: Instant, id: GenerationId, transaction: Transaction, code: u16) {
        /// RFC 8445 §7.3.1.1.
        const ROLE_CONFLICT: u16 = 487;
        /// RFC 7675 §5.2.
        const FORBIDDEN: u16 = 403;
        let Some(pair) = self.on_answer(now, id, transaction) else { return };
        let was_valid = pair.is_valid();
        match code {
            ROLE_CONFLICT => {
                // One switch for one check: several refusals may follow checks that claimed the same role.
                if transaction.role == self.role && id == self.current.id {
                    self.switch_role(now);
                }
                if id == self.current.id {
                    self.trigger(now, transaction.pair);
                }
            }
            FORBIDDEN if self.consent.of == Some((id, transaction.pair)) => self.on_consent_lost(now),
            _ if !was_valid || transaction.nominates => {
                if let Some(generation) = self.generation_mut(id) {
                    generation.fail(transaction.pair);
                }
                self.reconsider(now);
                self.consider_nomination(now);
                self.kick(now);
            }
            _ => {}
        }
    }

    /// Takes the other role, if a check of ours was sent since it was taken last. Says whether it did.
    pub(super) fn switch_role(&mut self, now: Instant) -> bool {
        if !self.may_switch_role || self.config.lite {
            return false;
        }
        self.may_switch_role = false;
        self.role = self.role.opposite();
        // RFC 8445 §7.2.5.1: with another tie-breaker the conflict cannot repeat itself for ever.
        self.tie_breaker = self.rng.u64();
        self.current.nominating = None;
        self.timers.nomination.cancel();
        self.current.checklist.sort(self.role);
        self.stats.role_switches += 1;
        self.facts.role_changed(self.role);
        self.consider_nomination(now);
        true
    }

    /// Patience is over (RFC 8863 §4): an agent without a valid pair fails.
    pub(super) fn on_patience_over(&mut self) {
        if self.current.usable_pair().is_none() && self.current.state == ConnectionState::Checking {
            self.fail();
        }
    }
}
