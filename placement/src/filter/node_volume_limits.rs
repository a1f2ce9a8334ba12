//! NodeVolumeLimits: the node can attach the pod's volumes besides those it has, of each CSI driver no more than its CSINode says (kube-scheduler 1.37,
//! plugin NodeVolumeLimits; unschedulable). A volume that several pods of the node use counts once. One that is still attached for a pod that has gone
//! counts too; so does, as there, one that the pod itself asks for and that is attached already.

use super::pod_claims::PodClaim;
use crate::cluster::{
    CsiDriver, CsiNode, CsiVolume, Node, NodeIx, PersistentVolume, PersistentVolumeClaim, Pod, PodVolume, Snapshot, StorageClass,
};
use crate::plan::Reason;
use std::borrow::Cow;
use std::collections::BTreeSet;

pub struct Limits<'a> {
    snapshot: &'a Snapshot,
    /// What the pod needs attached, wherever it goes.
    wanted: Vec<Attached<'a>>,
}

/// A volume that counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Attached<'a> {
    driver: &'a str,
    handle: Cow<'a, str>,
    /// Only on nodes with a CSINode.
    migrated: bool,
}

impl<'a> Limits<'a> {
    /// `None`: none of the pod's volumes is attached by a CSI driver.
    pub fn new(snapshot: &'a Snapshot, pod: &'a Pod, claims: &[PodClaim<'a>]) -> Option<Limits<'a>> {
        let of_claims = claims.iter().filter_map(|of| of_claim(snapshot, of.claim));
        let wanted: Vec<Attached<'a>> = of_claims.chain(pod.volumes.iter().filter_map(of_disk)).collect();
        (!wanted.is_empty()).then_some(Limits { snapshot, wanted })
    }

    pub fn check(&self, ix: NodeIx, node: &Node) -> Option<Reason> {
        let csi_node = self.snapshot.stored::<CsiNode>("", &node.name).map(|csi_node| &**csi_node);
        let counts = |volume: &&Attached<'_>| !volume.migrated || csi_node.is_some();
        let mut new: BTreeSet<(&str, &str)> = self.wanted.iter().filter(counts).map(|of| (of.driver, &*of.handle)).collect();
        let limit = |driver: &str| csi_node?.drivers.iter().find(|(name, _)| name == driver).map(|(_, limit)| *limit);
        let required = |driver: &str| self.snapshot.stored::<CsiDriver>("", driver).is_some_and(|driver| driver.required);
        if let Some((driver, _)) = new.iter().find(|(driver, _)| limit(driver).is_none() && required(driver)) {
            return Some(Reason::DriverMissing { driver: (*driver).to_owned() });
        }
        if !new.iter().any(|(driver, _)| limit(driver).flatten().is_some()) {
            return None;
        }
        let there = self.attached(ix, csi_node.is_some());
        let mut attached: BTreeSet<(&str, &str)> = there.iter().map(|of| (of.driver, &*of.handle)).collect();
        new.retain(|volume| !attached.contains(volume));
        attached.extend(self.still_attached(&node.name));
        let of_driver = |set: &BTreeSet<(&str, &str)>, driver: &str| set.iter().filter(|(of, _)| *of == driver).count() as i64;
        new.iter().find_map(|(driver, _)| {
            let (limit, used) = (limit(driver).flatten()?, of_driver(&attached, driver));
            let exceeded = used + of_driver(&new, driver) > limit;
            exceeded.then(|| Reason::VolumeLimit { driver: (*driver).to_owned(), used, limit })
        })
    }

    /// Of the pods on the node.
    fn attached(&self, ix: NodeIx, migrating: bool) -> Vec<Attached<'a>> {
        let mut found = Vec::new();
        for pod in self.snapshot.volume_users(ix) {
            let claims = pod.volumes.iter().filter_map(PodVolume::claim);
            let claims = claims.filter_map(|name| self.snapshot.stored::<PersistentVolumeClaim>(&pod.key.namespace, name));
            found.extend(claims.filter_map(|claim| of_claim(self.snapshot, claim)));
            found.extend(pod.volumes.iter().filter_map(of_disk));
        }
        found.retain(|volume| migrating || !volume.migrated);
        found
    }

    /// By what the attach controller has written.
    fn still_attached(&self, node: &'a str) -> impl Iterator<Item = (&str, &str)> + use<'_, 'a> {
        self.snapshot.attachments(node).filter(|attachment| !attachment.attacher.is_empty()).filter_map(|attachment| {
            let volume = self.snapshot.stored::<PersistentVolume>("", attachment.volume.as_deref()?)?;
            let csi = volume.csi.as_ref().filter(|csi| !csi.migrated)?;
            Some((attachment.attacher.as_str(), csi.handle.as_str()))
        })
    }
}

fn of_disk(volume: &PodVolume) -> Option<Attached<'_>> {
    match volume {
        PodVolume::Disk(disk) => disk.attached.as_ref().map(known),
        PodVolume::Claim(_) | PodVolume::Ephemeral(_) => None,
    }
}

