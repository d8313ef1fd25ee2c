//! Payload formats: encoded frames into packets and back, and what a packet says about its frame.
//!
//! ```text
//!  frame ── Packetizer::start ──> Payloads ── next_payload ──> payloads that fit, the last one marked
//!
//!  packets in order, with gaps ── Depacketizer::handle_packet ──> whole frames, and what was lost
//!
//!  payload ── Codec::describe ──> starts a frame? key frame? which layers?    (what a forwarder asks)
//! ```
//!
//! | codec | specification | a frame here |
//! |---|---|---|
//! | Opus, PCMU, PCMA, G.722, L16, comfort noise, telephone events | RFC 7587, 3551, 3389, 4733 | the payload as it is |
//! | VP8, VP9 | RFC 7741, RFC 9628 | the codec's frame; with VP9 layers, those of one picture in order |
//! | H.264, H.265 | RFC 6184, RFC 7798 | an access unit in Annex B form, start codes of four bytes |
//! | AV1 | RTP payload format for AV1 | a temporal unit of OBUs with sizes, without delimiter |
//!
//! Depacketizers take any bytes. What they hold is bounded by the largest frame allowed; their work is linear
//! in the payload, nothing nests, and a frame is no longer than its payloads and what its form needs between
//! the parts (start codes, OBU sizes).

mod assembly;
pub mod audio;
pub mod av1;
pub mod h264;
pub mod h265;
mod nal;
mod packetizer;
pub mod vp8;
pub mod vp9;

pub use assembly::{DEFAULT_MAX_FRAME, Depacketizer, Dropped, Frame, Outcome, Outcomes, Received};
pub use packetizer::{FrameInfo, Packetizer, Payloads, TooLarge};

use crate::wire::Malformed;

/// A codec with a payload format that this crate knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Codec {
    /// Opus (RFC 7587).
    Opus,
    /// G.711 µ-law (RFC 3551 §4.5.14).
    Pcmu,
    /// G.711 A-law (RFC 3551 §4.5.14).
    Pcma,
    /// G.722 (RFC 3551 §4.5.2), whose clock rate is 8,000 although it samples at 16,000.
    G722,
    /// Linear samples of 16 bits (RFC 3551 §4.5.11).
    L16,
    /// Comfort noise (RFC 3389).
    ComfortNoise,
    /// Telephone events (RFC 4733).
    TelephoneEvent,
    /// VP8 (RFC 7741).
    Vp8,
    /// VP9 (RFC 9628).
    Vp9,
    /// H.264 (RFC 6184), packetization modes 0 and 1.
    H264,
    /// H.265 (RFC 7798), without decoding order numbers.
    H265,
    /// AV1.
    Av1,
}

impl Codec {
    /// All codecs.
    pub const ALL: [Codec; 12] = [
        Codec::Opus,
        Codec::Pcmu,
        Codec::Pcma,
        Codec::G722,
        Codec::L16,
        Codec::ComfortNoise,
        Codec::TelephoneEvent,
        Codec::Vp8,
        Codec::Vp9,
        Codec::H264,
        Codec::H265,
        Codec::Av1,
    ];

    /// The encoding name of `a=rtpmap` (RFC 8866 §6.6).
    pub fn name(self) -> &'static str {
        match self {
            Codec::Opus => "opus",
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
            Codec::G722 => "G722",
            Codec::L16 => "L16",
            Codec::ComfortNoise => "CN",
            Codec::TelephoneEvent => "telephone-event",
            Codec::Vp8 => "VP8",
            Codec::Vp9 => "VP9",
            Codec::H264 => "H264",
            Codec::H265 => "H265",
            Codec::Av1 => "AV1",
        }
    }

    /// The codec with this encoding name, upper and lower case being the same (RFC 8866 §6.6).
    pub fn from_name(name: &str) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.name().eq_ignore_ascii_case(name))
    }

    /// Whether it is a video codec, whose frames take several packets.
    pub fn is_video(self) -> bool {
        matches!(self, Codec::Vp8 | Codec::Vp9 | Codec::H264 | Codec::H265 | Codec::Av1)
    }

    /// What one payload says about its frame, without assembling it.
    pub fn describe(self, payload: &[u8]) -> Result<Info, Malformed> {
        match self {
            Codec::Vp8 => vp8::describe(payload),
            Codec::Vp9 => vp9::describe(payload),
            Codec::H264 => h264::describe(payload),
            Codec::H265 => h265::describe(payload),
            Codec::Av1 => av1::describe(payload),
            _ => Ok(Info { starts_frame: true, ends_frame: true, key_frame: true, ..Info::default() }),
        }
    }
}

/// What a payload says about its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Info {
    /// Whether a frame surely starts with this payload.
    pub starts_frame: bool,
    /// Whether its frame surely ends with this payload; formats that cannot tell leave that to the marker.
    pub ends_frame: bool,
    /// Whether it belongs to a frame that can be decoded without others, as far as this payload shows: the
    /// start of a key frame does. For audio always.
    pub key_frame: bool,
    /// The spatial layer, if told.
    pub spatial: Option<u8>,
    /// The temporal layer, if told.
    pub temporal: Option<u8>,
    /// Whether a receiver of lower temporal layers may go up to this one with this frame.
    pub switching_point: bool,
    /// Whether no other frame refers to this one, if told.
    pub discardable: bool,
    /// The picture's number, if told.
    pub picture_id: Option<PictureId>,
    /// The number of the picture's base layer frame, if told.
    pub tl0: Option<u8>,
}

/// A picture's number, in the width that its sender uses (RFC 7741 §4.2, RFC 9628 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureId {
    /// The number.
    pub number: u16,
    /// Whether it has 15 bits, not 7.
    pub long: bool,
}

impl PictureId {
    /// The number's modulus: 2^15 or 2^7.
    pub fn modulus(self) -> u16 {
        if self.long { 1 << 15 } else { 1 << 7 }
    }
}

#[cfg(test)]
mod tests;
