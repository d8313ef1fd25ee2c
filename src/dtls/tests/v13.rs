//! Handshakes of 1.3 on a good link, the choice of the version, and what follows: ACKs and key updates.

use super::*;
use crate::crypto::NamedGroup;
use crate::dtls::handshake::key_update::KeyUpdate;
use crate::dtls::handshake::{Fragment, HandshakeType, written};
use crate::dtls::record::ContentType;
use crate::dtls::{CloseReason, ExportError, HandshakeError, SealError};
use crate::types::srtp_profile::SrtpProfile;

fn plain() -> Config {
    config(crate::crypto::ring(), Kind::P256)
}

fn only(version: Version) -> Config {
    plain().only(version)
}

fn automatic() -> Config {
    Config { min_version: Version::Dtls12, max_version: Version::Dtls13, ..plain() }
}

/// What both ends agreed on.
fn agreed(pair: &Pair) -> (Version, NamedGroup) {
    let [client, server] = pair.ends.each_ref().map(|end| end.connection.details().unwrap());
    assert_eq!((client.version, client.group), (server.version, server.group));
    assert_eq!(client.cipher_suite, server.cipher_suite);
    (client.version, client.group)
}

/// Runs until an end is connected, and not beyond that moment.
fn until_connected(pair: &mut Pair, end: usize) {
    while !pair.ends[end].connection.can_send() {
        assert!(pair.step(pair.start + Duration::from_secs(5)), "{:?}", pair.facts());
    }
}

/// Sends data both ways, and expects it.
fn exchange(pair: &mut Pair) {
    for from in [CLIENT, SERVER] {
        let record = pair.ends[from].seal(b"still here");
        pair.deliver(1 - from, &record);
        pair.drain();
        assert_eq!(pair.ends[1 - from].received.pop().as_deref(), Some(&b"still here"[..]));
    }
}

/// The two low bits of the epoch of a record of 1.3.
fn epoch_bits(record: &[u8]) -> u8 {
    assert_eq!(record[0] >> 5, 1);
    record[0] & 3
}

#[test]
fn the_client_is_connected_after_one_round_trip_and_the_server_after_one_and_a_half() {
    let mut pair = Pair::plain_13().started();
    until_connected(&mut pair, CLIENT);
    assert_eq!(pair.now - pair.start, 2 * pair.one_way);
    until_connected(&mut pair, SERVER);
    assert_eq!(pair.now - pair.start, 3 * pair.one_way);
    pair.run(Duration::from_secs(5));
    assert_eq!(pair.now - pair.start, 4 * pair.one_way, "an ACK ends it");
    assert_eq!(pair.facts(), [[Fact::Connected]; 2]);
    // The post-quantum share makes hello and answer longer than a datagram.
    assert_eq!(pair.ends.each_ref().map(|end| end.sent.len()), [3, 3]);
    assert!(pair.ends.iter().all(|end| end.connection.next_timeout().is_none()));
}

#[test]
fn the_newest_common_version_is_spoken() {
    use Version::{Dtls12, Dtls13};
    for (client, server, version) in [
        (automatic(), automatic(), Dtls13),
        (automatic(), only(Dtls12), Dtls12),
        (only(Dtls12), automatic(), Dtls12),
        (automatic(), only(Dtls13), Dtls13),
        (only(Dtls13), automatic(), Dtls13),
    ] {
        let mut pair = Pair::new(client, server, 1).connected();
        assert_eq!(agreed(&pair).0, version);
        exchange(&mut pair);
    }
}

#[test]
fn a_client_of_both_versions_meets_servers_of_12_with_every_certificate() {
    for kind in KINDS {
        let server = config(crate::crypto::ring(), kind).only(Version::Dtls12);
        let pair = Pair::new(automatic(), server, 1).connected();
        assert_eq!(agreed(&pair), (Version::Dtls12, NamedGroup::X25519));
    }
}

