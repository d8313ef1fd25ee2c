//! The machines of one RTP stream: values in, values out, each usable alone.
//!
//! ```text
//!  received packet ──> receive::Statistics ──> its long number, reception reports
//!        │                   └──> receive::Nacks ──> what to ask for again, and when
//!        ├──> receive::Reorder ──> packets in order, and gaps that were given up
//!        └──> receive::Arrivals, receive::Congestion ──> feedback about a transport (TWCC, RFC 8888)
//!
//!  sent packet ──> send::Reports ──> sender reports, what the other side says in return
//!        ├──> send::History ──> what is sent again (rtx: in its own stream, RFC 4588)
//!        └──> send::Transport ──> what became of every packet; pacer: when the next one leaves
//!
//!  both ways: report_timing (when RTCP leaves), round_trip, key_frames (one request where many were made),
//!             red (RFC 2198)
//! ```
//!
//! None of them knows a socket, a key or a session. Each bounds what it holds, and says how in its own words;
//! none allocates for a packet once it has grown to its working size.

pub mod key_frames;
pub mod pacer;
pub mod receive;
pub mod red;
pub mod report_timing;
pub mod round_trip;
pub mod rtx;
pub mod send;

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    /// A moment so many milliseconds after a fixed point of the test process: only differences matter.
    pub(super) fn at(millis: u64) -> Instant {
        static BASE: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        let base = *BASE.get_or_init(crate::time::some_instant);
        base + Duration::from_millis(millis)
    }
}
