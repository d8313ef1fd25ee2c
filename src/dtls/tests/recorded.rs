//! A recorded handshake of 1.3 between two ends of BoringSSL: with the secrets of its key log every record opens, and
//! what both ends signed, finished and exported is what this code makes of the same messages.

use super::{Kind, identity};
use crate::crypto::hash::Digest;
use crate::crypto::{self, NamedGroup};
use crate::dtls::handshake::certificate::Signed;
use crate::dtls::handshake::certificate13::Certificate;
use crate::dtls::handshake::hello::{ClientHello, Random, ServerHello};
use crate::dtls::handshake::{HandshakeType, Message};
use crate::dtls::handshaking::fragments;
use crate::dtls::protection::Opener;
use crate::dtls::reassembly::{Inserted, MAX_BUFFERED, Reassembly, Whole};
use crate::dtls::record::{ContentType, Epoch, HEADER_LEN, RecordHeader, RecordNumber, split_record};
use crate::dtls::transcript::Transcript;
use crate::dtls::v13::keys::{Exporter, Traffic};
use crate::dtls::{CipherSuite, Version, ack, peer::PeerCertificate, v13};
use crate::types::setup::DtlsRole;
use bytes::BytesMut;

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The file.
struct Recording {
    datagrams: Vec<(DtlsRole, BytesMut)>,
    /// Names, and what stands behind them: the client's random, and a secret.
    key_log: Vec<(String, Vec<u8>, Vec<u8>)>,
    srtp: Vec<u8>,
}

impl Recording {
    fn load() -> Recording {
        let file: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/data/dtls/boring13.json")).unwrap();
        let datagrams = file["datagrams"].as_array().unwrap().iter().map(|datagram| {
            let from = match datagram["from"].as_str().unwrap() {
                "client" => DtlsRole::Client,
                _ => DtlsRole::Server,
            };
            (from, BytesMut::from(&bytes(datagram["bytes"].as_str().unwrap())[..]))
        });
        let lines = file["key_log"].as_array().unwrap().iter().map(|line| {
            let mut words = line.as_str().unwrap().split(' ').map(str::to_owned);
            let mut word = || words.next().unwrap();
            (word(), bytes(&word()), bytes(&word()))
        });
        Recording {
            datagrams: datagrams.collect(),
            key_log: lines.collect(),
            srtp: bytes(file["srtp"].as_str().unwrap()),
        }
    }

    fn secret(&self, name: &str) -> &[u8] {
        &self.key_log.iter().find(|(other, ..)| other == name).expect(name).2
    }
}

/// One direction, as its receiver sees it.
struct Direction {
    openers: Vec<Opener>,
    messages: Reassembly,
    complete: Vec<Whole>,
    data: Vec<Vec<u8>>,
    acknowledged: Vec<RecordNumber>,
}

impl Direction {
    fn new(suite: CipherSuite, secrets: [(&[u8], Epoch); 2]) -> Direction {
        let openers = secrets.map(|(secret, epoch)| {
            let traffic = Traffic::from_secret(suite, secret);
            Opener::new(traffic.protection(crypto::rust(), epoch).unwrap())
        });
        Direction {
            openers: openers.into(),
            messages: Reassembly::new(0, MAX_BUFFERED),
            complete: Vec::new(),
            data: Vec::new(),
            acknowledged: Vec::new(),
        }
    }

    fn take(&mut self, datagram: &BytesMut) {
        let mut rest = datagram.clone();
        while !rest.is_empty() {
            let (header, mut record) = split_record(&mut rest).expect("a record");
            let (content_type, epoch) = match &header {
                RecordHeader::Plain(plain) => {
                    assert_eq!(plain.epoch, 0);
                    record = record.split_off(HEADER_LEN);
                    (plain.content_type, 0)
                }
                RecordHeader::Unified(unified) => {
                    let bits = Epoch::from(unified.epoch_bits);
                    let opener = self.openers.iter_mut().find(|opener| opener.epoch() & 3 == bits).unwrap();
                    let (content_type, number) = opener.open_unified(unified, &mut record).expect("it opens");
                    (content_type, number.epoch)
                }
            };
            match content_type {
                ContentType::HANDSHAKE => self.on_handshake(epoch, &record),
                ContentType::ACK => self.acknowledged.extend(ack::parse(&record).unwrap()),
                ContentType::APPLICATION_DATA => self.data.push(record.to_vec()),
                other => panic!("{other:?}"),
            }
        }
    }

    fn on_handshake(&mut self, epoch: Epoch, body: &[u8]) {
        for fragment in fragments(body) {
            assert_ne!(self.messages.insert(epoch, &fragment.unwrap()), Inserted::Refused);
        }
        while let Some(whole) = self.messages.take() {
            self.messages.advance();
            self.complete.push(whole);
        }
    }

