//! What crosses the border: datagrams in, transmits out, and the streams that TCP and TLS need.

use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;

/// How bytes travel between two addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Protocol {
    /// UDP datagrams.
    Udp,
    /// A TCP stream, framed by RFC 4571 between ICE agents and by RFC 8489 §6.2.2 towards a TURN server.
    Tcp,
    /// A TLS stream over TCP; the caller runs TLS.
    Tls,
    /// Multicast DNS: UDP on the caller's multicast socket (RFC 6762, port 5353).
    Mdns,
}

/// The ECN field of an IP packet (RFC 3168 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Ecn {
    /// The transport does not use ECN.
    #[default]
    NotEct = 0b00,
    /// ECN-capable, ECT(1): low-latency senders (RFC 9331).
    Ect1 = 0b01,
    /// ECN-capable, ECT(0).
    Ect0 = 0b10,
    /// Congestion experienced: a router marked the packet.
    Ce = 0b11,
}

impl Ecn {
    /// The field from the two low bits of an IP traffic class.
    pub fn from_bits(bits: u8) -> Self {
        match bits & 0b11 {
            0b00 => Ecn::NotEct,
            0b01 => Ecn::Ect1,
            0b10 => Ecn::Ect0,
            _ => Ecn::Ce,
        }
    }
}

/// A datagram as the caller received it.
///
/// `contents` is opened in place, and payloads handed out are slices of it. Receive into one large buffer and
/// [`split`](BytesMut::split) each datagram off it: that costs no allocation per datagram.
#[derive(Debug)]
pub struct Datagram {
    /// The UDP payload, or several of them when `segment_size` is set.
    pub contents: BytesMut,
    /// The address that it came from.
    pub source: SocketAddr,
    /// The local address that it was received on: the address of a local candidate, never a wildcard.
    pub destination: SocketAddr,
    /// How it came.
    pub protocol: Protocol,
    /// The ECN field of its IP packet.
    pub ecn: Ecn,
    /// With UDP GRO: the size of each datagram in `contents`, of which the last may be shorter.
    pub segment_size: Option<usize>,
}

impl Datagram {
    /// A plain UDP datagram.
    pub fn udp(source: SocketAddr, destination: SocketAddr, contents: BytesMut) -> Self {
        Datagram {
            contents,
            source,
            destination,
            protocol: Protocol::Udp,
            ecn: Ecn::NotEct,
            segment_size: None,
        }
    }
}

/// The bytes of a [`Transmit`], in memory that returns to its pool when this is dropped.
#[derive(PartialEq, Eq)]
pub struct Contents(BytesMut);

impl Contents {
    /// Takes the bytes out, for instance to hand them to another machine as a [`Datagram`].
    pub fn into_inner(self) -> BytesMut {
        self.0
    }
}

impl From<BytesMut> for Contents {
    fn from(bytes: BytesMut) -> Self {
        Contents(bytes)
    }
}

impl std::ops::Deref for Contents {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Contents {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// A datagram, or a run of equal-sized ones, to be sent by the caller.
#[derive(Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The UDP payload, or several of them when `segment_size` is set.
    pub contents: Contents,
    /// Where to.
    pub destination: SocketAddr,
    /// The local address to send from: the base of a local candidate.
    pub source: SocketAddr,
    /// How to send it.
    pub protocol: Protocol,
    /// The ECN field to set on the IP packet.
    pub ecn: Ecn,
    /// With UDP GSO: the size of each datagram in `contents`, of which the last may be shorter.
    pub segment_size: Option<usize>,
}

impl Transmit {
    /// The single datagrams of this transmit, in order.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        let size = self.segment_size.unwrap_or(self.contents.len()).max(1);
        self.contents.chunks(size)
    }
}

/// Names a stream between the caller and an `Rtc`, for as long as the `Rtc` lives; never reused.
///
/// # Contract
/// The library asks for streams with [`StreamOutput::Open`], and is given those that peers opened by
/// `Rtc::accept_stream` or `Endpoint::handle_incoming`; both ways it chooses the key. From then on the caller
/// moves bytes: what it reads goes in as [`StreamInput::Received`], in any pieces, and each
/// [`StreamOutput::Write`] is written, in order. Framing is the library's business, and TLS the caller's.
///
/// A `Write` holds whole frames. A caller whose buffer for a stream is full (64 KiB is enough) drops whole
/// `Write`s, as a network would, and never a part of one. A stream that ended or failed is told with
/// [`StreamInput::Closed`], once; what is told of a stream after that, or of one that never was, has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey(pub u64);

/// What the caller tells of a TCP or TLS stream.
#[derive(Debug)]
#[non_exhaustive]
pub enum StreamInput {
    /// A stream that a [`StreamOutput::Open`] asked for is connected, from this local address.
    Opened {
        /// The key that the command gave.
        key: StreamKey,
        /// The local end.
        local: SocketAddr,
    },
    /// Bytes arrived, in any pieces.
    Received {
        /// The stream.
        key: StreamKey,
        /// The bytes.
        contents: BytesMut,
    },
    /// The stream ended, was refused, or failed.
    Closed {
        /// The stream.
        key: StreamKey,
    },
}

/// What the caller is asked to do with a TCP or TLS stream.
#[derive(Debug)]
#[non_exhaustive]
pub enum StreamOutput {
    /// Connect to `remote`; answer with [`StreamInput::Opened`] or [`StreamInput::Closed`].
    Open {
        /// The key to use in what follows.
        key: StreamKey,
        /// [`Protocol::Tcp`] or [`Protocol::Tls`].
        protocol: Protocol,
        /// The local address to connect from, with any port; `None` where that does not matter.
        local: Option<IpAddr>,
        /// Where to.
        remote: SocketAddr,
        /// For TLS: the name that the server's certificate must carry.
        server_name: Option<String>,
    },
    /// Write these bytes, in order.
    Write {
        /// The stream.
        key: StreamKey,
        /// The bytes, framed already.
        contents: Contents,
    },
    /// Close the stream; no answer is expected.
    Close {
        /// The stream.
        key: StreamKey,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transmit_is_cut_into_its_segments() {
        let address: SocketAddr = ([127, 0, 0, 1], 9).into();
        let mut transmit = Transmit {
            contents: BytesMut::from(&b"aabbc"[..]).into(),
            destination: address,
            source: address,
            protocol: Protocol::Udp,
            ecn: Ecn::NotEct,
            segment_size: Some(2),
        };
        assert_eq!(transmit.segments().collect::<Vec<_>>(), [&b"aa"[..], b"bb", b"c"]);
        transmit.segment_size = None;
        assert_eq!(transmit.segments().collect::<Vec<_>>(), [&b"aabbc"[..]]);
    }

    #[test]
    fn ecn_bits_round_trip() {
        for bits in 0..4 {
            assert_eq!(Ecn::from_bits(bits) as u8, bits);
        }
    }
}
