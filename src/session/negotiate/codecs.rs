//! Payload formats: what each side can do, which of it is the same, and under which numbers it goes.

mod h264;

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::sdp::{MediaSection, Parameters, RtpMap};
use crate::types::codec::{Codec, Feedback};
use crate::types::ids::Pt;

use h264::ProfileLevel;

/// A payload format that the local side can send and receive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// The encoding.
    pub codec: Codec,
    /// Ticks of the RTP timestamp in a second.
    pub clock_rate: u32,
    /// Audio channels; 1 for video.
    pub channels: u16,
    /// What the encoding takes, as in `a=fmtp`: `key=value` pairs, separated by semicolons.
    pub parameters: Cow<'static, str>,
    /// The feedback that is spoken.
    pub feedback: Feedback,
    /// Whether lost packets may be sent again in a stream of their own (RFC 4588).
    pub rtx: bool,
}

impl Capability {
    /// A video format with the usual feedback and retransmission.
    pub const fn video(codec: Codec, parameters: &'static str) -> Self {
        let (clock_rate, parameters) = (90_000, Cow::Borrowed(parameters));
        Capability { codec, clock_rate, channels: 1, parameters, feedback: Feedback::VIDEO, rtx: true }
    }

    /// An audio format with the usual feedback.
    pub const fn audio(codec: Codec, clock_rate: u32, channels: u16, parameters: &'static str) -> Self {
        let parameters = Cow::Borrowed(parameters);
        Capability { codec, clock_rate, channels, parameters, feedback: Feedback::AUDIO, rtx: false }
    }

    /// Redundancy for video: what ULPFEC travels in (RFC 2198, RFC 5109 §14.1).
    pub fn red_video() -> Self {
        let feedback = Feedback { transport_cc: true, ..Feedback::NONE };
        Capability { feedback, ..Capability::video(Codec::Red, "") }
    }

    /// Parity for video within its own stream (RFC 5109).
    pub fn ulpfec() -> Self {
        Capability { feedback: Feedback::NONE, rtx: false, ..Capability::video(Codec::Ulpfec, "") }
    }

    /// Parity for video in a stream of its own, as browsers speak it. Ten seconds is what they offer.
    pub fn flexfec() -> Self {
        let feedback = Feedback { transport_cc: true, ..Feedback::NONE };
        Capability { feedback, rtx: false, ..Capability::video(Codec::Flexfec, "repair-window=10000000") }
    }

    fn shape(&self) -> Shape<'_> {
        let Capability { codec, clock_rate, channels, .. } = *self;
        Shape { codec, clock_rate, channels, parameters: Parameters(&self.parameters) }
    }
}

/// A payload format that both sides speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// The encoding.
    pub codec: Codec,
    /// Ticks of the RTP timestamp in a second.
    pub clock_rate: u32,
    /// Audio channels; 1 for video.
    pub channels: u16,
    /// The payload type of packets that arrive.
    pub receive: Pt,
    /// The payload type of packets to be sent: the same, unless the peer's answer chose another.
    pub send: Pt,
    /// What the peer's decoder takes, as in its `a=fmtp`.
    pub remote_parameters: String,
    /// What the local decoder was said to take.
    pub local_parameters: String,
    /// The feedback that both speak.
    pub feedback: Feedback,
    /// The payload types of retransmissions (RFC 4588), to be received and to be sent.
    pub rtx: Option<(Pt, Pt)>,
}

impl Format {
    fn shape(&self) -> Shape<'_> {
        let Format { codec, clock_rate, channels, .. } = *self;
        Shape { codec, clock_rate, channels, parameters: Parameters(&self.local_parameters) }
    }
}

/// What makes a format the one it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape<'a> {
    codec: Codec,
    clock_rate: u32,
    channels: u16,
    parameters: Parameters<'a>,
}

/// A format as a section has it: its lines joined by payload type.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Offered<'a> {
    pt: Pt,
    shape: Shape<'a>,
    feedback: Feedback,
}

