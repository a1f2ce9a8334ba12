//! What is known about one pair of nodes.

use crate::units::{Micros, Timestamp};
use serde::{Deserialize, Serialize};

/// Where a figure comes from. Only `Measured` and `Declared` admit a pod or a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Probed by an agent.
    Measured,
    /// From a file or object that an operator wrote.
    Declared,
    /// From coordinates or completion: ranks and rules out, never admits.
    Estimated,
    /// A shortest path over measured pairs: an upper bound of a detour, no estimate of the RTT.
    DetourBound,
}

impl Kind {
    pub fn admits(self) -> bool {
        matches!(self, Kind::Measured | Kind::Declared)
    }
}

/// The window of one unordered pair, as seen by one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairStat {
    pub p50: Micros,
    /// What a bound is held against: the maximum of the window from 5 to 15 samples, its p90 from 16.
    pub p90: Micros,
    /// Lost probes per 1000 of the window.
    pub loss_permille: u16,
    pub samples: u16,
    /// Time of the last answered probe.
    pub at: Timestamp,
    pub kind: Kind,
}
