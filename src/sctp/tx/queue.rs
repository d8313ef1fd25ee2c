//! What waits to be sent: one queue per stream, and whose turn it is.
//!
//! Streams share the line by weight: each has a virtual time that advances by the bytes it sent, divided by its
//! priority, and the stream that is furthest behind goes next. With plain DATA a message that was begun is
//! finished first, because its fragments must have neighbouring TSNs (RFC 9260 §6.9); with I-DATA every chunk is a
//! new decision (RFC 8260 §3.4). How much may be begun at a time is bounded by the peer's window: a receiver that
//! holds the beginnings of many messages and the end of none could neither hand out nor take in anything.
//!
//! A message that is given up in the middle of a queue leaves an empty entry, so that nothing has to move. Both ends
//! of a queue are always alive.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use bytes::Bytes;

use super::outstanding::KEPT_CAPACITY;
use crate::sctp::chunk::data::DataFormat;
use crate::sctp::streams::Streams;
use crate::types::ids::StreamId;

/// A message of which nothing, or not everything, has a TSN yet.
#[derive(Debug)]
pub(super) struct Queued {
    /// What is left to send of it. Empty once it was given up.
    pub(super) data: Bytes,
    pub(super) ppid: u32,
    pub(super) is_unordered: bool,
    /// Index of its policy, when it is not simply reliable, or its fate is asked for.
    pub(super) policy: Option<u32>,
    /// Set with the first fragment: SSN or MID, and the number of the next fragment.
    pub(super) begun: Option<Begun>,
    /// DCEP messages do not count as buffered.
    pub(super) is_control: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    pub(super) sequence: u32,
    pub(super) fsn: u32,
    /// Length of the whole message, as it counts in what is begun; 0 if it was sent in one piece.
    pub(super) total: usize,
}

/// The next part of a message, for one chunk.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) payload: Bytes,
    pub(super) ppid: u32,
    pub(super) policy: Option<u32>,
    pub(super) begun: Begun,
    pub(super) is_unordered: bool,
    pub(super) is_control: bool,
    pub(super) is_first: bool,
    pub(super) is_last: bool,
    /// Entries that left the queue with it.
    pub(super) removed: usize,
}

/// The outgoing side of one stream.
#[derive(Debug)]
pub(super) struct Outbound {
    queue: VecDeque<Queued>,
    /// Number of the message at the front: messages of a stream are numbered as they are accepted.
    front_number: u32,
    /// User bytes in the queue: the W3C's `bufferedAmount`.
    pub(super) buffered: usize,
    pub(super) low_threshold: usize,
    /// Chunks with a TSN that are neither acknowledged nor given up.
    pub(super) outstanding: u32,
    /// The next SSN, or MID of ordered messages.
    pub(super) next_ordered: u32,
    /// The next MID of unordered messages.
    pub(super) next_unordered: u32,
    weight: u16,
    virtual_time: u64,
    /// Whether the stream stands in the heap.
    is_scheduled: bool,
    /// A reset was asked for: nothing new is accepted.
    pub(super) is_held: bool,
    /// A message was refused for want of room.
    pub(super) is_blocked: bool,
}

/// RFC 8831 §6.4: "low" is 256.
const DEFAULT_WEIGHT: u16 = 256;
/// Virtual time is counted in these parts of a byte, so that division by weights keeps its precision.
const SCALE: u64 = 1 << 16;

impl Outbound {
    fn new() -> Self {
        Outbound {
            queue: VecDeque::new(),
            front_number: 0,
            buffered: 0,
            low_threshold: 0,
            outstanding: 0,
            next_ordered: 0,
            next_unordered: 0,
            weight: DEFAULT_WEIGHT,
            virtual_time: 0,
            is_scheduled: false,
            is_held: false,
            is_blocked: false,
        }
    }

    /// Whether everything that was accepted has arrived or was given up.
    pub(super) fn is_drained(&self) -> bool {
        self.queue.is_empty() && self.outstanding == 0
    }

    /// The number that the next message gets.
    pub(super) fn next_number(&self) -> u32 {
        self.front_number.wrapping_add(self.queue.len() as u32)
    }

    pub(super) fn front(&self) -> Option<&Queued> {
        self.queue.front()
    }

