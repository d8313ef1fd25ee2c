//! Sender, receiver and extended reports (RFC 3550 §6.4, RFC 3611).

use bytes::BytesMut;

use super::{emit, fitting, types};
use crate::rtp::ntp::NtpTime;
use crate::types::ids::Ssrc;
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// Report blocks in one packet at most: its count has five bits.
pub const MAX_BLOCKS: usize = 31;
const BLOCK_LEN: usize = 24;

/// What a sender says of its own stream (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// Wall-clock time when the report was sent.
    pub ntp: NtpTime,
    /// The same moment in the stream's media time.
    pub rtp: u32,
    /// Packets sent so far, modulo 2^32.
    pub packets: u32,
    /// Payload bytes sent so far, modulo 2^32.
    pub octets: u32,
}

/// What a receiver says of one stream (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlock {
    /// The stream.
    pub ssrc: Ssrc,
    /// Share of packets lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the start, -2^23 to 2^23 - 1; duplicates make it negative.
    pub lost: i32,
    /// The highest sequence number: cycles in the upper half.
    pub highest_sequence: u32,
    /// Inter-arrival jitter in units of media time.
    pub jitter: u32,
    /// The middle of the NTP time of the last sender report; 0 when none came.
    pub last_sr: u32,
    /// Time since that report came, in 1/65,536 s.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    fn read(bytes: &[u8; BLOCK_LEN]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes, "report block");
        Ok(ReportBlock {
            ssrc: Ssrc(r.u32()?),
            fraction_lost: r.u8()?,
            // The 24-bit number is signed.
            lost: (r.u24()? << 8).cast_signed() >> 8,
            highest_sequence: r.u32()?,
            jitter: r.u32()?,
            last_sr: r.u32()?,
            delay_since_last_sr: r.u32()?,
        })
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.u32(self.ssrc.0);
        w.u8(self.fraction_lost);
        // RFC 3550 appendix A.3: clamped, not wrapped.
        w.u24(self.lost.clamp(-(1 << 23), (1 << 23) - 1).cast_unsigned() & 0x00ff_ffff);
        w.u32(self.highest_sequence);
        w.u32(self.jitter);
        w.u32(self.last_sr);
        w.u32(self.delay_since_last_sr);
    }
}

/// The report blocks of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks<'a> {
    bytes: &'a [u8],
}

impl<'a> Blocks<'a> {
    fn read(r: &mut Reader<'a>, count: u8) -> Result<Self, Malformed> {
        // RFC 3550 §6.4.3: what follows the blocks is a profile's extension, and ignored.
        r.take(BLOCK_LEN * usize::from(count)).map(|bytes| Blocks { bytes })
    }

    /// The blocks in order.
    pub fn iter(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        self.bytes.as_chunks::<BLOCK_LEN>().0.iter().filter_map(|bytes| ReportBlock::read(bytes).ok())
    }
}

/// A sender report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderReport<'a> {
    /// Who sends.
    pub sender: Ssrc,
    /// What it sent.
    pub info: SenderInfo,
    /// What it received.
    pub blocks: Blocks<'a>,
}

impl<'a> SenderReport<'a> {
    pub(super) fn read(mut r: Reader<'a>, count: u8) -> Result<Self, Malformed> {
        let sender = Ssrc(r.u32()?);
        let info = SenderInfo { ntp: NtpTime(r.u64()?), rtp: r.u32()?, packets: r.u32()?, octets: r.u32()? };
        Ok(SenderReport { sender, info, blocks: Blocks::read(&mut r, count)? })
    }

    /// Appends a sender report of at most `room` bytes. Says how many blocks went in, at most 31; `None`,
    /// and nothing appended, when not even the sender's part fits.
    pub fn emit(
        out: &mut BytesMut,
        room: usize,
        sender: Ssrc,
        info: &SenderInfo,
        blocks: &[ReportBlock],
    ) -> Option<usize> {
        emit_blocks(out, room, types::SENDER_REPORT, blocks, 24, |w| {
            w.u32(sender.0);
            w.u64(info.ntp.0);
            w.u32(info.rtp);
            w.u32(info.packets);
            w.u32(info.octets);
        })
    }
}

/// A receiver report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiverReport<'a> {
    /// Who reports.
    pub sender: Ssrc,
    /// What it received.
    pub blocks: Blocks<'a>,
}

impl<'a> ReceiverReport<'a> {
    pub(super) fn read(mut r: Reader<'a>, count: u8) -> Result<Self, Malformed> {
        let sender = Ssrc(r.u32()?);
        Ok(ReceiverReport { sender, blocks: Blocks::read(&mut r, count)? })
    }

    /// Appends a receiver report of at most `room` bytes, as [`SenderReport::emit`] does.
    pub fn emit(out: &mut BytesMut, room: usize, sender: Ssrc, blocks: &[ReportBlock]) -> Option<usize> {
        emit_blocks(out, room, types::RECEIVER_REPORT, blocks, 4, |w| w.u32(sender.0))
    }
}

