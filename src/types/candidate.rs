//! ICE candidates as values (RFC 8445 §5.1) and as text (RFC 8839 §5.1).
//!
//! ```text
//! candidate:2 1 udp 1694498815 192.0.2.3 45664 typ srflx raddr 203.0.113.141 rport 8998 generation 0
//!           │ │ │   │          │         │         │           └ related address          └ extensions
//!           │ │ │   priority   └ address ┘         kind
//!           │ │ protocol
//!           │ component
//!           foundation
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::packet::Protocol;

/// How a candidate was obtained (RFC 8445 §4), from the most direct to the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CandidateKind {
    /// An address of a local interface.
    Host,
    /// Learned from a connectivity check: an address that a NAT gave on the way to the peer.
    PeerReflexive,
    /// Learned from a STUN server: an address that a NAT gave on the way to it.
    ServerReflexive,
    /// An address of a TURN server, which relays.
    Relayed,
}

impl CandidateKind {
    /// The recommended type preference (RFC 8445 §5.1.2.2).
    pub const fn preference(self) -> u8 {
        match self {
            CandidateKind::Host => 126,
            CandidateKind::PeerReflexive => 110,
            CandidateKind::ServerReflexive => 100,
            CandidateKind::Relayed => 0,
        }
    }

    /// The name behind `typ`.
    pub const fn name(self) -> &'static str {
        match self {
            CandidateKind::Host => "host",
            CandidateKind::PeerReflexive => "prflx",
            CandidateKind::ServerReflexive => "srflx",
            CandidateKind::Relayed => "relay",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        use CandidateKind::*;
        [Host, PeerReflexive, ServerReflexive, Relayed].into_iter().find(|kind| kind.name() == name)
    }
}

/// Who opens the connection of a TCP candidate (RFC 6544 §4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TcpType {
    /// It connects; its port is the discard port, 9.
    Active,
    /// It listens.
    Passive,
    /// Both ends connect at the same time.
    SimultaneousOpen,
}

impl TcpType {
    /// The name behind `tcptype`.
    pub const fn name(self) -> &'static str {
        match self {
            TcpType::Active => "active",
            TcpType::Passive => "passive",
            TcpType::SimultaneousOpen => "so",
        }
    }

    /// The type that a remote candidate must have to be paired with this one (RFC 6544 §6.2).
    #[must_use]
    pub const fn counterpart(self) -> Self {
        match self {
            TcpType::Active => TcpType::Passive,
            TcpType::Passive => TcpType::Active,
            TcpType::SimultaneousOpen => TcpType::SimultaneousOpen,
        }
    }

    /// The recommended direction preference of host and relayed candidates (RFC 6544 §4.2).
    const fn preference(self) -> u16 {
        match self {
            TcpType::Active => 6,
            TcpType::Passive => 4,
            TcpType::SimultaneousOpen => 2,
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        use TcpType::*;
        [Active, Passive, SimultaneousOpen].into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

/// The priority of a candidate (RFC 8445 §5.1.2.1). `component` is 1 to 256.
pub const fn priority(type_preference: u8, local_preference: u16, component: u16) -> u32 {
    // Widening only: `From` is not yet callable in a constant.
    ((type_preference as u32) << 24)
        + ((local_preference as u32) << 8)
        + 256u32.saturating_sub(component as u32)
}

/// Where a candidate is: an address, or a name that stands for one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CandidateAddress {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// A name and a port: a browser's mDNS name (ending in `.local`) in place of a private address. It is of no
    /// use before it is resolved, and other names are to be ignored (RFC 8839 §5.1).
    Name {
        /// The host name, at most 255 bytes.
        host: Box<str>,
        /// The port.
        port: u16,
    },
}

/// Groups candidates that are likely to work or fail together: 1 to 32 ice-chars (RFC 8445 §5.1.1.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Foundation {
    len: u8,
    bytes: [u8; 32],
}

