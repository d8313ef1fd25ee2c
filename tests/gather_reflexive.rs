//! Server-reflexive candidates: asked for at the pace of checks, kept alive, pruned, and used.

mod ground;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use ground::{Ground, NatKind, SECOND, SERVER, config, with_servers};
use sansrtc::ice::LocalId;
use sansrtc::stun::{Builder, Class, Message, Method};
use sansrtc::types::candidate::CandidateKind;
use sansrtc::{
    Candidate, CandidatePolicy, Event, GatheringState, IceServer, IceServerError, NatMapping, RtcConfig,
};

const STUN: &str = "stun:203.0.113.1:3478";

fn states(ground: &Ground, host: usize) -> Vec<GatheringState> {
    let events = ground.hosts[host].events.iter();
    events
        .filter_map(|event| if let Event::GatheringState(state) = event { Some(*state) } else { None })
        .collect()
}

fn failures(ground: &Ground, host: usize) -> Vec<IceServerError> {
    let events = ground.hosts[host].events.iter();
    let failed = |event: &Event| match event {
        Event::IceServerFailed(failure) => Some(failure.reason),
        _ => None,
    };
    events.filter_map(failed).collect()
}

#[test]
fn a_base_behind_a_nat_learns_its_outer_address() {
    let mut ground = Ground::new();
    let a = ground.add(with_servers(&[STUN]), "10.0.1.1", Some((NatKind::PortRestricted, "198.51.100.1")));
    ground.run_for(SECOND);
    let gathered = ground.gathered(a);
    assert_eq!(gathered.len(), 1);
    assert_eq!(gathered[0].kind(), CandidateKind::ServerReflexive);
    assert_eq!(gathered[0].socket_address(), Some("198.51.100.1:40001".parse().unwrap()));
    assert_eq!(gathered[0].related(), Some("10.0.1.1:5000".parse().unwrap()));
    assert_eq!(states(&ground, a), [GatheringState::Gathering, GatheringState::Complete]);
    // RFC 8839: both stand in the offer, and the end of candidates when the caller has no more either.
    let rtc = &mut ground.hosts[a].rtc;
    rtc.end_of_local_candidates();
    let offer = rtc.create_offer().unwrap().to_string();
    assert!(offer.contains("198.51.100.1 40001 typ srflx raddr 10.0.1.1 rport 5000"), "{offer}");
    assert!(offer.contains("a=end-of-candidates"));
}

#[test]
fn an_address_that_is_the_base_itself_is_redundant() {
    // RFC 8445 §5.1.3.
    let mut ground = Ground::new();
    let a = ground.add(with_servers(&[STUN]), "192.0.2.1", None);
    ground.run_for(SECOND);
    assert_eq!(ground.gathered(a), []);
    assert_eq!(ground.hosts[a].rtc.gathering_state(), GatheringState::Complete);
}

#[test]
fn two_servers_that_see_the_same_address_make_one_candidate() {
    let mut ground = Ground::new();
    let nat = Some((NatKind::PortRestricted, "198.51.100.1"));
    let a = ground.add(with_servers(&[STUN, STUN]), "10.0.1.1", nat);
    ground.run_for(SECOND);
    assert_eq!(ground.gathered(a).len(), 1);
    assert_eq!(ground.to_server.len(), 2, "each was asked once");
}

#[test]
fn two_hosts_behind_nats_meet_by_their_outer_addresses() {
    let mut ground = Ground::new();
    let a = ground.add(with_servers(&[STUN]), "10.0.1.1", Some((NatKind::PortRestricted, "198.51.100.1")));
    let b = ground.add(with_servers(&[STUN]), "10.0.2.1", Some((NatKind::PortRestricted, "198.51.100.2")));
    ground.run_for(SECOND);
    ground.connect(a, b);
    assert!(
        ground.delivers(a, b, 10_000)
            && ground.hosts[a].rtc.stats().path.is_some_and(|p| p.remote.ip().to_string() == "198.51.100.2")
    );
}

#[test]
fn a_late_candidate_is_told_by_trickle() {
    let mut ground = Ground::new();
    let a = ground.add(with_servers(&[STUN]), "10.0.1.1", Some((NatKind::PortRestricted, "198.51.100.1")));
    let b = ground.add(with_servers(&[STUN]), "10.0.2.1", Some((NatKind::PortRestricted, "198.51.100.2")));
    let _ = ground.hosts[a].rtc.open_channel(sansrtc::ChannelConfig::labelled("x")).unwrap();
    ground.signal(a, b);
    ground.run_for(SECOND);
    for (from, to) in [(a, b), (b, a)] {
        let gathered = ground.gathered(from);
        assert_eq!(gathered.len(), 1);
        let text = gathered[0].to_string();
        let signalled = sansrtc::RemoteCandidate { candidate: &text, mid: Some("0"), ..Default::default() };
        ground.hosts[to].rtc.add_signalled_candidate(signalled).unwrap();
    }
    ground.drain();
    let connected = |g: &Ground| g.hosts.iter().all(|h| h.rtc.state() == sansrtc::ConnectionState::Connected);
    assert!(ground.run_until(5 * SECOND, connected));
}

