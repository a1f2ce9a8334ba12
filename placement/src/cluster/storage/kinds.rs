//! The kinds of storage objects: where each is kept, and whom a change of it may help.

use super::super::StorageChange;
use super::objects::{CsiDriver, CsiNode, CsiStorageCapacity, PersistentVolume, PersistentVolumeClaim, StorageClass, VolumeAttachment};
use super::table::Table;
use super::{Storage, key_hash};
use std::sync::Arc;

/// A kind of storage object.
pub trait StorageObject: Clone + PartialEq + Sized {
    fn name(&self) -> &str;

    /// Empty for a kind that has none.
    fn namespace(&self) -> &str {
        ""
    }

    fn table(storage: &Storage) -> &Table<Self>;

    fn table_mut(storage: &mut Storage) -> &mut Table<Self>;

    /// What about it may help a waiting pod. One of both is there.
    fn change(old: Option<&Self>, new: Option<&Self>) -> Option<StorageChange>;

    /// Enters the object where it is looked up otherwise than by name (`sign` 1), or strikes it out (-1).
    fn file(_storage: &mut Storage, _object: &Arc<Self>, _sign: i64) {}
}

impl StorageObject for PersistentVolume {
    fn name(&self) -> &str {
        &self.name
    }

    fn table(storage: &Storage) -> &Table<Self> {
        &storage.volumes
    }

    fn table_mut(storage: &mut Storage) -> &mut Table<Self> {
        &mut storage.volumes
    }

    fn change(old: Option<&Self>, new: Option<&Self>) -> Option<StorageChange> {
        let newer = |old: &Self, new: &Self| PersistentVolume { version: new.version.clone(), ..old.clone() } == *new;
        (!old.zip(new).is_some_and(|(old, new)| newer(old, new))).then_some(StorageChange::Volume)
    }

    fn file(storage: &mut Storage, object: &Arc<Self>, sign: i64) {
        storage.file_volume(object, sign);
    }
}

impl StorageObject for PersistentVolumeClaim {
    fn name(&self) -> &str {
        &self.name
    }

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn table(storage: &Storage) -> &Table<Self> {
        &storage.claims
    }

    fn table_mut(storage: &mut Storage) -> &mut Table<Self> {
        &mut storage.claims
    }

    fn change(old: Option<&Self>, new: Option<&Self>) -> Option<StorageChange> {
        let newer = |old: &Self, new: &Self| PersistentVolumeClaim { version: new.version.clone(), ..old.clone() } == *new;
        if old.zip(new).is_some_and(|(old, new)| newer(old, new)) {
            return None;
        }
        let claim = old.or(new)?;
        Some(StorageChange::Claim { namespace: claim.namespace.clone(), name: claim.name.clone() })
    }
}

impl StorageObject for StorageClass {
    fn name(&self) -> &str {
        &self.name
    }

    fn table(storage: &Storage) -> &Table<Self> {
        &storage.classes
    }

    fn table_mut(storage: &mut Storage) -> &mut Table<Self> {
        &mut storage.classes
    }

    fn change(_: Option<&Self>, new: Option<&Self>) -> Option<StorageChange> {
        new.map(|_| StorageChange::Class)
    }
}

impl StorageObject for CsiNode {
    fn name(&self) -> &str {
        &self.name
    }

    fn table(storage: &Storage) -> &Table<Self> {
        &storage.csi_nodes
    }

    fn table_mut(storage: &mut Storage) -> &mut Table<Self> {
        &mut storage.csi_nodes
    }

    fn change(_: Option<&Self>, _: Option<&Self>) -> Option<StorageChange> {
        Some(StorageChange::CsiNode)
    }
}

impl StorageObject for CsiDriver {
    fn name(&self) -> &str {
        &self.name
    }

    fn table(storage: &Storage) -> &Table<Self> {
        &storage.drivers
    }

    fn table_mut(storage: &mut Storage) -> &mut Table<Self> {
        &mut storage.drivers
    }

    fn change(_: Option<&Self>, _: Option<&Self>) -> Option<StorageChange> {
        Some(StorageChange::CsiDriver)
    }
}

impl StorageObject for CsiStorageCapacity {
    fn name(&self) -> &str {
        &self.name
    }

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn table(storage: &Storage) -> &Table<Self> {
        &storage.capacities
    }

    fn table_mut(storage: &mut Storage) -> &mut Table<Self> {
        &mut storage.capacities
    }

    /// Less room helps nobody.
    fn change(old: Option<&Self>, new: Option<&Self>) -> Option<StorageChange> {
        let grew = new.is_some_and(|new| new.limit() > old.and_then(CsiStorageCapacity::limit));
        grew.then_some(StorageChange::Capacity)
    }

    fn file(storage: &mut Storage, object: &Arc<Self>, sign: i64) {
        let hash = key_hash(&object.class);
        match sign {
            1.. => storage.capacities_of.add(hash, Arc::clone(object), |other| (other.namespace.clone(), other.name.clone())),
            _ => storage.capacities_of.remove(hash, |other| other.name == object.name && other.namespace == object.namespace),
        }
    }
}

impl StorageObject for VolumeAttachment {
    fn name(&self) -> &str {
        &self.name
    }

    fn table(storage: &Storage) -> &Table<Self> {
        &storage.attachments
    }

    fn table_mut(storage: &mut Storage) -> &mut Table<Self> {
        &mut storage.attachments
    }

    fn change(old: Option<&Self>, _: Option<&Self>) -> Option<StorageChange> {
        old.map(|_| StorageChange::Detached)
    }

    fn file(storage: &mut Storage, object: &Arc<Self>, sign: i64) {
        let hash = key_hash(&object.node);
        match sign {
            1.. => storage.attachments_of.add(hash, Arc::clone(object), |other| other.name.clone()),
            _ => storage.attachments_of.remove(hash, |other| other.name == object.name),
        }
    }
}
