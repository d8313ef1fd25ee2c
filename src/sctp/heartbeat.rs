//! Heartbeats (RFC 9260 §8.3): is the peer there while nothing is sent? Off by default, since ICE asks already.

use std::time::{Duration, Instant};

use super::chunk::parameter::{Parameters, emit_parameter};
use super::chunk::{emit_chunk, kind};
use crate::rng::Rng;
use crate::time::Timer;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// RFC 9260 §3.3.5: the one parameter of a HEARTBEAT.
const HEARTBEAT_INFO: u16 = 1;

/// Bytes of our HEARTBEAT.
pub(super) const CHUNK_LEN: usize = 16;

/// A question that is open.
#[derive(Debug, Clone, Copy)]
struct Asked {
    nonce: u64,
    /// `None` until it is written.
    at: Option<Instant>,
}

/// Asks at an interval, and measures the answers.
#[derive(Debug)]
pub(super) struct Heartbeat {
    interval: Option<Duration>,
    timer: Timer,
    asked: Option<Asked>,
    unanswered: u32,
}

impl Heartbeat {
    pub(super) fn new(interval: Option<Duration>) -> Self {
        Heartbeat { interval, timer: Timer::new(), asked: None, unanswered: 0 }
    }

    /// The association is up.
    pub(super) fn start(&mut self, now: Instant) {
        if let Some(interval) = self.interval {
            self.timer.arm(now + interval);
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.timer.deadline()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, rng: &mut Rng) {
        if !self.timer.expire(now) {
            return;
        }
        if self.asked.is_some_and(|asked| asked.at.is_some()) {
            self.unanswered += 1;
        }
        // RFC 9260 §8.3: the nonce proves that the answer is to this question.
        self.asked = Some(Asked { nonce: rng.u64(), at: None });
        self.start(now);
    }

    /// Appends a HEARTBEAT if one is due.
    pub(super) fn emit(&mut self, now: Instant, w: &mut Writer<'_>) {
        if let Some(asked) = self.asked.as_mut().filter(|asked| asked.at.is_none()) {
            asked.at = Some(now);
            let nonce = asked.nonce;
            emit_chunk(w, kind::HEARTBEAT, 0, |w| emit_parameter(w, HEARTBEAT_INFO, |w| w.u64(nonce)));
        }
    }

    /// Whether [`emit`](Self::emit) would write.
    pub(super) fn is_due(&self) -> bool {
        self.asked.is_some_and(|asked| asked.at.is_none())
    }

    /// Takes in a HEARTBEAT ACK; gives the round-trip time if it answers the open question.
    pub(super) fn on_ack(&mut self, now: Instant, value: &[u8]) -> Option<Duration> {
        let info = Parameters::new(value).next()?.ok()?;
        let nonce = Reader::new(info.value, "heartbeat").u64().ok()?;
        let asked = self.asked.take_if(|asked| asked.nonce == nonce && asked.at.is_some())?;
        self.unanswered = 0;
        asked.at.map(|at| now.saturating_duration_since(at))
    }

    /// Questions in a row without an answer.
    pub(super) fn unanswered(&self) -> u32 {
        self.unanswered
    }
}
