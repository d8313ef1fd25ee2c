//! Stream re-configuration (RFC 6525): how a stream ends so that its number can be used again.
//!
//! ```text
//! ours:    wanted --drained--> in flight --performed--> begins anew
//!                                 ^  |
//!                                 `--' in progress, no answer: asked again
//! theirs:  request --all before it arrived?--> performed
//!                    `--no--> deferred, until it has
//! ```

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::chunk::parameter::Parameters;
use super::chunk::reconfig::{Outcome, Reconfig, StreamList, emit_outgoing_reset, outgoing_reset_len};
use super::rx::Receiver;
use super::tx::Sender;
use super::types::{Event, Tsn};
use crate::time::{Backoff, Timer};
use crate::types::ids::StreamId;
use crate::wire::serial::Serial32;
use crate::wire::writer::Writer;

/// The longest pause between two requests. RFC 6525 §5.1.1 doubles up to RTO.Max; nothing but this request measures
/// whether the path is back, and it is small.
const REQUEST_PAUSE: Duration = Duration::from_secs(2);
/// Streams in one request: they fit the smallest packet.
const MAX_STREAMS_PER_REQUEST: usize = 160;
/// Streams of one request of the peer. Each becomes an event.
const MAX_STREAMS_ACCEPTED: usize = 2048;
/// With so many events waiting for the user, no reset adds to them.
const MAX_EVENTS_WAITING: usize = 2048;

/// Our request that the peer has not answered.
#[derive(Debug)]
struct Request {
    sequence: u32,
    /// The peer's request that this one answers, or its last one.
    response: u32,
    last_tsn: Tsn,
    streams: Vec<StreamId>,
    timer: Timer,
    backoff: Backoff,
    is_due: bool,
}

/// A request of the peer that waits for data sent before it (RFC 6525 §5.2.2 E2).
#[derive(Debug)]
struct Deferred {
    sequence: u32,
    last_tsn: Tsn,
    streams: Vec<StreamId>,
}

/// Both directions of the re-configuration of streams.
#[derive(Debug, Default)]
pub(super) struct Reset {
    /// Streams that will be asked for, once what was accepted on them is settled.
    wanted: BTreeSet<StreamId>,
    in_flight: Option<Box<Request>>,
    /// Streams whose reset the peer denied: their numbers are lost.
    denied: BTreeSet<StreamId>,
    /// The sequence number of our next request.
    next_request: Serial32,
    /// The sequence number of the peer's next request.
    next_expected: Serial32,
    /// The peer's incoming request that our next outgoing one answers.
    answers: Option<u32>,
    /// The outcomes of the peer's last two requests: one chunk may carry two.
    answered: [Option<(u32, Outcome)>; 2],
    deferred: Option<Deferred>,
}

/// The machines that a reset acts on.
pub(super) struct Parts<'a> {
    pub(super) sender: &'a mut Sender,
    pub(super) receiver: &'a mut Receiver,
    pub(super) events: &'a mut std::collections::VecDeque<Event>,
    /// Streams that the peer may send on, and how many it may have.
    pub(super) inbound_streams: &'a mut u16,
    pub(super) max_streams: u16,
}

impl Reset {
    /// The handshake told both first sequence numbers (RFC 6525 §4.1: the initial TSNs). After a restart, what was
    /// asked for has happened: all streams begin anew.
    pub(super) fn start(&mut self, local: Tsn, peer: Tsn, parts: &mut Parts<'_>) {
        if let Some(request) = self.in_flight.take() {
            complete(request.streams, parts);
        }
        self.deferred = None;
        self.denied.clear();
        self.answers = None;
        self.answered = [None; 2];
        self.next_request = local;
        self.next_expected = peer;
    }

    /// Asks for `stream`; the caller lets the sender take no more on it.
    pub(super) fn want(&mut self, stream: StreamId) {
        let is_asked = self.in_flight.as_ref().is_some_and(|r| r.streams.contains(&stream));
        if !is_asked {
            self.wanted.insert(stream);
        }
    }

    /// Takes back what was asked for and not yet requested.
    pub(super) fn take_wanted(&mut self) -> BTreeSet<StreamId> {
        std::mem::take(&mut self.wanted)
    }

    /// Whether our side of `stream` is on its way to a new beginning.
    pub(super) fn is_resetting(&self, stream: StreamId) -> bool {
        self.wanted.contains(&stream)
            || self.denied.contains(&stream)
            || self.in_flight.as_ref().is_some_and(|r| r.streams.contains(&stream))
    }

