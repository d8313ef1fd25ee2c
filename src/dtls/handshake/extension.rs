//! Hello extensions (RFC 5246 §7.4.1.4). Known ones are decoded, unknown ones skipped, repeated ones refused.

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
    pub(super) const EXTENDED_MASTER_SECRET: u16 = 23;
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
        });
    }
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
    /// An extension that no client of ours asks for (RFC 5246 §7.4.1.4: an error).
    pub unsolicited: bool,
}

impl<'a> ServerExtensions<'a> {
    /// Reads the extension block that ends a hello; none at all is allowed.
    pub fn parse(r: Reader<'a>) -> Result<Self, Malformed> {
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
        });
    }
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

fn extension(w: &mut Writer<'_>, code: u16, body: impl FnOnce(&mut Writer<'_>)) {
    w.u16(code);
    w.nested_u16(body);
}
