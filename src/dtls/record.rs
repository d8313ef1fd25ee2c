//! The form of records (RFC 6347 §4.1, RFC 9147 §4).
//!
//! ```text
//! in the clear, and 1.2:  type(1) version(2) epoch(2) sequence(6) length(2) what it holds
//! protected, 1.3:         001CSLEE [sequence(1 or 2), hidden] [length(2)]   what it holds
//! ```
//!
//! In the second form the first byte tells of a connection identifier (C, never agreed on here), the width of the
//! sequence number (S), whether there is a length (L), and the low bits of the epoch (EE).

use bytes::BytesMut;

use super::suite::Version;
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// Which keys protect a record: 0 means none, 1 those of 1.2; 1.3 counts its keys from 2 on (RFC 9147 §6.1).
pub type Epoch = u64;

/// Bytes of a record header of 1.2, the explicit nonce not included.
pub const HEADER_LEN: usize = 13;

/// The most that a record may hold in the clear (RFC 5246 §6.2.1).
pub const MAX_PLAINTEXT: usize = 1 << 14;

/// The most that a record may hold sealed (RFC 5246 §6.2.3).
const MAX_CIPHERTEXT: usize = MAX_PLAINTEXT + 2048;

/// The most that a record of 1.3 may hold sealed (RFC 8446 §5.2).
const MAX_CIPHERTEXT_13: usize = MAX_PLAINTEXT + 256;

/// What is sealed is at least as long as the sample that hides its number (RFC 9147 §4.2.3).
pub(crate) const SAMPLE_LEN: usize = 16;

/// Sequence numbers have 48 bits (RFC 6347 §4.1).
pub(crate) const MAX_SEQUENCE: u64 = (1 << 48) - 1;

/// The number of a record on its connection (RFC 9147 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RecordNumber {
    pub(crate) epoch: Epoch,
    pub(crate) sequence: u64,
}

/// What a record holds (RFC 5246 §6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentType(
    /// The code on the wire.
    pub u8,
);

impl ContentType {
    /// New keys are in use from the next record on. Says nothing here: the epoch does.
    pub const CHANGE_CIPHER_SPEC: Self = ContentType(20);
    /// An [`Alert`](super::alert::Alert).
    pub const ALERT: Self = ContentType(21);
    /// Handshake messages or fragments of them.
    pub const HANDSHAKE: Self = ContentType(22);
    /// What the application sent.
    pub const APPLICATION_DATA: Self = ContentType(23);
    /// Which handshake records have arrived (RFC 9147 §7).
    pub const ACK: Self = ContentType(26);
}

/// The header of a record in the clear, or of 1.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the record holds.
    pub content_type: ContentType,
    /// The version on the wire.
    pub version: u16,
    /// Which keys protect it; 0 means none.
    pub epoch: u16,
    /// Its number within the epoch, 48 bits.
    pub sequence: u64,
    /// Bytes that follow the header.
    pub length: u16,
}

impl Header {
    /// Reads a header; the bytes that it announces must be there.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let header = Header {
            content_type: ContentType(r.u8()?),
            version: r.u16()?,
            epoch: r.u16()?,
            sequence: r.u48()?,
            length: r.u16()?,
        };
        let fits = header.record_len() - HEADER_LEN <= r.remaining().min(MAX_CIPHERTEXT);
        let is_ack = header.content_type == ContentType::ACK && header.epoch == 0;
        let known = (20..=23).contains(&header.content_type.0) || is_ack;
        if fits && known && header.is_version_accepted() { Ok(header) } else { Err(r.malformed()) }
    }

    /// Writes the header.
    pub fn emit(&self, w: &mut Writer<'_>) {
        w.u8(self.content_type.0);
        w.u16(self.version);
        w.u16(self.epoch);
        w.u48(self.sequence);
        w.u16(self.length);
    }

    /// Bytes of the whole record.
    pub fn record_len(&self) -> usize {
        HEADER_LEN + usize::from(self.length)
    }

    /// RFC 6347 §4.2.1: a client that does not know the server's version yet may write 1.0 in the clear.
    fn is_version_accepted(&self) -> bool {
        self.version == Version::Dtls12.code() || (self.epoch == 0 && self.version == 0xfeff)
    }
}

/// The header of a protected record of 1.3 (RFC 9147 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnifiedHeader {
    /// The two low bits of the epoch.
    pub epoch_bits: u8,
    /// Bytes of the sequence number: 1 or 2.
    pub sequence_len: usize,
    /// Whether a length is there; without it the record ends with its datagram.
    pub has_length: bool,
    /// Bytes that follow the header.
    pub length: usize,
}

impl UnifiedHeader {
    /// The three bits that all first bytes share.
    const FIXED: u8 = 0b0010_0000;
    const CONNECTION_ID: u8 = 0b0001_0000;
    const LONG_SEQUENCE: u8 = 0b0000_1000;
    const LENGTH: u8 = 0b0000_0100;
    const EPOCH: u8 = 0b0000_0011;

    /// Whether a record of this first byte has such a header (RFC 9147 §4.1).
    pub fn is_announced_by(first: u8) -> bool {
        first & 0b1110_0000 == Self::FIXED
    }

