//! Hostile media: dropped, counted and bounded, and a live call goes on.

mod heap;
mod sim;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use sansrtc::packet::Datagram;
use sansrtc::{
    Candidate, Event, Input, MediaConfig, MediaDirection, MediaType, OutgoingPacket, Output, Rtc, RtcConfig,
    TransceiverConfig, TransceiverId,
};
use sim::{Random, base, clock, config, seed_bytes};

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

const KIB: isize = 1024;

fn ends() -> [SocketAddr; 2] {
    [SocketAddr::from(([10, 0, 0, 1], 5000)), SocketAddr::from(([10, 0, 0, 2], 5000))]
}

struct Pair {
    rtcs: [Rtc; 2],
    now: Instant,
}

impl Pair {
    fn new() -> (Pair, TransceiverId) {
        let config = RtcConfig { media: MediaConfig::browser(), ..config() };
        let rtc = |who: usize| {
            let mut rtc = Rtc::new(config.clone(), seed_bytes(1, who as u64), clock()).unwrap();
            rtc.add_local_candidate(Candidate::host(ends()[who]).unwrap()).unwrap();
            rtc
        };
        let mut pair = Pair { rtcs: [rtc(0), rtc(1)], now: base() };
        let id = pair.rtcs[0]
            .add_transceiver(MediaType::Video, MediaDirection::SendOnly, TransceiverConfig::default())
            .unwrap();
        (pair, id)
    }

    fn signal(&mut self) {
        let [a, b] = &mut self.rtcs;
        let offer = a.create_offer().unwrap();
        let answer = b.accept_offer(&offer).unwrap();
        a.accept_answer(&answer).unwrap();
    }

    fn run(&mut self, time: Duration) -> Vec<Event> {
        let mut events = Vec::new();
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(10);
            for rtc in &mut self.rtcs {
                rtc.handle_input(self.now, Input::Timeout);
            }
            self.settle(&mut events);
        }
        events
    }

    fn settle(&mut self, events: &mut Vec<Event>) {
        loop {
            let mut moved = false;
            for side in [0, 1] {
                loop {
                    match self.rtcs[side].poll_output() {
                        Output::Transmit(transmit) => {
                            moved = true;
                            let contents = transmit.contents.into_inner();
                            let datagram = Datagram::udp(transmit.source, transmit.destination, contents);
                            self.rtcs[1 - side].handle_input(self.now, Input::Datagram(datagram));
                        }
                        Output::Event(event) if side == 1 => events.push(event),
                        Output::Event(_) => {}
                        Output::Stream(stream) => panic!("{stream:?}"),
                        Output::Timeout(_) => break,
                    }
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// Gives the second side a datagram as if the first had sent it.
    fn inject(&mut self, contents: &[u8]) {
        let [a, b] = ends();
        let datagram = Datagram::udp(a, b, BytesMut::from(contents));
        self.rtcs[1].handle_input(self.now, Input::Datagram(datagram));
    }

    fn is_alive(&mut self, id: TransceiverId, from: u64) -> bool {
        let pt = self.rtcs[0].transceiver(id).unwrap().formats[0].send;
        for n in 0..5 {
            self.rtcs[0].send_packet(id, None, &OutgoingPacket::new(pt, from + n, 0, b"alive")).unwrap();
        }
        let events = self.run(Duration::from_millis(200));
        events.iter().filter(|event| matches!(event, Event::Packet(_))).count() == 5
    }
}

/// An RTP packet in the clear.
fn rtp(pt: u8, sequence: u16, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, pt];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&[0; 4]);
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

#[test]
fn rtp_before_keys_and_from_strangers_is_dropped() {
    let (mut pair, id) = Pair::new();
    pair.inject(&rtp(96, 1, 1, b"x"));
    pair.signal();
    pair.inject(&rtp(96, 1, 1, b"x"));
    assert_eq!(pair.rtcs[1].stats().dropped.media, 1);
    assert_eq!(pair.rtcs[1].stats().dropped.unvalidated, 1);
    pair.run(Duration::from_secs(2));
    // Known address, false tag; then an address that nobody checked.
    pair.inject(&rtp(96, 1, 1, &[0; 100]));
    let stranger =
        Datagram::udp(([10, 9, 9, 9], 9).into(), ends()[1], BytesMut::from(&rtp(96, 1, 1, &[0; 100])[..]));
    pair.rtcs[1].handle_input(pair.now, Input::Datagram(stranger));
    assert_eq!(pair.rtcs[1].media_stats().dropped.unauthentic, 1);
    assert_eq!(pair.rtcs[1].stats().dropped.unvalidated, 2);
    assert!(pair.is_alive(id, 1000));
}

#[test]
fn noise_neither_panics_nor_grows() {
    let (mut pair, id) = Pair::new();
    pair.signal();
    pair.run(Duration::from_secs(2));
    assert!(pair.is_alive(id, 1000));
    let mut random = Random::new(5);
    let ((), held, _) = heap::measure(|| {
        for _ in 0..20_000 {
            let len = random.index(200) + 1;
            let mut bytes = random.bytes(len);
            bytes[0] = 0x80 | bytes[0] & 0x3f;
            pair.inject(&bytes);
        }
    });
    assert!(held < 64 * KIB, "{held}");
    assert!(pair.is_alive(id, 2000));
}
