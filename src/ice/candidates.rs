//! The candidates of both ends, and the pairs that are formed of them (RFC 8445 §5.1, §6.1.2; RFC 8838 §11).
//!
//! ```text
//! add_local_candidate ──▶ locals ──┐
//!                                  ├─ pair: one per base and remote address ──▶ checklist
//! add_remote_candidate ─▶ remotes ─┘
//! ```

use std::net::SocketAddr;
use std::time::Instant;

use super::agent::Agent;
use super::checklist::same;
use super::generation::Remote;
use super::pair::{End, Pair, PairFoundation};
use super::{LocalCandidateError, RemoteCandidate, RemoteCandidateError, UnknownCandidate};
use crate::packet::Protocol;
use crate::types::candidate::{Candidate, CandidateKind, FAMILY_STEP, Foundation, TcpType, priority};

/// Names a local candidate of one agent for as long as the agent lives; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalId(pub(super) u32);

#[derive(Debug)]
pub(super) struct Local {
    pub(super) id: LocalId,
    pub(super) candidate: Candidate,
    /// The candidate's base, which is what it is paired by.
    pub(super) base: SocketAddr,
    pub(super) usage: Usage,
}

/// What a local candidate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Usage {
    /// To be paired and signalled.
    Full,
    /// Its socket is known, and that is all.
    Socket,
}

impl Agent {
    // ----- local candidates -----

    /// Takes a local candidate, whose base the caller has a socket for. Its priority is lowered until it differs
    /// from those of the others (RFC 8445 §5.1.2.1), by two local preferences at a time, so that IPv6 and IPv4 go on
    /// taking turns (RFC 8421 §4); signal it as [`local_candidate`](Agent::local_candidate) gives it.
    ///
    /// An active TCP candidate stands for any number of streams that leave from its address, and is their local
    /// address to the agent, port 9 and all; a passive one is the address of a listener (RFC 6544 §5).
    pub fn add_local_candidate(
        &mut self,
        now: Instant,
        candidate: Candidate,
    ) -> Result<LocalId, LocalCandidateError> {
        self.add_local(now, candidate, Usage::Full)
    }

    /// Takes a local candidate of which nothing but the name is used: it is neither paired nor listed, and what
    /// arrives at it is dropped. For those who reach servers from its socket, and peers from elsewhere.
    pub fn add_local_socket(
        &mut self,
        now: Instant,
        candidate: Candidate,
    ) -> Result<LocalId, LocalCandidateError> {
        self.add_local(now, candidate, Usage::Socket)
    }

    fn add_local(
        &mut self,
        now: Instant,
        mut candidate: Candidate,
        usage: Usage,
    ) -> Result<LocalId, LocalCandidateError> {
        let now = self.advance(now);
        let (Some(base), Some(address)) = (candidate.base(), candidate.socket_address()) else {
            return Err(LocalCandidateError::NoBase);
        };
        let protocol = candidate.protocol();
        let is_same = |local: &Local| {
            local.base == base
                && local.candidate.socket_address() == Some(address)
                && local.candidate.protocol() == protocol
        };
        // RFC 6544 §5: simultaneous-open candidates are left alone.
        let usable = matches!(
            (protocol, candidate.tcp_type()),
            (Protocol::Udp, _) | (Protocol::Tcp, Some(TcpType::Active | TcpType::Passive))
        );
        match () {
            () if self.closed => return Err(LocalCandidateError::Closed),
            () if candidate.component() != 1 => return Err(LocalCandidateError::Component),
            () if !usable => return Err(LocalCandidateError::Protocol),
            () if self.locals.iter().any(is_same) => return Err(LocalCandidateError::Duplicate),
            () if self.locals.len() >= self.config.max_local_candidates => {
                return Err(LocalCandidateError::TooMany);
            }
            () => {}
        }
        // As many steps as there are others are enough, unless the caller's priorities are next to nothing.
        for _ in 0..self.locals.len() {
            if self.locals.iter().all(|local| local.candidate.priority() != candidate.priority()) {
                break;
            }
            let lower = candidate.priority().saturating_sub(FAMILY_STEP);
            candidate = candidate.with_priority(lower);
        }
        let id = LocalId(self.next_local);
        self.next_local += 1;
        let is_new_base = usage == Usage::Full && !self.is_local(base, protocol);
        let side = LocalSide::of(&candidate, base);
        self.locals.push(Local { id, candidate, base, usage });
        // RFC 8445 §6.1.2.4: a reflexive candidate is replaced by its base, which has its pairs already.
        if is_new_base {
            for at in 0..self.current.remotes.len() {
                let remote = self.current.remotes[at];
                self.pair(now, side, remote);
            }
            self.pair_with_selected(now, side);
        }
        self.kick(now);
        Ok(id)
    }

