//! Hash functions: SHA-2 (FIPS 180-4) for transcripts and fingerprints, MD5 for STUN's long-term keys (RFC 8489
//! §18.5.1.1).

use std::fmt;
use std::ops::Deref;

use md5::Digest as _;
use ring::digest;
use zeroize::Zeroize;

/// The SHA-2 hash functions of TLS and of fingerprints (FIPS 180-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HashAlgorithm {
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl HashAlgorithm {
    /// Digest length in bytes.
    pub fn output_len(self) -> usize {
        match self {
            HashAlgorithm::Sha256 => 32,
            HashAlgorithm::Sha384 => 48,
            HashAlgorithm::Sha512 => 64,
        }
    }

    /// The digest of `parts`, one after the other.
    pub fn digest(self, parts: &[&[u8]]) -> Digest {
        let mut hash = Hash::new(self);
        parts.iter().for_each(|part| hash.update(part));
        hash.finish()
    }

    fn ring(self) -> &'static digest::Algorithm {
        match self {
            HashAlgorithm::Sha256 => &digest::SHA256,
            HashAlgorithm::Sha384 => &digest::SHA384,
            HashAlgorithm::Sha512 => &digest::SHA512,
        }
    }
}

/// A running hash; cloned to take its value without ending it.
#[derive(Clone)]
pub struct Hash(digest::Context);

impl Hash {
    /// The hash of nothing yet.
    pub fn new(algorithm: HashAlgorithm) -> Self {
        Hash(digest::Context::new(algorithm.ring()))
    }

    /// Appends `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that was appended.
    pub fn finish(self) -> Digest {
        Digest::from_slice(self.0.finish().as_ref())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(..)")
    }
}

/// The value of a hash or of a MAC: at most 64 bytes, without an allocation.
///
/// Compared in constant time, for it may be a MAC, and not printed, for it may be a key.
#[derive(Clone, Copy)]
pub struct Digest {
    bytes: [u8; 64],
    len: u8,
}

impl Digest {
    /// Copies a digest; what does not fit into 64 bytes is cut, and no hash function here makes it.
    pub(super) fn from_slice(digest: &[u8]) -> Self {
        let mut bytes = [0; 64];
        let mut len = 0;
        for (to, from) in bytes.iter_mut().zip(digest) {
            *to = *from;
            len += 1;
        }
        Digest { bytes, len }
    }
}

impl Deref for Digest {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        super::constant_time_eq(self, other)
    }
}

impl Eq for Digest {}

impl Zeroize for Digest {
    fn zeroize(&mut self) {
        self.bytes.zeroize();
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

/// MD5 of `parts`, one after the other (RFC 1321).
///
/// For one thing only: the key of STUN's long-term credentials, which is its value over
/// `username:realm:password` (RFC 8489 §9.2.2). It protects nothing else.
pub fn md5(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = md5::Md5::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}
