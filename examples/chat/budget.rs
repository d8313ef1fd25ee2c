//! What one viewer's network takes, shared among the pictures that it gets.

use std::collections::HashMap;
use std::time::Instant;

use sansrtc::Key;
use sansrtc::sfu::{self, Allocation, Offer};

use crate::common::track::Track;
use crate::member::Seen;
use crate::signal::Source;

/// The layers of one viewer.
#[derive(Default)]
pub(crate) struct Budget {
    allocation: Allocation,
    /// What its browser says that it can take, in bits per second.
    pub(crate) limit: Option<u64>,
}

impl Budget {
    /// Chooses layers of all that `key` sees.
    pub(crate) fn share(
        &mut self,
        key: Key,
        now: Instant,
        ceiling: u64,
        sees: &[Seen],
        tracks: &mut HashMap<(Key, Source), Track>,
    ) {
        let mut offered: Vec<(usize, Vec<Offer>)> = Vec::new();
        for (at, seen) in sees.iter().enumerate() {
            let Some(track) = tracks.get_mut(&(seen.from, seen.source)).filter(|track| track.is_video) else {
                continue;
            };
            let mut offers = Vec::new();
            track.offer(now, key, &mut offers);
            offered.push((at, offers));
        }
        let wishes: Vec<sfu::Track<'_>> = offered
            .iter()
            .map(|(at, offers)| sfu::Track {
                key: sees[*at].number,
                // A screen is what the others talk about.
                priority: u8::from(sees[*at].source == Source::Screen),
                offers,
            })
            .collect();
        let budget = self.limit.map_or(ceiling, |limit| limit.min(ceiling));
        self.allocation.update(now, Some(budget), &wishes);
        for (at, offers) in &offered {
            let seen = &sees[*at];
            if let Some(track) = tracks.get_mut(&(seen.from, seen.source)) {
                track.choose(key, self.allocation.chosen(seen.number), offers.is_empty());
            }
        }
    }
}
