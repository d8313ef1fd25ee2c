//! How many round trips a connection takes, counted in virtual time.

mod sim;

use std::time::Duration;

use sansrtc::crypto::NamedGroup;
use sansrtc::dtls::Version;
use sansrtc::{ChannelConfig, Event, MessageKind, RtcConfig};
use sim::{Call, Link, Loss, config, for_each_seed};

const ONE_WAY: Duration = Duration::from_millis(50);
const ROUND_TRIP: Duration = Duration::from_millis(100);

/// A configuration as of a peer that knows neither draft.
fn plain() -> RtcConfig {
    with(LEAST)
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

// ----- with DTLS in checks, SCTP in descriptions, and DTLS 1.3 -----

/// What an end knows of the ways to save round trips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Features {
    /// The DTLS handshake travels in connectivity checks.
    sped: bool,
    /// SCTP's INIT stands in the description.
    snap: bool,
    version: Version,
    /// With DTLS 1.3, the hello holds a share of the post-quantum group, which takes more than one datagram.
    post_quantum: bool,
}

/// Everything, but a classical share.
const BEST: Features = Features { sped: true, snap: true, version: Version::Dtls13, post_quantum: false };

/// Nothing.
const LEAST: Features = Features { sped: false, snap: false, version: Version::Dtls12, post_quantum: false };

fn with(Features { sped, snap, version, post_quantum }: Features) -> RtcConfig {
    let mut groups = NamedGroup::ALL.to_vec();
    if !post_quantum {
        groups.retain(|group| *group != NamedGroup::X25519MlKem768);
    }
    let key_shares = if post_quantum { groups[..1].to_vec() } else { vec![NamedGroup::X25519] };
    RtcConfig {
        sped,
        snap,
        max_dtls_version: version,
        dtls_groups: groups,
        dtls_key_shares: key_shares,
        ..config()
    }
}

impl std::fmt::Display for Features {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let say = |is: bool, what: &'static str| if is { what } else { "-" };
        let version = if self.version == Version::Dtls13 { "1.3" } else { "1.2" };
        let share = say(self.post_quantum, "PQ");
        write!(f, "{:<4} {:<4} {version} {share:<2}", say(self.sped, "SPED"), say(self.snap, "SNAP"))
    }
}

/// The client of DTLS is the answerer, as by default.
const CLIENT: usize = 1;

/// A message is sent before anything else, by `from`. How long after the first datagram does the other side have it?
fn first_byte(seed: u64, link: &Link, ends: [Features; 2], from: usize) -> Duration {
    let configs = ends.map(with);
    let mut call = Call::between(seed, link, configs.each_ref());
    let took = until_first_byte(&mut call, from);
    let both = |feature: fn(&Features) -> bool| ends.iter().all(feature);
    for host in call.hosts {
        let rtc = call.sim.peer(host);
        let stats = rtc.stats();
        assert_eq!(stats.snap, both(|end| end.snap));
        assert_eq!(stats.ice.embedding, both(|end| end.sped));
        let details = rtc.dtls_details().expect("the handshake is over");
        assert_eq!(details.version, ends[0].version.min(ends[1].version));
    }
    took
}

fn until_first_byte(call: &mut Call, from: usize) -> Duration {
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
    arrived.unwrap()
}

/// In how many one-way times the first byte arrives, from the client and from the server, with a classical share.
fn one_ways(ends: [Features; 2]) -> [u32; 2] {
    let both = |feature: fn(&Features) -> bool| ends.iter().all(feature);
    let is_13 = both(|end| end.version == Version::Dtls13);
    // ICE takes a round trip, unless it carries the hello. In 1.3 the client may send after one round trip of
    // DTLS, and the server half a one later; in 1.2 the server may send after one and a half, and the client after two.
    let ice = if both(|end| end.sped) { 0 } else { 2 };
    let [client, server] = if is_13 { [ice + 2, ice + 3] } else { [ice + 4, ice + 3] };
    if both(|end| end.snap) {
        return [client + 1, server + 1];
    }
    // Whoever is up first sends INIT then; its COOKIE ECHO carries its data, and is what the other one's waits for.
    let first = client.min(server);
    if is_13 { [first + 3, first + 4] } else { [first + 4, first + 3] }
}

