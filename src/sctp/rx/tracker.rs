//! Which TSNs have arrived, and when to say so (RFC 9260 §6.2).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::time::Timer;
use crate::wire::serial::Serial32;

/// Ranges behind gaps that are remembered. What would open one more is dropped, and sent again by the peer.
const MAX_RANGES: usize = 2048;

/// Duplicates reported in one SACK; RFC 9260 §3.3.4 asks for reporting, not for all of them.
const MAX_DUPLICATES: usize = 16;

/// What is to become of a DATA chunk, by its TSN alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The next one in order, or one that fills a gap.
    Fills,
    /// Beyond everything that has arrived.
    Extends,
    /// Seen before.
    Duplicate,
    /// So far ahead that a SACK could not name it, or one range too many.
    OutOfReach,
}

/// The cumulative TSN, the ranges behind the gaps, and the SACK that is owed.
#[derive(Debug)]
pub(crate) struct Tracker {
    cumulative: Serial32,
    /// Ranges that arrived behind a gap, first and last TSN of each, in order, never touching.
    ranges: VecDeque<(Serial32, Serial32)>,
    duplicates: Vec<Serial32>,
    /// Packets with DATA since the last SACK.
    packets: u32,
    owed: Owed,
    delay: Timer,
    /// How long a lone packet waits for a second one.
    ack_delay: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owed {
    Nothing,
    /// A SACK follows when the timer fires, unless a second packet comes first.
    Later,
    Now,
}

impl Tracker {
    /// Before the peer's INIT is known.
    pub(crate) fn new(ack_delay: Duration) -> Self {
        Tracker {
            cumulative: Serial32(0),
            ranges: VecDeque::new(),
            duplicates: Vec::new(),
            packets: 0,
            owed: Owed::Nothing,
            delay: Timer::new(),
            ack_delay,
        }
    }

    /// The peer's first TSN will be `initial`.
    pub(crate) fn start(&mut self, initial: Serial32) {
        *self = Tracker { cumulative: initial.previous(), ..Tracker::new(self.ack_delay) };
    }

    /// The last TSN up to which everything arrived.
    pub(crate) fn cumulative(&self) -> Serial32 {
        self.cumulative
    }

    /// Whether something is missing before something that arrived.
    pub(crate) fn has_gap(&self) -> bool {
        !self.ranges.is_empty()
    }

    /// What `tsn` means, without noting it.
    pub(crate) fn verdict(&self, tsn: Serial32) -> Verdict {
        let distance = self.cumulative.distance_to(tsn);
        if distance == 1 {
            return if self.ranges.is_empty() { Verdict::Extends } else { Verdict::Fills };
        }
        if distance <= 0 {
            return Verdict::Duplicate;
        }
        // RFC 9260 §3.3.4: a gap block counts from the cumulative TSN in 16 bits.
        if distance > i32::from(u16::MAX) {
            return Verdict::OutOfReach;
        }
        let at = self.range_behind(tsn);
        let joins_previous = match at.checked_sub(1).and_then(|i| self.ranges.get(i)) {
            Some(&(_, last)) if !last.is_before(tsn) => return Verdict::Duplicate,
            Some(&(_, last)) => last.next() == tsn,
            None => false,
        };
        if !joins_previous && self.ranges.len() >= MAX_RANGES {
            return Verdict::OutOfReach;
        }
        if at == self.ranges.len() { Verdict::Extends } else { Verdict::Fills }
    }

    /// Notes that `tsn` arrived and was kept; its [`verdict`](Self::verdict) was [`Verdict::Fills`] or
    /// [`Verdict::Extends`].
    pub(crate) fn mark(&mut self, tsn: Serial32) {
        if tsn == self.cumulative.next() {
            self.cumulative = tsn;
            self.absorb();
            return;
        }
        let at = self.range_behind(tsn);
        let joins_next = self.ranges.get(at).is_some_and(|&(first, _)| first == tsn.next());
        let previous = at.checked_sub(1).and_then(|i| self.ranges.get_mut(i));
        match previous {
            Some((_, last)) if last.next() == tsn => {
                *last = tsn;
                if joins_next && let Some((_, end)) = self.ranges.remove(at) {
                    self.ranges[at - 1].1 = end;
                }
            }
            _ if joins_next => self.ranges[at].0 = tsn,
            _ => self.ranges.insert(at, (tsn, tsn)),
        }
    }

