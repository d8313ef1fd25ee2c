//! The opening of a handshake: the client's hello, the same for every version, and the choice of the version.
//!
//! ```text
//! client  Idle -> WaitServerHello ---ServerHello with supported_versions---> v13::client
//!                  |  ^   |  ^  \---ServerHello without----------------> v12::client
//!      HelloVerifyRequest  HelloRetryRequest
//!
//! server  WaitClientHello ---> v12::server, v13::server
//!                      \---HelloRetryRequest---> WaitSecondHello ---> v13::server
//! ```

use super::config::Config;
use super::error::HandshakeError;
use super::handshake::extension::{ClientExtensions, KeyShare, KeyShares, UseSrtp};
use super::handshake::hello::{ClientHello, HelloVerifyRequest, Random, ServerHello};
use super::handshake::{Codes, HandshakeType, Message, written};
use super::handshaking::{Context, Progress, Refusal, State, Step};
use super::suite::Version;
use super::v13::server::Retried;
use super::{v12, v13};
use crate::crypto::{KeyExchange, NamedGroup, SignatureScheme};
use crate::wire::Malformed;
use crate::wire::reader::Reader;

/// Signals that `renegotiation_info` is understood (RFC 5746 §3.3).
pub(crate) const EMPTY_RENEGOTIATION_INFO_SCSV: u16 = 0x00ff;

/// How many HelloVerifyRequests are answered.
const MAX_COOKIES: u8 = 3;

/// What an end waits for while the version is open.
#[derive(Debug)]
pub(crate) enum Opening {
    /// A client that is not started.
    Idle,
    WaitServerHello(Hello),
    WaitClientHello,
    WaitSecondHello(Box<Retried>),
}

/// The hello that was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hello {
    pub(crate) random: Random,
    /// HelloVerifyRequests that were answered.
    pub(crate) cookies: u8,
    /// What the HelloRetryRequest chose, if one was answered: its suite's code and the group.
    pub(crate) retried: Option<(u16, Option<NamedGroup>)>,
}

