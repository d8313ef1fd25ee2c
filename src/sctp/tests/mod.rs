//! Two associations over a network in virtual time.

mod handshake;
mod hostile;
mod reset;
mod transfer;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::{Association, CloseReason, Config, Event, SendOptions};
use crate::packet::Ecn;
use crate::rng::{Rng, Stream};
use crate::types::ids::StreamId;

const MS: Duration = Duration::from_millis(1);

/// The two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    A,
    B,
}

impl End {
    fn other(self) -> End {
        match self {
            End::A => End::B,
            End::B => End::A,
        }
    }
}

/// How packets travel.
#[derive(Debug, Clone)]
struct Link {
    delay: Duration,
    /// Extra delay, drawn from 0 to this for each packet: reorders.
    jitter: Duration,
    /// Of 1,000 packets.
    loss: u64,
    duplication: u64,
    /// Losses come in runs of about this many packets.
    burst: u64,
}

impl Default for Link {
    fn default() -> Self {
        Link { delay: 25 * MS, jitter: Duration::ZERO, loss: 0, duplication: 0, burst: 1 }
    }
}

/// A side, and what happened to it.
struct Side {
    association: Association,
    events: Vec<Event>,
    closed: Option<CloseReason>,
    /// The user pulls events.
    is_reading: bool,
    /// Packets sent, as they left.
    sent: Vec<Bytes>,
    /// Packets still to be lost of a burst.
    burst: u64,
}

/// The network.
struct Net {
    now: Instant,
    start: Instant,
    a: Side,
    b: Side,
    link: Link,
    rng: Rng,
    queue: BTreeMap<(Instant, u64), (End, Bytes)>,
    serial: u64,
    steps: u64,
}

fn base() -> Instant {
    // A fixed point of the test process: only differences matter.
    crate::time::some_instant()
}

fn side(config: Config, seed: u8, now: Instant) -> Side {
    let association = Association::new(config, Rng::new([seed; 32], Stream::Sctp), now);
    Side { association, events: Vec::new(), closed: None, is_reading: true, sent: Vec::new(), burst: 0 }
}

impl Net {
    fn new(config_a: Config, config_b: Config, link: Link, seed: u8) -> Self {
        let now = base();
        Net {
            now,
            start: now,
            a: side(config_a, seed, now),
            b: side(config_b, seed.wrapping_add(100), now),
            link,
            rng: Rng::new([seed; 32], Stream::Session),
            queue: BTreeMap::new(),
            serial: 0,
            steps: 0,
        }
    }

    fn plain(seed: u8) -> Self {
        Net::new(Config::default(), Config::default(), Link::default(), seed)
    }

    /// Both sides send INIT, and are up.
    fn connected(config: Config, link: Link, seed: u8) -> Self {
        let mut net = Net::new(config.clone(), config, link, seed);
        net.connect();
        net
    }

    fn connect(&mut self) {
        let rtt = Some(2 * self.link.delay);
        self.a.association.connect(self.now, rtt);
        self.b.association.connect(self.now, rtt);
        self.run_until(30_000 * MS, |net| net.both(Association::is_established));
        self.run_for(1000 * MS);
        self.a.events.clear();
        self.b.events.clear();
    }

    fn both(&self, question: impl Fn(&Association) -> bool) -> bool {
        question(&self.a.association) && question(&self.b.association)
    }

    fn side(&mut self, end: End) -> &mut Side {
        match end {
            End::A => &mut self.a,
            End::B => &mut self.b,
        }
    }

    fn send(&mut self, end: End, stream: u16, data: impl Into<Bytes>, options: SendOptions) {
        let now = self.now;
        self.side(end).association.send(now, StreamId(stream), 51, data.into(), options).unwrap();
    }

    /// Polls both sides dry, and puts what they send on the link.
    fn flush(&mut self) {
        for end in [End::A, End::B] {
            loop {
                let mut packet = BytesMut::new();
                let now = self.now;
                let side = self.side(end);
                while side.is_reading
                    && let Some(event) = side.association.poll_event()
                {
                    side.events.push(event);
                }
                side.closed = side.closed.take().or(side.association.take_closed());
                if !side.association.poll_packet(now, &mut packet) {
                    assert!(packet.is_empty(), "nothing was sent, and yet something was written");
                    // Polling again without new input yields nothing, and the same timeout.
                    let before = side.association.next_timeout();
                    assert!(!side.association.poll_packet(now, &mut packet));
                    assert_eq!(side.association.next_timeout(), before);
                    break;
                }
                assert!(packet.len() <= side.association.config.mtu, "packet of {} bytes", packet.len());
                let packet = packet.freeze();
                side.sent.push(packet.clone());
                self.carry(end.other(), packet);
            }
        }
    }

    fn carry(&mut self, to: End, packet: Bytes) {
        let Link { delay, jitter, loss, duplication, burst } = self.link.clone();
        let is_lost = if self.side(to).burst > 0 {
            self.side(to).burst -= 1;
            true
        } else {
            let hit = self.rng.below(1000 * burst) < loss;
            if hit {
                self.side(to).burst = self.rng.below(2 * burst - 1);
            }
            hit
        };
        if is_lost {
            return;
        }
        let copies = if self.rng.below(1000) < duplication { 2 } else { 1 };
        for _ in 0..copies {
            let extra = Duration::from_nanos(self.rng.below(jitter.as_nanos() as u64 + 1));
            self.serial += 1;
            self.queue.insert((self.now + delay + extra, self.serial), (to, packet.clone()));
        }
    }

    /// One step: what is sent, then the next thing in time. False when nothing will ever happen.
    fn step(&mut self, end: Instant) -> bool {
        self.flush();
        self.steps += 1;
        let arrival = self.queue.keys().next().map(|(at, _)| *at);
        let timeouts = [self.a.association.next_timeout(), self.b.association.next_timeout()];
        let Some(next) = crate::time::earliest([arrival, timeouts[0], timeouts[1]]) else { return false };
        if next > end {
            self.now = end;
            return false;
        }
        assert!(self.steps < 5_000_000, "no progress");
        self.now = self.now.max(next);
        let now = self.now;
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= now) {
            let (to, packet) = entry.remove();
            self.side(to).association.handle_packet(now, packet, Ecn::NotEct);
        }
        for side in [&mut self.a, &mut self.b] {
            if side.association.next_timeout().is_some_and(|at| at <= now) {
                side.association.handle_timeout(now);
                // R15: a timeout that was handled is not due again at once.
                assert!(side.association.next_timeout().is_none_or(|at| at > now), "a timeout at now");
            }
        }
        true
    }

    /// Runs until `done`, which must come true within `limit`.
    fn run_until(&mut self, limit: Duration, done: impl Fn(&Net) -> bool) {
        let end = self.now + limit;
        while !done(self) {
            if !self.step(end) {
                self.flush();
                assert!(
                    done(self),
                    "not done after {:?}: {:?} {:?}",
                    self.now - self.start,
                    self.a.association.reset,
                    self.b.association.reset,
                );
                return;
            }
        }
    }

    /// Lets time pass.
    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
        self.flush();
    }

    /// Messages that a side got, in order, and forgets them.
    fn take_messages(&mut self, end: End) -> Vec<(u16, Bytes)> {
        let messages = self.side(end).events.iter().filter_map(|event| match event {
            Event::Message { stream, data, .. } => Some((stream.0, data.clone())),
            _ => None,
        });
        let messages = messages.collect();
        self.side(end).events.retain(|event| !matches!(event, Event::Message { .. }));
        messages
    }
}
