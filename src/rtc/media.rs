//! Audio and video: the part of [`Rtc`] that speaks of transceivers, packets and frames.

use std::time::Instant;

use super::Rtc;
use crate::rng::{Rng, Stream};
use crate::rtp::ext::Kind;
use crate::session::media::{
    FrameToSend, Media, MediaLimits, MediaProtection, MediaStats, OutgoingPacket, ReceiverInfo, RtpPacket,
    SendMediaError, TransceiverConfig, TransceiverError, TransceiverInfo, extension_kind,
};
use crate::session::negotiate::{
    AgreedMedia, Label, MAX_TRANSCEIVERS, MediaLevel, Sender, SignalingState, TransceiverId,
    UnknownTransceiver,
};
use crate::sfu::Rewrite;
use crate::types::codec::MediaType;
use crate::types::direction::Direction;
use crate::types::ids::{Pt, Rid};

impl Rtc {
    /// Adds a way for media. The next offer of ours asks for it, or it answers the next section of this kind that
    /// the peer offers; [`Event::NegotiationNeeded`](crate::Event::NegotiationNeeded) follows. Sources are drawn from
    /// the seed.
    ///
    /// # Errors
    /// No format is configured for this kind, there are too many transceivers, or the connection is closed.
    pub fn add_transceiver(
        &mut self,
        kind: MediaType,
        direction: Direction,
        config: TransceiverConfig,
    ) -> Result<TransceiverId, TransceiverError> {
        if self.session.is_over() {
            return Err(TransceiverError::Closed);
        }
        let formats = match kind {
            MediaType::Audio => &self.negotiator.media_config().audio,
            MediaType::Video => &self.negotiator.media_config().video,
        };
        if formats.is_empty() {
            return Err(TransceiverError::NoFormats);
        }
        if self.negotiator.transceivers().count() >= MAX_TRANSCEIVERS {
            return Err(TransceiverError::TooMany);
        }
        let mut sender = self.negotiator.draw_sender(&config.send_rids);
        sender.stream = config.stream;
        if let Some(track) = config.track {
            sender.track = track;
        }
        let id = self.negotiator.add_transceiver(kind, direction, sender, config.receive_rids);
        if let Some(level) = config.level {
            // It was made a line above.
            let _ = self.negotiator.set_level(id, level);
        }
        self.tell_negotiation();
        Ok(id)
    }

    /// What a transceiver is to do; counts from the next exchange of descriptions on.
    ///
    /// # Errors
    /// There is no such transceiver, or it has ended.
    pub fn set_direction(&mut self, id: TransceiverId, direction: Direction) -> Result<(), TransceiverError> {
        self.negotiator.set_direction(id, direction)?;
        self.tell_negotiation();
        Ok(())
    }

    /// Names the track that a transceiver sends, and the stream that it belongs to (`a=msid`); the peer learns it by
    /// the next exchange of descriptions. A dash is no stream.
    ///
    /// # Errors
    /// There is no such transceiver, or it has ended.
    pub fn set_track(
        &mut self,
        id: TransceiverId,
        stream: Label,
        track: Label,
    ) -> Result<(), TransceiverError> {
        let sender = self.negotiator.transceiver(id).map(|view| view.sender.clone());
        let sender = Sender { stream, track, ..sender.ok_or(TransceiverError::Unknown)? };
        self.negotiator.set_sender(id, sender)?;
        self.tell_negotiation();
        Ok(())
    }

    /// What header extensions of this URI are called in packets: a kind that this crate knows, or a
    /// [`Kind::Other`] for one that the configuration brought.
    pub fn extension_kind(&self, uri: &str) -> Option<Kind> {
        extension_kind(self.negotiator.media_config(), uri)
    }

    /// Audio and video without SDP: what descriptions would have agreed upon, for all transceivers that are in use.
    /// It takes the place of what was agreed before; [`start`](Rtc::start) takes the first. Transceivers are made
    /// with [`add_transceiver`](Rtc::add_transceiver), and [`transceiver`](Rtc::transceiver) says what each sends.
    pub fn set_media(&mut self, agreed: Vec<AgreedMedia>) {
        let last = self.negotiator.transceivers().count();
        let agreed = agreed.into_iter().filter(|media| media.transceiver.index() < last).collect();
        self.apply_media(agreed);
    }

    /// How what a transceiver receives is handed out, from the next packet on.
    ///
    /// # Errors
    /// There is no such transceiver, or it has ended.
    pub fn set_media_level(&mut self, id: TransceiverId, level: MediaLevel) -> Result<(), TransceiverError> {
        self.negotiator.set_level(id, level)?;
        self.session.media.iter_mut().for_each(|media| media.set_level(id, level));
        Ok(())
    }

