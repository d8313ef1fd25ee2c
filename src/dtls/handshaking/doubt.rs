//! What is believed before anything is authentic, and when a handshake begins anew.
//!
//! Before the Finished nothing is authentic: a stranger who knows the addresses, or a bit that flips on a link
//! without checksums, can put a wrong message into a true handshake. So a message in the clear that fails is not
//! the end. The client waits for the server's flight again; at every third failure it begins anew with another hello;
//! the server takes another hello, which a client that gave up its first one sends. A failure is believed when it comes
//! again (nothing in common twice, the same wrong certificate twice, anything at all twelve times), or when nothing
//! follows it: for two seconds after the alert of a client or after one for another hello, else for ten, since on a
//! slow path that loses in bursts less is over before another hello arrives.

use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::step::Outgoing;
use super::{Drop, Event, Handshake, Outside, State};
use crate::crypto::hash::{Digest, HashAlgorithm};
use crate::dtls::alert::AlertDescription;
use crate::dtls::error::{CloseReason, HandshakeError};
use crate::dtls::handshake::hello::ClientHello;
use crate::dtls::handshake::{Fragment, HandshakeType};
use crate::dtls::opening::{self, Opening};
use crate::dtls::reassembly::{MAX_BUFFERED, Reassembly, Whole};
use crate::dtls::record::{ContentType, RecordNumber, UnifiedHeader};
use crate::dtls::records::Records;
use crate::dtls::transcript::Transcript;
use crate::dtls::v12;
use crate::types::setup::DtlsRole;

/// After a failure that anyone may have forged, the handshake gets this long to prove that it goes on.
const GRACE: Duration = Duration::from_secs(10);

/// The same when the peer is likely to have refused: another hello too, which did arrive then.
const SHORT_GRACE: Duration = Duration::from_secs(2);

/// How many failures of any kind end a handshake.
const MAX_FAILURES: u8 = 12;

/// How many other hellos a client sends for alerts that may be forged.
const MAX_NEW_HELLOS: u8 = 8;

/// How many different hellos a server answers.
const MAX_HELLOS: u8 = 8;

/// What went wrong and may be forged.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    pub(super) failures: u8,
    /// Hellos that were answered, or sent anew.
    pub(super) hellos: u8,
    /// The hello that is being answered.
    pub(super) hello: Option<Digest>,
    /// Another one that came since.
    pub(super) other_hello: Option<Digest>,
    /// The last failure and the hash of the message that brought it.
    pub(super) last: Option<(HandshakeError, Digest)>,
    /// Why the connection ends, if nothing follows.
    pub(super) reason: Option<CloseReason>,
    /// A protected record was opened: both ends know the same hellos.
    pub(super) has_opened: bool,
    /// A protected record was not authentic before any was.
    pub(super) has_failed_to_open: bool,
    /// The peer said that it gave up: when the flight is due again, another hello takes its place.
    pub(super) is_given_up: bool,
    /// The peer may have said so, or long ago.
    pub(super) alert: AlertDoubt,
    /// When a hello took the place of another one.
    pub(super) began_anew: Option<Instant>,
    /// The peer said that it gave up after that too, or it is a client, which says so only at the end.
    pub(super) is_refusal_likely: bool,
}

/// What is known of an alert in the clear that came while the server's Finished is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum AlertDoubt {
    #[default]
    None,
    /// It may have been about an earlier try, and was late.
    Came,
    /// The flight was sent again since. A server that gave up says so again.
    Tested,
}

/// A server's answer to a hello. Before the client goes on nobody knows which of several hellos is the true one.
#[derive(Debug)]
pub(super) struct Try {
    pub(super) state: Option<State>,
    pub(super) transcript: Transcript,
    pub(super) reassembly: Reassembly,
    pub(super) outgoing: Outgoing,
    pub(super) records: Records,
}

