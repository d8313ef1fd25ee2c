use super::*;
use crate::sctp::chunk::{Chunks, kind};

fn kinds(packet: &[u8]) -> Vec<u8> {
    let mut chunks = Chunks::new(packet, 12);
    let mut kinds = Vec::new();
    while let Some(Ok(chunk)) = chunks.next() {
        kinds.push(chunk.kind);
    }
    kinds
}

fn checksum(packet: &[u8]) -> u32 {
    u32::from_be_bytes(packet[8..12].try_into().unwrap())
}

#[test]
fn one_side_connects_and_data_rides_with_the_cookie() {
    let mut net = Net::plain(1);
    net.send(End::A, 0, "hello", SendOptions::default());
    net.a.association.connect(net.now, Some(50 * MS));
    net.run_for(76 * MS);
    // Three one-way trips after INIT left, the other side holds the message.
    assert_eq!(net.take_messages(End::B), [(0, Bytes::from_static(b"hello"))]);
    assert_eq!(kinds(&net.a.sent[0]), [kind::INIT]);
    assert_eq!(kinds(&net.b.sent[0]), [kind::INIT_ACK]);
    assert_eq!(kinds(&net.a.sent[1]), [kind::COOKIE_ECHO, kind::I_DATA]);
    // RFC 9260 §5.1.5 steps 6 and 7: COOKIE ACK first, and the data acknowledged at once.
    assert_eq!(kinds(&net.b.sent[1]), [kind::COOKIE_ACK, kind::SACK]);
}

#[test]
fn both_sides_connect_at_once() {
    // RFC 9260 §5.2.1: collisions end in one association.
    for delay in [0, 1, 25, 40] {
        let mut net = Net::plain(2);
        net.a.association.connect(net.now, Some(50 * MS));
        net.run_for(delay * MS);
        net.b.association.connect(net.now, Some(50 * MS));
        net.run_for(200 * MS);
        assert!(net.both(Association::is_established));
        for end in [End::A, End::B] {
            let connected = net.side(end).events.iter().filter(|e| **e == Event::Connected).count();
            assert_eq!(connected, 1);
            net.send(end, 1, "x", SendOptions::default());
        }
        net.run_for(200 * MS);
        assert_eq!(net.take_messages(End::A).len(), 1);
        assert_eq!(net.take_messages(End::B).len(), 1);
    }
}

#[test]
fn the_handshake_survives_loss() {
    for seed in 0..100 {
        let link = Link { loss: 300, duplication: 100, jitter: 30 * MS, ..Link::default() };
        let mut net = Net::new(Config::default(), Config::default(), link, seed);
        net.send(End::A, 0, "a", SendOptions::default());
        net.send(End::B, 1, "b", SendOptions::default());
        net.a.association.connect(net.now, Some(80 * MS));
        net.b.association.connect(net.now, Some(80 * MS));
        net.run_for(15_000 * MS);
        assert_eq!(net.take_messages(End::B).len(), 1, "seed {seed}");
        assert_eq!(net.take_messages(End::A).len(), 1, "seed {seed}");
    }
}

#[test]
fn the_handshake_gives_up_with_a_reason() {
    let link = Link { loss: 1000, ..Link::default() };
    let mut net = Net::new(Config::default(), Config::default(), link, 3);
    net.a.association.connect(net.now, None);
    net.run_for(200_000 * MS);
    assert_eq!(net.a.closed, Some(CloseReason::HandshakeTimeout));
    assert_eq!(net.a.association.next_timeout(), None);
    assert_eq!(net.a.sent.len(), 61);
}

#[test]
fn checksums_are_zero_only_where_rfc_9653_allows() {
    let mut net = Net::plain(4);
    net.send(End::A, 0, "hello", SendOptions::default());
    net.a.association.connect(net.now, Some(50 * MS));
    net.run_for(500 * MS);
    // §5.2: INIT, and COOKIE ECHO with what is bundled, carry a real one; INIT ACK, too, as we write it.
    assert_ne!(checksum(&net.a.sent[0]), 0);
    assert_ne!(checksum(&net.a.sent[1]), 0);
    assert_ne!(checksum(&net.b.sent[0]), 0);
    assert_eq!(checksum(&net.b.sent[1]), 0);
    net.send(End::A, 0, "again", SendOptions::default());
    net.run_for(500 * MS);
    assert_eq!(checksum(net.a.sent.last().unwrap()), 0);
}

#[test]
fn a_peer_without_extensions_gets_plain_sctp() {
    let old = Config { interleaving: false, zero_checksum: false, ..Config::default() };
    let mut net = Net::new(Config::default(), old, Link::default(), 5);
    net.connect();
    net.send(End::A, 0, "hello", SendOptions::default());
    net.run_for(500 * MS);
    let last = net.a.sent.last().unwrap();
    assert_eq!(kinds(last), [kind::DATA]);
    assert_ne!(checksum(last), 0);
    assert_eq!(net.take_messages(End::B).len(), 1);
}

#[test]
fn a_damaged_packet_is_dropped() {
    let mut net = Net::plain(6);
    net.a.association.connect(net.now, Some(50 * MS));
    net.flush();
    let mut packet = net.a.sent[0].to_vec();
    packet[20] ^= 1;
    net.b.association.handle_packet(net.now, packet.into(), Ecn::NotEct);
    assert_eq!(net.b.association.stats().packets_corrupt, 1);
}

