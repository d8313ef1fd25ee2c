//! The client against our own server, in memory, with virtual time and loss; and against hostile servers.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use proptest::prelude::*;

use super::server::{self, FiveTuple, PeerPolicy, Server, Users};
use super::*;
use crate::buffer::Pool;
use crate::packet::Protocol;
use crate::rng::{Rng, Stream};
use crate::stun::attributes::types;
use crate::stun::credentials::LongTermKey;
use crate::stun::{Builder, Class, ErrorCode, Message, Method, PasswordAlgorithm, TransactionId};
use crate::time::Clock;

const LOCAL: &str = "192.0.2.1:5000";
const SERVER: &str = "198.51.100.1:3478";
const PEER: &str = "203.0.113.7:9000";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn base() -> Instant {
    // A fixed point of the test process: only differences matter.
    crate::time::some_instant()
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn config(protocol: Protocol) -> Config {
    Config::new(address(SERVER), protocol, Credentials::new("alice", "secret"))
}

fn server_config() -> server::Config {
    server::Config {
        relay_v4: Some("198.51.100.1".parse().unwrap()),
        relay_v6: Some("2001:db8::1".parse().unwrap()),
        peers: PeerPolicy::Any,
        ..server::Config::default()
    }
}

/// A client, a server, and what is between them.
struct World {
    now: Instant,
    client: Client,
    server: Server,
    pool: Pool,
    chance: Rng,
    /// Per mille of packets that are lost each way.
    loss: u64,
    relays: Vec<SocketAddr>,
    /// What left the server towards peers: from, to, data.
    at_peers: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    /// What the client got of peers.
    received: Vec<(SocketAddr, Vec<u8>)>,
    events: Vec<Event>,
    streaming: bool,
}

impl World {
    fn new(config: Config, server_config: server::Config) -> Self {
        let now = base();
        let mut users = Users::new("sansrtc");
        users.add("alice", "secret");
        users.add("bob", "other");
        users.set_secret(b"shared");
        let clock = Clock { instant: now, unix: seconds(1000) };
        let server = Server::new(server_config, users, clock, Rng::new([2; 32], Stream::Turn)).unwrap();
        let client = Client::new(config, address(LOCAL), Rng::new([1; 32], Stream::Turn)).unwrap();
        World {
            now,
            client,
            server,
            pool: Pool::new(),
            chance: Rng::new([3; 32], Stream::Session),
            loss: 0,
            relays: Vec::new(),
            at_peers: Vec::new(),
            received: Vec::new(),
            events: Vec::new(),
            streaming: false,
        }
    }

    fn udp() -> Self {
        World::new(config(Protocol::Udp), server_config())
    }

    fn tuple(&self) -> FiveTuple {
        FiveTuple { client: address(LOCAL), server: address(SERVER), protocol: self.client.protocol() }
    }

    fn lost(&mut self) -> bool {
        self.chance.below(1000) < self.loss
    }

    fn give_client(&mut self, packet: BytesMut) {
        if self.client.protocol() == Protocol::Udp {
            let handled = self.client.handle_packet(self.now, address(SERVER), packet);
            self.take(handled);
        } else {
            // In pieces, as streams come.
            for piece in packet.chunks(7) {
                self.client.handle_stream_bytes(self.now, BytesMut::from(piece));
                while let Some(handled) = self.client.poll_stream_packet(self.now) {
                    self.take(handled);
                }
            }
        }
    }

    fn take(&mut self, handled: Handled) {
        if let Handled::Data { peer, relayed, contents } = handled {
            assert!(self.relays.contains(&relayed));
            self.received.push((peer, contents.to_vec()));
        }
    }

    fn give_server(&mut self, packet: BytesMut) {
        let tuple = self.tuple();
        match tuple.protocol {
            Protocol::Udp => self.server.handle_packet(self.now, tuple, packet),
            _ => packet.chunks(5).for_each(|piece| {
                self.server.handle_stream(self.now, tuple, BytesMut::from(piece));
            }),
        }
    }

    /// Moves everything there is to move, at one moment.
    fn exchange(&mut self) {
        for _ in 0..1000 {
            let mut moved = false;
            while let Some(event) = self.client.poll_event() {
                match event {
                    Event::OpenStream { .. } => {
                        self.streaming = true;
                        self.client.handle_stream_opened(self.now, address(LOCAL));
                    }
                    Event::CloseStream => {
                        self.streaming = false;
                        let tuple = self.tuple();
                        self.server.handle_stream_closed(self.now, tuple);
                    }
                    event => self.events.push(event),
                }
                moved = true;
            }
            while let Some(transmit) = self.client.poll_transmit(&mut self.pool) {
                moved = true;
                if !self.lost() {
                    self.give_server(transmit.contents.into_inner());
                }
            }
            while let Some(event) = self.server.poll_event() {
                match event {
                    server::Event::OpenRelay(relay) => self.relays.push(relay),
                    server::Event::CloseRelay(relay) => self.relays.retain(|other| *other != relay),
                    server::Event::CloseStream(_) => self.client.handle_stream_closed(self.now),
                }
            }
            while let Some(transmit) = self.server.poll_transmit(&mut self.pool) {
                moved = true;
                if transmit.destination == address(LOCAL) {
                    if !self.lost() {
                        self.give_client(transmit.contents.into_inner());
                    }
                } else {
                    let data = transmit.contents.to_vec();
                    self.at_peers.push((transmit.source, transmit.destination, data));
                }
            }
            if !moved {
                return;
            }
        }
        panic!("client and server never fall silent");
    }

    /// Steps from deadline to deadline.
    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        for _ in 0..100_000 {
            self.exchange();
            let next = [self.client.next_timeout(), self.server.next_timeout()].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            assert!(next > self.now || self.client.next_timeout().is_none_or(|at| at >= self.now));
            self.now = self.now.max(next);
            self.client.handle_timeout(self.now);
            self.server.handle_timeout(self.now);
        }
        panic!("time does not pass");
    }

    fn allocate(&mut self) -> Relayed {
        self.client.start(self.now);
        self.exchange();
        self.client.relayed().unwrap_or_else(|| panic!("no allocation: {:?}", self.events))
    }

    fn send(&mut self, peer: SocketAddr, data: &[u8]) -> Result<usize, WrapError> {
        let overhead = self.client.overhead(peer);
        let mut packet = BytesMut::from(&b"before"[..]);
        packet.resize(6 + overhead.head, 0xee);
        packet.extend_from_slice(data);
        self.client.wrap(peer, &mut packet, 6)?;
        let packet = packet.split_off(6);
        let length = packet.len();
        assert!(length <= data.len() + overhead.head + overhead.tail);
        self.give_server(packet);
        self.exchange();
        Ok(length)
    }

    fn peer_sends(&mut self, peer: SocketAddr, data: &[u8]) {
        let relay = self.client.relayed().and_then(|r| r.of(Family::of(peer.ip()))).unwrap();
        self.server.handle_relayed(self.now, relay, peer, BytesMut::from(data));
        self.exchange();
    }
}

