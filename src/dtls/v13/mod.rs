//! The handshake of DTLS 1.3 (RFC 9147 §5, RFC 8446 §4), with certificates on both sides, and what follows it.
//!
//! ```text
//! client                                             server
//! ClientHello                     -------->
//!                                 <--------          ServerHello, {EncryptedExtensions, CertificateRequest,
//!                                                    Certificate, CertificateVerify, Finished}
//! {Certificate, CertificateVerify,
//! Finished}                       -------->
//!                                 <--------          [ACK]
//! ```
//!
//! Braces are epoch 2, brackets epoch 3. The client may send data behind its Finished. The server might behind its
//! own, and does not: it does not know yet to whom.

pub(crate) mod client;
pub(crate) mod keys;
pub(crate) mod live;
pub(crate) mod server;

use zeroize::Zeroize as _;

use super::error::HandshakeError;
use super::handshake::certificate::Signed;
use super::handshake::certificate13::{Certificate, CertificateRequest, emit_chain};
use super::handshake::extension::EncryptedExtensions;
use super::handshake::hello::Random;
use super::handshake::{HandshakeType, Message};
use super::handshaking::Context;
use super::peer::PeerCertificate;
use super::protection::{Opener, Sealer};
use super::record::Epoch;
use super::session::Details;
use super::suite::{CipherSuite, Version};
use crate::crypto::hash::Digest;
use crate::crypto::{NamedGroup, SignatureScheme};
use crate::types::setup::DtlsRole;
use crate::types::srtp_profile::SrtpProfile;
use crate::wire::Malformed;

/// The epoch of the handshake's protected messages (RFC 9147 §6.1).
pub(crate) const HANDSHAKE: Epoch = 2;

/// The first epoch of data.
pub(crate) const APPLICATION: Epoch = 3;

/// Whether a message of the handshake may come in a record of this epoch: only the hellos are in the clear.
pub(crate) fn belongs(kind: HandshakeType, epoch: Epoch) -> bool {
    let is_hello = matches!(kind, HandshakeType::CLIENT_HELLO | HandshakeType::SERVER_HELLO);
    epoch == if is_hello { 0 } else { HANDSHAKE }
}

