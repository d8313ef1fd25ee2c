//! Names in place of addresses: resolved, hidden, and bounded.

mod ground;

use ground::{Ground, SECOND, config};
use sansrtc::{Datagram, Event, Input, MdnsConfig, Protocol, RemoteCandidate, RtcConfig};

fn named(hide: bool, ip: &str) -> RtcConfig {
    let sockets = vec![std::net::SocketAddr::new(ip.parse().unwrap(), 5353)];
    RtcConfig { mdns: MdnsConfig { sockets, hide_local: hide }, ..config() }
}

#[test]
fn a_hidden_address_is_told_as_a_name_and_found_by_it() {
    let mut ground = Ground::new();
    let a = ground.add(named(true, "192.0.2.1"), "192.0.2.1", None);
    let b = ground.add(named(true, "192.0.2.2"), "192.0.2.2", None);
    for host in [a, b] {
        let gathered = ground.gathered(host);
        assert_eq!(gathered.len(), 1, "the name is told");
        assert!(gathered[0].is_mdns(), "{}", gathered[0]);
    }
    let offer = ground.hosts[a].rtc.create_offer().unwrap().to_string();
    ground.hosts[a].rtc.rollback().unwrap();
    assert!(offer.contains(".local 5000 typ host") && !offer.contains("192.0.2.1"), "{offer}");
    ground.connect(a, b);
    assert!(ground.delivers(a, b, 1000));
}

#[test]
fn names_of_the_peer_are_resolved_by_whoever_has_a_socket_to_ask_from() {
    let mut ground = Ground::new();
    let a = ground.add(named(true, "192.0.2.1"), "192.0.2.1", None);
    let b = ground.add(named(false, "192.0.2.2"), "192.0.2.2", None);
    // The peer cannot reach us by our candidate, so that its own name is all there is.
    ground.connect(a, b);
    let remote = ground.hosts[b].rtc.stats().path.unwrap().remote;
    assert_eq!(remote, "192.0.2.1:5000".parse().unwrap());
}

#[test]
fn names_that_are_none_of_candidates_are_never_asked_for() {
    // Draft §3.2.1, §3.2.2: only fresh names, no devices of the neighbourhood.
    let mut ground = Ground::new();
    let a = ground.add(named(false, "192.0.2.1"), "192.0.2.1", None);
    let b = ground.add(config(), "192.0.2.2", None);
    ground.signal(b, a);
    ground.run_for(SECOND);
    for name in ["printer.local", "example.org", "a.b.local", "1f4712db-ea17-4bcf-a596-105139dfd8bf.example"]
    {
        let text = format!("candidate:1 1 udp 2122260223 {name} 5000 typ host");
        let signalled = RemoteCandidate { candidate: &text, mid: Some("0"), ..Default::default() };
        let _ = ground.hosts[a].rtc.add_signalled_candidate(signalled);
    }
    ground.run_for(5 * SECOND);
    let asked = ground.hosts[a].sent.iter().filter(|(_, _, protocol, _)| *protocol == Protocol::Mdns).count();
    assert_eq!(asked, 0);
}

#[test]
fn a_flood_of_names_and_answers_costs_little() {
    let mut ground = Ground::new();
    let a = ground.add(named(true, "192.0.2.1"), "192.0.2.1", None);
    let b = ground.add(config(), "192.0.2.2", None);
    ground.connect(b, a);
    let before = ground.hosts[a].sent.len();
    for number in 0..10_000u32 {
        let text = format!(
            "candidate:1 1 udp 2122260223 {number:08x}-ea17-4bcf-a596-105139dfd8bf.local 5000 typ host"
        );
        let signalled = RemoteCandidate { candidate: &text, mid: Some("0"), ..Default::default() };
        let _ = ground.hosts[a].rtc.add_signalled_candidate(signalled);
    }
    ground.run_for(30 * SECOND);
    let questions = ground.hosts[a].sent[before..]
        .iter()
        .filter(|(_, _, protocol, _)| *protocol == Protocol::Mdns)
        .count();
    // 32 names at a time, three questions each.
    assert!(questions <= 100, "{questions}");
    let source = "192.0.2.66:5353".parse().unwrap();
    let local = "192.0.2.1:5353".parse().unwrap();
    for number in 0..10_000usize {
        let noise = bytes::BytesMut::from(&vec![number as u8; number % 1500][..]);
        let datagram = Datagram { protocol: Protocol::Mdns, ..Datagram::udp(source, local, noise) };
        ground.hosts[a].rtc.handle_input(ground.now, Input::Datagram(datagram));
    }
    ground.drain();
    assert!(ground.delivers(a, b, 1000));
}

#[test]
fn a_name_goes_with_its_address() {
    // RFC 6762 §10.1: a goodbye with a lifetime of zero.
    let mut ground = Ground::new();
    let a = ground.add(named(true, "192.0.2.1"), "", None);
    let id = ground.add_address(a, "192.0.2.1");
    ground.run_for(5 * SECOND);
    let before = ground.hosts[a].sent.len();
    ground.hosts[a].rtc.remove_local_candidate(id).unwrap();
    ground.drain();
    assert_eq!(ground.hosts[a].sent.len(), before + 1);
    assert_eq!(ground.hosts[a].rtc.local_candidates().count(), 0);
    assert!(!ground.hosts[a].events.iter().any(|event| matches!(event, Event::Closed(_))));
}
