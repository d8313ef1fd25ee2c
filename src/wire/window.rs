//! The sliding replay window (RFC 6347 §4.1.2.6, RFC 3711 §3.3.2).
//!
//! Asking and marking are two steps, because only an authenticated packet may move the window.

/// Remembers which of the last `64 * WORDS` sequence numbers were seen.
#[derive(Debug, Clone)]
pub struct ReplayWindow<const WORDS: usize> {
    /// The number behind the highest one seen; 0 before the first.
    next: u64,
    /// A ring of bits: number `n` is bit `n mod (64 * WORDS)`.
    seen: [u64; WORDS],
}

impl<const WORDS: usize> Default for ReplayWindow<WORDS> {
    fn default() -> Self {
        ReplayWindow { next: 0, seen: [0; WORDS] }
    }
}

impl<const WORDS: usize> ReplayWindow<WORDS> {
    const WIDTH: u64 = 64 * WORDS as u64;

    /// Whether `number` is new: neither seen nor older than the window.
    pub fn is_fresh(&self, number: u64) -> bool {
        if number >= self.next {
            return true;
        }
        if self.next - number > Self::WIDTH {
            return false;
        }
        let (word, bit) = Self::place(number);
        self.seen[word] & bit == 0
    }

    /// Marks `number` as seen. Call it only once the packet is authentic.
    pub fn mark(&mut self, number: u64) {
        if number >= self.next {
            self.clear(self.next, number - self.next);
            self.next = number.saturating_add(1);
        } else if self.next - number > Self::WIDTH {
            return;
        }
        let (word, bit) = Self::place(number);
        self.seen[word] |= bit;
    }

    /// The highest number seen, if any.
    pub fn highest(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    /// Forgets the numbers that `count` new ones, starting with `from`, take the places of.
    fn clear(&mut self, from: u64, count: u64) {
        if count >= Self::WIDTH {
            self.seen = [0; WORDS];
            return;
        }
        for number in from..=from + count {
            let (word, bit) = Self::place(number);
            self.seen[word] &= !bit;
        }
    }

    fn place(number: u64) -> (usize, u64) {
        let at = number % Self::WIDTH;
        // At most 64 * WORDS, which is a usize.
        ((at / 64) as usize, 1 << (at % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_number_is_fresh_once() {
        let mut window = ReplayWindow::<2>::default();
        assert_eq!(window.highest(), None);
        assert!(window.is_fresh(5));
        window.mark(5);
        assert!(!window.is_fresh(5));
        assert!(window.is_fresh(4));
        assert_eq!(window.highest(), Some(5));
    }

    #[test]
    fn numbers_behind_the_window_are_not_fresh() {
        let mut window = ReplayWindow::<1>::default();
        window.mark(1000);
        assert!(window.is_fresh(1000 - 63));
        assert!(!window.is_fresh(1000 - 64));
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(numbers in prop::collection::vec(0u64..400, 1..300)) {
            let mut window = ReplayWindow::<2>::default();
            let mut set = BTreeSet::new();
            for n in numbers {
                let highest = set.last().copied().unwrap_or(0);
                let expected = !set.contains(&n) && (n >= highest || highest - n < 128);
                prop_assert_eq!(window.is_fresh(n), expected);
                if expected {
                    window.mark(n);
                    set.insert(n);
                }
            }
        }
    }
}
