//! Every DTLS record header, handshake message and alert: an error or a value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sansrtc::dtls::alert::Alert;
use sansrtc::dtls::handshake::Fragment;
use sansrtc::dtls::handshake::certificate::{Certificate, CertificateRequest, Signed};
use sansrtc::dtls::handshake::hello::{ClientHello, HelloVerifyRequest, ServerHello};
use sansrtc::dtls::handshake::key_exchange::{ClientKeyExchange, ServerKeyExchange};
use sansrtc::dtls::record::Header;
use sansrtc::wire::reader::Reader;

fuzz_target!(|bytes: &[u8]| {
    let mut records = Reader::new(bytes, "record");
    while let Ok(header) = Header::parse(&mut records) {
        if records.take(usize::from(header.length)).is_err() {
            break;
        }
    }
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
}