#[test]
fn servers_are_asked_one_after_the_other_at_the_pace_of_checks() {
    // RFC 8445 §14.2: a new transaction every 50 ms.
    let urls: Vec<String> = (1..=8).map(|last| format!("stun:203.0.113.{}", last + 100)).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let mut ground = Ground::new();
    let a = ground.add(with_servers(&urls), "10.0.1.1", None);
    let mut times = Vec::new();
    for _ in 0..40 {
        let before = ground.hosts[a].sent.len();
        ground.run_for(Duration::from_millis(10));
        times.push(ground.hosts[a].sent.len() - before);
    }
    // The first leaves with the commands that start gathering.
    assert_eq!(ground.hosts[a].sent.len(), 8, "{times:?}");
    assert!(times.iter().all(|count| *count <= 1), "{times:?}");
}

#[test]
fn a_silent_server_is_asked_seven_times_and_told_of() {
    // RFC 8489 §6.2.1: Rc = 7, and 39.5 s with the first interval of half a second.
    let mut ground = Ground::new();
    ground.server_alive = false;
    let a = ground.add(with_servers(&[STUN]), "10.0.1.1", None);
    ground.run_for(39 * SECOND);
    assert_eq!((ground.to_server.len(), failures(&ground, a)), (7, vec![]));
    ground.run_for(SECOND);
    assert_eq!((ground.to_server.len(), failures(&ground, a)), (7, vec![IceServerError::Silent]));
    assert_eq!(ground.hosts[a].rtc.gathering_state(), GatheringState::Complete);
}

#[test]
fn mappings_are_kept_alive_until_there_is_a_path() {
    let mut ground = Ground::new();
    let nat = |ip| Some((NatKind::PortRestricted, ip));
    let a = ground.add(with_servers(&[STUN]), "10.0.1.1", nat("198.51.100.1"));
    let b = ground.add(config(), "192.0.2.9", None);
    ground.run_for(61 * SECOND);
    assert_eq!(ground.to_server.len(), 5, "at once, and each 15 s");
    ground.connect(a, b);
    let before = ground.to_server.len();
    ground.run_for(60 * SECOND);
    assert_eq!(ground.to_server.len(), before);
}

#[test]
fn a_nat_that_changed_its_mind_yields_another_candidate() {
    let mut ground = Ground::new();
    let config = RtcConfig { continual_gathering: true, ..with_servers(&[STUN]) };
    let a = ground.add(config, "10.0.1.1", Some((NatKind::PortRestricted, "198.51.100.1")));
    ground.run_for(SECOND);
    ground.rebind(a);
    ground.run_for(20 * SECOND);
    let events = &ground.hosts[a].events;
    let gone = events.iter().filter(|event| matches!(event, Event::LocalCandidateGone(_))).count();
    assert_eq!((gone, ground.gathered(a).len()), (1, 2));
    let listed: Vec<Candidate> = ground.hosts[a].rtc.local_candidates().collect();
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert_eq!(listed[1].socket_address(), ground.gathered(a)[1].socket_address());
}

#[test]
fn a_removed_base_takes_what_was_found_from_it_along() {
    let mut ground = Ground::new();
    let a = ground.add(with_servers(&[STUN]), "", Some((NatKind::PortRestricted, "198.51.100.1")));
    let id: LocalId = ground.add_address(a, "10.0.1.1");
    ground.run_for(SECOND);
    assert_eq!(ground.hosts[a].rtc.local_candidates().count(), 2);
    ground.hosts[a].rtc.remove_local_candidate(id).unwrap();
    ground.run_for(60 * SECOND);
    assert_eq!(ground.hosts[a].rtc.local_candidates().count(), 0);
    assert_eq!(ground.to_server.len(), 1, "nothing is asked from a socket that is gone");
}

