//! What all back ends must do, run over each; and the published vectors of the shared parts.

mod aead;
mod agreement;
mod bare_aes;
mod hashes;
mod secrets;
mod signatures;

use super::hash::HashAlgorithm;
use super::key::Encoding;
use super::*;
use crate::rng::Stream;

/// Bytes from hexadecimal digits.
pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

pub(super) fn rng() -> Rng {
    Rng::new([7; 32], Stream::Dtls)
}

const AEADS: [AeadAlgorithm; 3] =
    [AeadAlgorithm::Aes128Gcm, AeadAlgorithm::Aes256Gcm, AeadAlgorithm::ChaCha20Poly1305];

/// A private key from its scalar, as a SEC1 key without the optional parts but the curve (RFC 5915 §3).
fn ecdsa_key(oid: &str, scalar: &[u8]) -> PrivateKey {
    let oid = hex(oid);
    let curve = [&[0xa0, oid.len() as u8 + 2, 6, oid.len() as u8], &oid[..]].concat();
    let inner = [&[2, 1, 1, 4, scalar.len() as u8], scalar, &curve].concat();
    PrivateKey::from_der(Encoding::Sec1, &[&[0x30, inner.len() as u8], &inner[..]].concat()).unwrap()
}

const P256_OID: &str = "2a8648ce3d030107";
const P384_OID: &str = "2b81040022";