#[test]
fn an_allocation_comes_up_over_udp_tcp_and_tls() {
    for protocol in [Protocol::Udp, Protocol::Tcp, Protocol::Tls] {
        for password_algorithms in [false, true] {
            let server = server::Config { password_algorithms, ..server_config() };
            let mut world = World::new(config(protocol), server);
            let relayed = world.allocate();
            assert_eq!(relayed.mapped, Some(address(LOCAL)));
            assert_eq!(world.relays, [relayed.v4.unwrap()]);
            assert_eq!(relayed.v6, None);
            // One question, one challenge, one answer (RFC 8489 §9.2.3).
            assert_eq!(world.client.stats().requests, 2);
        }
    }
}

#[test]
fn data_goes_through_indications_first_and_through_a_channel_once_bound() {
    // RFC 8656 §11, §12.
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        let mut world = World::new(config(protocol), server_config());
        let relay = world.allocate().v4.unwrap();
        let peer = address(PEER);
        assert_eq!(world.send(peer, b"too early"), Err(WrapError::NotPermitted));
        world.peer_sends(peer, b"not asked for");
        assert!(world.received.is_empty());
        world.client.permit(world.now, peer.ip()).unwrap();
        world.exchange();
        assert!(world.events.contains(&Event::Permitted(peer.ip())));
        assert_eq!(world.send(peer, b"hello"), Ok(36 + 8));
        world.peer_sends(peer, b"hi");
        world.client.bind(world.now, peer).unwrap();
        world.exchange();
        assert!(world.events.contains(&Event::Bound(peer)) && world.client.is_bound(peer));
        let padded = if protocol == Protocol::Udp { 9 } else { 12 };
        assert_eq!(world.send(peer, b"again"), Ok(padded));
        assert_eq!(world.send(peer, b""), Ok(4));
        world.peer_sends(peer, b"and back");
        world.peer_sends(peer, b"");
        let sent: Vec<_> = [&b"hello"[..], b"again", b""].iter().map(|d| (relay, peer, d.to_vec())).collect();
        assert_eq!(world.at_peers, sent);
        let got: Vec<_> = [&b"hi"[..], b"and back", b""].iter().map(|d| (peer, d.to_vec())).collect();
        assert_eq!(world.received, got);
    }
}

