//! RTCP packets (RFC 3550 §6, RFC 4585, RFC 3611, RFC 8888): read as borrowed views, written in place.
//!
//! [`Compound`] walks a datagram that holds one packet or many, reduced-size ones included (RFC 5506), without
//! allocating. Whatever a packet counts is checked when its view is made: iterating over a view cannot fail.
//! A packet that lies about itself is an error of its own; one that lies about its length ends the walk.
//!
//! Writers take the room that is left and say how much of what they were given went in, so that a compound
//! never outgrows its datagram.

pub mod ccfb;
pub mod feedback;
pub mod report;
pub mod source;
pub mod twcc;

use bytes::BytesMut;

use crate::types::ids::Ssrc;
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// RTCP packet types.
mod types {
    pub(super) const SENDER_REPORT: u8 = 200;
    pub(super) const RECEIVER_REPORT: u8 = 201;
    pub(super) const SOURCE_DESCRIPTION: u8 = 202;
    pub(super) const BYE: u8 = 203;
    pub(super) const APPLICATION: u8 = 204;
    pub(super) const TRANSPORT_FEEDBACK: u8 = 205;
    pub(super) const PAYLOAD_FEEDBACK: u8 = 206;
    pub(super) const EXTENDED_REPORT: u8 = 207;
}

