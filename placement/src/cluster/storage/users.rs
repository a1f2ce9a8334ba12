//! Placed pods that have volumes: by node, and by the claims that they name.

use super::super::index::pod_hash;
use super::super::sharded::{Keyed, Sharded};
use super::super::{NodeCounts, NodeIx, Pod, PodVolume, Snapshot};
use super::key_hash;
use std::sync::Arc;

#[derive(Clone, Debug, Default)]
pub struct Users {
    of_node: Sharded<NodeUsers>,
    of_claim: Sharded<ClaimUsers>,
}

#[derive(Clone, Debug)]
struct NodeUsers {
    node: NodeIx,
    pods: Vec<Arc<Pod>>,
}

impl Keyed for NodeUsers {
    fn hash(&self) -> u64 {
        key_hash(&self.node)
    }
}

#[derive(Clone, Debug)]
struct ClaimUsers {
    namespace: String,
    name: String,
    nodes: NodeCounts,
}

impl Keyed for ClaimUsers {
    fn hash(&self) -> u64 {
        pod_hash(&self.namespace, &self.name)
    }
}

impl Users {
    /// A pod with volumes comes to (`sign` 1) or leaves (-1) a node.
    pub fn change(&mut self, pod: &Arc<Pod>, node: NodeIx, sign: i64) {
        self.change_node(pod, node, sign);
        for volume in &pod.volumes {
            if let PodVolume::Claim(name) = volume {
                self.change_claim(&pod.key.namespace, name, node, sign);
            }
        }
    }

    fn change_node(&mut self, pod: &Arc<Pod>, node: NodeIx, sign: i64) {
        let hash = key_hash(&node);
        match self.of_node.find_mut(hash, |users| users.node == node) {
            None if sign > 0 => self.of_node.insert(NodeUsers { node, pods: vec![Arc::clone(pod)] }),
            None => {}
            Some(users) if sign > 0 => users.pods.push(Arc::clone(pod)),
            Some(users) => {
                users.pods.retain(|other| other.key != pod.key);
                if users.pods.is_empty() {
                    self.of_node.remove(hash, |users| users.node == node);
                }
            }
        }
    }

    fn change_claim(&mut self, namespace: &str, name: &str, node: NodeIx, sign: i64) {
        let hash = pod_hash(namespace, name);
        let is = |users: &ClaimUsers| users.name == name && users.namespace == namespace;
        let Some(users) = self.of_claim.find_mut(hash, is) else {
            if sign > 0 {
                let mut nodes = NodeCounts::default();
                nodes.add(node, 1);
                self.of_claim.insert(ClaimUsers { namespace: namespace.to_owned(), name: name.to_owned(), nodes });
            }
            return;
        };
        users.nodes.add(node, sign);
        if users.nodes.total() == 0 {
            self.of_claim.remove(hash, is);
        }
    }
}

impl Snapshot {
    /// Pods with volumes that are on the node.
    pub fn volume_users(&self, node: NodeIx) -> &[Arc<Pod>] {
        self.storage.users.of_node.find(key_hash(&node), |users| users.node == node).map_or(&[], |users| &users.pods)
    }

    /// Whether a pod on a node names the claim. As kube-scheduler has it, one on a node that is gone does not count.
    pub fn is_claim_used(&self, namespace: &str, name: &str) -> bool {
        let is = |users: &ClaimUsers| users.name == name && users.namespace == namespace;
        let users = self.storage.users.of_claim.find(pod_hash(namespace, name), is);
        users.is_some_and(|users| users.nodes.iter().any(|(node, _)| self.node(node).is_some()))
    }
}
