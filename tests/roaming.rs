//! Connections that move: addresses come and go, NATs forget, and data goes on.

mod ground;

use std::net::SocketAddr;
use std::time::Duration;

use ground::{Ground, NatKind, SECOND, config, with_servers};
use sansrtc::types::candidate::CandidateKind;
use sansrtc::{CloseReason, ConnectionState, Event, MessageKind, PathInfo, RemoteCandidate, RtcConfig};

const MS: Duration = Duration::from_millis(1);

fn path(ground: &Ground, host: usize) -> PathInfo {
    ground.hosts[host].rtc.stats().path.expect("a path")
}

/// Tells a peer of a candidate, as signalling would.
fn trickle(ground: &mut Ground, to: usize, address: &str) {
    let address: SocketAddr = address.parse().unwrap();
    let text = sansrtc::Candidate::host(address).unwrap().to_string();
    let signalled = RemoteCandidate { candidate: &text, mid: Some("0"), ..RemoteCandidate::default() };
    ground.hosts[to].rtc.add_signalled_candidate(signalled).unwrap();
    ground.drain();
}

/// Sends a message every 20 ms for a while; the longest time that none arrived, and how many did not.
fn talk(ground: &mut Ground, from: usize, to: usize, how_long: Duration) -> (Duration, usize) {
    let channel = ground.channel(from);
    let (start, end) = (ground.messages(to), ground.now + how_long);
    let (mut seen, mut last, mut longest, mut sent) = (start, ground.now, Duration::ZERO, 0);
    while ground.now < end {
        ground.hosts[from].rtc.send(channel, MessageKind::Binary, vec![1; 100]).unwrap();
        sent += 1;
        ground.drain();
        ground.run_for(20 * MS);
        if ground.messages(to) > seen {
            seen = ground.messages(to);
            last = ground.now;
        }
        longest = longest.max(ground.now - last);
    }
    ground.run_for(SECOND);
    (longest, sent - (ground.messages(to) - start))
}

fn failed_states(ground: &Ground, host: usize) -> usize {
    let events = ground.hosts[host].events.iter();
    events.filter(|e| matches!(e, Event::State(ConnectionState::Failed | ConnectionState::Closed))).count()
}

#[test]
fn an_address_is_left_for_another_without_a_gap() {
    for (mover, other) in [(0, 1), (1, 0)] {
        let mut ground = Ground::new();
        let a = ground.add(config(), "", None);
        let b = ground.add(config(), "", None);
        let ips = ["192.0.2.1", "192.0.2.2"];
        let ids = [ground.add_address(a, ips[0]), ground.add_address(b, ips[1])];
        ground.connect(a, b);
        ground.run_for(10 * SECOND);
        // The new network first, then the old one goes.
        ground.add_address(mover, "198.51.100.9");
        let (longest, missing) = talk(&mut ground, other, mover, 2 * SECOND);
        assert!(longest < 100 * MS && missing == 0, "{longest:?} {missing}");
        ground.hosts[mover].rtc.remove_local_candidate(ids[mover]).unwrap();
        ground.hosts[mover].cut.insert(ips[mover].parse().unwrap());
        ground.drain();
        let (longest, missing) = talk(&mut ground, other, mover, 10 * SECOND);
        println!("host {mover} moved: the other was heard after {longest:?} at the latest");
        assert!(longest < 3 * SECOND && missing == 0, "{longest:?} {missing}");
        let (longest, missing) = talk(&mut ground, mover, other, 5 * SECOND);
        assert!(longest < 100 * MS && missing == 0, "{longest:?} {missing}");
        assert_eq!(path(&ground, mover).local.ip().to_string(), "198.51.100.9");
        assert_eq!(failed_states(&ground, a) + failed_states(&ground, b), 0);
    }
}

