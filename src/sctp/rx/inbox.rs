//! What was received and waits to be read.
//!
//! A message of one chunk is handed out as a slice of the packet that it came in, without a copy. Most are read
//! before the next packet comes. What is not would pin its packet, which may be far larger than the message, and
//! the memory that the packet was received into. So slices of only a few packets are kept as such: then all that
//! wait are copied together into memory of their own.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};

use super::event;
use crate::sctp::types::Event;
use crate::types::ids::StreamId;

/// What an event takes beside its bytes: the queue may be half empty.
const EVENT_OVERHEAD: usize = 2 * size_of::<Queued>();

/// What memory that slices lie in takes beside its bytes.
const PACKET_OVERHEAD: usize = 2 * size_of::<Packet>();

/// Packets that may be pinned by slices.
const MAX_PINNED_PACKETS: usize = 64;

/// Bytes of packets that may be pinned by slices; an eighth of the window, if that is less.
const MAX_PINNED_BYTES: usize = 128 * 1024;

/// A capacity that an empty queue may keep while the connection is busy.
const KEPT_CAPACITY: usize = 4096;

#[derive(Debug)]
enum Queued {
    /// Its bytes, if it has any, are its own.
    Owned(Event),
    /// Its bytes lie in a packet, or in what packets were copied to.
    Slice(Slice),
}

/// A message of one chunk, or a piece that is a message.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) stream: StreamId,
    pub(super) ppid: u32,
    pub(super) is_piece: bool,
    /// Where its bytes begin in the memory that they lie in.
    pub(super) at: usize,
    pub(super) len: usize,
}

/// Memory that slices lie in: a packet as it came, or a copy of all slices of several.
#[derive(Debug)]
struct Packet {
    bytes: Bytes,
    /// Slices that were not pulled yet; never 0.
    slices: usize,
}

/// Events of the receiving half, oldest first.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    queue: VecDeque<Queued>,
    /// What the slices of the queue lie in, in the same order.
    packets: VecDeque<Packet>,
    /// Memory that the events take, in bytes.
    cost: usize,
    /// Slices of the packet in work.
    new_slices: usize,
    /// Packets at the end of `packets` that are as they came.
    pinned_packets: usize,
    /// Their bytes, those included that were pulled meanwhile.
    pinned_bytes: usize,
    /// Events at the end of the queue among which there are slices of those.
    fresh: usize,
}

impl Inbox {
    /// Memory that the events take, in bytes.
    #[inline]
    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Memory of the queue that [`cost`](Self::cost) does not count, because events that left it had needed it.
    #[inline]
    pub(super) fn reserve(&self) -> usize {
        self.queue.capacity().saturating_sub(2 * self.queue.len()) * size_of::<Queued>()
    }

    /// Gives that back.
    pub(super) fn shrink(&mut self) {
        self.queue.shrink_to(2 * self.queue.len());
    }

    /// Queues an event whose bytes are its own.
    pub(super) fn push(&mut self, event: Event) {
        self.cost += cost(&event);
        self.fresh += 1;
        self.queue.push_back(Queued::Owned(event));
    }

    /// Queues a slice of the packet in work, which [`end_of_packet`](Self::end_of_packet) brings.
    #[inline]
    pub(super) fn push_slice(&mut self, slice: Slice) {
        self.cost += slice.len + EVENT_OVERHEAD;
        self.new_slices += 1;
        self.fresh += 1;
        self.queue.push_back(Queued::Slice(slice));
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<Event> {
        let event = match self.queue.pop_front()? {
            Queued::Owned(event) => {
                self.cost -= cost(&event);
                event
            }
            Queued::Slice(Slice { stream, ppid, is_piece, at, len }) => {
                self.cost -= len + EVENT_OVERHEAD;
                event(stream, ppid, self.take_slice(at, len), is_piece.then_some(true))
            }
        };
        if self.queue.is_empty() {
            self.on_empty();
        }
        Some(event)
    }

    /// The bytes of the first slice. The last one of a packet takes over the hold on its memory.
    #[inline]
    fn take_slice(&mut self, at: usize, len: usize) -> Bytes {
        match self.packets.front_mut() {
            Some(packet) if packet.slices > 1 => {
                packet.slices -= 1;
                // The chunk was read at this place, or copied to it.
                packet.bytes.slice(at..at + len)
            }
            _ => self.take_last_slice(at, len),
        }
    }

    fn take_last_slice(&mut self, at: usize, len: usize) -> Bytes {
        let Some(Packet { mut bytes, .. }) = self.packets.pop_front() else {
            debug_assert!(false, "a slice of no packet");
            return Bytes::new();
        };
        self.cost -= PACKET_OVERHEAD;
        self.pinned_packets = self.pinned_packets.min(self.packets.len());
        bytes.truncate(at + len);
        bytes.advance(at);
        bytes
    }

    fn on_empty(&mut self) {
        self.fresh = 0;
        self.pinned_packets = 0;
        self.pinned_bytes = 0;
        if self.queue.capacity() > KEPT_CAPACITY {
            self.queue = VecDeque::new();
        }
    }

    /// Gives back memory that is not in use.
    pub(super) fn slim(&mut self) {
        self.queue.shrink_to_fit();
        self.packets.shrink_to_fit();
    }

    /// A packet has been worked through.
    pub(super) fn end_of_packet(&mut self, bytes: Bytes, window: usize) {
        let slices = std::mem::take(&mut self.new_slices);
        if slices == 0 {
            return;
        }
        self.cost += PACKET_OVERHEAD;
        self.pinned_packets += 1;
        self.pinned_bytes += bytes.len();
        self.packets.push_back(Packet { bytes, slices });
        let limit = MAX_PINNED_BYTES.min(window / 8);
        if self.pinned_packets > MAX_PINNED_PACKETS || self.pinned_bytes > limit {
            self.copy();
        }
    }

    /// Copies all slices of packets, one behind the other, into memory of their own.
    fn copy(&mut self) {
        let from = self.queue.len() - self.fresh.min(self.queue.len());
        let slices = |queued: &Queued| if let Queued::Slice(slice) = queued { slice.len } else { 0 };
        let mut memory = Vec::with_capacity(self.queue.range(from..).map(slices).sum());
        let mut packets = self.packets.drain(self.packets.len() - self.pinned_packets..);
        let (mut source, mut left, mut copied) = (Bytes::new(), 0, 0);
        for queued in self.queue.range_mut(from..) {
            let Queued::Slice(slice) = queued else { continue };
            if left == 0
                && let Some(packet) = packets.next()
            {
                (source, left) = (packet.bytes, packet.slices);
            }
            let bytes = source.get(slice.at..slice.at + slice.len).unwrap_or_default();
            slice.at = memory.len();
            memory.extend_from_slice(bytes);
            left = left.saturating_sub(1);
            copied += 1;
        }
        drop(packets);
        self.cost -= PACKET_OVERHEAD * (self.pinned_packets - 1);
        self.packets.push_back(Packet { bytes: memory.into(), slices: copied });
        self.fresh = 0;
        self.pinned_packets = 0;
        self.pinned_bytes = 0;
    }
}

fn cost(event: &Event) -> usize {
    match event {
        Event::Message { data, .. } | Event::Piece { data, .. } => data.len() + EVENT_OVERHEAD,
        // Few, and bounded by whoever causes them.
        _ => 0,
    }
}
