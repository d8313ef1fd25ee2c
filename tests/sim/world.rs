//! The peers on their hosts, stepped from deadline to deadline.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use sansrtc::packet::StreamInput;

use super::link::Link;
use super::network::{HostId, Network, Realm, base};
use super::peer::{Output, Peer};
use super::streams::{Happening, Streams};

/// Peers, and the network between them.
pub struct Sim<P: Peer> {
    /// The network: links, NATs, faults, digest.
    pub network: Network,
    hosts: Vec<Host<P>>,
    streams: Streams,
    steps: u64,
    /// How much a peer may do before the run fails.
    pub limits: Limits,
}

/// How much a peer may do before it is said to spin.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Outputs after one input.
    pub outputs: u64,
    /// Timeouts within one virtual millisecond.
    pub timeouts_per_millisecond: u64,
    /// Steps of a whole run: two peers that answer each other for ever over links without delay.
    pub steps: u64,
    /// Whether polling again without new input must give the same timeout and nothing else.
    pub repeat_polls: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { outputs: 200_000, timeouts_per_millisecond: 1000, steps: 100_000_000, repeat_polls: false }
    }
}

struct Host<P: Peer> {
    peer: P,
    events: VecDeque<(Duration, P::Event)>,
    /// When the peer wants to be woken.
    wake: Option<Duration>,
    /// The virtual millisecond of the last timeout, and how many timeouts it has seen.
    millisecond: (u128, u64),
    /// Timeouts in a row that were due at the very time that was just handled.
    overdue: u64,
}

impl<P: Peer> Sim<P> {
    /// An empty world.
    pub fn new(seed: u64) -> Self {
        Sim {
            network: Network::new(seed),
            hosts: Vec::new(),
            streams: Streams::default(),
            steps: 0,
            limits: Limits::default(),
        }
    }

    /// Two peers, on 10.0.0.1 and 10.0.0.2, each sending over a link like `link`.
    pub fn pair(seed: u64, link: &Link, a: P, b: P) -> (Self, HostId, HostId) {
        let mut sim = Sim::new(seed);
        let a = sim.add_host(a, "10.0.0.1");
        let b = sim.add_host(b, "10.0.0.2");
        sim.network.up(a).clone_from(link);
        sim.network.up(b).clone_from(link);
        (sim, a, b)
    }

    /// Puts a peer on a new host of the public realm.
    pub fn add_host(&mut self, peer: P, ip: &str) -> HostId {
        self.add_host_in(Realm::PUBLIC, peer, ip)
    }

    /// Puts a peer on a new host of `realm`.
    pub fn add_host_in(&mut self, realm: Realm, peer: P, ip: &str) -> HostId {
        let id = self.network.add_host();
        self.network.add_interface(id, realm, parse_ip(ip));
        let host = Host { peer, events: VecDeque::new(), wake: None, millisecond: (0, 0), overdue: 0 };
        self.hosts.push(host);
        // A peer may have something to say before anything happened; so that its owner can still set up links,
        // it is asked at the first step.
        self.hosts[id.0].wake = Some(self.network.elapsed());
        id
    }

    /// Takes an address from a host, and the streams over it.
    pub fn cut(&mut self, host: HostId, ip: IpAddr) {
        self.streams.cut(self.elapsed(), host, ip);
        self.network.remove_interface(host, ip);
    }

    /// Virtual time.
    pub fn now(&self) -> Instant {
        self.network.now()
    }

    /// Virtual time since the start.
    pub fn elapsed(&self) -> Duration {
        self.network.elapsed()
    }

    /// Inputs handled so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// A peer, to look at.
    pub fn peer(&self, host: HostId) -> &P {
        &self.hosts[host.0].peer
    }

    /// When a peer wants to be woken, since the start.
    pub fn wake(&self, host: HostId) -> Option<Duration> {
        self.hosts[host.0].wake
    }

    /// Lets the owner of a peer act: it is told the time first, and drained afterwards.
    pub fn with<R>(&mut self, host: HostId, act: impl FnOnce(&mut P, Instant) -> R) -> R {
        let now = self.now();
        let peer = &mut self.hosts[host.0].peer;
        peer.handle_timeout(now);
        let result = act(peer, now);
        self.drain(host);
        result
    }

    /// The next event of a host, with the time it happened.
    pub fn event(&mut self, host: HostId) -> Option<(Duration, P::Event)> {
        self.hosts[host.0].events.pop_front()
    }

    /// All events of a host so far.
    pub fn events(&mut self, host: HostId) -> impl Iterator<Item = (Duration, P::Event)> {
        self.hosts[host.0].events.drain(..)
    }

