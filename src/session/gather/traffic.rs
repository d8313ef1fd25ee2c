//! What comes from relays and streams, and what goes to them.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::BytesMut;

use super::incoming::IncomingStream;
use super::relay::RelayId;
use super::streams::{self, Ready};
use super::{Fact, Gatherer};
use crate::buffer::Pool;
use crate::packet::{Contents, Datagram, Protocol, StreamInput, StreamKey, StreamOutput, Transmit};
use crate::session::demux::{self, Kind};
use crate::session::transport::Outbound;
use crate::stun::{Class, Message, Method};
use crate::turn::{Handled, channel};

/// How packets get from one address to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// As they are, from a socket of the caller.
    Direct,
    /// Through a TURN server.
    Relay(RelayId),
    /// Over a stream to the peer.
    Stream(StreamKey),
}

impl Gatherer {
    // ----- in -----

    /// Takes a datagram. What is for servers or names ends here, what a relay has brought comes out unwrapped, once,
    /// and all else passes.
    pub(crate) fn handle_datagram(&mut self, now: Instant, datagram: Datagram) -> Option<Datagram> {
        self.now = self.now.max(now);
        let Datagram { source, destination, .. } = datagram;
        match (datagram.protocol, demux::classify(&datagram.contents)) {
            (Protocol::Mdns, _) => {
                if let Some(names) = &mut self.names {
                    names.mdns.handle_packet(now, source, destination, &datagram.contents);
                }
                self.settle();
                None
            }
            (Protocol::Udp, Kind::Stun) => self.handle_stun(datagram),
            (Protocol::Udp, Kind::Channel) => self.unwrap(datagram),
            _ => Some(datagram),
        }
    }

    /// STUN and TURN on one address, and a peer behind it, are told apart: the server is asked for an address by
    /// Binding, a relay by everything else, and only a peer makes requests.
    fn handle_stun(&mut self, datagram: Datagram) -> Option<Datagram> {
        let Ok(message) = Message::parse(&datagram.contents) else { return Some(datagram) };
        match (message.class(), message.method()) {
            (Class::Request, _) | (Class::Indication, Method::BINDING) => Some(datagram),
            (_, Method::BINDING) => {
                let (source, base) = (datagram.source, datagram.destination);
                let taken = self.probes.handle_response(self.now, source, base, &message);
                if !taken {
                    return Some(datagram);
                }
                self.settle();
                None
            }
            _ => self.unwrap(datagram),
        }
    }

    /// What comes from a TURN server.
    fn unwrap(&mut self, datagram: Datagram) -> Option<Datagram> {
        let Datagram { source, destination, .. } = datagram;
        let Some(relay) = self.relays.iter_mut().find(|relay| relay.is_server(source, destination)) else {
            return Some(datagram);
        };
        match relay.client.handle_packet(self.now, source, datagram.contents) {
            Handled::Data { peer, relayed, contents } => Some(Datagram::udp(peer, relayed, contents)),
            _ => {
                self.settle();
                None
            }
        }
    }

    /// Takes what happened on a stream; what it brought is polled with [`poll_received`](Self::poll_received).
    pub(crate) fn handle_stream(&mut self, now: Instant, input: StreamInput) {
        self.now = self.now.max(now);
        let now = self.now;
        let (StreamInput::Opened { key, .. }
        | StreamInput::Received { key, .. }
        | StreamInput::Closed { key }) = &input;
        let relay = self.relays.iter_mut().find(|relay| relay.stream == Some(*key));
        match (input, relay) {
            (StreamInput::Opened { local, .. }, Some(relay)) => relay.client.handle_stream_opened(now, local),
            (StreamInput::Opened { key, .. }, None) => {
                if let Some(waiting) = self.streams.on_opened(key) {
                    self.commands.push_back(StreamOutput::Write { key, contents: waiting.into() });
                }
            }
            (StreamInput::Received { contents, .. }, Some(relay)) => {
                relay.client.handle_stream_bytes(now, contents);
                while let Some(handled) = relay.client.poll_stream_packet(now) {
                    if let Handled::Data { peer, relayed, contents } = handled {
                        self.received.push_back(Datagram::udp(peer, relayed, contents));
                    }
                }
            }
            (StreamInput::Received { key, contents }, None) => {
                self.streams.push(key, contents);
                self.take_packets(key);
            }
            (StreamInput::Closed { .. }, Some(relay)) => {
                relay.stream = None;
                relay.client.handle_stream_closed(now);
            }
            (StreamInput::Closed { key }, None) => self.on_stream_gone(key),
        }
        self.settle();
    }

