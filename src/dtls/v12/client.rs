//! The client's side of the 1.2 handshake.

use super::keys::{Master, VERIFY_DATA_LEN};
use super::{Body, EMPTY_RENEGOTIATION_INFO_SCSV, PROTECTED, Parameters};
use crate::crypto::constant_time_eq;
use crate::crypto::{CryptoError, NamedGroup, SignatureScheme};
use crate::dtls::error::HandshakeError;
use crate::dtls::handshake::certificate::{CertificateRequest, Signed, client_certificate_type, emit_chain};
use crate::dtls::handshake::extension::{ClientExtensions, UseSrtp};
use crate::dtls::handshake::hello::{ClientHello, Random, ServerHello};
use crate::dtls::handshake::key_exchange::{ClientKeyExchange, ServerKeyExchange};
use crate::dtls::handshake::{Codes, HandshakeType, Message};
use crate::dtls::handshaking::{Context, Progress, Refusal, Step};
use crate::dtls::peer::PeerCertificate;
use crate::dtls::session::{Details, Exporter, Session};
use crate::dtls::suite::{Authentication, CipherSuite, Version};
use crate::types::setup::DtlsRole;
use crate::types::srtp_profile::SrtpProfile;

/// How many HelloVerifyRequests are answered.
const MAX_COOKIES: u8 = 3;

/// What the client waits for, with what it has gathered.
#[derive(Debug)]
pub(crate) enum State {
    /// Not started.
    Idle,
    WaitServerHello {
        client_random: Random,
        cookies: u8,
    },
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
    /// Sends the hello.
    pub(crate) fn start(self, context: &mut Context<'_>) -> Step<State> {
        match self {
            State::Idle => {
                let client_random = context.rng.array();
                send_hello(client_random, &[], context);
                Ok(Progress::Next(State::WaitServerHello { client_random, cookies: 0 }))
            }
            state => Err(Refusal::Unexpected(state)),
        }
    }

    /// Waits for the server's flight once more, with the hello that was sent.
    pub(crate) fn wait_again(hello: &[u8], cookies: u8) -> State {
        match ClientHello::parse(hello) {
            Ok(hello) => State::WaitServerHello { client_random: hello.random, cookies },
            Err(_) => State::Idle,
        }
    }

    pub(crate) fn handle(
        self,
        message: &Message<'_>,
        body: Body<'_>,
        context: &mut Context<'_>,
    ) -> Step<State> {
        let next = match (self, body) {
            (State::WaitServerHello { client_random, cookies }, Body::HelloVerifyRequest(request))
                if cookies < MAX_COOKIES =>
            {
                // RFC 6347 §4.2.1: neither the first hello nor this message counts; the random stays.
                context.transcript.restart();
                send_hello(client_random, request.cookie, context);
                State::WaitServerHello { client_random, cookies: cookies + 1 }
            }
            (State::WaitServerHello { client_random, .. }, Body::ServerHello(hello)) => {
                let parameters = accept_hello(client_random, &hello, context)?;
                context.transcript.add(message);
                State::WaitCertificate(parameters)
            }
            (State::WaitCertificate(parameters), Body::Certificate(certificate)) => {
                let der = certificate.end_entity.ok_or(HandshakeError::NoCertificate)?;
                let peer = PeerCertificate::check(der, context.fingerprints)?;
                if peer.authentication() != parameters.cipher_suite.authentication() {
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

fn send_hello(random: Random, cookie: &[u8], context: &mut Context<'_>) {
    let config = context.config;
    let suites: Vec<[u8; 2]> = config
        .cipher_suites
        .iter()
        .map(|suite| suite.code())
        .chain([EMPTY_RENEGOTIATION_INFO_SCSV])
        .map(u16::to_be_bytes)
        .collect();
    let groups: Vec<[u8; 2]> = config.groups.iter().map(|group| group.code().to_be_bytes()).collect();
    let schemes = SignatureScheme::ALL.map(|scheme| scheme.code().to_be_bytes());
    let profiles: Vec<[u8; 2]> = config.srtp_profiles.iter().map(|p| p.code().to_be_bytes()).collect();
    let hello = ClientHello {
        version: Version::Dtls12.code(),
        random,
        session_id: &[],
        cookie,
        cipher_suites: Codes::new(&suites),
        extensions: ClientExtensions {
            supported_groups: Some(Codes::new(&groups)),
            point_formats: true,
            signature_algorithms: Some(Codes::new(&schemes)),
            use_srtp: (!profiles.is_empty()).then(|| UseSrtp { profiles: Codes::new(&profiles), mki: &[] }),
            extended_master_secret: true,
            renegotiation_info: Some(&[]),
        },
    };
    context.begin_flight();
    context.send(0, HandshakeType::CLIENT_HELLO, |w| hello.emit(w));
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
        .filter(|suite| config.cipher_suites.contains(suite))
        .ok_or(HandshakeError::IllegalParameter)?;
    let extensions = &hello.extensions;
    if extensions.unsolicited {
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
fn accept_srtp(chosen: &UseSrtp<'_>, offered: &[SrtpProfile]) -> Result<SrtpProfile, HandshakeError> {
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
        .filter(|group| context.config.groups.contains(group))
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
    context.records.install(sealer, opener);
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
            exporter: Exporter::V12(self.master),
        })
    }
}
