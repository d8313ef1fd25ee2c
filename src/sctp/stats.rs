//! What an association counts.

use std::time::Duration;

/// A snapshot of an association's counters. All counters only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Packets written.
    pub packets_sent: u64,
    /// Bytes of them.
    pub bytes_sent: u64,
    /// Packets given to [`handle_packet`](super::Association::handle_packet).
    pub packets_received: u64,
    /// Bytes of them.
    pub bytes_received: u64,
    /// Packets dropped: short, or for other ports.
    pub packets_malformed: u64,
    /// Packets dropped: the checksum was wrong.
    pub packets_corrupt: u64,
    /// Packets dropped: the verification tag was not ours, nor one that the RFC excepts.
    pub packets_foreign: u64,
    /// Chunks that could not be read; the rest of their packet was dropped with them.
    pub chunks_malformed: u64,
    /// Chunks of unknown types.
    pub chunks_unknown: u64,
    /// Cookies that were not ours, or too old.
    pub cookies_refused: u64,
    /// DATA chunks that were not kept: no room, out of reach, or contradicting.
    pub chunks_dropped: u64,
    /// DATA chunks written, again or for the first time.
    pub chunks_sent: u64,
    /// DATA chunks written again.
    pub chunks_resent: u64,
    /// Retransmission time-outs.
    pub timeouts: u64,
    /// Messages given up before they arrived.
    pub messages_abandoned: u64,
    /// The smoothed round-trip time; `None` before it was measured.
    pub smoothed_rtt: Option<Duration>,
    /// The retransmission time-out now.
    pub rto: Duration,
    /// The congestion window in bytes.
    pub congestion_window: usize,
    /// Bytes sent and neither acknowledged nor taken for lost.
    pub bytes_in_flight: usize,
    /// The peer's receive window as it told it last, in bytes.
    pub peer_window: u32,
    /// Bytes received and not yet handed out, overhead included.
    pub receive_buffer: usize,
}
