//! RTP packets: what a header counts lies inside the packet, and every extension element can be walked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sansrtc::rtp::ext::{audio, dependency, layers, timing, video};
use sansrtc::rtp::header::Packet;

fuzz_target!(|bytes: &[u8]| {
    let Ok(packet) = Packet::parse(bytes) else { return };
    let payload = packet.payload_range();
    assert!(payload.start <= payload.end && payload.end + packet.padding() == bytes.len());
    assert_eq!(packet.csrcs().count() * 4, packet.header().csrc_len());
    for element in packet.elements() {
        let data = element.data;
        // Each element's data, read as every kind that it could be.
        let _ = audio::AudioLevel::parse(data);
        let _ = audio::MixerLevels::parse(data).map(|levels| levels.levels().count());
        let _ = timing::AbsSendTime::parse(data);
        let _ = timing::PlayoutDelay::parse(data);
        let _ = timing::AbsCaptureTime::parse(data);
        let _ = video::Orientation::parse(data);
        let _ = video::ColorSpace::parse(data);
        let _ = layers::Allocation::parse(data);
        if let Ok(descriptor) = dependency::Descriptor::parse(data, None) {
            let _ = descriptor.frame(None);
        }
    }
});
