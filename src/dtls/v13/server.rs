//! The server's side of the 1.3 handshake, from the ClientHello on.

use super::keys::Traffic;
use super::{
    Body, HANDSHAKE, Parameters, Secrets, accept_certificate, begin_protection, choose_scheme, conclude,
    send_finished, send_proof, signed_content,
};
use crate::crypto::{CryptoError, NamedGroup, SignatureScheme, constant_time_eq};
use crate::dtls::error::HandshakeError;
use crate::dtls::handshake::certificate13::CertificateRequest;
use crate::dtls::handshake::extension::{EncryptedExtensions, KeyShare, ServerExtensions, UseSrtp};
use crate::dtls::handshake::hello::{ClientHello, RETRY_RANDOM, Random, ServerHello};
use crate::dtls::handshake::{Codes, HandshakeType, Message};
use crate::dtls::handshaking::{self, Context, Progress, Refusal, Step};
use crate::dtls::opening::Opening;
use crate::dtls::peer::PeerCertificate;
use crate::dtls::session::{Keys, Session};
use crate::dtls::suite::{CipherSuite, Version};
use crate::types::setup::DtlsRole;

/// Bytes of a cookie.
const COOKIE_LEN: usize = 32;

/// What the server waits for, with what it has gathered.
#[derive(Debug)]
#[allow(clippy::enum_variant_names)] // Each variant names what is waited for.
pub(crate) enum State {
    WaitCertificate(Box<Finishing>),
    WaitCertificateVerify(Box<Finishing>, PeerCertificate),
    WaitFinished(Box<Finishing>, PeerCertificate),
}

/// All but the client's proofs.
#[derive(Debug)]
pub(crate) struct Finishing {
    parameters: Parameters,
    /// The client's handshake secret.
    client: Traffic,
    secrets: Box<Secrets>,
}

/// What a HelloRetryRequest asked for, and what the second hello must not change (RFC 8446 §4.1.2).
#[derive(Debug)]
pub(crate) struct Retried {
    client_random: Random,
    cipher_suite: CipherSuite,
    group: NamedGroup,
    cookie: Option<[u8; COOKIE_LEN]>,
}

/// The client asks for 1.3: answers with the server's flight, or with the request for another hello.
pub(crate) fn on_hello(
    hello: &ClientHello<'_>,
    message: &Message<'_>,
    retried: Option<Retried>,
    context: &mut Context<'_>,
) -> Result<handshaking::State, HandshakeError> {
    // RFC 9147 §5.3: a cookie of 1.2 has no place in 1.3.
    if !hello.cookie.is_empty() {
        return Err(HandshakeError::IllegalParameter);
    }
    let cipher_suite = context
        .config
        .suites_of(Version::Dtls13)
        .find(|suite| hello.cipher_suites.contains(suite.code()))
        .ok_or(HandshakeError::NoCommonSuite)?;
    if let Some(retried) = &retried {
        retried.check(hello, cipher_suite)?;
    }
    // RFC 8446 §9.2: one without the other is an error.
    let offered = &hello.extensions;
    let (Some(groups), Some(shares)) = (offered.supported_groups, offered.key_shares) else {
        return Err(HandshakeError::MissingExtension);
    };
    let common = |group: &NamedGroup| groups.contains(group.code());
    let allowed = || context.config.groups_of(Version::Dtls13).filter(common);
    let with_share = allowed().find(|group| shares.find(group.code()).is_some());
    match (with_share, &retried) {
        (Some(group), Some(retried)) if group != retried.group => Err(HandshakeError::IllegalParameter),
        (Some(group), None) if context.config.cookie => {
            ask_again(hello, message, cipher_suite, group, context)
        }
        (Some(group), _) => {
            let scheme = choose_scheme(offered.signature_algorithms, context)?;
            context.transcript.run(cipher_suite.hash());
            context.transcript.add(message);
            let share = shares.find(group.code()).unwrap_or_default();
            let parameters = Parameters {
                cipher_suite,
                group,
                client_random: hello.random,
                srtp_profile: choose_srtp(hello, context),
            };
            let finishing = send_flight(parameters, share, scheme, context)?;
            Ok(handshaking::State::Server13(State::WaitCertificate(Box::new(finishing))))
        }
        (None, Some(_)) => Err(HandshakeError::IllegalParameter),
        (None, None) => {
            let group = allowed().next().ok_or(HandshakeError::NoCommonGroup)?;
            ask_again(hello, message, cipher_suite, group, context)
        }
    }
}

impl Retried {
    /// RFC 8446 §4.1.2: the second hello is the first one, but for the share and the cookie.
    fn check(&self, hello: &ClientHello<'_>, cipher_suite: CipherSuite) -> Result<(), HandshakeError> {
        let cookie = hello.extensions.cookie.unwrap_or_default();
        let is_cookie_right = constant_time_eq(cookie, self.cookie.as_ref().map_or(&[], |own| &own[..]));
        let is_same = self.client_random == hello.random && self.cipher_suite == cipher_suite;
        if is_cookie_right && is_same { Ok(()) } else { Err(HandshakeError::IllegalParameter) }
    }
}

/// RFC 5764 §4.1.1: without a common profile the extension is not answered, and there is no SRTP.
fn choose_srtp(
    hello: &ClientHello<'_>,
    context: &Context<'_>,
) -> Option<crate::types::srtp_profile::SrtpProfile> {
    let profiles = hello.extensions.use_srtp.map(|use_srtp| use_srtp.profiles).unwrap_or_default();
    context.config.srtp_profiles.iter().copied().find(|profile| profiles.contains(profile.code()))
}

