//! Random choices of one case.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

pub struct Draw(Xoshiro256PlusPlus);

impl Draw {
    /// Cases of one seed do not follow from each other: each has its own stream.
    pub fn new(seed: u64, index: u64) -> Draw {
        Draw(Xoshiro256PlusPlus::seed_from_u64(placement::cluster::mix(seed) ^ index))
    }

    /// 0 to `n - 1`; the bias of the remainder does not matter at such small `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n.max(1) as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of them; `from` is not empty.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    /// `n` of them, or all where there are fewer, in their order.
    pub fn some<T: Clone>(&mut self, from: &[T], n: usize) -> Vec<T> {
        let mut left = n.min(from.len());
        let mut chosen = Vec::new();
        for (at, item) in from.iter().enumerate() {
            if self.below(from.len() - at) < left {
                chosen.push(item.clone());
                left -= 1;
            }
        }
        chosen
    }
}
