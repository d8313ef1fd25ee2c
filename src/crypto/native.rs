//! A back end out of a library with the interface of *ring*: of *ring* itself, and of AWS-LC, which copied it.
//!
//! This file is compiled once for each, as a child of `ring` and of `aws_lc`. Under the name `library` it finds
//! the one that it is made for, and beside it the few things that the two do differently.
//!
//! Ephemeral keys and signatures take their randomness from the operating system: neither accepts any other.

use std::fmt;
use std::hint::black_box;

use zeroize::Zeroizing;

use super::library::rand::SystemRandom;
use super::library::signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair, VerificationAlgorithm};
use super::library::{aead, agreement};
use super::{MlKem, NAME, WIPES_ITSELF, ecdsa_key, modulus_len};
use crate::crypto::key::{Encoding, Kind, PrivateKey};
use crate::crypto::{
    AeadAlgorithm, AeadKey, Backend, BadSignature, CryptoError, InvalidKey, KeyAlgorithm, KeyExchange,
    NONCE_LEN, NamedGroup, PublicKey, Secret, SignatureScheme, SigningKey, TAG_LEN, Unauthentic, answer,
    hybrid,
};
use crate::rng::Rng;

/// The back end.
pub(in crate::crypto) struct Native;

impl Backend for Native {
    fn aead(&self, algorithm: AeadAlgorithm, key: &[u8]) -> Result<Box<dyn AeadKey>, InvalidKey> {
        aead(algorithm, key)
    }

    fn key_exchange(&self, group: NamedGroup, rng: &mut Rng) -> Result<Box<dyn KeyExchange>, CryptoError> {
        let algorithm = match group {
            NamedGroup::X25519 => &agreement::X25519,
            NamedGroup::Secp256r1 => &agreement::ECDH_P256,
            NamedGroup::Secp384r1 => &agreement::ECDH_P384,
            NamedGroup::X25519MlKem768 => return hybrid::client::<MlKem>(self, rng),
        };
        Ok(Box::new(Ephemeral::generate(algorithm)?))
    }

    fn encapsulate(
        &self,
        group: NamedGroup,
        peer_share: &[u8],
        rng: &mut Rng,
    ) -> Result<(Vec<u8>, Secret), CryptoError> {
        match group {
            NamedGroup::X25519MlKem768 => hybrid::server::<MlKem>(self, peer_share, rng),
            _ => answer(self.key_exchange(group, rng)?, peer_share),
        }
    }

    fn verify(
        &self,
        scheme: SignatureScheme,
        key: &PublicKey,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        verify(scheme, key, message, signature)
    }

    fn signing_key(&self, key: &PrivateKey) -> Result<Box<dyn SigningKey>, CryptoError> {
        signing_key(key)
    }
}

impl fmt::Debug for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}

// ---- AEAD ---------------------------------------------------------------------------------------------------

/// An AEAD key; *ring*'s serves the pure-Rust back end too.
pub(in crate::crypto) fn aead(algorithm: AeadAlgorithm, key: &[u8]) -> Result<Box<dyn AeadKey>, InvalidKey> {
    let algorithm = match algorithm {
        AeadAlgorithm::Aes128Gcm => &aead::AES_128_GCM,
        AeadAlgorithm::Aes256Gcm => &aead::AES_256_GCM,
        AeadAlgorithm::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
    };
    let key = aead::UnboundKey::new(algorithm, key).map_err(|_| InvalidKey)?;
    Ok(Box::new(SealingKey(aead::LessSafeKey::new(key))))
}

/// A prepared key with nonces from the caller.
struct SealingKey(aead::LessSafeKey);

impl AeadKey for SealingKey {
    fn seal_in_place(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], plaintext: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = aead::Nonce::assume_unique_for_key(*nonce);
        let mut sealed = [0; TAG_LEN];
        match self.0.seal_in_place_separate_tag(nonce, aead::Aad::from(aad), plaintext) {
            Ok(tag) => sealed.copy_from_slice(tag.as_ref()),
            // Only a message beyond the cipher's limit fails, and that is 64 GiB. Nothing of it may leave.
            Err(_) => plaintext.fill(0),
        }
        sealed
    }

    fn open_in_place<'a>(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        ciphertext_and_tag: &'a mut [u8],
    ) -> Result<&'a mut [u8], Unauthentic> {
        let nonce = aead::Nonce::assume_unique_for_key(*nonce);
        self.0.open_in_place(nonce, aead::Aad::from(aad), ciphertext_and_tag).map_err(|_| Unauthentic)
    }
}

