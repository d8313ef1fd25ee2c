//! Streams that fall silent and come back: the peer's are told of, ours are paused by command.

mod sim;

use std::time::Duration;

use sansrtc::{
    Event, MediaConfig, MediaDirection, MediaType, OutgoingPacket, PAUSED_AFTER, ReceiverId, Rid, Rtc,
    RtcConfig, SendMediaError, TransceiverConfig, TransceiverId,
};
use sim::{Call, Link, config};

const TICK: Duration = Duration::from_millis(40);
const DELAY: Duration = Duration::from_millis(20);

fn rids() -> [Rid; 3] {
    ["q", "h", "f"].map(|rid| Rid::new(rid).unwrap())
}

/// A call in which the first side sends three layers.
fn call(seed: u64) -> (Call, TransceiverId) {
    let config = RtcConfig { media: MediaConfig::browser(), ..config() };
    let mut call = Call::new(seed, &Link::with_delay(DELAY), &config);
    let [a, b] = call.hosts;
    let add = |rtc: &mut Rtc, direction, config| rtc.add_transceiver(MediaType::Video, direction, config);
    let layers = TransceiverConfig { send_rids: rids().to_vec(), ..TransceiverConfig::default() };
    let id = call.sim.with(a, |rtc, _| add(rtc, MediaDirection::SendOnly, layers)).unwrap();
    let layers = TransceiverConfig { receive_rids: rids().to_vec(), ..TransceiverConfig::default() };
    call.sim.with(b, |rtc, _| add(rtc, MediaDirection::RecvOnly, layers)).unwrap();
    let offer = call.sim.with(b, |rtc, _| rtc.create_offer()).unwrap();
    let answer = call.sim.with(a, |rtc, _| rtc.accept_offer(&offer)).unwrap();
    call.sim.with(b, |rtc, _| rtc.accept_answer(&answer)).unwrap();
    call.must_connect(Duration::from_secs(10));
    (call, id)
}

/// Sends a packet of each layer each 40 ms.
fn send(call: &mut Call, id: TransceiverId, layers: &[Rid], ticks: std::ops::Range<u64>) {
    for tick in ticks {
        for rid in layers {
            call.sim.with(call.hosts[0], |rtc, _| {
                let pt = rtc.transceiver(id).unwrap().formats[0].send;
                let packet = OutgoingPacket {
                    marker: true,
                    ..OutgoingPacket::new(pt, 1000 + tick, tick as u32 * 3600, &[0x10, 1, 2, 3])
                };
                rtc.send_packet(id, Some(*rid), &packet).unwrap();
            });
        }
        call.sim.run_for(TICK);
    }
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Told {
    Paused(ReceiverId),
    Resumed(ReceiverId),
    Packet(ReceiverId),
}

fn told(call: &mut Call) -> Vec<(Duration, Told)> {
    let host = call.hosts[1];
    let events = std::iter::from_fn(|| call.sim.event(host));
    let told = events.filter_map(|(at, event)| {
        let told = match event {
            Event::StreamPaused { receiver, .. } => Told::Paused(receiver),
            Event::StreamResumed { receiver, .. } => Told::Resumed(receiver),
            Event::Packet(packet) => Told::Packet(packet.receiver),
            _ => return None,
        };
        Some((at, told))
    });
    told.collect()
}

fn receiver(call: &Call, rid: Rid) -> (ReceiverId, bool) {
    let mut infos = call.sim.peer(call.hosts[1]).receivers();
    let info = infos.find(|info| info.rid == Some(rid)).unwrap();
    (info.id, info.is_paused)
}

#[test]
fn a_layer_that_stops_is_told_once_and_its_return_before_its_packet() {
    let (mut call, id) = call(1);
    let [q, h, f] = rids();
    send(&mut call, id, &[q, h, f], 0..50);
    let layer = receiver(&call, f).0;
    let events = told(&mut call);
    assert!(events.iter().all(|(_, told)| matches!(told, Told::Packet(_))));
    let last = events.iter().rev().find(|(_, told)| *told == Told::Packet(layer)).unwrap().0;
    send(&mut call, id, &[q, h], 50..150);
    assert_eq!(receiver(&call, f), (layer, true));
    let events = told(&mut call);
    let changes: Vec<_> = events.iter().filter(|(_, told)| !matches!(told, Told::Packet(_))).collect();
    assert_eq!(changes, [&(last + PAUSED_AFTER, Told::Paused(layer))]);
    send(&mut call, id, &[q, h, f], 150..160);
    let events = told(&mut call);
    let of_layer = events
        .iter()
        .map(|(_, told)| *told)
        .filter(|told| !matches!(told, Told::Packet(other) if *other != layer));
    let of_layer: Vec<_> = of_layer.collect();
    assert_eq!(of_layer[..2], [Told::Resumed(layer), Told::Packet(layer)]);
    assert!(of_layer[2..].iter().all(|told| *told == Told::Packet(layer)));
    assert_eq!(receiver(&call, f), (layer, false));
    // All of them; then nothing is left to be told.
    call.sim.run_for(Duration::from_secs(20));
    let events = told(&mut call);
    assert_eq!(events.iter().filter(|(_, told)| matches!(told, Told::Paused(_))).count(), 3);
    assert_eq!(events.iter().filter(|(_, told)| matches!(told, Told::Resumed(_))).count(), 0);
}

#[test]
fn a_paused_stream_refuses_packets_and_goes_on_with_a_key_frame() {
    let (mut call, id) = call(2);
    let [a, b] = call.hosts;
    let [q, h, f] = rids();
    let requests = |call: &mut Call| {
        let events: Vec<_> = call.sim.events(a).collect();
        let asked = events.into_iter().filter_map(|(_, event)| match event {
            Event::KeyFrameRequested { rid, .. } => rid,
            _ => None,
        });
        asked.collect::<Vec<_>>()
    };
    let active = |call: &Call| {
        let stats = call.sim.peer(a).media_stats();
        stats
            .outbound
            .iter()
            .filter(|stream| stream.active)
            .map(|stream| stream.rid.unwrap())
            .collect::<Vec<_>>()
    };
    send(&mut call, id, &[q, h, f], 0..25);
    requests(&mut call);
    assert_eq!(
        call.sim.with(a, |rtc, _| rtc.pause_sending(id, Rid::new("x"))),
        Err(SendMediaError::UnknownRid)
    );
    call.sim.with(a, |rtc, _| rtc.pause_sending(id, Some(f))).unwrap();
    assert_eq!(active(&call), [q, h]);
    let refused = call.sim.with(a, |rtc, _| {
        let pt = rtc.transceiver(id).unwrap().formats[0].send;
        rtc.send_packet(id, Some(f), &OutgoingPacket::new(pt, 1100, 0, &[0x10, 1]))
    });
    assert_eq!(refused, Err(SendMediaError::Paused));
    // The peer's wish is kept for later.
    let theirs = call.sim.peer(b).receivers().next().unwrap().transceiver;
    call.sim.with(b, |rtc, _| rtc.request_key_frame(theirs, Some(f)));
    send(&mut call, id, &[q, h], 25..75);
    assert_eq!(requests(&mut call), []);
    assert!(receiver(&call, f).1);
    call.sim.with(a, |rtc, _| rtc.resume_sending(id, None)).unwrap();
    assert_eq!(active(&call), [q, h, f]);
    send(&mut call, id, &[q, h, f], 75..100);
    // The others were not paused.
    assert_eq!(requests(&mut call)[..1], [f]);
    assert!(!receiver(&call, f).1);
}
