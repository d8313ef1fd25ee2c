//! The nouns of media negotiation: what is spoken here, what is sent, and what was agreed (RFC 8829 §4.2.1, §5.10).

use std::borrow::Cow;
use std::sync::Arc;

use crate::sdp::{MediaSection, RidDirection, SimulcastStreams};
use crate::session::negotiate::codecs::{Capability, Format};
use crate::session::negotiate::transceivers::TransceiverId;
use crate::types::codec::{Codec, MediaType};
use crate::types::direction::Direction;
use crate::types::ids::{Mid, Rid, Ssrc};

/// What media the local side speaks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MediaConfig {
    /// Audio formats, the preferred one first. None turns audio down.
    pub audio: Vec<Capability>,
    /// Video formats, the preferred one first. None turns video down.
    pub video: Vec<Capability>,
    /// The URIs of header extensions for audio (RFC 8285 §5).
    pub audio_extensions: Vec<Cow<'static, str>>,
    /// The URIs of header extensions for video.
    pub video_extensions: Vec<Cow<'static, str>>,
    /// What a transceiver does that an offer of the peer has made. RFC 8829 §5.10 lets it receive only; one that
    /// reflects media sends too.
    pub incoming: Incoming,
    /// How media of such a transceiver is handed out.
    pub level: MediaLevel,
    /// Whether header extensions and CSRCs are encrypted, where the peer can do so too (RFC 9335). Off by default.
    pub cryptex: bool,
}

/// How received media is handed out, for one transceiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MediaLevel {
    /// RTP packets, as they arrive: for whoever forwards them.
    #[default]
    Packets,
    /// Encoded frames, whole and in order: for whoever plays or records them.
    Frames,
}

/// What becomes of media that the peer offers and no transceiver waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Incoming {
    /// It is received.
    #[default]
    Receive,
    /// It is received, and media is sent back in the same section.
    SendAndReceive,
    /// It is neither, until the application says so.
    Hold,
}

impl MediaConfig {
    /// The formats and header extensions that browsers speak.
    pub fn browser() -> Self {
        const SDES: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
        const H264: [&str; 3] = [
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f",
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f",
        ];
        let mut video = vec![
            Capability::video(Codec::Vp8, ""),
            Capability::video(Codec::Vp9, "profile-id=0"),
            Capability::video(Codec::Vp9, "profile-id=2"),
        ];
        video.extend(H264.map(|parameters| Capability::video(Codec::H264, parameters)));
        video.push(Capability::video(Codec::Av1, "level-idx=5;profile=0;tier=0"));
        video.push(Capability::video(Codec::H265, "level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST"));
        MediaConfig {
            audio: vec![
                Capability::audio(Codec::Opus, 48_000, 2, "minptime=10;useinbandfec=1"),
                Capability::audio(Codec::Red, 48_000, 2, ""),
                Capability::audio(Codec::G722, 8_000, 1, ""),
                Capability::audio(Codec::Pcmu, 8_000, 1, ""),
                Capability::audio(Codec::Pcma, 8_000, 1, ""),
                Capability::audio(Codec::ComfortNoise, 8_000, 1, ""),
                Capability::audio(Codec::TelephoneEvent, 48_000, 1, ""),
                Capability::audio(Codec::TelephoneEvent, 8_000, 1, ""),
            ],
            video,
            audio_extensions: [
                "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
                "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
                "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
                SDES,
            ]
            .map(Cow::Borrowed)
            .to_vec(),
            video_extensions: [
                "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
                "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
                SDES,
                "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
                "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
                "urn:3gpp:video-orientation",
                "urn:ietf:params:rtp-hdrext:toffset",
                "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
                "http://www.webrtc.org/experiments/rtp-hdrext/color-space",
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension",
                "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00",
            ]
            .map(Cow::Borrowed)
            .to_vec(),
            incoming: Incoming::Receive,
            level: MediaLevel::Packets,
            cryptex: false,
        }
    }

    /// Whether there is no format at all, so that all media is turned down.
    pub fn is_empty(&self) -> bool {
        self.audio.is_empty() && self.video.is_empty()
    }

    /// Adds forward error correction for video: RED with ULPFEC (RFC 2198, RFC 5109), and FlexFEC. A browser that
    /// agrees may wrap all of its video in RED. What is sent is protected once
    /// [`Rtc::set_protection`](crate::Rtc::set_protection) says so.
    #[must_use]
    pub fn with_video_fec(mut self) -> Self {
        self.video.extend([Capability::red_video(), Capability::ulpfec(), Capability::flexfec()]);
        self
    }

    pub(super) fn printable(mut self) -> Self {
        for capabilities in [&mut self.audio, &mut self.video] {
            capabilities.retain(|capability| {
                capability.parameters.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
            });
        }
        for extensions in [&mut self.audio_extensions, &mut self.video_extensions] {
            extensions.retain(|uri| !uri.is_empty() && uri.bytes().all(|byte| byte.is_ascii_graphic()));
        }
        self
    }

    pub(super) fn capabilities(&self, kind: MediaType) -> &[Capability] {
        match kind {
            MediaType::Audio => &self.audio,
            MediaType::Video => &self.video,
        }
    }

    pub(super) fn extensions(&self, kind: MediaType) -> &[Cow<'static, str>] {
        match kind {
            MediaType::Audio => &self.audio_extensions,
            MediaType::Video => &self.video_extensions,
        }
    }
}

