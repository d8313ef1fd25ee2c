//! ICE (RFC 8445) with trickle (RFC 8838, 8840), patience (RFC 8863) and consent (RFC 7675), as one agent for one
//! component.
//!
//! ```text
//!                add_local_candidate, add_remote_candidate, set_remote_credentials, restart
//!                                          │
//!  STUN ──handle_packet──▶ answers ──▶ checklist ◀── checks ◀──handle_timeout── the caller's clock
//!                             │            │            │
//!                             ▼            ▼            ▼
//!                          outbox     nomination      outbox ──poll_transmit──▶ STUN
//!                                          │
//!                            send_path, poll_fact ──▶ the session
//! ```
//!
//! | file | section |
//! |---|---|
//! | `pair`, `checklist` | RFC 8445 §6.1.2 pairs, their states and their order; §6.1.4.2 which one is next |
//! | `checks` | RFC 8445 §7.2 the client's side of a check; §14 pacing |
//! | `answers` | RFC 8445 §7.3 the server's side; role conflicts |
//! | `nomination` | RFC 8445 §8 nominating and selecting |
//! | `path` | RFC 7675 consent, and where data goes |
//! | `generation` | RFC 8445 §9 what a restart replaces |
//!
//! Bounds, and what happens beyond them:
//!
//! | what | bound | beyond it |
//! |---|---|---|
//! | pairs | 100 ([`Config::max_pairs`]) | failed ones go first, then the lowest; never the selected one |
//! | local, remote candidates | 32, 64 | refused with an error |
//! | checks outstanding | 16 per pair | the oldest is given up |
//! | checks of a pair without an answer | 50, or 7 once another pair is valid | the pair fails |
//! | messages not yet polled | 128 | dropped and counted |
//! | facts not yet polled | 128 of addresses, one of each other kind | the oldest is dropped |

mod agent;
mod answers;
mod candidates;
mod carrying;
mod checklist;
mod checks;
mod config;
mod embedding;
mod encode;
mod facts;
mod generation;
mod nomination;
mod pair;
mod path;

#[cfg(test)]
mod tests;

pub use agent::Agent;
pub use candidates::LocalId;
pub use config::{Config, ConfigError};
pub use embedding::{Embed, LastFlight};
pub use facts::Fact;
pub use pair::{PairId, PairState, PairStats};

use std::net::SocketAddr;
use std::time::Duration;

use crate::packet::Protocol;
use crate::types::candidate::CandidateKind;

/// How the whole of an agent stands.
///
/// ```text
/// New ──▶ Checking ──▶ Connected ──▶ Completed ◀──▶ Disconnected
///             │            └──────────────┴──────────────┤
///             └──────────────────▶ Failed ◀──────────────┘
/// ```
/// A restart leads back to `Checking` from everywhere, while data goes on over the former pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionState {
    /// The peer's credentials are not known yet.
    New,
    /// Checks go on, and no pair is valid.
    Checking,
    /// A pair is valid: data may be sent.
    Connected,
    /// A pair is selected, and checks have ended.
    Completed,
    /// Checks of the selected pair are not answered at the moment. Nobody needs to act: it recovers by itself, or
    /// fails when consent runs out.
    Disconnected,
    /// No pair became valid in time, or consent was lost. Only a restart leads on.
    Failed,
}

/// What became of a STUN packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handled {
    /// It was authentic and for this agent.
    Consumed,
    /// It had no effect.
    Dropped(DropReason),
}

/// Why a STUN packet had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// Not STUN, or not sound.
    Malformed,
    /// An indication, or a method other than Binding.
    NotForIce,
    /// It came in at an address that is no local candidate's.
    UnknownLocalAddress,
    /// A request without user name and integrity value.
    Unprotected,
    /// A request for another user name fragment.
    UnknownUser,
    /// Its integrity value is wrong.
    NotAuthentic,
    /// An answer that nobody waits for: stray, late or replayed.
    UnknownTransaction,
    /// An answer from or to another address than its request went.
    WrongAddress,
    /// The agent has failed or was closed.
    Inert,
}

/// How much is known of where a packet came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SourceState {
    /// No authentic check came from there.
    Unknown,
    /// An authentic check came from there; none of ours was answered yet.
    Checked,
    /// Our checks are answered from there: data may be exchanged.
    Valid,
}

