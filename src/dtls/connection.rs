//! One end of a DTLS connection: its life, and the way of its records.
//!
//! ```text
//! Handshaking --(Finished, certificate fits)--> Connected --(close, alert, failure)--> Closed
//!      |                                                                                 ^
//!      +--------------------(failure, fatal alert, patience ends)------------------------+
//! ```
//!
//! Each phase owns what is alive in it: [`Handshake`] the machine of the messages, [`Established`] what it leaves.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::alert::{Alert, AlertDescription, AlertLevel};
use super::config::Config;
use super::error::{CloseReason, ExportError, HandshakeError};
use super::established::Established;
use super::handshaking::{Drop, Event, Expired, Handshake, Outside, Remains, Unopened, fragments};
use super::peer::{self, Verdict};
use super::record::{
    self, ContentType, Epoch, Header, OpenError, Overhead, RecordHeader, RecordNumber, SealError,
};
use super::session::{Details, Session, SrtpKeys};
use super::v13;
use super::v13::live::Trouble;
use crate::buffer::Pool;
use crate::rng::Rng;
use crate::types::fingerprint::Fingerprint;
use crate::types::setup::DtlsRole;

/// Decrypted records that are kept for [`Connection::poll_received`]; more are dropped and counted.
const MAX_RECEIVED: usize = 64;

/// What a connection tells, once each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// The handshake is over, the peer's certificate matches, and application data may move.
    Connected,
    /// The connection is over. The last fact.
    Closed(CloseReason),
}

/// What was dropped, and why. Peers can make all of these grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Records or messages that do not follow their format.
    pub malformed: u32,
    /// Records whose authentication failed.
    pub unauthentic: u32,
    /// Records that came before, or too late to tell.
    pub replayed: u32,
    /// Records and messages that have no place here, such as plaintext on a live connection.
    pub unexpected: u32,
    /// Records and messages for which a queue was full.
    pub no_room: u32,
}

/// One end of a DTLS connection.
///
/// Give it datagrams ([`handle_datagram`](Self::handle_datagram)) and time
/// ([`handle_timeout`](Self::handle_timeout)); after each, drain [`poll_received`](Self::poll_received),
/// [`poll_datagram`](Self::poll_datagram) and [`poll_fact`](Self::poll_fact), and ask
/// [`next_timeout`](Self::next_timeout). Polling reacts to nothing: it only writes what is due.
///
/// Datagrams must come from a source that ICE has validated (RFC 8842 §5.4 and what follows from it): a first
/// hello cannot be told from a forged one by its bytes.
#[derive(Debug)]
pub struct Connection {
    phase: Phase,
    outside: Outside,
    received: VecDeque<BytesMut>,
    facts: VecDeque<Fact>,
    /// The last time that was told.
    last_now: Option<Instant>,
    /// To be sent behind the flight.
    alert: Option<Alert>,
    stats: Stats,
}

#[derive(Debug)]
enum Phase {
    Handshaking(Box<Handshake>),
    Connected(Established),
    Closed,
}

impl Connection {
    /// A connection that does nothing before [`start`](Self::start). `rng` is its own stream.
    pub fn new(config: Arc<Config>, role: DtlsRole, rng: Rng) -> Self {
        Connection {
            phase: Phase::Handshaking(Box::new(Handshake::new(config, role, rng))),
            outside: Outside::default(),
            received: VecDeque::new(),
            facts: VecDeque::new(),
            last_now: None,
            alert: None,
            stats: Stats::default(),
        }
    }

    /// Begins the handshake: a client writes its hello. `rtt` is what ICE measured. Called again
    /// while it runs, the handshake has got a path of that round-trip time: patience and retransmission begin anew.
    pub fn start(&mut self, now: Instant, rtt: Option<Duration>) {
        if let Phase::Handshaking(handshake) = &mut self.phase {
            let event = handshake.start(now, rtt, &mut self.outside);
            self.last_now = Some(now);
            self.on_event(Some(now), event);
        }
    }

    /// Says which certificates the peer may present (RFC 8122 §5). Nothing moves before this is known. On a live
    /// connection, fingerprints that do not fit its certificate close it.
    pub fn set_remote_fingerprints(&mut self, fingerprints: Vec<Fingerprint>) {
        match &mut self.phase {
            Phase::Handshaking(handshake) => {
                let event = handshake.on_fingerprints(&fingerprints);
                self.outside.fingerprints = fingerprints;
                // Nothing that depends on the time happens here: timers go on as they are.
                let now = self.last_now;
                self.on_event(now, event);
            }
            Phase::Connected(established) => {
                let certificate = established.session().peer_certificate();
                if peer::verdict(&fingerprints, certificate) == Verdict::Mismatch {
                    self.fail(HandshakeError::FingerprintMismatch);
                }
            }
            Phase::Closed => {}
        }
    }

