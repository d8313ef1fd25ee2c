//! The round-trip time and the retransmission time-out (RFC 9260 §6.3.1).

use std::time::Duration;

/// Smoothed round-trip time, its variation, and the time-out that follows from them.
#[derive(Debug, Clone)]
pub(crate) struct Rtt {
    smoothed: Option<Duration>,
    variation: Duration,
    minimum: Duration,
    /// Time-outs in a row: each doubles the time-out (RFC 9260 §6.3.3 E2).
    backoff: u32,
    /// The peer has acknowledged something.
    is_confirmed: bool,
    bounds: RtoBounds,
}

/// The longest time-out before anything was acknowledged, unless the path itself asks for more: the first data is
/// part of the set-up, which should not wait for seconds because a few packets were lost.
const UNCONFIRMED_MAX: Duration = Duration::from_secs(1);

/// What the time-out starts from and stays within.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RtoBounds {
    pub(crate) initial: Duration,
    pub(crate) min: Duration,
    pub(crate) max: Duration,
}

/// Clock granularity: the variation never counts for less, so that a steady path does not time out by a hair.
const GRANULARITY: Duration = Duration::from_millis(10);

impl Rtt {
    pub(crate) fn new(bounds: RtoBounds) -> Self {
        Rtt {
            smoothed: None,
            variation: Duration::ZERO,
            minimum: Duration::MAX,
            backoff: 0,
            is_confirmed: false,
            bounds,
        }
    }

    /// Starts from what ICE measured, instead of from the initial time-out.
    pub(crate) fn seed(&mut self, rtt: Duration) {
        if self.smoothed.is_none() {
            self.on_sample(rtt);
        }
    }

    /// RFC 9260 §6.3.1 C2, C3: with alpha 1/8 and beta 1/4.
    pub(crate) fn on_sample(&mut self, rtt: Duration) {
        self.minimum = self.minimum.min(rtt);
        match self.smoothed {
            None => {
                self.smoothed = Some(rtt);
                self.variation = rtt / 2;
            }
            Some(smoothed) => {
                self.variation = (self.variation * 3 + smoothed.abs_diff(rtt)) / 4;
                self.smoothed = Some((smoothed * 7 + rtt) / 8);
            }
        }
    }

    /// The smoothed round-trip time, once there was a sample.
    pub(crate) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// The shortest round-trip time seen, or the smoothed one before there was any.
    pub(crate) fn minimum(&self) -> Duration {
        if self.minimum == Duration::MAX { Duration::ZERO } else { self.minimum }
    }

    /// The time-out, doubled for every one in a row that fired.
    pub(crate) fn rto(&self) -> Duration {
        let base = match self.smoothed {
            Some(smoothed) => smoothed + (self.variation * 4).max(GRANULARITY),
            None => self.bounds.initial,
        };
        let base = base.clamp(self.bounds.min, self.bounds.max);
        let longest = if self.is_confirmed { self.bounds.max } else { base.max(UNCONFIRMED_MAX) };
        base.saturating_mul(1 << self.backoff.min(16)).min(longest)
    }

    /// The time-out fired.
    pub(crate) fn on_timeout(&mut self) {
        self.backoff = self.backoff.saturating_add(1);
    }

    /// Something new was acknowledged: the path lives.
    pub(crate) fn on_progress(&mut self) {
        self.backoff = 0;
        self.is_confirmed = true;
    }

    /// Time-outs in a row.
    pub(crate) fn backoff(&self) -> u32 {
        self.backoff
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn rtt() -> Rtt {
        Rtt::new(RtoBounds { initial: millis(1000), min: millis(200), max: millis(10_000) })
    }

    #[test]
    fn the_time_out_follows_rfc_9260_6_3_1() {
        let mut rtt = rtt();
        assert_eq!(rtt.rto(), millis(1000));
        rtt.on_sample(millis(400));
        assert_eq!(rtt.rto(), millis(400 + 4 * 200));
        rtt.on_sample(millis(400));
        assert_eq!(rtt.rto(), millis(400 + 4 * 150));
        assert_eq!(rtt.smoothed(), Some(millis(400)));
    }

    #[test]
    fn the_time_out_doubles_within_its_bounds_and_recovers() {
        let mut rtt = rtt();
        rtt.seed(millis(10));
        assert_eq!(rtt.rto(), millis(200));
        rtt.on_progress();
        for expected in [400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            rtt.on_timeout();
            assert_eq!(rtt.rto(), millis(expected));
        }
        rtt.on_progress();
        assert_eq!(rtt.rto(), millis(200));
    }

    #[test]
    fn until_something_is_acknowledged_the_time_out_stays_short() {
        let mut rtt = rtt();
        rtt.seed(millis(100));
        for expected in [600, 1000, 1000] {
            rtt.on_timeout();
            assert_eq!(rtt.rto(), millis(expected));
        }
        // A path that is slow by itself is waited for.
        let mut rtt = self::rtt();
        rtt.seed(millis(700));
        rtt.on_timeout();
        assert_eq!(rtt.rto(), millis(2100));
    }
}
