//! Handshakes on bad links.

use super::*;
use crate::crypto::NamedGroup;
use crate::dtls::CloseReason;

fn pair(version: Version, seed: u8, faults: Faults, mtu: usize) -> Pair {
    let ring = crate::crypto::ring();
    let kind = if seed.is_multiple_of(3) { Kind::Rsa } else { Kind::P256 };
    let [client, server] = [Kind::P256, kind].map(|kind| config(ring, kind).only(version));
    let mut pair = Pair::new(client, server, seed);
    if faults.corruption > 0 && mtu < 400 {
        // A post-quantum hello would be nine such datagrams, and hardly ever arrive undamaged.
        let classical =
            |kind| Config { groups: vec![NamedGroup::X25519], ..config(ring, kind).only(version) };
        pair = Pair::new(classical(Kind::P256), classical(kind), seed);
    }
    pair.faults = faults;
    pair.mtu = mtu;
    pair
}

/// Handshakes over each MTU.
fn survive(version: Version, faults: Faults) {
    for mtu in [1200, 400, 200] {
        for seed in 0..250 {
            let mut pair = pair(version, seed, faults, mtu).started();
            pair.run(Duration::from_secs(30));
            assert_eq!(pair.facts(), [[Fact::Connected]; 2], "seed {seed} {faults:?} {mtu}");
            assert!(pair.ends.iter().all(|end| end.connection.next_timeout().is_none()), "seed {seed} {mtu}");
        }
    }
}

macro_rules! survivals {
    ($($name:ident: $faults:expr;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn handshakes_of_12_survive() {
                survive(Version::Dtls12, $faults);
            }

            #[test]
            fn handshakes_of_13_survive() {
                survive(Version::Dtls13, $faults);
            }
        }
    )*};
}

survivals! {
    some_loss: Faults { loss: 100, ..Faults::default() };
    much_loss: Faults { loss: 300, ..Faults::default() };
    disorder: Faults { reordering: 500, duplication: 100, ..Faults::default() };
    everything: Faults { loss: 100, reordering: 300, duplication: 100, corruption: 50 };
}

#[test]
fn a_dead_link_ends_in_one_terminal_fact() {
    // R26.
    let mut pair = pair(Version::Dtls12, 1, Faults { loss: 1000, ..Faults::default() }, 1200).started();
    pair.run(Duration::from_secs(1000));
    assert_eq!(pair.facts(), [[Fact::Closed(CloseReason::HandshakeTimeout)]; 2]);
    assert_eq!(pair.now - pair.start, Duration::from_secs(30));
    // 200 ms, 400 ms, 800 ms, then one a second.
    assert_eq!(pair.ends[CLIENT].sent.len(), 32);
    assert!(pair.ends.iter().all(|end| end.connection.next_timeout().is_none()));
}

#[test]
fn a_lost_last_flight_is_sent_again_when_the_peer_repeats_its_own() {
    // RFC 6347 §4.2.4.
    let mut pair = Pair::plain().started();
    while !pair.ends[SERVER].is_connected() {
        assert!(pair.step(pair.start + Duration::from_secs(1)));
        pair.drain();
    }
    pair.on_the_way.clear();
    pair.run(Duration::from_secs(5));
    assert!(pair.ends[CLIENT].is_connected());
    assert_eq!(pair.ends[SERVER].sent.len(), 3);
}

#[test]
fn a_client_does_not_answer_the_last_flight_of_the_server() {
    // RFC 6347 §4.2.4: it did once, and the two went on for ever.
    let mut pair = Pair::plain().started();
    pair.run(Duration::from_secs(5));
    let last: Vec<_> = pair.ends[SERVER].sent.iter().rev().take(1).cloned().collect();
    let sent = pair.ends[CLIENT].sent.len();
    for datagram in last {
        pair.deliver(CLIENT, &datagram);
    }
    pair.run(Duration::from_secs(5));
    assert_eq!(pair.ends[CLIENT].sent.len(), sent);
}

#[test]
fn a_finished_that_overtakes_its_flight_is_kept() {
    let mut pair = pair(Version::Dtls12, 1, Faults::default(), 200).started();
    while pair.ends[CLIENT].sent.len() < 3 {
        assert!(pair.step(pair.start + Duration::from_secs(1)));
    }
    let mut flight: Vec<_> = std::mem::take(&mut pair.on_the_way).into_values().collect();
    flight.reverse();
    for (to, datagram) in flight {
        pair.deliver(to, &datagram);
    }
    pair.drain();
    assert!(pair.ends[SERVER].is_connected());
    assert_eq!(pair.ends[SERVER].connection.stats().unauthentic, 0);
}
