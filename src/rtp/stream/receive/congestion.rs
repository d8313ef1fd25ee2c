//! Feedback of RFC 8888 about what came: per stream, with marks of the network.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::packet::Ecn;
use crate::rtp::extended::{ExtendedSequence, short_sequence};
use crate::rtp::ntp::NtpTime;
use crate::rtp::rtcp::ccfb::{Arrival, FeedbackWriter};
use crate::types::ids::Ssrc;
use crate::wire::serial::Serial16;

/// Streams reported on at most; others are not.
const MAX_STREAMS: usize = 64;
/// Packets of one stream that are kept at most: the newest numbers. 24 bytes each.
const MAX_PACKETS: usize = 512;
/// RFC 8888 §3: between 50 and 200 ms is a good interval at the rates of video.
const INTERVAL: Duration = Duration::from_millis(100);

/// What came of the streams of a transport.
#[derive(Debug, Default)]
pub struct Congestion {
    streams: Vec<Stream>,
    origin: Option<Instant>,
    due: Option<Instant>,
    /// The stream that the next message starts with: where the last one ended.
    first: usize,
}

#[derive(Debug)]
struct Stream {
    ssrc: Ssrc,
    sequence: ExtendedSequence,
    /// The number of the first entry of `packets`.
    begin: u64,
    /// What came of the numbers from `begin` on; `None` for those that have not come.
    packets: VecDeque<Option<Arrival>>,
}

impl Stream {
    fn note(&mut self, sequence: Serial16, arrival: Arrival) {
        let sequence = self.sequence.extend(sequence);
        if self.packets.is_empty() && sequence >= self.begin.saturating_add(wide(MAX_PACKETS)) {
            self.begin = sequence;
        }
        // Numbers that were told already are not told again: a late packet stays lost for the other side.
        let Some(place) = sequence.checked_sub(self.begin) else { return };
        let end = wide(self.packets.len());
        if place >= end {
            // The newest matter. A leap beyond all that is kept leaves nothing of it.
            let excess = (place + 1).saturating_sub(wide(MAX_PACKETS));
            let dropped = usize::try_from(excess).map_or(self.packets.len(), |n| n.min(self.packets.len()));
            self.packets.drain(..dropped);
            self.begin += excess;
            while wide(self.packets.len()) <= sequence - self.begin {
                self.packets.push_back(None);
            }
        }
        let place = usize::try_from(sequence - self.begin).ok().and_then(|at| self.packets.get_mut(at));
        if let Some(place) = place {
            // RFC 8888 §3.1: of duplicates the first counts, and the mark if one of them had it.
            match place {
                Some(first) if arrival.ecn == Ecn::Ce => first.ecn = Ecn::Ce,
                Some(_) => {}
                None => *place = Some(arrival),
            }
        }
    }

