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

mod answers;
mod requests;

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
