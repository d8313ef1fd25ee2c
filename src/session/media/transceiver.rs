//! What the application says of a transceiver, and what it is told.

use crate::session::negotiate::{
    AgreedExtension, Format, Label, MediaLevel, RemoteMedia, Sender, TransceiverId,
};
use crate::types::codec::MediaType;
use crate::types::direction::Direction;
use crate::types::ids::{Mid, Rid, Ssrc};

use super::packet::ReceiverId;

/// How a transceiver is made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TransceiverConfig {
    /// The stream that its track belongs to (`a=msid`); tracks of one stream are played in step. The default, a
    /// dash, is none.
    pub stream: Label,
    /// The track's name; `None` draws one.
    pub track: Option<Label>,
    /// The names of what is sent in a simulcast, in order of preference; empty for a single stream.
    pub send_rids: Vec<Rid>,
    /// The names of the layers that are asked for, when the peer is to send a simulcast.
    pub receive_rids: Vec<Rid>,
    /// How what arrives is handed out; `None` takes what [`MediaConfig`](crate::session::negotiate::MediaConfig) says.
    pub level: Option<MediaLevel>,
}

/// What is known of a transceiver.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransceiverInfo {
    /// Its id.
    pub id: TransceiverId,
    /// The name of its section, once agreed upon.
    pub mid: Option<Mid>,
    /// What it carries.
    pub kind: MediaType,
    /// What this side wants it to do.
    pub wanted: Direction,
    /// What was agreed that this side may do; `None` before.
    pub agreed: Option<Direction>,
    /// The formats that both sides speak, in order of preference; empty before they are agreed upon.
    pub formats: Vec<Format>,
    /// The header extensions that both sides speak.
    pub extensions: Vec<AgreedExtension>,
    /// What is sent: track, sources, layers.
    pub sender: Sender,
    /// The layers that the peer wants of what is sent; empty without simulcast.
    pub send_rids: Vec<Rid>,
    /// What the peer says of what it sends: streams, tracks, sources, layers.
    pub remote: RemoteMedia,
    /// How what arrives is handed out.
    pub level: MediaLevel,
    /// Whether it has ended for good.
    pub is_stopped: bool,
}

/// What is known of one RTP stream of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiverInfo {
    /// Its id.
    pub id: ReceiverId,
    /// The transceiver that it belongs to.
    pub transceiver: TransceiverId,
    /// Its source.
    pub ssrc: Ssrc,
    /// Its name within its transceiver, in a simulcast.
    pub rid: Option<Rid>,
    /// Whether it is silent: [`Event::StreamPaused`](crate::Event::StreamPaused).
    pub is_paused: bool,
}

/// A command that names a transceiver which is not there, or cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransceiverError {
    /// There is no such transceiver, or it has ended.
    #[error("no such transceiver")]
    Unknown,
    /// There are too many.
    #[error("too many transceivers")]
    TooMany,
    /// The configuration has no format for this kind of media.
    #[error("no format is configured for this kind of media")]
    NoFormats,
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
}
