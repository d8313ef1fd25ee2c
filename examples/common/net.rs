//! The media thread: it owns the sockets and, through one [`Endpoint`], every connection. What an example does with
//! its connections is its [`App`].
//!
//! ```text
//! sockets --batch--> Endpoint --events--> App --calls--> Endpoint --transmits--> sockets
//!                                          ^
//! other threads --commands over a queue----+
//! ```

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::{Events, Poll, Token, Waker};
use sansrtc::crypto::cert::Identity;
use sansrtc::rng::{Rng, Stream};
use sansrtc::{
    Candidate, Clock, ConnectionState, Datagram, Endpoint, EndpointOutput, Event, GatheringState, Input, Key,
    Rtc, RtcConfig, RtcMut, Transmit,
};

use sansrtc::types::candidate::TcpType;

use super::args::NetArgs;
use super::ice::needs_own_sockets;
use super::streams::{self, Streams};
use super::udp::{self, Inbox, Udp};

/// How long a connection may take to be made: its peer may never answer, or never send.
const PATIENCE: Duration = Duration::from_secs(60);
/// As many multicast sockets as the library takes.
const MAX_MULTICAST: usize = 16;
/// The token of the waker; sockets have their index.
const WAKE: Token = Token(usize::MAX);

/// What an example does with its connections. All of it runs on the media thread.
pub(crate) trait App {
    /// What other threads ask for. A question carries the way back for its answer: see [`Handle::ask`].
    type Command: Send + 'static;

    /// A connection has something to tell. After [`Event::Closed`] it is gone.
    fn on_event(&mut self, net: &mut Net, key: Key, event: Event);

    /// Another thread asks for something.
    fn on_command(&mut self, net: &mut Net, command: Self::Command);

    /// When [`App::on_time`] has something to do.
    fn next_timeout(&self) -> Option<Instant> {
        None
    }

    /// Called again and again, at the latest when [`App::next_timeout`] says so.
    fn on_time(&mut self, _net: &mut Net, _now: Instant) {}

    /// The program ends: every connection is about to be closed.
    fn on_stop(&mut self, _net: &mut Net) {}
}

enum Wish<C> {
    Command(C),
    Stop,
}

/// How other threads reach the media thread.
pub(crate) struct Handle<C> {
    wishes: Sender<Wish<C>>,
    waker: Arc<Waker>,
}

impl<C> Clone for Handle<C> {
    fn clone(&self) -> Self {
        Handle { wishes: self.wishes.clone(), waker: Arc::clone(&self.waker) }
    }
}

impl<C> Handle<C> {
    /// Queues a command. When the media thread has ended, the command and its way back are dropped.
    pub(crate) fn tell(&self, command: C) {
        self.wish(Wish::Command(command));
    }

    /// Puts a question and waits for its answer; `None` when the media thread has ended.
    pub(crate) fn ask<T>(&self, question: impl FnOnce(SyncSender<T>) -> C) -> Option<T> {
        let (reply, answer) = sync_channel(1);
        self.tell(question(reply));
        answer.recv().ok()
    }

    /// Closes everything and ends the media thread.
    pub(crate) fn stop(&self) {
        self.wish(Wish::Stop);
    }

    fn wish(&self, wish: Wish<C>) {
        let _ = self.wishes.send(wish);
        let _ = self.waker.wake();
    }
}

/// The sockets and the connections.
pub(crate) struct Net {
    /// The connections.
    pub(crate) endpoint: Endpoint,
    /// What new ones are made with.
    pub(crate) config: RtcConfig,
    poll: Poll,
    /// Shared ones first; those that a connection has for itself come and go behind them.
    sockets: Vec<Option<Udp>>,
    /// How many are shared.
    shared: usize,
    /// Whose the others are.
    own: Vec<(Key, usize)>,
    streams: Streams,
    inbox: Inbox,
    /// New connections, and by when they must be connected, oldest first.
    pending: VecDeque<(Instant, Key)>,
    public_ip: Option<IpAddr>,
}

/// The queue of commands; [`Net::run`] takes from it.
pub(crate) struct Commands<C>(Receiver<Wish<C>>);

