//! The seeded generator: the only source of randomness in the core.
//!
//! One seed is given to [`Rtc::new`](crate::Rtc::new). Each room draws from its own stream of it, so that one
//! room drawing more or less does not change what another sees.

use rand::Rng as _;
use rand::SeedableRng as _;
use rand::rngs::ChaCha20Rng;

/// Who draws. Each label is a ChaCha stream of its own under the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Stream {
    /// Whatever the session itself needs.
    Session = 1,
    /// ICE credentials, tie-breakers and transaction ids.
    Ice = 2,
    /// DTLS randoms, key shares and signatures.
    Dtls = 3,
    /// SCTP tags, initial TSNs and cookie keys.
    Sctp = 4,
    /// SSRCs, initial RTP sequence numbers and report jitter.
    Rtp = 5,
    /// TURN transaction ids.
    Turn = 6,
    /// The certificate, when it is made from the seed.
    Certificate = 7,
    /// mDNS names and response delays.
    Mdns = 8,
    /// Keys of hash maps.
    Maps = 9,
}

/// A ChaCha20 generator.
pub struct Rng(ChaCha20Rng);

impl Rng {
    /// The generator of one room, from the connection's seed.
    pub fn new(seed: [u8; 32], stream: Stream) -> Self {
        let mut inner = ChaCha20Rng::from_seed(seed);
        inner.set_stream(stream as u64);
        Rng(inner)
    }

    /// The next 32 bits.
    pub fn u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// The next 64 bits.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// `N` random bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// A number in `0..bound`; 0 when `bound` is 0. The bias is below `bound / 2^64`.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// `n` random `ice-char`s: letters, digits, `+` and `/` (RFC 8839 §5.4), six bits each.
    pub fn ice_chars(&mut self, n: usize) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        (0..n).map(|_| char::from(ALPHABET[(self.0.next_u32() % 64) as usize])).collect()
    }
}

impl std::fmt::Debug for Rng {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rng(..)")
    }
}

impl rand::TryRng for Rng {
    type Error = std::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(self.0.next_u32())
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(self.0.next_u64())
    }
    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Self::Error> {
        self.0.fill_bytes(dst);
        Ok(())
    }
}

impl rand::TryCryptoRng for Rng {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        let draw = |stream| Rng::new([7; 32], stream).array::<32>();
        assert_eq!(draw(Stream::Ice), draw(Stream::Ice));
        assert_ne!(draw(Stream::Ice), draw(Stream::Dtls));
    }

    #[test]
    fn below_stays_below() {
        let mut rng = Rng::new([1; 32], Stream::Session);
        assert!((0..1000).all(|_| rng.below(10) < 10));
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn ice_chars_are_ice_chars() {
        let text = Rng::new([2; 32], Stream::Ice).ice_chars(1000);
        assert_eq!(text.len(), 1000);
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/'));
    }
}
