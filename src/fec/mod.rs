//! Forward error correction by parity: ULPFEC (RFC 5109) and FlexFEC (draft-ietf-payload-flexible-fec-scheme-03).
//!
//! ```text
//!  sent packets ──> Protector ── one parity payload for some packets each ──>  ULPFEC: in RED, in the same stream
//!                                                                              FlexFEC: a stream of its own
//!  received packets, parity payloads ──> Recovery ── what one packet is missing for ──> that packet
//! ```
//!
//! Both formats say the same in different words ([`Parity`]): which packets, the XOR of their headers' fields
//! and lengths, the XOR of what follows their first 12 bytes. A packet comes back when all others that its parity
//! covers are there.
//!
//! Packets are protected as they are before some header extensions get their values, which is what browsers do:
//! the elements that change on the way (times, transport-wide numbers) count as zeros on both sides
//! ([`blank`]), and are zeros in a packet that comes back.
//!
//! Of RFC 5109 one level of protection is read and written. Packets that only a second level would complete
//! are not recovered.

mod flexfec;
mod protector;
mod recovery;
mod ulpfec;

pub use protector::{Protector, ProtectorConfig};
pub use recovery::{MAX_PACKET, Recovery};

use bytes::BytesMut;

use crate::rtp::elements::Elements;
use crate::rtp::header::{FIXED_LEN, Header};
use crate::types::ids::Ssrc;
use crate::wire::Malformed;
use crate::wire::serial::Serial16;

/// How parity is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// ULPFEC (RFC 5109): up to 48 packets in a row.
    Ulpfec,
    /// FlexFEC, draft 03, the version that browsers speak: up to 109 packets in a row.
    Flexfec,
}

impl Scheme {
    /// How far apart the first and the last packet of one parity may be, both included.
    pub fn span(self) -> u16 {
        match self {
            Scheme::Ulpfec => 48,
            Scheme::Flexfec => 109,
        }
    }

    /// What a parity payload is longer than the longest packet it covers, less that packet's first 12 bytes.
    pub fn overhead(self) -> usize {
        match self {
            Scheme::Ulpfec => ulpfec::LONG_LEN,
            Scheme::Flexfec => flexfec::LONG_LEN,
        }
    }
}

/// What a parity payload says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parity<'a> {
    /// The stream that it protects, where the payload says so: in FlexFEC.
    pub ssrc: Option<Ssrc>,
    /// The number of the first packet covered.
    pub base: Serial16,
    /// Which packets are covered: the highest bit is `base`, the next one `base + 1`.
    pub mask: u128,
    /// The XOR of the packets' headers and lengths.
    pub bits: HeaderBits,
    /// The XOR of what follows their first 12 bytes.
    pub payload: &'a [u8],
}

impl<'a> Parity<'a> {
    /// Reads a parity payload of `scheme`.
    pub fn parse(scheme: Scheme, payload: &'a [u8]) -> Result<Self, Malformed> {
        match scheme {
            Scheme::Ulpfec => ulpfec::parse(payload),
            Scheme::Flexfec => flexfec::parse(payload),
        }
    }

    /// Appends the payload to `out`. FlexFEC needs the stream's SSRC. What is covered must lie within the span
    /// of the scheme.
    pub fn emit(&self, scheme: Scheme, out: &mut BytesMut) {
        match scheme {
            Scheme::Ulpfec => ulpfec::emit(self, out),
            Scheme::Flexfec => flexfec::emit(self, out),
        }
    }

    /// The numbers covered, in order: at most the span of the scheme.
    pub fn covered(&self) -> impl Iterator<Item = Serial16> + use<> {
        let (base, mask) = (self.base, self.mask);
        (0..128u16).filter(move |at| mask << at >> 127 == 1).map(move |at| base.add(at))
    }
}

/// What parity covers of the first 12 bytes of packets (RFC 5109 §8.1, draft 03 §6.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeaderBits {
    /// The first two bytes: version, padding, extension, CSRC count; marker, payload type.
    pub flags: [u8; 2],
    /// The time stamp.
    pub timestamp: u32,
    /// The length behind the first 12 bytes.
    pub len: u16,
}

impl HeaderBits {
    /// Those of one packet; `None` when it is too short or too long to be one.
    pub fn of(packet: &[u8]) -> Option<HeaderBits> {
        let [a, b, _, _, t0, t1, t2, t3, ..] = *packet.first_chunk::<FIXED_LEN>()?;
        let len = u16::try_from(packet.len() - FIXED_LEN).ok()?;
        Some(HeaderBits { flags: [a, b], timestamp: u32::from_be_bytes([t0, t1, t2, t3]), len })
    }

    /// Adds others, or takes them out: it is the same.
    pub fn xor(&mut self, other: HeaderBits) {
        let ([a, b], [c, d]) = (self.flags, other.flags);
        self.flags = [a ^ c, b ^ d];
        self.timestamp ^= other.timestamp;
        self.len ^= other.len;
    }
}

/// XORs `from` into `into`, as far as both go.
fn xor(into: &mut [u8], from: &[u8]) {
    into.iter_mut().zip(from).for_each(|(into, from)| *into ^= from);
}

/// Sets the header extension elements with these ids to zeros: their values are not protected.
///
/// A packet without them, or one that is malformed, stays as it is.
pub fn blank(packet: &mut [u8], ids: &[u8]) {
    let Some(block) = Header::parse(packet).ok().and_then(|header| header.extension) else { return };
    let mut at = block.start;
    let end = block.start + block.len;
    // Each round looks at the bytes behind the last element, as a fresh walk would.
    while let Some((id, start, len)) = {
        let rest = packet.get(at..end).unwrap_or_default();
        Elements::new(block.profile, rest).next().map(|e| (e.id, at + e.offset, e.data.len()))
    } {
        if ids.contains(&id) {
            packet.get_mut(start..start + len).unwrap_or_default().fill(0);
        }
        at = start + len;
    }
}

#[cfg(test)]
mod tests;
