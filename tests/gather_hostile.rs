//! Servers that lie, peers that flood: bounded work, clear events, and the connection goes on.

mod ground;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use ground::{Ground, SECOND, SERVER, config, with_servers};
use sansrtc::stun::attributes::types;
use sansrtc::stun::{Builder, Class, ErrorCode, Message, Method};
use sansrtc::{
    Datagram, Event, GatheringState, IceServer, IceServerError, Input, Output, Rtc, RtcConfig, StreamInput,
    StreamOutput,
};

const TURN: &str = "turn:203.0.113.1:3478";

fn local() -> SocketAddr {
    "192.0.2.1:5000".parse().unwrap()
}

/// A connection whose server's answers the test makes up itself.
struct Lied {
    rtc: Rtc,
    now: std::time::Instant,
    asked: usize,
    failures: Vec<IceServerError>,
    destinations: Vec<SocketAddr>,
}

impl Lied {
    fn new() -> Self {
        let mut rtc = Rtc::new(with_servers(&[TURN]), [3; 32], ground::clock()).unwrap();
        rtc.add_local_candidate(sansrtc::Candidate::host(local()).unwrap()).unwrap();
        let now = ground::clock().instant;
        Lied { rtc, now, asked: 0, failures: Vec::new(), destinations: Vec::new() }
    }

    /// Answers every request with what `lie` makes of it, for a while.
    fn run(&mut self, how_long: Duration, mut lie: impl FnMut(&Message<'_>) -> Vec<BytesMut>) {
        let end = self.now + how_long;
        for _ in 0..100_000 {
            let mut answers: VecDeque<(SocketAddr, BytesMut)> = VecDeque::new();
            let wake = loop {
                match self.rtc.poll_output() {
                    Output::Transmit(transmit) => {
                        self.asked += 1;
                        self.destinations.push(transmit.destination);
                        if let Ok(message) = Message::parse(&transmit.contents) {
                            answers.extend(lie(&message).into_iter().map(|a| (transmit.destination, a)));
                        }
                    }
                    Output::Event(Event::IceServerFailed(failure)) => self.failures.push(failure.reason),
                    Output::Event(_) | Output::Stream(_) => {}
                    Output::Timeout(at) => break at,
                }
            };
            if answers.is_empty() {
                match wake.filter(|at| *at <= end) {
                    Some(at) => self.now = self.now.max(at),
                    None => return,
                }
                self.rtc.handle_input(self.now, Input::Timeout);
            }
            for (source, answer) in answers {
                self.now += Duration::from_millis(1);
                let datagram = Datagram::udp(source, local(), answer);
                self.rtc.handle_input(self.now, Input::Datagram(datagram));
            }
        }
        panic!("it never rests");
    }
}

fn error(request: &Message<'_>, code: u16, more: impl FnOnce(&mut Builder<'_>)) -> BytesMut {
    let mut bytes = BytesMut::new();
    let mut builder = Builder::new(&mut bytes, Class::Error, request.method(), request.transaction());
    builder.error_code(ErrorCode { code, reason: "" });
    more(&mut builder);
    builder.finish();
    bytes
}

#[test]
fn a_server_that_calls_every_nonce_stale_is_left() {
    // R16: at most three retries.
    let mut lied = Lied::new();
    let mut number = 0u32;
    lied.run(120 * SECOND, |request| {
        number += 1;
        let nonce = format!("nonce{number}");
        vec![error(request, if number == 1 { 401 } else { 438 }, |builder| {
            builder.attribute(types::REALM, b"stage").attribute(types::NONCE, nonce.as_bytes());
        })]
    });
    assert!(lied.asked <= 6, "{} requests", lied.asked);
    assert_eq!(lied.failures, [IceServerError::Nonsense]);
    assert_eq!(lied.rtc.gathering_state(), GatheringState::Complete);
}

