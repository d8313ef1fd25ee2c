//! A received message, borrowed (RFC 8489 §5).

use std::net::SocketAddr;

use super::address;
use super::attributes::{self, Attribute, ErrorCode, PasswordAlgorithm, types};
use super::{HEADER_LEN, MAGIC_COOKIE, fingerprint};
use crate::crypto::mac::{HmacKey, HmacSha1Key};
use crate::rng::Rng;
use crate::wire::Malformed;
use crate::wire::reader::Reader;

/// What a message is to its transaction (RFC 8489 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Asks for a response.
    Request,
    /// Asks for nothing.
    Indication,
    /// A request was granted.
    Success,
    /// A request was refused.
    Error,
}

impl Class {
    /// The two class bits where they stand in the type field.
    const fn bits(self) -> u16 {
        match self {
            Class::Request => 0x000,
            Class::Indication => 0x010,
            Class::Success => 0x100,
            Class::Error => 0x110,
        }
    }

    const fn from_type(kind: u16) -> Self {
        match kind & 0x110 {
            0x000 => Class::Request,
            0x010 => Class::Indication,
            0x100 => Class::Success,
            _ => Class::Error,
        }
    }
}

/// What a message is about: 12 bits (RFC 8489 §18.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method(u16);

impl Method {
    /// Connectivity checks, consent, reflexive addresses: the only method of ICE.
    pub const BINDING: Method = Method(0x001);
    /// Obtains a relayed address (RFC 8656 §17).
    pub const ALLOCATE: Method = Method(0x003);
    /// Prolongs an allocation (RFC 8656 §17).
    pub const REFRESH: Method = Method(0x004);
    /// Data to a peer through a relay (RFC 8656 §17).
    pub const SEND: Method = Method(0x006);
    /// Data from a peer through a relay (RFC 8656 §17).
    pub const DATA: Method = Method(0x007);
    /// Lets peers through a relay (RFC 8656 §17).
    pub const CREATE_PERMISSION: Method = Method(0x008);
    /// Gives a peer a short number (RFC 8656 §17).
    pub const CHANNEL_BIND: Method = Method(0x009);

    /// The method `code`; bits above the twelfth are cut.
    pub const fn new(code: u16) -> Self {
        Method(code & 0xfff)
    }

    /// The number.
    pub const fn code(self) -> u16 {
        self.0
    }

    /// The type field: method and class interleaved (RFC 8489 §5, figure 3).
    pub(super) const fn with_class(self, class: Class) -> u16 {
        (self.0 & 0x00f) | (self.0 & 0x070) << 1 | (self.0 & 0xf80) << 2 | class.bits()
    }

    const fn from_type(kind: u16) -> Self {
        Method((kind & 0x00f) | (kind & 0x0e0) >> 1 | (kind & 0x3e00) >> 2)
    }
}

/// Names a transaction; random, so that nobody off the path can answer it (RFC 8489 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransactionId(pub [u8; 12]);

impl TransactionId {
    /// A fresh one.
    pub fn generate(rng: &mut Rng) -> Self {
        TransactionId(rng.array())
    }

    /// A fresh one whose first four bytes are `tag`: whoever shares a socket among many finds by it whose answer an
    /// answer is. The other 64 bits are random.
    pub fn tagged(tag: u32, rng: &mut Rng) -> Self {
        let mut id: [u8; 12] = rng.array();
        if let Some(head) = id.first_chunk_mut() {
            *head = tag.to_be_bytes();
        }
        TransactionId(id)
    }

    /// The first four bytes.
    pub fn tag(&self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }
}

/// Why a message is not authentic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IntegrityError {
    /// It carries no integrity attribute of this kind.
    #[error("the message carries no integrity attribute")]
    Missing,
    /// The value is not the one that the key gives.
    #[error("the message's integrity value is wrong")]
    Mismatch,
}

