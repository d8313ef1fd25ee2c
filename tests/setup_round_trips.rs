//! How many round trips a connection takes, counted in virtual time.

mod sim;

use std::time::Duration;

use sansrtc::{ChannelConfig, Event, MessageKind, RtcConfig};
use sim::{Call, Link, Loss, config, for_each_seed};

const ONE_WAY: Duration = Duration::from_millis(50);
const ROUND_TRIP: Duration = Duration::from_millis(100);

/// A configuration as of a peer that knows neither draft.
fn plain() -> RtcConfig {
    with(Features { sped: false, snap: false })
}

/// From the first datagram until the opener may send, and until the other side has received the OPEN.
fn set_up(seed: u64, link: &Link, opener: usize, config: &RtcConfig) -> [Duration; 2] {
    let mut call = Call::new(seed, link, config);
    let channel = ChannelConfig::labelled("first");
    call.sim.with(call.hosts[opener], |rtc, _| rtc.open_channel(channel)).unwrap();
    call.signal();
    let mut opened = [None; 2];
    let hosts = call.hosts;
    call.sim.must("both sides have the channel", Duration::from_secs(60), |sim| {
        for (host, opened) in hosts.into_iter().zip(&mut opened) {
            while let Some((at, event)) = sim.event(host) {
                if matches!(event, Event::ChannelOpen(_)) {
                    *opened = opened.or(Some(at));
                }
            }
        }
        opened.iter().all(Option::is_some)
    });
    [opened[opener].unwrap(), opened[1 - opener].unwrap()]
}

fn round_trips(took: Duration) -> f64 {
    took.as_secs_f64() / ROUND_TRIP.as_secs_f64()
}

#[test]
fn a_channel_is_open_within_four_and_a_half_round_trips() {
    for opener in [0, 1] {
        for seed in 0..10 {
            let [may_send, received] = set_up(seed, &Link::with_delay(ONE_WAY), opener, &plain());
            println!(
                "opener {opener}: may send after {:.2}, OPEN received after {:.2} round trips",
                round_trips(may_send),
                round_trips(received)
            );
            assert!(received <= ROUND_TRIP * 9 / 2, "{:.2} round trips", round_trips(received));
            assert!(may_send <= ROUND_TRIP * 9 / 2, "{:.2} round trips", round_trips(may_send));
        }
    }
}

#[test]
fn a_tenth_of_all_datagrams_lost_costs_little() {
    let link = Link { loss: Loss::Independent(0.1), ..Link::with_delay(ONE_WAY) };
    let (mut sum, mut count) = (Duration::ZERO, 0);
    for_each_seed(100, |seed| {
        sum += set_up(seed, &link, 0, &plain())[1];
        count += 1;
    });
    let mean = sum / count;
    println!("mean of {count}: {mean:?}");
    // One seed alone, as in a replay, may take longer.
    assert!(count < 50 || mean < Duration::from_millis(800), "{mean:?}");
}

// ----- with DTLS in checks and SCTP in descriptions -----

/// What an end knows of the ways to save round trips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Features {
    /// The DTLS handshake travels in connectivity checks.
    sped: bool,
    /// SCTP's INIT stands in the description.
    snap: bool,
}

const ALL: Features = Features { sped: true, snap: true };

fn with(Features { sped, snap }: Features) -> RtcConfig {
    RtcConfig { sped, snap, ..config() }
}

/// The client of DTLS is the answerer, as by default.
const CLIENT: usize = 1;

/// A message is sent before anything else, by `from`. How long after the first datagram does the other side have it?
fn first_byte(seed: u64, link: &Link, ends: [Features; 2], from: usize) -> Duration {
    let configs = ends.map(with);
    let mut call = Call::between(seed, link, configs.each_ref());
    let [own, other] = [call.hosts[from], call.hosts[1 - from]];
    call.sim.with(own, |rtc, _| {
        let channel = rtc.open_channel(ChannelConfig::labelled("first")).unwrap();
        rtc.send(channel, MessageKind::Binary, vec![7; 500]).unwrap();
    });
    call.signal();
    let mut arrived = None;
    call.sim.must("the message arrives", Duration::from_secs(60), |sim| {
        while let Some((at, event)) = sim.event(other) {
            if matches!(event, Event::Message { .. }) {
                arrived = Some(at);
            }
        }
        arrived.is_some()
    });
    let both = |feature: fn(&Features) -> bool| ends.iter().all(feature);
    for host in call.hosts {
        let stats = call.sim.peer(host).stats();
        assert_eq!(stats.snap, both(|end| end.snap));
        assert_eq!(stats.ice.embedding, both(|end| end.sped));
    }
    arrived.unwrap()
}

/// The ends that are compared: both with the same, and one that lacks something.
fn pairings() -> Vec<[Features; 2]> {
    let mut pairings = Vec::new();
    for sped in [false, true] {
        for snap in [false, true] {
            let features = Features { sped, snap };
            pairings.push([features; 2]);
            if features != ALL {
                pairings.push([ALL, features]);
                pairings.push([features, ALL]);
            }
        }
    }
    pairings
}

#[test]
fn the_first_byte_arrives_as_early_as_the_peer_allows() {
    let link = Link::with_delay(ONE_WAY);
    println!("server          client          | client's byte | server's byte");
    for ends in pairings() {
        let name = |end: Features| {
            format!("{} {}", if end.sped { "SPED" } else { "-   " }, if end.snap { "SNAP" } else { "-   " })
        };
        let took = [CLIENT, 1 - CLIENT].map(|from| {
            let took: Vec<_> = (0..5).map(|seed| first_byte(seed, &link, ends, from)).collect();
            assert!(took.iter().all(|other| *other == took[0]), "{ends:?}: {took:?}");
            took[0]
        });
        let [client, server] = took.map(round_trips);
        println!("{:<15} {:<15} | {client:<13.2} | {server:.2}", name(ends[0]), name(ends[1]));
        let sped = ends.iter().all(|end| end.sped);
        let snap = ends.iter().all(|end| end.snap);
        // DTLS 1.2: ICE and the hello are one round trip less with SPED. The server may send first, right behind its
        // Finished; without SNAP both send INIT then.
        let one_ways = match (sped, snap) {
            (false, false) => [9, 8],
            (false, true) | (true, false) => [7, 6],
            (true, true) => [5, 4],
        };
        assert_eq!(took, one_ways.map(|count| count * ONE_WAY), "{ends:?}");
    }
}

/// Median, 99th percentile and mean over many seeds.
fn spread(link: &Link, features: Features) -> [Duration; 3] {
    let mut took = Vec::new();
    for_each_seed(60, |seed| took.push(first_byte(seed, link, [features; 2], (seed % 2) as usize)));
    took.sort();
    let share = |of: usize| took[(took.len() * of / 100).min(took.len() - 1)];
    [share(50), share(99), took.iter().sum::<Duration>() / took.len() as u32]
}

#[test]
fn loss_costs_less_when_checks_carry_the_handshake() {
    for loss in [0.1, 0.3] {
        let link = Link { loss: Loss::Independent(loss), ..Link::with_delay(ONE_WAY) };
        let [with, without] = [true, false].map(|sped| spread(&link, Features { sped, snap: true }));
        println!("{loss}: median {:?}, p99 {:?}, mean {:?} with SPED", with[0], with[1], with[2]);
        println!("{loss}: median {:?}, p99 {:?}, mean {:?} without", without[0], without[1], without[2]);
        assert!(with[0] < without[0] && with[2] < without[2]);
    }
}
