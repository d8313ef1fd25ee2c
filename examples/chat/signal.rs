//! What browser and server say to each other over the WebSocket, as JSON.
//!
//! ```text
//!  browser                          server
//!  join, with an offer  ----------> joined, with the answer
//!  candidate            <--------->
//!                       <---------- participants, whenever somebody comes, goes, or mutes
//!                       <---------- offer, whenever there is more or less to see
//!  answer               ---------->
//!                       <---------- tracks: what is in its sections
//!  view, state, restart ---------->
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::common::net::Handle;
use crate::common::socket::{Outbox, Talk};
use crate::rooms::Command;

/// What is switched on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Flags {
    /// The microphone, if it is not mute.
    pub(crate) microphone: bool,
    /// The camera.
    pub(crate) camera: bool,
    /// A shared screen.
    pub(crate) screen: bool,
}

/// What one participant sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    /// Audio.
    Microphone,
    /// Video, in three layers.
    Camera,
    /// Video in one layer, now and then.
    Screen,
}

impl Source {
    /// All, in the order in which the browser's first offer has them.
    pub(crate) const ALL: [Source; 3] = [Source::Microphone, Source::Camera, Source::Screen];
}

/// From the browser.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum ToServer {
    /// Lets a person into a room; has the browser's first offer.
    Join {
        /// Which room.
        room: String,
        /// Who.
        name: String,
        /// The offer.
        sdp: String,
        /// What is on.
        #[serde(flatten)]
        flags: Flags,
    },
    /// A candidate of the browser.
    Candidate {
        /// `candidate:…`
        candidate: String,
        /// Its section.
        #[serde(default)]
        mid: Option<String>,
        /// Its generation.
        #[serde(default)]
        ufrag: Option<String>,
    },
    /// The answer to our offer.
    Answer {
        /// The answer.
        sdp: String,
    },
    /// Something was switched.
    State {
        /// What is on now.
        #[serde(flatten)]
        flags: Flags,
    },
    /// How high the pictures are on the page.
    View {
        /// Pixels by mid, 0 when it cannot be seen.
        heights: BTreeMap<String, u32>,
    },
    /// The way to the server seems to be gone.
    Restart,
}

/// To the browser.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum ToBrowser<'a> {
    /// The answer to a join.
    Joined {
        /// How the server calls this participant.
        id: &'a str,
        /// The answer to the offer.
        sdp: String,
    },
    /// A candidate of the server, for its last description.
    Candidate {
        /// `candidate:…`
        candidate: String,
    },
    /// Everyone in the room.
    Participants {
        /// In the order in which they came.
        participants: Vec<Participant<'a>>,
    },
    /// An offer.
    Offer {
        /// The offer.
        sdp: String,
    },
    /// What is in the sections that were agreed upon.
    Tracks {
        /// All of it.
        tracks: Vec<Shown<'a>>,
    },
    /// There is no way in.
    Refused {
        /// A sentence for the person.
        why: String,
    },
}

/// Somebody in a room.
#[derive(Debug, Serialize)]
pub(crate) struct Participant<'a> {
    /// Unique.
    pub(crate) id: &'a str,
    /// As they call themselves.
    pub(crate) name: &'a str,
    /// What is on.
    #[serde(flatten)]
    pub(crate) flags: Flags,
}

/// A track that the browser receives.
#[derive(Debug, Serialize)]
pub(crate) struct Shown<'a> {
    /// Its section.
    pub(crate) mid: String,
    /// Whose it is.
    pub(crate) participant: &'a str,
    /// What it is.
    pub(crate) source: Source,
}

/// A line of the chat, as it travels over the data channel.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Line {
    /// Its place among the lines of the room.
    pub(crate) seq: u64,
    /// Who said it.
    pub(crate) from: String,
    /// Their name.
    pub(crate) name: String,
    /// What was said.
    pub(crate) text: String,
    /// When, in milliseconds since 1970.
    pub(crate) time: u64,
}

/// Puts anything of this module into JSON.
pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain structs of strings and numbers always serialise")
}

/// The WebSocket of one browser.
pub(crate) struct Browser {
    socket: u64,
    rooms: Handle<Command>,
}

impl Browser {
    /// A browser that wants to talk.
    pub(crate) fn new(rooms: Handle<Command>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Browser { socket: NEXT.fetch_add(1, Ordering::Relaxed), rooms }
    }
}

impl Talk for Browser {
    fn on_open(&mut self, outbox: Outbox) {
        self.rooms.tell(Command::Open { socket: self.socket, outbox });
    }

    fn on_text(&mut self, text: &str) {
        match serde_json::from_str(text) {
            Ok(message) => self.rooms.tell(Command::Text { socket: self.socket, message }),
            Err(error) => tracing::debug!(%error, "a message that makes no sense"),
        }
    }

    fn on_closed(&mut self) {
        self.rooms.tell(Command::Closed { socket: self.socket });
    }
}
