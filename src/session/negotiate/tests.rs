mod init;
mod media;

use super::*;
use crate::rng::Stream;

use crate::types::candidate::Candidate;
use crate::types::fingerprint::FingerprintHash;

const RECORDED: [(&str, &str); 6] = [
    ("chromium-data", include_str!("../../../tests/data/sdp/chromium-data.sdp")),
    ("chromium-audio-video-data", include_str!("../../../tests/data/sdp/chromium-audio-video-data.sdp")),
    ("chromium-simulcast", include_str!("../../../tests/data/sdp/chromium-simulcast.sdp")),
    ("firefox-data", include_str!("../../../tests/data/sdp/firefox-data.sdp")),
    ("firefox-audio-video-data", include_str!("../../../tests/data/sdp/firefox-audio-video-data.sdp")),
    ("pion-data", include_str!("../../../tests/data/sdp/pion-data.sdp")),
];

/// One end, with what its session would know.
#[derive(Clone)]
struct End {
    negotiator: Negotiator,
    seed: u8,
    credentials: Credentials,
    fingerprints: Vec<Fingerprint>,
    candidates: Vec<Candidate>,
    ice_lite: bool,
    preferred_role: DtlsRole,
    sctp_init: Option<Vec<u8>>,
    sped: bool,
}

impl End {
    fn new(seed: u8) -> Self {
        let mut rng = Rng::new([seed; 32], Stream::Session);
        End {
            negotiator: Negotiator::new(&mut rng),
            seed,
            credentials: Credentials::generate(&mut rng),
            fingerprints: vec![Fingerprint::new(FingerprintHash::Sha256, &[seed; 32]).unwrap()],
            candidates: vec![Candidate::host(([192, 0, 2, seed], 4000).into()).unwrap()],
            ice_lite: false,
            preferred_role: DtlsRole::Client,
            sctp_init: None,
            sped: false,
        }
    }

    fn facts(&self) -> TransportFacts<'_> {
        TransportFacts {
            credentials: &self.credentials,
            fingerprints: &self.fingerprints,
            candidates: &self.candidates,
            end_of_candidates: false,
            ice_lite: self.ice_lite,
            max_message_size: 262_144,
            sctp_init: self.sctp_init.as_deref(),
            preferred_role: self.preferred_role,
            sped: self.sped,
        }
    }

    fn restart(&mut self) {
        self.seed += 16;
        self.credentials = Credentials::generate(&mut Rng::new([self.seed; 32], Stream::Ice));
    }

    fn offer(&mut self) -> Offer {
        let mut negotiator = self.negotiator.clone();
        let offer = negotiator.create_offer(&self.facts(), OfferOptions { data: true }).unwrap();
        self.negotiator = negotiator;
        offer
    }

    fn try_answer(&mut self, offer: &Offer) -> Result<(Answer, Applied), NegotiationError> {
        let mut negotiator = self.negotiator.clone();
        let result = negotiator.accept_offer(offer, &self.facts());
        self.negotiator = negotiator;
        result
    }

    fn answer(&mut self, offer: &Offer) -> (Answer, Applied) {
        self.try_answer(offer).unwrap()
    }

    fn accept(&mut self, answer: &Answer) -> Applied {
        self.negotiator.accept_answer(answer).unwrap()
    }
}

/// An exchange, and what it gave the offerer and the answerer.
fn exchange(offerer: &mut End, answerer: &mut End) -> (Applied, Applied) {
    let offer = offerer.offer();
    let (answer, at_answerer) = answerer.answer(&offer);
    (offerer.accept(&answer), at_answerer)
}

fn connected() -> (End, End) {
    let (mut a, mut b) = (End::new(1), End::new(2));
    exchange(&mut a, &mut b);
    (a, b)
}

fn edit(text: impl ToString, from: &str, to: &str) -> String {
    let text = text.to_string();
    assert!(text.contains(from), "{from} is not in {text}");
    text.replace(from, to)
}

fn offer(text: impl AsRef<str>) -> Offer {
    text.as_ref().parse().unwrap()
}

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
fn candidates_of_no_use_are_left_out_of_a_description() {
    let mut end = End::new(7);
    // pion repeats each candidate for component 2.
    let (_, applied) = end.answer(&offer(RECORDED[5].1));
    assert_eq!(applied.transport.unwrap().candidates.len(), 2);

    let text = edit(RECORDED[0].1, "a=ice-ufrag", "a=candidate:what is this\r\na=ice-ufrag");
    let (_, applied) = End::new(8).answer(&offer(text));
    assert_eq!(applied.transport.unwrap().candidates.len(), 4);
}

