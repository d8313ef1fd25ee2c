//! SCTP as WebRTC uses it (RFC 9260 inside DTLS, RFC 8261): many streams of messages over one association.
//!
//! The association is a machine without sockets or clocks: packets and time go in, packets and events come out.
//!
//! ```text
//!            handle_packet                                    poll_event
//! packet --> inbound --DATA--------> rx (reassembly) ------------> messages
//!               |   \--SACK--------> tx (loss, congestion)
//!               |                     ^   \
//!               v           send -----/    v
//!   handshake, reset, shutdown ------> outbound --> packet    poll_packet
//! ```

mod association;
pub(crate) mod chunk;
mod config;
mod control;
mod cookie;
mod handshake;
mod heartbeat;
mod inbound;
mod outbound;
mod packet;
mod reset;
mod retry;
mod rx;
mod shutdown;
mod stats;
mod streams;
mod tx;
mod types;

#[cfg(test)]
mod tests;

pub use association::Association;
pub use config::{Config, Congestion, InvalidConfig};
pub use handshake::check_signalled_init;
pub use stats::Stats;
pub use types::{CloseReason, Delivery, Event, MessageId, Reliability, SendError, SendOptions, Tsn};
