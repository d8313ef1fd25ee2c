//! The transcript: every handshake message that counts, in order (RFC 5246 §7.4.9, RFC 6347 §4.2.6).

use bytes::BytesMut;

use super::handshake::{Fragment, HEADER_LEN, Message};
use crate::crypto::hash::{Digest, HashAlgorithm};
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// The messages so far, as if each had been sent in one fragment.
///
/// 1.2 keeps the bytes to its end: the hash is known only with the ServerHello, and CertificateVerify signs the
/// messages themselves, by a hash of its own.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    messages: BytesMut,
}

impl Transcript {
    /// Appends a message.
    pub(crate) fn add(&mut self, message: &Message<'_>) {
        let Ok(length) = u32::try_from(message.body.len()) else { return };
        let Message { kind, message_seq, body } = *message;
        let whole = Fragment { kind, length, message_seq, offset: 0, body };
        whole.emit(&mut Writer::new(&mut self.messages));
    }

    /// Forgets all: the first hello and the HelloVerifyRequest do not count (RFC 6347 §4.2.1).
    pub(crate) fn restart(&mut self) {
        self.messages.clear();
    }

    /// Forgets all but the first message, and returns its body.
    pub(crate) fn keep_first(&mut self) -> &[u8] {
        let mut r = Reader::new(&self.messages, "transcript");
        let body = Fragment::parse(&mut r).map_or(0, |first| first.body.len());
        self.messages.truncate(HEADER_LEN + body);
        self.messages.get(HEADER_LEN..).unwrap_or_default()
    }

    /// The messages, for CertificateVerify of 1.2.
    pub(crate) fn messages(&self) -> &[u8] {
        &self.messages
    }

    /// The hash of all messages so far.
    pub(crate) fn hash(&self, algorithm: HashAlgorithm) -> Digest {
        algorithm.digest(&[&self.messages])
    }
}
