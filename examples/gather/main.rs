//! What a connection on this machine would gather: the candidates that STUN and TURN servers yield, and how the NAT
//! before it behaves.
//!
//! ```text
//! cargo run --release --example gather -- --stun 198.51.100.1:3478 --turn turn:198.51.100.1:3478 --turn-user alice --turn-pass secret
//! ```
//!
//! The candidates come from an `Rtc` that never meets a peer; its TCP and TLS streams are in `stream.rs`. The NAT is
//! asked about by `sansrtc::stun::behavior`, on a socket of its own (`nat.rs`).

// An example is the caller that the library asks for: it owns the clock, the threads and the sockets.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod nat;
mod stream;
#[allow(dead_code)] // Shared with the other examples; only the list of addresses is used here.
#[path = "../common/udp.rs"]
mod udp;

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use clap::Parser;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use sansrtc::session::gather::{GatheringState, IceServer};
use sansrtc::{
    Candidate, Clock, Datagram, Event, Input, Output, Rtc, RtcConfig, StreamInput, StreamKey, StreamOutput,
};

use crate::stream::{Stream, Trust};

/// Prints the ICE candidates that servers yield, and what the NAT is.
#[derive(Debug, Parser)]
struct Args {
    /// A STUN server. Repeatable. A server with two addresses (RFC 5780) can tell what the NAT is.
    #[arg(long, value_name = "HOST:PORT")]
    stun: Vec<String>,
    /// A TURN server: turn:HOST:PORT, turns:HOST:PORT, with ?transport=udp or tcp. Repeatable.
    #[arg(long, value_name = "URL")]
    turn: Vec<String>,
    /// The user of the TURN servers.
    #[arg(long, value_name = "NAME", default_value = "")]
    turn_user: String,
    /// Its password.
    #[arg(long, value_name = "TEXT", default_value = "")]
    turn_pass: String,
    /// Certificates of authorities to trust for turns:, as PEM. Without it nobody's certificate is good.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A local address to use. Repeatable. Without it: all of this machine, loopback only when there is nothing else.
    #[arg(long, value_name = "IP")]
    bind: Vec<IpAddr>,
    /// Seconds after which what has not come is not waited for.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u64,
    /// Do not ask what the NAT is.
    #[arg(long)]
    no_nat: bool,
    /// Log what happens. RUST_LOG chooses in detail.
    #[arg(long)]
    verbose: bool,
}

