//! Private keys as they are stored (RFC 5958, RFC 5915, RFC 8017 §A.1.2): read once, handed to a back end, printed
//! back.

use std::fmt;

use p256::elliptic_curve::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use ring::signature::{Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use zeroize::Zeroizing;

use super::ring::{ed25519, rsa};
use super::{CryptoError, KeyAlgorithm, PublicKey};
use crate::rng::Rng;

/// A private key for signing: ECDSA on P-256 or P-384, Ed25519, or RSA of 2048 to 4096 bits.
pub struct PrivateKey {
    pub(super) kind: Kind,
    public: PublicKey,
    encoding: Encoding,
    der: Zeroizing<Vec<u8>>,
}

/// What the key is.
pub(super) enum Kind {
    P256(p256::SecretKey),
    P384(p384::SecretKey),
    Ed25519,
    Rsa,
}

/// How the DER of a private key is to be read; PEM says it in its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// PKCS#8 (RFC 5958), any kind of key: `PRIVATE KEY`.
    Pkcs8,
    /// RFC 5915, ECDSA only: `EC PRIVATE KEY`.
    Sec1,
    /// PKCS#1 (RFC 8017 §A.1.2), RSA only: `RSA PRIVATE KEY`.
    Pkcs1,
}

impl PrivateKey {
    /// A fresh P-256 key; `rng` alone decides which.
    ///
    /// # Errors
    /// None that is known; the encoder underneath has an error type.
    pub fn generate(rng: &mut Rng) -> Result<Self, CryptoError> {
        let secret = loop {
            // FIPS 186-5 §A.2.2: draw again what is zero or not below the order, once in 2^32.
            let candidate = Zeroizing::new(rng.array::<32>());
            if let Ok(secret) = p256::SecretKey::from_slice(candidate.as_ref()) {
                break secret;
            }
        };
        let document = secret.to_pkcs8_der().map_err(|_| CryptoError::BadPrivateKey)?;
        let der = Zeroizing::new(document.as_bytes().to_vec());
        Self::new(Kind::P256(secret), Encoding::Pkcs8, der)
    }

    /// Reads a key from its DER.
    ///
    /// # Errors
    /// [`CryptoError::BadPrivateKey`] when it is malformed, of another kind, or an RSA key of another size.
    pub fn from_der(encoding: Encoding, der: &[u8]) -> Result<Self, CryptoError> {
        let kind = match encoding {
            Encoding::Pkcs8 => pkcs8_kind(der),
            Encoding::Sec1 => p256::SecretKey::from_sec1_der(der)
                .map(Kind::P256)
                .or_else(|_| p384::SecretKey::from_sec1_der(der).map(Kind::P384))
                .ok(),
            Encoding::Pkcs1 => RsaKeyPair::from_der(der).map(|_| Kind::Rsa).ok(),
        };
        let kind = kind.ok_or(CryptoError::BadPrivateKey)?;
        Self::new(kind, encoding, Zeroizing::new(der.to_vec()))
    }

    fn new(kind: Kind, encoding: Encoding, der: Zeroizing<Vec<u8>>) -> Result<Self, CryptoError> {
        let public = match &kind {
            Kind::P256(key) => PublicKey::new(KeyAlgorithm::EcdsaP256, &key.public_key().to_sec1_bytes()),
            Kind::P384(key) => PublicKey::new(KeyAlgorithm::EcdsaP384, &key.public_key().to_sec1_bytes()),
            Kind::Ed25519 => PublicKey::new(KeyAlgorithm::Ed25519, ed25519(&der)?.public_key().as_ref()),
            Kind::Rsa => PublicKey::new(KeyAlgorithm::Rsa, rsa(encoding, &der)?.public_key().as_ref()),
        };
        Ok(PrivateKey { kind, public, encoding, der })
    }

    /// The encoding of [`PrivateKey::der`].
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The key's DER, as it was read or generated. Secret.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }
}

/// Finds the kind by trying: each reader refuses another kind's object identifier at once.
fn pkcs8_kind(der: &[u8]) -> Option<Kind> {
    if let Ok(key) = p256::SecretKey::from_pkcs8_der(der) {
        return Some(Kind::P256(key));
    }
    if let Ok(key) = p384::SecretKey::from_pkcs8_der(der) {
        return Some(Kind::P384(key));
    }
    if Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).is_ok() {
        return Some(Kind::Ed25519);
    }
    RsaKeyPair::from_pkcs8(der).is_ok().then_some(Kind::Rsa)
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}
