//! Fragments that wait: runs of neighbours, joined as the holes between them close.
//!
//! A fragment has a place: its lane (a stream, and whether the message is ordered), the message that it belongs to,
//! and its index in it. For DATA the index is the TSN, for I-DATA the FSN; both unwrapped to 64 bits, so that places
//! are totally ordered. A run is complete when it begins with the first fragment of a message and ends with its
//! last.
//!
//! ```text
//! lane 4, message 7:   [0 1 2]  [4 5]      fragment 3 arrives: [0 1 2 3 | 4 5]
//!                       a run   a run                           one run in two pieces
//! ```
//!
//! What waits is counted as what it takes of memory: the capacity of buffers, and the worst share of a node of the
//! tree, not only the bytes of the peer. One tree serves all streams, so that a stream without waiting fragments
//! costs nothing here.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::ops::Bound;

use bytes::Bytes;

use crate::types::ids::StreamId;

/// What an entry of the tree takes: its nodes may be less than half full, and nodes above them come on top.
const ENTRY_OVERHEAD: usize = 5 * size_of::<(Place, Waiting)>() / 2;

/// What a run takes beside its bytes and its entry.
const RUN_OVERHEAD: usize = size_of::<Run>() + ALLOCATION;

/// What a piece of a run takes beside its bytes: the queue of pieces may be half empty.
const PIECE_OVERHEAD: usize = 2 * size_of::<Bytes>() + ALLOCATION;

/// What the allocator keeps for itself.
const ALLOCATION: usize = 16;

/// What a fragment may take beside its bytes, at the most.
pub(super) const MAX_OVERHEAD: usize = ENTRY_OVERHEAD + RUN_OVERHEAD + PIECE_OVERHEAD;

/// One direction of messages: a stream's ordered ones, or its unordered ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lane(u32);

impl Lane {
    /// Above the stream's 16 bits, so that all unordered lanes are neighbours.
    const UNORDERED: u32 = 1 << 16;

    pub(super) fn ordered(stream: StreamId) -> Self {
        Lane(u32::from(stream.0))
    }

    pub(super) fn unordered(stream: StreamId) -> Self {
        Lane(u32::from(stream.0) | Self::UNORDERED)
    }

    fn next(self) -> Self {
        Lane(self.0 + 1)
    }
}

/// Where a fragment belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) lane: Lane,
    pub(super) message: u64,
    pub(super) index: u64,
}

impl Place {
    fn first_of(lane: Lane) -> Self {
        Place { lane, message: 0, index: 0 }
    }

    fn is_same_message(&self, other: &Place) -> bool {
        (self.lane, self.message) == (other.lane, other.message)
    }
}

/// One DATA or I-DATA chunk on its way into a message.
#[derive(Debug)]
pub(super) struct Fragment<'a> {
    pub(super) place: Place,
    pub(super) is_first: bool,
    pub(super) is_last: bool,
    /// Of the first fragment only: I-DATA carries it nowhere else.
    pub(super) ppid: u32,
    pub(super) payload: &'a [u8],
}

/// What memory a fragment may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    /// How long the message is expected to become, in bytes: a run that begins gets a buffer of this size.
    pub(super) expected: usize,
    /// How much a buffer may grow beyond what is needed now, in bytes.
    pub(super) growth: usize,
}

/// A message, or the part of one that can be handed out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) ppid: u32,
    pub(super) data: Bytes,
    pub(super) is_last: bool,
    /// The index behind it.
    pub(super) end: u64,
}

/// What waits at a place.
#[derive(Debug)]
enum Waiting {
    /// A message of one fragment.
    Whole { ppid: u32, data: Bytes },
    /// Fragments of a message.
    Run(Box<Run>),
}

impl Waiting {
    /// Memory that it takes, its entry in the tree included.
    fn cost(&self) -> usize {
        ENTRY_OVERHEAD
            + match self {
                Waiting::Whole { data, .. } => data.len() + ALLOCATION,
                Waiting::Run(run) => run.cost(),
            }
    }

    /// The part of its memory that is not yet used.
    fn reserve(&self) -> usize {
        match self {
            Waiting::Whole { .. } => 0,
            Waiting::Run(run) => run.head.capacity() - run.head.len(),
        }
    }

    fn is_first(&self) -> bool {
        match self {
            Waiting::Whole { .. } => true,
            Waiting::Run(run) => run.is_first,
        }
    }

