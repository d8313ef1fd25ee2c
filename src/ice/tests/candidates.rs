//! Candidates that are told, refused, and taken back (RFC 8445 §5.1, RFC 8839 §5.1).

use super::*;

#[test]
fn candidates_are_refused_ignored_or_known_by_name() {
    let mut net = Net::new(30);
    net.add_hosts();
    let now = net.now;
    let agent = &mut net.peers[0].agent;
    let add = |agent: &mut Agent, line: &str| agent.add_remote_candidate(now, &line.parse().unwrap());
    use RemoteCandidate::*;
    assert_eq!(add(agent, "1 1 udp 5 10.0.0.9 9 typ host"), Ok(Added));
    assert_eq!(add(agent, "2 1 udp 6 10.0.0.9 9 typ srflx"), Ok(Known));
    assert_eq!(add(agent, "1 1 udp 5 9b36eaac.local 9 typ host"), Ok(Unresolved));
    assert_eq!(add(agent, "1 2 udp 5 10.0.0.9 10 typ host"), Ok(Ignored));
    assert_eq!(add(agent, "1 1 tcp 5 10.0.0.9 9 typ host tcptype active"), Ok(Ignored));
    assert_eq!(add(agent, "1 1 udp 5 0.0.0.0 9 typ host"), Ok(Ignored));
    assert_eq!(add(agent, "1 1 udp 5 10.0.0.9 0 typ host"), Ok(Ignored));
    agent.set_remote_credentials(now, Credentials { ufrag: "here".into(), pwd: "x".repeat(22) }).unwrap();
    assert_eq!(add(agent, "1 1 udp 5 10.0.0.9 11 typ host ufrag gone"), Ok(Ignored));
    assert_eq!(add(agent, "1 1 udp 5 10.0.0.9 11 typ host ufrag here"), Ok(Added));
    for port in 100..162 {
        assert_eq!(add(agent, &format!("1 1 udp 5 10.0.0.9 {port} typ host")), Ok(Added));
    }
    assert_eq!(add(agent, "1 1 udp 5 10.0.0.9 99 typ host"), Err(RemoteCandidateError::TooMany));

    let local = |agent: &mut Agent, candidate| agent.add_local_candidate(now, candidate);
    assert_eq!(local(agent, host("10.0.0.1:1000")), Err(LocalCandidateError::Duplicate));
    let parsed: Candidate = "1 1 udp 5 10.0.0.9 9 typ host".parse().unwrap();
    assert_eq!(local(agent, parsed), Err(LocalCandidateError::NoBase));
    for port in 1..32 {
        assert!(local(agent, host(&format!("10.0.0.1:{port}"))).is_ok());
    }
    assert_eq!(local(agent, host("10.0.0.1:99")), Err(LocalCandidateError::TooMany));
    // RFC 8445 §5.1.2.1: priorities are unique.
    let mut priorities: Vec<_> = agent.local_candidates().map(|(_, c)| c.priority()).collect();
    priorities.sort_unstable();
    priorities.dedup();
    assert_eq!(priorities.len(), 32);
    assert_eq!(agent.pairs().count(), 100);
}

#[test]
fn link_local_addresses_stay_among_themselves() {
    // RFC 8445 §6.1.2.2.
    let mut net = Net::new(31);
    net.add_local(0, Candidate::host("[fe80::1%7]:1".parse().unwrap()).unwrap());
    net.add_local(0, host("[2001:db8::1]:1"));
    let now = net.now;
    for address in ["[fe80::2]:2", "[2001:db8::2]:2", "10.0.0.2:2"] {
        net.peers[0].agent.add_remote_candidate(now, &host(address)).unwrap();
    }
    let pairs: Vec<_> =
        net.peers[0].agent.pairs().map(|p| (p.local.to_string(), p.remote.to_string())).collect();
    assert_eq!(pairs.len(), 2);
    assert!(pairs.contains(&("[fe80::1%7]:1".into(), "[fe80::2%7]:2".into())), "{pairs:?}");
}

#[test]
fn a_removed_local_candidate_takes_its_pairs_with_it() {
    // R11.
    let mut net = Net::new(32);
    let first = net.add_local(0, host("10.0.0.1:1000"));
    let second = net.add_local(0, host("10.0.0.3:1000").with_local_preference(3));
    net.add_local(1, host("10.0.0.2:2000"));
    net.signal();
    net.run_until(SECOND, Net::both_have_paths);
    let now = net.now;
    let agent = &mut net.peers[0].agent;
    agent.remove_local_candidate(now, first).unwrap();
    assert_eq!(agent.remove_local_candidate(now, first), Err(UnknownCandidate));
    assert_eq!(agent.local_candidate(first), None);
    assert!(agent.local_candidate(second).is_some());
    assert!(agent.pairs().all(|pair| pair.local == at("10.0.0.3:1000")));
    net.settle(0);
    net.run_until(40 * SECOND, |net| {
        net.peers[0].agent.send_path().is_some_and(|path| path.local == at("10.0.0.3:1000"))
    });
}
