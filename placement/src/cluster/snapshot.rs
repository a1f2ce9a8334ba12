//! The state of the cluster as a decision reads it. Immutable once handed out, and cheap to hand out: a clone counts references.

use super::census::Census;
use super::columns::{CHUNK, FixedChunk, FixedSlot, LoadChunk};
use super::default_selector::OwnerSelectors;
use super::disruption::Nominations;
use super::held_terms::HeldTerms;
use super::index::{Names, PodEntry, WorkloadEntry, Workloads, name_hash, pod_hash};
use super::resource_names::ResourceNames;
use super::sharded::Sharded;
use super::storage::Storage;
use super::{
    Controller, DisruptionBudget, HeldTerm, LabelSelector, Labels, Node, NodeCounts, NodeIx, Pod, PodKey, PodQuery, Profile, Settings,
    Workload, WorkloadKind,
};
use crate::devices::Inventory;
use crate::score::demand::Demand;
use crate::topology::RttStore;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Stands for one history of changes: figures derived from snapshots of one cluster must not be used with another's.
#[derive(Clone, Debug)]
pub struct Identity(Arc<()>);

impl Identity {
    pub(super) fn new() -> Identity {
        Identity(Arc::new(()))
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Identity) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(super) identity: Identity,
    pub(super) generation: u64,
    pub(super) static_generation: u64,
    pub(super) settings: Arc<Settings>,
    pub(super) names: Names,
    pub(super) fixed: Arc<Vec<Arc<FixedChunk>>>,
    pub(super) load: Arc<Vec<Arc<LoadChunk>>>,
    pub(super) node_count: usize,
    pub(super) cloud_count: usize,
    pub(super) resource_names: Arc<ResourceNames>,
    pub(super) pods: Sharded<PodEntry>,
    pub(super) workloads: Workloads,
    pub(super) census: Census,
    pub(super) held: HeldTerms,
    pub(super) owner_selectors: OwnerSelectors,
    pub(super) namespaces: Arc<BTreeMap<String, Arc<Labels>>>,
    /// By namespace and name.
    pub(super) budgets: Arc<BTreeMap<(String, String), DisruptionBudget>>,
    pub(super) nominations: Nominations,
    pub(super) storage: Arc<Storage>,
    pub(super) inventory: Inventory,
    pub(super) demand: Arc<BTreeMap<String, BTreeMap<Workload, Demand>>>,
    pub(super) rtt: RttStore,
    /// What [`WhatIf`](super::WhatIf) has moved; empty elsewhere.
    pub(super) moved: Vec<Moved>,
}

/// A pod that a what-if brought to a node (`by` 1) or took from it (-1).
#[derive(Clone, Debug)]
pub struct Moved {
    pub node: NodeIx,
    pub pod: Arc<Pod>,
    pub by: i64,
}

impl Snapshot {
    /// Grows with every change.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Grows when a node appears, goes, or changes in anything but load and allocatable.
    pub fn static_generation(&self) -> u64 {
        self.static_generation
    }

    /// Pods that stand elsewhere in this what-if than in the state that it began with.
    pub fn moved(&self) -> &[Moved] {
        &self.moved
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What the pod is judged by.
    pub fn profile(&self, pod: &Pod) -> &Profile {
        self.settings.profiles.of(&pod.scheduler_name)
    }

    /// Node objects.
    pub fn node_count(&self) -> usize {
        self.node_count
    }

    /// Node objects with the cloud role.
    pub fn cloud_count(&self) -> usize {
        self.cloud_count
    }

    /// Every index is below this.
    pub fn index_len(&self) -> usize {
        self.fixed.len() * CHUNK
    }

    pub fn rtt(&self) -> &RttStore {
        &self.rtt
    }

    pub fn load(&self) -> &[Arc<LoadChunk>] {
        &self.load
    }

    pub fn fixed(&self) -> &[Arc<FixedChunk>] {
        &self.fixed
    }

    pub fn slot(&self, ix: NodeIx) -> Option<&FixedSlot> {
        self.fixed.get(ix.at() / CHUNK)?.slots.get(ix.at() % CHUNK)
    }

    /// The node object.
    pub fn node(&self, ix: NodeIx) -> Option<&Arc<Node>> {
        self.slot(ix)?.node.as_ref()
    }

    /// The name behind an index; empty for one that stands for nothing.
    pub fn name(&self, ix: NodeIx) -> &str {
        self.slot(ix).and_then(|slot| slot.name.as_deref()).unwrap_or_default()
    }

    /// The index of a name, of a node object or not.
    pub fn index(&self, name: &str) -> Option<NodeIx> {
        self.names.get(name, name_hash(name))
    }

    /// The index of a node object.
    pub fn node_index(&self, name: &str) -> Option<NodeIx> {
        self.index(name).filter(|&ix| self.node(ix).is_some())
    }

    /// Node objects in the order of their indexes.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeIx, &Arc<Node>)> {
        self.fixed.iter().enumerate().flat_map(|(number, chunk)| {
            let at = move |slot: usize| NodeIx((number * CHUNK + slot) as u32);
            chunk.slots.iter().enumerate().filter_map(move |(slot, fixed)| Some((at(slot), fixed.node.as_ref()?)))
        })
    }

