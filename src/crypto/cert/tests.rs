//! Identities and certificates, over all back ends.

use proptest::prelude::*;

use super::*;
use crate::crypto::tests::{hex, rng};
use crate::crypto::{BadSignature, backends, ring, rust};

macro_rules! data {
    ($name:literal) => {
        include_str!(concat!("../../../tests/data/identity/", $name))
    };
}

/// The DER of the first certificate in a PEM text.
fn der(pem: &str) -> Vec<u8> {
    match pem_items(pem).unwrap().remove(0) {
        Item::X509Certificate(der) => der.to_vec(),
        other => panic!("not a certificate: {other:?}"),
    }
}

#[test]
fn the_same_seed_makes_the_same_certificate_under_every_back_end() {
    let make = |backend| Identity::generate(backend, &mut rng()).unwrap();
    for backend in backends() {
        assert_eq!(make(backend).certificate_der(), make(rust()).certificate_der(), "{backend:?}");
    }
    let mut other = rng();
    other.u32();
    assert_ne!(
        Identity::generate(rust(), &mut other).unwrap().certificate_der(),
        make(rust()).certificate_der()
    );
}

#[test]
fn a_generated_certificate_is_well_formed_and_signed_by_its_own_key() {
    use x509_parser::prelude::X509Certificate;
    let identity = Identity::generate(rust(), &mut rng()).unwrap();
    let (rest, certificate) = X509Certificate::from_der(identity.certificate_der()).unwrap();
    assert!(rest.is_empty());
    assert_eq!(certificate.subject().to_string(), "CN=WebRTC");
    assert_eq!(certificate.raw_serial().len(), 16);
    assert_eq!(certificate.validity().not_before.timestamp(), 1_577_836_800);
    let key = public_key(identity.certificate_der()).unwrap();
    let verdict = rust().verify(
        SignatureScheme::EcdsaSecp256r1Sha256,
        &key,
        certificate.tbs_certificate.as_ref(),
        &certificate.signature_value.data,
    );
    assert_eq!(verdict, Ok(()));
}

#[test]
fn an_identity_survives_pem_and_its_signatures_verify() {
    for backend in backends() {
        let made = Identity::generate(backend, &mut rng()).unwrap();
        let read = Identity::from_pem(backend, &made.certificate_pem(), &made.private_key_pem()).unwrap();
        assert_eq!(read.certificate_der(), made.certificate_der());
        let key = public_key(made.certificate_der()).unwrap();
        let scheme = read.schemes()[0];
        let signature = read.sign(scheme, b"message", &mut rng()).unwrap();
        assert_eq!(backend.verify(scheme, &key, b"message", &signature), Ok(()));
        assert!(backend.verify(scheme, &key, b"messagf", &signature).is_err());
    }
}

#[test]
fn every_kind_of_key_in_every_encoding_loads_signs_and_prints_as_it_was() {
    for (certificate, key, algorithm) in [
        (data!("p256.crt.pem"), data!("p256.pkcs8.pem"), KeyAlgorithm::EcdsaP256),
        (data!("p256.crt.pem"), data!("p256.sec1.pem"), KeyAlgorithm::EcdsaP256),
        (data!("p384.crt.pem"), data!("p384.pkcs8.pem"), KeyAlgorithm::EcdsaP384),
        (data!("p384.crt.pem"), data!("p384.sec1.pem"), KeyAlgorithm::EcdsaP384),
        (data!("ed25519.crt.pem"), data!("ed25519.pkcs8.pem"), KeyAlgorithm::Ed25519),
        (data!("rsa.crt.pem"), data!("rsa.pkcs8.pem"), KeyAlgorithm::Rsa),
        (data!("rsa.crt.pem"), data!("rsa.pkcs1.pem"), KeyAlgorithm::Rsa),
    ] {
        for backend in backends() {
            let identity = Identity::from_pem(backend, certificate, key).unwrap();
            assert_eq!(identity.algorithm(), algorithm);
            assert_eq!(identity.certificate_pem(), certificate);
            assert_eq!(identity.private_key_pem().as_str(), key);
            let public = public_key(identity.certificate_der()).unwrap();
            for &scheme in identity.schemes() {
                assert!(scheme.names_curve_of(algorithm));
                let signature = identity.sign(scheme, b"message", &mut rng()).unwrap();
                assert_eq!(backend.verify(scheme, &public, b"message", &signature), Ok(()));
                assert!(backend.verify(scheme, &public, b"another", &signature).is_err());
            }
        }
    }
}

