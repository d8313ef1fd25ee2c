//! Flights: what is sent as one and sent again until the other side answers (RFC 6347 §4.2.4), or says what of it
//! has arrived (RFC 9147 §7.2).
//!
//! Messages are packed: several to a record where their epoch is the same, several records to a datagram, and
//! a message that does not fit is cut (RFC 6347 §4.2.3).

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::handshake::{Fragment, HEADER_LEN, HandshakeType};
use super::record::{ContentType, Epoch, RecordNumber};
use super::records::Records;
use crate::time::{Backoff, Timer};
use crate::wire::writer::Writer;

/// A message is not cut to leave a fragment shorter than this at the end of a datagram.
const MIN_FRAGMENT: usize = 32;

/// Room that a datagram always has, whatever limit is asked for, so that a flight makes progress.
const MIN_DATAGRAM: usize = 128;

/// How many records of a flight are remembered for the peer's ACKs; the oldest go first.
const MAX_TRACKED: usize = 256;

/// One step of a flight.
#[derive(Debug)]
enum Item {
    Message(Message),
    ChangeCipherSpec,
}

#[derive(Debug)]
struct Message {
    epoch: Epoch,
    kind: HandshakeType,
    message_seq: u16,
    body: BytesMut,
    /// What of the body the peer has, in order; none touches another.
    acked: Vec<Range<usize>>,
}

impl Message {
    /// The next bytes at or behind `offset` that the peer may not have. A body is empty in 1.2 only, where nothing is
    /// acknowledged.
    fn next_unacked(&self, offset: usize) -> Option<Range<usize>> {
        if self.body.is_empty() {
            return (offset == 0).then_some(0..0);
        }
        let mut start = offset;
        for acked in &self.acked {
            if start < acked.start {
                return Some(start..acked.start);
            }
            start = start.max(acked.end);
        }
        (start < self.body.len()).then_some(start..self.body.len())
    }

    fn is_acked(&self) -> bool {
        self.next_unacked(0).is_none()
    }

    /// Notes bytes that the peer has; `false` when that was known.
    fn acknowledge(&mut self, piece: Range<usize>) -> bool {
        let known = self.acked.iter().any(|acked| acked.start <= piece.start && piece.end <= acked.end);
        if known || piece.is_empty() {
            return false;
        }
        self.acked.push(piece);
        self.acked.sort_unstable_by_key(|acked| acked.start);
        self.acked.dedup_by(|next, last| {
            let touches = next.start <= last.end;
            if touches {
                last.end = last.end.max(next.end);
            }
            touches
        });
        true
    }
}

/// A part of a message that a record holds.
#[derive(Debug)]
struct Piece {
    item: usize,
    bytes: Range<usize>,
}

/// The messages of a flight, how far they are written, and what of them the peer has said to have.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    items: Vec<Item>,
    /// The item that is written next, and the offset into its body.
    at: usize,
    offset: usize,
    /// What each record holds, if the peer may speak 1.3.
    records: Option<BTreeMap<RecordNumber, Vec<Piece>>>,
}

impl Flight {
    /// Remembers from now on what each record holds (RFC 9147 §7.2).
    pub(crate) fn track(&mut self) {
        self.records = Some(BTreeMap::new());
    }

    /// Appends a message.
    pub(crate) fn push(&mut self, epoch: Epoch, kind: HandshakeType, message_seq: u16, body: BytesMut) {
        self.items.push(Item::Message(Message { epoch, kind, message_seq, body, acked: Vec::new() }));
    }

    /// Appends a ChangeCipherSpec record.
    pub(crate) fn push_change_cipher_spec(&mut self) {
        self.items.push(Item::ChangeCipherSpec);
    }

    /// Forgets all: the other side has it.
    pub(crate) fn clear(&mut self) {
        *self = Flight::default();
    }

    /// Starts again from the first message. What is known by an ACK in the clear is not believed for longer than one
    /// round: a forged one must not make a flight incomplete for ever.
    pub(crate) fn rewind(&mut self) {
        for item in &mut self.items {
            if let Item::Message(message) = item
                && message.epoch == 0
            {
                message.acked.clear();
            }
        }
        self.rewind_to_unacked();
    }

    /// Starts again with the first bytes that the peer has not acknowledged.
    pub(crate) fn rewind_to_unacked(&mut self) {
        self.at = 0;
        self.offset = 0;
        self.settle();
    }

