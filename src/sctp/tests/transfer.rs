use super::*;
use crate::sctp::{Congestion, Delivery, MessageId, Reliability};

fn options(ordered: bool) -> SendOptions {
    SendOptions { ordered, ..SendOptions::default() }
}

/// Bytes that tell who they are.
fn payload(number: u32, len: usize) -> Bytes {
    let mut bytes = vec![number as u8; len.max(4)];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes.into()
}

fn number(data: &[u8]) -> u32 {
    u32::from_be_bytes(data[..4].try_into().unwrap())
}

/// Sends `count` messages each way, over two ordered streams and an unordered one, and checks what arrives.
fn exchange(net: &mut Net, count: u32, sizes: &[usize], limit: Duration) {
    let size = |i: u32| sizes[i as usize % sizes.len()];
    for i in 0..count {
        for end in [End::A, End::B] {
            net.send(end, (i % 3) as u16, payload(i, size(i)), options(i % 3 != 2));
        }
    }
    let mut got: [Vec<(u16, Bytes)>; 2] = Default::default();
    let end = net.now + limit;
    while got.iter().any(|g| g.len() < count as usize) {
        assert!(net.step(end), "stalled with {} and {} of {count}", got[0].len(), got[1].len());
        net.flush();
        got[0].extend(net.take_messages(End::A));
        got[1].extend(net.take_messages(End::B));
    }
    for messages in got {
        assert_eq!(messages.len(), count as usize);
        for stream in 0..3u16 {
            let mut numbers: Vec<_> =
                messages.iter().filter(|(s, _)| *s == stream).map(|(_, data)| number(data)).collect();
            if stream == 2 {
                numbers.sort_unstable();
            }
            let expected: Vec<_> = (0..count).filter(|i| i % 3 == u32::from(stream)).collect();
            assert_eq!(numbers, expected, "stream {stream}");
        }
        assert!(messages.iter().all(|(_, data)| *data == payload(number(data), size(number(data)))));
    }
}

#[test]
fn messages_of_all_sizes_arrive() {
    for interleaving in [false, true] {
        let config = Config { interleaving, ..Config::default() };
        let mut net = Net::connected(config, Link::default(), 1);
        exchange(&mut net, 60, &[4, 100, 1131, 1132, 1133, 1200, 5000, 65_536], 60_000 * MS);
    }
}

#[test]
fn nothing_is_lost_on_bad_links() {
    for seed in 0..60u8 {
        let link = Link {
            loss: [20, 100, 200, 300][usize::from(seed) % 4],
            burst: [1, 8][usize::from(seed / 4) % 2],
            jitter: [0, 20, 60][usize::from(seed) % 3] * MS,
            duplication: 100,
            ..Link::default()
        };
        let config = Config {
            interleaving: seed % 2 == 0,
            congestion: if seed % 5 == 0 { Congestion::NewReno } else { Congestion::Cubic },
            ..Config::default()
        };
        let mut net = Net::connected(config, link, seed);
        exchange(&mut net, 60, &[4, 3000, 40_000], 600_000 * MS);
    }
}

#[test]
fn small_packets_carry_everything_too() {
    let config = Config { mtu: 400, ..Config::default() };
    let link = Link { loss: 50, ..Link::default() };
    let mut net = Net::connected(config, link, 3);
    exchange(&mut net, 30, &[4, 500, 20_000], 600_000 * MS);
}

#[test]
fn a_transfer_resumes_after_a_long_pause() {
    let mut net = Net::connected(Config::default(), Link::default(), 4);
    for i in 0..40 {
        net.send(End::A, 0, payload(i, 60_000), options(true));
    }
    net.run_for(100 * MS);
    net.link.loss = 1000;
    net.run_for(25_000 * MS);
    net.link.loss = 0;
    net.run_until(22_000 * MS, |net| net.b.events.len() >= 40);
}

#[test]
fn a_slow_reader_closes_the_window_and_nothing_is_lost() {
    // HARDENING: no state with a closed window and an empty read side.
    for seed in 0..12 {
        let config = Config { receive_window: 128 * 1024, max_message_size: 64 * 1024, ..Config::default() };
        let link = Link { loss: [0, 100][usize::from(seed) % 2], ..Link::default() };
        let mut net = Net::connected(config, link, seed);
        net.b.is_reading = false;
        for i in 0..100 {
            net.send(End::A, 0, payload(i, 20_000), options(true));
        }
        net.run_for(10_000 * MS);
        assert!(net.b.association.stats().receive_buffer <= 128 * 1024 * 5 / 4);
        net.b.is_reading = true;
        net.run_until(120_000 * MS, |net| net.b.events.len() >= 100);
        let got = net.take_messages(End::B);
        assert!(got.iter().zip(0..).all(|((_, data), i)| *data == payload(i, 20_000)));
    }
}

