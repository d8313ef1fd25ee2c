//! INIT chunks in offer and answer (draft-hancke-tsvwg-snap).

use super::*;
use crate::wire::base64;

/// The chunks of the draft's example.
const OFFERED: &str = "AQAAHols3R0AUAAA/////+B5ZR3AAAAEgAgABoLA";
const ANSWERED: &str = "AQAAHl+zdHQAUAAA/////6Gq3HTAAAAEgAgABoLA";

fn end(seed: u8, init: &str) -> End {
    End { sctp_init: Some(base64::decode(init).unwrap()), ..End::new(seed) }
}

fn init_of(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("a=sctp-init:"))
}

fn remote(applied: Applied) -> Option<String> {
    applied.data.unwrap().init.map(|chunk| base64::encode(&chunk))
}

#[test]
fn both_sides_say_theirs_and_go_on_saying_it() {
    let (mut a, mut b) = (end(1, OFFERED), end(2, ANSWERED));
    for _ in 0..3 {
        let offer = a.offer();
        assert_eq!(init_of(&offer.to_string()), Some(OFFERED));
        let (answer, applied) = b.answer(&offer);
        assert_eq!(init_of(&answer.to_string()), Some(ANSWERED));
        assert_eq!(remote(applied).as_deref(), Some(OFFERED));
        assert_eq!(remote(a.accept(&answer)).as_deref(), Some(ANSWERED));
        // Whatever becomes of the association: what was said stays said.
        a.sctp_init = None;
        (a, b) = (b, a);
        a.restart();
        b.restart();
        let offer = a.offer();
        assert_eq!(init_of(&offer.to_string()), Some(ANSWERED));
        let (answer, _) = b.answer(&offer);
        assert_eq!(init_of(&answer.to_string()), Some(OFFERED));
        a.accept(&answer);
        (a, b) = (b, a);
    }
}

#[test]
fn an_end_without_it_makes_the_handshake_with_packets() {
    let (mut a, mut b) = (end(1, OFFERED), End::new(2));
    for _ in 0..2 {
        let offer = a.offer();
        let (answer, applied) = b.answer(&offer);
        assert_eq!(init_of(&answer.to_string()), None);
        assert_eq!(remote(applied), None);
        assert_eq!(remote(a.accept(&answer)), None);
        // Not said again: it cannot be added to an association that exists.
        assert_eq!(init_of(&a.offer().to_string()), None);
        a.negotiator.rollback().unwrap();
        let offer = b.offer();
        assert_eq!(init_of(&offer.to_string()), None);
        let (answer, applied) = a.answer(&offer);
        assert_eq!((init_of(&answer.to_string()), remote(applied)), (None, None));
        b.accept(&answer);
    }
}

#[test]
fn what_is_no_init_chunk_is_refused_and_changes_nothing() {
    let good = base64::decode(OFFERED).unwrap();
    let forged = |change: fn(&mut Vec<u8>)| {
        let mut chunk = good.clone();
        change(&mut chunk);
        base64::encode(&chunk)
    };
    let bad = [
        String::new(),
        "%%%".into(),
        "AQAA".into(),
        OFFERED[..OFFERED.len() - 4].into(),
        format!("{OFFERED}A"),
        // INIT ACK; no tag; no streams; two chunks; length beyond the end.
        forged(|chunk| chunk[0] = 2),
        forged(|chunk| chunk[4..8].fill(0)),
        forged(|chunk| chunk[12..14].fill(0)),
        forged(|chunk| chunk.extend_from_within(..)),
        forged(|chunk| chunk[3] += 4),
    ];
    for text in bad {
        let (mut a, mut b) = (end(1, OFFERED), end(2, ANSWERED));
        let offered = a.offer().to_string();
        let forged = offer(edit(&offered, OFFERED, &text));
        assert_eq!(
            b.try_answer(&forged).unwrap_err(),
            NegotiationError::BadSctpInit { section: 0 },
            "{text}"
        );
        let (answer, _) = b.answer(&offer(offered));
        let forged: Answer = edit(answer.to_string(), ANSWERED, &text).parse().unwrap();
        let error = a.negotiator.clone().accept_answer(&forged).unwrap_err();
        assert_eq!(error, NegotiationError::BadSctpInit { section: 0 }, "{text}");
        assert_eq!(remote(a.accept(&answer)).as_deref(), Some(ANSWERED));
    }
}

#[test]
fn what_changes_or_comes_later_is_refused() {
    let (mut a, mut b) = (end(1, OFFERED), end(2, ANSWERED));
    let first = a.offer();
    let (answer, _) = b.answer(&first);
    a.accept(&answer);
    let later = a.offer().to_string();
    let changed = edit(&later, OFFERED, ANSWERED);
    assert_eq!(b.try_answer(&offer(changed)).unwrap_err(), NegotiationError::SctpInitChanged { section: 0 });
    // A peer that forgets to repeat it is borne.
    let silent = edit(&later, &format!("a=sctp-init:{OFFERED}\r\n"), "");
    assert_eq!(remote(b.answer(&offer(silent)).1).as_deref(), Some(OFFERED));

    let (mut a, mut b) = (End::new(1), end(2, ANSWERED));
    let offered = a.offer();
    let (answer, applied) = b.answer(&offered);
    assert_eq!((init_of(&answer.to_string()), remote(applied)), (None, None));
    a.accept(&answer);
    let added = edit(a.offer().to_string(), "a=mid:0", &format!("a=mid:0\r\na=sctp-init:{OFFERED}"));
    assert_eq!(b.try_answer(&offer(added)).unwrap_err(), NegotiationError::SctpInitChanged { section: 0 });
}

#[test]
fn an_offer_that_is_taken_back_settles_nothing() {
    let (mut a, mut b) = (end(1, OFFERED), end(2, ANSWERED));
    a.offer();
    a.negotiator.rollback().unwrap();
    let offer = b.offer();
    let (answer, applied) = a.answer(&offer);
    assert_eq!(remote(applied).as_deref(), Some(ANSWERED));
    assert_eq!(init_of(&answer.to_string()), Some(OFFERED));
    assert_eq!(remote(b.accept(&answer)).as_deref(), Some(OFFERED));
}

#[test]
fn an_answer_that_speaks_of_it_unasked_is_not_listened_to() {
    let (mut a, mut b) = (End::new(1), End::new(2));
    let offer = a.offer();
    let (answer, _) = b.answer(&offer);
    let text = edit(answer.to_string(), "a=mid:0", &format!("a=mid:0\r\na=sctp-init:{ANSWERED}"));
    assert_eq!(remote(a.accept(&text.parse().unwrap())), None);
}
