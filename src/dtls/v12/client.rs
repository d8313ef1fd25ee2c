//! The client's side of the 1.2 handshake.

use super::keys::{Master, VERIFY_DATA_LEN};
use super::{Body, PROTECTED, Parameters};
use crate::crypto::constant_time_eq;
use crate::crypto::{CryptoError, NamedGroup, SignatureScheme};
use crate::dtls::error::HandshakeError;
use crate::dtls::handshake::certificate::{CertificateRequest, Signed, client_certificate_type, emit_chain};
use crate::dtls::handshake::extension::UseSrtp;
use crate::dtls::handshake::hello::{Random, ServerHello};
use crate::dtls::handshake::key_exchange::{ClientKeyExchange, ServerKeyExchange};
use crate::dtls::handshake::{HandshakeType, Message};
use crate::dtls::handshaking::{Context, Progress, Refusal, Step};
use crate::dtls::peer::PeerCertificate;
use crate::dtls::session::{Details, Keys, Session};
use crate::dtls::suite::{Authentication, CipherSuite, Version};
use crate::types::setup::DtlsRole;
use crate::types::srtp_profile::SrtpProfile;

/// What the client waits for, with what it has gathered.
#[derive(Debug)]
#[allow(clippy::enum_variant_names)] // Each variant names what is waited for.
pub(crate) enum State {
    WaitCertificate(Parameters),
    WaitServerKeyExchange(Parameters, PeerCertificate),
    WaitServerHelloDone(Box<ServerFlight>),
    WaitFinished(Box<Finishing>),
}

/// The server's flight so far.
#[derive(Debug)]
pub(crate) struct ServerFlight {
    parameters: Parameters,
    peer: PeerCertificate,
    group: NamedGroup,
    server_public: Vec<u8>,
    /// The scheme for the own CertificateVerify, if the server asked for it.
    proof: Option<SignatureScheme>,
}

/// All but the server's Finished.
#[derive(Debug)]
pub(crate) struct Finishing {
    parameters: Parameters,
    peer: PeerCertificate,
    group: NamedGroup,
    master: Master,
}

impl State {
    pub(crate) fn handle(self, message: &Message<'_>, context: &mut Context<'_>) -> Step<State> {
        let Ok(body) = Body::parse(message) else { return Err(Refusal::Malformed(self)) };
        let next = match (self, body) {
            (State::WaitCertificate(parameters), Body::Certificate(certificate)) => {
                let der = certificate.end_entity.ok_or(HandshakeError::NoCertificate)?;
                let peer = PeerCertificate::check(der, context.fingerprints)?;
                if Some(peer.authentication()) != parameters.cipher_suite.authentication() {
                    return Err(HandshakeError::IllegalParameter.into());
                }
                context.transcript.add(message);
                State::WaitServerKeyExchange(parameters, peer)
            }
            (State::WaitServerKeyExchange(parameters, peer), Body::ServerKeyExchange(exchange)) => {
                let flight = accept_key_exchange(parameters, peer, &exchange, context)?;
                context.transcript.add(message);
                State::WaitServerHelloDone(flight)
            }
            (State::WaitServerHelloDone(mut flight), Body::CertificateRequest(request))
                if flight.proof.is_none() =>
            {
                flight.proof = Some(choose_proof(&request, context)?);
                context.transcript.add(message);
                State::WaitServerHelloDone(flight)
            }
            (State::WaitServerHelloDone(flight), Body::ServerHelloDone) => {
                context.transcript.add(message);
                State::WaitFinished(Box::new(send_proof(*flight, context)?))
            }
            (State::WaitFinished(finishing), Body::Finished(verify_data)) => {
                return finishing
                    .finish(verify_data, context)
                    .map(Progress::Complete)
                    .map_err(Refusal::Fatal);
            }
            (state, _) => return Err(Refusal::Unexpected(state)),
        };
        Ok(Progress::Next(next))
    }
}

/// The server chose 1.2.
pub(crate) fn on_hello(
    client_random: Random,
    hello: &ServerHello<'_>,
    message: &Message<'_>,
    context: &mut Context<'_>,
) -> Result<State, HandshakeError> {
    let parameters = accept_hello(client_random, hello, context)?;
    context.transcript.add(message);
    Ok(State::WaitCertificate(parameters))
}

/// Checks the server's choice against what was offered.
fn accept_hello(
    client_random: Random,
    hello: &ServerHello<'_>,
    context: &Context<'_>,
) -> Result<Parameters, HandshakeError> {
    let config = context.config;
    if hello.version != Version::Dtls12.code() {
        return Err(HandshakeError::Version);
    }
    let cipher_suite = CipherSuite::from_code(hello.cipher_suite)
        .filter(|suite| suite.version() == Version::Dtls12 && config.cipher_suites.contains(suite))
        .ok_or(HandshakeError::IllegalParameter)?;
    let extensions = &hello.extensions;
    if extensions.unsolicited || extensions.has_parts_of_13() {
        return Err(HandshakeError::UnsolicitedExtension);
    }
    // RFC 7627 §5.3: without it the handshake ends.
    if !extensions.extended_master_secret {
        return Err(HandshakeError::NoExtendedMasterSecret);
    }
    // RFC 5746 §3.4: present, it is empty. Absent, the peer is old, and renegotiation is refused anyway.
    if extensions.renegotiation_info.is_some_and(|info| !info.is_empty()) {
        return Err(HandshakeError::Renegotiation);
    }
    let srtp_profile = match extensions.use_srtp {
        None => None,
        Some(chosen) => Some(accept_srtp(&chosen, &config.srtp_profiles)?),
    };
    Ok(Parameters { cipher_suite, client_random, server_random: hello.random, srtp_profile })
}

