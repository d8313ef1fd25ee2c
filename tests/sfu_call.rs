//! A room over a bad network: three senders with simulcast, one forwarder, twenty viewers that change layers. What each
//! viewer gets of each sender is one stream that a decoder can follow.

mod sim;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::BytesMut;
use sansrtc::payload::{self, Depacketizer, FrameInfo, Outcome, Packetizer, Received};
use sansrtc::rtp::ntp::NtpTime;
use sansrtc::sfu::{Layer, Source, Start, Verdict, Viewer};
use sansrtc::types::codec::Codec;
use sansrtc::{
    Candidate, ConnectionState, Event, MediaConfig, MediaDirection, MediaType, OutgoingPacket, Pt,
    ReceiverId, Rid, Rtc, RtcConfig, RtpPacket, TransceiverConfig, TransceiverId,
};
use sim::{HostId, Link, Loss, Sim, clock, config, seed_bytes};

const SENDERS: usize = 3;
const VIEWERS: usize = 20;
const RIDS: [&str; 3] = ["q", "h", "f"];
/// Bytes of the frames of each encoding.
const SIZES: [usize; 3] = [250, 800, 1_900];
const TICK: Duration = Duration::from_millis(40);

fn rids() -> Vec<Rid> {
    RIDS.iter().filter_map(|rid| Rid::new(rid)).collect()
}

/// The ends of a connection between two hosts of their own.
type Ends = [HostId; 2];

struct World {
    sim: Sim<Rtc>,
    hosts: u8,
    seed: u64,
}

impl World {
    /// Two connections, not introduced yet.
    fn ends(&mut self, link: &Link) -> Ends {
        let config = RtcConfig { media: MediaConfig::browser(), ..config() };
        [(); 2].map(|()| {
            self.hosts += 1;
            let rtc = Rtc::new(config.clone(), seed_bytes(self.seed, self.hosts.into()), clock()).unwrap();
            let ip = format!("10.0.1.{}", self.hosts);
            let host = self.sim.add_host(rtc, &ip);
            self.sim.network.up(host).clone_from(link);
            let candidate = Candidate::host((self.sim.network.ip(host), 5000).into()).unwrap();
            self.sim.with(host, |rtc, _| rtc.add_local_candidate(candidate)).unwrap();
            host
        })
    }

    /// The first end offers.
    fn introduce(&mut self, [a, b]: Ends) {
        let offer = self.sim.with(a, |rtc, _| rtc.create_offer()).unwrap();
        let answer = self.sim.with(b, |rtc, _| rtc.accept_offer(&offer)).unwrap();
        self.sim.with(a, |rtc, _| rtc.accept_answer(&answer)).unwrap();
    }

    /// The payload type of VP8 for sending.
    fn vp8(&self, host: HostId, id: TransceiverId) -> Pt {
        let formats = self.sim.peer(host).transceiver(id).unwrap().formats;
        formats.iter().find(|format| format.codec == Codec::Vp8).unwrap().send
    }
}

