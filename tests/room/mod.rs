//! A sender, a forwarder and its viewers, connected in one process over a network without delay.
//!
//! Included by path where the forwarder's work is measured: `step` is that work alone.

// A test is a caller, and a caller has a clock.
#![allow(dead_code, unreachable_pub, clippy::disallowed_methods)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use sansrtc::crypto::{self, cert::Identity};
use sansrtc::payload::Codec;
use sansrtc::rng::{Rng, Stream};
use sansrtc::sfu::{Layer, Source, Start, Verdict, Viewer};
use sansrtc::types::srtp_profile::SrtpProfile;
use sansrtc::{
    Candidate, Clock, ConnectionState, Datagram, Event, Input, MediaConfig, MediaDirection, MediaType,
    OutgoingPacket, Output, Pt, Rtc, RtcConfig, RtpPacket, TransceiverConfig, TransceiverId, Transmit,
};

/// Time from packet to packet: none waits for the pacer.
const PACE: Duration = Duration::from_millis(10);

/// Datagrams without media that are kept for later, at most.
const MAX_HELD: usize = 64;

/// Two ends of a connection that sends video from the first to the second.
struct Pair {
    ends: [Rtc; 2],
    /// Datagrams without media of either end, which are delivered when nothing is measured: consent checks and reports.
    held: [Vec<Transmit>; 2],
    id: TransceiverId,
    pt: Pt,
}

/// The forwarder's side of one viewer, and the viewer.
struct Leg {
    pair: Pair,
    viewer: Viewer,
}

/// All of it.
pub struct Room {
    pub now: Instant,
    sender: Pair,
    source: Source,
    legs: Vec<Leg>,
    sequence: u64,
    /// How much longer than its payload a datagram is.
    overhead: usize,
    /// Datagrams are received into one slab.
    slab: BytesMut,
}

/// What the forwarder sent in one step.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    pub datagrams: usize,
    pub bytes: usize,
}

fn rtc(identity: &Arc<Identity>, seed: u8, address: &str, now: Instant, profile: SrtpProfile) -> Rtc {
    let config = RtcConfig {
        identity: Some(identity.clone()),
        media: MediaConfig::browser(),
        srtp_profiles: vec![profile],
        // What the sender makes is as large as what browsers send.
        datagram_size: 1_400,
        ..RtcConfig::default()
    };
    let clock = Clock { instant: now, unix: Duration::from_secs(1_700_000_000) };
    let mut rtc = Rtc::new(config, [seed; 32], clock).unwrap();
    rtc.add_local_candidate(Candidate::host(address.parse().unwrap()).unwrap()).unwrap();
    rtc
}

impl Pair {
    fn connected(identity: &Arc<Identity>, seed: u8, now: &mut Instant, profile: SrtpProfile) -> Pair {
        let mut ends = [
            rtc(identity, seed, "192.0.2.1:1000", *now, profile),
            rtc(identity, seed.wrapping_add(128), "192.0.2.2:2000", *now, profile),
        ];
        let config = TransceiverConfig::default();
        let id = ends[0].add_transceiver(MediaType::Video, MediaDirection::SendOnly, config).unwrap();
        let offer = ends[0].create_offer().unwrap();
        let answer = ends[1].accept_offer(&offer).unwrap();
        ends[0].accept_answer(&answer).unwrap();
        let mut pair =
            Pair { ends, held: [(); 2].map(|()| Vec::with_capacity(MAX_HELD)), id, pt: Pt::new(0).unwrap() };
        while pair.ends.iter().any(|end| end.state() != ConnectionState::Connected) {
            pair.exchange(*now);
            *now += Duration::from_millis(5);
        }
        pair.exchange(*now);
        let formats = pair.ends[0].transceiver(id).unwrap().formats;
        let vp8 = formats.iter().find(|format| format.codec == sansrtc::types::codec::Codec::Vp8);
        pair.pt = vp8.unwrap().send;
        pair
    }

    /// Lets time pass for both, and moves what there is until there is nothing more.
    fn exchange(&mut self, now: Instant) {
        for (from, to) in [(0, 1), (1, 0)] {
            for transmit in self.held[from].drain(..) {
                self.ends[to].handle_input(now, Input::Datagram(arrival(transmit)));
            }
        }
        self.ends.iter_mut().for_each(|end| end.handle_input(now, Input::Timeout));
        let mut moved = true;
        while std::mem::take(&mut moved) {
            for from in 0..2 {
                loop {
                    match self.ends[from].poll_output() {
                        Output::Transmit(transmit) => {
                            moved = true;
                            let (source, destination) = (transmit.source, transmit.destination);
                            let datagram = Datagram::udp(source, destination, transmit.contents.into_inner());
                            self.ends[1 - from].handle_input(now, Input::Datagram(datagram));
                        }
                        Output::Event(_) | Output::Stream(_) => {}
                        Output::Timeout(_) => break,
                    }
                }
            }
        }
    }
}

fn arrival(transmit: Transmit) -> Datagram {
    Datagram::udp(transmit.source, transmit.destination, transmit.contents.into_inner())
}

/// Keeps a datagram without media for later.
fn hold(held: &mut Vec<Transmit>, mut transmit: Transmit) {
    // A copy: what is kept would pin the slab that it lies in, and media would need another.
    transmit.contents = BytesMut::from(&transmit.contents[..]).into();
    if held.len() < MAX_HELD {
        held.push(transmit);
    }
}

