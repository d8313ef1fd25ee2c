//! Packets that were sent, for those who ask for them again (RFC 4585 §6.2.1, RFC 4588).
//!
//! ```text
//!  buffer  |  this lap  ->|head ...     lap before     |      bytes, written round and round
//!  slots   [n mod 2^k] -> number, lap, offset, length, when sent, when resent
//! ```
//!
//! Packets are copied once, into a buffer that is written round and round. A slot is found by the low bits of a
//! number, and is good as long as the buffer has not come round to its bytes: nothing has to be taken out.
//! The buffer grows while it comes round faster than packets grow old, up to [`HistoryConfig::max_bytes`].
//!
//! Whoever asks for everything at once gets little: a packet is resent at most once per round trip, and
//! retransmissions have a share of what was sent, no more. Of that share, packets that were resent before leave some
//! for those that were not: there are receivers that ask on and on for what they have.

use std::time::{Duration, Instant};

use crate::rtp::extended::ExtendedSequence;
use crate::wire::serial::Serial16;

/// What is kept, and what retransmission may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryConfig {
    /// Bytes of packets kept at most. The slots take up to 128 KiB more, 32 bytes for each packet.
    pub max_bytes: usize,
    /// How long a packet is of use.
    pub max_age: Duration,
    /// Retransmission stays below so many percent of what was sent.
    pub budget: u8,
}

impl Default for HistoryConfig {
    /// 512 KiB, 1 s, 15 %.
    fn default() -> Self {
        HistoryConfig { max_bytes: 512 * 1024, max_age: Duration::from_secs(1), budget: 15 }
    }
}

/// The buffer's first size.
const MIN_BYTES: usize = 4 * 1024;
const MIN_SLOTS: usize = 16;
const MAX_SLOTS: usize = 4096;
/// What may be saved up of the budget, in bytes: a burst of losses may be repaired at once.
const MAX_SAVED: u64 = 64 * 1024;
/// What is there at the start, in bytes: the first packets may be lost as well.
const FIRST_SAVED: u64 = 8 * 1024;
/// What a packet must leave of the budget, in bytes, for each time that it was resent before.
const LEFT_FOR_OTHERS: u64 = 2 * 1024;
/// The shortest time between two retransmissions of a packet, whatever the round trip.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
/// The longest.
const MAX_INTERVAL: Duration = Duration::from_millis(500);
/// The round trip that is assumed while none was measured.
const UNKNOWN_RTT: Duration = Duration::from_millis(50);

/// What a request for a packet gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The packet as it was sent, before encryption.
    Packet {
        /// Its long number.
        sequence: u64,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// It was never sent, or is too old.
    Unknown,
    /// It was resent within the last round trip.
    TooSoon,
    /// The budget is used up.
    OverBudget,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    sequence: u64,
    /// The lap in which it was written; 0 for never.
    lap: u32,
    at: u32,
    len: u32,
    /// Milliseconds from the origin.
    sent: u32,
    /// When it was resent for the last time, if it was.
    resent: u32,
    /// How often it was resent.
    times: u32,
}

/// The history of one stream.
#[derive(Debug)]
pub struct History {
    config: HistoryConfig,
    buffer: Vec<u8>,
    head: usize,
    lap: u32,
    lap_began: Option<Instant>,
    slots: Vec<Slot>,
    highest: ExtendedSequence,
    /// The first push: times count from it.
    origin: Option<Instant>,
    /// What retransmissions may still cost, in hundredths of a byte.
    saved: u64,
}

impl History {
    /// An empty history: the first packet allocates.
    pub fn new(config: HistoryConfig) -> Self {
        // Offsets have 32 bits.
        let max_bytes = config.max_bytes.min(1 << 31);
        History {
            config: HistoryConfig { max_bytes, ..config },
            buffer: Vec::new(),
            head: 0,
            lap: 1,
            lap_began: None,
            slots: Vec::new(),
            highest: ExtendedSequence::new(),
            origin: None,
            saved: 100 * FIRST_SAVED,
        }
    }

