//! What the cases stand on: servers as processes, a TURN client on real sockets, and network namespaces.

pub mod call;
pub mod client;
pub mod namespace;
pub mod process;
pub mod server;

use std::time::Duration;

/// How long anything that a case waits for may take, on a machine that has other things to do.
pub const PATIENCE: Duration = Duration::from_secs(60);
