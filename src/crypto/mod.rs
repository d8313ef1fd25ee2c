//! Cryptography: the few verbs that the protocols need, and three back ends behind one small trait.
//!
//! ```text
//!                    Backend  (what draws randomness, and what a back end may do its own way)
//!             /         |         \
//!        ring()      aws_lc()      rust()              hash  mac  cipher  kdf  cert
//!   the default      behind a      the same bytes      shared by all: no randomness in them
//!                    feature       from the same seed
//! ```
//!
//! * [`ring()`] draws from the operating system where *ring* insists on it: ephemeral keys and ECDSA
//!   signatures. *ring*'s generator trait is sealed, so these cannot be seeded. Nothing else about it is
//!   visible to the caller: no clock, no thread, no file.
//! * `aws_lc()` is there with the cargo feature `aws-lc-rs`: the same verbs by AWS-LC, ML-KEM among them. It
//!   cannot be seeded either, and for the same reason. Hashes, MACs, record numbers and SRTP's counter mode stay
//!   those of the other two, so it alone does not make a session a FIPS 140 one.
//! * [`rust()`] takes every random byte from the [`Rng`] that it is given: same seed, same bytes. ECDSA
//!   signatures need no randomness at all there (RFC 6979).
//!
//! AEADs and signature checks are the same code under [`ring()`] and [`rust()`].
//!
//! Secrets: key types wipe their memory when dropped and print as `..`. What *ring* holds inside is
//! overwritten by a key of zeros, as it offers nothing better. The exception is a loaded RSA key, whose
//! numbers *ring* keeps on a heap of its own. AWS-LC wipes what it frees.

#[cfg(feature = "aws-lc-rs")]
mod aws_lc;
pub mod cert;
pub mod cipher;
pub mod hash;
mod hybrid;
pub mod kdf;
pub mod key;
pub mod mac;
mod ring;
mod rust;

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use self::key::PrivateKey;
use crate::rng::Rng;

/// The default back end, made of *ring*.
pub fn ring() -> &'static dyn Backend {
    &ring::Ring
}

/// The back end made of AWS-LC, with the cargo feature `aws-lc-rs`.
///
/// Like [`ring()`] it draws from the operating system and cannot be seeded: for runs that must repeat there is
/// [`rust()`]. Groups, suites, schemes and kinds of certificates are the same.
#[cfg(feature = "aws-lc-rs")]
pub fn aws_lc() -> &'static dyn Backend {
    &aws_lc::AwsLc
}

/// The back end made of Rust crates, for runs that must repeat byte for byte.
pub fn rust() -> &'static dyn Backend {
    &rust::Rust
}

/// Every back end of this build: what each must do is tested over all of them.
#[cfg(test)]
pub(crate) fn backends() -> Vec<&'static dyn Backend> {
    vec![
        ring(),
        rust(),
        #[cfg(feature = "aws-lc-rs")]
        aws_lc(),
    ]
}

/// One implementation of the verbs that differ between back ends. It has no state.
pub trait Backend: Send + Sync + fmt::Debug {
    /// A key for sealing and opening records, its schedule made once.
    ///
    /// # Errors
    /// The key does not have [`AeadAlgorithm::key_len`] bytes.
    fn aead(&self, algorithm: AeadAlgorithm, key: &[u8]) -> Result<Box<dyn AeadKey>, InvalidKey>;

    /// A fresh ephemeral key; its public half is what a client offers.
    ///
    /// # Errors
    /// The group is unknown here, or the system has no randomness.
    fn key_exchange(&self, group: NamedGroup, rng: &mut Rng) -> Result<Box<dyn KeyExchange>, CryptoError>;

    /// The other side's half in one step: answers `peer_share`, and returns the own share and the secret.
    ///
    /// A Diffie-Hellman group does the same on both sides; a key encapsulation does not.
    ///
    /// # Errors
    /// As [`Backend::key_exchange`], or the share is refused.
    fn encapsulate(
        &self,
        group: NamedGroup,
        peer_share: &[u8],
        rng: &mut Rng,
    ) -> Result<(Vec<u8>, Secret), CryptoError> {
        match group {
            NamedGroup::X25519MlKem768 => hybrid::server::<hybrid::Portable>(self, peer_share, rng),
            _ => answer(self.key_exchange(group, rng)?, peer_share),
        }
    }

