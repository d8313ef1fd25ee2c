//! The machine: asks for the names of others, answers for one's own.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::message::{Message, Question, Record};
use crate::buffer::Pool;
use crate::packet::{Ecn, Protocol, Transmit};
use crate::rng::Rng;
use crate::time::{Backoff, Timer, earliest};
use crate::wire::limited::LimitedMap;

/// RFC 6762 §3.
const PORT: u16 = 5353;
const GROUP_V4: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251)), PORT);
const GROUP_V6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb)), PORT);
/// RFC 6762 §10: the TTL of addresses, and the most that a legacy resolver is told (§6.7).
const TTL: u32 = 120;
const LEGACY_TTL: u32 = 10;
/// RFC 6762 §6: a record is multicast once a second at most, and announced so far apart (§8.3).
const QUIET: Duration = Duration::from_secs(1);
/// The longest message written: one name.
const MAX_MESSAGE: usize = 400;
/// Messages waiting to be polled.
const MAX_OUTBOX: usize = 64;

/// A name that hides an address: one label, and `.local`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// Reads a candidate's name. Only one label before `.local` is taken (draft §3.2.1), of at most 63
    /// letters, digits and hyphens; case does not matter.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let lower = text.to_ascii_lowercase();
        let label = lower.strip_suffix(".local").ok_or(NameError)?;
        let valid = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if label.is_empty() || label.len() > 63 || !label.bytes().all(valid) {
            return Err(NameError);
        }
        Ok(Name(lower))
    }

    /// A fresh one: a version 4 UUID (draft §3.1.1, RFC 4122 §4.4).
    pub fn generate(rng: &mut Rng) -> Self {
        let [high, low] = [rng.u64(), rng.u64()];
        let version = high & !0xf000 | 0x4000;
        let variant = low & !(0b11 << 62) | 0b10 << 62;
        Name(format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}.local",
            version >> 32,
            version >> 16 & 0xffff,
            version & 0xffff,
            variant >> 48,
            variant & 0xffff_ffff_ffff,
        ))
    }

    /// Whether it has the form of a UUID, as names of candidates have; others may be devices that a stranger
    /// wants touched (draft §3.2.2).
    pub fn is_uuid(&self) -> bool {
        let parts: Vec<&str> = self.0.trim_end_matches(".local").split('-').collect();
        let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        lengths == [8, 4, 4, 4, 12] && parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_hexdigit()))
    }

    /// The name in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not a label before `.local`, or the name is not one that is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a name of an ICE candidate")]
pub struct NameError;

/// Where to speak, and the bounds.
#[derive(Debug, Clone)]
pub struct Config {
    /// The local addresses of the caller's multicast sockets (port 5353), one per interface and IP version.
    pub sockets: Vec<SocketAddr>,
    /// Only names that are UUIDs are resolved (draft §3.2.2). Default yes.
    pub only_uuids: bool,
    /// Questions for one name, at 0, 1, 3, ... seconds. Default 3.
    pub questions: u32,
    /// Names that are asked for at one time. Default 32.
    pub max_resolving: usize,
    /// Own names. Default 16.
    pub max_names: usize,
}

impl Config {
    /// The defaults, on these sockets.
    pub fn new(sockets: Vec<SocketAddr>) -> Self {
        Config { sockets, only_uuids: true, questions: 3, max_resolving: 32, max_names: 16 }
    }
}

/// What became of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// It has this address.
    Resolved(Name, IpAddr),
    /// Nobody answered, or with more than one address (draft §3.2.2: then it is ignored).
    Unresolved(Name),
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Questions sent.
    pub questions: u64,
    /// Answers and announcements sent.
    pub answers: u64,
    /// Packets dropped: malformed, or from another port than 5353 where that matters.
    pub dropped: u64,
}

/// A resolver and responder.
///
/// # Contract
/// The caller's sockets are bound to port 5353, joined to 224.0.0.251 or ff02::fb, and take packets of their own
/// link only (RFC 6762 §11). After every call drain [`poll_transmit`](Mdns::poll_transmit) and
/// [`poll_event`](Mdns::poll_event), and ask [`next_timeout`](Mdns::next_timeout).
#[derive(Debug)]
pub struct Mdns {
    config: Config,
    rng: Rng,
    resolving: LimitedMap<Name, Resolving>,
    own: LimitedMap<Name, Own>,
    outbox: VecDeque<Outgoing>,
    events: VecDeque<Event>,
    stats: Stats,
}

#[derive(Debug)]
struct Resolving {
    next: Timer,
    backoff: Backoff,
    left: u32,
}

