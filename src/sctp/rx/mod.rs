//! The receiving half: from DATA and I-DATA chunks to messages in order (RFC 9260 §6.2 to §6.6, RFC 8260 §2.2).
//!
//! ```text
//! chunk -> Tracker (seen before? within reach?) -> window -> stream -> next in order and whole: Inbox -> event
//!                                                               \--> Runs: waits for its neighbours -^
//! ```
//!
//! What waits here counts in the receive window with all the memory that it takes, until the event that hands it out
//! is pulled.

mod inbox;
mod runs;
mod tracker;

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::types::ids::StreamId;
use crate::wire::serial::Serial32;

use super::chunk::data::DataChunk;
use super::chunk::forward_tsn::Skipped;
use super::streams::Streams;
use super::types::{Delivery, Event};
use inbox::{Inbox, Slice};
use runs::{Allowance, Fragment, Lane, MAX_OVERHEAD, Part, Place, Runs};
use tracker::{Tracker, Verdict};

/// The peer did what no implementation may do: the association is aborted with these words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Violation(pub(super) &'static str);

/// How sequence numbers are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbering {
    /// SSNs of 16 bits, fragments by TSN.
    Data,
    /// MIDs of 32 bits, fragments by FSN.
    Interleaved,
}

/// What is accepted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of the receive window: all memory that waits here is counted. Filling gaps may take a sixteenth more.
    pub(super) window: usize,
    /// Bytes of the longest message that is put together.
    pub(super) max_message_size: usize,
    /// Streams that may have state at the same time.
    pub(super) max_streams: usize,
    /// How long a lone packet waits for a second one before it is acknowledged (RFC 9260 §6.2).
    pub(super) ack_delay: Duration,
}

/// How often the next chunk in order may be refused while there is nothing to read: more says that it never fits.
const MAX_STALLS: u32 = 8;

/// One incoming stream.
#[derive(Debug)]
struct Inbound {
    /// The next ordered message, unwrapped.
    next: u64,
    /// The highest unordered message seen, unwrapped.
    highest_unordered: u64,
    /// I-DATA: unordered messages below this were given up by the peer, unwrapped.
    unordered_floor: u64,
    delivery: Delivery,
    /// With pieces: the index behind what was handed out of message `next`, and its identifier.
    partial: Option<(u64, u32)>,
}

impl Inbound {
    fn new() -> Self {
        Inbound {
            // Not zero, so that there are numbers before the first one.
            next: 1 << 32,
            highest_unordered: 1 << 32,
            unordered_floor: 0,
            delivery: Delivery::Whole,
            partial: None,
        }
    }
}

/// The receiving half of an association.
#[derive(Debug)]
pub(super) struct Receiver {
    tracker: Tracker,
    limits: Limits,
    numbering: Numbering,
    streams: Streams<Inbound>,
    runs: Runs,
    inbox: Inbox,
    /// The unwrapped cumulative TSN, so that TSNs give ordered places.
    cumulative: u64,
    /// Length of the last message that was put together: what the next one is expected to need.
    expected: usize,
    /// Whether the packet in work asked for a SACK at once, and whether it carried DATA at all.
    packet: Option<Urgency>,
    /// The window that the last SACK announced.
    announced: usize,
    /// How often in a row the next chunk in order found no room, and nothing could be read to make some.
    stalls: u32,
    /// Chunks that were dropped: no room, out of reach, or contradicting.
    pub(super) dropped: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Urgency {
    Normal,
    Immediate,
}

impl Receiver {
    pub(super) fn new(limits: Limits) -> Self {
        Receiver {
            tracker: Tracker::new(limits.ack_delay),
            limits,
            numbering: Numbering::Data,
            streams: Streams::default(),
            runs: Runs::default(),
            inbox: Inbox::default(),
            cumulative: 0,
            expected: 0,
            packet: None,
            announced: limits.window,
            stalls: 0,
            dropped: 0,
        }
    }

    /// The peer's first TSN is known, and whether it sends I-DATA. Also starts anew after a restart; what was
    /// handed out already stays to be pulled.
    pub(super) fn start(&mut self, initial: Serial32, interleaving: bool) {
        self.tracker.start(initial);
        self.numbering = if interleaving { Numbering::Interleaved } else { Numbering::Data };
        self.cumulative = u64::from(initial.previous().0) | 1 << 32;
        let deliveries: Vec<_> = self.streams.iter().map(|(id, s)| (id, s.delivery)).collect();
        self.streams = Streams::default();
        self.runs = Runs::default();
        for (stream, delivery) in deliveries {
            self.set_delivery(stream, delivery);
        }
    }

