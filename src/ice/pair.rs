//! A candidate pair: where a check goes, and what became of it (RFC 8445 §6.1.2).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::generation::Remote;
use crate::packet::Protocol;
use crate::types::candidate::{CandidateKind, Foundation, type_preference};
use crate::types::setup::IceRole;

/// Names a pair of one agent for as long as the agent lives; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PairId(pub(super) u32);

/// How far the checks of a pair have come (RFC 8445 §6.1.2.6).
///
/// ```text
/// Frozen ──▶ Waiting ──check──▶ InProgress ──answer──▶ Succeeded
///               ▲                   │                      │
///               └────a request──── Failed ◀────────────────┘ consent lost
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairState {
    /// Held back until another pair of the same foundations has succeeded.
    Frozen,
    /// To be checked.
    Waiting,
    /// Checked, not answered yet.
    InProgress,
    /// Answered: the pair is valid, and data may be sent on it.
    Succeeded,
    /// Not answered in time, or refused.
    Failed,
}

/// One side of a pair.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    /// For the local side: the base that is sent from.
    pub(super) address: SocketAddr,
    pub(super) kind: CandidateKind,
    pub(super) priority: u32,
}

/// A local base and a remote candidate. Pairs whose local candidate is reflexive are never kept beside the pair
/// of their base (RFC 8445 §6.1.2.4); what a success response says about the reflexive address is `mapped`.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) id: PairId,
    pub(super) local: End,
    pub(super) remote: End,
    pub(super) protocol: Protocol,
    pub(super) foundation: PairFoundation,
    pub(super) state: PairState,
    /// The local candidate of the valid pair, as the peer saw it (RFC 8445 §7.2.5.3.2).
    pub(super) mapped: Option<SocketAddr>,
    pub(super) nominated: bool,
    /// The controlling end nominated the pair before it was valid (RFC 8445 §7.3.1.5).
    pub(super) nominated_when_valid: bool,
    /// The highest number that the controlling end nominated it by; 0: it did not.
    pub(super) nomination: u32,
    /// An authentic request came over it.
    pub(super) asked: bool,
    /// Checks sent since the pair was last unanswered.
    pub(super) checks: u16,
    pub(super) last_check: Option<Instant>,
    /// When the last authentic message came over it, of either kind.
    pub(super) last_heard: Instant,
    pub(super) last_response: Option<Instant>,
    pub(super) rtt: RoundTrip,
    pub(super) stats: PairStats,
}

/// Pairs with equal ones probably work or fail together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PairFoundation(u64);

impl PairFoundation {
    pub(super) fn new(local: Foundation, remote: Foundation) -> Self {
        // FNV-1a, 64 bits, over both texts. A collision costs a pair some patience, no more.
        let text = local.as_str().bytes().chain([b' ']).chain(remote.as_str().bytes());
        PairFoundation(text.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }

    /// RFC 8445 §7.3.1.3: different from all others.
    pub(super) fn unique(id: PairId) -> Self {
        PairFoundation(u64::from(id.0))
    }
}

/// What was counted on a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PairStats {
    /// Checks sent, consent checks included.
    pub requests_sent: u32,
    /// Authentic requests received.
    pub requests_received: u32,
    /// Responses sent, refusals included.
    pub responses_sent: u32,
    /// Authentic responses received.
    pub responses_received: u32,
    /// The sum of all round-trip times measured; divided by `responses_received` it is their mean.
    pub total_round_trip_time: Duration,
    /// Packets that were sent over it while it was in use, without checks.
    pub packets_sent: u64,
    /// Their bytes, without what a relay or a stream puts around them.
    pub bytes_sent: u64,
    /// Packets that came over it while it was in use, without checks.
    pub packets_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
}

impl PairStats {
    /// Adds what was counted apart, since the pair came into use.
    pub(super) fn add(&mut self, traffic: &Traffic) {
        self.packets_sent += traffic.sent.0;
        self.bytes_sent += traffic.sent.1;
        self.packets_received += traffic.received.0;
        self.bytes_received += traffic.received.1;
    }
}

/// Packets and bytes over the path in use.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Traffic {
    pub(super) sent: (u64, u64),
    pub(super) received: (u64, u64),
}

/// Round-trip time, smoothed as RFC 6298 §2 has it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RoundTrip {
    smoothed: Option<(Duration, Duration)>,
}

impl RoundTrip {
    pub(super) fn sample(&mut self, rtt: Duration) {
        self.smoothed = Some(match self.smoothed {
            None => (rtt, rtt / 2),
            Some((mean, deviation)) => ((mean * 7 + rtt) / 8, (deviation * 3 + mean.abs_diff(rtt)) / 4),
        });
    }

