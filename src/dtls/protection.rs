//! Protection of records: keys, nonces, numbers and the replay window (RFC 6347 §4.1.2, RFC 9147 §4.2, §4.5).
//!
//! The nonce of every record is made of its sequence number (RFC 5288 §3 leaves that open, RFC 7905 §2 and RFC 8446
//! §5.3 ask for it), and a sequence number is used once: retransmitted messages travel in new records.

use bytes::{Buf as _, BytesMut};

use super::record::{
    ContentType, Epoch, HEADER_LEN, Header, MAX_PLAINTEXT, MAX_SEQUENCE, OpenError, Overhead, RecordNumber,
    SAMPLE_LEN, SealError, UnifiedHeader,
};
use super::suite::{CipherSuite, Version};
use crate::crypto::cipher::RecordNumberKey;
use crate::crypto::{AeadAlgorithm, AeadKey, Backend, InvalidKey, NONCE_LEN, TAG_LEN};
use crate::wire::window::ReplayWindow;

/// Bytes of the nonce that GCM suites of 1.2 send along (RFC 5288 §3).
const EXPLICIT_NONCE_LEN: usize = 8;

/// Bytes of a header of 1.3 as it is written here: sequence number of 16 bits, and a length.
const UNIFIED_LEN: usize = 5;

/// How many records of 1.3 one key seals: 2^24.5 for AES-GCM (RFC 8446 §5.5). ChaCha20-Poly1305 has no such limit and
/// is given the same.
const MAX_SEALED: u64 = 23_726_566;

/// How many records that are not authentic one key of 1.3 stands (RFC 9147 §4.5.3).
const MAX_UNAUTHENTIC: u64 = 1 << 36;

/// How the nonce comes from the sequence number.
#[derive(Clone, Copy)]
enum Nonce {
    /// GCM of 1.2: a secret salt, then epoch and sequence number, which travel in the record (RFC 5288 §3).
    Explicit([u8; 4]),
    /// ChaCha20-Poly1305 of 1.2: epoch and sequence number XORed into a secret value (RFC 7905 §2). All of 1.3: the
    /// same without the epoch (RFC 9147 §4).
    Xor([u8; NONCE_LEN]),
}

impl Nonce {
    fn for_record(&self, number: u64) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        let (front, back) = nonce.split_at_mut(NONCE_LEN - EXPLICIT_NONCE_LEN);
        match self {
            Nonce::Explicit(salt) => {
                front.copy_from_slice(salt);
                back.copy_from_slice(&number.to_be_bytes());
            }
            Nonce::Xor(iv) => {
                back.copy_from_slice(&number.to_be_bytes());
                nonce.iter_mut().zip(iv).for_each(|(n, iv)| *n ^= iv);
            }
        }
        nonce
    }

    /// Bytes of it that travel in the record.
    fn explicit_len(&self) -> usize {
        match self {
            Nonce::Explicit(_) => EXPLICIT_NONCE_LEN,
            Nonce::Xor(_) => 0,
        }
    }
}

/// The keys of one direction and one epoch.
pub(crate) struct Protection {
    key: Box<dyn AeadKey>,
    nonce: Nonce,
    epoch: Epoch,
    /// What hides the numbers of records: there in 1.3, and only there.
    number_key: Option<Box<RecordNumberKey>>,
}

impl Protection {
    /// Bytes of secret nonce that a suite of 1.2 takes from the key block (RFC 5288 §3, RFC 7905 §2).
    pub(crate) fn iv_len_v12(suite: CipherSuite) -> usize {
        match suite.aead() {
            AeadAlgorithm::ChaCha20Poly1305 => NONCE_LEN,
            AeadAlgorithm::Aes128Gcm | AeadAlgorithm::Aes256Gcm => NONCE_LEN - EXPLICIT_NONCE_LEN,
        }
    }

