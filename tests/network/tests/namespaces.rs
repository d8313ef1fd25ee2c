//! NATs of the Linux kernel, in network namespaces that the cases make: what they are called is what they are, every
//! server is reached through them, and two connections find each other on the best path that there is.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use network::call::{Role, Side, call, disturbed_call, line};
use network::namespace::{Host, Internet, NatKind};
use network::process::{Process, example};
use sansrtc::buffer::Pool;
use sansrtc::rng::{Rng, Stream};
use sansrtc::session::gather::{IceServer, IceTransportPolicy};
use sansrtc::stun::behavior::{self, Config, Discovery, Report};
use sansrtc::types::candidate::CandidateKind;

/// Our TURN server on a public host, at two addresses and two ports, and on TCP 443.
struct Relay {
    host: Host,
    _processes: Vec<Process>,
}

const SERVER: &str = "203.0.113.1:3478";
const OVER_443: &str = "203.0.113.1:443";

impl Relay {
    fn on(internet: &mut Internet) -> Relay {
        let host = internet.public(1);
        host.add_address([203, 0, 113, 2].into());
        let start = |port: &str, more: &[&str]| {
            let mut command = host.command(example("turn"));
            command.args([
                "--bind",
                "203.0.113.1",
                "--port",
                port,
                "--realm",
                "test",
                "--user",
                "alice:secret",
            ]);
            let process = Process::start(command.args(["--allow-peer", "203.0.113.0/24"]).args(more));
            process.wait_for("word of being ready", |line| (line == "ready").then_some(()));
            process
        };
        let plain = start(
            "3478",
            &["--alternate", "203.0.113.2:3479", "--max-per-user", "100", "--ports", "50000-54999"],
        );
        let over_443 = start("443", &["--max-per-user", "100", "--ports", "55000-59999"]);
        Relay { host, _processes: vec![plain, over_443] }
    }
}

/// Waits until the way to the server works: links that were just made may lose what is sent first.
fn wait_for_the_way(ip: IpAddr) {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let start = Instant::now();
    // A Binding request.
    let request = *b"\x00\x01\x00\x00\x21\x12\xa4\x42is-it-there?";
    loop {
        let _ = socket.send_to(&request, SERVER);
        if socket.recv(&mut [0; 600]).is_ok() {
            return;
        }
        assert!(start.elapsed() < network::PATIENCE, "{ip} does not reach the server");
    }
}

/// Asks how the NAT before this thread's network behaves.
fn discover(ip: IpAddr) -> Report {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    let local = socket.local_addr().unwrap();
    // The network is a wire, so that silence shows soon; but the machine may be busy.
    let config = Config {
        rto: Duration::from_millis(200),
        sendings: 4,
        ..Config::new(SERVER.parse().unwrap(), local)
    };
    let mut discovery = Discovery::new(config, Rng::new(rand::random(), Stream::Ice));
    let (mut pool, mut buffer) = (Pool::new(), [0; 1500]);
    loop {
        while let Some(transmit) = discovery.poll_transmit(Instant::now(), &mut pool) {
            // A NAT may refuse what the kernel cannot route.
            let _ = socket.send_to(&transmit.contents, transmit.destination);
        }
        if let Some(report) = discovery.report() {
            return report;
        }
        let wait = discovery.next_timeout().unwrap().saturating_duration_since(Instant::now());
        socket.set_read_timeout(Some(wait.max(Duration::from_millis(1)))).unwrap();
        if let Ok((length, source)) = socket.recv_from(&mut buffer) {
            discovery.handle_packet(source, &buffer[..length]);
        }
        discovery.handle_timeout(Instant::now());
    }
}

#[test]
fn the_nats_of_the_kernel_are_what_they_are_called() {
    let mut internet = Internet::new();
    let relay = Relay::on(&mut internet);
    let open = internet.public(5);
    let discovered = open.run(|| {
        wait_for_the_way([203, 0, 113, 5].into());
        discover([203, 0, 113, 5].into())
    });
    assert_eq!(discovered.kind(), behavior::NatKind::Open);
    let kinds = [
        (10, NatKind::FullCone, behavior::NatKind::FullCone),
        (11, NatKind::AddressRestricted, behavior::NatKind::AddressRestricted),
        (12, NatKind::PortRestricted, behavior::NatKind::PortRestricted),
        (13, NatKind::Symmetric, behavior::NatKind::Symmetric),
        (14, NatKind::OnlyTcp443, behavior::NatKind::Blocked),
    ];
    // All at once: what takes time is silence.
    let asked = kinds.map(|(number, kind, expected)| {
        let host = internet.behind(kind, number);
        let ip = host.ip.into();
        let report = host.spawn(move || {
            if kind != NatKind::OnlyTcp443 {
                wait_for_the_way(ip);
            }
            discover(ip)
        });
        (number, kind, expected, host, report)
    });
    for (number, kind, expected, _host, report) in asked {
        let report = report.join().expect("it comes to an end");
        assert_eq!(report.kind(), expected, "{kind:?}: {report:?}");
        let mapped = report.mapped.map(|mapped| mapped.ip());
        let expected = (kind != NatKind::OnlyTcp443).then_some(IpAddr::from([203, 0, 113, number]));
        assert_eq!(mapped, expected, "{kind:?}");
    }
    drop(relay);
}