fn main() {
    let args = Args::parse();
    if let Err(error) = run(&args) {
        eprintln!("gather: {error}");
        std::process::exit(1);
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    log(args.verbose);
    let addresses = udp::addresses(&args.bind)?;
    let failed = Gathering::new(args, &addresses)?.run(Duration::from_secs(args.timeout))?;
    if !args.no_nat {
        for text in &args.stun {
            let servers = resolve(text)?;
            for &ip in &addresses {
                if let Some(&server) = servers.iter().find(|server| server.is_ipv4() == ip.is_ipv4()) {
                    println!("{}", nat::describe(ip, server)?);
                }
            }
        }
    }
    if failed { Err("a server yielded nothing".into()) } else { Ok(()) }
}

/// A connection that gathers, and its sockets.
struct Gathering {
    rtc: Rtc,
    poll: Poll,
    sockets: Vec<(UdpSocket, SocketAddr)>,
    streams: BTreeMap<StreamKey, Stream>,
    trust: Trust,
    has_failed: bool,
}

impl Gathering {
    fn new(args: &Args, addresses: &[IpAddr]) -> Result<Self, Box<dyn Error>> {
        let clock = Clock { instant: Instant::now(), unix: SystemTime::now().duration_since(UNIX_EPOCH)? };
        let config = RtcConfig { ice_servers: servers(args)?, ..RtcConfig::default() };
        let mut rtc = Rtc::new(config, rand::random(), clock)?;
        let poll = Poll::new()?;
        let mut sockets = Vec::new();
        for (index, &ip) in addresses.iter().enumerate() {
            let mut socket = UdpSocket::bind(SocketAddr::new(ip, 0))?;
            poll.registry().register(&mut socket, Token(index), Interest::READABLE)?;
            let local = socket.local_addr()?;
            let candidate = Candidate::host(local)?;
            println!("{candidate}");
            rtc.add_local_candidate(candidate)?;
            sockets.push((socket, local));
        }
        rtc.end_of_local_candidates();
        let trust = Trust::new(args.ca.as_deref())?;
        Ok(Gathering { rtc, poll, sockets, streams: BTreeMap::new(), trust, has_failed: false })
    }

    /// Gathers until all is there; whether a server failed.
    fn run(mut self, limit: Duration) -> Result<bool, Box<dyn Error>> {
        let end = Instant::now() + limit;
        let mut events = Events::with_capacity(64);
        loop {
            let wake = self.drain()?.unwrap_or(end).min(end);
            if self.rtc.gathering_state() == GatheringState::Complete {
                break;
            }
            if Instant::now() >= end {
                println!("not all of it came within {} s", limit.as_secs());
                self.has_failed = true;
                break;
            }
            match self.poll.poll(&mut events, Some(wake.saturating_duration_since(Instant::now()))) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
                _ => {}
            }
            self.receive();
            self.rtc.handle_input(Instant::now(), Input::Timeout);
        }
        // The allocations are given back.
        self.rtc.close();
        self.drain()?;
        Ok(self.has_failed)
    }

    /// Does what the connection asks for; when it wants to be woken.
    fn drain(&mut self) -> io::Result<Option<Instant>> {
        loop {
            match self.rtc.poll_output() {
                Output::Transmit(transmit) => {
                    let socket = self.sockets.iter().find(|(_, local)| *local == transmit.source);
                    // What cannot be sent is lost, as on any network.
                    let sent =
                        socket.map(|(socket, _)| socket.send_to(&transmit.contents, transmit.destination));
                    tracing::debug!(to = %transmit.destination, ?sent, "sent");
                }
                Output::Stream(command) => self.command(command),
                Output::Event(event) => self.tell(event),
                Output::Timeout(at) => return Ok(at),
            }
        }
    }

    fn tell(&mut self, event: Event) {
        match event {
            Event::LocalCandidate(candidate) => println!("{candidate}"),
            Event::IceServerFailed(failure) => {
                self.has_failed = true;
                let from = failure.local.map(|local| format!(" (from {local})")).unwrap_or_default();
                println!("{}{from}: {}", failure.url, failure.reason);
            }
            _ => {}
        }
    }

    fn command(&mut self, command: StreamOutput) {
        match command {
            StreamOutput::Open { key, protocol, remote, server_name, .. } => {
                let opened = Stream::open(&self.poll, key, protocol, remote, server_name, &self.trust);
                match opened {
                    Ok(stream) => drop(self.streams.insert(key, stream)),
                    Err(error) => {
                        tracing::info!(%error, %remote, "no stream");
                        self.close(key);
                    }
                }
            }
            StreamOutput::Write { key, contents } => {
                if self.streams.get_mut(&key).is_some_and(|stream| stream.write(&contents).is_err()) {
                    self.close(key);
                }
            }
            StreamOutput::Close { key } => drop(self.streams.remove(&key)),
            other => tracing::warn!(?other, "not understood"),
        }
    }

    fn close(&mut self, key: StreamKey) {
        self.streams.remove(&key);
        self.rtc.handle_input(Instant::now(), Input::Stream(StreamInput::Closed { key }));
    }

    fn receive(&mut self) {
        let mut buffer = [0; 65_536];
        for (socket, local) in &self.sockets {
            while let Ok((length, source)) = socket.recv_from(&mut buffer) {
                let datagram = Datagram::udp(source, *local, BytesMut::from(&buffer[..length]));
                self.rtc.handle_input(Instant::now(), Input::Datagram(datagram));
            }
        }
        let keys: Vec<StreamKey> = self.streams.keys().copied().collect();
        for key in keys {
            let Some(stream) = self.streams.get_mut(&key) else { continue };
            let result = stream.advance(&mut buffer);
            for input in stream.take_inputs(key) {
                self.rtc.handle_input(Instant::now(), Input::Stream(input));
            }
            if let Err(error) = result {
                tracing::info!(%error, "a stream ended");
                self.close(key);
            }
        }
    }
}

fn servers(args: &Args) -> Result<Vec<IceServer>, Box<dyn Error>> {
    let mut servers = Vec::new();
    for text in &args.stun {
        servers.push(IceServer::new(&format!("stun:{text}"))?.with_addresses(resolve(text)?));
    }
    for url in &args.turn {
        let server = IceServer::new(url)?;
        let addresses: Vec<_> = (server.url.host(), server.url.port()).to_socket_addrs()?.collect();
        servers.push(server.with_addresses(addresses).with_credentials(&*args.turn_user, &*args.turn_pass));
    }
    Ok(servers)
}

fn resolve(text: &str) -> Result<Vec<SocketAddr>, Box<dyn Error>> {
    Ok(text.to_socket_addrs().map_err(|error| format!("{text}: {error}"))?.collect())
}

fn log(verbose: bool) {
    use tracing_subscriber::EnvFilter;
    let default = if verbose { "debug" } else { "warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
