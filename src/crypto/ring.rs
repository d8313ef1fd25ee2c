//! The default back end: *ring*, with its assembly for each processor.
//!
//! Ephemeral keys and signatures take their randomness from the operating system: *ring* accepts no other.

use std::fmt;
use std::hint::black_box;

use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use ring::{aead, agreement};
use zeroize::Zeroizing;

use super::key::{Kind, PrivateKey};
use super::{
    AeadAlgorithm, AeadKey, Backend, BadSignature, CryptoError, InvalidKey, KeyAlgorithm, KeyExchange,
    NONCE_LEN, NamedGroup, PublicKey, Secret, SignatureScheme, SigningKey, TAG_LEN, Unauthentic, hybrid,
    verify,
};
use crate::rng::Rng;

/// The back end.
#[derive(Debug)]
pub(super) struct Ring;

impl Backend for Ring {
    fn aead(&self, algorithm: AeadAlgorithm, key: &[u8]) -> Result<Box<dyn AeadKey>, InvalidKey> {
        aead(algorithm, key)
    }

    fn key_exchange(&self, group: NamedGroup, rng: &mut Rng) -> Result<Box<dyn KeyExchange>, CryptoError> {
        let algorithm = match group {
            NamedGroup::X25519 => &agreement::X25519,
            NamedGroup::Secp256r1 => &agreement::ECDH_P256,
            NamedGroup::Secp384r1 => &agreement::ECDH_P384,
            // ring has no ML-KEM.
            NamedGroup::X25519MlKem768 => return hybrid::client(self, rng),
        };
        Ok(Box::new(Ephemeral::generate(algorithm)?))
    }

    fn verify(
        &self,
        scheme: SignatureScheme,
        key: &PublicKey,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        verify::verify(scheme, key, message, signature)
    }

    fn signing_key(&self, key: &PrivateKey) -> Result<Box<dyn SigningKey>, CryptoError> {
        signing_key(key)
    }
}

/// An AEAD key of *ring*, which both back ends use.
pub(super) fn aead(algorithm: AeadAlgorithm, key: &[u8]) -> Result<Box<dyn AeadKey>, InvalidKey> {
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
    /// *ring* cannot wipe: the schedule of a key of zeros takes the place of the true one.
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
        self.wipe();
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AeadKey(..)")
    }
}

/// A key pair for one Diffie-Hellman agreement.
struct Ephemeral {
    private: agreement::EphemeralPrivateKey,
    public: agreement::PublicKey,
}

impl Ephemeral {
    fn generate(algorithm: &'static agreement::Algorithm) -> Result<Self, CryptoError> {
        let private = private_key(algorithm)?;
        let public = private.compute_public_key().map_err(|_| CryptoError::NoRandomness)?;
        Ok(Ephemeral { private, public })
    }
}

fn private_key(
    algorithm: &'static agreement::Algorithm,
) -> Result<agreement::EphemeralPrivateKey, CryptoError> {
    agreement::EphemeralPrivateKey::generate(algorithm, &SystemRandom::new())
        .map_err(|_| CryptoError::NoRandomness)
}

impl KeyExchange for Ephemeral {
    fn public(&self) -> &[u8] {
        self.public.as_ref()
    }

    fn agree(mut self: Box<Self>, peer: &[u8]) -> Result<Secret, CryptoError> {
        let algorithm = self.private.algorithm();
        // Swapped out and not moved out: the box's memory is then overwritten before it is given back.
        let private = std::mem::replace(&mut self.private, private_key(algorithm)?);
        black_box(&self.private);
        let peer = agreement::UnparsedPublicKey::new(algorithm, peer);
        // RFC 7748 §6.1, RFC 8446 §7.4.2: ring refuses an all-zero X25519 secret, and points that are not on
        // the curve or not uncompressed.
        agreement::agree_ephemeral(private, &peer, Secret::new).map_err(|_| CryptoError::BadKeyShare)
    }
}

impl fmt::Debug for Ephemeral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ephemeral").field("public", &self.public).finish_non_exhaustive()
    }
}

/// A signing key of *ring*; the other back end uses those that draw nothing.
pub(super) fn signing_key(key: &PrivateKey) -> Result<Box<dyn SigningKey>, CryptoError> {
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
        Kind::Ed25519 => Signer::Ed25519(key.ed25519()?),
        Kind::Rsa => Signer::Rsa(key.rsa()?),
    };
    Ok(Box::new(KeyPair { public, signer }))
}

fn ecdsa_key(
    algorithm: &'static signature::EcdsaSigningAlgorithm,
    secret: &[u8],
    public: &[u8],
) -> Result<EcdsaKeyPair, CryptoError> {
    EcdsaKeyPair::from_private_key_and_public_key(algorithm, secret, public, &SystemRandom::new())
        .map_err(|_| CryptoError::BadPrivateKey)
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
    /// *ring* cannot wipe: a key that everyone knows takes the place of the true one. An RSA key's numbers lie on
    /// a heap of *ring*'s own, where they are out of reach.
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
        self.wipe();
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
                let mut signature = vec![0; key.public().modulus_len()];
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
        assert_eq!(verify::verify(scheme, &public, b"m", &good), Ok(()));
        pair.wipe();
        let bad = pair.sign(scheme, b"m", &mut rng).unwrap();
        assert_eq!(verify::verify(scheme, &public, b"m", &bad), Err(BadSignature));
    }
}
