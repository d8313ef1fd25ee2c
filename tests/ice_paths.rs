//! Two ICE agents find each other through whatever lies between them: NATs of every kind, several interfaces,
//! both address families, bad links; and they notice when it goes away.

mod sim;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sansrtc::buffer::Pool;
use sansrtc::ice::{Agent, Config, ConnectionState, Fact};
use sansrtc::packet::Datagram;
use sansrtc::rng::{Rng, Stream};
use sansrtc::types::candidate::{Candidate, CandidateKind};
use sansrtc::types::setup::IceRole;
use sim::{
    Behaviour, HostId, Link, Loss, Matrix, Nat, NatId, Output, Peer, Realm, Sim, for_each_seed, seed_bytes,
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

struct IcePeer {
    agent: Agent,
    pool: Pool,
}

impl Peer for IcePeer {
    type Event = Fact;

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        let Datagram { source, destination, protocol, contents, .. } = datagram;
        self.agent.handle_packet(now, source, destination, protocol, &contents);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.agent.handle_timeout(now);
    }

    fn poll(&mut self, _: Instant) -> Output<Fact> {
        if let Some(transmit) = self.agent.poll_transmit(&mut self.pool) {
            return Output::Transmit(transmit);
        }
        match self.agent.poll_fact() {
            Some(fact) => Output::Event(fact),
            None => Output::Timeout(self.agent.next_timeout()),
        }
    }
}

/// Two agents, not introduced to each other yet.
struct Pair {
    sim: Sim<IcePeer>,
    hosts: [HostId; 2],
}

fn peer(seed: u64, who: u64, config: &Config) -> IcePeer {
    let role = if who == 0 { IceRole::Controlling } else { IceRole::Controlled };
    let rng = Rng::new(seed_bytes(seed, who), Stream::Ice);
    IcePeer { agent: Agent::new(config.clone(), role, rng), pool: Pool::new() }
}

/// The STUN server that reflexive addresses are learned from; nobody needs to be there.
const STUN: &str = "198.51.100.1:3478";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

impl Pair {
    /// On the public network, over links like `link`.
    fn new(seed: u64, link: &Link) -> Pair {
        let (mut sim, a, b) =
            Sim::pair(seed, link, peer(seed, 0, &Config::default()), peer(seed, 1, &Config::default()));
        sim.limits.repeat_polls = true;
        Pair { sim, hosts: [a, b] }
    }

    /// Each behind its own NAT, or in the open.
    fn behind(seed: u64, nats: [Option<Nat>; 2]) -> (Pair, [Option<NatId>; 2]) {
        let mut sim = Sim::new(seed);
        sim.limits.repeat_polls = true;
        let mut ids = [None; 2];
        let mut hosts = Vec::new();
        for (index, nat) in nats.into_iter().enumerate() {
            let config = Config::default();
            let peer = peer(seed, index as u64, &config);
            let host = match nat {
                None => sim.add_host(peer, ["203.0.113.51", "203.0.113.52"][index]),
                Some(nat) => {
                    let (id, realm) = sim.network.add_nat(Realm::PUBLIC, nat);
                    ids[index] = Some(id);
                    sim.add_host_in(realm, peer, ["192.168.1.2", "10.7.7.2"][index])
                }
            };
            *sim.network.up(host) = Link::with_delay(20 * MS);
            hosts.push(host);
        }
        (Pair { sim, hosts: [hosts[0], hosts[1]] }, ids)
    }

    /// Gives each agent its host candidates, and the reflexive ones where they differ.
    fn gather(&mut self) {
        for host in self.hosts {
            for ip in self.sim.network.ips(host) {
                let base = SocketAddr::new(ip, 5000);
                let mut candidates = vec![Candidate::host(base).unwrap()];
                if base.is_ipv4() {
                    let outside = self.sim.network.reflexive(host, base, address(STUN));
                    if outside != base {
                        let server = address(STUN).ip();
                        candidates.push(Candidate::server_reflexive(outside, base, server).unwrap());
                    }
                }
                self.sim.with(host, |peer, now| {
                    for candidate in candidates {
                        peer.agent.add_local_candidate(now, candidate).unwrap();
                    }
                });
            }
        }
    }

    /// Signals credentials and candidates, both ways, at once.
    fn introduce(&mut self) {
        for (from, to) in [(0, 1), (1, 0)] {
            let agent = &self.sim.peer(self.hosts[from]).agent;
            let credentials = agent.local_credentials().clone();
            let candidates: Vec<_> = agent.local_candidates().map(|(_, c)| c.clone()).collect();
            self.sim.with(self.hosts[to], |peer, now| {
                peer.agent.set_remote_credentials(now, credentials).unwrap();
                for candidate in &candidates {
                    peer.agent.add_remote_candidate(now, candidate).unwrap();
                }
                peer.agent.end_of_remote_candidates(now);
            });
        }
    }

