//! Puts fragments of handshake messages together, in order of their messages (RFC 6347 §4.2.3).
//!
//! What a peer can make this hold is counted by the bytes that came, never by a length that was claimed. Where
//! fragments overlap, the first bytes stay: in epoch 0 nobody can tell which are true, and the transcript finds
//! out. Where they contradict each other about the message as a whole, the newer one is believed, so that the next
//! retransmission undoes a forged or damaged one. What is protected is never undone by what is not.

use std::collections::BTreeMap;

use super::handshake::{Fragment, HandshakeType};
use super::record::Epoch;

/// Bytes held for incomplete or early messages, with `PIECE_OVERHEAD` for each piece.
pub(crate) const MAX_BUFFERED: usize = 20 * 1024;

/// How far ahead of the message that is due others are kept.
const MAX_AHEAD: u16 = 16;

/// What a piece costs beyond its bytes: its vector, its place in the map, and the allocator's share.
const PIECE_OVERHEAD: usize = 64;

/// A message that is complete.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) kind: HandshakeType,
    pub(crate) message_seq: u16,
    pub(crate) epoch: Epoch,
    pub(crate) body: Vec<u8>,
}

/// What came of a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// Its bytes are kept.
    Kept,
    /// It belongs to a message that was handled: the peer sends its flight again.
    Old,
    /// It contradicts others, is too long, too far ahead, or there is no room.
    Refused,
}

/// Fragments of the message that is due, and of some behind it.
#[derive(Debug)]
pub(crate) struct Reassembly {
    /// Number of the message that is due.
    next: u16,
    partial: BTreeMap<u16, Partial>,
    buffered: usize,
    limit: usize,
}

#[derive(Debug)]
struct Partial {
    kind: HandshakeType,
    epoch: Epoch,
    length: u32,
    /// Bytes of the body that are there.
    received: u32,
    /// Pieces by offset; none overlaps another.
    pieces: BTreeMap<u32, Vec<u8>>,
}

impl Reassembly {
    /// Nothing yet, with `next` due and room for `limit` bytes, overhead included.
    pub(crate) fn new(next: u16, limit: usize) -> Self {
        Reassembly { next, partial: BTreeMap::new(), buffered: 0, limit }
    }

    /// Bytes held, overhead included.
    #[cfg(test)]
    pub(crate) fn buffered(&self) -> usize {
        self.buffered
    }

    /// Goes on to the message behind the one that is due.
    pub(crate) fn advance(&mut self) {
        self.next = self.next.wrapping_add(1);
    }

    /// Whether a message was handled.
    pub(crate) fn is_old(&self, message_seq: u16) -> bool {
        message_seq.wrapping_sub(self.next) >= 0x8000
    }

    /// Whether something is missing before what is here: bytes of the message that is due, or all of it.
    pub(crate) fn has_gap(&self) -> bool {
        let is_whole_so_far = |due: &Partial| due.pieces.len() == 1 && due.pieces.contains_key(&0);
        let is_due_broken = self.partial.get(&self.next).is_some_and(|due| !is_whole_so_far(due));
        is_due_broken || self.partial.keys().any(|message_seq| *message_seq != self.next)
    }

    /// The length that the message that is due claims to have, if any of it is here.
    pub(crate) fn due_length(&self) -> Option<u32> {
        self.partial.get(&self.next).map(|due| due.length)
    }

    /// Keeps a fragment that came in a record of `epoch`. Time is linear in its length.
    pub(crate) fn insert(&mut self, epoch: Epoch, fragment: &Fragment<'_>) -> Inserted {
        if self.is_old(fragment.message_seq) {
            return Inserted::Old;
        }
        let ahead = fragment.message_seq.wrapping_sub(self.next);
        // RFC 6347 §4.2.2: numbers behind the one that is due may be kept or dropped.
        if ahead >= MAX_AHEAD || usize_of(fragment.length) > fragment.kind.max_len() {
            return Inserted::Refused;
        }
        // An empty fragment of a message that is not empty says nothing.
        if fragment.body.is_empty() && fragment.length > 0 {
            return Inserted::Refused;
        }
        let told = (fragment.kind, epoch, fragment.length);
        match self.partial.get(&fragment.message_seq) {
            Some(held) if held.epoch > epoch => return Inserted::Refused,
            Some(held) if (held.kind, held.epoch, held.length) != told => {
                self.forget(fragment.message_seq);
            }
            _ => {}
        }
        let room = self.limit - self.buffered;
        if room < fragment.body.len() + 2 * PIECE_OVERHEAD {
            return Inserted::Refused;
        }
        let buffered = &mut self.buffered;
        let partial = self.partial.entry(fragment.message_seq).or_insert_with(|| {
            *buffered += PIECE_OVERHEAD;
            Partial {
                kind: fragment.kind,
                epoch,
                length: fragment.length,
                received: 0,
                pieces: BTreeMap::new(),
            }
        });
        partial.insert(fragment.offset, fragment.body, &mut self.buffered, self.limit)
    }

