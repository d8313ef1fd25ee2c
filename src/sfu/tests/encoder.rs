//! An encoder whose frames say what they are and what they refer to.

use bytes::BytesMut;

use crate::payload::{Codec, FrameInfo, Packetizer, PictureId, vp9};
use crate::rtp::ext::dependency::{
    Descriptor, Indication, Indications, List, References, Structure, Target, Template,
};
use crate::wire::leb128;
use crate::wire::writer::Writer;

/// What is encoded, and how it is layered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Opus,
    H264,
    Vp8 {
        temporal: u8,
    },
    Vp9 {
        flexible: bool,
        temporal: u8,
        spatial: u8,
    },
    /// `key_only`: spatial layers refer to each other in key pictures only (`L2T2_KEY` and its like).
    Av1 {
        temporal: u8,
        spatial: u8,
        key_only: bool,
    },
}

impl Kind {
    pub(super) fn codec(self) -> Codec {
        match self {
            Kind::Opus => Codec::Opus,
            Kind::H264 => Codec::H264,
            Kind::Vp8 { .. } => Codec::Vp8,
            Kind::Vp9 { .. } => Codec::Vp9,
            Kind::Av1 { .. } => Codec::Av1,
        }
    }

    pub(super) fn temporal(self) -> u8 {
        match self {
            Kind::Opus | Kind::H264 => 1,
            Kind::Vp8 { temporal } | Kind::Vp9 { temporal, .. } | Kind::Av1 { temporal, .. } => temporal,
        }
    }

    pub(super) fn spatial(self) -> u8 {
        match self {
            Kind::Vp9 { spatial, .. } | Kind::Av1 { spatial, .. } => spatial,
            _ => 1,
        }
    }
}

/// A frame of one layer, as it is named in the frames that refer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name {
    pub(super) encoding: u8,
    pub(super) picture: u32,
    pub(super) spatial: u8,
}

/// What a frame says in its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) name: Name,
    pub(super) temporal: u8,
    pub(super) references: Vec<Name>,
}

const FILLER: u8 = 0x77;

impl Record {
    /// Bytes without zeros, of about `size` bytes.
    fn bytes(&self, size: usize) -> Vec<u8> {
        let number = |n: u32| (0..5).map(move |at| 0x80 | (n >> (7 * (4 - at)) & 0x7f) as u8);
        let mut body = vec![0x80 | self.name.encoding, 0x80 | self.name.spatial, 0x80 | self.temporal];
        body.extend(number(self.name.picture));
        body.push(0x80 | self.references.len() as u8);
        for name in &self.references {
            body.push(0x80 | name.spatial);
            body.extend(number(name.picture));
        }
        let mut bytes = vec![0xa5, 0x5a];
        bytes.extend(number(size as u32));
        bytes.extend(body);
        bytes.resize(bytes.len() + size, FILLER);
        bytes
    }

    /// The records in a frame; panics when one is not whole.
    pub(super) fn parse_all(mut frame: &[u8]) -> Vec<Record> {
        let mut records = Vec::new();
        while let Some(at) = frame.windows(2).position(|pair| pair == [0xa5, 0x5a]) {
            frame = &frame[at + 2..];
            let mut next = || {
                let (first, rest) = frame.split_first().expect("the record is whole");
                frame = rest;
                first & 0x7f
            };
            fn number(next: &mut impl FnMut() -> u8) -> u32 {
                (0..5).fold(0, |n, _| n << 7 | u32::from(next()))
            }
            let size = number(&mut next) as usize;
            let (encoding, spatial, temporal) = (next(), next(), next());
            let picture = number(&mut next);
            let references =
                (0..next()).map(|_| Name { encoding, spatial: next(), picture: number(&mut next) }).collect();
            assert!(frame.len() >= size && frame[..size].iter().all(|b| *b == FILLER), "the record is whole");
            frame = &frame[size..];
            records.push(Record { name: Name { encoding, picture, spatial }, temporal, references });
        }
        records
    }
}