    fn message(&self, kind: HandshakeType) -> &Whole {
        self.complete.iter().find(|whole| whole.kind == kind).expect("it was sent")
    }
}

#[test]
fn a_handshake_of_boringssl_opens_and_adds_up() {
    let recording = Recording::load();
    let suite = CipherSuite::Aes128Gcm;
    let direction = |handshake, data| {
        let secrets =
            [(recording.secret(handshake), v13::HANDSHAKE), (recording.secret(data), v13::APPLICATION)];
        Direction::new(suite, secrets)
    };
    let mut client = direction("CLIENT_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0");
    let mut server = direction("SERVER_HANDSHAKE_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0");
    for (from, datagram) in &recording.datagrams {
        match from {
            DtlsRole::Client => client.take(datagram),
            DtlsRole::Server => server.take(datagram),
        }
    }
    assert_eq!(client.data, [b"of the client".to_vec()]);
    assert_eq!(server.data, [b"of the server".to_vec()]);
    // The client's last flight is acknowledged.
    assert!(server.acknowledged.iter().any(|number| number.epoch == v13::HANDSHAKE));

    let hello = ClientHello::parse(&client.message(HandshakeType::CLIENT_HELLO).body).unwrap();
    let answer = ServerHello::parse(&server.message(HandshakeType::SERVER_HELLO).body).unwrap();
    let random: Random = recording.key_log[0].1.as_slice().try_into().unwrap();
    assert_eq!(hello.random, random);
    assert_eq!(answer.cipher_suite, suite.code());
    assert_eq!(answer.extensions.supported_version, Some(Version::Dtls13.code()));
    let group = NamedGroup::X25519MlKem768.code();
    assert_eq!(hello.extensions.key_shares.unwrap().find(group).unwrap().len(), 1216);
    let share = answer.extensions.key_share.unwrap();
    assert_eq!((share.group, share.public.len()), (group, 1120));

    // All messages in order: the client's hello, the server's flight, the client's.
    let (first, last) = client.complete.split_first().unwrap();
    // What follows the handshake is no part of it.
    let is_of_handshake = |whole: &&Whole| whole.epoch <= v13::HANDSHAKE;
    let all = [first].into_iter().chain(&server.complete).chain(last).filter(is_of_handshake);
    let mut transcript = Transcript::default();
    let mut signers = Vec::new();
    let (mut certificate, mut finished) = (None, 0);
    for whole in all {
        let message = Message { kind: whole.kind, message_seq: whole.message_seq, body: &whole.body };
        let is_server = server.complete.iter().any(|other| std::ptr::eq(other, whole));
        let signer = if is_server { DtlsRole::Server } else { DtlsRole::Client };
        match whole.kind {
            HandshakeType::CERTIFICATE => {
                let der = Certificate::parse(&whole.body).unwrap().end_entity.unwrap();
                certificate = Some(PeerCertificate::check(der, &[]).unwrap());
            }
            HandshakeType::CERTIFICATE_VERIFY => {
                let signed = Signed::parse(&whole.body).unwrap();
                let content = v13::signed_content(signer, &transcript.running_hash());
                let certificate = certificate.take().expect("it came before");
                let verified =
                    certificate.verify_13(crypto::rust(), signed.scheme, &content, signed.signature);
                assert_eq!(verified, Ok(()), "{signer:?}");
                signers.push(certificate.der.to_vec());
            }
            HandshakeType::FINISHED => {
                let name = match signer {
                    DtlsRole::Client => "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
                    DtlsRole::Server => "SERVER_HANDSHAKE_TRAFFIC_SECRET",
                };
                let expected: Digest = Traffic::from_secret(suite, recording.secret(name))
                    .verify_data(&transcript.running_hash())
                    .unwrap();
                assert_eq!(whole.body[..], expected[..], "{signer:?}");
                finished += 1;
            }
            _ => {}
        }
        transcript.add(&message);
        if whole.kind == HandshakeType::CLIENT_HELLO {
            transcript.run(suite.hash());
        }
    }
    assert_eq!(finished, 2);
    let expected = [Kind::Rsa, Kind::P256].map(|kind| identity(crypto::rust(), kind));
    assert_eq!(signers, expected.map(|identity| identity.certificate_der().to_vec()));

    let exporter = Exporter::from_secret(suite, recording.secret("EXPORTER_SECRET"));
    let mut keys = vec![0; recording.srtp.len()];
    exporter.export("EXTRACTOR-dtls_srtp", &[], &mut keys).unwrap();
    assert_eq!(keys, recording.srtp);
}
