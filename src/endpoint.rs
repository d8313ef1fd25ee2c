//! Many connections on the caller's sockets: routing in constant time, one merged timer.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::time::Instant;

use siphasher::sip::SipHasher13;
use slab::Slab;

use crate::event::{Input, Output};
use crate::packet::{Datagram, Protocol, StreamInput, StreamKey, StreamOutput, Transmit};
use crate::rng::{Rng, Stream};
use crate::rtc::Rtc;
use crate::session::demux::{self, Kind};
use crate::session::event::Event;
use crate::session::gather::IncomingStream;
use crate::stun::{Class, Message};

/// Addresses that are remembered for one connection. A peer that moves about beyond that is still found by the
/// user name of its next connectivity check.
const MAX_PATHS: usize = 16;

/// Names a connection of an [`Endpoint`]. A key is never reused, so one kept too long names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    index: u32,
    generation: u32,
}

/// What an [`Endpoint`] did with an input.
#[derive(Debug)]
pub enum Routed {
    /// This connection took the datagram.
    To(Key),
    /// Nobody here knows the sender: the datagram is handed back untouched.
    Unmatched(Datagram),
    /// A timeout: the connections that were due have run.
    Timers,
    /// Multicast DNS: every connection that waits for names has seen it.
    Names,
    /// A stream input for a stream that no connection owns.
    UnknownStream,
}

/// What an [`Endpoint`] gives out: the [`Output`]s of its connections, each with its key.
#[derive(Debug)]
pub enum EndpointOutput {
    /// Send this.
    Transmit(Key, Transmit),
    /// Something happened on a connection.
    Event(Key, Event),
    /// Do this with a stream.
    Stream(Key, StreamOutput),
    /// Every connection is dry. Come back at this time, or never when nothing will be due.
    Timeout(Option<Instant>),
}

/// The 5-tuple of RFC 7983: how datagrams that carry no user name find their connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Path {
    remote: SocketAddr,
    local: SocketAddr,
    protocol: Protocol,
}

impl Hash for Path {
    /// In whole words: two for a pair of IPv4 addresses. What `SocketAddr` itself writes, field by field and with
    /// lengths before, takes longer to write than to hash.
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_address(&self.remote, self.protocol as u64, state);
        hash_address(&self.local, 0, state);
    }
}

/// The first word tells what follows, so that no two addresses write the same. The flow label is left out.
fn hash_address<H: Hasher>(address: &SocketAddr, protocol: u64, state: &mut H) {
    let (protocol, port) = (protocol << 56, u64::from(address.port()));
    match address {
        SocketAddr::V4(v4) => {
            state.write_u64(protocol | 4 << 48 | u64::from(v4.ip().to_bits()) << 16 | port);
        }
        SocketAddr::V6(v6) => {
            state.write_u64(protocol | 6 << 48 | u64::from(v6.scope_id()) << 16 | port);
            let ip = v6.ip().to_bits();
            state.write_u64((ip >> 64) as u64);
            state.write_u64(ip as u64);
        }
    }
}

#[derive(Debug)]
struct Slot {
    rtc: Rtc,
    generation: u32,
    /// The deadline under which the slot stands in `timers`.
    deadline: Option<Instant>,
    /// Whether the slot waits in `dirty`.
    is_dirty: bool,
    /// What the numbers of its STUN transactions begin with.
    tag: u32,
    /// What the routing tables hold for this slot.
    ufrags: Vec<String>,
    paths: Vec<Path>,
}

