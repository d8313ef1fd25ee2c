//! The public face of one connection.

mod media;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::config::{ConfigError, RtcConfig};
use crate::crypto::cert::{Identity, IdentityError};
use crate::crypto::{Backend, NamedGroup};
use crate::dtls;
use crate::event::{Input, Output};
use crate::ice::{Agent, LocalCandidateError, LocalId, RemoteCandidateError, UnknownCandidate};
use crate::packet::{Protocol, StreamKey};
use crate::rng::{Rng, Stream};
use crate::sctp::{Association, Delivery, MessageId};
use crate::sdp::{Answer, Offer};
use crate::session::channels::{
    ChannelConfig, ChannelId, ChannelInfo, MessageKind, Notice, OpenError, SendError,
};
use crate::session::event::ConnectionState;
use crate::session::gather::{self, GatheringState, IncomingStream};
use crate::session::negotiate::{
    Applied, NegotiationError, Negotiator, OfferOptions, RemoteCandidate, SignalingState, TransportFacts,
    TrickleError, Trickled,
};
use crate::session::tap::TappedPacket;
use crate::session::{Limits, Reading, Session};
use crate::stats::RtcStats;
use crate::time::Clock;
use crate::types::candidate::Candidate;
use crate::types::credentials::Credentials;
use crate::types::fingerprint::{Fingerprint, FingerprintHash};
use crate::types::setup::{DtlsRole, IceRole};
use crate::types::srtp_profile::SrtpProfile;

/// One WebRTC connection, as a state machine without sockets, clocks or threads.
///
/// # Contract
///
/// Methods come in four kinds.
///
/// * **Inputs**: [`handle_input`](Rtc::handle_input) takes a datagram, or tells that time has passed. It returns
///   nothing: bytes from the network are never the caller's error. What is not understood is dropped, counted in
///   [`stats`](Rtc::stats) and traced.
/// * **Commands** ([`open_channel`](Rtc::open_channel), [`send`](Rtc::send), [`create_offer`](Rtc::create_offer), ...) act at
///   the last `now` that an input gave. After a pause, feed [`Input::Timeout`] first. A command that cannot be
///   carried out returns a typed error and changes nothing.
/// * **Output**: [`poll_output`](Rtc::poll_output) hands out what there is, datagrams before events, and
///   [`Output::Timeout`] when there is nothing else. After any input or command, poll until then. Polling again
///   without new input yields the same timeout and no bytes.
/// * **Questions** ([`state`](Rtc::state), [`channel`](Rtc::channel), [`stats`](Rtc::stats), ...) change nothing.
///
/// **Time** is an argument. A `now` before an earlier one counts as the earlier one. Wake up at the time that
/// [`Output::Timeout`] gives; being late is harmless, being early too.
///
/// **The end.** [`Event::Closed`](crate::Event::Closed) is the last event, with its reason. From then on every call is inert and the
/// timeout is `None`.
///
/// **Memory.** A message that arrived stays in the receive window until [`Event::Message`](crate::Event::Message) is polled: an
/// application that does not poll slows its peer down, and nothing grows.
#[derive(Debug)]
pub struct Rtc {
    session: Session,
    negotiator: Negotiator,
    identity: Arc<Identity>,
    fingerprint: Fingerprint,
    config: Kept,
    clock: Clock,
    /// The DTLS stream of the seed, until the handshake takes it.
    dtls_rng: Option<Rng>,
    /// The seed of the RTP stream, for when media is agreed upon.
    rtp_seed: [u8; 32],
    /// Whether the application was told that an offer is needed.
    negotiation_told: bool,
    /// No more local candidates will come.
    end_of_candidates: bool,
    /// An ICE restart of ours waits to be signalled.
    restart_pending: bool,
    /// The user name fragments changed since the router asked.
    ufrags_changed: bool,
    /// Names the connection in traces.
    span: tracing::Span,
}

/// What of the configuration is asked for later: the rest went to the machines, and is not kept twice.
#[derive(Debug)]
struct Kept {
    crypto: &'static dyn Backend,
    ice_lite: bool,
    dtls_patience: Duration,
    min_dtls_version: dtls::Version,
    max_dtls_version: dtls::Version,
    dtls_groups: Vec<NamedGroup>,
    dtls_key_shares: Vec<NamedGroup>,
    preferred_dtls_role: DtlsRole,
    max_message_size: usize,
    srtp_profiles: Vec<SrtpProfile>,
    media_send_buffer: usize,
    datagram_size: usize,
    snap: bool,
    sped: bool,
    key_log: bool,
}

