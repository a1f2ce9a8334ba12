//! Cordoned nodes, with and without the taint that a controller adds, and pods that tolerate it.

use super::Draft;
use super::draft::push;
use serde_json::json;

const TAINT: &str = "node.kubernetes.io/unschedulable";

pub fn apply(draft: &mut Draft) {
    let percent = draft.draw.pick(&[20, 35, 60]);
    for node in &mut draft.nodes {
        if draft.draw.chance(percent) {
            node["spec"]["unschedulable"] = json!(true);
            if draft.draw.chance(50) {
                push(&mut node["spec"]["taints"], json!({"key": TAINT, "effect": "NoSchedule"}));
            }
        }
    }
    if draft.draw.chance(20) {
        let toleration = draft.draw.pick(&[
            json!({"key": TAINT, "operator": "Exists"}),
            json!({"key": TAINT, "operator": "Exists", "effect": "NoSchedule"}),
            json!({"key": TAINT, "operator": "Exists", "effect": "NoExecute"}),
            json!({"key": TAINT, "value": "x"}),
            json!({"operator": "Exists"}),
        ]);
        push(&mut draft.pod["spec"]["tolerations"], toleration);
    }
}
