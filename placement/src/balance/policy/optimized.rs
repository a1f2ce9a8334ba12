//! `optimized`: the least response time, the least price, or the least of both together.

use crate::balance::Local;
use crate::balance::pick::{Choice, Counts};
use crate::score::response_time::cost_us;

/// What is least.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Objective {
    /// The price; among equals the response time.
    Cost,
    /// The response time.
    Performance,
    /// Response time + `price_weight` microseconds per unit of price.
    Mixed { price_weight: f64 },
}

pub(super) fn pick<C: Counts>(choice: &Choice<'_, C>, candidates: &[usize], objective: Objective, local: &mut Local) -> Option<usize> {
    let price = |at: usize| choice.endpoints.prices[at];
    local.least(candidates, |at| {
        let time = choice.response_time_us(at);
        match objective {
            Objective::Cost => (price(at), time),
            Objective::Performance => (time, price(at)),
            Objective::Mixed { price_weight } => (cost_us(time, price(at), price_weight), time),
        }
    })
}
