//! The simulator itself: does each impairment do what it says, and does a run repeat?

mod sim;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use sansrtc::packet::{Datagram, Ecn, Protocol, Transmit};
use sim::{Behaviour, EcnPath, HostId, Link, Loss, Matrix, Nat, NatId, Output, Peer, Realm, Sim, base};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Sends what it is told to, and reports what arrives.
#[derive(Default)]
struct Probe {
    outbox: VecDeque<Transmit>,
    inbox: VecDeque<Datagram>,
    wake: Option<Instant>,
    timeouts: u64,
}

impl Probe {
    fn send(&mut self, from: SocketAddr, to: SocketAddr, contents: &[u8]) {
        self.outbox.push_back(transmit(from, to, contents));
    }
}

fn transmit(source: SocketAddr, destination: SocketAddr, contents: &[u8]) -> Transmit {
    Transmit {
        contents: BytesMut::from(contents).into(),
        destination,
        source,
        protocol: Protocol::Udp,
        ecn: Ecn::NotEct,
        segment_size: None,
    }
}

impl Peer for Probe {
    type Event = Datagram;

    fn handle_datagram(&mut self, _: Instant, datagram: Datagram) {
        self.inbox.push_back(datagram);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.timeouts += 1;
        self.wake = self.wake.filter(|&wake| wake > now);
    }

