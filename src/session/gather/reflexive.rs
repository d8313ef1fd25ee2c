//! Server-reflexive candidates (RFC 8445 §5.1.1.2): each base asks each STUN server how it looks from there.
//!
//! ```text
//! Waiting ──its turn──▶ Asking ──answer──▶ Resting ──15 s──▶ Asking ...     until there is a path
//!                          └──silence, refusal──▶ Ended
//! ```

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::event::IceServerError;
use crate::buffer::Pool;
use crate::ice::LocalId;
use crate::packet::{Ecn, Protocol, Transmit};
use crate::rng::Rng;
use crate::stun::{Builder, Class, Message, Method, TransactionId};
use crate::time::{Backoff, Timer, earliest};

/// Pairs of a base and a server; more are left out.
const MAX_PROBES: usize = 64;
/// RFC 8489 §6.2.1: the first interval, Rc and Rm.
const RTO: Duration = Duration::from_millis(500);
const SENDINGS: u32 = 7;
const LAST_WAIT: u32 = 16;
/// Sendings after which the end of gathering does not wait for the answer any more: 7.5 s after the first. What comes
/// later is used all the same.
const PATIENCE: u32 = 5;
/// RFC 8445 §11: how often a mapping is kept alive, and looked at, before there is a path.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// A request is this long, with room to spare.
const MAX_REQUEST: usize = 64;

/// A base and a server.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) server: usize,
    pub(super) base: SocketAddr,
    address: SocketAddr,
    step: Step,
    timer: Timer,
    /// What the server said last, and the candidate that was made of it.
    pub(super) mapped: Option<SocketAddr>,
    pub(super) candidate: Option<LocalId>,
}

#[derive(Debug)]
enum Step {
    /// For its turn.
    Waiting,
    Asking {
        id: TransactionId,
        backoff: Backoff,
        left: u32,
    },
    Resting,
    Ended,
}

/// What a probe found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The base at this place in the table looks like this.
    Mapped(usize, SocketAddr),
    /// It does not get an answer.
    Failed(usize, IceServerError),
}

/// All probes of a connection.
#[derive(Debug, Default)]
pub(super) struct Probes {
    all: Vec<Probe>,
    /// Requests to be written when polled, as places in the table.
    outbox: VecDeque<usize>,
    found: VecDeque<Found>,
}

impl Probes {
    /// A base is to ask a server. Whether there is room.
    pub(super) fn add(&mut self, server: usize, address: SocketAddr, base: SocketAddr) -> bool {
        if self.all.len() >= MAX_PROBES {
            return false;
        }
        let probe = Probe {
            server,
            base,
            address,
            step: Step::Waiting,
            timer: Timer::new(),
            mapped: None,
            candidate: None,
        };
        self.all.push(probe);
        true
    }

    /// A base is gone. Its probes stay in the table, at rest: places must not move.
    pub(super) fn remove_base(&mut self, base: SocketAddr) {
        for probe in self.all.iter_mut().filter(|probe| probe.base == base) {
            probe.end();
        }
        // Nothing refers to places at the end any more.
        let all = &self.all;
        self.outbox.retain(|at| all.get(*at).is_some_and(Probe::is_alive));
        self.found.retain(|found| {
            let (Found::Mapped(at, _) | Found::Failed(at, _)) = found;
            all.get(*at).is_some_and(|probe| probe.base != base)
        });
        if self.found.is_empty() && self.outbox.is_empty() {
            while self.all.last().is_some_and(|probe| probe.base == base) {
                self.all.pop();
            }
        }
    }

    pub(super) fn probe_mut(&mut self, at: usize) -> Option<&mut Probe> {
        self.all.get_mut(at)
    }

    /// The candidate that came of a base and a server is gone.
    pub(super) fn forget(&mut self, id: LocalId) {
        for probe in self.all.iter_mut().filter(|probe| probe.candidate == Some(id)) {
            probe.candidate = None;
            probe.mapped = None;
        }
    }

    /// Whether any waits for its turn.
    pub(super) fn is_waiting(&self) -> bool {
        self.all.iter().any(|probe| matches!(probe.step, Step::Waiting))
    }

    /// Whether any is still waited for: it has neither found nor failed, and was not silent for long.
    pub(super) fn is_busy(&self) -> bool {
        let busy = |probe: &Probe| match probe.step {
            Step::Waiting => true,
            Step::Asking { left, .. } => probe.mapped.is_none() && left > SENDINGS - PATIENCE,
            Step::Resting | Step::Ended => false,
        };
        self.all.iter().any(busy)
    }