    /// Goes on to what is to be written.
    fn settle(&mut self) {
        while let Some(Item::Message(message)) = self.items.get(self.at) {
            if let Some(next) = message.next_unacked(self.offset) {
                self.offset = next.start;
                return;
            }
            self.at += 1;
            self.offset = 0;
        }
    }

    /// The peer has these records (RFC 9147 §7.2). `true` when that is news. An ACK in the clear speaks for records in
    /// the clear only.
    pub(crate) fn on_ack(&mut self, epoch: Epoch, numbers: &[RecordNumber]) -> bool {
        let Some(records) = &mut self.records else { return false };
        let mut is_news = false;
        for number in numbers.iter().filter(|number| number.epoch == 0 || epoch > 0) {
            for Piece { item, bytes } in records.remove(number).unwrap_or_default() {
                if let Some(Item::Message(message)) = self.items.get_mut(item) {
                    is_news |= message.acknowledge(bytes);
                }
            }
        }
        is_news
    }

    /// Whether the peer has said that it has all.
    pub(crate) fn is_acked(&self) -> bool {
        self.items.iter().all(|item| matches!(item, Item::Message(message) if message.is_acked()))
    }

    /// Whether something is to be written.
    pub(crate) fn is_pending(&self) -> bool {
        self.at < self.items.len()
    }

    /// Whether there is anything to send again.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Writes records behind what `out` holds, until the flight ends or `out` has `max` bytes.
    pub(crate) fn write(&mut self, records: &mut Records, out: &mut BytesMut, max: usize) {
        let max = max.max(MIN_DATAGRAM);
        while self.is_pending() && self.write_record(records, out, max) {}
    }

    /// Writes one record; `false` when there is no room for one.
    fn write_record(&mut self, records: &mut Records, out: &mut BytesMut, max: usize) -> bool {
        let start = out.len();
        let (epoch, content_type) = match self.items.get(self.at) {
            Some(Item::Message(message)) => (message.epoch, ContentType::HANDSHAKE),
            Some(Item::ChangeCipherSpec) => (0, ContentType::CHANGE_CIPHER_SPEC),
            None => return false,
        };
        let overhead = records.overhead(epoch);
        out.resize(start + overhead.head, 0);
        let end = max.saturating_sub(overhead.tail);
        let mut pieces = Vec::new();
        match content_type {
            ContentType::HANDSHAKE => {
                while self.write_fragment(epoch, out, end, &mut pieces) && !self.next_wants_its_own_record() {
                }
            }
            _ if out.len() < end => {
                out.extend_from_slice(&[1]);
                self.at += 1;
            }
            _ => {}
        }
        if out.len() == start + overhead.head {
            out.truncate(start);
            return false;
        }
        match records.seal(epoch, content_type, out, start) {
            Ok(number) => self.remember(number, pieces),
            Err(_) => {
                out.truncate(start);
                return false;
            }
        }
        true
    }

    fn remember(&mut self, number: RecordNumber, pieces: Vec<Piece>) {
        if let Some(records) = &mut self.records {
            if records.len() >= MAX_TRACKED {
                records.pop_first();
            }
            records.insert(number, pieces);
        }
    }

    /// Whether the next message starts a record of its own.
    ///
    /// A peer that lost its last flight's answer must see that ours comes again (RFC 6347 §4.2.4). Some, `dimpl`
    /// among them, look for these messages, and only at the head of a record.
    fn next_wants_its_own_record(&self) -> bool {
        matches!(
            self.items.get(self.at),
            Some(Item::Message(Message {
                kind: HandshakeType::CLIENT_KEY_EXCHANGE | HandshakeType::FINISHED,
                ..
            }))
        )
    }

    /// Writes as much of the next message as fits before `end`, if it is of this epoch.
    fn write_fragment(
        &mut self,
        epoch: Epoch,
        out: &mut BytesMut,
        end: usize,
        pieces: &mut Vec<Piece>,
    ) -> bool {
        let Some(Item::Message(message)) = self.items.get(self.at) else { return false };
        let Some(bytes) = message.next_unacked(self.offset) else { return false };
        let rest = message.body.get(bytes.clone()).unwrap_or_default();
        let room = end.saturating_sub(out.len() + HEADER_LEN);
        if message.epoch != epoch || out.len() + HEADER_LEN > end || room < rest.len().min(MIN_FRAGMENT) {
            return false;
        }
        let part = &rest[..rest.len().min(room)];
        // Bodies are made here, and are far shorter than 2^24 bytes.
        let (Ok(length), Ok(offset)) = (u32::try_from(message.body.len()), u32::try_from(bytes.start)) else {
            return false;
        };
        let Message { kind, message_seq, .. } = *message;
        let fragment = Fragment { kind, length, message_seq, offset, body: part };
        fragment.emit(&mut Writer::new(out));
        let bytes = bytes.start..bytes.start + part.len();
        if bytes.is_empty() {
            // An empty body, of which there is nothing more.
            self.at += 1;
            self.offset = 0;
        } else {
            self.offset = bytes.end;
        }
        pieces.push(Piece { item: self.at, bytes });
        self.settle();
        true
    }
}

