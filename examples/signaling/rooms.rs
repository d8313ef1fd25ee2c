//! Who is in which room, and what they say to each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sansrtc::turn::server::time_limited;

use crate::common::socket::{Outbox, Talk};
use crate::message::{FromPeer, IceServer, ToPeer};

/// The longest name of a room, in bytes.
const MAX_NAME: usize = 64;
/// How long credentials are good.
const DAY: Duration = Duration::from_secs(86_400);

/// Bounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Rooms at once.
    pub(crate) rooms: usize,
    /// Members of one room.
    pub(crate) members: usize,
}

/// What browsers gather candidates with.
pub(crate) struct IceServers {
    /// URLs.
    pub(crate) urls: Vec<String>,
    /// User name and password, the same for all.
    pub(crate) fixed: Option<(String, String)>,
    /// Or what each gets its own from.
    pub(crate) secret: Option<Vec<u8>>,
}

impl IceServers {
    fn of(&self, member: &str) -> Vec<IceServer> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let credentials = match &self.secret {
            Some(secret) => {
                let made = time_limited(secret, member, now + DAY);
                Some((made.username.clone(), made.password().to_owned()))
            }
            None => self.fixed.clone(),
        };
        let server = |urls: &String| {
            let (username, credential) = credentials.clone().filter(|_| urls.starts_with("turn")).unzip();
            IceServer { urls: urls.clone(), username, credential }
        };
        self.urls.iter().map(server).collect()
    }
}

/// All rooms. A room is there while somebody is in it.
pub(crate) struct Rooms {
    limits: Limits,
    servers: IceServers,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Everybody who can be written to. Nobody else holds the outboxes: whose is dropped is sent home.
    outboxes: BTreeMap<String, Outbox>,
    /// By name; who is in them.
    rooms: BTreeMap<String, BTreeSet<String>>,
    is_closed: bool,
}

impl State {
    /// Queues a message. Where there is no room for it the WebSocket is about to end, and the member with it.
    fn tell(&self, id: &str, message: &ToPeer) {
        let text = serde_json::to_string(message).expect("strings and JSON values always serialise");
        if let Some(outbox) = self.outboxes.get(id) {
            outbox.send(text);
        }
    }
}

impl Rooms {
    /// No rooms yet.
    pub(crate) fn new(limits: Limits, servers: IceServers) -> Self {
        Rooms { limits, servers, state: Mutex::default() }
    }

    /// Rooms, and members of all of them.
    pub(crate) fn count(&self) -> (usize, usize) {
        let state = self.lock();
        (state.rooms.len(), state.rooms.values().map(BTreeSet::len).sum())
    }

    /// Sends everybody home: a WebSocket ends when nobody can write to it any more.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.outboxes.clear();
    }

    fn open(&self, id: &str, outbox: Outbox) {
        let mut state = self.lock();
        if !state.is_closed {
            state.outboxes.insert(id.to_owned(), outbox);
        }
    }

    fn gone(&self, id: &str) {
        self.lock().outboxes.remove(id);
    }

    fn refuse(&self, id: &str, reason: String) {
        self.lock().tell(id, &ToPeer::Error { reason });
    }

    fn join(&self, room: &str, id: &str) -> Result<(), String> {
        let mut state = self.lock();
        let is_new = !state.rooms.contains_key(room);
        let count = state.rooms.get(room).map_or(0, BTreeSet::len);
        match () {
            () if room.trim().is_empty() => return Err("the room has no name".to_owned()),
            () if room.len() > MAX_NAME => return Err(format!("the name is longer than {MAX_NAME} bytes")),
            () if is_new && state.rooms.len() >= self.limits.rooms => return Err("no more rooms".to_owned()),
            () if count >= self.limits.members => return Err(format!("the room is full: {count} are in it")),
            () => {}
        }
        let members = state.rooms.entry(room.to_owned()).or_default();
        let peers: Vec<String> = members.iter().cloned().collect();
        members.insert(id.to_owned());
        for other in &peers {
            state.tell(other, &ToPeer::PeerJoined { id: id.to_owned() });
        }
        let ice_servers = self.servers.of(id);
        state.tell(id, &ToPeer::Joined { room: room.to_owned(), id: id.to_owned(), peers, ice_servers });
        Ok(())
    }

    fn leave(&self, room: &str, id: &str) {
        let mut state = self.lock();
        let Some(members) = state.rooms.get_mut(room) else { return };
        members.remove(id);
        let others: Vec<String> = members.iter().cloned().collect();
        if others.is_empty() {
            state.rooms.remove(room);
        }
        for other in &others {
            state.tell(other, &ToPeer::PeerLeft { id: id.to_owned() });
        }
    }

    fn relay(&self, room: &str, to: &str, message: &ToPeer) -> Result<(), String> {
        let state = self.lock();
        if !state.rooms.get(room).is_some_and(|members| members.contains(to)) {
            return Err(format!("{to:?} is not in the room"));
        }
        state.tell(to, message);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held, and if it did, the others would still want to talk.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One browser.
pub(crate) struct Member {
    rooms: Arc<Rooms>,
    /// Random, so that nobody can guess another's.
    id: String,
    room: Option<String>,
}

impl Member {
    /// In no room yet.
    pub(crate) fn new(rooms: Arc<Rooms>) -> Self {
        Member { rooms, id: format!("{:016x}", rand::random::<u64>()), room: None }
    }

    fn leave(&mut self) {
        if let Some(room) = self.room.take() {
            self.rooms.leave(&room, &self.id);
            tracing::info!(id = %self.id, %room, "left");
        }
    }

    fn handle(&mut self, message: FromPeer) -> Result<(), String> {
        let from = self.id.clone();
        let (to, message) = match message {
            FromPeer::Join { room } => {
                self.leave();
                self.rooms.join(&room, &self.id)?;
                tracing::info!(id = %self.id, %room, "joined");
                self.room = Some(room);
                return Ok(());
            }
            FromPeer::Leave => {
                self.leave();
                return Ok(());
            }
            FromPeer::Description { to, description } => (to, ToPeer::Description { from, description }),
            FromPeer::Candidate { to, candidate } => (to, ToPeer::Candidate { from, candidate }),
        };
        let room = self.room.as_deref().ok_or("join a room first")?;
        self.rooms.relay(room, &to, &message)
    }
}

impl Talk for Member {
    fn on_open(&mut self, outbox: Outbox) {
        self.rooms.open(&self.id, outbox);
    }

    fn on_text(&mut self, text: &str) {
        // serde names what is wrong, and where.
        let parsed = serde_json::from_str(text).map_err(|error| format!("not a message: {error}"));
        if let Err(reason) = parsed.and_then(|message| self.handle(message)) {
            self.rooms.refuse(&self.id, reason);
        }
    }

    fn on_closed(&mut self) {
        self.leave();
        self.rooms.gone(&self.id);
    }
}
