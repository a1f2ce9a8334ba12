//! Topology spread constraints, hard and soft; and Services and controllers by which pods without constraints are spread.

use super::draft::{APPS, NAMESPACES, push};
use super::{Draft, Draw};
use serde_json::{Value, json};

const KEYS: [&str; 4] = ["topology.kubernetes.io/zone", "kubernetes.io/hostname", "row", "none"];

pub fn apply(draft: &mut Draft) {
    for node in &mut draft.nodes {
        if draft.draw.chance(70) {
            node["metadata"]["labels"]["row"] = json!(draft.draw.pick(&["", "1", "2"]));
        }
        if draft.draw.chance(10) {
            let labels = node["metadata"]["labels"].as_object_mut();
            labels.map(|labels| labels.remove("kubernetes.io/hostname"));
        }
        if draft.draw.chance(10) {
            push(&mut node["spec"]["taints"], json!({"key": "row", "effect": "NoSchedule"}));
        }
    }
    let pods = draft.pods.iter_mut().chain([&mut draft.pod]);
    let draw = &mut draft.draw;
    for pod in pods {
        pod["metadata"]["labels"]["version"] = json!(draw.pick(&["1", "2"]));
    }
    gather(draft);
    if draft.draw.chance(35) {
        return owners(draft);
    }
    let constraints = 1 + draft.draw.below(2);
    let mut keys = KEYS[..3].to_vec();
    if draft.draw.chance(10) {
        keys.push(KEYS[3]);
    }
    for key in draft.draw.some(&keys, constraints) {
        let constraint = constraint(&mut draft.draw, key);
        push(&mut draft.pod["spec"]["topologySpreadConstraints"], constraint);
    }
    if draft.draw.chance(20) {
        draft.pod["spec"]["nodeSelector"] = json!({"row": draft.draw.pick(&["1", "2"])});
    }
}

fn constraint(draw: &mut Draw, key: &str) -> Value {
    let hard = draw.chance(60);
    let mut constraint = json!({
        "maxSkew": draw.pick(&[1, 1, 1, 2, 3]), "topologyKey": key,
        "whenUnsatisfiable": if hard { "DoNotSchedule" } else { "ScheduleAnyway" },
    });
    if let Some(selector) = selector(draw) {
        constraint["labelSelector"] = selector;
        if draw.chance(20) {
            constraint["matchLabelKeys"] = json!([draw.pick(&["version", "none"])]);
        }
    }
    if hard && draw.chance(30) {
        constraint["minDomains"] = json!(1 + draw.below(4));
    }
    if draw.chance(30) {
        constraint["nodeAffinityPolicy"] = json!(draw.pick(&["Honor", "Ignore"]));
    }
    if draw.chance(40) {
        constraint["nodeTaintsPolicy"] = json!(draw.pick(&["Honor", "Ignore"]));
    }
    constraint
}

/// Some pods at least are there, most of them neighbours of the incoming one in namespace and label: rules about other pods look at few others. And
/// there mostly is room: a node that is full shows nothing of where pods are.
pub fn gather(draft: &mut Draft) {
    let more = draft.draw.below(8);
    draft.stand(more);
    if draft.draw.chance(70) {
        for container in draft.pod["spec"]["containers"].as_array_mut().into_iter().flatten() {
            container["resources"] = json!({"requests": {"cpu": "0", "memory": "0"}});
        }
    }
    let own = draft.pod["metadata"].clone();
    for pod in &mut draft.pods {
        if draft.draw.chance(70) {
            pod["metadata"]["namespace"] = own["namespace"].clone();
        }
        if draft.draw.chance(40) {
            pod["metadata"]["labels"]["app"] = own["labels"]["app"].clone();
        }
    }
}

/// `None`: there is none, which matches nothing.
pub fn selector(draw: &mut Draw) -> Option<Value> {
    let app = || "app".to_owned();
    Some(match draw.below(20) {
        0 => return None,
        1 => json!({}),
        2 => json!({"matchExpressions": [{"key": app(), "operator": "In", "values": draw.some(&APPS, 2)}]}),
        3 => json!({"matchExpressions": [{"key": app(), "operator": "NotIn", "values": [draw.pick(&APPS)]}]}),
        4 => json!({"matchExpressions": [{"key": draw.pick(&["app", "version"]), "operator": "Exists"}]}),
        5 => json!({"matchLabels": {"app": draw.pick(&APPS)}, "matchExpressions": [{"key": "version", "operator": "DoesNotExist"}]}),
        6 => json!({"matchLabels": {"app": draw.pick(&APPS), "version": "1"}}),
        _ => json!({"matchLabels": {"app": draw.pick(&APPS)}}),
    })
}

/// Services, and a controller of the incoming pod.
fn owners(draft: &mut Draft) {
    let services = draft.draw.below(4);
    for at in 0..services {
        let draw = &mut draft.draw;
        let mut spec = json!({"ports": [{"port": 80}]});
        if draw.chance(90) {
            spec["selector"] = json!({"app": draw.pick(&APPS)});
            if draw.chance(20) {
                spec["selector"]["version"] = json!("1");
            }
        }
        let metadata = json!({"name": format!("service-{at}"), "namespace": draw.pick(&NAMESPACES), "uid": format!("service-{at}")});
        draft.objects.push(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}));
    }
    let labels = draft.pod["metadata"]["labels"].clone();
    let (api, kind) =
        draft.draw.pick(&[("apps/v1", "ReplicaSet"), ("apps/v1", "StatefulSet"), ("v1", "ReplicationController"), ("batch/v1", "Job")]);
    let reference = json!({"apiVersion": api, "kind": kind, "name": "owner", "uid": "owner", "controller": true});
    draft.pod["metadata"]["ownerReferences"] = json!([reference]);
    // Now and then it is gone.
    if kind == "Job" || draft.draw.chance(10) {
        return;
    }
    let own = json!({"app": labels["app"]});
    let selector = if kind == "ReplicationController" { own } else { json!({"matchLabels": own}) };
    let metadata = json!({"name": "owner", "namespace": draft.pod["metadata"]["namespace"], "uid": "owner"});
    draft.objects.push(json!({"apiVersion": api, "kind": kind, "metadata": metadata, "spec": {"selector": selector}}));
}