impl SealingKey {
    /// Overwriting is all that *ring* allows: the schedule of a key of zeros takes the place of the true one.
    fn wipe(&mut self) {
        let algorithm = self.0.algorithm();
        if let Ok(zeros) = aead::UnboundKey::new(algorithm, &[0; 32][..algorithm.key_len()]) {
            self.0 = aead::LessSafeKey::new(zeros);
        }
        // Else the compiler may leave the write out, as nobody reads it.
        black_box(&self.0);
    }
}

impl Drop for SealingKey {
    fn drop(&mut self) {
        if !WIPES_ITSELF {
            self.wipe();
        }
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AeadKey(..)")
    }
}

// ---- key agreement ------------------------------------------------------------------------------------------

/// A key pair for one Diffie-Hellman agreement. How it is used up differs: see `ring` and `aws_lc`.
pub(super) struct Ephemeral {
    pub(super) private: agreement::EphemeralPrivateKey,
    pub(super) public: agreement::PublicKey,
}

impl Ephemeral {
    fn generate(algorithm: &'static agreement::Algorithm) -> Result<Self, CryptoError> {
        let private = private_key(algorithm)?;
        let public = private.compute_public_key().map_err(|_| CryptoError::NoRandomness)?;
        Ok(Ephemeral { private, public })
    }
}

/// A fresh private key.
pub(super) fn private_key(
    algorithm: &'static agreement::Algorithm,
) -> Result<agreement::EphemeralPrivateKey, CryptoError> {
    agreement::EphemeralPrivateKey::generate(algorithm, &SystemRandom::new())
        .map_err(|_| CryptoError::NoRandomness)
}

impl fmt::Debug for Ephemeral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ephemeral").field("public", &self.public).finish_non_exhaustive()
    }
}

// ---- signatures ---------------------------------------------------------------------------------------------

/// A signing key; the pure-Rust back end uses those of *ring* that draw nothing.
pub(in crate::crypto) fn signing_key(key: &PrivateKey) -> Result<Box<dyn SigningKey>, CryptoError> {
    let public = key.public_key().clone();
    let signer = match &key.kind {
        Kind::P256(secret) => {
            let secret = Zeroizing::new(<[u8; 32]>::from(secret.to_bytes()));
            let algorithm = &signature::ECDSA_P256_SHA256_ASN1_SIGNING;
            Signer::Ecdsa(ecdsa_key(algorithm, &secret[..], public.as_bytes())?)
        }
        Kind::P384(secret) => {
            let secret = Zeroizing::new(<[u8; 48]>::from(secret.to_bytes()));
            let algorithm = &signature::ECDSA_P384_SHA384_ASN1_SIGNING;
            Signer::Ecdsa(ecdsa_key(algorithm, &secret[..], public.as_bytes())?)
        }
        Kind::Ed25519 => Signer::Ed25519(ed25519(key.der())?),
        Kind::Rsa => Signer::Rsa(rsa(key.encoding(), key.der())?),
    };
    Ok(Box::new(KeyPair { public, signer }))
}

/// The library's form of an Ed25519 key.
pub(in crate::crypto) fn ed25519(der: &[u8]) -> Result<Ed25519KeyPair, CryptoError> {
    // RFC 8410 §7: OpenSSL writes version 1, which lacks the public half.
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| CryptoError::BadPrivateKey)
}

/// The library's form of an RSA key.
pub(in crate::crypto) fn rsa(encoding: Encoding, der: &[u8]) -> Result<RsaKeyPair, CryptoError> {
    let key = match encoding {
        Encoding::Pkcs1 => RsaKeyPair::from_der(der),
        Encoding::Pkcs8 | Encoding::Sec1 => RsaKeyPair::from_pkcs8(der),
    };
    key.map_err(|_| CryptoError::BadPrivateKey)
}

/// A key pair for signing.
struct KeyPair {
    public: PublicKey,
    signer: Signer,
}

