//! Devices and claims as the cluster has them, and claims that are promised devices before the API server knows.

use super::live::Cluster;
use super::snapshot::Snapshot;
use super::{Changes, ClusterEvent, Node, Pod, PodKey};
use crate::devices::{AllocateError, Allocation, Claim, ClaimChange, DeviceClass, Inventory, ResourceSlice, TaintRule};
use crate::filter::dynamic_resources::Claims;
use crate::plan::Hold;
use smallvec::smallvec;
use std::sync::Arc;

/// A claim of a pod that is being bound, and what the API server has to be told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimReservation {
    pub claim: Arc<Claim>,
    /// `None`: it has its devices already, and the pod comes to use them.
    pub allocation: Option<Allocation>,
}

/// Why a pod's claims can't be promised devices on a node.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ReserveError {
    #[error("{0}")]
    Held(Hold),
    #[error(transparent)]
    Allocate(#[from] AllocateError),
    #[error("node {0} is not known")]
    UnknownNode(String),
}

impl Cluster {
    /// Devices were published or changed.
    pub fn apply_resource_slice(&mut self, slice: ResourceSlice) -> Changes {
        self.change_devices(|inventory| inventory.apply_slice(slice))
    }

    pub fn delete_resource_slice(&mut self, name: &str) -> Changes {
        self.change_devices(|inventory| inventory.delete_slice(name))
    }

    pub fn apply_device_class(&mut self, class: DeviceClass) -> Changes {
        self.change_devices(|inventory| inventory.apply_class(class))
    }

    pub fn delete_device_class(&mut self, name: &str) -> Changes {
        self.change_devices(|inventory| inventory.delete_class(name))
    }

    pub fn apply_device_taint_rule(&mut self, rule: TaintRule) -> Changes {
        self.change_devices(|inventory| inventory.apply_rule(rule))
    }

    pub fn delete_device_taint_rule(&mut self, name: &str) -> Changes {
        self.change_devices(|inventory| inventory.delete_rule(name))
    }

    pub fn apply_claim(&mut self, claim: Claim) -> Changes {
        let key = claim.key.clone();
        let change = self.change().inventory.apply_claim(claim);
        claim_changed(key, change)
    }

    pub fn delete_claim(&mut self, key: &PodKey) -> Changes {
        let change = self.change().inventory.delete_claim(key);
        claim_changed(key.clone(), change)
    }

    /// Promises the pod's claims their devices on a node, until the API server confirms them or [`release_claims`](Cluster::release_claims). The claims
    /// that are to be written, in the order of the pod.
    ///
    /// # Errors
    /// The state has changed since the pod was found to fit: nothing is promised.
    pub fn reserve_claims(&mut self, pod: &Pod, node: &str) -> Result<Vec<ClaimReservation>, ReserveError> {
        let snapshot = self.snapshot();
        let Some(claims) = Claims::new(&snapshot, pod).map_err(ReserveError::Held)? else { return Ok(Vec::new()) };
        let found: Option<&Arc<Node>> = snapshot.node_index(node).and_then(|ix| snapshot.node(ix));
        let found = found.ok_or_else(|| ReserveError::UnknownNode(node.to_owned()))?;
        let mut allocations = claims.allocate(found)?.into_iter();
        let mut reserved = Vec::new();
        for claim in claims.shared() {
            let allocation = if claim.allocation.is_some() { None } else { allocations.next() };
            if let Some(allocation) = &allocation {
                self.change().inventory.reserve(claim, &pod.uid, allocation.clone());
            }
            reserved.push(ClaimReservation { claim: Arc::clone(claim), allocation });
        }
        Ok(reserved)
    }

    /// What was promised to the claims of a pod, and is not written, is free again.
    pub fn release_claims(&mut self, pod_uid: &str) -> Changes {
        let released = self.change().inventory.release(pod_uid);
        released.into_iter().map(|key| ClusterEvent::ClaimChanged { key, freed: true }).collect()
    }

    fn change_devices(&mut self, change: impl FnOnce(&mut Inventory) -> bool) -> Changes {
        if change(&mut self.change().inventory) { smallvec![ClusterEvent::DevicesChanged] } else { Changes::new() }
    }
}