    /// Indexes of the node objects in the order of their names.
    pub fn nodes_by_name(&self) -> Vec<NodeIx> {
        let mut sorted: Vec<(&str, NodeIx)> = self.nodes().map(|(ix, node)| (node.name.as_str(), ix)).collect();
        sorted.sort_unstable();
        sorted.into_iter().map(|(_, ix)| ix).collect()
    }

    pub fn pod_count(&self) -> usize {
        self.pods.len()
    }

    /// Every pod with the node it is bound to or assumed on, in no particular order.
    pub fn pods(&self) -> impl Iterator<Item = PodView<'_>> {
        self.pods.iter().map(|entry| PodView { pod: &entry.pod, node: entry.node, assumed: entry.assumed })
    }

    pub fn pod(&self, key: &PodKey) -> Option<PodView<'_>> {
        self.pod_named(&key.namespace, &key.name)
    }

    pub fn pod_named(&self, namespace: &str, name: &str) -> Option<PodView<'_>> {
        let same = |entry: &PodEntry| entry.pod.key.name == name && entry.pod.key.namespace == namespace;
        let entry = self.pods.find(pod_hash(namespace, name), same)?;
        Some(PodView { pod: &entry.pod, node: entry.node, assumed: entry.assumed })
    }

    /// The pods of a workload that have not ended.
    pub fn workload(&self, namespace: &str, kind: WorkloadKind, name: &str) -> Option<&WorkloadEntry> {
        self.workloads.get(namespace, kind, name)
    }

    /// Placed pods that the query means, counted by node; a node may occur in several of the counts.
    pub fn count_pods<'a>(&'a self, query: &'a PodQuery) -> impl Iterator<Item = &'a NodeCounts> {
        self.census.matching(query)
    }

    /// Terms of placed pods that mean this pod.
    pub fn held_terms(&self, pod: &Pod) -> Vec<&HeldTerm> {
        self.held.meaning(pod, self.namespace_labels(&pod.key.namespace))
    }

    /// What Services and the controller of a pod select it by; `None`: nothing does.
    pub fn default_selector(&self, pod: &Pod) -> Option<LabelSelector> {
        self.owner_selectors.default_selector(pod)
    }

    /// Services that select pods, by namespace and name.
    pub fn services(&self) -> impl Iterator<Item = (&str, &str)> {
        self.owner_selectors.service_names()
    }

    /// Controllers with a selector, by namespace; in no particular order.
    pub fn controllers(&self) -> impl Iterator<Item = (&str, &Controller)> {
        self.owner_selectors.controller_names()
    }

    /// The number by which columns know an extended resource; `None`: no node has it and no pod on a node asks for it.
    pub fn resource(&self, name: &str) -> Option<u32> {
        self.resource_names.get(name)
    }

    /// Demand on a workload's pods, when routers have reported any.
    pub fn demand(&self, namespace: &str, owner: &Workload) -> Option<&Demand> {
        self.demand.get(namespace)?.get(owner)
    }
}

/// A pod and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct PodView<'a> {
    pub pod: &'a Arc<Pod>,
    /// Bound or assumed.
    pub node: Option<NodeIx>,
    /// Placed by us, and the binding is not confirmed yet.
    pub assumed: bool,
}
