//! A client of 1.2 that writes every message itself, so that it can leave some out or get them wrong.

use super::hostile::plain;
use super::*;
use crate::crypto::{NamedGroup, SignatureScheme};
use crate::dtls::handshake::certificate::{Signed, emit_chain};
use crate::dtls::handshake::hello::{ClientHello, ServerHello};
use crate::dtls::handshake::key_exchange::{ClientKeyExchange, ServerKeyExchange};
use crate::dtls::handshake::{Fragment, HandshakeType, Message, written};
use crate::dtls::handshaking::fragments;
use crate::dtls::record::{ContentType, Epoch, HEADER_LEN, split_record};
use crate::dtls::records::Records;
use crate::dtls::transcript::Transcript;
use crate::dtls::v12::keys::Master;
use crate::dtls::{CipherSuite, CloseReason, HandshakeError};

/// What the impostor does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trick {
    Nothing,
    NoProof,
    ProofByAnotherKey,
    EmptyProof,
    EmptyCertificate,
    WrongFinished,
    ZeroShare,
    ShortShare,
    FinishedInTheClear,
}

/// Plays the client's part against a server; the server's end comes back.
fn play(trick: Trick) -> Pair {
    let ring = crate::crypto::ring();
    let own = identity(ring, Kind::P256);
    let mut pair = Pair::new(config(ring, Kind::P256), config(ring, Kind::P256), 9).started();
    let hello = pair.ends[CLIENT].drain(1200).remove(0);
    let mut transcript = Transcript::default();
    let client_random = {
        let fragment = fragments(&hello[HEADER_LEN..]).next().unwrap().unwrap();
        transcript.add(&Message { kind: fragment.kind, message_seq: 0, body: fragment.body });
        ClientHello::parse(fragment.body).unwrap().random
    };
    pair.deliver(SERVER, &hello);
    let flight = pair.ends[SERVER].drain(1200).remove(0);
    let (mut server_random, mut server_public) = ([0; 32], Vec::new());
    for fragment in fragments(&flight[HEADER_LEN..]).map(Result::unwrap) {
        assert!(fragment.is_whole());
        let Fragment { kind, message_seq, body, .. } = fragment;
        transcript.add(&Message { kind, message_seq, body });
        match kind {
            HandshakeType::SERVER_HELLO => server_random = ServerHello::parse(body).unwrap().random,
            HandshakeType::SERVER_KEY_EXCHANGE => {
                server_public = ServerKeyExchange::parse(body).unwrap().params.public.to_vec();
            }
            _ => {}
        }
    }

    let mut rng = Rng::new([5; 32], Stream::Dtls);
    let (mut public, premaster) = ring.encapsulate(NamedGroup::X25519, &server_public, &mut rng).unwrap();
    match trick {
        Trick::ZeroShare => public = vec![0; 32],
        Trick::ShortShare => public.truncate(31),
        _ => {}
    }
    let mut out = Vec::new();
    let mut message_seq = 1;
    let mut message = |transcript: &mut Transcript, kind: HandshakeType, body: &[u8]| {
        transcript.add(&Message { kind, message_seq, body });
        let length = u32::try_from(body.len()).unwrap();
        let fragment = Fragment { kind, length, message_seq, offset: 0, body };
        message_seq += 1;
        written(|w| fragment.emit(w)).to_vec()
    };
    let chain = if trick == Trick::EmptyCertificate { vec![] } else { vec![own.certificate_der()] };
    out.extend(message(&mut transcript, HandshakeType::CERTIFICATE, &written(|w| emit_chain(chain, w))));
    let exchange = written(|w| ClientKeyExchange { public: &public }.emit(w));
    out.extend(message(&mut transcript, HandshakeType::CLIENT_KEY_EXCHANGE, &exchange));
    let suite = CipherSuite::EcdheEcdsaAes128Gcm;
    let session_hash = transcript.hash(suite.hash());
    let master = Master::extended(suite, premaster.as_bytes(), &session_hash, client_random, server_random);
    if trick != Trick::NoProof {
        let signer = identity(ring, if trick == Trick::ProofByAnotherKey { Kind::P384 } else { Kind::P256 });
        let scheme = signer.schemes()[0];
        let mut signature = signer.sign(scheme, transcript.messages(), &mut rng).unwrap();
        if trick == Trick::EmptyProof {
            signature.clear();
        }
        let signed = Signed { scheme: SignatureScheme::code(scheme), signature: &signature };
        let body = written(|w| signed.emit(w));
        out.extend(message(&mut transcript, HandshakeType::CERTIFICATE_VERIFY, &body));
    }
    pair.deliver(SERVER, &plain(ContentType::HANDSHAKE, 1, &out));

    let mut records = Records::default();
    let (sealer, opener) = master.protections(ring, suite, DtlsRole::Client).unwrap();
    records.install_sealer(sealer);
    records.install_opener(opener);
    let mut verify_data = master.verify_data(DtlsRole::Client, &transcript.hash(suite.hash()));
    verify_data[0] ^= u8::from(trick == Trick::WrongFinished);
    let finished = message(&mut transcript, HandshakeType::FINISHED, &verify_data);
    let epoch = Epoch::from(trick != Trick::FinishedInTheClear);
    let mut record = BytesMut::zeroed(records.overhead(epoch).head);
    record.extend_from_slice(&finished);
    records.seal(epoch, ContentType::HANDSHAKE, &mut record, 0).unwrap();
    assert!(split_record(&mut record.clone()).is_ok());
    pair.deliver(SERVER, &record);
    pair.ends[SERVER].drain(1200);
    pair
}

#[test]
fn the_impostor_connects_when_it_plays_by_the_rules() {
    assert_eq!(play(Trick::Nothing).facts()[SERVER], [Fact::Connected]);
}

#[test]
fn without_a_proof_of_possession_there_is_no_connection() {
    // R23, R31.
    for trick in [
        Trick::NoProof,
        Trick::ProofByAnotherKey,
        Trick::EmptyProof,
        Trick::EmptyCertificate,
        Trick::WrongFinished,
        Trick::ZeroShare,
        Trick::ShortShare,
        Trick::FinishedInTheClear,
    ] {
        let mut pair = play(trick);
        assert!(!pair.ends[SERVER].is_connected(), "{trick:?}");
        assert!(
            !pair.ends[SERVER].connection.can_send() && pair.ends[SERVER].connection.srtp_keys().is_none()
        );
        let end = pair.now + Duration::from_secs(60);
        while let Some(at) = pair.ends[SERVER].connection.next_timeout().filter(|at| *at < end) {
            pair.ends[SERVER].connection.handle_timeout(at);
            pair.ends[SERVER].drain(1200);
        }
        assert!(matches!(pair.facts()[SERVER], [Fact::Closed(_)]), "{trick:?} {:?}", pair.facts());
    }
}

#[test]
fn what_the_peer_itself_got_wrong_ends_the_handshake_at_once() {
    for (trick, error) in [
        (Trick::NoProof, HandshakeError::UnexpectedMessage),
        (Trick::WrongFinished, HandshakeError::BadFinished),
    ] {
        assert_eq!(play(trick).facts()[SERVER], [Fact::Closed(CloseReason::Handshake(error))]);
    }
}
