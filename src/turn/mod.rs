//! TURN (RFC 8656): a relayed address on a server, over UDP, TCP or TLS.
//!
//! ```text
//!            wrap(peer, packet)           poll_transmit
//!  caller ────────────────────▶ Client ────────────────▶ server ──▶ peer
//!         ◀──────────────────── (one relayed address ◀──────────── peer
//!            Handled::Data         per IP version)     handle_packet
//! ```
//!
//! [`Client`] asks for the allocation, keeps it, its permissions and its channels alive, makes it again when it
//! is lost, and gives it back when closed. Data is wrapped and unwrapped where it lies. [`server`] is the other
//! end.

pub mod channel;
mod client;
mod config;
mod event;
mod login;
mod peers;
pub mod server;
mod transaction;

pub use client::{Client, Overhead};
pub use config::{Config, ConfigError, Credentials, Families, Family};
pub use event::{Dropped, Event, Failure, Handled, PeerError, Relayed, Stats, WrapError};

#[cfg(test)]
mod tests;
