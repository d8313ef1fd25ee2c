//! RTP costs no allocation in steady state: received, sent, and forwarded, lost and repaired; and runs leave as one
//! datagram.

mod heap;
mod sim;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sansrtc::buffer::Pool;
use sansrtc::fec::ProtectorConfig;
use sansrtc::packet::Datagram;
use sansrtc::rtp::ext::Kind;
use sansrtc::session::negotiate::Capability;
use sansrtc::{
    Candidate, Codec, Event, Incoming, Input, MediaConfig, MediaDirection, MediaProtection, MediaType,
    OutgoingPacket, Output, Pt, Rtc, RtcConfig, TransceiverConfig, TransceiverId,
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
    /// Every so many packets of RTP and RTCP one is lost; 0 for none.
    loses: u64,
    seen: u64,
    /// The payload type that is sent.
    pt: Pt,
}

fn ends() -> [SocketAddr; 2] {
    [SocketAddr::from(([10, 0, 0, 1], 5000)), SocketAddr::from(([10, 0, 0, 2], 5000))]
}

impl Pair {
    fn new(max_segments: usize) -> (Pair, TransceiverId) {
        Pair::with(max_segments, MediaType::Video, MediaConfig::browser())
    }

    fn with(max_segments: usize, kind: MediaType, media: MediaConfig) -> (Pair, TransceiverId) {
        let media = MediaConfig { incoming: Incoming::SendAndReceive, ..media };
        let config = RtcConfig { media, max_segments, ..config() };
        let rtc = |who: usize| {
            let mut rtc = Rtc::new(config.clone(), seed_bytes(1, who as u64), clock()).unwrap();
            rtc.add_local_candidate(Candidate::host(ends()[who]).unwrap()).unwrap();
            rtc
        };
        let slabs = Pool::new();
        let (rtcs, pt) = ([rtc(0), rtc(1)], Pt::new(0).unwrap());
        let mut pair = Pair { rtcs, now: base(), slabs, datagrams: 0, transmits: 0, loses: 0, seen: 0, pt };
        let [a, b] = &mut pair.rtcs;
        let id = a.add_transceiver(kind, MediaDirection::SendRecv, TransceiverConfig::default()).unwrap();
        let offer = a.create_offer().unwrap();
        let answer = b.accept_offer(&offer).unwrap();
        a.accept_answer(&answer).unwrap();
        for _ in 0..300 {
            pair.pass(Duration::from_millis(10), &mut |_, _| {});
        }
        pair.pt = pair.rtcs[0].transceiver(id).unwrap().formats[0].send;
        (pair, id)
    }

    fn is_lost(&mut self, datagram: &[u8]) -> bool {
        self.seen += u64::from((128..192).contains(&datagram[0]));
        self.loses > 0 && (128..192).contains(&datagram[0]) && self.seen.is_multiple_of(self.loses)
    }

