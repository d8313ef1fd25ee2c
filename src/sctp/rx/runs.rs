//! Fragments that wait: runs of neighbours, joined as the holes between them close.
//!
//! A fragment has a place: the message that it belongs to, and its index in it. For DATA the index is the TSN,
//! for I-DATA the FSN; both unwrapped to 64 bits, so that places are totally ordered. A run is complete when it
//! begins with the first fragment of a message and ends with its last.

use std::collections::BTreeMap;
use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// What a waiting fragment costs beside its bytes; counted in the receive window.
pub(super) const FRAGMENT_OVERHEAD: usize = 96;

/// Message, then index within it.
pub(super) type Place = (u64, u64);

/// One DATA or I-DATA chunk on its way into a message.
#[derive(Debug)]
pub(super) struct Fragment {
    pub(super) place: Place,
    pub(super) is_first: bool,
    pub(super) is_last: bool,
    /// Of the first fragment only: I-DATA carries it nowhere else.
    pub(super) ppid: u32,
    pub(super) payload: Bytes,
}

/// Neighbouring fragments of one message.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) is_first: bool,
    pub(super) is_last: bool,
    pub(super) ppid: u32,
    /// The index behind the last fragment.
    end: u64,
    /// The front, contiguous: grows while fragments arrive in order.
    head: BytesMut,
    /// What follows the front, when it did not arrive in order.
    more: VecDeque<Bytes>,
    /// All bytes of the run.
    len: usize,
    fragments: usize,
}

impl Run {
    fn new(fragment: &Fragment, capacity: usize) -> Self {
        let mut head = BytesMut::with_capacity(capacity.max(fragment.payload.len()));
        head.extend_from_slice(&fragment.payload);
        Run {
            is_first: fragment.is_first,
            is_last: fragment.is_last,
            ppid: fragment.ppid,
            end: fragment.place.1 + 1,
            head,
            more: VecDeque::new(),
            len: fragment.payload.len(),
            fragments: 1,
        }
    }

    /// Bytes of all its fragments.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// What the run counts in the receive window.
    pub(super) fn cost(&self) -> usize {
        self.len + self.fragments * FRAGMENT_OVERHEAD
    }

    pub(super) fn is_complete(&self) -> bool {
        self.is_first && self.is_last
    }

    /// Appends the fragment that follows. A slice would pin the whole slab that it was received in, so what
    /// waits is copied.
    fn append(&mut self, fragment: &Fragment) {
        if self.more.is_empty() {
            self.head.extend_from_slice(&fragment.payload);
        } else {
            self.more.push_back(Bytes::copy_from_slice(&fragment.payload));
        }
        self.len += fragment.payload.len();
        self.fragments += 1;
        self.is_last = fragment.is_last;
        self.end = fragment.place.1 + 1;
    }

    /// Puts the fragment that comes before in front.
    fn prepend(&mut self, fragment: &Fragment) {
        let head = std::mem::replace(&mut self.head, BytesMut::from(&fragment.payload[..]));
        self.more.push_front(head.freeze());
        self.len += fragment.payload.len();
        self.fragments += 1;
        self.is_first = fragment.is_first;
        self.ppid = fragment.ppid;
    }

    /// Appends a whole run. Whichever of the two is in fewer pieces moves, so that joining stays cheap.
    fn join(&mut self, mut next: Run) {
        if self.more.len() <= next.more.len() {
            next.more.push_front(next.head.freeze());
            for piece in std::mem::take(&mut self.more).into_iter().rev() {
                next.more.push_front(piece);
            }
            self.more = next.more;
        } else {
            self.more.push_back(next.head.freeze());
            self.more.append(&mut next.more);
        }
        self.len += next.len;
        self.fragments += next.fragments;
        self.is_last = next.is_last;
        self.end = next.end;
    }

    /// All bytes of the run as one slice: no copy when everything arrived in order.
    pub(super) fn into_bytes(mut self) -> Bytes {
        if !self.more.is_empty() {
            self.head.reserve(self.len - self.head.len());
            for piece in &self.more {
                self.head.extend_from_slice(piece);
            }
        }
        self.head.freeze()
    }
}

/// All waiting runs of one stream and one kind (ordered or not).
#[derive(Debug, Default)]
pub(super) struct Runs {
    runs: BTreeMap<Place, Run>,
}

impl Runs {
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Takes a fragment in, and hands out its run when that completes a message. `capacity` is how large the
    /// message is expected to be. `Err` when it overlaps what is there or contradicts it.
    pub(super) fn insert(
        &mut self,
        fragment: &Fragment,
        capacity: usize,
    ) -> Result<Option<Run>, Contradiction> {
        let (message, index) = fragment.place;
        let previous = self.runs.range_mut(..=fragment.place).next_back();
        let start = match previous {
            Some((&(m, start), run)) if m == message && run.end > index => {
                let _ = (start, run);
                return Err(Contradiction);
            }
            Some((&place, run))
                if place.0 == message && run.end == index && !run.is_last && !fragment.is_first =>
            {
                run.append(fragment);
                place
            }
            _ => {
                self.begin(fragment, capacity);
                fragment.place
            }
        };
        self.join_next(start);
        match self.runs.get(&start) {
            Some(run) if run.is_complete() => Ok(self.runs.remove(&start)),
            _ => Ok(None),
        }
    }

