//! A [`turn::Client`](sansrtc::turn::Client) on real sockets.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sansrtc::buffer::Pool;
use sansrtc::packet::Protocol;
use sansrtc::rng::{Rng, Stream as Label};
use sansrtc::turn::{Client, Config, Credentials, Event, Handled, Relayed};

use crate::server::Server;

/// How long one look at the socket takes.
const TICK: Duration = Duration::from_millis(5);

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// A client and its socket.
pub struct Turn {
    /// The machine.
    pub client: Client,
    pool: Pool,
    udp: UdpSocket,
    stream: Option<Stream>,
    ca: String,
    /// What it told, in order.
    pub events: VecDeque<Event>,
    /// What peers sent, in order.
    pub received: VecDeque<(SocketAddr, Vec<u8>)>,
}

impl Turn {
    /// A client of `server` for `alice`, started.
    pub fn new(server: &Server, protocol: Protocol) -> Self {
        Turn::with(server, protocol, Credentials::new("alice", "secret"), |_| {})
    }

    /// A client with other credentials and settings, started.
    pub fn with(
        server: &Server,
        protocol: Protocol,
        credentials: Credentials,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = Config::new(server.address(protocol), protocol, credentials);
        config.server_name = (protocol == Protocol::Tls).then(|| "localhost".to_owned());
        change(&mut config);
        Turn::of(config, &server.ca)
    }

    /// A client with these settings, started. Over TLS the server's certificate is signed by `ca`.
    pub fn of(config: Config, ca: &str) -> Self {
        let any: IpAddr = if config.server.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let udp = UdpSocket::bind((any, 0)).expect("there are ports");
        // The local address is the one that the system would send from.
        udp.connect(config.server).expect("there is a way to the server");
        udp.set_read_timeout(Some(TICK)).expect("it is above zero");
        let local = udp.local_addr().expect("it is bound");
        let rng = Rng::new(rand::random(), Label::Turn);
        let mut client = Client::new(config, local, rng).expect("the settings are valid");
        client.start(Instant::now());
        let (pool, events, received) = (Pool::new(), VecDeque::new(), VecDeque::new());
        Turn { client, pool, udp, stream: None, ca: ca.to_owned(), events, received }
    }

    /// Goes on until there is an allocation.
    #[track_caller]
    pub fn allocate(&mut self) -> Relayed {
        self.until("an allocation", |turn| turn.client.relayed())
    }

    /// Lets a peer through, and waits until the server agreed.
    #[track_caller]
    pub fn permit(&mut self, peer: IpAddr) {
        self.client.permit(Instant::now(), peer).expect("there is room");
        self.until("a permission", |turn| turn.client.is_permitted(peer).then_some(()));
    }

    /// Asks for a channel to a peer, and waits until the server agreed.
    #[track_caller]
    pub fn bind(&mut self, peer: SocketAddr) {
        self.client.bind(Instant::now(), peer).expect("there is room");
        self.until("a channel", |turn| turn.client.is_bound(peer).then_some(()));
    }

    /// Sends data to a peer through the relay.
    #[track_caller]
    pub fn send(&mut self, peer: SocketAddr, data: &[u8]) {
        let head = self.client.overhead(peer).head;
        let mut packet = BytesMut::zeroed(head);
        packet.extend_from_slice(data);
        self.client.wrap(peer, &mut packet, 0).expect("the peer is permitted");
        self.write(&packet);
    }

