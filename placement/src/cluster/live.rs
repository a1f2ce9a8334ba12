//! The cluster, changed by events. What changes is copied only where a snapshot that somebody still holds shares it.
//!
//! Here: node objects and names. Pods are in `standing`, measurements and demand in `observed`.

use super::columns::{CHUNK, FixedChunk, LoadChunk};
use super::index::name_hash;
use super::snapshot::{Identity, Snapshot};
use super::{Changes, ClusterEvent, Node, NodeIx, Resources, Settings, TaintEffect};
use crate::topology::RttStore;
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// The live index.
#[derive(Debug)]
pub struct Cluster {
    pub(super) state: Arc<Snapshot>,
    pub(super) free: Vec<NodeIx>,
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
            census: Default::default(),
            held: Default::default(),
            owner_selectors: Default::default(),
            namespaces: Arc::default(),
            budgets: Arc::default(),
            nominations: Arc::default(),
            storage: Arc::default(),
            inventory: Default::default(),
            demand: Arc::default(),
            rtt,
            moved: Vec::new(),
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

    pub(super) fn change(&mut self) -> &mut Snapshot {
        let state = Arc::make_mut(&mut self.state);
        state.generation += 1;
        state
    }

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
        let images = slot.node.as_ref().is_some_and(|have| have.images != node.images);
        let node = Arc::new(node);
        let event = match &slot.node {
            None => ClusterEvent::NodeAdded { node: Arc::clone(&node) },
            Some(have) => ClusterEvent::NodeUpdated {
                before: Arc::clone(have),
                after: Arc::clone(&node),
                labels: have.labels != node.labels,
                taints: have.taints != node.taints || have.unschedulable != node.unschedulable,
                allocatable: have.allocatable != node.allocatable,
                features: have.declared_features != node.declared_features,
            },
        };
        state.cloud_count = state.cloud_count + usize::from(cloud) - usize::from(slot.cloud);
        state.node_count += usize::from(slot.node.is_none());
        slot.cloud = cloud;
        slot.implied_taint = implied_taint(&state.settings, &node);
        slot.price_us = price_us(&state.settings, &node);
        let load = &mut Arc::make_mut(&mut state.load)[ix.at() / CHUNK];
        Arc::make_mut(load).set_allocatable(ix.at() % CHUNK, &node.allocatable, &extended);
        slot.node = Some(node);
        match event {
            ClusterEvent::NodeUpdated { labels: false, taints: false, allocatable: false, features: false, .. } => {
                if images {
                    touch(state, ix);
                }
                Changes::new()
            }
            ClusterEvent::NodeUpdated { labels: false, taints: false, features: false, .. } if !images => smallvec![event],
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
    pub(super) fn release_unused(&mut self, ix: NodeIx) {
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

    /// Extended resources by number, without those that are 0; the names get one if they have none.
    pub(super) fn extended(&mut self, resources: &Resources) -> SmallVec<[(u32, i64); 4]> {
        if self.state.resource_names.are_many() {
            let state = self.change();
            let used = state.load.iter().flat_map(|chunk| &chunk.extended).map(|column| column.resource).collect();
            Arc::make_mut(&mut state.resource_names).retain(&used);
        }
        let mut numbered = SmallVec::new();
        for (name, &value) in resources.extended.iter().filter(|(_, value)| **value > 0) {
            let known = self.state.resource(name);
            let number = known.unwrap_or_else(|| Arc::make_mut(&mut self.change().resource_names).add(name));
            numbered.push((number, value));
        }
        numbered
    }
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