#[test]
fn forged_answers_have_no_effect() {
    let mut ground = Ground::new();
    ground.server_alive = false;
    let a = ground.add(with_servers(&[STUN]), "10.0.1.1", None);
    ground.run_for(Duration::from_millis(20));
    let request = ground.to_server[0].1.clone();
    let asked = Message::parse(&request).unwrap().transaction();
    let mut answer = |source: SocketAddr, id, class| {
        let mut bytes = BytesMut::new();
        let mut builder = Builder::new(&mut bytes, class, Method::BINDING, id);
        builder.xor_mapped_address("198.51.100.66:666".parse().unwrap()).fingerprint();
        builder.finish();
        let datagram = sansrtc::Datagram::udp(source, "10.0.1.1:5000".parse().unwrap(), bytes);
        ground.hosts[a].rtc.handle_input(ground.now, sansrtc::Input::Datagram(datagram));
        ground.drain();
        ground.gathered(a).len()
    };
    let mut other = asked;
    other.0[11] ^= 1;
    assert_eq!(answer("203.0.113.7:3478".parse().unwrap(), asked, Class::Success), 0, "another address");
    assert_eq!(answer(SERVER, other, Class::Success), 0, "another transaction");
    assert_eq!(answer(SERVER, asked, Class::Success), 1, "the true one");
    assert_eq!(answer(SERVER, asked, Class::Success), 1, "and its replay");
}

#[test]
fn a_server_that_tells_nonsense_is_told_of() {
    for (address, expected) in [("0.0.0.0:9", 0), ("224.0.0.1:9", 0), ("198.51.100.1:0", 0), ("[::1]:9", 0)] {
        let mut ground = Ground::new();
        ground.server_alive = false;
        let a = ground.add(with_servers(&[STUN]), "10.0.1.1", None);
        ground.run_for(Duration::from_millis(20));
        let id = Message::parse(&ground.to_server[0].1).unwrap().transaction();
        let mut bytes = BytesMut::new();
        let mut builder = Builder::new(&mut bytes, Class::Success, Method::BINDING, id);
        builder.xor_mapped_address(address.parse().unwrap());
        builder.finish();
        let datagram = sansrtc::Datagram::udp(SERVER, "10.0.1.1:5000".parse().unwrap(), bytes);
        ground.hosts[a].rtc.handle_input(ground.now, sansrtc::Input::Datagram(datagram));
        ground.run_for(SECOND);
        assert_eq!(ground.gathered(a).len(), expected, "{address}");
        assert_eq!(ground.hosts[a].rtc.gathering_state(), GatheringState::Complete, "{address}");
    }
}

#[derive(Debug)]
struct OnlyTen;

impl CandidatePolicy for OnlyTen {
    fn allows(&self, candidate: &Candidate) -> bool {
        candidate.kind() != CandidateKind::Host
            || candidate.socket_address().unwrap().ip().to_string().starts_with("10.")
    }

    fn local_preference(&self, base: SocketAddr) -> Option<u16> {
        Some(if base.ip().to_string() == "10.0.1.1" { 9 } else { 8 })
    }
}

#[test]
fn the_caller_filters_and_prefers() {
    let config = RtcConfig { candidate_policy: Some(std::sync::Arc::new(OnlyTen)), ..config() };
    let mut ground = Ground::new();
    let a = ground.add(config, "10.0.1.1", None);
    let refused =
        ground.hosts[a].rtc.add_local_candidate(Candidate::host("192.0.2.1:1".parse().unwrap()).unwrap());
    assert_eq!(refused, Err(sansrtc::ice::LocalCandidateError::Filtered));
    ground.add_address(a, "10.0.1.2");
    let preferences: Vec<u32> =
        ground.hosts[a].rtc.local_candidates().map(|c| c.priority() >> 8 & 0xffff).collect();
    assert_eq!(preferences, [9, 8]);
}

#[test]
fn a_one_to_one_nat_is_known_without_a_server() {
    let nat = NatMapping { local: "10.0.1.1".parse().unwrap(), public: "198.51.100.7".parse().unwrap() };
    let mut ground = Ground::new();
    let a = ground.add(RtcConfig { nat_mappings: vec![nat], ..config() }, "10.0.1.1", None);
    let gathered = ground.gathered(a);
    assert_eq!(gathered.len(), 1);
    assert_eq!(gathered[0].socket_address(), Some("198.51.100.7:5000".parse().unwrap()));
}

#[test]
fn servers_out_of_reach_are_told_of_at_the_end() {
    let mut ground = Ground::new();
    let a = ground.add(with_servers(&["stun:[2001:db8::1]"]), "10.0.1.1", None);
    ground.hosts[a].rtc.end_of_local_candidates();
    ground.drain();
    assert_eq!(failures(&ground, a), [IceServerError::NoAddress]);
    assert_eq!(states(&ground, a), [GatheringState::Complete]);
}

#[test]
fn configurations_that_cannot_work_are_refused() {
    let check = |servers: Vec<IceServer>| RtcConfig { ice_servers: servers, ..config() }.validate().is_ok();
    let turn = IceServer::new("turn:203.0.113.1").unwrap();
    assert!(!check(vec![turn.clone()]), "a TURN server without credentials");
    assert!(check(vec![turn.with_credentials("a", "b")]));
    assert!(!check(vec![IceServer::new("stun:example.org").unwrap()]), "a name that was not resolved");
    assert!(!check(vec![IceServer::new(STUN).unwrap(); 17]), "too many");
}
