//! Storage objects in the cluster's state, who uses them, and what pods on their way to a node have taken of them.

mod assumed;
mod kinds;
mod objects;
mod table;
#[cfg(test)]
mod tests;
mod users;

pub use assumed::VolumePlan;
pub use kinds::StorageObject;
pub use objects::{
    AccessMode, ClaimRef, CsiDriver, CsiNode, CsiStorageCapacity, Migration, PersistentVolume, PersistentVolumeClaim, StorageClass,
    VolumeAttachment,
};

use super::live::Cluster;
use super::snapshot::Snapshot;
use super::{Changes, ClusterEvent};
use assumed::Assumed;
use rustc_hash::FxHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use table::{Files, Table};
use users::Users;

#[derive(Clone, Debug, Default)]
pub struct Storage {
    volumes: Table<PersistentVolume>,
    /// By class and claim, with what is assumed; the smallest first.
    volumes_of: Files<PersistentVolume>,
    claims: Table<PersistentVolumeClaim>,
    classes: Table<StorageClass>,
    csi_nodes: Table<CsiNode>,
    drivers: Table<CsiDriver>,
    capacities: Table<CsiStorageCapacity>,
    /// By class.
    capacities_of: Files<CsiStorageCapacity>,
    attachments: Table<VolumeAttachment>,
    /// By node.
    attachments_of: Files<VolumeAttachment>,
    pub(super) users: Users,
    assumed: Assumed,
}

/// Whom a change of a storage object may help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageChange {
    Claim {
        namespace: String,
        name: String,
    },
    /// A PersistentVolume is there, is free again, or differs.
    Volume,
    Class,
    CsiNode,
    CsiDriver,
    /// There is more room for volumes.
    Capacity,
    /// A volume is no longer attached to a node.
    Detached,
}

fn key_hash(key: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = FxHasher::default();
    key.hash(&mut hasher);
    hasher.finish()
}

fn volume_key(class: &str, claim: Option<(&str, &str)>) -> u64 {
    key_hash(&(class, claim))
}

impl Storage {
    fn file_volume(&mut self, volume: &Arc<PersistentVolume>, sign: i64) {
        let claim = self.claim_of(volume).map(|claim| (claim.namespace.as_str(), claim.name.as_str()));
        let hash = volume_key(&volume.class, claim);
        match sign {
            1.. => self.volumes_of.add(hash, Arc::clone(volume), |other| (other.capacity, other.name.clone())),
            _ => self.volumes_of.remove(hash, |other| other.name == volume.name),
        }
    }

    /// The claim that a volume is bound to, or promised.
    fn claim_of<'a>(&'a self, volume: &'a PersistentVolume) -> Option<&'a ClaimRef> {
        self.assumed.claim_of(&volume.name).or(volume.claim.as_ref())
    }
}

impl Cluster {
    /// A storage object appeared or changed.
    pub fn apply_stored<T: StorageObject>(&mut self, object: T) -> Changes {
        let old = T::table(&self.state.storage).get(object.namespace(), object.name()).cloned();
        if old.as_deref() == Some(&object) {
            return Changes::new();
        }
        let event = T::change(old.as_deref(), Some(&object));
        let object = Arc::new(object);
        let storage = self.change_storage();
        if let Some(old) = &old {
            T::file(storage, old, -1);
        }
        T::table_mut(storage).set(Arc::clone(&object));
        T::file(storage, &object, 1);
        event.map(ClusterEvent::Storage).into_iter().collect()
    }

    pub fn delete_stored<T: StorageObject>(&mut self, namespace: &str, name: &str) -> Changes {
        let Some(old) = T::table(&self.state.storage).get(namespace, name).cloned() else { return Changes::new() };
        let storage = self.change_storage();
        T::file(storage, &old, -1);
        T::table_mut(storage).remove(namespace, name);
        T::change(Some(&old), None).map(ClusterEvent::Storage).into_iter().collect()
    }

    pub(super) fn change_storage(&mut self) -> &mut Storage {
        Arc::make_mut(&mut self.change().storage)
    }
}

impl Snapshot {
    /// The storage object of this name; the namespace is empty for a kind that has none.
    pub fn stored<T: StorageObject>(&self, namespace: &str, name: &str) -> Option<&Arc<T>> {
        T::table(&self.storage).get(namespace, name)
    }

    /// Every storage object of a kind, in no particular order.
    pub fn all_stored<'a, T: StorageObject + 'a>(&'a self) -> impl Iterator<Item = &'a Arc<T>> {
        T::table(&self.storage).iter()
    }

    /// Volumes of the claim's class that are the claim's: bound to it, or promised.
    pub fn volumes_for<'a>(&'a self, claim: &'a PersistentVolumeClaim) -> impl Iterator<Item = &'a Arc<PersistentVolume>> {
        let hash = volume_key(&claim.class, Some((&claim.namespace, &claim.name)));
        let means = |volume: &PersistentVolume| self.storage.claim_of(volume).is_some_and(|reference| reference.means(claim));
        self.storage.volumes_of.get(hash).iter().filter(move |volume| volume.class == claim.class && means(volume))
    }

    /// Volumes of the class that are nobody's, the smallest first.
    pub fn free_volumes<'a>(&'a self, class: &'a str) -> impl Iterator<Item = &'a Arc<PersistentVolume>> {
        let free = self.storage.volumes_of.get(volume_key(class, None)).iter();
        free.filter(move |volume| volume.class == class && self.storage.claim_of(volume).is_none())
    }

    /// Where there is room for volumes of the class.
    pub fn capacities<'a>(&'a self, class: &'a str) -> impl Iterator<Item = &'a Arc<CsiStorageCapacity>> {
        self.storage.capacities_of.get(key_hash(class)).iter().filter(move |capacity| capacity.class == class)
    }

    /// What is attached to the node, or about to be.
    pub fn attachments<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a Arc<VolumeAttachment>> {
        self.storage.attachments_of.get(key_hash(node)).iter().filter(move |attachment| attachment.node == node)
    }

    /// The node for which a volume is being provisioned, or will be.
    pub fn selected_node<'a>(&'a self, claim: &'a PersistentVolumeClaim) -> Option<&'a str> {
        self.storage.assumed.selected_node(claim).or(claim.selected_node.as_deref())
    }
}
