//! The association: what its user commands and asks. What packets do to it is in `inbound`, `handshake` and
//! `shutdown`; what it sends, in `outbound`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::chunk::data::DataFormat;
use super::chunk::error::Cause;
use super::chunk::init::{Extensions, Offer};
use super::config::Config;
use super::control::Control;
use super::cookie::Jar;
use super::heartbeat::Heartbeat;
use super::reset::{Parts, Reset};
use super::retry::Retry;
use super::rx::{Limits, Receiver};
use super::stats::Stats;
use super::tx::{Agreed, Sender};
use super::types::{CloseReason, Delivery, Event, SendError, SendOptions, Tsn};
use crate::rng::Rng;
use crate::time::earliest;
use crate::types::ids::StreamId;
use crate::wire::serial::Serial32;

/// The longest pause between two INITs or COOKIE ECHOs. RFC 9260 §6.3.3 doubles up to RTO.Max; a set-up that
/// lost a few packets should not wait so long.
const HANDSHAKE_PAUSE: Duration = Duration::from_secs(1);

/// Where the association stands (RFC 9260 §4).
///
/// ```text
/// Closed --connect--> CookieWait --INIT ACK--> CookieEchoed --COOKIE ACK--> Established
///    \_________COOKIE ECHO____\____________________\__________________________^  |
///                                                                               | shutdown      | SHUTDOWN
///                     ShutdownPending <-----------------------------------------+               v
///                           | all acknowledged                                       ShutdownReceived
///                           v                                                                   |
///                     ShutdownSent --------SHUTDOWN---------------------> ShutdownAckSent <-----+
///                           \_______________SHUTDOWN ACK, SHUTDOWN COMPLETE______/
///                                                    Ended
/// ```
#[derive(Debug)]
pub(super) enum State {
    Closed,
    CookieWait { t1_init: Retry },
    CookieEchoed { t1_cookie: Retry, cookie: Bytes },
    Established,
    ShutdownPending,
    ShutdownSent { t2_shutdown: Retry },
    ShutdownReceived,
    ShutdownAckSent { t2_shutdown: Retry },
    Ended,
}

/// What is known of the peer since its INIT ACK, or its cookie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    /// Goes into every packet to it.
    pub(super) tag: u32,
    /// What both sides understand.
    pub(super) agreed: Extensions,
    /// Streams that we may send on.
    pub(super) outbound_streams: u16,
    /// Streams that it may send on.
    pub(super) inbound_streams: u16,
}

impl Peer {
    pub(super) fn format(&self) -> DataFormat {
        if self.agreed.interleaving { DataFormat::Interleaved } else { DataFormat::Plain }
    }
}

/// One SCTP association over one DTLS connection.
///
/// Calls fall in three kinds. `handle_*` take packets and time, and commands act at the `now` given. `poll_*` give
/// out until they say that there is nothing: first [`poll_packet`](Self::poll_packet) until it writes nothing, and
/// [`poll_event`](Self::poll_event) whenever the user has room for events; an event may make another packet due.
/// [`next_timeout`](Self::next_timeout) says when to call [`handle_timeout`](Self::handle_timeout) next.
#[derive(Debug)]
pub struct Association {
    pub(super) config: Config,
    pub(super) rng: Rng,
    pub(super) jar: Jar,
    /// What our INIT says.
    pub(super) offer: Offer,
    pub(super) peer: Option<Peer>,
    pub(super) state: State,
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
    pub(super) reset: Reset,
    pub(super) heartbeat: Heartbeat,
    pub(super) control: Control,
    pub(super) events: VecDeque<Event>,
    pub(super) closed: Option<CloseReason>,
    /// The peer's window as it told it last.
    pub(super) peer_window: u32,
    pub(super) stats: Stats,
}

impl Association {
    /// An association that waits for [`connect`](Self::connect), or for its peer. `rng` draws tags, TSNs and the
    /// cookie key.
    pub fn new(config: Config, mut rng: Rng, now: Instant) -> Self {
        debug_assert_eq!(config.validate(), Ok(()), "the caller validates its configuration");
        let extensions = Extensions {
            partial_reliability: true,
            reconfig: true,
            interleaving: config.interleaving,
            zero_checksum: config.zero_checksum,
        };
        let offer = Offer {
            tag: tag(&mut rng),
            a_rwnd: u32::try_from(config.receive_window).unwrap_or(u32::MAX),
            outbound_streams: config.max_streams,
            inbound_streams: config.max_streams,
            initial_tsn: Serial32(rng.u32()),
            extensions,
        };
        let limits = Limits {
            window: config.receive_window,
            max_message_size: config.max_message_size,
            max_streams: config.max_active_streams,
            ack_delay: config.ack_delay,
        };
        Association {
            jar: Jar::new(&mut rng, now),
            sender: Sender::new(&config, now),
            receiver: Receiver::new(limits),
            reset: Reset::default(),
            heartbeat: Heartbeat::new(config.heartbeat_interval),
            control: Control::default(),
            events: VecDeque::new(),
            state: State::Closed,
            peer: None,
            closed: None,
            peer_window: 0,
            stats: Stats::default(),
            offer,
            rng,
            config,
        }
    }