    /// The protection of epoch 1 of DTLS 1.2.
    pub(crate) fn v12(
        backend: &dyn Backend,
        suite: CipherSuite,
        key: &[u8],
        iv: &[u8],
    ) -> Result<Self, InvalidKey> {
        let nonce = match suite.aead() {
            AeadAlgorithm::ChaCha20Poly1305 => Nonce::Xor(iv.try_into().map_err(|_| InvalidKey)?),
            AeadAlgorithm::Aes128Gcm | AeadAlgorithm::Aes256Gcm => {
                Nonce::Explicit(iv.try_into().map_err(|_| InvalidKey)?)
            }
        };
        Ok(Protection { key: backend.aead(suite.aead(), key)?, nonce, epoch: 1, number_key: None })
    }

    /// The protection of an epoch of DTLS 1.3.
    pub(crate) fn v13(
        backend: &dyn Backend,
        suite: CipherSuite,
        epoch: Epoch,
        key: &[u8],
        iv: [u8; NONCE_LEN],
        number_key: &[u8],
    ) -> Result<Self, InvalidKey> {
        let number_key = Some(Box::new(RecordNumberKey::new(suite.aead(), number_key)?));
        Ok(Protection { key: backend.aead(suite.aead(), key)?, nonce: Nonce::Xor(iv), epoch, number_key })
    }

    /// What 1.2 counts records by: the epoch, which is 1, and the sequence number.
    fn number_of_12(&self, sequence: u64) -> u64 {
        self.epoch << 48 | sequence
    }
}

impl std::fmt::Debug for Protection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Protection").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// What is authenticated beside the ciphertext (RFC 5246 §6.2.3.3): the header, with the length of the plaintext.
fn additional_data(number: u64, content_type: ContentType, plaintext_len: u16) -> [u8; 13] {
    let mut aad = [0; 13];
    let [a, b] = Version::Dtls12.code().to_be_bytes();
    let [c, d] = plaintext_len.to_be_bytes();
    aad[..8].copy_from_slice(&number.to_be_bytes());
    aad[8..].copy_from_slice(&[content_type.0, a, b, c, d]);
    aad
}

/// Seals the records of one epoch.
#[derive(Debug)]
pub(crate) struct Sealer {
    protection: Protection,
    /// The number of the next record.
    next: u64,
}

impl Sealer {
    pub(crate) fn new(protection: Protection) -> Self {
        Sealer { protection, next: 0 }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.protection.epoch
    }

    /// How many records were sealed.
    pub(crate) fn sealed(&self) -> u64 {
        self.next
    }

    pub(crate) fn overhead(&self) -> Overhead {
        match self.protection.number_key {
            // The tail holds the content type too.
            Some(_) => Overhead { head: UNIFIED_LEN, tail: 1 + TAG_LEN },
            None => Overhead { head: HEADER_LEN + self.protection.nonce.explicit_len(), tail: TAG_LEN },
        }
    }

    /// Seals `record[start..]`: as many placeholder bytes as the overhead's head, then the plaintext. The
    /// tail is appended. Allocates nothing when there is room for it.
    pub(crate) fn seal(
        &mut self,
        content_type: ContentType,
        record: &mut BytesMut,
        start: usize,
    ) -> Result<RecordNumber, SealError> {
        let number = RecordNumber { epoch: self.protection.epoch, sequence: self.next };
        let room = record.len().checked_sub(start + self.overhead().head).ok_or(SealError::BadLength)?;
        if room > MAX_PLAINTEXT {
            return Err(SealError::BadLength);
        }
        match self.protection.number_key {
            Some(_) => self.seal_unified(content_type, record, start)?,
            None => self.seal_12(content_type, record, start)?,
        }
        Ok(number)
    }

