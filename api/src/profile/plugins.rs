//! Which plugins a profile has where: the default ones, without those that are disabled, with those that are enabled, by kube-scheduler's rules.
//!
//! `multiPoint` stands for every extension point that a plugin has; what a point says itself goes before it. Enabled goes before disabled.

use crate::fields::Fields;
use placement::cluster::{Plugin, Plugins, Point};

/// One `enabled` entry.
#[derive(Clone, Copy)]
struct Enabled {
    plugin: Plugin,
    weight: Option<i64>,
}

#[derive(Default)]
struct Set {
    enabled: Vec<Enabled>,
    disabled: Vec<Plugin>,
    /// `*` is disabled.
    all_disabled: bool,
}

impl Set {
    fn enables(&self, plugin: Plugin) -> Option<&Enabled> {
        self.enabled.iter().find(|enabled| enabled.plugin == plugin)
    }

    fn disables(&self, plugin: Plugin) -> bool {
        self.all_disabled || self.disabled.contains(&plugin)
    }
}

/// The section `plugins`.
pub(super) fn read(mut fields: Fields<'_>) -> Plugins {
    let multi_point = set(fields.section("multiPoint"), None);
    let sets = Point::ALL.map(|point| set(fields.section(point.key()), Some(point)));
    let everywhere = with_defaults(multi_point);
    let mut plugins = Plugins::none();
    for (point, set) in Point::ALL.into_iter().zip(&sets) {
        for Enabled { plugin, weight } in at(point, set, &everywhere) {
            plugins.add(point, plugin);
            if point == Point::Score && plugin.default_weight().is_some() {
                plugins.weigh(plugin, weight.filter(|weight| *weight != 0).unwrap_or(1));
            }
        }
    }
    // A bound that is asked for holds, whatever `*` says.
    if !plugins.has(Point::Filter, Plugin::DelayBound) {
        plugins.add(Point::Filter, Plugin::DelayBound);
    }
    check(&fields, &plugins);
    // kube-scheduler writes them though they are empty. No plugin that is built in has them unless pods are placed by group.
    ["placementGenerate", "placementScore", "podGroupPostFilter"].into_iter().for_each(|name| none(fields.section(name)));
    fields.end();
    plugins
}

/// An extension point without plugins.
fn none(mut fields: Fields<'_>) {
    fields.value("disabled");
    for mut entry in fields.objects("enabled") {
        let name = entry.text("name").unwrap_or_default();
        entry.wrong("name", name, "no plugin: pods are not placed by group");
    }
    fields.end();
}

/// The plugins of one point, in order: those that it enables in place of `multiPoint`'s, the others of `multiPoint`, and the others that it enables.
fn at(point: Point, set: &Set, everywhere: &[Enabled]) -> Vec<Enabled> {
    if set.all_disabled {
        return set.enabled.clone();
    }
    let common = everywhere.iter().filter(|enabled| enabled.plugin.points().contains(&point) && !set.disables(enabled.plugin));
    let common: Vec<Enabled> = common.copied().collect();
    let overrides = |enabled: &&Enabled| common.iter().any(|common| common.plugin == enabled.plugin);
    let (first, last): (Vec<&Enabled>, Vec<&Enabled>) = set.enabled.iter().partition(overrides);
    let between = common.iter().filter(|common| set.enables(common.plugin).is_none());
    first.into_iter().chain(between).chain(last).copied().collect()
}

/// The default plugins, each in its place with what `multiPoint` says of it, and then what it enables besides.
fn with_defaults(multi_point: Set) -> Vec<Enabled> {
    let kept = Plugin::ALL.into_iter().filter(|plugin| !multi_point.disables(*plugin));
    let default = |plugin: Plugin| Enabled { plugin, weight: plugin.default_weight() };
    let mut all: Vec<Enabled> = kept.map(|plugin| multi_point.enables(plugin).copied().unwrap_or_else(|| default(plugin))).collect();
    all.extend(multi_point.enabled.iter().filter(|enabled| multi_point.disables(enabled.plugin)));
    all
}

