//! What a client is told about its server.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::packet::Protocol;

/// An IP version, as TURN counts them (RFC 8656 §18.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The version of an address.
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// The number on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Family::V4 => 1,
            Family::V6 => 2,
        }
    }

    /// The version that a four-byte attribute names; `None` when it names none.
    pub(super) fn from_attribute(value: &[u8]) -> Option<Self> {
        match *value {
            [1, _, _, _] => Some(Family::V4),
            [2, _, _, _] => Some(Family::V6),
            _ => None,
        }
    }

    /// The attribute's four bytes.
    pub(super) const fn attribute(self) -> [u8; 4] {
        [self.code(), 0, 0, 0]
    }
}

/// Which relayed addresses are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Families {
    /// Whatever the server gives by default, which is IPv4 (RFC 8656 §7.2).
    #[default]
    Any,
    /// One of this version.
    Only(Family),
    /// One of each, in one allocation (RFC 8656 §7.1).
    Both,
}

/// A user name and a password. The password is wiped when dropped and stays out of logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Up to 508 bytes (RFC 8489 §14.3), prepared by the OpaqueString profile (RFC 8265).
    pub username: String,
    password: Zeroizing<String>,
}

impl Credentials {
    /// A user name and its password.
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Credentials { username: username.into(), password: Zeroizing::new(password.into()) }
    }

    /// The password, to be handed to a client. It is copied out of what is wiped.
    pub fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).field("password", &"..").finish()
    }
}

/// What a client needs to know, and its bounds.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server, resolved by the caller.
    pub server: SocketAddr,
    /// [`Protocol::Udp`], [`Protocol::Tcp`] or [`Protocol::Tls`], between client and server.
    pub protocol: Protocol,
    /// For TLS: the name that the server's certificate must carry.
    pub server_name: Option<String>,
    /// Who asks.
    pub credentials: Credentials,
    /// Which relayed addresses are wanted.
    pub families: Families,
    /// How long an allocation shall live between refreshes; the server may choose otherwise. 60 s to 1 day.
    /// Default 600 s (RFC 8656 §3.2).
    pub lifetime: Duration,
    /// The first retransmission interval over UDP. At least 1 ms. Default 500 ms (RFC 8489 §6.2.1).
    pub rto: Duration,
    /// When a Binding indication keeps the way to the server open, after nothing else was sent. Default 15 s
    /// (RFC 8445 §11).
    pub keepalive: Duration,
    /// Addresses that may be permitted at one time. Default 128.
    pub max_peers: usize,
    /// Channels of one allocation, at most 4,096. Default 64.
    pub max_channels: usize,
    /// Times that ALTERNATE-SERVER is followed (RFC 8489 §10). Default 3.
    pub max_redirects: usize,
    /// Whether an allocation that is in the way (437) is given back, since it may be a leftover of this client's. Not
    /// where others use the same local address. Default yes.
    pub reclaim: bool,
    /// Times in a row that a lost allocation is made again; one that lived for a minute starts the count anew.
    /// Default 5.
    pub max_remakes: u32,
}

impl Config {
    /// The defaults for a server.
    pub fn new(server: SocketAddr, protocol: Protocol, credentials: Credentials) -> Self {
        Config {
            server,
            protocol,
            server_name: None,
            credentials,
            families: Families::default(),
            lifetime: Duration::from_secs(600),
            rto: Duration::from_millis(500),
            keepalive: Duration::from_secs(15),
            max_peers: 128,
            max_channels: 64,
            max_redirects: 3,
            reclaim: true,
            max_remakes: 5,
        }
    }

    /// Whether every field is in its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let day = Duration::from_secs(86_400);
        match () {
            () if self.protocol == Protocol::Mdns => Err(ConfigError::Protocol),
            () if self.server.port() == 0 || self.server.ip().is_unspecified() => Err(ConfigError::Server),
            () if self.credentials.username.is_empty() => Err(ConfigError::Username),
            () if self.credentials.username.len() > MAX_USERNAME => Err(ConfigError::Username),
            () if !(Duration::from_secs(60)..=day).contains(&self.lifetime) => Err(ConfigError::Lifetime),
            () if !(Duration::from_millis(1)..=day).contains(&self.rto) => Err(ConfigError::Interval),
            () if !(Duration::from_secs(1)..=day).contains(&self.keepalive) => Err(ConfigError::Interval),
            () if self.max_channels > 4096 => Err(ConfigError::Channels),
            () => Ok(()),
        }
    }
}

/// RFC 8489 §14.3: less than 509 bytes.
const MAX_USERNAME: usize = 508;

/// A field of [`Config`] that is out of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// TURN is not spoken over this.
    #[error("TURN is spoken over UDP, TCP or TLS")]
    Protocol,
    /// The address cannot be one of a server.
    #[error("the server's address has no port or no host")]
    Server,
    /// The user name is empty or longer than 508 bytes.
    #[error("the user name is empty or longer than 508 bytes")]
    Username,
    /// The lifetime is below 60 s or above a day.
    #[error("the lifetime is below 60 s or above a day")]
    Lifetime,
    /// The first retransmission interval is below 1 ms, or the keepalive below 1 s.
    #[error("an interval is too short or too long")]
    Interval,
    /// There are 4,096 channels.
    #[error("more than 4,096 channels")]
    Channels,
}
