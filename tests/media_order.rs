//! What leaves first: sound waits for nothing; what was asked for again goes before new pictures.

mod sim;

use std::time::Duration;

use sansrtc::{
    Event, MediaConfig, MediaDirection, MediaType, OutgoingPacket, Rtc, RtcConfig, RtpPacket,
    TransceiverConfig, TransceiverId,
};
use sim::{Call, Link, config};

const DELAY: Duration = Duration::from_millis(20);
const TICK: Duration = Duration::from_millis(20);
/// Packets of a key frame: 150 kB.
const KEY_FRAME: u64 = 150;

/// A call in which the first side sends sound and pictures.
fn call(seed: u64) -> (Call, [TransceiverId; 2]) {
    let config = RtcConfig { media: MediaConfig::browser(), ..config() };
    let mut call = Call::new(seed, &Link::with_delay(DELAY), &config);
    let a = call.hosts[0];
    let ids = [MediaType::Audio, MediaType::Video].map(|kind| {
        let add =
            |rtc: &mut Rtc| rtc.add_transceiver(kind, MediaDirection::SendOnly, TransceiverConfig::default());
        call.sim.with(a, |rtc, _| add(rtc)).unwrap()
    });
    call.signal();
    call.must_connect(Duration::from_secs(10));
    (call, ids)
}

/// Sends packets `numbers` of a frame, `len` bytes each.
fn send(call: &mut Call, id: TransceiverId, numbers: std::ops::Range<u64>, time: u32, len: usize) {
    call.sim.with(call.hosts[0], |rtc, _| {
        let pt = rtc.transceiver(id).unwrap().formats[0].send;
        let end = numbers.end;
        for number in numbers {
            // The start of a VP8 payload, of a frame that is no key frame.
            let mut payload = vec![1; len];
            payload[0] = 0;
            let packet = OutgoingPacket {
                marker: number + 1 == end,
                ..OutgoingPacket::new(pt, number, time, &payload)
            };
            rtc.send_packet(id, None, &packet).unwrap();
        }
    });
}

fn received(call: &mut Call) -> Vec<(Duration, RtpPacket)> {
    let host = call.hosts[1];
    let events = std::iter::from_fn(|| call.sim.event(host));
    let packets = events.filter_map(|(at, event)| match event {
        Event::Packet(packet) => Some((at, packet)),
        _ => None,
    });
    packets.collect()
}

/// Sound each 20 ms, a key frame in each second; how long each packet of sound took, and the last of the frames.
fn delays(call: &mut Call, [audio, video]: [TransceiverId; 2], ticks: u32) -> (Vec<Duration>, Duration) {
    let mut sent = Vec::new();
    let mut next = 1000;
    for tick in 0..ticks {
        if tick % 50 == 10 {
            send(call, video, next..next + KEY_FRAME, tick * 1800, 1000);
            next += KEY_FRAME;
        }
        sent.push(call.sim.elapsed());
        send(call, audio, u64::from(tick)..u64::from(tick) + 1, tick * 960, 100);
        call.sim.run_for(TICK);
    }
    call.sim.run_for(Duration::from_secs(30));
    let received = received(call);
    let of = |id| received.iter().filter(move |(_, packet)| packet.transceiver == id);
    let sounds: Vec<Duration> = of(audio).zip(&sent).map(|((at, _), sent)| *at - *sent).collect();
    assert_eq!(sounds.len(), sent.len());
    let last = of(video).map(|(at, _)| *at).max().unwrap();
    let begun = sent[(ticks as usize - 1) / 50 * 50 + 10];
    (sounds, last - begun)
}

#[test]
fn sound_does_not_wait_behind_a_key_frame() {
    let (mut call, ids) = call(1);
    let (sounds, frame) = delays(&mut call, ids, 200);
    assert!(frame > DELAY + Duration::from_millis(100), "the frame was spread: {frame:?}");
    let worst = sounds.into_iter().max().unwrap();
    assert!(worst <= DELAY + Duration::from_millis(1), "{worst:?}");
}

#[test]
fn sound_does_not_wait_for_the_ceiling() {
    let (mut call, ids) = call(2);
    call.sim.with(call.hosts[0], |rtc, _| rtc.set_bitrate_ceiling(Some(400_000)));
    let (sounds, frame) = delays(&mut call, ids, 200);
    // Four frames, 4.8 Mbit at 400 kbit/s.
    assert!(frame > Duration::from_secs(5), "the pictures kept to the ceiling: {frame:?}");
    let worst = sounds.into_iter().max().unwrap();
    assert!(worst <= DELAY + Duration::from_millis(1), "{worst:?}");
}

#[test]
fn what_was_asked_for_again_goes_before_new_pictures() {
    let (mut call, [_, video]) = call(3);
    for n in 0..50 {
        send(&mut call, video, 1000 + n..1001 + n, n as u32 * 1800, 1000);
        call.sim.run_for(TICK);
    }
    // One is lost; the next shows it.
    call.sim.network.outage(call.hosts[0], Duration::from_millis(5));
    send(&mut call, video, 1050..1051, 90_000, 1000);
    call.sim.run_for(TICK);
    send(&mut call, video, 1051..1052, 91_800, 1000);
    call.sim.run_for(DELAY);
    send(&mut call, video, 1052..1052 + KEY_FRAME, 93_600, 1000);
    let begun = call.sim.elapsed();
    call.sim.run_for(Duration::from_secs(2));
    let received = received(&mut call);
    let first = received[0].1.sequence;
    let at = |number: u64| {
        let found = received.iter().find(|(_, packet)| packet.sequence == first + number);
        found.unwrap().0 - begun
    };
    let (again, last) = (at(50), at(51 + KEY_FRAME));
    // After the wait for packets that are only late, there and back again.
    assert!(again <= 3 * DELAY + Duration::from_millis(10), "{again:?}");
    assert!(last > Duration::from_millis(150), "the pictures waited: {last:?}");
}