    /// Says how the messages of a stream are handed out from now on.
    pub(super) fn set_delivery(&mut self, stream: StreamId, delivery: Delivery) {
        if delivery == Delivery::Whole && self.streams.get(stream).is_none() {
            return;
        }
        if let Some(inbound) = self.streams.get_or_insert(stream, self.limits.max_streams, Inbound::new) {
            inbound.delivery = delivery;
        }
    }

    /// Takes a chunk in, whose payload lies at `at` in the packet that [`end_of_packet`](Self::end_of_packet) will
    /// bring. Its fate is not the caller's concern, unless it breaks the protocol.
    pub(super) fn on_data(&mut self, chunk: &DataChunk<&[u8]>, at: usize) -> Result<(), Violation> {
        if chunk.payload.is_empty() {
            // RFC 9260 §6.2: No User Data.
            return Err(Violation("DATA without user data"));
        }
        let urgency = if chunk.immediate { Urgency::Immediate } else { Urgency::Normal };
        if self.packet != Some(Urgency::Immediate) {
            self.packet = Some(urgency);
        }
        // A full window behind a gap must not keep the gap from closing (RFC 9260 §6.1 B), and with nothing to hand
        // out, the next chunk in order is the only way forward.
        let verdict = self.tracker.verdict(chunk.tsn);
        let is_next = chunk.tsn == self.tracker.cumulative().next();
        let room = match verdict {
            Verdict::Duplicate => {
                self.tracker.mark_duplicate(chunk.tsn);
                return Ok(());
            }
            Verdict::OutOfReach => return self.refuse(),
            Verdict::Extends if !is_next => self.limits.window,
            Verdict::Extends | Verdict::Fills => self.limits.window + self.limits.window / 16,
        };
        if !self.has_room(chunk.payload.len() + MAX_OVERHEAD, room) {
            return if is_next { self.on_stall() } else { self.refuse() };
        }
        self.stalls = 0;
        let limit = self.limits.max_streams;
        self.tracker.mark(chunk.tsn);
        self.cumulative = unwrap(self.cumulative, self.tracker.cumulative().0);
        if self.streams.get_or_insert(chunk.stream, limit, Inbound::new).is_none() {
            return Err(Violation("too many streams in use"));
        }
        if chunk.unordered { self.on_unordered(chunk, at) } else { self.on_ordered(chunk, at) }
    }

    /// RFC 9260 §6.5: a chunk of a stream that does not exist is acknowledged, and not kept.
    pub(super) fn on_discarded(&mut self, tsn: Serial32) {
        self.dropped += 1;
        self.packet = Some(Urgency::Immediate);
        if matches!(self.tracker.verdict(tsn), Verdict::Extends | Verdict::Fills) {
            self.tracker.mark(tsn);
            self.cumulative = unwrap(self.cumulative, self.tracker.cumulative().0);
        }
    }

    /// Whether `size` bytes more fit into `room`. What buffers hold in reserve is given back before the answer is no.
    fn has_room(&mut self, size: usize, room: usize) -> bool {
        let held = self.occupied();
        if held + size > room && self.runs.reserve() >= room / 16 {
            self.runs.shrink();
        }
        if held + self.inbox.reserve() + size > room && self.inbox.reserve() >= room / 16 {
            self.inbox.shrink();
        }
        let held = self.occupied();
        held + size <= room || (self.inbox.is_empty() && self.runs.is_empty())
    }

    /// The next chunk in order finds no room. While there is something to read, or something that the peer may give
    /// up, that will pass. Else the peer began more messages than the window can hold, and would wait for ever.
    fn on_stall(&mut self) -> Result<(), Violation> {
        self.stalls += u32::from(self.inbox.is_empty());
        if self.stalls > MAX_STALLS {
            return Err(Violation("more unfinished messages than the receive window holds"));
        }
        self.refuse()
    }

    /// Not kept, so not acknowledged; the SACK tells the peer.
    fn refuse(&mut self) -> Result<(), Violation> {
        self.dropped += 1;
        self.packet = Some(Urgency::Immediate);
        Ok(())
    }

