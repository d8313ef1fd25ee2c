//! Calls over paths that lose, reorder and repeat: what is lost comes again, once, and what does not is known.

mod sim;

use std::collections::BTreeMap;
use std::time::Duration;

use sansrtc::session::negotiate::Capability;
use sansrtc::{
    Codec, Event, MediaConfig, MediaDirection, MediaType, OutgoingPacket, PacketOrigin, RtcConfig, RtpPacket,
    TransceiverConfig, TransceiverId,
};
use sim::{Call, Link, Loss, config};

const SECOND: Duration = Duration::from_secs(1);

fn with_video(rtx: bool) -> RtcConfig {
    let video = vec![Capability { rtx, ..Capability::video(Codec::Vp8, "") }];
    RtcConfig { media: MediaConfig { video, ..MediaConfig::browser() }, ..config() }
}

/// A call in which the first side sends one stream of video, connected before the path gets bad.
fn call(seed: u64, link: &Link, config: &RtcConfig) -> (Call, TransceiverId) {
    let mut call = Call::new(seed, &Link::with_delay(link.delay), config);
    let [a, b] = call.hosts;
    let transceiver = TransceiverConfig::default();
    let add = |rtc: &mut sansrtc::Rtc| {
        rtc.add_transceiver(MediaType::Video, MediaDirection::SendOnly, transceiver).unwrap()
    };
    let id = call.sim.with(a, |rtc, _| add(rtc));
    call.signal();
    call.must_connect(10 * SECOND);
    for host in [a, b] {
        *call.sim.network.up(host) = link.clone();
    }
    (call, id)
}

/// What came out on the other side.
#[derive(Default)]
struct Received {
    packets: BTreeMap<u64, RtpPacket>,
    events: Vec<Event>,
}

impl Received {
    fn take(&mut self, call: &mut Call) {
        let host = call.hosts[1];
        while let Some((_, event)) = call.sim.event(host) {
            match event {
                Event::Packet(packet) => {
                    let number = packet.sequence;
                    let before = self.packets.insert(number, packet);
                    assert!(before.is_none(), "packet {number} came twice");
                }
                other => self.events.push(other),
            }
        }
    }

    fn of(&self, origin: PacketOrigin) -> usize {
        self.packets.values().filter(|packet| packet.origin == origin).count()
    }
}

/// Sends frames of four packets, 25 in a second, for so long; then waits for the last.
fn send(call: &mut Call, id: TransceiverId, how_long: Duration) -> (u64, Received) {
    let a = call.hosts[0];
    let mut received = Received::default();
    let mut sequence = 1000;
    for frame in 0..u32::try_from(how_long.as_millis() / 40).unwrap() {
        call.sim.with(a, |rtc, _| {
            let pt = rtc.transceiver(id).unwrap().formats[0].send;
            for part in 0..4 {
                let mut payload = [u8::try_from(sequence % 251).unwrap(); 900];
                payload[0] = 0x10;
                let packet = OutgoingPacket {
                    marker: part == 3,
                    ..OutgoingPacket::new(pt, sequence, 3600 * frame, &payload)
                };
                rtc.send_packet(id, None, &packet).unwrap();
                sequence += 1;
            }
        });
        call.sim.run_for(Duration::from_millis(40));
        received.take(call);
    }
    call.sim.run_for(3 * SECOND);
    received.take(call);
    (sequence - 1000, received)
}

fn check_contents(received: &Received) {
    let first = *received.packets.keys().next().unwrap();
    for (number, packet) in &received.packets {
        let sent = 1000 + number - first;
        assert_eq!(packet.payload().len(), 900);
        assert_eq!(u64::from(packet.payload()[1]), sent % 251, "{number}");
        assert_eq!(packet.marker, sent % 4 == 3, "{number}");
    }
}

fn bad_path() -> Link {
    Link {
        delay: Duration::from_millis(30),
        jitter: Duration::from_millis(5),
        loss: Loss::Independent(0.05),
        reorder: 0.02,
        duplicate: 0.02,
        ..Link::default()
    }
}

#[test]
fn what_is_lost_comes_again_in_a_stream_of_its_own() {
    let (mut call, id) = call(1, &bad_path(), &with_video(true));
    let (sent, received) = send(&mut call, id, 60 * SECOND);
    let lost = call.sim.network.link_stats(call.hosts[0]).0.lost;
    assert!(lost > sent / 30, "{lost} of {sent}");
    let repaired = received.of(PacketOrigin::Retransmitted);
    assert!(repaired as u64 > sent / 30, "{repaired} of {sent}");
    // The first packets may be lost before anybody knows of the stream.
    let missing = sent - received.packets.len() as u64;
    assert!(missing <= 4, "{missing} of {sent} never came");
    check_contents(&received);
    assert!(received.events.iter().any(|event| matches!(event, Event::SenderReport { .. })));
}

#[test]
fn without_a_stream_for_it_the_very_bytes_are_sent_again() {
    let (mut call, id) = call(2, &bad_path(), &with_video(false));
    let (sent, received) = send(&mut call, id, 60 * SECOND);
    assert_eq!(received.of(PacketOrigin::Retransmitted), 0);
    let missing = sent - received.packets.len() as u64;
    assert!(missing <= 4, "{missing} of {sent} never came");
    check_contents(&received);
}

#[test]
fn bursts_are_made_good_within_the_budget() {
    let link = Link { loss: Loss::bursts(0.04, 8.0), ..bad_path() };
    let (mut call, id) = call(3, &link, &with_video(true));
    let (sent, received) = send(&mut call, id, 60 * SECOND);
    let missing = sent - received.packets.len() as u64;
    assert!(missing <= sent / 100, "{missing} of {sent} never came");
    check_contents(&received);
    let bytes = call.sim.network.link_stats(call.hosts[0]).0.sent_bytes;
    // 900 bytes of payload, with all heads below 1,050; reports and the handshake are small.
    assert!(bytes < sent * 1050 * 116 / 100 + 100_000, "{bytes} bytes for {sent} packets");
}

#[test]
fn a_clean_path_needs_no_repair_and_little_feedback() {
    let (mut call, id) = call(4, &Link::with_delay(Duration::from_millis(20)), &with_video(true));
    let (sent, received) = send(&mut call, id, 20 * SECOND);
    assert_eq!(received.packets.len() as u64, sent);
    assert_eq!(received.of(PacketOrigin::Received) as u64, sent);
    let feedback = call.sim.network.link_stats(call.hosts[1]).0;
    // RFC 3550 §6.2: RTCP takes a twentieth.
    let media = call.sim.network.link_stats(call.hosts[0]).0.sent_bytes;
    assert!(feedback.sent_bytes * 20 < media, "{} against {media} bytes", feedback.sent_bytes);
}

#[test]
fn a_path_that_is_gone_for_a_while_does_not_drown_in_repair() {
    let (mut call, id) = call(5, &Link::with_delay(Duration::from_millis(20)), &with_video(true));
    let b = call.hosts[1];
    call.sim.network.after(5 * SECOND, move |network| network.outage(b, 2 * SECOND));
    let (sent, received) = send(&mut call, id, 20 * SECOND);
    // A packet is of use for a second; what is older is given up.
    let missing = sent - received.packets.len() as u64;
    assert!((50..=200).contains(&missing), "{missing} of {sent} never came");
    check_contents(&received);
    let bytes = call.sim.network.link_stats(call.hosts[0]).0.sent_bytes;
    assert!(bytes < sent * 1050 * 116 / 100 + 100_000, "{bytes} bytes for {sent} packets");
}
