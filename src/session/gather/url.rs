//! The URLs of STUN and TURN servers (RFC 7064, RFC 7065).
//!
//! ```text
//! stun:host[:port]                       UDP, 3478
//! turn:host[:port][?transport=udp|tcp]   UDP or TCP, 3478
//! turns:host[:port][?transport=tcp]      TLS over TCP, 5349
//! ```

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::packet::Protocol;

/// The longest URL that is read, in bytes.
const MAX_URL: usize = 512;

/// What a server is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServerKind {
    /// The address under which it sees this host.
    Stun,
    /// An address of its own that it relays for.
    Turn,
}

/// The URL of a STUN or TURN server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerUrl {
    kind: ServerKind,
    protocol: Protocol,
    host: String,
    port: u16,
}

/// Why a text is no URL of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseUrlError {
    /// Longer than 512 bytes.
    #[error("the URL is longer than 512 bytes")]
    TooLong,
    /// Neither `stun:`, `turn:` nor `turns:`. A `stuns:` server cannot tell an address that UDP would have.
    #[error("the URL does not begin with stun:, turn: or turns:")]
    Scheme,
    /// No host, or one that is neither a name nor an address.
    #[error("the URL names no host")]
    Host,
    /// The port is not 1 to 65,535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// A query other than `transport=udp` or `transport=tcp`, or one that the scheme does not have.
    #[error("the URL asks for a transport that is not spoken")]
    Transport,
}

impl ServerUrl {
    /// What the server is asked for.
    pub fn kind(&self) -> ServerKind {
        self.kind
    }

    /// How it is spoken to: UDP, TCP or TLS.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The host: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; the scheme's default when the URL has none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's address, when the host is one and needs no resolving.
    pub fn address(&self) -> Option<SocketAddr> {
        self.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, self.port))
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.kind, self.protocol) {
            (ServerKind::Stun, _) => "stun",
            (ServerKind::Turn, Protocol::Tls) => "turns",
            (ServerKind::Turn, _) => "turn",
        };
        match self.host.contains(':') {
            true => write!(f, "{scheme}:[{}]:{}", self.host, self.port)?,
            false => write!(f, "{scheme}:{}:{}", self.host, self.port)?,
        }
        match (self.kind, self.protocol) {
            (ServerKind::Turn, Protocol::Udp) => f.write_str("?transport=udp"),
            (ServerKind::Turn, _) => f.write_str("?transport=tcp"),
            _ => Ok(()),
        }
    }
}

impl FromStr for ServerUrl {
    type Err = ParseUrlError;

