//! Sound or pictures between any two stacks: one section, frames both ways.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use sansrtc::packet::Datagram;
use sansrtc::payload::{Codec, Depacketizer, FrameInfo, Outcome, Packetizer, Received};
use sansrtc::rtp::stream::receive::{Next, Reorder, ReorderConfig};
use sansrtc::{
    Answer, Candidate, FrameToSend, Input, MediaConfig, MediaDirection, MediaLevel, MediaType, Offer,
    OutgoingPacket, Rtc, RtcConfig, TransceiverConfig, TransceiverId,
};

use crate::sim::{self, Output, Peer, seed_bytes};
use crate::transmit;

/// What a connection tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// ICE and DTLS are up.
    Connected,
    /// A frame came out.
    Frame(Vec<u8>),
    /// The other side wants a key frame.
    KeyFrameWanted,
    /// The connection is over or lost.
    Closed(String),
}

/// What a connection carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Opus.
    Audio,
    /// VP8.
    Video,
}

/// A connection with one host candidate and one section of sound or pictures.
pub trait MediaPeer: Peer<Event = Event> {
    /// An offer to send and receive.
    fn create_offer(&mut self, now: Instant) -> String;

    /// The answer to an offer: media is sent and received.
    fn accept_offer(&mut self, now: Instant, offer: &str) -> String;

    /// Takes the answer to its offer.
    fn accept_answer(&mut self, now: Instant, answer: &str);

    /// Sends a frame, whose media time is in units of 1/90,000 s.
    fn send(&mut self, now: Instant, time: u32, frame: &[u8]);

    /// Asks the other side for a key frame.
    fn request_key_frame(&mut self, now: Instant);

    /// Whether it tells when the other side wants a key frame.
    fn tells_of_requests(&self) -> bool {
        true
    }

    /// Packets that were sent again because the other side asked for them, and those that came again; `None` where
    /// nobody counts.
    fn repaired(&self) -> Option<[u64; 2]> {
        None
    }
}

/// A frame that looks like VP8: its number, then bytes that follow from it.
pub fn frame(number: u32, len: usize) -> Vec<u8> {
    // RFC 6386 §9.1: the lowest bit of a key frame's first byte is 0, and a start code follows.
    let is_key = number.is_multiple_of(50);
    let head: &[u8] = if is_key {
        &[0x10, 0, 0, 0x9d, 0x01, 0x2a, 64, 0, 64, 0]
    } else {
        &[0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    };
    let mut bytes = head.to_vec();
    bytes.extend(number.to_be_bytes());
    bytes.extend((0..len as u32).map(|at| (number.wrapping_mul(31).wrapping_add(at) % 251) as u8));
    bytes
}

/// The number of a frame that [`frame`] made.
pub fn number(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[10..14].try_into().expect("four bytes"))
}

/// Packets from frames and back, for stacks that are asked at the level of packets.
struct Packets {
    packetizer: Packetizer,
    sequence: u64,
    reorder: Reorder<(u32, bool, Vec<u8>)>,
    depacketizer: Depacketizer,
    frames: Vec<Vec<u8>>,
    /// The first number of the other side, below which nothing lies.
    highest: u64,
}

impl Packets {
    fn new(codec: Codec) -> Packets {
        let config = ReorderConfig { max_wait: Duration::from_millis(800), ..ReorderConfig::default() };
        Packets {
            packetizer: Packetizer::new(codec, 7),
            sequence: 1000,
            reorder: Reorder::new(config),
            depacketizer: Depacketizer::new(codec, 1 << 20),
            frames: Vec::new(),
            highest: 0,
        }
    }

    /// The payloads of a frame, with number and marker.
    fn cut(&mut self, frame: &[u8]) -> Vec<(u64, bool, Vec<u8>)> {
        let mut payloads = self.packetizer.start(frame, 1000, FrameInfo::default()).expect("it can be cut");
        let mut packets = Vec::new();
        let mut out = BytesMut::new();
        while let Some(is_last) = payloads.next_payload(&mut out) {
            packets.push((self.sequence, is_last, out.to_vec()));
            self.sequence += 1;
            out.clear();
        }
        packets
    }

