//! The server itself: requests in, answers and relayed data out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};

use super::allocation::{Allocation, BindError};
use super::auth::{Nonces, Users};
use super::config::{Config, ConfigError};
use super::policy::Bucket;
use crate::buffer::Pool;
use crate::packet::{Ecn, Protocol, Transmit};
use crate::rng::Rng;
use crate::stun::attributes::{CHANGE_REQUEST, types};
use crate::stun::credentials::LongTermKey;
use crate::stun::{Builder, Class, ErrorCode, Message, Method, PasswordAlgorithm, TransactionId};
use crate::time::Clock;
use crate::turn::channel::{self, ChannelNumber};
use crate::turn::config::Family;
use crate::wire::deframer::{Deframer, Framing, MAX_FRAME};
use crate::wire::limited::{LimitedMap, LimitedQueue};
use crate::wire::writer::Writer;

/// Ports tried before the range counts as used up.
const PORT_TRIES: u64 = 64;
/// The longest answer.
const MAX_ANSWER: usize = 700;
/// Addresses in one CreatePermission that are looked at.
const MAX_BATCH: usize = 64;
/// Both known algorithms, the better one first; 8 bytes on the wire.
const ALGORITHMS: [PasswordAlgorithm; 2] = [PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5];
/// The same as sent: a client echoes it.
const ALGORITHMS_VALUE: [u8; 8] = [0, 2, 0, 0, 0, 1, 0, 0];

/// A client's path to the server: what an allocation belongs to (RFC 8656 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FiveTuple {
    /// The client, as the server sees it.
    pub client: SocketAddr,
    /// The address of the server that it speaks to.
    pub server: SocketAddr,
    /// UDP, TCP or TLS.
    pub protocol: Protocol,
}

/// What the caller is asked to do, in order. Poll events before transmits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Bind a UDP socket to this address and feed what it receives to [`Server::handle_relayed`]; or say
    /// [`Server::handle_relay_failed`].
    OpenRelay(SocketAddr),
    /// Close that socket.
    CloseRelay(SocketAddr),
    /// Close the stream of this client.
    CloseStream(FiveTuple),
}

/// What a server counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Requests taken.
    pub requests: u64,
    /// Requests refused.
    pub refused: u64,
    /// Packets dropped: malformed, not permitted, over a rate or a queue's bound.
    pub dropped: u64,
    /// Packets relayed, both ways.
    pub relayed_packets: u64,
    /// Data bytes relayed, both ways.
    pub relayed_bytes: u64,
}

/// A TURN and STUN server.
///
/// # Contract
/// `handle_*` takes what comes, and time; then drain [`poll_event`](Server::poll_event) and
/// [`poll_transmit`](Server::poll_transmit), and ask [`next_timeout`](Server::next_timeout). A transmit from a
/// relayed address goes out of that address's socket; a transmit to a client over TCP or TLS is written to the
/// stream between its two addresses.
///
/// An unsigned request is answered at most once, and all of them together at a bounded rate; nothing is kept of
/// them.
#[derive(Debug)]
pub struct Server {
    config: Config,
    users: Users,
    clock: Clock,
    rng: Rng,
    nonces: Nonces,
    allocations: BTreeMap<FiveTuple, Allocation>,
    expiries: BTreeSet<(Instant, FiveTuple)>,
    relays: BTreeMap<SocketAddr, FiveTuple>,
    per_user: BTreeMap<String, usize>,
    streams: LimitedMap<FiveTuple, Deframer>,
    unauthenticated: Bucket,
    outbox: LimitedQueue<Outgoing>,
    events: VecDeque<Event>,
    stats: Stats,
    now: Instant,
}

/// What is to be written when polled.
#[derive(Debug)]
enum Outgoing {
    Answer {
        to: FiveTuple,
        message: BytesMut,
    },
    ToPeer {
        relay: SocketAddr,
        peer: SocketAddr,
        data: BytesMut,
    },
    ToClient {
        to: FiveTuple,
        channel: Option<ChannelNumber>,
        peer: SocketAddr,
        id: TransactionId,
        data: BytesMut,
    },
}

/// Who a request is from.
struct Signer {
    username: String,
    key: Arc<LongTermKey>,
    /// Which integrity attribute the answer carries (RFC 8489 §9.2.4).
    sha256: bool,
}

