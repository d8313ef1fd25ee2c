//! Signing and verifying (RFC 6979, RFC 8032, RFC 8446 §4.2.3).

use super::*;

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
