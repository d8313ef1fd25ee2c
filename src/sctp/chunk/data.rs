//! DATA (RFC 9260 §3.3.1) and I-DATA (RFC 8260 §2.1): a piece of a user message.
//!
//! ```text
//!  DATA                                        I-DATA
//!  |  0   | Res I U B E |      length     |    |  64  | Res I U B E |      length     |
//!  |                 TSN                  |    |                 TSN                  |
//!  |     stream       | SSN               |    |     stream       | reserved          |
//!  |                 PPID                 |    |                 MID                  |
//!  |  payload ...                         |    |        PPID (B) or FSN (not B)       |
//!                                              |  payload ...                         |
//! ```

use super::{RawChunk, kind};
use crate::sctp::types::Tsn;
use crate::types::ids::StreamId;
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::serial::Serial32;
use crate::wire::writer::Writer;

const IMMEDIATE: u8 = 0x08;
const UNORDERED: u8 = 0x04;
const BEGINNING: u8 = 0x02;
const ENDING: u8 = 0x01;

/// Which of the two chunks carries user data. Agreed once per association (RFC 8260 §2.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataFormat {
    /// DATA.
    Plain,
    /// I-DATA: messages can be interleaved.
    Interleaved,
}

impl DataFormat {
    /// Bytes before the payload, chunk header included.
    pub(crate) const fn header_len(self) -> usize {
        match self {
            DataFormat::Plain => 16,
            DataFormat::Interleaved => 20,
        }
    }

    /// The chunk type.
    pub(crate) const fn kind(self) -> u8 {
        match self {
            DataFormat::Plain => kind::DATA,
            DataFormat::Interleaved => kind::I_DATA,
        }
    }
}

/// A piece of a message. `P` holds the bytes; as received they are a slice of the packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DataChunk<P> {
    pub(crate) tsn: Tsn,
    pub(crate) stream: StreamId,
    pub(crate) unordered: bool,
    pub(crate) beginning: bool,
    pub(crate) ending: bool,
    /// RFC 7053: the sender asks for an acknowledgement without delay.
    pub(crate) immediate: bool,
    /// The 16-bit stream sequence number of DATA, or the 32-bit message identifier of I-DATA.
    pub(crate) ssn_or_mid: u32,
    /// I-DATA: the fragment's number within the message, 0 for the first. DATA: always 0.
    pub(crate) fsn: u32,
    /// I-DATA carries it with the first fragment only; 0 on the others.
    pub(crate) ppid: u32,
    pub(crate) payload: P,
}

impl<'a> DataChunk<&'a [u8]> {
    /// Reads a DATA or I-DATA chunk. The payload is the end of its value, and may be empty here: the association
    /// refuses that.
    #[inline]
    pub(crate) fn parse(format: DataFormat, chunk: &RawChunk<'a>) -> Result<Self, Malformed> {
        let flags = chunk.flags;
        let mut r = Reader::new(chunk.value, "DATA");
        let tsn = Serial32(r.u32()?);
        let stream = StreamId(r.u16()?);
        let beginning = flags & BEGINNING != 0;
        let (ssn_or_mid, fsn, ppid) = match format {
            DataFormat::Plain => (u32::from(r.u16()?), 0, r.u32()?),
            DataFormat::Interleaved => {
                r.u16()?;
                let mid = r.u32()?;
                let shared = r.u32()?;
                if beginning { (mid, 0, shared) } else { (mid, shared, 0) }
            }
        };
        Ok(DataChunk {
            tsn,
            stream,
            unordered: flags & UNORDERED != 0,
            beginning,
            ending: flags & ENDING != 0,
            immediate: flags & IMMEDIATE != 0,
            ssn_or_mid,
            fsn,
            ppid,
            payload: r.rest(),
        })
    }
}

impl<P: AsRef<[u8]>> DataChunk<P> {
    /// Bytes that [`emit`](Self::emit) will write, padding included.
    pub(crate) fn emitted_len(&self, format: DataFormat) -> usize {
        (format.header_len() + self.payload.as_ref().len()).next_multiple_of(4)
    }

