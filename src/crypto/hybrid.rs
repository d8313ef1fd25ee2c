//! X25519MLKEM768: a key agreement that holds if either of its halves holds (draft-ietf-tls-ecdhe-mlkem).
//!
//! ```text
//! client's share    ML-KEM-768 encapsulation key (1184) | X25519 (32)
//! server's share    ML-KEM-768 ciphertext        (1088) | X25519 (32)
//! secret            ML-KEM shared key              (32) | X25519 (32)
//! ```
//!
//! ML-KEM (FIPS 203) is the same under both back ends and draws from the given generator; the X25519 half is the
//! back end's own.

use std::fmt;

use ml_kem::ml_kem_768::{DecapsulationKey, EncapsulationKey};
use ml_kem::{Decapsulate as _, Encapsulate as _, KeyExport as _, TryKeyInit as _};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Backend, CryptoError, KeyExchange, NamedGroup, Secret};
use crate::rng::Rng;

/// Bytes of an ML-KEM-768 encapsulation key (FIPS 203 §8, table 3).
const ENCAPSULATION_KEY_LEN: usize = 1184;

/// Bytes of an ML-KEM-768 ciphertext (FIPS 203 §8, table 3).
const CIPHERTEXT_LEN: usize = 1088;

/// The client's side, between its hello and the server's.
struct Client {
    mlkem: DecapsulationKey,
    x25519: Box<dyn KeyExchange>,
    share: Box<[u8]>,
}

/// A client's key and share.
pub(super) fn client(backend: &impl Backend, rng: &mut Rng) -> Result<Box<dyn KeyExchange>, CryptoError> {
    let mut seed = rng.array::<64>();
    let mlkem = DecapsulationKey::from_seed(seed.into());
    seed.zeroize();
    let x25519 = backend.key_exchange(NamedGroup::X25519, rng)?;
    let share = [&mlkem.encapsulation_key().to_bytes()[..], x25519.public()].concat().into_boxed_slice();
    Ok(Box::new(Client { mlkem, x25519, share }))
}

impl KeyExchange for Client {
    fn public(&self) -> &[u8] {
        &self.share
    }

    fn agree(self: Box<Self>, peer: &[u8]) -> Result<Secret, CryptoError> {
        let Client { mlkem, x25519, share: _ } = *self;
        let (ciphertext, point) = peer.split_at_checked(CIPHERTEXT_LEN).ok_or(CryptoError::BadKeyShare)?;
        // FIPS 203 §6.3: a forged ciphertext is no error here; it gives a secret that the forger does not know.
        let shared = mlkem.decapsulate_slice(ciphertext).map_err(|_| CryptoError::BadKeyShare)?;
        let shared = Zeroizing::new(<[u8; 32]>::from(shared));
        Ok(join(&shared, &x25519.agree(point)?))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("X25519MlKem768(..)")
    }
}

/// The server's side: its share and the secret.
pub(super) fn server(
    backend: &(impl Backend + ?Sized),
    client_share: &[u8],
    rng: &mut Rng,
) -> Result<(Vec<u8>, Secret), CryptoError> {
    let (key, point) =
        client_share.split_at_checked(ENCAPSULATION_KEY_LEN).ok_or(CryptoError::BadKeyShare)?;
    // FIPS 203 §7.2: numbers that are not reduced are refused.
    let key = EncapsulationKey::new_from_slice(key).map_err(|_| CryptoError::BadKeyShare)?;
    let (ciphertext, shared) = key.encapsulate_with_rng(rng);
    let shared = Zeroizing::new(<[u8; 32]>::from(shared));
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
