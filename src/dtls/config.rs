//! What a connection is configured with.

use std::sync::Arc;
use std::time::Duration;

use super::suite::{CipherSuite, Version};
use crate::crypto::cert::Identity;
use crate::crypto::{Backend, NamedGroup};
use crate::types::srtp_profile::SrtpProfile;

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
    /// Key exchange groups by preference.
    pub groups: Vec<NamedGroup>,
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
            max_version: Version::Dtls12,
            cipher_suites: CipherSuite::ALL.to_vec(),
            groups: vec![NamedGroup::X25519, NamedGroup::Secp256r1, NamedGroup::Secp384r1],
            srtp_profiles: Vec::new(),
            patience: Duration::from_secs(30),
            key_log: false,
        }
    }

    /// Checks that a handshake is possible at all.
    ///
    /// # Errors
    /// A list is empty, or the versions leave nothing between them.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.min_version > self.max_version {
            return Err(ConfigError::Versions);
        }
        if self.cipher_suites.is_empty() {
            return Err(ConfigError::NoCipherSuite);
        }
        if self.groups.is_empty() {
            return Err(ConfigError::NoGroup);
        }
        Ok(())
    }
}

/// Why a configuration cannot work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// `min_version` is newer than `max_version`.
    #[error("the oldest version is newer than the newest")]
    Versions,
    /// No cipher suite is allowed.
    #[error("no cipher suite")]
    NoCipherSuite,
    /// No key exchange group is allowed.
    #[error("no key exchange group")]
    NoGroup,
}
