//! A small stage for gathering: connections, a STUN and TURN server, NATs and streams between them, in virtual time.
//!
//! Everything takes ten milliseconds from one host to another. A host has any number of addresses; one behind a
//! NAT is seen under the NAT's address. Streams are opened in one round trip and lose nothing.

#![allow(dead_code, unreachable_pub)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use sansrtc::buffer::Pool;
use sansrtc::crypto::cert::Identity;
use sansrtc::packet::{Datagram, Protocol, StreamInput, StreamKey, StreamOutput, Transmit};
use sansrtc::rng::{Rng, Stream};
use sansrtc::turn::server::{self, FiveTuple, PeerPolicy, Server, Users};
use sansrtc::{
    Candidate, ChannelConfig, ChannelId, Clock, ConnectionState, Event, FirstFrame, IceServer,
    IncomingStream, Input, MessageKind, Output, Rtc, RtcConfig,
};

pub const DELAY: Duration = Duration::from_millis(10);
pub const SECOND: Duration = Duration::from_secs(1);

/// The server's address, and those that it relays from.
pub const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)), 3478);
pub const RELAY: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2));

fn base() -> Instant {
    static BASE: OnceLock<Instant> = OnceLock::new();
    #[allow(clippy::disallowed_methods)]
    *BASE.get_or_init(Instant::now)
}

pub fn clock() -> Clock {
    Clock { instant: base(), unix: Duration::from_secs(1_767_268_800) }
}

pub fn config() -> RtcConfig {
    static IDENTITY: OnceLock<Arc<Identity>> = OnceLock::new();
    let make = || Identity::generate(sansrtc::crypto::ring(), &mut Rng::new([9; 32], Stream::Certificate));
    let identity = IDENTITY.get_or_init(|| Arc::new(make().unwrap())).clone();
    RtcConfig { identity: Some(identity), ..RtcConfig::default() }
}

/// A configuration with these servers; TURN ones for the user that the stage knows.
pub fn with_servers(urls: &[&str]) -> RtcConfig {
    let server = |url: &&str| IceServer::new(url).unwrap().with_credentials("user", "secret");
    RtcConfig { ice_servers: urls.iter().map(server).collect(), ..config() }
}

/// How a NAT maps and filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatKind {
    /// One outer port for every inner one; who was sent to may answer.
    PortRestricted,
    /// Another outer port for every destination.
    Symmetric,
}

#[derive(Debug)]
struct Nat {
    kind: NatKind,
    public: IpAddr,
    /// Inner address, and the destination when that matters; the outer port.
    out: BTreeMap<(SocketAddr, Option<SocketAddr>), u16>,
    allowed: BTreeSet<(u16, SocketAddr)>,
    next: u16,
}

/// One host with its connection.
pub struct Host {
    pub rtc: Rtc,
    pub addresses: Vec<SocketAddr>,
    pub listener: Option<SocketAddr>,
    nat: Option<Nat>,
    pub events: Vec<Event>,
    wake: Option<Instant>,
    /// Datagrams and stream bytes that left, by destination.
    pub sent: Vec<(SocketAddr, SocketAddr, Protocol, usize)>,
    /// Nothing comes or goes at these local addresses.
    pub cut: BTreeSet<IpAddr>,
    /// UDP does not leave at all.
    pub udp_blocked: bool,
}

/// An end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Host(usize, StreamKey),
    /// A listener of a host that has not taken the stream yet: its place among `incoming`.
    Incoming(usize),
    Server(FiveTuple),
}

#[derive(Debug)]
enum Arrival {
    Datagram { to: usize, datagram: Datagram },
    ToServer(FiveTuple, BytesMut),
    ToRelay(SocketAddr, SocketAddr, BytesMut),
    Opened(usize, StreamKey, SocketAddr),
    Refused(usize, StreamKey),
    Connected { host: usize, key: StreamKey, local: SocketAddr, remote: SocketAddr },
    Bytes(End, BytesMut),
    Closed(End),
}

/// Whether a datagram from here to there with these contents arrives.
pub type Lets = dyn FnMut(SocketAddr, SocketAddr, &[u8]) -> bool;