    /// The long form of a number on the wire.
    fn long(&mut self, sequence: u16) -> u64 {
        if self.highest == 0 {
            self.highest = 65_536 + u64::from(sequence);
        }
        let step = sequence.wrapping_sub(self.highest as u16).cast_signed();
        let long = self.highest.wrapping_add_signed(step.into());
        self.highest = self.highest.max(long);
        long
    }

    fn handle(&mut self, now: Instant, sequence: u64, timestamp: u32, marker: bool, payload: Vec<u8>) {
        let bytes = payload.len();
        let _ = self.reorder.handle_packet(now, sequence, bytes, (timestamp, marker, payload));
        self.drain(now);
    }

    fn drain(&mut self, now: Instant) {
        while let Some(next) = self.reorder.poll(now) {
            let Next::Packet { sequence, packet: (timestamp, marker, payload) } = next else { continue };
            let received = Received { sequence, timestamp, marker, payload: &payload };
            for outcome in self.depacketizer.handle_packet(received) {
                if let Outcome::Frame(frame) = outcome {
                    self.frames.push(frame.data.to_vec());
                }
            }
        }
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        (!self.frames.is_empty()).then(|| self.frames.remove(0))
    }
}

// ---- str0m --------------------------------------------------------------------------------------------------

/// `str0m`, at the level of frames: it packetizes and assembles itself.
pub struct Str0m {
    rtc: str0m::Rtc,
    kind: Kind,
    /// The layers that it sends; none without simulcast.
    layers: Vec<&'static str>,
    mid: Option<str0m::media::Mid>,
    pending: Option<str0m::change::SdpPendingOffer>,
    failed: Option<String>,
}

impl Str0m {
    pub fn new(now: Instant, local: SocketAddr, kind: Kind) -> Str0m {
        let mut rtc = str0m::Rtc::builder()
            .set_dtls_version(str0m::config::DtlsVersion::Dtls12)
            .clear_codecs()
            .enable_opus(kind == Kind::Audio, false)
            .enable_vp8(kind == Kind::Video)
            .build(now);
        let candidate = str0m::Candidate::host(local, "udp").expect("a host candidate");
        rtc.add_local_candidate(candidate).expect("it is new");
        Str0m { rtc, kind, layers: Vec::new(), mid: None, pending: None, failed: None }
    }

    /// One that sends each frame in several layers; that of layer `n` has the number of the frame and `n` million.
    pub fn simulcast(now: Instant, local: SocketAddr, layers: &[&'static str]) -> Str0m {
        Str0m { layers: layers.to_vec(), ..Str0m::new(now, local, Kind::Video) }
    }

    fn input(&mut self, input: str0m::Input<'_>) {
        if let Err(error) = self.rtc.handle_input(input) {
            self.failed = Some(error.to_string());
        }
    }
}

impl Peer for Str0m {
    type Event = Event;

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        let Datagram { source, destination, contents, .. } = datagram;
        if let Ok(received) =
            str0m::net::Receive::new(str0m::net::Protocol::Udp, source, destination, &contents)
        {
            self.input(str0m::Input::Receive(now, received));
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.input(str0m::Input::Timeout(now));
    }

