//! A TURN client against any server: raw bytes, and answers to what it asked with any attributes. Nothing panics,
//! polling ends, and what it asks for in a minute is bounded.
#![no_main]

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sansrtc::buffer::Pool;
use sansrtc::packet::Protocol;
use sansrtc::rng::{Rng, Stream};
use sansrtc::stun::attributes::types;
use sansrtc::stun::{Builder, Class, ErrorCode, Message, TransactionId};
use sansrtc::turn::{Client, Config, Credentials};

#[derive(Debug, Arbitrary)]
struct Run<'a> {
    is_stream: bool,
    steps: Vec<Step<'a>>,
}

#[derive(Debug, Arbitrary)]
enum Step<'a> {
    Raw(&'a [u8]),
    /// An answer to the last request.
    Answer {
        refuse: Option<u16>,
        nonce: u8,
        lifetime: Option<u32>,
        attributes: Vec<(u16, &'a [u8])>,
    },
    Opened,
    Closed,
    Time(u16),
    Permit(u8),
    Bind(u8, u16),
    Wrap(u8, &'a [u8]),
    Close,
}

fuzz_target!(|run: Run<'_>| {
    let start = Instant::now();
    let mut now = start;
    let server: SocketAddr = ([203, 0, 113, 1], 3478).into();
    let protocol = if run.is_stream { Protocol::Tcp } else { Protocol::Udp };
    let config = Config::new(server, protocol, Credentials::new("user", "secret"));
    let local = ([192, 0, 2, 1], 5000).into();
    let mut client = Client::new(config, local, Rng::new([1; 32], Stream::Turn)).expect("it is valid");
    client.start(now);
    let mut last = None;
    let mut sent = 0u64;
    drain(&mut client, &mut last, &mut sent);
    let steps = run.steps.len() as u64;
    for step in run.steps {
        let peer = |last: u8| IpAddr::from([198, 51, 100, last]);
        match step {
            Step::Raw(bytes) => feed(&mut client, now, server, BytesMut::from(bytes)),
            Step::Answer { refuse, nonce, lifetime, attributes } => {
                let Some((method, id)) = last else { continue };
                let mut bytes = BytesMut::new();
                let class = if refuse.is_some() { Class::Error } else { Class::Success };
                let mut builder = Builder::new(&mut bytes, class, method, id);
                if let Some(code) = refuse {
                    builder.error_code(ErrorCode { code: 300 + code % 400, reason: "" });
                    builder.attribute(types::REALM, b"realm").attribute(types::NONCE, &[nonce; 8]);
                }
                if let Some(lifetime) = lifetime {
                    builder.xor_address(types::XOR_RELAYED_ADDRESS, ([203, 0, 113, 2], 49_152).into());
                    builder.xor_mapped_address(local).attribute(types::LIFETIME, &lifetime.to_be_bytes());
                }
                for (kind, value) in attributes.iter().take(20) {
                    builder.attribute(*kind, value.get(..value.len().min(500)).unwrap_or_default());
                }
                builder.finish();
                feed(&mut client, now, server, bytes);
            }
            Step::Opened => client.handle_stream_opened(now, local),
            Step::Closed => client.handle_stream_closed(now),
            Step::Time(milliseconds) => {
                now += Duration::from_millis(milliseconds.into());
                client.handle_timeout(now);
            }
            Step::Permit(last) => drop(client.permit(now, peer(last))),
            Step::Bind(last, port) => drop(client.bind(now, SocketAddr::new(peer(last), port))),
            Step::Wrap(last, data) => {
                let to = SocketAddr::new(peer(last), 9);
                let mut packet = BytesMut::zeroed(client.overhead(to).head);
                packet.extend_from_slice(data);
                let _ = client.wrap(to, &mut packet, 0);
            }
            Step::Close => client.close(now),
        }
        drain(&mut client, &mut last, &mut sent);
        // What is due at once again and again spins.
        for _ in 0..100 {
            if client.next_timeout().is_none_or(|at| at > now) {
                break;
            }
            client.handle_timeout(now);
            drain(&mut client, &mut last, &mut sent);
        }
        assert!(client.next_timeout().is_none_or(|at| at > now), "it spins");
    }
    // Each step of time is a minute at most, and draws a few requests for each peer at most.
    assert!(sent <= 400 * (steps + 1), "{sent} messages in {steps} steps");
});

fn feed(client: &mut Client, now: Instant, server: SocketAddr, bytes: BytesMut) {
    if client.protocol() == Protocol::Udp {
        client.handle_packet(now, server, bytes);
        return;
    }
    client.handle_stream_bytes(now, bytes);
    while client.poll_stream_packet(now).is_some() {}
}

fn drain(client: &mut Client, last: &mut Option<(sansrtc::stun::Method, TransactionId)>, sent: &mut u64) {
    let mut pool = Pool::new();
    while let Some(transmit) = client.poll_transmit(&mut pool) {
        *sent += 1;
        if let Ok(message) = Message::parse(&transmit.contents)
            && message.class() == Class::Request
        {
            *last = Some((message.method(), message.transaction()));
        }
    }
    while client.poll_event().is_some() {}
}
