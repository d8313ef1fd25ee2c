//! Sender reports, and what receivers report in return (RFC 3550 §6.4).

use std::time::{Duration, Instant};

use crate::rtp::ntp::{NtpTime, round_trip};
use crate::rtp::rtcp::report::{ReportBlock, SenderInfo};
use crate::rtp::stream::round_trip::RoundTrip;
use crate::wire::serial::Serial32;

/// What the receiver of a stream said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote {
    /// When it was heard.
    pub at: Instant,
    /// Share of packets lost between its last two reports, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the start, by its own count.
    pub lost: i32,
    /// Inter-arrival jitter.
    pub jitter: Duration,
    /// The highest sequence number that it saw, with cycles in the upper half.
    pub highest_sequence: u32,
}

/// The counts of one sent stream. Fixed size.
#[derive(Debug, Clone)]
pub struct Reports {
    clock_rate: u32,
    packets: u64,
    octets: u64,
    /// A media time and the moment that it stands for.
    last: Option<(Instant, Serial32)>,
    remote: Option<Remote>,
    round_trip: RoundTrip,
}

impl Reports {
    /// A stream of which nothing was sent; `clock_rate` in Hz is that of its payload type.
    pub fn new(clock_rate: u32) -> Self {
        let (packets, octets) = (0, 0);
        Reports { clock_rate, packets, octets, last: None, remote: None, round_trip: RoundTrip::new() }
    }

    /// The stream goes over to a payload type with another clock rate.
    pub fn set_clock_rate(&mut self, clock_rate: u32) {
        self.clock_rate = clock_rate;
    }

    /// A packet was sent; `at` is the moment that its media time stands for: now, if nobody knows better.
    pub fn on_sent(&mut self, at: Instant, timestamp: Serial32, payload_len: usize) {
        self.packets += 1;
        // RFC 3550 §6.4.1: payload only, neither header nor padding.
        self.octets += u64::try_from(payload_len).unwrap_or(0);
        // All packets of a frame have one time, and it is that of the first.
        if self.last.is_none_or(|(_, last)| last != timestamp) {
            self.last = Some((at, timestamp));
        }
    }

    /// What a sender report says at `now`, which is `ntp` by the wall clock. `None` before the first packet.
    pub fn sender_info(&self, now: Instant, ntp: NtpTime) -> Option<SenderInfo> {
        let (at, timestamp) = self.last?;
        // RFC 3550 §6.4.1: the same moment as `ntp`, which is not that of the last packet.
        let passed = now.saturating_duration_since(at).as_nanos() * u128::from(self.clock_rate);
        let units = u32::try_from((passed / 1_000_000_000) & 0xffff_ffff).unwrap_or(0);
        Some(SenderInfo {
            ntp,
            rtp: timestamp.add(units).0,
            packets: modulo_32(self.packets),
            octets: modulo_32(self.octets),
        })
    }

    /// A block about this stream came at `now`, which is `ntp` by the wall clock. Says the round trip, when the
    /// block gives one.
    pub fn on_report_block(&mut self, now: Instant, ntp: NtpTime, block: &ReportBlock) -> Option<Duration> {
        let jitter = u128::from(block.jitter) * 1_000_000_000;
        let jitter = jitter.checked_div(u128::from(self.clock_rate)).unwrap_or(0);
        self.remote = Some(Remote {
            at: now,
            fraction_lost: block.fraction_lost,
            lost: block.lost,
            jitter: Duration::from_nanos(u64::try_from(jitter).unwrap_or(u64::MAX)),
            highest_sequence: block.highest_sequence,
        });
        let rtt = round_trip(ntp, block.last_sr, block.delay_since_last_sr)?;
        self.round_trip.on_measured(rtt);
        Some(rtt)
    }

    /// What the receiver said last.
    pub fn remote(&self) -> Option<Remote> {
        self.remote
    }

    /// The round trips that its reports gave.
    pub fn round_trip(&self) -> &RoundTrip {
        &self.round_trip
    }

    /// Packets sent.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Payload bytes sent.
    pub fn octets(&self) -> u64 {
        self.octets
    }
}

fn modulo_32(count: u64) -> u32 {
    u32::try_from(count & 0xffff_ffff).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::stream::tests::at;
    use crate::types::ids::Ssrc;
    use proptest::prelude::*;

    fn ntp(millis: u64) -> NtpTime {
        NtpTime::from_unix(Duration::from_secs(1_700_000_000) + Duration::from_millis(millis))
    }

    #[test]
    fn the_report_tells_the_media_time_of_its_own_moment() {
        let mut reports = Reports::new(90_000);
        assert_eq!(reports.sender_info(at(0), ntp(0)), None);
        for (millis, timestamp) in [(0, u32::MAX - 99), (4, u32::MAX - 99), (33, 2900)] {
            reports.on_sent(at(millis), Serial32(timestamp), 1000);
        }
        let info = reports.sender_info(at(133), ntp(133)).unwrap();
        assert_eq!((info.rtp, info.packets, info.octets), (11_900, 3, 3000));
    }

    #[test]
    fn a_block_gives_round_trip_loss_and_jitter() {
        let mut reports = Reports::new(8000);
        let mut block = ReportBlock {
            ssrc: Ssrc(1),
            fraction_lost: 64,
            lost: 5,
            highest_sequence: 70_000,
            jitter: 80,
            last_sr: 0,
            delay_since_last_sr: 0,
        };
        assert_eq!(reports.on_report_block(at(0), ntp(0), &block), None);
        (block.last_sr, block.delay_since_last_sr) = (ntp(1000).middle(), 32_768);
        let rtt = reports.on_report_block(at(1570), ntp(1570), &block).unwrap();
        assert!(rtt.abs_diff(Duration::from_millis(70)) < Duration::from_micros(100), "{rtt:?}");
        let remote = reports.remote().unwrap();
        assert_eq!((remote.fraction_lost, remote.lost, remote.jitter), (64, 5, Duration::from_millis(10)));
        assert_eq!(reports.round_trip().measurements(), 1);
    }

    proptest! {
        #[test]
        fn whatever_a_block_says_round_trips_stay_within_their_bound(
            last_sr: u32, delay_since_last_sr: u32, jitter: u32, lost: i32, clock_rate: u32,
        ) {
            let mut reports = Reports::new(clock_rate);
            let block = ReportBlock {
                ssrc: Ssrc(1), fraction_lost: 255, lost, highest_sequence: 0, jitter, last_sr, delay_since_last_sr,
            };
            reports.on_report_block(at(0), ntp(0), &block);
            prop_assert!(reports.round_trip().smoothed().unwrap_or_default() <= crate::rtp::stream::round_trip::MAX_RTT);
        }
    }
}
