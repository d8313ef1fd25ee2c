//! The rules of RFC 9260 §7.2: double per round trip, then one packet per round trip, halve on loss.

use std::time::Instant;

use super::{Acked, Controller, INITIAL_PACKETS, MIN_PACKETS, MIN_PACKETS_AFTER_TIMEOUT};

/// New Reno for SCTP.
#[derive(Debug)]
pub(crate) struct NewReno {
    cwnd: usize,
    ssthresh: usize,
    partial_bytes_acked: usize,
    packet_size: usize,
    before_loss: Option<(usize, usize)>,
}

impl NewReno {
    pub(crate) fn new(packet_size: usize) -> Self {
        NewReno {
            cwnd: INITIAL_PACKETS * packet_size,
            ssthresh: usize::MAX,
            partial_bytes_acked: 0,
            packet_size,
            before_loss: None,
        }
    }
}

impl Controller for NewReno {
    fn window(&self) -> usize {
        self.cwnd
    }

    fn is_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    fn on_ack(&mut self, acked: Acked) {
        if !acked.window_was_full {
            return;
        }
        if self.is_slow_start() {
            // RFC 9260 §7.2.1 limits the step to one packet per SACK; here it is what was acknowledged (RFC 9002 §7.3.1),
            // because pacing already keeps a SACK for many packets from causing a burst.
            self.cwnd += acked.bytes;
            return;
        }
        // RFC 9260 §7.2.2
        self.partial_bytes_acked += acked.bytes;
        if self.partial_bytes_acked >= self.cwnd {
            self.partial_bytes_acked -= self.cwnd;
            self.cwnd += self.packet_size;
        }
    }

    fn on_loss(&mut self, _now: Instant) {
        self.before_loss = Some((self.cwnd, self.ssthresh));
        // RFC 9260 §7.2.3
        self.ssthresh = (self.cwnd / 2).max(MIN_PACKETS * self.packet_size);
        self.cwnd = self.ssthresh;
        self.partial_bytes_acked = 0;
    }

    fn on_timeout(&mut self) {
        self.before_loss.get_or_insert((self.cwnd, self.ssthresh));
        self.ssthresh = (self.cwnd / 2).max(MIN_PACKETS * self.packet_size);
        self.cwnd = MIN_PACKETS_AFTER_TIMEOUT * self.packet_size;
        self.partial_bytes_acked = 0;
    }

    fn undo(&mut self) {
        if let Some((cwnd, ssthresh)) = self.before_loss.take() {
            self.cwnd = self.cwnd.max(cwnd);
            self.ssthresh = self.ssthresh.max(ssthresh);
        }
    }

    fn set_packet_size(&mut self, bytes: usize) {
        if self.cwnd == INITIAL_PACKETS * self.packet_size {
            self.cwnd = INITIAL_PACKETS * bytes;
        }
        self.packet_size = bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn acked(bytes: usize) -> Acked {
        let now = crate::time::some_instant();
        Acked {
            now,
            bytes,
            window_was_full: true,
            rtt: None,
            smoothed_rtt: Duration::from_millis(50),
            is_new_round: false,
        }
    }

    #[test]
    fn doubles_then_adds_a_packet_per_window() {
        let mut reno = NewReno::new(1000);
        reno.on_ack(acked(10_000));
        assert_eq!(reno.window(), 20_000);
        reno.on_loss(acked(0).now);
        assert_eq!(reno.window(), 10_000);
        reno.on_ack(acked(9_999));
        assert_eq!(reno.window(), 10_000);
        reno.on_ack(acked(1));
        assert_eq!(reno.window(), 11_000);
    }

    #[test]
    fn an_unused_window_does_not_grow_and_a_false_loss_is_undone() {
        let mut reno = NewReno::new(1000);
        reno.on_ack(Acked { window_was_full: false, ..acked(10_000) });
        assert_eq!(reno.window(), 10_000);
        reno.on_loss(acked(0).now);
        reno.undo();
        assert_eq!(reno.window(), 10_000);
        assert!(reno.is_slow_start());
        reno.on_timeout();
        assert_eq!(reno.window(), 2000);
    }
}
