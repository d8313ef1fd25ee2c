//! The contract of the machine: time, closing, polling, determinism, size.

use super::*;

#[test]
fn time_may_stand_still_run_backwards_or_leap() {
    // R15, R67.
    let mut net = Net::connected(33);
    let start = net.now;
    let peer = &mut net.peers[0];
    for offset in [0, 5000, 0, 4000, 1] {
        let now = start + offset * MS;
        for _ in 0..3 {
            peer.agent.handle_timeout(now);
            while peer.agent.poll_transmit(&mut peer.pool).is_some() {}
            assert!(peer.agent.next_timeout().is_some_and(|at| at > now));
        }
    }
    // A day later consent is gone; at most one flight was sent on the way.
    peer.agent.handle_timeout(start + 86_400 * SECOND);
    let burst = std::iter::from_fn(|| peer.agent.poll_transmit(&mut peer.pool)).count();
    assert!(burst <= 1);
    assert_eq!(peer.agent.state(), ConnectionState::Failed);
    assert_eq!(peer.agent.next_timeout(), None);
}

#[test]
fn a_closed_agent_is_inert() {
    // R64.
    let mut net = Net::connected(34);
    let now = net.now;
    let credentials = net.peers[0].agent.local_credentials().clone();
    net.peers[0].agent.close();
    assert_eq!(net.peers[0].agent.next_timeout(), None);
    let request = check(&credentials, &net.sender(0), |b| _ = b.priority(1).ice_controlled(1));
    assert_eq!(net.deliver(from("10.0.0.2:2000", 0, &request)), Handled::Dropped(DropReason::Inert));
    let agent = &mut net.peers[0].agent;
    agent.restart(now);
    agent.handle_timeout(now);
    assert_eq!(agent.add_local_candidate(now, host("10.0.0.1:1")), Err(LocalCandidateError::Closed));
    assert_eq!(agent.add_remote_candidate(now, &host("10.0.0.1:1")), Err(RemoteCandidateError::Closed));
    assert_eq!(agent.set_remote_credentials(now, credentials), Err(CredentialsError::Closed));
    assert_eq!((agent.next_timeout(), agent.poll_transmit(&mut Pool::new())), (None, None));
    assert_eq!(agent.poll_fact(), None);
    assert_eq!(agent.send_path(), None);
}

#[test]
fn what_is_not_polled_does_not_pile_up() {
    // R68.
    let mut net = Net::connected(35);
    let credentials = net.peers[0].agent.local_credentials().clone();
    let request = check(&credentials, &net.sender(0), |b| _ = b.priority(1).ice_controlled(1));
    let now = net.now;
    let agent = &mut net.peers[0].agent;
    for _ in 0..1000 {
        agent.handle_packet(now, at("10.0.0.2:2000"), at("10.0.0.1:1000"), Protocol::Udp, &request);
    }
    let waiting = std::iter::from_fn(|| agent.poll_transmit(&mut Pool::new())).count();
    assert_eq!(waiting, 128);
    assert_eq!(agent.stats().outbox_overflows, 1000 - 128);
}

#[test]
fn the_same_seed_and_inputs_give_the_same_bytes() {
    let run = |seed| {
        let mut net = Net::new(seed);
        net.loss = 20;
        net.add_hosts();
        net.signal();
        net.run(60 * SECOND);
        net.recorded.into_iter().map(|packet| packet.bytes).collect::<Vec<_>>()
    };
    assert_eq!(run(36), run(36));
    assert_ne!(run(36), run(37));
}

#[test]
fn sources_are_told_apart() {
    let net = Net::connected(38);
    let agent = &net.peers[0].agent;
    let (source, local) = (at("10.0.0.2:2000"), at("10.0.0.1:1000"));
    assert_eq!(agent.accepts_from(source, local, Protocol::Udp), SourceState::Valid);
    assert_eq!(agent.accepts_from(source, local, Protocol::Tcp), SourceState::Unknown);
    assert_eq!(agent.accepts_from(at("10.0.0.2:2001"), local, Protocol::Udp), SourceState::Unknown);
    assert_eq!(agent.accepts_from(source, at("10.0.0.1:1001"), Protocol::Udp), SourceState::Unknown);
}

#[test]
fn an_agent_is_small() {
    assert!(size_of::<Agent>() <= 2048, "{} bytes", size_of::<Agent>());
    assert!(size_of::<pair::Pair>() <= 320, "{} bytes", size_of::<pair::Pair>());
}