    /// Checks a signature over `message`.
    ///
    /// An ECDSA scheme names the hash only, as in TLS 1.2 (RFC 8422 §5.10). TLS 1.3 also ties the curve to it
    /// (RFC 8446 §4.2.3): there, ask [`SignatureScheme::names_curve_of`] too.
    ///
    /// # Errors
    /// The signature is false, or the key is not one for this scheme.
    fn verify(
        &self,
        scheme: SignatureScheme,
        key: &PublicKey,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature>;

    /// Prepares a private key for signing.
    ///
    /// # Errors
    /// The back end refuses the key.
    fn signing_key(&self, key: &PrivateKey) -> Result<Box<dyn SigningKey>, CryptoError>;
}

// ---- AEAD ---------------------------------------------------------------------------------------------------

/// Bytes in a nonce of every [`AeadAlgorithm`].
pub const NONCE_LEN: usize = 12;

/// Bytes in a tag of every [`AeadAlgorithm`].
pub const TAG_LEN: usize = 16;

/// The ciphers that seal DTLS records and SRTP packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AeadAlgorithm {
    /// AES-128 in Galois/Counter mode (RFC 5116 §5.1).
    Aes128Gcm,
    /// AES-256 in Galois/Counter mode (RFC 5116 §5.2).
    Aes256Gcm,
    /// ChaCha20 with Poly1305 (RFC 8439 §2.8).
    ChaCha20Poly1305,
}

impl AeadAlgorithm {
    /// Key length in bytes.
    pub fn key_len(self) -> usize {
        match self {
            AeadAlgorithm::Aes128Gcm => 16,
            AeadAlgorithm::Aes256Gcm | AeadAlgorithm::ChaCha20Poly1305 => 32,
        }
    }
}

/// A prepared AEAD key. The caller owns the nonces: one must never be used twice under one key.
pub trait AeadKey: Send + Sync + fmt::Debug {
    /// Encrypts in place and returns the tag. Allocates nothing.
    fn seal_in_place(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], plaintext: &mut [u8]) -> [u8; TAG_LEN];

    /// Checks and decrypts in place; the plaintext is the returned prefix. Allocates nothing.
    ///
    /// # Errors
    /// The tag does not fit. The bytes are then lost: what they held is neither plaintext nor ciphertext.
    fn open_in_place<'a>(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        ciphertext_and_tag: &'a mut [u8],
    ) -> Result<&'a mut [u8], Unauthentic>;
}

// ---- key agreement ------------------------------------------------------------------------------------------

/// Groups for key agreement (RFC 8446 §4.2.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum NamedGroup {
    /// Curve25519 (RFC 7748 §5); shares of 32 bytes.
    X25519,
    /// NIST P-256; shares are uncompressed points of 65 bytes (RFC 8422 §5.4.1).
    Secp256r1,
    /// NIST P-384; shares are uncompressed points of 97 bytes.
    Secp384r1,
    /// X25519 with ML-KEM-768 (draft-ietf-tls-ecdhe-mlkem), for TLS 1.3 only; the client's share has 1216 bytes,
    /// the server's 1120, and the two sides do different things: [`Backend::encapsulate`] is the server's.
    X25519MlKem768,
}

impl NamedGroup {
    /// All groups, the preferred ones first.
    pub const ALL: [NamedGroup; 4] =
        [NamedGroup::X25519MlKem768, NamedGroup::X25519, NamedGroup::Secp256r1, NamedGroup::Secp384r1];

    /// The number on the wire.
    pub fn code(self) -> u16 {
        match self {
            NamedGroup::X25519 => 0x001d,
            NamedGroup::Secp256r1 => 0x0017,
            NamedGroup::Secp384r1 => 0x0018,
            NamedGroup::X25519MlKem768 => 0x11ec,
        }
    }

    /// The group of a number; `None` for those that are unknown here.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|g| g.code() == code)
    }
}

/// An ephemeral private key, used once.
pub trait KeyExchange: Send + Sync + fmt::Debug {
    /// The share to send, as it stands on the wire.
    fn public(&self) -> &[u8];

