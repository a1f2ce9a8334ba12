//! `round-robin`: the next feasible endpoint after the one chosen last.

use crate::balance::Local;

pub(super) fn pick(candidates: &[usize], local: &mut Local) -> Option<usize> {
    // The place in the list of endpoints is remembered, not the place among the candidates: who comes and goes shifts nobody's turn.
    let first = *candidates.first()?;
    let last = candidates.last().copied().unwrap_or(first);
    // The start offset is random; it wraps into the range of the candidates on first use.
    let cursor = if local.cursor > last { first + local.cursor % (last - first + 1) } else { local.cursor + 1 };
    let next = candidates[candidates.partition_point(|&at| at < cursor) % candidates.len()];
    local.cursor = next;
    Some(next)
}