/// A well-formed message: the header is sound and every attribute lies inside.
///
/// Of an attribute that is there twice, the first counts (RFC 8489 §14).
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    bytes: &'a [u8],
    class: Class,
    method: Method,
    transaction: TransactionId,
    /// What attribute getters see: all up to the first integrity or fingerprint attribute.
    visible: &'a [u8],
    integrity: Option<Sealed<'a>>,
    integrity_sha256: Option<Sealed<'a>>,
    has_fingerprint: bool,
}

/// An integrity attribute and what it covers.
#[derive(Debug, Clone, Copy)]
struct Sealed<'a> {
    /// The message behind its length field, up to the attribute.
    covered: &'a [u8],
    /// The length field to be assumed: up to the attribute's end.
    length: [u8; 2],
    value: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a whole datagram. The fingerprint, if there is one, is verified; the integrity is not.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(datagram, "STUN message");
        let kind = r.u16()?;
        let length = usize::from(r.u16()?);
        let cookie = r.u32()?;
        let transaction = TransactionId(r.array()?);
        // RFC 8489 §5: two zero bits, the cookie, and a length that is a multiple of 4 and the datagram's own.
        if kind & 0xc000 != 0 || cookie != MAGIC_COOKIE || length % 4 != 0 || length != r.remaining() {
            return Err(r.malformed());
        }
        let mut message = Message {
            bytes: datagram,
            class: Class::from_type(kind),
            method: Method::from_type(kind),
            transaction,
            visible: r.peek(),
            integrity: None,
            integrity_sha256: None,
            has_fingerprint: false,
        };
        message.walk(r)?;
        Ok(message)
    }

    /// Walks all attributes once, and finds those that end what the others may see.
    fn walk(&mut self, mut r: Reader<'a>) -> Result<(), Malformed> {
        let attributes = r.peek();
        while !r.is_empty() {
            let at = attributes.len() - r.remaining();
            let Attribute { kind, value } = next_attribute(&mut r)?;
            match kind {
                types::MESSAGE_INTEGRITY => {
                    // R3 of every STUN stack: a value of another size is no integrity at all.
                    if value.len() != HmacSha1Key::OUTPUT_LEN {
                        return Err(r.malformed());
                    }
                    // RFC 8489 §14.5: nothing but the SHA-256 variant and the fingerprint counts behind it.
                    if self.integrity.is_none() && self.integrity_sha256.is_none() {
                        self.integrity = Some(self.sealed(at, value));
                    }
                }
                types::MESSAGE_INTEGRITY_SHA256 => {
                    // RFC 8489 §14.6: 16 to 32 bytes in steps of four.
                    if !(16..=32).contains(&value.len()) || value.len() % 4 != 0 {
                        return Err(r.malformed());
                    }
                    if self.integrity_sha256.is_none() {
                        self.integrity_sha256 = Some(self.sealed(at, value));
                    }
                }
                types::FINGERPRINT => {
                    // RFC 8489 §14.7: the last attribute.
                    let expected = fingerprint(&[&self.bytes[..HEADER_LEN + at]]).to_be_bytes();
                    if !r.is_empty() || value != expected {
                        return Err(r.malformed());
                    }
                    self.has_fingerprint = true;
                }
                _ => continue,
            }
            self.visible = &self.visible[..at.min(self.visible.len())];
        }
        Ok(())
    }

    fn sealed(&self, at: usize, value: &'a [u8]) -> Sealed<'a> {
        // At most what fitted into the length field, since the attribute lies inside the message.
        let length = u16::try_from(at + 4 + value.len()).unwrap_or(u16::MAX).to_be_bytes();
        Sealed { covered: &self.bytes[4..HEADER_LEN + at], length, value }
    }

    /// Request, indication, success or error.
    pub fn class(&self) -> Class {
        self.class
    }

    /// What the message is about.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The transaction that it belongs to.
    pub fn transaction(&self) -> TransactionId {
        self.transaction
    }

    /// Whether it carries a FINGERPRINT; a wrong one is refused by [`parse`](Message::parse).
    pub fn has_fingerprint(&self) -> bool {
        self.has_fingerprint
    }

    /// Whether it carries either integrity attribute.
    pub fn has_integrity(&self) -> bool {
        self.integrity.is_some() || self.integrity_sha256.is_some()
    }

    /// Verifies MESSAGE-INTEGRITY (RFC 8489 §14.5), in constant time and full length.
    pub fn verify_integrity(&self, key: &HmacSha1Key) -> Result<(), IntegrityError> {
        let sealed = self.integrity.ok_or(IntegrityError::Missing)?;
        let parts = [&self.bytes[..2], &sealed.length, sealed.covered];
        if key.verify(&parts, sealed.value) { Ok(()) } else { Err(IntegrityError::Mismatch) }
    }

    /// Verifies MESSAGE-INTEGRITY-SHA256 (RFC 8489 §14.6). Only the full 32 bytes are taken: no usage that is
    /// spoken here allows a shorter value.
    pub fn verify_integrity_sha256(&self, key: &HmacKey) -> Result<(), IntegrityError> {
        let sealed = self.integrity_sha256.ok_or(IntegrityError::Missing)?;
        let parts = [&self.bytes[..2], &sealed.length, sealed.covered];
        if key.verify(&parts, sealed.value) { Ok(()) } else { Err(IntegrityError::Mismatch) }
    }

    /// The attributes before any integrity value or fingerprint, in order.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes(Reader::new(self.visible, "STUN attributes"))
    }

    /// The value of the first attribute of a type.
    pub fn attribute(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes().find(|a| a.kind == kind).map(|a| a.value)
    }

    /// Up to eight attribute types that must be understood and are not (RFC 8489 §6.3.1).
    pub fn unknown_required(&self) -> UnknownAttributes {
        let mut unknown = UnknownAttributes::default();
        self.attributes()
            .filter(|a| attributes::must_be_understood(a.kind))
            .for_each(|a| unknown.push(a.kind));
        unknown
    }

    /// USERNAME, as bytes.
    pub fn username(&self) -> Option<&'a [u8]> {
        self.attribute(types::USERNAME)
    }

    /// SOFTWARE; `None` when it is not UTF-8.
    pub fn software(&self) -> Option<&'a str> {
        self.text(types::SOFTWARE)
    }

    /// REALM; `None` when it is not UTF-8 or longer than RFC 8489 §14.9 allows.
    pub fn realm(&self) -> Option<&'a str> {
        self.text(types::REALM)
    }

    /// NONCE, as bytes; `None` when it is longer than RFC 8489 §14.10 allows.
    pub fn nonce(&self) -> Option<&'a [u8]> {
        self.attribute(types::NONCE).filter(|nonce| nonce.len() <= MAX_TEXT)
    }

    /// USERHASH.
    pub fn userhash(&self) -> Option<[u8; 32]> {
        self.attribute(types::USERHASH)?.try_into().ok()
    }

    /// PRIORITY.
    pub fn priority(&self) -> Option<u32> {
        self.attribute(types::PRIORITY)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// Whether USE-CANDIDATE is there. A value, which it must not have, is ignored.
    pub fn use_candidate(&self) -> bool {
        self.attribute(types::USE_CANDIDATE).is_some()
    }

    /// NOMINATION (draft-thatcher-ice-renomination). Zero, which nominates nothing, is `None`, and so is any value
    /// that is not of four bytes.
    pub fn nomination(&self) -> Option<u32> {
        let number = self.attribute(types::NOMINATION)?.try_into().ok().map(u32::from_be_bytes);
        number.filter(|number| *number > 0)
    }

    /// ICE-CONTROLLING: the sender's tie-breaker.
    pub fn ice_controlling(&self) -> Option<u64> {
        self.attribute(types::ICE_CONTROLLING)?.try_into().ok().map(u64::from_be_bytes)
    }

    /// ICE-CONTROLLED: the sender's tie-breaker.
    pub fn ice_controlled(&self) -> Option<u64> {
        self.attribute(types::ICE_CONTROLLED)?.try_into().ok().map(u64::from_be_bytes)
    }

    /// XOR-MAPPED-ADDRESS, or MAPPED-ADDRESS when only that is there (RFC 8489 §14.2).
    pub fn mapped_address(&self) -> Option<SocketAddr> {
        match self.attribute(types::XOR_MAPPED_ADDRESS) {
            Some(value) => address::parse_xor(value, self.transaction).ok(),
            None => address::parse(self.attribute(types::MAPPED_ADDRESS)?).ok(),
        }
    }

    /// An XOR address attribute of TURN, such as XOR-RELAYED-ADDRESS.
    pub fn xor_address(&self, kind: u16) -> Option<SocketAddr> {
        address::parse_xor(self.attribute(kind)?, self.transaction).ok()
    }

    /// A plain address attribute, such as OTHER-ADDRESS.
    pub fn address(&self, kind: u16) -> Option<SocketAddr> {
        address::parse(self.attribute(kind)?).ok()
    }

    /// ALTERNATE-SERVER.
    pub fn alternate_server(&self) -> Option<SocketAddr> {
        address::parse(self.attribute(types::ALTERNATE_SERVER)?).ok()
    }

    /// ERROR-CODE.
    pub fn error_code(&self) -> Option<ErrorCode<'a>> {
        ErrorCode::parse(self.attribute(types::ERROR_CODE)?).ok()
    }

    /// UNKNOWN-ATTRIBUTES, up to eight of them; `None` when it has an odd size.
    pub fn unknown_attributes(&self) -> Option<UnknownAttributes> {
        let mut r = Reader::new(self.attribute(types::UNKNOWN_ATTRIBUTES)?, "STUN unknown attributes");
        let mut unknown = UnknownAttributes::default();
        while !r.is_empty() {
            unknown.push(r.u16().ok()?);
        }
        Some(unknown)
    }

    /// The first algorithm of PASSWORD-ALGORITHMS that is known: `None` when the attribute is missing or
    /// malformed, `Some(None)` when none of the list is known.
    pub fn password_algorithms(&self) -> Option<Option<PasswordAlgorithm>> {
        attributes::first_password_algorithm(self.attribute(types::PASSWORD_ALGORITHMS)?).ok()
    }

    /// PASSWORD-ALGORITHM; `None` when it is missing, malformed or unknown.
    pub fn password_algorithm(&self) -> Option<PasswordAlgorithm> {
        let mut r = Reader::new(self.attribute(types::PASSWORD_ALGORITHM)?, "STUN password algorithm");
        attributes::parse_password_algorithm(&mut r).ok().flatten()
    }

    fn text(&self, kind: u16) -> Option<&'a str> {
        let value = self.attribute(kind).filter(|value| value.len() <= MAX_TEXT)?;
        std::str::from_utf8(value).ok()
    }
}

/// The longest text attribute, in bytes (RFC 8489 §14.9, §14.10, §14.14).
const MAX_TEXT: usize = 763;

/// The attributes of a [`Message`].
#[derive(Debug, Clone)]
pub struct Attributes<'a>(Reader<'a>);

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        next_attribute(&mut self.0).ok()
    }
}

fn next_attribute<'a>(r: &mut Reader<'a>) -> Result<Attribute<'a>, Malformed> {
    let kind = r.u16()?;
    let len = usize::from(r.u16()?);
    let value = r.take(len)?;
    // RFC 8489 §14: padded to four bytes; the padding may be anything.
    r.skip(len.next_multiple_of(4) - len)?;
    Ok(Attribute { kind, value })
}

/// A short list of attribute types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnknownAttributes {
    kinds: [u16; 8],
    len: u8,
}

impl UnknownAttributes {
    /// Adds a type; the ninth and later ones are left out.
    pub fn push(&mut self, kind: u16) {
        if let Some(place) = self.kinds.get_mut(usize::from(self.len)) {
            *place = kind;
            self.len += 1;
        }
    }

    /// The types.
    pub fn as_slice(&self) -> &[u16] {
        &self.kinds[..usize::from(self.len)]
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
