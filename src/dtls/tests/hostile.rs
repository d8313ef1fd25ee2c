//! What a peer or a stranger may try. R-numbers are those of the project's list of requirements.

use proptest::prelude::*;

use super::*;
use crate::dtls::alert::{Alert, AlertDescription};
use crate::dtls::handshake::{Fragment, HandshakeType, written};
use crate::dtls::record::{ContentType, HEADER_LEN, Header, RecordHeader};
use crate::dtls::{CloseReason, SealError};

/// Ends that speak 1.2 only, and 1.3 only.
const BOTH: [fn() -> Pair; 2] = [Pair::plain, Pair::plain_13];

/// Every role, in every version.
const ROLES_AND_VERSIONS: [(usize, Version); 4] = [
    (CLIENT, Version::Dtls12),
    (SERVER, Version::Dtls12),
    (CLIENT, Version::Dtls13),
    (SERVER, Version::Dtls13),
];

/// A record in the clear.
pub(super) fn plain(content_type: ContentType, sequence: u64, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap();
    let header = Header { content_type, version: 0xfefd, epoch: 0, sequence, length };
    let mut record = written(|w| header.emit(w)).to_vec();
    record.extend_from_slice(body);
    record
}

fn fragment(kind: HandshakeType, message_seq: u16, length: u32, offset: u32, body: &[u8]) -> Vec<u8> {
    written(|w| Fragment { kind, length, message_seq, offset, body }.emit(w)).to_vec()
}

/// The datagrams of a whole handshake, and who got them.
fn recorded(ends: fn() -> Pair) -> Vec<(usize, Vec<u8>)> {
    let mut pair = ends().started();
    let mut all = Vec::new();
    for _ in 0..2 {
        for from in [CLIENT, SERVER] {
            for datagram in pair.ends[from].drain(1200) {
                pair.deliver(1 - from, &datagram);
                all.push((1 - from, datagram));
            }
        }
    }
    all
}

fn exchange(pair: &mut Pair) {
    for from in [CLIENT, SERVER] {
        let record = pair.ends[from].seal(b"still here");
        pair.deliver(1 - from, &record);
        pair.drain();
        assert_eq!(pair.ends[1 - from].received.pop().as_deref(), Some(&b"still here"[..]));
    }
}

#[test]
fn plaintext_has_no_effect_on_a_live_connection() {
    for fresh in BOTH {
        // R20, R29: data, alerts, ChangeCipherSpec and hellos in epoch 0.
        let handshake = recorded(fresh);
        let mut pair = fresh().connected();
        let sent = pair.ends.each_ref().map(|end| end.sent.len());
        for to in [CLIENT, SERVER] {
            for alert in
                [Alert::fatal(AlertDescription::HANDSHAKE_FAILURE), Alert::warning(AlertDescription(0))]
            {
                let body = written(|w| alert.emit(w));
                pair.deliver(to, &plain(ContentType::ALERT, 1 << 40, &body));
            }
            pair.deliver(to, &plain(ContentType::CHANGE_CIPHER_SPEC, 99, &[1]));
            pair.deliver(to, &plain(ContentType::APPLICATION_DATA, 99, b"forged"));
            handshake.iter().for_each(|(_, datagram)| pair.deliver(to, datagram));
        }
        pair.drain();
        assert_eq!(pair.facts(), [[Fact::Connected]; 2]);
        assert_eq!(pair.ends.each_ref().map(|end| end.sent.len()), sent);
        assert!(pair.ends.iter().all(|end| end.received.is_empty()));
        exchange(&mut pair);
    }
}

#[test]
fn plaintext_data_is_never_delivered_during_a_handshake() {
    for fresh in BOTH {
        // R20.
        let mut pair = fresh().started();
        pair.drain();
        for to in [CLIENT, SERVER] {
            pair.deliver(to, &plain(ContentType::APPLICATION_DATA, 3, b"forged"));
        }
        pair.run(Duration::from_secs(5));
        assert_eq!(pair.facts(), [[Fact::Connected]; 2]);
        assert!(pair.ends.iter().all(|end| end.received.is_empty()));
    }
}

