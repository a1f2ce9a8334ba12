//! VolumeBinding: the node reaches the pod's bound volumes, and for every claim that waits for its pod there is a volume that it reaches, or one can be
//! made for it (kube-scheduler 1.37, plugin VolumeBinding; unresolvable).
//!
//! Claims are matched the smallest first, each with the smallest volume that will do, so that large volumes are left for large claims.

use super::node_affinity::term_matches_labels;
use super::pod_claims::{self, PodClaim};
use crate::cluster::{
    ClaimRef, CsiDriver, CsiNode, CsiStorageCapacity, Node, NodeIx, NodeSelectorTerm, PersistentVolume, PersistentVolumeClaim, Plugin, Pod,
    Snapshot, StorageClass, VolumePlan,
};
use crate::plan::Reason;
use crate::score;
use std::collections::BTreeMap;

pub struct Binding<'a> {
    snapshot: &'a Snapshot,
    bound: Vec<&'a PersistentVolumeClaim>,
    /// Claims that wait for the pod to have a node.
    open: Vec<&'a PersistentVolumeClaim>,
}

/// How the open claims would be served on one node.
#[derive(Default)]
pub struct Found<'a> {
    matched: Vec<(&'a PersistentVolume, &'a PersistentVolumeClaim)>,
    /// With the room that the volume takes some of, where it is kept count of.
    provisions: Vec<(&'a PersistentVolumeClaim, Option<&'a CsiStorageCapacity>)>,
}

/// What binding the pod's claims on the node takes; `None`: the node can't have them.
pub fn plan(snapshot: &Snapshot, pod: &Pod, ix: NodeIx) -> Option<VolumePlan> {
    // Where the profile leaves VolumeBinding out, nobody binds.
    if pod.volumes.is_empty() || !snapshot.profile(pod).filters(Plugin::VolumeBinding) {
        return Some(VolumePlan::default());
    }
    let claims = pod_claims::claims(snapshot, pod).ok()?;
    let (Some(binding), Some(node)) = (Binding::new(snapshot, &claims), snapshot.node(ix)) else { return Some(VolumePlan::default()) };
    let found = binding.find(node).ok()?;
    let bindings = found.matched.iter().map(|(volume, claim)| (volume.name.clone(), claim.reference()));
    let provisions: Vec<ClaimRef> = found.provisions.iter().map(|(claim, _)| claim.reference()).collect();
    Some(VolumePlan { bindings: bindings.collect(), provisions })
}