#[test]
fn a_network_that_goes_before_the_next_one_comes_is_survived() {
    let mut ground = Ground::new();
    let a = ground.add(config(), "", None);
    let b = ground.add(config(), "192.0.2.2", None);
    let id = ground.add_address(a, "192.0.2.1");
    ground.connect(a, b);
    ground.run_for(10 * SECOND);
    ground.hosts[a].rtc.remove_local_candidate(id).unwrap();
    ground.drain();
    ground.run_for(3 * SECOND);
    ground.add_address(a, "198.51.100.9");
    ground.run_for(3 * SECOND);
    assert!(ground.delivers(a, b, 1000) && ground.delivers(b, a, 1000));
    assert_eq!(failed_states(&ground, a) + failed_states(&ground, b), 0);
}

#[test]
fn a_better_path_is_moved_to_by_the_written_rule() {
    // A relayed pair first; then a direct way is told of.
    let mut ground = Ground::new();
    let relayed = with_servers(&["turn:203.0.113.1:3478"]);
    let a = ground.add(relayed, "192.0.2.1", None);
    let b = ground.add(config(), "192.0.2.2", None);
    // Nothing goes between the two but over the relay.
    let direct = |one: SocketAddr, other: SocketAddr| {
        [one, other].iter().all(|address| address.ip().to_string().starts_with("192.0.2."))
    };
    ground.lets = Box::new(move |from, to, _| !direct(from, to));
    ground.run_for(SECOND);
    ground.connect(a, b);
    assert_eq!(path(&ground, a).local_kind, CandidateKind::Relayed);
    ground.lets = Box::new(|_, _, _| true);
    ground.run_for(10 * SECOND);
    ground.add_address(b, "192.0.2.3");
    trickle(&mut ground, a, "192.0.2.3:5000");
    let (longest, missing) = talk(&mut ground, a, b, 10 * SECOND);
    assert!(longest < 100 * MS && missing == 0, "{longest:?} {missing}");
    for host in [a, b] {
        let path = path(&ground, host);
        assert_eq!((path.local_kind, path.remote_kind), (CandidateKind::Host, CandidateKind::Host));
    }
    let moves = ground.hosts[a].events.iter().filter(|event| matches!(event, Event::Path(_))).count();
    assert!(moves <= 3, "{moves} paths");
}

#[test]
fn a_nat_that_forgets_its_mapping_is_survived() {
    let mut ground = Ground::new();
    let stun = with_servers(&["stun:203.0.113.1"]);
    let a = ground.add(stun, "10.0.1.1", Some((NatKind::PortRestricted, "198.51.100.1")));
    let b = ground.add(config(), "192.0.2.2", None);
    ground.run_for(SECOND);
    ground.connect(a, b);
    ground.run_for(7 * SECOND);
    ground.rebind(a);
    let (longest, missing) = talk(&mut ground, b, a, 20 * SECOND);
    assert!(longest < 8 * SECOND && missing == 0, "{longest:?} {missing}");
    assert_eq!(failed_states(&ground, a) + failed_states(&ground, b), 0);
}

#[test]
fn a_backup_is_gone_over_to_within_seconds() {
    let mut config = config();
    config.ice.keep_backup = true;
    let mut ground = Ground::new();
    let a = ground.add(config.clone(), "", None);
    let b = ground.add(config, "192.0.2.2", None);
    ground.add_address(a, "192.0.2.1");
    ground.add_address(a, "198.51.100.1");
    ground.connect(a, b);
    ground.run_for(60 * SECOND);
    let before = ground.hosts[a].sent.len();
    ground.run_for(20 * SECOND);
    let of_backup = |from: SocketAddr| from != path(&ground, a).local;
    let warm = ground.hosts[a].sent[before..].iter().filter(|(from, ..)| of_backup(*from)).count();
    assert!((3..=12).contains(&warm), "{warm} packets on the backup in 20 s");
    let used = path(&ground, a).local.ip();
    ground.hosts[a].cut.insert(used);
    let (longest, missing) = talk(&mut ground, a, b, 15 * SECOND);
    println!("the backup took over after {longest:?}");
    assert!(longest < 8 * SECOND && missing == 0, "{longest:?} {missing}");
    assert_ne!(path(&ground, a).local.ip(), used);
    assert_eq!(failed_states(&ground, a) + failed_states(&ground, b), 0);
}

