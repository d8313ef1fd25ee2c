//! What is promised for single messages: how long they are sent again, and whether their fate is told
//! (RFC 3758, RFC 7496 §3).
//!
//! Only messages that are not simply reliable and silent have an entry, so the common ones cost nothing.

use std::collections::BTreeSet;
use std::time::Instant;

use slab::Slab;

use crate::sctp::types::{Event, MessageId, Reliability, SendOptions};
use crate::types::ids::StreamId;
use crate::wire::serial::Serial32;

/// The promise for one message.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) stream: StreamId,
    reliability: Reliability,
    notify: Option<MessageId>,
    deadline: Option<Instant>,
    /// Chunks of it on their way.
    chunks: u32,
    pub(super) is_fully_sent: bool,
    /// Its number in the stream's queue.
    pub(super) number: u32,
    /// TSN of its last chunk so far.
    pub(super) last: Option<Serial32>,
}

/// The promises that are still open.
#[derive(Debug, Default)]
pub(super) struct Policies {
    open: Slab<Policy>,
    deadlines: BTreeSet<(Instant, u32)>,
}

impl Policies {
    pub(super) fn insert(
        &mut self,
        now: Instant,
        stream: StreamId,
        number: u32,
        options: SendOptions,
    ) -> u32 {
        let deadline = match options.reliability {
            Reliability::MaxLifetime(lifetime) => now.checked_add(lifetime),
            _ => None,
        };
        let index = self.open.insert(Policy {
            stream,
            reliability: options.reliability,
            notify: options.notify,
            deadline,
            chunks: 0,
            is_fully_sent: false,
            number,
            last: None,
        });
        // Far fewer messages than 2^32: each costs memory that is bounded.
        let index = index as u32;
        if let Some(at) = deadline {
            self.deadlines.insert((at, index));
        }
        index
    }

    pub(super) fn get(&self, index: u32) -> Option<&Policy> {
        self.open.get(index as usize)
    }

    /// A chunk of the message got a TSN; gives that of the chunk before.
    pub(super) fn on_sent(&mut self, index: u32, tsn: Serial32, is_last: bool) -> Option<Serial32> {
        let policy = self.open.get_mut(index as usize)?;
        policy.chunks += 1;
        policy.is_fully_sent = is_last;
        policy.last.replace(tsn)
    }

    /// The messages of which something has a TSN.
    pub(super) fn begun(&self) -> Vec<u32> {
        self.open.iter().filter(|(_, p)| p.last.is_some()).map(|(index, _)| index as u32).collect()
    }

    /// A chunk of the message arrived; tells the fate of the message when it was the last one.
    pub(super) fn on_acked(&mut self, index: u32) -> Option<Event> {
        let policy = self.open.get_mut(index as usize)?;
        policy.chunks -= 1;
        if policy.chunks > 0 || !policy.is_fully_sent {
            return None;
        }
        let policy = self.remove(index)?;
        policy.notify.map(|message| Event::Delivered { stream: policy.stream, message })
    }

    /// Whether a chunk that got lost after so many transmissions may go again.
    pub(super) fn may_resend(&self, index: u32, transmissions: u16) -> bool {
        match self.get(index).map(|p| p.reliability) {
            Some(Reliability::MaxRetransmits(most)) => transmissions <= most,
            _ => true,
        }
    }

    /// A message whose lifetime is over, if any.
    pub(super) fn expired(&self, now: Instant) -> Option<u32> {
        self.deadlines.first().filter(|(at, _)| *at <= now).map(|&(_, index)| index)
    }

    /// When the next lifetime ends.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(at, _)| at)
    }

    /// The peer cannot skip: the message stays until it arrives.
    pub(super) fn forget_deadline(&mut self, index: u32) {
        if let Some(at) = self.open.get_mut(index as usize).and_then(|p| p.deadline.take()) {
            self.deadlines.remove(&(at, index));
        }
    }

    /// Ends all promises.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Policy> {
        self.deadlines.clear();
        std::mem::take(&mut self.open).into_iter().map(|(_, policy)| policy)
    }

    /// Ends the promise.
    pub(super) fn remove(&mut self, index: u32) -> Option<Policy> {
        let policy = self.open.try_remove(index as usize)?;
        if let Some(at) = policy.deadline {
            self.deadlines.remove(&(at, index));
        }
        if self.open.is_empty() && self.open.capacity() > 64 {
            self.open = Slab::new();
        }
        Some(policy)
    }
}

impl Policy {
    /// The notice that the message was given up, if one was asked for.
    pub(super) fn abandoned(&self) -> Option<Event> {
        self.notify.map(|message| Event::Abandoned { stream: self.stream, message })
    }
}
