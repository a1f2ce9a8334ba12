//! What an operator chooses about placing. Everything has a default.

use crate::units::{Micros, Span};
use serde::{Deserialize, Serialize};

use super::{FitSettings, LabelSelector, Labels, NodeAffinity, SpreadConstraint};

/// Where a pod without delay bounds goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undelayed {
    /// To a node with the cloud role; in a cluster without any such node, to any.
    #[default]
    CloudPreferred,
    /// To a node with the cloud role, or it waits.
    CloudOnly,
    /// To any node.
    Any,
}

/// A label that a node carries: with this value, or with any value (`value: None`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelMatch {
    pub key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

impl LabelMatch {
    pub fn matches(&self, labels: &Labels) -> bool {
        labels.get(&self.key).is_some_and(|have| self.value.as_ref().is_none_or(|want| want == have))
    }
}

/// A node label whose decimal value is the node's price, and what one unit of it weighs against response time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Price {
    pub label: String,
    /// Microseconds per unit of price.
    pub weight_us: u32,
}

/// Weights of the scores, as kube-scheduler's default profile has them. 0 switches a score off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Weights {
    pub taint_toleration: u16,
    pub node_affinity: u16,
    pub node_resources_fit: u16,
    pub node_resources_balanced_allocation: u16,
    pub pod_topology_spread: u16,
    pub inter_pod_affinity: u16,
    pub image_locality: u16,
    pub volume_binding: u16,
}

impl Default for Weights {
    fn default() -> Self {
        Weights {
            taint_toleration: 3,
            node_affinity: 2,
            node_resources_fit: 1,
            node_resources_balanced_allocation: 1,
            pod_topology_spread: 2,
            inter_pod_affinity: 2,
            image_locality: 1,
            volume_binding: 1,
        }
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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    pub undelayed: Undelayed,
    /// Nodes with the cloud role.
    pub cloud: LabelMatch,
    /// Control-plane nodes. One that does not carry the taint of this key is treated as if it did. `None`: their taints alone count.
    pub control_plane: Option<LabelMatch>,
    /// A measurement older than this is no measurement.
    pub max_age: Span,
    /// Nodes whose cost is within this many thousandths of the best are equal in cost.
    pub band_permille: u32,
    /// The band is at least this wide.
    pub band_floor: Micros,
    pub price: Option<Price>,
    /// Off: bounds and the ranking by RTT are ignored. For negative controls.
    pub delay_filter: bool,
    pub weights: Weights,
    pub fit: FitSettings,
    pub volume_binding: VolumeBindingSettings,
    /// Node affinity that every pod has besides its own.
    pub added_affinity: NodeAffinity,
    pub preemption: PreemptionSettings,
    pub spread_defaults: SpreadDefaults,
    /// What a placed pod's required affinity towards a pod weighs in the pod's score, 0 to 100; 0: nothing.
    pub hard_pod_affinity_weight: i32,
    /// A pod without preferred affinity of its own is not scored by that of placed pods.
    pub ignore_preferred_terms_of_existing_pods: bool,
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

/// How volumes are bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
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

impl Default for Settings {
    fn default() -> Self {
        Settings {
            volume_binding: VolumeBindingSettings::default(),
            preemption: PreemptionSettings::default(),
            undelayed: Undelayed::default(),
            cloud: LabelMatch { key: "kubernetes.io/role".into(), value: Some("cloud".into()) },
            control_plane: Some(LabelMatch { key: "node-role.kubernetes.io/control-plane".into(), value: None }),
            max_age: Span(15 * 60 * 1000),
            band_permille: 50,
            band_floor: Micros(500),
            price: None,
            delay_filter: true,
            weights: Weights::default(),
            fit: FitSettings::default(),
            added_affinity: NodeAffinity::default(),
            spread_defaults: SpreadDefaults::default(),
            hard_pod_affinity_weight: 1,
            ignore_preferred_terms_of_existing_pods: false,
        }
    }
}