    fn seal_12(
        &mut self,
        content_type: ContentType,
        record: &mut BytesMut,
        start: usize,
    ) -> Result<(), SealError> {
        let head = self.overhead().head;
        let (header, plaintext) =
            record.get_mut(start..).and_then(|r| r.split_at_mut_checked(head)).ok_or(SealError::BadLength)?;
        if self.next > MAX_SEQUENCE {
            return Err(SealError::Exhausted);
        }
        // At most 2^14, checked above.
        let plaintext_len = u16::try_from(plaintext.len()).map_err(|_| SealError::BadLength)?;
        let number = self.protection.number_of_12(self.next);
        self.next += 1;
        let nonce = self.protection.nonce.for_record(number);
        let aad = additional_data(number, content_type, plaintext_len);
        let tag = self.protection.key.seal_in_place(&nonce, &aad, plaintext);
        let length = usize::from(plaintext_len) + head - HEADER_LEN + TAG_LEN;
        let [high, low] = u16::try_from(length).map_err(|_| SealError::BadLength)?.to_be_bytes();
        let [v0, v1] = Version::Dtls12.code().to_be_bytes();
        header[..3].copy_from_slice(&[content_type.0, v0, v1]);
        header[3..11].copy_from_slice(&number.to_be_bytes());
        header[11..HEADER_LEN].copy_from_slice(&[high, low]);
        if head > HEADER_LEN {
            header[HEADER_LEN..].copy_from_slice(&number.to_be_bytes());
        }
        record.extend_from_slice(&tag);
        Ok(())
    }
    /// RFC 9147 §4: the content, its type, no padding; the header as it stands is authenticated, then its number is
    /// hidden.
    fn seal_unified(
        &mut self,
        content_type: ContentType,
        record: &mut BytesMut,
        start: usize,
    ) -> Result<(), SealError> {
        // RFC 8446 §5.5: rather none than one too many.
        if self.next >= MAX_SEALED {
            return Err(SealError::Exhausted);
        }
        let sequence = self.next;
        record.extend_from_slice(&[content_type.0]);
        let (head, inner) = record
            .get_mut(start..)
            .and_then(|r| r.split_at_mut_checked(UNIFIED_LEN))
            .ok_or(SealError::BadLength)?;
        let [.., epoch_bits] = self.protection.epoch.to_be_bytes();
        let length = inner.len() + TAG_LEN;
        let header = UnifiedHeader { epoch_bits, sequence_len: 2, has_length: true, length };
        header.write(sequence, head);
        self.next += 1;
        let nonce = self.protection.nonce.for_record(sequence);
        let tag = self.protection.key.seal_in_place(&nonce, head, inner);
        record.extend_from_slice(&tag);
        self.protection.hide_number(&header, record.get_mut(start..).unwrap_or_default());
        Ok(())
    }
}

impl Protection {
    /// Adds the mask to the sequence number, or takes it off (RFC 9147 §4.2.3); `None` when the record is too short.
    fn hide_number(&self, header: &UnifiedHeader, record: &mut [u8]) -> Option<()> {
        let (head, sealed) = record.split_at_mut_checked(header.len())?;
        let mask = self.number_key.as_ref()?.mask(sealed.first_chunk::<SAMPLE_LEN>()?);
        let number = head.get_mut(1..1 + header.sequence_len)?;
        number.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        Some(())
    }
}

/// Opens the records of one epoch.
#[derive(Debug)]
pub(crate) struct Opener {
    protection: Protection,
    window: ReplayWindow<2>,
    /// Records that were not authentic.
    failures: u64,
}

impl Opener {
    pub(crate) fn new(protection: Protection) -> Self {
        Opener { protection, window: ReplayWindow::default(), failures: 0 }
    }

    /// Whether so many records were not authentic that the key is not to be used any more (RFC 9147 §4.5.3).
    pub(crate) fn is_worn(&self) -> bool {
        self.failures >= MAX_UNAUTHENTIC
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.protection.epoch
    }

