//! Layers for a viewer's bit rate.
//!
//! Down at once, up with patience: a layer that does not fit is left at the next update, while a better one is
//! taken only when it has fitted, with room to spare, for some time. So a rate that swings around a layer's cost
//! does not make the viewer swing with it.

use std::time::{Duration, Instant};

use super::Layer;

/// How an [`Allocation`] decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllocationConfig {
    /// What must be to spare, in percent of the cost, before a better layer is taken. 15 by default.
    pub headroom: u8,
    /// For how long a better layer must fit before it is taken. 2 s by default.
    pub patience: Duration,
}

impl Default for AllocationConfig {
    fn default() -> Self {
        AllocationConfig { headroom: 15, patience: Duration::from_secs(2) }
    }
}

/// A layer that a track has, and what it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// The layer.
    pub layer: Layer,
    /// What it costs with all layers that it needs, in bits per second; 0 when the sender does not send it now.
    pub rate: u64,
}

/// A track that the viewer wants.
#[derive(Debug, Clone, Copy)]
pub struct Track<'a> {
    /// Names the track from update to update.
    pub key: u64,
    /// Tracks of higher priority are served first.
    pub priority: u8,
    /// Its layers, the worst first.
    pub offers: &'a [Offer],
}

/// Chooses layers of several tracks for one viewer. Its memory is that of the tracks of the last update.
#[derive(Debug, Default)]
pub struct Allocation {
    config: AllocationConfig,
    tracks: Vec<State>,
    /// Reused from update to update.
    before: Vec<State>,
    order: Vec<usize>,
    floor: Vec<Option<usize>>,
    raised: Vec<Option<usize>>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    key: u64,
    chosen: Option<Layer>,
    /// Since when a better layer has fitted.
    fits_since: Option<Instant>,
}

impl Allocation {
    /// Nothing is chosen yet.
    pub fn new(config: AllocationConfig) -> Self {
        Allocation { config, ..Allocation::default() }
    }

    /// Chooses for all `tracks`, when `budget` bits per second may be spent on them in all; `None` is no limit.
    ///
    /// Call it some times a second, and when the budget falls. Every track gets its worst layer before any gets a
    /// better one, as far as the budget goes, those of higher priority first; then each is raised by one layer in
    /// turn. What is chosen never costs more than the budget.
    pub fn update(&mut self, now: Instant, budget: Option<u64>, tracks: &[Track<'_>]) {
        self.order.clear();
        self.order.extend(0..tracks.len());
        self.order.sort_by_key(|at| tracks.get(*at).map(|track| std::cmp::Reverse(track.priority)));
        let budget = budget.unwrap_or(u64::MAX);
        let part = 100 + u128::from(self.config.headroom);
        let with_room = u64::try_from(u128::from(budget) * 100 / part).unwrap_or(budget);
        fill(budget, tracks, &self.order, &mut self.floor);
        fill(with_room, tracks, &self.order, &mut self.raised);
        std::mem::swap(&mut self.tracks, &mut self.before);
        self.tracks.clear();
        for (at, track) in tracks.iter().enumerate() {
            let before = self.before.iter().find(|state| state.key == track.key);
            let chosen = before.and_then(|state| state.chosen);
            // A layer that is gone, or silent, is as if the one below it had been chosen.
            let current = chosen.and_then(|layer| {
                let usable = |offer: &Offer| offer.layer <= layer && offer.rate > 0;
                track.offers.iter().rposition(usable)
            });
            let most = self.floor.get(at).copied().flatten();
            let better = self.raised.get(at).copied().flatten().min(most);
            let since = before.and_then(|state| state.fits_since);
            let (place, fits_since) = match current {
                // From nothing to something takes no patience, and the worst layer no room to spare.
                None => (better.or(track.offers.iter().position(|offer| offer.rate > 0)).min(most), None),
                Some(_) if current > most => (most, None),
                Some(_) => self.config.settle(now, current, better, since),
            };
            let chosen = place.and_then(|place| track.offers.get(place)).map(|offer| offer.layer);
            self.tracks.push(State { key: track.key, chosen, fits_since });
        }
    }

    /// The layer chosen for a track of the last update; `None` when nothing fits: pause it.
    pub fn chosen(&self, key: u64) -> Option<Layer> {
        self.tracks.iter().find(|state| state.key == key)?.chosen
    }

    /// When to update again although nothing happens: a better layer will have fitted for long enough.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.tracks
            .iter()
            .filter_map(|state| state.fits_since)
            .min()
            .map(|since| since + self.config.patience)
    }
}

impl AllocationConfig {
    /// The place among a track's offers to take now, and since when a better one fits.
    fn settle(
        &self,
        now: Instant,
        current: Option<usize>,
        better: Option<usize>,
        since: Option<Instant>,
    ) -> (Option<usize>, Option<Instant>) {
        if better <= current {
            return (current, None);
        }
        match since {
            Some(since) if now.saturating_duration_since(since) >= self.patience => (better, None),
            Some(since) => (current, Some(since)),
            None => (current, Some(now)),
        }
    }
}

