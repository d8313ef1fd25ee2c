//! The agent: what it is told, what is asked of it, and what it hands out.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::checklist::same;
use super::config::{Config, MAX_OUTBOX, MIN_PACING};
use super::embedding::{Embed, Embedding, LastFlight};
use super::encode::{Body, MAX_MESSAGE, Outgoing};
use super::facts::{Fact, Facts};
use super::generation::{Generation, GenerationId, Remote, Side};
use super::pair::{End, Pair, PairFoundation, PairId, Traffic};
use super::path::Consent;
use super::{
    ConnectionState, CredentialsError, LocalCandidateError, PairView, Path, RemoteCandidate,
    RemoteCandidateError, SourceState, Stats, UnknownCandidate,
};
use crate::buffer::Pool;
use crate::packet::{Ecn, Protocol, Transmit};
use crate::rng::Rng;
use crate::stun::Message;
use crate::time::{Timer, earliest};
use crate::types::candidate::{Candidate, FAMILY_STEP, Foundation, TcpType, priority};
use crate::types::credentials::Credentials;
use crate::types::setup::IceRole;

/// Names a local candidate of one agent for as long as the agent lives; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalId(u32);

#[derive(Debug)]
pub(super) struct Local {
    id: LocalId,
    candidate: Candidate,
    /// The candidate's base, which is what it is paired by.
    base: SocketAddr,
    usage: Usage,
}

/// What a local candidate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Usage {
    /// To be paired and signalled.
    Full,
    /// Its socket is known, and that is all.
    Socket,
}

/// One ICE agent with one component.
///
/// # Contract
/// Commands and `handle_*` take `now` and decide; nothing is sent by a `poll_*` that was not decided before.
/// Commands only make checks due: give all candidates of a description first, and then call
/// [`handle_timeout`](Agent::handle_timeout), which starts with the best pair. After every call, drain
/// [`poll_transmit`](Agent::poll_transmit) and [`poll_fact`](Agent::poll_fact), and ask
/// [`next_timeout`](Agent::next_timeout). `now` may stand still or go backwards; the latest one counts.
///
/// # When checks leave
/// The first one at once, a triggered one at once (5 ms after another one at the earliest), the rest one per
/// [`pacing`](Config::pacing). No check is ever retransmitted: an unanswered one is followed by a new
/// transaction, at the paced interval while no pair is valid.
///
/// # When a pair is nominated
/// By a controlling agent, once: as soon as the best pair that may still become valid is valid. Else, three
/// round trips after the first pair became valid (at least 100 ms, at most [`Config::nomination_wait`], which is
/// also what a relayed pair waits), the best one then. A second nomination happens when the selected pair does not
/// answer any more while another one does, and, with [`Config::moves`], when a better one has become valid. With
/// [`set_renomination`](Agent::set_renomination) the peer can tell the later one by its number.
#[derive(Debug)]
pub struct Agent {
    pub(super) config: Config,
    pub(super) rng: Rng,
    /// What the numbers of transactions begin with.
    pub(super) tag: u32,
    pub(super) role: IceRole,
    pub(super) tie_breaker: u64,
    /// A check was sent since the last role switch.
    pub(super) may_switch_role: bool,
    remote_lite: bool,
    /// Both ends number their nominations.
    pub(super) renominates: bool,
    /// The highest number of a nomination, sent or heard.
    pub(super) nomination: u32,
    locals: Vec<Local>,
    next_local: u32,
    next_pair: u32,
    pub(super) current: Generation,
    /// What was before a restart, while data still goes over it.
    pub(super) previous: Option<Box<Generation>>,
    pub(super) consent: Consent,
    pub(super) path: Option<Path>,
    /// What went over it, until it changes.
    pub(super) traffic: Traffic,
    outbox: VecDeque<Outgoing>,
    /// A DTLS handshake that travels in checks; `None` when none does.
    embedding: Option<Box<Embedding>>,
    pub(super) timers: Timers,
    pub(super) facts: Facts,
    pub(super) stats: Stats,
    /// When the last ordinary check left, and the last one of any kind.
    pub(super) last_ordinary: Option<Instant>,
    pub(super) last_check: Option<Instant>,
    /// The latest time heard of.
    now: Option<Instant>,
    closed: bool,
}

