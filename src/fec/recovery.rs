//! Lost packets from parity (RFC 5109 §9, draft 03 §6.3).

use std::collections::VecDeque;

use bytes::BytesMut;

use super::{HeaderBits, Parity, Scheme, blank, xor};
use crate::rtp::extended::{ExtendedSequence, short_sequence};
use crate::rtp::header::{FIXED_LEN, Packet};
use crate::types::ids::Ssrc;
use crate::wire::Malformed;
use crate::wire::serial::Serial16;
use crate::wire::writer::Writer;

/// Packets remembered: more than a parity covers, so that one may come a little late. A power of two.
const PACKETS: usize = 256;
/// Parities that wait for packets at most: the oldest make room.
const PARITIES: usize = 32;
/// The largest packet that is remembered or recovered, in bytes.
pub const MAX_PACKET: usize = 2048;

/// Recovers the packets of one stream. It holds copies of the last 256 packets, from the first parity on, and of
/// 32 parities: each at most 2 KiB.
#[derive(Debug)]
pub struct Recovery {
    scheme: Scheme,
    ssrc: Ssrc,
    /// Header extensions whose values are not protected.
    blanked: Vec<u8>,
    /// By the low bits of their numbers; empty until a parity comes.
    packets: Vec<Held>,
    parities: VecDeque<Waiting>,
    /// Memory of parities that are done with.
    spare: Vec<Vec<u8>>,
    highest: ExtendedSequence,
    recovered: u64,
}

#[derive(Debug, Default)]
struct Held {
    /// The long number; 0 for none, as they start at 2^16.
    sequence: u64,
    /// Reused: in steady state nothing is allocated.
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Waiting {
    base: u64,
    mask: u128,
    bits: HeaderBits,
    payload: Vec<u8>,
}

impl Waiting {
    fn covered(&self) -> impl Iterator<Item = u64> + use<> {
        let (base, mask) = (self.base, self.mask);
        (0..128u32).filter(move |at| mask << at >> 127 == 1).map(move |at| base + u64::from(at))
    }

    fn covers(&self, sequence: u64) -> bool {
        let at = sequence.checked_sub(self.base).and_then(|at| u32::try_from(at).ok());
        at.and_then(|at| self.mask.checked_shl(at)).is_some_and(|mask| mask >> 127 == 1)
    }
}

impl Recovery {
    /// Recovers packets of the stream `ssrc`. The header extension elements with the ids in `blanked` are not
    /// protected, at most 8 of them.
    pub fn new(scheme: Scheme, ssrc: Ssrc, blanked: &[u8]) -> Self {
        Recovery {
            scheme,
            ssrc,
            blanked: blanked.get(..blanked.len().min(8)).unwrap_or_default().to_vec(),
            packets: Vec::new(),
            parities: VecDeque::new(),
            spare: Vec::new(),
            highest: ExtendedSequence::new(),
            recovered: 0,
        }
    }

    /// A clear packet of the stream came: RED taken off, whole, with padding if it has any.
    pub fn handle_packet(&mut self, sequence: Serial16, packet: &[u8]) {
        let sequence = self.highest.extend(sequence);
        // Until a parity comes nobody protects anything, and nothing is copied.
        if !self.packets.is_empty() && (FIXED_LEN..=MAX_PACKET).contains(&packet.len()) {
            self.hold(sequence, packet);
        }
    }

    fn hold(&mut self, sequence: u64, packet: &[u8]) {
        let Recovery { packets, blanked, .. } = self;
        let Some(held) = packets.get_mut(index(sequence)) else { return };
        // A packet that came much too late does not push out a newer one.
        if held.sequence < sequence {
            held.sequence = sequence;
            held.bytes.clear();
            held.bytes.extend_from_slice(packet);
            blank(&mut held.bytes, blanked);
        }
    }

