//! Bits, high to low, for the formats that are packed tighter than bytes.

use super::Malformed;

/// Reads bits from the highest of the first byte on.
#[derive(Debug, Clone, Copy)]
pub struct BitReader<'a> {
    buf: &'a [u8],
    /// Bits read so far.
    at: usize,
    what: &'static str,
}

impl<'a> BitReader<'a> {
    /// Reads `buf`; `what` names the format in [`Malformed`].
    pub fn new(buf: &'a [u8], what: &'static str) -> Self {
        BitReader { buf, at: 0, what }
    }

    /// The next `n` bits, at most 32, as a number.
    pub fn bits(&mut self, n: u32) -> Result<u32, Malformed> {
        debug_assert!(n <= 32, "{n} bits do not fit");
        let mut value = 0u64;
        let mut wanted = n;
        while wanted > 0 {
            let byte = *self.buf.get(self.at / 8).ok_or(Malformed(self.what))?;
            let used = u32::try_from(self.at % 8).unwrap_or(0);
            let step = wanted.min(8 - used);
            let piece = u64::from(byte) >> (8 - used - step) & ((1 << step) - 1);
            value = value << step | piece;
            self.at += usize::try_from(step).unwrap_or(8);
            wanted -= step;
        }
        Ok(u32::try_from(value).unwrap_or(u32::MAX))
    }

    /// The next bit.
    pub fn flag(&mut self) -> Result<bool, Malformed> {
        self.bits(1).map(|bit| bit == 1)
    }

    /// The next `n` bits, at most 8.
    pub fn u8(&mut self, n: u32) -> Result<u8, Malformed> {
        let bits = self.bits(n)?;
        u8::try_from(bits).map_err(|_| Malformed(self.what))
    }

    /// The next `n` bits, at most 16.
    pub fn u16(&mut self, n: u32) -> Result<u16, Malformed> {
        let bits = self.bits(n)?;
        u16::try_from(bits).map_err(|_| Malformed(self.what))
    }

    /// An unsigned Exp-Golomb number, `ue(v)` of H.264 §9.1; refused above 32 bits.
    pub fn exp_golomb(&mut self) -> Result<u32, Malformed> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return Err(Malformed(self.what));
            }
        }
        let rest = self.bits(zeros)?;
        Ok((1u32 << zeros).wrapping_sub(1).wrapping_add(rest))
    }

    /// The error that names this reader's format.
    pub fn malformed(&self) -> Malformed {
        Malformed(self.what)
    }
}

/// Collects bits from the highest of the first byte on, in an array of `N` bytes.
#[derive(Debug, Clone)]
pub struct BitWriter<const N: usize> {
    bytes: [u8; N],
    at: usize,
    overflown: bool,
}

impl<const N: usize> Default for BitWriter<N> {
    fn default() -> Self {
        BitWriter { bytes: [0; N], at: 0, overflown: false }
    }
}

impl<const N: usize> BitWriter<N> {
    /// Appends the low `n` bits of `value`, at most 32.
    pub fn bits(&mut self, n: u32, value: u32) {
        for shift in (0..n).rev() {
            let bit = value.checked_shr(shift).unwrap_or(0) & 1 == 1;
            match self.bytes.get_mut(self.at / 8) {
                Some(byte) if bit => *byte |= 0x80 >> (self.at % 8),
                Some(_) => {}
                None => self.overflown = true,
            }
            self.at += 1;
        }
    }

    /// Appends one bit.
    pub fn flag(&mut self, value: bool) {
        self.bits(1, u32::from(value));
    }

    /// The bytes written, the last one filled up with zeros; `None` when they did not fit.
    pub fn finish(&self) -> Option<&[u8]> {
        if self.overflown {
            return None;
        }
        self.bytes.get(..self.at.div_ceil(8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn exp_golomb_numbers_are_those_of_the_standard() {
        // H.264 table 9-2: 1, 010, 011, 00100, ...
        let mut r = BitReader::new(&[0b1010_0110, 0b0100_0000], "test");
        assert_eq!(
            [r.exp_golomb(), r.exp_golomb(), r.exp_golomb(), r.exp_golomb()],
            [Ok(0), Ok(1), Ok(2), Ok(3)]
        );
        assert!(BitReader::new(&[0; 9], "test").exp_golomb().is_err());
    }

    proptest! {
        #[test]
        fn bits_written_are_read_back(fields in prop::collection::vec((1u32..=32, any::<u32>()), 0..30)) {
            let mut w = BitWriter::<128>::default();
            for (n, value) in &fields {
                w.bits(*n, *value);
            }
            let bytes = w.finish().unwrap();
            let mut r = BitReader::new(bytes, "test");
            for (n, value) in fields {
                let mask = u32::MAX >> (32 - n);
                prop_assert_eq!(r.bits(n), Ok(value & mask));
            }
            prop_assert!(r.bits(8).is_err());
        }
    }
}
