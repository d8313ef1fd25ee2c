//! The parts of long-term credentials (RFC 8489 §9.2): keys, the anonymous user name, the nonce cookie.
//!
//! User names, realms and passwords are taken as they are: the caller has applied the OpaqueString profile
//! (RFC 8265) where one is in use.

use super::attributes::PasswordAlgorithm;
use crate::crypto::hash::{HashAlgorithm, md5};
use crate::crypto::mac::{HmacKey, HmacSha1Key};

/// The key of a long-term credential, ready for either integrity attribute.
#[derive(Debug)]
pub struct LongTermKey {
    /// For MESSAGE-INTEGRITY.
    pub sha1: HmacSha1Key,
    /// For MESSAGE-INTEGRITY-SHA256.
    pub sha256: HmacKey,
}

impl LongTermKey {
    /// Derives the key (RFC 8489 §9.2.2, §18.5.1).
    pub fn derive(algorithm: PasswordAlgorithm, username: &str, realm: &str, password: &str) -> Self {
        let parts: [&[u8]; 5] = [username.as_bytes(), b":", realm.as_bytes(), b":", password.as_bytes()];
        match algorithm {
            PasswordAlgorithm::Md5 => LongTermKey::new(&md5(&parts)),
            PasswordAlgorithm::Sha256 => LongTermKey::new(&HashAlgorithm::Sha256.digest(&parts)),
        }
    }

    fn new(key: &[u8]) -> Self {
        LongTermKey { sha1: HmacSha1Key::new(key), sha256: HmacKey::new(HashAlgorithm::Sha256, key) }
    }
}

/// USERHASH: what stands in for a user name that is to stay hidden (RFC 8489 §14.4).
pub fn userhash(username: &str, realm: &str) -> [u8; 32] {
    let digest = HashAlgorithm::Sha256.digest(&[username.as_bytes(), b":", realm.as_bytes()]);
    let mut hash = [0; 32];
    hash.copy_from_slice(&digest);
    hash
}

/// What a server says about itself at the start of its nonce (RFC 8489 §9.2, §18.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SecurityFeatures {
    /// Bit 0: it offers PASSWORD-ALGORITHMS, so a reply without them was tampered with.
    pub password_algorithms: bool,
    /// Bit 1: it takes USERHASH in place of USERNAME.
    pub username_anonymity: bool,
}

/// What every nonce with a cookie starts with.
const NONCE_COOKIE: &[u8] = b"obMatJos2";

impl SecurityFeatures {
    /// The features in a nonce; `None` when it does not start with the nonce cookie.
    pub fn of_nonce(nonce: &[u8]) -> Option<Self> {
        let encoded = nonce.strip_prefix(NONCE_COOKIE)?.first_chunk::<4>()?;
        // The first six of 24 bits, most significant first; those behind the second are not assigned.
        let mut first = 0;
        for (i, character) in encoded.iter().enumerate() {
            let sextet = base64_value(*character)?;
            if i == 0 {
                first = sextet;
            }
        }
        Some(SecurityFeatures {
            password_algorithms: first & 0b10_0000 != 0,
            username_anonymity: first & 0b01_0000 != 0,
        })
    }
}

fn base64_value(character: u8) -> Option<u8> {
    match character {
        b'A'..=b'Z' => Some(character - b'A'),
        b'a'..=b'z' => Some(character - b'a' + 26),
        b'0'..=b'9' => Some(character - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}
