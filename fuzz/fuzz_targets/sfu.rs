//! A forwarder between two peers: whatever the sender says in its RTP, whatever is lost and whatever the viewer wants, no
//! number is used twice, nothing panics, and nothing grows beyond what came.
#![no_main]

#[path = "../../tests/sim/mod.rs"]
mod sim;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sansrtc::payload::{Codec, DEFAULT_MAX_FRAME, Depacketizer, Received};
use sansrtc::rtp::ext::Kind;
use sansrtc::sfu::{Layer, Source, Start, Verdict, Viewer};
use sansrtc::{
    Candidate, ConnectionState, Event, MediaConfig, MediaDirection, MediaType, OutgoingPacket, Pt, Rtc,
    RtcConfig, TransceiverConfig, TransceiverId, crypto,
};
use sim::{HostId, Link, Loss, Sim, clock, seed_bytes};

/// Virtual time that the steps of a run may take together.
const MAX_TIME: Duration = Duration::from_secs(10);

#[derive(Debug, Arbitrary)]
struct Run {
    seed: u8,
    codec: u8,
    steps: Vec<Step>,
}

#[derive(Debug, Arbitrary)]
enum Step {
    /// A packet whose number lies so far behind the one expected.
    Send {
        behind: u8,
        timestamp: u8,
        marker: bool,
        payload: Vec<u8>,
        dependency: Option<Vec<u8>>,
    },
    Wait {
        milliseconds: u8,
    },
    Want {
        layer: Option<(u8, u8, u8)>,
    },
    Link {
        side: u8,
        loss: u8,
        jitter: u8,
        reorder: u8,
        duplicate: u8,
        corrupt: u8,
    },
    Inject {
        side: u8,
        bytes: Vec<u8>,
    },
    Restart,
}

fuzz_target!(|run: Run| {
    let mut world = World::new(&run);
    for step in run.steps {
        world.step(step);
        world.forward();
    }
    world.wait(Duration::from_secs(1));
    world.forward();
    world.check();
});

struct World {
    sim: Sim<Rtc>,
    /// The sender, the forwarder towards it, the forwarder towards the viewer, the viewer.
    hosts: [HostId; 4],
    ids: [TransceiverId; 2],
    pts: [Pt; 2],
    codec: Codec,
    source: Source,
    viewer: Viewer,
    sequence: u64,
    timestamp: u32,
    longest: usize,
    waited: Duration,
    used: BTreeSet<u64>,
}

fn config() -> RtcConfig {
    static IDENTITY: OnceLock<Arc<crypto::cert::Identity>> = OnceLock::new();
    let identity = IDENTITY.get_or_init(|| Arc::new(sim::identity(crypto::rust(), 0)));
    let media = MediaConfig::browser();
    RtcConfig { crypto: crypto::rust(), identity: Some(identity.clone()), media, ..RtcConfig::default() }
}

impl World {
    fn new(run: &Run) -> World {
        let codecs = [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1];
        let codec = codecs[usize::from(run.codec) % codecs.len()];
        let mut sim = Sim::new(run.seed.into());
        sim.network.payload_limit = 1_500;
        let hosts = [1u8, 2, 3, 4].map(|n| {
            let rtc =
                Rtc::new(config(), seed_bytes(run.seed.into(), n.into()), clock()).expect("it is valid");
            let host = sim.add_host(rtc, &format!("10.0.0.{n}"));
            sim.network.up(host).clone_from(&Link::with_delay(Duration::from_millis(5)));
            let candidate = Candidate::host((sim.network.ip(host), 5000).into()).expect("a host address");
            sim.with(host, |rtc, _| rtc.add_local_candidate(candidate)).expect("it is new");
            host
        });
        let ids = [hosts[0], hosts[2]].map(|host| {
            let config = TransceiverConfig::default();
            sim.with(host, |rtc, _| rtc.add_transceiver(MediaType::Video, MediaDirection::SendOnly, config))
                .expect("a transceiver")
        });
        for [a, b] in [[hosts[0], hosts[1]], [hosts[2], hosts[3]]] {
            let offer = sim.with(a, |rtc, _| rtc.create_offer()).expect("an offer");
            let answer = sim.with(b, |rtc, _| rtc.accept_offer(&offer)).expect("an answer");
            sim.with(a, |rtc, _| rtc.accept_answer(&answer)).expect("it fits");
        }
        sim.must("all are connected", Duration::from_secs(30), |sim| {
            hosts.iter().all(|host| sim.peer(*host).state() == ConnectionState::Connected)
        });
        let pts = [(hosts[0], ids[0]), (hosts[2], ids[1])].map(|(host, id)| {
            let formats = sim.peer(host).transceiver(id).expect("it is there").formats;
            formats.iter().find(|format| format.codec.name() == codec.name()).expect("it was agreed").send
        });
        let mut viewer = Viewer::new(90_000, Start { sequence: 100, ..Start::default() });
        viewer.set_wanted(Some(Layer::all_of(0)));
        World {
            sim,
            hosts,
            ids,
            pts,
            codec,
            source: Source::new(codec),
            viewer,
            sequence: 1_000,
            timestamp: 0,
            longest: 0,
            waited: Duration::ZERO,
            used: BTreeSet::new(),
        }
    }

