//! ICE over TCP (RFC 6544): active candidates connect, passive ones are connected to.

mod ground;

use ground::{Ground, SECOND, config};
use sansrtc::types::candidate::TcpType;
use sansrtc::{Candidate, ConnectionState, Protocol, StreamInput, StreamKey};

/// A host with an active candidate and no UDP, and one that listens.
fn cast(ground: &mut Ground) -> (usize, usize) {
    let a = ground.add(config(), "", None);
    let b = ground.add(config(), "192.0.2.2", None);
    ground.hosts[b].udp_blocked = true;
    add_active(ground, a, "10.0.1.1");
    listen(ground, b, "192.0.2.2:443");
    (a, b)
}

fn add_active(ground: &mut Ground, host: usize, ip: &str) {
    let address = (ip.parse::<std::net::IpAddr>().unwrap(), 0).into();
    let active = Candidate::host_tcp(address, TcpType::Active).unwrap();
    ground.hosts[host].rtc.add_local_candidate(active).unwrap();
    ground.drain();
}

fn listen(ground: &mut Ground, host: usize, address: &str) {
    let address = address.parse().unwrap();
    ground.hosts[host].listener = Some(address);
    let passive = Candidate::host_tcp(address, TcpType::Passive).unwrap();
    ground.hosts[host].rtc.add_local_candidate(passive).unwrap();
    ground.drain();
}

#[test]
fn either_end_may_offer() {
    for offerer in [0, 1] {
        let mut ground = Ground::new();
        let (a, b) = cast(&mut ground);
        let ends = [a, b];
        ground.connect(ends[offerer], ends[1 - offerer]);
        for host in ends {
            let path = ground.hosts[host].rtc.stats().path.unwrap();
            assert_eq!(path.protocol, Protocol::Tcp);
        }
        assert!(ground.delivers(a, b, 100_000) && ground.delivers(b, a, 100_000));
        ground.run_for(120 * SECOND);
        assert!(ground.hosts.iter().all(|host| host.rtc.state() == ConnectionState::Connected), "consent");
    }
}

#[test]
fn candidates_say_who_connects() {
    // RFC 6544 §4.5, §5.
    let mut ground = Ground::new();
    let (a, b) = cast(&mut ground);
    let text =
        |host: usize, at: usize| ground.hosts[host].rtc.local_candidates().nth(at).unwrap().to_string();
    assert!(text(a, 0).contains(" tcp ") && text(a, 0).ends_with("10.0.1.1 9 typ host tcptype active"));
    assert!(text(b, 1).ends_with("192.0.2.2 443 typ host tcptype passive"));
}

#[test]
fn datagrams_are_preferred_to_streams() {
    let mut ground = Ground::new();
    let a = ground.add(config(), "10.0.1.1", None);
    add_active(&mut ground, a, "10.0.1.1");
    let b = ground.add(config(), "192.0.2.2", None);
    listen(&mut ground, b, "192.0.2.2:443");
    ground.connect(a, b);
    assert_eq!(ground.hosts[a].rtc.stats().path.unwrap().protocol, Protocol::Udp);
}

#[test]
fn simultaneous_open_is_left_alone() {
    let mut ground = Ground::new();
    let a = ground.add(config(), "10.0.1.1", None);
    let so = Candidate::host_tcp("10.0.1.1:7".parse().unwrap(), TcpType::SimultaneousOpen).unwrap();
    let refused = ground.hosts[a].rtc.add_local_candidate(so.clone());
    assert_eq!(refused, Err(sansrtc::ice::LocalCandidateError::Protocol));
    let text: Candidate = so.to_string().parse().unwrap();
    assert_eq!(text.tcp_type(), Some(TcpType::SimultaneousOpen));
    assert_eq!(ground.hosts[a].rtc.add_remote_candidate(&text), Ok(()));
}

#[test]
fn a_stream_that_breaks_is_opened_again() {
    let mut ground = Ground::new();
    let (a, b) = cast(&mut ground);
    ground.connect(a, b);
    ground.break_streams(a);
    ground.run_for(3 * SECOND);
    assert!(ground.delivers(a, b, 10_000) && ground.delivers(b, a, 10_000));
    assert!(ground.hosts.iter().all(|host| host.rtc.state() == ConnectionState::Connected));
}

#[test]
fn a_refused_stream_is_not_tried_for_ever() {
    let mut ground = Ground::new();
    let (a, b) = cast(&mut ground);
    ground.hosts[b].listener = None;
    ground.signal(a, b);
    ground.run_for(60 * SECOND);
    let opened =
        ground.hosts[a].sent.iter().filter(|(_, _, protocol, size)| (*protocol, *size) == (Protocol::Tcp, 0));
    assert!((1..=3).contains(&opened.count()));
    assert_eq!(ground.hosts[a].rtc.state(), ConnectionState::Closed);
}

#[test]
fn streams_that_nobody_knows_have_no_effect() {
    let mut ground = Ground::new();
    let (a, b) = cast(&mut ground);
    ground.connect(a, b);
    for key in [StreamKey(7), StreamKey(u64::MAX)] {
        for input in [
            StreamInput::Opened { key, local: "10.0.1.1:7".parse().unwrap() },
            StreamInput::Received { key, contents: bytes::BytesMut::zeroed(70_000) },
            StreamInput::Closed { key },
        ] {
            ground.hosts[a].rtc.handle_input(ground.now, sansrtc::Input::Stream(input));
            ground.drain();
        }
    }
    assert!(ground.delivers(a, b, 1000));
}

#[test]
fn frames_of_any_length_on_a_live_stream_do_no_harm() {
    // RFC 4571 §2: 0 to 65,535.
    let mut ground = Ground::new();
    let (a, b) = cast(&mut ground);
    ground.connect(a, b);
    let mut noise = bytes::BytesMut::zeroed(2 * 5000);
    noise.extend_from_slice(&[0xff; 2]);
    noise.extend_from_slice(&[0x16; 65_535]);
    noise.extend_from_slice(&[0, 1, 0]);
    let input = StreamInput::Received { key: StreamKey(0), contents: noise };
    ground.hosts[a].rtc.handle_input(ground.now, sansrtc::Input::Stream(input));
    ground.drain();
    assert!(ground.delivers(a, b, 1000) && ground.delivers(b, a, 1000));
}
