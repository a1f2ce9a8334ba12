//! `T(c, v, d) = rtt(c, v) + service(d) * wait(n, slots)`: the response time that a client site sees. The only copy.

use crate::units::Micros;

/// How many service times a request waits and runs for with `n` already in flight on `slots` parallel slots: `max(1, (n + 1) / slots)`.
pub fn wait(in_flight: f64, slots: u32) -> f64 {
    ((in_flight + 1.0) / f64::from(slots.max(1))).max(1.0)
}

/// Response time in microseconds. `in_flight` is counted by a router, predicted from demand (Little's law) by the scheduler.
pub fn response_time_us(rtt: Micros, service: Micros, in_flight: f64, slots: u32) -> f64 {
    f64::from(rtt.0) + f64::from(service.0) * wait(in_flight, slots)
}

/// `T + price_weight * price`: what nodes and endpoints are ranked by. `price_weight` in microseconds per unit of price.
pub fn cost_us(response_time_us: f64, price: f64, price_weight: f64) -> f64 {
    response_time_us + price_weight * price
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_slot_costs_one_service_time_and_a_queue_more() {
        let t = |n, slots| response_time_us(Micros(2_000), Micros(10_000), n, slots);
        assert_eq!(t(0.0, 4), 12_000.0);
        assert_eq!(t(3.0, 4), 12_000.0);
        assert_eq!(t(7.0, 4), 22_000.0);
        assert_eq!(t(0.0, 0), 12_000.0, "a node without slots counts one");
    }
}
