//! Where the protocols meet: the way of a datagram through ICE, DTLS, SCTP and the data channels.
//!
//! Every input ends the same way: due timers run in a fixed order, then `Session::settle` takes each fact that
//! the machines found, once, in a straight line. Nothing calls back, nothing recurses.

pub mod channels;
pub(crate) mod demux;
pub mod event;
pub mod gather;
pub mod media;
pub mod negotiate;
mod output;
pub(crate) mod tap;
pub(crate) mod transport;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::buffer::Pool;
use crate::dtls;
use crate::ice::{self, Embed};
use crate::packet::{Datagram, Ecn, Protocol};
use crate::rng::Rng;
use crate::sctp::{self, Association};
use crate::time::Timer;
use crate::types::fingerprint::Fingerprint;
use crate::types::setup::DtlsRole;

use channels::Channels;
use demux::Kind;
use event::{CloseReason, ConnectionState, Event};
use media::Media;
use negotiate::{AgreedMedia, RemoteTransport};
use output::Calm;
use tap::{Direction, Tap};
use transport::{PathInfo, Transport};

/// Whether the session lives, says goodbye, or is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Life {
    Live,
    /// The last packets (SCTP ABORT, close_notify) are still to be polled.
    Leaving,
    Closed,
}

/// What the session needs of the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) datagram_size: usize,
    pub(crate) max_segments: usize,
    pub(crate) max_channels: usize,
    pub(crate) max_waiting_bytes: usize,
    pub(crate) tap_bytes: usize,
    /// Whether the handshake may travel in connectivity checks.
    pub(crate) sped: bool,
    pub(crate) restart_patience: Duration,
}

/// One connection below its public face.
#[derive(Debug)]
// In this order in memory: what every packet that is sent touches lies together, in front.
#[repr(C)]
pub(crate) struct Session {
    life: Life,
    state: ConnectionState,
    reading: Reading,
    stirred: bool,
    /// The latest time that was given; it never goes back.
    now: Instant,
    /// Set when everything but media has nothing to say until the time it holds, or ever, and forgotten with the first
    /// thing that may change that: a forwarder that only sends media asks nobody else, packet after packet.
    calm: Option<Calm>,
    /// Data has moved lately. Then the memory that busy times need is kept.
    busy: Timer,
    /// When a connection whose ICE has failed ends, unless ICE starts anew.
    failed: Timer,
    /// `None` until media is agreed upon: a connection without media does not pay for it.
    pub(crate) media: Option<Box<Media>>,
    /// Facts for the application, oldest first. Messages are not among them: they stay in the association,
    /// and in its receive window, until they are polled.
    events: VecDeque<Event>,
    pub(crate) transport: Transport,
    pub(crate) association: Association,
    pub(crate) channels: Channels,
    /// Addresses that authentic checks came from, for whoever routes datagrams; read and emptied by it.
    pub(crate) authenticated: Vec<(SocketAddr, SocketAddr, Protocol)>,
    pub(crate) tap: Tap,
    /// How the association comes up.
    start: Start,
    limits: Limits,
}

/// How the SCTP association comes up, once DTLS is.
#[derive(Debug)]
enum Start {
    /// Not at all, as long as no data channels were agreed upon.
    NoData,
    /// By a handshake with packets.
    Packets,
    /// By the INIT chunks of both descriptions; this is the peer's (draft-hancke-tsvwg-snap).
    Signalled(Vec<u8>),
    /// It has begun.
    Done { snap: bool },
}

/// Whether received messages are handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    On,
    Paused,
}

/// How long after the last data a connection counts as idle.
const IDLE_AFTER: Duration = Duration::from_secs(10);

/// Addresses remembered between two looks of the router.
const MAX_AUTHENTICATED: usize = 32;

impl Session {
    pub(crate) fn new(now: Instant, ice: ice::Agent, association: Association, limits: Limits) -> Self {
        Session {
            now,
            life: Life::Live,
            state: ConnectionState::New,
            transport: Transport::new(ice, limits.datagram_size),
            association,
            channels: Channels::new(limits.max_channels, limits.max_waiting_bytes),
            media: None,
            events: VecDeque::new(),
            authenticated: Vec::new(),
            tap: Tap::new(limits.tap_bytes),
            reading: Reading::On,
            stirred: false,
            calm: None,
            start: Start::NoData,
            busy: Timer::new(),
            failed: Timer::new(),
            limits,
        }
    }

