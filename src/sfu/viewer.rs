//! One viewer of one track.

use bytes::BytesMut;

use crate::payload::Codec;
use crate::rtp::ext::dependency::set_frame_number;
use crate::wire::window::ReplayWindow;

use super::Layer;
use super::layers::{Selection, admits, marker_within};
use super::past::{Limits, Offsets, Past, Run};
use super::rewrite::{Numbers, Rewrite, Verdict};
use super::source::{Graph, Incoming};
use super::timeline::{Moment, Timeline};

/// Missing packets in a row that numbers are left for. More than that is no loss but a pause, or a new start
/// of the sender, and leaves one number free.
const MAX_HOLE: u64 = 1_000;

/// The first numbers of a viewer's stream. They should be random (RFC 3550 §5.1, RFC 7741 §4.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Start {
    /// The first sequence number, without wraps.
    pub sequence: u64,
    /// The first time stamp.
    pub timestamp: u32,
    /// The first picture's number, 15 bits.
    pub picture: u16,
    /// The first number of a base layer's picture.
    pub tl0: u8,
    /// The first frame's number in dependency descriptors.
    pub frame: u16,
}

/// What a viewer was given so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ViewerStats {
    /// Packets forwarded.
    pub forwarded: u64,
    /// Packets dropped: of layers not wanted, or not to be followed.
    pub dropped: u64,
    /// Late packets of layers not wanted, whose numbers were filled.
    pub filled: u64,
    /// Key frames at which an encoding was taken up.
    pub starts: u64,
}

/// Decides about the packets of one track for one viewer.
///
/// Every packet that [`Source::read`](super::Source::read) reads is to be given to every viewer of the track, in
/// the order of arrival. Missing packets are simply not given, late ones when they come. A packet is decided in
/// constant time, but for late ones, which look through at most 128 runs. Nothing is allocated once the viewer has
/// seen some loss and dropped some layers.
#[derive(Debug)]
pub struct Viewer {
    wanted: Option<Layer>,
    current: Option<Current>,
    past: Past,
    used: ReplayWindow<16>,
    timeline: Timeline,
    out: Out,
    /// The last packet of the encoding that was forwarded, when there was one.
    last: Option<Moment>,
    /// The dependency descriptor of the packet being decided.
    dependency: BytesMut,
    stats: ViewerStats,
}

/// The encoding that is forwarded.
#[derive(Debug)]
struct Current {
    encoding: u8,
    /// The number behind the highest one.
    next: u64,
    /// The last packet was forwarded: the run grows.
    growing: bool,
    /// The highest layers wanted of this encoding.
    wanted: Layer,
    selection: Selection,
    offsets: Offsets,
    active: Active,
}

/// The mask of active decode targets, which every packet says until a base layer frame has said it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Active {
    limits: Limits,
    sender: u32,
    mask: u32,
    pending: bool,
}

/// The numbers of the viewer's stream.
#[derive(Debug)]
struct Out {
    /// The next sequence number.
    sequence: u64,
    /// The last time stamp, picture number and so on; before the first packet, those before the first.
    timestamp: u32,
    picture: u16,
    tl0: u8,
    frame: u16,
    /// The last packet did not end its picture.
    open: bool,
}

impl Viewer {
    /// A viewer of a track whose clock has `rate` units per second: it gets nothing until
    /// [`set_wanted`](Self::set_wanted).
    pub fn new(rate: u32, start: Start) -> Self {
        Viewer {
            wanted: None,
            current: None,
            past: Past::default(),
            used: ReplayWindow::default(),
            timeline: Timeline::new(rate),
            out: Out {
                sequence: start.sequence,
                timestamp: start.timestamp,
                picture: start.picture.wrapping_sub(1),
                tl0: start.tl0.wrapping_sub(1),
                frame: start.frame.wrapping_sub(1),
                open: false,
            },
            last: None,
            dependency: BytesMut::new(),
            stats: ViewerStats::default(),
        }
    }

