//! Handshakes on a good link: what is agreed on, how fast, and what can be done afterwards.

use super::*;
use crate::crypto::NamedGroup;
use crate::dtls::{Authentication, CipherSuite, CloseReason, HandshakeError, Version};
use crate::types::srtp_profile::SrtpProfile;

#[test]
fn a_handshake_takes_two_round_trips_and_six_datagrams_at_the_most() {
    let pair = Pair::plain().connected();
    assert_eq!(pair.now - pair.start, 4 * pair.one_way);
    let [client, server] = &pair.ends;
    assert_eq!((client.sent.len(), server.sent.len()), (2, 2), "every flight fits one datagram");
    assert_eq!(pair.facts(), [[Fact::Connected]; 2]);
    assert!(pair.ends.iter().all(|end| end.connection.next_timeout().is_none()));
}

#[test]
fn data_flows_both_ways_and_details_agree() {
    let mut pair = Pair::plain().connected();
    for from in [CLIENT, SERVER] {
        let record = pair.ends[from].seal(b"data");
        pair.deliver(1 - from, &record);
        pair.drain();
        assert_eq!(pair.ends[1 - from].received, [b"data"]);
    }
    let [client, server] = pair.ends.each_ref().map(|end| end.connection.details().unwrap());
    assert_eq!(client.cipher_suite, server.cipher_suite);
    assert_eq!((client.group, server.group), (NamedGroup::X25519, NamedGroup::X25519));
}

#[test]
fn every_suite_group_and_certificate_connects() {
    for backend in crate::crypto::backends() {
        for suite in CipherSuite::ALL {
            for group in NamedGroup::ALL {
                let kinds = match suite.authentication() {
                    Some(Authentication::Ecdsa) => &[Kind::P256, Kind::P384, Kind::Ed25519][..],
                    Some(Authentication::Rsa) => &[Kind::Rsa],
                    None => &KINDS,
                };
                let version = suite.version();
                if version == Version::Dtls12 && group == NamedGroup::X25519MlKem768 {
                    continue;
                }
                for kind in kinds {
                    let server = Config { groups: vec![group], ..config(backend, *kind).only(version) };
                    let client = config(backend, Kind::P256).only(version);
                    let client = Config { cipher_suites: vec![suite], ..client };
                    let mut pair = Pair::new(client, server, 1).connected();
                    let details = pair.ends[CLIENT].connection.details().unwrap();
                    assert_eq!((details.cipher_suite, details.group), (suite, group));
                    assert_eq!(details.version, version);
                    let record = pair.ends[CLIENT].seal(b"hello");
                    pair.deliver(SERVER, &record);
                    pair.drain();
                    assert_eq!(pair.ends[SERVER].received, [b"hello"]);
                }
            }
        }
    }
}

#[test]
fn clients_may_hold_any_kind_of_certificate() {
    for kind in KINDS {
        let ring = crate::crypto::ring();
        let pair = Pair::new(config(ring, kind), config(ring, Kind::P256), 1).connected();
        let details = pair.ends[SERVER].connection.details().unwrap();
        assert_eq!(&details.peer_certificate[..], identity(ring, kind).certificate_der());
    }
}

#[test]
fn both_ends_export_the_same_srtp_keys() {
    for profile in SrtpProfile::ALL {
        let config = || Config { srtp_profiles: vec![profile], ..config(crate::crypto::ring(), Kind::P256) };
        let pair = Pair::new(config(), config(), 1).connected();
        let [client, server] = pair.ends.each_ref().map(|end| end.connection.srtp_keys().unwrap());
        assert_eq!(client.profile, profile);
        assert_eq!((&client.local, &client.remote), (&server.remote, &server.local));
        assert_ne!(client.local, client.remote);
        let key = &client.local;
        assert_eq!(
            (key.key.as_bytes().len(), key.salt.as_bytes().len()),
            (profile.key_len(), profile.salt_len())
        );
    }
}

#[test]
fn without_a_common_srtp_profile_there_are_no_keys_but_a_connection() {
    let with = |profiles: &[SrtpProfile]| Config {
        srtp_profiles: profiles.to_vec(),
        ..config(crate::crypto::ring(), Kind::P256)
    };
    let client = with(&[SrtpProfile::AeadAes128Gcm]);
    let pair = Pair::new(client, with(&[SrtpProfile::Aes128CmHmacSha1_80]), 1).connected();
    assert!(pair.ends.iter().all(|end| end.connection.srtp_keys().is_none()));
}

#[test]
fn exported_material_agrees_and_depends_on_label_and_context() {
    // RFC 5705 §4.
    let pair = Pair::plain().connected();
    let export = |end: usize, label: &str, context: Option<&[u8]>| {
        let mut out = [0; 40];
        pair.ends[end].connection.export_keying_material(label, context, &mut out).unwrap();
        out
    };
    assert_eq!(export(CLIENT, "EXPORTER-x", None), export(SERVER, "EXPORTER-x", None));
    assert_ne!(export(CLIENT, "EXPORTER-x", None), export(CLIENT, "EXPORTER-y", None));
    assert_ne!(export(CLIENT, "EXPORTER-x", None), export(CLIENT, "EXPORTER-x", Some(b"")));
}

