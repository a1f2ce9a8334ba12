//! By how much a switch is late: what it adds to the delays it was asked for, apart from reading and writing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Sums over everything that was handed out at a deadline.
#[derive(Debug, Default)]
pub struct Lateness {
    timed: AtomicU64,
    sum_ns: AtomicU64,
    largest_ns: AtomicU64,
}

impl Lateness {
    pub(super) fn note(&self, lateness: Duration) {
        let lateness_ns = lateness.as_nanos().min(u128::from(u64::MAX)) as u64;
        self.timed.fetch_add(1, Relaxed);
        self.sum_ns.fetch_add(lateness_ns, Relaxed);
        self.largest_ns.fetch_max(lateness_ns, Relaxed);
    }

    /// Mean time by which packets leave after their deadline, in microseconds.
    pub fn mean_us(&self) -> f64 {
        match self.timed.load(Relaxed) {
            0 => 0.0,
            timed => self.sum_ns.load(Relaxed) as f64 / timed as f64 / 1000.0,
        }
    }

    /// The largest of these times, in microseconds.
    pub fn largest_us(&self) -> f64 {
        self.largest_ns.load(Relaxed) as f64 / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_and_the_largest_are_in_microseconds() {
        let lateness = Lateness::default();
        assert_eq!((lateness.mean_us(), lateness.largest_us()), (0.0, 0.0));
        lateness.note(Duration::from_micros(10));
        lateness.note(Duration::from_micros(40));
        assert_eq!((lateness.mean_us(), lateness.largest_us()), (25.0, 40.0));
    }
}