    fn poll(&mut self, _: Instant) -> Output<Event> {
        if let Some(error) = self.failed.take() {
            return Output::Event(Event::Closed(error));
        }
        loop {
            match self.rtc.poll_output() {
                Err(error) => return Output::Event(Event::Closed(error.to_string())),
                Ok(str0m::Output::Timeout(at)) => return Output::Timeout(Some(at)),
                Ok(str0m::Output::Transmit(given)) => {
                    return Output::Transmit(transmit(given.source, given.destination, &given.contents));
                }
                Ok(str0m::Output::Event(event)) => match event {
                    str0m::Event::Connected => return Output::Event(Event::Connected),
                    str0m::Event::MediaAdded(media) => self.mid = Some(media.mid),
                    str0m::Event::KeyframeRequest(_) => return Output::Event(Event::KeyFrameWanted),
                    str0m::Event::MediaData(data) => return Output::Event(Event::Frame(data.data.to_vec())),
                    _ => {}
                },
            }
        }
    }
}

impl MediaPeer for Str0m {
    fn create_offer(&mut self, _: Instant) -> String {
        use str0m::media::{Direction, MediaKind, Simulcast, SimulcastLayer};
        let mut change = self.rtc.sdp_api();
        let kind = match self.kind {
            Kind::Audio => MediaKind::Audio,
            Kind::Video => MediaKind::Video,
        };
        let simulcast = (!self.layers.is_empty()).then(|| Simulcast {
            send: self.layers.iter().map(|rid| SimulcastLayer::new(rid)).collect(),
            recv: Vec::new(),
        });
        self.mid = Some(change.add_media(kind, Direction::SendRecv, None, None, simulcast));
        let (offer, pending) = change.apply().expect("there is something to offer");
        self.pending = Some(pending);
        offer.to_sdp_string()
    }

    fn accept_offer(&mut self, _: Instant, offer: &str) -> String {
        let offer = str0m::change::SdpOffer::from_sdp_string(offer).expect("an offer it can read");
        self.rtc.sdp_api().accept_offer(offer).expect("an offer it can answer").to_sdp_string()
    }

    fn accept_answer(&mut self, _: Instant, answer: &str) {
        let answer = str0m::change::SdpAnswer::from_sdp_string(answer).expect("an answer it can read");
        let pending = self.pending.take().expect("it has offered");
        self.rtc.sdp_api().accept_answer(pending, answer).expect("an answer it can take");
    }

    fn send(&mut self, now: Instant, time: u32, frame: &[u8]) {
        let mid = self.mid.expect("a section");
        let frequency = match self.kind {
            Kind::Audio => str0m::media::Frequency::FORTY_EIGHT_KHZ,
            Kind::Video => str0m::media::Frequency::NINETY_KHZ,
        };
        let time = str0m::media::MediaTime::new(time.into(), frequency);
        let layers: Vec<Option<&str>> = match self.layers.len() {
            0 => vec![None],
            _ => self.layers.iter().copied().map(Some).collect(),
        };
        for (at, layer) in (0u32..).zip(layers) {
            let mut writer = self.rtc.writer(mid).expect("a section that sends");
            let pt = writer.payload_params().next().expect("a codec was agreed upon").pt();
            let mut frame = frame.to_vec();
            if let Some(layer) = layer {
                writer = writer.rid(layer.into());
                let number = number(&frame) + at * 1_000_000;
                frame[10..14].copy_from_slice(&number.to_be_bytes());
            }
            writer.write(pt, now, time, frame).expect("it is taken");
        }
    }

    fn request_key_frame(&mut self, _: Instant) {
        let mid = self.mid.expect("a section");
        let mut writer = self.rtc.writer(mid).expect("a section");
        writer.request_keyframe(None, str0m::media::KeyframeRequestKind::Pli).expect("it receives");
    }
}

// ---- rtc ----------------------------------------------------------------------------------------------------

use rtc::interceptor::Registry;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::interceptor_registry::register_default_interceptors;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_OPUS, MIME_TYPE_VP8, MediaEngine};
use rtc::peer_connection::event::RTCPeerConnectionEvent;
use rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::{CandidateConfig, CandidateHostConfig, RTCIceCandidate};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp_transceiver::RTCRtpSenderId;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use rtc::sansio::Protocol as _;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};

/// The source of its media.
const SSRC: u32 = 0x5152_5354;

