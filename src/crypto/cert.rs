//! Certificates: the own identity, and the public key inside a peer's certificate.
//!
//! A certificate only carries a key here. It is trusted because its fingerprint was signalled (RFC 8827 §6.5),
//! so names, dates and issuers are neither checked nor kept.

use std::fmt;

use rcgen::{CertificateParams, DistinguishedName, DnType, SerialNumber, date_time_ymd};
use rustls_pemfile::Item;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
};
use x509_parser::prelude::{FromDer as _, SubjectPublicKeyInfo};
use zeroize::Zeroizing;

use super::hash::HashAlgorithm;
use super::key::{Encoding, PrivateKey};
use super::{Backend, CryptoError, KeyAlgorithm, PublicKey, SignatureScheme, SigningKey};
use crate::rng::Rng;
use crate::types::fingerprint::{Fingerprint, FingerprintHash};
use crate::wire::Malformed;
use crate::wire::reader::Reader;

/// The largest certificate that is looked at, in bytes of DER.
pub const MAX_CERTIFICATE_LEN: usize = 16 * 1024;

/// The certificates in one PEM file that are taken, the own one included.
const MAX_CHAIN: usize = 10;

// ---- the own certificate ------------------------------------------------------------------------------------

/// A certificate and its private key. Made once and shared by all connections, as an `Arc<Identity>`.
pub struct Identity {
    /// The own certificate first; never empty.
    chain: Vec<Vec<u8>>,
    private: PrivateKey,
    signer: Box<dyn SigningKey>,
}

impl Identity {
    /// A new self-signed P-256 certificate, from `rng` alone: the same generator state makes the same
    /// certificate under every back end, as its signature is the deterministic one of RFC 6979.
    ///
    /// Its name, its dates (2020 to 2049) and the form of its serial number tell nothing about the maker.
    ///
    /// # Errors
    /// None that is known; the encoder underneath has an error type.
    pub fn generate(backend: &dyn Backend, rng: &mut Rng) -> Result<Self, IdentityError> {
        let private = PrivateKey::generate(rng)?;
        let signer = super::rust().signing_key(&private)?;

        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "WebRTC");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2049, 12, 31);
        params.serial_number = Some(serial_number(rng));
        let certificate = params
            .self_signed(&CertificateSigner(&*signer))
            .map_err(|_| IdentityError::Encoding)?
            .der()
            .to_vec();

        Self::new(backend, vec![certificate], private)
    }

    /// Loads a certificate (further ones of its chain may follow it) and its private key from PEM.
    ///
    /// The key is ECDSA on P-256 or P-384, Ed25519, or RSA of 2048 to 4096 bits, in PKCS#8, SEC1 or PKCS#1.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn from_pem(
        backend: &dyn Backend,
        certificates: &str,
        private_key: &str,
    ) -> Result<Self, IdentityError> {
        let chain: Vec<Vec<u8>> = pem_items(certificates)?
            .into_iter()
            .filter_map(|item| match item {
                Item::X509Certificate(der) => Some(der.to_vec()),
                _ => None,
            })
            .take(MAX_CHAIN)
            .collect();
        let private = pem_items(private_key)?
            .into_iter()
            .find_map(|item| match item {
                Item::Pkcs8Key(der) => {
                    Some((Encoding::Pkcs8, Zeroizing::new(der.secret_pkcs8_der().to_vec())))
                }
                Item::Sec1Key(der) => Some((Encoding::Sec1, Zeroizing::new(der.secret_sec1_der().to_vec()))),
                Item::Pkcs1Key(der) => {
                    Some((Encoding::Pkcs1, Zeroizing::new(der.secret_pkcs1_der().to_vec())))
                }
                _ => None,
            })
            .ok_or(IdentityError::NoPrivateKey)?;
        Self::new(backend, chain, PrivateKey::from_der(private.0, &private.1)?)
    }

    /// An identity from a chain of DER certificates, the own one first, and its key.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn new(
        backend: &dyn Backend,
        chain: Vec<Vec<u8>>,
        private: PrivateKey,
    ) -> Result<Self, IdentityError> {
        let own = chain.first().ok_or(IdentityError::NoCertificate)?;
        if public_key(own)? != *private.public_key() {
            return Err(IdentityError::Mismatch);
        }
        let signer = backend.signing_key(&private)?;
        Ok(Identity { chain, private, signer })
    }

    /// The own certificate.
    pub fn certificate_der(&self) -> &[u8] {
        // Never empty: `new` is the only constructor.
        self.chain.first().map_or(&[], Vec::as_slice)
    }

    /// The certificates to send, the own one first.
    pub fn chain(&self) -> impl Iterator<Item = &[u8]> {
        self.chain.iter().map(Vec::as_slice)
    }

    /// What is signalled about the own certificate.
    pub fn fingerprint(&self, hash: FingerprintHash) -> Fingerprint {
        fingerprint(self.certificate_der(), hash)
    }

    /// The kind of the own key.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.signer.public_key().algorithm()
    }

    /// The schemes that the own key can sign with, the preferred one first.
    pub fn schemes(&self) -> &'static [SignatureScheme] {
        self.algorithm().schemes()
    }

    /// Signs `message`.
    ///
    /// # Errors
    /// The scheme is not one of [`Identity::schemes`], or the back end has no randomness.
    pub fn sign(
        &self,
        scheme: SignatureScheme,
        message: &[u8],
        rng: &mut Rng,
    ) -> Result<Vec<u8>, CryptoError> {
        self.signer.sign(scheme, message, rng)
    }

    /// The certificates as PEM.
    pub fn certificate_pem(&self) -> String {
        self.chain.iter().map(|der| pem("CERTIFICATE", der).to_string()).collect()
    }

    /// The private key as PEM, wiped when dropped.
    pub fn private_key_pem(&self) -> Zeroizing<String> {
        let label = match self.private.encoding() {
            Encoding::Pkcs8 => "PRIVATE KEY",
            Encoding::Sec1 => "EC PRIVATE KEY",
            Encoding::Pkcs1 => "RSA PRIVATE KEY",
        };
        pem(label, self.private.der())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("algorithm", &self.algorithm())
            .field("fingerprint", &self.fingerprint(FingerprintHash::Sha256))
            .finish_non_exhaustive()
    }
}

