//! Every codec: frames of many sizes there and back, loss at any packet, any bytes.

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::wire::leb128;
use crate::wire::writer::Writer;

const VIDEO: [Codec; 5] = [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1];

/// Bytes without start codes in them, different for each `seed`.
fn noise(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at * 7 + seed * 13) % 250) as u8 + 3).collect()
}

/// A frame of about `len` bytes that each depacketizer gives back as it is.
fn frame(codec: Codec, seed: usize, len: usize, key: bool) -> Vec<u8> {
    let body = noise(seed, len.max(1));
    let unit = |header: &[u8], body: &[u8]| [&[0, 0, 0, 1], header, body].concat();
    match codec {
        Codec::Vp8 => [&[u8::from(!key)][..], &body].concat(),
        Codec::H264 => {
            let slice = [&[0x88][..], &body].concat();
            match key {
                true => [unit(&[0x67], b"sps"), unit(&[0x68], b"pps"), unit(&[0x65], &slice)].concat(),
                false => unit(&[0x41], &slice),
            }
        }
        Codec::H265 => {
            let slice = [&[0x88][..], &body].concat();
            match key {
                true => {
                    [unit(&[0x40, 1], b"vps"), unit(&[0x42, 1], b"sps"), unit(&[0x26, 1], &slice)].concat()
                }
                false => unit(&[0x02, 1], &slice),
            }
        }
        Codec::Av1 => {
            let mut out = BytesMut::new();
            let mut w = Writer::new(&mut out);
            if key {
                w.slice(&[SEQUENCE << 3 | 2, 3, 7, 7, 7]);
            }
            w.u8(FRAME << 3 | 2);
            leb128::write(&mut w, body.len() as u32);
            w.slice(&body);
            out.to_vec()
        }
        _ => body,
    }
}

const SEQUENCE: u8 = 1;
const FRAME: u8 = 6;

/// A packet with what the RTP header says of it.
#[derive(Clone)]
struct Sent {
    sequence: u64,
    timestamp: u32,
    marker: bool,
    payload: Vec<u8>,
}

fn packets(codec: Codec, frames: &[Vec<u8>], max: usize) -> Vec<Sent> {
    let mut packetizer = Packetizer::new(codec, 0x7ffe);
    let mut sent = Vec::new();
    for (at, frame) in frames.iter().enumerate() {
        let info = FrameInfo { key_frame: at == 0, ..FrameInfo::default() };
        let mut payloads = packetizer.start(frame, max, info).unwrap();
        loop {
            let mut out = BytesMut::from(&b"header"[..]);
            let Some(marker) = payloads.next_payload(&mut out) else { break };
            let payload = out[6..].to_vec();
            assert!(!payload.is_empty() && payload.len() <= max, "{codec:?}: {} of {max}", payload.len());
            let (sequence, timestamp) = (sent.len() as u64 + 65_530, at as u32 * 3000);
            sent.push(Sent { sequence, timestamp, marker, payload });
        }
        assert!(sent.last().unwrap().marker, "{codec:?}: the last payload of a frame is marked");
    }
    sent
}

fn receive<'a>(codec: Codec, sent: impl IntoIterator<Item = &'a Sent>) -> Vec<Outcome> {
    let mut depacketizer = Depacketizer::new(codec, DEFAULT_MAX_FRAME);
    let mut outcomes = Vec::new();
    for packet in sent {
        outcomes.extend(depacketizer.handle_packet(Received {
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            marker: packet.marker,
            payload: &packet.payload,
        }));
    }
    outcomes
}

fn frames_of(outcomes: &[Outcome]) -> Vec<&Frame> {
    outcomes.iter().filter_map(|o| if let Outcome::Frame(frame) = o { Some(frame) } else { None }).collect()
}

#[test]
fn frames_of_many_sizes_come_back() {
    for codec in VIDEO {
        for len in [1, 2, 15, 16, 17, 50, 1199, 1200, 1201, 5000, 100_000] {
            for max in [16, 17, 100, 1200] {
                let frames = [frame(codec, 1, len, true), frame(codec, 2, len, false)];
                let sent = packets(codec, &frames, max);
                let outcomes = receive(codec, &sent);
                let got = frames_of(&outcomes);
                assert_eq!(got.len(), 2, "{codec:?} {len} {max}: {outcomes:?}");
                for (at, frame) in got.iter().enumerate() {
                    assert!(frame.data == frames[at], "{codec:?} {len} {max} frame {at}");
                    assert_eq!(frame.key_frame, at == 0, "{codec:?} {len} {max}");
                    assert!(!frame.after_gap);
                }
                assert_eq!((got[0].first, got[1].last), (65_530, 65_530 + sent.len() as u64 - 1));
            }
        }
    }
}

