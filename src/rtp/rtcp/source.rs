//! About sources: descriptions, goodbyes, and packets of applications (RFC 3550 §6.5 to §6.7).

use bytes::BytesMut;

use super::{emit, fitting, ssrcs, types};
use crate::types::ids::Ssrc;
use crate::wire::Malformed;
use crate::wire::reader::Reader;

/// The item that names an endpoint across its streams (RFC 3550 §6.5.1).
pub const CNAME: u8 = 1;
/// The item that carries a MID (RFC 9143 §15.1).
pub const MID: u8 = 15;
/// The item that carries a RID (RFC 8852 §3.1).
pub const RID: u8 = 12;

/// Source descriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description<'a> {
    bytes: &'a [u8],
    count: u8,
}

/// The description of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// The source.
    pub ssrc: Ssrc,
    items: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// The items in order: type, and text that may hold any bytes.
    pub fn items(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let mut r = Reader::new(self.items, "SDES item");
        std::iter::from_fn(move || {
            let kind = r.u8().ok()?;
            r.sub_u8().ok().map(|mut text| (kind, text.rest()))
        })
    }

    /// RFC 3550 §6.5: items until a zero byte, then zeros up to a full word.
    fn read(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let whole = r.peek();
        let ssrc = Ssrc(r.u32()?);
        let start = whole.len() - r.remaining();
        let end = loop {
            let end = whole.len() - r.remaining();
            if r.u8()? == 0 {
                break end;
            }
            r.sub_u8()?;
        };
        let read = whole.len() - r.remaining();
        r.skip(read.next_multiple_of(4) - read)?;
        Ok(Chunk { ssrc, items: whole.get(start..end).unwrap_or_default() })
    }
}

impl<'a> Description<'a> {
    pub(super) fn read(r: Reader<'a>, count: u8) -> Result<Self, Malformed> {
        let description = Description { bytes: r.peek(), count };
        let mut r = r;
        for _ in 0..count {
            Chunk::read(&mut r)?;
        }
        Ok(description)
    }

    /// The descriptions in order.
    pub fn chunks(&self) -> impl Iterator<Item = Chunk<'a>> + use<'a> {
        let mut r = Reader::new(self.bytes, "SDES chunk");
        (0..self.count).map_while(move |_| Chunk::read(&mut r).ok())
    }

    /// Appends a description of one source with items of 1 to 255 bytes, in at most `room` bytes; those
    /// that do not fit are left out. False, and nothing appended, when not even the source fits.
    pub fn emit(out: &mut BytesMut, room: usize, ssrc: Ssrc, items: &[(u8, &[u8])]) -> bool {
        // Header, source, and the word that holds the final zero.
        let Some(mut rest) = room.checked_sub(12) else { return false };
        emit(out, types::SOURCE_DESCRIPTION, 1, |w| {
            w.u32(ssrc.0);
            for (kind, text) in items {
                let Ok(len) = u8::try_from(text.len()) else { continue };
                if let Some(left) = rest.checked_sub(2 + text.len()).filter(|_| *kind != 0) {
                    rest = left;
                    w.u8(*kind);
                    w.u8(len);
                    w.slice(text);
                }
            }
            w.u8(0);
        });
        true
    }
}

/// Sources that end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bye<'a> {
    sources: &'a [u8],
    /// Why, as text that may hold any bytes; empty when not told.
    pub reason: &'a [u8],
}

impl<'a> Bye<'a> {
    pub(super) fn read(mut r: Reader<'a>, count: u8) -> Result<Self, Malformed> {
        let sources = r.take(4 * usize::from(count))?;
        let reason = if r.is_empty() { &[][..] } else { r.sub_u8()?.rest() };
        Ok(Bye { sources, reason })
    }

    /// The sources in order, at most 31.
    pub fn sources(&self) -> impl Iterator<Item = Ssrc> + use<'a> {
        ssrcs(self.sources)
    }

    /// Appends a goodbye of at most `room` bytes; says how many sources went in, at most 31. `None`, and
    /// nothing appended, when there is no room. The reason is left out when it does not fit.
    pub fn emit(out: &mut BytesMut, room: usize, sources: &[Ssrc], reason: &str) -> Option<usize> {
        let count = fitting(room, 4, 4, 31)?.min(sources.len());
        let left = room - 4 - 4 * count;
        let reason_len = u8::try_from(reason.len()).ok();
        let fits = (1 + reason.len()).next_multiple_of(4) <= left && !reason.is_empty();
        emit(out, types::BYE, u8::try_from(count).unwrap_or(0), |w| {
            sources.iter().take(count).for_each(|ssrc| w.u32(ssrc.0));
            if let Some(len) = reason_len.filter(|_| fits) {
                w.u8(len);
                w.slice(reason.as_bytes());
            }
        });
        Some(count)
    }
}

/// A packet that an application defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Application<'a> {
    /// The source.
    pub ssrc: Ssrc,
    /// Five bits that the application gives a meaning.
    pub subtype: u8,
    /// The application's name, four ASCII letters.
    pub name: [u8; 4],
    /// The application's data.
    pub data: &'a [u8],
}

impl<'a> Application<'a> {
    pub(super) fn read(mut r: Reader<'a>, subtype: u8) -> Result<Self, Malformed> {
        Ok(Application { ssrc: Ssrc(r.u32()?), subtype, name: r.array()?, data: r.rest() })
    }

    /// Appends the packet; its data is filled up to full words. False, and nothing appended, when it does
    /// not fit into `room` bytes.
    pub fn emit(&self, out: &mut BytesMut, room: usize) -> bool {
        let fits = 12 + self.data.len().next_multiple_of(4) <= room;
        if fits {
            emit(out, types::APPLICATION, self.subtype, |w| {
                w.u32(self.ssrc.0);
                w.slice(&self.name);
                w.slice(self.data);
            });
        }
        fits
    }
}
