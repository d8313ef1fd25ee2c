//! Round trip times, and how a receiver that sends nothing measures one (RFC 3550 §6.4.1, RFC 3611 §4.4, §4.5).

use std::time::{Duration, Instant};

use crate::rtp::ntp::{NtpTime, to_short};
use crate::rtp::rtcp::report::Delay;
use crate::types::ids::Ssrc;

/// The longest round trip that is believed: what a peer makes up stays within it.
pub const MAX_RTT: Duration = Duration::from_secs(10);

/// What was measured of a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoundTrip {
    latest: Option<Duration>,
    smoothed: Option<Duration>,
    total: Duration,
    measurements: u64,
}

impl RoundTrip {
    /// Nothing measured.
    pub fn new() -> Self {
        RoundTrip::default()
    }

    /// A measurement; above [`MAX_RTT`] it counts as that.
    pub fn on_measured(&mut self, rtt: Duration) {
        let rtt = rtt.min(MAX_RTT);
        self.latest = Some(rtt);
        // The weights of RFC 6298 §2, which are good enough for any of our uses.
        self.smoothed = Some(self.smoothed.map_or(rtt, |smoothed| (7 * smoothed + rtt) / 8));
        self.total += rtt;
        self.measurements += 1;
    }

    /// The last measurement.
    pub fn latest(&self) -> Option<Duration> {
        self.latest
    }

    /// A moving average.
    pub fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// The sum of all measurements.
    pub fn total(&self) -> Duration {
        self.total
    }

    /// How many there were.
    pub fn measurements(&self) -> u64 {
        self.measurements
    }
}

/// The receivers whose times are answered at most: the newest take the places of the oldest.
const MAX_RECEIVERS: usize = 8;

/// Remembers receivers that told their time, so that they can be told how long ago that was (RFC 3611 §4.5).
#[derive(Debug, Default)]
pub struct ReceiverTimes {
    /// At most [`MAX_RECEIVERS`].
    heard: Vec<Heard>,
    /// Whose place the next one takes when there are so many.
    next: usize,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    ssrc: Ssrc,
    /// The middle of the NTP time that it told.
    time: u32,
    at: Instant,
}

impl ReceiverTimes {
    /// Nobody told.
    pub fn new() -> Self {
        ReceiverTimes::default()
    }

    /// A receiver told its time.
    pub fn on_receiver_time(&mut self, now: Instant, ssrc: Ssrc, time: NtpTime) {
        let heard = Heard { ssrc, time: time.middle(), at: now };
        if let Some(place) = self.heard.iter_mut().find(|heard| heard.ssrc == ssrc) {
            *place = heard;
        } else if self.heard.len() < MAX_RECEIVERS {
            self.heard.push(heard);
        } else if let Some(place) = self.heard.get_mut(self.next) {
            *place = heard;
            self.next = (self.next + 1) % MAX_RECEIVERS;
        }
    }

    /// The answers at `now`, each given once: a receiver is answered again when it tells its time again.
    pub fn take_delays(&mut self, now: Instant) -> impl Iterator<Item = Delay> + '_ {
        self.next = 0;
        self.heard.drain(..).map(move |heard| Delay {
            ssrc: heard.ssrc,
            last_rr: heard.time,
            delay: to_short(now.saturating_duration_since(heard.at)),
        })
    }

    /// Whether somebody waits for an answer.
    pub fn is_empty(&self) -> bool {
        self.heard.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::ntp::round_trip;
    use crate::rtp::stream::tests::at;

    #[test]
    fn an_answer_gives_the_receiver_its_round_trip() {
        let told = NtpTime::from_unix(Duration::from_secs(1_700_000_000));
        let mut times = ReceiverTimes::new();
        times.on_receiver_time(at(40), Ssrc(7), told);
        let delay = times.take_delays(at(1040)).next().unwrap();
        assert_eq!((delay.ssrc, delay.delay), (Ssrc(7), 65_536));
        let now = NtpTime::from_unix(Duration::from_millis(1_700_000_001_080));
        let rtt = round_trip(now, delay.last_rr, delay.delay).unwrap();
        assert!(rtt.abs_diff(Duration::from_millis(80)) < Duration::from_micros(100), "{rtt:?}");
        assert!(times.is_empty());
    }

    #[test]
    fn a_flood_of_receivers_takes_no_memory() {
        let mut times = ReceiverTimes::new();
        for ssrc in 0..1000 {
            times.on_receiver_time(at(0), Ssrc(ssrc), NtpTime(1 << 16));
            times.on_receiver_time(at(0), Ssrc(ssrc), NtpTime(2 << 16));
        }
        let answered: Vec<_> = times.take_delays(at(0)).map(|delay| (delay.ssrc.0, delay.last_rr)).collect();
        assert_eq!(answered, (992..1000).map(|ssrc| (ssrc, 2)).collect::<Vec<_>>());
    }

    #[test]
    fn measurements_are_smoothed_and_bounded() {
        let mut rtt = RoundTrip::new();
        assert_eq!(rtt.smoothed(), None);
        rtt.on_measured(Duration::from_millis(80));
        rtt.on_measured(Duration::from_millis(160));
        assert_eq!(rtt.smoothed(), Some(Duration::from_millis(90)));
        rtt.on_measured(Duration::from_secs(60_000));
        assert_eq!((rtt.latest(), rtt.measurements()), (Some(MAX_RTT), 3));
    }
}
