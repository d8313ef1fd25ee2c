//! Memory has bounds, whatever arrives and whatever is not polled; and it comes back.

mod heap;
mod sim;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sansrtc::packet::{Datagram, Transmit};
use sansrtc::{
    Candidate, ChannelConfig, ChannelId, ConnectionState, Event, Input, MediaConfig, MediaDirection,
    MediaType, MessageKind, OutgoingPacket, Output, Rtc, RtcConfig, SendError, TransceiverConfig,
};
use sim::{Call, Link, Random, base, clock, config, seed_bytes};

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

const SECOND: Duration = Duration::from_secs(1);
const KIB: isize = 1024;

fn ends() -> [SocketAddr; 2] {
    [SocketAddr::from(([10, 0, 0, 1], 5000)), SocketAddr::from(([10, 0, 0, 2], 5000))]
}

/// Two connections joined by hand: no simulator whose own memory would be counted too.
struct Pair {
    rtcs: [Rtc; 2],
    now: std::time::Instant,
}

impl Pair {
    fn new(seed: u64) -> Pair {
        Pair::of(seed, &config())
    }

    fn of(seed: u64, config: &RtcConfig) -> Pair {
        let rtc = |who: usize| {
            let mut rtc = Rtc::new(config.clone(), seed_bytes(seed, who as u64), clock()).unwrap();
            rtc.add_local_candidate(Candidate::host(ends()[who]).unwrap()).unwrap();
            rtc
        };
        Pair { rtcs: [rtc(0), rtc(1)], now: base() }
    }

    fn signal(&mut self) {
        let offer = self.rtcs[0].create_offer().unwrap();
        let answer = self.rtcs[1].accept_offer(&offer).unwrap();
        self.rtcs[0].accept_answer(&answer).unwrap();
    }

    /// Carries datagrams to and fro until both are dry; gives the next deadline.
    fn settle(&mut self, mut on_event: impl FnMut(usize, Event)) -> Option<std::time::Instant> {
        loop {
            let mut moved = false;
            let mut wake = None;
            for side in [0, 1] {
                loop {
                    match self.rtcs[side].poll_output() {
                        Output::Transmit(transmit) => {
                            moved = true;
                            self.carry(side, transmit);
                        }
                        Output::Event(event) => on_event(side, event),
                        Output::Stream(stream) => panic!("{stream:?}"),
                        Output::Timeout(at) => {
                            wake = [wake, at].into_iter().flatten().min();
                            break;
                        }
                    }
                }
            }
            if !moved {
                return wake;
            }
        }
    }

    fn carry(&mut self, from: usize, transmit: Transmit) {
        let Transmit { source, destination, contents, .. } = transmit;
        let datagram = Datagram::udp(source, destination, contents.into_inner());
        self.rtcs[1 - from].handle_input(self.now, Input::Datagram(datagram));
    }

    fn run_for(&mut self, how_long: Duration, mut on_event: impl FnMut(usize, Event)) {
        let end = self.now + how_long;
        while let Some(wake) = self.settle(&mut on_event)
            && wake <= end
        {
            self.now = wake;
            for rtc in &mut self.rtcs {
                rtc.handle_input(self.now, Input::Timeout);
            }
        }
        self.now = end;
        for rtc in &mut self.rtcs {
            rtc.handle_input(self.now, Input::Timeout);
        }
        self.settle(on_event);
    }

    /// A connected pair with one open channel: its id on both sides.
    fn connected(seed: u64) -> (Pair, [ChannelId; 2]) {
        let mut pair = Pair::new(seed);
        let own = pair.rtcs[0].open_channel(ChannelConfig::labelled("chat")).unwrap();
        pair.signal();
        let mut theirs = None;
        pair.run_for(3 * SECOND, |side, event| {
            if let (1, Event::ChannelOpen(id)) = (side, event) {
                theirs = Some(id);
            }
        });
        assert!(pair.rtcs.iter().all(|rtc| rtc.state() == ConnectionState::Connected));
        (pair, [own, theirs.expect("the channel opened")])
    }
}

#[test]
fn a_connection_before_its_peer_is_small() {
    config();
    let (pair, held, _) = heap::measure(|| {
        let mut pair = Pair::new(1);
        pair.signal();
        pair
    });
    println!("{} bytes for each of two connections that have not met", held / 2);
    assert!(held / 2 < 32 * KIB, "{held}");
    drop(pair);
}

