//! What is said of the transport and of SCTP, and the roles that follow (RFC 8842, RFC 8839, RFC 8841).

use super::*;

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
