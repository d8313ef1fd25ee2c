//! Puts packets in order, for those who assemble frames, and says what never came.
//!
//! ```text
//!  next ──┐
//!         [gap] 7 8 [gap] 11       7 waits until the gap before it is filled, has lasted too long,
//!                                  or more is held than may be
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long to wait for what is missing, and how much to hold meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReorderConfig {
    /// How long a gap is waited for. With NACK at least some round trips, without it about a frame.
    pub max_wait: Duration,
    /// Packets held at most.
    pub max_packets: usize,
    /// Bytes held at most, as the caller counts them.
    pub max_bytes: usize,
}

impl Default for ReorderConfig {
    /// 500 ms, 1,024 packets, 2 MiB.
    fn default() -> Self {
        ReorderConfig { max_wait: Duration::from_millis(500), max_packets: 1024, max_bytes: 2 * 1024 * 1024 }
    }
}

/// What comes next in the order of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next<T> {
    /// A packet.
    Packet {
        /// Its long number.
        sequence: u64,
        /// What was given.
        packet: T,
    },
    /// Packets that are not waited for any longer.
    Gap {
        /// The first number missing.
        first: u64,
        /// The last number missing.
        last: u64,
    },
}

#[derive(Debug)]
struct Held<T> {
    sequence: u64,
    arrived: Instant,
    bytes: usize,
    packet: T,
}

/// The packets of one stream that wait for others.
#[derive(Debug)]
pub struct Reorder<T> {
    config: ReorderConfig,
    /// The number that is due; `None` before the first packet.
    next: Option<u64>,
    /// In order of numbers, each once.
    held: VecDeque<Held<T>>,
    bytes: usize,
    /// When the gap before the first packet held was noticed.
    since: Option<Instant>,
    /// Up to this number nothing is waited for.
    hurry: u64,
}

impl<T> Reorder<T> {
    /// Starts with whatever packet comes first.
    pub fn new(config: ReorderConfig) -> Self {
        Reorder { config, next: None, held: VecDeque::new(), bytes: 0, since: None, hurry: 0 }
    }

    /// Another patience, from now on.
    pub fn set_max_wait(&mut self, max_wait: Duration) {
        self.config.max_wait = max_wait;
    }

    /// Takes a packet, which holds `bytes` bytes. Hands it back when it comes too late, or again.
    pub fn handle_packet(&mut self, now: Instant, sequence: u64, bytes: usize, packet: T) -> Result<(), T> {
        let next = *self.next.get_or_insert(sequence);
        if sequence < next {
            return Err(packet);
        }
        let place = match self.held.back() {
            Some(last) if last.sequence >= sequence => {
                match self.held.binary_search_by_key(&sequence, |held| held.sequence) {
                    Ok(_) => return Err(packet),
                    Err(place) => place,
                }
            }
            _ => self.held.len(),
        };
        self.bytes += bytes;
        self.held.insert(place, Held { sequence, arrived: now, bytes, packet });
        if self.is_blocked() {
            self.since.get_or_insert(now);
        }
        Ok(())
    }

    /// What comes next, if it is there, or is not waited for any longer.
    pub fn poll(&mut self, now: Instant) -> Option<Next<T>> {
        let (next, first) = (self.next?, self.held.front()?.sequence);
        if first > next {
            if !self.gives_up(now, first) {
                return None;
            }
            self.next = Some(first);
            self.since = None;
            return Some(Next::Gap { first: next, last: first - 1 });
        }
        let held = self.held.pop_front()?;
        self.bytes -= held.bytes;
        self.next = Some(held.sequence.saturating_add(1));
        // The gap before what is held now was noticed when the first packet behind it came.
        self.since = if self.is_blocked() { self.held.iter().map(|held| held.arrived).min() } else { None };
        Some(Next::Packet { sequence: held.sequence, packet: held.packet })
    }

    /// Whether the gap before `first` is not waited for any longer.
    fn gives_up(&self, now: Instant, first: u64) -> bool {
        self.held.len() > self.config.max_packets
            || self.bytes > self.config.max_bytes
            || first <= self.hurry
            || self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// The source starts anew, or ends: what is held comes out without waiting, and after it whatever packet
    /// comes first.
    pub fn hurry(&mut self) {
        match self.held.back() {
            Some(last) => self.hurry = last.sequence,
            None => self.next = None,
        }
    }

    /// Skips what is missing before `sequence`: it is not waited for.
    pub fn skip_to(&mut self, sequence: u64) {
        self.hurry = self.hurry.max(sequence);
    }

    /// When the gap that is waited for is given up.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadline()
    }

