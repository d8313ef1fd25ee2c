//! Our TURN client against servers that run as processes on loopback: Debian's coturn, and our own example.

use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use network::call::{Role, Side, call, line};
use network::client::Turn;
use network::process::{Process, example};
use network::server::{Kind, Server, free_port};
use sansrtc::packet::Protocol;
use sansrtc::session::gather::{IceServer, IceTransportPolicy};
use sansrtc::turn::server::time_limited;
use sansrtc::turn::{Credentials, Event, Failure};
use sansrtc::types::candidate::CandidateKind;

/// Every way that the two servers are spoken to.
const WAYS: [(Kind, Protocol); 6] = [
    (Kind::Coturn, Protocol::Udp),
    (Kind::Coturn, Protocol::Tcp),
    (Kind::Coturn, Protocol::Tls),
    (Kind::Own, Protocol::Udp),
    (Kind::Own, Protocol::Tcp),
    (Kind::Own, Protocol::Tls),
];

/// A peer without any protocol.
fn peer() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(network::PATIENCE)).unwrap();
    socket
}

#[track_caller]
fn heard(socket: &UdpSocket) -> (std::net::SocketAddr, Vec<u8>) {
    let mut buffer = [0; 2000];
    let (length, source) = socket.recv_from(&mut buffer).expect("the peer hears something");
    (source, buffer[..length].to_vec())
}

#[test]
fn data_passes_both_ways_before_and_behind_a_channel() {
    for (kind, protocol) in WAYS {
        let server = Server::of(kind, &[]);
        let mut turn = Turn::new(&server, protocol);
        let relayed = turn.allocate().v4.expect("an IPv4 address");
        let peer = peer();
        let address = peer.local_addr().unwrap();
        turn.permit(address.ip());
        assert!(!turn.client.is_bound(address));
        // Lengths of every padding, and one that fills a packet.
        for length in [1, 2, 3, 4, 1200] {
            let data = vec![length as u8; length];
            turn.send(address, &data);
            assert_eq!(heard(&peer), (relayed, data.clone()), "{kind:?} {protocol:?}: an indication");
            peer.send_to(&data, relayed).unwrap();
            assert_eq!(turn.receive(), (address, data), "{kind:?} {protocol:?}: an indication back");
        }
        turn.bind(address);
        for length in [1, 2, 3, 4, 1200] {
            let data = vec![length as u8; length];
            turn.send(address, &data);
            assert_eq!(heard(&peer), (relayed, data.clone()), "{kind:?} {protocol:?}: channel data");
            peer.send_to(&data, relayed).unwrap();
            assert_eq!(turn.receive(), (address, data), "{kind:?} {protocol:?}: channel data back");
        }
        assert_eq!(turn.client.stats().dropped, 0);
    }
}

#[test]
fn two_clients_talk_from_relay_to_relay() {
    for (kind, one, two) in [
        (Kind::Coturn, Protocol::Udp, Protocol::Tls),
        (Kind::Coturn, Protocol::Tcp, Protocol::Udp),
        (Kind::Own, Protocol::Udp, Protocol::Tcp),
        (Kind::Own, Protocol::Tls, Protocol::Udp),
    ] {
        let server = Server::of(kind, &[]);
        let (mut a, mut b) = (Turn::new(&server, one), Turn::new(&server, two));
        let (at_a, at_b) = (a.allocate().v4.unwrap(), b.allocate().v4.unwrap());
        a.bind(at_b);
        b.permit(at_a.ip());
        for round in 0..20u8 {
            a.send(at_b, &[round; 100]);
            assert_eq!(b.receive(), (at_a, vec![round; 100]), "{kind:?}");
            b.send(at_a, &[round; 50]);
            assert_eq!(a.receive(), (at_b, vec![round; 50]), "{kind:?}");
        }
    }
}

#[test]
fn who_is_not_permitted_is_not_let_through() {
    for (kind, protocol) in WAYS {
        let server = Server::of(kind, &[]);
        let mut turn = Turn::new(&server, protocol);
        let relayed = turn.allocate().v4.unwrap();
        // Permissions are by IP address (RFC 8656 §9): the stranger needs another one.
        let stranger = UdpSocket::bind("127.0.0.2:0").unwrap();
        let friend = peer();
        turn.permit(friend.local_addr().unwrap().ip());
        for _ in 0..3 {
            stranger.send_to(b"let me in", relayed).unwrap();
        }
        friend.send_to(b"hello", relayed).unwrap();
        // What was sent first would have come first.
        assert_eq!(turn.receive().1, b"hello", "{kind:?} {protocol:?}");
        assert!(turn.received.is_empty());
    }
}