pub struct Ground {
    pub now: Instant,
    pub hosts: Vec<Host>,
    pub server: Server,
    pool: Pool,
    relays: BTreeSet<SocketAddr>,
    arrivals: BTreeMap<(Instant, u64), Arrival>,
    next: u64,
    peers: BTreeMap<End, End>,
    incoming: Vec<Option<(usize, IncomingStream, End)>>,
    next_port: u16,
    /// Looks at every datagram: `false` loses it. From, to, contents.
    pub lets: Box<Lets>,
    /// Whether the server answers at all.
    pub server_alive: bool,
    /// Every datagram to the server over UDP, as it arrived.
    pub to_server: Vec<(SocketAddr, Vec<u8>)>,
}

impl Ground {
    pub fn new() -> Self {
        let config = server::Config {
            realm: "stage".into(),
            relay_v4: Some(RELAY),
            peers: PeerPolicy::Any,
            ..server::Config::default()
        };
        Ground::with_server(config)
    }

    pub fn with_server(config: server::Config) -> Self {
        let mut users = Users::new(config.realm.clone());
        users.add("user", "secret");
        let server = Server::new(config, users, clock(), Rng::new([77; 32], Stream::Turn)).unwrap();
        Ground {
            now: base(),
            hosts: Vec::new(),
            server,
            pool: Pool::new(),
            relays: BTreeSet::new(),
            arrivals: BTreeMap::new(),
            next: 0,
            peers: BTreeMap::new(),
            incoming: Vec::new(),
            next_port: 30_000,
            lets: Box::new(|_, _, _| true),
            server_alive: true,
            to_server: Vec::new(),
        }
    }

    /// A host with one UDP address, behind a NAT or not.
    pub fn add(&mut self, config: RtcConfig, ip: &str, nat: Option<(NatKind, &str)>) -> usize {
        let index = self.hosts.len();
        let seed = [u8::try_from(index + 1).unwrap(); 32];
        let rtc = Rtc::new(config, seed, Clock { instant: self.now, ..clock() }).unwrap();
        let nat = nat.map(|(kind, public)| Nat {
            kind,
            public: public.parse().unwrap(),
            out: BTreeMap::new(),
            allowed: BTreeSet::new(),
            next: 40_000,
        });
        self.hosts.push(Host {
            rtc,
            addresses: Vec::new(),
            listener: None,
            nat,
            events: Vec::new(),
            wake: None,
            sent: Vec::new(),
            cut: BTreeSet::new(),
            udp_blocked: false,
        });
        if !ip.is_empty() {
            self.add_address(index, ip);
        }
        self.drain();
        index
    }

    /// Another UDP address of a host.
    pub fn add_address(&mut self, host: usize, ip: &str) -> sansrtc::ice::LocalId {
        let address = SocketAddr::new(ip.parse().unwrap(), 5000);
        self.hosts[host].addresses.push(address);
        let id = self.hosts[host].rtc.add_local_candidate(Candidate::host(address).unwrap()).unwrap();
        self.drain();
        id
    }

    /// Offers and answers, with the candidates known so far.
    pub fn signal(&mut self, from: usize, to: usize) {
        let offer = self.hosts[from].rtc.create_offer().unwrap();
        let answer = self.hosts[to].rtc.accept_offer(&offer).unwrap();
        self.hosts[from].rtc.accept_answer(&answer).unwrap();
        self.drain();
    }

    /// Goes on until both sides say that they are connected; how long it took.
    #[track_caller]
    pub fn connect(&mut self, from: usize, to: usize) -> Duration {
        let _ = self.hosts[from].rtc.open_channel(ChannelConfig::labelled("stage")).unwrap();
        self.signal(from, to);
        let start = self.now;
        let done = self.run_until(60 * SECOND, |ground| {
            [from, to].iter().all(|&at| ground.hosts[at].rtc.state() == ConnectionState::Connected)
        });
        assert!(done, "not connected: {:?}", [from, to].map(|at| self.hosts[at].rtc.state()));
        self.run_for(SECOND);
        self.now - start
    }

    /// The channel that `connect` opened.
    pub fn channel(&self, host: usize) -> ChannelId {
        self.hosts[host].rtc.channels()[0]
    }

