//! ClientHello, ServerHello (RFC 5246 §7.4.1, RFC 6347 §4.2.1, RFC 8446 §4.1), which in 1.3 is HelloRetryRequest too,
//! and HelloVerifyRequest.

use super::Codes;
use super::extension::{Answer, ClientExtensions, ServerExtensions};
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// The random value of a hello.
pub type Random = [u8; 32];

/// The random value that makes a ServerHello a HelloRetryRequest: SHA-256 of that word (RFC 8446 §4.1.3).
pub const RETRY_RANDOM: Random = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// How the random value of a server ends that could speak 1.3 and was asked for 1.2 (RFC 8446 §4.1.3).
pub const DOWNGRADE_TO_12: [u8; 8] = *b"DOWNGRD\x01";

/// The same for what is older than 1.2.
pub const DOWNGRADE_TO_OLDER: [u8; 8] = *b"DOWNGRD\x00";

/// The client's first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// The highest version up to 1.2 that the client speaks, as on the wire.
    pub version: u16,
    /// Fresh for every handshake.
    pub random: Random,
    /// Empty, since no session is resumed.
    pub session_id: &'a [u8],
    /// What a HelloVerifyRequest gave (RFC 6347 §4.2.1).
    pub cookie: &'a [u8],
    /// Cipher suites by preference, signalling values included.
    pub cipher_suites: Codes<'a>,
    /// The extensions.
    pub extensions: ClientExtensions<'a>,
}

impl<'a> ClientHello<'a> {
    /// Reads the body of a ClientHello.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body, "ClientHello");
        let version = r.u16()?;
        let random = r.array()?;
        let session_id = session_id(&mut r)?;
        let cookie = r.sub_u8()?.rest();
        let cipher_suites = Codes::parse(r.sub_u16()?)?;
        // RFC 5246 §7.4.1.2: the null method is always on the list.
        if !r.sub_u8()?.rest().contains(&0) {
            return Err(r.malformed());
        }
        let extensions = ClientExtensions::parse(r)?;
        Ok(ClientHello { version, random, session_id, cookie, cipher_suites, extensions })
    }

    /// Writes the body.
    pub fn emit(&self, w: &mut Writer<'_>) {
        w.u16(self.version);
        w.slice(&self.random);
        w.nested_u8(|w| w.slice(self.session_id));
        w.nested_u8(|w| w.slice(self.cookie));
        w.nested_u16(|w| self.cipher_suites.emit(w));
        w.nested_u8(|w| w.u8(0));
        self.extensions.emit(w);
    }
}

/// The server's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerHello<'a> {
    /// The version chosen, as on the wire.
    pub version: u16,
    /// Fresh for every handshake.
    pub random: Random,
    /// Not used: sessions are never resumed.
    pub session_id: &'a [u8],
    /// The suite chosen.
    pub cipher_suite: u16,
    /// The extensions.
    pub extensions: ServerExtensions<'a>,
}

impl<'a> ServerHello<'a> {
    /// Reads the body of a ServerHello.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body, "ServerHello");
        let version = r.u16()?;
        let random = r.array()?;
        let session_id = session_id(&mut r)?;
        let cipher_suite = r.u16()?;
        if r.u8()? != 0 {
            return Err(r.malformed());
        }
        let answer = if random == RETRY_RANDOM { Answer::Retry } else { Answer::Hello };
        let extensions = ServerExtensions::parse(r, answer)?;
        Ok(ServerHello { version, random, session_id, cipher_suite, extensions })
    }

    /// Whether it asks for another hello.
    pub fn is_retry(&self) -> bool {
        self.random == RETRY_RANDOM
    }

    /// Whether the random value tells that the server would have spoken a newer version (RFC 8446 §4.1.3).
    pub fn is_downgraded(&self) -> bool {
        self.random.ends_with(&DOWNGRADE_TO_12) || self.random.ends_with(&DOWNGRADE_TO_OLDER)
    }

    /// Writes the body.
    pub fn emit(&self, w: &mut Writer<'_>) {
        w.u16(self.version);
        w.slice(&self.random);
        w.nested_u8(|w| w.slice(self.session_id));
        w.u16(self.cipher_suite);
        w.u8(0);
        self.extensions.emit(w);
    }
}

/// A server's request to prove the address (RFC 6347 §4.2.1). Understood, never sent: ICE has proven it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HelloVerifyRequest<'a> {
    /// Any version; it does not bind the negotiation.
    pub version: u16,
    /// To be repeated in the next ClientHello.
    pub cookie: &'a [u8],
}

