use super::*;
use crate::sctp::SendError;

fn resets(side: &Side) -> (usize, usize) {
    let count = |wanted: fn(&Event) -> bool| side.events.iter().filter(|e| wanted(e)).count();
    (count(|e| matches!(e, Event::IncomingReset(_))), count(|e| matches!(e, Event::OutgoingReset(_))))
}

#[test]
fn a_reset_waits_for_what_was_accepted_and_the_stream_is_used_again() {
    // RFC 6525 §5.1.2, RFC 8831 §6.7.
    for seed in 0..40 {
        let link = Link { loss: [0, 200, 300][usize::from(seed) % 3], jitter: 30 * MS, ..Link::default() };
        let config = Config { interleaving: seed % 2 == 0, ..Config::default() };
        let mut net = Net::connected(config, link, seed);
        for round in 0..3u8 {
            net.send(End::A, 4, vec![round; 5000], SendOptions::default());
            net.a.association.reset_stream(net.now, StreamId(4));
            assert!(net.a.association.is_resetting(StreamId(4)));
            let late = net.a.association.send(net.now, StreamId(4), 51, "x".into(), SendOptions::default());
            assert_eq!(late, Err(SendError::Resetting));
            net.run_until(60_000 * MS, |net| {
                !net.a.association.is_resetting(StreamId(4)) && resets(&net.b).0 > 0
            });
            net.run_for(1000 * MS);
            // The message first, then the reset.
            let of_b: Vec<_> = net.b.events.drain(..).collect();
            assert!(
                matches!(&of_b[0], Event::Message { data, .. } if data[..] == vec![round; 5000]),
                "{seed}"
            );
            assert_eq!(of_b[1..], [Event::IncomingReset(StreamId(4))], "seed {seed}");
            net.a.events.retain(|e| !matches!(e, Event::BufferedAmountLow(_)));
            assert_eq!(std::mem::take(&mut net.a.events), [Event::OutgoingReset(StreamId(4))]);
        }
    }
}

#[test]
fn both_sides_reset_the_same_stream() {
    for seed in 0..40 {
        let link = Link { loss: 200, jitter: 40 * MS, duplication: 100, ..Link::default() };
        let mut net = Net::connected(Config::default(), link, seed);
        net.send(End::A, 2, "a", SendOptions::default());
        net.send(End::B, 2, "b", SendOptions::default());
        net.run_for(u32::from(seed) * MS);
        net.a.association.reset_stream(net.now, StreamId(2));
        net.run_for(u32::from(seed) * MS);
        net.b.association.reset_stream(net.now, StreamId(2));
        net.run_until(60_000 * MS, |net| resets(&net.a) == (1, 1) && resets(&net.b) == (1, 1));
        net.send(End::A, 2, "again", SendOptions::default());
        net.run_until(60_000 * MS, |net| net.b.events.len() >= 4);
    }
}

#[test]
fn ten_thousand_channels_come_and_go() {
    let mut net = Net::connected(Config::default(), Link::default(), 1);
    for round in 0..100u16 {
        for stream in 0..100 {
            net.send(End::A, stream, vec![round as u8; 20], SendOptions::default());
            net.a.association.reset_stream(net.now, StreamId(stream));
        }
        net.run_until(10_000 * MS, |net| resets(&net.a).1 == 100 && resets(&net.b).0 == 100);
        for stream in 0..100 {
            net.b.association.reset_stream(net.now, StreamId(stream));
        }
        net.run_until(10_000 * MS, |net| resets(&net.b).1 == 100 && resets(&net.a).0 == 100);
        assert_eq!(net.take_messages(End::B).len(), 100);
        net.a.events.clear();
        net.b.events.clear();
    }
    for association in [&net.a.association, &net.b.association] {
        assert_eq!(association.sender.stream_count(), 0);
        assert_eq!(association.receiver.stream_count(), 0);
        assert_eq!(association.total_buffered(), 0);
        assert_eq!(association.stats().receive_buffer, 0);
    }
}

#[test]
fn many_streams_are_reset_at_once() {
    let link = Link { loss: 100, ..Link::default() };
    let mut net = Net::connected(Config::default(), link, 2);
    for stream in 0..1000 {
        net.send(End::A, stream, "x", SendOptions::default());
        net.a.association.reset_stream(net.now, StreamId(stream));
    }
    net.run_until(120_000 * MS, |net| resets(&net.a).1 == 1000 && resets(&net.b).0 == 1000);
}
