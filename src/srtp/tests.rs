//! Vectors of RFC 7714 and RFC 9335, replay and roll-over, and what hostile packets may not do.

use bytes::BytesMut;
use proptest::prelude::*;

use super::keys::{MasterKey, Side};
use super::*;
use crate::crypto;
use crate::rtp::elements::Form;
use crate::rtp::header::{Fields, Header};
use crate::types::ids::{Pt, Ssrc};
use crate::types::srtp_profile::SrtpProfile;
use crate::wire::serial::{Serial16, Serial32};

pub(super) fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

fn hex_of(value: &serde_json::Value) -> Vec<u8> {
    bytes(value.as_str().unwrap())
}

/// Two ends that share keys: what the first seals the second opens.
fn pair(profile: SrtpProfile, cryptex: Cryptex) -> (Outbound, Inbound) {
    let exported: Vec<u8> = (0..keys::exported_len(profile)).map(|n| n as u8).collect();
    let [ours, _] = MasterKey::from_exporter(profile, Side::Client, &exported).unwrap();
    let [_, theirs] = MasterKey::from_exporter(profile, Side::Server, &exported).unwrap();
    let outbound = ours.outbound(crypto::ring(), profile, cryptex).unwrap();
    (outbound, theirs.inbound(crypto::ring(), profile, cryptex).unwrap())
}

fn rtp(ssrc: u32, sequence: u16, payload: &[u8]) -> BytesMut {
    let fields = Fields {
        marker: false,
        payload_type: Pt::new(96).unwrap(),
        sequence: Serial16(sequence),
        timestamp: Serial32(7),
        ssrc: Ssrc(ssrc),
    };
    let mut out = BytesMut::with_capacity(1500);
    fields.emit(&mut out, &[], Form::OneByte, |w| assert!(w.push(1, b"mid")));
    out.extend_from_slice(payload);
    out
}

fn sealed(outbound: &mut Outbound, ssrc: u32, sequence: u16) -> BytesMut {
    let mut packet = rtp(ssrc, sequence, b"payload");
    outbound.protect_rtp(&mut packet, 0).unwrap();
    packet
}

fn compound(ssrc: u32) -> BytesMut {
    let mut out = BytesMut::from(&[0x80, 201, 0, 1][..]);
    out.extend_from_slice(&ssrc.to_be_bytes());
    out.extend_from_slice(&[0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]);
    out
}

#[test]
fn gcm_packets_are_those_of_rfc_7714() {
    // RFC 7714 §16 and §17 give session keys, so the transform is asked, not the derivation.
    let file = json(include_str!("../../tests/data/srtp/rfc7714.json"));
    let salt = hex_of(&file["salt"]);
    let mut seen = 0;
    for vector in file["vectors"].as_array().unwrap() {
        let key = hex_of(&vector["key"]);
        let (plain, protected) = (hex_of(&vector["plain"]), hex_of(&vector["protected"]));
        let context = || cipher::Cipher::aead_of(&key, &salt);
        let rtcp_index = vector["index"].as_u64();
        match vector["kind"].as_str().unwrap() {
            "rtp" => {
                let mut outbound = Outbound::new(context(), context(), Cryptex::Off);
                let mut packet = BytesMut::from(&plain[..]);
                outbound.protect_rtp(&mut packet, 0).unwrap();
                assert_eq!(packet, protected, "{}", vector["name"]);
                let mut inbound = Inbound::new(context(), context(), Cryptex::Off);
                inbound.unprotect_rtp(&mut packet).unwrap();
                assert_eq!(packet, plain);
            }
            "rtcp" => {
                let mut inbound = Inbound::new(context(), context(), Cryptex::Off);
                let mut packet = BytesMut::from(&protected[..]);
                inbound.unprotect_rtcp(&mut packet).unwrap();
                assert_eq!(packet, plain, "{}", vector["name"]);
                if vector["encrypted"].as_bool().unwrap() {
                    let mut outbound = Outbound::new(context(), context(), Cryptex::Off);
                    (0..rtcp_index.unwrap()).for_each(|_| {
                        outbound.protect_rtcp(&mut BytesMut::from(&plain[..]), 0).unwrap();
                    });
                    outbound.protect_rtcp(&mut packet, 0).unwrap();
                    assert_eq!(packet, protected);
                }
            }
            _ => continue,
        }
        seen += 1;
    }
    assert_eq!(seen, 6);
}

