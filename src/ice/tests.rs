//! Two agents over a simulated network, stepped from deadline to deadline.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;

mod families;
mod renomination;

use super::*;
use crate::buffer::Pool;
use crate::packet::Transmit;
use crate::rng::{Rng, Stream};
use crate::stun::{Builder, Class, ErrorCode, Message, Method, TransactionId};
use crate::types::candidate::Candidate;
use crate::types::credentials::Credentials;
use crate::types::setup::IceRole::{self, Controlled, Controlling};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn host(text: &str) -> Candidate {
    Candidate::host(at(text)).unwrap()
}

/// One end with what it needs to be driven.
struct Peer {
    agent: Agent,
    pool: Pool,
    facts: Vec<Fact>,
    sent: usize,
}

impl Peer {
    fn new(config: Config, role: IceRole, seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let agent = Agent::new(config, role, Rng::new(bytes, Stream::Ice));
        Peer { agent, pool: Pool::new(), facts: Vec::new(), sent: 0 }
    }

    fn states(&self) -> Vec<ConnectionState> {
        let states = self.facts.iter().filter_map(|fact| match fact {
            Fact::StateChanged(state) => Some(*state),
            _ => None,
        });
        states.collect()
    }
}

#[derive(Clone)]
struct Packet {
    to: usize,
    source: SocketAddr,
    destination: SocketAddr,
    bytes: Vec<u8>,
}

/// Two ends and the way between them.
struct Net {
    start: Instant,
    now: Instant,
    peers: [Peer; 2],
    /// One way.
    delay: Duration,
    /// Lost packets of a hundred, each way.
    loss: u64,
    rng: Rng,
    wire: BTreeMap<(Instant, u64), Packet>,
    serial: u64,
    /// Addresses that packets to never arrive at.
    dead: Vec<SocketAddr>,
    /// What a NAT turns a source address into, and back.
    nat: Vec<(SocketAddr, SocketAddr)>,
    /// Every packet that was sent, for those who replay.
    recorded: Vec<Packet>,
    /// Which peer owns which address.
    owners: Vec<(SocketAddr, usize)>,
}

impl Net {
    fn new(seed: u64) -> Self {
        Net::with([Config::default(), Config::default()], [Controlling, Controlled], seed)
    }

    fn with(configs: [Config; 2], roles: [IceRole; 2], seed: u64) -> Self {
        // A fixed point of the test process: only differences matter.
        let now = crate::time::some_instant();
        let [a, b] = configs;
        Net {
            start: now,
            now,
            peers: [Peer::new(a, roles[0], 2 * seed), Peer::new(b, roles[1], 2 * seed + 1)],
            delay: 50 * MS,
            loss: 0,
            rng: Rng::new([seed as u8; 32], Stream::Session),
            wire: BTreeMap::new(),
            serial: seed,
            dead: Vec::new(),
            nat: Vec::new(),
            recorded: Vec::new(),
            owners: Vec::new(),
        }
    }

    /// The user name fragment of whoever sends checks to an end.
    fn sender(&self, to: usize) -> String {
        self.peers[1 - to].agent.local_credentials().ufrag.clone()
    }

    /// Gives a local candidate to one end.
    fn add_local(&mut self, peer: usize, candidate: Candidate) -> LocalId {
        self.owners.push((candidate.base().unwrap(), peer));
        self.peers[peer].agent.add_local_candidate(self.now, candidate).unwrap()
    }

    /// One host candidate for each end.
    fn add_hosts(&mut self) {
        self.add_local(0, host("10.0.0.1:1000"));
        self.add_local(1, host("10.0.0.2:2000"));
    }

    /// Tells `peer` what the other end signals.
    fn signal_to(&mut self, peer: usize) {
        let other = &self.peers[1 - peer].agent;
        let credentials = other.local_credentials().clone();
        let candidates: Vec<_> = other.local_candidates().map(|(_, c)| c.clone()).collect();
        let agent = &mut self.peers[peer].agent;
        agent.set_remote_credentials(self.now, credentials).unwrap();
        for candidate in candidates {
            agent.add_remote_candidate(self.now, &candidate).unwrap();
        }
        agent.end_of_remote_candidates(self.now);
        self.settle(peer);
    }

    fn signal(&mut self) {
        self.signal_to(0);
        self.signal_to(1);
    }

    /// Drains one end after a call.
    fn settle(&mut self, index: usize) {
        let now = self.now;
        let peer = &mut self.peers[index];
        if peer.agent.next_timeout().is_some_and(|at| at <= now) {
            peer.agent.handle_timeout(now);
        }
        let mut transmits = Vec::new();
        while let Some(transmit) = peer.agent.poll_transmit(&mut peer.pool) {
            transmits.push(transmit);
        }
        while let Some(fact) = peer.agent.poll_fact() {
            peer.facts.push(fact);
        }
        // R15: what is due was done.
        assert!(peer.agent.next_timeout().is_none_or(|at| at > now), "a timeout that is due again");
        peer.sent += transmits.len();
        transmits.into_iter().for_each(|transmit| self.carry(transmit));
    }

    fn carry(&mut self, transmit: Transmit) {
        let outside = |a| self.nat.iter().find(|(inside, _)| *inside == a).map_or(a, |(_, outside)| *outside);
        let inside = |a| self.nat.iter().find(|(_, outside)| *outside == a).map_or(a, |(inside, _)| *inside);
        let source = outside(transmit.source);
        let destination = inside(transmit.destination);
        // Who is behind a NAT cannot be reached at the inner address.
        let hidden = self.nat.iter().any(|(inside, _)| *inside == transmit.destination);
        let dead = self.dead.contains(&transmit.destination) || hidden;
        let Some(to) = self.owners.iter().find(|(a, _)| *a == destination).map(|(_, peer)| *peer) else {
            return;
        };
        let bytes = transmit.contents.to_vec();
        let packet = Packet { to, source, destination, bytes };
        self.recorded.push(packet.clone());
        if dead || self.rng.below(100) < self.loss {
            return;
        }
        self.inject(packet);
    }

    fn inject(&mut self, packet: Packet) {
        self.serial += 1;
        self.wire.insert((self.now + self.delay, self.serial), packet);
    }

    /// Goes to the next thing that happens, if that is not later than `limit`.
    fn step(&mut self, limit: Instant) -> bool {
        let arrival = self.wire.first_key_value().map(|((at, _), _)| *at);
        let timers = [0, 1].map(|i| self.peers[i].agent.next_timeout());
        let next = arrival.into_iter().chain(timers.into_iter().flatten()).min();
        let Some(next) = next.filter(|next| *next <= limit) else {
            self.now = limit;
            return false;
        };
        self.now = self.now.max(next);
        if arrival == Some(next) {
            let (_, packet) = self.wire.pop_first().unwrap();
            self.deliver(packet);
        } else {
            for index in [0, 1] {
                self.peers[index].agent.handle_timeout(self.now);
                self.settle(index);
            }
        }
        true
    }

    fn deliver(&mut self, packet: Packet) -> Handled {
        let Packet { to, source, destination, bytes } = packet;
        let agent = &mut self.peers[to].agent;
        let handled = agent.handle_packet(self.now, source, destination, Protocol::Udp, &bytes);
        self.settle(to);
        handled
    }

