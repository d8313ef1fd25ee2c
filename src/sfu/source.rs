//! A track of a sender: its packets are read once, for all viewers.

use std::time::Instant;

use crate::payload::{Codec, PictureId, vp9};
use crate::rtp::ext::dependency::{Descriptor, Frame, Structure};
use crate::rtp::ntp::NtpTime;
use crate::wire::Malformed;
use crate::wire::reader::Reader;

use super::timeline::{Moment, Report};
use super::{Layer, MAX_ENCODINGS};

/// A packet as it came; [`RtpPacket::arrived`](crate::RtpPacket::arrived) gives it.
#[derive(Debug, Clone, Copy)]
pub struct Arrived<'a> {
    /// Which encoding it belongs to: the place of its rid in the sender's list, 0 being the lowest.
    pub encoding: u8,
    /// The sequence number without wraps.
    pub sequence: u64,
    /// The time stamp.
    pub timestamp: u32,
    /// The marker bit.
    pub marker: bool,
    /// The payload without padding.
    pub payload: &'a [u8],
    /// The data of its dependency descriptor element, if it has one.
    pub dependency: Option<&'a [u8]>,
    /// When it arrived.
    pub received: Instant,
}

/// A packet that cannot be forwarded: to the viewers it is as if it was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// Its payload or its dependency descriptor makes no sense.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Its dependency descriptor leans on a structure that was not seen: ask for a key frame.
    #[error("the dependency structure is not known")]
    StructureMissing,
    /// The encoding is not below [`MAX_ENCODINGS`].
    #[error("there are not so many encodings")]
    NoSuchEncoding,
}

/// One track of a sender.
#[derive(Debug)]
pub struct Source {
    codec: Codec,
    encodings: [Encoding; MAX_ENCODINGS],
}

/// What is known of one encoding.
#[derive(Debug, Default)]
struct Encoding {
    /// The highest sequence number.
    highest: Option<u64>,
    report: Option<Report>,
    /// The dependency structure in force, and the one before it.
    current: Option<Known>,
    previous: Option<Known>,
}

/// A dependency structure, from the packet on that brought it.
#[derive(Debug)]
struct Known {
    structure: Structure,
    since: u64,
    /// Which decode targets the sender produces.
    active: u32,
    /// Differs between the structures of an encoding.
    epoch: u32,
}

impl Source {
    /// A track of `codec`.
    pub fn new(codec: Codec) -> Self {
        Source { codec, encodings: Default::default() }
    }

    /// The codec.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Takes the times of a sender report (RFC 3550 §6.4.1): time stamps stay true when viewers change the
    /// encoding.
    pub fn handle_report(&mut self, encoding: u8, ntp: NtpTime, timestamp: u32) {
        if let Some(encoding) = self.encodings.get_mut(usize::from(encoding)) {
            encoding.report = Some(Report { ntp, timestamp });
        }
    }

    /// Forgets an encoding: its SSRC was changed, so that its numbers start anew.
    ///
    /// Viewers of it need to be told: [`Viewer::handle_restart`](super::Viewer::handle_restart).
    pub fn handle_restart(&mut self, encoding: u8) {
        if let Some(encoding) = self.encodings.get_mut(usize::from(encoding)) {
            *encoding = Encoding::default();
        }
    }

