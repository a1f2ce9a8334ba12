//! Filters: one file per rule. Each has a check of one node, which says why not, and most have a column form that answers for all nodes at once.
//!
//! Both forms of a rule share its predicate; a property test holds the planner's answers against a third, plain one.

pub mod cloud_role;
pub mod control_plane;
pub mod delay_bound;
mod domains;
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

use crate::cluster::{NodeIx, Pod, Snapshot};
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
}

/// Rules about where other pods are, made ready for one pod; `None` where it is subject to none.
#[derive(Clone, Copy, Default)]
pub struct AmongPods<'a> {
    pub spread: Option<&'a pod_topology_spread::Spread>,
    pub affinity: Option<&'a inter_pod_affinity::PodRules>,
}

/// Reasons of the first filter that rejects the node, in kube-scheduler's order, then ours. Empty: the pod fits. `ix` has a node object.
pub fn check(subject: &Subject<'_>, ix: NodeIx) -> Vec<Reason> {
    let Subject { snapshot, pod, .. } = *subject;
    let Some(node) = snapshot.node(ix) else { return vec![Reason::NoNode] };
    // What kube-scheduler does in PreFilter comes before every filter.
    if let Some(reason) = named::check(pod, node)
        .or_else(|| node_unschedulable::check(pod, node))
        .or_else(|| taint_toleration::check(&pod.tolerations, &node.taints))
        .or_else(|| node_affinity::check(pod, snapshot.settings().added_affinity.required.as_deref(), node))
        .or_else(|| node_ports::check(snapshot, pod, ix))
    {
        return vec![reason];
    }
    let insufficient = node_resources_fit::check(snapshot, pod, ix);
    if !insufficient.is_empty() {
        return insufficient;
    }
    let of_volumes = subject.volumes.map(|volumes| volumes.check(ix, node)).unwrap_or_default();
    if !of_volumes.is_empty() {
        return of_volumes;
    }
    let AmongPods { spread, affinity } = subject.among_pods;
    if let Some(reason) = spread.and_then(|spread| spread.check(ix.at())).or_else(|| affinity.and_then(|rules| rules.check(ix.at()))) {
        return vec![reason];
    }
    if let Some(reason) = node_declared_features::check(pod, node) {
        return vec![reason];
    }
    if let Some(reason) = subject.bounds.and_then(|bounds| delay_bound::check(snapshot, bounds, ix, subject.now)) {
        return vec![reason];
    }
    let slot = snapshot.slot(ix);
    let cloud = slot.is_some_and(|slot| slot.cloud);
    let implied = slot.and_then(|slot| slot.implied_taint.as_deref());
    cloud_role::check(snapshot, pod, cloud).or_else(|| control_plane::check(&pod.tolerations, implied)).into_iter().collect()
}
