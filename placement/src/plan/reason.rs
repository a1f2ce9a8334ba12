//! Why a node was rejected, or a pod held back: one enum each, rendered here and nowhere else.

use crate::cluster::Refusal;
use crate::constraint::DelayError;
use crate::filter::VolumeHold;
use crate::filter::named::NamedBy;
use crate::units::Micros;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a rejection means for preemption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum VerdictCode {
    /// Moving pods off the node may help.
    Unschedulable,
    /// It would not.
    Unresolvable,
}

/// Why one node cannot take the pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reason {
    /// There is no node object of that name.
    NoNode,
    NodeUnschedulable,
    UntoleratedTaint {
        key: String,
        value: String,
    },
    NodeAffinity,
    /// The node affinity that the settings add does not match.
    AddedAffinity,
    /// The pod names nodes, and this is none of them.
    NotNamed {
        by: NamedBy,
    },
    /// The pod names another node, and no PreFilter left this one out.
    NodeName,
    NodePorts,
    /// The node has no devices for the pod's claims.
    NoDevices,
    /// Nor are there any in pools that would do, and some pools are contradictory.
    InvalidPools,
    /// Whether it has devices can't be said.
    DevicesUnusable {
        why: String,
    },
    /// A claim of the pod has devices that this node does not reach.
    ClaimElsewhere,
    NodeDeclaredFeatures,
    TooManyPods {
        used: i64,
        allocatable: i64,
    },
    /// `requested`, `used` and `allocatable` in the resource's base unit: milli-CPU, bytes, or whole units.
    Insufficient {
        resource: String,
        requested: i64,
        used: i64,
        allocatable: i64,
    },
    /// The node has none of an extended resource that devices of a class could stand for.
    OfferedByClass {
        resource: String,
        class: String,
    },
    /// A pod on the node has a disk that the pod can't share.
    DiskConflict,
    /// A claim for one pod alone is another's.
    ClaimInUse {
        claim: String,
    },
    /// The node can't attach so many volumes of the driver.
    VolumeLimit {
        driver: String,
        used: i64,
        limit: i64,
    },
    /// The node lacks a driver that pods with its volumes need.
    DriverMissing {
        driver: String,
    },
    /// A bound volume is not to be had on the node.
    VolumeAffinity {
        volume: String,
    },
    /// There is no volume for the claim on the node, and none can be made.
    NoVolume {
        claim: String,
    },
    /// A volume for the claim could be made on the node if there were room.
    StorageFull {
        claim: String,
    },
    /// The claim is bound to a volume that is gone.
    VolumeMissing {
        claim: String,
    },
    /// A bound volume is in another zone or region.
    VolumeZone {
        volume: String,
    },
    /// With the pod, its domain would hold `skew` matching pods more than the emptiest.
    SpreadSkew {
        key: String,
        skew: i64,
        max_skew: i64,
    },
    /// The node lacks the topology key of a constraint.
    SpreadLabel {
        key: String,
    },
    /// No pod that the pod's affinity asks for is in the node's domains.
    PodAffinity,
    /// A pod that the pod's anti-affinity means is in the node's domain.
    PodAntiAffinity {
        key: String,
    },
    /// A pod whose anti-affinity means this one is in the node's domain.
    ExistingAntiAffinity {
        key: String,
    },
    /// The RTT from the reference is too long. `via` is the node that the reference stands on, when it is not a node itself.
    RttAbove {
        from: String,
        via: Option<String>,
        rtt: Micros,
        bound: Micros,
    },
    /// The pair has no valid measurement.
    RttUnmeasured {
        from: String,
        via: Option<String>,
    },
    /// A pod without delay bounds goes to the cloud, and this is no cloud node.
    NotCloud,
    /// Kept out by the control-plane selector.
    ControlPlane,
}

impl Reason {
    pub fn code(&self) -> VerdictCode {
        match self {
            Reason::TooManyPods { .. }
            | Reason::NodePorts
            | Reason::DiskConflict
            | Reason::ClaimInUse { .. }
            | Reason::VolumeLimit { .. }
            | Reason::DriverMissing { .. }
            | Reason::SpreadSkew { .. }
            | Reason::PodAntiAffinity { .. }
            | Reason::ExistingAntiAffinity { .. } => VerdictCode::Unschedulable,
            Reason::Insufficient { requested, allocatable, .. } if requested <= allocatable => VerdictCode::Unschedulable,
            _ => VerdictCode::Unresolvable,
        }
    }