/// The interval when the round-trip time is not known (RFC 9147 §5.8.2).
const UNKNOWN_RTT_INTERVAL: Duration = Duration::from_millis(400);
const MIN_INTERVAL: Duration = Duration::from_millis(50);
const MAX_INTERVAL: Duration = Duration::from_secs(1);

/// Decides when a flight is sent again.
///
/// RFC 6347 §4.2.4.1 starts at one second and doubles up to sixty, since it knows nothing of the path. Here ICE
/// has measured it moments ago, so the timer starts at twice the round-trip time, at least 50 ms, and doubles up
/// to one second: a flight is a few datagrams, and the handshake ends after a configured patience anyway.
#[derive(Debug)]
pub(crate) struct Retransmission {
    timer: Timer,
    first: Duration,
    backoff: Backoff,
    /// When the flight was last sent, and the interval that was waited for then.
    sent: Option<Instant>,
}

impl Retransmission {
    /// A timer that is not armed, for a path of this round-trip time.
    pub(crate) fn new(rtt: Option<Duration>) -> Self {
        let first =
            rtt.map_or(UNKNOWN_RTT_INTERVAL, |rtt| rtt.saturating_mul(2)).clamp(MIN_INTERVAL, MAX_INTERVAL);
        Retransmission { timer: Timer::new(), first, backoff: Backoff::new(first, MAX_INTERVAL), sent: None }
    }

    /// There is a path now, of this round-trip time: what was sent on its way before is timed by it.
    pub(crate) fn on_path(&mut self, now: Instant, rtt: Option<Duration>) {
        let is_armed = self.timer.is_armed();
        *self = Retransmission { sent: self.sent, ..Retransmission::new(rtt) };
        if is_armed {
            self.timer.arm(now + self.backoff.step());
        }
    }

    /// A new flight is sent.
    pub(crate) fn on_flight(&mut self, now: Instant) {
        self.backoff = Backoff::new(self.first, MAX_INTERVAL);
        self.on_sent(now);
    }

    /// Whether the flight is due again.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        let due = self.timer.expire(now);
        if due {
            self.on_sent(now);
        }
        due
    }

    /// The peer sends its flight again: it did not get ours (RFC 6347 §4.2.4). `true` when ours is to be sent
    /// again at once, which happens once in half an interval at the most, so that a duplicated datagram or
    /// two timers that fire together do not double the traffic.
    pub(crate) fn on_peer_retransmission(&mut self, now: Instant) -> bool {
        let quiet = self.sent.is_none_or(|sent| now.saturating_duration_since(sent) >= self.first / 2);
        if quiet && self.timer.is_armed() {
            self.on_sent(now);
        }
        quiet
    }

    /// The peer said what is missing: it is to be sent again at once, unless it was sent so recently that this may be
    /// about the time before.
    pub(crate) fn on_ack(&mut self, now: Instant) -> bool {
        let quiet = self.sent.is_none_or(|sent| now.saturating_duration_since(sent) >= self.first / 4);
        if quiet && self.timer.is_armed() {
            self.on_sent(now);
        }
        quiet
    }

    /// The interval before the flight is sent again for the first time.
    pub(crate) fn interval(&self) -> Duration {
        self.first
    }

    /// The peer will not answer: do not wait for longer than the first interval.
    pub(crate) fn hasten(&mut self, now: Instant) {
        if self.timer.is_armed() {
            self.timer.arm_no_later_than(now + self.first / 2);
        }
    }

    fn on_sent(&mut self, now: Instant) {
        self.sent = Some(now);
        self.timer.arm(now + self.backoff.step());
    }

    /// The other side answered, or the handshake is over.
    pub(crate) fn cancel(&mut self) {
        self.timer.cancel();
    }

    /// When the flight is due again.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timer.deadline()
    }
}
