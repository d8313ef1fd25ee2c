//! Hosts, interfaces, realms and NATs, and the datagrams between them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use sansrtc::packet::{Datagram, Ecn, Protocol, Transmit};

use super::digest::Digest;
use super::link::{Arrival, Link, LinkState, LinkStats};
use super::nat::{Nat, NatId, NatState};
use super::random::Random;

/// Names a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub(super) usize);

/// An address space: the public one, or what lies behind a NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Realm(usize);

impl Realm {
    /// The outermost address space.
    pub const PUBLIC: Realm = Realm(0);
}

/// What became of datagrams outside of the links.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetworkStats {
    /// Sent by hosts, each segment for itself.
    pub sent: u64,
    /// Given to hosts.
    pub delivered: u64,
    /// To an address that nobody has.
    pub unroutable: u64,
    /// Kept out by a NAT's filter, or to a port without a mapping.
    pub filtered: u64,
    /// Dropped because the NAT does no hairpins.
    pub hairpins_refused: u64,
    /// Dropped because the two addresses are [blocked](Network::block).
    pub blocked: u64,
    /// Dropped because the socket buffer of a frozen host was full.
    pub socket_overflows: u64,
}

/// How far a connection gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// To a host; `seen` is the opener as that host sees it.
    Host { host: HostId, local: SocketAddr, seen: SocketAddr, delay: Duration },
    /// Nobody answers.
    Silence { local: SocketAddr },
}

/// A datagram as a tap sees it, when a host sends it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Time since the start of the run.
    pub at: Duration,
    /// Who sends.
    pub host: HostId,
    /// From.
    pub source: SocketAddr,
    /// To.
    pub destination: SocketAddr,
    /// The ECN field.
    pub ecn: Ecn,
    /// The UDP payload.
    pub contents: &'a [u8],
}

