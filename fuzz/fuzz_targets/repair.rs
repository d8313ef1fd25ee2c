//! Redundancy and retransmission inside packets (RFC 2198, RFC 4588): any packet is refused, or becomes another
//! one that is no longer than it was.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sansrtc::rtp::header::Packet;
use sansrtc::rtp::stream::red::{self, Red};
use sansrtc::rtp::stream::rtx;
use sansrtc::types::ids::{Pt, Ssrc};

fuzz_target!(|bytes: &[u8]| {
    let Some(payload_type) = Pt::new(96) else { return };
    let mut packet = BytesMut::from(bytes);
    if let Ok(Some(header)) = rtx::restore(&mut packet, Ssrc(7), payload_type) {
        assert_eq!((header.ssrc, packet.len() + 2), (Ssrc(7), bytes.len()));
        assert!(Packet::parse(&packet).is_ok());
    }
    let mut packet = BytesMut::from(bytes);
    if red::strip(&mut packet).is_ok() {
        assert!(packet.len() < bytes.len() && Packet::parse(&packet).is_ok());
    }
    let Ok(carrier) = Packet::parse(bytes) else { return };
    let Ok(red) = Red::parse(carrier.payload()) else { return };
    let mut out = BytesMut::new();
    for block in red.redundant() {
        out.clear();
        red::restore(&mut out, &carrier, &block);
        assert!(Packet::parse(&out).is_ok_and(|restored| restored.payload() == block.payload));
    }
});
