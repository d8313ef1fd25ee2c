//! What the server answers to whom, without a client.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::*;
use crate::buffer::Pool;
use crate::packet::{Protocol, Transmit};
use crate::rng::{Rng, Stream};
use crate::stun::attributes::{CHANGE_REQUEST, types};
use crate::stun::{Builder, Class, Message, Method, TransactionId};
use crate::time::Clock;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn server(config: Config) -> (Server, Instant) {
    // A fixed point of the test process: only differences matter.
    let now = crate::time::some_instant();
    let users = Users::new(&*config.realm);
    let clock = Clock { instant: now, unix: Duration::from_secs(1000) };
    (Server::new(config, users, clock, Rng::new([2; 32], Stream::Turn)).unwrap(), now)
}

fn with_alternates() -> Config {
    Config {
        relay_v4: Some("198.51.100.1".parse().unwrap()),
        alternates: Some((address("198.51.100.1:3478"), address("198.51.100.2:3479"))),
        ..Config::default()
    }
}

/// A Binding request to `to`, with CHANGE-REQUEST when there are flags; the answer.
fn ask(config: Config, to: &str, protocol: Protocol, flags: Option<u8>) -> Transmit {
    let (mut server, now) = server(config);
    let mut request = BytesMut::new();
    let mut builder = Builder::new(&mut request, Class::Request, Method::BINDING, TransactionId([7; 12]));
    if let Some(flags) = flags {
        builder.attribute(CHANGE_REQUEST, &[0, 0, 0, flags]);
    }
    builder.finish();
    let from = FiveTuple { client: address("192.0.2.9:5000"), server: address(to), protocol };
    server.handle_packet(now, from, request);
    server.poll_transmit(&mut Pool::new()).unwrap()
}

#[test]
fn answers_leave_from_where_the_flags_say() {
    // RFC 5780 §6.1, table 1.
    for (to, other) in [
        ("198.51.100.1:3478", "198.51.100.2:3479"),
        ("198.51.100.2:3479", "198.51.100.1:3478"),
        ("198.51.100.1:3479", "198.51.100.2:3478"),
        ("198.51.100.2:3478", "198.51.100.1:3479"),
    ] {
        for flags in [None, Some(0), Some(2), Some(4), Some(6)] {
            let answer = ask(with_alternates(), to, Protocol::Udp, flags);
            let (own, other, flags) = (address(to), address(other), flags.unwrap_or(0));
            let ip = if flags & 4 != 0 { other.ip() } else { own.ip() };
            let port = if flags & 2 != 0 { other.port() } else { own.port() };
            let origin = SocketAddr::new(ip, port);
            assert_eq!(answer.source, origin, "{to} {flags}");
            let message = Message::parse(&answer.contents).unwrap();
            assert_eq!(message.class(), Class::Success);
            assert_eq!(message.address(types::RESPONSE_ORIGIN), Some(origin));
            assert_eq!(message.address(types::OTHER_ADDRESS), Some(other));
            assert_eq!(message.address(types::MAPPED_ADDRESS), Some(address("192.0.2.9:5000")));
        }
    }
}

#[test]
fn change_request_is_refused_where_there_is_no_other_address() {
    // RFC 5780 §6.1: a 420.
    let alone = Config { alternates: None, ..with_alternates() };
    for (config, to, protocol) in [
        (alone, "198.51.100.1:3478", Protocol::Udp),
        (with_alternates(), "198.51.100.1:3478", Protocol::Tcp),
        (with_alternates(), "198.51.100.3:3478", Protocol::Udp),
        (with_alternates(), "198.51.100.1:4000", Protocol::Udp),
    ] {
        let answer = ask(config.clone(), to, protocol, Some(6));
        let message = Message::parse(&answer.contents).unwrap();
        assert_eq!(message.error_code().map(|error| error.code), Some(420), "{to} {protocol:?}");
        let plain = ask(config, to, protocol, None);
        assert_eq!(Message::parse(&plain.contents).unwrap().address(types::OTHER_ADDRESS), None);
    }
}

#[test]
fn alternates_that_share_an_address_or_a_port_are_no_alternates() {
    for (a, b) in [("198.51.100.1:1", "198.51.100.1:2"), ("198.51.100.1:1", "198.51.100.2:1")] {
        let config = Config { alternates: Some((address(a), address(b))), ..with_alternates() };
        assert_eq!(config.validate(), Err(ConfigError::Alternates));
    }
}
