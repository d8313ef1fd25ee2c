//! The media thread: it owns the sockets and, through one [`Endpoint`], every connection.
//!
//! ```text
//! sockets --batch--> Endpoint --events--> Echoes --send--> Endpoint --transmits--> sockets
//!                       ^
//! HTTP threads --Command+
//! ```

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::{Events, Poll, Token, Waker};
use sansrtc::crypto::cert::Identity;
use sansrtc::rng::{Rng, Stream};
use sansrtc::{
    Answer, Candidate, ChannelConfig, Clock, ConnectionState, Datagram, Endpoint, EndpointOutput, Event,
    Input, Key, Offer, Rtc, RtcConfig, RtcMut, StreamId, Transmit,
};
use serde::Serialize;

use crate::http::{Description, Refusal};
use crate::session::Echoes;
use crate::udp::{Inbox, Udp};

/// Connections at once; more are refused with 503.
const MAX_SESSIONS: usize = 10_000;
/// Channels agreed by id in one request.
const MAX_NEGOTIATED: usize = 256;
/// How long a session may take to connect: its peer may never answer, or never send.
const PATIENCE: Duration = Duration::from_secs(60);
/// The token of the waker; sockets have their index.
const WAKE: Token = Token(usize::MAX);

/// What the HTTP threads ask for. Each question carries the way back for its answer.
pub(crate) enum Command {
    /// An offer of the peer, for a new session or a known one.
    Offer { session: Option<String>, offer: Description, reply: SyncSender<Result<Description, Refusal>> },
    /// The peer wants an offer of ours.
    Connect { negotiated: Vec<u16>, reply: SyncSender<Result<Description, Refusal>> },
    /// The peer's answer to it.
    Answer { session: String, answer: Description, reply: SyncSender<Result<(), Refusal>> },
    /// The peer is done.
    Close { session: String, reply: SyncSender<Result<(), Refusal>> },
    /// Figures.
    Stats { reply: SyncSender<Stats> },
    /// Close everything and end.
    Stop,
}

/// The answer to `GET /stats`.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Stats {
    sessions: usize,
    channels: usize,
}

/// How other threads reach the media thread.
#[derive(Clone)]
pub(crate) struct Handle {
    commands: Sender<Command>,
    waker: Arc<Waker>,
}

impl Handle {
    /// Queues a command. When the media thread has ended, the command and its way back are dropped.
    pub(crate) fn tell(&self, command: Command) {
        let _ = self.commands.send(command);
        let _ = self.waker.wake();
    }
}

/// One peer.
struct Session {
    name: String,
    channels: usize,
    echoes: Echoes,
}

/// The thread's state.
pub(crate) struct Media {
    poll: Poll,
    sockets: Vec<Udp>,
    inbox: Inbox,
    commands: Receiver<Command>,
    endpoint: Endpoint,
    sessions: HashMap<Key, Session>,
    keys: HashMap<String, Key>,
    /// New sessions, and by when they must be connected, oldest first.
    pending: VecDeque<(Instant, Key)>,
    config: RtcConfig,
    public_ip: Option<IpAddr>,
}

impl Media {
    /// Binds one socket on each address.
    pub(crate) fn bind(
        addresses: &[IpAddr],
        port: u16,
        public_ip: Option<IpAddr>,
    ) -> io::Result<(Self, Handle)> {
        let poll = Poll::new()?;
        let mut sockets = Vec::new();
        for (index, &ip) in addresses.iter().enumerate() {
            let named = |error: io::Error| {
                io::Error::new(error.kind(), format!("cannot use {ip} port {port}: {error}"))
            };
            let mut udp = Udp::bind(ip, port).map_err(named)?;
            udp.register(poll.registry(), Token(index))?;
            sockets.push(udp);
        }
        if sockets.is_empty() {
            return Err(io::Error::other("this machine has no address to use: name one with --bind"));
        }
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let (sender, commands) = channel();
        let mut config = RtcConfig::default();
        // One certificate for all: making one costs a key generation.
        let mut rng = Rng::new(rand::random(), Stream::Certificate);
        config.identity =
            Some(Arc::new(Identity::generate(config.crypto, &mut rng).map_err(io::Error::other)?));
        config.max_segments =
            sockets.iter().map(Udp::max_segments).min().unwrap_or(1).min(65_507 / config.datagram_size);
        let media = Media {
            poll,
            sockets,
            inbox: Inbox::new(),
            commands,
            endpoint: Endpoint::new(rand::random()),
            sessions: HashMap::new(),
            keys: HashMap::new(),
            pending: VecDeque::new(),
            config,
            public_ip,
        };
        Ok((media, Handle { commands: sender, waker }))
    }

    /// The addresses of the sockets.
    pub(crate) fn locals(&self) -> impl Iterator<Item = SocketAddr> {
        self.sockets.iter().map(Udp::local)
    }