    fn on_ordered(&mut self, chunk: &DataChunk<&[u8]>, at: usize) -> Result<(), Violation> {
        let Some(inbound) = self.streams.get_mut(chunk.stream) else { return Ok(()) };
        let message = match self.numbering {
            Numbering::Data => unwrap16(inbound.next, chunk.ssn_or_mid),
            Numbering::Interleaved => unwrap(inbound.next, chunk.ssn_or_mid),
        };
        if message < inbound.next {
            // A message of before: its TSN is new, so the peer is confused, not we.
            self.dropped += 1;
            return Ok(());
        }
        let is_whole = chunk.beginning && chunk.ending;
        if is_whole && message == inbound.next && inbound.partial.is_none() {
            inbound.next += 1;
            let drain = !self.runs.is_empty();
            let is_piece = inbound.delivery == Delivery::Pieces;
            self.inbox.push_slice(slice(chunk, at, is_piece));
            if drain {
                self.drain(chunk.stream);
            }
            return Ok(());
        }
        let stream = chunk.stream;
        let is_whole_message = inbound.delivery == Delivery::Whole;
        let fragment = self.fragment(Lane::ordered(stream), message, chunk);
        if let Some(place) = self.insert(&fragment, is_whole_message)? {
            self.runs.settle(place);
        } else if is_whole_message {
            return Ok(());
        }
        self.drain(stream);
        Ok(())
    }

    fn on_unordered(&mut self, chunk: &DataChunk<&[u8]>, at: usize) -> Result<(), Violation> {
        let stream = chunk.stream;
        let Some(inbound) = self.streams.get_mut(stream) else { return Ok(()) };
        let is_piece = inbound.delivery == Delivery::Pieces;
        if chunk.beginning && chunk.ending {
            self.inbox.push_slice(slice(chunk, at, is_piece));
            return Ok(());
        }
        let message = match self.numbering {
            // RFC 9260 §6.6: no SSN; fragments of a message have neighbouring TSNs.
            Numbering::Data => 0,
            Numbering::Interleaved => {
                let message = unwrap(inbound.highest_unordered, chunk.ssn_or_mid);
                inbound.highest_unordered = inbound.highest_unordered.max(message);
                message
            }
        };
        let tsn = chunk.tsn;
        let fragment = self.fragment(Lane::unordered(stream), message, chunk);
        if self.is_orphan(stream, tsn, &fragment) {
            self.dropped += 1;
            return Ok(());
        }
        if let Some(place) = self.insert(&fragment, true)?
            && let Some(part) = self.runs.take(&place)
        {
            self.hand_out(stream, part, is_piece.then_some(true));
        }
        Ok(())
    }

    /// Whether an unordered fragment belongs to a message that was given up, and would wait for ever.
    fn is_orphan(&self, stream: StreamId, tsn: Serial32, fragment: &Fragment<'_>) -> bool {
        let Some(inbound) = self.streams.get(stream) else { return true };
        match self.numbering {
            Numbering::Interleaved => fragment.place.message < inbound.unordered_floor,
            // The fragment before it has passed, and is not here: it was skipped.
            Numbering::Data => {
                !fragment.is_first
                    && !self.runs.has_end_at(&fragment.place)
                    && self.tracker.verdict(tsn.previous()) == Verdict::Duplicate
            }
        }
    }

