//! Extensions of hellos (RFC 5246 §7.4.1.4, RFC 8446 §4.2) and of EncryptedExtensions. Known ones are decoded,
//! unknown ones skipped, repeated ones refused.

use super::Codes;
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// Extension codes (IANA "TLS ExtensionType Values").
mod code {
    pub(super) const SUPPORTED_GROUPS: u16 = 10;
    pub(super) const EC_POINT_FORMATS: u16 = 11;
    pub(super) const SIGNATURE_ALGORITHMS: u16 = 13;
    pub(super) const USE_SRTP: u16 = 14;
    pub(super) const PADDING: u16 = 21;
    pub(super) const EXTENDED_MASTER_SECRET: u16 = 23;
    pub(super) const SUPPORTED_VERSIONS: u16 = 43;
    pub(super) const COOKIE: u16 = 44;
    pub(super) const KEY_SHARE: u16 = 51;
    pub(super) const RENEGOTIATION_INFO: u16 = 0xff01;
}

/// The only point format that is in use (RFC 8422 §5.1.2).
const UNCOMPRESSED: u8 = 0;

/// `use_srtp` (RFC 5764 §4.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UseSrtp<'a> {
    /// Protection profiles: the client's by preference, or the one that the server chose.
    pub profiles: Codes<'a>,
    /// Master key identifier; empty here, since WebRTC uses none.
    pub mki: &'a [u8],
}

impl<'a> UseSrtp<'a> {
    fn parse(mut r: Reader<'a>) -> Result<Self, Malformed> {
        let profiles = Codes::parse(r.sub_u16()?)?;
        let mki = r.sub_u8()?.rest();
        r.finish()?;
        Ok(UseSrtp { profiles, mki })
    }

    fn emit(&self, w: &mut Writer<'_>) {
        w.nested_u16(|w| self.profiles.emit(w));
        w.nested_u8(|w| w.slice(self.mki));
    }
}

/// A public share of one group (RFC 8446 §4.2.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyShare<'a> {
    /// The group's code.
    pub group: u16,
    /// The share, at least one byte.
    pub public: &'a [u8],
}

impl<'a> KeyShare<'a> {
    fn parse(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        let group = r.u16()?;
        let public = r.sub_u16()?.rest();
        if public.is_empty() { Err(r.malformed()) } else { Ok(KeyShare { group, public }) }
    }

    /// Writes group and share.
    pub fn emit(&self, w: &mut Writer<'_>) {
        w.u16(self.group);
        w.nested_u16(|w| w.slice(self.public));
    }
}

/// A client's shares as they lie on the wire, checked once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyShares<'a>(&'a [u8]);

impl<'a> KeyShares<'a> {
    /// All that is left of `r`; no share at all asks for the server's choice of group (RFC 8446 §4.2.8).
    pub fn parse(mut r: Reader<'a>) -> Result<Self, Malformed> {
        let shares = KeyShares(r.rest());
        let mut checked = Reader::new(shares.0, "key shares");
        while !checked.is_empty() {
            KeyShare::parse(&mut checked)?;
        }
        Ok(shares)
    }

    /// The shares by the client's preference.
    pub fn iter(&self) -> impl Iterator<Item = KeyShare<'a>> + use<'a> {
        let mut r = Reader::new(self.0, "key shares");
        std::iter::from_fn(move || KeyShare::parse(&mut r).ok())
    }

    /// The share of a group.
    pub fn find(&self, group: u16) -> Option<&'a [u8]> {
        self.iter().find(|share| share.group == group).map(|share| share.public)
    }
}

/// What a ClientHello says in its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientExtensions<'a> {
    /// Key exchange groups, by preference (RFC 8422 §5.1.1).
    pub supported_groups: Option<Codes<'a>>,
    /// Whether `ec_point_formats` is there; a client that sends it always lists the uncompressed one.
    pub point_formats: bool,
    /// Signature schemes, by preference (RFC 5246 §7.4.1.4.1).
    pub signature_algorithms: Option<Codes<'a>>,
    /// SRTP profiles (RFC 5764).
    pub use_srtp: Option<UseSrtp<'a>>,
    /// RFC 7627.
    pub extended_master_secret: bool,
    /// RFC 5746; empty in a first handshake.
    pub renegotiation_info: Option<&'a [u8]>,
    /// Versions by preference (RFC 8446 §4.2.1).
    pub supported_versions: Option<Codes<'a>>,
    /// What a HelloRetryRequest gave (RFC 8446 §4.2.2).
    pub cookie: Option<&'a [u8]>,
    /// Shares for some of the groups (RFC 8446 §4.2.8).
    pub key_shares: Option<KeyShares<'a>>,
    /// Zeros that make the hello longer by four bytes and as many more (RFC 7685); written, and skipped when read.
    pub padding: Option<u8>,
}