#[test]
fn an_idle_connection_is_small_and_stays_so() {
    drop(Pair::connected(1));
    let ((mut pair, _), held, _) = heap::measure(|| {
        let (mut pair, ids) = Pair::connected(2);
        // Long enough for what set-up needed to be given back.
        pair.run_for(120 * SECOND, |_, _| {});
        (pair, ids)
    });
    println!("{} bytes for each of two idle peers", held / 2 + size_of::<Rtc>() as isize);
    assert!(held / 2 + (size_of::<Rtc>() as isize) < 12 * 1000, "{held} beside twice {}", size_of::<Rtc>());
    let before = heap::allocations();
    pair.run_for(60 * SECOND, |_, _| {});
    assert_eq!(heap::allocations() - before, 0, "allocations of two peers in a minute of idleness");
}

/// A pair in which each side sends the other one video stream, some packets of it having been sent.
fn with_video(seed: u64) -> Pair {
    // The bound is that of DTLS 1.2. 1.3 keeps keys for the numbers of records, and secrets for the keys to come: such a
    // peer has 21,200 bytes.
    let max_dtls_version = sansrtc::dtls::Version::Dtls12;
    let config = RtcConfig { media: MediaConfig::browser(), max_dtls_version, ..config() };
    let mut pair = Pair::of(seed, &config);
    let options = TransceiverConfig::default();
    let id = pair.rtcs[0].add_transceiver(MediaType::Video, MediaDirection::SendRecv, options).unwrap();
    let options = TransceiverConfig::default();
    let other = pair.rtcs[1].add_transceiver(MediaType::Video, MediaDirection::SendRecv, options).unwrap();
    pair.signal();
    pair.run_for(3 * SECOND, |_, _| {});
    assert!(pair.rtcs.iter().all(|rtc| rtc.state() == ConnectionState::Connected));
    let mut arrived = 0;
    for n in 0..100 {
        for (side, id) in [(0, id), (1, other)] {
            let pt = pair.rtcs[side].transceiver(id).unwrap().formats[0].send;
            let packet = OutgoingPacket::new(pt, n, n as u32 * 3_000, &[7; 1_000]);
            pair.rtcs[side].send_packet(id, None, &packet).unwrap();
        }
        pair.run_for(SECOND / 30, |_, event| arrived += u32::from(matches!(event, Event::Packet(_))));
    }
    assert_eq!(arrived, 200);
    pair
}

#[test]
fn an_idle_connection_with_a_video_stream_is_small() {
    drop(with_video(50));
    let (mut pair, fresh, _) = heap::measure(|| with_video(51));
    let (_, change, _) = heap::measure(|| pair.run_for(120 * SECOND, |_, _| {}));
    let each = (fresh + change) / 2 + size_of::<Rtc>() as isize;
    println!("{each} bytes for each of two peers, {} right after the packets", fresh / 2);
    assert!(each < 20_000, "{each} beside {}", size_of::<Rtc>());
}

#[test]
fn a_thousand_connections_leave_nothing_behind() {
    let life = |seed| {
        let (mut pair, [own, _]) = Pair::connected(seed);
        pair.rtcs[0].send(own, MessageKind::Binary, Bytes::from_static(&[1; 5000])).unwrap();
        pair.run_for(SECOND, |_, _| {});
        pair.rtcs[0].close();
        pair.run_for(SECOND, |_, _| {});
    };
    life(0);
    let ((), held, _) = heap::measure(|| (0..if cfg!(debug_assertions) { 50 } else { 1000 }).for_each(life));
    assert!(held < 64 * KIB, "{held} bytes are left");
}

#[test]
fn channels_come_and_go_without_a_trace() {
    let (mut pair, _) = Pair::connected(1);
    let cycle = |pair: &mut Pair| {
        let channels: Vec<_> =
            (0..10).map(|_| pair.rtcs[0].open_channel(ChannelConfig::labelled("brief")).unwrap()).collect();
        pair.run_for(SECOND, |_, _| {});
        for channel in channels {
            pair.rtcs[0].close_channel(channel);
        }
        pair.run_for(SECOND, |_, _| {});
        assert_eq!(pair.rtcs.each_ref().map(|rtc| rtc.channels().len()), [1, 1]);
    };
    (0..20).for_each(|_| cycle(&mut pair));
    let ((), held, _) = heap::measure(|| (0..200).for_each(|_| cycle(&mut pair)));
    assert!(held < 8 * KIB, "{held} bytes are left of 2,000 channels");
}

