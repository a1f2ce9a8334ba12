//! Delay from distance: light in fibre, the detours that fibre takes, and the last mile at both ends.

use crate::random::Random;

/// Mean radius of the earth (IUGG).
const EARTH_RADIUS_KM: f64 = 6371.0088;
/// Light in glass is at about two thirds of its speed in vacuum.
const FIBRE_KM_PER_MS: f64 = 299.792_458 * 2.0 / 3.0;

/// Latitude and longitude in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Position {
    pub latitude: f64,
    pub longitude: f64,
}

impl Position {
    /// Great-circle distance (haversine).
    pub fn distance_km(self, other: Position) -> f64 {
        let (latitude, other_latitude) = (self.latitude.to_radians(), other.latitude.to_radians());
        let half = |from: f64, to: f64| ((to - from) / 2.0).sin().powi(2);
        let h = half(latitude, other_latitude)
            + latitude.cos() * other_latitude.cos() * half(self.longitude.to_radians(), other.longitude.to_radians());
        2.0 * EARTH_RADIUS_KM * h.min(1.0).sqrt().asin()
    }

    /// One-way delay through a fibre that is `detour` times as long as the great circle, in milliseconds.
    pub fn fibre_ms(self, other: Position, detour: f64) -> f64 {
        self.distance_km(other) * detour / FIBRE_KM_PER_MS
    }
}

/// How much longer than the great circle the fibre between two nodes is: the same for a pair in every run and in either order.
pub(super) fn detour(a: &str, b: &str, least: f64, most: f64) -> f64 {
    let (first, second) = if a < b { (a, b) } else { (b, a) };
    Random::of_text(&format!("{first} {second}")).between(least, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_atlas() {
        let check = |a: (f64, f64), b: (f64, f64), expected_km: f64| {
            let position = |(latitude, longitude)| Position { latitude, longitude };
            let found = position(a).distance_km(position(b));
            assert!((found - expected_km).abs() < expected_km * 0.005 + 0.001, "{found} km instead of {expected_km}");
        };
        let (paris, london, new_york) = ((48.8566, 2.3522), (51.5072, -0.1276), (40.7128, -74.0060));
        check(paris, london, 343.6);
        check(london, new_york, 5570.0);
        check(paris, paris, 0.0);
        check((0.0, 179.5), (0.0, -179.5), 111.2);
    }

    #[test]
    fn a_detour_belongs_to_the_pair() {
        let factor = detour("edge-1", "edge-2", 1.3, 1.6);
        assert!((1.3..1.6).contains(&factor));
        assert_eq!(factor, detour("edge-2", "edge-1", 1.3, 1.6));
        assert_ne!(factor, detour("edge-1", "edge-3", 1.3, 1.6));
    }
}
