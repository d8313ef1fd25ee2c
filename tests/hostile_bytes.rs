//! Any bytes in any state: no panic, no spin, no reply to strangers that is larger than what they sent, and a live
//! connection goes on.

// A test is not the core: what it has seen is kept beside the code under test.
#![allow(clippy::disallowed_types)]

mod sim;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sansrtc::packet::{Datagram, Ecn};
use sansrtc::{ChannelConfig, Event, Input, MessageKind, Output, Rtc};
use sim::{Call, HostId, Link, Loss, Random, Sim, config, for_each_seed};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// How far a connection has come when the bytes arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before any description.
    New,
    /// It has offered, and waits for an answer.
    Offered,
    /// This long after both descriptions: ICE, then DTLS, then SCTP are at work.
    Handshaking(u64),
    /// Connected, with an open channel.
    Connected,
    /// Closed by its owner.
    Closed,
    /// The peer was never there: failed.
    Failed,
}

const STATES: [State; 12] = [
    State::New,
    State::Offered,
    State::Handshaking(0),
    State::Handshaking(25),
    State::Handshaking(55),
    State::Handshaking(85),
    State::Handshaking(115),
    State::Handshaking(145),
    State::Handshaking(175),
    State::Connected,
    State::Closed,
    State::Failed,
];

/// Brings a pair into a state; gives what was sent on the way there.
fn bring_to(state: State, seed: u64) -> (Call, Vec<Vec<u8>>) {
    thread_local!(static SEEN: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) });
    SEEN.take();
    let link = match state {
        State::Failed => Link { loss: Loss::Independent(1.0), ..Link::default() },
        _ => Link::with_delay(15 * MS),
    };
    let mut call = Call::new(seed, &link, &config());
    call.sim.network.tap(|seen| SEEN.with_borrow_mut(|all| all.push(seen.contents.to_vec())));
    let [a, _] = call.hosts;
    call.sim.with(a, |rtc, _| rtc.open_channel(ChannelConfig::labelled("early"))).unwrap();
    match state {
        State::New => {}
        State::Offered => drop(call.sim.with(a, |rtc, _| rtc.create_offer()).unwrap()),
        State::Handshaking(after) => {
            call.signal();
            call.sim.run_for(Duration::from_millis(after));
        }
        State::Connected | State::Closed => {
            call.signal();
            call.must_connect(10 * SECOND);
            call.sim.run_for(SECOND);
            if state == State::Closed {
                call.sim.with(a, |rtc, _| rtc.close());
            }
        }
        State::Failed => {
            call.signal();
            call.sim.run_for(100 * SECOND);
        }
    }
    (call, SEEN.take())
}

/// Bytes of every kind: noise of every class of RFC 7983, and damaged copies of what was really sent.
fn hostile(random: &mut Random, seen: &[Vec<u8>]) -> Vec<u8> {
    const SIZES: [usize; 12] = [0, 1, 12, 13, 19, 20, 21, 25, 576, 1200, 1500, 65_535];
    match random.below(8) {
        0 => {
            let len = SIZES[random.index(SIZES.len())];
            random.bytes(len)
        }
        1 => {
            // One of the classes, of any size up to a usual one.
            let len = 1 + random.index(200);
            let mut bytes = random.bytes(len);
            bytes[0] =
                [0, 1, 2, 3, 16, 20, 21, 22, 23, 24, 25, 63, 64, 79, 128, 191, 192, 255][random.index(18)];
            bytes
        }
        2 => {
            // STUN of a random type, with a sound header and attributes of noise.
            let len = 4 * random.index(40);
            let mut bytes = random.bytes(20 + len);
            bytes[0] &= 0x3f;
            bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            bytes[4..8].copy_from_slice(&0x2112_a442_u32.to_be_bytes());
            bytes
        }
        3 => {
            // A DTLS record of a random type, with a sound header.
            let len = random.index(300);
            let mut bytes = random.bytes(13 + len);
            bytes[0] = 20 + random.below(6) as u8;
            bytes[1..3].copy_from_slice(&[254, [253, 255, 252][random.index(3)]]);
            bytes[3..5].copy_from_slice(&(random.below(3) as u16).to_be_bytes());
            bytes[11..13].copy_from_slice(&(len as u16).to_be_bytes());
            bytes
        }
        _ if seen.is_empty() => Vec::new(),
        kind => {
            let mut bytes = seen[random.index(seen.len())].clone();
            match kind {
                4 => {} // replayed as it was
                5 => bytes.truncate(random.index(bytes.len() + 1)),
                6 => {
                    for _ in 0..=random.below(4) {
                        let at = random.index(bytes.len());
                        bytes[at] ^= 1 << random.below(8);
                    }
                }
                _ => {
                    // A number somewhere becomes an extreme one.
                    let at = random.index(bytes.len());
                    let value = [0x00, 0x01, 0x7f, 0x80, 0xff][random.index(5)];
                    let end = (at + 1 + random.index(4)).min(bytes.len());
                    bytes[at..end].fill(value);
                }
            }
            bytes
        }
    }
}

