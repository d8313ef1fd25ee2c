//! The client's side of the 1.3 handshake, from the ServerHello on.

use super::keys::{Schedule, Traffic};
use super::{
    Body, Parameters, accept_certificate, begin_protection, choose_scheme, conclude, send_finished,
    send_proof, signed_content,
};
use crate::crypto::{CryptoError, SignatureScheme, constant_time_eq};
use crate::dtls::error::HandshakeError;
use crate::dtls::handshake::Message;
use crate::dtls::handshake::certificate13::CertificateRequest;
use crate::dtls::handshake::extension::EncryptedExtensions;
use crate::dtls::handshake::hello::ServerHello;
use crate::dtls::handshaking::{Context, Progress, Refusal, Step};
use crate::dtls::opening::Hello;
use crate::dtls::peer::PeerCertificate;
use crate::dtls::session::{Keys, Session};
use crate::dtls::suite::{CipherSuite, Version};
use crate::dtls::v12;
use crate::types::setup::DtlsRole;

/// What the client waits for, with what it has gathered.
#[derive(Debug)]
#[allow(clippy::enum_variant_names)] // Each variant names what is waited for.
pub(crate) enum State {
    WaitEncryptedExtensions(Box<Flight>),
    /// Or a CertificateRequest.
    WaitCertificate(Box<Flight>),
    WaitCertificateVerify(Box<Flight>, PeerCertificate),
    WaitFinished(Box<Flight>, PeerCertificate),
}

/// The server's flight so far.
#[derive(Debug)]
pub(crate) struct Flight {
    parameters: Parameters,
    schedule: Schedule,
    /// Handshake secrets.
    client: Traffic,
    server: Traffic,
    /// The scheme for the own CertificateVerify, if the server asked for it.
    proof: Option<SignatureScheme>,
}

/// The server chose 1.3.
pub(crate) fn on_hello(
    hello: &Hello,
    answer: &ServerHello<'_>,
    message: &Message<'_>,
    context: &mut Context<'_>,
) -> Result<State, HandshakeError> {
    let cipher_suite = accept_suite(answer, context)?;
    let share = answer.extensions.key_share.ok_or(HandshakeError::MissingExtension)?;
    if let Some((suite, group)) = hello.retried {
        // RFC 8446 §4.1.4, §4.2.8: the choice that was made stands.
        let is_kept = group.is_none_or(|group| group.code() == share.group);
        if suite != answer.cipher_suite || !is_kept {
            return Err(HandshakeError::IllegalParameter);
        }
    }
    let at = context.key_shares.iter().position(|own| own.group.code() == share.group);
    // RFC 8446 §4.2.8: for one of the shares that were sent. Each is used once.
    let own = context.key_shares.swap_remove(at.ok_or(HandshakeError::IllegalParameter)?);
    let shared = own.key.agree(share.public).map_err(|error| match error {
        CryptoError::BadKeyShare => HandshakeError::BadKeyShare,
        _ => HandshakeError::Internal,
    })?;
    let parameters =
        Parameters { cipher_suite, group: own.group, client_random: hello.random, srtp_profile: None };
    context.transcript.run(cipher_suite.hash());
    context.transcript.add(message);
    let (schedule, [client, server]) = begin_protection(DtlsRole::Client, &parameters, &shared, context)?;
    // The hello has arrived.
    context.clear_flight();
    let flight = Flight { parameters, schedule, client, server, proof: None };
    Ok(State::WaitEncryptedExtensions(Box::new(flight)))
}

/// What a ServerHello and a HelloRetryRequest of 1.3 have in common (RFC 8446 §4.1.3, §4.1.4).
pub(crate) fn accept_suite(
    answer: &ServerHello<'_>,
    context: &Context<'_>,
) -> Result<CipherSuite, HandshakeError> {
    let extensions = &answer.extensions;
    if extensions.unsolicited {
        return Err(HandshakeError::UnsolicitedExtension);
    }
    // RFC 9147 §5: no session is named, and none repeated; §5.4: the version field is that of 1.2.
    let is_odd = extensions.has_parts_of_12() || !answer.session_id.is_empty();
    if is_odd || answer.version != Version::Dtls12.code() {
        return Err(HandshakeError::IllegalParameter);
    }
    CipherSuite::from_code(answer.cipher_suite)
        .filter(|suite| context.config.suites_of(Version::Dtls13).any(|allowed| allowed == *suite))
        .ok_or(HandshakeError::IllegalParameter)
}