/// One packet of a compound.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Packet<'a> {
    /// SR (RFC 3550 §6.4.1).
    SenderReport(report::SenderReport<'a>),
    /// RR (RFC 3550 §6.4.2).
    ReceiverReport(report::ReceiverReport<'a>),
    /// SDES (RFC 3550 §6.5).
    Description(source::Description<'a>),
    /// BYE (RFC 3550 §6.6).
    Bye(source::Bye<'a>),
    /// APP (RFC 3550 §6.7).
    Application(source::Application<'a>),
    /// XR (RFC 3611).
    Extended(report::Extended<'a>),
    /// Generic NACK (RFC 4585 §6.2.1).
    Nack(feedback::Nack<'a>),
    /// TMMBR (RFC 5104 §4.2.1).
    MaxBitrate(feedback::MaxBitrate<'a>),
    /// Transport-wide congestion control feedback.
    TransportWide(twcc::Feedback<'a>),
    /// Congestion control feedback (RFC 8888).
    Congestion(ccfb::Feedback<'a>),
    /// PLI (RFC 4585 §6.3.1).
    PictureLoss(feedback::PictureLoss),
    /// FIR (RFC 5104 §4.3.1).
    FullIntra(feedback::FullIntra<'a>),
    /// REMB (draft-alvestrand-rmcat-remb).
    Remb(feedback::Remb<'a>),
    /// A packet of a kind that this crate does not read.
    Unknown(Unknown<'a>),
}

/// A packet of an unknown kind, as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown<'a> {
    /// The packet type.
    pub packet_type: u8,
    /// The five bits that count or tell the format.
    pub count: u8,
    /// What follows the 4-byte header, without padding.
    pub body: &'a [u8],
}

/// Walks the packets of one datagram (RFC 3550 §6.1, RFC 5506).
#[derive(Debug, Clone, Copy)]
pub struct Compound<'a> {
    r: Reader<'a>,
}

impl<'a> Compound<'a> {
    /// Walks `datagram`, which is clear: decrypted, or never encrypted.
    pub fn new(datagram: &'a [u8]) -> Self {
        Compound { r: Reader::new(datagram, "RTCP packet") }
    }

    /// The next packet's head and body, its padding taken off.
    fn frame(&mut self) -> Result<Unknown<'a>, Malformed> {
        let [first, packet_type] = self.r.array()?;
        let mut body = self.r.u16().and_then(|words| self.r.sub(4 * usize::from(words)))?.rest();
        if first >> 6 != 2 {
            return Err(self.r.malformed());
        }
        if first & 0x20 != 0 {
            // RFC 3550 §6.4.1: the last octet counts the padding, itself included; a multiple of four.
            let count = body.last().copied().map_or(0, usize::from);
            let len = body.len().checked_sub(count).filter(|_| count > 0 && count % 4 == 0);
            body = len.and_then(|len| body.get(..len)).ok_or(self.r.malformed())?;
        }
        Ok(Unknown { packet_type, count: first & 0x1f, body })
    }
}

impl<'a> Iterator for Compound<'a> {
    type Item = Result<Packet<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.r.is_empty() {
            return None;
        }
        match self.frame() {
            Ok(frame) => Some(Packet::read(frame)),
            Err(malformed) => {
                // Where the next packet starts is unknown.
                self.r.rest();
                Some(Err(malformed))
            }
        }
    }
}

impl<'a> Packet<'a> {
    fn read(frame: Unknown<'a>) -> Result<Self, Malformed> {
        let Unknown { packet_type, count, body } = frame;
        let r = Reader::new(body, "RTCP packet");
        Ok(match (packet_type, count) {
            (types::SENDER_REPORT, _) => Packet::SenderReport(report::SenderReport::read(r, count)?),
            (types::RECEIVER_REPORT, _) => Packet::ReceiverReport(report::ReceiverReport::read(r, count)?),
            (types::SOURCE_DESCRIPTION, _) => Packet::Description(source::Description::read(r, count)?),
            (types::BYE, _) => Packet::Bye(source::Bye::read(r, count)?),
            (types::APPLICATION, _) => Packet::Application(source::Application::read(r, count)?),
            (types::EXTENDED_REPORT, _) => Packet::Extended(report::Extended::read(r)?),
            (types::TRANSPORT_FEEDBACK, feedback::NACK) => Packet::Nack(feedback::Nack::read(r)?),
            (types::TRANSPORT_FEEDBACK, feedback::TMMBR) => {
                Packet::MaxBitrate(feedback::MaxBitrate::read(r)?)
            }
            (types::TRANSPORT_FEEDBACK, twcc::FORMAT) => Packet::TransportWide(twcc::Feedback::read(r)?),
            (types::TRANSPORT_FEEDBACK, ccfb::FORMAT) => Packet::Congestion(ccfb::Feedback::read(r)?),
            (types::PAYLOAD_FEEDBACK, feedback::PLI) => Packet::PictureLoss(feedback::PictureLoss::read(r)?),
            (types::PAYLOAD_FEEDBACK, feedback::FIR) => Packet::FullIntra(feedback::FullIntra::read(r)?),
            (types::PAYLOAD_FEEDBACK, feedback::APPLICATION) if feedback::is_remb(body) => {
                Packet::Remb(feedback::Remb::read(r)?)
            }
            _ => Packet::Unknown(frame),
        })
    }
}

/// Whether `datagram`'s second byte is an RTCP packet type, not an RTP payload type (RFC 5761 §4).
pub fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [_, 192..=223, ..])
}

/// Appends a packet to `out`: its header, what `body` writes, zeros up to a full word; the length last.
fn emit(out: &mut BytesMut, packet_type: u8, count: u8, body: impl FnOnce(&mut Writer<'_>)) {
    let mut w = Writer::new(out);
    w.u8(2 << 6 | count & 0x1f);
    w.u8(packet_type);
    w.u16(0);
    body(&mut w);
    w.pad_to(4);
    // RFC 3550 §6.4.1: in words, minus one, so the header itself does not count.
    let words = u16::try_from(w.written() / 4 - 1);
    debug_assert!(words.is_ok(), "an RTCP packet outgrew its length field");
    w.patch_u16(2, words.unwrap_or(u16::MAX));
}

/// How many items of `each` bytes fit behind `fixed` bytes in `room`, at most `most` of them.
fn fitting(room: usize, fixed: usize, each: usize, most: usize) -> Option<usize> {
    room.checked_sub(fixed).map(|rest| (rest / each).min(most))
}

/// The SSRCs of a list of 4-byte fields.
fn ssrcs(list: &[u8]) -> impl Iterator<Item = Ssrc> + '_ {
    list.as_chunks::<4>().0.iter().map(|bytes| Ssrc(u32::from_be_bytes(*bytes)))
}

#[cfg(test)]
mod tests;
