//! VolumeRestrictions: no pod on the node has a disk that the pod can't share, and no pod on any node uses a claim that is for one pod alone
//! (kube-scheduler 1.37, plugin VolumeRestrictions; unschedulable).

use super::pod_claims::PodClaim;
use crate::cluster::{AccessMode, ExclusiveDisk, NodeIx, Pod, PodVolume, Snapshot};
use crate::plan::Reason;

pub struct Restrictions<'a> {
    snapshot: &'a Snapshot,
    disks: Vec<&'a ExclusiveDisk>,
    /// A ReadWriteOncePod claim that another pod uses.
    in_use: Option<&'a str>,
}

impl<'a> Restrictions<'a> {
    /// `None`: nothing of the pod is exclusive.
    pub fn new(snapshot: &'a Snapshot, pod: &'a Pod, claims: &[PodClaim<'a>]) -> Option<Restrictions<'a>> {
        let disks: Vec<&ExclusiveDisk> = exclusive(pod).collect();
        let alone = claims.iter().filter(|of| !of.ephemeral && of.claim.access_modes.contains(&AccessMode::ReadWriteOncePod));
        let mut used = alone.filter(|of| snapshot.is_claim_used(&of.claim.namespace, &of.claim.name));
        let in_use = used.next().map(|of| of.claim.name.as_str());
        (!disks.is_empty() || in_use.is_some()).then_some(Restrictions { snapshot, disks, in_use })
    }

    pub fn check(&self, ix: NodeIx) -> Option<Reason> {
        let conflicts = |other: &ExclusiveDisk| self.disks.iter().any(|disk| disk.conflicts(other));
        if !self.disks.is_empty() && self.snapshot.volume_users(ix).iter().any(|pod| exclusive(pod).any(conflicts)) {
            return Some(Reason::DiskConflict);
        }
        self.in_use.map(|claim| Reason::ClaimInUse { claim: claim.to_owned() })
    }
}

fn exclusive(pod: &Pod) -> impl Iterator<Item = &ExclusiveDisk> {
    pod.volumes.iter().filter_map(|volume| match volume {
        PodVolume::Disk(disk) => disk.exclusive.as_ref(),
        PodVolume::Claim(_) | PodVolume::Ephemeral(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Disk, DiskKind, PersistentVolume, PersistentVolumeClaim, PodKey};
    use crate::filter::testing::{check_fits, pod, world};
    use crate::plan::VerdictCode::Unschedulable;

    const DISK: &str = "node(s) had no available disk";
    const ALONE: &str = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod";

    fn with(name: &str, node: Option<&str>, volume: PodVolume) -> Pod {
        Pod { node_name: node.map(Into::into), volumes: vec![volume], ..pod(name, "web") }
    }

    #[test]
    fn a_disk_keeps_its_node_from_others() {
        let disk = |read_only| {
            let exclusive = ExclusiveDisk { kind: DiskKind::Iscsi, id: "iqn".into(), monitors: vec![], read_only };
            PodVolume::Disk(Disk { exclusive: Some(exclusive), attached: None })
        };
        let mut cluster = world();
        cluster.apply_pod(with("old", Some("a"), disk(true)));
        check_fits(&cluster, &with("new", None, disk(true)), "a b bare x y", &[]);
        check_fits(&cluster, &with("new", None, disk(false)), "b bare x y", &[("a", DISK, Unschedulable)]);
        cluster.delete_pod(&PodKey::new("shop", "old"));
        check_fits(&cluster, &with("new", None, disk(false)), "a b bare x y", &[]);
    }

    #[test]
    fn a_claim_for_one_pod_is_used_by_one_pod_anywhere() {
        let mut cluster = world();
        let claim = |mode| PersistentVolumeClaim {
            namespace: "shop".into(),
            name: "c".into(),
            volume: Some("v".into()),
            bind_completed: true,
            access_modes: vec![mode],
            ..PersistentVolumeClaim::default()
        };
        cluster.apply_stored(PersistentVolume { name: "v".into(), ..PersistentVolume::default() });
        cluster.apply_stored(claim(AccessMode::ReadWriteOncePod));
        let new = with("new", None, PodVolume::Claim("c".into()));
        check_fits(&cluster, &new, "a b bare x y", &[]);
        cluster.apply_pod(with("old", Some("a"), PodVolume::Claim("c".into())));
        check_fits(&cluster, &new, "", &[("a", ALONE, Unschedulable), ("x", ALONE, Unschedulable)]);
        cluster.apply_stored(claim(AccessMode::ReadWriteOnce));
        check_fits(&cluster, &new, "a b bare x y", &[]);
        cluster.apply_stored(claim(AccessMode::ReadWriteOncePod));
        cluster.delete_pod(&PodKey::new("shop", "old"));
        check_fits(&cluster, &new, "a b bare x y", &[]);
    }
}