impl Foundation {
    /// The foundation `text`; `None` unless it is 1 to 32 ice-chars.
    ///
    /// The characters `-`, `_` and `=` are taken too: some stacks use them, and nothing depends on it.
    pub fn new(text: &str) -> Option<Self> {
        let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"+/-_=".contains(b);
        let source = text.as_bytes();
        let mut bytes = [0; 32];
        let place = bytes.get_mut(..source.len())?;
        if source.is_empty() || !source.iter().all(allowed) {
            return None;
        }
        place.copy_from_slice(source);
        Some(Foundation { len: u8::try_from(source.len()).ok()?, bytes })
    }

    /// The foundation of a local candidate. RFC 8445 §5.1.1.3: the same for the same kind, protocol, base
    /// address and server, different otherwise.
    fn of(kind: CandidateKind, protocol: Protocol, base: IpAddr, server: Option<IpAddr>) -> Self {
        let mut hash = Fnv::new();
        hash.byte(kind.preference());
        hash.byte(if protocol == Protocol::Udp { 0 } else { 1 });
        hash.address(base);
        if let Some(server) = server {
            hash.address(server);
        }
        let mut digits = [0; 10];
        let mut value = hash.0;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + u8::try_from(value % 10).unwrap_or(0);
            value /= 10;
        }
        let mut bytes = [0; 32];
        bytes[..10].copy_from_slice(&digits);
        Foundation { len: 10, bytes }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Only ASCII is ever stored.
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or("")
    }
}

impl Default for Foundation {
    /// That of a candidate of which nobody said anything: `0`.
    fn default() -> Self {
        let mut bytes = [0; 32];
        bytes[0] = b'0';
        Foundation { len: 1, bytes }
    }
}

impl fmt::Display for Foundation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Foundation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Foundation({self})")
    }
}

/// FNV-1a, 32 bits: foundations must be equal or different, nothing more.
struct Fnv(u32);

impl Fnv {
    fn new() -> Self {
        Fnv(0x811c_9dc5)
    }

    fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }

    fn address(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => ip.octets().into_iter().for_each(|b| self.byte(b)),
            IpAddr::V6(ip) => ip.octets().into_iter().for_each(|b| self.byte(b)),
        }
    }
}

/// Why an address cannot be a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CandidateError {
    /// `0.0.0.0` or `::`: a candidate is an address that a peer can send to.
    #[error("a candidate needs a concrete address, not a wildcard")]
    Unspecified,
    /// A multicast or broadcast address.
    #[error("a candidate needs a unicast address")]
    NotUnicast,
    /// An IPv4 address in IPv6 clothing (`::ffff:a.b.c.d`); write it as IPv4 (RFC 8445 §5.1.1.1).
    #[error("an IPv4-mapped IPv6 address must be given as IPv4")]
    Mapped,
    /// Port 0.
    #[error("a candidate needs a port")]
    NoPort,
    /// The base or related address is of the other IP version.
    #[error("the address and its base differ in IP version")]
    FamilyMismatch,
}

/// Checks that a peer can send to `address`.
fn validate(address: SocketAddr) -> Result<(), CandidateError> {
    let ip = address.ip();
    if ip.is_unspecified() {
        return Err(CandidateError::Unspecified);
    }
    if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(CandidateError::NotUnicast);
    }
    if matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some()) {
        return Err(CandidateError::Mapped);
    }
    if address.port() == 0 {
        return Err(CandidateError::NoPort);
    }
    Ok(())
}

/// A transport address that may be reachable, with what ICE needs to know of it (RFC 8445 §5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    foundation: Foundation,
    component: u16,
    protocol: Protocol,
    tcp_type: Option<TcpType>,
    priority: u32,
    address: CandidateAddress,
    kind: CandidateKind,
    related: Option<SocketAddr>,
    /// What is sent from: the address itself, unless the candidate is reflexive. Not part of the text.
    base: Option<SocketAddr>,
    /// Name and value pairs as they came, without `tcptype`.
    extensions: String,
}