    fn from_str(text: &str) -> Result<Self, ParseUrlError> {
        if text.len() > MAX_URL {
            return Err(ParseUrlError::TooLong);
        }
        let (scheme, rest) = text.split_once(':').ok_or(ParseUrlError::Scheme)?;
        // RFC 3986 §3.1: schemes have no case.
        let (kind, secure, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "stun" => (ServerKind::Stun, false, 3478),
            "turn" => (ServerKind::Turn, false, 3478),
            "turns" => (ServerKind::Turn, true, 5349),
            _ => return Err(ParseUrlError::Scheme),
        };
        let (place, query) = match rest.split_once('?') {
            Some((place, query)) => (place, Some(query)),
            None => (rest, None),
        };
        let transport = match query.map(|query| query.split_once('=')) {
            None => None,
            Some(Some((name, value))) if name == "transport" && kind == ServerKind::Turn => Some(value),
            Some(_) => return Err(ParseUrlError::Transport),
        };
        let protocol = match (transport.map(str::to_ascii_lowercase).as_deref(), secure) {
            (None | Some("udp"), false) => Protocol::Udp,
            (Some("tcp"), false) => Protocol::Tcp,
            // RFC 7065 §3.1: `turns` over UDP would be DTLS, which is not spoken here.
            (None | Some("tcp"), true) => Protocol::Tls,
            _ => return Err(ParseUrlError::Transport),
        };
        let (host, port) = split_place(place)?;
        let port = port.unwrap_or(default_port);
        Ok(ServerUrl { kind, protocol, host, port })
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`.
fn split_place(place: &str) -> Result<(String, Option<u16>), ParseUrlError> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (inside, behind) = rest.split_once(']').ok_or(ParseUrlError::Host)?;
            let ip: std::net::Ipv6Addr = inside.parse().map_err(|_| ParseUrlError::Host)?;
            let port = match behind.strip_prefix(':') {
                Some(port) => Some(port),
                None if behind.is_empty() => None,
                None => return Err(ParseUrlError::Port),
            };
            (ip.to_string(), port)
        }
        None => {
            let (host, port) = match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            };
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~%".contains(&b);
            if host.is_empty() || !host.bytes().all(allowed) {
                return Err(ParseUrlError::Host);
            }
            (host.to_ascii_lowercase(), port)
        }
    };
    let port = match port {
        None => None,
        Some(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            Some(text.parse().ok().filter(|port| *port != 0).ok_or(ParseUrlError::Port)?)
        }
        Some(_) => return Err(ParseUrlError::Port),
    };
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_rfcs_are_read() {
        // RFC 7064 Appendix A, RFC 7065 Appendix A.
        for (text, kind, protocol, port) in [
            ("stun:example.org", ServerKind::Stun, Protocol::Udp, 3478),
            ("stun:example.org:8000", ServerKind::Stun, Protocol::Udp, 8000),
            ("turn:example.org", ServerKind::Turn, Protocol::Udp, 3478),
            ("turns:example.org", ServerKind::Turn, Protocol::Tls, 5349),
            ("turn:example.org:8000", ServerKind::Turn, Protocol::Udp, 8000),
            ("turn:example.org?transport=udp", ServerKind::Turn, Protocol::Udp, 3478),
            ("turn:example.org?transport=tcp", ServerKind::Turn, Protocol::Tcp, 3478),
            ("turns:example.org?transport=tcp", ServerKind::Turn, Protocol::Tls, 5349),
            ("TURNS:Example.ORG:443", ServerKind::Turn, Protocol::Tls, 443),
        ] {
            let url: ServerUrl = text.parse().unwrap();
            assert_eq!((url.kind(), url.protocol(), url.port()), (kind, protocol, port), "{text}");
            assert_eq!((url.host(), url.address()), ("example.org", None), "{text}");
        }
    }

    #[test]
    fn addresses_need_no_resolving() {
        let url: ServerUrl = "turn:[2001:db8::1]:99?transport=tcp".parse().unwrap();
        assert_eq!(url.address(), Some("[2001:db8::1]:99".parse().unwrap()));
        let url: ServerUrl = "stun:192.0.2.1".parse().unwrap();
        assert_eq!(url.address(), Some("192.0.2.1:3478".parse().unwrap()));
    }

    #[test]
    fn what_is_no_url_is_refused_with_its_reason() {
        use ParseUrlError::*;
        for (text, reason) in [
            ("", Scheme),
            ("http://example.org", Scheme),
            ("stuns:example.org", Scheme),
            ("turn:", Host),
            ("turn://example.org", Host),
            ("turn:user@example.org", Host),
            ("turn:[::1", Host),
            ("turn:[::1]x", Port),
            ("turn:example.org:", Port),
            ("turn:example.org:0", Port),
            ("turn:example.org:65536", Port),
            ("turn:example.org:+1", Port),
            ("turn:example.org?transport=sctp", Transport),
            ("turns:example.org?transport=udp", Transport),
            ("stun:example.org?transport=udp", Transport),
            ("turn:example.org?", Transport),
        ] {
            assert_eq!(text.parse::<ServerUrl>(), Err(reason), "{text}");
        }
        assert_eq!(format!("turn:{}", "a".repeat(600)).parse::<ServerUrl>(), Err(TooLong));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_what_is_read_reads_again(text in "(stun|turn|turns):.{0,40}|.{0,60}") {
            if let Ok(url) = text.parse::<ServerUrl>() {
                prop_assert_eq!(url.to_string().parse::<ServerUrl>(), Ok(url));
            }
        }
    }
}
