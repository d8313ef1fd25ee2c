//! What both back ends must do, run over both; and the published vectors of the shared parts.

use super::hash::{HashAlgorithm, md5};
use super::mac::{HmacSha1Key, hmac};
use super::*;
use crate::rng::Stream;

/// Bytes from hexadecimal digits.
pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

pub(super) fn rng() -> Rng {
    Rng::new([7; 32], Stream::Dtls)
}

const GROUPS: [NamedGroup; 3] = [NamedGroup::X25519, NamedGroup::Secp256r1, NamedGroup::Secp384r1];

pub(super) fn backends() -> [&'static dyn Backend; 2] {
    [ring(), rust()]
}

#[test]
fn both_sides_of_a_key_agreement_share_one_secret() {
    for backend in backends() {
        for group in GROUPS {
            let client = backend.key_exchange(group, &mut rng()).unwrap();
            let (share, secret) = backend.encapsulate(group, client.public(), &mut rng()).unwrap();
            assert_eq!(client.agree(&share).unwrap(), secret, "{backend:?} {group:?}");
        }
    }
}

#[test]
fn hmac_sha1_vectors_of_rfc_2202() {
    for (key, data, mac) in [
        (
            "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
            "4869205468657265",
            "b617318655057264e28bc0b6fb378c8ef146be00",
        ),
        (
            "4a656665",
            "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
        ),
    ] {
        let key = HmacSha1Key::new(&hex(key));
        let data = hex(data);
        let (head, tail) = data.split_at(3);
        assert_eq!(key.sign(&[head, tail]).to_vec(), hex(mac));
        assert!(key.verify(&[&data], &hex(mac)));
        assert!(!key.verify(&[&data], &hex(mac)[..19]));
    }
}

/// RFC 4231 §4.3 (test case 2).
#[test]
fn hmac_sha2_vectors_of_rfc_4231() {
    let data = b"what do ya want for nothing?";
    assert_eq!(
        hmac(HashAlgorithm::Sha256, b"Jefe", &[data]).to_vec(),
        hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
    );
    assert_eq!(
        hmac(HashAlgorithm::Sha384, b"Jefe", &[data]).to_vec(),
        hex(
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649"
        )
    );
}

/// RFC 1321 §A.5.
#[test]
fn md5_vectors_of_rfc_1321() {
    assert_eq!(md5(&[b"a", b"bc"]).to_vec(), hex("900150983cd24fb0d6963f7d28e17f72"));
    assert_eq!(md5(&[]).to_vec(), hex("d41d8cd98f00b204e9800998ecf8427e"));
}