impl Net {
    /// Binds one socket on each address, and makes the one certificate.
    pub(crate) fn bind<C>(args: &NetArgs) -> io::Result<(Self, Handle<C>, Commands<C>)> {
        let poll = Poll::new()?;
        let mut sockets = Vec::new();
        for (index, ip) in udp::addresses(&args.bind)?.into_iter().enumerate() {
            let named = |error: io::Error| {
                io::Error::new(error.kind(), format!("cannot use {ip} port {}: {error}", args.udp))
            };
            let mut udp = Udp::bind(ip, args.udp).map_err(named)?;
            udp.register(poll.registry(), Token(index))?;
            sockets.push(udp);
        }
        if sockets.is_empty() {
            return Err(io::Error::other("this machine has no address to use: name one with --bind"));
        }
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let (wishes, commands) = channel();
        let mut config = config(&sockets)?;
        let shared = sockets.len();
        let names = multicast(&sockets);
        for (index, mut udp) in names.into_iter().enumerate() {
            udp.register(poll.registry(), Token(shared + index))?;
            config.mdns.sockets.push(udp.local());
            sockets.push(udp);
        }
        args.ice.apply(&mut config).map_err(as_io)?;
        let tls = args.ice.tls().map_err(as_io)?;
        let streams = Streams::bind(&args.ice.tcp, tls, poll.registry()).map_err(as_io)?;
        let net = Net {
            endpoint: Endpoint::new(rand::random()),
            config,
            poll,
            shared,
            sockets: sockets.into_iter().map(Some).collect(),
            own: Vec::new(),
            streams,
            inbox: Inbox::new(),
            pending: VecDeque::new(),
            public_ip: args.public_ip,
        };
        Ok((net, Handle { wishes, waker }, Commands(commands)))
    }

    /// The addresses of the sockets.
    pub(crate) fn locals(&self) -> impl Iterator<Item = SocketAddr> {
        self.sockets.iter().take(self.shared).flatten().map(Udp::local)
    }

