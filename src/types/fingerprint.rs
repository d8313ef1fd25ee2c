//! Certificate fingerprints (RFC 8122 §5).

use std::fmt::{self, Write as _};
use std::str::FromStr;

/// The hash functions that a fingerprint may be made with here. SHA-1 and older ones are refused (RFC 8122 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FingerprintHash {
    /// SHA-256, 32 bytes; what everyone sends.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl FingerprintHash {
    /// Digest length in bytes.
    pub fn digest_len(self) -> usize {
        match self {
            FingerprintHash::Sha256 => 32,
            FingerprintHash::Sha384 => 48,
            FingerprintHash::Sha512 => 64,
        }
    }

    /// The name as it stands in SDP.
    pub fn name(self) -> &'static str {
        match self {
            FingerprintHash::Sha256 => "sha-256",
            FingerprintHash::Sha384 => "sha-384",
            FingerprintHash::Sha512 => "sha-512",
        }
    }
}

/// The hash of a certificate's DER, with the name of the hash function.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    hash: FingerprintHash,
    /// The digest; bytes behind its length are zero.
    bytes: [u8; 64],
}

impl Fingerprint {
    /// A fingerprint from a digest; `None` when the digest's length is not that of the hash.
    pub fn new(hash: FingerprintHash, digest: &[u8]) -> Option<Self> {
        let mut bytes = [0; 64];
        if digest.len() != hash.digest_len() {
            return None;
        }
        bytes[..digest.len()].copy_from_slice(digest);
        Some(Fingerprint { hash, bytes })
    }

    /// The hash function.
    pub fn hash(&self) -> FingerprintHash {
        self.hash
    }

    /// The digest.
    pub fn digest(&self) -> &[u8] {
        &self.bytes[..self.hash.digest_len()]
    }
}

impl fmt::Display for Fingerprint {
    /// `sha-256 AB:CD:...`, as it stands behind `a=fingerprint:`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        f.write_str(self.hash.name())?;
        // 64 digits pairs at most, each with the separator before it.
        let mut text = [0u8; 64 * 3];
        for (i, byte) in self.digest().iter().enumerate() {
            text[3 * i] = if i == 0 { b' ' } else { b':' };
            text[3 * i + 1] = HEX[usize::from(byte >> 4)];
            text[3 * i + 2] = HEX[usize::from(byte & 15)];
        }
        std::str::from_utf8(&text[..3 * self.hash.digest_len()])
            .map_err(|_| fmt::Error)
            .and_then(|t| f.write_str(t))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(")?;
        fmt::Display::fmt(self, f)?;
        f.write_char(')')
    }
}

/// Why a text is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseFingerprintError {
    /// A hash function that is not accepted; other fingerprints of the same description may be.
    #[error("the hash function is not one of sha-256, sha-384, sha-512")]
    UnknownHash,
    /// Not colon-separated hexadecimal bytes of the right number.
    #[error("the digest is not {0} colon-separated hexadecimal bytes")]
    Digest(usize),
}

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    /// Reads `sha-256 AB:CD:...`; the case of letters does not matter.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, digits) = text.trim().split_once(' ').ok_or(ParseFingerprintError::UnknownHash)?;
        let hash = [FingerprintHash::Sha256, FingerprintHash::Sha384, FingerprintHash::Sha512]
            .into_iter()
            .find(|h| h.name().eq_ignore_ascii_case(name))
            .ok_or(ParseFingerprintError::UnknownHash)?;
        let wrong = ParseFingerprintError::Digest(hash.digest_len());
        let digits = digits.trim().as_bytes();
        if digits.len() != 3 * hash.digest_len() - 1 {
            return Err(wrong);
        }
        let hex = |b: u8| char::from(b).to_digit(16).map(|d| d as u8).ok_or(wrong);
        let mut bytes = [0; 64];
        for (byte, chunk) in bytes.iter_mut().zip(digits.chunks(3)) {
            match *chunk {
                [high, low] | [high, low, b':'] => *byte = hex(high)? << 4 | hex(low)?,
                _ => return Err(wrong),
            }
        }
        Ok(Fingerprint { hash, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parse_undoes_print(digest: [u8; 32], long: [u8; 32]) {
            for (hash, bytes) in [
                (FingerprintHash::Sha256, digest.to_vec()),
                (FingerprintHash::Sha512, [digest, long].concat()),
            ] {
                let fingerprint = Fingerprint::new(hash, &bytes).unwrap();
                let text = fingerprint.to_string();
                prop_assert_eq!(text.parse(), Ok(fingerprint));
                prop_assert_eq!(text.to_ascii_lowercase().parse(), Ok(fingerprint));
            }
        }
    }

    #[test]
    fn odd_fingerprints_are_refused() {
        let good = Fingerprint::new(FingerprintHash::Sha256, &[0xab; 32]).unwrap().to_string();
        assert_eq!("sha-1 00:11".parse::<Fingerprint>(), Err(ParseFingerprintError::UnknownHash));
        assert_eq!(good[..good.len() - 1].parse::<Fingerprint>(), Err(ParseFingerprintError::Digest(32)));
        assert_eq!(good.replace(':', ";").parse::<Fingerprint>(), Err(ParseFingerprintError::Digest(32)));
        assert!("".parse::<Fingerprint>().is_err());
    }
}
