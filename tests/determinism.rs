//! Same seed, same inputs, same clock: same bytes at the same times.

mod sim;

use std::time::Duration;

use bytes::Bytes;
use sansrtc::dtls::Version;
use sansrtc::{ChannelConfig, Event, MessageKind, RtcConfig, crypto};
use sim::{Call, Digest, Link, Loss, Matrix, Random};

/// A whole life over a bad network: the digest of all datagrams, and of all events with their times.
fn life(seed: u64) -> (Digest, Digest) {
    life_of(seed, Version::Dtls12)
}

/// The same, with this version of DTLS.
fn life_of(seed: u64, version: Version) -> (Digest, Digest) {
    // The pure-Rust back end draws all its randomness from the seed, the certificate's key included.
    let config = RtcConfig {
        crypto: crypto::rust(),
        identity: None,
        max_dtls_version: version,
        min_dtls_version: version,
        ..RtcConfig::default()
    };
    let link = Link { loss: Loss::Independent(0.1), ..Matrix::HARSH.cell(seed) };
    let mut call = Call::connected(seed, &link, &config);
    let mut events = Digest::new();
    let [a, b] = call.hosts;
    let [own, _] = call.open(0, ChannelConfig::labelled("chat"));
    let mut random = Random::new(seed);
    for _ in 0..20 {
        let len = random.index(20_000);
        let message = Bytes::from(random.bytes(len));
        call.sim.with(a, |rtc, _| rtc.send(own, MessageKind::Binary, message)).unwrap();
        call.sim.run_for(Duration::from_millis(100));
    }
    call.sim.run_for(Duration::from_secs(30));
    call.sim.with(a, |rtc, _| rtc.close());
    call.sim.run_for(Duration::from_secs(5));
    let mut messages = 0;
    for host in [a, b] {
        for (at, event) in call.sim.events(host) {
            messages += usize::from(matches!(event, Event::Message { .. }));
            events.debug(&at);
            events.debug(&event);
        }
    }
    assert_eq!(messages, 20);
    (call.sim.network.digest(), events)
}

#[test]
fn the_same_seed_gives_the_same_bytes_at_the_same_times() {
    for seed in [1, 2, 3] {
        let (first, second) = (life(seed), life(seed));
        assert_eq!(first, second, "seed {seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_with_dtls_1_3_and_its_post_quantum_share() {
    for seed in [1, 2, 3] {
        let (first, second) = (life_of(seed, Version::Dtls13), life_of(seed, Version::Dtls13));
        assert_eq!(first, second, "seed {seed}");
        assert_ne!(first.0, life_of(seed, Version::Dtls12).0, "it is another protocol");
    }
}

#[test]
fn another_seed_gives_other_bytes() {
    assert_ne!(life(1).0, life(2).0);
}

#[test]
fn neighbours_in_other_threads_change_nothing() {
    let alone = life(4);
    #[allow(clippy::disallowed_methods)]
    let busy: Vec<_> = (4..6).map(|seed| std::thread::spawn(move || life(seed))).collect();
    let together: Vec<_> = busy.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(together[0], alone);
}
