//! Whom the server relays to, and how much.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Instant;

/// Which peers data is relayed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PeerPolicy {
    /// Public unicast addresses only: a relay in front of a private network is no door into it.
    #[default]
    Public,
    /// Private and link-local addresses as well, but not the host itself.
    Private,
    /// Any unicast address, loopback too: for tests, and for networks that are all one's own.
    Any,
}

impl PeerPolicy {
    /// Whether data may go to `ip`.
    ///
    /// An IPv6 address that carries an IPv4 one (mapped, compatible, 6to4, NAT64) is judged by that one: the
    /// host would be reached all the same.
    pub fn allows(self, ip: IpAddr) -> bool {
        let ip = match ip {
            IpAddr::V6(ip) => embedded(ip).map_or(IpAddr::V6(ip), IpAddr::V4),
            ip => ip,
        };
        if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return false;
        }
        match self {
            PeerPolicy::Public => !is_loopback(ip) && !is_private(ip),
            PeerPolicy::Private => !is_loopback(ip),
            PeerPolicy::Any => true,
        }
    }
}

/// A block of addresses, written `10.0.0.0/8` or `2001:db8::/32`; an address alone is a block of one.
///
/// Bits behind the prefix are ignored. An IPv4-mapped IPv6 address is in the blocks of its IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// The block of all addresses that share their first `prefix` bits with `address`; `None` when the address
    /// has fewer bits.
    pub fn new(address: IpAddr, prefix: u32) -> Option<Self> {
        let address = address.to_canonical();
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= bits).then_some(Network { address, prefix })
    }

    /// Whether an address is in the block.
    pub fn contains(self, ip: IpAddr) -> bool {
        match (self.address, ip.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - self.prefix).unwrap_or(0);
                (own.to_bits() ^ ip.to_bits()) & mask == 0
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - self.prefix).unwrap_or(0);
                (own.to_bits() ^ ip.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError)?;
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| NetworkError)?,
            None if address.to_canonical().is_ipv4() => 32,
            None => 128,
        };
        Network::new(address, prefix).ok_or(NetworkError)
    }
}

/// Text that names no block of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a block of addresses such as 10.0.0.0/8")]
pub struct NetworkError;

/// 0.0.0.0/8 reaches the host itself on common systems (CVE-2020-26262 was that in a relay).
fn is_loopback(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.octets()[0] == 0,
        IpAddr::V6(ip) => ip.is_loopback(),
    }
}

/// The special-purpose addresses of RFC 6890 that are not reached over the internet.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            let shared = a == 100 && b & 0xc0 == 64;
            let benchmark = a == 198 && b & 0xfe == 18;
            let protocol = (a, b, c) == (192, 0, 0);
            let reserved = a >= 240;
            ip.is_private()
                || ip.is_link_local()
                || ip.is_documentation()
                || shared
                || benchmark
                || protocol
                || reserved
        }
        // Global unicast is 2000::/3 (RFC 4291 §2.4); documentation lies inside it.
        IpAddr::V6(ip) => {
            let [a, b, ..] = ip.segments();
            a >> 13 != 1 || (a, b) == (0x2001, 0x0db8)
        }
    }
}

/// The IPv4 address inside an IPv6 one.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = ip.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match segments {
        // ::ffff:0:0/96 (RFC 4291 §2.5.5.2) and ::/96 (§2.5.5.1), but not :: and ::1.
        [0, 0, 0, 0, 0, 0xffff, a, b] => Some(of(a, b)),
        [0, 0, 0, 0, 0, 0, a, b] if a != 0 => Some(of(a, b)),
        // 2002::/16 (RFC 3056).
        [0x2002, a, b, ..] => Some(of(a, b)),
        // 64:ff9b::/96 (RFC 6052).
        [0x64, 0xff9b, 0, 0, 0, 0, a, b] => Some(of(a, b)),
        _ => None,
    }
}

/// A rate with a burst of one second.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: u64,
    left: u64,
    filled: Instant,
}

impl Bucket {
    pub(super) fn new(now: Instant, per_second: u64) -> Self {
        Bucket { per_second, left: per_second, filled: now }
    }

    /// Takes `amount`; whether there was so much.
    pub(super) fn take(&mut self, now: Instant, amount: u64) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_micros();
        let gained = passed.saturating_mul(self.per_second.into()) / 1_000_000;
        if gained > 0 {
            let gained = u64::try_from(gained).unwrap_or(u64::MAX);
            self.left = self.left.saturating_add(gained).min(self.per_second);
            self.filled = now;
        }
        match self.left.checked_sub(amount) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_policy_is_no_door_into_a_private_network() {
        let refused = [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "224.0.0.251",
            "255.255.255.255",
            "240.0.0.1",
            "198.18.0.1",
            "192.0.0.1",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::fb",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "2002:7f00:1::",
            "2002:0a00:0001::1",
            "64:ff9b::7f00:1",
            "2001:db8::1",
        ];
        for ip in refused {
            assert!(!PeerPolicy::Public.allows(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["8.8.8.8", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(PeerPolicy::Public.allows(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn a_private_network_is_no_door_to_the_host() {
        for (ip, private, any) in [
            ("10.0.0.1", true, true),
            ("fe80::1", true, true),
            ("127.0.0.1", false, true),
            ("::ffff:127.0.0.1", false, true),
            ("0.0.0.0", false, false),
            ("224.0.0.1", false, false),
        ] {
            let ip = ip.parse().unwrap();
            assert_eq!((PeerPolicy::Private.allows(ip), PeerPolicy::Any.allows(ip)), (private, any), "{ip}");
        }
    }

    #[test]
    fn a_block_holds_what_shares_its_prefix() {
        let holds = |block: &str, ip: &str| block.parse::<Network>().unwrap().contains(ip.parse().unwrap());
        assert!(holds("10.1.2.3/8", "10.255.0.1") && !holds("10.1.2.3/8", "11.0.0.1"));
        assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.6"));
        assert!(holds("0.0.0.0/0", "8.8.8.8") && !holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("2001:db8::/32", "2001:db8:ffff::1") && !holds("2001:db8::/32", "2001:db9::1"));
        assert!(holds("::/0", "::1") && holds("127.0.0.0/8", "::ffff:127.0.0.1"));
        for wrong in ["", "10.0.0.0/33", "2001:db8::/129", "10.0.0.0/-1", "10.0.0/8", "host/8", "10.0.0.0/"] {
            assert_eq!(wrong.parse::<Network>(), Err(NetworkError), "{wrong}");
        }
        assert_eq!("10.0.0.0/8".parse::<Network>().unwrap().to_string(), "10.0.0.0/8");
    }
}
