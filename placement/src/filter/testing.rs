//! A small cluster for tests of rules about where other pods are.

use crate::cluster::{Cluster, LabelSelector, Labels, Node, Pod, PodKey, PodTerm, Resources, Settings, Undelayed};
use crate::plan::{Planner, Verdict, VerdictCode, Warmth};
use crate::units::Timestamp;

pub fn labels(of: &[(&str, &str)]) -> Labels {
    of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub fn selector(app: &str) -> LabelSelector {
    LabelSelector::of_labels(&labels(&[("app", app)]))
}

/// Pods `app=<app>` of namespace `shop` in the domains of `key`.
pub fn term(app: &str, key: &str) -> PodTerm {
    PodTerm { selector: Some(selector(app)), namespaces: vec!["shop".into()], namespace_selector: None, topology_key: key.into() }
}

/// Nodes a and b of zone 1, x and y of zone 2, each with its hostname, and `bare` without a label.
pub fn world() -> Cluster {
    let mut cluster = Cluster::new(Settings { undelayed: Undelayed::Any, ..Settings::default() });
    for (name, zone) in [("a", "1"), ("b", "1"), ("x", "2"), ("y", "2")] {
        cluster.apply_node(node(name, &[("zone", zone), ("topology.kubernetes.io/zone", zone), ("kubernetes.io/hostname", name)]));
    }
    cluster.apply_node(node("bare", &[]));
    cluster
}

pub fn node(name: &str, of: &[(&str, &str)]) -> Node {
    Node { name: name.into(), labels: labels(of), allocatable: Resources { pods: 110, ..Resources::default() }, ..Node::default() }
}

/// A pod `app=<app>` of namespace `shop`.
pub fn pod(name: &str, app: &str) -> Pod {
    Pod { key: PodKey::new("shop", name), uid: name.into(), labels: labels(&[("app", app)]), ..Pod::default() }
}

/// Puts pods `app=<app>` on nodes.
pub fn stand(cluster: &mut Cluster, app: &str, nodes: &[&str]) {
    for (i, node) in nodes.iter().enumerate() {
        cluster.apply_pod(Pod { node_name: Some((*node).to_owned()), ..pod(&format!("{app}-{i}"), app) });
    }
}

/// Checks which nodes take the pod, and of the others reason and code, in the order of names: a, b, bare, x, y.
pub fn check_fits(cluster: &Cluster, pod: &Pod, fits: &str, rejected: &[(&str, &str, VerdictCode)]) {
    let decision = Planner::new().place(cluster.view(), pod, Timestamp(0), Warmth::Warm);
    let (mut took, mut others) = (Vec::new(), Vec::new());
    for node in &decision.nodes {
        match &node.verdict {
            Verdict::Feasible { .. } => took.push(node.node.clone()),
            Verdict::Rejected(reasons) => others.push((node.node.clone(), reasons[0].to_string(), reasons[0].code())),
        }
    }
    assert_eq!(took.join(" "), fits, "{others:?}");
    for (node, text, code) in rejected {
        assert!(others.contains(&((*node).to_owned(), (*text).to_owned(), *code)), "{node}: {text} is not among {others:?}");
    }
}

/// Checks one plugin's scores of the nodes that take the pod, in the order of names; empty where it is skipped.
pub fn check_scores(cluster: &Cluster, pod: &Pod, plugin: &str, expected: &[i64]) {
    let decision = Planner::new().place(cluster.view(), pod, Timestamp(0), Warmth::Warm);
    let scores: Vec<i64> = decision
        .nodes
        .iter()
        .filter_map(|node| match &node.verdict {
            Verdict::Feasible { scores, .. } => Some(scores.iter().find(|line| line.name == plugin)?.score),
            Verdict::Rejected(_) => None,
        })
        .collect();
    assert_eq!(scores, expected, "{plugin}");
}