#[test]
fn payloads_of_one_frame_are_of_almost_equal_size() {
    for codec in [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1] {
        let sent = packets(codec, &[frame(codec, 1, 2500, false)], 1200);
        let (least, most) =
            sent.iter().fold((usize::MAX, 0), |(l, m), p| (l.min(p.payload.len()), m.max(p.payload.len())));
        assert_eq!(sent.len(), 3, "{codec:?}");
        assert!(most - least <= 8, "{codec:?} {least} {most}");
    }
}

#[test]
fn a_lost_packet_costs_its_frame_and_no_other() {
    for codec in VIDEO {
        let frames: Vec<_> = (0..4).map(|at| frame(codec, at, 3000, at == 0)).collect();
        let sent = packets(codec, &frames, 500);
        for lost in 0..sent.len() {
            let got = receive(codec, sent.iter().filter(|p| p.sequence != sent[lost].sequence));
            let whole: Vec<_> = frames_of(&got).iter().map(|f| f.timestamp).collect();
            let expected: Vec<_> =
                (0..4).map(|at| at * 3000).filter(|t| *t != sent[lost].timestamp).collect();
            assert_eq!(whole, expected, "{codec:?} without packet {lost}: {got:?}");
            let dropped = got.iter().filter(|o| matches!(o, Outcome::Dropped { .. })).count();
            assert!(dropped <= 1, "{codec:?} without packet {lost}: told once");
            for frame in frames_of(&got) {
                assert!(frame.data == frames[frame.timestamp as usize / 3000]);
            }
            // What follows the gap says so.
            let after = frames_of(&got).iter().filter(|f| f.after_gap).count();
            assert_eq!(after, usize::from(sent[lost].timestamp < 9000), "{codec:?} {lost}");
        }
    }
}

#[test]
fn frames_end_without_a_marker_too() {
    for codec in VIDEO {
        let frames: Vec<_> = (0..3).map(|at| frame(codec, at, 2000, at == 0)).collect();
        let mut sent = packets(codec, &frames, 500);
        sent.iter_mut().for_each(|packet| packet.marker = false);
        let got = receive(codec, &sent);
        assert_eq!(frames_of(&got).len(), 2, "{codec:?} {got:?}");
        assert_eq!(got.len(), 2);
    }
}

#[test]
fn a_frame_that_never_ends_is_dropped_and_its_memory_freed() {
    // R57.
    for codec in VIDEO {
        let sent = packets(codec, &[frame(codec, 1, 200_000, true), frame(codec, 2, 10, false)], 1000);
        let mut depacketizer = Depacketizer::new(codec, 50_000);
        let (mut reasons, mut whole) = (Vec::new(), 0);
        for p in &sent {
            let (sequence, timestamp, marker) = (p.sequence, p.timestamp, p.marker);
            for outcome in
                depacketizer.handle_packet(Received { sequence, timestamp, marker, payload: &p.payload })
            {
                match outcome {
                    Outcome::Dropped { reason, .. } => reasons.push(reason),
                    Outcome::Frame(frame) => whole += usize::from(frame.after_gap),
                }
            }
            assert!(depacketizer.buffered() <= 50_000);
        }
        assert_eq!((reasons, whole), (vec![Dropped::TooLarge], 1), "{codec:?}");
    }
}

#[test]
fn audio_payloads_are_frames() {
    for codec in Codec::ALL.into_iter().filter(|codec| !codec.is_video()) {
        let mut packetizer = Packetizer::new(codec, 0);
        assert!(packetizer.start(&[0; 101], 100, FrameInfo::default()).is_err());
        let sent = packets(codec, &[vec![1, 2, 3], vec![4]], 100);
        let got = receive(codec, &sent);
        let data: Vec<_> = frames_of(&got).iter().map(|frame| frame.data.to_vec()).collect();
        assert_eq!(data, [vec![1, 2, 3], vec![4]]);
        assert_eq!(Codec::from_name(&codec.name().to_lowercase()), Some(codec));
    }
}

