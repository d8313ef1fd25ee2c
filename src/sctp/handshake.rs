//! The four-way handshake (RFC 9260 §5), its collisions and restarts (§5.2), and the one without packets.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::association::{Association, First, State, tag};
use super::chunk::error::{Cause, emit_abort, emit_error, emit_unrecognized_parameters};
use super::chunk::init::{BadOffer, Init, Offer, emit_init};
use super::chunk::{CHUNK_HEADER_LEN, Chunks, RawChunk, emit_chunk, kind};
use super::cookie::{Cookie, Opened, TieTags};
use super::inbound::Flow;
use super::packet::{HEADER_LEN, Header};
use super::types::{CloseReason, Event};
use crate::wire::Malformed;
use crate::wire::serial::Serial32;
use crate::wire::writer::Writer;

/// What a cookie means to the association that exists (RFC 9260 §5.2.4, table 12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    /// Action A: the peer started anew.
    Restart,
    /// Action B: of two attempts of the peer, this is the one that counts.
    Collision,
    /// Action D: the cookie of this very association.
    Same,
    /// Action C, and whatever the table does not list.
    Stranger,
}

impl Association {
    /// RFC 9260 §5.1 B, §5.2.1, §5.2.2: the peer asks; a cookie is all that is made for it.
    pub(super) fn on_init(&mut self, now: Instant, value: &[u8]) -> Result<Flow, Malformed> {
        if let State::ShutdownAckSent { t2_shutdown } = &mut self.state {
            // §9.2: its SHUTDOWN COMPLETE got lost.
            t2_shutdown.send_now();
            return Ok(Flow::Stop);
        }
        let init = Init::parse(value)?;
        if let Err(bad) = init.check() {
            self.refuse(&init, bad);
            return Ok(Flow::Stop);
        }
        let offer = self.answering_offer();
        let ties = self.ties();
        let cookie = Cookie { local_tag: offer.tag, local_tsn: offer.initial_tsn, peer: init.offer, ties };
        let sealed = self.jar.seal(now, &cookie);
        let room = self.config.mtu - HEADER_LEN;
        let ports = self.ports();
        self.control.packet(ports, init.offer.tag, |w| {
            emit_init(w, &offer, Some(&sealed), init.reported(), room);
        });
        Ok(Flow::Stop)
    }

    fn refuse(&mut self, init: &Init<'_>, bad: BadOffer) {
        let BadOffer::Abort(words) = bad else { return };
        let ports = self.ports();
        // §8.4 rule 3: the tag is the one of the INIT, and not reflected.
        self.control.packet(ports, init.offer.tag, |w| {
            emit_abort(w, 0, Some(Cause::ProtocolViolation(words)));
        });
    }

    /// What the INIT ACK offers: while the handshake runs, what our INIT said; later a new tag and TSN, so that
    /// nothing of the living association can be confused with what may replace it (§5.2.1, §5.2.2).
    fn answering_offer(&mut self) -> Offer {
        match self.state {
            State::Closed | State::CookieWait { .. } | State::CookieEchoed { .. } => self.offer,
            _ => {
                let initial_tsn = Serial32(self.rng.u32());
                Offer { tag: tag(&mut self.rng), initial_tsn, ..self.offer }
            }
        }
    }

    /// §5.2.2: which association existed when the cookie was made.
    fn ties(&self) -> TieTags {
        match (&self.state, self.peer) {
            (State::Closed | State::CookieWait { .. }, _) | (_, None) => TieTags::default(),
            (_, Some(peer)) => TieTags { local: self.offer.tag, peer: peer.tag },
        }
    }

