//! Devices in pools of nodes and of the network, claims with devices and without, and pods with one or two claims.
//!
//! Nothing that ends kube-scheduler's attempt with an error, as a selector that fails on a device does, nor "all" from pools that are incomplete: there
//! only the nodes concerned are rejected here. What is not implemented (counters, shared devices, binding conditions) is refused, and not generated.

use super::draft::{NAMESPACES, push};
use super::{Draft, Draw};
use serde_json::{Value, json};

const DRIVERS: [&str; 2] = ["gpu.test", "nic.test"];
const MODELS: [&str; 3] = ["a100", "h100", "t4"];
const CLASSES: [&str; 4] = ["gpu", "nic", "large", "any"];

pub fn apply(draft: &mut Draft) {
    let mut draw = std::mem::replace(&mut draft.draw, Draw::new(0, 0));
    for (at, class) in CLASSES.iter().enumerate() {
        if !draw.chance(2) {
            draft.objects.push(self::class(class, at));
        }
    }
    let names: Vec<String> = draft.nodes.iter().filter_map(|node| node["metadata"]["name"].as_str().map(str::to_owned)).collect();
    let mut devices = Vec::new();
    let generous = draw.chance(40);
    for name in &names {
        if draw.chance(if generous { 90 } else { 60 }) {
            local_pool(draft, &mut draw, name, &mut devices);
        }
    }
    if draw.chance(25) {
        network_pool(draft, &mut draw, &names, &mut devices);
    }
    let others = draw.below(5);
    for at in 0..others {
        if !devices.is_empty() {
            let taken = devices.remove(draw.below(devices.len()));
            let namespace = draw.pick(&NAMESPACES);
            let claim = self::claim(&mut draw, &format!("other-{at}"), namespace);
            draft.objects.push(allocated(claim, &taken, true));
        }
    }
    let count = draw.pick(&[1, 1, 1, 2]);
    for at in 0..count {
        own_claim(draft, &mut draw, at, &mut devices);
    }
    draft.draw = draw;
}

/// A claim that takes one model rather than another, on nodes that have one device each.
pub fn alternatives(draft: &mut Draft) {
    let mut draw = std::mem::replace(&mut draft.draw, Draw::new(0, 0));
    draft.objects.push(class("gpu", 0));
    for node in &draft.nodes {
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        if draw.chance(90) {
            let devices = vec![device(&mut draw, "gpu.test", "0")];
            draft.objects.push(slice(&format!("{name}-gpu"), "gpu.test", name, (1, 1), json!({"nodeName": name}), devices));
        }
    }
    let mut wanted = MODELS;
    wanted.rotate_left(draw.below(MODELS.len()));
    let variants = wanted.iter().enumerate().map(|(at, model)| {
        let expression = format!("device.attributes['gpu.test'].model == '{model}'");
        json!({
            "name": format!("v{at}"), "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1,
            "selectors": [{"cel": {"expression": expression}}], "tolerations": tolerations(&mut draw),
        })
    });
    let requests = json!([{"name": "r0", "firstAvailable": variants.collect::<Vec<_>>()}]);
    let namespace = draft.pod["metadata"]["namespace"].clone();
    draft.objects.push(json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
        "metadata": {"name": "own", "namespace": namespace, "uid": "own", "resourceVersion": "5"},
        "spec": {"devices": {"requests": requests}}, "status": {},
    }));
    push(&mut draft.pod["spec"]["resourceClaims"], json!({"name": "own", "resourceClaimName": "own"}));
    draft.draw = draw;
}

fn class(name: &str, at: usize) -> Value {
    let selectors = match name {
        "gpu" => json!([{"cel": {"expression": "device.driver == 'gpu.test'"}}]),
        "nic" => json!([{"cel": {"expression": "device.driver == \"nic.test\""}}]),
        "large" => json!([{"cel": {"expression":
            "device.driver == 'gpu.test' && device.capacity['gpu.test'].memory.compareTo(quantity('20Gi')) >= 0"}}]),
        _ => json!([]),
    };
    json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": name, "uid": format!("class-{at}")},
        "spec": {"selectors": selectors},
    })
}

/// A device that can be had: driver, pool, name, and the node that it is on.
struct Offered {
    driver: &'static str,
    pool: String,
    name: String,
    node: Option<String>,
}

