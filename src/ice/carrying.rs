//! A DTLS handshake that travels in checks and their answers (draft-hancke-webrtc-sped): the agent's side of
//! `embedding`.

use bytes::{Bytes, BytesMut};

use super::Path;
use super::agent::Agent;
use super::embedding::{Embed, Embedding, LastFlight};
use super::pair::Pair;
use crate::stun::Message;

impl Agent {
    /// Says whether a DTLS handshake may travel in checks and their answers (draft-hancke-webrtc-sped). What is over
    /// does not begin again.
    pub fn set_embed(&mut self, embed: Embed) {
        let is_wanted = embed != Embed::Off && !self.is_inert();
        match &mut self.embedding {
            Some(embedding) => embedding.set(embed),
            None if is_wanted => self.embedding = Some(Box::new(Embedding::new(embed))),
            None => {}
        }
        self.drop_embedding();
    }

    /// Whether flights are to be given to [`embed_flight`](Agent::embed_flight), written with so many bytes less per
    /// datagram: what a check adds to the largest of them. `None`: they go the ordinary way.
    pub fn embedding(&self) -> Option<usize> {
        self.embedding.as_ref().filter(|embedding| embedding.is_active())?;
        let ours = self.current.local.credentials.ufrag.len();
        let theirs = self.current.remote.as_ref().map_or(256, |side| side.credentials.ufrag.len());
        // The header, ICE-CONTROLLING, PRIORITY, USE-CANDIDATE, MESSAGE-INTEGRITY, FINGERPRINT, the head of the
        // datagram and its padding, four acknowledgements, and a relay's address: the draft's "MTU considerations".
        let fixed = 20 + 12 + 8 + 4 + 24 + 8 + 4 + 3 + 20 + 24;
        Some(fixed + 4 + (ours + 1 + theirs).next_multiple_of(4))
    }

    /// Takes a flight, datagram by datagram, that is new or due again: it takes the place of the one before.
    pub fn embed_flight(&mut self, flight: impl Iterator<Item = Bytes>) {
        if let Some(embedding) = &mut self.embedding {
            embedding.set_flight(flight);
        }
    }

    /// False only when [`poll_plain_flight`](Self::poll_plain_flight) gives nothing.
    pub(crate) fn may_have_plain_flight(&self) -> bool {
        self.embedding.as_ref().is_some_and(|embedding| embedding.has_plain() || embedding.is_over())
    }

    /// The next datagram of the flight that is to leave as it is: to be asked for when there is a path.
    pub fn poll_plain_flight(&mut self) -> Option<Bytes> {
        let datagram = self.embedding.as_mut()?.take_plain();
        self.drop_embedding();
        datagram
    }

    /// Where a handshake may be sent. A lite agent, which has no valid pair before one is nominated, sends it back to
    /// where the last authentic check came from (the draft's "Lite agents").
    pub fn handshake_path(&self) -> Option<Path> {
        let asked = || {
            let pairs = self.current.checklist.iter().filter(|pair| self.config.lite && pair.asked);
            pairs.max_by_key(|pair| pair.last_heard).map(Pair::path)
        };
        self.path.or_else(asked)
    }

    /// The next datagram that came in an authentic check, or in the answer to one.
    pub fn poll_embedded(&mut self) -> Option<BytesMut> {
        let datagram = self.embedding.as_mut()?.take_inbound();
        self.drop_embedding();
        datagram
    }

    /// A handshake datagram came outside of checks: it is acknowledged in the next one.
    pub fn on_plain_flight(&mut self, datagram: &[u8]) {
        if let Some(embedding) = self.embedding.as_mut().filter(|embedding| embedding.is_active()) {
            embedding.note(datagram);
        }
    }

    /// The handshake is over at this end.
    pub fn on_handshake_complete(&mut self, last_flight: LastFlight) {
        if let Some(embedding) = &mut self.embedding {
            embedding.on_complete(last_flight);
        }
    }

    /// An authentic message of the peer: takes what it carries.
    pub(super) fn on_embedded(&mut self, message: &Message<'_>, answered: Option<u32>) {
        if let Some(embedding) = &mut self.embedding {
            embedding.on_message(message, answered);
            self.stats.embedding |= embedding.is_supported();
            self.drop_embedding();
        }
    }

    pub(super) fn drop_embedding(&mut self) {
        self.embedding.take_if(|embedding| embedding.is_over());
    }
}
