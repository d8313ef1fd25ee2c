//! Deadlines and backoff. Time is an argument everywhere: nothing here reads a clock.

use std::time::{Duration, Instant};

/// A deadline that is armed or not.
///
/// Not `Copy` on purpose: a deadline cannot be duplicated by accident and then fire twice.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Timer {
    deadline: Option<Instant>,
}

impl Timer {
    /// A timer that is not armed.
    pub const fn new() -> Self {
        Timer { deadline: None }
    }

    /// Arms the timer for `at`, replacing any earlier deadline.
    pub fn arm(&mut self, at: Instant) {
        self.deadline = Some(at);
    }

    /// Arms the timer for `at` unless it is due before that already.
    pub fn arm_no_later_than(&mut self, at: Instant) {
        self.deadline = Some(self.deadline.map_or(at, |d| d.min(at)));
    }

    /// Arms the timer for `at` unless it is armed already.
    pub fn arm_if_idle(&mut self, at: Instant) {
        self.deadline.get_or_insert(at);
    }

    /// Disarms the timer.
    pub fn cancel(&mut self) {
        self.deadline = None;
    }

    /// Whether the timer is armed.
    pub fn is_armed(&self) -> bool {
        self.deadline.is_some()
    }

    /// When the timer is due; `None` when it is not armed.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether the timer is due at `now`; a due timer is disarmed, so the answer is `true` once.
    pub fn expire(&mut self, now: Instant) -> bool {
        let due = self.deadline.is_some_and(|at| at <= now);
        if due {
            self.deadline = None;
        }
        due
    }
}

/// The earliest of some deadlines; `None` when nothing will ever be due.
#[inline]
pub fn earliest(deadlines: impl IntoIterator<Item = Option<Instant>>) -> Option<Instant> {
    // For an array a straight line of comparisons: this is asked after every packet.
    deadlines.into_iter().fold(None, |first, at| match (first, at) {
        (Some(first), Some(at)) => Some(first.min(at)),
        (first, at) => first.or(at),
    })
}

/// An interval that doubles at every step, up to a maximum.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
    maximum: Duration,
}

impl Backoff {
    /// Starts at `first` and never exceeds `maximum`.
    pub fn new(first: Duration, maximum: Duration) -> Self {
        Backoff { next: first.min(maximum), maximum }
    }

    /// The interval to wait now; the following one is twice as long.
    pub fn step(&mut self) -> Duration {
        let now = self.next;
        self.next = now.saturating_mul(2).min(self.maximum);
        now
    }
}

/// An instant and the Unix time that it stands for: how the core knows wall-clock time without asking for it.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// A reading of the monotonic clock.
    pub instant: Instant,
    /// Time since 1970-01-01T00:00:00Z at that instant.
    pub unix: Duration,
}

impl Clock {
    /// The Unix time at `at`, which may lie before the reading; never before 1970.
    pub fn unix_at(&self, at: Instant) -> Duration {
        match at.checked_duration_since(self.instant) {
            Some(later) => self.unix.saturating_add(later),
            None => self.unix.saturating_sub(self.instant.saturating_duration_since(at)),
        }
    }
}

#[cfg(test)]
pub(crate) use tests::some_instant;

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the unit tests' time begins; only differences matter. It is the one clock that is read here: nothing
    /// else makes an [`Instant`].
    #[expect(clippy::disallowed_methods)]
    pub(crate) fn some_instant() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_timer_expires_once() {
        let t0 = some_instant();
        let mut timer = Timer::new();
        assert!(!timer.expire(t0));
        timer.arm(t0 + Duration::from_secs(1));
        assert!(!timer.expire(t0));
        assert!(timer.expire(t0 + Duration::from_secs(1)));
        assert!(!timer.expire(t0 + Duration::from_secs(2)));
        assert_eq!(timer.deadline(), None);
    }

    #[test]
    fn arming_variants_keep_the_right_deadline() {
        let t0 = some_instant();
        let (one, two) = (t0 + Duration::from_secs(1), t0 + Duration::from_secs(2));
        let mut timer = Timer::new();
        timer.arm_if_idle(two);
        timer.arm_if_idle(one);
        assert_eq!(timer.deadline(), Some(two));
        timer.arm_no_later_than(one);
        timer.arm_no_later_than(two);
        assert_eq!(timer.deadline(), Some(one));
    }

    #[test]
    fn backoff_doubles_up_to_its_maximum() {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(150));
        let steps: Vec<u128> = (0..4).map(|_| backoff.step().as_millis()).collect();
        assert_eq!(steps, [50, 100, 150, 150]);
    }

    #[test]
    fn unix_time_runs_both_ways_from_the_reading() {
        let t0 = some_instant() + Duration::from_secs(100);
        let clock = Clock { instant: t0, unix: Duration::from_secs(1000) };
        assert_eq!(clock.unix_at(t0 + Duration::from_secs(5)), Duration::from_secs(1005));
        assert_eq!(clock.unix_at(t0 - Duration::from_secs(5)), Duration::from_secs(995));
    }
}