impl<'a> HelloVerifyRequest<'a> {
    /// Reads the body of a HelloVerifyRequest.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body, "HelloVerifyRequest");
        let version = r.u16()?;
        let cookie = r.sub_u8()?.rest();
        r.finish()?;
        Ok(HelloVerifyRequest { version, cookie })
    }

    /// Writes the body.
    pub fn emit(&self, w: &mut Writer<'_>) {
        w.u16(self.version);
        w.nested_u8(|w| w.slice(self.cookie));
    }
}

/// At most 32 bytes (RFC 5246 §7.4.1.2).
fn session_id<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let id = r.sub_u8()?.rest();
    if id.len() > 32 { Err(r.malformed()) } else { Ok(id) }
}

#[cfg(test)]
mod tests {
    use super::super::extension::{EncryptedExtensions, KeyShare, KeyShares, UseSrtp};
    use super::super::written;
    use super::*;
    use proptest::option;
    use proptest::prelude::*;

    type CodeList = Vec<[u8; 2]>;

    fn codes() -> impl Strategy<Value = CodeList> {
        prop::collection::vec(any::<[u8; 2]>(), 1..20)
    }

    proptest! {
        #[test]
        fn client_hellos_round_trip_and_no_cut_passes(
            version: u16, random: Random,
            session_id in prop::collection::vec(any::<u8>(), 0..=32),
            cookie in prop::collection::vec(any::<u8>(), 0..=255),
            suites in codes(),
            groups in option::of(codes()), schemes in option::of(codes()), profiles in option::of(codes()),
            extended_master_secret: bool, point_formats: bool,
            info in option::of(prop::collection::vec(any::<u8>(), 0..30)),
            versions in option::of(codes()), own_cookie in option::of(prop::collection::vec(any::<u8>(), 1..99)),
            shares in option::of(prop::collection::vec((any::<u16>(), prop::collection::vec(any::<u8>(), 1..50)), 0..4)),
        ) {
            let shares = shares.map(|shares| written(|w| {
                shares.iter().for_each(|(group, public)| KeyShare { group: *group, public }.emit(w));
            }));
            let hello = ClientHello {
                version, random, session_id: &session_id, cookie: &cookie, cipher_suites: Codes::new(&suites),
                extensions: ClientExtensions {
                    supported_groups: groups.as_deref().map(Codes::new),
                    point_formats,
                    signature_algorithms: schemes.as_deref().map(Codes::new),
                    use_srtp: profiles.as_deref().map(|p| UseSrtp { profiles: Codes::new(p), mki: &[] }),
                    extended_master_secret,
                    renegotiation_info: info.as_deref(),
                    supported_versions: versions.as_deref().map(Codes::new),
                    cookie: own_cookie.as_deref(),
                    key_shares: shares.as_deref().map(|b| KeyShares::parse(Reader::new(b, "shares")).unwrap()),
                    padding: None,
                },
            };
            let bytes = written(|w| hello.emit(w));
            prop_assert_eq!(ClientHello::parse(&bytes), Ok(hello));
            let without_extensions = bytes.len() - written(|w| hello.extensions.emit(w)).len();
            for cut in (0..bytes.len()).filter(|cut| *cut != without_extensions) {
                prop_assert!(ClientHello::parse(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn server_hellos_round_trip_and_no_cut_passes(
            version: u16, random: Random, cipher_suite: u16,
            session_id in prop::collection::vec(any::<u8>(), 0..=32),
            profile in option::of(any::<[[u8; 2]; 1]>()),
            extended_master_secret: bool, point_formats: bool,
            info in option::of(prop::collection::vec(any::<u8>(), 0..30)),
            supported_version: Option<u16>, retry in option::of(any::<u16>()),
            share in option::of((any::<u16>(), prop::collection::vec(any::<u8>(), 1..50))),
            cookie in option::of(prop::collection::vec(any::<u8>(), 1..99)),
        ) {
            let is_retry = retry.is_some();
            let random = if is_retry { RETRY_RANDOM } else { random };
            let share = share.as_ref().filter(|_| !is_retry);
            let hello = ServerHello {
                version, random, session_id: &session_id, cipher_suite,
                extensions: ServerExtensions {
                    point_formats,
                    use_srtp: profile.as_ref().map(|p| UseSrtp { profiles: Codes::new(p), mki: &[] }),
                    extended_master_secret,
                    renegotiation_info: info.as_deref(),
                    supported_version,
                    key_share: share.map(|(group, public)| KeyShare { group: *group, public }),
                    retry_group: retry,
                    cookie: cookie.as_deref().filter(|_| is_retry),
                    unsolicited: false,
                },
            };
            let bytes = written(|w| hello.emit(w));
            prop_assert_eq!(ServerHello::parse(&bytes), Ok(hello));
            let without_extensions = bytes.len() - written(|w| hello.extensions.emit(w)).len();
            for cut in (0..bytes.len()).filter(|cut| *cut != without_extensions) {
                prop_assert!(ServerHello::parse(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn encrypted_extensions_round_trip_and_no_cut_passes(profile in option::of(any::<[[u8; 2]; 1]>())) {
            let use_srtp = profile.as_ref().map(|p| UseSrtp { profiles: Codes::new(p), mki: &[] });
            let extensions = EncryptedExtensions { use_srtp, ..EncryptedExtensions::default() };
            let bytes = written(|w| extensions.emit(w));
            prop_assert_eq!(EncryptedExtensions::parse(&bytes), Ok(extensions));
            prop_assert!((0..bytes.len()).all(|cut| EncryptedExtensions::parse(&bytes[..cut]).is_err()));
        }

        #[test]
        fn hello_verify_requests_round_trip(version: u16, cookie in prop::collection::vec(any::<u8>(), 0..=255)) {
            let request = HelloVerifyRequest { version, cookie: &cookie };
            let bytes = written(|w| request.emit(w));
            prop_assert_eq!(HelloVerifyRequest::parse(&bytes), Ok(request));
            for cut in 0..bytes.len() {
                prop_assert!(HelloVerifyRequest::parse(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = (ClientHello::parse(&bytes), ServerHello::parse(&bytes), HelloVerifyRequest::parse(&bytes));
            let _ = EncryptedExtensions::parse(&bytes);
        }
    }

    fn hello_with(extensions: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xfe, 0xfd];
        bytes.extend([7; 32]);
        bytes.extend([0, 0, 0, 2, 0xc0, 0x2b, 1, 0]);
        bytes.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        bytes.extend(extensions);
        bytes
    }

    #[test]
    fn unknown_extensions_are_ignored_and_repeated_ones_refused() {
        let ems = [0, 23, 0, 0];
        let unknown = [0x2a, 0x2a, 0, 1, 9];
        let both = [&unknown[..], &ems, &unknown].concat();
        assert!(ClientHello::parse(&hello_with(&both)).unwrap().extensions.extended_master_secret);
        assert!(ClientHello::parse(&hello_with(&[ems, ems].concat())).is_err());
    }

    #[test]
    fn the_retry_value_is_the_hash_of_its_name() {
        // RFC 8446 §4.1.3.
        let hash = crate::crypto::hash::HashAlgorithm::Sha256.digest(&[b"HelloRetryRequest"]);
        assert_eq!(&hash[..], RETRY_RANDOM);
    }

    #[test]
    fn empty_key_shares_and_cookies_are_refused_and_an_empty_list_is_not() {
        for odd in [&[0, 51, 0, 6, 0, 4, 0, 29, 0, 0][..], &[0, 44, 0, 2, 0, 0], &[0, 43, 0, 1, 0]] {
            assert!(ClientHello::parse(&hello_with(odd)).is_err(), "{odd:?}");
        }
        let hello = hello_with(&[0, 51, 0, 2, 0, 0]);
        assert_eq!(ClientHello::parse(&hello).unwrap().extensions.key_shares.unwrap().iter().count(), 0);
    }

    #[test]
    fn padding_makes_a_hello_longer_and_says_nothing() {
        let hello = |padding| {
            let extensions = ClientExtensions { padding, ..ClientExtensions::default() };
            written(|w| extensions.emit(w))
        };
        assert_eq!(hello(Some(9)).len(), hello(None).len() + 4 + 9);
        let bytes = hello(Some(9));
        let parsed = ClientExtensions::parse(Reader::new(&bytes, "hello"));
        assert_eq!(parsed, Ok(ClientExtensions::default()));
    }

    #[test]
    fn known_extensions_with_trailing_bytes_are_refused() {
        for odd in [&[0, 23, 0, 1, 0][..], &[0, 11, 0, 2, 1, 1], &[0, 10, 0, 2, 0, 0], &[0xff, 1, 0, 2, 0, 0]]
        {
            assert!(ClientHello::parse(&hello_with(odd)).is_err(), "{odd:?}");
        }
    }
}