/// What is sent in a section.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sender {
    /// The stream that the track belongs to (`a=msid`); a dash for none.
    pub stream: Label,
    /// The track.
    pub track: Label,
    /// The canonical name, the same for all that is sent together (RFC 3550 §6.5.1).
    pub cname: Label,
    /// The RTP streams: one, or one for each layer of a simulcast, in order.
    pub encodings: Vec<Encoding>,
}

/// One RTP stream to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    /// Its name within the section; needed where there are several.
    pub rid: Option<Rid>,
    /// Its source.
    pub ssrc: Ssrc,
    /// The source of its retransmissions.
    pub rtx: Option<Ssrc>,
    /// The source of its parity, where FlexFEC is agreed upon.
    pub fec: Option<Ssrc>,
}

/// A word that may stand in a description: 1 to 64 printable characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label(String);

impl Default for Label {
    fn default() -> Self {
        Label("-".to_owned())
    }
}

impl Label {
    /// The label `text`; `None` when it is empty, longer than 64 bytes, or not printable ASCII without spaces.
    pub fn new(text: &str) -> Option<Self> {
        let fine = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        fine.then(|| Label(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What was agreed for one section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgreedMedia {
    /// Whose it is.
    pub transceiver: TransceiverId,
    /// The section's place.
    pub section: usize,
    /// The section's name, by which packets are told apart (RFC 9143 §9.2).
    pub mid: Option<Mid>,
    /// What is carried.
    pub kind: MediaType,
    /// What the local side may do.
    pub direction: Direction,
    /// The formats that both speak, in order of preference.
    pub formats: Arc<[Format]>,
    /// The header extensions that both speak.
    pub extensions: Arc<[AgreedExtension]>,
    /// Whether RTCP packets may be reduced in size (RFC 5506 §5).
    pub rtcp_reduced_size: bool,
    /// Whether one- and two-byte header extensions may be mixed (RFC 8285 §6).
    pub mixed_extensions: bool,
    /// Whether header extensions and CSRCs are encrypted (RFC 9335 §4).
    pub cryptex: bool,
    /// What the peer sends.
    pub remote: RemoteMedia,
    /// What is sent here, if the direction allows.
    pub sender: Sender,
    /// The layers that the peer wants of what is sent; empty without simulcast.
    pub send_rids: Vec<Rid>,
    /// How what arrives is handed out.
    pub level: MediaLevel,
}

/// A header extension that both sides speak (RFC 8285 §6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgreedExtension {
    /// Its id on the wire.
    pub id: u8,
    /// What it is.
    pub uri: Cow<'static, str>,
    /// Which way it goes, when not that of the section; seen from here.
    pub direction: Option<Direction>,
}

/// What a section of the peer says of what it sends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RemoteMedia {
    /// Streams and tracks (`a=msid`); streams may be several, and the dash stands for none.
    pub msids: Vec<(String, Option<String>)>,
    /// The sources, in order (`a=ssrc`), each once, at most [`MAX_SSRCS`].
    pub ssrcs: Vec<Ssrc>,
    /// Sources and the sources of their retransmissions (`a=ssrc-group:FID`).
    pub retransmissions: Vec<(Ssrc, Ssrc)>,
    /// The layers that will be sent (`a=rid`, `a=simulcast`), in order.
    pub rids: Vec<Rid>,
}

/// The most sources that are taken from one section.
pub const MAX_SSRCS: usize = 64;

impl RemoteMedia {
    pub(super) fn read(section: &MediaSection<'_>) -> Self {
        let rtp = &section.rtp;
        let mut ssrcs = Vec::new();
        for line in &rtp.ssrcs {
            if ssrcs.len() < MAX_SSRCS && !ssrcs.contains(&line.ssrc) {
                ssrcs.push(line.ssrc);
            }
        }
        let groups = rtp.ssrc_groups.iter().filter(|group| group.semantics == "FID").take(MAX_SSRCS);
        let retransmissions = groups.filter_map(|group| {
            let mut pair = group.ssrcs();
            Some((pair.next()?, pair.next()?))
        });
        let msids = rtp.msids.iter().take(MAX_SSRCS);
        RemoteMedia {
            msids: msids.map(|m| (m.stream.to_owned(), m.track.map(str::to_owned))).collect(),
            ssrcs,
            retransmissions: retransmissions.collect(),
            rids: rids(section, RidDirection::Send),
        }
    }
}

/// The layers of a section in one direction: in the order of `a=simulcast`, the first alternative of each, as far
/// as there is an `a=rid` for it (RFC 8853 §5.2).
pub(super) fn rids(section: &MediaSection<'_>, direction: RidDirection) -> Vec<Rid> {
    let lines = section.rtp.rids.iter().filter(|line| line.direction == direction);
    let known: Vec<Rid> = lines.filter_map(|line| Rid::new(line.id)).collect();
    let streams = section.rtp.simulcast.and_then(|simulcast| match direction {
        RidDirection::Send => simulcast.send,
        RidDirection::Recv => simulcast.recv,
    });
    let mut rids = Vec::new();
    let listed = streams.iter().flat_map(SimulcastStreams::iter);
    for rid in listed.filter_map(|mut alternatives| Rid::new(alternatives.next()?.rid)) {
        if known.contains(&rid) && !rids.contains(&rid) {
            rids.push(rid);
        }
    }
    // RFC 8851 §4: a rid without simulcast names the only stream.
    if streams.is_none() { known } else { rids }
}
