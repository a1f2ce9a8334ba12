//! Seeded cases: a small cluster with pods on it, and a pod to be scheduled, as the API server stores them.
//!
//! Every case has nodes, pods and requests. What else it has is drawn: each [`Feature`] is one idea and one file, which adds to a [`Draft`] what its
//! plugin looks at. Few features meet in one case, so that one does not hide the other.
//!
//! Not generated, because kube-scheduler itself leaves the answer to the order of events or to chance: one image with two sizes, pods of equal
//! importance that are preempted one by one, several CSIStorageCapacities that match one node, and two pods of a node that share a host port; nor what its
//! VolumeRestrictions miscounts: claims for one pod that several use, or whose name another namespace has. Not
//! compared: preemption for a pod with hard spread constraints where pods terminate, which kube-scheduler takes from counts that they were never in.

mod attached;
mod declared_features;
mod disks;
mod dra;
mod draft;
mod draw;
mod host_ports;
mod images;
mod node_affinity;
mod node_name;
mod open_claims;
mod pod_affinity;
mod preemption;
mod profile;
mod resize;
mod resources;
mod spread;
mod storage;
mod taints;
mod unschedulable;
mod volumes;

pub use draft::Draft;
pub use draw::Draw;

use crate::case::Case;

/// One idea that a case may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// Sidecars, init containers, overhead, pod-level requests, extended resources, huge pages, pods without requests.
    Resources,
    /// Bound pods that are being resized in place.
    Resize,
    Unschedulable,
    NodeName,
    Taints,
    NodeAffinity,
    /// Spread constraints, and the defaults by Services and controllers.
    Spread,
    PodAffinity,
    HostPorts,
    Images,
    DeclaredFeatures,
    /// Claims that are bound.
    Volumes,
    /// Claims that wait for the pod's node.
    OpenClaims,
    /// Limits of what nodes attach.
    AttachedVolumes,
    /// Disks that pods do not share.
    Disks,
    /// Arguments of plugins, weights, plugins that are switched off or asked in another order.
    Profile,
    /// Devices, and claims for them.
    Dra,
    /// Devices of which nodes have better and worse ones.
    Alternatives,
    /// Full clusters, budgets of disruption and nominated pods.
    Preemption,
    /// Nodes where less important pods have to go.
    Full,
}

/// What the suite generates and holds to 0 disagreements.
pub const COVERED: &[Feature] = &[
    Feature::Resources,
    Feature::Resize,
    Feature::Unschedulable,
    Feature::NodeName,
    Feature::Taints,
    Feature::NodeAffinity,
    Feature::Spread,
    Feature::PodAffinity,
    Feature::HostPorts,
    Feature::Images,
    Feature::DeclaredFeatures,
    Feature::Volumes,
    Feature::OpenClaims,
    Feature::AttachedVolumes,
    Feature::Disks,
    Feature::Profile,
    Feature::Dra,
    Feature::Alternatives,
    Feature::Preemption,
    Feature::Full,
];

/// What kube-scheduler looks at and the suite does not generate yet, with the reason.
pub const OPEN: &[(&str, &str)] = &[(
    "DynamicResources",
    "counters, shared capacity, binding conditions and DeviceTaintRules are not generated; nor what ends the attempt with an error",
)];

