//! The checklist: all pairs of one generation, best first (RFC 8445 §6.1.2, RFC 8838 §11, §12).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::config::{MAX_CHECKS, MAX_CHECKS_BESIDE_VALID, MIN_RTO};
use super::pair::{Pair, PairFoundation, PairId, PairState};
use crate::packet::Protocol;
use crate::types::setup::IceRole;

/// Pairs in decreasing order of priority.
#[derive(Debug, Default)]
pub(super) struct Checklist {
    /// Boxed: with thousands of pairs, making room for one moves addresses and not pairs.
    #[allow(clippy::vec_box)]
    pairs: Vec<Box<Pair>>,
    /// First checks sent since the last repeat of one that was not answered.
    first_checks: u8,
}

/// What ordinary check is to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This one, now.
    Check(PairId),
    /// None before this time.
    At(Instant),
    /// None at all.
    Nothing,
}

impl Checklist {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Pair> + Clone {
        self.pairs.iter().map(Box::as_ref)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Pair> {
        self.pairs.iter_mut().map(Box::as_mut)
    }

    pub(super) fn pair(&self, id: PairId) -> Option<&Pair> {
        self.iter().find(|pair| pair.id == id)
    }

    pub(super) fn pair_mut(&mut self, id: PairId) -> Option<&mut Pair> {
        self.iter_mut().find(|pair| pair.id == id)
    }

    pub(super) fn find(&self, local: SocketAddr, remote: SocketAddr, protocol: Protocol) -> Option<&Pair> {
        self.iter().find(|pair| {
            same(pair.remote.address, remote) && same(pair.local.address, local) && pair.protocol == protocol
        })
    }

    /// Inserts `pair` by its priority, and hands out the pair that had to go when there were `max` already:
    /// a failed one, else the lowest of those that are not valid, else the lowest but `keep`. The one to go may
    /// be `pair` itself.
    pub(super) fn insert(
        &mut self,
        mut pair: Pair,
        role: IceRole,
        max: usize,
        keep: Option<PairId>,
    ) -> Option<PairId> {
        pair.state = self.initial_state(&pair, role);
        let priority = pair.priority(role);
        let at = self.pairs.partition_point(|other| other.priority(role) >= priority);
        self.pairs.insert(at, Box::new(pair));
        if self.pairs.len() <= max {
            return None;
        }
        // RFC 8838 §11: failed pairs first, then those of lower priority; what works is kept longest.
        let rank = |pair: &Pair| match pair.state {
            PairState::Failed => 0,
            PairState::Succeeded => 2,
            _ => 1,
        };
        let victims = self.pairs.iter().enumerate().rev().filter(|(_, pair)| Some(pair.id) != keep);
        let at = victims.min_by_key(|(_, pair)| rank(pair)).map(|(at, _)| at)?;
        Some(self.pairs.remove(at).id)
    }

    /// RFC 8838 §12: the best pair of its foundation waits, and so does one whose foundation has succeeded.
    fn initial_state(&self, pair: &Pair, role: IceRole) -> PairState {
        let mut mates = self.iter().filter(|other| other.foundation == pair.foundation);
        // The list is in order: the first mate is the best of them.
        let is_best = mates.next().is_none_or(|best| best.priority(role) < pair.priority(role));
        let thawed = is_best
            || self.iter().any(|o| o.foundation == pair.foundation && o.state == PairState::Succeeded);
        if thawed { PairState::Waiting } else { PairState::Frozen }
    }

    /// Puts the pairs in order again, after priorities changed.
    pub(super) fn sort(&mut self, role: IceRole) {
        // Stable, so that equal ones stay as they were.
        self.pairs.sort_by_key(|pair| std::cmp::Reverse(pair.priority(role)));
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Pair) -> bool) {
        self.pairs.retain(|pair| keep(pair));
        if self.pairs.len() * 4 < self.pairs.capacity() {
            self.pairs.shrink_to_fit();
        }
    }

    /// Gives memory back that setting up needed.
    pub(super) fn slim(&mut self) {
        self.pairs.shrink_to_fit();
    }

    /// Changes all pairs with a remote address; priorities may change, so [`sort`](Self::sort) afterwards.
    pub(super) fn update_remote(
        &mut self,
        remote: SocketAddr,
        protocol: Protocol,
        change: impl FnMut(&mut Pair),
    ) {
        let is_it = |pair: &&mut Pair| same(pair.remote.address, remote) && pair.protocol == protocol;
        self.iter_mut().filter(is_it).for_each(change);
    }

    /// Pairs that failed are checked again.
    pub(super) fn try_again(&mut self, now: Instant) {
        for pair in self.iter_mut().filter(|pair| pair.state == PairState::Failed) {
            pair.state = PairState::Waiting;
            pair.checks = 0;
            pair.last_heard = now;
        }
    }