/// A decoded message behind the hellos.
#[derive(Debug)]
pub(crate) enum Body<'a> {
    EncryptedExtensions(EncryptedExtensions<'a>),
    CertificateRequest(CertificateRequest<'a>),
    Certificate(Certificate<'a>),
    CertificateVerify(Signed<'a>),
    Finished(&'a [u8]),
    /// Of no use in this version.
    Other,
}

impl<'a> Body<'a> {
    pub(crate) fn parse(message: &Message<'a>) -> Result<Self, Malformed> {
        let body = message.body;
        Ok(match message.kind {
            HandshakeType::ENCRYPTED_EXTENSIONS => {
                Body::EncryptedExtensions(EncryptedExtensions::parse(body)?)
            }
            HandshakeType::CERTIFICATE_REQUEST => Body::CertificateRequest(CertificateRequest::parse(body)?),
            HandshakeType::CERTIFICATE => Body::Certificate(Certificate::parse(body)?),
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
    pub(crate) group: NamedGroup,
    pub(crate) client_random: Random,
    pub(crate) srtp_profile: Option<SrtpProfile>,
}

impl Parameters {
    pub(crate) fn details(self, peer: PeerCertificate) -> Details {
        Details {
            version: Version::Dtls13,
            cipher_suite: self.cipher_suite,
            group: self.group,
            srtp_profile: self.srtp_profile,
            peer_certificate: peer.der,
        }
    }
}

/// What stays secret behind the handshake.
#[derive(Debug)]
pub(crate) struct Secrets {
    pub(crate) exporter: keys::Exporter,
    /// Protects what this end sends.
    pub(crate) write: keys::Traffic,
    /// Protects what the peer sends.
    pub(crate) read: keys::Traffic,
    /// At a server, what protected the client's last flight: it may come again for as long as nobody can tell that the
    /// client has the ACK.
    pub(crate) former: Option<keys::Traffic>,
}

/// Derives the keys of the handshake, from the hash up to the ServerHello, and begins to use them.
///
/// Returns the schedule, and the secrets of client and server.
fn begin_protection(
    role: DtlsRole,
    parameters: &Parameters,
    shared: &crate::crypto::Secret,
    context: &mut Context<'_>,
) -> Result<(keys::Schedule, [keys::Traffic; 2]), HandshakeError> {
    let schedule = keys::Schedule::new(parameters.cipher_suite, shared)?;
    let [client, server] = schedule.handshake_traffic(&context.transcript.running_hash())?;
    let random = &parameters.client_random;
    context.log_secret(|| client.key_log_line("CLIENT_HANDSHAKE_TRAFFIC_SECRET", random));
    context.log_secret(|| server.key_log_line("SERVER_HANDSHAKE_TRAFFIC_SECRET", random));
    let (write, read) = match role {
        DtlsRole::Client => (&client, &server),
        DtlsRole::Server => (&server, &client),
    };
    let protection = |traffic: &keys::Traffic| {
        traffic.protection(context.config.backend, HANDSHAKE).map_err(|_| HandshakeError::Internal)
    };
    let (sealer, opener) = (Sealer::new(protection(write)?), Opener::new(protection(read)?));
    context.records.install_sealer(sealer);
    context.records.install_opener(opener);
    Ok((schedule, [client, server]))
}

/// Derives what stays, from the hash up to the server's Finished. The keys for reading data are not installed: nothing
/// is read before the peer is known.
fn conclude(
    role: DtlsRole,
    parameters: &Parameters,
    schedule: keys::Schedule,
    context: &mut Context<'_>,
) -> Result<Box<Secrets>, HandshakeError> {
    let main = schedule.into_main()?;
    let hash = context.transcript.running_hash();
    let [client, server] = main.application_traffic(&hash)?;
    let exporter = main.exporter(&hash)?;
    let random = &parameters.client_random;
    context.log_secret(|| client.key_log_line("CLIENT_TRAFFIC_SECRET_0", random));
    context.log_secret(|| server.key_log_line("SERVER_TRAFFIC_SECRET_0", random));
    context.log_secret(|| exporter.key_log_line(random));
    let (write, read) = match role {
        DtlsRole::Client => (client, server),
        DtlsRole::Server => (server, client),
    };
    let protection = write.protection(context.config.backend, APPLICATION);
    context.records.install_sealer(Sealer::new(protection.map_err(|_| HandshakeError::Internal)?));
    Ok(Box::new(Secrets { exporter, write, read, former: None }))
}

/// What a CertificateVerify signs (RFC 8446 §4.4.3).
pub(crate) fn signed_content(signer: DtlsRole, transcript: &Digest) -> Vec<u8> {
    let name: &[u8] = match signer {
        DtlsRole::Client => b"TLS 1.3, client CertificateVerify",
        DtlsRole::Server => b"TLS 1.3, server CertificateVerify",
    };
    [&[0x20; 64], name, &[0], transcript].concat()
}

/// Sends Certificate and CertificateVerify.
fn send_proof(
    role: DtlsRole,
    scheme: SignatureScheme,
    context: &mut Context<'_>,
) -> Result<(), HandshakeError> {
    let config = context.config;
    context.send(HANDSHAKE, HandshakeType::CERTIFICATE, |w| emit_chain(config.identity.chain(), w));
    let content = signed_content(role, &context.transcript.running_hash());
    let signature =
        config.identity.sign(scheme, &content, context.rng).map_err(|_| HandshakeError::Internal)?;
    let signed = Signed { scheme: scheme.code(), signature: &signature };
    context.send(HANDSHAKE, HandshakeType::CERTIFICATE_VERIFY, |w| signed.emit(w));
    Ok(())
}

/// Sends a Finished made with the own handshake secret.
fn send_finished(own: &keys::Traffic, context: &mut Context<'_>) -> Result<(), HandshakeError> {
    let mut verify_data = own.verify_data(&context.transcript.running_hash())?;
    context.send(HANDSHAKE, HandshakeType::FINISHED, |w| w.slice(&verify_data));
    verify_data.zeroize();
    Ok(())
}

/// Checks the peer's Certificate (RFC 8446 §4.4.2).
fn accept_certificate(
    certificate: &Certificate<'_>,
    context: &Context<'_>,
) -> Result<PeerCertificate, HandshakeError> {
    // Within a handshake no certificate answers a request with a name.
    if !certificate.context.is_empty() {
        return Err(HandshakeError::IllegalParameter);
    }
    if certificate.unsolicited {
        return Err(HandshakeError::UnsolicitedExtension);
    }
    let der = certificate.end_entity.ok_or(HandshakeError::NoCertificate)?;
    PeerCertificate::check(der, context.fingerprints)
}

/// The first of the own key's schemes that the peer accepts. PKCS#1 is for certificates only (RFC 8446 §4.2.3).
fn choose_scheme(
    accepted: Option<super::handshake::Codes<'_>>,
    context: &Context<'_>,
) -> Result<SignatureScheme, HandshakeError> {
    let accepted = accepted.ok_or(HandshakeError::MissingExtension)?;
    let own = context.config.identity.schemes().iter().filter(|scheme| !scheme.is_rsa_pkcs1());
    own.copied().find(|scheme| accepted.contains(scheme.code())).ok_or(HandshakeError::NoCommonSignature)
}
