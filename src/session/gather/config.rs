//! What a connection is told about gathering: servers, policy, names.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::url::{ParseUrlError, ServerKind, ServerUrl};
use crate::packet::Protocol;
use crate::turn;
use crate::types::candidate::Candidate;

/// Servers of one connection.
pub(crate) const MAX_SERVERS: usize = 16;
/// Addresses of one server.
const MAX_ADDRESSES: usize = 8;

/// A STUN or TURN server, as the W3C's `RTCIceServer`; names are resolved by the caller.
///
/// Over UDP a TURN allocation belongs to the pair of addresses that asked for it (RFC 8656 §3.2): connections that
/// share a socket, as those of an [`Endpoint`](crate::Endpoint) may, cannot each have one on the same server. Give
/// such a connection a socket of its own, or use the server over TCP or TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceServer {
    /// What it is, and how it is spoken to.
    pub url: ServerUrl,
    /// Its addresses, the preferred one first: one of each IP version is used. At most 8; none is needed when the
    /// URL holds an address.
    pub addresses: Vec<SocketAddr>,
    /// Who asks; a TURN server needs it. The password is wiped when dropped and stays out of logs.
    pub credentials: Option<turn::Credentials>,
}

impl IceServer {
    /// The server of a URL.
    ///
    /// # Errors
    /// The text is no such URL.
    pub fn new(url: &str) -> Result<Self, ParseUrlError> {
        let url: ServerUrl = url.parse()?;
        let addresses = url.address().into_iter().collect();
        Ok(IceServer { url, addresses, credentials: None })
    }

    /// The same server at these addresses, as the URL's host was resolved.
    #[must_use]
    pub fn with_addresses(mut self, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.addresses = addresses.into_iter().collect();
        self
    }

    /// The same server for this user.
    #[must_use]
    pub fn with_credentials(mut self, username: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some(turn::Credentials::new(username, password));
        self
    }

    /// The address to use from `local`.
    pub(super) fn address_for(&self, local: SocketAddr) -> Option<SocketAddr> {
        self.addresses.iter().copied().find(|address| address.is_ipv4() == local.is_ipv4())
    }

    pub(crate) fn is_valid(&self) -> bool {
        let usable = |a: &SocketAddr| a.port() != 0 && !a.ip().is_unspecified() && !a.ip().is_multicast();
        let addresses =
            (1..=MAX_ADDRESSES).contains(&self.addresses.len()) && self.addresses.iter().all(usable);
        addresses
            && match (self.url.kind(), &self.credentials) {
                (ServerKind::Stun, _) => true,
                (ServerKind::Turn, Some(credentials)) => self.turn_config(credentials).validate().is_ok(),
                (ServerKind::Turn, None) => false,
            }
    }

    /// The settings of a client of this server.
    pub(super) fn turn_config(&self, credentials: &turn::Credentials) -> turn::Config {
        let server = self.addresses.first().copied().unwrap_or_else(|| ([0, 0, 0, 0], 0).into());
        let mut config = turn::Config::new(server, self.url.protocol(), credentials.clone());
        if self.url.protocol() == Protocol::Tls {
            config.server_name = Some(self.url.host().to_owned());
        }
        config
    }
}

/// Which candidates may be used (RFC 9429 §4.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IceTransportPolicy {
    /// All.
    #[default]
    All,
    /// Relayed ones only: the peer learns no address of this host. Local candidates that are added are used to
    /// reach the TURN servers, and for nothing else.
    Relay,
}

/// What the caller decides about candidates.
///
/// Both hooks are asked when a candidate comes to be, and must give the same answer every time.
pub trait CandidatePolicy: fmt::Debug + Send + Sync {
    /// Whether a local candidate may be used and signalled: filters by interface, address or kind.
    fn allows(&self, candidate: &Candidate) -> bool {
        let _ = candidate;
        true
    }

    /// The local preference (RFC 8445 §5.1.2.1) of candidates whose base is `base`, 0 to 65,535, for instance by
    /// what the network costs. `None` leaves the default, in which IPv6 and IPv4 take turns, IPv6 first, so that neither
    /// holds the other up (RFC 8421 §4), each in the order in which its addresses are added.
    fn local_preference(&self, base: SocketAddr) -> Option<u16> {
        let _ = base;
        None
    }
}

/// A 1:1 NAT before this host, as clouds have them: what arrives at `public` reaches `local`, port by port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NatMapping {
    /// The address of an interface.
    pub local: IpAddr,
    /// The address under which it is reached from outside; of the same IP version.
    pub public: IpAddr,
}

/// Names in place of addresses (draft-ietf-mmusic-mdns-ice-candidates).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MdnsConfig {
    /// The local addresses of the caller's multicast sockets, as [`mdns::Config::sockets`](crate::mdns::Config::sockets)
    /// describes them; with none, names of the peer are left unresolved.
    pub sockets: Vec<SocketAddr>,
    /// Whether own host candidates are signalled under names.
    pub hide_local: bool,
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup {
    pub(crate) servers: Vec<IceServer>,
    pub(crate) transport_policy: IceTransportPolicy,
    pub(crate) candidates: Option<Arc<dyn CandidatePolicy>>,
    pub(crate) nat_mappings: Vec<NatMapping>,
    pub(crate) mdns: MdnsConfig,
    pub(crate) is_continual: bool,
}
