//! The default back end: *ring*, with its assembly for each processor.

use std::hint::black_box;

use self::native::{Ephemeral, private_key};
pub(super) use self::native::{Native as Ring, aead, ed25519, rsa, signing_key, verify};
use super::hybrid::Portable as MlKem; // *ring* has none.
use super::{CryptoError, KeyExchange, Secret};
use ::ring as library;
use library::agreement;
use library::signature::{EcdsaKeyPair, EcdsaSigningAlgorithm, RsaKeyPair};

#[path = "native.rs"]
mod native;

const NAME: &str = "Ring";

/// *ring* leaves keys in the memory that it gives back.
const WIPES_ITSELF: bool = false;

impl KeyExchange for Ephemeral {
    fn public(&self) -> &[u8] {
        self.public.as_ref()
    }

    fn agree(mut self: Box<Self>, peer: &[u8]) -> Result<Secret, CryptoError> {
        let algorithm = self.private.algorithm();
        // Swapped out and not moved out: the box's memory is then overwritten before it is given back.
        let private = std::mem::replace(&mut self.private, private_key(algorithm)?);
        black_box(&self.private);
        let peer = agreement::UnparsedPublicKey::new(algorithm, peer);
        // RFC 7748 §6.1, RFC 8446 §7.4.2: ring refuses an all-zero X25519 secret, and points that are not on
        // the curve or not uncompressed.
        agreement::agree_ephemeral(private, &peer, Secret::new).map_err(|_| CryptoError::BadKeyShare)
    }
}

fn ecdsa_key(
    algorithm: &'static EcdsaSigningAlgorithm,
    secret: &[u8],
    public: &[u8],
) -> Result<EcdsaKeyPair, CryptoError> {
    EcdsaKeyPair::from_private_key_and_public_key(
        algorithm,
        secret,
        public,
        &library::rand::SystemRandom::new(),
    )
    .map_err(|_| CryptoError::BadPrivateKey)
}

/// Bytes in a signature of this key.
fn modulus_len(key: &RsaKeyPair) -> usize {
    key.public().modulus_len()
}
