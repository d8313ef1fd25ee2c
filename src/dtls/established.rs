//! A connected end: what its handshake has left, and the handshake messages that may still come.
//!
//! ```text
//! 1.2   a Finished that comes again -> the last flight again        (RFC 6347 §4.2.4)
//!       anything else               -> no_renegotiation             (RFC 5246 §7.2.2)
//! 1.3   KeyUpdate, ACK, Finished    -> Live                         (RFC 9147 §5.8.4, §7, §8)
//! ```

use std::time::Instant;

use super::ack::Acks;
use super::alert::{Alert, AlertDescription};
use super::error::{CloseReason, HandshakeError};
use super::flight::Flight;
use super::handshake::HandshakeType;
use super::handshaking::{Drop, fragments};
use super::protection::Opener;
use super::record::{Epoch, RecordHeader, RecordNumber};
use super::records::Records;
use super::session::{Keys, Session};
use super::v13;
use super::v13::live::{Live, Outcome, Scope, Trouble};
use crate::types::setup::DtlsRole;

/// How often the last flight is sent again for a peer that repeats its own, and renegotiation is refused.
const MAX_LATE_REPLIES: u8 = 32;

/// What a connected end keeps.
#[derive(Debug)]
pub(crate) struct Established {
    session: Box<Session>,
    /// The own last flight of 1.2, as long as the peer may still miss it (RFC 6347 §4.2.4).
    last_flight: Flight,
    late_replies: u8,
    /// What goes on in 1.3.
    live: Option<Box<Live>>,
}

impl Established {
    /// A connected end from what its handshake has left. In 1.3 the peer's data can be read from now on.
    pub(crate) fn begin(
        session: Box<Session>,
        last_flight: Flight,
        live: Option<Box<Live>>,
        records: &mut Records,
    ) -> Result<Self, HandshakeError> {
        if let Keys::V13(secrets) = &session.keys {
            let backend = live.as_ref().ok_or(HandshakeError::Internal)?.backend();
            let protection = secrets.read.protection(backend, v13::APPLICATION);
            records.install_opener(Opener::new(protection.map_err(|_| HandshakeError::Internal)?));
            if session.role == DtlsRole::Server {
                // What is said from now on is said with the newest keys.
                records.retire_sealers();
            }
        }
        Ok(Established { session, last_flight, late_replies: 0, live })
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// The handshake layer of 1.3, and what it works with.
    fn live<'a>(&'a mut self, records: &'a mut Records) -> Option<(&'a mut Live, Scope<'a>)> {
        match (&mut self.live, &mut self.session.keys) {
            (Some(live), Keys::V13(secrets)) => Some((live, Scope { records, secrets })),
            _ => None,
        }
    }

    /// Handshake messages in an authentic record; what they are answered with by an alert, if by one.
    pub(crate) fn handle_handshake(
        &mut self,
        now: Instant,
        number: RecordNumber,
        body: &[u8],
        records: &mut Records,
    ) -> Result<Option<Alert>, Trouble> {
        match self.live(records) {
            Some((live, scope)) => live.handle_handshake(now, number, body, scope).map(|()| None),
            None => self.handle_handshake_of_12(body),
        }
    }

    /// A Finished that comes again, or renegotiation.
    fn handle_handshake_of_12(&mut self, body: &[u8]) -> Result<Option<Alert>, Trouble> {
        if self.late_replies >= MAX_LATE_REPLIES {
            return Err(Trouble::Dropped(Drop::Unexpected));
        }
        self.late_replies += 1;
        match fragments(body).next() {
            // RFC 6347 §4.2.4: the peer did not get our last flight, so it comes again, in new records.
            Some(Ok(fragment)) if fragment.kind == HandshakeType::FINISHED => {
                self.last_flight.rewind();
                Ok(None)
            }
            // RFC 5246 §7.4.1.1, §7.2.2: renegotiation is refused, and the connection lives on.
            Some(Ok(_)) => Ok(Some(Alert::warning(AlertDescription::NO_RENEGOTIATION))),
            _ => Err(Trouble::Dropped(Drop::Malformed)),
        }
    }

    /// An authentic ACK.
    pub(crate) fn handle_ack(
        &mut self,
        now: Instant,
        epoch: Epoch,
        body: &[u8],
        records: &mut Records,
    ) -> Outcome {
        match self.live(records) {
            Some((live, scope)) => live.handle_ack(now, epoch, body, scope),
            None => Err(Trouble::Dropped(Drop::Unexpected)),
        }
    }

    /// The peer has sent data, so it has our last flight.
    pub(crate) fn on_data(&mut self) {
        self.last_flight.clear();
        if let Some(live) = &mut self.live {
            live.on_data();
        }
    }

    /// Data was sealed: in 1.3 new keys are taken in time.
    pub(crate) fn on_sealed(&mut self, records: &mut Records) {
        if let Some(live) = &mut self.live {
            live.on_sealed(records);
        }
    }

    /// Makes keys that were given back anew, if this record is likely to need them.
    pub(crate) fn wake(&mut self, header: &RecordHeader, records: &mut Records) -> bool {
        let RecordHeader::Unified(header) = header else { return false };
        self.live(records).is_some_and(|(live, scope)| live.wake(header, scope))
    }

    /// Gives back memory that is not in use.
    pub(crate) fn slim(&mut self, records: &mut Records) {
        if let Some((live, scope)) = self.live(records) {
            live.slim(scope);
        }
    }

    /// What is to be sent: the flight, and in 1.3 what there is to acknowledge behind it.
    pub(crate) fn outgoing(&mut self) -> (&mut Flight, Option<&mut Acks>) {
        match &mut self.live {
            Some(live) => {
                let (flight, acks) = live.outgoing();
                (flight, Some(acks))
            }
            None => (&mut self.last_flight, None),
        }
    }

    pub(crate) fn has_pending_datagram(&self) -> bool {
        match &self.live {
            Some(live) => live.has_pending_datagram(),
            None => self.last_flight.is_pending(),
        }
    }

    /// Does what is due; the reason when the connection ends.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Option<CloseReason> {
        self.live.as_mut().and_then(|live| live.handle_timeout(now))
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.live.as_ref().and_then(|live| live.next_timeout())
    }
}