/// The formats of a section that are known here, in its order of preference, each payload type once.
fn offered<'a>(section: &MediaSection<'a>) -> Vec<Offered<'a>> {
    let maps: BTreeMap<Pt, &RtpMap<'a>> = section.rtp.maps.iter().map(|map| (map.pt, map)).collect();
    let mut parameters = BTreeMap::new();
    for line in &section.rtp.format_parameters {
        // RFC 8866 §6.15: once for each format; of several the first counts.
        parameters.entry(line.pt).or_insert(line.parameters);
    }
    let (mut for_all, mut feedback) = (Feedback::default(), BTreeMap::<Pt, Feedback>::new());
    for line in &section.rtp.feedback {
        match line.pt {
            Some(pt) => feedback.entry(pt).or_default().insert(line.kind),
            None => for_all.insert(line.kind),
        };
    }
    let mut seen = 0u128;
    let pts = section.formats().filter_map(|text| Pt::new(text.parse().ok()?));
    let pts = pts.filter(|pt| {
        let bit = 1u128 << pt.value();
        let is_new = seen & bit == 0;
        seen |= bit;
        is_new
    });
    pts.filter_map(|pt| {
        let (codec, clock_rate, channels) = match maps.get(&pt) {
            Some(map) => (Codec::from_name(map.encoding)?, map.clock_rate, map.channels.unwrap_or(1)),
            None => static_format(pt)?,
        };
        let mut feedback = feedback.get(&pt).copied().unwrap_or_default();
        for (name, _) in for_all.named().into_iter().filter(|(_, is_set)| *is_set) {
            feedback.insert(name);
        }
        let parameters = parameters.get(&pt).copied().unwrap_or_default();
        Some(Offered { pt, shape: Shape { codec, clock_rate, channels, parameters }, feedback })
    })
    .collect()
}

/// RFC 3551 §6: payload types that mean something without a map.
fn static_format(pt: Pt) -> Option<(Codec, u32, u16)> {
    Some(match pt.value() {
        0 => (Codec::Pcmu, 8_000, 1),
        8 => (Codec::Pcma, 8_000, 1),
        9 => (Codec::G722, 8_000, 1),
        10 => (Codec::L16, 44_100, 2),
        11 => (Codec::L16, 44_100, 1),
        13 => (Codec::ComfortNoise, 8_000, 1),
        _ => return None,
    })
}

/// Whether two formats are the same but for what may differ between the directions.
fn is_same(local: Shape<'_>, remote: Shape<'_>) -> bool {
    if (local.codec, local.clock_rate, local.channels) != (remote.codec, remote.clock_rate, remote.channels) {
        return false;
    }
    let (ours, theirs) = (local.parameters, remote.parameters);
    let equal = |key: &str, default: u32| value(ours, key, default) == value(theirs, key, default);
    match local.codec {
        // RFC 6184 §8.2.2: profile and packetization mode are the configuration; the level is negotiated.
        Codec::H264 => {
            equal("packetization-mode", 0)
                && match (ProfileLevel::of(ours), ProfileLevel::of(theirs)) {
                    (Some(ours), Some(theirs)) => ours.profile == theirs.profile,
                    _ => false,
                }
        }
        // RFC 9628 §7.3: both sides use the same profile.
        Codec::Vp9 => equal("profile-id", 0),
        // AV1 payload format §7.2.1: level and tier are each side's own; a decoder of one profile need not know
        // another.
        Codec::Av1 => equal("profile", 0),
        // RFC 7798 §7.2.2: all but the level is the configuration.
        Codec::H265 => {
            equal("profile-space", 0)
                && equal("profile-id", 1)
                && equal("tier-flag", 0)
                && text(ours, "tx-mode", "SRST").eq_ignore_ascii_case(text(theirs, "tx-mode", "SRST"))
        }
        _ => true,
    }
}

/// A numeric parameter; one that is no number equals nothing that is known.
fn value(parameters: Parameters<'_>, key: &str, default: u32) -> Option<u32> {
    match parameters.value_of(key) {
        Some(text) => text.parse().ok(),
        None => Some(default),
    }
}

fn text<'a>(parameters: Parameters<'a>, key: &str, default: &'a str) -> &'a str {
    parameters.value_of(key).unwrap_or(default)
}

