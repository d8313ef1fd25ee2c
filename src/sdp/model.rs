//! A description as typed values that borrow from its text (RFC 8866, and the attributes of WebRTC).
//!
//! The model is flat, as the text is: what belongs together by a number (a payload type's `rtpmap`, `fmtp` and
//! `rtcp-fb` lines) is joined by whoever negotiates, not here.

use std::fmt;

use crate::types::direction::Direction;
use crate::types::fingerprint::Fingerprint;
use crate::types::ids::{Pt, Ssrc};
use crate::types::setup::Setup;

/// A whole session description (RFC 8866 §5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description<'a> {
    /// `o=`: who made the description, and which version of it this is.
    pub origin: Origin<'a>,
    /// `s=`: the session's name; WebRTC writes a dash (RFC 8829 §5.2.1).
    pub name: &'a str,
    /// `t=`: start and stop; WebRTC writes two zeros (RFC 8829 §5.2.1).
    pub timing: &'a str,
    /// `c=` before the first media section.
    pub connection: Option<&'a str>,
    /// Other lines before the first media section that are no attributes, in the order of RFC 8866 §5.
    pub lines: Vec<ExtraLine<'a>>,
    /// `a=group`: sections that belong together (RFC 5888 §5); `BUNDLE` is one (RFC 9143 §7.1).
    pub groups: Vec<Group<'a>>,
    /// `a=ice-lite` (RFC 8839 §5.3).
    pub ice_lite: bool,
    /// `a=extmap-allow-mixed`: one- and two-byte header extensions in one stream (RFC 8285 §6).
    pub extmap_allow_mixed: bool,
    /// `a=msid-semantic` (an early draft of RFC 8830); written by browsers, read by nobody.
    pub msid_semantic: Option<&'a str>,
    /// The direction of sections that do not have their own (RFC 8866 §6.7).
    pub direction: Option<Direction>,
    /// Transport attributes for sections that do not have their own.
    pub transport: Transport<'a>,
    /// Attributes that are not known here, in their order.
    pub other: Vec<Attribute<'a>>,
    /// The media sections, in their order, which is their identity in offer and answer (RFC 3264 §5.1).
    pub media: Vec<MediaSection<'a>>,
}

/// `o=` (RFC 8866 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// A name, or a dash.
    pub username: &'a str,
    /// The session's number, the same in all of its descriptions.
    pub session_id: u64,
    /// Grows with every change of the description.
    pub version: u64,
    /// Network type, address type and address; WebRTC writes one that means nothing.
    pub address: &'a str,
}

impl Default for Origin<'_> {
    fn default() -> Self {
        Origin { username: "-", session_id: 0, version: 0, address: "IN IP4 127.0.0.1" }
    }
}

/// A line that is neither an attribute nor read here, such as `b=` or `i=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtraLine<'a> {
    /// The letter before the equals sign.
    pub kind: u8,
    /// What stands behind it.
    pub value: &'a str,
}

/// An attribute that is not known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// What stands before the first colon.
    pub name: &'a str,
    /// What stands behind it, if there is one.
    pub value: Option<&'a str>,
}

/// `a=group` (RFC 5888 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group<'a> {
    /// Why the sections belong together, such as `BUNDLE`.
    pub semantics: &'a str,
    mids: &'a str,
}

impl<'a> Group<'a> {
    /// A group of the sections whose ids stand in `mids`, separated by spaces.
    pub fn new(semantics: &'a str, mids: &'a str) -> Self {
        Group { semantics, mids }
    }

    /// The ids of the sections, in the order of the group.
    pub fn mids(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        self.mids.split_ascii_whitespace()
    }

    /// The ids as one text.
    pub fn text(&self) -> &'a str {
        self.mids
    }
}

/// How a transport is found and secured: attributes that stand in a section, or before the first for all.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Transport<'a> {
    /// `a=ice-ufrag` (RFC 8839 §5.4).
    pub ice_ufrag: Option<&'a str>,
    /// `a=ice-pwd` (RFC 8839 §5.4); secret.
    pub ice_pwd: Option<&'a str>,
    /// `a=ice-options`, separated by spaces (RFC 8839 §5.6).
    pub ice_options: Option<&'a str>,
    /// `a=fingerprint` (RFC 8122 §5). Those made with a hash that is not accepted are among the unknown attributes.
    pub fingerprints: Vec<Fingerprint>,
    /// `a=setup` (RFC 4145 §4).
    pub setup: Option<Setup>,
    /// `a=tls-id` (RFC 8842 §4).
    pub tls_id: Option<&'a str>,
}

