//! Sections of audio and video.

use super::*;
use crate::types::codec::{Codec, MediaType};
use crate::types::ids::{Rid, Ssrc};

fn with_media(seed: u8) -> End {
    let mut end = End::new(seed);
    end.negotiator = end.negotiator.with_media(MediaConfig::browser());
    end
}

fn sender(seed: u32, rids: &[&str]) -> Sender {
    let encoding = |(n, rid): (u32, Option<&str>)| Encoding {
        fec: None,
        rid: rid.and_then(Rid::new),
        ssrc: Ssrc(seed + 2 * n),
        rtx: Some(Ssrc(seed + 2 * n + 1)),
    };
    let rids: Vec<_> = if rids.is_empty() { vec![None] } else { rids.iter().copied().map(Some).collect() };
    let label = |text: String| Label::new(&text).unwrap();
    Sender {
        stream: label(format!("stream{seed}")),
        track: label(format!("track{seed}")),
        cname: label(format!("cname{seed}")),
        encodings: (0..).zip(rids).map(encoding).collect(),
    }
}

fn rids(names: &[&str]) -> Vec<Rid> {
    names.iter().filter_map(|name| Rid::new(name)).collect()
}

#[test]
fn recorded_offers_are_taken_whole() {
    for (name, text) in [RECORDED[1], RECORDED[4]] {
        let mut end = with_media(7);
        let (answer, applied) = end.answer(&offer(text));
        let answer = answer.description();
        assert_eq!(answer.groups, [Group::new("BUNDLE", "0 1 2")], "{name}");
        assert!(answer.media.iter().all(|section| !section.is_rejected()), "{name}");
        let [audio, video] = &applied.media[..] else { panic!("two sections") };
        assert_eq!((audio.kind, video.kind), (MediaType::Audio, MediaType::Video));
        assert_eq!((audio.direction, video.direction), (Direction::RecvOnly, Direction::RecvOnly));
        assert_eq!(audio.formats[0].codec, Codec::Opus);
        assert_eq!(video.formats[0].codec, Codec::Vp8);
        assert!(video.formats[0].rtx.is_some() && video.formats[0].feedback.pli);
        assert!(applied.data.is_some());
        // Nothing is sent, and so no track is named.
        assert!(
            answer.media.iter().all(|section| section.rtp.msids.is_empty() && section.rtp.ssrcs.is_empty())
        );
        // Candidates stand in the tagged section only; credentials in all.
        assert_eq!(answer.media.iter().map(|s| s.candidates.len()).collect::<Vec<_>>(), [1, 0, 0]);
        assert!(answer.media.iter().all(|section| section.transport.ice_pwd.is_some()));
    }
    let (_, applied) = with_media(7).answer(&offer(RECORDED[1].1));
    let remote = &applied.media[1].remote;
    assert_eq!(remote.ssrcs, [Ssrc(2161024796), Ssrc(678650787)]);
    assert_eq!(remote.retransmissions, [(Ssrc(2161024796), Ssrc(678650787))]);
    assert_eq!(remote.msids, [("-".to_owned(), Some("98c88ecf-4b03-4c14-a799-b93d3c8ef952".to_owned()))]);
    let id = |uri: &str| applied.media[1].extensions.iter().find(|e| e.uri.ends_with(uri)).map(|e| e.id);
    assert_eq!((id("sdes:mid"), id("toffset"), id("video-content-type")), (Some(4), Some(14), None));
}

#[test]
fn a_simulcast_is_received() {
    let mut end = with_media(7);
    let (answer, applied) = end.answer(&offer(RECORDED[2].1));
    let section = &answer.description().media[0];
    assert_eq!(applied.media[0].remote.rids, rids(&["q", "h", "f"]));
    let lines: Vec<_> = section.rtp.rids.iter().map(|rid| (rid.id, rid.direction)).collect();
    use crate::sdp::{RidDirection::Recv, Simulcast, SimulcastStreams};
    assert_eq!(lines, [("q", Recv), ("h", Recv), ("f", Recv)]);
    assert_eq!(section.rtp.simulcast, Some(Simulcast { send: None, recv: Some(SimulcastStreams("q;h;f")) }));
}