    /// The secret shared with the owner of `peer`.
    ///
    /// # Errors
    /// The share has the wrong length, is no point of the curve, or yields the all-zero secret (RFC 7748 §6.1).
    fn agree(self: Box<Self>, peer: &[u8]) -> Result<Secret, CryptoError>;
}

/// The server's side of a Diffie-Hellman group: the own share and the secret.
fn answer(own: Box<dyn KeyExchange>, peer_share: &[u8]) -> Result<(Vec<u8>, Secret), CryptoError> {
    let share = own.public().to_vec();
    Ok((share, own.agree(peer_share)?))
}

// ---- signatures ---------------------------------------------------------------------------------------------

/// Signature schemes (RFC 8446 §4.2.3), which are also TLS 1.2's pairs of hash and signature (RFC 5246 §7.4.1.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SignatureScheme {
    /// ECDSA with SHA-256; on P-256 only in TLS 1.3.
    EcdsaSecp256r1Sha256,
    /// ECDSA with SHA-384; on P-384 only in TLS 1.3.
    EcdsaSecp384r1Sha384,
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// RSA PKCS#1 v1.5 with SHA-256; TLS 1.2 only.
    RsaPkcs1Sha256,
    /// RSA PKCS#1 v1.5 with SHA-384; TLS 1.2 only.
    RsaPkcs1Sha384,
    /// RSA PKCS#1 v1.5 with SHA-512; TLS 1.2 only.
    RsaPkcs1Sha512,
    /// RSA PSS with SHA-256.
    RsaPssRsaeSha256,
    /// RSA PSS with SHA-384.
    RsaPssRsaeSha384,
    /// RSA PSS with SHA-512.
    RsaPssRsaeSha512,
}

impl SignatureScheme {
    /// All that can be verified here, the preferred ones first.
    pub const ALL: [SignatureScheme; 9] = [
        SignatureScheme::EcdsaSecp256r1Sha256,
        SignatureScheme::EcdsaSecp384r1Sha384,
        SignatureScheme::Ed25519,
        SignatureScheme::RsaPssRsaeSha256,
        SignatureScheme::RsaPssRsaeSha384,
        SignatureScheme::RsaPssRsaeSha512,
        SignatureScheme::RsaPkcs1Sha256,
        SignatureScheme::RsaPkcs1Sha384,
        SignatureScheme::RsaPkcs1Sha512,
    ];

    /// The number on the wire.
    pub fn code(self) -> u16 {
        match self {
            SignatureScheme::EcdsaSecp256r1Sha256 => 0x0403,
            SignatureScheme::EcdsaSecp384r1Sha384 => 0x0503,
            SignatureScheme::Ed25519 => 0x0807,
            SignatureScheme::RsaPkcs1Sha256 => 0x0401,
            SignatureScheme::RsaPkcs1Sha384 => 0x0501,
            SignatureScheme::RsaPkcs1Sha512 => 0x0601,
            SignatureScheme::RsaPssRsaeSha256 => 0x0804,
            SignatureScheme::RsaPssRsaeSha384 => 0x0805,
            SignatureScheme::RsaPssRsaeSha512 => 0x0806,
        }
    }

    /// The scheme of a number; `None` for those that are unknown here.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.code() == code)
    }

    /// Whether it is RSA PKCS#1 v1.5, which TLS 1.3 does not allow in CertificateVerify (RFC 8446 §4.2.3).
    pub fn is_rsa_pkcs1(self) -> bool {
        use SignatureScheme::{RsaPkcs1Sha256, RsaPkcs1Sha384, RsaPkcs1Sha512};
        matches!(self, RsaPkcs1Sha256 | RsaPkcs1Sha384 | RsaPkcs1Sha512)
    }

    /// Whether a key of this kind may sign with this scheme in TLS 1.3, where an ECDSA scheme names its curve.
    pub fn names_curve_of(self, key: KeyAlgorithm) -> bool {
        match self {
            SignatureScheme::EcdsaSecp256r1Sha256 => key == KeyAlgorithm::EcdsaP256,
            SignatureScheme::EcdsaSecp384r1Sha384 => key == KeyAlgorithm::EcdsaP384,
            SignatureScheme::Ed25519 => key == KeyAlgorithm::Ed25519,
            _ => key == KeyAlgorithm::Rsa,
        }
    }
}