    /// Takes the message that is due, if it is complete. The next one is due only after
    /// [`advance`](Self::advance), so that a message that is refused may come again.
    pub(crate) fn take(&mut self) -> Option<Whole> {
        if !self.partial.get(&self.next)?.is_complete() {
            return None;
        }
        let partial = self.forget(self.next)?;
        let (kind, epoch) = (partial.kind, partial.epoch);
        Some(Whole { kind, message_seq: self.next, epoch, body: partial.into_body() })
    }

    fn forget(&mut self, message_seq: u16) -> Option<Partial> {
        let partial = self.partial.remove(&message_seq)?;
        let held: usize = partial.pieces.values().map(|piece| piece.len() + PIECE_OVERHEAD).sum();
        self.buffered = self.buffered.saturating_sub(held + PIECE_OVERHEAD);
        Some(partial)
    }
}

impl Partial {
    fn is_complete(&self) -> bool {
        self.received == self.length
    }

    /// Fills the gaps that `body` covers. Every step passes at least one byte of it.
    fn insert(&mut self, offset: u32, body: &[u8], buffered: &mut usize, limit: usize) -> Inserted {
        let mut at = offset;
        let mut left = body;
        if let Some((start, piece)) = self.pieces.range(..=at).next_back() {
            left = skip(&mut at, left, start.saturating_add(length(piece)));
        }
        while !left.is_empty() {
            let next = self.pieces.range(at..).next().map(|(start, piece)| (*start, length(piece)));
            let gap = next.map_or(left.len(), |(start, _)| left.len().min(usize_of(start - at)));
            let (new, rest) = left.split_at(gap);
            if !new.is_empty() && !self.keep(at, new, buffered, limit) {
                return Inserted::Refused;
            }
            at += length(new);
            left = match next {
                Some((start, piece)) => skip(&mut at, rest, start.saturating_add(piece)),
                None => rest,
            };
        }
        Inserted::Kept
    }

    /// Keeps bytes that fill a gap; joined to the piece that ends where they start.
    fn keep(&mut self, at: u32, new: &[u8], buffered: &mut usize, limit: usize) -> bool {
        let before = self.pieces.range_mut(..at).next_back();
        let before = before.filter(|(start, piece)| start.saturating_add(length(piece)) == at);
        let cost = new.len() + if before.is_some() { 0 } else { PIECE_OVERHEAD };
        if *buffered + cost > limit {
            return false;
        }
        *buffered += cost;
        self.received += length(new);
        match before {
            Some((_, piece)) => piece.extend_from_slice(new),
            None => {
                self.pieces.insert(at, new.to_vec());
            }
        }
        true
    }

    fn into_body(self) -> Vec<u8> {
        let mut pieces = self.pieces.into_values();
        let mut body = pieces.next().unwrap_or_default();
        pieces.for_each(|piece| body.extend_from_slice(&piece));
        body
    }
}

/// What of `left`, which starts at `at`, lies at or behind `end`; `at` moves along.
fn skip<'a>(at: &mut u32, left: &'a [u8], end: u32) -> &'a [u8] {
    let known = left.len().min(usize_of(end.saturating_sub(*at)));
    *at += length(&left[..known]);
    &left[known..]
}

