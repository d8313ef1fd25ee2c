//! Encoded frames through two connections: whole and in order, or reported missing.

mod sim;

use std::time::Duration;

use sansrtc::payload::FrameInfo;
use sansrtc::session::negotiate::Capability;
use sansrtc::{
    Codec, Event, FrameToSend, MediaConfig, MediaDirection, MediaFrame, MediaLevel, MediaType, RtcConfig,
    TransceiverConfig, TransceiverId,
};
use sim::{Call, Link, Loss, Random, config};

const SECOND: Duration = Duration::from_secs(1);

/// Both sides speak one format, and take frames.
fn with(capability: Capability) -> RtcConfig {
    let browser = MediaConfig::browser();
    let (audio, video) = match capability.clock_rate {
        90_000 => (vec![], vec![capability]),
        _ => (vec![capability], vec![]),
    };
    RtcConfig {
        media: MediaConfig { audio, video, level: MediaLevel::Frames, ..browser },
        media_send_buffer: 8 << 20,
        ..config()
    }
}

fn call(seed: u64, link: &Link, capability: Capability) -> (Call, TransceiverId) {
    let kind = if capability.clock_rate == 90_000 { MediaType::Video } else { MediaType::Audio };
    let mut call = Call::new(seed, &Link::with_delay(link.delay), &with(capability));
    let [a, b] = call.hosts;
    let transceiver = TransceiverConfig::default();
    let id =
        call.sim.with(a, |rtc, _| rtc.add_transceiver(kind, MediaDirection::SendOnly, transceiver)).unwrap();
    call.signal();
    call.must_connect(10 * SECOND);
    for host in [a, b] {
        *call.sim.network.up(host) = link.clone();
    }
    (call, id)
}

/// A frame of a codec with some content: `None` where the codec's frames cannot be made up here.
fn frame(codec: Codec, n: u32, key: bool, len: usize, random: &mut Random) -> Vec<u8> {
    let mut body = random.bytes(len.max(8));
    body.extend_from_slice(&n.to_be_bytes());
    // No start code may stand within a NAL unit.
    body.iter_mut().for_each(|byte| *byte |= 0x10);
    match codec {
        // RFC 6386 §9.1: bit 0 of the first byte is clear in key frames, which have a start code.
        Codec::Vp8 => {
            let head: &[u8] = if key { &[0x10, 0, 0, 0x9d, 0x01, 0x2a, 16, 0, 16, 0] } else { &[0x11, 0, 0] };
            [head, &body].concat()
        }
        Codec::H264 => {
            let start = [0, 0, 0, 1];
            if key {
                [&start[..], &[0x67, 0x42, 0xe0, 0x1f], &start, &[0x68, 0xce], &start, &[0x65], &body]
                    .concat()
            } else {
                [&start[..], &[0x41], &body].concat()
            }
        }
        _ => body,
    }
}

struct Outcome {
    sent: Vec<(u32, bool, Vec<u8>)>,
    frames: Vec<MediaFrame>,
    lost: usize,
    key_requests: usize,
}

/// Sends 25 frames a second, with a key frame at the start and whenever one is asked for.
fn run(call: &mut Call, id: TransceiverId, codec: Codec, how_long: Duration, max: u64) -> Outcome {
    let [a, b] = call.hosts;
    let mut random = Random::new(7);
    let mut outcome = Outcome { sent: Vec::new(), frames: Vec::new(), lost: 0, key_requests: 0 };
    let mut key = true;
    let count = u32::try_from(how_long.as_millis() / 40).unwrap();
    for n in 0..count + 50 {
        if n < count {
            let len = random.index(usize::try_from(max).unwrap()) + 1;
            let data = frame(codec, n, key, len, &mut random);
            call.sim
                .with(a, |rtc, _| {
                    let pt = rtc.transceiver(id).unwrap().formats[0].send;
                    let info = FrameInfo { key_frame: key, ..FrameInfo::default() };
                    rtc.send_frame(id, None, &FrameToSend { info, ..FrameToSend::new(pt, n * 3600, &data) })
                })
                .unwrap();
            outcome.sent.push((n * 3600, key, data));
            key = false;
        }
        call.sim.run_for(SECOND / 25);
        while let Some((_, event)) = call.sim.event(a) {
            if let Event::KeyFrameRequested { .. } = event {
                outcome.key_requests += 1;
                key = true;
            }
        }
        while let Some((_, event)) = call.sim.event(b) {
            match event {
                Event::Frame(frame) => outcome.frames.push(frame),
                Event::FrameLost(_) => outcome.lost += 1,
                Event::Packet(packet) => panic!("a packet at the level of frames: {packet:?}"),
                _ => {}
            }
        }
    }
    outcome
}