#[test]
fn a_certificate_and_a_key_may_share_one_file_and_a_chain_may_follow() {
    let file = [data!("p256.sec1.pem"), data!("p256.crt.pem"), data!("rsa.crt.pem")].concat();
    let identity = Identity::from_pem(ring(), &file, &file).unwrap();
    assert_eq!(identity.chain().count(), 2);
    assert_eq!(identity.certificate_der(), der(data!("p256.crt.pem")));
}

#[test]
fn what_is_no_identity_says_why() {
    let load = |certificate: &str, key: &str| Identity::from_pem(ring(), certificate, key).err();
    let (certificate, key) = (data!("p256.crt.pem"), data!("p256.pkcs8.pem"));
    assert_eq!(load("", key), Some(IdentityError::NoCertificate));
    assert_eq!(load(key, key), Some(IdentityError::NoCertificate));
    assert_eq!(load(certificate, certificate), Some(IdentityError::NoPrivateKey));
    assert_eq!(load(certificate, data!("p384.sec1.pem")), Some(IdentityError::Mismatch));
    assert_eq!(load(data!("rsa.crt.pem"), key), Some(IdentityError::Mismatch));
    assert_eq!(load(&certificate[..200], key), Some(IdentityError::Pem));
    let broken = key.replace("MIGHAgEA", "MIGHAgEB");
    assert_eq!(load(certificate, &broken), Some(IdentityError::Key(CryptoError::BadPrivateKey)));
    let odd = IdentityError::Certificate(BadCertificate::UnsupportedKey);
    assert_eq!(load(data!("p521.crt.pem"), key), Some(odd));
}

#[test]
fn fingerprints_are_those_of_openssl() {
    // openssl x509 -in p256.crt.pem -noout -fingerprint -sha256
    let expected = format!("sha-256 {}", data!("p256.sha256.txt").trim());
    let identity = Identity::from_pem(ring(), data!("p256.crt.pem"), data!("p256.sec1.pem")).unwrap();
    assert_eq!(identity.fingerprint(FingerprintHash::Sha256).to_string(), expected);
    assert_eq!(identity.fingerprint(FingerprintHash::Sha512).digest().len(), 64);
}

#[test]
fn odd_curves_and_odd_points_are_refused() {
    for pem in [
        data!("p521.crt.pem"),
        data!("secp256k1.crt.pem"),
        data!("explicit.crt.pem"),
        data!("compressed.crt.pem"),
    ] {
        assert_eq!(public_key(&der(pem)), Err(BadCertificate::UnsupportedKey));
    }
}

/// The reason is at `native::algorithm`.
#[test]
fn rsa_keys_of_1024_bits_verify_nothing() {
    let key = public_key(&der(data!("rsa1024.crt.pem"))).unwrap();
    let signature = hex(data!("rsa1024.signature.hex"));
    for backend in backends() {
        assert!(backend.verify(SignatureScheme::RsaPkcs1Sha256, &key, b"message", &signature).is_err());
    }
}

/// RFC 5480 §2.2, RFC 8410 §4, RFC 8017 §A.1.1: a key has one form in a certificate. Not all libraries insist.
#[test]
fn keys_in_another_form_verify_nothing() {
    use x509_parser::prelude::X509Certificate;
    for (certificate, key) in [
        (data!("p256.crt.pem"), data!("p256.pkcs8.pem")),
        (data!("p384.crt.pem"), data!("p384.pkcs8.pem")),
        (data!("ed25519.crt.pem"), data!("ed25519.pkcs8.pem")),
        (data!("rsa.crt.pem"), data!("rsa.pkcs8.pem")),
    ] {
        let identity = Identity::from_pem(ring(), certificate, key).unwrap();
        let public = public_key(identity.certificate_der()).unwrap();
        let (_, certificate) = X509Certificate::from_der(identity.certificate_der()).unwrap();
        let mut others = vec![certificate.tbs_certificate.subject_pki.raw.to_vec(), vec![]];
        if let KeyAlgorithm::EcdsaP256 | KeyAlgorithm::EcdsaP384 = public.algorithm() {
            let bytes = public.as_bytes();
            let odd = bytes[bytes.len() - 1] & 1;
            others.push([&[2 | odd], &bytes[1..=bytes.len() / 2]].concat()); // compressed
            others.push([&[6 | odd], &bytes[1..]].concat()); // hybrid
        }
        let scheme = identity.schemes()[0];
        let signature = identity.sign(scheme, b"message", &mut rng()).unwrap();
        for backend in backends() {
            assert_eq!(backend.verify(scheme, &public, b"message", &signature), Ok(()));
            for other in &others {
                let other = PublicKey::new(public.algorithm(), other);
                let verdict = backend.verify(scheme, &other, b"message", &signature);
                assert_eq!(verdict, Err(BadSignature), "{backend:?} {other:02x?}");
            }
        }
    }
}

