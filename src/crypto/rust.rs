//! The pure-Rust back end: what draws randomness draws it from the generator it is given.
//!
//! ECDSA signatures draw none: the nonce is derived from key and message (RFC 6979). AEADs and the checking of
//! signatures are shared with *ring*'s back end; so are Ed25519 and RSA signatures, of which only RSA PSS
//! needs a salt, and *ring* takes that from the system. A run with a loaded RSA certificate under DTLS 1.3 is
//! therefore the one thing that does not repeat byte for byte.

use std::fmt;

use p256::ecdsa::signature::Signer as _;
use p256::elliptic_curve::ecdh::diffie_hellman;
use zeroize::Zeroizing;

use super::key::{Kind, PrivateKey};
use super::{
    AeadAlgorithm, AeadKey, Backend, BadSignature, CryptoError, InvalidKey, KeyExchange, NamedGroup,
    PublicKey, Secret, SignatureScheme, SigningKey, hybrid, ring,
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
            NamedGroup::X25519MlKem768 => hybrid::client::<hybrid::Portable>(self, rng)?,
        })
    }

    fn verify(
        &self,
        scheme: SignatureScheme,
        key: &PublicKey,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        ring::verify(scheme, key, message, signature)
    }

    fn signing_key(&self, key: &PrivateKey) -> Result<Box<dyn SigningKey>, CryptoError> {
        let signer = match &key.kind {
            Kind::P256(secret) => Signer::P256(secret.into()),
            Kind::P384(secret) => Signer::P384(secret.into()),
            Kind::Ed25519 | Kind::Rsa => return ring::signing_key(key),
        };
        Ok(Box::new(EcdsaKey { public: key.public_key().clone(), signer }))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::tests::hex;

    /// RFC 7748 §6.1, RFC 8448 §3.
    #[test]
    fn x25519_vectors() {
        for (private, public, peer, shared) in [
            (
                "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
                "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
                "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
                "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
            ),
            (
                "49af42ba7f7994852d713ef2784bcbcaa7911de26adc5642cb634540e7ea5005",
                "99381de560e4bd43d23d8e435a7dbafeb3c06e51c13cae4d5413691e529aaf2c",
                "c9828876112095fe66762bdbf7c672e156d6cc253b833df1dd69b1b04e751f0f",
                "8bd4054fb55b9d63fdfbacf9f04b9f0d35e6d63f537563efd46272900f89492d",
            ),
        ] {
            let private: [u8; 32] = hex(private).try_into().unwrap();
            let private = x25519_dalek::StaticSecret::from(private);
            let key = Box::new(X25519 { public: (&private).into(), private });
            assert_eq!(key.public(), hex(public));
            assert_eq!(key.agree(&hex(peer)).unwrap().as_bytes(), hex(shared));
        }
    }

    /// RFC 5903 §8.1: ECDH on P-256.
    #[test]
    fn p256_vector_of_rfc_5903() {
        let private = hex("c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433");
        let private = p256::SecretKey::from_slice(&private).unwrap();
        let key = Box::new(P256 { public: private.public_key().to_sec1_bytes(), private });
        let peer = "04d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63\
                    56fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab";
        let shared = "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de";
        assert_eq!(key.agree(&hex(peer)).unwrap().as_bytes(), hex(shared));
    }
}
