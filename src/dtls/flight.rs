//! Flights: what is sent as one and sent again as one until the other side answers (RFC 6347 §4.2.4).
//!
//! Messages are packed: several to a record where their epoch is the same, several records to a datagram, and
//! a message that does not fit is cut (RFC 6347 §4.2.3).

use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::handshake::{Fragment, HEADER_LEN, HandshakeType};
use super::record::{ContentType, Records};
use crate::time::{Backoff, Timer};
use crate::wire::writer::Writer;

/// A message is not cut to leave a fragment shorter than this at the end of a datagram.
const MIN_FRAGMENT: usize = 32;

/// Room that a datagram always has, whatever limit is asked for, so that a flight makes progress.
const MIN_DATAGRAM: usize = 128;

/// One step of a flight.
#[derive(Debug)]
enum Item {
    Message { epoch: u16, kind: HandshakeType, message_seq: u16, body: BytesMut },
    ChangeCipherSpec,
}

/// The messages of a flight and how far they are written.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    items: Vec<Item>,
    /// The item that is written next, and the offset into its body.
    at: usize,
    offset: usize,
}

impl Flight {
    /// Appends a message.
    pub(crate) fn push(&mut self, epoch: u16, kind: HandshakeType, message_seq: u16, body: BytesMut) {
        self.items.push(Item::Message { epoch, kind, message_seq, body });
    }

    /// Appends a ChangeCipherSpec record.
    pub(crate) fn push_change_cipher_spec(&mut self) {
        self.items.push(Item::ChangeCipherSpec);
    }

    /// Forgets all: the other side has it.
    pub(crate) fn clear(&mut self) {
        *self = Flight::default();
    }

    /// Starts again from the first message.
    pub(crate) fn rewind(&mut self) {
        self.at = 0;
        self.offset = 0;
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
            Some(Item::Message { epoch, .. }) => (*epoch, ContentType::HANDSHAKE),
            Some(Item::ChangeCipherSpec) => (0, ContentType::CHANGE_CIPHER_SPEC),
            None => return false,
        };
        let overhead = records.overhead(epoch);
        out.resize(start + overhead.head, 0);
        let end = max.saturating_sub(overhead.tail);
        match content_type {
            ContentType::HANDSHAKE => {
                while self.write_fragment(epoch, out, end) && !self.next_wants_its_own_record() {}
            }
            _ if out.len() < end => {
                out.extend_from_slice(&[1]);
                self.at += 1;
            }
            _ => {}
        }
        if out.len() == start + overhead.head || records.seal(epoch, content_type, out, start).is_err() {
            out.truncate(start);
            return false;
        }
        true
    }

    /// Whether the next message starts a record of its own.
    ///
    /// A peer that lost its last flight's answer must see that ours comes again (RFC 6347 §4.2.4). Some, `dimpl`
    /// among them, look for these messages, and only at the head of a record.
    fn next_wants_its_own_record(&self) -> bool {
        matches!(
            self.items.get(self.at),
            Some(Item::Message { kind: HandshakeType::CLIENT_KEY_EXCHANGE | HandshakeType::FINISHED, .. })
        )
    }

    /// Writes as much of the next message as fits before `end`, if it is of this epoch.
    fn write_fragment(&mut self, epoch: u16, out: &mut BytesMut, end: usize) -> bool {
        let Some(Item::Message { epoch: of, kind, message_seq, body }) = self.items.get(self.at) else {
            return false;
        };
        let rest = body.get(self.offset..).unwrap_or_default();
        let room = end.saturating_sub(out.len() + HEADER_LEN);
        if *of != epoch || out.len() + HEADER_LEN > end || room < rest.len().min(MIN_FRAGMENT) {
            return false;
        }
        let part = &rest[..rest.len().min(room)];
        // Bodies are made here, and are far shorter than 2^24 bytes.
        let (Ok(length), Ok(offset)) = (u32::try_from(body.len()), u32::try_from(self.offset)) else {
            return false;
        };
        let fragment = Fragment { kind: *kind, length, message_seq: *message_seq, offset, body: part };
        fragment.emit(&mut Writer::new(out));
        if part.len() == rest.len() {
            self.at += 1;
            self.offset = 0;
        } else {
            self.offset += part.len();
        }
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
