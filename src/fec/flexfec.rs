//! The header of FlexFEC, draft 03 (draft-ietf-payload-flexible-fec-scheme-03 §4.2.2), with a mask.
//!
//! ```text
//! |R|F|P|X|  CC   |M| PT recovery |        length recovery        |
//! |                          TS recovery                          |
//! |   SSRCCount   |                    reserved                   |
//! |                             SSRC_i                            |
//! |           SN base_i           |k|          mask [0-14]        |
//! |k|                   mask [15-45] (optional)                   |
//! |k|                   mask [46-108] (optional, 63 bits)         |
//! ```
//!
//! A set `k` says that the mask ends. One protected stream is read and written, and neither retransmission (R)
//! nor fixed blocks (F): nobody sends them. RFC 8627, the final version, puts SSRCs elsewhere and is not the same.

use bytes::BytesMut;

use super::{HeaderBits, Parity};
use crate::types::ids::Ssrc;
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::serial::Serial16;
use crate::wire::writer::Writer;

/// The header with the longest mask, in bytes.
pub(super) const LONG_LEN: usize = 32;
const RETRANSMISSION: u8 = 0x80;
const FIXED: u8 = 0x40;

pub(super) fn parse(payload: &[u8]) -> Result<Parity<'_>, Malformed> {
    let mut r = Reader::new(payload, "FlexFEC payload");
    let [first, second] = r.array()?;
    let len = r.u16()?;
    let timestamp = r.u32()?;
    let streams = r.u8()?;
    r.skip(3)?;
    if first & (RETRANSMISSION | FIXED) != 0 || streams != 1 {
        return Err(r.malformed());
    }
    let ssrc = Ssrc(r.u32()?);
    let base = Serial16(r.u16()?);
    let mask = read_mask(&mut r)?;
    let bits = HeaderBits { flags: [first & 0x3f, second], timestamp, len };
    if mask == 0 {
        return Err(r.malformed());
    }
    Ok(Parity { ssrc: Some(ssrc), base, mask, bits, payload: r.rest() })
}

/// 15 bits, 31 more, 63 more: each part says in its first bit whether it is the last.
fn read_mask(r: &mut Reader<'_>) -> Result<u128, Malformed> {
    let short = r.u16()?;
    let mut mask = u128::from(short & 0x7fff) << 113;
    if short >> 15 == 1 {
        return Ok(mask);
    }
    let middle = r.u32()?;
    mask |= u128::from(middle & 0x7fff_ffff) << 82;
    if middle >> 31 == 1 {
        return Ok(mask);
    }
    let long = r.u64()?;
    // There is no fourth part.
    if long >> 63 == 0 {
        return Err(r.malformed());
    }
    Ok(mask | u128::from(long & (u64::MAX >> 1)) << 19)
}

pub(super) fn emit(parity: &Parity<'_>, out: &mut BytesMut) {
    let [first, second] = parity.bits.flags;
    debug_assert!(parity.mask << 109 == 0, "FlexFEC covers 109 packets");
    let bits = |shift: u32, mask: u64| u64::try_from(parity.mask >> shift & u128::from(mask)).unwrap_or(0);
    let short = u16::try_from(bits(113, 0x7fff)).unwrap_or(0);
    let middle = u32::try_from(bits(82, 0x7fff_ffff)).unwrap_or(0);
    let long = bits(19, u64::MAX >> 1);
    out.reserve(LONG_LEN + parity.payload.len());
    let mut w = Writer::new(out);
    w.u8(first & 0x3f);
    w.u8(second);
    w.u16(parity.bits.len);
    w.u32(parity.bits.timestamp);
    w.u8(1);
    w.u24(0);
    w.u32(parity.ssrc.map_or(0, |ssrc| ssrc.0));
    w.u16(parity.base.0);
    match (middle, long) {
        (0, 0) => w.u16(0x8000 | short),
        (_, 0) => {
            w.u16(short);
            w.u32(0x8000_0000 | middle);
        }
        _ => {
            w.u16(short);
            w.u32(middle);
            w.u64(1 << 63 | long);
        }
    }
    w.slice(parity.payload);
}