#[test]
fn cryptex_packets_are_those_of_rfc_9335() {
    let file = json(include_str!("../../tests/data/srtp/rfc9335.json"));
    let profiles = [
        ("aes_cm_128_hmac_sha1_80", SrtpProfile::Aes128CmHmacSha1_80),
        ("aead_aes_128_gcm", SrtpProfile::AeadAes128Gcm),
    ];
    for (name, profile) in profiles {
        let (key, salt) = (hex_of(&file[name]["master_key"]), hex_of(&file[name]["master_salt"]));
        let master = MasterKey::new(profile, &key, &salt).unwrap();
        for vector in file[name]["vectors"].as_array().unwrap() {
            let (plain, protected) = (hex_of(&vector["plain"]), hex_of(&vector["protected"]));
            let mut packet = BytesMut::from(&plain[..]);
            let mut outbound = master.outbound(crypto::ring(), profile, Cryptex::On).unwrap();
            outbound.protect_rtp(&mut packet, 0).unwrap();
            assert_eq!(packet, protected, "{name} {}", vector["name"]);
            let mut inbound = master.inbound(crypto::ring(), profile, Cryptex::On).unwrap();
            let opened = inbound.unprotect_rtp(&mut packet).unwrap();
            assert_eq!(packet, plain, "{name} {}", vector["name"]);
            assert_eq!(opened.header, Header::parse(&plain).unwrap());
        }
    }
}

#[test]
fn csrcs_without_an_extension_get_one_under_cryptex() {
    // RFC 9335 §5.1: an empty block tells that the CSRCs are encrypted.
    for profile in SrtpProfile::ALL {
        let (mut outbound, mut inbound) = pair(profile, Cryptex::On);
        let mut packet = BytesMut::from(&bytes("820f1238decafbadcafebabe0001e2400000b26e abababab")[..]);
        outbound.protect_rtp(&mut packet, 0).unwrap();
        assert_eq!(packet.len(), 24 + 4 + outbound.rtp_overhead());
        assert_ne!(&packet[12..20], &bytes("0001e2400000b26e")[..]);
        inbound.unprotect_rtp(&mut packet).unwrap();
        assert_eq!(packet, bytes("920f1238decafbadcafebabe0001e2400000b26e bede0000 abababab"));
    }
}

#[test]
fn every_profile_seals_what_it_opens() {
    for profile in SrtpProfile::ALL {
        for cryptex in [Cryptex::Off, Cryptex::On] {
            let (mut outbound, mut inbound) = pair(profile, cryptex);
            for len in [0, 1, 15, 16, 17, 1000] {
                let plain = rtp(5, len, &vec![3; usize::from(len)]);
                // The packet lies behind other bytes of the same buffer.
                let mut out = BytesMut::from(&b"before"[..]);
                out.extend_from_slice(&plain);
                outbound.protect_rtp(&mut out, 6).unwrap();
                let mut packet = out.split_off(6);
                assert_eq!(packet.len(), plain.len() + outbound.rtp_overhead());
                assert_eq!(inbound.unprotect_rtp(&mut packet).unwrap().index, u64::from(len));
                assert_eq!(packet, plain);
            }
            let mut packet = compound(9);
            outbound.protect_rtcp(&mut packet, 0).unwrap();
            assert_eq!(packet.len(), compound(9).len() + outbound.rtcp_overhead());
            inbound.unprotect_rtcp(&mut packet).unwrap();
            assert_eq!(packet, compound(9));
        }
    }
}

