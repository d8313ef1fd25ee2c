//! Key agreement: shares, and shares that are refused (RFC 7748, RFC 8422 §5, FIPS 203).

use super::*;

#[test]
fn both_sides_share_one_secret_whatever_their_back_ends() {
    for group in NamedGroup::ALL {
        let pairs =
            backends().into_iter().flat_map(|one| backends().into_iter().map(move |other| (one, other)));
        for (one, other) in pairs {
            let client = one.key_exchange(group, &mut rng()).unwrap();
            let (share, secret) = other.encapsulate(group, client.public(), &mut rng()).unwrap();
            assert_eq!(client.agree(&share).unwrap(), secret, "{one:?} {other:?} {group:?}");
            assert_ne!(secret.as_bytes(), vec![0; secret.as_bytes().len()]);
        }
    }
}

#[test]
fn shares_and_secrets_have_their_lengths() {
    for backend in backends() {
        for (group, client_len, server_len, secret_len) in [
            (NamedGroup::X25519, 32, 32, 32),
            (NamedGroup::Secp256r1, 65, 65, 32),
            (NamedGroup::Secp384r1, 97, 97, 48),
            (NamedGroup::X25519MlKem768, 1216, 1120, 64),
        ] {
            let client = backend.key_exchange(group, &mut rng()).unwrap();
            let (share, secret) = backend.encapsulate(group, client.public(), &mut rng()).unwrap();
            let lens = (client.public().len(), share.len(), secret.as_bytes().len());
            assert_eq!(lens, (client_len, server_len, secret_len));
        }
    }
}

#[test]
fn the_same_seed_makes_the_same_shares_in_the_seeded_back_end() {
    for group in NamedGroup::ALL {
        let client = || rust().key_exchange(group, &mut rng()).unwrap().public().to_vec();
        assert_eq!(client(), client());
        let server = || rust().encapsulate(group, &client(), &mut Rng::new([8; 32], Stream::Dtls)).unwrap();
        assert_eq!(server(), server());
        assert_ne!(server().0, client());
    }
}

/// Expects both roles of every back end to refuse `share`.
fn refused(group: NamedGroup, share: &[u8]) {
    for backend in backends() {
        let own = backend.key_exchange(group, &mut rng()).unwrap();
        assert_eq!(
            own.agree(share).err(),
            Some(CryptoError::BadKeyShare),
            "{backend:?} {group:?} {share:02x?}"
        );
        let answer = backend.encapsulate(group, share, &mut rng());
        assert_eq!(answer.err(), Some(CryptoError::BadKeyShare), "{backend:?} {group:?} {share:02x?}");
    }
}

#[test]
fn shares_of_another_length_are_refused() {
    for group in NamedGroup::ALL {
        let share = rust().key_exchange(group, &mut rng()).unwrap().public().to_vec();
        for cut in [0, 1, share.len() / 2, share.len() - 1] {
            refused(group, &share[..cut]);
        }
        refused(group, &[&share[..], &[0]].concat());
    }
}

/// RFC 7748 §6.1, RFC 8446 §7.4.2: the points of small order, in canonical form and with the unused bit set.
#[test]
fn x25519_shares_that_give_the_zero_secret_are_refused() {
    for point in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        let mut point = hex(point);
        refused(NamedGroup::X25519, &point);
        point[31] |= 0x80;
        refused(NamedGroup::X25519, &point);

        // The same in the second half of a hybrid share, where the first half is sound.
        for backend in backends() {
            let client = backend.key_exchange(NamedGroup::X25519MlKem768, &mut rng()).unwrap();
            let (server, _) =
                backend.encapsulate(NamedGroup::X25519MlKem768, client.public(), &mut rng()).unwrap();
            let forged = [&server[..1088], &point].concat();
            let share = [&client.public()[..1184], &point].concat();
            assert_eq!(client.agree(&forged).err(), Some(CryptoError::BadKeyShare));
            let answer = backend.encapsulate(NamedGroup::X25519MlKem768, &share, &mut rng());
            assert_eq!(answer.err(), Some(CryptoError::BadKeyShare));
        }
    }
}

/// RFC 8446 §4.2.8.2, RFC 8422 §5.4.1.
#[test]
fn points_that_are_not_on_the_curve_or_not_uncompressed_are_refused() {
    for (group, field) in [(NamedGroup::Secp256r1, 32), (NamedGroup::Secp384r1, 48)] {
        let good = rust().key_exchange(group, &mut rng()).unwrap().public().to_vec();
        let with = |f: &dyn Fn(&mut Vec<u8>)| {
            let mut share = good.clone();
            f(&mut share);
            share
        };
        refused(group, &[0]); // the point at infinity
        refused(group, &with(&|s| s.fill(0)));
        refused(group, &with(&|s| s[1..].fill(0)));
        refused(group, &with(&|s| s[1..].fill(0xff))); // not reduced
        refused(group, &with(&|s| s[2 * field] ^= 1)); // off the curve
        for form in [0, 1, 2, 3, 5, 6, 7, 0xff] {
            refused(group, &with(&|s| s[0] = form));
        }
        let compressed = [&[2 | good[2 * field] & 1], &good[1..=field]].concat();
        refused(group, &compressed);
    }
}

/// FIPS 203 §7.2: a coefficient that is not below q = 3329.
#[test]
fn ml_kem_keys_that_are_not_reduced_are_refused() {
    for backend in backends() {
        let client = backend.key_exchange(NamedGroup::X25519MlKem768, &mut rng()).unwrap();
        let mut share = client.public().to_vec();
        share[..2].fill(0xff);
        let answer = backend.encapsulate(NamedGroup::X25519MlKem768, &share, &mut rng());
        assert_eq!(answer.err(), Some(CryptoError::BadKeyShare));
    }
}

/// FIPS 203 §6.3.
#[test]
fn a_forged_ml_kem_ciphertext_gives_another_secret() {
    for backend in backends() {
        let client = backend.key_exchange(NamedGroup::X25519MlKem768, &mut rng()).unwrap();
        let (mut share, secret) =
            backend.encapsulate(NamedGroup::X25519MlKem768, client.public(), &mut rng()).unwrap();
        share[7] ^= 1;
        let other = client.agree(&share).unwrap();
        assert_ne!(other.as_bytes()[..32], secret.as_bytes()[..32]);
        assert_eq!(other.as_bytes()[32..], secret.as_bytes()[32..]);
    }
}
