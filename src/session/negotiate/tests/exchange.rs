//! The way of an exchange: offer, answer, rollback, and again (RFC 3264, RFC 8829 §3.2).

use super::*;

#[test]
fn two_ends_agree() {
    let (mut a, mut b) = (End::new(1), End::new(2));
    let (at_a, at_b) = exchange(&mut a, &mut b);
    let (b_seen, a_seen) = (at_a.transport.unwrap(), at_b.transport.unwrap());
    for (seen, of) in [(&a_seen, &a), (&b_seen, &b)] {
        assert_eq!(seen.credentials, of.credentials);
        assert_eq!(seen.fingerprints, of.fingerprints);
        assert_eq!(seen.candidates.len(), 1);
        assert_eq!(seen.candidates[0].socket_address(), of.candidates[0].socket_address());
        assert!(!seen.ice_lite && !seen.end_of_candidates);
    }
    // RFC 8445 §6.1.1: the offerer leads; RFC 8842 §5.3: the answerer opens DTLS.
    assert_eq!((b_seen.ice_role, a_seen.ice_role), (IceRole::Controlling, IceRole::Controlled));
    assert_eq!((b_seen.dtls_role, a_seen.dtls_role), (DtlsRole::Server, DtlsRole::Client));
    let data = RemoteData { port: 5000, max_message_size: 262_144, init: None };
    assert_eq!((at_a.data, at_b.data), (Some(data.clone()), Some(data)));
    assert!(!at_a.ice_restart && !at_b.ice_restart);
    assert_eq!(a.negotiator.state(), SignalingState::Stable);
    assert_eq!(a.negotiator.candidate_section(), Some((0, Mid::new("0"))));
}

#[test]
fn what_we_offer_is_what_jsep_asks_for() {
    let mut a = End::new(1);
    let offer = a.offer();
    assert_eq!(a.negotiator.state(), SignalingState::HaveLocalOffer);
    let text = offer.as_str();
    let (ufrag, pwd) = (&a.credentials.ufrag, &a.credentials.pwd);
    let fingerprint = a.fingerprints[0];
    let session = text.lines().nth(1).unwrap();
    assert!(session.starts_with("o=- ") && session.ends_with(" 0 IN IP4 127.0.0.1"), "{session}");
    let want = format!(
        "v=0\r\n{session}\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=extmap-allow-mixed\r\na=ice-options:trickle ice2 renomination\r\n\
         m=application 4000 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 192.0.2.1\r\na={}\r\n\
         a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\na=fingerprint:{fingerprint}\r\na=setup:actpass\r\na=mid:0\r\n\
         a=sctp-port:5000\r\na=max-message-size:262144\r\n",
        a.candidates[0],
    );
    assert_eq!(text, want);
}

#[test]
fn recorded_offers_are_answered() {
    for (name, text) in RECORDED {
        let mut end = End::new(7);
        let offer = offer(text);
        let (answer, applied) = end.answer(&offer);
        let (asked, told) = (offer.description(), answer.description());
        assert_eq!(told.media.len(), asked.media.len(), "{name}");
        for (asked, told) in asked.media.iter().zip(&told.media) {
            assert_eq!(
                (told.kind, told.mid, told.protocol),
                (asked.kind, asked.mid, asked.protocol),
                "{name}"
            );
            if told.kind == MediaKind::Application {
                assert!(!told.is_rejected());
                assert_eq!(told.transport.setup, Some(Setup::Active));
                assert_eq!(told.sctp.port, Some(5000));
                assert_eq!(told.candidates.len(), 1);
                assert_eq!(
                    applied.transport.as_ref().unwrap().credentials.ufrag,
                    asked.transport.ice_ufrag.unwrap()
                );
            } else {
                assert!(told.is_rejected(), "{name}");
            }
        }
        let accepted: Vec<_> = told.media.iter().filter(|s| !s.is_rejected()).filter_map(|s| s.mid).collect();
        match accepted[..] {
            [] => assert!(told.groups.is_empty() && applied.transport.is_none()),
            _ => assert_eq!(told.groups, [Group::new("BUNDLE", &accepted.join(" "))], "{name}"),
        }
        // RFC 8829 §5.3.1: options only if the offer has them.
        assert_eq!(
            told.transport.has_ice_option("trickle"),
            name != "pion-data" && applied.data.is_some(),
            "{name}"
        );
        assert!(!told.transport.has_ice_option("ice2"), "{name}");
    }
}