#[test]
fn both_ip_versions_come_in_one_allocation() {
    // RFC 8656 §7.1.
    let both = Config { families: Families::Both, ..config(Protocol::Udp) };
    let mut world = World::new(both.clone(), server_config());
    let relayed = world.allocate();
    assert!(relayed.v4.is_some() && relayed.v6.is_some());
    let peer = address("[2001:db8::7]:9");
    world.client.bind(world.now, peer).unwrap();
    world.exchange();
    world.send(peer, b"six").unwrap();
    assert_eq!(world.at_peers, [(relayed.v6.unwrap(), peer, b"six".to_vec())]);

    let mut world = World::new(both, server::Config { relay_v6: None, ..server_config() });
    world.client.permit(world.now, peer.ip()).unwrap();
    assert_eq!(world.allocate().v6, None);
    assert!(world.events.contains(&Event::NotPermitted { peer: peer.ip(), code: 443 }));
    assert_eq!(world.client.permit(world.now, peer.ip()), Err(PeerError::Family));

    let six = Config { families: Families::Only(Family::V6), ..config(Protocol::Udp) };
    let mut world = World::new(six.clone(), server_config());
    assert!(world.allocate().v6.is_some());
    let mut world = World::new(six, server::Config { relay_v6: None, ..server_config() });
    world.client.start(world.now);
    world.exchange();
    assert_eq!(world.events, [Event::Failed(Failure::Family)]);
}

#[test]
fn all_is_kept_alive_for_hours_through_stale_nonces_and_loss() {
    // RFC 8656 §8, §9, §12; RFC 8489 §9.2.4.
    let nonce_lifetime = seconds(500);
    let mut world = World::new(config(Protocol::Udp), server::Config { nonce_lifetime, ..server_config() });
    world.allocate();
    let peer = address(PEER);
    world.client.bind(world.now, peer).unwrap();
    world.exchange();
    world.loss = 100;
    for _ in 0..60 {
        world.run(seconds(179));
        assert!(world.client.is_bound(peer) && world.client.is_permitted(peer.ip()));
        world.loss = 0;
        world.send(peer, b"x").unwrap();
        world.peer_sends(peer, b"y");
        world.loss = 100;
    }
    assert_eq!((world.at_peers.len(), world.received.len()), (60, 60));
    assert_eq!(world.client.stats().lost, 0);
    assert!(world.client.stats().stale_nonces > 0);
}

