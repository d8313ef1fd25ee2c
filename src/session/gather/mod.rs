//! Gathering (RFC 8445 §5.1.1): candidates from STUN and TURN servers, over UDP and streams, and names.
//!
//! ```text
//!  a local candidate ──▶ Probes: each base asks each STUN server ──▶ server-reflexive candidates
//!                   └──▶ Relays: each base has a client of each TURN server over UDP,
//!                        and each TURN server over TCP or TLS has one ──▶ relayed candidates
//!
//!  data:   ICE, DTLS ──carry, enclose──▶ relay or stream ──▶ caller
//!          caller ──handle_datagram, handle_stream──▶ unwrapped datagrams ──▶ ICE, DTLS
//! ```
//!
//! A connection without servers, streams and names has none of this. Bounds:
//!
//! | what | bound | beyond it |
//! |---|---|---|
//! | servers | 16 | refused by the configuration |
//! | pairs of a base and a STUN server | 64 | left out |
//! | TURN clients | 16 | left out |
//! | remote addresses permitted on one relay | 128 | left out |
//! | streams between peers | 32 | not opened, not accepted |
//! | candidates whose names are being resolved | 64, by 32 names | left out |

mod config;
mod event;
mod found;
mod incoming;
mod names;
mod reflexive;
mod relay;
mod streams;
mod traffic;
mod url;
mod wiring;

pub use config::{CandidatePolicy, IceServer, IceTransportPolicy, MdnsConfig, NatMapping};
pub(crate) use config::{MAX_SERVERS, Setup};
pub use event::{GatheringState, IceServerError, IceServerFailure};
pub use incoming::{FirstFrame, IncomingStream};
pub(crate) use traffic::Way;
pub use url::{ParseUrlError, ServerKind, ServerUrl};

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::ice::{LocalId, Path};
use crate::packet::{Datagram, Protocol, StreamOutput};
use crate::rng::Rng;
use crate::time::{Timer, earliest};
use crate::types::candidate::{Candidate, CandidateAddress, CandidateKind, TcpType};

use names::Names;
use reflexive::Probes;
use relay::{Relay, RelayId, Step};
use streams::Streams;

/// How long the end of gathering waits for one server. What comes later is used all the same.
const PATIENCE: Duration = Duration::from_secs(10);
/// Remote addresses that are remembered for clients that come later.
const MAX_REMOTES: usize = 128;

/// Something that gathering found out, for the session to act on.
#[derive(Debug)]
pub(crate) enum Fact {
    /// A local candidate; its id is to be told to [`Gatherer::on_added`].
    Candidate(Source, Candidate),
    /// A local candidate of the caller has a name.
    Hidden(LocalId),
    /// A local candidate is gone.
    Gone(LocalId),
    /// A candidate of the peer, whose name was resolved.
    Remote(Candidate),
    /// The stream between these addresses is gone.
    StreamLost(SocketAddr, SocketAddr),
    /// What comes from this server to this base is for this connection.
    ServerPath(SocketAddr, SocketAddr),
    State(GatheringState),
    Failed(IceServerFailure),
}

/// Where a candidate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A place in the table of probes.
    Probe(usize),
    Relay(RelayId),
    /// A 1:1 NAT.
    Mapping,
}

/// Everything of a connection that servers, streams and names need.
#[derive(Debug)]
pub(crate) struct Gatherer {
    setup: Setup,
    rng: Rng,
    /// What every transaction's number begins with.
    tag: u32,
    /// The time between two beginnings (RFC 8445 §14.2).
    pacing: Duration,
    pace: Timer,
    /// How often in a row the next beginning waited for a check.
    yielded: u8,
    /// A transaction began since ICE was told so.
    has_begun: bool,
    bases: Vec<(LocalId, SocketAddr)>,
    probes: Probes,
    relays: Vec<Relay>,
    next_relay: u32,
    streams: Streams,
    next_stream: u64,
    names: Option<Names>,
    /// Remote addresses, for permissions.
    remotes: Vec<IpAddr>,
    /// Remote addresses of paths in use, for channels.
    path: Option<Path>,
    /// There is a path: servers are not asked again, unless that is wanted.
    has_path: bool,
    state: GatheringState,
    facts: VecDeque<Fact>,
    /// Unwrapped, and not handed on yet.
    received: VecDeque<Datagram>,
    /// For the caller's streams.
    commands: VecDeque<StreamOutput>,
    now: Instant,
    closed: bool,
}

