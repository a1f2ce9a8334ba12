//! Devices, their classes and taints, and claims for them.

use super::{name, namespace};
use crate::state::{Shared, now};
use api::convert;
use chassis::watches::{Change, WatchStatus};
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::resource::v1::{DeviceClass, DeviceTaintRule, ResourceClaim, ResourceSlice};
use kube::Resource;
use placement::cluster::{Changes, Cluster, PodKey};
use placement::devices::Inventory;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How objects of one kind get into the state and out of it. What has no namespace is known by an empty one.
pub struct Kind<K> {
    apply: fn(&mut Cluster, &K) -> Changes,
    delete: fn(&mut Cluster, &PodKey) -> Changes,
    known: fn(&Inventory) -> Vec<PodKey>,
}

pub const RESOURCE_SLICES: Kind<ResourceSlice> = Kind {
    apply: |cluster, slice| cluster.apply_resource_slice(convert::resource_slice(slice)),
    delete: |cluster, key| cluster.delete_resource_slice(&key.name),
    known: |inventory| inventory.slices().keys().map(|name| PodKey::new("", name)).collect(),
};

pub const DEVICE_CLASSES: Kind<DeviceClass> = Kind {
    apply: |cluster, class| cluster.apply_device_class(convert::device_class(class)),
    delete: |cluster, key| cluster.delete_device_class(&key.name),
    known: |inventory| inventory.class_names().map(|name| PodKey::new("", name)).collect(),
};

pub const DEVICE_TAINT_RULES: Kind<DeviceTaintRule> = Kind {
    apply: |cluster, rule| cluster.apply_device_taint_rule(convert::taint_rule(rule)),
    delete: |cluster, key| cluster.delete_device_taint_rule(&key.name),
    known: |inventory| inventory.rules().iter().map(|rule| PodKey::new("", &rule.name)).collect(),
};

const CLAIMS: Kind<ResourceClaim> = Kind {
    apply: |cluster, claim| cluster.apply_claim(convert::claim(claim)),
    delete: |cluster, key| cluster.delete_claim(key),
    known: |inventory| inventory.claims().map(|claim| claim.key.clone()).collect(),
};

/// Feeds claims until the watch ends, and whether there are any to be had, by the watch's status.
pub async fn device_claims(changes: impl Stream<Item = Change<ResourceClaim>> + Unpin, status: Arc<WatchStatus>, shared: Arc<Shared>) {
    let of_state = shared.clone();
    let changes = changes.inspect(move |change| {
        if let Change::Reset(_) = change {
            of_state.lock().cluster.serve_claims(status.is_served());
        }
    });
    devices(changes, CLAIMS, shared).await;
}

/// Feeds objects of one kind until the watch ends.
pub async fn devices<K: Resource>(mut changes: impl Stream<Item = Change<K>> + Unpin, kind: Kind<K>, shared: Arc<Shared>) {
    let note = |change: &dyn Fn(&mut Cluster) -> Changes| {
        shared.change(|state| {
            let changes = change(&mut state.cluster);
            state.note(&changes, now());
        });
    };
    while let Some(change) = changes.next().await {
        match change {
            Change::Apply(object) => note(&|cluster| (kind.apply)(cluster, &object)),
            Change::Delete(object) => note(&|cluster| (kind.delete)(cluster, &key(&object))),
            Change::Reset(objects) => {
                let listed: BTreeSet<PodKey> = objects.iter().map(key).collect();
                let known = (kind.known)(shared.lock().cluster.view().inventory());
                known.iter().filter(|known| !listed.contains(known)).for_each(|gone| note(&|cluster| (kind.delete)(cluster, gone)));
                objects.iter().for_each(|object| note(&|cluster| (kind.apply)(cluster, object)));
            }
        }
    }
}

fn key<K: Resource>(object: &K) -> PodKey {
    PodKey::new(namespace(object.meta()), name(object.meta()))
}
