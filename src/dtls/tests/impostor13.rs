//! A client and a server of 1.3 that write every message themselves, so that they can leave some out or get them wrong.

use super::hostile::plain;
use super::*;
use crate::crypto::{KeyExchange, NamedGroup, SignatureScheme};
use crate::dtls::handshake::certificate::Signed;
use crate::dtls::handshake::certificate13::{Certificate, CertificateRequest, emit_chain};
use crate::dtls::handshake::extension::{
    ClientExtensions, EncryptedExtensions, KeyShare, KeyShares, ServerExtensions, UseSrtp,
};
use crate::dtls::handshake::hello::{ClientHello, DOWNGRADE_TO_12, RETRY_RANDOM, ServerHello};
use crate::dtls::handshake::{Codes, Fragment, HandshakeType, Message, written};
use crate::dtls::handshaking::fragments;
use crate::dtls::protection::{Opener, Sealer};
use crate::dtls::record::{ContentType, Epoch, HEADER_LEN, RecordHeader, split_record};
use crate::dtls::records::Records;
use crate::dtls::transcript::Transcript;
use crate::dtls::v13::keys::{Schedule, Traffic};
use crate::dtls::{CipherSuite, CloseReason, HandshakeError};
use crate::wire::reader::Reader;

const SUITE: CipherSuite = CipherSuite::Aes128Gcm;
const LONG: usize = 16_000;

/// One who plays an end's part.
#[derive(Default)]
struct Mime {
    transcript: Transcript,
    records: Records,
    message_seq: u16,
}

impl Mime {
    /// A message in one fragment; it counts.
    fn message(&mut self, kind: HandshakeType, body: &[u8]) -> Vec<u8> {
        let message_seq = self.message_seq;
        self.message_seq += 1;
        self.transcript.add(&Message { kind, message_seq, body });
        let length = u32::try_from(body.len()).unwrap();
        written(|w| Fragment { kind, length, message_seq, offset: 0, body }.emit(w)).to_vec()
    }

    /// A record of handshake messages.
    fn record(&mut self, epoch: Epoch, messages: &[u8]) -> Vec<u8> {
        let mut record = BytesMut::zeroed(self.records.overhead(epoch).head);
        record.extend_from_slice(messages);
        self.records.seal(epoch, ContentType::HANDSHAKE, &mut record, 0).unwrap();
        record.to_vec()
    }

    fn install(&mut self, own: &Traffic, peer: &Traffic) {
        let ring = crate::crypto::ring();
        self.records.install_sealer(Sealer::new(own.protection(ring, 2).unwrap()));
        self.records.install_opener(Opener::new(peer.protection(ring, 2).unwrap()));
    }

    /// Takes the messages of protected records into account.
    fn read(&mut self, datagram: &[u8]) -> Vec<(HandshakeType, Vec<u8>)> {
        let mut messages = Vec::new();
        let mut rest = BytesMut::from(datagram);
        while let Ok((header, mut record)) = split_record(&mut rest) {
            let RecordHeader::Unified(header) = header else { continue };
            let Some(opener) = self.records.opener_of(&header) else { continue };
            let (content_type, _) = opener.open_unified(&header, &mut record).unwrap();
            assert_eq!(content_type, ContentType::HANDSHAKE);
            for fragment in fragments(&record).map(Result::unwrap) {
                assert!(fragment.is_whole());
                let Fragment { kind, message_seq, body, .. } = fragment;
                self.transcript.add(&Message { kind, message_seq, body });
                messages.push((kind, body.to_vec()));
            }
        }
        messages
    }
}

/// What a CertificateVerify signs (RFC 8446 §4.4.3).
fn content(signer: &str, transcript: &Transcript) -> Vec<u8> {
    let name = format!("TLS 1.3, {signer} CertificateVerify");
    [&[b' '; 64], name.as_bytes(), &[0], &transcript.running_hash()].concat()
}

fn signed(signer: &Identity, scheme: SignatureScheme, content: &[u8]) -> Vec<u8> {
    let signature = signer.sign(signer.schemes()[0], content, &mut Rng::new([5; 32], Stream::Dtls)).unwrap();
    written(|w| Signed { scheme: scheme.code(), signature: &signature }.emit(w)).to_vec()
}

