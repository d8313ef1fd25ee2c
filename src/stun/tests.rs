use std::net::SocketAddr;

use bytes::BytesMut;
use proptest::prelude::*;

use super::attributes::types;
use super::credentials::{LongTermKey, SecurityFeatures, userhash};
use super::message::{IntegrityError, UnknownAttributes};
use super::*;
use crate::crypto::hash::HashAlgorithm;
use crate::crypto::mac::{HmacKey, HmacSha1Key};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// RFC 5769 §2.1, §2.2, §2.3: request and responses with short-term credentials.
const PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";
const REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";
const RESPONSE_V4: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
const RESPONSE_V6: &str = "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c";
/// RFC 5769 §2.4: request with long-term credentials.
const LONG_TERM: &str = "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383e382afe382b900000015001c662f2f3439396b39353464364f4c33346f4c394653547679363473410014000b6578616d706c652e6f72670000080014f67024656dd64a3e02b8e0712e85c9a28ca89666";
/// RFC 8489 appendix B.1: request with MESSAGE-INTEGRITY-SHA256 and USERHASH. The header says 0x9c there, which is
/// not the length of what follows, but is what the integrity value was computed with.
const LONG_TERM_SHA256: &str = "
    00010088 2112a442 78ad3433 c6ad72c0 29da412e
    001e0020 4a3cf38f ef6992bd a952c678 0417da0f 24819415 569e60b2 05c46e41 407f1704
    00150029 6f624d61 744a6f73 32414141 43662f2f 3439396b 39353464 364f4c33 346f4c39 46535476 79363473 41000000
    0014000b 6578616d 706c652e 6f726700
    001c0020 e4686c8f 0edeb590 13e07090 010a93ef ccbccc54 4c0a45d9 f830aa6d 6f735a01";
const USERNAME: &str = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}";

#[test]
fn the_sample_request_is_read_and_written_again() {
    // RFC 5769 §2.1.
    let bytes = hex(REQUEST);
    let key = HmacSha1Key::new(PASSWORD);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!((message.class(), message.method()), (Class::Request, Method::BINDING));
    assert_eq!(message.verify_integrity(&key), Ok(()));
    assert!(message.has_fingerprint());
    assert_eq!(message.software(), Some("STUN test client"));
    assert_eq!(message.username(), Some(&b"evtj:h6vY"[..]));
    assert_eq!(message.priority(), Some(0x6e00_01ff));
    assert_eq!(message.ice_controlled(), Some(0x932f_f9b1_5126_3b36));
    assert_eq!((message.ice_controlling(), message.use_candidate()), (None, false));

    // The same up to the sample's padding of spaces, so its integrity value differs: ours must verify.
    let mut buf = BytesMut::from(&b"before"[..]);
    let mut builder = Builder::new(&mut buf, Class::Request, Method::BINDING, message.transaction());
    builder.attribute(types::SOFTWARE, b"STUN test client").priority(0x6e00_01ff);
    builder.ice_controlled(0x932f_f9b1_5126_3b36).username(&[b"evtj", b":", b"h6vY"]);
    builder.integrity(&key).fingerprint();
    assert_eq!(builder.finish(), bytes.len());
    let ours = &buf[6..];
    assert_eq!(ours[..HEADER_LEN + 49], bytes[..HEADER_LEN + 49]);
    let ours = Message::parse(ours).unwrap();
    assert_eq!(ours.verify_integrity(&key), Ok(()));
    assert!(ours.attributes().eq(message.attributes()));
}

