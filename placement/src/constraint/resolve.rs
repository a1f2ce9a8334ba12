//! From the name in a bound to the nodes it is measured from.

use super::{DelayBound, Missing, Reference, ReplicaRule};
use crate::cluster::{NodeIx, PodKey, Workload, WorkloadKind};
use crate::plan::Hold;
use crate::topology::RttStore;
use crate::units::{Micros, Span, Timestamp};
use smallvec::SmallVec;

/// Where a referenced pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Position {
    On(NodeIx),
    /// Not bound or assumed yet.
    Pending,
}

/// What resolving needs of the cluster. Pods that have ended are in none of the answers.
pub trait ReferenceIndex {
    /// A node by its exact name. Names known only from topology rows that are still valid count: a pod can be placed near where a dead node was.
    fn node(&self, name: &str) -> Option<NodeIx>;
    /// Pods of a workload of the namespace, of any kind when `kind` is `None`.
    fn workload_pods<'a>(
        &'a self,
        namespace: &'a str,
        kind: Option<WorkloadKind>,
        name: &'a str,
    ) -> impl Iterator<Item = (&'a PodKey, Position)> + 'a;
    fn pod<'a>(&'a self, namespace: &str, name: &str) -> Option<(&'a PodKey, Position)>;
}

/// The pod whose bounds are resolved.
#[derive(Clone, Copy, Debug)]
pub struct Referrer<'a> {
    pub pod: &'a PodKey,
    pub owner: Option<&'a Workload>,
    /// Pods that are placed together with this one ([`super::mutual_groups`]): while one of them is pending, bounds to it are left for later.
    pub group: &'a [PodKey],
}

/// A bound with the nodes it is measured from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedBound<'a> {
    pub bound: &'a DelayBound,
    /// Sorted, without repeats, never empty.
    pub targets: SmallVec<[NodeIx; 4]>,
    /// The reference is a workload or pod that stands on the targets, not a node.
    pub via: bool,
}

/// Whether one node meets one bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundVerdict {
    /// `rtt` is what was compared, and to which target; `None` when an unmeasured pair was allowed.
    Met(Option<(Micros, NodeIx)>),
    Above {
        rtt: Micros,
        target: NodeIx,
    },
    Unmeasured {
        target: NodeIx,
    },
}

/// Resolves every bound of a pod: a node name first, then a workload, then a pod of the namespace, by exact name. The first bound that
/// can't be resolved holds the pod. With `replicas: all` every replica has to be placed first, otherwise one is enough.
pub fn resolve<'a, I: ReferenceIndex>(
    bounds: &'a [DelayBound],
    namespace: &'a str,
    referrer: Referrer<'_>,
    index: &'a I,
) -> Result<SmallVec<[ResolvedBound<'a>; 2]>, Hold> {
    let mut resolved = SmallVec::new();
    for bound in bounds {
        if let Some(bound) = resolve_one(bound, namespace, referrer, index)? {
            resolved.push(bound);
        }
    }
    Ok(resolved)
}

/// `None`: only pods of the group stand behind the reference, and none has a node yet.
fn resolve_one<'a, I: ReferenceIndex>(
    bound: &'a DelayBound,
    namespace: &'a str,
    referrer: Referrer<'_>,
    index: &'a I,
) -> Result<Option<ResolvedBound<'a>>, Hold> {
    let from = || bound.from.to_string();
    let pods = match find(&bound.from, namespace, index) {
        Found::Node(node) => return Ok(Some(ResolvedBound { bound, targets: SmallVec::from_slice(&[node]), via: false })),
        Found::Nothing if names(&bound.from, referrer.owner) => return Err(Hold::SelfReference { from: from() }),
        Found::Nothing => return Err(Hold::UnknownReference { from: from(), namespace: namespace.to_owned() }),
        Found::Pods(pods) => pods,
    };
    let mut others = pods.iter().filter(|(pod, _)| *pod != referrer.pod).peekable();
    if others.peek().is_none() {
        return Err(Hold::SelfReference { from: from() });
    }
    let (mut targets, mut grouped, mut pending) = (SmallVec::<[NodeIx; 4]>::new(), false, false);
    for &(pod, position) in others {
        match position {
            Position::On(node) => targets.push(node),
            Position::Pending if referrer.group.contains(pod) => grouped = true,
            Position::Pending => pending = true,
        }
    }
    targets.sort_unstable();
    targets.dedup();
    match bound.replicas {
        ReplicaRule::All if pending => Err(Hold::ReferenceNotPlaced { from: from() }),
        _ if !targets.is_empty() => Ok(Some(ResolvedBound { bound, targets, via: true })),
        _ if grouped => Ok(None),
        _ => Err(Hold::ReferenceNotPlaced { from: from() }),
    }
}

