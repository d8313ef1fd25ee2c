//! A sender, a forwarder and its viewers; what the viewers got, and whether it makes sense.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::encoder::{Name, Packet, Record};
use super::*;
use crate::payload::{Codec, Depacketizer, Outcome, Received, vp8, vp9};
use crate::rtp::ext::dependency::{Descriptor, Structure};
use crate::rtp::ntp::NtpTime;
use crate::wire::reader::Reader;

/// What happens to packets between the sender and the forwarder, each in percent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Network {
    pub(super) lost: u32,
    /// Of the lost ones, those that are sent again and come half a second later.
    pub(super) resent: u32,
    pub(super) reordered: u32,
    pub(super) doubled: u32,
}

/// A packet as a viewer got it.
#[derive(Debug, Clone)]
pub(super) struct Got {
    /// `None` for a filler.
    pub(super) name: Option<Name>,
    timestamp: u32,
    marker: bool,
    payload: Vec<u8>,
    dependency: Option<Vec<u8>>,
}

/// A viewer and what it got.
pub(super) struct Seen {
    pub(super) viewer: Viewer,
    pub(super) got: BTreeMap<u64, Got>,
    /// What is wanted from each tick on.
    pub(super) wishes: Vec<(u64, Option<Layer>)>,
}

/// One track from the sender to its viewers.
pub(super) struct Flow {
    kind: Kind,
    network: Network,
    random: u64,
    start: Instant,
    encoders: Vec<Encoder>,
    source: Source,
    pub(super) viewers: Vec<Seen>,
    tick: u64,
    /// Packets on their way, by the tick when they arrive.
    wire: BTreeMap<(u64, u64), Packet>,
    sent: u64,
    keys_due: BTreeSet<(u64, u8)>,
    /// Pictures that never came whole.
    damaged: BTreeSet<(u8, u32)>,
}

/// Milliseconds from picture to picture.
const TICK: u64 = 33;

impl Flow {
    pub(super) fn new(kind: Kind, encodings: u8, seed: u32, network: Network) -> Self {
        Flow {
            kind,
            network,
            random: u64::from(seed) << 20 | 0x5deece66d,
            start: crate::time::some_instant(),
            encoders: (0..encodings).map(|encoding| Encoder::new(kind, encoding, seed)).collect(),
            source: Source::new(kind.codec()),
            viewers: Vec::new(),
            tick: 0,
            wire: BTreeMap::new(),
            sent: 0,
            keys_due: BTreeSet::new(),
            damaged: BTreeSet::new(),
        }
    }