    /// Goes on until `done` says so, asked after every step; the time it took, or `None` when `limit` has passed
    /// or nothing will ever happen again.
    pub fn run_until(
        &mut self,
        limit: Duration,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Option<Duration> {
        let start = self.elapsed();
        let end = start + limit;
        loop {
            if done(self) {
                return Some(self.elapsed() - start);
            }
            if !self.step(end) {
                return None;
            }
        }
    }

    /// Like [`run_until`](Sim::run_until); fails the run when it does not come to pass.
    #[track_caller]
    pub fn must(&mut self, what: &str, limit: Duration, done: impl FnMut(&mut Self) -> bool) -> Duration {
        match self.run_until(limit, done) {
            Some(took) => took,
            None => panic!("not within {limit:?}: {what}"),
        }
    }

    /// Goes on for this long.
    pub fn run_for(&mut self, how_long: Duration) {
        let end = self.elapsed() + how_long;
        while self.step(end) {}
        self.network.advance_to(end);
    }

    /// One step, when there is one before `end`: a datagram arrives, a change happens, or a deadline comes.
    pub fn step(&mut self, end: Duration) -> bool {
        let timer = self.next_timer();
        let network = self.network.next_time();
        let stream = self.streams.next_time();
        let Some(at) = [network, stream, timer.map(|(at, _)| at)].into_iter().flatten().min() else {
            return false;
        };
        if at > end {
            self.network.advance_to(end);
            return false;
        }
        self.steps += 1;
        assert!(self.steps < self.limits.steps, "{} steps: the peers never rest", self.steps);
        self.network.advance_to(at.max(self.elapsed()));
        // Datagrams first: what arrived by now is read before the clock is looked at.
        if network.is_some_and(|network| network <= at) {
            if let Some((host, datagram)) = self.network.step() {
                let now = self.now();
                self.hosts[host.0].peer.handle_datagram(now, datagram);
                self.hosts[host.0].overdue = 0;
                self.drain(host);
            }
        } else if stream.is_some_and(|stream| stream <= at) {
            self.step_streams();
        } else if let Some((_, host)) = timer {
            self.count_timeout(host);
            let now = self.now();
            self.hosts[host.0].peer.handle_timeout(now);
            self.drain(host);
        }
        true
    }

    fn step_streams(&mut self) {
        let (now, elapsed) = (self.now(), self.elapsed());
        let Some((host, key, what)) = self.streams.step(elapsed) else { return };
        let peer = &mut self.hosts[host.0].peer;
        match what {
            Happening::Accept { local, remote } => {
                let is_taken = peer.handle_accepted(now, key, local, remote);
                self.streams.answer(elapsed, host, key, is_taken);
            }
            Happening::Opened { local } => peer.handle_stream(now, StreamInput::Opened { key, local }),
            Happening::Received(contents) => peer.handle_stream(now, StreamInput::Received { key, contents }),
            Happening::Closed => peer.handle_stream(now, StreamInput::Closed { key }),
        }
        self.hosts[host.0].overdue = 0;
        self.drain(host);
    }

    fn next_timer(&self) -> Option<(Duration, HostId)> {
        let due = |(index, host): (usize, &Host<P>)| {
            let id = HostId(index);
            host.wake.map(|wake| (wake.max(self.network.frozen_until(id)), id))
        };
        self.hosts.iter().enumerate().filter_map(due).min()
    }

    fn count_timeout(&mut self, id: HostId) {
        let millisecond = self.elapsed().as_millis();
        let host = &mut self.hosts[id.0];
        if host.millisecond.0 != millisecond {
            host.millisecond = (millisecond, 0);
        }
        host.millisecond.1 += 1;
        let (limit, count) = (self.limits.timeouts_per_millisecond, host.millisecond.1);
        assert!(count <= limit, "{id:?} spins: {count} timeouts within one millisecond");
    }

    /// Polls a host until it is dry.
    fn drain(&mut self, id: HostId) {
        let now = self.now();
        let elapsed = self.elapsed();
        for _ in 0..self.limits.outputs {
            match self.hosts[id.0].peer.poll(now) {
                Output::Transmit(transmit) => self.network.send(id, &transmit),
                Output::Stream(command) => self.streams.command(&mut self.network, id, command),
                Output::Event(event) => self.hosts[id.0].events.push_back((elapsed, event)),
                Output::Timeout(at) => return self.rest(id, at),
            }
        }
        panic!("{id:?} spins: {} outputs after one input", self.limits.outputs);
    }

    fn rest(&mut self, id: HostId, at: Option<Instant>) {
        let now = self.now();
        let wake = at.map(|at| at.saturating_duration_since(base()));
        let overdue = wake.is_some_and(|wake| wake <= self.elapsed());
        let host = &mut self.hosts[id.0];
        host.wake = wake;
        host.overdue = if overdue { host.overdue + 1 } else { 0 };
        assert!(host.overdue < 100, "{id:?} spins: its timeout is due again as soon as it was handled");
        if self.limits.repeat_polls {
            match host.peer.poll(now) {
                Output::Timeout(again) => assert_eq!(at, again, "{id:?}: polled again, another timeout"),
                Output::Transmit(transmit) => panic!("{id:?}: dry, but polled again: {transmit:?}"),
                Output::Stream(stream) => panic!("{id:?}: dry, but polled again: {stream:?}"),
                Output::Event(_) => panic!("{id:?}: dry, but polled again: an event"),
            }
        }
    }
}

fn parse_ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("not an address: {text}"))
}
