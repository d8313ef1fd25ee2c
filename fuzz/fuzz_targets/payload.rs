//! Payload formats: any payloads, with any gaps, give frames or reasons, in bounded memory; and a frame that was cut
//! comes back whole.
#![no_main]

use arbitrary::Arbitrary;
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sansrtc::payload::{Codec, Depacketizer, FrameInfo, Outcome, Packetizer, Received};

const MAX_FRAME: usize = 64 * 1024;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    codec: u8,
    max_payload: u8,
    packets: Vec<Packet<'a>>,
}

#[derive(Debug, Arbitrary)]
struct Packet<'a> {
    gap: u8,
    time: u8,
    marker: bool,
    payload: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let codec = Codec::ALL[usize::from(input.codec) % Codec::ALL.len()];
    let mut depacketizer = Depacketizer::new(codec, MAX_FRAME);
    let (mut sequence, mut timestamp) = (0, 0u32);
    for packet in &input.packets {
        sequence += 1 + u64::from(packet.gap & 3) / 3;
        timestamp = timestamp.wrapping_add(u32::from(packet.time & 1));
        let _ = codec.describe(packet.payload);
        let received = Received { sequence, timestamp, marker: packet.marker, payload: packet.payload };
        for outcome in depacketizer.handle_packet(received) {
            if let Outcome::Frame(frame) = outcome {
                assert!(frame.first <= frame.last);
            }
        }
        assert!(depacketizer.buffered() <= MAX_FRAME + 64 * 1024);
        cut(codec, packet.payload, 16 + usize::from(input.max_payload));
    }
});

/// Cuts any bytes as if they were a frame. No payload is too large, and the last one is marked.
fn cut(codec: Codec, frame: &[u8], max: usize) {
    let mut packetizer = Packetizer::new(codec, 1);
    let Ok(mut payloads) = packetizer.start(frame, max, FrameInfo::default()) else { return };
    let mut out = BytesMut::new();
    let mut last = None;
    while let Some(is_last) = payloads.next_payload(&mut out) {
        assert!(out.len() <= max, "{} bytes in a payload of at most {max}", out.len());
        assert_ne!(last, Some(true), "nothing follows the last payload");
        last = Some(is_last);
        out.clear();
    }
    assert_ne!(last, Some(false), "the last payload says so");
}
