//! Every packet of a transport, from leaving to the feedback about it: what a bandwidth estimator lives on.
//!
//! ```text
//!  on_sent ──> ring of the last packets, by transport-wide number
//!                   └── TWCC or RFC 8888 feedback ──> one result for each packet, told once when it came
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::packet::Ecn;
use crate::rtp::extended::ExtendedSequence;
use crate::rtp::ntp::from_short;
use crate::rtp::rtcp::{ccfb, twcc};
use crate::types::ids::Ssrc;
use crate::wire::serial::Serial16;

/// Packets remembered at most, 56 bytes each.
const MAX_PACKETS: usize = 2048;
/// How long a packet is remembered: later feedback changes nothing.
const MAX_AGE: Duration = Duration::from_secs(5);

/// Steps of searching that one message may cost: enough for any that was made honestly.
const MAX_STEPS: usize = 32 * MAX_PACKETS;

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketResult {
    /// Its long transport-wide number.
    pub sequence: u64,
    /// Its stream.
    pub ssrc: Ssrc,
    /// Its size in bytes.
    pub size: u32,
    /// When it left.
    pub sent: Instant,
    /// When it came, on the receiver's clock, whose zero nobody knows: differences matter. `None`: it was
    /// reported missing, which later feedback may still take back.
    pub received: Option<Duration>,
    /// The network's mark, with RFC 8888; [`Ecn::NotEct`] otherwise.
    pub ecn: Ecn,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    ssrc: Ssrc,
    stream_sequence: Serial16,
    size: u32,
    at: Instant,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Unknown,
    Missing,
    Came,
}

/// The packets sent over one transport.
#[derive(Debug, Default)]
pub struct Transport {
    /// The number of the next packet.
    next: u64,
    /// The packets before it, the newest last.
    sent: VecDeque<Sent>,
    /// The receiver's clock, without the wraps of the wire.
    clock: ReceiverClock,
    in_flight: u64,
    came: u64,
    missing: u64,
}

/// Reference times of 24 bits and time stamps of 32 bits wrap; what is handed out does not.
#[derive(Debug, Default)]
struct ReceiverClock {
    /// The last reference time of TWCC feedback, in ticks, unwrapped.
    ticks: Option<i64>,
    /// The last time stamp of RFC 8888 feedback, in 1/65,536 s, unwrapped.
    units: crate::rtp::extended::ExtendedTime,
}

/// Ticks after which the reference time wraps: 2^24 times 64 ms.
const TICKS_CYCLE: i64 = (1 << 24) * 256;

impl ReceiverClock {
    /// What must be added to the ticks of feedback with this reference time.
    fn ticks_offset(&mut self, reference: i64) -> i64 {
        // The first one is moved into the middle of a cycle, so that nothing is negative.
        let last = self.ticks.unwrap_or(reference.rem_euclid(TICKS_CYCLE) + TICKS_CYCLE);
        let step = (reference - last).rem_euclid(TICKS_CYCLE);
        let step = if step >= TICKS_CYCLE / 2 { step - TICKS_CYCLE } else { step };
        // Old feedback does not turn the clock back, however often it comes.
        let now = (last + step).max(0);
        self.ticks = Some(last.max(now));
        now - reference
    }
}

impl Transport {
    /// Nothing was sent.
    pub fn new() -> Self {
        Transport::default()
    }

    /// The transport-wide number of the packet that is sent next. It counts from 0; its low 16 bits are sent.
    pub fn next_sequence(&self) -> u64 {
        self.next
    }

    /// The packet with [`next_sequence`](Self::next_sequence) leaves: `size` bytes of stream `ssrc`, where it
    /// has the number `stream_sequence`.
    pub fn on_sent(&mut self, now: Instant, ssrc: Ssrc, stream_sequence: Serial16, size: usize) {
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        self.forget(now, MAX_PACKETS - 1);
        self.in_flight += u64::from(size);
        self.sent.push_back(Sent { ssrc, stream_sequence, size, at: now, fate: Fate::Unknown });
        self.next += 1;
    }