#[test]
fn glare_ends_when_the_polite_side_rolls_back() {
    let (mut polite, mut impolite) = (End::new(1), End::new(2));
    let (lost, wins) = (polite.offer(), impolite.offer());
    // Neither may take the other's offer as it is.
    assert_eq!(impolite.try_answer(&lost).unwrap_err(), NegotiationError::OfferPending);
    assert_eq!(polite.try_answer(&wins).unwrap_err(), NegotiationError::OfferPending);
    assert_eq!(polite.negotiator.state(), SignalingState::HaveLocalOffer);
    polite.negotiator.rollback().unwrap();
    let (answer, applied) = polite.answer(&wins);
    assert_eq!(applied.transport.unwrap().ice_role, IceRole::Controlled);
    assert!(impolite.accept(&answer).data.is_some());
}

#[test]
fn an_offer_is_answered_once_and_rolled_back_once() {
    let (mut a, mut b) = (End::new(1), End::new(2));
    assert_eq!(a.negotiator.rollback(), Err(NegotiationError::NoOffer));
    let (answer, _) = b.answer(&a.offer());
    assert_eq!(
        a.negotiator.clone().create_offer(&a.facts(), OfferOptions::default()).unwrap_err(),
        NegotiationError::OfferPending
    );
    a.accept(&answer);
    assert_eq!(a.negotiator.accept_answer(&answer).unwrap_err(), NegotiationError::NoOffer);
    a.offer();
    a.negotiator.rollback().unwrap();
    assert_eq!(a.negotiator.state(), SignalingState::Stable);
    assert_eq!(a.negotiator.accept_answer(&answer).unwrap_err(), NegotiationError::NoOffer);
}

#[test]
fn nothing_is_offered_without_sections() {
    let mut a = End::new(1);
    let error = a.negotiator.clone().create_offer(&a.facts(), OfferOptions::default()).unwrap_err();
    assert_eq!(error, NegotiationError::NothingToOffer);
    a.offer();
}

#[test]
fn renegotiation_from_either_side_changes_nothing_that_holds() {
    let (mut a, mut b) = connected();
    for round in 0..4 {
        let (x, y) = if round % 2 == 0 { (&mut b, &mut a) } else { (&mut a, &mut b) };
        let before: Vec<u64> = [&*x, &*y].map(|end| end.negotiator.origin.version).to_vec();
        let (at_x, at_y) = exchange(x, y);
        assert!(!at_x.ice_restart && !at_y.ice_restart);
        let (x_is_a, at_x, at_y) = (round % 2 == 1, at_x.transport.unwrap(), at_y.transport.unwrap());
        let (at_a, at_b) = if x_is_a { (at_x, at_y) } else { (at_y, at_x) };
        // RFC 8842 §5.5, RFC 8445 §6.1.1: roles stay what they were first, whoever offers.
        assert_eq!((at_a.dtls_role, at_b.dtls_role), (DtlsRole::Server, DtlsRole::Client));
        assert_eq!((at_a.ice_role, at_b.ice_role), (IceRole::Controlling, IceRole::Controlled));
        assert_eq!(
            [&*x, &*y].map(|end| end.negotiator.origin.version).to_vec(),
            [before[0] + 1, before[1] + 1]
        );
    }
}

