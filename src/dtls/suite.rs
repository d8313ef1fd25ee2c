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
    /// RFC 9147 over RFC 8446.
    Dtls13,
}

impl Version {
    /// The version on the wire: the ones' complement of the numbers, so that later versions are smaller.
    pub const fn code(self) -> u16 {
        match self {
            Version::Dtls12 => 0xfefd,
            Version::Dtls13 => 0xfefc,
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
    /// `TLS_AES_128_GCM_SHA256` of 1.3 (RFC 8446 §B.4).
    Aes128Gcm,
    /// `TLS_AES_256_GCM_SHA384` of 1.3 (RFC 8446 §B.4).
    Aes256Gcm,
    /// `TLS_CHACHA20_POLY1305_SHA256` of 1.3 (RFC 8446 §B.4).
    ChaCha20Poly1305,
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
    pub const ALL: [CipherSuite; 9] = [
        CipherSuite::Aes128Gcm,
        CipherSuite::Aes256Gcm,
        CipherSuite::ChaCha20Poly1305,
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
            CipherSuite::Aes128Gcm => 0x1301,
            CipherSuite::Aes256Gcm => 0x1302,
            CipherSuite::ChaCha20Poly1305 => 0x1303,
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

    /// The version that it belongs to: none serves two.
    pub fn version(self) -> Version {
        match self {
            CipherSuite::Aes128Gcm | CipherSuite::Aes256Gcm | CipherSuite::ChaCha20Poly1305 => {
                Version::Dtls13
            }
            _ => Version::Dtls12,
        }
    }

    /// How records are sealed.
    pub fn aead(self) -> AeadAlgorithm {
        match self {
            CipherSuite::Aes128Gcm | CipherSuite::EcdheEcdsaAes128Gcm | CipherSuite::EcdheRsaAes128Gcm => {
                AeadAlgorithm::Aes128Gcm
            }
            CipherSuite::Aes256Gcm | CipherSuite::EcdheEcdsaAes256Gcm | CipherSuite::EcdheRsaAes256Gcm => {
                AeadAlgorithm::Aes256Gcm
            }
            CipherSuite::ChaCha20Poly1305
            | CipherSuite::EcdheEcdsaChaCha20Poly1305
            | CipherSuite::EcdheRsaChaCha20Poly1305 => AeadAlgorithm::ChaCha20Poly1305,
        }
    }

    /// The hash of the key derivation and of the transcript.
    pub fn hash(self) -> HashAlgorithm {
        match self.aead() {
            AeadAlgorithm::Aes256Gcm => HashAlgorithm::Sha384,
            _ => HashAlgorithm::Sha256,
        }
    }

    /// How the server proves itself; `None` in 1.3, where the suite says nothing about it.
    pub fn authentication(self) -> Option<Authentication> {
        match self {
            CipherSuite::Aes128Gcm | CipherSuite::Aes256Gcm | CipherSuite::ChaCha20Poly1305 => None,
            CipherSuite::EcdheEcdsaAes128Gcm
            | CipherSuite::EcdheEcdsaAes256Gcm
            | CipherSuite::EcdheEcdsaChaCha20Poly1305 => Some(Authentication::Ecdsa),
            CipherSuite::EcdheRsaAes128Gcm
            | CipherSuite::EcdheRsaAes256Gcm
            | CipherSuite::EcdheRsaChaCha20Poly1305 => Some(Authentication::Rsa),
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
