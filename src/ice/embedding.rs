//! DTLS inside connectivity checks (draft-hancke-webrtc-sped): the handshake does not wait for ICE.
//!
//! ```text
//!   flight of DTLS --> pending --> one of them in every request and response, in turn --> acknowledged: gone
//!                         \------> plainly, once there is a path
//!   0xC070 of an authentic message --> seen before? --> inbound --> DTLS
//!                                          \--> the hashes of the last ones leave as 0xC071
//! ```
//!
//! The agent knows nothing of DTLS: flights are datagrams of opaque bytes, given by the session.
//!
//! | phase | what our messages carry | left when the peer's message holds |
//! |---|---|---|
//! | `Listening` | nothing | either attribute: `Data`; neither: `Off` |
//! | `Data` | both attributes | an empty 0xC070, when our side is done: `Acks`; neither: `Off` |
//! | `Acks` | 0xC071 | no 0xC070: `Off` |
//!
//! A peer that knows nothing of it is found out by its first authentic message. What was pending then leaves plainly,
//! byte for byte as it was: no datagram of DTLS is ever written in two sizes.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::stun::attributes::types::{DTLS_IN_STUN, DTLS_IN_STUN_ACK};
use crate::stun::{Builder, Message, crc32};

/// Datagrams of a flight; more are not kept. A flight with large certificates and a post-quantum share has four.
const MAX_PENDING: usize = 32;

/// Hashes that are remembered, so that a datagram which comes in many checks is handed on once.
const MAX_SEEN: usize = 64;

/// Hashes told in a message (the draft's 0xC071).
const MAX_ACKS: usize = 4;

/// Datagrams kept until the session takes them, and their bytes: what comes before the description of the peer waits
/// for it.
const MAX_INBOUND: usize = 16;
const MAX_INBOUND_BYTES: usize = 16 * 1024;

/// Whether a handshake may travel in connectivity checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Embed {
    /// No.
    Off,
    /// When the peer begins: its first authentic message decides.
    Follow,
    /// Yes, both sides have said so, or may have.
    Begin,
}

/// Whether more will be said of the handshake after its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastFlight {
    /// The last flight was the peer's, so it has ours: a client of DTLS 1.2, a server of DTLS 1.3.
    Theirs,
    /// The last flight is ours, and may still be on its way.
    Ours,
}

/// What a message carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Off,
    Listening,
    Data,
    Acks,
}

/// A datagram that the peer has not acknowledged.
#[derive(Debug)]
struct Pending {
    hash: u32,
    bytes: Bytes,
    /// It left outside of checks, too.
    was_sent: bool,
}

/// The handshake in the checks of one agent.
#[derive(Debug)]
pub(super) struct Embedding {
    phase: Phase,
    /// An authentic message of the peer spoke of it.
    is_supported: bool,
    /// The handshake is over at our side.
    is_complete: bool,
    pending: Vec<Pending>,
    /// Whose turn it is.
    next: usize,
    /// Hashes of what arrived, the newest last.
    seen: VecDeque<u32>,
    inbound: VecDeque<BytesMut>,
    inbound_bytes: usize,
}

impl Embedding {
    pub(super) fn new(embed: Embed) -> Self {
        Embedding {
            phase: match embed {
                Embed::Off => Phase::Off,
                Embed::Follow => Phase::Listening,
                Embed::Begin => Phase::Data,
            },
            is_supported: false,
            is_complete: false,
            pending: Vec::new(),
            next: 0,
            seen: VecDeque::new(),
            inbound: VecDeque::new(),
            inbound_bytes: 0,
        }
    }

    /// What descriptions say now. Nothing comes back that is over.
    pub(super) fn set(&mut self, embed: Embed) {
        match (embed, self.phase) {
            (Embed::Off, _) => self.stop(),
            (Embed::Follow, Phase::Data) if !self.is_supported => self.phase = Phase::Listening,
            (Embed::Begin, Phase::Listening) => self.phase = Phase::Data,
            _ => {}
        }
    }

    /// Whether flights are to be given to it.
    pub(super) fn is_active(&self) -> bool {
        self.phase == Phase::Data
    }

    /// Whether the peer takes part.
    pub(super) fn is_supported(&self) -> bool {
        self.is_supported
    }

