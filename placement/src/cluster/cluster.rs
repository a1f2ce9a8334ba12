//! The cluster, changed by events. What changes is copied only where a snapshot that somebody still holds shares it.
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

use super::columns::{CHUNK, FixedChunk, LoadChunk, Take};
use super::index::{PodEntry, name_hash, pod_hash};
use super::sharded::Keyed;
use super::snapshot::{Identity, Snapshot};
use super::{Changes, ClusterEvent, Node, NodeIx, Pod, PodKey, PodPhase, Resources, Settings, TaintEffect, Workload};
use crate::score::demand::Demand;
use crate::topology::{PairChange, PairStat, RttStore};
use crate::units::{Micros, Span, Timestamp};
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
}

/// The live index. See the module's drawing for a pod's states.
#[derive(Debug)]
pub struct Cluster {
    state: Arc<Snapshot>,
    free: Vec<NodeIx>,
}

impl Cluster {
    pub fn new(settings: Settings) -> Cluster {
        let rtt = RttStore::new(settings.max_age);
        let state = Snapshot {
            identity: Identity::new(),
            generation: 0,
            static_generation: 0,
            settings: Arc::new(settings),
            names: Default::default(),
            fixed: Arc::default(),
            load: Arc::default(),
            node_count: 0,
            cloud_count: 0,
            resource_names: Arc::default(),
            pods: Default::default(),
            workloads: Default::default(),
            demand: Arc::default(),
            rtt,
        };
        Cluster { state: Arc::new(state), free: Vec::new() }
    }

