//! What came of a stream: long sequence numbers, loss, jitter, reception reports (RFC 3550 §6.4.1, A.1, A.3, A.8).
//!
//! Packets are authentic by the time they come here, so a source needs no probation. What A.1 guards against
//! is left: a number far from all others is believed only when the next one follows it.

use std::time::{Duration, Instant};

use crate::rtp::extended::{ExtendedSequence, report_sequence};
use crate::rtp::ntp::{NtpTime, to_short};
use crate::rtp::rtcp::report::ReportBlock;
use crate::types::ids::Ssrc;
use crate::wire::serial::{Serial16, Serial32};

/// RFC 3550 appendix A.1: a step forward up to this is loss, not a restart.
const MAX_DROPOUT: i32 = 3000;
/// How far behind the highest number a packet may come: retransmissions come late, so more than the 100 of A.1.
const MAX_MISORDER: i32 = 3000;

/// What a packet's number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the highest so far.
    Newest(u64),
    /// It is out of order, or came before.
    Late(u64),
    /// The sender has started anew: numbers before this one say nothing any more.
    Restart(u64),
    /// It is far from all others. Drop it: if it was the start of something new, the next one will tell.
    Stray,
}

impl Verdict {
    /// The packet's long number; `None` for a stray one.
    pub fn sequence(self) -> Option<u64> {
        match self {
            Verdict::Newest(sequence) | Verdict::Late(sequence) | Verdict::Restart(sequence) => {
                Some(sequence)
            }
            Verdict::Stray => None,
        }
    }
}

/// The reception statistics of one stream. Fixed size.
#[derive(Debug, Clone)]
pub struct Statistics {
    clock_rate: u32,
    sequence: ExtendedSequence,
    /// The first number since the last restart.
    base: u64,
    /// Where a stray packet's successor would be.
    stray: Option<Serial16>,
    received: u64,
    /// Packets that were expected, came, and were lost up to the last restart.
    before: Counts,
    /// `expected` and `received` at the last report (RFC 3550 A.3).
    reported: Counts,
    /// Packets and payload bytes in all.
    packets: u64,
    bytes: u64,
    jitter: Jitter,
    last_sender_report: Option<(NtpTime, Instant)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    expected: u64,
    received: u64,
}

/// RFC 3550 §6.4.1: J += (|D| - J) / 16, kept times 16 (appendix A.8).
#[derive(Debug, Clone, Copy, Default)]
struct Jitter {
    scaled: u64,
    last: Option<(Instant, Serial32)>,
}

impl Jitter {
    /// The largest difference that counts, in units of media time: a source that stood still for minutes says
    /// nothing about the network.
    const MAX_DIFFERENCE: u64 = 1 << 22;

    fn update(&mut self, now: Instant, timestamp: Serial32, clock_rate: u32) {
        if let Some((then, last)) = self.last {
            let passed = now.saturating_duration_since(then).as_nanos() * u128::from(clock_rate);
            let passed = i64::try_from(passed / 1_000_000_000).unwrap_or(i64::MAX / 2);
            let difference = (passed - i64::from(last.distance_to(timestamp))).unsigned_abs();
            let difference = difference.min(Self::MAX_DIFFERENCE);
            self.scaled = (self.scaled + difference).saturating_sub((self.scaled + 8) >> 4);
        }
        self.last = Some((now, timestamp));
    }

    fn units(self) -> u32 {
        u32::try_from(self.scaled >> 4).unwrap_or(u32::MAX)
    }
}

impl Statistics {
    /// A stream of which nothing came yet; `clock_rate` in Hz is that of its payload type.
    pub fn new(clock_rate: u32) -> Self {
        Statistics {
            clock_rate,
            sequence: ExtendedSequence::new(),
            base: 0,
            stray: None,
            received: 0,
            before: Counts::default(),
            reported: Counts::default(),
            packets: 0,
            bytes: 0,
            jitter: Jitter::default(),
            last_sender_report: None,
        }
    }

    /// The stream has gone over to a payload type with another clock rate: jitter is measured from here on.
    pub fn set_clock_rate(&mut self, clock_rate: u32) {
        if clock_rate != self.clock_rate {
            self.clock_rate = clock_rate;
            self.jitter.last = None;
        }
    }