#[test]
fn key_logs_are_written_on_request_only() {
    assert!(Pair::plain().connected().ends.iter().all(|end| end.key_log.is_empty()));
    let config = || Config { key_log: true, ..config(crate::crypto::ring(), Kind::P256) };
    let pair = Pair::new(config(), config(), 1).connected();
    assert_eq!(pair.ends[CLIENT].key_log, pair.ends[SERVER].key_log);
    let line = &pair.ends[CLIENT].key_log[0];
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words[0], "CLIENT_RANDOM");
    assert_eq!((words[1].len(), words[2].len()), (64, 96));
}

#[test]
fn fingerprints_may_come_last() {
    let config = || config(crate::crypto::ring(), Kind::P256);
    let fingerprint = config().identity.fingerprint(FingerprintHash::Sha384);
    let mut pair = Pair::unsignalled(config(), config(), 1).started();
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.facts(), [&[][..], &[]]);
    assert!(pair.ends.iter().all(|end| !end.connection.can_send() && end.connection.srtp_keys().is_none()));

    pair.ends[SERVER].connection.set_remote_fingerprints(vec![fingerprint]);
    let record = pair.ends[SERVER].seal(b"before the client knows");
    pair.deliver(CLIENT, &record);
    pair.drain();
    assert!(pair.ends[CLIENT].received.is_empty());
    pair.ends[CLIENT].connection.set_remote_fingerprints(vec![fingerprint]);
    pair.drain();
    assert_eq!(pair.facts(), [[Fact::Connected]; 2]);
    assert_eq!(pair.ends[CLIENT].received, [b"before the client knows"]);
}

#[test]
fn the_client_is_told_what_went_wrong() {
    let ring = crate::crypto::ring();
    let client = Config { groups: vec![NamedGroup::Secp384r1], ..config(ring, Kind::P256) };
    let server = Config { groups: vec![NamedGroup::X25519], ..config(ring, Kind::P256) };
    let mut pair = Pair::new(client, server, 1).started();
    pair.run(Duration::from_secs(10));
    let [client, server] = pair.facts();
    assert_eq!(server, [Fact::Closed(CloseReason::Handshake(HandshakeError::NoCommonGroup))]);
    assert!(matches!(client, [Fact::Closed(CloseReason::Alert(_))]), "{client:?}");
    assert!(pair.now - pair.start < Duration::from_secs(4), "{:?}", pair.now - pair.start);
}

#[test]
fn a_server_with_rsa_needs_an_rsa_suite() {
    let ring = crate::crypto::ring();
    let client = Config { cipher_suites: vec![CipherSuite::EcdheEcdsaAes128Gcm], ..config(ring, Kind::P256) };
    let mut pair = Pair::new(client, config(ring, Kind::Rsa), 1).started();
    pair.run(Duration::from_secs(10));
    assert_eq!(pair.facts()[1], [Fact::Closed(CloseReason::Handshake(HandshakeError::NoCommonSuite))]);
}

#[test]
fn closing_tells_the_other_end() {
    let mut pair = Pair::plain().connected();
    pair.ends[CLIENT].connection.close();
    pair.run(Duration::from_secs(10));
    assert_eq!(pair.facts()[0][1..], [Fact::Closed(CloseReason::Local)]);
    assert_eq!(pair.facts()[1][1..], [Fact::Closed(CloseReason::CloseNotify)]);
    for end in &mut pair.ends {
        assert!(end.connection.is_closed() && !end.connection.can_send());
        end.connection.close();
        end.connection.start(pair.now, None);
        end.connection.handle_timeout(pair.now);
        end.connection.set_remote_fingerprints(Vec::new());
        assert_eq!((end.connection.poll_fact(), end.connection.next_timeout()), (None, None));
    }
}

#[test]
fn the_servers_first_data_leaves_behind_its_finished() {
    let mut pair = Pair::plain().started();
    while !pair.ends[SERVER].connection.can_send() {
        assert!(pair.step(pair.start + Duration::from_secs(1)));
    }
    let record = pair.ends[SERVER].seal(b"INIT");
    pair.drain();
    pair.send(CLIENT, record.to_vec());
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.ends[CLIENT].received, [b"INIT"]);
    assert_eq!(pair.now - pair.start, 4 * pair.one_way);
}

#[test]
fn same_seed_same_bytes() {
    let run = || {
        let rust = crate::crypto::rust();
        let pair = Pair::new(config(rust, Kind::P256), config(rust, Kind::P256), 7).connected();
        pair.ends.map(|end| end.sent)
    };
    assert_eq!(run(), run());
}