impl Candidate {
    /// The longest line that is parsed, in bytes.
    pub const MAX_TEXT: usize = 1024;

    /// An address of a local interface, for UDP.
    pub fn host(address: SocketAddr) -> Result<Self, CandidateError> {
        validate(address)?;
        Ok(Candidate::local(CandidateKind::Host, address, address, None))
    }

    /// An address of a local interface, for TCP. The port of an [active](TcpType::Active) candidate is 9
    /// (RFC 6544 §4.5), whatever `address` says.
    pub fn host_tcp(mut address: SocketAddr, tcp_type: TcpType) -> Result<Self, CandidateError> {
        if tcp_type == TcpType::Active {
            address.set_port(9);
        }
        validate(address)?;
        let mut candidate = Candidate::local(CandidateKind::Host, address, address, None);
        candidate.protocol = Protocol::Tcp;
        candidate.tcp_type = Some(tcp_type);
        candidate.foundation = Foundation::of(CandidateKind::Host, Protocol::Tcp, address.ip(), None);
        // RFC 6544 §4.2: by direction; below it, as over UDP.
        let other = default_local_preference(address.ip()) & 0x1fff;
        candidate.priority = priority(
            type_preference(CandidateKind::Host, Protocol::Tcp),
            tcp_type.preference() << 13 | other,
            1,
        );
        Ok(candidate)
    }

    /// The address that a STUN server at `server` saw `base` under.
    pub fn server_reflexive(
        address: SocketAddr,
        base: SocketAddr,
        server: IpAddr,
    ) -> Result<Self, CandidateError> {
        Candidate::reflexive(CandidateKind::ServerReflexive, address, base, Some(server))
    }

    /// The address that the peer saw `base` under.
    pub fn peer_reflexive(address: SocketAddr, base: SocketAddr) -> Result<Self, CandidateError> {
        Candidate::reflexive(CandidateKind::PeerReflexive, address, base, None)
    }

    /// An address of the TURN server at `server`, which saw this host under `mapped`. The candidate is its own
    /// base (RFC 8445 §5.1.1.2): what is sent from it goes through the relay.
    pub fn relayed(address: SocketAddr, mapped: SocketAddr, server: IpAddr) -> Result<Self, CandidateError> {
        validate(address)?;
        let mut candidate = Candidate::local(CandidateKind::Relayed, address, address, Some(server));
        candidate.related = Some(mapped);
        Ok(candidate)
    }

    fn reflexive(
        kind: CandidateKind,
        address: SocketAddr,
        base: SocketAddr,
        server: Option<IpAddr>,
    ) -> Result<Self, CandidateError> {
        validate(address)?;
        validate(base)?;
        if address.is_ipv4() != base.is_ipv4() {
            return Err(CandidateError::FamilyMismatch);
        }
        let mut candidate = Candidate::local(kind, address, base, server);
        candidate.related = Some(base);
        Ok(candidate)
    }

    fn local(kind: CandidateKind, address: SocketAddr, base: SocketAddr, server: Option<IpAddr>) -> Self {
        Candidate {
            foundation: Foundation::of(kind, Protocol::Udp, base.ip(), server),
            component: 1,
            protocol: Protocol::Udp,
            tcp_type: None,
            priority: priority(kind.preference(), default_local_preference(base.ip()), 1),
            address: CandidateAddress::Ip(address),
            kind,
            related: None,
            base: Some(base),
            extensions: String::new(),
        }
    }

    /// The same candidate with another local preference: the higher of two of the same kind is tried first.
    #[must_use]
    pub fn with_local_preference(mut self, local_preference: u16) -> Self {
        self.priority = priority(self.type_preference(), local_preference, self.component);
        self
    }

    /// The same candidate with another priority, 1 to 2^31 - 1 (RFC 8445 §5.1.2).
    #[must_use]
    pub fn with_priority(mut self, priority: u32) -> Self {
        self.priority = priority;
        self
    }

