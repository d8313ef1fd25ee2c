//! Attribute types and the values that have an inner structure (RFC 8489 §14, §18.3).

use crate::wire::Malformed;
use crate::wire::reader::Reader;

macro_rules! attribute_types {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// Attribute types: those of STUN, ICE (RFC 8445 §16.1) and TURN (RFC 8656 §18).
        pub mod types {
            $($(#[$doc])* pub const $name: u16 = $code;)*
        }

        /// The types above, for the comprehension rule.
        const KNOWN: &[u16] = &[$($code),*];
    };
}

attribute_types! {
    /// The reflexive address, in clear (RFC 8489 §14.1).
    MAPPED_ADDRESS = 0x0001,
    /// Who asks; in ICE both user name fragments (RFC 8489 §14.3).
    USERNAME = 0x0006,
    /// HMAC-SHA1 of what lies before (RFC 8489 §14.5).
    MESSAGE_INTEGRITY = 0x0008,
    /// Why a request failed (RFC 8489 §14.8).
    ERROR_CODE = 0x0009,
    /// Which attributes were not understood (RFC 8489 §14.13).
    UNKNOWN_ATTRIBUTES = 0x000a,
    /// A TURN channel (RFC 8656 §18.1).
    CHANNEL_NUMBER = 0x000c,
    /// Seconds that a TURN allocation lives (RFC 8656 §18.2).
    LIFETIME = 0x000d,
    /// The far end of relayed data (RFC 8656 §18.3).
    XOR_PEER_ADDRESS = 0x0012,
    /// Relayed data (RFC 8656 §18.4).
    DATA = 0x0013,
    /// Where a user name is known (RFC 8489 §14.9).
    REALM = 0x0014,
    /// A server's challenge (RFC 8489 §14.10).
    NONCE = 0x0015,
    /// The address on the TURN server (RFC 8656 §18.5).
    XOR_RELAYED_ADDRESS = 0x0016,
    /// The IP version wanted of a TURN server (RFC 8656 §18.6).
    REQUESTED_ADDRESS_FAMILY = 0x0017,
    /// An even port wanted (RFC 8656 §18.7).
    EVEN_PORT = 0x0018,
    /// The transport wanted of a TURN server (RFC 8656 §18.8).
    REQUESTED_TRANSPORT = 0x0019,
    /// Relayed datagrams are not to be fragmented (RFC 8656 §18.9).
    DONT_FRAGMENT = 0x001a,
    /// HMAC-SHA256 of what lies before (RFC 8489 §14.6).
    MESSAGE_INTEGRITY_SHA256 = 0x001c,
    /// The chosen way to derive a key (RFC 8489 §14.12).
    PASSWORD_ALGORITHM = 0x001d,
    /// A hash in place of the user name (RFC 8489 §14.4).
    USERHASH = 0x001e,
    /// The reflexive address, combined with the header (RFC 8489 §14.2).
    XOR_MAPPED_ADDRESS = 0x0020,
    /// A token for a reserved port (RFC 8656 §18.10).
    RESERVATION_TOKEN = 0x0022,
    /// What a peer-reflexive candidate is to be worth (RFC 8445 §16.1).
    PRIORITY = 0x0024,
    /// Nominates the pair (RFC 8445 §16.1).
    USE_CANDIDATE = 0x0025,
    /// A TCP connection of a TURN server (RFC 6062 §6.2.1).
    CONNECTION_ID = 0x002a,
    /// A second IP version wanted of a TURN server (RFC 8656 §18.11).
    ADDITIONAL_ADDRESS_FAMILY = 0x8000,
    /// A second allocation that failed (RFC 8656 §18.12).
    ADDRESS_ERROR_CODE = 0x8001,
    /// The ways to derive a key that a server offers (RFC 8489 §14.11).
    PASSWORD_ALGORITHMS = 0x8002,
    /// The name of another server (RFC 8489 §14.16).
    ALTERNATE_DOMAIN = 0x8003,
    /// An ICMP error on relayed data (RFC 8656 §18.13).
    ICMP = 0x8004,
    /// The software's name (RFC 8489 §14.14).
    SOFTWARE = 0x8022,
    /// Another server (RFC 8489 §14.15).
    ALTERNATE_SERVER = 0x8023,
    /// CRC-32 of the message (RFC 8489 §14.7).
    FINGERPRINT = 0x8028,
    /// The sender follows; a tie-breaker (RFC 8445 §16.1).
    ICE_CONTROLLED = 0x8029,
    /// The sender leads; a tie-breaker (RFC 8445 §16.1).
    ICE_CONTROLLING = 0x802a,
    /// Where an answer comes from (RFC 5780 §7.3).
    RESPONSE_ORIGIN = 0x802b,
    /// Where an answer comes from when asked to change both (RFC 5780 §7.4).
    OTHER_ADDRESS = 0x802c,
    /// The number of a nomination: of several, the highest counts (draft-thatcher-ice-renomination, with the number
    /// that libwebrtc gave it).
    NOMINATION = 0xc001,
    /// A datagram of a DTLS handshake, or nothing (draft-hancke-webrtc-sped).
    DTLS_IN_STUN = 0xc070,
    /// Hashes of such datagrams that arrived (draft-hancke-webrtc-sped).
    DTLS_IN_STUN_ACK = 0xc071,
}

/// The answer is to come from elsewhere (RFC 5780 §7.2). It is not among the known types: whoever does not do as
/// it says has to refuse it (RFC 5780 §6.1).
pub const CHANGE_REQUEST: u16 = 0x0003;

/// RFC 8489 §14: types below 0x8000 must be understood.
pub(super) fn must_be_understood(kind: u16) -> bool {
    kind < 0x8000 && !KNOWN.contains(&kind)
}

/// One attribute as it came: a type and a value without its padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// The type, one of [`types`] or unknown.
    pub kind: u16,
    /// The value.
    pub value: &'a [u8],
}