    /// The addresses that listen for ICE over TCP.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = SocketAddr> {
        self.streams.listeners()
    }

    // --- Connections -------------------------------------------------------------------------------

    /// Makes a connection with our addresses. It counts when it is [admitted](Net::admit).
    ///
    /// With a TURN server over UDP it gets its sockets when it is admitted: they cannot be shared.
    pub(crate) fn rtc(&self) -> Result<Rtc, Box<dyn Error>> {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let clock = Clock { instant: Instant::now(), unix };
        let mut rtc = Rtc::new(self.config.clone(), rand::random(), clock)?;
        for listener in self.listeners() {
            rtc.add_local_candidate(Candidate::host_tcp(listener, TcpType::Passive)?)?;
        }
        if needs_own_sockets(&self.config) {
            return Ok(rtc);
        }
        for local in self.locals() {
            rtc.add_local_candidate(Candidate::host(local)?)?;
            if let Some(ip) = self.public_ip.filter(|ip| ip.is_ipv4() == local.is_ipv4()) {
                // A 1:1 NAT keeps the port; what is sent still leaves from the base.
                let outside = SocketAddr::new(ip, local.port());
                rtc.add_local_candidate(Candidate::server_reflexive(outside, local, outside.ip())?)?;
            }
        }
        Ok(rtc)
    }

    /// Takes a connection in. One that is not made in time is closed.
    pub(crate) fn admit(&mut self, rtc: Rtc) -> Key {
        let key = self.endpoint.insert(rtc);
        self.pending.push_back((Instant::now() + PATIENCE, key));
        if needs_own_sockets(&self.config)
            && let Err(error) = self.give_sockets(key)
        {
            tracing::warn!(%error, "no sockets for a connection");
        }
        if let Some(mut rtc) = self.endpoint.get_mut(key) {
            rtc.end_of_local_candidates();
        }
        key
    }

    /// Binds sockets for one connection alone.
    fn give_sockets(&mut self, key: Key) -> Result<(), Box<dyn Error>> {
        let ips: Vec<IpAddr> = self.locals().map(|local| local.ip()).collect();
        for ip in ips {
            let mut udp = Udp::bind(ip, 0)?;
            let free = self.sockets.iter().position(Option::is_none);
            let index = free.unwrap_or(self.sockets.len());
            udp.register(self.poll.registry(), Token(index))?;
            let local = udp.local();
            match free {
                Some(index) => self.sockets[index] = Some(udp),
                None => self.sockets.push(Some(udp)),
            }
            self.own.push((key, index));
            if let Some(mut rtc) = self.endpoint.get_mut(key) {
                rtc.add_local_candidate(Candidate::host(local)?)?;
            }
        }
        Ok(())
    }

    /// A connection has ended; what it had for itself goes with it.
    fn remove(&mut self, key: Key) {
        self.endpoint.remove(key);
        self.streams.forget(key);
        let sockets = &mut self.sockets;
        self.own.retain(|(owner, index)| {
            if *owner == key {
                sockets[*index] = None;
            }
            *owner != key
        });
    }

    /// Whether a connection has gathered all its candidates.
    pub(crate) fn has_gathered(&self, key: Key) -> bool {
        self.endpoint.get(key).is_none_or(|rtc| rtc.gathering_state() == GatheringState::Complete)
    }

    /// A connection, to be used; `None` when it has ended.
    pub(crate) fn connection(&mut self, key: Key) -> Option<RtcMut<'_>> {
        self.endpoint.get_mut(key)
    }

    /// Says goodbye to a peer; the connection goes when it reports that it is closed.
    pub(crate) fn close(&mut self, key: Key) {
        if let Some(mut rtc) = self.endpoint.get_mut(key) {
            rtc.close();
        }
    }

    /// Closes connections that were not made in time.
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

    // --- The loop ----------------------------------------------------------------------------------

    /// Runs until [`Handle::stop`], or until the system refuses to go on.
    pub(crate) fn run<A: App>(mut self, app: &mut A, commands: &Commands<A::Command>) -> io::Result<()> {
        let mut events = Events::with_capacity(64);
        // Readiness is told once: a socket stays on this list until it has been read empty.
        let mut readable: Vec<usize> = (0..self.sockets.len()).collect();
        loop {
            let wake = self.drain(app);
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
                if index >= streams::STREAM {
                    self.streams.on_ready(&mut self.endpoint, self.poll.registry(), event);
                    continue;
                }
                if event.is_writable()
                    && let Some(Some(udp)) = self.sockets.get_mut(index)
                {
                    udp.flush();
                }
                if event.is_readable() && !readable.contains(&index) {
                    readable.push(index);
                }
            }
            // Commands act at the time of the last input.
            let now = Instant::now();
            self.endpoint.handle_input(now, Input::Timeout);
            self.expire();
            self.streams.expire(now);
            app.on_time(&mut self, now);
            while let Ok(wish) = commands.0.try_recv() {
                match wish {
                    Wish::Command(command) => app.on_command(&mut self, command),
                    Wish::Stop => {
                        self.stop(app);
                        return Ok(());
                    }
                }
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
        let Some(Some(udp)) = self.sockets.get(index) else { return Ok(false) };
        self.inbox.receive(udp, |datagram: Datagram| {
            // What belongs to nobody is not answered.
            let _ = endpoint.handle_input(now, Input::Datagram(datagram));
        })
    }

    /// Takes everything that the connections have to give. When to come back.
    fn drain(&mut self, app: &mut impl App) -> Option<Instant> {
        loop {
            match self.endpoint.poll_output() {
                EndpointOutput::Transmit(_, transmit) => self.send(transmit),
                EndpointOutput::Event(key, event) => {
                    let is_last = matches!(event, Event::Closed(_));
                    app.on_event(self, key, event);
                    if is_last {
                        self.remove(key);
                    }
                }
                EndpointOutput::Stream(key, wish) => {
                    self.streams.command(&mut self.endpoint, self.poll.registry(), key, wish);
                }
                EndpointOutput::Timeout(at) => {
                    let expiry = self.pending.front().map(|&(at, _)| at);
                    return [at, expiry, self.streams.next_timeout(), app.next_timeout()]
                        .into_iter()
                        .flatten()
                        .min();
                }
            }
        }
    }

    fn send(&mut self, transmit: Transmit) {
        let (source, protocol) = (transmit.source, transmit.protocol);
        let is_its = |udp: &&mut Udp| udp.local() == source && udp.protocol() == protocol;
        // A handful of sockets: looking through them beats hashing.
        if let Some(udp) = self.sockets.iter_mut().flatten().find(is_its) {
            udp.send(transmit);
        }
    }

    fn stop(&mut self, app: &mut impl App) {
        app.on_stop(self);
        let keys: Vec<Key> = self.endpoint.keys().collect();
        for key in keys {
            self.close(key);
        }
        self.drain(app);
        let dropped: u64 = self.sockets.iter().flatten().map(Udp::dropped).sum();
        tracing::info!(dropped, "stopped; these transmits found their socket's queue full");
    }
}

fn as_io(error: Box<dyn Error>) -> io::Error {
    io::Error::other(error.to_string())
}

/// Browsers that shall not tell their addresses tell names, which are resolved by multicast. Where that is not to be
/// had, such candidates are of no use, and the others have to do.
fn multicast(sockets: &[Udp]) -> Vec<Udp> {
    let mut found = Vec::new();
    for local in sockets.iter().map(Udp::local) {
        let IpAddr::V4(ip) = local.ip() else { continue };
        match Udp::multicast(ip) {
            Ok(udp) => found.push(udp),
            Err(error) => tracing::info!(%ip, %error, "no names are resolved"),
        }
        if found.len() == MAX_MULTICAST {
            break;
        }
    }
    found
}

/// What all connections are made with: one certificate for all, since making one costs a key generation.
fn config(sockets: &[Udp]) -> io::Result<RtcConfig> {
    let mut config = RtcConfig::default();
    let mut rng = Rng::new(rand::random(), Stream::Certificate);
    config.identity = Some(Arc::new(Identity::generate(config.crypto, &mut rng).map_err(io::Error::other)?));
    config.max_segments =
        sockets.iter().map(Udp::max_segments).min().unwrap_or(1).min(65_507 / config.datagram_size);
    Ok(config)
}