#[test]
fn a_relay_is_reached_through_every_nat() {
    use network::client::Turn;
    use sansrtc::packet::Protocol;
    use sansrtc::turn::{Config, Credentials};

    let mut internet = Internet::new();
    let relay = Relay::on(&mut internet);
    // A peer on the public network that echoes.
    let echo = internet.public(5);
    let peer: SocketAddr = "203.0.113.5:7".parse().unwrap();
    let echoing = echo.spawn(move || {
        let socket = UdpSocket::bind(peer).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut buffer = [0; 1500];
        while let Ok((length, source)) = socket.recv_from(&mut buffer) {
            socket.send_to(&buffer[..length], source).unwrap();
            if &buffer[..length] == b"end" {
                return;
            }
        }
    });
    let through = |server: &'static str, protocol: Protocol| {
        move || {
            let config = Config::new(server.parse().unwrap(), protocol, Credentials::new("alice", "secret"));
            let mut turn = Turn::of(config, "");
            let relayed = turn.allocate();
            assert_eq!(relayed.v4.map(|relayed| relayed.ip()), Some(IpAddr::from([203, 0, 113, 1])));
            turn.bind(peer);
            turn.send(peer, b"there and back");
            assert_eq!(turn.receive(), (peer, b"there and back".to_vec()));
            relayed.mapped
        }
    };
    for (number, kind) in [
        (10, NatKind::FullCone),
        (11, NatKind::AddressRestricted),
        (12, NatKind::PortRestricted),
        (13, NatKind::Symmetric),
        (14, NatKind::OnlyTcp443),
    ] {
        let host = internet.behind(kind, number);
        let ways: &[_] = match kind {
            NatKind::OnlyTcp443 => &[(OVER_443, Protocol::Tcp)],
            _ => &[(SERVER, Protocol::Udp), (SERVER, Protocol::Tcp), (OVER_443, Protocol::Tcp)],
        };
        for &(server, protocol) in ways {
            let mapped = host.run(through(server, protocol));
            assert_eq!(
                mapped.map(|mapped| mapped.ip()),
                Some([203, 0, 113, number].into()),
                "{kind:?} {protocol:?}"
            );
        }
    }
    echo.run(move || UdpSocket::bind("203.0.113.5:0").unwrap().send_to(b"end", peer).unwrap());
    echoing.join().unwrap();
    drop(relay);
}

/// What every client is told: STUN, TURN over UDP, and TURN over TCP on the port that offices let pass.
fn servers() -> Vec<IceServer> {
    let server = |url: &str| IceServer::new(url).unwrap().with_credentials("alice", "secret");
    vec![
        server("stun:203.0.113.1:3478"),
        server("turn:203.0.113.1:3478?transport=udp"),
        server("turn:203.0.113.1:443?transport=tcp"),
    ]
}

/// A call between two hosts; what is given back waits for its end, and says how many relays are on its path.
fn relays<F: Fn(&mut Side)>(a: &Host, b: &Host, change: F) -> impl FnOnce() -> usize + use<F> {
    let (caller, callee) = line();
    let mut sides = [a.ip, b.ip].map(|ip| Side::new(ip.into(), servers()));
    sides.iter_mut().for_each(change);
    let [one, other] = sides;
    let calling = a.spawn(move || call(Role::Caller, &one, &caller));
    let answering = b.spawn(move || call(Role::Callee, &other, &callee));
    move || {
        let paths =
            [calling.join().expect("the call succeeds"), answering.join().expect("the call succeeds")];
        paths.iter().filter(|path| path.local_kind == CandidateKind::Relayed).count()
    }
}