/// Owns many [`Rtc`]s and shares the caller's sockets among them.
///
/// A datagram is routed by the user name fragment of a STUN request first, an answer by its transaction's number,
/// of which four bytes are the connection's own; then by its 5-tuple, which is learned only after the connection
/// authenticated it: nobody can claim another's address by sending from it. All look-ups are single hash-map
/// reads, keyed from the seed.
///
/// **Streams.** What a connection wants done with its streams is [`EndpointOutput::Stream`], with its key; what
/// happens on them goes back through [`handle_stream`](Endpoint::handle_stream) with the same key. A stream that a
/// peer opened to a listener goes to [`handle_incoming`](Endpoint::handle_incoming) as soon as its first frame is
/// whole. The listener's address is added as a passive candidate to each connection that shares it.
///
/// **Relays over UDP.** A TURN allocation belongs to the pair of addresses that asked for it (RFC 8656 §3.2), so that of
/// all connections on one socket only the first gets one from a server; the others are told of a mismatch. Bind a socket
/// for each connection that is to have one, add it to that connection alone, and give what it receives to the endpoint
/// as all else: datagrams are routed by their local address too. `examples/common/net.rs` does so. Over TCP and TLS
/// each connection has a stream of its own anyway.
///
/// The contract is that of [`Rtc`]: after every call that changes something, drain
/// [`poll_output`](Endpoint::poll_output) until it says [`EndpointOutput::Timeout`]. Only connections that something happened
/// to are polled, so ten thousand idle ones cost nothing between their deadlines.
#[derive(Debug)]
pub struct Endpoint {
    slots: Slab<Slot>,
    /// Connections that may have output, oldest first.
    dirty: std::collections::VecDeque<usize>,
    timers: BTreeSet<(Instant, usize)>,
    by_ufrag: HashMap<String, usize, KeyedHash>,
    by_path: HashMap<Path, usize, KeyedHash>,
    by_tag: HashMap<u32, usize, KeyedHash>,
    /// Connections that wait for names.
    listeners: BTreeSet<usize>,
    next_generation: u32,
}

impl Endpoint {
    /// An empty endpoint. The seed keys its hash maps and should be as unpredictable as that of an [`Rtc`].
    pub fn new(seed: [u8; 32]) -> Self {
        let mut rng = Rng::new(seed, Stream::Maps);
        let hash = KeyedHash { keys: (rng.u64(), rng.u64()) };
        Endpoint {
            slots: Slab::new(),
            dirty: std::collections::VecDeque::new(),
            timers: BTreeSet::new(),
            by_ufrag: HashMap::with_hasher(hash.clone()),
            by_path: HashMap::with_hasher(hash.clone()),
            by_tag: HashMap::with_hasher(hash),
            listeners: BTreeSet::new(),
            next_generation: 0,
        }
    }

    /// Takes a connection in.
    pub fn insert(&mut self, rtc: Rtc) -> Key {
        let generation = self.next_generation;
        self.next_generation = self.next_generation.wrapping_add(1);
        let tag = rtc.transaction_tag();
        let index = self.slots.insert(Slot {
            rtc,
            generation,
            tag,
            deadline: None,
            is_dirty: false,
            ufrags: Vec::new(),
            paths: Vec::new(),
        });
        self.by_tag.insert(tag, index);
        self.refresh(index);
        self.key(index)
    }

    /// The connection named `key`, to be read.
    pub fn get(&self, key: Key) -> Option<&Rtc> {
        self.slots.get(key.index as usize).filter(|s| s.generation == key.generation).map(|s| &s.rtc)
    }

