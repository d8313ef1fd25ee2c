//! STUN and ICE beside the HMAC that they cannot do without: what a check costs to write and to read, and what
//! an idle connected agent costs a minute.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use criterion::{Criterion, criterion_group, criterion_main};
use sansrtc::buffer::Pool;
use sansrtc::crypto::mac::HmacSha1Key;
use sansrtc::ice::{Agent, Config};
use sansrtc::packet::Protocol;
use sansrtc::rng::{Rng, Stream};
use sansrtc::stun::{Builder, Class, Message, Method, TransactionId};
use sansrtc::types::candidate::Candidate;
use sansrtc::types::setup::IceRole;

#[path = "cpu/mod.rs"]
mod cpu;

use cpu::CpuTime;

fn write_check(buf: &mut BytesMut, key: &HmacSha1Key) {
    let mut builder = Builder::new(buf, Class::Request, Method::BINDING, TransactionId([7; 12]));
    builder.username(&[b"abcdefgh", b":", b"ijklmnop"]).ice_controlling(1).priority(2);
    builder.integrity(key).fingerprint();
    builder.finish();
}

fn stun(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("stun");
    let key = HmacSha1Key::new(b"0123456789abcdef01234567");
    let mut check = BytesMut::new();
    write_check(&mut check, &key);
    // The floor: the integrity value of a check of this size, and nothing else.
    let covered = check.len() - 8 - 24;
    group.bench_function("floor/hmac-sha1", |b| b.iter(|| key.sign(&[black_box(&check[..covered])])));
    group.bench_function("write-check", |b| {
        let mut buf = BytesMut::with_capacity(2048);
        b.iter(|| {
            buf.clear();
            write_check(black_box(&mut buf), &key);
        });
    });
    group.bench_function("parse", |b| b.iter(|| Message::parse(black_box(&check)).is_ok()));
    group.bench_function("parse-and-verify", |b| {
        b.iter(|| Message::parse(black_box(&check)).is_ok_and(|m| m.verify_integrity(&key).is_ok()));
    });
    group.finish();
}

/// Two agents on a perfect link, stepped from deadline to deadline.
struct Link {
    now: Instant,
    agents: [Agent; 2],
    pools: [Pool; 2],
}

impl Link {
    fn connected() -> Self {
        // A fixed point of the process: only differences matter.
        #[allow(clippy::disallowed_methods)]
        let now = Instant::now();
        let agent = |role, seed| Agent::new(Config::default(), role, Rng::new([seed; 32], Stream::Ice));
        let agents = [agent(IceRole::Controlling, 1), agent(IceRole::Controlled, 2)];
        let mut link = Link { now, agents, pools: [Pool::new(), Pool::new()] };
        for (i, agent) in link.agents.iter_mut().enumerate() {
            let address = SocketAddr::from(([10, 0, 0, i as u8 + 1], 1000));
            let candidate = Candidate::host(address).expect("an address of the bench");
            agent.add_local_candidate(now, candidate).expect("the first candidate");
        }
        for (i, other) in [(0, 1), (1, 0)] {
            let credentials = link.agents[other].local_credentials().clone();
            let candidate = link.agents[other].local_candidates().next().expect("one candidate").1.clone();
            link.agents[i].set_remote_credentials(now, credentials).expect("generated credentials");
            link.agents[i].add_remote_candidate(now, &candidate).expect("the first candidate");
        }
        link.run(Duration::from_secs(10));
        assert!(link.agents.iter().all(|agent| agent.send_path().is_some()));
        link
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) =
            self.agents.iter().filter_map(Agent::next_timeout).min().filter(|at| *at <= end)
        {
            self.now = self.now.max(next);
            self.agents.iter_mut().for_each(|agent| agent.handle_timeout(next));
            self.exchange();
        }
        self.now = end;
    }

    /// Carries packets until both ends are dry.
    fn exchange(&mut self) {
        let mut quiet = false;
        while !quiet {
            quiet = true;
            for (from, to) in [(0, 1), (1, 0)] {
                while let Some(t) = self.agents[from].poll_transmit(&mut self.pools[from]) {
                    quiet = false;
                    self.agents[to].handle_packet(
                        self.now,
                        t.source,
                        t.destination,
                        Protocol::Udp,
                        &t.contents,
                    );
                }
                while self.agents[from].poll_fact().is_some() {}
            }
        }
    }
}

fn ice(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("ice");
    let mut link = Link::connected();
    group.bench_function("idle-minute-of-two-agents", |b| b.iter(|| link.run(Duration::from_secs(60))));
    let (source, local) = (SocketAddr::from(([10, 0, 0, 2], 1000)), SocketAddr::from(([10, 0, 0, 1], 1000)));
    let agent = &link.agents[0];
    group.bench_function("accepts-from/path", |b| {
        b.iter(|| agent.accepts_from(black_box(source), black_box(local), Protocol::Udp));
    });
    group.bench_function("set-up-of-two-agents", |b| b.iter(Link::connected));
    // What a stranger's packets cost: a sound check whose integrity value is wrong, for another user, and noise.
    let mut forged = BytesMut::new();
    let ufrag = agent.local_credentials().ufrag.clone();
    let mut builder = Builder::new(&mut forged, Class::Request, Method::BINDING, TransactionId([1; 12]));
    builder.username(&[ufrag.as_bytes(), b":peer"]).integrity(&HmacSha1Key::new(b"guess")).fingerprint();
    builder.finish();
    let now = link.now;
    for (name, bytes) in [("forged", &forged[..]), ("noise", &[0; 100][..])] {
        let agent = &mut link.agents[0];
        group.bench_function(format!("hostile/{name}"), |b| {
            b.iter(|| agent.handle_packet(now, source, local, Protocol::Udp, black_box(bytes)));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = cpu::criterion();
    targets = stun, ice
}
criterion_main!(benches);
