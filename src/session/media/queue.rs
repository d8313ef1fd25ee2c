//! Packets that wait to be sealed and sent: one queue for the sound of a connection and one for its pictures, each
//! bounded in packets and bytes.
//!
//! ```text
//!  sound     ──────────────────────────> leaves at once: a packet of it is small, and late it is worthless
//!  sent again  (`Resend`)   ── pacer ──> first, for somebody waits for it
//!  pictures, their parity   ── pacer ──> then
//! ```
//!
//! A packet lies in memory of the connection's pool, with room behind it for the tag. So it is written once, sealed
//! where it lies, and neighbours that leave together need no copy to become one segmented datagram.

use std::collections::VecDeque;

use bytes::BytesMut;

use crate::rtp::ext::timing::{AbsSendTime, TransportSequence};
use crate::rtp::extended::short_sequence;
use crate::types::codec::MediaType;
use crate::types::ids::Ssrc;

/// Packets of each class that wait at most.
pub(super) const MAX_PACKETS: usize = 2048;

/// A packet in the clear, but for what is known only when it leaves.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) bytes: BytesMut,
    /// Where the time of sending goes.
    pub(super) abs_send_time: Option<u16>,
    /// Where the transport-wide number goes.
    pub(super) transport_sequence: Option<u16>,
    pub(super) kept: Kept,
}

/// What is noted of a packet when it leaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    pub(super) ssrc: Ssrc,
    /// Its long number in its stream.
    pub(super) sequence: u64,
    /// Whether the peer may ask for it again.
    pub(super) history: Keep,
}

/// How a packet is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// Not at all.
    Nothing,
    /// In the clear, to be sent again in another stream.
    Clear,
    /// As it left, to be sent again as it is.
    Sealed,
}

impl Outgoing {
    /// Fills in what is known now; says whether the transport-wide number was used.
    pub(super) fn stamp(&mut self, sent: AbsSendTime, number: u64) -> bool {
        if let Some(place) = place::<3>(&mut self.bytes, self.abs_send_time) {
            *place = sent.emit();
        }
        if let Some(place) = place::<2>(&mut self.bytes, self.transport_sequence) {
            *place = TransportSequence::emit(short_sequence(number).0);
            return true;
        }
        false
    }
}

fn place<const N: usize>(bytes: &mut [u8], at: Option<u16>) -> Option<&mut [u8; N]> {
    bytes.get_mut(usize::from(at?)..)?.first_chunk_mut::<N>()
}

/// What packets carry: it decides which leave first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Sound.
    Audio,
    /// Pictures, with what protects them.
    Video,
}

impl Class {
    pub(super) fn of(kind: MediaType) -> Self {
        match kind {
            MediaType::Audio => Class::Audio,
            MediaType::Video => Class::Video,
        }
    }
}

/// The packets of one class, in the order in which they were taken.
#[derive(Debug, Default)]
struct Lane {
    packets: VecDeque<Outgoing>,
    bytes: usize,
}

/// The queues.
#[derive(Debug, Default)]
pub(super) struct Queue {
    audio: Lane,
    video: Lane,
}

impl Queue {
    fn lane(&self, class: Class) -> &Lane {
        match class {
            Class::Audio => &self.audio,
            Class::Video => &self.video,
        }
    }

    fn lane_mut(&mut self, class: Class) -> &mut Lane {
        match class {
            Class::Audio => &mut self.audio,
            Class::Video => &mut self.video,
        }
    }

    /// Whether `packets` of `len` bytes in all may be put in, when `max_bytes` of their class may wait: pictures that
    /// wait keep no sound out.
    pub(super) fn has_room(&self, class: Class, packets: usize, len: usize, max_bytes: usize) -> bool {
        let lane = self.lane(class);
        lane.packets.len() + packets <= MAX_PACKETS && lane.bytes.saturating_add(len) <= max_bytes
    }

    pub(super) fn push(&mut self, class: Class, packet: Outgoing) {
        let lane = self.lane_mut(class);
        lane.bytes += packet.bytes.len();
        lane.packets.push_back(packet);
    }

    pub(super) fn pop(&mut self, class: Class) -> Option<Outgoing> {
        let lane = self.lane_mut(class);
        let packet = lane.packets.pop_front()?;
        lane.bytes -= packet.bytes.len();
        Some(packet)
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.audio.bytes + self.video.bytes
    }

    /// The length of the packet of a class that leaves next.
    pub(super) fn next_len(&self, class: Class) -> Option<usize> {
        self.lane(class).packets.front().map(|packet| packet.bytes.len())
    }

    /// Where the packet of a class that leaves next starts in memory.
    pub(super) fn next_start(&self, class: Class) -> Option<*const u8> {
        self.lane(class).packets.front().map(|packet| packet.bytes.as_ptr())
    }

    pub(super) fn has(&self, class: Class) -> bool {
        !self.lane(class).packets.is_empty()
    }

    /// Gives back memory that nothing waits in.
    pub(super) fn slim(&mut self) {
        self.audio.packets.shrink_to_fit();
        self.video.packets.shrink_to_fit();
    }

    pub(super) fn clear(&mut self) {
        *self = Queue::default();
    }
}
