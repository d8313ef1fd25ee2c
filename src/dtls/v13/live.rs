//! What goes on behind a handshake of 1.3: its last flight, until the peer has it, and new keys (RFC 9147 §5.8.4, §7, §8).
//!
//! ```text
//! own     Idle --records sealed, or asked for--> KeyUpdate --ACK--> next keys for writing
//!         Finished (a client's last flight) --ACK--> Idle
//! peer's  KeyUpdate --> next keys for reading beside the last ones, ACK
//! ```

use std::time::Instant;

use super::{APPLICATION, HANDSHAKE, Secrets};
use crate::crypto::Backend;
use crate::dtls::ack::{self, Acks};
use crate::dtls::error::{CloseReason, HandshakeError};
use crate::dtls::flight::{Flight, Retransmission};
use crate::dtls::handshake::key_update::KeyUpdate;
use crate::dtls::handshake::{HandshakeType, written};
use crate::dtls::handshaking::{Drop, fragments};
use crate::dtls::protection::{Opener, Sealer};
use crate::dtls::reassembly::{Inserted, Reassembly, Whole};
use crate::dtls::record::{Epoch, RecordNumber, UnifiedHeader};
use crate::dtls::records::Records;
use crate::time::{Timer, earliest};
use crate::types::setup::DtlsRole;

/// How many KeyUpdates of the peer are taken without data between them: each costs this end new keys.
const MAX_UPDATES_IN_A_ROW: u8 = 32;

/// How often a KeyUpdate is sent again. A peer that never acknowledges it leaves the keys as they are, which then seal
/// no more than they may.
const MAX_UPDATE_TRIES: u8 = 60;

/// What this end has under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Own {
    Idle,
    /// A client's last flight.
    Finished,
    KeyUpdate {
        tries: u8,
    },
}

/// What becomes of the connection.
pub(crate) type Outcome = Result<(), Trouble>;

/// Why a record was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It is dropped.
    Dropped(Drop),
    /// The peer breaks the rules: the connection ends.
    Fatal(HandshakeError),
}

impl From<HandshakeError> for Trouble {
    fn from(error: HandshakeError) -> Self {
        Trouble::Fatal(error)
    }
}

/// The parts of a handshake that go on.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(crate) role: DtlsRole,
    pub(crate) backend: &'static dyn Backend,
    pub(crate) flight: Flight,
    pub(crate) next_message_seq: u16,
    pub(crate) reassembly: Reassembly,
    pub(crate) retransmission: Retransmission,
    /// When a client's last flight must have arrived.
    pub(crate) patience: Timer,
    pub(crate) acks: Acks,
    pub(crate) update_after: u64,
}

/// A live connection's handshake layer.
#[derive(Debug)]
pub(crate) struct Live {
    parts: Remains,
    own: Own,
    /// The last time that was told.
    now: Instant,
    updates_in_a_row: u8,
    /// The peer asked for new keys while something else was under way.
    is_update_owed: bool,
    /// The peer has sent data.
    has_data: bool,
}

/// What a step works with.
pub(crate) struct Scope<'a> {
    pub(crate) records: &'a mut Records,
    pub(crate) secrets: &'a mut Secrets,
}

impl Live {
    pub(crate) fn new(parts: Remains, now: Instant) -> Self {
        let own = if parts.flight.is_empty() { Own::Idle } else { Own::Finished };
        Live { parts, own, now, updates_in_a_row: 0, is_update_owed: false, has_data: false }
    }

