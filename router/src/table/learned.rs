//! The service time of a device class, learned from requests.

use placement::units::Micros;
use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

/// Weight of one sample, as a power of two: 1/16 follows a change within some 30 requests and damps single outliers.
const SHIFT: u32 = 4;

/// Exponentially weighted mean of service times, in microseconds; 0 while nothing is known.
#[derive(Debug, Default)]
pub struct Learned(AtomicU32);

impl Learned {
    pub fn get(&self) -> Option<Micros> {
        Some(self.0.load(Relaxed)).filter(|us| *us != 0).map(Micros)
    }

    /// Takes in one request that found a free slot. Two threads may overwrite each other's sample: one sample is no loss.
    pub fn learn(&self, service: Duration) {
        let sample = u32::try_from(service.as_micros()).unwrap_or(u32::MAX).max(1);
        let known = self.0.load(Relaxed);
        let next = match known {
            0 => sample,
            // Rounded away from the mean, so that small differences are learned too.
            known if sample >= known => known + (sample - known).div_ceil(1 << SHIFT),
            known => known - (known - sample).div_ceil(1 << SHIFT),
        };
        self.0.store(next, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_a_change_and_damps_an_outlier() {
        let learned = Learned::default();
        assert_eq!(learned.get(), None);
        learned.learn(Duration::from_millis(10));
        assert_eq!(learned.get(), Some(Micros(10_000)));
        learned.learn(Duration::from_millis(26));
        assert_eq!(learned.get(), Some(Micros(11_000)));
        (0..200).for_each(|_| learned.learn(Duration::from_millis(5)));
        assert_eq!(learned.get(), Some(Micros(5_000)));
    }
}