    /// Notes a duplicate: it is reported, and at once (RFC 9260 §6.2).
    pub(crate) fn mark_duplicate(&mut self, tsn: Serial32) {
        if self.duplicates.len() < MAX_DUPLICATES {
            self.duplicates.push(tsn);
        }
        self.owed = Owed::Now;
    }

    /// RFC 3758 §3.6: the peer gave up on everything up to `tsn`.
    pub(crate) fn skip_to(&mut self, tsn: Serial32) {
        if self.cumulative.is_before(tsn) {
            self.cumulative = tsn;
            while self.ranges.front().is_some_and(|&(_, last)| !last.is_after(tsn)) {
                self.ranges.pop_front();
            }
            if let Some((first, _)) = self.ranges.front_mut()
                && !first.is_after(tsn)
            {
                *first = tsn.next();
            }
            self.absorb();
        }
        self.owed = Owed::Now;
    }

    /// Moves the cumulative TSN over the first range when the gap before it is closed.
    fn absorb(&mut self) {
        if let Some(&(first, last)) = self.ranges.front()
            && first == self.cumulative.next()
        {
            self.cumulative = last;
            self.ranges.pop_front();
            if self.ranges.is_empty() && self.ranges.capacity() > 64 {
                self.ranges = VecDeque::new();
            }
        }
    }

    /// Index of the first range that begins behind `tsn`.
    fn range_behind(&self, tsn: Serial32) -> usize {
        // Most arrivals extend the last range.
        match self.ranges.back() {
            Some(&(first, _)) if !first.is_after(tsn) => self.ranges.len(),
            None => 0,
            Some(_) => self.ranges.partition_point(|&(first, _)| !first.is_after(tsn)),
        }
    }

    /// A packet with DATA was handled. RFC 9260 §6.2: every second packet is acknowledged, and every one while
    /// there are gaps.
    pub(crate) fn end_of_packet(&mut self, now: Instant, immediate: bool) {
        self.packets += 1;
        if immediate || self.packets >= 2 || self.has_gap() || self.ack_delay.is_zero() {
            self.owed = Owed::Now;
        } else if self.owed == Owed::Nothing {
            self.owed = Owed::Later;
            self.delay.arm(now + self.ack_delay);
        }
    }

