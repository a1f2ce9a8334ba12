//! Taints of every effect, and tolerations that match them, match others, or match all.

use super::draft::push;
use super::{Draft, Draw};
use serde_json::{Value, json};

const KEYS: [&str; 4] = ["gpu", "dedicated", "edge-scheduler.io/weak-link", "node.kubernetes.io/not-ready"];
const VALUES: [&str; 4] = ["", "a", "b", "7"];
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub fn apply(draft: &mut Draft) {
    // Where all nodes are tainted alike, scores and rejections seldom differ.
    let percent = draft.draw.pick(&[20, 50, 80]);
    let soft = draft.draw.chance(78);
    for node in &mut draft.nodes {
        if draft.draw.chance(percent) {
            let taints = 1 + draft.draw.below(3);
            (0..taints).for_each(|_| add(&mut node["spec"]["taints"], taint(&mut draft.draw, soft)));
        }
    }
    let tolerations = draft.draw.below(3);
    for _ in 0..tolerations {
        let toleration = toleration(&mut draft.draw);
        push(&mut draft.pod["spec"]["tolerations"], toleration);
    }
}

/// A node has one taint of a key and effect.
fn add(taints: &mut Value, taint: Value) {
    let known =
        taints.as_array().is_some_and(|all| all.iter().any(|have| have["key"] == taint["key"] && have["effect"] == taint["effect"]));
    if !known {
        push(taints, taint);
    }
}

fn taint(draw: &mut Draw, soft: bool) -> Value {
    let effect = if soft { "PreferNoSchedule" } else { draw.pick(&EFFECTS) };
    let mut taint = json!({"key": draw.pick(&KEYS), "effect": effect});
    let value = draw.pick(&VALUES);
    if !value.is_empty() {
        taint["value"] = json!(value);
    }
    taint
}

fn toleration(draw: &mut Draw) -> Value {
    let mut toleration = match draw.below(10) {
        0 => json!({"operator": "Exists"}),
        1..5 => json!({"key": draw.pick(&KEYS), "operator": "Exists"}),
        _ => {
            let mut equal = json!({"key": draw.pick(&KEYS), "value": draw.pick(&VALUES)});
            if draw.chance(50) {
                equal["operator"] = json!("Equal");
            }
            equal
        }
    };
    if draw.chance(60) {
        toleration["effect"] = json!(draw.pick(&EFFECTS));
    }
    if toleration["effect"] == "NoExecute" && draw.chance(50) {
        toleration["tolerationSeconds"] = json!(30);
    }
    toleration
}
