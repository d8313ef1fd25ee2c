//! The raw floors: what the cryptography alone costs, below which no protocol on top of it can get.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sansrtc::crypto::cert::{Identity, public_key};
use sansrtc::crypto::cipher::AesKey;
use sansrtc::crypto::hash::HashAlgorithm;
use sansrtc::crypto::mac::{HmacKey, HmacSha1Key};
use sansrtc::crypto::{AeadAlgorithm, Backend, NamedGroup, TAG_LEN, ring, rust};
use sansrtc::rng::{Rng, Stream};

#[path = "cpu/mod.rs"]
mod cpu;

use cpu::CpuTime;

/// Bytes in a record or packet: what one datagram carries.
const PACKET: usize = 1200;

const ALGORITHMS: [AeadAlgorithm; 3] =
    [AeadAlgorithm::Aes128Gcm, AeadAlgorithm::Aes256Gcm, AeadAlgorithm::ChaCha20Poly1305];

fn backends() -> Vec<(&'static str, &'static dyn Backend)> {
    vec![
        ("ring", ring()),
        ("rust", rust()),
        #[cfg(feature = "aws-lc-rs")]
        ("aws-lc", sansrtc::crypto::aws_lc()),
    ]
}

fn rng() -> Rng {
    Rng::new([1; 32], Stream::Dtls)
}

fn aead(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("aead-1200");
    group.throughput(Throughput::Bytes(PACKET as u64));
    for algorithm in ALGORITHMS {
        let key = ring().aead(algorithm, &[7; 32][..algorithm.key_len()]).expect("the length fits");
        let aad = [9; 13];
        group.bench_function(format!("{algorithm:?}/seal"), |b| {
            let mut packet = [3; PACKET];
            b.iter(|| key.seal_in_place(&[1; 12], &aad, black_box(&mut packet)));
        });
        let mut sealed = [3; PACKET + TAG_LEN];
        let tag = key.seal_in_place(&[1; 12], &aad, &mut sealed[..PACKET]);
        sealed[PACKET..].copy_from_slice(&tag);
        // Opening destroys its input, so each run opens a fresh copy; copying is some 20 ns of it.
        group.bench_function(format!("{algorithm:?}/open"), |b| {
            b.iter(|| {
                let mut packet = sealed;
                key.open_in_place(&[1; 12], &aad, black_box(&mut packet)).is_ok()
            });
        });
    }
    group.finish();
    c.bench_function("aead-key/Aes128Gcm", |b| {
        b.iter(|| ring().aead(AeadAlgorithm::Aes128Gcm, black_box(&[7; 16])))
    });
}

fn srtp(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("srtp-parts-1200");
    group.throughput(Throughput::Bytes(PACKET as u64));
    let mut packet = [3; PACKET];
    let sha1 = HmacSha1Key::new(&[7; 20]);
    group.bench_function("hmac-sha1", |b| b.iter(|| sha1.sign(&[black_box(&packet), &[0; 4]])));
    let sha256 = HmacKey::new(HashAlgorithm::Sha256, &[7; 32]);
    group.bench_function("hmac-sha256", |b| b.iter(|| sha256.sign(&[black_box(&packet)])));
    let aes = AesKey::new(&[7; 16]).expect("the length fits");
    group.bench_function("aes-128-ctr", |b| {
        b.iter(|| aes.apply_counter_mode(&[1; 16], black_box(&mut packet)))
    });
    group.finish();
    c.bench_function("hmac-sha1-100", |b| b.iter(|| sha1.sign(&[black_box(&[3; 100])])));
}

fn key_agreement(c: &mut Criterion<CpuTime>) {
    for (name, backend) in backends() {
        for group in NamedGroup::ALL {
            let mut rng = rng();
            let mut new = move || backend.key_exchange(group, &mut rng).expect("there is randomness");
            let share = new().public().to_vec();
            let mut seeded = self::rng();
            let (reply, _) = backend.encapsulate(group, &share, &mut seeded).expect("the share is good");
            c.bench_function(&format!("key-agreement/{name}/{group:?}/generate"), |b| b.iter(&mut new));
            if group == NamedGroup::X25519MlKem768 {
                // A ciphertext for another key is decapsulated at the same cost.
                c.bench_function(&format!("key-agreement/{name}/{group:?}/encapsulate"), |b| {
                    b.iter(|| backend.encapsulate(group, &share, &mut seeded));
                });
            }
            c.bench_function(&format!("key-agreement/{name}/{group:?}/agree"), |b| {
                b.iter_batched(&mut new, |key| key.agree(&reply), BatchSize::SmallInput);
            });
        }
    }
}

fn signatures(c: &mut Criterion<CpuTime>) {
    for (name, backend) in backends() {
        let mut rng = rng();
        let identity = Identity::generate(backend, &mut rng).expect("P-256 is known");
        let scheme = identity.schemes()[0];
        let signature = identity.sign(scheme, b"message", &mut rng).expect("the scheme fits");
        let key = public_key(identity.certificate_der()).expect("it is our own");
        c.bench_function(&format!("ecdsa-p256/{name}/sign"), |b| {
            b.iter(|| identity.sign(scheme, black_box(b"message"), &mut rng));
        });
        c.bench_function(&format!("ecdsa-p256/{name}/verify"), |b| {
            b.iter(|| backend.verify(scheme, &key, black_box(b"message"), &signature));
        });
        c.bench_function(&format!("identity/{name}/generate"), |b| {
            b.iter(|| Identity::generate(backend, &mut rng))
        });
    }
    let identity = Identity::generate(ring(), &mut rng()).expect("P-256 is known");
    c.bench_function("certificate/public-key", |b| {
        b.iter(|| public_key(black_box(identity.certificate_der())))
    });
}

criterion_group! {
    name = benches;
    config = cpu::criterion();
    targets = aead, srtp, key_agreement, signatures
}
criterion_main!(benches);