#[test]
fn the_sample_responses_are_read() {
    // RFC 5769 §2.2, §2.3.
    let key = HmacSha1Key::new(PASSWORD);
    for (sample, mapped) in
        [(RESPONSE_V4, "192.0.2.1:32853"), (RESPONSE_V6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")]
    {
        let bytes = hex(sample);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.class(), Class::Success);
        assert_eq!(message.verify_integrity(&key), Ok(()));
        assert_eq!(message.mapped_address(), Some(mapped.parse().unwrap()));
        assert_eq!(message.verify_integrity(&HmacSha1Key::new(b"other")), Err(IntegrityError::Mismatch));
    }
}

#[test]
fn the_long_term_samples_verify() {
    // RFC 5769 §2.4.
    let bytes = hex(LONG_TERM);
    let message = Message::parse(&bytes).unwrap();
    let key = LongTermKey::derive(PasswordAlgorithm::Md5, USERNAME, "example.org", "TheMatrIX");
    assert_eq!(message.verify_integrity(&key.sha1), Ok(()));
    assert_eq!(message.username(), Some(USERNAME.as_bytes()));
    assert_eq!(message.realm(), Some("example.org"));
    assert_eq!(SecurityFeatures::of_nonce(message.nonce().unwrap()), None);

    // RFC 8489 appendix B.1.
    let bytes = hex(LONG_TERM_SHA256);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.userhash(), Some(userhash(USERNAME, "example.org")));
    let features = SecurityFeatures::of_nonce(message.nonce().unwrap()).unwrap();
    assert!(!features.password_algorithms && !features.username_anonymity);
    assert_eq!(message.verify_integrity(&key.sha1), Err(IntegrityError::Missing));
    let key = LongTermKey::derive(PasswordAlgorithm::Sha256, USERNAME, "example.org", "TheMatrIX");
    assert_eq!(message.attributes().count(), 3);
    let (covered, value) = (&bytes[4..bytes.len() - 36], &bytes[bytes.len() - 32..]);
    assert!(key.sha256.verify(&[&[0, 1, 0, 0x9c], covered], value));
}

#[test]
fn a_long_term_key_is_the_hash_of_three_texts() {
    // RFC 8489 §9.2.2: user, realm and pass make this key.
    let key = HmacSha1Key::new(&hex("8493fbc53ba582fb4c044c456bdc40eb"));
    let derived = LongTermKey::derive(PasswordAlgorithm::Md5, "user", "realm", "pass");
    let bytes = build(Class::Request, |b| _ = b.integrity(&derived.sha1));
    assert_eq!(Message::parse(&bytes).unwrap().verify_integrity(&key), Ok(()));
}

#[test]
fn nonce_cookies_tell_their_features() {
    // RFC 8489 §9.2: bit 0 is the most significant of the first byte.
    let features = |nonce: &str| {
        SecurityFeatures::of_nonce(nonce.as_bytes()).map(|f| (f.password_algorithms, f.username_anonymity))
    };
    assert_eq!(features("obMatJos2gAAAxyz"), Some((true, false)));
    assert_eq!(features("obMatJos2QAAAxyz"), Some((false, true)));
    assert_eq!(features("obMatJos2wAAA"), Some((true, true)));
    assert_eq!(features("obMatJos2w"), None);
    assert_eq!(features("obMatJos2w??A"), None);
    assert_eq!(features("1234567890123456"), None);
}

fn build(class: Class, fill: impl FnOnce(&mut Builder<'_>)) -> BytesMut {
    let mut buf = BytesMut::new();
    let mut builder = Builder::new(&mut buf, class, Method::BINDING, TransactionId([7; 12]));
    fill(&mut builder);
    builder.finish();
    buf
}

#[test]
fn errors_and_algorithms_round_trip() {
    let bytes = build(Class::Error, |b| {
        b.error_code(ErrorCode::ROLE_CONFLICT).unknown_attributes(&[1, 0x7fff, 3]);
        b.password_algorithms(&[PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5]);
        b.password_algorithm(PasswordAlgorithm::Md5);
        b.address(types::ALTERNATE_SERVER, "192.0.2.1:3478".parse().unwrap());
        b.xor_address(types::XOR_RELAYED_ADDRESS, "[2001:db8::1]:5".parse().unwrap());
    });
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.error_code(), Some(ErrorCode { code: 487, reason: "Role Conflict" }));
    assert_eq!(message.unknown_attributes().unwrap().as_slice(), &[1, 0x7fff, 3]);
    assert_eq!(message.password_algorithms(), Some(Some(PasswordAlgorithm::Sha256)));
    assert_eq!(message.password_algorithm(), Some(PasswordAlgorithm::Md5));
    assert_eq!(message.alternate_server(), Some("192.0.2.1:3478".parse().unwrap()));
    assert_eq!(message.xor_address(types::XOR_RELAYED_ADDRESS), Some("[2001:db8::1]:5".parse().unwrap()));
    assert_eq!(message.xor_address(types::XOR_PEER_ADDRESS), None);
}