    fn states(&self) -> [ConnectionState; 2] {
        self.hosts.map(|host| self.sim.peer(host).agent.state())
    }

    /// Whether both agents come to send over one and the same pair, completed, within `limit`; when they do.
    fn connects(&mut self, limit: Duration) -> Option<Duration> {
        let hosts = self.hosts;
        self.sim.run_until(limit, |sim| {
            hosts.iter().all(|&host| sim.peer(host).agent.state() == ConnectionState::Completed)
        })
    }

    /// Sends a datagram of `from` over its path; whether it reaches the other agent from an accepted source.
    fn data_passes(&mut self, from: usize) -> bool {
        let (sender, receiver) = (self.hosts[from], self.hosts[1 - from]);
        let Some(path) = self.sim.peer(sender).agent.send_path().copied() else { return false };
        // What the network would do with it, without a machine that speaks more than STUN.
        let source = self.sim.network.reflexive(sender, path.local, path.remote);
        let own = self.sim.peer(receiver).agent.send_path().copied();
        own.is_some_and(|own| {
            let seen = if self.shares_a_realm() { path.local } else { source };
            own.remote == seen
        })
    }

    fn shares_a_realm(&mut self) -> bool {
        let [a, b] = self.hosts.map(|host| self.sim.peer(host).agent.send_path().copied());
        a.zip(b).is_some_and(|(a, b)| a.remote == b.local && b.remote == a.local)
    }
}

fn public(index: u8) -> std::net::IpAddr {
    [203, 0, 113, index].into()
}

#[test]
fn agents_meet_through_every_pair_of_nats_that_can_be_crossed() {
    let restricted = |ip| Nat { filtering: Behaviour::AddressDependent, ..Nat::port_restricted(ip) };
    type Make = fn(std::net::IpAddr) -> Nat;
    let kinds: [(&str, Option<Make>); 5] = [
        ("open", None),
        ("full cone", Some(Nat::full_cone)),
        ("restricted", Some(restricted)),
        ("port restricted", Some(Nat::port_restricted)),
        ("symmetric", Some(Nat::symmetric)),
    ];
    for (i, (name_a, nat_a)) in kinds.into_iter().enumerate() {
        for (j, (name_b, nat_b)) in kinds.into_iter().enumerate() {
            let nats = [nat_a.map(|nat| nat(public(1))), nat_b.map(|nat| nat(public(2)))];
            let (mut pair, _) = Pair::behind((i * 5 + j) as u64, nats);
            pair.gather();
            pair.introduce();
            // A symmetric NAT sends from a port that nobody was told; a filter by port keeps that out.
            let blind = |a: usize, b: usize| a == 4 && b >= 3;
            if blind(i, j) || blind(j, i) {
                assert_eq!(pair.connects(60 * SECOND), None, "{name_a} and {name_b} cannot meet");
                assert_eq!(pair.states(), [ConnectionState::Failed; 2], "{name_a}, {name_b}");
                continue;
            }
            let took = pair.connects(10 * SECOND);
            assert!(took.is_some(), "{name_a} and {name_b}: {:?}", pair.states());
            for from in [0, 1] {
                assert!(pair.data_passes(from), "{name_a} and {name_b}: data of {from}");
            }
        }
    }
}

#[test]
fn neighbours_behind_one_nat_talk_directly() {
    let mut sim = Sim::new(1);
    let (_, realm) = sim.network.add_nat(Realm::PUBLIC, Nat::port_restricted(public(1)));
    let hosts = [("192.168.1.2", 0), ("192.168.1.3", 1)]
        .map(|(ip, who)| sim.add_host_in(realm, peer(1, who, &Config::default()), ip));
    let mut pair = Pair { sim, hosts };
    pair.gather();
    pair.introduce();
    assert!(pair.connects(5 * SECOND).is_some());
    for host in pair.hosts {
        let path = pair.sim.peer(host).agent.send_path().copied().unwrap();
        assert_eq!((path.local_kind, path.remote_kind), (CandidateKind::Host, CandidateKind::Host));
    }
}

#[test]
fn agents_connect_over_a_harsh_network() {
    for_each_seed(60, |seed| {
        let (there, back) = Matrix::HARSH.both_ways(seed);
        let mut pair = Pair::new(seed, &there);
        *pair.sim.network.up(pair.hosts[1]) = back.clone();
        pair.gather();
        pair.introduce();
        let took = pair.connects(15 * SECOND);
        assert!(took.is_some(), "{:?} over {there:?} and {back:?}", pair.states());
    });
}