    /// Runs for a time.
    fn run(&mut self, time: Duration) {
        let limit = self.now + time;
        while self.step(limit) {}
    }

    /// Runs until `done`; the time that it took since the start.
    fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Net) -> bool) -> Duration {
        let end = self.now + limit;
        while !done(self) {
            assert!(self.step(end), "not done after {limit:?}: {:?}", self.states());
        }
        self.now - self.start
    }

    fn states(&self) -> [ConnectionState; 2] {
        [0, 1].map(|i| self.peers[i].agent.state())
    }

    fn both_have_paths(&self) -> bool {
        self.peers.iter().all(|peer| peer.agent.send_path().is_some())
    }

    fn both_are_complete(&self) -> bool {
        self.states() == [ConnectionState::Completed; 2]
    }

    /// Both ends send to where the other one sends from.
    fn paths_agree(&self) -> bool {
        let [a, b] = [0, 1].map(|i| *self.peers[i].agent.send_path().unwrap());
        let outside = |x| self.nat.iter().find(|(inside, _)| *inside == x).map_or(x, |(_, outside)| *outside);
        outside(a.local) == b.remote && outside(b.local) == a.remote
    }

    /// A connected pair of ends.
    fn connected(seed: u64) -> Net {
        let mut net = Net::new(seed);
        net.add_hosts();
        net.signal();
        net.run_until(SECOND, Net::both_are_complete);
        net
    }
}

// ----- setting up -----

#[test]
fn a_clean_link_is_valid_after_one_round_trip_and_selected_after_two() {
    let mut net = Net::new(1);
    net.add_hosts();
    net.signal();
    assert_eq!(net.run_until(SECOND, Net::both_have_paths), 100 * MS);
    assert_eq!(net.run_until(SECOND, Net::both_are_complete), 200 * MS);
    assert!(net.paths_agree());
    let path = *net.peers[0].agent.send_path().unwrap();
    assert_eq!(path.rtt, Some(100 * MS));
    use ConnectionState::*;
    for peer in &net.peers {
        assert_eq!(peer.states(), [Checking, Connected, Completed]);
    }
    // Two checks each (one own, one triggered), two answers each, and the nomination.
    net.run(SECOND);
    assert!(net.peers.iter().all(|peer| peer.sent <= 7), "{} {}", net.peers[0].sent, net.peers[1].sent);
}

#[test]
fn the_answerer_may_check_before_the_offerer_knows_of_it() {
    // The offerer has no credentials yet: it answers, and checks back once it knows them (RFC 8445 §7.3).
    let mut net = Net::new(2);
    net.add_hosts();
    net.signal_to(1);
    net.run(120 * MS);
    assert!(net.peers[1].agent.send_path().is_some(), "valid after one round trip, without the answer");
    assert_eq!(
        net.peers[0].agent.accepts_from(at("10.0.0.2:2000"), at("10.0.0.1:1000"), Protocol::Udp),
        SourceState::Checked
    );
    let answered = net.now;
    net.signal_to(0);
    net.run_until(SECOND, |net| net.peers[0].agent.send_path().is_some());
    assert_eq!(net.now - answered, 100 * MS);
    net.run_until(SECOND, Net::both_are_complete);
}

#[test]
fn a_third_of_all_packets_lost_costs_little() {
    let (mut total, mut worst) = (Duration::ZERO, Duration::ZERO);
    for seed in 0..200 {
        let mut net = Net::new(seed);
        net.loss = 30;
        net.add_hosts();
        net.signal();
        let took = net.run_until(10 * SECOND, Net::both_have_paths);
        total += took;
        worst = worst.max(took);
        net.run_until(20 * SECOND, Net::both_are_complete);
        assert!(net.paths_agree(), "seed {seed}");
    }
    let mean = total / 200;
    assert!(mean < 220 * MS, "{mean:?}");
    assert!(worst < 1500 * MS, "{worst:?}");
}

#[test]
fn the_best_of_several_pairs_is_selected() {
    for seed in 0..20 {
        let mut net = Net::new(seed);
        net.add_local(0, host("10.0.0.1:1000").with_local_preference(100));
        net.add_local(0, host("[2001:db8::1]:1000").with_local_preference(200));
        net.add_local(1, host("10.0.0.2:2000").with_local_preference(100));
        net.add_local(1, host("[2001:db8::2]:2000").with_local_preference(200));
        net.signal();
        net.run_until(SECOND, Net::both_are_complete);
        assert!(net.paths_agree());
        assert!(net.peers[0].agent.send_path().unwrap().remote.is_ipv6());
        // Families are never mixed.
        assert_eq!(net.peers[0].agent.pairs().count(), 2);
    }
}

#[test]
fn dead_candidates_delay_nobody_for_long() {
    let mut net = Net::new(3);
    net.add_local(0, host("10.0.0.1:1000"));
    for last in 2..12 {
        let address = format!("10.0.1.{last}:2000");
        net.dead.push(at(&address));
        net.add_local(1, host(&address).with_local_preference(60_000 + last));
    }
    net.add_local(1, host("10.0.0.2:2000").with_local_preference(10));
    net.signal();
    let took = net.run_until(5 * SECOND, Net::both_have_paths);
    assert!(took < 950 * MS, "{took:?}");
    let took = net.run_until(5 * SECOND, Net::both_are_complete);
    assert!(took < 1400 * MS, "{took:?}");
    assert!(net.paths_agree());
    // Those that were not selected go after three seconds.
    net.run(4 * SECOND);
    assert_eq!([0, 1].map(|i| net.peers[i].agent.pairs().count()), [1, 1]);
}

#[test]
fn two_nats_are_passed_with_reflexive_candidates() {
    let mut net = Net::new(4);
    let server = "198.51.100.1".parse().unwrap();
    net.nat =
        vec![(at("10.0.0.1:1000"), at("203.0.113.1:4001")), (at("10.0.0.2:2000"), at("203.0.113.2:4002"))];
    for (peer, (inside, outside)) in net.nat.clone().into_iter().enumerate() {
        net.add_local(peer, Candidate::host(inside).unwrap());
        net.add_local(peer, Candidate::server_reflexive(outside, inside, server).unwrap());
    }
    net.signal();
    net.run_until(SECOND, Net::both_are_complete);
    assert!(net.paths_agree());
    let path = *net.peers[0].agent.send_path().unwrap();
    assert_eq!(path.local, at("10.0.0.1:1000"));
    assert_eq!(path.local_kind, CandidateKind::ServerReflexive);
    assert_eq!(path.remote, at("203.0.113.2:4002"));
    let view = net.peers[0].agent.pairs().find(|pair| pair.in_use).unwrap();
    assert_eq!(view.mapped, Some(at("203.0.113.1:4001")));
}

