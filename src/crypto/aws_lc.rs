//! The back end of the feature `aws-lc-rs`: AWS-LC, a library in C and assembly.
//!
//! Its Rust interface is *ring*'s, so the code is that of the default back end. It has ML-KEM too, and it wipes
//! every key before it gives the memory back.

use zeroize::Zeroizing;

use self::native::Ephemeral;
pub(super) use self::native::Native as AwsLc;
use super::{CryptoError, KeyExchange, Secret, hybrid};
use crate::rng::Rng;
use ::aws_lc_rs as library;
use library::agreement;
use library::kem::{self, DecapsulationKey, EncapsulationKey, ML_KEM_768};
use library::signature::{EcdsaKeyPair, EcdsaSigningAlgorithm, RsaKeyPair};

#[allow(clippy::duplicate_mod)] // It is: once for each library.
#[path = "native.rs"]
mod native;

const NAME: &str = "AwsLc";

/// All its keys lie on a heap of its own, which overwrites what is freed.
const WIPES_ITSELF: bool = true;

impl KeyExchange for Ephemeral {
    fn public(&self) -> &[u8] {
        self.public.as_ref()
    }

    fn agree(self: Box<Self>, peer: &[u8]) -> Result<Secret, CryptoError> {
        let Ephemeral { private, public } = *self;
        // RFC 8422 §5.4.1: a share is as long as ours, and a point starts with the 4 of uncompressed ones. AWS-LC
        // would take the other forms too, and keys with their algorithm's name around them.
        let is_point = private.algorithm() != &agreement::X25519;
        if peer.len() != public.as_ref().len() || is_point && peer.first() != Some(&4) {
            return Err(CryptoError::BadKeyShare);
        }
        let peer = agreement::UnparsedPublicKey::new(private.algorithm(), peer);
        // RFC 7748 §6.1, RFC 8446 §7.4.2: AWS-LC refuses an all-zero X25519 secret, and points that are not on
        // the curve.
        agreement::agree_ephemeral(private, peer, CryptoError::BadKeyShare, |secret| Ok(Secret::new(secret)))
    }
}

fn ecdsa_key(
    algorithm: &'static EcdsaSigningAlgorithm,
    secret: &[u8],
    public: &[u8],
) -> Result<EcdsaKeyPair, CryptoError> {
    EcdsaKeyPair::from_private_key_and_public_key(algorithm, secret, public)
        .map_err(|_| CryptoError::BadPrivateKey)
}

/// Bytes in a signature of this key.
fn modulus_len(key: &RsaKeyPair) -> usize {
    key.public_modulus_len()
}

/// ML-KEM-768 of AWS-LC, which draws from the operating system.
struct MlKem(DecapsulationKey);

impl hybrid::MlKem for MlKem {
    fn generate(_: &mut Rng) -> Result<(Self, Vec<u8>), CryptoError> {
        let key = DecapsulationKey::generate(&ML_KEM_768).map_err(|_| CryptoError::NoRandomness)?;
        let public = key.encapsulation_key().and_then(|public| public.key_bytes());
        let public = public.map_err(|_| CryptoError::NoRandomness)?;
        Ok((MlKem(key), public.as_ref().to_vec()))
    }

    fn decapsulate(&self, ciphertext: &[u8]) -> Result<hybrid::Shared, CryptoError> {
        shared(self.0.decapsulate(kem::Ciphertext::from(ciphertext)).map_err(|_| CryptoError::BadKeyShare)?)
    }

    fn encapsulate(key: &[u8], _: &mut Rng) -> Result<(Vec<u8>, hybrid::Shared), CryptoError> {
        // FIPS 203 §7.2: numbers that are not reduced are refused, by the one or the other call.
        let key = EncapsulationKey::new(&ML_KEM_768, key).map_err(|_| CryptoError::BadKeyShare)?;
        let (ciphertext, secret) = key.encapsulate().map_err(|_| CryptoError::BadKeyShare)?;
        Ok((ciphertext.as_ref().to_vec(), shared(secret)?))
    }
}

fn shared(secret: kem::SharedSecret) -> Result<hybrid::Shared, CryptoError> {
    // It has 32 bytes (FIPS 203 §8, table 3).
    secret.as_ref().try_into().map(Zeroizing::new).map_err(|_| CryptoError::BadKeyShare)
}