#[test]
fn a_forged_alert_delays_a_handshake_and_does_not_end_it() {
    for fresh in BOTH {
        for to in [CLIENT, SERVER] {
            let mut pair = fresh().started();
            for _ in 0..3 {
                let body = written(|w| Alert::fatal(AlertDescription::HANDSHAKE_FAILURE).emit(w));
                pair.deliver(to, &plain(ContentType::ALERT, 5, &body));
                pair.step(pair.start + Duration::from_secs(1));
            }
            pair.run(Duration::from_secs(5));
            assert_eq!(pair.facts(), [[Fact::Connected]; 2]);
            exchange(&mut pair);
        }
    }
}

#[test]
fn a_wrong_fingerprint_ends_the_connection_in_either_role() {
    // R24.
    let ring = crate::crypto::ring();
    let other = identity(ring, Kind::P384).fingerprint(FingerprintHash::Sha256);
    for (deceived, version) in ROLES_AND_VERSIONS {
        let config = || config(ring, Kind::P256).only(version);
        let mut pair = Pair::new(config(), config(), 3);
        pair.ends[deceived].connection.set_remote_fingerprints(vec![other]);
        let mut pair = pair.started();
        pair.run(Duration::from_secs(60));
        assert!(!pair.ends[deceived].is_connected());
        assert_eq!(pair.facts()[deceived], [Fact::Closed(CloseReason::FingerprintMismatch)]);
        assert!(pair.now - pair.start < Duration::from_secs(3), "{:?}", pair.now - pair.start);
        for end in &mut pair.ends {
            // In 1.3 a client is connected before the server knows its certificate.
            assert!(version == Version::Dtls13 || !end.is_connected());
            assert!(end.connection.srtp_keys().is_none());
            let sealed = end.connection.seal_in_place(&mut BytesMut::zeroed(100), 0);
            assert_eq!(sealed, Err(SealError::NotConnected));
        }
    }
}

#[test]
fn a_fingerprint_that_comes_late_and_is_wrong_ends_the_connection_too() {
    let ring = crate::crypto::ring();
    let other = identity(ring, Kind::P384).fingerprint(FingerprintHash::Sha256);
    for (deceived, version) in ROLES_AND_VERSIONS {
        let config = || config(ring, Kind::P256).only(version);
        let mut pair = Pair::unsignalled(config(), config(), 3).started();
        pair.run(Duration::from_secs(1));
        pair.ends[deceived].connection.set_remote_fingerprints(vec![other]);
        pair.drain();
        assert_eq!(pair.facts()[deceived], [Fact::Closed(CloseReason::FingerprintMismatch)]);
    }
}

#[test]
fn the_strongest_hash_decides() {
    // RFC 8122 §5: a weaker hash that matches does not let in what a stronger one refuses.
    let ring = crate::crypto::ring();
    let (own, other) = (identity(ring, Kind::P256), identity(ring, Kind::P384));
    let mut pair = Pair::new(config(ring, Kind::P256), config(ring, Kind::P256), 3);
    let fingerprints =
        vec![own.fingerprint(FingerprintHash::Sha256), other.fingerprint(FingerprintHash::Sha512)];
    pair.ends[CLIENT].connection.set_remote_fingerprints(fingerprints);
    let mut pair = pair.started();
    pair.run(Duration::from_secs(10));
    assert_eq!(pair.facts()[CLIENT], [Fact::Closed(CloseReason::FingerprintMismatch)]);
}

#[test]
fn replayed_and_damaged_records_are_dropped_and_do_not_move_the_window() {
    // R33.
    let mut pair = Pair::plain().connected();
    let first = pair.ends[CLIENT].seal(b"first");
    let mut far = pair.ends[CLIENT].seal(b"far");
    // A forged number far ahead: not authentic, so the window stays where it is.
    far[HEADER_LEN - 4] ^= 0x40;
    pair.deliver(SERVER, &far);
    pair.deliver(SERVER, &first);
    pair.deliver(SERVER, &first);
    pair.drain();
    assert_eq!(pair.ends[SERVER].received, [b"first"]);
    let stats = pair.ends[SERVER].connection.stats();
    assert_eq!((stats.unauthentic, stats.replayed), (1, 1));
    exchange(&mut pair);
}

