//! Other sans-I/O stacks and sansrtc over the simulated network, in one process.
//!
//! Each layer has one small trait; each stack implements it; the tests under `tests/` pair any two of them.

#[path = "../../sim/mod.rs"]
pub mod sim;

pub mod dtls;
pub mod media;
pub mod sctp;
pub mod whole;

use std::net::SocketAddr;

use bytes::BytesMut;
use sansrtc::packet::{Ecn, Protocol, Transmit};

/// A plain UDP datagram to be sent.
pub fn transmit(source: SocketAddr, destination: SocketAddr, contents: &[u8]) -> Transmit {
    Transmit {
        contents: BytesMut::from(contents).into(),
        destination,
        source,
        protocol: Protocol::Udp,
        ecn: Ecn::NotEct,
        segment_size: None,
    }
}

/// Where the two peers of a pair live; [`sim::Sim::pair`] gives them these addresses.
pub fn addresses() -> (SocketAddr, SocketAddr) {
    (SocketAddr::from(([10, 0, 0, 1], 1000)), SocketAddr::from(([10, 0, 0, 2], 2000)))
}
