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
//! # Doubt
//!
//! Before the Finished nothing is authentic: a stranger who knows the addresses, or a bit that flips on a link
//! without checksums, can put a wrong message into a true handshake. So a message in the clear that fails is not
//! the end. The client waits for the server's flight again; at every third failure it begins anew with another hello; the server takes
//! another hello, which a client that gave up its first one sends. A failure is believed when it comes again
//! (nothing in common twice, the same wrong certificate twice, anything at all twelve times), or when nothing
//! follows it for two seconds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::alert::AlertDescription;
use super::config::Config;
use super::error::{CloseReason, HandshakeError};
use super::flight::{Flight, Retransmission};
use super::handshake::hello::ClientHello;
use super::handshake::{Fragment, HandshakeType, Message, written};
use super::peer::Verdict;
use super::reassembly::{Inserted, MAX_BUFFERED, Reassembly, Whole};
use super::record::{ContentType, Records};
use super::session::Session;
use super::transcript::Transcript;
use super::{peer, v12};
use crate::crypto::hash::{Digest, HashAlgorithm};
use crate::rng::Rng;
use crate::time::{Timer, earliest};
use crate::types::fingerprint::Fingerprint;
use crate::types::setup::DtlsRole;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// Records of the next epoch that are kept until there are keys for them, or until the handshake is over.
const MAX_EARLY: usize = 16;

/// Bytes of such records.
const MAX_EARLY_BYTES: usize = 12 * 1024;

/// Bytes of a second hello that is put together beside the first.
const MAX_REPEATED_HELLO: usize = 6 * 1024;

/// After a failure that anyone may have forged, the handshake gets this long to prove that it goes on.
const GRACE: Duration = Duration::from_secs(2);

/// How many failures of any kind end a handshake.
const MAX_FAILURES: u8 = 12;

/// How many other hellos a client sends for alerts that may be forged.
const MAX_NEW_HELLOS: u8 = 8;

/// How many different hellos a server answers.
const MAX_HELLOS: u8 = 8;

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
    /// Something failed that may be forged: the peer is told, and may begin anew.
    Doubted(AlertDescription),
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
    /// A client's hello that comes again: the same, or another one.
    repeated_hello: Reassembly,
    outgoing: Outgoing,
    /// Whole records, still sealed.
    early: VecDeque<BytesMut>,
    timers: Timers,
    doubts: Doubts,
}