    fn is_complete(&self) -> bool {
        match self {
            Waiting::Whole { .. } => true,
            Waiting::Run(run) => run.is_first && run.is_last,
        }
    }

    /// The index behind it, given where it begins.
    fn end(&self, place: &Place) -> u64 {
        match self {
            Waiting::Whole { .. } => place.index + 1,
            Waiting::Run(run) => run.end,
        }
    }
}

/// Neighbouring fragments of one message.
#[derive(Debug, Default)]
struct Run {
    is_first: bool,
    is_last: bool,
    ppid: u32,
    /// The index behind the last fragment.
    end: u64,
    /// The front, contiguous: grows while fragments arrive in order.
    head: Vec<u8>,
    /// What follows the front, when it did not arrive in order, or the front could not grow.
    more: VecDeque<Bytes>,
    /// Bytes of `more`.
    more_len: usize,
}

impl Run {
    fn start(&mut self, fragment: &Fragment<'_>, expected: usize) {
        self.is_first = fragment.is_first;
        self.is_last = fragment.is_last;
        self.ppid = fragment.ppid;
        self.end = fragment.place.index + 1;
        self.head.reserve_exact(expected.max(fragment.payload.len()));
        self.head.extend_from_slice(fragment.payload);
    }

    fn len(&self) -> usize {
        self.head.len() + self.more_len
    }

    fn cost(&self) -> usize {
        RUN_OVERHEAD + self.head.capacity() + self.more_len + self.more.len() * PIECE_OVERHEAD
    }

    /// Appends the fragment that follows. A slice would pin the whole slab that it was received in, so what
    /// waits is copied.
    fn append(&mut self, fragment: &Fragment<'_>, growth: usize) {
        let payload = fragment.payload;
        let (len, capacity) = (self.head.len(), self.head.capacity());
        let needed = len + payload.len();
        let doubled = needed.max(2 * capacity);
        if self.more.is_empty() && (needed <= capacity || doubled - needed <= growth) {
            if needed > capacity {
                self.head.reserve_exact(doubled - len);
            }
            self.head.extend_from_slice(payload);
        } else {
            self.push_back(Bytes::copy_from_slice(payload));
        }
        self.is_last = fragment.is_last;
        self.end = fragment.place.index + 1;
    }

    /// Puts the fragment that comes before in front.
    fn prepend(&mut self, fragment: &Fragment<'_>) {
        let head = std::mem::replace(&mut self.head, fragment.payload.to_vec());
        self.push_front(piece(head));
        self.is_first = fragment.is_first;
        self.ppid = fragment.ppid;
    }

    /// Appends a whole run, and leaves it empty. Whichever of the two is in fewer pieces moves, so that joining
    /// stays cheap.
    fn join(&mut self, next: &mut Run) {
        let head = piece(std::mem::take(&mut next.head));
        if self.more.len() <= next.more.len() {
            std::mem::swap(&mut self.more, &mut next.more);
            std::mem::swap(&mut self.more_len, &mut next.more_len);
            self.push_front(head);
            while let Some(piece) = next.more.pop_back() {
                self.push_front(piece);
            }
        } else {
            self.push_back(head);
            while let Some(piece) = next.more.pop_front() {
                self.push_back(piece);
            }
        }
        self.is_last = next.is_last;
        self.end = next.end;
    }

    fn push_front(&mut self, piece: Bytes) {
        self.more_len += piece.len();
        self.more.push_front(piece);
    }

    fn push_back(&mut self, piece: Bytes) {
        self.more_len += piece.len();
        self.more.push_back(piece);
    }

    /// All bytes of the run as one slice of exactly its length: no copy when everything arrived in order.
    fn take(&mut self) -> Part {
        let mut head = std::mem::take(&mut self.head);
        if !self.more.is_empty() {
            head.reserve_exact(self.more_len);
            for piece in std::mem::take(&mut self.more) {
                head.extend_from_slice(&piece);
            }
        }
        self.more_len = 0;
        Part { ppid: self.ppid, data: piece(head), is_last: self.is_last, end: self.end }
    }
}

/// Bytes without room behind them.
fn piece(bytes: Vec<u8>) -> Bytes {
    Bytes::from(bytes.into_boxed_slice())
}

