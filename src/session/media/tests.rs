//! A peer that has the keys and means ill: whatever it seals is bounded.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};

use super::*;
use crate::buffer::Pool;
use crate::crypto::{Secret, ring};
use crate::dtls::SrtpMaster;
use crate::packet::Ecn;
use crate::rng::{Rng, Stream};
use crate::rtp::elements::Form;
use crate::rtp::header::{Fields, Packet};
use crate::rtp::rtcp::feedback::{Nack, PictureLoss};
use crate::rtp::rtcp::report::{ReceiverReport, ReportBlock};
use crate::rtp::rtcp::source::Bye;
use crate::session::negotiate::{
    AgreedExtension, Capability, Encoding, Format, Negotiator, RemoteMedia, Sender,
};
use crate::types::codec::{Codec, MediaType};
use crate::types::direction::Direction;
use crate::types::ids::{Mid, Pt};
use crate::types::srtp_profile::SrtpProfile;
use crate::wire::serial::{Serial16, Serial32};

const OURS: Ssrc = Ssrc(0x1234);

struct Peer {
    media: Media,
    /// What the peer seals with.
    outbound: Outbound,
    pool: Pool,
    now: Instant,
    events: VecDeque<Event>,
}

fn pt(value: u8) -> Pt {
    Pt::new(value).unwrap()
}

fn agreed(id: TransceiverId, mid: &str) -> AgreedMedia {
    let vp8 = Capability::video(Codec::Vp8, "");
    let uri = "urn:ietf:params:rtp-hdrext:sdes:mid".into();
    AgreedMedia {
        transceiver: id,
        section: 0,
        mid: Mid::new(mid),
        kind: MediaType::Video,
        direction: Direction::SendRecv,
        formats: [Format {
            codec: Codec::Vp8,
            clock_rate: 90_000,
            channels: 1,
            receive: pt(96),
            send: pt(96),
            remote_parameters: String::new(),
            local_parameters: String::new(),
            feedback: vp8.feedback,
            rtx: Some((pt(97), pt(97))),
        }]
        .into(),
        extensions: [AgreedExtension { id: 1, uri, direction: None }].into(),
        rtcp_reduced_size: true,
        mixed_extensions: true,
        cryptex: false,
        remote: RemoteMedia::default(),
        sender: Sender {
            encodings: vec![Encoding { rid: None, ssrc: OURS, rtx: Some(Ssrc(0x1235)), fec: None }],
            ..Sender::default()
        },
        send_rids: Vec::new(),
        level: MediaLevel::Packets,
    }
}

impl Peer {
    /// Media with so many sections, alike but for their names.
    fn new(sections: usize) -> Peer {
        let mut rng = Rng::new([1; 32], Stream::Rtp);
        let mut negotiator = Negotiator::new(&mut rng);
        let now = crate::time::some_instant() + Duration::from_secs(1000);
        let limits = MediaLimits { datagram_size: 1200, send_buffer: 1 << 20, backend: ring() };
        let clock = Clock { instant: now, unix: Duration::from_secs(1_700_000_000) };
        let mut media = Media::new(limits, clock, &MediaConfig::default(), rng);
        let mut events = VecDeque::new();
        let sections = (0..sections).map(|n| {
            let rids = Vec::new();
            let id =
                negotiator.add_transceiver(MediaType::Video, Direction::SendRecv, Sender::default(), rids);
            agreed(id, &format!("v{n}"))
        });
        media.apply(sections.collect(), &mut events);
        let master = |byte| SrtpMaster { key: Secret::new(&[byte; 16]), salt: Secret::new(&[byte; 12]) };
        let profile = SrtpProfile::AeadAes128Gcm;
        media.set_keys(&SrtpKeys { profile, local: master(1), remote: master(2) });
        let theirs = MasterKey::new(profile, &[2; 16], &[2; 12]).unwrap();
        let outbound = theirs.outbound(ring(), profile, Cryptex::Off).unwrap();
        events.clear();
        Peer { media, outbound, pool: Pool::new(), now, events }
    }

    fn rtp(&mut self, payload_type: u8, sequence: u16, ssrc: u32, mid: Option<&str>, payload: &[u8]) {
        let fields = Fields {
            marker: false,
            payload_type: pt(payload_type),
            sequence: Serial16(sequence),
            timestamp: Serial32(0),
            ssrc: Ssrc(ssrc),
        };
        self.packet(fields, mid, payload);
    }

