//! Arguments of plugins (`pluginConfig`).

use crate::convert::added_affinity;
use crate::fields::Fields;
use k8s_openapi::api::core::v1;
use placement::cluster::{FitStrategy, Plugin, Profile, SpreadDefault, SpreadDefaults, WhenUnsatisfiable};
use placement::units::Span;
use serde::Deserialize as _;
use serde_json::Value;

/// Reads `pluginConfig` of a profile.
pub(super) fn read(fields: &mut Fields<'_>, profile: &mut Profile) {
    let mut seen = Vec::new();
    for mut entry in fields.objects("pluginConfig") {
        let name = entry.text("name").unwrap_or_default();
        let mut args = entry.section("args");
        if let Some(kind) = args.text("kind").filter(|kind| *kind != format!("{name}Args")) {
            args.wrong("kind", kind, format!("{name}Args"));
        }
        args.text("apiVersion");
        if seen.contains(&name) {
            entry.wrong("name", name, "one entry a plugin");
        }
        seen.push(name);
        match Plugin::named(name) {
            Some(Plugin::NodeAffinity) => node_affinity(&mut args, profile),
            Some(Plugin::NodeResourcesFit) => fit(&mut args, profile),
            Some(Plugin::NodeResourcesBalancedAllocation) => balanced(&mut args, profile),
            Some(Plugin::PodTopologySpread) => spread(&mut args, profile),
            Some(Plugin::InterPodAffinity) => {
                profile.hard_pod_affinity_weight = args.integer("hardPodAffinityWeight", 0..=100).unwrap_or(1) as i32;
                profile.ignore_preferred_terms_of_existing_pods = args.flag("ignorePreferredTermsOfExistingPods").unwrap_or(false);
            }
            Some(Plugin::DefaultPreemption) => preemption(&mut args, profile),
            Some(Plugin::VolumeBinding) => {
                let seconds = args.integer("bindTimeoutSeconds", 0..=i64::from(u32::MAX)).unwrap_or(600);
                profile.volume_binding.timeout = Span(seconds as u64 * 1000);
                let points = args.objects("shape");
                if !points.is_empty() {
                    profile.volume_binding.shape = shape(&args, points);
                }
            }
            // Without effect: devices are looked for in so many steps, not so long, and those that would have to be waited for are given to nobody.
            Some(Plugin::DynamicResources) => {
                for name in ["filterTimeout", "bindingTimeout"] {
                    if let Some(text) = args.text(name).filter(|text| !is_duration(text)) {
                        args.wrong(name, text, "a length of time, as 10s or 1h30m");
                    }
                }
            }
            _ => {
                entry.wrong("name", name, format!("a plugin with arguments: {}", WITH_ARGUMENTS.join(", ")));
                continue;
            }
        }
        args.end();
        entry.end();
    }
}

const WITH_ARGUMENTS: [&str; 8] = [
    "DefaultPreemption",
    "DynamicResources",
    "InterPodAffinity",
    "NodeAffinity",
    "NodeResourcesBalancedAllocation",
    "NodeResourcesFit",
    "PodTopologySpread",
    "VolumeBinding",
];

/// As Go writes it.
fn is_duration(text: &str) -> bool {
    let of_number = |c: char| c.is_ascii_digit() || c == '.';
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c| !of_number(c)).unwrap_or(rest.len()));
        let (unit, after) = after.split_at(after.find(of_number).unwrap_or(after.len()));
        if number.parse::<f64>().is_err() || !["h", "m", "s", "ms", "us", "ns"].contains(&unit) {
            return false;
        }
        rest = after;
    }
    !text.is_empty()
}

fn node_affinity(args: &mut Fields<'_>, profile: &mut Profile) {
    let Some(value) = args.value("addedAffinity") else { return };
    let affinity = match v1::NodeAffinity::deserialize(value) {
        Ok(affinity) => affinity,
        Err(error) => return args.wrong("addedAffinity", value, format!("a NodeAffinity: {error}")),
    };
    // What the type does not have is not read.
    if let Some(field) = serde_json::to_value(&affinity).ok().and_then(|read| lost(value, &read)) {
        return args.wrong(&format!("addedAffinity{field}"), "a field", "a field of NodeAffinity");
    }
    match added_affinity(Some(&affinity)) {
        Ok(affinity) => profile.added_affinity = affinity,
        Err(refusal) => args.wrong("addedAffinity", refusal.field, refusal.why),
    }
}