/// `rtc`, of the webrtc-rs family, with its default interceptors, at the level of packets.
pub struct WebrtcRs {
    connection: RTCPeerConnection,
    local: SocketAddr,
    sender: RTCRtpSenderId,
    packets: Packets,
    mime_type: &'static str,
    /// The source of the other side, once a packet came.
    source: u32,
}

impl WebrtcRs {
    pub fn new(now: Instant, local: SocketAddr, kind: Kind) -> WebrtcRs {
        let (codec, mime_type, clock_rate, channels, kind) = match kind {
            Kind::Audio => (Codec::Opus, MIME_TYPE_OPUS, 48_000, 2, RtpCodecKind::Audio),
            Kind::Video => (Codec::Vp8, MIME_TYPE_VP8, 90_000, 0, RtpCodecKind::Video),
        };
        let mut media_engine = MediaEngine::default();
        media_engine.register_default_codecs().expect("they are its own");
        let registry = register_default_interceptors(Registry::new(), &mut media_engine).expect("its own");
        let mut connection = RTCPeerConnectionBuilder::new()
            .with_media_engine(media_engine)
            .with_interceptor_registry(registry)
            .build(now)
            .expect("a connection");
        let base_config = CandidateConfig {
            network: "udp".into(),
            address: local.ip().to_string(),
            port: local.port(),
            component: 1,
            ..Default::default()
        };
        let candidate = CandidateHostConfig { base_config, ..Default::default() }
            .new_candidate_host()
            .expect("a host candidate");
        let candidate = RTCIceCandidate::from(&candidate).to_json().expect("it prints");
        connection.add_local_candidate(candidate).expect("it is new");
        let packets = Packets::new(codec);
        let codec =
            RTCRtpCodec { mime_type: mime_type.to_owned(), clock_rate, channels, ..RTCRtpCodec::default() };
        let rtp_coding_parameters = RTCRtpCodingParameters { ssrc: Some(SSRC), ..Default::default() };
        let encoding = RTCRtpEncodingParameters { rtp_coding_parameters, codec, ..Default::default() };
        let name = |what: &str| what.to_owned();
        let track = MediaStreamTrack::new(name("stream"), name("track"), name("label"), kind, vec![encoding]);
        let sender = connection.add_track(track).expect("a track");
        WebrtcRs { connection, local, sender, packets, mime_type, source: 0 }
    }
}

impl Peer for WebrtcRs {
    type Event = Event;

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        let transport = TransportContext {
            local_addr: datagram.destination,
            peer_addr: datagram.source,
            ecn: None,
            transport_protocol: TransportProtocol::UDP,
        };
        // Errors are about the datagram.
        let _ = self.connection.handle_read(TaggedBytesMut { now, transport, message: datagram.contents });
    }

    fn handle_timeout(&mut self, now: Instant) {
        let _ = self.connection.handle_timeout(now);
    }

    fn poll(&mut self, now: Instant) -> Output<Event> {
        if let Some(given) = self.connection.poll_write() {
            return Output::Transmit(transmit(self.local, given.transport.peer_addr, &given.message));
        }
        while let Some(event) = self.connection.poll_event() {
            if let RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) = event {
                match state {
                    RTCPeerConnectionState::Connected => return Output::Event(Event::Connected),
                    RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed => {
                        return Output::Event(Event::Closed(state.to_string()));
                    }
                    _ => {}
                }
            }
        }
        while let Some(TaggedRTCMessage { message, .. }) = self.connection.poll_read() {
            if let RTCMessage::RtpPacket(_, packet) = message {
                let header = &packet.header;
                self.source = header.ssrc;
                let sequence = self.packets.long(header.sequence_number);
                let (timestamp, marker) = (header.timestamp, header.marker);
                self.packets.handle(now, sequence, timestamp, marker, packet.payload.to_vec());
            }
        }
        self.packets.drain(now);
        if let Some(frame) = self.packets.take() {
            return Output::Event(Event::Frame(frame));
        }
        Output::Timeout(self.connection.poll_timeout())
    }
}