#[test]
fn a_packet_cut_or_changed_anywhere_is_refused_without_a_trace() {
    // R45, R46.
    for profile in SrtpProfile::ALL {
        let (mut outbound, mut inbound) = pair(profile, Cryptex::Off);
        let good = sealed(&mut outbound, 1, 100);
        let mut rtcp = compound(1);
        outbound.protect_rtcp(&mut rtcp, 0).unwrap();
        for at in 0..good.len() {
            assert!(inbound.unprotect_rtp(&mut BytesMut::from(&good[..at])).is_err());
            let mut changed = good.clone();
            changed[at] ^= 0x40;
            assert!(inbound.unprotect_rtp(&mut changed).is_err(), "{profile:?} byte {at}");
        }
        for at in 0..rtcp.len() {
            assert!(inbound.unprotect_rtcp(&mut BytesMut::from(&rtcp[..at])).is_err());
            let mut changed = rtcp.clone();
            changed[at] ^= 0x40;
            assert!(inbound.unprotect_rtcp(&mut changed).is_err(), "{profile:?} RTCP byte {at}");
        }
        assert_eq!((inbound.streams(), inbound.senders.len()), (0, 0));
        assert!(inbound.unprotect_rtp(&mut good.clone()).is_ok());
        assert_eq!(inbound.unprotect_rtp(&mut good.clone()), Err(Refused::Replayed));
        assert!(inbound.unprotect_rtcp(&mut rtcp.clone()).is_ok());
        assert_eq!(inbound.unprotect_rtcp(&mut rtcp.clone()), Err(Refused::Replayed));
    }
}

#[test]
fn forged_sequence_numbers_do_not_push_the_roll_over_counter() {
    // R47.
    let (mut outbound, mut inbound) = pair(SrtpProfile::Aes128CmHmacSha1_80, Cryptex::Off);
    inbound.unprotect_rtp(&mut sealed(&mut outbound, 1, 10)).unwrap();
    for sequence in (0..=u16::MAX).step_by(97) {
        assert!(inbound.unprotect_rtp(&mut rtp(1, sequence, &[0; 40])).is_err());
        assert!(inbound.unprotect_rtp(&mut rtp(u32::from(sequence) + 2, 0, &[0; 40])).is_err());
    }
    assert_eq!(inbound.unprotect_rtp(&mut sealed(&mut outbound, 1, 11)).unwrap().index, 11);
    assert_eq!(inbound.streams(), 1);
}

#[test]
fn only_64_streams_come_unannounced() {
    let (mut outbound, mut inbound) = pair(SrtpProfile::AeadAes128Gcm, Cryptex::Off);
    inbound.announce(Ssrc(5000));
    for ssrc in 0..2000 {
        let result = inbound.unprotect_rtp(&mut sealed(&mut outbound, ssrc, 1));
        assert_eq!(result.err(), (ssrc >= 64).then_some(Refused::TooManyStreams));
    }
    assert!(inbound.unprotect_rtp(&mut sealed(&mut outbound, 5000, 1)).is_ok());
    assert!(inbound.unprotect_rtp(&mut sealed(&mut outbound, 63, 2)).is_ok());
    assert_eq!(inbound.streams(), 65);
    for ssrc in 0..2000 {
        let mut packet = compound(ssrc);
        outbound.protect_rtcp(&mut packet, 0).unwrap();
        assert_eq!(inbound.unprotect_rtcp(&mut packet).is_ok(), ssrc < 64);
    }
}

#[test]
fn packets_that_are_127_late_are_opened_once_on_both_sides_of_a_wrap() {
    // R48.
    for profile in SrtpProfile::ALL {
        let (mut outbound, mut inbound) = pair(profile, Cryptex::Off);
        let late: Vec<BytesMut> =
            (0..300u16).map(|n| sealed(&mut outbound, 1, 65_400u16.wrapping_add(n))).collect();
        let mut reports: Vec<BytesMut> = (0..300).map(|_| compound(1)).collect();
        reports.iter_mut().for_each(|report| outbound.protect_rtcp(report, 0).unwrap());
        inbound.unprotect_rtp(&mut late[0].clone()).unwrap();
        // Each packet that comes on time is followed by the one that was sent 127 before it.
        for n in 127..254 {
            for at in [n, n - 127] {
                let is_new = at > 0;
                assert_eq!(inbound.unprotect_rtp(&mut late[at].clone()).is_ok(), is_new, "{profile:?} {at}");
                assert_eq!(inbound.unprotect_rtp(&mut late[at].clone()), Err(Refused::Replayed));
                assert!(inbound.unprotect_rtcp(&mut reports[at].clone()).is_ok(), "{profile:?} RTCP {at}");
                assert_eq!(inbound.unprotect_rtcp(&mut reports[at].clone()), Err(Refused::Replayed));
            }
        }
    }
}

