//! What happened to the cluster, as far as it can matter to a waiting pod.

use super::{Node, Pod, PodKey, StorageChange};
use crate::topology::PairStat;
use crate::units::Timestamp;
use smallvec::SmallVec;
use std::sync::Arc;

/// Returned by every change of the [`super::Cluster`]; a queue asks [`crate::plan::WakeOn::wakes`] which of its pods an event may help.
#[derive(Clone, Debug, PartialEq)]
pub enum ClusterEvent {
    NodeAdded {
        node: Arc<Node>,
    },
    /// What of it changed. `taints` includes `unschedulable`.
    NodeUpdated {
        before: Arc<Node>,
        after: Arc<Node>,
        labels: bool,
        taints: bool,
        allocatable: bool,
        features: bool,
    },
    NodeDeleted {
        node: String,
    },
    /// A pod without a node appeared: a reference to it is known from now on.
    PodAdded {
        pod: Arc<Pod>,
    },
    /// A pod without a node changed: its own verdict may.
    PodUpdated {
        pod: Arc<Pod>,
    },
    /// A pod was bound or assumed, or moved.
    PodPlaced {
        pod: Arc<Pod>,
        node: String,
    },
    /// A pod gave back room on its node: deleted, ended, forgotten, or asking for less. No reference leads to it from now on.
    PodReleased {
        pod: Arc<Pod>,
        node: String,
    },
    /// A pod without a node waits for room on this one no longer: it has gone, has a node, or waits elsewhere.
    PromiseEnded {
        pod: Arc<Pod>,
        node: String,
    },
    /// A pod on a node has other labels, or is being deleted from now on.
    PodRelabelled {
        before: Arc<Pod>,
        after: Arc<Pod>,
    },
    /// A pod without a node is gone.
    PodGone {
        pod: Arc<Pod>,
    },
    /// A storage object appeared, changed or went, in a way that may help.
    Storage(StorageChange),
    /// The figures of an unordered pair changed by a report made at `at`, at which time neither need be fresh.
    RttChanged {
        a: String,
        b: String,
        old: Option<PairStat>,
        new: PairStat,
        at: Timestamp,
    },
    /// A claim appeared, changed or went; `freed`: devices are to be had that were its.
    ClaimChanged {
        key: PodKey,
        freed: bool,
    },
    /// Devices, their taints or their classes.
    DevicesChanged,
    /// The topology service has heard from its agents.
    TopologyWarm,
}

/// Most changes give one event or none.
pub type Changes = SmallVec<[ClusterEvent; 2]>;
