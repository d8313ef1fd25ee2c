//! RTP through two connections: packets arrive once, in their stream, with what their headers say.

mod sim;

use std::time::Duration;

use sansrtc::rtp::ext::Kind;
use sansrtc::{
    Event, MediaConfig, MediaDirection, MediaType, OutgoingPacket, Rid, RtcConfig, RtpPacket, SendMediaError,
    TransceiverConfig, TransceiverId,
};
use sim::{Call, Link, config};

const SECOND: Duration = Duration::from_secs(1);

fn with_media() -> RtcConfig {
    RtcConfig { media: MediaConfig::browser(), ..config() }
}

/// A call in which the first side sends what `add` adds.
fn call(
    seed: u64,
    link: &Link,
    config: &RtcConfig,
    add: &[(MediaType, &[&str])],
) -> (Call, Vec<TransceiverId>) {
    let mut call = Call::new(seed, link, config);
    let [a, _] = call.hosts;
    let ids = add.iter().map(|(kind, rids)| {
        let config = TransceiverConfig {
            send_rids: rids.iter().filter_map(|rid| Rid::new(rid)).collect(),
            ..TransceiverConfig::default()
        };
        call.sim.with(a, |rtc, _| rtc.add_transceiver(*kind, MediaDirection::SendOnly, config)).unwrap()
    });
    let ids = ids.collect();
    call.signal();
    call.must_connect(10 * SECOND);
    (call, ids)
}

fn packets(call: &mut Call, side: usize) -> Vec<RtpPacket> {
    let host = call.hosts[side];
    let events = std::iter::from_fn(|| call.sim.event(host));
    events
        .filter_map(|(_, event)| if let Event::Packet(packet) = event { Some(packet) } else { None })
        .collect()
}

#[test]
fn packets_arrive_in_their_streams() {
    let kinds: [(MediaType, &[&str]); 2] = [(MediaType::Audio, &[]), (MediaType::Video, &[])];
    let (mut call, ids) = call(1, &Link::default(), &with_media(), &kinds);
    let [a, b] = call.hosts;
    for n in 0..50u32 {
        for id in &ids {
            call.sim
                .with(a, |rtc, _| {
                    let format = rtc.transceiver(*id).unwrap().formats[0].clone();
                    let payload = [n as u8; 700];
                    let packet = OutgoingPacket {
                        marker: n % 3 == 0,
                        ..OutgoingPacket::new(format.send, 65_530 + u64::from(n), n * 3000, &payload)
                    };
                    rtc.send_packet(*id, None, &packet)
                })
                .unwrap();
        }
        call.sim.run_for(SECOND / 50);
    }
    call.sim.run_for(SECOND);
    let received = packets(&mut call, 1);
    assert_eq!(received.len(), 100);
    let infos: Vec<_> = call.sim.with(b, |rtc, _| rtc.receivers().collect());
    assert_eq!(infos.len(), 2);
    for info in infos {
        let own: Vec<_> = received.iter().filter(|packet| packet.receiver == info.id).collect();
        assert_eq!(own.len(), 50);
        for (n, packet) in (0u32..).zip(&own) {
            assert_eq!(packet.sequence - own[0].sequence, u64::from(n));
            assert_eq!(packet.timestamp - own[0].timestamp, u64::from(n * 3000));
            assert_eq!((packet.payload(), packet.marker), (&[n as u8; 700][..], n % 3 == 0));
            assert!(packet.abs_send_time().is_some());
        }
        // Numbers over all streams of the transport.
        assert!(own.iter().all(|packet| packet.extension(Kind::TransportSequence).is_some()));
    }
}

