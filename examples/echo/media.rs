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
use std::time::{Duration, Instant};

use sansrtc::{
    Answer, ChannelConfig, ConnectionState, Event, GatheringState, Key, Offer, Rtc, RtcMut, StreamId,
};
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
    Offer { session: Option<String>, offer: Description, reply: Reply },
    /// The peer wants an offer of ours.
    Connect { negotiated: Vec<u16>, reply: Reply },
    /// The peer's answer to it.
    Answer { session: String, answer: Description, reply: SyncSender<Result<(), Refusal>> },
    /// The peer is done.
    Close { session: String, reply: SyncSender<Result<(), Refusal>> },
    /// Figures.
    Stats { reply: SyncSender<Stats> },
    /// How one connection was made.
    Details { session: String, reply: SyncSender<Result<Details, Refusal>> },
}

/// The answer to `GET /stats`.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Stats {
    sessions: usize,
    channels: usize,
}

/// The answer to `GET /stats?session=ID`. Names are those of the library.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Details {
    state: String,
    /// Which kinds of candidate the path in use joins: ours and the peer's.
    path: Option<[String; 2]>,
    /// `None` until the handshake is over, as its parts.
    dtls: Option<DtlsDetails>,
    /// Whether DTLS travelled in connectivity checks.
    sped: bool,
    /// Whether the association came up by what descriptions said.
    snap: bool,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct DtlsDetails {
    version: String,
    cipher_suite: String,
    group: String,
    srtp_profile: Option<String>,
}

/// The way back to whoever wants to be told a description.
type Reply = SyncSender<Result<Description, Refusal>>;

/// How long a peer waits for our candidates: those that come later are not told.
const GATHERING: Duration = Duration::from_secs(5);

/// A peer that waits for a description, while candidates are gathered.
struct Waiting {
    key: Key,
    until: Instant,
    wanted: Wanted,
    reply: Reply,
}

/// What it waits for.
enum Wanted {
    /// The answer to this offer.
    Answer(Description),
    /// An offer, with these wishes.
    Offer(Description),
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
    waiting: Vec<Waiting>,
}

impl App for Media {
    type Command = Command;

    fn on_event(&mut self, net: &mut Net, key: Key, event: Event) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if let Event::Closed(reason) = event {
            tracing::info!(session = %session.name, %reason, "closed");
            self.waiting.retain(|waiting| waiting.key != key);
            self.keys.remove(&session.name);
            self.sessions.remove(&key);
            return;
        }
        if let Event::GatheringState(GatheringState::Complete) = event {
            self.on_gathered(net, key);
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

    fn next_timeout(&self) -> Option<Instant> {
        self.waiting.iter().map(|waiting| waiting.until).min()
    }

    fn on_time(&mut self, net: &mut Net, now: Instant) {
        let late = |waiting: &&Waiting| waiting.until <= now;
        while let Some(key) = self.waiting.iter().find(late).map(|waiting| waiting.key) {
            self.on_gathered(net, key);
        }
    }

    fn on_command(&mut self, net: &mut Net, command: Command) {
        // Whoever asked may have gone: then nobody misses the answer.
        match command {
            Command::Offer { session, offer, reply } => self.offer(net, session, offer, reply),
            Command::Connect { negotiated, reply } => {
                let wanted = Wanted::Offer(Description { negotiated, ..Description::default() });
                self.begin(net, wanted, reply);
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
            Command::Details { session, reply } => {
                let _ = reply.send(self.key(&session).map(|key| details(&connection(net, key))));
            }
        }
    }
}

impl Media {
    /// Answers an offer: with a new connection, or on the one that it is for.
    fn offer(&mut self, net: &mut Net, session: Option<String>, offer: Description, reply: Reply) {
        let Some(name) = session else {
            // What is no offer is told at once.
            return match offer.sdp.parse::<Offer>() {
                Ok(_) => self.begin(net, Wanted::Answer(offer), reply),
                Err(error) => drop(reply.send(Err(bad_request(error)))),
            };
        };
        let answered = self.key(&name).and_then(|key| self.describe(net, key, &Wanted::Answer(offer)));
        let _ = reply.send(answered);
    }

    /// Makes a connection. It is described to the peer when its candidates are gathered, so that all are inside.
    fn begin(&mut self, net: &mut Net, wanted: Wanted, reply: Reply) {
        match self.rtc(net) {
            Ok(rtc) => {
                let key = self.admit(net, rtc);
                self.waiting.push(Waiting { key, until: Instant::now() + GATHERING, wanted, reply });
                if net.has_gathered(key) {
                    self.on_gathered(net, key);
                }
            }
            Err(refusal) => drop(reply.send(Err(refusal))),
        }
    }

    /// A connection has gathered what there is, or has taken long enough.
    fn on_gathered(&mut self, net: &mut Net, key: Key) {
        let Some(at) = self.waiting.iter().position(|waiting| waiting.key == key) else { return };
        let Waiting { wanted, reply, .. } = self.waiting.remove(at);
        let described = self.describe(net, key, &wanted);
        if described.is_err() {
            // It never came to anything.
            net.close(key);
        }
        let _ = reply.send(described);
    }

    /// What the peer is told.
    fn describe(&mut self, net: &mut Net, key: Key, wanted: &Wanted) -> Result<Description, Refusal> {
        let mut rtc = connection(net, key);
        let (kind, sdp, negotiated) = match wanted {
            Wanted::Answer(offer) => {
                let sdp: Offer = offer.sdp.parse().map_err(bad_request)?;
                let answer = rtc.accept_offer(&sdp).map_err(bad_request)?;
                if rtc.state() == ConnectionState::New {
                    return Err(Refusal::new(
                        400,
                        "nothing in the offer can be connected: neither data channels nor media that is known here",
                    ));
                }
                ("answer", answer.to_string(), &offer.negotiated)
            }
            Wanted::Offer(wishes) => {
                rtc.open_channel(ChannelConfig::labelled("server")).map_err(broken)?;
                ("offer", rtc.create_offer().map_err(broken)?.to_string(), &wishes.negotiated)
            }
        };
        drop(rtc);
        let negotiated = self.agree(net, key, negotiated);
        let session = self.sessions.get(&key).map(|session| session.name.clone());
        Ok(Description { kind: kind.into(), sdp, session, negotiated })
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

fn details(rtc: &Rtc) -> Details {
    let stats = rtc.stats();
    let dtls = rtc.dtls_details().map(|dtls| DtlsDetails {
        version: format!("{:?}", dtls.version),
        cipher_suite: format!("{:?}", dtls.cipher_suite),
        group: format!("{:?}", dtls.group),
        srtp_profile: dtls.srtp_profile.map(|profile| format!("{profile:?}")),
    });
    let path = stats.path.map(|path| [path.local_kind, path.remote_kind].map(|kind| format!("{kind:?}")));
    Details { state: format!("{:?}", stats.state), path, dtls, sped: stats.ice.embedding, snap: stats.snap }
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
