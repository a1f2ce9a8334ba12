//! `random`: any feasible endpoint, each as likely.

use crate::balance::Local;

pub(super) fn pick(candidates: &[usize], local: &mut Local) -> Option<usize> {
    if candidates.is_empty() { None } else { Some(candidates[local.below(candidates.len())]) }
}