/// What went wrong and may be forged.
#[derive(Debug, Default)]
struct Doubts {
    failures: u8,
    /// Hellos that were answered, or sent anew.
    hellos: u8,
    /// The hello that is being answered.
    hello: Option<Digest>,
    /// Another one that came since.
    other_hello: Option<Digest>,
    /// The last failure and the hash of the message that brought it.
    last: Option<(HandshakeError, Digest)>,
    /// Why the connection ends, if nothing follows.
    reason: Option<CloseReason>,
    /// The peer said that it gave up: when the flight is due again, another hello takes its place.
    is_given_up: bool,
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
            reassembly: Reassembly::new(0, MAX_BUFFERED),
            repeated_hello: Reassembly::new(0, MAX_REPEATED_HELLO),
            outgoing: Outgoing::default(),
            early: VecDeque::new(),
            timers: Timers {
                retransmission: Retransmission::new(None),
                patience: Timer::new(),
                suspicion: Timer::new(),
            },
            doubts: Doubts::default(),
        }
    }

    /// Patience begins; a client writes its hello. Called again, the handshake has got a path: patience begins anew,
    /// and what waits for an answer is timed by the path.
    pub(crate) fn start(&mut self, now: Instant, rtt: Option<Duration>, outside: Outside<'_>) -> Event {
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
    fn begin(&mut self, now: Instant, outside: Outside<'_>) -> Event {
        self.step(now, outside, |state, context| match state {
            State::Client12(state) => lift(state.start(context), State::Client12),
            state => Err(Refusal::Unexpected(state)),
        })
    }

    /// Takes one fragment of a record of `epoch`. Ask [`step_due`](Self::step_due) afterwards.
    pub(crate) fn handle_fragment(
        &mut self,
        now: Instant,
        epoch: u16,
        fragment: &Fragment<'_>,
        outside: Outside<'_>,
    ) -> Event {
        if !v12::belongs(fragment.kind, epoch) {
            return Event::Dropped(Drop::Unexpected);
        }
        if self.waits_for_hello() && fragment.kind != HandshakeType::CLIENT_HELLO {
            return self.on_orphan(now);
        }
        match self.reassembly.insert(epoch, fragment) {
            Inserted::Kept => Event::None,
            Inserted::Refused => Event::Dropped(Drop::NoRoom),
            Inserted::Old
                if self.role == DtlsRole::Server && fragment.kind == HandshakeType::CLIENT_HELLO =>
            {
                self.handle_repeated_hello(now, fragment, outside)
            }
            Inserted::Old => self.on_peer_retransmission(now),
        }
    }

    fn waits_for_hello(&self) -> bool {
        matches!(self.state, Some(State::Server12(v12::server::State::WaitClientHello)))
    }

    /// A message of a handshake that this server gave up: the client has not heard of it.
    fn on_orphan(&mut self, now: Instant) -> Event {
        if self.doubts.hellos > 0 && self.timers.retransmission.on_peer_retransmission(now) {
            return Event::Doubted(AlertDescription::UNEXPECTED_MESSAGE);
        }
        Event::Dropped(Drop::Unexpected)
    }

    /// The peer sends its flight again: it did not get ours.
    fn on_peer_retransmission(&mut self, now: Instant) -> Event {
        let flight = &mut self.outgoing.flight;
        if !flight.is_empty() && self.timers.retransmission.on_peer_retransmission(now) {
            flight.rewind();
        }
        Event::None
    }

    /// A hello that comes again is a retransmission, or one of a client that began anew.
    fn handle_repeated_hello(
        &mut self,
        now: Instant,
        fragment: &Fragment<'_>,
        outside: Outside<'_>,
    ) -> Event {
        self.repeated_hello.insert(0, fragment);
        let Some(whole) = self.repeated_hello.take() else { return Event::None };
        if !self.replaces_hello(&whole.body) {
            return self.on_peer_retransmission(now);
        }
        self.restart(outside.records);
        if let Ok(length) = u32::try_from(whole.body.len()) {
            let Whole { kind, message_seq, ref body, .. } = whole;
            self.reassembly.insert(0, &Fragment { kind, length, message_seq, offset: 0, body });
        }
        Event::None
    }

    /// Whether a client began anew with this hello. Once it went on from its first one, which says that both ends
    /// know the same hellos, one that is different has to come twice.
    fn replaces_hello(&mut self, body: &[u8]) -> bool {
        let digest = HashAlgorithm::Sha256.digest(&[body]);
        if self.doubts.hello == Some(digest) || self.is_proven() || self.doubts.hellos >= MAX_HELLOS {
            return false;
        }
        let is_first = matches!(self.state, Some(State::Server12(v12::server::State::WaitCertificate(_))));
        let came_before = self.doubts.other_hello.replace(digest) == Some(digest);
        (is_first || came_before) && ClientHello::parse(body).is_ok()
    }

    /// Whether the peer's signature covers the hellos: whoever sends another one now is not the peer.
    fn is_proven(&self) -> bool {
        use v12::server::State::WaitFinished;
        matches!(self.state, Some(State::Unverified(_) | State::Server12(WaitFinished(_))))
    }

    /// Takes the step of the next message that is complete; `None` when there is none.
    pub(crate) fn step_due(&mut self, now: Instant, mut outside: Outside<'_>) -> Option<Event> {
        let whole = self.reassembly.take()?;
        let message = Message { kind: whole.kind, message_seq: whole.message_seq, body: &whole.body };
        let Ok(body) = v12::Body::parse(&message) else {
            return Some(self.refuse(whole.epoch, HandshakeError::Malformed, Drop::Malformed));
        };
        let event = self.step(now, outside.reborrow(), |state, context| match state {
            State::Client12(state) => lift(state.handle(&message, body, context), State::Client12),
            State::Server12(state) => lift(state.handle(&message, body, context), State::Server12),
            state @ State::Unverified(_) => Err(Refusal::Unexpected(state)),
        });
        match event {
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
        if whole.kind == HandshakeType::CLIENT_HELLO {
            self.doubts.hellos += 1;
            self.doubts.hello = Some(HashAlgorithm::Sha256.digest(&[&whole.body]));
        }
    }

    /// A message that cannot be used: fatal when the peer itself wrote it, dropped when anyone could have.
    fn refuse(&mut self, epoch: u16, error: HandshakeError, reason: Drop) -> Event {
        if epoch > 0 { Event::Failed(error) } else { Event::Dropped(reason) }
    }

    // ---- doubt ----------------------------------------------------------------------------------------------

    /// A message in the clear made the handshake fail: begin anew, unless the failure is to be believed.
    fn doubt(&mut self, now: Instant, error: HandshakeError, whole: &Whole, outside: Outside<'_>) -> Event {
        tracing::debug!(role = ?self.role, kind = ?whole.kind, %error, "DTLS handshake in doubt");
        let evidence = (error, HashAlgorithm::Sha256.digest(&[&whole.body]));
        let is_certain = match (error, self.doubts.last.replace(evidence)) {
            (HandshakeError::Internal, _) => true,
            (HandshakeError::FingerprintMismatch, last) => last == Some(evidence),
            (error, Some((last, _))) => error == last && error.is_incompatibility(),
            (_, None) => false,
        };
        self.doubts.failures += 1;
        self.suspect(now, error.into());
        if is_certain || self.doubts.failures >= MAX_FAILURES {
            return Event::Failed(error);
        }
        match self.role {
            DtlsRole::Client if !self.doubts.failures.is_multiple_of(3) => self.wait_again(),
            DtlsRole::Client => self.begin_anew(now, outside),
            DtlsRole::Server => {
                self.restart(outside.records);
                Event::Doubted(error.alert())
            }
        }
    }

    /// An alert in the clear: true or forged, the peer may answer another hello.
    pub(crate) fn on_suspect_alert(&mut self, now: Instant, description: AlertDescription) {
        self.suspect(now, CloseReason::Alert(description));
        self.doubts.is_given_up = self.doubts.hellos < MAX_NEW_HELLOS;
        // The first ones at once, the others when the flight would be due.
        if self.doubts.is_given_up && self.doubts.hellos < 2 {
            self.timers.retransmission.hasten(now);
        }
    }

    /// Notes why the connection ends, if nothing follows.
    fn suspect(&mut self, now: Instant, reason: CloseReason) {
        self.doubts.reason = Some(reason);
        self.timers.suspicion.arm_if_idle(now + GRACE);
    }

    /// Asks for the server's flight again, with the same hello. Any server answers that.
    fn wait_again(&mut self) -> Event {
        // One message of the server before its flight for every hello before the last.
        let cookies = self.outgoing.next_message_seq.saturating_sub(1);
        self.reassembly = Reassembly::new(cookies, MAX_BUFFERED);
        let hello = self.transcript.keep_first();
        let state = v12::client::State::wait_again(hello, u8::try_from(cookies).unwrap_or(u8::MAX));
        self.state = Some(State::Client12(state));
        self.outgoing.flight.rewind();
        Event::None
    }

    /// Begins anew with another hello.
    fn begin_anew(&mut self, now: Instant, outside: Outside<'_>) -> Event {
        self.doubts.hellos += 1;
        self.restart(outside.records);
        self.begin(now, outside)
    }

    /// Back to the state before the first message.
    fn restart(&mut self, records: &mut Records) {
        self.state = Some(match self.role {
            DtlsRole::Client => State::Client12(v12::client::State::Idle),
            DtlsRole::Server => State::Server12(v12::server::State::WaitClientHello),
        });
        self.transcript.restart();
        self.reassembly = Reassembly::new(0, MAX_BUFFERED);
        self.outgoing = Outgoing::default();
        self.early.clear();
        self.timers.retransmission.cancel();
        records.forget_keys();
    }

    // ---- steps ----------------------------------------------------------------------------------------------

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

    /// Keeps a record for which it is too early; `false` when there is no room.
    pub(crate) fn stash(&mut self, record: &[u8]) -> bool {
        let held: usize = self.early.iter().map(BytesMut::len).sum();
        let has_room = self.early.len() < MAX_EARLY && held + record.len() <= MAX_EARLY_BYTES;
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

    pub(crate) fn handle_timeout(&mut self, now: Instant, outside: Outside<'_>) -> Expired {
        let Timers { retransmission, patience, suspicion } = &mut self.timers;
        if patience.expire(now) {
            return Expired::Closed(CloseReason::HandshakeTimeout);
        }
        if suspicion.expire(now)
            && let Some(reason) = self.doubts.reason
        {
            return Expired::Closed(reason);
        }
        if retransmission.expire(now) {
            match self.role {
                DtlsRole::Client if std::mem::take(&mut self.doubts.is_given_up) => {
                    self.begin_anew(now, outside);
                }
                _ => self.outgoing.flight.rewind(),
            }
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

impl Outside<'_> {
    fn reborrow(&mut self) -> Outside<'_> {
        Outside { records: self.records, fingerprints: self.fingerprints, key_log: self.key_log }
    }
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
