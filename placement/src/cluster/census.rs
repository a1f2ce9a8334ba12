//! Placed pods counted by their labels, so that how many pods of a selector stand where is known without walking pods.
//!
//! Pods of one namespace with the same labels are one *class* with a count for each node: the replicas of a workload mostly are. A class is filed under
//! its namespace and under each of its labels; a query starts at the label with the fewest classes, and checks those alone. Pods whose labels are their
//! own (a StatefulSet's, an indexed Job's) are a class each, and cost a query as much as walking the pods of that label.
//!
//! Rejected: counts per registered query. They cost nothing to read, but the first sight of a selector, and each rollout of a Deployment brings one,
//! walks all pods under the cluster's lock.

use super::index::label_hash;
use super::sharded::{Keyed, Sharded};
use super::{LabelSelector, Labels, NodeCounts, NodeIx, Pod};
use rustc_hash::FxHasher;
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Namespaces that a query looks into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    All,
    /// Sorted, each once.
    Named(Vec<String>),
}

impl Namespaces {
    pub(super) fn and(self, other: Namespaces) -> Namespaces {
        match (self, other) {
            (Namespaces::All, some) | (some, Namespaces::All) => some,
            (Namespaces::Named(mut names), Namespaces::Named(others)) => {
                names.retain(|name| others.binary_search(name).is_ok());
                Namespaces::Named(names)
            }
        }
    }
}

/// Which placed pods are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodQuery {
    pub namespaces: Namespaces,
    pub selector: LabelSelector,
    /// Whether pods that are being deleted count.
    pub terminating: bool,
}

impl PodQuery {
    /// Whether the pod would count if it were placed.
    pub fn means(&self, pod: &Pod) -> bool {
        let within = match &self.namespaces {
            Namespaces::All => true,
            Namespaces::Named(names) => names.binary_search(&pod.key.namespace).is_ok(),
        };
        within && (self.terminating || !pod.terminating) && self.selector.matches(&pod.labels)
    }
}

/// Pods that no query tells apart.
#[derive(Debug, PartialEq, Eq)]
struct Class {
    namespace: String,
    labels: Labels,
    terminating: bool,
}

impl Class {
    fn is_of(&self, pod: &Pod) -> bool {
        self.terminating == pod.terminating && self.namespace == pod.key.namespace && self.labels == pod.labels
    }
}

#[derive(Clone, Debug)]
struct Entry {
    class: Arc<Class>,
    counts: NodeCounts,
}

/// Classes by the hash of a namespace, or of a namespace and a label. Hashes may collide: a class found here is checked.
#[derive(Clone, Debug)]
struct Filing {
    hash: u64,
    /// Places in `Census::blocks`.
    classes: Arc<Vec<u32>>,
}

impl Keyed for Filing {
    fn hash(&self) -> u64 {
        self.hash
    }
}

/// Classes per block: what a changed count copies under a held snapshot, beside a pointer for each block.
const BLOCK: usize = 64;

/// Places of classes; `None`: free.
type Block = Arc<Vec<Option<Arc<Entry>>>>;

#[derive(Clone, Debug, Default)]
pub(super) struct Census {
    blocks: Arc<Vec<Block>>,
    /// Places without a class.
    free: Arc<Vec<u32>>,
    filings: Sharded<Filing>,
    /// Namespaces that have classes, and how many.
    namespaces: Arc<BTreeMap<String, usize>>,
}

impl Census {
    /// A pod comes to (`sign` 1) or leaves (-1) a node.
    pub fn change(&mut self, pod: &Pod, ix: NodeIx, sign: i64) {
        let found = self.place_of(pod);
        let Some(at) = found.or_else(|| (sign > 0).then(|| self.insert(pod))) else { return };
        let Some(entry) = self.slot(at) else { return };
        let entry = Arc::make_mut(entry);
        entry.counts.add(ix, sign);
        if entry.counts.total() == 0 {
            self.remove(at);
        }
    }

    /// Counts of every class that the query means. A node may occur in several.
    pub fn matching<'a>(&'a self, query: &'a PodQuery) -> impl Iterator<Item = &'a NodeCounts> {
        let (all, named) = match &query.namespaces {
            Namespaces::All => (Some(self.namespaces.keys()), None),
            Namespaces::Named(names) => (None, Some(names.iter())),
        };
        let namespaces = all.into_iter().flatten().chain(named.into_iter().flatten());
        namespaces.flat_map(move |namespace| {
            self.candidates(namespace, &query.selector).iter().filter_map(move |&at| {
                let entry = self.entry(at)?;
                let class = &entry.class;
                let counted = (query.terminating || !class.terminating) && class.namespace == *namespace;
                (counted && query.selector.matches(&class.labels)).then_some(&entry.counts)
            })
        })
    }

