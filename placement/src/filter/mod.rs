//! Filters: one file per rule. Each has a check of one node, which says why not, and most have a column form that answers for all nodes at once.
//!
//! Both forms of a rule share its predicate; a property test holds the planner's answers against a third, plain one.

pub mod cloud_role;
pub mod control_plane;
pub mod delay_bound;
mod domains;
pub mod dynamic_resources;
pub mod inter_pod_affinity;
pub mod named;
pub mod node_affinity;
pub mod node_declared_features;
pub mod node_ports;
pub mod node_resources_fit;
pub mod node_unschedulable;
pub mod node_volume_limits;
mod pod_claims;
pub mod pod_topology_spread;
pub mod taint_toleration;
#[cfg(test)]
pub(crate) mod testing;
pub mod volume_binding;
pub mod volume_restrictions;
pub mod volume_zone;
mod volumes;

pub use domains::Domains;
pub use pod_claims::VolumeHold;
pub use volumes::Volumes;

use crate::cluster::{Node, NodeIx, Plugin, Pod, Point, Snapshot};
use crate::constraint::ResolvedBound;
use crate::plan::Reason;
use crate::units::Timestamp;

/// What the filters need besides the node.
pub struct Subject<'a> {
    pub snapshot: &'a Snapshot,
    pub pod: &'a Pod,
    /// `None`: bounds are not looked at (the negative control).
    pub bounds: Option<&'a [ResolvedBound<'a>]>,
    pub now: Timestamp,
    pub among_pods: AmongPods<'a>,
    /// What the pod's volumes ask of nodes; `None`: nothing.
    pub volumes: Option<&'a Volumes<'a>>,
    /// The pod's claims; `None`: it has none.
    pub claims: Option<&'a dynamic_resources::Claims<'a>>,
}

/// Rules about where other pods are, made ready for one pod; `None` where it is subject to none.
#[derive(Clone, Copy, Default)]
pub struct AmongPods<'a> {
    pub spread: Option<&'a pod_topology_spread::Spread>,
    pub affinity: Option<&'a inter_pod_affinity::PodRules>,
}

/// Reasons of the first filter of the pod's profile that rejects the node. Empty: the pod fits. `ix` has a node object.
pub fn check(subject: &Subject<'_>, ix: NodeIx) -> Vec<Reason> {
    let Subject { snapshot, pod, .. } = *subject;
    let Some(node) = snapshot.node(ix) else { return vec![Reason::NoNode] };
    let profile = snapshot.profile(pod);
    // What kube-scheduler does in PreFilter comes before every filter.
    if let Some(reason) = named::check(pod, profile, node) {
        return vec![reason];
    }
    let rejecting = profile.plugins.at(Point::Filter).iter().map(|plugin| check_by(*plugin, subject, node, ix));
    rejecting.into_iter().find(|reasons| !reasons.is_empty()).unwrap_or_default()
}

/// What one filter says of the node.
fn check_by(plugin: Plugin, subject: &Subject<'_>, node: &Node, ix: NodeIx) -> Vec<Reason> {
    let Subject { snapshot, pod, bounds, now, among_pods, volumes, claims } = *subject;
    let slot = || snapshot.slot(ix);
    let reason = match plugin {
        Plugin::NodeName => named::check_name(pod, node),
        Plugin::NodeUnschedulable => node_unschedulable::check(pod, node),
        Plugin::TaintToleration => taint_toleration::check(&pod.tolerations, &node.taints),
        Plugin::NodeAffinity => node_affinity::check(pod, snapshot.profile(pod).added_affinity.required.as_deref(), node),
        Plugin::NodePorts => node_ports::check(snapshot, pod, ix),
        Plugin::NodeResourcesFit => return node_resources_fit::check(snapshot, pod, ix),
        Plugin::VolumeRestrictions | Plugin::NodeVolumeLimits | Plugin::VolumeBinding | Plugin::VolumeZone => {
            return volumes.map(|volumes| volumes.check(plugin, ix, node)).unwrap_or_default();
        }
        Plugin::PodTopologySpread => among_pods.spread.and_then(|spread| spread.check(ix.at())),
        Plugin::InterPodAffinity => among_pods.affinity.and_then(|rules| rules.check(ix.at())),
        Plugin::DynamicResources => claims.and_then(|claims| claims.check(node, ix)),
        Plugin::NodeDeclaredFeatures => node_declared_features::check(pod, node),
        Plugin::DelayBound => bounds.and_then(|bounds| delay_bound::check(snapshot, bounds, ix, now)),
        Plugin::CloudRole => cloud_role::check(snapshot, pod, slot().is_some_and(|slot| slot.cloud)),
        Plugin::ControlPlane => control_plane::check(&pod.tolerations, slot().and_then(|slot| slot.implied_taint.as_deref())),
        // What they look at is refused, or is no filter.
        _ => None,
    };
    reason.into_iter().collect()
}