#[test]
fn an_allocation_comes_up_through_heavy_loss() {
    let mut world = World::udp();
    world.loss = 300;
    world.client.start(world.now);
    world.run(seconds(35));
    assert!(world.client.relayed().is_some());
    assert_eq!(world.server.allocations(), 1);
}

#[test]
fn an_allocation_that_is_lost_is_made_again_with_all_that_it_had() {
    let mut world = World::udp();
    let first = world.allocate();
    let peer = address(PEER);
    world.client.bind(world.now, peer).unwrap();
    world.exchange();
    world.run(seconds(100));
    // The server restarts without its memory.
    let tuple = world.tuple();
    world.server.handle_stream_closed(world.now, tuple);
    assert_eq!(world.server.allocations(), 0);
    world.run(seconds(300));
    assert!(world.events.contains(&Event::Lost(Failure::Mismatch)));
    assert_ne!(world.client.relayed(), Some(first));
    assert!(world.client.is_bound(peer));
    assert_eq!(world.client.channel(peer).map(|channel| channel.number()), Some(0x4000));
    world.send(peer, b"x").unwrap();
    assert_eq!(world.at_peers.len(), 1);
}

#[test]
fn closing_gives_the_allocation_back_and_then_nothing_is_due() {
    let mut world = World::udp();
    world.allocate();
    world.client.close(world.now);
    world.exchange();
    assert_eq!(world.events.last(), Some(&Event::Closed));
    assert_eq!((world.server.allocations(), world.relays.len()), (0, 0));
    assert_eq!((world.client.next_timeout(), world.server.next_timeout()), (None, None));
    assert_eq!(world.client.permit(world.now, address(PEER).ip()), Err(PeerError::Closed));
    world.client.handle_timeout(world.now + seconds(1000));
    assert!(world.client.poll_transmit(&mut world.pool).is_none() && world.client.poll_event().is_none());

    // A server that is gone does not hold the client up.
    let mut world = World::udp();
    world.allocate();
    world.loss = 1000;
    world.client.close(world.now);
    world.run(seconds(5));
    assert_eq!(world.events.last(), Some(&Event::Closed));
}

#[test]
fn wrong_credentials_fail_after_one_try_and_time_limited_ones_work() {
    let wrong = Config { credentials: Credentials::new("alice", "wrong"), ..config(Protocol::Udp) };
    let mut world = World::new(wrong, server_config());
    world.client.start(world.now);
    world.exchange();
    assert_eq!(world.events, [Event::Failed(Failure::Credentials)]);
    assert_eq!(world.client.stats().requests, 2);

    for (expiry, works) in [(2000, true), (999, false)] {
        let credentials = server::time_limited(b"shared", "carol", seconds(expiry));
        let mut world = World::new(Config { credentials, ..config(Protocol::Udp) }, server_config());
        world.client.start(world.now);
        world.exchange();
        assert_eq!(world.client.relayed().is_some(), works);
    }
}

#[test]
fn a_leftover_of_a_former_life_is_removed() {
    // RFC 8656 §7.4, 437.
    let mut world = World::udp();
    world.allocate();
    world.client =
        Client::new(config(Protocol::Udp), address(LOCAL), Rng::new([9; 32], Stream::Turn)).unwrap();
    world.events.clear();
    world.allocate();
    assert_eq!(world.server.allocations(), 1);

    // Someone else's cannot be.
    let bob = Config { credentials: Credentials::new("bob", "other"), ..config(Protocol::Udp) };
    world.client = Client::new(bob, address(LOCAL), Rng::new([8; 32], Stream::Turn)).unwrap();
    world.events.clear();
    world.client.start(world.now);
    world.exchange();
    assert_eq!(world.events, [Event::Failed(Failure::Mismatch)]);
}