    /// Appends the chunk and its padding.
    #[inline]
    pub(crate) fn emit(&self, format: DataFormat, w: &mut Writer<'_>) {
        let payload = self.payload.as_ref();
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let flags = flag(self.immediate, IMMEDIATE)
            | flag(self.unordered, UNORDERED)
            | flag(self.beginning, BEGINNING)
            | flag(self.ending, ENDING);
        let len = super::wire_length(format.header_len() + payload.len());
        let [len0, len1] = len.to_be_bytes();
        let [tsn0, tsn1, tsn2, tsn3] = self.tsn.0.to_be_bytes();
        let [stream0, stream1] = self.stream.0.to_be_bytes();
        let [_, _, ssn0, ssn1] = self.ssn_or_mid.to_be_bytes();
        let kind = format.kind();
        match format {
            DataFormat::Plain => {
                let [ppid0, ppid1, ppid2, ppid3] = self.ppid.to_be_bytes();
                w.slice(&[
                    kind, flags, len0, len1, tsn0, tsn1, tsn2, tsn3, stream0, stream1, ssn0, ssn1, ppid0,
                    ppid1, ppid2, ppid3,
                ]);
            }
            DataFormat::Interleaved => {
                w.slice(&[kind, flags, len0, len1, tsn0, tsn1, tsn2, tsn3, stream0, stream1, 0, 0]);
                w.u32(self.ssn_or_mid);
                w.u32(if self.beginning { self.ppid } else { self.fsn });
            }
        }
        w.slice(payload);
        w.zeros(payload.len().next_multiple_of(4) - payload.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sctp::chunk::Chunks;
    use bytes::BytesMut;
    use proptest::prelude::*;

    fn parse(format: DataFormat, wire: &[u8]) -> Result<DataChunk<&[u8]>, Malformed> {
        let raw = Chunks::new(wire, 0).next().ok_or(Malformed("nothing"))??;
        DataChunk::parse(format, &raw)
    }

    #[test]
    fn a_data_chunk_lies_on_the_wire_as_rfc_9260_draws_it() {
        let chunk = DataChunk {
            tsn: Serial32(0x01020304),
            stream: StreamId(5),
            unordered: true,
            beginning: true,
            ending: true,
            immediate: false,
            ssn_or_mid: 6,
            fsn: 0,
            ppid: 51,
            payload: &b"hi"[..],
        };
        let mut buf = BytesMut::new();
        chunk.emit(DataFormat::Plain, &mut Writer::new(&mut buf));
        assert_eq!(&buf[..], b"\x00\x07\x00\x12\x01\x02\x03\x04\x00\x05\x00\x06\x00\x00\x00\x33hi\x00\x00");
        assert_eq!(parse(DataFormat::Plain, &buf), Ok(chunk));
    }

    #[test]
    fn every_truncation_is_refused() {
        for format in [DataFormat::Plain, DataFormat::Interleaved] {
            for len in 0..format.header_len() - 4 {
                let value = vec![0u8; len];
                let chunk = RawChunk { kind: format.kind(), flags: 0, value: &value, range: 0..len };
                assert!(DataChunk::parse(format, &chunk).is_err(), "{format:?} {len}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed(
            tsn: u32, stream: u16, flags in 0u8..16, number: u32, shared: u32, interleaved: bool,
            payload in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let format = if interleaved { DataFormat::Interleaved } else { DataFormat::Plain };
            let beginning = flags & BEGINNING != 0;
            let chunk = DataChunk {
                tsn: Serial32(tsn),
                stream: StreamId(stream),
                unordered: flags & UNORDERED != 0,
                beginning,
                ending: flags & ENDING != 0,
                immediate: flags & IMMEDIATE != 0,
                ssn_or_mid: if interleaved { number } else { number & 0xffff },
                fsn: if interleaved && !beginning { shared } else { 0 },
                ppid: if interleaved && !beginning { 0 } else { shared },
                payload: &payload[..],
            };
            let mut buf = BytesMut::new();
            chunk.emit(format, &mut Writer::new(&mut buf));
            prop_assert_eq!(buf.len(), chunk.emitted_len(format));
            prop_assert_eq!(parse(format, &buf), Ok(chunk));
        }
    }
}