#[test]
fn a_lossy_path_that_works_is_not_torn_down() {
    // 40 % of everything is lost, both ways, for ten minutes: a check is answered every third time.
    for seed in 0..20u64 {
        let mut ground = Ground::new();
        let a = ground.add(config(), "192.0.2.1", None);
        let b = ground.add(config(), "192.0.2.2", None);
        ground.connect(a, b);
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        ground.lets = Box::new(move |_, _, _| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % 100 >= 40
        });
        ground.run_for(600 * SECOND);
        assert_eq!(failed_states(&ground, a) + failed_states(&ground, b), 0, "seed {seed}");
    }
}

#[test]
fn a_dead_path_is_noticed_in_the_time_that_the_configuration_says() {
    for timeout in [6, 15, 30] {
        let mut config = config();
        config.ice.consent_timeout = timeout * SECOND;
        let mut ground = Ground::new();
        let a = ground.add(config.clone(), "192.0.2.1", None);
        let b = ground.add(config, "192.0.2.2", None);
        ground.connect(a, b);
        ground.lets = Box::new(|_, _, _| false);
        ground.run_for(timeout * SECOND - 2 * SECOND);
        assert_eq!(failed_states(&ground, a), 0, "{timeout}");
        ground.run_for(8 * SECOND);
        assert_eq!(ground.hosts[a].rtc.state(), ConnectionState::Failed, "{timeout}");
    }
}

#[test]
fn a_restart_leads_out_of_failure() {
    for offerer in [0, 1] {
        let mut ground = Ground::new();
        let a = ground.add(config(), "192.0.2.1", None);
        let b = ground.add(config(), "192.0.2.2", None);
        ground.connect(a, b);
        ground.lets = Box::new(|_, _, _| false);
        ground.run_for(45 * SECOND);
        assert!(ground.hosts.iter().all(|host| host.rtc.state() == ConnectionState::Failed));
        // Nothing leaves while it has failed.
        let sent = ground.hosts[a].sent.len();
        ground.run_for(5 * SECOND);
        assert_eq!(ground.hosts[a].sent.len(), sent);
        ground.lets = Box::new(|_, _, _| true);
        ground.hosts[offerer].rtc.restart_ice();
        ground.signal(offerer, 1 - offerer);
        let connected =
            |ground: &Ground| ground.hosts.iter().all(|host| host.rtc.state() == ConnectionState::Connected);
        assert!(ground.run_until(5 * SECOND, connected));
        assert!(ground.delivers(a, b, 1000) && ground.delivers(b, a, 1000));
        // And its patience is forgotten.
        ground.run_for(60 * SECOND);
        assert!(connected(&ground));
    }
}

#[test]
fn failure_without_a_restart_closes_after_the_written_patience() {
    let patient = RtcConfig { restart_patience: 12 * SECOND, ..config() };
    let mut ground = Ground::new();
    let a = ground.add(patient, "192.0.2.1", None);
    let b = ground.add(RtcConfig { restart_patience: Duration::ZERO, ..config() }, "192.0.2.2", None);
    ground.connect(a, b);
    ground.lets = Box::new(|_, _, _| false);
    assert!(ground.run_until(60 * SECOND, |ground| ground.hosts[a].rtc.state() == ConnectionState::Failed));
    ground.run_for(11 * SECOND);
    assert_eq!(ground.hosts[a].rtc.state(), ConnectionState::Failed);
    ground.run_for(2 * SECOND);
    for host in [a, b] {
        let reasons: Vec<_> =
            ground.hosts[host].events.iter().filter(|event| matches!(event, Event::Closed(_))).collect();
        assert!(matches!(reasons[..], [Event::Closed(CloseReason::IceFailed)]), "{reasons:?}");
    }
    // R64: nothing is due any more.
    assert_eq!(ground.hosts[a].rtc.poll_output_timeout(), None);
}

trait Dry {
    fn poll_output_timeout(&mut self) -> Option<std::time::Instant>;
}

impl Dry for sansrtc::Rtc {
    fn poll_output_timeout(&mut self) -> Option<std::time::Instant> {
        match self.poll_output() {
            sansrtc::Output::Timeout(at) => at,
            other => panic!("{other:?}"),
        }
    }
}
