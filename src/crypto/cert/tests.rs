//! Identities and certificates, over both back ends.

use super::*;
use crate::crypto::tests::{backends, hex, rng};
use crate::crypto::{ring, rust};

#[test]
fn the_same_seed_makes_the_same_certificate_under_every_back_end() {
    let make = |backend| Identity::generate(backend, &mut rng()).unwrap();
    assert_eq!(make(ring()).certificate_der(), make(rust()).certificate_der());
    let mut other = rng();
    other.u32();
    assert_ne!(
        Identity::generate(rust(), &mut other).unwrap().certificate_der(),
        make(rust()).certificate_der()
    );
}

#[test]
fn an_identity_survives_pem_and_its_signatures_verify() {
    for backend in backends() {
        let made = Identity::generate(backend, &mut rng()).unwrap();
        let read = Identity::from_pem(backend, &made.certificate_pem(), &made.private_key_pem()).unwrap();
        assert_eq!(read.certificate_der(), made.certificate_der());
        let key = public_key(made.certificate_der()).unwrap();
        let scheme = read.schemes()[0];
        let signature = read.sign(scheme, b"message", &mut rng()).unwrap();
        assert_eq!(backend.verify(scheme, &key, b"message", &signature), Ok(()));
        assert!(backend.verify(scheme, &key, b"messagf", &signature).is_err());
    }
}

#[test]
fn cut_certificates_are_refused() {
    let identity = Identity::generate(rust(), &mut rng()).unwrap();
    let der = identity.certificate_der();
    for len in 0..der.len() {
        assert!(public_key(&der[..len]).is_err(), "{len}");
    }
    assert!(public_key(&[der, &[0]].concat()).is_err());
    assert!(hex("30").len() == 1);
}