/// Why a request is not granted.
enum Refusal {
    Error(ErrorCode<'static>),
    /// Realm, nonce and algorithms go with it.
    Challenge(ErrorCode<'static>),
    Unknown(u16),
}

const fn error(code: u16, reason: &'static str) -> Refusal {
    Refusal::Error(ErrorCode { code, reason })
}

const BAD_REQUEST: Refusal = Refusal::Error(ErrorCode::BAD_REQUEST);
const MISMATCH: Refusal = error(437, "Allocation Mismatch");
const PEER_FAMILY: Refusal = error(443, "Peer Address Family Mismatch");
const CAPACITY: Refusal = error(508, "Insufficient Capacity");

/// What an answer that grants carries.
enum Grant {
    Nothing,
    /// Where the answer comes from, and the other address, where there is one (RFC 5780 §7.3, §7.4).
    Mapped {
        origin: Option<(SocketAddr, SocketAddr)>,
    },
    Allocated {
        relays: Vec<SocketAddr>,
        lifetime: Duration,
        missing: Option<(Family, u16)>,
    },
    Lifetime(Duration),
}

impl Server {
    /// A server without allocations. `clock` tells the Unix time that time-limited credentials need.
    pub fn new(config: Config, users: Users, clock: Clock, mut rng: Rng) -> Result<Self, ConfigError> {
        config.validate()?;
        if users.realm() != config.realm {
            return Err(ConfigError::Realm);
        }
        Ok(Server {
            nonces: Nonces::new(&mut rng, config.nonce_lifetime, config.password_algorithms),
            allocations: BTreeMap::new(),
            expiries: BTreeSet::new(),
            relays: BTreeMap::new(),
            per_user: BTreeMap::new(),
            streams: LimitedMap::new(config.max_streams),
            unauthenticated: Bucket::new(clock.instant, config.max_unauthenticated_answers),
            outbox: LimitedQueue::new(config.max_queued),
            events: VecDeque::new(),
            stats: Stats::default(),
            now: clock.instant,
            config,
            users,
            clock,
            rng,
        })
    }

    /// The users, to be changed.
    pub fn users_mut(&mut self) -> &mut Users {
        &mut self.users
    }

    // ----- input -----

    /// Takes a datagram of a client, or one message of its stream.
    pub fn handle_packet(&mut self, now: Instant, from: FiveTuple, packet: BytesMut) {
        let now = self.advance(now);
        let taken = match channel::is_channel_data(&packet) {
            true => self.on_channel_data(now, from, packet),
            false => self.on_message(now, from, packet),
        };
        if taken.is_none() {
            self.stats.dropped += 1;
        }
    }

    /// Takes bytes of a client's stream. The first ones make it known.
    pub fn handle_stream(&mut self, now: Instant, from: FiveTuple, bytes: BytesMut) {
        if self.streams.get(&from).is_none() {
            let deframer = Deframer::new(Framing::Stun, MAX_FRAME);
            if self.streams.insert(from, deframer).is_err() {
                self.events.push_back(Event::CloseStream(from));
                return;
            }
        }
        if let Some(deframer) = self.streams.get_mut(&from) {
            deframer.push(bytes);
        }
        while let Some(deframer) = self.streams.get_mut(&from) {
            match deframer.next_packet() {
                Ok(Some(packet)) => self.handle_packet(now, from, packet),
                Ok(None) => break,
                Err(_) => {
                    self.stats.dropped += 1;
                    self.handle_stream_closed(now, from);
                    self.events.push_back(Event::CloseStream(from));
                }
            }
        }
    }

    /// A client's stream ended, and its allocation with it.
    pub fn handle_stream_closed(&mut self, now: Instant, from: FiveTuple) {
        self.advance(now);
        self.streams.remove(&from);
        self.remove(from);
    }

    /// Takes a datagram that came to a relayed address (RFC 8656 §11.3).
    pub fn handle_relayed(&mut self, now: Instant, relay: SocketAddr, peer: SocketAddr, data: BytesMut) {
        let now = self.advance(now);
        if self.relay_to_client(now, relay, peer, data).is_none() {
            self.stats.dropped += 1;
        }
    }

    /// A relayed address could not be bound: its allocation ends, and the client learns of it by a 437.
    pub fn handle_relay_failed(&mut self, relay: SocketAddr) {
        if let Some(tuple) = self.relays.get(&relay).copied() {
            self.remove(tuple);
        }
    }

    /// Ends what was not refreshed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.advance(now);
        while let Some((at, tuple)) = self.expiries.first().copied().filter(|(at, _)| *at <= now) {
            self.expiries.remove(&(at, tuple));
            self.remove(tuple);
        }
    }

    // ----- output -----

    /// The next thing to do to a socket.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next datagram, or bytes for a stream.
    pub fn poll_transmit(&mut self, pool: &mut Pool) -> Option<Transmit> {
        let (source, destination, protocol, contents) = match self.outbox.pop()? {
            Outgoing::Answer { to, message } => (to.server, to.client, to.protocol, message),
            Outgoing::ToPeer { relay, peer, data } => (relay, peer, Protocol::Udp, data),
            Outgoing::ToClient { to, channel, peer, id, data } => {
                let tail = pool.tail(data.len() + 64);
                match channel.and_then(|channel| channel::header(channel, data.len())) {
                    Some(header) => {
                        tail.extend_from_slice(&header);
                        tail.extend_from_slice(&data);
                        if to.protocol != Protocol::Udp {
                            Writer::new(tail).zeros(channel::padding(data.len()));
                        }
                    }
                    None => {
                        let mut builder = Builder::new(tail, Class::Indication, Method::DATA, id);
                        builder.xor_address(types::XOR_PEER_ADDRESS, peer).attribute(types::DATA, &data);
                        builder.finish();
                    }
                }
                (to.server, to.client, to.protocol, tail.split())
            }
        };
        let contents = contents.into();
        Some(Transmit { contents, destination, source, protocol, ecn: Ecn::NotEct, segment_size: None })
    }

    /// When to call [`handle_timeout`](Server::handle_timeout).
    pub fn next_timeout(&self) -> Option<Instant> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// What was counted.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Whether a client has an allocation.
    pub fn has_allocation(&self, client: FiveTuple) -> bool {
        self.allocations.contains_key(&client)
    }

    /// Allocations that live.
    pub fn allocations(&self) -> usize {
        self.allocations.len()
    }

    // ----- data -----

    /// RFC 8656 §12.6: relayed where it lies.
    fn on_channel_data(&mut self, now: Instant, from: FiveTuple, mut packet: BytesMut) -> Option<()> {
        let (number, length) = channel::parse(&packet)?;
        let peer = self.allocations.get(&from)?.peer_of(now, number)?;
        packet.advance(channel::HEADER_LEN);
        packet.truncate(length);
        self.relay_to_peer(now, from, peer, packet)
    }

    /// RFC 8656 §11.2.
    fn on_send(&mut self, now: Instant, from: FiveTuple, mut packet: BytesMut) -> Option<()> {
        let message = Message::parse(&packet).ok()?;
        // RFC 8656 §11.2: DONT-FRAGMENT is not spoken here, so the indication is discarded.
        if !message.unknown_required().is_empty() || message.attribute(types::DONT_FRAGMENT).is_some() {
            return None;
        }
        let peer = message.xor_address(types::XOR_PEER_ADDRESS)?;
        let data = message.attribute(types::DATA)?;
        let (at, length) = (data.as_ptr().addr() - packet.as_ptr().addr(), data.len());
        packet.advance(at);
        packet.truncate(length);
        self.relay_to_peer(now, from, peer, packet)
    }

    fn relay_to_peer(
        &mut self,
        now: Instant,
        from: FiveTuple,
        peer: SocketAddr,
        data: BytesMut,
    ) -> Option<()> {
        let may_reach = self.may_reach(from, peer);
        let allocation = self.allocations.get_mut(&from)?;
        let relay = allocation.relay(Family::of(peer.ip()))?;
        let permitted = allocation.is_permitted(now, peer.ip()) && may_reach && peer.port() != 0;
        if !permitted || !allocation.bucket.take(now, data.len() as u64) {
            return None;
        }
        self.relayed(data.len());
        self.outbox.push(data.len(), Outgoing::ToPeer { relay, peer, data }).ok()
    }

    fn relay_to_client(
        &mut self,
        now: Instant,
        relay: SocketAddr,
        peer: SocketAddr,
        data: BytesMut,
    ) -> Option<()> {
        let to = *self.relays.get(&relay)?;
        let allocation = self.allocations.get_mut(&to)?;
        // RFC 8656 §9: addresses are compared, ports are not.
        if !allocation.is_permitted(now, peer.ip()) || !allocation.bucket.take(now, data.len() as u64) {
            return None;
        }
        let channel = allocation.channel_to(now, peer);
        let id = TransactionId(self.rng.array());
        // What does not fit into a message with its attributes is nothing that a client could take.
        if data.len() > usize::from(u16::MAX) - 64 {
            return None;
        }
        self.relayed(data.len());
        self.outbox.push(data.len(), Outgoing::ToClient { to, channel, peer, id, data }).ok()
    }

    fn relayed(&mut self, bytes: usize) {
        self.stats.relayed_packets += 1;
        self.stats.relayed_bytes += bytes as u64;
    }

    /// RFC 8656 §21.1.7: not to the server itself; and not where the policy says no, but for the relayed
    /// addresses of other clients.
    fn may_reach(&self, from: FiveTuple, peer: SocketAddr) -> bool {
        peer != from.server && (self.allows(peer.ip()) || self.relays.contains_key(&peer))
    }

    /// The same for a whole address. A relay address may be permitted: what goes there is checked again.
    fn may_permit(&self, peer: IpAddr) -> bool {
        let own = [self.config.relay_v4, self.config.relay_v6].contains(&Some(peer));
        own || self.allows(peer)
    }

    fn allows(&self, peer: IpAddr) -> bool {
        self.config.peers.allows(peer) || self.config.allowed_peers.iter().any(|block| block.contains(peer))
    }

    // ----- requests -----

    fn on_message(&mut self, now: Instant, from: FiveTuple, packet: BytesMut) -> Option<()> {
        let message = Message::parse(&packet).ok()?;
        match (message.class(), message.method()) {
            (Class::Indication, Method::SEND) => self.on_send(now, from, packet),
            // A keepalive.
            (Class::Indication, Method::BINDING) => Some(()),
            (Class::Request, _) => self.on_request(now, from, &message),
            _ => None,
        }
    }

    fn on_request(&mut self, now: Instant, from: FiveTuple, message: &Message<'_>) -> Option<()> {
        self.stats.requests += 1;
        if message.method() == Method::BINDING {
            let (from, outcome) = self.on_binding(from, message);
            return self.answer(now, from, message, None, outcome);
        }
        let (signer, outcome) = match self.authenticate(now, from, message) {
            Ok(signer) => {
                let outcome = self.perform(now, from, message, &signer.username);
                (Some(signer), outcome)
            }
            Err(refusal) => (None, Err(refusal)),
        };
        self.answer(now, from, message, signer.as_ref(), outcome)
    }

    /// RFC 8489 §6.3.1; and RFC 5780 §6.1, where there are addresses for it: then the answer may leave from another
    /// address than the request came to.
    fn on_binding(&self, from: FiveTuple, message: &Message<'_>) -> (FiveTuple, Result<Grant, Refusal>) {
        let other = self.other_address(from);
        let is_known = |kind: u16| kind == CHANGE_REQUEST && other.is_some();
        if let Some(kind) = message.unknown_required().as_slice().iter().find(|kind| !is_known(**kind)) {
            return (from, Err(Refusal::Unknown(*kind)));
        }
        let Some(other) = other else { return (from, Ok(Grant::Mapped { origin: None })) };
        let flags = match message.attribute(CHANGE_REQUEST) {
            None => 0,
            Some(&[_, _, _, flags]) => flags,
            Some(_) => return (from, Err(BAD_REQUEST)),
        };
        // RFC 5780 §7.2: 4 changes the IP address, 2 the port.
        let ip = if flags & 4 != 0 { other.ip() } else { from.server.ip() };
        let port = if flags & 2 != 0 { other.port() } else { from.server.port() };
        let origin = SocketAddr::new(ip, port);
        (FiveTuple { server: origin, ..from }, Ok(Grant::Mapped { origin: Some((origin, other)) }))
    }

    /// The address with another IP address and another port than the one that a datagram came to
    /// (RFC 5780 §6.1, table 1).
    fn other_address(&self, from: FiveTuple) -> Option<SocketAddr> {
        let (a, b) = self.config.alternates.filter(|_| from.protocol == Protocol::Udp)?;
        let opposite = |own, one, two| if own == one { Some(two) } else { (own == two).then_some(one) };
        let ip = opposite(from.server.ip(), a.ip(), b.ip())?;
        let port = if from.server.port() == a.port() { b.port() } else { a.port() };
        let known = [a.port(), b.port()].contains(&from.server.port());
        known.then_some(SocketAddr::new(ip, port))
    }

    /// RFC 8489 §9.2.4, in its order.
    fn authenticate(&self, now: Instant, from: FiveTuple, message: &Message<'_>) -> Result<Signer, Refusal> {
        let challenge = || Refusal::Challenge(ErrorCode::UNAUTHENTICATED);
        if !message.has_integrity() {
            return Err(challenge());
        }
        let (Some(name), Some(_), Some(nonce)) = (message.username(), message.realm(), message.nonce())
        else {
            return Err(BAD_REQUEST);
        };
        let echoed = message.attribute(types::PASSWORD_ALGORITHMS);
        let chosen = message.attribute(types::PASSWORD_ALGORITHM).map(|_| message.password_algorithm());
        let (algorithm, sha256) = match (echoed, chosen) {
            (None, None) => (PasswordAlgorithm::Md5, false),
            (Some(list), Some(Some(chosen)))
                if self.config.password_algorithms && list == ALGORITHMS_VALUE =>
            {
                (chosen, true)
            }
            _ => return Err(BAD_REQUEST),
        };
        let name = std::str::from_utf8(name).map_err(|_| challenge())?;
        let key = self.users.key(name, algorithm, self.clock.unix_at(now)).ok_or_else(challenge)?;
        let authentic = match sha256 {
            true => message.verify_integrity_sha256(&key.sha256),
            false => message.verify_integrity(&key.sha1),
        };
        authentic.map_err(|_| challenge())?;
        if !self.nonces.is_valid(nonce, from.client, self.uptime(now)) {
            return Err(Refusal::Challenge(ErrorCode { code: 438, reason: "Stale Nonce" }));
        }
        Ok(Signer { username: name.to_owned(), key, sha256 })
    }

    fn perform(
        &mut self,
        now: Instant,
        from: FiveTuple,
        message: &Message<'_>,
        user: &str,
    ) -> Result<Grant, Refusal> {
        if let [kind, ..] = message.unknown_required().as_slice() {
            return Err(Refusal::Unknown(*kind));
        }
        if message.method() == Method::ALLOCATE {
            return self.on_allocate(now, from, message, user);
        }
        // RFC 8656 §5: the allocation of this path, by who made it.
        let allocation = self.allocations.get(&from).filter(|a| a.expiry > now).ok_or(MISMATCH)?;
        if allocation.username != user {
            return Err(error(441, "Wrong Credentials"));
        }
        match message.method() {
            Method::REFRESH => self.on_refresh(now, from, message),
            Method::CREATE_PERMISSION => self.on_create_permission(now, from, message),
            Method::CHANNEL_BIND => self.on_channel_bind(now, from, message),
            _ => Err(BAD_REQUEST),
        }
    }

    /// RFC 8656 §7.2, in its order.
    fn on_allocate(
        &mut self,
        now: Instant,
        from: FiveTuple,
        message: &Message<'_>,
        user: &str,
    ) -> Result<Grant, Refusal> {
        self.handle_timeout(now);
        if let Some(allocation) = self.allocations.get(&from) {
            // RFC 8656 §7.2: a repeated request gets its answer again.
            if allocation.transaction != message.transaction() {
                return Err(MISMATCH);
            }
            let lifetime = allocation.expiry.saturating_duration_since(now);
            return Ok(Grant::Allocated { relays: allocation.relays.clone(), lifetime, missing: None });
        }
        match message.attribute(types::REQUESTED_TRANSPORT) {
            Some(&[17, _, _, _]) => {}
            Some(&[_, _, _, _]) => return Err(error(442, "Unsupported Transport Protocol")),
            _ => return Err(BAD_REQUEST),
        }
        if message.attribute(types::DONT_FRAGMENT).is_some() {
            return Err(Refusal::Unknown(types::DONT_FRAGMENT));
        }
        let families = wanted_families(message)?;
        let per_user = self.per_user.get(user).copied().unwrap_or(0);
        if per_user >= self.config.max_allocations_per_user {
            return Err(error(486, "Allocation Quota Reached"));
        }
        if self.allocations.len() >= self.config.max_allocations {
            return Err(CAPACITY);
        }
        let even = message.attribute(types::EVEN_PORT).is_some();
        let mut relays = Vec::new();
        let mut missing = None;
        for family in families.iter().copied() {
            match self.choose_relay(family, even) {
                Ok(relay) => relays.push(relay),
                // RFC 8656 §7.2, point 9: half of a dual allocation is better than none.
                Err(code) => missing = Some((family, code)),
            }
        }
        if relays.is_empty() {
            return Err(match missing {
                Some((_, 440)) => error(440, "Address Family not Supported"),
                _ => CAPACITY,
            });
        }
        let lifetime = self.lifetime(message)?.max(Duration::from_secs(1));
        self.insert(now, from, message.transaction(), user, &relays, lifetime);
        Ok(Grant::Allocated { relays, lifetime, missing })
    }

    /// A free relayed address, at random (RFC 8656 §7.2, RFC 6056); else the error's code.
    fn choose_relay(&mut self, family: Family, even: bool) -> Result<SocketAddr, u16> {
        let ip = match family {
            Family::V4 => self.config.relay_v4,
            Family::V6 => self.config.relay_v6,
        };
        let ip = ip.ok_or(440u16)?;
        let (first, last) = (*self.config.ports.start(), *self.config.ports.end());
        let count = u64::from(last - first) + 1;
        let start = self.rng.below(count);
        let ports = (0..count.min(PORT_TRIES)).filter_map(|step| {
            let offset = u16::try_from((start + step) % count).ok()?;
            first.checked_add(offset)
        });
        let free = |port: &u16| {
            !self.relays.contains_key(&SocketAddr::new(ip, *port)) && (!even || port.is_multiple_of(2))
        };
        ports.into_iter().find(free).map(|port| SocketAddr::new(ip, port)).ok_or(508)
    }

    fn insert(
        &mut self,
        now: Instant,
        from: FiveTuple,
        transaction: TransactionId,
        user: &str,
        relays: &[SocketAddr],
        lifetime: Duration,
    ) {
        let bucket = Bucket::new(now, self.config.max_rate);
        let (permissions, channels) = (self.config.max_permissions, self.config.max_channels);
        let expiry = now + lifetime;
        let mut allocation =
            Allocation::new(user.to_owned(), transaction, expiry, bucket, permissions, channels);
        allocation.relays = relays.to_vec();
        for relay in relays {
            self.relays.insert(*relay, from);
            self.events.push_back(Event::OpenRelay(*relay));
        }
        *self.per_user.entry(user.to_owned()).or_default() += 1;
        self.expiries.insert((expiry, from));
        self.allocations.insert(from, allocation);
    }

    /// RFC 8656 §8.2.
    fn on_refresh(&mut self, now: Instant, from: FiveTuple, message: &Message<'_>) -> Result<Grant, Refusal> {
        let family = requested_family(message, types::REQUESTED_ADDRESS_FAMILY)?;
        let has = |family| self.allocations.get(&from).is_some_and(|a| a.relay(family).is_some());
        if family.is_some_and(|family| !has(family)) {
            return Err(PEER_FAMILY);
        }
        let lifetime = self.lifetime(message)?;
        let whole = family.is_none_or(|family| {
            let relays = self.allocations.get(&from).map_or(&[][..], |a| &a.relays);
            relays.iter().all(|relay| Family::of(relay.ip()) == family)
        });
        match (lifetime.is_zero(), whole, family) {
            (true, true, _) | (true, _, None) => self.remove(from),
            (true, false, Some(family)) => self.remove_relay(from, family),
            (false, ..) => {
                if let Some(allocation) = self.allocations.get_mut(&from) {
                    self.expiries.remove(&(allocation.expiry, from));
                    allocation.expiry = now + lifetime;
                    self.expiries.insert((allocation.expiry, from));
                }
            }
        }
        Ok(Grant::Lifetime(lifetime))
    }

    /// RFC 8656 §10.2: all or none.
    fn on_create_permission(
        &mut self,
        now: Instant,
        from: FiveTuple,
        message: &Message<'_>,
    ) -> Result<Grant, Refusal> {
        let transaction = message.transaction();
        let mut peers = Vec::new();
        for attribute in message.attributes().filter(|a| a.kind == types::XOR_PEER_ADDRESS) {
            let peer =
                crate::stun::address::parse_xor(attribute.value, transaction).map_err(|_| BAD_REQUEST)?;
            peers.push(peer.ip());
            if peers.len() > MAX_BATCH {
                return Err(CAPACITY);
            }
        }
        if peers.is_empty() {
            return Err(BAD_REQUEST);
        }
        self.check_peers(from, &peers)?;
        let limit = self.config.max_permissions;
        let allocation = self.allocations.get_mut(&from).ok_or(MISMATCH)?;
        if !allocation.has_room(now, &peers, limit) {
            return Err(CAPACITY);
        }
        peers.into_iter().for_each(|peer| {
            allocation.permit(now, peer);
        });
        Ok(Grant::Nothing)
    }

    /// RFC 8656 §12.2.
    fn on_channel_bind(
        &mut self,
        now: Instant,
        from: FiveTuple,
        message: &Message<'_>,
    ) -> Result<Grant, Refusal> {
        let number = match message.attribute(types::CHANNEL_NUMBER) {
            Some(&[high, low, _, _]) => ChannelNumber::new(u16::from_be_bytes([high, low])),
            _ => None,
        };
        let peer = message.xor_address(types::XOR_PEER_ADDRESS);
        let (Some(number), Some(peer)) = (number, peer) else { return Err(BAD_REQUEST) };
        self.check_peers(from, &[peer.ip()])?;
        if !self.may_reach(from, peer) {
            return Err(Refusal::Error(ErrorCode::FORBIDDEN));
        }
        let limit = self.config.max_permissions;
        let allocation = self.allocations.get_mut(&from).ok_or(MISMATCH)?;
        if !allocation.has_room(now, &[peer.ip()], limit) {
            return Err(CAPACITY);
        }
        allocation.bind(now, number, peer).map_err(|e| match e {
            BindError::Conflict => BAD_REQUEST,
            BindError::Full => CAPACITY,
        })?;
        allocation.permit(now, peer.ip());
        Ok(Grant::Nothing)
    }

    fn check_peers(&self, from: FiveTuple, peers: &[IpAddr]) -> Result<(), Refusal> {
        let allocation = self.allocations.get(&from).ok_or(MISMATCH)?;
        if peers.iter().any(|peer| allocation.relay(Family::of(*peer)).is_none()) {
            return Err(PEER_FAMILY);
        }
        if !peers.iter().all(|peer| self.may_permit(*peer)) {
            return Err(Refusal::Error(ErrorCode::FORBIDDEN));
        }
        Ok(())
    }

    /// RFC 8656 §7.2, §8.2: at least the default, at most the maximum; zero stays zero.
    fn lifetime(&self, message: &Message<'_>) -> Result<Duration, Refusal> {
        let Some(value) = message.attribute(types::LIFETIME) else { return Ok(self.config.lifetime) };
        let seconds = u32::from_be_bytes(value.try_into().map_err(|_| BAD_REQUEST)?);
        if seconds == 0 && message.method() == Method::REFRESH {
            return Ok(Duration::ZERO);
        }
        let wanted = Duration::from_secs(seconds.into()).min(self.config.max_lifetime);
        Ok(wanted.max(self.config.lifetime))
    }

    // ----- answers -----

    fn answer(
        &mut self,
        now: Instant,
        from: FiveTuple,
        request: &Message<'_>,
        signer: Option<&Signer>,
        outcome: Result<Grant, Refusal>,
    ) -> Option<()> {
        // What nobody vouches for is answered at a bounded rate: the answer may go to a victim.
        if signer.is_none() && !self.unauthenticated.take(now, 1) {
            return None;
        }
        let class = if outcome.is_ok() { Class::Success } else { Class::Error };
        self.stats.refused += u64::from(outcome.is_err());
        let mut message = BytesMut::with_capacity(MAX_ANSWER.min(256));
        let mut builder = Builder::new(&mut message, class, request.method(), request.transaction());
        match outcome {
            Ok(grant) => write_grant(&mut builder, &grant, from.client),
            Err(Refusal::Error(error)) => {
                builder.error_code(error);
            }
            Err(Refusal::Unknown(kind)) => {
                builder.error_code(ErrorCode::UNKNOWN_ATTRIBUTE).unknown_attributes(&[kind]);
            }
            Err(Refusal::Challenge(error)) => {
                let nonce = self.nonces.make(from.client, self.uptime(now));
                builder.error_code(error).attribute(types::REALM, self.users.realm().as_bytes());
                builder.attribute(types::NONCE, nonce.as_bytes());
                if self.config.password_algorithms {
                    builder.password_algorithms(&ALGORITHMS);
                }
            }
        }
        match signer {
            Some(Signer { key, sha256: true, .. }) => builder.integrity_sha256(&key.sha256),
            Some(Signer { key, .. }) => builder.integrity(&key.sha1),
            None => &mut builder,
        };
        if request.has_fingerprint() {
            builder.fingerprint();
        }
        builder.finish();
        self.outbox.push(message.len(), Outgoing::Answer { to: from, message }).ok()
    }

    // ----- ends -----

    fn remove(&mut self, tuple: FiveTuple) {
        let Some(allocation) = self.allocations.remove(&tuple) else { return };
        self.expiries.remove(&(allocation.expiry, tuple));
        for relay in allocation.relays {
            self.relays.remove(&relay);
            self.events.push_back(Event::CloseRelay(relay));
        }
        if let Some(count) = self.per_user.get_mut(&allocation.username) {
            *count -= 1;
            if *count == 0 {
                self.per_user.remove(&allocation.username);
            }
        }
    }

    /// RFC 8656 §8.1: one half of a dual allocation.
    fn remove_relay(&mut self, tuple: FiveTuple, family: Family) {
        let Some(allocation) = self.allocations.get_mut(&tuple) else { return };
        if let Some(relay) = allocation.relay(family) {
            allocation.relays.retain(|other| *other != relay);
            self.relays.remove(&relay);
            self.events.push_back(Event::CloseRelay(relay));
        }
    }

    fn uptime(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.clock.instant)
    }

