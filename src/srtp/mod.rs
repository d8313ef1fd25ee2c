//! SRTP and SRTCP (RFC 3711, RFC 5764, RFC 7714, RFC 9335): packets are sealed and opened where they lie.
//!
//! ```text
//! exporter ─ keys::Keying ─┬─> Outbound   one per connection: seals what we send
//!                          └─> Inbound    one per connection: opens what we receive
//!
//!  header | payload                     ──protect──>  header | ciphertext | tag
//!  RTCP                                 ──protect──>  8 bytes | ciphertext | E + index | tag (AEAD: tag first)
//! ```
//!
//! * Session keys and schedules are derived once per context, not per packet and not per stream; nothing is
//!   allocated per packet.
//! * State is per SSRC: the roll-over counter, estimated, and a window of packet indexes. It is made and
//!   changed only by a packet whose tag was checked (RFC 3711 §3.3.1), so what is forged leaves no trace.
//! * Both directions keep a window. Inbound it stops replays; outbound it makes sure that no index is used
//!   twice, which with GCM would give the key away (RFC 7714 §8.4).
//! * Streams that the signalling did not announce are bounded: see [`MAX_UNSIGNALLED`].

mod cipher;
mod inbound;
pub mod keys;
mod outbound;
mod streams;

pub use inbound::{Inbound, Opened};
pub use outbound::Outbound;

/// Streams that one context takes without announcement.
pub const MAX_UNSIGNALLED: usize = 64;

/// Packet indexes that the window of an RTP stream covers; RTCP's covers [`RTCP_WINDOW`].
pub const RTP_WINDOW: usize = 64 * streams::RTP_WORDS;
/// SRTCP indexes that the window of one sender covers.
pub const RTCP_WINDOW: usize = 64 * streams::RTCP_WORDS;

/// What sealing adds to an RTP packet at most: a tag, and the extension header that Cryptex may need.
pub const MAX_RTP_OVERHEAD: usize = 20;
/// What sealing adds to an RTCP packet at most: a tag and the index.
pub const MAX_RTCP_OVERHEAD: usize = 20;

/// How header extensions and CSRCs travel (RFC 9335).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cryptex {
    /// In the clear, authenticated.
    #[default]
    Off,
    /// Encrypted: both sides said `a=cryptex`.
    On,
}

/// Why a packet is not opened. The packet is then worthless and its bytes may be garbled; no state changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// It is no RTP or RTCP packet, or too short to hold a tag.
    #[error("malformed packet")]
    Malformed,
    /// Its tag is false.
    #[error("false tag")]
    Unauthentic,
    /// It was seen before, or is older than the window.
    #[error("replayed or too old")]
    Replayed,
    /// Its stream was not announced, and no more of those are taken.
    #[error("too many streams")]
    TooManyStreams,
}

/// Why a packet is not sealed. It is left as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CannotSeal {
    /// The bytes are no RTP or RTCP packet.
    #[error("not a packet")]
    Malformed,
    /// A packet of this stream and number was sealed before, or one so much later that nobody knows.
    ///
    /// A packet is resent under a number of its own (RFC 4588), or as the bytes that were sealed then.
    #[error("sequence number used before")]
    Reused,
    /// All indexes are used: 2^48 RTP or 2^31 RTCP packets (RFC 3711 §9.2).
    #[error("key exhausted")]
    Exhausted,
}

#[cfg(test)]
mod tests;