    fn packet(&mut self, fields: Fields, mid: Option<&str>, payload: &[u8]) {
        let mut packet = BytesMut::new();
        fields.emit(&mut packet, &[], Form::OneByte, |w| {
            mid.iter().for_each(|mid| _ = w.push(1, mid.as_bytes()));
        });
        packet.extend_from_slice(payload);
        if self.outbound.protect_rtp(&mut packet, 0).is_ok() {
            self.media.handle_rtp(self.now, packet, Ecn::NotEct, &mut self.events);
        }
    }

    fn rtcp(&mut self, compound: &[u8]) {
        let mut packet = BytesMut::from(compound);
        if self.outbound.protect_rtcp(&mut packet, 0).is_ok() {
            self.media.handle_rtcp(self.now, packet, &mut self.events);
        }
    }

    /// Everything that leaves; RTP and RTCP apart.
    fn drain(&mut self) -> (usize, usize) {
        let (mut rtp, mut rtcp) = (0, 0);
        for _ in 0..10_000 {
            if !self.media.has_output(self.now) {
                return (rtp, rtcp);
            }
            let Some(run) = self.media.poll_transmit(self.now, &mut self.pool, 1) else { return (rtp, rtcp) };
            if crate::rtp::rtcp::is_rtcp(&run.contents) { rtcp += 1 } else { rtp += 1 }
        }
        panic!("output without end");
    }

    /// What leaves now, opened by the peer; RTP and RTCP apart.
    fn leave(&mut self, inbound: &mut Inbound) -> (Vec<BytesMut>, Vec<BytesMut>) {
        let (mut rtp, mut rtcp) = (Vec::new(), Vec::new());
        while let Some(run) = self.media.poll_transmit(self.now, &mut self.pool, 1) {
            let mut contents = run.contents;
            if crate::rtp::rtcp::is_rtcp(&contents) {
                inbound.unprotect_rtcp(&mut contents).unwrap();
                rtcp.push(contents);
            } else {
                inbound.unprotect_rtp(&mut contents).unwrap();
                rtp.push(contents);
            }
        }
        (rtp, rtcp)
    }

    /// The peer has received something of a source.
    fn report_on(&mut self, ssrc: Ssrc) {
        let block = ReportBlock { ssrc, ..super::control::EMPTY_BLOCK };
        let mut report = BytesMut::new();
        ReceiverReport::emit(&mut report, 100, Ssrc(1), &[block]);
        self.rtcp(&report);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.media.handle_timeout(self.now, &mut self.events);
    }

    fn packets(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Packet(_))).count()
    }
}

/// What the peer opens our packets with.
fn theirs() -> Inbound {
    let profile = SrtpProfile::AeadAes128Gcm;
    let ours = MasterKey::new(profile, &[1; 16], &[1; 12]).unwrap();
    ours.inbound(ring(), profile, Cryptex::Off).unwrap()
}

#[test]
fn a_storm_of_sources_is_bounded() {
    // R55.
    let mut peer = Peer::new(1);
    for ssrc in 0..2000 {
        peer.rtp(96, 1, ssrc, None, b"storm");
    }
    assert_eq!(peer.media.receivers.len(), crate::srtp::MAX_UNSIGNALLED);
    assert_eq!(peer.media.dropped.too_many_streams, 2000 - 64);
    assert_eq!(peer.packets(), 64);
    // Names that nobody has agreed to make no stream either.
    let mut peer = Peer::new(1);
    for n in 0..2000u16 {
        peer.rtp(96, n, 7, Some(&format!("m{n}")), b"storm");
    }
    assert_eq!((peer.media.receivers.len(), peer.packets()), (0, 0));
    assert_eq!(peer.media.dropped.unknown_stream, 2000);
}

#[test]
fn a_source_that_changes_its_section_with_each_packet_ends_and_starts_and_no_more() {
    let mut peer = Peer::new(2);
    for n in 0..6_000u16 {
        peer.rtp(96, n, 7, Some(if n % 2 == 0 { "v0" } else { "v1" }), b"here and there");
    }
    // Nobody polls: what is told is bounded, and no stream starts of which nobody is told.
    assert!(peer.media.receivers.len() <= 1);
    assert!(peer.media.dropped.not_polled > 0);
    assert!(peer.events.len() <= MAX_EVENTS + 2, "{} events", peer.events.len());
    peer.rtp(96, 1, 8, Some("nowhere"), b"x");
    assert_eq!(peer.media.dropped.unknown_stream, 1);
}

