//! DTLS beside its floor: a handshake beside the public-key operations in it, records beside the bare AEAD.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
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

/// The CPU time of the client and of the server.
type Spent = [Duration; 2];

/// Does something for one end, whose time it is.
fn timed<T>(spent: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = cpu::now();
    let done = work();
    *spent += cpu::now() - start;
    done
}

impl Pair {
    /// Both ends after their handshake, and what it took each.
    fn connected(configs: &[Arc<Config>; 2], now: Instant) -> (Self, Spent) {
        let mut spent = Spent::default();
        let mut ends = [(0, DtlsRole::Client), (1, DtlsRole::Server)].map(|(i, role)| {
            timed(&mut spent[i], || {
                let mut end =
                    Connection::new(configs[i].clone(), role, Rng::new([i as u8; 32], Stream::Dtls));
                let fingerprint = configs[1 - i].identity.fingerprint(FingerprintHash::Sha256);
                end.set_remote_fingerprints(vec![fingerprint]);
                end.start(now, Some(Duration::from_millis(50)));
                end
            })
        });
        let mut pool = Pool::new();
        for from in [0, 1, 0, 1, 0] {
            while let Some(datagram) = timed(&mut spent[from], || ends[from].poll_datagram(&mut pool, 1200)) {
                timed(&mut spent[1 - from], || ends[1 - from].handle_datagram(now, datagram));
            }
        }
        assert!(ends.iter_mut().all(|end| end.poll_fact() == Some(Fact::Connected)));
        (Pair { ends, pool }, spent)
    }
}

/// What both ends of a handshake with certificates must do at the least: the client makes a key, the server answers it,
/// both agree; each signs once and verifies once.
fn public_key_operations(
    backend: &dyn Backend,
    group: NamedGroup,
    identity: &Identity,
    rng: &mut Rng,
) -> Spent {
    let mut spent = Spent::default();
    let client = timed(&mut spent[0], || backend.key_exchange(group, rng).expect("a key"));
    let (share, _) =
        timed(&mut spent[1], || backend.encapsulate(group, client.public(), rng).expect("a secret"));
    timed(&mut spent[0], || client.agree(&share).expect("a secret"));
    for spent in &mut spent {
        timed(spent, || {
            let key = public_key(identity.certificate_der()).expect("a key");
            let scheme = SignatureScheme::EcdsaSecp256r1Sha256;
            let signature = identity.sign(scheme, b"message", rng).expect("a signature");
            backend.verify(scheme, &key, b"message", &signature).expect("it is good");
        });
    }
    spent
}

/// Benches the client's and the server's part of `work`.
fn apart(group: &mut BenchmarkGroup<'_, CpuTime>, label: &str, mut work: impl FnMut() -> Spent) {
    for (end, name) in ["client", "server"].into_iter().enumerate() {
        group.bench_function(format!("{label}, {name}"), |b| {
            b.iter_custom(|n| (0..n).map(|_| work()[end]).sum())
        });
    }
}

fn handshake(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("dtls handshake");
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
            apart(&mut group, &format!("{label} over {name}"), || Pair::connected(&configs, now).1);
        }
        for (named_group, label) in
            [(NamedGroup::X25519, "X25519"), (NamedGroup::X25519MlKem768, "X25519MLKEM768")]
        {
            let mut rng = Rng::new([3; 32], Stream::Dtls);
            apart(&mut group, &format!("public-key operations of {name}, {label}"), || {
                public_key_operations(backend, named_group, &identity, &mut rng)
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
    let (mut pair, _) = Pair::connected(&[config.clone(), config], now);
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