    /// The state as it is now. Costs one reference count; what changes later is copied as far as this still shares it.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.state)
    }

    /// The state as it is now, for reading while nothing changes it.
    pub fn view(&self) -> &Snapshot {
        &self.state
    }

    /// A cluster of the same state that goes its own way: what if.
    pub fn fork(snapshot: &Snapshot) -> Cluster {
        let state = Snapshot { identity: Identity::new(), ..snapshot.clone() };
        let free = (0..state.index_len() as u32).rev().map(NodeIx);
        let free = free.filter(|&ix| state.slot(ix).is_some_and(|slot| slot.name.is_none())).collect();
        Cluster { state: Arc::new(state), free }
    }

    fn change(&mut self) -> &mut Snapshot {
        let state = Arc::make_mut(&mut self.state);
        state.generation += 1;
        state
    }

    // Nodes.

    /// A node appeared or changed. Empty when nothing that matters here changed (a heartbeat).
    pub fn apply_node(&mut self, node: Node) -> Changes {
        let known = self.state.node_index(&node.name);
        if known.is_some_and(|ix| self.state.node(ix).is_some_and(|have| **have == node)) {
            return Changes::new();
        }
        let ix = known.unwrap_or_else(|| self.intern(&node.name));
        let extended = self.extended(&node.allocatable);
        let state = self.change();
        let slot = &mut Arc::make_mut(&mut Arc::make_mut(&mut state.fixed)[ix.at() / CHUNK]).slots[ix.at() % CHUNK];
        let cloud = state.settings.cloud.matches(&node.labels);
        let event = match &slot.node {
            None => ClusterEvent::NodeAdded { node: node.name.clone() },
            Some(have) => ClusterEvent::NodeUpdated {
                node: node.name.clone(),
                labels: have.labels != node.labels,
                taints: have.taints != node.taints || have.unschedulable != node.unschedulable,
                allocatable: have.allocatable != node.allocatable,
            },
        };
        state.cloud_count = state.cloud_count + usize::from(cloud) - usize::from(slot.cloud);
        state.node_count += usize::from(slot.node.is_none());
        slot.cloud = cloud;
        slot.implied_taint = implied_taint(&state.settings, &node);
        slot.price_us = price_us(&state.settings, &node);
        let load = &mut Arc::make_mut(&mut state.load)[ix.at() / CHUNK];
        Arc::make_mut(load).set_allocatable(ix.at() % CHUNK, &node.allocatable, &extended);
        slot.node = Some(Arc::new(node));
        match event {
            ClusterEvent::NodeUpdated { labels: false, taints: false, allocatable, .. } if !allocatable => Changes::new(),
            ClusterEvent::NodeUpdated { labels: false, taints: false, .. } => smallvec![event],
            event => {
                touch(state, ix);
                smallvec![event]
            }
        }
    }

    /// The node object is gone. Pods on it and its topology rows stay until they go themselves.
    pub fn delete_node(&mut self, name: &str) -> Changes {
        let Some(ix) = self.state.node_index(name) else { return Changes::new() };
        let state = self.change();
        let slot = &mut Arc::make_mut(&mut Arc::make_mut(&mut state.fixed)[ix.at() / CHUNK]).slots[ix.at() % CHUNK];
        state.node_count -= 1;
        state.cloud_count -= usize::from(slot.cloud);
        (slot.node, slot.cloud, slot.implied_taint, slot.price_us) = (None, false, None, 0.0);
        let load = &mut Arc::make_mut(&mut state.load)[ix.at() / CHUNK];
        Arc::make_mut(load).set_allocatable(ix.at() % CHUNK, &Resources::default(), &[]);
        touch(state, ix);
        self.release_unused(ix);
        smallvec![ClusterEvent::NodeDeleted { node: name.to_owned() }]
    }

    // Pods.

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
        let state = self.change();
        state.pods.remove(have.hash(), |entry| entry.pod.key == *key);
        state.workloads.remove(&have.pod);
        if let Some(ix) = have.node {
            self.release_unused(ix);
        }
        let (pod, owner) = (key.clone(), have.pod.owner.clone());
        smallvec![match node {
            Some(node) => ClusterEvent::PodReleased { pod, owner, node },
            None => ClusterEvent::PodGone { pod, owner },
        }]
    }

    /// Takes the room on the node before the binding is sent. Ends with [`apply_pod`](Cluster::apply_pod) that names the node, or with `forget`.
    pub fn assume(&mut self, key: &PodKey, uid: &str, node: &str) -> Result<Changes, AssumeError> {
        let ix = self.state.node_index(node).ok_or_else(|| AssumeError::UnknownNode(node.to_owned()))?;
        self.assume_at(key, uid, ix)?;
        let owner = self.entry(key).and_then(|entry| entry.pod.owner.clone());
        Ok(smallvec![ClusterEvent::PodPlaced { pod: key.clone(), owner, node: node.to_owned() }])
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
        self.move_pod(have, Some(ix), true);
        Ok(())
    }

    /// The binding failed: gives the room back. Nothing happens when the pod is not assumed.
    pub fn forget(&mut self, key: &PodKey) -> Changes {
        let Some(have) = self.entry(key).filter(|entry| entry.assumed) else { return Changes::new() };
        let Some(ix) = have.node else { return Changes::new() };
        let node = self.state.name(ix).to_owned();
        let owner = have.pod.owner.clone();
        self.move_pod(have, None, false);
        self.release_unused(ix);
        smallvec![ClusterEvent::PodReleased { pod: key.clone(), owner, node }]
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
        let (pod, owner) = (entry.pod.key.clone(), entry.pod.owner.clone());
        let state = self.change();
        if entry.pod.phase != PodPhase::Ended {
            state.workloads.set(&entry);
        }
        state.pods.insert(entry);
        smallvec![match node {
            Some(ix) => ClusterEvent::PodPlaced { pod, owner, node: self.state.name(ix).to_owned() },
            None => ClusterEvent::PodAdded { pod, owner },
        }]
    }

    /// Puts `entry` in the place of `have`, which has the same key and UID.
    fn replace_pod(&mut self, have: PodEntry, entry: PodEntry) -> Changes {
        self.account(&have, -1);
        self.account(&entry, 1);
        let (before, after) = (have.node, entry.node);
        let (pod, owner) = (entry.pod.key.clone(), entry.pod.owner.clone());
        let name = |state: &Snapshot, ix| state.name(ix).to_owned();
        let mut changes = Changes::new();
        if let Some(ix) = before.filter(|_| before != after || gives_room(&have.pod, &entry.pod)) {
            changes.push(ClusterEvent::PodReleased { pod: pod.clone(), owner: owner.clone(), node: name(&self.state, ix) });
        }
        match after {
            Some(ix) if before != after => changes.push(ClusterEvent::PodPlaced { pod, owner, node: name(&self.state, ix) }),
            None if before.is_none() => changes.push(ClusterEvent::PodUpdated { pod, owner }),
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

    /// Adds a pod to (`sign` 1) or takes it from (-1) its node's load.
    fn account(&mut self, entry: &PodEntry, sign: i64) {
        let pod = &entry.pod;
        let Some(ix) = entry.node else { return };
        let extended = if pod.requests.extended.is_empty() { SmallVec::new() } else { self.extended(&pod.requests) };
        let state = Arc::make_mut(&mut self.state);
        let take = Take { requests: &pod.requests, scoring: &pod.scoring_requests, extended: &extended };
        Arc::make_mut(&mut Arc::make_mut(&mut state.load)[ix.at() / CHUNK]).add(ix.at() % CHUNK, &take, sign);
    }

    // Topology.

    /// Takes in what `from` reports of its pair with `to`. The names need not be nodes (yet).
    pub fn report_rtt(&mut self, from: &str, to: &str, stat: PairStat) -> Changes {
        let (a, b) = (self.intern(from), self.intern(to));
        let state = self.change();
        for ix in [a, b] {
            let slot = state.slot(ix).map_or(0, |slot| slot.measured);
            if slot < stat.at.0.max(1) {
                Arc::make_mut(&mut Arc::make_mut(&mut state.fixed)[ix.at() / CHUNK]).slots[ix.at() % CHUNK].measured = stat.at.0.max(1);
            }
        }
        let PairChange { before, after } = state.rtt.set(a, b, stat);
        match after {
            Some(new) if before != after => smallvec![ClusterEvent::RttChanged { a: from.to_owned(), b: to.to_owned(), old: before, new }],
            _ => Changes::new(),
        }
    }

    /// What `from` reported of its pair with `to` holds no longer (a file without that pair, say).
    pub fn retract_rtt(&mut self, from: &str, to: &str) {
        if let (Some(a), Some(b)) = (self.state.index(from), self.state.index(to)) {
            self.change().rtt.remove(a, b);
        }
    }

    /// Drops the rows of names that have neither node object nor pods and were last measured before `now - max_age`.
    pub fn expire(&mut self, now: Timestamp, max_age: Span) {
        let stale =
            |slot: &super::columns::FixedSlot| slot.name.is_some() && slot.node.is_none() && now.since(Timestamp(slot.measured)) > max_age;
        let gone: Vec<NodeIx> =
            (0..self.state.index_len() as u32).map(NodeIx).filter(|&ix| self.state.slot(ix).is_some_and(stale)).collect();
        for ix in gone {
            let state = self.change();
            state.rtt.remove_row(ix);
            Arc::make_mut(&mut Arc::make_mut(&mut state.fixed)[ix.at() / CHUNK]).slots[ix.at() % CHUNK].measured = 0;
            self.release_unused(ix);
        }
    }

    /// Sets or, with `None`, takes back what routers observe of the demand on a workload's pods.
    pub fn set_demand(&mut self, namespace: &str, owner: &Workload, demand: Option<Vec<(String, f64)>>, service: Micros) {
        let before: Vec<NodeIx> = self.state.demand(namespace, owner).into_iter().flat_map(|d| d.sites.iter().map(|site| site.0)).collect();
        let sites = demand.map(|sites| sites.iter().map(|(site, rate)| (self.intern(site), *rate)).collect());
        let all = Arc::make_mut(&mut self.change().demand);
        let of_namespace = all.entry(namespace.to_owned()).or_default();
        match sites {
            Some(sites) => drop(of_namespace.insert(owner.clone(), Demand::new(sites, service))),
            None => drop(of_namespace.remove(owner)),
        }
        all.retain(|_, workloads| !workloads.is_empty());
        before.into_iter().for_each(|ix| self.release_unused(ix));
    }

    // Names.

    /// The index of a node name, given now if it has none.
    pub fn intern(&mut self, name: &str) -> NodeIx {
        let hash = name_hash(name);
        if let Some(ix) = self.state.names.get(name, hash) {
            return ix;
        }
        let ix = match self.free.pop() {
            Some(ix) => ix,
            None => self.grow(),
        };
        let state = self.change();
        let name: Arc<str> = name.into();
        let slot = &mut Arc::make_mut(&mut Arc::make_mut(&mut state.fixed)[ix.at() / CHUNK]).slots[ix.at() % CHUNK];
        (slot.name, slot.name_hash) = (Some(Arc::clone(&name)), hash);
        state.names.insert(name, hash, ix);
        touch(state, ix);
        ix
    }

    /// Adds a chunk and takes its first index.
    fn grow(&mut self) -> NodeIx {
        let state = Arc::make_mut(&mut self.state);
        let first = state.index_len() as u32;
        let slots = (0..CHUNK).map(|_| Default::default()).collect();
        Arc::make_mut(&mut state.fixed).push(Arc::new(FixedChunk { touched: 0, slots }));
        Arc::make_mut(&mut state.load).push(Arc::new(LoadChunk::default()));
        self.free.extend((first + 1..first + CHUNK as u32).rev().map(NodeIx));
        NodeIx(first)
    }

    /// Frees the index of a name that nothing refers to any more.
    fn release_unused(&mut self, ix: NodeIx) {
        let Some(slot) = self.state.slot(ix) else { return };
        let pods = self.state.load[ix.at() / CHUNK].pods[ix.at() % CHUNK];
        if slot.node.is_some()
            || slot.measured != 0
            || pods != 0
            || self.state.demand.values().flat_map(|w| w.values()).any(|d| d.names(ix))
        {
            return;
        }
        let Some(name) = slot.name.clone() else { return };
        let state = self.change();
        state.names.remove(&name, name_hash(&name));
        Arc::make_mut(&mut Arc::make_mut(&mut state.fixed)[ix.at() / CHUNK]).slots[ix.at() % CHUNK] = Default::default();
        touch(state, ix);
        self.free.push(ix);
    }

    /// Extended resources by index; the names get one if they have none.
    fn extended(&mut self, resources: &Resources) -> SmallVec<[(u16, i64); 4]> {
        let mut indexed = SmallVec::new();
        for (name, &value) in &resources.extended {
            let known = self.state.resource(name);
            let ix = known.unwrap_or_else(|| {
                let names = Arc::make_mut(&mut self.change().resource_names);
                names.push(name.as_str().into());
                (names.len() - 1) as u16
            });
            indexed.push((ix, value));
        }
        indexed
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
        let mut cluster = Cluster { state: Arc::new(self.clone()), free: Vec::new() };
        for &(key, ix) in placements {
            if let Some(have) = cluster.entry(key) {
                cluster.move_pod(have, Some(ix), true);
            }
        }
        Arc::unwrap_or_clone(cluster.state)
    }
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

fn touch(state: &mut Snapshot, ix: NodeIx) {
    state.static_generation += 1;
    let chunk = Arc::make_mut(&mut Arc::make_mut(&mut state.fixed)[ix.at() / CHUNK]);
    chunk.touched = state.static_generation;
    chunk.slots[ix.at() % CHUNK].touched = state.static_generation;
}

/// The control-plane selector's key, for a node that matches it and does not carry that taint itself.
fn implied_taint(settings: &Settings, node: &Node) -> Option<Arc<str>> {
    let selector = settings.control_plane.as_ref().filter(|selector| selector.matches(&node.labels))?;
    let tainted = node.taints.iter().any(|taint| taint.key == selector.key && taint.effect != TaintEffect::PreferNoSchedule);
    (!tainted).then(|| selector.key.as_str().into())
}

fn price_us(settings: &Settings, node: &Node) -> f64 {
    let Some(price) = &settings.price else { return 0.0 };
    let of_node =
        node.labels.get(&price.label).and_then(|value| value.parse::<f64>().ok()).filter(|price| price.is_finite() && *price >= 0.0);
    crate::score::response_time::cost_us(0.0, of_node.unwrap_or(0.0), f64::from(price.weight_us))
}