fn emit_blocks(
    out: &mut BytesMut,
    room: usize,
    packet_type: u8,
    blocks: &[ReportBlock],
    head_len: usize,
    head: impl FnOnce(&mut Writer<'_>),
) -> Option<usize> {
    let count = fitting(room, 4 + head_len, BLOCK_LEN, MAX_BLOCKS)?.min(blocks.len());
    emit(out, packet_type, u8::try_from(count).unwrap_or(0), |w| {
        head(w);
        blocks.iter().take(count).for_each(|block| block.write(w));
    });
    Some(count)
}

/// An extended report (RFC 3611 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extended<'a> {
    /// Who reports.
    pub sender: Ssrc,
    bytes: &'a [u8],
}

/// One block of an extended report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExtendedBlock<'a> {
    /// The receiver's own clock (RFC 3611 §4.4).
    ReceiverTime(NtpTime),
    /// Answers to others' receiver times (RFC 3611 §4.5).
    Delays(Delays<'a>),
    /// A block of another type.
    Unknown {
        /// The block type.
        block_type: u8,
        /// The byte whose meaning depends on the type.
        specific: u8,
        /// What follows the block's 4-byte header.
        body: &'a [u8],
    },
}

const RECEIVER_TIME: u8 = 4;
const DELAYS: u8 = 5;

/// Answers to receivers that told their time, one for each (RFC 3611 §4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delays<'a> {
    bytes: &'a [u8],
}

/// How long ago a receiver's time was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delay {
    /// The receiver that told its time.
    pub ssrc: Ssrc,
    /// The middle of the NTP time that it told; 0 when it told none.
    pub last_rr: u32,
    /// Time since then, in 1/65,536 s.
    pub delay: u32,
}

impl<'a> Delays<'a> {
    /// The answers in order.
    pub fn iter(&self) -> impl Iterator<Item = Delay> + use<'a> {
        self.bytes.as_chunks::<12>().0.iter().filter_map(|bytes| {
            let mut r = Reader::new(bytes, "DLRR block");
            Some(Delay { ssrc: Ssrc(r.u32().ok()?), last_rr: r.u32().ok()?, delay: r.u32().ok()? })
        })
    }
}

impl<'a> Extended<'a> {
    pub(super) fn read(mut r: Reader<'a>) -> Result<Self, Malformed> {
        let sender = Ssrc(r.u32()?);
        let report = Extended { sender, bytes: r.peek() };
        while !r.is_empty() {
            read_block(&mut r)?;
        }
        Ok(report)
    }

    /// The blocks in order.
    pub fn blocks(&self) -> impl Iterator<Item = ExtendedBlock<'a>> + use<'a> {
        let mut r = Reader::new(self.bytes, "XR block");
        std::iter::from_fn(move || read_block(&mut r).ok())
    }

    /// Appends an extended report with the receiver's time (16 + 4 bytes) and answers to others, in at most
    /// `room` bytes. Says how many answers went in; `None`, and nothing appended, when nothing fits.
    pub fn emit(
        out: &mut BytesMut,
        room: usize,
        sender: Ssrc,
        receiver_time: Option<NtpTime>,
        delays: &[Delay],
    ) -> Option<usize> {
        let fixed = 8 + receiver_time.map_or(0, |_| 12);
        // The room counts the header of the block of answers only when there are answers.
        let answers = fitting(room, fixed + 4, 12, delays.len()).unwrap_or(0);
        if fixed > room || (answers == 0 && receiver_time.is_none()) {
            return None;
        }
        emit(out, types::EXTENDED_REPORT, 0, |w| {
            w.u32(sender.0);
            if let Some(time) = receiver_time {
                w.slice(&[RECEIVER_TIME, 0, 0, 2]);
                w.u64(time.0);
            }
            if answers > 0 {
                w.slice(&[DELAYS, 0]);
                w.u16(u16::try_from(3 * answers).unwrap_or(0));
                for delay in delays.iter().take(answers) {
                    w.u32(delay.ssrc.0);
                    w.u32(delay.last_rr);
                    w.u32(delay.delay);
                }
            }
        });
        Some(answers)
    }
}

/// RFC 3611 §3: type, a byte of its own, length in words.
fn read_block<'a>(r: &mut Reader<'a>) -> Result<ExtendedBlock<'a>, Malformed> {
    let [block_type, specific] = r.array()?;
    let words = r.u16()?;
    let body = r.take(4 * usize::from(words))?;
    Ok(match block_type {
        RECEIVER_TIME => ExtendedBlock::ReceiverTime(NtpTime(Reader::new(body, "RRTR block").u64()?)),
        DELAYS if body.len().is_multiple_of(12) => ExtendedBlock::Delays(Delays { bytes: body }),
        DELAYS => return Err(Malformed("DLRR block")),
        _ => ExtendedBlock::Unknown { block_type, specific, body },
    })
}
