//! Requests to a sender: resend, refresh, slow down (RFC 4585, RFC 5104, REMB).

use bytes::BytesMut;

use super::{emit, fitting, ssrcs, types};
use crate::types::ids::Ssrc;
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::serial::Serial16;

pub(super) const NACK: u8 = 1;
pub(super) const TMMBR: u8 = 3;
const TMMBN: u8 = 4;
pub(super) const PLI: u8 = 1;
pub(super) const FIR: u8 = 4;
pub(super) const APPLICATION: u8 = 15;

/// Bytes of an RTCP header with the SSRCs of sender and media (RFC 4585 §6.1).
const HEAD_LEN: usize = 12;

/// Reads the two SSRCs of every feedback message: who sends it, and about whom.
fn read_head(r: &mut Reader<'_>) -> Result<(Ssrc, Ssrc), Malformed> {
    Ok((Ssrc(r.u32()?), Ssrc(r.u32()?)))
}

/// The entries of a message that must consist of whole ones.
fn read_entries<'a>(r: &mut Reader<'a>, size: usize) -> Result<&'a [u8], Malformed> {
    if r.remaining().is_multiple_of(size) { Ok(r.rest()) } else { Err(r.malformed()) }
}

/// Asks for packets again (RFC 4585 §6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nack<'a> {
    /// Who asks.
    pub sender: Ssrc,
    /// The stream.
    pub media: Ssrc,
    entries: &'a [u8],
}

impl<'a> Nack<'a> {
    pub(super) fn read(mut r: Reader<'a>) -> Result<Self, Malformed> {
        let (sender, media) = read_head(&mut r)?;
        Ok(Nack { sender, media, entries: read_entries(&mut r, 4)? })
    }

    /// The sequence numbers asked for, in the order of the packet: at most 17 for each 4 bytes.
    pub fn lost(&self) -> impl Iterator<Item = Serial16> + use<'a> {
        self.entries.as_chunks::<4>().0.iter().flat_map(|[p0, p1, b0, b1]| {
            let first = Serial16(u16::from_be_bytes([*p0, *p1]));
            let mask = u16::from_be_bytes([*b0, *b1]);
            let following =
                (0..16).filter(move |bit| mask >> bit & 1 == 1).map(move |bit| first.add(bit + 1));
            std::iter::once(first).chain(following)
        })
    }

    /// Appends a request for the numbers of `lost`, which come in order, in at most `room` bytes. Says how
    /// many went in; 0, and nothing appended, when none did.
    pub fn emit(
        out: &mut BytesMut,
        room: usize,
        sender: Ssrc,
        media: Ssrc,
        lost: impl IntoIterator<Item = Serial16>,
    ) -> usize {
        let entries = fitting(room, HEAD_LEN, 4, 0x3fff).unwrap_or(0);
        let mut lost = lost.into_iter().peekable();
        if entries == 0 || lost.peek().is_none() {
            return 0;
        }
        let mut written = 0;
        emit(out, types::TRANSPORT_FEEDBACK, NACK, |w| {
            w.u32(sender.0);
            w.u32(media.0);
            for _ in 0..entries {
                let Some(first) = lost.next() else { break };
                let mut mask = 0u16;
                written += 1;
                while let Some(bit) = lost.peek().and_then(|next| {
                    u32::try_from(first.distance_to(*next)).ok().filter(|steps| *steps <= 16)
                }) {
                    // A repeated number has distance 0 and needs no bit.
                    mask |= bit.checked_sub(1).map_or(0, |bit| 1 << bit);
                    written += 1;
                    lost.next();
                }
                w.u16(first.0);
                w.u16(mask);
            }
        });
        written
    }
}

/// Asks for a key frame because pictures were lost (RFC 4585 §6.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureLoss {
    /// Who asks.
    pub sender: Ssrc,
    /// The stream.
    pub media: Ssrc,
}

impl PictureLoss {
    pub(super) fn read(mut r: Reader<'_>) -> Result<Self, Malformed> {
        let (sender, media) = read_head(&mut r)?;
        Ok(PictureLoss { sender, media })
    }

    /// Appends the request; false, and nothing appended, when `room` is below 12 bytes.
    pub fn emit(&self, out: &mut BytesMut, room: usize) -> bool {
        let fits = room >= HEAD_LEN;
        if fits {
            emit(out, types::PAYLOAD_FEEDBACK, PLI, |w| {
                w.u32(self.sender.0);
                w.u32(self.media.0);
            });
        }
        fits
    }
}

/// Asks senders for key frames, repeats being told apart by a number (RFC 5104 §4.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FullIntra<'a> {
    /// Who asks.
    pub sender: Ssrc,
    entries: &'a [u8],
}

impl<'a> FullIntra<'a> {
    pub(super) fn read(mut r: Reader<'a>) -> Result<Self, Malformed> {
        let (sender, _unused) = read_head(&mut r)?;
        Ok(FullIntra { sender, entries: read_entries(&mut r, 8)? })
    }

    /// The streams asked, each with the number of its request.
    pub fn requests(&self) -> impl Iterator<Item = (Ssrc, u8)> + use<'a> {
        let entries = self.entries.as_chunks::<8>().0.iter();
        entries.map(|[a, b, c, d, number, ..]| (Ssrc(u32::from_be_bytes([*a, *b, *c, *d])), *number))
    }

    /// Appends requests in at most `room` bytes; says how many went in. 0, and nothing appended, if none.
    pub fn emit(out: &mut BytesMut, room: usize, sender: Ssrc, requests: &[(Ssrc, u8)]) -> usize {
        let count = fitting(room, HEAD_LEN, 8, 0x1fff).unwrap_or(0).min(requests.len());
        if count > 0 {
            emit(out, types::PAYLOAD_FEEDBACK, FIR, |w| {
                w.u32(sender.0);
                // RFC 5104 §4.3.1.2: the media source is told in the entries.
                w.u32(0);
                for (ssrc, number) in requests.iter().take(count) {
                    w.u32(ssrc.0);
                    w.u8(*number);
                    w.u24(0);
                }
            });
        }
        count
    }
}

