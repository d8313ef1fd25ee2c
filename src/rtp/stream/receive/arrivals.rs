//! Transport-wide feedback about what came (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3).

use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::rtp::extended::ExtendedSequence;
use crate::rtp::rtcp::twcc::{Arrival, emit_feedback};
use crate::types::ids::Ssrc;
use crate::wire::serial::Serial16;

/// Arrivals kept at most, 24 bytes each. When there are more, feedback is due at once; where none can leave, the
/// oldest are forgotten.
const MAX_ARRIVALS: usize = 4096;
/// So many arrivals make feedback due before its time.
const MANY: usize = 200;
/// How long an arrival that was told is kept: a late packet makes its neighbours be told again.
const KEPT: Duration = Duration::from_millis(500);
/// How long the first untold arrival waits for others.
const INTERVAL: Duration = Duration::from_millis(100);

/// What came over a transport, by transport-wide numbers.
#[derive(Debug, Default)]
pub struct Arrivals {
    sequence: ExtendedSequence,
    /// In order of numbers, each once.
    arrivals: Vec<Arrival>,
    /// Arrivals not told yet have numbers from here on; late ones lower it.
    untold: Option<u64>,
    /// The number behind the highest one that was told: what is missing from there on is told next.
    next_base: Option<u64>,
    /// How many were not told.
    waiting: usize,
    /// Times count from here.
    origin: Option<Instant>,
    /// When feedback is due.
    due: Option<Instant>,
    feedback_count: u8,
}

impl Arrivals {
    /// Nothing came.
    pub fn new() -> Self {
        Arrivals::default()
    }

    /// A packet with this transport-wide number came. One that came before is ignored.
    pub fn handle_packet(&mut self, now: Instant, sequence: Serial16) {
        let sequence = self.sequence.extend(sequence);
        let origin = *self.origin.get_or_insert(now);
        // Times from before the origin cannot be, and would be equal to it.
        let arrival = Arrival { sequence, at: now.saturating_duration_since(origin) };
        let place = match self.arrivals.last() {
            Some(last) if last.sequence >= sequence => {
                match self.arrivals.binary_search_by_key(&sequence, |arrival| arrival.sequence) {
                    Ok(_) => return,
                    Err(place) => place,
                }
            }
            _ => self.arrivals.len(),
        };
        self.arrivals.insert(place, arrival);
        self.untold = Some(self.untold.map_or(sequence, |untold| untold.min(sequence)));
        self.waiting += 1;
        if self.waiting >= MANY {
            self.due = Some(now);
        }
        self.due.get_or_insert(now + INTERVAL);
        if self.arrivals.len() > MAX_ARRIVALS {
            self.forget_a_quarter();
        }
    }

    fn forget_a_quarter(&mut self) {
        self.arrivals.drain(..MAX_ARRIVALS / 4);
        let first = self.arrivals.first().map_or(0, |arrival| arrival.sequence);
        self.untold = self.untold.map(|untold| untold.max(first));
        self.waiting = self.waiting.min(self.arrivals.len());
    }

    /// Whether feedback is due.
    pub fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// When feedback is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Appends one feedback message of at most `room` bytes, from `sender` about the transport of `media`.
    /// False, and nothing appended, when there is nothing to tell, or no room. Call again until it is.
    pub fn emit(&mut self, now: Instant, out: &mut BytesMut, room: usize, sender: Ssrc, media: Ssrc) -> bool {
        let Some(untold) = self.untold else { return false };
        let base = self.next_base.map_or(untold, |next| next.min(untold));
        let start = self.arrivals.partition_point(|arrival| arrival.sequence < base);
        let arrivals = self.arrivals.get(start..).unwrap_or_default();
        let Some(covered) = emit_feedback(out, room, (sender, media), self.feedback_count, base, arrivals)
        else {
            return false;
        };
        self.feedback_count = self.feedback_count.wrapping_add(1);
        self.waiting = self.waiting.saturating_sub(covered.arrivals);
        self.next_base = Some(covered.next_base);
        if covered.arrivals < arrivals.len() {
            self.untold = Some(covered.next_base);
        } else {
            (self.untold, self.due, self.waiting) = (None, None, 0);
            self.forget_old(now);
        }
        true
    }

    fn forget_old(&mut self, now: Instant) {
        let now = self.origin.map_or(Duration::ZERO, |origin| now.saturating_duration_since(origin));
        let old = self.arrivals.iter().take_while(|arrival| now.saturating_sub(arrival.at) > KEPT).count();
        self.arrivals.drain(..old);
    }

    /// Gives back memory that only busy times need.
    pub fn slim(&mut self, now: Instant) {
        if self.untold.is_none() {
            self.forget_old(now);
        }
        self.arrivals.shrink_to_fit();
    }