    /// Runs until [`Command::Stop`], or until the system refuses to go on.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(64);
        // Readiness is told once: a socket stays on this list until it has been read empty.
        let mut readable: Vec<usize> = (0..self.sockets.len()).collect();
        loop {
            let wake = self.drain();
            let wait = match wake {
                _ if !readable.is_empty() => Some(Duration::ZERO),
                wake => wake.map(|at| at.saturating_duration_since(Instant::now())),
            };
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in events.iter().filter(|event| event.token() != WAKE) {
                let Token(index) = event.token();
                if event.is_writable() {
                    self.sockets[index].flush();
                }
                if event.is_readable() && !readable.contains(&index) {
                    readable.push(index);
                }
            }
            // Commands act at the time of the last input.
            self.endpoint.handle_input(Instant::now(), Input::Timeout);
            self.expire();
            while let Ok(command) = self.commands.try_recv() {
                if let Command::Stop = command {
                    self.stop();
                    return Ok(());
                }
                self.command(command);
            }
            for index in std::mem::take(&mut readable) {
                if self.receive(index)? {
                    readable.push(index);
                }
            }
        }
    }

    /// Takes one batch from a socket to the endpoint. Says whether there may be more.
    fn receive(&mut self, index: usize) -> io::Result<bool> {
        let now = Instant::now();
        let endpoint = &mut self.endpoint;
        self.inbox.receive(&self.sockets[index], |datagram: Datagram| {
            // What belongs to nobody is not answered.
            let _ = endpoint.handle_input(now, Input::Datagram(datagram));
        })
    }

    /// Takes everything that the connections have to give. When to come back.
    fn drain(&mut self) -> Option<Instant> {
        loop {
            match self.endpoint.poll_output() {
                EndpointOutput::Transmit(_, transmit) => self.send(transmit),
                EndpointOutput::Event(key, event) => self.event(key, event),
                // No TCP or TLS candidates are added, so no streams are asked for.
                EndpointOutput::Stream(..) => {}
                EndpointOutput::Timeout(at) => {
                    let expiry = self.pending.front().map(|&(at, _)| at);
                    return at.into_iter().chain(expiry).min();
                }
            }
        }
    }

    fn send(&mut self, transmit: Transmit) {
        // A handful of sockets: looking through them beats hashing.
        if let Some(udp) = self.sockets.iter_mut().find(|udp| udp.local() == transmit.source) {
            udp.send(transmit);
        }
    }

    fn event(&mut self, key: Key, event: Event) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if let Event::Closed(reason) = event {
            tracing::info!(session = %session.name, %reason, "closed");
            self.forget(key);
            return;
        }
        let Some(mut rtc) = self.endpoint.get_mut(key) else { return };
        match event {
            Event::ChannelOpen(channel) => {
                session.channels += 1;
                session.echoes.on_open(&mut rtc, channel);
            }
            Event::ChannelClosed(channel) => {
                session.channels -= 1;
                session.echoes.on_closed(&mut rtc, channel);
            }
            Event::Message { channel, kind, data } => {
                session.echoes.on_message(&mut rtc, channel, kind, data)
            }
            Event::BufferedAmountLow(_) => session.echoes.on_room(&mut rtc),
            other => tracing::info!(session = %session.name, event = ?other),
        }
    }

    // --- Commands ----------------------------------------------------------------------------------

    fn command(&mut self, command: Command) {
        // Whoever asked may have gone: then nobody misses the answer.
        match command {
            Command::Offer { session, offer, reply } => {
                let _ = reply.send(self.offer(session.as_deref(), &offer));
            }
            Command::Connect { negotiated, reply } => {
                let _ = reply.send(self.connect(&negotiated));
            }
            Command::Answer { session, answer, reply } => {
                let _ = reply.send(self.answer(&session, &answer));
            }
            Command::Close { session, reply } => {
                let _ = reply.send(self.key(&session).map(|key| self.close(key)));
            }
            Command::Stats { reply } => {
                let channels = self.sessions.values().map(|session| session.channels).sum();
                let _ = reply.send(Stats { sessions: self.sessions.len(), channels });
            }
            Command::Stop => {}
        }
    }

    /// Answers an offer: with a new connection, or on the one that it is for.
    fn offer(&mut self, session: Option<&str>, offer: &Description) -> Result<Description, Refusal> {
        let known = session.map(|name| self.key(name)).transpose()?;
        let sdp: Offer = offer.sdp.parse().map_err(bad_request)?;
        let (answer, key) = match known {
            Some(key) => (self.connection(key).accept_offer(&sdp).map_err(bad_request)?, key),
            None => {
                let mut rtc = self.rtc()?;
                let answer = rtc.accept_offer(&sdp).map_err(bad_request)?;
                if rtc.state() == ConnectionState::New {
                    return Err(Refusal::new(
                        400,
                        "nothing in the offer can be connected: data channels are missing",
                    ));
                }
                (answer, self.admit(rtc))
            }
        };
        let negotiated = self.agree(key, &offer.negotiated);
        Ok(self.describe(key, "answer", answer.to_string(), negotiated))
    }

    /// Offers, with a channel of our own.
    fn connect(&mut self, negotiated: &[u16]) -> Result<Description, Refusal> {
        let mut rtc = self.rtc()?;
        rtc.open_channel(ChannelConfig::labelled("server")).map_err(broken)?;
        let offer = rtc.create_offer().map_err(broken)?;
        let key = self.admit(rtc);
        let negotiated = self.agree(key, negotiated);
        Ok(self.describe(key, "offer", offer.to_string(), negotiated))
    }

    fn answer(&mut self, session: &str, answer: &Description) -> Result<(), Refusal> {
        let key = self.key(session)?;
        let sdp: Answer = answer.sdp.parse().map_err(bad_request)?;
        self.connection(key).accept_answer(&sdp).map_err(bad_request)
    }

    /// Opens the channels that were agreed by id, and says which of them are open.
    fn agree(&mut self, key: Key, ids: &[u16]) -> Vec<u16> {
        let mut rtc = self.connection(key);
        // A later request names the earlier ids again.
        let infos = rtc.channels().into_iter().filter_map(|channel| rtc.channel(channel));
        let mut there: BTreeSet<StreamId> = infos.filter_map(|info| info.config.negotiated).collect();
        let mut agreed = Vec::new();
        for &id in ids.iter().take(MAX_NEGOTIATED) {
            let stream = StreamId(id);
            let config = ChannelConfig { negotiated: Some(stream), ..ChannelConfig::labelled("agreed") };
            if there.contains(&stream) || rtc.open_channel(config).is_ok() {
                there.insert(stream);
                agreed.push(id);
            }
        }
        agreed
    }

    fn describe(&self, key: Key, kind: &str, sdp: String, negotiated: Vec<u16>) -> Description {
        let session = self.sessions.get(&key).map(|session| session.name.clone());
        Description { kind: kind.into(), sdp, session, negotiated }
    }

    /// The connection of a key that `keys` or `admit` has just given.
    fn connection(&mut self, key: Key) -> RtcMut<'_> {
        self.endpoint.get_mut(key).expect("a session and its connection come and go together")
    }

    /// A connection with our addresses.
    fn rtc(&self) -> Result<Rtc, Refusal> {
        if self.sessions.len() >= MAX_SESSIONS {
            return Err(Refusal::new(503, format_args!("all {MAX_SESSIONS} sessions are taken")));
        }
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let clock = Clock { instant: Instant::now(), unix };
        let mut rtc = Rtc::new(self.config.clone(), rand::random(), clock).map_err(broken)?;
        for local in self.locals() {
            rtc.add_local_candidate(Candidate::host(local).map_err(broken)?).map_err(broken)?;
            if let Some(ip) = self.public_ip.filter(|ip| ip.is_ipv4() == local.is_ipv4()) {
                // A 1:1 NAT keeps the port; what is sent still leaves from the base.
                let outside = SocketAddr::new(ip, local.port());
                let candidate = Candidate::server_reflexive(outside, local, outside.ip()).map_err(broken)?;
                rtc.add_local_candidate(candidate).map_err(broken)?;
            }
        }
        Ok(rtc)
    }

    /// Takes a connection in, under a name that nobody can guess.
    fn admit(&mut self, rtc: Rtc) -> Key {
        let name = format!("{:032x}", rand::random::<u128>());
        let key = self.endpoint.insert(rtc);
        let session = Session { name: name.clone(), channels: 0, echoes: Echoes::default() };
        self.sessions.insert(key, session);
        self.pending.push_back((Instant::now() + PATIENCE, key));
        self.keys.insert(name, key);
        key
    }

    fn key(&self, session: &str) -> Result<Key, Refusal> {
        self.keys
            .get(session)
            .copied()
            .ok_or_else(|| Refusal::new(404, "there is no such session; it may have ended"))
    }

    // --- Endings -----------------------------------------------------------------------------------

    /// Says goodbye to a peer; its connection goes when it reports that it is closed.
    fn close(&mut self, key: Key) {
        if let Some(mut rtc) = self.endpoint.get_mut(key) {
            rtc.close();
        }
    }

    fn forget(&mut self, key: Key) {
        if let Some(session) = self.sessions.remove(&key) {
            self.keys.remove(&session.name);
        }
        self.endpoint.remove(key);
    }

    /// Ends sessions that did not connect in time.
    fn expire(&mut self) {
        let now = Instant::now();
        while let Some(&(at, key)) = self.pending.front()
            && at <= now
        {
            self.pending.pop_front();
            let state = self.endpoint.get(key).map(|rtc| rtc.state());
            if matches!(state, Some(ConnectionState::New | ConnectionState::Connecting)) {
                self.close(key);
            }
        }
    }

    fn stop(&mut self) {
        let keys: Vec<Key> = self.sessions.keys().copied().collect();
        for key in keys {
            self.close(key);
        }
        self.drain();
        let dropped: u64 = self.sockets.iter().map(Udp::dropped).sum();
        tracing::info!(dropped, "stopped; these transmits found their socket's queue full");
    }
}

/// The peer's mistake, in the words of the library.
fn bad_request(error: impl Display) -> Refusal {
    Refusal::new(400, error)
}

/// Ours.
fn broken(error: impl Display) -> Refusal {
    Refusal::new(500, error)
}
