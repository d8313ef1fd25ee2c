//! What becomes of secrets: not shown, wiped, compared.

use super::*;
use crate::crypto::cipher::{AesKey, RecordNumberKey};
use crate::crypto::mac::{HmacKey, HmacSha1Key};

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
