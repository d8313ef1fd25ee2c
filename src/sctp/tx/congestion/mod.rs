//! Congestion control behind one small trait (RFC 9260 §7.2).

mod cubic;
mod new_reno;

use std::fmt::Debug;
use std::time::{Duration, Instant};

use crate::sctp::config::Congestion;

pub(crate) use cubic::Cubic;
pub(crate) use new_reno::NewReno;

/// Packets that may be in flight before anything was acknowledged. RFC 9260 §7.2.1 allows 4,380 bytes; ten
/// packets are what TCP (RFC 6928) and QUIC (RFC 9002 §7.2) use, behind the same paths.
pub(crate) const INITIAL_PACKETS: usize = 10;

/// What is left of the window at the least, in packets: after a loss, as RFC 9260 §7.2.3 says; and after a time-out, where
/// it says one. Two packets (RFC 9002 §7.2) let the second tell that the first was lost, without another time-out.
pub(crate) const MIN_PACKETS: usize = 4;
pub(crate) const MIN_PACKETS_AFTER_TIMEOUT: usize = 2;

/// What a SACK acknowledged for the first time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acked {
    pub(crate) now: Instant,
    /// User data in bytes.
    pub(crate) bytes: usize,
    /// Whether the window had been used up: one that is not used must not grow (RFC 9260 §7.2.1).
    pub(crate) window_was_full: bool,
    /// The round-trip time measured by this SACK, if any.
    pub(crate) rtt: Option<Duration>,
    pub(crate) smoothed_rtt: Duration,
    /// Whether a round trip has ended: everything in flight when the last one ended is acknowledged.
    pub(crate) is_new_round: bool,
}

/// A congestion controller: how many bytes may be in flight.
///
/// It is told of a loss once per window (RFC 9260 §7.2.3), not once per packet.
pub(crate) trait Controller: Debug + Send {
    /// The congestion window in bytes.
    fn window(&self) -> usize;
    /// Whether the window doubles per round trip.
    fn is_slow_start(&self) -> bool;
    /// New data was acknowledged outside of recovery.
    fn on_ack(&mut self, acked: Acked);
    /// Packets were lost; the window of before is kept for [`undo`](Controller::undo).
    fn on_loss(&mut self, now: Instant);
    /// The retransmission timer fired: nothing is known of the path any more.
    fn on_timeout(&mut self);
    /// The last loss was none: the packets had only been late.
    fn undo(&mut self);
    /// The packet size changed.
    fn set_packet_size(&mut self, bytes: usize);
}

/// The controller that the configuration names.
pub(crate) fn controller(kind: Congestion, packet_size: usize) -> Box<dyn Controller> {
    match kind {
        Congestion::NewReno => Box::new(NewReno::new(packet_size)),
        Congestion::Cubic => Box::new(Cubic::new(packet_size)),
    }
}