/// Gives a datagram to a connection and polls it dry; what it sent in return.
fn feed(
    sim: &mut Sim<Rtc>,
    host: HostId,
    from: SocketAddr,
    to: SocketAddr,
    bytes: &[u8],
) -> Vec<(SocketAddr, usize)> {
    let now = sim.now();
    let mut sent = Vec::new();
    sim.with(host, |rtc, _| {
        while !matches!(rtc.poll_output(), Output::Timeout(_)) {}
        let datagram = Datagram {
            ecn: Ecn::from_bits(bytes.len() as u8),
            ..Datagram::udp(from, to, BytesMut::from(bytes))
        };
        rtc.handle_input(now, Input::Datagram(datagram));
        for _ in 0..10_000 {
            match rtc.poll_output() {
                Output::Transmit(transmit) => sent.push((transmit.destination, transmit.contents.len())),
                Output::Event(_) => {}
                Output::Stream(stream) => panic!("{stream:?}"),
                Output::Timeout(at) => {
                    assert!(at.is_none_or(|at| at > now), "a timeout that is due already");
                    return;
                }
            }
        }
        panic!("output without end");
    });
    sent
}

#[test]
fn strangers_get_nothing_out_of_a_connection_in_any_state() {
    for_each_seed(4, |seed| {
        for state in STATES {
            let (mut call, seen) = bring_to(state, seed);
            let mut random = Random::new(seed).fork(1);
            let [a, _] = call.hosts;
            let own: SocketAddr = (call.sim.network.ip(a), 5000).into();
            for _ in 0..400 {
                let bytes = hostile(&mut random, &seen);
                let stranger = SocketAddr::from((
                    [192, 0, 2, 1 + random.below(200) as u8],
                    1 + random.below(60_000) as u16,
                ));
                // Now and then to an address that it does not have.
                let to = if random.chance(0.1) { stranger } else { own };
                let sent = feed(&mut call.sim, a, stranger, to, &bytes);
                let replies: Vec<_> = sent.iter().filter(|(to, _)| *to == stranger).collect();
                // A replayed check is authentic: it was sealed with the password that only signalling knows.
                let is_check = bytes.first() == Some(&0) && bytes.len() >= 20;
                let allowed = if is_check { 2 } else { 0 };
                assert!(replies.len() <= allowed, "{state:?}: {} bytes drew {replies:?}", bytes.len());
            }
        }
    });
}

#[test]
fn any_bytes_from_the_peers_own_address_leave_the_machine_sound() {
    for_each_seed(4, |seed| {
        for state in STATES {
            let (mut call, seen) = bring_to(state, seed);
            let mut random = Random::new(seed).fork(2);
            let [a, b] = call.hosts;
            let ends: [SocketAddr; 2] = [a, b].map(|host| (call.sim.network.ip(host), 5000).into());
            for round in 0..400 {
                let bytes = hostile(&mut random, &seen);
                feed(&mut call.sim, a, ends[1], ends[0], &bytes);
                if round % 40 == 0 {
                    call.sim.run_for(20 * MS);
                }
            }
            // Whatever became of it: time goes on, and it ends in peace.
            call.sim.run_for(200 * SECOND);
            call.sim.with(a, |rtc, _| rtc.close());
            call.sim.run_for(10 * SECOND);
            assert_eq!(call.sim.wake(a), None, "{state:?}: a closed connection has no timer");
        }
    });
}