#[test]
fn every_flipped_bit_of_a_record_is_noticed() {
    for fresh in BOTH {
        let mut pair = fresh().connected();
        let record = pair.ends[CLIENT].seal(b"data");
        for bit in 0..record.len() * 8 {
            let mut damaged = record.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            pair.deliver(SERVER, &damaged);
        }
        pair.drain();
        assert!(pair.ends[SERVER].received.is_empty());
        exchange(&mut pair);
    }
}

#[test]
fn nonces_are_the_numbers_of_records_and_never_repeat() {
    // R25: also across a retransmission of the last flight.
    let mut pair = Pair::plain().started();
    pair.faults.loss = 300;
    pair.run(Duration::from_secs(30));
    let mut seen = std::collections::BTreeSet::new();
    let records: Vec<Vec<u8>> = (0..50).map(|_| pair.ends[CLIENT].seal(b"x").to_vec()).collect();
    for datagram in pair.ends[CLIENT].sent.iter().chain(&records) {
        let mut rest = BytesMut::from(&datagram[..]);
        while let Ok((header, record)) = crate::dtls::record::split_record(&mut rest) {
            let RecordHeader::Plain(header) = header else { panic!("records of 1.2 only") };
            if header.epoch == 1 {
                assert_eq!(record[3..11], record[HEADER_LEN..HEADER_LEN + 8]);
                assert!(seen.insert(header.sequence), "{} twice", header.sequence);
            }
        }
    }
    assert!(seen.len() > 50);
}

#[test]
fn early_records_are_kept_up_to_a_bound() {
    for fresh in BOTH {
        // R28, R21: protected records before there are keys, and handshake fragments that never end.
        let mut pair = fresh().started();
        let header = Header {
            content_type: ContentType::HANDSHAKE,
            version: 0xfefd,
            epoch: 1,
            sequence: 0,
            length: 1000,
        };
        let mut early = written(|w| header.emit(w)).to_vec();
        early.resize(HEADER_LEN + 1000, 7);
        for to in [CLIENT, SERVER] {
            (0..100).for_each(|_| pair.deliver(to, &early));
            let stats = *pair.ends[to].connection.stats();
            assert!(stats.no_room >= 84, "{stats:?}");
            for i in 0..2000u32 {
                let kind = [HandshakeType::CERTIFICATE, HandshakeType::CLIENT_HELLO][i as usize % 2];
                let message_seq = u16::try_from(i % 20).unwrap();
                let body = fragment(kind, message_seq, 8000, i * 31 % 7000, &[7; 900]);
                pair.deliver(to, &plain(ContentType::HANDSHAKE, u64::from(i), &body));
            }
        }
    }
}

#[test]
fn a_fragmented_hello_larger_than_a_datagram_is_put_together() {
    // What browsers send since they offer post-quantum key shares: an unknown extension of 1.3 kB.
    let mut pair = Pair::plain().started();
    let hello = pair.ends[CLIENT].drain(1200).remove(0);
    let body = &hello[HEADER_LEN + 12..];
    // Append an unknown extension to the extension block, which ends the hello.
    let extensions = 2 + 32 + 1 + 1 + 2 + usize::from(u16::from_be_bytes([body[36], body[37]])) + 2;
    let mut long = body.to_vec();
    long.extend([0x2a, 0x2a, 5, 0]);
    long.extend([7; 0x500]);
    let length = u16::try_from(long.len() - extensions - 2).unwrap().to_be_bytes();
    long[extensions..extensions + 2].copy_from_slice(&length);
    assert!(crate::dtls::handshake::hello::ClientHello::parse(&long).is_ok());
    for (i, part) in long.chunks(700).enumerate().rev() {
        let (length, offset) = (u32::try_from(long.len()).unwrap(), u32::try_from(i * 700).unwrap());
        let body = fragment(HandshakeType::CLIENT_HELLO, 0, length, offset, part);
        assert!(pair.ends[SERVER].drain(1200).is_empty());
        pair.deliver(SERVER, &plain(ContentType::HANDSHAKE, i as u64, &body));
    }
    assert!(!pair.ends[SERVER].drain(1200).is_empty(), "the server answers");
}

