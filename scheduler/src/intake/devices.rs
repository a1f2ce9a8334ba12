//! Devices, their classes and taints, and claims for them.

use super::{feed, note};
use crate::state::Shared;
use api::convert;
use chassis::watches::{Change, WatchStatus};
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::resource::v1::{DeviceClass, DeviceTaintRule, ResourceClaim, ResourceSlice};
use kube::Resource;
use placement::cluster::{Changes, Cluster, PodKey};
use placement::devices::Inventory;
use std::sync::Arc;

/// Feeds what drivers offer until the watch ends.
pub async fn resource_slices(changes: impl Stream<Item = Change<ResourceSlice>> + Unpin, shared: Arc<Shared>) {
    let apply = |cluster: &mut Cluster, slice: &_| cluster.apply_resource_slice(convert::resource_slice(slice));
    let delete = |cluster: &mut Cluster, key: &PodKey| cluster.delete_resource_slice(&key.name);
    let known = |inventory: &Inventory| inventory.slices().keys().map(|name| PodKey::new("", name)).collect();
    devices(changes, apply, delete, known, &shared).await;
}

/// Feeds classes of devices until the watch ends.
pub async fn device_classes(changes: impl Stream<Item = Change<DeviceClass>> + Unpin, shared: Arc<Shared>) {
    let apply = |cluster: &mut Cluster, class: &_| cluster.apply_device_class(convert::device_class(class));
    let delete = |cluster: &mut Cluster, key: &PodKey| cluster.delete_device_class(&key.name);
    let known = |inventory: &Inventory| inventory.class_names().map(|name| PodKey::new("", name)).collect();
    devices(changes, apply, delete, known, &shared).await;
}

/// Feeds taints of devices until the watch ends.
pub async fn device_taint_rules(changes: impl Stream<Item = Change<DeviceTaintRule>> + Unpin, shared: Arc<Shared>) {
    let apply = |cluster: &mut Cluster, rule: &_| cluster.apply_device_taint_rule(convert::taint_rule(rule));
    let delete = |cluster: &mut Cluster, key: &PodKey| cluster.delete_device_taint_rule(&key.name);
    let known = |inventory: &Inventory| inventory.rules().iter().map(|rule| PodKey::new("", &rule.name)).collect();
    devices(changes, apply, delete, known, &shared).await;
}

/// Feeds claims until the watch ends, and whether there are any to be had, by the watch's status.
pub async fn device_claims(changes: impl Stream<Item = Change<ResourceClaim>> + Unpin, status: Arc<WatchStatus>, shared: Arc<Shared>) {
    let changes = changes.inspect(|change| {
        if let Change::Reset(_) = change {
            shared.lock().cluster.serve_claims(status.is_served());
        }
    });
    let apply = |cluster: &mut Cluster, claim: &_| cluster.apply_claim(convert::claim(claim));
    let delete = |cluster: &mut Cluster, key: &PodKey| cluster.delete_claim(key);
    let known = |inventory: &Inventory| inventory.claims().map(|claim| claim.key.clone()).collect();
    devices(changes, apply, delete, known, &shared).await;
}

async fn devices<K: Resource>(
    changes: impl Stream<Item = Change<K>> + Unpin,
    apply: impl Fn(&mut Cluster, &K) -> Changes,
    delete: impl Fn(&mut Cluster, &PodKey) -> Changes,
    known: impl Fn(&Inventory) -> Vec<PodKey>,
    shared: &Shared,
) {
    let apply = |object: &K| note(shared, |cluster| apply(cluster, object));
    let delete = |key: &PodKey| note(shared, |cluster| delete(cluster, key));
    feed(changes, apply, delete, || known(shared.lock().cluster.view().inventory())).await;
}
