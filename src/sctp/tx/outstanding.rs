//! What was sent and not yet acknowledged, chunk by chunk, and which of it is lost.
//!
//! ```text
//!              SACK                     cumulative ack: leaves the table
//! InFlight ------------> Acked
//!   |  ^ \
//!   |  |  `-- given up --> Abandoned    skipped by FORWARD-TSN
//!   v  | sent again
//!  Lost
//! ```
//!
//! Loss is told by time, not by counting (RFC 8985): a chunk is lost when one that was sent later has arrived, and
//! more than a reordering window has passed. Chunks stand in a second list by the time they were sent, so that each
//! look costs only what it finds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::types::ids::StreamId;
use crate::wire::serial::Serial32;

/// Entries that empty lists keep room for while the connection is busy.
pub(super) const KEPT_CAPACITY: usize = 4096;

/// Where a chunk is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ItemState {
    InFlight,
    /// Named by a gap block; the peer may still change its mind (RFC 9260 §6.2).
    Acked,
    /// To be sent again.
    Lost,
    /// Given up (RFC 3758 §3.5).
    Abandoned,
}

/// A chunk that has a TSN.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) payload: Bytes,
    pub(super) sent_at: Instant,
    pub(super) ppid: u32,
    /// SSN or MID.
    pub(super) sequence: u32,
    pub(super) fsn: u32,
    pub(super) policy: Option<u32>,
    pub(super) stream: StreamId,
    /// How often it was sent.
    pub(super) transmissions: u16,
    /// How many TSNs before this one the chunk before it in the same message stands, if that message has a policy; 0
    /// if there is none.
    pub(super) back: u32,
    pub(super) is_unordered: bool,
    pub(super) is_first: bool,
    pub(super) is_last: bool,
    pub(super) state: ItemState,
}

/// A transmission, in the order of time. Stale once the chunk was sent again.
#[derive(Debug, Clone, Copy)]
struct Sent {
    tsn: Serial32,
    transmission: u16,
}

/// The newest transmission that is known to have arrived (RFC 8985 §6.2).
#[derive(Debug, Clone, Copy)]
struct Rack {
    sent_at: Instant,
    /// Breaks ties among what was sent at the same time.
    tsn: Serial32,
}

/// When acknowledgements arrived, and what is too soon to be one of a retransmission.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) now: Instant,
    pub(super) min_rtt: Duration,
}

impl Arrival {
    #[inline]
    fn note_newest(self, rack: &mut Option<Rack>, tsn: Serial32, sent_at: Instant, transmissions: u16) {
        // RFC 8985 §6.2 step 2: too soon after a retransmission, it was the original that arrived.
        if transmissions > 1 && self.now.saturating_duration_since(sent_at) < self.min_rtt {
            return;
        }
        let is_newer = |r: Rack| r.sent_at < sent_at || (r.sent_at == sent_at && r.tsn.is_before(tsn));
        if rack.is_none_or(is_newer) {
            *rack = Some(Rack { sent_at, tsn });
        }
    }
}

/// All chunks between the cumulative TSN and the next one to be sent.
#[derive(Debug)]
pub(super) struct Outstanding {
    /// TSN of the first item.
    first: Serial32,
    items: VecDeque<Item>,
    /// Transmissions not yet known to have arrived or to be lost.
    sent: VecDeque<Sent>,
    /// Chunks to be sent again; stale ones are no longer `Lost`.
    lost: VecDeque<Serial32>,
    /// What gap blocks named so far, as TSNs, in order: it was handled already.
    gaps: Vec<(Serial32, Serial32)>,
    /// So many items at the front were acknowledged by gap blocks, or given up.
    settled: usize,
    /// The last of those that was given up.
    last_given_up: Option<usize>,
    flight_bytes: usize,
    flight_chunks: usize,
    unacked_bytes: usize,
    rack: Option<Rack>,
}

impl Outstanding {
    /// Gives back memory that is not in use.
    pub(super) fn slim(&mut self) {
        self.items.shrink_to_fit();
        self.sent.shrink_to_fit();
        self.lost.shrink_to_fit();
        self.gaps.shrink_to_fit();
    }

    pub(super) fn new(first: Serial32) -> Self {
        Outstanding {
            first,
            items: VecDeque::new(),
            sent: VecDeque::new(),
            lost: VecDeque::new(),
            gaps: Vec::new(),
            settled: 0,
            last_given_up: None,
            flight_bytes: 0,
            flight_chunks: 0,
            unacked_bytes: 0,
            rack: None,
        }
    }

    /// The TSN that the next new chunk gets.
    pub(super) fn next_tsn(&self) -> Serial32 {
        // Far fewer items than 2^32: their bytes are bounded.
        self.first.add(self.items.len() as u32)
    }

