//! SCTP's INIT chunks in descriptions (draft-hancke-tsvwg-snap): with both known, the association needs no packets
//! to come up.

use crate::sctp;
use crate::sdp::Description;
use crate::session::negotiate::error::NegotiationError;
use crate::wire::base64;

use super::sections::is_data;

/// How the association comes up. Settled with the first exchange that has data channels, for good.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Init {
    /// There are no data channels yet.
    #[default]
    Open,
    /// By a handshake with packets.
    Packets,
    /// By what both descriptions say.
    Signalled { local: Vec<u8>, remote: Vec<u8> },
}

impl Init {
    /// What an offer says, where `ours` may be said: the same as ever, once it was agreed upon.
    pub(super) fn to_offer<'a>(&'a self, ours: Option<&'a [u8]>) -> Option<&'a [u8]> {
        match self {
            Init::Open => ours,
            Init::Packets => None,
            Init::Signalled { local, .. } => Some(local),
        }
    }

    /// The local chunk, as far as both sides have signalled theirs.
    pub(super) fn local(&self) -> Option<&[u8]> {
        match self {
            Init::Signalled { local, .. } => Some(local),
            Init::Open | Init::Packets => None,
        }
    }

    /// The peer's chunk, likewise.
    pub(super) fn remote(&self) -> Option<&[u8]> {
        match self {
            Init::Signalled { remote, .. } => Some(remote),
            Init::Open | Init::Packets => None,
        }
    }

    /// What holds after the peer's description, whose accepted sections are `bundle`. `ours` is what the local one
    /// says, or may say.
    pub(super) fn agree(
        &self,
        ours: Option<&[u8]>,
        description: &Description<'_>,
        bundle: &[usize],
    ) -> Result<Init, NegotiationError> {
        let Some(&section) = bundle.iter().find(|i| is_data(&description.media[**i])) else {
            return Ok(self.clone());
        };
        match (self, ours, description.media[section].sctp.init) {
            (Init::Open, Some(ours), Some(text)) => {
                let remote = base64::decode(text).filter(|chunk| sctp::check_signalled_init(chunk).is_ok());
                let remote = remote.ok_or(NegotiationError::BadSctpInit { section })?;
                Ok(Init::Signalled { local: ours.to_vec(), remote })
            }
            (Init::Open, ..) => Ok(Init::Packets),
            // The draft's "Modifying the Session": it cannot be added to an association, nor changed.
            (Init::Packets, Some(_), Some(_)) => Err(NegotiationError::SctpInitChanged { section }),
            (Init::Signalled { remote, .. }, _, Some(text))
                if base64::decode(text).as_ref() != Some(remote) =>
            {
                Err(NegotiationError::SctpInitChanged { section })
            }
            _ => Ok(self.clone()),
        }
    }
}