#[test]
fn an_allocation_lives_on_past_its_first_lifetime() {
    // Nonces and allocations end quickly here: refreshes are refused as stale and repeated.
    for (kind, options) in [
        (Kind::Coturn, &["--stale-nonce=4", "--max-allocate-lifetime=8"][..]),
        (Kind::Own, &["--nonce-lifetime", "4", "--lifetime", "8", "--max-lifetime", "8"]),
    ] {
        let server = Server::of(kind, options);
        let mut turn = Turn::new(&server, Protocol::Udp);
        let relayed = turn.allocate().v4.unwrap();
        let lifetime = turn.event("the allocation", |event| match event {
            Event::Allocated { lifetime, .. } => Some(*lifetime),
            _ => None,
        });
        assert!(lifetime <= Duration::from_secs(8), "{kind:?}: {lifetime:?}");
        let peer = peer();
        let address = peer.local_addr().unwrap();
        turn.bind(address);
        turn.run_for(2 * lifetime + Duration::from_secs(1));
        assert!(
            !turn.events.iter().any(|event| matches!(event, Event::Lost(_))),
            "{kind:?}: {:?}",
            turn.events
        );
        assert_eq!(turn.client.relayed().and_then(|relayed| relayed.v4), Some(relayed), "{kind:?}");
        assert!(turn.client.stats().stale_nonces > 0, "{kind:?}: no nonce was stale");
        turn.send(address, b"still there");
        assert_eq!(heard(&peer), (relayed, b"still there".to_vec()), "{kind:?}");
    }
}

#[test]
fn an_allocation_that_was_left_to_expire_is_made_again() {
    for (kind, options) in [
        (Kind::Coturn, &["--max-allocate-lifetime=3"][..]),
        (Kind::Own, &["--lifetime", "3", "--max-lifetime", "3"]),
    ] {
        let server = Server::of(kind, options);
        let mut turn = Turn::new(&server, Protocol::Udp);
        turn.allocate();
        let peer = peer();
        let address = peer.local_addr().unwrap();
        turn.permit(address.ip());
        // As a laptop that sleeps.
        std::thread::sleep(Duration::from_secs(5));
        turn.event("the loss", |event| matches!(event, Event::Lost(_)).then_some(()));
        let relayed = turn.allocate().v4.unwrap();
        turn.until("the permission", |turn| turn.client.is_permitted(address.ip()).then_some(()));
        turn.send(address, b"again");
        assert_eq!(heard(&peer), (relayed, b"again".to_vec()), "{kind:?}");
    }
}

#[test]
fn a_server_that_comes_back_gets_a_new_allocation() {
    for kind in [Kind::Coturn, Kind::Own] {
        let mut server = Server::of(kind, &[]);
        let mut turn = Turn::new(&server, Protocol::Tcp);
        turn.allocate();
        server.stop();
        turn.event("the loss", |event| matches!(event, Event::Lost(_)).then_some(()));
        server.start();
        turn.allocate();
    }
}

#[test]
fn wrong_credentials_fail_and_changed_ones_work() {
    for (kind, protocol) in WAYS {
        let server = Server::of(kind, &[]);
        for (name, password) in [("alice", "wrong"), ("mallory", "secret")] {
            let mut turn = Turn::with(&server, protocol, Credentials::new(name, password), |_| {});
            let failure = turn.event("the failure", |event| match event {
                Event::Failed(failure) => Some(*failure),
                _ => None,
            });
            assert_eq!(failure, Failure::Credentials, "{kind:?} {protocol:?}: {name}");
        }
        let mut turn = Turn::new(&server, protocol);
        let before = turn.allocate();
        // Another user: the allocation belongs to the first one, so there is a new one.
        turn.client.change_credentials(std::time::Instant::now(), Credentials::new("bob", "other")).unwrap();
        turn.event("the loss", |event| matches!(event, Event::Lost(_)).then_some(()));
        let after = turn.allocate();
        assert_ne!(before.v4, None);
        assert_ne!(after.v4, None);
    }
}

#[test]
fn time_limited_credentials_are_good_until_their_time() {
    for (kind, options) in [
        (Kind::Coturn, &["--use-auth-secret", "--static-auth-secret", "shared"][..]),
        (Kind::Own, &["--secret", "shared"]),
    ] {
        let server = Server::of(kind, options);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let good = time_limited(b"shared", "carol", now + Duration::from_secs(60));
        Turn::with(&server, Protocol::Udp, good, |_| {}).allocate();
        let old = time_limited(b"shared", "carol", now - Duration::from_secs(60));
        let mut turn = Turn::with(&server, Protocol::Udp, old, |_| {});
        turn.event("the failure", |event| matches!(event, Event::Failed(Failure::Credentials)).then_some(()));
    }
}