    /// The last TSN up to which everything is acknowledged.
    pub(super) fn cumulative(&self) -> Serial32 {
        self.first.previous()
    }

    /// Number of chunks between the cumulative TSN and the next one.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// User bytes on their way.
    pub(super) fn flight_bytes(&self) -> usize {
        self.flight_bytes
    }

    /// Chunks on their way.
    pub(super) fn flight_chunks(&self) -> usize {
        self.flight_chunks
    }

    /// User bytes with a TSN that are neither acknowledged nor given up.
    pub(super) fn unacked_bytes(&self) -> usize {
        self.unacked_bytes
    }

    /// Adds a chunk that was just written for the first time; it gets [`next_tsn`](Self::next_tsn).
    #[inline]
    pub(super) fn push(&mut self, item: Item) {
        self.enter_flight(item.payload.len());
        self.unacked_bytes += item.payload.len();
        self.sent.push_back(Sent { tsn: self.next_tsn(), transmission: item.transmissions });
        self.items.push_back(item);
    }

    /// Adds a chunk that was given up before it was written: it only stands for the end of a message that was cut.
    pub(super) fn push_given_up(&mut self, item: Item) {
        debug_assert!(item.state == ItemState::Abandoned && item.payload.is_empty());
        self.items.push_back(item);
    }

    /// RFC 3758 §3.5 C2: the last chunk that was given up before anything that the peer still needs.
    pub(super) fn forward_point(&mut self) -> Option<Serial32> {
        while let Some(item) = self.items.get(self.settled) {
            match item.state {
                ItemState::Abandoned => self.last_given_up = Some(self.settled),
                ItemState::Acked => {}
                ItemState::InFlight | ItemState::Lost => break,
            }
            self.settled += 1;
        }
        self.last_given_up.map(|offset| self.first.add(offset as u32))
    }

    pub(super) fn get(&self, tsn: Serial32) -> Option<&Item> {
        self.items.get(self.offset(tsn)?)
    }

    fn get_mut(&mut self, tsn: Serial32) -> Option<&mut Item> {
        let offset = self.offset(tsn)?;
        self.items.get_mut(offset)
    }

    fn offset(&self, tsn: Serial32) -> Option<usize> {
        usize::try_from(self.first.distance_to(tsn)).ok()
    }

    /// Whether `tsn` was ever sent, or is the cumulative TSN.
    pub(super) fn is_plausible(&self, tsn: Serial32) -> bool {
        let distance = self.cumulative().distance_to(tsn);
        usize::try_from(distance).is_ok_and(|d| d <= self.items.len())
    }

    /// When the newest transmission had left that is known to have arrived.
    pub(super) fn newest_arrival(&self) -> Option<Instant> {
        self.rack.map(|rack| rack.sent_at)
    }

    /// The next chunk to be sent again, if any.
    pub(super) fn next_lost(&mut self) -> Option<Serial32> {
        while let Some(&tsn) = self.lost.front() {
            if self.get(tsn).is_some_and(|item| item.state == ItemState::Lost) {
                return Some(tsn);
            }
            self.lost.pop_front();
        }
        None
    }

    /// The chunk [`next_lost`](Self::next_lost) named was written again.
    pub(super) fn on_resent(&mut self, now: Instant, tsn: Serial32) {
        let Some(item) = self.get_mut(tsn) else { return };
        item.state = ItemState::InFlight;
        item.sent_at = now;
        item.transmissions = item.transmissions.saturating_add(1);
        let (transmission, len) = (item.transmissions, item.payload.len());
        self.enter_flight(len);
        self.sent.push_back(Sent { tsn, transmission });
    }

    /// Everything up to `cumulative` arrived. Hands what was not known of before to `each`, with its state until now.
    pub(super) fn acknowledge(
        &mut self,
        arrival: Arrival,
        cumulative: Serial32,
        each: &mut impl FnMut(&Item, ItemState),
    ) {
        let count = usize::try_from(self.first.distance_to(cumulative).saturating_add(1)).unwrap_or(0);
        let count = count.min(self.items.len());
        let Outstanding { items, first, flight_bytes, flight_chunks, unacked_bytes, rack, .. } = self;
        for item in items.drain(..count) {
            let tsn = *first;
            *first = tsn.next();
            if matches!(item.state, ItemState::InFlight | ItemState::Lost) {
                let len = item.payload.len();
                if item.state == ItemState::InFlight {
                    *flight_bytes -= len;
                    *flight_chunks -= 1;
                }
                *unacked_bytes -= len;
                arrival.note_newest(rack, tsn, item.sent_at, item.transmissions);
                each(&item, item.state);
            }
        }
        self.settled = self.settled.saturating_sub(count);
        self.last_given_up = self.last_given_up.and_then(|offset| offset.checked_sub(count));
        if self.items.is_empty() {
            self.sent.clear();
            self.lost.clear();
            self.gaps.clear();
            self.give_back();
        }
    }

