//! What the layers of a track cost.

use std::time::{Duration, Instant};

use super::{Layer, MAX_ENCODINGS};

/// Spatial and temporal layers that are told apart; higher ones count with the highest.
const SPATIAL: usize = 4;
const TEMPORAL: usize = 4;

/// How long bytes are counted before they move the estimate.
const SLOT: Duration = Duration::from_millis(250);

/// Measures the bit rate of each layer of a track. About 1 kB.
#[derive(Debug, Clone)]
pub struct Rates {
    layers: [[[Meter; TEMPORAL]; SPATIAL]; MAX_ENCODINGS],
    slot_since: Option<Instant>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Meter {
    /// Bytes in this slot.
    bytes: u64,
    /// Bits per second, by the slots before.
    rate: u64,
}

impl Meter {
    /// The rate after `slots` slots in which `measured` was the average.
    fn mixed(self, measured: u64, slots: u32) -> u64 {
        if self.rate == 0 {
            return measured;
        }
        let old = (0..slots).fold(self.rate, |rate, _| rate - rate.div_ceil(4));
        let weight_left = (0..slots).fold(1_000_000u64, |weight, _| weight - weight.div_ceil(4));
        old.saturating_add(measured / 1_000 * (1_000_000 - weight_left) / 1_000)
    }
}

impl Default for Rates {
    fn default() -> Self {
        Rates::new()
    }
}

impl Rates {
    /// Nothing measured.
    pub fn new() -> Self {
        Rates { layers: Default::default(), slot_since: None }
    }

    /// Counts a packet of `bytes` bytes that belongs to `layer`; see [`Incoming::layer`](super::Incoming::layer).
    pub fn record(&mut self, now: Instant, layer: Layer, bytes: usize) {
        self.advance(now);
        let within = |number: u8, count: usize| usize::from(number).min(count - 1);
        let encoding = self.layers.get_mut(usize::from(layer.encoding));
        let spatial = encoding.and_then(|all| all.get_mut(within(layer.spatial, SPATIAL)));
        if let Some(meter) = spatial.and_then(|all| all.get_mut(within(layer.temporal, TEMPORAL))) {
            meter.bytes = meter.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        }
    }

    /// Ends the slot when it is over.
    fn advance(&mut self, now: Instant) {
        let since = *self.slot_since.get_or_insert(now);
        let elapsed = now.saturating_duration_since(since);
        if elapsed < SLOT {
            return;
        }
        self.slot_since = Some(now);
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).max(1);
        // Each slot's length of time takes a quarter off what was measured before.
        let slots = u32::try_from(elapsed.as_millis() / SLOT.as_millis()).unwrap_or(u32::MAX).min(64);
        for meter in self.layers.iter_mut().flatten().flatten() {
            let measured = meter.bytes.saturating_mul(8_000_000) / micros;
            *meter = Meter { bytes: 0, rate: meter.mixed(measured, slots) };
        }
    }

    /// What a viewer of `layer` gets, in bits per second: all lower layers of the encoding together. 0 when the
    /// highest of these layers is silent, or was not heard of.
    pub fn rate(&mut self, now: Instant, layer: Layer) -> u64 {
        self.advance(now);
        let Some(encoding) = self.layers.get(usize::from(layer.encoding)) else { return 0 };
        let top = encoding
            .get(usize::from(layer.spatial))
            .map(|all| all.get(usize::from(layer.temporal)).map_or(0, |meter| meter.rate));
        if top.unwrap_or(0) == 0 {
            return 0;
        }
        let spatial = encoding.iter().take(usize::from(layer.spatial) + 1);
        spatial.flat_map(|all| all.iter().take(usize::from(layer.temporal) + 1)).map(|meter| meter.rate).sum()
    }
}

// A test may look at the clock once, for a time to start from.
#[cfg(test)]
mod tests {
    use super::*;

    fn layer(encoding: u8, spatial: u8, temporal: u8) -> Layer {
        Layer { encoding, spatial, temporal }
    }

    #[test]
    fn a_layer_costs_itself_and_all_below_it() {
        let mut rates = Rates::new();
        let mut now = crate::time::some_instant();
        for _ in 0..100 {
            // 100 packets a second each.
            rates.record(now, layer(0, 0, 0), 1_250);
            rates.record(now, layer(1, 0, 0), 1_250);
            rates.record(now, layer(1, 0, 1), 2_500);
            rates.record(now, layer(1, 1, 0), 5_000);
            now += Duration::from_millis(10);
        }
        let near =
            |rate: u64, expected: u64| assert!(rate.abs_diff(expected) < expected / 10, "{rate} {expected}");
        near(rates.rate(now, layer(0, 0, 0)), 1_000_000);
        near(rates.rate(now, layer(1, 0, 0)), 1_000_000);
        near(rates.rate(now, layer(1, 0, 1)), 3_000_000);
        near(rates.rate(now, layer(1, 1, 0)), 5_000_000);
        // Nothing is of this layer, so nobody can have it.
        assert_eq!(rates.rate(now, layer(1, 1, 1)), 0);
        assert_eq!(rates.rate(now, layer(200, 200, 200)), 0);
    }

    #[test]
    fn a_layer_that_falls_silent_costs_nothing_after_some_seconds() {
        let mut rates = Rates::new();
        let now = crate::time::some_instant();
        rates.record(now, layer(0, 0, 0), 100_000);
        assert!(rates.rate(now + SLOT, layer(0, 0, 0)) > 1_000_000);
        let later = (1..60).map(|n| rates.rate(now + SLOT * (1 + n), layer(0, 0, 0))).min();
        assert_eq!(later, Some(0));
        let mut rates = Rates::new();
        rates.record(now, layer(0, 0, 0), 100_000);
        rates.rate(now + SLOT, layer(0, 0, 0));
        assert_eq!(rates.rate(now + Duration::from_secs(60), layer(0, 0, 0)), 0);
    }
}