#[test]
fn limited_messages_are_given_up_and_the_rest_flows_on() {
    // RFC 3758: what was given up does not hold back what follows; each message's fate is told once.
    for interleaving in [false, true] {
        for seed in 0..10 {
            let config = Config { interleaving, ..Config::default() };
            let link = Link { loss: 300, ..Link::default() };
            let mut net = Net::connected(config, link, seed);
            for i in 0..300 {
                let reliability = match i % 3 {
                    0 => Reliability::MaxRetransmits(0),
                    1 => Reliability::MaxLifetime(100 * MS),
                    _ => Reliability::Reliable,
                };
                let notify = Some(MessageId(u64::from(i)));
                let options = SendOptions { ordered: i % 2 == 0, reliability, notify };
                // A channel has one kind of reliability and order (RFC 8831 §6.4).
                net.send(End::A, (i % 6) as u16, payload(i, 2500), options);
                net.run_for(10 * MS);
            }
            net.run_for(60_000 * MS);
            let mut fates = vec![(0, 0); 300];
            for event in &net.a.events {
                match event {
                    Event::Delivered { message, .. } => fates[message.0 as usize].0 += 1,
                    Event::Abandoned { message, .. } => fates[message.0 as usize].1 += 1,
                    _ => {}
                }
            }
            let got: Vec<_> = net.take_messages(End::B).iter().map(|(_, data)| number(data)).collect();
            for (i, (delivered, abandoned)) in fates.iter().enumerate() {
                assert_eq!(delivered + abandoned, 1, "seed {seed}, message {i}");
                let arrived = got.iter().filter(|&&n| n as usize == i).count();
                assert!(arrived <= 1);
                if i % 3 == 2 || *delivered == 1 {
                    assert_eq!(arrived, 1, "seed {seed}, message {i}");
                }
            }
            assert!(fates.iter().any(|f| f.1 == 1));
            assert_eq!(net.a.association.total_buffered(), 0);
            let held = net.b.association.stats().receive_buffer;
            assert_eq!(held, 0, "seed {seed}, interleaving {interleaving}");
        }
    }
}

#[test]
fn a_message_comes_in_pieces_when_asked_for() {
    let mut net = Net::connected(Config::default(), Link { loss: 50, ..Link::default() }, 5);
    net.b.association.set_delivery(StreamId(0), Delivery::Pieces);
    let message = payload(9, 60_000);
    net.send(End::A, 0, message.clone(), options(true));
    net.run_for(20_000 * MS);
    let mut whole = Vec::new();
    let mut ends = 0;
    for event in &net.b.events {
        if let Event::Piece { data, is_last, .. } = event {
            assert_eq!(ends, 0);
            whole.extend_from_slice(data);
            ends += usize::from(*is_last);
        }
    }
    assert_eq!((whole, ends), (message.to_vec(), 1));
}

#[test]
fn the_send_buffer_is_bounded_and_says_when_there_is_room() {
    let config = Config { send_buffer: 100_000, ..Config::default() };
    let mut net = Net::connected(config, Link::default(), 6);
    let now = net.now;
    let mut accepted = 0;
    while net.a.association.send(now, StreamId(0), 51, payload(accepted, 10_000), options(true)).is_ok() {
        accepted += 1;
    }
    assert!((9..=10).contains(&accepted));
    net.run_for(5000 * MS);
    assert!(net.a.events.contains(&Event::BufferedAmountLow(StreamId(0))));
    assert!(net.a.association.send(net.now, StreamId(0), 51, payload(0, 10_000), options(true)).is_ok());
}

#[test]
fn a_message_beyond_the_peers_limit_is_refused() {
    let mut net = Net::connected(Config::default(), Link::default(), 7);
    let result = net.a.association.send(net.now, StreamId(0), 51, payload(0, 65_537), options(true));
    assert_eq!(result, Err(crate::sctp::SendError::TooLarge(65_536)));
    net.a.association.set_remote_max_message_size(0);
    net.send(End::A, 0, payload(0, 262_144), options(true));
    net.run_for(20_000 * MS);
    assert_eq!(net.take_messages(End::B).len(), 1);
}
