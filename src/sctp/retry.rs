//! A chunk that is sent again until it is answered: INIT, COOKIE ECHO, SHUTDOWN, SHUTDOWN ACK.

use std::time::{Duration, Instant};

use crate::time::{Backoff, Timer};

/// The timer of one such chunk (RFC 9260: T1-init, T1-cookie, T2-shutdown).
#[derive(Debug)]
pub(super) struct Retry {
    timer: Timer,
    backoff: Backoff,
    /// Times that it may leave.
    remaining: u32,
    is_due: bool,
}

impl Retry {
    /// The chunk is due now, and again after `first`, twice that, and so on up to `longest`; once and then `times`
    /// times.
    pub(super) fn new(first: Duration, longest: Duration, times: u32) -> Self {
        let remaining = times.saturating_add(1);
        Retry { timer: Timer::new(), backoff: Backoff::new(first, longest), remaining, is_due: true }
    }

    /// Whether the chunk has to be written now.
    pub(super) fn is_due(&self) -> bool {
        self.is_due
    }

    /// The chunk was written.
    pub(super) fn on_sent(&mut self, now: Instant) {
        self.is_due = false;
        self.remaining = self.remaining.saturating_sub(1);
        self.timer.arm(now + self.backoff.step());
    }

    /// Makes the chunk due at once, beside the timer: the peer has asked.
    pub(super) fn send_now(&mut self) {
        self.is_due = self.remaining > 0;
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.timer.deadline()
    }

    /// True when the timer ran out for the last time.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        if !self.timer.expire(now) {
            return false;
        }
        self.is_due = self.remaining > 0;
        !self.is_due
    }
}
