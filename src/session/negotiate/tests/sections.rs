//! Order, names and bundle of the sections (RFC 9143, RFC 5888).

use super::*;

#[test]
fn the_tagged_section_is_the_first_that_is_accepted() {
    // RFC 9143 §7.3.1: the sections of audio and video are turned down, so that data leads the bundle.
    let (answer, applied) = End::new(7).answer(&offer(RECORDED[1].1));
    let answer = answer.description();
    assert_eq!(answer.groups, [Group::new("BUNDLE", "2")]);
    assert_eq!(
        answer.media.iter().map(|section| section.port != 0).collect::<Vec<_>>(),
        [false, false, true]
    );
    assert_eq!(answer.media[0].formats, "111");
    // The candidates are those of that section.
    let port = applied.transport.unwrap().candidates[0].socket_address().unwrap().port();
    assert_eq!(port, 38669);
}

#[test]
fn a_second_section_of_data_is_turned_down() {
    let text = RECORDED[0].1;
    let (_, section) = text.split_once("m=application").unwrap();
    let second = format!("m=application{}", edit(section, "a=mid:0", "a=mid:1"));
    let text = edit(text, "BUNDLE 0", "BUNDLE 1 0") + &second;
    let (answer, _) = End::new(7).answer(&offer(&text));
    let answer = answer.description();
    assert!(!answer.media[0].is_rejected() && answer.media[1].is_rejected());
    assert_eq!(answer.groups, [Group::new("BUNDLE", "0")]);
}

#[test]
fn unknown_sections_keep_their_place() {
    let text = edit(
        RECORDED[0].1,
        "m=application",
        "m=text 9 RTP/AVP 98 99\r\na=mid:t\r\nm=image 9 udptl t38\r\nm=application",
    );
    let mut end = End::new(7);
    let (answer, _) = end.answer(&offer(text));
    let (answer, media) = (answer.as_str(), answer.description().media);
    assert!(
        answer.contains("m=text 0 RTP/AVP 98\r\nc=IN IP4 0.0.0.0\r\na=mid:t\r\na=inactive\r\n"),
        "{answer}"
    );
    assert!(answer.contains("m=image 0 udptl t38\r\n"), "{answer}");
    assert_eq!(media[2].mid, Some("0"));
    // Our own offer keeps them too.
    let mine = end.offer();
    let kinds: Vec<_> =
        mine.description().media.iter().map(|s| (s.kind.name().to_owned(), s.port != 0)).collect();
    assert_eq!(kinds, [("text".into(), false), ("image".into(), false), ("application".into(), true)]);
}

#[test]
fn a_peer_without_names_or_bundle_is_answered_without() {
    let text = edit(edit(RECORDED[0].1, "a=group:BUNDLE 0\r\n", ""), "a=mid:0\r\n", "");
    let mut end = End::new(7);
    let (answer, _) = end.answer(&offer(&text));
    assert!(answer.description().groups.is_empty());
    assert_eq!(answer.description().media[0].mid, None);
    // An offer of ours names it.
    assert_eq!(end.offer().description().media[0].mid, Some("1"));
    end.negotiator.rollback().unwrap();
    end.answer(&offer(&text));
}

#[test]
fn names_must_be_short_and_unique() {
    let long = edit(RECORDED[0].1, "a=mid:0", &format!("a=mid:{}", "x".repeat(33)));
    assert_eq!(End::new(7).try_answer(&offer(long)).unwrap_err(), NegotiationError::BadMid { section: 0 });
    let twice = edit(RECORDED[1].1, "a=mid:1\r\n", "a=mid:0\r\n");
    assert_eq!(
        End::new(7).try_answer(&offer(twice)).unwrap_err(),
        NegotiationError::DuplicateMid { section: 1 }
    );
}

/// R62: as many sections as may be, all alike and all bundled.
#[test]
fn a_thousand_sections_are_answered() {
    let mut text = String::from("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE");
    (0..1000).for_each(|n| text += &format!(" {n}"));
    text += &" 0 7 999 1000".repeat(10_000);
    text += "\r\n";
    (0..1000).for_each(|n| {
        text += &format!(
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:{n}\r\na=ice-ufrag:JUmX\r\n\
             a=ice-pwd:SlZs9yOEDXOwjrDtTR+uOpHA\r\na=fingerprint:{}\r\na=setup:actpass\r\n",
            End::new(1).fingerprints[0]
        );
    });
    let (answer, _) = End::new(7).answer(&offer(text));
    let answer = answer.description();
    assert_eq!(answer.media.iter().filter(|section| !section.is_rejected()).count(), 1);
    assert_eq!(answer.media.len(), 1000);
}
