//! Spreads what is sent over time: a key frame leaves in milliseconds, not in one burst.
//!
//! Two buckets, each of which fills with what is sent and runs dry at its rate:
//!
//! ```text
//!  burst:   2.5 times what is usually sent, 5 ms deep           a key frame does not fill the path's queue
//!  ceiling: the rate that was agreed or set, 1 s deep           what is sent in a second stays below it
//! ```
//!
//! A queue that would last longer than 250 ms makes the first bucket run faster; the second never does.

use std::time::{Duration, Instant};

/// How much faster than usual a burst leaves, in tenths.
const FACTOR: u64 = 25;
/// The lowest rate of bursts, in bits per second: an audio packet never waits for long.
const MIN_RATE: u64 = 2_000_000;
/// How long a queue may last at the most.
const MAX_QUEUE: Duration = Duration::from_millis(250);
/// Depths of the two buckets.
const BURST: Duration = Duration::from_millis(5);
const SECOND: Duration = Duration::from_secs(1);
/// How often the usual rate is measured anew.
const WINDOW: Duration = Duration::from_millis(500);

/// A bucket, by the time at which it will be dry.
#[derive(Debug, Default)]
struct Bucket {
    dry: Option<Instant>,
}

impl Bucket {
    /// From when on there is room, with a bucket of this depth.
    fn open(&self, depth: Duration) -> Option<Instant> {
        self.dry.and_then(|dry| dry.checked_sub(depth))
    }

    fn fill(&mut self, now: Instant, bytes: u64, rate: u64) {
        // No packet has 2 GB.
        let nanos = bytes.saturating_mul(8_000_000_000).checked_div(rate);
        // Whatever the rate, a packet does not close the bucket for longer than this.
        let time = nanos.map_or(SECOND, Duration::from_nanos).min(SECOND);
        self.dry = Some(self.dry.map_or(now, |dry| dry.max(now)) + time);
    }
}

/// Says when the next packet may leave. The queue itself is the caller's.
#[derive(Debug, Default)]
pub struct Pacer {
    burst: Bucket,
    total: Bucket,
    ceiling: Option<u64>,
    /// From when on both buckets have room: it is asked for several times for each packet.
    next: Option<Instant>,
    /// Bits per second that usually leave.
    usual: u64,
    window: Option<Window>,
    queued: u64,
}

/// Over which the usual rate is measured.
#[derive(Debug)]
struct Window {
    began: Instant,
    ends: Instant,
    /// Bytes since it began.
    bytes: u64,
}

impl Pacer {
    /// Nothing was sent; no ceiling.
    pub fn new() -> Self {
        Pacer::default()
    }

    /// What is sent stays below `ceiling` bits per second, if there is one.
    pub fn set_ceiling(&mut self, ceiling: Option<u64>) {
        self.ceiling = ceiling;
        self.note_next();
    }

    /// The ceiling that is set.
    pub fn ceiling(&self) -> Option<u64> {
        self.ceiling
    }

    /// So many bytes wait in the queue.
    pub fn set_queued(&mut self, bytes: usize) {
        self.queued = u64::try_from(bytes).unwrap_or(u64::MAX);
    }

    /// Whether a packet may leave now.
    pub fn may_send(&self, now: Instant) -> bool {
        self.next_send().is_none_or(|at| at <= now)
    }

    /// From when on a packet may leave; `None` for at once.
    pub fn next_send(&self) -> Option<Instant> {
        self.next
    }

    fn note_next(&mut self) {
        let total = self.ceiling.and_then(|_| self.total.open(SECOND));
        self.next = self.burst.open(BURST).max(total);
    }

    /// A packet of so many bytes left, paced or not: what must not wait counts as well.
    pub fn on_sent(&mut self, now: Instant, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.measure(now, bytes);
        self.burst.fill(now, bytes, self.rate());
        if let Some(ceiling) = self.ceiling {
            self.total.fill(now, bytes, ceiling);
        }
        self.note_next();
    }

    /// The rate of bursts, in bits per second.
    pub fn rate(&self) -> u64 {
        let usual = self.usual.saturating_mul(FACTOR) / 10;
        let millis = u64::try_from(MAX_QUEUE.as_millis()).unwrap_or(u64::MAX);
        let needed = self.queued.saturating_mul(8_000) / millis;
        usual.max(needed).max(MIN_RATE)
    }

    fn measure(&mut self, now: Instant, bytes: u64) {
        let window = self.window.get_or_insert(Window { began: now, ends: now + WINDOW, bytes: 0 });
        if now < window.ends {
            window.bytes = window.bytes.saturating_add(bytes);
            return;
        }
        let passed = now.saturating_duration_since(window.began);
        let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = window.bytes.saturating_mul(8_000) / millis;
        // A pause is forgotten at once, a rise within a second.
        self.usual = if self.usual == 0 { rate } else { self.usual / 2 + rate / 2 };
        *window = Window { began: now, ends: now + WINDOW, bytes };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::stream::tests::at;

    /// Sends a queue of packets of 1,200 bytes as soon as the pacer lets them; says when each left.
    fn drain(pacer: &mut Pacer, from: u64, packets: usize) -> Vec<Duration> {
        let mut now = at(from);
        let mut times = Vec::new();
        while times.len() < packets {
            pacer.set_queued(1200 * (packets - times.len()));
            now = pacer.next_send().map_or(now, |next| next.max(now));
            assert!(pacer.may_send(now));
            pacer.on_sent(now, 1200);
            times.push(now - at(from));
        }
        times
    }

    #[test]
    fn a_key_frame_is_spread_and_leaves_within_its_time() {
        let mut pacer = Pacer::new();
        let times = drain(&mut pacer, 0, 100);
        // No 5 ms carry more than twice their share of 120,000 bytes in 250 ms.
        for start in 0..times.len() - 10 {
            assert!(times[start + 10] - times[start] >= Duration::from_millis(5), "{start}");
        }
        assert!(times[99] <= Duration::from_millis(1500));
        assert!(times[50] <= Duration::from_millis(200), "{:?}", times[50]);
    }

    #[test]
    fn a_lone_packet_never_waits() {
        let mut pacer = Pacer::new();
        for n in 0..1000 {
            assert!(pacer.may_send(at(20 * n)));
            pacer.on_sent(at(20 * n), 200);
        }
        assert_eq!(pacer.rate(), MIN_RATE);
    }

    #[test]
    fn the_usual_rate_gives_the_rate_of_bursts() {
        let mut pacer = Pacer::new();
        // 1,200 bytes each millisecond are 9.6 Mbit/s.
        for n in 0..5000 {
            pacer.on_sent(at(n), 1200);
        }
        assert!((23_000_000..25_000_000).contains(&pacer.rate()), "{}", pacer.rate());
    }

    #[test]
    fn what_leaves_in_seconds_stays_below_the_ceiling() {
        let mut pacer = Pacer::new();
        pacer.set_ceiling(Some(1_000_000));
        let times = drain(&mut pacer, 0, 2000);
        let in_ten = times.iter().filter(|time| **time < Duration::from_secs(10)).count();
        // 10 s at the ceiling, and one second's worth at the start: 1,146 packets.
        assert!((1100..=1147).contains(&in_ten), "{in_ten}");
        pacer.set_ceiling(Some(0));
        drain(&mut pacer, 30_000, 10);
    }
}