    /// Ends a transceiver for good; the next exchange of descriptions turns its section down (RFC 8829 §4.2.1).
    ///
    /// # Errors
    /// There is no such transceiver, or it has ended.
    pub fn stop_transceiver(&mut self, id: TransceiverId) -> Result<(), TransceiverError> {
        self.negotiator.stop_transceiver(id)?;
        self.tell_negotiation();
        Ok(())
    }

    /// All transceivers, stopped ones included, in the order in which they were made.
    pub fn transceivers(&self) -> impl Iterator<Item = TransceiverId> + use<> {
        self.negotiator.transceivers()
    }

    /// What is known of a transceiver.
    pub fn transceiver(&self, id: TransceiverId) -> Option<TransceiverInfo> {
        let view = self.negotiator.transceiver(id)?;
        let agreed = self.session.media.as_ref().and_then(|media| media.agreed(id));
        Some(TransceiverInfo {
            id,
            mid: view.mid,
            kind: view.kind,
            wanted: view.wanted,
            agreed: agreed.map(|agreed| agreed.direction),
            formats: agreed.map(|agreed| agreed.formats.to_vec()).unwrap_or_default(),
            extensions: agreed.map(|agreed| agreed.extensions.to_vec()).unwrap_or_default(),
            sender: view.sender.clone(),
            send_rids: agreed.map(|agreed| agreed.send_rids.clone()).unwrap_or_default(),
            remote: agreed.map(|agreed| agreed.remote.clone()).unwrap_or_default(),
            level: view.level,
            is_stopped: view.is_stopped,
        })
    }