    /// Whether there is nothing left to do.
    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Off && self.pending.is_empty() && self.inbound.is_empty()
    }

    /// A new flight, or one that is due again in new records: it takes the place of what was pending.
    pub(super) fn set_flight(&mut self, flight: impl Iterator<Item = Bytes>) {
        self.pending.clear();
        self.next = 0;
        self.pending.extend(flight.take(MAX_PENDING).map(|bytes| Pending {
            hash: crc32(&bytes),
            bytes,
            was_sent: false,
        }));
    }

    /// The handshake is over at our side.
    pub(super) fn on_complete(&mut self, last_flight: LastFlight) {
        if std::mem::replace(&mut self.is_complete, true) {
            return;
        }
        if last_flight == LastFlight::Theirs {
            self.pending.clear();
        }
        self.inbound.clear();
        self.inbound_bytes = 0;
    }

    /// Whether a datagram has not left outside of checks yet.
    pub(super) fn has_plain(&self) -> bool {
        self.pending.iter().any(|pending| !pending.was_sent)
    }

    /// The next datagram that has not left outside of checks yet: there is a path for it now.
    pub(super) fn take_plain(&mut self) -> Option<Bytes> {
        let pending = self.pending.iter_mut().find(|pending| !pending.was_sent)?;
        pending.was_sent = true;
        let bytes = pending.bytes.clone();
        if self.phase == Phase::Off {
            self.pending.retain(|pending| !pending.was_sent);
        }
        Some(bytes)
    }

    /// Writes the attributes of a request or a response. Says which datagram is inside.
    pub(super) fn write(&mut self, builder: &mut Builder<'_>) -> Option<u32> {
        if !matches!(self.phase, Phase::Data | Phase::Acks) {
            return None;
        }
        let newest = self.seen.len().saturating_sub(MAX_ACKS);
        let acks: Vec<u8> = self.seen.range(newest..).flat_map(|hash| hash.to_be_bytes()).collect();
        builder.attribute(DTLS_IN_STUN_ACK, &acks);
        if self.phase == Phase::Acks {
            return None;
        }
        self.next = if self.next < self.pending.len() { self.next } else { 0 };
        let Some(pending) = self.pending.get(self.next) else {
            builder.attribute(DTLS_IN_STUN, &[]);
            return None;
        };
        self.next += 1;
        builder.attribute(DTLS_IN_STUN, &pending.bytes);
        Some(pending.hash)
    }

    /// How many bytes [`write`](Self::write) adds at the most.
    pub(super) fn max_written(&self) -> usize {
        let longest = self.pending.iter().map(|pending| pending.bytes.len()).max();
        8 + 4 * MAX_ACKS + longest.unwrap_or(0).next_multiple_of(4)
    }

    /// An authentic request or response of the peer came; `answered` is the datagram in the request that it answers.
    pub(super) fn on_message(&mut self, message: &Message<'_>, answered: Option<u32>) {
        if self.phase == Phase::Off {
            return;
        }
        let data = message.attribute(DTLS_IN_STUN);
        let acks = message.attribute(DTLS_IN_STUN_ACK);
        if data.is_none() && acks.is_none() {
            return self.stop();
        }
        self.is_supported = true;
        if self.phase == Phase::Listening {
            self.phase = Phase::Data;
        }
        // The draft: of a wrong length it is as if it were not there.
        let told = acks.filter(|acks| acks.len().is_multiple_of(4) && acks.len() <= 4 * MAX_ACKS);
        let told = told.unwrap_or_default().as_chunks().0.iter().map(|hash| u32::from_be_bytes(*hash));
        told.chain(answered).for_each(|hash| self.on_acknowledged(hash));
        if let Some(data) = data {
            self.on_data(data);
        }
        if self.is_complete && self.pending.is_empty() && acks.is_some() {
            match data {
                Some([]) if self.phase == Phase::Data => self.phase = Phase::Acks,
                None => self.stop(),
                Some(_) => {}
            }
        }
    }

    fn on_acknowledged(&mut self, hash: u32) {
        if let Some(at) = self.pending.iter().position(|pending| pending.hash == hash) {
            self.pending.remove(at);
            // The turn stays with the one that had it.
            self.next -= usize::from(at < self.next);
        }
    }

    fn on_data(&mut self, data: &[u8]) {
        // RFC 7983 §7: what DTLS begins with.
        let is_dtls = data.first().is_some_and(|first| (20..=63).contains(first));
        if !is_dtls
            || self.inbound.len() >= MAX_INBOUND
            || self.inbound_bytes + data.len() > MAX_INBOUND_BYTES
        {
            return;
        }
        if self.note(data) && !self.is_complete {
            self.inbound_bytes += data.len();
            self.inbound.push_back(data.into());
        }
    }

    /// Notes a datagram that arrived in a check or plainly; says whether it is new.
    pub(super) fn note(&mut self, data: &[u8]) -> bool {
        let hash = crc32(data);
        if self.seen.contains(&hash) {
            return false;
        }
        if self.seen.len() >= MAX_SEEN {
            self.seen.pop_front();
        }
        self.seen.push_back(hash);
        true
    }

    /// The next datagram that came in a check.
    pub(super) fn take_inbound(&mut self) -> Option<BytesMut> {
        let data = self.inbound.pop_front()?;
        self.inbound_bytes -= data.len();
        Some(data)
    }

    /// No attribute is sent or listened to any more. What is pending may still leave plainly.
    fn stop(&mut self) {
        self.phase = Phase::Off;
        self.pending.retain(|pending| !pending.was_sent);
        self.seen = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stun::{Class, Method, TransactionId};

    /// What one side writes into a message: the whole of it, and the datagram inside.
    fn write(embedding: &mut Embedding) -> (BytesMut, Option<u32>) {
        let mut buf = BytesMut::new();
        let mut builder = Builder::new(&mut buf, Class::Request, Method::BINDING, TransactionId([7; 12]));
        let hash = embedding.write(&mut builder);
        builder.finish();
        (buf, hash)
    }

    /// Writes a message of `from`, gives it to `to`, and says what it carried: acknowledgements, and data.
    fn pass(
        from: &mut Embedding,
        to: &mut Embedding,
        answers: Option<u32>,
    ) -> (Option<usize>, Option<usize>) {
        let (buf, _) = write(from);
        let message = Message::parse(&buf).unwrap();
        to.on_message(&message, answers);
        let len = |kind| message.attribute(kind).map(<[u8]>::len);
        (len(DTLS_IN_STUN_ACK), len(DTLS_IN_STUN))
    }

    fn foreign(attributes: &[(u16, &[u8])]) -> BytesMut {
        let mut buf = BytesMut::new();
        let mut builder = Builder::new(&mut buf, Class::Success, Method::BINDING, TransactionId([7; 12]));
        for (kind, value) in attributes {
            builder.attribute(*kind, value);
        }
        builder.finish();
        buf
    }

    fn tell(to: &mut Embedding, attributes: &[(u16, &[u8])]) {
        to.on_message(&Message::parse(&foreign(attributes)).unwrap(), None);
    }

    fn datagram(number: u8) -> Bytes {
        Bytes::from(vec![22, number, 1, 2, 3])
    }

    fn flight(to: &mut Embedding, numbers: std::ops::Range<u8>) {
        to.set_flight(numbers.map(datagram));
    }

    #[test]
    fn a_handshake_travels_and_ends_in_silence() {
        let (mut client, mut server) = (Embedding::new(Embed::Begin), Embedding::new(Embed::Begin));
        // The server has nothing to say yet.
        assert_eq!(pass(&mut server, &mut client, None), (Some(0), Some(0)));
        flight(&mut client, 0..1);
        assert_eq!(pass(&mut client, &mut server, None), (Some(0), Some(5)));
        assert_eq!(server.take_inbound().as_deref(), Some(&datagram(0)[..]));
        flight(&mut server, 10..12);
        // Its first datagram, with an acknowledgement; the client's hello is not pending any more.
        assert_eq!(pass(&mut server, &mut client, None), (Some(4), Some(5)));
        assert_eq!(client.pending.len(), 0);
        assert_eq!(pass(&mut server, &mut client, None), (Some(4), Some(5)));
        assert_eq!(client.take_inbound().as_deref(), Some(&datagram(10)[..]));
        assert_eq!(client.take_inbound().as_deref(), Some(&datagram(11)[..]));
        // DTLS 1.3: the client is done, its last flight may get lost.
        flight(&mut client, 1..2);
        client.on_complete(LastFlight::Ours);
        assert_eq!(pass(&mut client, &mut server, None), (Some(8), Some(5)));
        assert!(server.take_inbound().is_some() && server.pending.is_empty());
        server.on_complete(LastFlight::Theirs);
        assert_eq!(pass(&mut server, &mut client, None), (Some(8), Some(0)));
        assert_eq!(client.phase, Phase::Acks);
        assert_eq!(pass(&mut client, &mut server, None), (Some(8), None));
        assert_eq!(server.phase, Phase::Off);
        assert_eq!(pass(&mut server, &mut client, None), (None, None));
        assert!(client.is_over() && server.is_over());
        assert!(client.is_supported() && server.is_supported());
    }

    #[test]
    fn an_answer_acknowledges_what_its_request_carried() {
        let mut client = Embedding::new(Embed::Begin);
        flight(&mut client, 0..2);
        let (_, hash) = write(&mut client);
        assert_eq!(hash, Some(crc32(&datagram(0))));
        client.on_message(&Message::parse(&foreign(&[(DTLS_IN_STUN_ACK, &[])])).unwrap(), hash);
        assert_eq!(client.pending.iter().map(|p| &p.bytes).collect::<Vec<_>>(), [&datagram(1)]);
    }

    #[test]
    fn datagrams_of_a_flight_take_turns_and_a_new_flight_begins_at_its_start() {
        let mut side = Embedding::new(Embed::Begin);
        flight(&mut side, 0..3);
        let turns: Vec<_> = (0..4).map(|_| write(&mut side).1.unwrap()).collect();
        assert_eq!(turns, [0, 1, 2, 0].map(|n| crc32(&datagram(n))));
        tell(&mut side, &[(DTLS_IN_STUN_ACK, &crc32(&datagram(0)).to_be_bytes())]);
        assert_eq!(write(&mut side).1, Some(crc32(&datagram(1))));
        flight(&mut side, 5..7);
        assert_eq!(write(&mut side).1, Some(crc32(&datagram(5))));
    }

    #[test]
    fn a_peer_without_it_gets_the_same_bytes_plainly_once() {
        let mut side = Embedding::new(Embed::Begin);
        flight(&mut side, 0..2);
        tell(&mut side, &[]);
        assert!(!side.is_active() && !side.is_supported() && !side.is_over());
        let (buf, _) = write(&mut side);
        assert_eq!(buf.len(), crate::stun::HEADER_LEN);
        assert_eq!(side.take_plain(), Some(datagram(0)));
        assert_eq!(side.take_plain(), Some(datagram(1)));
        assert!(side.take_plain().is_none() && side.is_over());
    }

    #[test]
    fn who_only_follows_says_nothing_first() {
        let mut side = Embedding::new(Embed::Follow);
        assert_eq!(write(&mut side).0.len(), crate::stun::HEADER_LEN);
        assert!(!side.is_active());
        tell(&mut side, &[(DTLS_IN_STUN, &[])]);
        assert!(side.is_active());
        let mut side = Embedding::new(Embed::Follow);
        tell(&mut side, &[]);
        tell(&mut side, &[(DTLS_IN_STUN, &datagram(0))]);
        assert!(side.is_over());
    }

    #[test]
    fn what_comes_in_many_checks_is_handed_on_once_and_in_bounds() {
        let mut side = Embedding::new(Embed::Begin);
        for _ in 0..10 {
            tell(&mut side, &[(DTLS_IN_STUN, &datagram(1))]);
        }
        assert!(side.take_inbound().is_some() && side.take_inbound().is_none());
        for number in 0..200u8 {
            tell(&mut side, &[(DTLS_IN_STUN, &[&[22, number], &[0; 1200][..]].concat())]);
            assert!(side.inbound.len() <= MAX_INBOUND && side.inbound_bytes <= MAX_INBOUND_BYTES);
            assert!(side.seen.len() <= MAX_SEEN);
        }
        // What found no room was not acknowledged, so it comes again.
        let last = [&[22, 199], &[0; 1200][..]].concat();
        while side.take_inbound().is_some() {}
        tell(&mut side, &[(DTLS_IN_STUN, &last)]);
        assert_eq!(side.take_inbound().as_deref(), Some(&last[..]));
    }

    #[test]
    fn attributes_of_wrong_shape_do_nothing_but_show_that_it_is_known() {
        let mut side = Embedding::new(Embed::Begin);
        flight(&mut side, 0..1);
        let hash = crc32(&datagram(0)).to_be_bytes();
        let five = [hash; 5].concat();
        let shapes: [&[(u16, &[u8])]; 5] = [
            &[(DTLS_IN_STUN_ACK, &hash[..3])],
            &[(DTLS_IN_STUN_ACK, &five)],
            &[(DTLS_IN_STUN, &[])],
            &[(DTLS_IN_STUN, &[0, 1, 2])],
            &[(DTLS_IN_STUN, &[64, 22, 22])],
        ];
        for shape in shapes {
            tell(&mut side, shape);
            assert!(side.is_active() && side.is_supported());
            assert_eq!((side.pending.len(), side.inbound.len(), side.seen.len()), (1, 0, 0));
        }
    }

    #[test]
    fn room_is_reckoned_for_what_is_written() {
        let mut side = Embedding::new(Embed::Begin);
        for number in 0..6 {
            tell(&mut side, &[(DTLS_IN_STUN, &datagram(number))]);
        }
        flight(&mut side, 0..3);
        assert!(write(&mut side).0.len() - crate::stun::HEADER_LEN <= side.max_written());
    }
}
