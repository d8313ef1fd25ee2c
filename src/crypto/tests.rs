//! What all back ends must do, run over each; and the published vectors of the shared parts.

use super::cipher::{AesKey, RecordNumberKey};
use super::hash::{HashAlgorithm, md5};
use super::key::Encoding;
use super::mac::{HmacKey, HmacSha1Key, hmac};
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

// ---- AEAD ---------------------------------------------------------------------------------------------------

const AEADS: [AeadAlgorithm; 3] =
    [AeadAlgorithm::Aes128Gcm, AeadAlgorithm::Aes256Gcm, AeadAlgorithm::ChaCha20Poly1305];

/// "The Galois/Counter Mode of Operation" (McGrew and Viega), test cases 4 and 16, which NIST's own vectors took
/// over; RFC 8439 §2.8.2.
#[test]
fn aead_vectors() {
    let gcm_text = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                    1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";
    let gcm_aad = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
    let key_128 = "feffe9928665731c6d6a8f9467308308";
    let key_256 = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
    let sunscreen = "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                     sunscreen would be it.";
    let sunscreen_hex: String = sunscreen.bytes().map(|b| format!("{b:02x}")).collect();
    let chacha_key = "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f";
    for (algorithm, key, nonce, aad, text, sealed) in [
        (
            AeadAlgorithm::Aes128Gcm,
            key_128,
            "cafebabefacedbaddecaf888",
            gcm_aad,
            gcm_text,
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
             21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091\
             5bc94fbc3221a5db94fae95ae7121a47",
        ),
        (
            AeadAlgorithm::Aes256Gcm,
            key_256,
            "cafebabefacedbaddecaf888",
            gcm_aad,
            gcm_text,
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662\
             76fc6ece0f4e1768cddf8853bb2d551b",
        ),
        (
            AeadAlgorithm::ChaCha20Poly1305,
            chacha_key,
            "070000004041424344454647",
            "50515253c0c1c2c3c4c5c6c7",
            &sunscreen_hex,
            "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6\
             3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36\
             92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc\
             3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691",
        ),
    ] {
        let nonce: [u8; NONCE_LEN] = hex(nonce).try_into().unwrap();
        for backend in backends() {
            let key = backend.aead(algorithm, &hex(key)).unwrap();
            let mut bytes = hex(text);
            let tag = key.seal_in_place(&nonce, &hex(aad), &mut bytes);
            bytes.extend_from_slice(&tag);
            assert_eq!(bytes, hex(sealed), "{algorithm:?}");
            assert_eq!(key.open_in_place(&nonce, &hex(aad), &mut bytes).unwrap().to_vec(), hex(text));
        }
    }
}

#[test]
fn nothing_opens_that_was_altered_anywhere() {
    for backend in backends() {
        for algorithm in AEADS {
            let key = backend.aead(algorithm, &[3; 32][..algorithm.key_len()]).unwrap();
            let mut sealed = *b"some text.................";
            let tag = key.seal_in_place(&[4; 12], b"aad", &mut sealed[..10]);
            sealed[10..].copy_from_slice(&tag);
            let open = |nonce: &[u8; 12], aad: &[u8], mut bytes: Vec<u8>| {
                key.open_in_place(nonce, aad, &mut bytes).map(|text| text.to_vec())
            };
            assert_eq!(open(&[4; 12], b"aad", sealed.to_vec()), Ok(b"some text.".to_vec()));
            assert_eq!(open(&[5; 12], b"aad", sealed.to_vec()), Err(Unauthentic));
            assert_eq!(open(&[4; 12], b"aae", sealed.to_vec()), Err(Unauthentic));
            for i in 0..sealed.len() {
                let mut altered = sealed.to_vec();
                altered[i] ^= 1;
                assert_eq!(open(&[4; 12], b"aad", altered), Err(Unauthentic));
                assert_eq!(open(&[4; 12], b"aad", sealed[..i].to_vec()), Err(Unauthentic));
            }
        }
    }
}

#[test]
fn an_aead_key_of_another_length_is_refused() {
    for backend in backends() {
        for algorithm in AEADS {
            for len in (0..40).filter(|&len| len != algorithm.key_len()) {
                assert_eq!(backend.aead(algorithm, &vec![0; len]).err(), Some(InvalidKey));
            }
        }
    }
}

// ---- key agreement ------------------------------------------------------------------------------------------