/// All waiting fragments of an association.
#[derive(Debug, Default)]
pub(super) struct Runs {
    waiting: BTreeMap<Place, Waiting>,
    /// Memory that they take, in bytes.
    cost: usize,
    /// The part of it that is not yet used, in bytes.
    reserve: usize,
    /// The box of the last run that was handed out: messages that arrive one after the other share it.
    spare: Option<Box<Run>>,
}

impl Runs {
    /// Memory that the waiting fragments take, in bytes.
    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes a fragment in. When that completes its message, the place of the message is told, for
    /// [`take`](Self::take). `Err` when it overlaps what is there.
    pub(super) fn insert(
        &mut self,
        fragment: &Fragment<'_>,
        allowance: Allowance,
    ) -> Result<Option<Place>, Contradiction> {
        let place = fragment.place;
        let mut start = place;
        match self.previous(&place) {
            Some((at, end, _)) if at.is_same_message(&place) && end > place.index => {
                return Err(Contradiction);
            }
            Some((at, end, is_open))
                if at.is_same_message(&place) && end == place.index && is_open && !fragment.is_first =>
            {
                start = at;
                self.change(start, |run| run.append(fragment, allowance.growth));
            }
            _ => self.begin(fragment, allowance.expected),
        }
        self.join_next(start);
        let is_complete = self.waiting.get(&start).is_some_and(Waiting::is_complete);
        Ok(is_complete.then_some(start))
    }

    /// What begins at `place` or before it: where, the index behind it, and whether it may be continued.
    fn previous(&self, place: &Place) -> Option<(Place, u64, bool)> {
        let (at, waiting) = self.waiting.range(..=*place).next_back()?;
        let is_open = matches!(waiting, Waiting::Run(run) if !run.is_last);
        Some((*at, waiting.end(at), is_open))
    }

    /// Changes the run at `place`, and counts anew what it takes.
    fn change(&mut self, place: Place, change: impl FnOnce(&mut Run)) {
        let Some(waiting) = self.waiting.get_mut(&place) else { return };
        let (cost, reserve) = (waiting.cost(), waiting.reserve());
        if let Waiting::Run(run) = waiting {
            change(run);
        }
        self.cost = self.cost + waiting.cost() - cost;
        self.reserve = self.reserve + waiting.reserve() - reserve;
    }

    fn put(&mut self, place: Place, waiting: Waiting) {
        self.cost += waiting.cost();
        self.reserve += waiting.reserve();
        if let Some(former) = self.waiting.insert(place, waiting) {
            self.forget(&former);
        }
    }

    fn remove(&mut self, place: &Place) -> Option<Waiting> {
        let waiting = self.waiting.remove(place)?;
        self.forget(&waiting);
        Some(waiting)
    }

    fn forget(&mut self, waiting: &Waiting) {
        self.cost -= waiting.cost();
        self.reserve -= waiting.reserve();
    }

    /// A run of its own, or the front of the one that follows.
    fn begin(&mut self, fragment: &Fragment<'_>, expected: usize) {
        let place = fragment.place;
        if fragment.is_first && fragment.is_last {
            let data = Bytes::copy_from_slice(fragment.payload);
            return self.put(place, Waiting::Whole { ppid: fragment.ppid, data });
        }
        let behind = Place { index: place.index + 1, ..place };
        let is_front = !fragment.is_last
            && matches!(self.waiting.get(&behind), Some(Waiting::Run(run)) if !run.is_first);
        let run = match if is_front { self.remove(&behind) } else { None } {
            Some(Waiting::Run(mut run)) => {
                run.prepend(fragment);
                run
            }
            _ => {
                let mut run = self.spare.take().unwrap_or_default();
                run.start(fragment, expected);
                run
            }
        };
        self.put(place, Waiting::Run(run));
    }

    /// Joins the run at `start` with the one that begins where it ends.
    fn join_next(&mut self, start: Place) {
        let Some(Waiting::Run(run)) = self.waiting.get(&start) else { return };
        let behind = Place { index: run.end, ..start };
        let fits =
            !run.is_last && matches!(self.waiting.get(&behind), Some(Waiting::Run(next)) if !next.is_first);
        if fits && let Some(Waiting::Run(mut next)) = self.remove(&behind) {
            self.change(start, |run| run.join(&mut next));
            self.keep(next);
        }
    }

    /// Keeps an empty box for the next run.
    fn keep(&mut self, mut run: Box<Run>) {
        *run = Run::default();
        self.spare.get_or_insert(run);
    }

