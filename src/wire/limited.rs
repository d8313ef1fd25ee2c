//! Collections that a peer can fill, with a bound that cannot be forgotten.
//!
//! A queue bounds the bytes that it holds, each item's overhead included; a map bounds its entries. Both
//! refuse what does not fit and hand it back, so that the owner decides what is lost and counts it.

use std::collections::{BTreeMap, VecDeque};

/// A first-in, first-out queue whose items may take at most so many bytes in all.
#[derive(Debug)]
pub struct LimitedQueue<T> {
    items: VecDeque<(usize, T)>,
    bytes: usize,
    limit: usize,
}

impl<T> LimitedQueue<T> {
    /// What every item costs beyond its own bytes.
    pub const OVERHEAD: usize = size_of::<(usize, T)>();

    /// An empty queue for at most `limit` bytes, [`OVERHEAD`](Self::OVERHEAD) per item included.
    pub fn new(limit: usize) -> Self {
        LimitedQueue { items: VecDeque::new(), bytes: 0, limit }
    }

    /// Appends `item`, which holds `bytes` bytes of its own; hands it back when it does not fit.
    pub fn push(&mut self, bytes: usize, item: T) -> Result<(), T> {
        let cost = bytes.saturating_add(Self::OVERHEAD);
        if cost > self.limit - self.bytes {
            return Err(item);
        }
        self.bytes += cost;
        self.items.push_back((cost, item));
        Ok(())
    }

    /// Takes the oldest item.
    pub fn pop(&mut self) -> Option<T> {
        let (cost, item) = self.items.pop_front()?;
        self.bytes -= cost;
        Some(item)
    }

    /// Bytes held, overhead included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Number of items held.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Drops everything and gives the memory back.
    pub fn clear(&mut self) {
        self.items = VecDeque::new();
        self.bytes = 0;
    }
}

/// An ordered map that holds at most so many entries.
#[derive(Debug)]
pub struct LimitedMap<K, V> {
    entries: BTreeMap<K, V>,
    limit: usize,
}

impl<K: Ord, V> LimitedMap<K, V> {
    /// An empty map for at most `limit` entries.
    pub fn new(limit: usize) -> Self {
        LimitedMap { entries: BTreeMap::new(), limit }
    }

    /// Inserts or replaces; hands the value back when `key` is new and the map is full.
    pub fn insert(&mut self, key: K, value: V) -> Result<Option<V>, V> {
        if self.entries.len() >= self.limit && !self.entries.contains_key(&key) {
            return Err(value);
        }
        Ok(self.entries.insert(key, value))
    }

    /// The value of `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    /// The value of `key`, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key)
    }

    /// Removes `key` and hands out its value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key)
    }

    /// Keeps only the entries for which `keep` says yes.
    pub fn retain(&mut self, keep: impl FnMut(&K, &mut V) -> bool) {
        self.entries.retain(keep);
    }

    /// The entries in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter()
    }

    /// The values in key order, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.values_mut()
    }

    /// Whether no new key fits.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= self.limit
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_hands_the_item_back_and_counts_overhead() {
        let one = 10 + LimitedQueue::<u8>::OVERHEAD;
        let mut queue = LimitedQueue::new(2 * one);
        assert_eq!(queue.push(10, 1u8), Ok(()));
        assert_eq!(queue.push(10, 2), Ok(()));
        assert_eq!(queue.push(0, 3), Err(3));
        assert_eq!(queue.bytes(), 2 * one);
        assert_eq!(queue.pop(), Some(1));
        assert_eq!(queue.push(10, 3), Ok(()));
        queue.clear();
        assert_eq!((queue.len(), queue.bytes(), queue.pop()), (0, 0, None));
    }

    #[test]
    fn a_full_map_still_replaces() {
        let mut map = LimitedMap::new(1);
        assert_eq!(map.insert(1, 'a'), Ok(None));
        assert_eq!(map.insert(2, 'b'), Err('b'));
        assert_eq!(map.insert(1, 'c'), Ok(Some('a')));
        assert!(map.is_full());
    }
}
