//! From two lists of candidates to a pair that works (RFC 8445 §6, §7, RFC 8838).

use super::*;

#[test]
fn a_clean_link_is_valid_after_one_round_trip_and_selected_after_two() {
    let mut net = Net::new(1);
    net.add_hosts();
    net.signal();
    assert_eq!(net.run_until(SECOND, Net::both_have_paths), 100 * MS);
    assert_eq!(net.run_until(SECOND, Net::both_are_complete), 200 * MS);
    assert!(net.paths_agree());
    let path = *net.peers[0].agent.send_path().unwrap();
    assert_eq!(path.rtt, Some(100 * MS));
    use ConnectionState::*;
    for peer in &net.peers {
        assert_eq!(peer.states(), [Checking, Connected, Completed]);
    }
    // Two checks each (one own, one triggered), two answers each, and the nomination.
    net.run(SECOND);
    assert!(net.peers.iter().all(|peer| peer.sent <= 7), "{} {}", net.peers[0].sent, net.peers[1].sent);
}

#[test]
fn the_answerer_may_check_before_the_offerer_knows_of_it() {
    // The offerer has no credentials yet: it answers, and checks back once it knows them (RFC 8445 §7.3).
    let mut net = Net::new(2);
    net.add_hosts();
    net.signal_to(1);
    net.run(120 * MS);
    assert!(net.peers[1].agent.send_path().is_some(), "valid after one round trip, without the answer");
    assert_eq!(
        net.peers[0].agent.accepts_from(at("10.0.0.2:2000"), at("10.0.0.1:1000"), Protocol::Udp),
        SourceState::Checked
    );
    let answered = net.now;
    net.signal_to(0);
    net.run_until(SECOND, |net| net.peers[0].agent.send_path().is_some());
    assert_eq!(net.now - answered, 100 * MS);
    net.run_until(SECOND, Net::both_are_complete);
}

#[test]
fn a_third_of_all_packets_lost_costs_little() {
    let (mut total, mut worst) = (Duration::ZERO, Duration::ZERO);
    for seed in 0..200 {
        let mut net = Net::new(seed);
        net.loss = 30;
        net.add_hosts();
        net.signal();
        let took = net.run_until(10 * SECOND, Net::both_have_paths);
        total += took;
        worst = worst.max(took);
        net.run_until(20 * SECOND, Net::both_are_complete);
        assert!(net.paths_agree(), "seed {seed}");
    }
    let mean = total / 200;
    assert!(mean < 220 * MS, "{mean:?}");
    assert!(worst < 1500 * MS, "{worst:?}");
}

#[test]
fn the_best_of_several_pairs_is_selected() {
    for seed in 0..20 {
        let mut net = Net::new(seed);
        net.add_local(0, host("10.0.0.1:1000").with_local_preference(100));
        net.add_local(0, host("[2001:db8::1]:1000").with_local_preference(200));
        net.add_local(1, host("10.0.0.2:2000").with_local_preference(100));
        net.add_local(1, host("[2001:db8::2]:2000").with_local_preference(200));
        net.signal();
        net.run_until(SECOND, Net::both_are_complete);
        assert!(net.paths_agree());
        assert!(net.peers[0].agent.send_path().unwrap().remote.is_ipv6());
        // Families are never mixed.
        assert_eq!(net.peers[0].agent.pairs().count(), 2);
    }
}

#[test]
fn dead_candidates_delay_nobody_for_long() {
    let mut net = Net::new(3);
    net.add_local(0, host("10.0.0.1:1000"));
    for last in 2..12 {
        let address = format!("10.0.1.{last}:2000");
        net.dead.push(at(&address));
        net.add_local(1, host(&address).with_local_preference(60_000 + last));
    }
    net.add_local(1, host("10.0.0.2:2000").with_local_preference(10));
    net.signal();
    let took = net.run_until(5 * SECOND, Net::both_have_paths);
    assert!(took < 950 * MS, "{took:?}");
    let took = net.run_until(5 * SECOND, Net::both_are_complete);
    assert!(took < 1400 * MS, "{took:?}");
    assert!(net.paths_agree());
    // Those that were not selected go after three seconds.
    net.run(4 * SECOND);
    assert_eq!([0, 1].map(|i| net.peers[i].agent.pairs().count()), [1, 1]);
}

#[test]
fn two_nats_are_passed_with_reflexive_candidates() {
    let mut net = Net::new(4);
    let server = "198.51.100.1".parse().unwrap();
    net.nat =
        vec![(at("10.0.0.1:1000"), at("203.0.113.1:4001")), (at("10.0.0.2:2000"), at("203.0.113.2:4002"))];
    for (peer, (inside, outside)) in net.nat.clone().into_iter().enumerate() {
        net.add_local(peer, Candidate::host(inside).unwrap());
        net.add_local(peer, Candidate::server_reflexive(outside, inside, server).unwrap());
    }
    net.signal();
    net.run_until(SECOND, Net::both_are_complete);
    assert!(net.paths_agree());
    let path = *net.peers[0].agent.send_path().unwrap();
    assert_eq!(path.local, at("10.0.0.1:1000"));
    assert_eq!(path.local_kind, CandidateKind::ServerReflexive);
    assert_eq!(path.remote, at("203.0.113.2:4002"));
    let view = net.peers[0].agent.pairs().find(|pair| pair.in_use).unwrap();
    assert_eq!(view.mapped, Some(at("203.0.113.1:4001")));
}