/// R63: a failing call leaves the former state working.
#[test]
fn what_fails_leaves_everything_as_it_was() {
    let (mut a, mut b) = connected();
    let good = a.offer().to_string();
    let fingerprint = a.fingerprints[0].to_string();
    let bad = [
        edit(&good, "a=ice-pwd:", "a=x:"),
        edit(&good, &fingerprint, &End::new(9).fingerprints[0].to_string()),
        edit(&good, "a=mid:0", "a=mid:1"),
        edit(&good, "m=application", "m=audio"),
        edit(&good, "a=setup:actpass", "a=setup:holdconn"),
        good.split("m=application").next().unwrap().to_owned(),
    ];
    for text in bad {
        let before = format!("{:?}", b.negotiator);
        assert!(b.try_answer(&offer(&text)).is_err(), "{text}");
        assert_eq!(format!("{:?}", b.negotiator), before);
    }
    let (answer, _) = b.answer(&offer(&good));
    let bad = [
        edit(&answer, "a=ice-pwd:", "a=x:"),
        edit(&answer, "a=mid:0", "a=mid:1"),
        edit(&answer, "m=application", "m=video"),
        edit(&answer, "a=setup:active", "a=setup:actpass"),
        format!("{answer}m=audio 9 RTP/SAVPF 0\r\n"),
    ];
    for text in bad {
        let before = format!("{:?}", a.negotiator);
        assert!(a.negotiator.accept_answer(&text.parse().unwrap()).is_err(), "{text}");
        assert_eq!(format!("{:?}", a.negotiator), before);
    }
    a.accept(&answer);
    exchange(&mut b, &mut a);
}

#[test]
fn a_peer_may_stop_data_and_take_it_up_again() {
    let (mut a, mut b) = connected();
    let off = edit(a.offer(), "m=application 4000", "m=application 0");
    let (answer, applied) = b.answer(&offer(off));
    assert_eq!((applied.transport, applied.data), (None, None));
    assert!(answer.description().media[0].is_rejected() && answer.description().groups.is_empty());
    a.accept(&answer);
    // RFC 8829 §5.2.2: the place is used again, under another name.
    let again = a.offer();
    assert_eq!(again.description().media.len(), 1);
    assert_eq!(again.description().media[0].mid, Some("1"));
    let (answer, applied) = b.answer(&again);
    assert!(applied.data.is_some());
    assert!(a.accept(&answer).data.is_some());
}

#[test]
fn an_answer_takes_what_was_offered_and_only_that() {
    let (mut a, mut b) = (End::new(1), End::new(2));
    let (answer, _) = b.answer(&a.offer());
    let declined = edit(&answer, "m=application 4000", "m=application 0");
    let mut other = a.clone();
    assert_eq!(other.accept(&declined.parse().unwrap()).transport, None);

    // One section is turned down from before; an answer may not take it.
    let text = edit(RECORDED[0].1, "m=application", "m=text 9 RTP/AVP 98\r\na=mid:t\r\nm=application");
    let mut c = End::new(3);
    c.answer(&offer(text));
    let mine = c.offer();
    let taken = edit(mine, "m=text 0", "m=text 9");
    let taken = edit(taken, "a=setup:actpass", "a=setup:passive");
    let error = c.negotiator.accept_answer(&taken.parse().unwrap()).unwrap_err();
    assert_eq!(error, NegotiationError::NotOffered { section: 0 });
}

#[test]
fn nothing_secret_is_in_debug() {
    let (a, b) = connected();
    let text = format!("{:?} {:?}", b.negotiator, a.facts());
    assert!(!text.contains(&a.credentials.pwd) && !text.contains(&b.credentials.pwd));
    let mut c = End::new(3);
    let (_, applied) = c.answer(&offer(RECORDED[0].1));
    assert!(!format!("{applied:?}").contains("SlZs9yOEDXOwjrDtTR"));
    assert!(format!("{:?}", Description::parse(RECORDED[0].1).unwrap()).contains("JUmX"));
}
