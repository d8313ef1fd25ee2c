//! Who is in which room, on the media thread: joining, leaving, what everybody sees, text.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sansrtc::session::negotiate::Capability;
use sansrtc::{
    ChannelId, Codec, ConnectionState, Event, Key, MediaConfig, MediaType, MessageKind, Offer,
    RemoteCandidate, Rtc,
};

use crate::budget::Budget;
use crate::common::net::{App, Net};
use crate::common::socket::Outbox;
use crate::common::track::Track;
use crate::member::Member;
use crate::signal::{Flags, Line, Participant, Source, ToBrowser, ToServer, json};

/// Participants of a room, and rooms. Whoever comes on top is refused.
const MAX_MEMBERS: usize = 16;
const MAX_ROOMS: usize = 1000;
/// Letters in a name, in the name of a room, and in a line of the chat.
const MAX_NAME: usize = 40;
const MAX_ROOM_NAME: usize = 64;
const MAX_TEXT: usize = 2000;
/// Lines that whoever comes later gets to read.
const MAX_LINES: usize = 100;
/// The largest message on a data channel; a line of the chat is far smaller.
const MAX_MESSAGE: usize = 16 * 1024;
/// How often the layers are chosen anew.
const TICK: Duration = Duration::from_millis(250);

/// What the WebSocket threads bring.
pub(crate) enum Command {
    /// A browser is there.
    Open {
        /// Its number.
        socket: u64,
        /// The way to it.
        outbox: Outbox,
    },
    /// It says something.
    Text {
        /// Its number.
        socket: u64,
        /// What it says.
        message: ToServer,
    },
    /// It is gone.
    Closed {
        /// Its number.
        socket: u64,
    },
    /// Figures, as JSON.
    Stats {
        /// The way back.
        reply: SyncSender<serde_json::Value>,
    },
}

/// A browser's WebSocket.
struct Socket {
    outbox: Outbox,
    member: Option<Key>,
}

#[derive(Default)]
struct Room {
    /// In the order in which they came.
    members: Vec<Key>,
    lines: VecDeque<Line>,
    said: u64,
}

/// All rooms.
pub(crate) struct Rooms {
    sockets: HashMap<u64, Socket>,
    members: HashMap<Key, Member>,
    rooms: BTreeMap<String, Room>,
    /// What is sent, by sender.
    tracks: HashMap<(Key, Source), Track>,
    budgets: HashMap<Key, Budget>,
    ceiling: u64,
    next_tick: Option<Instant>,
}

impl App for Rooms {
    type Command = Command;

    fn on_event(&mut self, net: &mut Net, key: Key, event: Event) {
        match event {
            Event::Packet(packet) => {
                let source = self.members.get(&key).and_then(|member| member.source_of(packet.transceiver));
                if let Some(track) = source.and_then(|source| self.tracks.get_mut(&(key, source))) {
                    track.forward(net, &packet);
                }
            }
            Event::State(ConnectionState::Connected) => self.start_tracks(net, key),
            Event::BitrateLimit { stream: None, bitrate } => {
                if let Some(budget) = self.budgets.get_mut(&key) {
                    budget.limit = Some(bitrate);
                }
            }
            Event::SenderReport { receiver, unix_time, timestamp } => {
                for (_, track) in self.tracks.iter_mut().filter(|((from, _), _)| *from == key) {
                    track.handle_report(receiver, unix_time, timestamp);
                }
            }
            Event::KeyFrameRequested { transceiver, .. } => {
                self.on_key_frame_requested(net, key, transceiver)
            }
            Event::LocalCandidate(candidate) => {
                if let Some(member) = self.members.get(&key) {
                    member.tell(&ToBrowser::Candidate { candidate: candidate.to_string() });
                }
            }
            Event::ChannelOpen(channel) => self.on_channel(net, key, channel),
            Event::Message { kind: MessageKind::Text, data, .. } => self.on_line(net, key, &data),
            // The browser's WebSocket ends with its last outbox, and then it knows as well.
            Event::Closed(reason) => {
                tracing::info!(%reason, "a connection ended");
                self.remove(net, key);
            }
            other => tracing::debug!(event = ?other),
        }
    }