/// What the local side says of a format when the peer has said `theirs`.
fn answer_parameters(local: &Capability, theirs: Parameters<'_>) -> String {
    match local.codec {
        Codec::H264 => h264::answer(Parameters(&local.parameters), theirs),
        // RFC 2198 §5: the payload types inside, which are those of the offer.
        Codec::Red => theirs.0.to_owned(),
        _ => local.parameters.clone().into_owned(),
    }
}

/// The payload type of retransmissions of `of` (RFC 4588 §8.1). One step only: an `rtx` of an `rtx` is none.
fn retransmission(formats: &[Offered<'_>], of: &Offered<'_>) -> Option<Pt> {
    let is_its = |rtx: &&Offered<'_>| {
        let apt = rtx.shape.parameters.value_of("apt").and_then(|text| text.parse().ok());
        rtx.shape.codec == Codec::Rtx
            && rtx.shape.clock_rate == of.shape.clock_rate
            && apt == Some(of.pt.value())
    };
    formats.iter().find(is_its).map(|rtx| rtx.pt)
}

/// Drops what is of no use alone: redundancy of formats that are not there, repair of nothing.
fn without_orphans(mut formats: Vec<Format>) -> Vec<Format> {
    let mut sending = 0u128;
    for format in formats.iter().filter(|format| format.codec.is_media()) {
        sending |= 1 << format.send.value();
    }
    // RFC 2198 §5: `111/111` names the payload types inside; RED for video names none.
    let is_there =
        |text: &str| text.parse().is_ok_and(|pt: u8| sending.checked_shr(pt.into()).unwrap_or(0) & 1 == 1);
    formats.retain(|format| match format.codec {
        Codec::Red if !format.remote_parameters.is_empty() => {
            format.remote_parameters.split('/').all(is_there)
        }
        _ => true,
    });
    // RFC 5109 §14.1: ULPFEC stands in RED.
    let has_red = formats.iter().any(|format| format.codec == Codec::Red && format.clock_rate == 90_000);
    formats.retain(|format| format.codec != Codec::Ulpfec || has_red);
    let is_sound_or_picture = |format: &Format| {
        format.codec.is_media() && !matches!(format.codec, Codec::ComfortNoise | Codec::TelephoneEvent)
    };
    if formats.iter().any(is_sound_or_picture) { formats } else { Vec::new() }
}

/// The formats that an offer of the peer and `capabilities` have in common, in the order of the offer
/// (RFC 8829 §5.3.1), under the numbers of the offer. Empty when there is no sound or picture among them.
pub(super) fn answer(section: &MediaSection<'_>, capabilities: &[Capability]) -> Vec<Format> {
    let offered = offered(section);
    let formats = offered.iter().filter(|remote| remote.shape.codec != Codec::Rtx).filter_map(|remote| {
        let local = capabilities.iter().find(|local| is_same(local.shape(), remote.shape))?;
        let Shape { codec, clock_rate, channels, parameters } = remote.shape;
        Some(Format {
            codec,
            clock_rate,
            channels,
            receive: remote.pt,
            send: remote.pt,
            remote_parameters: parameters.0.to_owned(),
            local_parameters: answer_parameters(local, parameters),
            feedback: local.feedback.and(remote.feedback),
            rtx: retransmission(&offered, remote).filter(|_| local.rtx).map(|rtx| (rtx, rtx)),
        })
    });
    without_orphans(formats.collect())
}

/// The formats of the peer's answer that were offered as `ours`, in the order of the answer (RFC 3264 §6.1, §7).
/// The peer may have given them other numbers, under which it wants to receive them.
pub(super) fn accept(section: &MediaSection<'_>, ours: &[Format]) -> Vec<Format> {
    let answered = offered(section);
    let mut formats = Vec::<Format>::new();
    for remote in answered.iter().filter(|remote| remote.shape.codec != Codec::Rtx) {
        let is_meant = |format: &&Format| is_same(format.shape(), remote.shape);
        // The same number is the first choice: two formats may differ in nothing that is looked at.
        let by_number = ours.iter().find(|format| format.receive == remote.pt).filter(is_meant);
        let Some(offered) = by_number.or_else(|| ours.iter().find(is_meant)) else { continue };
        if formats.iter().any(|format| format.receive == offered.receive) {
            continue;
        }
        let rtx = offered.rtx.zip(retransmission(&answered, remote));
        formats.push(Format {
            send: remote.pt,
            remote_parameters: remote.shape.parameters.0.to_owned(),
            feedback: offered.feedback.and(remote.feedback),
            rtx: rtx.map(|((receive, _), send)| (receive, send)),
            ..offered.clone()
        });
    }
    without_orphans(formats)
}

