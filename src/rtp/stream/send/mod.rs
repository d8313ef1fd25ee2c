//! The sending side of a stream: what was sent, what the other side says of it, what is sent again.

mod history;
mod reports;
mod transport;

pub use super::rtx::Rtx;
pub use history::{Answer, History, HistoryConfig};
pub use reports::{Remote, Reports};
pub use transport::{PacketResult, Transport};
