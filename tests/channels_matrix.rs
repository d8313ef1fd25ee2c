//! Reliable messages over every network of the table: each arrives once, whole, and in order.

mod sim;

use std::time::Duration;

use bytes::Bytes;
use sansrtc::{ChannelConfig, ChannelId, Event, MessageKind, SendError};
use sim::{Call, Link, Matrix, Random, config, for_each_seed};

const SECOND: Duration = Duration::from_secs(1);

/// The messages of one channel in one direction, made again from the seed wherever they are needed.
struct Script {
    random: Random,
    number: u32,
    count: u32,
    largest: u64,
}

impl Script {
    fn new(seed: u64, channel: usize, from: usize, count: u32, largest: u64) -> Script {
        Script { random: Random::new(seed).fork((channel * 2 + from) as u64), number: 0, count, largest }
    }

    fn next(&mut self) -> Option<(MessageKind, Bytes)> {
        if self.number == self.count {
            return None;
        }
        self.number += 1;
        // All orders of magnitude alike, and now and then nothing at all.
        let bits = self.random.below(u64::from(u64::BITS - self.largest.leading_zeros()) + 1);
        let len = self.random.below((1 << bits).min(self.largest) + 1);
        let kind = if self.random.chance(0.5) { MessageKind::Text } else { MessageKind::Binary };
        Some((kind, self.random.bytes(len as usize).into()))
    }
}

/// One direction of one channel.
struct Flow {
    from: usize,
    sender: ChannelId,
    receiver: ChannelId,
    ordered: bool,
    sent: Script,
    /// A message that was refused because the buffer was full.
    refused: Option<(MessageKind, Bytes)>,
    expected: Script,
    /// For unordered channels: what is still to come.
    missing: Vec<(MessageKind, Bytes)>,
    received: u32,
}

impl Flow {
    fn is_complete(&self) -> bool {
        self.received == self.sent.count
    }

    fn on_message(&mut self, kind: MessageKind, data: Bytes) {
        self.received += 1;
        if self.ordered {
            let (expected_kind, expected) = self.expected.next().expect("nothing beyond what was sent");
            assert!(kind == expected_kind && data == expected, "message {} differs", self.received);
            return;
        }
        while let Some(message) = self.expected.next() {
            self.missing.push(message);
        }
        let found = self.missing.iter().position(|message| *message == (kind, data.clone()));
        self.missing.swap_remove(found.expect("it was sent, and did not arrive before"));
    }
}

fn deliver(seed: u64, count: u32, largest: u64) {
    deliver_over(seed, Matrix::HARSH.both_ways(seed), count, largest, |_| {});
}

fn deliver_over(seed: u64, (there, back): (Link, Link), count: u32, largest: u64, fault: impl Fn(&mut Call)) {
    let mut call = Call::connected(seed, &there, &config());
    call.sim.network.up(call.hosts[1]).clone_from(&back);
    let mut flows = Vec::new();
    for (index, ordered) in [true, true, false].into_iter().enumerate() {
        let label = format!("channel {index}");
        let channel = ChannelConfig { ordered, ..ChannelConfig::labelled(label) };
        let ids = call.open(index % 2, channel);
        // `ids` begins with the opener.
        let by_side = if index % 2 == 0 { ids } else { [ids[1], ids[0]] };
        flows.extend([0, 1].map(|from| Flow {
            from,
            sender: by_side[from],
            receiver: by_side[1 - from],
            ordered,
            sent: Script::new(seed, index, from, count, largest),
            refused: None,
            expected: Script::new(seed, index, from, count, largest),
            missing: Vec::new(),
            received: 0,
        }));
    }
    fault(&mut call);
    let hosts = call.hosts;
    let mut pump = |sim: &mut sim::Sim<sansrtc::Rtc>| {
        for flow in &mut flows {
            while let Some((kind, data)) = flow.refused.take().or_else(|| flow.sent.next()) {
                let sent = sim.with(hosts[flow.from], |rtc, _| rtc.send(flow.sender, kind, data.clone()));
                match sent {
                    Ok(_) => {}
                    Err(SendError::WouldBlock) => {
                        flow.refused = Some((kind, data));
                        break;
                    }
                    Err(error) => panic!("refused: {error}"),
                }
            }
        }
        for (side, host) in hosts.into_iter().enumerate() {
            while let Some((_, event)) = sim.event(host) {
                match event {
                    Event::Message { channel, kind, data } => {
                        let flow =
                            flows.iter_mut().find(|flow| flow.from != side && flow.receiver == channel);
                        flow.expect("a channel in use").on_message(kind, data);
                    }
                    Event::Closed(reason) => panic!("side {side} closed: {reason}"),
                    _ => {}
                }
            }
        }
        flows.iter().all(Flow::is_complete)
    };
    call.sim.must("every message arrives", 1200 * SECOND, &mut pump);
    // And nothing arrives again.
    call.sim.run_for(20 * SECOND);
    assert!(pump(&mut call.sim));
}

#[test]
fn every_message_arrives_once_whole_and_in_order() {
    for_each_seed(72, |seed| deliver(seed, 30, 4096));
}

#[test]
fn large_messages_arrive_too() {
    for_each_seed(10, |seed| deliver(seed, 3, 256 * 1024));
}

/// Something that stops everything for a while.
fn pause(call: &mut Call, kind: u64, side: usize, start: Duration, how_long: Duration) {
    let host = call.hosts[side];
    call.sim.network.after(start, move |network| match kind % 3 {
        0 => network.outage(host, how_long),
        1 => network.hold(host, how_long),
        _ => network.freeze(host, how_long),
    });
}

#[test]
fn pauses_of_the_network_and_of_the_process_are_outlived() {
    for_each_seed(30, |seed| {
        deliver_over(seed, Matrix::HARSH.both_ways(seed), 20, 4096, |call| {
            let mut random = Random::new(seed).fork(7);
            let start = Duration::from_millis(random.below(2_000));
            let how_long = Duration::from_millis(random.between(1_000, 25_000));
            pause(call, seed, random.index(2), start, how_long);
        });
    });
}

#[test]
fn a_pause_of_almost_the_length_of_consent_is_outlived() {
    // Consent is renewed every five seconds or so, and lasts thirty from then on (RFC 7675 §5.1): of a pause of 23
    // seconds that begins just before a renewal, the end is seen in time.
    for seed in 0..30 {
        let link = Link::with_delay(Duration::from_millis(30));
        deliver_over(seed, (link.clone(), link), 20, 65_536, |call| {
            let mut random = Random::new(seed).fork(8);
            let start = Duration::from_millis(random.below(300));
            pause(call, seed, random.index(2), start, 23 * SECOND);
        });
    }
}

#[test]
fn a_small_mtu_is_a_matter_of_configuration() {
    for size in [576, 700, 1200, 1452, 8952] {
        let config = sansrtc::RtcConfig { datagram_size: size, ..config() };
        let mut call = Call::connected(1, &Link { mtu: size + 28, ..Link::default() }, &config);
        let [channel, _] = call.open(0, ChannelConfig::labelled("small"));
        let message = Bytes::from(Random::new(1).bytes(50_000));
        let [a, b] = call.hosts;
        call.sim.with(a, |rtc, _| rtc.send(channel, MessageKind::Binary, message.clone())).unwrap();
        call.sim.must("the message arrives", 60 * SECOND, |sim| {
            std::iter::from_fn(|| sim.event(b))
                .any(|(_, event)| matches!(event, Event::Message { data, .. } if data == message))
        });
    }
}
