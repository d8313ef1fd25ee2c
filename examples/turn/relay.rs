//! The thread that owns the sockets and the machine.
//!
//! ```text
//! listening UDP ──datagram──▶          ──transmit──▶ the socket of its source address
//! TCP and TLS   ──bytes─────▶  Server  ──transmit──▶ the stream of its two addresses
//! relayed UDP   ──datagram──▶          ──event─────▶ open and close relayed sockets, close streams
//! ```

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use mio::net::{TcpListener, UdpSocket};
use mio::{Events, Interest, Poll, Token, Waker};
use rustls::ServerConfig;
use sansrtc::Clock;
use sansrtc::buffer::Pool;
use sansrtc::packet::{Protocol, Transmit};
use sansrtc::rng::{Rng, Stream as Label};
use sansrtc::turn::server::{Config, Event, FiveTuple, Server, Users};

use crate::stream::{Piece, Stream};

/// Datagrams read from one socket, and pieces of one stream, before the others have their turn.
const BATCH: usize = 64;
/// A stream without an allocation is closed after this long: it costs a descriptor.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often such streams are looked for.
const SWEEP: Duration = Duration::from_secs(5);
const WAKE: Token = Token(0);

/// A socket that datagrams come from.
struct Udp {
    socket: UdpSocket,
    /// What the machine calls its address.
    name: SocketAddr,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Listening,
    Relayed,
}

/// A socket that streams come from.
struct Listener {
    socket: TcpListener,
    tls: Option<Arc<ServerConfig>>,
}

/// The server and its sockets.
pub(crate) struct Relay {
    poll: Poll,
    server: Server,
    pool: Pool,
    udp: HashMap<Token, Udp>,
    by_address: HashMap<SocketAddr, Token>,
    listeners: HashMap<Token, Listener>,
    streams: HashMap<Token, Stream>,
    by_tuple: HashMap<FiveTuple, Token>,
    /// Relay addresses as they are called outside, and where they are bound.
    renames: HashMap<IpAddr, IpAddr>,
    /// Sockets that had more to read than their turn allowed.
    unread: Vec<Token>,
    next_token: usize,
    next_sweep: Instant,
    scratch: Vec<u8>,
}

impl Relay {
    /// A server without sockets. `renames` tells for each relay address where it is bound.
    pub(crate) fn new(config: Config, users: Users, renames: HashMap<IpAddr, IpAddr>) -> io::Result<Self> {
        let now = Instant::now();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
        let rng = Rng::new(rand::random(), Label::Turn);
        let server = Server::new(config, users, Clock { instant: now, unix }, rng);
        Ok(Relay {
            poll: Poll::new()?,
            server: server.map_err(io::Error::other)?,
            pool: Pool::new(),
            udp: HashMap::new(),
            by_address: HashMap::new(),
            listeners: HashMap::new(),
            streams: HashMap::new(),
            by_tuple: HashMap::new(),
            renames,
            unread: Vec::new(),
            next_token: 1,
            next_sweep: now + SWEEP,
            scratch: vec![0; 65_536],
        })
    }

    /// Takes clients over UDP.
    pub(crate) fn listen_udp(&mut self, address: SocketAddr) -> io::Result<()> {
        let local = self.bind(address, None).map_err(|error| named(error, "UDP", address))?;
        println!("udp {local}");
        Ok(())
    }

    /// Takes clients over TCP, or over TLS with this configuration.
    pub(crate) fn listen_tcp(
        &mut self,
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
    ) -> io::Result<()> {
        let bound =
            TcpListener::bind(address).and_then(|socket| socket.local_addr().map(|local| (socket, local)));
        let (mut socket, local) = bound.map_err(|error| named(error, "TCP", address))?;
        let token = self.token();
        self.poll.registry().register(&mut socket, token, Interest::READABLE)?;
        println!("{} {local}", if tls.is_some() { "tls" } else { "tcp" });
        self.listeners.insert(token, Listener { socket, tls });
        Ok(())
    }

    /// What ends the wait of [`run`](Relay::run).
    pub(crate) fn waker(&self) -> io::Result<Arc<Waker>> {
        Ok(Arc::new(Waker::new(self.poll.registry(), WAKE)?))
    }

