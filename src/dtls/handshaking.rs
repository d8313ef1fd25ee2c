//! What a handshake needs while it runs, whatever the version: messages in, steps, flights out.
//!
//! ```text
//! records -> fragments -> Reassembly -> message -> step(state) -> next state
//!                                                     |
//!                          Transcript <- messages <---+--> Flight -> Retransmission
//! ```
//!
//! All of it is one allocation, dropped when the handshake is over.
//!
//! What to make of messages that anyone may have forged is in `doubt`, what of records that come before their keys in
//! `early`.

mod doubt;
mod early;
mod step;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use self::doubt::{AlertDoubt, Doubts, Try};
use self::early::Early;
pub(crate) use self::early::Unopened;
pub(crate) use self::step::{Context, Progress, Refusal, Step};
use self::step::{Outgoing, lift};
use super::ack::{self, Acks};
use super::alert::AlertDescription;
use super::config::Config;
use super::error::{CloseReason, HandshakeError};
use super::flight::{Flight, Retransmission};
use super::handshake::{Fragment, HandshakeType, Message};
use super::opening::{Opening, OwnShare};
use super::peer::Verdict;
use super::reassembly::{Inserted, MAX_BUFFERED, Reassembly, Whole};
use super::record::{Epoch, RecordNumber};
use super::records::Records;
use super::session::Session;
use super::suite::Version;
use super::transcript::Transcript;
use super::v13::live::Live;
use super::{peer, v12, v13};
use crate::crypto::hash::HashAlgorithm;
use crate::rng::Rng;
use crate::time::{Timer, earliest};
use crate::types::fingerprint::Fingerprint;
use crate::types::setup::DtlsRole;
use crate::wire::reader::Reader;

/// Bytes of a second hello that is put together beside the first.
const MAX_REPEATED_HELLO: usize = 6 * 1024;

/// A hello that is longer than this, in bytes, has a post-quantum share: its sender speaks 1.3, and knows ACKs.
const MIN_LENGTH_OF_13: u32 = 1000;

/// Where a handshake stands, in every version and role.
#[derive(Debug)]
pub(crate) enum State {
    /// The version is open.
    Opening(Opening),
    Client12(v12::client::State),
    Server12(v12::server::State),
    Client13(v13::client::State),
    Server13(v13::server::State),
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
    /// Something failed that may be forged: the peer is told, and may begin anew.
    Doubted(AlertDescription),
    /// The handshake is over and the peer is who it should be.
    Connected(Box<Session>),
    /// The handshake failed.
    Failed(HandshakeError),
}

/// What a handshake hands on, beside the session.
#[derive(Debug)]
pub(crate) struct Remains {
    /// The own last flight of 1.2, which the peer may not have.
    pub(crate) last_flight: Flight,
    /// Whole records of data that came before the end.
    pub(crate) early: VecDeque<BytesMut>,
    /// What goes on in 1.3.
    pub(crate) live: Option<Box<Live>>,
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
    /// A client's hello that comes again: the same, or another one.
    repeated_hello: Reassembly,
    outgoing: Outgoing,
    key_shares: Vec<OwnShare>,
    acks: Acks,
    early: Early,
    timers: Timers,
    doubts: Doubts,
    /// A server's answers of 1.3 to other hellos than the last one.
    earlier: Vec<Try>,
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
    /// The handshake ends.
    Closed(CloseReason),
}

impl Handshake {
    pub(crate) fn new(config: Arc<Config>, role: DtlsRole, rng: Rng) -> Self {
        Handshake {
            config,
            rng,
            role,
            state: Some(State::first(role)),
            transcript: Transcript::default(),
            reassembly: Reassembly::new(0, MAX_BUFFERED),
            repeated_hello: Reassembly::new(0, MAX_REPEATED_HELLO),
            outgoing: Outgoing::default(),
            key_shares: Vec::new(),
            acks: Acks::default(),
            early: Early::default(),
            timers: Timers {
                retransmission: Retransmission::new(None),
                patience: Timer::new(),
                suspicion: Timer::new(),
            },
            doubts: Doubts::default(),
            earlier: Vec::new(),
        }
    }

