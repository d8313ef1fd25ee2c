//! The life of an allocation: it comes up, carries data, is kept alive, made again and given back (RFC 8656 §3).

use super::*;

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