    fn percent(&mut self, chance: u32) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % 100 < u64::from(chance)
    }

    pub(super) fn add_viewer(&mut self, wishes: Vec<(u64, Option<Layer>)>) {
        let n = self.viewers.len() as u16;
        let start = Start {
            sequence: 65_530 + u64::from(n),
            timestamp: u32::MAX - 10_000,
            picture: 0x7ff0 + n,
            tl0: 250,
            frame: 0xfff0 + n,
        };
        let viewer = Viewer::new(self.encoders[0].rate(), start);
        self.viewers.push(Seen { viewer, got: BTreeMap::new(), wishes });
    }

    /// Runs for `ticks` pictures.
    pub(super) fn run(&mut self, ticks: u64) {
        for _ in 0..ticks {
            for seen in &mut self.viewers {
                for (at, wish) in &seen.wishes {
                    if *at == self.tick {
                        seen.viewer.set_wanted(*wish);
                    }
                }
            }
            self.encode();
            let later = self.wire.split_off(&(self.tick + 1, 0));
            for packet in std::mem::replace(&mut self.wire, later).into_values() {
                self.forward(&packet);
            }
            for seen in &self.viewers {
                if let Some(encoding) = seen.viewer.key_frame_needed()
                    && self.tick.is_multiple_of(5)
                {
                    self.keys_due.insert((self.tick + 3, encoding));
                }
            }
            self.tick += 1;
        }
    }

    /// The sender starts anew: other numbers, another SSRC.
    pub(super) fn restart(&mut self, seed: u32) {
        self.wire.clear();
        self.encoders = vec![Encoder::new(self.kind, 0, seed)];
        self.source.handle_restart(0);
        self.viewers.iter_mut().for_each(|seen| seen.viewer.handle_restart(0));
    }

    fn encode(&mut self) {
        let millis = self.tick * TICK;
        for at in 0..self.encoders.len() {
            let key = self.keys_due.remove(&(self.tick, at as u8));
            let packets = self.encoders[at].encode(millis, key);
            if self.tick.is_multiple_of(100) {
                let ntp = NtpTime::from_unix(std::time::Duration::from_millis(1_700_000_000_000 + millis));
                self.source.handle_report(at as u8, ntp, packets[0].timestamp);
            }
            for packet in packets {
                self.send(packet);
            }
        }
    }

    fn send(&mut self, packet: Packet) {
        self.sent += 1;
        let delay = match self.percent(self.network.lost) {
            true if self.percent(self.network.resent) => Some(15),
            true => None,
            false => Some(u64::from(self.percent(self.network.reordered))),
        };
        // Packets of a tick may also change places among themselves.
        let order = self.sent * 4 + if self.percent(self.network.reordered) { 14 } else { 0 };
        let Some(delay) = delay else {
            self.damaged.insert((packet.name.encoding, packet.name.picture));
            return;
        };
        if self.percent(self.network.doubled) {
            self.wire.insert((self.tick + delay + 2, order + 1), packet.clone());
        }
        self.wire.insert((self.tick + delay, order), packet);
    }

    fn forward(&mut self, packet: &Packet) {
        let arrived = Arrived {
            encoding: packet.name.encoding,
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            marker: packet.marker,
            payload: &packet.payload,
            dependency: packet.dependency.as_deref(),
            received: self.start + Duration::from_millis(self.tick * TICK),
        };
        let Ok(incoming) = self.source.read(arrived) else {
            // Its structure was lost.
            self.damaged.insert((packet.name.encoding, packet.name.picture));
            return;
        };
        for seen in &mut self.viewers {
            let (sequence, got) = match seen.viewer.handle_packet(&incoming) {
                Verdict::Drop => continue,
                Verdict::Fill { sequence, timestamp } => {
                    let (payload, dependency) = (Vec::new(), None);
                    (sequence, Got { name: None, timestamp, marker: false, payload, dependency })
                }
                Verdict::Forward(rewrite) => {
                    let mut payload = packet.payload.clone();
                    rewrite.numbers.apply(&mut payload);
                    let got = Got {
                        name: Some(packet.name),
                        timestamp: rewrite.timestamp,
                        marker: rewrite.marker,
                        payload,
                        dependency: rewrite.dependency.map(<[u8]>::to_vec),
                    };
                    (rewrite.sequence, got)
                }
            };
            assert!(seen.got.insert(sequence, got).is_none(), "number {sequence} was used twice");
        }
    }

    /// Counts what is still on its way as lost.
    pub(super) fn end(&mut self) {
        let left = std::mem::take(&mut self.wire).into_values();
        self.damaged.extend(left.map(|packet| (packet.name.encoding, packet.name.picture)));
    }

    /// Checks all that each viewer got; says which records each decoded, with their time stamps.
    pub(super) fn check(&self) -> Vec<Vec<(u32, Record)>> {
        self.viewers.iter().map(|seen| self.check_viewer(seen)).collect()
    }

    fn check_viewer(&self, seen: &Seen) -> Vec<(u32, Record)> {
        let lossless = self.network.lost == 0 && self.network.reordered == 0;
        let mut depacketizer = Depacketizer::new(self.kind.codec(), 1 << 20);
        let mut decoded = Vec::new();
        let mut last = None;
        for (sequence, got) in &seen.got {
            if lossless {
                assert!(last.is_none_or(|last| last + 1 == *sequence), "a hole before {sequence}");
            }
            last = Some(*sequence);
            let packet = Received {
                sequence: *sequence,
                timestamp: got.timestamp,
                marker: got.marker,
                payload: &got.payload,
            };
            for outcome in depacketizer.handle_packet(packet) {
                match outcome {
                    Outcome::Frame(frame) => {
                        let records = Record::parse_all(&frame.data);
                        assert!(!records.is_empty());
                        decoded.extend(records.into_iter().map(|record| (frame.timestamp, record)));
                    }
                    Outcome::Dropped { timestamp, reason } => {
                        assert!(!lossless, "{timestamp} was dropped: {reason:?}");
                    }
                }
            }
        }
        self.check_references(&decoded);
        self.check_times(&decoded);
        match self.kind.codec() {
            Codec::Vp8 => check_vp8(seen, lossless),
            Codec::Vp9 => self.check_vp9(seen, &decoded),
            Codec::Av1 => self.check_av1(seen, &decoded),
            _ => {}
        }
        decoded
    }

    /// Every frame that is referred to was decoded, unless the network took it.
    fn check_references(&self, decoded: &[(u32, Record)]) {
        let mut present = BTreeSet::new();
        let mut excused: BTreeSet<Name> = BTreeSet::new();
        for (_, record) in decoded {
            let mut whole = true;
            for name in &record.references {
                let lost = self.is_damaged(*name) || excused.contains(name);
                assert!(present.contains(name) || lost, "{record:?} refers to {name:?}, which is not there");
                whole &= present.contains(name);
            }
            if whole {
                present.insert(record.name);
            } else {
                excused.insert(record.name);
            }
        }
    }

    fn is_damaged(&self, name: Name) -> bool {
        let is = |picture: u32| self.damaged.contains(&(name.encoding, picture));
        // Without its lower layer, a payload does not tell that a frame starts: a hole before it, at the end of
        // the picture that was forwarded before, takes it along.
        let key_only = matches!(self.kind, Kind::Av1 { key_only: true, .. });
        let before = name.picture.saturating_sub(2)..name.picture;
        is(name.picture) || (key_only && before.into_iter().any(is))
    }

    /// Time stamps follow the pictures: they grow, and by as much as the time between them.
    fn check_times(&self, decoded: &[(u32, Record)]) {
        for pair in decoded.windows(2) {
            let [(before, a), (after, b)] = pair else { continue };
            let step = after.wrapping_sub(*before).cast_signed();
            let apart = i64::from(b.name.picture) - i64::from(a.name.picture);
            if a.name.encoding == b.name.encoding {
                assert_eq!(step == 0, apart == 0, "{a:?} {b:?}");
            }
            // A millisecond or so is lost in rounding; a change of encodings may not go back.
            let expected = apart * i64::try_from(TICK).unwrap() * i64::from(self.encoders[0].rate()) / 1000;
            let wrong = (i64::from(step) - expected).abs();
            assert!(step >= 0 && wrong <= i64::from(self.encoders[0].rate()) / 10, "{step} for {expected}");
        }
    }

    /// Picture numbers grow, and references lead to the numbers of what is referred to.
    fn check_vp9(&self, seen: &Seen, decoded: &[(u32, Record)]) {
        let mut numbers: BTreeMap<(u8, u32), u16> = BTreeMap::new();
        let mut last: Option<(Name, u16)> = None;
        for got in seen.got.values() {
            let Some(name) = got.name else { continue };
            let descriptor = vp9::Descriptor::read(&mut Reader::new(&got.payload, "VP9 payload")).unwrap();
            let number = descriptor.picture_id.unwrap().number;
            if let Some((before, number_before)) = last {
                let step = number.wrapping_sub(number_before) & 0x7fff;
                let same = before.encoding == name.encoding;
                let is_key = !descriptor.inter_predicted;
                if same && !is_key && before.picture <= name.picture {
                    assert_eq!(u32::from(step), name.picture - before.picture, "{before:?} {name:?}");
                } else if before.picture != name.picture || !same {
                    assert!((1..200).contains(&step), "{before:?} {name:?}: {step}");
                }
            }
            last = Some((name, number));
            numbers.insert((name.encoding, name.picture), number);
            let record = decoded.iter().find(|(_, record)| record.name == name);
            let Some((_, record)) = record.filter(|_| descriptor.flexible) else { continue };
            let earlier = record.references.iter().filter(|other| other.picture != name.picture);
            for (distance, other) in descriptor.references.iter().zip(earlier) {
                if let Some(theirs) = numbers.get(&(other.encoding, other.picture)) {
                    assert_eq!(number.wrapping_sub(u16::from(*distance)) & 0x7fff, *theirs);
                }
            }
        }
    }

    /// Frame numbers grow, references lead to the numbers of what is referred to, and the active targets are
    /// those that the viewer gets.
    fn check_av1(&self, seen: &Seen, decoded: &[(u32, Record)]) {
        let mut structure: Option<Structure> = None;
        let mut numbers: BTreeMap<Name, u16> = BTreeMap::new();
        let mut last: Option<(Name, u16)> = None;
        for got in seen.got.values() {
            let Some(name) = got.name else { continue };
            let data = got.dependency.as_deref().expect("AV1 comes with descriptors");
            let Ok(descriptor) = Descriptor::parse(data, structure.as_ref()) else {
                assert!(self.network.lost > 0, "{name:?} cannot be read");
                continue;
            };
            let frame = descriptor.frame(structure.as_ref()).unwrap();
            structure = descriptor.structure.clone().or(structure);
            if let Some((before, number_before)) = last.filter(|(before, _)| *before != name) {
                let step = frame.number.wrapping_sub(number_before);
                assert!((1..2000).contains(&step), "{before:?} {name:?}: {step}");
            }
            last = Some((name, frame.number));
            let known = numbers.insert(name, frame.number);
            assert!(known.is_none_or(|known| known == frame.number));
            if let Some((_, record)) = decoded.iter().find(|(_, record)| record.name == name) {
                for (distance, other) in frame.references.as_slice().iter().zip(&record.references) {
                    if let Some(theirs) = numbers.get(other) {
                        assert_eq!(frame.number.wrapping_sub(*distance), *theirs);
                    }
                }
            }
        }
    }
}

