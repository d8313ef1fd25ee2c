//! A fast, order-sensitive hash of everything that crossed the network. Not cryptographic: it finds differences,
//! it does not resist an attacker.

/// The running hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(u64, u64);

impl Digest {
    /// The hash of nothing.
    pub const fn new() -> Self {
        Digest(0xcbf2_9ce4_8422_2325, 0x8422_2325_cbf2_9ce4)
    }

    /// Adds a number.
    pub fn number(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        self.1 = self.1.rotate_left(17).wrapping_add(word).wrapping_mul(0xff51_afd7_ed55_8ccd) ^ self.0;
    }

    /// Adds bytes and their number.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.number(u64::from_le_bytes(word));
        }
    }

    /// Adds anything that prints the same when it is the same, such as an address or an event.
    pub fn debug(&mut self, value: &impl std::fmt::Debug) {
        use std::fmt::Write as _;
        struct Sink<'a>(&'a mut Digest);
        impl std::fmt::Write for Sink<'_> {
            fn write_str(&mut self, text: &str) -> std::fmt::Result {
                self.0.bytes(text.as_bytes());
                Ok(())
            }
        }
        let _ = write!(Sink(self), "{value:?}");
    }
}

impl Default for Digest {
    fn default() -> Self {
        Digest::new()
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}{:016x}", self.0, self.1)
    }
}