#[test]
fn known_hostile_payloads_are_refused() {
    // R56, R58.
    // pion/rtp 14c61dc (VP8), str0m #849 (H.265 PACI), and their like: descriptors that end early.
    let push = |codec: Codec, payload: &[u8]| {
        let sent = Sent { sequence: 1, timestamp: 0, marker: true, payload: payload.to_vec() };
        frames_of(&receive(codec, [&sent])).len()
    };
    assert_eq!(push(Codec::Vp8, &[0x81, 0x81, 0x94]), 0);
    assert_eq!(push(Codec::Vp8, &[0x90, 0xff]), 0);
    assert_eq!(push(Codec::Vp9, &[0x0a, 0xff]), 0);
    assert_eq!(push(Codec::Vp9, &[0x58, 0x03, 0x03, 0x03, 0x03, 1]), 0);
    assert_eq!(push(Codec::H264, &[24, 0, 0]), 0);
    assert_eq!(push(Codec::H264, &[24, 0, 3, 24, 0, 0]), 0);
    assert_eq!(push(Codec::H264, &[24, 0, 9, 0x65]), 0);
    assert_eq!(push(Codec::H264, &[0x7c, 0x85]), 0);
    assert_eq!(push(Codec::H264, &[0x7c, 0x85, 0x88]), 0);
    assert_eq!(push(Codec::H265, &[50 << 1, 1, 0, 0, 0]), 0);
    assert_eq!(push(Codec::H265, &[48 << 1, 1, 0, 2, 48 << 1, 1]), 0);
    assert_eq!(push(Codec::Av1, &[0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), 0);
    assert_eq!((push(Codec::Av1, &[0x10, 0x30, 1]), push(Codec::Av1, &[0x10, 0x32])), (1, 0));
    assert_eq!(push(Codec::Av1, &[0x20, 0x05, 0x32]), 0);
    assert_eq!(push(Codec::Av1, &[0x18 | 0x80, 0x0a, 0]), 0);
}

#[test]
fn layers_are_told() {
    let mut packetizer = Packetizer::new(Codec::Vp8, 9);
    let info =
        FrameInfo { temporal: Some(2), switching_point: true, discardable: true, ..FrameInfo::default() };
    let mut out = BytesMut::new();
    assert_eq!(packetizer.start(&[1, 2, 3], 100, info).unwrap().next_payload(&mut out), Some(true));
    let told = Codec::Vp8.describe(&out).unwrap();
    assert_eq!((told.temporal, told.switching_point, told.discardable), (Some(2), true, true));
    assert_eq!((told.picture_id, told.tl0), (Some(PictureId { number: 9, long: true }), Some(0)));
    vp8::renumber(&mut out, 0x1234, 77);
    let told = Codec::Vp8.describe(&out).unwrap();
    assert_eq!((told.picture_id.map(|id| id.number), told.tl0), (Some(0x1234), Some(77)));

    let mut packetizer = Packetizer::new(Codec::Vp9, 9);
    let mut out = BytesMut::new();
    assert_eq!(packetizer.start(&[1, 2, 3], 100, info).unwrap().next_payload(&mut out), Some(true));
    vp9::renumber(&mut out, 0x1234, 77);
    let told = Codec::Vp9.describe(&out).unwrap();
    assert_eq!(
        (told.temporal, told.picture_id.map(|id| id.number), told.tl0),
        (Some(2), Some(0x1234), Some(77))
    );

    let told = Codec::H265.describe(&[0x28, 0x02, 0x88]).unwrap();
    assert_eq!((told.key_frame, told.temporal), (true, Some(1)));
    // A frame with an extension header: temporal layer 2, spatial layer 1.
    let told = Codec::Av1.describe(&[0x10, FRAME << 3 | 4, 2 << 5 | 1 << 3, 1]).unwrap();
    assert_eq!((told.temporal, told.spatial, told.starts_frame), (Some(2), Some(1), false));
}

#[test]
fn av1_delimiters_are_dropped_and_layers_kept_apart() {
    let unit = [
        &[0x12, 0][..],
        &[SEQUENCE << 3 | 2, 1, 9],
        &[FRAME << 3 | 6, 0, 2, 5, 5],
        &[FRAME << 3 | 6, 1 << 3, 2, 6, 6],
    ]
    .concat();
    let sent = packets(Codec::Av1, std::slice::from_ref(&unit), 1200);
    assert_eq!(sent.len(), 2);
    // W = 2 and N = 1; then W = 1.
    assert_eq!((sent[0].payload[0], sent[1].payload[0]), (0x28, 0x10));
    let got = receive(Codec::Av1, &sent);
    assert_eq!(frames_of(&got)[0].data, unit[2..]);
}

proptest! {
    #[test]
    fn any_bytes_give_a_frame_more_or_an_error(
        codec in prop::sample::select(&VIDEO[..]),
        payloads in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..60), 0u32..3, any::<bool>()), 1..12),
    ) {
        let mut depacketizer = Depacketizer::new(codec, 1000);
        let (mut input, mut output) = (0, 0);
        for (at, (payload, timestamp, marker)) in payloads.iter().enumerate() {
            input += payload.len();
            let packet = Received { sequence: at as u64, timestamp: *timestamp, marker: *marker, payload };
            for outcome in depacketizer.handle_packet(packet) {
                if let Outcome::Frame(frame) = outcome {
                    prop_assert!(!frame.data.is_empty());
                    output += frame.data.len();
                }
            }
            // An aggregate of units costs two bytes each, a start code four; an OBU at most five.
            prop_assert!(output + depacketizer.buffered() <= 6 * input + 4);
            let _ = codec.describe(payload);
        }
    }

    #[test]
    fn every_cut_of_a_payload_is_a_frame_more_or_an_error(codec in prop::sample::select(&VIDEO[..]), len in 1usize..200) {
        let sent = packets(codec, &[frame(codec, 3, len, true)], 64);
        for at in 0..sent[0].payload.len() {
            let mut cut = sent.clone();
            cut[0].payload.truncate(at);
            receive(codec, &cut);
            let _ = codec.describe(&cut[0].payload);
        }
    }

    #[test]
    fn loss_never_gives_a_wrong_frame(
        codec in prop::sample::select(&VIDEO[..]),
        sizes in prop::collection::vec(1usize..3000, 2..12),
        keep in prop::collection::vec(prop::bool::weighted(0.8), 100),
        max in 100usize..800,
    ) {
        let frames: Vec<_> = sizes.iter().enumerate().map(|(at, len)| frame(codec, at, *len, at == 0)).collect();
        let sent = packets(codec, &frames, max);
        let kept: Vec<_> = sent.iter().zip(keep.iter().cycle()).filter(|(_, keep)| **keep).map(|(p, _)| p).collect();
        let got = receive(codec, kept.iter().copied());
        for frame in frames_of(&got) {
            prop_assert!(frame.data == frames[frame.timestamp as usize / 3000]);
        }
        // Every frame whose packets all came is there.
        for (at, _) in frames.iter().enumerate() {
            let timestamp = at as u32 * 3000;
            let all = |p: &[&Sent]| p.iter().filter(|p| p.timestamp == timestamp).count();
            let whole = all(&kept) == all(&sent.iter().collect::<Vec<_>>());
            prop_assert_eq!(frames_of(&got).iter().any(|f| f.timestamp == timestamp), whole);
        }
    }

    #[test]
    fn vp8_descriptors_round_trip(
        flags in any::<[bool; 3]>(),
        partition in 0u8..8,
        picture in prop::option::of((0u16..0x8000, any::<bool>())),
        tl0 in prop::option::of(any::<u8>()),
        temporal in prop::option::of((0u8..4, any::<bool>())),
        key_index in prop::option::of(0u8..32),
    ) {
        let picture_id = picture.map(|(n, long)| PictureId { number: if long { n } else { n & 0x7f }, long });
        let [non_reference, partition_start, _] = flags;
        let descriptor = vp8::Descriptor { non_reference, partition_start, partition, picture_id, tl0, temporal, key_index };
        let mut out = BytesMut::new();
        descriptor.emit(&mut Writer::new(&mut out));
        let mut r = crate::wire::reader::Reader::new(&out, "test");
        prop_assert_eq!(vp8::Descriptor::read(&mut r), Ok(descriptor));
        prop_assert!(r.is_empty());
    }

    #[test]
    fn vp9_descriptors_are_refused_or_round_trip(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut r = crate::wire::reader::Reader::new(&bytes, "test");
        if let Ok(descriptor) = vp9::Descriptor::read(&mut r) {
            let mut out = BytesMut::new();
            descriptor.emit(&mut Writer::new(&mut out));
            let mut again = crate::wire::reader::Reader::new(&out, "test");
            prop_assert_eq!(vp9::Descriptor::read(&mut again), Ok(descriptor));
            if let Some(structure) = descriptor.structure {
                prop_assert!(vp9::Structure::parse(structure).is_ok());
            }
        }
    }
}