#[test]
fn quotas_and_policies_are_told_and_bind_one_user() {
    let mut world =
        World::new(config(Protocol::Udp), server::Config { max_allocations_per_user: 0, ..server_config() });
    world.client.start(world.now);
    world.exchange();
    assert_eq!(world.events, [Event::Failed(Failure::Capacity)]);

    let mut world =
        World::new(config(Protocol::Udp), server::Config { peers: PeerPolicy::Public, ..server_config() });
    world.allocate();
    let (good, bad): (IpAddr, IpAddr) = ("8.8.8.8".parse().unwrap(), "10.0.0.1".parse().unwrap());
    world.client.permit(world.now, good).unwrap();
    world.client.permit(world.now, bad).unwrap();
    world.exchange();
    // One bad address in a request does not take the good ones with it.
    assert!(world.client.is_permitted(good) && !world.client.is_permitted(bad));
    assert!(world.events.contains(&Event::NotPermitted { peer: bad, code: 403 }));
    world.run(seconds(1000));
    assert!(world.client.is_permitted(good));
}

#[test]
fn peers_beyond_the_bound_are_refused() {
    let mut world = World::udp();
    world.allocate();
    let results: Vec<_> = (0..1000u32)
        .map(|n| world.client.permit(world.now, IpAddr::from((0x0800_0000 + n).to_be_bytes())))
        .collect();
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 128);
    world.exchange();
    assert_eq!(world.events.iter().filter(|event| matches!(event, Event::Permitted(_))).count(), 128);
    assert!(world.client.stats().requests < 30);
}

// ----- hostile servers -----

/// A server that answers every request with what `write` makes.
fn hostile(
    client: &mut Client,
    for_time: Duration,
    mut write: impl FnMut(&Message<'_>, SocketAddr) -> Option<BytesMut>,
) -> (usize, Vec<Event>) {
    let mut now = base();
    let end = now + for_time;
    let (mut requests, mut events, mut pool) = (0, Vec::new(), Pool::new());
    client.start(now);
    while now < end {
        while let Some(transmit) = client.poll_transmit(&mut pool) {
            let request = Message::parse(&transmit.contents).unwrap();
            requests += usize::from(request.class() == Class::Request);
            assert!(requests < 100_000);
            if let Some(answer) = write(&request, transmit.destination) {
                client.handle_packet(now, transmit.destination, answer);
            }
        }
        events.extend(std::iter::from_fn(|| client.poll_event()));
        let Some(next) = client.next_timeout() else { break };
        assert!(next > now, "a timeout is in the future");
        now = next;
        client.handle_timeout(now);
    }
    (requests, events)
}

fn refuse(request: &Message<'_>, code: u16, more: impl FnOnce(&mut Builder<'_>)) -> BytesMut {
    let mut answer = BytesMut::new();
    let mut builder = Builder::new(&mut answer, Class::Error, request.method(), request.transaction());
    builder.error_code(ErrorCode { code, reason: "no" });
    more(&mut builder);
    builder.finish();
    answer
}

fn client() -> Client {
    Client::new(config(Protocol::Udp), address(LOCAL), Rng::new([1; 32], Stream::Turn)).unwrap()
}

#[test]
fn stale_nonces_for_ever_are_followed_three_times() {
    // R16: at most three retries.
    let mut n = 0u32;
    let (requests, events) = hostile(&mut client(), seconds(10_000), |request, _| {
        n += 1;
        let nonce = format!("nonce{n}");
        Some(refuse(request, 438, |b| {
            b.attribute(types::REALM, b"realm").attribute(types::NONCE, nonce.as_bytes());
        }))
    });
    assert_eq!((requests, events), (4, vec![Event::Failed(Failure::StaleNonce)]));
}

