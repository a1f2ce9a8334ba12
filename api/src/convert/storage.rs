//! Storage objects to the model.

use super::affinity::terms;
use super::label_selector::label_selector;
use super::{Unreadable, csi_migration};
use crate::labels::{BIND_COMPLETED_ANNOTATION, BOUND_BY_CONTROLLER_ANNOTATION, SELECTED_NODE_ANNOTATION};
use k8s_openapi::api::core::v1;
use k8s_openapi::api::storage::v1 as storage;
use k8s_openapi::apimachinery::pkg::api::resource;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use kube::api::ObjectMeta;
use placement::cluster::{
    AccessMode, ClaimRef, CsiDriver, CsiNode, CsiStorageCapacity, CsiVolume, LabelSelector, NodeSelectorTerm, Operator, PersistentVolume,
    PersistentVolumeClaim, Requirement, StorageClass, VolumeAttachment,
};
use placement::units::Quantity;

const BETA_CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const MIGRATED_PLUGINS_ANNOTATION: &str = "storage.alpha.kubernetes.io/migrated-plugins";
/// A provisioner that makes no volumes.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

pub fn persistent_volume(object: &v1::PersistentVolume) -> PersistentVolume {
    let metadata = &object.metadata;
    let none = v1::PersistentVolumeSpec::default();
    let spec = object.spec.as_ref().unwrap_or(&none);
    let labels = metadata.labels.clone().unwrap_or_default();
    let required = spec.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref());
    let node_affinity = required.map(|required| node_terms(&required.node_selector_terms));
    let (translated, migration) = csi_migration::persistent(spec, &labels, &node_affinity);
    let csi = spec.csi.as_ref().map(|csi| CsiVolume { driver: csi.driver.clone(), handle: csi.volume_handle.clone(), migrated: false });
    let reference = |reference: &v1::ObjectReference| ClaimRef {
        namespace: reference.namespace.clone().unwrap_or_default(),
        name: reference.name.clone().unwrap_or_default(),
        uid: reference.uid.clone().unwrap_or_default(),
    };
    PersistentVolume {
        name: name(metadata),
        version: metadata.resource_version.clone().unwrap_or_default(),
        class: class(metadata, spec.storage_class_name.as_ref()),
        capacity: spec.capacity.as_ref().and_then(|capacity| capacity.get("storage")).map_or(0, bytes),
        access_modes: access_modes(spec.access_modes.as_ref()),
        block: spec.volume_mode.as_deref() == Some("Block"),
        attributes_class: spec.volume_attributes_class_name.clone().unwrap_or_default(),
        node_affinity,
        claim: spec.claim_ref.as_ref().map(reference),
        bound_by_controller: annotation(metadata, BOUND_BY_CONTROLLER_ANNOTATION).is_some(),
        available: object.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Available"),
        terminating: metadata.deletion_timestamp.is_some(),
        csi: csi.or(translated),
        migration,
        labels,
    }
}

pub fn persistent_volume_claim(object: &v1::PersistentVolumeClaim) -> PersistentVolumeClaim {
    let metadata = &object.metadata;
    let none = v1::PersistentVolumeClaimSpec::default();
    let spec = object.spec.as_ref().unwrap_or(&none);
    let controller = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    let requests = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    PersistentVolumeClaim {
        namespace: namespace(metadata),
        name: name(metadata),
        uid: metadata.uid.clone().unwrap_or_default(),
        version: metadata.resource_version.clone().unwrap_or_default(),
        controller: controller.map(|owner| owner.uid.clone()),
        class: class(metadata, spec.storage_class_name.as_ref()),
        volume: spec.volume_name.clone().filter(|name| !name.is_empty()),
        bind_completed: annotation(metadata, BIND_COMPLETED_ANNOTATION).is_some(),
        lost: object.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Lost"),
        terminating: metadata.deletion_timestamp.is_some(),
        request: requests.and_then(|requests| requests.get("storage")).map(bytes),
        access_modes: access_modes(spec.access_modes.as_ref()),
        block: spec.volume_mode.as_deref() == Some("Block"),
        attributes_class: spec.volume_attributes_class_name.clone().unwrap_or_default(),
        selector: spec.selector.as_ref().map(selector),
        selected_node: annotation(metadata, SELECTED_NODE_ANNOTATION).cloned(),
    }
}

