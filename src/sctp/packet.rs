//! The common header (RFC 9260 §3.1) and the checksum (RFC 9260 §6.8, RFC 9653).

use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// Bytes of the common header.
pub(super) const HEADER_LEN: usize = 12;
/// Where the checksum lies.
const CHECKSUM_AT: usize = 8;

/// The common header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) destination: u16,
    pub(super) tag: u32,
    pub(super) checksum: [u8; 4],
}

impl Header {
    #[inline]
    pub(super) fn parse(packet: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(packet, "SCTP packet");
        let _source = r.u16()?;
        let destination = r.u16()?;
        let tag = r.u32()?;
        let checksum = r.array()?;
        Ok(Header { destination, tag, checksum })
    }
}

/// Appends a common header with a checksum of 0. `ports` are ours and the peer's.
#[inline]
pub(super) fn emit_header(w: &mut Writer<'_>, ports: (u16, u16), tag: u32) {
    let (ours, theirs) = ports;
    let value = u128::from(ours) << 80 | u128::from(theirs) << 64 | u128::from(tag) << 32;
    let [_, _, _, _, header @ ..] = value.to_be_bytes();
    w.slice(&header);
}

/// Fills in the checksum of `packet`, whose checksum field is 0.
pub(super) fn patch_checksum(packet: &mut [u8]) {
    let checksum = crc32c::crc32c(packet);
    if let Some(place) = packet.get_mut(CHECKSUM_AT..HEADER_LEN) {
        // RFC 9260 appendix A: the reflected CRC travels lowest byte first.
        place.copy_from_slice(&checksum.to_le_bytes());
    }
}

/// Whether the checksum in `packet` is right.
pub(super) fn is_intact(packet: &[u8], claimed: [u8; 4]) -> bool {
    let (Some(head), Some(rest)) = (packet.get(..CHECKSUM_AT), packet.get(HEADER_LEN..)) else {
        return false;
    };
    let checksum = crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(head), &[0; 4]), rest);
    checksum.to_le_bytes() == claimed
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;

    /// RFC 9653 §3, figure 1: an INIT whose correct checksum is 0.
    const ZERO: [u8; 32] = [
        0x13, 0x89, 0x13, 0x89, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 20, 0xfc, 0xb7, 0x5c, 0xca, 0, 0, 0x05,
        0xdc, 0, 1, 0, 1, 0, 0, 0, 0,
    ];

    #[test]
    fn the_packet_of_rfc_9653_has_a_checksum_of_zero() {
        assert!(is_intact(&ZERO, [0; 4]));
        let mut buf = BytesMut::from(&b"before"[..]);
        let mut w = Writer::new(&mut buf);
        emit_header(&mut w, (5001, 5001), 0);
        w.slice(&ZERO[HEADER_LEN..]);
        patch_checksum(w.as_mut_slice());
        assert_eq!(w.as_slice(), ZERO);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut buf = BytesMut::new();
        let mut w = Writer::new(&mut buf);
        emit_header(&mut w, (5000, 5001), 0x01020304);
        w.slice(b"chunks");
        patch_checksum(w.as_mut_slice());
        let header = Header::parse(&buf).unwrap();
        assert_eq!((header.destination, header.tag), (5001, 0x01020304));
        assert!(is_intact(&buf, header.checksum));
        for bit in 0..buf.len() * 8 {
            let mut damaged = buf.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let header = Header::parse(&damaged).unwrap();
            assert!(!is_intact(&damaged, header.checksum), "bit {bit}");
        }
        for len in 0..HEADER_LEN {
            assert!(Header::parse(&buf[..len]).is_err());
        }
    }
}
