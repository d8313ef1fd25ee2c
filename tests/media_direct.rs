//! Media without SDP: what descriptions would have said is given by hand.

mod sim;

use std::time::Duration;

use sansrtc::session::negotiate::{
    AgreedExtension, AgreedMedia, Applied, Capability, Format, RemoteMedia, RemoteTransport,
};
use sansrtc::types::setup::{DtlsRole, IceRole};
use sansrtc::{
    Codec, Event, FrameToSend, MediaConfig, MediaDirection, MediaLevel, MediaType, Mid, Pt, Rtc, RtcConfig,
    TransceiverConfig, TransceiverId,
};
use sim::{Call, Link, config};

const SECOND: Duration = Duration::from_secs(1);

/// What the other side says of its transport.
fn transport(peer: &Rtc, dtls_role: DtlsRole, ice_role: IceRole) -> RemoteTransport {
    let parameters = peer.local_parameters();
    RemoteTransport {
        credentials: parameters.credentials,
        fingerprints: parameters.fingerprints,
        candidates: parameters.candidates,
        end_of_candidates: false,
        ice_lite: false,
        sped: parameters.sped,
        renomination: true,
        dtls_role,
        ice_role,
    }
}

/// What is agreed for one stream of VP8, between this side's transceiver and the other's.
fn media(
    here: (&Rtc, TransceiverId),
    there: (&Rtc, TransceiverId),
    direction: MediaDirection,
) -> AgreedMedia {
    let vp8 = Capability::video(Codec::Vp8, "");
    let pt = Pt::new(96).unwrap();
    let rtx = Pt::new(97).unwrap();
    let remote = there.0.transceiver(there.1).unwrap().sender;
    AgreedMedia {
        transceiver: here.1,
        section: 0,
        mid: Mid::new("v"),
        kind: MediaType::Video,
        direction,
        formats: [Format {
            codec: Codec::Vp8,
            clock_rate: 90_000,
            channels: 1,
            receive: pt,
            send: pt,
            remote_parameters: String::new(),
            local_parameters: String::new(),
            feedback: vp8.feedback,
            rtx: Some((rtx, rtx)),
        }]
        .into(),
        extensions: [AgreedExtension {
            id: 3,
            uri: "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01".into(),
            direction: None,
        }]
        .into(),
        rtcp_reduced_size: true,
        mixed_extensions: false,
        cryptex: false,
        remote: RemoteMedia {
            ssrcs: remote.encodings.iter().map(|encoding| encoding.ssrc).collect(),
            retransmissions: remote.encodings.iter().map(|e| (e.ssrc, e.rtx.unwrap())).collect(),
            ..RemoteMedia::default()
        },
        sender: here.0.transceiver(here.1).unwrap().sender,
        send_rids: Vec::new(),
        level: MediaLevel::Frames,
    }
}

#[test]
fn frames_flow_both_ways_and_stop_when_told() {
    let config = RtcConfig { media: MediaConfig::browser(), ..config() };
    let mut call = Call::new(1, &Link::default(), &config);
    let [a, b] = call.hosts;
    let add = |rtc: &mut Rtc| {
        rtc.add_transceiver(MediaType::Video, MediaDirection::SendRecv, TransceiverConfig::default()).unwrap()
    };
    let ids = [a, b].map(|host| call.sim.with(host, |rtc, _| add(rtc)));
    let agreed = |call: &Call, direction| {
        let (x, y) = (call.sim.peer(a), call.sim.peer(b));
        [media((x, ids[0]), (y, ids[1]), direction), media((y, ids[1]), (x, ids[0]), direction)]
    };
    let [at_a, at_b] = agreed(&call, MediaDirection::SendRecv);
    let to_b = transport(call.sim.peer(b), DtlsRole::Client, IceRole::Controlling);
    let to_a = transport(call.sim.peer(a), DtlsRole::Server, IceRole::Controlled);
    for (host, transport, media) in [(a, to_b, at_a), (b, to_a, at_b)] {
        let applied =
            Applied { transport: Some(transport), ice_restart: false, data: None, media: vec![media] };
        call.sim.with(host, |rtc, _| rtc.start(applied));
    }
    call.must_connect(10 * SECOND);
    let pt = Pt::new(96).unwrap();
    let frame = |n: u8| [&[0x10, 0, 0, 0x9d, 0x01, 0x2a, 16, 0, 16, 0][..], &[n; 5000]].concat();
    for n in 0..20u8 {
        for (host, id) in [(a, ids[0]), (b, ids[1])] {
            let data = frame(n);
            let frame = FrameToSend::new(pt, u32::from(n) * 3000, &data).key_frame();
            call.sim.with(host, |rtc, _| rtc.send_frame(id, None, &frame)).unwrap();
        }
        call.sim.run_for(SECOND / 30);
    }
    call.sim.run_for(SECOND);
    for host in [a, b] {
        let frames: Vec<_> = std::iter::from_fn(|| call.sim.event(host))
            .filter_map(|(_, event)| if let Event::Frame(frame) = event { Some(frame) } else { None })
            .collect();
        assert_eq!(frames.len(), 20);
        assert!((0u8..).zip(&frames).all(|(n, found)| found.data == frame(n)[..]));
    }
    // Nothing is sent, and nothing is taken, once both sides have put it so.
    let [at_a, at_b] = agreed(&call, MediaDirection::Inactive);
    call.sim.with(a, |rtc, _| rtc.set_media(vec![at_a]));
    call.sim.with(b, |rtc, _| rtc.set_media(vec![at_b]));
    let data = frame(0);
    let refused =
        call.sim.with(a, |rtc, _| rtc.send_frame(ids[0], None, &FrameToSend::new(pt, 1 << 20, &data)));
    assert_eq!(refused, Err(sansrtc::SendMediaError::NotSending));
    // And a section that is gone takes its stream with it.
    call.sim.with(b, |rtc, _| rtc.set_media(vec![]));
    let ended = std::iter::from_fn(|| call.sim.event(b));
    assert_eq!(ended.filter(|(_, event)| matches!(event, Event::StreamEnded { .. })).count(), 1);
    assert!(call.sim.peer(b).media_stats().inbound.is_empty());
}