    /// Takes a stream that a peer opened to a passive candidate.
    pub(crate) fn accept(&mut self, now: Instant, stream: IncomingStream) -> Option<StreamKey> {
        self.now = self.now.max(now);
        let IncomingStream { local, remote, bytes } = stream;
        let key = self.new_stream();
        if self.closed || !self.streams.accept(key, local, remote) {
            return None;
        }
        self.streams.push(key, bytes);
        self.take_packets(key);
        Some(key)
    }

    pub(super) fn new_stream(&mut self) -> StreamKey {
        let key = StreamKey(self.next_stream);
        self.next_stream += 1;
        key
    }

    /// Cuts what a stream brought into packets. One that makes no sense is closed.
    fn take_packets(&mut self, key: StreamKey) {
        loop {
            match self.streams.next_packet(key) {
                Ok(Some((local, remote, contents))) => self.received.push_back(Datagram {
                    protocol: Protocol::Tcp,
                    ..Datagram::udp(remote, local, contents)
                }),
                Ok(None) => break,
                Err(malformed) => {
                    tracing::debug!(%malformed, "the stream of a peer makes no sense");
                    self.close_stream(key);
                    break;
                }
            }
        }
    }

    /// Ends a stream to a peer.
    fn close_stream(&mut self, key: StreamKey) {
        self.commands.push_back(StreamOutput::Close { key });
        self.on_stream_gone(key);
    }

    /// A stream that was just accepted is not taken after all.
    pub(crate) fn forget_stream(&mut self, key: StreamKey) {
        let _ = self.streams.remove(key);
    }

    fn on_stream_gone(&mut self, key: StreamKey) {
        if let Some((local, remote)) = self.streams.remove(key) {
            self.facts.push_back(Fact::StreamLost(local, remote));
        }
    }

    /// The next datagram that a stream has brought.
    pub(crate) fn poll_received(&mut self) -> Option<Datagram> {
        let next = self.received.pop_front();
        if next.is_some() && self.received.is_empty() {
            self.received = std::collections::VecDeque::new();
        }
        next
    }

    // ----- out -----

    /// How packets get from a local candidate's base to a remote address; `None`: not at all, at the moment.
    pub(crate) fn way(&self, local: SocketAddr, remote: SocketAddr, protocol: Protocol) -> Option<Way> {
        match protocol {
            Protocol::Tcp => self.streams.open(local, remote).map(Way::Stream),
            _ => Some(match self.relays.iter().find(|relay| relay.has(local)) {
                Some(relay) => Way::Relay(relay.id),
                None => Way::Direct,
            }),
        }
    }

    /// Bytes to leave before a packet that goes this way, and capacity behind it.
    pub(crate) fn room(&self, way: Way, remote: SocketAddr) -> (usize, usize) {
        match way {
            Way::Direct => (0, 0),
            Way::Stream(_) => (streams::PREFIX, 0),
            Way::Relay(id) => {
                let relay = self.relays.iter().find(|relay| relay.id == id);
                relay.map_or((0, 0), |relay| {
                    let overhead = relay.client.overhead(remote);
                    (overhead.head, overhead.tail)
                })
            }
        }
    }

    /// Puts around a packet what its way needs: `packet[start..]` begins with the [`room`](Self::room) for it.
    /// `false`: it cannot go this way, at the moment.
    pub(crate) fn enclose(
        &mut self,
        way: Way,
        remote: SocketAddr,
        packet: &mut BytesMut,
        start: usize,
    ) -> bool {
        match way {
            Way::Direct => true,
            Way::Stream(_) => streams::frame(packet, start),
            Way::Relay(id) => {
                let relay = self.relays.iter_mut().find(|relay| relay.id == id);
                relay.is_some_and(|relay| relay.wrap(remote, packet, start))
            }
        }
    }

