//! Handshake messages: the header that every fragment carries (RFC 6347 §4.2.2, RFC 9147 §5.2), and one file
//! per family of bodies.

pub mod certificate;
pub mod certificate13;
pub mod extension;
pub mod hello;
pub mod key_exchange;
pub mod key_update;

use bytes::BytesMut;

use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// Bytes of the header before each fragment.
pub const HEADER_LEN: usize = 12;

/// The kind of a handshake message (RFC 5246 §7.4, RFC 8446 §4). Unknown kinds are data, not errors.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HandshakeType(
    /// The code on the wire.
    pub u8,
);

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        impl HandshakeType {
            $($(#[$doc])* pub const $name: Self = HandshakeType($code);)*
        }

        impl std::fmt::Debug for HandshakeType {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.0 {
                    $($code => f.write_str(stringify!($name)),)*
                    code => write!(f, "handshake type {code}"),
                }
            }
        }
    };
}

kinds! {
    /// A server asks for renegotiation (1.2); refused here.
    HELLO_REQUEST = 0;
    /// The client's first message.
    CLIENT_HELLO = 1;
    /// The server's choice; in 1.3 also HelloRetryRequest.
    SERVER_HELLO = 2;
    /// The cookie of DTLS 1.2 (RFC 6347 §4.2.1).
    HELLO_VERIFY_REQUEST = 3;
    /// Ignored: sessions are never resumed.
    NEW_SESSION_TICKET = 4;
    /// The server's extensions of 1.3.
    ENCRYPTED_EXTENSIONS = 8;
    /// A certificate chain.
    CERTIFICATE = 11;
    /// The server's ECDHE share of 1.2.
    SERVER_KEY_EXCHANGE = 12;
    /// The server wants the client's certificate.
    CERTIFICATE_REQUEST = 13;
    /// End of the server's flight of 1.2.
    SERVER_HELLO_DONE = 14;
    /// Proof of possession of the certificate's key.
    CERTIFICATE_VERIFY = 15;
    /// The client's ECDHE share of 1.2.
    CLIENT_KEY_EXCHANGE = 16;
    /// Proof that both saw the same handshake.
    FINISHED = 20;
    /// New traffic keys (1.3).
    KEY_UPDATE = 24;
    /// Stands for the first hello in the transcript after a HelloRetryRequest (RFC 8446 §4.4.1).
    MESSAGE_HASH = 254;
}

impl HandshakeType {
    /// The longest body accepted, in bytes: one certificate of 16 KiB, and far less for all else. Longer ones are
    /// dropped at their first fragment.
    pub fn max_len(self) -> usize {
        match self {
            HandshakeType::CERTIFICATE => 17 * 1024,
            _ => 8 * 1024,
        }
    }
}

/// One fragment of a handshake message, or a whole one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// The kind of message.
    pub kind: HandshakeType,
    /// Length of the whole body, at most 2^24 - 1.
    pub length: u32,
    /// Number of the message in the handshake.
    pub message_seq: u16,
    /// Where in the whole body these bytes start.
    pub offset: u32,
    /// The bytes.
    pub body: &'a [u8],
}

impl<'a> Fragment<'a> {
    /// Reads the next fragment of a record.
    pub fn parse(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let kind = HandshakeType(r.u8()?);
        let length = r.u24()?;
        let message_seq = r.u16()?;
        let offset = r.u24()?;
        let body = r.sub_u24()?.rest();
        // RFC 6347 §4.2.3: a fragment lies within its message.
        let end = u64::from(offset) + u64::try_from(body.len()).map_err(|_| r.malformed())?;
        if end > u64::from(length) {
            return Err(r.malformed());
        }
        Ok(Fragment { kind, length, message_seq, offset, body })
    }

    /// Writes header and bytes.
    pub fn emit(&self, w: &mut Writer<'_>) {
        w.u8(self.kind.0);
        w.u24(self.length);
        w.u16(self.message_seq);
        w.u24(self.offset);
        w.nested_u24(|w| w.slice(self.body));
    }

    /// Whether these are all bytes of the message.
    pub fn is_whole(&self) -> bool {
        self.offset == 0 && usize::try_from(self.length).is_ok_and(|length| length == self.body.len())
    }
}

/// A whole handshake message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// The kind of message.
    pub kind: HandshakeType,
    /// Its number in the handshake.
    pub message_seq: u16,
    /// Its body, without a header.
    pub body: &'a [u8],
}

/// A list of 16-bit codes, as it lies on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Codes<'a>(&'a [[u8; 2]]);

impl<'a> Codes<'a> {
    /// All that is left of `r`, which must be a whole number of codes, at least one.
    pub fn parse(mut r: Reader<'a>) -> Result<Self, Malformed> {
        let malformed = r.malformed();
        match r.rest().as_chunks() {
            (codes, []) if !codes.is_empty() => Ok(Codes(codes)),
            _ => Err(malformed),
        }
    }

    /// A list over codes in network order.
    pub fn new(codes: &'a [[u8; 2]]) -> Self {
        Codes(codes)
    }

    /// Writes the codes, without a length.
    pub fn emit(&self, w: &mut Writer<'_>) {
        w.slice(self.0.as_flattened());
    }

    /// The codes in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + use<'a> {
        self.0.iter().map(|code| u16::from_be_bytes(*code))
    }

    /// Whether `code` is in the list.
    pub fn contains(&self, code: u16) -> bool {
        self.0.contains(&code.to_be_bytes())
    }

    /// Number of codes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Codes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|code| format_args!("{code:#06x}").to_string())).finish()
    }
}

/// The bytes that `emit` writes.
pub(crate) fn written(emit: impl FnOnce(&mut Writer<'_>)) -> BytesMut {
    let mut buf = BytesMut::new();
    emit(&mut Writer::new(&mut buf));
    buf
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn fragments_round_trip(kind: u8, message_seq: u16, offset in 0u32..1000, rest in 0u32..1000, body: Vec<u8>) {
            let length = offset + u32::try_from(body.len()).unwrap() + rest;
            let fragment = Fragment { kind: HandshakeType(kind), length, message_seq, offset, body: &body };
            let bytes = written(|w| fragment.emit(w));
            let mut r = Reader::new(&bytes, "handshake");
            prop_assert_eq!(Fragment::parse(&mut r), Ok(fragment));
            prop_assert!(r.finish().is_ok());
            for cut in 0..bytes.len() {
                prop_assert!(Fragment::parse(&mut Reader::new(&bytes[..cut], "handshake")).is_err());
            }
        }
    }

    #[test]
    fn a_fragment_beyond_its_message_is_refused() {
        let bytes = [11, 0, 0, 4, 0, 1, 0, 0, 2, 0, 0, 3, 1, 2, 3];
        assert!(Fragment::parse(&mut Reader::new(&bytes, "handshake")).is_err());
    }

    #[test]
    fn a_list_of_codes_is_whole_and_not_empty() {
        let codes = |bytes: &'static [u8]| Codes::parse(Reader::new(bytes, "codes"));
        assert_eq!(codes(&[0, 1, 2, 3]).unwrap().iter().collect::<Vec<_>>(), [1, 0x0203]);
        assert!(codes(&[0, 1]).unwrap().contains(1));
        assert!(codes(&[]).is_err());
        assert!(codes(&[0, 1, 2]).is_err());
    }
}