/// Why an identity could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The text is not PEM.
    #[error("the text is not PEM")]
    Pem,
    /// There is no `CERTIFICATE` section.
    #[error("there is no certificate")]
    NoCertificate,
    /// There is no section with a private key, or the key is encrypted.
    #[error("there is no unencrypted private key")]
    NoPrivateKey,
    /// The own certificate is refused.
    #[error(transparent)]
    Certificate(#[from] BadCertificate),
    /// The private key is refused.
    #[error(transparent)]
    Key(#[from] CryptoError),
    /// The certificate is that of another key.
    #[error("the certificate is not that of the private key")]
    Mismatch,
    /// The certificate could not be written.
    #[error("the certificate could not be written")]
    Encoding,
}

/// 16 random bytes: positive, and without a leading zero, whatever was drawn (RFC 5280 §4.1.2.2).
fn serial_number(rng: &mut Rng) -> SerialNumber {
    let [first, rest @ ..] = rng.array::<16>();
    let mut serial = vec![first & 0x7f | 0x40];
    serial.extend_from_slice(&rest);
    SerialNumber::from_slice(&serial)
}

/// Lets rcgen sign with a key that is not its own.
struct CertificateSigner<'a>(&'a dyn SigningKey);

impl rcgen::PublicKeyData for CertificateSigner<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for CertificateSigner<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        // The pure-Rust back end draws nothing for ECDSA (RFC 6979), so any generator will do.
        let mut unused = Rng::new([0; 32], crate::rng::Stream::Certificate);
        self.0
            .sign(SignatureScheme::EcdsaSecp256r1Sha256, message, &mut unused)
            .map_err(|_| rcgen::Error::KeyGenerationUnavailable)
    }
}

// ---- PEM ----------------------------------------------------------------------------------------------------

/// The sections of a PEM file. The only user of `rustls-pemfile`.
fn pem_items(text: &str) -> Result<Vec<Item>, IdentityError> {
    let mut rest = text.as_bytes();
    let mut items = Vec::new();
    while let Some((item, next)) =
        rustls_pemfile::read_one_from_slice(rest).map_err(|_| IdentityError::Pem)?
    {
        items.push(item);
        rest = next;
    }
    Ok(items)
}

/// One PEM section (RFC 7468 §2), lines of 64 characters.
fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let base64_len = der.len().div_ceil(3) * 4;
    // The whole room at once: text that grows leaves copies of the secret behind.
    let mut text =
        Zeroizing::new(String::with_capacity(base64_len + base64_len.div_ceil(64) + 2 * label.len() + 34));
    *text += &format!("-----BEGIN {label}-----\n");
    for line in der.chunks(48) {
        for chunk in line.chunks(3) {
            let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for (i, shift) in [18, 12, 6, 0].into_iter().enumerate() {
                let digit = char::from(ALPHABET[(bits >> shift & 63) as usize]);
                text.push(if i <= chunk.len() { digit } else { '=' });
            }
        }
        text.push('\n');
    }
    *text += &format!("-----END {label}-----\n");
    text
}

// ---- a peer's certificate -----------------------------------------------------------------------------------

/// The fingerprint of a certificate's DER (RFC 8122 §5).
pub fn fingerprint(certificate_der: &[u8], hash: FingerprintHash) -> Fingerprint {
    let algorithm = match hash {
        FingerprintHash::Sha256 => HashAlgorithm::Sha256,
        FingerprintHash::Sha384 => HashAlgorithm::Sha384,
        FingerprintHash::Sha512 => HashAlgorithm::Sha512,
    };
    let digest = algorithm.digest(&[certificate_der]);
    Fingerprint::new(hash, &digest).expect("the hash of this name has this length")
}

