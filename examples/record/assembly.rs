//! Whole frames from the packets of one stream: what is missing is waited for a while, then given up.

use std::time::{Duration, Instant};

use sansrtc::payload::{Codec, DEFAULT_MAX_FRAME, Depacketizer, Outcome, Received};
use sansrtc::rtp::stream::receive::{Next, Reorder, ReorderConfig};
use sansrtc::{ReceiverId, Rid, RtpPacket, TransceiverId};

/// How long a lost packet may take to come again.
const PATIENCE: Duration = Duration::from_millis(500);

/// A frame for a file.
pub(crate) struct Whole {
    /// The media time without wraps.
    pub(crate) time: u64,
    /// Whether it can be decoded without others.
    pub(crate) is_key: bool,
    /// Whether what it refers to may be lost.
    pub(crate) after_gap: bool,
    /// The frame.
    pub(crate) data: bytes::Bytes,
}

/// One stream.
pub(crate) struct Assembly {
    /// Which one.
    pub(crate) receiver: ReceiverId,
    /// The transceiver that brings it.
    pub(crate) transceiver: TransceiverId,
    /// Its layer, in a simulcast.
    pub(crate) rid: Option<Rid>,
    reorder: Reorder<RtpPacket>,
    depacketizer: Depacketizer,
}

impl Assembly {
    /// Assembles the stream that `packet` is of.
    pub(crate) fn new(packet: &RtpPacket, codec: Codec) -> Self {
        let config = ReorderConfig { max_wait: PATIENCE, ..ReorderConfig::default() };
        Assembly {
            receiver: packet.receiver,
            transceiver: packet.transceiver,
            rid: packet.rid,
            reorder: Reorder::new(config),
            depacketizer: Depacketizer::new(codec, DEFAULT_MAX_FRAME),
        }
    }

    /// Takes a packet. What comes too late is dropped.
    pub(crate) fn handle_packet(&mut self, now: Instant, packet: RtpPacket) {
        let _ = self.reorder.handle_packet(now, packet.sequence, packet.bytes().len(), packet);
    }

    /// Gives out what is whole by now.
    pub(crate) fn poll(&mut self, now: Instant, mut take: impl FnMut(Whole)) {
        while let Some(next) = self.reorder.poll(now) {
            // The depacketizer sees gaps in the numbers.
            let Next::Packet { sequence, packet } = next else { continue };
            let received = Received {
                sequence,
                timestamp: packet.timestamp as u32,
                marker: packet.marker,
                payload: packet.payload(),
            };
            for outcome in self.depacketizer.handle_packet(received) {
                let Outcome::Frame(frame) = outcome else { continue };
                // The frame is at, or shortly before, the packet that ended it.
                let behind = (packet.timestamp as u32).wrapping_sub(frame.timestamp);
                take(Whole {
                    time: packet.timestamp.saturating_sub(u64::from(behind)),
                    is_key: frame.key_frame,
                    after_gap: frame.after_gap,
                    data: frame.data,
                });
            }
        }
    }
}
