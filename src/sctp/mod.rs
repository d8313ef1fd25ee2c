//! SCTP as WebRTC uses it (RFC 9260 inside DTLS, RFC 8261): many streams of messages over one association.
//!
//! The association is a machine without sockets or clocks: packets and time go in, packets and events come out.

pub(crate) mod chunk;
mod config;
#[allow(dead_code)] // Composed by the association.
mod rx;
mod streams;
#[allow(dead_code)] // Composed by the association.
mod tx;
mod types;

pub use config::{Config, Congestion, InvalidConfig};
pub use types::{CloseReason, Delivery, Event, MessageId, Reliability, SendError, SendOptions, Tsn};