#[test]
fn a_realm_that_changes_for_ever_is_followed_three_times() {
    let mut n = 0u32;
    let (requests, events) = hostile(&mut client(), seconds(10_000), |request, _| {
        n += 1;
        let realm = format!("realm{n}");
        Some(refuse(request, 401, |b| {
            b.attribute(types::REALM, realm.as_bytes()).attribute(types::NONCE, b"nonce");
        }))
    });
    assert!(requests <= 5 && events.len() == 1, "{requests} {events:?}");
}

#[test]
fn redirections_end_after_three_and_never_go_back_or_inwards() {
    // RFC 8489 §10.
    let mut n = 0u16;
    let (requests, events) = hostile(&mut client(), seconds(10_000), |request, _| {
        n += 1;
        let next = SocketAddr::new("198.51.100.2".parse().unwrap(), n);
        Some(refuse(request, 300, |b| {
            b.address(types::ALTERNATE_SERVER, next);
        }))
    });
    assert_eq!((requests, events), (4, vec![Event::Failed(Failure::Redirects)]));
    for target in
        [SERVER, "127.0.0.1:3478", "0.0.0.0:3478", "198.51.100.9:0", "[2001:db8::9]:3478", "224.0.0.1:1"]
    {
        let (requests, events) = hostile(&mut client(), seconds(10_000), |request, _| {
            Some(refuse(request, 300, |b| {
                b.address(types::ALTERNATE_SERVER, address(target));
            }))
        });
        assert_eq!((requests, events), (1, vec![Event::Failed(Failure::Redirects)]), "{target}");
    }
}

#[test]
fn a_silent_server_is_asked_seven_times() {
    // RFC 8489 §6.2.1: 500 ms, doubled, seven sendings, and 39.5 s in all.
    let start = base();
    let (requests, events) = hostile(&mut client(), seconds(39), |_, _| None);
    assert_eq!((requests, events), (7, vec![]));
    let mut silent = client();
    let (requests, events) = hostile(&mut silent, seconds(1000), |_, _| None);
    assert_eq!((requests, events), (7, vec![Event::Failed(Failure::Silent)]));
    assert!(silent.is_ended() && silent.next_timeout().is_none() && start <= base());
}

#[test]
fn every_refusal_of_an_allocation_ends_it_with_a_reason() {
    let codes = [
        (403, Failure::Refused { code: 403 }),
        (420, Failure::Refused { code: 420 }),
        (437, Failure::Mismatch),
        (440, Failure::Family),
        (441, Failure::Credentials),
        (442, Failure::Refused { code: 442 }),
        (486, Failure::Capacity),
        (500, Failure::Refused { code: 500 }),
        (508, Failure::Capacity),
    ];
    for (code, failure) in codes {
        let (requests, events) =
            hostile(&mut client(), seconds(1000), |request, _| Some(refuse(request, code, |_| {})));
        assert_eq!((requests, events), (1, vec![Event::Failed(failure)]), "{code}");
    }
    // RFC 8489 §9.2.5: a 400 that nobody signed never came.
    let (requests, events) =
        hostile(&mut client(), seconds(1000), |request, _| Some(refuse(request, 400, |_| {})));
    assert_eq!((requests, events), (7, vec![Event::Failed(Failure::Unauthentic)]));
}

#[test]
fn answers_without_integrity_do_not_count_once_credentials_were_sent() {
    // RFC 8489 §9.2.5.
    let (requests, events) = hostile(&mut client(), seconds(1000), |request, _| {
        if !request.has_integrity() {
            return Some(refuse(request, 401, |b| {
                b.attribute(types::REALM, b"realm").attribute(types::NONCE, b"nonce");
            }));
        }
        let mut answer = BytesMut::new();
        let mut builder = Builder::new(&mut answer, Class::Success, request.method(), request.transaction());
        builder.xor_address(types::XOR_RELAYED_ADDRESS, address("198.51.100.1:50000"));
        builder.attribute(types::LIFETIME, &600u32.to_be_bytes());
        builder.finish();
        Some(answer)
    });
    assert_eq!((requests, events), (8, vec![Event::Failed(Failure::Unauthentic)]));
}

