//! Sender and receiver against each other.

pub(crate) mod sim;

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::sctp::types::MessageId;
use sim::{Dice, Pair};

const SECOND: Duration = Duration::from_secs(1);
const FORMATS: [DataFormat; 2] = [DataFormat::Plain, DataFormat::Interleaved];

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn stream(n: u64) -> StreamId {
    StreamId(n as u16)
}

/// A message that tells its number, its length and its order.
fn message(number: u32, len: usize) -> Bytes {
    let mut data: Vec<u8> = (0..len).map(|i| (i as u32).wrapping_add(number) as u8).collect();
    data[..4].copy_from_slice(&number.to_be_bytes());
    Bytes::from(data)
}

fn number(data: &Bytes) -> u32 {
    let number = u32::from_be_bytes([data[0], data[1], data[2], data[3]]);
    assert_eq!(data, &message(number, data.len()));
    number
}

/// The numbers of the messages that `end` received, by stream.
fn received(pair: &Pair, end: usize) -> BTreeMap<StreamId, Vec<u32>> {
    let mut found: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    for event in &pair.ends[end].received {
        let Event::Message { stream, ppid, data } = event else { panic!("{event:?}") };
        assert_eq!(*ppid, u32::from(stream.0) + 100);
        found.entry(*stream).or_default().push(number(data));
    }
    found
}

/// Numbers, streams and options of what was sent.
#[derive(Debug, Default)]
struct Ledger {
    sent: Vec<(StreamId, bool, Reliability)>,
}

impl Ledger {
    fn send(&mut self, pair: &mut Pair, stream: StreamId, len: usize, mut options: SendOptions) {
        let n = self.sent.len() as u32;
        options.notify = Some(MessageId(u64::from(n)));
        let ppid = u32::from(stream.0) + 100;
        let sent = pair.ends[0].tx.send(pair.now, stream, ppid, message(n, len), options);
        assert_eq!(sent, Ok(()));
        self.sent.push((stream, options.ordered, options.reliability));
    }

    /// Everything arrived once or was given up, in order, and told so once.
    fn check(&self, pair: &Pair) {
        let received = received(pair, 1);
        let arrived: BTreeSet<u32> = received.values().flatten().copied().collect();
        assert_eq!(arrived.len(), received.values().map(Vec::len).sum::<usize>(), "something came twice");
        for (stream, numbers) in &received {
            assert!(numbers.iter().all(|&n| self.sent[n as usize].0 == *stream));
            let ordered: Vec<_> = numbers.iter().filter(|&&n| self.sent[n as usize].1).collect();
            assert!(ordered.is_sorted(), "{stream:?} {ordered:?}");
        }
        let (mut delivered, mut abandoned) = (BTreeSet::new(), BTreeSet::new());
        for notice in &pair.ends[0].notices {
            match notice {
                Event::Delivered { message, .. } => assert!(delivered.insert(message.0 as u32)),
                Event::Abandoned { message, .. } => assert!(abandoned.insert(message.0 as u32)),
                _ => {}
            }
        }
        assert!(delivered.is_disjoint(&abandoned));
        assert_eq!(delivered.len() + abandoned.len(), self.sent.len());
        assert!(delivered.is_subset(&arrived), "{:?}", delivered.difference(&arrived).collect::<Vec<_>>());
        for (n, (_, _, reliability)) in self.sent.iter().enumerate() {
            let is_reliable = *reliability == Reliability::Reliable;
            assert!(!is_reliable || arrived.contains(&(n as u32)), "{n} is missing");
        }
        for end in &pair.ends {
            assert_eq!(end.rx.held(), 0);
            assert_eq!((end.tx.buffered(), end.tx.cost()), (0, 0));
        }
    }
}

fn options(ordered: bool, reliability: Reliability) -> SendOptions {
    SendOptions { ordered, reliability, notify: None }
}