    /// Takes out what waits at `place`.
    pub(super) fn take(&mut self, place: &Place) -> Option<Part> {
        match self.remove(place)? {
            Waiting::Whole { ppid, data } => Some(Part { ppid, data, is_last: true, end: place.index + 1 }),
            Waiting::Run(mut run) => {
                let part = run.take();
                self.keep(run);
                Some(part)
            }
        }
    }

    /// What waits first in `lane`.
    fn first(&self, lane: Lane) -> Option<(Place, &Waiting)> {
        let (place, waiting) = self.waiting.range(Place::first_of(lane)..).next()?;
        (place.lane == lane).then_some((*place, waiting))
    }

    /// The lowest message of `lane` of which something is here.
    pub(super) fn first_message(&self, lane: Lane) -> Option<u64> {
        self.first(lane).map(|(place, _)| place.message)
    }

    /// Puts a complete message, which waits at `place` for its turn, before whatever contradicts it.
    pub(super) fn settle(&mut self, place: Place) {
        if place.index > 0
            && let Some(complete) = self.remove(&place)
        {
            self.put(Place { index: 0, ..place }, complete);
        }
    }

    /// Takes message `message` when it is complete and [settled](Self::settle). What contradicted it goes.
    pub(super) fn take_complete(&mut self, lane: Lane, message: u64) -> Option<Part> {
        let (place, waiting) = self.first(lane)?;
        if place.message != message || !waiting.is_complete() {
            return None;
        }
        let part = self.take(&place);
        self.drop_messages(lane, message);
        part
    }

    /// Takes the first run of `lane` when it belongs to `message` and begins at `index`, or with the message when
    /// `index` is `None`.
    pub(super) fn take_front(&mut self, lane: Lane, message: u64, index: Option<u64>) -> Option<Part> {
        let (place, waiting) = self.first(lane)?;
        let fits = place.message == message && index.map_or(waiting.is_first(), |i| i == place.index);
        if fits { self.take(&place) } else { None }
    }

    /// Drops what waits at the front of `lane`, as long as `gone` says so of its place, and of whether a message
    /// begins there.
    fn drop_front_while(&mut self, lane: Lane, gone: impl Fn(&Place, bool) -> bool) {
        while let Some((place, waiting)) = self.first(lane)
            && gone(&place, waiting.is_first())
        {
            self.remove(&place);
        }
    }

    /// Drops the messages of `lane` up to `last`.
    pub(super) fn drop_messages(&mut self, lane: Lane, last: u64) {
        self.drop_front_while(lane, |place, _| place.message <= last);
    }

    /// Drops everything of `lane`.
    pub(super) fn drop_lane(&mut self, lane: Lane) {
        self.drop_front_while(lane, |_, _| true);
    }

    /// Drops unordered fragments of all streams up to index `last`, and those behind it whose beginning is gone.
    pub(super) fn drop_unordered_up_to(&mut self, last: u64) {
        let mut from = Lane(Lane::UNORDERED);
        while let Some((&Place { lane, .. }, _)) = self.waiting.range(Place::first_of(from)..).next() {
            self.drop_front_while(lane, |place, is_first| {
                place.index <= last || (place.index == last + 1 && !is_first)
            });
            from = lane.next();
        }
    }

    /// Whether a run ends right before `place`, so that a fragment there would continue it.
    pub(super) fn has_end_at(&self, place: &Place) -> bool {
        let previous = self.waiting.range((Bound::Unbounded, Bound::Excluded(place))).next_back();
        previous.is_some_and(|(at, waiting)| at.is_same_message(place) && waiting.end(at) == place.index)
    }

    /// Bytes of the run that a fragment at `place` would continue: to refuse what grows too large.
    pub(super) fn len_at(&self, place: &Place) -> usize {
        match self.waiting.range(..=*place).next_back() {
            Some((at, Waiting::Run(run))) if at.is_same_message(place) => run.len(),
            _ => 0,
        }
    }

    /// Gives back memory that is not in use.
    pub(super) fn slim(&mut self) {
        self.spare = None;
        if self.waiting.is_empty() {
            // An empty tree keeps its root.
            self.waiting = BTreeMap::new();
        }
    }

    /// What buffers hold in reserve, in bytes, at the most.
    pub(super) fn reserve(&self) -> usize {
        self.reserve
    }

