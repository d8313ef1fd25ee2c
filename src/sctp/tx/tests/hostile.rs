//! What a hostile peer's SACKs do to a sender: nothing.

use super::*;

/// A sender with `count` chunks on their way, and the first TSN.
fn with_outstanding(count: u32, reliability: Reliability) -> (Pair, Serial32) {
    let mut pair = Pair::new(&Config::default(), DataFormat::Interleaved, 9);
    let first = pair.ends[0].tx.last_tsn().next();
    for n in 0..count {
        let options = options(true, reliability);
        pair.ends[0].tx.send(pair.now, stream(1), 101, message(n, 1000), options).unwrap();
    }
    pair.links(|link| link.is_down = true);
    pair.flush();
    (pair, first)
}

fn sack(pair: &mut Pair, cumulative: Serial32, gaps: &[(u16, u16)]) -> SackOutcome {
    let now = pair.now;
    pair.ends[0].tx.on_sack(now, cumulative, 1 << 20, gaps.iter().copied(), std::iter::empty())
}

#[test]
fn sacks_for_what_was_never_sent_are_ignored() {
    // HARDENING: SACKs for unsent TSNs have no effect.
    let (mut pair, first) = with_outstanding(5, Reliability::Reliable);
    let flight = pair.ends[0].tx.flight_bytes();
    for beyond in [5, 6, 1000, 0x7fff_ffff] {
        assert_eq!(sack(&mut pair, first.add(beyond), &[]), SackOutcome::Ignored);
    }
    for before in [2, 3, 1000, 0x7fff_ffff] {
        assert_eq!(sack(&mut pair, Serial32(first.0.wrapping_sub(before)), &[]), SackOutcome::Ignored);
    }
    assert_eq!(sack(&mut pair, first.previous(), &[(7, 9), (60_000, u16::MAX)]), SackOutcome::Unchanged);
    assert_eq!(pair.ends[0].tx.flight_bytes(), flight);
}

#[test]
fn gap_blocks_backwards_overlapping_or_empty_are_harmless() {
    for gaps in [
        &[(3, 2)][..],
        &[(0, 0)],
        &[(4, 4), (2, 2)],
        &[(2, 4), (3, 5)],
        &[(2, 2), (2, 2), (2, 2)],
        &[(u16::MAX, 0)],
    ] {
        let (mut pair, first) = with_outstanding(6, Reliability::Reliable);
        sack(&mut pair, first.previous(), gaps);
        pair.links(|link| link.is_down = false);
        // The lie may lose data, but nothing traps and the sender does not hang.
        sack(&mut pair, first.add(5), &[]);
        assert!(pair.ends[0].tx.is_drained(), "{gaps:?}");
    }
}

#[test]
fn a_peer_that_takes_back_what_it_acknowledged_gets_it_again() {
    let (mut pair, first) = with_outstanding(6, Reliability::Reliable);
    sack(&mut pair, first.previous(), &[(1, 3), (5, 6)]);
    pair.links(|link| link.is_down = false);
    pair.run_until_drained(30 * SECOND);
    assert_eq!(received(&pair, 1)[&stream(1)], [0, 1, 2, 3, 4, 5]);
    assert!(pair.ends[0].tx.is_stream_drained(stream(1)));
}

#[test]
fn any_sacks_at_all_keep_the_books_straight() {
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let config = Config::default();
        let mut pair = Pair::new(&config, FORMATS[(seed % 2) as usize], seed);
        let first = pair.ends[0].tx.last_tsn().next();
        pair.links(|link| link.is_down = true);
        for n in 0..400 {
            let reliability = match dice.below(3) {
                0 => Reliability::Reliable,
                1 => Reliability::MaxRetransmits(dice.below(2) as u16),
                _ => Reliability::MaxLifetime(millis(dice.below(3000))),
            };
            let options =
                SendOptions { notify: Some(MessageId(n)), ..options(dice.chance(500), reliability) };
            let len = 4 + dice.below(4000) as usize;
            pair.ends[0]
                .tx
                .send(pair.now, stream(dice.below(3)), 1, message(n as u32, len), options)
                .unwrap();
            pair.run_for(millis(dice.below(200)));
            let mut gaps = Vec::new();
            for _ in 0..dice.below(6) {
                gaps.push((dice.below(12) as u16, dice.below(12) as u16));
            }
            if dice.chance(700) {
                gaps.sort_unstable();
            }
            let base = pair.ends[0].tx.cumulative();
            let cumulative = base.add(dice.below(4) as u32).0.wrapping_sub(dice.below(2) as u32);
            sack(&mut pair, Serial32(cumulative), &gaps);
            pair.flush();
        }
        let _ = first;
        let last = pair.ends[0].tx.last_tsn();
        let mut rounds = 0;
        while !pair.ends[0].tx.is_drained() && rounds < 2000 {
            let all = pair.ends[0].tx.last_tsn();
            sack(&mut pair, all, &[]);
            pair.run_for(SECOND);
            rounds += 1;
        }
        assert!(pair.ends[0].tx.is_drained(), "seed {seed}, {last}");
        assert_eq!(pair.ends[0].tx.cost(), 0);
        let fates = pair.ends[0].notices.iter();
        let fates = fates.filter(|e| matches!(e, Event::Delivered { .. } | Event::Abandoned { .. }));
        assert_eq!(fates.count(), 400, "seed {seed}");
        assert!((0..3).all(|i| pair.ends[0].tx.is_stream_drained(stream(i))));
    }
}