    /// The filter that gave it, by kube-scheduler's name where it has that filter. `None`: the node was left out before any filter saw it.
    pub fn plugin(&self) -> Option<&'static str> {
        Some(match self {
            Reason::NoNode | Reason::NotNamed { .. } => return None,
            Reason::NodeUnschedulable => "NodeUnschedulable",
            Reason::UntoleratedTaint { .. } => "TaintToleration",
            Reason::NodeAffinity | Reason::AddedAffinity => "NodeAffinity",
            Reason::NodeName => "NodeName",
            Reason::NodePorts => "NodePorts",
            Reason::NoDevices | Reason::InvalidPools | Reason::DevicesUnusable { .. } | Reason::ClaimElsewhere => "DynamicResources",
            Reason::NodeDeclaredFeatures => "NodeDeclaredFeatures",
            Reason::TooManyPods { .. } | Reason::Insufficient { .. } | Reason::OfferedByClass { .. } => "NodeResourcesFit",
            Reason::DiskConflict | Reason::ClaimInUse { .. } => "VolumeRestrictions",
            Reason::VolumeLimit { .. } | Reason::DriverMissing { .. } => "NodeVolumeLimits",
            Reason::VolumeAffinity { .. } | Reason::NoVolume { .. } | Reason::StorageFull { .. } | Reason::VolumeMissing { .. } => {
                "VolumeBinding"
            }
            Reason::VolumeZone { .. } => "VolumeZone",
            Reason::SpreadSkew { .. } | Reason::SpreadLabel { .. } => "PodTopologySpread",
            Reason::PodAffinity | Reason::PodAntiAffinity { .. } | Reason::ExistingAntiAffinity { .. } => "InterPodAffinity",
            Reason::RttAbove { .. } | Reason::RttUnmeasured { .. } => "DelayBound",
            Reason::NotCloud => "CloudRole",
            Reason::ControlPlane => "ControlPlane",
        })
    }

    /// Likewise, and where the node was left out before, the plugins that left it out.
    pub fn plugins(&self) -> impl Iterator<Item = &'static str> {
        let named: &[_] = match self {
            Reason::NotNamed { by } => by.plugins(),
            _ => &[],
        };
        self.plugin().into_iter().chain(named.iter().copied())
    }

    /// Text with live figures for one node: `31.2 ms from edge-1, bound 25 ms`.
    pub fn detail(&self) -> String {
        let via = |via: &Option<String>| via.as_ref().map_or(String::new(), |node| format!(" (on {node})"));
        match self {
            Reason::UntoleratedTaint { key, value } if value.is_empty() => format!("untolerated taint {key}"),
            Reason::UntoleratedTaint { key, value } => format!("untolerated taint {key}={value}"),
            Reason::TooManyPods { used, allocatable } => format!("Too many pods: {used} of {allocatable}"),
            Reason::Insufficient { resource, requested, used, allocatable } => {
                let [requested, free, allocatable] =
                    [*requested, allocatable - used, *allocatable].map(|amount| in_units(resource, amount));
                format!("Insufficient {resource}: requests {requested}, {free} of {allocatable} free")
            }
            Reason::ClaimInUse { claim } => format!("claim {claim} is for one pod alone, and another uses it"),
            Reason::VolumeLimit { driver, used, limit } => format!("volumes of {driver}: {used} of {limit} attached"),
            Reason::VolumeAffinity { volume } => format!("volume {volume} is not to be had there"),
            Reason::NoVolume { claim } => format!("no volume for claim {claim}"),
            Reason::StorageFull { claim } => format!("no room for a volume for claim {claim}"),
            Reason::VolumeMissing { claim } => format!("claim {claim} is bound to a volume that is gone"),
            Reason::VolumeZone { volume } => format!("volume {volume} is in another zone"),
            Reason::SpreadSkew { key, skew, max_skew } => {
                format!("topology spread: its domain of {key} would hold {skew} more pods than the emptiest, maxSkew {max_skew}")
            }
            Reason::SpreadLabel { key } => format!("topology spread: the node has no label {key}"),
            Reason::PodAntiAffinity { key } => format!("a pod that its anti-affinity means is in the same {key}"),
            Reason::ExistingAntiAffinity { key } => format!("a pod whose anti-affinity means it is in the same {key}"),
            Reason::RttAbove { from, via: node, rtt, bound } => format!("{rtt} from {from}{}, bound {bound}", via(node)),
            Reason::RttUnmeasured { from, via: node } => format!("RTT from {from}{} is not measured", via(node)),
            other => other.to_string(),
        }
    }
}