/// Sends a HelloRetryRequest (RFC 8446 §4.1.4).
fn ask_again(
    hello: &ClientHello<'_>,
    message: &Message<'_>,
    cipher_suite: CipherSuite,
    group: NamedGroup,
    context: &mut Context<'_>,
) -> Result<handshaking::State, HandshakeError> {
    let cookie = context.config.cookie.then(|| context.rng.array::<COOKIE_LEN>());
    let has_share = hello.extensions.key_shares.is_some_and(|shares| shares.find(group.code()).is_some());
    let request = ServerHello {
        version: Version::Dtls12.code(),
        random: RETRY_RANDOM,
        session_id: &[],
        cipher_suite: cipher_suite.code(),
        extensions: ServerExtensions {
            supported_version: Some(Version::Dtls13.code()),
            retry_group: (!has_share).then_some(group.code()),
            cookie: cookie.as_ref().map(|cookie| &cookie[..]),
            ..ServerExtensions::default()
        },
    };
    context.transcript.add(message);
    context.transcript.run_from_hash(cipher_suite.hash());
    context.begin_flight();
    context.send(0, HandshakeType::SERVER_HELLO, |w| request.emit(w));
    let retried = Retried { client_random: hello.random, cipher_suite, group, cookie };
    Ok(handshaking::State::Opening(Opening::WaitSecondHello(Box::new(retried))))
}

/// Sends the server's flight and changes to the new keys.
fn send_flight(
    parameters: Parameters,
    client_share: &[u8],
    scheme: SignatureScheme,
    context: &mut Context<'_>,
) -> Result<Finishing, HandshakeError> {
    let config = context.config;
    let (public, shared) = config.backend.encapsulate(parameters.group, client_share, context.rng).map_err(
        |error| match error {
            CryptoError::BadKeyShare => HandshakeError::BadKeyShare,
            _ => HandshakeError::Internal,
        },
    )?;
    let hello = ServerHello {
        version: Version::Dtls12.code(),
        random: context.rng.array(),
        // RFC 9147 §5: never repeated.
        session_id: &[],
        cipher_suite: parameters.cipher_suite.code(),
        extensions: ServerExtensions {
            supported_version: Some(Version::Dtls13.code()),
            key_share: Some(KeyShare { group: parameters.group.code(), public: &public }),
            ..ServerExtensions::default()
        },
    };
    context.begin_flight();
    context.send(0, HandshakeType::SERVER_HELLO, |w| hello.emit(w));
    let (schedule, [client, server]) = begin_protection(DtlsRole::Server, &parameters, &shared, context)?;

    let profile = parameters.srtp_profile.map(|profile| [profile.code().to_be_bytes()]);
    let use_srtp = profile.as_ref().map(|code| UseSrtp { profiles: Codes::new(code), mki: &[] });
    let extensions = EncryptedExtensions { use_srtp, ..EncryptedExtensions::default() };
    context.send(HANDSHAKE, HandshakeType::ENCRYPTED_EXTENSIONS, |w| extensions.emit(w));
    let schemes = SignatureScheme::ALL.map(|scheme| scheme.code().to_be_bytes());
    let request = CertificateRequest { context: &[], signature_algorithms: Some(Codes::new(&schemes)) };
    context.send(HANDSHAKE, HandshakeType::CERTIFICATE_REQUEST, |w| request.emit(w));
    send_proof(DtlsRole::Server, scheme, context)?;
    send_finished(&server, context)?;
    let secrets = conclude(DtlsRole::Server, &parameters, schedule, context)?;
    Ok(Finishing { parameters, client, secrets })
}

impl State {
    pub(crate) fn handle(self, message: &Message<'_>, context: &mut Context<'_>) -> Step<State> {
        let Ok(body) = Body::parse(message) else { return Err(Refusal::Malformed(self)) };
        let next = match (self, body) {
            (State::WaitCertificate(finishing), Body::Certificate(certificate)) => {
                // RFC 8122 §6.2, RFC 8827 §6.5: both sides present certificates.
                let peer = accept_certificate(&certificate, context)?;
                State::WaitCertificateVerify(finishing, peer)
            }
            (State::WaitCertificateVerify(finishing, peer), Body::CertificateVerify(signed)) => {
                let content = signed_content(DtlsRole::Client, &context.transcript.running_hash());
                peer.verify_13(context.config.backend, signed.scheme, &content, signed.signature)?;
                State::WaitFinished(finishing, peer)
            }
            (State::WaitFinished(finishing, peer), Body::Finished(verify_data)) => {
                let Finishing { parameters, client, mut secrets } = *finishing;
                let expected =
                    client.verify_data(&context.transcript.running_hash()).map_err(HandshakeError::from)?;
                if !constant_time_eq(&expected, verify_data) {
                    return Err(HandshakeError::BadFinished.into());
                }
                // The own flight has arrived.
                context.clear_flight();
                secrets.former = Some(client);
                let details = parameters.details(peer);
                return Ok(Progress::Complete(Session {
                    role: DtlsRole::Server,
                    details,
                    keys: Keys::V13(secrets),
                }));
            }
            (state, _) => return Err(Refusal::Unexpected(state)),
        };
        context.transcript.add(message);
        Ok(Progress::Next(next))
    }
}