/// The deadlines that do not belong to a pair.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// The next ordinary check.
    pub(super) pace: Timer,
    /// The next triggered check.
    pub(super) triggered: Timer,
    /// The best valid pair is nominated, or its nomination repeated.
    pub(super) nomination: Timer,
    /// An agent without a valid pair fails (RFC 8863 §4).
    pub(super) patience: Timer,
    /// Pairs that were not selected go.
    pub(super) conclusion: Timer,
    /// What was before a restart goes.
    pub(super) retirement: Timer,
    /// The backup is checked.
    pub(super) backup: Timer,
}

impl Agent {
    /// An agent with fresh credentials and no candidates.
    pub fn new(config: Config, role: IceRole, mut rng: Rng) -> Self {
        let current = Generation::new(GenerationId(0), Credentials::generate(&mut rng));
        let tie_breaker = rng.u64();
        let tag = rng.u32();
        Agent {
            config,
            rng,
            tag,
            role,
            tie_breaker,
            may_switch_role: true,
            remote_lite: false,
            renominates: false,
            nomination: 0,
            locals: Vec::new(),
            next_local: 0,
            next_pair: 0,
            current,
            previous: None,
            consent: Consent::default(),
            path: None,
            traffic: Traffic::default(),
            outbox: VecDeque::new(),
            embedding: None,
            timers: Timers::default(),
            facts: Facts::default(),
            stats: Stats::default(),
            last_ordinary: None,
            last_check: None,
            now: None,
            closed: false,
        }
    }

    // ----- commands -----

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

    /// Takes the peer's credentials. Connectivity checks and the agent's patience begin (RFC 8863 §4).
    pub fn set_remote_credentials(
        &mut self,
        now: Instant,
        credentials: Credentials,
    ) -> Result<(), CredentialsError> {
        let now = self.advance(now);
        if self.closed {
            return Err(CredentialsError::Closed);
        }
        if !credentials.is_valid() {
            return Err(CredentialsError::Invalid);
        }
        if let Some(side) = &self.current.remote {
            let same = side.credentials == credentials;
            return if same { Ok(()) } else { Err(CredentialsError::RestartNeeded) };
        }
        self.current.remote = Some(Side::new(credentials));
        self.enter(ConnectionState::Checking);
        self.timers.patience.arm(now + self.config.patience);
        if !self.current.triggered.is_empty() {
            self.timers.triggered.arm(now);
        }
        // A lite agent may have been nominated for before its description was answered.
        self.reconsider(now);
        self.kick(now);
        Ok(())
    }

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

    /// The peer has no more candidates to tell of (RFC 8838 §14).
    pub fn end_of_remote_candidates(&mut self, now: Instant) {
        let now = self.advance(now);
        self.current.end_of_candidates = true;
        self.consider_nomination(now);
    }

    /// Says which end leads (RFC 8445 §6.1.1); the peer may correct it.
    pub fn set_role(&mut self, role: IceRole) {
        if self.role != role {
            self.role = role;
            self.current.checklist.sort(role);
        }
    }

    /// Says that the peer is a lite agent: it sends no checks.
    pub fn set_remote_lite(&mut self, now: Instant, lite: bool) {
        let now = self.advance(now);
        self.remote_lite = lite;
        self.conclude_between_lites(now);
    }

    /// Starts anew with fresh credentials, which are to be signalled (RFC 8445 §9). Data goes on over the present
    /// pair, if there is one, until the new generation has selected its own. Roles stay.
    pub fn restart(&mut self, now: Instant) -> &Credentials {
        self.advance(now);
        if !self.closed {
            let id = GenerationId(self.current.id.0 + 1);
            let fresh = Generation::new(id, Credentials::generate(&mut self.rng));
            let former = std::mem::replace(&mut self.current, fresh);
            // Of two restarts in a row, the generation that carries data is the one to keep.
            if former.usable_pair().is_some() || self.previous.is_none() {
                self.previous = Some(Box::new(former));
            }
            self.timers = Timers::default();
            self.facts.state_changed(ConnectionState::New);
        }
        &self.current.local.credentials
    }

