//! A table of networks: every combination of its columns, one per seed.

use std::time::Duration;

use super::link::{Link, Loss};
use super::random::Random;

/// The columns. Times are milliseconds, shares run from 0.0 to 1.0.
#[derive(Debug, Clone, Copy)]
pub struct Matrix {
    /// See [`Link::loss`].
    pub loss: &'static [Loss],
    /// See [`Link::delay`].
    pub delay: &'static [u64],
    /// See [`Link::jitter`].
    pub jitter: &'static [u64],
    /// See [`Link::reorder`].
    pub reorder: &'static [f64],
    /// See [`Link::duplicate`].
    pub duplicate: &'static [f64],
    /// See [`Link::corrupt`].
    pub corrupt: &'static [f64],
}

impl Matrix {
    /// A clean wire.
    pub const CLEAN: Matrix = Matrix {
        loss: &[Loss::None],
        delay: &[10],
        jitter: &[0],
        reorder: &[0.0],
        duplicate: &[0.0],
        corrupt: &[0.0],
    };

    /// What a reliable channel must survive: 360 networks.
    pub const HARSH: Matrix = Matrix {
        loss: &[
            Loss::None,
            Loss::Independent(0.02),
            Loss::Independent(0.2),
            // Bursts of five datagrams, one datagram in ten.
            Loss::Burst { enter: 0.0222, leave: 0.2, good: 0.0, bad: 1.0 },
            Loss::Burst { enter: 0.05, leave: 0.3, good: 0.05, bad: 0.7 },
        ],
        delay: &[1, 30, 150],
        jitter: &[0, 20],
        reorder: &[0.0, 0.05, 0.5],
        duplicate: &[0.0, 0.1],
        corrupt: &[0.0, 0.05],
    };

    /// How many networks the table has.
    pub fn cells(&self) -> u64 {
        let Matrix { loss, delay, jitter, reorder, duplicate, corrupt } = self;
        (loss.len() * delay.len() * jitter.len() * reorder.len() * duplicate.len() * corrupt.len()) as u64
    }

    /// The network of a row. Consecutive numbers walk through the whole table; the step is odd and shares no
    /// factor with common table sizes, so that a short walk sees every column.
    pub fn cell(&self, number: u64) -> Link {
        let cells = self.cells();
        let step = (cells * 5 / 13..).find(|&step| step > 0 && coprime(step, cells)).unwrap_or(1);
        let mut rest = (u128::from(number) * u128::from(step) % u128::from(cells)) as usize;
        let mut pick = |len: usize| {
            let index = rest % len;
            rest /= len;
            index
        };
        Link {
            loss: self.loss[pick(self.loss.len())],
            delay: Duration::from_millis(self.delay[pick(self.delay.len())]),
            jitter: Duration::from_millis(self.jitter[pick(self.jitter.len())]),
            reorder: self.reorder[pick(self.reorder.len())],
            duplicate: self.duplicate[pick(self.duplicate.len())],
            corrupt: self.corrupt[pick(self.corrupt.len())],
            ..Link::default()
        }
    }

    /// The two directions of a seed: alike for even seeds, of two rows for odd ones.
    pub fn both_ways(&self, seed: u64) -> (Link, Link) {
        let there = self.cell(seed);
        let back = if seed.is_multiple_of(2) { there.clone() } else { self.cell(Random::new(seed).u64()) };
        (there, back)
    }
}

fn coprime(a: u64, b: u64) -> bool {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a == 1
}
