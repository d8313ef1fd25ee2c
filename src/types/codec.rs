//! What RTP payloads are encoded with (RFC 8866 §6.6: names, clock rates and channels).

/// The two kinds of media that RTP carries here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaType {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

impl MediaType {
    /// The name as it stands in `m=`.
    pub fn name(self) -> &'static str {
        match self {
            MediaType::Audio => "audio",
            MediaType::Video => "video",
        }
    }

    /// The kind called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "audio" => Some(MediaType::Audio),
            "video" => Some(MediaType::Video),
            _ => None,
        }
    }
}

/// An encoding of payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Codec {
    /// RFC 7587
    Opus,
    /// G.711 µ-law (RFC 3551 §4.5.14)
    Pcmu,
    /// G.711 A-law (RFC 3551 §4.5.14)
    Pcma,
    /// RFC 3551 §4.5.2; its clock rate is 8,000 by an old mistake.
    G722,
    /// Uncompressed, 16 bits (RFC 3551 §4.5.11)
    L16,
    /// Comfort noise (RFC 3389)
    ComfortNoise,
    /// Key presses (RFC 4733)
    TelephoneEvent,
    /// RFC 7741
    Vp8,
    /// RFC 9628
    Vp9,
    /// RFC 6184
    H264,
    /// RFC 7798
    H265,
    /// The RTP payload format of the Alliance for Open Media
    Av1,
    /// Retransmissions of another payload type (RFC 4588)
    Rtx,
    /// Redundant payloads of other types (RFC 2198)
    Red,
    /// Parity packets (RFC 5109)
    Ulpfec,
    /// Flexible parity packets, in the form that browsers speak (draft 03 of RFC 8627)
    Flexfec,
}

impl Codec {
    const ALL: [(Codec, &'static str); 16] = [
        (Codec::Opus, "opus"),
        (Codec::Pcmu, "PCMU"),
        (Codec::Pcma, "PCMA"),
        (Codec::G722, "G722"),
        (Codec::L16, "L16"),
        (Codec::ComfortNoise, "CN"),
        (Codec::TelephoneEvent, "telephone-event"),
        (Codec::Vp8, "VP8"),
        (Codec::Vp9, "VP9"),
        (Codec::H264, "H264"),
        (Codec::H265, "H265"),
        (Codec::Av1, "AV1"),
        (Codec::Rtx, "rtx"),
        (Codec::Red, "red"),
        (Codec::Ulpfec, "ulpfec"),
        (Codec::Flexfec, "flexfec-03"),
    ];

    /// The encoding's name as browsers write it.
    pub fn name(self) -> &'static str {
        // Every variant is in the table; a test says so.
        Codec::ALL.iter().find(|(codec, _)| *codec == self).map_or("", |(_, name)| name)
    }

    /// The encoding called `name`, whose case does not matter (RFC 8866 §6.6).
    pub fn from_name(name: &str) -> Option<Self> {
        Codec::ALL.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(codec, _)| *codec)
    }

    /// Whether payloads are media of their own, not a repair of, or a wrapping for, others.
    pub fn is_media(self) -> bool {
        !matches!(self, Codec::Rtx | Codec::Red | Codec::Ulpfec | Codec::Flexfec)
    }
}

/// Which feedback on a payload type both ends speak (RFC 4585 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Feedback {
    /// `nack`: lost packets are named (RFC 4585 §6.2.1).
    pub nack: bool,
    /// `nack pli`: a decoder that has lost its picture says so (RFC 4585 §6.3.1).
    pub pli: bool,
    /// `ccm fir`: a key frame is asked for (RFC 5104 §4.3.1).
    pub fir: bool,
    /// `ccm tmmbr`: a lower bit rate is asked for (RFC 5104 §4.2.1).
    pub tmmbr: bool,
    /// `transport-cc`: when packets arrived (draft-holmer-rmcat-transport-wide-cc-extensions).
    pub transport_cc: bool,
    /// `ack ccfb`: when packets arrived (RFC 8888 §6).
    pub ccfb: bool,
    /// `goog-remb`: the receiver's estimate of the bit rate (draft-alvestrand-rmcat-remb).
    pub remb: bool,
}

impl Feedback {
    /// None at all.
    pub const NONE: Feedback = Feedback {
        nack: false,
        pli: false,
        fir: false,
        tmmbr: false,
        transport_cc: false,
        ccfb: false,
        remb: false,
    };
    /// What video is usually offered with.
    pub const VIDEO: Feedback = Feedback {
        nack: true,
        pli: true,
        fir: true,
        tmmbr: false,
        transport_cc: true,
        ccfb: false,
        remb: true,
    };
    /// What audio is usually offered with.
    pub const AUDIO: Feedback = Feedback {
        nack: true,
        pli: false,
        fir: false,
        tmmbr: false,
        transport_cc: true,
        ccfb: false,
        remb: false,
    };

    /// The kinds as they stand in `a=rtcp-fb`, with whether they are set.
    pub fn named(self) -> [(&'static str, bool); 7] {
        let Feedback { nack, pli, fir, tmmbr, transport_cc, ccfb, remb } = self;
        [
            ("goog-remb", remb),
            ("transport-cc", transport_cc),
            ("ack ccfb", ccfb),
            ("ccm fir", fir),
            ("ccm tmmbr", tmmbr),
            ("nack", nack),
            ("nack pli", pli),
        ]
    }

    /// Adds the kind called `name`; false when it is not known.
    pub fn insert(&mut self, name: &str) -> bool {
        let flag = match name {
            "goog-remb" => &mut self.remb,
            "transport-cc" => &mut self.transport_cc,
            "ack ccfb" => &mut self.ccfb,
            "ccm fir" => &mut self.fir,
            "ccm tmmbr" => &mut self.tmmbr,
            "nack" => &mut self.nack,
            "nack pli" => &mut self.pli,
            _ => return false,
        };
        *flag = true;
        true
    }

    /// What both have.
    #[must_use]
    pub fn and(self, other: Feedback) -> Feedback {
        let mut both = Feedback::default();
        for ((name, mine), (_, theirs)) in self.named().into_iter().zip(other.named()) {
            if mine && theirs {
                both.insert(name);
            }
        }
        both
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_has_a_name_of_its_own() {
        for (codec, name) in Codec::ALL {
            assert_eq!(codec.name(), name);
            assert_eq!(Codec::from_name(&name.to_ascii_uppercase()), Some(codec));
        }
        assert_eq!(Codec::from_name("theora"), None);
    }

    #[test]
    fn feedback_is_what_both_have() {
        let all = Feedback::VIDEO;
        for (name, _) in all.named() {
            let mut one = Feedback::default();
            assert!(one.insert(name));
            assert_eq!(one.named().iter().filter(|(_, set)| *set).count(), 1);
            assert_eq!(one.and(one), one);
        }
        assert_eq!(
            all.and(Feedback::AUDIO),
            Feedback { nack: true, transport_cc: true, ..Feedback::default() }
        );
        assert!(!Feedback::default().insert("nack sli"));
    }
}