/// An amount in a resource's base unit, as people write it: `250m` of cpu, `1.5Gi` of memory.
fn in_units(resource: &str, amount: i64) -> String {
    let rounded = |value: f64| format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned();
    match resource {
        "cpu" if amount % 1000 == 0 => (amount / 1000).to_string(),
        "cpu" => format!("{amount}m"),
        "memory" | "ephemeral-storage" => match amount.unsigned_abs() {
            0..0x400 => amount.to_string(),
            0x400..0x10_0000 => format!("{}Ki", rounded(amount as f64 / 1024.0)),
            0x10_0000..0x4000_0000 => format!("{}Mi", rounded(amount as f64 / f64::from(1 << 20))),
            _ => format!("{}Gi", rounded(amount as f64 / f64::from(1 << 30))),
        },
        _ => amount.to_string(),
    }
}

/// Text for the histogram of events and conditions, in kube-scheduler's words; without live figures, so that retries do not change it.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NoNode => f.write_str("node(s) without a node object"),
            Reason::NodeUnschedulable => f.write_str("node(s) were unschedulable"),
            Reason::UntoleratedTaint { .. } => f.write_str("node(s) had untolerated taint(s)"),
            Reason::NodeAffinity => f.write_str("node(s) didn't match Pod's node affinity/selector"),
            Reason::AddedAffinity => f.write_str("node(s) didn't match scheduler-enforced node affinity"),
            Reason::NodeName => f.write_str("node(s) didn't match the requested node name"),
            Reason::NodePorts => f.write_str("node(s) didn't have free ports for the requested pod ports"),
            Reason::NoDevices => f.write_str("cannot allocate all claims"),
            Reason::InvalidPools => f.write_str("invalid resource pools were encountered"),
            Reason::DevicesUnusable { why } => f.write_str(why),
            Reason::ClaimElsewhere => f.write_str("resourceclaim not available on the node"),
            Reason::NodeDeclaredFeatures => f.write_str("node(s) didn't match Pod's required features"),
            Reason::NotNamed { by } => write!(f, "node(s) didn't satisfy plugin(s) {by}"),
            Reason::TooManyPods { .. } => f.write_str("Too many pods"),
            Reason::Insufficient { resource, .. } => write!(f, "Insufficient {resource}"),
            Reason::OfferedByClass { resource, class } => {
                write!(f, "{resource} is offered by device class {class}, which is not supported yet: claim a device of it instead")
            }
            Reason::DiskConflict => f.write_str("node(s) had no available disk"),
            Reason::ClaimInUse { .. } => f.write_str(
                "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod",
            ),
            Reason::VolumeLimit { .. } => f.write_str("node(s) exceed max volume count"),
            Reason::DriverMissing { driver } => write!(f, "{driver} CSI driver is not installed on the node"),
            Reason::VolumeAffinity { .. } => f.write_str("node(s) didn't match PersistentVolume's node affinity"),
            Reason::NoVolume { .. } => f.write_str("node(s) didn't find available persistent volumes to bind"),
            Reason::StorageFull { .. } => f.write_str("node(s) did not have enough free storage"),
            Reason::VolumeMissing { .. } => f.write_str("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"),
            Reason::VolumeZone { .. } => f.write_str("node(s) had no available volume zone"),
            Reason::SpreadSkew { .. } => f.write_str("node(s) didn't match pod topology spread constraints"),
            Reason::SpreadLabel { .. } => f.write_str("node(s) didn't match pod topology spread constraints (missing required label)"),
            Reason::PodAffinity => f.write_str("node(s) didn't match pod affinity rules"),
            Reason::PodAntiAffinity { .. } => f.write_str("node(s) didn't match pod anti-affinity rules"),
            Reason::ExistingAntiAffinity { .. } => f.write_str("node(s) didn't satisfy existing pods anti-affinity rules"),
            Reason::RttAbove { from, bound, .. } => write!(f, "RTT from {from} above {bound}"),
            Reason::RttUnmeasured { from, .. } => write!(f, "RTT from {from} not measured"),
            Reason::NotCloud => f.write_str("node(s) without the cloud role"),
            Reason::ControlPlane => f.write_str("node(s) of the control plane"),
        }
    }
}