    /// Whether a message of this size gets from one host to another within ten seconds.
    pub fn delivers(&mut self, from: usize, to: usize, size: usize) -> bool {
        let channel = self.channel(from);
        let seen = self.messages(to);
        self.hosts[from].rtc.send(channel, MessageKind::Binary, vec![7; size]).unwrap();
        self.drain();
        self.run_until(10 * SECOND, |ground| ground.messages(to) > seen)
    }

    pub fn messages(&self, host: usize) -> usize {
        self.hosts[host].events.iter().filter(|event| matches!(event, Event::Message { .. })).count()
    }

    /// Candidates that a host was told of, as text.
    pub fn gathered(&self, host: usize) -> Vec<Candidate> {
        let events = self.hosts[host].events.iter();
        let gathered = events.filter_map(|event| match event {
            Event::LocalCandidate(candidate) => Some((**candidate).clone()),
            _ => None,
        });
        gathered.collect()
    }

    // ----- time -----

    pub fn run_for(&mut self, how_long: Duration) {
        let end = self.now + how_long;
        self.run_until(how_long, |_| false);
        self.now = end;
        for at in 0..self.hosts.len() {
            self.hosts[at].rtc.handle_input(end, Input::Timeout);
        }
        self.drain();
    }

    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Ground) -> bool) -> bool {
        let end = self.now + limit;
        self.drain();
        for _ in 0..2_000_000 {
            if done(self) {
                return true;
            }
            let arrival = self.arrivals.first_key_value().map(|((at, _), _)| *at);
            let wake = self.hosts.iter().filter_map(|host| host.wake).min();
            let server = self.server.next_timeout();
            let Some(at) = [arrival, wake, server].into_iter().flatten().min().filter(|at| *at <= end) else {
                return false;
            };
            self.now = self.now.max(at);
            if arrival == Some(at) {
                let (_, arrival) = self.arrivals.pop_first().unwrap();
                self.arrive(arrival);
            } else if wake == Some(at) {
                let host = self.hosts.iter_mut().find(|host| host.wake == Some(at)).unwrap();
                host.rtc.handle_input(self.now, Input::Timeout);
            } else {
                self.server.handle_timeout(self.now);
            }
            self.drain();
        }
        panic!("the stage never rests");
    }

    /// Takes all that there is to take.
    pub fn drain(&mut self) {
        for at in 0..self.hosts.len() {
            loop {
                match self.hosts[at].rtc.poll_output() {
                    Output::Transmit(transmit) => self.transmit(at, transmit),
                    Output::Event(event) => self.hosts[at].events.push(event),
                    Output::Stream(stream) => self.stream(at, stream),
                    Output::Timeout(wake) => {
                        self.hosts[at].wake = wake;
                        break;
                    }
                }
            }
        }
        while let Some(event) = self.server.poll_event() {
            match event {
                server::Event::OpenRelay(address) => {
                    self.relays.insert(address);
                }
                server::Event::CloseRelay(address) => {
                    self.relays.remove(&address);
                }
                server::Event::CloseStream(tuple) => self.close(End::Server(tuple)),
                _ => {}
            }
        }
        while let Some(transmit) = self.server.poll_transmit(&mut self.pool) {
            let Transmit { contents, source, destination, protocol, .. } = transmit;
            let bytes = contents.into_inner();
            if protocol == Protocol::Udp {
                self.send(source, destination, bytes);
            } else {
                let end = End::Server(FiveTuple { client: destination, server: source, protocol });
                if let Some(peer) = self.peers.get(&end).copied() {
                    self.later(Arrival::Bytes(peer, bytes));
                }
            }
        }
    }

    fn later(&mut self, arrival: Arrival) {
        self.next += 1;
        self.arrivals.insert((self.now + DELAY, self.next), arrival);
    }

    // ----- datagrams -----

    fn transmit(&mut self, from: usize, transmit: Transmit) {
        let Transmit { source, destination, protocol, .. } = transmit;
        let pieces: Vec<BytesMut> = transmit.segments().map(BytesMut::from).collect();
        for piece in pieces {
            let host = &mut self.hosts[from];
            host.sent.push((source, destination, protocol, piece.len()));
            if protocol == Protocol::Mdns {
                self.multicast(from, source, destination, piece);
                continue;
            }
            assert!(host.addresses.contains(&source), "no socket at {source} to send to {destination}");
            if host.udp_blocked || host.cut.contains(&source.ip()) {
                continue;
            }
            let outer = match &mut host.nat {
                Some(nat) => nat.outbound(source, destination),
                None => source,
            };
            self.send(outer, destination, piece);
        }
    }

    /// Everybody on the link hears it, the sender too.
    fn multicast(&mut self, _from: usize, source: SocketAddr, destination: SocketAddr, bytes: BytesMut) {
        for to in 0..self.hosts.len() {
            let Some(local) = self.hosts[to].addresses.first().copied() else { continue };
            let local = SocketAddr::new(local.ip(), 5353);
            if !destination.ip().is_multicast() && destination != local {
                continue;
            }
            let datagram =
                Datagram { protocol: Protocol::Mdns, ..Datagram::udp(source, local, bytes.clone()) };
            self.later(Arrival::Datagram { to, datagram });
        }
    }

    /// From one outer address to another.
    pub fn send(&mut self, source: SocketAddr, destination: SocketAddr, bytes: BytesMut) {
        if !(self.lets)(source, destination, &bytes) {
            return;
        }
        if destination == SERVER {
            self.to_server.push((source, bytes.to_vec()));
            let tuple = FiveTuple { client: source, server: SERVER, protocol: Protocol::Udp };
            return self.later(Arrival::ToServer(tuple, bytes));
        }
        if self.relays.contains(&destination) {
            return self.later(Arrival::ToRelay(destination, source, bytes));
        }
        for to in 0..self.hosts.len() {
            let host = &self.hosts[to];
            let inner = match &host.nat {
                Some(nat) => nat.inbound(source, destination),
                None => host.addresses.contains(&destination).then_some(destination),
            };
            if let Some(inner) = inner.filter(|inner| !host.cut.contains(&inner.ip()) && !host.udp_blocked) {
                let datagram = Datagram::udp(source, inner, bytes);
                return self.later(Arrival::Datagram { to, datagram });
            }
        }
    }

    fn arrive(&mut self, arrival: Arrival) {
        let now = self.now;
        match arrival {
            Arrival::Datagram { to, datagram } => {
                if self.hosts[to].cut.contains(&datagram.destination.ip()) {
                    return;
                }
                self.hosts[to].rtc.handle_input(now, Input::Datagram(datagram));
            }
            Arrival::ToServer(tuple, bytes) if self.server_alive => {
                self.server.handle_packet(now, tuple, bytes)
            }
            Arrival::ToServer(..) => {}
            Arrival::ToRelay(relay, peer, bytes) => self.server.handle_relayed(now, relay, peer, bytes),
            Arrival::Opened(host, key, local) => {
                let input = StreamInput::Opened { key, local };
                self.hosts[host].rtc.handle_input(now, Input::Stream(input));
            }
            Arrival::Refused(host, key) => {
                self.hosts[host].rtc.handle_input(now, Input::Stream(StreamInput::Closed { key }));
            }
            Arrival::Connected { host, key, local, remote } => self.connected(host, key, local, remote),
            Arrival::Bytes(end, bytes) => self.bytes(end, bytes),
            Arrival::Closed(end) => self.closed(end),
        }
    }

    // ----- streams -----

    fn stream(&mut self, from: usize, output: StreamOutput) {
        match output {
            StreamOutput::Open { key, protocol, local, remote, .. } => {
                let ip = local.or(self.hosts[from].addresses.first().map(|a| a.ip()));
                let ip = ip.unwrap_or(IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9)));
                self.next_port += 1;
                let local = SocketAddr::new(ip, self.next_port);
                self.hosts[from].sent.push((local, remote, protocol, 0));
                self.later(Arrival::Connected { host: from, key, local, remote });
            }
            StreamOutput::Write { key, contents } => {
                let bytes = contents.into_inner();
                if let Some(peer) = self.peers.get(&End::Host(from, key)).copied() {
                    self.hosts[from].sent.push((SERVER, SERVER, Protocol::Tcp, bytes.len()));
                    self.later(Arrival::Bytes(peer, bytes));
                }
            }
            StreamOutput::Close { key } => self.close(End::Host(from, key)),
            other => panic!("{other:?}"),
        }
    }

    fn join(&mut self, a: End, b: End) {
        self.peers.insert(a, b);
        self.peers.insert(b, a);
    }

    fn close(&mut self, end: End) {
        if let Some(peer) = self.peers.remove(&end) {
            self.peers.remove(&peer);
            self.later(Arrival::Closed(peer));
        }
    }

    /// Ends all streams of a host, as a broken middlebox would.
    pub fn break_streams(&mut self, host: usize) {
        let of_host = |end: &&End| matches!(end, End::Host(at, _) if *at == host);
        let ends: Vec<End> = self.peers.keys().filter(of_host).copied().collect();
        for end in ends {
            self.close(end);
            self.later(Arrival::Closed(end));
        }
    }

    fn connected(&mut self, host: usize, key: StreamKey, local: SocketAddr, remote: SocketAddr) {
        let end = End::Host(host, key);
        if remote.ip() == SERVER.ip() && self.server_alive {
            let protocol = if remote.port() == 5349 { Protocol::Tls } else { Protocol::Tcp };
            self.join(end, End::Server(FiveTuple { client: local, server: remote, protocol }));
            return self.later(Arrival::Opened(host, key, local));
        }
        let Some(to) = self.hosts.iter().position(|host| host.listener == Some(remote)) else {
            return self.later(Arrival::Refused(host, key));
        };
        let place = self.incoming.len();
        self.incoming.push(Some((to, IncomingStream::new(remote, local), end)));
        self.join(end, End::Incoming(place));
        self.later(Arrival::Opened(host, key, local));
    }

    fn bytes(&mut self, end: End, bytes: BytesMut) {
        let now = self.now;
        match end {
            End::Host(host, key) => {
                let input = StreamInput::Received { key, contents: bytes };
                self.hosts[host].rtc.handle_input(now, Input::Stream(input));
            }
            End::Server(tuple) if self.server_alive => self.server.handle_stream(now, tuple, bytes),
            End::Server(_) => {}
            End::Incoming(place) => {
                let Some((host, mut stream, peer)) = self.incoming[place].take() else {
                    // Taken meanwhile: the bytes follow the stream.
                    return;
                };
                match stream.push(&bytes) {
                    FirstFrame::Incomplete => self.incoming[place] = Some((host, stream, peer)),
                    FirstFrame::Nonsense => self.close(end),
                    FirstFrame::Check => {
                        self.hosts[host].rtc.handle_input(now, Input::Timeout);
                        match self.hosts[host].rtc.accept_stream(stream) {
                            Some(key) => {
                                self.peers.remove(&end);
                                self.join(peer, End::Host(host, key));
                            }
                            None => self.close(end),
                        }
                    }
                }
            }
        }
    }

    fn closed(&mut self, end: End) {
        let now = self.now;
        match end {
            End::Host(host, key) => {
                self.hosts[host].rtc.handle_input(now, Input::Stream(StreamInput::Closed { key }));
            }
            End::Server(tuple) => self.server.handle_stream_closed(now, tuple),
            End::Incoming(_) => {}
        }
    }
}

impl Nat {
    fn outbound(&mut self, inner: SocketAddr, remote: SocketAddr) -> SocketAddr {
        let key = (inner, (self.kind == NatKind::Symmetric).then_some(remote));
        let next = &mut self.next;
        let port = *self.out.entry(key).or_insert_with(|| {
            *next += 1;
            *next
        });
        self.allowed.insert((port, remote));
        SocketAddr::new(self.public, port)
    }

    fn inbound(&self, source: SocketAddr, outer: SocketAddr) -> Option<SocketAddr> {
        let is_ours = outer.ip() == self.public && self.allowed.contains(&(outer.port(), source));
        let found = self.out.iter().find(|(_, port)| **port == outer.port());
        found.filter(|_| is_ours).map(|((inner, _), _)| *inner)
    }
}

impl Ground {
    /// A NAT forgets everything, as after a restart.
    pub fn rebind(&mut self, host: usize) {
        if let Some(nat) = &mut self.hosts[host].nat {
            nat.out.clear();
            nat.allowed.clear();
            nat.next += 1000;
        }
    }
}
