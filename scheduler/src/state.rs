//! What the scheduler knows and what it has yet to do: the model's cluster, the queue, and what was last said about each pending pod.
//!
//! One lock guards all of it, and nothing awaits or does I/O under it: every change is an event in memory that takes microseconds.

use crate::explain::Decisions;
use crate::queue::{Event, Queue, Settings, Wake};
use k8s_openapi::api::core::v1::PodCondition;
use placement::cluster::{Changes, Cluster, ClusterEvent, Pod, PodKey, StorageChange};
use placement::plan::{Topic, Topics, WakeOn};
use placement::units::Timestamp;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

impl Event for ClusterEvent {
    /// kube-scheduler's names where it has one.
    fn label(&self) -> &'static str {
        match self {
            ClusterEvent::NodeAdded { .. } => "NodeAdd",
            ClusterEvent::NodeUpdated { allocatable: true, .. } => "NodeUpdateNodeAllocatable",
            ClusterEvent::NodeUpdated { taints: true, .. } => "NodeUpdateNodeTaint",
            ClusterEvent::NodeUpdated { features: true, .. } => "NodeUpdateNodeDeclaredFeature",
            ClusterEvent::NodeUpdated { .. } => "NodeUpdateNodeLabel",
            ClusterEvent::NodeDeleted { .. } => "NodeDelete",
            ClusterEvent::PodAdded { .. } => "UnscheduledPodAdd",
            ClusterEvent::PodUpdated { .. } => "UnscheduledPodUpdate",
            ClusterEvent::PodPlaced { .. } => "AssignedPodAdd",
            ClusterEvent::PodReleased { .. } | ClusterEvent::PromiseEnded { .. } => "AssignedPodDelete",
            ClusterEvent::PodRelabelled { .. } => "AssignedPodUpdate",
            ClusterEvent::PodGone { .. } => "UnscheduledPodDelete",
            ClusterEvent::Storage(StorageChange::Claim { .. }) => "PersistentVolumeClaimUpdate",
            ClusterEvent::Storage(StorageChange::Volume) => "PersistentVolumeUpdate",
            ClusterEvent::Storage(StorageChange::Class) => "storage.k8s.io/StorageClassUpdate",
            ClusterEvent::Storage(StorageChange::CsiNode) => "storage.k8s.io/CSINodeUpdate",
            ClusterEvent::Storage(StorageChange::CsiDriver) => "storage.k8s.io/CSIDriverUpdate",
            ClusterEvent::Storage(StorageChange::Capacity) => "storage.k8s.io/CSIStorageCapacityUpdate",
            ClusterEvent::Storage(StorageChange::Detached) => "storage.k8s.io/VolumeAttachmentDelete",
            ClusterEvent::RttChanged { .. } => "RttChange",
            ClusterEvent::ClaimChanged { .. } => "resource.k8s.io/ResourceClaimUpdate",
            ClusterEvent::DevicesChanged => "resource.k8s.io/ResourceSliceUpdate",
            ClusterEvent::TopologyWarm => "TopologyWarm",
        }
    }

    fn topics(&self) -> Topics {
        self.topics()
    }
}

/// What rejected a pod, and what may help it.
pub struct Rejection {
    pub by: Vec<&'static str>,
    pub wake: WakeOn,
}

impl Wake<ClusterEvent> for Rejection {
    fn topics(&self) -> Vec<Topic> {
        self.wake.topics()
    }

    fn wakes(&self, event: &ClusterEvent) -> bool {
        self.wake.wakes(event)
    }

    fn rejected_by(&self) -> Vec<&'static str> {
        self.by.clone()
    }
}

/// The condition `PodScheduled` and the nominated node as the API server has them, or as we last asked them to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub uid: String,
    pub nominated: Option<String>,
    pub status: String,
    pub reason: String,
    pub message: String,
}

impl Told {
    pub fn of(pod: &Pod, condition: &PodCondition) -> Told {
        Told {
            uid: pod.uid.clone(),
            nominated: pod.nominated_node.clone(),
            status: condition.status.clone(),
            reason: condition.reason.clone().unwrap_or_default(),
            message: condition.message.clone().unwrap_or_default(),
        }
    }
}

pub struct State {
    pub cluster: Cluster,
    pub queue: Queue<ClusterEvent>,
    /// Of pods in the queue.
    pub told: HashMap<PodKey, Told>,
    pub decisions: Decisions,
    /// How to call off what is prepared for a pod, by its UID: for another of higher priority, it goes back to the queue and is not deleted.
    pub preparing: HashMap<String, CancellationToken>,
    /// Pods that refer to RTTs may be judged.
    pub warm: bool,
}

impl State {
    /// Tells the queue what changed.
    pub fn note(&mut self, changes: &Changes, now: Timestamp) {
        for event in changes {
            self.queue.notify(event, now);
        }
    }

    /// A pod of any scheduler as the API server has it.
    pub fn apply_pod(&mut self, pod: Arc<Pod>, told: Option<Told>, now: Timestamp) {
        let ours = self.cluster.view().settings().profiles.serve(&pod.scheduler_name);
        let waits = ours && pod.node_name.is_none() && !pod.terminating && pod.phase == placement::cluster::PodPhase::Pending;
        let changes = self.cluster.apply_pod(pod.clone());
        if waits {
            match told {
                Some(told) => drop(self.told.insert(pod.key.clone(), told)),
                None => drop(self.told.remove(&pod.key)),
            }
            // An assumed pod is on its way: its binding decides what becomes of it.
            self.queue.apply(pod, now);
        } else {
            self.queue.delete(&pod.key);
            self.told.remove(&pod.key);
        }
        self.note(&changes, now);
    }

    /// The pod waits for room on this node, or on none any more; see [`Cluster::nominate`].
    pub fn nominate(&mut self, pod: &Pod, node: Option<&str>, now: Timestamp) {
        let changes = self.cluster.nominate(&pod.key, &pod.uid, node);
        self.note(&changes, now);
    }

    pub fn delete_pod(&mut self, key: &PodKey, now: Timestamp) {
        self.queue.delete(key);
        self.told.remove(key);
        self.decisions.forget(key);
        let changes = self.cluster.delete_pod(key);
        self.note(&changes, now);
    }
}

/// The state, shared by what feeds it and what acts on it.
pub struct Shared {
    state: Mutex<State>,
    /// Something was queued or became due.
    pub wake: Notify,
    /// Told of every change of a storage object.
    pub storage: watch::Sender<()>,
    /// Told of every change of a pod, and where one gives its room back.
    pub pods: watch::Sender<()>,
}

impl Shared {
    pub fn new(model: placement::cluster::Settings, queue: Settings, warm: bool) -> Shared {
        let state = State {
            cluster: Cluster::new(model),
            queue: Queue::new(queue),
            told: HashMap::new(),
            decisions: Decisions::default(),
            preparing: HashMap::new(),
            warm,
        };
        Shared { state: Mutex::new(state), wake: Notify::new(), storage: watch::Sender::default(), pods: watch::Sender::default() }
    }

    /// Takes the lock. A panic elsewhere left whole values behind: every change is applied by one call.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes the cycle.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.wake.notify_one();
        result
    }
}

/// The wall clock, where the program meets the model.
pub fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond().max(0) as u64)
}
