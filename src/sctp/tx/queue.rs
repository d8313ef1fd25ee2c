//! What waits to be sent: one queue per stream, and whose turn it is.
//!
//! Streams share the line by weight: each has a virtual time that advances by the bytes it sent, divided by its
//! priority, and the stream that is furthest behind goes next. With plain DATA a message that was begun is
//! finished first, because its fragments must have neighbouring TSNs (RFC 9260 §6.9); with I-DATA every chunk is a
//! new decision (RFC 8260 §3.4).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use bytes::Bytes;

use crate::sctp::streams::Streams;
use crate::types::ids::StreamId;

/// A message of which nothing, or not everything, has a TSN yet.
#[derive(Debug)]
pub(super) struct Queued {
    /// What is left to send of it.
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
}

/// The outgoing side of one stream.
#[derive(Debug)]
pub(super) struct Outbound {
    pub(super) queue: VecDeque<Queued>,
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
}

impl Queues {
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
    pub(super) fn push(&mut self, stream: StreamId, message: Queued) {
        let Some(outbound) = self.streams.get_mut(stream) else { return };
        outbound.buffered += if message.is_control { 0 } else { message.data.len() };
        outbound.queue.push_back(message);
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
                        outbound.queue = VecDeque::new();
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
    pub(super) fn charge(&mut self, bytes: usize, keep: bool) {
        let Some(stream) = self.current else { return };
        let Some(outbound) = self.streams.get_mut(stream) else { return };
        outbound.virtual_time += bytes as u64 * SCALE / u64::from(outbound.weight);
        if keep || self.waiting.is_empty() {
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
        self.waiting.is_empty()
            && self.current.is_none_or(|s| self.streams.get(s).is_none_or(|o| o.queue.is_empty()))
    }

    /// Forgets a stream that is drained: it starts anew with its next use (RFC 6525 §5.2.3).
    pub(super) fn restart(&mut self, stream: StreamId) {
        if let Some(outbound) = self.streams.get_mut(stream) {
            outbound.next_ordered = 0;
            outbound.next_unordered = 0;
            outbound.is_held = false;
            if outbound.is_drained() && !outbound.is_scheduled && self.current != Some(stream) {
                self.streams.remove(stream);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn stream_count(&self) -> usize {
        self.streams.len()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (StreamId, &mut Outbound)> {
        self.streams.iter_mut()
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
            let len = outbound.queue.pop_front().unwrap().data.len();
            sent[usize::from(stream.0)] += len;
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
}