impl<'a> ClientExtensions<'a> {
    /// Reads the extension block that ends a hello; none at all is allowed (RFC 5246 §7.4.1.2).
    pub fn parse(r: Reader<'a>) -> Result<Self, Malformed> {
        let mut found = ClientExtensions::default();
        for_each(r, |code, mut body| {
            match code {
                code::SUPPORTED_GROUPS => {
                    once(&mut found.supported_groups, Codes::parse(body.sub_u16()?)?, &body)?;
                }
                code::EC_POINT_FORMATS => flag(&mut found.point_formats, point_formats(&mut body)?, &body)?,
                code::SIGNATURE_ALGORITHMS => {
                    once(&mut found.signature_algorithms, Codes::parse(body.sub_u16()?)?, &body)?;
                }
                code::USE_SRTP => {
                    let all = Reader::new(body.rest(), "use_srtp");
                    once(&mut found.use_srtp, UseSrtp::parse(all)?, &body)?;
                }
                code::EXTENDED_MASTER_SECRET => flag(&mut found.extended_master_secret, true, &body)?,
                code::RENEGOTIATION_INFO => {
                    once(&mut found.renegotiation_info, body.sub_u8()?.rest(), &body)?;
                }
                code::SUPPORTED_VERSIONS => {
                    once(&mut found.supported_versions, Codes::parse(body.sub_u8()?)?, &body)?;
                }
                code::COOKIE => once(&mut found.cookie, cookie(&mut body)?, &body)?,
                code::KEY_SHARE => {
                    once(&mut found.key_shares, KeyShares::parse(body.sub_u16()?)?, &body)?;
                }
                _ => return Ok(()),
            }
            body.finish()
        })?;
        Ok(found)
    }

    /// Writes the extension block with its length.
    pub fn emit(&self, w: &mut Writer<'_>) {
        w.nested_u16(|w| {
            if let Some(groups) = self.supported_groups {
                extension(w, code::SUPPORTED_GROUPS, |w| w.nested_u16(|w| groups.emit(w)));
            }
            if self.point_formats {
                extension(w, code::EC_POINT_FORMATS, |w| w.nested_u8(|w| w.u8(UNCOMPRESSED)));
            }
            if let Some(schemes) = self.signature_algorithms {
                extension(w, code::SIGNATURE_ALGORITHMS, |w| w.nested_u16(|w| schemes.emit(w)));
            }
            if let Some(use_srtp) = self.use_srtp {
                extension(w, code::USE_SRTP, |w| use_srtp.emit(w));
            }
            if self.extended_master_secret {
                extension(w, code::EXTENDED_MASTER_SECRET, |_| {});
            }
            if let Some(info) = self.renegotiation_info {
                extension(w, code::RENEGOTIATION_INFO, |w| w.nested_u8(|w| w.slice(info)));
            }
            if let Some(versions) = self.supported_versions {
                extension(w, code::SUPPORTED_VERSIONS, |w| w.nested_u8(|w| versions.emit(w)));
            }
            if let Some(cookie) = self.cookie {
                extension(w, code::COOKIE, |w| w.nested_u16(|w| w.slice(cookie)));
            }
            if let Some(shares) = self.key_shares {
                extension(w, code::KEY_SHARE, |w| w.nested_u16(|w| w.slice(shares.0)));
            }
            if let Some(len) = self.padding {
                extension(w, code::PADDING, |w| w.zeros(usize::from(len)));
            }
        });
    }
}

/// Which of its two meanings a ServerHello has (RFC 8446 §4.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The server goes on.
    Hello,
    /// The client is to send another hello (RFC 8446 §4.1.4).
    Retry,
}