pub fn storage_class(object: &storage::StorageClass) -> StorageClass {
    let topology = |term: &v1::TopologySelectorTerm| {
        let expressions = term.match_label_expressions.as_ref().filter(|expressions| !expressions.is_empty())?;
        let requirement = |expression: &v1::TopologySelectorLabelRequirement| Requirement {
            key: expression.key.clone(),
            operator: Operator::In,
            values: expression.values.clone(),
        };
        Some(LabelSelector::new(expressions.iter().map(requirement)))
    };
    let topologies = object.allowed_topologies.as_ref().filter(|terms| !terms.is_empty());
    StorageClass {
        name: name(&object.metadata),
        provisioner: Some(object.provisioner.clone()).filter(|provisioner| !provisioner.is_empty() && provisioner != NO_PROVISIONER),
        attached: csi_migration::attached_by(&object.provisioner),
        delayed: object.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"),
        topologies: topologies.map(|terms| terms.iter().filter_map(topology).collect()),
    }
}

pub fn csi_node(object: &storage::CSINode) -> CsiNode {
    let driver = |driver: &storage::CSINodeDriver| {
        let count = driver.allocatable.as_ref().and_then(|allocatable| allocatable.count);
        (driver.name.clone(), count.map(i64::from))
    };
    let migrated = annotation(&object.metadata, MIGRATED_PLUGINS_ANNOTATION).filter(|plugins| !plugins.is_empty());
    CsiNode {
        name: name(&object.metadata),
        drivers: object.spec.drivers.iter().map(driver).collect(),
        migrated: migrated.into_iter().flat_map(|plugins| plugins.split(',')).map(str::to_owned).collect(),
    }
}

pub fn csi_driver(object: &storage::CSIDriver) -> CsiDriver {
    CsiDriver {
        name: name(&object.metadata),
        storage_capacity: object.spec.storage_capacity == Some(true),
        required: object.spec.prevent_pod_scheduling_if_missing == Some(true),
    }
}

pub fn csi_storage_capacity(object: &storage::CSIStorageCapacity) -> CsiStorageCapacity {
    CsiStorageCapacity {
        namespace: namespace(&object.metadata),
        name: name(&object.metadata),
        class: object.storage_class_name.clone(),
        nodes: object.node_topology.as_ref().map(selector),
        capacity: object.capacity.as_ref().map(bytes),
        maximum_volume: object.maximum_volume_size.as_ref().map(bytes),
    }
}

pub fn volume_attachment(object: &storage::VolumeAttachment) -> VolumeAttachment {
    VolumeAttachment {
        name: name(&object.metadata),
        node: object.spec.node_name.clone(),
        attacher: object.spec.attacher.clone(),
        volume: object.spec.source.persistent_volume_name.clone(),
    }
}

/// One that can't be read is met by no node: the API server lets none in.
fn node_terms(of: &[v1::NodeSelectorTerm]) -> Vec<NodeSelectorTerm> {
    let mut unreadable = Unreadable::default();
    let read = terms(of, "spec.nodeAffinity.required.nodeSelectorTerms", &mut unreadable);
    if unreadable.refusals.is_empty() { read } else { Vec::new() }
}

/// The API server lets no operator in that is not known here.
fn selector(of: &meta::LabelSelector) -> LabelSelector {
    label_selector(of, || "selector".to_owned(), &mut Unreadable::default())
}

/// The API server lets in none that can't be read.
fn bytes(quantity: &resource::Quantity) -> i64 {
    Quantity::parse(&quantity.0).map_or(0, Quantity::value)
}

fn access_modes(modes: Option<&Vec<String>>) -> Vec<AccessMode> {
    let mode = |mode: &String| {
        Some(match mode.as_str() {
            "ReadWriteOnce" => AccessMode::ReadWriteOnce,
            "ReadOnlyMany" => AccessMode::ReadOnlyMany,
            "ReadWriteMany" => AccessMode::ReadWriteMany,
            "ReadWriteOncePod" => AccessMode::ReadWriteOncePod,
            _ => return None,
        })
    };
    modes.into_iter().flatten().filter_map(mode).collect()
}

fn class(metadata: &ObjectMeta, of_spec: Option<&String>) -> String {
    annotation(metadata, BETA_CLASS_ANNOTATION).or(of_spec).cloned().unwrap_or_default()
}

fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a String> {
    metadata.annotations.as_ref().and_then(|annotations| annotations.get(key))
}

fn name(metadata: &ObjectMeta) -> String {
    metadata.name.clone().unwrap_or_default()
}

