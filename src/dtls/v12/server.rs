//! The server's side of the 1.2 handshake.

use super::keys::Master;
use super::{Body, PROTECTED, Parameters};
use crate::crypto::constant_time_eq;
use crate::crypto::{CryptoError, KeyExchange, NamedGroup, SignatureScheme};
use crate::dtls::error::HandshakeError;
use crate::dtls::handshake::certificate::{CertificateRequest, Signed, client_certificate_type, emit_chain};
use crate::dtls::handshake::extension::{ServerExtensions, UseSrtp};
use crate::dtls::handshake::hello::{ClientHello, DOWNGRADE_TO_12, Random, ServerHello};
use crate::dtls::handshake::key_exchange::{ServerEcdhParams, ServerKeyExchange};
use crate::dtls::handshake::{Codes, HandshakeType, Message, written};
use crate::dtls::handshaking::{Context, Progress, Refusal, Step};
use crate::dtls::opening::EMPTY_RENEGOTIATION_INFO_SCSV;
use crate::dtls::peer::PeerCertificate;
use crate::dtls::session::{Details, Keys, Session};
use crate::dtls::suite::{Authentication, CipherSuite, Version};
use crate::types::setup::DtlsRole;
use crate::types::srtp_profile::SrtpProfile;

/// What the server waits for, with what it has gathered.
#[derive(Debug)]
#[allow(clippy::enum_variant_names)] // Each variant names what is waited for.
pub(crate) enum State {
    WaitCertificate(Offer),
    WaitClientKeyExchange(Offer, PeerCertificate),
    WaitCertificateVerify(Box<Finishing>),
    WaitFinished(Box<Finishing>),
}

/// What was agreed on, and the server's share.
#[derive(Debug)]
pub(crate) struct Offer {
    parameters: Parameters,
    group: NamedGroup,
    key_exchange: Box<dyn KeyExchange>,
}

/// All but the client's proofs.
#[derive(Debug)]
pub(crate) struct Finishing {
    parameters: Parameters,
    peer: PeerCertificate,
    group: NamedGroup,
    master: Master,
}

/// The server's choices among what the client offers.
struct Choice {
    cipher_suite: CipherSuite,
    group: NamedGroup,
    scheme: SignatureScheme,
    srtp_profile: Option<SrtpProfile>,
}

impl State {
    pub(crate) fn handle(self, message: &Message<'_>, context: &mut Context<'_>) -> Step<State> {
        let Ok(body) = Body::parse(message) else { return Err(Refusal::Malformed(self)) };
        let next = match (self, body) {
            (State::WaitCertificate(offer), Body::Certificate(certificate)) => {
                // RFC 8122 §6.2, RFC 8827 §6.5: both sides present certificates.
                let der = certificate.end_entity.ok_or(HandshakeError::NoCertificate)?;
                let peer = PeerCertificate::check(der, context.fingerprints)?;
                context.transcript.add(message);
                State::WaitClientKeyExchange(offer, peer)
            }
            (State::WaitClientKeyExchange(offer, peer), Body::ClientKeyExchange(exchange)) => {
                context.transcript.add(message);
                State::WaitCertificateVerify(agree(offer, peer, exchange.public, context)?)
            }
            (State::WaitCertificateVerify(finishing), Body::CertificateVerify(signed)) => {
                // RFC 5246 §7.4.8: over all messages before this one.
                let messages = context.transcript.messages();
                finishing.peer.verify(context.config.backend, signed.scheme, messages, signed.signature)?;
                context.transcript.add(message);
                State::WaitFinished(finishing)
            }
            (State::WaitFinished(finishing), Body::Finished(verify_data)) => {
                let finished = finishing.finish(message, verify_data, context);
                return finished.map(Progress::Complete).map_err(Refusal::Fatal);
            }
            (state, _) => return Err(Refusal::Unexpected(state)),
        };
        Ok(Progress::Next(next))
    }
}

/// The client asks for 1.2, or for nothing newer that is spoken here.
pub(crate) fn on_hello(
    hello: &ClientHello<'_>,
    message: &Message<'_>,
    context: &mut Context<'_>,
) -> Result<State, HandshakeError> {
    let choice = choose(hello, context)?;
    context.transcript.add(message);
    Ok(State::WaitCertificate(send_offer(hello, &choice, context)?))
}

/// Checks the client's hello and chooses from it, by the own preferences.
fn choose(hello: &ClientHello<'_>, context: &Context<'_>) -> Result<Choice, HandshakeError> {
    let (config, offered) = (context.config, &hello.extensions);
    // RFC 7627 §5.3.
    if !offered.extended_master_secret {
        return Err(HandshakeError::NoExtendedMasterSecret);
    }
    // RFC 5746 §3.6.
    if offered.renegotiation_info.is_some_and(|info| !info.is_empty()) {
        return Err(HandshakeError::Renegotiation);
    }
    let authentication = Some(Authentication::of(config.identity.algorithm()));
    let cipher_suite = config
        .suites_of(Version::Dtls12)
        .find(|suite| suite.authentication() == authentication && hello.cipher_suites.contains(suite.code()))
        .ok_or(HandshakeError::NoCommonSuite)?;
    let groups = offered.supported_groups.unwrap_or_default();
    let group = config
        .groups_of(Version::Dtls12)
        .find(|group| groups.contains(group.code()))
        .ok_or(HandshakeError::NoCommonGroup)?;
    let schemes = offered.signature_algorithms.unwrap_or_default();
    let scheme = config
        .identity
        .schemes()
        .iter()
        .find(|scheme| schemes.contains(scheme.code()))
        .ok_or(HandshakeError::NoCommonSignature)?;
    // RFC 5764 §4.1.1: without a common profile the extension is not answered, and there is no SRTP.
    let profiles = offered.use_srtp.map(|use_srtp| use_srtp.profiles).unwrap_or_default();
    let srtp_profile = config.srtp_profiles.iter().find(|profile| profiles.contains(profile.code()));
    Ok(Choice { cipher_suite, group, scheme: *scheme, srtp_profile: srtp_profile.copied() })
}