/// What stands behind a name.
pub(super) enum Found<'a> {
    Node(NodeIx),
    Pods(SmallVec<[(&'a PodKey, Position); 4]>),
    Nothing,
}

pub(super) fn find<'a, I: ReferenceIndex>(reference: &'a Reference, namespace: &'a str, index: &'a I) -> Found<'a> {
    let node = |name| index.node(name).map(Found::Node);
    let pod = |name| index.pod(namespace, name).map(|pod| Found::Pods(SmallVec::from_iter([pod])));
    let workload = |kind, name| {
        let pods: SmallVec<_> = index.workload_pods(namespace, kind, name).collect();
        (!pods.is_empty()).then_some(Found::Pods(pods))
    };
    let found = match reference {
        Reference::Node(name) => node(name),
        Reference::Pod(name) => pod(name),
        Reference::Workload(kind, name) => workload(Some(*kind), name),
        Reference::Name(name) => node(name).or_else(|| workload(None, name)).or_else(|| pod(name)),
    };
    found.unwrap_or(Found::Nothing)
}

/// The pods that a reference stands for, with their nodes. Empty for a node or nothing.
pub fn pods_behind<'a, I: ReferenceIndex>(
    reference: &'a Reference,
    namespace: &'a str,
    index: &'a I,
) -> SmallVec<[(&'a PodKey, Option<NodeIx>); 4]> {
    let Found::Pods(pods) = find(reference, namespace, index) else { return SmallVec::new() };
    let node = |position| match position {
        Position::On(node) => Some(node),
        Position::Pending => None,
    };
    pods.into_iter().map(|(pod, position)| (pod, node(position))).collect()
}

fn names(reference: &Reference, owner: Option<&Workload>) -> bool {
    let Some(owner) = owner else { return false };
    match reference {
        Reference::Name(name) => *name == owner.name,
        Reference::Workload(kind, name) => *name == owner.name && *kind == owner.kind,
        Reference::Node(_) | Reference::Pod(_) => false,
    }
}

impl ResolvedBound<'_> {
    /// Holds the bound against one node: of several targets the nearest, with `replicas: all` the farthest. Pairs older than `max_age` are unmeasured.
    pub fn judge(&self, rtts: &RttStore, node: NodeIx, now: Timestamp, max_age: Span) -> BoundVerdict {
        let (mut nearest, mut farthest, mut unmeasured) = (None, None, None);
        for &target in &self.targets {
            match rtts.get(target, node).and_then(|stat| stat.admissible(self.bound.statistic, now, max_age)) {
                Some(rtt) => {
                    nearest = Some(nearest.map_or((rtt, target), |best: (Micros, NodeIx)| best.min((rtt, target))));
                    farthest = Some(farthest.map_or((rtt, target), |worst: (Micros, NodeIx)| worst.max((rtt, target))));
                }
                None => unmeasured = unmeasured.or(Some(target)),
            }
        }
        let above = |(rtt, target)| BoundVerdict::Above { rtt, target };
        let denied = unmeasured.filter(|_| self.bound.missing == Missing::Deny);
        match self.bound.replicas {
            ReplicaRule::Any => match (nearest, denied) {
                (Some(best), _) if best.0 <= self.bound.max => BoundVerdict::Met(Some(best)),
                (_, None) if unmeasured.is_some() => BoundVerdict::Met(None),
                (Some(best), _) => above(best),
                (None, Some(target)) => BoundVerdict::Unmeasured { target },
                (None, None) => BoundVerdict::Met(None),
            },
            ReplicaRule::All => match (farthest, denied) {
                (Some(worst), _) if worst.0 > self.bound.max => above(worst),
                (_, Some(target)) => BoundVerdict::Unmeasured { target },
                (worst, None) => BoundVerdict::Met(worst),
            },
        }
    }
}

#[cfg(test)]
mod tests;