#[test]
fn candidates_may_trickle_both_ways() {
    // RFC 8838: credentials first, candidates one by one, in any order, late.
    for seed in 0..50 {
        let mut net = Net::new(seed);
        net.loss = seed % 20;
        let mut order: Vec<_> = (0..6).collect();
        for i in (1..order.len()).rev() {
            let other = net.rng.below(i as u64 + 1) as usize;
            order.swap(i, other);
        }
        for peer in [0, 1] {
            let credentials = net.peers[1 - peer].agent.local_credentials().clone();
            net.peers[peer].agent.set_remote_credentials(net.now, credentials).unwrap();
        }
        for step in order {
            let (peer, which) = (step % 2, step / 2);
            let candidate = host(&format!("10.0.{peer}.{}:100", which + 1));
            if which > 0 {
                net.dead.push(candidate.base().unwrap());
            }
            net.add_local(peer, candidate.clone());
            net.settle(peer);
            let other = &mut net.peers[1 - peer].agent;
            let parsed: Candidate = candidate.to_string().parse().unwrap();
            assert_eq!(other.add_remote_candidate(net.now, &parsed), Ok(RemoteCandidate::Added));
            net.settle(1 - peer);
            net.run(150 * MS);
        }
        for peer in [0, 1] {
            net.peers[peer].agent.end_of_remote_candidates(net.now);
            net.settle(peer);
        }
        net.run_until(15 * SECOND, Net::both_are_complete);
        assert!(net.paths_agree(), "seed {seed}");
    }
}

#[test]
fn an_end_without_candidates_is_found_by_its_checks() {
    // RFC 8863 §3.1.
    let mut net = Net::new(5);
    net.add_hosts();
    let credentials = net.peers[0].agent.local_credentials().clone();
    net.peers[1].agent.set_remote_credentials(net.now, credentials).unwrap();
    net.peers[1].agent.end_of_remote_candidates(net.now);
    net.run(10 * SECOND);
    net.settle(1);
    net.signal_to(0);
    net.run_until(2 * SECOND, Net::both_are_complete);
    assert_eq!(net.peers[1].agent.send_path().unwrap().remote_kind, CandidateKind::PeerReflexive);
}

#[test]
fn a_candidate_learned_from_a_check_is_recognised_when_it_is_signalled() {
    // RFC 8838 §11.
    let mut net = Net::new(6);
    net.add_hosts();
    net.signal_to(1);
    net.run(60 * MS);
    assert_eq!(net.peers[0].agent.pairs().next().unwrap().remote_kind, CandidateKind::PeerReflexive);
    net.signal_to(0);
    let pairs: Vec<_> = net.peers[0].agent.pairs().collect();
    assert_eq!(pairs.len(), 1);
    assert_eq!(pairs[0].remote_kind, CandidateKind::Host);
}

#[test]
fn impossible_connections_fail_when_patience_ends() {
    // RFC 8863 §4, and a bounded number of packets meanwhile.
    let mut net = Net::new(7);
    net.add_hosts();
    net.dead = vec![at("10.0.0.1:1000"), at("10.0.0.2:2000")];
    net.signal();
    net.run(39_400 * MS);
    assert_eq!(net.states(), [ConnectionState::Checking; 2]);
    net.run(200 * MS);
    assert_eq!(net.states(), [ConnectionState::Failed; 2]);
    assert!((30..=50).contains(&net.peers[0].sent), "{}", net.peers[0].sent);
    // Failed is final, and quiet.
    assert_eq!(net.peers[0].agent.next_timeout(), None);
    net.dead.clear();
    let credentials = net.peers[0].agent.local_credentials().clone();
    let request = check(&credentials, &net.sender(0), |b| _ = b.priority(1).ice_controlled(1));
    assert_eq!(net.deliver(from("10.0.0.2:2000", 0, &request)), Handled::Dropped(DropReason::Inert));
    assert_eq!(net.peers[0].agent.poll_transmit(&mut Pool::new()), None);
}

#[test]
fn pacing_is_kept_whatever_is_asked_for() {
    let mut net = Net::new(8);
    for i in 1..=10 {
        net.add_local(0, host(&format!("10.0.0.{i}:1000")));
        let candidate = host(&format!("10.0.1.{i}:2000"));
        net.dead.push(candidate.base().unwrap());
        net.add_local(1, candidate);
    }
    net.signal_to(0);
    assert_eq!(net.peers[0].agent.pairs().count(), 100);
    net.run(SECOND);
    assert_eq!(net.peers[0].sent, 21, "one at once and one each 50 ms");
    net.run(40 * SECOND);
    assert!(net.peers[0].sent <= 791, "{}", net.peers[0].sent);
}

#[test]
fn a_lite_agent_answers_and_is_nominated_for() {
    // RFC 8445 §2.5, §8.2.
    for full_is_offerer in [true, false] {
        let lite = Config { lite: true, ..Config::default() };
        let mut net = Net::with([Config::default(), lite], [Controlling, Controlled], 9);
        net.loss = 10;
        net.add_hosts();
        let now = net.now;
        net.peers[0].agent.set_remote_lite(now, true);
        if full_is_offerer {
            net.signal();
        } else {
            net.signal_to(0);
            net.run(20 * MS);
            net.signal_to(1);
        }
        net.run_until(5 * SECOND, Net::both_are_complete);
        assert!(net.paths_agree());
        let lite = &net.peers[1];
        let sent = lite.agent.pairs().next().unwrap().stats;
        assert_eq!(sent.requests_sent, 0);
        net.run(120 * SECOND);
        assert!(net.both_have_paths());
        // When the full end falls silent, the lite one stops.
        net.loss = 100;
        net.run(40 * SECOND);
        assert_eq!(net.states(), [ConnectionState::Failed; 2]);
    }
}

#[test]
fn two_lite_agents_take_the_best_pair() {
    let lite = || Config { lite: true, ..Config::default() };
    let mut net = Net::with([lite(), lite()], [Controlling, Controlled], 10);
    net.add_hosts();
    for peer in [0, 1] {
        let now = net.now;
        net.peers[peer].agent.set_remote_lite(now, true);
    }
    net.signal();
    assert!(net.both_are_complete() && net.paths_agree());
    net.run(100 * SECOND);
    assert!(net.both_are_complete());
    assert_eq!(net.peers[0].sent, 0);
}

// ----- roles -----

#[test]
fn role_conflicts_settle_within_three_round_trips() {
    // RFC 8445 §7.3.1.1, both ways and for many tie-breakers.
    for role in [Controlling, Controlled] {
        for seed in 0..100 {
            let mut net = Net::with([Config::default(), Config::default()], [role, role], seed);
            net.add_hosts();
            net.signal();
            let took = net.run_until(2 * SECOND, |net| {
                net.peers[0].agent.role() != net.peers[1].agent.role() && net.both_have_paths()
            });
            assert!(took <= 300 * MS, "{took:?}");
            net.run_until(2 * SECOND, Net::both_are_complete);
            assert_ne!(net.peers[0].agent.role(), net.peers[1].agent.role());
            assert!(net.paths_agree());
            let switches = net.peers.iter().map(|peer| peer.agent.stats().role_switches).sum::<u64>();
            assert!(switches <= 3, "{switches} switches, seed {seed}");
        }
    }
}