impl Room {
    pub fn new(profile: SrtpProfile, viewers: usize) -> Room {
        let identity = Arc::new(
            Identity::generate(crypto::ring(), &mut Rng::new([9; 32], Stream::Certificate)).unwrap(),
        );
        let mut now = Instant::now();
        let sender = Pair::connected(&identity, 1, &mut now, profile);
        let legs = (0..viewers).map(|n| {
            let pair = Pair::connected(&identity, (n % 100) as u8 + 2, &mut now, profile);
            let mut viewer = Viewer::new(90_000, Start { sequence: n as u64, ..Start::default() });
            viewer.set_wanted(Some(Layer::all_of(0)));
            Leg { pair, viewer }
        });
        let legs = legs.collect();
        let (source, slab) = (Source::new(Codec::Vp8), BytesMut::new());
        let mut room = Room { now, sender, source, legs, sequence: 0, overhead: 0, slab };
        room.rest();
        let packets = room.packets(100, 1000);
        room.overhead = packets.last().unwrap().len() - 1000;
        packets.into_iter().for_each(|packet| _ = room.step(packet));
        room
    }

    /// Time in which the forwarder is not measured: everyone looks at its timers.
    pub fn rest(&mut self) {
        self.sender.exchange(self.now);
        self.legs.iter_mut().for_each(|leg| leg.pair.exchange(self.now));
    }

    /// The sender's next packets, as they arrive: `len` bytes each.
    pub fn packets(&mut self, count: usize, len: usize) -> Vec<BytesMut> {
        let size = len.saturating_sub(self.overhead);
        let mut packets = Vec::with_capacity(count);
        self.slab.reserve(count * 1500);
        for _ in 0..count {
            let mut payload = vec![0x5a; size];
            let picture = self.sequence.to_be_bytes();
            // A key frame each time.
            payload[..5].copy_from_slice(&[0x90, 0x80, 0x80 | picture[6], picture[7], 0]);
            self.now += PACE;
            let timestamp = (self.sequence * 45) as u32;
            let packet = OutgoingPacket {
                marker: true,
                ..OutgoingPacket::new(self.sender.pt, self.sequence, timestamp, &payload)
            };
            self.sequence += 1;
            let (rtc, now) = (&mut self.sender.ends[0], self.now);
            rtc.handle_input(now, Input::Timeout);
            rtc.send_packet(self.sender.id, None, &packet).unwrap();
            loop {
                match rtc.poll_output() {
                    Output::Transmit(transmit) if is_rtp(&transmit.contents) => {
                        self.slab.extend_from_slice(&transmit.contents);
                        packets.push(self.slab.split());
                    }
                    Output::Transmit(transmit) => hold(&mut self.sender.held[0], transmit),
                    Output::Event(_) | Output::Stream(_) => {}
                    Output::Timeout(_) => break,
                }
            }
        }
        packets
    }

    /// The forwarder's work for one packet: in, and out to every viewer.
    pub fn step(&mut self, contents: BytesMut) -> Sent {
        let mut sent = Sent::default();
        self.now += PACE;
        let now = self.now;
        let rtc = &mut self.sender.ends[1];
        let (source, destination) = ("192.0.2.1:1000", "192.0.2.2:2000");
        let datagram = Datagram::udp(source.parse().unwrap(), destination.parse().unwrap(), contents);
        rtc.handle_input(now, Input::Datagram(datagram));
        loop {
            match rtc.poll_output() {
                Output::Event(Event::Packet(packet)) => {
                    forward(now, &packet, &mut self.source, &mut self.legs, &mut sent);
                }
                Output::Transmit(transmit) => hold(&mut self.sender.held[1], transmit),
                Output::Event(_) | Output::Stream(_) => {}
                Output::Timeout(_) => break,
            }
        }
        sent
    }

    /// Datagrams without media that left since the last rest: reports, and checks of the path.
    pub fn controls(&self) -> usize {
        let pairs = std::iter::once(&self.sender).chain(self.legs.iter().map(|leg| &leg.pair));
        pairs.flat_map(|pair| &pair.held).map(Vec::len).sum()
    }

    pub fn viewers(&self) -> usize {
        self.legs.len()
    }
}

/// RTP, and not RTCP (RFC 7983 §7, RFC 5761 §4).
fn is_rtp(datagram: &[u8]) -> bool {
    (128..192).contains(&datagram[0]) && !(64..96).contains(&(datagram[1] & 0x7f))
}

fn forward(now: Instant, packet: &RtpPacket, source: &mut Source, legs: &mut [Leg], sent: &mut Sent) {
    let Ok(incoming) = source.read(packet.arrived(0)) else { return };
    for Leg { pair, viewer } in legs {
        let rtc = &mut pair.ends[0];
        if let Verdict::Forward(rewrite) = viewer.handle_packet(&incoming) {
            rtc.forward(now, pair.id, None, pair.pt, packet, &rewrite).unwrap();
        }
        loop {
            match rtc.poll_output() {
                Output::Transmit(transmit) if is_rtp(&transmit.contents) => {
                    sent.datagrams += 1;
                    sent.bytes += transmit.contents.len();
                }
                Output::Transmit(transmit) => hold(&mut pair.held[0], transmit),
                Output::Event(_) | Output::Stream(_) => {}
                Output::Timeout(_) => break,
            }
        }
    }
}