/// A packet as it leaves the sender.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    pub(super) name: Name,
    pub(super) sequence: u64,
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    pub(super) payload: Vec<u8>,
    pub(super) dependency: Option<Vec<u8>>,
}

/// One encoding of a track.
pub(super) struct Encoder {
    kind: Kind,
    encoding: u8,
    packetizer: Packetizer,
    structure: Structure,
    picture: u32,
    first_picture_id: u16,
    tl0: u8,
    cycle: u32,
    /// The place in the pattern of temporal layers.
    place: usize,
    /// The last picture of each temporal layer.
    last: [Option<u32>; 3],
    last_of_first_half: Option<u32>,
    frame_number: u16,
    numbers: std::collections::BTreeMap<Name, u16>,
    sequence: u64,
    clock: u32,
    packet_size: usize,
}

impl Encoder {
    pub(super) fn new(kind: Kind, encoding: u8, seed: u32) -> Self {
        let mix = seed.wrapping_add(u32::from(encoding)).wrapping_mul(0x9e37_79b9);
        let first_picture_id = (mix >> 3) as u16 & 0x7fff | 0x7f00;
        Encoder {
            kind,
            encoding,
            packetizer: Packetizer::new(kind.codec(), first_picture_id),
            structure: structure(kind, encoding),
            picture: 0,
            first_picture_id,
            tl0: mix as u8,
            cycle: 0,
            place: 0,
            last: [None; 3],
            last_of_first_half: None,
            frame_number: (mix >> 5) as u16 | 0xff00,
            numbers: Default::default(),
            sequence: 65_536 + u64::from(mix as u16 | 0xff00),
            clock: mix,
            packet_size: 60 + 30 * usize::from(encoding),
        }
    }

    pub(super) fn rate(&self) -> u32 {
        if self.kind == Kind::Opus { 48_000 } else { 90_000 }
    }

    /// The packets of the picture that is captured at `millis`.
    pub(super) fn encode(&mut self, millis: u64, key: bool) -> Vec<Packet> {
        let key = key || self.picture == 0;
        let timestamp = self.clock.wrapping_add((millis * u64::from(self.rate()) / 1000) as u32);
        if key {
            (self.place, self.cycle, self.last, self.last_of_first_half) = (0, 0, [None; 3], None);
        }
        let pattern: &[u8] = match self.kind.temporal() {
            1 => &[0],
            2 => &[0, 1],
            _ => &[0, 2, 1, 2],
        };
        let temporal = pattern[self.place];
        // Every fourth cycle starts afresh above the base layer.
        let sync = self.cycle.is_multiple_of(4);
        let first_half = self.place < 2;
        let mut earlier: Vec<Option<u32>> = match (temporal, first_half) {
            (0, _) => vec![self.last[0]],
            (1, _) => vec![self.last[0], self.last[1].filter(|_| !sync)],
            (_, true) => vec![self.last[0], self.last[2].filter(|_| !sync)],
            (_, false) => vec![self.last[1], self.last_of_first_half],
        };
        if key || self.kind == Kind::Opus {
            earlier.clear();
        }
        let earlier: Vec<u32> = earlier.into_iter().flatten().collect();
        // A picture of the second half leans on one of its own layer.
        let switching = sync && (temporal < 2 || first_half);
        let mut packets = Vec::new();
        for spatial in 0..self.kind.spatial() {
            let name = Name { encoding: self.encoding, picture: self.picture, spatial };
            let mut references: Vec<_> =
                earlier.iter().map(|picture| Name { picture: *picture, ..name }).collect();
            let linked = match self.kind {
                Kind::Av1 { key_only, .. } => key || !key_only,
                _ => true,
            };
            if spatial > 0 && linked {
                references.push(Name { spatial: spatial - 1, ..name });
            }
            let record = Record { name, temporal, references };
            let top = spatial + 1 == self.kind.spatial();
            let size = [130, 10, 60, 250][self.picture as usize % 4] * (1 + usize::from(key));
            self.cut(&record, size, key, switching, top, timestamp, &mut packets);
        }
        if temporal == 2 && first_half {
            self.last_of_first_half = Some(self.picture);
        }
        self.last[usize::from(temporal)] = Some(self.picture);
        self.place = (self.place + 1) % pattern.len();
        self.cycle += u32::from(self.place == 0);
        self.picture += 1;
        packets
    }

