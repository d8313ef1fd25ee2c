//! Whole connections: SDP, ICE, DTLS, SCTP and data channels.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use sansrtc::packet::Datagram;
use sansrtc::{
    Answer, Candidate, ChannelConfig, ChannelId, Input, MessageKind, Offer, Reliability, Rtc, RtcConfig,
};

use crate::sctp::Delivery;
use crate::sim::{self, Output, Peer, seed_bytes};
use crate::transmit;

/// Names a channel of a peer; counted from zero in the order it learned of them.
pub type Channel = usize;

/// What a connection tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// ICE and DTLS are up.
    Connected,
    /// A channel can be used: its own or the other side's.
    Open { channel: Channel, label: String },
    /// A message arrived.
    Message { channel: Channel, text: bool, data: Vec<u8> },
    /// A channel is closed.
    ChannelClosed(Channel),
    /// The connection is over or lost.
    Closed(String),
}

/// A connection with one host candidate.
pub trait RtcPeer: Peer<Event = Event> {
    /// Makes a channel.
    fn open(&mut self, now: Instant, label: &str, delivery: Delivery) -> Channel;

    /// An offer in SDP; at least one channel was made before.
    fn create_offer(&mut self, now: Instant) -> String;

    /// The answer to an offer.
    fn accept_offer(&mut self, now: Instant, offer: &str) -> String;

    /// Takes the answer to its offer.
    fn accept_answer(&mut self, now: Instant, answer: &str);

    /// Whether what it sends for an empty message arrives (RFC 8831 §6.6 asks for one byte of padding).
    fn sends_empty(&self) -> bool {
        true
    }

    /// Sends a message; false when it is not taken now.
    fn send(&mut self, now: Instant, channel: Channel, text: bool, data: &[u8]) -> bool;

    /// Closes a channel.
    fn close(&mut self, now: Instant, channel: Channel);
}

// ---- str0m --------------------------------------------------------------------------------------------------

/// `str0m`.
pub struct Str0m {
    rtc: str0m::Rtc,
    channels: Vec<str0m::channel::ChannelId>,
    pending: Option<str0m::change::SdpPendingOffer>,
    /// Channels made before the first offer.
    wanted: Vec<str0m::channel::ChannelConfig>,
    /// Offer and answer were exchanged.
    negotiated: bool,
    failed: Option<String>,
    over: bool,
}

impl Str0m {
    pub fn new(now: Instant, local: SocketAddr) -> Str0m {
        let mut rtc = str0m::Rtc::builder()
            .set_dtls_version(str0m::config::DtlsVersion::Dtls12)
            .set_sctp_max_buffered_amount(4 * 1024 * 1024)
            .build(now);
        let candidate = str0m::Candidate::host(local, "udp").expect("a host candidate");
        rtc.add_local_candidate(candidate).expect("it is new");
        Str0m {
            rtc,
            channels: Vec::new(),
            pending: None,
            wanted: Vec::new(),
            negotiated: false,
            failed: None,
            over: false,
        }
    }

    fn channel(&mut self, id: str0m::channel::ChannelId) -> Channel {
        self.channels.iter().position(|&known| known == id).unwrap_or_else(|| {
            self.channels.push(id);
            self.channels.len() - 1
        })
    }

    fn input(&mut self, input: str0m::Input<'_>) {
        if !self.over
            && let Err(error) = self.rtc.handle_input(input)
        {
            self.failed = Some(error.to_string());
        }
    }

    fn config(label: &str, delivery: Delivery) -> str0m::channel::ChannelConfig {
        use str0m::channel::Reliability;
        let reliability = match (delivery.max_retransmits, delivery.max_lifetime) {
            (Some(retransmits), _) => Reliability::MaxRetransmits { retransmits },
            (None, Some(lifetime)) => {
                Reliability::MaxPacketLifetime { lifetime: lifetime.as_millis() as u16 }
            }
            (None, None) => Reliability::Reliable,
        };
        str0m::channel::ChannelConfig {
            label: label.into(),
            ordered: delivery.ordered,
            reliability,
            ..Default::default()
        }
    }
}

impl Peer for Str0m {
    type Event = Event;

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        let Datagram { source, destination, contents, .. } = datagram;
        let received = str0m::net::Receive::new(str0m::net::Protocol::Udp, source, destination, &contents);
        // What it cannot classify it refuses here; that is no failure of the connection.
        if let Ok(received) = received {
            self.input(str0m::Input::Receive(now, received));
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.input(str0m::Input::Timeout(now));
    }

