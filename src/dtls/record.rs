//! The record layer (RFC 6347 §4.1): headers, sequence numbers, protection and the replay window.
//!
//! ```text
//! 1.2:  type(1) version(2) epoch(2) sequence(6) length(2) [explicit nonce(8), GCM only] ciphertext tag(16)
//! ```
//!
//! The nonce of every record is made of its epoch and sequence number (RFC 5288 §3 leaves that open, RFC 7905
//! §2 asks for it), and a sequence number is used once: retransmitted messages travel in new records.

use bytes::{Buf as _, BytesMut};

use super::suite::{CipherSuite, Version};
use crate::crypto::{AeadAlgorithm, AeadKey, Backend, InvalidKey, NONCE_LEN, TAG_LEN};
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::window::ReplayWindow;
use crate::wire::writer::Writer;

/// Bytes of a record header, the explicit nonce not included.
pub const HEADER_LEN: usize = 13;

/// The most that a record may hold in the clear (RFC 5246 §6.2.1).
pub const MAX_PLAINTEXT: usize = 1 << 14;

/// The most that a record may hold sealed (RFC 5246 §6.2.3).
const MAX_CIPHERTEXT: usize = MAX_PLAINTEXT + 2048;

/// Bytes of the nonce that GCM suites of 1.2 send along (RFC 5288 §3).
const EXPLICIT_NONCE_LEN: usize = 8;

/// Sequence numbers have 48 bits (RFC 6347 §4.1).
const MAX_SEQUENCE: u64 = (1 << 48) - 1;

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
}

/// The header of a record.
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
        let known = (20..=23).contains(&header.content_type.0);
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

/// Splits the first record off a datagram. What follows a malformed record cannot be found and is dropped too.
pub(crate) fn split_record(datagram: &mut BytesMut) -> Result<(Header, BytesMut), Malformed> {
    let header = Header::parse(&mut Reader::new(datagram, "record"))?;
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
    /// Tag.
    pub tail: usize,
}

/// How the nonce comes from the sequence number.
#[derive(Clone, Copy)]
enum Nonce {
    /// GCM of 1.2: a secret salt, then epoch and sequence number, which travel in the record (RFC 5288 §3).
    Explicit([u8; 4]),
    /// ChaCha20-Poly1305: epoch and sequence number XORed into a secret value (RFC 7905 §2).
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
    epoch: u16,
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
        Ok(Protection { key: backend.aead(suite.aead(), key)?, nonce, epoch: 1 })
    }

    fn number(&self, sequence: u64) -> u64 {
        u64::from(self.epoch) << 48 | sequence
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
    /// All sequence numbers of the epoch are used.
    #[error("all sequence numbers are used")]
    Exhausted,
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

    pub(crate) fn overhead(&self) -> Overhead {
        Overhead { head: HEADER_LEN + self.protection.nonce.explicit_len(), tail: TAG_LEN }
    }

    /// Seals `record[start..]`: as many placeholder bytes as the overhead's head, then the plaintext. The
    /// tag is appended. Allocates nothing when there is room for it.
    pub(crate) fn seal(
        &mut self,
        content_type: ContentType,
        record: &mut BytesMut,
        start: usize,
    ) -> Result<(), SealError> {
        let head = self.overhead().head;
        let (header, plaintext) =
            record.get_mut(start..).and_then(|r| r.split_at_mut_checked(head)).ok_or(SealError::BadLength)?;
        if plaintext.len() > MAX_PLAINTEXT {
            return Err(SealError::BadLength);
        }
        if self.next > MAX_SEQUENCE {
            return Err(SealError::Exhausted);
        }
        // At most 2^14, checked above.
        let plaintext_len = u16::try_from(plaintext.len()).map_err(|_| SealError::BadLength)?;
        let number = self.protection.number(self.next);
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
}

/// Why a protected record is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// Seen before, or too old to tell.
    Replayed,
    /// Too short, or its tag is wrong.
    Unauthentic,
}

/// Opens the records of one epoch.
#[derive(Debug)]
pub(crate) struct Opener {
    protection: Protection,
    window: ReplayWindow<2>,
}

impl Opener {
    pub(crate) fn new(protection: Protection) -> Self {
        Opener { protection, window: ReplayWindow::default() }
    }

    pub(crate) fn epoch(&self) -> u16 {
        self.protection.epoch
    }

    /// Decrypts in place: `record` is cut down to the plaintext. Allocates nothing.
    ///
    /// RFC 6347 §4.1.2.6: the window is asked first and moved only by an authentic record.
    pub(crate) fn open(&mut self, header: &Header, record: &mut BytesMut) -> Result<(), OpenError> {
        if !self.window.is_fresh(header.sequence) {
            return Err(OpenError::Replayed);
        }
        let number = self.protection.number(header.sequence);
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
}

/// The write side of all epochs and the read side of the protected ones.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// The number of the next record in the clear.
    plain_next: u64,
    sealer: Option<Sealer>,
    opener: Option<Opener>,
}

impl Records {
    /// Both directions change to new keys.
    pub(crate) fn install(&mut self, sealer: Sealer, opener: Opener) {
        self.sealer = Some(sealer);
        self.opener = Some(opener);
    }

    /// Back to records in the clear, whose numbers go on.
    pub(crate) fn forget_keys(&mut self) {
        self.sealer = None;
        self.opener = None;
    }

    /// The opener of `epoch`.
    pub(crate) fn opener(&mut self, epoch: u16) -> Option<&mut Opener> {
        self.opener.as_mut().filter(|opener| opener.epoch() == epoch)
    }

    /// The sealer of the newest keys.
    pub(crate) fn sealer(&mut self) -> Option<&mut Sealer> {
        self.sealer.as_mut()
    }

    /// The newest epoch that can be written.
    pub(crate) fn write_epoch(&self) -> u16 {
        self.sealer.as_ref().map_or(0, |sealer| sealer.protection.epoch)
    }

    /// What a record of `epoch` costs.
    pub(crate) fn overhead(&self, epoch: u16) -> Overhead {
        match &self.sealer {
            Some(sealer) if epoch > 0 => sealer.overhead(),
            _ => Overhead { head: HEADER_LEN, tail: 0 },
        }
    }

    /// Seals `record[start..]` for `epoch`; in epoch 0 only the header is filled in.
    pub(crate) fn seal(
        &mut self,
        epoch: u16,
        content_type: ContentType,
        record: &mut BytesMut,
        start: usize,
    ) -> Result<(), SealError> {
        if epoch > 0 {
            return self.sealer.as_mut().ok_or(SealError::NotConnected)?.seal(content_type, record, start);
        }
        let whole = record.get_mut(start..).ok_or(SealError::BadLength)?;
        let (header, body) = whole.split_at_mut_checked(HEADER_LEN).ok_or(SealError::BadLength)?;
        let [high, low] = u16::try_from(body.len()).map_err(|_| SealError::BadLength)?.to_be_bytes();
        let [v0, v1] = Version::Dtls12.code().to_be_bytes();
        header[..3].copy_from_slice(&[content_type.0, v0, v1]);
        header[3..11].copy_from_slice(&self.plain_next.to_be_bytes());
        header[11..].copy_from_slice(&[high, low]);
        self.plain_next = (self.plain_next + 1).min(MAX_SEQUENCE);
        Ok(())
    }
}