/// A frame says which it is, and whether it is of the base layer; no byte of it is zero.
fn frame(sender: usize, encoding: usize, picture: u32, key: bool, layer: u8) -> Vec<u8> {
    let digits = (0..4).map(|at| 0x80 | (picture >> (7 * at) & 0x7f) as u8);
    let head = [u8::from(!key), 0x80 | sender as u8, 0x80 | encoding as u8, 0x80 | layer];
    let mut frame: Vec<u8> = head.into_iter().chain(digits).collect();
    frame.resize(SIZES[encoding] * (1 + usize::from(key)), 0x77);
    frame
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shown {
    sender: u8,
    encoding: u8,
    layer: u8,
    picture: u32,
    key: bool,
}

fn parse(frame: &[u8]) -> Shown {
    let [key, sender, encoding, layer, digits @ ..] = frame else { panic!("a short frame") };
    let picture = (0..4).fold(0, |n, at| n | u32::from(digits[at] & 0x7f) << (7 * at));
    let shown = Shown {
        sender: sender & 0x7f,
        encoding: encoding & 0x7f,
        layer: layer & 0x7f,
        picture,
        key: *key == 0,
    };
    let size = SIZES[usize::from(shown.encoding)] * (1 + usize::from(shown.key));
    assert_eq!(frame.len(), size, "{shown:?} is whole");
    assert!(frame[8..].iter().all(|byte| *byte == 0x77), "{shown:?} is whole");
    shown
}

/// One encoding at its sender.
struct Encoding {
    packetizer: Packetizer,
    picture: u32,
    sequence: u64,
    origin: u32,
    key_wanted: bool,
    since_key: u32,
}

struct Sender {
    /// The sender, and the forwarder's end.
    ends: Ends,
    id: TransceiverId,
    pt: Pt,
    encodings: Vec<Encoding>,
    source: Source,
    /// The forwarder's transceiver.
    inner: TransceiverId,
    layers: BTreeMap<ReceiverId, u8>,
}

/// What a viewer got of one sender.
struct Track {
    id: TransceiverId,
    pt: Pt,
    machine: Viewer,
}

struct Leg {
    /// The forwarder's end, and the viewer.
    ends: Ends,
    tracks: Vec<Track>,
    got: BTreeMap<ReceiverId, BTreeMap<u64, RtpPacket>>,
    /// Streams that a key frame has come of.
    begun: BTreeSet<ReceiverId>,
}

struct Room {
    world: World,
    senders: Vec<Sender>,
    legs: Vec<Leg>,
    tick: u32,
}

impl Room {
    fn new(seed: u64, link: &Link) -> Room {
        let mut world = World { sim: Sim::new(seed), hosts: 0, seed };
        world.sim.network.payload_limit = 1_400;
        let senders: Vec<_> = (0..SENDERS).map(|n| Room::sender(&mut world, n, link)).collect();
        let legs: Vec<_> = (0..VIEWERS).map(|n| Room::leg(&mut world, n, link)).collect();
        let mut room = Room { world, senders, legs, tick: 0 };
        let all: Vec<HostId> = room.hosts();
        room.world.sim.must("all are connected", Duration::from_secs(30), |sim| {
            all.iter().all(|host| sim.peer(*host).state() == ConnectionState::Connected)
        });
        for sender in &mut room.senders {
            sender.pt = room.world.vp8(sender.ends[0], sender.id);
        }
        for leg in &mut room.legs {
            for track in &mut leg.tracks {
                track.pt = room.world.vp8(leg.ends[0], track.id);
            }
        }
        room
    }

    fn hosts(&self) -> Vec<HostId> {
        let ends = self.senders.iter().map(|sender| sender.ends).chain(self.legs.iter().map(|leg| leg.ends));
        ends.flatten().collect()
    }

    /// The forwarder asks for the layers, so it offers.
    fn sender(world: &mut World, n: usize, link: &Link) -> Sender {
        let ends = world.ends(link);
        let config = TransceiverConfig { send_rids: rids(), ..TransceiverConfig::default() };
        let add = |rtc: &mut Rtc, direction, config| rtc.add_transceiver(MediaType::Video, direction, config);
        let id = world.sim.with(ends[0], |rtc, _| add(rtc, MediaDirection::SendOnly, config)).unwrap();
        let config = TransceiverConfig { receive_rids: rids(), ..TransceiverConfig::default() };
        let inner = world.sim.with(ends[1], |rtc, _| add(rtc, MediaDirection::RecvOnly, config)).unwrap();
        world.introduce([ends[1], ends[0]]);
        let encodings = (0..3u32).map(|encoding| Encoding {
            packetizer: Packetizer::new(payload::Codec::Vp8, 0x7fe0 + (encoding as u16) * 3),
            picture: 0,
            sequence: 30_000 + u64::from(encoding) * 100,
            origin: 0xffff_0000u32.wrapping_add(encoding * 1_000_000 + n as u32),
            key_wanted: true,
            since_key: 0,
        });
        let encodings = encodings.collect();
        let source = Source::new(payload::Codec::Vp8);
        let pt = Pt::new(0).unwrap();
        Sender { ends, id, pt, encodings, source, inner, layers: BTreeMap::new() }
    }

    fn leg(world: &mut World, n: usize, link: &Link) -> Leg {
        let ends = world.ends(link);
        let tracks = (0..SENDERS).map(|_| {
            let config = TransceiverConfig::default();
            let add = |rtc: &mut Rtc| rtc.add_transceiver(MediaType::Video, MediaDirection::SendOnly, config);
            let id = world.sim.with(ends[0], |rtc, _| add(rtc)).unwrap();
            let start = Start { sequence: 100 + n as u64, picture: 0x7ff0, tl0: 250, ..Start::default() };
            let mut machine = Viewer::new(90_000, start);
            machine.set_wanted(Some(wish(n, 0)));
            Track { id, pt: Pt::new(0).unwrap(), machine }
        });
        let tracks = tracks.collect();
        world.introduce(ends);
        Leg { ends, tracks, got: BTreeMap::new(), begun: BTreeSet::new() }
    }

    fn run(&mut self, ticks: u32) {
        for _ in 0..ticks {
            for n in 0..SENDERS {
                self.encode(n);
            }
            self.world.sim.run_for(TICK);
            for n in 0..SENDERS {
                self.read(n);
                self.ask(n);
            }
            self.watch();
            self.tick += 1;
        }
    }

    /// The next picture of each encoding.
    fn encode(&mut self, n: usize) {
        let Room { world, senders, tick, .. } = self;
        let sender = &mut senders[n];
        let (host, id, pt) = (sender.ends[0], sender.id, sender.pt);
        while let Some((_, event)) = world.sim.event(host) {
            if let Event::KeyFrameRequested { rid, .. } = event {
                let at = RIDS.iter().position(|name| rid.is_some_and(|rid| rid.as_str() == *name));
                sender.encodings[at.unwrap()].key_wanted = true;
            }
        }
        for (at, encoding) in sender.encodings.iter_mut().enumerate() {
            let key = std::mem::take(&mut encoding.key_wanted);
            encoding.since_key = if key { 0 } else { encoding.since_key + 1 };
            let layer = (encoding.since_key % 2) as u8;
            let bytes = frame(n, at, encoding.picture, key, layer);
            encoding.picture += 1;
            let info = FrameInfo {
                key_frame: key,
                temporal: Some(layer),
                // Frames of the upper layer refer to the base layer only.
                switching_point: layer == 1,
                discardable: layer == 1,
            };
            let timestamp = encoding.origin.wrapping_add(*tick * 3_600);
            let mut payloads = encoding.packetizer.start(&bytes, 1_000, info).unwrap();
            let mut out = BytesMut::new();
            while let Some(marker) = payloads.next_payload(&mut out) {
                let payload = out.split();
                let packet = OutgoingPacket {
                    marker,
                    ..OutgoingPacket::new(pt, encoding.sequence, timestamp, &payload)
                };
                encoding.sequence += 1;
                let rid = Rid::new(RIDS[at]);
                world.sim.with(host, |rtc, _| rtc.send_packet(id, rid, &packet)).unwrap();
            }
        }
    }

    /// The forwarder reads what arrived of one sender, and forwards it.
    fn read(&mut self, n: usize) {
        let Room { world, senders, legs, .. } = self;
        let sender = &mut senders[n];
        while let Some((_, event)) = world.sim.event(sender.ends[1]) {
            match event {
                Event::StreamStarted { receiver, rid: Some(rid), .. } => {
                    let at = RIDS.iter().position(|name| rid.as_str() == *name).unwrap();
                    sender.layers.insert(receiver, at as u8);
                }
                Event::SenderReport { receiver, unix_time, timestamp } => {
                    let (ntp, timestamp) = (NtpTime::from_unix(unix_time), timestamp as u32);
                    sender.source.handle_report(sender.layers[&receiver], ntp, timestamp);
                }
                Event::Packet(packet) => {
                    let arrived = packet.arrived(sender.layers[&packet.receiver]);
                    let Ok(incoming) = sender.source.read(arrived) else { continue };
                    for leg in legs.iter_mut() {
                        let Track { id, pt, machine } = &mut leg.tracks[n];
                        let (id, pt, host) = (*id, *pt, leg.ends[0]);
                        match machine.handle_packet(&incoming) {
                            Verdict::Drop => {}
                            Verdict::Forward(rewrite) => {
                                let forward =
                                    |rtc: &mut Rtc, now| rtc.forward(now, id, None, pt, &packet, &rewrite);
                                world.sim.with(host, forward).unwrap();
                            }
                            Verdict::Fill { sequence, timestamp } => {
                                let empty = OutgoingPacket::new(pt, sequence, timestamp, &[]);
                                world.sim.with(host, |rtc, _| rtc.send_packet(id, None, &empty)).unwrap();
                            }
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// Asks a sender for the key frames that its viewers need.
    fn ask(&mut self, n: usize) {
        let Room { world, senders, legs, .. } = self;
        for encoding in legs.iter().filter_map(|leg| leg.tracks[n].machine.key_frame_needed()) {
            let (host, inner) = (senders[n].ends[1], senders[n].inner);
            let rid = Rid::new(RIDS[usize::from(encoding)]);
            world.sim.with(host, |rtc, _| rtc.request_key_frame(inner, rid));
        }
    }

    /// Viewers take what arrived, and change their minds.
    fn watch(&mut self) {
        let Room { world, senders, legs, tick, .. } = self;
        for (n, leg) in legs.iter_mut().enumerate() {
            while let Some((_, event)) = world.sim.event(leg.ends[1]) {
                if let Event::Packet(packet) = event {
                    if starts_key_frame(&packet) {
                        leg.begun.insert(packet.receiver);
                    } else if !leg.begun.contains(&packet.receiver) {
                        // The first packets of all were lost, and nothing says that they were there.
                        let id = packet.transceiver;
                        world.sim.with(leg.ends[1], |rtc, _| rtc.request_key_frame(id, None));
                    }
                    let stream = leg.got.entry(packet.receiver).or_default();
                    assert!(stream.insert(packet.sequence, packet).is_none(), "a packet came twice");
                }
            }
            while let Some((_, event)) = world.sim.event(leg.ends[0]) {
                let Event::KeyFrameRequested { transceiver, .. } = event else { continue };
                let at = leg.tracks.iter().position(|track| track.id == transceiver).unwrap();
                let Some(layer) = leg.tracks[at].machine.forwarded_layer() else { continue };
                let (rid, inner) = (Rid::new(RIDS[usize::from(layer.encoding)]), senders[at].inner);
                world.sim.with(senders[at].ends[1], |rtc, _| rtc.request_key_frame(inner, rid));
            }
            if (*tick as usize + n * 3).is_multiple_of(50) {
                let layer = wish(n, *tick as usize / 50 + 1);
                leg.tracks.iter_mut().for_each(|track| track.machine.set_wanted(Some(layer)));
            }
        }
    }
}

fn starts_key_frame(packet: &RtpPacket) -> bool {
    let info = payload::Codec::Vp8.describe(packet.payload());
    info.is_ok_and(|info| info.starts_frame && info.key_frame)
}

/// What a viewer wants at a time.
fn wish(viewer: usize, time: usize) -> Layer {
    let encoding = ((viewer + time * 2) % 3) as u8;
    Layer { encoding, spatial: 0, temporal: ((viewer + time) % 2) as u8 }
}

/// What one stream shows at a viewer: frames, and how many were not to be decoded.
struct Show {
    frames: Vec<Shown>,
    broken: usize,
    encodings: usize,
}

fn show(packets: &BTreeMap<u64, RtpPacket>) -> Show {
    let mut depacketizer = Depacketizer::new(payload::Codec::Vp8, 1 << 20);
    let (mut frames, mut broken, mut encodings) = (Vec::new(), 0, 0);
    // The last picture of the base layer, when it was decoded.
    let mut base: Option<Shown> = None;
    // Something was lost since then, or was before anything came.
    let mut missing = true;
    // Numbers of pictures that were late, and not wanted when they came.
    let mut filled = 0;
    let mut last_number: Option<u16> = None;
    let mut last_time = None;
    for (sequence, packet) in packets {
        let received = Received {
            sequence: *sequence,
            timestamp: packet.timestamp as u32,
            marker: packet.marker,
            payload: packet.payload(),
        };
        filled += u16::from(received.payload.is_empty());
        for outcome in depacketizer.handle_packet(received) {
            let Outcome::Frame(frame) = outcome else {
                missing = true;
                continue;
            };
            missing |= frame.after_gap;
            let shown = parse(&frame.data);
            let number = frame.info.picture_id.unwrap().number;
            if let (false, Some(last)) = (missing, last_number) {
                let step = number.wrapping_sub(last) & 0x7fff;
                assert!((1..=1 + filled).contains(&step), "pictures are numbered without holes: {step}");
            }
            filled = 0;
            last_number = Some(number);
            assert!(last_time.is_none_or(|last| packet.timestamp > last), "time goes on");
            last_time = Some(packet.timestamp);
            let follows = |base: Shown| {
                let distance = if shown.layer == 0 { 2 } else { 1 };
                base.encoding == shown.encoding && base.picture + distance == shown.picture
            };
            let decodes = shown.key || base.is_some_and(follows);
            assert!(decodes || missing, "{shown:?} does not follow {base:?}");
            if !decodes {
                broken += 1;
                continue;
            }
            if shown.layer == 0 {
                missing = false;
            }
            encodings += usize::from(shown.key);
            if shown.layer == 0 {
                base = Some(shown);
            }
            frames.push(shown);
        }
    }
    Show { frames, broken, encodings }
}

fn room(seed: u64, link: &Link, ticks: u32) -> (Vec<Show>, Repaired) {
    let mut room = Room::new(seed, link);
    room.run(ticks);
    room.world.sim.run_for(Duration::from_secs(1));
    room.watch();
    let mut shows = Vec::new();
    for leg in &room.legs {
        assert_eq!(leg.got.len(), SENDERS, "a stream of each sender");
        for packets in leg.got.values() {
            let show = show(packets);
            let sender = show.frames[0].sender;
            assert!(show.frames.iter().all(|shown| shown.sender == sender));
            shows.push(show);
        }
    }
    (shows, Repaired::of(&room))
}

#[test]
fn twenty_viewers_change_layers_without_seams() {
    let (shows, _) = room(1, &Link::with_delay(Duration::from_millis(10)), 200);
    for show in shows {
        assert_eq!(show.broken, 0);
        // Every second picture at the least, and some changes of encoding.
        assert!(show.frames.len() >= 90, "{} frames", show.frames.len());
        let changes = show.frames.windows(2).filter(|pair| pair[0].encoding != pair[1].encoding).count();
        assert!((1..=10).contains(&changes), "{changes} changes, {} key frames", show.encodings);
    }
}

/// What was repaired on the way to the forwarder, and from it to the viewers.
#[derive(Debug, Default)]
struct Repaired {
    /// Packets that were lost on the way to the forwarder or a viewer.
    lost: [i64; 2],
    /// Packets of them that came again.
    again: [u64; 2],
    /// Packets that belonged nowhere.
    strays: u64,
}

impl Repaired {
    fn of(room: &Room) -> Repaired {
        let mut repaired = Repaired::default();
        let forwarder = room.senders.iter().map(|sender| (0, sender.ends[1]));
        for (way, host) in forwarder.chain(room.legs.iter().map(|leg| (1, leg.ends[1]))) {
            let stats = room.world.sim.peer(host).media_stats();
            repaired.strays += stats.dropped.unknown_stream;
            for stream in &stats.inbound {
                repaired.lost[way] += stream.packets_lost;
                repaired.again[way] += stream.retransmitted_packets_received;
            }
        }
        repaired
    }
}

#[test]
fn twenty_viewers_change_layers_while_packets_are_lost() {
    let link = Link {
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(5),
        loss: Loss::Independent(0.02),
        ..Link::default()
    };
    for seed in 2..4 {
        let (shows, repaired) = room(seed, &link, 200);
        let (frames, broken) =
            shows.iter().fold((0, 0), |(f, b), show| (f + show.frames.len(), b + show.broken));
        println!("{frames} frames, {broken} broken, {repaired:?}");
        // What is lost is sent again on both halves of the way.
        assert!(repaired.lost.iter().all(|lost| *lost > 30), "seed {seed}: {repaired:?}");
        for (lost, again) in repaired.lost.into_iter().zip(repaired.again) {
            assert!(again * 10 >= lost as u64 * 9, "seed {seed}: {repaired:?}");
        }
        assert_eq!(repaired.strays, 0, "seed {seed}");
        assert!(frames >= 60 * 90, "seed {seed}: {frames} frames");
        assert!(broken * 500 <= frames, "seed {seed}: {broken} of {frames} frames could not be decoded");
    }
}