    fn poll(&mut self, _: Instant) -> Output<Event> {
        if let Some(error) = self.failed.take() {
            self.over = true;
            return Output::Event(Event::Closed(error));
        }
        if self.over || !self.rtc.is_alive() {
            return Output::Timeout(None);
        }
        loop {
            let event = match self.rtc.poll_output() {
                Err(error) => {
                    self.over = true;
                    return Output::Event(Event::Closed(error.to_string()));
                }
                Ok(str0m::Output::Timeout(at)) => return Output::Timeout(Some(at)),
                Ok(str0m::Output::Transmit(given)) => {
                    return Output::Transmit(transmit(given.source, given.destination, &given.contents));
                }
                Ok(str0m::Output::Event(event)) => event,
            };
            return Output::Event(match event {
                str0m::Event::Connected => Event::Connected,
                str0m::Event::ChannelOpen(id, label) => Event::Open { channel: self.channel(id), label },
                str0m::Event::ChannelData(data) => {
                    let channel = self.channel(data.id);
                    Event::Message { channel, text: !data.binary, data: data.data }
                }
                str0m::Event::ChannelClose(id) => Event::ChannelClosed(self.channel(id)),
                str0m::Event::IceConnectionStateChange(str0m::IceConnectionState::Disconnected) => {
                    Event::Closed("ICE disconnected".into())
                }
                _ => continue,
            });
        }
    }
}

impl RtcPeer for Str0m {
    /// It sends no byte, which is no DATA chunk (RFC 9260 §3.3.1), and nothing gets past it.
    fn sends_empty(&self) -> bool {
        false
    }

    fn open(&mut self, _: Instant, label: &str, delivery: Delivery) -> Channel {
        let config = Str0m::config(label, delivery);
        if self.negotiated {
            let id = self.rtc.direct_api().create_data_channel(config);
            return self.channel(id);
        }
        self.wanted.push(config);
        self.wanted.len() - 1
    }

    fn create_offer(&mut self, _: Instant) -> String {
        let mut change = self.rtc.sdp_api();
        for config in std::mem::take(&mut self.wanted) {
            self.channels.push(change.add_channel_with_config(config));
        }
        let (offer, pending) = change.apply().expect("there is something to offer");
        self.pending = Some(pending);
        offer.to_sdp_string()
    }

    fn accept_offer(&mut self, _: Instant, offer: &str) -> String {
        self.negotiated = true;
        let offer = str0m::change::SdpOffer::from_sdp_string(offer).expect("an offer it can read");
        self.rtc.sdp_api().accept_offer(offer).expect("an offer it can answer").to_sdp_string()
    }

    fn accept_answer(&mut self, _: Instant, answer: &str) {
        self.negotiated = true;
        let answer = str0m::change::SdpAnswer::from_sdp_string(answer).expect("an answer it can read");
        let pending = self.pending.take().expect("it has offered");
        self.rtc.sdp_api().accept_answer(pending, answer).expect("an answer it can take");
    }

    fn send(&mut self, _: Instant, channel: Channel, text: bool, data: &[u8]) -> bool {
        let id = self.channels[channel];
        self.rtc.channel(id).is_some_and(|mut channel| channel.write(!text, data).unwrap_or(false))
    }

    fn close(&mut self, _: Instant, channel: Channel) {
        let id = self.channels[channel];
        self.rtc.direct_api().close_data_channel(id);
    }
}

// ---- rtc ----------------------------------------------------------------------------------------------------

use rtc::data_channel::RTCDataChannelInit;
use rtc::peer_connection::event::{RTCDataChannelEvent, RTCPeerConnectionEvent};
use rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::{CandidateConfig, CandidateHostConfig, RTCIceCandidate};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::sansio::Protocol as _;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};

/// `rtc`, of the webrtc-rs family.
pub struct WebrtcRs {
    connection: RTCPeerConnection,
    local: SocketAddr,
    channels: Vec<usize>,
}

impl WebrtcRs {
    pub fn new(now: Instant, local: SocketAddr) -> WebrtcRs {
        let mut connection = RTCPeerConnectionBuilder::new().build(now).expect("a connection");
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
        WebrtcRs { connection, local, channels: Vec::new() }
    }

    fn channel(&mut self, id: usize) -> Channel {
        self.channels.iter().position(|&known| known == id).unwrap_or_else(|| {
            self.channels.push(id);
            self.channels.len() - 1
        })
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

    fn poll(&mut self, _: Instant) -> Output<Event> {
        if let Some(given) = self.connection.poll_write() {
            return Output::Transmit(transmit(self.local, given.transport.peer_addr, &given.message));
        }
        while let Some(event) = self.connection.poll_event() {
            let event = match event {
                RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) => match state {
                    RTCPeerConnectionState::Connected => Event::Connected,
                    // `Disconnected` passes, and comes early under loss.
                    RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed => {
                        Event::Closed(state.to_string())
                    }
                    _ => continue,
                },
                RTCPeerConnectionEvent::OnDataChannel(RTCDataChannelEvent::OnOpen(id)) => {
                    let label = self.connection.data_channel(id).map(|channel| channel.label().to_owned());
                    Event::Open { channel: self.channel(id), label: label.unwrap_or_default() }
                }
                RTCPeerConnectionEvent::OnDataChannel(RTCDataChannelEvent::OnClose(id)) => {
                    Event::ChannelClosed(self.channel(id))
                }
                _ => continue,
            };
            return Output::Event(event);
        }
        while let Some(TaggedRTCMessage { message, .. }) = self.connection.poll_read() {
            if let RTCMessage::DataChannelMessage(id, message) = message {
                let (channel, text) = (self.channel(id), message.is_string);
                return Output::Event(Event::Message { channel, text, data: message.data.to_vec() });
            }
        }
        Output::Timeout(self.connection.poll_timeout())
    }
}

