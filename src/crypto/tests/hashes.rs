//! Hashes and MACs (RFC 2202, RFC 4231, RFC 1321).

use super::*;
use crate::crypto::hash::md5;
use crate::crypto::mac::{HmacKey, HmacSha1Key, hmac};

/// RFC 2202 §3.
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
        (
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\
             dddddddd",
            "125d7342b9ac11cd91a39af48aa17b4f63f175d3",
        ),
        (
            "0102030405060708090a0b0c0d0e0f10111213141516171819",
            "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd\
             cdcdcdcd",
            "4c9007f4026250c6bc8414f9bf50c86c2d7235da",
        ),
        (
            "0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c",
            "546573742057697468205472756e636174696f6e",
            "4c1a03424b55e07fe7f27be1d58bb9324a9a5a04",
        ),
        (
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
             aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "54657374205573696e67204c6172676572205468616e20426c6f636b2d53697a65204b6579202d2048617368204b\
             6579204669727374",
            "aa4ae5e15272d00e95705637ce8a3b55ed402112",
        ),
        (
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
             aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "54657374205573696e67204c6172676572205468616e20426c6f636b2d53697a65204b657920616e64204c617267\
             6572205468616e204f6e6520426c6f636b2d53697a652044617461",
            "e8e99d0f45237d786d6bbaa7965c7808bbff1a91",
        ),
    ] {
        let key = HmacSha1Key::new(&hex(key));
        let data = hex(data);
        let (head, tail) = data.split_at(3);
        assert_eq!(key.sign(&[head, tail]).to_vec(), hex(mac));
        assert!(key.verify(&[&data], &hex(mac)));
        assert!(!key.verify(&[&data], &hex(mac)[..19]));
        assert!(!key.verify(&[&data], &[]));
    }
}

/// RFC 4231 §4.3 and §4.7 (test cases 2 and 6).
#[test]
fn hmac_sha2_vectors_of_rfc_4231() {
    let long_key = [0xaa; 131];
    for (algorithm, key, data, mac) in [
        (
            HashAlgorithm::Sha256,
            &b"Jefe"[..],
            "what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (
            HashAlgorithm::Sha384,
            b"Jefe",
            "what do ya want for nothing?",
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
        ),
        (
            HashAlgorithm::Sha512,
            b"Jefe",
            "what do ya want for nothing?",
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fd\
             caeab1a34d4a6b4b636e070a38bce737",
        ),
        (
            HashAlgorithm::Sha256,
            &long_key,
            "Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
    ] {
        let data = data.as_bytes();
        assert_eq!(hmac(algorithm, key, &[data]).to_vec(), hex(mac));
        let prepared = HmacKey::new(algorithm, key);
        assert!(prepared.verify(&[&data[..7], &data[7..]], &hex(mac)));
        assert!(!prepared.verify(&[data], &hex(mac)[1..]));
    }
}

/// FIPS 180-4's example "abc".
#[test]
fn sha2_of_abc() {
    let mut hash = hash::Hash::new(HashAlgorithm::Sha256);
    hash.update(b"ab");
    let so_far = hash.clone();
    hash.update(b"c");
    let abc = hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(hash.finish().to_vec(), abc);
    assert_ne!(so_far.finish().to_vec(), abc);
    for algorithm in [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512] {
        assert_eq!(algorithm.digest(&[b"abc"]).len(), algorithm.output_len());
    }
}

/// RFC 1321 §A.5.
#[test]
fn md5_vectors_of_rfc_1321() {
    assert_eq!(md5(&[b"a", b"bc"]).to_vec(), hex("900150983cd24fb0d6963f7d28e17f72"));
    assert_eq!(md5(&[]).to_vec(), hex("d41d8cd98f00b204e9800998ecf8427e"));
}
