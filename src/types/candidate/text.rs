//! Candidates as text (RFC 8839 §5.1).
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
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::{Candidate, CandidateAddress, CandidateKind, Foundation, TcpType};
use crate::packet::Protocol;

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
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
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
