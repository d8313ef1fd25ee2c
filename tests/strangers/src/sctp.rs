//! SCTP alone, its packets straight on the simulated UDP: no DTLS between.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use dcsctp::api::{self, DcSctpSocket, SocketEvent, SocketTime, ZeroChecksumAlternateErrorDetectionMethod};
use sansrtc::packet::{Datagram, Transmit};
use sansrtc::rng::{Rng, Stream};
use sansrtc::sctp::{self, Association, Reliability, SendOptions};
use sansrtc::types::ids::StreamId;
use sctp_proto::{AssociationHandle, DatagramEvent, Payload, ReliabilityType, StreamEvent};

use crate::sim::{Output, Peer, seed_bytes};
use crate::transmit;

/// What an SCTP peer tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The association is up.
    Connected,
    /// A message arrived.
    Message { stream: u16, ppid: u32, data: Vec<u8> },
    /// The other side closed its half of a stream.
    Reset(u16),
    /// The association is over.
    Closed(String),
}

/// How a message is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    pub ordered: bool,
    pub max_retransmits: Option<u16>,
    pub max_lifetime: Option<Duration>,
}

impl Delivery {
    pub const RELIABLE: Delivery = Delivery { ordered: true, max_retransmits: None, max_lifetime: None };
    pub const UNORDERED: Delivery = Delivery { ordered: false, ..Delivery::RELIABLE };
}

/// One association with one address.
pub trait SctpPeer: Peer<Event = Event> {
    /// Starts the association from this side.
    fn connect(&mut self, now: Instant);

    /// Sends a message; false when it is not taken.
    fn send(&mut self, now: Instant, stream: u16, ppid: u32, data: &[u8], delivery: Delivery) -> bool;

    /// Closes this half of a stream.
    fn reset(&mut self, now: Instant, stream: u16);

    /// Ends the association in good order.
    fn shutdown(&mut self, now: Instant);
}

/// What fits into a UDP payload of 1,200 bytes under DTLS.
pub const MTU: usize = 1163;

/// What may be agreed upon beyond RFC 9260, for the stacks that know it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extensions {
    /// RFC 8260.
    pub interleaving: bool,
    /// RFC 9653.
    pub zero_checksum: bool,
}

// ---- dcsctp -------------------------------------------------------------------------------------------------

/// `dcsctp`.
pub struct DcSctp {
    socket: Box<dyn DcSctpSocket>,
    start: Instant,
    local: SocketAddr,
    remote: SocketAddr,
    events: VecDeque<Event>,
}

impl DcSctp {
    pub fn new(now: Instant, local: SocketAddr, remote: SocketAddr, extensions: Extensions) -> DcSctp {
        // The method that RFC 9653 §8 registers for DTLS, or none.
        let method = u32::from(extensions.zero_checksum);
        let options = api::Options {
            mtu: MTU,
            enable_message_interleaving: extensions.interleaving,
            zero_checksum_alternate_error_detection_method: ZeroChecksumAlternateErrorDetectionMethod(method),
            max_retransmissions: None,
            max_init_retransmits: None,
            max_timer_backoff_duration: Some(Duration::from_secs(3)),
            ..api::Options::default()
        };
        let socket = dcsctp::new_socket("stranger", &options);
        DcSctp { socket, start: now, local, remote, events: VecDeque::new() }
    }

    fn tick(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.start);
        self.socket.advance_time(SocketTime::zero() + elapsed);
    }
}

impl Peer for DcSctp {
    type Event = Event;

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        self.tick(now);
        self.socket.handle_input(&datagram.contents);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.tick(now);
    }

    fn poll(&mut self, _: Instant) -> Output<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Output::Event(event);
            }
            if let Some(message) = self.socket.get_next_message() {
                let api::Message { stream_id, ppid, payload } = message;
                return Output::Event(Event::Message { stream: stream_id.0, ppid: ppid.0, data: payload });
            }
            match self.socket.poll_event() {
                None => break,
                Some(SocketEvent::SendPacket(packet)) => {
                    return Output::Transmit(transmit(self.local, self.remote, &packet));
                }
                Some(SocketEvent::OnConnected()) => return Output::Event(Event::Connected),
                Some(SocketEvent::OnClosed()) => return Output::Event(Event::Closed("shut down".into())),
                Some(SocketEvent::OnAborted(kind, text)) => {
                    return Output::Event(Event::Closed(format!("{kind:?}: {text}")));
                }
                Some(SocketEvent::OnIncomingStreamReset(streams)) => {
                    self.events.extend(streams.iter().map(|stream| Event::Reset(stream.0)));
                }
                Some(_) => {}
            }
        }
        let at = self.socket.poll_timeout();
        let never = at == SocketTime::infinite_future();
        Output::Timeout((!never).then(|| self.start + (at - SocketTime::zero())))
    }
}

impl SctpPeer for DcSctp {
    fn connect(&mut self, _: Instant) {
        self.socket.connect();
    }