#[test]
fn inner_sizes_below_their_fixed_part_are_refused() {
    // R4, R7, R12.
    for len in 0..24 {
        let value = vec![0xff; len];
        let bytes = build(Class::Error, |b| {
            for kind in [
                types::ERROR_CODE,
                types::UNKNOWN_ATTRIBUTES,
                types::XOR_MAPPED_ADDRESS,
                types::ALTERNATE_SERVER,
                types::PASSWORD_ALGORITHMS,
                types::PASSWORD_ALGORITHM,
                types::PRIORITY,
                types::NOMINATION,
                types::ICE_CONTROLLED,
                types::USERHASH,
                types::REALM,
            ] {
                b.attribute(kind, &value);
            }
        });
        let message = Message::parse(&bytes).unwrap();
        // A class of 7, an unknown family, text that is not UTF-8: nothing of it is taken.
        assert_eq!(message.error_code(), None);
        assert_eq!(message.mapped_address(), None);
        assert_eq!(message.alternate_server(), None);
        assert_eq!(message.password_algorithm(), None);
        assert_eq!(message.priority().is_some(), len == 4);
        assert_eq!(message.nomination().is_some(), len == 4);
        assert_eq!(message.ice_controlled().is_some(), len == 8);
        assert_eq!(message.userhash(), None);
        assert_eq!(message.realm().is_some(), len == 0);
        assert_eq!(message.unknown_attributes().is_some(), len % 2 == 0);
    }
}

#[test]
fn an_error_reason_that_is_no_text_is_left_out() {
    // R5.
    let bytes = build(Class::Error, |b| {
        b.attribute(types::ERROR_CODE, &[0, 0, 4, 1, 0xff, 0xfe]);
    });
    assert_eq!(Message::parse(&bytes).unwrap().error_code(), Some(ErrorCode { code: 401, reason: "" }));
}

#[test]
fn integrity_values_of_odd_sizes_are_refused() {
    // R3.
    for len in 0..40 {
        let value = vec![0; len];
        let with = |kind| build(Class::Request, |b| _ = b.attribute(kind, &value));
        assert_eq!(Message::parse(&with(types::MESSAGE_INTEGRITY)).is_ok(), len == 20);
        let sha256 = with(types::MESSAGE_INTEGRITY_SHA256);
        assert_eq!(Message::parse(&sha256).is_ok(), (16..=32).contains(&len) && len % 4 == 0);
        if let Ok(message) = Message::parse(&sha256) {
            let key = HmacKey::new(HashAlgorithm::Sha256, b"key");
            assert_eq!(message.verify_integrity_sha256(&key), Err(IntegrityError::Mismatch));
        }
    }
}

#[test]
fn what_stands_behind_the_integrity_value_is_not_seen() {
    // RFC 8489 §14.5.
    let key = HmacSha1Key::new(b"key");
    let sha256 = HmacKey::new(HashAlgorithm::Sha256, b"key");
    let bytes = build(Class::Request, |b| {
        b.priority(1).integrity(&key).use_candidate().integrity_sha256(&sha256).priority(2).fingerprint();
    });
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.priority(), Some(1));
    assert!(!message.use_candidate());
    assert_eq!(message.verify_integrity(&key), Ok(()));
    assert_eq!(message.verify_integrity_sha256(&sha256), Ok(()));
}

#[test]
fn a_fingerprint_is_right_and_last_or_the_message_is_refused() {
    // RFC 8489 §14.7.
    let mut bytes = build(Class::Indication, |b| _ = b.fingerprint());
    assert!(Message::parse(&bytes).unwrap().has_fingerprint());
    *bytes.last_mut().unwrap() ^= 1;
    assert!(Message::parse(&bytes).is_err());
    let behind = build(Class::Indication, |b| _ = b.fingerprint().priority(1));
    assert!(Message::parse(&behind).is_err());
}

