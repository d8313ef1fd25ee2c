//! Packets from frames: what all formats share.

use bytes::BytesMut;

use super::{Codec, PictureId, av1, h264, h265, vp8, vp9};

/// What the encoder says of a frame, beyond its bytes. Formats that have no place for a field ignore it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameInfo {
    /// Whether it can be decoded without others.
    pub key_frame: bool,
    /// Its temporal layer, 0 to 7, when there are layers (VP8: 0 to 3).
    pub temporal: Option<u8>,
    /// Whether a receiver of lower temporal layers may go up to this one with this frame.
    pub switching_point: bool,
    /// Whether no other frame refers to this one.
    pub discardable: bool,
}

/// A frame that cannot be cut into packets of the size asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the frame does not fit into packets of this size")]
pub struct TooLarge;

/// Cuts the frames of one stream into payloads. Numbers pictures where the format does.
#[derive(Debug, Clone)]
pub struct Packetizer {
    codec: Codec,
    picture_id: PictureId,
    tl0: u8,
}

impl Packetizer {
    /// Cuts frames of `codec`. The first picture is numbered `first_picture` modulo 2^15: take it at random
    /// (RFC 7741 §4.2).
    pub fn new(codec: Codec, first_picture: u16) -> Self {
        // One before, as each frame takes the next number.
        let number = first_picture.wrapping_sub(1) & 0x7fff;
        Packetizer { codec, picture_id: PictureId { number, long: true }, tl0: 0 }
    }

    /// Cuts `frame`, in the form that the [module](super) says, into payloads of at most `max` bytes.
    ///
    /// # Errors
    /// `max` is too small for the format (16 bytes always do), or an audio frame is longer than `max`.
    pub fn start<'a>(
        &mut self,
        frame: &'a [u8],
        max: usize,
        info: FrameInfo,
    ) -> Result<Payloads<'a>, TooLarge> {
        if self.codec.is_video() {
            if max < 16 {
                return Err(TooLarge);
            }
            self.picture_id.number = (self.picture_id.number + 1) & 0x7fff;
            if info.temporal.is_none_or(|temporal| temporal == 0) {
                self.tl0 = self.tl0.wrapping_add(1);
            }
        } else if frame.len() > max {
            return Err(TooLarge);
        }
        Ok(Payloads(match self.codec {
            Codec::Vp8 => Inner::Vp8(vp8::Payloads::new(frame, max, self.picture_id, self.tl0, info)),
            Codec::Vp9 => Inner::Vp9(vp9::Payloads::new(frame, max, self.picture_id, self.tl0, info)),
            Codec::H264 => Inner::H264(h264::Payloads::new(frame, max)),
            Codec::H265 => Inner::H265(h265::Payloads::new(frame, max)),
            Codec::Av1 => Inner::Av1(av1::Payloads::new(frame, max)),
            _ => Inner::Whole(Some(frame)),
        }))
    }
}

/// The payloads of one frame.
#[derive(Debug)]
pub struct Payloads<'a>(Inner<'a>);

#[derive(Debug)]
enum Inner<'a> {
    Whole(Option<&'a [u8]>),
    Vp8(vp8::Payloads<'a>),
    Vp9(vp9::Payloads<'a>),
    H264(h264::Payloads<'a>),
    H265(h265::Payloads<'a>),
    Av1(av1::Payloads<'a>),
}

impl Payloads<'_> {
    /// Appends the next payload to `out`, behind an RTP header for instance. Says whether it is the last one
    /// of its frame, which for video means the marker bit; `None`, and nothing appended, when there is none.
    pub fn next_payload(&mut self, out: &mut BytesMut) -> Option<bool> {
        match &mut self.0 {
            Inner::Whole(frame) => {
                out.extend_from_slice(frame.take()?);
                Some(true)
            }
            Inner::Vp8(payloads) => payloads.next_payload(out),
            Inner::Vp9(payloads) => payloads.next_payload(out),
            Inner::H264(payloads) => payloads.next_payload(out),
            Inner::H265(payloads) => payloads.next_payload(out),
            Inner::Av1(payloads) => payloads.next_payload(out),
        }
    }
}

/// Cuts bytes into pieces of almost equal size, so that no packet is much smaller than its fellows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pieces<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Pieces<'a> {
    /// Pieces of at most `max` bytes, at least 1.
    pub(super) fn new(bytes: &'a [u8], max: usize) -> Self {
        Pieces { rest: bytes, left: bytes.len().div_ceil(max.max(1)) }
    }

    /// The next piece; empty bytes have none.
    pub(super) fn next_piece(&mut self) -> Option<&'a [u8]> {
        let len = self.rest.len().div_ceil(self.left.max(1));
        let (piece, rest) = self.rest.split_at_checked(len).filter(|(piece, _)| !piece.is_empty())?;
        self.rest = rest;
        self.left -= 1;
        Some(piece)
    }

    /// Whether there are no more pieces.
    pub(super) fn is_done(&self) -> bool {
        self.rest.is_empty()
    }
}