    fn send(&mut self, _: Instant, stream: u16, ppid: u32, data: &[u8], delivery: Delivery) -> bool {
        let message = api::Message::new(api::StreamId(stream), api::PpId(ppid), data.to_vec());
        let options = api::SendOptions {
            unordered: !delivery.ordered,
            lifetime: delivery.max_lifetime,
            max_retransmissions: delivery.max_retransmits,
            lifecycle_id: None,
        };
        self.socket.send(message, &options).is_ok()
    }

    fn reset(&mut self, _: Instant, stream: u16) {
        self.socket.reset_streams(&[api::StreamId(stream)]).expect("streams can be reset");
    }

    fn shutdown(&mut self, _: Instant) {
        self.socket.shutdown();
    }
}

// ---- sctp-proto ---------------------------------------------------------------------------------------------

/// `sctp-proto`.
pub struct SctpProto {
    endpoint: sctp_proto::Endpoint,
    association: Option<(AssociationHandle, sctp_proto::Association)>,
    local: SocketAddr,
    remote: SocketAddr,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    connected: bool,
}

impl SctpProto {
    pub fn new(local: SocketAddr, remote: SocketAddr) -> SctpProto {
        let mut config = sctp_proto::EndpointConfig::new();
        config.max_payload_size(MTU as u32);
        let mut server = sctp_proto::ServerConfig::new();
        server.transport = Arc::new(Self::transport());
        let endpoint = sctp_proto::Endpoint::new(Arc::new(config), Some(Arc::new(server)));
        SctpProto {
            endpoint,
            association: None,
            local,
            remote,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            connected: false,
        }
    }

    fn transport() -> sctp_proto::TransportConfig {
        sctp_proto::TransportConfig::default()
            .with_max_send_message_size(256 * 1024)
            .with_max_receive_message_size(256 * 1024)
            .with_max_init_retransmits(None)
            .with_max_data_retransmits(None)
            .with_rto_initial_ms(500)
            .with_rto_min_ms(200)
            .with_rto_max_ms(3000)
    }

    /// Takes everything that the association and its endpoint have to give.
    fn collect(&mut self, now: Instant) {
        let (local, remote) = (self.local, self.remote);
        let queue = |transmits: &mut VecDeque<Transmit>, given: sctp_proto::Transmit| {
            if let Payload::RawEncode(packets) = given.payload {
                transmits.extend(packets.iter().map(|packet| transmit(local, remote, packet)));
            }
        };
        while let Some(given) = self.endpoint.poll_transmit() {
            queue(&mut self.transmits, given);
        }
        let Some((_, association)) = &mut self.association else { return };
        while let Some(given) = association.poll_transmit(now) {
            queue(&mut self.transmits, given);
        }
        while let Some(event) = association.poll() {
            match event {
                sctp_proto::Event::Connected => {
                    self.connected = true;
                    self.events.push_back(Event::Connected);
                }
                sctp_proto::Event::Stream(StreamEvent::Readable { id }) => {
                    let Ok(mut stream) = association.stream(id) else { continue };
                    while let Ok(Some(chunks)) = stream.read() {
                        let mut data = vec![0; chunks.len()];
                        let read = chunks.read(&mut data).unwrap_or(0);
                        assert_eq!(read, data.len(), "a message is read whole");
                        let ppid = chunks.ppi as u32;
                        self.events.push_back(Event::Message { stream: id, ppid, data });
                    }
                }
                sctp_proto::Event::Stream(StreamEvent::Finished { id }) => {
                    self.events.push_back(Event::Reset(id));
                }
                sctp_proto::Event::HandshakeFailed { reason }
                | sctp_proto::Event::AssociationLost { reason } => {
                    self.connected = false;
                    self.events.push_back(Event::Closed(reason.to_string()));
                }
                _ => {}
            }
        }
        // It asks to be forgotten when its shutdown begins. Its endpoint goes on to route to it, so that it can end.
        while association.poll_endpoint_event().is_some() {}
        while let Some(given) = association.poll_transmit(now) {
            queue(&mut self.transmits, given);
        }
        if self.connected && association.is_closed() {
            self.connected = false;
            self.events.push_back(Event::Closed("closed".into()));
        }
    }
}

impl Peer for SctpProto {
    type Event = Event;

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        let contents = datagram.contents.freeze();
        match self.endpoint.handle(now, datagram.source, None, None, contents) {
            Some((handle, DatagramEvent::NewAssociation(association))) => {
                self.association = Some((handle, association));
            }
            Some((handle, DatagramEvent::AssociationEvent(event))) => {
                if let Some((own, association)) = &mut self.association
                    && *own == handle
                {
                    association.handle_event(event);
                }
            }
            None => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let Some((_, association)) = &mut self.association {
            association.handle_timeout(now);
        }
    }

