//! What a step of the handshake works with, and what it leads to.

use super::State;
use crate::dtls::ack::Acks;
use crate::dtls::config::Config;
use crate::dtls::error::HandshakeError;
use crate::dtls::flight::Flight;
use crate::dtls::handshake::{HandshakeType, Message, written};
use crate::dtls::opening::OwnShare;
use crate::dtls::record::Epoch;
use crate::dtls::records::Records;
use crate::dtls::session::Session;
use crate::dtls::suite::Version;
use crate::dtls::transcript::Transcript;
use crate::rng::Rng;
use crate::types::fingerprint::Fingerprint;
use crate::wire::writer::Writer;

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
    pub(super) outgoing: &'a mut Outgoing,
    pub(super) acks: &'a mut Acks,
}

/// The flight that is being sent.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub(super) flight: Flight,
    pub(super) next_message_seq: u16,
    /// A new flight was begun by the step that runs.
    pub(super) is_new: bool,
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

/// Wraps the state of one version and role.
pub(super) fn lift<S>(step: Step<S>, wrap: impl Fn(S) -> State) -> Step<State> {
    match step {
        Ok(Progress::Next(state)) => Ok(Progress::Next(wrap(state))),
        Ok(Progress::Complete(session)) => Ok(Progress::Complete(session)),
        Err(Refusal::Unexpected(state)) => Err(Refusal::Unexpected(wrap(state))),
        Err(Refusal::Malformed(state)) => Err(Refusal::Malformed(wrap(state))),
        Err(Refusal::Fatal(error)) => Err(Refusal::Fatal(error)),
    }
}
