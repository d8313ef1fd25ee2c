//! What SCTP packets are made of (RFC 9260 §3): the common header, then chunks, each padded to four bytes.
//!
//! ```text
//!  +--------------------+--------------------+
//!  |    source port     |  destination port  |
//!  |           verification tag              |   common header, 12 bytes
//!  |        checksum (CRC32c) or 0           |
//!  +---------+----------+--------------------+
//!  |  type   |  flags   | length             |   chunk header, 4 bytes, counted by the length;
//!  |  value ...                    (padding) |   padding is not counted
//!  +---------+----------+--------------------+
//! ```
//!
//! One file per family of chunks. A parsed chunk is a view that was validated once.

pub(crate) mod data;
pub(crate) mod error;
pub(crate) mod forward_tsn;
pub(crate) mod init;
pub(crate) mod parameter;
pub(crate) mod reconfig;
pub(crate) mod sack;

use std::ops::Range;

use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// Chunk types (RFC 9260 §3.2 and the extensions named).
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const INIT: u8 = 1;
    pub(crate) const INIT_ACK: u8 = 2;
    pub(crate) const SACK: u8 = 3;
    pub(crate) const HEARTBEAT: u8 = 4;
    pub(crate) const HEARTBEAT_ACK: u8 = 5;
    pub(crate) const ABORT: u8 = 6;
    pub(crate) const SHUTDOWN: u8 = 7;
    pub(crate) const SHUTDOWN_ACK: u8 = 8;
    pub(crate) const ERROR: u8 = 9;
    pub(crate) const COOKIE_ECHO: u8 = 10;
    pub(crate) const COOKIE_ACK: u8 = 11;
    pub(crate) const SHUTDOWN_COMPLETE: u8 = 14;
    /// RFC 8260 §2.1.
    pub(crate) const I_DATA: u8 = 64;
    /// RFC 6525 §3.
    pub(crate) const RE_CONFIG: u8 = 130;
    /// RFC 3758 §3.2.
    pub(crate) const FORWARD_TSN: u8 = 192;
    /// RFC 8260 §2.3.1.
    pub(crate) const I_FORWARD_TSN: u8 = 194;
}

/// Bytes of a chunk's type, flags and length.
pub(crate) const CHUNK_HEADER_LEN: usize = 4;

/// One chunk as it lies in a packet.
#[derive(Debug, Clone)]
pub(crate) struct RawChunk<'a> {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    /// The value, without header and padding.
    pub(crate) value: &'a [u8],
    /// Where the value lies in the packet.
    pub(crate) range: Range<usize>,
}

/// The chunks of a packet, in order.
#[derive(Debug, Clone)]
pub(crate) struct Chunks<'a> {
    reader: Reader<'a>,
    packet_len: usize,
}

impl<'a> Chunks<'a> {
    /// The chunks behind the first `offset` bytes of `packet`.
    pub(crate) fn new(packet: &'a [u8], offset: usize) -> Self {
        let body = packet.get(offset..).unwrap_or_default();
        Chunks { reader: Reader::new(body, "SCTP chunk"), packet_len: packet.len() }
    }

    /// The next chunk; `None` at the end. After an error nothing of the rest can be understood.
    pub(crate) fn next(&mut self) -> Option<Result<RawChunk<'a>, Malformed>> {
        if self.reader.is_empty() {
            return None;
        }
        let chunk = self.read();
        if chunk.is_err() {
            self.reader.rest();
        }
        Some(chunk)
    }

    fn read(&mut self) -> Result<RawChunk<'a>, Malformed> {
        let kind = self.reader.u8()?;
        let flags = self.reader.u8()?;
        let len = usize::from(self.reader.u16()?);
        // RFC 9260 §3.2: the length counts the header; less than that would never move forward.
        let value_len = len.checked_sub(CHUNK_HEADER_LEN).ok_or(self.reader.malformed())?;
        let start = self.packet_len - self.reader.remaining();
        let value = self.reader.take(value_len)?;
        // RFC 9260 §3.2: the last chunk's padding may be missing, and readers are to bear it.
        let padding = (len.next_multiple_of(4) - len).min(self.reader.remaining());
        self.reader.skip(padding)?;
        Ok(RawChunk { kind, flags, value, range: start..start + value_len })
    }
}

/// Appends a chunk whose value `body` writes, with its length and padding.
pub(crate) fn emit_chunk(w: &mut Writer<'_>, kind: u8, flags: u8, body: impl FnOnce(&mut Writer<'_>)) {
    let start = w.written();
    w.u8(kind);
    w.u8(flags);
    w.u16(0);
    body(w);
    let len = w.written() - start;
    w.patch_u16(start + 2, wire_length(len));
    w.zeros(len.next_multiple_of(4) - len);
}

/// A length as the wire carries it. What is emitted is bounded by the packet size, itself below 64 KiB.
fn wire_length(len: usize) -> u16 {
    debug_assert!(len <= usize::from(u16::MAX), "a chunk of {len} bytes");
    u16::try_from(len).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use proptest::prelude::*;

    fn walk(packet: &[u8]) -> Result<Vec<(u8, usize)>, Malformed> {
        let mut chunks = Chunks::new(packet, 0);
        let mut found = Vec::new();
        while let Some(chunk) = chunks.next() {
            let chunk = chunk?;
            found.push((chunk.kind, chunk.value.len()));
        }
        Ok(found)
    }

    #[test]
    fn chunks_are_walked_over_their_padding() {
        assert_eq!(walk(&[6, 0, 0, 5, 9, 0, 0, 0, 7, 1, 0, 4]), Ok(vec![(6, 1), (7, 0)]));
        // RFC 9260 §3.2: padding of the last chunk may be missing.
        assert_eq!(walk(&[6, 0, 0, 5, 9]), Ok(vec![(6, 1)]));
    }

    #[test]
    fn a_length_below_the_header_or_beyond_the_packet_is_refused() {
        for len in 0..4u8 {
            assert!(walk(&[6, 0, 0, len]).is_err());
        }
        assert!(walk(&[6, 0, 0, 9, 0, 0, 0, 0]).is_err());
        assert!(walk(&[6, 0, 0]).is_err());
    }

    proptest! {
        #[test]
        fn emitted_chunks_are_read_back(bodies in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..20)), 0..8)) {
            let mut buf = BytesMut::new();
            let mut w = Writer::new(&mut buf);
            for (kind, body) in &bodies {
                emit_chunk(&mut w, *kind, 0, |w| w.slice(body));
            }
            let expected: Vec<_> = bodies.iter().map(|(kind, body)| (*kind, body.len())).collect();
            prop_assert_eq!(walk(&buf), Ok(expected));
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = walk(&bytes);
        }
    }
}