#[test]
fn candidates_may_trickle_both_ways() {
    // RFC 8838: credentials first, candidates one by one, in any order, late.
    for seed in 0..50 {
        let mut net = Net::new(seed);
        net.loss = seed % 20;
        let mut order: Vec<_> = (0..6).collect();
        for i in (1..order.len()).rev() {
            let other = net.rng.below(i as u64 + 1) as usize;
            order.swap(i, other);
        }
        for peer in [0, 1] {
            let credentials = net.peers[1 - peer].agent.local_credentials().clone();
            net.peers[peer].agent.set_remote_credentials(net.now, credentials).unwrap();
        }
        for step in order {
            let (peer, which) = (step % 2, step / 2);
            let candidate = host(&format!("10.0.{peer}.{}:100", which + 1));
            if which > 0 {
                net.dead.push(candidate.base().unwrap());
            }
            net.add_local(peer, candidate.clone());
            net.settle(peer);
            let other = &mut net.peers[1 - peer].agent;
            let parsed: Candidate = candidate.to_string().parse().unwrap();
            assert_eq!(other.add_remote_candidate(net.now, &parsed), Ok(RemoteCandidate::Added));
            net.settle(1 - peer);
            net.run(150 * MS);
        }
        for peer in [0, 1] {
            net.peers[peer].agent.end_of_remote_candidates(net.now);
            net.settle(peer);
        }
        net.run_until(15 * SECOND, Net::both_are_complete);
        assert!(net.paths_agree(), "seed {seed}");
    }
}

#[test]
fn an_end_without_candidates_is_found_by_its_checks() {
    // RFC 8863 §3.1.
    let mut net = Net::new(5);
    net.add_hosts();
    let credentials = net.peers[0].agent.local_credentials().clone();
    net.peers[1].agent.set_remote_credentials(net.now, credentials).unwrap();
    net.peers[1].agent.end_of_remote_candidates(net.now);
    net.run(10 * SECOND);
    net.settle(1);
    net.signal_to(0);
    net.run_until(2 * SECOND, Net::both_are_complete);
    assert_eq!(net.peers[1].agent.send_path().unwrap().remote_kind, CandidateKind::PeerReflexive);
}

#[test]
fn a_candidate_learned_from_a_check_is_recognised_when_it_is_signalled() {
    // RFC 8838 §11.
    let mut net = Net::new(6);
    net.add_hosts();
    net.signal_to(1);
    net.run(60 * MS);
    assert_eq!(net.peers[0].agent.pairs().next().unwrap().remote_kind, CandidateKind::PeerReflexive);
    net.signal_to(0);
    let pairs: Vec<_> = net.peers[0].agent.pairs().collect();
    assert_eq!(pairs.len(), 1);
    assert_eq!(pairs[0].remote_kind, CandidateKind::Host);
}

#[test]
fn impossible_connections_fail_when_patience_ends() {
    // RFC 8863 §4, and a bounded number of packets meanwhile.
    let mut net = Net::new(7);
    net.add_hosts();
    net.dead = vec![at("10.0.0.1:1000"), at("10.0.0.2:2000")];
    net.signal();
    net.run(39_400 * MS);
    assert_eq!(net.states(), [ConnectionState::Checking; 2]);
    net.run(200 * MS);
    assert_eq!(net.states(), [ConnectionState::Failed; 2]);
    assert!((30..=50).contains(&net.peers[0].sent), "{}", net.peers[0].sent);
    // Failed is final, and quiet.
    assert_eq!(net.peers[0].agent.next_timeout(), None);
    net.dead.clear();
    let credentials = net.peers[0].agent.local_credentials().clone();
    let request = check(&credentials, &net.sender(0), |b| _ = b.priority(1).ice_controlled(1));
    assert_eq!(net.deliver(from("10.0.0.2:2000", 0, &request)), Handled::Dropped(DropReason::Inert));
    assert_eq!(net.peers[0].agent.poll_transmit(&mut Pool::new()), None);
}

#[test]
fn pacing_is_kept_whatever_is_asked_for() {
    let mut net = Net::new(8);
    for i in 1..=10 {
        net.add_local(0, host(&format!("10.0.0.{i}:1000")));
        let candidate = host(&format!("10.0.1.{i}:2000"));
        net.dead.push(candidate.base().unwrap());
        net.add_local(1, candidate);
    }
    net.signal_to(0);
    assert_eq!(net.peers[0].agent.pairs().count(), 100);
    net.run(SECOND);
    assert_eq!(net.peers[0].sent, 21, "one at once and one each 50 ms");
    net.run(40 * SECOND);
    assert!(net.peers[0].sent <= 791, "{}", net.peers[0].sent);
}
