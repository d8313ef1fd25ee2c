//! Two agents over a simulated network, stepped from deadline to deadline.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;

mod candidates;
mod consent;
mod families;
mod hostile;
mod machine;
mod renomination;
mod restart;
mod roles;
mod setup;

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
