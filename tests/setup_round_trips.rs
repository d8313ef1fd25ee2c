//! How many round trips a connection takes, counted in virtual time.

mod sim;

use std::time::Duration;

use sansrtc::{ChannelConfig, Event};
use sim::{Call, Link, Loss, config, for_each_seed};

const ONE_WAY: Duration = Duration::from_millis(50);
const ROUND_TRIP: Duration = Duration::from_millis(100);

/// From the first datagram until the opener may send, and until the other side has received the OPEN.
fn set_up(seed: u64, link: &Link, opener: usize) -> [Duration; 2] {
    let mut call = Call::new(seed, link, &config());
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

#[test]
fn a_channel_is_open_within_four_and_a_half_round_trips() {
    for opener in [0, 1] {
        for seed in 0..10 {
            let [may_send, received] = set_up(seed, &Link::with_delay(ONE_WAY), opener);
            let round_trips = |took: Duration| took.as_secs_f64() / ROUND_TRIP.as_secs_f64();
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
        sum += set_up(seed, &link, 0)[1];
        count += 1;
    });
    let mean = sum / count;
    println!("mean of {count}: {mean:?}");
    // One seed alone, as in a replay, may take longer.
    assert!(count < 50 || mean < Duration::from_millis(800), "{mean:?}");
}
