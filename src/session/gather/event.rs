//! What gathering tells the application.

use std::net::SocketAddr;

use crate::turn;

/// How far gathering has come, in the words of the W3C's `RTCIceGatheringState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum GatheringState {
    /// No server was asked yet.
    #[default]
    New,
    /// Servers are being asked.
    Gathering,
    /// All have answered or were given up. A local candidate that is added later begins anew.
    Complete,
}

/// A server did not yield what it was asked for, as the W3C's `RTCPeerConnectionIceErrorEvent`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IceServerFailure {
    /// Its place in [`RtcConfig::ice_servers`](crate::RtcConfig::ice_servers).
    pub server: usize,
    /// Its URL.
    pub url: String,
    /// The local address that it was asked from; `None` when the stream to it was not opened.
    pub local: Option<SocketAddr>,
    /// Why.
    pub reason: IceServerError,
}

/// Why a server did not yield what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IceServerError {
    /// It did not answer.
    #[error("the server does not answer")]
    Silent,
    /// The stream to it was refused, or ended.
    #[error("the stream to the server was refused or ended")]
    Unreachable,
    /// User name or password were refused (401, 441).
    #[error("the server refused the credentials")]
    Credentials,
    /// It has no more to give to this user, or at all (486, 508).
    #[error("the server has no more to give")]
    Capacity,
    /// Another allocation is in the way: the local address is shared with another connection, or a former one
    /// has not ended there yet (437).
    #[error("the local address has an allocation on the server already")]
    Mismatch,
    /// It refused with this code.
    #[error("the server refused: {0}")]
    Refused(u16),
    /// It answered with what makes no sense, sent the client in circles, or called every nonce stale.
    #[error("the server's answers make no sense")]
    Nonsense,
    /// None of its addresses can be reached from any local candidate.
    #[error("no local address can reach the server")]
    NoAddress,
}

impl From<turn::Failure> for IceServerError {
    fn from(failure: turn::Failure) -> Self {
        use turn::Failure as F;
        match failure {
            F::Silent => IceServerError::Silent,
            F::Stream => IceServerError::Unreachable,
            F::Credentials => IceServerError::Credentials,
            F::Capacity => IceServerError::Capacity,
            F::Mismatch => IceServerError::Mismatch,
            F::Refused { code } => IceServerError::Refused(code),
            F::Family => IceServerError::Refused(440),
            _ => IceServerError::Nonsense,
        }
    }
}
