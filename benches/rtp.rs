//! SRTP beside the crypto that it cannot do without, one packet to many viewers, and payload formats.
//!
//! `floor` lines do the bare cryptography on the same bytes in the same run, and the copy where there is one:
//! the distance to them is what this crate adds.

use std::hint::black_box;
use std::time::Duration;

use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sansrtc::crypto::cipher::AesKey;
use sansrtc::crypto::mac::HmacSha1Key;
use sansrtc::crypto::{self, AeadAlgorithm};
use sansrtc::payload::{Codec, DEFAULT_MAX_FRAME, Depacketizer, FrameInfo, Packetizer, Received};
use sansrtc::rtp::elements::Form;
use sansrtc::rtp::header::{Fields, Packet, Rewrite};
use sansrtc::srtp::keys::{MasterKey, Side, exported_len};
use sansrtc::srtp::{Cryptex, Inbound, Outbound};
use sansrtc::types::ids::{Pt, Ssrc};
use sansrtc::types::srtp_profile::SrtpProfile;
use sansrtc::wire::serial::{Serial16, Serial32};

#[path = "cpu/mod.rs"]
mod cpu;

use cpu::CpuTime;

const PROFILES: [SrtpProfile; 3] =
    [SrtpProfile::Aes128CmHmacSha1_80, SrtpProfile::AeadAes128Gcm, SrtpProfile::AeadAes256Gcm];

/// A packet of 1,200 bytes with the extensions that browsers send.
fn packet() -> BytesMut {
    let fields = Fields {
        marker: false,
        payload_type: Pt::new(96).expect("below 128"),
        sequence: Serial16(0),
        timestamp: Serial32(0),
        ssrc: Ssrc(1),
    };
    let mut out = BytesMut::with_capacity(1500);
    fields.emit(&mut out, &[], Form::OneByte, |w| {
        w.push(1, b"0");
        w.push(3, &[0; 3]);
        w.push(4, &[0; 2]);
    });
    out.resize(1200, 0x5a);
    out
}

fn pair(profile: SrtpProfile) -> (Outbound, Inbound) {
    let exported: Vec<u8> = (0u8..).take(exported_len(profile)).collect();
    let [ours, _] = MasterKey::from_exporter(profile, Side::Client, &exported).expect("lengths fit");
    let [_, theirs] = MasterKey::from_exporter(profile, Side::Server, &exported).expect("lengths fit");
    let outbound = ours.outbound(crypto::ring(), profile, Cryptex::Off).expect("lengths fit");
    (outbound, theirs.inbound(crypto::ring(), profile, Cryptex::Off).expect("lengths fit"))
}

/// The bare cryptography of sealing and opening one packet.
#[allow(clippy::type_complexity)] // A closure over a key schedule, once per profile.
fn floor(profile: SrtpProfile) -> Box<dyn FnMut(&mut [u8])> {
    let header = 28;
    match profile {
        SrtpProfile::Aes128CmHmacSha1_80 => {
            let (aes, mac) = (AesKey::new(&[1; 16]).expect("16 bytes"), HmacSha1Key::new(&[2; 20]));
            Box::new(move |packet| {
                aes.apply_counter_mode(&[3; 16], &mut packet[header..]);
                black_box(mac.sign(&[packet, &[0; 4]]));
                black_box(mac.sign(&[packet, &[0; 4]]));
                aes.apply_counter_mode(&[3; 16], &mut packet[header..]);
            })
        }
        _ => {
            let (algorithm, len) = match profile {
                SrtpProfile::AeadAes128Gcm => (AeadAlgorithm::Aes128Gcm, 16),
                _ => (AeadAlgorithm::Aes256Gcm, 32),
            };
            let key = crypto::ring().aead(algorithm, &vec![1; len]).expect("lengths fit");
            let mut sealed = Vec::with_capacity(1500);
            Box::new(move |packet| {
                let (aad, body) = packet.split_at_mut(header);
                let tag = key.seal_in_place(&[3; 12], aad, body);
                sealed.clear();
                sealed.extend_from_slice(&tag);
                black_box(&sealed);
                // Opening costs what sealing costs: a second pass over the same bytes.
                black_box(key.seal_in_place(&[3; 12], aad, body));
            })
        }
    }
}

/// Runs `each` for numbers that grow, in batches that a fresh context starts.
fn timed(iterations: u64, mut setup: impl FnMut() -> Box<dyn FnMut(u16)>) -> Duration {
    let mut total = Duration::ZERO;
    let mut left = iterations;
    while left > 0 {
        let batch = left.min(60_000);
        let mut each = setup();
        let start = cpu::now();
        (0..batch).for_each(|n| each(u16::try_from(n).unwrap_or(0)));
        total += cpu::now() - start;
        left -= batch;
    }
    total
}

