//! Relayed paths: allocation, permissions, channels, data, and the end of it.

mod ground;

use std::time::Duration;

use ground::{Ground, NatKind, RELAY, SECOND, config, with_servers};
use sansrtc::turn::server;
use sansrtc::types::candidate::CandidateKind;
use sansrtc::{
    ConnectionState, Event, GatheringState, IceServerError, IceTransportPolicy, PathInfo, Protocol, RtcConfig,
};

const UDP: &str = "turn:203.0.113.1:3478";
const TCP: &str = "turn:203.0.113.1:3478?transport=tcp";
const TLS: &str = "turns:203.0.113.1:5349";

fn path(ground: &Ground, host: usize) -> PathInfo {
    ground.hosts[host].rtc.stats().path.expect("a path")
}

fn relay_only(url: &str) -> RtcConfig {
    RtcConfig { ice_transport_policy: IceTransportPolicy::Relay, ..with_servers(&[url]) }
}

fn failures(ground: &Ground, host: usize) -> Vec<IceServerError> {
    let failed = |event: &Event| match event {
        Event::IceServerFailed(failure) => Some(failure.reason),
        _ => None,
    };
    ground.hosts[host].events.iter().filter_map(failed).collect()
}

#[test]
fn a_server_yields_a_relayed_and_a_reflexive_address() {
    let mut ground = Ground::new();
    let a = ground.add(with_servers(&[UDP]), "10.0.1.1", Some((NatKind::Symmetric, "198.51.100.1")));
    ground.run_for(SECOND);
    let kinds: Vec<_> = ground.gathered(a).iter().map(|candidate| candidate.kind()).collect();
    assert_eq!(kinds, [CandidateKind::Relayed, CandidateKind::ServerReflexive]);
    assert_eq!(ground.gathered(a)[0].socket_address().map(|address| address.ip()), Some(RELAY));
    assert_eq!(ground.server.allocations(), 1);
    assert_eq!(ground.hosts[a].rtc.gathering_state(), GatheringState::Complete);
}

#[test]
fn two_symmetric_nats_meet_through_a_relay() {
    let mut ground = Ground::new();
    let a = ground.add(with_servers(&[UDP]), "10.0.1.1", Some((NatKind::Symmetric, "198.51.100.1")));
    let stun = with_servers(&["stun:203.0.113.1"]);
    let b = ground.add(stun, "10.0.2.1", Some((NatKind::Symmetric, "198.51.100.2")));
    ground.run_for(SECOND);
    ground.connect(a, b);
    assert_eq!(path(&ground, a).local_kind, CandidateKind::Relayed);
    assert_eq!(path(&ground, b).remote.ip(), RELAY);
    assert!(ground.delivers(a, b, 100_000) && ground.delivers(b, a, 100_000));
}

#[test]
fn data_goes_through_a_channel_once_the_path_is_in_use() {
    let mut ground = Ground::new();
    let a = ground.add(relay_only(UDP), "10.0.1.1", None);
    let b = ground.add(config(), "192.0.2.2", None);
    ground.run_for(SECOND);
    ground.connect(a, b);
    ground.to_server.clear();
    assert!(ground.delivers(a, b, 20_000));
    let is_channel_data = |(_, bytes): &(_, Vec<u8>)| bytes[0] & 0xc0 == 0x40;
    let (channel, other): (Vec<_>, Vec<_>) = ground.to_server.iter().partition(|m| is_channel_data(m));
    assert!(channel.len() > 15, "{}", channel.len());
    // Send indications are 0x0016.
    assert!(other.iter().all(|(_, bytes)| bytes[..2] != [0x00, 0x16]), "{other:?}");
    // The datagrams stay within the size that the configuration says.
    assert!(channel.iter().all(|(_, bytes)| bytes.len() <= 1200));
}

#[test]
fn whoever_relays_only_tells_no_address_and_uses_none() {
    let mut ground = Ground::new();
    let a = ground.add(relay_only(UDP), "10.0.1.1", Some((NatKind::PortRestricted, "198.51.100.1")));
    let b = ground.add(config(), "192.0.2.2", None);
    ground.run_for(SECOND);
    let offer = ground.hosts[a].rtc.create_offer().unwrap().to_string();
    ground.hosts[a].rtc.rollback().unwrap();
    assert!(!offer.contains("10.0.1.1") && !offer.contains("198.51.100.1"), "{offer}");
    assert!(offer.contains("typ relay raddr 0.0.0.0 rport 0"));
    ground.connect(a, b);
    let elsewhere = ground.hosts[a].sent.iter().filter(|(_, to, ..)| *to != ground::SERVER).count();
    assert_eq!(elsewhere, 0);
    assert!(ground.delivers(b, a, 5000));
}