#[test]
fn equal_tie_breakers_settle_too() {
    for role in [Controlling, Controlled] {
        let mut net = Net::with([Config::default(), Config::default()], [role, role], 11);
        net.add_hosts();
        net.peers[0].agent.tie_breaker = 7;
        net.peers[1].agent.tie_breaker = 7;
        net.signal();
        let took = net.run_until(2 * SECOND, Net::both_are_complete);
        assert!(took <= 600 * MS, "{took:?}");
        assert_ne!(net.peers[0].agent.role(), net.peers[1].agent.role());
    }
}

#[test]
fn alternating_tie_breakers_switch_roles_once_per_own_check_at_most() {
    // R9.
    let mut net = Net::connected(12);
    let credentials = net.peers[0].agent.local_credentials().clone();
    let before = net.peers[0].sent;
    let checks =
        |net: &Net| net.peers[0].agent.pairs().map(|p| u64::from(p.stats.requests_sent)).sum::<u64>();
    let checks_before = checks(&net);
    for i in 0..400 {
        let tie_breaker = if i % 2 == 0 { u64::MAX } else { 0 };
        let request = check(&credentials, &net.sender(0), |b| {
            match net.peers[0].agent.role() {
                Controlling => b.ice_controlling(tie_breaker),
                Controlled => b.ice_controlled(tie_breaker),
            };
            b.priority(1);
        });
        assert_eq!(net.deliver(from("10.0.0.2:2000", 0, &request)), Handled::Consumed);
        net.now += MS;
    }
    let own = checks(&net) - checks_before;
    assert!(net.peers[0].agent.stats().role_switches <= own + 1);
    assert!(net.peers[0].sent - before <= 400 + own as usize);
}

#[test]
fn aggressive_nomination_is_followed_to_the_best_pair() {
    // RFC 8445 §8.1.1: an old peer puts USE-CANDIDATE into every check.
    let mut net = Net::new(13);
    net.add_local(0, host("10.0.0.1:1000"));
    net.add_local(1, host("10.0.0.2:2000").with_local_preference(5));
    net.add_local(1, host("10.0.0.3:2000").with_local_preference(9));
    // Here the first end is played by hand, and the second one is controlled.
    let theirs = Credentials { ufrag: "peer".into(), pwd: "0123456789012345678901".into() };
    let now = net.now;
    let agent = &mut net.peers[1].agent;
    agent.set_remote_credentials(now, theirs.clone()).unwrap();
    agent.add_remote_candidate(now, &host("10.0.0.1:1000")).unwrap();
    let ours = agent.local_credentials().clone();
    let mut selected = Vec::new();
    for local in ["10.0.0.2:2000", "10.0.0.3:2000", "10.0.0.2:2000"] {
        let request = check(&ours, "peer", |b| _ = b.priority(1_000_000).ice_controlling(5).use_candidate());
        let agent = &mut net.peers[1].agent;
        agent.handle_packet(net.now, at("10.0.0.1:1000"), at(local), Protocol::Udp, &request);
        // The triggered checks are answered.
        net.now += 10 * MS;
        let now = net.now;
        answer_all(&mut net.peers[1], now, &theirs);
        net.now += 10 * MS;
        selected.push(net.peers[1].agent.send_path().unwrap().local);
    }
    assert_eq!(selected, [at("10.0.0.2:2000"), at("10.0.0.3:2000"), at("10.0.0.3:2000")]);
    assert_eq!(net.peers[1].agent.state(), ConnectionState::Completed);
}

/// Plays the peer: answers whatever checks an agent has to send.
fn answer_all(peer: &mut Peer, now: Instant, theirs: &Credentials) {
    peer.agent.handle_timeout(now);
    while let Some(transmit) = peer.agent.poll_transmit(&mut peer.pool) {
        let message = Message::parse(&transmit.contents).unwrap();
        if message.class() != Class::Request {
            continue;
        }
        let mut buf = BytesMut::new();
        let mut builder = Builder::new(&mut buf, Class::Success, Method::BINDING, message.transaction());
        let key = crate::crypto::mac::HmacSha1Key::new(theirs.pwd.as_bytes());
        builder.xor_mapped_address(transmit.source).integrity(&key).fingerprint();
        builder.finish();
        peer.agent.handle_packet(now, transmit.destination, transmit.source, Protocol::Udp, &buf);
    }
}

// ----- hostile and stray packets -----

