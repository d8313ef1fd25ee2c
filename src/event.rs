//! The two doors of an [`Rtc`](crate::Rtc): what goes in and what comes out.

use std::time::Instant;

use crate::packet::{Datagram, StreamInput, StreamOutput, Transmit};
use crate::session::event::Event;
use crate::session::transport::Outbound;

/// What the caller gives to an [`Rtc`](crate::Rtc).
///
/// Exhaustive on purpose: a new kind of input must not vanish in a `_` arm.
#[derive(Debug)]
pub enum Input {
    /// A datagram from one of the caller's sockets.
    Datagram(Datagram),
    /// Time has passed.
    Timeout,
    /// Something happened on a TCP or TLS stream.
    Stream(StreamInput),
}

/// What an [`Rtc`](crate::Rtc) gives to the caller.
///
/// Exhaustive on purpose: a new kind of output must not vanish in a `_` arm.
#[derive(Debug)]
pub enum Output {
    /// Send this datagram, or this run of datagrams.
    Transmit(Transmit),
    /// Something happened that the application may care about.
    Event(Event),
    /// Do this with a TCP or TLS stream.
    Stream(StreamOutput),
    /// Always last: there is nothing else. Come back at this time at the latest; `None` says that nothing will
    /// ever be due, because the connection is closed.
    Timeout(Option<Instant>),
}

impl From<Outbound> for Output {
    fn from(outbound: Outbound) -> Self {
        match outbound {
            Outbound::Transmit(transmit) => Output::Transmit(transmit),
            Outbound::Stream(stream) => Output::Stream(stream),
        }
    }
}