    /// Takes a datagram, whose records are opened in place; application data is kept as slices of it.
    pub fn handle_datagram(&mut self, now: Instant, datagram: BytesMut) {
        self.last_now = Some(now);
        let mut rest = datagram;
        while !rest.is_empty() && !self.is_closed() {
            match record::split_record(&mut rest) {
                Ok((header, record)) => self.handle_record(now, &header, record),
                Err(_) => {
                    count(&mut self.stats.malformed);
                    break;
                }
            }
        }
        self.replay_early(now);
        if let Phase::Handshaking(handshake) = &mut self.phase {
            handshake.on_datagram(now);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.last_now = Some(now);
        let closed = match &mut self.phase {
            Phase::Handshaking(handshake) => match handshake.handle_timeout(now, &mut self.outside) {
                Expired::Nothing => None,
                Expired::Closed(reason) => Some(reason),
            },
            Phase::Connected(established) => established.handle_timeout(now),
            Phase::Closed => None,
        };
        if let Some(reason) = closed {
            self.on_closed(reason);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; `None` when it never is. A connection that is closed has
    /// no timers, and one that is up has some only in 1.3, and only while the peer has to acknowledge something.
    pub fn next_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Handshaking(handshake) => handshake.next_timeout(),
            Phase::Connected(established) => established.next_timeout(),
            Phase::Closed => None,
        }
    }

    /// Closes the connection: `close_notify` is written (RFC 5246 §7.2.1), and all else is inert from now on.
    pub fn close(&mut self) {
        if !self.is_closed() {
            self.alert = Some(Alert::warning(AlertDescription::CLOSE_NOTIFY));
            self.on_closed(CloseReason::Local);
        }
    }

    /// The next decrypted application data, in order of arrival.
    pub fn poll_received(&mut self) -> Option<BytesMut> {
        self.received.pop_front()
    }

    /// What the connection has to tell.
    pub fn poll_fact(&mut self) -> Option<Fact> {
        self.facts.pop_front()
    }

    /// The next line of the key log in NSS format, if the configuration asks for it.
    pub fn poll_key_log(&mut self) -> Option<String> {
        let lines = &mut self.outside.key_log;
        if lines.is_empty() { None } else { Some(lines.remove(0)) }
    }

    /// The next datagram of at most `max` bytes (at least 128) that the connection itself has to send: flights and
    /// alerts, as many records as fit.
    pub fn poll_datagram(&mut self, pool: &mut Pool, max: usize) -> Option<BytesMut> {
        if !self.has_pending_datagram() {
            return None;
        }
        let max = max.max(128);
        let out = pool.tail(max);
        let records = &mut self.outside.records;
        let outgoing = match &mut self.phase {
            Phase::Handshaking(handshake) => {
                let (flight, acks) = handshake.outgoing();
                Some((flight, Some(acks)))
            }
            Phase::Connected(established) => Some(established.outgoing()),
            Phase::Closed => None,
        };
        let mut is_flight_written = true;
        if let Some((flight, acks)) = outgoing {
            flight.write(records, out, max);
            is_flight_written = !flight.is_pending();
            if let Some(acks) = acks.filter(|_| is_flight_written) {
                acks.write(records, out, max);
            }
        }
        if is_flight_written && let Some(alert) = self.alert.take_if(|_| out.len() + 64 <= max) {
            alert.write(records, out);
        }
        let datagram = out.split();
        if datagram.is_empty() { None } else { Some(datagram) }
    }

    /// Whether [`poll_datagram`](Self::poll_datagram) has something to write.
    pub fn has_pending_datagram(&self) -> bool {
        let flight = match &self.phase {
            Phase::Handshaking(handshake) => handshake.has_pending_datagram(),
            Phase::Connected(established) => established.has_pending_datagram(),
            Phase::Closed => false,
        };
        flight || self.alert.is_some()
    }

    /// Whether application data may be sealed.
    pub fn can_send(&self) -> bool {
        matches!(self.phase, Phase::Connected(_))
    }

    /// What a record of application data costs; that of the largest suite while none is negotiated.
    pub fn overhead(&self) -> Overhead {
        match self.phase {
            Phase::Connected(_) => self.outside.records.overhead(self.outside.records.write_epoch()),
            _ => Overhead { head: record::HEADER_LEN + 8, tail: 16 },
        }
    }

    /// Seals application data in place: `record[start..]` is [`Overhead::head`] placeholder bytes, then the
    /// data. The tag is appended. Allocates nothing when there is room for it.
    ///
    /// # Errors
    /// The connection is not up, or the data does not fit a record.
    pub fn seal_in_place(&mut self, record: &mut BytesMut, start: usize) -> Result<(), SealError> {
        let Phase::Connected(established) = &mut self.phase else { return Err(SealError::NotConnected) };
        let records = &mut self.outside.records;
        let sealer = records.sealer().ok_or(SealError::NotConnected)?;
        sealer.seal(ContentType::APPLICATION_DATA, record, start)?;
        established.on_sealed(records);
        Ok(())
    }

    /// Seals something other than application data, as a hostile peer may.
    #[cfg(test)]
    pub(super) fn seal_other(&mut self, content_type: ContentType, record: &mut BytesMut) {
        let records = &mut self.outside.records;
        let epoch = records.write_epoch();
        records.seal(epoch, content_type, record, 0).expect("a connected end");
    }

    /// What was negotiated, once connected.
    pub fn details(&self) -> Option<&Details> {
        match &self.phase {
            Phase::Connected(established) => Some(&established.session().details),
            _ => None,
        }
    }

    /// Keys for SRTP (RFC 5764 §4.2), once connected and if a profile was negotiated.
    pub fn srtp_keys(&self) -> Option<SrtpKeys> {
        match &self.phase {
            Phase::Connected(established) => established.session().srtp_keys(),
            _ => None,
        }
    }

    /// Fills `out` with keying material (RFC 5705 §4, RFC 8446 §7.5).
    ///
    /// # Errors
    /// There is no connection, or too much is asked for.
    pub fn export_keying_material(
        &self,
        label: &str,
        context: Option<&[u8]>,
        out: &mut [u8],
    ) -> Result<(), ExportError> {
        match &self.phase {
            Phase::Connected(established) => {
                established.session().export(label, context, out).map_err(|_| ExportError::TooLong)
            }
            _ => Err(ExportError::NotConnected),
        }
    }

    /// Gives back memory that is not in use.
    pub(crate) fn slim(&mut self) {
        self.received.shrink_to_fit();
        self.facts.shrink_to_fit();
        let Outside { records, key_log, .. } = &mut self.outside;
        key_log.shrink_to_fit();
        if let Phase::Connected(established) = &mut self.phase {
            established.slim(records);
        }
        records.slim();
    }

    /// What was dropped so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Whether the connection is over.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    // ---- records --------------------------------------------------------------------------------------------

    fn handle_record(&mut self, now: Instant, header: &RecordHeader, record: BytesMut) {
        match (&self.phase, header) {
            (Phase::Connected(_), _) => self.handle_live_record(now, header, record),
            (Phase::Handshaking(_), RecordHeader::Plain(header)) if header.epoch == 0 => {
                self.handle_plaintext(now, header, &record[record::HEADER_LEN..]);
            }
            (Phase::Handshaking(_), _) => self.handle_early_record(now, header, record),
            (Phase::Closed, _) => {}
        }
    }

    /// The hot path. RFC 6347 §4.1.2.7, RFC 9147 §4.5.2: what does not open is dropped, and so is all that came in the
    /// clear, alerts and hellos included: anyone could have written it.
    fn handle_live_record(&mut self, now: Instant, header: &RecordHeader, mut record: BytesMut) {
        let (Phase::Connected(established), records) = (&mut self.phase, &mut self.outside.records) else {
            return;
        };
        let mut opened = records.open(header, &mut record);
        // There may be keys for it after all.
        if opened.is_none() && established.wake(header, records) {
            opened = records.open(header, &mut record);
        }
        match opened {
            None => count(&mut self.stats.unexpected),
            Some(Ok((content_type, number))) => match content_type {
                ContentType::APPLICATION_DATA if number.epoch != v13::HANDSHAKE => self.on_data(record),
                ContentType::HANDSHAKE => self.on_late_handshake(now, number, &record),
                ContentType::ALERT => self.on_alert(number.epoch, &record),
                ContentType::ACK => self.on_late_ack(now, number.epoch, &record),
                _ => count(&mut self.stats.unexpected),
            },
            Some(Err(error)) => {
                self.count_unopened(error);
                // RFC 9147 §4.5.3: so many forgeries that one of them might have been taken for true.
                let RecordHeader::Unified(header) = header else { return };
                if self.outside.records.opener_of(header).is_some_and(|opener| opener.is_worn()) {
                    self.on_closed(CloseReason::Forgeries);
                }
            }
        }
    }

    /// A protected record while the handshake runs.
    fn handle_early_record(&mut self, now: Instant, header: &RecordHeader, record: BytesMut) {
        let Phase::Handshaking(handshake) = &mut self.phase else { return };
        match handshake.open(header, record, &mut self.outside.records) {
            Ok((content_type, number, body)) => self.on_protected(now, content_type, number, &body),
            Err(Unopened::Failed(error)) => self.count_unopened(error),
            Err(Unopened::Dropped(reason)) => self.on_dropped(reason),
            Err(Unopened::Kept) => {}
        }
    }

    /// There may be keys now for what came before them.
    fn replay_early(&mut self, now: Instant) {
        if let Phase::Handshaking(handshake) = &mut self.phase
            && self.outside.records.write_epoch() > 0
        {
            for record in handshake.take_early_messages() {
                self.replay(now, record);
            }
        }
    }

    /// Handles a record that was kept; it was split off a datagram once already.
    fn replay(&mut self, now: Instant, mut record: BytesMut) {
        if let Ok((header, record)) = record::split_record(&mut record) {
            self.handle_record(now, &header, record);
        }
    }

    fn count_unopened(&mut self, error: OpenError) {
        match error {
            OpenError::Replayed => count(&mut self.stats.replayed),
            OpenError::Unauthentic => count(&mut self.stats.unauthentic),
            // RFC 8446 §5.4: the peer itself wrote what is no record.
            OpenError::Illegal => self.fail(HandshakeError::UnexpectedMessage),
        }
    }

    /// A record in the clear while the handshake runs.
    fn handle_plaintext(&mut self, now: Instant, header: &Header, body: &[u8]) {
        let Phase::Handshaking(handshake) = &mut self.phase else {
            return count(&mut self.stats.unexpected);
        };
        match header.content_type {
            ContentType::HANDSHAKE => {
                self.handle_handshake(now, RecordNumber { epoch: 0, sequence: header.sequence }, body);
            }
            ContentType::ACK => {
                let event = handshake.handle_ack(now, 0, body);
                self.on_event(Some(now), event);
            }
            ContentType::ALERT => match Alert::parse(body) {
                Ok(Alert { level: AlertLevel::Fatal, description }) => {
                    handshake.on_suspect_alert(now, description);
                }
                Ok(_) => {}
                Err(_) => count(&mut self.stats.malformed),
            },
            // The epoch of the records behind it says the same.
            ContentType::CHANGE_CIPHER_SPEC => {}
            _ => count(&mut self.stats.unexpected),
        }
    }

    /// What an authentic record other than data holds while the handshake runs.
    fn on_protected(&mut self, now: Instant, content_type: ContentType, number: RecordNumber, body: &[u8]) {
        let Phase::Handshaking(handshake) = &mut self.phase else { return };
        match content_type {
            ContentType::HANDSHAKE => self.handle_handshake(now, number, body),
            ContentType::ALERT => self.on_alert(number.epoch, body),
            ContentType::ACK => {
                let event = handshake.handle_ack(now, number.epoch, body);
                self.on_event(Some(now), event);
            }
            _ => count(&mut self.stats.unexpected),
        }
    }

    fn on_data(&mut self, data: BytesMut) {
        let Phase::Connected(established) = &mut self.phase else { return };
        established.on_data();
        if self.received.len() < MAX_RECEIVED {
            self.received.push_back(data);
        } else {
            count(&mut self.stats.no_room);
        }
    }

    /// An alert that the peer has authenticated.
    fn on_alert(&mut self, epoch: Epoch, body: &[u8]) {
        match Alert::parse(body) {
            // RFC 5246 §7.2.1: answered by one of our own.
            Ok(Alert { description: AlertDescription::CLOSE_NOTIFY, .. }) => {
                self.alert = Some(Alert::warning(AlertDescription::CLOSE_NOTIFY));
                self.on_closed(CloseReason::CloseNotify);
            }
            // RFC 8446 §6.1: goes before a close_notify.
            Ok(Alert { description: AlertDescription::USER_CANCELED, .. }) => {}
            // RFC 8446 §6: in 1.3 the level says nothing.
            Ok(Alert { level, description }) if level == AlertLevel::Fatal || epoch >= v13::HANDSHAKE => {
                self.on_closed(CloseReason::Alert(description));
            }
            Ok(_) => {}
            Err(_) => count(&mut self.stats.malformed),
        }
    }

    /// Handshake messages of the live connection.
    fn on_late_handshake(&mut self, now: Instant, number: RecordNumber, body: &[u8]) {
        let Phase::Connected(established) = &mut self.phase else { return };
        match established.handle_handshake(now, number, body, &mut self.outside.records) {
            Ok(None) => {}
            Ok(Some(alert)) => self.alert = Some(alert),
            Err(trouble) => self.on_trouble(trouble),
        }
    }

    fn on_late_ack(&mut self, now: Instant, epoch: Epoch, body: &[u8]) {
        let Phase::Connected(established) = &mut self.phase else { return };
        if let Err(trouble) = established.handle_ack(now, epoch, body, &mut self.outside.records) {
            self.on_trouble(trouble);
        }
    }

    fn on_trouble(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Dropped(reason) => self.on_dropped(reason),
            Trouble::Fatal(error) => self.fail(error),
        }
    }