    /// Cuts `len` bytes off the first message. With its first piece it gets its sequence number.
    #[inline]
    pub(super) fn cut(&mut self, len: usize, format: DataFormat) -> Option<Piece> {
        let message = self.queue.front_mut()?;
        let is_last = len >= message.data.len();
        let is_first = message.begun.is_none();
        let begun = match message.begun {
            Some(begun) => begun,
            None => {
                let next = match (message.is_unordered, format) {
                    // RFC 9260 §3.3.1: the SSN of unordered DATA means nothing.
                    (true, DataFormat::Plain) => &mut 0,
                    (true, DataFormat::Interleaved) => &mut self.next_unordered,
                    (false, _) => &mut self.next_ordered,
                };
                let sequence = *next;
                *next = next.wrapping_add(1) & if format == DataFormat::Plain { 0xffff } else { u32::MAX };
                Begun { sequence, fsn: 0, total: if is_last { 0 } else { message.data.len() } }
            }
        };
        message.begun = Some(Begun { fsn: begun.fsn.wrapping_add(1), ..begun });
        let payload = if is_last { std::mem::take(&mut message.data) } else { message.data.split_to(len) };
        let mut piece = Piece {
            payload,
            ppid: message.ppid,
            policy: message.policy,
            begun,
            is_unordered: message.is_unordered,
            is_control: message.is_control,
            is_first,
            is_last,
            removed: 0,
        };
        self.buffered -= if piece.is_control { 0 } else { len };
        if is_last {
            piece.removed = self.pop_front();
        }
        self.outstanding += 1;
        Some(piece)
    }

    /// Removes the first message, and says how many entries left with it.
    #[inline]
    fn pop_front(&mut self) -> usize {
        let before = self.queue.len();
        self.drop_front();
        self.trim();
        before - self.queue.len()
    }

    /// Gives the message `number` up. With it, how many entries left the queue.
    fn give_up(&mut self, number: u32) -> Option<(Queued, usize)> {
        let at = number.wrapping_sub(self.front_number) as usize;
        let entry = self.queue.get_mut(at).filter(|m| !m.data.is_empty())?;
        let message = Queued { data: std::mem::take(&mut entry.data), ..*entry };
        entry.begun = None;
        self.buffered -= if message.is_control { 0 } else { message.data.len() };
        let before = self.queue.len();
        self.trim();
        Some((message, before - self.queue.len()))
    }

    fn drop_front(&mut self) {
        if self.queue.pop_front().is_some() {
            self.front_number = self.front_number.wrapping_add(1);
        }
    }

    #[inline]
    fn trim(&mut self) {
        while self.queue.front().is_some_and(|m| m.data.is_empty()) {
            self.drop_front();
        }
        while self.queue.back().is_some_and(|m| m.data.is_empty()) {
            self.queue.pop_back();
        }
    }
}

/// All outgoing streams, and the order of their turns.
#[derive(Debug, Default)]
pub(super) struct Queues {
    streams: Streams<Outbound>,
    /// Streams with something to send but the current one, least virtual time first, then oldest.
    waiting: BinaryHeap<Reverse<(u64, u64, StreamId)>>,
    /// Whose turn it is; its virtual time has not been charged yet for what it sends now.
    current: Option<StreamId>,
    /// Breaks ties in the order of arrival.
    arrivals: u64,
    /// Virtual time of the stream served last: a stream that wakes up starts from here, without a credit for
    /// the time that it slept.
    virtual_now: u64,
    /// Streams whose next message must not begin before another one ends, longest wait first.
    deferred: VecDeque<StreamId>,
    /// Bytes of the messages that were begun and not sent to their end.
    begun_bytes: usize,
    /// What may be begun at a time.
    begun_limit: usize,
    /// Entries in all queues.
    entries: usize,
    /// The room of a queue that has run empty, for the next one that fills.
    spare: VecDeque<Queued>,
}

impl Queues {
    /// Gives back memory that is not in use.
    pub(super) fn slim(&mut self) {
        self.streams.iter_mut().for_each(|(_, outbound)| outbound.queue.shrink_to_fit());
        self.waiting.shrink_to_fit();
        self.deferred.shrink_to_fit();
        self.spare = VecDeque::new();
    }

    /// The peer can hold so much of messages that are not complete.
    pub(super) fn set_begun_limit(&mut self, bytes: usize) {
        self.begun_limit = bytes;
    }

    /// How long a message may be that takes several chunks and begins now.
    pub(super) fn room_to_begin(&self) -> usize {
        match self.begun_bytes {
            0 => usize::MAX,
            begun => self.begun_limit.saturating_sub(begun),
        }
    }

    /// A message that takes several chunks was begun.
    pub(super) fn on_begun(&mut self, total: usize) {
        self.begun_bytes += total;
    }

    /// The current stream may not begin its message: it waits until others end.
    pub(super) fn defer(&mut self) {
        self.deferred.extend(self.current.take());
    }

    /// A message that was begun has ended: those that waited for it may take turns again.
    pub(super) fn on_ended(&mut self, total: usize) {
        self.begun_bytes -= total;
        let mut planned = 0;
        while let Some(&stream) = self.deferred.front() {
            let Some(outbound) = self.streams.get_mut(stream) else {
                self.deferred.pop_front();
                continue;
            };
            let next = outbound.queue.front().map_or(0, |m| m.data.len());
            if planned + self.begun_bytes > 0 && planned + self.begun_bytes + next > self.begun_limit {
                break;
            }
            planned += next;
            self.deferred.pop_front();
            self.arrivals += 1;
            self.waiting.push(Reverse((outbound.virtual_time, self.arrivals, stream)));
        }
    }

