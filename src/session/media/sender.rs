//! One RTP stream that is sent.

use std::time::Instant;

use crate::session::negotiate::Encoding;
use crate::types::ids::{Rid, Ssrc};

/// What is known of a stream of ours.
#[derive(Debug)]
pub(super) struct SendStream {
    pub(super) rid: Option<Rid>,
    pub(super) ssrc: Ssrc,
    /// The source of its retransmissions.
    pub(super) rtx: Option<Ssrc>,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// The media time of the packet that was taken last, and when that was.
    pub(super) last: Option<(u32, Instant)>,
    /// Whether the peer has reported on the stream: it knows by then which section it belongs to.
    pub(super) is_known: bool,
    /// When the application was told that a key frame is wanted.
    pub(super) key_frame_told: Option<Instant>,
}

impl SendStream {
    pub(super) fn new(encoding: &Encoding) -> Self {
        let Encoding { rid, ssrc, rtx } = *encoding;
        SendStream { rid, ssrc, rtx, packets: 0, bytes: 0, last: None, is_known: false, key_frame_told: None }
    }
}
