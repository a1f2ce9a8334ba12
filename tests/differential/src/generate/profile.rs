//! Profiles with arguments for plugins. Few different ones: the oracle keeps a framework for each.

use super::Draft;
use serde_json::{Value, json};

pub fn apply(draft: &mut Draft) {
    let pool = draft.draw.pick(&["disk", "topology.kubernetes.io/zone"]);
    let exists = json!({"matchExpressions": [{"key": pool, "operator": "Exists"}]});
    let affinity = draft.draw.pick(&[
        Value::Null,
        json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [exists]}}),
        json!({"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 10, "preference": exists}]}),
    ]);
    let resources = draft.draw.pick(&[
        Value::Null,
        json!([{"name": "cpu", "weight": 3}, {"name": "memory", "weight": 1}]),
        json!([{"name": "example.com/gpu", "weight": 5}, {"name": "cpu", "weight": 1}, {"name": "ephemeral-storage", "weight": 2}]),
    ]);
    let rising = json!([{"utilization": 0, "score": 0}, {"utilization": 40, "score": 7}, {"utilization": 100, "score": 10}]);
    let falling = json!([{"utilization": 10, "score": 10}, {"utilization": 90, "score": 1}]);
    let mut strategy = draft.draw.pick(&[
        json!({"type": "LeastAllocated"}),
        json!({"type": "MostAllocated"}),
        json!({"type": "RequestedToCapacityRatio", "requestedToCapacityRatio": {"shape": rising}}),
        json!({"type": "RequestedToCapacityRatio", "requestedToCapacityRatio": {"shape": falling}}),
    ]);
    if !resources.is_null() {
        strategy["resources"] = resources;
    }
    let mut fit = json!({"scoringStrategy": strategy});
    match draft.draw.below(4) {
        0 => fit["ignoredResources"] = json!(["example.com/gpu"]),
        1 => fit["ignoredResourceGroups"] = json!(["example.com"]),
        _ => {}
    }
    let mut configs = vec![json!({"name": "NodeResourcesFit", "args": fit})];
    if !affinity.is_null() {
        configs.push(json!({"name": "NodeAffinity", "args": {"addedAffinity": affinity}}));
    }
    draft.profile = Some(json!({"pluginConfig": configs}));
}
