//! PodTopologySpread score: fewer matching pods in the node's domains are better (kube-scheduler 1.37).
//!
//! For every soft constraint `pods * ln(domains + 2) + maxSkew - 1`, summed and rounded; domains are those among the feasible nodes. A hostname is not looked
//! up as a domain: each node counts its own pods, and there are as many domains as feasible nodes. A node that lacks a key gets 0.

use super::MAX_SCORE;
use crate::cluster::{Pod, Snapshot, SpreadConstraint};
use crate::filter::Domains;
use crate::filter::pod_topology_spread::{Inclusion, pods_by_domain, pods_by_node};

const HOSTNAME: &str = "kubernetes.io/hostname";

struct Constraint {
    domains: Domains,
    hostname: bool,
    /// By domain; by node for the hostname.
    pods: Vec<i64>,
    max_skew: i64,
}

/// A pod's soft constraints with the pods counted.
pub struct SpreadPreference {
    constraints: Vec<Constraint>,
    /// A node that lacks a key is not scored.
    strict: bool,
}

/// What scores are normalised by: from all feasible nodes.
pub struct SpreadScale {
    /// ln(domains + 2) for every constraint.
    weights: Vec<f64>,
    min: i64,
    max: i64,
}

impl SpreadPreference {
    /// `None`: there is no soft constraint. Each constraint comes with the domains of its key. `strict`: nodes must have every one.
    pub fn new(
        snapshot: &Snapshot,
        pod: &Pod,
        constraints: &[(&SpreadConstraint, Domains)],
        strict: bool,
        inclusion: &Inclusion<'_>,
    ) -> Option<SpreadPreference> {
        let soft = || constraints.iter().filter(|(constraint, _)| !constraint.hard);
        soft().next()?;
        let required: Vec<&Domains> = soft().map(|(_, domains)| domains).filter(|_| strict).collect();
        let counted = soft().map(|(constraint, own)| {
            let hostname = constraint.topology_key == HOSTNAME;
            let pods = if hostname {
                pods_by_node(snapshot, pod, constraint).into_iter().map(i64::from).collect()
            } else {
                let by_domain = pods_by_domain(snapshot, pod, constraint, own, &required, inclusion);
                by_domain.into_iter().map(Option::unwrap_or_default).collect()
            };
            Constraint { domains: own.clone(), hostname, pods, max_skew: i64::from(constraint.max_skew) }
        });
        let constraints = counted.collect();
        Some(SpreadPreference { constraints, strict })
    }

    pub fn scale(&self, feasible: &[u32]) -> SpreadScale {
        let scored = || feasible.iter().map(|&node| node as usize).filter(|&node| !self.ignored(node));
        let weight = |constraint: &Constraint| {
            let domains = if constraint.hostname {
                scored().count()
            } else {
                let mut seen = constraint.domains.table(false);
                scored().filter(|&node| !std::mem::replace(&mut seen[constraint.domains.of_any(node)], true)).count()
            };
            ((domains + 2) as f64).ln()
        };
        let weights: Vec<f64> = self.constraints.iter().map(weight).collect();
        let (mut min, mut max) = (i64::MAX, 0);
        for node in scored() {
            let raw = self.sum(&weights, node);
            (min, max) = (min.min(raw), max.max(raw));
        }
        SpreadScale { weights, min, max }
    }

    /// What is normalised: the rounded sum, 0 for a node that is not scored.
    pub fn raw(&self, scale: &SpreadScale, node: usize) -> i64 {
        if self.ignored(node) { 0 } else { self.sum(&scale.weights, node) }
    }

    /// 0 to 100.
    pub fn score(&self, scale: &SpreadScale, node: usize) -> i64 {
        if self.ignored(node) {
            return 0;
        }
        if scale.max == 0 {
            return MAX_SCORE;
        }
        MAX_SCORE * (scale.max + scale.min - self.sum(&scale.weights, node)) / scale.max
    }

    #[inline]
    fn ignored(&self, node: usize) -> bool {
        self.strict && self.constraints.iter().any(|constraint| constraint.domains.of(node).is_none())
    }

    #[inline]
    fn sum(&self, weights: &[f64], node: usize) -> i64 {
        let labelled = self.constraints.iter().zip(weights).filter(|(constraint, _)| constraint.domains.of(node).is_some());
        let scores = labelled.map(|(constraint, weight)| {
            let pods = constraint.pods[if constraint.hostname { node } else { constraint.domains.of_any(node) }];
            pods as f64 * weight + (constraint.max_skew - 1) as f64
        });
        scores.sum::<f64>().round() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Cluster;
    use crate::filter::testing::{check_scores, labels, pod, selector, stand, world};

    const NAME: &str = "PodTopologySpread";

    fn web(spread: &[(i32, &str)]) -> Pod {
        let constraint = |(max_skew, key): &(i32, &str)| SpreadConstraint {
            max_skew: *max_skew,
            topology_key: (*key).to_owned(),
            hard: false,
            selector: Some(selector("web")),
            ..SpreadConstraint::default()
        };
        Pod { spread: spread.iter().map(constraint).collect(), ..pod("new", "web") }
    }

    /// Two pods on a, one on x.
    fn uneven() -> Cluster {
        let mut cluster = world();
        stand(&mut cluster, "web", &["a", "a", "x"]);
        cluster
    }

    #[test]
    fn emptier_domains_score_higher() {
        // Raw: 2 ln 4 = 2.77 and ln 4 = 1.39, so 3 and 1.
        check_scores(&uneven(), &web(&[(1, "zone")]), NAME, &[33, 33, 0, 100, 100]);
        // 2.77 + 2 and 1.39 + 2: 5 and 3.
        check_scores(&uneven(), &web(&[(3, "zone")]), NAME, &[60, 60, 0, 100, 100]);
        // 4 nodes have the label: 2 ln 6 = 3.58, ln 6 = 1.79, so 4, 0, 2, 0.
        check_scores(&uneven(), &web(&[(1, "kubernetes.io/hostname")]), NAME, &[0, 100, 0, 50, 100]);
        // Both: 6.36, 2.77, 3.18, 1.39, so 6, 3, 3, 1.
        check_scores(&uneven(), &web(&[(1, "zone"), (1, "kubernetes.io/hostname")]), NAME, &[16, 66, 0, 66, 100]);
    }

    #[test]
    fn without_a_pod_to_count_all_that_are_scored_are_best() {
        check_scores(&world(), &web(&[(1, "zone")]), NAME, &[100, 100, 0, 100, 100]);
        check_scores(&world(), &web(&[(1, "none")]), NAME, &[0, 0, 0, 0, 0]);
    }

    #[test]
    fn pods_of_a_service_are_spread_over_nodes_and_zones_by_default() {
        let mut cluster = uneven();
        check_scores(&cluster, &web(&[]), NAME, &[]);
        cluster.apply_service("shop", "web", Some(selector("web")));
        // Five nodes: ln 7 = 1.95; zones 1, 2 and none: ln 5 = 1.61. a: 2 * 1.95 + 2 + 2 * 1.61 + 4 = 13.1; b: 2 + 3.22 + 4 = 9.2;
        // x: 1.95 + 2 + 1.61 + 4 = 9.6; y: 2 + 1.61 + 4 = 7.6; bare has neither label: 0. Rounded 13, 9, 10, 8, 0.
        check_scores(&cluster, &web(&[]), NAME, &[0, 30, 100, 23, 38]);
        check_scores(&cluster, &Pod { labels: labels(&[("app", "api")]), ..web(&[]) }, NAME, &[]);
    }
}