#[test]
fn relay_to_relay() {
    for (one, other) in [(UDP, UDP), (UDP, TCP), (TCP, TLS), (TLS, TLS)] {
        let mut ground = Ground::new();
        let a = ground.add(relay_only(one), "10.0.1.1", Some((NatKind::Symmetric, "198.51.100.1")));
        let b = ground.add(relay_only(other), "10.0.2.1", Some((NatKind::Symmetric, "198.51.100.2")));
        ground.run_for(SECOND);
        assert_eq!(ground.server.allocations(), 2, "{one} {other}");
        ground.connect(a, b);
        assert!(ground.delivers(a, b, 50_000) && ground.delivers(b, a, 50_000), "{one} {other}");
        assert_eq!(path(&ground, a).local_kind, CandidateKind::Relayed);
    }
}

#[test]
fn a_host_without_udp_gets_through_by_a_stream() {
    for url in [TCP, TLS] {
        let mut ground = Ground::new();
        let a = ground.add(with_servers(&[url]), "10.0.1.1", None);
        ground.hosts[a].udp_blocked = true;
        let b = ground.add(config(), "192.0.2.2", None);
        ground.run_for(SECOND);
        ground.connect(a, b);
        assert_eq!(path(&ground, a).local_kind, CandidateKind::Relayed, "{url}");
        assert!(ground.delivers(a, b, 50_000) && ground.delivers(b, a, 50_000), "{url}");
    }
}

#[test]
fn a_direct_path_is_preferred_to_a_relayed_one() {
    let mut ground = Ground::new();
    let a = ground.add(with_servers(&[UDP]), "192.0.2.1", None);
    let b = ground.add(with_servers(&[UDP]), "192.0.2.2", None);
    ground.run_for(SECOND);
    ground.connect(a, b);
    assert_eq!(
        (path(&ground, a).local_kind, path(&ground, b).local_kind),
        (CandidateKind::Host, CandidateKind::Host)
    );
}

#[test]
fn an_allocation_and_its_permissions_live_as_long_as_the_connection() {
    // RFC 8656 §3.2, §9: 600 s and 300 s without refreshing.
    let mut ground = Ground::new();
    let a = ground.add(relay_only(UDP), "10.0.1.1", None);
    let b = ground.add(config(), "192.0.2.2", None);
    ground.run_for(SECOND);
    ground.connect(a, b);
    for _ in 0..5 {
        ground.run_for(400 * SECOND);
        assert!(ground.delivers(a, b, 1000) && ground.delivers(b, a, 1000));
    }
    assert_eq!(ground.hosts[a].rtc.state(), ConnectionState::Connected);
}

#[test]
fn closing_gives_the_allocation_back_after_the_goodbye() {
    for url in [UDP, TCP] {
        let mut ground = Ground::new();
        let a = ground.add(relay_only(url), "10.0.1.1", None);
        let b = ground.add(config(), "192.0.2.2", None);
        ground.run_for(SECOND);
        ground.connect(a, b);
        ground.hosts[a].rtc.close();
        ground.run_for(SECOND);
        assert_eq!(ground.server.allocations(), 0, "{url}");
        let heard = ground.hosts[b]
            .events
            .iter()
            .any(|event| matches!(event, Event::Closed(sansrtc::CloseReason::Remote)));
        assert!(heard, "{url}: the peer heard of the end");
    }
}

#[test]
fn a_lost_allocation_is_made_again_and_signalled() {
    let mut ground = Ground::new();
    let a = ground.add(relay_only(TCP), "10.0.1.1", None);
    ground.run_for(SECOND);
    assert_eq!(ground.gathered(a).len(), 1);
    ground.break_streams(a);
    ground.run_for(5 * SECOND);
    let gone = ground.hosts[a].events.iter().filter(|e| matches!(e, Event::LocalCandidateGone(_))).count();
    assert_eq!((gone, ground.gathered(a).len()), (1, 2));
    assert_eq!(ground.hosts[a].rtc.local_candidates().count(), 1);
    let b = ground.add(config(), "192.0.2.2", None);
    ground.connect(a, b);
}