    /// A packet of the stream itself came, not one that was repaired or came in a retransmission stream.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        sequence: Serial16,
        timestamp: Serial32,
        payload_len: usize,
    ) -> Verdict {
        let verdict = self.judge(sequence);
        if verdict == Verdict::Stray {
            return verdict;
        }
        self.stray = None;
        self.received += 1;
        self.packets += 1;
        self.bytes += u64::try_from(payload_len).unwrap_or(0);
        self.jitter.update(now, timestamp, self.clock_rate);
        verdict
    }

    /// Whether a number follows, lies behind, starts anew or is stray (RFC 3550 A.1).
    fn judge(&mut self, short: Serial16) -> Verdict {
        let long = self.sequence.estimate(short);
        let Some(highest) = self.sequence.highest() else {
            self.base = long;
            self.sequence.advance(long);
            return Verdict::Newest(long);
        };
        let step = crate::rtp::extended::short_sequence(highest).distance_to(short);
        if (1..=MAX_DROPOUT).contains(&i32::from(step)) {
            self.sequence.advance(long);
            return Verdict::Newest(long);
        }
        if (-MAX_MISORDER..=0).contains(&i32::from(step)) {
            return Verdict::Late(long);
        }
        if self.stray != Some(short) {
            self.stray = Some(short.next());
            return Verdict::Stray;
        }
        self.restart(highest, long)
    }

    /// Two numbers in a row are far from all others: the source counts anew. Long numbers only grow.
    fn restart(&mut self, highest: u64, long: u64) -> Verdict {
        self.before = self.totals();
        let long = if long > highest { long } else { long + ExtendedSequence::CYCLE };
        self.sequence.advance(long);
        (self.base, self.received) = (long, 0);
        self.jitter.last = None;
        Verdict::Restart(long)
    }

    /// The long number that `sequence` stands for, for packets that came another way: repaired ones, or those
    /// of a retransmission stream. `None` before the first packet, and when it is too far away to be told.
    pub fn estimate(&self, sequence: Serial16) -> Option<u64> {
        let highest = self.sequence.highest()?;
        let long = self.sequence.estimate(sequence);
        (long.abs_diff(highest) <= u64::from(MAX_MISORDER.unsigned_abs())).then_some(long)
    }

    /// The highest long number so far.
    pub fn highest(&self) -> Option<u64> {
        self.sequence.highest()
    }

    /// A sender report of the stream came.
    pub fn on_sender_report(&mut self, now: Instant, ntp: NtpTime) {
        self.last_sender_report = Some((ntp, now));
    }

    fn totals(&self) -> Counts {
        let expected = self.sequence.highest().map_or(0, |highest| highest + 1 - self.base.min(highest));
        Counts { expected: self.before.expected + expected, received: self.before.received + self.received }
    }

    /// The block that tells of this stream; what was lost counts from the last block on. `None` before the
    /// first packet.
    pub fn take_report(&mut self, now: Instant, ssrc: Ssrc) -> Option<ReportBlock> {
        let highest = self.sequence.highest()?;
        let totals = self.totals();
        // RFC 3550 A.3: of the packets expected since the last report, those that did not come.
        let expected = totals.expected.saturating_sub(self.reported.expected);
        let received = totals.received.saturating_sub(self.reported.received);
        self.reported = totals;
        let lost = expected.saturating_sub(received);
        let fraction = (lost << 8).checked_div(expected).unwrap_or(0);
        let (last_sr, delay) = self
            .last_sender_report
            .map_or((0, 0), |(ntp, at)| (ntp.middle(), to_short(now.saturating_duration_since(at))));
        Some(ReportBlock {
            ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            lost: self.lost(),
            highest_sequence: report_sequence(highest),
            jitter: self.jitter.units(),
            last_sr,
            delay_since_last_sr: delay,
        })
    }

    /// Packets that came, duplicates included.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Payload bytes that came.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Packets expected less packets that came: negative with duplicates; within 24 bits (RFC 3550 A.3).
    pub fn lost(&self) -> i32 {
        let totals = self.totals();
        let (expected, received) = (i64::try_from(totals.expected), i64::try_from(totals.received));
        let lost = expected.unwrap_or(i64::MAX).saturating_sub(received.unwrap_or(i64::MAX));
        i32::try_from(lost.clamp(-(1 << 23), (1 << 23) - 1)).unwrap_or(0)
    }

    /// The inter-arrival jitter.
    pub fn jitter(&self) -> Duration {
        let units = u128::from(self.jitter.units()) * 1_000_000_000;
        let nanos = units.checked_div(u128::from(self.clock_rate)).unwrap_or(0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::stream::tests::at;
    use proptest::prelude::*;

    fn feed(statistics: &mut Statistics, sequence: u16) -> Verdict {
        statistics.handle_packet(at(0), Serial16(sequence), Serial32(0), 100)
    }

    #[test]
    fn loss_is_counted_since_the_last_report() {
        let mut statistics = Statistics::new(90_000);
        assert_eq!(statistics.take_report(at(0), Ssrc(1)), None);
        for sequence in (0..100).filter(|n| n % 4 != 1) {
            feed(&mut statistics, sequence);
        }
        let block = statistics.take_report(at(0), Ssrc(1)).unwrap();
        assert_eq!((block.fraction_lost, block.lost, block.highest_sequence), (64, 25, 99));
        let again = statistics.take_report(at(0), Ssrc(1)).unwrap();
        assert_eq!((again.fraction_lost, again.lost), (0, 25));
        feed(&mut statistics, 100);
        feed(&mut statistics, 100);
        // RFC 3550 A.3: duplicates make the number smaller, the fraction never negative.
        let duplicate = statistics.take_report(at(0), Ssrc(1)).unwrap();
        assert_eq!((duplicate.fraction_lost, duplicate.lost), (0, 24));
        assert_eq!((statistics.packets(), statistics.bytes()), (77, 7700));
    }

    #[test]
    fn numbers_go_on_across_the_wrap_and_cycles_are_reported() {
        let mut statistics = Statistics::new(90_000);
        assert_eq!(feed(&mut statistics, 0xfffe), Verdict::Newest(65_536 + 0xfffe));
        assert_eq!(feed(&mut statistics, 1), Verdict::Newest(2 * 65_536 + 1));
        assert_eq!(feed(&mut statistics, 0xffff), Verdict::Late(65_536 + 0xffff));
        let block = statistics.take_report(at(0), Ssrc(1)).unwrap();
        assert_eq!((block.highest_sequence, block.lost), (0x0001_0001, 1));
    }

    #[test]
    fn a_stray_number_is_dropped_and_a_restart_is_believed_at_its_second_packet() {
        // RFC 3550 A.1: two sequential packets.
        for other in [5000, 40_000, 60_000] {
            let mut statistics = Statistics::new(90_000);
            feed(&mut statistics, 1000);
            assert_eq!(feed(&mut statistics, other), Verdict::Stray, "{other}");
            assert_eq!(feed(&mut statistics, 1001), Verdict::Newest(65_536 + 1001));
            assert_eq!(feed(&mut statistics, other), Verdict::Stray);
            let Verdict::Restart(long) = feed(&mut statistics, other + 1) else { panic!("no restart") };
            assert!(long > 65_536 + 1001);
            assert_eq!(statistics.lost(), 0);
            assert_eq!(feed(&mut statistics, other + 3), Verdict::Newest(long + 2));
            assert_eq!(statistics.lost(), 1);
        }
    }

    #[test]
    fn jitter_follows_the_rfcs_filter() {
        let mut statistics = Statistics::new(8000);
        // Packets of 20 ms, one of them 10 ms late: |D| is 80 units twice.
        for (sequence, millis) in [(0u16, 0u64), (1, 20), (2, 50), (3, 60)] {
            let timestamp = Serial32(160 * u32::from(sequence));
            statistics.handle_packet(at(millis), Serial16(sequence), timestamp, 160);
        }
        // Times 16: 80, then 80 + 80 - 5.
        assert_eq!(statistics.jitter.scaled, 155);
        assert_eq!(statistics.jitter(), Duration::from_micros(1125));
    }

    #[test]
    fn the_block_tells_how_long_ago_a_sender_report_came() {
        let mut statistics = Statistics::new(8000);
        feed(&mut statistics, 1);
        statistics.on_sender_report(at(100), NtpTime(0x1111_2222_3333_4444));
        let block = statistics.take_report(at(5350), Ssrc(1)).unwrap();
        assert_eq!((block.last_sr, block.delay_since_last_sr), (0x2222_3333, 0x0005_4000));
    }

    proptest! {
        #[test]
        fn any_numbers_keep_the_counts_within_their_range(
            packets in prop::collection::vec((any::<u16>(), any::<u32>(), 0u64..1 << 40), 1..200),
        ) {
            let mut statistics = Statistics::new(90_000);
            let mut highest = 0;
            for (sequence, timestamp, millis) in packets {
                let now = at(millis);
                let verdict = statistics.handle_packet(now, Serial16(sequence), Serial32(timestamp), 1);
                if let Some(long) = verdict.sequence() {
                    prop_assert_eq!(long % 65_536, u64::from(sequence));
                }
                prop_assert!(statistics.highest().unwrap() >= highest, "long numbers only grow");
                highest = statistics.highest().unwrap();
                let _ = statistics.take_report(now, Ssrc(1));
                prop_assert!(statistics.jitter.scaled <= 16 * Jitter::MAX_DIFFERENCE);
            }
        }
    }
}
