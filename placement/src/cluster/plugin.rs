//! Plugins by name, and where each is asked: kube-scheduler 1.37's with its defaults, then ours.

use std::fmt;

/// kube-scheduler's extension points for single pods, in the order in which a pod comes by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    PreEnqueue,
    QueueSort,
    PreFilter,
    Filter,
    PostFilter,
    PreScore,
    Score,
    Reserve,
    Permit,
    PreBind,
    Bind,
    PostBind,
}

impl Point {
    pub const ALL: [Point; 12] = [
        Point::PreEnqueue,
        Point::QueueSort,
        Point::PreFilter,
        Point::Filter,
        Point::PostFilter,
        Point::PreScore,
        Point::Score,
        Point::Reserve,
        Point::Permit,
        Point::PreBind,
        Point::Bind,
        Point::PostBind,
    ];

    /// As in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Point::PreEnqueue => "PreEnqueue",
            Point::QueueSort => "QueueSort",
            Point::PreFilter => "PreFilter",
            Point::Filter => "Filter",
            Point::PostFilter => "PostFilter",
            Point::PreScore => "PreScore",
            Point::Score => "Score",
            Point::Reserve => "Reserve",
            Point::Permit => "Permit",
            Point::PreBind => "PreBind",
            Point::Bind => "Bind",
            Point::PostBind => "PostBind",
        }
    }

    /// As in `plugins` of a profile.
    pub fn key(self) -> &'static str {
        match self {
            Point::PreEnqueue => "preEnqueue",
            Point::QueueSort => "queueSort",
            Point::PreFilter => "preFilter",
            Point::Filter => "filter",
            Point::PostFilter => "postFilter",
            Point::PreScore => "preScore",
            Point::Score => "score",
            Point::Reserve => "reserve",
            Point::Permit => "permit",
            Point::PreBind => "preBind",
            Point::Bind => "bind",
            Point::PostBind => "postBind",
        }
    }
}

/// In the order in which kube-scheduler's default profile has them, then ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plugin {
    SchedulingGates,
    PrioritySort,
    NodeName,
    NodeUnschedulable,
    TaintToleration,
    NodeAffinity,
    NodePorts,
    NodeResourcesFit,
    VolumeRestrictions,
    NodeVolumeLimits,
    VolumeBinding,
    VolumeZone,
    PodTopologySpread,
    InterPodAffinity,
    DynamicResources,
    DefaultPreemption,
    NodeResourcesBalancedAllocation,
    ImageLocality,
    DefaultBinder,
    NodeDeclaredFeatures,
    /// Nodes out of a pod's delay bounds are rejected. In every profile.
    DelayBound,
    /// Pods without delay bounds go to the cloud.
    CloudRole,
    /// Nodes of the control plane are kept free.
    ControlPlane,
    /// Nodes are ranked by response time before all scores; those within a band of the best by the scores.
    ResponseTime,
}

impl Plugin {
    pub const ALL: [Plugin; 24] = [
        Plugin::SchedulingGates,
        Plugin::PrioritySort,
        Plugin::NodeName,
        Plugin::NodeUnschedulable,
        Plugin::TaintToleration,
        Plugin::NodeAffinity,
        Plugin::NodePorts,
        Plugin::NodeResourcesFit,
        Plugin::VolumeRestrictions,
        Plugin::NodeVolumeLimits,
        Plugin::VolumeBinding,
        Plugin::VolumeZone,
        Plugin::PodTopologySpread,
        Plugin::InterPodAffinity,
        Plugin::DynamicResources,
        Plugin::DefaultPreemption,
        Plugin::NodeResourcesBalancedAllocation,
        Plugin::ImageLocality,
        Plugin::DefaultBinder,
        Plugin::NodeDeclaredFeatures,
        Plugin::DelayBound,
        Plugin::CloudRole,
        Plugin::ControlPlane,
        Plugin::ResponseTime,
    ];