    /// Entries left a queue.
    pub(super) fn on_removed(&mut self, entries: usize) {
        self.entries -= entries;
    }

    /// Gives a message up that waits, whole or in part. With it, how many entries left its queue.
    pub(super) fn give_up(&mut self, stream: StreamId, number: u32) -> Option<(Queued, usize)> {
        let (message, removed) = self.streams.get_mut(stream)?.give_up(number)?;
        self.entries -= removed;
        if let Some(begun) = message.begun {
            self.on_ended(begun.total);
            // With plain DATA it had kept the turn.
            if self.current == Some(stream) {
                self.charge(0, false);
            }
        }
        Some((message, removed))
    }

    /// The peer started anew: numbers begin at zero, and what was begun cannot be finished. Gives that up.
    pub(super) fn on_restart(&mut self) -> Vec<(Queued, usize)> {
        let mut cut = Vec::new();
        for (stream, outbound) in self.streams.iter_mut() {
            outbound.outstanding = 0;
            outbound.next_ordered = 0;
            outbound.next_unordered = 0;
            if outbound.queue.front().is_some_and(|m| m.begun.is_some()) {
                cut.push((stream, outbound.front_number));
            }
        }
        cut.into_iter().filter_map(|(stream, number)| self.give_up(stream, number)).collect()
    }
    pub(super) fn stream(&self, stream: StreamId) -> Option<&Outbound> {
        self.streams.get(stream)
    }

    pub(super) fn stream_mut(&mut self, stream: StreamId) -> Option<&mut Outbound> {
        self.streams.get_mut(stream)
    }

    /// The state of `stream`, made if need be; `None` beyond `limit` streams.
    pub(super) fn open(&mut self, stream: StreamId, limit: usize) -> Option<&mut Outbound> {
        self.streams.get_or_insert(stream, limit, Outbound::new)
    }

    pub(super) fn set_weight(&mut self, stream: StreamId, weight: u16, limit: usize) {
        if let Some(outbound) = self.open(stream, limit) {
            outbound.weight = weight.max(1);
        }
    }

    /// Appends a message; the stream must be open.
    #[inline]
    pub(super) fn push(&mut self, stream: StreamId, message: Queued) {
        let Some(outbound) = self.streams.get_mut(stream) else { return };
        outbound.buffered += if message.is_control { 0 } else { message.data.len() };
        if outbound.queue.capacity() == 0 {
            outbound.queue = std::mem::take(&mut self.spare);
        }
        outbound.queue.push_back(message);
        self.entries += 1;
        if !outbound.is_scheduled {
            outbound.is_scheduled = true;
            outbound.virtual_time = outbound.virtual_time.max(self.virtual_now);
            self.arrivals += 1;
            self.waiting.push(Reverse((outbound.virtual_time, self.arrivals, stream)));
        }
    }

    /// The stream whose turn it is, with its queue not empty; `None` when nothing waits.
    pub(super) fn turn(&mut self) -> Option<(StreamId, &mut Outbound)> {
        loop {
            let stream = match self.current {
                Some(stream) => stream,
                None => {
                    let Reverse((time, _, stream)) = self.waiting.pop()?;
                    self.virtual_now = self.virtual_now.max(time);
                    self.current = Some(stream);
                    stream
                }
            };
            // Looked up twice because a borrow that is returned in one arm lasts for all of them.
            match self.streams.get_mut(stream) {
                Some(outbound) if !outbound.queue.is_empty() => break,
                Some(outbound) => {
                    outbound.is_scheduled = false;
                    if outbound.queue.capacity() > 64 {
                        let room = std::mem::take(&mut outbound.queue);
                        if room.capacity() <= KEPT_CAPACITY {
                            self.spare = room;
                        }
                    }
                }
                None => {}
            }
            self.current = None;
        }
        let stream = self.current?;
        self.streams.get_mut(stream).map(|outbound| (stream, outbound))
    }

    /// The current stream sent `bytes`. Unless it must go on (`keep`), the turn passes.
    #[inline]
    pub(super) fn charge(&mut self, bytes: usize, keep: bool) {
        let Some(stream) = self.current else { return };
        let Some(outbound) = self.streams.get_mut(stream) else { return };
        outbound.virtual_time += bytes as u64 * SCALE / u64::from(outbound.weight);
        if keep {
            return;
        }
        if self.waiting.is_empty() {
            // A stream that wakes up now must not make up for the time in which this one was alone.
            self.virtual_now = self.virtual_now.max(outbound.virtual_time);
            return;
        }
        self.current = None;
        if outbound.queue.is_empty() {
            outbound.is_scheduled = false;
        } else {
            self.arrivals += 1;
            self.waiting.push(Reverse((outbound.virtual_time, self.arrivals, stream)));
        }
    }

