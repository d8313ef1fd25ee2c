//! Bytes on the wire: the one [`Reader`](reader::Reader) and the one [`Writer`](writer::Writer) of every
//! format, sequence numbers that wrap, the replay window, and collections that cannot outgrow their bound.

pub(crate) mod base64;
pub mod bits;
pub mod deframer;
pub mod leb128;
pub mod limited;
pub mod reader;
pub mod serial;
pub mod window;
pub mod writer;

/// Bytes from a peer that do not follow their format.
///
/// Never the caller's error: whoever parses drops the input, counts it and traces the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub struct Malformed(
    /// What was being read when the bytes stopped making sense.
    pub &'static str,
);
