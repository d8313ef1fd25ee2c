//! FORWARD-TSN (RFC 3758 §3.2) and I-FORWARD-TSN (RFC 8260 §2.3.1): stop waiting for what was given up.
//!
//! ```text
//!  FORWARD-TSN                                 I-FORWARD-TSN
//!  | 192  |  flags 0    |      length     |    | 194  |  flags 0    |      length     |
//!  |        new cumulative TSN            |    |        new cumulative TSN            |
//!  |     stream       | SSN               |    |     stream       | reserved        U |
//!                                              |                MID                   |
//! ```
//!
//! Each entry names the last message given up on a stream. FORWARD-TSN names ordered messages only.

use super::data::DataFormat;
use super::{CHUNK_HEADER_LEN, emit_chunk, kind};
use crate::sctp::types::Tsn;
use crate::types::ids::StreamId;
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::serial::Serial32;
use crate::wire::writer::Writer;

/// The last message that was given up on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Skipped {
    pub(crate) stream: StreamId,
    /// Always false in FORWARD-TSN.
    pub(crate) unordered: bool,
    /// The stream sequence number, or the message identifier in I-FORWARD-TSN.
    pub(crate) ssn_or_mid: u32,
}

/// A FORWARD-TSN or I-FORWARD-TSN of whole entries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ForwardTsn<'a> {
    pub(crate) new_cumulative: Tsn,
    format: DataFormat,
    entries: &'a [u8],
}

/// Bytes of a chunk without entries.
pub(crate) const MIN_LEN: usize = CHUNK_HEADER_LEN + 4;

/// Bytes of one entry.
pub(crate) const fn entry_len(format: DataFormat) -> usize {
    match format {
        DataFormat::Plain => 4,
        DataFormat::Interleaved => 8,
    }
}

impl<'a> ForwardTsn<'a> {
    /// Reads the value of a FORWARD-TSN (plain) or I-FORWARD-TSN (interleaved).
    pub(crate) fn parse(format: DataFormat, value: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(value, "FORWARD-TSN");
        let new_cumulative = Serial32(r.u32()?);
        let entries = r.rest();
        if !entries.len().is_multiple_of(entry_len(format)) {
            return Err(Malformed("FORWARD-TSN"));
        }
        Ok(ForwardTsn { new_cumulative, format, entries })
    }

    /// The last message given up of each stream, as the peer wrote them.
    pub(crate) fn skipped(&self) -> impl Iterator<Item = Skipped> + Clone + 'a {
        let format = self.format;
        self.entries.chunks_exact(entry_len(format)).filter_map(move |entry| {
            let mut r = Reader::new(entry, "FORWARD-TSN");
            let stream = StreamId(r.u16().ok()?);
            let flags_or_ssn = r.u16().ok()?;
            Some(match format {
                DataFormat::Plain => {
                    Skipped { stream, unordered: false, ssn_or_mid: u32::from(flags_or_ssn) }
                }
                DataFormat::Interleaved => {
                    Skipped { stream, unordered: flags_or_ssn & 1 != 0, ssn_or_mid: r.u32().ok()? }
                }
            })
        })
    }
}

/// Appends the chunk, with as many entries as fit into `room` bytes. Writes nothing when not even the TSN fits;
/// says whether it wrote.
pub(crate) fn emit_forward_tsn(
    format: DataFormat,
    w: &mut Writer<'_>,
    room: usize,
    new_cumulative: Tsn,
    skipped: impl IntoIterator<Item = Skipped>,
) -> bool {
    let Some(room) = room.min(usize::from(u16::MAX)).checked_sub(MIN_LEN) else { return false };
    let kind = match format {
        DataFormat::Plain => kind::FORWARD_TSN,
        DataFormat::Interleaved => kind::I_FORWARD_TSN,
    };
    emit_chunk(w, kind, 0, |w| {
        w.u32(new_cumulative.0);
        for entry in skipped.into_iter().take(room / entry_len(format)) {
            w.u16(entry.stream.0);
            match format {
                DataFormat::Plain => {
                    let [_, _, high, low] = entry.ssn_or_mid.to_be_bytes();
                    w.slice(&[high, low]);
                }
                DataFormat::Interleaved => {
                    w.u16(u16::from(entry.unordered));
                    w.u32(entry.ssn_or_mid);
                }
            }
        }
    });
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use proptest::prelude::*;

    #[test]
    fn an_entry_cut_short_is_refused() {
        let value = [0u8; 20];
        for (format, good) in [(DataFormat::Plain, 4), (DataFormat::Interleaved, 8)] {
            for len in 0..value.len() {
                let whole = len >= 4 && (len - 4).is_multiple_of(good);
                assert_eq!(ForwardTsn::parse(format, &value[..len]).is_ok(), whole, "{format:?} {len}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed(
            tsn: u32, interleaved: bool, room in 8usize..100,
            entries in prop::collection::vec((any::<u16>(), any::<bool>(), any::<u32>()), 0..20),
        ) {
            let format = if interleaved { DataFormat::Interleaved } else { DataFormat::Plain };
            let entries: Vec<_> = entries.into_iter().map(|(stream, unordered, number)| Skipped {
                stream: StreamId(stream),
                unordered: interleaved && unordered,
                ssn_or_mid: if interleaved { number } else { number & 0xffff },
            }).collect();
            let mut buf = BytesMut::new();
            prop_assert!(emit_forward_tsn(format, &mut Writer::new(&mut buf), room, Serial32(tsn), entries.clone()));
            prop_assert!(buf.len() <= room);
            let chunk = ForwardTsn::parse(format, &buf[4..]).unwrap();
            prop_assert_eq!(chunk.new_cumulative, Serial32(tsn));
            let fits = entries.len().min((room - MIN_LEN) / entry_len(format));
            prop_assert_eq!(chunk.skipped().collect::<Vec<_>>(), entries[..fits].to_vec());
        }
    }
}