#[test]
fn the_working_address_family_is_found() {
    let (mut pair, _) = Pair::behind(1, [None, None]);
    for (host, ip) in pair.hosts.into_iter().zip(["2001:db8::1", "2001:db8::2"]) {
        pair.sim.network.add_interface(host, Realm::PUBLIC, ip.parse().unwrap());
    }
    // IPv6 has the higher priority (RFC 8421), and leads nowhere.
    pair.sim.network.block("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
    pair.gather();
    pair.introduce();
    assert!(pair.connects(10 * SECOND).is_some());
    for host in pair.hosts {
        assert!(pair.sim.peer(host).agent.send_path().unwrap().remote.is_ipv4());
    }
}

#[test]
fn equal_roles_are_settled_by_the_tie_breaker() {
    for role in [IceRole::Controlling, IceRole::Controlled] {
        for seed in 0..20 {
            let mut pair = Pair::new(seed, &Link::with_delay(30 * MS));
            for host in pair.hosts {
                pair.sim.with(host, |peer, _| peer.agent.set_role(role));
            }
            pair.gather();
            pair.introduce();
            assert!(pair.connects(10 * SECOND).is_some(), "both {role:?}, seed {seed}");
            let [a, b] = pair.hosts.map(|host| pair.sim.peer(host).agent.role());
            assert_ne!(a, b);
        }
    }
}

#[test]
fn a_dead_peer_is_noticed_and_nothing_is_sent_to_it_any_more() {
    let mut pair = Pair::new(3, &Link::with_delay(20 * MS));
    pair.gather();
    pair.introduce();
    assert!(pair.connects(5 * SECOND).is_some());
    let [alive, dead] = pair.hosts;
    pair.sim.network.outage(dead, 1000 * SECOND);
    // RFC 7675 §5.1: consent lasts 30 seconds.
    pair.sim.run_for(31 * SECOND);
    assert!(pair.sim.peer(alive).agent.send_path().is_none());
    assert_eq!(pair.states()[0], ConnectionState::Failed);
    let sent = pair.sim.network.stats().sent;
    pair.sim.run_for(100 * SECOND);
    assert_eq!(pair.sim.network.stats().sent, sent, "a failed agent is silent");
    assert_eq!(pair.sim.wake(alive), None, "and has no timer");
}

#[test]
fn short_outages_are_survived() {
    for seconds in [1, 5, 15, 25] {
        let mut pair = Pair::new(seconds, &Link::with_delay(20 * MS));
        pair.gather();
        pair.introduce();
        assert!(pair.connects(5 * SECOND).is_some());
        pair.sim.run_for(7 * SECOND);
        pair.sim.network.outage(pair.hosts[0], Duration::from_secs(seconds));
        pair.sim.run_for(Duration::from_secs(seconds) + 10 * SECOND);
        assert_eq!(pair.states(), [ConnectionState::Completed; 2], "after {seconds} s");
    }
}

#[test]
fn a_rebound_nat_is_followed_by_its_new_address() {
    let (mut pair, nats) = Pair::behind(5, [Some(Nat::port_restricted(public(1))), None]);
    pair.gather();
    pair.introduce();
    assert!(pair.connects(5 * SECOND).is_some());
    pair.sim.run_for(10 * SECOND);
    pair.sim.network.rebind(nats[0].unwrap());
    let (inside, outside) = (pair.hosts[0], pair.hosts[1]);
    pair.sim.run_for(40 * SECOND);
    let own = pair.sim.peer(inside).agent.send_path().copied().expect("it still has a path");
    let seen = pair.sim.network.reflexive(inside, own.local, own.remote);
    let path = pair.sim.peer(outside).agent.send_path().copied().expect("it still has a path");
    assert_eq!(path.remote, seen, "it sends to the new address");
    assert_eq!(pair.states(), [ConnectionState::Completed; 2]);
}

#[test]
fn lossless_agents_are_quiet_and_lossy_ones_are_not_louder_than_allowed() {
    let checks_in_ten_seconds = |loss| {
        let mut pair = Pair::new(1, &Link { loss, ..Link::with_delay(20 * MS) });
        pair.gather();
        pair.introduce();
        pair.sim.run_for(10 * SECOND);
        pair.sim.network.stats().sent
    };
    let clean = checks_in_ten_seconds(Loss::None);
    assert!(clean <= 24, "{clean} datagrams to connect and keep consent for ten seconds");
    // Nothing arrives: one check per Ta of 50 ms and side at the most (RFC 8445 §14.2).
    let dead = checks_in_ten_seconds(Loss::Independent(1.0));
    assert!(dead <= 2 * 200, "{dead} checks in ten seconds");
}