/// A decoded message of the opening.
#[derive(Debug)]
enum Body<'a> {
    ClientHello(ClientHello<'a>),
    ServerHello(ServerHello<'a>),
    HelloVerifyRequest(HelloVerifyRequest<'a>),
    Other,
}

impl<'a> Body<'a> {
    fn parse(message: &Message<'a>) -> Result<Self, Malformed> {
        let body = message.body;
        Ok(match message.kind {
            HandshakeType::CLIENT_HELLO => Body::ClientHello(ClientHello::parse(body)?),
            HandshakeType::SERVER_HELLO => Body::ServerHello(ServerHello::parse(body)?),
            HandshakeType::HELLO_VERIFY_REQUEST => Body::HelloVerifyRequest(HelloVerifyRequest::parse(body)?),
            _ => Body::Other,
        })
    }
}

impl Opening {
    /// Sends the first hello.
    pub(crate) fn start(self, context: &mut Context<'_>) -> Step<State> {
        let Opening::Idle = self else { return Err(Refusal::Unexpected(State::Opening(self))) };
        let hello = Hello { random: context.rng.array(), cookies: 0, retried: None };
        make_shares(context)?;
        send_hello(&hello, HelloCookie::None, context);
        Ok(Progress::Next(State::Opening(Opening::WaitServerHello(hello))))
    }

    /// Waits for the server's flight once more, with the hello that was sent.
    pub(crate) fn wait_again(hello: &[u8], cookies: u8) -> Opening {
        match ClientHello::parse(hello) {
            Ok(hello) => Opening::WaitServerHello(Hello { random: hello.random, cookies, retried: None }),
            Err(_) => Opening::Idle,
        }
    }

    pub(crate) fn handle(self, message: &Message<'_>, context: &mut Context<'_>) -> Step<State> {
        let Ok(body) = Body::parse(message) else { return Err(Refusal::Malformed(State::Opening(self))) };
        let next = match (self, body) {
            (Opening::WaitServerHello(hello), Body::HelloVerifyRequest(request))
                if hello.cookies < MAX_COOKIES
                    && hello.retried.is_none()
                    && context.config.allows(Version::Dtls12) =>
            {
                // RFC 6347 §4.2.1: neither the first hello nor this message counts; the random stays.
                context.transcript.restart();
                let hello = Hello { cookies: hello.cookies + 1, ..hello };
                send_hello(&hello, HelloCookie::Old(request.cookie), context);
                State::Opening(Opening::WaitServerHello(hello))
            }
            (Opening::WaitServerHello(hello), Body::ServerHello(answer)) => {
                on_server_hello(hello, &answer, message, context)?
            }
            (Opening::WaitClientHello, Body::ClientHello(hello)) => match choose_version(&hello, context)? {
                Version::Dtls13 => v13::server::on_hello(&hello, message, None, context)?,
                Version::Dtls12 => State::Server12(v12::server::on_hello(&hello, message, context)?),
            },
            (Opening::WaitSecondHello(retried), Body::ClientHello(hello)) => {
                if choose_version(&hello, context)? != Version::Dtls13 {
                    return Err(HandshakeError::IllegalParameter.into());
                }
                v13::server::on_hello(&hello, message, Some(*retried), context)?
            }
            (opening, _) => return Err(Refusal::Unexpected(State::Opening(opening))),
        };
        Ok(Progress::Next(next))
    }
}

/// The server chose a version, or asks for another hello.
fn on_server_hello(
    hello: Hello,
    answer: &ServerHello<'_>,
    message: &Message<'_>,
    context: &mut Context<'_>,
) -> Result<State, HandshakeError> {
    match answer.extensions.supported_version {
        Some(version) => {
            // RFC 8446 §4.2.1: one of those offered, and 1.2 is not chosen in this way.
            if version != Version::Dtls13.code() || !context.config.allows(Version::Dtls13) {
                return Err(HandshakeError::IllegalParameter);
            }
            if answer.is_retry() {
                retry(hello, answer, message, context)
            } else {
                v13::client::on_hello(&hello, answer, message, context).map(State::Client13)
            }
        }
        // RFC 8446 §4.1.4, §9.2: a HelloRetryRequest is of 1.3 and says so.
        None if answer.is_retry() => Err(HandshakeError::IllegalParameter),
        None => {
            if !context.config.allows(Version::Dtls12) {
                return Err(HandshakeError::Version);
            }
            // RFC 8446 §4.1.3, RFC 9147 §5.3: somebody made the server believe that we speak no 1.3.
            let was_offered = context.config.allows(Version::Dtls13);
            if hello.retried.is_some() || was_offered && answer.is_downgraded() {
                return Err(HandshakeError::IllegalParameter);
            }
            v12::client::on_hello(hello.random, answer, message, context).map(State::Client12)
        }
    }
}

/// RFC 8446 §4.1.4: another hello, with what the server asks for.
fn retry(
    hello: Hello,
    answer: &ServerHello<'_>,
    message: &Message<'_>,
    context: &mut Context<'_>,
) -> Result<State, HandshakeError> {
    if hello.retried.is_some() {
        return Err(HandshakeError::UnexpectedMessage);
    }
    let suite = v13::client::accept_suite(answer, context)?;
    let extensions = &answer.extensions;
    let group = match extensions.retry_group {
        None => None,
        Some(code) => {
            // RFC 8446 §4.2.8: one that was offered, and of which no share was sent.
            let group = NamedGroup::from_code(code).filter(|group| context.config.groups.contains(group));
            let group = group.filter(|group| context.key_shares.iter().all(|share| share.group != *group));
            Some(group.ok_or(HandshakeError::IllegalParameter)?)
        }
    };
    // RFC 8446 §4.1.4: what changes nothing is an error.
    if group.is_none() && extensions.cookie.is_none() {
        return Err(HandshakeError::IllegalParameter);
    }
    context.transcript.run_from_hash(suite.hash());
    context.transcript.add(message);
    if let Some(group) = group {
        context.key_shares.clear();
        add_share(group, context)?;
    }
    let hello = Hello { retried: Some((answer.cipher_suite, group)), ..hello };
    send_hello(&hello, extensions.cookie.map_or(HelloCookie::None, HelloCookie::New), context);
    Ok(State::Opening(Opening::WaitServerHello(hello)))
}

/// RFC 8446 §4.2.1, §D.2: the newest version that both ends speak.
fn choose_version(hello: &ClientHello<'_>, context: &Context<'_>) -> Result<Version, HandshakeError> {
    let offers = |version: Version| match hello.extensions.supported_versions {
        Some(versions) => versions.contains(version.code()),
        // Versions count downwards: 1.2 and whatever is newer.
        None => version == Version::Dtls12 && hello.version <= version.code() && hello.version >> 8 == 0xfe,
    };
    [Version::Dtls13, Version::Dtls12]
        .into_iter()
        .find(|version| context.config.allows(*version) && offers(*version))
        .ok_or(HandshakeError::Version)
}

/// A private key and the group of its share.
#[derive(Debug)]
pub(crate) struct OwnShare {
    pub(crate) group: NamedGroup,
    pub(crate) key: Box<dyn KeyExchange>,
}

/// The shares of a first hello.
fn make_shares(context: &mut Context<'_>) -> Result<(), HandshakeError> {
    context.key_shares.clear();
    shared_groups(context.config).try_for_each(|group| add_share(group, context))
}

/// The groups of which a first hello has a share.
pub(crate) fn shared_groups(config: &Config) -> impl Iterator<Item = NamedGroup> {
    let is_shared = |group: &NamedGroup| config.allows(Version::Dtls13) && config.key_shares.contains(group);
    config.groups.iter().copied().filter(is_shared)
}

fn add_share(group: NamedGroup, context: &mut Context<'_>) -> Result<(), HandshakeError> {
    let key = context.config.backend.key_exchange(group, context.rng);
    let key = key.map_err(|_| HandshakeError::Internal)?;
    context.key_shares.push(OwnShare { group, key });
    Ok(())
}

/// What a server gave to be repeated.
enum HelloCookie<'a> {
    None,
    /// By a HelloVerifyRequest of 1.2.
    Old(&'a [u8]),
    /// By a HelloRetryRequest of 1.3.
    New(&'a [u8]),
}

fn send_hello(hello: &Hello, cookie: HelloCookie<'_>, context: &mut Context<'_>) {
    let config = context.config;
    let wire = |codes: &mut dyn Iterator<Item = u16>| codes.map(u16::to_be_bytes).collect::<Vec<_>>();
    let allowed = |version: &Version| config.allows(*version);
    let versions: Vec<Version> = [Version::Dtls13, Version::Dtls12].into_iter().filter(allowed).collect();
    let speaks_12 = config.allows(Version::Dtls12);
    let speaks_13 = config.allows(Version::Dtls13);
    let suites = versions.iter().flat_map(|version| config.suites_of(*version)).map(|suite| suite.code());
    let suites = wire(&mut suites.chain(speaks_12.then_some(EMPTY_RENEGOTIATION_INFO_SCSV)));
    let groups = wire(&mut config.groups_of(config.max_version).map(NamedGroup::code));
    // Those that 1.3 has for certificates only stay on the list: self-signed certificates are made with them.
    let schemes = wire(&mut SignatureScheme::ALL.into_iter().map(SignatureScheme::code));
    let profiles = wire(&mut config.srtp_profiles.iter().map(|profile| profile.code()));
    let versions = wire(&mut versions.iter().map(|version| version.code()));
    let shares = written(|w| {
        for OwnShare { group, key } in context.key_shares.iter() {
            KeyShare { group: group.code(), public: key.public() }.emit(w);
        }
    });
    let shares = KeyShares::parse(Reader::new(&shares, "key shares")).unwrap_or_default();
    let (old_cookie, new_cookie) = match cookie {
        HelloCookie::None => (&[][..], None),
        HelloCookie::Old(cookie) => (cookie, None),
        HelloCookie::New(cookie) => (&[][..], Some(cookie)),
    };
    let hello = ClientHello {
        version: Version::Dtls12.code(),
        random: hello.random,
        session_id: &[],
        cookie: old_cookie,
        cipher_suites: Codes::new(&suites),
        extensions: ClientExtensions {
            supported_groups: Some(Codes::new(&groups)),
            point_formats: speaks_12,
            signature_algorithms: Some(Codes::new(&schemes)),
            use_srtp: (!profiles.is_empty()).then(|| UseSrtp { profiles: Codes::new(&profiles), mki: &[] }),
            extended_master_secret: speaks_12,
            renegotiation_info: speaks_12.then_some(&[]),
            supported_versions: speaks_13.then(|| Codes::new(&versions)),
            cookie: new_cookie,
            key_shares: speaks_13.then_some(shares),
            // Hellos of another length cannot be mixed up, in fragments, with those that came before.
            padding: (context.tries > 0).then_some(context.tries),
        },
    };
    context.begin_flight();
    context.send(0, HandshakeType::CLIENT_HELLO, |w| hello.emit(w));
}