#[test]
fn two_ends_agree_on_media_in_both_directions() {
    let (mut a, mut b) = (with_media(1), with_media(2));
    let audio = a.negotiator.add_transceiver(MediaType::Audio, Direction::SendRecv, sender(10, &[]), vec![]);
    let video = a.negotiator.add_transceiver(MediaType::Video, Direction::SendOnly, sender(20, &[]), vec![]);
    b.negotiator.add_transceiver(MediaType::Audio, Direction::SendRecv, sender(30, &[]), vec![]);
    assert!(a.negotiator.needs_offer(false));
    let (at_a, at_b) = exchange(&mut a, &mut b);
    assert!(!a.negotiator.needs_offer(true) && !b.negotiator.needs_offer(true));

    let directions = |applied: &Applied| applied.media.iter().map(|m| m.direction).collect::<Vec<_>>();
    assert_eq!(directions(&at_a), [Direction::SendRecv, Direction::SendOnly]);
    assert_eq!(directions(&at_b), [Direction::SendRecv, Direction::RecvOnly]);
    assert_eq!([at_a.media[0].transceiver, at_a.media[1].transceiver], [audio, video]);
    // Nothing of audio is sent again, so it has no source for that.
    assert_eq!(at_b.media[0].remote.ssrcs, [Ssrc(10)]);
    assert_eq!(at_a.media[0].remote.ssrcs, [Ssrc(30)]);
    assert_eq!(at_b.media[1].remote.retransmissions, [(Ssrc(20), Ssrc(21))]);
    assert_eq!(at_b.media[1].remote.msids, [("stream20".to_owned(), Some("track20".to_owned()))]);
    for (x, y) in at_a.media.iter().zip(&at_b.media) {
        let shape = |media: &AgreedMedia| {
            media.formats.iter().map(|f| (f.codec, f.send, f.receive, f.rtx, f.feedback)).collect::<Vec<_>>()
        };
        assert_eq!(shape(x), shape(y));
        assert_eq!((&x.extensions, x.mid), (&y.extensions, y.mid));
    }
    // One number, one format, in the whole bundle.
    let mut numbers: Vec<_> = at_a.media.iter().flat_map(|m| m.formats.iter().map(|f| f.receive)).collect();
    let count = numbers.len();
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), count);
}

#[test]
fn a_direction_is_changed_by_another_exchange() {
    let (mut a, mut b) = (with_media(1), with_media(2));
    let video = a.negotiator.add_transceiver(MediaType::Video, Direction::SendOnly, sender(20, &[]), vec![]);
    let (_, at_b) = exchange(&mut a, &mut b);
    let formats = at_b.media[0].formats.clone();
    a.negotiator.set_direction(video, Direction::Inactive).unwrap();
    assert!(a.negotiator.needs_offer(true));
    let (_, at_b) = exchange(&mut a, &mut b);
    assert_eq!((at_b.media[0].direction, &at_b.media[0].formats), (Direction::Inactive, &formats));
    // The other side asks, and the first has changed its mind.
    b.negotiator.set_direction(at_b.media[0].transceiver, Direction::SendRecv).unwrap();
    a.negotiator.set_direction(video, Direction::SendRecv).unwrap();
    let (at_b, at_a) = exchange(&mut b, &mut a);
    assert_eq!(
        (at_a.media[0].direction, at_b.media[0].direction),
        (Direction::SendRecv, Direction::SendRecv)
    );
    assert_eq!(at_a.media[0].transceiver, video);
}

#[test]
fn a_stopped_section_leaves_its_place_to_another() {
    let (mut a, mut b) = (with_media(1), with_media(2));
    let first = a.negotiator.add_transceiver(MediaType::Audio, Direction::SendOnly, sender(10, &[]), vec![]);
    let (at_a, at_b) = exchange(&mut a, &mut b);
    assert_eq!((at_a.media.len(), at_b.media.len()), (1, 1));
    a.negotiator.stop_transceiver(first).unwrap();
    assert_eq!(a.negotiator.set_direction(first, Direction::SendOnly), Err(UnknownTransceiver));
    let (at_a, at_b) = exchange(&mut a, &mut b);
    assert_eq!((at_a.media.len(), at_b.media.len()), (0, 0));
    assert_eq!(b.negotiator.set_direction(TransceiverId(0), Direction::SendOnly), Err(UnknownTransceiver));
    // RFC 8829 §5.2.2: the place, not the name.
    a.negotiator.add_transceiver(MediaType::Video, Direction::SendOnly, sender(20, &[]), vec![]);
    let (at_a, _) = exchange(&mut a, &mut b);
    assert_eq!((at_a.media[0].section, at_a.media[0].mid), (0, Mid::new("2")));
    assert!(!a.negotiator.needs_offer(true));
    assert_eq!(a.negotiator.agreed.sections.len(), 2);
}

#[test]
fn the_peer_may_stop_a_section_too() {
    let (mut a, mut b) = (with_media(1), with_media(2));
    a.negotiator.add_transceiver(MediaType::Audio, Direction::SendOnly, sender(10, &[]), vec![]);
    let (_, at_b) = exchange(&mut a, &mut b);
    b.negotiator.stop_transceiver(at_b.media[0].transceiver).unwrap();
    // Even while answering.
    let (at_a, at_b) = exchange(&mut a, &mut b);
    assert_eq!((at_a.media.len(), at_b.media.len()), (0, 0));
    assert_eq!(a.negotiator.set_direction(TransceiverId(0), Direction::SendOnly), Err(UnknownTransceiver));
    assert!(at_a.data.is_some());
}

