//! What a forwarder needs to know of media: which packets each viewer gets, and under which numbers.
//!
//! ```text
//!  packet of a sender ── Source::read ──> Incoming         read once, for all viewers
//!                                            │
//!                      ┌─────────────────────┼──────────────────────┐
//!               Viewer::handle_packet   Viewer::handle_packet   Viewer::handle_packet
//!                      │                     │                      │
//!                 Forward(Rewrite)         Drop               Forward(Rewrite)
//! ```
//!
//! A [`Source`] is one track of a sender: up to [`MAX_ENCODINGS`] encodings of it (simulcast), each of which may
//! have spatial and temporal layers (SVC). A [`Viewer`] is one receiver of it. To the viewer the track looks like
//! one stream that one encoder made: sequence numbers, time stamps and picture numbers go on when the layers
//! change, and layers change only where a decoder can follow:
//!
//! | change | happens at |
//! |---|---|
//! | another encoding, or the first packet, or the first one after a pause | the start of a key frame |
//! | fewer temporal layers | the next picture |
//! | more temporal layers | a picture that its sender marks as a switching point, one layer at a time |
//! | fewer spatial layers | the next picture; AV1: a frame that the dependency descriptor marks |
//! | more spatial layers | a key frame; AV1: a frame that the dependency descriptor marks |
//!
//! What the sender lost stays lost: each packet that is missing on the way here leaves one number free on the way
//! to the viewer, and a late packet takes the number that was left for it. When a late packet turns out to belong
//! to a layer that the viewer does not get, [`Verdict::Fill`] fills its number with an empty packet, so that the
//! viewer asks for it no more. No number is ever used twice.
//!
//! [`Rates`] measures what the layers cost, and [`Allocation`] chooses layers for a viewer's bit rate.
//!
//! Where numbers are kept: VP8 pictures are numbered without the dropped ones (RFC 7741 §4.2). VP9 pictures and
//! AV1 frames keep the distances between their numbers, because references are told as distances (RFC 9628 §4.2,
//! RTP payload format for AV1 §A.8.2); only where another encoding takes over are they moved.

mod allocation;
mod layers;
mod past;
mod rates;
mod rewrite;
mod source;
mod timeline;
mod viewer;

pub use allocation::{Allocation, AllocationConfig, Offer, Track};
pub use rates::Rates;
pub use rewrite::{Numbers, Rewrite, Verdict};
pub use source::{Arrived, Incoming, Source, Unreadable};
pub use viewer::{Start, Viewer, ViewerStats};

/// Encodings of one track at most.
pub const MAX_ENCODINGS: usize = 4;

/// A layer of a track: what a viewer gets, all lower layers of the same encoding included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Layer {
    /// Which simulcast encoding, 0 being the lowest: below [`MAX_ENCODINGS`].
    pub encoding: u8,
    /// The highest spatial layer within it, 0 being the lowest.
    pub spatial: u8,
    /// The highest temporal layer within it, 0 being the lowest.
    pub temporal: u8,
}

impl Layer {
    /// All that an encoding has.
    pub const fn all_of(encoding: u8) -> Layer {
        Layer { encoding, spatial: u8::MAX, temporal: u8::MAX }
    }
}

// A test may look at the clock once, for a time to start from.
#[cfg(test)]
mod tests;
