//! Profiles: arguments of plugins, plugins switched off, weights, and filters in another order. Few different ones meet: the oracle keeps a framework for
//! each.

use super::Draft;
use serde_json::{Value, json};

pub fn apply(draft: &mut Draft) {
    let mut profile = json!({});
    // Half have default arguments, so that weights and order meet what other features generate.
    if draft.draw.chance(50) {
        profile["pluginConfig"] = arguments(draft);
    }
    if draft.draw.chance(70) {
        profile["plugins"] = plugins(draft);
    }
    draft.profile = Some(profile);
}

fn arguments(draft: &mut Draft) -> Value {
    match draft.draw.below(5) {
        0 => fit(draft),
        1 => {
            let resources = draft.draw.pick(&[
                json!([{"name": "cpu"}, {"name": "memory"}, {"name": "ephemeral-storage"}]),
                json!([{"name": "memory", "weight": 1}]),
                json!([{"name": "example.com/gpu"}, {"name": "cpu"}]),
            ]);
            json!([{"name": "NodeResourcesBalancedAllocation", "args": {"resources": resources}}])
        }
        2 => {
            let when = draft.draw.pick(&["ScheduleAnyway", "DoNotSchedule"]);
            let constraint = json!({"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": when});
            let constraints = draft.draw.pick(&[json!([constraint]), json!([])]);
            json!([{"name": "PodTopologySpread", "args": {"defaultingType": "List", "defaultConstraints": constraints}}])
        }
        3 => {
            let args = draft.draw.pick(&[
                json!({"hardPodAffinityWeight": 0}),
                json!({"hardPodAffinityWeight": 100}),
                json!({"hardPodAffinityWeight": 10, "ignorePreferredTermsOfExistingPods": true}),
            ]);
            json!([{"name": "InterPodAffinity", "args": args}])
        }
        _ => {
            let pool = draft.draw.pick(&["disk", "topology.kubernetes.io/zone"]);
            let exists = json!({"matchExpressions": [{"key": pool, "operator": "Exists"}]});
            let affinity = draft.draw.pick(&[
                json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [exists]}}),
                json!({"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 10, "preference": exists}]}),
            ]);
            json!([{"name": "NodeAffinity", "args": {"addedAffinity": affinity}}])
        }
    }
}

fn fit(draft: &mut Draft) -> Value {
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
    json!([{"name": "NodeResourcesFit", "args": fit}])
}

const FILTERS: [&str; 8] = [
    "NodeUnschedulable",
    "TaintToleration",
    "NodeAffinity",
    "NodePorts",
    "NodeResourcesFit",
    "PodTopologySpread",
    "InterPodAffinity",
    "NodeDeclaredFeatures",
];
const SCORES: [&str; 7] = [
    "TaintToleration",
    "NodeAffinity",
    "NodeResourcesFit",
    "PodTopologySpread",
    "InterPodAffinity",
    "NodeResourcesBalancedAllocation",
    "ImageLocality",
];

fn plugins(draft: &mut Draft) -> Value {
    let draw = &mut draft.draw;
    let (filter, score) = (draw.pick(&FILTERS), draw.pick(&SCORES));
    let weight = draw.pick(&[2, 10]);
    let all = json!([{"name": "*"}]);
    let volumes = draw.pick(&["VolumeRestrictions", "NodeVolumeLimits", "VolumeZone"]);
    match draw.below(11) {
        0 => json!({"filter": {"disabled": [{"name": filter}]}}),
        1 => json!({"multiPoint": {"disabled": [{"name": filter}]}}),
        2 => json!({"filter": {"enabled": [{"name": filter}]}}),
        3 => json!({"score": {"disabled": [{"name": score}]}}),
        4 => json!({"score": {"enabled": [{"name": score, "weight": weight}]}}),
        5 => json!({"multiPoint": {"enabled": [{"name": score, "weight": weight}]}}),
        6 => json!({"score": {"disabled": all, "enabled": [{"name": score, "weight": weight}]}}),
        7 => json!({"postFilter": {"disabled": [{"name": "DefaultPreemption"}]}}),
        8 => json!({"filter": {"disabled": [{"name": volumes}]}}),
        9 => json!({"filter": {"enabled": [{"name": volumes}, {"name": filter}]}}),
        _ => json!({"preFilter": {"disabled": [{"name": "NodeAffinity"}]}}),
    }
}
