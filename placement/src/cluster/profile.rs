//! Profiles: what a pod is judged by depends on the scheduler that it names. Each says which plugins are asked, in which order, and with what weights and
//! arguments, as `profiles` of kube-scheduler's configuration do.

use super::{FitSettings, LabelSelector, NodeAffinity, Plugin, Point, SpreadConstraint};
use crate::units::Span;
use serde::{Deserialize, Serialize};

/// Which plugins are asked where, and what their scores weigh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugins {
    lists: [Vec<Plugin>; Point::ALL.len()],
    /// Per point, a bit for each plugin of its list.
    sets: [u32; Point::ALL.len()],
    weights: [i64; Plugin::ALL.len()],
}

impl Plugins {
    /// None at all.
    pub fn none() -> Plugins {
        Plugins { lists: Default::default(), sets: Default::default(), weights: [0; Plugin::ALL.len()] }
    }

    /// Adds a plugin behind those that the point has; at [`Point::Score`] with its default weight.
    pub fn add(&mut self, point: Point, plugin: Plugin) {
        self.lists[point as usize].push(plugin);
        self.sets[point as usize] |= 1 << plugin as u32;
        if point == Point::Score {
            self.weights[plugin as usize] = plugin.default_weight().unwrap_or(0);
        }
    }

    /// What the score of a plugin that is asked for one counts.
    pub fn weigh(&mut self, plugin: Plugin, weight: i64) {
        self.weights[plugin as usize] = weight;
    }

    /// In the order in which they are asked.
    pub fn at(&self, point: Point) -> &[Plugin] {
        &self.lists[point as usize]
    }

    pub fn has(&self, point: Point, plugin: Plugin) -> bool {
        self.sets[point as usize] & (1 << plugin as u32) != 0
    }

    /// 0 where the plugin gives no score, or none that is counted.
    pub fn weight(&self, plugin: Plugin) -> i64 {
        self.weights[plugin as usize]
    }
}

/// All plugins, at every point that they have.
impl Default for Plugins {
    fn default() -> Plugins {
        let mut plugins = Plugins::none();
        for plugin in Plugin::ALL {
            plugin.points().iter().for_each(|point| plugins.add(*point, plugin));
        }
        plugins
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// `spec.schedulerName` of the pods that are judged by it.
    pub scheduler_name: String,
    pub plugins: Plugins,
    pub fit: FitSettings,
    /// What NodeResourcesBalancedAllocation evens out.
    pub balanced: Vec<String>,
    /// Node affinity that every pod has besides its own.
    pub added_affinity: NodeAffinity,
    pub preemption: PreemptionSettings,
    pub spread_defaults: SpreadDefaults,
    /// What a placed pod's required affinity towards a pod weighs in the pod's score, 0 to 100; 0: nothing.
    pub hard_pod_affinity_weight: i32,
    /// A pod without preferred affinity of its own is not scored by that of placed pods.
    pub ignore_preferred_terms_of_existing_pods: bool,
    pub volume_binding: VolumeBindingSettings,
}

/// How volumes are bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeBindingSettings {
    /// How long a pod waits for its volumes to be bound.
    pub timeout: Span,
    /// Points of a volume's utilisation, rising, in percent, and the score there, 0 to 100; straight lines between them.
    pub shape: Vec<(i64, i64)>,
}

impl Default for VolumeBindingSettings {
    fn default() -> VolumeBindingSettings {
        VolumeBindingSettings { timeout: Span(600_000), shape: vec![(0, 100), (100, 0)] }
    }
}

impl Profile {
    /// kube-scheduler's default profile, with our plugins, under this name.
    pub fn new(scheduler_name: impl Into<String>) -> Profile {
        Profile {
            scheduler_name: scheduler_name.into(),
            plugins: Plugins::default(),
            fit: FitSettings::default(),
            balanced: vec!["cpu".to_owned(), "memory".to_owned()],
            added_affinity: NodeAffinity::default(),
            preemption: PreemptionSettings::default(),
            spread_defaults: SpreadDefaults::default(),
            hard_pod_affinity_weight: 1,
            ignore_preferred_terms_of_existing_pods: false,
            volume_binding: VolumeBindingSettings::default(),
        }
    }

    pub fn filters(&self, plugin: Plugin) -> bool {
        self.plugins.has(Point::Filter, plugin)
    }
}

/// One profile or several, of different names.
#[derive(Clone, Debug, PartialEq)]
pub struct Profiles {
    first: Profile,
    others: Vec<Profile>,
}