#[derive(Debug)]
struct Own {
    ip: IpAddr,
    /// The second announcement (RFC 6762 §8.3).
    announce: Timer,
    /// No multicast before this.
    quiet_until: Option<Instant>,
}

#[derive(Debug)]
struct Outgoing {
    source: SocketAddr,
    destination: SocketAddr,
    message: Message,
}

impl Mdns {
    /// A machine that knows no names.
    pub fn new(config: Config, rng: Rng) -> Self {
        Mdns {
            resolving: LimitedMap::new(config.max_resolving),
            own: LimitedMap::new(config.max_names),
            config,
            rng,
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    // ----- commands -----

    /// Asks for a name's address. `false` when as many are being asked for as may be, or when the name is none of
    /// a candidate. Asked for twice it is answered once.
    pub fn resolve(&mut self, now: Instant, name: &Name) -> bool {
        if self.config.only_uuids && !name.is_uuid() {
            return false;
        }
        if let Some(own) = self.own.get(name) {
            self.events.push_back(Event::Resolved(name.clone(), own.ip));
            return true;
        }
        if self.resolving.get(name).is_some() {
            return true;
        }
        // RFC 6762 §5.2: a second between the first two, then twice as long every time.
        let backoff = Backoff::new(QUIET, Duration::from_secs(60));
        let resolving = Resolving { next: Timer::new(), backoff, left: self.config.questions };
        let taken = self.resolving.insert(name.clone(), resolving).is_ok();
        if taken {
            self.ask(now, name);
        }
        taken
    }

    /// Stops asking.
    pub fn cancel(&mut self, name: &Name) {
        self.resolving.remove(name);
    }

    /// Hides an address behind a fresh name, which is announced; `None` when there are too many. An address that
    /// has a name keeps it.
    pub fn register(&mut self, now: Instant, ip: IpAddr) -> Option<Name> {
        if let Some((name, _)) = self.own.iter().find(|(_, own)| own.ip == ip) {
            return Some(name.clone());
        }
        let name = Name::generate(&mut self.rng);
        let own = Own { ip, announce: Timer::new(), quiet_until: None };
        self.own.insert(name.clone(), own).ok()?;
        self.multicast(now, &name, TTL);
        if let Some(own) = self.own.get_mut(&name) {
            own.announce.arm(now + QUIET);
        }
        Some(name)
    }

    /// Gives a name up, and tells so (RFC 6762 §10.1).
    pub fn withdraw(&mut self, now: Instant, name: &Name) {
        if let Some(own) = self.own.get_mut(name) {
            own.quiet_until = None;
            self.multicast(now, name, 0);
            self.own.remove(name);
        }
    }

    // ----- input -----

    /// Takes a datagram that came to one of the sockets.
    pub fn handle_packet(&mut self, now: Instant, source: SocketAddr, local: SocketAddr, packet: &[u8]) {
        match Message::parse(packet) {
            // RFC 6762 §6: a response from another port is none.
            Ok(message) if message.is_response && source.port() == PORT => self.on_response(&message),
            Ok(message) if !message.is_response => self.on_question(now, source, local, &message),
            _ => self.stats.dropped += 1,
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let expired = |timer: &Timer| timer.deadline().is_some_and(|at| at <= now);
        let due = |(name, resolving): (&Name, &Resolving)| expired(&resolving.next).then(|| name.clone());
        for name in self.resolving.iter().filter_map(due).collect::<Vec<_>>() {
            if self.resolving.get(&name).is_some_and(|resolving| resolving.left > 0) {
                self.ask(now, &name);
            } else {
                self.resolving.remove(&name);
                self.events.push_back(Event::Unresolved(name));
            }
        }
        let due = |(name, own): (&Name, &Own)| expired(&own.announce).then(|| name.clone());
        for name in self.own.iter().filter_map(due).collect::<Vec<_>>() {
            if let Some(own) = self.own.get_mut(&name) {
                own.announce.cancel();
                own.quiet_until = None;
            }
            self.multicast(now, &name, TTL);
        }
    }

    // ----- output -----

    /// The next datagram.
    pub fn poll_transmit(&mut self, pool: &mut Pool) -> Option<Transmit> {
        let Outgoing { source, destination, message } = self.outbox.pop_front()?;
        let tail = pool.tail(MAX_MESSAGE);
        message.emit(tail);
        let counter = if message.is_response { &mut self.stats.answers } else { &mut self.stats.questions };
        *counter += 1;
        Some(Transmit {
            contents: tail.split().into(),
            destination,
            source,
            protocol: Protocol::Mdns,
            ecn: Ecn::NotEct,
            segment_size: None,
        })
    }

    /// The next event. At most one per name that was asked for.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Mdns::handle_timeout).
    pub fn next_timeout(&self) -> Option<Instant> {
        let resolving = self.resolving.iter().map(|(_, resolving)| resolving.next.deadline());
        earliest(resolving.chain(self.own.iter().map(|(_, own)| own.announce.deadline())))
    }

    /// What was counted.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    // ----- inside -----

    fn ask(&mut self, now: Instant, name: &Name) {
        let Some(resolving) = self.resolving.get_mut(name) else { return };
        // Draft §3.2.1: an answer by unicast is asked for, since nobody else wants it. RFC 6762 §5.4 has that
        // for the first question only, so later ones reach those who would answer by multicast.
        let unicast = resolving.left == self.config.questions;
        resolving.left = resolving.left.saturating_sub(1);
        resolving.next.arm(now + resolving.backoff.step());
        let question = Question { name: name.0.clone(), v4: true, v6: true, unicast };
        self.send_to_group(&Message { questions: vec![question], ..Message::default() });
    }

    fn on_response(&mut self, message: &Message) {
        for record in message.records.iter().filter(|record| record.ttl > 0) {
            let Ok(name) = Name::new(&record.name) else { continue };
            if self.resolving.remove(&name).is_none() {
                continue;
            }
            let addresses = message.records.iter().filter(|other| other.name == record.name && other.ttl > 0);
            // Draft §3.2.2: more than one address is not what a candidate's name has.
            let is_one = addresses.into_iter().all(|other| other.ip == record.ip);
            let usable = is_one && !record.ip.is_unspecified() && !record.ip.is_multicast();
            self.events.push_back(if usable {
                Event::Resolved(name, record.ip)
            } else {
                Event::Unresolved(name)
            });
        }
    }

    fn on_question(&mut self, now: Instant, source: SocketAddr, local: SocketAddr, message: &Message) {
        let legacy = source.port() != PORT;
        for question in &message.questions {
            let Ok(name) = Name::new(&question.name) else { continue };
            let Some(own) = self.own.get(&name) else { continue };
            let ip = own.ip;
            let wanted = if ip.is_ipv4() { question.v4 } else { question.v6 };
            // RFC 6762 §7.1: who knows the answer, for half of its life at least, needs none.
            let knows = |r: &Record| r.name == question.name && r.ip == ip && r.ttl >= TTL / 2;
            if !wanted || message.records.iter().any(knows) {
                continue;
            }
            match () {
                () if legacy => {
                    // RFC 6762 §6.7: the question and its number go back with the answer.
                    let record = Record { name: question.name.clone(), ip, ttl: LEGACY_TTL };
                    let question = Question { unicast: false, ..question.clone() };
                    let answer = Message {
                        id: message.id,
                        is_response: true,
                        questions: vec![question],
                        records: vec![record],
                    };
                    self.push(Outgoing { source: local, destination: source, message: answer });
                    // One answer for one packet, to whoever that claims to be.
                    return;
                }
                () if question.unicast => {
                    let record = Record { name: question.name.clone(), ip, ttl: TTL };
                    let answer = Message { is_response: true, records: vec![record], ..Message::default() };
                    self.push(Outgoing { source: local, destination: source, message: answer });
                    return;
                }
                // RFC 6762 §6: nobody else has this name, so there is no delay.
                () => self.multicast(now, &name, TTL),
            }
        }
    }

    /// Tells everybody on the link; once a second at most (RFC 6762 §6).
    fn multicast(&mut self, now: Instant, name: &Name, ttl: u32) {
        let Some(own) = self.own.get_mut(name) else { return };
        if own.quiet_until.is_some_and(|until| now < until) {
            return;
        }
        own.quiet_until = Some(now + QUIET);
        let record = Record { name: name.0.clone(), ip: own.ip, ttl };
        self.send_to_group(&Message { is_response: true, records: vec![record], ..Message::default() });
    }

    fn send_to_group(&mut self, message: &Message) {
        for at in 0..self.config.sockets.len() {
            let source = self.config.sockets[at];
            let destination = if source.is_ipv4() { GROUP_V4 } else { GROUP_V6 };
            self.push(Outgoing { source, destination, message: message.clone() });
        }
    }

    /// A full outbox drops what is new: questions are asked again, and so are answers.
    fn push(&mut self, outgoing: Outgoing) {
        if self.outbox.len() < MAX_OUTBOX {
            self.outbox.push_back(outgoing);
        }
    }
}
