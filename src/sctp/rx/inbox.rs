//! What was received and waits to be read.
//!
//! A message of one chunk is handed out as a slice of the packet that it came in, without a copy. Most are read
//! before the next packet comes. What is not would pin its packet, which may be far larger than the message, and
//! the memory that the packet was received into. So slices of only a few packets are kept as such: then all that
//! wait are copied together into memory of their own.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::sctp::types::Event;

/// What an event takes beside its bytes: the queue may be half empty.
const EVENT_OVERHEAD: usize = 2 * size_of::<Queued>();

/// Packets that may be pinned by slices.
const MAX_PINNED_PACKETS: usize = 64;

/// Bytes of packets that may be pinned by slices; an eighth of the window, if that is less.
const MAX_PINNED_BYTES: usize = 128 * 1024;

/// A capacity that an empty queue may keep.
const IDLE_CAPACITY: usize = 256;

#[derive(Debug)]
struct Queued {
    event: Event,
    memory: Memory,
}

/// Whose memory the bytes of an event lie in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    /// A packet's.
    Shared,
    /// Their own.
    Owned,
}

/// Events of the receiving half, oldest first.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    queue: VecDeque<Queued>,
    /// Memory that the events take, in bytes.
    cost: usize,
    /// Events at the end of the queue among which there are slices of packets.
    fresh: usize,
    /// The packet in work has left slices.
    has_new: bool,
    pinned_packets: usize,
    pinned_bytes: usize,
}

impl Inbox {
    /// Memory that the events take, in bytes.
    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Queues an event whose bytes are its own.
    pub(super) fn push(&mut self, event: Event) {
        self.insert(event, Memory::Owned);
    }

    /// Queues an event whose bytes are a slice of the packet in work.
    pub(super) fn push_slice(&mut self, event: Event) {
        self.has_new = true;
        self.insert(event, Memory::Shared);
    }

    fn insert(&mut self, event: Event, memory: Memory) {
        self.cost += cost(&event);
        self.fresh += 1;
        self.queue.push_back(Queued { event, memory });
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        let Queued { event, .. } = self.queue.pop_front()?;
        self.cost -= cost(&event);
        self.fresh = self.fresh.min(self.queue.len());
        if self.queue.is_empty() {
            self.unpin();
            if self.queue.capacity() > IDLE_CAPACITY {
                self.queue = VecDeque::new();
            }
        }
        Some(event)
    }

    /// Gives back memory that is not in use.
    pub(super) fn slim(&mut self) {
        self.queue.shrink_to_fit();
    }

    fn unpin(&mut self) {
        self.fresh = 0;
        self.has_new = false;
        self.pinned_packets = 0;
        self.pinned_bytes = 0;
    }

    /// A packet of `len` bytes has been worked through.
    pub(super) fn end_of_packet(&mut self, len: usize, window: usize) {
        if !std::mem::take(&mut self.has_new) {
            return;
        }
        self.pinned_packets += 1;
        self.pinned_bytes += len;
        let limit = MAX_PINNED_BYTES.min(window / 8);
        if self.pinned_packets > MAX_PINNED_PACKETS || self.pinned_bytes > limit {
            self.copy();
        }
    }

    /// Copies all slices, one behind the other, into memory of their own.
    fn copy(&mut self) {
        let from = self.queue.len() - self.fresh.min(self.queue.len());
        let len = self.queue.range_mut(from..).filter_map(slice).map(|data| data.len()).sum();
        let mut memory = BytesMut::with_capacity(len);
        for queued in self.queue.range_mut(from..) {
            if let Some(data) = slice(queued) {
                memory.extend_from_slice(data);
                *data = memory.split().freeze();
            }
            queued.memory = Memory::Owned;
        }
        self.unpin();
    }
}

/// The bytes of an event that lie in a packet.
fn slice(queued: &mut Queued) -> Option<&mut Bytes> {
    match &mut queued.event {
        Event::Message { data, .. } | Event::Piece { data, .. } if queued.memory == Memory::Shared => {
            Some(data)
        }
        _ => None,
    }
}

fn cost(event: &Event) -> usize {
    match event {
        Event::Message { data, .. } | Event::Piece { data, .. } => data.len() + EVENT_OVERHEAD,
        // Few, and bounded by whoever causes them.
        _ => 0,
    }
}