    /// RFC 8445 §8.1.2: with a pair selected, those that have not succeeded are not checked any more. An answer that
    /// is on its way still counts.
    pub(super) fn abandon_open(&mut self) {
        self.iter_mut().filter(|pair| pair.is_open()).for_each(|pair| pair.state = PairState::Failed);
    }

    /// The valid pair with the highest priority.
    pub(super) fn best_valid(&self) -> Option<&Pair> {
        self.iter().find(|pair| pair.is_valid())
    }

    /// RFC 8445 §7.2.5.3.3: what shares the foundation of a pair that succeeded need not be held back.
    pub(super) fn thaw(&mut self, foundation: PairFoundation) {
        let frozen = |pair: &&mut Pair| pair.state == PairState::Frozen && pair.foundation == foundation;
        self.iter_mut().filter(frozen).for_each(|pair| pair.state = PairState::Waiting);
    }

    /// RFC 8445 §6.1.4.2 step 2: with nothing waiting, one frozen pair of each foundation that nobody checks.
    ///
    /// A pair that was checked three times without an answer holds nobody back: its checks go on for most of a
    /// minute here, and others of its foundation would come too late.
    fn thaw_idle_foundations(&mut self) {
        let is_busy = |pair: &&Pair| match pair.state {
            PairState::Waiting => true,
            PairState::InProgress => pair.checks < 3,
            _ => false,
        };
        let mut busy: BTreeSet<PairFoundation> = self.iter().filter(is_busy).map(|p| p.foundation).collect();
        for pair in self.iter_mut().filter(|pair| pair.state == PairState::Frozen) {
            // The first of its foundation is the best of it.
            if busy.insert(pair.foundation) {
                pair.state = PairState::Waiting;
            }
        }
    }

    /// Picks the next ordinary check (RFC 8445 §6.1.4.2).
    ///
    /// A pair that is not answered is checked again, by a new transaction. While no pair is valid that happens at
    /// the paced interval, so that a lost packet costs one interval and not half a second; each third check goes to
    /// such a pair while others were never checked. Once a pair is valid, repeats keep to the RTO of §14.3.
    pub(super) fn next_check(&mut self, now: Instant, pacing: Duration) -> Next {
        let has_valid = self.best_valid().is_some();
        let busy = self.iter().filter(|p| matches!(p.state, PairState::Waiting | PairState::InProgress));
        let rto = (pacing * u32::try_from(busy.count()).unwrap_or(u32::MAX)).max(MIN_RTO);
        let due =
            |pair: &Pair| pair.last_check.map_or(now, |at| at + repeat_after(pair, has_valid, pacing, rto));
        for pair in self.iter_mut().filter(|pair| pair.state == PairState::InProgress) {
            let limit = if has_valid { MAX_CHECKS_BESIDE_VALID } else { MAX_CHECKS };
            if pair.checks >= limit && due(pair) <= now {
                pair.state = PairState::Failed;
            }
        }
        if !self.iter().any(|pair| pair.state == PairState::Waiting) {
            self.thaw_idle_foundations();
        }
        let waiting = self.iter().find(|pair| pair.state == PairState::Waiting).map(|pair| pair.id);
        let repeats = self.iter().filter(|pair| pair.state == PairState::InProgress);
        // Whom the peer has reached first, then the one that had the fewest, then the best.
        let repeat = repeats
            .clone()
            .filter(|pair| due(pair) <= now)
            .min_by_key(|pair| (!pair.asked, pair.checks))
            .map(|pair| pair.id);
        let next_due = repeats.map(due).min();
        let chosen = match (waiting, repeat) {
            (Some(_), Some(repeat)) if self.first_checks >= 2 && !has_valid => Some(repeat),
            (Some(waiting), _) => Some(waiting),
            (None, repeat) => repeat,
        };
        match chosen {
            Some(id) => {
                self.first_checks = if chosen == waiting { self.first_checks.saturating_add(1) } else { 0 };
                Next::Check(id)
            }
            None => next_due.map_or(Next::Nothing, Next::At),
        }
    }
}

/// How long after its last check a pair is checked again.
fn repeat_after(pair: &Pair, has_valid: bool, pacing: Duration, rto: Duration) -> Duration {
    /// Checks of one pair that follow each other at the paced interval, before their distance grows.
    const QUICK: u16 = 10;
    let doubled = |first: Duration, steps: u16| first.saturating_mul(1 << steps.min(10));
    if has_valid {
        // RFC 8489 §6.2.1: the interval doubles.
        doubled(rto, pair.checks.saturating_sub(1))
    } else {
        // The floor keeps a quickly paced agent from filling a slow path with copies of one check. A stream loses
        // nothing, so that there only answers to be waited for.
        let floor = if pair.protocol == Protocol::Udp { Duration::from_millis(50) } else { MIN_RTO };
        let first = pacing.max(floor);
        doubled(first, pair.checks.saturating_sub(QUICK)).min(Duration::from_secs(1).max(pacing))
    }
}

/// Whether two addresses are the same to ICE: flow labels and scopes do not count.
pub(super) fn same(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip() == b.ip()
}
