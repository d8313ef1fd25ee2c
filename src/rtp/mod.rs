//! RTP and RTCP on the wire (RFC 3550, RFC 8285): views, rewriting and emission; and, in [`stream`], the small
//! machines of one stream.
//!
//! ```text
//!  datagram ── header::Header::parse ──> where every part lies (one pass, before decryption)
//!                     │
//!                     ├── header::Packet ──> payload without padding, CSRCs, extension elements
//!                     │                            └── ext::* ──> typed values
//!                     └── header::Rewrite ─> new SSRC, type, number and time in place
//!
//!  compound ── rtcp::Compound ──> borrowed views of each packet, one after another
//! ```

pub mod elements;
pub mod ext;
pub mod extended;
pub mod header;
pub mod ntp;
pub mod rtcp;
pub mod stream;