/// Picture numbers have no holes but those of what was lost; base layer numbers count base layer pictures.
fn check_vp8(seen: &Seen, lossless: bool) {
    let mut last: Option<(Name, vp8::Descriptor)> = None;
    let mut used: BTreeMap<u16, Name> = BTreeMap::new();
    for got in seen.got.values() {
        let Some(name) = got.name else { continue };
        let descriptor = vp8::Descriptor::read(&mut Reader::new(&got.payload, "VP8 payload")).unwrap();
        let number = descriptor.picture_id.unwrap().number;
        let owner = *used.entry(number).or_insert(name);
        assert_eq!(owner, name, "number {number} names two pictures");
        if let Some((before, its)) = last.filter(|(before, _)| *before != name) {
            let step = number.wrapping_sub(its.picture_id.unwrap().number) & 0x7fff;
            if lossless {
                assert_eq!(step, 1, "{before:?} {name:?}");
                if let (Some(a), Some(b)) = (its.tl0, descriptor.tl0) {
                    let is_base = descriptor.temporal.is_some_and(|(layer, _)| layer == 0);
                    assert_eq!(b.wrapping_sub(a), u8::from(is_base), "{before:?} {name:?}");
                }
            } else {
                assert!((1..200).contains(&step), "{before:?} {name:?}: {step}");
            }
        }
        last = Some((name, descriptor));
    }
}