    fn on_dropped(&mut self, reason: Drop) {
        count(match reason {
            Drop::Malformed => &mut self.stats.malformed,
            Drop::Unexpected => &mut self.stats.unexpected,
            Drop::NoRoom => &mut self.stats.no_room,
        });
    }

    // ---- the handshake --------------------------------------------------------------------------------------

    fn handle_handshake(&mut self, now: Instant, number: RecordNumber, body: &[u8]) {
        let mut is_taken = true;
        for fragment in fragments(body) {
            let Phase::Handshaking(handshake) = &mut self.phase else { return };
            let Ok(fragment) = fragment else {
                count(&mut self.stats.malformed);
                is_taken = false;
                break;
            };
            let event = handshake.handle_fragment(now, number.epoch, &fragment, &mut self.outside);
            is_taken &= matches!(event, Event::None);
            self.on_event(Some(now), event);
        }
        if let Phase::Handshaking(handshake) = &mut self.phase
            && is_taken
        {
            handshake.note_record(number);
        }
        self.step(now);
    }

    /// Takes the steps of all messages that are complete; each message is a step forward, so this ends.
    fn step(&mut self, now: Instant) {
        while let Phase::Handshaking(handshake) = &mut self.phase {
            match handshake.step_due(now, &mut self.outside) {
                Some(event) => self.on_event(Some(now), event),
                None => break,
            }
        }
    }

