//! The tables behind references by name: node names, pods, workloads.

use super::sharded::{Keyed, Sharded};
use super::{NodeIx, Pod, Workload, WorkloadKind};
use rustc_hash::FxHasher;
use std::hash::Hasher;
use std::sync::Arc;

/// FNV-1a with a final mix. Written out because ties between nodes are broken by it: it must not change with a dependency's version.
pub fn name_hash(name: &str) -> u64 {
    let fnv = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    mix(fnv)
}

/// The finaliser of splitmix64: every input bit moves every output bit.
pub fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Hash of a pod's or workload's namespace and name.
pub(super) fn pod_hash(namespace: &str, name: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(namespace.as_bytes());
    hasher.write(name.as_bytes());
    hasher.finish()
}

#[derive(Clone, Debug)]
struct NameEntry {
    name: Arc<str>,
    hash: u64,
    ix: NodeIx,
}

impl Keyed for NameEntry {
    fn hash(&self) -> u64 {
        self.hash
    }
}

/// Node names to indexes.
#[derive(Clone, Debug, Default)]
pub struct Names(Sharded<NameEntry>);

impl Names {
    pub(super) fn get(&self, name: &str, hash: u64) -> Option<NodeIx> {
        self.0.find(hash, |entry| *entry.name == *name).map(|entry| entry.ix)
    }

    pub(super) fn insert(&mut self, name: Arc<str>, hash: u64, ix: NodeIx) {
        self.0.insert(NameEntry { name, hash, ix });
    }

    pub(super) fn remove(&mut self, name: &str, hash: u64) {
        self.0.remove(hash, |entry| *entry.name == *name);
    }
}

/// A pod as the index keeps it.
#[derive(Clone, Debug)]
pub struct PodEntry {
    pub pod: Arc<Pod>,
    /// Where it is bound or assumed, also after it has ended.
    pub node: Option<NodeIx>,
    pub assumed: bool,
}

impl Keyed for PodEntry {
    fn hash(&self) -> u64 {
        pod_hash(&self.pod.key.namespace, &self.pod.key.name)
    }
}

/// The pods of one workload, by where they stand. Ended pods are not counted.
#[derive(Clone, Debug)]
pub struct WorkloadEntry {
    pub namespace: String,
    pub workload: Workload,
    /// Nodes of bound and assumed pods with how many there are, by rising index.
    pub placed: Vec<(NodeIx, u32)>,
    /// Without a node yet.
    pub pending: u32,
    /// Being deleted: known, and no target of a reference, for they will not be there for long.
    pub terminating: u32,
}

impl Keyed for Arc<WorkloadEntry> {
    fn hash(&self) -> u64 {
        pod_hash(&self.namespace, &self.workload.name)
    }
}

/// How a pod counts for its workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Placed(NodeIx),
    Pending,
    Terminating,
}

#[derive(Clone, Debug, Default)]
pub struct Workloads(Sharded<Arc<WorkloadEntry>>);

/// The order in which a bare name is looked up.
pub const LOOKUP_ORDER: [WorkloadKind; 5] =
    [WorkloadKind::Deployment, WorkloadKind::StatefulSet, WorkloadKind::DaemonSet, WorkloadKind::Job, WorkloadKind::ReplicaSet];

impl Workloads {
    pub(super) fn get(&self, namespace: &str, kind: WorkloadKind, name: &str) -> Option<&WorkloadEntry> {
        let same = |entry: &Arc<WorkloadEntry>| entry.workload.kind == kind && entry.workload.name == name && entry.namespace == namespace;
        self.0.find(pod_hash(namespace, name), same).map(|entry| &**entry)
    }

    /// A pod of the workload comes (`by` 1) or goes (-1).
    pub(super) fn count(&mut self, namespace: &str, workload: &Workload, standing: Standing, by: i32) {
        let hash = pod_hash(namespace, &workload.name);
        let same = |entry: &Arc<WorkloadEntry>| entry.workload == *workload && entry.namespace == namespace;
        if self.0.find(hash, same).is_none() {
            let (namespace, workload) = (namespace.to_owned(), workload.clone());
            self.0.insert(Arc::new(WorkloadEntry { namespace, workload, placed: Vec::new(), pending: 0, terminating: 0 }));
        }
        let Some(entry) = self.0.find_mut(hash, same) else { return };
        let entry = Arc::make_mut(entry);
        let add = |count: &mut u32| *count = count.saturating_add_signed(by);
        match standing {
            Standing::Pending => add(&mut entry.pending),
            Standing::Terminating => add(&mut entry.terminating),
            Standing::Placed(node) => match entry.placed.binary_search_by_key(&node, |placed| placed.0) {
                Ok(at) => {
                    add(&mut entry.placed[at].1);
                    if entry.placed[at].1 == 0 {
                        entry.placed.remove(at);
                    }
                }
                Err(at) if by > 0 => entry.placed.insert(at, (node, 1)),
                Err(_) => {}
            },
        }
        if entry.placed.is_empty() && entry.pending == 0 && entry.terminating == 0 {
            self.0.remove(hash, same);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_known_while_a_pod_of_it_is() {
        let mut workloads = Workloads::default();
        let api = Workload { kind: WorkloadKind::Deployment, name: "api".into() };
        let count = |w: &mut Workloads, standing, by| {
            w.count("shop", &api, standing, by);
            w.get("shop", WorkloadKind::Deployment, "api").map(|e| (e.placed.clone(), e.pending, e.terminating))
        };
        assert_eq!(count(&mut workloads, Standing::Pending, 1), Some((vec![], 1, 0)));
        count(&mut workloads, Standing::Placed(NodeIx(4)), 1);
        count(&mut workloads, Standing::Placed(NodeIx(2)), 1);
        assert_eq!(count(&mut workloads, Standing::Placed(NodeIx(4)), 1), Some((vec![(NodeIx(2), 1), (NodeIx(4), 2)], 1, 0)));
        assert!(
            workloads.get("shop", WorkloadKind::Job, "api").is_none() && workloads.get("other", WorkloadKind::Deployment, "api").is_none()
        );
        count(&mut workloads, Standing::Placed(NodeIx(4)), -1);
        count(&mut workloads, Standing::Placed(NodeIx(4)), -1);
        count(&mut workloads, Standing::Pending, -1);
        assert_eq!(count(&mut workloads, Standing::Placed(NodeIx(2)), -1), None);
    }

    #[test]
    fn hashes_of_names_stay_what_they_are() {
        assert_eq!(name_hash(""), mix(0xcbf2_9ce4_8422_2325));
        assert_eq!(name_hash("edge-1"), 10581265230355201838, "computed apart");
    }
}