    /// The window opened, or the peer must hear from us for another reason.
    pub(crate) fn owe_now(&mut self) {
        self.owed = Owed::Now;
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.delay.expire(now) && self.owed == Owed::Later {
            self.owed = Owed::Now;
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.delay.deadline()
    }

    /// Whether a SACK must leave.
    pub(crate) fn is_due(&self) -> bool {
        self.owed == Owed::Now
    }

    /// Whether a SACK may ride along with something else: one is owed, now or later.
    pub(crate) fn is_owed(&self) -> bool {
        self.owed != Owed::Nothing
    }

    /// The gap blocks, as offsets from the cumulative TSN (RFC 9260 §3.3.4).
    pub(crate) fn gaps(&self) -> impl Iterator<Item = (u16, u16)> {
        let offset = |tsn| u16::try_from(self.cumulative.distance_to(tsn)).unwrap_or(u16::MAX);
        self.ranges.iter().map(move |&(first, last)| (offset(first), offset(last)))
    }

    /// TSNs that arrived twice since the last SACK.
    pub(crate) fn duplicates(&self) -> &[Serial32] {
        &self.duplicates
    }

    /// Gives back memory that is not in use.
    pub(crate) fn slim(&mut self) {
        self.ranges.shrink_to_fit();
        self.duplicates.shrink_to_fit();
    }

    /// The SACK was written.
    pub(crate) fn on_sack_sent(&mut self) {
        self.owed = Owed::Nothing;
        self.packets = 0;
        self.delay.cancel();
        self.duplicates.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn started(at: u32) -> Tracker {
        let mut tracker = Tracker::new(Duration::from_millis(20));
        tracker.start(Serial32(at));
        tracker
    }

    fn arrive(tracker: &mut Tracker, tsn: u32) -> Verdict {
        let verdict = tracker.verdict(Serial32(tsn));
        match verdict {
            Verdict::Fills | Verdict::Extends => tracker.mark(Serial32(tsn)),
            Verdict::Duplicate => tracker.mark_duplicate(Serial32(tsn)),
            Verdict::OutOfReach => {}
        }
        verdict
    }

    #[test]
    fn gaps_open_join_and_close_across_the_wrap() {
        let first = u32::MAX - 1;
        let mut tracker = started(first);
        assert_eq!(arrive(&mut tracker, first), Verdict::Extends);
        assert_eq!(arrive(&mut tracker, 1), Verdict::Extends);
        assert_eq!(arrive(&mut tracker, 3), Verdict::Extends);
        assert_eq!(tracker.gaps().collect::<Vec<_>>(), [(3, 3), (5, 5)]);
        assert_eq!(arrive(&mut tracker, 2), Verdict::Fills);
        assert_eq!(tracker.gaps().collect::<Vec<_>>(), [(3, 5)]);
        assert_eq!(arrive(&mut tracker, 2), Verdict::Duplicate);
        assert_eq!(arrive(&mut tracker, u32::MAX), Verdict::Fills);
        assert_eq!(arrive(&mut tracker, 0), Verdict::Fills);
        assert_eq!(tracker.cumulative(), Serial32(3));
        assert!(!tracker.has_gap());
        assert_eq!(tracker.duplicates(), [Serial32(2)]);
    }

    #[test]
    fn skipping_swallows_ranges_and_part_of_one() {
        let mut tracker = started(1);
        for tsn in [3, 5, 6, 7, 9] {
            arrive(&mut tracker, tsn);
        }
        tracker.skip_to(Serial32(6));
        assert_eq!(tracker.cumulative(), Serial32(7));
        assert_eq!(tracker.gaps().collect::<Vec<_>>(), [(2, 2)]);
        tracker.skip_to(Serial32(2));
        assert_eq!(tracker.cumulative(), Serial32(7));
    }

    #[test]
    fn far_jumps_and_too_many_ranges_are_out_of_reach() {
        let mut tracker = started(1);
        assert_eq!(arrive(&mut tracker, 70_000), Verdict::OutOfReach);
        for i in 1..=MAX_RANGES as u32 {
            assert_eq!(arrive(&mut tracker, 1 + 2 * i), Verdict::Extends);
        }
        assert_eq!(arrive(&mut tracker, 1 + 2 * (MAX_RANGES as u32 + 1)), Verdict::OutOfReach);
        assert_eq!(arrive(&mut tracker, 1), Verdict::Fills);
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(start: u32, offsets in prop::collection::vec(0u32..200, 1..300)) {
            let mut tracker = started(start);
            let mut set = BTreeSet::new();
            for offset in offsets {
                let verdict = arrive(&mut tracker, start.wrapping_add(offset));
                prop_assert_eq!(verdict == Verdict::Duplicate, !set.insert(offset));
                let cumulative = (0..).find(|n| !set.contains(n)).unwrap_or(0);
                prop_assert_eq!(tracker.cumulative(), Serial32(start.wrapping_add(cumulative).wrapping_sub(1)));
                let gaps: usize = tracker.gaps().map(|(a, b)| usize::from(b - a) + 1).sum();
                prop_assert_eq!(gaps, set.iter().filter(|&&n| n >= cumulative).count());
            }
        }
    }
}