    /// Both descriptions are known: checks start, and the handshake as soon as there is a path.
    pub(crate) fn start_dtls(
        &mut self,
        config: Arc<dtls::Config>,
        role: DtlsRole,
        fingerprints: Vec<Fingerprint>,
        rng: Rng,
    ) {
        self.transport.start_dtls(self.now, config, role, fingerprints, rng);
        self.channels.on_role(self.now, role, &mut self.association, &mut self.events);
        self.set_state(ConnectionState::Connecting);
        self.settle();
    }

    /// The peer's end of the SCTP association, as it was signalled.
    pub(crate) fn set_remote_data(&mut self, port: u16, max_message_size: usize, init: Option<Vec<u8>>) {
        self.calm = None;
        self.association.set_remote_port(port);
        self.association.set_remote_max_message_size(max_message_size);
        if let Start::NoData = self.start {
            self.start = init.map_or(Start::Packets, Start::Signalled);
        }
        self.start_association();
    }

    /// Whether the association came up without packets.
    pub(crate) fn is_snap_used(&self) -> bool {
        matches!(self.start, Start::Done { snap: true })
    }

    /// An offer says that the handshake may travel in checks: the peer's may come before its answer.
    pub(crate) fn on_offered(&mut self) {
        self.calm = None;
        if self.limits.sped && !self.transport.is_begun() {
            self.transport.ice.set_embed(Embed::Begin);
        }
    }

    /// The peer's transport, as it was signalled: for the first time, again, or after a restart.
    pub(crate) fn set_remote_transport(&mut self, remote: RemoteTransport) {
        let is_begun = self.transport.is_begun();
        let (now, ice) = (self.now, &mut self.transport.ice);
        ice.set_role(remote.ice_role);
        // Without a word in its description a peer may still begin (the draft's "Inband discovery").
        if !is_begun {
            ice.set_embed(match (self.limits.sped, remote.sped) {
                (false, _) => Embed::Off,
                (true, false) => Embed::Follow,
                (true, true) => Embed::Begin,
            });
        }
        ice.set_remote_lite(now, remote.ice_lite);
        ice.set_renomination(remote.renomination);
        if let Err(error) = ice.set_remote_credentials(now, remote.credentials) {
            tracing::debug!(%error, "remote credentials not taken");
        }
        for candidate in &remote.candidates {
            if let Err(error) = self.take_remote_candidate(candidate) {
                tracing::debug!(%error, "remote candidate left out");
            }
        }
        if remote.end_of_candidates {
            self.transport.ice.end_of_remote_candidates(now);
        }
        // What the candidates made due leaves now.
        self.transport.ice.handle_timeout(now);
        self.settle();
    }

    /// The peer's fingerprints were signalled again.
    pub(crate) fn set_fingerprints(&mut self, fingerprints: Vec<Fingerprint>) {
        self.transport.set_fingerprints(fingerprints);
        self.settle();
    }

    /// Carries out a command on the transport, and what follows from it.
    pub(crate) fn command<R>(&mut self, command: impl FnOnce(Instant, &mut Transport) -> R) -> R {
        let result = command(self.now, &mut self.transport);
        self.transport.handle_ice_timeout(self.now);
        self.settle();
        result
    }

    /// Something changed that only an offer can tell the peer.
    pub(crate) fn on_negotiation_needed(&mut self) {
        self.calm = None;
        self.events.push_back(Event::NegotiationNeeded);
    }

    /// Whether received messages are handed out from now on.
    pub(crate) fn set_reading(&mut self, reading: Reading) {
        self.calm = None;
        self.reading = reading;
    }

    /// A datagram, or several of equal size that arrived as one.
    pub(crate) fn handle_datagram(&mut self, now: Instant, mut datagram: Datagram) {
        if self.life != Life::Live {
            self.transport.dropped.closed += 1;
            return;
        }
        self.advance(now);
        let size = datagram.segment_size.unwrap_or(usize::MAX).max(1);
        while datagram.contents.len() > size {
            let contents = datagram.contents.split_to(size);
            self.handle_single(Datagram { contents, segment_size: None, ..datagram });
        }
        self.handle_single(datagram);
        self.run_timers();
        self.settle();
    }

    fn handle_single(&mut self, datagram: Datagram) {
        self.transport.datagrams_received += 1;
        self.transport.bytes_received += datagram.contents.len() as u64;
        let inside = match &mut self.transport.gather {
            None => Some(datagram),
            Some(gather) => gather.handle_datagram(self.now, datagram),
        };
        if let Some(datagram) = inside {
            self.handle_datagram_inside(datagram);
        }
    }

