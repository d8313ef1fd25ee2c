//! What becomes of a packet for one viewer.

use crate::payload::{vp8, vp9};

/// What is to be done with a packet for one viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'v> {
    /// The viewer does not get it. No number is spent.
    Drop,
    /// The viewer gets it, rewritten.
    Forward(Rewrite<'v>),
    /// The viewer does not get it, but a number was left for it when it was missing: send a packet without
    /// payload and without marker under this number.
    Fill {
        /// The sequence number without wraps.
        sequence: u64,
        /// The time stamp.
        timestamp: u32,
    },
}

/// What is changed in a packet for one viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewrite<'v> {
    /// The sequence number without wraps: the roll-over counter follows from it.
    pub sequence: u64,
    /// The time stamp.
    pub timestamp: u32,
    /// The marker bit.
    pub marker: bool,
    /// What is written over numbers within the payload.
    pub numbers: Numbers,
    /// The data of the dependency descriptor element, in place of that of the packet; `None` when it has none.
    pub dependency: Option<&'v [u8]>,
}

impl Rewrite<'_> {
    /// A packet that keeps its payload: audio, or a codec whose payload has no numbers.
    pub fn plain(sequence: u64, timestamp: u32, marker: bool) -> Self {
        Rewrite { sequence, timestamp, marker, numbers: Numbers::Keep, dependency: None }
    }
}

/// Numbers within the payload that are written anew, in place: the payload's length never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Numbers {
    /// There are none.
    #[default]
    Keep,
    /// Picture and base layer numbers of a VP8 payload (RFC 7741 §4.2), where it has them.
    Vp8 {
        /// The picture's number, 15 bits.
        picture: u16,
        /// The base layer's number.
        tl0: u8,
    },
    /// Picture and base layer numbers of a VP9 payload (RFC 9628 §4.2), where it has them.
    Vp9 {
        /// The picture's number, 15 bits.
        picture: u16,
        /// The base layer's number.
        tl0: u8,
    },
}

impl Numbers {
    /// Writes the numbers over those of `payload`.
    pub fn apply(self, payload: &mut [u8]) {
        match self {
            Numbers::Keep => {}
            Numbers::Vp8 { picture, tl0 } => vp8::renumber(payload, picture, tl0),
            Numbers::Vp9 { picture, tl0 } => vp9::renumber(payload, picture, tl0),
        }
    }
}