    /// A parity payload came. One about another stream is refused as malformed.
    pub fn handle_parity(&mut self, payload: &[u8]) -> Result<(), Malformed> {
        let parity = Parity::parse(self.scheme, payload)?;
        if parity.ssrc.is_some_and(|ssrc| ssrc != self.ssrc) || parity.payload.len() > MAX_PACKET {
            return Err(Malformed("parity"));
        }
        if self.packets.is_empty() {
            self.packets.resize_with(PACKETS, Held::default);
        }
        let base = self.highest.estimate(parity.base);
        let mut memory = if self.parities.len() >= PARITIES {
            self.parities.pop_front().map(|oldest| oldest.payload)
        } else {
            self.spare.pop()
        }
        .unwrap_or_default();
        memory.clear();
        memory.extend_from_slice(parity.payload);
        self.parities.push_back(Waiting { base, mask: parity.mask, bits: parity.bits, payload: memory });
        Ok(())
    }

    /// The next packet that can be recovered is appended to `out`; its number in the stream. Call until `None`
    /// after each packet and each parity that came: what was recovered may recover another.
    pub fn poll_recovered(&mut self, out: &mut BytesMut) -> Option<Serial16> {
        // Each round drops a parity, and at most 32 wait.
        let mut at = 0;
        while let Some(waiting) = self.parities.get(at) {
            let mut missing = waiting.covered().filter(|sequence| !self.has(*sequence));
            let (first, second) = (missing.next(), missing.next());
            let is_old = self.highest.highest().is_some_and(|h| waiting.base + wide(PACKETS) <= h);
            if second.is_some() && !is_old {
                at += 1;
                continue;
            }
            let waiting = self.parities.remove(at)?;
            let start = out.len();
            let whole = first.filter(|_| second.is_none()).and_then(|sequence| {
                self.rebuild(&waiting, sequence, out)?;
                Some(sequence)
            });
            self.spare.push(waiting.payload);
            if let Some(sequence) = whole {
                let bytes = out.get(start..).unwrap_or_default();
                self.highest.advance(sequence);
                if let Some(held) = self.packets.get_mut(index(sequence)) {
                    held.sequence = sequence;
                    held.bytes.clear();
                    held.bytes.extend_from_slice(bytes);
                }
                self.recovered += 1;
                return Some(short_sequence(sequence));
            }
            out.truncate(start);
        }
        None
    }

    /// Appends the packet `missing`, the only one of those covered that is not there. `None` when what comes
    /// out is not a packet: the parity lied, or is too short for it.
    fn rebuild(&self, waiting: &Waiting, missing: u64, out: &mut BytesMut) -> Option<()> {
        let mut bits = waiting.bits;
        let others = || {
            let held = waiting.covered().filter_map(|sequence| self.packets.get(index(sequence)));
            held.filter(|held| waiting.covers(held.sequence) && held.sequence != missing)
        };
        for other in others() {
            bits.xor(HeaderBits::of(&other.bytes)?);
        }
        let len = usize::from(bits.len);
        if len > waiting.payload.len() {
            return None;
        }
        let start = out.len();
        let mut w = Writer::new(out);
        let [first, second] = bits.flags;
        // RFC 5109 §9.1: the version is 2; number and source are those of the packet that is missing.
        w.u8(0x80 | first & 0x3f);
        w.u8(second);
        w.u16(short_sequence(missing).0);
        w.u32(bits.timestamp);
        w.u32(self.ssrc.0);
        w.slice(waiting.payload.get(..len)?);
        let packet = out.get_mut(start..)?;
        let body = packet.get_mut(FIXED_LEN..)?;
        for other in others() {
            xor(body, other.bytes.get(FIXED_LEN..)?);
        }
        Packet::parse(packet).ok().map(|_| ())
    }

    fn has(&self, sequence: u64) -> bool {
        self.packets.get(index(sequence)).is_some_and(|held| held.sequence == sequence)
    }

    /// Packets recovered so far.
    pub fn recovered(&self) -> u64 {
        self.recovered
    }

    /// Bytes held, used or not.
    pub fn memory(&self) -> usize {
        let packets: usize = self.packets.iter().map(|held| held.bytes.capacity() + size_of::<Held>()).sum();
        let parities = self.parities.iter().map(|w| w.payload.capacity() + size_of::<Waiting>());
        packets + parities.sum::<usize>() + self.spare.iter().map(Vec::capacity).sum::<usize>()
    }
}

fn index(sequence: u64) -> usize {
    usize::try_from(sequence & wide(PACKETS - 1)).unwrap_or(0)
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