fn key() -> Box<dyn KeyExchange> {
    crate::crypto::ring().key_exchange(NamedGroup::X25519, &mut Rng::new([6; 32], Stream::Dtls)).unwrap()
}

fn only_13() -> Config {
    config(crate::crypto::ring(), Kind::P256).only(Version::Dtls13)
}

/// Lets time pass for one end, whose peer is silent.
fn wait(pair: &mut Pair, end: usize) {
    let until = pair.now + Duration::from_secs(60);
    while let Some(at) = pair.ends[end].connection.next_timeout().filter(|at| *at < until) {
        pair.ends[end].connection.handle_timeout(at);
        pair.ends[end].drain(1200);
    }
}

// ---- a client -----------------------------------------------------------------------------------------------

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClientTrick {
    Nothing,
    NoProof,
    NoCertificate,
    ProofByAnotherKey,
    ProofOfAServer,
    ProofByAnotherScheme,
    EmptyCertificate,
    NamedCertificate,
    CertificateWithExtension,
    WrongFinished,
    ZeroShare,
    ShortShare,
    CertificateInTheClear,
    CookieOf12,
    NoGroups,
    TwiceTheSameMessage,
}

const CLIENT_TRICKS: [ClientTrick; 15] = [
    ClientTrick::NoProof,
    ClientTrick::NoCertificate,
    ClientTrick::ProofByAnotherKey,
    ClientTrick::ProofOfAServer,
    ClientTrick::ProofByAnotherScheme,
    ClientTrick::EmptyCertificate,
    ClientTrick::NamedCertificate,
    ClientTrick::CertificateWithExtension,
    ClientTrick::WrongFinished,
    ClientTrick::ZeroShare,
    ClientTrick::ShortShare,
    ClientTrick::CertificateInTheClear,
    ClientTrick::CookieOf12,
    ClientTrick::NoGroups,
    ClientTrick::TwiceTheSameMessage,
];

fn hello_of(trick: ClientTrick, public: &[u8]) -> Vec<u8> {
    let groups = [NamedGroup::X25519.code().to_be_bytes()];
    let schemes = SignatureScheme::ALL.map(|scheme| scheme.code().to_be_bytes());
    let versions = [Version::Dtls13.code().to_be_bytes()];
    let suites = [SUITE.code().to_be_bytes()];
    let public = match trick {
        ClientTrick::ZeroShare => &[0; 32],
        ClientTrick::ShortShare => &public[1..],
        _ => public,
    };
    let shares = written(|w| KeyShare { group: NamedGroup::X25519.code(), public }.emit(w));
    let hello = ClientHello {
        version: 0xfefd,
        random: [8; 32],
        session_id: &[],
        cookie: if trick == ClientTrick::CookieOf12 { &[1] } else { &[] },
        cipher_suites: Codes::new(&suites),
        extensions: ClientExtensions {
            supported_groups: (trick != ClientTrick::NoGroups).then_some(Codes::new(&groups)),
            signature_algorithms: Some(Codes::new(&schemes)),
            supported_versions: Some(Codes::new(&versions)),
            key_shares: Some(KeyShares::parse(Reader::new(&shares, "shares")).unwrap()),
            ..ClientExtensions::default()
        },
    };
    written(|w| hello.emit(w)).to_vec()
}