    /// The packet `bytes` with the long number `sequence` was sent. What is larger than the whole history is
    /// not kept.
    pub fn push(&mut self, now: Instant, sequence: u64, bytes: &[u8]) {
        let len = u64::try_from(bytes.len()).unwrap_or(0);
        self.saved = (self.saved + len * u64::from(self.config.budget)).min(100 * MAX_SAVED);
        if !self.make_room(now, bytes.len()) {
            return;
        }
        self.origin.get_or_insert(now);
        let sent = self.millis(now);
        self.highest.advance(sequence);
        let end = self.head + bytes.len();
        if let Some(place) = self.buffer.get_mut(self.head..end) {
            place.copy_from_slice(bytes);
        }
        // `max_bytes` is below 2^32.
        let at = u32::try_from(self.head).unwrap_or(u32::MAX);
        let len = u32::try_from(bytes.len()).unwrap_or(0);
        self.head = end;
        self.widen(sent, sequence);
        let index = self.index(sequence);
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Slot { sequence, lap: self.lap, at, len, sent, resent: 0, times: 0 };
        }
    }

    /// Makes sure that `len` bytes fit behind the head: by growing, or by starting the next lap.
    fn make_room(&mut self, now: Instant, len: usize) -> bool {
        if len > self.config.max_bytes || len == 0 {
            return false;
        }
        let began = *self.lap_began.get_or_insert(now);
        if self.head + len <= self.buffer.len() {
            return true;
        }
        let is_young = now.saturating_duration_since(began) < self.config.max_age;
        if (is_young || self.buffer.len() < len) && self.buffer.len() < self.config.max_bytes {
            // What is written stays where it is: nothing of the lap before is left at this point.
            let size = (2 * self.buffer.len()).max(self.head + len).max(MIN_BYTES);
            let size = size.min(self.config.max_bytes);
            self.buffer.reserve_exact(size - self.buffer.len());
            self.buffer.resize(size, 0);
        }
        if self.head + len > self.buffer.len() {
            self.head = 0;
            self.lap = self.lap.wrapping_add(1).max(1);
            self.lap_began = Some(now);
        }
        true
    }

    /// Doubles the slots when a packet that is still of use would lose its own.
    fn widen(&mut self, millis: u32, sequence: u64) {
        if self.slots.is_empty() {
            self.slots.resize(MIN_SLOTS, Slot::default());
        }
        while self.slots.len() < MAX_SLOTS {
            let held = self.slots.get(self.index(sequence)).copied().unwrap_or_default();
            if held.sequence == sequence || !self.is_good(millis, &held) {
                return;
            }
            let old = std::mem::take(&mut self.slots);
            self.slots.resize(2 * old.len(), Slot::default());
            for slot in old.into_iter().filter(|slot| slot.lap > 0) {
                let index = self.index(slot.sequence);
                if let Some(place) = self.slots.get_mut(index) {
                    *place = slot;
                }
            }
        }
    }

    /// The packet that `short` names, if it may be sent again now. Asking is taking: it counts as resent.
    ///
    /// `rtt` is the round trip, if it is known.
    pub fn take(&mut self, now: Instant, short: Serial16, rtt: Option<Duration>) -> Answer<'_> {
        let sequence = self.highest.estimate(short);
        let index = self.index(sequence);
        let Some(slot) = self.slots.get(index).copied() else { return Answer::Unknown };
        let millis = self.millis(now);
        if slot.sequence != sequence || !self.is_good(millis, &slot) {
            return Answer::Unknown;
        }
        let interval = rtt.unwrap_or(UNKNOWN_RTT).clamp(MIN_INTERVAL, MAX_INTERVAL).as_millis();
        if slot.times > 0 && u128::from(millis.wrapping_sub(slot.resent)) < interval {
            return Answer::TooSoon;
        }
        let Some(left) = self.saved.checked_sub(100 * u64::from(slot.len)) else { return Answer::OverBudget };
        if left < 100 * LEFT_FOR_OTHERS * u64::from(slot.times) {
            return Answer::OverBudget;
        }
        self.saved = left;
        if let Some(slot) = self.slots.get_mut(index) {
            slot.resent = millis;
            slot.times = slot.times.saturating_add(1);
        }
        Answer::Packet { sequence, bytes: self.bytes_of(&slot).unwrap_or_default() }
    }

    /// Gives all memory back: the stream is paused, or has ended.
    pub fn clear(&mut self) {
        *self = History { highest: self.highest, saved: self.saved, ..History::new(self.config) };
    }

    /// Gives all memory back when no packet is young enough to be of use.
    pub fn slim(&mut self, now: Instant) {
        let millis = self.millis(now);
        if !self.slots.iter().any(|slot| self.is_good(millis, slot)) {
            self.clear();
        }
    }

    /// Bytes held, used or not.
    pub fn memory(&self) -> usize {
        self.buffer.capacity() + self.slots.capacity() * size_of::<Slot>()
    }

    /// Whether the slot's bytes are still there and of use, `millis` after the first packet.
    fn is_good(&self, millis: u32, slot: &Slot) -> bool {
        let at = usize::try_from(slot.at).unwrap_or(usize::MAX);
        let is_there = slot.lap > 0
            && (slot.lap == self.lap || (slot.lap.wrapping_add(1) == self.lap && at >= self.head));
        let age = u128::from(millis.wrapping_sub(slot.sent));
        is_there && age <= self.config.max_age.as_millis()
    }

    fn bytes_of(&self, slot: &Slot) -> Option<&[u8]> {
        let (at, len) = (usize::try_from(slot.at).ok()?, usize::try_from(slot.len).ok()?);
        self.buffer.get(at..at + len)
    }

    /// Where the slot of a number is: the count of slots is a power of two.
    fn index(&self, sequence: u64) -> usize {
        let mask = self.slots.len().saturating_sub(1);
        usize::try_from(sequence & u64::try_from(mask).unwrap_or(0)).unwrap_or(0)
    }

    /// Time since the first packet, modulo 49 days.
    fn millis(&self, now: Instant) -> u32 {
        let passed = self.origin.map_or(0, |origin| now.saturating_duration_since(origin).as_millis());
        u32::try_from(passed & 0xffff_ffff).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::extended::short_sequence;
    use crate::rtp::stream::tests::at;
    use proptest::prelude::*;

    const RTT: Option<Duration> = Some(Duration::from_millis(40));

    fn config(max_bytes: usize) -> HistoryConfig {
        HistoryConfig { max_bytes, ..HistoryConfig::default() }
    }

    fn packet(sequence: u64, len: usize) -> Vec<u8> {
        (0..len)
            .map(|at| u8::try_from((usize::try_from(sequence).unwrap() * 31 + at) % 251).unwrap())
            .collect()
    }

    fn short(sequence: u64) -> Serial16 {
        short_sequence(sequence)
    }

    #[test]
    fn a_packet_is_resent_at_most_once_per_round_trip() {
        let mut history = History::new(config(64 * 1024));
        (65_530..65_540).for_each(|n| history.push(at(0), n, &packet(n, 500)));
        let expected = packet(65_537, 500);
        let answer = Answer::Packet { sequence: 65_537, bytes: &expected };
        assert_eq!(history.take(at(10), Serial16(1), RTT), answer);
        assert_eq!(history.take(at(49), Serial16(1), RTT), Answer::TooSoon);
        assert_eq!(history.take(at(50), Serial16(1), RTT), answer);
        assert_eq!(history.take(at(50), Serial16(9), RTT), Answer::Unknown);
        assert_eq!(history.take(at(1001), Serial16(2), RTT), Answer::Unknown);
    }

    #[test]
    fn one_message_that_asks_for_everything_stays_in_the_budget() {
        let mut history = History::new(HistoryConfig::default());
        let (mut sent, mut resent) = (0, 0);
        for n in 0..20_000u64 {
            history.push(at(n), n, &packet(n, 1000));
            sent += 1000;
            for wanted in n.saturating_sub(300)..=n {
                if let Answer::Packet { bytes, .. } = history.take(at(n), short(wanted), RTT) {
                    resent += bytes.len();
                }
            }
        }
        let allowed = sent * 15 / 100 + usize::try_from(FIRST_SAVED).unwrap();
        assert!(resent <= allowed && resent > allowed - 2000, "{resent} of {allowed}");
        assert_eq!(history.take(at(20_000), Serial16(u16::MAX), RTT), Answer::Unknown);
    }

    #[test]
    fn who_asks_on_and_on_leaves_room_for_what_is_lost_next() {
        let mut history = History::new(HistoryConfig::default());
        let mut missed = 0;
        // 25 packets of each thousand are lost, and all of the last second are asked for ten times a second.
        for n in 0..20_000u64 {
            history.push(at(n), n, &packet(n, 1000));
            if !n.is_multiple_of(100) {
                continue;
            }
            for lost in (n.saturating_sub(960)..n).filter(|lost| lost.is_multiple_of(40)) {
                let answer = history.take(at(n), short(lost), RTT);
                let is_first = lost + 100 >= n;
                missed += usize::from(is_first && !matches!(answer, Answer::Packet { .. }));
            }
        }
        assert_eq!(missed, 0);
    }

    #[test]
    fn memory_grows_with_the_rate_and_stays_below_its_bound() {
        let mut slow = History::new(HistoryConfig::default());
        for n in 0..500 {
            slow.push(at(20 * n), n, &packet(n, 100));
        }
        // 50 packets each second, 100 bytes each, kept for a second: 16 KiB come round slowly enough.
        assert!(slow.memory() <= 16 * 1024 + 64 * size_of::<Slot>(), "{}", slow.memory());
        let mut fast = History::new(config(100_000));
        for n in 0..50_000 {
            fast.push(at(n / 100), n, &packet(n, 40));
        }
        assert!(fast.memory() <= 100_000 + MAX_SLOTS * size_of::<Slot>(), "{}", fast.memory());
        assert!(matches!(fast.take(at(499), short(48_000), None), Answer::Packet { .. }));
        fast.push(at(500), 50_000, &[0; 100_001]);
        fast.push(at(500), 50_001, &[]);
        assert_eq!(fast.take(at(500), short(50_000), None), Answer::Unknown);
        fast.clear();
        assert_eq!(fast.memory(), 0);
    }

    proptest! {
        #[test]
        fn what_is_taken_is_what_was_sent(
            start in 0u64..200_000,
            packets in prop::collection::vec((1usize..3000, 0u64..30), 1..300),
            asked in prop::collection::vec(0u64..400, 1..50),
        ) {
            let mut history = History::new(HistoryConfig { budget: 255, ..config(64 * 1024) });
            let mut now = 0;
            for (n, (len, wait)) in (start..).zip(&packets) {
                now += wait;
                history.push(at(now), n, &packet(n, *len));
                for back in asked.iter().filter(|back| *back % 7 == n % 7) {
                    let wanted = n.saturating_sub(*back);
                    if let Answer::Packet { sequence, bytes } = history.take(at(now), short(wanted), None) {
                        let index = usize::try_from(sequence - start).unwrap();
                        prop_assert_eq!(bytes, &packet(sequence, packets[index].0)[..]);
                        prop_assert_eq!(sequence, wanted);
                    }
                }
            }
            // The newest is always there.
            let last = start + u64::try_from(packets.len()).unwrap() - 1;
            prop_assert_ne!(history.take(at(now), short(last), None), Answer::Unknown);
        }
    }
}
