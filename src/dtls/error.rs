//! Why a handshake fails and why a connection ends.

use super::alert::AlertDescription;

/// Why a handshake failed at this end; the peer is told by an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// No common version.
    #[error("no common version")]
    Version,
    /// No common cipher suite, or none that fits the own certificate.
    #[error("no common cipher suite")]
    NoCommonSuite,
    /// No common key exchange group.
    #[error("no common key exchange group")]
    NoCommonGroup,
    /// No common signature scheme that fits the own certificate.
    #[error("no common signature scheme")]
    NoCommonSignature,
    /// The peer does not bind its secrets to the handshake (RFC 7627).
    #[error("the peer lacks the extended master secret")]
    NoExtendedMasterSecret,
    /// Something other than an empty `renegotiation_info` (RFC 5746 §3.4, §3.6).
    #[error("renegotiation data in a first handshake")]
    Renegotiation,
    /// A value that was not offered, or contradicts others.
    #[error("illegal parameter")]
    IllegalParameter,
    /// An extension that was not asked for.
    #[error("unsolicited extension")]
    UnsolicitedExtension,
    /// An extension that this version cannot do without.
    #[error("missing extension")]
    MissingExtension,
    /// An authentic message that has no place here, such as a Finished without the proof before it.
    #[error("unexpected message")]
    UnexpectedMessage,
    /// An authentic message that cannot be read.
    #[error("malformed message")]
    Malformed,
    /// The peer sent no certificate.
    #[error("the peer sent no certificate")]
    NoCertificate,
    /// The certificate cannot be read, or holds a key that is not supported.
    #[error("the certificate cannot be used")]
    BadCertificate,
    /// The certificate is none of those that were signalled.
    #[error("the certificate does not match the fingerprint")]
    FingerprintMismatch,
    /// The peer's key share is no valid one.
    #[error("the key share is not valid")]
    BadKeyShare,
    /// A signature that does not fit.
    #[error("the signature does not fit")]
    BadSignature,
    /// A Finished that does not fit the handshake.
    #[error("the Finished does not fit")]
    BadFinished,
    /// The own key or the system's randomness failed.
    #[error("internal error")]
    Internal,
}

impl HandshakeError {
    /// Whether the two ends have nothing in common, which no repetition changes.
    pub(crate) fn is_incompatibility(self) -> bool {
        matches!(
            self,
            HandshakeError::Version
                | HandshakeError::NoCommonSuite
                | HandshakeError::NoCommonGroup
                | HandshakeError::NoCommonSignature
                | HandshakeError::NoExtendedMasterSecret
        )
    }

    /// What the peer is told.
    pub fn alert(self) -> AlertDescription {
        match self {
            HandshakeError::Version => AlertDescription::PROTOCOL_VERSION,
            HandshakeError::NoCommonSuite
            | HandshakeError::NoCommonGroup
            | HandshakeError::NoCommonSignature
            | HandshakeError::NoExtendedMasterSecret
            | HandshakeError::Renegotiation
            | HandshakeError::NoCertificate => AlertDescription::HANDSHAKE_FAILURE,
            HandshakeError::IllegalParameter | HandshakeError::BadKeyShare => {
                AlertDescription::ILLEGAL_PARAMETER
            }
            HandshakeError::UnsolicitedExtension => AlertDescription::UNSUPPORTED_EXTENSION,
            HandshakeError::MissingExtension => AlertDescription::MISSING_EXTENSION,
            HandshakeError::UnexpectedMessage => AlertDescription::UNEXPECTED_MESSAGE,
            HandshakeError::Malformed => AlertDescription::DECODE_ERROR,
            // RFC 8122 §6.2: bad_certificate for a fingerprint that does not match.
            HandshakeError::BadCertificate | HandshakeError::FingerprintMismatch => {
                AlertDescription::BAD_CERTIFICATE
            }
            HandshakeError::BadSignature | HandshakeError::BadFinished => AlertDescription::DECRYPT_ERROR,
            HandshakeError::Internal => AlertDescription::INTERNAL_ERROR,
        }
    }
}

/// Why no keying material is given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// There is no connection: not yet, or not any more.
    #[error("the connection is not up")]
    NotConnected,
    /// More was asked for than can be derived (255 hashes), or the label is longer than 249 bytes (RFC 8446 §7.1).
    #[error("too much keying material is asked for, or the label is too long")]
    TooLong,
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// [`close`](super::Connection::close) was called.
    #[error("closed by this end")]
    Local,
    /// The peer closed in order.
    #[error("closed by the peer")]
    CloseNotify,
    /// The peer ended the connection by an alert.
    #[error("the peer sent the alert {0}")]
    Alert(AlertDescription),
    /// The peer's certificate is none of those that were signalled.
    #[error("the peer's certificate does not match the signalled fingerprint")]
    FingerprintMismatch,
    /// The handshake did not end within the configured patience.
    #[error("the handshake took too long")]
    HandshakeTimeout,
    /// 2^36 records were not authentic: the keys are not to be trusted any more (RFC 9147 §4.5.3).
    #[error("too many forged records")]
    Forgeries,
    /// The handshake failed at this end.
    #[error("the handshake failed: {0}")]
    Handshake(HandshakeError),
}

impl From<HandshakeError> for CloseReason {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::FingerprintMismatch => CloseReason::FingerprintMismatch,
            error => CloseReason::Handshake(error),
        }
    }
}
