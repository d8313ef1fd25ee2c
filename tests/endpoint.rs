//! Many connections behind one address: datagrams find theirs, strangers are handed back, keys are not reused.

// A test is a caller, and a caller has a clock.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use sansrtc::crypto::{self, cert::Identity};
use sansrtc::rng::{Rng, Stream};
use sansrtc::{
    Candidate, ChannelConfig, Clock, Datagram, Endpoint, EndpointOutput, Event, Input, Key, MessageKind,
    Output, Routed, Rtc, RtcConfig,
};

const SERVER: &str = "192.0.2.100:5000";

fn rtc(identity: &Arc<Identity>, seed: u16, address: SocketAddr, now: Instant) -> Rtc {
    rtc_with(RtcConfig::default(), identity, seed, address, now)
}

fn rtc_with(
    config: RtcConfig,
    identity: &Arc<Identity>,
    seed: u16,
    address: SocketAddr,
    now: Instant,
) -> Rtc {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&seed.to_be_bytes());
    let config = RtcConfig { identity: Some(identity.clone()), ..config };
    let clock = Clock { instant: now, unix: Duration::from_secs(1_700_000_000) };
    let mut rtc = Rtc::new(config, bytes, clock).unwrap();
    rtc.add_local_candidate(Candidate::host(address).unwrap()).unwrap();
    rtc
}

/// A server endpoint, and clients with an address each.
struct World {
    now: Instant,
    identity: Arc<Identity>,
    endpoint: Endpoint,
    clients: BTreeMap<SocketAddr, Rtc>,
    /// What each connection of the endpoint was told.
    heard: Vec<(Key, Vec<u8>)>,
    opened: usize,
    closed: Vec<Key>,
    echoes: usize,
}

impl World {
    fn new() -> World {
        let mut rng = Rng::new([5; 32], Stream::Certificate);
        World {
            now: Instant::now(),
            identity: Arc::new(Identity::generate(crypto::ring(), &mut rng).unwrap()),
            endpoint: Endpoint::new([1; 32]),
            clients: BTreeMap::new(),
            heard: Vec::new(),
            opened: 0,
            closed: Vec::new(),
            echoes: 0,
        }
    }

    fn connect(&mut self, n: u16) -> (Key, SocketAddr) {
        self.connect_with(RtcConfig::default(), n)
    }

    /// The client is made with `config`.
    fn connect_with(&mut self, config: RtcConfig, n: u16) -> (Key, SocketAddr) {
        let address = SocketAddr::from(([192, 0, 2, (n % 90) as u8], 1000 + n));
        let mut client = rtc_with(config, &self.identity, 2 * n, address, self.now);
        let mut server = rtc(&self.identity, 2 * n + 1, SERVER.parse().unwrap(), self.now);
        client.open_channel(ChannelConfig::labelled(format!("{n}"))).unwrap();
        let offer = client.create_offer().unwrap();
        let answer = server.accept_offer(&offer).unwrap();
        client.accept_answer(&answer).unwrap();
        self.clients.insert(address, client);
        (self.endpoint.insert(server), address)
    }

    /// One exchange both ways; the earliest deadline when nothing moved.
    fn step(&mut self) -> Option<Instant> {
        let mut moved = false;
        let mut deadlines = Vec::new();
        let mut to_server = Vec::new();
        for client in self.clients.values_mut() {
            loop {
                match client.poll_output() {
                    Output::Transmit(t) => {
                        to_server.push(Datagram::udp(t.source, t.destination, t.contents.into_inner()));
                    }
                    Output::Event(Event::ChannelOpen(id)) => {
                        let label = client.channel(id).unwrap().config.label;
                        client.send_text(id, &label).unwrap();
                    }
                    Output::Event(Event::Message { .. }) => self.echoes += 1,
                    Output::Event(_) | Output::Stream(_) => {}
                    Output::Timeout(at) => break deadlines.extend(at),
                }
            }
        }
        for datagram in to_server {
            moved = true;
            self.endpoint.handle_input(self.now, Input::Datagram(datagram));
        }
        loop {
            match self.endpoint.poll_output() {
                EndpointOutput::Transmit(_, t) => {
                    moved = true;
                    let datagram = Datagram::udp(t.source, t.destination, t.contents.into_inner());
                    if let Some(client) = self.clients.get_mut(&t.destination) {
                        client.handle_input(self.now, Input::Datagram(datagram));
                    }
                }
                EndpointOutput::Event(key, Event::Message { channel, data, .. }) => {
                    self.heard.push((key, data.to_vec()));
                    self.endpoint.get_mut(key).unwrap().send(channel, MessageKind::Text, data).unwrap();
                }
                EndpointOutput::Event(_, Event::ChannelOpen(_)) => self.opened += 1,
                EndpointOutput::Event(key, Event::Closed(_)) => self.closed.push(key),
                EndpointOutput::Event(..) | EndpointOutput::Stream(..) => {}
                EndpointOutput::Timeout(at) => break deadlines.extend(at),
            }
        }
        if moved { None } else { deadlines.into_iter().min() }
    }