    /// One line of figures.
    pub(crate) fn summary(&self) -> String {
        let stats = self.server.stats();
        format!(
            "{} requests, {} refused, {} packets relayed, {} bytes, {} packets dropped",
            stats.requests, stats.refused, stats.relayed_packets, stats.relayed_bytes, stats.dropped
        )
    }

    /// Serves until `stop` is set.
    pub(crate) fn run(&mut self, stop: &AtomicBool) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        while !stop.load(Ordering::Relaxed) {
            let wake = self.server.next_timeout().map_or(self.next_sweep, |at| at.min(self.next_sweep));
            let mut wait = wake.saturating_duration_since(Instant::now());
            if !self.unread.is_empty() {
                wait = Duration::ZERO;
            }
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            let mut ready = std::mem::take(&mut self.unread);
            for event in &events {
                if event.is_writable() {
                    self.flush(event.token());
                }
                ready.push(event.token());
            }
            ready.sort_unstable();
            ready.dedup();
            for token in ready {
                self.read(token);
                self.settle();
            }
            let now = Instant::now();
            self.server.handle_timeout(now);
            self.sweep(now);
            self.settle();
        }
        Ok(())
    }

    // ----- in -----

    fn read(&mut self, token: Token) {
        if self.udp.contains_key(&token) {
            self.read_udp(token);
        } else if self.streams.contains_key(&token) {
            self.read_stream(token);
        } else if self.listeners.contains_key(&token) {
            self.accept(token);
        }
    }

    fn read_udp(&mut self, token: Token) {
        for _ in 0..BATCH {
            let Some(udp) = self.udp.get(&token) else { return };
            let (length, source) = match udp.socket.recv_from(&mut self.scratch) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // An ICMP answer to something sent earlier: it says nothing of what is still to be read.
                Err(error) => {
                    tracing::debug!(%error, name = %udp.name, "not received");
                    continue;
                }
            };
            let (name, kind) = (udp.name, udp.kind);
            let packet = BytesMut::from(&self.scratch[..length]);
            let now = Instant::now();
            match kind {
                Kind::Relayed => self.server.handle_relayed(now, name, source, packet),
                Kind::Listening => {
                    let from = FiveTuple { client: source, server: name, protocol: Protocol::Udp };
                    self.server.handle_packet(now, from, packet);
                }
            }
            self.settle();
        }
        self.unread.push(token);
    }

    fn read_stream(&mut self, token: Token) {
        for _ in 0..BATCH {
            let Some(stream) = self.streams.get_mut(&token) else { return };
            let tuple = stream.tuple;
            match stream.read(&mut self.scratch) {
                Ok(Piece::Dry) => return,
                Ok(Piece::Other) => {}
                Ok(Piece::Data(piece)) => {
                    self.server.handle_stream(Instant::now(), tuple, piece);
                    self.settle();
                }
                Ok(Piece::End) | Err(_) => {
                    self.server.handle_stream_closed(Instant::now(), tuple);
                    self.close_stream(tuple);
                    return;
                }
            }
        }
        self.unread.push(token);
    }

    fn accept(&mut self, token: Token) {
        for _ in 0..BATCH {
            let Some(listener) = self.listeners.get(&token) else { return };
            let tls = listener.tls.clone();
            let (mut socket, client) = match listener.socket.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    // Out of descriptors, most likely: those that wait have their turn when one is closed.
                    tracing::warn!(%error, "not accepted");
                    return self.unread.push(token);
                }
            };
            let Ok(server) = socket.local_addr() else { continue };
            let protocol = if tls.is_some() { Protocol::Tls } else { Protocol::Tcp };
            let tuple = FiveTuple { client, server, protocol };
            let token = self.token();
            let interest = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut socket, token, interest).is_ok()
                && let Ok(stream) = Stream::new(socket, tuple, Instant::now(), tls.as_ref())
            {
                self.streams.insert(token, stream);
                self.by_tuple.insert(tuple, token);
            }
        }
        self.unread.push(token);
    }

    // ----- out -----

    /// Does what the machine asks for.
    fn settle(&mut self) {
        while let Some(event) = self.server.poll_event() {
            match event {
                Event::OpenRelay(name) => self.open_relay(name),
                Event::CloseRelay(name) => self.close_relay(name),
                Event::CloseStream(tuple) => self.close_stream(tuple),
                other => tracing::warn!(?other, "not understood"),
            }
        }
        while let Some(transmit) = self.server.poll_transmit(&mut self.pool) {
            self.send(&transmit);
        }
    }

    fn send(&mut self, transmit: &Transmit) {
        if transmit.protocol != Protocol::Udp {
            let Transmit { source: server, destination: client, protocol, .. } = *transmit;
            let tuple = FiveTuple { client, server, protocol };
            let stream = self.by_tuple.get(&tuple).and_then(|token| self.streams.get_mut(token));
            if stream.is_some_and(|stream| stream.write(&transmit.contents).is_err()) {
                self.server.handle_stream_closed(Instant::now(), tuple);
                self.close_stream(tuple);
            }
            return;
        }
        let socket = self.by_address.get(&transmit.source).and_then(|token| self.udp.get(token));
        // A full socket, and errors of the way there, count as loss.
        match socket.map(|udp| udp.socket.send_to(&transmit.contents, transmit.destination)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => tracing::debug!(%error, to = %transmit.destination, "not sent"),
            None => tracing::debug!(source = %transmit.source, "no such socket"),
        }
    }

    fn flush(&mut self, token: Token) {
        let Some(stream) = self.streams.get_mut(&token) else { return };
        if stream.flush().is_err() {
            let tuple = stream.tuple;
            self.server.handle_stream_closed(Instant::now(), tuple);
            self.close_stream(tuple);
        }
    }

    // ----- sockets -----

    fn open_relay(&mut self, name: SocketAddr) {
        let ip = self.renames.get(&name.ip()).copied().unwrap_or(name.ip());
        match self.bind(SocketAddr::new(ip, name.port()), Some(name)) {
            Ok(_) => tracing::debug!(%name, "relayed address opened"),
            Err(error) => {
                tracing::debug!(%error, %name, "relayed address not opened");
                self.server.handle_relay_failed(name);
            }
        }
    }

    fn close_relay(&mut self, name: SocketAddr) {
        let Some(token) = self.by_address.remove(&name) else { return };
        if let Some(mut udp) = self.udp.remove(&token) {
            let _ = self.poll.registry().deregister(&mut udp.socket);
            tracing::debug!(%name, "relayed address closed");
        }
    }

    fn close_stream(&mut self, tuple: FiveTuple) {
        let Some(token) = self.by_tuple.remove(&tuple) else { return };
        if let Some(mut stream) = self.streams.remove(&token) {
            stream.finish();
            let _ = self.poll.registry().deregister(&mut stream.socket);
        }
    }

    /// Closes streams that came for nothing.
    fn sweep(&mut self, now: Instant) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + SWEEP;
        let is_idle = |stream: &&Stream| {
            now.duration_since(stream.since) > PATIENCE && !self.server.has_allocation(stream.tuple)
        };
        let idle: Vec<FiveTuple> = self.streams.values().filter(is_idle).map(|stream| stream.tuple).collect();
        for tuple in idle {
            self.server.handle_stream_closed(now, tuple);
            self.close_stream(tuple);
        }
    }

    fn bind(&mut self, address: SocketAddr, relayed: Option<SocketAddr>) -> io::Result<SocketAddr> {
        let mut socket = UdpSocket::bind(address)?;
        let local = socket.local_addr()?;
        let token = self.token();
        self.poll.registry().register(&mut socket, token, Interest::READABLE)?;
        let name = relayed.unwrap_or(local);
        let kind = if relayed.is_some() { Kind::Relayed } else { Kind::Listening };
        self.by_address.insert(name, token);
        self.udp.insert(token, Udp { socket, name, kind });
        Ok(local)
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }
}

fn named(error: io::Error, what: &str, address: SocketAddr) -> io::Error {
    io::Error::new(error.kind(), format!("cannot use {what} on {address}: {error}"))
}
