//! A profile as it works, in the form that it is read in: every extension point with its plugins, and every argument.

use placement::cluster::{FitStrategy, NodeSelectorTerm, Operator, Plugin, Profile, Requirement, SpreadDefaults};
use placement::cluster::{Point, WhenUnsatisfiable};
use serde_json::{Map, Value, json};

/// Reading it again gives the same profile.
pub fn show(profile: &Profile) -> Value {
    let all = json!([{"name": "*"}]);
    let mut plugins = Map::from_iter([("multiPoint".to_owned(), json!({"disabled": all}))]);
    for point in Point::ALL {
        let entry = |plugin: &Plugin| match (point, profile.plugins.weight(*plugin)) {
            (Point::Score, weight @ 1..) => json!({"name": plugin.name(), "weight": weight}),
            _ => json!({"name": plugin.name()}),
        };
        let enabled: Vec<Value> = profile.plugins.at(point).iter().map(entry).collect();
        plugins.insert(point.key().to_owned(), json!({"enabled": enabled}));
    }
    json!({"schedulerName": profile.scheduler_name, "plugins": plugins, "pluginConfig": args(profile)})
}

fn args(profile: &Profile) -> Value {
    let weighed = |(name, weight): &(String, i64)| json!({"name": name, "weight": weight});
    let resources: Vec<Value> = profile.fit.resources.iter().map(weighed).collect();
    let shape = |points: &[(i64, i64)]| -> Vec<Value> {
        points.iter().map(|(utilization, score)| json!({"utilization": utilization, "score": score / 10})).collect()
    };
    let strategy = match &profile.fit.strategy {
        FitStrategy::LeastAllocated => json!({"type": "LeastAllocated", "resources": resources}),
        FitStrategy::MostAllocated => json!({"type": "MostAllocated", "resources": resources}),
        FitStrategy::RequestedToCapacityRatio(points) => {
            json!({"type": "RequestedToCapacityRatio", "resources": resources, "requestedToCapacityRatio": {"shape": shape(points)}})
        }
    };
    let balanced: Vec<Value> = profile.balanced.iter().map(|name| json!({"name": name, "weight": 1})).collect();
    let spread = match &profile.spread_defaults {
        SpreadDefaults::System => json!({"defaultingType": "System"}),
        SpreadDefaults::List(list) => {
            let constraint = |of: &placement::cluster::SpreadDefault| {
                let when = match of.when_unsatisfiable {
                    WhenUnsatisfiable::DoNotSchedule => "DoNotSchedule",
                    WhenUnsatisfiable::ScheduleAnyway => "ScheduleAnyway",
                };
                json!({"maxSkew": of.max_skew, "topologyKey": of.topology_key, "whenUnsatisfiable": when})
            };
            json!({"defaultingType": "List", "defaultConstraints": list.iter().map(constraint).collect::<Vec<_>>()})
        }
    };
    let preemption = &profile.preemption;
    json!([
        {"name": "DefaultPreemption", "args": {
            "minCandidateNodesPercentage": preemption.min_candidate_nodes_percentage,
            "minCandidateNodesAbsolute": preemption.min_candidate_nodes_absolute,
        }},
        {"name": "InterPodAffinity", "args": {
            "hardPodAffinityWeight": profile.hard_pod_affinity_weight,
            "ignorePreferredTermsOfExistingPods": profile.ignore_preferred_terms_of_existing_pods,
        }},
        {"name": "NodeAffinity", "args": added_affinity(profile)},
        {"name": "NodeResourcesBalancedAllocation", "args": {"resources": balanced}},
        {"name": "NodeResourcesFit", "args": {
            "ignoredResources": profile.fit.ignored,
            "ignoredResourceGroups": profile.fit.ignored_groups,
            "scoringStrategy": strategy,
        }},
        {"name": "PodTopologySpread", "args": spread},
        {"name": "VolumeBinding", "args": {
            "bindTimeoutSeconds": profile.volume_binding.timeout.0 / 1000,
            "shape": shape(&profile.volume_binding.shape),
        }},
    ])
}

fn added_affinity(profile: &Profile) -> Value {
    let added = &profile.added_affinity;
    let mut affinity = Map::new();
    if let Some(required) = &added.required {
        let terms: Vec<Value> = required.iter().map(term).collect();
        affinity.insert("requiredDuringSchedulingIgnoredDuringExecution".to_owned(), json!({"nodeSelectorTerms": terms}));
    }
    if !added.preferred.is_empty() {
        let preferred = added.preferred.iter().map(|(weight, preference)| json!({"weight": weight, "preference": term(preference)}));
        affinity.insert("preferredDuringSchedulingIgnoredDuringExecution".to_owned(), preferred.collect());
    }
    if affinity.is_empty() { json!({}) } else { json!({"addedAffinity": affinity}) }
}

fn term(term: &NodeSelectorTerm) -> Value {
    let list = |requirements: &[Requirement]| -> Vec<Value> {
        let one = |of: &Requirement| {
            let operator = match of.operator {
                Operator::In => "In",
                Operator::NotIn => "NotIn",
                Operator::Exists => "Exists",
                Operator::DoesNotExist => "DoesNotExist",
                Operator::Gt => "Gt",
                Operator::Lt => "Lt",
            };
            json!({"key": of.key, "operator": operator, "values": of.values})
        };
        requirements.iter().map(one).collect()
    };
    json!({"matchExpressions": list(&term.match_expressions), "matchFields": list(&term.match_fields)})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::read;

    #[test]
    fn what_is_shown_reads_back() {
        let term = json!({"matchExpressions": [{"key": "pool", "operator": "In", "values": ["a"]}]});
        let profiles = json!([
            {"schedulerName": "default-scheduler"},
            {"schedulerName": "mine",
             "plugins": {"score": {"disabled": [{"name": "ImageLocality"}], "enabled": [{"name": "NodeAffinity", "weight": 7}]},
                         "filter": {"disabled": [{"name": "CloudRole"}]}, "postFilter": {"disabled": [{"name": "*"}]}},
             "pluginConfig": [
                {"name": "NodeAffinity", "args": {"addedAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]},
                    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 3, "preference": term}]}}},
                {"name": "NodeResourcesFit", "args": {"ignoredResources": ["a.b/c"], "scoringStrategy": {"type": "RequestedToCapacityRatio",
                    "requestedToCapacityRatio": {"shape": [{"utilization": 7, "score": 3}]}}}},
                {"name": "PodTopologySpread", "args": {"defaultingType": "List", "defaultConstraints": [
                    {"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]}},
             ]},
        ]);
        let read_once = read(profiles.as_array().unwrap(), "").unwrap();
        let shown: Vec<Value> = read_once.iter().map(show).collect();
        assert_eq!(read(&shown, ""), Ok(read_once), "{shown:#?}");
    }
}