impl<'a> Binding<'a> {
    /// `None`: the pod has no claims.
    pub fn new(snapshot: &'a Snapshot, claims: &[PodClaim<'a>]) -> Option<Binding<'a>> {
        let (bound, open): (Vec<_>, Vec<_>) = claims.iter().map(|of| &**of.claim).partition(|claim| claim.is_bound());
        (!claims.is_empty()).then_some(Binding { snapshot, bound, open })
    }

    /// Whether some claim has yet to get its volume.
    pub fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// # Errors
    /// Why the node can't have the volumes.
    pub fn find(&self, node: &Node) -> Result<Found<'a>, Vec<Reason>> {
        let mut reasons: Vec<Reason> = self.bound_elsewhere(node).into_iter().collect();
        match self.serve(node) {
            Ok(found) if reasons.is_empty() => return Ok(found),
            Ok(_) => {}
            Err(reason) => reasons.push(reason),
        }
        Err(reasons)
    }

    fn bound_elsewhere(&self, node: &Node) -> Option<Reason> {
        for claim in &self.bound {
            let name = claim.volume.as_deref().unwrap_or_default();
            let Some(volume) = self.snapshot.stored::<PersistentVolume>("", name) else {
                return Some(Reason::VolumeMissing { claim: claim.name.clone() });
            };
            if !is_reached(self.snapshot, volume, node) {
                return Some(Reason::VolumeAffinity { volume: volume.name.clone() });
            }
        }
        None
    }

    fn serve(&self, node: &Node) -> Result<Found<'a>, Reason> {
        let mut found = Found::default();
        let (mut unmatched, mut provisioned) = (Vec::new(), Vec::new());
        for claim in &self.open {
            match self.snapshot.selected_node(claim) {
                Some(selected) if selected == node.name => provisioned.push(*claim),
                Some(_) => return Err(Reason::NoVolume { claim: claim.name.clone() }),
                None => unmatched.push(*claim),
            }
        }
        unmatched.sort_by_key(|claim| claim.request.unwrap_or(0));
        for claim in unmatched {
            let is_taken = |volume: &PersistentVolume| found.matched.iter().any(|(taken, _)| taken.name == volume.name);
            match self.volume_for(claim, node, is_taken) {
                Some(volume) => found.matched.push((volume, claim)),
                None => provisioned.push(claim),
            }
        }
        for claim in provisioned {
            found.provisions.push((claim, self.provision(claim, node)?));
        }
        Ok(found)
    }

    /// A volume that the claim was promised, else the smallest free one.
    fn volume_for(
        &self,
        claim: &'a PersistentVolumeClaim,
        node: &Node,
        is_taken: impl Fn(&PersistentVolume) -> bool,
    ) -> Option<&'a PersistentVolume> {
        let suits = |volume: &&PersistentVolume| {
            let large_enough = volume.capacity >= claim.request.unwrap_or(0);
            let same_kind = volume.block == claim.block && volume.attributes_class == claim.attributes_class;
            large_enough && same_kind && !volume.terminating && !is_taken(volume)
        };
        let promised = self.snapshot.volumes_for(claim).map(|volume| &**volume).find(suits);
        if promised.is_some() {
            return promised.filter(|volume| reaches(node, &volume.node_affinity));
        }
        let free = self.snapshot.free_volumes(&claim.class).map(|volume| &**volume).filter(suits);
        free.filter(|volume| volume.available).find(|volume| {
            let selected = claim.selector.as_ref().is_none_or(|selector| selector.matches(&volume.labels));
            let modes = claim.access_modes.iter().all(|mode| volume.access_modes.contains(mode));
            selected && modes && reaches(node, &volume.node_affinity)
        })
    }

    /// Whether a volume can be made for the claim on the node, and of what room.
    fn provision(&self, claim: &'a PersistentVolumeClaim, node: &Node) -> Result<Option<&'a CsiStorageCapacity>, Reason> {
        let none = || Reason::NoVolume { claim: claim.name.clone() };
        let class = self.snapshot.stored::<StorageClass>("", &claim.class).ok_or_else(none)?;
        let provisioner = class.provisioner.as_deref().ok_or_else(none)?;
        let reached = |topologies: &Vec<_>| topologies.iter().any(|of: &crate::cluster::LabelSelector| of.matches(&node.labels));
        if !class.topologies.as_ref().is_none_or(reached) {
            return Err(none());
        }
        let counted = self.snapshot.stored::<CsiDriver>("", provisioner).is_some_and(|driver| driver.storage_capacity);
        let Some(request) = claim.request.filter(|_| counted) else { return Ok(None) };
        let mut rooms = self.snapshot.capacities(&claim.class).map(|capacity| &**capacity);
        let holds = |room: &&CsiStorageCapacity| {
            room.limit().is_some_and(|limit| limit >= request) && room.nodes.as_ref().is_some_and(|nodes| nodes.matches(&node.labels))
        };
        rooms.find(holds).map(Some).ok_or_else(|| Reason::StorageFull { claim: claim.name.clone() })
    }
}

impl Found<'_> {
    /// By how full the chosen volumes would be, or else the room for those to be made; each class counts alike.
    pub fn score(&self, shape: &[(i64, i64)]) -> i64 {
        let mut classes: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
        for (volume, claim) in &self.matched {
            let (requested, capacity) = classes.entry(&volume.class).or_default();
            (*requested, *capacity) = (*requested + claim.request.unwrap_or(0), *capacity + volume.capacity);
        }
        if self.matched.is_empty() {
            for (claim, room) in &self.provisions {
                let Some(room) = room else { continue };
                let (requested, capacity) = classes.entry(&claim.class).or_default();
                // Not the sum: all of a class are made of the same room.
                (*requested, *capacity) = (*requested + claim.request.unwrap_or(0), room.capacity.unwrap_or(0));
            }
        }
        score::volume_binding::score(classes.into_values(), shape)
    }
}

/// Whether the node reaches a bound volume; one that a CSI driver took over there goes by the driver's labels.
pub fn is_reached(snapshot: &Snapshot, volume: &PersistentVolume, node: &Node) -> bool {
    let csi_node = || snapshot.stored::<CsiNode>("", &node.name);
    let migration = volume.migration.as_ref().filter(|of| csi_node().is_some_and(|on| on.migrated.contains(&of.plugin)));
    reaches(node, migration.map_or(&volume.node_affinity, |migration| &migration.node_affinity))
}