#[test]
fn cut_and_lengthened_certificates_are_refused() {
    for pem in [data!("p256.crt.pem"), data!("ed25519.crt.pem"), data!("rsa.crt.pem")] {
        let der = der(pem);
        assert!(public_key(&der).is_ok());
        for len in 0..der.len() {
            assert_eq!(public_key(&der[..len]), Err(BadCertificate::Malformed), "{len}");
        }
        assert_eq!(public_key(&[&der[..], &[0]].concat()), Err(BadCertificate::Malformed));
    }
}

/// An element with a two-byte length.
fn element_of(tag: u8, body: &[u8]) -> Vec<u8> {
    let [high, low] = (body.len() as u16).to_be_bytes();
    [&[tag, 0x82, high, low], body].concat()
}

/// A certificate whose subject and whose extensions are these bytes.
fn certificate_around(subject: &[u8], extensions: &[u8]) -> Vec<u8> {
    let own = der(data!("p256.crt.pem"));
    let info = subject_public_key_info(&own).unwrap();
    let signed = [
        &[0xa0, 3, 2, 1, 2, 2, 1, 1, 0x30, 0, 0x30, 0, 0x30, 0][..],
        &element_of(0x30, subject),
        info,
        &element_of(0xa3, extensions),
    ]
    .concat();
    element_of(0x30, &[&element_of(0x30, &signed)[..], &[0x30, 0, 3, 1, 0]].concat())
}

#[test]
fn depth_bombs_are_stepped_over() {
    // 4,000 sequences, each inside the one before, as far as a reader that looked would see.
    let bomb = [0x30, 0x80].repeat(4_000);
    assert!(public_key(&certificate_around(&bomb, &[0; 300])).is_ok());
    assert!(public_key(&certificate_around(&[0; 300], &bomb)).is_ok());
    assert_eq!(public_key(&bomb), Err(BadCertificate::Malformed));
}

#[test]
fn more_than_16_kib_is_not_looked_at() {
    let filler = MAX_CERTIFICATE_LEN - certificate_around(&[0; 300], &[0; 300]).len() + 300;
    let largest = certificate_around(&[0; 300], &vec![0; filler]);
    assert_eq!(largest.len(), MAX_CERTIFICATE_LEN);
    assert!(public_key(&largest).is_ok());
    let larger = certificate_around(&[0; 300], &vec![0; filler + 1]);
    assert_eq!(public_key(&larger), Err(BadCertificate::TooLong));
    assert_eq!(public_key(&vec![0x30; 1 << 20]), Err(BadCertificate::TooLong));
}

/// X.690 §10.1.
#[test]
fn lengths_that_are_indefinite_or_too_long_are_refused() {
    let own = der(data!("p256.crt.pem"));
    assert_eq!(own[..2], [0x30, 0x82]);
    let body = &own[4..];
    let indefinite = [&[0x30, 0x80], body, &[0, 0]].concat();
    let long = [&[0x30, 0x83, 0, own[2], own[3]], body].concat();
    let huge = [&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], body].concat();
    for der in [indefinite, long, huge] {
        assert_eq!(public_key(&der), Err(BadCertificate::Malformed));
    }
    assert!(element(&mut Reader::new(&[4, 0x81, 1, 0], "test"), 4).is_err());
    assert!(element(&mut Reader::new(&[4, 0x82, 0, 1, 0], "test"), 4).is_err());
    assert!(element(&mut Reader::new(&[4, 1, 0], "test"), 4).is_ok());
}

#[test]
fn an_identity_does_not_show_its_key() {
    let identity = Identity::generate(ring(), &mut rng()).unwrap();
    let text = format!("{identity:?} {:?}", identity.private);
    assert!(text.contains("sha-256") && text.contains("PrivateKey(..)"));
    let scalar = identity.private.der()[36..40].iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    assert!(!text.contains(&scalar));
}

proptest! {
    #[test]
    fn any_bytes_are_a_key_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = public_key(&bytes);
    }

    #[test]
    fn an_altered_certificate_is_a_key_or_an_error(at in 0usize..359, byte: u8) {
        let mut der = der(data!("p256.crt.pem"));
        der[at] = byte;
        if let Ok(key) = public_key(&der) {
            let verdict = rust().verify(SignatureScheme::EcdsaSecp256r1Sha256, &key, b"message", &[0x30, 0]);
            prop_assert!(verdict.is_err());
        }
    }

    #[test]
    fn pem_undoes_pem(body in proptest::collection::vec(any::<u8>(), 1..300)) {
        prop_assert_eq!(der(&pem("CERTIFICATE", &body)), body);
    }
}