impl<'a> Transport<'a> {
    /// Whether `option` is among the ICE options, such as `trickle` or `ice2`.
    pub fn has_ice_option(&self, option: &str) -> bool {
        self.ice_options.is_some_and(|options| options.split_ascii_whitespace().any(|o| o == option))
    }
}

impl fmt::Debug for Transport<'_> {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("ice_ufrag", &self.ice_ufrag)
            .field("ice_pwd", &self.ice_pwd.map(|_| ".."))
            .field("ice_options", &self.ice_options)
            .field("fingerprints", &self.fingerprints)
            .field("setup", &self.setup)
            .field("tls_id", &self.tls_id)
            .finish()
    }
}

/// What kind of media a section carries (RFC 8866 §5.14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MediaKind<'a> {
    /// `audio`
    Audio,
    /// `video`
    Video,
    /// `application`: data channels among others (RFC 8841 §6).
    #[default]
    Application,
    /// Any other, such as `text` or `image`.
    Other(&'a str),
}

impl<'a> MediaKind<'a> {
    /// The kind called `name`.
    pub fn from_name(name: &'a str) -> Self {
        match name {
            "audio" => MediaKind::Audio,
            "video" => MediaKind::Video,
            "application" => MediaKind::Application,
            _ => MediaKind::Other(name),
        }
    }

    /// The name as it stands in `m=`.
    pub fn name(self) -> &'a str {
        match self {
            MediaKind::Audio => "audio",
            MediaKind::Video => "video",
            MediaKind::Application => "application",
            MediaKind::Other(name) => name,
        }
    }
}

/// A media section: an `m=` line and what follows it (RFC 8866 §5.14).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MediaSection<'a> {
    /// What is carried.
    pub kind: MediaKind<'a>,
    /// The port; zero rejects the section (RFC 3264 §6), or holds its place in a bundle (RFC 9143 §6).
    pub port: u16,
    /// How many ports, when the line says so.
    pub port_count: Option<u16>,
    /// The protocols, separated by slashes.
    pub protocol: &'a str,
    /// Payload types or what else the protocol takes, separated by spaces.
    pub formats: &'a str,
    /// `c=`
    pub connection: Option<&'a str>,
    /// Other lines that are no attributes, in the order of RFC 8866 §5.
    pub lines: Vec<ExtraLine<'a>>,
    /// `a=mid` (RFC 5888 §4).
    pub mid: Option<&'a str>,
    /// `a=sendrecv` and its kin (RFC 8866 §6.7).
    pub direction: Option<Direction>,
    /// `a=bundle-only` (RFC 9143 §6).
    pub bundle_only: bool,
    /// `a=ice-ufrag` and what else concerns the transport.
    pub transport: Transport<'a>,
    /// The values of `a=candidate` (RFC 8839 §5.1). They stay text here: kinds that are not known, and names that
    /// cannot be resolved, are no reason to refuse a description.
    pub candidates: Vec<&'a str>,
    /// `a=end-of-candidates` (RFC 8840 §8.2).
    pub end_of_candidates: bool,
    /// What concerns SCTP.
    pub sctp: Sctp<'a>,
    /// What concerns RTP.
    pub rtp: Rtp<'a>,
    /// Attributes that are not known here, in their order.
    pub other: Vec<Attribute<'a>>,
}

impl<'a> MediaSection<'a> {
    /// The formats, one by one.
    pub fn formats(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        self.formats.split_ascii_whitespace()
    }

    /// Whether the section is turned down: port zero, unless that only holds its place (RFC 9143 §6).
    pub fn is_rejected(&self) -> bool {
        self.port == 0 && !self.bundle_only
    }

    /// Whether SCTP over DTLS is spoken, in the form of RFC 8841 §4 or of its drafts (`DTLS/SCTP`).
    pub fn is_sctp(&self) -> bool {
        matches!(self.protocol, "UDP/DTLS/SCTP" | "TCP/DTLS/SCTP" | "DTLS/SCTP")
    }