#[test]
fn without_a_common_version_both_are_told() {
    for (client, server) in [(Version::Dtls12, Version::Dtls13), (Version::Dtls13, Version::Dtls12)] {
        let mut pair = Pair::new(only(client), only(server), 1).started();
        pair.run(Duration::from_secs(10));
        let [client, server] = pair.facts();
        assert_eq!(server, [Fact::Closed(CloseReason::Handshake(HandshakeError::Version))]);
        assert!(matches!(client, [Fact::Closed(_)]), "{client:?}");
        assert!(pair.now - pair.start < Duration::from_secs(4), "{:?}", pair.now - pair.start);
    }
}

#[test]
fn the_post_quantum_group_is_taken_unless_one_side_lacks_it() {
    let classical = || Config { groups: vec![NamedGroup::X25519, NamedGroup::Secp256r1], ..automatic() };
    for (client, server, group) in [
        (automatic(), automatic(), NamedGroup::X25519MlKem768),
        (classical(), automatic(), NamedGroup::X25519),
        (automatic(), classical(), NamedGroup::X25519),
    ] {
        let mut pair = Pair::new(client, server, 1).started();
        until_connected(&mut pair, CLIENT);
        assert_eq!(pair.now - pair.start, 2 * pair.one_way, "no retry");
        pair.run(Duration::from_secs(1));
        assert_eq!(agreed(&pair), (Version::Dtls13, group));
    }
}

#[test]
fn a_group_without_a_share_and_a_cookie_cost_one_round_trip() {
    // RFC 8446 §4.1.4, RFC 9147 §5.1.
    let poor = || Config { key_shares: vec![NamedGroup::X25519], ..only(Version::Dtls13) };
    let rich = || Config { groups: vec![NamedGroup::Secp384r1], ..only(Version::Dtls13) };
    let careful = |config: Config| Config { cookie: true, ..config };
    for (client, server, group) in [
        (poor(), rich(), NamedGroup::Secp384r1),
        (poor(), careful(rich()), NamedGroup::Secp384r1),
        (poor(), careful(poor()), NamedGroup::X25519),
        (Config { key_shares: Vec::new(), ..poor() }, poor(), NamedGroup::X25519MlKem768),
        (automatic(), careful(automatic()), NamedGroup::X25519MlKem768),
    ] {
        let mut pair = Pair::new(client, server, 1).started();
        until_connected(&mut pair, CLIENT);
        assert_eq!(pair.now - pair.start, 4 * pair.one_way);
        pair.run(Duration::from_secs(1));
        assert_eq!(agreed(&pair), (Version::Dtls13, group));
        exchange(&mut pair);
    }
}

#[test]
fn clients_of_13_may_hold_any_kind_of_certificate() {
    for kind in KINDS {
        let ring = crate::crypto::ring();
        let client = config(ring, kind).only(Version::Dtls13);
        let pair = Pair::new(client, only(Version::Dtls13), 1).connected();
        let details = pair.ends[SERVER].connection.details().unwrap();
        assert_eq!(&details.peer_certificate[..], identity(ring, kind).certificate_der());
    }
}

#[test]
fn both_ends_export_the_same_keys() {
    // RFC 5764 §4.2, RFC 8446 §7.5.
    for profile in SrtpProfile::ALL {
        let config = || Config { srtp_profiles: vec![profile], ..only(Version::Dtls13) };
        let pair = Pair::new(config(), config(), 1).connected();
        let [client, server] = pair.ends.each_ref().map(|end| end.connection.srtp_keys().unwrap());
        assert_eq!((client.profile, server.profile), (profile, profile));
        assert_eq!((&client.local, &client.remote), (&server.remote, &server.local));
        assert_ne!(client.local, client.remote);
    }
    let pair = Pair::plain_13().connected();
    assert!(pair.ends.iter().all(|end| end.connection.srtp_keys().is_none()));
    let export = |end: usize, label: &str, context: Option<&[u8]>| {
        let mut out = [0; 40];
        pair.ends[end].connection.export_keying_material(label, context, &mut out).map(|()| out)
    };
    assert_eq!(export(CLIENT, "EXPORTER-x", None), export(SERVER, "EXPORTER-x", None));
    assert_eq!(export(CLIENT, "EXPORTER-x", None), export(CLIENT, "EXPORTER-x", Some(b"")));
    assert_ne!(export(CLIENT, "EXPORTER-x", None), export(CLIENT, "EXPORTER-x", Some(b"y")));
    assert_ne!(export(CLIENT, "EXPORTER-x", None), export(CLIENT, "EXPORTER-y", None));
    assert_eq!(export(CLIENT, &"x".repeat(250), None), Err(ExportError::TooLong));
}

