//! X25519MLKEM768: a key agreement that holds if either of its halves holds (draft-ietf-tls-ecdhe-mlkem).
//!
//! ```text
//! client's share    ML-KEM-768 encapsulation key (1184) | X25519 (32)
//! server's share    ML-KEM-768 ciphertext        (1088) | X25519 (32)
//! secret            ML-KEM shared key              (32) | X25519 (32)
//! ```
//!
//! Both halves are the back end's own. *ring* has no ML-KEM (FIPS 203): there too it is that of pure Rust, which
//! draws from the given generator.

use std::fmt;

use ml_kem::ml_kem_768::{DecapsulationKey, EncapsulationKey};
use ml_kem::{Decapsulate as _, Encapsulate as _, KeyExport as _, TryKeyInit as _};
use zeroize::Zeroizing;

use super::{Backend, CryptoError, KeyExchange, NamedGroup, Secret};
use crate::rng::Rng;

/// Bytes of an ML-KEM-768 encapsulation key (FIPS 203 §8, table 3).
const ENCAPSULATION_KEY_LEN: usize = 1184;

/// Bytes of an ML-KEM-768 ciphertext (FIPS 203 §8, table 3).
const CIPHERTEXT_LEN: usize = 1088;

/// ML-KEM's shared key (FIPS 203 §8, table 3).
pub(super) type Shared = Zeroizing<[u8; 32]>;

/// ML-KEM-768, as some library has it; the value is a private key.
pub(super) trait MlKem: Sized + Send + Sync + 'static {
    /// A fresh key, and its encapsulation key of 1184 bytes.
    ///
    /// # Errors
    /// The system has no randomness.
    fn generate(rng: &mut Rng) -> Result<(Self, Vec<u8>), CryptoError>;

    /// The shared key in a ciphertext. FIPS 203 §6.3: a forged one is no error; it gives a secret that the forger
    /// does not know.
    ///
    /// # Errors
    /// The ciphertext has another length than 1088 bytes.
    fn decapsulate(&self, ciphertext: &[u8]) -> Result<Shared, CryptoError>;

    /// A fresh shared key, and the ciphertext of it for the owner of this encapsulation key.
    ///
    /// # Errors
    /// FIPS 203 §7.2: the key has another length, or numbers that are not reduced.
    fn encapsulate(key: &[u8], rng: &mut Rng) -> Result<(Vec<u8>, Shared), CryptoError>;
}

/// ML-KEM in pure Rust.
pub(super) struct Portable(DecapsulationKey);

impl MlKem for Portable {
    fn generate(rng: &mut Rng) -> Result<(Self, Vec<u8>), CryptoError> {
        let seed = Zeroizing::new(rng.array::<64>());
        let key = DecapsulationKey::from_seed((*seed).into());
        let public = key.encapsulation_key().to_bytes().to_vec();
        Ok((Portable(key), public))
    }

    fn decapsulate(&self, ciphertext: &[u8]) -> Result<Shared, CryptoError> {
        let shared = self.0.decapsulate_slice(ciphertext).map_err(|_| CryptoError::BadKeyShare)?;
        Ok(Zeroizing::new(shared.into()))
    }

    fn encapsulate(key: &[u8], rng: &mut Rng) -> Result<(Vec<u8>, Shared), CryptoError> {
        let key = EncapsulationKey::new_from_slice(key).map_err(|_| CryptoError::BadKeyShare)?;
        let (ciphertext, shared) = key.encapsulate_with_rng(rng);
        Ok((ciphertext.to_vec(), Zeroizing::new(shared.into())))
    }
}

/// The client's side, between its hello and the server's.
struct Client<K> {
    mlkem: K,
    x25519: Box<dyn KeyExchange>,
    share: Box<[u8]>,
}

/// A client's key and share.
pub(super) fn client<K: MlKem>(
    backend: &impl Backend,
    rng: &mut Rng,
) -> Result<Box<dyn KeyExchange>, CryptoError> {
    let (mlkem, key) = K::generate(rng)?;
    let x25519 = backend.key_exchange(NamedGroup::X25519, rng)?;
    let share = [&key[..], x25519.public()].concat().into_boxed_slice();
    Ok(Box::new(Client { mlkem, x25519, share }))
}

impl<K: MlKem> KeyExchange for Client<K> {
    fn public(&self) -> &[u8] {
        &self.share
    }

    fn agree(self: Box<Self>, peer: &[u8]) -> Result<Secret, CryptoError> {
        let Client { mlkem, x25519, share: _ } = *self;
        let (ciphertext, point) = peer.split_at_checked(CIPHERTEXT_LEN).ok_or(CryptoError::BadKeyShare)?;
        let shared = mlkem.decapsulate(ciphertext)?;
        Ok(join(&shared, &x25519.agree(point)?))
    }
}

impl<K> fmt::Debug for Client<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("X25519MlKem768(..)")
    }
}

/// The server's side: its share and the secret.
pub(super) fn server<K: MlKem>(
    backend: &(impl Backend + ?Sized),
    client_share: &[u8],
    rng: &mut Rng,
) -> Result<(Vec<u8>, Secret), CryptoError> {
    let (key, point) =
        client_share.split_at_checked(ENCAPSULATION_KEY_LEN).ok_or(CryptoError::BadKeyShare)?;
    let (ciphertext, shared) = K::encapsulate(key, rng)?;
    let (reply, x25519) = backend.encapsulate(NamedGroup::X25519, point, rng)?;
    Ok(([&ciphertext[..], &reply].concat(), join(&shared, &x25519)))
}

/// ML-KEM's part stands first, though the group's name has it last.
fn join(mlkem: &[u8; 32], x25519: &Secret) -> Secret {
    let mut secret = Secret::zeroed(mlkem.len() + x25519.as_bytes().len());
    let (first, second) = secret.as_mut_bytes().split_at_mut(mlkem.len());
    first.copy_from_slice(mlkem);
    second.copy_from_slice(x25519.as_bytes());
    secret
}
