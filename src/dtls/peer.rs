//! The peer's certificate and what it is checked against.

use super::error::HandshakeError;
use super::suite::Authentication;
use crate::crypto::cert;
use crate::crypto::{Backend, PublicKey, SignatureScheme};
use crate::types::fingerprint::Fingerprint;

/// How a certificate stands to the fingerprints that were signalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is one of them.
    Match,
    /// It is none of them.
    Mismatch,
    /// None is known yet.
    Unknown,
}

/// Compares a certificate with the signalled fingerprints.
///
/// RFC 8122 §5: of several hash functions the strongest counts, so that a weaker one cannot let in what it
/// refuses; of its fingerprints, one has to match.
pub(crate) fn verdict(fingerprints: &[Fingerprint], certificate: &[u8]) -> Verdict {
    let Some(hash) = fingerprints.iter().map(Fingerprint::hash).max() else {
        return Verdict::Unknown;
    };
    let own = cert::fingerprint(certificate, hash);
    if fingerprints.contains(&own) { Verdict::Match } else { Verdict::Mismatch }
}

/// The peer's end-entity certificate, and its key for the time of the handshake.
#[derive(Debug)]
pub(crate) struct PeerCertificate {
    pub(crate) der: Box<[u8]>,
    key: PublicKey,
}

impl PeerCertificate {
    /// Reads a certificate; one that is known to be wrong ends the handshake here (RFC 8122 §6.2).
    pub(crate) fn check(der: &[u8], fingerprints: &[Fingerprint]) -> Result<Self, HandshakeError> {
        if verdict(fingerprints, der) == Verdict::Mismatch {
            return Err(HandshakeError::FingerprintMismatch);
        }
        let key = cert::public_key(der).map_err(|_| HandshakeError::BadCertificate)?;
        Ok(PeerCertificate { der: der.into(), key })
    }

    /// What kind of 1.2 suite the key serves.
    pub(crate) fn authentication(&self) -> Authentication {
        Authentication::of(self.key.algorithm())
    }

    /// Checks a signature made with this certificate's key.
    pub(crate) fn verify(
        &self,
        backend: &dyn Backend,
        scheme: u16,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), HandshakeError> {
        // RFC 5246 §7.4.8: the scheme is one of those that were offered, and every known one is.
        let scheme = SignatureScheme::from_code(scheme).ok_or(HandshakeError::IllegalParameter)?;
        backend.verify(scheme, &self.key, message, signature).map_err(|_| HandshakeError::BadSignature)
    }
    /// The same in 1.3, where a scheme names the curve, and PKCS#1 is for certificates only (RFC 8446 §4.2.3).
    pub(crate) fn verify_13(
        &self,
        backend: &dyn Backend,
        scheme: u16,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), HandshakeError> {
        let fits = SignatureScheme::from_code(scheme)
            .is_some_and(|scheme| !scheme.is_rsa_pkcs1() && scheme.names_curve_of(self.key.algorithm()));
        if fits {
            self.verify(backend, scheme, message, signature)
        } else {
            Err(HandshakeError::IllegalParameter)
        }
    }
}
