//! The band: nodes whose cost is close to the best are equal in cost, and kube-scheduler's scores decide among them.

use crate::cluster::Settings;

/// The highest cost within the band of the best, in microseconds; inclusive.
pub fn limit_us(settings: &Settings, best_us: f64) -> f64 {
    best_us + (best_us * f64::from(settings.band_permille) / 1000.0).max(f64::from(settings.band_floor.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_percent_and_at_least_half_a_millisecond() {
        let check = |best, limit| assert_eq!(limit_us(&Settings::default(), best), limit);
        check(0.0, 500.0);
        check(10_000.0, 10_500.0);
        check(40_000.0, 42_000.0);
        check(f64::INFINITY, f64::INFINITY);
    }
}