#[test]
fn the_key_log_has_the_labels_of_13() {
    let config = || Config { key_log: true, ..only(Version::Dtls13) };
    let pair = Pair::new(config(), config(), 1).connected();
    let [client, server] = pair.ends.each_ref().map(|end| &end.key_log);
    assert_eq!(client, server);
    let labels: Vec<_> = client.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(
        labels,
        [
            "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
            "SERVER_HANDSHAKE_TRAFFIC_SECRET",
            "CLIENT_TRAFFIC_SECRET_0",
            "SERVER_TRAFFIC_SECRET_0",
            "EXPORTER_SECRET",
        ]
    );
    assert!(client.iter().all(|line| line.split(' ').map(str::len).skip(1).eq([64, 64])));
}

#[test]
fn the_server_sends_no_data_before_the_client_is_known() {
    let mut pair = Pair::plain_13().started();
    let hello = pair.ends[CLIENT].drain(1200);
    hello.iter().for_each(|datagram| pair.deliver(SERVER, datagram));
    assert!(!pair.ends[SERVER].drain(1200).is_empty());
    let server = &mut pair.ends[SERVER].connection;
    assert!(!server.can_send() && server.srtp_keys().is_none());
    assert_eq!(server.seal_in_place(&mut BytesMut::zeroed(100), 0), Err(SealError::NotConnected));
}

#[test]
fn the_clients_first_data_leaves_behind_its_finished_and_may_overtake_it() {
    for overtakes in [false, true] {
        let mut pair = Pair::plain_13().started();
        until_connected(&mut pair, CLIENT);
        let flight = pair.ends[CLIENT].drain(1200);
        let record = pair.ends[CLIENT].seal(b"INIT");
        let mut datagrams = [flight, vec![record.to_vec()]].concat();
        if overtakes {
            datagrams.reverse();
        }
        datagrams.iter().for_each(|datagram| pair.deliver(SERVER, datagram));
        pair.drain();
        assert_eq!(pair.ends[SERVER].received, [b"INIT"]);
        assert_eq!(pair.ends[SERVER].connection.stats().unauthentic, 0);
    }
}

#[test]
fn fingerprints_of_13_may_come_last() {
    let fingerprint = plain().identity.fingerprint(FingerprintHash::Sha384);
    let mut pair = Pair::unsignalled(only(Version::Dtls13), only(Version::Dtls13), 1).started();
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.facts(), [&[][..], &[]]);
    assert!(pair.ends.iter().all(|end| !end.connection.can_send() && end.connection.srtp_keys().is_none()));

    pair.ends[SERVER].connection.set_remote_fingerprints(vec![fingerprint]);
    let record = pair.ends[SERVER].seal(b"before the client knows");
    pair.deliver(CLIENT, &record);
    pair.drain();
    assert!(pair.ends[CLIENT].received.is_empty());
    pair.ends[CLIENT].connection.set_remote_fingerprints(vec![fingerprint]);
    pair.run(Duration::from_secs(5));
    assert_eq!(pair.facts(), [[Fact::Connected]; 2]);
    assert_eq!(pair.ends[CLIENT].received, [b"before the client knows"]);
    assert!(pair.ends.iter().all(|end| end.connection.next_timeout().is_none()));
}

#[test]
fn closing_tells_the_other_end_of_13() {
    for from in [CLIENT, SERVER] {
        let mut pair = Pair::plain_13().connected();
        pair.ends[from].connection.close();
        pair.run(Duration::from_secs(10));
        assert_eq!(pair.facts()[from][1..], [Fact::Closed(CloseReason::Local)]);
        assert_eq!(pair.facts()[1 - from][1..], [Fact::Closed(CloseReason::CloseNotify)]);
        assert!(pair.ends.iter().all(|end| end.connection.next_timeout().is_none()));
    }
}