impl Kept {
    fn of(config: RtcConfig) -> Self {
        Kept {
            crypto: config.crypto,
            ice_lite: config.ice.lite,
            dtls_patience: config.dtls_patience,
            min_dtls_version: config.min_dtls_version,
            max_dtls_version: config.max_dtls_version,
            dtls_groups: config.dtls_groups,
            dtls_key_shares: config.dtls_key_shares,
            preferred_dtls_role: config.preferred_dtls_role,
            max_message_size: config.sctp.max_message_size,
            srtp_profiles: config.srtp_profiles,
            media_send_buffer: config.media_send_buffer,
            datagram_size: config.datagram_size,
            snap: config.snap,
            sped: config.sped,
            key_log: config.key_log,
        }
    }
}

/// Why an [`Rtc`] cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NewError {
    /// A field of the configuration is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No certificate was given, and none could be made.
    #[error("no certificate could be made: {0}")]
    Identity(#[from] IdentityError),
}

impl Rtc {
    /// A new connection.
    ///
    /// `seed` comes from the operating system's generator, once per connection, and is the only entropy that the
    /// connection ever sees: never use one twice outside of tests. `clock` says which wall-clock time an
    /// [`Instant`] stands for, and is the first `now`.
    ///
    /// # Errors
    /// A field of the configuration is out of range, or no certificate could be made.
    pub fn new(mut config: RtcConfig, seed: [u8; 32], clock: Clock) -> Result<Rtc, NewError> {
        config.validate()?;
        let media = std::mem::take(&mut config.media);
        let identity = match &config.identity {
            Some(identity) => identity.clone(),
            None => Arc::new(Identity::generate(config.crypto, &mut Rng::new(seed, Stream::Certificate))?),
        };
        let now = clock.instant;
        // Who offers leads (RFC 8445 §6.1.1); negotiation sets it.
        let ice = Agent::new(config.ice.clone(), IceRole::Controlling, Rng::new(seed, Stream::Ice));
        let association = Association::new(config.sctp.clone(), Rng::new(seed, Stream::Sctp), now);
        let span = tracing::debug_span!("rtc", ufrag = %ice.local_credentials().ufrag);
        let limits = Limits {
            datagram_size: config.datagram_size,
            max_segments: config.max_segments,
            max_channels: config.max_channels,
            max_waiting_bytes: config.sctp.send_buffer,
            tap_bytes: config.tap_bytes,
            sped: config.sped,
            restart_patience: config.restart_patience,
        };
        let mut session = Session::new(now, ice, association, limits);
        session.set_up_gathering(gather::Setup {
            servers: config.ice_servers.clone(),
            transport_policy: config.ice_transport_policy,
            candidates: config.candidate_policy.clone(),
            nat_mappings: config.nat_mappings.clone(),
            mdns: config.mdns.clone(),
            is_continual: config.continual_gathering,
        });
        Ok(Rtc {
            session,
            negotiator: Negotiator::new(&mut Rng::new(seed, Stream::Session)).with_media(media),
            fingerprint: identity.fingerprint(FingerprintHash::Sha256),
            identity,
            config: Kept::of(config),
            clock,
            dtls_rng: Some(Rng::new(seed, Stream::Dtls)),
            rtp_seed: Rng::new(seed, Stream::Rtp).array(),
            negotiation_told: false,
            end_of_candidates: false,
            restart_pending: false,
            ufrags_changed: true,
            span,
        })
    }

    // ----- inputs and output -----