/// Plays the client's part against a server; the server's end comes back.
fn play_client(trick: ClientTrick) -> Pair {
    let ring = crate::crypto::ring();
    let own = identity(ring, Kind::P256);
    let mut pair = Pair::new(only_13(), only_13(), 9).started();
    let (mut mime, key) = (Mime::default(), key());
    let hello = mime.message(HandshakeType::CLIENT_HELLO, &hello_of(trick, key.public()));
    let record = mime.record(0, &hello);
    pair.deliver(SERVER, &record);
    let Some(flight) = pair.ends[SERVER].drain(LONG).into_iter().next() else { return pair };
    mime.transcript.run(SUITE.hash());
    if split_record(&mut BytesMut::from(&flight[..])).is_ok_and(|(_, record)| record[0] == 21) {
        return pair;
    }
    let answer = fragments(&flight[HEADER_LEN..]).next().unwrap().unwrap();
    mime.transcript.add(&Message { kind: answer.kind, message_seq: 0, body: answer.body });
    let share = ServerHello::parse(answer.body).unwrap().extensions.key_share.unwrap();
    let schedule = Schedule::new(SUITE, &key.agree(share.public).unwrap()).unwrap();
    let [client, server] = schedule.handshake_traffic(&mime.transcript.running_hash()).unwrap();
    mime.install(&client, &server);
    let kinds: Vec<_> = mime.read(&flight).into_iter().map(|(kind, _)| kind.0).collect();
    assert_eq!(kinds, [8, 13, 11, 15, 20]);

    let mut out = Vec::new();
    if trick != ClientTrick::NoCertificate {
        let chain = if trick == ClientTrick::EmptyCertificate { vec![] } else { vec![own.certificate_der()] };
        let mut body = written(|w| emit_chain(chain, w)).to_vec();
        match trick {
            ClientTrick::NamedCertificate => drop(body.splice(..1, [1, 7])),
            ClientTrick::CertificateWithExtension => {
                let end = body.len();
                body.splice(end - 2.., [0, 4, 0, 5, 0, 0]);
                body[3] = body[3].wrapping_add(4);
                body[2] += u8::from(body[3] < 4);
                assert!(Certificate::parse(&body).unwrap().unsolicited);
            }
            _ => {}
        }
        let message = mime.message(HandshakeType::CERTIFICATE, &body);
        if trick == ClientTrick::CertificateInTheClear {
            let record = mime.record(0, &message);
            pair.deliver(SERVER, &record);
        } else {
            out.extend(message);
        }
    }
    if trick != ClientTrick::NoProof {
        let scheme = SignatureScheme::EcdsaSecp256r1Sha256;
        let body = match trick {
            ClientTrick::ProofByAnotherKey => {
                signed(&identity(ring, Kind::P384), scheme, &content("client", &mime.transcript))
            }
            ClientTrick::ProofOfAServer => signed(&own, scheme, &content("server", &mime.transcript)),
            ClientTrick::ProofByAnotherScheme => {
                let scheme = SignatureScheme::EcdsaSecp384r1Sha384;
                signed(&own, scheme, &content("client", &mime.transcript))
            }
            _ => signed(&own, scheme, &content("client", &mime.transcript)),
        };
        out.extend(mime.message(HandshakeType::CERTIFICATE_VERIFY, &body));
        if trick == ClientTrick::TwiceTheSameMessage {
            out.extend(mime.message(HandshakeType::CERTIFICATE_VERIFY, &body));
        }
    }
    let mut verify_data = client.verify_data(&mime.transcript.running_hash()).unwrap().to_vec();
    verify_data[0] ^= u8::from(trick == ClientTrick::WrongFinished);
    out.extend(mime.message(HandshakeType::FINISHED, &verify_data));
    let record = mime.record(2, &out);
    pair.deliver(SERVER, &record);
    pair.ends[SERVER].drain(1200);
    pair
}

#[test]
fn the_client_connects_when_it_plays_by_the_rules() {
    assert_eq!(play_client(ClientTrick::Nothing).facts()[SERVER], [Fact::Connected]);
}

#[test]
fn a_client_without_a_true_proof_is_not_let_in() {
    // R23, R31.
    for trick in CLIENT_TRICKS {
        let mut pair = play_client(trick);
        let server = &pair.ends[SERVER];
        assert!(!server.is_connected() && !server.connection.can_send(), "{trick:?}");
        assert!(server.connection.srtp_keys().is_none());
        wait(&mut pair, SERVER);
        assert!(matches!(pair.facts()[SERVER], [Fact::Closed(_)]), "{trick:?} {:?}", pair.facts());
    }
}