    fn poll(&mut self, now: Instant) -> Output<Event> {
        if self.transmits.is_empty() && self.events.is_empty() {
            self.collect(now);
        }
        if let Some(transmit) = self.transmits.pop_front() {
            return Output::Transmit(transmit);
        }
        if let Some(event) = self.events.pop_front() {
            return Output::Event(event);
        }
        Output::Timeout(self.association.as_ref().and_then(|(_, association)| association.poll_timeout()))
    }
}

impl SctpPeer for SctpProto {
    fn connect(&mut self, _: Instant) {
        let mut config = sctp_proto::ClientConfig::new();
        config.transport = Arc::new(Self::transport());
        let association = self.endpoint.connect(config, self.remote).expect("it connects once");
        self.association = Some(association);
    }

    fn send(&mut self, _: Instant, stream: u16, ppid: u32, data: &[u8], delivery: Delivery) -> bool {
        let Some((_, association)) = &mut self.association else { return false };
        let ppid = sctp_proto::PayloadProtocolIdentifier::from(ppid);
        if association.stream(stream).is_err() && association.open_stream(stream, ppid).is_err() {
            return false;
        }
        let Ok(mut stream) = association.stream(stream) else { return false };
        let (kind, value) = match (delivery.max_retransmits, delivery.max_lifetime) {
            (Some(count), _) => (ReliabilityType::Rexmit, u32::from(count)),
            (None, Some(lifetime)) => (ReliabilityType::Timed, lifetime.as_millis() as u32),
            (None, None) => (ReliabilityType::Reliable, 0),
        };
        stream.set_reliability_params(!delivery.ordered, kind, value).is_ok()
            && stream.write_sctp(&Bytes::copy_from_slice(data), ppid).is_ok()
    }

    fn reset(&mut self, _: Instant, stream: u16) {
        if let Some((_, association)) = &mut self.association
            && let Ok(mut stream) = association.stream(stream)
        {
            stream.close().expect("streams can be reset");
        }
    }

    fn shutdown(&mut self, _: Instant) {
        if let Some((_, association)) = &mut self.association {
            association.shutdown().expect("it is established");
        }
    }
}

// ---- sansrtc ------------------------------------------------------------------------------------------------

/// A bare `sansrtc::sctp::Association`.
pub struct Ours {
    association: Association,
    buffer: BytesMut,
    local: SocketAddr,
    remote: SocketAddr,
}

impl Ours {
    pub fn new(
        seed: u64,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        extensions: Extensions,
    ) -> Ours {
        let config = sctp::Config {
            remote_max_message_size: 256 * 1024,
            interleaving: extensions.interleaving,
            zero_checksum: extensions.zero_checksum,
            ..sctp::Config::default()
        };
        let rng = Rng::new(seed_bytes(seed, u64::from(local.port())), Stream::Sctp);
        Ours { association: Association::new(config, rng, now), buffer: BytesMut::new(), local, remote }
    }
}

impl Peer for Ours {
    type Event = Event;

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        self.association.handle_packet(now, datagram.contents.freeze(), datagram.ecn);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.association.handle_timeout(now);
    }

    fn poll(&mut self, now: Instant) -> Output<Event> {
        self.buffer.clear();
        if self.association.poll_packet(now, &mut self.buffer) {
            return Output::Transmit(transmit(self.local, self.remote, &self.buffer));
        }
        while let Some(event) = self.association.poll_event() {
            return Output::Event(match event {
                sctp::Event::Connected => Event::Connected,
                sctp::Event::Message { stream, ppid, data } => {
                    Event::Message { stream: stream.0, ppid, data: data.to_vec() }
                }
                sctp::Event::IncomingReset(stream) => Event::Reset(stream.0),
                _ => continue,
            });
        }
        if let Some(reason) = self.association.take_closed() {
            return Output::Event(Event::Closed(format!("{reason:?}")));
        }
        // A message that was taken may have made an acknowledgement due.
        if self.association.poll_packet(now, &mut self.buffer) {
            return Output::Transmit(transmit(self.local, self.remote, &self.buffer));
        }
        Output::Timeout(self.association.next_timeout())
    }
}

impl SctpPeer for Ours {
    fn connect(&mut self, now: Instant) {
        self.association.connect(now, Some(Duration::from_millis(50)));
    }

    fn send(&mut self, now: Instant, stream: u16, ppid: u32, data: &[u8], delivery: Delivery) -> bool {
        let reliability = match (delivery.max_retransmits, delivery.max_lifetime) {
            (Some(count), _) => Reliability::MaxRetransmits(count),
            (None, Some(lifetime)) => Reliability::MaxLifetime(lifetime),
            (None, None) => Reliability::Reliable,
        };
        let options = SendOptions { ordered: delivery.ordered, reliability, notify: None };
        let data = Bytes::copy_from_slice(data);
        self.association.send(now, StreamId(stream), ppid, data, options).is_ok()
    }

    fn reset(&mut self, now: Instant, stream: u16) {
        self.association.reset_stream(now, StreamId(stream));
    }

    fn shutdown(&mut self, now: Instant) {
        self.association.shutdown(now);
    }
}
