//! `weighted-round-robin`, the smooth form (as nginx does it): turns in proportion to the weights, spread out rather than in runs.

use crate::balance::{Endpoints, Local};

pub(super) fn pick(endpoints: &Endpoints, candidates: &[usize], local: &mut Local) -> Option<usize> {
    if local.current.len() != endpoints.len() {
        local.current = vec![0; endpoints.len()];
    }
    let weight = |at: usize| i64::from(endpoints.weights[at].max(1));
    for &at in candidates {
        local.current[at] += weight(at);
    }
    let chosen = candidates.iter().copied().max_by_key(|&at| (local.current[at], std::cmp::Reverse(at)))?;
    local.current[chosen] -= candidates.iter().map(|&at| weight(at)).sum::<i64>();
    Some(chosen)
}