/// `point`: `None` for `multiPoint`.
fn set(mut fields: Fields<'_>, point: Option<Point>) -> Set {
    let mut set = Set::default();
    let fits = |plugin: &Plugin| point.is_none_or(|point| plugin.points().contains(&point));
    let known = || Plugin::ALL.into_iter().filter(fits).map(Plugin::name).collect::<Vec<_>>().join(", ");
    let plugin = |of: &Fields<'_>, name: &str| match Plugin::named(name) {
        Some(plugin) if fits(&plugin) => Some(plugin),
        Some(_) => {
            of.wrong("name", name, format!("a plugin of this extension point: {}", known()));
            None
        }
        None => {
            of.wrong("name", name, format!("a plugin that is built in: {}", known()));
            None
        }
    };
    for mut entry in fields.objects("enabled") {
        let name = entry.text("name").unwrap_or_default();
        let weight = entry.integer("weight", 0..=i64::from(i32::MAX));
        if let Some(plugin) = plugin(&entry, name) {
            if set.enables(plugin).is_some() {
                entry.wrong("name", name, "each plugin once");
            }
            let scores = point.is_none_or(|point| point == Point::Score) && plugin.default_weight().is_some();
            if let Some(weight) = weight.filter(|weight| *weight != 0 && !scores) {
                let want = match plugin {
                    Plugin::ResponseTime => "no weight: response time ranks before all scores, within placement.bandPercent and bandFloor",
                    _ => "no weight: nothing is scored here",
                };
                entry.wrong("weight", weight, want);
            }
            set.enabled.push(Enabled { plugin, weight });
        }
        entry.end();
    }
    for mut entry in fields.objects("disabled") {
        let name = entry.text("name").unwrap_or_default();
        entry.integer("weight", 0..=i64::from(i32::MAX));
        match name {
            "*" => set.all_disabled = true,
            // kube-scheduler takes any name here, since a plugin may have been removed.
            _ => match Plugin::named(name) {
                Some(Plugin::DelayBound) => {
                    entry.wrong("name", name, "another plugin: delay bounds always hold; a pod without delay labels has none");
                }
                Some(plugin) => set.disabled.push(plugin),
                None => entry.wrong("name", name, format!("\"*\" or a plugin that is built in: {}", known())),
            },
        }
        entry.end();
    }
    fields.end();
    set
}

const CLAIMS: &str = "a pod whose claims can't be used waits, whatever filters follow";

