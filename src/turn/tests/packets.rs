//! What comes from anywhere, cut, nested or made up.

use super::*;
use proptest::prelude::*;

#[test]
fn nested_data_is_opened_once() {
    // R16.
    let mut world = World::udp();
    world.allocate();
    let peer = address(PEER);
    world.client.bind(world.now, peer).unwrap();
    world.exchange();
    world.peer_sends(peer, b"\x40\x00\x00\x04\x40\x00\x00\x00");
    assert_eq!(world.received, [(peer, b"\x40\x00\x00\x04\x40\x00\x00\x00".to_vec())]);
}

#[test]
fn packets_from_elsewhere_are_not_taken() {
    let mut world = World::udp();
    world.allocate();
    let stranger = address("198.51.100.2:3478");
    let packet = BytesMut::from(&b"\x40\x00\x00\x00"[..]);
    let handled = world.client.handle_packet(world.now, stranger, packet);
    assert_eq!(handled, Handled::Dropped(Dropped::Stranger));
}

#[test]
fn every_cut_of_every_message_is_dropped_by_both_ends() {
    let mut world = World::udp();
    world.allocate();
    let peer = address(PEER);
    world.client.bind(world.now, peer).unwrap();
    world.exchange();
    let tuple = world.tuple();
    let mut indication = BytesMut::new();
    let mut builder = Builder::new(&mut indication, Class::Indication, Method::DATA, TransactionId([1; 12]));
    builder.xor_address(types::XOR_PEER_ADDRESS, peer).attribute(types::DATA, b"data");
    builder.finish();
    let channel_data = BytesMut::from(&b"\x40\x00\x00\x04data"[..]);
    for message in [&indication, &channel_data] {
        for cut in 0..message.len() {
            let handled =
                world.client.handle_packet(world.now, address(SERVER), BytesMut::from(&message[..cut]));
            assert!(matches!(handled, Handled::Dropped(_)), "{cut}: {handled:?}");
            world.server.handle_packet(world.now, tuple, BytesMut::from(&message[..cut]));
        }
    }
    world.exchange();
    assert!(world.at_peers.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_leave_both_ends_alive(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..20)) {
        let mut world = World::udp();
        world.allocate();
        let tuple = world.tuple();
        for packet in packets {
            world.client.handle_packet(world.now, address(SERVER), BytesMut::from(&packet[..]));
            world.server.handle_packet(world.now, tuple, BytesMut::from(&packet[..]));
            let mut stun = vec![0x01, 0x13, 0, 0];
            stun.extend_from_slice(&0x2112_a442u32.to_be_bytes());
            stun.extend_from_slice(&packet);
            world.client.handle_packet(world.now, address(SERVER), BytesMut::from(&stun[..]));
        }
        world.exchange();
        prop_assert!(world.client.relayed().is_some());
    }

    #[test]
    fn what_is_wrapped_arrives(data in prop::collection::vec(any::<u8>(), 0..1500), v6: bool, bound: bool) {
        let mut world = World::new(
            Config { families: Families::Both, ..config(Protocol::Udp) },
            server_config(),
        );
        world.allocate();
        let peer = address(if v6 { "[2001:db8::7]:9" } else { PEER });
        if bound {
            world.client.bind(world.now, peer).unwrap();
        } else {
            world.client.permit(world.now, peer.ip()).unwrap();
        }
        world.exchange();
        world.send(peer, &data).unwrap();
        world.peer_sends(peer, &data);
        prop_assert_eq!(&world.at_peers[0].2, &data);
        prop_assert_eq!(&world.received[0].1, &data);
    }
}
