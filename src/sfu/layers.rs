//! Which layers of one encoding a viewer gets, and where they may change.
//!
//! Decisions are made for whole pictures, or with a dependency descriptor for whole frames, at their first packet
//! that is seen: a picture is never cut because somebody's wishes changed.

use crate::payload::Codec;
use crate::rtp::ext::dependency::{Frame, Indication, Structure};

use super::Layer;
use super::past::{Limits, Sent};
use super::source::{Graph, Incoming};

/// The layers of one encoding.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    limits: Limits,
    picture: Option<Picture>,
    /// The last frame that was decided, by its number, with a dependency descriptor.
    frame: Option<(u16, bool)>,
    /// Which pictures (VP9 in flexible mode) or frames (dependency descriptor) were forwarded, by the sender's
    /// numbers.
    sent: Sent,
    goal: Option<Goal>,
    /// What is wanted passes by, and only a key frame lets the viewer follow.
    stuck: bool,
}

/// The picture being decided: all packets with one time stamp.
#[derive(Debug, Clone, Copy)]
struct Picture {
    timestamp: u32,
    /// Its temporal layer is forwarded.
    kept: bool,
    /// That it is dropped was told.
    counted: bool,
    /// A frame of it was forwarded.
    begun: bool,
    /// Its last packet for this viewer was forwarded.
    ended: bool,
}

/// The decode target that is wanted, and what it was computed from.
#[derive(Debug, Clone, Copy)]
struct Goal {
    epoch: u32,
    active: u32,
    wanted: (u8, u8),
    target: u8,
}

impl Selection {
    /// The layers that packets are forwarded of now.
    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether only a key frame brings what is wanted.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// Whether a packet with this time stamp begins a picture.
    pub(super) fn is_new_picture(&self, timestamp: u32) -> bool {
        self.picture.is_none_or(|picture| picture.timestamp != timestamp)
    }

    /// Whether the viewer gets this packet, the next one of its encoding, when `wanted` are its highest layers.
    pub(super) fn keeps(&mut self, packet: &Incoming<'_>, wanted: Layer) -> bool {
        let timestamp = packet.packet.timestamp;
        let is_new = self.is_new_picture(timestamp);
        let fresh = Picture { timestamp, kept: true, counted: false, begun: false, ended: false };
        let mut picture = self.picture.filter(|_| !is_new).unwrap_or(fresh);
        let kept = match &packet.graph {
            Some(graph) if picture.ended => {
                self.pass(graph, wanted);
                false
            }
            Some(graph) => self.keeps_frame(packet, graph, wanted, picture.begun),
            None => {
                if is_new || packet.shape.key {
                    picture.kept = self.keeps_picture(packet, wanted);
                }
                picture.kept && self.keeps_spatial(packet, wanted)
            }
        };
        picture.begun |= kept;
        self.picture = Some(picture);
        kept
    }

    /// Whether a new picture has a temporal layer that the viewer gets.
    fn keeps_picture(&mut self, packet: &Incoming<'_>, wanted: Layer) -> bool {
        let shape = &packet.shape;
        if shape.key {
            self.limits = Limits { spatial: wanted.spatial, temporal: wanted.temporal, ..Limits::default() };
            self.stuck = false;
            self.sent.clear();
        }
        // Down at once: lower layers never refer to higher ones.
        self.limits.spatial = self.limits.spatial.min(wanted.spatial);
        self.limits.temporal = self.limits.temporal.min(wanted.temporal);
        let current = self.limits.temporal;
        let Some(layer) = shape.temporal else { return true };
        let up = shape.starts && shape.switching && self.refers_to_sent_only(packet);
        if layer > current {
            // One layer at a time: what a higher one refers to in the layer between would be missing.
            if !up || layer > wanted.temporal || layer != current + 1 {
                return false;
            }
            self.limits.temporal = layer;
        } else if layer == 0 && up && packet.codec == Codec::Vp9 {
            // RFC 9628 §4.2: later pictures of higher layers refer to no such picture before this one.
            self.limits.temporal = wanted.temporal;
        }
        if let Some(picture) = shape.picture {
            self.sent.mark(picture.number, picture.modulus() - 1);
        }
        true
    }

    /// RFC 9628 §4.2: in flexible mode a picture tells what it refers to.
    fn refers_to_sent_only(&self, packet: &Incoming<'_>) -> bool {
        let (Some(references), Some(picture)) = (packet.shape.references, packet.shape.picture) else {
            return true;
        };
        let told = references.into_iter().filter(|distance| *distance > 0);
        let mask = picture.modulus() - 1;
        told.map(|distance| picture.number.wrapping_sub(u16::from(distance)) & mask)
            .all(|number| self.sent.has(number, mask))
    }

    /// Up is at key frames only: the frames of a higher layer refer to that layer's frames before.
    fn keeps_spatial(&mut self, packet: &Incoming<'_>, wanted: Layer) -> bool {
        let layer = packet.shape.spatial;
        self.stuck |= layer > self.limits.spatial && layer <= wanted.spatial;
        layer <= self.limits.spatial
    }

    /// Whether the frame belongs to the decode target that the viewer gets (§A.4 of the AV1 payload format).
    fn keeps_frame(&mut self, packet: &Incoming<'_>, graph: &Graph<'_>, wanted: Layer, begun: bool) -> bool {
        let (frame, structure) = (&graph.frame, graph.structure);
        if let Some((number, kept)) = self.frame
            && number == frame.number
        {
            return kept;
        }
        let goal = self.goal(graph, wanted);
        if packet.shape.key {
            self.limits = limits_of(structure, goal, graph.epoch);
            self.stuck = false;
            self.sent.clear();
        } else if self.limits.epoch != graph.epoch {
            let (spatial, temporal) = (self.limits.spatial, self.limits.temporal);
            let same = best_target(structure, u32::MAX, spatial, temporal);
            self.limits = limits_of(structure, same, graph.epoch);
        }
        if goal != self.limits.target {
            self.approach(packet, graph, goal, begun);
        }
        let kept = is_part(frame, self.limits.target);
        if kept {
            self.sent.mark(frame.number, u16::MAX);
        }
        self.frame = Some((frame.number, kept));
        kept
    }

