//! The client: one allocation on one server.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::{BufMut as _, BytesMut};

use super::channel;
use super::config::{Config, ConfigError, Credentials, Family};
use super::event::{Dropped, Event, Failure, Handled, PeerError, Relayed, Stats, WrapError};
use super::login::Login;
use super::peers::Peers;
use super::transaction::{Request, Transaction};
use crate::buffer::Pool;
use crate::packet::{Ecn, Protocol, Transmit};
use crate::rng::Rng;
use crate::stun::{Builder, Class, HEADER_LEN, Method, TransactionId};
use crate::time::{Timer, earliest};
use crate::wire::deframer::{Deframer, Framing, MAX_FRAME};

mod answers;
mod requests;

use requests::{ATTRIBUTE, emit_send_indication, indication_head, write_request};

/// Requests under way at one time.
const MAX_IN_FLIGHT: usize = 8;
/// Events that wait to be polled.
const MAX_EVENTS: usize = 512;
/// RFC 8656 §7.4: how long to leave a server alone that has no capacity.
const CAPACITY_WAIT: Duration = Duration::from_secs(60);
/// An allocation that lived so long was a good one.
const GOOD_LIFE: Duration = Duration::from_secs(60);

/// Bytes to leave around data before it is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overhead {
    /// In front: exactly these.
    pub head: usize,
    /// Behind: capacity for up to these.
    pub tail: usize,
}

impl Overhead {
    /// The most that any peer needs: a Send indication to an IPv6 peer.
    pub const MAX: Overhead = Overhead { head: HEADER_LEN + ATTRIBUTE + 20 + ATTRIBUTE, tail: 3 };
}

/// A TURN client.
///
/// # Contract
/// [`start`](Client::start) once. `handle_*` takes what comes, and time; then drain
/// [`poll_transmit`](Client::poll_transmit) and [`poll_event`](Client::poll_event), and ask
/// [`next_timeout`](Client::next_timeout). Over TCP and TLS the caller opens the stream when
/// [`Event::OpenStream`] asks for it, and feeds its bytes; what is polled and wrapped is then to be written to it.
/// A packet may come from the server before the caller saw its event.
///
/// Peers are [permitted](Client::permit) before data goes to them, and [bound](Client::bind) once a path through
/// the relay is in use; both are kept alive until forgotten.
#[derive(Debug)]
pub struct Client {
    config: Config,
    rng: Rng,
    /// What the numbers of transactions begin with.
    tag: Option<u32>,
    local: SocketAddr,
    /// Where the client was sent to, and from where: the last one is in use.
    servers: Vec<SocketAddr>,
    state: State,
    login: Option<Login>,
    /// Whose the login is, while another user's allocation is being given back.
    former: Option<Credentials>,
    peers: Peers,
    transactions: Vec<Transaction>,
    outbox: VecDeque<Outgoing>,
    events: VecDeque<Event>,
    deframer: Deframer,
    /// Allocations made again since the last good one.
    remakes: u32,
    /// There was an allocation once.
    had_allocation: bool,
    keepalive: Timer,
    /// Something was sent since the keepalive timer was armed.
    spoke: bool,
    stats: Stats,
    now: Option<Instant>,
}

/// ```text
/// Idle ─start─▶ Opening ─▶ Allocating ─▶ Allocated ─close─▶ Closing ─▶ Ended
///                  ▲            │             │ lost
///                  └── Waiting ◀┴─────────────┘
/// ```
#[derive(Debug)]
enum State {
    Idle,
    /// The stream is being connected.
    Opening,
    /// `cleared` once a leftover of a former life was removed (437).
    Allocating {
        cleared: bool,
    },
    Allocated(Allocation),
    /// Before another attempt.
    Waiting(Timer),
    /// The end was told to the server.
    Closing,
    Ended,
}

#[derive(Debug)]
struct Allocation {
    relayed: Relayed,
    since: Instant,
    refresh: Timer,
    expiry: Timer,
}