    /// A datagram of the peer, without what relays and streams put around it.
    fn handle_datagram_inside(&mut self, datagram: Datagram) {
        let kind = demux::classify(&datagram.contents);
        if matches!(kind, Kind::Dtls | Kind::Rtp | Kind::Rtcp) {
            let Datagram { source, destination, .. } = datagram;
            self.transport.ice.on_data_received(source, destination, datagram.contents.len() as u64);
        }
        match kind {
            Kind::Stun => self.handle_stun(&datagram),
            Kind::Dtls => self.handle_dtls(datagram),
            kind @ (Kind::Rtp | Kind::Rtcp) => self.handle_media(kind, datagram),
            Kind::Channel => self.transport.dropped.channel_data += 1,
            Kind::Unknown => self.transport.dropped.unknown += 1,
        }
    }

    fn handle_stun(&mut self, datagram: &Datagram) {
        self.transport.handle_stun(self.now, datagram);
        self.transport.exchange_embedded(self.now);
        self.take_received(datagram.ecn);
    }

    fn handle_dtls(&mut self, datagram: Datagram) {
        let ecn = datagram.ecn;
        self.transport.handle_dtls(self.now, datagram);
        self.take_received(ecn);
    }

    /// Takes what DTLS has opened.
    fn take_received(&mut self, ecn: Ecn) {
        // With the last of the handshake may come the first data.
        self.start_association();
        while let Some(packet) = self.transport.poll_received() {
            self.tap.record(self.now, Direction::Received, &packet);
            // The peer may have our answer before we have its: what it sends until then it sends again.
            if matches!(self.start, Start::NoData) {
                continue;
            }
            self.association.handle_packet(self.now, packet.freeze(), ecn);
        }
    }

    /// RTP and RTCP reach the streams only from an address that an authentic check came from.
    fn handle_media(&mut self, kind: Kind, datagram: Datagram) {
        let Datagram { source, destination, protocol, contents, ecn, .. } = datagram;
        let Some(media) = &mut self.media else {
            self.transport.dropped.media += 1;
            return;
        };
        if self.transport.ice.accepts_from(source, destination, protocol) == ice::SourceState::Unknown {
            self.transport.dropped.unvalidated += 1;
            return;
        }
        match kind {
            // Reports go to and fro as long as a connection lives, idle or not.
            Kind::Rtcp => media.handle_rtcp(self.now, contents, &mut self.events),
            _ => {
                media.handle_rtp(self.now, contents, ecn, &mut self.events);
                self.on_traffic();
            }
        }
    }

    /// Audio and video, as an exchange of descriptions left them. `make` is asked for the machine of media when
    /// there is none yet.
    pub(crate) fn set_media(&mut self, agreed: Vec<AgreedMedia>, make: impl FnOnce() -> Media) {
        if self.life != Life::Live || (agreed.is_empty() && self.media.is_none()) {
            return;
        }
        self.calm = None;
        let media = self.media.get_or_insert_with(|| Box::new(make()));
        media.apply(agreed, &mut self.events);
        self.set_media_keys();
    }

    /// Gives media its keys, once both are there.
    fn set_media_keys(&mut self) {
        let Some(media) = self.media.as_mut().filter(|media| !media.has_keys()) else { return };
        if let Some(keys) = self.transport.dtls().and_then(dtls::Connection::srtp_keys) {
            media.set_keys(&keys);
        }
    }

    /// For commands of media that tell something.
    pub(crate) fn media_events(&mut self) -> Option<(Instant, &mut Media, &mut VecDeque<Event>)> {
        let media = self.media.as_mut().filter(|_| self.life == Life::Live)?;
        self.calm = None;
        Some((self.now, media, &mut self.events))
    }

    /// For commands of media: the machine, and what it writes into.
    pub(crate) fn media_parts(&mut self) -> Option<(Instant, &mut Media, &mut Pool)> {
        let media = self.media.as_mut().filter(|_| self.life == Life::Live)?;
        self.busy.arm(self.now + IDLE_AFTER);
        Some((self.now, media, &mut self.transport.pool))
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.life != Life::Live {
            return;
        }
        self.advance(now);
        self.run_timers();
        self.settle();
    }