    /// Starts the handshake: INIT is due. In WebRTC both sides do so, as soon as DTLS is up (RFC 8831 §6.2). `rtt`
    /// is the round-trip time that ICE measured: the first time-outs come from it.
    pub fn connect(&mut self, now: Instant, rtt: Option<Duration>) {
        let _ = now;
        if let Some(rtt) = rtt {
            self.sender.seed_rtt(rtt);
        }
        if matches!(self.state, State::Closed) {
            self.state = State::CookieWait { t1_init: self.handshake_retry() };
        }
    }

    /// ICE has measured its path only now: a DTLS handshake that connectivity checks carry may be over before. Once
    /// there is a measurement, this one or one of SCTP itself, it is of no use.
    pub fn on_path_rtt(&mut self, rtt: Duration) {
        if self.sender.smoothed_rtt().is_some() {
            return;
        }
        self.sender.seed_rtt(rtt);
        let retry = self.handshake_retry();
        if let State::CookieWait { t1_init } = &mut self.state
            && t1_init.next_timeout().is_none()
        {
            // INIT has not left yet, since there was no path for it.
            *t1_init = retry;
        }
    }

    pub(super) fn handshake_retry(&self) -> Retry {
        let longest = HANDSHAKE_PAUSE.min(self.config.rto_max);
        Retry::new(self.sender.rto(), longest, self.config.max_init_retransmits)
    }

    /// Sets the largest packet, common header included, in bytes. Packets cut before keep their size.
    pub fn set_mtu(&mut self, mtu: usize) {
        self.config.mtu = mtu.clamp(Config::MIN_MTU, 65_535);
        self.sender.set_mtu(self.config.mtu);
    }

    /// Sets the largest message that the peer accepts, in bytes; 0 is no limit (RFC 8841 §6.1).
    pub fn set_remote_max_message_size(&mut self, bytes: usize) {
        self.config.remote_max_message_size = bytes;
    }

    /// Sets the peer's SCTP port, from its session description (RFC 8841 §5.1, `a=sctp-port`). Default 5000.
    pub fn set_remote_port(&mut self, port: u16) {
        self.config.remote_port = port;
    }

    /// Sends a message. Before the handshake is complete it waits; its lifetime runs all the same.
    ///
    /// # Errors
    /// See [`SendError`]. An empty message cannot be sent (RFC 8831 §6.6 says what to send instead): it is refused
    /// as [`SendError::Closed`].
    pub fn send(
        &mut self,
        now: Instant,
        stream: StreamId,
        ppid: u32,
        data: Bytes,
        options: SendOptions,
    ) -> Result<(), SendError> {
        let limit = self.config.remote_max_message_size;
        if limit != 0 && data.len() > limit {
            return Err(SendError::TooLarge(limit));
        }
        if data.is_empty() || !self.accepts(stream) {
            return Err(SendError::Closed);
        }
        self.sender.send(now, stream, ppid, data, options)
    }

    /// Sends a message of the channel protocol: ordered, reliable, and not held back by a full send buffer. What
    /// cannot be taken (a stream that does not exist, more than a MiB waiting) is dropped; false then.
    pub fn send_control(&mut self, now: Instant, stream: StreamId, ppid: u32, data: Bytes) -> bool {
        let _ = now;
        !data.is_empty() && self.accepts(stream) && self.sender.send_control(stream, ppid, data)
    }

    /// Whether a message for `stream` may still be taken.
    fn accepts(&self, stream: StreamId) -> bool {
        let is_open = matches!(
            self.state,
            State::Closed | State::CookieWait { .. } | State::CookieEchoed { .. } | State::Established
        );
        is_open && stream.0 < self.max_streams()
    }

    /// Sets the share of `stream` among the streams that have something to send (RFC 8260 §3.6); default 256.
    pub fn set_priority(&mut self, stream: StreamId, weight: u16) {
        self.sender.set_priority(stream, weight);
    }

    /// Sets whether messages of `stream` come whole or in pieces, from the next one on.
    pub fn set_delivery(&mut self, stream: StreamId, delivery: Delivery) {
        self.receiver.set_delivery(stream, delivery);
    }

    /// Sets where [`Event::BufferedAmountLow`] is due, in bytes of [`buffered_amount`](Self::buffered_amount).
    pub fn set_buffered_amount_low_threshold(&mut self, stream: StreamId, bytes: usize) {
        self.sender.set_buffered_amount_low_threshold(stream, bytes);
    }

