//! What of a pod's volumes binds it to nodes. What every node can have (config maps, empty directories, NFS) is left out.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PodVolume {
    /// A PersistentVolumeClaim of the pod's namespace, by name.
    Claim(String),
    /// The claim that is made for this pod alone, `<pod>-<volume>`.
    Ephemeral(String),
    /// A disk that the pod itself names.
    Disk(Disk),
}

impl PodVolume {
    /// The name of the claim, of whichever kind.
    pub fn claim(&self) -> Option<&str> {
        match self {
            PodVolume::Claim(name) | PodVolume::Ephemeral(name) => Some(name),
            PodVolume::Disk(_) => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// `None`: several pods of a node may use it.
    pub exclusive: Option<ExclusiveDisk>,
    /// As the driver that took over from the in-tree plugin attaches it.
    pub attached: Option<CsiVolume>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskKind {
    GcePersistentDisk,
    AwsElasticBlockStore,
    Iscsi,
    Rbd,
}

/// A disk that pods of one node share only if all of them read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExclusiveDisk {
    pub kind: DiskKind,
    /// Disk name, volume ID, IQN, or pool and image.
    pub id: String,
    /// Of RBD: the same image of other monitors is another.
    pub monitors: Vec<String>,
    /// Never of EBS, which kube-scheduler does not let pods share at all.
    pub read_only: bool,
}

impl ExclusiveDisk {
    pub fn conflicts(&self, other: &ExclusiveDisk) -> bool {
        let same_monitors = self.kind != DiskKind::Rbd || self.monitors.iter().any(|monitor| other.monitors.contains(monitor));
        self.kind == other.kind && self.id == other.id && same_monitors && !(self.read_only && other.read_only)
    }
}

/// A volume as a CSI driver knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsiVolume {
    pub driver: String,
    pub handle: String,
    /// Written for an in-tree plugin: it is the driver's on nodes that have a CSINode.
    pub migrated: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(kind: DiskKind, id: &str, monitors: &[&str], read_only: bool) -> ExclusiveDisk {
        ExclusiveDisk { kind, id: id.into(), monitors: monitors.iter().map(|monitor| (*monitor).to_owned()).collect(), read_only }
    }

    #[test]
    fn a_disk_is_shared_by_readers_alone() {
        use DiskKind::{GcePersistentDisk, Iscsi, Rbd};
        let check = |a: &ExclusiveDisk, b: &ExclusiveDisk, conflicts| {
            assert_eq!((a.conflicts(b), b.conflicts(a)), (conflicts, conflicts), "{a:?} {b:?}");
        };
        check(&disk(Iscsi, "a", &[], true), &disk(Iscsi, "a", &[], true), false);
        check(&disk(Iscsi, "a", &[], true), &disk(Iscsi, "a", &[], false), true);
        check(&disk(Iscsi, "a", &[], false), &disk(Iscsi, "b", &[], false), false);
        check(&disk(Iscsi, "a", &[], false), &disk(GcePersistentDisk, "a", &[], false), false);
        check(&disk(Rbd, "p/i", &["m1", "m2"], false), &disk(Rbd, "p/i", &["m2"], false), true);
        check(&disk(Rbd, "p/i", &["m1"], false), &disk(Rbd, "p/i", &["m2"], false), false);
    }
}
