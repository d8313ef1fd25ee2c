//! What the examples share: sockets and the loop around [`Endpoint`](sansrtc::Endpoint), HTTP and WebSocket, files.
//!
//! ```text
//!  main thread                              HTTP threads, one per request or WebSocket
//!  net.rs: sockets, Endpoint, App  <------- server.rs, socket.rs
//!  udp.rs: batches, segments       command  tls.rs
//! ```
//!
//! `host.rs` binds both and runs them.

// Each example uses a part.
#![allow(dead_code)]

pub(crate) mod annexb;
pub(crate) mod args;
pub(crate) mod host;
pub(crate) mod ice;
pub(crate) mod ivf;
pub(crate) mod net;
pub(crate) mod ogg;
pub(crate) mod page;
pub(crate) mod server;
pub(crate) mod socket;
pub(crate) mod streams;
pub(crate) mod tls;
pub(crate) mod track;
pub(crate) mod udp;
pub(crate) mod whip;
