//! SRTP and SRTCP: any bytes are refused, and what was sealed opens again as it was.
#![no_main]

use arbitrary::Arbitrary;
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sansrtc::crypto;
use sansrtc::rtp::header::Header;
use sansrtc::srtp::Cryptex;
use sansrtc::srtp::keys::MasterKey;
use sansrtc::types::srtp_profile::SrtpProfile;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    profile: u8,
    cryptex: bool,
    packets: Vec<&'a [u8]>,
}

fuzz_target!(|input: Input<'_>| {
    let profile = SrtpProfile::ALL[usize::from(input.profile) % SrtpProfile::ALL.len()];
    let cryptex = if input.cryptex { Cryptex::On } else { Cryptex::Off };
    let (key, salt) = ([1; 32], [2; 14]);
    let master =
        MasterKey::new(profile, &key[..profile.key_len()], &salt[..profile.salt_len()]).expect("lengths fit");
    let mut out = master.outbound(crypto::rust(), profile, cryptex).expect("the key fits");
    let mut into = master.inbound(crypto::rust(), profile, cryptex).expect("the key fits");
    for packet in input.packets {
        assert!(into.unprotect_rtp(&mut BytesMut::from(packet)).is_err(), "a forgery was accepted");
        assert!(into.unprotect_rtcp(&mut BytesMut::from(packet)).is_err(), "a forgery was accepted");
        let mut sealed = BytesMut::from(packet);
        if out.protect_rtp(&mut sealed, 0).is_ok() && into.unprotect_rtp(&mut sealed).is_ok() {
            // RFC 9335 §6.1: before CSRCs without an extension, an empty one is put.
            assert!(cryptex == Cryptex::On || sealed == packet);
            assert_eq!(parts(&sealed), parts(packet));
        }
        let mut sealed = BytesMut::from(packet);
        if out.protect_rtcp(&mut sealed, 0).is_ok() && into.unprotect_rtcp(&mut sealed).is_ok() {
            assert_eq!(&sealed[..], packet);
        }
    }
});

/// What a packet says, apart from its extension block.
fn parts(packet: &[u8]) -> Option<(&[u8], &[u8])> {
    let header = Header::parse(packet).ok()?;
    Some((&packet[1..12 + header.csrc_len()], &packet[header.len()..]))
}
