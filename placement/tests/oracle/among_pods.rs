//! Spreading and affinity between pods, read plainly.

use super::rules::World;
use placement::cluster::*;
use placement::plan::VerdictCode;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::{BTreeMap, BTreeSet};

const HOSTNAME: &str = "kubernetes.io/hostname";

type Scores<'a> = BTreeMap<&'a str, i64>;

impl World {
    /// Pods on nodes that are there, with their nodes.
    fn placed<'a>(&'a self, except: &'a Pod) -> impl Iterator<Item = (&'a Pod, &'a Node)> {
        let standing = self.pods.values().filter(|pod| pod.holds_capacity() && pod.key != except.key);
        standing.filter_map(|pod| Some((pod, self.nodes.get(pod.node_name.as_ref()?)?)))
    }

    fn constraints(&self, pod: &Pod) -> (Vec<SpreadConstraint>, bool) {
        if !pod.spread.is_empty() {
            return (pod.spread.clone(), true);
        }
        let selects = |selector: &&Labels| selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value));
        let all: Labels = self.services.values().filter(selects).flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
        let constraint = |max_skew, key: &str| SpreadConstraint {
            max_skew,
            topology_key: key.into(),
            hard: false,
            selector: Some(LabelSelector::of_labels(&all)),
            ..SpreadConstraint::default()
        };
        let defaults = vec![constraint(3, HOSTNAME), constraint(5, "topology.kubernetes.io/zone")];
        (if all.is_empty() { vec![] } else { defaults }, false)
    }

    fn included(pod: &Pod, constraint: &SpreadConstraint, node: &Node) -> bool {
        let selected = pod.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value));
        let required = pod.affinity.required.as_ref().is_none_or(|terms| terms.iter().any(|term| World::term_holds(node, term)));
        let control_plane = "node-role.kubernetes.io/control-plane";
        let has_taint = node.taints.iter().any(|taint| taint.key == control_plane && taint.effect != TaintEffect::PreferNoSchedule);
        let implied = node.labels.contains_key(control_plane) && !has_taint;
        let keeps_away =
            |taint: &Taint| taint.effect != TaintEffect::PreferNoSchedule && !World::tolerated(pod, &taint.key, &taint.value, taint.effect);
        let tainted = node.taints.iter().any(keeps_away) || implied && !World::tolerated(pod, control_plane, "", TaintEffect::NoSchedule);
        (!constraint.honour_affinity || selected && required) && (!constraint.honour_taints || !tainted)
    }

    fn spread_counts(&self, pod: &Pod, constraint: &SpreadConstraint, on: impl Fn(&Node) -> bool) -> i64 {
        let counts = |other: &Pod| {
            let selector = constraint.selector.as_ref().filter(|selector| !selector.is_empty());
            !other.terminating && selector.is_some_and(|selector| selector.matches(&other.labels))
        };
        self.placed(pod).filter(|(other, node)| counts(other) && on(node)).count() as i64
    }

    /// The first rule about other pods that the node breaks.
    pub fn among_pods(&self, pod: &Pod, node: &Node) -> Option<(String, VerdictCode)> {
        use VerdictCode::{Unresolvable, Unschedulable};
        let (constraints, _) = self.constraints(pod);
        let hard: Vec<&SpreadConstraint> = constraints.iter().filter(|constraint| constraint.hard).collect();
        for constraint in &hard {
            let text = "node(s) didn't match pod topology spread constraints";
            let Some(value) = node.labels.get(&constraint.topology_key) else {
                return Some((format!("{text} (missing required label)"), Unresolvable));
            };
            let eligible = |node: &Node| {
                hard.iter().all(|other| node.labels.contains_key(&other.topology_key)) && Self::included(pod, constraint, node)
            };
            let domains: BTreeSet<&String> =
                self.nodes.values().filter(|node| eligible(node)).map(|node| &node.labels[&constraint.topology_key]).collect();
            let count = |value: &String| {
                self.spread_counts(pod, constraint, |node| eligible(node) && node.labels[&constraint.topology_key] == *value)
            };
            let least = domains.iter().map(|domain| count(domain)).min().unwrap_or(0);
            let least = if (domains.len() as i32) < constraint.min_domains { 0 } else { least };
            let own = i64::from(constraint.selector.as_ref().is_some_and(|selector| selector.matches(&pod.labels)));
            if count(value) + own - least > i64::from(constraint.max_skew) {
                return Some((text.to_owned(), Unschedulable));
            }
        }
        let same = |term: &PodTerm, other: &Node| {
            let value = node.labels.get(&term.topology_key);
            value.is_some() && value == other.labels.get(&term.topology_key)
        };
        let near = &pod.pod_affinity.required;
        let all_mean = |other: &Pod| near.iter().all(|term| term.matches(other, None));
        let found = |term: &PodTerm| self.placed(pod).any(|(other, at)| all_mean(other) && same(term, at));
        let anywhere = self.placed(pod).any(|(other, at)| all_mean(other) && near.iter().any(|t| at.labels.contains_key(&t.topology_key)));
        let first = !anywhere && all_mean(pod) && near.iter().all(|term| node.labels.contains_key(&term.topology_key));
        if !near.iter().all(found) && !first {
            return Some(("node(s) didn't match pod affinity rules".to_owned(), Unresolvable));
        }
        let away = &pod.pod_anti_affinity.required;
        if away.iter().any(|term| self.placed(pod).any(|(other, at)| term.matches(other, None) && same(term, at))) {
            return Some(("node(s) didn't match pod anti-affinity rules".to_owned(), Unschedulable));
        }
        let mut others = self.placed(pod);
        if others.any(|(other, at)| other.pod_anti_affinity.required.iter().any(|term| term.matches(pod, None) && same(term, at))) {
            return Some(("node(s) didn't satisfy existing pods anti-affinity rules".to_owned(), Unschedulable));
        }
        None
    }

    /// Normalised; 0 for every node where the score is skipped.
    pub fn spread_scores<'a>(&self, pod: &Pod, feasible: &[&'a Node]) -> Scores<'a> {
        let (constraints, strict) = self.constraints(pod);
        let soft: Vec<&SpreadConstraint> = constraints.iter().filter(|constraint| !constraint.hard).collect();
        if soft.is_empty() {
            return feasible.iter().map(|node| (node.name.as_str(), 0)).collect();
        }
        let value = |node: &Node, key: &str| node.labels.get(key).cloned().unwrap_or_default();
        let has_all = |node: &Node| !strict || soft.iter().all(|constraint| node.labels.contains_key(&constraint.topology_key));
        let scored: Vec<&&Node> = feasible.iter().filter(|node| has_all(node)).collect();
        let raw = |node: &Node| {
            let mut sum = 0.0;
            for constraint in soft.iter().filter(|constraint| node.labels.contains_key(&constraint.topology_key)) {
                let key = constraint.topology_key.as_str();
                let (pods, domains) = if key == HOSTNAME {
                    (self.spread_counts(pod, constraint, |other| other.name == node.name), scored.len())
                } else {
                    let counted = |other: &Node| has_all(other) && Self::included(pod, constraint, other);
                    let pods = self.spread_counts(pod, constraint, |other| counted(other) && value(other, key) == value(node, key));
                    (pods, scored.iter().map(|node| value(node, key)).collect::<BTreeSet<_>>().len())
                };
                sum += pods as f64 * ((domains + 2) as f64).ln() + f64::from(constraint.max_skew - 1);
            }
            sum.round() as i64
        };
        let raws: Vec<i64> = scored.iter().map(|node| raw(node)).collect();
        let (least, most) = (raws.iter().min().copied().unwrap_or(0), raws.iter().max().copied().unwrap_or(0));
        let score = |node: &Node| match (has_all(node), most) {
            (false, _) => 0,
            (true, 0) => 100,
            (true, most) => 100 * (most + least - raw(node)) / most,
        };
        feasible.iter().map(|node| (node.name.as_str(), score(node))).collect()
    }

    /// Normalised; 0 for every node where the score is skipped.
    pub fn pod_scores<'a>(&self, pod: &Pod, feasible: &[&'a Node]) -> Scores<'a> {
        let raw = |node: &Node| {
            let mut sum = 0i64;
            for (other, at) in self.placed(pod) {
                let mut add = |term: &PodTerm, whom: &Pod, weight: i32| {
                    let value = node.labels.get(&term.topology_key);
                    if value.is_some() && value == at.labels.get(&term.topology_key) && term.matches(whom, None) {
                        sum += i64::from(weight);
                    }
                };
                pod.pod_affinity.preferred.iter().for_each(|(weight, term)| add(term, other, *weight));
                pod.pod_anti_affinity.preferred.iter().for_each(|(weight, term)| add(term, other, -*weight));
                other.pod_affinity.required.iter().for_each(|term| add(term, pod, 1));
                other.pod_affinity.preferred.iter().for_each(|(weight, term)| add(term, pod, *weight));
                other.pod_anti_affinity.preferred.iter().for_each(|(weight, term)| add(term, pod, -*weight));
            }
            sum
        };
        let raws: Vec<i64> = feasible.iter().map(|node| raw(node)).collect();
        let (least, most) = (raws.iter().min().copied().unwrap_or(0), raws.iter().max().copied().unwrap_or(0));
        let score = |node: &Node| if most == least { 0 } else { (100.0 * ((raw(node) - least) as f64 / (most - least) as f64)) as i64 };
        feasible.iter().map(|node| (node.name.as_str(), score(node))).collect()
    }
}