/// By labels alone: kube-scheduler does not look at the node's name here.
fn reaches(node: &Node, affinity: &Option<Vec<NodeSelectorTerm>>) -> bool {
    affinity.as_ref().is_none_or(|terms| terms.iter().any(|term| term_matches_labels(term, &node.labels, "")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Cluster, LabelSelector, Labels, Operator, PodVolume, Requirement};
    use crate::filter::testing::{check_fits, check_scores, labels, pod, world};
    use crate::plan::VerdictCode::Unresolvable;

    const NONE: &str = "node(s) didn't find available persistent volumes to bind";
    const FULL: &str = "node(s) did not have enough free storage";
    const ELSEWHERE: &str = "node(s) didn't match PersistentVolume's node affinity";

    fn in_zone(zone: &str) -> Option<Vec<NodeSelectorTerm>> {
        let requirement = Requirement { key: "zone".into(), operator: Operator::In, values: vec![zone.into()] };
        Some(vec![NodeSelectorTerm { match_expressions: vec![requirement], match_fields: vec![] }])
    }

    fn volume(cluster: &mut Cluster, name: &str, capacity: i64, zone: &str) {
        let (name, class) = (name.into(), "c".into());
        cluster.apply_stored(PersistentVolume {
            name,
            class,
            capacity,
            node_affinity: in_zone(zone),
            available: true,
            ..PersistentVolume::default()
        });
    }

    /// A claim of class `c`, and a pod with these claims.
    fn claims(cluster: &mut Cluster, requests: &[i64]) -> Pod {
        let names: Vec<String> = (0..requests.len()).map(|at| format!("claim-{at}")).collect();
        for (name, request) in names.iter().zip(requests) {
            cluster.apply_stored(PersistentVolumeClaim {
                namespace: "shop".into(),
                name: name.clone(),
                uid: name.clone(),
                class: "c".into(),
                request: Some(*request),
                ..PersistentVolumeClaim::default()
            });
        }
        Pod { volumes: names.into_iter().map(PodVolume::Claim).collect(), ..pod("new", "web") }
    }

    fn class(provisioner: Option<&str>, topologies: Option<&Labels>) -> StorageClass {
        let topologies = topologies.map(|labels| vec![LabelSelector::of_labels(labels)]);
        StorageClass { name: "c".into(), provisioner: provisioner.map(Into::into), delayed: true, topologies, ..StorageClass::default() }
    }

    #[test]
    fn a_bound_volume_says_where_the_pod_goes() {
        let mut cluster = world();
        volume(&mut cluster, "v", 10, "1");
        let pod = claims(&mut cluster, &[10]);
        let claim = cluster.view().stored::<PersistentVolumeClaim>("shop", "claim-0").unwrap();
        let bound = PersistentVolumeClaim { volume: Some("v".into()), bind_completed: true, ..(**claim).clone() };
        cluster.apply_stored(bound);
        check_fits(&cluster, &pod, "a b", &[("x", ELSEWHERE, Unresolvable)]);
    }

    #[test]
    fn the_smallest_volume_is_for_the_smallest_claim() {
        let mut cluster = world();
        cluster.apply_stored(class(None, None));
        volume(&mut cluster, "large", 30, "1");
        volume(&mut cluster, "small", 10, "1");
        volume(&mut cluster, "only", 30, "2");
        let pod = claims(&mut cluster, &[20, 5]);
        check_fits(&cluster, &pod, "a b", &[("x", NONE, Unresolvable), ("bare", NONE, Unresolvable)]);
        let ix = cluster.view().node_index("a").unwrap();
        let plan = plan(cluster.view(), &pod, ix).unwrap();
        let bindings: Vec<(&str, &str)> = plan.bindings.iter().map(|(volume, claim)| (volume.as_str(), claim.name.as_str())).collect();
        assert_eq!(bindings, [("small", "claim-1"), ("large", "claim-0")]);
        check_scores(&cluster, &pod, "VolumeBinding", &[38, 38]);
    }

    #[test]
    fn volumes_are_made_where_the_class_and_the_room_allow() {
        let mut cluster = world();
        cluster.apply_stored(class(Some("d"), None));
        let pod = claims(&mut cluster, &[20]);
        check_fits(&cluster, &pod, "a b bare x y", &[]);
        cluster.apply_stored(class(Some("d"), Some(&labels(&[("zone", "1")]))));
        check_fits(&cluster, &pod, "a b", &[("x", NONE, Unresolvable)]);
        cluster.apply_stored(CsiDriver { name: "d".into(), storage_capacity: true, ..CsiDriver::default() });
        check_fits(&cluster, &pod, "", &[("a", FULL, Unresolvable)]);
        let nodes = Some(LabelSelector::of_labels(&labels(&[("kubernetes.io/hostname", "b")])));
        cluster.apply_stored(CsiStorageCapacity {
            name: "r".into(),
            class: "c".into(),
            nodes,
            capacity: Some(80),
            ..CsiStorageCapacity::default()
        });
        check_fits(&cluster, &pod, "b", &[("a", FULL, Unresolvable)]);
        check_scores(&cluster, &pod, "VolumeBinding", &[75]);
    }
}