    /// Takes a restart back that the peer did not answer: the former generation is in force again. Says whether
    /// there was one.
    pub fn rollback_restart(&mut self, now: Instant) -> bool {
        let now = self.advance(now);
        let Some(former) = self.previous.take() else { return false };
        self.current = *former;
        self.timers = Timers::default();
        self.facts.state_changed(self.current.state);
        if self.current.remote.is_some() && self.current.usable_pair().is_none() {
            self.timers.patience.arm(now + self.config.patience);
        }
        self.reconsider(now);
        self.kick(now);
        true
    }

    /// Ends the agent: every later call is inert.
    pub fn close(&mut self) {
        self.closed = true;
        self.embedding = None;
        self.facts.clear();
        self.shut();
        self.current.remotes = Vec::new();
        self.locals = Vec::new();
    }

    /// Says whether both ends have the ICE option `renomination` (draft-thatcher-ice-renomination): a controlled agent
    /// then goes by the numbers of nominations, and a controlling one sends them when it nominates again.
    pub fn set_renomination(&mut self, is_agreed: bool) {
        self.renominates = is_agreed;
    }

    // ----- DTLS in checks -----

    /// Says whether a DTLS handshake may travel in checks and their answers (draft-hancke-webrtc-sped). What is over
    /// does not begin again.
    pub fn set_embed(&mut self, embed: Embed) {
        let is_wanted = embed != Embed::Off && !self.is_inert();
        match &mut self.embedding {
            Some(embedding) => embedding.set(embed),
            None if is_wanted => self.embedding = Some(Box::new(Embedding::new(embed))),
            None => {}
        }
        self.drop_embedding();
    }

    /// Whether flights are to be given to [`embed_flight`](Agent::embed_flight), written with so many bytes less per
    /// datagram: what a check adds to the largest of them. `None`: they go the ordinary way.
    pub fn embedding(&self) -> Option<usize> {
        self.embedding.as_ref().filter(|embedding| embedding.is_active())?;
        let ours = self.current.local.credentials.ufrag.len();
        let theirs = self.current.remote.as_ref().map_or(256, |side| side.credentials.ufrag.len());
        // The header, ICE-CONTROLLING, PRIORITY, USE-CANDIDATE, MESSAGE-INTEGRITY, FINGERPRINT, the head of the
        // datagram and its padding, four acknowledgements, and a relay's address: the draft's "MTU considerations".
        let fixed = 20 + 12 + 8 + 4 + 24 + 8 + 4 + 3 + 20 + 24;
        Some(fixed + 4 + (ours + 1 + theirs).next_multiple_of(4))
    }

    /// Takes a flight, datagram by datagram, that is new or due again: it takes the place of the one before.
    pub fn embed_flight(&mut self, flight: impl Iterator<Item = Bytes>) {
        if let Some(embedding) = &mut self.embedding {
            embedding.set_flight(flight);
        }
    }

    /// The next datagram of the flight that is to leave as it is: to be asked for when there is a path.
    pub fn poll_plain_flight(&mut self) -> Option<Bytes> {
        let datagram = self.embedding.as_mut()?.take_plain();
        self.drop_embedding();
        datagram
    }

    /// Where a handshake may be sent. A lite agent, which has no valid pair before one is nominated, sends it back to
    /// where the last authentic check came from (the draft's "Lite agents").
    pub fn handshake_path(&self) -> Option<Path> {
        let asked = || {
            let pairs = self.current.checklist.iter().filter(|pair| self.config.lite && pair.asked);
            pairs.max_by_key(|pair| pair.last_heard).map(Pair::path)
        };
        self.path.or_else(asked)
    }

