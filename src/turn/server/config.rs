//! What a server is told.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::policy::{Network, PeerPolicy};

/// What a server gives, to how many, and for how long.
#[derive(Debug, Clone)]
pub struct Config {
    /// The realm of its users, at most 127 characters (RFC 8489 §14.9).
    pub realm: String,
    /// The address of relayed IPv4 addresses; `None` when there are none.
    pub relay_v4: Option<IpAddr>,
    /// The address of relayed IPv6 addresses; `None` when there are none.
    pub relay_v6: Option<IpAddr>,
    /// Ports of relayed addresses. Default 49152 to 65535 (RFC 8656 §7.2).
    pub ports: RangeInclusive<u16>,
    /// Whom data is relayed to. Default: public addresses.
    pub peers: PeerPolicy,
    /// Blocks of addresses that data is relayed to as well, whatever `peers` says. Default none.
    pub allowed_peers: Vec<Network>,
    /// Two addresses with other IP addresses and other ports: what a client needs to learn how its NAT behaves
    /// (RFC 5780 §6). The caller listens on both, and on each IP address with the other's port. Default none.
    pub alternates: Option<(SocketAddr, SocketAddr)>,
    /// The default lifetime of an allocation. Default 600 s (RFC 8656 §3.2).
    pub lifetime: Duration,
    /// The longest one. Default 3600 s (RFC 8656 §7.2).
    pub max_lifetime: Duration,
    /// How long a nonce may be used. Default 1 h.
    pub nonce_lifetime: Duration,
    /// Whether SHA-256 is offered (RFC 8489 §9.2). Default yes; clients that do not know it use MD5.
    pub password_algorithms: bool,
    /// Allocations in all. Default 1,000.
    pub max_allocations: usize,
    /// Allocations of one user (RFC 8656 §5). Default 10.
    pub max_allocations_per_user: usize,
    /// Permissions of one allocation. Default 128.
    pub max_permissions: usize,
    /// Channels of one allocation. Default 64.
    pub max_channels: usize,
    /// Data bytes per second of one allocation, both ways together. Default 12.5 MB/s.
    pub max_rate: u64,
    /// Streams open at a time. Default 2,000.
    pub max_streams: usize,
    /// Answers per second to whom nobody vouches for: binding responses and challenges, which are longer than
    /// their requests. Default 5,000.
    pub max_unauthenticated_answers: u64,
    /// Bytes waiting to be sent. Default 4 MiB.
    pub max_queued: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            realm: "sansrtc".to_owned(),
            relay_v4: None,
            relay_v6: None,
            ports: 49_152..=65_535,
            peers: PeerPolicy::Public,
            allowed_peers: Vec::new(),
            alternates: None,
            lifetime: Duration::from_secs(600),
            max_lifetime: Duration::from_secs(3600),
            nonce_lifetime: Duration::from_secs(3600),
            password_algorithms: true,
            max_allocations: 1000,
            max_allocations_per_user: 10,
            max_permissions: 128,
            max_channels: 64,
            max_rate: 12_500_000,
            max_streams: 2000,
            max_unauthenticated_answers: 5000,
            max_queued: 4 << 20,
        }
    }
}

impl Config {
    /// Whether every field is in its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let realm = self.realm.len();
        let seconds = Duration::from_secs(1)..=Duration::from_secs(86_400);
        match () {
            () if realm == 0 || realm > 127 || self.realm.contains(['"', '\\']) => Err(ConfigError::Realm),
            () if self.ports.is_empty() || *self.ports.start() == 0 => Err(ConfigError::Ports),
            () if !self.relay_v4.is_none_or(|ip| ip.is_ipv4()) => Err(ConfigError::Relay),
            () if !self.relay_v6.is_none_or(|ip| ip.is_ipv6()) => Err(ConfigError::Relay),
            () if self.relay_v4.is_none() && self.relay_v6.is_none() => Err(ConfigError::Relay),
            () if !seconds.contains(&self.lifetime) || !seconds.contains(&self.max_lifetime) => {
                Err(ConfigError::Lifetime)
            }
            () if !self.alternates.is_none_or(|(a, b)| a.ip() != b.ip() && a.port() != b.port()) => {
                Err(ConfigError::Alternates)
            }
            () if !seconds.contains(&self.nonce_lifetime) => Err(ConfigError::Lifetime),
            () => Ok(()),
        }
    }
}

/// A field of [`Config`] that is out of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The realm is empty, longer than 127 bytes, or holds a quote or a backslash.
    #[error("the realm is empty, too long or holds a quote")]
    Realm,
    /// The range of ports is empty or starts with 0.
    #[error("the range of ports is empty")]
    Ports,
    /// No relay address, or one of the wrong IP version.
    #[error("no relay address, or one of the wrong IP version")]
    Relay,
    /// The two addresses for the tests of RFC 5780 share their IP address or their port.
    #[error("the alternate addresses share their IP address or their port")]
    Alternates,
    /// A lifetime is below a second or above a day.
    #[error("a lifetime is below a second or above a day")]
    Lifetime,
}