    /// The chunks that gap blocks name arrived, although something before them is missing. Blocks out of order,
    /// or of TSNs that were never sent, end the list.
    pub(super) fn acknowledge_gaps(
        &mut self,
        arrival: Arrival,
        gaps: impl Iterator<Item = (u16, u16)>,
        each: &mut impl FnMut(&Item, ItemState),
    ) {
        let cumulative = self.cumulative();
        let known = std::mem::take(&mut self.gaps);
        let mut known_at = 0;
        let mut merged = Merged::new(known.len());
        let mut behind = cumulative;
        for (start, end) in gaps {
            let (start, end) = (cumulative.add(u32::from(start)), cumulative.add(u32::from(end)));
            if !start.is_after(behind) || end.is_before(start) || !self.is_plausible(end) {
                break;
            }
            behind = end;
            // What a SACK named before is skipped; the rest is looked at one by one.
            let mut tsn = start;
            while let Some(&range) = known.get(known_at).filter(|(_, last)| last.is_before(start)) {
                merged.push(cumulative, range);
                known_at += 1;
            }
            if merged.is_full(known.len() - known_at) {
                break;
            }
            merged.push(cumulative, (start, end));
            while !tsn.is_after(end) {
                while let Some(&range) = known.get(known_at).filter(|(_, last)| last.is_before(tsn)) {
                    merged.push(cumulative, range);
                    known_at += 1;
                }
                if let Some(&(first, last)) = known.get(known_at)
                    && !first.is_after(tsn)
                {
                    tsn = last.next();
                    continue;
                }
                self.acknowledge_one(arrival, tsn, each);
                tsn = tsn.next();
            }
        }
        for &range in known.iter().skip(known_at) {
            merged.push(cumulative, range);
        }
        self.gaps = merged.ranges;
    }

    fn acknowledge_one(&mut self, arrival: Arrival, tsn: Serial32, each: &mut impl FnMut(&Item, ItemState)) {
        let Some(offset) = self.offset(tsn) else { return };
        let Some(item) = self.items.get_mut(offset) else { return };
        if !matches!(item.state, ItemState::InFlight | ItemState::Lost) {
            return;
        }
        let was = item.state;
        item.state = ItemState::Acked;
        let (sent_at, transmissions, len) = (item.sent_at, item.transmissions, item.payload.len());
        self.leave_flight(was, len);
        self.unacked_bytes -= len;
        arrival.note_newest(&mut self.rack, tsn, sent_at, transmissions);
        if let Some(item) = self.items.get_mut(offset) {
            each(item, was);
            // Its promise has counted it.
            item.policy = None;
        }
    }

    fn enter_flight(&mut self, len: usize) {
        self.flight_bytes += len;
        self.flight_chunks += 1;
    }

    fn leave_flight(&mut self, was: ItemState, len: usize) {
        if was == ItemState::InFlight {
            self.flight_bytes -= len;
            self.flight_chunks -= 1;
        }
    }

    /// RFC 8985 §6.2 step 5: marks as lost what was sent a reordering window before the newest arrival. Tells when to
    /// look again, and calls `on_lost` for every chunk that it marks.
    pub(super) fn detect_losses(
        &mut self,
        now: Instant,
        rtt: Duration,
        reordering: Duration,
        mut on_lost: impl FnMut(Serial32, &Item),
    ) -> Option<Instant> {
        let newest = self.rack?;
        while let Some(&Sent { tsn, transmission }) = self.sent.front() {
            let Some(offset) = self.offset(tsn) else {
                self.sent.pop_front();
                continue;
            };
            let Some(item) = self.items.get_mut(offset) else {
                self.sent.pop_front();
                continue;
            };
            if item.state != ItemState::InFlight || item.transmissions != transmission {
                self.sent.pop_front();
                continue;
            }
            // Sent with the newest, or later: nothing is known of it.
            if item.sent_at > newest.sent_at || (item.sent_at == newest.sent_at && !tsn.is_before(newest.tsn))
            {
                return None;
            }
            let deadline = item.sent_at + rtt + reordering;
            if deadline > now {
                return Some(deadline);
            }
            item.state = ItemState::Lost;
            let len = item.payload.len();
            self.leave_flight(ItemState::InFlight, len);
            self.sent.pop_front();
            self.lost.push_back(tsn);
            if let Some(item) = self.items.get(offset) {
                on_lost(tsn, item);
            }
        }
        None
    }

