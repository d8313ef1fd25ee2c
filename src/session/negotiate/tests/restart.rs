//! ICE restarts (RFC 8839 §4.4.1.1.1).

use super::*;

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
