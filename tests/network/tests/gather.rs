//! The `gather` example against servers that run as processes: it prints the candidates that they yield, and what the
//! NAT is.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use network::namespace::{Internet, NatKind};
use network::process::{Process, example};
use network::server::{Kind, Server};
use sansrtc::Candidate;
use sansrtc::types::candidate::CandidateKind;

/// What it printed: candidates, and other lines.
fn parse(output: &str) -> (Vec<Candidate>, Vec<&str>) {
    let (candidates, rest): (Vec<&str>, Vec<&str>) =
        output.lines().partition(|line| line.starts_with("candidate:"));
    (candidates.iter().map(|line| line.parse().expect("it prints candidates")).collect(), rest)
}

/// The addresses of the candidates of a kind.
fn of(candidates: &[Candidate], kind: CandidateKind) -> Vec<SocketAddr> {
    let found = candidates.iter().filter(|candidate| candidate.kind() == kind);
    found.map(|candidate| candidate.socket_address().expect("it is no name")).collect()
}

#[test]
fn every_way_to_a_server_yields_its_candidate() {
    for kind in [Kind::Coturn, Kind::Own] {
        let server = Server::at_two_addresses(kind);
        let mut command = Command::new(example("gather"));
        command.args(["--bind", "127.0.0.1", "--stun", &server.plain.to_string()]);
        for url in [
            format!("turn:{}?transport=udp", server.plain),
            format!("turn:{}?transport=tcp", server.plain),
            format!("turns:{}?transport=tcp", server.tls),
        ] {
            command.args(["--turn", &url]);
        }
        command.args(["--turn-user", "alice", "--turn-pass", "secret", "--ca", &server.ca_file()]);
        let (succeeded, output) = Process::start(&mut command).finish();
        assert!(succeeded, "{kind:?}:\n{output}");
        let (candidates, rest) = parse(&output);
        let local = IpAddr::from([127, 0, 0, 1]);
        // A reflexive address that is the base's own is redundant (RFC 8445 §5.1.3).
        assert_eq!(of(&candidates, CandidateKind::ServerReflexive), [], "{kind:?}:\n{output}");
        assert_eq!(of(&candidates, CandidateKind::Host).len(), 1, "{kind:?}:\n{output}");
        let mut relayed = of(&candidates, CandidateKind::Relayed);
        assert!(relayed.iter().all(|address| address.ip() == local), "{kind:?}:\n{output}");
        relayed.dedup();
        assert_eq!(relayed.len(), 3, "{kind:?}:\n{output}");
        // RFC 8445 §5.1.2.2: relays over UDP go before those over TCP, and those before TLS.
        let mut priorities: Vec<_> = candidates
            .iter()
            .filter(|candidate| candidate.kind() == CandidateKind::Relayed)
            .map(|candidate| candidate.priority() >> 24)
            .collect();
        priorities.sort_unstable();
        assert_eq!(priorities, [0, 1, 2], "{kind:?}:\n{output}");
        let [nat] = rest[..] else { panic!("one line besides, not\n{output}") };
        assert!(nat.starts_with("127.0.0.1: no NAT, seen as 127.0.0.1:"), "{kind:?}: {nat}");
        assert!(nat.ends_with("filtering endpoint-independent"), "{kind:?}: {nat}");
    }
}

#[test]
fn a_server_with_one_address_tells_less() {
    let server = Server::own(&[]);
    let mut command = Command::new(example("gather"));
    command.args(["--bind", "127.0.0.1", "--stun", &server.plain.to_string()]);
    let (succeeded, output) = Process::start(&mut command).finish();
    assert!(succeeded, "{output}");
    let nat = parse(&output).1.join("\n");
    assert!(nat.starts_with("127.0.0.1: no NAT, seen as 127.0.0.1:"), "{nat}");
    assert!(nat.ends_with("filtering unknown (the server has no second address)"), "{nat}");
}

#[test]
fn why_a_server_yields_nothing_is_said() {
    let server = Server::own(&[]);
    let gone = network::server::free_port([127, 0, 0, 1].into());
    let mut command = Command::new(example("gather"));
    command.args([
        "--bind",
        "127.0.0.1",
        "--no-nat",
        "--turn",
        &format!("turn:{}?transport=udp", server.plain),
    ]);
    command.args(["--turn", &format!("turn:127.0.0.1:{gone}?transport=tcp")]);
    command.args(["--turn-user", "alice", "--turn-pass", "wrong"]);
    let (succeeded, output) = Process::start(&mut command).finish();
    assert!(!succeeded, "{output}");
    let (candidates, rest) = parse(&output);
    assert_eq!(of(&candidates, CandidateKind::Relayed), []);
    let told = |start: &str| rest.iter().any(|line| line.starts_with(start) && line.contains(": "));
    assert!(told(&format!("turn:127.0.0.1:{}", server.plain.port())), "{output}");
    assert!(told(&format!("turn:127.0.0.1:{gone}")), "{output}");
}

#[test]
fn the_nat_before_a_host_is_named() {
    let mut internet = Internet::new();
    let public = internet.public(1);
    public.add_address([203, 0, 113, 2].into());
    let mut command = public.command(example("turn"));
    command.args(["--bind", "203.0.113.1", "--port", "3478", "--alternate", "203.0.113.2:3479"]);
    let server = Process::start(command.args(["--user", "alice:secret"]));
    server.wait_for("word of being ready", |line| (line == "ready").then_some(()));
    let kinds = [
        (10, NatKind::FullCone, "full cone"),
        (11, NatKind::AddressRestricted, "address-restricted cone"),
        (12, NatKind::PortRestricted, "port-restricted cone"),
        (13, NatKind::Symmetric, "symmetric"),
    ];
    // All at once: what takes time is silence.
    let asked = kinds.map(|(number, kind, name)| {
        let host = internet.behind(kind, number);
        let mut command = host.command(example("gather"));
        command.args(["--bind", &host.ip.to_string(), "--stun", "203.0.113.1:3478"]);
        command.args(["--turn", "turn:203.0.113.1:3478", "--turn-user", "alice", "--turn-pass", "secret"]);
        (number, name, Process::start(&mut command), host)
    });
    for (number, name, gather, host) in asked {
        let (succeeded, output) = gather.finish();
        assert!(succeeded, "{name}:\n{output}");
        let (candidates, rest) = parse(&output);
        let outside = IpAddr::from([203, 0, 113, number]);
        let kinds = [CandidateKind::Host, CandidateKind::ServerReflexive, CandidateKind::Relayed];
        let [hosts, reflexive, relayed] = kinds.map(|kind| of(&candidates, kind));
        assert_eq!(hosts.iter().map(SocketAddr::ip).collect::<Vec<_>>(), [IpAddr::from(host.ip)], "{name}");
        // Seen by STUN and by TURN; a symmetric NAT keeps the mapping, since both are one address.
        assert!(
            !reflexive.is_empty() && reflexive.iter().all(|seen| seen.ip() == outside),
            "{name}:\n{output}"
        );
        assert_eq!(
            relayed.iter().map(SocketAddr::ip).collect::<Vec<_>>(),
            [IpAddr::from([203, 0, 113, 1])],
            "{name}:\n{output}"
        );
        let line = format!("{}: NAT: {name}, seen as {outside}:", host.ip);
        assert!(rest.iter().any(|said| said.starts_with(&line)), "{name}:\n{output}");
    }
}