    #[allow(clippy::too_many_arguments)]
    fn cut(
        &mut self,
        record: &Record,
        size: usize,
        key: bool,
        switching: bool,
        top: bool,
        timestamp: u32,
        packets: &mut Vec<Packet>,
    ) {
        let bytes = record.bytes(size);
        let max = self.packet_size;
        let payloads = match self.kind {
            Kind::Vp9 { .. } => self.vp9(record, &bytes, key, switching),
            kind => {
                let unit = |header: &[u8], body: &[u8]| [&[0, 0, 0, 1], header, body].concat();
                let frame = match kind {
                    Kind::Vp8 { .. } => [&[u8::from(!key)], &bytes[..]].concat(),
                    Kind::H264 if key => {
                        let slice = [&[0x88], &bytes[..]].concat();
                        [unit(&[0x67], b"sps"), unit(&[0x68], b"pps"), unit(&[0x65], &slice)].concat()
                    }
                    Kind::H264 => unit(&[0x41, 0x88], &bytes),
                    Kind::Av1 { .. } => obus(record, &bytes, key),
                    _ => bytes,
                };
                let info = FrameInfo {
                    key_frame: key,
                    temporal: (kind.temporal() > 1).then_some(record.temporal),
                    switching_point: switching,
                    discardable: false,
                };
                let max = if kind == Kind::Opus { 2000 } else { max };
                let mut all = Vec::new();
                let mut payloads = self.packetizer.start(&frame, max, info).unwrap();
                let mut out = BytesMut::new();
                while payloads.next_payload(&mut out).is_some() {
                    all.push(out.split().to_vec());
                }
                all
            }
        };
        let count = payloads.len();
        for (at, payload) in payloads.into_iter().enumerate() {
            let dependency = matches!(self.kind, Kind::Av1 { .. })
                .then(|| self.descriptor(record, key, switching, at == 0, at + 1 == count));
            packets.push(Packet {
                name: record.name,
                sequence: self.sequence,
                timestamp,
                marker: top && at + 1 == count,
                payload,
                dependency,
            });
            self.sequence += 1;
        }
        self.numbers.insert(record.name, self.frame_number);
        self.frame_number = self.frame_number.wrapping_add(1);
    }

    fn vp9(&mut self, record: &Record, bytes: &[u8], key: bool, switching: bool) -> Vec<Vec<u8>> {
        let Kind::Vp9 { flexible, .. } = self.kind else { unreachable!() };
        let (name, temporal) = (record.name, record.temporal);
        if temporal == 0 && name.spatial == 0 {
            self.tl0 = self.tl0.wrapping_add(1);
        }
        let number = self.first_picture_id.wrapping_add(name.picture as u16) & 0x7fff;
        let mut references = [0; 3];
        let earlier = record.references.iter().filter(|other| other.picture != name.picture);
        for (place, other) in references.iter_mut().zip(earlier) {
            *place = (name.picture - other.picture) as u8;
        }
        let structure = [(self.kind.spatial() - 1) << 5];
        let cut = bytes.chunks(self.packet_size - 12).collect::<Vec<_>>();
        let last = cut.len() - 1;
        let mut all = Vec::new();
        for (at, piece) in cut.into_iter().enumerate() {
            let descriptor = vp9::Descriptor {
                picture_id: Some(PictureId { number, long: true }),
                inter_predicted: !key,
                layer: Some(vp9::Layer {
                    temporal,
                    switching_up: switching,
                    spatial: name.spatial,
                    inter_layer: name.spatial > 0,
                }),
                tl0: (!flexible).then_some(self.tl0),
                flexible,
                references,
                start: at == 0,
                end: at == last,
                not_for_upper: name.spatial + 1 == self.kind.spatial(),
                structure: (key && name.spatial == 0 && at == 0).then_some(&structure),
            };
            let mut out = BytesMut::new();
            let mut w = Writer::new(&mut out);
            descriptor.emit(&mut w);
            w.slice(piece);
            all.push(out.to_vec());
        }
        all
    }

