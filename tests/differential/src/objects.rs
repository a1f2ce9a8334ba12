//! Objects of a case as the scheduler's watches would bring them, through `api::convert` into the model's cluster, and out of it again.

use anyhow::{Context, Result, bail};
use placement::cluster::{
    Changes, Cluster, Controller, ControllerKind, CsiDriver, CsiNode, CsiStorageCapacity, LabelSelector, Labels, PersistentVolume,
    PersistentVolumeClaim, PodKey, StorageClass, StorageObject, VolumeAttachment,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

/// The object appeared or changed. What nobody wakes for gives no events.
pub fn apply(cluster: &mut Cluster, object: &Value) -> Result<Changes> {
    changes(cluster, object).with_context(|| format!("{} {}", object["kind"], object["metadata"]["name"]))
}

fn changes(cluster: &mut Cluster, object: &Value) -> Result<Changes> {
    Ok(match object["kind"].as_str() {
        Some("Node") => cluster.apply_node(api::convert::node(&parse(object)?)?),
        Some("Pod") => cluster.apply_pod(api::convert::pod(&parse(object)?)),
        Some("PersistentVolume") => store(cluster, object, api::convert::persistent_volume)?,
        Some("PersistentVolumeClaim") => store(cluster, object, api::convert::persistent_volume_claim)?,
        Some("StorageClass") => store(cluster, object, api::convert::storage_class)?,
        Some("CSINode") => store(cluster, object, api::convert::csi_node)?,
        Some("CSIDriver") => store(cluster, object, api::convert::csi_driver)?,
        Some("CSIStorageCapacity") => store(cluster, object, api::convert::csi_storage_capacity)?,
        Some("VolumeAttachment") => store(cluster, object, api::convert::volume_attachment)?,
        Some("ResourceSlice") => cluster.apply_resource_slice(api::convert::resource_slice(&parse(object)?)),
        Some("DeviceClass") => cluster.apply_device_class(api::convert::device_class(&parse(object)?)),
        Some("ResourceClaim") => cluster.apply_claim(api::convert::claim(&parse(object)?)),
        kind => {
            apply_silently(cluster, object, kind)?;
            Changes::new()
        }
    })
}

/// What nobody wakes for.
fn apply_silently(cluster: &mut Cluster, object: &Value, kind: Option<&str>) -> Result<()> {
    let mut controller = |kind, selector| {
        cluster.apply_controller(namespace(object), &Controller { kind, name: name(object).to_owned() }, selector);
    };
    match kind {
        Some("ReplicaSet") => controller(ControllerKind::ReplicaSet, api::convert::replica_set_selector(&parse(object)?)),
        Some("StatefulSet") => controller(ControllerKind::StatefulSet, api::convert::stateful_set_selector(&parse(object)?)),
        Some("ReplicationController") => {
            controller(ControllerKind::ReplicationController, api::convert::replication_controller_selector(&parse(object)?));
        }
        Some("Namespace") => cluster.apply_namespace(name(object), labels(&object["metadata"]["labels"])?),
        Some("Service") => {
            let selector = Option::<Labels>::deserialize(&object["spec"]["selector"])?;
            cluster.apply_service(namespace(object), name(object), selector.as_ref().map(LabelSelector::of_labels));
        }
        Some("PodDisruptionBudget") => cluster.apply_budget(api::convert::disruption_budget(&parse(object)?)),
        kind => bail!("objects of kind {kind:?} are not read on our side yet"),
    }
    Ok(())
}

/// The object is gone; `None`: nobody wakes for objects of this kind.
pub fn delete(cluster: &mut Cluster, object: &Value) -> Option<Changes> {
    let (namespace, name) = (namespace(object), name(object));
    Some(match object["kind"].as_str()? {
        "Node" => cluster.delete_node(name),
        "Pod" => cluster.delete_pod(&PodKey::new(namespace, name)),
        "PersistentVolume" => cluster.delete_stored::<PersistentVolume>(namespace, name),
        "PersistentVolumeClaim" => cluster.delete_stored::<PersistentVolumeClaim>(namespace, name),
        "StorageClass" => cluster.delete_stored::<StorageClass>(namespace, name),
        "CSINode" => cluster.delete_stored::<CsiNode>(namespace, name),
        "CSIDriver" => cluster.delete_stored::<CsiDriver>(namespace, name),
        "CSIStorageCapacity" => cluster.delete_stored::<CsiStorageCapacity>(namespace, name),
        "VolumeAttachment" => cluster.delete_stored::<VolumeAttachment>(namespace, name),
        "ResourceSlice" => cluster.delete_resource_slice(name),
        "DeviceClass" => cluster.delete_device_class(name),
        "ResourceClaim" => cluster.delete_claim(&PodKey::new(namespace, name)),
        _ => return None,
    })
}

fn store<K: DeserializeOwned, T: StorageObject>(cluster: &mut Cluster, object: &Value, convert: fn(&K) -> T) -> Result<Changes> {
    Ok(cluster.apply_stored(convert(&parse(object)?)))
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn namespace(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or_default()
}

fn labels(of: &Value) -> Result<Labels> {
    Ok(Option::deserialize(of)?.unwrap_or_default())
}

pub fn parse<T: DeserializeOwned>(object: &Value) -> Result<T> {
    T::deserialize(object).context("the object does not parse")
}
