//! One track of a sender, and its way to everyone who sees it.
//!
//! ```text
//!  packet --> Source: which layer, does a decoder start here?     read once
//!               +--> Viewer --> forwarded under the viewer's numbers, or not    once per viewer
//! ```

use std::time::{Duration, Instant};

use sansrtc::payload::Codec;
use sansrtc::rtp::ntp::NtpTime;
use sansrtc::sfu::{self, Layer, Offer, Rates, Start, Verdict, Viewer};
use sansrtc::{Key, OutgoingPacket, Pt, ReceiverId, Rid, Rtc, RtpPacket, TransceiverId, TransceiverInfo};

use super::net::Net;

/// How often a sender is asked for a key frame of one encoding.
const KEY_FRAME_PAUSE: Duration = Duration::from_millis(500);
/// An encoding that has been silent for so long is not there: senders leave out the larger ones when their network
/// takes less.
const SILENCE: Duration = Duration::from_secs(1);
/// Up to how many pixels of height an encoding is good enough, from the lowest on; the last one has no bound.
const HEIGHTS: [u32; 2] = [200, 420];

/// A track of a sender.
pub(crate) struct Track {
    from: Key,
    transceiver: TransceiverId,
    /// Whether it is video, of which there may be several encodings and layers.
    pub(crate) is_video: bool,
    clock_rate: u32,
    /// The encodings, from the lowest on; one without a name when there is no simulcast.
    encodings: Vec<Encoding>,
    source: sfu::Source,
    rates: Rates,
    viewers: Vec<Watcher>,
}

struct Encoding {
    rid: Option<Rid>,
    /// The stream that brings it.
    stream: Option<ReceiverId>,
    /// When its last packet came.
    heard: Option<Instant>,
    /// When its sender was last asked for a key frame.
    asked: Option<Instant>,
}

/// Somebody who sees the track.
struct Watcher {
    key: Key,
    /// Where it goes; `None` when there was no way to show it.
    transceiver: Option<TransceiverId>,
    /// What the track's format is called on the way to it, once there is one.
    payload_type: Option<Pt>,
    /// Of the picture, in pixels.
    height: u32,
    viewer: Viewer,
}

impl Track {
    /// The track that `from` sends in a transceiver, if they agreed on how.
    pub(crate) fn new(from: Key, info: &TransceiverInfo) -> Option<Self> {
        let format = info.formats.iter().find(|format| format.codec.is_media())?;
        let mut rids: Vec<Option<Rid>> = info.remote.rids.iter().copied().map(Some).collect();
        rids.truncate(sfu::MAX_ENCODINGS);
        if rids.is_empty() {
            rids.push(None);
        }
        let codec = Codec::from_name(format.codec.name())?;
        Some(Track {
            from,
            transceiver: info.id,
            is_video: codec.is_video(),
            clock_rate: format.clock_rate,
            encodings: rids
                .into_iter()
                .map(|rid| Encoding { rid, stream: None, heard: None, asked: None })
                .collect(),
            source: sfu::Source::new(codec),
            rates: Rates::new(),
            viewers: Vec::new(),
        })
    }

    // --- Who sees it -------------------------------------------------------------------------------

    /// Whether somebody sees the track.
    pub(crate) fn is_viewed_by(&self, key: Key) -> bool {
        self.viewers.iter().any(|watcher| watcher.key == key)
    }

    /// Somebody sees the track from now on, through this transceiver of theirs.
    pub(crate) fn add_viewer(&mut self, key: Key, transceiver: Option<TransceiverId>) {
        let start = Start {
            // RFC 3711 §3.3.1: low, so that the first turn is not missed.
            sequence: u64::from(rand::random::<u16>() >> 1),
            timestamp: rand::random(),
            picture: rand::random(),
            tl0: rand::random(),
            frame: rand::random(),
        };
        let viewer = Viewer::new(self.clock_rate, start);
        self.viewers.push(Watcher { key, transceiver, payload_type: None, height: HEIGHTS[0], viewer });
    }

