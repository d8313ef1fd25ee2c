//! Consent, and peers that move (RFC 7675, RFC 8445 §5.1.1.1).

use super::*;

#[test]
fn a_quiet_link_keeps_consent_with_four_checks_a_period() {
    // RFC 7675 §5.1: one check each 4 to 6 s, at random.
    let mut net = Net::connected(22);
    net.run(4 * SECOND);
    let before = net.recorded.len();
    net.run(600 * SECOND);
    assert!(net.both_are_complete());
    // Requests and answers of both ends.
    let a_minute = (net.recorded.len() - before) / 10;
    assert!((4 * 10..=4 * 15).contains(&a_minute), "{a_minute} packets a minute");
    assert!(net.peers.iter().all(|peer| peer.agent.current.outstanding() <= 1));
}

#[test]
fn consent_outlives_a_lossy_link() {
    for seed in 0..20 {
        let mut net = Net::connected(seed);
        net.loss = 30;
        net.run(600 * SECOND);
        assert!(net.both_have_paths(), "seed {seed}");
        assert!(net.peers.iter().all(|peer| peer.agent.state() != ConnectionState::Failed));
    }
}

#[test]
fn silence_is_told_early_and_ends_sending_after_thirty_seconds() {
    let mut net = Net::connected(23);
    let silent_since = net.now;
    net.loss = 100;
    net.run_until(40 * SECOND, |net| net.states().contains(&ConnectionState::Disconnected));
    let told = net.now - silent_since;
    assert!((5 * SECOND..=11 * SECOND).contains(&told), "{told:?}");
    net.run_until(40 * SECOND, |net| net.states() == [ConnectionState::Failed; 2]);
    let took = net.now - silent_since;
    assert!(took <= 30 * SECOND + 100 * MS && took > 29 * SECOND, "{took:?}");
    assert!(net.peers.iter().all(|peer| peer.agent.send_path().is_none()));
    let sent = [0, 1].map(|i| net.peers[i].sent);
    net.loss = 0;
    net.run(100 * SECOND);
    assert_eq!([0, 1].map(|i| net.peers[i].sent), sent, "nothing is sent any more");
}

#[test]
fn a_short_silence_is_forgiven() {
    let mut net = Net::connected(24);
    net.loss = 100;
    net.run(20 * SECOND);
    assert_eq!(net.states(), [ConnectionState::Disconnected; 2]);
    net.loss = 0;
    net.run_until(2 * SECOND, Net::both_are_complete);
    net.run(60 * SECOND);
    assert!(net.both_are_complete());
}

#[test]
fn a_forbidden_answer_ends_consent_at_once() {
    // RFC 7675 §5.2.
    let mut net = Net::connected(25);
    let credentials = net.peers[1].agent.local_credentials().clone();
    let before = net.recorded.len();
    net.run_until(10 * SECOND, |net| net.recorded[before..].iter().any(|p| p.to == 1));
    let request = net.recorded[before..].iter().find(|p| p.to == 1).unwrap();
    let transaction = Message::parse(&request.bytes).unwrap().transaction();
    let mut buf = BytesMut::new();
    let mut builder = Builder::new(&mut buf, Class::Error, Method::BINDING, transaction);
    let key = crate::crypto::mac::HmacSha1Key::new(credentials.pwd.as_bytes());
    builder.error_code(ErrorCode::FORBIDDEN).integrity(&key).fingerprint();
    builder.finish();
    net.deliver(from("10.0.0.2:2000", 0, &buf));
    assert_eq!(net.peers[0].agent.state(), ConnectionState::Failed);
    assert_eq!(net.peers[0].agent.send_path(), None);
}

#[test]
fn a_peer_whose_address_changes_is_followed() {
    // A NAT forgets its mapping and makes another one; the peer does not notice.
    for moving in [0, 1] {
        let mut net = Net::new(26);
        net.add_hosts();
        let inside = [at("10.0.0.1:1000"), at("10.0.0.2:2000")][moving];
        net.nat = vec![(inside, at("203.0.113.1:4001"))];
        net.signal();
        net.run_until(2 * SECOND, Net::both_are_complete);
        net.run(30 * SECOND);
        net.nat = vec![(inside, at("203.0.113.1:4999"))];
        net.run(30 * SECOND);
        assert!(net.both_have_paths(), "moving {moving}: {:?}", net.states());
        assert_eq!(net.peers[1 - moving].agent.send_path().unwrap().remote, at("203.0.113.1:4999"));
    }
}

#[test]
fn who_went_elsewhere_follows_a_peer_that_stayed() {
    // The one end goes over to its backup before it hears of the new mapping; the other end never noticed anything.
    let configs = [Config::default(), Config { keep_backup: true, ..Config::default() }];
    let mut net = Net::with(configs, [Controlling, Controlled], 43);
    net.add_local(0, host("10.0.0.1:1000"));
    let relayed = Candidate::relayed(at("203.0.113.9:5000"), at("203.0.113.1:4001"), [203, 0, 113, 9].into());
    net.add_local(0, relayed.unwrap());
    net.add_local(1, host("10.0.0.2:2000"));
    net.nat = vec![(at("10.0.0.1:1000"), at("203.0.113.1:4001"))];
    net.signal();
    net.run_until(2 * SECOND, Net::both_are_complete);
    net.run(30 * SECOND);
    assert_eq!(net.peers[1].agent.send_path().unwrap().remote, at("203.0.113.1:4001"));
    net.nat = vec![(at("10.0.0.1:1000"), at("203.0.113.1:4999"))];
    let mut remotes = Vec::new();
    for _ in 0..300 {
        // One end sends, and so asks for consent every second.
        net.peers[1].agent.on_traffic(net.now);
        net.run(100 * MS);
        remotes.push(net.peers[1].agent.send_path().unwrap().remote);
    }
    remotes.dedup();
    assert_eq!(remotes, ["203.0.113.1:4001", "203.0.113.9:5000", "203.0.113.1:4999"].map(at));
    assert!(net.paths_agree());
}