#[test]
fn attributes_that_must_be_understood_are_listed() {
    let bytes = build(Class::Request, |b| {
        b.attribute(0x7777, b"abc").attribute(0xc070, b"later").priority(3).attribute(0x0002, &[]);
    });
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.unknown_required().as_slice(), &[0x7777, 0x0002]);
    let mut many = UnknownAttributes::default();
    (0..100).for_each(|kind| many.push(kind));
    assert_eq!(many.as_slice().len(), 8);
}

#[test]
fn every_truncation_is_refused() {
    for sample in [REQUEST, RESPONSE_V4, RESPONSE_V6, LONG_TERM, LONG_TERM_SHA256] {
        let bytes = hex(sample);
        for end in 0..bytes.len() {
            assert!(Message::parse(&bytes[..end]).is_err(), "{end} bytes");
        }
        // And so is a message that says that it is shorter or longer than it is.
        for length in [0u16, 4, 0x54, 0x5c, 0xfffc] {
            let mut bytes = bytes.clone();
            if usize::from(length) != bytes.len() - HEADER_LEN {
                bytes[2..4].copy_from_slice(&length.to_be_bytes());
                assert!(Message::parse(&bytes).is_err());
            }
        }
    }
}

#[test]
fn stun_is_told_by_its_first_byte_and_cookie() {
    assert!(is_stun(&hex(REQUEST)));
    assert!(!is_stun(&hex(REQUEST)[..19]));
    assert!(!is_stun(&[22; 100]));
    assert!(!is_stun(&[0; 100]));
}

fn class() -> impl Strategy<Value = Class> {
    prop_oneof![Just(Class::Request), Just(Class::Indication), Just(Class::Success), Just(Class::Error)]
}

proptest! {
    #[test]
    fn parse_undoes_build(
        class in class(),
        method in 0u16..0x1000,
        id: [u8; 12],
        mapped: (std::net::IpAddr, u16),
        other in prop::collection::vec((any::<u16>(), prop::collection::vec(any::<u8>(), 0..40)), 0..6),
    ) {
        let key = HmacSha1Key::new(b"secret");
        let mapped = SocketAddr::from(mapped);
        let special = [types::MESSAGE_INTEGRITY, types::MESSAGE_INTEGRITY_SHA256, types::FINGERPRINT];
        let mut buf = BytesMut::new();
        let mut builder = Builder::new(&mut buf, class, Method::new(method), TransactionId(id));
        builder.xor_mapped_address(mapped);
        let other: Vec<_> = other.into_iter().filter(|(kind, _)| !special.contains(kind)).collect();
        for (kind, value) in &other {
            builder.attribute(*kind, value);
        }
        builder.integrity(&key).fingerprint();
        let len = builder.finish();
        prop_assert_eq!(len, buf.len());
        let message = Message::parse(&buf).unwrap();
        prop_assert_eq!((message.class(), message.method().code()), (class, method));
        prop_assert_eq!(message.transaction(), TransactionId(id));
        prop_assert_eq!(message.mapped_address(), Some(mapped));
        prop_assert_eq!(message.verify_integrity(&key), Ok(()));
        let read: Vec<_> = message.attributes().skip(1).map(|a| (a.kind, a.value.to_vec())).collect();
        prop_assert_eq!(read, other);
    }

    #[test]
    fn any_bytes_are_a_message_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..200), real: bool) {
        if real && bytes.len() >= HEADER_LEN {
            // Behind a sound header the attributes are reached.
            bytes.truncate(bytes.len() / 4 * 4);
            let length = u16::try_from(bytes.len() - HEADER_LEN).unwrap();
            bytes[0] &= 0x3f;
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            bytes[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
        }
        if let Ok(message) = Message::parse(&bytes) {
            let _ = (message.mapped_address(), message.error_code(), message.unknown_attributes());
            let _ = (message.password_algorithms(), message.password_algorithm(), message.unknown_required());
            let _ = (message.realm(), message.nonce().map(SecurityFeatures::of_nonce), message.alternate_server());
            let _ = message.verify_integrity(&HmacSha1Key::new(b"key"));
        }
    }
}