/// Sends the server's first flight.
fn send_offer(
    hello: &ClientHello<'_>,
    choice: &Choice,
    context: &mut Context<'_>,
) -> Result<Offer, HandshakeError> {
    let config = context.config;
    let parameters = Parameters {
        cipher_suite: choice.cipher_suite,
        client_random: hello.random,
        server_random: server_random(context),
        srtp_profile: choice.srtp_profile,
    };
    let key_exchange =
        config.backend.key_exchange(choice.group, context.rng).map_err(|_| HandshakeError::Internal)?;
    let params = ServerEcdhParams { group: choice.group.code(), public: key_exchange.public() };
    let signed_part = written(|w| params.emit(w));
    let to_sign = parameters.signed_key_exchange(&signed_part);
    let signature =
        config.identity.sign(choice.scheme, &to_sign, context.rng).map_err(|_| HandshakeError::Internal)?;
    let signed = Signed { scheme: choice.scheme.code(), signature: &signature };
    let schemes = SignatureScheme::ALL.map(|scheme| scheme.code().to_be_bytes());
    let request = CertificateRequest {
        types: &[client_certificate_type::ECDSA_SIGN, client_certificate_type::RSA_SIGN],
        signature_algorithms: Codes::new(&schemes),
    };

    context.begin_flight();
    send_hello(hello, &parameters, context);
    context.send(0, HandshakeType::CERTIFICATE, |w| emit_chain(config.identity.chain(), w));
    let exchange = ServerKeyExchange { params, signed_part: &signed_part, signed };
    context.send(0, HandshakeType::SERVER_KEY_EXCHANGE, |w| exchange.emit(w));
    context.send(0, HandshakeType::CERTIFICATE_REQUEST, |w| request.emit(w));
    context.send(0, HandshakeType::SERVER_HELLO_DONE, |_| {});
    Ok(Offer { parameters, group: choice.group, key_exchange })
}

/// RFC 8446 §4.1.3: it ends in a sign when 1.3 was possible at this end, so that a client that offered it is warned.
fn server_random(context: &mut Context<'_>) -> Random {
    let mut random: Random = context.rng.array();
    if context.config.allows(Version::Dtls13) {
        random[24..].copy_from_slice(&DOWNGRADE_TO_12);
    }
    random
}

fn send_hello(client: &ClientHello<'_>, parameters: &Parameters, context: &mut Context<'_>) {
    let profile = parameters.srtp_profile.map(|profile| [profile.code().to_be_bytes()]);
    // RFC 5746 §3.6: answered when the client signalled it, by the extension or by the suite.
    let renegotiation_info = client.extensions.renegotiation_info.is_some()
        || client.cipher_suites.contains(EMPTY_RENEGOTIATION_INFO_SCSV);
    let hello = ServerHello {
        version: Version::Dtls12.code(),
        random: parameters.server_random,
        session_id: &[],
        cipher_suite: parameters.cipher_suite.code(),
        extensions: ServerExtensions {
            point_formats: client.extensions.point_formats,
            use_srtp: profile.as_ref().map(|code| UseSrtp { profiles: Codes::new(code), mki: &[] }),
            extended_master_secret: true,
            renegotiation_info: renegotiation_info.then_some(&[]),
            ..ServerExtensions::default()
        },
    };
    context.send(0, HandshakeType::SERVER_HELLO, |w| hello.emit(w));
}

/// Derives the keys, so that the client's Finished can be opened.
fn agree(
    offer: Offer,
    peer: PeerCertificate,
    client_public: &[u8],
    context: &mut Context<'_>,
) -> Result<Box<Finishing>, HandshakeError> {
    let Offer { parameters, group, key_exchange } = offer;
    let premaster = key_exchange.agree(client_public).map_err(|error| match error {
        CryptoError::BadKeyShare => HandshakeError::BadKeyShare,
        _ => HandshakeError::Internal,
    })?;
    let Parameters { cipher_suite, client_random, server_random, .. } = parameters;
    let session_hash = context.transcript.hash(cipher_suite.hash());
    let master =
        Master::extended(cipher_suite, premaster.as_bytes(), &session_hash, client_random, server_random);
    let (sealer, opener) = master
        .protections(context.config.backend, cipher_suite, DtlsRole::Server)
        .map_err(|_| HandshakeError::Internal)?;
    context.records.install_sealer(sealer);
    context.records.install_opener(opener);
    context.log_secret(|| master.key_log_line());
    Ok(Box::new(Finishing { parameters, peer, group, master }))
}

impl Finishing {
    /// Checks the client's Finished and sends the own one.
    fn finish(
        self,
        message: &Message<'_>,
        verify_data: &[u8],
        context: &mut Context<'_>,
    ) -> Result<Session, HandshakeError> {
        let Parameters { cipher_suite, srtp_profile, .. } = self.parameters;
        let hash = context.transcript.hash(cipher_suite.hash());
        if !constant_time_eq(&self.master.verify_data(DtlsRole::Client, &hash), verify_data) {
            return Err(HandshakeError::BadFinished);
        }
        context.transcript.add(message);
        let hash = context.transcript.hash(cipher_suite.hash());
        let own = self.master.verify_data(DtlsRole::Server, &hash);
        context.begin_flight();
        context.send_change_cipher_spec();
        context.send(PROTECTED, HandshakeType::FINISHED, |w| w.slice(&own));
        Ok(Session {
            role: DtlsRole::Server,
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