/// The path of a field that is in `given` and not in `read`.
fn lost(given: &Value, read: &Value) -> Option<String> {
    match (given, read) {
        (Value::Object(given), read) => given.iter().find_map(|(name, value)| match read.get(name) {
            Some(read) => lost(value, read).map(|rest| format!(".{name}{rest}")),
            None if value.is_null() => None,
            None => Some(format!(".{name}")),
        }),
        (Value::Array(given), Value::Array(read)) => {
            given.iter().zip(read).enumerate().find_map(|(i, (given, read))| lost(given, read).map(|rest| format!("[{i}]{rest}")))
        }
        _ => None,
    }
}

fn fit(args: &mut Fields<'_>, profile: &mut Profile) {
    profile.fit.ignored = args.texts("ignoredResources").into_iter().collect();
    profile.fit.ignored_groups = args.texts("ignoredResourceGroups").into_iter().collect();
    if let Some(group) = profile.fit.ignored_groups.iter().find(|group| group.contains('/')) {
        args.wrong("ignoredResourceGroups", group, "domains, as example.com of example.com/gpu");
    }
    let given = args.value("scoringStrategy").is_some();
    let mut strategy = args.section("scoringStrategy");
    let resources = resources(&mut strategy, 1..=100);
    if !resources.is_empty() {
        profile.fit.resources = resources;
    }
    let kind = strategy.text("type").unwrap_or(if given { "" } else { "LeastAllocated" });
    let by_ratio = kind == "RequestedToCapacityRatio";
    let ratio_given = strategy.value("requestedToCapacityRatio").is_some();
    let mut ratio = strategy.section("requestedToCapacityRatio");
    let points = ratio.objects("shape");
    profile.fit.strategy = match kind {
        "LeastAllocated" => FitStrategy::LeastAllocated,
        "MostAllocated" => FitStrategy::MostAllocated,
        "RequestedToCapacityRatio" => FitStrategy::RequestedToCapacityRatio(shape(&ratio, points)),
        other => {
            strategy.wrong("type", format!("{other:?}"), "LeastAllocated, MostAllocated or RequestedToCapacityRatio");
            FitStrategy::LeastAllocated
        }
    };
    if ratio_given && !by_ratio {
        strategy.wrong("requestedToCapacityRatio", kind, "nothing, or type: RequestedToCapacityRatio beside it");
    }
    ratio.end();
    strategy.end();
}

/// `resources` with their weights; one that is not given, or 0, is 1.
fn resources(fields: &mut Fields<'_>, weights: std::ops::RangeInclusive<i64>) -> Vec<(String, i64)> {
    let one = |mut resource: Fields<'_>| {
        let name = resource.text("name").unwrap_or_default().to_owned();
        let weight = match resource.integer("weight", 0..=*weights.end()).unwrap_or(1) {
            0 => 1,
            weight => weight,
        };
        if name.is_empty() {
            resource.wrong("name", "\"\"", "a resource such as cpu or example.com/gpu");
        }
        resource.end();
        (name, weight)
    };
    fields.objects("resources").into_iter().map(one).collect()
}

/// Points of rising utilization, with scores of 0 to 10 as 0 to 100. `of` has the field `shape`.
fn shape(of: &Fields<'_>, points: Vec<Fields<'_>>) -> Vec<(i64, i64)> {
    let one = |mut point: Fields<'_>| {
        let read = (point.integer("utilization", 0..=100).unwrap_or(0), point.integer("score", 0..=10).unwrap_or(0) * 10);
        point.end();
        read
    };
    let points: Vec<(i64, i64)> = points.into_iter().map(one).collect();
    if points.is_empty() || !points.is_sorted_by(|a, b| a.0 < b.0) {
        of.wrong("shape", format!("{} points", points.len()), "points of rising utilization, one at least");
    }
    points
}

fn balanced(args: &mut Fields<'_>, profile: &mut Profile) {
    let resources = resources(args, 1..=1);
    let names: Vec<String> = resources.into_iter().map(|(name, _)| name).collect();
    for (i, name) in names.iter().enumerate().filter(|(i, name)| names[..*i].contains(name)) {
        args.wrong(&format!("resources[{i}].name"), name, "each resource once");
    }
    if !names.is_empty() {
        profile.balanced = names;
    }
}

