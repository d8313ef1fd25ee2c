//! SCTP: any two stacks, either side calling, clean and over a bad link.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use strangers::addresses;
use strangers::sctp::{DcSctp, Delivery, Event, Extensions, Ours, SctpPeer, SctpProto};
use strangers::sim::{HostId, Link, Loss, Random, Sim, base, for_each_seed};

type Boxed = Box<dyn SctpPeer>;
type Make = fn(u64, Instant, SocketAddr, SocketAddr) -> Boxed;

const PLAIN: Extensions = Extensions { interleaving: false, zero_checksum: false };
const INTERLEAVING: Extensions = Extensions { interleaving: true, ..PLAIN };
const UNCHECKED: Extensions = Extensions { zero_checksum: true, ..PLAIN };

fn dcsctp(_: u64, now: Instant, local: SocketAddr, remote: SocketAddr) -> Boxed {
    Box::new(DcSctp::new(now, local, remote, PLAIN))
}

fn dcsctp_interleaving(_: u64, now: Instant, local: SocketAddr, remote: SocketAddr) -> Boxed {
    Box::new(DcSctp::new(now, local, remote, INTERLEAVING))
}

fn dcsctp_unchecked(_: u64, now: Instant, local: SocketAddr, remote: SocketAddr) -> Boxed {
    Box::new(DcSctp::new(now, local, remote, UNCHECKED))
}

fn ours(seed: u64, now: Instant, local: SocketAddr, remote: SocketAddr) -> Boxed {
    Box::new(Ours::new(seed, now, local, remote, PLAIN))
}

fn ours_interleaving(seed: u64, now: Instant, local: SocketAddr, remote: SocketAddr) -> Boxed {
    Box::new(Ours::new(seed, now, local, remote, INTERLEAVING))
}

fn ours_unchecked(seed: u64, now: Instant, local: SocketAddr, remote: SocketAddr) -> Boxed {
    Box::new(Ours::new(seed, now, local, remote, UNCHECKED))
}

fn sctp_proto(_: u64, _: Instant, local: SocketAddr, remote: SocketAddr) -> Boxed {
    Box::new(SctpProto::new(local, remote))
}

fn clean() -> Link {
    Link::with_delay(Duration::from_millis(25))
}

fn bad() -> Link {
    Link {
        loss: Loss::Independent(0.1),
        jitter: Duration::from_millis(5),
        reorder: 0.05,
        duplicate: 0.05,
        // With a checksum on every packet, damage is loss.
        corrupt: 0.02,
        ..clean()
    }
}

/// Without checksums nobody notices damage: DTLS would.
fn bad_but_sound() -> Link {
    Link { corrupt: 0.0, ..bad() }
}

/// Payload protocol identifiers of text and binary messages (RFC 8831 §8).
const TEXT: u32 = 51;
const BINARY: u32 = 53;

/// Messages for one stream, of all sizes up to 64 KiB.
fn messages(seed: u64, stream: u16) -> Vec<(u32, Vec<u8>)> {
    let mut random = Random::new(seed).fork(u64::from(stream));
    let sizes = [1, 2, 100, 1119, 1120, 1200, 5000, 65_536];
    let message = |size: &usize| (if random.chance(0.5) { TEXT } else { BINARY }, random.bytes(*size));
    sizes.iter().map(message).collect()
}

fn connect(seed: u64, link: &Link, caller: Make, called: Make) -> (Sim<Boxed>, HostId, HostId) {
    let (a, b) = addresses();
    let caller = caller(seed, base(), a, b);
    let called = called(seed, base(), b, a);
    let (mut sim, a, b) = Sim::pair(seed, link, caller, called);
    sim.with(a, |peer, now| peer.connect(now));
    for host in [a, b] {
        wait(&mut sim, host, "it connects", |event| event == Event::Connected);
    }
    (sim, a, b)
}

/// Goes on until an event of `host` is the one that is waited for; others are passed over.
#[track_caller]
fn wait(sim: &mut Sim<Boxed>, host: HostId, what: &str, mut is_it: impl FnMut(Event) -> bool) {
    sim.must(what, Duration::from_secs(30), |sim| {
        while let Some((_, event)) = sim.event(host) {
            if is_it(event) {
                return true;
            }
        }
        false
    });
}

/// Every reliable message arrives once, whole, and in order on its stream, both ways.
fn deliver(seed: u64, link: &Link, caller: Make, called: Make) {
    let (mut sim, a, b) = connect(seed, link, caller, called);
    const STREAMS: [u16; 3] = [0, 1, 7];
    for (from, to) in [(a, b), (b, a)] {
        for stream in STREAMS {
            for (ppid, data) in messages(seed, stream) {
                let taken =
                    sim.with(from, |peer, now| peer.send(now, stream, ppid, &data, Delivery::RELIABLE));
                assert!(taken);
            }
        }
        let mut arrived: [Vec<(u32, Vec<u8>)>; 3] = Default::default();
        sim.must("all messages arrive", Duration::from_secs(300), |sim| {
            while let Some((_, event)) = sim.event(to) {
                match event {
                    Event::Message { stream, ppid, data } => {
                        let index = STREAMS.iter().position(|&s| s == stream).expect("a stream in use");
                        arrived[index].push((ppid, data));
                    }
                    Event::Closed(reason) => panic!("closed: {reason}"),
                    _ => {}
                }
            }
            arrived.iter().map(Vec::len).sum::<usize>() == 8 * STREAMS.len()
        });
        for (stream, arrived) in STREAMS.into_iter().zip(&arrived) {
            assert!(*arrived == messages(seed, stream), "stream {stream} differs");
        }
        // Nothing twice.
        sim.run_for(Duration::from_secs(10));
        assert!(!sim.events(to).any(|(_, event)| matches!(event, Event::Message { .. })));
    }
}

