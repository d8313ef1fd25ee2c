//! A STUN and TURN server as a host: the machine of `sansrtc::turn::server`, over UDP and TCP.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use sansrtc::Event;
use sansrtc::buffer::Pool;
use sansrtc::packet::{Datagram, Protocol, StreamInput, StreamKey, StreamOutput};
use sansrtc::rng::{Rng, Stream};
use sansrtc::turn::server::{self, Config, FiveTuple, PeerPolicy, Server, Users};

use super::call::clock;
use super::peer::{Output, Peer};
use super::seeds::seed_bytes;

/// The server, on a host whose addresses it listens on.
pub struct TurnServer {
    /// The machine.
    pub server: Server,
    pool: Pool,
    /// Ports that it takes UDP and TCP on.
    ports: Vec<u16>,
    relays: BTreeSet<SocketAddr>,
    streams: BTreeMap<StreamKey, FiveTuple>,
    by_tuple: BTreeMap<FiveTuple, StreamKey>,
    to_close: VecDeque<StreamKey>,
}

/// Whose credentials the servers of the simulation take.
pub const USER: (&str, &str) = ("alice", "secret");

impl TurnServer {
    /// A server that relays from these addresses to anybody, and listens on these ports.
    pub fn new(seed: u64, ports: &[u16], change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { peers: PeerPolicy::Any, max_rate: u64::MAX / 2, ..Config::default() };
        change(&mut config);
        let mut users = Users::new(config.realm.clone());
        users.add(USER.0, USER.1);
        let rng = Rng::new(seed_bytes(seed, 77), Stream::Turn);
        TurnServer {
            server: Server::new(config, users, clock(), rng).expect("it is valid"),
            pool: Pool::new(),
            ports: ports.to_vec(),
            relays: BTreeSet::new(),
            streams: BTreeMap::new(),
            by_tuple: BTreeMap::new(),
            to_close: VecDeque::new(),
        }
    }

    fn forget(&mut self, tuple: FiveTuple) -> Option<StreamKey> {
        let key = self.by_tuple.remove(&tuple)?;
        self.streams.remove(&key);
        Some(key)
    }
}

impl Peer for TurnServer {
    type Event = Event;

    fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        let Datagram { source, destination, contents, .. } = datagram;
        if self.relays.contains(&destination) {
            self.server.handle_relayed(now, destination, source, contents);
        } else if self.ports.contains(&destination.port()) {
            let from = FiveTuple { client: source, server: destination, protocol: Protocol::Udp };
            self.server.handle_packet(now, from, contents);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.server.handle_timeout(now);
    }

    fn handle_accepted(&mut self, _: Instant, key: StreamKey, local: SocketAddr, remote: SocketAddr) -> bool {
        let tuple = FiveTuple { client: remote, server: local, protocol: Protocol::Tcp };
        let is_taken = self.ports.contains(&local.port());
        if is_taken {
            self.streams.insert(key, tuple);
            self.by_tuple.insert(tuple, key);
        }
        is_taken
    }

    fn handle_stream(&mut self, now: Instant, input: StreamInput) {
        match input {
            StreamInput::Received { key, contents } => {
                if let Some(&tuple) = self.streams.get(&key) {
                    self.server.handle_stream(now, tuple, contents);
                }
            }
            StreamInput::Closed { key } => {
                if let Some(tuple) = self.streams.get(&key).copied() {
                    self.forget(tuple);
                    self.server.handle_stream_closed(now, tuple);
                }
            }
            other => panic!("a server opens no streams: {other:?}"),
        }
    }

    fn poll(&mut self, _: Instant) -> Output<Event> {
        while let Some(event) = self.server.poll_event() {
            match event {
                server::Event::OpenRelay(address) => drop(self.relays.insert(address)),
                server::Event::CloseRelay(address) => drop(self.relays.remove(&address)),
                server::Event::CloseStream(tuple) => {
                    let key = self.forget(tuple);
                    self.to_close.extend(key);
                }
                other => panic!("not simulated: {other:?}"),
            }
        }
        if let Some(key) = self.to_close.pop_front() {
            return Output::Stream(StreamOutput::Close { key });
        }
        while let Some(transmit) = self.server.poll_transmit(&mut self.pool) {
            if transmit.protocol == Protocol::Udp {
                return Output::Transmit(transmit);
            }
            let (client, server, protocol) = (transmit.destination, transmit.source, transmit.protocol);
            if let Some(&key) = self.by_tuple.get(&FiveTuple { client, server, protocol }) {
                return Output::Stream(StreamOutput::Write { key, contents: transmit.contents });
            }
        }
        Output::Timeout(self.server.next_timeout())
    }
}