fn device(draw: &mut Draw, driver: &str, name: &str) -> Value {
    let mut device = json!({
        "name": name,
        "attributes": {"numa": {"int": draw.below(2)}, "slot": {"int": draw.below(3)}, "ecc": {"bool": draw.chance(50)}},
    });
    if driver == "gpu.test" {
        device["attributes"]["model"] = json!({"string": draw.pick(&MODELS)});
        device["attributes"]["driverVersion"] = json!({"version": draw.pick(&["1.2.0", "1.10.0", "2.0.0-rc.1"])});
        device["capacity"] = json!({"memory": {"value": draw.pick(&["10Gi", "20Gi", "40Gi", "0.5Ti"])}});
    } else {
        device["attributes"]["gpu.test/numa"] = json!({"int": draw.below(2)});
    }
    if draw.chance(15) {
        let effect = draw.pick(&["NoSchedule", "NoSchedule", "NoExecute", "None"]);
        device["taints"] = json!([{"key": draw.pick(&["hot", "old"]), "value": draw.pick(&["", "yes"]), "effect": effect}]);
    }
    device
}

/// One or two slices of devices of one node.
fn local_pool(draft: &mut Draft, draw: &mut Draw, node: &str, offered: &mut Vec<Offered>) {
    for driver in DRIVERS {
        if !draw.chance(70) {
            continue;
        }
        let (slices, complete) = (draw.pick(&[1, 1, 1, 2]), !draw.chance(6));
        let generation = draw.below(3) as i64 + 1;
        let duplicate = draw.chance(3);
        for part in 0..slices {
            let mut devices = Vec::new();
            for at in 0..1 + draw.below(3) {
                let name = if duplicate && at == 1 { format!("{}-0", part) } else { format!("{part}-{at}") };
                devices.push(device(draw, driver, &name));
                offered.push(Offered { driver, pool: node.to_owned(), name, node: Some(node.to_owned()) });
            }
            let count = if complete { slices } else { slices + 1 };
            draft.objects.push(slice(
                &format!("{node}-{driver}-{part}"),
                driver,
                node,
                (generation, count),
                json!({"nodeName": node}),
                devices,
            ));
        }
        if draw.chance(10) {
            let stale = vec![device(draw, driver, "stale")];
            let pool = (generation - 1, slices);
            draft.objects.push(slice(&format!("{node}-{driver}-old"), driver, node, pool, json!({"nodeName": node}), stale));
        }
    }
}

/// Devices that all nodes reach, those with a label, or each its own.
fn network_pool(draft: &mut Draft, draw: &mut Draw, nodes: &[String], offered: &mut Vec<Offered>) {
    let driver = draw.pick(&DRIVERS);
    let selector =
        |node: &str| json!({"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]});
    let zone = json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]});
    let kind = draw.below(3);
    let mut devices = Vec::new();
    for at in 0..1 + draw.below(3) {
        let name = format!("net-{at}");
        let mut device = device(draw, driver, &name);
        if kind == 2 {
            let node = draw.pick(nodes);
            match draw.below(3) {
                0 => device["nodeName"] = json!(node),
                1 => device["nodeSelector"] = selector(&node),
                _ => device["allNodes"] = json!(true),
            }
        }
        devices.push(device);
        offered.push(Offered { driver, pool: "net".into(), name, node: None });
    }
    let reach = match kind {
        0 => json!({"allNodes": true}),
        1 => json!({"nodeSelector": zone}),
        _ => json!({"perDeviceNodeSelection": true}),
    };
    draft.objects.push(slice("net", driver, "net", (1, 1), reach, devices));
}

fn slice(name: &str, driver: &str, pool: &str, (generation, count): (i64, i64), reach: Value, devices: Vec<Value>) -> Value {
    let mut spec = json!({
        "driver": driver, "pool": {"name": pool, "generation": generation, "resourceSliceCount": count}, "devices": devices,
    });
    if let (Some(spec), Some(reach)) = (spec.as_object_mut(), reach.as_object()) {
        spec.extend(reach.clone());
    }
    json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": name, "uid": name}, "spec": spec})
}

fn selectors(draw: &mut Draw, class: &str) -> Value {
    let gpu = [
        "device.attributes['gpu.test'].model == 'a100'",
        "device.attributes['gpu.test'].model in ['a100', 'h100']",
        "device.attributes[\"gpu.test\"].driverVersion.isGreaterThan(semver('1.3.0'))",
        "device.attributes['gpu.test'].driverVersion.compareTo(semver('1.10.0')) <= 0",
        "device.capacity['gpu.test'].memory.isGreaterThan(quantity('15Gi'))",
        "cel.bind(gpu, device.attributes['gpu.test'], gpu.ecc || gpu.numa == 1)",
        "device.attributes['gpu.test'].model.startsWith('h') || device.attributes['gpu.test'].slot > 0",
    ];
    let any = [
        "device.attributes[device.driver].numa == 1",
        "has(device.attributes['gpu.test'].model)",
        "'nic.test' in device.attributes && device.attributes['nic.test'].ecc",
        "!device.allowMultipleAllocations && device.attributes[device.driver].slot < 2",
        "has(device.attributes['none.test'].model) || device.driver.endsWith('.test')",
        "[0, 2].exists(slot, slot == device.attributes[device.driver].slot)",
    ];
    let expressions: &[&str] = if matches!(class, "gpu" | "large") && draw.chance(60) { &gpu } else { &any };
    match draw.below(10) {
        0..4 => json!([]),
        4..9 => json!([{"cel": {"expression": draw.pick(expressions)}}]),
        _ => json!([{"cel": {"expression": draw.pick(expressions)}}, {"cel": {"expression": draw.pick(&any)}}]),
    }
}