impl Outcome {
    /// Every frame that arrived is one that was sent, and in order.
    fn check(&self) {
        let mut last = None;
        for frame in &self.frames {
            let short = (frame.timestamp & 0xffff_ffff) as u32;
            let at = self.sent.iter().position(|(timestamp, ..)| *timestamp == short).expect("it was sent");
            assert!(last.is_none_or(|last| at > last), "in order");
            last = Some(at);
            let (_, key, data) = &self.sent[at];
            assert_eq!(frame.data, data[..], "frame {at}");
            assert_eq!(frame.key_frame, *key, "frame {at}");
        }
    }
}

#[test]
fn frames_of_every_size_arrive_whole() {
    let h264 = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";
    let capabilities = [
        (Capability::video(Codec::Vp8, ""), 60_000),
        (Capability::video(Codec::H264, h264), 60_000),
        (Capability::audio(Codec::Opus, 48_000, 2, ""), 900),
        (Capability::audio(Codec::Pcmu, 8_000, 1, ""), 900),
    ];
    for (capability, max) in capabilities {
        let codec = capability.codec;
        let (mut call, id) = call(1, &Link::with_delay(SECOND / 50), capability);
        let outcome = run(&mut call, id, codec, 4 * SECOND, max);
        if codec.name() == "opus" || codec.name() == "PCMU" {
            // A frame of sound is always one to start with.
            assert_eq!(outcome.frames.len(), 100);
            continue;
        }
        outcome.check();
        assert_eq!(
            (outcome.frames.len(), outcome.lost, outcome.key_requests),
            (100, 0, 0),
            "{}",
            codec.name()
        );
        assert!(outcome.frames.iter().all(|frame| !frame.after_gap));
    }
}

#[test]
fn what_is_lost_comes_again_or_is_reported() {
    for seed in 0..4 {
        let link = Link {
            loss: Loss::Independent(0.1),
            reorder: 0.1,
            // Longer, and what is late is asked for as if it were lost, which the budget for retransmission bears only in part.
            reorder_by: SECOND / 100,
            duplicate: 0.05,
            ..Link::with_delay(SECOND / 40)
        };
        let (mut call, id) = call(seed, &link, Capability::video(Codec::Vp8, ""));
        let outcome = run(&mut call, id, Codec::Vp8, 30 * SECOND, 8_000);
        outcome.check();
        // With retransmission, nearly all: what is missing is told.
        assert!(outcome.frames.len() + outcome.lost >= 745, "{} and {}", outcome.frames.len(), outcome.lost);
        assert!(outcome.frames.len() > 740, "{}", outcome.frames.len());
    }
}

#[test]
fn without_retransmission_a_loss_leads_to_a_key_frame() {
    let mut capability = Capability::video(Codec::Vp8, "");
    capability.rtx = false;
    capability.feedback.nack = false;
    let link = Link { loss: Loss::Independent(0.02), ..Link::with_delay(SECOND / 40) };
    let (mut call, id) = call(5, &link, capability);
    let outcome = run(&mut call, id, Codec::Vp8, 20 * SECOND, 8_000);
    outcome.check();
    assert!(outcome.lost > 10, "{} lost", outcome.lost);
    assert!(outcome.key_requests > 3, "{} requests", outcome.key_requests);
    // After a gap nothing is shown as if it followed.
    let mut last = None;
    for frame in &outcome.frames {
        let in_step = last.is_none_or(|last| frame.timestamp == last + 3600);
        assert!(in_step || frame.after_gap, "frame {}", frame.timestamp);
        last = Some(frame.timestamp);
    }
}

#[test]
fn the_level_can_be_changed_at_any_time() {
    let (mut call, id) = call(6, &Link::default(), Capability::video(Codec::Vp8, ""));
    let [_, b] = call.hosts;
    let outcome = run(&mut call, id, Codec::Vp8, SECOND, 3_000);
    assert_eq!(outcome.frames.len(), 25);
    let theirs = call.sim.with(b, |rtc, _| rtc.transceivers().next()).unwrap();
    call.sim.with(b, |rtc, _| rtc.set_media_level(theirs, MediaLevel::Packets)).unwrap();
    let a = call.hosts[0];
    let data = frame(Codec::Vp8, 0, true, 3000, &mut Random::new(1));
    call.sim
        .with(a, |rtc, _| {
            let pt = rtc.transceiver(id).unwrap().formats[0].send;
            rtc.send_frame(id, None, &FrameToSend::new(pt, 90_000 * 9, &data).key_frame())
        })
        .unwrap();
    call.sim.run_for(SECOND);
    let packets =
        std::iter::from_fn(|| call.sim.event(b)).filter(|(_, event)| matches!(event, Event::Packet(_)));
    assert_eq!(packets.count(), 3);
}