impl Setup {
    /// Whether a connection needs any of it.
    pub(crate) fn is_needed(&self) -> bool {
        !self.servers.is_empty()
            || self.transport_policy == IceTransportPolicy::Relay
            || self.candidates.is_some()
            || !self.nat_mappings.is_empty()
            || !self.mdns.sockets.is_empty()
            || self.mdns.hide_local
    }
}

impl Gatherer {
    /// Servers that are reached over streams are asked at once; those over UDP, when there is a base.
    pub(crate) fn new(now: Instant, setup: Setup, tag: u32, pacing: Duration, mut rng: Rng) -> Self {
        let names = Names::new(&setup.mdns, rng.fork());
        let mut gatherer = Gatherer {
            setup,
            rng,
            tag,
            pacing,
            pace: Timer::new(),
            yielded: 0,
            has_begun: false,
            bases: Vec::new(),
            probes: Probes::default(),
            relays: Vec::new(),
            next_relay: 0,
            streams: Streams::default(),
            next_stream: 0,
            names,
            remotes: Vec::new(),
            path: None,
            has_path: false,
            state: GatheringState::New,
            facts: VecDeque::new(),
            received: VecDeque::new(),
            commands: VecDeque::new(),
            now,
            closed: false,
        };
        for server in 0..gatherer.setup.servers.len() {
            let url = &gatherer.setup.servers[server].url;
            if url.kind() == ServerKind::Turn && url.protocol() != Protocol::Udp {
                gatherer.add_relay(server, 0, None);
            }
        }
        gatherer.kick(now);
        gatherer
    }

    // ----- local candidates -----

    /// The candidate as the caller's policy has it; `None` when it must not be used.
    pub(crate) fn prepare(&self, candidate: Candidate) -> Option<Candidate> {
        let Some(policy) = &self.setup.candidates else { return Some(candidate) };
        if !policy.allows(&candidate) {
            return None;
        }
        match candidate.base().and_then(|base| policy.local_preference(base)) {
            Some(preference) => Some(candidate.with_local_preference(preference)),
            None => Some(candidate),
        }
    }

    /// Whether a candidate of the caller is used, or only its socket.
    pub(crate) fn is_used(&self, candidate: &Candidate) -> bool {
        self.setup.transport_policy == IceTransportPolicy::All || candidate.kind() == CandidateKind::Relayed
    }

    /// The caller added a candidate: its base is a place to ask servers from.
    pub(crate) fn on_local(&mut self, now: Instant, id: LocalId, candidate: &Candidate) {
        self.now = self.now.max(now);
        let Some(base) = candidate.base().filter(|_| candidate.kind() == CandidateKind::Host) else { return };
        if let Some(names) = &mut self.names
            && names.hide(now, id, base)
        {
            self.facts.push_back(Fact::Hidden(id));
        }
        if candidate.protocol() != Protocol::Udp || self.bases.iter().any(|(_, known)| *known == base) {
            return;
        }
        self.bases.push((id, base));
        self.map(base);
        // RFC 8445 §5.1.1.1: loopback addresses reach nobody else, and no server sees them otherwise.
        for server in 0..self.setup.servers.len() {
            let IceServer { url, .. } = &self.setup.servers[server];
            let (kind, protocol) = (url.kind(), url.protocol());
            let Some(address) = self.setup.servers[server].address_for(base) else { continue };
            if protocol != Protocol::Udp || address.ip().is_loopback() != base.ip().is_loopback() {
                continue;
            }
            match kind {
                ServerKind::Stun if self.setup.transport_policy == IceTransportPolicy::All => {
                    self.probes.add(server, address, base);
                }
                ServerKind::Stun => {}
                ServerKind::Turn => self.add_relay(server, 0, Some(base)),
            }
        }
        self.kick(now);
    }

    /// RFC 8445 §5.1.1.2 has reflexive addresses of NATs come from servers; a 1:1 NAT's is known beforehand.
    fn map(&mut self, base: SocketAddr) {
        if self.setup.transport_policy == IceTransportPolicy::Relay {
            return;
        }
        for nat in self.setup.nat_mappings.iter().filter(|nat| nat.local == base.ip()) {
            let public = SocketAddr::new(nat.public, base.port());
            if let Ok(candidate) = Candidate::server_reflexive(public, base, nat.public) {
                self.facts.push_back(Fact::Candidate(Source::Mapping, candidate));
            }
        }
    }

