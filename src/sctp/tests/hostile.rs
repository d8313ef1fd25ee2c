use super::*;
use crate::sctp::chunk::data::{DataChunk, DataFormat};
use crate::sctp::chunk::error::{Cause, emit_error};
use crate::sctp::chunk::reconfig::emit_outgoing_reset;
use crate::sctp::chunk::sack::{GapBlock, emit_sack};
use crate::sctp::chunk::{emit_chunk, kind};
use crate::sctp::packet::{emit_header, patch_checksum};
use crate::wire::serial::Serial32;
use crate::wire::writer::Writer;

/// A packet to `end` with the right tag and checksum.
fn forge(net: &mut Net, end: End, body: impl FnOnce(&mut Writer<'_>)) -> Bytes {
    let tag = net.side(end).association.offer.tag;
    packet(tag, body)
}

fn packet(tag: u32, body: impl FnOnce(&mut Writer<'_>)) -> Bytes {
    let mut packet = BytesMut::new();
    let mut w = Writer::new(&mut packet);
    emit_header(&mut w, (5000, 5000), tag);
    body(&mut w);
    patch_checksum(w.as_mut_slice());
    packet.freeze()
}

fn hit(net: &mut Net, end: End, packet: Bytes) {
    let now = net.now;
    net.side(end).association.handle_packet(now, packet, Ecn::NotEct);
}

/// The association still carries data both ways.
fn is_alive(net: &mut Net) {
    net.run_for(1000 * MS);
    net.take_messages(End::A);
    net.take_messages(End::B);
    net.send(End::A, 9, "ping", SendOptions::default());
    net.send(End::B, 9, "pong", SendOptions::default());
    net.run_for(3000 * MS);
    assert_eq!(net.take_messages(End::B).len(), 1);
    assert_eq!(net.take_messages(End::A).len(), 1);
}

#[test]
fn a_thousand_inits_change_nothing() {
    // HARDENING R44: no reset without a valid cookie, no state kept.
    let mut net = Net::connected(Config::default(), Link::default(), 1);
    let mut stranger = side(Config::default(), 50, net.now);
    stranger.association.connect(net.now, None);
    let mut init = BytesMut::new();
    assert!(stranger.association.poll_packet(net.now, &mut init));
    let init = init.freeze();
    let before = net.a.sent.len();
    for _ in 0..1000 {
        hit(&mut net, End::A, init.clone());
    }
    net.flush();
    assert!(net.a.sent.len() - before <= 4);
    is_alive(&mut net);
    assert!(!net.a.events.contains(&Event::Restarted));
}

#[test]
fn a_forged_cookie_is_dropped() {
    let mut net = Net::plain(2);
    net.a.association.connect(net.now, Some(50 * MS));
    net.run_for(60 * MS);
    let echo = net.a.sent[1].clone();
    // The cookie lies behind the common header and its chunk header; 73 bytes.
    for at in 16..89 {
        let mut forged = echo.to_vec();
        forged[at] ^= 0x10;
        forged[8..12].fill(0);
        patch_checksum(&mut forged);
        let mut copy = Net::plain(2);
        copy.a.association.connect(copy.now, Some(50 * MS));
        copy.run_for(60 * MS);
        hit(&mut copy, End::B, forged.into());
        assert!(!copy.b.association.is_established(), "byte {at}");
    }
}

#[test]
fn sacks_for_what_was_never_sent_have_no_effect() {
    // HARDENING R35, R36.
    let mut net = Net::connected(Config::default(), Link::default(), 3);
    net.send(End::A, 0, vec![1; 50_000], SendOptions::default());
    net.flush();
    let next = net.a.association.sender.last_tsn();
    for offset in [1u32, 1000, 0x7fff_ffff, 0x8000_0000, 0xffff_0000] {
        let cumulative = Serial32(next.0.wrapping_add(offset));
        let gaps = [(1, 0), (0, 0), (5, 3), (1, 65_535), (65_535, 65_535)];
        let gaps = gaps.map(|(start, end)| GapBlock { start, end });
        let packet = forge(&mut net, End::A, |w| {
            emit_sack(w, 1000, cumulative, 0, gaps, [Serial32(7)]);
        });
        hit(&mut net, End::A, packet);
    }
    let cumulative = Serial32(next.0.wrapping_sub(20));
    let gaps = [(1, 0), (0, 0), (5, 3), (60_000, 65_535)].map(|(start, end)| GapBlock { start, end });
    let packet = forge(&mut net, End::A, |w| {
        emit_sack(w, 1000, cumulative, 1000, gaps, []);
    });
    hit(&mut net, End::A, packet);
    net.run_for(10_000 * MS);
    is_alive(&mut net);
}

#[test]
fn unknown_chunks_go_by_their_highest_bits() {
    // RFC 9260 §3.2.
    for (unknown, goes_on, is_told) in
        [(0x3f, false, false), (0x7f, false, true), (0xbf, true, false), (0xff, true, true)]
    {
        let mut net = Net::connected(Config::default(), Link::default(), 4);
        let sent = net.a.sent.len();
        let packet = forge(&mut net, End::A, |w| {
            emit_chunk(w, unknown, 0, |w| w.slice(b"strange"));
            emit_chunk(w, kind::HEARTBEAT, 0, |w| w.slice(&[0, 1, 0, 4]));
        });
        hit(&mut net, End::A, packet);
        net.flush();
        let answer = net.a.sent.get(sent).cloned().unwrap_or_default();
        let has = |kind: u8| {
            let mut chunks = crate::sctp::chunk::Chunks::new(&answer, 12);
            std::iter::from_fn(|| chunks.next()).any(|c| c.unwrap().kind == kind)
        };
        assert_eq!(has(kind::HEARTBEAT_ACK), goes_on, "{unknown:#x}");
        assert_eq!(has(kind::ERROR), is_told, "{unknown:#x}");
        is_alive(&mut net);
    }
}

#[test]
fn what_has_no_business_here_is_borne() {
    let mut net = Net::connected(Config::default(), Link::default(), 5);
    let strange: [fn(&mut Writer<'_>); 9] = [
        |w| emit_chunk(w, kind::INIT_ACK, 0, |w| w.zeros(40)),
        |w| emit_chunk(w, kind::COOKIE_ACK, 0, |_| {}),
        |w| emit_chunk(w, kind::COOKIE_ECHO, 0, |w| w.zeros(100)),
        |w| emit_chunk(w, kind::SHUTDOWN_ACK, 0, |_| {}),
        |w| emit_chunk(w, kind::SHUTDOWN_COMPLETE, 0, |_| {}),
        |w| emit_chunk(w, kind::INIT, 0, |w| w.zeros(16)),
        |w| emit_error(w, Cause::StaleCookie(1)),
        |w| emit_chunk(w, kind::HEARTBEAT, 0, |w| w.zeros(60_000)),
        |w| emit_chunk(w, kind::RE_CONFIG, 0, |w| w.slice(&[0, 13, 0, 0])),
    ];
    for body in strange {
        let packet = forge(&mut net, End::A, body);
        hit(&mut net, End::A, packet);
        net.flush();
    }
    is_alive(&mut net);
}

#[test]
fn foreign_tags_are_dropped() {
    // RFC 9260 §8.5.
    let mut net = Net::connected(Config::default(), Link::default(), 6);
    let tag = net.a.association.offer.tag;
    for (kind, flags) in [(kind::ABORT, 0), (kind::ABORT, 1), (kind::SHUTDOWN_COMPLETE, 1), (kind::SACK, 0)] {
        for tag in [0, tag.wrapping_add(1)] {
            hit(&mut net, End::A, packet(tag, |w| emit_chunk(w, kind, flags, |w| w.zeros(12))));
        }
    }
    is_alive(&mut net);
    assert_eq!(net.a.association.stats().packets_foreign, 8);
}

#[test]
fn reflected_and_bundled_chunks_must_fit_their_tag() {
    // RFC 9260 §8.5.1 A, B, C.
    let mut net = Net::connected(Config::default(), Link::default(), 11);
    let packet = forge(&mut net, End::A, |w| emit_chunk(w, kind::ABORT, 1, |_| {}));
    hit(&mut net, End::A, packet);
    let init = net.b.association.local_init();
    let packet = forge(&mut net, End::A, |w| {
        emit_chunk(w, kind::COOKIE_ACK, 0, |_| {});
        w.slice(&init);
    });
    let sent = net.a.sent.len();
    hit(&mut net, End::A, packet);
    net.flush();
    assert_eq!(net.a.sent.len(), sent);
    is_alive(&mut net);
}

#[test]
fn a_message_that_never_ends_is_bounded() {
    // HARDENING R38: memory stays within the window and a quarter, overhead counted.
    for size in [1, 1000] {
        let mut net = Net::connected(Config::default(), Link::default(), 7);
        let first = net.b.association.offer.initial_tsn;
        let mut peak = 0;
        for i in 0..60_000u32 {
            let chunk = DataChunk {
                tsn: first.add(i),
                stream: StreamId((i % 100) as u16),
                unordered: i % 2 == 0,
                beginning: i < 100,
                ending: false,
                immediate: false,
                ssn_or_mid: 0,
                fsn: i / 100,
                ppid: 51,
                payload: vec![0; size],
            };
            let packet = forge(&mut net, End::A, |w| chunk.emit(DataFormat::Interleaved, w));
            hit(&mut net, End::A, packet);
            peak = peak.max(net.a.association.stats().receive_buffer);
            if net.a.association.is_ended() {
                break;
            }
        }
        assert!(peak <= 1024 * 1024 * 5 / 4, "{peak}");
    }
}

#[test]
fn resets_that_are_not_pulled_are_bounded() {
    let mut net = Net::connected(Config::default(), Link::default(), 8);
    net.a.is_reading = false;
    let mut sequence = net.b.association.offer.initial_tsn.0;
    let last_tsn = Serial32(sequence).previous();
    let streams: Vec<_> = (0..500).map(StreamId).collect();
    for _ in 0..1000 {
        let packet = forge(&mut net, End::A, |w| emit_outgoing_reset(w, sequence, 0, last_tsn, &streams));
        hit(&mut net, End::A, packet);
        sequence = sequence.wrapping_add(1);
    }
    assert!(net.a.association.receiver.event_count() <= 5000);
}

#[test]
fn wrong_sequence_numbers_of_resets_are_answered_and_do_nothing() {
    // RFC 6525 §5.2.1.
    let mut net = Net::connected(Config::default(), Link::default(), 9);
    let first = net.b.association.offer.initial_tsn.0;
    let last_tsn = Serial32(first).previous();
    for sequence in [first.wrapping_add(1), first.wrapping_sub(1), first, first, first.wrapping_add(5)] {
        let packet =
            forge(&mut net, End::A, |w| emit_outgoing_reset(w, sequence, 0, last_tsn, &[StreamId(3)]));
        hit(&mut net, End::A, packet);
    }
    net.flush();
    assert_eq!(net.a.events, [Event::IncomingReset(StreamId(3))]);
}

#[test]
fn every_truncation_and_many_mutations_of_real_packets_are_borne() {
    let mut net = Net::connected(Config::default(), Link::default(), 10);
    for stream in 0..4 {
        net.send(End::A, stream, vec![1; 3000], SendOptions::default());
        net.send(End::B, stream, vec![2; 3000], SendOptions::default());
    }
    net.a.association.reset_stream(net.now, StreamId(1));
    net.run_for(1000 * MS);
    let packets: Vec<_> = net.a.sent.iter().chain(&net.b.sent).cloned().collect();
    let mut rng = Rng::new([3; 32], Stream::Session);
    for packet in &packets {
        for len in 0..packet.len() {
            hit(&mut net, End::A, packet.slice(..len));
            hit(&mut net, End::B, packet.slice(..len));
        }
        for _ in 0..300 {
            let mut bytes = packet.to_vec();
            for _ in 0..=rng.below(4) {
                let at = 12 + rng.below(bytes.len() as u64 - 12) as usize;
                bytes[at] = rng.u32() as u8;
            }
            // Without a checksum, as the peer may.
            bytes[8..12].fill(0);
            let bytes = Bytes::from(bytes);
            hit(&mut net, End::A, bytes.clone());
            hit(&mut net, End::B, bytes);
            net.flush();
            net.a.association.handle_timeout(net.now);
            net.b.association.handle_timeout(net.now);
            if net.a.association.is_ended() || net.b.association.is_ended() {
                net = Net::connected(Config::default(), Link::default(), 10);
            }
        }
    }
}