enum Signer {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl KeyPair {
    /// Overwriting is all that *ring* allows: a key that everyone knows takes the place of the true one. An RSA
    /// key's numbers lie on a heap of *ring*'s own, where they are out of reach.
    fn wipe(&mut self) {
        match &mut self.signer {
            Signer::Ecdsa(key) => {
                if let Ok(known) = known_ecdsa_key(self.public.algorithm()) {
                    *key = known;
                }
            }
            Signer::Ed25519(key) => {
                // RFC 8032 §5.1.5: any 32 bytes are a private key.
                if let Ok(known) = Ed25519KeyPair::from_seed_unchecked(&[0; 32]) {
                    *key = known;
                }
            }
            Signer::Rsa(_) => {}
        }
        // Else the compiler may leave the write out, as nobody reads it.
        black_box(&self.signer);
    }
}

/// The private key 1 of the curve.
fn known_ecdsa_key(algorithm: KeyAlgorithm) -> Result<EcdsaKeyPair, CryptoError> {
    let mut one = [0; 48];
    one[47] = 1;
    match algorithm {
        KeyAlgorithm::EcdsaP384 => {
            p384::SecretKey::from_slice(&one).map_err(|_| CryptoError::BadPrivateKey).and_then(|key| {
                ecdsa_key(&signature::ECDSA_P384_SHA384_ASN1_SIGNING, &one, &key.public_key().to_sec1_bytes())
            })
        }
        _ => {
            p256::SecretKey::from_slice(&one[16..]).map_err(|_| CryptoError::BadPrivateKey).and_then(|key| {
                ecdsa_key(
                    &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
                    &one[16..],
                    &key.public_key().to_sec1_bytes(),
                )
            })
        }
    }
}

impl Drop for KeyPair {
    fn drop(&mut self) {
        if !WIPES_ITSELF {
            self.wipe();
        }
    }
}

impl SigningKey for KeyPair {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, scheme: SignatureScheme, message: &[u8], _: &mut Rng) -> Result<Vec<u8>, CryptoError> {
        if !scheme.names_curve_of(self.public.algorithm()) {
            return Err(CryptoError::Unsupported);
        }
        let random = SystemRandom::new();
        match &self.signer {
            Signer::Ecdsa(key) => {
                let signature = key.sign(&random, message).map_err(|_| CryptoError::NoRandomness)?;
                Ok(signature.as_ref().to_vec())
            }
            Signer::Ed25519(key) => Ok(key.sign(message).as_ref().to_vec()),
            Signer::Rsa(key) => {
                let padding: &dyn signature::RsaEncoding = match scheme {
                    SignatureScheme::RsaPkcs1Sha256 => &signature::RSA_PKCS1_SHA256,
                    SignatureScheme::RsaPkcs1Sha384 => &signature::RSA_PKCS1_SHA384,
                    SignatureScheme::RsaPkcs1Sha512 => &signature::RSA_PKCS1_SHA512,
                    SignatureScheme::RsaPssRsaeSha256 => &signature::RSA_PSS_SHA256,
                    SignatureScheme::RsaPssRsaeSha384 => &signature::RSA_PSS_SHA384,
                    SignatureScheme::RsaPssRsaeSha512 => &signature::RSA_PSS_SHA512,
                    _ => return Err(CryptoError::Unsupported),
                };
                let mut signature = vec![0; modulus_len(key)];
                key.sign(padding, &random, message, &mut signature).map_err(|_| CryptoError::NoRandomness)?;
                Ok(signature)
            }
        }
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").field("public", &self.public).finish_non_exhaustive()
    }
}

/// See [`Backend::verify`]; no randomness is in it, and *ring*'s serves the pure-Rust back end too.
pub(in crate::crypto) fn verify(
    scheme: SignatureScheme,
    key: &PublicKey,
    message: &[u8],
    signature: &[u8],
) -> Result<(), BadSignature> {
    let algorithm = algorithm(scheme, key.algorithm()).ok_or(BadSignature)?;
    if !well_formed(key) {
        return Err(BadSignature);
    }
    signature::UnparsedPublicKey::new(algorithm, key.as_bytes())
        .verify(message, signature)
        .map_err(|_| BadSignature)
}