    /// A run of its own, or the front of the one that follows.
    fn begin(&mut self, fragment: &Fragment, capacity: usize) {
        let behind = (fragment.place.0, fragment.place.1 + 1);
        match self.runs.remove(&behind) {
            Some(mut run) if !run.is_first && !fragment.is_last => {
                run.prepend(fragment);
                self.runs.insert(fragment.place, run);
            }
            Some(run) => {
                self.runs.insert(behind, run);
                self.runs.insert(fragment.place, Run::new(fragment, capacity));
            }
            None => {
                self.runs.insert(fragment.place, Run::new(fragment, capacity));
            }
        }
    }

    /// Joins the run at `start` with the one that begins where it ends.
    fn join_next(&mut self, start: Place) {
        let Some(end) = self.runs.get(&start).filter(|r| !r.is_last).map(|r| (start.0, r.end)) else {
            return;
        };
        match self.runs.remove(&end) {
            Some(next) if !next.is_first => {
                if let Some(run) = self.runs.get_mut(&start) {
                    run.join(next);
                }
            }
            Some(next) => {
                self.runs.insert(end, next);
            }
            None => {}
        }
    }

    /// Puts a complete run back, until its turn comes.
    pub(super) fn put_back(&mut self, message: u64, run: Run) {
        // A complete run is alone in its message, so any index finds it.
        self.runs.insert((message, 0), run);
    }

    /// The lowest message of which something is here.
    pub(super) fn first_message(&self) -> Option<u64> {
        self.runs.first_key_value().map(|(&(message, _), _)| message)
    }

    /// Takes the first run when it is all of message `message`.
    pub(super) fn take_complete(&mut self, message: u64) -> Option<Run> {
        let entry = self.runs.first_entry()?;
        (entry.key().0 == message && entry.get().is_complete()).then(|| entry.remove())
    }

    /// Takes the first run when it belongs to `message` and begins at `index`, or with the message when `index`
    /// is `None`; with it the index behind it.
    pub(super) fn take_front(&mut self, message: u64, index: Option<u64>) -> Option<(Run, u64)> {
        let entry = self.runs.first_entry()?;
        let &(m, start) = entry.key();
        let fits = m == message && index.map_or(entry.get().is_first, |i| i == start);
        fits.then(|| entry.remove()).map(|run| {
            let end = run.end;
            (run, end)
        })
    }

    /// Drops runs from the front as long as `gone` says so, and tells what they had cost.
    pub(super) fn drop_front_while(&mut self, gone: impl Fn(Place, &Run) -> bool) -> usize {
        let mut freed = 0;
        while let Some(entry) = self.runs.first_entry().filter(|e| gone(*e.key(), e.get())) {
            freed += entry.remove().cost();
        }
        freed
    }

    /// Drops the messages up to `last`, and tells what they had cost.
    pub(super) fn drop_messages(&mut self, last: u64) -> usize {
        self.drop_front_while(|(message, _), _| message <= last)
    }

    /// Whether a run ends right before `place`, so that a fragment there would continue it.
    pub(super) fn has_end_at(&self, place: Place) -> bool {
        self.runs.range(..place).next_back().is_some_and(|(p, run)| p.0 == place.0 && run.end == place.1)
    }

    /// The longest run of message `message` in bytes: to refuse what grows too large.
    pub(super) fn len_at(&self, place: Place) -> usize {
        self.runs.range(..=place).next_back().filter(|(p, _)| p.0 == place.0).map_or(0, |(_, run)| run.len)
    }
}

/// A fragment that overlaps another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Contradiction;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fragment(index: u64, count: u64) -> Fragment {
        Fragment {
            place: (7, index),
            is_first: index == 0,
            is_last: index + 1 == count,
            ppid: 53,
            payload: Bytes::from(vec![index as u8; 3]),
        }
    }

    #[test]
    fn overlapping_fragments_are_a_contradiction() {
        let mut runs = Runs::default();
        assert!(runs.insert(&fragment(0, 5), 0).is_ok());
        assert!(runs.insert(&fragment(1, 5), 0).is_ok());
        assert!(runs.insert(&fragment(1, 5), 0).is_err());
        assert!(runs.insert(&fragment(0, 5), 0).is_err());
    }

    #[test]
    fn runs_of_neighbouring_messages_do_not_join() {
        // Unordered DATA: two messages whose TSNs follow each other.
        let mut runs = Runs::default();
        let last = Fragment { is_first: false, is_last: true, ..fragment(4, 9) };
        let first = Fragment { is_first: true, is_last: false, ..fragment(5, 9) };
        assert!(runs.insert(&first, 0).unwrap().is_none());
        assert!(runs.insert(&last, 0).unwrap().is_none());
        assert_eq!(runs.runs.len(), 2);
    }

    proptest! {
        #[test]
        fn any_order_gives_the_message(order in Just((0u64..40).collect::<Vec<_>>()).prop_shuffle()) {
            let mut runs = Runs::default();
            let mut complete = None;
            for (i, &index) in order.iter().enumerate() {
                complete = runs.insert(&fragment(index, 40), 16).unwrap();
                prop_assert_eq!(complete.is_some(), i == 39);
            }
            let run = complete.unwrap();
            prop_assert_eq!(run.cost(), 120 + 40 * FRAGMENT_OVERHEAD);
            let expected: Vec<u8> = (0..40u8).flat_map(|b| [b; 3]).collect();
            prop_assert_eq!(&run.into_bytes()[..], &expected[..]);
            prop_assert!(runs.is_empty());
        }
    }
}
