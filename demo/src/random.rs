//! Seeded randomness: the same seed gives the same world, the same pods, the same jitter.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

/// A number that stands for a text, the same in every run (FNV-1a, 64 bits).
pub fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A stream of random numbers that depends on its seed alone.
#[derive(Clone, Debug)]
pub struct Random(Xoshiro256PlusPlus);

impl Random {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Random {
        Random(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// The stream of this text, for what must not depend on order.
    pub fn of_text(text: &str) -> Random {
        Random::new(hash(text))
    }

    /// Uniform in 0..1.
    pub fn share(&mut self) -> f64 {
        // 53 bits fill a double's mantissa.
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform between the two.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.share()
    }

    /// Uniform in `0..count`; 0 where that is empty. Its bias is below `count / 2^64`.
    pub fn below(&mut self, count: u64) -> u64 {
        if count == 0 { 0 } else { self.0.next_u64() % count }
    }

    /// One of them; `None` where there is none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(self.below(choices.len() as u64) as usize)
    }

    /// Normally distributed around 0 with deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.share()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.share()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_within_their_range_and_repeat() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            let mean = (0..10_000).map(|_| random.normal()).sum::<f64>() / 10_000.0;
            assert!(mean.abs() < 0.05, "{mean}");
            assert!((0..1000).all(|_| (2.0..3.0).contains(&random.between(2.0, 3.0))));
            (0..100).map(|_| random.below(7)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!((0..7).all(|value| draw(1).contains(&value)));
        assert_eq!(Random::new(1).below(0), 0);
        assert_eq!(Random::new(1).pick::<u8>(&[]), None);
    }
}
