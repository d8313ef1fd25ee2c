//! DTLS: the handshake that authenticates both ends, and the records that carry what follows.
//!
//! [`Connection`] is one end: a machine without sockets and clocks. Versions live side by side and share what
//! they have in common; which one is spoken, the peer's hello decides.
//!
//! | file | what | RFC |
//! |---|---|---|
//! | `record` | headers of both forms | 6347 §4.1, 9147 §4 |
//! | `protection` | nonces, sealing and opening, replay window | 6347 §4.1.2, 9147 §4.2 |
//! | `records` | the keys of each epoch | 9147 §6.1 |
//! | `handshake/` | message bodies and fragments | 5246 §7.4, 6347 §4.2.2, 8446 §4 |
//! | `reassembly` | fragments to messages | 6347 §4.2.3 |
//! | `flight` | messages to datagrams, retransmission | 6347 §4.2.4, 9147 §7.2 |
//! | `ack` | which records have arrived | 9147 §7 |
//! | `transcript` | what Finished and CertificateVerify cover | 6347 §4.2.6, 8446 §4.4.1 |
//! | `handshaking` | the driver: messages into steps, steps into flights, and what it doubts | |
//! | `opening` | the client's hello and the choice of the version | 8446 §4.1, §4.2.1 |
//! | `v12/` | the states of 1.2 and its key schedule | 5246, 7627, 8422 |
//! | `v13/` | the states of 1.3, its key schedule, key updates | 8446, 9147 |
//! | `connection` | the life of a connection, the way of its records | 6347 §4.1.2.7, 9147 §4.5.2 |
//! | `established` | what a connected end keeps, and late handshake messages | 6347 §4.2.4, 9147 §5.8 |
//! | `session` | what a finished handshake leaves: details, exporter, SRTP keys | 5705, 5764 |
//! | `peer` | the peer's certificate against the signalled fingerprints | 8122 |
//!
//! Where this deviates from the RFCs, and why:
//!
//! * The retransmission timer starts at twice the round-trip time that ICE measured, between 50 ms and 1 s
//!   (400 ms when it is unknown), and doubles up to one second; RFC 6347 §4.2.4.1 says one second, up to sixty.
//! * No HelloVerifyRequest is sent (RFC 6347 §4.2.1 says SHOULD): ICE has proven the address.
//! * The extended master secret (RFC 7627) is required, so a peer without it is refused.
//! * A server of 1.3 asks for no cookie unless it is configured to (RFC 9147 §5.1 says that the default SHOULD be to
//!   ask, and allows not to where ICE has proven the address), and sends no data before the client is known.
//! * Records of 1.3 always have a length and 16 bits of their number; the shorter forms are read.
//! * A server of 1.3 prefers a group that it has a share of over one that costs a round trip.
//! * What fails in the clear is not believed at once, since anyone can forge it: see `handshaking/doubt`.

mod ack;
pub mod alert;
mod config;
mod connection;
mod error;
mod established;
mod flight;
pub mod handshake;
mod handshaking;
mod opening;
mod peer;
mod protection;
mod reassembly;
pub mod record;
mod records;
mod session;
mod suite;
mod transcript;
mod v12;
mod v13;

pub use config::{Config, ConfigError};
pub use connection::{Connection, Fact, Stats};
pub use error::{CloseReason, ExportError, HandshakeError};
pub use record::{Overhead, SealError};
pub use session::{Details, SrtpKeys, SrtpMaster};
pub use suite::{Authentication, CipherSuite, Version};

#[cfg(test)]
mod tests;
