//! Names for what is sent: SSRCs, tracks and the canonical name (RFC 3550 §8.1, RFC 7022).

use super::media::{Encoding, Label, Sender};
use crate::types::ids::{Rid, Ssrc};

/// Draws names, the same from the same seed. `Copy` lets a step of negotiation be tried and dropped.
///
/// SSRCs must not collide, and that is all: they are on the wire in the clear. So the steps of a small generator
/// do (splitmix64, which visits every 64-bit number once).
#[derive(Debug, Clone, Copy)]
pub(super) struct Sources {
    state: u64,
    cname: u64,
}

impl Sources {
    pub(super) fn new(seed: u64) -> Self {
        let mut sources = Sources { state: seed, cname: 0 };
        sources.cname = sources.next();
        sources
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A stream for each of `rids`, or a single one, each with sources for its retransmissions and its parity.
    pub(super) fn sender(&mut self, rids: &[Rid]) -> Sender {
        let label = |number: u64| Label::new(&format!("{number:016x}")).unwrap_or_default();
        let (cname, track) = (label(self.cname), label(self.next()));
        let mut encoding = |rid| {
            let (ssrc, rtx) = self.pair();
            let (fec, _) = self.pair();
            Encoding { rid, ssrc, rtx: Some(rtx), fec: Some(fec) }
        };
        let encodings = match rids {
            [] => vec![encoding(None)],
            rids => rids.iter().copied().map(Some).map(encoding).collect(),
        };
        Sender { stream: Label::default(), track, cname, encodings }
    }

    /// Two SSRCs that differ, neither of them zero, which some take for "none".
    fn pair(&mut self) -> (Ssrc, Ssrc) {
        loop {
            let [a, b, c, d, e, f, g, h] = self.next().to_be_bytes();
            let (ssrc, rtx) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
            if ssrc != rtx && ssrc != 0 && rtx != 0 {
                return (Ssrc(ssrc), Ssrc(rtx));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn senders_have_sources_of_their_own_and_one_canonical_name() {
        let mut sources = Sources::new(7);
        let rids = ["q", "h", "f"].map(|rid| Rid::new(rid).unwrap());
        let (simple, simulcast) = (sources.sender(&[]), sources.sender(&rids));
        assert_eq!((simple.encodings.len(), simulcast.encodings.len()), (1, 3));
        assert_eq!(simple.cname, simulcast.cname);
        assert_ne!(simple.track, simulcast.track);
        let all = simple.encodings.iter().chain(&simulcast.encodings);
        let ssrcs: BTreeSet<Ssrc> =
            all.flat_map(|encoding| [Some(encoding.ssrc), encoding.rtx]).flatten().collect();
        assert_eq!(ssrcs.len(), 8);
        assert_eq!(Sources::new(7).sender(&[]), simple);
        assert_ne!(Sources::new(8).sender(&[]), simple);
    }
}
