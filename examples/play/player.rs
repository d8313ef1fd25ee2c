//! Who watches, and which frame is due to whom.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sansrtc::{
    ConnectionState, Event, FrameToSend, Key, MediaConfig, MediaDirection, MediaLevel, MediaType, RtcMut,
    SendMediaError, TransceiverConfig, TransceiverId,
};

use crate::clip::{Clip, Reel, is_key};
use crate::common::net::{App, Net};
use crate::common::whip::{Ask, Created, Refusal, Role, Sessions};

/// How often progress is told.
const TICK: Duration = Duration::from_secs(5);

/// One who watches.
struct Viewer {
    /// When the first frame was due; `None` until there is a connection.
    started: Option<Instant>,
    tracks: Vec<Playing>,
}

/// Where a viewer is in a track.
struct Playing {
    kind: MediaType,
    transceiver: TransceiverId,
    /// The time stamp of the clip's start (RFC 3550 §5.1: at random).
    base: u32,
    /// The next frame, and how often the clip was played to its end.
    next: usize,
    rounds: u32,
    sent: u64,
    refused: u64,
}

/// The clip and all who watch it.
pub(crate) struct Player {
    clip: Clip,
    sessions: Sessions,
    viewers: HashMap<Key, Viewer>,
    next_tick: Option<Instant>,
}

impl App for Player {
    type Command = Ask;

    fn on_event(&mut self, _net: &mut Net, key: Key, event: Event) {
        match event {
            Event::State(ConnectionState::Connected) => {
                if let Some(viewer) = self.viewers.get_mut(&key) {
                    viewer.started.get_or_insert_with(Instant::now);
                }
            }
            Event::Closed(reason) => {
                println!("a viewer left: {reason}");
                self.sessions.forget(key);
                self.viewers.remove(&key);
            }
            // What was encoded is encoded: the next key frame of the clip will do.
            other => tracing::debug!(event = ?other),
        }
    }

    fn on_command(&mut self, net: &mut Net, ask: Ask) {
        // Whoever asked may have gone: then nobody misses the answer.
        match ask {
            Ask::Offer { sdp, reply, .. } => {
                let _ = reply.send(self.view(net, sdp));
            }
            Ask::Patch { id, etag, fragment, reply } => {
                let _ = reply.send(self.sessions.patch(net, &id, etag.as_deref(), &fragment));
            }
            Ask::Delete { id, reply } => {
                let _ = reply.send(self.sessions.delete(net, &id));
            }
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        let due = self.viewers.values().flat_map(|viewer| {
            let started = viewer.started;
            viewer.tracks.iter().filter_map(move |playing| Some(started? + playing.due(&self.clip)?))
        });
        due.chain(self.next_tick).min()
    }

    fn on_time(&mut self, net: &mut Net, now: Instant) {
        for (key, viewer) in &mut self.viewers {
            let (Some(started), Some(mut rtc)) = (viewer.started, net.connection(*key)) else { continue };
            for playing in &mut viewer.tracks {
                while playing.due(&self.clip).is_some_and(|due| started + due <= now) {
                    playing.send(&mut rtc, &self.clip);
                }
            }
        }
        if self.next_tick.is_some_and(|at| at <= now) {
            self.next_tick = (!self.viewers.is_empty()).then(|| now + TICK);
            for viewer in self.viewers.values() {
                let tracks = viewer.tracks.iter().map(|playing| playing.progress(&self.clip));
                println!("a viewer: {}", tracks.collect::<Vec<_>>().join("; "));
            }
        }
    }
}

impl Player {
    /// Plays a clip.
    pub(crate) fn new(net: &mut Net, clip: Clip) -> Self {
        let mut media = MediaConfig { level: MediaLevel::Frames, ..MediaConfig::browser() };
        // Only what the clip is encoded with can be sent.
        for formats in [&mut media.audio, &mut media.video] {
            formats.retain(|format| clip.reels().any(|reel| reel.codec.name() == format.codec.name()));
        }
        net.config.media = media;
        Player { clip, sessions: Sessions::default(), viewers: HashMap::new(), next_tick: None }
    }

    fn view(&mut self, net: &mut Net, sdp: String) -> Result<Created, Refusal> {
        let mut rtc = net.rtc().map_err(|error| Refusal::new(500, error))?;
        let mut tracks = Vec::new();
        for reel in self.clip.reels() {
            let kind = if reel.codec.is_video() { MediaType::Video } else { MediaType::Audio };
            let config = TransceiverConfig::default();
            let added = rtc.add_transceiver(kind, MediaDirection::SendOnly, config);
            tracks.push(Playing {
                kind,
                transceiver: added.map_err(|error| Refusal::new(500, error))?,
                base: rand::random(),
                next: 0,
                rounds: 0,
                sent: 0,
                refused: 0,
            });
        }
        let (key, created) = self.sessions.create(net, Role::View, rtc, sdp)?;
        println!("a viewer comes");
        self.viewers.insert(key, Viewer { started: None, tracks });
        self.next_tick.get_or_insert(Instant::now() + TICK);
        Ok(created)
    }
}

impl Playing {
    fn reel<'a>(&self, clip: &'a Clip) -> Option<&'a Reel> {
        if self.kind == MediaType::Video { clip.video.as_ref() } else { clip.audio.as_ref() }
    }

    /// When the next frame is due, from the start.
    fn due(&self, clip: &Clip) -> Option<Duration> {
        let reel = self.reel(clip)?;
        Some(clip.length() * self.rounds + reel.due(reel.frames.get(self.next)?.0))
    }

    /// Sends the next frame.
    fn send(&mut self, rtc: &mut RtcMut<'_>, clip: &Clip) {
        let (Some(reel), Some(due)) = (self.reel(clip), self.due(clip)) else { return };
        let Some((_, data)) = reel.frames.get(self.next) else { return };
        // The lower 32 bits are what goes on the wire.
        let time = due.as_micros() * u128::from(reel.rate) / 1_000_000;
        let timestamp = self.base.wrapping_add(time as u32);
        match self.send_frame(rtc, reel, timestamp, data) {
            Ok(()) => self.sent += 1,
            Err(error) => {
                // Once is enough to say: a peer that does not speak the codec, for instance.
                if self.refused == 0 && error != SendMediaError::WouldBlock {
                    println!("{} is not sent: {error}", reel.codec.name());
                }
                self.refused += 1;
            }
        }
        self.next += 1;
        if self.next == reel.frames.len() {
            self.next = 0;
            self.rounds += 1;
        }
    }

    fn send_frame(
        &self,
        rtc: &mut RtcMut<'_>,
        reel: &Reel,
        timestamp: u32,
        data: &[u8],
    ) -> Result<(), SendMediaError> {
        let info = rtc.transceiver(self.transceiver).ok_or(SendMediaError::UnknownTransceiver)?;
        let format = info.formats.iter().find(|format| format.codec.name() == reel.codec.name());
        let payload_type = format.ok_or(SendMediaError::UnknownFormat)?.send;
        let frame = FrameToSend::new(payload_type, timestamp, data);
        let frame = if is_key(reel.codec, data) { frame.key_frame() } else { frame };
        rtc.send_frame(self.transceiver, None, &frame)
    }

    fn progress(&self, clip: &Clip) -> String {
        let codec = self.reel(clip).map_or("", |reel| reel.codec.name());
        let refused = if self.refused > 0 { format!(", {} not sent", self.refused) } else { String::new() };
        format!("{codec} {} frames, round {}{refused}", self.sent, self.rounds + 1)
    }
}