/// Messages of all sizes on many streams, over a few seconds.
fn send_some(pair: &mut Pair, ledger: &mut Ledger, dice: &mut Dice, partial: bool) {
    for i in 0..8 {
        pair.ends[0].tx.set_priority(stream(i), 1 << dice.below(12));
    }
    for _ in 0..40 {
        for _ in 0..dice.below(12) {
            let len = match dice.below(10) {
                0 => 20_000 + dice.below(200_000),
                1..4 => 1000 + dice.below(4000),
                _ => 4 + dice.below(400),
            };
            let reliability = match dice.below(if partial { 4 } else { 1 }) {
                1 => Reliability::MaxRetransmits(dice.below(3) as u16),
                2 => Reliability::MaxLifetime(millis(dice.below(400))),
                _ => Reliability::Reliable,
            };
            let options = options(dice.chance(700), reliability);
            ledger.send(pair, stream(dice.below(8)), len as usize, options);
        }
        pair.run_for(millis(dice.below(100)));
    }
}

fn over_a_bad_network(seed: u64, format: DataFormat, partial: bool, change: impl Fn(&mut sim::Link)) {
    let mut pair = Pair::new(&Config::default(), format, seed);
    pair.links(&change);
    let (mut ledger, mut dice) = (Ledger::default(), Dice(seed ^ 77));
    send_some(&mut pair, &mut ledger, &mut dice, partial);
    pair.run_until_drained(600 * SECOND);
    ledger.check(&pair);
}

#[test]
fn everything_arrives_once_and_in_order_without_faults() {
    for seed in 0..4 {
        FORMATS.into_iter().for_each(|format| over_a_bad_network(seed, format, false, |_| {}));
    }
}

#[test]
fn everything_arrives_once_and_in_order_over_loss() {
    for seed in 0..6 {
        for format in FORMATS {
            over_a_bad_network(seed, format, false, |link| link.loss = 50 * (seed + 1));
            over_a_bad_network(seed, format, false, |link| link.burst = (10, 30));
        }
    }
}

#[test]
fn everything_arrives_once_and_in_order_over_reordering_and_duplication() {
    for seed in 0..6 {
        for format in FORMATS {
            over_a_bad_network(seed, format, false, |link| (link.reorder, link.duplicate) = (500, 100));
        }
    }
}

#[test]
fn promises_are_kept_over_everything_at_once() {
    for seed in 0..12 {
        for format in FORMATS {
            over_a_bad_network(seed, format, true, |link| {
                (link.loss, link.reorder, link.duplicate, link.burst) = (25 * seed, 200, 50, (5, 20));
            });
        }
    }
}

#[test]
fn a_transfer_goes_on_after_a_pause() {
    for (seed, format) in FORMATS.into_iter().enumerate() {
        let mut pair = Pair::new(&Config::default(), format, seed as u64);
        pair.links(|link| link.rate = Some((1_250_000, 60_000)));
        let mut ledger = Ledger::default();
        for i in 0..40 {
            ledger.send(&mut pair, stream(i % 3), 100_000, SendOptions::default());
        }
        pair.run_for(SECOND);
        pair.links(|link| link.is_down = true);
        pair.run_for(25 * SECOND);
        pair.links(|link| link.is_down = false);
        let (before, from) = (pair.ends[0].tx.cumulative(), pair.now);
        let rto = pair.ends[0].tx.rto();
        while pair.ends[0].tx.cumulative() == before {
            assert!(pair.step(from + 2 * rto), "nothing moved within {:?}", 2 * rto);
        }
        assert!(rto <= 10 * SECOND);
        // 3 MB at 1.25 MB/s: the window must come back quickly, too.
        let took = pair.run_until_drained(60 * SECOND);
        assert!(took < 5 * SECOND, "{took:?}");
        ledger.check(&pair);
    }
}

#[test]
fn a_slow_reader_stops_the_sender_and_nothing_is_lost() {
    for format in FORMATS {
        for loss in [0, 100] {
            for len in [4, 64, 1000, 30_000, 262_144] {
                let mut pair = Pair::new(&Config::default(), format, len as u64);
                pair.links(|link| link.loss = loss);
                let mut ledger = Ledger::default();
                let count = (3_000_000 / len).min(20_000) as u64;
                for i in 0..count {
                    ledger.send(&mut pair, stream(i % 10), len, SendOptions::default());
                }
                pair.ends[1].reads = false;
                pair.run_for(10 * SECOND);
                let window = Config::default().receive_window;
                assert!(pair.ends[1].most_held <= window + window / 4);
                pair.ends[1].reads = true;
                let rto = pair.ends[0].tx.rto();
                let took = pair.run_until_drained(200 * SECOND);
                assert!(loss > 0 || took < 2 * rto + SECOND, "{format:?} {len}: {took:?} of {rto:?}");
                ledger.check(&pair);
            }
        }
    }
}