fn spread(args: &mut Fields<'_>, profile: &mut Profile) {
    let mut list: Vec<SpreadDefault> = Vec::new();
    for mut constraint in args.objects("defaultConstraints") {
        let max_skew = constraint.integer("maxSkew", 1..=i64::from(i32::MAX)).unwrap_or_else(|| {
            if constraint.value("maxSkew").is_none() {
                constraint.wrong("maxSkew", "nothing", "an integer, at least 1");
            }
            1
        });
        let topology_key = constraint.text("topologyKey").unwrap_or_default().to_owned();
        if topology_key.is_empty() {
            constraint.wrong("topologyKey", "\"\"", "a label of nodes");
        }
        let when_unsatisfiable = match constraint.text("whenUnsatisfiable").unwrap_or_default() {
            "DoNotSchedule" => WhenUnsatisfiable::DoNotSchedule,
            "ScheduleAnyway" => WhenUnsatisfiable::ScheduleAnyway,
            other => {
                constraint.wrong("whenUnsatisfiable", format!("{other:?}"), "DoNotSchedule or ScheduleAnyway");
                WhenUnsatisfiable::ScheduleAnyway
            }
        };
        if list.iter().any(|other| other.topology_key == topology_key && other.when_unsatisfiable == when_unsatisfiable) {
            constraint.wrong("topologyKey", &topology_key, "one constraint for each topologyKey and whenUnsatisfiable");
        }
        constraint.end();
        list.push(SpreadDefault { max_skew: max_skew as i32, topology_key, when_unsatisfiable });
    }
    match args.text("defaultingType").unwrap_or("System") {
        "List" => profile.spread_defaults = SpreadDefaults::List(list),
        "System" if list.is_empty() => profile.spread_defaults = SpreadDefaults::System,
        "System" => args.wrong("defaultingType", "System", "List, beside defaultConstraints"),
        other => args.wrong("defaultingType", other, "System or List"),
    }
}