    /// The streams of the peer that packets have arrived of.
    pub fn receivers(&self) -> impl Iterator<Item = ReceiverInfo> + '_ {
        self.session.media.iter().flat_map(|media| media.receivers())
    }

    /// Sends an RTP packet in the stream of a transceiver, in a simulcast that called `rid`. It leaves with the next
    /// [`poll_output`](Rtc::poll_output).
    ///
    /// # Errors
    /// See [`SendMediaError`]; nothing was taken then.
    pub fn send_packet(
        &mut self,
        transceiver: TransceiverId,
        rid: Option<Rid>,
        packet: &OutgoingPacket<'_>,
    ) -> Result<(), SendMediaError> {
        let (now, media, pool) = self.session.media_parts().ok_or(SendMediaError::NotConnected)?;
        media.send_packet(now, pool, transceiver, rid, packet)
    }

    /// Sends an encoded frame in the stream of a transceiver, in a simulcast that called `rid`: it is cut into
    /// packets, which take the numbers that follow those sent before.
    ///
    /// # Errors
    /// See [`SendMediaError`]; nothing was taken then.
    pub fn send_frame(
        &mut self,
        transceiver: TransceiverId,
        rid: Option<Rid>,
        frame: &FrameToSend<'_>,
    ) -> Result<(), SendMediaError> {
        let (now, media, pool) = self.session.media_parts().ok_or(SendMediaError::NotConnected)?;
        media.send_frame(now, pool, transceiver, rid, frame)
    }

    /// Forwards a packet that arrived at another connection: the way of an SFU. `rewrite` is what a
    /// [`sfu::Viewer`](crate::sfu::Viewer) decided, `payload_type` the one under which the packet's format was agreed
    /// here ([`Format::send`](crate::session::negotiate::Format::send)). It leaves with the next
    /// [`poll_output`](Rtc::poll_output).
    ///
    /// Header extension elements are written under the ids that were agreed here; those that only the transport
    /// knows are filled in, those that speak of the sender's own stream (layers allocation, transmission offset) left
    /// out, as is padding. The payload is copied once, into the outgoing buffer, and sealed there. Unlike
    /// [`send_packet`](Rtc::send_packet), a packet that arrived is not too large to leave again.
    ///
    /// `now` is taken note of, but no timers run: so a forwarder needs not feed [`Input::Timeout`](crate::Input)
    /// before each packet.
    ///
    /// # Errors
    /// See [`SendMediaError`]; nothing was taken then.
    pub fn forward(
        &mut self,
        now: Instant,
        transceiver: TransceiverId,
        rid: Option<Rid>,
        payload_type: Pt,
        packet: &RtpPacket,
        rewrite: &Rewrite<'_>,
    ) -> Result<(), SendMediaError> {
        self.session.advance(now);
        let (now, media, pool) = self.session.media_parts().ok_or(SendMediaError::NotConnected)?;
        media.forward(now, pool, transceiver, rid, payload_type, packet, rewrite)
    }

    /// Figures of audio and video at this moment, with the names of the W3C's statistics.
    pub fn media_stats(&self) -> MediaStats {
        self.session.media.as_ref().map(|media| media.stats()).unwrap_or_default()
    }

    /// Asks the peer for a key frame of the streams of a transceiver, or of that called `rid`. Requests that follow
    /// each other closely go out once.
    pub fn request_key_frame(&mut self, transceiver: TransceiverId, rid: Option<Rid>) {
        if let Some((now, media, _)) = self.session.media_parts() {
            media.request_key_frame(now, transceiver.index(), rid);
        }
    }

    /// How much redundancy is sent along with the streams of a transceiver, or with that called `rid`: as far as
    /// RED, FlexFEC or ULPFEC was agreed upon ([`MediaConfig::with_video_fec`](crate::MediaConfig::with_video_fec)).
    /// By default none.
    ///
    /// # Errors
    /// There is no such transceiver or stream.
    pub fn set_protection(
        &mut self,
        transceiver: TransceiverId,
        rid: Option<Rid>,
        protection: MediaProtection,
    ) -> Result<(), SendMediaError> {
        let (_, media, _) = self.session.media_parts().ok_or(SendMediaError::NotConnected)?;
        media.set_protection(transceiver, rid, protection)
    }

    /// Pauses the streams of a transceiver, or that called `rid`: packets and frames for it are refused with
    /// [`SendMediaError::Paused`]. What was taken still leaves, and the peer may ask for it again for a second. Its
    /// requests for key frames are not told meanwhile. No message says so to the peer, which sees silence; to tell it,
    /// change the direction and offer.
    ///
    /// # Errors
    /// There is no such transceiver or stream.
    pub fn pause_sending(
        &mut self,
        transceiver: TransceiverId,
        rid: Option<Rid>,
    ) -> Result<(), SendMediaError> {
        let (_, media, _) = self.session.media_parts().ok_or(SendMediaError::NotConnected)?;
        media.pause_sending(transceiver, rid)
    }

    /// Ends the pause of the streams of a transceiver, or of that called `rid`. A stream of video should go on with a
    /// key frame: [`Event::KeyFrameRequested`](crate::Event::KeyFrameRequested) asks for it.
    ///
    /// # Errors
    /// There is no such transceiver or stream.
    pub fn resume_sending(
        &mut self,
        transceiver: TransceiverId,
        rid: Option<Rid>,
    ) -> Result<(), SendMediaError> {
        let (now, media, events) = self.session.media_events().ok_or(SendMediaError::NotConnected)?;
        media.resume_sending(now, transceiver, rid, events)
    }

    /// Holds what is sent below `bitrate` bits per second in all, whatever the peer allows; `None` lifts the limit.
    /// Packets wait in the queue meanwhile: an application that sends more fills it, and is told so by
    /// [`SendMediaError::WouldBlock`].
    pub fn set_bitrate_ceiling(&mut self, bitrate: Option<u64>) {
        if let Some((_, media, _)) = self.session.media_parts() {
            media.set_ceiling(bitrate);
        }
    }

    /// Whether an offer is to ask for data channels: there are some, or there is nothing else to ask for.
    pub(super) fn wants_data(&self) -> bool {
        self.negotiator.transceivers().next().is_none() || self.session.channels.len() > 0
    }

    /// Tells the application, once, that an offer would say something new (RFC 8829 §4.1.10, W3C "negotiationneeded").
    pub(super) fn tell_negotiation(&mut self) {
        // Where media came first, the first channel needs an offer of its own.
        let has_media = self.negotiator.transceivers().next().is_some();
        let data_wanted = has_media && self.session.channels.len() > 0;
        let is_needed = self.restart_pending || self.negotiator.needs_offer(data_wanted);
        if !is_needed {
            self.negotiation_told = false;
        } else if !self.negotiation_told && self.negotiator.state() == SignalingState::Stable {
            self.negotiation_told = true;
            self.session.on_negotiation_needed();
        }
    }

    /// Carries out what was agreed upon for audio and video.
    pub(super) fn apply_media(&mut self, agreed: Vec<AgreedMedia>) {
        let limits = MediaLimits {
            datagram_size: self.config.datagram_size,
            send_buffer: self.config.media_send_buffer,
            backend: self.config.crypto,
        };
        let (clock, seed, config) = (self.clock, self.rtp_seed, self.negotiator.media_config());
        self.session.set_media(agreed, || Media::new(limits, clock, config, Rng::new(seed, Stream::Rtp)));
        self.tell_negotiation();
    }
}

impl From<UnknownTransceiver> for TransceiverError {
    fn from(_: UnknownTransceiver) -> Self {
        TransceiverError::Unknown
    }
}