fn namespace(metadata: &ObjectMeta) -> String {
    metadata.namespace.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn volume(object: Value) -> PersistentVolume {
        persistent_volume(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn a_volume_keeps_what_decides_where_and_whose_it_is() {
        let found = volume(json!({
            "metadata": {"name": "v", "resourceVersion": "7", "annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}},
            "spec": {
                "capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "storageClassName": "fast",
                "claimRef": {"namespace": "shop", "name": "data", "uid": "u"},
                "csi": {"driver": "d", "volumeHandle": "h"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "kubernetes.io/hostname", "operator": "In", "values": ["n"]}]}]}},
            },
            "status": {"phase": "Available"},
        }));
        assert_eq!((found.version.as_str(), found.class.as_str(), found.capacity, found.block), ("7", "fast", 10 << 30, true));
        assert_eq!(found.claim, Some(ClaimRef { namespace: "shop".into(), name: "data".into(), uid: "u".into() }));
        assert_eq!(found.csi, Some(CsiVolume { driver: "d".into(), handle: "h".into(), migrated: false }));
        assert_eq!(found.node_affinity.unwrap()[0].match_expressions[0].values, ["n"]);
        assert!(found.available && found.bound_by_controller && found.migration.is_none());
    }

    #[test]
    fn an_in_tree_volume_is_also_what_its_driver_makes_of_it() {
        let found = volume(json!({
            "metadata": {"name": "v", "labels": {"topology.kubernetes.io/zone": "a"}},
            "spec": {"awsElasticBlockStore": {"volumeID": "aws://a/vol-1"}},
        }));
        assert_eq!(found.csi, Some(CsiVolume { driver: "ebs.csi.aws.com".into(), handle: "vol-1".into(), migrated: true }));
        let affinity = found.migration.unwrap().node_affinity.unwrap();
        assert_eq!((found.node_affinity, affinity[0].match_expressions[0].key.as_str()), (None, "topology.ebs.csi.aws.com/zone"));
        let unreadable = volume(json!({"spec": {"awsElasticBlockStore": {"volumeID": "aws://a/b"}}}));
        assert_eq!((unreadable.csi, unreadable.migration.unwrap().node_affinity), (None, Some(vec![])));
    }

    #[test]
    fn a_claim_is_bound_when_both_sides_say_so() {
        let claim = |object: Value| persistent_volume_claim(&serde_json::from_value(object).unwrap());
        let found = claim(json!({
            "metadata": {"namespace": "shop", "name": "data", "uid": "u", "annotations": {
                "volume.kubernetes.io/selected-node": "n", "volume.beta.kubernetes.io/storage-class": "old"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "pod", "controller": true}]},
            "spec": {"volumeName": "v", "storageClassName": "fast", "resources": {"requests": {"storage": "1G"}}},
            "status": {"phase": "Lost"},
        }));
        assert!(!found.is_bound() && found.lost && found.volume.as_deref() == Some("v"));
        assert_eq!((found.class.as_str(), found.request, found.selected_node.as_deref()), ("old", Some(1_000_000_000), Some("n")));
        assert_eq!(found.controller.as_deref(), Some("pod"));
        let bound = claim(json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "v"}}));
        assert!(bound.is_bound() && bound.request.is_none());
    }

    #[test]
    fn a_class_says_who_makes_volumes_and_where() {
        let class = |object: Value| storage_class(&serde_json::from_value(object).unwrap());
        let found = class(json!({"metadata": {"name": "c"}, "provisioner": "ebs.csi.aws.com", "volumeBindingMode": "WaitForFirstConsumer",
            "allowedTopologies": [{}, {"matchLabelExpressions": [{"key": "zone", "values": ["a"]}]}]}));
        assert!(found.delayed && found.provisioner.as_deref() == Some("ebs.csi.aws.com"));
        assert_eq!(found.topologies.unwrap().len(), 1, "a term without expressions means no node");
        let none = class(json!({"metadata": {"name": "c"}, "provisioner": "kubernetes.io/no-provisioner", "allowedTopologies": []}));
        assert_eq!((none.provisioner, none.topologies, none.delayed), (None, None, false));
        let in_tree = class(json!({"metadata": {"name": "c"}, "provisioner": "kubernetes.io/gce-pd"}));
        assert_eq!(in_tree.attached.map(|of| (of.driver, of.migrated)), Some(("pd.csi.storage.gke.io".into(), true)));
    }

    #[test]
    fn nodes_and_rooms_have_limits() {
        let node = csi_node(&serde_json::from_value(json!({
            "metadata": {"name": "n", "annotations": {"storage.alpha.kubernetes.io/migrated-plugins": "kubernetes.io/aws-ebs,kubernetes.io/gce-pd"}},
            "spec": {"drivers": [{"name": "d", "nodeID": "n", "allocatable": {"count": 3}}, {"name": "e", "nodeID": "n"}]},
        })).unwrap());
        assert_eq!((node.drivers, node.migrated.len()), (vec![("d".to_owned(), Some(3)), ("e".to_owned(), None)], 2));
        let room = |object: Value| csi_storage_capacity(&serde_json::from_value(object).unwrap());
        let found = room(
            json!({"metadata": {"name": "r", "namespace": "s"}, "storageClassName": "c", "capacity": "10Gi", "maximumVolumeSize": "1Gi"}),
        );
        assert_eq!((found.limit(), found.nodes), (Some(1 << 30), None));
    }
}
