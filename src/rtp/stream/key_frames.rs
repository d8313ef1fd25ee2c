//! Requests for key frames, one where many were made (RFC 4585 §6.3.1, RFC 5104 §4.3.1).
//!
//! The same machine stands on both sides. Where packets are received it turns the application's requests into
//! messages, which it repeats until a key frame comes. Where packets are sent it turns the peer's messages into
//! events: a hundred of them within the interval are one, or two when the first key frame may have come before
//! the last of them was meant.

use std::time::{Duration, Instant};

use crate::time::Timer;

/// The shortest time between two requests that leave this machine, by default.
pub const DEFAULT_INTERVAL: Duration = Duration::from_millis(300);

/// Whether an unanswered request is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Once is enough: who asked will ask again.
    Never,
    /// After four intervals, at most so many times in all: messages get lost.
    Times(u8),
}

/// Throttles requests for key frames of one stream.
#[derive(Debug)]
pub struct KeyFrameRequests {
    interval: Duration,
    repeat: Repeat,
    /// When the last request was let through.
    last: Option<Instant>,
    /// When a request is let through next.
    timer: Timer,
    /// How often the request that is open may still be made.
    left: u8,
    /// The number of the last full intra request that counted (RFC 5104 §4.3.1.1).
    number: Option<u8>,
}

impl KeyFrameRequests {
    /// No request is open.
    pub fn new(interval: Duration, repeat: Repeat) -> Self {
        KeyFrameRequests { interval, repeat, last: None, timer: Timer::new(), left: 0, number: None }
    }

    /// A key frame is wanted: at once, or at the end of the interval that the last request has started.
    pub fn request(&mut self, now: Instant) {
        let is_open = self.left > 0 && self.timer.is_armed();
        self.left = match self.repeat {
            Repeat::Never => 1,
            Repeat::Times(times) => times.max(1),
        };
        // A request that is made again anyway needs no haste.
        if is_open && self.last.is_some() {
            return;
        }
        let earliest = self.last.map_or(now, |last| now.max(last + self.interval));
        self.timer.arm_no_later_than(earliest);
    }

    /// The peer sent a full intra request with this number. RFC 5104 §4.3.1.2: the same number again is the
    /// same request, made again because nothing came.
    pub fn on_full_intra_request(&mut self, now: Instant, number: u8) {
        if self.number.replace(number) != Some(number) {
            self.request(now);
        }
    }

    /// Whether a request is to be let through now: true once for each time that it is.
    pub fn take_due(&mut self, now: Instant) -> bool {
        if !self.timer.expire(now) {
            return false;
        }
        self.last = Some(now);
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            // An encoder needs its time, and so does the path.
            self.timer.arm(now + 4 * self.interval);
        }
        true
    }

    /// A key frame came, or was sent: nobody waits for one any more.
    pub fn on_key_frame(&mut self) {
        self.timer.cancel();
        self.left = 0;
    }

    /// When to ask [`take_due`](Self::take_due) next.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timer.deadline()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::stream::tests::at;

    const INTERVAL: Duration = Duration::from_millis(300);

    #[test]
    fn a_hundred_requests_are_one_and_one_more_when_no_key_frame_came() {
        let mut requests = KeyFrameRequests::new(INTERVAL, Repeat::Never);
        let through = |requests: &mut KeyFrameRequests, millis| {
            requests.request(at(millis));
            requests.take_due(at(millis))
        };
        assert_eq!((0..100).filter(|millis| through(&mut requests, *millis)).count(), 1);
        assert_eq!(requests.next_timeout(), Some(at(300)));
        assert!(requests.take_due(at(300)) && !requests.take_due(at(1000)));
        assert!(through(&mut requests, 1000) && !through(&mut requests, 1001));
        requests.on_key_frame();
        assert_eq!(requests.next_timeout(), None);
    }

    #[test]
    fn a_request_is_repeated_until_a_key_frame_comes_or_it_was_made_often_enough() {
        let mut requests = KeyFrameRequests::new(INTERVAL, Repeat::Times(3));
        requests.request(at(0));
        let times: Vec<u64> = (0..5000).filter(|millis| requests.take_due(at(*millis))).collect();
        assert_eq!(times, [0, 1200, 2400]);
        requests.request(at(5000));
        assert!(requests.take_due(at(5000)));
        assert!((5001..5100).all(|millis| {
            requests.request(at(millis));
            !requests.take_due(at(millis))
        }));
        requests.on_key_frame();
        assert!((5100..9000).all(|millis| !requests.take_due(at(millis))));
    }

    #[test]
    fn a_repeated_full_intra_request_is_the_same_request() {
        let mut requests = KeyFrameRequests::new(INTERVAL, Repeat::Never);
        let mut through = |millis, number| {
            requests.on_full_intra_request(at(millis), number);
            requests.take_due(at(millis))
        };
        assert_eq!([through(0, 7), through(1000, 7), through(2000, 8)], [true, false, true]);
    }
}
