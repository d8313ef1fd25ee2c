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
//! the end. The client waits for the server's flight again; at every third failure it begins anew with another
//! hello; the server takes another hello, which a client that gave up its first one sends. A failure is believed
//! when it comes again (nothing in common twice, the same wrong certificate twice, anything at all twelve times),
//! or when nothing follows it: for two seconds after the alert of a client or after one for another hello, else for
//! ten, since on a slow path that loses in bursts less is over before another hello arrives.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::ack::{self, Acks};
use super::alert::AlertDescription;
use super::config::Config;
use super::error::{CloseReason, HandshakeError};
use super::flight::{Flight, Retransmission};
use super::handshake::hello::ClientHello;
use super::handshake::{Fragment, HandshakeType, Message, written};
use super::opening::{self, Opening, OwnShare};
use super::peer::Verdict;
use super::reassembly::{Inserted, MAX_BUFFERED, Reassembly, Whole};
use super::record::{ContentType, Epoch, RecordHeader, RecordNumber, UnifiedHeader};
use super::records::Records;
use super::session::Session;
use super::suite::Version;
use super::transcript::Transcript;
use super::v13::live::Live;
use super::{peer, v12, v13};
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
const GRACE: Duration = Duration::from_secs(10);

/// The same when the peer is likely to have refused: another hello too, which did arrive then.
const SHORT_GRACE: Duration = Duration::from_secs(2);

/// How many failures of any kind end a handshake.
const MAX_FAILURES: u8 = 12;

/// How many other hellos a client sends for alerts that may be forged.
const MAX_NEW_HELLOS: u8 = 8;