    pub(crate) fn backend(&self) -> &'static dyn Backend {
        self.parts.backend
    }

    /// The flight that is being sent, and what there is to acknowledge.
    pub(crate) fn outgoing(&mut self) -> (&mut Flight, &mut Acks) {
        (&mut self.parts.flight, &mut self.parts.acks)
    }

    pub(crate) fn has_pending_datagram(&self) -> bool {
        self.parts.flight.is_pending() || self.parts.acks.is_due()
    }

    /// The peer sent data.
    pub(crate) fn on_data(&mut self) {
        self.has_data = true;
        self.updates_in_a_row = 0;
    }

    /// An authentic record of handshake messages.
    pub(crate) fn handle_handshake(
        &mut self,
        now: Instant,
        number: RecordNumber,
        body: &[u8],
        mut scope: Scope<'_>,
    ) -> Outcome {
        self.now = now;
        if number.epoch == HANDSHAKE {
            return self.on_repeated_flight(now, number, body);
        }
        let mut outcome = Ok(());
        for fragment in fragments(body) {
            let inserted = fragment.map(|fragment| self.parts.reassembly.insert(number.epoch, &fragment));
            match inserted {
                Ok(Inserted::Kept | Inserted::Old) => {}
                Ok(Inserted::Refused) => outcome = Err(Trouble::Dropped(Drop::NoRoom)),
                // RFC 8446 §6.2: what the peer itself wrote, and cannot be read.
                Err(()) => return Err(HandshakeError::Malformed.into()),
            }
        }
        if outcome.is_ok() {
            // RFC 9147 §7: every record behind the handshake is acknowledged, repeated ones too.
            if !self.parts.acks.is_due() {
                self.parts.acks.clear();
            }
            self.parts.acks.note(number);
            self.parts.acks.demand();
        }
        while let Some(whole) = self.parts.reassembly.take() {
            self.parts.reassembly.advance();
            self.on_message(&whole, &mut scope)?;
        }
        outcome
    }

    /// A record of the handshake proper: the peer did not get the answer.
    fn on_repeated_flight(&mut self, now: Instant, number: RecordNumber, body: &[u8]) -> Outcome {
        let mut is_old = true;
        for fragment in fragments(body) {
            is_old &= fragment.is_ok_and(|fragment| self.parts.reassembly.is_old(fragment.message_seq));
        }
        if !is_old {
            return Err(Trouble::Dropped(Drop::Unexpected));
        }
        match self.parts.role {
            // RFC 9147 §5.8.1: in the state FINISHED, the ACK is sent again.
            DtlsRole::Server => {
                self.parts.acks.note(number);
                self.parts.acks.demand();
            }
            DtlsRole::Client if self.own == Own::Finished => {
                if self.parts.retransmission.on_peer_retransmission(now) {
                    self.parts.flight.rewind();
                }
            }
            DtlsRole::Client => {}
        }
        Ok(())
    }

    fn on_message(&mut self, whole: &Whole, scope: &mut Scope<'_>) -> Result<(), HandshakeError> {
        match whole.kind {
            HandshakeType::KEY_UPDATE => {
                let update = KeyUpdate::parse(&whole.body).map_err(|_| HandshakeError::Malformed)?;
                self.on_key_update(update, whole.epoch, scope)
            }
            // Sessions are never resumed.
            HandshakeType::NEW_SESSION_TICKET if self.parts.role == DtlsRole::Client => Ok(()),
            // RFC 8446 §4.1.2, §4.6.2, RFC 9147 §9: renegotiation, a second authentication and connection identifiers
            // were not agreed on.
            _ => Err(HandshakeError::UnexpectedMessage),
        }
    }

    /// The peer will write with its next keys (RFC 9147 §8).
    fn on_key_update(
        &mut self,
        update: KeyUpdate,
        epoch: Epoch,
        scope: &mut Scope<'_>,
    ) -> Result<(), HandshakeError> {
        // No second one before the first is in use, or keys would pile up here.
        self.updates_in_a_row += 1;
        if epoch != scope.records.read_epoch() || self.updates_in_a_row > MAX_UPDATES_IN_A_ROW {
            return Err(HandshakeError::UnexpectedMessage);
        }
        let next = scope.secrets.read.next()?;
        let protection =
            next.protection(self.parts.backend, epoch + 1).map_err(|_| HandshakeError::Internal)?;
        scope.records.install_opener(Opener::new(protection));
        scope.secrets.read = next;
        if update == KeyUpdate::Requested {
            match self.own {
                Own::Idle => self.begin_update(KeyUpdate::NotRequested, scope.records),
                // One under way answers it too.
                Own::KeyUpdate { .. } => {}
                Own::Finished => self.is_update_owed = true,
            }
        }
        Ok(())
    }

    /// Data was sealed: new keys are taken in time (RFC 9147 §4.5.3).
    pub(crate) fn on_sealed(&mut self, records: &mut Records) {
        let is_worn = records.sealer().is_some_and(|sealer| sealer.sealed() >= self.parts.update_after);
        if is_worn && self.own == Own::Idle {
            self.begin_update(KeyUpdate::NotRequested, records);
        }
    }

    fn begin_update(&mut self, update: KeyUpdate, records: &Records) {
        let Remains { flight, next_message_seq, retransmission, .. } = &mut self.parts;
        let body = written(|w| update.emit(w));
        flight.clear();
        flight.track();
        flight.push(records.write_epoch(), HandshakeType::KEY_UPDATE, *next_message_seq, body);
        *next_message_seq = next_message_seq.wrapping_add(1);
        retransmission.on_flight(self.now);
        self.own = Own::KeyUpdate { tries: 0 };
    }

    /// An authentic ACK (RFC 9147 §7.2).
    pub(crate) fn handle_ack(
        &mut self,
        now: Instant,
        epoch: Epoch,
        body: &[u8],
        scope: Scope<'_>,
    ) -> Outcome {
        self.now = now;
        let Ok(numbers) = ack::parse(body) else { return Err(Trouble::Dropped(Drop::Malformed)) };
        let Remains { flight, retransmission, patience, .. } = &mut self.parts;
        if flight.is_empty() {
            return Ok(());
        }
        flight.on_ack(epoch, &numbers);
        if !flight.is_acked() {
            if retransmission.on_ack(now) {
                flight.rewind_to_unacked();
            }
            return Ok(());
        }
        flight.clear();
        retransmission.cancel();
        patience.cancel();
        if self.own == Own::Finished {
            // The server's flight will not come again.
            scope.records.retire_openers(APPLICATION);
        }
        if let Own::KeyUpdate { .. } = self.own {
            let epoch = scope.records.write_epoch() + 1;
            let next = scope.secrets.write.next().map_err(HandshakeError::from)?;
            let protection = next.protection(self.parts.backend, epoch);
            scope.records.install_sealer(Sealer::new(protection.map_err(|_| HandshakeError::Internal)?));
            scope.secrets.write = next;
        }
        scope.records.retire_sealers();
        self.own = Own::Idle;
        if std::mem::take(&mut self.is_update_owed) {
            self.begin_update(KeyUpdate::NotRequested, scope.records);
        }
        Ok(())
    }

    /// Gives back memory that is not in use. RFC 9147 §5.8.1 wants a client's last flight acknowledged again for four
    /// minutes, and its keys with it: their secret is enough for that.
    pub(crate) fn slim(&mut self, scope: Scope<'_>) {
        if scope.secrets.former.is_some() {
            scope.records.retire_openers(APPLICATION);
        }
        self.parts.acks.slim();
    }

    /// Makes the keys for this record anew, if it may belong to a client's last flight and they were given back.
    pub(crate) fn wake(&mut self, header: &UnifiedHeader, scope: Scope<'_>) -> bool {
        // A second key update drops them.
        let is_former =
            Epoch::from(header.epoch_bits) == HANDSHAKE && scope.records.read_epoch() <= APPLICATION + 1;
        let former = scope.secrets.former.as_ref().filter(|_| is_former);
        let Some(Ok(protection)) = former.map(|former| former.protection(self.parts.backend, HANDSHAKE))
        else {
            return false;
        };
        scope.records.install_former_opener(Opener::new(protection));
        true
    }

    /// Does what is due; the reason when the connection ends.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Option<CloseReason> {
        self.now = now;
        let Remains { flight, retransmission, patience, acks, .. } = &mut self.parts;
        acks.handle_timeout(now);
        if patience.expire(now) {
            retransmission.cancel();
            flight.clear();
            self.own = Own::Idle;
            // A server that sends data has the Finished; it only never said so.
            return (!self.has_data).then_some(CloseReason::HandshakeTimeout);
        }
        if retransmission.expire(now) {
            flight.rewind();
            if let Own::KeyUpdate { tries } = &mut self.own {
                *tries += 1;
                if *tries >= MAX_UPDATE_TRIES {
                    retransmission.cancel();
                }
            }
        }
        None
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let Remains { retransmission, patience, acks, .. } = &self.parts;
        earliest([retransmission.deadline(), patience.deadline(), acks.deadline()])
    }
}
