//! Session descriptions: text to typed model and back (RFC 8866), nothing else.
//!
//! ```text
//! text --Lines--> lines --parse--> Description<'text> --emit--> text
//! ```
//!
//! [`Description`] borrows every word from its text and is made in one pass. [`Offer`] and [`Answer`] own a text
//! that is known to parse; reading it again costs about as much as copying a model would, so no model is kept.
//! What the values mean in an offer/answer exchange is the session's business, not this room's.
//!
//! A peer decides what stands in a description, so everything in it has a bound ([`MAX_LEN`] and the others), and
//! no number in it is ever used as an index.

mod emit;
mod error;
mod lines;
mod model;
mod parse;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

pub use error::{ParseError, Problem};
pub use model::{
    Attribute, Description, Extension, ExtraLine, Feedback, FormatParameters, Group, MediaKind, MediaSection,
    Msid, Origin, Parameters, RidDirection, RidLine, Rtp, RtpMap, Sctp, Simulcast, SimulcastRid,
    SimulcastStreams, SsrcGroup, SsrcLine, Transport,
};

/// The longest text that is read, in bytes.
pub const MAX_LEN: usize = 1 << 20;
/// The most lines in a text, empty ones included.
pub const MAX_LINES: usize = 20_000;
/// The most media sections.
pub const MAX_SECTIONS: usize = 1_000;
/// The most attributes and other lines before the first section, and in each section, candidates aside.
pub const MAX_ATTRIBUTES: usize = 2_000;
/// The most candidates in a section.
pub const MAX_CANDIDATES: usize = 250;
/// The most fingerprints in one place.
pub const MAX_FINGERPRINTS: usize = 8;
/// The most `a=rid` lines in a section.
pub const MAX_RIDS: usize = 64;
/// The most simulcast streams of one direction, alternatives counted.
pub const MAX_SIMULCAST: usize = 64;

macro_rules! owned_description {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name {
            /// Parses, always.
            text: String,
        }

        impl $name {
            /// The text, as it was given.
            pub fn as_str(&self) -> &str {
                &self.text
            }

            /// The text as typed values.
            pub fn description(&self) -> Description<'_> {
                // `text` was parsed when `self` was made, and parsing depends on nothing else.
                Description::parse(&self.text).unwrap_or_default()
            }

            /// Writes a model. The text is read again, so that what a value of several lines, or too many of
            /// them, would do is an error here and not at the peer.
            pub fn from_model(description: &Description<'_>) -> Result<Self, ParseError> {
                $name::try_from(description.emit())
            }
        }

        impl FromStr for $name {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, ParseError> {
                Description::parse(text)?;
                Ok($name { text: text.to_owned() })
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseError;

            fn try_from(text: String) -> Result<Self, ParseError> {
                Description::parse(&text)?;
                Ok($name { text })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text)
            }
        }

        impl fmt::Debug for $name {
            /// Without the text, which holds the ICE password.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("bytes", &self.text.len()).finish_non_exhaustive()
            }
        }
    };
}

owned_description! {
    /// A description that asks (RFC 3264 §5); read it with [`str::parse`], write it with [`ToString`].
    Offer
}
owned_description! {
    /// A description that replies to an [`Offer`] (RFC 3264 §6).
    Answer
}