    /// Goes on until the condition yields something.
    #[track_caller]
    pub fn until<T>(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            self.step();
            if let Some(found) = condition(self) {
                return found;
            }
            let events = &self.events;
            assert!(start.elapsed() < crate::PATIENCE, "no {what}; events: {events:?}");
        }
    }

    /// Goes on until an event comes that is `wanted`; those before it are dropped.
    #[track_caller]
    pub fn event<T>(&mut self, what: &str, wanted: impl Fn(&Event) -> Option<T>) -> T {
        self.until(what, |turn| {
            while let Some(event) = turn.events.pop_front() {
                if let Some(found) = wanted(&event) {
                    return Some(found);
                }
            }
            None
        })
    }

    /// Goes on until a peer's data comes.
    #[track_caller]
    pub fn receive(&mut self) -> (SocketAddr, Vec<u8>) {
        self.until("data", |turn| turn.received.pop_front())
    }

    /// Goes on for this long.
    pub fn run_for(&mut self, how_long: Duration) {
        let end = Instant::now() + how_long;
        while Instant::now() < end {
            self.step();
        }
    }

    /// One look at the clock and at the socket.
    pub fn step(&mut self) {
        self.client.handle_timeout(Instant::now());
        self.drain();
        match self.stream.take() {
            None => self.read_udp(),
            Some(stream) => self.read_stream(stream),
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(event) = self.client.poll_event() {
            match &event {
                Event::OpenStream { protocol, server, server_name } => {
                    self.open(*protocol, *server, server_name.as_deref());
                }
                Event::CloseStream => self.stream = None,
                _ => {}
            }
            self.events.push_back(event);
        }
        while let Some(transmit) = self.client.poll_transmit(&mut self.pool) {
            self.write(&transmit.contents);
        }
    }

    fn open(&mut self, protocol: Protocol, server: SocketAddr, name: Option<&str>) {
        let tcp = TcpStream::connect(server).and_then(|tcp| {
            tcp.set_nodelay(true)?;
            tcp.set_read_timeout(Some(TICK))?;
            Ok(tcp)
        });
        let Ok(tcp) = tcp else { return self.client.handle_stream_closed(Instant::now()) };
        let local = tcp.local_addr().expect("it is connected");
        self.stream = Some(match protocol {
            Protocol::Tls => Stream::Tls(Box::new(self.tls(tcp, name.expect("TLS has a name")))),
            _ => Stream::Plain(tcp),
        });
        self.client.handle_stream_opened(Instant::now(), local);
    }

    fn tls(&self, tcp: TcpStream, name: &str) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.ca.as_bytes()).expect("it is a certificate");
        roots.add(ca).expect("it is an authority");
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).expect("it is a name");
        StreamOwned::new(ClientConnection::new(Arc::new(config), name).expect("the name fits"), tcp)
    }

    fn write(&mut self, bytes: &[u8]) {
        let result = match &mut self.stream {
            Some(Stream::Plain(tcp)) => tcp.write_all(bytes),
            // A read timeout in the middle of a handshake is no failure: the next try goes on.
            Some(Stream::Tls(tls)) => {
                patiently(|| tls.write_all(bytes)).and_then(|()| patiently(|| tls.flush()))
            }
            None if self.client.protocol() == Protocol::Udp => {
                self.udp.send_to(bytes, self.client.server()).map(drop)
            }
            None => Ok(()),
        };
        if result.is_err() && self.stream.take().is_some() {
            self.client.handle_stream_closed(Instant::now());
        }
    }

    fn read_udp(&mut self) {
        let mut buffer = [0; 65_536];
        match self.udp.recv_from(&mut buffer) {
            Ok((length, source)) => {
                let packet = BytesMut::from(&buffer[..length]);
                let handled = self.client.handle_packet(Instant::now(), source, packet);
                self.take(handled);
            }
            // An ICMP error to something sent earlier, or nothing to read; not to be asked again at once.
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }

    fn read_stream(&mut self, mut stream: Stream) {
        let mut buffer = [0; 16_384];
        let result = match &mut stream {
            Stream::Plain(tcp) => tcp.read(&mut buffer),
            Stream::Tls(tls) => tls.read(&mut buffer),
        };
        self.stream = Some(stream);
        match result {
            Ok(length) if length > 0 => {
                self.client.handle_stream_bytes(Instant::now(), BytesMut::from(&buffer[..length]));
                while let Some(handled) = self.client.poll_stream_packet(Instant::now()) {
                    self.take(handled);
                }
            }
            Err(error) if is_timeout(&error) => {}
            Ok(_) | Err(_) => {
                self.stream = None;
                self.client.handle_stream_closed(Instant::now());
            }
        }
    }

    fn take(&mut self, handled: Handled) {
        if let Handled::Data { peer, contents, .. } = handled {
            self.received.push_back((peer, contents.to_vec()));
        }
    }
}

/// Tries again as long as it only was not ready. rustls takes all of the plaintext or nothing.
fn patiently(mut what: impl FnMut() -> std::io::Result<()>) -> std::io::Result<()> {
    loop {
        match what() {
            Err(error) if is_timeout(&error) => {}
            result => return result,
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