    /// Forgets the oldest packets: those that are too old, and those that are too many.
    fn forget(&mut self, now: Instant, most: usize) {
        let horizon = now.checked_sub(MAX_AGE);
        while self.sent.len() > most
            || self.sent.front().is_some_and(|sent| horizon.is_some_and(|horizon| sent.at < horizon))
        {
            if let Some(old) = self.sent.pop_front().filter(|sent| sent.fate != Fate::Came) {
                self.in_flight -= u64::from(old.size);
            }
        }
    }

    /// Gives back memory that only busy times need.
    pub fn slim(&mut self, now: Instant) {
        self.forget(now, MAX_PACKETS);
        self.sent.shrink_to_fit();
    }

    /// Transport-wide feedback came. Results come in order of numbers, and only if they are asked for: walk to
    /// the end. Packets that are not known, and those that were told to have come, give none.
    pub fn handle_transport_wide<'a>(
        &'a mut self,
        feedback: &twcc::Feedback<'a>,
    ) -> impl Iterator<Item = PacketResult> + use<'a> {
        let offset = self.clock.ticks_offset(feedback.reference_micros() / twcc::TICK_MICROS);
        // RFC 1982: the number nearest to those sent last.
        let mut numbers = ExtendedSequence::new();
        numbers.advance(self.next.saturating_add(ExtendedSequence::CYCLE));
        let base = numbers.estimate(Serial16(feedback.base)).checked_sub(ExtendedSequence::CYCLE);
        feedback.statuses().zip(0u64..).filter_map(move |(status, at)| {
            let sequence = base?.checked_add(at)?;
            let received = status.arrival.map(|ticks| {
                let micros = (ticks + offset).saturating_mul(twcc::TICK_MICROS);
                Duration::from_micros(u64::try_from(micros).unwrap_or(0))
            });
            self.settle(sequence, received, Ecn::NotEct)
        })
    }

    /// Feedback of RFC 8888 came. As [`handle_transport_wide`](Self::handle_transport_wide), in the order of
    /// the feedback.
    pub fn handle_congestion<'a>(
        &'a mut self,
        feedback: &ccfb::Feedback<'a>,
    ) -> impl Iterator<Item = PacketResult> + use<'a> {
        let moment = self.clock.units.extend(crate::wire::serial::Serial32(feedback.timestamp));
        let blocks = feedback.blocks().flat_map(|block| {
            let ssrc = block.ssrc;
            block.metrics().map(move |(sequence, metric)| (ssrc, Serial16(sequence), metric))
        });
        // Both the feedback and the packets are in order of numbers: the search goes on where it ended.
        let (mut from, mut steps) = (0, MAX_STEPS);
        blocks.filter_map(move |(ssrc, number, metric)| {
            let index = self.find(ssrc, number, from, &mut steps)?;
            from = index + 1;
            let sequence = self.oldest() + u64::try_from(index).ok()?;
            match metric {
                None => self.settle(sequence, None, Ecn::NotEct),
                Some(metric) => {
                    let before = u64::from(metric.before?) << 6;
                    let received = moment.saturating_sub(before);
                    self.settle(sequence, Some(long_units(received)), metric.ecn)
                }
            }
        })
    }

    /// Where the packet of a stream is, searched from `from` round to it, while `steps` last.
    fn find(&self, ssrc: Ssrc, number: Serial16, from: usize, steps: &mut usize) -> Option<usize> {
        let from = from.min(self.sent.len());
        let around = self.sent.range(from..).zip(from..).chain(self.sent.range(..from).zip(0..));
        let mut walked = 0;
        let mut near = around.take(*steps).inspect(|_| walked += 1);
        let found = near.find(|(sent, _)| sent.ssrc == ssrc && sent.stream_sequence == number);
        let index = found.map(|(_, index)| index);
        *steps -= walked;
        index
    }

    /// The number of the oldest packet that is remembered.
    fn oldest(&self) -> u64 {
        self.next - u64::try_from(self.sent.len()).unwrap_or(0)
    }

    fn settle(&mut self, sequence: u64, received: Option<Duration>, ecn: Ecn) -> Option<PacketResult> {
        let index = usize::try_from(sequence.checked_sub(self.oldest())?).ok()?;
        let sent = self.sent.get_mut(index).filter(|sent| sent.fate != Fate::Came)?;
        match received {
            Some(_) => {
                self.came += 1;
                self.missing -= u64::from(sent.fate == Fate::Missing);
                self.in_flight -= u64::from(sent.size);
                sent.fate = Fate::Came;
            }
            None => {
                self.missing += u64::from(sent.fate == Fate::Unknown);
                sent.fate = Fate::Missing;
            }
        }
        Some(PacketResult { sequence, ssrc: sent.ssrc, size: sent.size, sent: sent.at, received, ecn })
    }

    /// Bytes sent of which nobody knows that they came, up to 5 s old.
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Packets that came.
    pub fn came(&self) -> u64 {
        self.came
    }

    /// Packets that were reported missing and have not come since.
    pub fn missing(&self) -> u64 {
        self.missing
    }
}