    fn step(&mut self, step: Step) {
        let share = |part: u8| f64::from(part & 127) / 256.0;
        match step {
            Step::Send { behind, timestamp, marker, payload, dependency } => {
                let payload = &payload[..payload.len().min(1_000)];
                let sequence = self.sequence.saturating_sub(u64::from(behind & 7));
                self.sequence = self.sequence.max(sequence + 1);
                self.timestamp = self.timestamp.wrapping_add(u32::from(timestamp) * 900);
                let data = dependency.unwrap_or_default();
                let element = [(Kind::DependencyDescriptor, &data[..data.len().min(100)])];
                let packet = OutgoingPacket {
                    marker,
                    extensions: if data.is_empty() { &[] } else { &element },
                    ..OutgoingPacket::new(self.pts[0], sequence, self.timestamp, payload)
                };
                let id = self.ids[0];
                // A number that was used before, or too much at once, is an error or nothing at all.
                let _ = self.sim.with(self.hosts[0], |rtc, _| rtc.send_packet(id, None, &packet));
            }
            Step::Wait { milliseconds } => self.wait(Duration::from_millis(milliseconds.into())),
            Step::Want { layer } => {
                self.viewer.set_wanted(layer.map(|(encoding, spatial, temporal)| Layer {
                    encoding: encoding % 4,
                    spatial,
                    temporal,
                }))
            }
            Step::Link { side, loss, jitter, reorder, duplicate, corrupt } => {
                let host = self.hosts[usize::from(side % 4)];
                let link = self.sim.network.up(host);
                link.loss = Loss::Independent(share(loss));
                link.jitter = Duration::from_millis(jitter.into());
                (link.reorder, link.reorder_by) = (share(reorder), Duration::from_millis(20));
                (link.duplicate, link.corrupt) = (share(duplicate), share(corrupt));
            }
            Step::Inject { side, bytes } => {
                let [from, to] = [[0, 1], [1, 0], [2, 3], [3, 2]][usize::from(side % 4)];
                let address = |at: usize| (self.sim.network.ip(self.hosts[at]), 5000).into();
                let (source, destination) = (address(from), address(to));
                self.sim.network.inject(source, destination, &bytes);
            }
            Step::Restart => {
                self.source.handle_restart(0);
                self.viewer.handle_restart(0);
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        let time = time.min(MAX_TIME.saturating_sub(self.waited)).max(Duration::from_millis(1));
        self.waited += time;
        self.sim.run_for(time);
    }

    fn forward(&mut self) {
        let World { sim, hosts, source, viewer, ids, pts, used, longest, .. } = self;
        while let Some((_, event)) = sim.event(hosts[1]) {
            let Event::Packet(packet) = event else { continue };
            *longest = packet.bytes().len().max(*longest);
            let Some(incoming) = source.read(packet.arrived(0)).ok() else { continue };
            let (host, id, pt) = (hosts[2], ids[1], pts[1]);
            match viewer.handle_packet(&incoming) {
                Verdict::Drop => {}
                Verdict::Forward(rewrite) => {
                    assert!(used.insert(rewrite.sequence), "a number was used twice");
                    let _ = sim.with(host, |rtc, now| rtc.forward(now, id, None, pt, &packet, &rewrite));
                }
                Verdict::Fill { sequence, timestamp } => {
                    assert!(used.insert(sequence), "a number was used twice");
                    let empty = OutgoingPacket::new(pt, sequence, timestamp, &[]);
                    let _ = sim.with(host, |rtc, _| rtc.send_packet(id, None, &empty));
                }
            }
        }
    }

    /// What the viewer got: any packet once, none longer than it came, and nothing that its depacketizer chokes on.
    fn check(&mut self) {
        let mut depacketizer = Depacketizer::new(self.codec, DEFAULT_MAX_FRAME);
        let mut seen = BTreeSet::new();
        while let Some((_, event)) = self.sim.event(self.hosts[3]) {
            let Event::Packet(packet) = event else { continue };
            assert!(seen.insert((packet.receiver, packet.sequence)), "a packet came twice");
            // Names and numbers that the transport fills in, and the mask of a dependency descriptor.
            assert!(packet.bytes().len() <= self.longest + 60, "a packet grew");
            let received = Received {
                sequence: packet.sequence,
                timestamp: packet.timestamp as u32,
                marker: packet.marker,
                payload: packet.payload(),
            };
            depacketizer.handle_packet(received).count();
        }
    }
}