/// What is to be written when polled.
#[derive(Debug, PartialEq, Eq)]
enum Outgoing {
    Request(TransactionId),
    Keepalive,
}

impl Client {
    /// A client that will send from `local`.
    pub fn new(config: Config, local: SocketAddr, rng: Rng) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Client {
            servers: vec![config.server],
            peers: Peers::new(config.max_peers, config.max_channels),
            config,
            rng,
            tag: None,
            local,
            state: State::Idle,
            login: None,
            former: None,
            transactions: Vec::new(),
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            deframer: Deframer::new(Framing::Stun, MAX_FRAME),
            remakes: 0,
            had_allocation: false,
            keepalive: Timer::new(),
            spoke: false,
            stats: Stats::default(),
            now: None,
        })
    }

    // ----- commands -----

    /// Lets the number of every transaction begin with these four bytes (see [`TransactionId::tagged`]).
    pub fn set_transaction_tag(&mut self, tag: u32) {
        self.tag = Some(tag);
    }

    /// Asks for the allocation. Once; later calls do nothing.
    pub fn start(&mut self, now: Instant) {
        let now = self.advance(now);
        if matches!(self.state, State::Idle) {
            self.begin(now);
            self.settle(now);
        }
    }

    /// Lets an address through the relay: data to and from it passes once [`Event::Permitted`] said so. May be
    /// called before there is an allocation.
    pub fn permit(&mut self, now: Instant, peer: IpAddr) -> Result<(), PeerError> {
        let now = self.advance(now);
        self.check_peer(peer)?;
        let taken = self.peers.permit(now, peer);
        self.settle(now);
        if taken { Ok(()) } else { Err(PeerError::TooMany) }
    }

    /// Asks for a channel to a peer, and for its permission. Until it is there data goes through indications.
    pub fn bind(&mut self, now: Instant, peer: SocketAddr) -> Result<(), PeerError> {
        let now = self.advance(now);
        self.check_peer(peer.ip())?;
        let taken = self.peers.permit(now, peer.ip()) && self.peers.bind(now, peer);
        self.settle(now);
        if taken { Ok(()) } else { Err(PeerError::TooMany) }
    }

    /// Stops keeping an address permitted. Its data is dropped from now on.
    pub fn forget(&mut self, peer: IpAddr) {
        self.peers.forget(peer);
    }

    /// Takes other credentials, for instance when time-limited ones run out. They are used when the server asks
    /// anew; an allocation belongs to its user name (RFC 8656 §5), so a changed one makes it anew.
    pub fn change_credentials(&mut self, now: Instant, credentials: Credentials) -> Result<(), ConfigError> {
        let now = self.advance(now);
        let changed = Config { credentials, ..self.config.clone() };
        changed.validate()?;
        let same_user = changed.credentials.username == self.config.credentials.username;
        let former = std::mem::replace(&mut self.config, changed).credentials;
        if !same_user && matches!(self.state, State::Allocated(_) | State::Allocating { .. }) {
            self.on_other_user(now, former);
        } else if self.former.is_none() {
            self.login = None;
        }
        self.settle(now);
        Ok(())
    }

    /// What the former user has on this path is in the way of the new one (RFC 8656 §5), so it is given back first, by
    /// the former user; then all begins anew.
    fn on_other_user(&mut self, now: Instant, former: Credentials) {
        self.transactions.clear();
        self.outbox.clear();
        self.keepalive.cancel();
        self.peers.on_lost(now);
        if matches!(self.state, State::Allocated(_)) {
            self.stats.lost += 1;
            self.event(Event::Lost(Failure::Credentials));
        }
        self.state = State::Allocating { cleared: true };
        if self.login.is_some() {
            self.former.get_or_insert(former);
            self.request(now, Request::Delete { then_allocate: true }, 0);
        } else {
            self.begin(now);
        }
    }

    /// Gives the allocation back. [`Event::Closed`] follows, at the latest after three unanswered requests.
    pub fn close(&mut self, now: Instant) {
        let now = self.advance(now);
        if matches!(self.state, State::Closing | State::Ended) {
            return;
        }
        // An allocation that is being asked for may be there already.
        let may_exist = matches!(self.state, State::Allocated(_) | State::Allocating { .. });
        self.transactions.clear();
        self.peers.clear();
        if may_exist && self.login.is_some() {
            self.state = State::Closing;
            self.request(now, Request::Delete { then_allocate: false }, 0);
        } else {
            self.end(Event::Closed);
        }
    }

    // ----- input -----

    /// Takes a datagram. Data of a peer is cut out of it where it lies.
    pub fn handle_packet(&mut self, now: Instant, source: SocketAddr, packet: BytesMut) -> Handled {
        let now = self.advance(now);
        let handled = match source == self.server() && self.config.protocol == Protocol::Udp {
            true => self.handle_message(now, packet),
            false => Handled::Dropped(Dropped::Stranger),
        };
        self.count(handled)
    }

    /// The stream that was asked for is connected, from this local address.
    pub fn handle_stream_opened(&mut self, now: Instant, local: SocketAddr) {
        let now = self.advance(now);
        if matches!(self.state, State::Opening) {
            self.local = local;
            self.deframer = Deframer::new(Framing::Stun, MAX_FRAME);
            self.allocate(now);
        }
    }

    /// Takes bytes of the stream; then [`poll_stream_packet`](Client::poll_stream_packet) until `None`.
    pub fn handle_stream_bytes(&mut self, now: Instant, bytes: BytesMut) {
        self.advance(now);
        if matches!(self.state, State::Allocating { .. } | State::Allocated(_) | State::Closing) {
            self.deframer.push(bytes);
        }
    }

    /// What became of the next whole packet of the stream.
    pub fn poll_stream_packet(&mut self, now: Instant) -> Option<Handled> {
        let now = self.advance(now);
        match self.deframer.next_packet() {
            Ok(packet) => {
                let handled = self.handle_message(now, packet?);
                Some(self.count(handled))
            }
            Err(_) if matches!(self.state, State::Ended | State::Waiting(_) | State::Opening) => None,
            Err(malformed) => {
                tracing::debug!(%malformed, "the stream of a TURN server makes no sense");
                self.lose(now, Failure::Framing);
                None
            }
        }
    }

    /// The stream ended, or was refused.
    pub fn handle_stream_closed(&mut self, now: Instant) {
        let now = self.advance(now);
        match self.state {
            State::Closing => self.end(Event::Closed),
            State::Opening | State::Allocating { .. } | State::Allocated(_) => {
                self.lose(now, Failure::Stream)
            }
            State::Idle | State::Waiting(_) | State::Ended => {}
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.advance(now);
        self.run_transactions(now);
        match &mut self.state {
            State::Waiting(timer) => {
                if timer.expire(now) {
                    self.begin(now);
                }
            }
            State::Allocated(allocation) => {
                if allocation.expiry.expire(now) {
                    self.lose(now, Failure::Silent);
                } else if allocation.refresh.expire(now) {
                    self.request(now, Request::Refresh, 0);
                }
            }
            State::Idle | State::Opening | State::Allocating { .. } | State::Closing | State::Ended => {}
        }
        if self.keepalive.expire(now) && matches!(self.state, State::Allocated(_)) {
            if !std::mem::take(&mut self.spoke) && !self.outbox.contains(&Outgoing::Keepalive) {
                self.outbox.push_back(Outgoing::Keepalive);
            }
            self.keepalive.arm(now + self.config.keepalive);
        }
        self.peers.expire(now);
        self.settle(now);
    }

    // ----- output -----

    /// The next message to the server; over TCP and TLS, bytes for the stream.
    pub fn poll_transmit(&mut self, pool: &mut Pool) -> Option<Transmit> {
        while let Some(outgoing) = self.outbox.pop_front() {
            let contents = match outgoing {
                Outgoing::Request(id) => {
                    let Some(transaction) = self.transactions.iter().find(|t| t.id == id) else { continue };
                    let tail = pool.tail(transaction.message.len());
                    tail.extend_from_slice(&transaction.message);
                    self.stats.requests += 1;
                    tail.split()
                }
                Outgoing::Keepalive => {
                    let tail = pool.tail(HEADER_LEN);
                    let id = TransactionId::generate(&mut self.rng);
                    Builder::new(tail, Class::Indication, Method::BINDING, id).finish();
                    tail.split()
                }
            };
            self.spoke = true;
            return Some(Transmit {
                contents: contents.into(),
                destination: self.server(),
                source: self.local,
                protocol: self.config.protocol,
                ecn: Ecn::NotEct,
                segment_size: None,
            });
        }
        None
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Client::handle_timeout); `None` when nothing will ever be due.
    pub fn next_timeout(&self) -> Option<Instant> {
        let state = match &self.state {
            State::Idle | State::Ended => return None,
            State::Opening | State::Allocating { .. } | State::Closing => None,
            State::Waiting(timer) => timer.deadline(),
            State::Allocated(Allocation { relayed: _, since: _, refresh, expiry }) => {
                let peers = self.peers.next(self.transactions.len() < MAX_IN_FLIGHT);
                earliest([refresh.deadline(), expiry.deadline(), self.keepalive.deadline(), peers])
            }
        };
        earliest(self.transactions.iter().map(|t| t.timer.deadline()).chain([state]))
    }

    // ----- data -----

    /// What [`wrap`](Client::wrap) needs around data to a peer, as things stand.
    pub fn overhead(&self, peer: SocketAddr) -> Overhead {
        let tail = if self.config.protocol == Protocol::Udp { 0 } else { 3 };
        match self.peers.channel_to(peer) {
            Some(_) => Overhead { head: channel::HEADER_LEN, tail },
            None => Overhead { head: indication_head(peer), tail: 3 },
        }
    }

    /// Wraps data for a peer where it lies: `packet[start..]` is [`head`](Overhead::head) bytes of any value and
    /// then the data; afterwards it is what goes to [`server`](Client::server).
    pub fn wrap(&mut self, peer: SocketAddr, packet: &mut BytesMut, start: usize) -> Result<(), WrapError> {
        if !matches!(self.state, State::Allocated(_)) || !self.peers.is_permitted(peer.ip()) {
            return Err(WrapError::NotPermitted);
        }
        let head = self.overhead(peer).head;
        let length = packet.len().checked_sub(start + head).ok_or(WrapError::Size)?;
        let place = packet.get_mut(start..start + head).ok_or(WrapError::Size)?;
        let padding = channel::padding(length);
        match self.peers.channel_to(peer) {
            Some(number) => {
                let header = channel::header(number, length).ok_or(WrapError::Size)?;
                place.copy_from_slice(&header);
                if self.config.protocol != Protocol::Udp {
                    packet.put_bytes(0, padding);
                }
            }
            None => {
                let id = TransactionId(self.rng.array());
                emit_send_indication(place, id, peer, length).ok_or(WrapError::Size)?;
                packet.put_bytes(0, padding);
            }
        }
        self.spoke = true;
        self.stats.packets_sent += 1;
        self.stats.bytes_sent += length as u64;
        Ok(())
    }

    // ----- questions -----

    /// The server in use: another one than configured after a redirection.
    pub fn server(&self) -> SocketAddr {
        self.servers.last().copied().unwrap_or(self.config.server)
    }

    /// The local address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// How the server is spoken to.
    pub fn protocol(&self) -> Protocol {
        self.config.protocol
    }

    /// The addresses of the allocation, while there is one.
    pub fn relayed(&self) -> Option<Relayed> {
        match &self.state {
            State::Allocated(allocation) => Some(allocation.relayed),
            _ => None,
        }
    }

    /// Whether data to and from an address passes.
    pub fn is_permitted(&self, peer: IpAddr) -> bool {
        self.relayed().is_some() && self.peers.is_permitted(peer)
    }

    /// Whether data to a peer goes through a channel.
    pub fn is_bound(&self, peer: SocketAddr) -> bool {
        self.relayed().is_some() && self.peers.channel_to(peer).is_some()
    }

    /// Whether the client is closed or has failed for good.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// What was counted.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    // ----- the way to an allocation -----

    fn begin(&mut self, now: Instant) {
        if self.former.take().is_some() {
            self.login = None;
        }
        if self.config.protocol == Protocol::Udp {
            self.allocate(now);
            return;
        }
        self.state = State::Opening;
        self.event(Event::OpenStream {
            protocol: self.config.protocol,
            server: self.server(),
            server_name: self.config.server_name.clone(),
        });
    }

    fn allocate(&mut self, now: Instant) {
        self.state = State::Allocating { cleared: false };
        self.request(now, Request::Allocate, 0);
    }

    /// Starts what is due and has room.
    fn settle(&mut self, now: Instant) {
        if !matches!(self.state, State::Allocated(_)) {
            return;
        }
        while self.transactions.len() < MAX_IN_FLIGHT {
            let batch = self.peers.take_due_permissions(now);
            if !batch.is_empty() {
                self.request(now, Request::Permit(batch), 0);
            } else if let Some((number, peer)) = self.peers.take_due_channel(now) {
                self.request(now, Request::Bind(number, peer), 0);
            } else {
                break;
            }
        }
    }

    /// Writes a request and lets it leave.
    fn request(&mut self, now: Instant, request: Request, stale: u32) {
        let id = match self.tag {
            Some(tag) => TransactionId::tagged(tag, &mut self.rng),
            None => TransactionId::generate(&mut self.rng),
        };
        let mut message = BytesMut::new();
        let mut builder = Builder::new(&mut message, Class::Request, request.method(), id);
        write_request(&mut builder, &request, &self.config);
        // RFC 8489 §9.2.3.1: the first request goes without credentials.
        if let Some(login) = &self.login {
            login.sign(&mut builder);
        }
        builder.finish();
        let rto = (self.config.protocol == Protocol::Udp).then_some(self.config.rto);
        let mut transaction = Transaction::new(now, id, request, message, rto);
        transaction.signed = self.login.is_some();
        transaction.stale = stale;
        self.transactions.push(transaction);
        self.outbox.push_back(Outgoing::Request(id));
    }

    fn run_transactions(&mut self, now: Instant) {
        let mut at = 0;
        while let Some(transaction) = self.transactions.get_mut(at) {
            if !transaction.timer.expire(now) {
                at += 1;
            } else if transaction.on_silence(now) {
                let again = Outgoing::Request(transaction.id);
                if !self.outbox.contains(&again) {
                    self.outbox.push_back(again);
                }
                at += 1;
            } else {
                let transaction = self.transactions.swap_remove(at);
                let failure = if transaction.forged { Failure::Unauthentic } else { Failure::Silent };
                self.on_unanswered(now, &transaction.request, failure);
            }
        }
    }

    fn on_unanswered(&mut self, now: Instant, request: &Request, failure: Failure) {
        match request {
            Request::Delete { then_allocate: false } => self.end(Event::Closed),
            Request::Delete { then_allocate: true } if self.former.is_some() => self.begin(now),
            Request::Delete { then_allocate: true } => self.lose(now, Failure::Mismatch),
            // A server that does not answer these does not relay either.
            Request::Allocate | Request::Refresh | Request::Permit(_) | Request::Bind(..) => {
                self.lose(now, failure);
            }
        }
    }

    // ----- ends -----

    /// There is no allocation (any more): another one is asked for if there was one, after a while that grows.
    fn lose(&mut self, now: Instant, failure: Failure) {
        if !self.had_allocation {
            return self.fail(failure);
        }
        if let State::Allocated(allocation) = &self.state {
            if now.saturating_duration_since(allocation.since) >= GOOD_LIFE {
                self.remakes = 0;
            }
            self.stats.lost += 1;
            self.event(Event::Lost(failure));
        }
        if self.remakes >= self.config.max_remakes {
            return self.fail(failure);
        }
        let wait = match (failure, self.remakes) {
            (Failure::Capacity, _) => CAPACITY_WAIT,
            // A 437 is a clean slate, and a stream is a fresh one: at once the first time.
            (Failure::Mismatch | Failure::Stream, 0) => Duration::ZERO,
            (_, n) => Duration::from_secs(1 << n.min(5)),
        };
        self.remakes += 1;
        self.transactions.clear();
        self.outbox.clear();
        self.peers.on_lost(now);
        self.keepalive.cancel();
        if self.config.protocol != Protocol::Udp {
            self.event(Event::CloseStream);
        }
        if wait.is_zero() {
            return self.begin(now);
        }
        let mut timer = Timer::new();
        timer.arm(now + wait);
        self.state = State::Waiting(timer);
    }

    fn fail(&mut self, failure: Failure) {
        self.end(Event::Failed(failure));
    }

    fn end(&mut self, event: Event) {
        if matches!(self.state, State::Ended) {
            return;
        }
        let streaming = !matches!(self.state, State::Idle | State::Waiting(_));
        self.state = State::Ended;
        self.transactions = Vec::new();
        self.outbox = VecDeque::new();
        self.peers.clear();
        self.keepalive.cancel();
        self.login = None;
        self.deframer = Deframer::new(Framing::Stun, MAX_FRAME);
        if streaming && self.config.protocol != Protocol::Udp {
            self.event(Event::CloseStream);
        }
        self.event(event);
    }

    // ----- helpers -----

    fn check_peer(&self, peer: IpAddr) -> Result<(), PeerError> {
        let family = Family::of(peer);
        match &self.state {
            State::Closing | State::Ended => Err(PeerError::Closed),
            State::Allocated(allocation) if allocation.relayed.of(family).is_none() => Err(PeerError::Family),
            _ => Ok(()),
        }
    }

    /// Time never runs backwards.
    fn advance(&mut self, now: Instant) -> Instant {
        let latest = self.now.map_or(now, |before| before.max(now));
        self.now = Some(latest);
        latest
    }

    fn event(&mut self, event: Event) {
        if self.events.len() < MAX_EVENTS {
            self.events.push_back(event);
        } else {
            self.stats.events_dropped += 1;
        }
    }

    fn count(&mut self, handled: Handled) -> Handled {
        if let Handled::Dropped(reason) = &handled {
            self.stats.dropped += 1;
            tracing::trace!(?reason, "a packet for a TURN client was dropped");
        }
        handled
    }
}

impl Allocation {
    /// RFC 8656 §8: refreshed a minute before it ends, or at half of a short life.
    fn keep(&mut self, asked: Instant, now: Instant, lifetime: Duration) {
        // A day is enough for any lie.
        let lifetime = lifetime.min(Duration::from_secs(86_400));
        let ahead = Duration::from_secs(60).min(lifetime / 2);
        self.expiry.arm(asked + lifetime);
        // A lie about one second does not make a flood.
        self.refresh.arm((asked + (lifetime - ahead)).max(now + Duration::from_secs(1)));
    }
}

#[cfg(test)]
impl Client {
    /// The number of the channel to a peer, for tests.
    pub(super) fn channel(&self, peer: SocketAddr) -> Option<channel::ChannelNumber> {
        self.peers.channel_to(peer)
    }
}
