//! What the echo server does with its connections, on the media thread.
//!
//! ```text
//! HTTP threads --Command--> Media --Rtc's methods--> connection
//!                             |  <----- events ------
//!                             +--> Echoes, one per connection
//! ```

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::sync::mpsc::SyncSender;

use sansrtc::{Answer, ChannelConfig, ConnectionState, Event, Key, Offer, Rtc, RtcMut, StreamId};
use serde::Serialize;

use crate::common::net::{App, Net};
use crate::http::{Description, Refusal};
use crate::reflect::Reflections;
use crate::session::Echoes;

/// Connections at once; more are refused with 503.
const MAX_SESSIONS: usize = 10_000;
/// Channels agreed by id in one request.
const MAX_NEGOTIATED: usize = 256;

/// What the HTTP threads ask for. Each question carries the way back for its answer.
pub(crate) enum Command {
    /// An offer of the peer, for a new session or a known one.
    Offer { session: Option<String>, offer: Description, reply: SyncSender<Result<Description, Refusal>> },
    /// The peer wants an offer of ours.
    Connect { negotiated: Vec<u16>, reply: SyncSender<Result<Description, Refusal>> },
    /// The peer's answer to it.
    Answer { session: String, answer: Description, reply: SyncSender<Result<(), Refusal>> },
    /// The peer is done.
    Close { session: String, reply: SyncSender<Result<(), Refusal>> },
    /// Figures.
    Stats { reply: SyncSender<Stats> },
}

/// The answer to `GET /stats`.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Stats {
    sessions: usize,
    channels: usize,
}

/// One peer.
struct Session {
    name: String,
    channels: usize,
    echoes: Echoes,
    reflections: Reflections,
}

/// All sessions.
#[derive(Default)]
pub(crate) struct Media {
    sessions: HashMap<Key, Session>,
    keys: HashMap<String, Key>,
}

impl App for Media {
    type Command = Command;

    fn on_event(&mut self, net: &mut Net, key: Key, event: Event) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if let Event::Closed(reason) = event {
            tracing::info!(session = %session.name, %reason, "closed");
            self.keys.remove(&session.name);
            self.sessions.remove(&key);
            return;
        }
        let Some(mut rtc) = net.connection(key) else { return };
        match event {
            Event::ChannelOpen(channel) => {
                session.channels += 1;
                session.echoes.on_open(&mut rtc, channel);
            }
            Event::ChannelClosed(channel) => {
                session.channels -= 1;
                session.echoes.on_closed(&mut rtc, channel);
            }
            Event::Message { channel, kind, data } => {
                session.echoes.on_message(&mut rtc, channel, kind, data)
            }
            Event::BufferedAmountLow(_) => session.echoes.on_room(&mut rtc),
            Event::Packet(packet) => session.reflections.on_packet(&mut rtc, &packet),
            Event::KeyFrameRequested { transceiver, .. } => {
                session.reflections.on_key_frame_request(&mut rtc, transceiver);
            }
            Event::Transceiver(transceiver) => session.reflections.on_transceiver(&rtc, transceiver),
            other => tracing::info!(session = %session.name, event = ?other),
        }
    }

    fn on_command(&mut self, net: &mut Net, command: Command) {
        // Whoever asked may have gone: then nobody misses the answer.
        match command {
            Command::Offer { session, offer, reply } => {
                let _ = reply.send(self.offer(net, session.as_deref(), &offer));
            }
            Command::Connect { negotiated, reply } => {
                let _ = reply.send(self.connect(net, &negotiated));
            }
            Command::Answer { session, answer, reply } => {
                let _ = reply.send(self.answer(net, &session, &answer));
            }
            Command::Close { session, reply } => {
                let _ = reply.send(self.key(&session).map(|key| net.close(key)));
            }
            Command::Stats { reply } => {
                let channels = self.sessions.values().map(|session| session.channels).sum();
                let _ = reply.send(Stats { sessions: self.sessions.len(), channels });
            }
        }
    }
}