/// A hello that is longer than this, in bytes, has a post-quantum share: its sender speaks 1.3, and knows ACKs.
const MIN_LENGTH_OF_13: u32 = 1000;

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
    /// A client's private keys for the shares of its hello.
    pub(crate) key_shares: &'a mut Vec<OwnShare>,
    /// How many other hellos a client has sent before.
    pub(crate) tries: u8,
    outgoing: &'a mut Outgoing,
    acks: &'a mut Acks,
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
    /// Starts a new flight: the one before it has arrived, and the peer's is complete, which the new one says.
    pub(crate) fn begin_flight(&mut self) {
        self.outgoing.flight.clear();
        if self.config.allows(Version::Dtls13) {
            self.outgoing.flight.track();
        }
        self.outgoing.is_new = true;
        self.acks.clear();
    }

    /// The flight has arrived, and no other one is due yet.
    pub(crate) fn clear_flight(&mut self) {
        self.outgoing.flight.clear();
    }

    /// Appends a message to the flight and to the transcript.
    pub(crate) fn send(&mut self, epoch: Epoch, kind: HandshakeType, body: impl FnOnce(&mut Writer<'_>)) {
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
    /// The message cannot be read; the state stays.
    Malformed(S),
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
    /// Whole records, still sealed.
    early: VecDeque<BytesMut>,
    timers: Timers,
    doubts: Doubts,
    /// A server's answers of 1.3 to other hellos than the last one.
    earlier: Vec<Try>,
}

/// A server's answer to a hello. Before the client goes on nobody knows which of several hellos is the true one.
#[derive(Debug)]
struct Try {
    state: Option<State>,
    transcript: Transcript,
    reassembly: Reassembly,
    outgoing: Outgoing,
    records: Records,
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
    /// A protected record was opened: both ends know the same hellos.
    has_opened: bool,
    /// A protected record was not authentic before any was.
    has_failed_to_open: bool,
    /// The peer said that it gave up: when the flight is due again, another hello takes its place.
    is_given_up: bool,
    /// The peer may have said so, or long ago.
    alert: AlertDoubt,
    /// When a hello took the place of another one.
    began_anew: Option<Instant>,
    /// The peer said that it gave up after that too, or it is a client, which says so only at the end.
    is_refusal_likely: bool,
}

/// What is known of an alert in the clear that came while the server's Finished is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum AlertDoubt {
    #[default]
    None,
    /// It may have been about an earlier try, and was late.
    Came,
    /// The flight was sent again since. A server that gave up says so again.
    Tested,
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
            early: VecDeque::new(),
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
        outside: Outside<'_>,
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

    /// Whether a ServerHello comes so soon that the server may have answered the hello before this one. In 1.3 it would
    /// use up the key of the share. Each try waits longer, since what the network holds back may come later still.
    fn is_answer_to_an_earlier_hello(&self, now: Instant, fragment: &Fragment<'_>) -> bool {
        // Three quarters of the round-trip time, which is half the interval; then twice as long, up to eight times.
        let doublings = u32::from(self.doubts.hellos.clamp(1, 4)) - 1;
        let least = self.timers.retransmission.interval() * 3 / 8 * (1 << doublings);
        let is_early = self.doubts.began_anew.is_some_and(|at| now < at + least);
        is_early && fragment.kind == HandshakeType::SERVER_HELLO && fragment.message_seq == 0
    }

    fn waits_for_hello(&self) -> bool {
        matches!(self.state, Some(State::Opening(Opening::WaitClientHello)))
    }

    /// Whether it belongs to a client's first hello, rather than to the one behind a HelloRetryRequest.
    fn is_first_hello(&self, fragment: &Fragment<'_>) -> bool {
        let is_hello = fragment.kind == HandshakeType::CLIENT_HELLO && fragment.message_seq == 0;
        self.role == DtlsRole::Server && is_hello
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
                let has_overtaken = self.early.iter().any(|record| is_of_13(record));
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

    /// A protected record was opened, or was not authentic.
    pub(crate) fn on_protected(&mut self, is_authentic: bool) {
        if is_authentic {
            self.earlier.clear();
        }
        self.doubts.has_opened |= is_authentic;
        self.doubts.has_failed_to_open |= !is_authentic;
    }

    /// What there is to acknowledge.
    pub(crate) fn acks(&mut self) -> &mut Acks {
        &mut self.acks
    }

    /// A message of a handshake that this server gave up: the client has not heard of it.
    fn on_orphan(&mut self, now: Instant) -> Event {
        // It is there, and will hear of it.
        if self.doubts.reason.is_some() {
            self.timers.suspicion.arm(now + self.grace());
        }
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
        self.keep_for_later(outside.records);
        self.restart(outside.records);
        if let Ok(length) = u32::try_from(whole.body.len()) {
            let Whole { kind, message_seq, ref body, .. } = whole;
            self.reassembly.insert(0, &Fragment { kind, length, message_seq, offset: 0, body });
        }
        Event::None
    }

    /// A hello that is different may be damaged or forged. In 1.3 the client's first protected record tells, so the
    /// answer to the one before is kept: at most as many as hellos are answered.
    fn keep_for_later(&mut self, records: &mut Records) {
        if matches!(self.state, Some(State::Server13(_))) {
            self.earlier.push(Try {
                state: self.state.take(),
                transcript: std::mem::take(&mut self.transcript),
                reassembly: std::mem::replace(&mut self.reassembly, Reassembly::new(0, MAX_BUFFERED)),
                outgoing: std::mem::take(&mut self.outgoing),
                records: records.take(),
            });
        }
    }

    /// Whether there are answers to go back to.
    pub(crate) fn has_earlier_tries(&self) -> bool {
        !self.earlier.is_empty()
    }

    /// Goes back to the answer whose keys open this record, if there is one; the record is opened then.
    pub(crate) fn go_back(
        &mut self,
        header: &UnifiedHeader,
        record: &BytesMut,
        records: &mut Records,
    ) -> Option<(ContentType, RecordNumber, BytesMut)> {
        for at in 0..self.earlier.len() {
            let mut opened = record.clone();
            let Some(opener) = self.earlier.get_mut(at)?.records.opener_of(header) else { continue };
            let Ok((content_type, number)) = opener.open_unified(header, &mut opened) else { continue };
            let Try { state, transcript, reassembly, outgoing, records: keys } = self.earlier.swap_remove(at);
            self.state = state;
            self.transcript = transcript;
            self.reassembly = reassembly;
            self.outgoing = outgoing;
            self.acks.clear();
            records.replace_keys(keys);
            return Some((content_type, number, opened));
        }
        None
    }

    /// Whether a client began anew with this hello. Once it went on from its first one, which says that both ends
    /// know the same hellos, one that is different has to come twice.
    fn replaces_hello(&mut self, body: &[u8]) -> bool {
        let digest = HashAlgorithm::Sha256.digest(&[body]);
        if self.doubts.hello == Some(digest) || self.is_proven() || self.doubts.hellos >= MAX_HELLOS {
            return false;
        }
        let is_first = match &self.state {
            Some(State::Server12(v12::server::State::WaitCertificate(_))) => true,
            Some(State::Opening(_)) => true,
            Some(State::Server13(_)) => !self.doubts.has_opened,
            _ => false,
        };
        let came_before = self.doubts.other_hello.replace(digest) == Some(digest);
        (is_first || came_before) && ClientHello::parse(body).is_ok()
    }

    /// Whether the peer's signature covers the hellos: whoever sends another one now is not the peer.
    fn is_proven(&self) -> bool {
        use v12::server::State::WaitFinished;
        match self.state {
            Some(State::Unverified(_) | State::Server12(WaitFinished(_))) => true,
            // Its records open with keys that cover the hellos.
            Some(State::Server13(_)) => self.doubts.has_opened,
            _ => false,
        }
    }

    /// Takes the step of the next message that is complete; `None` when there is none.
    pub(crate) fn step_due(&mut self, now: Instant, mut outside: Outside<'_>) -> Option<Event> {
        let whole = self.reassembly.take()?;
        // It was kept while the version was open, and does not fit the one that was chosen.
        if !self.belongs(whole.kind, whole.epoch) {
            return Some(Event::Dropped(Drop::Unexpected));
        }
        let message = Message { kind: whole.kind, message_seq: whole.message_seq, body: &whole.body };
        let event = self.step(now, outside.reborrow(), |state, context| match state {
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
            DtlsRole::Client if self.can_wait_again() => self.wait_again(),
            DtlsRole::Client => self.begin_anew(now, outside),
            DtlsRole::Server => {
                self.restart(outside.records);
                Event::Doubted(error.alert())
            }
        }
    }

    /// An alert in the clear: true or forged, the peer may answer another hello.
    pub(crate) fn on_suspect_alert(&mut self, now: Instant, description: AlertDescription) {
        if self.is_settled() {
            return;
        }
        self.doubts.is_refusal_likely |= self.role == DtlsRole::Server || self.doubts.began_anew.is_some();
        self.suspect(now, CloseReason::Alert(description));
        // A server that is about to finish takes no other hello. So what may be an old alert is put to the test.
        let may_be_old = matches!(self.state, Some(State::Client12(v12::client::State::WaitFinished(_))))
            && self.doubts.alert != AlertDoubt::Tested;
        if may_be_old {
            self.doubts.alert = AlertDoubt::Came;
        }
        self.doubts.is_given_up = !may_be_old && self.doubts.hellos < MAX_NEW_HELLOS;
        if self.doubts.is_given_up && self.doubts.alert == AlertDoubt::Tested {
            self.timers.suspicion.arm(now + self.grace());
        }
        // The first ones at once, the others when the flight would be due.
        if (self.doubts.is_given_up || may_be_old) && self.doubts.hellos < 2 {
            self.timers.retransmission.hasten(now);
        }
    }

    /// Whether both ends are known to share keys, so that a peer in trouble can say so under them.
    fn is_settled(&self) -> bool {
        match self.state {
            Some(State::Unverified(_)) => true,
            Some(State::Client13(_) | State::Server13(_)) => self.doubts.has_opened,
            _ => false,
        }
    }

    /// Notes why the connection ends, if nothing follows.
    fn suspect(&mut self, now: Instant, reason: CloseReason) {
        self.doubts.reason = Some(reason);
        self.timers.suspicion.arm_if_idle(now + self.grace());
        if self.doubts.is_refusal_likely {
            self.timers.suspicion.arm_no_later_than(now + SHORT_GRACE);
        }
    }

    fn grace(&self) -> Duration {
        if self.doubts.is_refusal_likely { SHORT_GRACE } else { GRACE }
    }

    /// Whether the hello can be answered once more: it was the first one, and no key of it is used up.
    fn can_wait_again(&self) -> bool {
        let has_all_keys = self.key_shares.len() == opening::shared_groups(&self.config).count();
        has_all_keys && !self.transcript.is_running() && !self.doubts.failures.is_multiple_of(3)
    }

    /// Asks for the server's flight again, with the same hello. Any server answers that.
    fn wait_again(&mut self) -> Event {
        // One message of the server before its flight for every hello before the last.
        let cookies = self.outgoing.next_message_seq.saturating_sub(1);
        self.reassembly = Reassembly::new(cookies, MAX_BUFFERED);
        let hello = self.transcript.keep_first();
        let opening = Opening::wait_again(hello, u8::try_from(cookies).unwrap_or(u8::MAX));
        self.state = Some(State::Opening(opening));
        self.outgoing.flight.rewind();
        Event::None
    }

    /// Begins anew with another hello.
    fn begin_anew(&mut self, now: Instant, outside: Outside<'_>) -> Event {
        self.doubts.hellos += 1;
        self.doubts.began_anew = Some(now);
        if self.doubts.reason.is_some() {
            self.timers.suspicion.arm(now + self.grace());
        }
        self.restart(outside.records);
        self.begin(now, outside)
    }

    /// Back to the state before the first message.
    fn restart(&mut self, records: &mut Records) {
        self.state = Some(State::first(self.role));
        self.transcript.restart();
        self.reassembly = Reassembly::new(0, MAX_BUFFERED);
        self.outgoing = Outgoing::default();
        self.acks.clear();
        self.early.clear();
        self.doubts.has_opened = false;
        self.doubts.has_failed_to_open = false;
        self.doubts.alert = AlertDoubt::None;
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
                self.complete(Box::new(session), outside.fingerprints)
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
            return Remains { last_flight, early, live: None };
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
        Remains { last_flight: Flight::default(), early, live: Some(Box::new(Live::new(parts, now))) }
    }

    /// Whether a protected record that cannot be opened yet may be opened later.
    pub(crate) fn may_have_keys_for(&self, header: &RecordHeader) -> bool {
        let version = self.version();
        match header {
            RecordHeader::Plain(header) => header.epoch == 1 && version != Some(Version::Dtls13),
            RecordHeader::Unified(header) => {
                let is_awaited = matches!(Epoch::from(header.epoch_bits), v13::HANDSHAKE | v13::APPLICATION);
                let may_be_13 = self.config.allows(Version::Dtls13) && version != Some(Version::Dtls12);
                is_awaited && may_be_13
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
        // In 1.3 a record does not tell what it holds, but data never comes in the handshake's epoch.
        let is_data = |record: &BytesMut| {
            let first = record.first().copied().unwrap_or_default();
            let is_handshake_of_13 = Epoch::from(first & 3) == v13::HANDSHAKE;
            first == ContentType::APPLICATION_DATA.0 || is_of_13(record) && !is_handshake_of_13
        };
        let (data, messages) = self.early.drain(..).partition(is_data);
        self.early = data;
        messages
    }

    /// The flight that is to be written.
    pub(crate) fn flight(&mut self) -> &mut Flight {
        &mut self.outgoing.flight
    }

    pub(crate) fn has_pending_datagram(&self) -> bool {
        self.outgoing.flight.is_pending() || self.acks.is_due()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, outside: Outside<'_>) -> Expired {
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

impl State {
    /// Where a handshake begins.
    fn first(role: DtlsRole) -> State {
        State::Opening(match role {
            DtlsRole::Client => Opening::Idle,
            DtlsRole::Server => Opening::WaitClientHello,
        })
    }
}

/// Whether a record is a protected one of 1.3.
fn is_of_13(record: &[u8]) -> bool {
    record.first().is_some_and(|first| UnifiedHeader::is_announced_by(*first))
}

/// Wraps the state of one version and role.
fn lift<S>(step: Step<S>, wrap: impl Fn(S) -> State) -> Step<State> {
    match step {
        Ok(Progress::Next(state)) => Ok(Progress::Next(wrap(state))),
        Ok(Progress::Complete(session)) => Ok(Progress::Complete(session)),
        Err(Refusal::Unexpected(state)) => Err(Refusal::Unexpected(wrap(state))),
        Err(Refusal::Malformed(state)) => Err(Refusal::Malformed(wrap(state))),
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