    /// Places of classes among which are all of the namespace that the selector matches: the shortest list that is sure to have them.
    fn candidates(&self, namespace: &str, selector: &LabelSelector) -> &[u32] {
        let mut shortest = self.filed(label_hash(namespace, None));
        for label in selector.certain() {
            let filed = self.filed(label_hash(namespace, Some(label)));
            if filed.len() < shortest.len() {
                shortest = filed;
            }
        }
        shortest
    }

    fn filed(&self, hash: u64) -> &[u32] {
        self.filings.find(hash, |filing| filing.hash == hash).map_or(&[], |filing| &filing.classes)
    }

    fn entry(&self, at: u32) -> Option<&Entry> {
        self.blocks[at as usize / BLOCK][at as usize % BLOCK].as_deref()
    }

    fn slot(&mut self, at: u32) -> Option<&mut Arc<Entry>> {
        Arc::make_mut(&mut Arc::make_mut(&mut self.blocks)[at as usize / BLOCK])[at as usize % BLOCK].as_mut()
    }

    fn place_of(&self, pod: &Pod) -> Option<u32> {
        let hash = content_hash(&pod.key.namespace, &pod.labels, pod.terminating);
        let mut same = self.filed(hash).iter().copied();
        same.find(|&at| self.entry(at).is_some_and(|entry| entry.class.is_of(pod)))
    }

    fn insert(&mut self, pod: &Pod) -> u32 {
        let at = Arc::make_mut(&mut self.free).pop().unwrap_or_else(|| {
            let blocks = Arc::make_mut(&mut self.blocks);
            let first = (blocks.len() * BLOCK) as u32;
            blocks.push(Arc::new(vec![None; BLOCK]));
            Arc::make_mut(&mut self.free).extend((first + 1..first + BLOCK as u32).rev());
            first
        });
        let class = Class { namespace: pod.key.namespace.clone(), labels: pod.labels.clone(), terminating: pod.terminating };
        let entry = Entry { class: Arc::new(class), counts: NodeCounts::default() };
        Arc::make_mut(&mut Arc::make_mut(&mut self.blocks)[at as usize / BLOCK])[at as usize % BLOCK] = Some(Arc::new(entry));
        for hash in hashes(&pod.key.namespace, &pod.labels, pod.terminating) {
            match self.filings.find_mut(hash, |filing| filing.hash == hash) {
                Some(filing) => Arc::make_mut(&mut filing.classes).push(at),
                None => self.filings.insert(Filing { hash, classes: Arc::new(vec![at]) }),
            }
        }
        *Arc::make_mut(&mut self.namespaces).entry(pod.key.namespace.clone()).or_default() += 1;
        at
    }

    fn remove(&mut self, at: u32) {
        let Some(entry) = Arc::make_mut(&mut Arc::make_mut(&mut self.blocks)[at as usize / BLOCK])[at as usize % BLOCK].take() else {
            return;
        };
        Arc::make_mut(&mut self.free).push(at);
        let class = &entry.class;
        for hash in hashes(&class.namespace, &class.labels, class.terminating) {
            let Some(filing) = self.filings.find_mut(hash, |filing| filing.hash == hash) else { continue };
            let classes = Arc::make_mut(&mut filing.classes);
            classes.retain(|filed| *filed != at);
            if classes.is_empty() {
                self.filings.remove(hash, |filing| filing.hash == hash);
            }
        }
        let namespaces = Arc::make_mut(&mut self.namespaces);
        if let Some(classes) = namespaces.get_mut(&class.namespace) {
            *classes -= 1;
            if *classes == 0 {
                namespaces.remove(&class.namespace);
            }
        }
    }
}

fn content_hash(namespace: &str, labels: &Labels, terminating: bool) -> u64 {
    let mut hasher = FxHasher::default();
    (namespace, labels, terminating).hash(&mut hasher);
    hasher.finish()
}

/// Everything that a class is filed under, each once.
fn hashes(namespace: &str, labels: &Labels, terminating: bool) -> SmallVec<[u64; 8]> {
    let by_label = labels.iter().map(|(key, value)| label_hash(namespace, Some((key, value))));
    let mut hashes: SmallVec<[u64; 8]> =
        by_label.chain([label_hash(namespace, None), content_hash(namespace, labels, terminating)]).collect();
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}
