//! A message to be sent, written straight into its buffer (RFC 8489 §5, §14).

use std::net::SocketAddr;

use bytes::BytesMut;

use super::address;
use super::attributes::{ErrorCode, PasswordAlgorithm, types};
use super::message::{Class, Method, TransactionId};
use super::{HEADER_LEN, MAGIC_COOKIE, fingerprint};
use crate::crypto::hash::HashAlgorithm;
use crate::crypto::mac::{HmacKey, HmacSha1Key};
use crate::wire::writer::Writer;

/// Appends one message to a buffer. Attributes first, then the integrity value, then the fingerprint.
#[derive(Debug)]
pub struct Builder<'a> {
    writer: Writer<'a>,
    transaction: TransactionId,
}

impl<'a> Builder<'a> {
    /// Starts a message behind what `buf` already holds.
    pub fn new(buf: &'a mut BytesMut, class: Class, method: Method, transaction: TransactionId) -> Self {
        let mut writer = Writer::new(buf);
        writer.u16(method.with_class(class));
        writer.u16(0);
        writer.u32(MAGIC_COOKIE);
        writer.slice(&transaction.0);
        Builder { writer, transaction }
    }

    /// Any attribute. `value` must stay within 65,535 bytes, and the whole message too.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.write(kind, |w| w.slice(value))
    }

    /// USERNAME made of several pieces, such as both fragments and their colon.
    pub fn username(&mut self, parts: &[&[u8]]) -> &mut Self {
        self.write(types::USERNAME, |w| parts.iter().for_each(|part| w.slice(part)))
    }

    /// PRIORITY.
    pub fn priority(&mut self, priority: u32) -> &mut Self {
        self.attribute(types::PRIORITY, &priority.to_be_bytes())
    }

    /// USE-CANDIDATE.
    pub fn use_candidate(&mut self) -> &mut Self {
        self.attribute(types::USE_CANDIDATE, &[])
    }

    /// NOMINATION with its number, from 1 (draft-thatcher-ice-renomination).
    pub fn nomination(&mut self, number: u32) -> &mut Self {
        self.attribute(types::NOMINATION, &number.to_be_bytes())
    }

    /// ICE-CONTROLLING with the tie-breaker.
    pub fn ice_controlling(&mut self, tie_breaker: u64) -> &mut Self {
        self.attribute(types::ICE_CONTROLLING, &tie_breaker.to_be_bytes())
    }

    /// ICE-CONTROLLED with the tie-breaker.
    pub fn ice_controlled(&mut self, tie_breaker: u64) -> &mut Self {
        self.attribute(types::ICE_CONTROLLED, &tie_breaker.to_be_bytes())
    }

    /// An address combined with the header: XOR-MAPPED-ADDRESS and its kin.
    pub fn xor_address(&mut self, kind: u16, address: SocketAddr) -> &mut Self {
        let transaction = self.transaction;
        self.write(kind, |w| address::emit_xor(w, address, transaction))
    }

    /// XOR-MAPPED-ADDRESS.
    pub fn xor_mapped_address(&mut self, address: SocketAddr) -> &mut Self {
        self.xor_address(types::XOR_MAPPED_ADDRESS, address)
    }

    /// An address as it stands: MAPPED-ADDRESS, ALTERNATE-SERVER.
    pub fn address(&mut self, kind: u16, address: SocketAddr) -> &mut Self {
        self.write(kind, |w| address::emit(w, address))
    }

    /// ERROR-CODE.
    pub fn error_code(&mut self, error: ErrorCode<'_>) -> &mut Self {
        self.write(types::ERROR_CODE, |w| {
            // Three digits: the class stays in one byte, and so does the number.
            let (class, number) = (error.code / 100, error.code % 100);
            w.u16(0);
            w.u16(class << 8 | number);
            w.slice(error.reason.as_bytes());
        })
    }

    /// UNKNOWN-ATTRIBUTES.
    pub fn unknown_attributes(&mut self, kinds: &[u16]) -> &mut Self {
        self.write(types::UNKNOWN_ATTRIBUTES, |w| kinds.iter().for_each(|kind| w.u16(*kind)))
    }

    /// PASSWORD-ALGORITHM. A list that a server sent is echoed as it came, with
    /// [`attribute`](Builder::attribute).
    pub fn password_algorithm(&mut self, algorithm: PasswordAlgorithm) -> &mut Self {
        self.write(types::PASSWORD_ALGORITHM, |w| {
            w.u16(algorithm.code());
            w.u16(0);
        })
    }

    /// PASSWORD-ALGORITHMS.
    pub fn password_algorithms(&mut self, algorithms: &[PasswordAlgorithm]) -> &mut Self {
        self.write(types::PASSWORD_ALGORITHMS, |w| {
            for algorithm in algorithms {
                w.u16(algorithm.code());
                w.u16(0);
            }
        })
    }

    /// MESSAGE-INTEGRITY over all that was written so far (RFC 8489 §14.5).
    pub fn integrity(&mut self, key: &HmacSha1Key) -> &mut Self {
        self.patch_length(4 + HmacSha1Key::OUTPUT_LEN);
        let mac = key.sign(&[self.writer.as_slice()]);
        self.attribute(types::MESSAGE_INTEGRITY, &mac)
    }

    /// MESSAGE-INTEGRITY-SHA256 over all that was written so far (RFC 8489 §14.6).
    pub fn integrity_sha256(&mut self, key: &HmacKey) -> &mut Self {
        self.patch_length(4 + HashAlgorithm::Sha256.output_len());
        let mac = key.sign(&[self.writer.as_slice()]);
        self.attribute(types::MESSAGE_INTEGRITY_SHA256, &mac)
    }

    /// FINGERPRINT, the last attribute (RFC 8489 §14.7).
    pub fn fingerprint(&mut self) -> &mut Self {
        self.patch_length(8);
        let value = fingerprint(&[self.writer.as_slice()]);
        self.attribute(types::FINGERPRINT, &value.to_be_bytes())
    }

    /// Fills in the length and says how many bytes the message has.
    pub fn finish(mut self) -> usize {
        self.patch_length(0);
        self.writer.written()
    }

    fn write(&mut self, kind: u16, value: impl FnOnce(&mut Writer<'_>)) -> &mut Self {
        self.writer.u16(kind);
        self.writer.nested_u16(value);
        self.writer.pad_to(4);
        self
    }

    /// The length field for a message that ends `more` bytes behind what is written.
    fn patch_length(&mut self, more: usize) {
        let length = self.writer.written() - HEADER_LEN + more;
        debug_assert!(length <= usize::from(u16::MAX), "a STUN message of {length} bytes");
        self.writer.patch_u16(2, u16::try_from(length).unwrap_or(u16::MAX));
    }
}
