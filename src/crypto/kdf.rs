//! Key derivation: the PRF of TLS 1.2 (RFC 5246 §5), and HKDF (RFC 5869) with the labels of TLS 1.3 and DTLS 1.3
//! (RFC 8446 §7.1, RFC 9147 §5.9).

use zeroize::Zeroizing;

use super::Secret;
use super::hash::{Digest, HashAlgorithm};
use super::mac::HmacKey;

/// What stands before every label in DTLS 1.3 (RFC 9147 §5.9).
pub const DTLS13: &str = "dtls13";

/// What stands before every label in TLS 1.3 (RFC 8446 §7.1); the blank is part of it.
pub const TLS13: &str = "tls13 ";

/// More bytes were asked for than the function can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more key material was asked for than can be derived, or a label is too long")]
pub struct TooLong;

/// The PRF of TLS 1.2 (RFC 5246 §5): fills `out` from the secret, the label and the parts of the seed.
pub fn prf(hash: HashAlgorithm, secret: &[u8], label: &str, seed: &[&[u8]], out: &mut [u8]) {
    let key = HmacKey::new(hash, secret);
    let label_and_seed = || [label.as_bytes()].into_iter().chain(seed.iter().copied());
    // A(0) = label + seed, A(i) = HMAC(A(i-1)), and the output is HMAC(A(i) + label + seed) for i = 1, 2, ...
    let mut a = Zeroizing::new(key.sign_each(label_and_seed()));
    for chunk in out.chunks_mut(hash.output_len()) {
        let block = Zeroizing::new(key.sign_each([&a[..]].into_iter().chain(label_and_seed())));
        chunk.copy_from_slice(&block[..chunk.len()]);
        *a = key.sign(&[&a]);
    }
}

/// HKDF-Extract (RFC 5869 §2.2). A missing salt is one of zeros, which an empty one also is (RFC 2104 §2).
pub fn hkdf_extract(hash: HashAlgorithm, salt: &[u8], input: &[u8]) -> Secret {
    Secret::new(&Zeroizing::new(HmacKey::new(hash, salt).sign(&[input])))
}

/// HKDF-Expand (RFC 5869 §2.3): fills `out`; `info` comes in parts.
///
/// # Errors
/// More than 255 times the hash's length is asked for.
pub fn hkdf_expand(
    hash: HashAlgorithm,
    secret: &[u8],
    info: &[&[u8]],
    out: &mut [u8],
) -> Result<(), TooLong> {
    let key = HmacKey::new(hash, secret);
    if out.len() > 255 * hash.output_len() {
        return Err(TooLong);
    }
    // T(0) is empty, T(i) = HMAC(T(i-1) + info + i), and the output is T(1) + T(2) + ...
    let mut previous = None;
    for (counter, chunk) in (1u8..=255).zip(out.chunks_mut(hash.output_len())) {
        let block = {
            let previous = previous.as_ref().map(|block: &Zeroizing<Digest>| &block[..]);
            let parts = previous.into_iter().chain(info.iter().copied());
            Zeroizing::new(key.sign_each(parts.chain([&[counter][..]])))
        };
        chunk.copy_from_slice(&block[..chunk.len()]);
        previous = Some(block);
    }
    Ok(())
}

/// HKDF-Expand-Label (RFC 8446 §7.1): fills `out`. The prefix is [`TLS13`] or [`DTLS13`].
///
/// # Errors
/// Prefix and label together, or the context, do not fit into 255 bytes, or too much is asked for.
pub fn hkdf_expand_label(
    hash: HashAlgorithm,
    secret: &[u8],
    prefix: &str,
    label: &str,
    context: &[u8],
    out: &mut [u8],
) -> Result<(), TooLong> {
    let length = u16::try_from(out.len()).map_err(|_| TooLong)?.to_be_bytes();
    let label_length = u8::try_from(prefix.len() + label.len()).map_err(|_| TooLong)?;
    let context_length = u8::try_from(context.len()).map_err(|_| TooLong)?;
    let info: [&[u8]; 6] =
        [&length, &[label_length], prefix.as_bytes(), label.as_bytes(), &[context_length], context];
    hkdf_expand(hash, secret, &info, out)
}

/// [`hkdf_expand_label`] into a new secret of one hash's length, which is what most labels ask for. Derive-Secret
/// (RFC 8446 §7.1) is this with the transcript hash as its context.
///
/// # Errors
/// As [`hkdf_expand_label`].
pub fn derive_secret(
    hash: HashAlgorithm,
    secret: &[u8],
    prefix: &str,
    label: &str,
    context: &[u8],
) -> Result<Secret, TooLong> {
    let mut derived = Secret::zeroed(hash.output_len());
    hkdf_expand_label(hash, secret, prefix, label, context, derived.as_mut_bytes())?;
    Ok(derived)
}

#[cfg(test)]
mod tests;