    /// Whether [`advance`](Self::advance) or [`settle_deferred`](Self::settle_deferred) may have something to do.
    pub(super) fn is_busy(&self) -> bool {
        !self.wanted.is_empty() || self.deferred.is_some()
    }

    /// RFC 6525 §5.1.2: makes the next request, of the streams on which everything is settled.
    pub(super) fn advance(&mut self, sender: &Sender, rto: Duration, rto_max: Duration) {
        if self.in_flight.is_some() || self.wanted.is_empty() {
            return;
        }
        let drained = self.wanted.iter().copied().filter(|&s| sender.is_stream_drained(s));
        let streams: Vec<_> = drained.take(MAX_STREAMS_PER_REQUEST).collect();
        if streams.is_empty() {
            return;
        }
        streams.iter().for_each(|stream| {
            self.wanted.remove(stream);
        });
        let sequence = self.next_request.0;
        self.next_request = self.next_request.next();
        // §5.1.2 A4: the request that is answered, or the last one of the peer.
        let response = self.answers.take().unwrap_or(self.next_expected.previous().0);
        self.in_flight = Some(Box::new(Request {
            sequence,
            response,
            last_tsn: sender.last_tsn(),
            streams,
            timer: Timer::new(),
            backoff: Backoff::new(rto, rto_max.min(REQUEST_PAUSE)),
            is_due: true,
        }));
    }

    /// Appends the request when it is due and fits; says whether it wrote.
    pub(super) fn emit(&mut self, now: Instant, w: &mut Writer<'_>, room: usize) -> bool {
        let Some(request) = self.in_flight.as_mut().filter(|r| r.is_due) else { return false };
        if outgoing_reset_len(request.streams.len()) > room {
            return false;
        }
        emit_outgoing_reset(w, request.sequence, request.response, request.last_tsn, &request.streams);
        request.is_due = false;
        request.timer.arm(now + request.backoff.step());
        true
    }

    /// Whether a request is to leave.
    pub(super) fn is_due(&self) -> bool {
        self.in_flight.as_ref().is_some_and(|request| request.is_due)
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.in_flight.as_ref().and_then(|r| r.timer.deadline())
    }

