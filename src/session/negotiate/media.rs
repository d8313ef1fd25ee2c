//! Media sections: transceivers on one side, what was agreed for each on the other (RFC 8829 §4.2.1, §5.10).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::sdp::{
    Attribute, Extension, FormatParameters, MAX_RIDS, MediaSection, Msid, Parameters, RidDirection, RidLine,
    Rtp, RtpMap, Simulcast, SimulcastStreams, SsrcGroup, SsrcLine,
};
use crate::session::negotiate::codecs::{self, Capability, Format, Numbers};
use crate::types::codec::{Codec, MediaType};
use crate::types::direction::Direction;
use crate::types::ids::{Mid, Pt, Rid, Ssrc};

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

    fn extensions(&self, kind: MediaType) -> &[Cow<'static, str>] {
        match kind {
            MediaType::Audio => &self.audio_extensions,
            MediaType::Video => &self.video_extensions,
        }
    }
}

/// Names a transceiver of one connection, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransceiverId(pub(super) usize);

impl TransceiverId {
    /// Its place among the transceivers of its connection, in the order in which they were made.
    pub(crate) fn index(self) -> usize {
        self.0
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

/// A way for media, made by the application or by an offer of the peer.
#[derive(Debug, Clone)]
pub(super) struct Transceiver {
    pub(super) kind: MediaType,
    /// What the application wants.
    pub(super) direction: Direction,
    pub(super) sender: Sender,
    pub(super) level: MediaLevel,
    /// The layers that are asked for in an offer of ours, when it receives.
    pub(super) receive_rids: Vec<Rid>,
    /// Its section, once agreed upon.
    pub(super) section: Option<usize>,
    pub(super) is_stopped: bool,
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

/// The most transceivers that one connection has, stopped ones included.
pub const MAX_TRANSCEIVERS: usize = 4096;

/// The most sources that are taken from one section.
pub const MAX_SSRCS: usize = 64;

impl RemoteMedia {
    fn read(section: &MediaSection<'_>) -> Self {
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
fn rids(section: &MediaSection<'_>, direction: RidDirection) -> Vec<Rid> {
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

/// What the local side says in a section: agreed upon, or offered.
#[derive(Debug, Clone)]
pub(super) struct LocalMedia {
    pub(super) transceiver: TransceiverId,
    pub(super) kind: MediaType,
    pub(super) direction: Direction,
    /// What the application wanted when this was said.
    pub(super) wanted: Direction,
    /// Shared with what the session was told, as is the next.
    pub(super) formats: Arc<[Format]>,
    pub(super) extensions: Arc<[AgreedExtension]>,
    pub(super) sender: Sender,
    pub(super) send_rids: Vec<Rid>,
    pub(super) receive_rids: Vec<Rid>,
    pub(super) rtcp_reduced_size: bool,
    pub(super) mixed_extensions: bool,
    pub(super) cryptex: bool,
    has_simulcast: bool,
    text: Text,
}

/// Words of a section that are put together from numbers.
#[derive(Debug, Clone, Default)]
struct Text {
    formats: String,
    parameters: Vec<(Pt, String)>,
    msid: String,
    group: Option<String>,
    parity_group: Option<String>,
    send: String,
    receive: String,
}

/// Ids of header extensions over all sections: in a bundle one id means one extension (RFC 9143 §9.2 needs the
/// MID's before it is known which section a packet belongs to).
#[derive(Debug, Clone, Default)]
pub(super) struct ExtensionIds(BTreeMap<u8, String>);

impl ExtensionIds {
    /// Notes that `id` means `uri`; false when it means something else already.
    pub(super) fn hold(&mut self, id: u8, uri: &str) -> bool {
        self.0.entry(id).or_insert_with(|| uri.to_owned()) == uri
    }

    /// The id of `uri`, a new one if need be: 1 to 14, which one-byte headers can hold, then 16 to 255.
    fn give(&mut self, uri: &str) -> Option<u8> {
        let known = self.0.iter().find(|(_, held)| *held == uri).map(|(id, _)| *id);
        let id = known.or_else(|| (1..=14).chain(16..=255).find(|id| !self.0.contains_key(id)))?;
        self.hold(id, uri);
        Some(id)
    }
}

impl LocalMedia {
    /// The section for `transceiver` in an offer of ours.
    pub(super) fn offer(
        id: TransceiverId,
        transceiver: &Transceiver,
        config: &MediaConfig,
        numbers: &mut Numbers,
        ids: &mut ExtensionIds,
    ) -> Self {
        let extensions = config.extensions(transceiver.kind).iter().filter_map(|uri| {
            Some(AgreedExtension { id: ids.give(uri)?, uri: uri.clone(), direction: None })
        });
        LocalMedia {
            transceiver: id,
            kind: transceiver.kind,
            direction: transceiver.direction,
            wanted: transceiver.direction,
            formats: numbers.offer(config.capabilities(transceiver.kind)).into(),
            extensions: extensions.collect(),
            sender: transceiver.sender.clone(),
            send_rids: layers(&transceiver.sender),
            receive_rids: printable(transceiver.receive_rids.iter().copied()),
            rtcp_reduced_size: true,
            mixed_extensions: true,
            cryptex: config.cryptex,
            has_simulcast: transceiver.sender.encodings.len() > 1 || transceiver.receive_rids.len() > 1,
            text: Text::default(),
        }
        .rendered()
    }

    /// The section as offered again: what was agreed upon, in the direction that is wanted now.
    pub(super) fn offered_again(&self, transceiver: &Transceiver) -> Self {
        LocalMedia {
            direction: transceiver.direction,
            wanted: transceiver.direction,
            sender: transceiver.sender.clone(),
            send_rids: if self.send_rids.is_empty() {
                layers(&transceiver.sender)
            } else {
                self.send_rids.clone()
            },
            ..self.clone()
        }
        .rendered()
    }

    /// The reply to a section of the peer's offer, whose formats in common are `formats`.
    pub(super) fn answer(
        id: TransceiverId,
        transceiver: &Transceiver,
        section: &MediaSection<'_>,
        formats: Vec<Format>,
        config: &MediaConfig,
        ids: &mut ExtensionIds,
    ) -> Self {
        let wanted = rids(section, RidDirection::Recv);
        LocalMedia {
            transceiver: id,
            kind: transceiver.kind,
            // RFC 3264 §6.1: what the offer allows, and what is wanted here.
            direction: transceiver.direction.and(section.direction.unwrap_or_default().reversed()),
            wanted: transceiver.direction,
            formats: formats.into(),
            extensions: common_extensions(section, config.extensions(transceiver.kind), ids).into(),
            sender: transceiver.sender.clone(),
            send_rids: layers(&transceiver.sender).into_iter().filter(|rid| wanted.contains(rid)).collect(),
            receive_rids: rids(section, RidDirection::Send),
            rtcp_reduced_size: section.rtp.rtcp_rsize,
            mixed_extensions: section.rtp.extmap_allow_mixed,
            cryptex: config.cryptex && section.rtp.cryptex,
            has_simulcast: section.rtp.simulcast.is_some(),
            text: Text::default(),
        }
        .rendered()
    }

    /// What remains of an offered section when the peer has answered it; `None` when no format does.
    pub(super) fn answered(&self, section: &MediaSection<'_>) -> Option<Self> {
        let formats = codecs::accept(section, &self.formats);
        let theirs: BTreeMap<&str, &Extension<'_>> =
            section.rtp.extensions.iter().map(|extension| (extension.uri, extension)).collect();
        let extensions = self.extensions.iter().filter(|extension| theirs.contains_key(&*extension.uri));
        let wanted = rids(section, RidDirection::Recv);
        let given = rids(section, RidDirection::Send);
        let answered = LocalMedia {
            direction: self.direction.and(section.direction.unwrap_or_default().reversed()),
            formats: formats.into(),
            extensions: extensions.cloned().collect(),
            send_rids: self.send_rids.iter().copied().filter(|rid| wanted.contains(rid)).collect(),
            receive_rids: self.receive_rids.iter().copied().filter(|rid| given.contains(rid)).collect(),
            rtcp_reduced_size: section.rtp.rtcp_rsize,
            mixed_extensions: section.rtp.extmap_allow_mixed,
            cryptex: self.cryptex && section.rtp.cryptex,
            ..self.clone()
        };
        (!answered.formats.is_empty()).then_some(answered)
    }

    /// What the session is told.
    pub(super) fn agreed(
        &self,
        section: usize,
        mid: Option<Mid>,
        remote: &MediaSection<'_>,
        level: MediaLevel,
    ) -> AgreedMedia {
        AgreedMedia {
            transceiver: self.transceiver,
            section,
            mid,
            kind: self.kind,
            direction: self.direction,
            formats: self.formats.clone(),
            extensions: self.extensions.clone(),
            rtcp_reduced_size: self.rtcp_reduced_size,
            mixed_extensions: self.mixed_extensions,
            cryptex: self.cryptex,
            remote: RemoteMedia::read(remote),
            sender: self.sender.clone(),
            send_rids: self.send_rids.clone(),
            level,
        }
    }

    /// The exchange is complete: no description is written from this before it is offered again, with its words put
    /// together anew.
    pub(super) fn settle(&mut self) {
        self.text = Text::default();
    }

    fn rendered(mut self) -> Self {
        let mut pts = Vec::new();
        let mut parameters = Vec::new();
        for format in self.formats.iter() {
            pts.push(format.receive.value().to_string());
            if !format.local_parameters.is_empty() {
                parameters.push((format.receive, format.local_parameters.clone()));
            }
            if let Some((rtx, _)) = format.rtx {
                pts.push(rtx.value().to_string());
                parameters.push((rtx, format!("apt={}", format.receive.value())));
            }
        }
        let names = |rids: &[Rid]| rids.iter().map(Rid::as_str).collect::<Vec<_>>().join(";");
        let has_rtx = self.formats.iter().any(|format| format.rtx.is_some());
        let has_flexfec = self.formats.iter().any(|format| format.codec == Codec::Flexfec);
        let parity = self.sender.encodings.first().filter(|_| has_flexfec);
        let first = self.sender.encodings.first().filter(|_| has_rtx);
        self.text = Text {
            formats: pts.join(" "),
            parameters,
            msid: format!("{} {}", self.sender.stream.0, self.sender.track.0),
            group: first.and_then(|e| Some(format!("{} {}", e.ssrc.0, e.rtx?.0))),
            parity_group: parity.and_then(|e| Some(format!("{} {}", e.ssrc.0, e.fec?.0))),
            send: names(&self.send_rids),
            receive: names(&self.receive_rids),
        };
        self
    }

    /// The section's lines about RTP.
    pub(super) fn fill<'a>(&'a self, section: &mut MediaSection<'a>) {
        section.formats = &self.text.formats;
        section.direction = Some(self.direction);
        let (mut maps, mut feedback) = (Vec::new(), Vec::new());
        for format in self.formats.iter() {
            let Format { codec, clock_rate, channels, receive: pt, .. } = *format;
            let channels = (channels > 1).then_some(channels);
            maps.push(RtpMap { pt, encoding: codec.name(), clock_rate, channels });
            if let Some((pt, _)) = format.rtx {
                maps.push(RtpMap { pt, encoding: Codec::Rtx.name(), clock_rate, channels: None });
            }
            let kinds = format.feedback.named().into_iter().filter(|(_, is_set)| *is_set);
            feedback.extend(kinds.map(|(kind, _)| crate::sdp::Feedback { pt: Some(pt), kind }));
        }
        let line = |id, direction| RidLine { id, direction, restrictions: Parameters("") };
        let send = self.send_rids.iter().map(|rid| line(rid.as_str(), RidDirection::Send));
        let receive = self.receive_rids.iter().map(|rid| line(rid.as_str(), RidDirection::Recv));
        let streams =
            |text: &'a str| (self.has_simulcast && !text.is_empty()).then_some(SimulcastStreams(text));
        let simulcast = Simulcast { send: streams(&self.text.send), recv: streams(&self.text.receive) };
        section.rtp = Rtp {
            rtcp_mux: true,
            rtcp_rsize: self.rtcp_reduced_size,
            extmap_allow_mixed: self.mixed_extensions,
            cryptex: self.cryptex,
            maps,
            feedback,
            format_parameters: self
                .text
                .parameters
                .iter()
                .map(|(pt, text)| FormatParameters { pt: *pt, parameters: Parameters(text) })
                .collect(),
            extensions: self
                .extensions
                .iter()
                .map(|e| Extension { id: e.id.into(), direction: e.direction, uri: &e.uri, attributes: None })
                .collect(),
            rids: send.chain(receive).collect(),
            simulcast: (simulcast != Simulcast::default()).then_some(simulcast),
            ..Rtp::default()
        };
        if self.direction.sends() {
            self.fill_sender(&mut section.rtp);
        }
    }

    /// What is sent: its track, and its sources unless they are told apart by rid (RFC 8829 §5.2.1).
    fn fill_sender<'a>(&'a self, rtp: &mut Rtp<'a>) {
        rtp.msids.push(Msid { stream: &self.sender.stream.0, track: Some(&self.sender.track.0) });
        if !self.send_rids.is_empty() {
            return;
        }
        rtp.ssrc_groups = self.text.group.iter().map(|group| SsrcGroup::new("FID", group)).collect();
        // RFC 5956 §4.3: which source repairs which.
        let parity = self.text.parity_group.iter();
        rtp.ssrc_groups.extend(parity.map(|group| SsrcGroup::new("FEC-FR", group)));
        let (has_rtx, has_parity) = (self.text.group.is_some(), self.text.parity_group.is_some());
        let first = self.sender.encodings.first();
        let others = |e: &Encoding| [e.rtx.filter(|_| has_rtx), e.fec.filter(|_| has_parity)];
        let sources = first.into_iter().flat_map(|e| [Some(e.ssrc)].into_iter().chain(others(e))).flatten();
        for ssrc in sources {
            let line = |name, value| SsrcLine { ssrc, attribute: Attribute { name, value: Some(value) } };
            rtp.ssrcs.push(line("cname", &self.sender.cname.0));
            rtp.ssrcs.push(line("msid", &self.text.msid));
        }
    }
}

/// The layers of a simulcast; empty for a single stream.
fn layers(sender: &Sender) -> Vec<Rid> {
    if sender.encodings.len() < 2 {
        return Vec::new();
    }
    printable(sender.encodings.iter().filter_map(|encoding| encoding.rid))
}

/// The rids that may stand in a description (RFC 8851 §10), each once, as many as are read again.
fn printable(rids: impl Iterator<Item = Rid>) -> Vec<Rid> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let mut fine = Vec::new();
    for rid in rids.filter(|rid| rid.as_str().bytes().all(is_fine)) {
        if fine.len() < MAX_RIDS / 2 && !fine.contains(&rid) {
            fine.push(rid);
        }
    }
    fine
}

/// The offered extensions that are spoken here, under the ids of the offer (RFC 8285 §6).
fn common_extensions(
    section: &MediaSection<'_>,
    ours: &[Cow<'static, str>],
    ids: &mut ExtensionIds,
) -> Vec<AgreedExtension> {
    let mut extensions = Vec::<AgreedExtension>::new();
    for offered in &section.rtp.extensions {
        // RFC 8285 §5: ids from 4096 on are for the answerer to map, which nobody asks for.
        let Ok(id) = u8::try_from(offered.id) else { continue };
        let is_new = extensions.iter().all(|held| held.id != id && held.uri != offered.uri);
        let known = ours.iter().find(|uri| *uri == offered.uri).filter(|_| is_new);
        if let Some(uri) = known.filter(|_| ids.hold(id, offered.uri)) {
            let direction = offered.direction.map(Direction::reversed);
            extensions.push(AgreedExtension { id, uri: uri.clone(), direction });
        }
    }
    extensions
}
