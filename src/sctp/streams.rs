//! A table of streams that have state: only those in use, never sized by a number from the wire.

use crate::types::ids::StreamId;

/// State by stream, in the order of ids. The stream used last is found without searching.
#[derive(Debug)]
pub(super) struct Streams<T> {
    entries: Vec<(StreamId, T)>,
    last: usize,
}

impl<T> Default for Streams<T> {
    fn default() -> Self {
        Streams { entries: Vec::new(), last: 0 }
    }
}

impl<T> Streams<T> {
    fn find(&self, stream: StreamId) -> Result<usize, usize> {
        match self.entries.get(self.last) {
            Some((id, _)) if *id == stream => Ok(self.last),
            _ => self.entries.binary_search_by_key(&stream, |(id, _)| *id),
        }
    }

    pub(super) fn get(&self, stream: StreamId) -> Option<&T> {
        self.find(stream).ok().and_then(|i| self.entries.get(i)).map(|(_, state)| state)
    }

    pub(super) fn get_mut(&mut self, stream: StreamId) -> Option<&mut T> {
        let at = self.find(stream).ok()?;
        self.last = at;
        self.entries.get_mut(at).map(|(_, state)| state)
    }

    /// The state of `stream`, made by `make` when there is none; `None` when `limit` streams have state already.
    pub(super) fn get_or_insert(
        &mut self,
        stream: StreamId,
        limit: usize,
        make: impl FnOnce() -> T,
    ) -> Option<&mut T> {
        let at = match self.find(stream) {
            Ok(at) => at,
            Err(_) if self.entries.len() >= limit => return None,
            Err(at) => {
                // Most connections use one stream or two, and state is not small.
                if self.entries.len() < 4 {
                    self.entries.reserve_exact(1);
                }
                self.entries.insert(at, (stream, make()));
                at
            }
        };
        self.last = at;
        self.entries.get_mut(at).map(|(_, state)| state)
    }

    pub(super) fn remove(&mut self, stream: StreamId) -> Option<T> {
        let at = self.find(stream).ok()?;
        let (_, state) = self.entries.remove(at);
        if self.entries.is_empty() {
            self.entries = Vec::new();
        }
        Some(state)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (StreamId, &mut T)> {
        self.entries.iter_mut().map(|(id, state)| (*id, state))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (StreamId, &T)> {
        self.entries.iter().map(|(id, state)| (*id, state))
    }

    /// Memory that the table takes, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<(StreamId, T)>()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_found_made_and_limited() {
        let mut streams = Streams::default();
        for id in [9, 3, 5] {
            assert_eq!(streams.get_or_insert(StreamId(id), 3, || id), Some(&mut { id }));
        }
        assert_eq!(streams.get_or_insert(StreamId(4), 3, || 4), None);
        assert_eq!(streams.get(StreamId(5)), Some(&5));
        assert_eq!(streams.remove(StreamId(3)), Some(3));
        assert_eq!(streams.get_mut(StreamId(9)), Some(&mut 9));
        assert_eq!(streams.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [5, 9]);
    }
}
