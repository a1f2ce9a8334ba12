//! Delays between retries: exponential, capped, with jitter so that many clients do not come back at once.

use std::time::Duration;

/// Doubling delays from `initial` to `max`; each is lengthened by up to `jitter` times itself.
#[derive(Clone, Debug)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    jitter: f64,
    next: Duration,
}

impl Backoff {
    pub fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max, jitter: 0.2, next: initial }
    }

    /// The next delay. It never ends; see [`reset`](Self::reset).
    pub fn delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.max);
        jittered(delay, self.jitter)
    }

    /// Starts over at the initial delay, after a success.
    pub fn reset(&mut self) {
        self.next = self.initial;
    }
}

/// `duration` lengthened by a uniformly random share of itself, at most `factor`.
pub fn jittered(duration: Duration, factor: f64) -> Duration {
    // The low half of a version 4 UUID ends in 62 random bits; 53 of them make a fraction in [0, 1).
    const BITS: u32 = 53;
    let (_, low) = uuid::Uuid::new_v4().as_u64_pair();
    let fraction = (low & ((1 << BITS) - 1)) as f64 / (1u64 << BITS) as f64;
    duration.mul_f64(1.0 + factor * fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_the_cap_and_starts_over() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        for expected_s in [1, 2, 4, 5, 5] {
            let delay = backoff.delay();
            let base = Duration::from_secs(expected_s);
            assert!(base <= delay && delay <= base.mul_f64(1.2), "{delay:?} for {base:?}");
        }
        backoff.reset();
        assert!(backoff.delay() < Duration::from_secs(2));
    }

    #[test]
    fn jitter_varies() {
        let delays: std::collections::BTreeSet<_> = (0..8).map(|_| jittered(Duration::from_secs(1), 1.0)).collect();
        assert!(delays.len() > 1);
    }
}