#[test]
fn both_sides_share_one_secret_whatever_their_back_ends() {
    for group in NamedGroup::ALL {
        let pairs =
            backends().into_iter().flat_map(|one| backends().into_iter().map(move |other| (one, other)));
        for (one, other) in pairs {
            let client = one.key_exchange(group, &mut rng()).unwrap();
            let (share, secret) = other.encapsulate(group, client.public(), &mut rng()).unwrap();
            assert_eq!(client.agree(&share).unwrap(), secret, "{one:?} {other:?} {group:?}");
            assert_ne!(secret.as_bytes(), vec![0; secret.as_bytes().len()]);
        }
    }
}

#[test]
fn shares_and_secrets_have_their_lengths() {
    for backend in backends() {
        for (group, client_len, server_len, secret_len) in [
            (NamedGroup::X25519, 32, 32, 32),
            (NamedGroup::Secp256r1, 65, 65, 32),
            (NamedGroup::Secp384r1, 97, 97, 48),
            (NamedGroup::X25519MlKem768, 1216, 1120, 64),
        ] {
            let client = backend.key_exchange(group, &mut rng()).unwrap();
            let (share, secret) = backend.encapsulate(group, client.public(), &mut rng()).unwrap();
            let lens = (client.public().len(), share.len(), secret.as_bytes().len());
            assert_eq!(lens, (client_len, server_len, secret_len));
        }
    }
}

#[test]
fn the_same_seed_makes_the_same_shares_in_the_seeded_back_end() {
    for group in NamedGroup::ALL {
        let client = || rust().key_exchange(group, &mut rng()).unwrap().public().to_vec();
        assert_eq!(client(), client());
        let server = || rust().encapsulate(group, &client(), &mut Rng::new([8; 32], Stream::Dtls)).unwrap();
        assert_eq!(server(), server());
        assert_ne!(server().0, client());
    }
}

/// Expects both roles of every back end to refuse `share`.
fn refused(group: NamedGroup, share: &[u8]) {
    for backend in backends() {
        let own = backend.key_exchange(group, &mut rng()).unwrap();
        assert_eq!(
            own.agree(share).err(),
            Some(CryptoError::BadKeyShare),
            "{backend:?} {group:?} {share:02x?}"
        );
        let answer = backend.encapsulate(group, share, &mut rng());
        assert_eq!(answer.err(), Some(CryptoError::BadKeyShare), "{backend:?} {group:?} {share:02x?}");
    }
}

#[test]
fn shares_of_another_length_are_refused() {
    for group in NamedGroup::ALL {
        let share = rust().key_exchange(group, &mut rng()).unwrap().public().to_vec();
        for cut in [0, 1, share.len() / 2, share.len() - 1] {
            refused(group, &share[..cut]);
        }
        refused(group, &[&share[..], &[0]].concat());
    }
}

/// RFC 7748 §6.1, RFC 8446 §7.4.2: the points of small order, in canonical form and with the unused bit set.
#[test]
fn x25519_shares_that_give_the_zero_secret_are_refused() {
    for point in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        let mut point = hex(point);
        refused(NamedGroup::X25519, &point);
        point[31] |= 0x80;
        refused(NamedGroup::X25519, &point);

        // The same in the second half of a hybrid share, where the first half is sound.
        for backend in backends() {
            let client = backend.key_exchange(NamedGroup::X25519MlKem768, &mut rng()).unwrap();
            let (server, _) =
                backend.encapsulate(NamedGroup::X25519MlKem768, client.public(), &mut rng()).unwrap();
            let forged = [&server[..1088], &point].concat();
            let share = [&client.public()[..1184], &point].concat();
            assert_eq!(client.agree(&forged).err(), Some(CryptoError::BadKeyShare));
            let answer = backend.encapsulate(NamedGroup::X25519MlKem768, &share, &mut rng());
            assert_eq!(answer.err(), Some(CryptoError::BadKeyShare));
        }
    }
}