impl Profiles {
    /// `None`: there is none.
    pub fn new(profiles: impl IntoIterator<Item = Profile>) -> Option<Profiles> {
        let mut profiles = profiles.into_iter();
        Some(Profiles { first: profiles.next()?, others: profiles.collect() })
    }

    /// The profile of that name. Pods of other schedulers are judged by the first: to explain them, and to advise those schedulers.
    pub fn of(&self, scheduler_name: &str) -> &Profile {
        self.iter().find(|profile| profile.scheduler_name == scheduler_name).unwrap_or(&self.first)
    }

    /// Whether a pod that names this scheduler is ours.
    pub fn serve(&self, scheduler_name: &str) -> bool {
        self.iter().any(|profile| profile.scheduler_name == scheduler_name)
    }

    pub fn first(&self) -> &Profile {
        &self.first
    }

    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl From<Profile> for Profiles {
    fn from(first: Profile) -> Profiles {
        Profiles { first, others: Vec::new() }
    }
}

/// One default profile without a name, which serves nobody.
impl Default for Profiles {
    fn default() -> Profiles {
        Profile::new("").into()
    }
}

/// How pods without topology spread constraints of their own are spread, by the selectors of their Services and controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SpreadDefaults {
    /// kube-scheduler's: preferably over nodes (maxSkew 3) and zones (maxSkew 5).
    #[default]
    System,
    /// The operator's; empty: not at all.
    List(Vec<SpreadDefault>),
}

impl SpreadDefaults {
    /// With the selector of a pod.
    pub fn constraints(&self, selector: &LabelSelector) -> Vec<SpreadConstraint> {
        let constraint = |max_skew: i32, topology_key: &str, hard: bool| SpreadConstraint {
            max_skew,
            topology_key: topology_key.to_owned(),
            hard,
            selector: Some(selector.clone()),
            ..SpreadConstraint::default()
        };
        match self {
            SpreadDefaults::System => {
                vec![constraint(3, "kubernetes.io/hostname", false), constraint(5, "topology.kubernetes.io/zone", false)]
            }
            SpreadDefaults::List(list) => {
                let hard = |default: &SpreadDefault| default.when_unsatisfiable == WhenUnsatisfiable::DoNotSchedule;
                list.iter().map(|default| constraint(default.max_skew, &default.topology_key, hard(default))).collect()
            }
        }
    }
}

/// One default constraint, as in kube-scheduler's PodTopologySpreadArgs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SpreadDefault {
    pub max_skew: i32,
    pub topology_key: String,
    pub when_unsatisfiable: WhenUnsatisfiable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhenUnsatisfiable {
    DoNotSchedule,
    ScheduleAnyway,
}

/// How many nodes preemption tries before it takes the best so far, once one breaks no budget: the greater of a share of those it may help on and a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PreemptionSettings {
    pub min_candidate_nodes_percentage: u8,
    pub min_candidate_nodes_absolute: u32,
}

impl Default for PreemptionSettings {
    fn default() -> Self {
        PreemptionSettings { min_candidate_nodes_percentage: 10, min_candidate_nodes_absolute: 100 }
    }
}

impl PreemptionSettings {
    /// Of so many nodes.
    pub fn candidates(&self, nodes: usize) -> usize {
        let share = nodes * usize::from(self.min_candidate_nodes_percentage) / 100;
        share.max(self.min_candidate_nodes_absolute as usize).min(nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_profile_weighs_as_kube_schedulers() {
        let plugins = Plugins::default();
        let scores = plugins.at(Point::Score).iter().map(|plugin| (plugin.name(), plugins.weight(*plugin)));
        let expected = [
            ("TaintToleration", 3),
            ("NodeAffinity", 2),
            ("NodeResourcesFit", 1),
            ("VolumeBinding", 1),
            ("PodTopologySpread", 2),
            ("InterPodAffinity", 2),
            ("DynamicResources", 2),
            ("NodeResourcesBalancedAllocation", 1),
            ("ImageLocality", 1),
            ("ResponseTime", 0),
        ];
        assert!(scores.eq(expected), "{:?}", plugins.at(Point::Score));
    }

    #[test]
    fn a_pod_is_judged_by_the_profile_that_it_names() {
        let profiles = Profiles::new([Profile::new("a"), Profile::new("b")]).unwrap();
        let check = |name: &str, profile: &str, serves: bool| {
            assert_eq!((profiles.of(name).scheduler_name.as_str(), profiles.serve(name)), (profile, serves), "{name}");
        };
        check("a", "a", true);
        check("b", "b", true);
        check("c", "a", false);
    }
}
