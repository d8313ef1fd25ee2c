//! The handshake of DTLS 1.2 (RFC 6347 §4.2, RFC 5246 §7), with ECDHE and certificates on both sides.
//!
//! ```text
//! client                                             server
//! ClientHello                     -------->
//!                                 <--------          ServerHello, Certificate, ServerKeyExchange,
//!                                                    CertificateRequest, ServerHelloDone
//! Certificate, ClientKeyExchange,
//! CertificateVerify,
//! [ChangeCipherSpec], Finished    -------->
//!                                 <--------          [ChangeCipherSpec], Finished
//! ```

pub(crate) mod client;
pub(crate) mod keys;
pub(crate) mod server;

use super::handshake::certificate::{Certificate, CertificateRequest, Signed};
use super::handshake::hello::Random;
use super::handshake::key_exchange::{ClientKeyExchange, ServerKeyExchange};
use super::handshake::{HandshakeType, Message};
use super::record::Epoch;
use super::suite::CipherSuite;
use crate::types::srtp_profile::SrtpProfile;
use crate::wire::Malformed;
use crate::wire::reader::Reader;

/// The epoch of all messages after ChangeCipherSpec.
pub(crate) const PROTECTED: Epoch = 1;

/// Whether a message may come in a record of this epoch: Finished is the only one that is protected, and it must
/// be (RFC 5246 §7.4.9).
pub(crate) fn belongs(kind: HandshakeType, epoch: Epoch) -> bool {
    (kind == HandshakeType::FINISHED) == (epoch == PROTECTED)
}

/// A decoded message.
#[derive(Debug)]
pub(crate) enum Body<'a> {
    Certificate(Certificate<'a>),
    ServerKeyExchange(ServerKeyExchange<'a>),
    CertificateRequest(CertificateRequest<'a>),
    ServerHelloDone,
    ClientKeyExchange(ClientKeyExchange<'a>),
    CertificateVerify(Signed<'a>),
    Finished(&'a [u8]),
    /// Of no use in this version.
    Other,
}

impl<'a> Body<'a> {
    pub(crate) fn parse(message: &Message<'a>) -> Result<Self, Malformed> {
        let body = message.body;
        Ok(match message.kind {
            HandshakeType::CERTIFICATE => Body::Certificate(Certificate::parse(body)?),
            HandshakeType::SERVER_KEY_EXCHANGE => Body::ServerKeyExchange(ServerKeyExchange::parse(body)?),
            HandshakeType::CERTIFICATE_REQUEST => Body::CertificateRequest(CertificateRequest::parse(body)?),
            HandshakeType::SERVER_HELLO_DONE => {
                Reader::new(body, "ServerHelloDone").finish()?;
                Body::ServerHelloDone
            }
            HandshakeType::CLIENT_KEY_EXCHANGE => Body::ClientKeyExchange(ClientKeyExchange::parse(body)?),
            HandshakeType::CERTIFICATE_VERIFY => Body::CertificateVerify(Signed::parse(body)?),
            HandshakeType::FINISHED => Body::Finished(body),
            _ => Body::Other,
        })
    }
}

/// What both hellos agreed on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parameters {
    pub(crate) cipher_suite: CipherSuite,
    pub(crate) client_random: Random,
    pub(crate) server_random: Random,
    pub(crate) srtp_profile: Option<SrtpProfile>,
}

impl Parameters {
    /// What the signature of ServerKeyExchange covers (RFC 8422 §5.4).
    pub(crate) fn signed_key_exchange(&self, params: &[u8]) -> Vec<u8> {
        [&self.client_random[..], &self.server_random, params].concat()
    }
}