    /// Whether any stream has something to send.
    pub(super) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Forgets a stream that is drained: it starts anew with its next use (RFC 6525 §5.2.3).
    pub(super) fn restart(&mut self, stream: StreamId) {
        if let Some(outbound) = self.streams.get_mut(stream) {
            outbound.next_ordered = 0;
            outbound.next_unordered = 0;
            outbound.is_held = false;
            if outbound.is_drained() && outbound.is_scheduled && self.current == Some(stream) {
                self.current = None;
                outbound.is_scheduled = false;
            }
            if outbound.is_drained() && !outbound.is_scheduled {
                self.streams.remove(stream);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn stream_count(&self) -> usize {
        self.streams.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(queues: &mut Queues, stream: u16, len: usize) {
        queues.open(StreamId(stream), 10).unwrap();
        let data = Bytes::from(vec![0; len]);
        queues.push(
            StreamId(stream),
            Queued { data, ppid: 0, is_unordered: false, policy: None, begun: None, is_control: false },
        );
    }

    /// Sends `count` whole messages and counts the bytes of each stream.
    fn send(queues: &mut Queues, count: usize) -> [usize; 3] {
        let mut sent = [0; 3];
        for _ in 0..count {
            let Some((stream, outbound)) = queues.turn() else { break };
            let len = outbound.front().unwrap().data.len();
            let removed = outbound.pop_front();
            sent[usize::from(stream.0)] += len;
            queues.on_removed(removed);
            queues.charge(len, false);
        }
        sent
    }

    #[test]
    fn streams_share_by_weight_whatever_the_size_of_their_messages() {
        let mut queues = Queues::default();
        queues.set_weight(StreamId(0), 256, 10);
        queues.set_weight(StreamId(1), 512, 10);
        queues.set_weight(StreamId(2), 1024, 10);
        for _ in 0..4000 {
            push(&mut queues, 0, 100);
            push(&mut queues, 1, 1000);
            push(&mut queues, 2, 400);
        }
        let sent = send(&mut queues, 2000);
        let ratio = |a: usize, b: usize| sent[a] as f64 / sent[b] as f64;
        assert!((1.9..2.1).contains(&ratio(1, 0)), "{sent:?}");
        assert!((1.9..2.1).contains(&ratio(2, 1)), "{sent:?}");
    }

    #[test]
    fn a_stream_that_slept_has_no_credit() {
        let mut queues = Queues::default();
        for _ in 0..100 {
            push(&mut queues, 0, 100);
            push(&mut queues, 1, 100);
        }
        send(&mut queues, 100);
        for _ in 0..100 {
            push(&mut queues, 2, 100);
        }
        let sent = send(&mut queues, 90);
        assert!(sent.iter().all(|&s| (2800..=3200).contains(&s)), "{sent:?}");
    }

    #[test]
    fn a_restarted_stream_is_forgotten_once_drained() {
        let mut queues = Queues::default();
        push(&mut queues, 1, 10);
        assert_eq!(send(&mut queues, 1), [0, 10, 0]);
        assert!(queues.turn().is_none());
        queues.restart(StreamId(1));
        assert!(queues.stream(StreamId(1)).is_none());
        assert!(queues.is_empty());
    }

    #[test]
    fn a_stream_that_wakes_up_does_not_make_up_for_the_time_another_was_alone() {
        let mut queues = Queues::default();
        for _ in 0..1000 {
            push(&mut queues, 0, 100);
        }
        send(&mut queues, 900);
        for _ in 0..100 {
            push(&mut queues, 1, 100);
        }
        let sent = send(&mut queues, 20);
        assert!((900..=1100).contains(&sent[0]), "{sent:?}");
    }

    #[test]
    fn a_message_is_given_up_wherever_it_stands() {
        let mut queues = Queues::default();
        for _ in 0..5 {
            push(&mut queues, 1, 10);
        }
        let mut give_up = |number| queues.give_up(StreamId(1), number).map(|(_, removed)| removed);
        assert_eq!(give_up(2), Some(0));
        assert_eq!(give_up(2), None);
        assert_eq!(give_up(1), Some(0));
        assert_eq!(give_up(4), Some(1));
        assert_eq!(give_up(0), Some(3));
        assert_eq!(give_up(3), Some(1));
        assert!(queues.is_empty());
        assert_eq!(queues.stream(StreamId(1)).map(|o| o.buffered), Some(0));
    }
}