    /// A viewer is connected and has agreed to the track: it is sent from now on, if it speaks the codec.
    pub(crate) fn set_ready(&mut self, rtc: &Rtc, key: Key) {
        let is_waiting = |watcher: &&mut Watcher| watcher.key == key && watcher.payload_type.is_none();
        let Some(watcher) = self.viewers.iter_mut().find(is_waiting) else { return };
        let info = watcher.transceiver.and_then(|transceiver| rtc.transceiver(transceiver));
        let formats = info.map(|info| info.formats).unwrap_or_default();
        let format = formats.iter().find(|format| format.codec.name() == self.source.codec().name());
        watcher.payload_type = format.map(|format| format.send);
        if watcher.payload_type.is_some() {
            // Until the page has said how large the picture is.
            watcher.viewer.set_wanted(Some(Layer::all_of(0)));
        }
    }

    /// Somebody sees it no longer.
    pub(crate) fn remove_viewer(&mut self, key: Key) {
        self.viewers.retain(|watcher| watcher.key != key);
    }

    /// How high the picture is on a viewer's page; 0 when it is not seen.
    pub(crate) fn set_height(&mut self, key: Key, height: u32) {
        if let Some(watcher) = self.viewers.iter_mut().find(|watcher| watcher.key == key) {
            watcher.height = height;
        }
    }

    // --- Packets -----------------------------------------------------------------------------------

    /// Sends a packet on to everyone who gets its layer.
    pub(crate) fn forward(&mut self, net: &mut Net, packet: &RtpPacket) {
        let Some(at) = self.encodings.iter().position(|encoding| encoding.rid == packet.rid) else { return };
        let encoding = u8::try_from(at).unwrap_or(u8::MAX);
        self.encodings[at].heard = Some(packet.received);
        let before = self.encodings[at].stream.replace(packet.receiver);
        if before.is_some_and(|before| before != packet.receiver) {
            // Another source under the same name: its numbers have nothing to do with those before.
            self.source.handle_restart(encoding);
            for watcher in &mut self.viewers {
                watcher.viewer.handle_restart(encoding);
            }
        }
        let incoming = match self.source.read(packet.arrived(encoding)) {
            Ok(incoming) => incoming,
            Err(error) => return tracing::debug!(%error, "a packet is not forwarded"),
        };
        self.rates.record(packet.received, incoming.layer(), packet.bytes().len());
        for Watcher { key, transceiver, payload_type, viewer, .. } in &mut self.viewers {
            let (Some(transceiver), Some(payload_type)) = (*transceiver, *payload_type) else { continue };
            let Some(mut rtc) = net.connection(*key) else { continue };
            let result = match viewer.handle_packet(&incoming) {
                Verdict::Drop => Ok(()),
                Verdict::Forward(rewrite) => {
                    rtc.forward(packet.received, transceiver, None, payload_type, packet, &rewrite)
                }
                Verdict::Fill { sequence, timestamp } => {
                    let empty = OutgoingPacket::new(payload_type, sequence, timestamp, &[]);
                    rtc.send_packet(transceiver, None, &empty)
                }
            };
            if let Err(error) = result {
                tracing::debug!(%error, "a packet is not forwarded");
            }
        }
    }

    /// Takes the times of a sender report, if it is about one of these streams: with them, time stamps stay true
    /// when a viewer changes to another encoding.
    pub(crate) fn handle_report(&mut self, stream: ReceiverId, unix_time: Duration, timestamp: u64) {
        let at = self.encodings.iter().position(|encoding| encoding.stream == Some(stream));
        if let Some(encoding) = at.and_then(|at| u8::try_from(at).ok()) {
            // The lower half is what was on the wire.
            self.source.handle_report(encoding, NtpTime::from_unix(unix_time), timestamp as u32);
        }
    }

    // --- Layers ------------------------------------------------------------------------------------

    /// The highest encoding that makes sense at a height.
    fn encoding_for(&self, height: u32) -> u8 {
        let good = HEIGHTS.iter().position(|bound| height <= *bound).unwrap_or(HEIGHTS.len());
        u8::try_from(good.min(self.encodings.len() - 1)).unwrap_or(0)
    }

