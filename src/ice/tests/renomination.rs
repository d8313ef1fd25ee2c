//! Numbered nominations (draft-thatcher-ice-renomination).

use super::*;
use crate::stun::attributes::types;

/// A controlled agent with two addresses, the first one better, and a peer that is played by hand.
struct Follower {
    net: Net,
    ours: Credentials,
    theirs: Credentials,
}

const BETTER: &str = "10.0.0.2:2000";
const WORSE: &str = "10.0.0.3:2000";

impl Follower {
    fn new(is_agreed: bool) -> Self {
        let mut net = Net::new(40);
        net.add_local(1, host(BETTER).with_local_preference(9));
        net.add_local(1, host(WORSE).with_local_preference(5));
        let theirs = Credentials { ufrag: "peer".into(), pwd: "0123456789012345678901".into() };
        let now = net.now;
        let agent = &mut net.peers[1].agent;
        agent.set_renomination(is_agreed);
        agent.set_remote_credentials(now, theirs.clone()).unwrap();
        agent.add_remote_candidate(now, &host("10.0.0.1:1000")).unwrap();
        let ours = agent.local_credentials().clone();
        Follower { net, ours, theirs }
    }

    /// A check comes to `local`, and what it triggers is answered; where data goes then.
    fn check(&mut self, local: &str, fill: impl FnOnce(&mut Builder<'_>)) -> SocketAddr {
        let request = check(&self.ours, "peer", |b| {
            b.priority(1_000_000).ice_controlling(5);
            fill(b);
        });
        let agent = &mut self.net.peers[1].agent;
        agent.handle_packet(self.net.now, at("10.0.0.1:1000"), at(local), Protocol::Udp, &request);
        self.net.now += 10 * MS;
        answer_all(&mut self.net.peers[1], self.net.now, &self.theirs);
        self.net.now += 10 * MS;
        self.net.peers[1].agent.send_path().unwrap().local
    }
}

#[test]
fn the_highest_number_counts_whatever_the_priority_and_the_order() {
    let mut ends = Follower::new(true);
    assert_eq!(ends.check(BETTER, |b| _ = b.use_candidate()), at(BETTER));
    // At once, and to a pair of lower priority.
    assert_eq!(ends.check(WORSE, |b| _ = b.use_candidate().nomination(2)), at(WORSE));
    // Those before, late.
    assert_eq!(ends.check(BETTER, |b| _ = b.use_candidate()), at(WORSE));
    assert_eq!(ends.check(BETTER, |b| _ = b.nomination(1)), at(WORSE));
    // The number alone is a nomination, as libwebrtc sends it.
    assert_eq!(ends.check(BETTER, |b| _ = b.nomination(3)), at(BETTER));
    assert_eq!(ends.check(WORSE, |b| _ = b.use_candidate().nomination(2)), at(BETTER));
    assert_eq!(ends.check(WORSE, |b| _ = b.nomination(u32::MAX)), at(WORSE));
    // Nothing is above that: priority and time decide, as without numbers.
    assert_eq!(ends.check(BETTER, |b| _ = b.nomination(u32::MAX)), at(BETTER));
}

#[test]
fn a_number_that_is_none_nominates_nothing() {
    // R12.
    let mut ends = Follower::new(true);
    ends.check(WORSE, |b| _ = b.use_candidate());
    let malformed: [&[u8]; 5] = [&[0; 4], &[], &[1], &[0, 0, 9], &[0, 0, 0, 0, 9]];
    for value in malformed {
        assert_eq!(ends.check(BETTER, |b| _ = b.attribute(types::NOMINATION, value)), at(WORSE), "{value:?}");
    }
    assert_eq!(ends.net.peers[1].agent.state(), ConnectionState::Completed);
}

#[test]
fn who_did_not_agree_does_not_count() {
    let mut ends = Follower::new(false);
    ends.check(BETTER, |b| _ = b.use_candidate());
    assert_eq!(ends.check(WORSE, |b| _ = b.nomination(7)), at(BETTER));
    assert_eq!(ends.check(WORSE, |b| _ = b.use_candidate().nomination(8)), at(BETTER));
}

/// The nominating checks that the controlling end has sent: whether they had USE-CANDIDATE, and their numbers.
fn nominations(net: &Net) -> Vec<(bool, Option<u32>)> {
    let messages = net.recorded.iter().filter(|packet| packet.to == 1);
    let found = messages.filter_map(|packet| {
        let message = Message::parse(&packet.bytes).unwrap();
        let is_nomination = message.use_candidate() || message.attribute(types::NOMINATION).is_some();
        is_nomination.then_some((message.use_candidate(), message.nomination()))
    });
    let mut found: Vec<_> = found.collect();
    found.dedup();
    found
}

/// Connects, and brings the controlling end a better address after a while.
fn moved(is_agreed: bool) -> Net {
    let mut net = Net::new(41);
    for peer in &mut net.peers {
        peer.agent.set_renomination(is_agreed);
    }
    net.add_local(0, host("10.0.0.1:1000").with_local_preference(5));
    net.add_local(1, host("10.0.0.2:2000"));
    net.signal();
    net.run_until(SECOND, Net::both_are_complete);
    net.run(10 * SECOND);
    net.add_local(0, host("10.0.0.9:1000").with_local_preference(9));
    net.settle(0);
    net.run(2 * SECOND);
    assert!(net.paths_agree());
    assert_eq!(net.peers[1].agent.send_path().unwrap().remote, at("10.0.0.9:1000"));
    net
}

#[test]
fn a_move_is_numbered_where_the_peer_counts() {
    assert_eq!(nominations(&moved(true)), [(true, None), (true, Some(2))]);
    assert_eq!(nominations(&moved(false)), [(true, None)]);
}

#[test]
fn numbers_go_on_over_restarts() {
    let mut net = moved(true);
    let now = net.now;
    for peer in &mut net.peers {
        peer.agent.restart(now);
    }
    net.recorded.clear();
    net.signal();
    net.run_until(30 * SECOND, Net::both_are_complete);
    assert_eq!(nominations(&net), [(true, Some(3))]);
}

#[test]
fn a_leader_that_followed_before_goes_on_from_the_number_it_heard() {
    let mut ends = Follower::new(true);
    ends.check(BETTER, |b| _ = b.nomination(6));
    // The peer has become the follower: the roles conflict, and the tie-breaker of 0 loses (RFC 8445 §7.3.1.1).
    let request = check(&ends.ours, "peer", |b| _ = b.priority(1_000_000).ice_controlled(0));
    let now = ends.net.now;
    let agent = &mut ends.net.peers[1].agent;
    agent.handle_packet(now, at("10.0.0.1:1000"), at(BETTER), Protocol::Udp, &request);
    assert_eq!(agent.role(), Controlling);
    // It moves to the other pair when that is the only one left.
    let id = agent.local_candidates().find(|(_, c)| c.socket_address() == Some(at(BETTER))).unwrap().0;
    agent.remove_local_candidate(now, id).unwrap();
    let mut numbers = Vec::new();
    for _ in 0..20 {
        ends.net.now += 100 * MS;
        let now = ends.net.now;
        let peer = &mut ends.net.peers[1];
        peer.agent.handle_timeout(now);
        let mut asked = Vec::new();
        while let Some(transmit) = peer.agent.poll_transmit(&mut peer.pool) {
            let message = Message::parse(&transmit.contents).unwrap();
            if message.class() == Class::Request {
                numbers.extend(message.nomination());
                asked.push((message.transaction(), transmit.source, transmit.destination));
            }
        }
        for (transaction, local, remote) in asked {
            let mut buf = BytesMut::new();
            let mut builder = Builder::new(&mut buf, Class::Success, Method::BINDING, transaction);
            let key = crate::crypto::mac::HmacSha1Key::new(ends.theirs.pwd.as_bytes());
            builder.xor_mapped_address(local).integrity(&key).fingerprint();
            builder.finish();
            peer.agent.handle_packet(now, remote, local, Protocol::Udp, &buf);
        }
    }
    assert_eq!(numbers.first(), Some(&7));
}