    /// A reflexive candidate goes with its base.
    pub(crate) fn on_reflexive_gone(&mut self, id: LocalId) {
        self.probes.forget(id);
        self.facts.push_back(Fact::Gone(id));
    }

    /// The caller removed a candidate; its socket is gone when it was the last one of its base.
    pub(crate) fn on_local_removed(&mut self, now: Instant, id: LocalId) {
        self.now = self.now.max(now);
        if let Some(names) = &mut self.names {
            names.unhide(now, id);
        }
        let Some(at) = self.bases.iter().position(|(other, _)| *other == id) else { return };
        let (_, base) = self.bases.remove(at);
        self.probes.remove_base(base);
        let gone: Vec<Relay> = self.relays.extract_if(.., |relay| relay.base == Some(base)).collect();
        for id in gone.into_iter().flat_map(|relay| relay.candidates) {
            self.facts.push_back(Fact::Gone(id));
        }
        self.update_state();
    }

    /// A candidate that was found is known to ICE under this name.
    pub(crate) fn on_added(&mut self, source: Source, id: LocalId) {
        match source {
            Source::Probe(at) => {
                let former = self.probes.probe_mut(at).and_then(|probe| probe.candidate.replace(id));
                self.facts.extend(former.map(Fact::Gone));
            }
            Source::Relay(relay) => {
                if let Some(relay) = self.relays.iter_mut().find(|other| other.id == relay) {
                    relay.candidates.push(id);
                }
            }
            Source::Mapping => {}
        }
    }

    /// How a candidate is told to the peer: under its name, or without what the policy hides.
    pub(crate) fn signalled(&self, id: LocalId, candidate: &Candidate) -> Candidate {
        let name = self.names.as_ref().and_then(|names| names.name_of(id));
        if let (Some(name), Some(address)) = (name, candidate.socket_address()) {
            return candidate.clone().with_name(name, address.port());
        }
        // Draft §3.1.2.2, RFC 8828 §5.2: a related address would tell what is hidden.
        let hides = self.names.as_ref().is_some_and(Names::hides)
            || self.setup.transport_policy == IceTransportPolicy::Relay;
        if hides { candidate.clone().without_related() } else { candidate.clone() }
    }

    // ----- the peer -----

    /// An address of the peer: relays shall let it through (RFC 8656 §9).
    pub(crate) fn on_remote(&mut self, now: Instant, candidate: &Candidate) {
        self.now = self.now.max(now);
        match candidate.address() {
            CandidateAddress::Name { .. } => {
                if let Some(names) = &mut self.names {
                    names.resolve(now, candidate);
                }
            }
            CandidateAddress::Ip(address) if candidate.protocol() == Protocol::Udp => {
                self.permit(address.ip())
            }
            CandidateAddress::Ip(_) => {}
        }
    }

    fn permit(&mut self, ip: IpAddr) {
        if self.remotes.contains(&ip) || self.remotes.len() >= MAX_REMOTES {
            return;
        }
        self.remotes.push(ip);
        for relay in &mut self.relays {
            relay.permit(self.now, ip);
        }
    }

    /// Both ends start anew: the peer's candidates are to come again.
    pub(crate) fn on_restart(&mut self) {
        if let Some(names) = &mut self.names {
            names.on_restart();
        }
        self.streams.forgive();
        self.remotes = Vec::new();
        self.has_path = false;
        self.probes.wake(self.now);
    }

    /// Data goes this way from now on: a relay gets a channel for it (RFC 8656 §12).
    pub(crate) fn on_path(&mut self, now: Instant, path: Option<&Path>) {
        self.now = self.now.max(now);
        self.path = path.copied();
        self.has_path = path.is_some();
        let Some(path) = path.filter(|path| path.local_kind == CandidateKind::Relayed) else { return };
        if let Some(relay) = self.relays.iter_mut().find(|relay| relay.has(path.local))
            && let Err(error) = relay.client.bind(now, path.remote)
        {
            tracing::debug!(%error, "no channel for the path");
        }
    }

