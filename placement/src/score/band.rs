//! The band: nodes whose cost is close to the best are equal in cost, and kube-scheduler's scores decide among them.

use crate::cluster::Settings;

/// The highest cost within the band of the best, in microseconds; inclusive.
pub fn limit_us(settings: &Settings, best_us: f64) -> f64 {
    best_us + (best_us * f64::from(settings.band_permille) / 1000.0).max(f64::from(settings.band_floor.0))
}

/// Score of a node within the band.
pub const BEST: i64 = 10;

/// A cost as a score: [`BEST`] within the band that ends at `limit_us`, less in proportion beyond it, 0 where nothing is measured.
pub fn score(cost_us: f64, limit_us: f64) -> i64 {
    if cost_us.is_infinite() {
        return 0;
    }
    if cost_us <= limit_us { BEST } else { (BEST as f64 * limit_us / cost_us) as i64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_cost_is_half_the_score() {
        let check = |cost, limit, expected| assert_eq!(score(cost, limit), expected);
        check(9_000.0, 10_000.0, 10);
        check(10_000.0, 10_000.0, 10);
        check(10_001.0, 10_000.0, 9);
        check(20_000.0, 10_000.0, 5);
        check(1e9, 10_000.0, 0);
        check(f64::INFINITY, f64::INFINITY, 0);
    }

    #[test]
    fn five_percent_and_at_least_half_a_millisecond() {
        let check = |best, limit| assert_eq!(limit_us(&Settings::default(), best), limit);
        check(0.0, 500.0);
        check(10_000.0, 10_500.0);
        check(40_000.0, 42_000.0);
        check(f64::INFINITY, f64::INFINITY);
    }
}