    /// What there is to choose from for a viewer, the worst first, into `offers`.
    pub(crate) fn offer(&mut self, now: Instant, key: Key, offers: &mut Vec<Offer>) {
        offers.clear();
        let Some(height) = self.viewers.iter().find(|w| w.key == key).map(|w| w.height) else { return };
        if height == 0 {
            return;
        }
        for encoding in 0..=self.encoding_for(height) {
            let heard = self.encodings.get(usize::from(encoding)).and_then(|encoding| encoding.heard);
            if heard.is_none_or(|heard| now > heard + SILENCE) {
                continue;
            }
            for (spatial, temporal) in (0..3).flat_map(|s| (0..3).map(move |t| (s, t))) {
                let layer = Layer { encoding, spatial, temporal };
                let rate = self.rates.rate(now, layer);
                if rate > 0 {
                    offers.push(Offer { layer, rate });
                }
            }
        }
    }

    /// Takes the layer chosen for a viewer.
    pub(crate) fn choose(&mut self, key: Key, chosen: Option<Layer>, is_silent: bool) {
        let ready = |watcher: &Watcher| watcher.key == key && watcher.payload_type.is_some();
        let Some(at) = self.viewers.iter().position(ready) else { return };
        let height = self.viewers[at].height;
        let wanted = match chosen {
            _ if height == 0 => None,
            // Nothing has come yet: whatever comes first will do.
            None if is_silent => Some(Layer::all_of(self.encoding_for(height))),
            chosen => chosen,
        };
        self.viewers[at].viewer.set_wanted(wanted);
    }

    /// Gives viewers, who all have a large picture, the best that there is.
    pub(crate) fn choose_best(&mut self, now: Instant, viewers: &[Key]) {
        let mut offers = Vec::new();
        for &key in viewers {
            self.set_height(key, u32::MAX);
            self.offer(now, key, &mut offers);
            self.choose(key, offers.last().map(|offer| offer.layer), offers.is_empty());
        }
    }

    /// Asks the sender for the key frames that viewers wait for.
    pub(crate) fn ask_for_key_frames(&mut self, net: &mut Net) {
        if !self.is_video {
            return;
        }
        for at in 0..self.encodings.len() {
            let is_needed = |w: &Watcher| w.viewer.key_frame_needed().is_some_and(|e| usize::from(e) == at);
            if self.viewers.iter().any(is_needed) {
                self.ask(net, at);
            }
        }
    }

    /// A viewer asks for a key frame of what it gets.
    pub(crate) fn request_key_frame(&mut self, net: &mut Net, key: Key) {
        let watcher = self.viewers.iter().find(|watcher| watcher.key == key);
        if let Some(layer) = watcher.and_then(|watcher| watcher.viewer.forwarded_layer()) {
            self.ask(net, usize::from(layer.encoding));
        }
    }

    fn ask(&mut self, net: &mut Net, at: usize) {
        let now = Instant::now();
        let Some(encoding) = self.encodings.get_mut(at) else { return };
        if encoding.asked.is_some_and(|asked| now < asked + KEY_FRAME_PAUSE) {
            return;
        }
        encoding.asked = Some(now);
        if let Some(mut rtc) = net.connection(self.from) {
            rtc.request_key_frame(self.transceiver, encoding.rid);
        }
    }

    /// Figures, as JSON.
    pub(crate) fn stats(&self) -> serde_json::Value {
        let viewers = self.viewers.iter().map(|watcher| {
            let layer = watcher.viewer.forwarded_layer();
            let stats = watcher.viewer.stats();
            serde_json::json!({
                "height": watcher.height,
                "encoding": layer.map(|layer| layer.encoding),
                "temporal": layer.map(|layer| layer.temporal),
                "forwarded": stats.forwarded,
                "starts": stats.starts,
            })
        });
        let rids = self.encodings.iter().map(|encoding| encoding.rid.map(|rid| rid.to_string()));
        let live = self.encodings.iter().map(|encoding| encoding.stream.is_some());
        serde_json::json!({
            "rids": rids.collect::<Vec<_>>(),
            "live": live.collect::<Vec<_>>(),
            "viewers": viewers.collect::<Vec<_>>(),
        })
    }
}