#[test]
fn layers_are_sent_that_the_peer_wants() {
    let (mut a, mut b) = (with_media(1), with_media(2));
    a.negotiator.add_transceiver(MediaType::Video, Direction::SendOnly, sender(20, &["q", "h", "f"]), vec![]);
    let offer = a.offer();
    let (answer, at_b) = b.answer(&offer);
    assert_eq!(at_b.media[0].remote.rids, rids(&["q", "h", "f"]));
    assert_eq!(at_b.media[0].remote.ssrcs, []);
    let less = edit(&answer, "a=rid:h recv\r\n", "");
    let less = edit(less, "recv q;h;f", "recv q;f");
    assert_eq!(a.clone().accept(&less.parse().unwrap()).media[0].send_rids, rids(&["q", "f"]));
    assert_eq!(a.accept(&answer).media[0].send_rids, rids(&["q", "h", "f"]));

    // And the other way: the offerer asks for layers, the answerer has some of them.
    let (mut a, mut b) = (with_media(1), with_media(2));
    a.negotiator.add_transceiver(MediaType::Video, Direction::RecvOnly, Sender::default(), rids(&["q", "h"]));
    b.negotiator.add_transceiver(MediaType::Video, Direction::SendOnly, sender(20, &["q", "h", "f"]), vec![]);
    let (at_a, at_b) = exchange(&mut a, &mut b);
    assert_eq!(at_b.media[0].send_rids, rids(&["q", "h"]));
    assert_eq!(at_a.media[0].remote.rids, rids(&["q", "h"]));
}