    /// RFC 9260 §5.1 C: the peer answers our INIT.
    pub(super) fn on_init_ack(&mut self, value: &[u8]) -> Result<Flow, Malformed> {
        // §5.2.3: in any other state it is old.
        if !matches!(self.state, State::CookieWait { .. }) {
            return Ok(Flow::Stop);
        }
        let init = Init::parse(value)?;
        if let Err(bad) = init.check() {
            self.refuse(&init, bad);
            if let BadOffer::Abort(words) = bad {
                self.end_with(CloseReason::ProtocolViolation(words), None);
            }
            return Ok(Flow::Stop);
        }
        let Some(cookie) = init.cookie else { return Ok(self.abort_handshake(&init, Cause::MissingCookie)) };
        if HEADER_LEN + CHUNK_HEADER_LEN + cookie.len() > self.config.mtu {
            return Ok(self.abort_handshake(&init, Cause::InvalidMandatoryParameter));
        }
        let first = if self.peer.is_none() { First::Yes } else { First::No };
        self.meet(init.offer, first);
        let room = (self.config.mtu - HEADER_LEN).saturating_sub(CHUNK_HEADER_LEN + cookie.len());
        if init.reported().next().is_some() {
            // RFC 9260 §3.2.1: told in an ERROR beside the COOKIE ECHO.
            self.control.chunk(|w| emit_unrecognized_parameters(w, init.reported(), room));
        }
        let cookie = Bytes::copy_from_slice(cookie);
        self.state = State::CookieEchoed { t1_cookie: self.handshake_retry(), cookie };
        Ok(Flow::Stop)
    }

    fn abort_handshake(&mut self, init: &Init<'_>, cause: Cause<'_>) -> Flow {
        let ports = self.ports();
        self.control.abort(ports, init.offer.tag, cause);
        self.end_with(CloseReason::ProtocolViolation("INIT ACK without a usable cookie"), None);
        Flow::Stop
    }

    /// RFC 9260 §5.1.5, §5.2.4: a cookie comes back.
    pub(super) fn on_cookie_echo(
        &mut self,
        now: Instant,
        packet: &[u8],
        chunk: &RawChunk<'_>,
    ) -> Result<Flow, Malformed> {
        let header = Header::parse(packet)?;
        let is_first = chunk.range.start == HEADER_LEN + CHUNK_HEADER_LEN;
        let opened = self.jar.open(now, chunk.value);
        let Some(Opened { cookie, age }) =
            opened.ok().filter(|o| o.cookie.local_tag == header.tag && is_first)
        else {
            self.stats.cookies_refused += 1;
            return Ok(Flow::Stop);
        };
        let verdict = self.compare(&cookie);
        // §5.2.4 rule 3: the cookie of this very association never grows old.
        if age > self.config.cookie_lifetime && verdict != Match::Same {
            self.stats.cookies_refused += 1;
            let ports = self.ports();
            let beyond = age.saturating_sub(self.config.cookie_lifetime).as_micros();
            let cause = Cause::StaleCookie(u32::try_from(beyond).unwrap_or(u32::MAX));
            self.control.packet(ports, cookie.peer.tag, |w| emit_error(w, cause));
            return Ok(Flow::Stop);
        }
        Ok(self.on_cookie(now, &cookie, verdict))
    }

    fn compare(&self, cookie: &Cookie) -> Match {
        let is_local = cookie.local_tag == self.offer.tag;
        let Some(peer) = self.peer else {
            return if is_local { Match::Collision } else { Match::Stranger };
        };
        let ties = TieTags { local: self.offer.tag, peer: peer.tag };
        match (is_local, cookie.peer.tag == peer.tag) {
            (true, true) => Match::Same,
            (true, false) => Match::Collision,
            (false, false) if cookie.ties == ties => Match::Restart,
            _ => Match::Stranger,
        }
    }

    fn on_cookie(&mut self, now: Instant, cookie: &Cookie, verdict: Match) -> Flow {
        match (verdict, &mut self.state) {
            (Match::Stranger, _) | (_, State::Ended) => {
                self.stats.cookies_refused += 1;
                return Flow::Stop;
            }
            (Match::Same, State::CookieEchoed { .. }) => self.establish(now),
            (Match::Same, _) => {}
            (Match::Collision, State::Closed | State::CookieWait { .. }) => {
                let first = if self.peer.is_none() { First::Yes } else { First::No };
                self.meet(cookie.peer, first);
                self.establish(now);
            }
            // What rode with our COOKIE ECHO went to an attempt that the peer forgot: it is sent again.
            (Match::Collision, State::CookieEchoed { .. }) => {
                self.meet(cookie.peer, First::No);
                self.establish(now);
            }
            (Match::Restart | Match::Collision, State::ShutdownAckSent { t2_shutdown }) => {
                // §5.2.4 action A: no new association now.
                t2_shutdown.send_now();
                self.control.error(Cause::CookieWhileShuttingDown);
                return Flow::Stop;
            }
            (Match::Restart | Match::Collision, _) => self.restart(now, cookie),
        }
        self.control.cookie_ack();
        Flow::Continue
    }

