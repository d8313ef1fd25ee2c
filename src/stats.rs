//! Figures of a connection, pulled at will.

use crate::dtls;
use crate::ice;
use crate::sctp;
use crate::session::Session;
use crate::session::event::ConnectionState;
use crate::session::transport::{DroppedDatagrams, PathInfo};

/// Figures of a connection at one moment. All counts are since it was made.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RtcStats {
    /// The state of the connection as a whole.
    pub state: ConnectionState,
    /// The pair of addresses in use, with its round-trip time.
    pub path: Option<PathInfo>,
    /// Candidate pairs with their round-trip times, checks and bytes, best first; after a restart the new ones.
    pub pairs: Vec<ice::PairView>,
    /// UDP payload sent, in bytes.
    pub bytes_sent: u64,
    /// UDP payload received, in bytes.
    pub bytes_received: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Datagrams received, dropped ones included.
    pub datagrams_received: u64,
    /// Datagrams that no protocol took, by reason.
    pub dropped: DroppedDatagrams,
    /// Connectivity checks.
    pub ice: ice::Stats,
    /// Records; `None` before the DTLS role is settled.
    pub dtls: Option<dtls::Stats>,
    /// The association.
    pub sctp: sctp::Stats,
    /// Whether the SCTP association came up by what was signalled, without packets of its own
    /// (draft-hancke-tsvwg-snap).
    pub snap: bool,
    /// Data channels, whatever their state.
    pub channels: usize,
    /// Data channel messages that made no sense.
    pub channel_messages_dropped: u64,
}

impl RtcStats {
    pub(crate) fn of(session: &Session) -> Self {
        let transport = &session.transport;
        RtcStats {
            state: session.state(),
            path: transport.ice.send_path().map(PathInfo::from),
            pairs: transport.ice.pairs().collect(),
            bytes_sent: transport.bytes_sent,
            bytes_received: transport.bytes_received,
            datagrams_sent: transport.datagrams_sent,
            datagrams_received: transport.datagrams_received,
            dropped: transport.dropped,
            ice: transport.ice.stats(),
            dtls: transport.dtls().map(|dtls| *dtls.stats()),
            sctp: session.association.stats(),
            snap: session.is_snap_used(),
            channels: session.channels.len(),
            channel_messages_dropped: session.channels.dropped,
        }
    }
}
