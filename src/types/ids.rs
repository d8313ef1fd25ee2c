//! Identifiers that are more than numbers.

/// An SCTP stream, which is also the id of a data channel (RFC 8831 §6.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u16);

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// An RTP synchronization source (RFC 3550 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ssrc(pub u32);

/// An RTP payload type, 0 to 127 (RFC 3550 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pt(u8);

impl Pt {
    /// The payload type `value`; `None` above 127.
    pub fn new(value: u8) -> Option<Self> {
        (value < 128).then_some(Pt(value))
    }

    /// The number.
    pub fn value(self) -> u8 {
        self.0
    }
}

macro_rules! short_text {
    ($(#[$doc:meta])* $name:ident, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name {
            len: u8,
            bytes: [u8; $max],
        }

        impl $name {
            /// The longest identifier held, in bytes.
            pub const MAX: usize = $max;

            /// The identifier `text`; `None` when it is empty, too long, or holds what is not printable ASCII.
            pub fn new(text: &str) -> Option<Self> {
                let bytes = text.as_bytes();
                if bytes.is_empty() || bytes.len() > $max || !bytes.iter().all(u8::is_ascii_graphic) {
                    return None;
                }
                let mut held = [0; $max];
                held[..bytes.len()].copy_from_slice(bytes);
                Some($name { len: bytes.len() as u8, bytes: held })
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                // Only printable ASCII is ever stored.
                std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or("")
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({})", stringify!($name), self.as_str())
            }
        }
    };
}

short_text! {
    /// The identification of a media section (RFC 5888 §4), at most 32 bytes here.
    Mid, 32
}
short_text! {
    /// The identification of an RTP stream within a media section (RFC 8851 §4), at most 32 bytes here.
    Rid, 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_hold_printable_text_of_bounded_length() {
        assert_eq!(Mid::new("audio").unwrap().as_str(), "audio");
        assert_eq!(Mid::new(&"x".repeat(32)).unwrap().as_str().len(), 32);
        assert!(Mid::new(&"x".repeat(33)).is_none());
        assert!(Rid::new("").is_none());
        assert!(Rid::new("a b").is_none());
    }

    #[test]
    fn payload_types_end_at_127() {
        assert_eq!(Pt::new(127).map(Pt::value), Some(127));
        assert_eq!(Pt::new(128), None);
    }
}
