//! CUBIC (RFC 9438) with the end of slow start told from rising round-trip times (HyStart++, RFC 9406).

use std::time::{Duration, Instant};

use super::{Acked, Controller, INITIAL_PACKETS, MIN_PACKETS, MIN_PACKETS_AFTER_TIMEOUT};

/// RFC 9438 §4.6: what a loss leaves of the window.
const BETA: f64 = 0.7;
/// RFC 9438 §5: how steep the cubic is, in packets per cubic second.
const C: f64 = 0.4;

/// CUBIC.
#[derive(Debug)]
pub(crate) struct Cubic {
    cwnd: usize,
    ssthresh: usize,
    packet_size: usize,
    /// The window before the last loss, in bytes; where the curve is flat.
    w_max: f64,
    /// What a New Reno sender would have by now, in bytes (RFC 9438 §4.3).
    w_est: f64,
    /// When this stage of congestion avoidance began; `None` until its first ACK.
    epoch: Option<Instant>,
    /// The window at that time, in bytes.
    cwnd_epoch: f64,
    hystart: HyStart,
    before_loss: Option<(usize, usize, f64)>,
}

impl Cubic {
    pub(crate) fn new(packet_size: usize) -> Self {
        Cubic {
            cwnd: INITIAL_PACKETS * packet_size,
            ssthresh: usize::MAX,
            packet_size,
            w_max: 0.0,
            w_est: 0.0,
            epoch: None,
            cwnd_epoch: 0.0,
            hystart: HyStart::default(),
            before_loss: None,
        }
    }

    /// RFC 9438 §4.2: C (t - K)^3 + W_max, in bytes.
    fn w_cubic(&self, elapsed: Duration) -> f64 {
        let packet = self.packet_size as f64;
        let k = ((self.w_max - self.cwnd_epoch).max(0.0) / packet / C).cbrt();
        packet * C * (elapsed.as_secs_f64() - k).powi(3) + self.w_max
    }

    fn avoid(&mut self, acked: Acked) {
        let epoch = match self.epoch {
            Some(epoch) => epoch,
            None => {
                self.epoch = Some(acked.now);
                self.cwnd_epoch = self.cwnd as f64;
                self.w_est = self.cwnd as f64;
                // Slow start that ended without a loss: the curve starts at its flat point.
                self.w_max = self.w_max.max(self.cwnd as f64);
                acked.now
            }
        };
        let elapsed = acked.now.saturating_duration_since(epoch);
        let (cwnd, packet) = (self.cwnd as f64, self.packet_size as f64);
        // RFC 9438 §4.3: the Reno-friendly region, with alpha for beta 0.7 until w_max is passed.
        let alpha = if self.w_est < self.w_max { 3.0 * (1.0 - BETA) / (1.0 + BETA) } else { 1.0 };
        self.w_est += alpha * packet * acked.bytes as f64 / cwnd;
        // RFC 9438 §4.4: the target is where the curve stands one round trip from now, at most 1.5 windows.
        let target = self.w_cubic(elapsed + acked.smoothed_rtt).clamp(cwnd, 1.5 * cwnd);
        let step = (target - cwnd) / cwnd * acked.bytes as f64;
        self.cwnd = (cwnd + step).max(self.w_est) as usize;
    }
}

impl Controller for Cubic {
    fn window(&self) -> usize {
        self.cwnd
    }

    fn is_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    fn on_ack(&mut self, acked: Acked) {
        if !acked.window_was_full {
            // RFC 9438 §5.8: time without use does not count.
            self.epoch = None;
            return;
        }
        if !self.is_slow_start() {
            return self.avoid(acked);
        }
        match self.hystart.on_ack(acked) {
            Growth::Full => self.cwnd += acked.bytes,
            Growth::Conservative => self.cwnd += acked.bytes / 4,
            Growth::Over => self.ssthresh = self.cwnd,
        }
    }

    fn on_loss(&mut self, _now: Instant) {
        self.before_loss = Some((self.cwnd, self.ssthresh, self.w_max));
        let cwnd = self.cwnd as f64;
        // RFC 9438 §4.7: a window that shrank since the last loss makes room for others.
        self.w_max = if cwnd < self.w_max { cwnd * (1.0 + BETA) / 2.0 } else { cwnd };
        self.ssthresh = ((cwnd * BETA) as usize).max(MIN_PACKETS * self.packet_size);
        self.cwnd = self.ssthresh;
        self.epoch = None;
    }

    fn on_timeout(&mut self) {
        let before = (self.cwnd, self.ssthresh, self.w_max);
        self.before_loss.get_or_insert(before);
        self.w_max = self.w_max.max(self.cwnd as f64);
        self.ssthresh = ((self.cwnd as f64 * BETA) as usize).max(MIN_PACKETS * self.packet_size);
        self.cwnd = MIN_PACKETS_AFTER_TIMEOUT * self.packet_size;
        self.epoch = None;
    }

