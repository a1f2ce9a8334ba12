//! The tables behind references by name: node names, pods, workloads.

use super::sharded::{Keyed, Sharded};
use super::{NodeIx, Pod, Workload, WorkloadKind};
use rustc_hash::FxHasher;
use std::hash::{Hash, Hasher};
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

/// Hash of a namespace, or of a label of a pod in it.
pub(super) fn label_hash(namespace: &str, label: Option<(&str, &str)>) -> u64 {
    let mut hasher = FxHasher::default();
    (namespace, label).hash(&mut hasher);
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

/// The pods of one workload that have not ended, by rising name.
#[derive(Clone, Debug)]
pub struct WorkloadEntry {
    pub namespace: String,
    pub workload: Workload,
    pub pods: Vec<PodEntry>,
}

impl Keyed for Arc<WorkloadEntry> {
    fn hash(&self) -> u64 {
        pod_hash(&self.namespace, &self.workload.name)
    }
}

#[derive(Clone, Debug, Default)]
pub struct Workloads(Sharded<Arc<WorkloadEntry>>);

impl Workloads {
    pub(super) fn get(&self, namespace: &str, kind: WorkloadKind, name: &str) -> Option<&WorkloadEntry> {
        let same = |entry: &Arc<WorkloadEntry>| entry.workload.kind == kind && entry.workload.name == name && entry.namespace == namespace;
        self.0.find(pod_hash(namespace, name), same).map(|entry| &**entry)
    }

    /// Adds a pod to its workload, or puts it in the place of what was known of it.
    pub(super) fn set(&mut self, pod: &PodEntry) {
        let (namespace, Some(workload)) = (&pod.pod.key.namespace, &pod.pod.owner) else { return };
        let hash = pod_hash(namespace, &workload.name);
        let same = |entry: &Arc<WorkloadEntry>| entry.workload == *workload && entry.namespace == *namespace;
        let Some(entry) = self.0.find_mut(hash, same) else {
            let (namespace, workload) = (namespace.clone(), workload.clone());
            return self.0.insert(Arc::new(WorkloadEntry { namespace, workload, pods: vec![pod.clone()] }));
        };
        let pods = &mut Arc::make_mut(entry).pods;
        match pods.binary_search_by(|have| have.pod.key.name.cmp(&pod.pod.key.name)) {
            Ok(at) => pods[at] = pod.clone(),
            Err(at) => pods.insert(at, pod.clone()),
        }
    }

    pub(super) fn remove(&mut self, pod: &Pod) {
        let (namespace, Some(workload)) = (&pod.key.namespace, &pod.owner) else { return };
        let hash = pod_hash(namespace, &workload.name);
        let same = |entry: &Arc<WorkloadEntry>| entry.workload == *workload && entry.namespace == *namespace;
        let Some(entry) = self.0.find_mut(hash, same) else { return };
        let pods = &mut Arc::make_mut(entry).pods;
        if let Ok(at) = pods.binary_search_by(|have| have.pod.key.name.cmp(&pod.key.name)) {
            pods.remove(at);
        }
        if pods.is_empty() {
            self.0.remove(hash, same);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::PodKey;
    use super::*;

    #[test]
    fn a_workload_is_known_while_a_pod_of_it_is() {
        let mut workloads = Workloads::default();
        let api = Workload { kind: WorkloadKind::Deployment, name: "api".into() };
        let pod = |name: &str, node: Option<u32>| PodEntry {
            pod: Arc::new(Pod { key: PodKey::new("shop", name), owner: Some(api.clone()), ..Pod::default() }),
            node: node.map(NodeIx),
            assumed: false,
        };
        let known = |w: &Workloads| {
            let pods = |e: &WorkloadEntry| e.pods.iter().map(|p| (p.pod.key.name.clone(), p.node)).collect::<Vec<_>>();
            w.get("shop", WorkloadKind::Deployment, "api").map(pods)
        };
        workloads.set(&pod("b", None));
        workloads.set(&pod("a", Some(2)));
        workloads.set(&pod("b", Some(1)));
        assert_eq!(known(&workloads), Some(vec![("a".into(), Some(NodeIx(2))), ("b".into(), Some(NodeIx(1)))]));
        assert!(
            workloads.get("shop", WorkloadKind::Job, "api").is_none() && workloads.get("other", WorkloadKind::Deployment, "api").is_none()
        );
        workloads.remove(&pod("a", None).pod);
        workloads.remove(&pod("zzz", None).pod);
        assert!(known(&workloads).is_some());
        workloads.remove(&pod("b", None).pod);
        assert_eq!(known(&workloads), None);
    }

    #[test]
    fn hashes_of_names_stay_what_they_are() {
        assert_eq!(name_hash(""), mix(0xcbf2_9ce4_8422_2325));
        assert_eq!(name_hash("edge-1"), 10581265230355201838, "computed apart");
    }
}
