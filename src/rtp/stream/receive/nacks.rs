//! Which packets are missing, when to ask for them again, when to stop asking (RFC 4585 §6.2.1).
//!
//! ```text
//!  gap ── reordering wait ──> ask ── a round trip ──> ask again ── .. ──> came, or given up
//! ```
//!
//! One entry for each missing number, in order of numbers: found in O(log n), at most
//! [`limit`](NackConfig::limit) of them, 40 bytes each.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::rtp::extended::short_sequence;
use crate::wire::serial::Serial16;

/// How patiently to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NackConfig {
    /// How long a missing packet may just be late before it is asked for.
    pub reordering: Duration,
    /// How often one packet is asked for, 1 to 255.
    pub attempts: u8,
    /// How long a packet is of use: afterwards nobody asks for it.
    pub max_age: Duration,
    /// How many packets may be missing at a time; the oldest are given up beyond it.
    pub limit: usize,
}

impl Default for NackConfig {
    /// 10 ms, 10 times, 1 s, 1,000 packets.
    fn default() -> Self {
        NackConfig {
            reordering: Duration::from_millis(10),
            attempts: 10,
            max_age: Duration::from_secs(1),
            limit: 1000,
        }
    }
}

/// The shortest time between two requests for the same packet, whatever the round trip.
const MIN_INTERVAL: Duration = Duration::from_millis(20);
/// The longest: a round trip that a peer made up must not silence us.
const MAX_INTERVAL: Duration = Duration::from_millis(500);
/// The round trip that is assumed while none was measured.
const UNKNOWN_RTT: Duration = Duration::from_millis(100);

/// What a packet was to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It is the newest one; so many before it are missing now.
    Newest(u64),
    /// It was missing, and came by itself.
    Reordered,
    /// It was missing, and was asked for.
    Recovered,
    /// It was not missing: it came before, was given up, or is older than the stream.
    Unexpected,
}

#[derive(Debug, Clone, Copy)]
struct Missing {
    sequence: u64,
    since: Instant,
    /// When to ask, or to give up when all attempts are used.
    due: Instant,
    asked: u8,
    /// It came, or was given up: it stays in its place until those before it are gone.
    settled: bool,
}

/// The missing packets of one stream.
#[derive(Debug)]
pub struct Nacks {
    config: NackConfig,
    missing: VecDeque<Missing>,
    highest: Option<u64>,
    /// Not after the earliest due time.
    next: Option<Instant>,
    given_up: u64,
}

impl Nacks {
    /// Nothing came, so nothing is missing.
    pub fn new(config: NackConfig) -> Self {
        Nacks { config, missing: VecDeque::new(), highest: None, next: None, given_up: 0 }
    }

    /// A packet came, by itself or repaired, with its long number.
    pub fn handle_packet(&mut self, now: Instant, sequence: u64) -> Found {
        let Some(highest) = self.highest else {
            self.highest = Some(sequence);
            return Found::Newest(0);
        };
        if sequence > highest {
            self.highest = Some(sequence);
            return Found::Newest(self.on_gap(now, highest.saturating_add(1), sequence));
        }
        let Ok(at) = self.missing.binary_search_by_key(&sequence, |missing| missing.sequence) else {
            return Found::Unexpected;
        };
        let Some(missing) = self.missing.get_mut(at).filter(|missing| !missing.settled) else {
            return Found::Unexpected;
        };
        missing.settled = true;
        let found = if missing.asked > 0 { Found::Recovered } else { Found::Reordered };
        self.drop_settled();
        found
    }

    /// The numbers from `first` up to `end`, which came, are missing. Says how many.
    fn on_gap(&mut self, now: Instant, first: u64, end: u64) -> u64 {
        let gap = end - first;
        let limit = u64::try_from(self.config.limit).unwrap_or(u64::MAX);
        // The oldest of a gap that is too wide are given up before they are noted.
        let skipped = gap.saturating_sub(limit);
        self.given_up += skipped;
        let due = now + self.config.reordering;
        for sequence in first + skipped..end {
            if self.missing.len() >= self.config.limit {
                self.given_up += u64::from(self.missing.pop_front().is_some_and(|missing| !missing.settled));
            }
            self.missing.push_back(Missing { sequence, since: now, due, asked: 0, settled: false });
        }
        if gap > 0 && self.config.limit > 0 {
            self.next = Some(self.next.map_or(due, |next| next.min(due)));
        }
        gap
    }