    /// Time never runs backwards, whatever the caller's clock does.
    pub(crate) fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// Data moved.
    fn on_traffic(&mut self) {
        // The first since the last consent check brings the next one nearer.
        if !self.transport.ice.has_traffic() {
            self.calm = None;
            self.transport.ice.on_traffic(self.now);
        }
        self.busy.arm(self.now + IDLE_AFTER);
    }

    /// Gives back memory that only busy times need.
    fn slim(&mut self) {
        self.transport.slim();
        self.association.slim();
        self.channels.slim();
        self.media.iter_mut().for_each(|media| media.slim(self.now));
        self.events.shrink_to_fit();
        self.authenticated.shrink_to_fit();
    }

    fn run_timers(&mut self) {
        self.transport.handle_timeout(self.now);
        self.association.handle_timeout(self.now);
        if let Some(media) = &mut self.media {
            media.handle_timeout(self.now, &mut self.events);
        }
        if self.failed.expire(self.now) {
            self.end(CloseReason::IceFailed);
        }
        if self.busy.expire(self.now) {
            self.slim();
        }
    }

    /// Takes what the machines found out, each fact once, from the bottom up.
    fn settle(&mut self) {
        self.calm = None;
        self.settle_gathering();
        while let Some(fact) = self.transport.ice.poll_fact() {
            self.on_ice(fact);
        }
        while let Some(fact) = self.transport.poll_dtls_fact() {
            self.on_dtls(fact);
        }
        while let Some(line) = self.transport.poll_key_log() {
            self.events.push_back(Event::KeyLog(line));
        }
        if let Some(reason) = self.association.take_closed() {
            self.end(CloseReason::from(reason));
        }
    }

    fn on_ice(&mut self, fact: ice::Fact) {
        match fact {
            // DTLS does not wait for nomination.
            ice::Fact::PairValid(path) => {
                // Who answered a check may send from there. A lite peer never checks by itself.
                self.note_path(path.remote, path.local, path.protocol);
                self.on_path();
            }
            ice::Fact::PathChanged(Some(path)) => {
                self.on_path();
                if let Some(gather) = &mut self.transport.gather {
                    gather.on_path(self.now, Some(&path));
                }
                if self.transport.is_secured() {
                    self.association.set_mtu(self.transport.application_size());
                }
                // Only the last of several changes between two polls is of use.
                self.events.retain(|event| !matches!(event, Event::Path(_)));
                self.events.push_back(Event::Path(PathInfo::from(&path)));
            }
            ice::Fact::PathChanged(None) => {
                if let Some(gather) = &mut self.transport.gather {
                    gather.on_path(self.now, None);
                }
            }
            ice::Fact::StateChanged(state) => self.on_ice_state(state),
            ice::Fact::Authenticated { source, local, protocol } => {
                // Who is not signalled, but was heard through one relay, is let through all.
                self.note_path(source, local, protocol);
            }
            ice::Fact::RoleChanged(_) => {}
        }
    }

    /// What comes this way is for this connection.
    fn note_path(&mut self, remote: SocketAddr, local: SocketAddr, protocol: Protocol) {
        if self.authenticated.len() < MAX_AUTHENTICATED {
            // Nearly always one, and where nobody routes they stay.
            self.authenticated.reserve_exact(1);
            self.authenticated.push((remote, local, protocol));
        }
    }

    fn on_ice_state(&mut self, state: ice::ConnectionState) {
        if !matches!(state, ice::ConnectionState::New | ice::ConnectionState::Failed) {
            self.failed.cancel();
        }
        match state {
            // What was never up has nothing to come back to.
            ice::ConnectionState::Failed
                if !self.transport.is_secured() || self.limits.restart_patience.is_zero() =>
            {
                self.end(CloseReason::IceFailed);
            }
            ice::ConnectionState::Failed => {
                self.failed.arm(self.now + self.limits.restart_patience);
                self.set_state(ConnectionState::Failed);
            }
            ice::ConnectionState::Disconnected => self.set_state(ConnectionState::Disconnected),
            ice::ConnectionState::Connected | ice::ConnectionState::Completed
                if self.transport.is_secured() =>
            {
                self.set_state(ConnectionState::Connected);
            }
            // During a restart data goes on over the former pair.
            _ if self.state == ConnectionState::Connected && self.transport.ice.send_path().is_some() => {}
            _ if self.state == ConnectionState::New => {}
            _ => self.set_state(ConnectionState::Connecting),
        }
    }

