//! PodTopologySpread: with the pod, no domain may hold more than `maxSkew` matching pods above the emptiest (kube-scheduler 1.37, plugin
//! PodTopologySpread; unschedulable, unresolvable where the node lacks the label).
//!
//! Nodes count that have every topology key of the pod's hard constraints and that the constraint's policies include; pods count that are not being
//! deleted. An empty selector counts no pod, and yet matches the pod itself. kube-scheduler asks for neither when it brings a nominated pod to a node or
//! takes a pod to be evicted from it: then pods count that are being deleted, or that an empty selector matches.

use super::Domains;
use crate::cluster::{Moved, Namespaces, Pod, PodQuery, Snapshot, SpreadConstraint, SpreadDefaults};
use crate::plan::Reason;
use fixedbitset::FixedBitSet;
use std::borrow::Cow;

/// The constraints that hold for a pod, and whether they are its own or a list of the operator's: then nodes that lack a key are not scored.
pub fn constraints<'a>(snapshot: &Snapshot, pod: &'a Pod) -> (Cow<'a, [SpreadConstraint]>, bool) {
    let defaults = &snapshot.profile(pod).spread_defaults;
    if !pod.spread.is_empty() {
        return (Cow::Borrowed(&pod.spread), true);
    }
    let strict = *defaults != SpreadDefaults::System;
    let Some(selector) = snapshot.default_selector(pod) else { return (Cow::Borrowed(&[]), strict) };
    (Cow::Owned(defaults.constraints(&selector)), strict)
}

/// Which nodes a constraint counts.
pub struct Inclusion<'a> {
    /// Nodes with a node object.
    pub present: &'a FixedBitSet,
    /// Nodes that the pod's node selector and required affinity match; `None`: all.
    pub affinity: Option<&'a FixedBitSet>,
    /// Whether the pod tolerates the node's taints.
    pub tolerated: &'a dyn Fn(usize) -> bool,
}

impl Inclusion<'_> {
    fn includes(&self, constraint: &SpreadConstraint, node: usize) -> bool {
        let affinity = !constraint.honour_affinity || self.affinity.is_none_or(|mask| mask.contains(node));
        affinity && (!constraint.honour_taints || (self.tolerated)(node))
    }
}

/// Pods that a constraint counts, for every node.
pub fn pods_by_node(snapshot: &Snapshot, pod: &Pod, constraint: &SpreadConstraint) -> Vec<u32> {
    let mut counts = vec![0; snapshot.index_len()];
    let Some(selector) = constraint.selector.as_ref().filter(|selector| !selector.is_empty()) else { return counts };
    let namespaces = Namespaces::Named(vec![pod.key.namespace.clone()]);
    let query = PodQuery { namespaces, selector: selector.clone(), terminating: false };
    for (node, count) in snapshot.count_pods(&query).flat_map(|counts| counts.iter()) {
        counts[node.at()] += count;
    }
    counts
}

/// Pods in every domain of which a node is included; `None` in the others. `domains`: of every constraint that nodes must have the label of.
pub fn pods_by_domain(
    snapshot: &Snapshot,
    pod: &Pod,
    constraint: &SpreadConstraint,
    own: &Domains,
    required: &[&Domains],
    inclusion: &Inclusion<'_>,
) -> Vec<Option<i64>> {
    let by_node = pods_by_node(snapshot, pod, constraint);
    let mut counts = own.table(None);
    let has_all = |node: &usize| required.iter().all(|domains| domains.of(*node).is_some());
    for node in inclusion.present.ones().filter(has_all).filter(|&node| inclusion.includes(constraint, node)) {
        *counts[own.of_any(node)].get_or_insert(0) += i64::from(by_node[node]);
    }
    for Moved { node, pod: other, by } in snapshot.moved() {
        let Some(selector) = constraint.selector.as_ref().filter(|selector| selector.is_empty() || other.terminating) else { continue };
        let matches = other.key.namespace == pod.key.namespace && selector.matches(&other.labels);
        if matches && has_all(&node.at()) && inclusion.includes(constraint, node.at()) {
            *counts[own.of_any(node.at())].get_or_insert(0) += by;
        }
    }
    counts
}

struct Constraint {
    key: String,
    domains: Domains,
    counts: Vec<Option<i64>>,
    minimum: i64,
    /// 1 if the pod matches its own selector.
    own: i64,
    max_skew: i64,
}

/// A pod's hard constraints with the pods counted.
pub struct Spread(Vec<Constraint>);