impl Handshake {
    /// A message in the clear made the handshake fail: begin anew, unless the failure is to be believed.
    pub(super) fn doubt(
        &mut self,
        now: Instant,
        error: HandshakeError,
        whole: &Whole,
        outside: &mut Outside,
    ) -> Event {
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
                self.restart(&mut outside.records);
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
    pub(super) fn is_settled(&self) -> bool {
        match self.state {
            Some(State::Unverified(_)) => true,
            Some(State::Client13(_) | State::Server13(_)) => self.doubts.has_opened,
            _ => false,
        }
    }

    /// Notes why the connection ends, if nothing follows.
    pub(super) fn suspect(&mut self, now: Instant, reason: CloseReason) {
        self.doubts.reason = Some(reason);
        self.timers.suspicion.arm_if_idle(now + self.grace());
        if self.doubts.is_refusal_likely {
            self.timers.suspicion.arm_no_later_than(now + SHORT_GRACE);
        }
    }

    pub(super) fn grace(&self) -> Duration {
        if self.doubts.is_refusal_likely { SHORT_GRACE } else { GRACE }
    }

    /// Whether the hello can be answered once more: it was the first one, and no key of it is used up.
    pub(super) fn can_wait_again(&self) -> bool {
        let has_all_keys = self.key_shares.len() == opening::shared_groups(&self.config).count();
        has_all_keys && !self.transcript.is_running() && !self.doubts.failures.is_multiple_of(3)
    }

    /// Asks for the server's flight again, with the same hello. Any server answers that.
    pub(super) fn wait_again(&mut self) -> Event {
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
    pub(super) fn begin_anew(&mut self, now: Instant, outside: &mut Outside) -> Event {
        self.doubts.hellos += 1;
        self.doubts.began_anew = Some(now);
        if self.doubts.reason.is_some() {
            self.timers.suspicion.arm(now + self.grace());
        }
        self.restart(&mut outside.records);
        self.begin(now, outside)
    }

    /// Back to the state before the first message.
    pub(super) fn restart(&mut self, records: &mut Records) {
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

    // ---- hellos that come again ---------------------------------------------------------------------------------

    /// Whether a ServerHello comes so soon that the server may have answered the hello before this one. In 1.3 it would
    /// use up the key of the share. Each try waits longer, since what the network holds back may come later still.
    pub(super) fn is_answer_to_an_earlier_hello(&self, now: Instant, fragment: &Fragment<'_>) -> bool {
        // Three quarters of the round-trip time, which is half the interval; then twice as long, up to eight times.
        let doublings = u32::from(self.doubts.hellos.clamp(1, 4)) - 1;
        let least = self.timers.retransmission.interval() * 3 / 8 * (1 << doublings);
        let is_early = self.doubts.began_anew.is_some_and(|at| now < at + least);
        is_early && fragment.kind == HandshakeType::SERVER_HELLO && fragment.message_seq == 0
    }

    /// Whether it belongs to a client's first hello, rather than to the one behind a HelloRetryRequest.
    pub(super) fn is_first_hello(&self, fragment: &Fragment<'_>) -> bool {
        let is_hello = fragment.kind == HandshakeType::CLIENT_HELLO && fragment.message_seq == 0;
        self.role == DtlsRole::Server && is_hello
    }

    /// A message of a handshake that this server gave up: the client has not heard of it.
    pub(super) fn on_orphan(&mut self, now: Instant) -> Event {
        // It is there, and will hear of it.
        if self.doubts.reason.is_some() {
            self.timers.suspicion.arm(now + self.grace());
        }
        if self.doubts.hellos > 0 && self.timers.retransmission.on_peer_retransmission(now) {
            return Event::Doubted(AlertDescription::UNEXPECTED_MESSAGE);
        }
        Event::Dropped(Drop::Unexpected)
    }

    /// A hello that comes again is a retransmission, or one of a client that began anew.
    pub(super) fn handle_repeated_hello(
        &mut self,
        now: Instant,
        fragment: &Fragment<'_>,
        outside: &mut Outside,
    ) -> Event {
        self.repeated_hello.insert(0, fragment);
        let Some(whole) = self.repeated_hello.take() else { return Event::None };
        if !self.replaces_hello(&whole.body) {
            return self.on_peer_retransmission(now);
        }
        self.keep_for_later(&mut outside.records);
        self.restart(&mut outside.records);
        if let Ok(length) = u32::try_from(whole.body.len()) {
            let Whole { kind, message_seq, ref body, .. } = whole;
            self.reassembly.insert(0, &Fragment { kind, length, message_seq, offset: 0, body });
        }
        Event::None
    }

    /// A hello that is different may be damaged or forged. In 1.3 the client's first protected record tells, so the
    /// answer to the one before is kept: at most as many as hellos are answered.
    pub(super) fn keep_for_later(&mut self, records: &mut Records) {
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
    pub(super) fn replaces_hello(&mut self, body: &[u8]) -> bool {
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
    pub(super) fn is_proven(&self) -> bool {
        use v12::server::State::WaitFinished;
        match self.state {
            Some(State::Unverified(_) | State::Server12(WaitFinished(_))) => true,
            // Its records open with keys that cover the hellos.
            Some(State::Server13(_)) => self.doubts.has_opened,
            _ => false,
        }
    }
}