    /// Sets the highest layers that the viewer is to get; `None` pauses it at the end of the picture.
    ///
    /// The change happens where a decoder can follow. See [`key_frame_needed`](Self::key_frame_needed).
    pub fn set_wanted(&mut self, wanted: Option<Layer>) {
        self.wanted = wanted;
        if let (Some(wanted), Some(current)) = (wanted, &mut self.current)
            && wanted.encoding == current.encoding
        {
            current.wanted = wanted;
        }
    }

    /// What is wanted.
    pub fn wanted(&self) -> Option<Layer> {
        self.wanted
    }

    /// The layers that the viewer gets now; `None` before the first key frame and while paused. Layer numbers may
    /// be higher than what the sender has: then it gets all of them.
    pub fn forwarded_layer(&self) -> Option<Layer> {
        self.current.as_ref().map(|current| {
            let Limits { spatial, temporal, .. } = current.selection.limits();
            Layer { encoding: current.encoding, spatial, temporal }
        })
    }

    /// The encoding of which a key frame is needed before the viewer gets what is wanted.
    ///
    /// Ask the sender for one, again from time to time: throttling is the caller's business.
    pub fn key_frame_needed(&self) -> Option<u8> {
        let wanted = self.wanted?;
        let settled = self
            .current
            .as_ref()
            .is_some_and(|current| current.encoding == wanted.encoding && !current.selection.is_stuck());
        (!settled).then_some(wanted.encoding)
    }

    /// What happened so far.
    pub fn stats(&self) -> ViewerStats {
        self.stats
    }

    /// An encoding starts anew, with another SSRC and other numbers: the viewer goes on at its next key frame.
    pub fn handle_restart(&mut self, encoding: u8) {
        self.past.forget(encoding);
        if self.current.as_ref().is_some_and(|current| current.encoding == encoding) {
            self.current = None;
            // Its time line has ended as well: what comes is another encoding's.
            if let Some(last) = &mut self.last {
                (last.encoding, last.report) = (u8::MAX, None);
            }
        }
    }