#[test]
fn sizes_and_ports_have_the_defaults_of_the_rfc() {
    let text = RECORDED[0].1;
    let data = |text: String| End::new(7).answer(&offer(text)).1.data.unwrap();
    assert_eq!(data(edit(text, "a=max-message-size:262144\r\n", "")).max_message_size, 65_536);
    assert_eq!(data(edit(text, "262144", "0")).max_message_size, u64::MAX);
    assert_eq!(data(edit(text, "262144", "99999999999999999999")).max_message_size, u64::MAX);
    assert_eq!(data(edit(text, "a=sctp-port:5000\r\n", "")).port, 5000);
    assert_eq!(data(edit(text, "a=sctp-port:5000", "a=sctp-port:6000")).port, 6000);
}

#[test]
fn the_form_of_the_drafts_is_answered_in_its_own() {
    let text = edit(RECORDED[0].1, "UDP/DTLS/SCTP webrtc-datachannel", "DTLS/SCTP 5001");
    let text = edit(text, "a=sctp-port:5000", "a=sctpmap:5001 webrtc-datachannel 1024");
    let mut end = End::new(7);
    let (answer, applied) = end.answer(&offer(text));
    assert_eq!(applied.data.unwrap().port, 5001);
    let section = &answer.description().media[0];
    assert_eq!((section.protocol, section.formats), ("DTLS/SCTP", "5000"));
    assert_eq!(section.sctp.map, Some("5000 webrtc-datachannel 1024"));
    assert_eq!(section.sctp.port, None);
}

#[test]
fn dtls_in_checks_is_agreed_upon_once() {
    // draft-hancke-webrtc-sped, "SDP Offer/Answer Procedures".
    for sides in [[true, true], [true, false], [false, true]] {
        let [mut a, mut b] = [1, 2].map(|seed| End { sped: sides[usize::from(seed) - 1], ..End::new(seed) });
        let agreed = sides == [true, true];
        for _ in 0..2 {
            let offer = a.offer();
            let says = |text: String| {
                text.lines().any(|line| line == "a=ice-options:trickle ice2 renomination sped")
            };
            let (answer, applied) = b.answer(&offer);
            assert_eq!(applied.transport.unwrap().sped, agreed);
            assert_eq!(says(answer.to_string()), agreed);
            assert_eq!(a.accept(&answer).transport.unwrap().sped, agreed);
            // From now on it is the same, whatever each side would like.
            a.sped = !a.sped;
            b.sped = !b.sped;
            assert_eq!(says(a.offer().to_string()), agreed);
            a.negotiator.rollback().unwrap();
        }
    }
}

#[test]
fn roles_follow_the_offer() {
    let role = |setup: &str| {
        let text = edit(RECORDED[0].1, "a=setup:actpass\r\n", setup);
        let (answer, applied) = End::new(7).try_answer(&offer(text))?;
        Ok((answer.description().media[0].transport.setup.unwrap(), applied.transport.unwrap().dtls_role))
    };
    assert_eq!(role("a=setup:actpass\r\n"), Ok((Setup::Active, DtlsRole::Client)));
    assert_eq!(role("a=setup:active\r\n"), Ok((Setup::Passive, DtlsRole::Server)));
    assert_eq!(role("a=setup:passive\r\n"), Ok((Setup::Active, DtlsRole::Client)));
    // RFC 4145 §4: missing is active.
    assert_eq!(role(""), Ok((Setup::Passive, DtlsRole::Server)));
    assert!(matches!(role("a=setup:holdconn\r\n"), Err(NegotiationError::Setup { section: 0, .. })));

    let mut end = End::new(7);
    end.preferred_role = DtlsRole::Server;
    let (answer, _) = end.answer(&offer(RECORDED[0].1));
    assert_eq!(answer.description().media[0].transport.setup, Some(Setup::Passive));
}

#[test]
fn roles_follow_the_answer() {
    let role = |setup: &str| {
        let (mut a, mut b) = (End::new(1), End::new(2));
        let (answer, _) = b.answer(&a.offer());
        let text = edit(answer, "a=setup:active\r\n", setup);
        a.negotiator.accept_answer(&text.parse().unwrap()).map(|applied| applied.transport.unwrap().dtls_role)
    };
    assert_eq!(role("a=setup:active\r\n"), Ok(DtlsRole::Server));
    assert_eq!(role("a=setup:passive\r\n"), Ok(DtlsRole::Client));
    assert_eq!(role(""), Ok(DtlsRole::Client));
    assert!(role("a=setup:actpass\r\n").is_err());
}

#[test]
fn a_full_agent_leads_a_lite_one() {
    let (mut a, mut b) = (End::new(1), End::new(2));
    a.ice_lite = true;
    let (at_a, at_b) = exchange(&mut a, &mut b);
    let (at_a, at_b) = (at_a.transport.unwrap(), at_b.transport.unwrap());
    assert_eq!((at_a.ice_role, at_b.ice_role), (IceRole::Controlled, IceRole::Controlling));
    assert!(at_b.ice_lite && !at_a.ice_lite);
}