    /// Patience begins; a client writes its hello. Called again, the handshake has got a path: patience begins anew,
    /// and what waits for an answer is timed by the path.
    pub(crate) fn start(&mut self, now: Instant, rtt: Option<Duration>, outside: &mut Outside) -> Event {
        if self.timers.patience.is_armed() {
            self.timers.patience.arm(now + self.config.patience);
            self.timers.retransmission.on_path(now, rtt);
            return Event::None;
        }
        self.timers.patience.arm(now + self.config.patience);
        self.timers.retransmission = Retransmission::new(rtt);
        match self.role {
            DtlsRole::Client => self.begin(now, outside),
            DtlsRole::Server => Event::None,
        }
    }

    /// A client writes its hello.
    fn begin(&mut self, now: Instant, outside: &mut Outside) -> Event {
        self.step(now, outside, |state, context| match state {
            State::Opening(opening) => opening.start(context),
            state => Err(Refusal::Unexpected(state)),
        })
    }

    /// Takes one fragment of a record of `epoch`. Ask [`step_due`](Self::step_due) afterwards.
    pub(crate) fn handle_fragment(
        &mut self,
        now: Instant,
        epoch: Epoch,
        fragment: &Fragment<'_>,
        outside: &mut Outside,
    ) -> Event {
        if !self.belongs(fragment.kind, epoch) {
            return Event::Dropped(Drop::Unexpected);
        }
        if self.is_answer_to_an_earlier_hello(now, fragment) {
            return Event::Dropped(Drop::Unexpected);
        }
        if self.waits_for_hello() && fragment.kind != HandshakeType::CLIENT_HELLO {
            return self.on_orphan(now);
        }
        match self.reassembly.insert(epoch, fragment) {
            Inserted::Kept => Event::None,
            Inserted::Refused => Event::Dropped(Drop::NoRoom),
            Inserted::Old if self.is_first_hello(fragment) => {
                self.handle_repeated_hello(now, fragment, outside)
            }
            Inserted::Old => self.on_peer_retransmission(now),
        }
    }

    fn waits_for_hello(&self) -> bool {
        matches!(self.state, Some(State::Opening(Opening::WaitClientHello)))
    }

    /// The version, once it is chosen.
    fn version(&self) -> Option<Version> {
        match self.state.as_ref()? {
            State::Opening(_) => None,
            State::Client12(_) | State::Server12(_) => Some(Version::Dtls12),
            State::Client13(_) | State::Server13(_) => Some(Version::Dtls13),
            State::Unverified(session) => Some(session.details.version),
        }
    }

    /// Whether a message may come in a record of this epoch. While the version is open, the messages of 1.2 that
    /// overtake the ServerHello are kept.
    fn belongs(&self, kind: HandshakeType, epoch: Epoch) -> bool {
        match self.version() {
            Some(Version::Dtls13) => v13::belongs(kind, epoch),
            Some(Version::Dtls12) | None => v12::belongs(kind, epoch),
        }
    }

    /// A record whose messages were all taken or kept: to be acknowledged, if 1.3 is spoken.
    pub(crate) fn note_record(&mut self, number: RecordNumber) {
        if self.config.allows(Version::Dtls13) && self.version() != Some(Version::Dtls12) {
            self.acks.note(number);
        }
    }

    /// A datagram was handled. What is missing behind it is told (RFC 9147 §7.1).
    pub(crate) fn on_datagram(&mut self, now: Instant) {
        let interval = self.timers.retransmission.interval();
        match &self.state {
            Some(State::Client13(_) | State::Server13(_)) if !self.acks.is_empty() => {
                self.acks.on_incomplete(now, interval, self.reassembly.has_gap());
            }
            // The version is open, and nobody has to know ACKs. Records of 1.3 without keys for them say that the
            // ServerHello is missing; a hello as long as this has a share of 1.3.
            Some(State::Opening(_)) if self.config.allows(Version::Dtls13) => {
                let is_long = self.reassembly.due_length().is_some_and(|length| length > MIN_LENGTH_OF_13);
                let has_overtaken = self.early.has_13();
                if is_long || has_overtaken {
                    self.acks.on_incomplete(now, interval, has_overtaken || self.reassembly.has_gap());
                }
            }
            Some(State::Unverified(_)) if self.role == DtlsRole::Server && !self.acks.is_empty() => {
                self.acks.demand();
            }
            _ => {}
        }
    }