fn claim_changed(key: PodKey, change: ClaimChange) -> Changes {
    match change {
        ClaimChange::Nothing => Changes::new(),
        change => smallvec![ClusterEvent::ClaimChanged { key, freed: change == ClaimChange::Freed }],
    }
}

impl Snapshot {
    /// Devices, and claims for them.
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Settings;
    use crate::devices::testing::slice;
    use crate::devices::{Amount, ClaimName, PodClaim, Request, Variant};
    use crate::plan::{Outcome, Planner, Warmth};
    use crate::units::Timestamp;

    /// One device on n1, and a claim for one device of each of these names.
    fn cluster(claims: &[&str]) -> Cluster {
        let mut cluster = Cluster::new(Settings::default());
        for name in ["n1", "n2"] {
            cluster.apply_node(Node {
                name: name.into(),
                allocatable: crate::cluster::Resources { pods: 9, ..Default::default() },
                ..Node::default()
            });
        }
        cluster.apply_device_class(DeviceClass { name: "gpu".into(), selectors: vec![], configs: vec![] });
        cluster.apply_resource_slice(slice("p", "n1", &["a"]));
        for name in claims {
            let variant = Variant {
                name: String::new(),
                class: "gpu".into(),
                selectors: vec![],
                amount: Amount::Count(1),
                admin_access: false,
                tolerations: vec![],
            };
            let requests = vec![Request { name: "r".into(), variants: vec![variant], prioritized: false }];
            cluster.apply_claim(Claim { requests, ..Claim::new(PodKey::new("d", *name), *name) });
        }
        cluster
    }

    fn pod(claim: &str) -> Pod {
        let claims = vec![PodClaim { name: "gpu".into(), claim: ClaimName::Given(claim.into()) }];
        Pod { key: PodKey::new("d", claim), uid: claim.into(), claims, ..Pod::default() }
    }

    fn decide(cluster: &Cluster, pod: &Pod) -> Outcome {
        Planner::new().place(cluster.view(), pod, Timestamp(0), Warmth::Warm).outcome
    }

    #[test]
    fn a_device_that_is_promised_is_nobody_elses_until_it_is_released() {
        let mut cluster = cluster(&["x", "y"]);
        assert!(matches!(decide(&cluster, &pod("x")), Outcome::Place { node, .. } if node == "n1"));
        let reserved = cluster.reserve_claims(&pod("x"), "n1").unwrap();
        assert_eq!(reserved[0].allocation.as_ref().unwrap().devices[0].device, "a");
        assert_eq!(decide(&cluster, &pod("y")), Outcome::Unschedulable);
        assert!(matches!(cluster.reserve_claims(&pod("y"), "n1"), Err(ReserveError::Allocate(AllocateError::NoDevices))));
        let in_flight = Hold::Claims { why: "resource claim d/x is in the process of being allocated".into() };
        assert_eq!(decide(&cluster, &pod("x")), Outcome::Held(in_flight));
        let freed = ClusterEvent::ClaimChanged { key: PodKey::new("d", "x"), freed: true };
        assert_eq!(cluster.release_claims("x").to_vec(), [freed]);
        assert!(matches!(decide(&cluster, &pod("y")), Outcome::Place { node, .. } if node == "n1"));
    }

    #[test]
    fn who_waits_for_devices_wakes_for_them_and_for_its_claims() {
        let cluster = cluster(&["x"]);
        let decision = Planner::new().place(cluster.view(), &pod("missing"), Timestamp(0), Warmth::Warm);
        assert_eq!(decision.outcome, Outcome::Held(Hold::Claims { why: "could not find ResourceClaim \"d/missing\"".into() }));
        let check = |namespace: &str, name: &str, freed: bool, wakes: bool| {
            let event = ClusterEvent::ClaimChanged { key: PodKey::new(namespace, name), freed };
            assert_eq!(decision.wakes(&event), wakes, "{event:?}");
        };
        check("d", "missing", false, true);
        check("e", "missing", false, false);
        check("d", "x", false, false);
        check("d", "x", true, true);
        assert!(decision.wakes(&ClusterEvent::DevicesChanged));
    }
}
