//! STUN (RFC 8489): the message codec that ICE and TURN speak with. No sockets, no timers, no transactions.
//!
//! ```text
//! datagram ──Message::parse──▶ Message<'a> ──username(), priority(), ...──▶ borrowed values
//!                                  └─ verify_integrity(key)
//! Builder::request(buf, ..) ──attributes──▶ integrity(key) ──▶ fingerprint() ──▶ finish()
//! ```
//!
//! A [`Message`] is a view that was walked once: every attribute lies inside it. Attributes behind the
//! integrity value are invisible (RFC 8489 §14.5), so whoever verifies the integrity first reads only what it
//! covers.
//!
//! [`behavior`] is the one machine here: it asks a server how the NAT in front of a client behaves.

pub mod address;
pub mod attributes;
pub mod behavior;
pub mod builder;
pub mod credentials;
pub mod message;

pub use attributes::{Attribute, ErrorCode, PasswordAlgorithm};
pub use builder::Builder;
pub use message::{Class, Message, Method, TransactionId};

use crc::{CRC_32_ISO_HDLC, Crc, Table};

/// Bytes of the fixed header (RFC 8489 §5).
pub const HEADER_LEN: usize = 20;
/// The fixed value that every header holds (RFC 8489 §5).
pub const MAGIC_COOKIE: u32 = 0x2112_A442;

/// What the checksum is combined with (RFC 8489 §14.7).
const FINGERPRINT_XOR: u32 = 0x5354_554e;
/// Sixteen bytes at a step.
static CRC32: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);

/// The FINGERPRINT value of a message made of `parts` (RFC 8489 §14.7).
fn fingerprint(parts: &[&[u8]]) -> u32 {
    let mut digest = CRC32.digest();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize() ^ FINGERPRINT_XOR
}

/// The CRC-32 that FINGERPRINT is made of, as it stands.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    CRC32.checksum(bytes)
}

/// Whether a datagram can be nothing but STUN, judged by its first byte and the magic cookie
/// (RFC 7983 §7, RFC 8489 §5).
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER_LEN && datagram[0] < 4 && datagram[4..8] == MAGIC_COOKIE.to_be_bytes()
}

#[cfg(test)]
mod tests;