    /// There is a path, and its round-trip time is known.
    fn on_path(&mut self) {
        self.transport.on_path(self.now);
        if let Some(rtt) = self.transport.ice.send_path().and_then(|path| path.rtt) {
            self.association.on_path_rtt(rtt);
        }
    }

    fn on_dtls(&mut self, fact: dtls::Fact) {
        match fact {
            dtls::Fact::Connected => {
                self.start_association();
                self.set_media_keys();
                self.set_state(ConnectionState::Connected);
            }
            dtls::Fact::Closed(reason) => self.end(CloseReason::from(reason)),
        }
    }

    /// RFC 8831 §6.1: SCTP starts over DTLS that is up, when both sides have said that they want data.
    fn start_association(&mut self) {
        let may_start = self.transport.is_secured() && self.life == Life::Live;
        if !may_start || !matches!(self.start, Start::Packets | Start::Signalled(_)) {
            return;
        }
        let rtt = self.transport.ice.send_path().and_then(|path| path.rtt);
        self.association.set_mtu(self.transport.application_size());
        let snap = match std::mem::replace(&mut self.start, Start::Packets) {
            // Checked when the description was accepted; given by hand it may be anything.
            Start::Signalled(init) => self.association.accept_remote_init(self.now, rtt, &init).is_ok(),
            _ => false,
        };
        if !snap {
            self.association.connect(self.now, rtt);
        }
        self.start = Start::Done { snap };
    }

    /// Events of the association that cannot wait until they are polled, because the set-up goes on with them.
    fn on_sctp(&mut self, event: sctp::Event) {
        let Session { now, association, channels, events, .. } = self;
        match event {
            sctp::Event::Connected => channels.on_connected(events),
            sctp::Event::Message { stream, ppid, data } => {
                let message = channels.on_message(*now, stream, ppid, data, association, events);
                events.extend(message);
            }
            sctp::Event::Piece { stream, ppid, data, is_last } => {
                channels.on_piece(stream, ppid, data, is_last, events);
            }
            sctp::Event::IncomingReset(stream) => {
                channels.on_incoming_reset(*now, stream, association, events)
            }
            sctp::Event::OutgoingReset(stream) => channels.on_outgoing_reset(stream, events),
            sctp::Event::Delivered { stream, message } => {
                if let Some(channel) = channels.by_stream(stream) {
                    events.push_back(Event::MessageDelivered { channel, message });
                }
            }
            sctp::Event::Abandoned { stream, message } => {
                if let Some(channel) = channels.by_stream(stream) {
                    events.push_back(Event::MessageAbandoned { channel, message });
                }
            }
            sctp::Event::BufferedAmountLow(stream) => {
                if let Some(channel) = channels.by_stream(stream) {
                    events.push_back(Event::BufferedAmountLow(channel));
                }
            }
            sctp::Event::Restarted => channels.on_restart(events),
        }
    }

    /// Says goodbye: SCTP is aborted, DTLS closed; both still have a packet to send.
    pub(crate) fn close(&mut self) {
        if self.life == Life::Live {
            self.association.abort(self.now);
            self.end(CloseReason::Local);
        }
    }

    /// The connection is over. What the machines still say to the peer leaves first, then the events, then nothing.
    fn end(&mut self, reason: CloseReason) {
        if self.life != Life::Live {
            return;
        }
        tracing::debug!(%reason, "connection over");
        self.calm = None;
        // What arrived before the end is handed out before it.
        while let Some(event) = self.association.poll_event() {
            self.on_sctp(event);
        }
        self.transport.close();
        self.media.iter_mut().for_each(|media| media.finish());
        self.channels.on_closed(&mut self.events);
        self.set_state(ConnectionState::Closed);
        self.events.push_back(Event::Closed(reason));
        self.life = Life::Leaving;
    }

    fn set_state(&mut self, state: ConnectionState) {
        if self.state != state && self.state != ConnectionState::Closed {
            self.state = state;
            self.events.push_back(Event::State(state));
        }
    }

    /// The state of the connection as a whole.
    pub(crate) fn state(&self) -> ConnectionState {
        self.state
    }

    /// Whether the connection is over.
    pub(crate) fn is_over(&self) -> bool {
        self.life != Life::Live
    }

    /// For commands: the machines that they change, and where events go.
    pub(crate) fn channel_parts(
        &mut self,
    ) -> (Instant, &mut Channels, &mut Association, &mut VecDeque<Event>) {
        self.calm = None;
        (self.now, &mut self.channels, &mut self.association, &mut self.events)
    }
}