    /// §5.2.4 action A: what was on its way is lost, the streams begin anew, the user is told.
    fn restart(&mut self, now: Instant, cookie: &Cookie) {
        self.offer.tag = cookie.local_tag;
        self.offer.initial_tsn = cookie.local_tsn;
        self.control.clear();
        self.sender.abandon_all();
        self.meet(cookie.peer, First::Yes);
        self.state = State::Established;
        self.heartbeat.start(now);
        self.events.push_back(Event::Restarted);
    }

    pub(super) fn on_cookie_ack(&mut self, now: Instant) {
        // §5.2.5: in any other state it is a duplicate.
        if matches!(self.state, State::CookieEchoed { .. }) {
            self.establish(now);
        }
    }

    pub(super) fn establish(&mut self, now: Instant) {
        self.state = State::Established;
        self.heartbeat.start(now);
        self.events.push_back(Event::Connected);
        if self.peer.is_some_and(|peer| !peer.agreed.reconfig) {
            // The peer cannot be asked: what waits for it is over.
            for stream in self.reset.take_wanted() {
                self.events.push_back(Event::OutgoingReset(stream));
                self.events.push_back(Event::IncomingReset(stream));
            }
        }
    }

    /// §5.2.6 alternative 1: a new INIT gets a new cookie.
    pub(super) fn on_stale_cookie(&mut self) {
        self.state = State::CookieWait { t1_init: self.handshake_retry() };
    }

    /// Our INIT chunk, to be carried by the session description (draft-hancke-tsvwg-snap). It changes nothing here.
    pub fn local_init(&self) -> Bytes {
        let mut chunk = BytesMut::new();
        emit_init(&mut Writer::new(&mut chunk), &self.offer, None, [], usize::from(u16::MAX));
        chunk.freeze()
    }

    /// Takes the peer's INIT chunk from its session description, when ours is in the other one: the association is
    /// up without a packet, as soon as the lower layer is (draft-hancke-tsvwg-snap). Call it instead of
    /// [`connect`](Self::connect), once DTLS is connected. `rtt` is the round-trip time that ICE measured.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes are no INIT chunk that could be accepted. Nothing has changed then.
    pub fn accept_remote_init(
        &mut self,
        now: Instant,
        rtt: Option<Duration>,
        init: &[u8],
    ) -> Result<(), Malformed> {
        let offer = signalled_offer(init)?;
        if !matches!(self.state, State::Closed) || self.peer.is_some() {
            return Err(Malformed("INIT for an association that exists"));
        }
        if let Some(rtt) = rtt {
            self.sender.seed_rtt(rtt);
        }
        self.meet(offer, First::Yes);
        self.establish(now);
        self.settle(now);
        Ok(())
    }

    /// Appends INIT, alone in its packet, with tag 0.
    pub(super) fn emit_init(&self, w: &mut Writer<'_>) {
        emit_init(w, &self.offer, None, [], self.config.mtu - HEADER_LEN);
    }
}

/// Whether `init` is an INIT chunk, and nothing else, that an association could accept from a session description
/// (draft-hancke-tsvwg-snap).
///
/// # Errors
/// [`Malformed`] when it is not.
pub fn check_signalled_init(init: &[u8]) -> Result<(), Malformed> {
    signalled_offer(init).map(|_| ())
}

/// What an INIT chunk from a session description offers.
fn signalled_offer(init: &[u8]) -> Result<Offer, Malformed> {
    let bad = Malformed("INIT in a session description");
    let mut chunks = Chunks::new(init, 0);
    let chunk = chunks.next().ok_or(bad)??;
    let parsed = Init::parse(chunk.value)?;
    if chunk.kind != kind::INIT || chunks.next().is_some() || parsed.check().is_err() {
        return Err(bad);
    }
    Ok(parsed.offer)
}

/// Appends COOKIE ECHO.
pub(super) fn emit_cookie_echo(w: &mut Writer<'_>, cookie: &[u8]) {
    emit_chunk(w, kind::COOKIE_ECHO, 0, |w| w.slice(cookie));
}