    /// Lets the next one begin; whether there was one.
    pub(super) fn begin(&mut self, now: Instant, tag: u32, rng: &mut Rng) -> bool {
        let next = self.all.iter().position(|probe| matches!(probe.step, Step::Waiting));
        if let Some(at) = next {
            self.ask(now, at, tag, rng);
        }
        next.is_some()
    }

    fn ask(&mut self, now: Instant, at: usize, tag: u32, rng: &mut Rng) {
        let Some(probe) = self.all.get_mut(at) else { return };
        let mut backoff = Backoff::new(RTO, Duration::from_secs(60));
        probe.timer.arm(now + backoff.step());
        probe.step = Step::Asking { id: TransactionId::tagged(tag, rng), backoff, left: SENDINGS - 1 };
        self.outbox.push_back(at);
    }

    /// Takes an answer; `false` when none of these asked for it. Nobody vouches for it but the transaction's
    /// number and the address that it came from (RFC 8489 §6.3.1, §9).
    pub(super) fn handle_response(
        &mut self,
        now: Instant,
        source: SocketAddr,
        base: SocketAddr,
        message: &Message<'_>,
    ) -> bool {
        let asked = |probe: &Probe| match &probe.step {
            Step::Asking { id, .. } => *id == message.transaction() && message.method() == Method::BINDING,
            _ => false,
        };
        let Some(at) = self.all.iter().position(asked) else { return false };
        let probe = &mut self.all[at];
        if probe.address != source || probe.base != base {
            // Heard, and of no effect.
            return true;
        }
        let mapped = match message.class() {
            Class::Success if message.unknown_required().is_empty() => {
                message.mapped_address().ok_or(IceServerError::Nonsense)
            }
            Class::Error => Err(message
                .error_code()
                .map_or(IceServerError::Nonsense, |e| IceServerError::Refused(e.code))),
            _ => Err(IceServerError::Nonsense),
        };
        match mapped {
            Ok(mapped) => {
                probe.step = Step::Resting;
                probe.timer.arm(now + KEEPALIVE);
                if probe.mapped.replace(mapped) != Some(mapped) {
                    self.found.push_back(Found::Mapped(at, mapped));
                }
            }
            Err(error) => {
                probe.end();
                self.found.push_back(Found::Failed(at, error));
            }
        }
        true
    }

    /// Does what is due. Those at rest ask again only if `again`.
    pub(super) fn handle_timeout(&mut self, now: Instant, again: bool, tag: u32, rng: &mut Rng) {
        for at in 0..self.all.len() {
            let probe = &mut self.all[at];
            if !probe.timer.expire(now) {
                continue;
            }
            match &mut probe.step {
                Step::Asking { left: 0, .. } => {
                    probe.end();
                    self.found.push_back(Found::Failed(at, IceServerError::Silent));
                }
                Step::Asking { backoff, left, .. } => {
                    *left -= 1;
                    let wait = if *left == 0 { RTO * LAST_WAIT } else { backoff.step() };
                    probe.timer.arm(now + wait);
                    if !self.outbox.contains(&at) {
                        self.outbox.push_back(at);
                    }
                }
                Step::Resting if again => self.ask(now, at, tag, rng),
                Step::Resting | Step::Waiting | Step::Ended => {}
            }
        }
    }

    /// Those at rest ask again from now on: keeping mappings alive was given up before.
    pub(super) fn wake(&mut self, now: Instant) {
        for probe in self.all.iter_mut().filter(|probe| matches!(probe.step, Step::Resting)) {
            probe.timer.arm_if_idle(now);
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        earliest(self.all.iter().map(|probe| probe.timer.deadline()))
    }

    pub(super) fn poll_found(&mut self) -> Option<Found> {
        self.found.pop_front()
    }

    /// The next request.
    pub(super) fn poll_transmit(&mut self, pool: &mut Pool) -> Option<Transmit> {
        while let Some(at) = self.outbox.pop_front() {
            let Some(probe) = self.all.get(at) else { continue };
            let Step::Asking { id, .. } = &probe.step else { continue };
            let tail = pool.tail(MAX_REQUEST);
            let mut builder = Builder::new(tail, Class::Request, Method::BINDING, *id);
            builder.fingerprint();
            builder.finish();
            return Some(Transmit {
                contents: tail.split().into(),
                destination: probe.address,
                source: probe.base,
                protocol: Protocol::Udp,
                ecn: Ecn::NotEct,
                segment_size: None,
            });
        }
        None
    }

    pub(super) fn close(&mut self) {
        *self = Probes::default();
    }
}

impl Probe {
    fn end(&mut self) {
        self.step = Step::Ended;
        self.timer.cancel();
        self.mapped = None;
    }

    fn is_alive(&self) -> bool {
        !matches!(self.step, Step::Ended)
    }
}
