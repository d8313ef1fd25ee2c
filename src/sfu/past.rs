//! What was decided about earlier packets, so that late ones get the numbers that were left for them.
//!
//! Packets that follow one another without one being dropped in between form a run: all of them have the same
//! distance between the sequence number they came with and the one they leave with. What lies between runs was
//! dropped.
//!
//! ```text
//!  in   10 11 12 13 14 15 16 17 18        12 and 13 dropped, 16 missing
//!  out  50 51       52 53 54 55 56        runs: 10..12 -> 50, 14..19 -> 52; 16 may still come as 54
//! ```

use std::collections::VecDeque;

/// Runs that are remembered at most: with every second picture dropped, four seconds of video.
const MAX_RUNS: usize = 128;

/// Which layers a run holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Limits {
    pub(super) spatial: u8,
    pub(super) temporal: u8,
    /// The decode target, when a dependency descriptor tells of them.
    pub(super) target: u8,
    /// The structure that the decode target is of.
    pub(super) epoch: u32,
}

/// What is added to the numbers of a packet, each modulo its width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Offsets {
    pub(super) time: u32,
    pub(super) picture: u16,
    pub(super) tl0: u8,
    pub(super) frame: u16,
}

/// Packets with the same distance between their numbers here and there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) encoding: u8,
    /// The first number here.
    pub(super) first: u64,
    /// The number behind the last one here.
    pub(super) end: u64,
    /// The first number there.
    pub(super) out: u64,
    pub(super) limits: Limits,
    /// The time stamp of a picture whose first packets may be missing at the end of the run, and which layers are
    /// forwarded from that picture on.
    pub(super) turn: Option<(u32, Limits)>,
    pub(super) offsets: Offsets,
}

impl Run {
    /// Which layers of the picture with this time stamp the run has places for.
    pub(super) fn limits_of(&self, timestamp: u32) -> Limits {
        self.turn.filter(|(turn, _)| *turn == timestamp).map_or(self.limits, |(_, limits)| limits)
    }

    /// The number there of packet `sequence`, which is in the run.
    pub(super) fn map(&self, sequence: u64) -> u64 {
        self.out.wrapping_add(sequence.wrapping_sub(self.first))
    }
}

/// The runs so far, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Past {
    runs: VecDeque<Run>,
}

impl Past {
    /// The run that may still grow: the last one.
    pub(super) fn last_mut(&mut self) -> Option<&mut Run> {
        self.runs.back_mut()
    }

    /// Starts a run. The oldest one is forgotten when there are too many.
    pub(super) fn push(&mut self, run: Run) {
        if self.runs.len() == MAX_RUNS {
            self.runs.pop_front();
        }
        self.runs.push_back(run);
    }

    /// Forgets the runs of an encoding whose numbers start anew.
    pub(super) fn forget(&mut self, encoding: u8) {
        self.runs.retain(|run| run.encoding != encoding);
    }

    /// The run that holds packet `sequence` of `encoding`.
    pub(super) fn find(&self, encoding: u8, sequence: u64) -> Option<&Run> {
        let of_encoding = self.runs.iter().rev().filter(|run| run.encoding == encoding);
        let mut candidates = of_encoding.skip_while(|run| sequence < run.first);
        candidates.next().filter(|run| sequence < run.end)
    }
}

/// Which of the last 128 numbers were forwarded. The numbers wrap at `mask + 1`, a power of two.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sent {
    highest: u16,
    /// Bit `n` is set when `highest - n` was.
    bits: u128,
}

impl Sent {
    pub(super) fn clear(&mut self) {
        self.bits = 0;
    }

    pub(super) fn mark(&mut self, number: u16, mask: u16) {
        let ahead = number.wrapping_sub(self.highest) & mask;
        if self.bits == 0 || (1..=mask / 2).contains(&ahead) {
            self.bits = self.bits.checked_shl(u32::from(ahead)).unwrap_or(0) | 1;
            self.highest = number;
        } else if let Some(bit) = 1u128.checked_shl(u32::from(ahead.wrapping_neg() & mask)) {
            self.bits |= bit;
        }
    }

    pub(super) fn has(&self, number: u16, mask: u16) -> bool {
        let behind = self.highest.wrapping_sub(number) & mask;
        self.bits.checked_shr(u32::from(behind)).unwrap_or(0) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(encoding: u8, first: u64, end: u64, out: u64) -> Run {
        let (limits, offsets) = Default::default();
        Run { encoding, first, end, out, limits, turn: None, offsets }
    }

    #[test]
    fn late_packets_are_found_in_their_run_and_between_runs_is_nothing() {
        let mut past = Past::default();
        past.push(run(0, 10, 12, 50));
        past.push(run(0, 14, 19, 52));
        past.push(run(1, 100, 105, 57));
        assert_eq!(past.find(0, 16).map(|run| run.map(16)), Some(54));
        assert_eq!(past.find(0, 11).map(|run| run.map(11)), Some(51));
        assert_eq!(past.find(1, 104).map(|run| run.map(104)), Some(61));
        for (encoding, sequence) in [(0, 9), (0, 12), (0, 13), (0, 19), (0, 104), (1, 99), (1, 105), (2, 10)]
        {
            assert!(past.find(encoding, sequence).is_none(), "{encoding} {sequence}");
        }
    }

    #[test]
    fn the_past_is_bounded() {
        let mut past = Past::default();
        for n in 0..10_000 {
            past.push(run(0, 2 * n, 2 * n + 1, n));
        }
        assert_eq!(past.runs.len(), MAX_RUNS);
        assert!(past.find(0, 0).is_none());
        assert_eq!(past.find(0, 19_998).map(|run| run.map(19_998)), Some(9_999));
    }

    #[test]
    fn sent_numbers_are_remembered_across_the_wrap() {
        for mask in [0xffff, 0x7fff] {
            let mut sent = Sent::default();
            assert!(!sent.has(0, mask));
            sent.mark(0xfffe & mask, mask);
            sent.mark(1, mask);
            sent.mark(mask, mask);
            for (number, expected) in [(mask - 1, true), (mask, true), (0, false), (1, true), (2, false)] {
                assert_eq!(sent.has(number, mask), expected, "{number}");
            }
            sent.mark(1 + 127, mask);
            assert!(sent.has(1, mask) && !sent.has(mask, mask));
            sent.mark(1 + 128, mask);
            assert!(!sent.has(1, mask));
            sent.mark(5000, mask);
            assert!(sent.has(5000, mask) && !sent.has(129, mask));
        }
    }
}