fn srtp(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("srtp protect+unprotect, 1200 bytes");
    group.throughput(Throughput::Elements(1));
    for profile in PROFILES {
        group.bench_function(BenchmarkId::new("floor", format!("{profile:?}")), |b| {
            let (mut floor, mut packet) = (floor(profile), packet());
            b.iter(|| floor(&mut packet));
        });
        group.bench_function(BenchmarkId::new("srtp", format!("{profile:?}")), |b| {
            b.iter_custom(|n| {
                timed(n, || {
                    let (mut outbound, mut inbound) = pair(profile);
                    let mut packet = packet();
                    Box::new(move |number| {
                        let rewrite = Rewrite { sequence: Some(Serial16(number)), ..Rewrite::default() };
                        rewrite.apply(&mut packet);
                        outbound.protect_rtp(&mut packet, 0).expect("a new number");
                        inbound.unprotect_rtp(&mut packet).expect("authentic");
                    })
                })
            });
        });
    }
    group.finish();
}

/// One packet in, clear; a copy with a header of its own, sealed, for each viewer out.
fn fan_out(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("fan-out, per outgoing packet");
    for profile in PROFILES {
        for viewers in [10u64, 50, 500] {
            group.throughput(Throughput::Elements(viewers));
            group.bench_function(BenchmarkId::new(format!("{profile:?}"), viewers), |b| {
                b.iter_custom(|n| {
                    timed(n, || {
                        let mut contexts: Vec<Outbound> = (0..viewers).map(|_| pair(profile).0).collect();
                        let clear = packet();
                        let mut out = BytesMut::with_capacity(1500);
                        Box::new(move |number| {
                            let packet = Packet::parse(&clear).expect("our own");
                            for context in &mut contexts {
                                let fields = Fields { sequence: Serial16(number), ..packet.header().into() };
                                out.clear();
                                fields.emit(&mut out, &[], Form::OneByte, |w| {
                                    packet.elements().for_each(|e| {
                                        w.push(e.id, e.data);
                                    });
                                });
                                out.extend_from_slice(packet.payload());
                                context.protect_rtp(&mut out, 0).expect("a new number");
                                black_box(&out);
                            }
                        })
                    })
                });
            });
        }
    }
    group.finish();
}

fn payloads(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("payload, frame of 20 kB");
    for codec in [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1] {
        let frame = frame(codec);
        group.throughput(Throughput::Bytes(20_000));
        group.bench_function(BenchmarkId::new("packetize", codec.name()), |b| {
            let mut packetizer = Packetizer::new(codec, 0);
            let mut out = BytesMut::with_capacity(64 * 1024);
            b.iter(|| {
                out.clear();
                let mut payloads = packetizer.start(&frame, 1100, FrameInfo::default()).expect("room enough");
                while payloads.next_payload(&mut out).is_some() {}
                black_box(&out);
            });
        });
        group.bench_function(BenchmarkId::new("depacketize", codec.name()), |b| {
            let mut packetizer = Packetizer::new(codec, 0);
            let mut payloads = packetizer.start(&frame, 1100, FrameInfo::default()).expect("room enough");
            let mut packets = Vec::new();
            let mut out = BytesMut::new();
            while let Some(marker) = payloads.next_payload(&mut out) {
                packets.push((out.split(), marker));
            }
            let mut depacketizer = Depacketizer::new(codec, DEFAULT_MAX_FRAME);
            let (mut sequence, mut timestamp) = (0, 0u32);
            b.iter(|| {
                timestamp = timestamp.wrapping_add(3000);
                for (payload, marker) in &packets {
                    sequence += 1;
                    let packet = Received { sequence, timestamp, marker: *marker, payload };
                    black_box(depacketizer.handle_packet(packet).count());
                }
            });
        });
    }
    group.finish();
}

/// A frame in the form that the codec's packetizer takes.
fn frame(codec: Codec) -> Vec<u8> {
    let head: &[u8] = match codec {
        Codec::H264 => &[0, 0, 0, 1, 0x41, 0x88],
        Codec::H265 => &[0, 0, 0, 1, 0x02, 0x01, 0x88],
        Codec::Av1 => &[0x30],
        _ => &[1],
    };
    let noise = (0u32..20_000).map(|n| u8::try_from(n.wrapping_mul(2_654_435_761) >> 24).unwrap_or(0) | 1);
    head.iter().copied().chain(noise).collect()
}

criterion_group! {
    name = benches;
    config = cpu::criterion();
    targets = srtp, fan_out, payloads
}
criterion_main!(benches);