    /// The same candidate with another type preference, 0 to 126 (RFC 8445 §5.1.2.2), for instance to put one relay
    /// before another.
    #[must_use]
    pub fn with_type_preference(mut self, preference: u8) -> Self {
        self.priority = u32::from(preference.min(126)) << 24 | self.priority & 0x00ff_ffff;
        self
    }

    /// The same candidate under a name that stands for its address (draft-ietf-mmusic-mdns-ice-candidates §3.1).
    #[must_use]
    pub fn with_name(mut self, host: &str, port: u16) -> Self {
        self.address = CandidateAddress::Name { host: host.into(), port };
        self
    }

    /// The same candidate without telling the address that it is related to: all zeros stand for it (draft §3.1.2.2).
    #[must_use]
    pub fn without_related(mut self) -> Self {
        self.related = self.related.map(|related| match related {
            SocketAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
            SocketAddr::V6(_) => SocketAddr::from(([0u16; 8], 0)),
        });
        self
    }

    /// The same candidate at an address, for instance once its name was resolved; name and value pairs are kept.
    #[must_use]
    pub fn with_address(mut self, address: SocketAddr) -> Self {
        self.address = CandidateAddress::Ip(address);
        self
    }

    /// Groups candidates that are likely to work or fail together.
    pub fn foundation(&self) -> Foundation {
        self.foundation
    }

    /// 1 for everything that WebRTC sends; 2 was RTCP on a port of its own.
    pub fn component(&self) -> u16 {
        self.component
    }

    /// UDP or TCP.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Who connects, for TCP.
    pub fn tcp_type(&self) -> Option<TcpType> {
        self.tcp_type
    }

    /// Higher is tried first.
    pub fn priority(&self) -> u32 {
        self.priority
    }

    /// The address, or the name that stands for it.
    pub fn address(&self) -> &CandidateAddress {
        &self.address
    }

    /// The address; `None` when it is hidden behind a name.
    pub fn socket_address(&self) -> Option<SocketAddr> {
        match self.address {
            CandidateAddress::Ip(address) => Some(address),
            CandidateAddress::Name { .. } => None,
        }
    }

    /// Whether the address is an mDNS name, ending in `.local`.
    pub fn is_mdns(&self) -> bool {
        matches!(&self.address, CandidateAddress::Name { host, .. }
            if host.len() > 6 && host.as_bytes()[host.len() - 6..].eq_ignore_ascii_case(b".local"))
    }

    /// How the candidate was obtained.
    pub fn kind(&self) -> CandidateKind {
        self.kind
    }

    /// The base of a reflexive candidate, the mapped address of a relayed one; informative.
    pub fn related(&self) -> Option<SocketAddr> {
        self.related
    }

    /// The local address that is sent from; `None` for a candidate that came as text.
    pub fn base(&self) -> Option<SocketAddr> {
        self.base
    }

    /// The value of an extension, such as `ufrag` or `generation`.
    pub fn extension(&self, name: &str) -> Option<&str> {
        let mut words = self.extensions.split(' ');
        while let Some(found) = words.next() {
            let value = words.next();
            if found == name {
                return value;
            }
        }
        None
    }

    /// The priority that a peer-reflexive candidate with the same base would have: what a connectivity check
    /// carries (RFC 8445 §7.1.1).
    pub fn peer_reflexive_priority(&self) -> u32 {
        let preference = type_preference(CandidateKind::PeerReflexive, self.protocol);
        u32::from(preference) << 24 | self.priority & 0x00ff_ffff
    }

    fn type_preference(&self) -> u8 {
        type_preference(self.kind, self.protocol)
    }
}

/// RFC 6544 §4.2: what goes over TCP is worth less than any direct way over UDP, since a lost packet holds up those
/// behind it, and more than a relay.
pub const fn type_preference(kind: CandidateKind, protocol: Protocol) -> u8 {
    match (kind, protocol) {
        (_, Protocol::Udp) => kind.preference(),
        (CandidateKind::Host, _) => 90,
        (CandidateKind::PeerReflexive, _) => 80,
        (CandidateKind::ServerReflexive, _) => 70,
        (CandidateKind::Relayed, _) => 0,
    }
}