/// RFC 5764 §4.1.1: one profile of those that were offered, and the key identifier that was offered: none.
pub(crate) fn accept_srtp(
    chosen: &UseSrtp<'_>,
    offered: &[SrtpProfile],
) -> Result<SrtpProfile, HandshakeError> {
    let mut codes = chosen.profiles.iter();
    let profile = codes.next().and_then(SrtpProfile::from_code).filter(|profile| offered.contains(profile));
    match (profile, codes.next(), chosen.mki) {
        (Some(profile), None, []) => Ok(profile),
        _ => Err(HandshakeError::IllegalParameter),
    }
}

/// Checks the server's share and its signature (RFC 8422 §5.4).
fn accept_key_exchange(
    parameters: Parameters,
    peer: PeerCertificate,
    exchange: &ServerKeyExchange<'_>,
    context: &Context<'_>,
) -> Result<Box<ServerFlight>, HandshakeError> {
    let group = NamedGroup::from_code(exchange.params.group)
        .filter(|group| context.config.groups_of(Version::Dtls12).any(|allowed| allowed == *group))
        .ok_or(HandshakeError::IllegalParameter)?;
    let signed = parameters.signed_key_exchange(exchange.signed_part);
    peer.verify(context.config.backend, exchange.signed.scheme, &signed, exchange.signed.signature)?;
    let server_public = exchange.params.public.to_vec();
    Ok(Box::new(ServerFlight { parameters, peer, group, server_public, proof: None }))
}

/// The own key's first scheme that the server accepts (RFC 5246 §7.4.4).
fn choose_proof(
    request: &CertificateRequest<'_>,
    context: &Context<'_>,
) -> Result<SignatureScheme, HandshakeError> {
    let identity = &context.config.identity;
    let kind = match Authentication::of(identity.algorithm()) {
        Authentication::Ecdsa => client_certificate_type::ECDSA_SIGN,
        Authentication::Rsa => client_certificate_type::RSA_SIGN,
    };
    let accepted = |scheme: &&SignatureScheme| request.signature_algorithms.contains(scheme.code());
    match identity.schemes().iter().find(accepted) {
        Some(scheme) if request.types.contains(&kind) => Ok(*scheme),
        _ => Err(HandshakeError::NoCommonSignature),
    }
}

/// Sends the client's second flight and changes to the new keys.
fn send_proof(flight: ServerFlight, context: &mut Context<'_>) -> Result<Finishing, HandshakeError> {
    let ServerFlight { parameters, peer, group, server_public, proof } = flight;
    let config = context.config;
    let (public, premaster) =
        config.backend.encapsulate(group, &server_public, context.rng).map_err(|error| match error {
            CryptoError::BadKeyShare => HandshakeError::BadKeyShare,
            _ => HandshakeError::Internal,
        })?;
    context.begin_flight();
    if proof.is_some() {
        context.send(0, HandshakeType::CERTIFICATE, |w| emit_chain(config.identity.chain(), w));
    }
    let exchange = ClientKeyExchange { public: &public };
    context.send(0, HandshakeType::CLIENT_KEY_EXCHANGE, |w| exchange.emit(w));

    let suite = parameters.cipher_suite;
    let session_hash = context.transcript.hash(suite.hash());
    let Parameters { client_random, server_random, .. } = parameters;
    let master = Master::extended(suite, premaster.as_bytes(), &session_hash, client_random, server_random);
    if let Some(scheme) = proof {
        // RFC 5246 §7.4.8: over all messages so far.
        let signature = config.identity.sign(scheme, context.transcript.messages(), context.rng);
        let signature = signature.map_err(|_| HandshakeError::Internal)?;
        let signed = Signed { scheme: scheme.code(), signature: &signature };
        context.send(0, HandshakeType::CERTIFICATE_VERIFY, |w| signed.emit(w));
    }
    let (sealer, opener) =
        master.protections(config.backend, suite, DtlsRole::Client).map_err(|_| HandshakeError::Internal)?;
    context.records.install_sealer(sealer);
    context.records.install_opener(opener);
    context.log_secret(|| master.key_log_line());

    let verify_data = master.verify_data(DtlsRole::Client, &context.transcript.hash(suite.hash()));
    context.send_change_cipher_spec();
    context.send(PROTECTED, HandshakeType::FINISHED, |w| w.slice(&verify_data));
    Ok(Finishing { parameters, peer, group, master })
}

impl Finishing {
    fn finish(self, verify_data: &[u8], context: &Context<'_>) -> Result<Session, HandshakeError> {
        let Parameters { cipher_suite, srtp_profile, .. } = self.parameters;
        let hash = context.transcript.hash(cipher_suite.hash());
        let expected: [u8; VERIFY_DATA_LEN] = self.master.verify_data(DtlsRole::Server, &hash);
        if !constant_time_eq(&expected, verify_data) {
            return Err(HandshakeError::BadFinished);
        }
        Ok(Session {
            role: DtlsRole::Client,
            details: Details {
                version: Version::Dtls12,
                cipher_suite,
                group: self.group,
                srtp_profile,
                peer_certificate: self.peer.der,
            },
            keys: Keys::V12(self.master),
        })
    }
}