#[test]
fn redirects_are_followed_three_times_and_never_in_a_circle_or_inwards() {
    let mut lied = Lied::new();
    let mut hops = 0u8;
    lied.run(120 * SECOND, |request| {
        hops = hops.saturating_add(1);
        let next = SocketAddr::from(([198, 51, 100, hops], 3478));
        vec![error(request, 300, |builder| {
            builder.address(types::ALTERNATE_SERVER, next);
        })]
    });
    assert!(lied.asked <= 4, "{} requests", lied.asked);
    assert_eq!(lied.failures, [IceServerError::Nonsense]);
    for inwards in ["127.0.0.1:3478", "203.0.113.1:3478", "0.0.0.0:3478", "224.0.0.1:3478"] {
        let mut lied = Lied::new();
        lied.run(120 * SECOND, |request| {
            vec![error(request, 300, |builder| {
                builder.address(types::ALTERNATE_SERVER, inwards.parse().unwrap());
            })]
        });
        assert!(lied.destinations.iter().all(|to| *to == SERVER), "{inwards}");
        assert_eq!(lied.failures.len(), 1, "{inwards}");
    }
}

#[test]
fn ten_answers_to_each_request_count_as_one() {
    let mut lied = Lied::new();
    lied.run(120 * SECOND, |request| {
        let challenge = error(request, 401, |builder| {
            builder.attribute(types::REALM, b"stage").attribute(types::NONCE, b"nonce");
        });
        vec![challenge; 10]
    });
    assert!(lied.asked <= 4, "{} requests", lied.asked);
    assert_eq!(lied.failures, [IceServerError::Credentials]);
}

#[test]
fn a_server_that_claims_our_own_address_gets_no_candidate() {
    // It cannot sign, so this one plays it by the book with the real machine, relaying from a host's address.
    let config = sansrtc::turn::server::Config {
        realm: "stage".into(),
        relay_v4: Some("192.0.2.1".parse().unwrap()),
        ports: 5000..=5000,
        ..Default::default()
    };
    let mut ground = Ground::with_server(config);
    let a = ground.add(with_servers(&[TURN]), "192.0.2.1", None);
    ground.run_for(5 * SECOND);
    assert_eq!(ground.gathered(a), []);
}

#[test]
fn ten_thousand_remote_candidates_are_bounded() {
    let mut ground = Ground::new();
    let a = ground.add(with_servers(&[TURN]), "192.0.2.1", None);
    let b = ground.add(config(), "192.0.2.2", None);
    ground.run_for(SECOND);
    ground.connect(a, b);
    let before = (ground.hosts[a].sent.len(), ground.server.stats().requests);
    let mut refused = 0;
    for number in 0..10_000u32 {
        let [_, _, high, low] = number.to_be_bytes();
        let text = format!("candidate:{number} 1 udp 2122260223 198.18.{high}.{low} 5000 typ host");
        let candidate: sansrtc::Candidate = text.parse().unwrap();
        refused += usize::from(ground.hosts[a].rtc.add_remote_candidate(&candidate).is_err());
    }
    ground.drain();
    ground.run_for(60 * SECOND);
    assert!(refused >= 10_000 - 64, "{refused}");
    // R14: 64 candidates on two bases, seven checks each, and what the connection says anyway.
    let sent = ground.hosts[a].sent.len() - before.0;
    assert!(sent < 2 * 64 * 8 + 200, "{sent} packets");
    assert!(ground.server.stats().requests - before.1 < 40, "permissions are asked for in batches");
    assert!(ground.delivers(a, b, 1000) && ground.delivers(b, a, 1000));
}

#[test]
fn noise_from_the_servers_address_does_no_harm() {
    let mut ground = Ground::new();
    let a = ground.add(with_servers(&[TURN, "stun:203.0.113.1"]), "192.0.2.1", None);
    let b = ground.add(config(), "192.0.2.2", None);
    ground.run_for(SECOND);
    ground.connect(a, b);
    let mut state = 7u32;
    for size in 0..5000usize {
        let mut noise = BytesMut::zeroed(size % 1400);
        for byte in noise.iter_mut() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        }
        if let Some(first) = noise.first_mut() {
            *first = [0, 1, 0x40, 0x4f, 22, 128][size % 6];
        }
        ground.hosts[a].rtc.handle_input(ground.now, Input::Datagram(Datagram::udp(SERVER, local(), noise)));
    }
    ground.drain();
    assert!(ground.delivers(a, b, 1000) && ground.delivers(b, a, 1000));
}

