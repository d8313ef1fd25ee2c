//! The keys of a connection, epoch by epoch (RFC 6347 §4.1, RFC 9147 §4.2.1, §6.1).

use bytes::BytesMut;

use super::protection::{Opener, Sealer};
use super::record::{
    ContentType, Epoch, HEADER_LEN, MAX_SEQUENCE, OpenError, Overhead, RecordHeader, RecordNumber, SealError,
    UnifiedHeader,
};
use super::suite::Version;

/// What an authentic record holds, and its number.
pub(crate) type Opened = (ContentType, RecordNumber);

/// The write side of all epochs and the read side of the protected ones.
///
/// Each list is in order of epochs, and short: in 1.3 the handshake's keys stay behind those for data, since what is
/// sent again is sealed as it was the first time, and after a key update the keys before it stay for what is late.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// The number of the next record in the clear.
    plain_next: u64,
    sealers: Vec<Sealer>,
    openers: Vec<Opener>,
}

impl Records {
    /// This end writes with new keys too.
    pub(crate) fn install_sealer(&mut self, sealer: Sealer) {
        self.sealers.push(sealer);
    }

    /// The peer may write with new keys too. The last two epochs before these stay.
    pub(crate) fn install_opener(&mut self, opener: Opener) {
        let oldest = opener.epoch().saturating_sub(2);
        self.openers.retain(|opener| opener.epoch() >= oldest);
        self.openers.push(opener);
    }

    /// Nothing is sent with older keys than the newest any more.
    pub(crate) fn retire_sealers(&mut self) {
        let old = self.sealers.len().saturating_sub(1);
        self.sealers.drain(..old);
    }

    /// Takes the keys of the handshake, made anew, which are older than all others.
    pub(crate) fn install_former_opener(&mut self, opener: Opener) {
        self.openers.insert(0, opener);
    }

    /// Nothing older than `epoch` is read any more.
    pub(crate) fn retire_openers(&mut self, epoch: Epoch) {
        self.openers.retain(|opener| opener.epoch() >= epoch);
    }

    /// Gives back memory that is not in use.
    pub(crate) fn slim(&mut self) {
        self.sealers.shrink_to_fit();
        self.openers.shrink_to_fit();
    }

    /// Back to records in the clear, whose numbers go on.
    pub(crate) fn forget_keys(&mut self) {
        self.sealers.clear();
        self.openers.clear();
    }

    /// Takes the keys out, back to records in the clear.
    pub(crate) fn take(&mut self) -> Records {
        let Records { plain_next, sealers, openers } = self;
        Records {
            plain_next: *plain_next,
            sealers: std::mem::take(sealers),
            openers: std::mem::take(openers),
        }
    }

    /// Takes other keys; the numbers of records in the clear go on.
    pub(crate) fn replace_keys(&mut self, other: Records) {
        self.sealers = other.sealers;
        self.openers = other.openers;
    }

    /// Opens a protected record in place. `None` when there are no keys for it.
    pub(crate) fn open(
        &mut self,
        header: &RecordHeader,
        record: &mut BytesMut,
    ) -> Option<Result<Opened, OpenError>> {
        match header {
            RecordHeader::Plain(header) => {
                let opener = self.opener(header.epoch.into())?;
                let number = RecordNumber { epoch: opener.epoch(), sequence: header.sequence };
                Some(opener.open(header, record).map(|()| (header.content_type, number)))
            }
            RecordHeader::Unified(header) => Some(self.opener_of(header)?.open_unified(header, record)),
        }
    }

    /// The opener of `epoch`.
    fn opener(&mut self, epoch: Epoch) -> Option<&mut Opener> {
        self.openers.iter_mut().rev().find(|opener| opener.epoch() == epoch)
    }

    /// The opener of the newest epoch that ends in these bits (RFC 9147 §4.2.2).
    pub(crate) fn opener_of(&mut self, header: &UnifiedHeader) -> Option<&mut Opener> {
        let bits = Epoch::from(header.epoch_bits);
        self.openers.iter_mut().rev().find(|opener| opener.epoch() & 3 == bits)
    }

    /// The newest epoch that can be read.
    pub(crate) fn read_epoch(&self) -> Epoch {
        self.openers.last().map_or(0, Opener::epoch)
    }

    /// The sealer of the newest keys.
    pub(crate) fn sealer(&mut self) -> Option<&mut Sealer> {
        self.sealers.last_mut()
    }

    /// The newest epoch that can be written.
    pub(crate) fn write_epoch(&self) -> Epoch {
        self.sealers.last().map_or(0, Sealer::epoch)
    }

    /// What a record of `epoch` costs.
    pub(crate) fn overhead(&self, epoch: Epoch) -> Overhead {
        let sealer = self.sealers.iter().rev().find(|sealer| sealer.epoch() == epoch);
        sealer.map_or(Overhead { head: HEADER_LEN, tail: 0 }, Sealer::overhead)
    }

    /// Seals `record[start..]` for `epoch`; in epoch 0 only the header is filled in.
    pub(crate) fn seal(
        &mut self,
        epoch: Epoch,
        content_type: ContentType,
        record: &mut BytesMut,
        start: usize,
    ) -> Result<RecordNumber, SealError> {
        if epoch > 0 {
            let sealer = self.sealers.iter_mut().rev().find(|sealer| sealer.epoch() == epoch);
            return sealer.ok_or(SealError::NotConnected)?.seal(content_type, record, start);
        }
        let whole = record.get_mut(start..).ok_or(SealError::BadLength)?;
        let (header, body) = whole.split_at_mut_checked(HEADER_LEN).ok_or(SealError::BadLength)?;
        let [high, low] = u16::try_from(body.len()).map_err(|_| SealError::BadLength)?.to_be_bytes();
        let [v0, v1] = Version::Dtls12.code().to_be_bytes();
        let number = RecordNumber { epoch: 0, sequence: self.plain_next };
        header[..3].copy_from_slice(&[content_type.0, v0, v1]);
        header[3..11].copy_from_slice(&self.plain_next.to_be_bytes());
        header[11..].copy_from_slice(&[high, low]);
        self.plain_next = (self.plain_next + 1).min(MAX_SEQUENCE);
        Ok(number)
    }
}
