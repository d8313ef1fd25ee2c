//! A whole connection, both ends on one core: set-up, bulk by message size, an idle minute, look-up by address.
//!
//! The floor beside the bulk figures is what no implementation can avoid: each datagram sealed and opened once with
//! AES-128-GCM and its bytes copied twice, in the same run.

// A test is a caller, and a caller has a clock.
#![allow(clippy::disallowed_methods)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sansrtc::crypto::{self, AeadAlgorithm, cert::Identity};
use sansrtc::dtls::Version;
use sansrtc::rng::{Rng, Stream};
use sansrtc::{
    Candidate, ChannelConfig, ChannelId, Clock, Datagram, Endpoint, Event, Input, MessageKind, Output, Rtc,
    RtcConfig,
};

#[path = "cpu/mod.rs"]
mod cpu;

use cpu::CpuTime;

const CLIENT: &str = "192.0.2.1:1000";
const SERVER: &str = "192.0.2.2:2000";

fn rtc(identity: &Arc<Identity>, seed: u8, address: &str, now: Instant) -> Rtc {
    // The figures, and the floor beside them, are those of DTLS 1.2.
    let max_dtls_version = Version::Dtls12;
    let identity = Some(identity.clone());
    let config = RtcConfig { identity, max_dtls_version, max_segments: 16, ..RtcConfig::default() };
    let clock = Clock { instant: now, unix: Duration::from_secs(1_700_000_000) };
    let mut rtc = Rtc::new(config, [seed; 32], clock).unwrap();
    rtc.add_local_candidate(Candidate::host(address.parse().unwrap()).unwrap()).unwrap();
    rtc
}

fn identity() -> Arc<Identity> {
    Arc::new(Identity::generate(crypto::ring(), &mut Rng::new([9; 32], Stream::Certificate)).unwrap())
}

/// Two connections and a network without delay.
struct Pair {
    now: Instant,
    a: Rtc,
    b: Rtc,
    /// Bytes of messages that arrived at `b`.
    received: usize,
    opened: Option<ChannelId>,
    deadlines: [Option<Instant>; 2],
}

impl Pair {
    fn new(identity: &Arc<Identity>, client: &str) -> Pair {
        let now = Instant::now();
        let (a, b) = (rtc(identity, 1, client, now), rtc(identity, 2, SERVER, now));
        Pair { now, a, b, received: 0, opened: None, deadlines: [Some(now); 2] }
    }

    fn connected(identity: &Arc<Identity>) -> (Pair, ChannelId) {
        Pair::connected_from(identity, CLIENT)
    }

    fn connected_from(identity: &Arc<Identity>, client: &str) -> (Pair, ChannelId) {
        let mut pair = Pair::new(identity, client);
        let channel = pair.a.open_channel(ChannelConfig::default()).unwrap();
        let offer = pair.a.create_offer().unwrap();
        let answer = pair.b.accept_offer(&offer).unwrap();
        pair.a.accept_answer(&answer).unwrap();
        while pair.opened.is_none() {
            if !pair.exchange() {
                pair.sleep();
            }
        }
        (pair, channel)
    }

    /// Moves what there is, once each way. False when there was nothing.
    fn exchange(&mut self) -> bool {
        let mut moved = false;
        for from_a in [true, false] {
            loop {
                let (from, to) = if from_a { (&mut self.a, &mut self.b) } else { (&mut self.b, &mut self.a) };
                match from.poll_output() {
                    Output::Transmit(t) => {
                        moved = true;
                        let (source, destination, segment_size) = (t.source, t.destination, t.segment_size);
                        let contents = t.contents.into_inner();
                        let datagram =
                            Datagram { segment_size, ..Datagram::udp(source, destination, contents) };
                        to.handle_input(self.now, Input::Datagram(datagram));
                    }
                    Output::Event(Event::Message { data, .. }) => self.received += data.len(),
                    Output::Event(Event::ChannelOpen(id)) if !from_a => self.opened = Some(id),
                    Output::Event(_) | Output::Stream(_) => {}
                    Output::Timeout(at) => {
                        self.deadlines[usize::from(!from_a)] = at;
                        break;
                    }
                }
            }
        }
        moved
    }

