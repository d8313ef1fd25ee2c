//! How a NAT behaves, by asking a STUN server with two addresses (RFC 5780).
//!
//! ```text
//! test       asks             answer comes from     what an answer says
//! reach      A1:P1            A1:P1                 the mapped address, and A2:P2
//! filter     A1:P1            A2:P2                 filtering is endpoint-independent
//! filter     A1:P1            A1:P2                 ... address-dependent; silence: address and port-dependent
//! map        A2:P1            A2:P1                 the same mapped address: endpoint-independent mapping
//! map        A2:P2            A2:P2                 the same as from A2:P1: address-dependent mapping
//! hairpin    the mapped address                     the request itself comes back: the NAT does hairpins
//! ```
//!
//! The tests run one after another on one socket, those of the filter first: they count on nothing having been
//! sent to the other addresses yet (RFC 5780 §4.4, §4.5). The socket must be a fresh one.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::attributes::{CHANGE_REQUEST, types};
use super::{Builder, Class, Message, Method, TransactionId};
use crate::buffer::Pool;
use crate::packet::{Ecn, Protocol, Transmit};
use crate::rng::Rng;
use crate::time::{Backoff, Timer};

/// The longest interval between two sendings of a request.
const MAX_INTERVAL: Duration = Duration::from_secs(2);

/// What a mapping or a filter depends on (RFC 4787 §4.1, §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behavior {
    /// The inner address alone.
    EndpointIndependent,
    /// The inner address and the outer IP address.
    AddressDependent,
    /// The inner address and the outer address with its port.
    AddressAndPortDependent,
}

impl fmt::Display for Behavior {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Behavior::EndpointIndependent => "endpoint-independent",
            Behavior::AddressDependent => "address-dependent",
            Behavior::AddressAndPortDependent => "address and port-dependent",
        })
    }
}

/// The older names for what stands before a client (RFC 3489 §5), in which people still talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NatKind {
    /// Nothing came back: UDP is blocked, or the server is not there.
    Blocked,
    /// No translation, and no filter.
    Open,
    /// No translation, but a filter.
    Firewall,
    /// Mapping and filtering are endpoint-independent.
    FullCone,
    /// Endpoint-independent mapping, address-dependent filtering.
    AddressRestricted,
    /// Endpoint-independent mapping, address and port-dependent filtering.
    PortRestricted,
    /// Another mapping for other destinations.
    Symmetric,
    /// The server could not tell.
    Unknown,
}

impl fmt::Display for NatKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NatKind::Blocked => "blocked",
            NatKind::Open => "open",
            NatKind::Firewall => "firewall",
            NatKind::FullCone => "full cone",
            NatKind::AddressRestricted => "address-restricted cone",
            NatKind::PortRestricted => "port-restricted cone",
            NatKind::Symmetric => "symmetric",
            NatKind::Unknown => "unknown",
        })
    }
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// The client as the server sees it; `None` when the server did not answer.
    pub mapped: Option<SocketAddr>,
    /// Whether that is another address than the client's own.
    pub is_translated: bool,
    /// When the NAT uses another mapping; `None` when the server cannot tell.
    pub mapping: Option<Behavior>,
    /// Whom the NAT lets in; `None` when the server cannot tell.
    pub filtering: Option<Behavior>,
    /// Whether the client reaches itself by its mapped address; `None` when there is no translation.
    pub hairpin: Option<bool>,
}

impl Report {
    /// The older name for it.
    pub fn kind(&self) -> NatKind {
        use Behavior::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
        match (self.mapped, self.is_translated, self.mapping, self.filtering) {
            (None, ..) => NatKind::Blocked,
            (_, false, _, Some(EndpointIndependent)) => NatKind::Open,
            (_, false, _, Some(_)) => NatKind::Firewall,
            (_, true, Some(AddressDependent | AddressAndPortDependent), _) => NatKind::Symmetric,
            (_, true, Some(EndpointIndependent), Some(EndpointIndependent)) => NatKind::FullCone,
            (_, true, Some(EndpointIndependent), Some(AddressDependent)) => NatKind::AddressRestricted,
            (_, true, Some(EndpointIndependent), Some(AddressAndPortDependent)) => NatKind::PortRestricted,
            _ => NatKind::Unknown,
        }
    }
}

