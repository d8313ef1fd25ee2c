//! How requests and Send indications are written.

use std::net::{IpAddr, SocketAddr};

use bytes::BufMut as _;

use crate::stun::address::xor;
use crate::stun::attributes::types;
use crate::stun::{Builder, HEADER_LEN, MAGIC_COOKIE, Method, TransactionId};
use crate::turn::config::{Config, Families, Family};
use crate::turn::transaction::Request;

/// Bytes of an attribute's type and length.
pub(super) const ATTRIBUTE: usize = 4;

/// The attributes of a request, without those that sign it.
pub(super) fn write_request(builder: &mut Builder<'_>, request: &Request, config: &Config) {
    let seconds = u32::try_from(config.lifetime.as_secs()).unwrap_or(u32::MAX);
    match request {
        Request::Allocate => {
            // RFC 8656 §18.8: UDP towards the peers.
            builder.attribute(types::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
            builder.attribute(types::LIFETIME, &seconds.to_be_bytes());
            match config.families {
                Families::Any => {}
                Families::Only(family) => {
                    builder.attribute(types::REQUESTED_ADDRESS_FAMILY, &family.attribute());
                }
                Families::Both => {
                    // RFC 8656 §7.1: only IPv6 can be the additional one.
                    builder.attribute(types::ADDITIONAL_ADDRESS_FAMILY, &Family::V6.attribute());
                }
            }
        }
        // RFC 8656 §8.1: without a family it is for all of the allocation.
        Request::Refresh => {
            builder.attribute(types::LIFETIME, &seconds.to_be_bytes());
        }
        Request::Delete { .. } => {
            builder.attribute(types::LIFETIME, &0u32.to_be_bytes());
        }
        Request::Permit(batch) => {
            for ip in batch {
                // RFC 8656 §10.1: the port does not matter.
                builder.xor_address(types::XOR_PEER_ADDRESS, SocketAddr::new(*ip, 0));
            }
        }
        Request::Bind(number, peer) => {
            let [high, low] = number.number().to_be_bytes();
            builder.attribute(types::CHANNEL_NUMBER, &[high, low, 0, 0]);
            builder.xor_address(types::XOR_PEER_ADDRESS, *peer);
        }
    }
}

/// Bytes of an XOR-PEER-ADDRESS value.
fn address_len(peer: SocketAddr) -> usize {
    if peer.is_ipv4() { 8 } else { 20 }
}

/// Bytes before the data of a Send indication.
pub(super) fn indication_head(peer: SocketAddr) -> usize {
    HEADER_LEN + ATTRIBUTE + address_len(peer) + ATTRIBUTE
}

/// RFC 8656 §11.1: what comes before the data of a Send indication, in `place` of exactly its size.
pub(super) fn emit_send_indication(
    mut place: &mut [u8],
    id: TransactionId,
    peer: SocketAddr,
    length: usize,
) -> Option<()> {
    debug_assert_eq!(place.len(), indication_head(peer));
    let body = place.len() - HEADER_LEN + length.next_multiple_of(4);
    let body = u16::try_from(body).ok()?;
    // The method's code has no bits above the fourth, so the type is the two side by side.
    place.put_u16(0x0010 | Method::SEND.code());
    place.put_u16(body);
    place.put_u32(MAGIC_COOKIE);
    place.put_slice(&id.0);
    place.put_u16(types::XOR_PEER_ADDRESS);
    place.put_u16(u16::try_from(address_len(peer)).ok()?);
    let combined = xor(peer, id);
    place.put_u16(Family::of(peer.ip()).code().into());
    place.put_u16(combined.port());
    match combined.ip() {
        IpAddr::V4(ip) => place.put_slice(&ip.octets()),
        IpAddr::V6(ip) => place.put_slice(&ip.octets()),
    }
    place.put_u16(types::DATA);
    place.put_u16(u16::try_from(length).ok()?);
    Some(())
}
