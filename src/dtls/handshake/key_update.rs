//! KeyUpdate: the sender takes new keys (RFC 8446 §4.6.3, RFC 9147 §8).

use crate::wire::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// Whether the other side is to take new keys too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUpdate {
    /// Only the sender does.
    NotRequested,
    /// Both do.
    Requested,
}

impl KeyUpdate {
    /// Reads the body of the message.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body, "KeyUpdate");
        let update = match r.u8()? {
            0 => KeyUpdate::NotRequested,
            1 => KeyUpdate::Requested,
            _ => return Err(r.malformed()),
        };
        r.finish()?;
        Ok(update)
    }

    /// Writes the body.
    pub fn emit(self, w: &mut Writer<'_>) {
        w.u8(match self {
            KeyUpdate::NotRequested => 0,
            KeyUpdate::Requested => 1,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::written;
    use super::*;

    #[test]
    fn key_updates_round_trip_and_odd_ones_are_refused() {
        for update in [KeyUpdate::NotRequested, KeyUpdate::Requested] {
            assert_eq!(KeyUpdate::parse(&written(|w| update.emit(w))), Ok(update));
        }
        for odd in [&[][..], &[2], &[0, 0]] {
            assert!(KeyUpdate::parse(odd).is_err());
        }
    }
}