    /// The next datagram that came in an authentic check, or in the answer to one.
    pub fn poll_embedded(&mut self) -> Option<BytesMut> {
        let datagram = self.embedding.as_mut()?.take_inbound();
        self.drop_embedding();
        datagram
    }

    /// A handshake datagram came outside of checks: it is acknowledged in the next one.
    pub fn on_plain_flight(&mut self, datagram: &[u8]) {
        if let Some(embedding) = self.embedding.as_mut().filter(|embedding| embedding.is_active()) {
            embedding.note(datagram);
        }
    }

    /// The handshake is over at this end.
    pub fn on_handshake_complete(&mut self, last_flight: LastFlight) {
        if let Some(embedding) = &mut self.embedding {
            embedding.on_complete(last_flight);
        }
    }

    /// An authentic message of the peer: takes what it carries.
    pub(super) fn on_embedded(&mut self, message: &Message<'_>, answered: Option<u32>) {
        if let Some(embedding) = &mut self.embedding {
            embedding.on_message(message, answered);
            self.stats.embedding |= embedding.is_supported();
            self.drop_embedding();
        }
    }

    fn drop_embedding(&mut self) {
        self.embedding.take_if(|embedding| embedding.is_over());
    }

    // ----- outputs -----

    /// Writes the next STUN message. Nothing is decided here.
    pub fn poll_transmit(&mut self, pool: &mut Pool) -> Option<Transmit> {
        while let Some(outgoing) = self.outbox.pop_front() {
            let mut embedding = self.embedding.take();
            let room = embedding.as_ref().map_or(0, |embedding| embedding.max_written());
            let names = self.generation(outgoing.generation).map_or(0, Generation::names_len);
            let buf = pool.tail(MAX_MESSAGE + names + room);
            let written = self
                .generation(outgoing.generation)
                .and_then(|generation| outgoing.write(generation, embedding.as_deref_mut(), buf));
            self.embedding = embedding;
            let Some(embedded) = written else { continue };
            if let (Body::Check { .. }, Some(_), Some(generation)) =
                (&outgoing.body, embedded, self.generation_mut(outgoing.generation))
            {
                generation.set_embedded(outgoing.transaction, embedded);
            }
            return Some(Transmit {
                contents: buf.split().into(),
                destination: outgoing.remote,
                source: outgoing.local,
                protocol: outgoing.protocol,
                ecn: Ecn::NotEct,
                segment_size: None,
            });
        }
        None
    }

    /// The next thing that was found out.
    pub fn poll_fact(&mut self) -> Option<Fact> {
        self.facts.poll()
    }

    /// When [`handle_timeout`](Agent::handle_timeout) is to be called; `None`: not at all.
    pub fn next_timeout(&self) -> Option<Instant> {
        let Timers { pace, triggered, nomination, patience, conclusion, retirement, backup } = &self.timers;
        let Consent { next, expiry, .. } = &self.consent;
        let timers = [pace, triggered, nomination, patience, conclusion, retirement, backup, next, expiry];
        earliest(timers.map(Timer::deadline))
    }