fn known(volume: &CsiVolume) -> Attached<'_> {
    Attached { driver: &volume.driver, handle: Cow::Borrowed(&volume.handle), migrated: volume.migrated }
}

/// The claim's volume; one that does not exist yet is the class's driver's, and goes by the claim's name.
fn of_claim<'a>(snapshot: &'a Snapshot, claim: &'a PersistentVolumeClaim) -> Option<Attached<'a>> {
    let volume = claim.volume.as_deref().and_then(|name| snapshot.stored::<PersistentVolume>("", name));
    let found = match volume {
        Some(volume) => volume.csi.as_ref().map(known)?,
        None => {
            let class = snapshot.stored::<StorageClass>("", &claim.class).filter(|_| !claim.class.is_empty())?;
            let of_class = known(class.attached.as_ref()?);
            // No handle of a volume begins like this.
            Attached { handle: Cow::Owned(format!("\0{}/{}", claim.namespace, claim.name)), ..of_class }
        }
    };
    (!found.driver.is_empty() && !found.handle.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Cluster, Disk, VolumeAttachment};
    use crate::filter::testing::{check_fits, pod, world};
    use crate::plan::VerdictCode::Unschedulable;

    const FULL: &str = "node(s) exceed max volume count";

    /// A claim of namespace `shop` that is bound to a volume of driver `d`.
    fn bound(cluster: &mut Cluster, name: &str, handle: &str) -> PodVolume {
        let csi = CsiVolume { driver: "d".into(), handle: handle.into(), migrated: false };
        cluster.apply_stored(PersistentVolume { name: name.into(), csi: Some(csi), ..PersistentVolume::default() });
        cluster.apply_stored(PersistentVolumeClaim {
            namespace: "shop".into(),
            name: name.into(),
            volume: Some(name.into()),
            bind_completed: true,
            ..PersistentVolumeClaim::default()
        });
        PodVolume::Claim(name.into())
    }

    fn with(name: &str, node: Option<&str>, volumes: &[PodVolume]) -> Pod {
        Pod { node_name: node.map(Into::into), volumes: volumes.to_vec(), ..pod(name, "web") }
    }

    fn csi_node(name: &str, driver: &str, limit: Option<i64>) -> CsiNode {
        CsiNode { name: name.into(), drivers: vec![(driver.into(), limit)], migrated: vec![] }
    }

    #[test]
    fn a_node_attaches_so_many_volumes_and_one_of_two_pods_once() {
        let mut cluster = world();
        cluster.apply_stored(csi_node("a", "d", Some(1)));
        cluster.apply_stored(csi_node("b", "d", None));
        let (one, same, other) = (bound(&mut cluster, "1", "h1"), bound(&mut cluster, "2", "h1"), bound(&mut cluster, "3", "h2"));
        cluster.apply_pod(with("old", Some("a"), &[one]));
        check_fits(&cluster, &with("new", None, std::slice::from_ref(&same)), "a b bare x y", &[]);
        check_fits(&cluster, &with("new", None, std::slice::from_ref(&other)), "b bare x y", &[("a", FULL, Unschedulable)]);
        check_fits(&cluster, &with("new", None, &[same, other.clone()]), "b bare x y", &[]);
        cluster.delete_pod(&crate::cluster::PodKey::new("shop", "old"));
        check_fits(&cluster, &with("new", None, std::slice::from_ref(&other)), "a b bare x y", &[]);
        // It is still being detached.
        let (name, attacher, volume) = ("at".into(), "d".into(), Some("1".into()));
        cluster.apply_stored(VolumeAttachment { name, node: "a".into(), attacher, volume });
        check_fits(&cluster, &with("new", None, &[other]), "b bare x y", &[("a", FULL, Unschedulable)]);
    }

    #[test]
    fn a_disk_of_an_in_tree_plugin_counts_where_there_is_a_csi_node() {
        let mut cluster = world();
        cluster.apply_stored(csi_node("a", "ebs", Some(0)));
        let attached = Some(CsiVolume { driver: "ebs".into(), handle: "vol-1".into(), migrated: true });
        let disk = PodVolume::Disk(Disk { exclusive: None, attached });
        check_fits(&cluster, &with("new", None, &[disk]), "b bare x y", &[("a", FULL, Unschedulable)]);
    }

    #[test]
    fn a_driver_that_says_so_is_required_of_the_node() {
        let mut cluster = world();
        let claim = bound(&mut cluster, "1", "h1");
        cluster.apply_stored(csi_node("a", "d", None));
        cluster.apply_stored(CsiDriver { name: "d".into(), required: true, ..CsiDriver::default() });
        let missing = ("b", "d CSI driver is not installed on the node", Unschedulable);
        check_fits(&cluster, &with("new", None, &[claim]), "a", &[missing]);
    }
}
