//! Where pods stand: pending, assumed, bound.
//!
//! ```text
//!                 apply_pod (no node)          assume                    apply_pod (node)
//!      ─────────────────────────────► pending ─────────► assumed ─────────────────────────► bound
//!                                        ▲                  │ │                               │
//!                                        └───── forget ─────┘ │ delete_pod, another UID       │ delete_pod, another UID
//!                                                             ▼                               ▼
//!                                                           (gone)                          (gone)
//! ```
//!
//! * An update of an assumed pod that does not yet name a node leaves it assumed: updates and the binding race.
//! * A pod that comes back bound elsewhere than assumed takes its room there: the API server is right.
//! * `forget` after the confirmation changes nothing.

use super::columns::{CHUNK, Take};
use super::disruption::nominate;
use super::index::{PodEntry, pod_hash};
use super::live::Cluster;
use super::sharded::Keyed;
use super::snapshot::{Moved, Snapshot};
use super::{Changes, ClusterEvent, NodeIx, Pod, PodKey, PodPhase, Resources};
use crate::filter::volume_binding;
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// Why a pod can't be assumed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssumeError {
    #[error("pod {0} is not known")]
    UnknownPod(PodKey),
    #[error("pod {pod} was replaced: its UID is {have}, not {want}")]
    UidMismatch { pod: PodKey, have: String, want: String },
    #[error("pod {pod} is already on node {node}")]
    AlreadyPlaced { pod: PodKey, node: String },
    #[error("pod {0} is being deleted")]
    Terminating(PodKey),
    #[error("pod {0} has ended")]
    Ended(PodKey),
    #[error("pod {0} has scheduling gates")]
    Gated(PodKey),
    #[error("node {0} is not known")]
    UnknownNode(String),
    #[error("the volumes of pod {pod} are not to be had on node {node} any more")]
    VolumesTaken { pod: PodKey, node: String },
    #[error("the devices that pod {pod} claims are not to be had on node {node} any more")]
    DevicesTaken { pod: PodKey, node: String },
}

/// The node whose room the pod waits for.
fn promise(entry: &PodEntry) -> Option<&str> {
    entry.pod.nominated_node.as_deref().filter(|_| entry.node.is_none() && entry.pod.phase != PodPhase::Ended)
}

/// The pod waited for room on another node than the one that it has, or waits for, now.
fn promise_ended(have: &PodEntry, now: Option<&str>) -> Option<ClusterEvent> {
    let node = promise(have).filter(|node| Some(*node) != now)?.to_owned();
    Some(ClusterEvent::PromiseEnded { pod: Arc::clone(&have.pod), node })
}

impl Cluster {
    /// A pod of any scheduler appeared or changed.
    pub fn apply_pod(&mut self, pod: impl Into<Arc<Pod>>) -> Changes {
        let pod: Arc<Pod> = pod.into();
        let Some(have) = self.entry(&pod.key) else { return self.insert_pod(pod) };
        if have.pod == pod {
            return Changes::new();
        }
        if have.pod.uid != pod.uid {
            let mut changes = self.delete_pod(&pod.key.clone());
            changes.extend(self.insert_pod(pod));
            return changes;
        }
        let bound = pod.node_name.is_some();
        let node = self.node_of(&pod).or(have.node.filter(|_| pod.phase != PodPhase::Ended));
        let entry = PodEntry { node, assumed: node.is_some() && !bound && have.assumed, pod };
        self.replace_pod(have, entry)
    }

    pub fn delete_pod(&mut self, key: &PodKey) -> Changes {
        let Some(have) = self.entry(key) else { return Changes::new() };
        let node = have.node.map(|ix| self.state.name(ix).to_owned());
        self.account(&have, -1);
        let mut changes = self.release_volumes(key);
        let state = self.change();
        state.pods.remove(have.hash(), |entry| entry.pod.key == *key);
        state.workloads.remove(&have.pod);
        if let Some(ix) = have.node {
            self.release_unused(ix);
        }
        changes.extend(promise_ended(&have, None));
        let pod = have.pod;
        changes.push(match node {
            Some(node) => ClusterEvent::PodReleased { pod, node },
            None => ClusterEvent::PodGone { pod },
        });
        changes
    }

