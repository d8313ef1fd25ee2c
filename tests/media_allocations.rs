//! RTP costs no allocation in steady state: received, sent, and forwarded; and runs leave as one datagram.

mod heap;
mod sim;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sansrtc::buffer::Pool;
use sansrtc::packet::Datagram;
use sansrtc::rtp::ext::Kind;
use sansrtc::{
    Candidate, Event, Incoming, Input, MediaConfig, MediaDirection, MediaType, OutgoingPacket, Output, Rtc,
    RtcConfig, TransceiverConfig, TransceiverId,
};
use sim::{base, clock, config, seed_bytes};

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

/// Two connections joined by hand. Datagrams are received as callers should: split off slabs that come back.
struct Pair {
    rtcs: [Rtc; 2],
    now: Instant,
    slabs: Pool,
    /// Datagrams, and transmits that carried them.
    datagrams: u64,
    transmits: u64,
}

fn ends() -> [SocketAddr; 2] {
    [SocketAddr::from(([10, 0, 0, 1], 5000)), SocketAddr::from(([10, 0, 0, 2], 5000))]
}

impl Pair {
    fn new(max_segments: usize) -> (Pair, TransceiverId) {
        let media = MediaConfig { incoming: Incoming::SendAndReceive, ..MediaConfig::browser() };
        let config = RtcConfig { media, max_segments, ..config() };
        let rtc = |who: usize| {
            let mut rtc = Rtc::new(config.clone(), seed_bytes(1, who as u64), clock()).unwrap();
            rtc.add_local_candidate(Candidate::host(ends()[who]).unwrap()).unwrap();
            rtc
        };
        let slabs = Pool::new();
        let mut pair = Pair { rtcs: [rtc(0), rtc(1)], now: base(), slabs, datagrams: 0, transmits: 0 };
        let [a, b] = &mut pair.rtcs;
        let id = a
            .add_transceiver(MediaType::Video, MediaDirection::SendRecv, TransceiverConfig::default())
            .unwrap();
        let offer = a.create_offer().unwrap();
        let answer = b.accept_offer(&offer).unwrap();
        a.accept_answer(&answer).unwrap();
        for _ in 0..300 {
            pair.pass(Duration::from_millis(10), &mut |_, _| {});
        }
        (pair, id)
    }

    /// Lets time pass, and carries what is sent; the second side sends every packet back.
    fn pass(&mut self, time: Duration, on_packet: &mut dyn FnMut(usize, &sansrtc::RtpPacket)) {
        self.now += time;
        for rtc in &mut self.rtcs {
            rtc.handle_input(self.now, Input::Timeout);
        }
        loop {
            let mut moved = false;
            for side in [0, 1] {
                loop {
                    match self.rtcs[side].poll_output() {
                        Output::Transmit(transmit) => {
                            moved = true;
                            self.transmits += 1;
                            for contents in transmit.segments() {
                                self.datagrams += 1;
                                let slab = self.slabs.tail(2048);
                                slab.extend_from_slice(contents);
                                let datagram =
                                    Datagram::udp(transmit.source, transmit.destination, slab.split());
                                self.rtcs[1 - side].handle_input(self.now, Input::Datagram(datagram));
                            }
                        }
                        Output::Event(Event::Packet(packet)) => {
                            on_packet(side, &packet);
                            if side == 1 {
                                forward(&mut self.rtcs[1], &packet);
                            }
                        }
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
}

/// Sends a packet back, with the extensions that it came with.
fn forward(rtc: &mut Rtc, packet: &sansrtc::RtpPacket) {
    let mut extensions = [(Kind::Mid, &[][..]); 8];
    let mut count = 0;
    for (place, found) in extensions.iter_mut().zip(packet.extensions()) {
        *place = found;
        count += 1;
    }
    let outgoing = OutgoingPacket {
        marker: packet.marker,
        extensions: &extensions[..count],
        ..OutgoingPacket::new(packet.payload_type, packet.sequence, packet.timestamp as u32, packet.payload())
    };
    rtc.send_packet(packet.transceiver, None, &outgoing).unwrap();
}

/// Sends rounds of ten packets, 100 rounds in a second.
fn rounds(pair: &mut Pair, id: TransceiverId, from: u64, rounds: u64) -> u64 {
    let payload = [7; 1000];
    let mut back = 0;
    for round in 0..rounds {
        for n in 0..10 {
            let packet = OutgoingPacket {
                extensions: &[(Kind::VideoOrientation, &[1])],
                ..OutgoingPacket::new(
                    payload_type(pair, id),
                    from + round * 10 + n,
                    round as u32 * 900,
                    &payload,
                )
            };
            pair.rtcs[0].send_packet(id, None, &packet).unwrap();
        }
        pair.pass(Duration::from_millis(10), &mut |side, _| back += u64::from(side == 0));
    }
    back
}

fn payload_type(_: &Pair, _: TransceiverId) -> sansrtc::Pt {
    // The first that is given, and VP8 is the first format.
    sansrtc::Pt::new(96).unwrap()
}

#[test]
fn a_packet_that_is_sent_received_and_forwarded_costs_no_allocation() {
    let (mut pair, id) = Pair::new(1);
    assert_eq!(pair.rtcs[0].transceiver(id).unwrap().formats[0].send, payload_type(&pair, id));
    // Everything grows to its working size: history, queues, slabs.
    assert!(rounds(&mut pair, id, 1000, 2000) > 19_900);
    let before = heap::allocations();
    let back = rounds(&mut pair, id, 21_000, 500);
    let allocations = heap::allocations() - before;
    assert!(back > 4900, "{back} packets came back");
    assert_eq!(allocations, 0, "for {back} packets there and back");
}

#[test]
fn packets_of_one_size_leave_as_one_segmented_datagram() {
    let (mut pair, id) = Pair::new(10);
    rounds(&mut pair, id, 1000, 100);
    let (datagrams, transmits) = (pair.datagrams, pair.transmits);
    rounds(&mut pair, id, 2000, 100);
    let (datagrams, transmits) = (pair.datagrams - datagrams, pair.transmits - transmits);
    println!("{datagrams} datagrams in {transmits} transmits");
    assert!(datagrams > 1500 && transmits * 3 < datagrams, "{datagrams} datagrams in {transmits} transmits");
}
