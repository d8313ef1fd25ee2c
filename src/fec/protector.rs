//! Parity for what is sent (RFC 5109 §8, draft 03 §6.2).

use bytes::BytesMut;

use super::{HeaderBits, Parity, Scheme, blank, xor};
use crate::rtp::header::FIXED_LEN;
use crate::types::ids::Ssrc;
use crate::wire::serial::Serial16;

/// Parities of one block at most.
const MAX_PARITIES: u8 = 8;

/// How much protection there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProtectorConfig {
    /// Packets in a block at most: at most the span of the scheme counts.
    pub packets: u16,
    /// Parities for each block, 1 to 8: packets are dealt out to them in turn, so that so many losses in a row
    /// are made good.
    pub parities: u8,
}

impl Default for ProtectorConfig {
    /// One parity for ten packets.
    fn default() -> Self {
        ProtectorConfig { packets: 10, parities: 1 }
    }
}

/// Makes parity for one stream, packet by packet. It holds one payload for each parity of a block.
#[derive(Debug)]
pub struct Protector {
    scheme: Scheme,
    ssrc: Ssrc,
    config: ProtectorConfig,
    blanked: Vec<u8>,
    sums: Vec<Sum>,
    /// The first number of the block, and how many packets are in it.
    block: Option<(Serial16, u16)>,
    /// How many sums of a block that is closed are still to be taken.
    ready: usize,
    /// A copy of the packet whose extensions are blanked.
    scratch: Vec<u8>,
}

/// The XOR of the packets that one parity covers.
#[derive(Debug, Default)]
struct Sum {
    base: Serial16,
    mask: u128,
    bits: HeaderBits,
    /// Reused: in steady state nothing is allocated.
    payload: Vec<u8>,
}

impl Sum {
    fn add(&mut self, sequence: Serial16, packet: &[u8]) {
        let Some(bits) = HeaderBits::of(packet) else { return };
        if self.mask == 0 {
            self.base = sequence;
        }
        let at = u32::try_from(self.base.distance_to(sequence)).unwrap_or(128);
        self.mask |= (1u128 << 127).checked_shr(at).unwrap_or(0);
        self.bits.xor(bits);
        let body = packet.get(FIXED_LEN..).unwrap_or_default();
        if body.len() > self.payload.len() {
            self.payload.resize(body.len(), 0);
        }
        xor(&mut self.payload, body);
    }

    fn clear(&mut self) {
        self.payload.clear();
        *self = Sum { payload: std::mem::take(&mut self.payload), ..Sum::default() };
    }
}

impl Protector {
    /// Protects the stream `ssrc`. The header extension elements with the ids in `blanked` count as zeros.
    pub fn new(scheme: Scheme, ssrc: Ssrc, config: ProtectorConfig, blanked: &[u8]) -> Self {
        let config = ProtectorConfig {
            packets: config.packets.clamp(1, scheme.span()),
            parities: config.parities.clamp(1, MAX_PARITIES),
        };
        Protector {
            scheme,
            ssrc,
            config,
            blanked: blanked.to_vec(),
            sums: Vec::new(),
            block: None,
            ready: 0,
            scratch: Vec::new(),
        }
    }

    /// A clear packet of the stream is sent. Numbers go up; one that does not closes the block before it.
    ///
    /// Parity may be ready afterwards: see [`poll_parity`](Self::poll_parity). What is not taken before the
    /// next packet is lost.
    pub fn on_sent(&mut self, sequence: Serial16, packet: &[u8]) {
        if self.ready > 0 {
            self.start_over();
        }
        let fits = self.block.is_none_or(|(first, _)| {
            let step = first.distance_to(sequence);
            step > 0 && u16::try_from(step).is_ok_and(|step| step < self.scheme.span())
        });
        if !fits {
            self.start_over();
        }
        self.sums.resize_with(usize::from(self.config.parities), Sum::default);
        let (first, count) = self.block.unwrap_or((sequence, 0));
        self.scratch.clear();
        self.scratch.extend_from_slice(packet);
        blank(&mut self.scratch, &self.blanked);
        let turn = usize::from(count % u16::from(self.config.parities));
        if let Some(sum) = self.sums.get_mut(turn) {
            sum.add(sequence, &self.scratch);
        }
        self.block = Some((first, count + 1));
        if count + 1 >= self.config.packets {
            self.close();
        }
    }

    /// The block ends here, as at the end of a key frame: parity for what is in it becomes ready.
    pub fn close(&mut self) {
        if self.block.take().is_some() {
            self.ready = self.sums.len();
        }
    }

    /// Appends the next parity payload to `out`; false when none is ready.
    pub fn poll_parity(&mut self, out: &mut BytesMut) -> bool {
        while let Some(turn) = self.ready.checked_sub(1) {
            self.ready = turn;
            let Some(sum) = self.sums.get_mut(turn) else { continue };
            if sum.mask != 0 {
                let parity = Parity {
                    ssrc: Some(self.ssrc),
                    base: sum.base,
                    mask: sum.mask,
                    bits: sum.bits,
                    payload: &sum.payload,
                };
                parity.emit(self.scheme, out);
                sum.clear();
                return true;
            }
        }
        false
    }

    fn start_over(&mut self) {
        (self.block, self.ready) = (None, 0);
        self.sums.iter_mut().for_each(Sum::clear);
    }
}
