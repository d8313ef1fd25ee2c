//! The pure-Rust back end: what draws randomness draws it from the generator it is given.
//!
//! ECDSA signatures draw none: the nonce is derived from key and message (RFC 6979). AEADs and the checking of
//! signatures are shared with the other back end; so are Ed25519 and RSA signatures, of which only RSA PSS
//! needs a salt, and *ring* takes that from the system. A run with a loaded RSA certificate under DTLS 1.3 is
//! therefore the one thing that does not repeat byte for byte.

use std::fmt;

use p256::ecdsa::signature::Signer as _;
use p256::elliptic_curve::ecdh::diffie_hellman;
use zeroize::Zeroizing;

use super::key::{Kind, PrivateKey};
use super::{
    AeadAlgorithm, AeadKey, Backend, BadSignature, CryptoError, InvalidKey, KeyExchange, NamedGroup,
    PublicKey, Secret, SignatureScheme, SigningKey, ring, verify,
};
use crate::rng::Rng;

/// The back end.
#[derive(Debug)]
pub(super) struct Rust;

impl Backend for Rust {
    fn aead(&self, algorithm: AeadAlgorithm, key: &[u8]) -> Result<Box<dyn AeadKey>, InvalidKey> {
        ring::aead(algorithm, key)
    }

    fn key_exchange(&self, group: NamedGroup, rng: &mut Rng) -> Result<Box<dyn KeyExchange>, CryptoError> {
        Ok(match group {
            NamedGroup::X25519 => Box::new(X25519::generate(rng)),
            NamedGroup::Secp256r1 => Box::new(P256::generate(rng)),
            NamedGroup::Secp384r1 => Box::new(P384::generate(rng)),
        })
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
        let signer = match &key.kind {
            Kind::P256(secret) => Signer::P256(secret.into()),
            Kind::P384(secret) => Signer::P384(secret.into()),
            Kind::Ed25519 | Kind::Rsa => return ring::signing_key(key),
        };
        Ok(Box::new(EcdsaKey { public: key.public_key()?, signer }))
    }
}

// ---- key agreement ------------------------------------------------------------------------------------------

/// X25519 (RFC 7748 §5).
struct X25519 {
    private: x25519_dalek::StaticSecret,
    public: x25519_dalek::PublicKey,
}

impl X25519 {
    fn generate(rng: &mut Rng) -> Self {
        let private = x25519_dalek::StaticSecret::from(rng.array::<32>());
        let public = x25519_dalek::PublicKey::from(&private);
        X25519 { private, public }
    }
}

impl KeyExchange for X25519 {
    fn public(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn agree(self: Box<Self>, peer: &[u8]) -> Result<Secret, CryptoError> {
        let peer = <[u8; 32]>::try_from(peer).map_err(|_| CryptoError::BadKeyShare)?;
        let shared = self.private.diffie_hellman(&peer.into());
        // RFC 7748 §6.1, RFC 8446 §7.4.2: a point of small order gives zeros, whoever sends it.
        if !shared.was_contributory() {
            return Err(CryptoError::BadKeyShare);
        }
        Ok(Secret::new(shared.as_bytes()))
    }
}

/// The NIST curves differ only in their crate and in the length of a scalar.
macro_rules! nist_curve {
    ($(#[$doc:meta])* $name:ident, $curve:ident, $scalar_len:literal) => {
        $(#[$doc])*
        struct $name {
            private: $curve::SecretKey,
            public: Box<[u8]>,
        }

        impl $name {
            fn generate(rng: &mut Rng) -> Self {
                // FIPS 186-5 §A.2.2: draw again what is zero or not below the order.
                let private = loop {
                    let candidate = Zeroizing::new(rng.array::<$scalar_len>());
                    if let Ok(private) = $curve::SecretKey::from_slice(candidate.as_ref()) {
                        break private;
                    }
                };
                let public = private.public_key().to_sec1_bytes();
                $name { private, public }
            }
        }

        impl KeyExchange for $name {
            fn public(&self) -> &[u8] {
                &self.public
            }

            fn agree(self: Box<Self>, peer: &[u8]) -> Result<Secret, CryptoError> {
                // RFC 8422 §5.4.1: uncompressed points only, all of which are as long as ours.
                if peer.len() != self.public.len() {
                    return Err(CryptoError::BadKeyShare);
                }
                // RFC 8446 §4.2.8.2: this checks that the point is on the curve, and not the one at infinity.
                let peer = $curve::PublicKey::from_sec1_bytes(peer).map_err(|_| CryptoError::BadKeyShare)?;
                let shared = diffie_hellman(self.private.to_nonzero_scalar(), peer.as_affine());
                Ok(Secret::new(shared.raw_secret_bytes()))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

nist_curve!(
    /// ECDH on P-256.
    P256, p256, 32
);
nist_curve!(
    /// ECDH on P-384.
    P384, p384, 48
);

impl fmt::Debug for X25519 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("X25519(..)")
    }
}

// ---- signatures ---------------------------------------------------------------------------------------------

/// An ECDSA key whose nonces follow RFC 6979.
struct EcdsaKey {
    public: PublicKey,
    signer: Signer,
}

enum Signer {
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
}

impl SigningKey for EcdsaKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, scheme: SignatureScheme, message: &[u8], _: &mut Rng) -> Result<Vec<u8>, CryptoError> {
        if !scheme.names_curve_of(self.public.algorithm()) {
            return Err(CryptoError::Unsupported);
        }
        match &self.signer {
            Signer::P256(key) => {
                let signature: p256::ecdsa::DerSignature =
                    key.try_sign(message).map_err(|_| CryptoError::BadPrivateKey)?;
                Ok(signature.as_bytes().to_vec())
            }
            Signer::P384(key) => {
                let signature: p384::ecdsa::DerSignature =
                    key.try_sign(message).map_err(|_| CryptoError::BadPrivateKey)?;
                Ok(signature.as_bytes().to_vec())
            }
        }
    }
}

impl fmt::Debug for EcdsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EcdsaKey").field("public", &self.public).finish_non_exhaustive()
    }
}
