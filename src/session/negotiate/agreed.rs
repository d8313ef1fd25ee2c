//! The transport that both sides have agreed upon, and what an exchange makes of it: roles (RFC 8842 §5, RFC 8445
//! §6.1.1), and whether it goes on or ICE starts anew (RFC 8839 §4.4.1.1.1).

use crate::session::negotiate::error::NegotiationError;
use crate::session::negotiate::transport::{RemoteTransport, Told};
use crate::types::credentials::Credentials;
use crate::types::fingerprint::Fingerprint;
use crate::types::setup::{DtlsRole, IceRole, Setup};

/// The transport that was agreed upon.
#[derive(Debug, Clone)]
pub(super) struct Agreed {
    local_ufrag: String,
    pub(super) remote: Credentials,
    fingerprints: Vec<Fingerprint>,
    pub(super) dtls_role: DtlsRole,
    ice_role: IceRole,
    /// Both sides have the ICE option `sped`. Settled with the first exchange.
    pub(super) sped: bool,
    /// The tagged section of the bundle (RFC 9143 §2), in which candidates stand.
    pub(super) tag: usize,
    /// The section from which the peer's transport was read: the tagged one, nearly always.
    pub(super) source: usize,
}

/// Which side of an exchange is the local one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Offerer,
    Answerer { preferred_role: DtlsRole },
}

/// The local side of an exchange.
#[derive(Debug, Clone, Copy)]
pub(super) struct Local<'a> {
    pub(super) side: Side,
    pub(super) ufrag: &'a str,
    pub(super) ice_lite: bool,
    pub(super) sped: bool,
}

/// What an exchange has settled about the transport.
#[derive(Debug)]
pub(super) struct Settled {
    /// What is kept for the next exchange.
    pub(super) agreed: Agreed,
    /// What the session is told.
    pub(super) remote: RemoteTransport,
    /// Whether ICE starts anew.
    pub(super) ice_restart: bool,
}

impl Agreed {
    /// Draws from both sides what holds from now on; `before` is what held so far. `tag` is the tagged section.
    pub(super) fn draw(
        before: Option<&Agreed>,
        told: Told,
        tag: usize,
        local: Local<'_>,
    ) -> Result<Settled, NegotiationError> {
        let ice_restart = match before {
            Some(before) => before.check(&told, local)?,
            None => false,
        };
        let established = before.map(|before| before.dtls_role);
        let dtls_role = match local.side {
            Side::Offerer => offerer_role(told.setup, established, told.source)?,
            Side::Answerer { preferred_role } => {
                answerer_role(told.setup, established, preferred_role, told.source)?
            }
        };
        let ice_role = before.map_or_else(
            || ice_role(local.side == Side::Offerer, local.ice_lite, told.ice_lite),
            |before| before.ice_role,
        );
        let sped = before.map_or(local.sped && told.sped, |before| before.sped);
        let agreed = Agreed {
            sped,
            local_ufrag: local.ufrag.to_owned(),
            remote: told.credentials.clone(),
            fingerprints: told.fingerprints.clone(),
            dtls_role,
            ice_role,
            tag,
            source: told.source,
        };
        let remote = RemoteTransport {
            credentials: told.credentials,
            fingerprints: told.fingerprints,
            candidates: told.candidates,
            end_of_candidates: told.end_of_candidates,
            ice_lite: told.ice_lite,
            sped,
            renomination: told.renomination,
            dtls_role,
            ice_role,
        };
        Ok(Settled { agreed, remote, ice_restart })
    }

    /// Checks that the transport goes on, or that both sides start ICE anew; says which (RFC 8839 §4.4.1.1.1).
    fn check(&self, told: &Told, local: Local<'_>) -> Result<bool, NegotiationError> {
        if !told.fingerprints.iter().any(|fingerprint| self.fingerprints.contains(fingerprint)) {
            return Err(NegotiationError::FingerprintChanged);
        }
        let (by_us, by_peer) = (self.local_ufrag != local.ufrag, self.remote != told.credentials);
        match (local.side, by_us, by_peer) {
            (Side::Answerer { .. }, false, true) => Err(NegotiationError::CredentialsNotFresh),
            (Side::Answerer { .. }, true, false) | (Side::Offerer, false, true) => {
                Err(NegotiationError::RestartInAnswer)
            }
            _ => Ok(by_us || by_peer),
        }
    }
}

/// Who leads ICE (RFC 8445 §6.1.1): the full agent when the other is lite, else whoever offered first.
fn ice_role(offerer: bool, local_lite: bool, remote_lite: bool) -> IceRole {
    let controlling = if local_lite == remote_lite { offerer } else { remote_lite };
    if controlling { IceRole::Controlling } else { IceRole::Controlled }
}

/// The local role when the peer has offered `setup` (RFC 8842 §5.3).
fn answerer_role(
    setup: Option<Setup>,
    established: Option<DtlsRole>,
    preferred: DtlsRole,
    section: usize,
) -> Result<DtlsRole, NegotiationError> {
    let asked = match setup {
        Some(Setup::ActPass) => None,
        // RFC 4145 §4: an offer that does not say is an active one.
        Some(Setup::Active) | None => Some(DtlsRole::Server),
        Some(Setup::Passive) => Some(DtlsRole::Client),
        // RFC 5763 §5: not for DTLS.
        Some(Setup::HoldConn) => {
            return Err(NegotiationError::Setup { section, expected: "actpass, active or passive" });
        }
    };
    match (asked, established) {
        (Some(asked), Some(role)) if asked != role => {
            Err(NegotiationError::Setup { section, expected: "the roles of the association that is there" })
        }
        (_, Some(role)) => Ok(role),
        (asked, None) => Ok(asked.unwrap_or(preferred)),
    }
}

/// The local role when `actpass` was offered and the peer has answered `setup` (RFC 8842 §5.4).
fn offerer_role(
    setup: Option<Setup>,
    established: Option<DtlsRole>,
    section: usize,
) -> Result<DtlsRole, NegotiationError> {
    let role = match setup {
        Some(Setup::Active) => DtlsRole::Server,
        // RFC 4145 §4: an answer that does not say is a passive one.
        Some(Setup::Passive) | None => DtlsRole::Client,
        Some(Setup::ActPass | Setup::HoldConn) => {
            return Err(NegotiationError::Setup { section, expected: "active or passive" });
        }
    };
    match established {
        Some(established) if established != role => {
            Err(NegotiationError::Setup { section, expected: "the roles of the association that is there" })
        }
        _ => Ok(role),
    }
}

/// What an answer says of the role that it has taken.
pub(super) fn setup_of(role: DtlsRole) -> Setup {
    match role {
        DtlsRole::Client => Setup::Active,
        DtlsRole::Server => Setup::Passive,
    }
}