#[test]
fn payload_types_that_were_never_agreed_make_nothing() {
    let mut peer = Peer::new(1);
    for n in 0..128 {
        if !(64..96).contains(&n) && n != 96 && n != 97 {
            peer.rtp(n, u16::from(n), 9, Some("v0"), b"x");
        }
    }
    assert_eq!((peer.media.receivers.len(), peer.packets()), (0, 0));
    assert_eq!(peer.media.dropped.unknown_format, 94);
    // Of two sections with the same payload type, a packet that names neither belongs to none.
    let mut peer = Peer::new(2);
    peer.rtp(96, 1, 9, None, b"x");
    assert_eq!(peer.media.dropped.unknown_stream, 1);
}

#[test]
fn numbers_that_leap_push_nothing_out_of_step() {
    // R48: what turns the roll-over counter forward must be authentic, and a leap is believed when it is followed.
    let mut peer = Peer::new(1);
    for step in [0u16, 30_000, 60_000, 24_464, 54_464, 18_928] {
        peer.rtp(96, step, 7, None, b"leap");
    }
    for n in 18_929..18_939 {
        peer.rtp(96, n, 7, None, b"on");
    }
    assert!(peer.packets() >= 10);
    let mut packet = BytesMut::from(&[0x80, 96, 0x4a, 0x38, 0, 0, 0, 0, 0, 0, 0, 7][..]);
    packet.put_bytes(0, 32);
    peer.media.handle_rtp(peer.now, packet, Ecn::NotEct, &mut peer.events);
    assert_eq!(peer.media.dropped.unauthentic, 1);
    let before = peer.packets();
    peer.rtp(96, 18_939, 7, None, b"on");
    assert_eq!(peer.packets(), before + 1);
}

#[test]
fn requests_that_are_repeated_count_once() {
    // R53.
    let mut peer = Peer::new(1);
    let id = peer.media.lines[0].as_ref().unwrap().agreed.transceiver;
    for n in 0..20 {
        let packet = OutgoingPacket::new(pt(96), 1000 + n, 0, &[1; 500]);
        peer.media.send_packet(peer.now, &mut peer.pool, id, None, &packet).unwrap();
    }
    for _ in 0..100 {
        peer.pass(Duration::from_millis(5));
        peer.drain();
    }
    let mut loss = BytesMut::new();
    (PictureLoss { sender: Ssrc(1), media: OURS }).emit(&mut loss, 100);
    let mut nack = BytesMut::new();
    Nack::emit(&mut nack, 1000, Ssrc(1), OURS, (0..=u16::MAX).map(Serial16));
    for _ in 0..100 {
        peer.rtcp(&loss);
        peer.rtcp(&nack);
    }
    let told = peer.events.iter().filter(|event| matches!(event, Event::KeyFrameRequested { .. }));
    assert_eq!(told.count(), 1);
    let (resent, _) = peer.drain();
    // Each at most once, and only as much as the budget allows of what was sent.
    assert!(resent <= 20, "{resent}");
}

#[test]
fn feedback_of_any_bytes_changes_nothing_that_grows() {
    let mut peer = Peer::new(1);
    let mut rng = Rng::new([3; 32], Stream::Rtp);
    for kind in 192..=223u8 {
        for count in 0..32u8 {
            let mut packet = vec![0x80 | count, kind, 0, 0];
            let words = u16::try_from(rng.below(40)).unwrap();
            packet[2..4].copy_from_slice(&words.to_be_bytes());
            packet.extend((0..4 * words).map(|_| u8::try_from(rng.below(256)).unwrap()));
            peer.rtcp(&packet);
            // A length that lies, and a packet that is cut.
            packet[3] = packet[3].wrapping_add(9);
            peer.rtcp(&packet);
            packet.truncate(packet.len() / 2);
            peer.rtcp(&packet);
        }
    }
    // R52: 65,535 statuses in a few bytes.
    let twcc =
        [0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0x3f, 0xff, 0xff, 0xff];
    peer.rtcp(&twcc);
    assert!(peer.events.len() < 200, "{} events", peer.events.len());
    peer.rtp(96, 1, 7, None, b"alive");
    assert_eq!(peer.packets(), 1);
}

#[test]
fn a_goodbye_ends_a_stream_and_it_may_come_again() {
    let mut peer = Peer::new(1);
    peer.rtp(96, 1, 7, None, b"x");
    let mut bye = BytesMut::new();
    Bye::emit(&mut bye, 100, &[Ssrc(7), Ssrc(8), OURS], "over").unwrap();
    peer.rtcp(&bye);
    assert_eq!(peer.media.receivers.len(), 0);
    let ended = peer.events.iter().filter(|event| matches!(event, Event::StreamEnded { .. }));
    assert_eq!(ended.count(), 1);
    peer.rtp(96, 2, 7, None, b"x");
    assert_eq!(peer.media.receivers.len(), 1);
}