    /// The connection named `key`, to be commanded. When the guard is dropped, the router learns of new user name
    /// fragments and the connection's output is polled again.
    pub fn get_mut(&mut self, key: Key) -> Option<RtcMut<'_>> {
        let index = self.index(key)?;
        Some(RtcMut { endpoint: self, index })
    }

    /// Takes a connection out, whatever its state; the router forgets it. Close it before, if the peer shall know.
    pub fn remove(&mut self, key: Key) -> Option<Rtc> {
        let index = self.index(key)?;
        let slot = self.slots.remove(index);
        if let Some(at) = slot.deadline {
            self.timers.remove(&(at, index));
        }
        self.listeners.remove(&index);
        if self.by_tag.get(&slot.tag) == Some(&index) {
            self.by_tag.remove(&slot.tag);
        }
        for ufrag in &slot.ufrags {
            if self.by_ufrag.get(ufrag) == Some(&index) {
                self.by_ufrag.remove(ufrag);
            }
        }
        for path in &slot.paths {
            if self.by_path.get(path) == Some(&index) {
                self.by_path.remove(path);
            }
        }
        Some(slot.rtc)
    }

    /// Number of connections.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are no connections.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The keys of all connections.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.slots.iter().map(|(index, slot)| Key { index: index as u32, generation: slot.generation })
    }

    /// Gives a datagram to the connection that it is for, or runs the connections that are due.
    pub fn handle_input(&mut self, now: Instant, input: Input) -> Routed {
        match input {
            Input::Datagram(datagram) if datagram.protocol == Protocol::Mdns => {
                self.spread(now, &datagram);
                Routed::Names
            }
            Input::Datagram(datagram) => match self.route(&datagram) {
                Some(index) => {
                    self.feed(index, now, Input::Datagram(datagram));
                    Routed::To(self.key(index))
                }
                None => Routed::Unmatched(datagram),
            },
            Input::Timeout => {
                self.run_timers(now);
                Routed::Timers
            }
            // Streams are opened by a connection and are given to it through `get_mut`, which knows the key.
            Input::Stream(_) => Routed::UnknownStream,
        }
    }

    /// Takes what happened on a stream of a connection.
    pub fn handle_stream(&mut self, now: Instant, key: Key, input: StreamInput) -> Routed {
        match self.index(key) {
            Some(index) => {
                self.feed(index, now, Input::Stream(input));
                Routed::To(key)
            }
            None => Routed::UnknownStream,
        }
    }

    /// Gives a stream that a peer opened to the connection that its first check is for; how to name it from then
    /// on. `None`: nobody takes it, and it is to be closed.
    pub fn handle_incoming(&mut self, now: Instant, stream: IncomingStream) -> Option<(Key, StreamKey)> {
        let index = self.by_ufrag.get(stream.ufrag()?).copied()?;
        let slot = self.slots.get_mut(index)?;
        slot.rtc.handle_input(now, Input::Timeout);
        let taken = slot.rtc.accept_stream(stream);
        self.refresh(index);
        taken.map(|stream| (self.key(index), stream))
    }

    /// Everybody who waits for names looks at what came to a multicast socket.
    fn spread(&mut self, now: Instant, datagram: &Datagram) {
        for index in self.listeners.clone() {
            let copy = Datagram { contents: datagram.contents.clone(), ..*datagram };
            self.feed(index, now, Input::Datagram(copy));
        }
    }

    /// The next output of any connection; [`EndpointOutput::Timeout`] when all are dry.
    pub fn poll_output(&mut self) -> EndpointOutput {
        while let Some(&index) = self.dirty.front() {
            let Some(slot) = self.slots.get_mut(index) else {
                self.dirty.pop_front();
                continue;
            };
            let key = Key { index: index as u32, generation: slot.generation };
            match slot.rtc.poll_output() {
                Output::Transmit(transmit) => return EndpointOutput::Transmit(key, transmit),
                Output::Event(event) => return EndpointOutput::Event(key, event),
                Output::Stream(stream) => return EndpointOutput::Stream(key, stream),
                Output::Timeout(at) => {
                    slot.is_dirty = false;
                    self.dirty.pop_front();
                    self.set_deadline(index, at);
                }
            }
        }
        EndpointOutput::Timeout(self.timers.first().map(|&(at, _)| at))
    }

    /// Whose datagram this is, without believing it: the connection authenticates it afterwards.
    fn route(&self, datagram: &Datagram) -> Option<usize> {
        if demux::classify(&datagram.contents) == Kind::Stun
            && let Ok(message) = Message::parse(&datagram.contents)
        {
            match message.class() {
                Class::Request if message.username().is_some() => {
                    return self.by_ufrag.get(local_ufrag(&message)?).copied();
                }
                Class::Success | Class::Error => {
                    return self.by_tag.get(&message.transaction().tag()).copied();
                }
                // What a relay brings, and keepalives.
                Class::Request | Class::Indication => {}
            }
        }
        let path = Path { remote: datagram.source, local: datagram.destination, protocol: datagram.protocol };
        self.by_path.get(&path).copied()
    }

    fn run_timers(&mut self, now: Instant) {
        // Each due connection runs once: its next deadline is only known after polling.
        while let Some(&(at, index)) = self.timers.first() {
            if at > now {
                break;
            }
            self.set_deadline(index, None);
            self.feed(index, now, Input::Timeout);
        }
    }

    fn feed(&mut self, index: usize, now: Instant, input: Input) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.rtc.handle_input(now, input);
            self.refresh(index);
        }
    }

    /// Queues the connection for polling, and teaches the router what the connection learned.
    fn refresh(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        if !slot.is_dirty {
            slot.is_dirty = true;
            self.dirty.push_back(index);
        }
        if slot.rtc.listens_to_names() {
            self.listeners.insert(index);
        } else if !self.listeners.is_empty() {
            self.listeners.remove(&index);
        }
        if slot.rtc.take_ufrags_changed() {
            let current: Vec<String> = slot.rtc.local_ufrags().map(str::to_owned).collect();
            for gone in slot.ufrags.iter().filter(|u| !current.contains(u)) {
                self.by_ufrag.remove(gone);
            }
            for ufrag in &current {
                self.by_ufrag.insert(ufrag.clone(), index);
            }
            slot.ufrags = current;
        }
        while let Some((remote, local, protocol)) = slot.rtc.take_authenticated_path() {
            let path = Path { remote, local, protocol };
            self.by_path.insert(path, index);
            slot.paths.retain(|p| *p != path);
            if slot.paths.len() >= MAX_PATHS {
                let oldest = slot.paths.remove(0);
                if self.by_path.get(&oldest) == Some(&index) {
                    self.by_path.remove(&oldest);
                }
            }
            slot.paths.push(path);
        }
    }

    fn set_deadline(&mut self, index: usize, at: Option<Instant>) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        if slot.deadline == at {
            return;
        }
        if let Some(old) = slot.deadline {
            self.timers.remove(&(old, index));
        }
        if let Some(new) = at {
            self.timers.insert((new, index));
        }
        slot.deadline = at;
    }

    fn key(&self, index: usize) -> Key {
        let generation = self.slots.get(index).map_or(0, |s| s.generation);
        Key { index: index as u32, generation }
    }

    fn index(&self, key: Key) -> Option<usize> {
        self.get(key).map(|_| key.index as usize)
    }
}