#[test]
fn sections_that_cannot_be_served_are_turned_down_alone() {
    let text = RECORDED[1].1;
    let turned_down = |text: String| {
        let (answer, applied) = with_media(7).answer(&offer(text));
        assert!(applied.data.is_some());
        answer.description().media.iter().map(|s| s.is_rejected()).collect::<Vec<_>>()
    };
    let mut parts = text.splitn(3, "a=rtcp-mux\r\n");
    let no_mux =
        format!("{}{}a=rtcp-mux\r\n{}", parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    assert_eq!(turned_down(no_mux), [true, false, false]);
    assert_eq!(
        turned_down(edit(text, "m=video 35933 UDP/TLS/RTP/SAVPF", "m=video 9 RTP/AVP")),
        [false, true, false]
    );
    assert_eq!(turned_down(edit(text, "a=group:BUNDLE 0 1 2", "a=group:BUNDLE 1 2")), [true, false, false]);
    let (_, applied) = with_media(7).answer(&offer(edit(text, "a=group:BUNDLE 0 1 2\r\n", "")));
    assert_eq!((applied.media.len(), applied.data), (1, None));
}

#[test]
fn what_comes_in_is_held_or_reflected_as_configured() {
    for (incoming, direction) in [
        (Incoming::Receive, Direction::RecvOnly),
        (Incoming::SendAndReceive, Direction::SendRecv),
        (Incoming::Hold, Direction::Inactive),
    ] {
        let mut end = End::new(7);
        let config = MediaConfig { incoming, ..MediaConfig::browser() };
        end.negotiator = end.negotiator.with_media(config);
        let (_, applied) = end.answer(&offer(RECORDED[1].1));
        assert_eq!(applied.media[0].direction, direction);
        // RFC 3264 §6.1: what the offer does not receive is not sent.
        let mut end = with_media(8);
        end.negotiator = end.negotiator.with_media(MediaConfig { incoming, ..MediaConfig::browser() });
        let text = edit(RECORDED[1].1, "a=sendrecv", "a=recvonly");
        let (_, applied) = end.answer(&offer(text));
        assert_eq!(applied.media[0].direction, direction.and(Direction::SendOnly));
    }
}

#[test]
fn an_answer_without_an_offered_format_changes_nothing() {
    let (mut a, mut b) = (with_media(1), with_media(2));
    a.negotiator.add_transceiver(MediaType::Video, Direction::SendOnly, sender(20, &[]), vec![]);
    let (answer, _) = b.answer(&a.offer());
    let odd = ["VP8", "VP9", "AV1", "H264", "H265"]
        .iter()
        .fold(answer.to_string(), |text, name| edit(text, &format!(" {name}/90000"), " theora/90000"));
    let before = format!("{:?}", a.negotiator);
    let error = a.negotiator.accept_answer(&odd.parse().unwrap()).unwrap_err();
    assert_eq!(error, NegotiationError::NoCommonFormat { section: 0 });
    assert_eq!(format!("{:?}", a.negotiator), before);
    assert_eq!(a.accept(&answer).media.len(), 1);
}

#[test]
fn after_glare_waiting_transceivers_meet_the_offer_that_won() {
    let (mut polite, mut impolite) = (with_media(1), with_media(2));
    for end in [&mut polite, &mut impolite] {
        end.negotiator.add_transceiver(MediaType::Video, Direction::SendRecv, sender(20, &[]), vec![]);
    }
    polite.offer();
    let wins = impolite.offer();
    polite.negotiator.rollback().unwrap();
    let (answer, applied) = polite.answer(&wins);
    assert_eq!(applied.media[0].direction, Direction::SendRecv);
    assert_eq!(applied.media[0].transceiver, TransceiverId(0));
    impolite.accept(&answer);
    assert!(!polite.negotiator.needs_offer(true) && !impolite.negotiator.needs_offer(true));
}

#[test]
fn our_own_offer_is_answered_by_our_own_rules_many_times_over() {
    let (mut a, mut b) = (with_media(1), with_media(2));
    for round in 0..12u32 {
        let (x, y) = if round % 2 == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
        let kind = if round % 3 == 0 { MediaType::Audio } else { MediaType::Video };
        x.negotiator.add_transceiver(kind, Direction::SendOnly, sender(100 * round, &[]), vec![]);
        let (at_x, at_y) = exchange(x, y);
        assert_eq!(at_x.media.len(), round as usize + 1);
        let direction = |media: &AgreedMedia| media.direction;
        let there: Vec<_> = at_x.media.iter().map(direction).collect();
        let here: Vec<_> = at_y.media.iter().map(|media| media.direction.reversed()).collect();
        assert_eq!(there, here);
        let formats =
            |applied: &Applied| applied.media.iter().map(|m| m.formats[0].receive).collect::<Vec<_>>();
        assert_eq!(formats(&at_x), formats(&at_y));
    }
}

/// R65: whatever the application gives, the description can be read.
#[test]
fn odd_values_of_the_application_are_left_out() {
    let mut a = End::new(1);
    let mut config = MediaConfig::browser();
    config
        .video
        .insert(0, Capability { parameters: "a=1\r\na=mid:9".into(), ..Capability::video(Codec::Vp8, "") });
    config.video_extensions.push("urn:x y".into());
    a.negotiator = a.negotiator.with_media(config);
    let many: Vec<String> = (0..200).map(|n| format!("r{n}")).chain(["a;b".into(), "~c".into()]).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    a.negotiator.add_transceiver(MediaType::Video, Direction::SendRecv, sender(1, &many), rids(&many));
    a.negotiator.clone().create_offer(&a.facts(), OfferOptions::default()).unwrap();
    for _ in 0..2000 {
        a.negotiator.add_transceiver(MediaType::Audio, Direction::RecvOnly, Sender::default(), vec![]);
    }
    let error = a.negotiator.clone().create_offer(&a.facts(), OfferOptions::default()).unwrap_err();
    assert!(matches!(error, NegotiationError::TooLarge(_)));
    assert!(Label::new("a b").is_none() && Label::new("").is_none() && Label::new(&"x".repeat(65)).is_none());
}

/// An offer of a thousand videos in one bundle, each with `formats` formats.
fn thousand(formats: u8) -> String {
    let names: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    let mut text = format!(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\na=ice-ufrag:JUmX\r\n\
         a=ice-pwd:SlZs9yOEDXOwjrDtTR+uOpHA\r\na=setup:actpass\r\na=fingerprint:{}\r\n",
        names.join(" "),
        End::new(1).fingerprints[0],
    );
    let pts: Vec<String> = (96..96 + formats).map(|pt| pt.to_string()).collect();
    let maps: String = pts.iter().map(|pt| format!("a=rtpmap:{pt} VP8/90000\r\n")).collect();
    for name in names {
        let pts = pts.join(" ");
        text += &format!("m=video 9 UDP/TLS/RTP/SAVPF {pts}\r\na=mid:{name}\r\na=rtcp-mux\r\n{maps}");
        text += "a=rtcp-fb:* nack\r\na=extmap:1 urn:ietf:params:rtp-hdrext:toffset\r\n";
    }
    text
}

/// R62: no quadratic work in sections.
#[test]
fn a_thousand_videos_are_answered() {
    let (_, applied) = with_media(7).answer(&offer(thousand(1)));
    assert_eq!(applied.media.len(), 1000);
}

/// R63: an offer whose answer would be too large is refused, and nothing is kept of it.
#[test]
fn an_offer_whose_answer_would_be_too_large_is_refused() {
    let mut end = with_media(7);
    let before = format!("{:?}", end.negotiator);
    let error = end.try_answer(&offer(thousand(6))).unwrap_err();
    assert!(matches!(error, NegotiationError::TooLarge(_)), "{error}");
    assert_eq!(format!("{:?}", end.negotiator), before);
}
