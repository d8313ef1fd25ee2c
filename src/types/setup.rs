//! Who opens DTLS (RFC 4145 §4, RFC 8842 §5.2), and who leads ICE (RFC 8445 §6.1.1).

/// The `a=setup` attribute of a description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Setup {
    /// Either role: what an offer says, so that the answer chooses.
    ActPass,
    /// Sends the ClientHello.
    Active,
    /// Waits for the ClientHello.
    Passive,
    /// The association of before is kept; only in renegotiation, and not used by WebRTC.
    HoldConn,
}

impl Setup {
    /// The attribute's value.
    pub fn name(self) -> &'static str {
        match self {
            Setup::ActPass => "actpass",
            Setup::Active => "active",
            Setup::Passive => "passive",
            Setup::HoldConn => "holdconn",
        }
    }

    /// The value called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "actpass" => Setup::ActPass,
            "active" => Setup::Active,
            "passive" => Setup::Passive,
            "holdconn" => Setup::HoldConn,
            _ => return None,
        })
    }
}

/// Which end of the DTLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DtlsRole {
    /// Sends the ClientHello.
    Client,
    /// Answers it.
    Server,
}

/// Which end of ICE decides on the pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IceRole {
    /// Nominates.
    Controlling,
    /// Follows.
    Controlled,
}

impl IceRole {
    /// The other role.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            IceRole::Controlling => IceRole::Controlled,
            IceRole::Controlled => IceRole::Controlling,
        }
    }
}

impl DtlsRole {
    /// The other role.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            DtlsRole::Client => DtlsRole::Server,
            DtlsRole::Server => DtlsRole::Client,
        }
    }
}