/// What a discovery is told.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// The server's primary address.
    pub server: SocketAddr,
    /// The local address of the socket, which nothing else uses.
    pub local: SocketAddr,
    /// The first retransmission interval. Default 500 ms (RFC 8489 §6.2.1).
    pub rto: Duration,
    /// Times that a request is sent before its test counts as unanswered, 1 to 7. Default 4: silence is what two
    /// of the tests expect of most NATs, and with seven it would take 40 s each.
    pub sendings: u32,
}

impl Config {
    /// The defaults for a server and a socket.
    pub fn new(server: SocketAddr, local: SocketAddr) -> Self {
        Config { server, local, rto: Duration::from_millis(500), sendings: 4 }
    }
}

/// The tests, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Test {
    Reach,
    FilterAll,
    FilterPort,
    MapAddress,
    MapPort,
    Hairpin,
}

/// Runs the tests.
///
/// # Contract
/// Feed datagrams of the socket, and time; drain [`poll_transmit`](Discovery::poll_transmit) after each, ask
/// [`next_timeout`](Discovery::next_timeout); [`report`](Discovery::report) is there when all is done.
///
/// Whatever a server says, it is asked at most `sendings` times per test, and so is the other address that it
/// names: it cannot aim more than a few small requests at a third party.
#[derive(Debug)]
pub struct Discovery {
    config: Config,
    rng: Rng,
    report: Report,
    /// The server's other address.
    other: Option<SocketAddr>,
    /// The mapped address towards the server's other IP address.
    mapped_there: Option<SocketAddr>,
    /// The test that runs; `None` when all are done.
    test: Option<Test>,
    id: TransactionId,
    left: u32,
    backoff: Backoff,
    timer: Timer,
    is_due: bool,
}

impl Discovery {
    /// A discovery that begins now.
    pub fn new(config: Config, mut rng: Rng) -> Self {
        let config = Config { sendings: config.sendings.clamp(1, 7), ..config };
        Discovery {
            id: TransactionId::generate(&mut rng),
            rng,
            report: Report::default(),
            other: None,
            mapped_there: None,
            test: Some(Test::Reach),
            left: config.sendings - 1,
            backoff: Backoff::new(config.rto, MAX_INTERVAL),
            timer: Timer::new(),
            is_due: true,
            config,
        }
    }

    /// Takes a datagram of the socket; whether it was one of ours.
    pub fn handle_packet(&mut self, source: SocketAddr, packet: &[u8]) -> bool {
        let Some(test) = self.test else { return false };
        let Ok(message) = Message::parse(packet) else { return false };
        if message.method() != Method::BINDING || message.transaction() != self.id {
            return false;
        }
        match (message.class(), test) {
            (Class::Request, Test::Hairpin) => self.finish(Some(true)),
            (Class::Success, Test::Hairpin) | (Class::Request | Class::Indication, _) => {}
            (Class::Error, _) => self.on_unable(test),
            (Class::Success, _) => match message.mapped_address() {
                Some(mapped) => self.on_mapped(test, source, mapped, message.address(types::OTHER_ADDRESS)),
                None => self.on_unable(test),
            },
        }
        true
    }

    /// Sends again, or takes silence for an answer.
    pub fn handle_timeout(&mut self, now: Instant) {
        if !self.timer.expire(now) {
            return;
        }
        match (self.left.checked_sub(1), self.test) {
            (Some(left), Some(_)) => {
                self.left = left;
                self.is_due = true;
            }
            (None, Some(test)) => self.on_silence(test),
            (_, None) => {}
        }
    }

    /// The next request.
    pub fn poll_transmit(&mut self, now: Instant, pool: &mut Pool) -> Option<Transmit> {
        let test = self.test.filter(|_| std::mem::take(&mut self.is_due))?;
        let destination = self.target(test)?;
        let tail = pool.tail(64);
        let mut builder = Builder::new(tail, Class::Request, Method::BINDING, self.id);
        // RFC 5780 §7.2: 4 changes the IP address, 2 the port.
        match test {
            Test::FilterAll => drop(builder.attribute(CHANGE_REQUEST, &[0, 0, 0, 6])),
            Test::FilterPort => drop(builder.attribute(CHANGE_REQUEST, &[0, 0, 0, 2])),
            _ => {}
        }
        builder.finish();
        self.timer.arm(now + self.backoff.step());
        Some(Transmit {
            contents: tail.split().into(),
            destination,
            source: self.config.local,
            protocol: Protocol::Udp,
            ecn: Ecn::NotEct,
            segment_size: None,
        })
    }