    fn run(&mut self, what: &str, done: impl Fn(&World) -> bool) {
        for _ in 0..20_000 {
            if done(self) {
                return;
            }
            if let Some(at) = self.step() {
                self.now = self.now.max(at);
                self.endpoint.handle_input(self.now, Input::Timeout);
                for client in self.clients.values_mut() {
                    client.handle_input(self.now, Input::Timeout);
                }
            }
        }
        panic!("never: {what}");
    }
}

#[test]
fn each_of_many_connections_gets_its_own_datagrams() {
    let mut world = World::new();
    let connections: Vec<_> = (0..40).map(|n| world.connect(n)).collect();
    world.run("forty echoes", |w| w.echoes == 40);
    assert_eq!(world.opened, 40);
    for (n, (key, _)) in connections.iter().enumerate() {
        let heard: Vec<_> =
            world.heard.iter().filter(|(k, _)| k == key).map(|(_, text)| text.clone()).collect();
        assert_eq!(heard, [n.to_string().into_bytes()]);
    }
}

#[test]
fn a_lite_peer_that_never_checks_is_found_by_its_answers() {
    let mut world = World::new();
    let mut config = RtcConfig::default();
    config.ice.lite = true;
    // A lite peer is not asked to carry DTLS in checks: its records come as datagrams of their own.
    config.sped = false;
    let (key, _) = world.connect_with(config, 7);
    world.run("an echo", |world| world.echoes == 1);
    assert_eq!(world.heard, [(key, b"7".to_vec())]);
}

#[test]
fn a_peer_that_moves_to_another_address_is_still_found() {
    let mut world = World::new();
    let (key, old) = world.connect(1);
    world.run("an echo", |w| w.echoes == 1);
    // The client's interface changes: a new candidate, an ICE restart, and the old address is gone.
    let new: SocketAddr = "192.0.2.95:7777".parse().unwrap();
    let mut client = world.clients.remove(&old).unwrap();
    client.add_local_candidate(Candidate::host(new).unwrap()).unwrap();
    client.restart_ice();
    let offer = client.create_offer().unwrap();
    let answer = world.endpoint.get_mut(key).unwrap().accept_offer(&offer).unwrap();
    client.accept_answer(&answer).unwrap();
    let channel = client.channels()[0];
    client.send_text(channel, "moved").unwrap();
    world.clients.insert(new, client);
    world.run("a second echo", |w| w.echoes == 2);
    assert_eq!(world.heard.last().unwrap(), &(key, b"moved".to_vec()));
}

#[test]
fn strangers_are_handed_back_and_keys_are_not_reused() {
    let mut world = World::new();
    let (key, address) = world.connect(3);
    world.run("an echo", |w| w.echoes == 1);
    let stranger: SocketAddr = "203.0.113.9:9".parse().unwrap();
    let server: SocketAddr = SERVER.parse().unwrap();
    for noise in [&b""[..], &[22; 60], &[0, 1, 0, 0], &[0x80; 50]] {
        let datagram = Datagram::udp(stranger, server, BytesMut::from(noise));
        match world.endpoint.handle_input(world.now, Input::Datagram(datagram)) {
            Routed::Unmatched(back) => assert_eq!(&back.contents[..], noise),
            other => panic!("{other:?}"),
        }
    }
    assert!(world.endpoint.remove(key).is_some());
    assert!(world.endpoint.get(key).is_none() && world.endpoint.get_mut(key).is_none());
    let (second, _) = world.connect(4);
    assert_ne!(key, second);
    // What still comes from the removed connection's peer belongs to nobody.
    let datagram = Datagram::udp(address, server, BytesMut::from(&[23u8; 60][..]));
    assert!(matches!(
        world.endpoint.handle_input(world.now, Input::Datagram(datagram)),
        Routed::Unmatched(_)
    ));
}

#[test]
fn idle_connections_are_not_polled_between_their_deadlines() {
    let mut world = World::new();
    for n in 0..10 {
        world.connect(n);
    }
    world.run("ten echoes", |w| w.echoes == 10);
    while world.step().is_none() {}
    let EndpointOutput::Timeout(Some(next)) = world.endpoint.poll_output() else { panic!("not dry") };
    assert!(next > world.now);
    // Before the deadline there is nothing to do, and asking again changes nothing.
    world.endpoint.handle_input(next - Duration::from_millis(1), Input::Timeout);
    match world.endpoint.poll_output() {
        EndpointOutput::Timeout(Some(at)) => assert_eq!(at, next),
        other => panic!("{other:?}"),
    }
}