#[test]
fn what_the_client_itself_got_wrong_ends_the_handshake_at_once() {
    use HandshakeError as E;
    for (trick, error) in [
        (ClientTrick::NoProof, E::UnexpectedMessage),
        (ClientTrick::NoCertificate, E::UnexpectedMessage),
        (ClientTrick::ProofByAnotherKey, E::BadSignature),
        (ClientTrick::ProofOfAServer, E::BadSignature),
        (ClientTrick::ProofByAnotherScheme, E::IllegalParameter),
        (ClientTrick::EmptyCertificate, E::NoCertificate),
        (ClientTrick::NamedCertificate, E::IllegalParameter),
        (ClientTrick::CertificateWithExtension, E::UnsolicitedExtension),
        (ClientTrick::WrongFinished, E::BadFinished),
    ] {
        let facts = [Fact::Closed(CloseReason::Handshake(error))];
        assert_eq!(play_client(trick).facts()[SERVER], facts, "{trick:?}");
    }
}

// ---- a server -----------------------------------------------------------------------------------------------

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServerTrick {
    Nothing,
    NoRequest,
    NoProof,
    ProofByAnotherKey,
    ProofOfAClient,
    EmptyCertificate,
    NamedRequest,
    RequestWithoutSchemes,
    WrongFinished,
    ZeroShare,
    UnknownGroup,
    SuiteOf12,
    SuiteOfAnotherKind,
    NamedSession,
    ExtensionOf12,
    UnaskedExtension,
    UnaskedSrtp,
    MisplacedExtension,
    NoShare,
    DowngradeTo12,
    RetryForNothing,
    RetryForASentShare,
    RetryForAnUnknownGroup,
    RetryWithoutEnd,
}

use ServerTrick as S;

const SERVER_TRICKS: [ServerTrick; 22] = [
    S::NoProof,
    S::ProofByAnotherKey,
    S::ProofOfAClient,
    S::EmptyCertificate,
    S::NamedRequest,
    S::RequestWithoutSchemes,
    S::WrongFinished,
    S::ZeroShare,
    S::UnknownGroup,
    S::SuiteOf12,
    S::SuiteOfAnotherKind,
    S::NamedSession,
    S::ExtensionOf12,
    S::UnaskedExtension,
    S::UnaskedSrtp,
    S::MisplacedExtension,
    S::NoShare,
    S::DowngradeTo12,
    S::RetryForNothing,
    S::RetryForASentShare,
    S::RetryForAnUnknownGroup,
    S::RetryWithoutEnd,
];

/// The ServerHello, or what is sent in its place.
fn answer_of(trick: ServerTrick, public: &[u8]) -> Vec<u8> {
    let is_retry = matches!(
        trick,
        S::RetryForNothing | S::RetryForASentShare | S::RetryForAnUnknownGroup | S::RetryWithoutEnd
    );
    let mut random = if is_retry { RETRY_RANDOM } else { [9; 32] };
    if trick == S::DowngradeTo12 {
        random[24..].copy_from_slice(&DOWNGRADE_TO_12);
    }
    let share = KeyShare {
        group: if trick == S::UnknownGroup { 0x001e } else { NamedGroup::X25519.code() },
        public: if trick == S::ZeroShare { &[0; 32] } else { public },
    };
    let has_share = !is_retry && !matches!(trick, S::NoShare | S::DowngradeTo12);
    let hello = ServerHello {
        version: 0xfefd,
        random,
        session_id: if trick == S::NamedSession { &[1; 32] } else { &[] },
        cipher_suite: match trick {
            S::SuiteOf12 | S::DowngradeTo12 => CipherSuite::EcdheEcdsaAes128Gcm.code(),
            S::SuiteOfAnotherKind => 0x1304,
            _ => SUITE.code(),
        },
        extensions: ServerExtensions {
            supported_version: (trick != S::DowngradeTo12).then_some(Version::Dtls13.code()),
            key_share: has_share.then_some(share),
            extended_master_secret: matches!(trick, S::ExtensionOf12 | S::DowngradeTo12),
            retry_group: match trick {
                S::RetryForASentShare => Some(NamedGroup::X25519.code()),
                S::RetryForAnUnknownGroup => Some(0x001e),
                S::RetryWithoutEnd => Some(NamedGroup::Secp256r1.code()),
                _ => None,
            },
            ..ServerExtensions::default()
        },
    };
    written(|w| hello.emit(w)).to_vec()
}

