//! Protected records while the handshake runs: opened, or kept until there are keys for them. RFC 6347 §4.1 and
//! RFC 9147 §4.2.1 let them be dropped, at the price of a round trip.

use std::collections::VecDeque;

use bytes::BytesMut;

use super::{Drop, Handshake};
use crate::dtls::record::{ContentType, Epoch, OpenError, RecordHeader, RecordNumber, UnifiedHeader};
use crate::dtls::records::Records;
use crate::dtls::suite::Version;
use crate::dtls::v13;

/// Records that are kept.
const MAX_EARLY: usize = 16;

/// Bytes of such records.
const MAX_EARLY_BYTES: usize = 12 * 1024;

/// Whole records, still sealed, in order of arrival.
#[derive(Debug, Default)]
pub(super) struct Early {
    records: VecDeque<BytesMut>,
}

/// Why there is nothing to be read in a protected record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unopened {
    /// It does not open.
    Failed(OpenError),
    /// It waits for keys, or for the end of the handshake.
    Kept,
    /// It is dropped.
    Dropped(Drop),
}

impl Early {
    /// Keeps a record; `false` when there is no room.
    fn keep(&mut self, record: &[u8]) -> bool {
        let held: usize = self.records.iter().map(BytesMut::len).sum();
        let has_room = self.records.len() < MAX_EARLY && held + record.len() <= MAX_EARLY_BYTES;
        if has_room {
            // Copied: a slice would keep the whole slab of the caller alive.
            self.records.push_back(BytesMut::from(record));
        }
        has_room
    }

    /// Takes the records that may be of the handshake; data stays.
    fn take_messages(&mut self) -> VecDeque<BytesMut> {
        // In 1.3 a record does not tell what it holds, but data never comes in the handshake's epoch.
        let is_data = |record: &BytesMut| {
            let first = record.first().copied().unwrap_or_default();
            let is_handshake_of_13 = Epoch::from(first & 3) == v13::HANDSHAKE;
            first == ContentType::APPLICATION_DATA.0 || is_of_13(record) && !is_handshake_of_13
        };
        let (data, messages) = self.records.drain(..).partition(is_data);
        self.records = data;
        messages
    }

    /// Whether there are records of 1.3.
    pub(super) fn has_13(&self) -> bool {
        self.records.iter().any(|record| is_of_13(record))
    }

    pub(super) fn clear(&mut self) {
        self.records.clear();
    }

    pub(super) fn into_records(self) -> VecDeque<BytesMut> {
        self.records
    }
}

/// Whether a record is a protected one of 1.3.
fn is_of_13(record: &[u8]) -> bool {
    record.first().is_some_and(|first| UnifiedHeader::is_announced_by(*first))
}

impl Handshake {
    /// Opens a protected record in place, with the keys that there are, or those of an answer to an earlier hello.
    /// Data waits for the end, all else for keys.
    pub(crate) fn open(
        &mut self,
        header: &RecordHeader,
        mut record: BytesMut,
        records: &mut Records,
    ) -> Result<(ContentType, RecordNumber, BytesMut), Unopened> {
        let is_data_of_12 = matches!(header, RecordHeader::Plain(header)
            if header.content_type == ContentType::APPLICATION_DATA);
        // Opening it by the wrong keys destroys it.
        let copy = self.has_earlier_tries().then(|| record.clone());
        let mut opened = if is_data_of_12 { None } else { records.open(header, &mut record) };
        if !matches!(opened, Some(Ok(_)))
            && let (Some(copy), RecordHeader::Unified(header)) = (copy, header)
            && let Some((content_type, number, plaintext)) = self.go_back(header, &copy, records)
        {
            record = plaintext;
            opened = Some(Ok((content_type, number)));
        }
        match opened {
            Some(Ok((content_type, number))) => {
                self.on_protected(true);
                Ok((content_type, number, record))
            }
            Some(Err(error)) => {
                self.on_protected(false);
                Err(Unopened::Failed(error))
            }
            None if !self.may_have_keys_for(header) => Err(Unopened::Dropped(Drop::Unexpected)),
            None if self.early.keep(&record) => Err(Unopened::Kept),
            None => Err(Unopened::Dropped(Drop::NoRoom)),
        }
    }

    /// A protected record was opened, or was not authentic.
    fn on_protected(&mut self, is_authentic: bool) {
        if is_authentic {
            self.earlier.clear();
        }
        self.doubts.has_opened |= is_authentic;
        self.doubts.has_failed_to_open |= !is_authentic;
    }

    /// Whether a protected record that cannot be opened yet may be opened later.
    fn may_have_keys_for(&self, header: &RecordHeader) -> bool {
        let version = self.version();
        match header {
            RecordHeader::Plain(header) => header.epoch == 1 && version != Some(Version::Dtls13),
            RecordHeader::Unified(header) => {
                let is_awaited = matches!(Epoch::from(header.epoch_bits), v13::HANDSHAKE | v13::APPLICATION);
                let may_be_13 = self.config.allows(Version::Dtls13) && version != Some(Version::Dtls12);
                is_awaited && may_be_13
            }
        }
    }

    /// Takes the records that came before their keys, to be tried again; data waits for the end.
    pub(crate) fn take_early_messages(&mut self) -> VecDeque<BytesMut> {
        self.early.take_messages()
    }
}
