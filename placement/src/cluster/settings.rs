//! What an operator chooses about placing. Everything has a default.

use crate::units::{Micros, Span};
use serde::{Deserialize, Serialize};

use super::{Labels, Profiles};

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

#[derive(Clone, Debug, PartialEq)]
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
    pub profiles: Profiles,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            undelayed: Undelayed::default(),
            cloud: LabelMatch { key: "kubernetes.io/role".into(), value: Some("cloud".into()) },
            control_plane: Some(LabelMatch { key: "node-role.kubernetes.io/control-plane".into(), value: None }),
            max_age: Span(15 * 60 * 1000),
            band_permille: 50,
            band_floor: Micros(500),
            price: None,
            delay_filter: true,
            profiles: Profiles::default(),
        }
    }
}