#[test]
fn a_peer_that_starts_anew_is_told_to_the_user() {
    // RFC 9260 §5.2.4 action A.
    let mut net = Net::connected(Config::default(), Link::default(), 7);
    net.send(End::A, 0, "before", SendOptions::default());
    net.run_for(500 * MS);
    net.b = side(Config::default(), 77, net.now);
    net.b.association.connect(net.now, Some(50 * MS));
    net.run_for(500 * MS);
    assert!(net.a.events.contains(&Event::Restarted));
    assert!(net.both(Association::is_established));
    net.send(End::A, 0, "after", SendOptions::default());
    net.send(End::B, 0, "too", SendOptions::default());
    net.run_for(500 * MS);
    assert_eq!(net.take_messages(End::B), [(0, Bytes::from_static(b"after"))]);
    assert_eq!(net.take_messages(End::A).last().unwrap().1, "too");
}

#[test]
fn inits_described_in_sdp_need_no_packets() {
    // draft-hancke-tsvwg-snap: both INITs travel with the session descriptions.
    let mut net = Net::plain(8);
    let (a, b) = (net.a.association.local_init(), net.b.association.local_init());
    assert!(net.a.association.accept_remote_init(net.now, None, &b[..b.len() - 1]).is_err());
    assert!(net.a.association.accept_remote_init(net.now, None, b"").is_err());
    net.a.association.accept_remote_init(net.now, None, &b).unwrap();
    net.b.association.accept_remote_init(net.now, None, &a).unwrap();
    net.send(End::A, 0, "at once", SendOptions::default());
    net.run_for(26 * MS);
    assert_eq!(net.take_messages(End::B).len(), 1);
    assert!(net.a.association.accept_remote_init(net.now, None, &b).is_err());
}

#[test]
fn shutdown_waits_for_what_was_accepted() {
    // RFC 9260 §9.2.
    for loss in [0, 200] {
        let link = Link { loss, ..Link::default() };
        let mut net = Net::connected(Config::default(), link, 9);
        for _ in 0..20 {
            net.send(End::A, 0, vec![7; 10_000], SendOptions::default());
        }
        net.a.association.shutdown(net.now);
        assert!(
            net.a.association.send(net.now, StreamId(0), 51, "x".into(), SendOptions::default()).is_err()
        );
        net.run_for(60_000 * MS);
        assert_eq!(net.take_messages(End::B).len(), 20);
        assert_eq!(net.a.closed, Some(CloseReason::Shutdown));
        assert!(net.b.association.is_ended());
        assert_eq!(net.a.association.next_timeout(), None);
    }
}

#[test]
fn both_sides_shut_down_at_once() {
    let mut net = Net::connected(Config::default(), Link::default(), 10);
    net.a.association.shutdown(net.now);
    net.b.association.shutdown(net.now);
    net.run_for(5000 * MS);
    assert_eq!(net.a.closed, Some(CloseReason::Shutdown));
    assert_eq!(net.b.closed, Some(CloseReason::Shutdown));
}

#[test]
fn an_abort_tells_its_words() {
    let mut net = Net::connected(Config::default(), Link::default(), 11);
    net.a.association.abort(net.now);
    net.run_for(100 * MS);
    assert_eq!(net.a.closed, Some(CloseReason::Aborted));
    assert_eq!(net.b.closed, Some(CloseReason::PeerAborted("user-initiated abort: closed".to_owned())));
    // A packet that comes too late is answered with a reflected ABORT (RFC 9260 §8.4 rule 8), not with life.
    let late = net.b.sent.last().unwrap().clone();
    net.a.association.handle_packet(net.now, late, Ecn::NotEct);
    net.flush();
    assert_eq!(net.a.association.next_timeout(), None);
}

#[test]
fn heartbeats_find_a_dead_peer_when_asked_to() {
    // RFC 9260 §8.3, §8.1.
    let config =
        Config { heartbeat_interval: Some(1000 * MS), max_retransmits: Some(4), ..Config::default() };
    let mut net = Net::connected(config, Link::default(), 12);
    net.run_for(20_000 * MS);
    assert!(net.both(Association::is_established));
    assert!(net.a.association.stats().smoothed_rtt.is_some());
    net.link.loss = 1000;
    net.run_for(20_000 * MS);
    assert_eq!(net.a.closed, Some(CloseReason::Unreachable));
}

#[test]
fn an_idle_association_does_nothing() {
    let mut net = Net::connected(Config::default(), Link::default(), 13);
    net.run_for(2000 * MS);
    assert_eq!(net.a.association.next_timeout(), None);
    assert_eq!(net.b.association.next_timeout(), None);
}

#[test]
fn a_lost_cookie_ack_does_not_hold_up_data() {
    let mut net = Net::plain(14);
    net.send(End::A, 0, "hello", SendOptions::default());
    net.a.association.connect(net.now, Some(50 * MS));
    net.run_for(60 * MS);
    let echo = net.a.sent[1].clone();
    net.b.association.handle_packet(net.now, echo, Ecn::NotEct);
    let mut ack = BytesMut::new();
    assert!(net.b.association.poll_packet(net.now, &mut ack));
    // Of COOKIE ACK and SACK, only the SACK arrives; it proves as much.
    let sack = [&ack[..12], &ack[16..]].concat();
    net.a.association.handle_packet(net.now, sack.into(), Ecn::NotEct);
    assert!(net.a.association.is_established());
}

#[test]
fn an_association_is_small() {
    assert!(size_of::<Association>() <= 2304, "{} bytes", size_of::<Association>());
}
