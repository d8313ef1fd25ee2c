//! Packets that prove nothing, and peers that prove too much.

use super::*;

#[test]
fn checks_that_prove_nothing_change_nothing() {
    // R8.
    let mut net = Net::connected(14);
    let (sent, credentials) = (net.peers[0].sent, net.peers[0].agent.local_credentials().clone());
    let before: Vec<_> = net.peers[0].agent.pairs().collect();
    let wrong = Credentials { pwd: "x".repeat(24), ..credentials.clone() };
    let other = Credentials { ufrag: "none".into(), ..credentials.clone() };
    let mut bare = BytesMut::new();
    let mut builder = Builder::new(&mut bare, Class::Request, Method::BINDING, TransactionId([1; 12]));
    builder.username(&[credentials.ufrag.as_bytes(), b":peer"]).use_candidate().priority(5).fingerprint();
    builder.finish();
    let rows = [
        (
            check(&wrong, &net.sender(0), |b| _ = b.use_candidate().priority(7).ice_controlled(0)),
            DropReason::NotAuthentic,
        ),
        (check(&other, &net.sender(0), |b| _ = b.priority(7)), DropReason::UnknownUser),
        (bare.to_vec(), DropReason::Unprotected),
        (Vec::new(), DropReason::Malformed),
        (vec![0; 19], DropReason::Malformed),
        (vec![0; 1200], DropReason::Malformed),
    ];
    for (bytes, reason) in rows {
        for source in ["10.0.0.2:2000", "192.0.2.66:666"] {
            assert_eq!(net.deliver(from(source, 0, &bytes)), Handled::Dropped(reason));
        }
    }
    // To an address that is not ours.
    let mut astray = from("192.0.2.66:666", 0, &check(&credentials, &net.sender(0), |b| _ = b.priority(1)));
    astray.destination = at("10.9.9.9:9");
    assert_eq!(net.deliver(astray), Handled::Dropped(DropReason::UnknownLocalAddress));
    assert_eq!(net.peers[0].sent, sent, "nothing was answered");
    assert_eq!(net.peers[0].agent.pairs().collect::<Vec<_>>(), before);
    assert_eq!(net.peers[0].agent.role(), Controlling);
    assert!(net.peers[0].agent.stats().dropped_unauthentic >= 6);
}

#[test]
fn indications_and_other_methods_are_dropped() {
    // R6.
    let mut net = Net::new(15);
    net.add_hosts();
    for (class, method) in [
        (Class::Indication, Method::BINDING),
        (Class::Request, Method::ALLOCATE),
        (Class::Success, Method::DATA),
    ] {
        let mut buf = BytesMut::new();
        let mut builder = Builder::new(&mut buf, class, method, TransactionId([1; 12]));
        builder.fingerprint();
        builder.finish();
        assert_eq!(net.deliver(from("1.2.3.4:5", 0, &buf)), Handled::Dropped(DropReason::NotForIce));
    }
}

#[test]
fn attributes_that_must_be_understood_are_refused_with_their_names() {
    // RFC 8489 §6.3.1; comprehension-optional ones, renomination among them, are ignored (R12).
    let mut net = Net::connected(16);
    let credentials = net.peers[0].agent.local_credentials().clone();
    let unknown =
        check(&credentials, &net.sender(0), |b| _ = b.attribute(0x7abc, &[]).priority(1).ice_controlled(1));
    net.deliver(from("10.0.0.2:2000", 0, &unknown));
    let reply = net.recorded.last().unwrap();
    let message = Message::parse(&reply.bytes).unwrap();
    assert_eq!(message.error_code().map(|e| e.code), Some(420));
    assert_eq!(message.unknown_attributes().unwrap().as_slice(), &[0x7abc]);
    for value in [&[][..], &[1], &[0, 0, 0, 9], &[0xff; 40]] {
        let optional = check(&credentials, &net.sender(0), |b| {
            _ = b.attribute(0xc001, value).priority(1).ice_controlled(1)
        });
        net.deliver(from("10.0.0.2:2000", 0, &optional));
        let message = Message::parse(&net.recorded.last().unwrap().bytes).unwrap();
        assert_eq!(message.class(), Class::Success);
    }
    assert!(net.both_are_complete());
}

#[test]
fn a_flood_of_authentic_sources_leaves_the_selected_pair_alone() {
    // R10.
    let mut net = Net::connected(17);
    let credentials = net.peers[0].agent.local_credentials().clone();
    let before = *net.peers[0].agent.send_path().unwrap();
    for i in 0..1000u32 {
        let source = format!("192.0.{}.{}:{}", i / 250, i % 250 + 1, 1000 + i);
        let request = check(&credentials, &net.sender(0), |b| {
            _ = b.priority(u32::MAX - i).ice_controlled(1).use_candidate()
        });
        net.deliver(from(&source, 0, &request));
        assert!(net.peers[0].agent.pairs().count() <= 100);
        net.now += MS;
    }
    assert_eq!(*net.peers[0].agent.send_path().unwrap(), before);
    net.run(100 * SECOND);
    assert!(net.both_are_complete());
    assert_eq!(net.peers[0].agent.pairs().count(), 1);
}