fn extensions_of(trick: ServerTrick) -> Vec<u8> {
    let profile = [[0, 7]];
    let srtp = UseSrtp { profiles: Codes::new(&profile), mki: &[] };
    let use_srtp = (trick == S::UnaskedSrtp).then_some(srtp);
    match trick {
        S::UnaskedExtension => vec![0, 4, 0, 16, 0, 0],
        S::MisplacedExtension => vec![0, 4, 0, 23, 0, 0],
        _ => written(|w| EncryptedExtensions { use_srtp, ..EncryptedExtensions::default() }.emit(w)).to_vec(),
    }
}

/// Plays the server's part against a client; the client's end comes back.
fn play_server(trick: ServerTrick) -> Pair {
    let ring = crate::crypto::ring();
    let own = identity(ring, Kind::P256);
    let client = Config {
        key_shares: vec![NamedGroup::X25519],
        min_version: Version::Dtls12,
        max_version: Version::Dtls13,
        ..config(ring, Kind::P256)
    };
    let mut pair = Pair::new(client, only_13(), 9).started();
    let hello = pair.ends[CLIENT].drain(LONG).remove(0);
    let (mut mime, key) = (Mime::default(), key());
    let hello = fragments(&hello[HEADER_LEN..]).next().unwrap().unwrap();
    mime.transcript.add(&Message { kind: hello.kind, message_seq: 0, body: hello.body });
    let shares = ClientHello::parse(hello.body).unwrap().extensions.key_shares.unwrap();
    let share = shares.find(NamedGroup::X25519.code()).unwrap().to_vec();
    mime.transcript.run(SUITE.hash());
    let answer = mime.message(HandshakeType::SERVER_HELLO, &answer_of(trick, key.public()));
    let record = mime.record(0, &answer);
    pair.deliver(CLIENT, &record);
    if trick == S::RetryWithoutEnd {
        assert_eq!(pair.ends[CLIENT].drain(LONG).len(), 1, "the first one is answered");
        for _ in 0..20 {
            let answer = mime.message(HandshakeType::SERVER_HELLO, &answer_of(trick, key.public()));
            let record = mime.record(0, &answer);
            pair.deliver(CLIENT, &record);
        }
        assert!(pair.ends[CLIENT].drain(LONG).len() <= 2);
        return pair;
    }
    let schedule = Schedule::new(SUITE, &key.agree(&share).unwrap()).unwrap();
    let [client, server] = schedule.handshake_traffic(&mime.transcript.running_hash()).unwrap();
    mime.install(&server, &client);

    let mut out = mime.message(HandshakeType::ENCRYPTED_EXTENSIONS, &extensions_of(trick));
    if trick != S::NoRequest {
        let schemes = SignatureScheme::ALL.map(|scheme| scheme.code().to_be_bytes());
        let request = CertificateRequest {
            context: if trick == S::NamedRequest { &[1] } else { &[] },
            signature_algorithms: (trick != S::RequestWithoutSchemes).then_some(Codes::new(&schemes)),
        };
        out.extend(mime.message(HandshakeType::CERTIFICATE_REQUEST, &written(|w| request.emit(w))));
    }
    let chain = if trick == S::EmptyCertificate { vec![] } else { vec![own.certificate_der()] };
    out.extend(mime.message(HandshakeType::CERTIFICATE, &written(|w| emit_chain(chain, w))));
    if trick != S::NoProof {
        let signer = identity(ring, if trick == S::ProofByAnotherKey { Kind::P384 } else { Kind::P256 });
        let name = if trick == S::ProofOfAClient { "client" } else { "server" };
        let scheme = SignatureScheme::EcdsaSecp256r1Sha256;
        let body = signed(&signer, scheme, &content(name, &mime.transcript));
        out.extend(mime.message(HandshakeType::CERTIFICATE_VERIFY, &body));
    }
    let mut verify_data = server.verify_data(&mime.transcript.running_hash()).unwrap().to_vec();
    verify_data[0] ^= u8::from(trick == S::WrongFinished);
    out.extend(mime.message(HandshakeType::FINISHED, &verify_data));
    let record = mime.record(2, &out);
    pair.deliver(CLIENT, &record);
    pair.drain();
    pair.on_the_way.clear();
    pair
}