impl Spread {
    /// `None`: there is none. Each constraint comes with the domains of its key.
    pub fn new(snapshot: &Snapshot, pod: &Pod, constraints: &[(&SpreadConstraint, Domains)], inclusion: &Inclusion<'_>) -> Option<Spread> {
        let hard = || constraints.iter().filter(|(constraint, _)| constraint.hard);
        let required: Vec<&Domains> = hard().map(|(_, domains)| domains).collect();
        if required.is_empty() {
            return None;
        }
        let judged = hard().map(|(constraint, own)| {
            let counts = pods_by_domain(snapshot, pod, constraint, own, &required, inclusion);
            let eligible = counts.iter().flatten().count() as i64;
            let emptiest = counts.iter().flatten().copied().min().unwrap_or(i64::from(i32::MAX));
            Constraint {
                key: constraint.topology_key.clone(),
                domains: own.clone(),
                counts,
                minimum: if eligible < i64::from(constraint.min_domains) { 0 } else { emptiest },
                own: i64::from(constraint.selector.as_ref().is_some_and(|selector| selector.matches(&pod.labels))),
                max_skew: i64::from(constraint.max_skew),
            }
        });
        Some(Spread(judged.collect()))
    }

    /// Of the first constraint that the node does not meet.
    pub fn check(&self, node: usize) -> Option<Reason> {
        self.0.iter().find_map(|constraint| {
            let Constraint { key, max_skew, .. } = constraint;
            match constraint.skew(node) {
                None => Some(Reason::SpreadLabel { key: key.clone() }),
                Some(skew) if skew > *max_skew => Some(Reason::SpreadSkew { key: key.clone(), skew, max_skew: *max_skew }),
                Some(_) => None,
            }
        })
    }

    /// Takes out of the mask the nodes that do not meet every constraint.
    pub fn restrict(&self, mask: &mut FixedBitSet) {
        for constraint in &self.0 {
            retain(mask, |node| constraint.skew(node).is_some_and(|skew| skew <= constraint.max_skew));
        }
    }
}

impl Constraint {
    /// With the pod on the node. `None`: the node lacks the label.
    #[inline]
    fn skew(&self, node: usize) -> Option<i64> {
        self.domains.of(node)?;
        let pods = self.counts[self.domains.of_any(node)].unwrap_or(0);
        Some(pods + self.own - self.minimum)
    }
}

