//! Spreads packets over the round-trip time, so that a window does not leave as one burst (RFC 9002 §7.7).

use std::time::{Duration, Instant};

/// Below this round-trip time the window is small against any burst that the path must bear anyway.
const MIN_RTT: Duration = Duration::from_millis(1);
/// How much of a round trip may leave at once after a pause, whatever the window.
const BURST_TIME: Duration = Duration::from_millis(4);
/// Packets that may always leave at once.
const BURST_PACKETS: usize = 10;

/// A bucket of bytes that refills with time.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// What may leave now, in bytes; below zero after a packet that was larger than what was left.
    credit: i64,
    refilled: Instant,
}

/// How fast the bucket refills.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// Congestion window in bytes.
    pub(crate) window: usize,
    /// Smoothed round-trip time.
    pub(crate) rtt: Duration,
    /// Whether the window doubles per round trip.
    pub(crate) is_slow_start: bool,
    /// Largest packet in bytes.
    pub(crate) packet: usize,
}

impl Rate {
    /// Bytes per second: faster than the window asks for, so that pacing never is what limits.
    fn bytes_per_second(self) -> u64 {
        let gain = if self.is_slow_start { 2.0 } else { 1.25 };
        (gain * self.window as f64 / self.rtt.as_secs_f64()) as u64
    }

    fn burst(self) -> i64 {
        let timed = self.bytes_per_second().saturating_mul(BURST_TIME.as_millis() as u64) / 1000;
        (timed as i64).max((BURST_PACKETS * self.packet) as i64)
    }

    fn is_limiting(self) -> bool {
        self.rtt >= MIN_RTT
    }
}

impl Pacer {
    pub(crate) fn new(now: Instant) -> Self {
        Pacer { credit: i64::MAX, refilled: now }
    }

    /// Lets time pass: the bucket refills up to one burst.
    pub(crate) fn refill(&mut self, now: Instant, rate: Rate) {
        if !rate.is_limiting() {
            self.credit = i64::MAX;
            self.refilled = now;
            return;
        }
        let elapsed = now.saturating_duration_since(self.refilled);
        let earned = u128::from(rate.bytes_per_second()) * elapsed.as_micros() / 1_000_000;
        // Less than one byte is not lost: the time stays until it is worth one.
        if earned > 0 || self.credit > rate.burst() {
            let earned = i64::try_from(earned).unwrap_or(i64::MAX);
            self.credit = self.credit.saturating_add(earned).min(rate.burst());
            self.refilled = now;
        }
    }

    /// Whether a packet may leave.
    pub(crate) fn is_open(&self) -> bool {
        self.credit > 0
    }

    /// When the next packet may leave, given that none may now.
    pub(crate) fn opens_at(&self, rate: Rate) -> Instant {
        let missing = u128::try_from(1 - self.credit.min(0)).unwrap_or(1);
        let micros = missing * 1_000_000 / u128::from(rate.bytes_per_second().max(1)) + 1;
        self.refilled + Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX).min(1_000_000))
    }

    /// Bytes left.
    pub(crate) fn on_sent(&mut self, bytes: usize) {
        if self.credit != i64::MAX {
            self.credit -= i64::try_from(bytes).unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Instant {
        crate::time::some_instant()
    }

    #[test]
    fn a_window_takes_most_of_a_round_trip_to_leave() {
        let t0 = base();
        let rate =
            Rate { window: 120_000, rtt: Duration::from_millis(100), is_slow_start: false, packet: 1200 };
        let mut pacer = Pacer::new(t0);
        let (mut now, mut sent) = (t0, 0);
        while sent < 120_000 {
            pacer.refill(now, rate);
            if pacer.is_open() {
                pacer.on_sent(1200);
                sent += 1200;
            } else {
                let next = pacer.opens_at(rate);
                assert!(next > now);
                now = next;
            }
        }
        let elapsed = (now - t0).as_millis();
        assert!((65..=80).contains(&elapsed), "{elapsed} ms");
    }

    #[test]
    fn a_tiny_round_trip_is_not_paced() {
        let t0 = base();
        let rate = Rate { window: 1, rtt: Duration::from_micros(900), is_slow_start: true, packet: 1200 };
        let mut pacer = Pacer::new(t0);
        for _ in 0..10_000 {
            pacer.refill(t0, rate);
            assert!(pacer.is_open());
            pacer.on_sent(1200);
        }
    }
}
