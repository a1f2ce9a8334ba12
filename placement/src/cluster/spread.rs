//! Spreading over domains, as `v1.TopologySpreadConstraint` has it.

use super::LabelSelector;
use serde::{Deserialize, Serialize};

/// How unevenly matching pods of the pod's namespace may stand in the domains of a label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SpreadConstraint {
    /// At least 1.
    pub max_skew: i32,
    pub topology_key: String,
    /// DoNotSchedule; else ScheduleAnyway, which is a preference.
    pub hard: bool,
    /// `None` matches no pod. matchLabelKeys are in it, with the pod's values.
    pub selector: Option<LabelSelector>,
    /// With fewer eligible domains than this the emptiest counts as empty. 1 where the pod does not say.
    pub min_domains: i32,
    /// nodeAffinityPolicy: nodes that the pod's node affinity and selector exclude do not count.
    pub honour_affinity: bool,
    /// nodeTaintsPolicy: nodes whose taints the pod does not tolerate do not count.
    pub honour_taints: bool,
}

impl Default for SpreadConstraint {
    /// What a field means that is not set.
    fn default() -> Self {
        SpreadConstraint {
            max_skew: 1,
            topology_key: String::new(),
            hard: true,
            selector: None,
            min_domains: 1,
            honour_affinity: true,
            honour_taints: false,
        }
    }
}
