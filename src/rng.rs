//! The seeded generator: the only source of randomness in the core.
//!
//! One seed is given to [`Rtc::new`](crate::Rtc::new). Each room draws from its own stream of it, so that one
//! room drawing more or less does not change what another sees.

use rand::Rng as _;
use rand::SeedableRng as _;
use rand::rngs::ChaCha20Rng;
use zeroize::Zeroizing;

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

/// A ChaCha20 generator: its key, and how far it has come. The blocks are made anew for each draw. Draws are few and
/// far between, and a connection that keeps several generators should not keep four blocks of each.
pub struct Rng {
    key: Zeroizing<[u8; 32]>,
    stream: Stream,
    /// Words of 32 bits that were drawn.
    drawn: u64,
}

impl Rng {
    /// The generator of one room, from the connection's seed.
    pub fn new(seed: [u8; 32], stream: Stream) -> Self {
        Rng { key: Zeroizing::new(seed), stream, drawn: 0 }
    }

    /// A generator of its own, for a machine that there may be any number of.
    pub fn fork(&mut self) -> Rng {
        Rng { key: Zeroizing::new(self.array()), stream: self.stream, drawn: 0 }
    }

    /// The next 32 bits.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// The next 64 bits.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// `N` random bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        let mut blocks = ChaCha20Rng::from_seed(*self.key);
        blocks.set_stream(self.stream as u64);
        blocks.set_word_pos(u128::from(self.drawn));
        blocks.fill_bytes(bytes);
        self.drawn += bytes.len().div_ceil(4) as u64;
    }

    /// A number in `0..bound`; 0 when `bound` is 0. The bias is below `bound / 2^64`.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.u64()) * u128::from(bound)) >> 64) as u64
    }

    /// `n` random `ice-char`s: letters, digits, `+` and `/` (RFC 8839 §5.4), six bits each.
    pub fn ice_chars(&mut self, n: usize) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut words = vec![0; 4 * n];
        self.fill(&mut words);
        words.iter().step_by(4).map(|byte| char::from(ALPHABET[usize::from(byte % 64)])).collect()
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
        Ok(self.u32())
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(self.u64())
    }
    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Self::Error> {
        self.fill(dst);
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
    fn draws_go_on_where_the_last_one_ended() {
        let mut blocks = ChaCha20Rng::from_seed([9; 32]);
        blocks.set_stream(Stream::Ice as u64);
        let mut rng = Rng::new([9; 32], Stream::Ice);
        for len in [4, 8, 12, 64, 256, 300, 4] {
            let mut expected = vec![0; len];
            blocks.fill_bytes(&mut expected);
            let mut drawn = vec![0; len];
            rng.fill(&mut drawn);
            assert_eq!(drawn, expected);
        }
        assert!(size_of::<Rng>() <= 48);
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
