//! Affinity and anti-affinity between pods: required and preferred terms of the incoming pod and of pods that are there.

use super::draft::{NAMESPACES, push};
use super::spread::{gather, selector};
use super::{Draft, Draw};
use serde_json::{Value, json};

const KEYS: [&str; 3] = ["topology.kubernetes.io/zone", "kubernetes.io/hostname", "row"];
const TEAMS: [&str; 2] = ["a", "b"];

pub fn apply(draft: &mut Draft) {
    for node in &mut draft.nodes {
        if draft.draw.chance(70) {
            node["metadata"]["labels"]["row"] = json!(draft.draw.pick(&["", "1", "2"]));
        }
    }
    for name in NAMESPACES {
        // A namespace may be gone before its pods.
        if draft.draw.chance(90) {
            let mut namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "uid": name}});
            if draft.draw.chance(70) {
                namespace["metadata"]["labels"] = json!({"team": draft.draw.pick(&TEAMS)});
            }
            draft.objects.push(namespace);
        }
    }
    gather(draft);
    if draft.draw.chance(90) {
        let terms = 1 + draft.draw.below(4);
        (0..terms).for_each(|_| add_term(&mut draft.draw, &mut draft.pod));
    }
    let percent = draft.draw.pick(&[0, 10, 40]);
    for pod in &mut draft.pods {
        if draft.draw.chance(percent) {
            add_term(&mut draft.draw, pod);
        }
    }
}

fn add_term(draw: &mut Draw, pod: &mut Value) {
    let direction = draw.pick(&["podAffinity", "podAntiAffinity"]);
    let term = term(draw);
    if draw.chance(35) {
        push(&mut pod["spec"]["affinity"][direction]["requiredDuringSchedulingIgnoredDuringExecution"], term);
    } else {
        let weighted = json!({"weight": 1 + draw.below(100), "podAffinityTerm": term});
        push(&mut pod["spec"]["affinity"][direction]["preferredDuringSchedulingIgnoredDuringExecution"], weighted);
    }
}

fn term(draw: &mut Draw) -> Value {
    let mut term = json!({"topologyKey": draw.pick(&KEYS)});
    if let Some(selector) = selector(draw) {
        term["labelSelector"] = selector;
    }
    if draw.chance(30) {
        let namespaces = 1 + draw.below(2);
        term["namespaces"] = json!(draw.some(&NAMESPACES, namespaces));
    }
    if draw.chance(30) {
        term["namespaceSelector"] = match draw.below(4) {
            0 => json!({}),
            1 => json!({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}),
            _ => json!({"matchLabels": {"team": draw.pick(&TEAMS)}}),
        };
    }
    term
}
