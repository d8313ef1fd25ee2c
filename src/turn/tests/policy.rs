//! What our own server allows, and refuses (RFC 8656 §5, §7).

use super::*;

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