#[test]
fn the_server_connects_when_it_plays_by_the_rules() {
    // RFC 8446 §4.3.2: it need not ask for a certificate.
    for trick in [S::Nothing, S::NoRequest] {
        assert_eq!(play_server(trick).facts()[CLIENT], [Fact::Connected], "{trick:?}");
    }
}

#[test]
fn a_server_that_breaks_the_rules_is_refused() {
    // R23, R31, downgrades, retries without end.
    for trick in SERVER_TRICKS {
        let mut pair = play_server(trick);
        let client = &pair.ends[CLIENT];
        assert!(!client.is_connected() && !client.connection.can_send(), "{trick:?}");
        wait(&mut pair, CLIENT);
        assert!(matches!(pair.facts()[CLIENT], [Fact::Closed(_)]), "{trick:?} {:?}", pair.facts());
    }
}

#[test]
fn what_the_server_itself_got_wrong_ends_the_handshake_at_once() {
    use HandshakeError as E;
    for (trick, error) in [
        (S::NoProof, E::UnexpectedMessage),
        (S::ProofByAnotherKey, E::BadSignature),
        (S::ProofOfAClient, E::BadSignature),
        (S::EmptyCertificate, E::NoCertificate),
        (S::NamedRequest, E::IllegalParameter),
        (S::RequestWithoutSchemes, E::MissingExtension),
        (S::WrongFinished, E::BadFinished),
        (S::UnaskedExtension, E::UnsolicitedExtension),
        (S::UnaskedSrtp, E::IllegalParameter),
        (S::MisplacedExtension, E::IllegalParameter),
    ] {
        let facts = [Fact::Closed(CloseReason::Handshake(error))];
        assert_eq!(play_server(trick).facts()[CLIENT], facts, "{trick:?}");
    }
}

#[test]
fn the_sign_of_a_downgrade_is_set_and_seen() {
    // RFC 8446 §4.1.3: a stranger takes 1.3 out of the hello on its way.
    let ring = crate::crypto::ring();
    let automatic = || Config {
        min_version: Version::Dtls12,
        max_version: Version::Dtls13,
        key_shares: vec![NamedGroup::X25519],
        ..config(ring, Kind::P256)
    };
    let mut pair = Pair::new(automatic(), automatic(), 1).started();
    for _ in 0..30 {
        for datagram in pair.ends[CLIENT].drain(1200) {
            let mut datagram = datagram;
            // supported_versions 1.3, 1.2 becomes 1.2 twice.
            let offered = [0, 43, 0, 5, 4, 0xfe, 0xfc, 0xfe, 0xfd];
            if let Some(at) = datagram.windows(9).position(|window| window == offered) {
                datagram[at + 6] = 0xfd;
            }
            pair.deliver(SERVER, &datagram);
        }
        for datagram in pair.ends[SERVER].drain(1200) {
            pair.deliver(CLIENT, &datagram);
        }
        pair.now += Duration::from_millis(400);
        let now = pair.now;
        pair.ends.iter_mut().for_each(|end| end.connection.handle_timeout(now));
    }
    assert!(!pair.ends.iter().any(End::is_connected), "{:?}", pair.facts());
    let closed = [Fact::Closed(CloseReason::Handshake(HandshakeError::IllegalParameter))];
    assert_eq!(pair.facts()[CLIENT], closed);
}

