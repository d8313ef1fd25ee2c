//! Message authentication: HMAC (RFC 2104) with key schedules made once.

use std::fmt;
use std::hint::black_box;

use hmac::{KeyInit as _, Mac as _};
use ring::hmac as ring_hmac;

use super::constant_time_eq;
use super::hash::{Digest, HashAlgorithm};

/// HMAC of `parts`, one after the other, for a key that is used once.
pub fn hmac(algorithm: HashAlgorithm, key: &[u8], parts: &[&[u8]]) -> Digest {
    HmacKey::new(algorithm, key).sign(parts)
}

/// A key for HMAC with a hash of the SHA-2 family.
pub struct HmacKey(ring_hmac::Key);

impl HmacKey {
    /// Prepares `key`, which may have any length.
    pub fn new(algorithm: HashAlgorithm, key: &[u8]) -> Self {
        let algorithm = match algorithm {
            HashAlgorithm::Sha256 => ring_hmac::HMAC_SHA256,
            HashAlgorithm::Sha384 => ring_hmac::HMAC_SHA384,
            HashAlgorithm::Sha512 => ring_hmac::HMAC_SHA512,
        };
        HmacKey(ring_hmac::Key::new(algorithm, key))
    }

    /// The MAC of `parts`, one after the other. Allocates nothing.
    pub fn sign(&self, parts: &[&[u8]]) -> Digest {
        self.sign_each(parts.iter().copied())
    }

    /// [`HmacKey::sign`] for parts that are in no slice.
    pub(super) fn sign_each<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
        let mut context = ring_hmac::Context::with_key(&self.0);
        parts.into_iter().for_each(|part| context.update(part));
        Digest::from_slice(context.sign().as_ref())
    }

    /// Whether `mac` is the full MAC of `parts`; constant time in its value. A cut one never is.
    pub fn verify(&self, parts: &[&[u8]], mac: &[u8]) -> bool {
        constant_time_eq(&self.sign(parts), mac)
    }
}

impl Drop for HmacKey {
    fn drop(&mut self) {
        // ring cannot wipe; the two states that stand for the key are overwritten by those of no key.
        self.0 = ring_hmac::Key::new(self.0.algorithm(), &[]);
        black_box(&self.0);
    }
}

impl fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HmacKey(..)")
    }
}

/// A key for HMAC-SHA1: STUN's MESSAGE-INTEGRITY (RFC 8489 §14.5) and SRTP's default tag (RFC 3711 §4.2.1).
///
/// SHA-1 here is the one that uses the processor's SHA instructions.
pub struct HmacSha1Key(hmac::Hmac<sha1::Sha1>);

impl HmacSha1Key {
    /// Bytes in a MAC.
    pub const OUTPUT_LEN: usize = 20;

    /// Prepares `key`, which may have any length.
    pub fn new(key: &[u8]) -> Self {
        // HMAC accepts a key of any length: RFC 2104 §2 hashes those longer than a block.
        HmacSha1Key(hmac::Hmac::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    /// The MAC of `parts`, one after the other. Allocates nothing.
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; Self::OUTPUT_LEN] {
        let mut mac = self.0.clone();
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    }

    /// Whether `mac` is the full MAC of `parts`; constant time in its value. A cut one never is.
    pub fn verify(&self, parts: &[&[u8]], mac: &[u8]) -> bool {
        constant_time_eq(&self.sign(parts), mac)
    }
}

impl fmt::Debug for HmacSha1Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HmacSha1Key(..)")
    }
}