#[test]
fn strangers_cannot_make_a_connection_grow() {
    let mut random = Random::new(1);
    let noise: Vec<Vec<u8>> = (0..1000)
        .map(|_| {
            let len = random.index(1500) + 1;
            let mut bytes = random.bytes(len);
            bytes[0] = [0, 20, 22, 23, 128][random.index(5)];
            bytes
        })
        .collect();
    for connected in [false, true] {
        let mut pair = if connected { Pair::connected(1).0 } else { Pair::new(1) };
        if !connected {
            pair.signal();
        }
        let ((), held, peak) = heap::measure(|| {
            for round in 0..20_000u32 {
                let from = SocketAddr::from((round.to_be_bytes(), 1 + (round % 60_000) as u16));
                let bytes = BytesMut::from(&noise[round as usize % noise.len()][..]);
                let datagram = Datagram::udp(from, ends()[0], bytes);
                pair.rtcs[0].handle_input(pair.now, Input::Datagram(datagram));
            }
        });
        assert!(held < 64 * KIB && peak < 128 * KIB, "held {held}, {peak} at the worst");
    }
}

#[test]
fn output_that_nobody_polls_does_not_pile_up() {
    // Checks and handshake records come in again and again, and nothing is taken out.
    let mut call = Call::new(1, &Link::default(), &config());
    call.signal();
    let mut seen: Vec<Vec<u8>> = Vec::new();
    let (sender, receiver) = std::sync::mpsc::channel();
    call.sim.network.tap(move |seen| drop(sender.send((seen.host, seen.contents.to_vec()))));
    let [_, b] = call.hosts;
    call.must_connect(5 * SECOND);
    seen.extend(receiver.try_iter().filter(|(host, _)| *host == b).map(|(_, bytes)| bytes));
    let ends = ends();
    let now = call.sim.now();
    let [a, _] = call.hosts;
    let ((), held, _) = call.sim.with(a, |rtc, _| {
        heap::measure(|| {
            for round in 0..20_000u32 {
                let bytes = BytesMut::from(&seen[round as usize % seen.len()][..]);
                let datagram = Datagram::udp(ends[1], ends[0], bytes);
                rtc.handle_input(now + Duration::from_millis(u64::from(round)), Input::Datagram(datagram));
            }
        })
    });
    assert!(held < 256 * KIB, "{held} bytes");
}

#[test]
fn what_the_application_does_not_poll_slows_the_peer_down() {
    let (mut pair, [own, _]) = Pair::connected(1);
    let message = Bytes::from(vec![7; 16 * 1024]);
    let mut accepted = 0;
    let ((), held, _) = heap::measure(|| {
        // The receiver is given datagrams, and only what it wants to send is taken: `poll_output` gives datagrams
        // before events, so stopping at the first event leaves all of them inside.
        let mut unread = Vec::new();
        for _ in 0..20_000 {
            match pair.rtcs[0].send(own, MessageKind::Binary, message.clone()) {
                Ok(_) => accepted += 1,
                Err(SendError::WouldBlock) => {}
                Err(error) => panic!("{error}"),
            }
            loop {
                match pair.rtcs[0].poll_output() {
                    Output::Transmit(transmit) => pair.carry(0, transmit),
                    Output::Timeout(_) => break,
                    _ => {}
                }
            }
            if unread.is_empty() {
                loop {
                    match pair.rtcs[1].poll_output() {
                        Output::Transmit(transmit) => pair.carry(1, transmit),
                        Output::Event(event @ Event::Message { .. }) => {
                            unread.push(event);
                            break;
                        }
                        Output::Timeout(_) => break,
                        _ => {}
                    }
                }
            }
        }
    });
    println!("{accepted} messages accepted, {held} bytes held");
    assert!(held < 5 * 1024 * KIB, "{held} bytes: both sides' buffers are bounded");
}

#[test]
fn a_message_costs_at_most_one_allocation() {
    let (mut pair, [own, _]) = Pair::connected(1);
    for len in [64, 1000] {
        let message = Bytes::from(vec![1; len]);
        let round = |pair: &mut Pair, count: u32| {
            let mut received = 0;
            for _ in 0..count / 10 {
                for _ in 0..10 {
                    pair.rtcs[0].send(own, MessageKind::Binary, message.clone()).unwrap();
                }
                pair.settle(|_, event| received += u32::from(matches!(event, Event::Message { .. })));
                pair.now += Duration::from_millis(1);
            }
            pair.run_for(SECOND, |_, event| received += u32::from(matches!(event, Event::Message { .. })));
            assert_eq!(received, count);
        };
        round(&mut pair, 2000);
        let before = heap::allocations();
        round(&mut pair, 2000);
        let per_message = (heap::allocations() - before) as f64 / 2000.0;
        println!("{len} bytes: {per_message:.3} allocations per message, both sides together");
        assert!(per_message <= 1.0, "{per_message}");
    }
}