/// The duration of units of 1/65,536 s, which may be more than 32 bits of them.
fn long_units(units: u64) -> Duration {
    let low = u32::try_from(units & 0xffff).unwrap_or(0);
    Duration::from_secs(units >> 16) + from_short(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::ntp::NtpTime;
    use crate::rtp::rtcp::{Compound, Packet};
    use crate::rtp::stream::receive::{Arrivals, Congestion};
    use crate::rtp::stream::tests::at;
    use bytes::BytesMut;
    use proptest::prelude::*;

    const A: Ssrc = Ssrc(1);
    const B: Ssrc = Ssrc(2);

    fn heard(transport: &mut Transport, message: &[u8]) -> Vec<PacketResult> {
        match Compound::new(message).next() {
            Some(Ok(Packet::TransportWide(feedback))) => transport.handle_transport_wide(&feedback).collect(),
            Some(Ok(Packet::Congestion(feedback))) => transport.handle_congestion(&feedback).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn transport_wide_feedback_settles_each_packet_once() {
        let mut transport = Transport::new();
        let mut arrivals = Arrivals::new();
        let mut out = BytesMut::new();
        for n in 0..100_000u64 {
            assert_eq!(transport.next_sequence(), n);
            let wire = Serial16(u16::try_from(n % 65_536).unwrap());
            transport.on_sent(at(n), A, wire, 1000);
            if n % 10 != 3 {
                arrivals.handle_packet(at(n + 30), wire);
            }
            if arrivals.is_due(at(n + 30)) {
                arrivals.emit(at(n + 30), &mut out, 1200, B, A);
                let results = heard(&mut transport, &out);
                assert!(results.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
                for pair in results.windows(2) {
                    let (Some(first), Some(second)) = (pair[0].received, pair[1].received) else { continue };
                    assert_eq!(second - first, pair[1].sent - pair[0].sent);
                }
                assert!(heard(&mut transport, &out).iter().all(|result| result.received.is_none()));
                out.clear();
            }
        }
        assert!(transport.came() >= 89_900 && (9_980..=10_000).contains(&transport.missing()));
        assert!(transport.sent.len() <= MAX_PACKETS);
        // Those that did not come, and the last that were not told of.
        assert!(transport.in_flight() <= 1000 * (MAX_PACKETS as u64 / 10 + 120));
    }

    #[test]
    fn feedback_for_unknown_packets_changes_nothing() {
        // HARDENING: whatever it announces.
        let mut transport = Transport::new();
        let mut arrivals = Arrivals::new();
        (0..300).for_each(|n| arrivals.handle_packet(at(n), Serial16(u16::try_from(n).unwrap() + 1000)));
        let mut out = BytesMut::new();
        arrivals.emit(at(300), &mut out, 1200, B, A);
        assert_eq!(heard(&mut transport, &out), []);
        transport.on_sent(at(0), A, Serial16(0), 1000);
        assert_eq!(heard(&mut transport, &out), []);
        assert_eq!((transport.in_flight(), transport.came(), transport.missing()), (1000, 0, 0));
    }

    #[test]
    fn feedback_per_stream_settles_packets_with_their_marks() {
        let mut transport = Transport::new();
        let mut congestion = Congestion::new();
        for n in 0..200u16 {
            let (ssrc, number) = (if n % 3 == 0 { B } else { A }, Serial16(65_500u16.wrapping_add(n)));
            transport.on_sent(at(u64::from(n)), ssrc, number, 500);
            if n % 10 != 4 {
                let ecn = if n % 10 == 5 { Ecn::Ce } else { Ecn::Ect1 };
                congestion.handle_packet(at(u64::from(n) + 50), ssrc, number, ecn);
            }
        }
        let mut out = BytesMut::new();
        let ntp = NtpTime::from_unix(Duration::from_secs(1_700_000_000));
        assert!(congestion.emit(at(300), ntp, &mut out, 1200, B));
        let mut results = heard(&mut transport, &out);
        results.sort_by_key(|result| result.sequence);
        assert_eq!(results.len(), 200);
        for result in &results {
            match result.sequence % 10 {
                4 => assert_eq!(result.received, None),
                5 => assert_eq!(result.ecn, Ecn::Ce),
                _ => assert_eq!(result.ecn, Ecn::Ect1),
            }
        }
        let first = results[0].received.unwrap();
        for result in results.iter().filter(|result| result.received.is_some()) {
            let passed = (result.received.unwrap() - first).as_secs_f64();
            let expected = (result.sent - results[0].sent).as_secs_f64();
            assert!((passed - expected).abs() < 0.002, "{passed} {expected}");
        }
        assert_eq!((transport.came(), transport.missing()), (180, 20));
    }

    #[test]
    fn reference_times_go_on_across_their_wrap() {
        let mut clock = ReceiverClock::default();
        let top = (1 << 23) * 256 - 256;
        let before = top + clock.ticks_offset(top);
        let after = -top - 256 + clock.ticks_offset(-top - 256);
        assert_eq!(after - before, 256);
        assert_eq!(top + clock.ticks_offset(top), before);
    }

    proptest! {
        #[test]
        fn any_feedback_keeps_the_counts_true(
            sent in prop::collection::vec((any::<bool>(), 1usize..2000), 0..50),
            messages in prop::collection::vec(
                (any::<u16>(), 1u16..60, any::<i32>(), prop::collection::vec(any::<u8>(), 0..60)), 1..20),
        ) {
            let mut transport = Transport::new();
            for (n, (stream, size)) in (0u16..).zip(&sent) {
                transport.on_sent(at(0), if *stream { A } else { B }, Serial16(n), *size);
            }
            let total: usize = sent.iter().map(|(_, size)| size).sum();
            for (base, count, reference, body) in messages {
                let mut message = vec![0x8f, 205, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2];
                message.extend((base % 64).to_be_bytes());
                message.extend(count.to_be_bytes());
                message.extend(&reference.to_be_bytes()[1..]);
                message.push(0);
                message.extend(body);
                message.resize(message.len().next_multiple_of(4), 0);
                message[3] = u8::try_from(message.len() / 4 - 1).unwrap();
                if let Some(Ok(Packet::TransportWide(feedback))) = Compound::new(&message).next() {
                    let results: Vec<_> = transport.handle_transport_wide(&feedback).collect();
                    prop_assert!(results.len() <= sent.len());
                }
                let came: u64 = transport.sent.iter().filter(|s| s.fate == Fate::Came).map(|s| u64::from(s.size)).sum();
                prop_assert_eq!(transport.in_flight() + came, u64::try_from(total).unwrap());
                prop_assert!(transport.came() + transport.missing() <= u64::try_from(sent.len()).unwrap());
            }
        }
    }
}