#[test]
fn attributes_of_the_session_count_for_sections_without_their_own() {
    let text = RECORDED[0].1;
    let fingerprint = text.lines().find(|line| line.starts_with("a=fingerprint")).unwrap();
    let lines = format!(
        "{fingerprint}\r\na=setup:passive\r\na=ice-ufrag:JUmX\r\na=ice-pwd:SlZs9yOEDXOwjrDtTR+uOpHA\r\n"
    );
    let text = edit(text, &format!("{fingerprint}\r\na=setup:actpass\r\n"), "");
    let text = edit(text, "a=ice-ufrag:JUmX\r\na=ice-pwd:SlZs9yOEDXOwjrDtTR+uOpHA\r\n", "");
    let bare = offer(&text);
    assert_eq!(
        End::new(7).try_answer(&bare).unwrap_err(),
        NegotiationError::MissingCredentials { section: 0 }
    );
    let (_, applied) =
        End::new(7).answer(&offer(edit(text, "m=application", &format!("{lines}m=application"))));
    let transport = applied.transport.unwrap();
    assert_eq!(transport.credentials.ufrag, "JUmX");
    assert_eq!(transport.dtls_role, DtlsRole::Client);
}

#[test]
fn a_fingerprint_is_needed() {
    let text = RECORDED[0].1;
    let fingerprint = text.lines().find(|line| line.starts_with("a=fingerprint")).unwrap();
    for other in ["a=x", "a=fingerprint:sha-1 00:11"] {
        let error = End::new(7).try_answer(&offer(edit(text, fingerprint, other))).unwrap_err();
        assert_eq!(error, NegotiationError::MissingFingerprint { section: 0 });
        assert!(error.to_string().contains("a=fingerprint"));
    }
}

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
        let before: Vec<u64> = [&*x, &*y].map(|end| end.negotiator.version).to_vec();
        let (at_x, at_y) = exchange(x, y);
        assert!(!at_x.ice_restart && !at_y.ice_restart);
        let (x_is_a, at_x, at_y) = (round % 2 == 1, at_x.transport.unwrap(), at_y.transport.unwrap());
        let (at_a, at_b) = if x_is_a { (at_x, at_y) } else { (at_y, at_x) };
        // RFC 8842 §5.5, RFC 8445 §6.1.1: roles stay what they were first, whoever offers.
        assert_eq!((at_a.dtls_role, at_b.dtls_role), (DtlsRole::Server, DtlsRole::Client));
        assert_eq!((at_a.ice_role, at_b.ice_role), (IceRole::Controlling, IceRole::Controlled));
        assert_eq!([&*x, &*y].map(|end| end.negotiator.version).to_vec(), [before[0] + 1, before[1] + 1]);
    }
}

#[test]
fn the_offerer_restarts_ice_with_fresh_credentials() {
    let (mut a, mut b) = connected();
    a.restart();
    let offer = a.offer();
    assert!(b.negotiator.restarts_ice(&offer));
    assert_eq!(b.try_answer(&offer).unwrap_err(), NegotiationError::CredentialsNotFresh);
    b.restart();
    let (answer, at_b) = b.answer(&offer);
    let at_a = a.accept(&answer);
    assert!(at_a.ice_restart && at_b.ice_restart);
    assert_eq!(at_b.transport.unwrap().credentials, a.credentials);
    assert_eq!(at_a.transport.unwrap().credentials, b.credentials);
    // And from the other side, after which all is as usual.
    b.restart();
    let offer = b.offer();
    a.restart();
    let (answer, at_a) = a.answer(&offer);
    assert!(at_a.ice_restart && b.accept(&answer).ice_restart);
    let (at_a, at_b) = exchange(&mut a, &mut b);
    assert!(!at_a.ice_restart && !at_b.ice_restart);
}

#[test]
fn only_an_offer_restarts_ice() {
    let (mut a, mut b) = connected();
    let offer = a.offer();
    assert!(!b.negotiator.restarts_ice(&offer));
    b.restart();
    assert_eq!(b.try_answer(&offer).unwrap_err(), NegotiationError::RestartInAnswer);

    let (mut a, mut b) = connected();
    let (answer, _) = b.answer(&a.offer());
    let forged = edit(answer, &b.credentials.ufrag, "otherUfrag");
    assert_eq!(
        a.negotiator.accept_answer(&forged.parse().unwrap()).unwrap_err(),
        NegotiationError::RestartInAnswer
    );
}