#[test]
fn a_challenge_whose_list_was_taken_out_is_not_answered() {
    // RFC 8489 §9.2.1.
    let (requests, events) = hostile(&mut client(), seconds(1000), |request, _| {
        Some(refuse(request, 401, |b| {
            b.attribute(types::REALM, b"realm").attribute(types::NONCE, b"obMatJos2gAAAnonce");
        }))
    });
    assert_eq!((requests, events), (1, vec![Event::Failed(Failure::Credentials)]));
}

/// Signs what a server of RFC 5389 would say to alice.
fn granted(request: &Message<'_>, write: impl FnOnce(&mut Builder<'_>)) -> Option<BytesMut> {
    if !request.has_integrity() {
        return Some(refuse(request, 401, |b| {
            b.attribute(types::REALM, b"realm").attribute(types::NONCE, b"nonce");
        }));
    }
    let key = LongTermKey::derive(PasswordAlgorithm::Md5, "alice", "realm", "secret");
    request.verify_integrity(&key.sha1).unwrap();
    let mut answer = BytesMut::new();
    let mut builder = Builder::new(&mut answer, Class::Success, request.method(), request.transaction());
    write(&mut builder);
    builder.integrity(&key.sha1);
    builder.finish();
    Some(answer)
}

#[test]
fn lies_about_lifetimes_make_no_flood() {
    for lifetime in [1u32, 2, u32::MAX] {
        let (requests, _) = hostile(&mut client(), seconds(600), |request, _| {
            granted(request, |b| {
                b.xor_address(types::XOR_RELAYED_ADDRESS, address("198.51.100.1:50000"));
                b.attribute(types::LIFETIME, &lifetime.to_be_bytes());
            })
        });
        assert!(requests <= 1210, "{requests}");
    }
    for relayed in ["0.0.0.0:1", "224.0.0.1:1", "198.51.100.1:0"] {
        let (requests, events) = hostile(&mut client(), seconds(600), |request, _| {
            granted(request, |b| {
                b.xor_address(types::XOR_RELAYED_ADDRESS, address(relayed));
                b.attribute(types::LIFETIME, &600u32.to_be_bytes());
            })
        });
        assert_eq!((requests, events.first()), (3, Some(&Event::Failed(Failure::Family))), "{relayed}");
    }
}

#[test]
fn an_allocation_that_is_always_lost_is_given_up() {
    let key = || LongTermKey::derive(PasswordAlgorithm::Md5, "alice", "realm", "secret");
    let (requests, events) = hostile(&mut client(), seconds(100_000), |request, _| {
        if request.method() == Method::REFRESH {
            return Some(refuse(request, 437, |b| {
                b.integrity(&key().sha1);
            }));
        }
        granted(request, |b| {
            b.xor_address(types::XOR_RELAYED_ADDRESS, address("198.51.100.1:50000"));
            b.attribute(types::LIFETIME, &30u32.to_be_bytes());
        })
    });
    assert!(requests < 40, "{requests}");
    assert_eq!(events.last(), Some(&Event::Failed(Failure::Mismatch)));
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Lost(_))).count(), 6);
}

#[test]
fn nested_data_is_opened_once() {
    // R16.
    let mut world = World::udp();
    world.allocate();
    let peer = address(PEER);
    world.client.bind(world.now, peer).unwrap();
    world.exchange();
    world.peer_sends(peer, b"\x40\x00\x00\x04\x40\x00\x00\x00");
    assert_eq!(world.received, [(peer, b"\x40\x00\x00\x04\x40\x00\x00\x00".to_vec())]);
}

#[test]
fn packets_from_elsewhere_are_not_taken() {
    let mut world = World::udp();
    world.allocate();
    let stranger = address("198.51.100.2:3478");
    let packet = BytesMut::from(&b"\x40\x00\x00\x00"[..]);
    let handled = world.client.handle_packet(world.now, stranger, packet);
    assert_eq!(handled, Handled::Dropped(Dropped::Stranger));
}