#[test]
fn a_flood_while_checking_leaves_what_works() {
    let mut net = Net::new(18);
    net.add_hosts();
    net.signal();
    net.run(110 * MS);
    let credentials = net.peers[1].agent.local_credentials().clone();
    for i in 0..1000u32 {
        let source = format!("192.0.{}.{}:{}", i / 250, i % 250 + 1, 1000 + i);
        let request =
            check(&credentials, &net.sender(1), |b| _ = b.priority(i32::MAX as u32).ice_controlling(1));
        net.deliver(from(&source, 1, &request));
        assert!(net.peers[1].agent.pairs().count() <= 100);
    }
    net.run_until(2 * SECOND, Net::both_are_complete);
    assert!(net.paths_agree());
}

#[test]
fn answers_from_elsewhere_replayed_or_stray_count_for_nothing() {
    let mut net = Net::connected(19);
    net.run(10 * SECOND);
    // Every answer that was ever sent, again.
    let answers: Vec<_> = net
        .recorded
        .iter()
        .filter(|packet| Message::parse(&packet.bytes).unwrap().class() == Class::Success)
        .cloned()
        .collect();
    assert!(answers.len() > 6);
    net.loss = 100;
    net.wire.clear();
    let silent_since = net.now;
    while net.states() != [ConnectionState::Failed; 2] {
        for packet in &answers {
            let handled = net.deliver(packet.clone());
            assert!(matches!(handled, Handled::Dropped(DropReason::UnknownTransaction | DropReason::Inert)));
        }
        net.run(SECOND);
        assert!(net.now - silent_since <= 31 * SECOND);
    }
}

/// Two agents, of whose checks one has left; the credentials that it is to be answered with, and the check.
fn checking(seed: u64) -> (Net, Credentials, Transmit) {
    let mut net = Net::new(seed);
    net.add_hosts();
    let credentials = net.peers[1].agent.local_credentials().clone();
    let now = net.now;
    let agent = &mut net.peers[0].agent;
    agent.set_remote_credentials(now, credentials.clone()).unwrap();
    agent.add_remote_candidate(now, &host("10.0.0.2:2000")).unwrap();
    agent.handle_timeout(now);
    let request = agent.poll_transmit(&mut Pool::new()).unwrap();
    (net, credentials, request)
}

#[test]
fn an_answer_from_the_wrong_address_does_not_validate() {
    // RFC 8445 §7.2.5.2.1.
    let (mut net, credentials, request) = checking(20);
    let message = Message::parse(&request.contents).unwrap();
    let mut buf = BytesMut::new();
    let mut builder = Builder::new(&mut buf, Class::Success, Method::BINDING, message.transaction());
    let key = crate::crypto::mac::HmacSha1Key::new(credentials.pwd.as_bytes());
    builder.xor_mapped_address(request.source).integrity(&key).fingerprint();
    builder.finish();
    let handled = net.deliver(from("192.0.2.66:666", 0, &buf));
    assert_eq!(handled, Handled::Dropped(DropReason::WrongAddress));
    assert_eq!(net.peers[0].agent.send_path(), None);
    // The true one still does.
    assert_eq!(net.deliver(from("10.0.0.2:2000", 0, &buf)), Handled::Consumed);
    assert!(net.peers[0].agent.send_path().is_some());
    // And only once.
    let again = net.deliver(from("10.0.0.2:2000", 0, &buf));
    assert_eq!(again, Handled::Dropped(DropReason::UnknownTransaction));
}

#[test]
fn a_refused_check_fails_its_pair_only_when_the_refusal_is_authentic() {
    // RFC 8489 §9.1.4.
    let (mut net, credentials, request) = checking(21);
    let transaction = Message::parse(&request.contents).unwrap().transaction();
    for (authentic, state) in [(false, PairState::InProgress), (true, PairState::Failed)] {
        let mut buf = BytesMut::new();
        let mut builder = Builder::new(&mut buf, Class::Error, Method::BINDING, transaction);
        builder.error_code(ErrorCode::BAD_REQUEST);
        if authentic {
            builder.integrity(&crate::crypto::mac::HmacSha1Key::new(credentials.pwd.as_bytes()));
        }
        builder.fingerprint();
        builder.finish();
        net.deliver(from("10.0.0.2:2000", 0, &buf));
        assert_eq!(net.peers[0].agent.pairs().next().unwrap().state, state);
    }
    // A request of the peer wakes the pair again (RFC 8445 §7.3.1.4).
    net.signal_to(1);
    net.run_until(2 * SECOND, Net::both_are_complete);
}

#[test]
fn any_bytes_in_any_state_are_survived() {
    // R1, R2.
    let mut rng = Rng::new([1; 32], Stream::Session);
    let mut nets = [Net::new(39), Net::connected(39)];
    for net in &mut nets {
        let sent = net.recorded.last().map_or(vec![0; 100], |packet| packet.bytes.clone());
        for _ in 0..5000 {
            let mut bytes = sent.clone();
            bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize);
            for _ in 0..rng.below(4) {
                let at = rng.below(bytes.len().max(1) as u64) as usize;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = rng.u32() as u8;
                }
            }
            net.deliver(Packet {
                to: 0,
                source: at("10.0.0.2:2000"),
                destination: at("10.0.0.1:1000"),
                bytes,
            });
        }
    }
    assert!(nets[1].both_are_complete());
}