/// What a ServerHello says in its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerExtensions<'a> {
    /// Whether `ec_point_formats` is there.
    pub point_formats: bool,
    /// The SRTP profile chosen (RFC 5764 §4.1.1).
    pub use_srtp: Option<UseSrtp<'a>>,
    /// RFC 7627.
    pub extended_master_secret: bool,
    /// RFC 5746; empty in a first handshake.
    pub renegotiation_info: Option<&'a [u8]>,
    /// The version chosen, if it is newer than 1.2 (RFC 8446 §4.2.1).
    pub supported_version: Option<u16>,
    /// The server's share (RFC 8446 §4.2.8).
    pub key_share: Option<KeyShare<'a>>,
    /// The group that a HelloRetryRequest asks a share of (RFC 8446 §4.2.8).
    pub retry_group: Option<u16>,
    /// What the next hello has to repeat (RFC 8446 §4.2.2).
    pub cookie: Option<&'a [u8]>,
    /// An extension that no client of ours asks for (RFC 5246 §7.4.1.4: an error).
    pub unsolicited: bool,
}

impl<'a> ServerExtensions<'a> {
    /// Reads the extension block that ends a hello; none at all is allowed.
    pub fn parse(r: Reader<'a>, answer: Answer) -> Result<Self, Malformed> {
        let mut found = ServerExtensions::default();
        for_each(r, |code, mut body| {
            match code {
                code::EC_POINT_FORMATS => flag(&mut found.point_formats, point_formats(&mut body)?, &body)?,
                code::USE_SRTP => {
                    let all = Reader::new(body.rest(), "use_srtp");
                    once(&mut found.use_srtp, UseSrtp::parse(all)?, &body)?;
                }
                code::EXTENDED_MASTER_SECRET => flag(&mut found.extended_master_secret, true, &body)?,
                code::RENEGOTIATION_INFO => {
                    once(&mut found.renegotiation_info, body.sub_u8()?.rest(), &body)?;
                }
                code::SUPPORTED_VERSIONS => once(&mut found.supported_version, body.u16()?, &body)?,
                code::KEY_SHARE if answer == Answer::Retry => {
                    once(&mut found.retry_group, body.u16()?, &body)?;
                }
                code::KEY_SHARE => once(&mut found.key_share, KeyShare::parse(&mut body)?, &body)?,
                code::COOKIE if answer == Answer::Retry => {
                    once(&mut found.cookie, cookie(&mut body)?, &body)?;
                }
                // A server has no reason to (RFC 8422 §4), but pion and its relatives answer with their own list.
                // The client has sent one, so it is not unsolicited; it says nothing.
                code::SUPPORTED_GROUPS => return Ok(()),
                _ => {
                    found.unsolicited = true;
                    return Ok(());
                }
            }
            body.finish()
        })?;
        Ok(found)
    }

    /// Writes the extension block with its length; `unsolicited` writes nothing.
    pub fn emit(&self, w: &mut Writer<'_>) {
        w.nested_u16(|w| {
            if self.point_formats {
                extension(w, code::EC_POINT_FORMATS, |w| w.nested_u8(|w| w.u8(UNCOMPRESSED)));
            }
            if let Some(use_srtp) = self.use_srtp {
                extension(w, code::USE_SRTP, |w| use_srtp.emit(w));
            }
            if self.extended_master_secret {
                extension(w, code::EXTENDED_MASTER_SECRET, |_| {});
            }
            if let Some(info) = self.renegotiation_info {
                extension(w, code::RENEGOTIATION_INFO, |w| w.nested_u8(|w| w.slice(info)));
            }
            if let Some(version) = self.supported_version {
                extension(w, code::SUPPORTED_VERSIONS, |w| w.u16(version));
            }
            if let Some(share) = self.key_share {
                extension(w, code::KEY_SHARE, |w| share.emit(w));
            }
            if let Some(group) = self.retry_group {
                extension(w, code::KEY_SHARE, |w| w.u16(group));
            }
            if let Some(cookie) = self.cookie {
                extension(w, code::COOKIE, |w| w.nested_u16(|w| w.slice(cookie)));
            }
        });
    }

    /// Whether something is here that a hello of 1.3 must not have (RFC 8446 §4.2, the table of messages).
    pub fn has_parts_of_12(&self) -> bool {
        self.point_formats
            || self.use_srtp.is_some()
            || self.extended_master_secret
            || self.renegotiation_info.is_some()
    }

    /// Whether something is here that a hello of 1.2 must not have.
    pub fn has_parts_of_13(&self) -> bool {
        self.key_share.is_some() || self.retry_group.is_some() || self.cookie.is_some()
    }
}

