//! `balance`, the default: of the endpoints whose response time is near the best, the one with most free compute. Near ones share the load by
//! capacity, far ones are used when the near ones queue.

use crate::balance::Local;
use crate::balance::pick::{Choice, Counts};
use crate::units::Micros;

/// How far from the best response time an endpoint may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Spread {
    /// Within so many percent of the best, and in any case within `at_least`: below that, response times are equal to a client.
    Near { percent: u16, at_least: Micros },
    /// Every feasible endpoint: compute alone decides.
    All,
}

impl Default for Spread {
    fn default() -> Spread {
        Spread::Near { percent: 20, at_least: Micros(2_000) }
    }
}

pub(super) fn pick<C: Counts>(choice: &Choice<'_, C>, candidates: &mut Vec<usize>, spread: Spread, local: &mut Local) -> Option<usize> {
    if let Spread::Near { percent, at_least } = spread {
        let best = candidates.iter().map(|&at| choice.response_time_us(at)).fold(f64::INFINITY, f64::min);
        let limit = (best * (1.0 + f64::from(percent) / 100.0)).max(best + f64::from(at_least.0));
        candidates.retain(|&at| choice.response_time_us(at) <= limit);
    }
    local.least(candidates, |at| (-choice.free_slots(at), choice.response_time_us(at)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::{Live, world};
    use crate::balance::{EndpointIx, Pick, Policy, Request, pick};

    /// Endpoints as (slots, RTT in us, in flight), service time 10 ms.
    fn check(spread: Spread, endpoints: &[(u32, u32, f64)], expected: u32) {
        let world = world(endpoints.iter().map(|&(slots, rtt, _)| ("", slots, rtt)));
        let live = Live { in_flight: endpoints.iter().map(|e| e.2).collect(), ..Live::default() };
        let request = Request { site: &world.site, classes: None, watermark: 100 };
        for seed in 0..20 {
            let got = pick(Policy::Balance(spread), &world.endpoints, &request, &live, &mut Local::new(seed));
            assert_eq!(got, Pick::Endpoint(EndpointIx(expected)), "{endpoints:?}");
        }
    }

    #[test]
    fn of_those_near_the_best_the_freest_is_chosen() {
        let near = Spread::default();
        check(near, &[(2, 1_000, 0.0), (8, 3_000, 0.0), (64, 30_000, 0.0)], 1);
        check(near, &[(2, 1_000, 0.0), (8, 3_000, 7.0), (64, 30_000, 0.0)], 0);
        check(near, &[(1, 40_000, 0.0), (2, 49_900, 0.0), (9, 50_100, 0.0)], 1);
        check(Spread::All, &[(2, 1_000, 0.0), (8, 3_000, 0.0), (64, 30_000, 0.0)], 2);
    }

    #[test]
    fn equal_compute_goes_to_the_shorter_response_time() {
        check(Spread::default(), &[(4, 2_000, 1.0), (4, 1_000, 1.0)], 1);
        check(Spread::All, &[(4, 20_000, 1.0), (4, 1_000, 1.0)], 1);
    }

    #[test]
    fn where_all_queue_the_queue_counts_in_the_response_time() {
        check(Spread::default(), &[(1, 1_000, 9.0), (1, 30_000, 1.0)], 1);
    }
}
