//! What of the nodes changes seldom, as columns and bitsets, kept between decisions.
//!
//! Tolerations, selectors and preferred terms are interned by content; each has its answer for all nodes. A snapshot with newer nodes updates the
//! touched nodes alone, in every answer; a snapshot of another cluster, or an older one, starts anew.

use super::images::Images;
use super::interned::{Interned, hash_of};
use super::label_column::LabelColumn;
use crate::cluster::{
    CHUNK, FixedSlot, Identity, Image, Labels, NodeIx, NodeSelectorTerm, Operator, Plugin, Profile, Requirement, Snapshot, Taint,
    Toleration,
};
use crate::filter::{Domains, control_plane, node_affinity, node_unschedulable, taint_toleration};
use crate::score;
use fixedbitset::FixedBitSet;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Bitsets kept, each of 2.5 kB at 20,000 nodes: 20 MB.
const MASKS: usize = 8192;
/// Columns of 4 bytes a node kept, each 80 kB at 20,000 nodes: 40 MB.
const COLUMNS: usize = 512;

/// Taints of a node and the control-plane taint it is treated as having.
type TaintClass = (Vec<Taint>, Option<Arc<str>>);

/// Which filters of a profile look at tolerations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct TolerationFilters {
    taints: bool,
    cordons: bool,
    control_plane: bool,
}

impl TolerationFilters {
    fn of(profile: &Profile) -> TolerationFilters {
        TolerationFilters {
            taints: profile.filters(Plugin::TaintToleration),
            cordons: profile.filters(Plugin::NodeUnschedulable),
            control_plane: profile.filters(Plugin::ControlPlane),
        }
    }
}

/// What one list of tolerations means for a class of taints.
#[derive(Debug)]
struct Tolerated {
    /// Every hard taint.
    taints: bool,
    /// The filters that look at taints let the pod pass.
    passes: bool,
    /// Soft taints that are not tolerated.
    intolerable: i64,
}

/// What one list of tolerations means under a profile's filters.
#[derive(Debug, Default)]
pub(super) struct Tolerance {
    cordoned: bool,
    /// Per class of taints.
    classes: Vec<Tolerated>,
    pub mask: FixedBitSet,
}