    /// Decides about a packet.
    pub fn handle_packet(&mut self, packet: &Incoming<'_>) -> Verdict<'_> {
        let (encoding, sequence) = (packet.packet.encoding, packet.packet.sequence);
        let is_next =
            self.current.as_ref().is_some_and(|now| now.encoding == encoding && sequence >= now.next);
        if is_next && self.is_to_stop(packet) {
            self.current = None;
        } else if is_next {
            return self.handle_next(packet);
        }
        if self.is_to_start(packet) {
            self.start(packet);
            return self.handle_next(packet);
        }
        self.handle_late(packet)
    }

    /// Whether the viewer was paused, and the picture that was being forwarded is over.
    fn is_to_stop(&self, packet: &Incoming<'_>) -> bool {
        let timestamp = packet.packet.timestamp;
        let over = |current: &Current| current.selection.is_new_picture(timestamp);
        self.wanted.is_none() && self.current.as_ref().is_none_or(over)
    }

    /// Whether an encoding is to be taken up with this packet: what is wanted, or for a start anything lower.
    fn is_to_start(&self, packet: &Incoming<'_>) -> bool {
        let (Some(wanted), encoding) = (self.wanted, packet.packet.encoding) else { return false };
        let fits = match &self.current {
            Some(current) => encoding == wanted.encoding && encoding != current.encoding,
            None => encoding <= wanted.encoding,
        };
        fits && packet.starts_key_frame()
    }

    fn start(&mut self, packet: &Incoming<'_>) {
        let out = &mut self.out;
        let moment = packet.moment();
        let timestamp = match &self.last {
            Some(last) => out.timestamp.wrapping_add(self.timeline.step(last, &moment)),
            None => out.timestamp,
        };
        // A picture that is cut off by the change is not whole, and one free number says so.
        out.sequence += u64::from(out.open);
        out.open = false;
        let shape = &packet.shape;
        let frame = packet.graph.as_ref().map_or(0, |graph| graph.frame.number);
        let encoding = packet.packet.encoding;
        let wanted = self.wanted.filter(|wanted| wanted.encoding == encoding);
        self.current = Some(Current {
            encoding,
            next: packet.packet.sequence,
            growing: false,
            wanted: wanted.unwrap_or(Layer::all_of(encoding)),
            selection: Selection::default(),
            offsets: Offsets {
                time: timestamp.wrapping_sub(packet.packet.timestamp),
                picture: out.picture.wrapping_add(1).wrapping_sub(shape.picture.map_or(0, |id| id.number)),
                tl0: out.tl0.wrapping_add(1).wrapping_sub(shape.tl0.unwrap_or(0)),
                frame: out.frame.wrapping_add(1).wrapping_sub(frame),
            },
            active: Active::default(),
        });
        self.stats.starts += 1;
    }

    /// Decides about a packet that is the next one of its encoding, or behind a gap.
    fn handle_next(&mut self, packet: &Incoming<'_>) -> Verdict<'_> {
        let Some(current) = &mut self.current else { return Verdict::Drop };
        let sequence = packet.packet.sequence;
        let missing = sequence.saturating_sub(current.next);
        let same_picture = !current.selection.is_new_picture(packet.packet.timestamp);
        let (limits, offsets) = (current.selection.limits(), current.offsets);
        let kept = !packet.is_probe() && current.selection.keeps(packet, current.wanted);
        let out = &mut self.out;
        let run = |first: u64, out: u64, limits: Limits, offsets: Offsets| Run {
            encoding: current.encoding,
            first,
            end: sequence,
            out,
            limits,
            turn: None,
            offsets,
        };
        let turn = Some((packet.packet.timestamp, current.selection.limits()));
        if missing > MAX_HOLE {
            out.sequence += 1;
            current.growing = false;
        } else if missing > 0 && (current.growing || kept || !same_picture) {
            // What is missing may be wanted: numbers are left for it. Between packets of one dropped picture
            // it surely is not.
            match self.past.last_mut().filter(|_| current.growing) {
                Some(last) => (last.end, last.turn) = (sequence, turn),
                None => {
                    let gap = run(current.next, out.sequence, limits, offsets);
                    self.past.push(Run { turn, ..gap });
                }
            }
            out.sequence += missing;
            current.growing = true;
        }
        current.next = sequence.saturating_add(1);
        if !kept {
            current.growing = false;
            if !packet.is_probe() {
                // RFC 7741 §4.2: VP8 numbers pictures without gaps.
                if packet.codec == Codec::Vp8 && current.selection.take_dropped_picture() {
                    current.offsets.picture = current.offsets.picture.wrapping_sub(1);
                }
                // Numbers and times below its own may have been left for what is missing.
                out.note(packet, current.offsets);
                self.last = Some(packet.moment());
            }
            self.stats.dropped += 1;
            return Verdict::Drop;
        }
        let limits = current.selection.limits();
        match self.past.last_mut().filter(|last| current.growing && last.limits == limits) {
            Some(last) => last.end = current.next,
            None => {
                let mut run = run(sequence, out.sequence, limits, current.offsets);
                run.end = current.next;
                self.past.push(run);
            }
        }
        current.growing = true;
        self.forward_next(packet)
    }

    /// Forwards a packet under the next number.
    fn forward_next(&mut self, packet: &Incoming<'_>) -> Verdict<'_> {
        let Some(current) = &mut self.current else { return Verdict::Drop };
        let (offsets, out) = (current.offsets, &mut self.out);
        let marker = current.selection.marker(packet);
        let active = packet.graph.as_ref().map(|graph| current.active.update(&current.selection, graph));
        let rewrite = rewrite(packet, out.sequence, marker, offsets, active.flatten(), &mut self.dependency);
        out.open = !marker && packet.codec.is_video();
        out.note(packet, offsets);
        self.used.mark(out.sequence);
        out.sequence += 1;
        self.last = Some(packet.moment());
        self.stats.forwarded += 1;
        Verdict::Forward(rewrite)
    }

    /// Decides about a late packet: it gets the number that was left for it, if there is one.
    fn handle_late(&mut self, packet: &Incoming<'_>) -> Verdict<'_> {
        let (encoding, number) = (packet.packet.encoding, packet.packet.sequence);
        let timestamp = packet.packet.timestamp;
        let found = self.past.find(encoding, number);
        let place = found.map(|run| (run.map(number), run.limits_of(timestamp), run.offsets));
        let place = place.filter(|(sequence, ..)| self.used.is_fresh(*sequence));
        let Some((sequence, limits, offsets)) = place else {
            self.stats.dropped += 1;
            return Verdict::Drop;
        };
        self.used.mark(sequence);
        if packet.is_probe() || !admits(limits, packet) {
            self.stats.filled += 1;
            return Verdict::Fill { sequence, timestamp: timestamp.wrapping_add(offsets.time) };
        }
        self.stats.forwarded += 1;
        let marker = marker_within(packet, limits);
        Verdict::Forward(rewrite(packet, sequence, marker, offsets, None, &mut self.dependency))
    }
}

impl Out {
    /// Takes note of the numbers that a packet has, or would have, in the viewer's stream.
    fn note(&mut self, packet: &Incoming<'_>, offsets: Offsets) {
        self.timestamp = packet.packet.timestamp.wrapping_add(offsets.time);
        if let Some(id) = packet.shape.picture {
            self.picture = id.number.wrapping_add(offsets.picture);
        }
        if let Some(tl0) = packet.shape.tl0 {
            self.tl0 = tl0.wrapping_add(offsets.tl0);
        }
        if let Some(graph) = &packet.graph {
            self.frame = graph.frame.number.wrapping_add(offsets.frame);
        }
    }
}

impl Active {
    /// The mask that a packet is to carry; `None` when it goes without saying.
    fn update(&mut self, selection: &Selection, graph: &Graph<'_>) -> Option<u32> {
        let limits = selection.limits();
        if (self.limits, self.sender) != (limits, graph.active) || graph.descriptor.structure.is_some() {
            let mask = selection.active_targets(graph);
            // With a structure all targets are active unless the packet says otherwise (§A.4).
            let known =
                if graph.descriptor.structure.is_some() { graph.structure.all_targets() } else { self.mask };
            let pending = self.pending || mask != known;
            *self = Active { limits, sender: graph.active, mask, pending };
        }
        let says = self.pending || graph.descriptor.active_targets.is_some();
        let is_base = graph.frame.spatial == 0 && graph.frame.temporal == 0;
        // Every viewer that decodes anything gets the base layer's frames, so one of them is enough.
        self.pending &= !(is_base && graph.descriptor.end_of_frame);
        says.then_some(self.mask)
    }
}

/// The packet with other numbers; the dependency descriptor is written to `scratch`.
fn rewrite<'v>(
    packet: &Incoming<'_>,
    sequence: u64,
    marker: bool,
    offsets: Offsets,
    active: Option<u32>,
    scratch: &'v mut BytesMut,
) -> Rewrite<'v> {
    let picture = packet.shape.picture.map_or(0, |id| id.number.wrapping_add(offsets.picture) & 0x7fff);
    let tl0 = packet.shape.tl0.unwrap_or(0).wrapping_add(offsets.tl0);
    let numbers = match packet.codec {
        Codec::Vp8 => Numbers::Vp8 { picture, tl0 },
        Codec::Vp9 => Numbers::Vp9 { picture, tl0 },
        _ => Numbers::Keep,
    };
    let dependency = packet.packet.dependency.map(|data| {
        scratch.clear();
        if let Some(graph) = &packet.graph {
            let number = graph.frame.number.wrapping_add(offsets.frame);
            let active = active.or(graph.descriptor.active_targets);
            // Its own words are enough when nothing but the number changes.
            let same = active == graph.descriptor.active_targets;
            let known = Some(graph.structure);
            if same || graph.descriptor.emit_as(number, active, known, scratch).is_none() {
                scratch.extend_from_slice(data);
                set_frame_number(scratch, number);
            }
        } else {
            scratch.extend_from_slice(data);
        }
        &scratch[..]
    });
    let timestamp = packet.packet.timestamp.wrapping_add(offsets.time);
    Rewrite { sequence, timestamp, marker, numbers, dependency }
}
