//! What the model knows of the cluster: nodes and pods as columns, changed by events, read through immutable snapshots.

mod event;
mod ix;
mod node;
mod pod;
mod resources;
mod selector;
mod settings;
mod toleration;

pub use event::{Changes, ClusterEvent};
pub use ix::NodeIx;
pub use node::{Node, Taint, TaintEffect};
pub use pod::{NodeAffinity, Pod, PodKey, PodPhase, Refusal, Workload, WorkloadKind};
pub use resources::Resources;
pub use selector::{NodeSelectorTerm, Operator, Requirement};
pub use settings::{LabelMatch, Price, Settings, Undelayed, Weights};
pub use toleration::{Toleration, TolerationOperator};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A node's place in every column of the model: topology rows, bitsets, endpoint tables. Stable while the node is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeIx(pub u32);

impl NodeIx {
    /// The index as a position in a column.
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

/// Labels by key.
pub type Labels = BTreeMap<String, String>;