/// Keeps the nodes of the mask that satisfy.
pub(super) fn retain(mask: &mut FixedBitSet, satisfies: impl Fn(usize) -> bool) {
    let bits = usize::BITS as usize;
    for (at, word) in mask.as_mut_slice().iter_mut().enumerate() {
        let mut left = *word;
        while left != 0 {
            let bit = left.trailing_zeros() as usize;
            left &= left - 1;
            if !satisfies(at * bits + bit) {
                *word &= !(1 << bit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Cluster, LabelSelector, PodKey, Profile, Settings, SpreadDefault, Taint, TaintEffect, WhenUnsatisfiable};
    use crate::filter::testing::{check_fits, labels, node, pod, selector, stand, world};
    use crate::plan::VerdictCode::{Unresolvable, Unschedulable};

    const TEXT: &str = "node(s) didn't match pod topology spread constraints";

    fn over(key: &str) -> SpreadConstraint {
        SpreadConstraint { topology_key: key.into(), selector: Some(selector("web")), ..SpreadConstraint::default() }
    }

    fn web(spread: &[SpreadConstraint]) -> Pod {
        Pod { spread: spread.to_vec(), ..pod("new", "web") }
    }

    /// Two pods in zone 1, one in zone 2.
    fn uneven() -> Cluster {
        let mut cluster = world();
        stand(&mut cluster, "web", &["a", "b", "x"]);
        cluster
    }

    #[test]
    fn no_domain_gets_too_far_above_the_emptiest() {
        let missing = "node(s) didn't match pod topology spread constraints (missing required label)";
        check_fits(&uneven(), &web(&[over("zone")]), "x y", &[("a", TEXT, Unschedulable), ("bare", missing, Unresolvable)]);
        check_fits(&uneven(), &web(&[SpreadConstraint { max_skew: 2, ..over("zone") }]), "a b x y", &[]);
        // One that does not count itself skews nothing.
        check_fits(&uneven(), &Pod { labels: labels(&[("app", "api")]), ..web(&[over("zone")]) }, "a b x y", &[]);
        check_fits(&uneven(), &web(&[over("kubernetes.io/hostname")]), "y", &[]);
        check_fits(&uneven(), &web(&[over("zone"), over("kubernetes.io/hostname")]), "y", &[]);
        check_fits(&uneven(), &web(&[SpreadConstraint { hard: false, ..over("zone") }]), "a b bare x y", &[]);
    }

    #[test]
    fn too_few_domains_count_as_an_empty_one() {
        let constraint = |min_domains| web(&[SpreadConstraint { min_domains, ..over("zone") }]);
        check_fits(&uneven(), &constraint(2), "x y", &[]);
        check_fits(&uneven(), &constraint(3), "", &[("x", TEXT, Unschedulable)]);
    }

    #[test]
    fn pods_count_that_stay_and_are_of_the_namespace() {
        let mut cluster = uneven();
        cluster.apply_pod(Pod { terminating: true, node_name: Some("a".into()), ..pod("web-0", "web") });
        check_fits(&cluster, &web(&[over("zone")]), "a b x y", &[]);
        let elsewhere = Pod { key: PodKey::new("other", "new"), ..web(&[over("zone")]) };
        check_fits(&uneven(), &elsewhere, "a b x y", &[]);
    }

    #[test]
    fn a_selector_of_all_counts_none_but_the_pod_itself() {
        let everything = |max_skew| web(&[SpreadConstraint { selector: Some(LabelSelector::default()), max_skew, ..over("zone") }]);
        check_fits(&uneven(), &everything(1), "a b x y", &[]);
        check_fits(&uneven(), &everything(0), "", &[("a", TEXT, Unschedulable)]);
        check_fits(&uneven(), &web(&[SpreadConstraint { selector: None, max_skew: 0, ..over("zone") }]), "a b x y", &[]);
    }

    #[test]
    fn a_selector_of_all_counts_who_is_nominated() {
        let mut cluster = world();
        cluster.apply_pod(Pod { nominated_node: Some("a".into()), ..pod("promised", "api") });
        let everything = web(&[SpreadConstraint { selector: Some(LabelSelector::default()), ..over("zone") }]);
        check_fits(&cluster, &everything, "b x y", &[("a", TEXT, Unschedulable)]);
        // One node after the other: who came to the first has left it again.
        cluster.apply_pod(Pod { nominated_node: Some("x".into()), ..pod("promised too", "api") });
        check_fits(&cluster, &everything, "b y", &[("a", TEXT, Unschedulable), ("x", TEXT, Unschedulable)]);
    }

    #[test]
    fn excluded_nodes_do_not_count() {
        let pinned = |honour_affinity| Pod {
            node_selector: labels(&[("zone", "1")]),
            ..web(&[SpreadConstraint { honour_affinity, ..over("zone") }])
        };
        check_fits(&uneven(), &pinned(true), "a b", &[]);
        check_fits(&uneven(), &pinned(false), "", &[("a", TEXT, Unschedulable)]);
        let mut cluster = uneven();
        for name in ["x", "y"] {
            let taints = vec![Taint { key: "gpu".into(), value: String::new(), effect: TaintEffect::NoSchedule }];
            cluster.apply_node(crate::cluster::Node { taints, ..node(name, &[("zone", "2")]) });
        }
        let tainted = |honour_taints| web(&[SpreadConstraint { honour_taints, ..over("zone") }]);
        check_fits(&cluster, &tainted(true), "a b", &[]);
        check_fits(&cluster, &tainted(false), "", &[("a", TEXT, Unschedulable)]);
    }

    #[test]
    fn the_operators_constraints_hold_for_pods_of_a_service_without_their_own() {
        let list = vec![SpreadDefault { max_skew: 1, topology_key: "zone".into(), when_unsatisfiable: WhenUnsatisfiable::DoNotSchedule }];
        let profile = Profile { spread_defaults: SpreadDefaults::List(list), ..Profile::new("") };
        let settings = Settings { profiles: profile.into(), ..uneven().view().settings().clone() };
        let mut cluster = Cluster::new(settings);
        uneven().view().nodes().for_each(|(_, node)| drop(cluster.apply_node((**node).clone())));
        stand(&mut cluster, "web", &["a", "b", "x"]);
        check_fits(&cluster, &web(&[]), "a b bare x y", &[]);
        cluster.apply_service("shop", "web", Some(selector("web")));
        check_fits(&cluster, &web(&[]), "x y", &[("a", TEXT, Unschedulable)]);
        check_fits(&cluster, &web(&[SpreadConstraint { hard: false, ..over("zone") }]), "a b bare x y", &[]);
    }
}
