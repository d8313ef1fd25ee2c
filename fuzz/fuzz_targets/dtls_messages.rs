//! Every DTLS record header, handshake message and alert of both versions: an error or a value, and what can be written
//! again is read as the same.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sansrtc::dtls::alert::Alert;
use sansrtc::dtls::handshake::certificate::{Certificate, CertificateRequest, Signed};
use sansrtc::dtls::handshake::extension::EncryptedExtensions;
use sansrtc::dtls::handshake::hello::{ClientHello, HelloVerifyRequest, ServerHello};
use sansrtc::dtls::handshake::key_exchange::{ClientKeyExchange, ServerKeyExchange};
use sansrtc::dtls::handshake::key_update::KeyUpdate;
use sansrtc::dtls::handshake::{Fragment, certificate13};
use sansrtc::dtls::record::{Header, UnifiedHeader};
use sansrtc::wire::reader::Reader;
use sansrtc::wire::writer::Writer;

fuzz_target!(|bytes: &[u8]| {
    let mut records = Reader::new(bytes, "record");
    while let Ok(header) = Header::parse(&mut records) {
        if records.take(usize::from(header.length)).is_err() {
            break;
        }
    }
    let _ = UnifiedHeader::parse(&mut Reader::new(bytes, "record of 1.3"));
    let mut fragments = Reader::new(bytes, "handshake");
    while let Ok(fragment) = Fragment::parse(&mut fragments) {
        assert!(fragment.body.len() <= bytes.len());
        messages(fragment.body);
    }
    messages(bytes);
});

fn messages(body: &[u8]) {
    let _ = ClientHello::parse(body);
    let _ = ServerHello::parse(body);
    let _ = HelloVerifyRequest::parse(body);
    let _ = Certificate::parse(body);
    let _ = CertificateRequest::parse(body);
    let _ = Signed::parse(body);
    let _ = ServerKeyExchange::parse(body);
    let _ = ClientKeyExchange::parse(body);
    let _ = Alert::parse(body);
    let _ = certificate13::Certificate::parse(body);
    let _ = EncryptedExtensions::parse(body);
    if let Ok(request) = certificate13::CertificateRequest::parse(body) {
        let again = written(|w| request.emit(w));
        let again = certificate13::CertificateRequest::parse(&again).expect("it was read");
        assert!(again.signature_algorithms == request.signature_algorithms);
    }
    if let Ok(update) = KeyUpdate::parse(body) {
        assert_eq!(written(|w| update.emit(w)), body);
    }
    if let Ok(signed) = Signed::parse(body) {
        assert_eq!(written(|w| signed.emit(w)), body);
    }
}

fn written(emit: impl FnOnce(&mut Writer<'_>)) -> BytesMut {
    let mut bytes = BytesMut::new();
    emit(&mut Writer::new(&mut bytes));
    bytes
}