    /// Takes the room on the node before the binding is sent. Ends with [`apply_pod`](Cluster::apply_pod) that names the node, or with `forget`.
    pub fn assume(&mut self, key: &PodKey, uid: &str, node: &str) -> Result<Changes, AssumeError> {
        let ix = self.state.node_index(node).ok_or_else(|| AssumeError::UnknownNode(node.to_owned()))?;
        let before = self.entry(key);
        self.assume_at(key, uid, ix)?;
        let placed = |pod| ClusterEvent::PodPlaced { pod, node: node.to_owned() };
        let told = before.into_iter().flat_map(|have| [promise_ended(&have, Some(node)), Some(placed(have.pod))]);
        Ok(told.flatten().collect())
    }

    /// As [`assume`](Cluster::assume), by index and without an event.
    pub fn assume_at(&mut self, key: &PodKey, uid: &str, ix: NodeIx) -> Result<(), AssumeError> {
        let have = self.entry(key).ok_or_else(|| AssumeError::UnknownPod(key.clone()))?;
        let pod = &have.pod;
        if pod.uid != uid {
            return Err(AssumeError::UidMismatch { pod: key.clone(), have: pod.uid.clone(), want: uid.to_owned() });
        }
        if let Some(on) = have.node {
            return Err(AssumeError::AlreadyPlaced { pod: key.clone(), node: self.state.name(on).to_owned() });
        }
        if pod.terminating {
            return Err(AssumeError::Terminating(key.clone()));
        }
        if pod.phase == PodPhase::Ended {
            return Err(AssumeError::Ended(key.clone()));
        }
        if !pod.scheduling_gates.is_empty() {
            return Err(AssumeError::Gated(key.clone()));
        }
        if self.state.node(ix).is_none() {
            return Err(AssumeError::UnknownNode(self.state.name(ix).to_owned()));
        }
        let taken = || AssumeError::VolumesTaken { pod: key.clone(), node: self.state.name(ix).to_owned() };
        let plan = volume_binding::plan(&self.state, pod, ix).ok_or_else(taken)?;
        if self.assume_devices(&have.pod, ix).is_none() {
            return Err(AssumeError::DevicesTaken { pod: key.clone(), node: self.state.name(ix).to_owned() });
        }
        self.move_pod(have, Some(ix), true);
        if !plan.is_empty() {
            let node = self.state.name(ix).to_owned();
            self.assume_volumes(key, &node, plan);
        }
        Ok(())
    }

    /// The binding failed: gives the room back. Nothing happens when the pod is not assumed.
    pub fn forget(&mut self, key: &PodKey) -> Changes {
        let Some(have) = self.entry(key).filter(|entry| entry.assumed) else { return Changes::new() };
        let Some(ix) = have.node else { return Changes::new() };
        let node = self.state.name(ix).to_owned();
        let pod = Arc::clone(&have.pod);
        self.move_pod(have, None, false);
        self.release_unused(ix);
        let mut changes = self.release_volumes(key);
        changes.extend(self.release_devices(&pod.uid));
        changes.push(ClusterEvent::PodReleased { pod, node });
        changes
    }

    fn entry(&self, key: &PodKey) -> Option<PodEntry> {
        self.state.pods.find(pod_hash(&key.namespace, &key.name), |entry| entry.pod.key == *key).cloned()
    }

    /// Where the object says that the pod stands. An ended pod stands nowhere: it holds no room and is no target of a reference.
    fn node_of(&mut self, pod: &Pod) -> Option<NodeIx> {
        let name = pod.node_name.as_deref().filter(|_| pod.phase != PodPhase::Ended)?;
        Some(self.intern(name))
    }

