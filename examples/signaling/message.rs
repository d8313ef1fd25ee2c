//! What is said over the WebSocket, as JSON with a `type`.
//!
//! ```text
//! A: join room          ─▶ server            B is in the room already
//!    joined, peers [B]  ◀─        ─▶ B: peer-joined A
//! A: description to B   ─▶        ─▶ B: description from A
//!    description from B ◀─        ◀─ B: description to A
//!    candidates, both ways; then
//! A: leave, or the end  ─▶        ─▶ B: peer-left A
//! ```

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a browser says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum FromPeer {
    /// Enters a room, which is there as soon as somebody is in it. One leaves the room that one was in.
    Join { room: String },
    /// Leaves the room.
    Leave,
    /// An offer or an answer, as `RTCSessionDescription` prints it.
    Description { to: String, description: Value },
    /// A candidate, as `RTCIceCandidate` prints it; `null` when there are no more.
    Candidate { to: String, candidate: Value },
}

/// What a browser hears.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub(crate) enum ToPeer {
    /// In the room, under this name, with these others, who wait for offers; and what to configure
    /// `RTCPeerConnection` with.
    Joined { room: String, id: String, peers: Vec<String>, ice_servers: Vec<IceServer> },
    /// Somebody came in, and will make an offer.
    PeerJoined { id: String },
    /// Somebody left.
    PeerLeft { id: String },
    /// See [`FromPeer::Description`].
    Description { from: String, description: Value },
    /// See [`FromPeer::Candidate`].
    Candidate { from: String, candidate: Value },
    /// What was said last is not done.
    Error { reason: String },
}

/// `RTCIceServer`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct IceServer {
    pub(crate) urls: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) credential: Option<String>,
}