    /// Arrivals held.
    pub fn len(&self) -> usize {
        self.arrivals.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::rtcp::{Compound, Packet};
    use crate::rtp::stream::tests::at;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// What each message says: its base, and the arrivals in milliseconds, `None` for lost.
    fn told(arrivals: &mut Arrivals, millis: u64, room: usize) -> Vec<(u16, Vec<Option<i64>>)> {
        let mut messages = Vec::new();
        let mut out = BytesMut::new();
        while arrivals.emit(at(millis), &mut out, room, Ssrc(1), Ssrc(2)) {
            assert!(out.len() <= room);
            let Some(Ok(Packet::TransportWide(feedback))) = Compound::new(&out).next() else { panic!() };
            let statuses = feedback.statuses().map(|status| status.arrival.map(|ticks| ticks / 4)).collect();
            messages.push((feedback.base, statuses));
            out.clear();
        }
        messages
    }

    fn feed(arrivals: &mut Arrivals, packets: &[(u16, u64)]) {
        packets
            .iter()
            .for_each(|(sequence, millis)| arrivals.handle_packet(at(*millis), Serial16(*sequence)));
    }

    #[test]
    fn feedback_tells_what_came_what_did_not_and_what_came_late() {
        let mut arrivals = Arrivals::new();
        assert_eq!(arrivals.next_timeout(), None);
        feed(&mut arrivals, &[(0xffff, 0), (1, 5), (1, 6)]);
        assert_eq!(arrivals.next_timeout(), Some(at(100)));
        assert_eq!(told(&mut arrivals, 100, 1200), [(0xffff, vec![Some(0), None, Some(5)])]);
        assert!(!arrivals.is_due(at(10_000)));
        // Lost ones at the start of the next message are told, too.
        feed(&mut arrivals, &[(4, 110)]);
        assert_eq!(told(&mut arrivals, 210, 1200), [(2, vec![None, None, Some(110)])]);
        // A late one is told with all that came after it.
        feed(&mut arrivals, &[(2, 220)]);
        assert_eq!(told(&mut arrivals, 320, 1200), [(2, vec![Some(220), None, Some(110)])]);
    }

    #[test]
    fn feedback_never_outgrows_its_room_and_goes_on_in_the_next_message() {
        let mut arrivals = Arrivals::new();
        (0..300).for_each(|n| arrivals.handle_packet(at(u64::from(n)), Serial16(3 * n)));
        assert!(arrivals.is_due(at(299)));
        let messages = told(&mut arrivals, 300, 100);
        assert!(messages.len() > 5);
        let all: Vec<Option<i64>> = messages.into_iter().flat_map(|(_, statuses)| statuses).collect();
        let expected = (0..898).map(|n| (n % 3 == 0).then_some(n / 3)).collect::<Vec<_>>();
        assert_eq!(all, expected);
        assert_eq!(told(&mut arrivals, 300, 1200), []);
    }

    #[test]
    fn nothing_accumulates_where_no_feedback_can_leave() {
        let mut arrivals = Arrivals::new();
        for n in 0..100_000u32 {
            arrivals.handle_packet(at(u64::from(n)), Serial16(u16::try_from(n % 65_536).unwrap()));
            assert!(arrivals.len() <= MAX_ARRIVALS);
        }
        assert!(arrivals.arrivals.capacity() <= 2 * MAX_ARRIVALS);
        let mut small = BytesMut::new();
        assert!(!arrivals.emit(at(100_000), &mut small, 10, Ssrc(1), Ssrc(2)) && small.is_empty());
        told(&mut arrivals, 100_000, 1200);
        assert!(arrivals.len() <= 501);
    }

    proptest! {
        #[test]
        fn every_arrival_is_told_once_it_is_emitted(
            packets in prop::collection::vec((0u16..400, 0u64..20), 1..200),
            room in 48usize..400,
        ) {
            let mut arrivals = Arrivals::new();
            let (mut now, mut expected, mut heard) = (0, BTreeMap::new(), BTreeMap::new());
            // Times count from the first arrival.
            let origin = packets[0].1;
            for (sequence, wait) in packets {
                now += wait;
                feed(&mut arrivals, &[(sequence, now)]);
                expected.entry(sequence).or_insert(now - origin);
                if arrivals.is_due(at(now)) {
                    for (base, statuses) in told(&mut arrivals, now, room) {
                        let came = (base..).zip(statuses).filter_map(|(n, status)| Some((n, status?)));
                        came.for_each(|(n, millis)| { heard.insert(n, millis); });
                    }
                    // Arrivals older than what is kept may have been forgotten, and told twice in part.
                    for (n, millis) in &heard {
                        let first = i64::try_from(expected[n]).unwrap();
                        prop_assert!((millis - first).abs() <= 1 || *millis - first > 400, "{n}: {millis} {first}");
                    }
                    prop_assert_eq!(heard.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
                }
            }
        }
    }
}