    /// When to call [`handle_timeout`](Discovery::handle_timeout); `None` when all is done.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timer.deadline()
    }

    /// What was found, when all tests are done.
    pub fn report(&self) -> Option<Report> {
        self.test.is_none().then_some(self.report)
    }

    // ----- the course of the tests -----

    /// Where a test's request goes.
    fn target(&self, test: Test) -> Option<SocketAddr> {
        match test {
            Test::Reach | Test::FilterAll | Test::FilterPort => Some(self.config.server),
            Test::MapAddress => {
                self.other.map(|other| SocketAddr::new(other.ip(), self.config.server.port()))
            }
            Test::MapPort => self.other,
            Test::Hairpin => self.report.mapped,
        }
    }

    /// Where a test's answer has to come from, to say what it is taken to say.
    fn origin(&self, test: Test) -> Option<SocketAddr> {
        match test {
            Test::FilterAll => self.other,
            Test::FilterPort => {
                self.other.map(|other| SocketAddr::new(self.config.server.ip(), other.port()))
            }
            _ => self.target(test),
        }
    }

    fn on_mapped(&mut self, test: Test, source: SocketAddr, mapped: SocketAddr, other: Option<SocketAddr>) {
        if self.origin(test) != Some(source) {
            // A server that answers from where it was asked did not do what CHANGE-REQUEST says.
            if source == self.config.server && matches!(test, Test::FilterAll | Test::FilterPort) {
                self.on_unable(test);
            }
            return;
        }
        match test {
            Test::Reach => {
                self.report.mapped = Some(mapped);
                self.report.is_translated = mapped != self.config.local;
                let server = self.config.server;
                self.other = other.filter(|other| {
                    let is_other = other.ip() != server.ip() && other.port() != server.port();
                    is_other && other.port() != 0 && other.is_ipv4() == server.is_ipv4()
                });
                match self.other {
                    Some(_) => self.begin(Test::FilterAll),
                    None => self.hairpin(),
                }
            }
            Test::FilterAll => self.on_filtering(Behavior::EndpointIndependent),
            Test::FilterPort => self.on_filtering(Behavior::AddressDependent),
            Test::MapAddress if self.report.mapped == Some(mapped) => {
                self.on_mapping(Behavior::EndpointIndependent);
            }
            Test::MapAddress => {
                self.mapped_there = Some(mapped);
                self.begin(Test::MapPort);
            }
            Test::MapPort if self.mapped_there == Some(mapped) => {
                self.on_mapping(Behavior::AddressDependent);
            }
            Test::MapPort => self.on_mapping(Behavior::AddressAndPortDependent),
            Test::Hairpin => {}
        }
    }

    fn on_silence(&mut self, test: Test) {
        match test {
            Test::Reach => self.finish(None),
            Test::FilterAll => self.begin(Test::FilterPort),
            Test::FilterPort => self.on_filtering(Behavior::AddressAndPortDependent),
            Test::MapAddress | Test::MapPort => self.hairpin(),
            Test::Hairpin => self.finish(Some(false)),
        }
    }

    /// The server cannot do the test.
    fn on_unable(&mut self, test: Test) {
        match test {
            Test::Reach | Test::Hairpin => self.finish(None),
            Test::FilterAll | Test::FilterPort => self.map(),
            Test::MapAddress | Test::MapPort => self.hairpin(),
        }
    }

    fn on_filtering(&mut self, behavior: Behavior) {
        self.report.filtering = Some(behavior);
        self.map();
    }

    fn on_mapping(&mut self, behavior: Behavior) {
        self.report.mapping = Some(behavior);
        self.hairpin();
    }

    /// RFC 5780 §4.3: without translation the mapping is endpoint-independent, and there is nothing to ask.
    fn map(&mut self) {
        match self.report.is_translated {
            true => self.begin(Test::MapAddress),
            false => self.on_mapping(Behavior::EndpointIndependent),
        }
    }

    fn hairpin(&mut self) {
        match self.report.is_translated {
            true => self.begin(Test::Hairpin),
            false => self.finish(None),
        }
    }

    fn begin(&mut self, test: Test) {
        self.test = Some(test);
        self.id = TransactionId::generate(&mut self.rng);
        self.left = self.config.sendings - 1;
        self.backoff = Backoff::new(self.config.rto, MAX_INTERVAL);
        self.timer.cancel();
        self.is_due = true;
    }

    fn finish(&mut self, hairpin: Option<bool>) {
        self.report.hairpin = hairpin;
        self.test = None;
        self.is_due = false;
        self.timer.cancel();
    }
}