    /// Goes on to the next deadline.
    fn sleep(&mut self) {
        let next = self.deadlines.into_iter().flatten().min().unwrap();
        self.now = self.now.max(next);
        self.a.handle_input(self.now, Input::Timeout);
        self.b.handle_input(self.now, Input::Timeout);
    }

    fn transfer(&mut self, channel: ChannelId, message: &Bytes, total: usize) {
        let goal = self.received + total;
        let mut left = total / message.len();
        while self.received < goal {
            while left > 0 && self.a.send(channel, MessageKind::Binary, message.clone()).is_ok() {
                left -= 1;
            }
            if !self.exchange() {
                self.sleep();
            }
        }
    }
}

fn bulk(c: &mut Criterion<CpuTime>) {
    let identity = identity();
    let mut group = c.benchmark_group("bulk, both ends");
    for (name, size, total) in [
        ("64 B", 64, 256 * 1024),
        ("1 KiB", 1024, 1024 * 1024),
        ("16 KiB", 16 * 1024, 4 * 1024 * 1024),
        ("256 KiB", 256 * 1024, 4 * 1024 * 1024),
    ] {
        let (mut pair, channel) = Pair::connected(&identity);
        let message = Bytes::from(vec![7u8; size]);
        group.throughput(Throughput::Bytes(total as u64));
        group.bench_function(name, |b| b.iter(|| pair.transfer(channel, &message, total)));
    }
    group.throughput(Throughput::Bytes(1136));
    group.bench_function("floor: seal, open, two copies", |b| {
        let key = crypto::ring().aead(AeadAlgorithm::Aes128Gcm, &[1; 16]).unwrap();
        let payload = [7u8; 1136];
        let mut buffer = BytesMut::with_capacity(1200);
        let mut copy = vec![0u8; 1136];
        b.iter(|| {
            buffer.clear();
            buffer.extend_from_slice(&payload);
            let tag = key.seal_in_place(&[0; 12], &[0; 13], &mut buffer);
            buffer.extend_from_slice(&tag);
            let plain = key.open_in_place(&[0; 12], &[0; 13], &mut buffer).unwrap();
            copy.copy_from_slice(plain);
            black_box(&copy);
        });
    });
    group.finish();
}

fn set_up(c: &mut Criterion<CpuTime>) {
    let identity = identity();
    c.bench_function("set-up, both ends, until the channel is open", |b| {
        b.iter(|| black_box(Pair::connected(&identity)).1);
    });
}

fn idle(c: &mut Criterion<CpuTime>) {
    let (mut pair, _) = Pair::connected(&identity());
    c.bench_function("an idle minute, both ends", |b| {
        b.iter(|| {
            let end = pair.now + Duration::from_secs(60);
            while pair.now < end {
                if !pair.exchange() {
                    pair.sleep();
                }
            }
        });
    });
}

fn look_up(c: &mut Criterion<CpuTime>) {
    let now = Instant::now();
    let mut endpoint = None;
    let (source, destination) = (CLIENT.parse().unwrap(), SERVER.parse().unwrap());
    let mut contents = Some(BytesMut::from(&[23u8, 254, 253, 0, 0][..]));
    c.bench_function("look-up of an address that nobody knows, among 1,000", |b| {
        let endpoint = endpoint.get_or_insert_with(crowded);
        b.iter(|| {
            let datagram = Datagram::udp(source, destination, contents.take().unwrap());
            match endpoint.handle_input(now, Input::Datagram(datagram)) {
                sansrtc::Routed::Unmatched(datagram) => contents = Some(datagram.contents),
                other => panic!("{other:?}"),
            }
        });
    });
}

/// A thousand connections whose peers have been heard, so that an address of each is known.
fn crowded() -> Endpoint {
    let identity = identity();
    let mut endpoint = Endpoint::new([3; 32]);
    for port in 2000..3000 {
        endpoint.insert(Pair::connected_from(&identity, &format!("192.0.2.1:{port}")).0.b);
    }
    endpoint
}

criterion_group! {
    name = benches;
    config = cpu::criterion();
    targets = bulk, set_up, idle, look_up
}
criterion_main!(benches);
