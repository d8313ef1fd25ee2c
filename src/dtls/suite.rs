//! Versions and cipher suites.

use crate::crypto::AeadAlgorithm;
use crate::crypto::KeyAlgorithm;
use crate::crypto::hash::HashAlgorithm;

/// A version of DTLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Version {
    /// RFC 6347 over RFC 5246.
    Dtls12,
}

impl Version {
    /// The version on the wire: the ones' complement of the numbers, so that later versions are smaller.
    pub const fn code(self) -> u16 {
        match self {
            Version::Dtls12 => 0xfefd,
        }
    }
}

/// How the server of a 1.2 suite proves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// ECDSA, or Ed25519 (RFC 8422 §5.10).
    Ecdsa,
    /// RSA, by either padding.
    Rsa,
}

impl Authentication {
    /// What a key of this kind can serve.
    pub fn of(key: KeyAlgorithm) -> Self {
        match key {
            KeyAlgorithm::Rsa => Authentication::Rsa,
            _ => Authentication::Ecdsa,
        }
    }
}

/// The cipher suites spoken here: all have forward secrecy and an AEAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum CipherSuite {
    /// `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256` (RFC 5289).
    EcdheEcdsaAes128Gcm,
    /// `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256` (RFC 5289).
    EcdheRsaAes128Gcm,
    /// `TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384` (RFC 5289).
    EcdheEcdsaAes256Gcm,
    /// `TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384` (RFC 5289).
    EcdheRsaAes256Gcm,
    /// `TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256` (RFC 7905).
    EcdheEcdsaChaCha20Poly1305,
    /// `TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256` (RFC 7905).
    EcdheRsaChaCha20Poly1305,
}

impl CipherSuite {
    /// Every suite known here, the preferred ones first.
    pub const ALL: [CipherSuite; 6] = [
        CipherSuite::EcdheEcdsaAes128Gcm,
        CipherSuite::EcdheRsaAes128Gcm,
        CipherSuite::EcdheEcdsaAes256Gcm,
        CipherSuite::EcdheRsaAes256Gcm,
        CipherSuite::EcdheEcdsaChaCha20Poly1305,
        CipherSuite::EcdheRsaChaCha20Poly1305,
    ];

    /// The number on the wire.
    pub fn code(self) -> u16 {
        match self {
            CipherSuite::EcdheEcdsaAes128Gcm => 0xc02b,
            CipherSuite::EcdheRsaAes128Gcm => 0xc02f,
            CipherSuite::EcdheEcdsaAes256Gcm => 0xc02c,
            CipherSuite::EcdheRsaAes256Gcm => 0xc030,
            CipherSuite::EcdheEcdsaChaCha20Poly1305 => 0xcca9,
            CipherSuite::EcdheRsaChaCha20Poly1305 => 0xcca8,
        }
    }

    /// The suite of a number; `None` for those that are unknown here.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.code() == code)
    }

    /// How records are sealed.
    pub fn aead(self) -> AeadAlgorithm {
        match self {
            CipherSuite::EcdheEcdsaAes128Gcm | CipherSuite::EcdheRsaAes128Gcm => AeadAlgorithm::Aes128Gcm,
            CipherSuite::EcdheEcdsaAes256Gcm | CipherSuite::EcdheRsaAes256Gcm => AeadAlgorithm::Aes256Gcm,
            CipherSuite::EcdheEcdsaChaCha20Poly1305 | CipherSuite::EcdheRsaChaCha20Poly1305 => {
                AeadAlgorithm::ChaCha20Poly1305
            }
        }
    }

    /// The hash of the key derivation and of the transcript.
    pub fn hash(self) -> HashAlgorithm {
        match self.aead() {
            AeadAlgorithm::Aes256Gcm => HashAlgorithm::Sha384,
            _ => HashAlgorithm::Sha256,
        }
    }

    /// How the server proves itself.
    pub fn authentication(self) -> Authentication {
        match self {
            CipherSuite::EcdheEcdsaAes128Gcm
            | CipherSuite::EcdheEcdsaAes256Gcm
            | CipherSuite::EcdheEcdsaChaCha20Poly1305 => Authentication::Ecdsa,
            CipherSuite::EcdheRsaAes128Gcm
            | CipherSuite::EcdheRsaAes256Gcm
            | CipherSuite::EcdheRsaChaCha20Poly1305 => Authentication::Rsa,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_found_by_their_numbers() {
        for suite in CipherSuite::ALL {
            assert_eq!(CipherSuite::from_code(suite.code()), Some(suite));
        }
        // TLS_NULL_WITH_NULL_NULL and the renegotiation signalling value are none.
        assert_eq!(CipherSuite::from_code(0), None);
        assert_eq!(CipherSuite::from_code(0x00ff), None);
    }
}
