//! The orderly end (RFC 9260 §9.2).

use std::time::Instant;

use super::association::{Association, State};
use super::chunk::{emit_chunk, kind};
use super::inbound::Flow;
use super::retry::Retry;
use super::types::CloseReason;
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::serial::Serial32;

/// RFC 9260 §16: Association.Max.Retrans, for SHUTDOWN and SHUTDOWN ACK.
const MAX_SHUTDOWN_RETRANSMITS: u32 = 10;

impl Association {
    /// Ends the association once everything that was accepted has arrived. Nothing more is accepted.
    pub fn shutdown(&mut self, now: Instant) {
        match self.state {
            State::Closed | State::CookieWait { .. } => self.end_with(CloseReason::Shutdown, None),
            State::CookieEchoed { .. } | State::Established => {
                self.state = State::ShutdownPending;
                self.settle(now);
            }
            // RFC 9260 §9.2: under way already.
            _ => {}
        }
    }

    fn shutdown_retry(&self) -> Retry {
        Retry::new(self.sender.rto(), self.config.rto_max, MAX_SHUTDOWN_RETRANSMITS)
    }

    /// Everything is acknowledged: the next step.
    pub(super) fn advance_shutdown(&mut self) {
        if !self.sender.is_drained() {
            return;
        }
        match self.state {
            State::ShutdownPending => {
                self.state = State::ShutdownSent { t2_shutdown: self.shutdown_retry() };
            }
            State::ShutdownReceived => {
                self.state = State::ShutdownAckSent { t2_shutdown: self.shutdown_retry() };
            }
            _ => {}
        }
    }

    pub(super) fn on_shutdown(&mut self, now: Instant, value: &[u8]) -> Result<(), Malformed> {
        let mut r = Reader::new(value, "SHUTDOWN");
        let cumulative = Serial32(r.u32()?);
        match self.state {
            State::Established | State::ShutdownPending => {
                self.state = State::ShutdownReceived;
            }
            State::ShutdownReceived => {}
            State::ShutdownSent { .. } => {
                self.state = State::ShutdownAckSent { t2_shutdown: self.shutdown_retry() };
            }
            // RFC 9260 §9.2: ignored during the handshake.
            _ => return Ok(()),
        }
        let nothing = std::iter::empty();
        self.sender.on_sack(now, cumulative, self.peer_window, nothing, std::iter::empty());
        Ok(())
    }

    pub(super) fn on_shutdown_ack(&mut self) -> Flow {
        let Some(peer) = self.peer else { return Flow::Stop };
        let ports = self.ports();
        match self.state {
            State::ShutdownSent { .. } | State::ShutdownAckSent { .. } => {
                self.control.clear();
                self.control.packet(ports, peer.tag, |w| emit_chunk(w, kind::SHUTDOWN_COMPLETE, 0, |_| {}));
                self.end_with(CloseReason::Shutdown, None);
                Flow::Stop
            }
            // RFC 9260 §8.5.1 E: of an association before this one.
            State::CookieEchoed { .. } => {
                self.control.shutdown_complete_reflected(ports, self.offer.tag);
                Flow::Stop
            }
            _ => Flow::Continue,
        }
    }

    pub(super) fn on_shutdown_complete(&mut self) -> Flow {
        // RFC 9260 §8.5.1 C: ignored in all other states.
        if matches!(self.state, State::ShutdownAckSent { .. }) {
            self.control.clear();
            self.end_with(CloseReason::Shutdown, None);
        }
        Flow::Stop
    }
}