    /// Decrypts a record of 1.2 in place: `record` is cut down to the plaintext. Allocates nothing.
    ///
    /// RFC 6347 §4.1.2.6: the window is asked first and moved only by an authentic record.
    pub(crate) fn open(&mut self, header: &Header, record: &mut BytesMut) -> Result<(), OpenError> {
        if !self.window.is_fresh(header.sequence) {
            return Err(OpenError::Replayed);
        }
        let number = self.protection.number_of_12(header.sequence);
        let head = HEADER_LEN + self.protection.nonce.explicit_len();
        let sealed = record.get_mut(HEADER_LEN..).ok_or(OpenError::Unauthentic)?;
        let nonce = match self.protection.nonce {
            // The peer may count its explicit nonces in its own way.
            Nonce::Explicit(salt) => {
                let explicit = sealed.first_chunk().ok_or(OpenError::Unauthentic)?;
                Nonce::Explicit(salt).for_record(u64::from_be_bytes(*explicit))
            }
            nonce @ Nonce::Xor(_) => nonce.for_record(number),
        };
        let sealed = sealed.get_mut(head - HEADER_LEN..).ok_or(OpenError::Unauthentic)?;
        let plaintext_len = sealed.len().checked_sub(TAG_LEN).filter(|n| *n <= MAX_PLAINTEXT);
        let plaintext_len =
            plaintext_len.and_then(|n| u16::try_from(n).ok()).ok_or(OpenError::Unauthentic)?;
        let aad = additional_data(number, header.content_type, plaintext_len);
        let opened = self.protection.key.open_in_place(&nonce, &aad, sealed);
        let len = opened.map_err(|_| OpenError::Unauthentic)?.len();
        self.window.mark(header.sequence);
        record.advance(head);
        record.truncate(len);
        Ok(())
    }
    /// Decrypts a record of 1.3 in place: `record` is cut down to what it holds. Allocates nothing.
    ///
    /// RFC 9147 §4.5.1: the window is asked behind the decryption, so that the time says nothing of the number.
    pub(crate) fn open_unified(
        &mut self,
        header: &UnifiedHeader,
        record: &mut BytesMut,
    ) -> Result<(ContentType, RecordNumber), OpenError> {
        let opened = self.try_open_unified(header, record);
        if opened == Err(OpenError::Unauthentic) {
            self.failures += 1;
        }
        opened
    }

    fn try_open_unified(
        &mut self,
        header: &UnifiedHeader,
        record: &mut BytesMut,
    ) -> Result<(ContentType, RecordNumber), OpenError> {
        self.protection.hide_number(header, record).ok_or(OpenError::Unauthentic)?;
        let (head, sealed) = record.split_at_mut_checked(header.len()).ok_or(OpenError::Unauthentic)?;
        let low = head.get(1..1 + header.sequence_len).unwrap_or_default();
        let low = low.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let expected = self.window.highest().map_or(0, |highest| highest + 1);
        let sequence = closest(expected, low, 1 << (8 * header.sequence_len));
        let nonce = self.protection.nonce.for_record(sequence);
        let inner =
            self.protection.key.open_in_place(&nonce, head, sealed).map_err(|_| OpenError::Unauthentic)?;
        if !self.window.is_fresh(sequence) {
            return Err(OpenError::Replayed);
        }
        self.window.mark(sequence);
        // RFC 8446 §5.4: zeros behind the type are padding; nothing but zeros is an error of the peer's.
        let at = inner.iter().rposition(|byte| *byte != 0).filter(|at| *at <= MAX_PLAINTEXT);
        let at = at.ok_or(OpenError::Illegal)?;
        let content_type = ContentType(inner[at]);
        record.advance(header.len());
        record.truncate(at);
        Ok((content_type, RecordNumber { epoch: self.protection.epoch, sequence }))
    }
}

