//! A client asks a server how its NAT behaves (RFC 5780), through NATs of every kind in the simulated network; the
//! server is our own.

mod sim;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use sansrtc::Event;
use sansrtc::buffer::Pool;
use sansrtc::packet::Datagram;
use sansrtc::rng::{Rng, Stream};
use sansrtc::stun::behavior::{Behavior, Config, Discovery, NatKind, Report};
use sim::{
    Behaviour, HostId, Link, Loss, Nat, Output, Peer, Realm, Sim, TurnServer, for_each_seed, seed_bytes,
};

const SERVER: &str = "198.51.100.1:3478";
const OTHER: &str = "198.51.100.2:3479";

enum Node {
    Server(Box<TurnServer>),
    Client(Box<Discovery>, Pool),
}

impl Peer for Node {
    type Event = Event;

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        match self {
            Node::Server(server) => server.handle_datagram(now, datagram),
            Node::Client(discovery, _) => {
                discovery.handle_packet(datagram.source, &datagram.contents);
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self {
            Node::Server(server) => server.handle_timeout(now),
            Node::Client(discovery, _) => discovery.handle_timeout(now),
        }
    }

    fn poll(&mut self, now: Instant) -> Output<Event> {
        match self {
            Node::Server(server) => server.poll(now),
            Node::Client(discovery, pool) => match discovery.poll_transmit(now, pool) {
                Some(transmit) => Output::Transmit(transmit),
                None => Output::Timeout(discovery.next_timeout()),
            },
        }
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A server, with or without a second address, and a client behind `nat`, or in the open; what the client finds.
fn report(seed: u64, nat: Option<Nat>, has_other: bool, link: &Link) -> (Report, Duration) {
    let mut sim: Sim<Node> = Sim::new(seed);
    let server = TurnServer::new(seed, &[3478, 3479], |config| {
        config.relay_v4 = Some(address(SERVER).ip());
        config.alternates = has_other.then(|| (address(SERVER), address(OTHER)));
    });
    let server = sim.add_host(Node::Server(Box::new(server)), "198.51.100.1");
    sim.network.add_interface(server, Realm::PUBLIC, address(OTHER).ip());
    let client = |local| {
        let rng = Rng::new(seed_bytes(seed, 1), Stream::Ice);
        let config = Config::new(address(SERVER), SocketAddr::new(ip(local), 5000));
        Node::Client(Box::new(Discovery::new(config, rng)), Pool::new())
    };
    let client = match nat {
        None => sim.add_host(client("192.0.2.9"), "192.0.2.9"),
        Some(nat) => {
            let (_, realm) = sim.network.add_nat(Realm::PUBLIC, nat);
            sim.add_host_in(realm, client("10.0.0.2"), "10.0.0.2")
        }
    };
    *sim.network.up(client) = link.clone();
    let found = |sim: &Sim<Node>, client: HostId| match sim.peer(client) {
        Node::Client(discovery, _) => discovery.report(),
        Node::Server(_) => None,
    };
    let took = sim.must("a report", Duration::from_secs(60), |sim| found(sim, client).is_some());
    (found(&sim, client).unwrap(), took)
}

fn near() -> Link {
    Link::with_delay(Duration::from_millis(20))
}

#[test]
fn every_mapping_and_filter_is_told_from_every_other() {
    use Behaviour::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    let all = [EndpointIndependent, AddressDependent, AddressAndPortDependent];
    for mapping in all {
        for filtering in all {
            for hairpin in [false, true] {
                let nat = Nat { mapping, filtering, hairpin, ..Nat::port_restricted(ip("203.0.113.1")) };
                let (report, _) = report(1, Some(nat), true, &near());
                assert!(report.is_translated);
                assert_eq!(report.mapped.map(|mapped| mapped.ip()), Some(ip("203.0.113.1")));
                let named = |behaviour| match behaviour {
                    EndpointIndependent => Some(Behavior::EndpointIndependent),
                    AddressDependent => Some(Behavior::AddressDependent),
                    AddressAndPortDependent => Some(Behavior::AddressAndPortDependent),
                };
                let found = (report.mapping, report.filtering);
                assert_eq!(found, (named(mapping), named(filtering)), "{mapping:?} {filtering:?}");
                // What comes back has the mapped address of a mapping of its own as its source, when mappings
                // depend on where they lead; a filter lets it in only when it knows that one.
                if mapping == EndpointIndependent {
                    assert_eq!(report.hairpin, Some(hairpin), "{mapping:?} {filtering:?}");
                }
            }
        }
    }
}

#[test]
fn the_kinds_have_their_names() {
    let public = ip("203.0.113.1");
    for (nat, kind) in [
        (None, NatKind::Open),
        (Some(Nat::full_cone(public)), NatKind::FullCone),
        (Some(Nat::address_restricted(public)), NatKind::AddressRestricted),
        (Some(Nat::port_restricted(public)), NatKind::PortRestricted),
        (Some(Nat::symmetric(public)), NatKind::Symmetric),
        (Some(Nat::only_tcp_443(public)), NatKind::Blocked),
    ] {
        let (report, took) = report(2, nat, true, &near());
        assert_eq!(report.kind(), kind, "{report:?}");
        // Silence is heard out twice, and once for the hairpin: 3.5 s of sending, and 2 s behind it, each.
        assert!(took < Duration::from_secs(18), "{kind}: {took:?}");
    }
}

#[test]
fn a_server_with_one_address_tells_the_mapped_one_and_nothing_else() {
    let (report, _) = report(3, Some(Nat::port_restricted(ip("203.0.113.1"))), false, &near());
    assert_eq!(report.mapped.map(|mapped| mapped.ip()), Some(ip("203.0.113.1")));
    assert_eq!((report.mapping, report.filtering, report.kind()), (None, None, NatKind::Unknown));
}

#[test]
fn lost_packets_are_sent_again() {
    for_each_seed(20, |seed| {
        // A tenth of the packets: four sendings there and back fail once in two thousand tests.
        let link = Link { loss: Loss::Independent(0.05), ..near() };
        let (report, _) = report(seed, Some(Nat::full_cone(ip("203.0.113.1"))), true, &link);
        assert_eq!(report.kind(), NatKind::FullCone, "seed {seed}: {report:?}");
    });
}
