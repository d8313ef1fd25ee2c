//! Addresses inside attributes, plain and combined with the header (RFC 8489 §14.1, §14.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::MAGIC_COOKIE;
use super::message::TransactionId;
use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

const IPV4: u8 = 1;
const IPV6: u8 = 2;

/// Reads an address as it stands: MAPPED-ADDRESS, ALTERNATE-SERVER.
pub(super) fn parse(value: &[u8]) -> Result<SocketAddr, Malformed> {
    let mut r = Reader::new(value, "STUN address");
    // RFC 8489 §14.1: the first byte is for alignment and ignored.
    r.skip(1)?;
    let family = r.u8()?;
    let port = r.u16()?;
    let ip = match family {
        IPV4 => IpAddr::V4(Ipv4Addr::from(r.array::<4>()?)),
        IPV6 => IpAddr::V6(Ipv6Addr::from(r.array::<16>()?)),
        _ => return Err(r.malformed()),
    };
    r.finish()?;
    Ok(SocketAddr::new(ip, port))
}

/// Reads an address that was combined with the cookie and the transaction id: XOR-MAPPED-ADDRESS and its kin.
pub fn parse_xor(value: &[u8], transaction: TransactionId) -> Result<SocketAddr, Malformed> {
    parse(value).map(|address| xor(address, transaction))
}

/// Writes an address as it stands.
pub(super) fn emit(w: &mut Writer<'_>, address: SocketAddr) {
    w.u8(0);
    match address.ip() {
        IpAddr::V4(ip) => {
            w.u8(IPV4);
            w.u16(address.port());
            w.slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            w.u8(IPV6);
            w.u16(address.port());
            w.slice(&ip.octets());
        }
    }
}

/// Writes an address combined with the cookie and the transaction id.
pub(super) fn emit_xor(w: &mut Writer<'_>, address: SocketAddr, transaction: TransactionId) {
    emit(w, xor(address, transaction));
}

/// RFC 8489 §14.2: the port with the cookie's upper half, IPv4 with the cookie, IPv6 with cookie and id.
/// It undoes itself.
pub fn xor(address: SocketAddr, transaction: TransactionId) -> SocketAddr {
    let [high, low, ..] = MAGIC_COOKIE.to_be_bytes();
    let port = address.port() ^ u16::from_be_bytes([high, low]);
    let ip = match address.ip() {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() ^ MAGIC_COOKIE)),
        IpAddr::V6(ip) => {
            let mut mask = [0; 16];
            mask[..4].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
            mask[4..].copy_from_slice(&transaction.0);
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() ^ u128::from_be_bytes(mask)))
        }
    };
    SocketAddr::new(ip, port)
}