    /// Removes a local candidate, and with the last one of its base all pairs of that base. When data went over
    /// one of them it goes elsewhere, or nowhere.
    pub fn remove_local_candidate(&mut self, now: Instant, id: LocalId) -> Result<(), UnknownCandidate> {
        let now = self.advance(now);
        let at = self.locals.iter().position(|local| local.id == id).ok_or(UnknownCandidate)?;
        let Local { base, candidate, .. } = self.locals.remove(at);
        let protocol = candidate.protocol();
        if self.is_local(base, protocol) {
            return Ok(());
        }
        self.outbox.retain(|outgoing| outgoing.local != base || outgoing.protocol != protocol);
        let stays = |pair: &Pair| pair.local.address != base || pair.protocol != protocol;
        let selected = self.current.selected.and_then(|id| self.current.checklist.pair(id));
        let last_remote = selected.map(Pair::remote);
        self.current.retain_pairs(stays);
        if let Some(previous) = &mut self.previous {
            previous.retain_pairs(stays);
        }
        self.on_pairs_lost(now, last_remote);
        Ok(())
    }

    /// Pairs are gone, for a reason other than silence: data goes over another one, or one is looked for.
    pub(super) fn on_pairs_lost(&mut self, now: Instant, last_remote: Option<Remote>) {
        if self.current.usable_pair().is_none() && self.current.remote.is_some() && !self.is_inert() {
            self.timers.patience.arm_if_idle(now + self.config.patience);
            self.revive(now, last_remote);
        }
        self.reconsider(now);
        self.consider_nomination(now);
        self.kick(now);
        // The peer learns at once where it is heard from now on.
        if self.consent.of.is_some() && !self.config.lite {
            self.consent.next.arm_no_later_than(now);
        }
    }

    /// Forms all pairs again that there could be, and checks them: what was of no use once may be the only way
    /// now. `also` is where the peer was last, in case that signalling never told.
    pub(super) fn revive(&mut self, now: Instant, also: Option<Remote>) {
        if self.config.lite || self.is_inert() {
            return;
        }
        let remotes: Vec<Remote> = self.current.remotes.iter().copied().chain(also).collect();
        for remote in remotes {
            self.pair_with_locals(now, remote);
        }
        self.current.checklist.try_again(now);
        self.kick(now);
    }

    // ----- remote candidates -----