#[test]
fn truncated_and_damaged_handshake_messages_never_connect_and_never_panic() {
    for fresh in BOTH {
        // R27: every cut of every datagram, whole or in the record's length too.
        let all = recorded(fresh);
        for (i, (to, datagram)) in all.iter().enumerate() {
            for cut in (0..datagram.len()).step_by(3) {
                let mut pair = fresh().started();
                pair.drain();
                for (to, datagram) in &all[..i] {
                    pair.deliver(*to, datagram);
                }
                pair.deliver(*to, &datagram[..cut]);
                pair.drain();
            }
        }
    }
}

#[test]
fn hellos_in_a_storm_draw_few_answers_and_the_handshake_completes() {
    for fresh in BOTH {
        let mut pair = fresh().started();
        let hello = pair.ends[CLIENT].drain(1200).remove(0);
        for i in 0..1000u32 {
            let mut forged = hello.clone();
            forged[HEADER_LEN + 12 + 2..][..4].copy_from_slice(&i.to_be_bytes());
            pair.deliver(SERVER, &forged);
        }
        assert!(pair.ends[SERVER].drain(1200).len() <= 8);
        assert!(pair.ends[SERVER].connection.next_timeout().is_some());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_datagrams_never_panic_and_a_live_connection_lives_on(
        datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
        to in 0usize..2,
    ) {
        let mut fresh = Pair::plain().started();
        let mut live = Pair::plain().connected();
        for mut datagram in datagrams {
            fresh.deliver(to, &datagram);
            live.deliver(to, &datagram);
            // And as something that looks like a record of handshake messages.
            if datagram.len() > HEADER_LEN {
                let epoch = datagram[4] % 2;
                datagram[..5].copy_from_slice(&[22, 0xfe, 0xfd, 0, epoch]);
                let length = u16::try_from(datagram.len() - HEADER_LEN).unwrap();
                datagram[11..13].copy_from_slice(&length.to_be_bytes());
                fresh.deliver(to, &datagram);
                live.deliver(to, &datagram);
            }
        }
        exchange(&mut live);
    }
}

#[test]
fn a_sealed_record_needs_room_for_its_header_and_fits_its_limit() {
    let mut pair = Pair::plain().connected();
    let connection = &mut pair.ends[CLIENT].connection;
    for (len, start) in [(0, 0), (20, 0), (30, 31), (21 + (1 << 14) + 1, 0)] {
        let sealed = connection.seal_in_place(&mut BytesMut::zeroed(len), start);
        assert_eq!(sealed, Err(SealError::BadLength), "{len} {start}");
    }
    assert_eq!(connection.seal_in_place(&mut BytesMut::zeroed(21 + (1 << 14)), 0), Ok(()));
}

#[test]
fn an_idle_connection_keeps_little() {
    // The state of the handshake is gone; what stays is two keys, the exporter and the peer's certificate.
    assert!(size_of::<Connection>() <= 640, "{} bytes", size_of::<Connection>());
    assert!(size_of::<crate::dtls::session::Session>() <= 256);
}

#[test]
fn renegotiation_is_refused_and_the_connection_lives_on() {
    // RFC 5746, RFC 5246 §7.2.2: an authentic HelloRequest or ClientHello draws a warning, a bounded number of times.
    let mut pair = Pair::plain().connected();
    let before = pair.ends[SERVER].sent.len();
    for _ in 0..100 {
        let hello = fragment(HandshakeType::CLIENT_HELLO, 5, 0, 0, &[]);
        let end = &mut pair.ends[CLIENT].connection;
        let mut record = BytesMut::zeroed(end.overhead().head);
        record.extend_from_slice(&hello);
        end.seal_other(ContentType::HANDSHAKE, &mut record);
        pair.deliver(SERVER, &record);
        pair.drain();
    }
    assert_eq!(pair.ends[SERVER].sent.len() - before, 32);
    pair.run(Duration::from_secs(1));
    exchange(&mut pair);
}

#[test]
fn input_that_is_not_polled_is_dropped_beyond_a_bound() {
    for fresh in BOTH {
        // R68.
        let mut pair = fresh().connected();
        for _ in 0..1000 {
            let record = pair.ends[CLIENT].seal(b"data");
            pair.deliver(SERVER, &record);
        }
        pair.drain();
        assert_eq!(pair.ends[SERVER].received.len(), 64);
        assert_eq!(pair.ends[SERVER].connection.stats().no_room, 936);
    }
}