    fn on_told(&mut self, count: usize) {
        self.packets.drain(..count.min(self.packets.len()));
        self.begin += wide(count);
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl Congestion {
    /// Nothing came.
    pub fn new() -> Self {
        Congestion::default()
    }

    /// A packet of a stream came, with this mark. Streams beyond 64 are not reported on.
    pub fn handle_packet(&mut self, now: Instant, ssrc: Ssrc, sequence: Serial16, ecn: Ecn) {
        let origin = *self.origin.get_or_insert(now);
        let arrival = Arrival { at: now.saturating_duration_since(origin), ecn };
        let stream = match self.streams.iter_mut().position(|stream| stream.ssrc == ssrc) {
            Some(known) => self.streams.get_mut(known),
            None if self.streams.len() < MAX_STREAMS => {
                let begin = ExtendedSequence::new().estimate(sequence);
                let sequence = ExtendedSequence::new();
                self.streams.push(Stream { ssrc, sequence, begin, packets: VecDeque::new() });
                self.streams.last_mut()
            }
            None => None,
        };
        if let Some(stream) = stream {
            stream.note(sequence, arrival);
            self.due.get_or_insert(now + INTERVAL);
        }
    }

    /// A stream has ended.
    pub fn forget(&mut self, ssrc: Ssrc) {
        self.streams.retain(|stream| stream.ssrc != ssrc);
        self.first = 0;
    }

    /// Whether feedback is due.
    pub fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// When feedback is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Appends one feedback message of at most `room` bytes; `ntp` is the wall clock at `now`. False, and
    /// nothing appended, when there is nothing to tell, or no room. Call again until it is.
    pub fn emit(
        &mut self,
        now: Instant,
        ntp: NtpTime,
        out: &mut BytesMut,
        room: usize,
        sender: Ssrc,
    ) -> bool {
        let Some(origin) = self.origin.filter(|_| self.has_untold()) else {
            self.due = None;
            return false;
        };
        // Head, time stamp, one block with two metrics.
        if room < 12 + 8 + 4 {
            return false;
        }
        let moment = now.saturating_duration_since(origin);
        let Some(mut writer) = FeedbackWriter::new(out, room, sender, moment) else { return false };
        let count = self.streams.len();
        for turn in 0..count {
            let at = (self.first + turn) % count;
            let Some(stream) = self.streams.get_mut(at) else { continue };
            if stream.packets.is_empty() {
                continue;
            }
            let begin = short_sequence(stream.begin).0;
            let told = writer.push(stream.ssrc, begin, stream.packets.make_contiguous());
            stream.on_told(told);
            if !stream.packets.is_empty() {
                // The message is full.
                self.first = at;
                break;
            }
        }
        writer.finish(ntp.middle());
        if !self.has_untold() {
            self.due = None;
        }
        true
    }

    fn has_untold(&self) -> bool {
        self.streams.iter().any(|stream| !stream.packets.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::rtcp::{Compound, Packet};
    use crate::rtp::stream::tests::at;
    use proptest::prelude::*;

    const NTP: NtpTime = NtpTime(0x0000_1234_5678_0000);

    type Told = Vec<(u32, u16, Option<(u8, Option<u16>)>)>;

    fn told(congestion: &mut Congestion, millis: u64, room: usize) -> Told {
        let (mut all, mut out) = (Vec::new(), BytesMut::new());
        while congestion.emit(at(millis), NTP, &mut out, room, Ssrc(1)) {
            assert!(out.len() <= room);
            let Some(Ok(Packet::Congestion(feedback))) = Compound::new(&out).next() else { panic!() };
            assert_eq!(feedback.timestamp, 0x1234_5678);
            for block in feedback.blocks() {
                let metrics = block.metrics();
                all.extend(metrics.map(|(n, m)| (block.ssrc.0, n, m.map(|m| (m.ecn as u8, m.before)))));
            }
            out.clear();
        }
        all
    }

    #[test]
    fn each_stream_is_told_with_marks_and_times() {
        let mut congestion = Congestion::new();
        congestion.handle_packet(at(0), Ssrc(7), Serial16(0xffff), Ecn::Ect0);
        congestion.handle_packet(at(50), Ssrc(7), Serial16(1), Ecn::Ect0);
        congestion.handle_packet(at(60), Ssrc(7), Serial16(1), Ecn::Ce);
        congestion.handle_packet(at(60), Ssrc(8), Serial16(5), Ecn::NotEct);
        assert!(!congestion.is_due(at(99)) && congestion.is_due(at(100)));
        let expected = [
            (7, 0xffff, Some((2, Some(102)))),
            (7, 0, None),
            (7, 1, Some((3, Some(51)))),
            (8, 5, Some((0, Some(40)))),
        ];
        assert_eq!(told(&mut congestion, 100, 1200), expected);
        assert_eq!(congestion.next_timeout(), None);
        // What was told is not told again, and what is missing behind it is.
        congestion.handle_packet(at(110), Ssrc(7), Serial16(0), Ecn::Ect0);
        congestion.handle_packet(at(200), Ssrc(7), Serial16(3), Ecn::Ect0);
        assert_eq!(told(&mut congestion, 200, 1200), [(7, 2, None), (7, 3, Some((2, Some(0))))]);
    }

    #[test]
    fn floods_of_streams_and_leaps_of_numbers_are_bounded() {
        let mut congestion = Congestion::new();
        for ssrc in 0..2000 {
            congestion.handle_packet(at(0), Ssrc(ssrc), Serial16(0), Ecn::NotEct);
            congestion.handle_packet(at(0), Ssrc(ssrc), Serial16(30_000), Ecn::NotEct);
        }
        assert_eq!(congestion.streams.len(), MAX_STREAMS);
        assert!(congestion.streams.iter().all(|stream| stream.packets.len() <= MAX_PACKETS));
        assert_eq!(told(&mut congestion, 100, 1200).len(), MAX_STREAMS * MAX_PACKETS);
        congestion.forget(Ssrc(5));
        assert_eq!(congestion.streams.len(), MAX_STREAMS - 1);
    }

    proptest! {
        #[test]
        fn every_number_is_told_once(
            packets in prop::collection::vec((0u32..3, 0u16..300, 0u64..10), 1..200),
            room in 24usize..200,
        ) {
            let mut congestion = Congestion::new();
            let mut heard = std::collections::BTreeSet::new();
            let mut now = 0;
            for (ssrc, sequence, wait) in packets {
                now += wait;
                congestion.handle_packet(at(now), Ssrc(ssrc), Serial16(sequence), Ecn::NotEct);
                if congestion.is_due(at(now)) {
                    for (ssrc, sequence, _) in told(&mut congestion, now, room) {
                        prop_assert!(heard.insert((ssrc, sequence)), "{ssrc} {sequence} twice");
                    }
                }
            }
        }
    }
}
