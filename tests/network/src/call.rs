//! An [`Rtc`] on real sockets: UDP, and streams to TURN servers over TCP and TLS.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sansrtc::session::gather::{GatheringState, IceServer, IceTransportPolicy};
use sansrtc::{
    Candidate, ChannelConfig, ChannelId, Clock, ConnectionState, Datagram, Event, Input, MessageKind, Output,
    PathInfo, Protocol, Rtc, RtcConfig, StreamInput, StreamKey, StreamOutput,
};

/// Messages that pass each way in a [`call`].
const MESSAGES: usize = 50;

/// How long a call rests behind them.
const SETTLING: Duration = Duration::from_secs(4);

/// One side of a call.
#[derive(Clone)]
pub struct Side {
    /// Where its sockets are bound.
    pub addresses: Vec<IpAddr>,
    /// Its servers.
    pub servers: Vec<IceServer>,
    /// What may be used.
    pub policy: IceTransportPolicy,
    /// Who signs the certificates of `turns:` servers, as PEM.
    pub ca: String,
}

impl Side {
    /// A side at one address, with these servers.
    pub fn new(address: IpAddr, servers: Vec<IceServer>) -> Self {
        Side { addresses: vec![address], servers, policy: IceTransportPolicy::All, ca: String::new() }
    }
}

/// The two ends of signalling.
pub type Line = (Sender<String>, Receiver<String>);

/// A signalling line of two ends.
pub fn line() -> (Line, Line) {
    let ((to_b, from_a), (to_a, from_b)) = (channel(), channel());
    ((to_b, from_b), (to_a, from_a))
}

/// Which side this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Makes the offer, and speaks first.
    Caller,
    /// Answers, and says everything back.
    Callee,
}

/// Gathers, connects, and exchanges messages with the other end of `line`; the path that was used in the end.
pub fn call(role: Role, side: &Side, line: &Line) -> PathInfo {
    disturbed_call(role, side, line, SETTLING, || {})
}

/// The same, with something that the caller does in the middle, between two exchanges of messages. The call goes on
/// for a while behind the last one.
pub fn disturbed_call(
    role: Role,
    side: &Side,
    line: &Line,
    settling: Duration,
    disturb: impl FnOnce(),
) -> PathInfo {
    let mut phone = Phone::new(side);
    phone.until("gathering", |phone| phone.rtc.gathering_state() == GatheringState::Complete);
    match role {
        Role::Caller => {
            let offer = phone.offer();
            line.0.send(offer).expect("the other side listens");
            let answer = line.1.recv_timeout(crate::PATIENCE).expect("an answer comes");
            phone.rtc.accept_answer(&answer.parse().expect("it is SDP")).expect("it fits");
        }
        Role::Callee => {
            let offer = line.1.recv_timeout(crate::PATIENCE).expect("an offer comes");
            let answer =
                phone.rtc.accept_offer(&offer.parse().expect("it is SDP")).expect("it can be answered");
            line.0.send(answer.as_str().to_owned()).expect("the other side listens");
        }
    }
    phone.until("the connection", |phone| phone.rtc.state() == ConnectionState::Connected);
    match role {
        Role::Caller => {
            phone.talk("before");
            phone.rest(SETTLING);
            disturb();
            phone.talk("afterwards");
            // A better path may come up behind a quick one.
            phone.rest(settling);
            line.0.send("done".to_owned()).expect("the other side listens");
        }
        Role::Callee => {
            let mut said = 0;
            phone.within(5 * crate::PATIENCE, "the end", |phone| {
                while said < phone.heard.len() {
                    let text = phone.heard[said].clone();
                    phone.say(&text);
                    said += 1;
                }
                line.1.try_recv().is_ok()
            });
        }
    }
    phone.rtc.stats().path.expect("it is connected")
}

/// How long a stream may take to be opened: some SYNs may be lost at first.
const OPENING: Duration = Duration::from_secs(20);

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// A stream that another thread connects, and the name in the certificate, under TLS.
struct Opening {
    connected: Receiver<Option<TcpStream>>,
    tls: Option<String>,
}