    fn fragment<'a>(&self, lane: Lane, message: u64, chunk: &DataChunk<&'a [u8]>) -> Fragment<'a> {
        let index = match self.numbering {
            Numbering::Data => unwrap(self.cumulative, chunk.tsn.0),
            Numbering::Interleaved => u64::from(chunk.fsn),
        };
        Fragment {
            place: Place { lane, message, index },
            is_first: chunk.beginning,
            is_last: chunk.ending,
            ppid: chunk.ppid,
            payload: chunk.payload,
        }
    }

    /// Puts a fragment among its neighbours, and says where its message lies when that made it complete.
    fn insert(
        &mut self,
        fragment: &Fragment<'_>,
        is_whole_message: bool,
    ) -> Result<Option<Place>, Violation> {
        let max = self.limits.max_message_size;
        if is_whole_message && self.runs.len_at(&fragment.place) + fragment.payload.len() > max {
            return Err(Violation("message larger than max-message-size"));
        }
        // Messages that begin may take in advance what they are expected to need, up to half of the window.
        let held = self.occupied();
        let allowance = Allowance {
            expected: self.expected.min((self.limits.window / 2).saturating_sub(held)),
            growth: self.limits.window.saturating_sub(held),
        };
        match self.runs.insert(fragment, allowance) {
            Ok(complete) => Ok(complete),
            Err(_) => {
                self.dropped += 1;
                Ok(None)
            }
        }
    }

    /// Hands out what has become next in order on a stream.
    fn drain(&mut self, stream: StreamId) {
        let lane = Lane::ordered(stream);
        loop {
            let Some(inbound) = self.streams.get_mut(stream) else { return };
            let next = inbound.next;
            match inbound.delivery {
                Delivery::Whole if inbound.partial.is_none() => {
                    let Some(part) = self.runs.take_complete(lane, next) else { return };
                    inbound.next += 1;
                    self.hand_out(stream, part, None);
                }
                _ => {
                    let from = inbound.partial.map(|(index, _)| index);
                    let Some(part) = self.runs.take_front(lane, next, from) else { return };
                    let ppid = inbound.partial.map_or(part.ppid, |(_, ppid)| ppid);
                    let is_last = part.is_last;
                    inbound.partial = (!is_last).then_some((part.end, ppid));
                    inbound.next += u64::from(is_last);
                    self.inbox.push(event(stream, ppid, part.data, Some(is_last)));
                }
            }
        }
    }

    /// Queues a message that was put together.
    fn hand_out(&mut self, stream: StreamId, part: Part, piece: Option<bool>) {
        self.expected = part.data.len().min(self.limits.max_message_size);
        self.inbox.push(event(stream, part.ppid, part.data, piece));
    }

    /// RFC 3758 §3.6, RFC 8260 §2.3.1: the peer gave up on everything up to `cumulative`.
    pub(super) fn on_forward_tsn(&mut self, cumulative: Serial32, skips: impl Iterator<Item = Skipped>) {
        self.packet = Some(Urgency::Immediate);
        let distance = self.tracker.cumulative().distance_to(cumulative);
        // Old ones still cause a SACK; ones from nowhere do not move anything.
        if !(1..=i32::from(u16::MAX)).contains(&distance) {
            self.tracker.owe_now();
            return;
        }
        self.tracker.skip_to(cumulative);
        self.cumulative = unwrap(self.cumulative, self.tracker.cumulative().0);
        for skip in skips {
            self.skip(skip);
        }
        if self.numbering == Numbering::Data {
            // FORWARD-TSN names no unordered messages: their fragments go by TSN.
            self.runs.drop_unordered_up_to(unwrap(self.cumulative, cumulative.0));
        }
    }

    fn skip(&mut self, skip: Skipped) {
        let Some(inbound) = self.streams.get_or_insert(skip.stream, self.limits.max_streams, Inbound::new)
        else {
            return;
        };
        if skip.unordered {
            let last = unwrap(inbound.highest_unordered, skip.ssn_or_mid);
            inbound.highest_unordered = inbound.highest_unordered.max(last);
            inbound.unordered_floor = inbound.unordered_floor.max(last + 1);
            self.runs.drop_messages(Lane::unordered(skip.stream), last);
            return;
        }
        let last = match self.numbering {
            Numbering::Data => unwrap16(inbound.next, skip.ssn_or_mid),
            Numbering::Interleaved => unwrap(inbound.next, skip.ssn_or_mid),
        };
        if last < inbound.next {
            return;
        }
        // What is complete was given up by the peer for want of our SACK: it is delivered all the same.
        let mut complete = Vec::new();
        let lane = Lane::ordered(skip.stream);
        while inbound.next <= last {
            let next = inbound.next;
            match self.runs.first_message(lane) {
                Some(message) if message <= last => {
                    inbound.next = message.max(next);
                    complete.extend(self.runs.take_complete(lane, inbound.next));
                    self.runs.drop_messages(lane, inbound.next);
                    inbound.next += 1;
                }
                _ => inbound.next = last + 1,
            }
        }
        let cut = inbound.partial.take();
        let is_piece = inbound.delivery == Delivery::Pieces;
        if let Some((_, ppid)) = cut {
            self.inbox.push(event(skip.stream, ppid, Bytes::new(), Some(true)));
        }
        for part in complete {
            self.hand_out(skip.stream, part, is_piece.then_some(true));
        }
        self.drain(skip.stream);
    }

    /// RFC 6525 §5.2.2: the peer's outgoing streams begin anew; an empty list names all of them. The caller has
    /// made sure that everything sent before has arrived.
    pub(super) fn on_incoming_reset(&mut self, streams: &[StreamId]) {
        if streams.is_empty() {
            let all: Vec<_> = self.streams.iter().map(|(id, _)| id).collect();
            all.into_iter().for_each(|stream| self.reset(stream));
        } else {
            streams.iter().for_each(|&stream| self.reset(stream));
        }
    }

    fn reset(&mut self, stream: StreamId) {
        self.streams.remove(stream);
        self.runs.drop_lane(Lane::ordered(stream));
        self.runs.drop_lane(Lane::unordered(stream));
        self.inbox.push(Event::IncomingReset(stream));
    }

    /// The next message or piece; it leaves the window, which may have to be told to the peer.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        let event = self.inbox.pop()?;
        // RFC 9260 §6.2: a window that was nearly closed and has opened again is announced.
        let open = self.free();
        if self.announced < self.limits.window / 4 && open >= self.limits.window / 2 {
            self.tracker.owe_now();
            self.announced = open;
        }
        Some(event)
    }

    fn free(&self) -> usize {
        self.limits.window.saturating_sub(self.occupied())
    }

    /// Memory that counts in the window: what waits, and the state of streams up to a quarter of the window, since
    /// no reading gives that back.
    fn occupied(&self) -> usize {
        self.held() + self.streams.memory().min(self.limits.window / 4)
    }

    /// Gives back memory that is not in use.
    pub(super) fn slim(&mut self) {
        self.inbox.slim();
        self.runs.slim();
        self.tracker.slim();
    }

    /// Every chunk of a packet has been given: decides when the SACK leaves.
    pub(super) fn end_of_packet(&mut self, now: Instant, packet: Bytes) {
        self.inbox.end_of_packet(packet, self.limits.window);
        if let Some(urgency) = self.packet.take() {
            self.tracker.end_of_packet(now, urgency == Urgency::Immediate);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.tracker.handle_timeout(now);
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.tracker.next_timeout()
    }

    /// What a SACK has to say, when one is due, or one may ride along; [`on_sack_sent`](Self::on_sack_sent) follows.
    pub(super) fn sack(&self) -> Sack<'_> {
        Sack { receiver: self }
    }

    /// Whether a SACK must leave now.
    pub(super) fn is_sack_due(&self) -> bool {
        self.tracker.is_due()
    }

    /// Whether a SACK is owed, now or soon: it may ride along with other chunks.
    pub(super) fn is_sack_owed(&self) -> bool {
        self.tracker.is_owed()
    }

    /// Makes a SACK due now, for instance while the association shuts down.
    pub(super) fn owe_sack(&mut self) {
        self.tracker.owe_now();
    }

    /// The SACK was written.
    pub(super) fn on_sack_sent(&mut self) {
        self.announced = self.free();
        self.tracker.on_sack_sent();
    }

    /// The last TSN up to which everything arrived.
    pub(super) fn cumulative(&self) -> Serial32 {
        self.tracker.cumulative()
    }

    /// Events that were not pulled.
    pub(super) fn event_count(&self) -> usize {
        self.inbox.len()
    }

    /// Streams that hold state.
    #[cfg(test)]
    pub(super) fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// Memory of what waits, in bytes.
    pub(super) fn held(&self) -> usize {
        self.runs.cost() + self.inbox.cost()
    }
}