#[test]
fn a_server_relays_nothing_to_itself() {
    // RFC 8656 §21.1.7.
    let mut world = World::udp();
    world.allocate();
    world.client.bind(world.now, address(SERVER)).unwrap();
    world.exchange();
    assert!(world.events.contains(&Event::NotBound { peer: address(SERVER), code: 403 }));
    world.send(address(SERVER), b"loop").unwrap();
    assert!(world.at_peers.is_empty());
}

#[test]
fn unsigned_requests_are_answered_at_a_bounded_rate() {
    let config = server::Config { max_unauthenticated_answers: 10, ..server_config() };
    let mut world = World::new(self::config(Protocol::Udp), config);
    let tuple = world.tuple();
    let mut pool = Pool::new();
    for _ in 0..1000 {
        let mut request = BytesMut::new();
        Builder::new(&mut request, Class::Request, Method::ALLOCATE, TransactionId([7; 12])).finish();
        world.server.handle_packet(world.now, tuple, request);
    }
    let answers = std::iter::from_fn(|| world.server.poll_transmit(&mut pool)).count();
    assert_eq!((answers, world.server.allocations()), (10, 0));
}

#[test]
fn every_cut_of_every_message_is_dropped_by_both_ends() {
    let mut world = World::udp();
    world.allocate();
    let peer = address(PEER);
    world.client.bind(world.now, peer).unwrap();
    world.exchange();
    let tuple = world.tuple();
    let mut indication = BytesMut::new();
    let mut builder = Builder::new(&mut indication, Class::Indication, Method::DATA, TransactionId([1; 12]));
    builder.xor_address(types::XOR_PEER_ADDRESS, peer).attribute(types::DATA, b"data");
    builder.finish();
    let channel_data = BytesMut::from(&b"\x40\x00\x00\x04data"[..]);
    for message in [&indication, &channel_data] {
        for cut in 0..message.len() {
            let handled =
                world.client.handle_packet(world.now, address(SERVER), BytesMut::from(&message[..cut]));
            assert!(matches!(handled, Handled::Dropped(_)), "{cut}: {handled:?}");
            world.server.handle_packet(world.now, tuple, BytesMut::from(&message[..cut]));
        }
    }
    world.exchange();
    assert!(world.at_peers.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_leave_both_ends_alive(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..20)) {
        let mut world = World::udp();
        world.allocate();
        let tuple = world.tuple();
        for packet in packets {
            world.client.handle_packet(world.now, address(SERVER), BytesMut::from(&packet[..]));
            world.server.handle_packet(world.now, tuple, BytesMut::from(&packet[..]));
            let mut stun = vec![0x01, 0x13, 0, 0];
            stun.extend_from_slice(&0x2112_a442u32.to_be_bytes());
            stun.extend_from_slice(&packet);
            world.client.handle_packet(world.now, address(SERVER), BytesMut::from(&stun[..]));
        }
        world.exchange();
        prop_assert!(world.client.relayed().is_some());
    }

    #[test]
    fn what_is_wrapped_arrives(data in prop::collection::vec(any::<u8>(), 0..1500), v6: bool, bound: bool) {
        let mut world = World::new(
            Config { families: Families::Both, ..config(Protocol::Udp) },
            server_config(),
        );
        world.allocate();
        let peer = address(if v6 { "[2001:db8::7]:9" } else { PEER });
        if bound {
            world.client.bind(world.now, peer).unwrap();
        } else {
            world.client.permit(world.now, peer.ip()).unwrap();
        }
        world.exchange();
        world.send(peer, &data).unwrap();
        world.peer_sends(peer, &data);
        prop_assert_eq!(&world.at_peers[0].2, &data);
        prop_assert_eq!(&world.received[0].1, &data);
    }
}