/// Payload types that are taken, over all sections: in a bundle one number means one format (RFC 9143 §9.1).
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers {
    taken: u128,
    given: Vec<Format>,
}

impl Numbers {
    /// Takes note of formats that have their numbers.
    pub(super) fn hold(&mut self, formats: &[Format]) {
        for format in formats {
            let numbers = [
                Some(format.receive),
                Some(format.send),
                format.rtx.map(|rtx| rtx.0),
                format.rtx.map(|rtx| rtx.1),
            ];
            numbers.into_iter().flatten().for_each(|pt| self.taken |= 1 << pt.value());
            if !self.given.contains(format) {
                self.given.push(format.clone());
            }
        }
    }

    /// The formats to be offered for `capabilities`; those for which no number is left are not.
    pub(super) fn offer(&mut self, capabilities: &[Capability]) -> Vec<Format> {
        let mut formats = Vec::new();
        for capability in capabilities {
            let red = formats.first().map(|format: &Format| format!("{0}/{0}", format.receive.value()));
            let is_red_audio = capability.codec == Codec::Red && capability.clock_rate != 90_000;
            let parameters = match red {
                Some(red) if is_red_audio => Cow::Owned(red),
                _ => capability.parameters.clone(),
            };
            let capability = Capability { parameters, ..capability.clone() };
            let given = self
                .given
                .iter()
                .find(|f| f.shape() == capability.shape() && f.rtx.is_some() == capability.rtx);
            let Some(format) = given.cloned().or_else(|| self.number(&capability)) else { continue };
            self.hold(std::slice::from_ref(&format));
            formats.push(format);
        }
        formats
    }

    fn number(&mut self, capability: &Capability) -> Option<Format> {
        let Capability { codec, clock_rate, channels, .. } = *capability;
        let fixed =
            (0..35).filter_map(Pt::new).find(|pt| static_format(*pt) == Some((codec, clock_rate, channels)));
        let pt = match fixed {
            Some(pt) => pt,
            None => self.free()?,
        };
        let rtx = if capability.rtx { self.free() } else { None };
        Some(Format {
            codec,
            clock_rate,
            channels,
            receive: pt,
            send: pt,
            remote_parameters: String::new(),
            local_parameters: capability.parameters.clone().into_owned(),
            feedback: capability.feedback,
            rtx: rtx.map(|rtx| (rtx, rtx)),
        })
    }

