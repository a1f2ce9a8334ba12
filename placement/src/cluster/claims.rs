//! Devices and claims as the cluster has them, and claims that are promised devices before the API server knows.

use super::live::Cluster;
use super::snapshot::Snapshot;
use super::{Changes, ClusterEvent, NodeIx, Pod, PodKey};
use crate::devices::{Allocation, Claim, ClaimChange, DeviceClass, Inventory, ResourceSlice, TaintRule};
use crate::filter::dynamic_resources::{self, Claims};
use smallvec::smallvec;
use std::sync::Arc;

/// A claim of a pod that is being bound, and what the API server has to be told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimReservation {
    pub claim: Arc<Claim>,
    /// `None`: it has its devices already, and the pod comes to use them.
    pub allocation: Option<Allocation>,
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

    /// Promises the claims of a pod that goes to the node their devices, until the API server confirms them or they are released. `None`: they are not to
    /// be had there any more.
    pub(super) fn assume_devices(&mut self, pod: &Pod, ix: NodeIx) -> Option<()> {
        let snapshot = self.snapshot();
        let Some(claims) = Claims::new(&snapshot, pod).ok()? else { return Some(()) };
        let allocations = claims.allocate(snapshot.node(ix)?).ok()?;
        for (claim, allocation) in claims.shared().filter(|claim| claim.allocation.is_none()).zip(allocations) {
            self.change().inventory.reserve(claim, &pod.uid, allocation);
        }
        Some(())
    }

    /// What was promised to the claims of a pod, and is not written, is free again. A pod that is gone keeps it until then: its claims may be being written.
    pub fn release_devices(&mut self, pod_uid: &str) -> Changes {
        if !self.state.inventory.has_reserved(pod_uid) {
            return Changes::new();
        }
        let released = self.change().inventory.release(pod_uid);
        released.into_iter().map(|key| ClusterEvent::ClaimChanged { key, freed: true }).collect()
    }

    /// Whether the API server knows of claims at all.
    pub fn serve_claims(&mut self, served: bool) {
        self.change().inventory.unserved = !served;
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

    /// The claims of an assumed pod, in its order, and what they are promised.
    ///
    /// # Errors
    /// A claim that it was assumed with is not what it was.
    pub fn claim_reservations(&self, pod: &Pod) -> Result<Vec<ClaimReservation>, String> {
        if !dynamic_resources::are_looked_at(self, pod) {
            return Ok(Vec::new());
        }
        let claims = dynamic_resources::claims(self, pod)?;
        let reserved = |claim: &Arc<Claim>| ClaimReservation {
            claim: Arc::clone(claim),
            allocation: self.inventory.promised(claim, &pod.uid).cloned(),
        };
        Ok(claims.into_iter().map(reserved).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{AssumeError, Node, Settings};
    use crate::devices::testing::slice;
    use crate::devices::{Amount, ClaimName, PodClaim, Request, Variant};
    use crate::plan::{Hold, Outcome, Planner, Warmth};
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
        cluster.apply_device_class(DeviceClass::new("gpu"));
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
        let (x, y) = (PodKey::new("d", "x"), PodKey::new("d", "y"));
        let freed = ClusterEvent::ClaimChanged { key: x.clone(), freed: true };
        cluster.apply_pod(pod("x"));
        cluster.apply_pod(pod("y"));
        assert!(matches!(decide(&cluster, &pod("x")), Outcome::Place { node, .. } if node == "n1"));
        cluster.assume(&x, "x", "n1").unwrap();
        let reserved = cluster.view().claim_reservations(&pod("x")).unwrap();
        assert_eq!(reserved[0].allocation.as_ref().unwrap().devices[0].device, "a");
        assert_eq!(decide(&cluster, &pod("y")), Outcome::Unschedulable);
        assert!(matches!(cluster.assume(&y, "y", "n1"), Err(AssumeError::DevicesTaken { .. })));
        let in_flight = Hold::Claims { why: "resource claim d/x is in the process of being allocated".into() };
        assert_eq!(decide(&cluster, &pod("x")), Outcome::Held(in_flight));
        assert!(cluster.forget(&x).contains(&freed));
        cluster.assume(&x, "x", "n1").unwrap();
        // The claim of a pod that is gone may be being written.
        cluster.delete_pod(&x);
        assert_eq!(decide(&cluster, &pod("y")), Outcome::Unschedulable);
        assert_eq!(cluster.release_devices("x").to_vec(), [freed]);
        assert!(matches!(decide(&cluster, &pod("y")), Outcome::Place { node, .. } if node == "n1"));
    }

    #[test]
    fn where_nobody_serves_claims_their_pods_are_told() {
        let mut cluster = cluster(&[]);
        cluster.serve_claims(false);
        let why = "the API server does not serve resource.k8s.io/v1, which the pod's claims need".to_owned();
        assert_eq!(decide(&cluster, &pod("x")), Outcome::Held(Hold::Claims { why }));
        assert!(matches!(decide(&cluster, &Pod::default()), Outcome::Place { .. }));
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
