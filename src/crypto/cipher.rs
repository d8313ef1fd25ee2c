//! Bare AES: counter mode for SRTP (RFC 3711 §4.1.1), and the masks that hide DTLS 1.3 record numbers (RFC 9147
//! §4.2.3).

use std::fmt;
use std::hint::black_box;

use aes::cipher::{
    BlockCipherEncrypt as _, InnerIvInit as _, KeyInit as _, StreamCipher as _, StreamCipherCoreWrapper,
};
use aes::{Aes128Enc, Aes256Enc};
use ctr::CtrCore;
use ctr::flavors::Ctr128BE;
use ring::aead::quic;

use super::{AeadAlgorithm, InvalidKey};

/// Bytes in an AES block.
pub const BLOCK_LEN: usize = 16;

/// A prepared AES key for the modes that only encrypt blocks.
///
/// The schedule is made once and wiped when dropped. It is large (up to a kilobyte, for the room that a processor
/// without AES instructions needs), so make one only when there is something to encrypt.
pub struct AesKey(Schedule);

enum Schedule {
    Aes128(Aes128Enc),
    Aes256(Aes256Enc),
}

impl AesKey {
    /// Prepares a key of 16 or 32 bytes.
    ///
    /// # Errors
    /// Any other length.
    pub fn new(key: &[u8]) -> Result<Self, InvalidKey> {
        let schedule = match key.len() {
            16 => Schedule::Aes128(Aes128Enc::new_from_slice(key).map_err(|_| InvalidKey)?),
            32 => Schedule::Aes256(Aes256Enc::new_from_slice(key).map_err(|_| InvalidKey)?),
            _ => return Err(InvalidKey),
        };
        Ok(AesKey(schedule))
    }

    /// Adds the key stream that starts at the counter block `iv` (NIST SP 800-38A §6.5, RFC 3711 §4.1.1); the
    /// same call encrypts and decrypts. Allocates nothing.
    pub fn apply_counter_mode(&self, iv: &[u8; BLOCK_LEN], data: &mut [u8]) {
        // The schedule is borrowed, not copied. The counter has 128 bits, so the key stream never runs out.
        match &self.0 {
            Schedule::Aes128(key) => {
                let core = CtrCore::<_, Ctr128BE>::inner_iv_init(key, iv.into());
                StreamCipherCoreWrapper::from_core(core).apply_keystream(data);
            }
            Schedule::Aes256(key) => {
                let core = CtrCore::<_, Ctr128BE>::inner_iv_init(key, iv.into());
                StreamCipherCoreWrapper::from_core(core).apply_keystream(data);
            }
        }
    }

    /// Encrypts one block (ECB).
    pub fn encrypt_block(&self, block: &mut [u8; BLOCK_LEN]) {
        match &self.0 {
            Schedule::Aes128(key) => key.encrypt_block(block.into()),
            Schedule::Aes256(key) => key.encrypt_block(block.into()),
        }
    }
}

impl fmt::Debug for AesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AesKey(..)")
    }
}

/// A key that hides record numbers (RFC 9147 §4.2.3), of the kind that fits the record's AEAD.
///
/// The mask is that of QUIC (RFC 9001 §5.4): one AES block of the sample, or one ChaCha20 block whose counter and
/// nonce are the sample.
pub struct RecordNumberKey(quic::HeaderProtectionKey);

impl RecordNumberKey {
    /// Prepares `key`, which is as long as the AEAD's.
    ///
    /// # Errors
    /// Any other length.
    pub fn new(algorithm: AeadAlgorithm, key: &[u8]) -> Result<Self, InvalidKey> {
        let algorithm = match algorithm {
            AeadAlgorithm::Aes128Gcm => &quic::AES_128,
            AeadAlgorithm::Aes256Gcm => &quic::AES_256,
            AeadAlgorithm::ChaCha20Poly1305 => &quic::CHACHA20,
        };
        Ok(RecordNumberKey(quic::HeaderProtectionKey::new(algorithm, key).map_err(|_| InvalidKey)?))
    }

    /// The two bytes to add to a record number, from the first 16 bytes of the record's ciphertext. A number of
    /// eight bits takes the first.
    pub fn mask(&self, sample: &[u8; BLOCK_LEN]) -> [u8; 2] {
        // A sample of this length is what all three algorithms take.
        let [first, second, ..] = self.0.new_mask(sample).expect("the sample has the algorithm's length");
        [first, second]
    }
}

impl Drop for RecordNumberKey {
    fn drop(&mut self) {
        // ring cannot wipe; the schedule of a key of zeros takes the place of the true one.
        let algorithm = self.0.algorithm();
        if let Ok(zeros) = quic::HeaderProtectionKey::new(algorithm, &[0; 32][..algorithm.key_len()]) {
            self.0 = zeros;
        }
        black_box(&self.0);
    }
}

impl fmt::Debug for RecordNumberKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordNumberKey(..)")
    }
}
