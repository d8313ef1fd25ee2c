//! One packet of 1,200 bytes forwarded to many viewers, through whole connections, beside the cryptography that
//! cannot be done without: opened once, copied and sealed for each viewer.
//!
//! Figures are per outgoing packet: the time that criterion prints, divided by the number of viewers.

use std::hint::black_box;
use std::time::Duration;

use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sansrtc::crypto::cipher::AesKey;
use sansrtc::crypto::mac::HmacSha1Key;
use sansrtc::crypto::{self, AeadAlgorithm, AeadKey};
use sansrtc::types::srtp_profile::SrtpProfile;

#[path = "cpu/mod.rs"]
mod cpu;
#[path = "../tests/room/mod.rs"]
mod room;

use cpu::CpuTime;
use room::Room;

/// Bytes of a packet that stay clear.
const HEADER: usize = 28;

/// The bare cryptography: a packet opened once, then copied and sealed for each viewer.
enum Floor {
    Gcm(Box<dyn AeadKey>),
    CounterMode(Box<(AesKey, HmacSha1Key)>),
}

impl Floor {
    fn new(profile: SrtpProfile) -> Floor {
        match profile {
            SrtpProfile::Aes128CmHmacSha1_80 => {
                let aes = AesKey::new(&[1; 16]).expect("16 bytes");
                Floor::CounterMode(Box::new((aes, HmacSha1Key::new(&[2; 20]))))
            }
            _ => Floor::Gcm(crypto::ring().aead(AeadAlgorithm::Aes128Gcm, &[1; 16]).expect("16 bytes")),
        }
    }

    fn forward(&self, packet: &mut [u8], viewers: u64, out: &mut BytesMut) {
        // Opening costs what sealing costs: a pass over the same bytes.
        self.seal(packet);
        for _ in 0..viewers {
            out.clear();
            out.extend_from_slice(packet);
            self.seal(out);
            black_box(&out);
        }
    }

    fn seal(&self, packet: &mut [u8]) {
        match self {
            Floor::Gcm(key) => {
                let (head, body) = packet.split_at_mut(HEADER);
                black_box(key.seal_in_place(&[3; 12], head, body));
            }
            Floor::CounterMode(keys) => {
                let (aes, mac) = keys.as_ref();
                aes.apply_counter_mode(&[3; 16], &mut packet[HEADER..]);
                black_box(mac.sign(&[packet, &[0; 4]]));
            }
        }
    }
}

/// Runs the room in batches, between which nothing is measured.
fn timed(room: &mut Room, iterations: u64) -> Duration {
    let mut total = Duration::ZERO;
    let mut left = iterations;
    while left > 0 {
        let batch = left.min(100);
        let packets = room.packets(usize::try_from(batch).expect("at most 500"), 1_200);
        let start = cpu::now();
        for packet in packets {
            black_box(room.step(packet));
        }
        total += cpu::now() - start;
        room.rest();
        left -= batch;
    }
    total
}

fn forward(c: &mut Criterion<CpuTime>) {
    for profile in [SrtpProfile::AeadAes128Gcm, SrtpProfile::Aes128CmHmacSha1_80] {
        let mut group = c.benchmark_group(format!("forward {profile:?}"));
        for viewers in [1u64, 10, 50, 500] {
            group.throughput(Throughput::Elements(viewers));
            group.bench_function(BenchmarkId::new("floor", viewers), |b| {
                let (floor, mut packet) = (Floor::new(profile), [0x5a; 1_200]);
                let mut out = BytesMut::with_capacity(1_500);
                b.iter(|| floor.forward(&mut packet, viewers, &mut out));
            });
            let mut room = Room::new(profile, usize::try_from(viewers).expect("at most 500"));
            group.bench_function(BenchmarkId::new("whole", viewers), |b| {
                b.iter_custom(|n| timed(&mut room, n));
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = cpu::criterion();
    targets = forward
}
criterion_main!(benches);