/// RFC 8446 §4.2.8.2, RFC 8422 §5.4.1.
#[test]
fn points_that_are_not_on_the_curve_or_not_uncompressed_are_refused() {
    for (group, field) in [(NamedGroup::Secp256r1, 32), (NamedGroup::Secp384r1, 48)] {
        let good = rust().key_exchange(group, &mut rng()).unwrap().public().to_vec();
        let with = |f: &dyn Fn(&mut Vec<u8>)| {
            let mut share = good.clone();
            f(&mut share);
            share
        };
        refused(group, &[0]); // the point at infinity
        refused(group, &with(&|s| s.fill(0)));
        refused(group, &with(&|s| s[1..].fill(0)));
        refused(group, &with(&|s| s[1..].fill(0xff))); // not reduced
        refused(group, &with(&|s| s[2 * field] ^= 1)); // off the curve
        for form in [0, 1, 2, 3, 5, 6, 7, 0xff] {
            refused(group, &with(&|s| s[0] = form));
        }
        let compressed = [&[2 | good[2 * field] & 1], &good[1..=field]].concat();
        refused(group, &compressed);
    }
}

/// FIPS 203 §7.2: a coefficient that is not below q = 3329.
#[test]
fn ml_kem_keys_that_are_not_reduced_are_refused() {
    for backend in backends() {
        let client = backend.key_exchange(NamedGroup::X25519MlKem768, &mut rng()).unwrap();
        let mut share = client.public().to_vec();
        share[..2].fill(0xff);
        let answer = backend.encapsulate(NamedGroup::X25519MlKem768, &share, &mut rng());
        assert_eq!(answer.err(), Some(CryptoError::BadKeyShare));
    }
}

/// FIPS 203 §6.3.
#[test]
fn a_forged_ml_kem_ciphertext_gives_another_secret() {
    for backend in backends() {
        let client = backend.key_exchange(NamedGroup::X25519MlKem768, &mut rng()).unwrap();
        let (mut share, secret) =
            backend.encapsulate(NamedGroup::X25519MlKem768, client.public(), &mut rng()).unwrap();
        share[7] ^= 1;
        let other = client.agree(&share).unwrap();
        assert_ne!(other.as_bytes()[..32], secret.as_bytes()[..32]);
        assert_eq!(other.as_bytes()[32..], secret.as_bytes()[32..]);
    }
}

// ---- signatures ---------------------------------------------------------------------------------------------

/// A private key from its scalar, as a SEC1 key without the optional parts but the curve (RFC 5915 §3).
fn ecdsa_key(oid: &str, scalar: &[u8]) -> PrivateKey {
    let oid = hex(oid);
    let curve = [&[0xa0, oid.len() as u8 + 2, 6, oid.len() as u8], &oid[..]].concat();
    let inner = [&[2, 1, 1, 4, scalar.len() as u8], scalar, &curve].concat();
    PrivateKey::from_der(Encoding::Sec1, &[&[0x30, inner.len() as u8], &inner[..]].concat()).unwrap()
}

const P256_OID: &str = "2a8648ce3d030107";
const P384_OID: &str = "2b81040022";

/// A positive INTEGER in DER.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|&b| b != 0).unwrap_or(bytes.len() - 1);
    let mut body = bytes[start..].to_vec();
    if body[0] & 0x80 != 0 {
        body.insert(0, 0);
    }
    [&[2, body.len() as u8], &body[..]].concat()
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&[0x30, body.len() as u8], &body[..]].concat()
}

/// RFC 6979 §A.2.5 and §A.2.6.
#[test]
fn seeded_ecdsa_signatures_are_those_of_rfc_6979() {
    let p256 = "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721";
    let p384 = "6b9d3dad2e1b8c1c05b19875b6659f4de23c3b667bf297ba9aa47740787137d8\
                96d5724e4c70a825f872c9ea60d2edf5";
    for (oid, scalar, message, r, s) in [
        (
            P256_OID,
            p256,
            "sample",
            "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716",
            "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
        ),
        (
            P256_OID,
            p256,
            "test",
            "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367",
            "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083",
        ),
        (
            P384_OID,
            p384,
            "sample",
            "94edbb92a5ecb8aad4736e56c691916b3f88140666ce9fa73d64c4ea95ad133c81a648152e44acf96e36dd1e80fabe46",
            "99ef4aeb15f178cea1fe40db2603138f130e740a19624526203b6351d0a3a94fa329c145786e679e7b82c71a38628ac8",
        ),
    ] {
        let key = ecdsa_key(oid, &hex(scalar));
        let signer = rust().signing_key(&key).unwrap();
        let scheme = signer.public_key().algorithm().schemes()[0];
        let signature = signer.sign(scheme, message.as_bytes(), &mut rng()).unwrap();
        assert_eq!(signature, sequence(&[&integer(&hex(r)), &integer(&hex(s))]));

        let by_ring = ring().signing_key(&key).unwrap().sign(scheme, message.as_bytes(), &mut rng()).unwrap();
        for backend in backends() {
            for signature in [&signature, &by_ring] {
                assert_eq!(
                    backend.verify(scheme, signer.public_key(), message.as_bytes(), signature),
                    Ok(())
                );
                assert!(backend.verify(scheme, signer.public_key(), b"another", signature).is_err());
            }
        }
    }
}

