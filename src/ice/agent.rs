//! The agent: what it is told, what is asked of it, and what it hands out.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use super::candidates::{Local, LocalId, Usage};
use super::checklist::same;
use super::config::{Config, MAX_OUTBOX, MIN_PACING};
use super::embedding::Embedding;
use super::encode::{Body, MAX_MESSAGE, Outgoing};
use super::facts::{Fact, Facts};
use super::generation::{Generation, GenerationId, Side};
use super::pair::{Pair, PairId, Traffic};
use super::path::Consent;
use super::{ConnectionState, CredentialsError, PairView, Path, SourceState, Stats};
use crate::buffer::Pool;
use crate::packet::{Ecn, Protocol, Transmit};
use crate::rng::Rng;
use crate::time::{Timer, earliest};
use crate::types::candidate::Candidate;
use crate::types::credentials::Credentials;
use crate::types::setup::IceRole;

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
// In this order in memory: what every packet that is sent touches lies together, in front.
#[repr(C)]
pub struct Agent {
    pub(super) path: Option<Path>,
    /// What went over it, until it changes.
    pub(super) traffic: Traffic,
    pub(super) consent: Consent,
    pub(super) config: Config,
    pub(super) rng: Rng,
    /// What the numbers of transactions begin with.
    pub(super) tag: u32,
    pub(super) role: IceRole,
    pub(super) tie_breaker: u64,
    /// A check was sent since the last role switch.
    pub(super) may_switch_role: bool,
    pub(super) remote_lite: bool,
    /// Both ends number their nominations.
    pub(super) renominates: bool,
    /// The highest number of a nomination, sent or heard.
    pub(super) nomination: u32,
    pub(super) locals: Vec<Local>,
    pub(super) next_local: u32,
    next_pair: u32,
    pub(super) current: Generation,
    /// What was before a restart, while data still goes over it.
    pub(super) previous: Option<Box<Generation>>,
    pub(super) outbox: VecDeque<Outgoing>,
    /// A DTLS handshake that travels in checks; `None` when none does.
    pub(super) embedding: Option<Box<Embedding>>,
    pub(super) timers: Timers,
    pub(super) facts: Facts,
    pub(super) stats: Stats,
    /// When the last ordinary check left, and the last one of any kind.
    pub(super) last_ordinary: Option<Instant>,
    pub(super) last_check: Option<Instant>,
    /// The latest time heard of.
    now: Option<Instant>,
    pub(super) closed: bool,
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

    /// Whether [`poll_transmit`](Agent::poll_transmit) may have something to give.
    pub(crate) fn has_transmit(&self) -> bool {
        !self.outbox.is_empty()
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
}
