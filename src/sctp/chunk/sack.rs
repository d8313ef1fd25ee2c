//! SACK (RFC 9260 §3.3.4): what arrived, what did not, what came twice.
//!
//! ```text
//!  |  3   |  flags 0    |      length     |
//!  |         cumulative TSN ack           |   all up to here arrived
//!  |               a_rwnd                 |
//!  | number of gaps   | number of dups    |
//!  | gap start        | gap end           |   offsets from the cumulative TSN: these arrived too
//!  | duplicate TSN                        |
//! ```

use super::{emit_chunk, kind};
use crate::sctp::types::Tsn;
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::serial::Serial32;
use crate::wire::writer::Writer;

/// A run of TSNs that arrived beyond the cumulative one, as offsets from it, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GapBlock {
    pub(crate) start: u16,
    pub(crate) end: u16,
}

/// A SACK whose counts fit the chunk. What the numbers mean is for the sender of the data to judge.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sack<'a> {
    pub(crate) cumulative_tsn: Tsn,
    pub(crate) a_rwnd: u32,
    gaps: &'a [[u8; 4]],
    duplicates: &'a [[u8; 4]],
}

impl<'a> Sack<'a> {
    /// Bytes of a chunk without gaps and duplicates.
    pub(crate) const MIN_LEN: usize = 16;

    /// Reads the value of a SACK chunk.
    pub(crate) fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(value, "SACK");
        let cumulative_tsn = Serial32(r.u32()?);
        let a_rwnd = r.u32()?;
        let gap_count = usize::from(r.u16()?);
        let duplicate_count = usize::from(r.u16()?);
        let gaps = r.take(4 * gap_count)?.as_chunks().0;
        let duplicates = r.take(4 * duplicate_count)?.as_chunks().0;
        r.finish()?;
        Ok(Sack { cumulative_tsn, a_rwnd, gaps, duplicates })
    }

    /// The runs that arrived beyond the cumulative TSN, as the peer wrote them: order and sense are unchecked.
    pub(crate) fn gaps(&self) -> impl ExactSizeIterator<Item = GapBlock> + Clone + 'a {
        self.gaps.iter().map(|&[a, b, c, d]| GapBlock {
            start: u16::from_be_bytes([a, b]),
            end: u16::from_be_bytes([c, d]),
        })
    }

    /// TSNs that arrived more than once.
    pub(crate) fn duplicates(&self) -> impl ExactSizeIterator<Item = Tsn> + Clone + 'a {
        self.duplicates.iter().map(|&tsn| Serial32(u32::from_be_bytes(tsn)))
    }
}

/// Appends a SACK of at most `room` bytes: as many gaps as fit, then as many duplicates. Writes nothing when not
/// even [`Sack::MIN_LEN`] fits; says whether it wrote.
pub(crate) fn emit_sack(
    w: &mut Writer<'_>,
    room: usize,
    cumulative_tsn: Tsn,
    a_rwnd: u32,
    gaps: impl IntoIterator<Item = GapBlock>,
    duplicates: impl IntoIterator<Item = Tsn>,
) -> bool {
    let Some(room) = room.min(usize::from(u16::MAX)).checked_sub(Sack::MIN_LEN) else { return false };
    let entries = room / 4;
    emit_chunk(w, kind::SACK, 0, |w| {
        w.u32(cumulative_tsn.0);
        w.u32(a_rwnd);
        let counts = w.written();
        w.u32(0);
        let mut gap_count = 0;
        for gap in gaps.into_iter().take(entries) {
            w.u16(gap.start);
            w.u16(gap.end);
            gap_count += 1u16;
        }
        let mut duplicate_count = 0;
        for tsn in duplicates.into_iter().take(entries - usize::from(gap_count)) {
            w.u32(tsn.0);
            duplicate_count += 1u16;
        }
        w.patch_u16(counts, gap_count);
        w.patch_u16(counts + 2, duplicate_count);
    });
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sctp::chunk::Chunks;
    use bytes::BytesMut;
    use proptest::prelude::*;

    #[test]
    fn counts_that_do_not_fit_are_refused() {
        // HARDENING: a count must not reach beyond the chunk, nor leave bytes that nobody counted.
        let mut value = [0u8; 20];
        assert!(Sack::parse(&value[..12]).is_ok());
        assert!(Sack::parse(&value[..16]).is_err());
        value[9] = 2;
        assert!(Sack::parse(&value).is_ok());
        assert!(Sack::parse(&value[..19]).is_err());
        value[11] = 1;
        assert!(Sack::parse(&value).is_err());
        for len in 0..12 {
            assert!(Sack::parse(&value[..len]).is_err());
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let gaps = (0..10).map(|i| GapBlock { start: 2 + 3 * i, end: 3 + 3 * i });
        let dups = (0..10).map(Serial32);
        for (room, gap_count, dup_count) in [(16, 0, 0), (19, 0, 0), (24, 2, 0), (64, 10, 2), (1000, 10, 10)]
        {
            let mut buf = BytesMut::new();
            assert!(emit_sack(&mut Writer::new(&mut buf), room, Serial32(1), 7, gaps.clone(), dups.clone()));
            assert!(buf.len() <= room);
            let sack = Sack::parse(&buf[4..]).unwrap();
            assert_eq!((sack.gaps().len(), sack.duplicates().len()), (gap_count, dup_count));
        }
        let mut buf = BytesMut::new();
        assert!(!emit_sack(&mut Writer::new(&mut buf), 15, Serial32(1), 7, gaps, dups));
        assert!(buf.is_empty());
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed(
            tsn: u32, a_rwnd: u32,
            gaps in prop::collection::vec((any::<u16>(), any::<u16>()), 0..20),
            dups in prop::collection::vec(any::<u32>(), 0..20),
        ) {
            let gaps: Vec<_> = gaps.into_iter().map(|(start, end)| GapBlock { start, end }).collect();
            let dups: Vec<_> = dups.into_iter().map(Serial32).collect();
            let mut buf = BytesMut::new();
            let mut w = Writer::new(&mut buf);
            prop_assert!(emit_sack(&mut w, 1000, Serial32(tsn), a_rwnd, gaps.iter().copied(), dups.iter().copied()));
            let raw = Chunks::new(&buf, 0).next().unwrap().unwrap();
            let sack = Sack::parse(raw.value).unwrap();
            prop_assert_eq!((sack.cumulative_tsn.0, sack.a_rwnd), (tsn, a_rwnd));
            prop_assert_eq!(sack.gaps().collect::<Vec<_>>(), gaps);
            prop_assert_eq!(sack.duplicates().collect::<Vec<_>>(), dups);
        }
    }
}
