//! Which streams there are, who publishes them, and who watches.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sansrtc::{
    ConnectionState, Event, Key, MediaConfig, MediaDirection, MediaType, TransceiverConfig, TransceiverId,
};

use crate::common::net::{App, Net};
use crate::common::track::Track;
use crate::common::whip::{Ask, Created, Refusal, Role, Sessions};

/// Who watches one stream at most.
const MAX_VIEWERS: usize = 100;
/// How often the layers are chosen anew.
const TICK: Duration = Duration::from_millis(500);

/// A peer, publisher or viewer.
enum Peer {
    Publisher { name: String },
    Viewer { name: String, sees: Vec<(MediaType, TransceiverId)> },
}

/// A stream while it is published.
struct Stream {
    publisher: Key,
    tracks: Vec<(TransceiverId, MediaType, Track)>,
    viewers: Vec<Key>,
}

/// All streams.
pub(crate) struct Streams {
    sessions: Sessions,
    peers: HashMap<Key, Peer>,
    streams: HashMap<String, Stream>,
    next_tick: Option<Instant>,
}

impl App for Streams {
    type Command = Ask;

    fn on_event(&mut self, net: &mut Net, key: Key, event: Event) {
        match event {
            Event::Packet(packet) => {
                let Some(Peer::Publisher { name }) = self.peers.get(&key) else { return };
                let Some(stream) = self.streams.get_mut(name) else { return };
                let track = stream.tracks.iter_mut().find(|(id, ..)| *id == packet.transceiver);
                if let Some((.., track)) = track {
                    track.forward(net, &packet);
                }
            }
            Event::State(ConnectionState::Connected) => {
                let Some(Peer::Viewer { name, .. }) = self.peers.get(&key) else { return };
                let (stream, rtc) = (self.streams.get_mut(name), net.endpoint.get(key));
                let (Some(stream), Some(rtc)) = (stream, rtc) else { return };
                for (.., track) in &mut stream.tracks {
                    track.set_ready(rtc, key);
                }
            }
            Event::SenderReport { receiver, unix_time, timestamp } => {
                let Some(Peer::Publisher { name }) = self.peers.get(&key) else { return };
                let Some(stream) = self.streams.get_mut(name) else { return };
                for (.., track) in &mut stream.tracks {
                    track.handle_report(receiver, unix_time, timestamp);
                }
            }
            Event::KeyFrameRequested { transceiver, .. } => {
                let Some(Peer::Viewer { name, sees }) = self.peers.get(&key) else { return };
                let Some(stream) = self.streams.get_mut(name) else { return };
                let kind = sees.iter().find(|(_, id)| *id == transceiver).map(|(kind, _)| *kind);
                let track = stream.tracks.iter_mut().find(|(_, of, _)| Some(*of) == kind);
                if let Some((.., track)) = track {
                    track.request_key_frame(net, key);
                }
            }
            Event::Closed(reason) => {
                tracing::info!(%reason, "a session ended");
                self.remove(net, key);
            }
            other => tracing::debug!(event = ?other),
        }
    }

    fn on_command(&mut self, net: &mut Net, ask: Ask) {
        // Whoever asked may have gone: then nobody misses the answer.
        match ask {
            Ask::Offer { role: Role::Publish, name, sdp, reply } => {
                let _ = reply.send(self.publish(net, name, sdp));
            }
            Ask::Offer { role: Role::View, name, sdp, reply } => {
                let _ = reply.send(self.view(net, name, sdp));
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
        self.next_tick
    }

    fn on_time(&mut self, net: &mut Net, now: Instant) {
        if self.next_tick.is_none_or(|at| at > now) {
            return;
        }
        self.next_tick = (!self.streams.is_empty()).then(|| now + TICK);
        for stream in self.streams.values_mut() {
            for (.., track) in &mut stream.tracks {
                track.choose_best(now, &stream.viewers);
                track.ask_for_key_frames(net);
            }
        }
    }
}

impl Streams {
    /// None yet.
    pub(crate) fn new(net: &mut Net) -> Self {
        net.config.media = MediaConfig::browser();
        Streams {
            sessions: Sessions::default(),
            peers: HashMap::new(),
            streams: HashMap::new(),
            next_tick: None,
        }
    }

    fn publish(&mut self, net: &mut Net, name: String, sdp: String) -> Result<Created, Refusal> {
        if self.streams.contains_key(&name) {
            return Err(Refusal::new(409, format_args!("somebody publishes {name} already")));
        }
        // RFC 9725 §4.4.2: one track of each kind.
        if ["m=audio", "m=video"].iter().any(|kind| sdp.matches(kind).count() > 1) {
            return Err(Refusal::new(422, "more than one track of a kind"));
        }
        let rtc = net.rtc().map_err(|error| Refusal::new(500, error))?;
        let (key, created) = self.sessions.create(net, Role::Publish, rtc, sdp)?;
        let mut tracks = Vec::new();
        if let Some(rtc) = net.connection(key) {
            for info in rtc.transceivers().filter_map(|id| rtc.transceiver(id)) {
                tracks.extend(Track::new(key, &info).map(|track| (info.id, info.kind, track)));
            }
        }
        println!("{name}: published, {} tracks", tracks.len());
        self.streams.insert(name.clone(), Stream { publisher: key, tracks, viewers: Vec::new() });
        self.peers.insert(key, Peer::Publisher { name });
        self.next_tick.get_or_insert(Instant::now());
        Ok(created)
    }

    fn view(&mut self, net: &mut Net, name: String, sdp: String) -> Result<Created, Refusal> {
        let stream = self.streams.get_mut(&name);
        let stream = stream.ok_or_else(|| Refusal::new(404, format_args!("nobody publishes {name}")))?;
        if stream.viewers.len() >= MAX_VIEWERS {
            return Err(Refusal::new(503, "too many watch already"));
        }
        let mut rtc = net.rtc().map_err(|error| Refusal::new(500, error))?;
        let mut sees = Vec::new();
        for (_, kind, _) in &stream.tracks {
            // Takes the section of its kind in the offer.
            let config = TransceiverConfig::default();
            let added = rtc.add_transceiver(*kind, MediaDirection::SendOnly, config);
            sees.push((*kind, added.map_err(|error| Refusal::new(500, error))?));
        }
        let (key, created) = self.sessions.create(net, Role::View, rtc, sdp)?;
        for ((.., track), (_, transceiver)) in stream.tracks.iter_mut().zip(&sees) {
            track.add_viewer(key, Some(*transceiver));
        }
        stream.viewers.push(key);
        println!("{name}: {} watching", stream.viewers.len());
        self.peers.insert(key, Peer::Viewer { name, sees });
        Ok(created)
    }

    /// Forgets a peer whose connection has ended. Viewers go with their publisher.
    fn remove(&mut self, net: &mut Net, key: Key) {
        self.sessions.forget(key);
        match self.peers.remove(&key) {
            Some(Peer::Publisher { name }) => {
                println!("{name}: ended");
                let stream = self.streams.remove(&name).filter(|stream| stream.publisher == key);
                for viewer in stream.into_iter().flat_map(|stream| stream.viewers) {
                    net.close(viewer);
                }
            }
            Some(Peer::Viewer { name, .. }) => {
                let Some(stream) = self.streams.get_mut(&name) else { return };
                stream.viewers.retain(|viewer| *viewer != key);
                for (.., track) in &mut stream.tracks {
                    track.remove_viewer(key);
                }
                println!("{name}: {} watching", stream.viewers.len());
            }
            None => {}
        }
    }
}