    /// Reads the header, the hidden sequence number skipped; the bytes that it announces must be there.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let first = r.u8()?;
        // RFC 9147 §9: nobody asked for a connection identifier.
        if !Self::is_announced_by(first) || first & Self::CONNECTION_ID != 0 {
            return Err(r.malformed());
        }
        let sequence_len = if first & Self::LONG_SEQUENCE == 0 { 1 } else { 2 };
        r.skip(sequence_len)?;
        let has_length = first & Self::LENGTH != 0;
        let length = if has_length { usize::from(r.u16()?) } else { r.remaining() };
        // RFC 9147 §4.2.3: shorter than the sample is not authentic.
        if length > r.remaining() || !(SAMPLE_LEN..=MAX_CIPHERTEXT_13).contains(&length) {
            return Err(r.malformed());
        }
        Ok(UnifiedHeader { epoch_bits: first & Self::EPOCH, sequence_len, has_length, length })
    }

    /// Writes the header with the low bits of `sequence`, not hidden yet. Takes exactly [`len`](Self::len) bytes.
    pub(crate) fn write(&self, sequence: u64, out: &mut [u8]) {
        let mut first = Self::FIXED | self.epoch_bits & Self::EPOCH;
        let [.., high, low] = sequence.to_be_bytes();
        let [length_high, length_low] = u16::try_from(self.length).unwrap_or(u16::MAX).to_be_bytes();
        let mut bytes = [0; 5];
        let mut n = 1;
        let mut push = |byte| {
            if let Some(slot) = bytes.get_mut(n) {
                *slot = byte;
                n += 1;
            }
        };
        if self.sequence_len == 2 {
            first |= Self::LONG_SEQUENCE;
            push(high);
        }
        push(low);
        if self.has_length {
            first |= Self::LENGTH;
            push(length_high);
            push(length_low);
        }
        bytes[0] = first;
        out.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    }

    /// Bytes of the header.
    pub fn len(&self) -> usize {
        1 + self.sequence_len + if self.has_length { 2 } else { 0 }
    }

    /// Never: there is always the first byte.
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// A header of either form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordHeader {
    Plain(Header),
    Unified(UnifiedHeader),
}

impl RecordHeader {
    fn parse(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        match r.peek().first() {
            Some(first) if UnifiedHeader::is_announced_by(*first) => {
                UnifiedHeader::parse(r).map(RecordHeader::Unified)
            }
            _ => Header::parse(r).map(RecordHeader::Plain),
        }
    }

    fn record_len(&self) -> usize {
        match self {
            RecordHeader::Plain(header) => header.record_len(),
            RecordHeader::Unified(header) => header.len() + header.length,
        }
    }
}

/// Splits the first record off a datagram. What follows a malformed record cannot be found and is dropped too.
pub(crate) fn split_record(datagram: &mut BytesMut) -> Result<(RecordHeader, BytesMut), Malformed> {
    let header = RecordHeader::parse(&mut Reader::new(datagram, "record"))?;
    // A record alone in its datagram, as data always is, need not be split: splitting may allocate.
    let record = if header.record_len() == datagram.len() {
        std::mem::take(datagram)
    } else {
        datagram.split_to(header.record_len())
    };
    Ok((header, record))
}

/// How many bytes a record adds before and behind what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overhead {
    /// Header and explicit nonce.
    pub head: usize,
    /// Tag, and in 1.3 the content type.
    pub tail: usize,
}

/// Why a record cannot be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// There are no keys for application data: not yet, or not any more.
    #[error("the connection is not up")]
    NotConnected,
    /// More than [`MAX_PLAINTEXT`] bytes, or not even the room for the header.
    #[error("the record does not hold between the overhead and 2^14 bytes")]
    BadLength,
    /// The keys have sealed as much as they may: all sequence numbers of 1.2, 2^24.5 records of 1.3 (RFC 8446 §5.5).
    #[error("the keys have sealed as much as they may")]
    Exhausted,
}

/// Why a protected record is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// Seen before, or too old to tell.
    Replayed,
    /// Too short, or its tag is wrong.
    Unauthentic,
    /// Authentic, and without a content type or too long (1.3): the peer's error.
    Illegal,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn unified_headers_round_trip_and_no_cut_passes(
            epoch_bits in 0u8..4, sequence: u64, sequence_len in 1usize..=2, has_length: bool, length in 16usize..300,
        ) {
            let header = UnifiedHeader { epoch_bits, sequence_len, has_length, length };
            let mut record = vec![0; header.len() + length];
            header.write(sequence, &mut record);
            prop_assert_eq!(UnifiedHeader::parse(&mut Reader::new(&record, "record")), Ok(header));
            let [.., low] = sequence.to_be_bytes();
            prop_assert_eq!(record[sequence_len], low);
            let least = if has_length { record.len() } else { header.len() + SAMPLE_LEN };
            for cut in 0..least {
                prop_assert!(UnifiedHeader::parse(&mut Reader::new(&record[..cut], "record")).is_err());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_splitting_goes_forward(bytes: Vec<u8>) {
            let mut rest = BytesMut::from(&bytes[..]);
            let mut before = rest.len();
            while split_record(&mut rest).is_ok() {
                prop_assert!(rest.len() < before);
                before = rest.len();
            }
        }
    }

    #[test]
    fn connection_identifiers_and_protected_acks_in_the_old_form_are_refused() {
        let mut record = [0; 40];
        record[0] = 0b0011_1100;
        assert!(UnifiedHeader::parse(&mut Reader::new(&record, "record")).is_err());
        let header =
            Header { content_type: ContentType::ACK, version: 0xfefd, epoch: 1, sequence: 0, length: 2 };
        let mut bytes = BytesMut::new();
        header.emit(&mut Writer::new(&mut bytes));
        bytes.extend_from_slice(&[0, 0]);
        assert!(Header::parse(&mut Reader::new(&bytes, "record")).is_err());
    }
}
