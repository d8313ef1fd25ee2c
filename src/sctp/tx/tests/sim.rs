//! Two ends, each a sender and a receiver, over a network in memory whose time only moves when nothing is left to do.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::sctp::chunk::data::{DataChunk, DataFormat};
use crate::sctp::chunk::forward_tsn::ForwardTsn;
use crate::sctp::chunk::sack::{GapBlock, Sack, emit_sack};
use crate::sctp::chunk::{Chunks, kind};
use crate::sctp::config::Config;
use crate::sctp::rx::{Limits, Receiver};
use crate::sctp::tx::{Agreed, Sender};
use crate::sctp::types::Event;
use crate::time::earliest;
use crate::wire::serial::Serial32;
use crate::wire::writer::Writer;

pub(crate) const MTU: usize = 1163;

/// A small generator: SplitMix64.
#[derive(Debug, Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// True so many times in a thousand.
    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

/// What one direction does to packets. Chances are per mille.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) delay: Duration,
    pub(crate) loss: u64,
    /// Chance that a packet starts a burst of loss, and how many milliseconds that lasts at the most.
    pub(crate) burst: (u64, u64),
    pub(crate) reorder: u64,
    /// How much later a reordered packet comes at the most.
    pub(crate) late: Duration,
    pub(crate) duplicate: u64,
    /// Bytes per second, and bytes that may queue.
    pub(crate) rate: Option<(u64, u64)>,
    pub(crate) is_down: bool,
    free_at: Option<Instant>,
    burst_until: Option<Instant>,
}

impl Default for Link {
    fn default() -> Self {
        Link {
            delay: Duration::from_millis(10),
            loss: 0,
            burst: (0, 0),
            reorder: 0,
            late: Duration::from_millis(20),
            duplicate: 0,
            rate: None,
            is_down: false,
            free_at: None,
            burst_until: None,
        }
    }
}

impl Link {
    /// When a packet that leaves now arrives; empty when it is lost, two times when it is doubled.
    fn carry(&mut self, now: Instant, len: usize, dice: &mut Dice) -> Vec<Instant> {
        if dice.chance(self.burst.0) {
            self.burst_until = Some(now + Duration::from_millis(dice.below(self.burst.1)));
        }
        if self.burst_until.is_some_and(|end| now <= end) {
            return Vec::new();
        }
        if self.is_down || dice.chance(self.loss) {
            return Vec::new();
        }
        let mut at = now;
        if let Some((rate, queue)) = self.rate {
            let start = self.free_at.filter(|&t| t > now).unwrap_or(now);
            let waiting = (start - now).as_micros() as u64 * rate / 1_000_000;
            if waiting > queue {
                return Vec::new();
            }
            // IP and UDP and DTLS headers count on the path.
            at = start + Duration::from_nanos((len as u64 + 65) * 1_000_000_000 / rate);
            self.free_at = Some(at);
        }
        at += self.delay;
        if dice.chance(self.reorder) {
            at += Duration::from_micros(1000 + dice.below(self.late.as_micros() as u64));
        }
        if dice.chance(self.duplicate) { vec![at, at + Duration::from_millis(1)] } else { vec![at] }
    }
}

/// One end.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) tx: Sender,
    pub(crate) rx: Receiver,
    pub(crate) format: DataFormat,
    pub(crate) link: Link,
    arrivals: BTreeMap<(Instant, u64), Bytes>,
    /// Whether the user takes messages.
    pub(crate) reads: bool,
    pub(crate) received: Vec<Event>,
    pub(crate) notices: Vec<Event>,
    pub(crate) packets: u64,
    pub(crate) violations: u64,
    pub(crate) most_held: usize,
}

impl End {
    pub(crate) fn new(config: &Config, format: DataFormat, now: Instant) -> Self {
        let limits = Limits {
            window: config.receive_window,
            max_message_size: config.max_message_size,
            max_streams: config.max_active_streams,
            ack_delay: config.ack_delay,
        };
        End {
            tx: Sender::new(config, now),
            rx: Receiver::new(limits),
            format,
            link: Link::default(),
            arrivals: BTreeMap::new(),
            reads: true,
            received: Vec::new(),
            notices: Vec::new(),
            packets: 0,
            violations: 0,
            most_held: 0,
        }
    }

    pub(crate) fn start(&mut self, ours: u32, theirs: u32, peer_window: usize) {
        let interleaving = self.format == DataFormat::Interleaved;
        let agreed = Agreed {
            initial_tsn: Serial32(ours),
            peer_window: peer_window as u32,
            format: self.format,
            partial_reliability: true,
        };
        self.tx.start(agreed, MTU);
        self.rx.start(Serial32(theirs), interleaving);
    }

    /// Writes a packet, if there is anything to say.
    pub(crate) fn packet(&mut self, now: Instant, buf: &mut BytesMut) -> bool {
        let mut w = Writer::new(buf);
        w.zeros(12);
        if self.rx.is_sack_due() {
            let sack = self.rx.sack();
            let gaps = sack.gaps().map(|(start, end)| GapBlock { start, end });
            let duplicates = sack.duplicates().iter().copied();
            assert!(emit_sack(&mut w, MTU - 12, sack.cumulative(), sack.window(), gaps, duplicates));
            self.rx.on_sack_sent();
        }
        let room = MTU - w.written();
        self.tx.emit_chunks(now, &mut w, room);
        let len = w.written();
        assert!(len <= MTU, "a packet of {len} bytes");
        len > 12
    }