    /// A dynamic payload type that nothing has: 96 to 127, then 35 to 63 (RFC 3551 §6, RFC 5761 §4).
    fn free(&mut self) -> Option<Pt> {
        let pt =
            (96..=127).chain(35..=63).filter_map(Pt::new).find(|pt| self.taken & (1 << pt.value()) == 0)?;
        self.taken |= 1 << pt.value();
        Some(pt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::Description;

    fn pt(value: u8) -> Pt {
        Pt::new(value).unwrap()
    }

    /// The formats of a section whose lines are `lines`.
    fn answered(pts: &str, lines: &str, capabilities: &[Capability]) -> Vec<Format> {
        let text =
            format!("v=0\no=- 1 1 IN IP4 0.0.0.0\ns=-\nt=0 0\nm=video 9 UDP/TLS/RTP/SAVPF {pts}\n{lines}");
        answer(&Description::parse(&text).unwrap().media[0], capabilities)
    }

    fn numbers(formats: &[Format]) -> Vec<u8> {
        formats.iter().map(|format| format.send.value()).collect()
    }

    const CHROMIUM: &str = include_str!("../../../tests/data/sdp/chromium-audio-video-data.sdp");
    const FIREFOX: &str = include_str!("../../../tests/data/sdp/firefox-audio-video-data.sdp");

    #[test]
    fn an_offer_of_chromium_is_matched_in_its_order() {
        let description = Description::parse(CHROMIUM).unwrap();
        let capabilities = [
            Capability::video(Codec::Av1, ""),
            Capability::video(Codec::Vp9, "profile-id=2"),
            Capability::video(
                Codec::H264,
                "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
            ),
            Capability::video(Codec::Vp8, ""),
        ];
        let formats = answer(&description.media[1], &capabilities);
        assert_eq!(numbers(&formats), [96, 108, 45, 100]);
        let rtx: Vec<_> = formats.iter().map(|format| format.rtx.unwrap().0.value()).collect();
        assert_eq!(rtx, [97, 109, 46, 101]);
        assert_eq!(formats[0].feedback, Feedback::VIDEO);
        assert_eq!(formats[2].remote_parameters, "level-idx=5;profile=0;tier=0");

        let capabilities = [
            Capability::audio(Codec::Opus, 48_000, 2, "useinbandfec=1"),
            Capability::audio(Codec::Red, 48_000, 2, ""),
            Capability::audio(Codec::Pcma, 8_000, 1, ""),
            Capability::audio(Codec::TelephoneEvent, 8_000, 1, ""),
        ];
        let formats = answer(&description.media[0], &capabilities);
        assert_eq!(numbers(&formats), [111, 63, 8, 126]);
        assert_eq!(formats[0].local_parameters, "useinbandfec=1");
        assert_eq!(formats[0].feedback, Feedback { transport_cc: true, ..Feedback::default() });
        assert_eq!(formats[1].local_parameters, "111/111");
    }

    #[test]
    fn redundancy_without_what_it_wraps_is_dropped() {
        let description = Description::parse(CHROMIUM).unwrap();
        let capabilities =
            [Capability::audio(Codec::Red, 48_000, 2, ""), Capability::audio(Codec::Pcma, 8_000, 1, "")];
        assert_eq!(numbers(&answer(&description.media[0], &capabilities)), [8]);
        // Neither comfort noise nor key presses are sound.
        let capabilities = [Capability::audio(Codec::ComfortNoise, 8_000, 1, "")];
        assert_eq!(answer(&description.media[0], &capabilities), []);
    }

    #[test]
    fn an_offer_of_firefox_is_matched() {
        let description = Description::parse(FIREFOX).unwrap();
        let formats = answer(&description.media[1], &[Capability::video(Codec::Vp9, "profile-id=0")]);
        assert_eq!(numbers(&formats), [121]);
        assert_eq!(formats[0].rtx, Some((pt(125), pt(125))));
    }

    #[test]
    fn formats_differ_by_what_decoders_cannot_change() {
        let cases = [
            (Codec::H264, "H264", "profile-level-id=42e01f", "profile-level-id=42c02a", true),
            (Codec::H264, "H264", "profile-level-id=42e01f", "profile-level-id=42001f", false),
            (
                Codec::H264,
                "H264",
                "profile-level-id=42e01f",
                "profile-level-id=42e01f;packetization-mode=1",
                false,
            ),
            (Codec::H264, "H264", "", "packetization-mode=0", true),
            (Codec::H264, "H264", "", "profile-level-id=xyz", false),
            (Codec::Vp9, "VP9", "", "profile-id=0", true),
            (Codec::Vp9, "VP9", "profile-id=0", "profile-id=2", false),
            (Codec::Vp9, "VP9", "profile-id=0", "profile-id=zwei", false),
            (Codec::Av1, "AV1", "profile=0", "level-idx=13;tier=1", true),
            (Codec::Av1, "AV1", "profile=0", "profile=1", false),
            (Codec::H265, "H265", "level-id=93", "profile-id=1;tier-flag=0;level-id=150;tx-mode=SRST", true),
            (Codec::H265, "H265", "", "tier-flag=1", false),
            (Codec::H265, "H265", "", "tx-mode=MRST", false),
        ];
        for (codec, name, ours, theirs, same) in cases {
            let lines = format!("a=rtpmap:96 {name}/90000\na=fmtp:96 {theirs}\n");
            let formats = answered("96", &lines, &[Capability::video(codec, ours)]);
            assert_eq!(formats.len(), usize::from(same), "{name} {ours} {theirs}");
        }
        let vp8 = [Capability::video(Codec::Vp8, "")];
        assert_eq!(answered("96", "a=rtpmap:96 VP8/8000\n", &vp8), []);
        assert_eq!(answered("96", "a=rtpmap:96 vp8/90000\n", &vp8).len(), 1);
    }

    /// R60, R62: duplicates, and retransmissions of retransmissions.
    #[test]
    fn hostile_formats_are_merged_or_dropped() {
        let vp8 = [Capability::video(Codec::Vp8, "")];
        let formats = answered("96 96 97 98 300 x 96", "a=rtpmap:96 VP8/90000\n", &vp8);
        assert_eq!(numbers(&formats), [96]);
        let cycle = "a=rtpmap:96 rtx/90000\na=fmtp:96 apt=97\na=rtpmap:97 rtx/90000\na=fmtp:97 apt=96\n";
        assert_eq!(answered("96 97", cycle, &vp8), []);
        let own = "a=rtpmap:96 VP8/90000\na=rtpmap:97 rtx/90000\na=fmtp:97 apt=97\n";
        assert_eq!(answered("96 97", own, &vp8)[0].rtx, None);
        let two = "a=rtpmap:96 VP8/90000\na=fmtp:96 max-fs=1\na=fmtp:96 max-fs=2\na=rtcp-fb:* nack\n";
        let formats = answered("96", two, &vp8);
        assert_eq!(formats[0].remote_parameters, "max-fs=1");
        assert_eq!(formats[0].feedback, Feedback { nack: true, ..Feedback::default() });
    }

    #[test]
    fn payload_types_mean_one_format_in_all_sections() {
        let mut numbers = Numbers::default();
        let capabilities = [Capability::video(Codec::Vp8, ""), Capability::video(Codec::Vp9, "profile-id=0")];
        let first = numbers.offer(&capabilities);
        assert_eq!(
            first.iter().map(|f| (f.receive.value(), f.rtx.unwrap().0.value())).collect::<Vec<_>>(),
            [(96, 97), (98, 99)]
        );
        assert_eq!(numbers.offer(&capabilities), first);
        let audio = numbers.offer(&[
            Capability::audio(Codec::Opus, 48_000, 2, ""),
            Capability::audio(Codec::Red, 48_000, 2, ""),
            Capability::audio(Codec::Pcmu, 8_000, 1, ""),
        ]);
        assert_eq!(audio.iter().map(|f| f.receive.value()).collect::<Vec<_>>(), [100, 101, 0]);
        assert_eq!(audio[1].local_parameters, "100/100");
        // 61 numbers are free, and no more are given.
        let many: Vec<_> = (0..100)
            .map(|n| Capability {
                parameters: format!("profile-id={n}").into(),
                ..Capability::video(Codec::Vp9, "")
            })
            .collect();
        let formats = Numbers::default().offer(&many);
        assert!(formats.len() < 62, "{}", formats.len());
    }

    #[test]
    fn an_answer_may_use_other_numbers() {
        let ours =
            Numbers::default().offer(&[Capability::video(Codec::Vp8, ""), Capability::video(Codec::Vp9, "")]);
        let text = "v=0\no=- 1 1 IN IP4 0.0.0.0\ns=-\nt=0 0\nm=video 9 UDP/TLS/RTP/SAVPF 98 100 101\na=rtpmap:98 VP9/90000\na=rtpmap:100 VP8/90000\na=rtpmap:101 rtx/90000\na=fmtp:101 apt=100\na=rtcp-fb:100 nack\n";
        let formats = accept(&Description::parse(text).unwrap().media[0], &ours);
        let [vp9, vp8] = &formats[..] else { panic!("two formats") };
        assert_eq!((vp9.codec, vp9.receive, vp9.send, vp9.rtx), (Codec::Vp9, pt(98), pt(98), None));
        assert_eq!((vp8.codec, vp8.receive, vp8.send), (Codec::Vp8, pt(96), pt(100)));
        assert_eq!(vp8.rtx, Some((pt(97), pt(101))));
        assert_eq!(vp8.feedback, Feedback { nack: true, ..Feedback::default() });
    }
}
