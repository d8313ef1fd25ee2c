//! Redundancy sent along: what is lost is put together again, without asking, and without a packet delivered twice.

mod sim;

use std::collections::BTreeMap;
use std::time::Duration;

use sansrtc::fec::ProtectorConfig;
use sansrtc::session::negotiate::Capability;
use sansrtc::types::codec::Feedback;
use sansrtc::{
    Codec, Event, MediaConfig, MediaDirection, MediaProtection, MediaType, OutgoingPacket, PacketOrigin, Rid,
    RtcConfig, RtpPacket, SendMediaError, TransceiverConfig, TransceiverId,
};
use sim::{Call, Link, Loss, config};

const SECOND: Duration = Duration::from_secs(1);

/// A configuration in which nothing is asked for again.
fn without_nack(audio: Vec<Capability>, video: Vec<Capability>) -> RtcConfig {
    let plain = |mut capability: Capability| {
        capability.feedback = Feedback { nack: false, ..capability.feedback };
        capability.rtx = false;
        capability
    };
    let audio = audio.into_iter().map(plain).collect();
    let video = video.into_iter().map(plain).collect();
    RtcConfig { media: MediaConfig { audio, video, ..MediaConfig::browser() }, ..config() }
}

fn call(seed: u64, loss: f64, config: &RtcConfig, kind: MediaType) -> (Call, TransceiverId) {
    let clean = Link::with_delay(Duration::from_millis(20));
    let mut call = Call::new(seed, &clean, config);
    let [a, b] = call.hosts;
    let transceiver = TransceiverConfig::default();
    let id =
        call.sim.with(a, |rtc, _| rtc.add_transceiver(kind, MediaDirection::SendOnly, transceiver)).unwrap();
    call.signal();
    call.must_connect(10 * SECOND);
    for host in [a, b] {
        *call.sim.network.up(host) = Link { loss: Loss::Independent(loss), reorder: 0.01, ..clean.clone() };
    }
    (call, id)
}

fn payload(sequence: u64, len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((sequence * 7 + at as u64) % 251).unwrap()).collect()
}

/// Sends `count` packets of `len` bytes, one every `step`; what arrived, by number.
fn send(
    call: &mut Call,
    id: TransceiverId,
    count: u64,
    len: usize,
    step: Duration,
) -> BTreeMap<u64, RtpPacket> {
    let [a, b] = call.hosts;
    let mut received = BTreeMap::new();
    for sequence in 0..count + 1 {
        if sequence < count {
            call.sim.with(a, |rtc, _| {
                let pt = rtc.transceiver(id).unwrap().formats[0].send;
                let payload = payload(sequence, len + usize::try_from(sequence % 5).unwrap());
                let packet = OutgoingPacket {
                    marker: sequence % 3 == 0,
                    ..OutgoingPacket::new(
                        pt,
                        100 + sequence,
                        u32::try_from(sequence).unwrap() * 960,
                        &payload,
                    )
                };
                rtc.send_packet(id, None, &packet).unwrap();
            });
        }
        call.sim.run_for(if sequence < count { step } else { 2 * SECOND });
        while let Some((_, event)) = call.sim.event(b) {
            if let Event::Packet(packet) = event {
                let number = packet.sequence;
                assert!(received.insert(number, packet).is_none(), "packet {number} came twice");
            }
        }
    }
    received
}

/// The packets with a payload carry what was sent at their time; how many came, and how many of them were put
/// together.
fn check(received: &BTreeMap<u64, RtpPacket>, len: usize) -> (u64, u64) {
    let (mut came, mut recovered) = (0, 0);
    for packet in received.values().filter(|packet| !packet.payload().is_empty()) {
        let sequence = packet.timestamp % (1 << 32) / 960;
        let expected = payload(sequence, len + usize::try_from(sequence % 5).unwrap());
        assert_eq!(packet.payload(), expected, "{sequence}");
        came += 1;
        recovered += u64::from(packet.origin == PacketOrigin::Recovered);
    }
    (came, recovered)
}

#[test]
fn audio_packets_come_back_from_those_behind_them() {
    let audio = vec![
        Capability::audio(Codec::Opus, 48_000, 2, "minptime=10;useinbandfec=1"),
        Capability::audio(Codec::Red, 48_000, 2, ""),
    ];
    let (mut call, id) = call(1, 0.1, &without_nack(audio, Vec::new()), MediaType::Audio);
    let protection = MediaProtection { red: 2, fec: None };
    call.sim.with(call.hosts[0], |rtc, _| rtc.set_protection(id, None, protection)).unwrap();
    let received = send(&mut call, id, 3000, 80, Duration::from_millis(20));
    let (came, recovered) = check(&received, 80);
    // Three in a row are lost once in a thousand; one in ten alone.
    assert!(came >= 2985, "{came}");
    assert!((200..=400).contains(&recovered), "{recovered}");
    assert!(received.values().all(|packet| packet.codec == Codec::Opus));
}

fn protected_video(seed: u64, fec: [Capability; 2], config: ProtectorConfig) -> (Call, TransceiverId) {
    let video = [Capability::video(Codec::Vp8, "")].into_iter().chain(fec).collect();
    let (mut call, id) = call(seed, 0.04, &without_nack(Vec::new(), video), MediaType::Video);
    let protection = MediaProtection { red: 0, fec: Some(config) };
    call.sim.with(call.hosts[0], |rtc, _| rtc.set_protection(id, None, protection)).unwrap();
    (call, id)
}