#[test]
fn limits_are_acknowledged_once_for_all_that_came() {
    // RFC 5104 §4.2.2.
    let mut peer = Peer::new(1);
    for exponent in 0..50u32 {
        let mut request = vec![0x83, 205, 0, 4, 0, 0, 0, 7, 0, 0, 0, 0];
        request.extend(OURS.0.to_be_bytes());
        request.extend((exponent << 26 | 1000 << 9 | 40).to_be_bytes());
        peer.rtcp(&request);
    }
    let (_, notices) = peer.leave(&mut theirs());
    // The last of them, 1000 * 2^49, with as many digits as there is room for.
    let mut expected = vec![0x84, 205, 0, 4];
    expected.extend(OURS.0.to_be_bytes());
    expected.extend([0, 0, 0, 0, 0, 0, 0, 7]);
    expected.extend((42u32 << 26 | 128_000 << 9 | 40).to_be_bytes());
    assert_eq!(notices.iter().map(|notice| &notice[..]).collect::<Vec<_>>(), [&expected[..]]);
    peer.pass(Duration::from_millis(100));
    assert_eq!(peer.drain(), (0, 0));
}

#[test]
fn a_source_of_retransmissions_names_its_section_until_the_peer_has_reported_on_it() {
    // RFC 9143 §9.1: what the original says is of no help, for it says nothing once its own source is known.
    let mut peer = Peer::new(1);
    let mut inbound = theirs();
    let id = peer.media.lines[0].as_ref().unwrap().agreed.transceiver;
    let mid = |packet: &BytesMut| {
        let packet = Packet::parse(packet).unwrap();
        (packet.header().ssrc, packet.elements().find(1).map(<[u8]>::to_vec))
    };
    peer.report_on(OURS);
    for n in 0..3 {
        let packet = OutgoingPacket::new(pt(96), 1000 + n, 0, b"x");
        peer.media.send_packet(peer.now, &mut peer.pool, id, None, &packet).unwrap();
    }
    let (sent, _) = peer.leave(&mut inbound);
    assert_eq!(sent.iter().map(mid).collect::<Vec<_>>(), [(OURS, None), (OURS, None), (OURS, None)]);
    let mut again = |peer: &mut Peer, n: u16| {
        let mut nack = BytesMut::new();
        Nack::emit(&mut nack, 100, Ssrc(1), OURS, [Serial16(n)]);
        peer.rtcp(&nack);
        peer.pass(Duration::from_millis(10));
        peer.leave(&mut inbound).0.iter().map(mid).collect::<Vec<_>>()
    };
    let rtx = Ssrc(0x1235);
    assert_eq!(again(&mut peer, 1000), [(rtx, Some(b"v0".to_vec()))]);
    assert_eq!(again(&mut peer, 1001), [(rtx, Some(b"v0".to_vec()))]);
    peer.report_on(rtx);
    assert_eq!(again(&mut peer, 1002), [(rtx, None)]);
}

#[test]
fn frames_and_losses_that_nobody_polls_are_bounded() {
    // R68: a frame of one byte takes more than a byte.
    let mut peer = Peer::new(1);
    let id = peer.media.lines[0].as_ref().unwrap().agreed.transceiver;
    peer.media.set_level(id, MediaLevel::Frames);
    let send = |peer: &mut Peer, n: u16, payload: &[u8]| {
        let fields = Fields {
            marker: true,
            payload_type: pt(96),
            sequence: Serial16(n),
            timestamp: Serial32(u32::from(n) * 3000),
            ssrc: Ssrc(7),
        };
        peer.packet(fields, Some("v0"), payload);
    };
    (0..1000).for_each(|n| send(&mut peer, n, &[0x10, 1]));
    let frames = peer.events.iter().filter(|event| matches!(event, Event::Frame(_))).count();
    assert_eq!(frames, 1000);
    assert!(peer.media.waiting_bytes >= 1000 * size_of::<Event>());
    // Ends of frames without their start.
    (1000..8000).for_each(|n| send(&mut peer, n, &[0, 1]));
    assert!(peer.events.len() <= MAX_EVENTS + 2, "{} events", peer.events.len());
    assert!(peer.media.dropped.not_polled > 1000);
    for event in std::mem::take(&mut peer.events) {
        peer.media.on_polled(&event);
    }
    assert_eq!(peer.media.waiting_bytes, 0);
}