/// Why a request failed (RFC 8489 §14.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode<'a> {
    /// 300 to 699.
    pub code: u16,
    /// A phrase for people; empty when it was not UTF-8.
    pub reason: &'a str,
}

impl<'a> ErrorCode<'a> {
    /// The request was malformed.
    pub const BAD_REQUEST: ErrorCode<'static> = ErrorCode { code: 400, reason: "Bad Request" };
    /// The credentials are missing or wrong.
    pub const UNAUTHENTICATED: ErrorCode<'static> = ErrorCode { code: 401, reason: "Unauthenticated" };
    /// The receiver does not want to hear from the sender (RFC 7675 §5.2 revokes consent with it).
    pub const FORBIDDEN: ErrorCode<'static> = ErrorCode { code: 403, reason: "Forbidden" };
    /// An attribute that must be understood was not.
    pub const UNKNOWN_ATTRIBUTE: ErrorCode<'static> = ErrorCode { code: 420, reason: "Unknown Attribute" };
    /// The nonce is no longer good.
    pub const STALE_NONCE: ErrorCode<'static> = ErrorCode { code: 438, reason: "Stale Nonce" };
    /// Both ends claim the same ICE role (RFC 8445 §7.3.1.1).
    pub const ROLE_CONFLICT: ErrorCode<'static> = ErrorCode { code: 487, reason: "Role Conflict" };
    /// The server has a problem of its own.
    pub const SERVER_ERROR: ErrorCode<'static> = ErrorCode { code: 500, reason: "Server Error" };

    pub(super) fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(value, "STUN error code");
        r.skip(2)?;
        // RFC 8489 §14.8: the bits above the class are reserved and ignored.
        let class = r.u8()? & 0b111;
        let number = r.u8()?;
        if !(3..=6).contains(&class) || number > 99 {
            return Err(r.malformed());
        }
        let reason = std::str::from_utf8(r.rest()).unwrap_or("");
        Ok(ErrorCode { code: u16::from(class) * 100 + u16::from(number), reason })
    }
}

/// How a long-term key is derived from a password (RFC 8489 §18.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PasswordAlgorithm {
    /// MD5, for servers that offer nothing better.
    Md5,
    /// SHA-256.
    Sha256,
}

impl PasswordAlgorithm {
    /// The number on the wire.
    pub const fn code(self) -> u16 {
        match self {
            PasswordAlgorithm::Md5 => 1,
            PasswordAlgorithm::Sha256 => 2,
        }
    }

    fn from_code(code: u16) -> Option<Self> {
        match code {
            1 => Some(PasswordAlgorithm::Md5),
            2 => Some(PasswordAlgorithm::Sha256),
            _ => None,
        }
    }
}

/// Reads one algorithm; `None` when it is not known. Both known ones have no parameters.
pub(super) fn parse_password_algorithm(r: &mut Reader<'_>) -> Result<Option<PasswordAlgorithm>, Malformed> {
    let code = r.u16()?;
    let len = usize::from(r.u16()?);
    r.skip(len)?;
    // RFC 8489 §14.11: parameters are padded like attributes; the padding of the last may be outside.
    r.skip((len.next_multiple_of(4) - len).min(r.remaining()))?;
    Ok(PasswordAlgorithm::from_code(code))
}

/// The first known algorithm of a PASSWORD-ALGORITHMS list (RFC 8489 §9.2.5).
pub(super) fn first_password_algorithm(value: &[u8]) -> Result<Option<PasswordAlgorithm>, Malformed> {
    let mut r = Reader::new(value, "STUN password algorithms");
    let mut first = None;
    while !r.is_empty() {
        let found = parse_password_algorithm(&mut r)?;
        first = first.or(found);
    }
    Ok(first)
}
