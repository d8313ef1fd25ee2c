//! Foundations (RFC 8445 §5.1.1.3): which candidates are likely to work or fail together.

use std::fmt;
use std::net::IpAddr;

use super::CandidateKind;
use crate::packet::Protocol;

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
    pub(super) fn of(kind: CandidateKind, protocol: Protocol, base: IpAddr, server: Option<IpAddr>) -> Self {
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::{Candidate, TcpType};

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
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
}
