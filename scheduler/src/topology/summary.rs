//! The topology in a page: who reports, what is measured, what is warm.

use super::board::Board;
use placement::cluster::Snapshot;
use placement::units::Timestamp;
use serde::{Deserialize, Serialize};

/// `GET /v1/summary`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub at_ms: u64,
    pub generation: u64,
    pub warm: bool,
    /// Why the source of RTTs gives nothing at present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    pub nodes: usize,
    /// Ready nodes whose agents have reported on their peers since the start, and all Ready nodes.
    pub heard: u32,
    pub expected: u32,
    /// Unordered pairs with a figure that may admit, and all pairs of nodes.
    pub measured: usize,
    pub pairs: usize,
}

pub fn summary(board: &Board, cluster: &Snapshot, now: Timestamp) -> Summary {
    let max_age = cluster.settings().max_age;
    let (heard, expected) = board.heard();
    let nodes = cluster.node_count();
    let fresh = |stat: &placement::topology::PairStat| stat.kind.admits() && now.since(stat.at) <= max_age;
    let both = |a, b| cluster.node(a).is_some() && cluster.node(b).is_some();
    Summary {
        at_ms: now.0,
        generation: board.feed().generation(),
        warm: board.is_warm(),
        trouble: board.trouble(),
        nodes,
        heard,
        expected,
        measured: cluster.rtt().pairs().filter(|(a, b, stat)| fresh(stat) && both(*a, *b)).count(),
        pairs: nodes * nodes.saturating_sub(1) / 2,
    }
}