/// What a pod says of itself and of others.
#[derive(Clone, Debug)]
pub struct Wishes {
    pub labels: Labels,
    pub towards: PodAffinity,
    pub away: PodAffinity,
    pub spread: Vec<SpreadConstraint>,
}

pub fn labels() -> impl Strategy<Value = Labels> {
    let value = || proptest::option::weighted(0.7, select(&["a", "b"][..]));
    (value(), value()).prop_map(|(app, tier)| {
        let labels = [("app", app), ("tier", tier)];
        labels.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))).collect()
    })
}

fn selector() -> impl Strategy<Value = Option<LabelSelector>> {
    proptest::option::weighted(0.95, labels().prop_map(|labels| LabelSelector::of_labels(&labels)))
}

fn term() -> impl Strategy<Value = PodTerm> {
    let elsewhere = proptest::bool::weighted(0.05);
    (selector(), elsewhere, select(&["zone", HOSTNAME][..])).prop_map(|(selector, elsewhere, key)| PodTerm {
        selector,
        namespaces: vec![if elsewhere { "other" } else { "default" }.to_owned()],
        namespace_selector: None,
        topology_key: key.to_owned(),
    })
}

fn affinity() -> impl Strategy<Value = PodAffinity> {
    let terms = prop_oneof![6 => Just(0usize), 2 => Just(1), 1 => Just(2)];
    let required = terms.clone().prop_flat_map(|n| proptest::collection::vec(term(), n));
    let preferred = terms.prop_flat_map(|n| proptest::collection::vec((1..=100i32, term()), n));
    (required, preferred).prop_map(|(required, preferred)| PodAffinity { required, preferred })
}

fn constraint() -> impl Strategy<Value = SpreadConstraint> {
    let flags = (proptest::bool::ANY, proptest::bool::weighted(0.7), proptest::bool::ANY);
    (1..=2i32, select(&["zone", "disk", HOSTNAME][..]), selector(), 1..=3i32, flags).prop_map(
        |(max_skew, key, selector, min_domains, (hard, honour_affinity, honour_taints))| SpreadConstraint {
            max_skew,
            topology_key: key.to_owned(),
            hard,
            selector,
            min_domains,
            honour_affinity,
            honour_taints,
        },
    )
}

pub fn wishes() -> impl Strategy<Value = Wishes> {
    let spread = prop_oneof![3 => Just(0usize), 1 => Just(1), 1 => Just(2)].prop_flat_map(|n| proptest::collection::vec(constraint(), n));
    (labels(), affinity(), affinity(), spread).prop_map(|(labels, towards, away, spread)| Wishes { labels, towards, away, spread })
}
