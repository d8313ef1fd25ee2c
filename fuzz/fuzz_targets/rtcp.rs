//! Compound RTCP packets: every part is an error or a view that can be walked to its end in bounded steps.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sansrtc::rtp::rtcp::{Compound, Packet};

fuzz_target!(|bytes: &[u8]| {
    for packet in Compound::new(bytes) {
        let Ok(packet) = packet else { continue };
        let steps = match packet {
            Packet::Nack(nack) => nack.lost().count(),
            Packet::FullIntra(request) => request.requests().count(),
            Packet::MaxBitrate(limits) => limits.limits().count(),
            Packet::Remb(remb) => remb.streams().count(),
            Packet::TransportWide(feedback) => feedback.statuses().count(),
            Packet::Congestion(feedback) => feedback.blocks().map(|block| block.metrics().count()).sum(),
            Packet::Description(description) => description.chunks().map(|chunk| chunk.items().count()).sum(),
            Packet::Bye(bye) => bye.sources().count(),
            Packet::Extended(extended) => extended.blocks().count(),
            other => {
                let _ = format!("{other:?}");
                0
            }
        };
        // One TWCC packet may tell of 65,535 packets in few bytes; nothing tells of more.
        assert!(steps <= 65_535.max(17 * bytes.len()));
    }
});
