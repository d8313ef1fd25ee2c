//! What a handshake needs while it runs, whatever the version: messages in, steps, flights out.
//!
//! ```text
//! records -> fragments -> Reassembly -> message -> step(state) -> next state
//!                                                     |
//!                          Transcript <- messages <---+--> Flight -> Retransmission
//! ```
//!
//! All of it is one allocation, dropped when the handshake is over.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::alert::AlertDescription;
use super::config::Config;
use super::error::HandshakeError;
use super::flight::{Flight, Retransmission};
use super::handshake::{Fragment, HandshakeType, Message, written};
use super::peer::Verdict;
use super::reassembly::{Inserted, Reassembly};
use super::record::{ContentType, Records};
use super::session::Session;
use super::transcript::Transcript;
use super::{peer, v12};
use crate::rng::Rng;
use crate::time::{Timer, earliest};
use crate::types::fingerprint::Fingerprint;
use crate::types::setup::DtlsRole;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// Records of the next epoch that are kept until there are keys for them, or until the handshake is over.
const MAX_EARLY: usize = 16;

/// After an alert that anyone may have forged, the handshake gets this long to prove that it goes on.
const ALERT_GRACE: Duration = Duration::from_secs(1);

/// What a step of the handshake works with.
pub(crate) struct Context<'a> {
    pub(crate) config: &'a Config,
    pub(crate) rng: &'a mut Rng,
    pub(crate) transcript: &'a mut Transcript,
    pub(crate) records: &'a mut Records,
    /// The signalled fingerprints; empty when they are not known yet.
    pub(crate) fingerprints: &'a [Fingerprint],
    pub(crate) key_log: &'a mut Vec<String>,
    outgoing: &'a mut Outgoing,
}

/// The flight that is being sent.
#[derive(Debug, Default)]
struct Outgoing {
    flight: Flight,
    next_message_seq: u16,
    /// A new flight was begun by the step that runs.
    is_new: bool,
}

impl Context<'_> {
    /// Starts a new flight: the one before it has arrived.
    pub(crate) fn begin_flight(&mut self) {
        self.outgoing.flight.clear();
        self.outgoing.is_new = true;
    }

    /// Appends a message to the flight and to the transcript.
    pub(crate) fn send(&mut self, epoch: u16, kind: HandshakeType, body: impl FnOnce(&mut Writer<'_>)) {
        let bytes = written(body);
        let message_seq = self.outgoing.next_message_seq;
        self.outgoing.next_message_seq = message_seq.wrapping_add(1);
        self.transcript.add(&Message { kind, message_seq, body: &bytes });
        self.outgoing.flight.push(epoch, kind, message_seq, bytes);
    }

    /// Gives a secret out, when the configuration asks for it.
    pub(crate) fn log_secret(&mut self, line: impl FnOnce() -> String) {
        if self.config.key_log {
            self.key_log.push(line());
        }
    }

    /// Appends a ChangeCipherSpec to the flight.
    pub(crate) fn send_change_cipher_spec(&mut self) {
        self.outgoing.flight.push_change_cipher_spec();
    }
}

/// What a step leads to.
pub(crate) enum Progress<S> {
    /// The handshake goes on.
    Next(S),
    /// The handshake is over.
    Complete(Session),
}

/// Why a step was not taken.
pub(crate) enum Refusal<S> {
    /// The message has no place in this state, which stays.
    Unexpected(S),
    /// The handshake fails.
    Fatal(HandshakeError),
}

impl<S> From<HandshakeError> for Refusal<S> {
    fn from(error: HandshakeError) -> Self {
        Refusal::Fatal(error)
    }
}

/// The end of a step that consumed its state.
pub(crate) type Step<S> = Result<Progress<S>, Refusal<S>>;

/// Where a handshake stands, in every version and role.
#[derive(Debug)]
enum State {
    Client12(v12::client::State),
    Server12(v12::server::State),
    /// All is proven but the certificate, whose fingerprint is not signalled yet.
    Unverified(Box<Session>),
}

/// What became of a message or of the whole handshake.
#[derive(Debug)]
pub(crate) enum Event {
    /// Nothing for the outside.
    None,
    /// Input was dropped.
    Dropped(Drop),
    /// The handshake is over and the peer is who it should be.
    Connected(Box<Connected>),
    /// The handshake failed.
    Failed(HandshakeError),
}

/// What a handshake hands on.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) session: Box<Session>,
    /// The own last flight, which the peer may not have.
    pub(crate) last_flight: Flight,
    /// Whole records of data that came before the end.
    pub(crate) early: VecDeque<BytesMut>,
}

/// Why handshake bytes were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drop {
    Malformed,
    Unexpected,
    NoRoom,
}