#[test]
fn what_is_forwarded_is_no_longer_than_what_came() {
    // R49: however much of it is padding.
    let mut peer = Peer::new(1);
    let id = peer.media.lines[0].as_ref().unwrap().agreed.transceiver;
    for (n, padding) in (0u16..).zip([1u8, 2, 100, 255]) {
        let mut packet = BytesMut::new();
        let (sequence, timestamp) = (Serial16(n), Serial32(0));
        Fields { marker: false, payload_type: pt(96), sequence, timestamp, ssrc: Ssrc(7) }.emit(
            &mut packet,
            &[],
            Form::OneByte,
            |w| _ = w.push(1, b"v0"),
        );
        packet.extend_from_slice(&[1; 50]);
        let short = packet.len();
        packet.put_bytes(0, usize::from(padding) - 1);
        packet.put_u8(padding);
        packet[0] |= 0x20;
        peer.outbound.protect_rtp(&mut packet, 0).unwrap();
        let len = packet.len();
        peer.media.handle_rtp(peer.now, packet, Ecn::NotEct, &mut peer.events);
        let Some(Event::Packet(came)) = peer.events.pop_back() else { panic!() };
        assert_eq!(came.payload(), [1; 50]);
        let rewrite = crate::sfu::Rewrite {
            sequence: 500 + u64::from(n),
            timestamp: 0,
            marker: false,
            numbers: crate::sfu::Numbers::Keep,
            dependency: None,
        };
        let Peer { media, pool, now, .. } = &mut peer;
        media.forward(*now, pool, id, None, pt(96), &came, &rewrite).unwrap();
        let left = peer.media.poll_transmit(peer.now, &mut peer.pool, 1).unwrap().contents.len();
        assert!(left <= len && left <= short + crate::srtp::MAX_RTP_OVERHEAD, "{left} of {len}");
    }
    // More padding than there is behind the header is no packet.
    let before = peer.media.dropped.malformed;
    let mut packet = BytesMut::from(&[0xa0, 96, 0, 9, 0, 0, 0, 0, 0, 0, 0, 7, 1, 1, 1, 200][..]);
    peer.outbound.protect_rtp(&mut packet, 0).unwrap();
    peer.media.handle_rtp(peer.now, packet, Ecn::NotEct, &mut peer.events);
    assert_eq!(peer.media.dropped.malformed, before + 1);
    assert_eq!(peer.packets(), 0);
}

#[test]
fn limits_of_any_size_leave_the_pacer_at_work_and_nothing_is_kept_before_the_keys() {
    // R54.
    let mut peer = Peer::new(1);
    let keys = peer.media.keys.take();
    let id = peer.media.lines[0].as_ref().unwrap().agreed.transceiver;
    let mut loss = BytesMut::new();
    (PictureLoss { sender: Ssrc(1), media: OURS }).emit(&mut loss, 100);
    (0..1000).for_each(|_| peer.rtcp(&loss));
    let packet = OutgoingPacket::new(pt(96), 1, 0, b"x");
    let early = peer.media.send_packet(peer.now, &mut peer.pool, id, None, &packet);
    assert_eq!(early, Err(SendMediaError::NotConnected));
    assert_eq!((peer.events.len(), peer.media.next_timeout()), (0, None));
    assert_eq!(peer.media.dropped.no_keys, 1000);
    peer.media.keys = keys;
    peer.media.control.uses.remb = true;
    let mut sequence = 1000;
    for bitrate in [0, 1, 30_000, 1_000_000, u64::MAX] {
        let mut remb = BytesMut::new();
        crate::rtp::rtcp::feedback::Remb::emit(&mut remb, 100, Ssrc(1), bitrate, &[OURS]).unwrap();
        peer.rtcp(&remb);
        for _ in 0..20 {
            let packet = OutgoingPacket::new(pt(96), sequence, 0, &[1; 1000]);
            peer.media.send_packet(peer.now, &mut peer.pool, id, None, &packet).unwrap();
            sequence += 1;
        }
        // 20 kB at the lowest ceiling that is believed take 6 s.
        let mut sent = 0;
        for _ in 0..700 {
            sent += peer.drain().0;
            peer.pass(Duration::from_millis(10));
        }
        assert_eq!(sent, 20, "at {bitrate} bit/s");
        assert!(peer.media.stats().bitrate_ceiling.unwrap() >= 30_000);
    }
}