    /// The peer says which records it has (RFC 9147 §7.2). In the clear that is a hint, and no more.
    pub(crate) fn handle_ack(&mut self, now: Instant, epoch: Epoch, body: &[u8]) -> Event {
        if self.version() == Some(Version::Dtls12) || !self.config.allows(Version::Dtls13) {
            return Event::Dropped(Drop::Unexpected);
        }
        let Ok(numbers) = ack::parse(body) else { return Event::Dropped(Drop::Malformed) };
        let flight = &mut self.outgoing.flight;
        if flight.is_empty() {
            return Event::None;
        }
        flight.on_ack(epoch, &numbers);
        if epoch > 0 && flight.is_acked() {
            self.timers.retransmission.cancel();
        } else if self.timers.retransmission.on_ack(now) {
            flight.rewind_to_unacked();
        }
        Event::None
    }

    /// The peer sends its flight again: it did not get ours.
    fn on_peer_retransmission(&mut self, now: Instant) -> Event {
        let flight = &mut self.outgoing.flight;
        if !flight.is_empty() && self.timers.retransmission.on_peer_retransmission(now) {
            flight.rewind();
        }
        Event::None
    }

    /// Takes the step of the next message that is complete; `None` when there is none.
    pub(crate) fn step_due(&mut self, now: Instant, outside: &mut Outside) -> Option<Event> {
        let whole = self.reassembly.take()?;
        // It was kept while the version was open, and does not fit the one that was chosen.
        if !self.belongs(whole.kind, whole.epoch) {
            return Some(Event::Dropped(Drop::Unexpected));
        }
        let message = Message { kind: whole.kind, message_seq: whole.message_seq, body: &whole.body };
        let event = self.step(now, outside, |state, context| match state {
            State::Opening(opening) => opening.handle(&message, context),
            State::Client12(state) => lift(state.handle(&message, context), State::Client12),
            State::Server12(state) => lift(state.handle(&message, context), State::Server12),
            State::Client13(state) => lift(state.handle(&message, context), State::Client13),
            State::Server13(state) => lift(state.handle(&message, context), State::Server13),
            state @ State::Unverified(_) => Err(Refusal::Unexpected(state)),
        });
        match event {
            Event::Dropped(Drop::Malformed) => {
                Some(self.refuse(whole.epoch, HandshakeError::Malformed, Drop::Malformed))
            }
            Event::Dropped(reason) => {
                Some(self.refuse(whole.epoch, HandshakeError::UnexpectedMessage, reason))
            }
            Event::Failed(error) if whole.epoch == 0 => Some(self.doubt(now, error, &whole, outside)),
            event => {
                self.on_accepted(&whole);
                Some(event)
            }
        }
    }

    fn on_accepted(&mut self, whole: &Whole) {
        self.reassembly.advance();
        self.timers.suspicion.cancel();
        self.doubts.is_given_up = false;
        self.doubts.alert = AlertDoubt::None;
        if whole.kind == HandshakeType::CLIENT_HELLO && whole.message_seq == 0 {
            self.doubts.hellos += 1;
            self.doubts.hello = Some(HashAlgorithm::Sha256.digest(&[&whole.body]));
        }
    }

    /// A message that cannot be used: fatal when the peer itself wrote it, dropped when anyone could have.
    fn refuse(&mut self, epoch: Epoch, error: HandshakeError, reason: Drop) -> Event {
        if epoch > 0 { Event::Failed(error) } else { Event::Dropped(reason) }
    }

    // ---- steps ----------------------------------------------------------------------------------------------

