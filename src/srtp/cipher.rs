//! The transforms (RFC 3711 §4, RFC 7714): encryption and tag of one protocol in one direction.
//!
//! A packet is handed over as a clear head and a body that is encrypted in place. Whoever calls knows what
//! belongs where; this file knows keys, counters and tags.

use crate::crypto::cipher::{AesKey, BLOCK_LEN};
use crate::crypto::mac::HmacSha1Key;
use crate::crypto::{AeadAlgorithm, AeadKey, Backend, InvalidKey, NONCE_LEN, TAG_LEN, constant_time_eq};
use crate::types::ids::Ssrc;
use crate::types::srtp_profile::SrtpProfile;

use super::Refused;
use super::keys::{Derivation, Labels, Protocol};

/// Session keys with their schedules.
#[derive(Debug)]
pub(super) enum Cipher {
    /// AES in counter mode and a cut HMAC-SHA1.
    CounterMode(CounterMode),
    /// AES-GCM.
    Aead(Aead),
}

impl Cipher {
    pub(super) fn derive(
        backend: &dyn Backend,
        profile: SrtpProfile,
        derivation: &Derivation,
        labels: &Labels,
    ) -> Result<Cipher, InvalidKey> {
        let counter_mode = |tag_len| -> Result<Cipher, InvalidKey> {
            let aes = Box::new(AesKey::new(derivation.derive::<16>(labels.encryption).as_slice())?);
            // RFC 3711 §5.2: the authentication key has 160 bits.
            let mac = HmacSha1Key::new(derivation.derive::<20>(labels.authentication).as_slice());
            let salt = *derivation.derive::<14>(labels.salt);
            Ok(Cipher::CounterMode(CounterMode { aes, mac, salt: Salt::new(&salt), tag_len }))
        };
        let aead = |algorithm, key: &[u8]| -> Result<Cipher, InvalidKey> {
            let salt = Salt::new(derivation.derive::<12>(labels.salt).as_slice());
            Ok(Cipher::Aead(Aead { key: backend.aead(algorithm, key)?, salt }))
        };
        match profile {
            SrtpProfile::Aes128CmHmacSha1_80 => counter_mode(10),
            // RFC 5764 §4.1.2: the short tag is for RTP only.
            SrtpProfile::Aes128CmHmacSha1_32 => {
                counter_mode(if labels.protocol == Protocol::Rtp { 4 } else { 10 })
            }
            SrtpProfile::AeadAes128Gcm => {
                aead(AeadAlgorithm::Aes128Gcm, derivation.derive::<16>(labels.encryption).as_slice())
            }
            SrtpProfile::AeadAes256Gcm => {
                aead(AeadAlgorithm::Aes256Gcm, derivation.derive::<32>(labels.encryption).as_slice())
            }
        }
    }

    /// AES-GCM with session keys as they are, for vectors that give these.
    #[cfg(test)]
    pub(super) fn aead_of(key: &[u8], salt: &[u8]) -> Cipher {
        let algorithm = if key.len() == 16 { AeadAlgorithm::Aes128Gcm } else { AeadAlgorithm::Aes256Gcm };
        let key =
            crate::crypto::ring().aead(algorithm, key).expect("the vector has a key of the right length");
        Cipher::Aead(Aead { key, salt: Salt::new(salt) })
    }

    /// Bytes that the tag takes.
    pub(super) fn tag_len(&self) -> usize {
        match self {
            Cipher::CounterMode(cipher) => cipher.tag_len,
            Cipher::Aead(_) => TAG_LEN,
        }
    }
}

/// AES in counter mode with HMAC-SHA1 (RFC 3711 §4.1.1, §4.2.1).
#[derive(Debug)]
pub(super) struct CounterMode {
    /// The schedule is large.
    aes: Box<AesKey>,
    mac: HmacSha1Key,
    salt: Salt<BLOCK_LEN>,
    tag_len: usize,
}

impl CounterMode {
    /// Adds the key stream of packet `index`: both encrypts and decrypts.
    pub(super) fn apply(&self, ssrc: Ssrc, index: u64, body: &mut [u8]) {
        // RFC 3711 §4.1.1: salt * 2^16 XOR SSRC * 2^64 XOR index * 2^16.
        let counter = u128::from(ssrc.0) << 64 | u128::from(index) << 16;
        self.aes.apply_counter_mode(&self.salt.xor(counter), body);
    }

    /// The tag of a packet, to be cut to [`Cipher::tag_len`]; `tail` is the roll-over counter for RTP.
    pub(super) fn tag(&self, packet: &[u8], tail: &[u8]) -> [u8; 20] {
        self.mac.sign(&[packet, tail])
    }

    /// Whether `tag` is that of the packet.
    pub(super) fn verify(&self, packet: &[u8], tail: &[u8], tag: &[u8]) -> Result<(), Refused> {
        let full = self.tag(packet, tail);
        let expected = full.get(..self.tag_len).unwrap_or(&full);
        if constant_time_eq(expected, tag) { Ok(()) } else { Err(Refused::Unauthentic) }
    }
}

/// AES-GCM (RFC 7714 §8.1, §9.1).
#[derive(Debug)]
pub(super) struct Aead {
    key: Box<dyn AeadKey>,
    salt: Salt<NONCE_LEN>,
}

impl Aead {
    pub(super) fn seal(&self, ssrc: Ssrc, index: u64, aad: &[u8], body: &mut [u8]) -> [u8; TAG_LEN] {
        self.key.seal_in_place(&self.nonce(ssrc, index), aad, body)
    }

    /// Opens `body`, whose last 16 bytes are the tag.
    pub(super) fn open(&self, ssrc: Ssrc, index: u64, aad: &[u8], body: &mut [u8]) -> Result<(), Refused> {
        let nonce = self.nonce(ssrc, index);
        self.key.open_in_place(&nonce, aad, body).map(|_| ()).map_err(|_| Refused::Unauthentic)
    }

    fn nonce(&self, ssrc: Ssrc, index: u64) -> [u8; NONCE_LEN] {
        // Two zero bytes, SSRC, and 48 bits of index, XORed to the salt.
        self.salt.xor(u128::from(ssrc.0) << 48 | u128::from(index))
    }
}

/// A session salt, at the top of the `N` bytes that it is added to.
struct Salt<const N: usize>(zeroize::Zeroizing<u128>);

impl<const N: usize> Salt<N> {
    fn new(salt: &[u8]) -> Self {
        let mut bytes = zeroize::Zeroizing::new([0; 16]);
        // The number stands in the low `N` bytes; a shorter salt is filled up behind.
        bytes.iter_mut().skip(16 - N).zip(salt).for_each(|(place, byte)| *place = *byte);
        Salt(zeroize::Zeroizing::new(u128::from_be_bytes(*bytes)))
    }

    fn xor(&self, value: u128) -> [u8; N] {
        let bytes = (*self.0 ^ value).to_be_bytes();
        *bytes.last_chunk::<N>().unwrap_or(&[0; N])
    }
}

impl<const N: usize> std::fmt::Debug for Salt<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt(..)")
    }
}
