//! What the model knows of the cluster: nodes and pods as columns, changed by events, read through immutable snapshots.

mod node;
mod pod;
mod resources;
mod selector;
mod toleration;

pub use node::{Node, Taint, TaintEffect};
pub use pod::{NodeAffinity, Pod, PodKey, PodPhase, Refusal, Workload, WorkloadKind};
pub use resources::Resources;
pub use selector::{NodeSelectorTerm, Operator, Requirement};
pub use toleration::{Toleration, TolerationOperator};

use std::collections::BTreeMap;

/// Labels by key.
pub type Labels = BTreeMap<String, String>;