/// The number with these low bits that is the closest to the one expected (RFC 9147 §4.2.2).
fn closest(expected: u64, low: u64, span: u64) -> u64 {
    let near = expected & !(span - 1) | low;
    let half = span / 2;
    if near + half < expected {
        near + span
    } else if near > expected + half && near >= span {
        near - span
    } else {
        near
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn protection(aead: CipherSuite) -> Protection {
        let key = &[7; 32][..aead.aead().key_len()];
        Protection::v13(crate::crypto::ring(), aead, 3, key, [9; NONCE_LEN], key).unwrap()
    }

    fn header_of(record: &[u8]) -> UnifiedHeader {
        UnifiedHeader::parse(&mut crate::wire::reader::Reader::new(record, "record")).unwrap()
    }

    const SUITES: [CipherSuite; 3] =
        [CipherSuite::Aes128Gcm, CipherSuite::Aes256Gcm, CipherSuite::ChaCha20Poly1305];

    proptest! {
        #[test]
        fn the_closest_number_is_found(expected in 0u64..1 << 40, distance in -127i64..=127) {
            let number = expected.saturating_add_signed(distance);
            prop_assert_eq!(closest(expected, number & 0xff, 256), number);
            prop_assert_eq!(closest(expected, number & 0xffff, 65536), number);
        }

        #[test]
        fn sealed_records_open_once(data: Vec<u8>, skipped in 0u64..70_000) {
            for suite in SUITES {
                let mut sealer = Sealer { next: skipped, ..Sealer::new(protection(suite)) };
                let mut opener = Opener::new(protection(suite));
                if skipped > 30_000 {
                    opener.window.mark(skipped - 1);
                }
                let mut record = BytesMut::zeroed(UNIFIED_LEN);
                record.extend_from_slice(&data);
                let number = sealer.seal(ContentType::HANDSHAKE, &mut record, 0).unwrap();
                prop_assert_eq!(record.len(), sealer.overhead().head + data.len() + sealer.overhead().tail);
                let (header, mut again) = (header_of(&record), record.clone());
                prop_assert_eq!(opener.open_unified(&header, &mut record), Ok((ContentType::HANDSHAKE, number)));
                prop_assert_eq!(&record[..], &data[..]);
                prop_assert_eq!(opener.open_unified(&header, &mut again), Err(OpenError::Replayed));
            }
        }
    }

    /// A record of the shortest form, as other implementations write them.
    fn seal_shortest(protection: &Protection, sequence: u64, inner: &[u8]) -> BytesMut {
        let length = inner.len() + TAG_LEN;
        let header = UnifiedHeader { epoch_bits: 3, sequence_len: 1, has_length: false, length };
        let mut record = BytesMut::zeroed(2);
        header.write(sequence, &mut record);
        record.extend_from_slice(inner);
        let (head, inner) = record.split_at_mut(2);
        let nonce = protection.nonce.for_record(sequence);
        let tag = protection.key.seal_in_place(&nonce, head, inner);
        record.extend_from_slice(&tag);
        protection.hide_number(&header, &mut record);
        record
    }

    #[test]
    fn the_shortest_form_and_padding_are_read() {
        let own = protection(CipherSuite::Aes128Gcm);
        let mut opener = Opener::new(protection(CipherSuite::Aes128Gcm));
        for sequence in [0, 1, 100, 200, 300, 250] {
            let mut record = seal_shortest(&own, sequence, &[1, 2, 0, 23, 0, 0, 0]);
            let opened = opener.open_unified(&header_of(&record), &mut record);
            let number = RecordNumber { epoch: 3, sequence };
            assert_eq!(opened, Ok((ContentType::APPLICATION_DATA, number)));
            assert_eq!(record[..], [1, 2, 0]);
        }
        let mut record = seal_shortest(&own, 301, &[0; 9]);
        assert_eq!(opener.open_unified(&header_of(&record), &mut record), Err(OpenError::Illegal));
    }

    #[test]
    fn a_key_seals_no_more_than_its_limit() {
        // RFC 8446 §5.5.
        let mut sealer = Sealer { next: MAX_SEALED - 1, ..Sealer::new(protection(CipherSuite::Aes128Gcm)) };
        let seal = |sealer: &mut Sealer| {
            sealer.seal(ContentType::APPLICATION_DATA, &mut BytesMut::zeroed(UNIFIED_LEN), 0)
        };
        assert!(seal(&mut sealer).is_ok());
        assert_eq!(seal(&mut sealer), Err(SealError::Exhausted));
    }

    #[test]
    fn forgeries_are_counted_until_the_key_is_worn() {
        // RFC 9147 §4.5.3.
        let mut opener = Opener::new(protection(CipherSuite::Aes128Gcm));
        opener.failures = MAX_UNAUTHENTIC - 1;
        assert!(!opener.is_worn());
        let mut forged = BytesMut::zeroed(40);
        forged[0] = 0b0010_0011;
        assert_eq!(opener.open_unified(&header_of(&forged), &mut forged), Err(OpenError::Unauthentic));
        assert!(opener.is_worn());
    }
}
