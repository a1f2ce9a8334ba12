//! The bare outcome of a decision, without a word per node.

use super::Hold;
use crate::cluster::NodeIx;

/// What the topology service knows so far. Pods with bounds wait until it is warm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Warmth {
    #[default]
    Warm,
    /// So many nodes of so many have reported since the start.
    Warming { heard: u32, expected: u32 },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    Place(NodeIx),
    /// No node fits.
    Unschedulable,
    /// Held back before any node was looked at.
    Held(Hold),
}