    fn deadline(&self) -> Option<Instant> {
        self.since.map(|since| since + self.config.max_wait)
    }

    fn is_blocked(&self) -> bool {
        self.held.front().is_some_and(|first| Some(first.sequence) != self.next)
    }

    /// Packets held.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Bytes held, as the caller counts them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::stream::tests::at;
    use proptest::prelude::*;

    fn drain(reorder: &mut Reorder<u64>, millis: u64) -> Vec<Next<u64>> {
        std::iter::from_fn(|| reorder.poll(at(millis))).collect()
    }

    fn packet(sequence: u64) -> Next<u64> {
        Next::Packet { sequence, packet: sequence }
    }

    #[test]
    fn a_gap_holds_packets_back_until_it_is_filled_or_has_lasted_too_long() {
        let mut reorder = Reorder::new(ReorderConfig::default());
        for (millis, sequence) in [(0, 5), (10, 7), (20, 9)] {
            reorder.handle_packet(at(millis), sequence, 100, sequence).unwrap();
        }
        assert_eq!(drain(&mut reorder, 20), [packet(5)]);
        assert_eq!((reorder.next_timeout(), reorder.bytes()), (Some(at(510)), 200));
        reorder.handle_packet(at(30), 6, 100, 6).unwrap();
        assert_eq!(drain(&mut reorder, 30), [packet(6), packet(7)]);
        assert_eq!(reorder.next_timeout(), Some(at(520)));
        assert_eq!(drain(&mut reorder, 519), []);
        assert_eq!(drain(&mut reorder, 520), [Next::Gap { first: 8, last: 8 }, packet(9)]);
        assert_eq!(reorder.handle_packet(at(530), 8, 100, 8), Err(8));
        assert_eq!((reorder.next_timeout(), reorder.is_empty(), reorder.bytes()), (None, true, 0));
    }

    #[test]
    fn what_is_held_is_bounded_by_packets_and_bytes() {
        let config = ReorderConfig { max_packets: 3, max_bytes: 1000, ..ReorderConfig::default() };
        let mut reorder = Reorder::new(config);
        for sequence in [1, 3, 4, 5] {
            reorder.handle_packet(at(0), sequence, 10, sequence).unwrap();
        }
        assert_eq!(drain(&mut reorder, 0), [packet(1)]);
        reorder.handle_packet(at(0), 6, 10, 6).unwrap();
        assert_eq!(drain(&mut reorder, 0).len(), 5);
        reorder.handle_packet(at(0), 8, 1001, 8).unwrap();
        assert_eq!(drain(&mut reorder, 0), [Next::Gap { first: 7, last: 7 }, packet(8)]);
    }

    #[test]
    fn a_source_that_starts_anew_waits_for_nothing() {
        let mut reorder = Reorder::new(ReorderConfig::default());
        for sequence in [1, 3, 6] {
            reorder.handle_packet(at(0), sequence, 10, sequence).unwrap();
        }
        reorder.hurry();
        let gap = |n, last| Next::Gap { first: n, last };
        assert_eq!(drain(&mut reorder, 0), [packet(1), gap(2, 2), packet(3), gap(4, 5), packet(6)]);
        reorder.hurry();
        reorder.handle_packet(at(0), 1000, 10, 1000).unwrap();
        reorder.handle_packet(at(0), 1003, 10, 1003).unwrap();
        assert_eq!(drain(&mut reorder, 0), [packet(1000)]);
        reorder.skip_to(1003);
        assert_eq!(drain(&mut reorder, 0), [gap(1001, 1002), packet(1003)]);
    }

    proptest! {
        #[test]
        fn every_number_comes_out_once_in_order_as_packet_or_gap(
            packets in prop::collection::vec((0u64..300, 0u64..200), 1..200),
        ) {
            let mut reorder = Reorder::new(ReorderConfig { max_packets: 20, ..ReorderConfig::default() });
            let (mut now, mut due) = (0, packets[0].0);
            for (sequence, wait) in packets {
                now += wait;
                let _ = reorder.handle_packet(at(now), sequence, 1, sequence);
                for next in drain(&mut reorder, now) {
                    match next {
                        Next::Packet { sequence, packet } => {
                            prop_assert_eq!((sequence, packet), (due, due));
                            due += 1;
                        }
                        Next::Gap { first, last } => {
                            prop_assert!(first == due && last >= first);
                            due = last + 1;
                        }
                    }
                }
                prop_assert!(reorder.len() <= 20);
                prop_assert_eq!(reorder.next_timeout().is_some(), !reorder.is_empty());
            }
        }
    }
}