#[test]
fn same_seed_same_bytes_in_13() {
    let run = || {
        let rust = crate::crypto::rust();
        let config = || Config { cookie: true, ..config(rust, Kind::P256).only(Version::Dtls13) };
        let pair = Pair::new(config(), config(), 7).connected();
        pair.ends.map(|end| end.sent)
    };
    assert_eq!(run(), run());
}

// ---- ACKs ---------------------------------------------------------------------------------------------------

#[test]
fn a_lost_ack_is_sent_again_when_the_client_repeats_its_flight() {
    // RFC 9147 §5.8.1.
    let mut pair = Pair::plain_13().started();
    until_connected(&mut pair, SERVER);
    pair.drain();
    pair.on_the_way.clear();
    pair.run(Duration::from_secs(5));
    // The client's whole flight once more, and the second ACK.
    assert_eq!(pair.ends.each_ref().map(|end| end.sent.len()), [4, 4]);
    assert!(pair.ends[CLIENT].connection.next_timeout().is_none());
    exchange(&mut pair);
}

#[test]
fn a_server_that_gave_memory_back_still_acknowledges_a_late_flight() {
    let mut pair = Pair::plain_13().started();
    until_connected(&mut pair, SERVER);
    pair.drain();
    pair.on_the_way.clear();
    for end in &mut pair.ends {
        end.connection.slim();
    }
    // A forged record of that epoch wakes the keys, and no more.
    let mut forged = pair.ends[CLIENT].sent.last().expect("its last flight").clone();
    // One record alone: what is authentic beside it would be acknowledged.
    let length = u16::from_be_bytes([forged[3], forged[4]]);
    forged.truncate(5 + usize::from(length));
    *forged.last_mut().expect("a record") ^= 1;
    pair.deliver(SERVER, &forged);
    assert_eq!(pair.ends[SERVER].connection.stats().unauthentic, 1);
    assert!(!pair.ends[SERVER].connection.has_pending_datagram());
    pair.ends[SERVER].connection.slim();
    pair.run(Duration::from_secs(5));
    assert_eq!(pair.ends.each_ref().map(|end| end.sent.len()), [4, 4]);
    assert!(pair.ends[CLIENT].connection.next_timeout().is_none());
    exchange(&mut pair);
}

#[test]
fn a_client_whose_last_flight_never_arrives_gives_up() {
    // R26.
    let mut pair = Pair::plain_13().started();
    until_connected(&mut pair, CLIENT);
    pair.on_the_way.clear();
    pair.faults.loss = 1000;
    pair.run(Duration::from_secs(1000));
    assert_eq!(pair.facts()[CLIENT], [Fact::Connected, Fact::Closed(CloseReason::HandshakeTimeout)]);
    assert_eq!(pair.facts()[SERVER], [Fact::Closed(CloseReason::HandshakeTimeout)]);
    assert_eq!(pair.now - pair.start, Duration::from_secs(30));
}

#[test]
fn only_what_is_missing_is_sent_again_and_at_once() {
    // RFC 9147 §7.1, §7.2: a datagram of the server's flight is lost, and then one of the client's.
    let rsa = config(crate::crypto::ring(), Kind::Rsa).only(Version::Dtls13);
    for lost in 0..5 {
        let mut pair = Pair::new(rsa.clone(), rsa.clone(), 1).started();
        pair.mtu = 600;
        pair.drain();
        while pair.ends[SERVER].sent.is_empty() {
            assert!(pair.step(pair.start + Duration::from_secs(1)));
            pair.drain();
        }
        let flight = pair.ends[SERVER].sent.len();
        assert!(flight >= 5, "{flight}");
        let key = *pair.on_the_way.keys().nth(lost).unwrap();
        let (_, datagram) = pair.on_the_way.remove(&key).unwrap();
        let was_plain = datagram[0] == ContentType::HANDSHAKE.0;
        until_connected(&mut pair, CLIENT);
        // One round trip, and another one for the ACK and what it asks for: the timer would have taken longer. That
        // the last datagram is missing shows only when nothing follows.
        let late = if lost + 1 == flight { pair.one_way } else { Duration::ZERO };
        assert!(pair.now - pair.start <= 4 * pair.one_way + late, "{lost}: {:?}", pair.now - pair.start);
        // Without the ServerHello the client cannot say which of the others it has.
        let most = if was_plain { 2 * flight } else { flight + 1 };
        assert!(pair.ends[SERVER].sent.len() <= most, "{lost}: {} of {flight}", pair.ends[SERVER].sent.len());
    }
}

