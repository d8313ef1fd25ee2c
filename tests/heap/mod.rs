//! An allocator that counts, per thread: what a test holds, and how often it asked.
//!
//! Include it with `mod heap;`, and name it the global allocator:
//! `#[global_allocator] static HEAP: heap::Counting = heap::Counting;`

// The one place outside of the crate's own code that needs `unsafe`: an allocator cannot be written without.
#![allow(unsafe_code, dead_code, unreachable_pub)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, with an eye on it.
pub struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn note(change: isize) {
    // A thread that is going away is not counted any more.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

fn count() {
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call is handed on to the system's allocator as it came; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize);
        count();
        // SAFETY: the caller keeps the contract of `GlobalAlloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        note(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size as isize - layout.size() as isize);
        count();
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// Bytes that this thread holds.
pub fn live() -> isize {
    LIVE.get()
}

/// Allocations that this thread made so far.
pub fn allocations() -> u64 {
    ALLOCATIONS.get()
}

/// How many bytes `act` leaves behind, and how many it held at its worst.
pub fn measure<T>(act: impl FnOnce() -> T) -> (T, isize, isize) {
    let before = live();
    PEAK.set(before);
    let result = act();
    (result, live() - before, PEAK.get() - before)
}