/// An authentic check to whoever has `credentials`, of the peer with the user name fragment `sender`.
fn check(credentials: &Credentials, sender: &str, fill: impl FnOnce(&mut Builder<'_>)) -> Vec<u8> {
    let mut buf = BytesMut::new();
    let mut builder = Builder::new(&mut buf, Class::Request, Method::BINDING, TransactionId([9; 12]));
    builder.username(&[credentials.ufrag.as_bytes(), b":", sender.as_bytes()]);
    fill(&mut builder);
    builder.integrity(&crate::crypto::mac::HmacSha1Key::new(credentials.pwd.as_bytes())).fingerprint();
    builder.finish();
    buf.to_vec()
}

fn from(source: &str, to: usize, bytes: &[u8]) -> Packet {
    let destination = ["10.0.0.1:1000", "10.0.0.2:2000"][to];
    Packet { to, source: at(source), destination: at(destination), bytes: bytes.to_vec() }
}

#[test]
fn checks_that_prove_nothing_change_nothing() {
    // R8.
    let mut net = Net::connected(14);
    let (sent, credentials) = (net.peers[0].sent, net.peers[0].agent.local_credentials().clone());
    let before: Vec<_> = net.peers[0].agent.pairs().collect();
    let wrong = Credentials { pwd: "x".repeat(24), ..credentials.clone() };
    let other = Credentials { ufrag: "none".into(), ..credentials.clone() };
    let mut bare = BytesMut::new();
    let mut builder = Builder::new(&mut bare, Class::Request, Method::BINDING, TransactionId([1; 12]));
    builder.username(&[credentials.ufrag.as_bytes(), b":peer"]).use_candidate().priority(5).fingerprint();
    builder.finish();
    let rows = [
        (
            check(&wrong, &net.sender(0), |b| _ = b.use_candidate().priority(7).ice_controlled(0)),
            DropReason::NotAuthentic,
        ),
        (check(&other, &net.sender(0), |b| _ = b.priority(7)), DropReason::UnknownUser),
        (bare.to_vec(), DropReason::Unprotected),
        (Vec::new(), DropReason::Malformed),
        (vec![0; 19], DropReason::Malformed),
        (vec![0; 1200], DropReason::Malformed),
    ];
    for (bytes, reason) in rows {
        for source in ["10.0.0.2:2000", "192.0.2.66:666"] {
            assert_eq!(net.deliver(from(source, 0, &bytes)), Handled::Dropped(reason));
        }
    }
    // To an address that is not ours.
    let mut astray = from("192.0.2.66:666", 0, &check(&credentials, &net.sender(0), |b| _ = b.priority(1)));
    astray.destination = at("10.9.9.9:9");
    assert_eq!(net.deliver(astray), Handled::Dropped(DropReason::UnknownLocalAddress));
    assert_eq!(net.peers[0].sent, sent, "nothing was answered");
    assert_eq!(net.peers[0].agent.pairs().collect::<Vec<_>>(), before);
    assert_eq!(net.peers[0].agent.role(), Controlling);
    assert!(net.peers[0].agent.stats().dropped_unauthentic >= 6);
}

#[test]
fn indications_and_other_methods_are_dropped() {
    // R6.
    let mut net = Net::new(15);
    net.add_hosts();
    for (class, method) in [
        (Class::Indication, Method::BINDING),
        (Class::Request, Method::ALLOCATE),
        (Class::Success, Method::DATA),
    ] {
        let mut buf = BytesMut::new();
        let mut builder = Builder::new(&mut buf, class, method, TransactionId([1; 12]));
        builder.fingerprint();
        builder.finish();
        assert_eq!(net.deliver(from("1.2.3.4:5", 0, &buf)), Handled::Dropped(DropReason::NotForIce));
    }
}

#[test]
fn attributes_that_must_be_understood_are_refused_with_their_names() {
    // RFC 8489 §6.3.1; comprehension-optional ones, renomination among them, are ignored (R12).
    let mut net = Net::connected(16);
    let credentials = net.peers[0].agent.local_credentials().clone();
    let unknown =
        check(&credentials, &net.sender(0), |b| _ = b.attribute(0x7abc, &[]).priority(1).ice_controlled(1));
    net.deliver(from("10.0.0.2:2000", 0, &unknown));
    let reply = net.recorded.last().unwrap();
    let message = Message::parse(&reply.bytes).unwrap();
    assert_eq!(message.error_code().map(|e| e.code), Some(420));
    assert_eq!(message.unknown_attributes().unwrap().as_slice(), &[0x7abc]);
    for value in [&[][..], &[1], &[0, 0, 0, 9], &[0xff; 40]] {
        let optional = check(&credentials, &net.sender(0), |b| {
            _ = b.attribute(0xc001, value).priority(1).ice_controlled(1)
        });
        net.deliver(from("10.0.0.2:2000", 0, &optional));
        let message = Message::parse(&net.recorded.last().unwrap().bytes).unwrap();
        assert_eq!(message.class(), Class::Success);
    }
    assert!(net.both_are_complete());
}

#[test]
fn a_flood_of_authentic_sources_leaves_the_selected_pair_alone() {
    // R10.
    let mut net = Net::connected(17);
    let credentials = net.peers[0].agent.local_credentials().clone();
    let before = *net.peers[0].agent.send_path().unwrap();
    for i in 0..1000u32 {
        let source = format!("192.0.{}.{}:{}", i / 250, i % 250 + 1, 1000 + i);
        let request = check(&credentials, &net.sender(0), |b| {
            _ = b.priority(u32::MAX - i).ice_controlled(1).use_candidate()
        });
        net.deliver(from(&source, 0, &request));
        assert!(net.peers[0].agent.pairs().count() <= 100);
        net.now += MS;
    }
    assert_eq!(*net.peers[0].agent.send_path().unwrap(), before);
    net.run(100 * SECOND);
    assert!(net.both_are_complete());
    assert_eq!(net.peers[0].agent.pairs().count(), 1);
}

#[test]
fn a_flood_while_checking_leaves_what_works() {
    let mut net = Net::new(18);
    net.add_hosts();
    net.signal();
    net.run(110 * MS);
    let credentials = net.peers[1].agent.local_credentials().clone();
    for i in 0..1000u32 {
        let source = format!("192.0.{}.{}:{}", i / 250, i % 250 + 1, 1000 + i);
        let request =
            check(&credentials, &net.sender(1), |b| _ = b.priority(i32::MAX as u32).ice_controlling(1));
        net.deliver(from(&source, 1, &request));
        assert!(net.peers[1].agent.pairs().count() <= 100);
    }
    net.run_until(2 * SECOND, Net::both_are_complete);
    assert!(net.paths_agree());
}

#[test]
fn answers_from_elsewhere_replayed_or_stray_count_for_nothing() {
    let mut net = Net::connected(19);
    net.run(10 * SECOND);
    // Every answer that was ever sent, again.
    let answers: Vec<_> = net
        .recorded
        .iter()
        .filter(|packet| Message::parse(&packet.bytes).unwrap().class() == Class::Success)
        .cloned()
        .collect();
    assert!(answers.len() > 6);
    net.loss = 100;
    net.wire.clear();
    let silent_since = net.now;
    while net.states() != [ConnectionState::Failed; 2] {
        for packet in &answers {
            let handled = net.deliver(packet.clone());
            assert!(matches!(handled, Handled::Dropped(DropReason::UnknownTransaction | DropReason::Inert)));
        }
        net.run(SECOND);
        assert!(net.now - silent_since <= 31 * SECOND);
    }
}

#[test]
fn an_answer_from_the_wrong_address_does_not_validate() {
    // RFC 8445 §7.2.5.2.1.
    let mut net = Net::new(20);
    net.add_hosts();
    let credentials = net.peers[1].agent.local_credentials().clone();
    let now = net.now;
    let agent = &mut net.peers[0].agent;
    agent.set_remote_credentials(now, credentials.clone()).unwrap();
    agent.add_remote_candidate(now, &host("10.0.0.2:2000")).unwrap();
    agent.handle_timeout(now);
    let request = agent.poll_transmit(&mut Pool::new()).unwrap();
    let message = Message::parse(&request.contents).unwrap();
    let mut buf = BytesMut::new();
    let mut builder = Builder::new(&mut buf, Class::Success, Method::BINDING, message.transaction());
    let key = crate::crypto::mac::HmacSha1Key::new(credentials.pwd.as_bytes());
    builder.xor_mapped_address(request.source).integrity(&key).fingerprint();
    builder.finish();
    let handled = net.deliver(from("192.0.2.66:666", 0, &buf));
    assert_eq!(handled, Handled::Dropped(DropReason::WrongAddress));
    assert_eq!(net.peers[0].agent.send_path(), None);
    // The true one still does.
    assert_eq!(net.deliver(from("10.0.0.2:2000", 0, &buf)), Handled::Consumed);
    assert!(net.peers[0].agent.send_path().is_some());
    // And only once.
    let again = net.deliver(from("10.0.0.2:2000", 0, &buf));
    assert_eq!(again, Handled::Dropped(DropReason::UnknownTransaction));
}

#[test]
fn a_refused_check_fails_its_pair_only_when_the_refusal_is_authentic() {
    // RFC 8489 §9.1.4.
    let mut net = Net::new(21);
    net.add_hosts();
    let credentials = net.peers[1].agent.local_credentials().clone();
    let now = net.now;
    let agent = &mut net.peers[0].agent;
    agent.set_remote_credentials(now, credentials.clone()).unwrap();
    agent.add_remote_candidate(now, &host("10.0.0.2:2000")).unwrap();
    agent.handle_timeout(now);
    let request = agent.poll_transmit(&mut Pool::new()).unwrap();
    let transaction = Message::parse(&request.contents).unwrap().transaction();
    for (authentic, state) in [(false, PairState::InProgress), (true, PairState::Failed)] {
        let mut buf = BytesMut::new();
        let mut builder = Builder::new(&mut buf, Class::Error, Method::BINDING, transaction);
        builder.error_code(ErrorCode::BAD_REQUEST);
        if authentic {
            builder.integrity(&crate::crypto::mac::HmacSha1Key::new(credentials.pwd.as_bytes()));
        }
        builder.fingerprint();
        builder.finish();
        net.deliver(from("10.0.0.2:2000", 0, &buf));
        assert_eq!(net.peers[0].agent.pairs().next().unwrap().state, state);
    }
    // A request of the peer wakes the pair again (RFC 8445 §7.3.1.4).
    net.signal_to(1);
    net.run_until(2 * SECOND, Net::both_are_complete);
}

// ----- consent -----

#[test]
fn a_quiet_link_keeps_consent_with_four_checks_a_period() {
    // RFC 7675 §5.1: one check each 4 to 6 s, at random.
    let mut net = Net::connected(22);
    net.run(4 * SECOND);
    let before = net.recorded.len();
    net.run(600 * SECOND);
    assert!(net.both_are_complete());
    // Requests and answers of both ends.
    let a_minute = (net.recorded.len() - before) / 10;
    assert!((4 * 10..=4 * 15).contains(&a_minute), "{a_minute} packets a minute");
    assert!(net.peers.iter().all(|peer| peer.agent.current.outstanding() <= 1));
}

#[test]
fn consent_outlives_a_lossy_link() {
    for seed in 0..20 {
        let mut net = Net::connected(seed);
        net.loss = 30;
        net.run(600 * SECOND);
        assert!(net.both_have_paths(), "seed {seed}");
        assert!(net.peers.iter().all(|peer| peer.agent.state() != ConnectionState::Failed));
    }
}

#[test]
fn silence_is_told_early_and_ends_sending_after_thirty_seconds() {
    let mut net = Net::connected(23);
    let silent_since = net.now;
    net.loss = 100;
    net.run_until(40 * SECOND, |net| net.states().contains(&ConnectionState::Disconnected));
    let told = net.now - silent_since;
    assert!((5 * SECOND..=11 * SECOND).contains(&told), "{told:?}");
    net.run_until(40 * SECOND, |net| net.states() == [ConnectionState::Failed; 2]);
    let took = net.now - silent_since;
    assert!(took <= 30 * SECOND + 100 * MS && took > 29 * SECOND, "{took:?}");
    assert!(net.peers.iter().all(|peer| peer.agent.send_path().is_none()));
    let sent = [0, 1].map(|i| net.peers[i].sent);
    net.loss = 0;
    net.run(100 * SECOND);
    assert_eq!([0, 1].map(|i| net.peers[i].sent), sent, "nothing is sent any more");
}

#[test]
fn a_short_silence_is_forgiven() {
    let mut net = Net::connected(24);
    net.loss = 100;
    net.run(20 * SECOND);
    assert_eq!(net.states(), [ConnectionState::Disconnected; 2]);
    net.loss = 0;
    net.run_until(2 * SECOND, Net::both_are_complete);
    net.run(60 * SECOND);
    assert!(net.both_are_complete());
}

#[test]
fn a_forbidden_answer_ends_consent_at_once() {
    // RFC 7675 §5.2.
    let mut net = Net::connected(25);
    let credentials = net.peers[1].agent.local_credentials().clone();
    let before = net.recorded.len();
    net.run_until(10 * SECOND, |net| net.recorded[before..].iter().any(|p| p.to == 1));
    let request = net.recorded[before..].iter().find(|p| p.to == 1).unwrap();
    let transaction = Message::parse(&request.bytes).unwrap().transaction();
    let mut buf = BytesMut::new();
    let mut builder = Builder::new(&mut buf, Class::Error, Method::BINDING, transaction);
    let key = crate::crypto::mac::HmacSha1Key::new(credentials.pwd.as_bytes());
    builder.error_code(ErrorCode::FORBIDDEN).integrity(&key).fingerprint();
    builder.finish();
    net.deliver(from("10.0.0.2:2000", 0, &buf));
    assert_eq!(net.peers[0].agent.state(), ConnectionState::Failed);
    assert_eq!(net.peers[0].agent.send_path(), None);
}

#[test]
fn a_peer_whose_address_changes_is_followed() {
    // A NAT forgets its mapping and makes another one; the peer does not notice.
    for moving in [0, 1] {
        let mut net = Net::new(26);
        net.add_hosts();
        let inside = [at("10.0.0.1:1000"), at("10.0.0.2:2000")][moving];
        net.nat = vec![(inside, at("203.0.113.1:4001"))];
        net.signal();
        net.run_until(2 * SECOND, Net::both_are_complete);
        net.run(30 * SECOND);
        net.nat = vec![(inside, at("203.0.113.1:4999"))];
        net.run(30 * SECOND);
        assert!(net.both_have_paths(), "moving {moving}: {:?}", net.states());
        assert_eq!(net.peers[1 - moving].agent.send_path().unwrap().remote, at("203.0.113.1:4999"));
    }
}

#[test]
fn who_went_elsewhere_follows_a_peer_that_stayed() {
    // The one end goes over to its backup before it hears of the new mapping; the other end never noticed anything.
    let configs = [Config::default(), Config { keep_backup: true, ..Config::default() }];
    let mut net = Net::with(configs, [Controlling, Controlled], 43);
    net.add_local(0, host("10.0.0.1:1000"));
    let relayed = Candidate::relayed(at("203.0.113.9:5000"), at("203.0.113.1:4001"), [203, 0, 113, 9].into());
    net.add_local(0, relayed.unwrap());
    net.add_local(1, host("10.0.0.2:2000"));
    net.nat = vec![(at("10.0.0.1:1000"), at("203.0.113.1:4001"))];
    net.signal();
    net.run_until(2 * SECOND, Net::both_are_complete);
    net.run(30 * SECOND);
    assert_eq!(net.peers[1].agent.send_path().unwrap().remote, at("203.0.113.1:4001"));
    net.nat = vec![(at("10.0.0.1:1000"), at("203.0.113.1:4999"))];
    let mut remotes = Vec::new();
    for _ in 0..300 {
        // One end sends, and so asks for consent every second.
        net.peers[1].agent.on_traffic(net.now);
        net.run(100 * MS);
        remotes.push(net.peers[1].agent.send_path().unwrap().remote);
    }
    remotes.dedup();
    assert_eq!(remotes, ["203.0.113.1:4001", "203.0.113.9:5000", "203.0.113.1:4999"].map(at));
    assert!(net.paths_agree());
}

// ----- restart -----

#[test]
fn data_goes_on_during_a_restart() {
    // RFC 8445 §9.
    for seed in 0..30 {
        let mut net = Net::connected(seed);
        net.loss = seed % 3 * 10;
        let former = *net.peers[0].agent.send_path().unwrap();
        let old = net.peers[0].agent.local_credentials().clone();
        let now = net.now;
        let fresh = net.peers[0].agent.restart(now).clone();
        assert_ne!(fresh.ufrag, old.ufrag);
        assert_eq!(net.peers[0].agent.ufrags().count(), 2);
        assert_eq!(net.peers[0].agent.send_path(), Some(&former));
        // The answer takes its time; consent of the former pair is kept meanwhile (RFC 7675 §5.1).
        net.run(45 * SECOND);
        assert!(net.both_have_paths());
        let now = net.now;
        net.peers[1].agent.restart(now);
        net.signal_to(1);
        net.run(300 * MS);
        net.signal_to(0);
        let end = net.now + 20 * SECOND;
        while !net.both_are_complete() {
            assert!(net.both_have_paths(), "there is a path all the time");
            assert!(net.step(end), "{:?}", net.states());
        }
        assert!(net.paths_agree());
        assert_ne!(net.peers[0].agent.send_path().unwrap().pair, former.pair);
        net.loss = 0;
        net.run(60 * SECOND);
        assert!(net.both_are_complete());
        assert_eq!(net.peers[0].agent.ufrags().count(), 1);
    }
}

#[test]
fn a_check_between_two_generations_is_not_answered() {
    // RFC 8445 §7.3: a user name has both fragments. A browser that restarts checks from its new sockets, with the
    // credentials that it still has of us, until our answer comes. Told that this works, it would stay with it, and
    // never check the pairs of the new generation.
    let mut net = Net::connected(40);
    let former = net.peers[0].agent.local_credentials().clone();
    let (old, now) = (net.sender(0), net.now);
    net.peers[1].agent.restart(now);
    let fresh = net.sender(0);
    for restarted in [false, true] {
        let sent = net.peers[0].sent;
        for source in ["10.0.0.2:2001", "10.0.0.2:2000"] {
            let astray = check(&former, &fresh, |b| _ = b.priority(1).ice_controlled(1));
            let handled = net.deliver(from(source, 0, &astray));
            assert_eq!(handled, Handled::Dropped(DropReason::UnknownUser), "{source}, {restarted}");
        }
        assert_eq!(net.peers[0].sent, sent);
        assert_eq!(net.peers[0].agent.pairs().filter(|p| p.remote == at("10.0.0.2:2001")).count(), 0);
        // What both ends know goes on.
        let known = check(&former, &old, |b| _ = b.priority(1).ice_controlled(1));
        assert_eq!(net.deliver(from("10.0.0.2:2000", 0, &known)), Handled::Consumed);
        net.peers[0].agent.restart(now);
    }
    // Before the peer's description came, nobody knows its fragment: it is answered whatever it is.
    let ours = net.peers[0].agent.local_credentials().clone();
    let early = check(&ours, &fresh, |b| _ = b.priority(1).ice_controlled(1));
    assert_eq!(net.deliver(from("10.0.0.2:2001", 0, &early)), Handled::Consumed);
}

#[test]
fn an_unanswered_restart_is_taken_back() {
    let mut net = Net::connected(27);
    let former = *net.peers[0].agent.send_path().unwrap();
    let credentials = net.peers[0].agent.local_credentials().clone();
    let now = net.now;
    net.peers[0].agent.restart(now);
    net.run(8 * SECOND);
    let now = net.now;
    assert!(net.peers[0].agent.rollback_restart(now));
    assert!(!net.peers[0].agent.rollback_restart(now));
    net.settle(0);
    assert_eq!(net.peers[0].agent.local_credentials(), &credentials);
    assert_eq!(net.peers[0].agent.send_path().unwrap().pair, former.pair);
    net.run(100 * SECOND);
    assert!(net.both_are_complete());
}

#[test]
fn a_restart_revives_what_has_failed() {
    let mut net = Net::connected(28);
    net.loss = 100;
    net.run(60 * SECOND);
    assert_eq!(net.states(), [ConnectionState::Failed; 2]);
    net.loss = 0;
    for peer in [0, 1] {
        let now = net.now;
        net.peers[peer].agent.restart(now);
    }
    net.signal();
    net.run_until(SECOND, Net::both_are_complete);
    assert!(net.paths_agree());
}

#[test]
fn other_credentials_need_a_restart() {
    let mut net = Net::connected(29);
    let (now, same) = (net.now, net.peers[1].agent.local_credentials().clone());
    let agent = &mut net.peers[0].agent;
    assert_eq!(agent.set_remote_credentials(now, same.clone()), Ok(()));
    let other = Credentials { ufrag: "other".into(), ..same.clone() };
    assert_eq!(agent.set_remote_credentials(now, other), Err(CredentialsError::RestartNeeded));
    let short = Credentials { ufrag: "abc".into(), ..same };
    assert_eq!(agent.set_remote_credentials(now, short), Err(CredentialsError::Invalid));
}

// ----- candidates -----

#[test]
fn candidates_are_refused_ignored_or_known_by_name() {
    let mut net = Net::new(30);
    net.add_hosts();
    let now = net.now;
    let agent = &mut net.peers[0].agent;
    let add = |agent: &mut Agent, line: &str| agent.add_remote_candidate(now, &line.parse().unwrap());
    use RemoteCandidate::*;
    assert_eq!(add(agent, "1 1 udp 5 10.0.0.9 9 typ host"), Ok(Added));
    assert_eq!(add(agent, "2 1 udp 6 10.0.0.9 9 typ srflx"), Ok(Known));
    assert_eq!(add(agent, "1 1 udp 5 9b36eaac.local 9 typ host"), Ok(Unresolved));
    assert_eq!(add(agent, "1 2 udp 5 10.0.0.9 10 typ host"), Ok(Ignored));
    assert_eq!(add(agent, "1 1 tcp 5 10.0.0.9 9 typ host tcptype active"), Ok(Ignored));
    assert_eq!(add(agent, "1 1 udp 5 0.0.0.0 9 typ host"), Ok(Ignored));
    assert_eq!(add(agent, "1 1 udp 5 10.0.0.9 0 typ host"), Ok(Ignored));
    agent.set_remote_credentials(now, Credentials { ufrag: "here".into(), pwd: "x".repeat(22) }).unwrap();
    assert_eq!(add(agent, "1 1 udp 5 10.0.0.9 11 typ host ufrag gone"), Ok(Ignored));
    assert_eq!(add(agent, "1 1 udp 5 10.0.0.9 11 typ host ufrag here"), Ok(Added));
    for port in 100..162 {
        assert_eq!(add(agent, &format!("1 1 udp 5 10.0.0.9 {port} typ host")), Ok(Added));
    }
    assert_eq!(add(agent, "1 1 udp 5 10.0.0.9 99 typ host"), Err(RemoteCandidateError::TooMany));

    let local = |agent: &mut Agent, candidate| agent.add_local_candidate(now, candidate);
    assert_eq!(local(agent, host("10.0.0.1:1000")), Err(LocalCandidateError::Duplicate));
    let parsed: Candidate = "1 1 udp 5 10.0.0.9 9 typ host".parse().unwrap();
    assert_eq!(local(agent, parsed), Err(LocalCandidateError::NoBase));
    for port in 1..32 {
        assert!(local(agent, host(&format!("10.0.0.1:{port}"))).is_ok());
    }
    assert_eq!(local(agent, host("10.0.0.1:99")), Err(LocalCandidateError::TooMany));
    // RFC 8445 §5.1.2.1: priorities are unique.
    let mut priorities: Vec<_> = agent.local_candidates().map(|(_, c)| c.priority()).collect();
    priorities.sort_unstable();
    priorities.dedup();
    assert_eq!(priorities.len(), 32);
    assert_eq!(agent.pairs().count(), 100);
}

#[test]
fn link_local_addresses_stay_among_themselves() {
    // RFC 8445 §6.1.2.2.
    let mut net = Net::new(31);
    net.add_local(0, Candidate::host("[fe80::1%7]:1".parse().unwrap()).unwrap());
    net.add_local(0, host("[2001:db8::1]:1"));
    let now = net.now;
    for address in ["[fe80::2]:2", "[2001:db8::2]:2", "10.0.0.2:2"] {
        net.peers[0].agent.add_remote_candidate(now, &host(address)).unwrap();
    }
    let pairs: Vec<_> =
        net.peers[0].agent.pairs().map(|p| (p.local.to_string(), p.remote.to_string())).collect();
    assert_eq!(pairs.len(), 2);
    assert!(pairs.contains(&("[fe80::1%7]:1".into(), "[fe80::2%7]:2".into())), "{pairs:?}");
}

#[test]
fn a_removed_local_candidate_takes_its_pairs_with_it() {
    // R11.
    let mut net = Net::new(32);
    let first = net.add_local(0, host("10.0.0.1:1000"));
    let second = net.add_local(0, host("10.0.0.3:1000").with_local_preference(3));
    net.add_local(1, host("10.0.0.2:2000"));
    net.signal();
    net.run_until(SECOND, Net::both_have_paths);
    let now = net.now;
    let agent = &mut net.peers[0].agent;
    agent.remove_local_candidate(now, first).unwrap();
    assert_eq!(agent.remove_local_candidate(now, first), Err(UnknownCandidate));
    assert_eq!(agent.local_candidate(first), None);
    assert!(agent.local_candidate(second).is_some());
    assert!(agent.pairs().all(|pair| pair.local == at("10.0.0.3:1000")));
    net.settle(0);
    net.run_until(40 * SECOND, |net| {
        net.peers[0].agent.send_path().is_some_and(|path| path.local == at("10.0.0.3:1000"))
    });
}

// ----- time and life -----

#[test]
fn time_may_stand_still_run_backwards_or_leap() {
    // R15, R67.
    let mut net = Net::connected(33);
    let start = net.now;
    let peer = &mut net.peers[0];
    for offset in [0, 5000, 0, 4000, 1] {
        let now = start + offset * MS;
        for _ in 0..3 {
            peer.agent.handle_timeout(now);
            while peer.agent.poll_transmit(&mut peer.pool).is_some() {}
            assert!(peer.agent.next_timeout().is_some_and(|at| at > now));
        }
    }
    // A day later consent is gone; at most one flight was sent on the way.
    peer.agent.handle_timeout(start + 86_400 * SECOND);
    let burst = std::iter::from_fn(|| peer.agent.poll_transmit(&mut peer.pool)).count();
    assert!(burst <= 1);
    assert_eq!(peer.agent.state(), ConnectionState::Failed);
    assert_eq!(peer.agent.next_timeout(), None);
}

#[test]
fn a_closed_agent_is_inert() {
    // R64.
    let mut net = Net::connected(34);
    let now = net.now;
    let credentials = net.peers[0].agent.local_credentials().clone();
    net.peers[0].agent.close();
    assert_eq!(net.peers[0].agent.next_timeout(), None);
    let request = check(&credentials, &net.sender(0), |b| _ = b.priority(1).ice_controlled(1));
    assert_eq!(net.deliver(from("10.0.0.2:2000", 0, &request)), Handled::Dropped(DropReason::Inert));
    let agent = &mut net.peers[0].agent;
    agent.restart(now);
    agent.handle_timeout(now);
    assert_eq!(agent.add_local_candidate(now, host("10.0.0.1:1")), Err(LocalCandidateError::Closed));
    assert_eq!(agent.add_remote_candidate(now, &host("10.0.0.1:1")), Err(RemoteCandidateError::Closed));
    assert_eq!(agent.set_remote_credentials(now, credentials), Err(CredentialsError::Closed));
    assert_eq!((agent.next_timeout(), agent.poll_transmit(&mut Pool::new())), (None, None));
    assert_eq!(agent.poll_fact(), None);
    assert_eq!(agent.send_path(), None);
}

#[test]
fn what_is_not_polled_does_not_pile_up() {
    // R68.
    let mut net = Net::connected(35);
    let credentials = net.peers[0].agent.local_credentials().clone();
    let request = check(&credentials, &net.sender(0), |b| _ = b.priority(1).ice_controlled(1));
    let now = net.now;
    let agent = &mut net.peers[0].agent;
    for _ in 0..1000 {
        agent.handle_packet(now, at("10.0.0.2:2000"), at("10.0.0.1:1000"), Protocol::Udp, &request);
    }
    let waiting = std::iter::from_fn(|| agent.poll_transmit(&mut Pool::new())).count();
    assert_eq!(waiting, 128);
    assert_eq!(agent.stats().outbox_overflows, 1000 - 128);
}

#[test]
fn the_same_seed_and_inputs_give_the_same_bytes() {
    let run = |seed| {
        let mut net = Net::new(seed);
        net.loss = 20;
        net.add_hosts();
        net.signal();
        net.run(60 * SECOND);
        net.recorded.into_iter().map(|packet| packet.bytes).collect::<Vec<_>>()
    };
    assert_eq!(run(36), run(36));
    assert_ne!(run(36), run(37));
}

#[test]
fn sources_are_told_apart() {
    let net = Net::connected(38);
    let agent = &net.peers[0].agent;
    let (source, local) = (at("10.0.0.2:2000"), at("10.0.0.1:1000"));
    assert_eq!(agent.accepts_from(source, local, Protocol::Udp), SourceState::Valid);
    assert_eq!(agent.accepts_from(source, local, Protocol::Tcp), SourceState::Unknown);
    assert_eq!(agent.accepts_from(at("10.0.0.2:2001"), local, Protocol::Udp), SourceState::Unknown);
    assert_eq!(agent.accepts_from(source, at("10.0.0.1:1001"), Protocol::Udp), SourceState::Unknown);
}

#[test]
fn an_agent_is_small() {
    assert!(size_of::<Agent>() <= 2048, "{} bytes", size_of::<Agent>());
    assert!(size_of::<pair::Pair>() <= 320, "{} bytes", size_of::<pair::Pair>());
}

#[test]
fn any_bytes_in_any_state_are_survived() {
    // R1, R2.
    let mut rng = Rng::new([1; 32], Stream::Session);
    let mut nets = [Net::new(39), Net::connected(39)];
    for net in &mut nets {
        let sent = net.recorded.last().map_or(vec![0; 100], |packet| packet.bytes.clone());
        for _ in 0..5000 {
            let mut bytes = sent.clone();
            bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize);
            for _ in 0..rng.below(4) {
                let at = rng.below(bytes.len().max(1) as u64) as usize;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = rng.u32() as u8;
                }
            }
            net.deliver(Packet {
                to: 0,
                source: at("10.0.0.2:2000"),
                destination: at("10.0.0.1:1000"),
                bytes,
            });
        }
    }
    assert!(nets[1].both_are_complete());
}