#[test]
fn wrong_credentials_are_told_of_and_nothing_else_breaks() {
    let mut ground = Ground::new();
    let mut config = with_servers(&[UDP, "stun:203.0.113.1"]);
    config.ice_servers[0] = sansrtc::IceServer::new(UDP).unwrap().with_credentials("user", "guess");
    let a = ground.add(config, "10.0.1.1", Some((NatKind::PortRestricted, "198.51.100.1")));
    ground.run_for(2 * SECOND);
    assert_eq!(failures(&ground, a), [IceServerError::Credentials]);
    assert_eq!(ground.gathered(a).len(), 1, "STUN on the same address works");
}

#[test]
fn two_connections_on_one_socket_do_not_take_each_others_allocation() {
    // The server sees one 5-tuple: the second gets a 437, and must leave the first one's alone.
    let mut ground = Ground::new();
    let a = ground.add(with_servers(&[UDP]), "10.0.1.1", None);
    ground.run_for(SECOND);
    let b = ground.add(with_servers(&[UDP]), "10.0.1.1", None);
    // What the server answers goes to both, as it would from a shared socket without an endpoint.
    let first = ground.hosts.swap_remove(a);
    ground.run_for(2 * SECOND);
    assert_eq!(failures(&ground, b - 1), [IceServerError::Mismatch]);
    assert_eq!((ground.server.allocations(), first.rtc.local_candidates().count()), (1, 2));
}

#[test]
fn a_full_server_and_a_silent_one_are_told_of() {
    let full = server::Config {
        realm: "stage".into(),
        relay_v4: Some(RELAY),
        max_allocations: 0,
        ..server::Config::default()
    };
    let mut ground = Ground::with_server(full);
    let a = ground.add(with_servers(&[UDP]), "10.0.1.1", None);
    ground.run_for(2 * SECOND);
    assert_eq!(failures(&ground, a), [IceServerError::Capacity]);

    let mut ground = Ground::new();
    ground.server_alive = false;
    let a = ground.add(with_servers(&[UDP, TCP]), "10.0.1.1", None);
    // Gathering does not wait for ever, the clients go on.
    ground.run_for(11 * SECOND);
    assert_eq!(ground.hosts[a].rtc.gathering_state(), GatheringState::Complete);
    ground.run_for(60 * SECOND);
    let mut failed = failures(&ground, a);
    failed.sort_by_key(|reason| format!("{reason:?}"));
    assert_eq!(failed, [IceServerError::Silent, IceServerError::Unreachable]);
}

#[test]
fn data_of_strangers_does_not_pass_a_relay() {
    let mut ground = Ground::new();
    let a = ground.add(relay_only(UDP), "10.0.1.1", None);
    let b = ground.add(config(), "192.0.2.2", None);
    ground.run_for(SECOND);
    ground.connect(a, b);
    let relayed = path(&ground, b).remote;
    let before = (ground.hosts[a].rtc.stats().dropped, ground.server.stats().dropped);
    for _ in 0..100 {
        ground.send("192.0.2.66:6666".parse().unwrap(), relayed, bytes::BytesMut::from(&[22u8; 100][..]));
    }
    ground.run_for(Duration::from_millis(100));
    let after = (ground.hosts[a].rtc.stats().dropped, ground.server.stats().dropped);
    assert_eq!(after, (before.0, before.1 + 100));
}

#[test]
fn streams_carry_large_messages_both_ways_at_once() {
    let mut ground = Ground::new();
    let a = ground.add(relay_only(TLS), "10.0.1.1", None);
    let b = ground.add(relay_only(TCP), "10.0.2.1", None);
    ground.run_for(SECOND);
    ground.connect(a, b);
    for (from, to) in [(a, b), (b, a)] {
        assert!(ground.delivers(from, to, 200_000));
    }
    let udp = ground.hosts[a].sent.iter().filter(|(_, _, protocol, _)| *protocol == Protocol::Udp).count();
    assert_eq!(udp, 0, "a relay over a stream needs no datagrams");
}