impl Media {
    /// Answers an offer: with a new connection, or on the one that it is for.
    fn offer(
        &mut self,
        net: &mut Net,
        session: Option<&str>,
        offer: &Description,
    ) -> Result<Description, Refusal> {
        let known = session.map(|name| self.key(name)).transpose()?;
        let sdp: Offer = offer.sdp.parse().map_err(bad_request)?;
        let (answer, key) = match known {
            Some(key) => (connection(net, key).accept_offer(&sdp).map_err(bad_request)?, key),
            None => {
                let mut rtc = self.rtc(net)?;
                let answer = rtc.accept_offer(&sdp).map_err(bad_request)?;
                if rtc.state() == ConnectionState::New {
                    return Err(Refusal::new(
                        400,
                        "nothing in the offer can be connected: neither data channels nor media that is known here",
                    ));
                }
                (answer, self.admit(net, rtc))
            }
        };
        let negotiated = self.agree(net, key, &offer.negotiated);
        Ok(self.describe(key, "answer", answer.to_string(), negotiated))
    }

    /// Offers, with a channel of our own.
    fn connect(&mut self, net: &mut Net, negotiated: &[u16]) -> Result<Description, Refusal> {
        let mut rtc = self.rtc(net)?;
        rtc.open_channel(ChannelConfig::labelled("server")).map_err(broken)?;
        let offer = rtc.create_offer().map_err(broken)?;
        let key = self.admit(net, rtc);
        let negotiated = self.agree(net, key, negotiated);
        Ok(self.describe(key, "offer", offer.to_string(), negotiated))
    }

    fn answer(&mut self, net: &mut Net, session: &str, answer: &Description) -> Result<(), Refusal> {
        let key = self.key(session)?;
        let sdp: Answer = answer.sdp.parse().map_err(bad_request)?;
        connection(net, key).accept_answer(&sdp).map_err(bad_request)
    }

    /// Opens the channels that were agreed by id, and says which of them are open.
    fn agree(&mut self, net: &mut Net, key: Key, ids: &[u16]) -> Vec<u16> {
        let mut rtc = connection(net, key);
        // A later request names the earlier ids again.
        let infos = rtc.channels().into_iter().filter_map(|channel| rtc.channel(channel));
        let mut there: BTreeSet<StreamId> = infos.filter_map(|info| info.config.negotiated).collect();
        let mut agreed = Vec::new();
        for &id in ids.iter().take(MAX_NEGOTIATED) {
            let stream = StreamId(id);
            let config = ChannelConfig { negotiated: Some(stream), ..ChannelConfig::labelled("agreed") };
            if there.contains(&stream) || rtc.open_channel(config).is_ok() {
                there.insert(stream);
                agreed.push(id);
            }
        }
        agreed
    }

    fn describe(&self, key: Key, kind: &str, sdp: String, negotiated: Vec<u16>) -> Description {
        let session = self.sessions.get(&key).map(|session| session.name.clone());
        Description { kind: kind.into(), sdp, session, negotiated }
    }

    /// A connection with our addresses.
    fn rtc(&self, net: &Net) -> Result<Rtc, Refusal> {
        if self.sessions.len() >= MAX_SESSIONS {
            return Err(Refusal::new(503, format_args!("all {MAX_SESSIONS} sessions are taken")));
        }
        net.rtc().map_err(broken)
    }

    /// Takes a connection in, under a name that nobody can guess.
    fn admit(&mut self, net: &mut Net, rtc: Rtc) -> Key {
        let name = format!("{:032x}", rand::random::<u128>());
        let key = net.admit(rtc);
        let session = Session {
            name: name.clone(),
            channels: 0,
            echoes: Echoes::default(),
            reflections: Reflections::default(),
        };
        self.sessions.insert(key, session);
        self.keys.insert(name, key);
        key
    }

    fn key(&self, session: &str) -> Result<Key, Refusal> {
        self.keys
            .get(session)
            .copied()
            .ok_or_else(|| Refusal::new(404, "there is no such session; it may have ended"))
    }
}

/// The connection of a key that `Media::key` or `Media::admit` has just given.
fn connection(net: &mut Net, key: Key) -> RtcMut<'_> {
    net.connection(key).expect("a session and its connection come and go together")
}

/// The peer's mistake, in the words of the library.
fn bad_request(error: impl Display) -> Refusal {
    Refusal::new(400, error)
}

/// Ours.
fn broken(error: impl Display) -> Refusal {
    Refusal::new(500, error)
}
