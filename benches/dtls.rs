//! DTLS beside its floor: a handshake beside the public-key operations in it, records beside the bare AEAD.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sansrtc::buffer::Pool;
use sansrtc::crypto::cert::{Identity, public_key};
use sansrtc::crypto::{self, AeadAlgorithm, Backend, NamedGroup, SignatureScheme};
use sansrtc::dtls::{Config, Connection, Fact, Version};
use sansrtc::rng::{Rng, Stream};
use sansrtc::types::fingerprint::FingerprintHash;
use sansrtc::types::setup::DtlsRole;

#[path = "cpu/mod.rs"]
mod cpu;

use cpu::CpuTime;

fn now() -> Instant {
    #[allow(clippy::disallowed_methods)]
    Instant::now()
}

fn identity(backend: &dyn Backend) -> Arc<Identity> {
    Arc::new(Identity::generate(backend, &mut Rng::new([1; 32], Stream::Certificate)).expect("an identity"))
}

struct Pair {
    ends: [Connection; 2],
    pool: Pool,
}

impl Pair {
    fn connected(configs: &[Arc<Config>; 2], now: Instant) -> Self {
        let mut ends = [(0, DtlsRole::Client), (1, DtlsRole::Server)].map(|(i, role)| {
            Connection::new(configs[i].clone(), role, Rng::new([i as u8; 32], Stream::Dtls))
        });
        for i in 0..2 {
            let fingerprint = configs[1 - i].identity.fingerprint(FingerprintHash::Sha256);
            ends[i].set_remote_fingerprints(vec![fingerprint]);
            ends[i].start(now, Some(Duration::from_millis(50)));
        }
        let mut pair = Pair { ends, pool: Pool::new() };
        for from in [0, 1, 0, 1, 0] {
            while let Some(datagram) = pair.ends[from].poll_datagram(&mut pair.pool, 1200) {
                pair.ends[1 - from].handle_datagram(now, datagram);
            }
        }
        assert!(pair.ends.iter_mut().all(|end| end.poll_fact() == Some(Fact::Connected)));
        pair
    }
}

/// What both ends of a handshake with certificates must do at the least: the client makes a key, the server answers it,
/// both agree; each signs once and verifies once.
fn public_key_operations(backend: &dyn Backend, group: NamedGroup, identity: &Identity, rng: &mut Rng) {
    let client = backend.key_exchange(group, rng).expect("a key");
    let (share, _) = backend.encapsulate(group, client.public(), rng).expect("a secret");
    client.agree(&share).expect("a secret");
    let key = public_key(identity.certificate_der()).expect("a key");
    for _ in 0..2 {
        let scheme = SignatureScheme::EcdsaSecp256r1Sha256;
        let signature = identity.sign(scheme, b"message", rng).expect("a signature");
        backend.verify(scheme, &key, b"message", &signature).expect("it is good");
    }
}

fn handshake(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("dtls handshake, both ends");
    let now = now();
    for (name, backend) in [
        ("ring", crypto::ring()),
        ("rust", crypto::rust()),
        #[cfg(feature = "aws-lc-rs")]
        ("aws-lc", crypto::aws_lc()),
    ] {
        let identity = identity(backend);
        for (version, named_group, label) in [
            (Version::Dtls12, NamedGroup::X25519, "1.2"),
            (Version::Dtls13, NamedGroup::X25519, "1.3"),
            (Version::Dtls13, NamedGroup::X25519MlKem768, "1.3 with X25519MLKEM768"),
        ] {
            let mut config = Config::new(backend, identity.clone());
            (config.min_version, config.max_version) = (version, version);
            config.groups = vec![named_group];
            let configs = [Arc::new(config.clone()), Arc::new(config)];
            group.bench_function(format!("{label} over {name}"), |b| {
                b.iter(|| Pair::connected(&configs, now))
            });
        }
        for (named_group, label) in
            [(NamedGroup::X25519, "X25519"), (NamedGroup::X25519MlKem768, "X25519MLKEM768")]
        {
            let mut rng = Rng::new([3; 32], Stream::Dtls);
            group.bench_function(format!("public-key operations of {name}, {label}"), |b| {
                b.iter(|| public_key_operations(backend, named_group, &identity, &mut rng))
            });
        }
    }
    group.finish();
}

fn records(c: &mut Criterion<CpuTime>) {
    const LEN: usize = 1200;
    let now = now();
    let backend = crypto::ring();
    let config = Arc::new(Config::new(backend, identity(backend)));
    let mut pair = Pair::connected(&[config.clone(), config], now);
    let overhead = pair.ends[0].overhead();
    let mut group = c.benchmark_group("dtls records of 1,200 bytes");
    group.throughput(Throughput::Bytes(LEN as u64));
    group.bench_function("seal and open", |b| {
        b.iter(|| {
            let record = pair.pool.tail(LEN + 64);
            record.resize(overhead.head + LEN, 7);
            pair.ends[0].seal_in_place(record, 0).expect("a connected end");
            let record = record.split();
            pair.ends[1].handle_datagram(now, record);
            pair.ends[1].poll_received().expect("the record")
        })
    });
    let key = backend.aead(AeadAlgorithm::Aes128Gcm, &[1; 16]).expect("a key");
    let mut buffer = BytesMut::zeroed(LEN + 16);
    group.bench_function("bare AES-128-GCM, seal and open", |b| {
        b.iter(|| {
            let tag = key.seal_in_place(&[0; 12], &[0; 13], &mut buffer[..LEN]);
            buffer[LEN..].copy_from_slice(&tag);
            key.open_in_place(&[0; 12], &[0; 13], &mut buffer).expect("the tag is right").len()
        })
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = cpu::criterion();
    targets = handshake, records
}
criterion_main!(benches);
