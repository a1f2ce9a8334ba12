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

use std::collections::BTreeMap;

/// Labels by key.
pub type Labels = BTreeMap<String, String>;