/// SEC 1 §4.1.4: r and s are in 1..n; X.690 §8.3, §10.1: they are written in one way only.
#[test]
fn ecdsa_signatures_out_of_range_or_badly_written_are_refused() {
    for (oid, scalar, order) in [
        (P256_OID, [5; 32].to_vec(), "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
        (
            P384_OID,
            [5; 48].to_vec(),
            "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
        ),
    ] {
        let signer = rust().signing_key(&ecdsa_key(oid, &scalar)).unwrap();
        let scheme = signer.public_key().algorithm().schemes()[0];
        let good = signer.sign(scheme, b"message", &mut rng()).unwrap();
        let r_end = 4 + usize::from(good[3]);
        let (r, s) = (&good[2..r_end], &good[r_end..]);
        let zero = integer(&[0]);
        let n = integer(&hex(order));
        let mut above = hex(order);
        *above.last_mut().unwrap() += 1;
        let above = integer(&above);
        let negative = [2, 1, 0xff];
        let padded = |i: &[u8]| [&[2, i[1] + 1, 0], &i[2..]].concat();
        let mut bad = vec![
            sequence(&[&zero, s]),
            sequence(&[r, &zero]),
            sequence(&[&zero, &zero]),
            sequence(&[&n, s]),
            sequence(&[r, &n]),
            sequence(&[&n, &n]),
            sequence(&[&above, s]),
            sequence(&[r, &above]),
            sequence(&[&negative, s]),
            sequence(&[r, &negative]),
            sequence(&[&padded(r), s]),
            sequence(&[r, &padded(s)]),
            sequence(&[r]),
            sequence(&[r, s, &zero]),
            sequence(&[&[2, 0], s]),
            [&good[..], &[0]].concat(),
            [&[0x30, 0x81, good[1]], &good[2..]].concat(),
            [&[0x31], &good[1..]].concat(),
            vec![0; 64],
        ];
        bad.extend((0..good.len()).map(|len| good[..len].to_vec()));
        for backend in backends() {
            assert_eq!(backend.verify(scheme, signer.public_key(), b"message", &good), Ok(()));
            for signature in &bad {
                let verdict = backend.verify(scheme, signer.public_key(), b"message", signature);
                assert_eq!(verdict, Err(BadSignature), "{signature:02x?}");
            }
        }
    }
}

#[test]
fn public_keys_that_are_no_points_verify_nothing() {
    let signer = rust().signing_key(&ecdsa_key(P256_OID, &[5; 32])).unwrap();
    let scheme = SignatureScheme::EcdsaSecp256r1Sha256;
    let good = signer.sign(scheme, b"message", &mut rng()).unwrap();
    let point = signer.public_key().as_bytes();
    let mut off_curve = point.to_vec();
    off_curve[64] ^= 1;
    let compressed = [&[2 | point[64] & 1], &point[1..33]].concat();
    for bytes in [&[][..], &[0], &[0; 65], &off_curve, &compressed, &point[..64]] {
        for backend in backends() {
            let key = PublicKey::new(KeyAlgorithm::EcdsaP256, bytes);
            assert_eq!(backend.verify(scheme, &key, b"message", &good), Err(BadSignature));
        }
    }
}

#[test]
fn a_scheme_only_fits_its_kind_of_key() {
    let signer = rust().signing_key(&ecdsa_key(P256_OID, &[5; 32])).unwrap();
    for backend in backends() {
        let own = backend.signing_key(&ecdsa_key(P256_OID, &[5; 32])).unwrap();
        for scheme in SignatureScheme::ALL.into_iter().filter(|s| *s != SignatureScheme::EcdsaSecp256r1Sha256)
        {
            assert_eq!(own.sign(scheme, b"message", &mut rng()), Err(CryptoError::Unsupported));
            let verdict =
                backend.verify(scheme, signer.public_key(), b"message", &[0x30, 6, 2, 1, 1, 2, 1, 1]);
            assert_eq!(verdict, Err(BadSignature));
        }
    }
}

/// RFC 8422 §5.10 against RFC 8446 §4.2.3.
#[test]
fn an_ecdsa_scheme_ties_the_curve_in_tls_1_3_only() {
    use p256::ecdsa::signature::hazmat::PrehashSigner as _;
    // P-256 with SHA-384, as TLS 1.2 allows: nobody here signs so, but a peer may.
    let key = p256::ecdsa::SigningKey::from_slice(&[5; 32]).unwrap();
    let hash = HashAlgorithm::Sha384.digest(&[b"message"]);
    let signature: p256::ecdsa::DerSignature = key.sign_prehash(&hash).unwrap();
    let public = PublicKey::new(KeyAlgorithm::EcdsaP256, &key.verifying_key().to_sec1_bytes());
    for backend in backends() {
        let scheme = SignatureScheme::EcdsaSecp384r1Sha384;
        assert_eq!(backend.verify(scheme, &public, b"message", signature.as_bytes()), Ok(()));
        assert!(!scheme.names_curve_of(KeyAlgorithm::EcdsaP256));
    }
}

/// RFC 8032 §7.1, tests 1 and 2.
#[test]
fn ed25519_vectors_of_rfc_8032() {
    for (public, message, signature) in [
        (
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b\
             d25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c\
             387b2eaeb4302aeeb00d291612bb0c00",
        ),
    ] {
        let key = PublicKey::new(KeyAlgorithm::Ed25519, &hex(public));
        for backend in backends() {
            let verify =
                |message: &[u8]| backend.verify(SignatureScheme::Ed25519, &key, message, &hex(signature));
            assert_eq!(verify(&hex(message)), Ok(()));
            assert_eq!(verify(b"another"), Err(BadSignature));
        }
    }
}

#[test]
fn codes_name_one_scheme_and_one_group_each() {
    for scheme in SignatureScheme::ALL {
        assert_eq!(SignatureScheme::from_code(scheme.code()), Some(scheme));
    }
    for group in NamedGroup::ALL {
        assert_eq!(NamedGroup::from_code(group.code()), Some(group));
    }
    assert_eq!(SignatureScheme::from_code(0x0201), None);
    assert_eq!(NamedGroup::from_code(0x0019), None);
}

// ---- hashes and MACs ----------------------------------------------------------------------------------------

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

// ---- bare AES -----------------------------------------------------------------------------------------------

/// NIST SP 800-38A §F.5.1 and §F.5.5.
#[test]
fn counter_mode_vectors_of_sp_800_38a() {
    let iv = std::array::from_fn(|i| 0xf0 + i as u8);
    let text = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
                30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";
    for (key, sealed) in [
        (
            "2b7e151628aed2a6abf7158809cf4f3c",
            "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff\
             5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee",
        ),
        (
            "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
            "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5\
             2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6",
        ),
    ] {
        let key = AesKey::new(&hex(key)).unwrap();
        let (text, sealed) = (hex(text), hex(sealed));
        for len in [0, 1, 15, 16, 17, 63, 64] {
            let mut bytes = text[..len].to_vec();
            key.apply_counter_mode(&iv, &mut bytes);
            assert_eq!(bytes, sealed[..len]);
            key.apply_counter_mode(&iv, &mut bytes);
            assert_eq!(bytes, text[..len]);
        }
    }
}

/// FIPS 197 §C.1 and §C.3.
#[test]
fn block_vectors_of_fips_197() {
    for (key_len, sealed) in
        [(16, "69c4e0d86a7b0430d8cdb78070b4c55a"), (32, "8ea2b7ca516745bfeafc49904b496089")]
    {
        let key: Vec<u8> = (0..key_len).collect();
        let mut block = std::array::from_fn(|i| 0x11 * i as u8);
        AesKey::new(&key).unwrap().encrypt_block(&mut block);
        assert_eq!(block.to_vec(), hex(sealed));
    }
    assert!((0..40).filter(|len| ![16, 32].contains(len)).all(|len| AesKey::new(&vec![0; len]).is_err()));
}

/// RFC 9001 §A.2 and §A.5: QUIC's header protection, of which the mask of RFC 9147 §4.2.3 is the start.
#[test]
fn record_number_masks_are_those_of_quic() {
    for (algorithm, key, sample, mask) in [
        (
            AeadAlgorithm::Aes128Gcm,
            "9f50449e04a0e810283a1e9933adedd2",
            "d1b1c98dd7689fb8ec11d242b123dc9b",
            "437b",
        ),
        (
            AeadAlgorithm::ChaCha20Poly1305,
            "25a282b9e82f06f21f488917a4fc8f1b73573685608597d0efcb076b0ab7a7a4",
            "5e5cd55c41f69080575d7999c25a5bfb",
            "aefe",
        ),
    ] {
        let key = RecordNumberKey::new(algorithm, &hex(key)).unwrap();
        assert_eq!(key.mask(&hex(sample).try_into().unwrap()).to_vec(), hex(mask));
    }
    // The mask of AES is its block encryption, for both lengths.
    for (algorithm, len) in [(AeadAlgorithm::Aes128Gcm, 16), (AeadAlgorithm::Aes256Gcm, 32)] {
        let key = vec![9; len];
        let mut block = [4; 16];
        AesKey::new(&key).unwrap().encrypt_block(&mut block);
        assert_eq!(RecordNumberKey::new(algorithm, &key).unwrap().mask(&[4; 16]), block[..2]);
        assert!(RecordNumberKey::new(algorithm, &key[1..]).is_err());
    }
}

// ---- secrets ------------------------------------------------------------------------------------------------

#[test]
fn no_key_shows_itself_in_debug() {
    let bytes = [0xa7; 32];
    let shown = |debug: String| {
        let (decimal, hex) = ("167", "a7");
        assert!(!debug.contains(decimal) && !debug.to_ascii_lowercase().contains(hex), "{debug}");
    };
    shown(format!("{:?}", Secret::new(&bytes)));
    shown(format!("{:?}", AesKey::new(&bytes).unwrap()));
    shown(format!("{:?}", HmacKey::new(HashAlgorithm::Sha256, &bytes)));
    shown(format!("{:?}", HmacSha1Key::new(&bytes)));
    shown(format!("{:?}", RecordNumberKey::new(AeadAlgorithm::Aes256Gcm, &bytes).unwrap()));
    shown(format!("{:?}", HashAlgorithm::Sha256.digest(&[&bytes])));
    shown(format!("{:?}", ecdsa_key(P256_OID, &bytes)));
    for backend in backends() {
        for algorithm in AEADS {
            shown(format!("{:?}", backend.aead(algorithm, &bytes[..algorithm.key_len()]).unwrap()));
        }
        // A public half may show; the private one must not, and the seed decides it.
        let signer = backend.signing_key(&ecdsa_key(P256_OID, &bytes)).unwrap();
        assert!(!format!("{signer:?}").contains("167, 167, 167, 167"));
        for group in NamedGroup::ALL {
            let private = rng().array::<32>().map(|b| b.to_string()).join(", ");
            assert!(!format!("{:?}", backend.key_exchange(group, &mut rng()).unwrap()).contains(&private));
        }
    }
}

/// The types that hold keys wipe them; that *ring*'s are overwritten is proven beside them.
#[test]
fn key_memory_is_wiped_on_drop() {
    fn wipes<T: zeroize::ZeroizeOnDrop>() {}
    wipes::<Zeroizing<Box<[u8]>>>();
    wipes::<aes::Aes128Enc>();
    wipes::<aes::Aes256Enc>();
    wipes::<HmacSha1Key>();
    wipes::<x25519_dalek::StaticSecret>();
    wipes::<x25519_dalek::SharedSecret>();
    wipes::<p256::SecretKey>();
    wipes::<p384::SecretKey>();
    wipes::<p256::ecdsa::SigningKey>();
    wipes::<p384::ecdsa::SigningKey>();
    wipes::<ml_kem::ml_kem_768::DecapsulationKey>();
}

#[test]
fn secrets_are_equal_by_their_bytes() {
    assert_eq!(Secret::new(b"abc"), Secret::new(b"abc"));
    assert_ne!(Secret::new(b"abc"), Secret::new(b"abd"));
    assert_ne!(Secret::new(b"abc"), Secret::new(b"ab"));
    assert!(constant_time_eq(&[], &[]));
}