    fn on_event(&mut self, now: Option<Instant>, event: Event) {
        match event {
            Event::None => {}
            Event::Dropped(reason) => self.on_dropped(reason),
            Event::Doubted(alert) => self.alert = Some(Alert::fatal(alert)),
            Event::Connected(session) => self.on_connected(now, session),
            Event::Failed(error) => self.fail(error),
        }
    }

    fn on_connected(&mut self, now: Option<Instant>, session: Box<Session>) {
        let (Phase::Handshaking(handshake), Some(now)) =
            (std::mem::replace(&mut self.phase, Phase::Closed), now)
        else {
            return self.fail(HandshakeError::Internal);
        };
        let Remains { last_flight, early, live } = handshake.into_remains(now, session.details.version);
        match Established::begin(session, last_flight, live, &mut self.outside.records) {
            Ok(established) => self.phase = Phase::Connected(established),
            Err(error) => return self.fail(error),
        }
        self.outside.fingerprints = Vec::new();
        self.facts.push_back(Fact::Connected);
        for record in early {
            self.replay(now, record);
        }
    }

    /// The handshake fails at this end: the peer is told why.
    fn fail(&mut self, error: HandshakeError) {
        self.alert = Some(Alert::fatal(error.alert()));
        self.on_closed(error.into());
    }

    fn on_closed(&mut self, reason: CloseReason) {
        tracing::debug!(%reason, "DTLS closed");
        self.phase = Phase::Closed;
        self.outside.fingerprints = Vec::new();
        self.facts.push_back(Fact::Closed(reason));
    }
}

fn count(counter: &mut u32) {
    *counter = counter.saturating_add(1);
}