    /// Packets that came again at both sides, and those that were put together.
    fn repaired(&self) -> (u64, u64) {
        let stats = self.rtcs.iter().flat_map(|rtc| rtc.media_stats().inbound);
        stats.fold((0, 0), |(again, recovered), stream| {
            (again + stream.retransmitted_packets_received, recovered + stream.fec_packets_recovered)
        })
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
                                if self.is_lost(contents) {
                                    continue;
                                }
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
    // What came late may lie before parity that was sent meanwhile.
    let sent = rtc.send_packet(packet.transceiver, None, &outgoing);
    assert!(matches!(sent, Ok(()) | Err(sansrtc::SendMediaError::Overtaken)), "{sent:?}");
}

/// Sends rounds of ten packets, 100 rounds in a second.
fn rounds(pair: &mut Pair, id: TransceiverId, from: u64, rounds: u64) -> u64 {
    rounds_of(pair, id, from, rounds, &[7; 1000])
}

fn rounds_of(pair: &mut Pair, id: TransceiverId, from: u64, rounds: u64, payload: &[u8]) -> u64 {
    let mut back = 0;
    for round in 0..rounds {
        for n in 0..10 {
            let packet = OutgoingPacket {
                extensions: &[(Kind::VideoOrientation, &[1])],
                ..OutgoingPacket::new(pair.pt, from + round * 10 + n, round as u32 * 900, payload)
            };
            pair.rtcs[0].send_packet(id, None, &packet).unwrap();
        }
        pair.pass(Duration::from_millis(10), &mut |side, _| back += u64::from(side == 0));
    }
    back
}

#[test]
fn a_packet_that_is_sent_received_and_forwarded_costs_no_allocation() {
    let (mut pair, id) = Pair::new(1);
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

/// Lets a call lose one packet in 23, until everything has its working size; then says what ten seconds of it allocate,
/// and how many packets came again or were put together.
fn repair(pair: &mut Pair, id: TransceiverId, payload: &[u8]) -> (u64, (u64, u64)) {
    pair.loses = 23;
    rounds_of(pair, id, 1000, 3000, payload);
    let repaired = pair.repaired();
    let before = heap::allocations();
    rounds_of(pair, id, 31_000, 1000, payload);
    let allocations = heap::allocations() - before;
    let (again, recovered) = pair.repaired();
    (allocations, (again - repaired.0, recovered - repaired.1))
}

#[test]
fn a_packet_that_is_lost_and_sent_again_costs_no_allocation() {
    let (mut pair, id) = Pair::new(1);
    let (allocations, (again, _)) = repair(&mut pair, id, &[7; 1000]);
    assert!(again > 600, "{again} came again");
    assert_eq!(allocations, 0, "for {again} packets that came again");
}

/// A browser's formats, in which nothing is asked for again.
fn without_nack(mut media: MediaConfig) -> MediaConfig {
    for capability in media.audio.iter_mut().chain(&mut media.video) {
        capability.rtx = false;
        capability.feedback.nack = false;
    }
    media
}

fn protect(pair: &mut Pair, id: TransceiverId, protection: MediaProtection) {
    let other = pair.rtcs[1].transceivers().next().unwrap();
    pair.rtcs[0].set_protection(id, None, protection).unwrap();
    pair.rtcs[1].set_protection(other, None, protection).unwrap();
}

#[test]
fn a_packet_that_parity_brings_back_costs_no_allocation() {
    for is_ulpfec in [false, true] {
        let mut media = without_nack(MediaConfig::browser().with_video_fec());
        media.video.retain(|capability| !is_ulpfec || capability.codec != Codec::Flexfec);
        let (mut pair, id) = Pair::with(1, MediaType::Video, media);
        let fec = Some(ProtectorConfig { packets: 10, parities: 1 });
        protect(&mut pair, id, MediaProtection { red: 0, fec });
        let (allocations, (_, recovered)) = repair(&mut pair, id, &[7; 1000]);
        assert!(recovered > 300, "{recovered} were put together");
        // A parity waits in memory of its own, and a new one is taken whenever more wait at once than ever before: it
        // takes long until chance has seen to that.
        assert!(allocations <= 3, "{allocations} for {recovered} packets put together, ULPFEC: {is_ulpfec}");
    }
}

#[test]
fn a_packet_that_the_next_one_repeats_costs_no_allocation() {
    let red = Capability::audio(Codec::Red, 48_000, 2, "");
    let mut media = without_nack(MediaConfig::browser());
    if !media.audio.iter().any(|capability| capability.codec == Codec::Red) {
        media.audio.push(red);
    }
    let (mut pair, id) = Pair::with(1, MediaType::Audio, media);
    protect(&mut pair, id, MediaProtection { red: 1, fec: None });
    let (allocations, (_, recovered)) = repair(&mut pair, id, &[7; 100]);
    assert!(recovered > 600, "{recovered} were put together");
    assert_eq!(allocations, 0, "for {recovered} packets that were put together");
}