#[test]
fn a_restart_that_is_rolled_back_leaves_the_old_credentials() {
    let (mut a, mut b) = connected();
    let old = a.credentials.clone();
    a.restart();
    a.offer();
    a.negotiator.rollback().unwrap();
    a.credentials = old;
    let (at_a, at_b) = exchange(&mut b, &mut a);
    assert!(!at_a.ice_restart && !at_b.ice_restart);
}

#[test]
fn another_certificate_is_refused() {
    let (mut a, mut b) = connected();
    a.fingerprints = End::new(9).fingerprints;
    assert_eq!(b.try_answer(&a.offer()).unwrap_err(), NegotiationError::FingerprintChanged);
}

#[test]
fn established_roles_cannot_be_turned_around() {
    let (mut a, mut b) = connected();
    // b is the client: an offer that says active contradicts that.
    let text = edit(a.offer(), "a=setup:actpass", "a=setup:active");
    assert!(matches!(b.try_answer(&offer(&text)).unwrap_err(), NegotiationError::Setup { section: 0, .. }));
    let text = edit(text, "a=setup:active", "a=setup:passive");
    b.answer(&offer(text));
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
fn trickled_candidates_are_sorted_by_use() {
    let (a, b) = connected();
    let line = a.candidates[0].to_string();
    let take = |candidate: RemoteCandidate<'_>| b.negotiator.remote_candidate(candidate);
    let plain = RemoteCandidate { candidate: &line, mid: Some("0"), ..RemoteCandidate::default() };
    let taken = Ok(Trickled::Candidate(line.parse().unwrap()));
    assert_eq!(take(plain), taken);
    assert_eq!(take(RemoteCandidate { mid: None, m_line_index: Some(0), ..plain }), taken);
    assert_eq!(take(RemoteCandidate { mid: Some(""), ..plain }), taken);
    assert_eq!(take(RemoteCandidate { candidate: &format!("a={line}"), ..plain }), taken);
    let ufrag = a.credentials.ufrag.as_str();
    assert_eq!(take(RemoteCandidate { username_fragment: Some(ufrag), ..plain }), taken);

    for end in ["", "candidate:", "end-of-candidates", "a=end-of-candidates"] {
        assert_eq!(take(RemoteCandidate { candidate: end, ..plain }), Ok(Trickled::EndOfCandidates));
    }
    let ignored = |why| Ok(Trickled::Ignored(why));
    let old = RemoteCandidate { username_fragment: Some("old"), ..plain };
    assert_eq!(take(old), ignored(Ignored::OtherGeneration));
    let old = format!("{line} ufrag old network-id 1");
    assert_eq!(take(RemoteCandidate { candidate: &old, ..plain }), ignored(Ignored::OtherGeneration));
    let rtcp = line.replacen(" 1 udp", " 2 udp", 1);
    assert_eq!(take(RemoteCandidate { candidate: &rtcp, ..plain }), ignored(Ignored::OtherComponent));
    let new = line.replacen(" udp ", " quic ", 1);
    assert_eq!(take(RemoteCandidate { candidate: &new, ..plain }), ignored(Ignored::UnknownKind));

    assert_eq!(take(RemoteCandidate { mid: Some("9"), ..plain }), Err(TrickleError::UnknownSection));
    assert_eq!(
        take(RemoteCandidate { mid: None, m_line_index: Some(7), ..plain }),
        Err(TrickleError::UnknownSection)
    );
    assert!(matches!(take(RemoteCandidate { candidate: "what", ..plain }), Err(TrickleError::Malformed(_))));
    assert_eq!(End::new(9).negotiator.remote_candidate(plain), Err(TrickleError::NoRemoteDescription));
}

#[test]
fn candidates_of_sections_without_a_transport_of_their_own_are_ignored() {
    let mut end = End::new(7);
    end.answer(&offer(RECORDED[1].1));
    let line = End::new(1).candidates[0].to_string();
    let of = |mid| {
        end.negotiator.remote_candidate(RemoteCandidate {
            candidate: &line,
            mid: Some(mid),
            ..Default::default()
        })
    };
    assert_eq!(of("0"), Ok(Trickled::Ignored(Ignored::OtherSection)));
    assert!(matches!(of("2"), Ok(Trickled::Candidate(_))));
}

#[test]
fn an_old_generation_ends_with_a_restart() {
    let (mut a, mut b) = connected();
    let (line, old) = (a.candidates[0].to_string(), a.credentials.ufrag.clone());
    a.restart();
    let offer = a.offer();
    b.restart();
    b.answer(&offer);
    let of = |ufrag| {
        let candidate =
            RemoteCandidate { candidate: &line, username_fragment: Some(ufrag), ..Default::default() };
        b.negotiator.remote_candidate(candidate).unwrap()
    };
    assert_eq!(of(&old), Trickled::Ignored(Ignored::OtherGeneration));
    assert!(matches!(of(&a.credentials.ufrag), Trickled::Candidate(_)));
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
