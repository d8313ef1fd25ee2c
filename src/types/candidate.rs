//! ICE candidates as values (RFC 8445 §5.1); their text (RFC 8839 §5.1) is in `text`, what they are worth in
//! `priority`, and what groups them in `foundation`.

mod foundation;
mod priority;
mod text;

pub use foundation::Foundation;
pub(crate) use priority::FAMILY_STEP;
pub use priority::{priority, type_preference};
pub use text::ParseCandidateError;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::packet::Protocol;

use priority::default_local_preference;

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

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
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
}
