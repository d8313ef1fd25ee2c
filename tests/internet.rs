//! The internet in small: whatever stands before two connections, they find the best path that there is.
//!
//! The table of all pairs is printed (`cargo test --test internet -- --nocapture`), and checked against what the kinds
//! of the networks say must come out.

mod sim;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use sansrtc::ice::LocalId;
use sansrtc::packet::{Datagram, StreamInput, StreamKey};
use sansrtc::session::gather::{GatheringState, IceServer};
use sansrtc::types::candidate::CandidateKind;
use sansrtc::{Candidate, ChannelConfig, ConnectionState, Event, MessageKind, Rtc, RtcConfig};
use sim::{
    HostId, Link, Loss, Nat, NatId, Output, Peer, Realm, Sim, TurnServer, USER, clock, config, for_each_seed,
    seed_bytes,
};

const SECOND: Duration = Duration::from_secs(1);
const V4: &str = "198.51.100.1";
const V6: &str = "2001:db8:5::1";

/// What stands between a client and the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Open,
    FullCone,
    AddressRestricted,
    PortRestricted,
    Symmetric,
    OnlyTcp443,
    Ipv6Only,
    /// IPv4 behind a port-restricted NAT, and IPv6 in the open.
    DualStack,
}

use Place::{AddressRestricted, DualStack, FullCone, Ipv6Only, OnlyTcp443, Open, PortRestricted, Symmetric};

const PLACES: [Place; 8] =
    [Open, FullCone, AddressRestricted, PortRestricted, Symmetric, OnlyTcp443, Ipv6Only, DualStack];

impl Place {
    fn nat(self, public: IpAddr) -> Option<Nat> {
        match self {
            Open | Ipv6Only => None,
            FullCone => Some(Nat::full_cone(public)),
            AddressRestricted => Some(Nat::address_restricted(public)),
            PortRestricted | DualStack => Some(Nat::port_restricted(public)),
            Symmetric => Some(Nat::symmetric(public)),
            OnlyTcp443 => Some(Nat::only_tcp_443(public)),
        }
    }

    fn has_v4(self) -> bool {
        self != Ipv6Only
    }

    fn has_v6(self) -> bool {
        matches!(self, Ipv6Only | DualStack)
    }

    fn has_udp(self) -> bool {
        self != OnlyTcp443
    }

    /// Whether somebody whose mapping nobody can foretell is let in: it is known by its IP address alone.
    fn lets_in_unforeseen(self) -> bool {
        matches!(self, Open | FullCone | AddressRestricted)
    }
}

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Direct,
    /// One end is a relayed address.
    OneRelay,
    /// Both are.
    TwoRelays,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Way::Direct => "direct",
            Way::OneRelay => "one relay",
            Way::TwoRelays => "two relays",
        })
    }
}

/// The best way that exists between two places, by what they are. Relayed addresses are IPv4 here.
fn best(a: Place, b: Place) -> Way {
    let both = |question: fn(Place) -> bool| question(a) && question(b);
    let passes_v4 = match (a, b) {
        (Symmetric, Symmetric) => false,
        (Symmetric, other) | (other, Symmetric) => other.lets_in_unforeseen(),
        _ => true,
    };
    if both(Place::has_udp) && (both(Place::has_v6) || both(Place::has_v4) && passes_v4) {
        return Way::Direct;
    }
    let reaches_relays = |place: Place| place.has_udp() && place.has_v4();
    if reaches_relays(a) || reaches_relays(b) { Way::OneRelay } else { Way::TwoRelays }
}

/// A host of the internet.
enum Node {
    Client(Box<Rtc>),
    Server(Box<TurnServer>),
}

impl Node {
    fn inner(&mut self) -> &mut dyn Peer<Event = Event> {
        match self {
            Node::Client(rtc) => &mut **rtc,
            Node::Server(server) => &mut **server,
        }
    }