    /// Gives back what buffers hold in reserve.
    pub(super) fn shrink(&mut self) {
        for waiting in self.waiting.values_mut() {
            if let Waiting::Run(run) = waiting {
                run.head.shrink_to_fit();
            }
        }
        self.cost = self.waiting.values().map(Waiting::cost).sum();
        self.reserve = self.waiting.values().map(Waiting::reserve).sum();
    }
}

/// A fragment that overlaps another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Contradiction;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LANE: Lane = Lane(5);
    const FREE: Allowance = Allowance { expected: 0, growth: usize::MAX };

    /// Three times each number.
    static BYTES: [[u8; 3]; 64] = {
        let mut bytes = [[0; 3]; 64];
        let mut index = 0;
        while index < 64 {
            bytes[index as usize] = [index; 3];
            index += 1;
        }
        bytes
    };

    fn fragment(index: u64, count: u64) -> Fragment<'static> {
        Fragment {
            place: Place { lane: LANE, message: 7, index },
            is_first: index == 0,
            is_last: index + 1 == count,
            ppid: 53,
            payload: &BYTES[index as usize],
        }
    }

    #[test]
    fn overlapping_fragments_are_a_contradiction() {
        let mut runs = Runs::default();
        assert!(runs.insert(&fragment(0, 5), FREE).is_ok());
        assert!(runs.insert(&fragment(1, 5), FREE).is_ok());
        assert!(runs.insert(&fragment(1, 5), FREE).is_err());
        assert!(runs.insert(&fragment(0, 5), FREE).is_err());
    }

    #[test]
    fn runs_of_neighbouring_messages_do_not_join() {
        // Unordered DATA: two messages whose TSNs follow each other.
        let mut runs = Runs::default();
        let last = Fragment { is_first: false, is_last: true, ..fragment(4, 9) };
        let first = Fragment { is_first: true, is_last: false, ..fragment(5, 9) };
        assert!(runs.insert(&first, FREE).unwrap().is_none());
        assert!(runs.insert(&last, FREE).unwrap().is_none());
        assert_eq!(runs.waiting.len(), 2);
    }

    #[test]
    fn what_contradicts_a_complete_message_goes_with_it() {
        let mut runs = Runs::default();
        let stray = Fragment { is_first: true, is_last: false, ..fragment(2, 9) };
        assert!(runs.insert(&stray, FREE).unwrap().is_none());
        let whole = Fragment { is_first: true, is_last: true, ..fragment(8, 9) };
        let place = runs.insert(&whole, FREE).unwrap().unwrap();
        runs.settle(place);
        assert!(runs.take_complete(LANE, 7).is_some());
        assert!(runs.is_empty());
        assert_eq!(runs.cost(), 0);
    }

    #[test]
    fn a_buffer_that_may_not_grow_goes_on_in_pieces() {
        let mut runs = Runs::default();
        let tight = Allowance { expected: 0, growth: 0 };
        for index in 0..40 {
            let _ = runs.insert(&fragment(index, 40), tight).unwrap();
            let Some(Waiting::Run(run)) = runs.waiting.values().next() else { panic!() };
            assert_eq!(run.head.capacity() + run.more_len, run.len());
        }
        assert_eq!(runs.take_complete(LANE, 7).unwrap().data.len(), 120);
    }

    proptest! {
        #[test]
        fn any_order_gives_the_message(
            order in Just((0u64..40).collect::<Vec<_>>()).prop_shuffle(),
            expected in 0usize..200,
            growth in 0usize..200,
        ) {
            let mut runs = Runs::default();
            for (i, &index) in order.iter().enumerate() {
                let complete = runs.insert(&fragment(index, 40), Allowance { expected, growth }).unwrap();
                prop_assert_eq!(complete.is_some(), i == 39);
                let counted: usize = runs.waiting.values().map(Waiting::cost).sum();
                prop_assert_eq!(runs.cost(), counted);
                prop_assert_eq!(runs.reserve(), runs.waiting.values().map(Waiting::reserve).sum::<usize>());
                prop_assert!(runs.cost() >= 3 * (i + 1));
            }
            let part = runs.take_complete(LANE, 7).unwrap();
            let wanted: Vec<u8> = (0..40u8).flat_map(|b| [b; 3]).collect();
            prop_assert_eq!(&part.data[..], &wanted[..]);
            prop_assert!(runs.is_empty());
            prop_assert_eq!(runs.cost(), 0);
        }
    }
}
