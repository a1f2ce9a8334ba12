//! `squeeze`: fill one endpoint up to the watermark before the next, so that the others stay idle (to save energy, or for other work).

use crate::balance::pick::{Choice, Counts};
use crate::balance::{Local, feasibility};

/// The candidate that is used most, which the feasibility rule has kept below the watermark; among unused ones the nearest.
/// Once all are above it, the least used: there is nothing left to squeeze.
pub(super) fn pick<C: Counts>(choice: &Choice<'_, C>, candidates: &[usize], local: &mut Local) -> Option<usize> {
    let used = |at: usize| choice.counts.in_flight(at) / f64::from(choice.endpoints.slots[at].max(1));
    let first = *candidates.first()?;
    let sign = if feasibility::above_watermark(choice.endpoints, choice.request, choice.counts, first) { 1.0 } else { -1.0 };
    // The index last, so that idle equals are filled one after the other by every router alike.
    local.least(candidates, |at| (sign * used(at), choice.response_time_us(at), at))
}
