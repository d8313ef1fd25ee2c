//! The client against our own server, in memory, with virtual time and loss; and against hostile servers.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::BytesMut;

mod allocation;
mod hostile;
mod packets;
mod policy;

use super::server::{self, FiveTuple, PeerPolicy, Server, Users};
use super::*;
use crate::buffer::Pool;
use crate::packet::Protocol;
use crate::rng::{Rng, Stream};
use crate::stun::attributes::types;
use crate::stun::credentials::LongTermKey;
use crate::stun::{Builder, Class, ErrorCode, Message, Method, PasswordAlgorithm, TransactionId};
use crate::time::Clock;

const LOCAL: &str = "192.0.2.1:5000";
const SERVER: &str = "198.51.100.1:3478";
const PEER: &str = "203.0.113.7:9000";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn base() -> Instant {
    // A fixed point of the test process: only differences matter.
    crate::time::some_instant()
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn config(protocol: Protocol) -> Config {
    Config::new(address(SERVER), protocol, Credentials::new("alice", "secret"))
}

fn server_config() -> server::Config {
    server::Config {
        relay_v4: Some("198.51.100.1".parse().unwrap()),
        relay_v6: Some("2001:db8::1".parse().unwrap()),
        peers: PeerPolicy::Any,
        ..server::Config::default()
    }
}

/// A client, a server, and what is between them.
struct World {
    now: Instant,
    client: Client,
    server: Server,
    pool: Pool,
    chance: Rng,
    /// Per mille of packets that are lost each way.
    loss: u64,
    relays: Vec<SocketAddr>,
    /// What left the server towards peers: from, to, data.
    at_peers: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    /// What the client got of peers.
    received: Vec<(SocketAddr, Vec<u8>)>,
    events: Vec<Event>,
    streaming: bool,
}

impl World {
    fn new(config: Config, server_config: server::Config) -> Self {
        let now = base();
        let mut users = Users::new("sansrtc");
        users.add("alice", "secret");
        users.add("bob", "other");
        users.set_secret(b"shared");
        let clock = Clock { instant: now, unix: seconds(1000) };
        let server = Server::new(server_config, users, clock, Rng::new([2; 32], Stream::Turn)).unwrap();
        let client = Client::new(config, address(LOCAL), Rng::new([1; 32], Stream::Turn)).unwrap();
        World {
            now,
            client,
            server,
            pool: Pool::new(),
            chance: Rng::new([3; 32], Stream::Session),
            loss: 0,
            relays: Vec::new(),
            at_peers: Vec::new(),
            received: Vec::new(),
            events: Vec::new(),
            streaming: false,
        }
    }

    fn udp() -> Self {
        World::new(config(Protocol::Udp), server_config())
    }

    fn tuple(&self) -> FiveTuple {
        FiveTuple { client: address(LOCAL), server: address(SERVER), protocol: self.client.protocol() }
    }

    fn lost(&mut self) -> bool {
        self.chance.below(1000) < self.loss
    }

    fn give_client(&mut self, packet: BytesMut) {
        if self.client.protocol() == Protocol::Udp {
            let handled = self.client.handle_packet(self.now, address(SERVER), packet);
            self.take(handled);
        } else {
            // In pieces, as streams come.
            for piece in packet.chunks(7) {
                self.client.handle_stream_bytes(self.now, BytesMut::from(piece));
                while let Some(handled) = self.client.poll_stream_packet(self.now) {
                    self.take(handled);
                }
            }
        }
    }

    fn take(&mut self, handled: Handled) {
        if let Handled::Data { peer, relayed, contents } = handled {
            assert!(self.relays.contains(&relayed));
            self.received.push((peer, contents.to_vec()));
        }
    }

    fn give_server(&mut self, packet: BytesMut) {
        let tuple = self.tuple();
        match tuple.protocol {
            Protocol::Udp => self.server.handle_packet(self.now, tuple, packet),
            _ => packet.chunks(5).for_each(|piece| {
                self.server.handle_stream(self.now, tuple, BytesMut::from(piece));
            }),
        }
    }

    /// Moves everything there is to move, at one moment.
    fn exchange(&mut self) {
        for _ in 0..1000 {
            let mut moved = false;
            while let Some(event) = self.client.poll_event() {
                match event {
                    Event::OpenStream { .. } => {
                        self.streaming = true;
                        self.client.handle_stream_opened(self.now, address(LOCAL));
                    }
                    Event::CloseStream => {
                        self.streaming = false;
                        let tuple = self.tuple();
                        self.server.handle_stream_closed(self.now, tuple);
                    }
                    event => self.events.push(event),
                }
                moved = true;
            }
            while let Some(transmit) = self.client.poll_transmit(&mut self.pool) {
                moved = true;
                if !self.lost() {
                    self.give_server(transmit.contents.into_inner());
                }
            }
            while let Some(event) = self.server.poll_event() {
                match event {
                    server::Event::OpenRelay(relay) => self.relays.push(relay),
                    server::Event::CloseRelay(relay) => self.relays.retain(|other| *other != relay),
                    server::Event::CloseStream(_) => self.client.handle_stream_closed(self.now),
                }
            }
            while let Some(transmit) = self.server.poll_transmit(&mut self.pool) {
                moved = true;
                if transmit.destination == address(LOCAL) {
                    if !self.lost() {
                        self.give_client(transmit.contents.into_inner());
                    }
                } else {
                    let data = transmit.contents.to_vec();
                    self.at_peers.push((transmit.source, transmit.destination, data));
                }
            }
            if !moved {
                return;
            }
        }
        panic!("client and server never fall silent");
    }

    /// Steps from deadline to deadline.
    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        for _ in 0..100_000 {
            self.exchange();
            let next = [self.client.next_timeout(), self.server.next_timeout()].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            assert!(next > self.now || self.client.next_timeout().is_none_or(|at| at >= self.now));
            self.now = self.now.max(next);
            self.client.handle_timeout(self.now);
            self.server.handle_timeout(self.now);
        }
        panic!("time does not pass");
    }

    fn allocate(&mut self) -> Relayed {
        self.client.start(self.now);
        self.exchange();
        self.client.relayed().unwrap_or_else(|| panic!("no allocation: {:?}", self.events))
    }

    fn send(&mut self, peer: SocketAddr, data: &[u8]) -> Result<usize, WrapError> {
        let overhead = self.client.overhead(peer);
        let mut packet = BytesMut::from(&b"before"[..]);
        packet.resize(6 + overhead.head, 0xee);
        packet.extend_from_slice(data);
        self.client.wrap(peer, &mut packet, 6)?;
        let packet = packet.split_off(6);
        let length = packet.len();
        assert!(length <= data.len() + overhead.head + overhead.tail);
        self.give_server(packet);
        self.exchange();
        Ok(length)
    }

    fn peer_sends(&mut self, peer: SocketAddr, data: &[u8]) {
        let relay = self.client.relayed().and_then(|r| r.of(Family::of(peer.ip()))).unwrap();
        self.server.handle_relayed(self.now, relay, peer, BytesMut::from(data));
        self.exchange();
    }
}