#[test]
fn many_large_messages_at_once_do_not_close_the_window_for_good() {
    for (window, size) in [(1 << 20, 262_144), (1 << 20, 524_288), (65_536, 32_768), (8192, 4096)] {
        for format in FORMATS {
            let config = Config { receive_window: window, max_message_size: size, ..Config::default() };
            let mut pair = Pair::new(&config, format, 5);
            pair.links(|link| link.loss = 20);
            let mut ledger = Ledger::default();
            for i in 0..24 {
                ledger.send(&mut pair, stream(i), size, SendOptions::default());
                ledger.send(&mut pair, stream(i), 200, SendOptions::default());
            }
            pair.run_until_drained(600 * SECOND);
            ledger.check(&pair);
        }
    }
}

#[test]
fn would_block_is_followed_by_low() {
    let config = Config { send_buffer: 20_000, ..Config::default() };
    let mut pair = Pair::new(&config, DataFormat::Interleaved, 1);
    let mut sent = 0;
    for _ in 0..200 {
        while pair.ends[0]
            .tx
            .send(pair.now, stream(1), 101, message(sent, 3000), SendOptions::default())
            .is_ok()
        {
            sent += 1;
        }
        pair.ends[0].notices.clear();
        let limit = pair.now + 2 * SECOND;
        let low = Event::BufferedAmountLow(stream(1));
        while !pair.ends[0].notices.contains(&low) {
            assert!(pair.step(limit), "no room was told");
        }
    }
    assert!(sent > 400);
    // One that is larger than the buffer goes alone.
    pair.run_until_drained(10 * SECOND);
    assert_eq!(
        pair.ends[0].tx.send(pair.now, stream(1), 101, message(sent, 50_000), SendOptions::default()),
        Ok(())
    );
    pair.run_until_drained(10 * SECOND);
    assert_eq!(received(&pair, 1)[&stream(1)], (0..=sent).collect::<Vec<_>>());
}

/// Bytes per second over a path of 100 Mbit/s and 50 ms with a queue of one bandwidth-delay product.
fn throughput(congestion: crate::sctp::config::Congestion, change: impl Fn(&mut sim::Link)) -> f64 {
    let config = Config { congestion, receive_window: 4 << 20, ..Config::default() };
    let mut pair = Pair::new(&config, DataFormat::Interleaved, 3);
    pair.links(|link| {
        link.delay = millis(25);
        link.rate = Some((12_500_000, 625_000));
        change(link);
    });
    let mut count = 0;
    let mut bytes = 0;
    while pair.elapsed() < 10 * SECOND {
        while pair.ends[0].tx.buffered() < 8 << 20 {
            let sent = pair.ends[0].tx.send(
                pair.now,
                stream(1),
                101,
                message(count, 16_384),
                SendOptions::default(),
            );
            assert_eq!(sent, Ok(()));
            count += 1;
        }
        pair.run_for(millis(50));
        if pair.elapsed() >= 2 * SECOND {
            bytes += pair.ends[1].received.len() * 16_384;
        }
        pair.ends[1].received.clear();
    }
    bytes as f64 / 8.0
}

#[test]
fn the_path_is_filled() {
    use crate::sctp::config::Congestion;
    for congestion in [Congestion::Cubic, Congestion::NewReno] {
        let rate = throughput(congestion, |_| {});
        assert!(rate > 0.9 * 12_500_000.0 * 1120.0 / 1228.0, "{congestion:?}: {rate}");
        let rate = throughput(congestion, |link| link.reorder = 10);
        assert!(rate > 0.9 * 12_500_000.0 * 1120.0 / 1228.0, "{congestion:?}, reordered: {rate}");
    }
}

mod hostile;