#[test]
fn data_is_opened_once() {
    // R16: what is inside of a relayed packet is the peer's, whatever it looks like.
    let mut ground = Ground::new();
    let a = ground.add(with_servers(&[TURN]), "192.0.2.1", None);
    ground.run_for(SECOND);
    let b = ground.add(config(), "192.0.2.2", None);
    ground.signal(a, b);
    ground.run_for(SECOND);
    let relayed = ground.gathered(a)[0].socket_address().unwrap();
    let before = ground.hosts[a].rtc.stats().dropped;
    // A Data indication inside of a Data indication, and ChannelData too.
    let mut nested = BytesMut::new();
    let id = sansrtc::stun::TransactionId([1; 12]);
    let mut builder = Builder::new(&mut nested, Class::Indication, Method::DATA, id);
    builder.xor_address(types::XOR_PEER_ADDRESS, "192.0.2.2:5000".parse().unwrap());
    builder.attribute(types::DATA, &[22; 100]);
    builder.finish();
    ground.send("192.0.2.2:5000".parse().unwrap(), relayed, nested);
    ground.send("192.0.2.2:5000".parse().unwrap(), relayed, BytesMut::from(&[0x40, 0, 0, 1, 22][..]));
    ground.run_for(SECOND);
    let after = ground.hosts[a].rtc.stats().dropped;
    assert_eq!(after.channel_data, before.channel_data + 1);
    assert_eq!(after.unvalidated, before.unvalidated, "the inner data was not looked at");
}

#[test]
fn a_stream_server_that_speaks_nonsense_is_left() {
    let mut rtc =
        Rtc::new(with_servers(&["turn:203.0.113.1:3478?transport=tcp"]), [3; 32], ground::clock()).unwrap();
    let now = ground::clock().instant;
    rtc.handle_input(now, Input::Timeout);
    let mut opened = 0;
    let mut failed = Vec::new();
    for _ in 0..100 {
        match rtc.poll_output() {
            Output::Stream(StreamOutput::Open { key, .. }) => {
                opened += 1;
                let local = "192.0.2.1:7".parse().unwrap();
                rtc.handle_input(now, Input::Stream(StreamInput::Opened { key, local }));
                let contents = BytesMut::from(&b"SSH-2.0-OpenSSH_9.2\r\n"[..]);
                rtc.handle_input(now, Input::Stream(StreamInput::Received { key, contents }));
            }
            Output::Event(Event::IceServerFailed(failure)) => failed.push(failure.reason),
            Output::Timeout(_) => break,
            _ => {}
        }
    }
    assert_eq!((opened, failed), (1, vec![IceServerError::Nonsense]));
}

#[test]
fn a_stream_server_has_failed_when_its_last_address_has() {
    let addresses =
        ["203.0.113.1:3478", "203.0.113.2:3478", "[2001:db8::3]:3478"].map(|text| text.parse().unwrap());
    let server = IceServer::new("turn:turn.example:3478?transport=tcp").unwrap();
    let server = server.with_addresses(addresses).with_credentials("user", "secret");
    let config = RtcConfig { ice_servers: vec![server], ..config() };
    let mut rtc = Rtc::new(config, [3; 32], ground::clock()).unwrap();
    let mut now = ground::clock().instant;
    rtc.handle_input(now, Input::Timeout);
    let (mut opened, mut failed) = (Vec::<SocketAddr>::new(), Vec::new());
    for _ in 0..1000 {
        match rtc.poll_output() {
            Output::Stream(StreamOutput::Open { key, remote, .. }) => {
                opened.push(remote);
                rtc.handle_input(now, Input::Stream(StreamInput::Closed { key }));
            }
            Output::Event(Event::IceServerFailed(failure)) => failed.push(failure.reason),
            Output::Timeout(Some(at)) if failed.is_empty() => {
                now = at;
                rtc.handle_input(now, Input::Timeout);
            }
            Output::Timeout(_) => break,
            _ => {}
        }
    }
    opened.dedup();
    assert_eq!(opened, addresses);
    assert_eq!(failed, [IceServerError::Unreachable]);
}