/// A handshake that runs.
#[derive(Debug)]
pub(crate) struct Handshake {
    config: Arc<Config>,
    rng: Rng,
    role: DtlsRole,
    /// `None` only while a step runs.
    state: Option<State>,
    transcript: Transcript,
    reassembly: Reassembly,
    outgoing: Outgoing,
    /// Whole records, still sealed.
    early: VecDeque<BytesMut>,
    timers: Timers,
    /// An unauthenticated fatal alert that may be true.
    suspected: Option<AlertDescription>,
}

#[derive(Debug)]
struct Timers {
    retransmission: Retransmission,
    patience: Timer,
    suspicion: Timer,
}

/// What a handshake's timer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expired {
    Nothing,
    Patience,
    /// Nothing followed an unauthenticated alert.
    Alert(AlertDescription),
}

impl Handshake {
    pub(crate) fn new(config: Arc<Config>, role: DtlsRole, rng: Rng) -> Self {
        let state = match role {
            DtlsRole::Client => State::Client12(v12::client::State::Idle),
            DtlsRole::Server => State::Server12(v12::server::State::WaitClientHello),
        };
        Handshake {
            config,
            rng,
            role,
            state: Some(state),
            transcript: Transcript::default(),
            reassembly: Reassembly::default(),
            outgoing: Outgoing::default(),
            early: VecDeque::new(),
            timers: Timers {
                retransmission: Retransmission::new(None),
                patience: Timer::new(),
                suspicion: Timer::new(),
            },
            suspected: None,
        }
    }

    /// Patience begins; a client writes its hello.
    pub(crate) fn start(&mut self, now: Instant, rtt: Option<Duration>, outside: Outside<'_>) -> Event {
        if self.timers.patience.is_armed() {
            return Event::None;
        }
        self.timers.patience.arm(now + self.config.patience);
        self.timers.retransmission = Retransmission::new(rtt);
        match self.role {
            DtlsRole::Client => self.step(now, outside, |state, context| match state {
                State::Client12(state) => lift(state.start(context), State::Client12),
                state => Err(Refusal::Unexpected(state)),
            }),
            DtlsRole::Server => Event::None,
        }
    }

    /// Takes one fragment of a record of `epoch`. Ask [`step_due`](Self::step_due) afterwards.
    pub(crate) fn handle_fragment(&mut self, now: Instant, epoch: u16, fragment: &Fragment<'_>) -> Event {
        if !v12::belongs(fragment.kind, epoch) {
            return Event::Dropped(Drop::Unexpected);
        }
        match self.reassembly.insert(epoch, fragment) {
            Inserted::Kept => Event::None,
            Inserted::Refused => Event::Dropped(Drop::NoRoom),
            Inserted::Old => {
                let flight = &mut self.outgoing.flight;
                if !flight.is_empty() && self.timers.retransmission.on_peer_retransmission(now) {
                    flight.rewind();
                }
                Event::None
            }
        }
    }

    /// Takes the step of the next message that is complete; `None` when there is none.
    pub(crate) fn step_due(&mut self, now: Instant, outside: Outside<'_>) -> Option<Event> {
        let whole = self.reassembly.take()?;
        let message = Message { kind: whole.kind, message_seq: whole.message_seq, body: &whole.body };
        let Ok(body) = v12::Body::parse(&message) else {
            return Some(self.refuse(whole.epoch, HandshakeError::Malformed, Drop::Malformed));
        };
        let event = self.step(now, outside, |state, context| match state {
            State::Client12(state) => lift(state.handle(&message, body, context), State::Client12),
            State::Server12(state) => lift(state.handle(&message, body, context), State::Server12),
            state @ State::Unverified(_) => Err(Refusal::Unexpected(state)),
        });
        match event {
            Event::Dropped(reason) => {
                Some(self.refuse(whole.epoch, HandshakeError::UnexpectedMessage, reason))
            }
            event => {
                self.reassembly.advance();
                self.timers.suspicion.cancel();
                Some(event)
            }
        }
    }

    /// A message that cannot be used: fatal when the peer itself wrote it, dropped when anyone could have.
    fn refuse(&mut self, epoch: u16, error: HandshakeError, reason: Drop) -> Event {
        if epoch > 0 { Event::Failed(error) } else { Event::Dropped(reason) }
    }

