//! What a client tells, and what it counts.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;

use super::config::Family;
use crate::packet::Protocol;

/// The addresses that an allocation gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Relayed {
    /// The relayed IPv4 address.
    pub v4: Option<SocketAddr>,
    /// The relayed IPv6 address.
    pub v6: Option<SocketAddr>,
    /// The client as the server sees it: a server-reflexive address (RFC 8656 §7.3).
    pub mapped: Option<SocketAddr>,
}

impl Relayed {
    /// The relayed address of one IP version.
    pub fn of(&self, family: Family) -> Option<SocketAddr> {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

/// Something that happened, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Connect a stream; answer with [`Client::handle_stream_opened`](super::Client::handle_stream_opened) or
    /// [`handle_stream_closed`](super::Client::handle_stream_closed). An older stream is to be closed.
    OpenStream {
        /// TCP or TLS.
        protocol: Protocol,
        /// Where to.
        server: SocketAddr,
        /// For TLS: the name that the certificate must carry.
        server_name: Option<String>,
    },
    /// Close the stream.
    CloseStream,
    /// There is an allocation.
    Allocated {
        /// Its addresses.
        relayed: Relayed,
        /// Until when, unless it is refreshed, which happens by itself.
        lifetime: Duration,
    },
    /// The server lets data of this address through, and data to it.
    Permitted(IpAddr),
    /// The server refused to: the error's code, or 443 for an IP version that was not allocated.
    NotPermitted {
        /// The address.
        peer: IpAddr,
        /// The code (RFC 8656 §19).
        code: u16,
    },
    /// Data to and from this peer goes through a channel from now on.
    Bound(SocketAddr),
    /// The server refused a channel; data goes through indications.
    NotBound {
        /// The peer.
        peer: SocketAddr,
        /// The code (RFC 8656 §19).
        code: u16,
    },
    /// The network told the server that data to a peer does not arrive (RFC 8656 §11.6).
    Unreachable {
        /// The peer.
        peer: SocketAddr,
        /// The ICMP type.
        kind: u8,
        /// The ICMP code.
        code: u8,
    },
    /// The allocation is gone. Another one is on its way, and may have other addresses.
    Lost(Failure),
    /// There is no allocation, and no more attempts are made.
    Failed(Failure),
    /// The allocation was given back.
    Closed,
}

/// Why there is no allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The server did not answer.
    Silent,
    /// The stream was refused, or ended.
    Stream,
    /// Bytes on the stream made no sense.
    Framing,
    /// The credentials were refused (401, 441), or the challenge could not be answered.
    Credentials,
    /// The server called every nonce stale, its own included.
    StaleNonce,
    /// Redirected in a circle, too often, or to nowhere (RFC 8489 §10).
    Redirects,
    /// Every answer failed its integrity check (RFC 8489 §9.2.5).
    Unauthentic,
    /// The local address is in use by another allocation (437).
    Mismatch,
    /// The user or the server has no more to give (486, 508).
    Capacity,
    /// The server has no address of the wanted version (440), or gave one of another.
    Family,
    /// The server agreed to what makes no sense.
    Nonsense,
    /// Another refusal.
    Refused {
        /// The code (RFC 8656 §19, RFC 8489 §14.8).
        code: u16,
    },
}

/// What became of a packet.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Handled {
    /// Data of a peer. It is opened once: what is inside is for the caller, whatever it looks like.
    Data {
        /// Who sent it.
        peer: SocketAddr,
        /// The relayed address that it was sent to.
        relayed: SocketAddr,
        /// What was sent.
        contents: BytesMut,
    },
    /// It was for the client itself.
    Consumed,
    /// It was not taken.
    Dropped(Dropped),
}

/// Why a packet was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dropped {
    /// It did not come from the server.
    Stranger,
    /// It is no message.
    Malformed,
    /// It answers nothing that was asked.
    Unexpected,
    /// It carries no valid integrity value (RFC 8489 §9.2.5).
    Unauthentic,
    /// Its peer has no permission (RFC 8656 §11.4).
    NotPermitted,
    /// There is no allocation.
    NoAllocation,
}

/// Why a peer is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// There is no room for more.
    #[error("too many peers")]
    TooMany,
    /// No relayed address has the peer's IP version.
    #[error("no relayed address of the peer's IP version")]
    Family,
    /// The client was closed, or failed.
    #[error("the client is closed")]
    Closed,
}

/// Why data is not wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WrapError {
    /// The server has not agreed to this peer, or not yet.
    #[error("the relay does not let the peer through")]
    NotPermitted,
    /// More than 65,535 bytes with all that goes around them, or no room in front.
    #[error("the packet does not fit")]
    Size,
}

/// What a client counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Requests sent, repeated ones included.
    pub requests: u64,
    /// Answers taken.
    pub responses: u64,
    /// Packets dropped.
    pub dropped: u64,
    /// Data bytes wrapped.
    pub bytes_sent: u64,
    /// Data bytes unwrapped.
    pub bytes_received: u64,
    /// Packets wrapped.
    pub packets_sent: u64,
    /// Packets unwrapped.
    pub packets_received: u64,
    /// Nonces that were refused as stale.
    pub stale_nonces: u64,
    /// Times that ALTERNATE-SERVER was followed.
    pub redirects: u64,
    /// Allocations lost.
    pub lost: u64,
    /// Events that found their queue full.
    pub events_dropped: u64,
}