/// Asks senders to stay below a rate (RFC 5104 §4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxBitrate<'a> {
    /// Who asks.
    pub sender: Ssrc,
    entries: &'a [u8],
}

/// One limit of a [`MaxBitrate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BitrateLimit {
    /// The stream that is asked.
    pub ssrc: Ssrc,
    /// Bits per second, saturating.
    pub bitrate: u64,
    /// Bytes per packet that the asker counts on top of the payload, 0 to 511.
    pub overhead: u16,
}

impl<'a> MaxBitrate<'a> {
    pub(super) fn read(mut r: Reader<'a>) -> Result<Self, Malformed> {
        let (sender, _unused) = read_head(&mut r)?;
        Ok(MaxBitrate { sender, entries: read_entries(&mut r, 8)? })
    }

    /// The limits in order.
    pub fn limits(&self) -> impl Iterator<Item = BitrateLimit> + use<'a> {
        self.entries.as_chunks::<8>().0.iter().map(|[a, b, c, d, e, f, g, h]| {
            // Six bits of exponent, 17 of mantissa, 9 of overhead.
            let word = u32::from_be_bytes([*e, *f, *g, *h]);
            BitrateLimit {
                ssrc: Ssrc(u32::from_be_bytes([*a, *b, *c, *d])),
                bitrate: scaled(u64::from(word >> 9 & 0x1_ffff), word >> 26),
                overhead: u16::from_be_bytes([*g & 0x01, *h]),
            }
        })
    }

    /// Appends the answer of a sender (TMMBN, RFC 5104 §4.2.2): `stream` keeps to `limit`, whose SSRC is that of who
    /// asked for it. False, and nothing appended, when `room` is below 20 bytes. The rate is rounded down to 17
    /// significant bits.
    pub fn emit_notice(out: &mut BytesMut, room: usize, stream: Ssrc, limit: &BitrateLimit) -> bool {
        let fits = room >= HEAD_LEN + 8;
        if fits {
            let exponent = (u64::BITS - limit.bitrate.leading_zeros()).saturating_sub(17);
            let mantissa = u32::try_from(limit.bitrate >> exponent).unwrap_or(0);
            emit(out, types::TRANSPORT_FEEDBACK, TMMBN, |w| {
                w.u32(stream.0);
                // RFC 5104 §4.2.2.2: no stream of the other side is meant.
                w.u32(0);
                w.u32(limit.ssrc.0);
                w.u32(exponent << 26 | mantissa << 9 | u32::from(limit.overhead & 0x1ff));
            });
        }
        fits
    }
}

/// What a receiver thinks it can take (draft-alvestrand-rmcat-remb).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remb<'a> {
    /// Who says so.
    pub sender: Ssrc,
    /// Bits per second over all streams, saturating.
    pub bitrate: u64,
    streams: &'a [u8],
}

const REMB_NAME: [u8; 4] = *b"REMB";

/// Whether the body of application feedback is a REMB.
pub(super) fn is_remb(body: &[u8]) -> bool {
    body.get(8..12) == Some(&REMB_NAME)
}

impl<'a> Remb<'a> {
    pub(super) fn read(mut r: Reader<'a>) -> Result<Self, Malformed> {
        let (sender, _unused) = read_head(&mut r)?;
        r.skip(4)?;
        let count = r.u8()?;
        // Six bits of exponent, 18 of mantissa.
        let word = r.u24()?;
        let streams = r.take(4 * usize::from(count))?;
        r.finish()?;
        Ok(Remb { sender, bitrate: scaled(u64::from(word & 0x3_ffff), word >> 18), streams })
    }

    /// The streams that share the rate.
    pub fn streams(&self) -> impl Iterator<Item = Ssrc> + use<'a> {
        ssrcs(self.streams)
    }

    /// Appends the message in at most `room` bytes; says how many streams went in, at most 255. `None`, and
    /// nothing appended, when there is no room. The rate is rounded down to 18 significant bits.
    pub fn emit(
        out: &mut BytesMut,
        room: usize,
        sender: Ssrc,
        bitrate: u64,
        streams: &[Ssrc],
    ) -> Option<usize> {
        let count = fitting(room, HEAD_LEN + 8, 4, 255)?.min(streams.len());
        let exponent = (u64::BITS - bitrate.leading_zeros()).saturating_sub(18);
        let mantissa = u32::try_from(bitrate >> exponent).unwrap_or(0);
        emit(out, types::PAYLOAD_FEEDBACK, APPLICATION, |w| {
            w.u32(sender.0);
            w.u32(0);
            w.slice(&REMB_NAME);
            w.u8(u8::try_from(count).unwrap_or(0));
            w.u24(exponent << 18 | mantissa);
            streams.iter().take(count).for_each(|ssrc| w.u32(ssrc.0));
        });
        Some(count)
    }
}

/// `mantissa * 2^exponent`, saturating: both come from the peer.
fn scaled(mantissa: u64, exponent: u32) -> u64 {
    if mantissa.leading_zeros() < exponent {
        u64::MAX
    } else {
        mantissa.checked_shl(exponent).unwrap_or(u64::MAX)
    }
}
