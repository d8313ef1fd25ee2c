//! What is kept per SSRC, found fast and bounded.

use crate::types::ids::Ssrc;
use crate::wire::serial::Serial16;
use crate::wire::window::ReplayWindow;

use super::MAX_UNSIGNALLED;

/// A window of 1024: resent packets of video at a high rate still fit.
pub(super) const RTP_WORDS: usize = 16;
/// A window of 128.
pub(super) const RTCP_WORDS: usize = 2;

/// So many streams have places of their own; beyond, places are made as a vector makes them.
const FEW: usize = 8;

/// State per SSRC, ordered, with a memory of the last one asked for.
#[derive(Debug)]
pub(super) struct Streams<T> {
    entries: Vec<Entry<T>>,
    /// Where the last look-up ended: packets come in runs.
    last: usize,
    unsignalled: usize,
}

#[derive(Debug)]
struct Entry<T> {
    ssrc: Ssrc,
    signalled: bool,
    state: T,
}

impl<T> Default for Streams<T> {
    fn default() -> Self {
        Streams { entries: Vec::new(), last: 0, unsignalled: 0 }
    }
}

/// Where a stream is, or would be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Known(usize),
    /// It may be inserted here.
    Free(usize),
    /// It is not announced, and there is no room for more of those.
    Full,
}

impl<T: Default> Streams<T> {
    /// Looks `ssrc` up.
    pub(super) fn find(&mut self, ssrc: Ssrc) -> Place {
        if self.entries.get(self.last).is_some_and(|entry| entry.ssrc == ssrc) {
            return Place::Known(self.last);
        }
        match self.entries.binary_search_by_key(&ssrc, |entry| entry.ssrc) {
            Ok(at) => {
                self.last = at;
                Place::Known(at)
            }
            Err(_) if self.unsignalled >= MAX_UNSIGNALLED => Place::Full,
            Err(at) => Place::Free(at),
        }
    }

    /// Looks one of our own streams up, which needs no announcement.
    pub(super) fn find_own(&mut self, ssrc: Ssrc) -> Place {
        match self.find(ssrc) {
            Place::Known(at) => Place::Known(at),
            _ => {
                self.announce(ssrc);
                self.find(ssrc)
            }
        }
    }

    /// The state of a known stream.
    pub(super) fn at(&self, place: Place) -> Option<&T> {
        match place {
            Place::Known(at) => self.entries.get(at).map(|entry| &entry.state),
            _ => None,
        }
    }

    /// The state of a stream, which is made when it was not known. `place` is fresh from
    /// [`find`](Self::find).
    pub(super) fn at_mut(&mut self, ssrc: Ssrc, place: Place) -> Option<&mut T> {
        let at = match place {
            Place::Known(at) => at,
            Place::Free(at) => {
                self.insert(at, Entry { ssrc, signalled: false, state: T::default() });
                self.unsignalled += 1;
                self.last = at;
                at
            }
            Place::Full => return None,
        };
        self.entries.get_mut(at).map(|entry| &mut entry.state)
    }

    /// Makes room for an announced stream, which does not count against the bound.
    pub(super) fn announce(&mut self, ssrc: Ssrc) {
        match self.entries.binary_search_by_key(&ssrc, |entry| entry.ssrc) {
            Ok(at) => {
                if let Some(entry) = self.entries.get_mut(at).filter(|entry| !entry.signalled) {
                    entry.signalled = true;
                    self.unsignalled -= 1;
                }
            }
            Err(at) => self.insert(at, Entry { ssrc, signalled: true, state: T::default() }),
        }
    }

    /// Few streams are the rule: their places are added one by one.
    fn insert(&mut self, at: usize, entry: Entry<T>) {
        if self.entries.len() < FEW {
            self.entries.reserve_exact(1);
        }
        self.entries.insert(at, entry);
    }

    /// Forgets a stream with all that protects it from replays.
    pub(super) fn forget(&mut self, ssrc: Ssrc) {
        if let Ok(at) = self.entries.binary_search_by_key(&ssrc, |entry| entry.ssrc) {
            let entry = self.entries.remove(at);
            self.unsignalled -= usize::from(!entry.signalled);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// The indexes of one RTP stream (RFC 3711 §3.3.1).
#[derive(Debug, Default)]
pub(super) struct RtpIndexes {
    window: ReplayWindow<RTP_WORDS>,
}

impl RtpIndexes {
    /// The index that `sequence` most likely stands for; `None` when it would lie before the first packet of
    /// the first turn, or behind the last of the last.
    pub(super) fn estimate(&self, sequence: Serial16) -> Option<u64> {
        let Some(highest) = self.window.highest() else {
            // RFC 3711 §3.3.1: a stream starts with a roll-over counter of 0.
            return Some(u64::from(sequence.0));
        };
        let last = Serial16(u16::try_from(highest & 0xffff).unwrap_or(0));
        let index = highest.checked_add_signed(i64::from(last.distance_to(sequence)))?;
        (index >> 48 == 0).then_some(index)
    }

    /// Whether the roll-over counter has its highest value.
    pub(super) fn is_last_turn(&self) -> bool {
        self.window.highest().is_some_and(|highest| highest >> 16 == u64::from(u32::MAX))
    }

    pub(super) fn is_fresh(&self, index: u64) -> bool {
        self.window.is_fresh(index)
    }

    /// Remembers the index of an authentic packet.
    pub(super) fn mark(&mut self, index: u64) {
        self.window.mark(index);
    }
}

/// The roll-over counter of an index, as the tag covers it.
pub(super) fn rollover(index: u64) -> [u8; 4] {
    let [_, _, a, b, c, d, _, _] = index.to_be_bytes();
    [a, b, c, d]
}

/// The indexes of one RTCP sender.
pub(super) type RtcpIndexes = ReplayWindow<RTCP_WORDS>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announced_streams_do_not_count() {
        let mut streams = Streams::<u32>::default();
        for n in 0..200 {
            streams.announce(Ssrc(2 * n));
        }
        for n in 0..200 {
            let place = streams.find(Ssrc(2 * n + 1));
            assert_eq!(streams.at_mut(Ssrc(2 * n + 1), place).is_some(), n < 64);
        }
        assert_eq!(streams.len(), 264);
        // Announcing one of them, or forgetting one, makes room for another.
        streams.announce(Ssrc(1));
        assert!(matches!(streams.find(Ssrc(1001)), Place::Free(_)));
        let place = streams.find(Ssrc(1001));
        streams.at_mut(Ssrc(1001), place);
        assert!(matches!(streams.find(Ssrc(1003)), Place::Full));
        streams.forget(Ssrc(1001));
        assert!(matches!(streams.find(Ssrc(1003)), Place::Free(_)));
    }

    #[test]
    fn indexes_before_the_first_turn_do_not_exist() {
        let mut indexes = RtpIndexes::default();
        indexes.mark(indexes.estimate(Serial16(3)).unwrap());
        assert_eq!(indexes.estimate(Serial16(0xffff)), None);
        indexes.mark(0x1_0003);
        assert_eq!(indexes.estimate(Serial16(0xffff)), Some(0xffff));
        assert_eq!(rollover(0x0102_0304_0506), [1, 2, 3, 4]);
    }
}