#[test]
fn parity_in_a_stream_of_its_own_makes_losses_good() {
    let config = ProtectorConfig { packets: 10, parities: 2 };
    let formats = [Capability::flexfec(), Capability::red_video()];
    let (mut call, id) = protected_video(2, formats, config);
    let received = send(&mut call, id, 3000, 1000, Duration::from_millis(10));
    let (came, recovered) = check(&received, 1000);
    assert!(recovered >= 70, "{recovered}");
    // Two losses among six packets, one in thirty or so each.
    assert!(came >= 2960, "{came}");
    let numbers: Vec<u64> = received.keys().copied().collect();
    assert_eq!(numbers.last().unwrap() - numbers[0] + 1 - came, 3000 - came, "nothing but media has numbers");
}

#[test]
fn parity_within_the_stream_makes_losses_good() {
    let config = ProtectorConfig { packets: 10, parities: 2 };
    let formats = [Capability::ulpfec(), Capability::red_video()];
    let (mut call, id) = protected_video(3, formats, config);
    let received = send(&mut call, id, 3000, 1000, Duration::from_millis(10));
    let (came, recovered) = check(&received, 1000);
    assert!(recovered >= 70, "{recovered}");
    assert!(came >= 2960, "{came}");
    // Parity takes numbers, and looks like padding to the application.
    assert!(received.values().any(|packet| packet.payload().is_empty()));
    assert!(received.values().filter(|p| !p.payload().is_empty()).all(|p| p.codec == Codec::Vp8));
    // What was overtaken by parity is refused, and changes nothing.
    let a = call.hosts[0];
    call.sim.with(a, |rtc, _| {
        let pt = rtc.transceiver(id).unwrap().formats[0].send;
        let late = OutgoingPacket::new(pt, 150, 0, b"late");
        assert_eq!(rtc.send_packet(id, None, &late), Err(SendMediaError::Overtaken));
    });
}

#[test]
fn packets_leave_room_for_parity() {
    let formats = [Capability::flexfec(), Capability::red_video()];
    let (mut call, id) = protected_video(4, formats, ProtectorConfig::default());
    let a = call.hosts[0];
    call.sim.with(a, |rtc, _| {
        let pt = rtc.transceiver(id).unwrap().formats[0].send;
        let largest = (1..1200)
            .rev()
            .find(|len| rtc.send_packet(id, None, &OutgoingPacket::new(pt, 100, 0, &vec![1; *len])).is_ok());
        let largest = largest.unwrap();
        for sequence in 101..120 {
            rtc.send_packet(id, None, &OutgoingPacket::new(pt, sequence, 0, &vec![1; largest])).unwrap();
        }
        assert!(largest > 1050, "{largest}");
    });
    call.sim.run_for(SECOND);
    assert_eq!(call.sim.network.link_stats(a).0.too_large, 0);
}

#[test]
fn parity_of_each_layer_of_a_simulcast_finds_its_layer() {
    let video = vec![Capability::video(Codec::Vp8, ""), Capability::flexfec()];
    let config = without_nack(vec![Capability::audio(Codec::Opus, 48_000, 2, "")], video);
    let clean = Link::with_delay(Duration::from_millis(20));
    let mut call = Call::new(7, &clean, &config);
    let [a, b] = call.hosts;
    let rids = ["q", "h"].map(|rid| Rid::new(rid).unwrap());
    let sends = TransceiverConfig { send_rids: rids.to_vec(), ..TransceiverConfig::default() };
    let receives = TransceiverConfig { receive_rids: rids.to_vec(), ..TransceiverConfig::default() };
    // A second section with the same formats: a payload type alone says nothing.
    let mut ids = Vec::new();
    for (direction, config) in [(MediaDirection::SendOnly, &sends), (MediaDirection::RecvOnly, &receives)] {
        let host = if direction == MediaDirection::SendOnly { a } else { b };
        for _ in 0..2 {
            let add =
                |rtc: &mut sansrtc::Rtc| rtc.add_transceiver(MediaType::Video, direction, config.clone());
            ids.push(call.sim.with(host, |rtc, _| add(rtc)).unwrap());
        }
    }
    let offer = call.sim.with(b, |rtc, _| rtc.create_offer()).unwrap();
    let answer = call.sim.with(a, |rtc, _| rtc.accept_offer(&offer)).unwrap();
    call.sim.with(b, |rtc, _| rtc.accept_answer(&answer)).unwrap();
    call.must_connect(10 * SECOND);
    *call.sim.network.up(a) = Link { loss: Loss::Independent(0.04), ..clean };
    let fec = Some(ProtectorConfig { packets: 8, parities: 1 });
    let id = ids[0];
    call.sim.with(a, |rtc, _| rtc.set_protection(id, None, MediaProtection { red: 0, fec })).unwrap();
    let pt = call.sim.peer(a).transceiver(id).unwrap().formats[0].send;
    for n in 0..2000 {
        for rid in rids {
            let payload = payload(n, 500);
            let packet = OutgoingPacket::new(pt, 100 + n, n as u32 * 3000, &payload);
            call.sim.with(a, |rtc, _| rtc.send_packet(id, Some(rid), &packet)).unwrap();
        }
        call.sim.run_for(Duration::from_millis(10));
    }
    let stats = call.sim.peer(b).media_stats();
    assert_eq!(stats.dropped.unknown_stream, 0);
    assert_eq!(stats.inbound.len(), 2);
    for stream in stats.inbound {
        let (lost, recovered) = (stream.packets_lost, stream.fec_packets_recovered);
        // A second loss among nine is one in four.
        assert!(recovered as i64 * 100 >= lost * 55 && recovered > 30, "{recovered} of {lost}");
    }
}