    /// Takes a step and does what every step needs done: timers, and the end.
    fn step(
        &mut self,
        now: Instant,
        outside: &mut Outside,
        take: impl FnOnce(State, &mut Context<'_>) -> Step<State>,
    ) -> Event {
        let Some(state) = self.state.take() else { return Event::None };
        let mut context = Context {
            config: &self.config,
            rng: &mut self.rng,
            transcript: &mut self.transcript,
            records: &mut outside.records,
            fingerprints: &outside.fingerprints,
            key_log: &mut outside.key_log,
            key_shares: &mut self.key_shares,
            outgoing: &mut self.outgoing,
            acks: &mut self.acks,
            tries: self.doubts.hellos,
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
                match (session.details.version, self.role) {
                    // RFC 9147 §7.1: the flight that ends the handshake is acknowledged, and until then sent again.
                    (Version::Dtls13, DtlsRole::Client) => {}
                    (Version::Dtls13, DtlsRole::Server) => {
                        self.timers.retransmission.cancel();
                        self.acks.demand();
                    }
                    (Version::Dtls12, _) => self.timers.retransmission.cancel(),
                }
                self.complete(Box::new(session), &outside.fingerprints)
            }
            Err(Refusal::Malformed(state)) => {
                self.state = Some(state);
                Event::Dropped(Drop::Malformed)
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
            Verdict::Match => Event::Connected(session),
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

    /// What goes on behind a handshake that is over.
    pub(crate) fn into_remains(self, now: Instant, version: Version) -> Remains {
        let Handshake { config, role, reassembly, outgoing, acks, early, timers, .. } = self;
        if version == Version::Dtls12 {
            // RFC 6347 §4.2.4: the server speaks last. A client that answered the server's Finished, should it come again,
            // would draw another one with each answer, and so on, until the server gives up.
            let last_flight = match role {
                DtlsRole::Server => outgoing.flight,
                DtlsRole::Client => Flight::default(),
            };
            return Remains { last_flight, early: early.into_records(), live: None };
        }
        let has_last_word = role == DtlsRole::Client;
        let parts = v13::live::Remains {
            role,
            backend: config.backend,
            flight: outgoing.flight,
            next_message_seq: outgoing.next_message_seq,
            reassembly,
            retransmission: timers.retransmission,
            patience: if has_last_word { timers.patience } else { Timer::new() },
            acks,
            update_after: config.key_update_after,
        };
        let live = Some(Box::new(Live::new(parts, now)));
        Remains { last_flight: Flight::default(), early: early.into_records(), live }
    }

    /// The flight that is being sent, and what there is to acknowledge.
    pub(crate) fn outgoing(&mut self) -> (&mut Flight, &mut Acks) {
        (&mut self.outgoing.flight, &mut self.acks)
    }

    pub(crate) fn has_pending_datagram(&self) -> bool {
        self.outgoing.flight.is_pending() || self.acks.is_due()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, outside: &mut Outside) -> Expired {
        let Timers { retransmission, patience, suspicion } = &mut self.timers;
        self.acks.handle_timeout(now);
        if patience.expire(now) {
            return Expired::Closed(CloseReason::HandshakeTimeout);
        }
        if suspicion.expire(now)
            && let Some(reason) = self.doubts.reason
        {
            return Expired::Closed(reason);
        }
        if retransmission.expire(now) {
            if self.doubts.alert == AlertDoubt::Came {
                self.doubts.alert = AlertDoubt::Tested;
                self.timers.suspicion.arm(now + self.grace());
            }
            match self.role {
                DtlsRole::Client if std::mem::take(&mut self.doubts.is_given_up) => {
                    self.begin_anew(now, outside);
                }
                // The hello has arrived: what is missing is the server's. If none of its records could be opened, a
                // hello was damaged or forged on its way.
                DtlsRole::Client if matches!(self.state, Some(State::Client13(_))) => {
                    if self.doubts.has_failed_to_open && !self.doubts.has_opened {
                        self.begin_anew(now, outside);
                    } else {
                        self.acks.demand();
                    }
                }
                _ => self.outgoing.flight.rewind(),
            }
        }
        Expired::Nothing
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let Timers { retransmission, patience, suspicion } = &self.timers;
        let deadlines = [retransmission.deadline(), patience.deadline(), suspicion.deadline()];
        earliest(deadlines.into_iter().chain([self.acks.deadline()]))
    }
}

/// What a handshake works with and does not own.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    pub(crate) records: Records,
    /// Those that were signalled; empty until then.
    pub(crate) fingerprints: Vec<Fingerprint>,
    /// Lines in NSS format.
    pub(crate) key_log: Vec<String>,
}

impl State {
    /// Where a handshake begins.
    fn first(role: DtlsRole) -> State {
        State::Opening(match role {
            DtlsRole::Client => Opening::Idle,
            DtlsRole::Server => Opening::WaitClientHello,
        })
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