    /// Bytes of `stream` that were accepted and not yet sent once.
    pub fn buffered_amount(&self, stream: StreamId) -> usize {
        self.sender.buffered_amount(stream)
    }

    /// Bytes of all streams that were accepted and neither acknowledged nor given up.
    pub fn total_buffered(&self) -> usize {
        self.sender.buffered()
    }

    /// Ends our side of `stream` (RFC 8831 §6.7): what was accepted is settled first, then the peer is asked to let
    /// the stream begin anew. [`Event::OutgoingReset`] tells the end.
    pub fn reset_stream(&mut self, now: Instant, stream: StreamId) {
        if matches!(self.state, State::Ended) || self.reset.is_resetting(stream) {
            return;
        }
        if self.peer.is_some_and(|peer| !peer.agreed.reconfig) {
            // RFC 6525 §5.1.1: a peer that knows nothing of it cannot be asked, and will not ask.
            self.events.push_back(Event::OutgoingReset(stream));
            self.events.push_back(Event::IncomingReset(stream));
            return;
        }
        self.sender.hold_stream(stream);
        self.reset.want(stream);
        self.advance_reset(now);
    }

    /// Whether our side of `stream` is being reset: it takes no messages, and must not be used for a new channel.
    pub fn is_resetting(&self, stream: StreamId) -> bool {
        self.reset.is_resetting(stream)
    }

    /// Streams that may be used: agreed with the peer, or before that asked for. Numbers are below this.
    pub fn max_streams(&self) -> u16 {
        self.peer.map_or(self.config.max_streams, |peer| peer.outbound_streams)
    }

    /// Whether data flows.
    pub fn is_established(&self) -> bool {
        matches!(self.state, State::Established)
    }

    /// Whether nothing will happen any more. Packets that tell the peer so may still be due.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Ends the association at once: ABORT tells the peer (RFC 9260 §9.1).
    pub fn abort(&mut self, now: Instant) {
        let _ = now;
        self.end_with(CloseReason::Aborted, Some(Cause::UserAbort("closed")));
    }

    /// The reason of the end, once.
    pub fn take_closed(&mut self) -> Option<CloseReason> {
        self.closed.take()
    }

