//! The policies, one file each: what to choose among the feasible endpoints.

mod balance;
mod least_connections;
mod optimized;
mod random;
mod round_robin;
mod squeeze;
mod weighted_round_robin;

pub use balance::Spread;
pub use optimized::Objective;

use super::Local;
use super::pick::{Choice, Counts};

/// How one of the feasible endpoints is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Policy {
    Balance(Spread),
    RoundRobin,
    Squeeze,
    Random,
    WeightedRoundRobin,
    LeastConnections,
    Optimized(Objective),
}

impl Default for Policy {
    fn default() -> Policy {
        Policy::Balance(Spread::default())
    }
}

impl Policy {
    /// One of the candidates; `None` only when there are none. May drop candidates on the way.
    pub(super) fn choose<C: Counts>(self, choice: &Choice<'_, C>, candidates: &mut Vec<usize>, local: &mut Local) -> Option<usize> {
        match self {
            Policy::Balance(spread) => balance::pick(choice, candidates, spread, local),
            Policy::RoundRobin => round_robin::pick(candidates, local),
            Policy::Squeeze => squeeze::pick(choice, candidates, local),
            Policy::Random => random::pick(candidates, local),
            Policy::WeightedRoundRobin => weighted_round_robin::pick(choice.endpoints, candidates, local),
            Policy::LeastConnections => least_connections::pick(choice, candidates, local),
            Policy::Optimized(objective) => optimized::pick(choice, candidates, objective, local),
        }
    }
}