    /// Whether the section is written as the drafts of RFC 8841 had it: the port as format, and `a=sctpmap`.
    pub fn is_legacy_sctp(&self) -> bool {
        self.protocol == "DTLS/SCTP"
    }

    /// Whether RTP over DTLS-keyed SRTP is spoken (RFC 5764 §8, RFC 8829 §5.1.2: any of these names is taken).
    pub fn is_rtp(&self) -> bool {
        const PROTOCOLS: [&str; 6] = [
            "UDP/TLS/RTP/SAVPF",
            "UDP/TLS/RTP/SAVP",
            "TCP/DTLS/RTP/SAVPF",
            "TCP/DTLS/RTP/SAVP",
            "RTP/SAVPF",
            "RTP/SAVP",
        ];
        PROTOCOLS.contains(&self.protocol)
    }

    /// The peer's SCTP port: `a=sctp-port`, or the format in the form of the drafts.
    pub fn sctp_port(&self) -> Option<u16> {
        let legacy = || self.is_legacy_sctp().then(|| self.formats().next()?.parse().ok()).flatten();
        self.sctp.port.or_else(legacy)
    }
}

/// The SCTP attributes of a section.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sctp<'a> {
    /// `a=sctp-port` (RFC 8841 §5.1).
    pub port: Option<u16>,
    /// `a=max-message-size` in bytes; zero means any (RFC 8841 §6.1).
    pub max_message_size: Option<u64>,
    /// `a=sctpmap` of the drafts of RFC 8841: port, protocol, streams.
    pub map: Option<&'a str>,
    /// `a=sctp-init`: an INIT chunk in base64 (draft-hancke-tsvwg-snap).
    pub init: Option<&'a str>,
}

/// The RTP attributes of a section, each in the order of the text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rtp<'a> {
    /// `a=rtcp-mux` (RFC 5761 §5.1.1).
    pub rtcp_mux: bool,
    /// `a=rtcp-mux-only` (RFC 8858 §3).
    pub rtcp_mux_only: bool,
    /// `a=rtcp-rsize` (RFC 5506 §5).
    pub rtcp_rsize: bool,
    /// `a=extmap-allow-mixed` (RFC 8285 §6).
    pub extmap_allow_mixed: bool,
    /// `a=cryptex` (RFC 9335 §4).
    pub cryptex: bool,
    /// `a=rtpmap`; at most one for each payload type.
    pub maps: Vec<RtpMap<'a>>,
    /// `a=fmtp`
    pub format_parameters: Vec<FormatParameters<'a>>,
    /// `a=rtcp-fb`
    pub feedback: Vec<Feedback<'a>>,
    /// `a=extmap`
    pub extensions: Vec<Extension<'a>>,
    /// `a=rid`
    pub rids: Vec<RidLine<'a>>,
    /// `a=simulcast`
    pub simulcast: Option<Simulcast<'a>>,
    /// `a=msid`
    pub msids: Vec<Msid<'a>>,
    /// `a=ssrc`
    pub ssrcs: Vec<SsrcLine<'a>>,
    /// `a=ssrc-group`
    pub ssrc_groups: Vec<SsrcGroup<'a>>,
    /// `a=ptime` in milliseconds (RFC 8866 §6.4).
    pub ptime: Option<u32>,
    /// `a=maxptime` in milliseconds (RFC 8866 §6.5).
    pub maxptime: Option<u32>,
}

/// `a=rtpmap` (RFC 8866 §6.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpMap<'a> {
    /// The payload type.
    pub pt: Pt,
    /// The encoding's name, whose case does not matter.
    pub encoding: &'a str,
    /// Ticks of the RTP timestamp in a second.
    pub clock_rate: u32,
    /// Audio channels, when the line says so.
    pub channels: Option<u16>,
}

/// `a=fmtp` (RFC 8866 §6.15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormatParameters<'a> {
    /// The payload type.
    pub pt: Pt,
    /// What the codec takes.
    pub parameters: Parameters<'a>,
}

/// `key=value` pairs, separated by semicolons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parameters<'a>(pub &'a str);

