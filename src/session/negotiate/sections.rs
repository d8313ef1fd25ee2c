//! The media sections of a session: which there are, in which order, and which share the bundle.

use std::collections::{BTreeMap, BTreeSet};

use crate::sdp::{Description, MediaSection};
use crate::session::negotiate::error::NegotiationError;
use crate::session::negotiate::local_media::LocalMedia;
use crate::session::negotiate::transceivers::TransceiverId;
use crate::types::ids::Mid;

/// A section as it was last agreed upon, or is offered. Its place is its index, for good (RFC 3264 §8).
#[derive(Debug, Clone)]
pub(super) struct Section {
    /// `None` when the peer's first offer did not give one.
    pub(super) mid: Option<Mid>,
    /// What stands first in `m=`.
    pub(super) kind: String,
    pub(super) protocol: String,
    /// The formats; of a section that is turned down the first is enough (RFC 3264 §6).
    pub(super) formats: String,
    /// False when it is turned down; its place may be used again (RFC 8829 §5.2.2).
    pub(super) is_active: bool,
    /// What is said about RTP, in a section of audio or video.
    pub(super) media: Option<LocalMedia>,
}

impl Section {
    pub(super) fn data(mid: Mid) -> Self {
        Section {
            mid: Some(mid),
            kind: "application".to_owned(),
            protocol: "UDP/DTLS/SCTP".to_owned(),
            formats: "webrtc-datachannel".to_owned(),
            is_active: true,
            media: None,
        }
    }

    pub(super) fn media(mid: Mid, media: LocalMedia) -> Self {
        Section {
            mid: Some(mid),
            kind: media.kind.name().to_owned(),
            protocol: "UDP/TLS/RTP/SAVPF".to_owned(),
            formats: "0".to_owned(),
            is_active: true,
            media: Some(media),
        }
    }

    /// What a peer's section becomes when it is, or is not, accepted.
    pub(super) fn of(section: &MediaSection<'_>, mid: Option<Mid>, is_active: bool) -> Self {
        let formats = if is_active { section.formats } else { section.formats().next().unwrap_or("0") };
        Section {
            mid,
            kind: section.kind.name().to_owned(),
            protocol: section.protocol.to_owned(),
            formats: formats.to_owned(),
            is_active,
            media: None,
        }
    }

    pub(super) fn is_data(&self) -> bool {
        self.kind == "application"
    }

    /// Whose section this is, while it is active.
    pub(super) fn transceiver(&self) -> Option<TransceiverId> {
        self.media.as_ref().filter(|_| self.is_active).map(|media| media.transceiver)
    }
}

/// Whether a section is one of data channels (RFC 8841 §4, and its drafts).
pub(super) fn is_data(section: &MediaSection<'_>) -> bool {
    let legacy =
        || section.is_legacy_sctp() && section.sctp.map.is_some_and(|map| map.contains("webrtc-datachannel"));
    section.kind.name() == "application"
        && section.is_sctp()
        && (section.formats().any(|format| format == "webrtc-datachannel") || legacy())
}

/// How the sections of a description are named and bundled.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) mids: Vec<Option<Mid>>,
    /// The sections of each bundle, in the order of the group, each section at most once.
    bundles: Vec<Vec<usize>>,
}

impl Layout {
    pub(super) fn read(description: &Description<'_>) -> Result<Self, NegotiationError> {
        let mut by_mid = BTreeMap::new();
        let mut mids = Vec::with_capacity(description.media.len());
        for (section, media) in description.media.iter().enumerate() {
            let mid = match media.mid {
                Some(text) => Some(Mid::new(text).ok_or(NegotiationError::BadMid { section })?),
                None => None,
            };
            if let Some(text) = media.mid
                && by_mid.insert(text, section).is_some()
            {
                return Err(NegotiationError::DuplicateMid { section });
            }
            mids.push(mid);
        }
        let mut seen = BTreeSet::new();
        let bundles = description.groups.iter().filter(|group| group.semantics == "BUNDLE").map(|group| {
            // RFC 9143 §7.1: a section is in one bundle at most. What is no section's name is passed over.
            group.mids().filter_map(|mid| by_mid.get(mid).copied()).filter(|i| seen.insert(*i)).collect()
        });
        let bundles = bundles.collect();
        Ok(Layout { mids, bundles })
    }