impl RtcPeer for WebrtcRs {
    fn open(&mut self, _: Instant, label: &str, delivery: Delivery) -> Channel {
        let init = RTCDataChannelInit {
            ordered: delivery.ordered,
            max_retransmits: delivery.max_retransmits,
            max_packet_life_time: delivery.max_lifetime.map(|lifetime| lifetime.as_millis() as u16),
            ..Default::default()
        };
        let id = self.connection.create_data_channel(label, Some(init)).expect("a channel").id();
        self.channel(id)
    }

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

    fn send(&mut self, now: Instant, channel: Channel, text: bool, data: &[u8]) -> bool {
        let id = self.channels[channel];
        let Some(mut channel) = self.connection.data_channel(id) else { return false };
        if text {
            let text = String::from_utf8(data.to_vec()).expect("text is UTF-8");
            return channel.send_text(now, text).is_ok();
        }
        channel.send(now, BytesMut::from(data)).is_ok()
    }

    fn close(&mut self, _: Instant, channel: Channel) {
        let id = self.channels[channel];
        if let Some(mut channel) = self.connection.data_channel(id) {
            channel.close().expect("it is open");
        }
    }
}

// ---- sansrtc ------------------------------------------------------------------------------------------------

/// A `sansrtc::Rtc`.
pub struct Ours {
    rtc: Rtc,
    channels: Vec<ChannelId>,
}

impl Ours {
    pub fn new(seed: u64, config: RtcConfig, local: SocketAddr) -> Ours {
        let seed = seed_bytes(seed, u64::from(local.port()));
        let mut rtc = Rtc::new(config, seed, sim::clock()).expect("a valid configuration");
        rtc.add_local_candidate(Candidate::host(local).expect("a host candidate")).expect("it is new");
        Ours { rtc, channels: Vec::new() }
    }

    fn channel(&mut self, id: ChannelId) -> Channel {
        self.channels.iter().position(|&known| known == id).unwrap_or_else(|| {
            self.channels.push(id);
            self.channels.len() - 1
        })
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

    fn poll(&mut self, _: Instant) -> Output<Event> {
        loop {
            let event = match self.rtc.poll_output() {
                sansrtc::Output::Transmit(transmit) => return Output::Transmit(transmit),
                sansrtc::Output::Timeout(at) => return Output::Timeout(at),
                sansrtc::Output::Stream(stream) => panic!("nobody asked for streams: {stream:?}"),
                sansrtc::Output::Event(event) => event,
            };
            return Output::Event(match event {
                sansrtc::Event::State(sansrtc::ConnectionState::Connected) => Event::Connected,
                sansrtc::Event::ChannelOpen(id) => {
                    let label = self.rtc.channel(id).map(|info| info.config.label);
                    Event::Open { channel: self.channel(id), label: label.unwrap_or_default() }
                }
                sansrtc::Event::Message { channel, kind, data } => Event::Message {
                    channel: self.channel(channel),
                    text: kind == MessageKind::Text,
                    data: data.to_vec(),
                },
                sansrtc::Event::ChannelClosed(id) => Event::ChannelClosed(self.channel(id)),
                sansrtc::Event::Closed(reason) => Event::Closed(reason.to_string()),
                _ => continue,
            });
        }
    }
}

impl RtcPeer for Ours {
    fn open(&mut self, _: Instant, label: &str, delivery: Delivery) -> Channel {
        let reliability = match (delivery.max_retransmits, delivery.max_lifetime) {
            (Some(count), _) => Reliability::MaxRetransmits(count),
            (None, Some(lifetime)) => Reliability::MaxLifetime(lifetime),
            (None, None) => Reliability::Reliable,
        };
        let config =
            ChannelConfig { ordered: delivery.ordered, reliability, ..ChannelConfig::labelled(label) };
        let id = self.rtc.open_channel(config).expect("a channel");
        self.channel(id)
    }

    fn create_offer(&mut self, _: Instant) -> String {
        self.rtc.create_offer().expect("an offer").to_string()
    }

    fn accept_offer(&mut self, _: Instant, offer: &str) -> String {
        let offer: Offer = offer.parse().expect("an offer that can be read");
        self.rtc.accept_offer(&offer).expect("an offer that can be answered").to_string()
    }

    fn accept_answer(&mut self, _: Instant, answer: &str) {
        let answer: Answer = answer.parse().expect("an answer that can be read");
        self.rtc.accept_answer(&answer).expect("an answer that fits");
    }

    fn send(&mut self, _: Instant, channel: Channel, text: bool, data: &[u8]) -> bool {
        let kind = if text { MessageKind::Text } else { MessageKind::Binary };
        self.rtc.send(self.channels[channel], kind, Bytes::copy_from_slice(data)).is_ok()
    }

    fn close(&mut self, _: Instant, channel: Channel) {
        self.rtc.close_channel(self.channels[channel]);
    }
}
