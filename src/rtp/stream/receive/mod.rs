//! The receiving side of a stream: what came, what is missing, what to tell the sender.

mod arrivals;
mod congestion;
mod nacks;
mod reorder;
mod statistics;

pub use arrivals::Arrivals;
pub use congestion::Congestion;
pub use nacks::{Found, NackConfig, Nacks};
pub use reorder::{Next, Reorder, ReorderConfig};
pub use statistics::{Statistics, Verdict};