#[test]
fn an_allocation_is_given_back() {
    for (kind, protocol) in WAYS {
        let options: &[&str] =
            if kind == Kind::Coturn { &["--user-quota", "1"] } else { &["--max-per-user", "1"] };
        let server = Server::of(kind, options);
        for _ in 0..3 {
            // coturn counts a while longer what is gone already; ours does not.
            let start = std::time::Instant::now();
            let mut turn = loop {
                let mut turn = Turn::new(&server, protocol);
                let is_allocated = turn.until("an answer", |turn| {
                    let failed = turn.events.iter().any(|event| matches!(event, Event::Failed(_)));
                    (failed || turn.client.relayed().is_some()).then_some(!failed)
                });
                if is_allocated {
                    break turn;
                }
                assert!(kind == Kind::Coturn && start.elapsed() < network::PATIENCE, "{kind:?} {protocol:?}");
                std::thread::sleep(Duration::from_millis(200));
            };
            let mut second = Turn::new(&server, protocol);
            second.event("the refusal", |event| {
                matches!(event, Event::Failed(Failure::Capacity) | Event::Lost(Failure::Capacity))
                    .then_some(())
            });
            turn.client.close(std::time::Instant::now());
            turn.event("the end", |event| matches!(event, Event::Closed).then_some(()));
        }
    }
}

#[test]
fn whole_connections_meet_through_a_relay_alone() {
    for (kind, protocol) in WAYS {
        let server = Server::of(kind, &[]);
        let port = server.address(protocol).port();
        let url = match protocol {
            Protocol::Tls => format!("turns:localhost:{port}?transport=tcp"),
            Protocol::Tcp => format!("turn:localhost:{port}?transport=tcp"),
            _ => format!("turn:localhost:{port}?transport=udp"),
        };
        let relay = IceServer::new(&url).unwrap().with_addresses([server.address(protocol)]);
        let mut side =
            Side::new("127.0.0.1".parse().unwrap(), vec![relay.with_credentials("alice", "secret")]);
        side.policy = IceTransportPolicy::Relay;
        side.ca.clone_from(&server.ca);
        let (caller, callee) = line();
        let other = side.clone();
        let answering = std::thread::spawn(move || call(Role::Callee, &other, &callee));
        let path = call(Role::Caller, &side, &caller);
        let other_path = answering.join().expect("the callee does not panic");
        for kind in [path.local_kind, path.remote_kind, other_path.local_kind, other_path.remote_kind] {
            assert_eq!(kind, CandidateKind::Relayed, "{protocol:?}: {path:?} {other_path:?}");
        }
    }
}

#[test]
fn our_server_relays_to_nobody_private_unless_told_to() {
    let server = Server::own(&["--user", "carol:third"]);
    let mut turn = Turn::new(&server, Protocol::Udp);
    turn.allocate();
    for refused in ["10.0.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0"] {
        turn.client.permit(std::time::Instant::now(), refused.parse().unwrap()).unwrap();
        let code = turn.event("the refusal", |event| match event {
            Event::NotPermitted { code, .. } => Some(*code),
            _ => None,
        });
        assert_eq!(code, 403, "{refused}");
    }
}

#[test]
fn our_server_issues_credentials_that_work() {
    let mut command = Command::new(example("turn"));
    command.args(["--secret", "shared", "--issue", "dave", "--ttl", "60"]);
    let (succeeded, output) = Process::start(&mut command).finish();
    assert!(succeeded, "{output}");
    let mut lines = output.lines();
    let credentials = Credentials::new(lines.next().unwrap(), lines.next().unwrap());
    let server = Server::own(&["--secret", "shared"]);
    Turn::with(&server, Protocol::Udp, credentials, |_| {}).allocate();
}

#[test]
fn our_server_serves_the_client_of_coturn() {
    let server = Server::own(&["--secret", "shared"]);
    let port = server.plain.port().to_string();
    let echo_port = free_port(server.plain.ip()).to_string();
    let mut echo = Command::new("turnutils_peer");
    let _echo = Process::start(echo.args(["-p", &echo_port, "-L", "127.0.0.1"]));
    // Indications only: its channel numbers are those of RFC 5766, which RFC 8656 §12 cut to 0x4fff; and no ports in
    // pairs, which nobody asks for any more.
    let common = ["-c", "-s", "-n", "20", "-m", "2", "-p", &port];
    for own in [
        &["-u", "alice", "-w", "secret", "-e", "127.0.0.1", "-r", &echo_port][..],
        &["-t", "-u", "alice", "-w", "secret", "-e", "127.0.0.1", "-r", &echo_port],
        &["-u", "alice", "-w", "secret", "-y"],
        &["-W", "shared", "-u", "carol", "-y"],
    ] {
        let mut command = Command::new("timeout");
        command.args(["60", "turnutils_uclient"]).args(common).args(own).arg("127.0.0.1");
        let (succeeded, output) = Process::start(&mut command).finish();
        assert!(succeeded && output.contains("Total lost packets 0 (0.000000%)"), "{own:?}:\n{output}");
    }
}
