//! What candidates are worth: by how they were obtained (RFC 8445 §5.1.2, RFC 6544 §4.2) and by their address
//! (RFC 8421 §4).
//!
//! ```text
//! priority = type preference << 24  |  local preference << 8  |  256 - component
//!            host before reflexive     IPv6, IPv4, IPv6, ...
//!            before relayed
//! ```

use std::net::{IpAddr, Ipv6Addr};

use super::CandidateKind;
use crate::packet::Protocol;

/// The priority of a candidate (RFC 8445 §5.1.2.1). `component` is 1 to 256.
pub const fn priority(type_preference: u8, local_preference: u16, component: u16) -> u32 {
    // Widening only: `From` is not yet callable in a constant.
    ((type_preference as u32) << 24)
        + ((local_preference as u32) << 8)
        + 256u32.saturating_sub(component as u32)
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
pub(crate) const FAMILY_STEP: u32 = 2 << 8;

/// The local preference of an address of which nobody says anything. RFC 8421 §4 has the families take turns, IPv6
/// first, whatever the order that addresses come in:
///
/// ```text
/// 65535 IPv6   65534 IPv4   65533 second IPv6   65532 second IPv4   65531 third IPv6 ...
/// ```
///
/// IPv6 has the odd ones and IPv4 the even ones. What seldom leads anywhere begins some places further down: after at
/// most four addresses more of the other family it has its turn too.
pub(super) fn default_local_preference(ip: IpAddr) -> u16 {
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::{Candidate, TcpType};
    use super::*;

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
}