/// Whether the key has the one form that a certificate gives it (RFC 5480 §2.2, RFC 8422 §5.4.1, RFC 8410 §4, RFC
/// 8017 §A.1.1). AWS-LC would also take compressed points, and keys with their algorithm's name around them.
fn well_formed(key: &PublicKey) -> bool {
    let bytes = key.as_bytes();
    match key.algorithm() {
        KeyAlgorithm::EcdsaP256 => bytes.len() == 65 && bytes.first() == Some(&4),
        KeyAlgorithm::EcdsaP384 => bytes.len() == 97 && bytes.first() == Some(&4),
        KeyAlgorithm::Ed25519 => bytes.len() == 32,
        // A SEQUENCE, whose head has four bytes at all sizes that are accepted, and which an INTEGER starts.
        KeyAlgorithm::Rsa => bytes.get(4) == Some(&2),
    }
}

/// What fits this scheme and this kind of key; `None` when they do not fit each other.
///
/// RSA keys have 2048 to 8192 bits. *ring* would check 1024-bit ones too; they are refused, for such a key is
/// within reach of a rich attacker, browsers have not made them since 2015, and who breaks one owns the call.
fn algorithm(scheme: SignatureScheme, key: KeyAlgorithm) -> Option<&'static dyn VerificationAlgorithm> {
    use KeyAlgorithm::{EcdsaP256, EcdsaP384, Ed25519, Rsa};
    use SignatureScheme as S;
    Some(match (scheme, key) {
        // RFC 8422 §5.10: in TLS 1.2 the hash and the curve are chosen apart.
        (S::EcdsaSecp256r1Sha256, EcdsaP256) => &signature::ECDSA_P256_SHA256_ASN1,
        (S::EcdsaSecp256r1Sha256, EcdsaP384) => &signature::ECDSA_P384_SHA256_ASN1,
        (S::EcdsaSecp384r1Sha384, EcdsaP256) => &signature::ECDSA_P256_SHA384_ASN1,
        (S::EcdsaSecp384r1Sha384, EcdsaP384) => &signature::ECDSA_P384_SHA384_ASN1,
        (S::Ed25519, Ed25519) => &signature::ED25519,
        (S::RsaPkcs1Sha256, Rsa) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (S::RsaPkcs1Sha384, Rsa) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (S::RsaPkcs1Sha512, Rsa) => &signature::RSA_PKCS1_2048_8192_SHA512,
        (S::RsaPssRsaeSha256, Rsa) => &signature::RSA_PSS_2048_8192_SHA256,
        (S::RsaPssRsaeSha384, Rsa) => &signature::RSA_PSS_2048_8192_SHA384,
        (S::RsaPssRsaeSha512, Rsa) => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    /// No test can read freed memory without `unsafe`; this proves what is put in the place of the key.
    #[test]
    fn a_wiped_aead_key_has_become_the_key_of_zeros() {
        for algorithm in [&aead::AES_128_GCM, &aead::AES_256_GCM, &aead::CHACHA20_POLY1305] {
            let prepare = |byte| {
                let key = aead::UnboundKey::new(algorithm, &[byte; 32][..algorithm.key_len()]).unwrap();
                SealingKey(aead::LessSafeKey::new(key))
            };
            let tag = |key: &SealingKey| key.seal_in_place(&[1; 12], b"", &mut [2; 5]);
            let mut key = prepare(9);
            assert_ne!(tag(&key), tag(&prepare(0)));
            key.wipe();
            assert_eq!(tag(&key), tag(&prepare(0)));
        }
    }

    #[test]
    fn a_wiped_ecdsa_key_signs_for_nobody() {
        let mut rng = Rng::new([1; 32], Stream::Certificate);
        let private = PrivateKey::generate(&mut rng).unwrap();
        let public = private.public_key().clone();
        let Kind::P256(secret) = &private.kind else { panic!("P-256 was asked for") };
        let bytes = <[u8; 32]>::from(secret.to_bytes());
        let key = ecdsa_key(&signature::ECDSA_P256_SHA256_ASN1_SIGNING, &bytes, public.as_bytes()).unwrap();
        let mut pair = KeyPair { public: public.clone(), signer: Signer::Ecdsa(key) };
        let scheme = SignatureScheme::EcdsaSecp256r1Sha256;
        let good = pair.sign(scheme, b"m", &mut rng).unwrap();
        assert_eq!(verify(scheme, &public, b"m", &good), Ok(()));
        pair.wipe();
        let bad = pair.sign(scheme, b"m", &mut rng).unwrap();
        assert_eq!(verify(scheme, &public, b"m", &bad), Err(BadSignature));
    }
}
