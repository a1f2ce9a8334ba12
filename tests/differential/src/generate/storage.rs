//! Storage objects as the API server stores them, for the features that use volumes.

use super::Draft;
use super::draft::{ZONES, push};
use serde_json::{Value, json};

/// The driver behind most volumes.
pub const DRIVER: &str = "disk.test";

pub const ZONE: &str = "topology.kubernetes.io/zone";
pub const REGION: &str = "topology.kubernetes.io/region";
pub const BETA_ZONE: &str = "failure-domain.beta.kubernetes.io/zone";

/// Adds an object unless there is one of its kind and name.
pub fn add_once(draft: &mut Draft, object: Value) {
    let same = |other: &Value| other["kind"] == object["kind"] && other["metadata"]["name"] == object["metadata"]["name"];
    if !draft.objects.iter().any(same) {
        draft.objects.push(object);
    }
}

pub fn add_classes(draft: &mut Draft) {
    let waits = "WaitForFirstConsumer";
    let mut zonal = class("zonal", DRIVER, waits);
    let zones = draft.draw.some(&ZONES, 2);
    zonal["allowedTopologies"] = json!([{"matchLabelExpressions": [{"key": ZONE, "values": zones}]}]);
    let local = class("local", "kubernetes.io/no-provisioner", waits);
    for class in [local, class("fast", DRIVER, waits), zonal, class("now", DRIVER, "Immediate")] {
        add_once(draft, class);
    }
}

pub fn class(name: &str, provisioner: &str, mode: &str) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name, "uid": format!("class-{name}")},
        "provisioner": provisioner, "volumeBindingMode": mode, "reclaimPolicy": "Delete",
    })
}

/// An available volume of `gib`, a CSI driver's. Equal sizes in one class are left out: between them the order of a map decides.
pub fn volume(name: &str, class: &str, gib: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name, "uid": format!("volume-{name}"), "labels": {}},
        "spec": {
            "capacity": {"storage": format!("{gib}Gi")}, "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem",
            "persistentVolumeReclaimPolicy": "Retain", "storageClassName": class, "csi": {"driver": DRIVER, "volumeHandle": name},
        },
        "status": {"phase": "Available"},
    })
}

pub fn claim(namespace: &str, name: &str, class: &str, gib: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace, "uid": uid(namespace, name), "annotations": {}},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem", "storageClassName": class,
            "resources": {"requests": {"storage": format!("{gib}Gi")}},
        },
        "status": {"phase": "Pending"},
    })
}

fn uid(namespace: &str, name: &str) -> String {
    format!("claim-{namespace}-{name}")
}

/// Ties both together as the controller does.
pub fn bind(claim: &mut Value, volume: &mut Value) {
    claim["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"] = json!("yes");
    claim["spec"]["volumeName"] = volume["metadata"]["name"].clone();
    claim["status"]["phase"] = json!("Bound");
    promise(volume, claim);
    volume["status"]["phase"] = json!("Bound");
}

/// The volume is the claim's, and the claim has not heard of it.
pub fn promise(volume: &mut Value, claim: &Value) {
    let of = &claim["metadata"];
    volume["spec"]["claimRef"] = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": of["namespace"], "name": of["name"], "uid": of["uid"],
    });
}

/// On nodes with one of these labels.
fn within(volume: &mut Value, key: &str, values: &[String]) {
    let term = json!({"matchExpressions": [{"key": key, "operator": "In", "values": values}]});
    volume["spec"]["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [term]}});
}

/// Some of the nodes' names, which are their hostnames too.
fn some_nodes(draft: &mut Draft) -> Vec<String> {
    let names: Vec<String> = draft.nodes.iter().filter_map(|node| node["metadata"]["name"].as_str().map(str::to_owned)).collect();
    let wanted = 1 + draft.draw.below(names.len());
    draft.draw.some(&names, wanted)
}

/// A pod's volume that is a claim.
pub fn mounted(claim: &str) -> Value {
    json!({"name": format!("v-{claim}"), "persistentVolumeClaim": {"claimName": claim}})
}

/// Where a volume may be.
pub fn place(draft: &mut Draft, volume: &mut Value) {
    match draft.draw.below(6) {
        0 => {}
        1..4 => {
            let count = draft.draw.pick(&[1, 1, 2]);
            let zones: Vec<String> = draft.draw.some(&ZONES, count).into_iter().map(str::to_owned).collect();
            within(volume, ZONE, &zones);
        }
        _ => {
            let nodes = some_nodes(draft);
            within(volume, "kubernetes.io/hostname", &nodes);
        }
    }
}

/// Adds the claim, and mounts it.
pub fn mount(draft: &mut Draft, claim: Value) {
    unmounted(draft, claim["metadata"]["name"].as_str().unwrap_or_default());
    draft.objects.push(claim);
}

/// Mounts a claim that is not there.
pub fn unmounted(draft: &mut Draft, claim: &str) {
    push(&mut draft.pod["spec"]["volumes"], mounted(claim));
}

pub fn namespace(pod: &Value) -> String {
    pod["metadata"]["namespace"].as_str().unwrap_or_default().to_owned()
}

/// On a node: what waits is not given volumes, since kube-scheduler's counts of claims for one pod leave those out that are only nominated.
pub fn standing(pod: &Value) -> bool {
    pod["spec"]["nodeName"].is_string()
}