/// The distance between the local preferences of two addresses of one family, in priorities (RFC 8445 §5.1.2.1).
/// Whoever has to tell candidates of one priority apart goes down by it, and so never takes a place of the other
/// family.
pub const FAMILY_STEP: u32 = 2 << 8;

/// The local preference of an address of which nobody says anything. RFC 8421 §4 has the families take turns, IPv6
/// first, whatever the order that addresses come in:
///
/// ```text
/// 65535 IPv6   65534 IPv4   65533 second IPv6   65532 second IPv4   65531 third IPv6 ...
/// ```
///
/// IPv6 has the odd ones and IPv4 the even ones. What seldom leads anywhere begins some places further down: after at
/// most four addresses more of the other family it has its turn too.
fn default_local_preference(ip: IpAddr) -> u16 {
    /// Four addresses of each family fit between two ranks.
    const RANK: u16 = 8;
    let rank = match ip {
        _ if ip.is_loopback() => 3,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => 2,
        IpAddr::V4(ip) if ip.is_link_local() => 2,
        IpAddr::V6(ip) if is_unique_local(ip) => 1,
        _ => 0,
    };
    u16::MAX - rank * RANK - u16::from(ip.is_ipv4())
}

fn is_unique_local(ip: Ipv6Addr) -> bool {
    ip.octets()[0] & 0xfe == 0xfc
}

impl fmt::Display for Candidate {
    /// `candidate:...`, as it stands behind `a=` in SDP and in the `candidate` member of the browser's
    /// `RTCIceCandidate`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Udp => "udp",
            _ => "tcp",
        };
        write!(f, "candidate:{} {} {protocol} {} ", self.foundation, self.component, self.priority)?;
        match &self.address {
            CandidateAddress::Ip(address) => write!(f, "{} {}", address.ip(), address.port())?,
            CandidateAddress::Name { host, port } => write!(f, "{host} {port}")?,
        }
        write!(f, " typ {}", self.kind.name())?;
        if let Some(related) = self.related {
            write!(f, " raddr {} rport {}", related.ip(), related.port())?;
        }
        if let Some(tcp_type) = self.tcp_type {
            write!(f, " tcptype {}", tcp_type.name())?;
        }
        if !self.extensions.is_empty() {
            write!(f, " {}", self.extensions)?;
        }
        Ok(())
    }
}

/// Why a text is no candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseCandidateError {
    /// Longer than [`Candidate::MAX_TEXT`].
    #[error("a candidate line is longer than {} bytes", Candidate::MAX_TEXT)]
    TooLong,
    /// The foundation is missing, longer than 32 characters, or holds others than ice-chars.
    #[error("the candidate's foundation is not 1 to 32 letters, digits, + or /")]
    Foundation,
    /// The component is not 1 to 256.
    #[error("the candidate's component is not a number from 1 to 256")]
    Component,
    /// A transport other than UDP and TCP: to be ignored, not refused.
    #[error("the candidate's transport is neither udp nor tcp")]
    UnknownTransport,
    /// The priority is not a 32-bit number.
    #[error("the candidate's priority is not a 32-bit number")]
    Priority,
    /// Neither an address nor a plausible host name.
    #[error("the candidate's address is neither an IP address nor a host name")]
    Address,
    /// The port is not a 16-bit number.
    #[error("the candidate's port is not a number from 0 to 65535")]
    Port,
    /// `typ` is missing.
    #[error("the candidate does not say its type")]
    Kind,
    /// A type other than the four known ones: to be ignored, not refused.
    #[error("the candidate's type is not known")]
    UnknownKind,
    /// A TCP candidate with a `tcptype` that is not known.
    #[error("the candidate's tcptype is not active, passive or so")]
    TcpType,
}

