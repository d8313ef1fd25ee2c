//! Forwarding a packet to many viewers asks for no memory.

mod heap;
mod room;

use room::Room;
use sansrtc::types::srtp_profile::SrtpProfile;

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

#[test]
fn forwarding_allocates_nothing_in_steady_state() {
    for profile in [SrtpProfile::AeadAes128Gcm, SrtpProfile::Aes128CmHmacSha1_80] {
        let mut room = Room::new(profile, 10);
        // Buffers find their size.
        for _ in 0..15 {
            for packet in room.packets(100, 1_200) {
                room.step(packet);
            }
            room.rest();
        }
        let packets = room.packets(100, 1_200);
        let before = heap::allocations();
        let mut datagrams = 0;
        for packet in packets {
            datagrams += room.step(packet).datagrams;
        }
        // The room copies each datagram without media to keep it, and nothing else allocates.
        assert_eq!(heap::allocations() - before, room.controls() as u64, "{profile:?}");
        assert_eq!(datagrams, 1_000, "{profile:?}: every viewer gets every packet");
    }
}

#[test]
fn a_forwarded_packet_is_no_longer_than_it_came() {
    let mut room = Room::new(SrtpProfile::AeadAes128Gcm, 1);
    for len in [100, 500, 1_200] {
        for packet in room.packets(10, len) {
            let came = packet.len();
            let sent = room.step(packet);
            // The name of the section, until the viewer knows the stream.
            assert!(sent.datagrams == 1 && sent.bytes <= came + 8, "{sent:?} of {came}");
        }
    }
}