/// What a SACK says (RFC 9260 §3.3.4).
#[derive(Debug)]
pub(super) struct Sack<'a> {
    receiver: &'a Receiver,
}

impl Sack<'_> {
    pub(super) fn cumulative(&self) -> Serial32 {
        self.receiver.tracker.cumulative()
    }

    /// The advertised receiver window credit in bytes.
    pub(super) fn window(&self) -> u32 {
        u32::try_from(self.receiver.free()).unwrap_or(u32::MAX)
    }

    /// Start and end of each gap block, as offsets from the cumulative TSN.
    pub(super) fn gaps(&self) -> impl Iterator<Item = (u16, u16)> {
        self.receiver.tracker.gaps()
    }

    pub(super) fn duplicates(&self) -> &[Serial32] {
        self.receiver.tracker.duplicates()
    }
}

/// A message of one chunk, whose payload lies at `at` in its packet.
#[inline]
fn slice(chunk: &DataChunk<&[u8]>, at: usize, is_piece: bool) -> Slice {
    Slice { stream: chunk.stream, ppid: chunk.ppid, is_piece, at, len: chunk.payload.len() }
}

/// A whole message, or a piece that is the last one or not.
fn event(stream: StreamId, ppid: u32, data: Bytes, piece: Option<bool>) -> Event {
    match piece {
        None => Event::Message { stream, ppid, data },
        Some(is_last) => Event::Piece { stream, ppid, data, is_last },
    }
}

/// The 64-bit number nearest to `base` whose low 32 bits are `value`.
fn unwrap(base: u64, value: u32) -> u64 {
    let step = (value.wrapping_sub(base as u32)).cast_signed();
    base.saturating_add_signed(i64::from(step))
}

/// The 64-bit number nearest to `base` whose low 16 bits are those of `value`.
fn unwrap16(base: u64, value: u32) -> u64 {
    let step = (value as u16).wrapping_sub(base as u16).cast_signed();
    base.saturating_add_signed(i64::from(step))
}

#[cfg(test)]
mod tests;