fn preemption(args: &mut Fields<'_>, profile: &mut Profile) {
    let settings = &mut profile.preemption;
    if let Some(percentage) = args.integer("minCandidateNodesPercentage", 0..=100) {
        settings.min_candidate_nodes_percentage = percentage as u8;
    }
    if let Some(nodes) = args.integer("minCandidateNodesAbsolute", 0..=i64::from(i32::MAX)) {
        settings.min_candidate_nodes_absolute = nodes as u32;
    }
    if settings.min_candidate_nodes_percentage == 0 && settings.min_candidate_nodes_absolute == 0 {
        args.wrong("minCandidateNodesPercentage", 0, "more than 0, or minCandidateNodesAbsolute more than 0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Mistakes;
    use serde_json::json;

    fn of(configs: Value) -> Result<Profile, Vec<String>> {
        let mistakes = Mistakes::default();
        let document = json!({"pluginConfig": configs});
        let mut profile = Profile::new("");
        read(&mut Fields::of(&document, "", &mistakes), &mut profile);
        let found: Vec<String> =
            mistakes.into_list().into_iter().map(|found| format!("{}: {}: {}", found.field, found.got, found.want)).collect();
        if found.is_empty() { Ok(profile) } else { Err(found) }
    }

    #[test]
    fn arguments_become_settings() {
        assert_eq!(of(json!([])), Ok(Profile::new("")));
        let empty = json!([{"name": "NodeAffinity"}, {"name": "NodeResourcesFit", "args": {"kind": "NodeResourcesFitArgs"}}]);
        assert_eq!(of(empty), Ok(Profile::new("")));
        let terms = json!([{"matchExpressions": [{"key": "pool", "operator": "Exists"}]}]);
        let affinity = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
        let read = of(json!([
            {"name": "NodeAffinity", "args": {"addedAffinity": affinity}},
            {"name": "NodeResourcesFit", "args": {"ignoredResourceGroups": ["example.com"], "scoringStrategy": {
                "type": "RequestedToCapacityRatio", "resources": [{"name": "example.com/gpu", "weight": 5}, {"name": "cpu"}],
                "requestedToCapacityRatio": {"shape": [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]}}}},
            {"name": "NodeResourcesBalancedAllocation", "args": {"resources": [{"name": "cpu"}, {"name": "example.com/gpu", "weight": 1}]}},
            {"name": "PodTopologySpread", "args": {"defaultingType": "List", "defaultConstraints": [
                {"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]}},
            {"name": "InterPodAffinity", "args": {"hardPodAffinityWeight": 50, "ignorePreferredTermsOfExistingPods": true}},
            {"name": "DefaultPreemption", "args": {"minCandidateNodesPercentage": 100, "minCandidateNodesAbsolute": 0}},
            {"name": "VolumeBinding", "args": {"bindTimeoutSeconds": 60, "shape": [{"utilization": 50, "score": 3}]}},
        ]))
        .unwrap();
        assert_eq!(read.added_affinity.required.unwrap()[0].match_expressions[0].key, "pool");
        assert_eq!(read.fit.strategy, FitStrategy::RequestedToCapacityRatio(vec![(0, 0), (100, 100)]));
        assert_eq!(read.fit.resources, [("example.com/gpu".to_owned(), 5), ("cpu".to_owned(), 1)]);
        assert!(read.fit.ignores("example.com/gpu") && !read.fit.ignores("hugepages-2Mi"));
        assert_eq!(read.balanced, ["cpu", "example.com/gpu"]);
        let zone = SpreadDefault { max_skew: 2, topology_key: "zone".into(), when_unsatisfiable: WhenUnsatisfiable::DoNotSchedule };
        assert_eq!(read.spread_defaults, SpreadDefaults::List(vec![zone]));
        assert_eq!((read.hard_pod_affinity_weight, read.ignore_preferred_terms_of_existing_pods), (50, true));
        assert_eq!(read.preemption.candidates(30), 30);
        assert_eq!((read.volume_binding.timeout, read.volume_binding.shape), (Span(60_000), vec![(50, 30)]));
    }

    #[test]
    fn what_is_not_known_or_out_of_limits_is_named() {
        let check = |name: &str, args: Value, part: &str| {
            let found = of(json!([{"name": name, "args": args}])).expect_err(part);
            assert!(found.len() == 1 && found[0].contains(part), "{found:#?}");
        };
        check("NodeName", json!({}), "pluginConfig[0].name: NodeName: a plugin with arguments: DefaultPreemption, ");
        check("NodeResourcesFit", json!({"scoring": 1}), "args.scoring: 1: one of the fields");
        check("NodeResourcesFit", json!({"kind": "FitArgs"}), "args.kind: FitArgs: NodeResourcesFitArgs");
        check("NodeResourcesFit", json!({"ignoredResourceGroups": ["a.b/c"]}), "ignoredResourceGroups: a.b/c: domains");
        let strategy = |strategy: Value| json!({"scoringStrategy": strategy});
        check("NodeResourcesFit", strategy(json!({"type": "Tetris"})), "type: \"Tetris\": LeastAllocated, ");
        check(
            "NodeResourcesFit",
            strategy(json!({"type": "MostAllocated", "resources": [{"name": "cpu", "weight": 101}]})),
            "scoringStrategy.resources[0].weight: 101",
        );
        check("NodeResourcesFit", strategy(json!({"type": "RequestedToCapacityRatio"})), "shape: 0 points: points of rising utilization");
        let ratio = json!({"type": "MostAllocated", "requestedToCapacityRatio": {"shape": [{"utilization": 0}]}});
        check("NodeResourcesFit", strategy(ratio), "requestedToCapacityRatio: MostAllocated: nothing, or type");
        check("NodeResourcesBalancedAllocation", json!({"resources": [{"name": "cpu", "weight": 2}]}), "resources[0].weight: 2");
        check("NodeResourcesBalancedAllocation", json!({"resources": [{"name": "cpu"}, {"name": "cpu"}]}), "each resource once");
        check("PodTopologySpread", json!({"defaultingType": "Mine"}), "defaultingType: Mine: System or List");
        let constraint = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"});
        check("PodTopologySpread", json!({"defaultConstraints": [constraint]}), "defaultingType: System: List, beside defaultConstraints");
        check("DefaultPreemption", json!({"minCandidateNodesPercentage": 0, "minCandidateNodesAbsolute": 0}), "more than 0, or");
        check("VolumeBinding", json!({"bindTimeoutSeconds": -1}), "bindTimeoutSeconds: -1");
        check("DynamicResources", json!({"filterTimeout": "soon"}), "args.filterTimeout: soon: a length of time");
        check("DynamicResources", json!({"bindingTimeout": "10"}), "args.bindingTimeout: 10: a length of time");
        let affinity = |field: &str| json!({"addedAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {field: []}}});
        check("NodeAffinity", affinity("nodeSelectorTerm"), "addedAffinity");
        let twice = of(json!([{"name": "NodeAffinity"}, {"name": "NodeAffinity"}])).expect_err("twice");
        assert_eq!(twice, ["pluginConfig[1].name: NodeAffinity: one entry a plugin"]);
    }
}
