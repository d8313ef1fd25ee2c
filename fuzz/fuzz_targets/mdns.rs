//! A resolver and responder of names against any packets on the link.
#![no_main]

use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sansrtc::buffer::Pool;
use sansrtc::mdns::{Config, Mdns, Name};
use sansrtc::rng::{Rng, Stream};

#[derive(Debug, Arbitrary)]
enum Step<'a> {
    Packet {
        from_5353: bool,
        bytes: &'a [u8],
    },
    /// What the machine itself sent last, with some bytes changed.
    Echo(Vec<(u8, u8)>),
    Resolve(&'a str),
    Register(u8),
    Time(u16),
}

fuzz_target!(|steps: Vec<Step<'_>>| {
    let mut now = Instant::now();
    let local = ([192, 0, 2, 1], 5353).into();
    let config = Config { only_uuids: false, ..Config::new(vec![local]) };
    let mut mdns = Mdns::new(config, Rng::new([1; 32], Stream::Mdns));
    let mut last = Vec::new();
    let mut pool = Pool::new();
    for step in steps {
        let mut heard = false;
        match step {
            Step::Packet { from_5353, bytes } => {
                heard = true;
                let port = if from_5353 { 5353 } else { 1000 };
                mdns.handle_packet(now, ([192, 0, 2, 9], port).into(), local, bytes);
            }
            Step::Echo(changes) => {
                heard = true;
                let mut bytes: Vec<u8> = last.clone();
                for (at, value) in changes {
                    if let Some(byte) = bytes.get_mut(usize::from(at)) {
                        *byte = value;
                    }
                }
                mdns.handle_packet(now, ([192, 0, 2, 9], 5353).into(), local, &bytes);
            }
            Step::Resolve(text) => {
                if let Ok(name) = Name::new(text) {
                    mdns.resolve(now, &name);
                }
            }
            Step::Register(last) => drop(mdns.register(now, [192, 0, 2, last].into())),
            Step::Time(milliseconds) => {
                now += Duration::from_millis(milliseconds.into());
                mdns.handle_timeout(now);
            }
        }
        let mut sent = 0;
        while let Some(transmit) = mdns.poll_transmit(&mut pool) {
            sent += 1;
            last = transmit.contents.to_vec();
        }
        // One packet draws one answer by unicast at most, or one for each of our names to all.
        assert!(!heard || sent <= 16, "{sent} packets drawn by one");
        while mdns.poll_event().is_some() {}
    }
});
