//! Pods that fit nowhere unless others go: clusters that are full, budgets of disruption, pods that were promised room, victims that go already.

use super::draft::{APPS, NAMESPACES, PRIORITIES, moment};
use super::{Draft, Draw};
use serde_json::{Value, json};

pub fn apply(draft: &mut Draft) {
    draft.stand(6);
    let names: Vec<String> = (0..3).map(|_| draft.node_name()).collect();
    let mut draw = std::mem::replace(&mut draft.draw, Draw::new(0, 0));
    fill(draft, &mut draw);
    for at in 0..draw.below(4) {
        draft.objects.push(budget(&mut draw, at));
    }
    promise(draft, &mut draw, &names);
    let pod = &mut draft.pod;
    pod["spec"]["priority"] = json!(draw.pick(&[0, 10, 50, 100, 1000]));
    if draw.chance(8) {
        pod["spec"]["preemptionPolicy"] = json!("Never");
    }
    if draw.chance(15) {
        pod["status"]["nominatedNodeName"] = json!(draw.pick(&names));
    }
    draft.draw = draw;
}

/// Every node is full with three pods, most of them of less importance, and some protected.
pub fn full(draft: &mut Draft) {
    draft.pods.clear();
    let names: Vec<Value> = draft.nodes.iter().map(|node| node["metadata"]["name"].clone()).collect();
    draft.stand(3 * names.len());
    let mut draw = std::mem::replace(&mut draft.draw, Draw::new(0, 0));
    draft.nodes.iter_mut().for_each(|node| node["status"]["allocatable"]["cpu"] = json!("2"));
    for (at, pod) in draft.pods.iter_mut().enumerate() {
        pod["spec"]["nodeName"] = names[at % names.len()].clone();
        pod["spec"]["priority"] = json!(draw.pick(&[-5, 0, 0, 10, 10, 100, 1000]));
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!(draw.pick(&["500m", "600m", "900m"]));
        (pod["status"]["phase"], pod["status"]["startTime"]) = (json!("Running"), json!(moment(at)));
        if let Some(metadata) = pod["metadata"].as_object_mut() {
            metadata.remove("deletionTimestamp");
        }
    }
    for at in 0..2 + draw.below(4) {
        let mut budget = budget(&mut draw, at);
        if draw.chance(50) {
            let any = json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]});
            (budget["spec"]["selector"], budget["status"]["disruptionsAllowed"]) = (any, json!(0));
        }
        draft.objects.push(budget);
    }
    draft.pod["spec"]["priority"] = json!(draw.pick(&[10, 50, 100, 500]));
    draft.pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!(draw.pick(&["900m", "1200m", "1500m"]));
    draft.draw = draw;
}

/// Nodes that are smaller, and a pod that wants much of one.
fn fill(draft: &mut Draft, draw: &mut Draw) {
    for node in &mut draft.nodes {
        node["status"]["allocatable"]["cpu"] = json!(draw.pick(&["1", "1500m", "2"]));
        if draw.chance(15) {
            node["status"]["allocatable"]["pods"] = json!(draw.pick(&["1", "2", "3"]));
        }
    }
    draft.pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!(draw.pick(&["500m", "900m", "1", "1400m", "3"]));
    for pod in draft.bound_pods() {
        if draw.chance(10) {
            pod["metadata"]["deletionTimestamp"] = json!(moment(2000));
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
            pod["status"]["conditions"] = json!([{"type": "DisruptionTarget", "status": "True", "reason":
                draw.pick(&["PreemptionByScheduler", "PreemptionByScheduler", "EvictionByEvictionAPI"])}]);
        }
    }
}

fn budget(draw: &mut Draw, at: usize) -> Value {
    let app = draw.pick(&APPS);
    let selector = match draw.below(4) {
        0 => json!({}),
        1 => json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": [app]}]}),
        _ => json!({"matchLabels": {"app": app}}),
    };
    let disrupted = if draw.chance(30) { json!({"pod-0": moment(0), "pod-3": moment(0)}) } else { json!({}) };
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": format!("budget-{at}"), "namespace": draw.pick(&NAMESPACES), "uid": format!("budget-{at}")},
        "spec": {"selector": selector, "minAvailable": 1},
        "status": {"disruptionsAllowed": draw.below(3), "disruptedPods": disrupted, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1},
    })
}

/// Some pods wait for room on a node.
fn promise(draft: &mut Draft, draw: &mut Draw, names: &[String]) {
    let waiting = draft.pods.iter_mut().filter(|pod| pod["spec"]["nodeName"].is_null() && pod["metadata"]["deletionTimestamp"].is_null());
    for pod in waiting.filter(|pod| pod["status"]["phase"] == "Pending") {
        pod["status"]["nominatedNodeName"] = json!(draw.pick(names));
        pod["spec"]["priority"] = json!(draw.pick(&PRIORITIES));
    }
}