    fn poll(&mut self, _: Instant) -> Output<Datagram> {
        if let Some(transmit) = self.outbox.pop_front() {
            return Output::Transmit(transmit);
        }
        match self.inbox.pop_front() {
            Some(datagram) => Output::Event(datagram),
            None => Output::Timeout(self.wake),
        }
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn a1() -> SocketAddr {
    address("10.0.0.1:1000")
}

fn b1() -> SocketAddr {
    address("10.0.0.2:2000")
}

fn pair(seed: u64, link: &Link) -> (Sim<Probe>, HostId, HostId) {
    Sim::pair(seed, link, Probe::default(), Probe::default())
}

/// Sends `count` numbered datagrams, one per `gap`, and gives what arrives: when, and which number.
fn stream(sim: &mut Sim<Probe>, count: u32, gap: Duration, from: HostId, to: HostId) -> Vec<(Duration, u32)> {
    for number in 0..count {
        sim.with(from, |probe, _| {
            let mut contents = [0xaa; 100];
            contents[..4].copy_from_slice(&number.to_be_bytes());
            probe.send(a1(), b1(), &contents);
        });
        sim.run_for(gap);
    }
    sim.run_for(10 * SECOND);
    let number = |datagram: &Datagram| u32::from_be_bytes(datagram.contents[..4].try_into().unwrap());
    sim.events(to).map(|(at, datagram)| (at, number(&datagram))).collect()
}

#[test]
fn a_perfect_link_delivers_at_once_and_a_delay_is_exact() {
    for delay in [Duration::ZERO, 25 * MS] {
        let (mut sim, a, b) = pair(1, &Link::with_delay(delay));
        sim.with(a, |probe, _| probe.send(a1(), b1(), b"hello"));
        sim.run_for(SECOND);
        let (at, datagram) = sim.event(b).expect("it arrives");
        assert_eq!(at, delay);
        assert_eq!((datagram.source, datagram.destination), (a1(), b1()));
        assert_eq!(&datagram.contents[..], b"hello");
        assert!(sim.event(b).is_none());
        assert_eq!(sim.elapsed(), SECOND);
    }
}

#[test]
fn a_segmented_transmit_arrives_as_its_segments() {
    let (mut sim, a, b) = pair(1, &Link::default());
    let run = Transmit { segment_size: Some(2), ..transmit(a1(), b1(), b"aabbc") };
    sim.with(a, |probe, _| probe.outbox.push_back(run));
    sim.run_for(MS);
    let arrived: Vec<_> = sim.events(b).map(|(_, datagram)| datagram.contents.to_vec()).collect();
    assert_eq!(arrived, [b"aa".to_vec(), b"bb".to_vec(), b"c".to_vec()]);
}

#[test]
fn loss_is_as_large_as_asked_for() {
    for loss in [Loss::Independent(0.2), Loss::bursts(0.2, 5.0)] {
        let (mut sim, a, b) = pair(7, &Link { loss, ..Link::default() });
        let arrived = stream(&mut sim, 10_000, MS, a, b).len();
        assert!((7_600..8_400).contains(&arrived), "{loss:?}: {arrived} of 10,000");
    }
}

#[test]
fn bursts_are_longer_than_chance_makes_them() {
    let mean_burst = |loss| {
        let (mut sim, a, b) = pair(3, &Link { loss, ..Link::default() });
        let arrived = stream(&mut sim, 10_000, MS, a, b);
        let gaps = arrived.windows(2).filter(|pair| pair[1].1 != pair[0].1 + 1).count();
        (10_000 - arrived.len()) as f64 / gaps as f64
    };
    let (chance, bursts) = (mean_burst(Loss::Independent(0.1)), mean_burst(Loss::bursts(0.1, 8.0)));
    assert!(chance < 1.3, "{chance}");
    assert!((6.0..10.0).contains(&bursts), "{bursts}");
}

#[test]
fn jitter_varies_the_delay_and_keeps_the_order() {
    let (mut sim, a, b) = pair(1, &Link { delay: 10 * MS, jitter: 20 * MS, ..Link::default() });
    let arrived = stream(&mut sim, 1000, MS, a, b);
    assert_eq!(arrived.len(), 1000);
    assert!(arrived.is_sorted_by_key(|&(_, number)| number));
    let delays: Vec<_> = arrived.iter().map(|&(at, number)| at - number * MS).collect();
    assert!(delays.iter().all(|delay| (10 * MS..=30 * MS).contains(delay)));
    assert!(delays.iter().max().unwrap().saturating_sub(*delays.iter().min().unwrap()) > 10 * MS);
}

#[test]
fn reordering_lets_later_datagrams_overtake() {
    let link = Link { delay: 10 * MS, reorder: 0.1, reorder_by: 20 * MS, ..Link::default() };
    let (mut sim, a, b) = pair(1, &link);
    let arrived = stream(&mut sim, 1000, MS, a, b);
    assert_eq!(arrived.len(), 1000);
    let overtaken = arrived.windows(2).filter(|pair| pair[1].1 < pair[0].1).count();
    assert!((50..150).contains(&overtaken), "{overtaken}");
}

#[test]
fn duplicates_arrive_twice() {
    let (mut sim, a, b) = pair(1, &Link { duplicate: 0.25, ..Link::default() });
    let arrived = stream(&mut sim, 1000, MS, a, b).len();
    assert!((1200..1300).contains(&arrived), "{arrived}");
    assert_eq!(sim.network.link_stats(a).0.duplicated, arrived as u64 - 1000);
}

#[test]
fn every_damaged_datagram_differs() {
    let (mut sim, a, b) = pair(1, &Link { corrupt: 1.0, ..Link::default() });
    for len in [1, 2, 3, 100] {
        for _ in 0..500 {
            sim.with(a, |probe, _| probe.send(a1(), b1(), &vec![0x55; len]));
        }
        sim.run_for(MS);
        assert!(sim.events(b).all(|(_, datagram)| datagram.contents != vec![0x55; len]));
    }
}

#[test]
fn a_rate_spaces_datagrams_and_a_full_queue_drops() {
    // 128-byte packets at 1.024 Mbit/s: one per millisecond; the queue keeps ten.
    let link = Link { rate: Some(1_024_000), queue: 1280, ..Link::default() };
    let (mut sim, a, b) = pair(1, &link);
    let arrived = stream(&mut sim, 30, Duration::ZERO, a, b);
    let times: Vec<_> = arrived.iter().map(|&(at, _)| at).collect();
    assert_eq!(times, (1..=10).map(|n| n * MS).collect::<Vec<_>>());
    assert_eq!(sim.network.link_stats(a).0.overflowed, 20);
}

#[test]
fn a_packet_above_the_mtu_vanishes() {
    let (mut sim, a, b) = pair(1, &Link { mtu: 1228, ..Link::default() });
    sim.with(a, |probe, _| {
        probe.send(a1(), b1(), &[1; 1200]);
        probe.send(a1(), b1(), &[2; 1201]);
    });
    sim.run_for(MS);
    assert_eq!(sim.events(b).count(), 1);
    assert_eq!(sim.network.link_stats(a).0.too_large, 1);
}

#[test]
fn a_queue_above_its_threshold_marks_ecn_capable_datagrams() {
    let link = Link { rate: Some(1_024_000), ecn: EcnPath::MarkAbove(400), ..Link::default() };
    let (mut sim, a, b) = pair(1, &link);
    for ecn in [Ecn::Ect0, Ecn::NotEct] {
        sim.with(a, |probe, _| {
            probe.outbox.extend((0..10).map(|_| Transmit { ecn, ..transmit(a1(), b1(), &[0; 100]) }));
        });
        sim.run_for(SECOND);
        let marked = sim.events(b).filter(|(_, datagram)| datagram.ecn == Ecn::Ce).count();
        assert_eq!(marked, if ecn == Ecn::Ect0 { 6 } else { 0 });
    }
}

#[test]
fn outages_lose_and_holds_delay() {
    let (mut sim, a, b) = pair(1, &Link::default());
    sim.network.after(100 * MS, move |network| network.outage(a, 100 * MS));
    let arrived = stream(&mut sim, 300, MS, a, b);
    assert_eq!(arrived.len(), 200, "one hundred were lost");

    let (mut sim, a, b) = pair(1, &Link::default());
    sim.network.hold(a, 100 * MS);
    let arrived = stream(&mut sim, 300, MS, a, b);
    assert_eq!(arrived.len(), 300, "none was lost");
    assert_eq!(arrived[0], (100 * MS, 0));
    assert_eq!(arrived[299].0, 299 * MS);
}

#[test]
fn a_frozen_host_reads_its_socket_buffer_when_it_wakes() {
    let (mut sim, a, b) = pair(1, &Link::default());
    sim.with(b, |probe, now| probe.wake = Some(now + 50 * MS));
    sim.network.freeze(b, SECOND);
    let woken_early = sim.peer(b).timeouts;
    sim.with(a, |probe, _| (0..300).for_each(|_| probe.send(a1(), b1(), &[0; 1000])));
    sim.run_for(500 * MS);
    assert_eq!(sim.peer(b).timeouts, woken_early);
    assert!(sim.event(b).is_none());
    sim.run_for(SECOND);
    assert_eq!(sim.peer(b).timeouts, woken_early + 1);
    let times: Vec<_> = sim.events(b).map(|(at, _)| at).collect();
    assert_eq!(times, vec![SECOND; 212]);
    assert_eq!(sim.network.stats().socket_overflows, 88);
}

#[test]
fn ipv6_has_addresses_of_its_own() {
    let mut sim = Sim::new(1);
    let a = sim.add_host(Probe::default(), "2001:db8::1");
    let b = sim.add_host(Probe::default(), "2001:db8::2");
    let (from, to) = (address("[2001:db8::1]:1"), address("[2001:db8::2]:2"));
    sim.with(a, |probe, _| probe.send(from, to, b"six"));
    sim.with(a, |probe, _| probe.send(from, address("[2001:db8::3]:2"), b"nobody"));
    sim.run_for(MS);
    assert_eq!(sim.events(b).count(), 1);
    assert_eq!(sim.network.stats().unroutable, 1);
}

// ---- NATs ---------------------------------------------------------------------------------------------------

/// A host behind a NAT and two servers outside.
struct Home {
    sim: Sim<Probe>,
    inside: HostId,
    servers: [HostId; 2],
    nat: NatId,
    realm: Realm,
}

fn home(nat: Nat) -> Home {
    let mut sim = Sim::new(1);
    let (nat, realm) = sim.network.add_nat(Realm::PUBLIC, nat);
    let inside = sim.add_host_in(realm, Probe::default(), "192.168.1.2");
    let servers = ["198.51.100.1", "198.51.100.2"].map(|ip| sim.add_host(Probe::default(), ip));
    Home { sim, inside, servers, nat, realm }
}

fn inner() -> SocketAddr {
    address("192.168.1.2:5000")
}

const SERVERS: [&str; 2] = ["198.51.100.1:3478", "198.51.100.2:3478"];

impl Home {
    /// Sends from inside to a server; the source that the server sees.
    fn out(&mut self, to: &str) -> SocketAddr {
        let server = self.servers[usize::from(to.starts_with("198.51.100.2"))];
        self.sim.with(self.inside, |probe, _| probe.send(inner(), address(to), b"out"));
        self.sim.run_for(MS);
        self.sim.event(server).expect("outbound always passes").1.source
    }

    /// Whether a datagram from outside to `to` gets in.
    fn lets_in(&mut self, from: &str, to: SocketAddr) -> bool {
        self.sim.network.inject(address(from), to, b"in");
        self.sim.run_for(MS);
        self.sim.event(self.inside).is_some_and(|(_, datagram)| datagram.destination == inner())
    }
}

fn public() -> std::net::IpAddr {
    "203.0.113.1".parse().unwrap()
}

#[test]
fn mapping_behaviours_are_those_of_rfc_4787() {
    use Behaviour::*;
    let other_port = "198.51.100.1:9";
    for (mapping, same_for_port, same_for_host) in [
        (EndpointIndependent, true, true),
        (AddressDependent, true, false),
        (AddressAndPortDependent, false, false),
    ] {
        let mut home = home(Nat { mapping, ..Nat::full_cone(public()) });
        let first = home.out(SERVERS[0]);
        assert_eq!(first.ip(), public());
        assert_eq!(home.out(SERVERS[0]), first);
        assert_eq!(home.out(other_port) == first, same_for_port, "{mapping:?}");
        assert_eq!(home.out(SERVERS[1]) == first, same_for_host, "{mapping:?}");
        let (host, server) = (home.inside, address(SERVERS[0]));
        assert_eq!(home.sim.network.reflexive(host, inner(), server), first);
    }
}

#[test]
fn filtering_behaviours_are_those_of_rfc_4787() {
    use Behaviour::*;
    for (filtering, other_port, other_host) in [
        (EndpointIndependent, true, true),
        (AddressDependent, true, false),
        (AddressAndPortDependent, false, false),
    ] {
        let mut home = home(Nat { filtering, ..Nat::full_cone(public()) });
        let outer = home.out(SERVERS[0]);
        assert!(home.lets_in(SERVERS[0], outer));
        assert_eq!(home.lets_in("198.51.100.1:9", outer), other_port, "{filtering:?}");
        assert_eq!(home.lets_in(SERVERS[1], outer), other_host, "{filtering:?}");
        assert!(!home.lets_in(SERVERS[0], SocketAddr::new(public(), 1)), "no mapping, no way in");
    }
}

#[test]
fn mappings_expire_and_rebinding_moves_the_port() {
    let mut home = home(Nat::full_cone(public()));
    let first = home.out(SERVERS[0]);
    home.sim.run_for(121 * SECOND);
    assert!(!home.lets_in(SERVERS[0], first));
    let second = home.out(SERVERS[0]);
    assert_ne!(first, second);
    let nat = home.nat;
    home.sim.network.rebind(nat);
    assert!(!home.lets_in(SERVERS[0], second));
    assert_ne!(home.out(SERVERS[0]), second);
}

#[test]
fn hairpins_pass_only_where_they_are_on() {
    for hairpin in [true, false] {
        let mut home = home(Nat { hairpin, ..Nat::full_cone(public()) });
        let outer = home.out(SERVERS[0]);
        let (realm, neighbour) = (home.realm, address("192.168.1.3:7"));
        let other = home.sim.add_host_in(realm, Probe::default(), "192.168.1.3");
        home.sim.with(other, |probe, _| probe.send(neighbour, outer, b"hairpin"));
        home.sim.run_for(MS);
        let inside = home.inside;
        let arrived = home.sim.event(inside).map(|(_, datagram)| datagram.source.ip());
        assert_eq!(arrived, hairpin.then(public));
        // Neighbours always reach each other directly.
        home.sim.with(other, |probe, _| probe.send(neighbour, inner(), b"direct"));
        home.sim.run_for(MS);
        assert_eq!(home.sim.event(inside).expect("it arrives").1.source, neighbour);
    }
}

#[test]
fn nats_nest() {
    let mut sim = Sim::new(1);
    let carrier = Nat::full_cone("203.0.113.1".parse().unwrap());
    let (_, carrier) = sim.network.add_nat(Realm::PUBLIC, carrier);
    let (_, house) = sim.network.add_nat(carrier, Nat::full_cone("100.64.0.1".parse().unwrap()));
    let inside = sim.add_host_in(house, Probe::default(), "192.168.1.2");
    let server = sim.add_host(Probe::default(), "198.51.100.1");
    sim.with(inside, |probe, _| probe.send(inner(), address(SERVERS[0]), b"out"));
    sim.run_for(MS);
    let seen = sim.event(server).expect("it passes both").1.source;
    assert_eq!(seen.ip(), public());
    sim.with(server, |probe, _| probe.send(address(SERVERS[0]), seen, b"back"));
    sim.run_for(MS);
    assert_eq!(sim.event(inside).expect("and back").1.destination, inner());
}

// ---- Repetition and guards ----------------------------------------------------------------------------------

#[test]
fn one_seed_gives_one_digest() {
    let run = |seed| {
        let link = Matrix::HARSH.cell(seed);
        let link = Link { loss: Loss::Independent(0.1), jitter: 5 * MS, reorder: 0.3, ..link };
        let (mut sim, a, b) = pair(seed, &link);
        let arrived = stream(&mut sim, 200, MS, a, b);
        (sim.network.digest(), arrived)
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5).1, run(6).1);
}

#[test]
fn the_digest_sees_bytes_times_and_addresses() {
    let run = |at: Duration, to: SocketAddr, contents: &[u8]| {
        let (mut sim, a, _) = pair(1, &Link::default());
        sim.run_for(at);
        sim.with(a, |probe, _| probe.send(a1(), to, contents));
        sim.network.digest()
    };
    let plain = run(MS, b1(), b"x");
    assert_eq!(plain, run(MS, b1(), b"x"));
    assert_ne!(plain, run(MS, b1(), b"y"));
    assert_ne!(plain, run(2 * MS, b1(), b"x"));
    assert_ne!(plain, run(MS, address("10.0.0.2:2001"), b"x"));
}

#[test]
fn the_matrix_walks_through_all_its_cells() {
    let cells = Matrix::HARSH.cells();
    let distinct: std::collections::BTreeSet<_> =
        (0..cells).map(|number| format!("{:?}", Matrix::HARSH.cell(number))).collect();
    assert_eq!(distinct.len() as u64, cells);
    let few: Vec<_> = (0..30).map(|number| Matrix::HARSH.cell(number)).collect();
    for loss in Matrix::HARSH.loss {
        assert!(few.iter().any(|link| link.loss == *loss), "{loss:?} is not among the first 30");
    }
    for &delay in Matrix::HARSH.delay {
        assert!(few.iter().any(|link| link.delay == Duration::from_millis(delay)));
    }
}

/// What a broken machine does.
enum Broken {
    /// Its timeout is always due.
    AlwaysDue,
    /// It gives output without end.
    Endless,
    /// Its timeout moves by a nanosecond at a time.
    Creeping,
}

impl Peer for Broken {
    type Event = ();
    fn handle_datagram(&mut self, _: Instant, _: Datagram) {}
    fn handle_timeout(&mut self, _: Instant) {}
    fn poll(&mut self, now: Instant) -> Output<()> {
        match self {
            Broken::AlwaysDue => Output::Timeout(Some(now)),
            Broken::Endless => Output::Event(()),
            Broken::Creeping => Output::Timeout(Some(now + Duration::from_nanos(1))),
        }
    }
}

fn spin(broken: Broken) {
    let mut sim = Sim::new(1);
    sim.add_host(broken, "10.0.0.1");
    sim.run_for(SECOND);
}

#[test]
#[should_panic(expected = "due again as soon as it was handled")]
fn a_timeout_that_is_always_due_fails_the_run() {
    spin(Broken::AlwaysDue);
}

#[test]
#[should_panic(expected = "outputs after one input")]
fn output_without_end_fails_the_run() {
    spin(Broken::Endless);
}

#[test]
#[should_panic(expected = "timeouts within one millisecond")]
fn a_creeping_timeout_fails_the_run() {
    spin(Broken::Creeping);
}

#[test]
#[should_panic(expected = "none of its addresses")]
fn a_datagram_from_a_foreign_address_fails_the_run() {
    let (mut sim, a, _) = pair(1, &Link::default());
    sim.with(a, |probe, _| probe.send(address("10.9.9.9:1"), b1(), b"x"));
}

#[test]
fn time_starts_at_the_base_and_a_dry_world_ends_early() {
    let (mut sim, ..) = pair(1, &Link::default());
    assert_eq!(sim.now(), base());
    assert_eq!(sim.run_until(SECOND, |_| false), None);
}
