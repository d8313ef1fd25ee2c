//! A small TURN and STUN server (RFC 8656, RFC 8489): a machine without sockets.
//!
//! ```text
//!  clients ──handle_packet / handle_stream──▶ Server ──poll_transmit──▶ peers   (from a relayed address)
//!  peers   ──handle_relayed─────────────────▶        ──poll_transmit──▶ clients
//!                                               └─poll_event: open and close relayed sockets, close streams
//! ```
//!
//! The caller owns the listening sockets, one UDP socket per relayed address, and the streams.

mod allocation;
mod auth;
mod config;
mod machine;
mod policy;

pub use auth::{Users, time_limited};
pub use config::{Config, ConfigError};
pub use machine::{Event, FiveTuple, Server, Stats};
pub use policy::{Network, NetworkError, PeerPolicy};

#[cfg(test)]
mod tests;
