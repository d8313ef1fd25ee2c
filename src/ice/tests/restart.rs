//! ICE restarts (RFC 8445 §9).

use super::*;

#[test]
fn data_goes_on_during_a_restart() {
    // RFC 8445 §9.
    for seed in 0..30 {
        let mut net = Net::connected(seed);
        net.loss = seed % 3 * 10;
        let former = *net.peers[0].agent.send_path().unwrap();
        let old = net.peers[0].agent.local_credentials().clone();
        let now = net.now;
        let fresh = net.peers[0].agent.restart(now).clone();
        assert_ne!(fresh.ufrag, old.ufrag);
        assert_eq!(net.peers[0].agent.ufrags().count(), 2);
        assert_eq!(net.peers[0].agent.send_path(), Some(&former));
        // The answer takes its time; consent of the former pair is kept meanwhile (RFC 7675 §5.1).
        net.run(45 * SECOND);
        assert!(net.both_have_paths());
        let now = net.now;
        net.peers[1].agent.restart(now);
        net.signal_to(1);
        net.run(300 * MS);
        net.signal_to(0);
        let end = net.now + 20 * SECOND;
        while !net.both_are_complete() {
            assert!(net.both_have_paths(), "there is a path all the time");
            assert!(net.step(end), "{:?}", net.states());
        }
        assert!(net.paths_agree());
        assert_ne!(net.peers[0].agent.send_path().unwrap().pair, former.pair);
        net.loss = 0;
        net.run(60 * SECOND);
        assert!(net.both_are_complete());
        assert_eq!(net.peers[0].agent.ufrags().count(), 1);
    }
}

#[test]
fn a_check_between_two_generations_is_not_answered() {
    // RFC 8445 §7.3: a user name has both fragments. A browser that restarts checks from its new sockets, with the
    // credentials that it still has of us, until our answer comes. Told that this works, it would stay with it, and
    // never check the pairs of the new generation.
    let mut net = Net::connected(40);
    let former = net.peers[0].agent.local_credentials().clone();
    let (old, now) = (net.sender(0), net.now);
    net.peers[1].agent.restart(now);
    let fresh = net.sender(0);
    for restarted in [false, true] {
        let sent = net.peers[0].sent;
        for source in ["10.0.0.2:2001", "10.0.0.2:2000"] {
            let astray = check(&former, &fresh, |b| _ = b.priority(1).ice_controlled(1));
            let handled = net.deliver(from(source, 0, &astray));
            assert_eq!(handled, Handled::Dropped(DropReason::UnknownUser), "{source}, {restarted}");
        }
        assert_eq!(net.peers[0].sent, sent);
        assert_eq!(net.peers[0].agent.pairs().filter(|p| p.remote == at("10.0.0.2:2001")).count(), 0);
        // What both ends know goes on.
        let known = check(&former, &old, |b| _ = b.priority(1).ice_controlled(1));
        assert_eq!(net.deliver(from("10.0.0.2:2000", 0, &known)), Handled::Consumed);
        net.peers[0].agent.restart(now);
    }
    // Before the peer's description came, nobody knows its fragment: it is answered whatever it is.
    let ours = net.peers[0].agent.local_credentials().clone();
    let early = check(&ours, &fresh, |b| _ = b.priority(1).ice_controlled(1));
    assert_eq!(net.deliver(from("10.0.0.2:2001", 0, &early)), Handled::Consumed);
}

#[test]
fn an_unanswered_restart_is_taken_back() {
    let mut net = Net::connected(27);
    let former = *net.peers[0].agent.send_path().unwrap();
    let credentials = net.peers[0].agent.local_credentials().clone();
    let now = net.now;
    net.peers[0].agent.restart(now);
    net.run(8 * SECOND);
    let now = net.now;
    assert!(net.peers[0].agent.rollback_restart(now));
    assert!(!net.peers[0].agent.rollback_restart(now));
    net.settle(0);
    assert_eq!(net.peers[0].agent.local_credentials(), &credentials);
    assert_eq!(net.peers[0].agent.send_path().unwrap().pair, former.pair);
    net.run(100 * SECOND);
    assert!(net.both_are_complete());
}

#[test]
fn a_restart_revives_what_has_failed() {
    let mut net = Net::connected(28);
    net.loss = 100;
    net.run(60 * SECOND);
    assert_eq!(net.states(), [ConnectionState::Failed; 2]);
    net.loss = 0;
    for peer in [0, 1] {
        let now = net.now;
        net.peers[peer].agent.restart(now);
    }
    net.signal();
    net.run_until(SECOND, Net::both_are_complete);
    assert!(net.paths_agree());
}

#[test]
fn other_credentials_need_a_restart() {
    let mut net = Net::connected(29);
    let (now, same) = (net.now, net.peers[1].agent.local_credentials().clone());
    let agent = &mut net.peers[0].agent;
    assert_eq!(agent.set_remote_credentials(now, same.clone()), Ok(()));
    let other = Credentials { ufrag: "other".into(), ..same.clone() };
    assert_eq!(agent.set_remote_credentials(now, other), Err(CredentialsError::RestartNeeded));
    let short = Credentials { ufrag: "abc".into(), ..same };
    assert_eq!(agent.set_remote_credentials(now, short), Err(CredentialsError::Invalid));
}