    /// The next thing that happened. A message leaves the receive window here, which may make a SACK due.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        self.receiver.poll_event().or_else(|| self.sender.poll_event())
    }

    /// The next thing that happened on the sending side. What was received waits, and keeps its place in the
    /// receive window.
    pub fn poll_sending_event(&mut self) -> Option<Event> {
        self.events.pop_front().or_else(|| self.sender.poll_event())
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do; `None` when it never will.
    pub fn next_timeout(&self) -> Option<Instant> {
        let handshake = match &self.state {
            State::Ended => return None,
            State::CookieWait { t1_init: retry }
            | State::CookieEchoed { t1_cookie: retry, .. }
            | State::ShutdownSent { t2_shutdown: retry }
            | State::ShutdownAckSent { t2_shutdown: retry } => retry.next_timeout(),
            State::Closed | State::Established | State::ShutdownPending | State::ShutdownReceived => None,
        };
        earliest([
            handshake,
            self.sender.next_timeout(),
            self.receiver.next_timeout(),
            self.reset.next_timeout(),
            self.heartbeat.next_timeout(),
        ])
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        let is_over = match &mut self.state {
            State::Ended => return,
            State::CookieWait { t1_init: retry }
            | State::CookieEchoed { t1_cookie: retry, .. }
            | State::ShutdownSent { t2_shutdown: retry }
            | State::ShutdownAckSent { t2_shutdown: retry } => retry.handle_timeout(now),
            State::Closed | State::Established | State::ShutdownPending | State::ShutdownReceived => false,
        };
        if is_over {
            return self.give_up();
        }
        self.sender.handle_timeout(now);
        self.receiver.handle_timeout(now);
        self.reset.handle_timeout(now);
        self.heartbeat.handle_timeout(now, &mut self.rng);
        let failures = self.sender.timeouts_in_a_row().max(self.heartbeat.unanswered());
        if self.config.max_retransmits.is_some_and(|max| failures > max) {
            return self.end_with(CloseReason::Unreachable, None);
        }
        self.settle(now);
    }

    /// T1 or T2 ran out for the last time.
    fn give_up(&mut self) {
        let reason = match self.state {
            State::CookieWait { .. } | State::CookieEchoed { .. } => CloseReason::HandshakeTimeout,
            _ => CloseReason::Unreachable,
        };
        self.end_with(reason, None);
    }

    /// Gives back memory that only busy times need. Nothing is lost by calling it at any time.
    pub fn slim(&mut self) {
        self.events.shrink_to_fit();
        self.control.slim();
        self.sender.slim();
        self.receiver.slim();
    }

    /// What may have become possible: called after packets, time and commands.
    pub(super) fn settle(&mut self, now: Instant) {
        if self.reset.is_busy() {
            if let Some(answer) = self.reset.settle_deferred(&mut self.receiver) {
                self.control.reconfig_answers(&[answer]);
            }
            self.advance_reset(now);
        }
        if matches!(self.state, State::ShutdownPending | State::ShutdownReceived) {
            self.advance_shutdown();
        }
    }

    fn advance_reset(&mut self, now: Instant) {
        let _ = now;
        if matches!(self.state, State::Established) {
            self.reset.advance(&self.sender, self.sender.rto(), self.config.rto_max);
        }
    }

    /// The parts that a re-configuration acts on, and the machine itself.
    pub(super) fn reset_parts(&mut self) -> Option<(&mut Reset, Parts<'_>)> {
        let peer = self.peer.as_mut()?;
        let parts = Parts {
            sender: &mut self.sender,
            receiver: &mut self.receiver,
            events: &mut self.events,
            inbound_streams: &mut peer.inbound_streams,
            max_streams: self.config.max_streams,
        };
        Some((&mut self.reset, parts))
    }

    /// Both sides' offers are known: data may be sent, and taken in.
    pub(super) fn meet(&mut self, peer: Offer, first: First) {
        let ours = self.offer;
        let agreed = Extensions {
            partial_reliability: ours.extensions.partial_reliability && peer.extensions.partial_reliability,
            reconfig: ours.extensions.reconfig && peer.extensions.reconfig,
            interleaving: ours.extensions.interleaving && peer.extensions.interleaving,
            // RFC 9653 §5.2: what the peer accepts, if we do.
            zero_checksum: ours.extensions.zero_checksum && peer.extensions.zero_checksum,
        };
        let met = Peer {
            tag: peer.tag,
            agreed,
            // RFC 9260 §5.1.1: the smaller of what one asks for and the other allows.
            outbound_streams: ours.outbound_streams.min(peer.inbound_streams),
            inbound_streams: ours.inbound_streams.min(peer.outbound_streams),
        };
        self.peer = Some(met);
        self.peer_window = peer.a_rwnd;
        self.receiver.start(peer.initial_tsn, agreed.interleaving);
        if first == First::Yes {
            let agreed = Agreed {
                initial_tsn: ours.initial_tsn,
                peer_window: peer.a_rwnd,
                format: met.format(),
                partial_reliability: agreed.partial_reliability,
            };
            self.sender.start(agreed, self.config.mtu);
        }
        self.start_reset(peer.initial_tsn);
    }

    fn start_reset(&mut self, peer_tsn: Tsn) {
        let local_tsn = self.offer.initial_tsn;
        if let Some((reset, mut parts)) = self.reset_parts() {
            reset.start(local_tsn, peer_tsn, &mut parts);
        }
    }

    /// Ends the association; with a cause, ABORT tells the peer.
    pub(super) fn end_with(&mut self, reason: CloseReason, cause: Option<Cause<'_>>) {
        if matches!(self.state, State::Ended) {
            return;
        }
        if let (Some(cause), Some(peer)) = (cause, self.peer) {
            self.control.clear();
            let ports = self.ports();
            self.control.abort(ports, peer.tag, cause);
        }
        tracing::debug!(?reason, "SCTP association ended");
        self.state = State::Ended;
        self.closed = Some(reason);
        self.sender.abandon_all();
    }

    /// Our port and the peer's.
    pub(super) fn ports(&self) -> (u16, u16) {
        (self.config.local_port, self.config.remote_port)
    }

    /// What was counted, and where the controllers stand.
    pub fn stats(&self) -> Stats {
        Stats {
            smoothed_rtt: self.sender.smoothed_rtt(),
            rto: self.sender.rto(),
            congestion_window: self.sender.congestion_window(),
            bytes_in_flight: self.sender.flight_bytes(),
            peer_window: self.peer_window,
            receive_buffer: self.receiver.held(),
            chunks_sent: self.sender.stats.chunks_sent,
            chunks_resent: self.sender.stats.chunks_resent,
            timeouts: self.sender.stats.timeouts,
            messages_abandoned: self.sender.stats.messages_abandoned,
            chunks_dropped: self.receiver.dropped,
            ..self.stats
        }
    }
}

/// Whether the sender has to be started, too, or goes on with the TSNs that it gave already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    Yes,
    No,
}

/// RFC 9260 §5.3.1: a tag is never 0.
pub(super) fn tag(rng: &mut Rng) -> u32 {
    rng.u32().max(1)
}