/// The best places for a budget: the worst layer for each, then one layer more for each in turn.
fn fill(budget: u64, tracks: &[Track<'_>], order: &[usize], places: &mut Vec<Option<usize>>) {
    places.clear();
    places.resize(tracks.len(), None);
    let mut left = budget;
    loop {
        let mut changed = false;
        for at in order {
            let (Some(track), Some(place)) = (tracks.get(*at), places.get_mut(*at)) else { continue };
            let rate = |place: usize| track.offers.get(place).map_or(0, |offer| offer.rate);
            let now = place.map_or(0, rate);
            let from = place.map_or(0, |place| place + 1);
            // A layer that is silent is passed over; one that costs less than a worse one is taken gladly.
            let next = (from..track.offers.len()).find(|place| rate(*place) > 0);
            let Some(next) = next.filter(|next| rate(*next).saturating_sub(now) <= left) else { continue };
            left = left.saturating_sub(rate(next).saturating_sub(now));
            left = left.saturating_add(now.saturating_sub(rate(next)));
            *place = Some(next);
            changed = true;
        }
        if !changed {
            return;
        }
    }
}

// A test may look at the clock once, for a time to start from.
#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offers(rates: &[u64]) -> Vec<Offer> {
        let layer = |at: usize| Layer { encoding: u8::try_from(at).unwrap(), spatial: 0, temporal: 0 };
        rates.iter().enumerate().map(|(at, rate)| Offer { layer: layer(at), rate: *rate }).collect()
    }

    fn place(layer: Option<Layer>) -> Option<u8> {
        layer.map(|layer| layer.encoding)
    }

    #[test]
    fn down_at_once_and_up_with_patience() {
        let mut allocation = Allocation::new(AllocationConfig::default());
        let offers = offers(&[100, 300, 1000]);
        let tracks = [Track { key: 7, priority: 0, offers: &offers }];
        let mut now = crate::time::some_instant();
        let mut choose = |budget, millis| {
            now += Duration::from_millis(millis);
            allocation.update(now, Some(budget), &tracks);
            place(allocation.chosen(7))
        };
        // The first choice needs no patience, but room to spare.
        assert_eq!(choose(1_100, 0), Some(1));
        assert_eq!(choose(1_200, 100), Some(1));
        assert_eq!(choose(1_200, 1_900), Some(1));
        assert_eq!(choose(1_200, 200), Some(2));
        // It fits, if only just: it stays.
        assert_eq!(choose(1_000, 100), Some(2));
        assert_eq!(choose(999, 100), Some(1));
        assert_eq!(choose(99, 100), None);
        // One look at too little starts the patience anew.
        assert_eq!(choose(2_000, 100), Some(2));
        assert_eq!(choose(200, 100), Some(0));
        assert_eq!(choose(2_000, 1_500), Some(0));
        assert_eq!(choose(110, 100), Some(0));
        assert_eq!(choose(2_000, 1_500), Some(0));
        assert_eq!(choose(2_000, 2_000), Some(2));
    }

    #[test]
    fn everyone_gets_something_before_anyone_gets_more() {
        let mut allocation = Allocation::new(AllocationConfig { headroom: 0, ..Default::default() });
        let offers = offers(&[100, 300, 1000]);
        let track = |key, priority| Track { key, priority, offers: &offers };
        let tracks = [track(1, 0), track(2, 9), track(3, 1)];
        let now = crate::time::some_instant();
        for (budget, expected) in [
            (99, [None, None, None]),
            (199, [None, Some(0), None]),
            (300, [Some(0), Some(0), Some(0)]),
            (500, [Some(0), Some(1), Some(0)]),
            (700, [Some(0), Some(1), Some(1)]),
            (3_000, [Some(2), Some(2), Some(2)]),
        ] {
            allocation.update(now, Some(budget), &tracks);
            // Without patience: a new allocation each time.
            let mut fresh = Allocation::new(AllocationConfig { headroom: 0, ..Default::default() });
            fresh.update(now, Some(budget), &tracks);
            assert_eq!([1, 2, 3].map(|key| place(fresh.chosen(key))), expected, "{budget}");
        }
        allocation.update(now, None, &[track(2, 0)]);
        assert_eq!(allocation.chosen(1), None);
    }

    #[test]
    fn a_layer_that_is_silent_is_not_chosen() {
        let mut allocation = Allocation::default();
        let now = crate::time::some_instant();
        let all = offers(&[100, 300, 1000]);
        allocation.update(now, None, &[Track { key: 1, priority: 0, offers: &all }]);
        assert_eq!(place(allocation.chosen(1)), Some(2));
        let less = offers(&[100, 300, 0]);
        allocation.update(now, None, &[Track { key: 1, priority: 0, offers: &less }]);
        assert_eq!(place(allocation.chosen(1)), Some(1));
    }

    proptest! {
        #[test]
        fn what_is_chosen_never_costs_more_than_the_budget(
            rates in prop::collection::vec(prop::collection::vec(0u64..1_000, 0..5), 1..6),
            steps in prop::collection::vec((0u64..5_000, 0u64..3_000), 1..40),
        ) {
            let offers: Vec<_> = rates.iter().map(|rates| {
                let mut rates = rates.clone();
                rates.sort_unstable();
                offers(&rates)
            }).collect();
            let tracks: Vec<_> = (0u64..).zip(&offers)
                .map(|(key, offers)| Track { key, priority: (key % 2) as u8, offers }).collect();
            let mut allocation = Allocation::new(AllocationConfig::default());
            let mut now = crate::time::some_instant();
            for (budget, millis) in steps {
                now += Duration::from_millis(millis);
                allocation.update(now, Some(budget), &tracks);
                let cost: u64 = tracks.iter().filter_map(|track| {
                    let layer = allocation.chosen(track.key)?;
                    track.offers.iter().find(|offer| offer.layer == layer).map(|offer| offer.rate)
                }).sum();
                prop_assert!(cost <= budget, "{} of {}", cost, budget);
            }
        }
    }
}