/// Lengths here are those of fragments, which have 24 bits.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn usize_of(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fragment(message_seq: u16, body: &[u8], from: usize, to: usize) -> Fragment<'_> {
        Fragment {
            kind: HandshakeType::CERTIFICATE,
            length: length(body),
            message_seq,
            offset: u32::try_from(from).unwrap(),
            body: &body[from..to],
        }
    }

    proptest! {
        #[test]
        fn any_order_and_overlap_gives_the_message(
            body in prop::collection::vec(any::<u8>(), 1..200),
            cuts in prop::collection::vec((0usize..200, 1usize..60), 0..40),
        ) {
            let mut r = Reassembly::new(0, MAX_BUFFERED);
            for (from, len) in cuts {
                let from = from.min(body.len() - 1);
                r.insert(0, &fragment(0, &body, from, (from + len).min(body.len())));
            }
            prop_assert_eq!(r.insert(0, &fragment(0, &body, 0, body.len())), Inserted::Kept);
            let whole = r.take().unwrap();
            prop_assert_eq!(whole.body, body);
            prop_assert_eq!(r.buffered(), 0);
        }

        #[test]
        fn what_is_held_stays_bounded(
            fragments in prop::collection::vec((0u16..20, 0u32..40_000, 0u32..40_000, 0usize..1200), 0..300),
        ) {
            let bytes = [0; 1200];
            let mut r = Reassembly::new(0, MAX_BUFFERED);
            for (message_seq, length, offset, len) in fragments {
                let kind = HandshakeType::CERTIFICATE;
                r.insert(0, &Fragment { kind, length, message_seq, offset, body: &bytes[..len] });
                prop_assert!(r.buffered() <= MAX_BUFFERED);
            }
        }
    }

    #[test]
    fn messages_come_out_in_order() {
        let mut r = Reassembly::new(0, MAX_BUFFERED);
        assert_eq!(r.insert(0, &fragment(1, b"second", 0, 6)), Inserted::Kept);
        assert_eq!(r.take(), None);
        r.insert(0, &fragment(0, b"", 0, 0));
        assert_eq!(r.take().unwrap().body, b"");
        assert_eq!(r.take(), None, "a message is due only after the one before it was accepted");
        r.advance();
        assert_eq!(r.take().unwrap().body, b"second");
        r.advance();
        assert_eq!(r.insert(0, &fragment(0, b"first", 0, 5)), Inserted::Old);
    }

    #[test]
    fn the_newer_of_two_contradicting_fragments_is_believed() {
        let mut r = Reassembly::new(0, MAX_BUFFERED);
        r.insert(0, &fragment(0, b"abcdefg", 0, 3));
        let other = Fragment { kind: HandshakeType::FINISHED, ..fragment(0, b"abcdef", 3, 6) };
        assert_eq!(r.insert(0, &other), Inserted::Kept);
        assert_eq!(r.insert(0, &fragment(0, b"abcdef", 0, 3)), Inserted::Kept);
        assert_eq!(r.take(), None);
        assert_eq!(r.insert(0, &fragment(0, b"xxxdef", 1, 6)), Inserted::Kept);
        assert_eq!(r.take().unwrap().body, b"abcdef", "of overlapping bytes the first stay");
        assert_eq!(r.buffered(), 0);
    }

    #[test]
    fn a_protected_fragment_replaces_an_unprotected_one() {
        let mut r = Reassembly::new(0, MAX_BUFFERED);
        r.insert(0, &fragment(0, b"forged", 0, 6));
        assert_eq!(r.insert(1, &fragment(0, b"truth", 0, 5)), Inserted::Kept);
        assert_eq!(r.insert(0, &fragment(0, b"forged", 0, 6)), Inserted::Refused);
        let whole = r.take().unwrap();
        assert_eq!((whole.epoch, &whole.body[..]), (1, &b"truth"[..]));
    }

    #[test]
    fn empty_fragments_far_messages_and_long_ones_are_refused() {
        let mut r = Reassembly::new(0, MAX_BUFFERED);
        assert_eq!(r.insert(0, &fragment(0, b"abc", 1, 1)), Inserted::Refused);
        assert_eq!(r.insert(0, &fragment(16, b"abc", 0, 3)), Inserted::Refused);
        let long = Fragment { length: 1 << 23, ..fragment(0, b"abc", 0, 3) };
        assert_eq!(r.insert(0, &long), Inserted::Refused);
        assert_eq!(r.buffered(), 0);
    }

    #[test]
    fn room_is_counted_by_bytes_received() {
        let body = vec![7; HandshakeType::CERTIFICATE.max_len()];
        let mut r = Reassembly::new(0, MAX_BUFFERED);
        for message_seq in 0..16 {
            assert_eq!(r.insert(0, &fragment(message_seq, &body, 100, 101)), Inserted::Kept);
        }
        assert!(r.buffered() < 4 * 1024);
    }
}