    /// Reads what a packet says of itself. Linear in its head; allocates only for the structure of a key frame.
    ///
    /// # Errors
    /// The packet cannot be forwarded: see [`Unreadable`].
    pub fn read<'a>(&'a mut self, packet: Arrived<'a>) -> Result<Incoming<'a>, Unreadable> {
        let codec = self.codec;
        let encoding =
            self.encodings.get_mut(usize::from(packet.encoding)).ok_or(Unreadable::NoSuchEncoding)?;
        // What cannot be read was there all the same: a key frame that it belongs to is not whole.
        let reordered = encoding.highest.is_some_and(|highest| packet.sequence <= highest);
        encoding.highest = encoding.highest.max(Some(packet.sequence));
        let (shape, graph) = match packet.dependency {
            // A probe: it belongs to no frame.
            _ if packet.payload.is_empty() => (Shape::default(), None),
            Some(data) if codec == Codec::Av1 => {
                let read = encoding.read_dependency(data, packet.sequence, reordered)?;
                (Shape::of_graph(&read.descriptor, &read.frame), Some(read))
            }
            _ => (Shape::read(codec, packet.payload)?, None),
        };
        // From here on it is only looked at.
        let encoding = &*encoding;
        let graph = match graph {
            None => None,
            Some(Read { descriptor, frame, age }) => {
                let known = encoding.known(age).ok_or(Unreadable::StructureMissing)?;
                let Known { structure, active, epoch, .. } = known;
                Some(Graph { descriptor, frame, structure, active: *active, epoch: *epoch })
            }
        };
        Ok(Incoming { packet, codec, reordered, shape, graph, report: encoding.report })
    }
}

/// Which of the two structures that are kept.
#[derive(Debug, Clone, Copy)]
enum Age {
    Current,
    Previous,
}

/// A dependency descriptor as read, and the structure it leans on.
struct Read {
    descriptor: Descriptor,
    frame: Frame,
    age: Age,
}

impl Encoding {
    fn known(&self, age: Age) -> Option<&Known> {
        match age {
            Age::Current => self.current.as_ref(),
            Age::Previous => self.previous.as_ref(),
        }
    }

    /// Which structure was in force when packet `sequence` was sent.
    fn in_force(&self, sequence: u64) -> Option<Age> {
        let covers = |known: &Option<Known>| known.as_ref().is_some_and(|known| sequence >= known.since);
        match () {
            () if covers(&self.current) => Some(Age::Current),
            () if covers(&self.previous) => Some(Age::Previous),
            () => None,
        }
    }

    fn read_dependency(&mut self, data: &[u8], sequence: u64, reordered: bool) -> Result<Read, Unreadable> {
        let in_force = self.in_force(sequence);
        let before = in_force.and_then(|age| self.known(age)).map(|known| &known.structure);
        let descriptor = match Descriptor::parse(data, before) {
            Ok(descriptor) => descriptor,
            Err(_) if before.is_none() => return Err(Unreadable::StructureMissing),
            Err(malformed) => return Err(malformed.into()),
        };
        let frame = descriptor.frame(before).ok_or(Unreadable::StructureMissing)?;
        let age = match &descriptor.structure {
            Some(structure) => self.learn(structure, sequence),
            None => in_force,
        };
        let age = age.ok_or(Unreadable::StructureMissing)?;
        let known = match age {
            Age::Current => self.current.as_mut(),
            Age::Previous => None,
        };
        if let (Some(known), Some(mask)) = (known, descriptor.active_targets)
            && (!reordered || known.since == sequence)
        {
            known.active = mask;
        }
        Ok(Read { descriptor, frame, age })
    }

    /// Keeps a structure that packet `sequence` brought; says which of the two it is now.
    fn learn(&mut self, structure: &Structure, sequence: u64) -> Option<Age> {
        if let Some(Known { since, .. }) = self.current
            && sequence <= since
        {
            // An old one, again or late: it may still be needed for packets of its time.
            return self.in_force(sequence);
        }
        let epoch = self.current.as_ref().map_or(0, |known| known.epoch.wrapping_add(1));
        let active = structure.all_targets();
        let new = Known { structure: structure.clone(), since: sequence, active, epoch };
        self.previous = self.current.replace(new);
        Some(Age::Current)
    }
}

/// What a packet says of its frame, in the same words for all codecs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shape {
    /// A frame of a layer surely starts here.
    pub(super) starts: bool,
    /// A frame of a layer surely ends here.
    pub(super) ends: bool,
    /// It starts a picture that needs no other.
    pub(super) key: bool,
    pub(super) spatial: u8,
    /// `None` when the codec does not tell.
    pub(super) temporal: Option<u8>,
    /// One may go up to this temporal layer here.
    pub(super) switching: bool,
    pub(super) picture: Option<PictureId>,
    pub(super) tl0: Option<u8>,
    /// Distances to the pictures referred to, where the payload tells: VP9 in flexible mode.
    pub(super) references: Option<[u8; 3]>,
}