/// The connection and its sockets.
pub struct Phone {
    /// The connection.
    pub rtc: Rtc,
    sockets: Vec<(UdpSocket, SocketAddr)>,
    streams: BTreeMap<StreamKey, (Stream, Vec<u8>)>,
    opening: BTreeMap<StreamKey, Opening>,
    ca: String,
    channel: Option<ChannelId>,
    is_open: bool,
    heard: Vec<String>,
}

impl Phone {
    /// A connection with its host candidates.
    pub fn new(side: &Side) -> Self {
        Self::with(side, RtcConfig::default())
    }

    /// The same, with other settings than those of the side.
    pub fn with(side: &Side, config: RtcConfig) -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
        let config =
            RtcConfig { ice_servers: side.servers.clone(), ice_transport_policy: side.policy, ..config };
        let mut rtc = Rtc::new(config, rand::random(), Clock { instant: Instant::now(), unix })
            .expect("the settings are valid");
        let mut sockets = Vec::new();
        for &ip in &side.addresses {
            let socket = UdpSocket::bind((ip, 0)).expect("it is an address of this host");
            socket.set_nonblocking(true).expect("sockets can do that");
            let local = socket.local_addr().expect("it is bound");
            rtc.add_local_candidate(Candidate::host(local).expect("a host address")).expect("it is new");
            sockets.push((socket, local));
        }
        rtc.end_of_local_candidates();
        let (streams, opening, ca) = (BTreeMap::new(), BTreeMap::new(), side.ca.clone());
        Phone { rtc, sockets, streams, opening, ca, channel: None, is_open: false, heard: Vec::new() }
    }

    /// An offer with a channel.
    pub fn offer(&mut self) -> String {
        let channel = self.rtc.open_channel(ChannelConfig::labelled("words")).expect("a channel");
        self.channel = Some(channel);
        self.rtc.create_offer().expect("an offer").as_str().to_owned()
    }

    /// Says things on the channel, and waits for each to come back.
    #[track_caller]
    pub fn talk(&mut self, when: &str) {
        self.until("the channel", |phone| phone.is_open);
        for number in 0..MESSAGES {
            let text = format!("message {number} {when}");
            self.say(&text);
            self.until("the echo", |phone| phone.heard.last() == Some(&text));
        }
    }

    /// Goes on for a while.
    fn rest(&mut self, how_long: Duration) {
        let settled = Instant::now() + how_long;
        self.until("a rest", |_| Instant::now() >= settled);
    }

    /// Goes on until the condition holds.
    #[track_caller]
    pub fn until(&mut self, what: &str, condition: impl FnMut(&mut Self) -> bool) {
        self.within(crate::PATIENCE, what, condition);
    }

    /// The same, with another patience.
    #[track_caller]
    fn within(&mut self, patience: Duration, what: &str, mut condition: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        loop {
            self.step();
            if condition(self) {
                return self.drain();
            }
            let stats = self.rtc.stats();
            assert!(start.elapsed() < patience, "{what} did not come: {stats:#?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether the channel may be used.
    pub fn can_talk(&self) -> bool {
        self.is_open
    }

    /// Whether a message that contains this has come.
    pub fn has_heard(&self, text: &str) -> bool {
        self.heard.iter().any(|heard| heard.contains(text))
    }

    /// Says something on the channel.
    pub fn say(&mut self, text: &str) {
        let channel = self.channel.expect("there is a channel");
        self.rtc.send(channel, MessageKind::Text, text.to_owned()).expect("a few words fit");
    }

    fn step(&mut self) {
        let mut buffer = [0; 65_536];
        for (socket, local) in &self.sockets {
            while let Ok((length, source)) = socket.recv_from(&mut buffer) {
                let datagram = Datagram::udp(source, *local, BytesMut::from(&buffer[..length]));
                self.rtc.handle_input(Instant::now(), Input::Datagram(datagram));
            }
        }
        self.take_opened();
        let keys: Vec<StreamKey> = self.streams.keys().copied().collect();
        for key in keys {
            let Some((stream, waiting)) = self.streams.get_mut(&key) else { continue };
            let _ = flush(stream, waiting);
            let result = match stream {
                Stream::Plain(tcp) => tcp.read(&mut buffer),
                Stream::Tls(tls) => tls.read(&mut buffer),
            };
            match result {
                Ok(length) if length > 0 => {
                    let contents = BytesMut::from(&buffer[..length]);
                    self.rtc
                        .handle_input(Instant::now(), Input::Stream(StreamInput::Received { key, contents }));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => self.close(key),
            }
        }
        self.rtc.handle_input(Instant::now(), Input::Timeout);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output() {
                Output::Transmit(transmit) => {
                    let socket = self.sockets.iter().find(|(_, local)| *local == transmit.source);
                    let (socket, _) = socket.expect("it sends from its own addresses");
                    for segment in transmit.segments() {
                        // What the network refuses is lost.
                        let _ = socket.send_to(segment, transmit.destination);
                    }
                }
                Output::Stream(command) => self.command(command),
                Output::Event(event) => self.take(event),
                Output::Timeout(_) => return,
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::ChannelOpen(channel) => {
                self.channel = Some(channel);
                self.is_open = true;
            }
            Event::Message { data, .. } => self.heard.push(String::from_utf8_lossy(&data).into_owned()),
            _ => {}
        }
    }

    fn command(&mut self, command: StreamOutput) {
        match command {
            StreamOutput::Open { key, protocol, remote, server_name, .. } => {
                let (tell, connected) = channel();
                // It has the network of this thread.
                std::thread::spawn(move || tell.send(TcpStream::connect_timeout(&remote, OPENING).ok()));
                let tls = server_name.filter(|_| protocol == Protocol::Tls);
                self.opening.insert(key, Opening { connected, tls });
            }
            StreamOutput::Write { key, contents } => {
                if let Some((stream, waiting)) = self.streams.get_mut(&key) {
                    waiting.extend_from_slice(&contents);
                    if flush(stream, waiting).is_err() {
                        self.close(key);
                    }
                }
            }
            StreamOutput::Close { key } => {
                self.opening.remove(&key);
                self.streams.remove(&key);
            }
            other => panic!("not understood: {other:?}"),
        }
    }

    /// Streams that are connected may be used; others have failed.
    fn take_opened(&mut self) {
        let results: Vec<(StreamKey, Option<TcpStream>)> = self
            .opening
            .iter()
            .filter_map(|(key, opening)| match opening.connected.try_recv() {
                Err(TryRecvError::Empty) => None,
                result => Some((*key, result.ok().flatten())),
            })
            .collect();
        for (key, tcp) in results {
            let tls = self.opening.remove(&key).and_then(|opening| opening.tls);
            match tcp.and_then(|tcp| self.open(tcp, tls)) {
                Some((stream, local)) => {
                    self.streams.insert(key, (stream, Vec::new()));
                    self.rtc.handle_input(Instant::now(), Input::Stream(StreamInput::Opened { key, local }));
                }
                None => self.close(key),
            }
        }
    }

    fn open(&self, tcp: TcpStream, tls: Option<String>) -> Option<(Stream, SocketAddr)> {
        tcp.set_nodelay(true).ok()?;
        tcp.set_nonblocking(true).ok()?;
        let local = tcp.local_addr().ok()?;
        let Some(name) = tls else { return Some((Stream::Plain(tcp), local)) };
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.as_bytes()).ok()?).ok()?;
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .ok()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tls = ClientConnection::new(Arc::new(config), ServerName::try_from(name).ok()?).ok()?;
        Some((Stream::Tls(Box::new(StreamOwned::new(tls, tcp))), local))
    }

    fn close(&mut self, key: StreamKey) {
        self.streams.remove(&key);
        self.rtc.handle_input(Instant::now(), Input::Stream(StreamInput::Closed { key }));
    }
}

/// Writes what goes; the rest waits.
fn flush(stream: &mut Stream, waiting: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        let result = match stream {
            Stream::Plain(tcp) => tcp.write(waiting),
            Stream::Tls(tls) if waiting.is_empty() => tls.flush().map(|()| 0),
            Stream::Tls(tls) => tls.write(waiting),
        };
        match result {
            Ok(0) => return Ok(()),
            Ok(length) => drop(waiting.drain(..length)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
