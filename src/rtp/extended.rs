//! Sequence numbers and media times without wraps (RFC 3550 §6.4.1, appendix A.1).
//!
//! Each number from the wire is read as the one nearest to the highest so far. The first number of a stream
//! lies in cycle 1, not 0, so that packets from before it have a place, too.

use crate::wire::serial::{Serial16, Serial32};

macro_rules! extended {
    ($(#[$doc:meta])* $name:ident, $serial:ident, $bits:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $name {
            highest: Option<u64>,
        }

        impl $name {
            /// One turn of the number on the wire.
            pub const CYCLE: u64 = 1 << $bits;

            /// A stream of which nothing was seen.
            pub const fn new() -> Self {
                $name { highest: None }
            }

            /// The long form of `short`, which is not remembered. Half a cycle away counts as behind.
            pub fn estimate(&self, short: $serial) -> u64 {
                let Some(highest) = self.highest else { return Self::CYCLE + u64::from(short.0) };
                // The low bits of the highest number are what was on the wire.
                let last = $serial(low_bits(highest));
                let steps = i64::from(last.distance_to(short));
                highest.checked_add_signed(steps).unwrap_or_else(|| u64::from(short.0))
            }

            /// Remembers `long` when it is higher than what was seen.
            pub fn advance(&mut self, long: u64) {
                self.highest = Some(self.highest.map_or(long, |highest| highest.max(long)));
            }

            /// The long form of `short`, which is remembered.
            pub fn extend(&mut self, short: $serial) -> u64 {
                let long = self.estimate(short);
                self.advance(long);
                long
            }

            /// The highest long number so far.
            pub fn highest(&self) -> Option<u64> {
                self.highest
            }
        }
    };
}

extended! {
    /// Long sequence numbers of one stream.
    ExtendedSequence, Serial16, 16
}
extended! {
    /// Long media times of one stream.
    ExtendedTime, Serial32, 32
}

fn low_bits<T: TryFrom<u64> + Default>(value: u64) -> T {
    let bits = 8 * u32::try_from(size_of::<T>()).unwrap_or(8);
    let mask = 1u64.checked_shl(bits).map_or(u64::MAX, |one| one - 1);
    T::try_from(value & mask).unwrap_or_default()
}

/// The sequence number that a long one has on the wire.
pub fn short_sequence(long: u64) -> Serial16 {
    Serial16(low_bits(long))
}

/// The time stamp that a long one has on the wire.
pub fn short_time(long: u64) -> Serial32 {
    Serial32(low_bits(long))
}

/// The number for a reception report: cycles counted from 0, and the sequence number (RFC 3550 §6.4.1).
pub fn report_sequence(long: u64) -> u32 {
    low_bits(long.wrapping_sub(ExtendedSequence::CYCLE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_go_on_across_the_wrap_in_both_directions() {
        let mut sequence = ExtendedSequence::new();
        assert_eq!(sequence.extend(Serial16(1)), 65_537);
        assert_eq!(sequence.extend(Serial16(0xffff)), 65_535);
        assert_eq!(sequence.highest(), Some(65_537));
        assert_eq!(sequence.extend(Serial16(0x7fff)), 65_536 + 0x7fff);
        assert_eq!(sequence.extend(Serial16(0xfffe)), 65_536 + 0xfffe);
        assert_eq!(sequence.extend(Serial16(3)), 2 * 65_536 + 3);
        assert_eq!(report_sequence(2 * 65_536 + 3), 0x0001_0003);
        assert_eq!(short_sequence(2 * 65_536 + 3), Serial16(3));
    }

    #[test]
    fn an_estimate_is_not_remembered() {
        let mut time = ExtendedTime::new();
        time.extend(Serial32(u32::MAX));
        assert_eq!(time.estimate(Serial32(9)), (2 << 32) + 9);
        assert_eq!(time.highest(), Some((1 << 32) + u64::from(u32::MAX)));
    }

    proptest! {
        #[test]
        fn steps_below_half_a_cycle_are_followed(start: u16, steps in prop::collection::vec(-300i64..30_000, 1..50)) {
            let mut sequence = ExtendedSequence::new();
            let mut long = sequence.extend(Serial16(start));
            for step in steps {
                let next = sequence.highest().unwrap().checked_add_signed(step).unwrap();
                long = long.max(next);
                prop_assert_eq!(sequence.extend(short_sequence(next)), next);
                prop_assert_eq!(sequence.highest(), Some(long));
            }
        }
    }
}