impl State {
    pub(crate) fn handle(self, message: &Message<'_>, context: &mut Context<'_>) -> Step<State> {
        let Ok(body) = Body::parse(message) else { return Err(Refusal::Malformed(self)) };
        let next = match (self, body) {
            (State::WaitEncryptedExtensions(mut flight), Body::EncryptedExtensions(extensions)) => {
                accept_extensions(&mut flight.parameters, &extensions, context)?;
                State::WaitCertificate(flight)
            }
            (State::WaitCertificate(mut flight), Body::CertificateRequest(request))
                if flight.proof.is_none() =>
            {
                flight.proof = Some(accept_request(&request, context)?);
                State::WaitCertificate(flight)
            }
            (State::WaitCertificate(flight), Body::Certificate(certificate)) => {
                let peer = accept_certificate(&certificate, context)?;
                State::WaitCertificateVerify(flight, peer)
            }
            (State::WaitCertificateVerify(flight, peer), Body::CertificateVerify(signed)) => {
                let content = signed_content(DtlsRole::Server, &context.transcript.running_hash());
                peer.verify_13(context.config.backend, signed.scheme, &content, signed.signature)?;
                State::WaitFinished(flight, peer)
            }
            (State::WaitFinished(flight, peer), Body::Finished(verify_data)) => {
                let session = flight.finish(peer, message, verify_data, context)?;
                return Ok(Progress::Complete(session));
            }
            (state, _) => return Err(Refusal::Unexpected(state)),
        };
        context.transcript.add(message);
        Ok(Progress::Next(next))
    }
}

fn accept_extensions(
    parameters: &mut Parameters,
    extensions: &EncryptedExtensions<'_>,
    context: &Context<'_>,
) -> Result<(), HandshakeError> {
    if extensions.misplaced {
        return Err(HandshakeError::IllegalParameter);
    }
    if extensions.unsolicited {
        return Err(HandshakeError::UnsolicitedExtension);
    }
    if let Some(chosen) = extensions.use_srtp {
        let offered = &context.config.srtp_profiles;
        parameters.srtp_profile = Some(v12::client::accept_srtp(&chosen, offered)?);
    }
    Ok(())
}

/// RFC 8446 §4.3.2: within a handshake a request has no name.
fn accept_request(
    request: &CertificateRequest<'_>,
    context: &Context<'_>,
) -> Result<SignatureScheme, HandshakeError> {
    if !request.context.is_empty() {
        return Err(HandshakeError::IllegalParameter);
    }
    choose_scheme(request.signature_algorithms, context)
}

impl Flight {
    /// Checks the server's Finished and sends the client's flight.
    fn finish(
        self,
        peer: PeerCertificate,
        message: &Message<'_>,
        verify_data: &[u8],
        context: &mut Context<'_>,
    ) -> Result<Session, HandshakeError> {
        let Flight { parameters, schedule, client, server, proof } = self;
        let expected = server.verify_data(&context.transcript.running_hash())?;
        if !constant_time_eq(&expected, verify_data) {
            return Err(HandshakeError::BadFinished);
        }
        context.transcript.add(message);
        let secrets = conclude(DtlsRole::Client, &parameters, schedule, context)?;
        context.begin_flight();
        if let Some(scheme) = proof {
            send_proof(DtlsRole::Client, scheme, context)?;
        }
        send_finished(&client, context)?;
        let details = parameters.details(peer);
        Ok(Session { role: DtlsRole::Client, details, keys: Keys::V13(secrets) })
    }
}