    /// Takes a candidate of the peer, at any time (RFC 8838 §11).
    pub fn add_remote_candidate(
        &mut self,
        now: Instant,
        candidate: &Candidate,
    ) -> Result<RemoteCandidate, RemoteCandidateError> {
        let now = self.advance(now);
        if self.closed {
            return Err(RemoteCandidateError::Closed);
        }
        let Some(address) = candidate.socket_address() else {
            return Ok(RemoteCandidate::Unresolved);
        };
        // RFC 8838 §11: a candidate may say which generation it belongs to.
        let peer = self.current.remote.as_ref().map(|side| side.credentials.ufrag.as_str());
        let is_stale = matches!((candidate.extension("ufrag"), peer), (Some(a), Some(b)) if a != b);
        let ip = address.ip();
        let unusable = ip.is_unspecified() || ip.is_multicast() || address.port() == 0;
        // RFC 6544 §6.2: of streams only passive candidates can be connected to.
        let reachable = match candidate.protocol() {
            Protocol::Udp => true,
            Protocol::Tcp => candidate.tcp_type() == Some(TcpType::Passive),
            _ => false,
        };
        if is_stale || unusable || candidate.component() != 1 || !reachable {
            return Ok(RemoteCandidate::Ignored);
        }
        let remote = Remote {
            address,
            kind: candidate.kind(),
            protocol: candidate.protocol(),
            priority: candidate.priority(),
            foundation: candidate.foundation(),
        };
        let known = |other: &Remote| same(other.address, address) && other.protocol == remote.protocol;
        if self.current.remotes.iter().any(known) {
            return Ok(RemoteCandidate::Known);
        }
        if self.current.remotes.len() >= self.config.max_remote_candidates {
            return Err(RemoteCandidateError::TooMany);
        }
        self.current.remotes.push(remote);
        self.adopt(remote);
        // RFC 8445 §8.1.2 does not extend a completed checklist; whoever may move does.
        if self.current.selected.is_none() || self.config.moves {
            self.pair_with_locals(now, remote);
            self.conclude_between_lites(now);
        }
        self.kick(now);
        Ok(RemoteCandidate::Added)
    }

    // ----- pairs -----

    /// Pairs a remote candidate with every base it fits.
    fn pair_with_locals(&mut self, now: Instant, remote: Remote) {
        for at in 0..self.locals.len() {
            let local = &self.locals[at];
            let (base, protocol) = (local.base, local.candidate.protocol());
            let first_of_base = !self.locals[..at].iter().any(|other| other.is_at(base, protocol));
            if first_of_base && let Some(side) = self.local_side(base, protocol) {
                let foundation = self.locals[at].candidate.foundation();
                self.pair(now, LocalSide { foundation, ..side }, remote);
            }
        }
    }

    /// A new base may be the way to where the peer is now, even if signalling never told of that address.
    fn pair_with_selected(&mut self, now: Instant, side: LocalSide) {
        let selected = self.current.selected.and_then(|id| self.current.checklist.pair(id));
        if let Some(remote) = selected.map(Pair::remote).filter(|_| self.config.moves) {
            self.pair(now, side, remote);
        }
    }

    /// Forms a pair, if both fit and it is not there already (RFC 8445 §6.1.2.2, §6.1.2.4).
    fn pair(&mut self, now: Instant, local: LocalSide, remote: Remote) {
        // RFC 6544 §6.2: what listens is not paired; whoever connects to it makes a pair of its own.
        if local.protocol != remote.protocol || local.tcp_type == Some(TcpType::Passive) {
            return;
        }
        let Some(address) = fitting(local.end.address, remote.address) else { return };
        if self.current.checklist.find(local.end.address, address, remote.protocol).is_some() {
            return;
        }
        let id = self.new_pair_id();
        let end = End { address, kind: remote.kind, priority: remote.priority };
        let foundation = PairFoundation::new(local.foundation, remote.foundation);
        self.insert(Pair::new(id, local.end, end, remote.protocol, foundation, now));
    }

    /// Puts a pair into the checklist. Says whether it is still there.
    pub(super) fn insert(&mut self, pair: Pair) -> bool {
        let id = pair.id;
        let in_use = self.path.map(|path| path.pair);
        let keep = self.current.selected.or(in_use);
        let gone = self.current.checklist.insert(pair, self.role, self.config.max_pairs, keep);
        if let Some(gone) = gone {
            self.stats.pairs_discarded += 1;
            self.current.forget(gone);
        }
        gone != Some(id)
    }

