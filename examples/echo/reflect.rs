//! What the server does with one peer's audio and video: every track goes back on its m-line, packet by packet.

use std::collections::BTreeMap;

use sansrtc::rtp::ext::Kind;
use sansrtc::{OutgoingPacket, Rid, Rtc, RtpPacket, SendMediaError, TransceiverId};

/// A receiver of ours that started in the middle of a stream may be asked for what came just before.
const BEFORE: u64 = 1000;

/// The tracks that are sent back.
#[derive(Debug, Default)]
pub(crate) struct Reflections {
    tracks: BTreeMap<TransceiverId, Track>,
    /// Packets that could not be sent back.
    pub(crate) lost: u64,
}

/// One track. Of a simulcast one layer is sent back: the one that came first.
#[derive(Debug)]
struct Track {
    rid: Option<Rid>,
    /// What is taken off sequence numbers, so that they start low and survive a change of the source.
    offset: u64,
    ssrc: sansrtc::Ssrc,
    highest: u64,
}

impl Reflections {
    /// A packet arrived: back it goes.
    pub(crate) fn on_packet(&mut self, rtc: &mut Rtc, packet: &RtpPacket) {
        let track = self.tracks.entry(packet.transceiver).or_insert_with(|| Track {
            rid: packet.rid,
            offset: packet.sequence - BEFORE,
            ssrc: packet.ssrc,
            highest: BEFORE,
        });
        if track.rid != packet.rid {
            return;
        }
        if track.ssrc != packet.ssrc {
            // Another source goes on where the last one ended.
            track.ssrc = packet.ssrc;
            track.offset = packet.sequence.wrapping_sub(track.highest + 1);
        }
        let sequence = packet.sequence.wrapping_sub(track.offset);
        // What came before the first packet has no number here.
        if sequence > u64::MAX / 2 {
            return;
        }
        track.highest = track.highest.max(sequence);
        let extensions: Vec<(Kind, &[u8])> = packet.extensions().collect();
        let timestamp = (packet.timestamp & 0xffff_ffff) as u32;
        let outgoing = OutgoingPacket {
            marker: packet.marker,
            extensions: &extensions,
            // The same payload type goes both ways: the peer offered, or took our offer's.
            ..OutgoingPacket::new(packet.payload_type, sequence, timestamp, packet.payload())
        };
        match rtc.send_packet(packet.transceiver, None, &outgoing) {
            // A peer that only sends gets nothing back.
            Ok(()) | Err(SendMediaError::NotSending) => {}
            Err(error) => {
                self.lost += 1;
                tracing::debug!(%error, "not sent back");
            }
        }
    }

    /// The peer cannot decode what it gets: the request goes back to where the pictures come from.
    pub(crate) fn on_key_frame_request(&self, rtc: &mut Rtc, transceiver: TransceiverId) {
        if let Some(track) = self.tracks.get(&transceiver) {
            rtc.request_key_frame(transceiver, track.rid);
        }
    }

    /// A transceiver has changed: one that is gone is forgotten.
    pub(crate) fn on_transceiver(&mut self, rtc: &Rtc, transceiver: TransceiverId) {
        if rtc.transceiver(transceiver).is_none_or(|info| info.agreed.is_none()) {
            self.tracks.remove(&transceiver);
        }
    }
}
