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
    /// Gap blocks of the last SACK, as TSNs: what they name was handled already.
    gaps: Vec<(Serial32, Serial32)>,
    flight_bytes: usize,
    unacked_bytes: usize,
    rack: Option<Rack>,
}

impl Outstanding {
    pub(super) fn new(first: Serial32) -> Self {
        Outstanding {
            first,
            items: VecDeque::new(),
            sent: VecDeque::new(),
            lost: VecDeque::new(),
            gaps: Vec::new(),
            flight_bytes: 0,
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

    /// User bytes with a TSN that are neither acknowledged nor given up.
    pub(super) fn unacked_bytes(&self) -> usize {
        self.unacked_bytes
    }

    /// Adds a chunk that was just written for the first time; it gets [`next_tsn`](Self::next_tsn).
    pub(super) fn push(&mut self, item: Item) {
        self.flight_bytes += item.payload.len();
        self.unacked_bytes += item.payload.len();
        self.sent.push_back(Sent { tsn: self.next_tsn(), transmission: item.transmissions });
        self.items.push_back(item);
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
        self.flight_bytes += len;
        self.sent.push_back(Sent { tsn, transmission });
    }

    /// Everything up to `cumulative` arrived. Hands the items that leave to `each`, the newly acknowledged ones
    /// marked so.
    pub(super) fn acknowledge(
        &mut self,
        arrival: Arrival,
        cumulative: Serial32,
        mut each: impl FnMut(&Item, Newly),
    ) {
        while self.first.distance_to(cumulative) >= 0 {
            let Some(item) = self.items.pop_front() else { return };
            let tsn = self.first;
            self.first = tsn.next();
            let newly = match item.state {
                ItemState::InFlight | ItemState::Lost => {
                    self.leave_flight(item.state, item.payload.len());
                    self.unacked_bytes -= item.payload.len();
                    self.note_newest(arrival, tsn, item.sent_at, item.transmissions);
                    Newly::Acked
                }
                ItemState::Acked | ItemState::Abandoned => Newly::Known,
            };
            each(&item, newly);
        }
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
        mut each: impl FnMut(&Item),
    ) {
        let cumulative = self.cumulative();
        let known = std::mem::take(&mut self.gaps);
        let mut known_at = 0;
        let mut blocks = Vec::with_capacity(known.len().min(64));
        let mut behind = cumulative;
        for (start, end) in gaps {
            let (start, end) = (cumulative.add(u32::from(start)), cumulative.add(u32::from(end)));
            if !start.is_after(behind) || end.is_before(start) || !self.is_plausible(end) {
                break;
            }
            behind = end;
            blocks.push((start, end));
            // What the last SACK named already is skipped; the rest is looked at one by one.
            let mut tsn = start;
            while !tsn.is_after(end) {
                while known.get(known_at).is_some_and(|&(_, last)| last.is_before(tsn)) {
                    known_at += 1;
                }
                if let Some(&(first, last)) = known.get(known_at)
                    && !first.is_after(tsn)
                {
                    tsn = last.next();
                    continue;
                }
                self.acknowledge_one(arrival, tsn, &mut each);
                tsn = tsn.next();
            }
        }
        self.gaps = blocks;
    }

    fn acknowledge_one(&mut self, arrival: Arrival, tsn: Serial32, each: &mut impl FnMut(&Item)) {
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
        self.note_newest(arrival, tsn, sent_at, transmissions);
        if let Some(item) = self.items.get_mut(offset) {
            each(item);
            // Its promise has counted it.
            item.policy = None;
        }
    }

    fn leave_flight(&mut self, was: ItemState, len: usize) {
        if was == ItemState::InFlight {
            self.flight_bytes -= len;
        }
    }

    fn note_newest(&mut self, arrival: Arrival, tsn: Serial32, sent_at: Instant, transmissions: u16) {
        // RFC 8985 §6.2 step 2: too soon after a retransmission, it was the original that arrived.
        if transmissions > 1 && arrival.now.saturating_duration_since(sent_at) < arrival.min_rtt {
            return;
        }
        let is_newer = |r: Rack| r.sent_at < sent_at || (r.sent_at == sent_at && r.tsn.is_before(tsn));
        if self.rack.is_none_or(is_newer) {
            self.rack = Some(Rack { sent_at, tsn });
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
            self.flight_bytes -= item.payload.len();
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
    pub(super) fn lose_all(&mut self, mut on_lost: impl FnMut(Serial32, &Item)) {
        let reneged = self.items.front().is_some_and(|item| item.state == ItemState::Acked);
        self.sent.clear();
        self.lost.clear();
        let mut tsn = self.first;
        for item in &mut self.items {
            match item.state {
                ItemState::InFlight => self.flight_bytes -= item.payload.len(),
                ItemState::Acked if reneged => self.unacked_bytes += item.payload.len(),
                ItemState::Lost => {}
                _ => {
                    tsn = tsn.next();
                    continue;
                }
            }
            if item.state != ItemState::Lost {
                item.state = ItemState::Lost;
                on_lost(tsn, item);
            }
            self.lost.push_back(tsn);
            tsn = tsn.next();
        }
        if reneged {
            self.gaps.clear();
        }
    }

    /// Gives one chunk up, if it has not arrived.
    pub(super) fn abandon(&mut self, tsn: Serial32) -> Option<&Item> {
        let offset = self.offset(tsn)?;
        let item = self.items.get_mut(offset)?;
        let was = item.state;
        if !matches!(was, ItemState::InFlight | ItemState::Lost) {
            return None;
        }
        item.state = ItemState::Abandoned;
        let len = item.payload.len();
        item.payload = Bytes::new();
        self.leave_flight(was, len);
        self.unacked_bytes -= len;
        self.items.get(offset)
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
    pub(super) fn lose_last(&mut self) -> bool {
        let last = self.next_tsn().previous();
        match self.get_mut(last) {
            Some(item) if item.state == ItemState::InFlight => {
                item.state = ItemState::Lost;
                let len = item.payload.len();
                self.flight_bytes -= len;
                self.lost.push_front(last);
                true
            }
            _ => false,
        }
    }

    fn give_back(&mut self) {
        if self.items.capacity() > 256 {
            self.items = VecDeque::new();
        }
        if self.sent.capacity() > 256 {
            self.sent = VecDeque::new();
        }
        if self.lost.capacity() > 64 {
            self.lost = VecDeque::new();
        }
        self.gaps = Vec::new();
    }
}

/// Whether an item that left the table is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Newly {
    Acked,
    Known,
}
