//! Two connections over a network that the input steers. Whatever it did: once the network is well again, every
//! reliable message has arrived once, whole and in order, and both are still connected.
#![no_main]

#[path = "../../tests/sim/mod.rs"]
mod sim;

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arbitrary::Arbitrary;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sansrtc::{ChannelConfig, ChannelId, ConnectionState, Event, MessageKind, RtcConfig, crypto};
use sim::{Call, Link, Loss, Random};

/// Virtual time that the steps of a run may take together: well below what consent lasts (RFC 7675 §5.1).
const MAX_TIME: Duration = Duration::from_secs(15);
/// Bytes that a run may send.
const MAX_BYTES: usize = 1 << 20;

#[derive(Debug, Arbitrary)]
struct Run {
    seed: u8,
    steps: Vec<Step>,
}

#[derive(Debug, Arbitrary)]
enum Step {
    Send {
        from: bool,
        size: u16,
    },
    Wait {
        milliseconds: u8,
    },
    Link {
        from: bool,
        loss: u8,
        delay: u8,
        jitter: u8,
        reorder: u8,
        duplicate: u8,
        corrupt: u8,
    },
    Outage {
        from: bool,
        milliseconds: u8,
    },
    Hold {
        from: bool,
        milliseconds: u8,
    },
    /// A datagram from somebody else, or in the peer's name.
    Inject {
        to: bool,
        forged: bool,
        bytes: Vec<u8>,
    },
    Open {
        from: bool,
    },
    Close {
        from: bool,
        which: u8,
    },
    Pause {
        from: bool,
        pause: bool,
    },
    RestartIce {
        from: bool,
    },
}

fuzz_target!(|run: Run| {
    let mut world = World::new(run.seed.into());
    for step in run.steps {
        world.step(step);
        world.take_events();
    }
    world.finish();
});

struct World {
    call: Call,
    /// The channel of the oracle, as each end names it.
    main: [ChannelId; 2],
    /// Messages on their way from each end.
    expected: [VecDeque<Bytes>; 2],
    others: [Vec<ChannelId>; 2],
    waited: Duration,
    sent: usize,
    random: Random,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut call = Call::connected(seed, &Link::with_delay(Duration::from_millis(5)), config());
        let main = call.open(0, ChannelConfig::labelled("main"));
        World {
            call,
            main,
            expected: Default::default(),
            others: Default::default(),
            waited: Duration::ZERO,
            sent: 0,
            random: Random::new(seed),
        }
    }

    fn step(&mut self, step: Step) {
        let sim = &mut self.call.sim;
        let hosts = self.call.hosts;
        let ms = |milliseconds: u8| Duration::from_millis(4 * u64::from(milliseconds));
        let share = |part: u8| f64::from(part & 127) / 256.0;
        match step {
            Step::Send { from, size } if self.sent + usize::from(size) < MAX_BYTES => {
                let from = usize::from(from);
                let data = Bytes::from(self.random.bytes(size.into()));
                let channel = self.main[from];
                let sent =
                    sim.with(hosts[from], |rtc, _| rtc.send(channel, MessageKind::Binary, data.clone()));
                if sent.is_ok() {
                    self.sent += data.len();
                    self.expected[from].push_back(data);
                }
            }
            Step::Send { .. } => {}
            Step::Wait { milliseconds } => self.wait(ms(milliseconds)),
            Step::Link { from, loss, delay, jitter, reorder, duplicate, corrupt } => {
                *sim.network.up(hosts[usize::from(from)]) = Link {
                    loss: Loss::Independent(share(loss)),
                    delay: ms(delay),
                    jitter: ms(jitter),
                    reorder: share(reorder),
                    duplicate: share(duplicate),
                    corrupt: share(corrupt),
                    ..Link::default()
                };
            }
            Step::Outage { from, milliseconds } => {
                sim.network.outage(hosts[usize::from(from)], ms(milliseconds));
                self.wait(ms(milliseconds));
            }
            Step::Hold { from, milliseconds } => {
                sim.network.hold(hosts[usize::from(from)], ms(milliseconds));
                self.wait(ms(milliseconds));
            }
            Step::Inject { to, forged, bytes } => {
                let [target, other] = if to { [hosts[1], hosts[0]] } else { hosts };
                let destination = (sim.network.ip(target), 5000).into();
                let source = match forged {
                    true => (sim.network.ip(other), 5000).into(),
                    false => ([203, 0, 113, 9], 5000).into(),
                };
                sim.network.inject(source, destination, &bytes);
            }
            Step::Open { from } => {
                let opened = sim.with(hosts[usize::from(from)], |rtc, _| {
                    rtc.open_channel(ChannelConfig { ordered: false, ..ChannelConfig::labelled("other") })
                });
                self.others[usize::from(from)].extend(opened);
            }
            Step::Close { from, which } => {
                let others = &mut self.others[usize::from(from)];
                if !others.is_empty() {
                    let channel = others.swap_remove(usize::from(which) % others.len());
                    sim.with(hosts[usize::from(from)], |rtc, _| rtc.close_channel(channel));
                }
            }
            Step::Pause { from, pause } => {
                sim.with(hosts[usize::from(from)], |rtc, _| rtc.pause_messages(pause));
            }
            Step::RestartIce { from } => {
                let [a, b] = if from { [hosts[1], hosts[0]] } else { hosts };
                sim.with(a, |rtc, _| rtc.restart_ice());
                // Signalling works while both live.
                let Ok(offer) = sim.with(a, |rtc, _| rtc.create_offer()) else { return };
                let Ok(answer) = sim.with(b, |rtc, _| rtc.accept_offer(&offer)) else { return };
                let _ = sim.with(a, |rtc, _| rtc.accept_answer(&answer));
            }
        }
    }

    fn wait(&mut self, how_long: Duration) {
        if self.waited + how_long < MAX_TIME {
            self.waited += how_long;
            self.call.sim.run_for(how_long);
        }
    }

    /// Holds what arrived against what was sent.
    fn take_events(&mut self) {
        for side in [0, 1] {
            let events: Vec<_> = self.call.sim.events(self.call.hosts[side]).collect();
            for (_, event) in events {
                match event {
                    Event::Message { channel, data, .. } if channel == self.main[side] => {
                        let expected = self.expected[1 - side].pop_front();
                        assert_eq!(expected.as_ref(), Some(&data), "once, whole and in order");
                    }
                    Event::Closed(reason) => panic!("side {side} closed: {reason}"),
                    _ => {}
                }
            }
        }
    }

    fn finish(&mut self) {
        for host in self.call.hosts {
            *self.call.sim.network.up(host) = Link::with_delay(Duration::from_millis(5));
            self.call.sim.with(host, |rtc, _| rtc.pause_messages(false));
        }
        for _ in 0..60 {
            self.call.sim.run_for(Duration::from_secs(1));
            self.take_events();
            if self.expected.iter().all(VecDeque::is_empty) {
                break;
            }
        }
        assert!(self.expected.iter().all(VecDeque::is_empty), "not everything arrived");
        for host in self.call.hosts {
            assert_eq!(self.call.sim.peer(host).state(), ConnectionState::Connected);
        }
    }
}

/// Cryptography that repeats itself, and one identity for all runs.
fn config() -> &'static RtcConfig {
    static CONFIG: OnceLock<RtcConfig> = OnceLock::new();
    CONFIG.get_or_init(|| RtcConfig {
        identity: Some(Arc::new(sim::identity(crypto::rust(), 0))),
        crypto: crypto::rust(),
        ..RtcConfig::default()
    })
}