    /// Pairs that were learned from checks take over what signalling says of their remote candidate
    /// (RFC 8838 §11).
    fn adopt(&mut self, remote: Remote) {
        let mut is_moved = false;
        self.current.checklist.update_remote(remote.address, remote.protocol, |pair| {
            is_moved |= pair.remote.priority != remote.priority;
            pair.remote.kind = remote.kind;
            pair.remote.priority = remote.priority;
        });
        if is_moved {
            self.current.checklist.sort(self.role);
        }
    }

    // ----- questions -----

    /// Whether `address` is the base of a local candidate that is used.
    pub(super) fn is_local(&self, address: SocketAddr, protocol: Protocol) -> bool {
        self.locals.iter().any(|local| local.is_at(address, protocol))
    }

    /// The local side of a pair with `base`: the best candidate that has it.
    pub(super) fn local_side(&self, base: SocketAddr, protocol: Protocol) -> Option<LocalSide> {
        let of_base = self.locals.iter().filter(|local| local.is_at(base, protocol));
        let best = of_base.max_by_key(|local| local.candidate.priority())?;
        Some(LocalSide::of(&best.candidate, best.base))
    }

    /// The priority of the local UDP candidate at `address`, if there is one with `base`.
    pub(super) fn local_priority(&self, address: SocketAddr, base: SocketAddr) -> Option<u32> {
        let is_it = |local: &&Local| {
            local.is_at(base, Protocol::Udp)
                && local.candidate.socket_address().is_some_and(|a| same(a, address))
        };
        self.locals.iter().find(is_it).map(|local| local.candidate.priority())
    }

    /// What signalling said of the remote candidate at `address`.
    pub(super) fn signalled(&self, address: SocketAddr, protocol: Protocol) -> Option<End> {
        let remote = self.signalled_remote(address, protocol)?;
        Some(End { address, kind: remote.kind, priority: remote.priority })
    }

    /// The remote candidate at `address` that signalling told of.
    pub(super) fn signalled_remote(&self, address: SocketAddr, protocol: Protocol) -> Option<Remote> {
        let is_it = |remote: &&Remote| same(remote.address, address) && remote.protocol == protocol;
        self.current.remotes.iter().find(is_it).copied()
    }
}

impl Local {
    /// Whether it is used, and has this base.
    fn is_at(&self, base: SocketAddr, protocol: Protocol) -> bool {
        self.usage == Usage::Full && same(self.base, base) && self.candidate.protocol() == protocol
    }
}

/// What a pair takes over from its local candidate.
#[derive(Debug, Clone, Copy)]
pub(super) struct LocalSide {
    pub(super) end: End,
    foundation: Foundation,
    protocol: Protocol,
    tcp_type: Option<TcpType>,
}

impl LocalSide {
    fn of(candidate: &Candidate, base: SocketAddr) -> Self {
        LocalSide {
            end: End { address: base, kind: candidate.kind(), priority: candidate.priority() },
            foundation: candidate.foundation(),
            protocol: candidate.protocol(),
            tcp_type: candidate.tcp_type(),
        }
    }
}

/// The address to reach `remote` at from `local`, if they go together (RFC 8445 §6.1.2.2): the same IP version,
/// and link-local only with link-local, on the local one's link.
fn fitting(local: SocketAddr, remote: SocketAddr) -> Option<SocketAddr> {
    match (local, remote) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => Some(remote),
        (SocketAddr::V6(local), SocketAddr::V6(mut remote)) => {
            let links = [local.ip().is_unicast_link_local(), remote.ip().is_unicast_link_local()];
            if links == [true, true] {
                remote.set_scope_id(local.scope_id());
            }
            (links[0] == links[1]).then_some(remote.into())
        }
        _ => None,
    }
}

/// What a peer-reflexive candidate is worth when nobody said.
pub(super) fn default_priority() -> u32 {
    priority(CandidateKind::PeerReflexive.preference(), 0, 1)
}