    /// Gives up what is too old, or was asked for often enough. Says how many packets that were.
    pub fn handle_timeout(&mut self, now: Instant) -> u64 {
        if self.next.is_none_or(|next| next > now) {
            return 0;
        }
        let NackConfig { attempts, max_age, .. } = self.config;
        let before = self.given_up;
        for missing in self.missing.iter_mut().filter(|missing| !missing.settled) {
            let is_old = now.saturating_duration_since(missing.since) >= max_age;
            if is_old || (missing.asked >= attempts && missing.due <= now) {
                missing.settled = true;
                self.given_up += 1;
            }
        }
        self.drop_settled();
        self.find_next();
        self.given_up - before
    }

    /// The packets to be asked for at `now`, in order. Say how many were with [`on_asked`](Self::on_asked).
    pub fn due(&self, now: Instant) -> impl Iterator<Item = Serial16> + '_ {
        let attempts = self.config.attempts;
        let is_early = self.next.is_none_or(|next| next > now);
        let due = self.missing.iter().filter(move |m| !m.settled && m.asked < attempts && m.due <= now);
        due.take(if is_early { 0 } else { usize::MAX }).map(|missing| short_sequence(missing.sequence))
    }

    /// The first `count` packets that are due have been asked for. They are asked for again a round trip
    /// later, `rtt`, if they have not come.
    pub fn on_asked(&mut self, now: Instant, count: usize, rtt: Option<Duration>) {
        let attempts = self.config.attempts;
        // What the sender sends at once comes a round trip later, and not always on time.
        let interval = rtt.unwrap_or(UNKNOWN_RTT) + self.config.reordering;
        let again = now + interval.clamp(MIN_INTERVAL, MAX_INTERVAL);
        let due = self.missing.iter_mut().filter(|m| !m.settled && m.asked < attempts && m.due <= now);
        for missing in due.take(count) {
            missing.asked += 1;
            missing.due = again;
        }
        self.find_next();
    }

    /// Forgets what is missing before `sequence`: a key frame starts there, so nobody needs it.
    pub fn forget_before(&mut self, sequence: u64) {
        while self.missing.front().is_some_and(|missing| missing.sequence < sequence) {
            self.missing.pop_front();
        }
        self.drop_settled();
        self.find_next();
    }

    /// The source has started anew: nothing is missing.
    pub fn reset(&mut self) {
        *self = Nacks { given_up: self.given_up, ..Nacks::new(self.config) };
    }

    /// When to ask or give up next.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// Packets that are missing and may still come.
    pub fn missing(&self) -> usize {
        self.missing.iter().filter(|missing| !missing.settled).count()
    }

    /// Packets given up so far.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    fn drop_settled(&mut self) {
        while self.missing.front().is_some_and(|missing| missing.settled) {
            self.missing.pop_front();
        }
        if self.missing.is_empty() {
            self.next = None;
        }
    }

    fn find_next(&mut self) {
        let max_age = self.config.max_age;
        let open = self.missing.iter().filter(|missing| !missing.settled);
        self.next = open.map(|missing| missing.due.min(missing.since + max_age)).min();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::stream::tests::at;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const RTT: Option<Duration> = Some(Duration::from_millis(50));

    fn ask(nacks: &mut Nacks, millis: u64) -> Vec<u16> {
        nacks.handle_timeout(at(millis));
        let due: Vec<u16> = nacks.due(at(millis)).map(|sequence| sequence.0).collect();
        nacks.on_asked(at(millis), due.len(), RTT);
        due
    }

    #[test]
    fn a_gap_is_asked_for_after_the_reordering_wait_and_again_each_round_trip() {
        let mut nacks = Nacks::new(NackConfig::default());
        assert_eq!(nacks.handle_packet(at(0), 65_530), Found::Newest(0));
        assert_eq!(nacks.handle_packet(at(0), 65_534), Found::Newest(3));
        assert!(ask(&mut nacks, 9).is_empty());
        assert_eq!(nacks.handle_packet(at(9), 65_531), Found::Reordered);
        assert_eq!(nacks.next_timeout(), Some(at(10)));
        assert_eq!(ask(&mut nacks, 10), [65_532, 65_533]);
        assert!(ask(&mut nacks, 69).is_empty());
        assert_eq!(nacks.handle_packet(at(69), 65_533), Found::Recovered);
        assert_eq!(ask(&mut nacks, 70), [65_532]);
        assert_eq!(nacks.handle_packet(at(75), 65_532), Found::Recovered);
        assert_eq!(nacks.handle_packet(at(75), 65_532), Found::Unexpected);
        assert_eq!((nacks.next_timeout(), nacks.missing(), nacks.given_up()), (None, 0, 0));
    }

    #[test]
    fn a_packet_that_never_comes_is_given_up() {
        let mut nacks = Nacks::new(NackConfig { attempts: 3, ..NackConfig::default() });
        nacks.handle_packet(at(0), 1);
        nacks.handle_packet(at(0), 3);
        let mut times = Vec::new();
        while let Some(next) = nacks.next_timeout() {
            let millis = u64::try_from((next - at(0)).as_millis()).unwrap();
            if !ask(&mut nacks, millis).is_empty() {
                times.push(millis);
            }
        }
        assert_eq!(times, [10, 70, 130]);
        assert_eq!(nacks.given_up(), 1);
        assert_eq!(nacks.handle_packet(at(500), 2), Found::Unexpected);
    }

    #[test]
    fn what_did_not_fit_into_the_message_stays_due() {
        let mut nacks = Nacks::new(NackConfig::default());
        nacks.handle_packet(at(0), 1);
        nacks.handle_packet(at(0), 6);
        assert_eq!(nacks.due(at(10)).count(), 4);
        nacks.on_asked(at(10), 3, RTT);
        assert_eq!(nacks.due(at(10)).collect::<Vec<_>>(), [Serial16(5)]);
        assert_eq!(nacks.next_timeout(), Some(at(10)));
    }

    #[test]
    fn old_packets_are_given_up_whatever_the_round_trip() {
        let mut nacks = Nacks::new(NackConfig::default());
        nacks.handle_packet(at(0), 1);
        nacks.handle_packet(at(0), 3);
        nacks.on_asked(at(990), 1, Some(Duration::from_secs(3600)));
        assert_eq!(nacks.next_timeout(), Some(at(1000)));
        assert_eq!(nacks.handle_timeout(at(1000)), 1);
    }

    #[test]
    fn gaps_beyond_the_limit_cost_the_oldest() {
        let mut nacks = Nacks::new(NackConfig { limit: 10, ..NackConfig::default() });
        nacks.handle_packet(at(0), 0);
        assert_eq!(nacks.handle_packet(at(0), 3000), Found::Newest(2999));
        assert_eq!((nacks.missing(), nacks.given_up()), (10, 2989));
        assert_eq!(nacks.handle_packet(at(0), 3003), Found::Newest(2));
        assert_eq!((nacks.missing(), nacks.given_up()), (10, 2991));
        nacks.forget_before(3000);
        assert_eq!(nacks.missing(), 2);
        nacks.reset();
        assert_eq!((nacks.missing(), nacks.next_timeout()), (0, None));
    }

    proptest! {
        #[test]
        fn exactly_what_did_not_come_is_asked_for(
            order in prop::collection::vec(0u64..400, 1..300),
            ask_at in prop::collection::vec(0u64..300, 1..20),
        ) {
            let config = NackConfig { max_age: Duration::from_secs(3600), ..NackConfig::default() };
            let mut nacks = Nacks::new(config);
            let mut seen = BTreeSet::new();
            let first = order[0];
            for (step, sequence) in (0u64..).zip(&order) {
                nacks.handle_packet(at(step), *sequence);
                seen.insert(*sequence);
                let highest = *seen.last().unwrap();
                let missing = (first..highest).filter(|n| !seen.contains(n)).count();
                prop_assert_eq!(nacks.missing(), missing);
                if ask_at.contains(&step) {
                    for asked in ask(&mut nacks, step) {
                        prop_assert!(!seen.contains(&u64::from(asked)));
                    }
                }
                prop_assert_eq!(nacks.next_timeout().is_some(), missing > 0);
            }
        }
    }
}