    pub fn named(name: &str) -> Option<Plugin> {
        Plugin::ALL.into_iter().find(|plugin| plugin.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Plugin::SchedulingGates => "SchedulingGates",
            Plugin::PrioritySort => "PrioritySort",
            Plugin::NodeName => "NodeName",
            Plugin::NodeUnschedulable => "NodeUnschedulable",
            Plugin::TaintToleration => "TaintToleration",
            Plugin::NodeAffinity => "NodeAffinity",
            Plugin::NodePorts => "NodePorts",
            Plugin::NodeResourcesFit => "NodeResourcesFit",
            Plugin::VolumeRestrictions => "VolumeRestrictions",
            Plugin::NodeVolumeLimits => "NodeVolumeLimits",
            Plugin::VolumeBinding => "VolumeBinding",
            Plugin::VolumeZone => "VolumeZone",
            Plugin::PodTopologySpread => "PodTopologySpread",
            Plugin::InterPodAffinity => "InterPodAffinity",
            Plugin::DynamicResources => "DynamicResources",
            Plugin::DefaultPreemption => "DefaultPreemption",
            Plugin::NodeResourcesBalancedAllocation => "NodeResourcesBalancedAllocation",
            Plugin::ImageLocality => "ImageLocality",
            Plugin::DefaultBinder => "DefaultBinder",
            Plugin::NodeDeclaredFeatures => "NodeDeclaredFeatures",
            Plugin::DelayBound => "DelayBound",
            Plugin::CloudRole => "CloudRole",
            Plugin::ControlPlane => "ControlPlane",
            Plugin::ResponseTime => "ResponseTime",
        }
    }

    /// Where it can be asked. What kube-scheduler has for groups of pods alone is left out.
    pub fn points(self) -> &'static [Point] {
        use Point::*;
        match self {
            Plugin::SchedulingGates => &[PreEnqueue],
            Plugin::PrioritySort => &[QueueSort],
            Plugin::DelayBound | Plugin::CloudRole | Plugin::ControlPlane => &[Filter],
            Plugin::NodeName
            | Plugin::NodeUnschedulable
            | Plugin::NodePorts
            | Plugin::VolumeRestrictions
            | Plugin::NodeVolumeLimits
            | Plugin::VolumeZone
            | Plugin::NodeDeclaredFeatures => &[PreFilter, Filter],
            Plugin::TaintToleration
            | Plugin::NodeAffinity
            | Plugin::NodeResourcesFit
            | Plugin::PodTopologySpread
            | Plugin::InterPodAffinity => &[PreFilter, Filter, PreScore, Score],
            Plugin::VolumeBinding => &[PreFilter, Filter, PreScore, Score, Reserve, PreBind],
            Plugin::DynamicResources => &[PreEnqueue, PreFilter, Filter, PostFilter, Score, Reserve, PreBind],
            Plugin::DefaultPreemption => &[PreEnqueue, PostFilter],
            Plugin::NodeResourcesBalancedAllocation => &[PreScore, Score],
            Plugin::ImageLocality | Plugin::ResponseTime => &[Score],
            Plugin::DefaultBinder => &[Bind],
        }
    }

    /// Of its score, where it has one and the sum of scores counts it.
    pub fn default_weight(self) -> Option<i64> {
        match self {
            Plugin::TaintToleration => Some(3),
            Plugin::NodeAffinity | Plugin::PodTopologySpread | Plugin::InterPodAffinity | Plugin::DynamicResources => Some(2),
            Plugin::ResponseTime => None,
            scored if scored.points().contains(&Point::Score) => Some(1),
            _ => None,
        }
    }
}

impl fmt::Display for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plugin_is_in_the_table_once_and_in_its_place() {
        assert!(Plugin::ALL.is_sorted_by(|a, b| a < b) && Point::ALL.is_sorted_by(|a, b| a < b));
        for (at, plugin) in Plugin::ALL.into_iter().enumerate() {
            assert_eq!(plugin as usize, at);
            assert_eq!(Plugin::named(plugin.name()), Some(plugin));
            assert!(plugin.points().is_sorted(), "{plugin}");
        }
    }
}