    /// RFC 6525 §5.1.1: no answer came, so the same request leaves again. True when it does.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        let Some(request) = &mut self.in_flight else { return false };
        let is_over = request.timer.expire(now);
        request.is_due |= is_over;
        is_over
    }

    /// RFC 6525 §5.2.1: takes in a RE-CONFIG chunk; gives the answers, which leave in one chunk.
    pub(super) fn on_reconfig(
        &mut self,
        now: Instant,
        value: &[u8],
        rto: Duration,
        parts: &mut Parts<'_>,
    ) -> Vec<(u32, Outcome)> {
        let mut answers = Vec::new();
        // §3.1: one or two parameters.
        for found in Parameters::new(value).take(2) {
            let Some(parameter) = found.ok().and_then(|f| Reconfig::parse(&f).ok()).flatten() else { break };
            answers.extend(self.on_parameter(now, parameter, rto, parts));
        }
        answers
    }

    fn on_parameter(
        &mut self,
        now: Instant,
        parameter: Reconfig<'_>,
        rto: Duration,
        parts: &mut Parts<'_>,
    ) -> Option<(u32, Outcome)> {
        let sequence = match parameter {
            Reconfig::Response { response, outcome } => {
                self.on_response(now, response, outcome, rto, parts);
                return None;
            }
            Reconfig::OutgoingReset { request, .. }
            | Reconfig::IncomingReset { request, .. }
            | Reconfig::SsnTsnReset { request }
            | Reconfig::AddOutgoing { request, .. }
            | Reconfig::AddIncoming { request } => request,
        };
        if let Some(known) = self.answered.iter().flatten().find(|(answered, _)| *answered == sequence) {
            return Some(*known);
        }
        if sequence != self.next_expected.0 {
            return Some((sequence, Outcome::BadSequence));
        }
        let outcome = match parameter {
            Reconfig::OutgoingReset { response, last_tsn, streams, .. } => {
                // §5.2.2 E1: it may also answer a request of ours; ours are never incoming requests.
                let _ = response;
                self.on_outgoing_reset(sequence, last_tsn, streams, parts)
            }
            Reconfig::IncomingReset { streams, .. } => self.on_incoming_reset(sequence, streams, parts),
            Reconfig::AddOutgoing { streams, .. } => add_streams(streams, parts),
            // §5.2.4, §5.2.6: "if willing"; nothing in WebRTC asks for these.
            _ => Outcome::Denied,
        };
        if outcome == Outcome::InProgressAlready {
            // Not taken in: the peer may come again with the same number.
            return Some((sequence, outcome));
        }
        self.next_expected = self.next_expected.next();
        self.answered = [self.answered[1], Some((sequence, outcome))];
        Some((sequence, outcome))
    }

    /// RFC 6525 §5.2.2: the peer's outgoing side, our incoming side.
    fn on_outgoing_reset(
        &mut self,
        sequence: u32,
        last_tsn: Tsn,
        streams: StreamList<'_>,
        parts: &mut Parts<'_>,
    ) -> Outcome {
        if self.deferred.is_some() {
            return Outcome::InProgressAlready;
        }
        let is_ours = |stream: StreamId| stream.0 < *parts.inbound_streams;
        if streams.iter().len() > MAX_STREAMS_ACCEPTED || !streams.iter().all(is_ours) {
            return Outcome::Denied;
        }
        let request = Deferred { sequence, last_tsn, streams: streams.iter().collect() };
        if request.is_ripe(parts.receiver) {
            parts.receiver.on_incoming_reset(&request.streams);
            return Outcome::Performed;
        }
        self.deferred = Some(request);
        Outcome::InProgress
    }

    /// Performs the peer's request when what it waited for has arrived; gives the answer that is now due.
    pub(super) fn settle_deferred(&mut self, receiver: &mut Receiver) -> Option<(u32, Outcome)> {
        let request = self.deferred.take_if(|request| request.is_ripe(receiver))?;
        receiver.on_incoming_reset(&request.streams);
        let answer = (request.sequence, Outcome::Performed);
        for known in self.answered.iter_mut().flatten().filter(|(known, _)| *known == request.sequence) {
            *known = answer;
        }
        Some(answer)
    }

    /// RFC 6525 §5.2.3: the peer asks us to reset our outgoing side.
    fn on_incoming_reset(
        &mut self,
        sequence: u32,
        streams: StreamList<'_>,
        parts: &mut Parts<'_>,
    ) -> Outcome {
        let mut is_news = false;
        // Streams without state are at the beginning already.
        for stream in streams.iter() {
            if parts.sender.has_stream(stream) && !self.is_resetting(stream) {
                parts.sender.hold_stream(stream);
                self.want(stream);
                is_news = true;
            }
        }
        if !is_news {
            return Outcome::NothingToDo;
        }
        // F1: our own request is the answer; until it can leave, the peer learns that we are at it.
        self.answers = Some(sequence);
        Outcome::InProgress
    }

    /// RFC 6525 §5.2.7: the peer answers our request.
    fn on_response(
        &mut self,
        now: Instant,
        sequence: u32,
        outcome: Outcome,
        rto: Duration,
        parts: &mut Parts<'_>,
    ) {
        let Some(request) = self.in_flight.as_mut().filter(|r| r.sequence == sequence) else { return };
        match outcome {
            // H2: asked again after a while, without the doubling.
            Outcome::InProgress | Outcome::InProgressAlready => {
                request.is_due = false;
                request.timer.arm(now + rto);
            }
            Outcome::Performed | Outcome::NothingToDo => {
                if let Some(request) = self.in_flight.take() {
                    complete(request.streams, parts);
                }
            }
            // The peer keeps its numbering, so the stream stays held and its number is not used again.
            Outcome::Denied | Outcome::WrongSsn | Outcome::BadSequence | Outcome::Unknown(_) => {
                if let Some(request) = self.in_flight.take() {
                    parts.events.extend(request.streams.iter().copied().map(Event::OutgoingReset));
                    self.denied.extend(request.streams);
                }
            }
        }
    }
}

impl Deferred {
    /// Whether all that the peer sent before its request has arrived, and the user takes what happens.
    fn is_ripe(&self, receiver: &Receiver) -> bool {
        !self.last_tsn.is_after(receiver.cumulative()) && receiver.event_count() < MAX_EVENTS_WAITING
    }
}

/// RFC 6525 §5.2.7 H4: our side of the streams begins anew.
fn complete(streams: Vec<StreamId>, parts: &mut Parts<'_>) {
    for stream in streams {
        parts.sender.on_stream_reset(stream);
        parts.events.push_back(Event::OutgoingReset(stream));
    }
}

/// RFC 6525 §5.2.5: the peer wants to send on more streams. No memory is taken for them.
fn add_streams(streams: u16, parts: &mut Parts<'_>) -> Outcome {
    match parts.inbound_streams.checked_add(streams) {
        Some(total) if total <= parts.max_streams => {
            *parts.inbound_streams = total;
            Outcome::Performed
        }
        _ => Outcome::Denied,
    }
}