impl ParseCandidateError {
    /// Whether the line is well formed but speaks of something newer or stranger: RFC 8839 §5.1 has it
    /// ignored.
    pub fn is_ignorable(self) -> bool {
        matches!(self, ParseCandidateError::UnknownTransport | ParseCandidateError::UnknownKind)
    }
}

impl FromStr for Candidate {
    type Err = ParseCandidateError;

    /// Reads a candidate line, with or without `a=` and `candidate:` before it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        use ParseCandidateError as E;
        let text = text.trim();
        if text.len() > Candidate::MAX_TEXT {
            return Err(E::TooLong);
        }
        let text = text.strip_prefix("a=").unwrap_or(text);
        let text = text.strip_prefix("candidate:").unwrap_or(text);
        let mut words = text.split_ascii_whitespace();
        let mut next = || words.next().unwrap_or("");

        let foundation = Foundation::new(next()).ok_or(E::Foundation)?;
        let component = next().parse().ok().filter(|c| (1..=256).contains(c)).ok_or(E::Component)?;
        let protocol = match next() {
            name if name.eq_ignore_ascii_case("udp") => Protocol::Udp,
            name if name.eq_ignore_ascii_case("tcp") => Protocol::Tcp,
            _ => return Err(E::UnknownTransport),
        };
        let priority = next().parse().map_err(|_| E::Priority)?;
        let host = next();
        let port = next().parse().map_err(|_| E::Port)?;
        let address = parse_address(host, port).ok_or(E::Address)?;
        if next() != "typ" {
            return Err(E::Kind);
        }
        let kind = CandidateKind::from_name(next()).ok_or(E::UnknownKind)?;

        let mut candidate = Candidate {
            foundation,
            component,
            protocol,
            tcp_type: None,
            priority,
            address,
            kind,
            related: None,
            base: None,
            extensions: String::new(),
        };
        candidate.parse_tail(words)?;
        Ok(candidate)
    }
}

impl Candidate {
    /// Reads what follows the type: the related address, `tcptype`, and pairs that are kept as they are.
    fn parse_tail<'a>(&mut self, words: impl Iterator<Item = &'a str>) -> Result<(), ParseCandidateError> {
        let mut words = words.peekable();
        let mut related_ip = None;
        while let Some(name) = words.next() {
            let value = words.next();
            match (name, value) {
                ("raddr", Some(value)) if value.parse::<IpAddr>().is_ok() => related_ip = value.parse().ok(),
                ("rport", Some(value)) if related_ip.is_some() && value.parse::<u16>().is_ok() => {
                    let port = value.parse().unwrap_or(0);
                    self.related = related_ip.take().map(|ip| SocketAddr::new(ip, port));
                }
                ("tcptype", Some(value)) if self.protocol == Protocol::Tcp => {
                    self.tcp_type = Some(TcpType::from_name(value).ok_or(ParseCandidateError::TcpType)?);
                }
                // RFC 8839 §5.1: pairs that are not understood are ignored; they are kept to be printed again.
                _ => {
                    for word in [Some(name), value].into_iter().flatten() {
                        if !self.extensions.is_empty() {
                            self.extensions.push(' ');
                        }
                        self.extensions.push_str(word);
                    }
                }
            }
        }
        Ok(())
    }
}