impl Shape {
    fn read(codec: Codec, payload: &[u8]) -> Result<Shape, Malformed> {
        if codec == Codec::Vp9 {
            return Shape::read_vp9(payload);
        }
        let info = codec.describe(payload)?;
        Ok(Shape {
            starts: info.starts_frame,
            ends: info.ends_frame,
            key: info.starts_frame && info.key_frame,
            // AV1 without descriptors and H.265 are forwarded with all of their spatial layers.
            spatial: 0,
            temporal: info.temporal.filter(|_| codec != Codec::Av1),
            switching: info.switching_point,
            picture: info.picture_id,
            tl0: info.tl0,
            references: None,
        })
    }

    /// RFC 9628 §4.2: unlike [`Codec::describe`], by layer frame.
    fn read_vp9(payload: &[u8]) -> Result<Shape, Malformed> {
        let descriptor = vp9::Descriptor::read(&mut Reader::new(payload, "VP9 descriptor"))?;
        let layer = descriptor.layer.unwrap_or_default();
        let key = descriptor.start && !descriptor.inter_predicted && layer.spatial == 0;
        Ok(Shape {
            starts: descriptor.start,
            ends: descriptor.end,
            key,
            spatial: layer.spatial,
            temporal: descriptor.layer.map(|layer| layer.temporal),
            switching: layer.switching_up,
            picture: descriptor.picture_id,
            tl0: descriptor.tl0,
            references: descriptor.flexible.then_some(descriptor.references),
        })
    }

    fn of_graph(descriptor: &Descriptor, frame: &Frame) -> Shape {
        let starts = descriptor.start_of_frame;
        Shape {
            starts,
            ends: descriptor.end_of_frame,
            // The structure comes with the first packet of a key frame, and with it only.
            key: starts && descriptor.structure.is_some() && frame.references.as_slice().is_empty(),
            spatial: frame.spatial,
            temporal: Some(frame.temporal),
            ..Shape::default()
        }
    }
}

/// What a dependency descriptor says of a packet's frame.
#[derive(Debug)]
pub(super) struct Graph<'a> {
    pub(super) descriptor: Descriptor,
    pub(super) frame: Frame,
    pub(super) structure: &'a Structure,
    /// The decode targets that the sender produces.
    pub(super) active: u32,
    /// Changes with the structure.
    pub(super) epoch: u32,
}

/// A packet that was read, for any number of viewers.
#[derive(Debug)]
pub struct Incoming<'a> {
    pub(super) packet: Arrived<'a>,
    pub(super) codec: Codec,
    /// A packet behind it in its encoding was read before it.
    pub(super) reordered: bool,
    pub(super) shape: Shape,
    pub(super) graph: Option<Graph<'a>>,
    pub(super) report: Option<Report>,
}

impl Incoming<'_> {
    /// The packet as it came.
    pub fn packet(&self) -> &Arrived<'_> {
        &self.packet
    }

    /// The layer that it belongs to.
    pub fn layer(&self) -> Layer {
        let (spatial, temporal) = (self.shape.spatial, self.shape.temporal.unwrap_or(0));
        Layer { encoding: self.packet.encoding, spatial, temporal }
    }

    /// Whether a viewer can start with this packet: the first one of a key frame, or any of audio.
    pub fn starts_key_frame(&self) -> bool {
        self.shape.key && !self.reordered
    }

    /// Whether it has no payload: a probe for bandwidth, which no viewer gets.
    pub fn is_probe(&self) -> bool {
        self.packet.payload.is_empty()
    }

    pub(super) fn moment(&self) -> Moment {
        let Arrived { encoding, timestamp, received, .. } = self.packet;
        Moment { encoding, timestamp, received, report: self.report }
    }
}
