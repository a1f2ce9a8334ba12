//! What pods on their way to a node have taken: volumes for their claims, and the node on which volumes will be provisioned. It counts from the moment
//! a pod is assumed until the pod is bound or forgotten: two pods never take one volume, though the API server has heard of neither.

use super::super::live::Cluster;
use super::super::snapshot::Snapshot;
use super::super::{Changes, ClusterEvent, PodKey, StorageChange};
use super::objects::{ClaimRef, PersistentVolume, PersistentVolumeClaim};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What has to be done about a pod's claims before it can be bound to its node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumePlan {
    /// Volumes, by name, with the claims that they are for.
    pub bindings: Vec<(String, ClaimRef)>,
    /// Claims for which a volume is to be provisioned on the node.
    pub provisions: Vec<ClaimRef>,
}

impl VolumePlan {
    pub fn is_empty(&self) -> bool {
        self.bindings.is_empty() && self.provisions.is_empty()
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Assumed {
    plans: BTreeMap<PodKey, Arc<VolumePlan>>,
    claims: BTreeMap<String, ClaimRef>,
    /// By the claim's namespace and name.
    nodes: BTreeMap<(String, String), (String, String)>,
}

impl Assumed {
    pub fn claim_of(&self, volume: &str) -> Option<&ClaimRef> {
        self.claims.get(volume)
    }

    /// Of the claim with this UID: one that replaced it starts anew.
    pub fn selected_node(&self, claim: &PersistentVolumeClaim) -> Option<&str> {
        if self.nodes.is_empty() {
            return None;
        }
        let (uid, node) = self.nodes.get(&(claim.namespace.clone(), claim.name.clone()))?;
        (*uid == claim.uid).then_some(node)
    }
}

impl Cluster {
    /// Takes what the plan says for a pod that goes to the node.
    pub(in super::super) fn assume_volumes(&mut self, pod: &PodKey, node: &str, plan: VolumePlan) {
        let taken: Vec<Arc<PersistentVolume>> = self.volumes(&plan);
        let storage = self.change_storage();
        taken.iter().for_each(|volume| storage.file_volume(volume, -1));
        storage.assumed.claims.extend(plan.bindings.iter().cloned());
        taken.iter().for_each(|volume| storage.file_volume(volume, 1));
        for claim in &plan.provisions {
            storage.assumed.nodes.insert((claim.namespace.clone(), claim.name.clone()), (claim.uid.clone(), node.to_owned()));
        }
        storage.assumed.plans.insert(pod.clone(), Arc::new(plan));
    }

    /// From now on what the API server says counts.
    pub(in super::super) fn release_volumes(&mut self, pod: &PodKey) -> Changes {
        let Some(plan) = self.state.storage.assumed.plans.get(pod).cloned() else { return Changes::new() };
        let taken = self.volumes(&plan);
        let storage = self.change_storage();
        taken.iter().for_each(|volume| storage.file_volume(volume, -1));
        for (volume, _) in &plan.bindings {
            storage.assumed.claims.remove(volume);
        }
        taken.iter().for_each(|volume| storage.file_volume(volume, 1));
        for claim in &plan.provisions {
            storage.assumed.nodes.remove(&(claim.namespace.clone(), claim.name.clone()));
        }
        storage.assumed.plans.remove(pod);
        Changes::from_iter([ClusterEvent::Storage(StorageChange::Volume)])
    }

    fn volumes(&self, plan: &VolumePlan) -> Vec<Arc<PersistentVolume>> {
        plan.bindings.iter().filter_map(|(name, _)| self.state.stored("", name).cloned()).collect()
    }
}

impl Snapshot {
    /// What the assumed pod has taken; `None`: nothing has to be done about its claims.
    pub fn volume_plan(&self, pod: &PodKey) -> Option<&Arc<VolumePlan>> {
        self.storage.assumed.plans.get(pod)
    }
}
