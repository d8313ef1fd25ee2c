//! Connections come up over every network of the table, and say so when they cannot.

mod sim;

use std::time::Duration;

use sansrtc::{ChannelConfig, CloseReason, ConnectionState, Event};
use sim::{Call, Link, Loss, Matrix, config, for_each_seed};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn connections_come_up_over_every_network_of_the_table() {
    for_each_seed(120, |seed| {
        let (there, back) = Matrix::HARSH.both_ways(seed);
        let mut call = Call::new(seed, &there, &config());
        call.sim.network.up(call.hosts[1]).clone_from(&back);
        call.sim.with(call.hosts[0], |rtc, _| rtc.open_channel(ChannelConfig::labelled("early"))).unwrap();
        call.signal();
        let [_, b] = call.hosts;
        call.sim.must("the channel opens on the other side", 30 * SECOND, |sim| {
            std::iter::from_fn(|| sim.event(b)).any(|(_, event)| matches!(event, Event::ChannelOpen(_)))
        });
    });
}

#[test]
fn a_third_of_all_datagrams_lost_delays_but_does_not_prevent() {
    let mut slowest = Duration::ZERO;
    for_each_seed(50, |seed| {
        let link = Link { loss: Loss::Independent(0.3), ..Link::with_delay(Duration::from_millis(50)) };
        let mut call = Call::new(seed, &link, &config());
        call.signal();
        slowest = slowest.max(call.must_connect(15 * SECOND));
    });
    println!("slowest: {slowest:?}");
}

#[test]
fn a_dead_network_ends_in_one_terminal_event() {
    let dead = Link { up: false, ..Link::default() };
    let mut call = Call::new(1, &dead, &config());
    call.signal();
    call.sim.run_for(120 * SECOND);
    for host in call.hosts {
        let closed: Vec<_> =
            call.sim.events(host).filter(|(_, event)| matches!(event, Event::Closed(_))).collect();
        assert!(
            matches!(closed[..], [(_, Event::Closed(CloseReason::IceFailed))]),
            "one reason, told once: {closed:?}"
        );
        // RFC 8863 §4: 39.5 seconds of patience by default.
        assert!(closed[0].0 <= 41 * SECOND, "{:?}", closed[0].0);
        assert_eq!(call.sim.peer(host).state(), ConnectionState::Closed);
        assert_eq!(call.sim.wake(host), None, "and no timer after it");
    }
}

#[test]
fn a_network_that_lets_only_checks_through_ends_too() {
    // ICE works; every larger datagram, and so the handshake, vanishes: DTLS must end by its own patience.
    let mut call = Call::new(1, &Link { mtu: 160, ..Link::default() }, &config());
    call.signal();
    call.sim.run_for(300 * SECOND);
    for host in call.hosts {
        let reasons: Vec<_> = call
            .sim
            .events(host)
            .filter_map(|(_, event)| match event {
                Event::Closed(reason) => Some(reason),
                _ => None,
            })
            .collect();
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        assert_eq!(call.sim.wake(host), None);
    }
}

#[test]
fn a_closed_side_tells_the_other() {
    let mut call = Call::connected(1, &Link::with_delay(Duration::from_millis(20)), &config());
    let [a, b] = call.hosts;
    call.sim.with(a, |rtc, _| rtc.close());
    call.sim.run_for(2 * SECOND);
    for (host, expected) in [(a, CloseReason::Local), (b, CloseReason::Remote)] {
        let last = call.sim.events(host).last().map(|(_, event)| event);
        assert!(matches!(&last, Some(Event::Closed(reason)) if *reason == expected), "{last:?}");
        assert_eq!(call.sim.wake(host), None);
    }
}
