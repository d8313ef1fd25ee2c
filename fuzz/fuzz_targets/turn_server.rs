//! A TURN server against any clients and peers. Nothing panics, one packet draws one answer at most, no longer than
//! three times itself before there is a signature, and tables stay within their bounds.
#![no_main]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sansrtc::Clock;
use sansrtc::buffer::Pool;
use sansrtc::packet::Protocol;
use sansrtc::rng::{Rng, Stream};
use sansrtc::stun::attributes::types;
use sansrtc::stun::credentials::LongTermKey;
use sansrtc::stun::{Builder, Class, Message, Method, PasswordAlgorithm, TransactionId};
use sansrtc::turn::server::{Config, FiveTuple, PeerPolicy, Server, Users};

#[derive(Debug, Arbitrary)]
enum Step<'a> {
    Raw {
        client: u8,
        bytes: &'a [u8],
    },
    Bytes {
        client: u8,
        bytes: &'a [u8],
    },
    /// A request signed with the right password and the last nonce.
    Signed {
        client: u8,
        method: u8,
        lifetime: Option<u32>,
        peer: Option<(u8, u16)>,
        channel: Option<u16>,
        attributes: Vec<(u16, &'a [u8])>,
    },
    Relayed {
        port: u16,
        bytes: &'a [u8],
    },
    StreamClosed(u8),
    Time(u32),
}

const METHODS: [Method; 5] =
    [Method::BINDING, Method::ALLOCATE, Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND];

fuzz_target!(|steps: Vec<Step<'_>>| {
    let mut now = Instant::now();
    let clock = Clock { instant: now, unix: Duration::from_secs(1_800_000_000) };
    let config = Config {
        realm: "realm".into(),
        relay_v4: Some([203, 0, 113, 2].into()),
        ports: 50_000..=50_015,
        peers: PeerPolicy::Any,
        password_algorithms: false,
        max_allocations: 8,
        max_streams: 8,
        ..Config::default()
    };
    let mut users = Users::new("realm");
    users.add("user", "secret");
    let key = LongTermKey::derive(PasswordAlgorithm::Md5, "user", "realm", "secret");
    let mut server = Server::new(config, users, clock, Rng::new([2; 32], Stream::Turn)).expect("it is valid");
    let tuple = |client: u8, protocol| FiveTuple {
        client: ([198, 51, 100, client & 15], 1000).into(),
        server: ([203, 0, 113, 1], 3478).into(),
        protocol,
    };
    let mut nonce = Vec::new();
    let mut pool = Pool::new();
    for step in steps {
        let mut unsigned = None;
        match step {
            Step::Raw { client, bytes } => {
                unsigned = Some(bytes.len());
                server.handle_packet(now, tuple(client, Protocol::Udp), BytesMut::from(bytes));
            }
            Step::Bytes { client, bytes } => {
                server.handle_stream(now, tuple(client, Protocol::Tcp), BytesMut::from(bytes));
            }
            Step::Signed { client, method, lifetime, peer, channel, attributes } => {
                let mut bytes = BytesMut::new();
                let method = METHODS[usize::from(method) % METHODS.len()];
                let mut builder =
                    Builder::new(&mut bytes, Class::Request, method, TransactionId([client; 12]));
                builder.attribute(types::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
                if let Some(lifetime) = lifetime {
                    builder.attribute(types::LIFETIME, &lifetime.to_be_bytes());
                }
                if let Some((last, port)) = peer {
                    let peer: SocketAddr = ([192, 0, 2, last], port).into();
                    builder.xor_address(types::XOR_PEER_ADDRESS, peer);
                }
                if let Some(channel) = channel {
                    let [high, low] = channel.to_be_bytes();
                    builder.attribute(types::CHANNEL_NUMBER, &[high, low, 0, 0]);
                }
                for (kind, value) in attributes.iter().take(20) {
                    builder.attribute(*kind, value.get(..value.len().min(500)).unwrap_or_default());
                }
                builder
                    .username(&[b"user"])
                    .attribute(types::REALM, b"realm")
                    .attribute(types::NONCE, &nonce);
                builder.integrity(&key.sha1);
                builder.finish();
                server.handle_packet(now, tuple(client, Protocol::Udp), bytes);
            }
            Step::Relayed { port, bytes } => {
                let relay = ([203, 0, 113, 2], 50_000 + port % 16).into();
                let peer = ([192, 0, 2, port as u8], 9).into();
                server.handle_relayed(now, relay, peer, BytesMut::from(bytes));
            }
            Step::StreamClosed(client) => server.handle_stream_closed(now, tuple(client, Protocol::Tcp)),
            Step::Time(milliseconds) => {
                now += Duration::from_millis(milliseconds.into());
                server.handle_timeout(now);
            }
        }
        let mut answers = 0;
        while let Some(transmit) = server.poll_transmit(&mut pool) {
            answers += 1;
            if let Ok(message) = Message::parse(&transmit.contents)
                && let Some(fresh) = message.nonce()
            {
                nonce = fresh.to_vec();
            }
        }
        if let Some(length) = unsigned {
            assert!(answers <= 1, "{answers} answers to one packet of {length} bytes");
        }
        while server.poll_event().is_some() {}
        assert!(server.allocations() <= 8);
    }
});