/// An IP address, or a name made of letters, digits, dots and hyphens.
fn parse_address(host: &str, port: u16) -> Option<CandidateAddress> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Some(CandidateAddress::Ip(SocketAddr::new(ip, port)));
    }
    let plausible = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let is_name = !host.is_empty() && host.len() <= 255 && host.bytes().all(plausible);
    is_name.then(|| CandidateAddress::Name { host: host.into(), port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn priorities_follow_the_recommended_formula() {
        // RFC 8445 §5.1.2.1 with the type preferences of §5.1.2.2.
        let rows = [
            (CandidateKind::Host, 2_130_706_431),
            (CandidateKind::PeerReflexive, 1_862_270_975),
            (CandidateKind::ServerReflexive, 1_694_498_815),
            (CandidateKind::Relayed, 16_777_215),
        ];
        for (kind, expected) in rows {
            assert_eq!(priority(kind.preference(), 65_535, 1), expected);
        }
        let host = Candidate::host(address("[2001:db8::1]:5000")).unwrap();
        assert_eq!(host.priority(), 2_130_706_431);
        assert_eq!(host.peer_reflexive_priority(), 1_862_270_975);
    }

    #[test]
    fn ipv6_goes_first_and_what_seldom_works_last() {
        // RFC 8421 §4.
        let rows = [
            ("2001:db8::1", 65_535),
            ("192.0.2.1", 65_534),
            ("10.0.0.1", 65_534),
            ("fd00::1", 65_527),
            ("fe80::1", 65_519),
            ("169.254.1.1", 65_518),
            ("::1", 65_511),
            ("127.0.0.1", 65_510),
        ];
        for (ip, preference) in rows {
            let at = SocketAddr::new(ip.parse().unwrap(), 5000);
            assert_eq!(Candidate::host(at).unwrap().priority(), priority(126, preference, 1), "{ip}");
            let listener = Candidate::host_tcp(at, TcpType::Passive).unwrap();
            assert_eq!(listener.priority(), priority(90, (4 << 13) + (preference & 8191), 1), "{ip}");
        }
    }

    #[test]
    fn what_nobody_can_send_to_is_no_candidate() {
        let rows = [
            ("0.0.0.0:1", CandidateError::Unspecified),
            ("[::]:1", CandidateError::Unspecified),
            ("224.0.0.1:1", CandidateError::NotUnicast),
            ("255.255.255.255:1", CandidateError::NotUnicast),
            ("[ff02::1]:1", CandidateError::NotUnicast),
            ("[::ffff:192.0.2.1]:1", CandidateError::Mapped),
            ("192.0.2.1:0", CandidateError::NoPort),
        ];
        for (text, error) in rows {
            assert_eq!(Candidate::host(address(text)), Err(error), "{text}");
        }
        let (four, six) = (address("192.0.2.1:1"), address("[2001:db8::1]:1"));
        assert_eq!(Candidate::peer_reflexive(four, six), Err(CandidateError::FamilyMismatch));
        assert!(Candidate::host(address("127.0.0.1:1")).is_ok());
    }

    #[test]
    fn foundations_tell_kind_base_and_server_apart() {
        // RFC 8445 §5.1.1.3.
        let host = |text| Candidate::host(address(text)).unwrap().foundation();
        assert_eq!(host("192.0.2.1:1"), host("192.0.2.1:2"));
        assert_ne!(host("192.0.2.1:1"), host("192.0.2.2:1"));
        let (seen, base) = (address("203.0.113.1:9"), address("192.0.2.1:1"));
        let from = |server: &str| {
            Candidate::server_reflexive(seen, base, server.parse().unwrap()).unwrap().foundation()
        };
        assert_eq!(from("198.51.100.1"), from("198.51.100.1"));
        assert_ne!(from("198.51.100.1"), from("198.51.100.2"));
        assert_ne!(from("198.51.100.1"), host("192.0.2.1:1"));
        let tcp = Candidate::host_tcp(base, TcpType::Passive).unwrap().foundation();
        assert_ne!(tcp, host("192.0.2.1:1"));
    }

    #[test]
    fn lines_of_other_stacks_are_read_and_printed_again() {
        // What Chrome, Firefox and libnice write.
        let lines = [
            "candidate:1467250027 1 udp 2122260223 192.168.0.196 46243 typ host generation 0 ufrag EsAw network-id 1 network-cost 10",
            "candidate:842163049 1 udp 1677729535 203.0.113.77 46243 typ srflx raddr 192.168.0.196 rport 46243 generation 0",
            "candidate:2 1 tcp 2105458943 10.0.0.5 9 typ host tcptype active",
            "candidate:1 1 udp 2113937151 9b36eaac-bb2e-49bb-bb78-21c41c499900.local 50002 typ host",
            "candidate:7 2 udp 1 2001:db8::1 65535 typ relay raddr 0.0.0.0 rport 9",
        ];
        for line in lines {
            let candidate: Candidate = line.parse().unwrap();
            assert_eq!(candidate.to_string(), line);
            assert_eq!(format!("a={line}\r\n").parse(), Ok(candidate.clone()));
            assert_eq!(line.trim_start_matches("candidate:").parse(), Ok(candidate));
        }
        let upper: Candidate = "a=candidate:0 1 UDP 2122187007 10.0.0.5 51556 typ host".parse().unwrap();
        assert_eq!(upper.protocol(), Protocol::Udp);
    }

    #[test]
    fn parts_of_a_line_are_found() {
        let line = "candidate:1 1 udp 2113937151 9b36eaac.local 50002 typ host ufrag EsAw generation";
        let candidate: Candidate = line.parse().unwrap();
        assert!(candidate.is_mdns());
        assert_eq!(candidate.socket_address(), None);
        assert_eq!(candidate.extension("ufrag"), Some("EsAw"));
        assert_eq!(candidate.extension("generation"), None);
        assert_eq!(candidate.base(), None);
        let resolved = candidate.with_address(address("10.0.0.1:50002"));
        assert_eq!(resolved.socket_address(), Some(address("10.0.0.1:50002")));
        assert!(!resolved.is_mdns());
    }

    #[test]
    fn broken_lines_name_the_broken_part() {
        use ParseCandidateError as E;
        let rows = [
            ("", E::Foundation),
            ("a=candidate:", E::Foundation),
            ("candidate:0123456789012345678901234567890123 1 udp 1 1.2.3.4 5 typ host", E::Foundation),
            ("candidate:1 0 udp 1 1.2.3.4 5 typ host", E::Component),
            ("candidate:1 257 udp 1 1.2.3.4 5 typ host", E::Component),
            ("candidate:1 1 sctp 1 1.2.3.4 5 typ host", E::UnknownTransport),
            ("candidate:1 1 udp 4294967296 1.2.3.4 5 typ host", E::Priority),
            ("candidate:1 1 udp -1 1.2.3.4 5 typ host", E::Priority),
            ("candidate:1 1 udp 1 1.2:3.4 5 typ host", E::Address),
            ("candidate:1 1 udp 1 1.2.3.4 65536 typ host", E::Port),
            ("candidate:1 1 udp 1 1.2.3.4 5 host", E::Kind),
            ("candidate:1 1 udp 1 1.2.3.4 5", E::Kind),
            ("candidate:1 1 udp 1 1.2.3.4 5 typ bridge", E::UnknownKind),
            ("candidate:1 1 tcp 1 1.2.3.4 5 typ host tcptype sideways", E::TcpType),
        ];
        for (line, error) in rows {
            assert_eq!(line.parse::<Candidate>(), Err(error), "{line}");
        }
        assert_eq!("x".repeat(1025).parse::<Candidate>(), Err(E::TooLong));
        assert!(E::UnknownKind.is_ignorable() && !E::Port.is_ignorable());
    }

    proptest! {
        #[test]
        fn parse_undoes_print(ip: IpAddr, related: IpAddr, port: u16, priority: u32, component in 1u16..=256, kind in 0..4usize) {
            let kind = ["host", "srflx", "prflx", "relay"][kind];
            let line = format!(
                "candidate:a+/9 {component} udp {priority} {ip} {port} typ {kind} raddr {related} rport {port} x y z"
            );
            let candidate: Candidate = line.parse().unwrap();
            prop_assert_eq!(candidate.to_string(), line);
            prop_assert_eq!(candidate.to_string().parse(), Ok(candidate));
        }

        #[test]
        fn any_text_is_a_candidate_or_an_error(text in "\\PC{0,200}") {
            let _ = text.parse::<Candidate>();
            let _ = format!("candidate:{text}").parse::<Candidate>();
            let _ = format!("candidate:1 1 udp 1 1.2.3.4 5 typ host {text}").parse::<Candidate>();
        }
    }
}
