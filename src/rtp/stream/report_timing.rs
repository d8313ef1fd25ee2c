//! When RTCP leaves (RFC 3550 §6.2, §6.3; RFC 4585 §3.5), between two participants.
//!
//! Reports go out at an interval, dithered so that two ends do not fall into step. Feedback goes out at once
//! ("early") as long as it stays in its share of the bandwidth: each packet pays for the interval that
//! `2 * avg_rtcp_size / rtcp_bw` gives to one of two members, and one interval may be owed. In the long run that
//! is what RFC 4585 §3.5.2 allows, which skips a regular packet for each early one; a packet that is suppressed
//! there (§3.5.3, 2c) is simply never scheduled here.

use std::time::{Duration, Instant};

use crate::rng::Rng;

/// How much RTCP, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportTimingConfig {
    /// The mean time between reports (`T_rr_interval`). 1 s is usual with video, 5 s with audio alone.
    pub interval: Duration,
    /// Bits per second that both sides may spend on RTCP: 5 % of the session's (RFC 3550 §6.2).
    pub bandwidth: u64,
}

impl Default for ReportTimingConfig {
    /// One report each second, 100 kbit/s: a twentieth of ordinary video.
    fn default() -> Self {
        ReportTimingConfig { interval: Duration::from_secs(1), bandwidth: 100_000 }
    }
}

/// Bytes that UDP and IP add to a packet: they count (RFC 3550 §6.2).
const LOWER_LAYERS: u64 = 28;
/// The size of packets that is assumed before one was seen.
const FIRST_SIZE: u64 = 128;
/// However little bandwidth there is, feedback is not held back longer.
const MAX_EARLY_INTERVAL: Duration = Duration::from_secs(1);

/// The schedule of one session.
#[derive(Debug)]
pub struct ReportTiming {
    config: ReportTimingConfig,
    /// When the next report is due.
    regular: Instant,
    /// From when on feedback may leave by itself.
    early: Instant,
    /// RFC 3550 §6.3.3: a moving average, in bytes, times 16.
    average_size: u64,
}

impl ReportTiming {
    /// Starts at `now`. The first report comes after half a second, dithered (RFC 3550 §6.2: half of the
    /// initial minimum, which RFC 4585 §3.4 sets to 1 s).
    pub fn new(now: Instant, config: ReportTimingConfig, rng: &mut Rng) -> Self {
        let regular = now + dithered(Duration::from_millis(500).min(config.interval), rng);
        ReportTiming { config, regular, early: now, average_size: 16 * FIRST_SIZE }
    }

    /// The bandwidth has changed.
    pub fn set_bandwidth(&mut self, bandwidth: u64) {
        self.config.bandwidth = bandwidth;
    }

    /// A report is wanted soon, as after the start of a stream: within half a second.
    pub fn hasten(&mut self, now: Instant, rng: &mut Rng) {
        let soon = now + dithered(Duration::from_millis(250).min(self.config.interval), rng);
        self.regular = self.regular.min(soon);
    }

    /// Whether a report is due. It may carry any feedback that waits.
    pub fn is_report_due(&self, now: Instant) -> bool {
        self.regular <= now
    }

    /// Whether feedback may leave now, before the next report.
    pub fn may_send_early(&self, now: Instant) -> bool {
        self.early <= now
    }

    /// When the next report is due.
    pub fn next_report(&self) -> Instant {
        self.regular
    }

    /// When feedback that waits may leave: with the next report at the latest.
    pub fn next_early(&self) -> Instant {
        self.early.min(self.regular)
    }

    /// A report has left, `size` bytes with the encryption's share.
    pub fn on_report_sent(&mut self, now: Instant, size: usize, rng: &mut Rng) {
        self.regular = now + dithered(self.config.interval, rng);
        self.on_size(size);
        self.pay(now);
    }

    /// Feedback has left before its time.
    pub fn on_early_sent(&mut self, now: Instant, size: usize) {
        self.on_size(size);
        self.pay(now);
    }