/// What kind of key a certificate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum KeyAlgorithm {
    /// ECDSA on NIST P-256.
    EcdsaP256,
    /// ECDSA on NIST P-384.
    EcdsaP384,
    /// Ed25519.
    Ed25519,
    /// RSA of 2048 to 8192 bits.
    Rsa,
}

impl KeyAlgorithm {
    /// The schemes that a key of this kind signs with here, the preferred one first.
    pub fn schemes(self) -> &'static [SignatureScheme] {
        match self {
            KeyAlgorithm::EcdsaP256 => &SignatureScheme::ALL[..1],
            KeyAlgorithm::EcdsaP384 => &SignatureScheme::ALL[1..2],
            KeyAlgorithm::Ed25519 => &SignatureScheme::ALL[2..3],
            KeyAlgorithm::Rsa => &SignatureScheme::ALL[3..],
        }
    }
}

/// A private key, prepared for signing.
pub trait SigningKey: Send + Sync + fmt::Debug {
    /// The public half.
    fn public_key(&self) -> &PublicKey;

    /// Signs `message`; an ECDSA signature is in DER (RFC 8422 §5.4).
    ///
    /// # Errors
    /// The scheme is not one of [`KeyAlgorithm::schemes`], or there is no randomness.
    fn sign(&self, scheme: SignatureScheme, message: &[u8], rng: &mut Rng) -> Result<Vec<u8>, CryptoError>;
}

/// A public key for checking signatures, as a certificate holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: KeyAlgorithm,
    /// An uncompressed point, 32 bytes of Ed25519, or a DER `RSAPublicKey`.
    bytes: Box<[u8]>,
}

impl PublicKey {
    /// A key from the contents of the certificate's `subjectPublicKey`: an uncompressed point for ECDSA, the
    /// 32 bytes of Ed25519, a DER `RSAPublicKey` for RSA. Whether it is a point of the curve, or an RSA key
    /// of an accepted size, is seen when it is used.
    pub fn new(algorithm: KeyAlgorithm, bytes: &[u8]) -> Self {
        PublicKey { algorithm, bytes: bytes.into() }
    }

    /// The kind of key.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The contents of `subjectPublicKey`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

// ---- secrets ------------------------------------------------------------------------------------------------

/// Secret bytes: wiped when dropped, never printed, compared in constant time.
#[derive(Clone)]
pub struct Secret(Zeroizing<Box<[u8]>>);

impl Secret {
    /// Copies `bytes`; wiping the original is the caller's duty.
    pub fn new(bytes: &[u8]) -> Self {
        Secret(Zeroizing::new(bytes.into()))
    }

    /// `len` zeros, to be filled through [`Secret::as_mut_bytes`].
    pub fn zeroed(len: usize) -> Self {
        Secret(Zeroizing::new(vec![0; len].into_boxed_slice()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to be written.
    pub fn as_mut_bytes(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        constant_time_eq(self.as_bytes(), other.as_bytes())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Whether two MACs or secrets are equal, in a time that depends on their lengths only.
pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

// ---- errors -------------------------------------------------------------------------------------------------

/// A key of the wrong length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key does not have the length that its algorithm asks for")]
pub struct InvalidKey;

/// An AEAD tag that does not fit its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tag does not fit the message")]
pub struct Unauthentic;

/// A signature that does not fit its message and key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not fit the message and the key")]
pub struct BadSignature;

/// Why a key agreement or a signature could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CryptoError {
    /// The back end does not know the group, or the key does not know the scheme.
    #[error("the algorithm is not supported")]
    Unsupported,
    /// The peer's key share is no valid one (RFC 8446 §4.2.8.2, RFC 7748 §6.1).
    #[error("the peer's key share is not valid")]
    BadKeyShare,
    /// The private key is malformed, or too small.
    #[error("the private key is refused")]
    BadPrivateKey,
    /// The operating system gave no randomness.
    #[error("no randomness from the system")]
    NoRandomness,
}

#[cfg(test)]
mod tests;