    #[track_caller]
    fn rtc(&self) -> &Rtc {
        match self {
            Node::Client(rtc) => rtc,
            Node::Server(_) => panic!("a server is no client"),
        }
    }

    #[track_caller]
    fn rtc_mut(&mut self) -> &mut Rtc {
        match self {
            Node::Client(rtc) => rtc,
            Node::Server(_) => panic!("a server is no client"),
        }
    }
}

impl Peer for Node {
    type Event = Event;

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        self.inner().handle_datagram(now, datagram);
    }

    fn handle_stream(&mut self, now: Instant, input: StreamInput) {
        self.inner().handle_stream(now, input);
    }

    fn handle_accepted(
        &mut self,
        now: Instant,
        key: StreamKey,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> bool {
        self.inner().handle_accepted(now, key, local, remote)
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.inner().handle_timeout(now);
    }

    fn poll(&mut self, now: Instant) -> Output<Event> {
        self.inner().poll(now)
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn server(url: &str) -> IceServer {
    let server = IceServer::new(url).unwrap();
    let port = server.url.port();
    let addresses = [SocketAddr::new(ip(V4), port), SocketAddr::new(ip(V6), port)];
    server.with_addresses(addresses).with_credentials(USER.0, USER.1)
}

/// What every client is told: STUN, TURN over UDP, and TURN over TCP on the port that offices let pass.
fn servers() -> Vec<IceServer> {
    vec![
        server("stun:turn.example:3478"),
        server("turn:turn.example:3478?transport=udp"),
        server("turn:turn.example:443?transport=tcp"),
    ]
}

/// Two clients and a server between them.
struct Internet {
    sim: Sim<Node>,
    hosts: [HostId; 2],
    nats: [Option<NatId>; 2],
    /// The host candidates of both, by their IP address.
    bases: Vec<(HostId, IpAddr, LocalId)>,
}

impl Internet {
    /// The server, and nobody else yet.
    fn server(seed: u64) -> Sim<Node> {
        let mut sim = Sim::new(seed);
        let server = TurnServer::new(seed, &[3478, 443], |config| config.relay_v4 = Some(ip(V4)));
        let host = sim.add_host(Node::Server(Box::new(server)), V4);
        sim.network.add_interface(host, Realm::PUBLIC, ip(V6));
        *sim.network.up(host) = Link::with_delay(Duration::from_millis(5));
        sim
    }

    fn client(seed: u64, who: u64, config: RtcConfig) -> Node {
        Node::Client(Box::new(Rtc::new(config, seed_bytes(seed, who), clock()).expect("it is valid")))
    }

    /// Two clients in their places.
    fn new(seed: u64, places: [Place; 2]) -> Internet {
        let mut sim = Internet::server(seed);
        let mut nats = [None; 2];
        let hosts = [0, 1].map(|who| {
            let config = RtcConfig { ice_servers: servers(), ..config() };
            let node = Internet::client(seed, who as u64, config);
            let place = places[who];
            let v6 = ["2001:db8:a::2", "2001:db8:b::2"][who];
            let host = match place.nat(ip(["203.0.113.10", "203.0.113.20"][who])) {
                Some(nat) => {
                    let (id, realm) = sim.network.add_nat(Realm::PUBLIC, nat);
                    nats[who] = Some(id);
                    sim.add_host_in(realm, node, ["10.1.0.2", "10.2.0.2"][who])
                }
                None if place == Ipv6Only => sim.add_host(node, v6),
                None => sim.add_host(node, ["203.0.113.51", "203.0.113.52"][who]),
            };
            if place == DualStack {
                sim.network.add_interface(host, Realm::PUBLIC, ip(v6));
            }
            *sim.network.up(host) = Link::with_delay(Duration::from_millis(20));
            host
        });
        Internet { sim, hosts, nats, bases: Vec::new() }
    }

    /// Both gather, then offer and answer; signalling takes no time.
    fn signal(&mut self) {
        for host in self.hosts {
            for ip in self.sim.network.ips(host) {
                let candidate = Candidate::host(SocketAddr::new(ip, 5000)).unwrap();
                let id =
                    self.sim.with(host, |node, _| node.rtc_mut().add_local_candidate(candidate)).unwrap();
                self.bases.push((host, ip, id));
            }
            self.sim.with(host, |node, _| node.rtc_mut().end_of_local_candidates());
        }
        let hosts = self.hosts;
        self.sim.must("gathering is done", 15 * SECOND, |sim| {
            hosts.iter().all(|&host| sim.peer(host).rtc().gathering_state() == GatheringState::Complete)
        });
        let [a, b] = self.hosts;
        let offer = self.sim.with(a, |node, _| node.rtc_mut().create_offer()).unwrap();
        let answer = self.sim.with(b, |node, _| node.rtc_mut().accept_offer(&offer)).unwrap();
        self.sim.with(a, |node, _| node.rtc_mut().accept_answer(&answer)).unwrap();
    }

    /// Goes on until both are connected.
    #[track_caller]
    fn connect(&mut self) -> Duration {
        let hosts = self.hosts;
        self.sim.must("both are connected", 60 * SECOND, |sim| {
            hosts.iter().all(|&host| sim.peer(host).rtc().state() == ConnectionState::Connected)
        })
    }

    /// The way that both send over; `None` when they do not agree or have none.
    fn way(&self) -> Option<Way> {
        let [a, b] = self.hosts.map(|host| self.sim.peer(host).rtc().stats().path);
        let (a, b) = (a?, b?);
        let relays =
            [a.local_kind, b.local_kind].iter().filter(|kind| **kind == CandidateKind::Relayed).count();
        Some(match relays {
            0 => Way::Direct,
            1 => Way::OneRelay,
            _ => Way::TwoRelays,
        })
    }

    /// A message passes each way, on a channel of its own; how long that took.
    #[track_caller]
    fn talk(&mut self, limit: Duration) -> Duration {
        let start = self.sim.elapsed();
        for (from, to) in [(0, 1), (1, 0)] {
            let (from, to) = (self.hosts[from], self.hosts[to]);
            let label = format!("{from:?} at {:?}", self.sim.elapsed());
            let open = ChannelConfig::labelled(&*label);
            let channel = self.sim.with(from, |node, _| node.rtc_mut().open_channel(open)).unwrap();
            let mut is_sent = false;
            self.sim.must("a message arrives", limit, |sim| {
                if !is_sent {
                    let sent = sim
                        .with(from, |node, _| node.rtc_mut().send(channel, MessageKind::Text, label.clone()));
                    is_sent = sent.is_ok();
                }
                let mut events = sim.events(to);
                events.any(
                    |(_, event)| matches!(event, Event::Message { data, .. } if data == label.as_bytes()),
                )
            });
        }
        self.sim.elapsed() - start
    }
}

#[test]
fn every_pair_of_places_connects_on_the_best_way_that_there_is() {
    let mut table = format!("{:<18}", "");
    PLACES.iter().for_each(|place| table.push_str(&format!("{:<18}", format!("{place:?}"))));
    let mut wrong = Vec::new();
    for a in PLACES {
        table.push_str(&format!("\n{:<18}", format!("{a:?}")));
        for b in PLACES {
            let mut internet = Internet::new(1, [a, b]);
            internet.signal();
            internet.connect();
            // A better path may come up behind a quick one.
            internet.sim.run_for(5 * SECOND);
            internet.talk(10 * SECOND);
            let (found, expected) = (internet.way(), best(a, b));
            let text = found.map_or("none".to_owned(), |way| way.to_string());
            table.push_str(&format!("{text:<18}"));
            if found != Some(expected) {
                wrong.push(format!("{a:?} to {b:?}: {text}, not {expected}"));
            }
        }
    }
    println!("{table}");
    assert!(wrong.is_empty(), "{table}\n{}", wrong.join("\n"));
}

#[test]
fn every_pair_of_places_connects_over_links_that_lose_a_twentieth() {
    // One pair per seed: the long run has each of the 64 many times.
    for_each_seed(64, |seed| {
        let pair = (seed % 64) as usize;
        let (a, b) = (PLACES[pair / 8], PLACES[pair % 8]);
        let mut internet = Internet::new(seed, [a, b]);
        for host in internet.hosts {
            internet.sim.network.up(host).loss = Loss::Independent(0.05);
            internet.sim.network.down(host).loss = Loss::Independent(0.05);
        }
        internet.signal();
        internet.connect();
        internet.talk(30 * SECOND);
    });
}

#[test]
fn two_hosts_behind_one_carrier_meet_by_hairpin_or_by_relay() {
    for (hairpin, expected) in [(true, Way::Direct), (false, Way::OneRelay)] {
        let mut sim = Internet::server(3);
        let carrier = Nat { hairpin, ..Nat::port_restricted(ip("203.0.113.1")) };
        let (_, carrier) = sim.network.add_nat(Realm::PUBLIC, carrier);
        let hosts = [0, 1].map(|who| {
            let home = Nat::port_restricted(ip(["100.64.0.10", "100.64.0.20"][who]));
            let (_, realm) = sim.network.add_nat(carrier, home);
            let config = RtcConfig { ice_servers: servers(), ..config() };
            // The same inner addresses in both homes, as it is.
            sim.add_host_in(
                realm,
                Internet::client(3, who as u64, config),
                ["192.168.1.2", "192.168.1.3"][who],
            )
        });
        let mut internet = Internet { sim, hosts, nats: [None; 2], bases: Vec::new() };
        internet.signal();
        internet.connect();
        internet.sim.run_for(5 * SECOND);
        internet.talk(10 * SECOND);
        assert_eq!(internet.way(), Some(expected), "hairpin: {hairpin}");
    }
}

#[test]
fn a_nat_that_forgets_its_mappings_does_not_end_the_call() {
    for_each_seed(4, |seed| {
        for places in
            [[PortRestricted, Open], [PortRestricted, FullCone], [Symmetric, Symmetric], [PortRestricted; 2]]
        {
            let mut internet = Internet::new(seed, places);
            internet.signal();
            internet.connect();
            internet.sim.run_for(3 * SECOND);
            let nat = internet.nats[0].unwrap();
            internet.sim.network.rebind(nat);
            internet.talk(30 * SECOND);
        }
    });
}

#[test]
fn an_interface_lost_in_the_middle_of_a_call_is_survived_by_the_other_one() {
    for_each_seed(4, |seed| {
        // Wi-Fi behind one NAT and a mobile network behind another.
        let mut internet = Internet::new(seed, [PortRestricted, PortRestricted]);
        let mobile = Nat::symmetric(ip("203.0.113.30"));
        let (_, realm) = internet.sim.network.add_nat(Realm::PUBLIC, mobile);
        let host = internet.hosts[0];
        internet.sim.network.add_interface(host, realm, ip("100.64.0.2"));
        internet.signal();
        internet.connect();
        internet.sim.run_for(5 * SECOND);
        internet.talk(5 * SECOND);
        let used = internet.sim.peer(host).rtc().stats().path.unwrap().local.ip();
        internet.sim.cut(host, used);
        // What the system tells an application: the address is gone.
        let gone: Vec<_> = internet.bases.iter().filter(|base| base.0 == host && base.1 == used).collect();
        assert_eq!(gone.len(), 1);
        let id = gone[0].2;
        internet.sim.with(host, |node, _| node.rtc_mut().remove_local_candidate(id)).unwrap();
        internet.talk(20 * SECOND);
        assert_ne!(internet.sim.peer(host).rtc().stats().path.unwrap().local.ip(), used);
    });
}