    fn insert_pod(&mut self, pod: Arc<Pod>) -> Changes {
        let node = self.node_of(&pod);
        let entry = PodEntry { pod, node, assumed: false };
        self.account(&entry, 1);
        let pod = Arc::clone(&entry.pod);
        let state = self.change();
        if entry.pod.phase != PodPhase::Ended {
            state.workloads.set(&entry);
        }
        state.pods.insert(entry);
        smallvec![match node {
            Some(ix) => ClusterEvent::PodPlaced { pod, node: self.state.name(ix).to_owned() },
            None => ClusterEvent::PodAdded { pod },
        }]
    }

    /// Puts `entry` in the place of `have`, which has the same key and UID.
    fn replace_pod(&mut self, have: PodEntry, entry: PodEntry) -> Changes {
        if !takes_the_same(&have, &entry) {
            self.account(&have, -1);
            self.account(&entry, 1);
        }
        let (before, after) = (have.node, entry.node);
        let mut changes = Changes::new();
        if have.assumed && !entry.assumed {
            let released = self.release_volumes(&have.pod.key);
            // Where it is bound as it was assumed, so are its claims, and nothing became free.
            if before != after {
                changes.extend(released);
            }
        }
        let pod = Arc::clone(&entry.pod);
        let name = |state: &Snapshot, ix| state.name(ix).to_owned();
        if let Some(ix) = before.filter(|_| before != after || gives_room(&have.pod, &entry.pod)) {
            changes.push(ClusterEvent::PodReleased { pod: Arc::clone(&have.pod), node: name(&self.state, ix) });
        }
        let still = after.map(|ix| self.state.name(ix)).or_else(|| promise(&entry));
        changes.extend(promise_ended(&have, still));
        match after {
            Some(ix) if before != after => changes.push(ClusterEvent::PodPlaced { pod, node: name(&self.state, ix) }),
            Some(_) if have.pod.labels != pod.labels || have.pod.terminating != pod.terminating => {
                changes.push(ClusterEvent::PodRelabelled { before: Arc::clone(&have.pod), after: pod });
            }
            None if before.is_none() => changes.push(ClusterEvent::PodUpdated { pod }),
            _ => {}
        }
        let old_node = have.node.filter(|_| have.node != entry.node);
        let state = self.change();
        if entry.pod.phase == PodPhase::Ended || entry.pod.owner != have.pod.owner {
            state.workloads.remove(&have.pod);
        }
        if entry.pod.phase != PodPhase::Ended {
            state.workloads.set(&entry);
        }
        if let Some(slot) = state.pods.find_mut(have.hash(), |e| e.pod.key == have.pod.key) {
            *slot = entry;
        }
        if let Some(ix) = old_node {
            self.release_unused(ix);
        }
        changes
    }

    fn move_pod(&mut self, have: PodEntry, node: Option<NodeIx>, assumed: bool) {
        let hash = have.hash();
        let entry = PodEntry { pod: Arc::clone(&have.pod), node, assumed };
        self.account(&have, -1);
        self.account(&entry, 1);
        let state = self.change();
        state.workloads.set(&entry);
        if let Some(slot) = state.pods.find_mut(hash, |e| e.pod.key == entry.pod.key) {
            *slot = entry;
        }
    }

    /// Adds a pod to (`sign` 1) or takes it from (-1) all that is counted by node.
    fn account(&mut self, entry: &PodEntry, sign: i64) {
        let pod = &entry.pod;
        let Some(ix) = entry.node else {
            if pod.nominated_node.is_some() && pod.phase != PodPhase::Ended {
                nominate(&mut Arc::make_mut(&mut self.state).nominations, pod, sign);
            }
            return;
        };
        self.load(pod, ix, sign);
        let state = Arc::make_mut(&mut self.state);
        state.census.change(pod, ix, sign);
        state.held.change(pod, ix, sign);
        if !pod.volumes.is_empty() {
            Arc::make_mut(&mut state.storage).users.change(pod, ix, sign);
        }
    }

    /// The room that a pod takes on the node.
    fn load(&mut self, pod: &Pod, ix: NodeIx, sign: i64) {
        let extended = if pod.requests.extended.is_empty() { SmallVec::new() } else { self.extended(&pod.requests) };
        let state = Arc::make_mut(&mut self.state);
        let take = Take { requests: &pod.requests, scoring: &pod.scoring_requests, extended: &extended, ports: &pod.host_ports };
        Arc::make_mut(&mut Arc::make_mut(&mut state.load)[ix.at() / CHUNK]).add(ix.at() % CHUNK, &take, sign);
    }
}

