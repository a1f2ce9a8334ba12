//! `least-connections`, weighted: the fewest requests in flight for its weight, counting the one to come.

use crate::balance::Local;
use crate::balance::pick::{Choice, Counts};

pub(super) fn pick<C: Counts>(choice: &Choice<'_, C>, candidates: &[usize], local: &mut Local) -> Option<usize> {
    let weight = |at: usize| f64::from(choice.endpoints.weights[at].max(1));
    local.least(candidates, |at| (choice.counts.in_flight(at) + 1.0) / weight(at))
}