impl MediaPeer for WebrtcRs {
    fn create_offer(&mut self, now: Instant) -> String {
        let offer = self.connection.create_offer(None).expect("an offer");
        self.connection.set_local_description(now, offer).expect("its own offer");
        self.connection.local_description().expect("it was just set").sdp
    }

    fn accept_offer(&mut self, now: Instant, offer: &str) -> String {
        let offer = RTCSessionDescription::offer(offer.into()).expect("an offer it can read");
        self.connection.set_remote_description(now, offer).expect("an offer it can take");
        let answer = self.connection.create_answer(None).expect("an answer");
        self.connection.set_local_description(now, answer).expect("its own answer");
        self.connection.local_description().expect("it was just set").sdp
    }

    fn accept_answer(&mut self, now: Instant, answer: &str) {
        let answer = RTCSessionDescription::answer(answer.into()).expect("an answer it can read");
        self.connection.set_remote_description(now, answer).expect("an answer it can take");
    }

    fn send(&mut self, now: Instant, time: u32, frame: &[u8]) {
        let mut sender = self.connection.rtp_sender(self.sender).expect("it was added");
        let codecs = sender.get_parameters().rtp_parameters.codecs.clone();
        let is_ours = |mime: &str| mime.eq_ignore_ascii_case(self.mime_type);
        let codec =
            codecs.iter().find(|codec| is_ours(&codec.rtp_codec.mime_type)).expect("it was agreed upon");
        for (sequence, marker, payload) in self.packets.cut(frame) {
            let header = rtc::rtp::Header {
                version: 2,
                marker,
                payload_type: codec.payload_type,
                sequence_number: sequence as u16,
                timestamp: time,
                ssrc: SSRC,
                ..Default::default()
            };
            let packet = rtc::rtp::Packet { header, payload: payload.into() };
            sender.write_rtp(now, packet).expect("it is taken");
        }
    }

    /// Feedback stays with its interceptors.
    fn tells_of_requests(&self) -> bool {
        false
    }

    /// It has no such command: the application makes the RTCP itself.
    fn request_key_frame(&mut self, now: Instant) {
        let request = PictureLossIndication { sender_ssrc: SSRC, media_ssrc: self.source };
        let id = self.connection.get_receivers().next().expect("it receives");
        let mut receiver = self.connection.rtp_receiver(id).expect("it is there");
        receiver.write_rtcp(now, vec![Box::new(request)]).expect("it is taken");
    }
}

// ---- sansrtc ------------------------------------------------------------------------------------------------

/// A `sansrtc::Rtc`, at the level of packets or of frames.
pub struct Ours {
    rtc: Rtc,
    kind: Kind,
    level: MediaLevel,
    transceiver: Option<TransceiverId>,
    packets: Packets,
}

impl Ours {
    pub fn new(seed: u64, config: RtcConfig, local: SocketAddr, kind: Kind, level: MediaLevel) -> Ours {
        let seed = seed_bytes(seed, u64::from(local.port()));
        let config = RtcConfig { media: MediaConfig::browser(), ..config };
        let mut rtc = Rtc::new(config, seed, sim::clock()).expect("a valid configuration");
        rtc.add_local_candidate(Candidate::host(local).expect("a host candidate")).expect("it is new");
        let codec = match kind {
            Kind::Audio => Codec::Opus,
            Kind::Video => Codec::Vp8,
        };
        Ours { rtc, kind, level, transceiver: None, packets: Packets::new(codec) }
    }

    fn add(&mut self) {
        let config = TransceiverConfig { level: Some(self.level), ..TransceiverConfig::default() };
        let kind = match self.kind {
            Kind::Audio => MediaType::Audio,
            Kind::Video => MediaType::Video,
        };
        let id = self.rtc.add_transceiver(kind, MediaDirection::SendRecv, config);
        self.transceiver = Some(id.expect("a transceiver"));
    }