    /// Time never runs backwards.
    fn advance(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }
}

/// RFC 8656 §7.2, points 5 to 9.
fn wanted_families(message: &Message<'_>) -> Result<&'static [Family], Refusal> {
    let requested = requested_family(message, types::REQUESTED_ADDRESS_FAMILY)?;
    let additional = requested_family(message, types::ADDITIONAL_ADDRESS_FAMILY)?;
    let even = message.attribute(types::EVEN_PORT);
    let token = message.attribute(types::RESERVATION_TOKEN).is_some();
    let reserves = even.is_some_and(|value| value.first().is_some_and(|bits| bits & 0x80 != 0));
    match (requested, additional) {
        _ if token && (even.is_some() || requested.is_some() || additional.is_some()) => Err(BAD_REQUEST),
        // Ports are not reserved here, so no token is good and none is given.
        _ if token => Err(CAPACITY),
        (Some(_), Some(_)) | (_, Some(Family::V4)) => Err(BAD_REQUEST),
        (_, Some(Family::V6)) if reserves => Err(BAD_REQUEST),
        _ if reserves => Err(CAPACITY),
        (_, Some(Family::V6)) => Ok(&[Family::V4, Family::V6]),
        (Some(Family::V6), None) => Ok(&[Family::V6]),
        (Some(Family::V4) | None, None) => Ok(&[Family::V4]),
    }
}

fn requested_family(message: &Message<'_>, kind: u16) -> Result<Option<Family>, Refusal> {
    match message.attribute(kind) {
        None => Ok(None),
        Some(value) if value.len() != 4 => Err(BAD_REQUEST),
        Some(value) => match Family::from_attribute(value) {
            Some(family) => Ok(Some(family)),
            None => Err(error(440, "Address Family not Supported")),
        },
    }
}

fn write_grant(builder: &mut Builder<'_>, grant: &Grant, client: SocketAddr) {
    let seconds = |lifetime: &Duration| u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX).to_be_bytes();
    match grant {
        Grant::Nothing => {}
        Grant::Mapped { origin } => {
            builder.xor_mapped_address(client);
            if let Some((origin, other)) = origin {
                builder.address(types::MAPPED_ADDRESS, client);
                builder.address(types::RESPONSE_ORIGIN, *origin).address(types::OTHER_ADDRESS, *other);
            }
        }
        Grant::Lifetime(lifetime) => {
            builder.attribute(types::LIFETIME, &seconds(lifetime));
        }
        Grant::Allocated { relays, lifetime, missing } => {
            for relay in relays {
                builder.xor_address(types::XOR_RELAYED_ADDRESS, *relay);
            }
            builder.attribute(types::LIFETIME, &seconds(lifetime)).xor_mapped_address(client);
            if let Some((family, code)) = missing {
                // RFC 8656 §18.12: family, reserved, class and number.
                let class = u8::try_from(code / 100).unwrap_or(5);
                let number = u8::try_from(code % 100).unwrap_or(0);
                builder.attribute(types::ADDRESS_ERROR_CODE, &[family.code(), 0, class, number]);
            }
        }
    }
}
