//! How hard a message is tried: what a channel says, and what its association does.

use std::time::Duration;

/// How long a lost message is sent again (RFC 3758 §4, RFC 7496 §3).
///
/// A limit only holds when the peer understands FORWARD-TSN; otherwise every message is reliable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Reliability {
    /// Until it arrives.
    #[default]
    Reliable,
    /// At most this many times after the first.
    MaxRetransmits(u16),
    /// Until this long after it was accepted, whether or not it was ever sent.
    MaxLifetime(Duration),
}