    /// The payload type that frames are sent under.
    fn pt(&self) -> sansrtc::Pt {
        let id = self.transceiver.expect("a transceiver");
        let wanted = match self.kind {
            Kind::Audio => sansrtc::Codec::Opus,
            Kind::Video => sansrtc::Codec::Vp8,
        };
        let formats = self.rtc.transceiver(id).expect("it is there").formats;
        formats.iter().find(|format| format.codec == wanted).expect("it was agreed upon").send
    }
}

impl Peer for Ours {
    type Event = Event;

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        self.rtc.handle_input(now, Input::Datagram(datagram));
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.rtc.handle_input(now, Input::Timeout);
    }

    fn poll(&mut self, now: Instant) -> Output<Event> {
        self.packets.drain(now);
        if let Some(frame) = self.packets.take() {
            return Output::Event(Event::Frame(frame));
        }
        loop {
            let event = match self.rtc.poll_output() {
                sansrtc::Output::Transmit(transmit) => return Output::Transmit(transmit),
                sansrtc::Output::Timeout(at) => return Output::Timeout(at),
                sansrtc::Output::Stream(stream) => panic!("nobody asked for streams: {stream:?}"),
                sansrtc::Output::Event(event) => event,
            };
            match event {
                sansrtc::Event::State(sansrtc::ConnectionState::Connected) => {
                    return Output::Event(Event::Connected);
                }
                sansrtc::Event::Packet(packet) => {
                    let payload = packet.payload().to_vec();
                    let timestamp = packet.timestamp as u32;
                    self.packets.handle(now, packet.sequence, timestamp, packet.marker, payload);
                    if let Some(frame) = self.packets.take() {
                        return Output::Event(Event::Frame(frame));
                    }
                }
                sansrtc::Event::Frame(frame) => return Output::Event(Event::Frame(frame.data.to_vec())),
                sansrtc::Event::KeyFrameRequested { .. } => return Output::Event(Event::KeyFrameWanted),
                sansrtc::Event::Closed(reason) => return Output::Event(Event::Closed(reason.to_string())),
                _ => {}
            }
        }
    }
}

impl MediaPeer for Ours {
    fn create_offer(&mut self, _: Instant) -> String {
        self.add();
        self.rtc.create_offer().expect("an offer").to_string()
    }

    fn accept_offer(&mut self, _: Instant, offer: &str) -> String {
        self.add();
        let offer: Offer = offer.parse().expect("an offer that can be read");
        self.rtc.accept_offer(&offer).expect("an offer that can be answered").to_string()
    }

    fn accept_answer(&mut self, _: Instant, answer: &str) {
        let answer: Answer = answer.parse().expect("an answer that can be read");
        self.rtc.accept_answer(&answer).expect("an answer that fits");
    }

    fn send(&mut self, _: Instant, time: u32, frame: &[u8]) {
        let (id, pt) = (self.transceiver.expect("a transceiver"), self.pt());
        if self.level == MediaLevel::Frames {
            let frame = FrameToSend::new(pt, time, frame);
            self.rtc.send_frame(id, None, &frame).expect("it is taken");
            return;
        }
        for (sequence, marker, payload) in self.packets.cut(frame) {
            let packet = OutgoingPacket { marker, ..OutgoingPacket::new(pt, sequence, time, &payload) };
            self.rtc.send_packet(id, None, &packet).expect("it is taken");
        }
    }

    fn request_key_frame(&mut self, _: Instant) {
        self.rtc.request_key_frame(self.transceiver.expect("a transceiver"), None);
    }

    fn repaired(&self) -> Option<[u64; 2]> {
        let stats = self.rtc.media_stats();
        let sent = stats.outbound.iter().map(|stream| stream.retransmitted_packets_sent).sum();
        let came = stats.inbound.iter().map(|stream| stream.retransmitted_packets_received).sum();
        Some([sent, came])
    }
}
