//! Gathering (RFC 8445 §5.1.1): candidates from STUN and TURN servers, over UDP and streams, and names.

mod config;
mod event;
mod incoming;
mod url;

pub use config::{CandidatePolicy, IceServer, IceTransportPolicy, MdnsConfig, NatMapping};
pub(crate) use config::{MAX_SERVERS, Setup};
pub use event::{GatheringState, IceServerError, IceServerFailure};
pub use incoming::{FirstFrame, IncomingStream};
pub use url::{ParseUrlError, ServerKind, ServerUrl};
