//! What a relay costs its client: ChannelData and indications wrapped and unwrapped, beside the copy of such a packet.
//! And what many candidate pairs cost an agent.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sansrtc::Clock;
use sansrtc::buffer::Pool;
use sansrtc::ice::{Agent, Config as IceConfig};
use sansrtc::packet::Protocol;
use sansrtc::rng::{Rng, Stream};
use sansrtc::turn::server::{self, FiveTuple, PeerPolicy, Server, Users};
use sansrtc::turn::{Client, Config, Credentials, Handled};
use sansrtc::types::candidate::Candidate;
use sansrtc::types::credentials::Credentials as IceCredentials;
use sansrtc::types::setup::IceRole;

#[path = "cpu/mod.rs"]
mod cpu;

use cpu::CpuTime;

const SIZE: usize = 1200;

fn addresses() -> [SocketAddr; 3] {
    [([192, 0, 2, 1], 5000).into(), ([203, 0, 113, 1], 3478).into(), ([198, 51, 100, 1], 6000).into()]
}

/// A client with an allocation, one peer permitted and, if wanted, bound; and one packet from that peer.
fn client(bound: bool) -> (Client, BytesMut, Instant) {
    let [local, address, peer] = addresses();
    // A fixed point of the process: only differences matter.
    #[allow(clippy::disallowed_methods)]
    let now = Instant::now();
    let clock = Clock { instant: now, unix: Duration::from_secs(1_800_000_000) };
    let config = server::Config {
        relay_v4: Some([203, 0, 113, 2].into()),
        peers: PeerPolicy::Any,
        ..server::Config::default()
    };
    let mut users = Users::new("sansrtc");
    users.add("user", "secret");
    let mut server = Server::new(config, users, clock, Rng::new([1; 32], Stream::Turn)).unwrap();
    let config = Config::new(address, Protocol::Udp, Credentials::new("user", "secret"));
    let mut client = Client::new(config, local, Rng::new([2; 32], Stream::Turn)).unwrap();
    client.start(now);
    client.permit(now, peer.ip()).unwrap();
    if bound {
        client.bind(now, peer).unwrap();
    }
    let mut pool = Pool::new();
    let tuple = FiveTuple { client: local, server: address, protocol: Protocol::Udp };
    for _ in 0..10 {
        while let Some(transmit) = client.poll_transmit(&mut pool) {
            server.handle_packet(now, tuple, transmit.contents.into_inner());
        }
        while let Some(transmit) = server.poll_transmit(&mut pool) {
            client.handle_packet(now, address, transmit.contents.into_inner());
        }
    }
    assert_eq!((client.is_permitted(peer.ip()), client.is_bound(peer)), (true, bound));
    let relayed = client.relayed().and_then(|relayed| relayed.v4).unwrap();
    server.handle_relayed(now, relayed, peer, BytesMut::zeroed(SIZE));
    let packet = server.poll_transmit(&mut pool).unwrap().contents.into_inner();
    (client, packet, now)
}

fn relay(c: &mut Criterion<CpuTime>) {
    let [_, address, peer] = addresses();
    let mut group = c.benchmark_group("turn-client");
    group.throughput(Throughput::Bytes(SIZE as u64));
    let data = vec![7; SIZE];
    group.bench_function("floor/memcpy", |b| {
        let mut buf = BytesMut::with_capacity(2048);
        b.iter(|| {
            buf.clear();
            buf.extend_from_slice(black_box(&data));
        });
    });
    for (name, bound) in [("channel", true), ("indication", false)] {
        let (mut client, packet, now) = client(bound);
        group.bench_function(format!("copy-and-wrap/{name}"), |b| {
            let head = client.overhead(peer).head;
            let mut buf = BytesMut::with_capacity(2048);
            b.iter(|| {
                buf.clear();
                buf.resize(head, 0);
                buf.extend_from_slice(black_box(&data));
                client.wrap(peer, &mut buf, 0)
            });
        });
        group.bench_function(format!("unwrap/{name}"), |b| {
            b.iter_batched(
                || packet.clone(),
                |packet| {
                    let handled = client.handle_packet(now, address, packet);
                    assert!(matches!(handled, Handled::Data { .. }));
                    handled
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// Pairs being formed, and a second of checks over them, with the bound raised.
fn pairs(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("ice-pairs");
    group.sample_size(10);
    for remotes in [10usize, 100, 1000] {
        group.bench_function(format!("{}", remotes * 10), |b| {
            b.iter(|| {
                #[allow(clippy::disallowed_methods)]
                let now = Instant::now();
                let config =
                    IceConfig { max_pairs: 10_000, max_remote_candidates: 10_000, ..IceConfig::default() };
                let mut agent = Agent::new(config, IceRole::Controlling, Rng::new([1; 32], Stream::Ice));
                for last in 0..10u8 {
                    let local = Candidate::host(([192, 0, 2, last + 1], 5000).into()).unwrap();
                    agent.add_local_candidate(now, local).unwrap();
                }
                let credentials =
                    IceCredentials { ufrag: "ufrag".into(), pwd: "passwordOf22Letters000".into() };
                agent.set_remote_credentials(now, credentials).unwrap();
                for number in 0..remotes {
                    let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
                    let remote = Candidate::host(([198, 18, high, low], 6000).into()).unwrap();
                    agent.add_remote_candidate(now, &remote).unwrap();
                }
                let mut pool = Pool::new();
                for step in 0..20u64 {
                    agent.handle_timeout(now + Duration::from_millis(50 * step));
                    while agent.poll_transmit(&mut pool).is_some() {}
                }
                agent.pairs().count()
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = cpu::criterion();
    targets = relay, pairs
}
criterion_main!(benches);