/// A change of the network that happens at its time.
type Change = Box<dyn FnOnce(&mut Network)>;
type Tap = Box<dyn FnMut(Seen<'_>)>;

/// Everything between the hosts.
pub struct Network {
    seed: u64,
    random: Random,
    /// Time since the start of the run.
    now: Duration,
    interfaces: Vec<Interface>,
    hosts: Vec<HostState>,
    nats: Vec<NatState>,
    /// The realm that each NAT's outer side is in; its inner realm is its index plus one.
    outer: Vec<Realm>,
    routes: BTreeMap<(Realm, IpAddr), Route>,
    blocked: BTreeSet<(IpAddr, IpAddr)>,
    queue: BinaryHeap<Reverse<(Duration, u64, usize)>>,
    pending: Vec<Option<Pending>>,
    free: Vec<usize>,
    sequence: u64,
    /// Where datagrams are copied to: what a host sends is its own again as soon as it is sent.
    slab: BytesMut,
    digest: Digest,
    stats: NetworkStats,
    tap: Option<Tap>,
    trace: bool,
    /// No UDP payload may be larger; a host that sends one fails the run.
    pub payload_limit: usize,
    /// No transmit may have more segments.
    pub segment_limit: usize,
}

struct Interface {
    host: HostId,
    realm: Realm,
    ip: IpAddr,
    up: LinkState,
    down: LinkState,
}

#[derive(Default)]
struct HostState {
    interfaces: Vec<usize>,
    frozen_until: Duration,
    /// Bytes that arrived while the host was frozen.
    socket_bytes: usize,
}

#[derive(Clone, Copy)]
enum Route {
    Interface(usize),
    Nat(usize),
}

enum Pending {
    /// Has left the sender's link; to be routed.
    Route {
        realm: Realm,
        flight: Flight,
    },
    /// Has arrived at an interface.
    Deliver {
        interface: usize,
        flight: Flight,
    },
    Change(Change),
}

struct Flight {
    source: SocketAddr,
    destination: SocketAddr,
    ecn: Ecn,
    contents: BytesMut,
}

/// How much a frozen host's sockets keep: what Linux gives a UDP socket by default.
const SOCKET_BUFFER: usize = 212_992;
/// What one receive slab holds.
const SLAB: usize = 256 * 1024;
/// NATs that a datagram may pass.
const MAX_HOPS: usize = 8;

impl Network {
    /// An empty network.
    pub fn new(seed: u64) -> Network {
        Network {
            seed,
            random: Random::new(seed).fork(0x6e65_7477),
            now: Duration::ZERO,
            interfaces: Vec::new(),
            hosts: Vec::new(),
            nats: Vec::new(),
            outer: Vec::new(),
            routes: BTreeMap::new(),
            blocked: BTreeSet::new(),
            queue: BinaryHeap::new(),
            pending: Vec::new(),
            free: Vec::new(),
            sequence: 0,
            slab: BytesMut::new(),
            digest: Digest::new(),
            stats: NetworkStats::default(),
            tap: None,
            trace: std::env::var_os("SANSRTC_TRACE").is_some(),
            payload_limit: 65_507,
            segment_limit: 64,
        }
    }

    // ---- The map ----------------------------------------------------------------------------------------

    pub(super) fn add_host(&mut self) -> HostId {
        self.hosts.push(HostState::default());
        HostId(self.hosts.len() - 1)
    }

    /// Puts a NAT between `outside` and a new realm, which is given back.
    pub fn add_nat(&mut self, outside: Realm, nat: Nat) -> (NatId, Realm) {
        let id = NatId(self.nats.len());
        self.add_route(outside, nat.public, Route::Nat(id.0));
        self.nats.push(NatState::new(nat));
        self.outer.push(outside);
        (id, Realm(self.nats.len()))
    }

    /// Gives `host` the address `ip` in `realm`, over perfect links.
    pub fn add_interface(&mut self, host: HostId, realm: Realm, ip: IpAddr) {
        let index = self.interfaces.len();
        let link = |label| LinkState::new(Link::default(), self.random.fork(index as u64 * 2 + label));
        let (up, down) = (link(0), link(1));
        self.add_route(realm, ip, Route::Interface(index));
        self.interfaces.push(Interface { host, realm, ip, up, down });
        self.hosts[host.0].interfaces.push(index);
    }

    /// Takes an address from `host`: what is sent to it is lost.
    pub fn remove_interface(&mut self, host: HostId, ip: IpAddr) {
        let index = self.index_of(host, ip);
        self.routes.remove(&(self.interfaces[index].realm, ip));
        self.hosts[host.0].interfaces.retain(|&i| i != index);
    }

    fn add_route(&mut self, realm: Realm, ip: IpAddr, route: Route) {
        let old = self.routes.insert((realm, ip), route);
        assert!(old.is_none(), "{ip} is there twice in {realm:?}");
    }

    /// The first address of a host.
    pub fn ip(&self, host: HostId) -> IpAddr {
        self.interfaces[self.hosts[host.0].interfaces[0]].ip
    }

    /// All addresses of a host.
    pub fn ips(&self, host: HostId) -> Vec<IpAddr> {
        self.hosts[host.0].interfaces.iter().map(|&i| self.interfaces[i].ip).collect()
    }

    /// The link from a host's first interface into the network.
    pub fn up(&mut self, host: HostId) -> &mut Link {
        let index = self.hosts[host.0].interfaces[0];
        &mut self.interfaces[index].up.link
    }

    /// The link from the network to a host's first interface.
    pub fn down(&mut self, host: HostId) -> &mut Link {
        let index = self.hosts[host.0].interfaces[0];
        &mut self.interfaces[index].down.link
    }

    /// The two links, up and down, of the interface that has this address.
    pub fn links(&mut self, host: HostId, ip: IpAddr) -> (&mut Link, &mut Link) {
        let index = self.index_of(host, ip);
        let interface = &mut self.interfaces[index];
        (&mut interface.up.link, &mut interface.down.link)
    }

    /// What happened on the links, up and down, of a host's first interface.
    pub fn link_stats(&self, host: HostId) -> (LinkStats, LinkStats) {
        let interface = &self.interfaces[self.hosts[host.0].interfaces[0]];
        (interface.up.stats, interface.down.stats)
    }

    fn index_of(&self, host: HostId, ip: IpAddr) -> usize {
        let found = self.hosts[host.0].interfaces.iter().find(|&&i| self.interfaces[i].ip == ip);
        *found.unwrap_or_else(|| panic!("{host:?} does not have {ip}"))
    }

    // ---- Faults -----------------------------------------------------------------------------------------

    /// Makes `change` happen `after` from now.
    pub fn after(&mut self, after: Duration, change: impl FnOnce(&mut Network) + 'static) {
        self.schedule(self.now + after, Pending::Change(Box::new(change)));
    }

    /// Cuts the cable of `host`, all interfaces, for this long: what is sent meanwhile is lost.
    pub fn outage(&mut self, host: HostId, how_long: Duration) {
        self.set_up(host, false);
        self.after(how_long, move |network| network.set_up(host, true));
    }

    fn set_up(&mut self, host: HostId, up: bool) {
        for &index in &self.hosts[host.0].interfaces {
            self.interfaces[index].up.link.up = up;
            self.interfaces[index].down.link.up = up;
        }
    }

    /// Holds back everything to and from `host` for this long, as a radio does; nothing is lost but by the queue.
    pub fn hold(&mut self, host: HostId, how_long: Duration) {
        for &index in &self.hosts[host.0].interfaces {
            self.interfaces[index].up.hold(self.now + how_long);
            self.interfaces[index].down.hold(self.now + how_long);
        }
    }

    /// Stops the process on `host` for this long: neither datagrams nor time reach it; its sockets keep a little.
    pub fn freeze(&mut self, host: HostId, how_long: Duration) {
        let host = &mut self.hosts[host.0];
        host.frozen_until = host.frozen_until.max(self.now + how_long);
    }

    /// Drops everything between two addresses, as they appear outside of NATs, both ways.
    pub fn block(&mut self, a: IpAddr, b: IpAddr) {
        self.blocked.extend([(a, b), (b, a)]);
    }

    /// Takes [`block`](Network::block) back.
    pub fn unblock(&mut self, a: IpAddr, b: IpAddr) {
        self.blocked.remove(&(a, b));
        self.blocked.remove(&(b, a));
    }

    /// Makes a NAT forget its mappings; new ones get other ports.
    pub fn rebind(&mut self, nat: NatId) {
        self.nats[nat.0].rebind();
    }

    /// The address that `remote` sees when `host` sends to it from `inner`: what a STUN server there would tell.
    pub fn reflexive(&mut self, host: HostId, inner: SocketAddr, remote: SocketAddr) -> SocketAddr {
        let mut realm = self.interfaces[self.index_of(host, inner.ip())].realm;
        let mut source = inner;
        while realm != Realm::PUBLIC {
            source = self.nats[realm.0 - 1].outbound(self.now, source, remote);
            realm = self.outer[realm.0 - 1];
        }
        source
    }

    /// Whether a host has an address.
    pub fn has_address(&self, host: HostId, ip: IpAddr) -> bool {
        self.hosts[host.0].interfaces.iter().any(|&i| self.interfaces[i].ip == ip)
    }

    /// How far a TCP connection of `host` to `remote` gets: out through NATs, and not in through them.
    pub(super) fn connect(&self, host: HostId, from: Option<IpAddr>, port: u16, remote: SocketAddr) -> Reach {
        let usable = |&&i: &&usize| {
            let ip = self.interfaces[i].ip;
            ip.is_ipv4() == remote.is_ipv4() && from.is_none_or(|from| from == ip)
        };
        let Some(&own) = self.hosts[host.0].interfaces.iter().find(usable) else {
            return Reach::Silence { local: SocketAddr::new(self.ip(host), port) };
        };
        let local = SocketAddr::new(self.interfaces[own].ip, port);
        let (mut realm, mut seen) = (self.interfaces[own].realm, local);
        for _ in 0..MAX_HOPS {
            match self.routes.get(&(realm, remote.ip())) {
                Some(&Route::Interface(index)) => {
                    let (up, down) = (&self.interfaces[own].up.link, &self.interfaces[index].down.link);
                    let is_blocked = self.blocked.contains(&(seen.ip(), remote.ip()));
                    if !up.up || !down.up || is_blocked {
                        break;
                    }
                    let (host, delay) = (self.interfaces[index].host, up.delay + down.delay);
                    return Reach::Host { host, local, seen, delay };
                }
                None if realm != Realm::PUBLIC => {
                    let nat = &self.nats[realm.0 - 1].nat;
                    if nat.only_tcp_443 && remote.port() != 443 {
                        break;
                    }
                    seen.set_ip(nat.public);
                    realm = self.outer[realm.0 - 1];
                }
                _ => break,
            }
        }
        Reach::Silence { local }
    }

    /// Puts a datagram of a forged source into the public realm, now.
    pub fn inject(&mut self, source: SocketAddr, destination: SocketAddr, contents: &[u8]) {
        let flight = Flight { source, destination, ecn: Ecn::NotEct, contents: self.copy(contents) };
        self.schedule(self.now, Pending::Route { realm: Realm::PUBLIC, flight });
    }

    /// Shows every datagram that a host sends to `tap`.
    pub fn tap(&mut self, tap: impl FnMut(Seen<'_>) + 'static) {
        self.tap = Some(Box::new(tap));
    }

    // ---- Questions --------------------------------------------------------------------------------------

    /// The seed of this run.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Virtual time since the start of the run.
    pub fn elapsed(&self) -> Duration {
        self.now
    }

    /// Virtual time, as peers know it.
    pub fn now(&self) -> Instant {
        base() + self.now
    }

    /// A hash of every datagram sent so far: its time, addresses, ECN field and bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What became of datagrams.
    pub fn stats(&self) -> NetworkStats {
        self.stats
    }

    /// Until when a host is frozen.
    pub(super) fn frozen_until(&self, host: HostId) -> Duration {
        self.hosts[host.0].frozen_until
    }

    // ---- Motion -----------------------------------------------------------------------------------------

    /// When something happens next.
    pub(super) fn next_time(&self) -> Option<Duration> {
        self.queue.peek().map(|Reverse((at, ..))| *at)
    }

    pub(super) fn advance_to(&mut self, now: Duration) {
        debug_assert!(now >= self.now);
        self.now = now;
    }

    /// Lets one due thing happen; gives the datagram, when one reaches a host.
    pub(super) fn step(&mut self) -> Option<(HostId, Datagram)> {
        let &Reverse((at, _, slot)) = self.queue.peek()?;
        if at > self.now {
            return None;
        }
        self.queue.pop();
        self.free.push(slot);
        match self.pending[slot].take()? {
            Pending::Change(change) => {
                change(self);
                None
            }
            Pending::Route { realm, flight } => {
                let (index, flight) = self.route(realm, flight)?;
                if self.interfaces[index].down.is_perfect() {
                    return self.deliver(index, flight);
                }
                self.transmit(index, Direction::Down, flight);
                None
            }
            Pending::Deliver { interface, flight } => self.deliver(interface, flight),
        }
    }

    /// Takes what a host sends, segment by segment.
    pub(super) fn send(&mut self, host: HostId, transmit: &Transmit) {
        assert_eq!(transmit.protocol, Protocol::Udp, "only UDP is simulated");
        let count = transmit.segments().count();
        assert!(
            count == 1 || (count <= self.segment_limit && transmit.contents.len() <= 65_507),
            "{host:?} sends {count} segments, {} bytes: too much",
            transmit.contents.len()
        );
        let (source, destination) = (transmit.source, transmit.destination);
        assert_eq!(source.is_ipv4(), destination.is_ipv4(), "{host:?} mixes {source} and {destination}");
        let Some(&index) =
            self.hosts[host.0].interfaces.iter().find(|&&i| self.interfaces[i].ip == source.ip())
        else {
            panic!("{host:?} sends from {source}, which is none of its addresses");
        };
        for segment in transmit.segments() {
            assert!(segment.len() <= self.payload_limit, "{host:?} sends {} bytes", segment.len());
            self.stats.sent += 1;
            self.note(host, transmit, segment);
            let contents = self.copy(segment);
            let flight = Flight { source, destination, ecn: transmit.ecn, contents };
            self.transmit(index, Direction::Up, flight);
        }
    }

    fn note(&mut self, host: HostId, transmit: &Transmit, contents: &[u8]) {
        let Transmit { source, destination, ecn, .. } = *transmit;
        self.digest.number(self.now.as_nanos() as u64);
        digest_address(&mut self.digest, source);
        digest_address(&mut self.digest, destination);
        self.digest.number(ecn as u64);
        self.digest.bytes(contents);
        if let Some(tap) = &mut self.tap {
            tap(Seen { at: self.now, host, source, destination, ecn, contents });
        }
        self.say(|| format!("{source} -> {destination} {} ({} bytes)", kind(contents), contents.len()));
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:>12.6} {}", self.now.as_secs_f64(), what());
        }
    }

    fn copy(&mut self, bytes: &[u8]) -> BytesMut {
        if self.slab.capacity() < bytes.len() {
            self.slab.reserve(SLAB.max(bytes.len()));
        }
        self.slab.extend_from_slice(bytes);
        self.slab.split()
    }

    /// Puts a datagram on a link and schedules what comes out.
    fn transmit(&mut self, index: usize, direction: Direction, flight: Flight) {
        let Interface { realm, .. } = self.interfaces[index];
        let header = if flight.source.is_ipv4() { 28 } else { 48 };
        let len = flight.contents.len();
        let link = match direction {
            Direction::Up => &mut self.interfaces[index].up,
            Direction::Down => &mut self.interfaces[index].down,
        };
        let arrivals = link.send(self.now, len, len + header, flight.ecn);
        if arrivals[0].is_none() {
            self.say(|| format!("    lost {direction:?}: {} -> {}", flight.source, flight.destination));
        }
        let wrap = |flight| match direction {
            Direction::Up => Pending::Route { realm, flight },
            Direction::Down => Pending::Deliver { interface: index, flight },
        };
        let [first, second] = arrivals;
        if let Some(Arrival { at, ecn, damage }) = second {
            let mut contents = self.copy(&flight.contents);
            if let Some(damage) = damage {
                damage.apply(&mut contents);
            }
            self.schedule(at, wrap(Flight { ecn, contents, ..flight }));
        }
        if let Some(Arrival { at, ecn, damage }) = first {
            let mut flight = Flight { ecn, ..flight };
            if let Some(damage) = damage {
                damage.apply(&mut flight.contents);
            }
            self.schedule(at, wrap(flight));
        }
    }

    /// Finds the interface that a datagram goes to, through all NATs on the way.
    fn route(&mut self, mut realm: Realm, mut flight: Flight) -> Option<(usize, Flight)> {
        for _ in 0..MAX_HOPS {
            match self.routes.get(&(realm, flight.destination.ip())) {
                Some(&Route::Interface(index)) => return self.unless_blocked(index, flight),
                Some(&Route::Nat(nat)) => {
                    let port = flight.destination.port();
                    let Some(inner) = self.nats[nat].inbound(self.now, port, flight.source) else {
                        self.stats.filtered += 1;
                        self.say(|| format!("    filtered: {} -> {}", flight.source, flight.destination));
                        return None;
                    };
                    flight.destination = inner;
                    realm = Realm(nat + 1);
                }
                None if realm == Realm::PUBLIC => break,
                None => {
                    let nat = realm.0 - 1;
                    if self.nats[nat].nat.only_tcp_443 {
                        self.stats.filtered += 1;
                        return None;
                    }
                    let public = self.nats[nat].nat.public;
                    flight.source = self.nats[nat].outbound(self.now, flight.source, flight.destination);
                    if flight.destination.ip() == public && !self.nats[nat].nat.hairpin {
                        self.stats.hairpins_refused += 1;
                        return None;
                    }
                    realm = self.outer[nat];
                }
            }
        }
        self.stats.unroutable += 1;
        self.say(|| format!("    unroutable: {}", flight.destination));
        None
    }

    fn unless_blocked(&mut self, index: usize, flight: Flight) -> Option<(usize, Flight)> {
        if self.blocked.contains(&(flight.source.ip(), flight.destination.ip())) {
            self.stats.blocked += 1;
            return None;
        }
        Some((index, flight))
    }

    fn deliver(&mut self, interface: usize, flight: Flight) -> Option<(HostId, Datagram)> {
        let id = self.interfaces[interface].host;
        let host = &mut self.hosts[id.0];
        if host.frozen_until > self.now {
            if host.socket_bytes + flight.contents.len() > SOCKET_BUFFER {
                self.stats.socket_overflows += 1;
                return None;
            }
            host.socket_bytes += flight.contents.len();
            let at = host.frozen_until;
            self.schedule(at, Pending::Deliver { interface, flight });
            return None;
        }
        host.socket_bytes = host.socket_bytes.saturating_sub(flight.contents.len());
        self.stats.delivered += 1;
        let Flight { source, destination, ecn, contents } = flight;
        Some((id, Datagram { ecn, ..Datagram::udp(source, destination, contents) }))
    }

    fn schedule(&mut self, at: Duration, pending: Pending) {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.pending.push(None);
                self.pending.len() - 1
            }
        };
        self.pending[slot] = Some(pending);
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence, slot)));
    }
}