impl Feature {
    /// Filters that must reject some nodes but not all in [`WANTED_PERCENT`](crate::figures::WANTED_PERCENT) of the cases.
    pub fn filters(self) -> &'static [&'static str] {
        match self {
            Feature::Resources => &["NodeResourcesFit"],
            Feature::Resize => &[],
            Feature::Unschedulable => &["NodeUnschedulable"],
            // Its PreFilter leaves all other nodes out before the filter sees them.
            Feature::NodeName => &[],
            Feature::Taints => &["TaintToleration"],
            Feature::NodeAffinity => &["NodeAffinity"],
            Feature::Spread => &["PodTopologySpread"],
            Feature::PodAffinity => &["InterPodAffinity"],
            Feature::HostPorts => &["NodePorts"],
            Feature::Images => &[],
            Feature::DeclaredFeatures => &["NodeDeclaredFeatures"],
            Feature::Volumes => &["VolumeZone"],
            Feature::OpenClaims => &["VolumeBinding"],
            Feature::AttachedVolumes => &["NodeVolumeLimits"],
            Feature::Disks => &["VolumeRestrictions"],
            Feature::Dra => &["DynamicResources"],
            Feature::Profile | Feature::Alternatives | Feature::Preemption | Feature::Full => &[],
        }
    }

    /// Scores that must differ between nodes in as many.
    pub fn scores(self) -> &'static [&'static str] {
        match self {
            Feature::Resources => &["NodeResourcesFit", "NodeResourcesBalancedAllocation"],
            Feature::Taints => &["TaintToleration"],
            Feature::NodeAffinity => &["NodeAffinity"],
            Feature::Spread => &["PodTopologySpread"],
            Feature::PodAffinity => &["InterPodAffinity"],
            Feature::Images => &["ImageLocality"],
            Feature::OpenClaims => &["VolumeBinding"],
            Feature::Alternatives => &["DynamicResources"],
            Feature::Dra
            | Feature::Resize
            | Feature::Unschedulable
            | Feature::NodeName
            | Feature::HostPorts
            | Feature::DeclaredFeatures
            | Feature::Volumes
            | Feature::AttachedVolumes
            | Feature::Disks
            | Feature::Profile
            | Feature::Preemption
            | Feature::Full => &[],
        }
    }

    /// In how many of a hundred cases it is all there is: much else would hide it.
    fn alone(self) -> usize {
        match self {
            Feature::Alternatives | Feature::Full => 7,
            _ => 0,
        }
    }

    /// How often it is drawn, against the others: what is at work only where much else lets it be is drawn more often.
    fn lots(self) -> usize {
        match self {
            Feature::Spread | Feature::NodeAffinity | Feature::PodAffinity => 5,
            Feature::OpenClaims => 4,
            Feature::Taints | Feature::DeclaredFeatures | Feature::Images => 3,
            Feature::Volumes | Feature::AttachedVolumes | Feature::Disks | Feature::HostPorts => 2,
            Feature::Alternatives | Feature::Full => 0,
            _ => 1,
        }
    }

    fn apply(self, draft: &mut Draft) {
        match self {
            Feature::Resources => resources::apply(draft),
            Feature::Resize => resize::apply(draft),
            Feature::Unschedulable => unschedulable::apply(draft),
            Feature::NodeName => node_name::apply(draft),
            Feature::Taints => taints::apply(draft),
            Feature::NodeAffinity => node_affinity::apply(draft),
            Feature::Spread => spread::apply(draft),
            Feature::PodAffinity => pod_affinity::apply(draft),
            Feature::HostPorts => host_ports::apply(draft),
            Feature::Images => images::apply(draft),
            Feature::DeclaredFeatures => declared_features::apply(draft),
            Feature::Volumes => volumes::apply(draft),
            Feature::OpenClaims => open_claims::apply(draft),
            Feature::AttachedVolumes => attached::apply(draft),
            Feature::Disks => disks::apply(draft),
            Feature::Profile => profile::apply(draft),
            Feature::Dra => dra::apply(draft),
            Feature::Alternatives => dra::alternatives(draft),
            Feature::Preemption => preemption::apply(draft),
            Feature::Full => preemption::full(draft),
        }
    }
}

/// How many features meet in one case, at most. Fewer, and what happens between them would be missed; more, and the first filter would hide the others.
const TOGETHER: usize = 8;

/// The case of this seed and number; the same for ever on the same code.
pub fn generate(features: &[Feature], seed: u64, index: u64) -> Case {
    let mut draft = Draft::new(Draw::new(seed, index));
    let mut at = draft.draw.below(100);
    for feature in features {
        if at < feature.alone() {
            feature.apply(&mut draft);
            return draft.finish(index as i64);
        }
        at -= feature.alone();
    }
    let wanted = 1 + draft.draw.below(TOGETHER.min(features.len().max(1)));
    let lots: Vec<Feature> = features.iter().flat_map(|feature| std::iter::repeat_n(*feature, feature.lots())).collect();
    let mut chosen = draft.draw.some(&lots, wanted);
    chosen.sort();
    chosen.dedup();
    chosen.into_iter().for_each(|feature| feature.apply(&mut draft));
    draft.finish(index as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_case_and_another_another() {
        let case = |seed, index| generate(COVERED, seed, index);
        assert_eq!(case(7, 3), case(7, 3));
        assert!(case(7, 3) != case(8, 3) && case(7, 3) != case(7, 4));
    }
}
