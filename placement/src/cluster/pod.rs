//! A pod as the model sees it.

use super::{HostPort, Image, Labels, NodeSelectorTerm, PodAffinity, PodVolume, Resources, SpreadConstraint, Toleration};
use crate::constraint::{DelayBound, DelayError};
use crate::devices::PodClaim;
use crate::units::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Namespace and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodKey {
    pub namespace: String,
    pub name: String,
}

impl PodKey {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> PodKey {
        PodKey { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum WorkloadKind {
    Deployment,
    StatefulSet,
    DaemonSet,
    Job,
    ReplicaSet,
}

/// The controller a pod belongs to, in the pod's namespace. A pod of a Deployment's ReplicaSet belongs to the Deployment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Workload {
    pub kind: WorkloadKind,
    pub name: String,
}

/// Controllers whose selector a pod is spread by where it has no constraints of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ControllerKind {
    ReplicationController,
    ReplicaSet,
    StatefulSet,
}

/// The pod's controller as its owner reference names it; unlike [`Workload`], a ReplicaSet stays one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Controller {
    pub kind: ControllerKind,
    pub name: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PodPhase {
    #[default]
    Pending,
    Running,
    /// Succeeded or Failed: holds no capacity and is no target of a reference.
    Ended,
}

/// Something in the pod's spec that is not implemented. The pod stays Pending with this reason and is never bound by ignoring it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Refusal {
    /// Path in the pod, e.g. `spec.topologySpreadConstraints`.
    pub field: String,
    /// What the operator would read, e.g. `is not supported yet`.
    pub why: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAffinity {
    /// Terms of which one must match; `None` when nothing is required. An empty list matches no node.
    pub required: Option<Vec<NodeSelectorTerm>>,
    /// Terms with their weight, 1 to 100.
    pub preferred: Vec<(i32, NodeSelectorTerm)>,
}

/// A pod at the edge of the model: strings, parsed once from `v1.Pod`, interned by the index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    pub key: PodKey,
    pub uid: String,
    pub labels: Labels,
    pub scheduler_name: String,
    pub priority: i32,
    pub created: Timestamp,
    /// Node the pod is bound to (`spec.nodeName` of a pod that is bound or static).
    pub node_name: Option<String>,
    /// Where the pod waits for room that it has been promised.
    pub nominated_node: Option<String>,
    /// `preemptionPolicy: Never`: nobody is evicted for the pod.
    pub never_preempts: bool,
    /// `status.startTime`; `None` until the kubelet has taken it.
    pub started: Option<Timestamp>,
    /// It is being deleted since a scheduler preempted it.
    pub preempted: bool,
    pub phase: PodPhase,
    /// `metadata.deletionTimestamp` is set.
    pub terminating: bool,
    pub scheduling_gates: Vec<String>,
    /// `spec.schedulingGroup` is set: a group is not broken up, so the pod is not evicted for another.
    #[serde(default)]
    pub grouped: bool,
    pub owner: Option<Workload>,
    pub controller: Option<Controller>,
    /// max(containers + sidecars, each init container + earlier sidecars), pod-level requests in their place, plus overhead.
    pub requests: Resources,
    /// For scoring only: as `requests`, but a container without a CPU or memory request counts 100m or 200 MiB.
    pub scoring_requests: Resources,
    /// What the pod counts in its own NodeResourcesFit score, where that differs: kube-scheduler 1.37 leaves requests at pod level out there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_scoring: Option<Box<Resources>>,
    pub node_selector: Labels,
    pub affinity: NodeAffinity,
    pub pod_affinity: PodAffinity,
    pub pod_anti_affinity: PodAffinity,
    /// Empty: the defaults of the settings hold.
    pub spread: Vec<SpreadConstraint>,
    pub tolerations: Vec<Toleration>,
    /// Ports that containers and sidecars take on the node.
    pub host_ports: Vec<HostPort>,
    /// Images of init containers, containers and volumes, each with its tag; one that is used twice stands here twice.
    pub images: Vec<Image>,
    /// Those that bind the pod to nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<PodVolume>,
    /// Features that the node must declare.
    pub required_features: Vec<String>,
    /// Devices that the pod needs.
    pub claims: Vec<PodClaim>,
    /// Delay bounds from labels and annotation; every one must hold.
    pub delays: Vec<DelayBound>,
    /// Delay labels or annotation entries that cannot be read; any keeps the pod Pending.
    pub delay_errors: Vec<DelayError>,
    pub refusals: Vec<Refusal>,
}

impl Pod {
    /// Whether the pod takes room on its node: bound (or assumed) and not ended. Terminating pods do.
    pub fn holds_capacity(&self) -> bool {
        self.node_name.is_some() && self.phase != PodPhase::Ended
    }
}