#[derive(Debug, Clone, Copy)]
enum Direction {
    Up,
    Down,
}

impl Drop for Network {
    /// A failing run says how to repeat it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Network { seed, now, stats, digest, .. } = self;
            eprintln!("seed {seed} failed at {now:?}; replay with SANSRTC_SEED={seed}");
            eprintln!("{stats:?} digest {digest}");
        }
    }
}

/// The instant that every run starts at: one for the whole process, and well above zero, so that peers may
/// subtract from it.
pub fn base() -> Instant {
    static BASE: OnceLock<Instant> = OnceLock::new();
    // The only reading of a clock in the simulator: `Instant` has no other constructor.
    #[allow(clippy::disallowed_methods)]
    *BASE.get_or_init(|| Instant::now() + Duration::from_secs(86_400))
}

fn digest_address(digest: &mut Digest, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => digest.number(u64::from(ip.to_bits())),
        IpAddr::V6(ip) => digest.bytes(&ip.octets()),
    }
    digest.number(u64::from(address.port()));
}

/// What a datagram looks like (RFC 7983 §7).
fn kind(contents: &[u8]) -> &'static str {
    match contents.first() {
        None => "empty",
        Some(0..=3) => "STUN",
        Some(16..=19) => "ZRTP",
        Some(20..=63) => "DTLS",
        Some(64..=79) => "TURN channel",
        Some(128..=191) => "RTP",
        Some(_) => "unknown",
    }
}
