//! Multicast DNS (RFC 6762) for ICE candidates that are names (draft-ietf-mmusic-mdns-ice-candidates).
//!
//! ```text
//!  resolve(name) ──▶ question ──▶ multicast ──▶ answer ──▶ Event::Resolved / Unresolved
//!  register(ip)  ──▶ name, announced twice; questions for it are answered until it is withdrawn
//! ```
//!
//! One machine does both, on the caller's multicast sockets. It knows addresses of names that end in `.local`
//! and nothing else: no services, no cache, no probing (names are random, draft §3.1.1).

mod machine;
mod message;

pub use machine::{Config, Event, Mdns, Name, NameError, Stats};

#[cfg(test)]
mod tests;
