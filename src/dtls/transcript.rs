//! The transcript: every handshake message that counts, in order (RFC 5246 §7.4.9, RFC 6347 §4.2.6, RFC 8446 §4.4.1).

use bytes::BytesMut;

use super::handshake::{Fragment, HEADER_LEN, HandshakeType, Message};
use crate::crypto::hash::{Digest, Hash, HashAlgorithm};
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// The messages so far, as if each had been sent in one fragment.
///
/// 1.2 keeps the bytes to its end: the hash is known only with the ServerHello, and CertificateVerify signs the
/// messages themselves, by a hash of its own. 1.3 needs no more than the running hash, once the suite is chosen, and
/// leaves out of each header what DTLS adds to TLS (RFC 9147 §5.2).
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    messages: BytesMut,
    running: Option<Hash>,
}

impl Transcript {
    /// Appends a message.
    pub(crate) fn add(&mut self, message: &Message<'_>) {
        let Ok(length) = u32::try_from(message.body.len()) else { return };
        let Message { kind, message_seq, body } = *message;
        match &mut self.running {
            Some(hash) => hash_message(hash, kind, body),
            None => {
                let whole = Fragment { kind, length, message_seq, offset: 0, body };
                whole.emit(&mut Writer::new(&mut self.messages));
            }
        }
    }

    /// The messages are those of 1.3 from the first on, and this is its hash function.
    pub(crate) fn run(&mut self, algorithm: HashAlgorithm) {
        if self.running.is_some() {
            return;
        }
        let mut hash = Hash::new(algorithm);
        let mut r = Reader::new(&self.messages, "transcript");
        while let Ok(message) = Fragment::parse(&mut r) {
            hash_message(&mut hash, message.kind, message.body);
        }
        self.running = Some(hash);
        self.messages = BytesMut::new();
    }

    /// RFC 8446 §4.4.1: before a HelloRetryRequest, the hash of the first hello stands in its place.
    pub(crate) fn run_from_hash(&mut self, algorithm: HashAlgorithm) {
        self.run(algorithm);
        let first = self.running_hash();
        let mut hash = Hash::new(algorithm);
        hash_message(&mut hash, HandshakeType::MESSAGE_HASH, &first);
        self.running = Some(hash);
    }

    /// Whether the messages are those of 1.3.
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Forgets all: the first hello and the HelloVerifyRequest do not count (RFC 6347 §4.2.1).
    pub(crate) fn restart(&mut self) {
        self.messages.clear();
        self.running = None;
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

    /// The hash of all messages so far, as 1.2 has it.
    pub(crate) fn hash(&self, algorithm: HashAlgorithm) -> Digest {
        algorithm.digest(&[&self.messages])
    }

    /// The hash of all messages so far, as 1.3 has it; only after [`run`](Self::run).
    pub(crate) fn running_hash(&self) -> Digest {
        debug_assert!(self.running.is_some());
        self.running.clone().unwrap_or(Hash::new(HashAlgorithm::Sha256)).finish()
    }
}

/// RFC 9147 §5.2: the header is TLS's, kind and length.
fn hash_message(hash: &mut Hash, kind: HandshakeType, body: &[u8]) {
    // Bodies are far shorter than 2^24 bytes.
    let [_, length @ ..] = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    hash.update(&[kind.0]);
    hash.update(&length);
    hash.update(body);
}