/// Where data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// The pair.
    pub pair: PairId,
    /// The local address to send from: the base of the local candidate.
    pub local: SocketAddr,
    /// The address to send to.
    pub remote: SocketAddr,
    /// How to send.
    pub protocol: Protocol,
    /// What the local candidate is. What is sent from a relayed one goes through its TURN server.
    pub local_kind: CandidateKind,
    /// What the remote candidate is.
    pub remote_kind: CandidateKind,
    /// The smoothed round-trip time; a lite agent measures none.
    pub rtt: Option<Duration>,
}

/// A pair, as statistics show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PairView {
    /// Its name.
    pub id: PairId,
    /// The base of its local candidate.
    pub local: SocketAddr,
    /// The local candidate as the peer sees it, once the pair is valid.
    pub mapped: Option<SocketAddr>,
    /// What the local candidate is.
    pub local_kind: CandidateKind,
    /// The remote candidate.
    pub remote: SocketAddr,
    /// What the remote candidate is.
    pub remote_kind: CandidateKind,
    /// How they talk.
    pub protocol: Protocol,
    /// How far its checks have come.
    pub state: PairState,
    /// The pair priority (RFC 8445 §6.1.2.3).
    pub priority: u64,
    /// Whether it was nominated.
    pub nominated: bool,
    /// Whether data goes over it.
    pub in_use: bool,
    /// The smoothed round-trip time.
    pub rtt: Option<Duration>,
    /// What was counted on it.
    pub stats: PairStats,
}

/// What an agent counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Packets that had no effect: malformed, not for ICE, or to an unknown local address.
    pub dropped_unusable: u64,
    /// Packets that had no effect: not protected, for another user, or with a wrong integrity value.
    pub dropped_unauthentic: u64,
    /// Answers that had no effect: stray, late, replayed or from elsewhere.
    pub dropped_responses: u64,
    /// Messages not sent because too many waited to be polled.
    pub outbox_overflows: u64,
    /// Pairs that had to go because there were too many.
    pub pairs_discarded: u64,
    /// Role switches.
    pub role_switches: u64,
    /// Whether a DTLS handshake travelled in checks, because the peer knows how (draft-hancke-webrtc-sped).
    pub embedding: bool,
}

/// Why a local candidate is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocalCandidateError {
    /// It came as text: only one that was made from addresses has a base to send from.
    #[error("the candidate has no local address")]
    NoBase,
    /// A component other than 1.
    #[error("only component 1 is in use")]
    Component,
    /// A transport other than UDP, active TCP and passive TCP.
    #[error("only UDP candidates and active or passive TCP ones are used")]
    Protocol,
    /// The caller's own policy does not allow it.
    #[error("the candidate is filtered out")]
    Filtered,
    /// The same address and base are there already.
    #[error("the candidate is there already")]
    Duplicate,
    /// [`Config::max_local_candidates`] is reached.
    #[error("too many local candidates")]
    TooMany,
    /// The agent is closed.
    #[error("the agent is closed")]
    Closed,
}

/// No local candidate has this handle, any more or yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such local candidate")]
pub struct UnknownCandidate;

/// What became of a remote candidate that is not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoteCandidate {
    /// It is paired with what fits it.
    Added,
    /// It was known before.
    Known,
    /// Its address hides behind a name: resolve it and add it again, or leave it (RFC 8839 §5.1).
    Unresolved,
    /// Of no use here: another component or transport, an address nobody can send to, or of another generation
    /// of the peer (RFC 8838 §11).
    Ignored,
}

/// Why a remote candidate is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteCandidateError {
    /// [`Config::max_remote_candidates`] is reached.
    #[error("too many remote candidates")]
    TooMany,
    /// The agent is closed.
    #[error("the agent is closed")]
    Closed,
}

/// Why remote credentials are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// Their length or their characters are not allowed (RFC 8839 §5.4).
    #[error("the credentials are too short, too long or hold a character that is no ice-char")]
    Invalid,
    /// Others are in use: the peer restarted, so call [`Agent::restart`] first.
    #[error("other credentials are in use; restart first")]
    RestartNeeded,
    /// The agent is closed.
    #[error("the agent is closed")]
    Closed,
}