fn tolerations(draw: &mut Draw) -> Value {
    if !draw.chance(30) {
        return json!([]);
    }
    draw.pick(&[
        json!([{"operator": "Exists"}]),
        json!([{"key": "hot", "operator": "Exists", "effect": "NoSchedule"}]),
        json!([{"key": "hot", "operator": "Equal", "value": "yes"}]),
        json!([{"key": "old", "operator": "Exists"}]),
    ])
}

fn exactly(draw: &mut Draw) -> Value {
    let class = draw.pick(&CLASSES);
    let count = draw.pick(&[1, 1, 1, 1, 2, 3]);
    json!({
        "deviceClassName": class, "allocationMode": "ExactCount", "count": count,
        "selectors": selectors(draw, class), "tolerations": tolerations(draw),
    })
}

/// A claim of one to three requests.
fn claim(draw: &mut Draw, name: &str, namespace: &str) -> Value {
    let mut requests = Vec::new();
    let mut names = Vec::new();
    for at in 0..draw.pick(&[1, 1, 1, 2, 3]) {
        let request = format!("r{at}");
        names.push(request.clone());
        let mut exact = exactly(draw);
        requests.push(match draw.below(10) {
            0..5 => {
                let variants: Vec<Value> = (0..2 + draw.below(3))
                    .map(|at| {
                        let mut variant = exactly(draw);
                        variant["name"] = json!(format!("v{at}"));
                        names.push(format!("{request}/v{at}"));
                        variant
                    })
                    .collect();
                json!({"name": request, "firstAvailable": variants})
            }
            5 if draw.chance(40) => {
                exact["adminAccess"] = json!(true);
                json!({"name": request, "exactly": exact})
            }
            _ => json!({"name": request, "exactly": exact}),
        });
    }
    let mut constraints = json!([]);
    for kind in ["matchAttribute", "distinctAttribute"] {
        if draw.chance(18) {
            let of: Vec<String> = if draw.chance(50) { vec![] } else { draw.some(&names, 2) };
            let attribute = draw.pick(&["gpu.test/numa", "gpu.test/model", "gpu.test/slot", "nic.test/ecc"]);
            push(&mut constraints, json!({"requests": of, kind: attribute}));
        }
    }
    json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
        "metadata": {"name": name, "namespace": namespace, "uid": format!("{namespace}-{name}"), "resourceVersion": "5"},
        "spec": {"devices": {"requests": requests, "constraints": constraints}}, "status": {},
    })
}

/// With a device already, and somebody who uses it.
fn allocated(mut claim: Value, device: &Offered, used: bool) -> Value {
    let mut allocation = json!({"devices": {"results": [
        {"request": "r0", "driver": device.driver, "pool": device.pool, "device": device.name}]}});
    if let Some(node) = &device.node {
        allocation["nodeSelector"] =
            json!({"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]});
    }
    claim["status"]["allocation"] = allocation;
    if used {
        claim["status"]["reservedFor"] = json!([{"resource": "pods", "name": "another", "uid": "another"}]);
    }
    claim
}

/// A claim of the pod, which exists or not, and has a device or not.
fn own_claim(draft: &mut Draft, draw: &mut Draw, at: usize, offered: &mut Vec<Offered>) {
    let namespace = draft.pod["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
    let name = format!("own-{at}");
    let mut claim = claim(draw, &name, &namespace);
    let made = draw.chance(40);
    if made && !draw.chance(2) {
        let pod = &draft.pod["metadata"];
        claim["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "Pod", "name": pod["name"], "uid": pod["uid"], "controller": true}]);
    }
    if draw.chance(2) {
        claim["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    if !offered.is_empty() && draw.chance(12) {
        let device = offered.remove(draw.below(offered.len()));
        claim = allocated(claim, &device, draw.chance(80));
    }
    if !draw.chance(2) {
        draft.objects.push(claim);
    }
    let entry = if made {
        json!({"name": name, "resourceClaimTemplateName": "template"})
    } else {
        json!({"name": name, "resourceClaimName": name})
    };
    push(&mut draft.pod["spec"]["resourceClaims"], entry);
    if made && !draw.chance(3) {
        push(&mut draft.pod["status"]["resourceClaimStatuses"], json!({"name": name, "resourceClaimName": name}));
    }
}