#[test]
fn a_cookie_of_another_client_is_refused() {
    // RFC 9147 §5.1: the server of one client does not know the cookie that another server gave.
    let careful = || Config { cookie: true, key_shares: vec![NamedGroup::X25519], ..only_13() };
    let second_hello = |seed| {
        let mut pair = Pair::new(careful(), careful(), seed).started();
        for from in [CLIENT, SERVER] {
            for datagram in pair.ends[from].drain(1200) {
                pair.deliver(1 - from, &datagram);
            }
        }
        (pair.ends[CLIENT].drain(1200).remove(0), pair)
    };
    let (mut hello, mut pair) = second_hello(1);
    let (other, _) = second_hello(2);
    // The cookie is the 32 bytes behind the extension's code and lengths.
    let find = |hello: &[u8]| hello.windows(6).position(|w| w == [0, 44, 0, 34, 0, 32]).unwrap() + 6;
    let (to, from) = (find(&hello), find(&other));
    let own = hello[to..to + 32].to_vec();
    hello[to..to + 32].copy_from_slice(&other[from..from + 32]);
    pair.deliver(SERVER, &hello);
    let alert = pair.ends[SERVER].drain(1200).remove(0);
    assert_eq!((alert[0], alert[HEADER_LEN + 1]), (21, 47), "illegal_parameter");
    // It was no server of the handshake: the client may begin anew.
    hello[to..to + 32].copy_from_slice(&own);
    pair.deliver(CLIENT, &alert);
    pair.run(Duration::from_secs(10));
    assert_eq!(pair.facts(), [[Fact::Connected]; 2]);
}

#[test]
fn early_data_and_records_of_odd_epochs_are_dropped() {
    // R20, R28: nobody offers early data here, and epoch 1 has no keys in 1.3.
    for bits in 0..4u8 {
        let mut pair = Pair::plain_13().started();
        let mut record = vec![0b0010_1100 | bits, 0, 0, 0, 40];
        record.extend([7; 40]);
        for to in [CLIENT, SERVER] {
            (0..100).for_each(|_| pair.deliver(to, &record));
            let stats = pair.ends[to].connection.stats();
            let (expected, others) = match bits {
                0 | 1 => (stats.unexpected, stats.no_room),
                _ => (stats.no_room + 16, stats.unexpected),
            };
            assert_eq!((expected, others), (100, 0), "{bits} {stats:?}");
        }
        pair.run(Duration::from_secs(10));
        assert_eq!(pair.facts(), [[Fact::Connected]; 2]);
        assert!(pair.ends.iter().all(|end| end.received.is_empty()));
    }
}

#[test]
fn a_forged_server_hello_costs_time_and_not_the_connection() {
    let mut pair = Pair::plain_13().started();
    pair.drain();
    let mut mime = Mime::default();
    let forged = mime.message(HandshakeType::SERVER_HELLO, &answer_of(S::Nothing, key().public()));
    pair.deliver(CLIENT, &plain(ContentType::HANDSHAKE, 9, &forged));
    pair.run(Duration::from_secs(10));
    assert_eq!(pair.facts(), [[Fact::Connected]; 2]);
    assert!(pair.now - pair.start < Duration::from_secs(2), "{:?}", pair.now - pair.start);
}

#[test]
fn acks_in_a_flood_cost_little_and_change_nothing() {
    let mut pair = Pair::plain_13().connected();
    let sent = pair.ends[SERVER].sent.len();
    for _ in 0..1000 {
        let mut body = 0x3000u16.to_be_bytes().to_vec();
        body.resize(2 + 0x3000, 0xff);
        let end = &mut pair.ends[CLIENT].connection;
        let mut record = BytesMut::zeroed(end.overhead().head);
        record.extend_from_slice(&body);
        end.seal_other(ContentType::ACK, &mut record);
        pair.deliver(SERVER, &record);
        let short = [&[0, 16][..], &[0; 16]].concat();
        let end = &mut pair.ends[CLIENT].connection;
        let mut record = BytesMut::zeroed(end.overhead().head);
        record.extend_from_slice(&short);
        end.seal_other(ContentType::ACK, &mut record);
        pair.deliver(SERVER, &record);
    }
    pair.drain();
    assert_eq!(pair.ends[SERVER].sent.len(), sent);
    assert_eq!(pair.facts(), [[Fact::Connected]; 2]);
}
