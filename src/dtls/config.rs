//! What a connection is configured with.

use std::sync::Arc;
use std::time::Duration;

use super::suite::{CipherSuite, Version};
use crate::crypto::cert::Identity;
use crate::crypto::{Backend, NamedGroup};
use crate::types::srtp_profile::SrtpProfile;

/// The most records that may be sealed before new keys are taken.
const MAX_KEY_UPDATE_AFTER: u64 = 1 << 24;

/// Configuration of DTLS, shared by many connections.
#[derive(Debug, Clone)]
pub struct Config {
    /// Certificate and private key; presented in both roles.
    pub identity: Arc<Identity>,
    /// Who does the cryptography.
    pub backend: &'static dyn Backend,
    /// The oldest version accepted.
    pub min_version: Version,
    /// The newest version offered.
    pub max_version: Version,
    /// Cipher suites by preference. A server takes its own preferred one of those that the client offers.
    pub cipher_suites: Vec<CipherSuite>,
    /// Key exchange groups by preference. A server of 1.3 takes its own preferred one of those that the client sends a
    /// share of, since any other costs a round trip.
    pub groups: Vec<NamedGroup>,
    /// The groups of which a client's first hello of 1.3 holds a share (RFC 8446 §4.2.8); those that are not in
    /// `groups` are left out. A server that knows none of them asks for another, which costs a round trip.
    pub key_shares: Vec<NamedGroup>,
    /// Whether a server of 1.3 has the client prove its address by a cookie (RFC 9147 §5.1), which costs a round trip.
    /// Needless where ICE has proven it.
    pub cookie: bool,
    /// How many records of 1.3 are sealed before new keys are taken (RFC 9147 §4.5.3); at most 2^24, since a key seals
    /// no more than 2^24.5 records.
    pub key_update_after: u64,
    /// SRTP profiles by preference; none means that `use_srtp` is neither offered nor answered (RFC 5764).
    pub srtp_profiles: Vec<SrtpProfile>,
    /// How long a handshake may take, from [`start`](super::Connection::start) on, before the connection is closed.
    pub patience: Duration,
    /// Whether secrets are given out by [`poll_key_log`](super::Connection::poll_key_log). Never in production.
    pub key_log: bool,
}

impl Config {
    /// Everything that is known, the preferred first; no SRTP; 30 seconds for the handshake.
    pub fn new(backend: &'static dyn Backend, identity: Arc<Identity>) -> Self {
        Config {
            identity,
            backend,
            min_version: Version::Dtls12,
            max_version: Version::Dtls13,
            cipher_suites: CipherSuite::ALL.to_vec(),
            groups: NamedGroup::ALL.to_vec(),
            key_shares: vec![NamedGroup::X25519MlKem768, NamedGroup::X25519],
            cookie: false,
            key_update_after: MAX_KEY_UPDATE_AFTER,
            srtp_profiles: Vec::new(),
            patience: Duration::from_secs(30),
            key_log: false,
        }
    }

    /// Checks that a handshake is possible at all.
    ///
    /// # Errors
    /// The versions leave nothing between them, one of them has no cipher suite or no group, or a number is out of
    /// its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.min_version > self.max_version {
            return Err(ConfigError::Versions);
        }
        for version in [Version::Dtls12, Version::Dtls13].into_iter().filter(|version| self.allows(*version))
        {
            if self.suites_of(version).next().is_none() {
                return Err(ConfigError::NoCipherSuite);
            }
            if self.groups_of(version).next().is_none() {
                return Err(ConfigError::NoGroup);
            }
        }
        if !(1..=MAX_KEY_UPDATE_AFTER).contains(&self.key_update_after) {
            return Err(ConfigError::KeyUpdateAfter);
        }
        Ok(())
    }

    /// Whether a version may be spoken.
    pub(crate) fn allows(&self, version: Version) -> bool {
        self.min_version <= version && version <= self.max_version
    }

    /// The cipher suites of a version by preference.
    pub(crate) fn suites_of(&self, version: Version) -> impl Iterator<Item = CipherSuite> {
        self.cipher_suites.iter().copied().filter(move |suite| suite.version() == version)
    }

    /// The groups of a version by preference: the post-quantum one is not for 1.2 (draft-ietf-tls-ecdhe-mlkem).
    pub(crate) fn groups_of(&self, version: Version) -> impl Iterator<Item = NamedGroup> {
        let suits =
            move |group: &NamedGroup| version >= Version::Dtls13 || *group != NamedGroup::X25519MlKem768;
        self.groups.iter().copied().filter(suits)
    }
}

/// Why a configuration cannot work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// `min_version` is newer than `max_version`.
    #[error("the oldest version is newer than the newest")]
    Versions,
    /// No cipher suite is allowed for one of the versions.
    #[error("no cipher suite for one of the versions")]
    NoCipherSuite,
    /// No key exchange group is allowed for one of the versions.
    #[error("no key exchange group for one of the versions")]
    NoGroup,
    /// `key_update_after` is 0 or more than 2^24.
    #[error("the number of records before a key update is 0 or more than 2^24")]
    KeyUpdateAfter,
}