    fn descriptor(&self, record: &Record, key: bool, sync: bool, start: bool, end: bool) -> Vec<u8> {
        let Kind::Av1 { temporal, key_only, .. } = self.kind else { unreachable!() };
        let (name, layer) = (record.name, record.temporal);
        let id = usize::from(name.spatial * temporal + layer) as u8;
        let template = &self.structure.templates[usize::from(id)];
        let id = (id + self.structure.template_id_offset) & 0x3f;
        let mut descriptor = Descriptor::new(id, self.frame_number);
        (descriptor.start_of_frame, descriptor.end_of_frame) = (start, end);
        let indications = indications(&self.structure, key_only, name.spatial, layer, key, sync);
        descriptor.indications = Some(indications).filter(|own| *own != template.indications);
        let mut references = References::default();
        for other in &record.references {
            references.push(self.frame_number.wrapping_sub(self.numbers[other]));
        }
        descriptor.references = Some(references).filter(|own| *own != template.references);
        if key && start && name.spatial == 0 {
            descriptor.structure = Some(self.structure.clone());
        }
        let mut out = BytesMut::new();
        descriptor.emit(Some(&self.structure), &mut out).unwrap();
        out.to_vec()
    }
}

/// A temporal unit with one frame of one layer.
fn obus(record: &Record, bytes: &[u8], key: bool) -> Vec<u8> {
    let mut out = BytesMut::new();
    let mut w = Writer::new(&mut out);
    if key && record.name.spatial == 0 {
        w.slice(&[1 << 3 | 2, 3, 7, 7, 7]);
    }
    w.u8(6 << 3 | 4 | 2);
    w.u8(record.temporal << 5 | record.name.spatial << 3);
    leb128::write(&mut w, bytes.len() as u32);
    w.slice(bytes);
    out.to_vec()
}

fn indications(
    structure: &Structure,
    key_only: bool,
    spatial: u8,
    temporal: u8,
    key: bool,
    sync: bool,
) -> Indications {
    let mut all = Indications::default();
    for (at, target) in structure.targets.iter().enumerate() {
        let part = temporal <= target.temporal
            && if key || !key_only { spatial <= target.spatial } else { spatial == target.spatial };
        let switch = key || (spatial == target.spatial && (temporal == target.temporal || temporal == 0));
        all.set(
            at,
            match part {
                false => Indication::NotPresent,
                true if switch && (sync || (temporal, target.temporal) == (0, 0)) => Indication::Switch,
                true => Indication::Required,
            },
        );
    }
    all
}

fn structure(kind: Kind, encoding: u8) -> Structure {
    let Kind::Av1 { temporal, spatial, key_only } = kind else {
        let template = Template::default();
        return Structure {
            template_id_offset: 0,
            chains: 0,
            targets: vec![Target { spatial: 0, temporal: 0, chain: None }],
            templates: vec![template],
            resolutions: Vec::new(),
        };
    };
    let layers: Vec<_> = (0..spatial).flat_map(|s| (0..temporal).map(move |t| (s, t))).collect();
    let targets = layers.iter().map(|(spatial, temporal)| Target {
        spatial: *spatial,
        temporal: *temporal,
        chain: None,
    });
    let mut structure = Structure {
        template_id_offset: 60 + encoding,
        chains: 0,
        targets: targets.collect(),
        templates: Vec::new(),
        resolutions: Vec::new(),
    };
    for (spatial, temporal) in layers {
        structure.templates.push(Template {
            spatial,
            temporal,
            indications: indications(&structure, key_only, spatial, temporal, false, false),
            references: List::from_slice(&[1]).unwrap(),
            chains: List::default(),
        });
    }
    structure
}