    fn on_command(&mut self, net: &mut Net, command: Command) {
        match command {
            Command::Open { socket, outbox } => {
                self.sockets.insert(socket, Socket { outbox, member: None });
            }
            Command::Text { socket, message } => self.on_text(net, socket, message),
            Command::Closed { socket } => {
                if let Some(Socket { member: Some(key), .. }) = self.sockets.remove(&socket) {
                    self.remove(net, key);
                }
            }
            Command::Stats { reply } => {
                let _ = reply.send(self.stats());
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
        self.next_tick = (!self.members.is_empty()).then(|| now + TICK);
        self.choose_layers(net, now);
    }
}

impl Rooms {
    /// No rooms yet.
    pub(crate) fn new(net: &mut Net, codec: &str, ceiling: u64) -> Self {
        net.config.media = media(codec);
        net.config.sctp.max_message_size = MAX_MESSAGE;
        net.config.max_channels = 4;
        Rooms {
            sockets: HashMap::new(),
            members: HashMap::new(),
            rooms: BTreeMap::new(),
            tracks: HashMap::new(),
            budgets: HashMap::new(),
            ceiling,
            next_tick: None,
        }
    }

    fn on_text(&mut self, net: &mut Net, socket: u64, message: ToServer) {
        let Some(entry) = self.sockets.get(&socket) else { return };
        let outbox = entry.outbox.clone();
        if let ToServer::Join { room, name, sdp, flags } = message {
            let result = match entry.member {
                Some(_) => Err("this page is in a room already".to_owned()),
                None => self.join(net, socket, &room, &name, &sdp, flags),
            };
            if let Err(why) = result {
                tracing::info!(why, room, "refused");
                outbox.send(json(&ToBrowser::Refused { why }));
            }
            return;
        }
        let Some(key) = entry.member else { return };
        if let Err(error) = self.on_member(net, key, message) {
            // Nothing that we can do anything with will follow. It may come again.
            tracing::info!(error, "a browser's description does not fit");
            net.close(key);
            self.remove(net, key);
        }
    }

    fn on_member(&mut self, net: &mut Net, key: Key, message: ToServer) -> Result<(), String> {
        let Some(member) = self.members.get_mut(&key) else { return Ok(()) };
        let Some(mut rtc) = net.connection(key) else { return Ok(()) };
        match message {
            ToServer::Candidate { candidate, mid, ufrag } => {
                let signalled = RemoteCandidate {
                    candidate: &candidate,
                    mid: mid.as_deref(),
                    m_line_index: None,
                    username_fragment: ufrag.as_deref(),
                };
                if let Err(error) = rtc.add_signalled_candidate(signalled) {
                    tracing::debug!(%error, candidate, "a candidate is of no use");
                }
            }
            ToServer::Answer { sdp } => {
                member.on_answer(&mut rtc, &sdp)?;
                member.negotiate(&mut rtc);
                drop(rtc);
                self.start_tracks(net, key);
            }
            ToServer::Restart => {
                member.restart(&mut rtc);
                member.negotiate(&mut rtc);
            }
            ToServer::View { heights } => {
                for (mid, height) in heights.into_iter().take(4 * MAX_MEMBERS) {
                    let is_it =
                        |id| rtc.transceiver(id).and_then(|info| info.mid).is_some_and(|m| m.as_str() == mid);
                    let seen = member.sees.iter().find(|seen| is_it(seen.transceiver));
                    if let Some(track) = seen.and_then(|seen| self.tracks.get_mut(&(seen.from, seen.source)))
                    {
                        track.set_height(key, height);
                    }
                }
                drop(rtc);
                self.choose_layers(net, Instant::now());
            }
            ToServer::State { flags } if flags != member.flags => {
                member.flags = flags;
                let room = member.room.clone();
                drop(rtc);
                self.refresh(net, &room);
            }
            ToServer::State { .. } | ToServer::Join { .. } => {}
        }
        Ok(())
    }

    // --- Coming and going --------------------------------------------------------------------------

    fn join(
        &mut self,
        net: &mut Net,
        socket: u64,
        room: &str,
        name: &str,
        sdp: &str,
        flags: Flags,
    ) -> Result<(), String> {
        let (room, name) = (tidy(room, MAX_ROOM_NAME)?, tidy(name, MAX_NAME)?);
        let count = self.rooms.get(&room).map_or(0, |room| room.members.len());
        if count >= MAX_MEMBERS {
            return Err(format!("The room is full: {MAX_MEMBERS} are in it."));
        }
        if count == 0 && self.rooms.len() >= MAX_ROOMS {
            return Err("There is no place for another room.".to_owned());
        }
        let offer: Offer =
            sdp.parse().map_err(|error| format!("The browser's offer makes no sense: {error}"))?;
        let Some(entry) = self.sockets.get_mut(&socket) else { return Ok(()) };
        let mut member = Member::new(socket, entry.outbox.clone(), room.clone(), name, flags);
        // Taken in before it answers: then its sockets are in the answer. What servers yield follows.
        let key = net.admit(net.rtc().map_err(|error| error.to_string())?);
        let Some(mut rtc) = net.connection(key) else { return Ok(()) };
        let answer = match rtc.accept_offer(&offer) {
            Ok(answer) => answer,
            Err(error) => {
                rtc.close();
                return Err(format!("The browser's offer does not fit: {error}"));
            }
        };
        member.sends = sent(&rtc);
        drop(rtc);
        member.tell(&ToBrowser::Joined { id: &member.id, sdp: answer.to_string() });

        for &(source, transceiver) in &member.sends {
            let info = net.endpoint.get(key).and_then(|rtc| rtc.transceiver(transceiver));
            if let Some(track) = info.and_then(|info| Track::new(key, &info)) {
                self.tracks.insert((key, source), track);
            }
        }
        entry.member = Some(key);
        self.members.insert(key, member);
        self.budgets.insert(key, Budget::default());
        self.rooms.entry(room.clone()).or_default().members.push(key);
        self.next_tick.get_or_insert(Instant::now());
        self.refresh(net, &room);
        Ok(())
    }

    /// Takes a member out, whose connection has ended or is about to.
    fn remove(&mut self, net: &mut Net, key: Key) {
        net.close(key);
        let Some(member) = self.members.remove(&key) else { return };
        // With both outboxes gone, the WebSocket is closed.
        self.sockets.remove(&member.socket);
        self.budgets.remove(&key);
        self.tracks.retain(|(from, _), _| *from != key);
        for track in self.tracks.values_mut() {
            track.remove_viewer(key);
        }
        if let Some(room) = self.rooms.get_mut(&member.room) {
            room.members.retain(|other| *other != key);
            if room.members.is_empty() {
                self.rooms.remove(&member.room);
            }
        }
        self.refresh(net, &member.room);
    }

    /// Tells everybody in a room who is there, and shows them what there is to see.
    fn refresh(&mut self, net: &mut Net, room: &str) {
        let Some(room) = self.rooms.get(room) else { return };
        let there = |key: &Key| self.members.get(key).map(|m| (*key, m.id.clone(), m.flags));
        let everyone: Vec<(Key, String, Flags)> = room.members.iter().filter_map(there).collect();
        let people = room.members.iter().filter_map(|key| self.members.get(key));
        let list = people.map(|m| Participant { id: &m.id, name: &m.name, flags: m.flags });
        let message = json(&ToBrowser::Participants { participants: list.collect() });
        for key in room.members.clone() {
            let (Some(member), Some(mut rtc)) = (self.members.get_mut(&key), net.connection(key)) else {
                continue;
            };
            member.outbox.send(message.clone());
            let is_shown = |from: &Key, source: Source| {
                let sender = everyone.iter().find(|(other, ..)| other == from && *from != key);
                // A screen is there only while it is shared; the rest comes and goes in its place.
                sender.is_some_and(|(.., flags)| source != Source::Screen || flags.screen)
            };
            let tracks = &mut self.tracks;
            member.unsee(&mut rtc, |seen| {
                let is_gone = !is_shown(&seen.from, seen.source);
                if is_gone && let Some(track) = tracks.get_mut(&(seen.from, seen.source)) {
                    track.remove_viewer(key);
                }
                is_gone
            });
            for (from, id, _) in &everyone {
                for source in Source::ALL {
                    let Some(track) = self.tracks.get_mut(&(*from, source)) else { continue };
                    if is_shown(from, source) && !track.is_viewed_by(key) {
                        let added = member.see(&mut rtc, *from, id, source);
                        track.add_viewer(key, added);
                    }
                }
            }
            member.negotiate(&mut rtc);
        }
    }

    // --- Pictures ----------------------------------------------------------------------------------

    /// Sends a member what it has agreed to, once it is connected.
    fn start_tracks(&mut self, net: &mut Net, key: Key) {
        let Some(rtc) = net.endpoint.get(key) else { return };
        let sees = self.members.get(&key).map(|member| &member.sees);
        let sees = sees.filter(|_| rtc.state() == ConnectionState::Connected);
        for seen in sees.into_iter().flatten().filter(|seen| seen.is_agreed) {
            if let Some(track) = self.tracks.get_mut(&(seen.from, seen.source)) {
                track.set_ready(rtc, key);
            }
        }
    }

    /// A viewer cannot show what it gets: its sender is asked for a fresh start.
    fn on_key_frame_requested(&mut self, net: &mut Net, viewer: Key, transceiver: sansrtc::TransceiverId) {
        let seen = self.members.get(&viewer).and_then(|member| member.seen_through(transceiver));
        if let Some(track) = seen.and_then(|seen| self.tracks.get_mut(&(seen.from, seen.source))) {
            track.request_key_frame(net, viewer);
        }
    }

    /// Chooses a layer of each track for each viewer, by size and bit rate.
    fn choose_layers(&mut self, net: &mut Net, now: Instant) {
        for (key, budget) in &mut self.budgets {
            let Some(member) = self.members.get(key) else { continue };
            budget.share(*key, now, self.ceiling, &member.sees, &mut self.tracks);
        }
        for track in self.tracks.values_mut() {
            track.ask_for_key_frames(net);
        }
    }

    // --- Text --------------------------------------------------------------------------------------

    /// The chat is open: what was said before is told again.
    fn on_channel(&mut self, net: &mut Net, key: Key, channel: ChannelId) {
        let (Some(member), Some(mut rtc)) = (self.members.get_mut(&key), net.connection(key)) else { return };
        member.chat = Some(channel);
        for line in self.rooms.get(&member.room).iter().flat_map(|room| &room.lines) {
            let _ = rtc.send_text(channel, &json(line));
        }
    }

    /// Somebody said something: everybody in the room gets to read it.
    fn on_line(&mut self, net: &mut Net, key: Key, data: &[u8]) {
        let Some(member) = self.members.get(&key) else { return };
        let Some(room) = self.rooms.get_mut(&member.room) else { return };
        let Ok(text) = tidy(&String::from_utf8_lossy(data), MAX_TEXT) else { return };
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        room.said += 1;
        let line = Line {
            seq: room.said,
            from: member.id.clone(),
            name: member.name.clone(),
            text,
            time: u64::try_from(time).unwrap_or_default(),
        };
        let message = json(&line);
        room.lines.push_back(line);
        if room.lines.len() > MAX_LINES {
            room.lines.pop_front();
        }
        for key in &room.members {
            let chat = self.members.get(key).and_then(|member| member.chat);
            if let (Some(chat), Some(mut rtc)) = (chat, net.connection(*key)) {
                // Who does not read misses lines.
                let _ = rtc.send_text(chat, &message);
            }
        }
    }

    fn stats(&self) -> serde_json::Value {
        let stats = |(key, track): (&(Key, Source), &Track)| {
            let sender = self.members.get(&key.0).map(|member| member.name.as_str());
            serde_json::json!({ "sender": sender, "source": key.1, "track": track.stats() })
        };
        let tracks: Vec<_> = self.tracks.iter().map(stats).collect();
        serde_json::json!({ "rooms": self.rooms.len(), "members": self.members.len(), "tracks": tracks })
    }
}

/// One codec for each kind: what one browser sends, all others can show.
fn media(codec: &str) -> MediaConfig {
    let mut media = MediaConfig::browser();
    let is_wanted = |capability: &Capability| {
        capability.codec == Codec::Opus || capability.codec.name().eq_ignore_ascii_case(codec)
    };
    media.audio.retain(is_wanted);
    media.video.retain(is_wanted);
    media
}

/// What a browser's first offer brings, in the order of [`Source::ALL`].
fn sent(rtc: &Rtc) -> Vec<(Source, sansrtc::TransceiverId)> {
    let mut left = Source::ALL.to_vec();
    let infos = rtc.transceivers().filter_map(|id| rtc.transceiver(id));
    infos
        .filter_map(|info| {
            let at =
                left.iter().position(|s| (*s == Source::Microphone) == (info.kind == MediaType::Audio))?;
            Some((left.remove(at), info.id))
        })
        .collect()
}

/// A text without blanks around it and without control characters, if it has a good length.
fn tidy(text: &str, max: usize) -> Result<String, String> {
    let text: String = text.trim().chars().filter(|c| !c.is_control() || *c == '\n').collect();
    match text.chars().count() {
        0 => Err("A name is missing.".to_owned()),
        length if length > max => Err(format!("At most {max} letters, please.")),
        _ => Ok(text),
    }
}
