//! Which seeds a test runs.

use super::random::Random;

/// Runs `test` for seeds `0..default`; for `SANSRTC_SEEDS=n` seeds when that is set; for the one seed of
/// `SANSRTC_SEED` when that is set. The seed of a failure is printed by the simulator.
pub fn for_each_seed(default: u64, mut test: impl FnMut(u64)) {
    if let Some(seed) = number("SANSRTC_SEED") {
        return test(seed);
    }
    for seed in 0..number("SANSRTC_SEEDS").unwrap_or(default) {
        test(seed);
    }
}

/// The 32 bytes that a peer is seeded with: `who` keeps the peers of a run apart.
pub fn seed_bytes(seed: u64, who: u64) -> [u8; 32] {
    Random::new(seed).fork(who).array()
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    Some(parsed.unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}
