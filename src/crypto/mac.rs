//! Message authentication: HMAC (RFC 2104) with key schedules made once.

use std::fmt;
use std::hint::black_box;

use ring::hmac as ring_hmac;
use sha1::block_api::compress;
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

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
/// The key is kept as what SHA-1 makes of its two padded blocks (RFC 2104 §4): 40 bytes, so that a MAC starts
/// where the message does. The compression function is the one that uses the processor's SHA instructions.
pub struct HmacSha1Key {
    inner: [u32; 5],
    outer: [u32; 5],
}

/// Bytes in a block of SHA-1.
const SHA1_BLOCK: usize = 64;

/// Where SHA-1 starts (FIPS 180-4 §5.3.1).
const SHA1_START: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

impl HmacSha1Key {
    /// Bytes in a MAC.
    pub const OUTPUT_LEN: usize = 20;

    /// Prepares `key`, which may have any length.
    pub fn new(key: &[u8]) -> Self {
        // RFC 2104 §2: a key longer than a block is hashed first.
        let hashed = (key.len() > SHA1_BLOCK)
            .then(|| Zeroizing::new(Sha1::continue_from(SHA1_START, 0).finish([key])));
        let key = hashed.as_ref().map_or(key, |hashed| &hashed[..]);
        let start = |pad: u8| {
            let mut block = Zeroizing::new([pad; SHA1_BLOCK]);
            block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
            let mut state = SHA1_START;
            compress(&mut state, &[*block]);
            state
        };
        HmacSha1Key { inner: start(0x36), outer: start(0x5c) }
    }

    /// The MAC of `parts`, one after the other. Allocates nothing.
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; Self::OUTPUT_LEN] {
        let inner = Sha1::continue_from(self.inner, SHA1_BLOCK).finish(parts.iter().copied());
        Sha1::continue_from(self.outer, SHA1_BLOCK).finish([&inner[..]])
    }

    /// Whether `mac` is the full MAC of `parts`; constant time in its value. A cut one never is.
    pub fn verify(&self, parts: &[&[u8]], mac: &[u8]) -> bool {
        constant_time_eq(&self.sign(parts), mac)
    }
}

impl Drop for HmacSha1Key {
    fn drop(&mut self) {
        self.inner.zeroize();
        self.outer.zeroize();
    }
}

impl ZeroizeOnDrop for HmacSha1Key {}

impl fmt::Debug for HmacSha1Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HmacSha1Key(..)")
    }
}

/// SHA-1 from a state on (FIPS 180-4 §6.1), which the hash crate's own type does not offer.
struct Sha1 {
    state: [u32; 5],
    /// Bytes hashed so far; those since the last whole block are in `block`.
    len: usize,
    block: [u8; SHA1_BLOCK],
}

impl Sha1 {
    /// Goes on after `len` bytes, a multiple of the block length, that led to `state`.
    fn continue_from(state: [u32; 5], len: usize) -> Self {
        Sha1 { state, len, block: [0; SHA1_BLOCK] }
    }

    fn update(&mut self, mut bytes: &[u8]) {
        let filled = self.len % SHA1_BLOCK;
        self.len += bytes.len();
        if filled > 0 {
            let room = &mut self.block[filled..];
            let (head, tail) = bytes.split_at(room.len().min(bytes.len()));
            room[..head.len()].copy_from_slice(head);
            if head.len() < room.len() {
                return;
            }
            compress(&mut self.state, &[self.block]);
            bytes = tail;
        }
        // Whole blocks are hashed where they lie.
        let (blocks, rest) = bytes.as_chunks::<SHA1_BLOCK>();
        compress(&mut self.state, blocks);
        self.block[..rest.len()].copy_from_slice(rest);
    }

    /// The hash with `parts` appended.
    fn finish<'a>(mut self, parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; HmacSha1Key::OUTPUT_LEN] {
        parts.into_iter().for_each(|part| self.update(part));
        // FIPS 180-4 §5.1.1: a one bit, zeros, and the length in bits as the last eight bytes of a block.
        let bits = (self.len as u64).wrapping_mul(8);
        let filled = self.len % SHA1_BLOCK;
        self.block[filled] = 0x80;
        self.block[filled + 1..].fill(0);
        if filled >= SHA1_BLOCK - 8 {
            compress(&mut self.state, &[self.block]);
            self.block.fill(0);
        }
        self.block[SHA1_BLOCK - 8..].copy_from_slice(&bits.to_be_bytes());
        compress(&mut self.state, &[self.block]);

        let mut digest = [0; HmacSha1Key::OUTPUT_LEN];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha1::Digest as _;

    proptest! {
        #[test]
        fn sha1_in_parts_is_sha1_of_the_whole(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..5)) {
            let ours = Sha1::continue_from(SHA1_START, 0).finish(parts.iter().map(Vec::as_slice));
            let theirs: [u8; 20] = sha1::Sha1::digest(parts.concat()).into();
            prop_assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn sha1_pads_every_length_right() {
        let bytes = [0x5a; 200];
        for len in 0..bytes.len() {
            let ours = Sha1::continue_from(SHA1_START, 0).finish([&bytes[..len]]);
            let theirs: [u8; 20] = sha1::Sha1::digest(&bytes[..len]).into();
            assert_eq!(ours, theirs, "{len}");
        }
    }
}