#[test]
fn a_forged_ack_in_the_clear_does_not_stop_a_flight() {
    let mut pair = Pair::plain_13().started();
    let hello = pair.ends[CLIENT].drain(1200);
    // All records of both epochs, said to have arrived.
    let mut body = 0x0140u16.to_be_bytes().to_vec();
    for (epoch, sequence) in (0..20u64).map(|i| (i % 2 * 2, i / 2)) {
        body.extend(epoch.to_be_bytes());
        body.extend(sequence.to_be_bytes());
    }
    let forged = super::hostile::plain(ContentType::ACK, 77, &body);
    pair.deliver(CLIENT, &forged);
    hello.iter().for_each(|datagram| pair.deliver(SERVER, datagram));
    // The flight is lost; an ACK says the opposite.
    assert!(!pair.ends[SERVER].drain(1200).is_empty());
    (0..50).for_each(|_| pair.deliver(SERVER, &forged));
    pair.run(Duration::from_secs(5));
    assert_eq!(pair.facts(), [[Fact::Connected]; 2]);
}

// ---- key updates --------------------------------------------------------------------------------------------

#[test]
fn keys_are_renewed_in_time_and_nothing_is_lost() {
    // RFC 9147 §8: both ends, over a link that reorders and loses.
    let config = || Config { key_update_after: 20, ..only(Version::Dtls13) };
    for seed in 0..20 {
        let mut pair = Pair::new(config(), config(), seed).connected();
        pair.faults = Faults { loss: 100, reordering: 300, ..Faults::default() };
        let mut bits = [Vec::new(), Vec::new()];
        for i in 0..400u32 {
            for from in [CLIENT, SERVER] {
                let record = pair.ends[from].seal(&i.to_be_bytes());
                bits[from].push(epoch_bits(&record));
                pair.drain();
                // Data is not lost here, only what carries the updates.
                pair.deliver(1 - from, &record);
            }
            let end = pair.now + Duration::from_millis(20);
            pair.run(Duration::from_millis(20));
            pair.now = end;
        }
        pair.run(Duration::from_secs(60));
        assert_eq!(pair.facts(), [[Fact::Connected]; 2]);
        for end in [CLIENT, SERVER] {
            let expected: Vec<_> = (0..400u32).map(|i| i.to_be_bytes().to_vec()).collect();
            assert_eq!(pair.ends[end].received, expected, "seed {seed}");
            bits[end].dedup();
            assert!(bits[end].len() > 5, "{:?}", bits[end]);
            assert!(bits[end].windows(2).all(|pair| (pair[0] + 1) % 4 == pair[1]), "{:?}", bits[end]);
        }
    }
}

/// An authentic KeyUpdate, as a hostile end may send it.
fn key_update(end: &mut End, message_seq: u16, update: KeyUpdate) -> BytesMut {
    let body = written(|w| update.emit(w));
    let fragment =
        Fragment { kind: HandshakeType::KEY_UPDATE, length: 1, message_seq, offset: 0, body: &body };
    let mut record = BytesMut::zeroed(end.connection.overhead().head);
    record.extend_from_slice(&written(|w| fragment.emit(w)));
    end.connection.seal_other(ContentType::HANDSHAKE, &mut record);
    record
}

/// Number of a client's next message: hello, Certificate, CertificateVerify and Finished were sent.
const NEXT: u16 = 4;