#[test]
fn connections_across_nats_of_the_kernel_take_the_best_path() {
    use NatKind::{AddressRestricted, FullCone, OnlyTcp443, PortRestricted, Symmetric};
    let mut internet = Internet::new();
    let relay = Relay::on(&mut internet);
    let kinds = [FullCone, AddressRestricted, PortRestricted, Symmetric, OnlyTcp443];
    let (mut wrong, mut calls) = (Vec::new(), Vec::new());
    let mut number = 10;
    for (index, &a) in kinds.iter().enumerate() {
        for &b in &kinds[index..] {
            let expected = match (a, b) {
                (OnlyTcp443, OnlyTcp443) => 2,
                (_, OnlyTcp443) | (Symmetric | PortRestricted, Symmetric) => 1,
                _ => 0,
            };
            // NATs that nobody has passed yet.
            let (here, there) = (internet.behind(a, number), internet.behind(b, number + 1));
            number += 2;
            // All at once: they meet at the server only.
            let found = relays(&here, &there, |_| {});
            calls.push((a, b, expected, found, [here, there]));
        }
    }
    for (a, b, expected, found, _hosts) in calls {
        let found = found();
        println!("{a:?} to {b:?}: {found} relays");
        if found != expected {
            wrong.push(format!("{a:?} to {b:?}: {found} relays, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    drop(relay);
}

#[test]
fn a_call_survives_a_relay_that_loses_a_tenth() {
    let mut internet = Internet::new();
    let relay = Relay::on(&mut internet);
    // Between the clients and the relay: a forwarder that loses one datagram in ten, each way.
    let _forwarder = relay.host.spawn(|| lossy("203.0.113.1:3500".parse().unwrap(), SERVER.parse().unwrap()));
    let (a, b) = (internet.behind(NatKind::Symmetric, 10), internet.behind(NatKind::Symmetric, 11));
    let found = relays(&a, &b, |side| {
        let server = IceServer::new("turn:203.0.113.1:3500?transport=udp").unwrap();
        side.servers = vec![server.with_credentials("alice", "secret")];
        side.policy = IceTransportPolicy::Relay;
    })();
    assert_eq!(found, 2);
}

#[test]
fn a_nat_that_forgets_its_mappings_in_the_middle_of_a_call_is_survived() {
    use NatKind::{FullCone, PortRestricted};
    let mut internet = Internet::new();
    let relay = Relay::on(&mut internet);
    // The NAT before the caller uses these ports from then on.
    const PORTS: std::ops::RangeInclusive<u16> = 40_000..=40_999;
    // What the callee went over to for the moment it leaves after five seconds, when the next check of the caller comes.
    const SETTLING: Duration = Duration::from_secs(20);
    // Whether the other end lets the new mapping in: if it does, the path is direct in the end.
    let cases = [(None, true), (Some(FullCone), true), (Some(PortRestricted), false)];
    let mut calls = Vec::new();
    for (number, (there, is_let_in)) in (10..).step_by(2).zip(cases) {
        let here = internet.behind(PortRestricted, number);
        let other = match there {
            Some(kind) => internet.behind(kind, number + 1),
            None => internet.public(number + 1),
        };
        let (caller, callee) = line();
        let [one, two] = [here.ip, other.ip].map(|ip| Side::new(ip.into(), servers()));
        let (ask, asked) = channel();
        let (tell, told) = channel();
        let calling = here.spawn(move || {
            disturbed_call(Role::Caller, &one, &caller, SETTLING, || {
                ask.send(()).expect("the case listens");
                told.recv().expect("the NAT is changed");
            })
        });
        let answering = other.spawn(move || call(Role::Callee, &two, &callee));
        calls.push((there, is_let_in, here, other, calling, answering, asked, tell));
    }
    for (_, _, here, _, _, _, asked, tell) in &calls {
        asked.recv().expect("the call is up");
        here.rebind_nat(PORTS);
        tell.send(()).expect("the call waits");
    }
    for (there, is_let_in, here, _other, calling, answering, ..) in calls {
        let path = calling.join().expect("the caller goes on");
        let seen = answering.join().expect("the callee goes on");
        let relays =
            [path.local_kind, seen.local_kind].into_iter().filter(|kind| *kind == CandidateKind::Relayed);
        println!("{there:?}: {path:?}\n{seen:?}");
        if is_let_in {
            assert_eq!(relays.count(), 0, "{there:?}");
            // Where the callee sends to now is what the new mapping looks like, which nobody has signalled.
            let outside = IpAddr::from([203, 0, 113, here.ip.octets()[1]]);
            assert_eq!(
                (seen.remote.ip(), seen.remote_kind),
                (outside, CandidateKind::PeerReflexive),
                "{there:?}"
            );
            assert!(PORTS.contains(&seen.remote.port()), "{there:?}: {}", seen.remote);
        } else {
            assert_eq!(relays.count(), 1, "{there:?}");
        }
    }
    drop(relay);
}

/// Forwards datagrams between clients and a server, and loses every tenth, until the process ends.
fn lossy(at: SocketAddr, server: SocketAddr) {
    let front = UdpSocket::bind(at).unwrap();
    front.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let mut backs: Vec<(SocketAddr, UdpSocket)> = Vec::new();
    let (mut count, mut buffer) = (0u32, [0; 2000]);
    let mut is_lost = || {
        count += 1;
        count.is_multiple_of(10)
    };
    loop {
        if let Ok((length, client)) = front.recv_from(&mut buffer) {
            if !backs.iter().any(|(known, _)| *known == client) {
                let back = UdpSocket::bind((at.ip(), 0)).unwrap();
                back.set_nonblocking(true).unwrap();
                backs.push((client, back));
            }
            let (_, back) = backs.iter().find(|(known, _)| *known == client).unwrap();
            if !is_lost() {
                let _ = back.send_to(&buffer[..length], server);
            }
        }
        for (client, back) in &backs {
            while let Ok((length, _)) = back.recv_from(&mut buffer) {
                if !is_lost() {
                    let _ = front.send_to(&buffer[..length], client);
                }
            }
        }
    }
}