/// Why a peer's certificate is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadCertificate {
    /// More than [`MAX_CERTIFICATE_LEN`] bytes.
    #[error("the certificate is longer than 16 KiB")]
    TooLong,
    /// Not the DER of an X.509 certificate.
    #[error("the certificate is malformed")]
    Malformed,
    /// A key of another kind than [`KeyAlgorithm`] names, or on another curve.
    #[error("the certificate's key is of an unknown kind")]
    UnsupportedKey,
}

impl From<Malformed> for BadCertificate {
    fn from(_: Malformed) -> Self {
        BadCertificate::Malformed
    }
}

/// The public key in a certificate.
///
/// Time is linear in the length and memory does not depend on it: the fields before the key are stepped over
/// and the ones behind it are only measured, whatever they hold. Nothing recurses.
///
/// # Errors
/// See [`BadCertificate`].
pub fn public_key(certificate_der: &[u8]) -> Result<PublicKey, BadCertificate> {
    if certificate_der.len() > MAX_CERTIFICATE_LEN {
        return Err(BadCertificate::TooLong);
    }
    let info = subject_public_key_info(certificate_der)?;
    let (rest, info) = SubjectPublicKeyInfo::from_der(info).map_err(|_| BadCertificate::Malformed)?;
    let key = &info.subject_public_key;
    if !rest.is_empty() || key.unused_bits != 0 {
        return Err(BadCertificate::Malformed);
    }

    let algorithm = &info.algorithm.algorithm;
    let parameters = info.algorithm.parameters.as_ref();
    let (kind, len) = if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        // RFC 5480 §2.1.1: only a named curve. Explicit parameters have been an attack (CVE-2020-0601).
        let curve = parameters.and_then(|any| any.as_oid().ok()).ok_or(BadCertificate::UnsupportedKey)?;
        if curve == OID_EC_P256 {
            (KeyAlgorithm::EcdsaP256, Some(65))
        } else if curve == OID_NIST_EC_P384 {
            (KeyAlgorithm::EcdsaP384, Some(97))
        } else {
            return Err(BadCertificate::UnsupportedKey);
        }
    } else if *algorithm == OID_SIG_ED25519 {
        (KeyAlgorithm::Ed25519, Some(32))
    } else if *algorithm == OID_PKCS1_RSAENCRYPTION {
        (KeyAlgorithm::Rsa, None)
    } else {
        return Err(BadCertificate::UnsupportedKey);
    };
    // RFC 8422 §5.4.1: points are uncompressed, which their length tells.
    if len.is_some_and(|len| len != key.data.len()) {
        return Err(BadCertificate::UnsupportedKey);
    }
    Ok(PublicKey::new(kind, &key.data))
}

// DER tags (X.690 §8).
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The bytes of `subjectPublicKeyInfo`, tag and length included (RFC 5280 §4.1).
fn subject_public_key_info(certificate_der: &[u8]) -> Result<&[u8], Malformed> {
    let mut outer = Reader::new(certificate_der, "certificate");
    let mut certificate = element(&mut outer, SEQUENCE)?;
    outer.finish()?;
    let mut signed = element(&mut certificate, SEQUENCE)?;
    element(&mut certificate, SEQUENCE)?; // signatureAlgorithm
    element(&mut certificate, BIT_STRING)?; // signatureValue
    certificate.finish()?;

    if signed.peek().first() == Some(&VERSION) {
        element(&mut signed, VERSION)?;
    }
    element(&mut signed, INTEGER)?; // serialNumber
    for _ in ["signature", "issuer", "validity", "subject"] {
        element(&mut signed, SEQUENCE)?;
    }
    let start = signed.peek();
    element(&mut signed, SEQUENCE)?;
    let info = Reader::new(start, "certificate").take(start.len() - signed.remaining())?;
    while let Some(&tag) = signed.peek().first() {
        element(&mut signed, tag)?; // unique identifiers and extensions
    }
    Ok(info)
}

/// The contents of the next element, which must have this tag. Lengths are definite and minimal (X.690 §10.1).
fn element<'a>(reader: &mut Reader<'a>, tag: u8) -> Result<Reader<'a>, Malformed> {
    if reader.u8()? != tag {
        return Err(reader.malformed());
    }
    let len = match reader.u8()? {
        short @ ..=0x7f => u16::from(short),
        0x81 => {
            reader.u8().map(u16::from).and_then(|n| if n < 0x80 { Err(reader.malformed()) } else { Ok(n) })?
        }
        0x82 => reader.u16().and_then(|n| if n < 0x100 { Err(reader.malformed()) } else { Ok(n) })?,
        // 64 KiB and more, reserved, or indefinite.
        _ => return Err(reader.malformed()),
    };
    reader.sub(usize::from(len))
}

#[cfg(test)]
mod tests;