/// The server's extensions of 1.3 that travel protected (RFC 8446 §4.3.1); also the message's whole body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EncryptedExtensions<'a> {
    /// The SRTP profile chosen (RFC 5764 §4.1.1).
    pub use_srtp: Option<UseSrtp<'a>>,
    /// One that is known, and belongs into another message (RFC 8446 §4.2: an error).
    pub misplaced: bool,
    /// One that no client of ours asks for (RFC 8446 §4.2: an error).
    pub unsolicited: bool,
}

impl<'a> EncryptedExtensions<'a> {
    /// Reads the body of the message.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let r = Reader::new(body, "EncryptedExtensions");
        if r.is_empty() {
            return Err(r.malformed());
        }
        let mut found = EncryptedExtensions::default();
        for_each(r, |code, mut body| {
            match code {
                code::USE_SRTP => {
                    let all = Reader::new(body.rest(), "use_srtp");
                    once(&mut found.use_srtp, UseSrtp::parse(all)?, &body)?;
                }
                // RFC 8446 §4.2.7: the server's own groups, for the next time.
                code::SUPPORTED_GROUPS => return Ok(()),
                code::EC_POINT_FORMATS
                | code::SIGNATURE_ALGORITHMS
                | code::EXTENDED_MASTER_SECRET
                | code::SUPPORTED_VERSIONS
                | code::COOKIE
                | code::KEY_SHARE
                | code::RENEGOTIATION_INFO => {
                    found.misplaced = true;
                    return Ok(());
                }
                _ => {
                    found.unsolicited = true;
                    return Ok(());
                }
            }
            body.finish()
        })?;
        Ok(found)
    }

    /// Writes the body; the flags write nothing.
    pub fn emit(&self, w: &mut Writer<'_>) {
        w.nested_u16(|w| {
            if let Some(use_srtp) = self.use_srtp {
                extension(w, code::USE_SRTP, |w| use_srtp.emit(w));
            }
        });
    }
}

/// The one extension of a CertificateRequest that is used here (RFC 8446 §4.3.2).
pub(super) fn request_schemes<'a>(r: Reader<'a>) -> Result<Option<Codes<'a>>, Malformed> {
    let mut found = None;
    for_each(r, |code, mut body| {
        if code != code::SIGNATURE_ALGORITHMS {
            return Ok(());
        }
        once(&mut found, Codes::parse(body.sub_u16()?)?, &body)?;
        body.finish()
    })?;
    Ok(found)
}

/// Writes what [`request_schemes`] reads.
pub(super) fn emit_request_schemes(schemes: Codes<'_>, w: &mut Writer<'_>) {
    w.nested_u16(|w| {
        extension(w, code::SIGNATURE_ALGORITHMS, |w| w.nested_u16(|w| schemes.emit(w)));
    });
}

/// Calls `on_extension` with each extension of the block that is left in `r`.
fn for_each<'a>(
    mut r: Reader<'a>,
    mut on_extension: impl FnMut(u16, Reader<'a>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    if r.is_empty() {
        return Ok(());
    }
    let mut block = r.sub_u16()?;
    r.finish()?;
    while !block.is_empty() {
        let code = block.u16()?;
        on_extension(code, block.sub_u16()?)?;
    }
    Ok(())
}

/// Keeps a decoded extension; a second one of its kind is malformed (RFC 5246 §7.4.1.4).
fn once<T>(slot: &mut Option<T>, value: T, r: &Reader<'_>) -> Result<(), Malformed> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(r.malformed()),
    }
}

/// Notes an extension that only has to be there.
fn flag(slot: &mut bool, value: bool, r: &Reader<'_>) -> Result<(), Malformed> {
    if std::mem::replace(slot, value) { Err(r.malformed()) } else { Ok(()) }
}

/// RFC 8422 §5.1.2: a list without the uncompressed format is an error.
fn point_formats(body: &mut Reader<'_>) -> Result<bool, Malformed> {
    let formats = body.sub_u8()?.rest();
    if formats.contains(&UNCOMPRESSED) { Ok(true) } else { Err(body.malformed()) }
}

/// RFC 8446 §4.2.2: a cookie holds at least one byte.
fn cookie<'a>(body: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let cookie = body.sub_u16()?.rest();
    if cookie.is_empty() { Err(body.malformed()) } else { Ok(cookie) }
}

fn extension(w: &mut Writer<'_>, code: u16, body: impl FnOnce(&mut Writer<'_>)) {
    w.u16(code);
    w.nested_u16(body);
}