/// The receiver's part of the user name of a STUN request (RFC 8445 §7.2.2).
fn local_ufrag<'a>(message: &Message<'a>) -> Option<&'a str> {
    let username = std::str::from_utf8(message.username()?).ok()?;
    username.split_once(':').map(|(local, _)| local)
}

/// Mutable access to one connection of an [`Endpoint`].
#[derive(Debug)]
pub struct RtcMut<'a> {
    endpoint: &'a mut Endpoint,
    index: usize,
}

impl Deref for RtcMut<'_> {
    type Target = Rtc;
    fn deref(&self) -> &Rtc {
        // The guard was made for an occupied slot and holds the endpoint exclusively.
        &self.endpoint.slots[self.index].rtc
    }
}

impl DerefMut for RtcMut<'_> {
    fn deref_mut(&mut self) -> &mut Rtc {
        &mut self.endpoint.slots[self.index].rtc
    }
}

impl Drop for RtcMut<'_> {
    fn drop(&mut self) {
        self.endpoint.refresh(self.index);
    }
}

/// SipHash-1-3 under keys from the seed: fast for short keys, and unpredictable to whoever chooses addresses.
#[derive(Debug, Clone)]
struct KeyedHash {
    keys: (u64, u64),
}

impl BuildHasher for KeyedHash {
    type Hasher = SipHasher13;
    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.keys.0, self.keys.1)
    }
}