impl<'a> Parameters<'a> {
    /// The pairs in their order; the value of a lone word is empty.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + Clone + use<'a> {
        self.0.split(';').map(str::trim_ascii).filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key.trim_ascii_end(), value.trim_ascii_start())
        })
    }

    /// The first value of `key`, whose case does not matter.
    pub fn value_of(&self, key: &str) -> Option<&'a str> {
        self.iter().find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, value)| value)
    }
}

/// `a=rtcp-fb` (RFC 4585 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feedback<'a> {
    /// The payload type; `None` for all of the section (`*`).
    pub pt: Option<Pt>,
    /// What is fed back, such as `nack pli`.
    pub kind: &'a str,
}

/// `a=extmap` (RFC 8285 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension<'a> {
    /// The id on the wire, 1 to 14 or, with two-byte headers, to 255; 4096 to 4351 where the answerer is to choose.
    pub id: u16,
    /// Which way, when not that of the section.
    pub direction: Option<Direction>,
    /// What the extension is.
    pub uri: &'a str,
    /// What the extension takes.
    pub attributes: Option<&'a str>,
}

/// `a=rid` (RFC 8851 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RidLine<'a> {
    /// The stream's id.
    pub id: &'a str,
    /// Which way the stream goes, seen from whoever wrote the description.
    pub direction: RidDirection,
    /// Payload types and restrictions.
    pub restrictions: Parameters<'a>,
}

/// Which way the streams of a `rid` or `simulcast` go (RFC 8851 §4, RFC 8853 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RidDirection {
    /// From whoever wrote the description.
    Send,
    /// To whoever wrote the description.
    Recv,
}

impl RidDirection {
    /// The name as it stands in SDP.
    pub fn name(self) -> &'static str {
        match self {
            RidDirection::Send => "send",
            RidDirection::Recv => "recv",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "send" => Some(RidDirection::Send),
            "recv" => Some(RidDirection::Recv),
            _ => None,
        }
    }
}

/// `a=simulcast` (RFC 8853 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Simulcast<'a> {
    /// The streams that are sent.
    pub send: Option<SimulcastStreams<'a>>,
    /// The streams that are received.
    pub recv: Option<SimulcastStreams<'a>>,
}

/// The streams of one direction: alternatives separated by commas within streams separated by semicolons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimulcastStreams<'a>(pub &'a str);

/// One stream of a simulcast, in one of its alternatives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimulcastRid<'a> {
    /// The `rid` that says what the stream is.
    pub rid: &'a str,
    /// Whether it starts paused (`~`).
    pub paused: bool,
}

impl<'a> SimulcastStreams<'a> {
    /// The streams, each as its alternatives in order of preference.
    pub fn iter(
        &self,
    ) -> impl Iterator<Item = impl Iterator<Item = SimulcastRid<'a>> + Clone + use<'a>> + Clone + use<'a>
    {
        self.0.split(';').map(|alternatives| {
            alternatives.split(',').map(|text| match text.strip_prefix('~') {
                Some(rid) => SimulcastRid { rid, paused: true },
                None => SimulcastRid { rid: text, paused: false },
            })
        })
    }
}

/// `a=msid` (RFC 8830 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Msid<'a> {
    /// The stream's id; a dash for a track without a stream.
    pub stream: &'a str,
    /// The track's id.
    pub track: Option<&'a str>,
}

/// `a=ssrc` (RFC 5576 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SsrcLine<'a> {
    /// The source.
    pub ssrc: Ssrc,
    /// What is said of it, such as `cname`.
    pub attribute: Attribute<'a>,
}

/// `a=ssrc-group` (RFC 5576 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SsrcGroup<'a> {
    /// Why they belong together, such as `FID` or `SIM`.
    pub semantics: &'a str,
    pub(super) ssrcs: &'a str,
}

impl<'a> SsrcGroup<'a> {
    /// A group of the sources that stand in `ssrcs`, separated by spaces.
    pub fn new(semantics: &'a str, ssrcs: &'a str) -> Self {
        SsrcGroup { semantics, ssrcs }
    }

    /// The sources, in the order of the group.
    pub fn ssrcs(&self) -> impl Iterator<Item = Ssrc> + Clone + use<'a> {
        self.ssrcs.split_ascii_whitespace().filter_map(|text| text.parse().ok().map(Ssrc))
    }
}