    /// Of the sections that are `acceptable` those that share one transport, the tagged one first; and whether
    /// the peer has bundled them.
    pub(super) fn bundle(&self, description: &Description<'_>, acceptable: &[bool]) -> (Vec<usize>, bool) {
        let is_acceptable = |i: &usize| acceptable.get(*i).copied().unwrap_or(false);
        let Some(group) = self.bundles.iter().find(|group| group.iter().any(is_acceptable)) else {
            // RFC 8829 §5.3.1, policy must-bundle: without a group, the first one only.
            let first = acceptable.iter().position(|acceptable| *acceptable);
            return (first.into_iter().collect(), false);
        };
        let mut bundle: Vec<usize> = group.iter().copied().filter(is_acceptable).collect();
        // RFC 9143 §7.3.1: the tagged section is the first that is accepted and has a port.
        let tag = bundle.iter().position(|i| description.media[*i].port != 0).unwrap_or(0);
        bundle[..=tag].rotate_right(1);
        (bundle, true)
    }

    /// Which of the `offered` sections an answer takes, and their bundle, the tagged one first. All that are taken
    /// are in it.
    pub(super) fn answered(
        &self,
        answer: &Description<'_>,
        offered: &[Section],
    ) -> Result<(Vec<bool>, Vec<usize>), NegotiationError> {
        let accepted: Vec<bool> = answer.media.iter().map(|section| section.port != 0).collect();
        let taken = || accepted.iter().enumerate().filter(|(_, accepted)| **accepted).map(|(i, _)| i);
        if let Some(section) = taken().find(|i| !offered[*i].is_active) {
            return Err(NegotiationError::NotOffered { section });
        }
        let (bundle, _) = self.bundle(answer, &accepted);
        match taken().find(|i| !bundle.contains(i)) {
            Some(section) => Err(NegotiationError::NotBundled { section }),
            None => Ok((accepted, bundle)),
        }
    }
}

/// Checks that the sections of `description` go on from `sections` (RFC 3264 §8, RFC 8829 §5.10).
pub(super) fn check_continuity(
    sections: &[Section],
    description: &Description<'_>,
    layout: &Layout,
) -> Result<(), NegotiationError> {
    for (section, (before, (now, mid))) in
        sections.iter().zip(description.media.iter().zip(&layout.mids)).enumerate()
    {
        // RFC 8829 §5.2.2: the place of a section that was turned down may be taken by any other.
        if !before.is_active {
            continue;
        }
        if before.kind != now.kind.name() {
            return Err(NegotiationError::KindChanged { section });
        }
        if let (Some(before), Some(now)) = (before.mid, *mid)
            && before != now
        {
            return Err(NegotiationError::MidChanged { section });
        }
    }
    Ok(())
}

/// Puts a new section where one was turned down, or behind the others (RFC 8829 §5.2.2).
pub(super) fn add(sections: &mut Vec<Section>, make: impl FnOnce(Mid) -> Section) {
    let section = make(fresh_mid(sections));
    match sections.iter_mut().find(|section| !section.is_active) {
        Some(slot) => *slot = section,
        None => sections.push(section),
    }
}

/// The sections of an offer, of which those in `bundle` are accepted.
pub(super) fn taken_over(offer: &Description<'_>, layout: &Layout, bundle: &[usize]) -> Vec<Section> {
    let mut is_active = vec![false; offer.media.len()];
    bundle.iter().for_each(|i| is_active[*i] = true);
    let sections = offer.media.iter().zip(&layout.mids).zip(is_active);
    sections.map(|((section, mid), is_active)| Section::of(section, *mid, is_active)).collect()
}

/// Gives a name to every active section that has none.
pub(super) fn name_all(sections: &mut [Section]) {
    for i in 0..sections.len() {
        if sections[i].is_active && sections[i].mid.is_none() {
            sections[i].mid = Some(fresh_mid(sections));
        }
    }
}

/// The bundle of an offer: all active sections, led by the tagged one, which stays it as long as it is there
/// (RFC 9143 §7.5).
pub(super) fn offered_bundle(sections: &[Section], tag_before: Option<usize>) -> Vec<usize> {
    let mut bundle: Vec<usize> = (0..sections.len()).filter(|i| sections[*i].is_active).collect();
    if let Some(at) = bundle.iter().position(|i| Some(*i) == tag_before) {
        bundle[..=at].rotate_right(1);
    }
    bundle
}

/// A name that no section has: the first free number, counted from how many sections there are.
fn fresh_mid(sections: &[Section]) -> Mid {
    let taken: BTreeSet<&str> = sections.iter().filter_map(|s| s.mid.as_ref()).map(Mid::as_str).collect();
    let free = (sections.len()..).map(|n| n.to_string()).find(|text| !taken.contains(text.as_str()));
    // There are fewer sections than numbers, and a number is printable and short.
    free.and_then(|text| Mid::new(&text)).expect("a free number among more numbers than sections")
}
