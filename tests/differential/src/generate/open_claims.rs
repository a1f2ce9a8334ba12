//! Claims that wait for the pod's node: free volumes of many sizes, and room for volumes to be made.

use super::Draft;
use super::draft::{ZONES, moment, push};
use super::storage::{DRIVER, ZONE, add_classes, add_once, bind, claim, mount, namespace, place, promise, volume};
use serde_json::{Value, json};

pub fn apply(draft: &mut Draft) {
    add_classes(draft);
    add_rooms(draft);
    add_free_volumes(draft);
    let made = draft.draw.chance(60);
    for at in 0..draft.draw.pick(&[1, 1, 2, 3]) {
        match draft.draw.chance(90) == made {
            true => provisioned(draft, at),
            false => open(draft, at, "local"),
        }
    }
}

/// Room for volumes, one for each zone at most: of several that match a node, kube-scheduler takes any.
fn add_rooms(draft: &mut Draft) {
    let counts = draft.draw.chance(92);
    let driver = json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER, "uid": "driver"},
        "spec": {"storageCapacity": counts, "attachRequired": true}});
    add_once(draft, driver);
    for (zone, class) in ZONES.iter().flat_map(|zone| [(zone, "fast"), (zone, "zonal")]) {
        if draft.draw.chance(93) {
            let name = format!("room-{class}-{zone}");
            let mut room = json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIStorageCapacity",
                "metadata": {"name": name, "namespace": "system", "uid": name},
                "storageClassName": class, "nodeTopology": {"matchLabels": {ZONE: zone}},
                "capacity": draft.draw.pick(&["8Gi", "20Gi", "35Gi", "50Gi", "100Gi"])});
            if draft.draw.chance(10) {
                room["maximumVolumeSize"] = json!(draft.draw.pick(&["4Gi", "9Gi", "30Gi"]));
            }
            draft.objects.push(room);
        }
    }
}

/// Volumes of the class `local`, of different sizes, most of them to be had.
fn add_free_volumes(draft: &mut Draft) {
    for at in 0..6 + draft.draw.below(7) {
        let mut free = volume(&format!("free-{at}"), "local", 2 + 3 * at + draft.draw.below(3));
        place(draft, &mut free);
        let draw = &mut draft.draw;
        free["metadata"]["labels"]["disk"] = json!(draw.pick(&["ssd", "hdd"]));
        match draw.below(24) {
            0 => free["spec"]["volumeMode"] = json!("Block"),
            1 => free["spec"]["accessModes"] = json!(["ReadOnlyMany"]),
            2 => free["status"]["phase"] = json!("Released"),
            3 => free["metadata"]["deletionTimestamp"] = json!(moment(1)),
            4 => free["spec"]["volumeAttributesClassName"] = json!("gold"),
            5 => promise(&mut free, &claim("other", "theirs", "local", 1)),
            _ => {}
        }
        draft.objects.push(free);
    }
}

/// Waits for the pod's node.
fn open(draft: &mut Draft, at: usize, class: &str) {
    let gib = draft.draw.pick(&[1, 2, 4, 7]);
    let mut claim = claim(&namespace(&draft.pod), &format!("open-{at}"), class, gib);
    match draft.draw.below(20) {
        0 => claim["spec"]["selector"] = json!({"matchLabels": {"disk": "ssd"}}),
        1 => claim["spec"]["volumeMode"] = json!("Block"),
        2 => claim["spec"]["accessModes"] = json!(["ReadOnlyMany"]),
        3 => claim["spec"]["volumeAttributesClassName"] = json!("gold"),
        4 => {
            let mut mine = volume(&format!("mine-{at}"), class, 40 + at);
            place(draft, &mut mine);
            promise(&mut mine, &claim);
            if draft.draw.chance(50) {
                mine["spec"]["claimRef"].as_object_mut().and_then(|claim| claim.shift_remove("uid"));
            }
            draft.objects.push(mine);
        }
        _ => {}
    }
    mount(draft, claim);
}

fn provisioned(draft: &mut Draft, at: usize) {
    let class = draft.draw.pick(&["fast", "fast", "fast", "zonal"]);
    let gib = draft.draw.pick(&[2, 3, 5, 7]);
    let mut claim = claim(&namespace(&draft.pod), &format!("made-{at}"), class, gib);
    if draft.draw.chance(5) {
        claim["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] = json!(draft.node_name());
    }
    if draft.draw.chance(20) {
        ephemeral(draft, claim, at);
    } else {
        mount(draft, claim);
    }
}

/// The claim becomes that of an ephemeral volume; now and then it is not there yet, or another's.
fn ephemeral(draft: &mut Draft, mut claim: Value, at: usize) {
    let template = json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    push(&mut draft.pod["spec"]["volumes"], json!({"name": format!("scratch-{at}"), "ephemeral": {"volumeClaimTemplate": template}}));
    let owner = if draft.draw.chance(95) { draft.pod["metadata"]["uid"].clone() } else { json!("another") };
    claim["metadata"]["name"] = json!(format!("incoming-scratch-{at}"));
    claim["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "Pod", "name": "incoming", "uid": owner, "controller": true, "blockOwnerDeletion": true}]);
    match draft.draw.below(20) {
        0 => {}
        1 => {
            let mut volume = volume(&format!("scratch-{at}"), "fast", 30);
            place(draft, &mut volume);
            bind(&mut claim, &mut volume);
            // Gone: only a claim that was made for the pod can be bound to a volume that is not there, any other holds the pod back.
            if draft.draw.chance(60) {
                draft.objects.push(volume);
            }
            draft.objects.push(claim);
        }
        _ => draft.objects.push(claim),
    }
}