    /// Does what is due. Early and repeated calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        /// What is done may make other things due at once, a few times at the most: consent lost on one pair
        /// makes another one the path, whose consent is to be asked for.
        const PASSES: usize = 8;
        let now = self.advance(now);
        for _ in 0..PASSES {
            if self.next_timeout().is_none_or(|at| at > now) {
                break;
            }
            self.expire_timers(now);
        }
    }

    fn expire_timers(&mut self, now: Instant) {
        if self.timers.retirement.expire(now) {
            self.previous = None;
            self.reconsider(now);
        }
        if self.consent.expiry.expire(now) {
            self.on_consent_lost(now);
        }
        if self.timers.patience.expire(now) {
            self.on_patience_over();
        }
        if self.consent.next.expire(now) {
            self.check_consent(now);
        }
        if self.timers.conclusion.expire(now) {
            self.conclude(now);
        }
        if self.timers.backup.expire(now) {
            self.warm_backup(now);
        }
        if self.timers.nomination.expire(now) {
            self.on_nomination_due(now);
        }
        if self.timers.triggered.expire(now) {
            self.on_triggered_due(now);
        }
        if self.timers.pace.expire(now) {
            self.on_pace(now);
        }
    }

    // ----- questions -----

    /// The credentials to be signalled.
    pub fn local_credentials(&self) -> &Credentials {
        &self.current.local.credentials
    }

    /// The peer's credentials, once they are known.
    pub fn remote_credentials(&self) -> Option<&Credentials> {
        self.current.remote.as_ref().map(|side| &side.credentials)
    }

    /// The user name fragments that requests to this agent may carry: one, or two during a restart.
    pub fn ufrags(&self) -> impl Iterator<Item = &str> {
        [Some(&self.current), self.previous.as_deref()]
            .into_iter()
            .flatten()
            .map(|generation| generation.local.credentials.ufrag.as_str())
    }

    /// The local candidates, as they are to be signalled.
    pub fn local_candidates(&self) -> impl Iterator<Item = (LocalId, &Candidate)> {
        let used = self.locals.iter().filter(|local| local.usage == Usage::Full);
        used.map(|local| (local.id, &local.candidate))
    }

    /// A local candidate; `None` once it was removed.
    pub fn local_candidate(&self, id: LocalId) -> Option<&Candidate> {
        self.locals.iter().find(|local| local.id == id).map(|local| &local.candidate)
    }

    /// What the number of every transaction begins with (see
    /// [`TransactionId::tagged`](crate::stun::TransactionId::tagged)).
    pub fn transaction_tag(&self) -> u32 {
        self.tag
    }

    /// The time between two checks.
    pub(crate) fn pacing(&self) -> std::time::Duration {
        self.config.pacing.max(MIN_PACING)
    }

    /// Randomness for who works beside the agent.
    pub(crate) fn fork_rng(&mut self) -> Rng {
        self.rng.fork()
    }

    /// When the last check left: other transactions keep their distance from it (RFC 8445 §14.2).
    pub fn last_check(&self) -> Option<Instant> {
        self.last_check
    }

    /// A transaction of somebody else has just left: the next ordinary check keeps its distance from it.
    pub fn on_other_transaction(&mut self, now: Instant) {
        let now = self.advance(now);
        self.last_ordinary = Some(now);
        if self.timers.pace.deadline().is_some_and(|at| at < now + self.config.pacing) {
            self.timers.pace.arm(now + self.config.pacing);
        }
    }

    /// How the agent stands.
    pub fn state(&self) -> ConnectionState {
        self.current.state
    }

    /// Which end leads.
    pub fn role(&self) -> IceRole {
        self.role
    }

    /// Whether the agent is a lite one.
    pub fn is_lite(&self) -> bool {
        self.config.lite
    }

    /// Where data goes: over the selected pair, or the best valid one before there is one. `None` before the
    /// first valid pair, and again once consent is lost.
    pub fn send_path(&self) -> Option<&Path> {
        self.path.as_ref()
    }

    /// What is known of a source of packets. The path in use costs one comparison.
    pub fn accepts_from(&self, source: SocketAddr, local: SocketAddr, protocol: Protocol) -> SourceState {
        if let Some(path) = &self.path
            && same(path.remote, source)
            && same(path.local, local)
            && path.protocol == protocol
        {
            return SourceState::Valid;
        }
        let pairs = [Some(&self.current), self.previous.as_deref()]
            .into_iter()
            .flatten()
            .filter_map(|generation| generation.checklist.find(local, source, protocol));
        pairs
            .map(|pair| match () {
                () if pair.is_valid() => SourceState::Valid,
                () if pair.asked => SourceState::Checked,
                () => SourceState::Unknown,
            })
            .max()
            .unwrap_or(SourceState::Unknown)
    }

    /// The pairs, best first; after a restart those of the new generation.
    pub fn pairs(&self) -> impl Iterator<Item = PairView> {
        self.current.checklist.iter().map(|pair| self.view(pair))
    }

    fn view(&self, pair: &Pair) -> PairView {
        let in_use = self.path.is_some_and(|path| path.pair == pair.id);
        let mut stats = pair.stats;
        if in_use {
            stats.add(&self.traffic);
        }
        PairView {
            id: pair.id,
            local: pair.local.address,
            mapped: pair.mapped,
            local_kind: pair.local.kind,
            remote: pair.remote.address,
            remote_kind: pair.remote.kind,
            protocol: pair.protocol,
            state: pair.state,
            priority: pair.priority(self.role),
            nominated: pair.nominated,
            in_use,
            rtt: pair.rtt.mean(),
            stats,
        }
    }

    /// Packets were sent over the path in use.
    pub fn on_data_sent(&mut self, packets: u64, bytes: u64) {
        self.traffic.sent.0 += packets;
        self.traffic.sent.1 += bytes;
    }

    /// A packet came from `source` to `local`; it is counted when that is the path in use.
    pub fn on_data_received(&mut self, source: SocketAddr, local: SocketAddr, bytes: u64) {
        if self.path.is_some_and(|path| same(path.remote, source) && same(path.local, local)) {
            self.traffic.received.0 += 1;
            self.traffic.received.1 += bytes;
        }
    }

    /// What was counted.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    // ----- shared by the parts -----

    /// Time never goes backwards.
    pub(super) fn advance(&mut self, now: Instant) -> Instant {
        let latest = self.now.map_or(now, |before| before.max(now));
        self.now = Some(latest);
        latest
    }

    pub(super) fn is_inert(&self) -> bool {
        self.closed || self.current.state == ConnectionState::Failed
    }

    pub(super) fn is_remote_lite(&self) -> bool {
        self.remote_lite
    }

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

    pub(super) fn generation(&self, id: GenerationId) -> Option<&Generation> {
        [Some(&self.current), self.previous.as_deref()].into_iter().flatten().find(|g| g.id == id)
    }

    pub(super) fn generation_mut(&mut self, id: GenerationId) -> Option<&mut Generation> {
        if self.current.id == id {
            return Some(&mut self.current);
        }
        self.previous.as_deref_mut().filter(|generation| generation.id == id)
    }

    pub(super) fn new_pair_id(&mut self) -> PairId {
        let id = PairId(self.next_pair);
        self.next_pair = self.next_pair.wrapping_add(1);
        id
    }

    /// Queues a message; what does not fit is counted and lost, as on any network.
    pub(super) fn send(&mut self, outgoing: Outgoing) {
        if self.outbox.len() >= MAX_OUTBOX {
            self.stats.outbox_overflows += 1;
            return;
        }
        self.outbox.push_back(outgoing);
    }

    /// Gives memory back that setting up needed. What a consent check needs is kept.
    pub(super) fn slim(&mut self) {
        self.outbox.shrink_to(2);
        self.locals.shrink_to_fit();
        self.current.slim();
    }

    pub(super) fn enter(&mut self, state: ConnectionState) {
        if self.current.state != state {
            tracing::debug!(from = ?self.current.state, to = ?state, "ICE state");
            self.current.state = state;
            self.facts.state_changed(state);
        }
    }

    /// Fails for good: only a restart leads on.
    pub(super) fn fail(&mut self) {
        self.shut();
        self.enter(ConnectionState::Failed);
        self.facts.path_changed(None);
    }

    /// Stops everything that sends or waits.
    fn shut(&mut self) {
        self.timers = Timers::default();
        self.consent = Consent::default();
        self.outbox = VecDeque::new();
        self.previous = None;
        self.path = None;
        self.current.retain_pairs(|_| false);
    }

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
        self.current.checklist.update_remote(remote.address, remote.protocol, |pair| {
            pair.remote.kind = remote.kind;
            pair.remote.priority = remote.priority;
        });
        self.current.checklist.sort(self.role);
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
    priority(crate::types::candidate::CandidateKind::PeerReflexive.preference(), 0, 1)
}