    /// A packet came from the other side: it counts for the average (RFC 3550 §6.3.3).
    pub fn on_received(&mut self, size: usize) {
        self.on_size(size);
    }

    fn on_size(&mut self, size: usize) {
        // No datagram is larger.
        let size = u64::try_from(size.min(0xffff)).unwrap_or(0) + LOWER_LAYERS;
        self.average_size = self.average_size - self.average_size / 16 + size;
    }

    fn pay(&mut self, now: Instant) {
        // RFC 3550 §6.3.1: T = n * C, with two members; C is the average size over the bandwidth.
        let bits = 2 * 8 * self.average_size / 16;
        let nanos = u128::from(bits) * 1_000_000_000;
        let nanos = nanos.checked_div(u128::from(self.config.bandwidth)).unwrap_or(u128::MAX);
        let interval = u64::try_from(nanos).map_or(MAX_EARLY_INTERVAL, Duration::from_nanos);
        let interval = interval.min(MAX_EARLY_INTERVAL);
        // One interval may be owed: what was not used before it is gone.
        self.early = (self.early + interval).max(now.checked_sub(interval).unwrap_or(now));
    }
}

/// RFC 3550 §6.3.1, RFC 4585 §3.5.3: between half and one and a half.
fn dithered(interval: Duration, rng: &mut Rng) -> Duration {
    interval / 2 + interval.mul_f64(rng.below(1 << 16) as f64 / 65_536.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;
    use crate::rtp::stream::tests::at;

    fn timing() -> (ReportTiming, Rng) {
        let mut rng = Rng::new([3; 32], Stream::Rtp);
        (ReportTiming::new(at(0), ReportTimingConfig::default(), &mut rng), rng)
    }

    #[test]
    fn reports_leave_once_per_interval_dithered() {
        let (mut timing, mut rng) = timing();
        assert!(timing.next_report() >= at(250) && timing.next_report() <= at(750));
        let mut times = vec![timing.next_report()];
        while times.len() < 200 {
            let now = timing.next_report();
            assert!(timing.is_report_due(now));
            timing.on_report_sent(now, 100, &mut rng);
            times.push(timing.next_report());
        }
        let steps: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(steps.iter().all(|step| (500..=1500).contains(&step.as_millis())));
        let mean = steps.iter().sum::<Duration>() / 199;
        assert!((900..1100).contains(&mean.as_millis()), "{mean:?}");
        assert!(
            steps.iter().any(|step| step.as_millis() < 700) && steps.iter().any(|s| s.as_millis() > 1300)
        );
    }

    #[test]
    fn feedback_leaves_at_once_and_stays_in_its_share_of_the_bandwidth() {
        let (mut timing, _) = timing();
        assert!(timing.may_send_early(at(5000)));
        let size = 72;
        let sent = (5000..15_000u64).filter(|millis| {
            let may = timing.may_send_early(at(*millis));
            if may {
                timing.on_early_sent(at(*millis), size);
            }
            may
        });
        // One of two members has half of 100 kbit/s: 50,000 bit/s over 800 bits are 62 packets each second.
        let sent = sent.count();
        assert!((600..=640).contains(&sent), "{sent} packets in 10 s");
    }

    #[test]
    fn feedback_that_must_wait_leaves_with_the_next_report_at_the_latest() {
        let (mut timing, _) = timing();
        timing.set_bandwidth(1);
        for _ in 0..100 {
            timing.on_early_sent(at(0), 1 << 20);
        }
        assert!(!timing.may_send_early(at(400)));
        assert_eq!(timing.next_early(), timing.next_report());
        timing.set_bandwidth(0);
        timing.on_early_sent(at(0), usize::MAX);
    }

    #[test]
    fn a_new_stream_is_reported_soon() {
        let (mut timing, mut rng) = timing();
        timing.on_report_sent(at(1000), 100, &mut rng);
        timing.hasten(at(1000), &mut rng);
        assert!(timing.next_report() <= at(1500));
    }
}
