//! Who leads: lite agents, conflicts, and nominations that come in any order (RFC 8445 §2.4, §7.3.1.1, RFC 8863).

use super::*;

#[test]
fn a_lite_agent_answers_and_is_nominated_for() {
    // RFC 8445 §2.5, §8.2.
    for full_is_offerer in [true, false] {
        let lite = Config { lite: true, ..Config::default() };
        let mut net = Net::with([Config::default(), lite], [Controlling, Controlled], 9);
        net.loss = 10;
        net.add_hosts();
        let now = net.now;
        net.peers[0].agent.set_remote_lite(now, true);
        if full_is_offerer {
            net.signal();
        } else {
            net.signal_to(0);
            net.run(20 * MS);
            net.signal_to(1);
        }
        net.run_until(5 * SECOND, Net::both_are_complete);
        assert!(net.paths_agree());
        let lite = &net.peers[1];
        let sent = lite.agent.pairs().next().unwrap().stats;
        assert_eq!(sent.requests_sent, 0);
        net.run(120 * SECOND);
        assert!(net.both_have_paths());
        // When the full end falls silent, the lite one stops.
        net.loss = 100;
        net.run(40 * SECOND);
        assert_eq!(net.states(), [ConnectionState::Failed; 2]);
    }
}

#[test]
fn two_lite_agents_take_the_best_pair() {
    let lite = || Config { lite: true, ..Config::default() };
    let mut net = Net::with([lite(), lite()], [Controlling, Controlled], 10);
    net.add_hosts();
    for peer in [0, 1] {
        let now = net.now;
        net.peers[peer].agent.set_remote_lite(now, true);
    }
    net.signal();
    assert!(net.both_are_complete() && net.paths_agree());
    net.run(100 * SECOND);
    assert!(net.both_are_complete());
    assert_eq!(net.peers[0].sent, 0);
}

#[test]
fn role_conflicts_settle_within_three_round_trips() {
    // RFC 8445 §7.3.1.1, both ways and for many tie-breakers.
    for role in [Controlling, Controlled] {
        for seed in 0..100 {
            let mut net = Net::with([Config::default(), Config::default()], [role, role], seed);
            net.add_hosts();
            net.signal();
            let took = net.run_until(2 * SECOND, |net| {
                net.peers[0].agent.role() != net.peers[1].agent.role() && net.both_have_paths()
            });
            assert!(took <= 300 * MS, "{took:?}");
            net.run_until(2 * SECOND, Net::both_are_complete);
            assert_ne!(net.peers[0].agent.role(), net.peers[1].agent.role());
            assert!(net.paths_agree());
            let switches = net.peers.iter().map(|peer| peer.agent.stats().role_switches).sum::<u64>();
            assert!(switches <= 3, "{switches} switches, seed {seed}");
        }
    }
}

#[test]
fn equal_tie_breakers_settle_too() {
    for role in [Controlling, Controlled] {
        let mut net = Net::with([Config::default(), Config::default()], [role, role], 11);
        net.add_hosts();
        net.peers[0].agent.tie_breaker = 7;
        net.peers[1].agent.tie_breaker = 7;
        net.signal();
        let took = net.run_until(2 * SECOND, Net::both_are_complete);
        assert!(took <= 600 * MS, "{took:?}");
        assert_ne!(net.peers[0].agent.role(), net.peers[1].agent.role());
    }
}

#[test]
fn alternating_tie_breakers_switch_roles_once_per_own_check_at_most() {
    // R9.
    let mut net = Net::connected(12);
    let credentials = net.peers[0].agent.local_credentials().clone();
    let before = net.peers[0].sent;
    let checks =
        |net: &Net| net.peers[0].agent.pairs().map(|p| u64::from(p.stats.requests_sent)).sum::<u64>();
    let checks_before = checks(&net);
    for i in 0..400 {
        let tie_breaker = if i % 2 == 0 { u64::MAX } else { 0 };
        let request = check(&credentials, &net.sender(0), |b| {
            match net.peers[0].agent.role() {
                Controlling => b.ice_controlling(tie_breaker),
                Controlled => b.ice_controlled(tie_breaker),
            };
            b.priority(1);
        });
        assert_eq!(net.deliver(from("10.0.0.2:2000", 0, &request)), Handled::Consumed);
        net.now += MS;
    }
    let own = checks(&net) - checks_before;
    assert!(net.peers[0].agent.stats().role_switches <= own + 1);
    assert!(net.peers[0].sent - before <= 400 + own as usize);
}

#[test]
fn aggressive_nomination_is_followed_to_the_best_pair() {
    // RFC 8445 §8.1.1: an old peer puts USE-CANDIDATE into every check.
    let mut net = Net::new(13);
    net.add_local(0, host("10.0.0.1:1000"));
    net.add_local(1, host("10.0.0.2:2000").with_local_preference(5));
    net.add_local(1, host("10.0.0.3:2000").with_local_preference(9));
    // Here the first end is played by hand, and the second one is controlled.
    let theirs = Credentials { ufrag: "peer".into(), pwd: "0123456789012345678901".into() };
    let now = net.now;
    let agent = &mut net.peers[1].agent;
    agent.set_remote_credentials(now, theirs.clone()).unwrap();
    agent.add_remote_candidate(now, &host("10.0.0.1:1000")).unwrap();
    let ours = agent.local_credentials().clone();
    let mut selected = Vec::new();
    for local in ["10.0.0.2:2000", "10.0.0.3:2000", "10.0.0.2:2000"] {
        let request = check(&ours, "peer", |b| _ = b.priority(1_000_000).ice_controlling(5).use_candidate());
        let agent = &mut net.peers[1].agent;
        agent.handle_packet(net.now, at("10.0.0.1:1000"), at(local), Protocol::Udp, &request);
        // The triggered checks are answered.
        net.now += 10 * MS;
        let now = net.now;
        answer_all(&mut net.peers[1], now, &theirs);
        net.now += 10 * MS;
        selected.push(net.peers[1].agent.send_path().unwrap().local);
    }
    assert_eq!(selected, [at("10.0.0.2:2000"), at("10.0.0.3:2000"), at("10.0.0.3:2000")]);
    assert_eq!(net.peers[1].agent.state(), ConnectionState::Completed);
}
