//! Bulk transfer through two SCTP associations in memory, both ends on one core, without DTLS.
//!
//! `floor` is what the same bytes cost when they are only copied: into packets, and out of them into messages.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sansrtc::packet::Ecn;
use sansrtc::rng::{Rng, Stream};
use sansrtc::sctp::{Association, Config, Event, SendError, SendOptions};
use sansrtc::types::ids::StreamId;

#[path = "cpu/mod.rs"]
mod cpu;

use cpu::CpuTime;

const BINARY: u32 = 53;

/// Two associations that hand each other their packets.
struct Pair {
    a: Association,
    b: Association,
    now: Instant,
    slab: BytesMut,
}

impl Pair {
    fn connected(config: &Config) -> Self {
        #[allow(clippy::disallowed_methods)] // Virtual time begins somewhere.
        let now = Instant::now();
        let side = |seed| Association::new(config.clone(), Rng::new([seed; 32], Stream::Sctp), now);
        let mut pair = Pair { a: side(1), b: side(2), now, slab: BytesMut::new() };
        pair.a.connect(now, Some(Duration::from_micros(200)));
        pair.b.connect(now, Some(Duration::from_micros(200)));
        pair.a.set_remote_max_message_size(0);
        while !(pair.a.is_established() && pair.b.is_established()) {
            pair.step(&mut |_| {});
        }
        pair
    }

    /// Carries packets both ways until there are none, then lets time pass if nothing else will happen.
    fn step(&mut self, on_message: &mut impl FnMut(&Bytes)) {
        let mut is_quiet = true;
        let Pair { a, b, now, slab } = self;
        loop {
            let there = carry(*now, slab, a, b);
            while let Some(event) = b.poll_event() {
                if let Event::Message { data, .. } = event {
                    on_message(&data);
                }
            }
            let back = carry(*now, slab, b, a);
            while a.poll_event().is_some() {}
            if !there && !back {
                break;
            }
            is_quiet = false;
        }
        *now += Duration::from_micros(20);
        if is_quiet && let Some(at) = [a.next_timeout(), b.next_timeout()].into_iter().flatten().min() {
            *now = at.max(*now);
        }
        for side in [a, b] {
            if side.next_timeout().is_some_and(|at| at <= *now) {
                side.handle_timeout(*now);
            }
        }
    }

    /// Sends `count` messages, and waits until all are there.
    fn transfer(&mut self, message: &Bytes, count: usize) {
        let (mut sent, mut got) = (0, 0);
        while got < count {
            while sent < count {
                let options = SendOptions::default();
                match self.a.send(self.now, StreamId(0), BINARY, message.clone(), options) {
                    Ok(()) => sent += 1,
                    Err(SendError::WouldBlock) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            self.step(&mut |data| {
                black_box(data);
                got += 1;
            });
        }
    }
}

/// Moves up to 32 packets; false when there was none.
fn carry(now: Instant, slab: &mut BytesMut, from: &mut Association, to: &mut Association) -> bool {
    let mut moved = false;
    for _ in 0..32 {
        slab.reserve(2048);
        if !from.poll_packet(now, slab) {
            break;
        }
        moved = true;
        to.handle_packet(now, slab.split().freeze(), Ecn::NotEct);
    }
    moved
}

/// CPU time of `times` runs of `work`.
fn measure(times: u64, mut work: impl FnMut()) -> Duration {
    let start = cpu::now();
    (0..times).for_each(|_| work());
    cpu::now() - start
}

fn bulk(criterion: &mut Criterion<CpuTime>) {
    let sizes = [64, 1024, 16 * 1024, 256 * 1024];
    for (name, interleaving) in [("data", false), ("idata", true)] {
        let mut group = criterion.benchmark_group(format!("sctp/{name}"));
        for size in sizes {
            let count = (4 * 1024 * 1024 / size).min(16_384);
            let config = Config { interleaving, send_buffer: 1024 * 1024, ..Config::default() };
            let message = Bytes::from(vec![7; size]);
            let mut pair = Pair::connected(&config);
            pair.transfer(&message, count);
            group.throughput(Throughput::Bytes((count * size) as u64));
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter_custom(|times| measure(times, || pair.transfer(&message, count)));
            });
        }
        group.finish();
    }
}

fn floor(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("sctp/floor");
    for size in [64usize, 1024, 16 * 1024, 256 * 1024] {
        let count = (4 * 1024 * 1024 / size).min(16_384);
        let message = vec![7u8; size];
        let mut packet = vec![0u8; 1200];
        let mut whole = vec![0u8; size];
        group.throughput(Throughput::Bytes((count * size) as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_custom(|times| {
                measure(times * count as u64, || {
                    for (from, to) in message.chunks(1132).zip(whole.chunks_mut(1132)) {
                        packet[..from.len()].copy_from_slice(black_box(from));
                        to.copy_from_slice(black_box(&packet[..from.len()]));
                    }
                    black_box(&whole);
                })
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = cpu::criterion();
    targets = bulk, floor
}
criterion_main!(benches);
