//! The header of ULPFEC, and that of its first level (RFC 5109 §7.3, §7.4).
//!
//! ```text
//! |E|L|P|X|  CC   |M| PT recovery |            SN base            |
//! |                          TS recovery                          |
//! |        length recovery        |   level 0: protection length  |
//! |             mask              |  L: 32 more bits of the mask  |
//! ```

use bytes::BytesMut;

use super::{HeaderBits, Parity};
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::serial::Serial16;
use crate::wire::writer::Writer;

/// Both headers with the short mask of 16 packets, in bytes.
const SHORT_LEN: usize = 14;
/// Both headers with the long mask of 48 packets.
pub(super) const LONG_LEN: usize = 18;
const LONG_MASK: u8 = 0x40;

pub(super) fn parse(payload: &[u8]) -> Result<Parity<'_>, Malformed> {
    let mut r = Reader::new(payload, "ULPFEC payload");
    let [first, second] = r.array()?;
    let base = Serial16(r.u16()?);
    let timestamp = r.u32()?;
    let len = r.u16()?;
    let protected = usize::from(r.u16()?);
    let mut mask = u128::from(r.u16()?) << 112;
    if first & LONG_MASK != 0 {
        mask |= u128::from(r.u32()?) << 80;
    }
    // RFC 5109 §7.3: the E bit is ignored; L is not part of what is recovered.
    let bits = HeaderBits { flags: [first & 0x3f, second], timestamp, len };
    // What follows are further levels.
    let payload = r.take(protected)?;
    if mask == 0 {
        return Err(r.malformed());
    }
    Ok(Parity { ssrc: None, base, mask, bits, payload })
}

pub(super) fn emit(parity: &Parity<'_>, out: &mut BytesMut) {
    let [first, second] = parity.bits.flags;
    let is_long = parity.mask << 16 != 0;
    debug_assert!(parity.mask << 48 == 0, "ULPFEC covers 48 packets");
    let bits = |shift: u32, mask: u128| u32::try_from(parity.mask >> shift & mask).unwrap_or(0);
    out.reserve(if is_long { LONG_LEN } else { SHORT_LEN } + parity.payload.len());
    let mut w = Writer::new(out);
    w.u8(first & 0x3f | if is_long { LONG_MASK } else { 0 });
    w.u8(second);
    w.u16(parity.base.0);
    w.u32(parity.bits.timestamp);
    w.u16(parity.bits.len);
    w.u16(u16::try_from(parity.payload.len()).unwrap_or(u16::MAX));
    w.u16(u16::try_from(bits(112, 0xffff)).unwrap_or(0));
    if is_long {
        w.u32(bits(80, 0xffff_ffff));
    }
    w.slice(parity.payload);
}