    // ----- time -----

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        let now = self.now;
        if self.closed {
            return;
        }
        if self.pace.expire(now) {
            self.on_pace(now);
        }
        let again = !self.has_path || self.setup.is_continual;
        self.probes.handle_timeout(now, again, self.tag, &mut self.rng);
        for relay in &mut self.relays {
            relay.client.handle_timeout(now);
            if matches!(relay.step, Step::Asking(until) if until <= now) {
                relay.step = Step::Settled;
            }
        }
        if let Some(names) = &mut self.names {
            names.mdns.handle_timeout(now);
        }
        self.settle();
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        if self.closed {
            return None;
        }
        let relays = self.relays.iter().flat_map(|relay| {
            let patience = match relay.step {
                Step::Asking(until) => Some(until),
                _ => None,
            };
            [patience, relay.client.next_timeout()]
        });
        let names = self.names.as_ref().and_then(|names| names.mdns.next_timeout());
        earliest(relays.chain([self.pace.deadline(), self.probes.next_timeout(), names]))
    }

    /// Lets one more begin: a new transaction every Ta, as for checks (RFC 8445 §14.2).
    fn on_pace(&mut self, now: Instant) {
        self.yielded = 0;
        self.has_begun = true;
        let relay = self.relays.iter_mut().find(|relay| relay.step == Step::Waiting);
        if self.probes.begin(now, self.tag, &mut self.rng) {
            // Done.
        } else if let Some(relay) = relay {
            relay.step = Step::Asking(now + PATIENCE);
            relay.client.start(now);
        }
        if self.probes.is_waiting() || self.relays.iter().any(|relay| relay.step == Step::Waiting) {
            self.pace.arm(now + self.pacing);
        }
    }

    fn kick(&mut self, now: Instant) {
        if self.probes.is_waiting() || self.relays.iter().any(|relay| relay.step == Step::Waiting) {
            self.pace.arm_if_idle(now);
        }
        self.update_state();
    }

    /// When a transaction of ICE has just left, the next one of ours waits its turn, and the other way round.
    pub(crate) fn yield_to(&mut self, now: Instant, last_check: Option<Instant>) {
        /// Checks that are triggered out of turn must not hold gathering up for ever.
        const LONGEST: u8 = 4;
        if let (Some(last), Some(due)) = (last_check, self.pace.deadline())
            && due <= now
            && now < last + self.pacing
            && self.yielded < LONGEST
        {
            self.yielded += 1;
            self.pace.arm(last + self.pacing);
        }
    }

    /// Whether a transaction began since this was asked before.
    pub(crate) fn take_begun(&mut self) -> bool {
        std::mem::take(&mut self.has_begun)
    }

    /// The caller has no more local candidates: servers that none of them can reach are told of.
    pub(crate) fn on_end_of_local(&mut self) {
        for server in 0..self.setup.servers.len() {
            let IceServer { url, .. } = &self.setup.servers[server];
            let reachable =
                |(_, base): &(LocalId, SocketAddr)| self.setup.servers[server].address_for(*base).is_some();
            if url.protocol() == Protocol::Udp && !self.bases.iter().any(reachable) {
                self.fail(server, None, IceServerError::NoAddress);
            }
        }
        if !self.is_busy() {
            self.enter(GatheringState::Complete);
        }
    }

    fn is_busy(&self) -> bool {
        self.probes.is_busy() || self.relays.iter().any(Relay::is_busy)
    }

    fn update_state(&mut self) {
        match (self.is_busy(), self.state) {
            (true, _) => self.enter(GatheringState::Gathering),
            (false, GatheringState::Gathering) => self.enter(GatheringState::Complete),
            (false, _) => {}
        }
    }

    fn enter(&mut self, state: GatheringState) {
        if self.state != state {
            self.state = state;
            self.facts.push_back(Fact::State(state));
        }
    }

    pub(crate) fn state(&self) -> GatheringState {
        self.state
    }

    /// The next thing that was found out.
    pub(crate) fn poll_fact(&mut self) -> Option<Fact> {
        self.facts.pop_front()
    }

    /// Whether datagrams from the multicast sockets matter.
    pub(crate) fn listens(&self) -> bool {
        self.names.as_ref().is_some_and(Names::listens)
    }

    /// Gives allocations back, and streams. What is to be said is polled afterwards.
    pub(crate) fn close(&mut self) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.probes.close();
        self.names = None;
        for relay in &mut self.relays {
            relay.client.close(self.now);
            while relay.client.poll_event().is_some() {}
        }
        for key in self.streams.keys(None) {
            self.commands.push_back(StreamOutput::Close { key });
        }
        self.streams = Streams::default();
        self.facts.clear();
    }

    /// An active candidate's streams leave from its address.
    pub(crate) fn is_stream(candidate: &Candidate) -> bool {
        candidate.protocol() == Protocol::Tcp && candidate.tcp_type() != Some(TcpType::SimultaneousOpen)
    }
}