    pub(crate) fn handle_packet(&mut self, now: Instant, packet: &Bytes) {
        let mut chunks = Chunks::new(packet, 12);
        while let Some(Ok(chunk)) = chunks.next() {
            match chunk.kind {
                kind::DATA | kind::I_DATA => {
                    let data = DataChunk::parse(self.format, &chunk).unwrap();
                    let at = chunk.range.end - data.payload.len();
                    self.violations += u64::from(self.rx.on_data(&data, at).is_err());
                }
                kind::SACK => {
                    let sack = Sack::parse(chunk.value).unwrap();
                    let gaps = sack.gaps().map(|gap| (gap.start, gap.end));
                    self.tx.on_sack(now, sack.cumulative_tsn, sack.a_rwnd, gaps, sack.duplicates());
                }
                kind::FORWARD_TSN | kind::I_FORWARD_TSN => {
                    let forward = ForwardTsn::parse(self.format, chunk.value).unwrap();
                    self.rx.on_forward_tsn(forward.new_cumulative, forward.skipped());
                }
                other => panic!("chunk {other}"),
            }
        }
        self.rx.end_of_packet(now, packet.clone());
        self.most_held = self.most_held.max(self.rx.held());
    }

    pub(crate) fn poll_events(&mut self) {
        while let Some(event) = self.tx.poll_event() {
            self.notices.push(event);
        }
        while self.reads {
            let Some(event) = self.rx.poll_event() else { break };
            self.received.push(event);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.tx.handle_timeout(now);
        self.rx.handle_timeout(now);
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        earliest([self.tx.next_timeout(), self.rx.next_timeout()])
    }
}

/// Two ends and what lies between.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) ends: [End; 2],
    pub(crate) now: Instant,
    pub(crate) started: Instant,
    pub(crate) dice: Dice,
    carried: u64,
    idle_steps: u32,
}

impl Pair {
    pub(crate) fn new(config: &Config, format: DataFormat, seed: u64) -> Self {
        let now = crate::time::some_instant();
        let mut dice = Dice(seed);
        let mut ends = [End::new(config, format, now), End::new(config, format, now)];
        // Near the wrap, half of the time.
        let tsn = |dice: &mut Dice| (dice.next() as u32 & 0x8000_0000).wrapping_sub(dice.below(2000) as u32);
        let (a, b) = (tsn(&mut dice), tsn(&mut dice));
        ends[0].start(a, b, config.receive_window);
        ends[1].start(b, a, config.receive_window);
        Pair { ends, now, started: now, dice, carried: 0, idle_steps: 0 }
    }

    pub(crate) fn links(&mut self, change: impl Fn(&mut Link)) {
        self.ends.iter_mut().for_each(|end| change(&mut end.link));
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.started
    }

    /// Lets everything leave that may leave now.
    pub(crate) fn flush(&mut self) {
        for from in 0..2 {
            let mut sent = VecDeque::new();
            let end = &mut self.ends[from];
            end.poll_events();
            loop {
                let mut buf = BytesMut::with_capacity(MTU);
                if !end.packet(self.now, &mut buf) {
                    break;
                }
                end.packets += 1;
                self.idle_steps = 0;
                let len = buf.len();
                let packet = buf.freeze();
                for at in end.link.carry(self.now, len, &mut self.dice) {
                    sent.push_back((at, packet.clone()));
                }
                end.poll_events();
            }
            for (at, packet) in sent {
                self.carried += 1;
                self.ends[1 - from].arrivals.insert((at, self.carried), packet);
            }
        }
    }

    /// Goes to the next thing that happens, at `limit` the latest. False when nothing happens before.
    pub(crate) fn step(&mut self, limit: Instant) -> bool {
        self.flush();
        let arrival = |end: &End| end.arrivals.first_key_value().map(|((at, _), _)| *at);
        let next = earliest(self.ends.iter().flat_map(|end| [arrival(end), end.next_timeout()]));
        let Some(next) = next.filter(|&at| at <= limit) else {
            self.now = limit;
            return false;
        };
        // A deadline that passes without anything being sent may be met only so often at one time.
        self.idle_steps = if next > self.now { 0 } else { self.idle_steps + 1 };
        assert!(self.idle_steps < 100, "time stands still");
        self.now = self.now.max(next);
        for end in &mut self.ends {
            while let Some(entry) = end.arrivals.first_entry().filter(|e| e.key().0 <= self.now) {
                self.idle_steps = 0;
                let packet = entry.remove();
                end.handle_packet(self.now, &packet);
            }
            end.handle_timeout(self.now);
        }
        true
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let limit = self.now + time;
        while self.step(limit) {}
    }

    /// Runs until both ends are drained, and says how long that took; panics after `most`.
    pub(crate) fn run_until_drained(&mut self, most: Duration) -> Duration {
        let from = self.now;
        let limit = from + most;
        let mut moved = true;
        while moved && !self.ends.iter().all(|end| end.tx.is_drained()) {
            moved = self.step(limit);
        }
        for (i, end) in self.ends.iter().enumerate() {
            let tx = &end.tx;
            assert!(
                tx.is_drained(),
                "end {i} is not drained after {most:?}: {} bytes, {:?}, cwnd {}, rto {:?}, peer window {}",
                tx.buffered(),
                tx.stats,
                tx.congestion_window(),
                tx.rto(),
                tx.peer_window,
            );
        }
        let took = self.now - from;
        self.run_for(Duration::from_secs(1));
        for end in &self.ends {
            assert_eq!(end.next_timeout(), None, "a timer is left: {:?}", end.tx.timers);
            assert_eq!(end.violations, 0);
        }
        took
    }
}