impl Snapshot {
    /// The same state without one pod. Of the same identity: names, labels and taints are as they were.
    pub fn without(&self, key: &PodKey) -> Snapshot {
        let mut cluster = Cluster { state: Arc::new(self.clone()), free: Vec::new() };
        if let Some(have) = cluster.entry(key) {
            cluster.account(&have, -1);
            let state = cluster.change();
            state.pods.remove(have.hash(), |entry| entry.pod.key == *key);
            state.workloads.remove(&have.pod);
        }
        Arc::unwrap_or_clone(cluster.state)
    }

    /// The same state with pending pods placed. Of the same identity, likewise.
    pub fn with(&self, placements: &[(&PodKey, NodeIx)]) -> Snapshot {
        let mut what_if = self.what_if();
        placements.iter().for_each(|&(key, ix)| what_if.put(key, Some(ix)));
        Snapshot { moved: Vec::new(), ..Arc::unwrap_or_clone(what_if.0.state) }
    }
}

/// A state that pods leave and come to, step by step. Of the same identity as the one it began with: names, labels and taints stay as they are.
pub struct WhatIf(Cluster);

impl WhatIf {
    pub(super) fn new(snapshot: &Snapshot) -> WhatIf {
        WhatIf(Cluster { state: Arc::new(snapshot.clone()), free: Vec::new() })
    }

    pub fn view(&self) -> &Snapshot {
        self.0.view()
    }

    /// The pod has this node, or none. Nothing happens to a pod that is not known.
    pub fn put(&mut self, key: &PodKey, node: Option<NodeIx>) {
        if let Some(have) = self.0.entry(key) {
            let (pod, before) = (Arc::clone(&have.pod), have.node);
            self.0.move_pod(have, node, node.is_some());
            before.iter().for_each(|from| self.note(*from, &pod, -1));
            node.iter().for_each(|to| self.note(*to, &pod, 1));
        }
    }

    /// As [`put`](Self::put), for who looks at nothing but room: what the pod takes of the node comes (`sign` 1) or goes (-1), and all else that is known of
    /// the pod stays as it is.
    pub fn take_room(&mut self, pod: &Pod, node: NodeIx, sign: i64) {
        self.0.load(pod, node, sign);
    }

    /// There and back again is no move.
    fn note(&mut self, node: NodeIx, pod: &Arc<Pod>, by: i64) {
        let moved = &mut self.0.change().moved;
        match moved.iter().position(|other| other.node == node && other.by == -by && Arc::ptr_eq(&other.pod, pod)) {
            Some(back) => drop(moved.swap_remove(back)),
            None => moved.push(Moved { node, pod: Arc::clone(pod), by }),
        }
    }
}

/// Whether nothing that is counted by node differs: most updates of a running pod are of its status.
fn takes_the_same(before: &PodEntry, after: &PodEntry) -> bool {
    let (old, new) = (&before.pod, &after.pod);
    if before.node.is_none() && after.node.is_none() {
        // Nominations keep the pod itself.
        return old.nominated_node.is_none() && new.nominated_node.is_none();
    }
    before.node == after.node
        && (old.terminating, &old.labels) == (new.terminating, &new.labels)
        && (&old.requests, &old.scoring_requests) == (&new.requests, &new.scoring_requests)
        && (&old.pod_affinity, &old.pod_anti_affinity) == (&new.pod_affinity, &new.pod_anti_affinity)
}

/// Whether the update leaves more room on the node.
fn gives_room(before: &Pod, after: &Pod) -> bool {
    let less = |a: &Resources, b: &Resources| {
        b.cpu < a.cpu
            || b.memory < a.memory
            || b.ephemeral_storage < a.ephemeral_storage
            || a.extended.iter().any(|(name, amount)| b.extended.get(name).is_none_or(|now| now < amount))
    };
    less(&before.requests, &after.requests)
}