    pub(super) fn mean(&self) -> Option<Duration> {
        self.smoothed.map(|(mean, _)| mean)
    }

    /// How long an answer takes when it comes at all; `None` before the first one came.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.smoothed.map(|(mean, deviation)| mean + deviation * 4)
    }
}

impl Pair {
    pub(super) fn new(
        id: PairId,
        local: End,
        remote: End,
        protocol: Protocol,
        foundation: PairFoundation,
        now: Instant,
    ) -> Self {
        Pair {
            id,
            local,
            remote,
            protocol,
            foundation,
            state: PairState::Frozen,
            mapped: None,
            nominated: false,
            nominated_when_valid: false,
            nomination: 0,
            asked: false,
            checks: 0,
            last_check: None,
            last_heard: now,
            last_response: None,
            rtt: RoundTrip::default(),
            stats: PairStats::default(),
        }
    }

    pub(super) fn is_valid(&self) -> bool {
        self.state == PairState::Succeeded
    }

    pub(super) fn is_relayed(&self) -> bool {
        self.local.kind == CandidateKind::Relayed || self.remote.kind == CandidateKind::Relayed
    }

    /// The pair priority (RFC 8445 §6.1.2.3), for an agent in `role`.
    pub(super) fn priority(&self, role: IceRole) -> u64 {
        match role {
            IceRole::Controlling => pair_priority(self.local.priority, self.remote.priority),
            IceRole::Controlled => pair_priority(self.remote.priority, self.local.priority),
        }
    }

    /// The PRIORITY of a check: what the local candidate would be worth as a peer-reflexive one
    /// (RFC 8445 §7.1.1).
    pub(super) fn check_priority(&self) -> u32 {
        let preference = type_preference(CandidateKind::PeerReflexive, self.protocol);
        u32::from(preference) << 24 | self.local.priority & 0x00ff_ffff
    }

    /// The remote side as a candidate, whether or not signalling told of it.
    pub(super) fn remote(&self) -> Remote {
        Remote {
            address: self.remote.address,
            kind: self.remote.kind,
            protocol: self.protocol,
            priority: self.remote.priority,
            // Nothing is known of it that would hold others back.
            foundation: Foundation::default(),
        }
    }

    /// Whether it came after `since`, from signalling or a new local candidate, and is being checked still.
    pub(super) fn is_hopeful(&self, now: Instant, since: Instant) -> bool {
        /// Seven checks at doubling intervals take so long.
        const PATIENCE: Duration = Duration::from_secs(32);
        // As long as nothing was heard, that time is when the pair was formed.
        let is_new = self.last_heard > since && now.saturating_duration_since(self.last_heard) < PATIENCE;
        self.is_open() && is_new && self.remote.kind != CandidateKind::PeerReflexive
    }

    /// Whether it may still become valid.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, PairState::Frozen | PairState::Waiting | PairState::InProgress)
    }
}

/// 2^32 * MIN(G,D) + 2 * MAX(G,D) + (G>D?1:0), for the priorities of the controlling and the controlled end.
///
/// RFC 8445 §5.1.2: priorities are below 2^31; a peer's that is not counts as the highest one.
pub(super) fn pair_priority(controlling: u32, controlled: u32) -> u64 {
    let bounded = |priority: u32| u64::from(priority.min(i32::MAX.unsigned_abs()));
    let (g, d) = (bounded(controlling), bounded(controlled));
    (g.min(d) << 32) + 2 * g.max(d) + u64::from(g > d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pair_priorities_follow_the_formula() {
        // RFC 8445 §6.1.2.3.
        assert_eq!(pair_priority(2_130_706_431, 1_694_498_815), 7_277_816_997_797_167_103);
        assert_eq!(pair_priority(1, 2), 4_294_967_300);
        assert_eq!(pair_priority(2, 1), 4_294_967_301);
        assert_eq!(pair_priority(u32::MAX, u32::MAX), pair_priority(1 << 31, i32::MAX.unsigned_abs()));
    }

    #[test]
    fn round_trip_times_are_smoothed() {
        let mut rtt = RoundTrip::default();
        assert_eq!((rtt.mean(), rtt.timeout()), (None, None));
        rtt.sample(Duration::from_millis(80));
        assert_eq!(rtt.mean(), Some(Duration::from_millis(80)));
        assert_eq!(rtt.timeout(), Some(Duration::from_millis(240)));
        rtt.sample(Duration::from_millis(160));
        assert_eq!(rtt.mean(), Some(Duration::from_millis(90)));
    }
}