impl Tolerance {
    fn judge(&mut self, (tolerations, filters): &(Vec<Toleration>, TolerationFilters), classes: &[TaintClass]) {
        for (taints, implied) in &classes[self.classes.len()..] {
            let free = !filters.control_plane || !control_plane::kept_out(tolerations, implied.as_deref());
            let tolerated = taint_toleration::untolerated(tolerations, taints).is_none();
            self.classes.push(Tolerated {
                taints: tolerated && free,
                passes: (tolerated || !filters.taints) && free,
                intolerable: score::taint_toleration::intolerable(tolerations, taints),
            });
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Columns {
    identity: Option<Identity>,
    generation: u64,
    /// Bits and entries of everything below.
    len: usize,
    /// Names with a node object.
    pub present: FixedBitSet,
    schedulable: FixedBitSet,
    pub cloud: FixedBitSet,
    pub name_hash: Vec<u64>,
    pub price_us: Vec<f64>,
    /// Node objects in the order of their names; `None`: to be found out.
    by_name: Option<Arc<[NodeIx]>>,
    class_of_node: Vec<u32>,
    classes: Vec<TaintClass>,
    class_index: FxHashMap<TaintClass, u32>,
    /// Some node has a soft taint.
    pub soft_taints: bool,
    labels: FxHashMap<String, LabelColumn>,
    tolerances: Interned<(Vec<Toleration>, TolerationFilters), Tolerance>,
    affinities: Interned<(Labels, Option<Vec<NodeSelectorTerm>>), FixedBitSet>,
    preferences: Interned<Vec<(i32, NodeSelectorTerm)>, Vec<i32>>,
    images: Images,
}

impl Columns {
    /// Forgets answers where too many are kept. Not while a query lives: it knows its answers by their places.
    pub fn trim(&mut self) {
        self.tolerances.trim(MASKS);
        self.affinities.trim(MASKS);
        self.preferences.trim(COLUMNS);
        if self.labels.len() >= COLUMNS {
            self.labels.clear();
        }
        // Values and classes that no node has any more are not taken out one by one.
        self.labels.retain(|_, column| column.value_count() <= 2 * self.len + CHUNK);
        if self.classes.len() > 2 * self.len + CHUNK {
            *self = Columns::default();
        }
    }

    /// Brings everything to the snapshot's state.
    pub fn sync(&mut self, snapshot: &Snapshot) {
        if self.identity.as_ref() != Some(snapshot.identity()) || snapshot.static_generation() < self.generation {
            *self = Columns { identity: Some(snapshot.identity().clone()), ..Columns::default() };
        }
        if self.generation == snapshot.static_generation() {
            return;
        }
        self.grow(snapshot.index_len());
        let known = self.generation;
        for (number, chunk) in snapshot.fixed().iter().enumerate().filter(|(_, chunk)| chunk.touched > known) {
            for (slot, fixed) in chunk.slots.iter().enumerate().filter(|(_, fixed)| fixed.touched > known) {
                self.update(number * CHUNK + slot, fixed);
            }
        }
        self.generation = snapshot.static_generation();
    }

    fn grow(&mut self, len: usize) {
        if len <= self.len {
            return;
        }
        self.len = len;
        for mask in [&mut self.present, &mut self.schedulable, &mut self.cloud] {
            mask.grow(len);
        }
        self.name_hash.resize(len, 0);
        self.price_us.resize(len, 0.0);
        self.class_of_node.resize(len, 0);
        self.labels.values_mut().for_each(|column| column.resize(len));
        self.tolerances.iter_mut().for_each(|(_, tolerance)| tolerance.mask.grow(len));
        self.affinities.iter_mut().for_each(|(_, mask)| mask.grow(len));
        self.preferences.iter_mut().for_each(|(_, raw)| raw.resize(len, 0));
    }

    fn update(&mut self, at: usize, slot: &FixedSlot) {
        let node = slot.node.as_deref();
        if self.present.contains(at) != node.is_some() || self.name_hash[at] != slot.name_hash {
            self.by_name = None;
        }
        self.present.set(at, node.is_some());
        self.images.set(at, node.map_or(&[], |node| &node.images));
        self.schedulable.set(at, node.is_some_and(|node| !node.unschedulable));
        self.cloud.set(at, slot.cloud);
        self.name_hash[at] = slot.name_hash;
        self.price_us[at] = slot.price_us;
        let class = node.map_or(0, |node| self.class(&node.taints, &slot.implied_taint));
        self.class_of_node[at] = class;
        for (key, column) in &mut self.labels {
            column.set(at, node.and_then(|node| node.labels.get(key)).map(String::as_str));
        }
        let schedulable = self.schedulable.contains(at);
        for (tolerations, tolerance) in self.tolerances.iter_mut() {
            tolerance.judge(tolerations, &self.classes);
            let fits = node.is_some() && tolerance.classes[class as usize].passes && (schedulable || tolerance.cordoned);
            tolerance.mask.set(at, fits);
        }
        for ((selector, required), mask) in self.affinities.iter_mut() {
            mask.set(at, node.is_some_and(|node| node_affinity::matches(selector, required.as_deref(), node)));
        }
        for (preferred, raw) in self.preferences.iter_mut() {
            raw[at] = node.map_or(0, |node| score::node_affinity::raw(preferred, node) as i32);
        }
    }

    /// Node objects in the order of their names. Of a snapshot that this was brought to.
    pub fn by_name(&mut self, snapshot: &Snapshot) -> Arc<[NodeIx]> {
        self.by_name.get_or_insert_with(|| snapshot.nodes_by_name().into()).clone()
    }

    fn class(&mut self, taints: &[Taint], implied: &Option<Arc<str>>) -> u32 {
        let key = (taints.to_vec(), implied.clone());
        *self.class_index.entry(key).or_insert_with_key(|key| {
            self.soft_taints |= key.0.iter().any(|taint| taint.effect == crate::cluster::TaintEffect::PreferNoSchedule);
            self.classes.push(key.clone());
            (self.classes.len() - 1) as u32
        })
    }

    /// Nodes that the tolerations lead to, as far as the profile's filters look at them: taints, cordon, control plane.
    pub fn tolerance(&mut self, tolerations: &[Toleration], profile: &Profile) -> usize {
        let filters = TolerationFilters::of(profile);
        let hash = hash_of(&(tolerations, filters));
        if let Some(at) = self.tolerances.find(hash, |known| known.0 == tolerations && known.1 == filters) {
            return at;
        }
        let key = (tolerations.to_vec(), filters);
        let cordoned = !filters.cordons || node_unschedulable::tolerated(tolerations);
        let mut tolerance = Tolerance { cordoned, ..Tolerance::default() };
        tolerance.judge(&key, &self.classes);
        let mut mask = self.present.clone();
        if !tolerance.cordoned {
            mask.intersect_with(&self.schedulable);
        }
        let bits = usize::BITS as usize;
        for (word, classes) in mask.as_mut_slice().iter_mut().zip(self.class_of_node.chunks(bits)).filter(|(word, _)| **word != 0) {
            let passing = |(bit, class): (usize, &u32)| usize::from(tolerance.classes[*class as usize].passes) << bit;
            *word &= classes.iter().enumerate().fold(0, |met, of| met | passing(of));
        }
        tolerance.mask = mask;
        self.tolerances.insert(hash, key, tolerance)
    }

    pub fn tolerance_mask(&self, at: usize) -> &FixedBitSet {
        &self.tolerances.get(at).mask
    }

    /// Whether the node's taints are tolerated, cordoned or not.
    pub fn tolerated(&self, at: usize, node: usize) -> bool {
        self.tolerances.get(at).classes[self.class_of_node[node] as usize].taints
    }

    /// Domains of a topology key.
    pub fn domains(&mut self, snapshot: &Snapshot, key: &str) -> Domains {
        self.label(snapshot, key).domains()
    }

    /// How many soft taints of the node are not tolerated.
    pub fn intolerable(&self, at: usize, node: usize) -> i64 {
        self.tolerances.get(at).classes[self.class_of_node[node] as usize].intolerable
    }

    /// Nodes that selector and required terms match; `None` when neither is given.
    pub fn affinity(&mut self, snapshot: &Snapshot, selector: &Labels, required: Option<&Vec<NodeSelectorTerm>>) -> Option<usize> {
        if selector.is_empty() && required.is_none() {
            return None;
        }
        let hash = hash_of(&(selector, required));
        if let Some(at) = self.affinities.find(hash, |(s, r)| s == selector && r.as_ref() == required) {
            return Some(at);
        }
        let mut mask = self.present.clone();
        for (key, value) in selector {
            self.label(snapshot, key).restrict(&mut mask, |have| have == Some(value));
        }
        if let Some(terms) = required {
            let mut any = FixedBitSet::with_capacity(self.len);
            for term in terms {
                any.union_with(&self.term(snapshot, term));
            }
            mask.intersect_with(&any);
        }
        Some(self.affinities.insert(hash, (selector.clone(), required.cloned()), mask))
    }

    pub fn affinity_mask(&self, at: usize) -> &FixedBitSet {
        self.affinities.get(at)
    }

    /// Raw scores of preferred terms; `None` when there are none.
    pub fn preference(&mut self, snapshot: &Snapshot, preferred: &[(i32, NodeSelectorTerm)]) -> Option<usize> {
        if preferred.is_empty() {
            return None;
        }
        let hash = hash_of(preferred);
        if let Some(at) = self.preferences.find(hash, |known| known == preferred) {
            return Some(at);
        }
        let mut raw = vec![0; self.len];
        for (weight, term) in preferred {
            self.term(snapshot, term).ones().for_each(|node| raw[node] += weight);
        }
        Some(self.preferences.insert(hash, preferred.to_vec(), raw))
    }

    pub fn preference_raw(&self, at: usize) -> &[i32] {
        self.preferences.get(at)
    }

    /// Scores by the images that nodes have; `None` where no node has any of these.
    pub fn image_scores(&mut self, snapshot: &Snapshot, images: &[Image]) -> Option<usize> {
        self.images.score(images, snapshot.node_count(), self.len)
    }

    pub fn image_score(&self, at: usize, node: usize) -> i64 {
        i64::from(self.images.of(at)[node])
    }

    /// Nodes that one term matches.
    fn term(&mut self, snapshot: &Snapshot, term: &NodeSelectorTerm) -> FixedBitSet {
        if node_affinity::is_empty(term) {
            return FixedBitSet::with_capacity(self.len);
        }
        let mut mask = self.present.clone();
        for requirement in &term.match_expressions {
            self.label(snapshot, &requirement.key).restrict(&mut mask, |value| node_affinity::requirement_matches(requirement, value));
        }
        for requirement in &term.match_fields {
            restrict_to_field(snapshot, requirement, &mut mask);
        }
        mask
    }

    fn label(&mut self, snapshot: &Snapshot, key: &str) -> &LabelColumn {
        if !self.labels.contains_key(key) {
            let mut column = LabelColumn::new(self.len);
            for (ix, node) in snapshot.nodes() {
                column.set(ix.at(), node.labels.get(key).map(String::as_str));
            }
            self.labels.insert(key.to_owned(), column);
        }
        &self.labels[key]
    }
}

/// `metadata.name` by index, so that the pods of a DaemonSet, each with a name of its own, do not walk the nodes.
fn restrict_to_field(snapshot: &Snapshot, requirement: &Requirement, mask: &mut FixedBitSet) {
    let named: Option<NodeIx> = requirement.values.first().and_then(|name| snapshot.node_index(name));
    match (&requirement.values[..], requirement.operator) {
        ([_], Operator::In) if requirement.key == "metadata.name" => {
            let keep = named.is_some_and(|ix| mask.contains(ix.at()));
            mask.clear();
            if let (true, Some(ix)) = (keep, named) {
                mask.insert(ix.at());
            }
        }
        ([_], Operator::NotIn) if requirement.key == "metadata.name" => {
            if let Some(ix) = named {
                mask.set(ix.at(), false);
            }
        }
        _ => mask.clear(),
    }
}