#[test]
fn an_index_is_sealed_once() {
    // RFC 7714 §8.4: with GCM a second packet under one nonce would give the key away.
    let (mut outbound, _) = pair(SrtpProfile::AeadAes128Gcm, Cryptex::Off);
    sealed(&mut outbound, 1, 5000);
    let mut again = rtp(1, 5000, b"other");
    assert_eq!(outbound.protect_rtp(&mut again, 0), Err(CannotSeal::Reused));
    assert_eq!(again, rtp(1, 5000, b"other"));
    sealed(&mut outbound, 1, 4999);
    assert_eq!(outbound.protect_rtp(&mut rtp(1, 3000, b"x"), 0), Err(CannotSeal::Reused));
    assert_eq!(outbound.protect_rtp(&mut rtp(1, 45_000, b"x"), 0), Err(CannotSeal::Reused));
    assert_eq!(outbound.protect_rtp(&mut BytesMut::from(&[0x80; 11][..]), 0), Err(CannotSeal::Malformed));
    assert_eq!(outbound.protect_rtp(&mut BytesMut::new(), 7), Err(CannotSeal::Malformed));
    assert_eq!(outbound.protect_rtcp(&mut BytesMut::from(&[0x80; 7][..]), 0), Err(CannotSeal::Malformed));
}

#[test]
fn an_exhausted_rtcp_index_seals_no_more() {
    let (mut outbound, _) = pair(SrtpProfile::AeadAes128Gcm, Cryptex::Off);
    outbound.exhaust_rtcp();
    outbound.protect_rtcp(&mut compound(1), 0).unwrap();
    assert_eq!(outbound.protect_rtcp(&mut compound(1), 0), Err(CannotSeal::Exhausted));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn reordering_loss_and_replay_across_wraps_give_exact_verdicts(
        profile in prop::sample::select(&SrtpProfile::ALL[..]),
        start in 60_000u64..66_000,
        picks in prop::collection::vec((0usize..40, 0u8..10), 1..300),
    ) {
        // Packets are sent in order, and received with a reorder of up to 40, some never, some twice.
        let (mut outbound, mut inbound) = pair(profile, Cryptex::Off);
        let start = start % 65_536;
        let count = picks.len() as u64;
        let mut on_the_way: Vec<(u64, BytesMut)> = (start..start + count)
            .map(|index| (index, sealed(&mut outbound, 1, (index & 0xffff) as u16))).collect();
        let mut seen = std::collections::BTreeSet::new();
        for (pick, fate) in picks {
            let at = pick.min(on_the_way.len() - 1);
            let (index, packet) = if fate == 0 { on_the_way[at].clone() } else { on_the_way.remove(at) };
            if fate == 1 {
                continue;
            }
            // The roll-over counter starts at 0 with the first packet received, wherever that is.
            if seen.is_empty() && index > 0xffff {
                break;
            }
            let result = inbound.unprotect_rtp(&mut packet.clone());
            if seen.insert(index) {
                prop_assert_eq!(result.map(|opened| opened.index), Ok(index));
            } else {
                prop_assert_eq!(result, Err(Refused::Replayed));
            }
        }
    }

    #[test]
    fn any_bytes_are_refused(mut packet in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Some(first) = packet.first_mut() {
            *first = *first & 0x3f | 0x80;
        }
        for profile in SrtpProfile::ALL {
            for cryptex in [Cryptex::Off, Cryptex::On] {
                let (_, mut inbound) = pair(profile, cryptex);
                prop_assert!(inbound.unprotect_rtp(&mut BytesMut::from(&packet[..])).is_err());
                prop_assert!(inbound.unprotect_rtcp(&mut BytesMut::from(&packet[..])).is_err());
                prop_assert_eq!(inbound.streams(), 0);
            }
        }
    }
}
