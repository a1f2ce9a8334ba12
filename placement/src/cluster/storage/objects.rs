//! Storage objects, as far as placing reads them: strings, parsed once at the edge.

use super::super::{CsiVolume, LabelSelector, Labels, NodeSelectorTerm};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessMode {
    ReadWriteOnce,
    ReadOnlyMany,
    ReadWriteMany,
    ReadWriteOncePod,
}

/// A claim as others refer to it. Without a UID it may be any of that name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimRef {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

impl ClaimRef {
    /// Whether it means this claim.
    pub fn means(&self, claim: &PersistentVolumeClaim) -> bool {
        self.name == claim.name && self.namespace == claim.namespace && (self.uid.is_empty() || self.uid == claim.uid)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PersistentVolume {
    pub name: String,
    /// `metadata.resourceVersion`: a write that has not seen a newer one is refused.
    pub version: String,
    pub labels: Labels,
    pub class: String,
    /// In bytes.
    pub capacity: i64,
    pub access_modes: Vec<AccessMode>,
    /// `volumeMode: Block`.
    pub block: bool,
    pub attributes_class: String,
    /// Terms of which the node's labels must meet one; `None`: any node has the volume.
    pub node_affinity: Option<Vec<NodeSelectorTerm>>,
    pub claim: Option<ClaimRef>,
    /// `pv.kubernetes.io/bound-by-controller` is set: the claim was not chosen by a user.
    pub bound_by_controller: bool,
    /// `status.phase` is Available.
    pub available: bool,
    pub terminating: bool,
    pub csi: Option<CsiVolume>,
    pub migration: Option<Box<Migration>>,
}

/// What a volume of an in-tree plugin is on nodes where a CSI driver took over from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Migration {
    /// `kubernetes.io/aws-ebs`.
    pub plugin: String,
    pub node_affinity: Option<Vec<NodeSelectorTerm>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PersistentVolumeClaim {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// As of [`PersistentVolume`].
    pub version: String,
    /// UID of the object that controls it: of a claim made for a pod, that pod.
    pub controller: Option<String>,
    pub class: String,
    /// `spec.volumeName`, not empty.
    pub volume: Option<String>,
    /// `pv.kubernetes.io/bind-completed` is set.
    pub bind_completed: bool,
    /// `status.phase` is Lost.
    pub lost: bool,
    pub terminating: bool,
    /// In bytes.
    pub request: Option<i64>,
    pub access_modes: Vec<AccessMode>,
    /// `volumeMode: Block`.
    pub block: bool,
    pub attributes_class: String,
    /// Of volumes; `None`: any.
    pub selector: Option<LabelSelector>,
    /// `volume.kubernetes.io/selected-node`: a volume is being provisioned for it.
    pub selected_node: Option<String>,
}

impl PersistentVolumeClaim {
    pub fn is_bound(&self) -> bool {
        self.volume.is_some() && self.bind_completed
    }

    pub fn reference(&self) -> ClaimRef {
        ClaimRef { namespace: self.namespace.clone(), name: self.name.clone(), uid: self.uid.clone() }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageClass {
    pub name: String,
    /// `None`: volumes are not made on demand.
    pub provisioner: Option<String>,
    /// The driver whose limits a volume of the class will count against; as in [`CsiVolume`], the handle empty.
    pub attached: Option<CsiVolume>,
    /// `volumeBindingMode: WaitForFirstConsumer`.
    pub delayed: bool,
    /// Selectors of nodes, of which one must match; `None`: any node.
    pub topologies: Option<Vec<LabelSelector>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CsiNode {
    /// The node's name.
    pub name: String,
    /// Drivers, with how many volumes each can attach; `None`: any number.
    pub drivers: Vec<(String, Option<i64>)>,
    /// In-tree plugins whose volumes CSI drivers have taken over.
    pub migrated: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CsiDriver {
    pub name: String,
    /// A volume is provisioned only where a [`CsiStorageCapacity`] says that there is room.
    pub storage_capacity: bool,
    /// `preventPodSchedulingIfMissing`: pods with its volumes go only to nodes that have it.
    pub required: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CsiStorageCapacity {
    pub namespace: String,
    pub name: String,
    pub class: String,
    /// Which nodes reach it; `None`: none.
    pub nodes: Option<LabelSelector>,
    /// In bytes; `None`: not known.
    pub capacity: Option<i64>,
    /// Of one volume, in bytes.
    pub maximum_volume: Option<i64>,
}

impl CsiStorageCapacity {
    /// The largest volume that there is room for.
    pub fn limit(&self) -> Option<i64> {
        self.maximum_volume.or(self.capacity)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeAttachment {
    pub name: String,
    pub node: String,
    /// The driver.
    pub attacher: String,
    /// The PersistentVolume's name.
    pub volume: Option<String>,
}
