//! What an agent can be told about itself.

use std::time::Duration;

/// The settings of an [`Agent`](super::Agent).
#[derive(Debug, Clone)]
pub struct Config {
    /// A lite agent (RFC 8445 §2.5): it answers checks and sends none. For hosts with public addresses.
    pub lite: bool,
    /// Ta: the time between two checks (RFC 8445 §14.2). 50 ms; at least 5 ms. A value below 50 ms must be
    /// signalled, and the higher one of both ends used.
    pub pacing: Duration,
    /// The most candidate pairs (RFC 8445 §6.1.2.5). 100.
    pub max_pairs: usize,
    /// The most local candidates. 32.
    pub max_local_candidates: usize,
    /// The most remote candidates that signalling may bring; those learned from checks are bounded by the
    /// pairs. 64.
    pub max_remote_candidates: usize,
    /// How long an agent without a valid pair goes on before it fails (RFC 8863 §4). 39.5 s.
    pub patience: Duration,
    /// How long a controlling agent with a valid pair waits at the most for a better one, before it nominates.
    /// 1 s; see [`Agent`](super::Agent) for when it nominates earlier.
    pub nomination_wait: Duration,
    /// Whether checks go on when a pair was selected, for pairs that come later, and whether a controlling agent
    /// moves to a better one; see [`Agent`](super::Agent). Yes.
    pub moves: bool,
    /// Whether the best pair beside the selected one is kept, and checked every 5 s, so that there is a way at once
    /// when the selected one dies: from another local address, if there is one. No.
    pub keep_backup: bool,
    /// The mean time between consent checks (RFC 7675 §5.1). 5 s; at least 5 s. Each is randomised by a fifth,
    /// and none follows the last answer sooner than 4 s.
    pub consent_interval: Duration,
    /// How long consent lasts without an answer (RFC 7675 §5.1): the time after which a dead path is given up.
    /// 30 s, which is also the most.
    pub consent_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            lite: false,
            pacing: Duration::from_millis(50),
            max_pairs: 100,
            max_local_candidates: 32,
            max_remote_candidates: 64,
            patience: Duration::from_millis(39_500),
            nomination_wait: Duration::from_secs(1),
            moves: true,
            keep_backup: false,
            consent_interval: Duration::from_secs(5),
            consent_timeout: Duration::from_secs(30),
        }
    }
}

/// Why a [`Config`] is not usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Below 5 ms (RFC 8445 §14.2).
    #[error("pacing is below 5 ms")]
    Pacing,
    /// A bound of 0, or of more than 10,000.
    #[error("a bound on candidates or pairs is 0 or above 10,000")]
    Bound,
    /// An interval below 5 s, or a timeout of 0 or above 30 s (RFC 7675 §5.1).
    #[error("consent interval below 5 s, or consent timeout not within 30 s")]
    Consent,
}

impl Config {
    /// Checks the bounds that the RFCs set.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let bound = 1..=10_000;
        if self.pacing < MIN_PACING {
            return Err(ConfigError::Pacing);
        }
        if ![self.max_pairs, self.max_local_candidates, self.max_remote_candidates]
            .iter()
            .all(|value| bound.contains(value))
        {
            return Err(ConfigError::Bound);
        }
        if self.consent_interval < Duration::from_secs(5)
            || self.consent_timeout > Duration::from_secs(30)
            || self.consent_timeout.is_zero()
        {
            return Err(ConfigError::Consent);
        }
        Ok(())
    }
}

/// RFC 8445 §14.2: whatever Ta is, checks are at least this far apart.
pub(super) const MIN_PACING: Duration = Duration::from_millis(5);
/// RFC 8445 §14.3: the least time before a check of a pair is repeated, once another pair is valid, and before
/// an unanswered consent check is.
pub(super) const MIN_RTO: Duration = Duration::from_millis(500);
/// The longest wait for the answer to a consent check before the next one leaves.
pub(super) const MAX_CONSENT_RTO: Duration = Duration::from_secs(1);
/// What is left of consent when checks begin to leave at the last pace.
pub(super) const LAST_CONSENT: Duration = Duration::from_secs(5);
/// The last pace: at most twenty checks more before a path is given up.
pub(super) const LAST_CONSENT_RTO: Duration = Duration::from_millis(250);
/// The most checks of one pair that is never answered: with their growing distance they last for the default
/// patience.
pub(super) const MAX_CHECKS: u16 = 50;
/// The most checks of a pair once another one is valid (Rc of RFC 8489 §6.2.1).
pub(super) const MAX_CHECKS_BESIDE_VALID: u16 = 7;
/// The most checks of one pair whose answer is waited for; the oldest one is given up for a new one.
pub(super) const MAX_OUTSTANDING: usize = 16;
/// How long an answer is waited for.
pub(super) const TRANSACTION_LIFETIME: Duration = Duration::from_secs(10);
/// RFC 8445 §8.3.1: how long other pairs are kept after one was selected.
pub(super) const CONCLUSION: Duration = Duration::from_secs(3);
/// Unanswered consent checks in a row after which the connection counts as disconnected. They take 4.5 s.
pub(super) const DISCONNECTED_AFTER: u32 = 5;
/// Unanswered consent checks in a row after which the selected pair is doubted: another one that answers is gone
/// over to. They take about a second.
pub(super) const DOUBTED_AFTER: u32 = 2;
/// The least time between two moves to a better pair, and before the first one.
pub(super) const MOVE_INTERVAL: Duration = Duration::from_secs(5);
/// The time between two checks of the backup.
pub(super) const BACKUP_INTERVAL: Duration = Duration::from_secs(5);
/// The most messages decided on but not yet polled; what is beyond is dropped and counted.
pub(super) const MAX_OUTBOX: usize = 128;
/// The most facts about addresses that wait to be polled; the oldest is dropped.
pub(super) const MAX_FACTS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_outside_the_rfcs_bounds_are_refused() {
        assert_eq!(Config::default().validate(), Ok(()));
        let fast = Config { pacing: Duration::from_millis(4), ..Config::default() };
        assert_eq!(fast.validate(), Err(ConfigError::Pacing));
        let none = Config { max_pairs: 0, ..Config::default() };
        assert_eq!(none.validate(), Err(ConfigError::Bound));
        let eager = Config { consent_interval: Duration::from_secs(4), ..Config::default() };
        assert_eq!(eager.validate(), Err(ConfigError::Consent));
        let trusting = Config { consent_timeout: Duration::from_secs(31), ..Config::default() };
        assert_eq!(trusting.validate(), Err(ConfigError::Consent));
    }
}