#[test]
fn a_live_connection_still_carries_data_afterwards() {
    for_each_seed(10, |seed| {
        let (mut call, seen) = bring_to(State::Connected, seed);
        let [own, theirs] = call.open(0, ChannelConfig::labelled("chat"));
        let mut random = Random::new(seed).fork(3);
        let [a, b] = call.hosts;
        let ends: [SocketAddr; 2] = [a, b].map(|host| (call.sim.network.ip(host), 5000).into());
        for round in 0..1000 {
            let bytes = hostile(&mut random, &seen);
            let stranger = SocketAddr::from(([192, 0, 2, 1], 1 + round));
            let from = if random.chance(0.5) { stranger } else { ends[1] };
            call.sim.network.inject(from, ends[0], &bytes);
            if round % 20 == 0 {
                call.sim.run_for(MS);
            }
        }
        call.sim.run_for(SECOND);
        for (from, to, channel, peer) in [(a, b, own, theirs), (b, a, theirs, own)] {
            let message = Bytes::from_static(b"still here");
            call.sim.with(from, |rtc, _| rtc.send(channel, MessageKind::Text, message)).expect("it is open");
            call.sim.must("the message arrives", 10 * SECOND, |sim| {
                std::iter::from_fn(|| sim.event(to)).any(|(_, event)| {
                    matches!(event, Event::Message { channel, data, .. } if channel == peer && data == "still here")
                })
            });
        }
    });
}

#[test]
fn the_handshake_completes_beside_a_flood_of_forged_hellos() {
    for_each_seed(5, |seed| {
        let (_, seen) = bring_to(State::Connected, seed);
        let hello = seen.iter().find(|bytes| bytes.first() == Some(&22)).expect("a hello was sent").clone();
        let link = Link::with_delay(15 * MS);
        let mut call = Call::new(seed + 1000, &link, &config());
        call.signal();
        let hosts = call.hosts;
        let mut connected = false;
        // A thousand a second, at each side, from an address that ICE has never heard of, for two seconds.
        for number in 0..2000u16 {
            for host in hosts {
                let to = (call.sim.network.ip(host), 5000).into();
                let from = SocketAddr::from(([192, 0, 2, 1], 1 + number));
                call.sim.network.inject(from, to, &hello);
            }
            call.sim.run_for(MS);
            connected |=
                hosts.iter().all(|&host| call.sim.peer(host).state() == sansrtc::ConnectionState::Connected);
        }
        assert!(connected, "{:?}", hosts.map(|host| call.sim.peer(host).state()));
    });
}

#[test]
fn every_truncation_of_a_real_conversation_is_harmless() {
    let (mut call, seen) = bring_to(State::Connected, 1);
    let [a, b] = call.hosts;
    let ends: [SocketAddr; 2] = [a, b].map(|host| (call.sim.network.ip(host), 5000).into());
    for datagram in seen.iter().take(30) {
        for len in 0..datagram.len() {
            feed(&mut call.sim, a, ends[1], ends[0], &datagram[..len]);
        }
    }
    assert_eq!(call.sim.peer(a).state(), sansrtc::ConnectionState::Connected);
}

#[test]
fn time_may_stand_still_run_backwards_or_leap() {
    let (mut call, _) = bring_to(State::Connected, 1);
    let [a, _] = call.hosts;
    let now = call.sim.now();
    let day = Duration::from_secs(86_400);
    call.sim.with(a, |rtc, _| {
        for then in [now, now - SECOND, now - day / 2, now, now + SECOND, now - SECOND] {
            rtc.handle_input(then, Input::Timeout);
            let mut sent = 0;
            loop {
                match rtc.poll_output() {
                    Output::Transmit(_) => sent += 1,
                    Output::Timeout(_) => break,
                    _ => {}
                }
            }
            assert!(sent <= 20, "{sent} datagrams at once");
        }
        rtc.handle_input(now + day, Input::Timeout);
        let mut outputs = 0;
        while !matches!(rtc.poll_output(), Output::Timeout(_)) {
            outputs += 1;
            assert!(outputs < 1000, "a leap of a day is no burst");
        }
    });
}