#[test]
fn an_update_that_is_asked_for_is_answered_by_one() {
    let mut pair = Pair::plain_13().connected();
    let record = key_update(&mut pair.ends[CLIENT], NEXT, KeyUpdate::Requested);
    pair.deliver(SERVER, &record);
    pair.run(Duration::from_secs(1));
    let record = pair.ends[SERVER].seal(b"x");
    assert_eq!(epoch_bits(&record), 0, "epoch 4");
    pair.deliver(CLIENT, &record);
    pair.drain();
    assert_eq!(pair.ends[CLIENT].received, [b"x"]);
    // A repeated one is acknowledged, and changes nothing.
    let sent = pair.ends[SERVER].sent.len();
    let record = key_update(&mut pair.ends[CLIENT], NEXT, KeyUpdate::Requested);
    pair.deliver(SERVER, &record);
    pair.drain();
    assert_eq!(pair.ends[SERVER].sent.len(), sent + 1);
    assert_eq!(epoch_bits(&pair.ends[SERVER].seal(b"x")), 0);
}

#[test]
fn a_second_update_before_the_first_is_in_use_ends_the_connection() {
    let mut pair = Pair::plain_13().connected();
    for message_seq in [NEXT, NEXT + 1] {
        let record = key_update(&mut pair.ends[CLIENT], message_seq, KeyUpdate::NotRequested);
        pair.deliver(SERVER, &record);
    }
    pair.drain();
    let closed = Fact::Closed(CloseReason::Handshake(HandshakeError::UnexpectedMessage));
    assert_eq!(pair.facts()[SERVER], [Fact::Connected, closed]);
}

#[test]
fn a_storm_of_updates_ends_the_connection() {
    // The client takes new keys behind every record, and sends no data.
    let storming = Config { key_update_after: 1, ..only(Version::Dtls13) };
    let mut pair = Pair::new(storming, only(Version::Dtls13), 1).connected();
    for _ in 0..40 {
        if pair.ends[CLIENT].connection.can_send() {
            // Sealed, and never sent.
            pair.ends[CLIENT].seal(b"x");
        }
        pair.run(Duration::from_secs(1));
    }
    let closed = Fact::Closed(CloseReason::Handshake(HandshakeError::UnexpectedMessage));
    assert_eq!(pair.facts()[SERVER], [Fact::Connected, closed]);
}

#[test]
fn messages_that_nobody_agreed_on_end_a_connection_of_13() {
    // RFC 8446 §4.1.2, §4.6.2.
    for kind in [HandshakeType::CLIENT_HELLO, HandshakeType::CERTIFICATE_REQUEST, HandshakeType(9)] {
        let mut pair = Pair::plain_13().connected();
        let fragment = Fragment { kind, length: 1, message_seq: NEXT, offset: 0, body: &[0] };
        let end = &mut pair.ends[CLIENT].connection;
        let mut record = BytesMut::zeroed(end.overhead().head);
        record.extend_from_slice(&written(|w| fragment.emit(w)));
        end.seal_other(ContentType::HANDSHAKE, &mut record);
        pair.deliver(SERVER, &record);
        pair.drain();
        let closed = Fact::Closed(CloseReason::Handshake(HandshakeError::UnexpectedMessage));
        assert_eq!(pair.facts()[SERVER], [Fact::Connected, closed], "{kind:?}");
    }
}

#[test]
fn an_update_that_is_never_acknowledged_is_not_repeated_for_ever() {
    let config = || Config { key_update_after: 5, ..only(Version::Dtls13) };
    let mut pair = Pair::new(config(), only(Version::Dtls13), 1).connected();
    pair.faults.loss = 1000;
    let sent = pair.ends[CLIENT].sent.len();
    (0..5).for_each(|_| drop(pair.ends[CLIENT].seal(b"x")));
    pair.run(Duration::from_secs(10_000));
    assert_eq!(pair.ends[CLIENT].sent.len() - sent, 61);
    assert!(pair.ends[CLIENT].connection.next_timeout().is_none());
    assert_eq!(epoch_bits(&pair.ends[CLIENT].seal(b"x")), 3, "the keys stay as they are");
}