/// Of messages that may be given up, what arrives is whole, and the rest of the association goes on.
fn give_up(seed: u64, caller: Make, called: Make) {
    let (mut sim, a, b) = connect(seed, &clean(), caller, called);
    sim.network.up(a).loss = Loss::Independent(0.3);
    let hurried = [
        Delivery { max_retransmits: Some(0), ..Delivery::RELIABLE },
        Delivery { max_retransmits: Some(1), ..Delivery::UNORDERED },
        Delivery { max_lifetime: Some(Duration::from_millis(100)), ..Delivery::RELIABLE },
    ];
    for round in 0..40u8 {
        for (stream, delivery) in (10..).zip(hurried) {
            sim.with(a, |peer, now| peer.send(now, stream, BINARY, &[round; 900], delivery));
        }
        sim.run_for(Duration::from_millis(20));
    }
    sim.network.up(a).loss = Loss::None;
    assert!(sim.with(a, |peer, now| peer.send(now, 1, TEXT, b"last", Delivery::RELIABLE)));
    let mut arrived = [0; 3];
    sim.must("the reliable message arrives", Duration::from_secs(60), |sim| {
        while let Some((_, event)) = sim.event(b) {
            let Event::Message { stream, data, .. } = event else { continue };
            if stream == 1 {
                return data == b"last";
            }
            assert!(data.len() == 900 && data.iter().all(|&byte| byte == data[0]));
            arrived[usize::from(stream - 10)] += 1;
        }
        false
    });
    let arrived = arrived.iter().sum::<u32>();
    assert!((5..120).contains(&arrived), "at 30 % loss some arrive, and some are given up: {arrived}");
}

/// A stream that was reset can be used again, from its first sequence number.
fn reset(seed: u64, link: &Link, caller: Make, called: Make) {
    let (mut sim, a, b) = connect(seed, link, caller, called);
    for round in 0..5u8 {
        for host in [a, b] {
            sim.with(host, |peer, now| peer.send(now, 3, BINARY, &[round; 10], Delivery::RELIABLE));
        }
        for host in [a, b] {
            wait(
                &mut sim,
                host,
                "the message arrives",
                |event| matches!(event, Event::Message { data, .. } if data == [round; 10]),
            );
        }
        sim.with(a, |peer, now| peer.reset(now, 3));
        wait(&mut sim, b, "the reset is seen", |event| event == Event::Reset(3));
        sim.with(b, |peer, now| peer.reset(now, 3));
        wait(&mut sim, a, "and answered", |event| event == Event::Reset(3));
        sim.run_for(Duration::from_secs(2));
    }
}

fn shut_down(seed: u64, caller: Make, called: Make) {
    let (mut sim, a, b) = connect(seed, &clean(), caller, called);
    // The message first: `sctp-proto` forgets what it has not sent when it is told to shut down.
    sim.with(a, |peer, now| peer.send(now, 0, TEXT, b"last words", Delivery::RELIABLE));
    wait(&mut sim, b, "the last words arrive", |event| matches!(event, Event::Message { .. }));
    sim.run_for(Duration::from_secs(1));
    sim.with(a, |peer, now| peer.shutdown(now));
    wait(&mut sim, b, "the association closes", |event| matches!(event, Event::Closed(_)));
}

macro_rules! pairs {
    ($($name:ident: $caller:expr => $called:expr, $bad:expr;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn deliver_on_a_clean_link() {
                deliver(1, &clean(), $caller, $called);
            }

            #[test]
            fn deliver_over_a_bad_link() {
                for_each_seed(10, |seed| deliver(seed, &$bad(), $caller, $called));
            }

            #[test]
            fn give_up_what_may_be_given_up() {
                for_each_seed(5, |seed| give_up(seed, $caller, $called));
            }

            #[test]
            fn reset_streams_again_and_again() {
                reset(1, &clean(), $caller, $called);
            }

            #[test]
            fn shut_down_in_good_order() {
                shut_down(1, $caller, $called);
            }
        }
    )*};
}

pairs! {
    dcsctp_calls_dcsctp: dcsctp => dcsctp, bad;
    dcsctp_interleaving_calls_dcsctp: dcsctp_interleaving => dcsctp_interleaving, bad;
    sctp_proto_calls_sctp_proto: sctp_proto => sctp_proto, bad;
    dcsctp_calls_sctp_proto: dcsctp => sctp_proto, bad;
    sctp_proto_calls_dcsctp: sctp_proto => dcsctp, bad;
    ours_calls_ours: ours_interleaving => ours_interleaving, bad;
    ours_calls_dcsctp: ours => dcsctp, bad;
    dcsctp_calls_ours: dcsctp => ours, bad;
    ours_interleaving_calls_dcsctp: ours_interleaving => dcsctp_interleaving, bad;
    dcsctp_calls_ours_interleaving: dcsctp_interleaving => ours_interleaving, bad;
    ours_interleaving_calls_plain_dcsctp: ours_interleaving => dcsctp, bad;
    ours_unchecked_calls_dcsctp: ours_unchecked => dcsctp_unchecked, bad_but_sound;
    dcsctp_calls_ours_unchecked: dcsctp_unchecked => ours_unchecked, bad_but_sound;
    ours_calls_sctp_proto: ours => sctp_proto, bad;
    sctp_proto_calls_ours: sctp_proto => ours, bad;
}