    fn undo(&mut self) {
        if let Some((cwnd, ssthresh, w_max)) = self.before_loss.take() {
            self.cwnd = self.cwnd.max(cwnd);
            self.ssthresh = self.ssthresh.max(ssthresh);
            self.w_max = w_max;
            self.epoch = None;
        }
    }

    fn set_packet_size(&mut self, bytes: usize) {
        if self.cwnd == INITIAL_PACKETS * self.packet_size {
            self.cwnd = INITIAL_PACKETS * bytes;
        }
        self.packet_size = bytes;
    }
}

/// Tells from round-trip times that slow start has filled the path (RFC 9406 §4.2).
#[derive(Debug, Default)]
struct HyStart {
    /// The shortest round-trip time of the round before this one.
    last_round: Option<Duration>,
    /// That of this round, and samples taken.
    this_round: Option<Duration>,
    samples: u32,
    /// In conservative slow start: the round-trip time that started it, and rounds left.
    conservative: Option<(Duration, u32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Growth {
    Full,
    /// A quarter: round-trip times rise, perhaps by chance.
    Conservative,
    /// They stayed high: slow start ends here.
    Over,
}

impl HyStart {
    /// RFC 9406 §4.3: the rise that counts lies between these.
    const MIN_RISE: Duration = Duration::from_millis(4);
    const MAX_RISE: Duration = Duration::from_millis(16);
    /// Samples of a round before it is judged.
    const MIN_SAMPLES: u32 = 8;
    /// Rounds of conservative slow start.
    const ROUNDS: u32 = 5;

    fn on_ack(&mut self, acked: Acked) -> Growth {
        if acked.is_new_round {
            self.last_round = self.this_round.take().or(self.last_round);
            self.samples = 0;
            if let Some((_, rounds)) = &mut self.conservative {
                *rounds -= 1;
                if *rounds == 0 {
                    *self = HyStart::default();
                    return Growth::Over;
                }
            }
        }
        if let Some(rtt) = acked.rtt {
            self.this_round = Some(self.this_round.map_or(rtt, |r| r.min(rtt)));
            self.samples += 1;
        }
        let (Some(last), Some(this)) = (self.last_round, self.this_round) else { return Growth::Full };
        let judged = self.samples >= Self::MIN_SAMPLES;
        match self.conservative {
            Some((baseline, _)) if judged && this < baseline => {
                self.conservative = None;
                Growth::Full
            }
            Some(_) => Growth::Conservative,
            None if judged && this >= last + (last / 8).clamp(Self::MIN_RISE, Self::MAX_RISE) => {
                self.conservative = Some((this, Self::ROUNDS));
                Growth::Conservative
            }
            None => Growth::Full,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acked(now: Instant, bytes: usize, rtt: u64, is_new_round: bool) -> Acked {
        let rtt = Duration::from_millis(rtt);
        Acked { now, bytes, window_was_full: true, rtt: Some(rtt), smoothed_rtt: rtt, is_new_round }
    }

    fn base() -> Instant {
        crate::time::some_instant()
    }

    #[test]
    fn the_window_comes_back_to_where_it_was_lost_as_the_cubic_says() {
        let mut now = base();
        let mut cubic = Cubic::new(1000);
        cubic.cwnd = 1_000_000;
        cubic.on_loss(now);
        assert_eq!(cubic.window(), 700_000);
        // K = cbrt(300 packets / 0.4) = 9.09 s.
        let mut reached = None;
        for round in 0..200 {
            now += Duration::from_millis(100);
            cubic.on_ack(acked(now, cubic.window(), 100, true));
            if cubic.window() >= 990_000 && reached.is_none() {
                reached = Some(round as f64 / 10.0);
            }
        }
        let reached = reached.unwrap();
        assert!((5.0..10.0).contains(&reached), "{reached} s");
        assert!(cubic.window() > 1_000_000);
    }

    #[test]
    fn rising_round_trip_times_end_slow_start_without_a_loss() {
        let now = base();
        let mut cubic = Cubic::new(1000);
        for round in 0..12 {
            let rtt = if round < 3 { 50 } else { 70 + round };
            for ack in 0..10 {
                cubic.on_ack(acked(now, 1000, rtt, ack == 0));
            }
        }
        assert!(!cubic.is_slow_start());
        assert!(cubic.window() < 80_000, "{}", cubic.window());
    }

    #[test]
    fn a_passing_rise_does_not_end_slow_start() {
        let now = base();
        let mut cubic = Cubic::new(1000);
        for round in 0..12 {
            let rtt = if round == 3 { 70 } else { 50 };
            for ack in 0..10 {
                cubic.on_ack(acked(now, 1000, rtt, ack == 0));
            }
        }
        assert!(cubic.is_slow_start());
    }
}
