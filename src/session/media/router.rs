//! Which stream a packet belongs to (RFC 9143 §9.2, RFC 8852, RFC 8858).
//!
//! ```text
//!  SSRC known?  ──yes──> its stream                                  (nearly every packet)
//!     │ no
//!  MID element? ──known──> that section, and within it by RID
//!     │ none  └─unknown──> dropped
//!  SSRC signalled (a=ssrc)? ──> its section
//!     │ no
//!  payload type of one section only? ──> that section
//!     └ dropped
//! ```

use crate::rtp::elements::Elements;
use crate::rtp::ext::{Ids, Kind, text};
use crate::types::ids::{Mid, Pt, Rid, Ssrc};

/// Where the streams of an SSRC are, ordered, with a memory of the last one asked for.
#[derive(Debug, Default)]
pub(super) struct Sources {
    entries: Vec<(Ssrc, u32)>,
    last: usize,
}

impl Sources {
    /// What `ssrc` stands for.
    pub(super) fn find(&mut self, ssrc: Ssrc) -> Option<u32> {
        if let Some((held, value)) = self.entries.get(self.last)
            && *held == ssrc
        {
            return Some(*value);
        }
        let at = self.entries.binary_search_by_key(&ssrc, |(held, _)| *held).ok()?;
        self.last = at;
        self.entries.get(at).map(|(_, value)| *value)
    }

    pub(super) fn insert(&mut self, ssrc: Ssrc, value: u32) {
        match self.entries.binary_search_by_key(&ssrc, |(held, _)| *held) {
            Ok(at) => {
                if let Some(entry) = self.entries.get_mut(at) {
                    entry.1 = value;
                }
            }
            Err(at) => self.entries.insert(at, (ssrc, value)),
        }
    }

    pub(super) fn remove(&mut self, ssrc: Ssrc) {
        if let Ok(at) = self.entries.binary_search_by_key(&ssrc, |(held, _)| *held) {
            self.entries.remove(at);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Ssrc, u32)> + '_ {
        self.entries.iter().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// What the header extensions of one packet say to the transport.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Marks<'a> {
    pub(super) mid: Option<&'a str>,
    pub(super) rid: Option<&'a str>,
    pub(super) repaired_rid: Option<&'a str>,
    pub(super) transport_sequence: Option<&'a [u8]>,
}

impl<'a> Marks<'a> {
    /// Walks the elements once.
    pub(super) fn read(elements: Elements<'a>, ids: &Ids) -> Self {
        let mut marks = Marks::default();
        for element in elements {
            match ids.kind(element.id) {
                Some(Kind::Mid) => marks.mid = text(element.data),
                Some(Kind::Rid) => marks.rid = text(element.data),
                Some(Kind::RepairedRid) => marks.repaired_rid = text(element.data),
                Some(Kind::TransportSequence) => marks.transport_sequence = Some(element.data),
                _ => {}
            }
        }
        marks
    }
}

/// The tables beside that of known streams; made anew by each exchange of descriptions.
#[derive(Debug, Default)]
pub(super) struct Router {
    mids: Vec<(Mid, u16)>,
    /// Sources that were signalled, and the section of each.
    pub(super) signalled: Sources,
    /// The section that alone has a payload type.
    payload_types: Vec<(Pt, Owner)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Line(u16),
    Several,
}

/// Why a packet belongs to no section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Nowhere;

impl Router {
    pub(super) fn add_mid(&mut self, mid: Mid, line: u16) {
        self.mids.push((mid, line));
    }

    pub(super) fn add_payload_type(&mut self, pt: Pt, line: u16) {
        match self.payload_types.iter_mut().find(|(held, _)| *held == pt) {
            Some((_, owner)) if *owner != Owner::Line(line) => *owner = Owner::Several,
            Some(_) => {}
            None => self.payload_types.push((pt, Owner::Line(line))),
        }
    }

    /// The section of a packet whose stream is not known.
    pub(super) fn line(&mut self, marks: &Marks<'_>, ssrc: Ssrc, pt: Pt) -> Result<u16, Nowhere> {
        if let Some(mid) = marks.mid {
            // RFC 9143 §9.2: a MID that is not known yet drops the packet.
            let found = self.mids.iter().find(|(held, _)| held.as_str() == mid);
            return found.map(|(_, line)| *line).ok_or(Nowhere);
        }
        if let Some(line) = self.signalled.find(ssrc).and_then(|line| u16::try_from(line).ok()) {
            return Ok(line);
        }
        match self.payload_types.iter().find(|(held, _)| *held == pt) {
            Some((_, Owner::Line(line))) => Ok(*line),
            _ => Err(Nowhere),
        }
    }

    /// The section called `mid`.
    pub(super) fn line_of_mid(&self, mid: &str) -> Option<u16> {
        self.mids.iter().find(|(held, _)| held.as_str() == mid).map(|(_, line)| *line)
    }
}

/// The rid that a mark names, as far as it is one that was agreed.
pub(super) fn known_rid(mark: Option<&str>, agreed: &[Rid]) -> Option<Rid> {
    let mark = mark?;
    agreed.iter().copied().find(|rid| rid.as_str() == mark)
}