    /// What was enclosed goes where its way leads.
    pub(crate) fn send(&self, way: Way, mut transmit: Transmit) -> Option<Outbound> {
        match way {
            Way::Direct => Some(Outbound::Transmit(transmit)),
            Way::Stream(key) => Some(write(key, transmit.contents)),
            Way::Relay(id) => {
                let relay = self.relays.iter().find(|relay| relay.id == id)?;
                if relay.client.protocol() != Protocol::Udp {
                    return Some(write(relay.stream?, transmit.contents));
                }
                transmit.source = relay.client.local();
                transmit.destination = relay.client.server();
                Some(Outbound::Transmit(transmit))
            }
        }
    }

    /// Sends a packet that was written without room around it. `None`: it cannot leave now, and is lost, as on any
    /// network; what it needs is asked for.
    pub(crate) fn carry(&mut self, transmit: Transmit, pool: &mut Pool) -> Option<Outbound> {
        let Transmit { source, destination, protocol, .. } = transmit;
        if protocol == Protocol::Tcp {
            return self.carry_framed(transmit, pool);
        }
        let way = self.way(source, destination, protocol)?;
        if way == Way::Direct {
            return Some(Outbound::Transmit(transmit));
        }
        let (head, tail) = self.room(way, destination);
        let count = transmit.segments().count();
        let packet = pool.tail((head + tail) * count + transmit.contents.len());
        for segment in transmit.segments() {
            let start = packet.len();
            packet.resize(start + head, 0);
            packet.extend_from_slice(segment);
            if !self.enclose(way, destination, packet, start) {
                packet.clear();
                self.permit_late(way, destination);
                return None;
            }
        }
        // Segments of equal size stay so: over UDP nothing but the header comes to a channel's data, and the same
        // padding to each indication.
        let padding = |size: usize| if head > channel::HEADER_LEN { channel::padding(size) } else { 0 };
        let segment_size = transmit.segment_size.map(|size| head + size + padding(size));
        let contents = packet.split().into();
        self.send(way, Transmit { contents, segment_size, ..transmit })
    }

    /// A peer that nobody signalled is let through from now on.
    fn permit_late(&mut self, way: Way, remote: SocketAddr) {
        let now = self.now;
        if let Way::Relay(id) = way
            && let Some(relay) = self.relays.iter_mut().find(|relay| relay.id == id)
        {
            relay.permit(now, remote.ip());
        }
    }

    fn carry_framed(&mut self, transmit: Transmit, pool: &mut Pool) -> Option<Outbound> {
        let (source, destination) = (transmit.source, transmit.destination);
        let tail = pool.tail(streams::PREFIX * transmit.segments().count() + transmit.contents.len());
        for segment in transmit.segments() {
            streams::append_framed(segment, tail);
        }
        let mut framed = tail.split();
        let key = StreamKey(self.next_stream);
        match self.streams.send(source, destination, &mut framed, key) {
            Ready::Write(key) => Some(write(key, framed.into())),
            Ready::Open => {
                self.next_stream += 1;
                Some(Outbound::Stream(streams::opening(key, source, destination)))
            }
            Ready::Nothing => None,
        }
    }

    /// The next message to a server, or the next thing to do with a stream.
    pub(crate) fn poll_transmit(&mut self, pool: &mut Pool) -> Option<Outbound> {
        if let Some(command) = self.commands.pop_front() {
            return Some(Outbound::Stream(command));
        }
        if let Some(transmit) = self.probes.poll_transmit(pool) {
            return Some(Outbound::Transmit(transmit));
        }
        for relay in &mut self.relays {
            while let Some(transmit) = relay.client.poll_transmit(pool) {
                match (transmit.protocol, relay.stream) {
                    (Protocol::Udp, _) => return Some(Outbound::Transmit(transmit)),
                    (_, Some(key)) => return Some(write(key, transmit.contents)),
                    // The stream is gone, and the client knows.
                    (_, None) => {}
                }
            }
            if self.closed
                && let Some(key) = relay.stream.take()
            {
                return Some(Outbound::Stream(StreamOutput::Close { key }));
            }
        }
        self.names.as_mut()?.mdns.poll_transmit(pool).map(Outbound::Transmit)
    }
}

fn write(key: StreamKey, contents: Contents) -> Outbound {
    Outbound::Stream(StreamOutput::Write { key, contents })
}