#[test]
fn layers_of_a_simulcast_are_told_apart() {
    let kinds: [(MediaType, &[&str]); 1] = [(MediaType::Video, &["q", "h", "f"])];
    let mut call = Call::new(2, &Link::default(), &with_media());
    let [a, b] = call.hosts;
    let rids = ["q", "h", "f"].map(|rid| Rid::new(rid).unwrap());
    let config = TransceiverConfig { send_rids: rids.to_vec(), ..TransceiverConfig::default() };
    let id =
        call.sim.with(a, |rtc, _| rtc.add_transceiver(kinds[0].0, MediaDirection::SendOnly, config)).unwrap();
    // The receiver asks for the layers: it offers.
    let wanted = TransceiverConfig { receive_rids: rids.to_vec(), ..TransceiverConfig::default() };
    call.sim
        .with(b, |rtc, _| rtc.add_transceiver(MediaType::Video, MediaDirection::RecvOnly, wanted))
        .unwrap();
    let offer = call.sim.with(b, |rtc, _| rtc.create_offer()).unwrap();
    let answer = call.sim.with(a, |rtc, _| rtc.accept_offer(&offer)).unwrap();
    call.sim.with(b, |rtc, _| rtc.accept_answer(&answer)).unwrap();
    call.must_connect(10 * SECOND);
    let pt = call.sim.with(a, |rtc, _| rtc.transceiver(id).unwrap().formats[0].send);
    for n in 0..5 {
        for rid in rids {
            let packet = OutgoingPacket::new(pt, n, 0, rid.as_str().as_bytes());
            call.sim.with(a, |rtc, _| rtc.send_packet(id, Some(rid), &packet)).unwrap();
        }
        call.sim.run_for(SECOND / 10);
    }
    let received = packets(&mut call, 1);
    assert_eq!(received.len(), 15);
    for packet in received {
        assert_eq!(packet.payload(), packet.rid.unwrap().as_str().as_bytes());
    }
}

#[test]
fn what_cannot_be_sent_is_an_error_and_changes_nothing() {
    let kinds: [(MediaType, &[&str]); 1] = [(MediaType::Audio, &[])];
    let (mut call, ids) = call(3, &Link::default(), &with_media(), &kinds);
    let [a, b] = call.hosts;
    let (id, strange) = (ids[0], Rid::new("x"));
    call.sim.with(a, |rtc, _| {
        let pt = rtc.transceiver(id).unwrap().formats[0].send;
        let other = sansrtc::Pt::new(127).unwrap();
        let packet = OutgoingPacket::new(pt, 1, 1, &[0; 1300]);
        assert_eq!(rtc.send_packet(id, None, &packet), Err(SendMediaError::TooLarge));
        let packet = OutgoingPacket::new(pt, 1, 1, b"a");
        assert_eq!(rtc.send_packet(id, strange, &packet), Err(SendMediaError::UnknownRid));
        let packet = OutgoingPacket::new(other, 1, 1, b"a");
        assert_eq!(rtc.send_packet(id, None, &packet), Err(SendMediaError::UnknownFormat));
        for n in 0.. {
            let packet = OutgoingPacket::new(pt, n, 1, &[0; 1000]);
            match rtc.send_packet(id, None, &packet) {
                Ok(()) => assert!(n < 3000),
                Err(error) => {
                    assert_eq!(error, SendMediaError::WouldBlock);
                    break;
                }
            }
        }
    });
    let theirs = call.sim.with(b, |rtc, _| rtc.transceivers().next()).unwrap();
    call.sim.with(b, |rtc, _| {
        let pt = rtc.transceiver(theirs).unwrap().formats[0].send;
        let packet = OutgoingPacket::new(pt, 1, 1, b"a");
        assert_eq!(rtc.send_packet(theirs, None, &packet), Err(SendMediaError::NotSending));
    });
}

#[test]
fn a_key_frame_is_asked_for_once() {
    let kinds: [(MediaType, &[&str]); 1] = [(MediaType::Video, &[])];
    let (mut call, ids) = call(4, &Link::default(), &with_media(), &kinds);
    let [a, b] = call.hosts;
    let send = |call: &mut Call, n| {
        call.sim
            .with(a, |rtc, _| {
                let pt = rtc.transceiver(ids[0]).unwrap().formats[0].send;
                rtc.send_packet(ids[0], None, &OutgoingPacket::new(pt, n, 0, b"picture"))
            })
            .unwrap();
        call.sim.run_for(SECOND / 10);
    };
    send(&mut call, 1);
    for _ in 0..10 {
        call.sim.with(b, |rtc, _| {
            let video = rtc.transceivers().next().unwrap();
            rtc.request_key_frame(video, None);
        });
    }
    call.sim.run_for(SECOND);
    let events: Vec<_> = std::iter::from_fn(|| call.sim.event(a)).collect();
    let asked = events.iter().filter(|(_, event)| matches!(event, Event::KeyFrameRequested { .. }));
    assert_eq!(asked.count(), 1);
}