/// The ends that are compared, server first: both with the same, and one that lacks something.
fn pairings() -> Vec<[Features; 2]> {
    let mut pairings = Vec::new();
    for bits in 0..16u8 {
        let has = |bit: u8| bits & 1 << bit != 0;
        let version = if has(2) { Version::Dtls13 } else { Version::Dtls12 };
        if has(3) && version == Version::Dtls12 {
            continue;
        }
        let features = Features { sped: has(0), snap: has(1), version, post_quantum: has(3) };
        pairings.push([features; 2]);
        if features != BEST {
            pairings.push([BEST, features]);
            pairings.push([features, BEST]);
        }
    }
    pairings
}

#[test]
fn the_first_byte_arrives_as_early_as_the_peer_allows() {
    let link = Link::with_delay(ONE_WAY);
    println!("server           client           | client's byte | server's byte");
    for ends in pairings() {
        let took = [CLIENT, 1 - CLIENT].map(|from| {
            let took: Vec<_> = (0..3).map(|seed| first_byte(seed, &link, ends, from)).collect();
            assert!(took.iter().all(|other| *other == took[0]), "{ends:?}: {took:?}");
            took[0]
        });
        let [client, server] = took.map(round_trips);
        println!("{} {} | {client:<13.2} | {server:.2}", ends[0], ends[1]);
        let expected = one_ways(ends).map(|count| count * ONE_WAY);
        if ends.iter().any(|end| end.post_quantum) {
            // Flights of two or three datagrams: each further one waits for the next check. A group that the client
            // sent no share of costs a round trip.
            let retry =
                if ends[0].post_quantum == ends[1].post_quantum { Duration::ZERO } else { ROUND_TRIP };
            let limit = expected.map(|expected| expected + 2 * CHECK_INTERVAL + retry);
            assert!(took[0] <= limit[0] && took[1] <= limit[1], "{ends:?}: {took:?}, {limit:?}");
        } else {
            assert_eq!(took, expected, "{ends:?}");
        }
    }
    // The floor of an exchange in which both sides prove who they are.
    assert_eq!(one_ways([BEST; 2])[0], 3);
}

#[test]
fn by_default_keys_are_post_quantum_and_cost_one_check() {
    for (from, floor) in [CLIENT, 1 - CLIENT].into_iter().zip(one_ways([BEST; 2])) {
        for seed in 0..3 {
            let mut call = Call::new(seed, &Link::with_delay(ONE_WAY), &config());
            let took = until_first_byte(&mut call, from);
            println!("by default, from {from}: {:.2} round trips", round_trips(took));
            for host in call.hosts {
                let details = call.sim.peer(host).dtls_details().expect("the handshake is over");
                assert_eq!((details.version, details.group), (Version::Dtls13, NamedGroup::X25519MlKem768));
            }
            // The hello with that share is two datagrams, and the second waits for the next check.
            assert_eq!(took, floor * ONE_WAY + CHECK_INTERVAL);
        }
    }
}

/// Between two checks of a pair that nobody has answered.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

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
    for version in [Version::Dtls12, Version::Dtls13] {
        for post_quantum in [false, true] {
            if post_quantum && version == Version::Dtls12 {
                continue;
            }
            for loss in [0.1, 0.3] {
                let link = Link { loss: Loss::Independent(loss), ..Link::with_delay(ONE_WAY) };
                let of = |sped| spread(&link, Features { sped, snap: true, version, post_quantum });
                let [with, without] = [of(true), of(false)];
                for (name, [median, p99, mean]) in [("SPED", with), ("-   ", without)] {
                    println!(
                        "{version:?} {} {name} {:>2} % lost: median {median:?}, p99 {p99:?}, mean {mean:?}",
                        if post_quantum { "PQ" } else { "- " },
                        loss * 100.0,
                    );
                }
                // One seed alone, as in a replay, may go the other way.
                let is_replay = std::env::var_os("SANSRTC_SEED").is_some();
                assert!(is_replay || (with[0] < without[0] && with[2] < without[2]));
            }
        }
    }
}