    /// RFC 9260 §6.3.3 E3: after a time-out everything in flight counts as lost. A front that was acknowledged by
    /// gap blocks means that the peer took them back, so all of those go again, too.
    pub(super) fn lose_all(&mut self, mut on_lost: impl FnMut(&Item, Taken)) {
        let reneged = self.items.front().is_some_and(|item| item.state == ItemState::Acked);
        self.sent.clear();
        self.lost.clear();
        let mut tsn = self.first.previous();
        for item in &mut self.items {
            tsn = tsn.next();
            let taken = match item.state {
                ItemState::Acked if reneged => {
                    self.unacked_bytes += item.payload.len();
                    Taken::Back
                }
                ItemState::InFlight | ItemState::Lost => Taken::Never,
                ItemState::Acked | ItemState::Abandoned => continue,
            };
            if item.state != ItemState::Lost {
                item.state = ItemState::Lost;
                on_lost(item, taken);
            }
            self.lost.push_back(tsn);
        }
        self.flight_bytes = 0;
        self.flight_chunks = 0;
        if reneged {
            self.gaps.clear();
            self.settled = 0;
            self.last_given_up = None;
        }
    }

    /// Gives up every chunk of a message that has not arrived, from its last one backwards; says how many.
    pub(super) fn abandon_message(&mut self, last: Serial32) -> u32 {
        let (mut tsn, mut count) = (last, 0);
        while let Some(item) = self.get(tsn) {
            let back = item.back;
            count += u32::from(self.abandon(tsn));
            if back == 0 {
                break;
            }
            tsn = Serial32(tsn.0.wrapping_sub(back));
        }
        count
    }

    /// Gives one chunk up, if it has not arrived.
    fn abandon(&mut self, tsn: Serial32) -> bool {
        let Some(item) = self.get_mut(tsn) else { return false };
        let was = item.state;
        if !matches!(was, ItemState::InFlight | ItemState::Lost) {
            return false;
        }
        item.state = ItemState::Abandoned;
        let len = item.payload.len();
        item.payload = Bytes::new();
        self.leave_flight(was, len);
        self.unacked_bytes -= len;
        true
    }

    /// The items in the order of TSNs, with their TSNs.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Serial32, &Item)> {
        let mut tsn = self.first.previous();
        self.items.iter().map(move |item| {
            tsn = tsn.next();
            (tsn, item)
        })
    }

    /// The highest chunk that is in flight, for a tail-loss probe (RFC 8985 §7.3).
    pub(super) fn lose_last(&mut self, may_resend: impl Fn(&Item) -> bool) -> bool {
        let last = self.next_tsn().previous();
        let Some(item) = self.get_mut(last) else { return false };
        if item.state != ItemState::InFlight || !may_resend(item) {
            return false;
        }
        item.state = ItemState::Lost;
        let len = item.payload.len();
        self.leave_flight(ItemState::InFlight, len);
        self.lost.push_front(last);
        true
    }

    /// What only much larger windows need is given back at once, the rest when the connection is idle.
    fn give_back(&mut self) {
        if self.items.capacity() > KEPT_CAPACITY {
            self.items = VecDeque::new();
        }
        if self.sent.capacity() > KEPT_CAPACITY {
            self.sent = VecDeque::new();
        }
        if self.lost.capacity() > 64 {
            self.lost = VecDeque::new();
        }
        self.gaps = Vec::new();
    }
}

/// Whether a chunk that is lost had been acknowledged before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Never,
    /// By a gap block, and the peer took that back.
    Back,
}

/// Two lists of ranges becoming one.
struct Merged {
    ranges: Vec<(Serial32, Serial32)>,
}

impl Merged {
    /// Ranges that are kept: an honest peer that has more holes fills the first ones first.
    const MOST: usize = 1024;

    fn new(capacity: usize) -> Self {
        Merged { ranges: Vec::with_capacity(capacity.min(Self::MOST)) }
    }

    fn is_full(&self, to_come: usize) -> bool {
        self.ranges.len() + to_come >= Self::MOST
    }

    /// Appends a range, which swallows those that it overlaps or touches.
    fn push(&mut self, cumulative: Serial32, (mut start, mut end): (Serial32, Serial32)) {
        if !end.is_after(cumulative) {
            return;
        }
        while let Some((first, last)) = self.ranges.pop_if(|(_, last)| !start.is_after(last.next())) {
            start = if first.is_before(start) { first } else { start };
            end = end.later(last);
        }
        self.ranges.push((start, end));
    }
}