/// What no profile can do without, and plugins that need each other's points.
fn check(fields: &Fields<'_>, plugins: &Plugins) {
    let needed = [
        (Point::QueueSort, Plugin::PrioritySort, "pods are queued by priority"),
        (Point::PreEnqueue, Plugin::SchedulingGates, "the API server binds no pod with scheduling gates"),
        (Point::Bind, Plugin::DefaultBinder, "without it no pod is bound"),
        (Point::PreFilter, Plugin::VolumeRestrictions, CLAIMS),
        (Point::PreFilter, Plugin::VolumeBinding, CLAIMS),
        (Point::PreFilter, Plugin::VolumeZone, CLAIMS),
        (Point::PreFilter, Plugin::DynamicResources, CLAIMS),
        (Point::Filter, Plugin::VolumeBinding, "volumes are bound for the node that it accepts"),
        (Point::Filter, Plugin::DynamicResources, "devices are given on the node that it accepts"),
    ];
    for (point, plugin, why) in needed {
        if !plugins.has(point, plugin) {
            fields.wrong(point.key(), format!("no {plugin}"), format!("{plugin}: {why}"));
        }
    }
    for plugin in Plugin::ALL {
        let needs = |point: Point, before: Point, alone: &[Plugin]| {
            let misses = plugins.has(point, plugin) && plugin.points().contains(&before) && !plugins.has(before, plugin);
            if misses && !alone.contains(&plugin) {
                let (point, before) = (point.key(), before.key());
                fields.wrong(before, format!("no {plugin}"), format!("{plugin}, which {point} has: it prepares there what it does here"));
            }
        };
        // These do not look at what was prepared, or make it up.
        let filters = [Plugin::NodeName, Plugin::NodeUnschedulable, Plugin::TaintToleration, Plugin::NodeAffinity];
        needs(Point::Filter, Point::PreFilter, &filters);
        let scores = [Plugin::NodeAffinity, Plugin::NodeResourcesFit, Plugin::NodeResourcesBalancedAllocation];
        needs(Point::Score, Point::PreScore, &scores);
        needs(Point::Filter, Point::Reserve, &[]);
        needs(Point::Filter, Point::PreBind, &[]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Mistakes;
    use serde_json::{Value, json};

    fn plugins(value: Value) -> Result<Plugins, Vec<String>> {
        let mistakes = Mistakes::default();
        let plugins = read(Fields::of(&value, "plugins", &mistakes));
        let found: Vec<String> =
            mistakes.into_list().into_iter().map(|found| format!("{}: {}: {}", found.field, found.got, found.want)).collect();
        if found.is_empty() { Ok(plugins) } else { Err(found) }
    }

    fn check_scores(value: Value, expected: &[(&str, i64)]) {
        let plugins = plugins(value.clone()).unwrap_or_else(|found| panic!("{value}: {found:#?}"));
        let scores: Vec<_> = plugins.at(Point::Score).iter().map(|plugin| (plugin.name(), plugins.weight(*plugin))).collect();
        assert_eq!(scores, expected, "{value}");
    }

    #[test]
    fn nothing_said_is_the_default() {
        assert_eq!(plugins(json!({})), Ok(Plugins::default()));
        assert_eq!(plugins(json!({"multiPoint": {"enabled": [], "disabled": null}})), Ok(Plugins::default()));
    }

    #[test]
    fn what_a_point_says_goes_before_multi_point() {
        let only = json!([{"name": "*"}]);
        check_scores(json!({"score": {"disabled": only}}), &[]);
        check_scores(
            json!({"score": {"disabled": only, "enabled": [{"name": "ImageLocality", "weight": 7}, {"name": "NodeAffinity"}]}}),
            &[("ImageLocality", 7), ("NodeAffinity", 1)],
        );
        let some = ["TaintToleration", "NodeAffinity", "VolumeBinding", "PodTopologySpread", "InterPodAffinity", "DynamicResources"];
        let some: Vec<Value> = some.iter().map(|name| json!({"name": name})).collect();
        // Reconfigured ones come first, and a weight that is not given is 1.
        check_scores(
            json!({"score": {"disabled": some, "enabled": [{"name": "ImageLocality", "weight": 5}, {"name": "NodeResourcesFit"}]}}),
            &[("ImageLocality", 5), ("NodeResourcesFit", 1), ("NodeResourcesBalancedAllocation", 1), ("ResponseTime", 0)],
        );
        // In multiPoint a plugin keeps its place, and what is enabled there stays, disabled or not.
        let reweighed = json!([{"name": "NodeResourcesBalancedAllocation", "weight": 9}, {"name": "TaintToleration"}]);
        check_scores(
            json!({"multiPoint": {"enabled": reweighed, "disabled": [{"name": "NodeResourcesBalancedAllocation"}]}, "score": {"disabled": some[1..]}}),
            &[
                ("TaintToleration", 1),
                ("NodeResourcesFit", 1),
                ("ImageLocality", 1),
                ("ResponseTime", 0),
                ("NodeResourcesBalancedAllocation", 9),
            ],
        );
    }

    #[test]
    fn filters_are_asked_in_the_order_that_follows() {
        let check = |value: Value, expected: &[Plugin]| assert_eq!(&plugins(value).unwrap().at(Point::Filter)[..expected.len()], expected);
        check(json!({}), &[Plugin::NodeName, Plugin::NodeUnschedulable, Plugin::TaintToleration]);
        check(json!({"filter": {"enabled": [{"name": "NodeResourcesFit"}]}}), &[Plugin::NodeResourcesFit, Plugin::NodeName]);
        check(
            json!({"filter": {"enabled": [{"name": "TaintToleration"}], "disabled": [{"name": "NodeName"}]}}),
            &[Plugin::TaintToleration, Plugin::NodeUnschedulable],
        );
        let these = json!([{"name": "VolumeBinding"}, {"name": "NodeAffinity"}, {"name": "DynamicResources"}]);
        check(
            json!({"filter": {"disabled": [{"name": "*"}], "enabled": these}}),
            &[Plugin::VolumeBinding, Plugin::NodeAffinity, Plugin::DynamicResources, Plugin::DelayBound],
        );
    }

    fn check_wrong(value: Value, parts: &[&str]) {
        let found = plugins(value.clone()).expect_err("mistakes");
        assert_eq!(found.len(), parts.len(), "{value}: {found:#?}");
        for (found, part) in found.iter().zip(parts) {
            assert!(found.contains(part), "{value}: {found}");
        }
    }

    #[test]
    fn what_cannot_be_is_named() {
        check_wrong(
            json!({"score": {"enabled": [{"name": "Coscheduling"}]}}),
            &["score.enabled[0].name: Coscheduling: a plugin that is built in: Taint"],
        );
        check_wrong(json!({"score": {"enabled": [{"name": "NodeName"}]}}), &["a plugin of this extension point: TaintToleration, "]);
        check_wrong(
            json!({"filter": {"enabled": [{"name": "NodePorts"}, {"name": "NodePorts"}]}}),
            &["filter.enabled[1].name: NodePorts: each plugin once"],
        );
        check_wrong(
            json!({"placementScore": {"enabled": [{"name": "X"}], "disabled": [{"name": "*"}]}}),
            &["no plugin: pods are not placed by group"],
        );
        check_wrong(json!({"filter": {"enabled": [{"name": "NodePorts", "weight": 2}]}}), &["no weight: nothing is scored here"]);
        check_wrong(json!({"score": {"enabled": [{"name": "ResponseTime", "weight": 2}]}}), &["response time ranks before all scores"]);
        check_wrong(json!({"score": {"enabled": [{"name": "ImageLocality", "weight": -2}]}}), &["weight: -2: an integer from 0 to"]);
        check_wrong(json!({"filter": {"disabled": [{"name": "DelayBound"}]}}), &["delay bounds always hold"]);
        check_wrong(json!({"bind": {"disabled": [{"name": "*"}]}}), &["bind: no DefaultBinder: DefaultBinder: without it no pod is bound"]);
        check_wrong(json!({"preEnqueue": {"disabled": [{"name": "SchedulingGates"}]}}), &["binds no pod with scheduling gates"]);
        check_wrong(
            json!({"multiPoint": {"disabled": [{"name": "*"}]}}),
            &[
                "queueSort: no PrioritySort",
                "preEnqueue: no SchedulingGates",
                "bind: no DefaultBinder",
                "preFilter: no VolumeRestrictions: VolumeRestrictions: a pod whose claims",
                "preFilter: no VolumeBinding",
                "preFilter: no VolumeZone",
                "preFilter: no DynamicResources",
                "filter: no VolumeBinding",
                "filter: no DynamicResources",
            ],
        );
        check_wrong(json!({"preFilter": {"disabled": [{"name": "NodePorts"}]}}), &["preFilter: no NodePorts: NodePorts, which filter has"]);
        check_wrong(
            json!({"reserve": {"disabled": [{"name": "VolumeBinding"}]}}),
            &["reserve: no VolumeBinding: VolumeBinding, which filter has"],
        );
        check_wrong(
            json!({"permit": {"enabled": [{"name": "X"}], "enable": []}}),
            &["permit.enabled[0].name: X", "permit.enable: []: one of the fields"],
        );
    }
}