    /// Changes to the decode target `goal` when this frame lets the viewer follow.
    fn approach(&mut self, packet: &Incoming<'_>, graph: &Graph<'_>, goal: u8, begun: bool) {
        let frame = &graph.frame;
        let indication = frame.indications.of(usize::from(goal));
        let distances = frame.references.as_slice().iter();
        let decodable = distances.map(|d| frame.number.wrapping_sub(*d)).all(|n| self.sent.has(n, u16::MAX));
        let limits = limits_of(graph.structure, goal, graph.epoch);
        // Within a picture the highest layer stays: its last packet may have been marked.
        let other_height = limits.spatial != self.limits.spatial;
        let allowed = packet.shape.starts && !(begun && other_height);
        if allowed && indication == Indication::Switch && decodable {
            self.limits = limits;
        } else if other_height && indication != Indication::NotPresent {
            // Between temporal layers there will be a frame to switch at; between spatial ones there may not.
            self.stuck |= begun || !decodable;
        }
    }

    /// A frame behind the end of its picture: wanted or not, it is too late for it.
    fn pass(&mut self, graph: &Graph<'_>, wanted: Layer) {
        let goal = self.goal(graph, wanted);
        self.stuck |= goal != self.limits.target && is_part(&graph.frame, goal);
    }

    fn goal(&mut self, graph: &Graph<'_>, layer: Layer) -> u8 {
        let wanted = (layer.spatial, layer.temporal);
        match self.goal {
            Some(goal) if (goal.epoch, goal.active, goal.wanted) == (graph.epoch, graph.active, wanted) => {
                goal.target
            }
            _ => {
                let (epoch, active) = (graph.epoch, graph.active);
                let target = best_target(graph.structure, active, layer.spatial, layer.temporal);
                self.goal = Some(Goal { epoch, active, wanted, target });
                target
            }
        }
    }

    /// The marker for a packet that is forwarded: the last one of the picture's highest layer for this viewer
    /// ends the picture (RFC 9628 §4.1, and §4.1 of the AV1 payload format).
    pub(super) fn marker(&mut self, packet: &Incoming<'_>) -> bool {
        let marker = marker_within(packet, self.limits);
        if let Some(picture) = self.picture.as_mut().filter(|_| marker) {
            picture.ended = true;
        }
        marker
    }

    /// Whether the picture of the packet that was just dropped is dropped as a whole; told once.
    pub(super) fn take_dropped_picture(&mut self) -> bool {
        let picture = self.picture.as_mut().filter(|picture| !picture.kept && !picture.counted);
        picture.is_some_and(|picture| {
            picture.counted = true;
            true
        })
    }

    /// The decode targets that the viewer gets, of those that the sender produces.
    pub(super) fn active_targets(&self, graph: &Graph<'_>) -> u32 {
        let Limits { spatial, temporal, target, .. } = self.limits;
        let targets = graph.structure.targets.iter().enumerate();
        let within = targets
            .filter(|(at, t)| (t.spatial <= spatial && t.temporal <= temporal) || *at == usize::from(target));
        within.fold(0, |mask, (at, _)| mask | bit(at)) & graph.active
    }
}

/// Whether a run with these limits has a place for the packet.
pub(super) fn admits(limits: Limits, packet: &Incoming<'_>) -> bool {
    match &packet.graph {
        Some(graph) if graph.epoch == limits.epoch => is_part(&graph.frame, limits.target),
        _ => {
            let temporal = packet.shape.temporal.unwrap_or(0);
            packet.shape.spatial <= limits.spatial && temporal <= limits.temporal
        }
    }
}

/// The marker of a packet when nothing above `limits` is forwarded.
pub(super) fn marker_within(packet: &Incoming<'_>, limits: Limits) -> bool {
    let layered = packet.codec == Codec::Vp9 || packet.graph.is_some();
    packet.packet.marker || (layered && packet.shape.ends && packet.shape.spatial == limits.spatial)
}

fn is_part(frame: &Frame, target: u8) -> bool {
    frame.indications.of(usize::from(target)) != Indication::NotPresent
}

fn bit(target: usize) -> u32 {
    u32::try_from(target).ok().and_then(|shift| 1u32.checked_shl(shift)).unwrap_or(0)
}

fn limits_of(structure: &Structure, target: u8, epoch: u32) -> Limits {
    let layers = structure.targets.get(usize::from(target)).map(|t| (t.spatial, t.temporal));
    let (spatial, temporal) = layers.unwrap_or_default();
    Limits { spatial, temporal, target, epoch }
}

/// The best of the `active` targets without layers above those given; else the lowest one.
fn best_target(structure: &Structure, active: u32, spatial: u8, temporal: u8) -> u8 {
    let all = || structure.targets.iter().enumerate().filter(|(at, _)| active & bit(*at) != 0);
    let within = all().filter(|(_, t)| t.spatial <= spatial && t.temporal <= temporal);
    let best = within.max_by_key(|(at, t)| (t.spatial, t.temporal, std::cmp::Reverse(*at)));
    let best = best.or_else(|| all().min_by_key(|(_, t)| (t.spatial, t.temporal)));
    best.and_then(|(at, _)| u8::try_from(at).ok()).unwrap_or(0)
}
