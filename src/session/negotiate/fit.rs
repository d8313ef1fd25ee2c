//! As what an offered section can be taken (RFC 8829 §5.3.1).

use crate::sdp::{Description, MediaSection};
use crate::session::negotiate::codecs::Format;
use crate::session::negotiate::sections::{Section, is_data};
use crate::session::negotiate::transceivers::{MAX_TRANSCEIVERS, Transceivers};
use crate::types::codec::MediaType;

/// As what an offered section can be taken.
#[derive(Debug)]
pub(super) enum Fit {
    No,
    Data,
    /// With these formats, which both sides speak.
    Media(MediaType, Vec<Format>),
}

/// As what each of the offered sections could be taken, were it alone. `before` are those agreed upon before.
pub(super) fn fits(offer: &Description<'_>, before: &[Section], transceivers: &Transceivers) -> Vec<Fit> {
    // There is one SCTP association, for the section that has it, or else the first that asks.
    let is_offered = |i: &usize| offer.media.get(*i).is_some_and(|s| !s.is_rejected() && is_data(s));
    let established = before.iter().position(|s| s.is_active && s.is_data()).filter(is_offered);
    let data = established.or_else(|| (0..offer.media.len()).find(is_offered));
    let fit = |(i, section): (usize, &MediaSection<'_>)| {
        if Some(i) == data {
            return Fit::Data;
        }
        let Some(kind) = MediaType::from_name(section.kind.name()) else { return Fit::No };
        let owner = before.get(i).and_then(Section::transceiver);
        let is_stopped = owner.is_some_and(|id| transceivers.is_stopped(id));
        // RFC 8829 §5.3.1, policy require: RTP and RTCP share a port, or there is no section.
        // A peer that has sections come and go for ever is turned down some day.
        let is_full = owner.is_none() && transceivers.len() + i >= MAX_TRANSCEIVERS;
        if section.is_rejected() || is_stopped || is_full || !section.is_rtp() || !section.rtp.rtcp_mux {
            return Fit::No;
        }
        let formats = transceivers.common_formats(kind, section);
        if formats.is_empty() { Fit::No } else { Fit::Media(kind, formats) }
    };
    offer.media.iter().enumerate().map(fit).collect()
}

/// Which of the sections can be taken at all.
pub(super) fn acceptable(fits: &[Fit]) -> Vec<bool> {
    fits.iter().map(|fit| !matches!(fit, Fit::No)).collect()
}