    /// Takes a step and does what every step needs done: timers, and the end.
    fn step(
        &mut self,
        now: Instant,
        outside: Outside<'_>,
        take: impl FnOnce(State, &mut Context<'_>) -> Step<State>,
    ) -> Event {
        let Some(state) = self.state.take() else { return Event::None };
        let mut context = Context {
            config: &self.config,
            rng: &mut self.rng,
            transcript: &mut self.transcript,
            records: outside.records,
            fingerprints: outside.fingerprints,
            key_log: outside.key_log,
            outgoing: &mut self.outgoing,
        };
        let taken = take(state, &mut context);
        if std::mem::take(&mut self.outgoing.is_new) {
            self.timers.retransmission.on_flight(now);
        }
        match taken {
            Ok(Progress::Next(state)) => {
                self.state = Some(state);
                Event::None
            }
            Ok(Progress::Complete(session)) => {
                self.timers.retransmission.cancel();
                self.complete(Box::new(session), outside.fingerprints)
            }
            Err(Refusal::Unexpected(state)) => {
                self.state = Some(state);
                Event::Dropped(Drop::Unexpected)
            }
            Err(Refusal::Fatal(error)) => Event::Failed(error),
        }
    }

    fn complete(&mut self, session: Box<Session>, fingerprints: &[Fingerprint]) -> Event {
        match peer::verdict(fingerprints, session.peer_certificate()) {
            Verdict::Match => Event::Connected(Box::new(Connected {
                session,
                last_flight: std::mem::take(&mut self.outgoing.flight),
                early: std::mem::take(&mut self.early),
            })),
            Verdict::Mismatch => Event::Failed(HandshakeError::FingerprintMismatch),
            Verdict::Unknown => {
                self.state = Some(State::Unverified(session));
                Event::None
            }
        }
    }

    /// The fingerprints are known now: a handshake that waited for them ends.
    pub(crate) fn on_fingerprints(&mut self, fingerprints: &[Fingerprint]) -> Event {
        match self.state.take() {
            Some(State::Unverified(session)) => self.complete(session, fingerprints),
            state => {
                self.state = state;
                Event::None
            }
        }
    }

    /// An alert in the clear, which may be forged: it ends the handshake only when nothing else follows.
    pub(crate) fn on_suspect_alert(&mut self, now: Instant, description: AlertDescription) {
        self.suspected = Some(description);
        self.timers.suspicion.arm_if_idle(now + ALERT_GRACE);
    }

    /// Keeps a record for which it is too early; `false` when there is no room.
    pub(crate) fn stash(&mut self, record: &[u8]) -> bool {
        let has_room = self.early.len() < MAX_EARLY;
        if has_room {
            // Copied: a slice would keep the whole slab of the caller alive.
            self.early.push_back(BytesMut::from(record));
        }
        has_room
    }

    /// Takes the records that came before their keys, to be tried again; data waits for the end.
    pub(crate) fn take_early_messages(&mut self) -> VecDeque<BytesMut> {
        let is_data = |record: &BytesMut| record.first() == Some(&ContentType::APPLICATION_DATA.0);
        let (data, messages) = self.early.drain(..).partition(is_data);
        self.early = data;
        messages
    }

    /// The flight that is to be written.
    pub(crate) fn flight(&mut self) -> &mut Flight {
        &mut self.outgoing.flight
    }

    pub(crate) fn has_pending_flight(&self) -> bool {
        self.outgoing.flight.is_pending()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Expired {
        let Timers { retransmission, patience, suspicion } = &mut self.timers;
        if patience.expire(now) {
            return Expired::Patience;
        }
        if suspicion.expire(now)
            && let Some(description) = self.suspected
        {
            return Expired::Alert(description);
        }
        if retransmission.expire(now) {
            self.outgoing.flight.rewind();
        }
        Expired::Nothing
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let Timers { retransmission, patience, suspicion } = &self.timers;
        earliest([retransmission.deadline(), patience.deadline(), suspicion.deadline()])
    }
}

/// What a step needs and the handshake does not own.
pub(crate) struct Outside<'a> {
    pub(crate) records: &'a mut Records,
    pub(crate) fingerprints: &'a [Fingerprint],
    pub(crate) key_log: &'a mut Vec<String>,
}

/// Wraps the state of one version and role.
fn lift<S>(step: Step<S>, wrap: impl Fn(S) -> State) -> Step<State> {
    match step {
        Ok(Progress::Next(state)) => Ok(Progress::Next(wrap(state))),
        Ok(Progress::Complete(session)) => Ok(Progress::Complete(session)),
        Err(Refusal::Unexpected(state)) => Err(Refusal::Unexpected(wrap(state))),
        Err(Refusal::Fatal(error)) => Err(Refusal::Fatal(error)),
    }
}

/// The fragments of a record, in order; what follows a malformed one is lost.
pub(crate) fn fragments(body: &[u8]) -> impl Iterator<Item = Result<Fragment<'_>, ()>> {
    let mut r = Reader::new(body, "handshake");
    std::iter::from_fn(move || {
        if r.is_empty() {
            return None;
        }
        let fragment = Fragment::parse(&mut r).map_err(|_| r.rest());
        Some(fragment.map_err(drop))
    })
}
