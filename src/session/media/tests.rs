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
use crate::rtp::header::Fields;
use crate::rtp::rtcp::feedback::{Nack, PictureLoss};
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
    let uri = "urn:ietf:params:rtp-hdrext:sdes:mid".to_owned();
    AgreedMedia {
        transceiver: id,
        section: 0,
        mid: Mid::new(mid),
        kind: MediaType::Video,
        direction: Direction::SendRecv,
        formats: vec![Format {
            codec: Codec::Vp8,
            clock_rate: 90_000,
            channels: 1,
            receive: pt(96),
            send: pt(96),
            remote_parameters: String::new(),
            local_parameters: String::new(),
            feedback: vp8.feedback,
            rtx: Some((pt(97), pt(97))),
        }],
        extensions: vec![AgreedExtension { id: 1, uri, direction: None }],
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
        #[allow(clippy::disallowed_methods)]
        let now = Instant::now() + Duration::from_secs(1000);
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
        let mut packet = BytesMut::new();
        let fields = Fields {
            marker: false,
            payload_type: pt(payload_type),
            sequence: Serial16(sequence),
            timestamp: Serial32(0),
            ssrc: Ssrc(ssrc),
        };
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

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.media.handle_timeout(self.now, &mut self.events);
    }

    fn packets(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Packet(_))).count()
    }
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
