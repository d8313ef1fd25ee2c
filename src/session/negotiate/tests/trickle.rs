//! Candidates that come after their description (RFC 8838, RFC 8840).

use super::*;

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
