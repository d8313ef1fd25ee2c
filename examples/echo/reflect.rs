//! What the server does with one peer's audio and video: every track goes back on its m-line, packet by packet.
//!
//! Of a simulcast one layer goes back: the one that came first, for as long as it comes. `chat` shows how layers are
//! chosen for a viewer.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sansrtc::rtp::ext::Kind;
use sansrtc::{OutgoingPacket, Rid, Rtc, RtpPacket, SendMediaError, Ssrc, TransceiverId, payload};

/// Numbers start here, so that what came just before the first packet has one, too.
const FIRST: u64 = 1000;
/// A layer that is silent for so long has been turned off by its sender.
const SILENCE: Duration = Duration::from_secs(1);

/// The tracks that are sent back.
#[derive(Debug, Default)]
pub(crate) struct Reflections {
    tracks: BTreeMap<TransceiverId, Track>,
}

/// One track.
#[derive(Debug)]
struct Track {
    rid: Option<Rid>,
    ssrc: Ssrc,
    last: Instant,
    /// What is added, modulo 2^64 and 2^32, so that numbers and times go on when the source changes.
    sequence: u64,
    time: u32,
    /// The newest that was sent.
    highest: u64,
    newest: u32,
}

impl Reflections {
    /// A packet arrived: back it goes.
    pub(crate) fn on_packet(&mut self, rtc: &mut Rtc, packet: &RtpPacket) {
        let timestamp = (packet.timestamp & 0xffff_ffff) as u32;
        let track = self.tracks.entry(packet.transceiver).or_insert_with(|| Track {
            rid: packet.rid,
            ssrc: packet.ssrc,
            last: packet.received,
            sequence: FIRST.wrapping_sub(packet.sequence),
            time: 0,
            highest: FIRST,
            newest: timestamp,
        });
        if track.rid != packet.rid {
            let is_silent = packet.received.saturating_duration_since(track.last) >= SILENCE;
            if is_silent && !starts_key_frame(packet) {
                rtc.request_key_frame(packet.transceiver, packet.rid);
            }
            if !is_silent || !starts_key_frame(packet) {
                return;
            }
        }
        if track.ssrc != packet.ssrc {
            // Another source goes on where the last one ended, a frame later.
            (track.rid, track.ssrc) = (packet.rid, packet.ssrc);
            track.sequence = (track.highest + 1).wrapping_sub(packet.sequence);
            track.time = track.newest.wrapping_add(3000).wrapping_sub(timestamp);
        }
        track.last = packet.received;
        let sequence = packet.sequence.wrapping_add(track.sequence);
        // What came long before the first packet has no number here.
        if sequence > u64::MAX / 2 {
            return;
        }
        let timestamp = timestamp.wrapping_add(track.time);
        if sequence >= track.highest {
            (track.highest, track.newest) = (sequence, timestamp);
        }
        let extensions: Vec<(Kind, &[u8])> = packet.extensions().collect();
        let outgoing = OutgoingPacket {
            marker: packet.marker,
            extensions: &extensions,
            // The same payload type goes both ways: the peer offered, or took our offer's.
            ..OutgoingPacket::new(packet.payload_type, sequence, timestamp, packet.payload())
        };
        match rtc.send_packet(packet.transceiver, None, &outgoing) {
            // A peer that only sends gets nothing back.
            Ok(()) | Err(SendMediaError::NotSending) => {}
            Err(error) => tracing::debug!(%error, "not sent back"),
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

fn starts_key_frame(packet: &RtpPacket) -> bool {
    let codec = payload::Codec::from_name(packet.codec.name());
    let info = codec.and_then(|codec| codec.describe(packet.payload()).ok());
    info.is_some_and(|info| info.starts_frame && info.key_frame)
}