/// Why the pod waits whatever the nodes say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Hold {
    SchedulingGates(Vec<String>),
    Refused(Vec<Refusal>),
    DelayInvalid(Vec<DelayError>),
    /// Every term of the required node affinity names nodes that the same term rules out.
    AffinityConflict,
    /// `spec.nodeName` and the required node affinity name different nodes.
    NamesConflict,
    /// The pod's claims are not ready.
    Volumes(VolumeHold),
    /// A claim of the pod is missing, in use, or asks for what is not there.
    Claims {
        why: String,
    },
    /// The reference is no node, workload or pod of the namespace.
    UnknownReference {
        from: String,
        namespace: String,
    },
    /// The pod refers to itself alone.
    SelfReference {
        from: String,
    },
    /// The reference exists and has no node yet.
    ReferenceNotPlaced {
        from: String,
    },
    /// The group of pods that refer to each other has no placement that meets every bound.
    GroupUnplaceable {
        members: Vec<String>,
    },
    /// The topology service has not yet heard from the agents.
    TopologyWarmingUp {
        heard: u32,
        expected: u32,
    },
    NoNodes,
}

impl Hold {
    /// The plugins that hold the pod back, by kube-scheduler's name where it has them. Empty where no plugin does: there are no nodes, or the pod is refused.
    pub fn plugins(&self) -> Vec<&'static str> {
        match self {
            Hold::SchedulingGates(_) => vec!["SchedulingGates"],
            Hold::AffinityConflict => vec!["NodeAffinity"],
            Hold::NamesConflict => NamedBy::Both.plugins().to_vec(),
            Hold::Volumes(hold) => vec![hold.plugin()],
            Hold::Claims { .. } => vec!["DynamicResources"],
            Hold::DelayInvalid(_)
            | Hold::UnknownReference { .. }
            | Hold::SelfReference { .. }
            | Hold::ReferenceNotPlaced { .. }
            | Hold::GroupUnplaceable { .. }
            | Hold::TopologyWarmingUp { .. } => vec!["DelayBound"],
            Hold::Refused(_) | Hold::NoNodes => Vec::new(),
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |parts: Vec<String>| parts.join("; ");
        match self {
            Hold::SchedulingGates(gates) => write!(f, "waiting for scheduling gates: [{}]", gates.join(" ")),
            Hold::Refused(fields) => write!(f, "{}", join(fields.iter().map(|r| format!("{} {}", r.field, r.why)).collect())),
            Hold::DelayInvalid(errors) => write!(f, "{}", join(errors.iter().map(ToString::to_string).collect())),
            Hold::AffinityConflict => f.write_str("pod affinity terms conflict"),
            Hold::NamesConflict => write!(f, "node(s) didn't satisfy plugin(s) {} simultaneously", NamedBy::Both),
            Hold::Volumes(hold) => hold.fmt(f),
            Hold::Claims { why } => f.write_str(why),
            Hold::UnknownReference { from, namespace } => {
                write!(f, "delay reference {from:?} is no node, and no workload or pod of namespace {namespace:?}")
            }
            Hold::SelfReference { from } => write!(f, "delay reference {from:?} is the pod itself"),
            Hold::ReferenceNotPlaced { from } => write!(f, "delay reference {from:?} is not placed yet"),
            Hold::GroupUnplaceable { members } => {
                write!(f, "no placement meets every bound of the group that refers to each other: {}", members.join(", "))
            }
            Hold::TopologyWarmingUp { heard, expected } => {
                write!(f, "the topology is warming up: {heard} of {expected} nodes have reported")
            }
            Hold::NoNodes => f.write_str("no nodes available to schedule pods"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(resource: &str, requested: i64, used: i64, allocatable: i64, expected: &str) {
        let reason = Reason::Insufficient { resource: resource.to_owned(), requested, used, allocatable };
        assert_eq!(reason.detail(), expected);
    }

    #[test]
    fn amounts_are_told_as_people_write_them() {
        check("cpu", 2000, 250, 1000, "Insufficient cpu: requests 2, 750m of 1 free");
        check("memory", 64 << 30, 0, (8 << 30) + (512 << 20), "Insufficient memory: requests 64Gi, 8.5Gi of 8.5Gi free");
        check("ephemeral-storage", 3 << 20, 100, 2048, "Insufficient ephemeral-storage: requests 3Mi, 1.9Ki of 2Ki free");
        check("nvidia.com/gpu", 2, 1, 2, "Insufficient nvidia.com/gpu: requests 2, 1 of 2 free");
    }
}
