//! Why a description cannot be agreed upon.

use crate::sdp::ParseError;
use crate::types::candidate::ParseCandidateError;

/// Why an offer could not be made, or a description not be accepted. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NegotiationError {
    /// An offer of ours is out (`have-local-offer`, RFC 8829 §3.2).
    #[error("an offer of ours waits for its answer: accept the answer, or roll back first")]
    OfferPending,
    /// There is no offer of ours to be answered, or rolled back.
    #[error("there is no offer of ours: create one first")]
    NoOffer,
    /// An offer without any section would agree on nothing.
    #[error("there is nothing to offer: ask for data channels or add media first")]
    NothingToOffer,
    /// There are fewer sections than before, or not as many as were offered (RFC 3264 §6, §8).
    #[error("{found} media sections where {expected} were agreed or offered")]
    SectionCount {
        /// How many there ought to be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A section carries another kind of media than before in this place (RFC 3264 §8.3).
    #[error("media section {section} carries another kind of media than was agreed or offered")]
    KindChanged {
        /// The section, counted from zero.
        section: usize,
    },
    /// A section has another `a=mid` than before in this place (RFC 8829 §5.10).
    #[error("media section {section} has another a=mid than was agreed or offered")]
    MidChanged {
        /// The section, counted from zero.
        section: usize,
    },
    /// An `a=mid` that is longer than [`Mid::MAX`](crate::types::ids::Mid::MAX) or not printable ASCII.
    #[error("the a=mid of media section {section} is not 1 to 32 printable characters")]
    BadMid {
        /// The section, counted from zero.
        section: usize,
    },
    /// Two sections have the same `a=mid` (RFC 5888 §4).
    #[error("media section {section} has the a=mid of another one")]
    DuplicateMid {
        /// The later one, counted from zero.
        section: usize,
    },
    /// A section that was turned down in the offer is taken in the answer (RFC 3264 §6).
    #[error("media section {section} was not offered, but the answer takes it")]
    NotOffered {
        /// The section, counted from zero.
        section: usize,
    },
    /// The answer takes several sections, but not as one bundle; everything here shares one transport.
    #[error("the answer takes media section {section} outside of the bundle: only bundled media is possible")]
    NotBundled {
        /// The section, counted from zero.
        section: usize,
    },
    /// No `a=ice-ufrag` or no `a=ice-pwd` (RFC 8839 §5.4).
    #[error("media section {section} has no a=ice-ufrag and a=ice-pwd, nor does the session")]
    MissingCredentials {
        /// The section, counted from zero.
        section: usize,
    },
    /// No `a=fingerprint` with a hash function that is accepted (RFC 8827 §6.5, RFC 8122 §5).
    #[error(
        "media section {section} has no a=fingerprint with sha-256, sha-384 or sha-512, nor does the session"
    )]
    MissingFingerprint {
        /// The section, counted from zero.
        section: usize,
    },
    /// An `a=setup` that leaves open, or contradicts, who opens DTLS (RFC 8842 §5).
    #[error("the a=setup of media section {section} does not fit: {expected}")]
    Setup {
        /// The section, counted from zero.
        section: usize,
        /// What it ought to be.
        expected: &'static str,
    },
    /// The peer's certificate is announced to change; that takes a new DTLS association (RFC 8842 §5.1), and here
    /// a new connection.
    #[error("the fingerprints have changed: make a new connection for another certificate")]
    FingerprintChanged,
    /// The description that would be written is larger than one that is read: there are too many sections.
    #[error("the description to be written is too large: {0}")]
    TooLarge(#[from] ParseError),
    /// The answer takes a section, but no format that was offered in it (RFC 3264 §6.1).
    #[error("media section {section} of the answer has none of the offered formats")]
    NoCommonFormat {
        /// The section, counted from zero.
        section: usize,
    },
    /// The description answers an ICE restart, or asks for one, and the local credentials given are the old ones
    /// (RFC 8839 §4.4.1.1.1).
    #[error("the offer restarts ICE: give fresh local credentials")]
    CredentialsNotFresh,
    /// An `a=sctp-init` that is not the base64 of an INIT chunk (draft-hancke-tsvwg-snap).
    #[error("the a=sctp-init of media section {section} is not the base64 of an SCTP INIT chunk")]
    BadSctpInit {
        /// The section, counted from zero.
        section: usize,
    },
    /// An `a=sctp-init` that is new, or another one than before: that takes a new SCTP association
    /// (draft-hancke-tsvwg-snap), and here a new connection.
    #[error("the a=sctp-init of media section {section} is not that of the association that is there")]
    SctpInitChanged {
        /// The section, counted from zero.
        section: usize,
    },
    /// The answer has new ICE credentials although the offer did not restart ICE (RFC 8839 §4.4.1.1.1).
    #[error("the answer restarts ICE, which only an offer may do")]
    RestartInAnswer,
}

/// There is no such transceiver, or it was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such transceiver, or it was stopped")]
pub struct UnknownTransceiver;

/// Why a trickled candidate could not be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrickleError {
    /// Candidates belong to a description, and there is none of the peer's yet.
    #[error("there is no description of the peer yet: accept its offer or answer first")]
    NoRemoteDescription,
    /// Neither the `a=mid` nor the index is that of a section.
    #[error("the candidate is for a media section that does not exist")]
    UnknownSection,
    /// The line is no candidate.
    #[error(transparent)]
    Malformed(#[from] ParseCandidateError),
}
