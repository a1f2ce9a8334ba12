//! A world out of a seed, for when no measured one is at hand: metros of the earth, sites of one to four nodes in them, last miles of
//! differing quality, and routes that are worse than geography, so that one-hop detours are often shorter, as in real data.

use super::geography::Position;
use super::{Role, World, WorldError, measured};
use crate::random::Random;

/// Latitude and longitude of large metros; research networks and edge sites cluster there.
const METROS: [(f64, f64); 24] = [
    (52.37, 4.90),
    (50.11, 8.68),
    (48.86, 2.35),
    (51.51, -0.13),
    (40.42, -3.70),
    (45.46, 9.19),
    (52.23, 21.01),
    (59.33, 18.07),
    (40.71, -74.01),
    (38.91, -77.04),
    (41.88, -87.63),
    (33.75, -84.39),
    (32.78, -96.80),
    (37.77, -122.42),
    (47.61, -122.33),
    (34.05, -118.24),
    (-23.55, -46.63),
    (35.68, 139.65),
    (37.57, 126.98),
    (1.35, 103.82),
    (22.32, 114.17),
    (19.08, 72.88),
    (-33.87, 151.21),
    (-26.20, 28.05),
];

struct Site {
    position: Position,
    last_mile_ms: f64,
}

/// A world of `count` nodes; equal seeds give equal worlds.
pub fn generate(count: usize, seed: u64) -> Result<World, WorldError> {
    let mut random = Random::new(seed);
    let mut sites: Vec<Site> = Vec::new();
    let mut site_of: Vec<usize> = Vec::with_capacity(count);
    while site_of.len() < count {
        let &(latitude, longitude) = random.pick(&METROS).expect("there are metros");
        let position = Position { latitude: latitude + 0.6 * random.normal(), longitude: longitude + 0.6 * random.normal() };
        // Median 0.3 ms each way; one site in ten is behind a bad access line.
        let last_mile_ms = 0.3 * (0.8 * random.normal()).exp() + if random.below(10) == 0 { random.between(2.0, 12.0) } else { 0.0 };
        for _ in 0..=random.below(4) {
            if site_of.len() < count {
                site_of.push(sites.len());
            }
        }
        sites.push(Site { position, last_mile_ms });
    }

    let mut rtt_us = vec![0; count * count];
    for a in 0..count {
        for b in a + 1..count {
            let rtt_ms = if site_of[a] == site_of[b] {
                random.between(0.08, 0.6)
            } else {
                let (from, to) = (&sites[site_of[a]], &sites[site_of[b]]);
                // One route in twelve is plainly bad: that is where most triangle violations come from.
                let bad = if random.below(12) == 0 { random.between(1.5, 3.0) } else { 1.0 };
                let detour = 1.3 * (0.25 * random.normal().abs()).exp() * bad;
                2.0 * (from.position.fibre_ms(to.position, detour) + from.last_mile_ms + to.last_mile_ms)
            };
            let rtt = (rtt_ms * 1000.0) as u32;
            // Directions differ by up to a tenth.
            let back = (f64::from(rtt) * random.between(0.9, 1.0)) as u32;
            (rtt_us[a * count + b], rtt_us[b * count + a]) = if random.below(2) == 0 { (rtt, back) } else { (back, rtt) };
        }
    }

    let larger = |a: usize, b: usize| u64::from(rtt_us[a * count + b].max(rtt_us[b * count + a]));
    let mut central: Vec<usize> = (0..count).collect();
    central.sort_by_cached_key(|&a| ((0..count).map(|b| larger(a, b)).sum::<u64>(), a));
    central.truncate((count / 40).max(2).min(count.saturating_sub(1)));
    let width = count.saturating_sub(1).to_string().len().max(3);
    let nodes = (0..count)
        .map(|index| {
            let role = if central.contains(&index) { Role::Cloud } else { Role::Edge };
            measured::node(format!("node-{index:0width$}"), role, format!("site-{:03}", site_of[index]), None)
        })
        .collect();
    World::from_rtt(format!("generated from seed {seed}"), nodes, |from, to| rtt_us[from * count + to])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_decide() {
        assert_eq!(generate(40, 1).unwrap(), generate(40, 1).unwrap());
        assert_ne!(generate(40, 1).unwrap(), generate(40, 2).unwrap());
        assert!(matches!(generate(0, 1), Err(WorldError::Empty)));
    }

    #[test]
    fn the_range_is_that_of_real_networks() {
        for seed in 0..5 {
            let world = generate(120, seed).unwrap();
            let pairs = || (0..120).flat_map(|a| (0..a).map(move |b| (a, b)));
            let mut rtts: Vec<u32> = pairs().map(|(a, b)| world.rtt_us(a, b)).collect();
            rtts.sort_unstable();
            let median = rtts[rtts.len() / 2];
            assert!((40_000..250_000).contains(&median), "median {median} us");
            assert!(rtts.iter().filter(|rtt| **rtt < 1000).count() >= 20, "too few neighbours");
            assert!(rtts.iter().any(|rtt| (1000..10_000).contains(rtt)), "no pair between 1 and 10 ms");
            let violated =
                pairs().filter(|&(a, b)| (0..120).any(|via| world.rtt_us(a, via) + world.rtt_us(via, b) < world.rtt_us(a, b))).count();
            assert!(violated * 2 > rtts.len(), "a detour is shorter for {violated} of {} pairs only", rtts.len());
            assert_eq!(world.with_role(Role::Cloud).count(), 3);
        }
    }
}