    /// Takes a datagram, or lets time pass. `now` is the caller's clock.
    ///
    /// Nothing in a datagram is an error of the caller: what is not understood is dropped and counted.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        let _entered = self.span.enter();
        match input {
            Input::Datagram(datagram) => self.session.handle_datagram(now, datagram),
            Input::Timeout => self.session.handle_timeout(now),
            Input::Stream(stream) => self.session.handle_stream(now, stream),
        }
    }

    /// The next thing to do: datagrams first, then events, then the time to come back at.
    pub fn poll_output(&mut self) -> Output {
        let _entered = self.span.enter();
        if let Some(outbound) = self.session.poll_transmit() {
            return outbound.into();
        }
        if let Some(event) = self.session.poll_event() {
            return Output::Event(event);
        }
        // An event that was polled may have made something due, for instance the answer to an OPEN.
        if self.session.take_stirred()
            && let Some(outbound) = self.session.poll_transmit()
        {
            return outbound.into();
        }
        Output::Timeout(self.session.next_timeout())
    }

    // ----- candidates -----

    /// Takes a local candidate, for whose base the caller has a socket, and says how to name it later. Servers are
    /// asked from there ([`RtcConfig::ice_servers`]). May be called at any time, also while connected.
    ///
    /// Host candidates are [`Candidate::host`] for a UDP socket, and [`Candidate::host_tcp`] for streams: an active
    /// one when the caller opens streams from that address, a passive one when it listens there.
    ///
    /// # Errors
    /// It is there already, there are too many, or it cannot be used.
    pub fn add_local_candidate(&mut self, candidate: Candidate) -> Result<LocalId, LocalCandidateError> {
        let _entered = self.span.enter();
        self.session.add_local_candidate(candidate)
    }

    /// Removes a local candidate whose socket is gone, and those that were gathered from it. Data goes over another
    /// pair, if there is one.
    ///
    /// # Errors
    /// There is no such candidate.
    pub fn remove_local_candidate(&mut self, id: LocalId) -> Result<(), UnknownCandidate> {
        let _entered = self.span.enter();
        self.session.remove_local_candidate(id)
    }

    /// Says that the caller has no more local candidates: descriptions written from now on tell the peer, as soon
    /// as gathering is done too.
    pub fn end_of_local_candidates(&mut self) {
        self.end_of_candidates = true;
        self.session.end_of_local_candidates();
    }

    /// The local candidates as they are to be signalled, gathered ones included: with their priorities, under their
    /// names, and without what the policy hides.
    pub fn local_candidates(&self) -> impl Iterator<Item = Candidate> {
        self.session.signalled_candidates()
    }

    /// How far gathering has come; always complete where there is nothing to gather.
    pub fn gathering_state(&self) -> GatheringState {
        self.session.gathering_state()
    }

    /// Takes a stream that a peer opened to the listener of a passive candidate. `None`: it is not for this
    /// connection, not authentic, or one too many, and is to be closed. [`StreamKey`] tells the rest.
    pub fn accept_stream(&mut self, stream: IncomingStream) -> Option<StreamKey> {
        let _entered = self.span.enter();
        self.session.accept_stream(stream)
    }

    /// Takes a candidate of the peer. Those of a kind that is of no use here are left out silently.
    ///
    /// # Errors
    /// There are too many, or the connection is closed.
    pub fn add_remote_candidate(&mut self, candidate: &Candidate) -> Result<(), RemoteCandidateError> {
        let taken = self.session.take_remote_candidate(candidate).map(|_| ());
        self.session.command(|_, _| ());
        taken
    }

    /// Takes a candidate as signalling brought it (RFC 8838, RFC 8840): the text, and where it belongs.
    ///
    /// # Errors
    /// There is no description of the peer yet, the section is not in it, or the text is no candidate.
    pub fn add_signalled_candidate(&mut self, signalled: RemoteCandidate<'_>) -> Result<(), TrickleError> {
        match self.negotiator.remote_candidate(signalled)? {
            Trickled::Candidate(candidate) => {
                // One too many is the peer's doing, and no error of the caller.
                if let Err(error) = self.add_remote_candidate(&candidate) {
                    tracing::debug!(%error, "signalled candidate left out");
                }
            }
            Trickled::EndOfCandidates => self.end_of_remote_candidates(),
            Trickled::Ignored(reason) => tracing::debug!(?reason, "signalled candidate left out"),
        }
        Ok(())
    }

    /// Says that the peer has no more candidates (RFC 8838 §14).
    pub fn end_of_remote_candidates(&mut self) {
        self.session.command(|now, transport| transport.ice.end_of_remote_candidates(now));
    }

    // ----- negotiation -----

    /// Writes an offer, with the local candidates known so far.
    ///
    /// # Errors
    /// An offer of ours waits for its answer already.
    pub fn create_offer(&mut self) -> Result<Offer, NegotiationError> {
        let candidates: Vec<Candidate> = self.local_candidates().collect();
        let fingerprints = [self.fingerprint];
        let init = self.local_init();
        let facts = self.facts(&candidates, &fingerprints, init.as_deref());
        let mut next = self.negotiator.clone();
        let offer = next.create_offer(&facts, OfferOptions { data: self.wants_data() })?;
        self.negotiator = next;
        self.negotiation_told = false;
        self.session.on_offered();
        Ok(offer)
    }

    /// Takes an offer and writes the answer. The connection begins, or is changed.
    ///
    /// # Errors
    /// The offer contradicts itself or what was agreed, or an offer of ours is out (see [`rollback`](Rtc::rollback)). Nothing
    /// changed then.
    pub fn accept_offer(&mut self, offer: &Offer) -> Result<Answer, NegotiationError> {
        // The answer to a restart carries fresh credentials (RFC 8839 §4.4.3.1.1).
        let restarts = self.negotiator.restarts_ice(offer) && !self.restart_pending;
        if restarts {
            self.session.restart_ice();
        }
        let candidates: Vec<Candidate> = self.local_candidates().collect();
        let fingerprints = [self.fingerprint];
        let init = self.local_init();
        let facts = self.facts(&candidates, &fingerprints, init.as_deref());
        let mut next = self.negotiator.clone();
        match next.accept_offer(offer, &facts) {
            Ok((answer, applied)) => {
                self.negotiator = next;
                self.apply(applied);
                Ok(answer)
            }
            Err(error) => {
                if restarts {
                    self.session.command(|now, transport| transport.ice.rollback_restart(now));
                }
                Err(error)
            }
        }
    }

    /// Takes the answer to our offer.
    ///
    /// # Errors
    /// There is no offer of ours, or the answer does not fit it. Nothing changed then.
    pub fn accept_answer(&mut self, answer: &Answer) -> Result<(), NegotiationError> {
        let mut next = self.negotiator.clone();
        let applied = next.accept_answer(answer)?;
        self.negotiator = next;
        self.apply(applied);
        Ok(())
    }

    /// Takes our offer back, for instance because the peer's came first (glare, RFC 8829 §4.1.10.2).
    ///
    /// # Errors
    /// There is no offer of ours.
    pub fn rollback(&mut self) -> Result<(), NegotiationError> {
        self.negotiator.rollback()?;
        if std::mem::take(&mut self.restart_pending) {
            self.session.command(|now, transport| transport.ice.rollback_restart(now));
            self.ufrags_changed = true;
        }
        self.tell_negotiation();
        Ok(())
    }

    /// Makes fresh ICE credentials; the next offer asks the peer to find a new path (RFC 8445 §9). Data goes on over
    /// the present one meanwhile. It also leads out of [`ConnectionState::Failed`].
    pub fn restart_ice(&mut self) {
        if self.session.is_over() || self.restart_pending {
            return;
        }
        self.session.restart_ice();
        self.restart_pending = true;
        self.ufrags_changed = true;
        self.negotiation_told = false;
        self.tell_negotiation();
    }

    /// Where offer and answer stand.
    pub fn signaling_state(&self) -> SignalingState {
        self.negotiator.state()
    }

    /// What the peer must know of this end to connect without any SDP.
    pub fn local_parameters(&self) -> LocalParameters {
        LocalParameters {
            credentials: self.session.transport.ice.local_credentials().clone(),
            fingerprints: vec![self.fingerprint],
            candidates: self.local_candidates().collect(),
            ice_lite: self.config.ice_lite,
            sped: self.config.sped,
            max_message_size: self.config.max_message_size,
            sctp_init: self.local_init().map(|init| init.to_vec()),
        }
    }

    /// The INIT chunk of the association, if it may be signalled.
    fn local_init(&self) -> Option<Bytes> {
        self.config.snap.then(|| self.session.association.local_init())
    }

    /// Connects without any SDP: `agreed` is what descriptions would have said. Both ends need opposite roles.
    pub fn start(&mut self, agreed: Applied) {
        self.apply(agreed);
    }

    fn facts<'a>(
        &'a self,
        candidates: &'a [Candidate],
        fingerprints: &'a [Fingerprint],
        sctp_init: Option<&'a [u8]>,
    ) -> TransportFacts<'a> {
        TransportFacts {
            credentials: self.session.transport.ice.local_credentials(),
            fingerprints,
            candidates,
            end_of_candidates: self.end_of_candidates
                && self.session.gathering_state() == GatheringState::Complete,
            ice_lite: self.config.ice_lite,
            max_message_size: self.config.max_message_size as u64,
            sctp_init,
            sped: self.config.sped,
            preferred_role: self.config.preferred_dtls_role,
        }
    }

    /// Carries out what was agreed upon.
    fn apply(&mut self, applied: Applied) {
        let span = self.span.clone();
        let _entered = span.enter();
        self.restart_pending = false;
        self.ufrags_changed = true;
        if let Some(data) = &applied.data {
            let max = usize::try_from(data.max_message_size).unwrap_or(usize::MAX);
            self.session.set_remote_data(data.port, max, data.init.clone());
        }
        self.set_media(applied.media);
        let Some(remote) = applied.transport else { return };
        let (role, fingerprints) = (remote.dtls_role, remote.fingerprints.clone());
        self.session.set_remote_transport(remote);
        match self.dtls_rng.take() {
            Some(rng) => {
                let config = dtls::Config {
                    patience: self.config.dtls_patience,
                    min_version: self.config.min_dtls_version,
                    max_version: self.config.max_dtls_version,
                    groups: std::mem::take(&mut self.config.dtls_groups),
                    key_shares: std::mem::take(&mut self.config.dtls_key_shares),
                    key_log: self.config.key_log,
                    srtp_profiles: std::mem::take(&mut self.config.srtp_profiles),
                    ..dtls::Config::new(self.config.crypto, self.identity.clone())
                };
                self.session.start_dtls(Arc::new(config), role, fingerprints, rng);
            }
            None => self.session.set_fingerprints(fingerprints),
        }
    }

    // ----- data channels -----

    /// Makes a data channel. It may be used at once: what is sent before the connection is up leaves with the first
    /// packet that may carry it. [`Event::ChannelOpen`](crate::Event::ChannelOpen) tells when it is open.
    ///
    /// # Errors
    /// There are too many, or the configuration cannot be used.
    pub fn open_channel(&mut self, config: ChannelConfig) -> Result<ChannelId, OpenError> {
        if self.session.is_over() {
            return Err(OpenError::Closed);
        }
        let (now, channels, association, events) = self.session.channel_parts();
        let opened = channels.open(now, config, association, events);
        self.tell_negotiation();
        opened
    }

    /// Sends a message.
    ///
    /// # Errors
    /// There is no such channel, the message is too large, or the send buffer is full. Nothing was taken then.
    pub fn send(
        &mut self,
        channel: ChannelId,
        kind: MessageKind,
        data: impl Into<Bytes>,
    ) -> Result<MessageId, SendError> {
        self.send_with_notice(channel, kind, data, Notice::None)
    }

    /// Sends text.
    ///
    /// # Errors
    /// As [`send`](Rtc::send).
    pub fn send_text(&mut self, channel: ChannelId, text: &str) -> Result<MessageId, SendError> {
        self.send(channel, MessageKind::Text, Bytes::copy_from_slice(text.as_bytes()))
    }

    /// Sends a message whose fate is told: [`MessageDelivered`](crate::Event::MessageDelivered) or
    /// [`MessageAbandoned`](crate::Event::MessageAbandoned) follows.
    ///
    /// # Errors
    /// As [`send`](Rtc::send).
    pub fn send_with_notice(
        &mut self,
        channel: ChannelId,
        kind: MessageKind,
        data: impl Into<Bytes>,
        notice: Notice,
    ) -> Result<MessageId, SendError> {
        let (now, channels, association, _) = self.session.channel_parts();
        channels.send(now, channel, kind, data.into(), notice, association)
    }

    /// Stops handing out received messages, or goes on. Meanwhile they fill the receive window, and the peer has to
    /// wait: for an application that cannot take more just now. All channels pause together, since they share the
    /// window; events that tell of sending go on.
    pub fn pause_messages(&mut self, pause: bool) {
        self.session.set_reading(if pause { Reading::Paused } else { Reading::On });
    }

    /// Closes a channel. What was accepted is delivered or given up before; then
    /// [`Event::ChannelClosed`](crate::Event::ChannelClosed) follows. An id that names no channel is ignored.
    pub fn close_channel(&mut self, channel: ChannelId) {
        let (now, channels, association, events) = self.session.channel_parts();
        channels.close(now, channel, association, events);
    }

    /// What is known of a channel; `None` once it is closed.
    pub fn channel(&self, channel: ChannelId) -> Option<ChannelInfo> {
        self.session.channels.info(channel)
    }

    /// All channels that are not closed.
    pub fn channels(&self) -> Vec<ChannelId> {
        self.session.channels.ids()
    }

    /// Bytes that a channel accepted and that have not left for the first time.
    pub fn buffered_amount(&self, channel: ChannelId) -> usize {
        let sent_on = self.session.channels.stream(channel);
        let queued = sent_on.map_or(0, |stream| self.session.association.buffered_amount(stream));
        queued + self.session.channels.waiting_amount(channel)
    }

    /// Says at which buffered amount, in bytes, [`Event::BufferedAmountLow`](crate::Event::BufferedAmountLow) is told; 0 is the default.
    pub fn set_buffered_amount_low_threshold(&mut self, channel: ChannelId, bytes: usize) {
        let (_, channels, association, _) = self.session.channel_parts();
        if let Some(stream) = channels.stream(channel) {
            association.set_buffered_amount_low_threshold(stream, bytes);
        }
    }

    /// Says whether messages of a channel arrive whole, or in pieces as they come.
    pub fn set_delivery(&mut self, channel: ChannelId, delivery: Delivery) {
        let (_, channels, association, _) = self.session.channel_parts();
        channels.set_delivery(channel, delivery, association);
    }

    // ----- the rest -----

    /// Ends the connection. The peer is told; then [`Event::Closed`](crate::Event::Closed) follows.
    pub fn close(&mut self) {
        let _entered = self.span.enter();
        self.session.close();
    }

    /// The state of the connection as a whole.
    pub fn state(&self) -> ConnectionState {
        self.session.state()
    }

    /// Figures of the connection at this moment.
    pub fn stats(&self) -> RtcStats {
        RtcStats::of(&self.session)
    }

    /// What the DTLS handshake agreed on, once it is over: version, cipher suite, key exchange group, SRTP profile, and
    /// the peer's certificate.
    pub fn dtls_details(&self) -> Option<&dtls::Details> {
        self.session.transport.dtls()?.details()
    }

    /// The next decrypted packet, when [`RtcConfig::tap_bytes`] asks for them.
    pub fn poll_tap(&mut self) -> Option<TappedPacket> {
        self.session.tap.poll()
    }

    /// The certificate of this end.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// Which wall-clock time an instant stands for.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    // ----- for whoever routes datagrams -----

    /// The user name fragments under which connectivity checks for this connection come.
    pub fn local_ufrags(&self) -> impl Iterator<Item = &str> {
        self.session.transport.ice.ufrags()
    }

    /// Whether [`local_ufrags`](Rtc::local_ufrags) may have changed since this was asked before.
    pub(crate) fn take_ufrags_changed(&mut self) -> bool {
        std::mem::take(&mut self.ufrags_changed)
    }

    /// What the number of every STUN transaction of this connection begins with: answers are routed by it.
    pub(crate) fn transaction_tag(&self) -> u32 {
        self.session.transport.ice.transaction_tag()
    }

    /// Whether datagrams from multicast sockets matter to this connection.
    pub(crate) fn listens_to_names(&self) -> bool {
        self.session.transport.gather.as_ref().is_some_and(|gather| gather.listens())
    }

    /// An address that authentic checks came from since this was asked before: remote, local, protocol.
    pub(crate) fn take_authenticated_path(&mut self) -> Option<(SocketAddr, SocketAddr, Protocol)> {
        self.session.authenticated.pop()
    }
}

/// What a peer must know to connect without any SDP; its counterpart for the other direction is [`Applied`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalParameters {
    /// The ICE credentials.
    pub credentials: Credentials,
    /// The certificate's fingerprints.
    pub fingerprints: Vec<Fingerprint>,
    /// The candidates known so far.
    pub candidates: Vec<Candidate>,
    /// Whether the agent is a lite one.
    pub ice_lite: bool,
    /// Whether the DTLS handshake may travel in connectivity checks ([`RtcConfig::sped`]).
    pub sped: bool,
    /// The largest message that is accepted, in bytes.
    pub max_message_size: usize,
    /// The INIT chunk of the SCTP association, unless [`RtcConfig::snap`] is off. When each end is given the other's
    /// in [`RemoteData::init`](crate::session::negotiate::RemoteData::init), the association is up as soon as DTLS
    /// is.
    pub sctp_init: Option<Vec<u8>>,
}
