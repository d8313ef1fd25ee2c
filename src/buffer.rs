//! The buffer pool: outgoing packets are written and sealed in place, in memory that comes back.
//!
//! A pool owns two slabs. A packet is written at the tail of one and split off; when the slab is full, the
//! other one is written again from its start, provided that all of its packets have been dropped by then. If
//! they have not, a slab twice the size takes its place, up to [`MAX_SLAB`]; an idle pool gives all but
//! [`MIN_SLAB`] back. In steady state nothing is allocated, and packets written one after another lie side by
//! side, so that a run of them can leave as one segmented datagram without a copy.

use bytes::BytesMut;

/// The slab of an idle connection: room for a connectivity check or a handshake packet.
pub const MIN_SLAB: usize = 512;
/// The largest slab: a full segmented datagram and as much again while it is on its way.
pub const MAX_SLAB: usize = 128 * 1024;

/// Hands out writable memory and takes it back when what was written is dropped.
#[derive(Debug, Default)]
pub struct Pool {
    /// The slab being written.
    current: Slab,
    /// The slab written before it, kept until its packets are gone.
    spare: Slab,
    /// Slabs allocated so far, for tests and statistics.
    allocations: u64,
}

#[derive(Debug, Default)]
struct Slab {
    /// The unwritten tail.
    tail: BytesMut,
    /// What the slab was allocated for.
    size: usize,
}

impl Slab {
    /// Whether the tail has room for `len` bytes, from the start again when all packets of the slab are gone.
    fn has_room(&mut self, len: usize) -> bool {
        self.tail.clear();
        self.tail.try_reclaim(len)
    }
}

impl Pool {
    /// An empty pool; the first use allocates.
    pub fn new() -> Self {
        Pool::default()
    }

    /// A tail with room for at least `len` bytes, empty, to be written and then [`split`](BytesMut::split) off.
    ///
    /// What was written and not split off is discarded by the next call.
    pub fn tail(&mut self, len: usize) -> &mut BytesMut {
        if !self.current.has_room(len) {
            self.turn(len);
        }
        &mut self.current.tail
    }

    /// Goes on to the other slab, or to a new one: as large as its fellow first, twice as large from then on.
    fn turn(&mut self, len: usize) {
        std::mem::swap(&mut self.current, &mut self.spare);
        let (other, fellow) = (&mut self.current, self.spare.size);
        if other.size < fellow || !other.has_room(len) {
            let size = if other.size < fellow { fellow } else { 2 * fellow };
            let size = size.clamp(MIN_SLAB, MAX_SLAB).max(len);
            *other = Slab { tail: BytesMut::with_capacity(size), size };
            self.allocations += 1;
        }
    }

    /// Goes back to the smallest slab: called when the connection has been quiet.
    pub fn shrink(&mut self) {
        if self.current.size > MIN_SLAB || self.spare.size > MIN_SLAB {
            *self = Pool { allocations: self.allocations, ..Pool::default() };
        }
    }

    /// Bytes of the current slab.
    pub fn size(&self) -> usize {
        self.current.size
    }

    /// Slabs allocated since the pool was made.
    pub fn allocations(&self) -> u64 {
        self.allocations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(pool: &mut Pool, len: usize) -> BytesMut {
        let tail = pool.tail(len);
        tail.resize(len, 0xab);
        tail.split()
    }

    #[test]
    fn steady_state_allocates_nothing() {
        let mut pool = Pool::new();
        for _ in 0..1000 {
            let packets: Vec<_> = (0..10).map(|_| packet(&mut pool, 1200)).collect();
            drop(packets);
        }
        // 1, 2, 4, 8, 16 KiB and so on: two of each at the most.
        assert!(pool.allocations() <= 12, "{} slabs", pool.allocations());
    }

    #[test]
    fn neighbours_join_without_a_copy() {
        let mut pool = Pool::new();
        let mut first = packet(&mut pool, 100);
        let second = packet(&mut pool, 100);
        assert_eq!(first.as_ptr().wrapping_add(100), second.as_ptr());
        first.unsplit(second);
        assert_eq!(first.len(), 200);
    }

    #[test]
    fn slabs_grow_to_their_maximum_and_shrink_when_idle() {
        let mut pool = Pool::new();
        let kept: Vec<_> = (0..1000).map(|_| packet(&mut pool, 1200)).collect();
        assert_eq!(pool.size(), MAX_SLAB);
        drop(kept);
        pool.shrink();
        drop(packet(&mut pool, 100));
        assert_eq!(pool.size(), MIN_SLAB);
    }

    #[test]
    fn unsplit_leftovers_are_discarded() {
        let mut pool = Pool::new();
        pool.tail(10).extend_from_slice(b"leftover");
        assert!(pool.tail(10).is_empty());
    }
}
