//! Which nodes may help a pod that was rejected, by coming or by changing: only one that would take the pod if it were empty, as the node's object
//! says (the queueing hints of kube-scheduler's NodeName, NodeUnschedulable, TaintToleration, NodeAffinity, NodeDeclaredFeatures and
//! NodeResourcesFit). Where a node matters for what it does to its domain, [`super::WakeOn`] listens to every node besides.

use super::Reason;
use crate::cluster::{Labels, Node, NodeSelectorTerm, Plugin, Pod, Resources, Snapshot, Toleration};
use crate::filter::{node_affinity, node_declared_features, node_resources_fit, node_unschedulable, taint_toleration};
use std::sync::Arc;

/// What the pod asks of a node's object, by the filters of its profile.
#[derive(Debug, PartialEq)]
pub struct NodeWait {
    /// Some node was rejected for its object: a change of one may help.
    changes: bool,
    name: Option<String>,
    /// Cordoned nodes may be used.
    cordoned: bool,
    /// `None`: taints are not looked at.
    tolerations: Option<Vec<Toleration>>,
    selector: Labels,
    required: Option<Vec<NodeSelectorTerm>>,
    /// What the profile requires of all nodes.
    added: Option<Vec<NodeSelectorTerm>>,
    features: Vec<String>,
    /// Without what the profile ignores; `None`: room is not looked at.
    requests: Option<Resources>,
}

impl NodeWait {
    pub fn new<'a>(snapshot: &Snapshot, pod: &Pod, mut reasons: impl Iterator<Item = &'a Reason>) -> Arc<NodeWait> {
        let profile = snapshot.profile(pod);
        let on = |plugin| profile.filters(plugin);
        let affinity = on(Plugin::NodeAffinity);
        let mut requests = pod.requests.clone();
        requests.extended.retain(|name, amount| *amount > 0 && !profile.fit.ignores(name));
        Arc::new(NodeWait {
            changes: reasons.any(is_of_the_node),
            name: pod.node_name.clone().filter(|_| on(Plugin::NodeName)),
            cordoned: !on(Plugin::NodeUnschedulable) || node_unschedulable::tolerated(&pod.tolerations),
            tolerations: on(Plugin::TaintToleration).then(|| pod.tolerations.clone()),
            selector: if affinity { pod.node_selector.clone() } else { Labels::new() },
            required: pod.affinity.required.clone().filter(|_| affinity),
            added: profile.added_affinity.required.clone().filter(|_| affinity),
            features: if on(Plugin::NodeDeclaredFeatures) { pod.required_features.clone() } else { Vec::new() },
            requests: on(Plugin::NodeResourcesFit).then_some(requests),
        })
    }

    /// Whether changes of nodes are listened to at all.
    pub fn hears_changes(&self) -> bool {
        self.changes
    }

    /// Whether a node that comes may help.
    pub fn added(&self, node: &Node) -> bool {
        self.name.as_ref().is_none_or(|name| *name == node.name)
            && (self.cordoned || !node.unschedulable)
            && self.tolerations.as_ref().is_none_or(|tolerations| taint_toleration::untolerated(tolerations, &node.taints).is_none())
            && self.added.as_ref().is_none_or(|terms| terms.iter().any(|term| node_affinity::term_matches(term, node)))
            && node_affinity::matches(&self.selector, self.required.as_deref(), node)
            && node_declared_features::declares(node, &self.features)
            && self.requests.as_ref().is_none_or(|requests| node_resources_fit::fits_empty(requests, &node.allocatable))
    }

    /// Whether a node helps by what it has become: it would not have taken the pod before, or has more of what the pod asks for.
    pub fn changed(&self, before: &Node, after: &Node) -> bool {
        let grew = || self.requests.as_ref().is_some_and(|requests| has_more(requests, &before.allocatable, &after.allocatable));
        self.changes && self.added(after) && (grew() || !self.added(before))
    }
}

/// Whether the reason lies in the node's object, so that a change of it may lift it.
fn is_of_the_node(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::NodeUnschedulable
            | Reason::UntoleratedTaint { .. }
            | Reason::NodeAffinity
            | Reason::AddedAffinity
            | Reason::NodeDeclaredFeatures
            | Reason::TooManyPods { .. }
            | Reason::Insufficient { .. }
    )
}

/// Of anything asked for; every pod asks for a place among the pods.
fn has_more(requests: &Resources, before: &Resources, after: &Resources) -> bool {
    let of = |resources: &Resources, name: &str| resources.extended.get(name).copied().unwrap_or(0);
    after.pods > before.pods
        || requests.cpu.0 > 0 && after.cpu > before.cpu
        || requests.memory.0 > 0 && after.memory > before.memory
        || requests.ephemeral_storage.0 > 0 && after.ephemeral_storage > before.ephemeral_storage
        || requests.extended.keys().any(|name| of(after, name) > of(before, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{
        Cluster, LabelSelector, Plugins, PodKey, Point, Profile, Profiles, Settings, SpreadConstraint, Taint, TaintEffect,
        TolerationOperator,
    };
    use crate::plan::{Decision, Planner, Warmth};
    use crate::units::{Bytes, MilliCpu, Timestamp};

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn taint(key: &str) -> Taint {
        Taint { key: key.into(), value: String::new(), effect: TaintEffect::NoSchedule }
    }

    /// Of 4 CPU and 10 pods, in zone `a`.
    fn node(name: &str) -> Node {
        let allocatable = Resources { cpu: MilliCpu(4000), memory: Bytes(8), pods: 10, ..Resources::default() };
        Node { name: name.into(), labels: labels(&[("zone", "a")]), allocatable, ..Node::default() }
    }

    /// Asks for 3 CPU in zone `a` and tolerates `edge`.
    fn pod() -> Pod {
        let toleration = Toleration { key: "edge".into(), operator: TolerationOperator::Exists, value: String::new(), effect: None };
        Pod {
            key: PodKey::new("shop", "web"),
            node_selector: labels(&[("zone", "a")]),
            tolerations: vec![toleration],
            requests: Resources { cpu: MilliCpu(3000), ..Resources::default() },
            ..Pod::default()
        }
    }

    fn decide(cluster: &Cluster, pod: &Pod) -> Decision {
        Planner::new().decide(&cluster.snapshot(), pod, Timestamp(0), Warmth::Warm)
    }

    /// The pod, which `there` does not take, hears or does not that `came` came, or changed; and is told right: it has a place then.
    fn check(there: Node, came: Node, wakes: bool) {
        let mut cluster = Cluster::new(Settings::default());
        cluster.apply_node(there);
        let decision = decide(&cluster, &pod());
        assert_eq!(decision.placed(), None);
        let shown = format!("{came:?}");
        let events = cluster.apply_node(came);
        assert_eq!(events.iter().any(|event| decision.wakes(event)), wakes, "{shown}");
        assert_eq!(decide(&cluster, &pod()).placed().is_some(), wakes, "{shown}");
    }

    #[test]
    fn a_node_that_comes_wakes_only_whom_it_would_take_if_it_were_empty() {
        let full = || Node { allocatable: Resources { cpu: MilliCpu(1), pods: 1, ..Resources::default() }, ..node("full") };
        let check = |came: Node, wakes| check(full(), came, wakes);
        check(node("n"), true);
        check(Node { taints: vec![taint("edge")], ..node("n") }, true);
        check(Node { taints: vec![taint("other")], ..node("n") }, false);
        check(Node { unschedulable: true, ..node("n") }, false);
        check(Node { labels: labels(&[("zone", "b")]), ..node("n") }, false);
        check(Node { allocatable: Resources { pods: 0, ..node("n").allocatable }, ..node("n") }, false);
        check(Node { allocatable: Resources { cpu: MilliCpu(2999), ..node("n").allocatable }, ..node("n") }, false);
        check(full(), false);
    }

    #[test]
    fn a_node_that_changes_wakes_only_whom_it_did_not_take_before() {
        let lacking = |change: fn(&mut Node), relief: fn(&mut Node), wakes| {
            let mut before = node("n");
            change(&mut before);
            let mut after = before.clone();
            relief(&mut after);
            check(before, after, wakes);
        };
        let cordon: fn(&mut Node) = |node| node.unschedulable = true;
        let tainted: fn(&mut Node) = |node| node.taints = vec![taint("x"), taint("y")];
        let elsewhere: fn(&mut Node) = |node| node.labels = labels(&[("zone", "b")]);
        let small: fn(&mut Node) = |node| node.allocatable.cpu = MilliCpu(1);
        lacking(cordon, |node| node.unschedulable = false, true);
        lacking(cordon, |node| node.taints = vec![taint("edge")], false);
        lacking(tainted, |node| node.taints = vec![], true);
        lacking(tainted, |node| node.taints = vec![taint("edge")], true);
        lacking(tainted, |node| node.taints = vec![taint("y")], false);
        lacking(elsewhere, |node| node.labels = labels(&[("zone", "a"), ("more", "x")]), true);
        lacking(elsewhere, |node| node.labels = labels(&[("zone", "c")]), false);
        lacking(small, |node| node.allocatable.cpu = MilliCpu(3000), true);
        lacking(small, |node| node.allocatable.cpu = MilliCpu(2000), false);
        lacking(small, |node| node.allocatable.memory = Bytes(80), false);
    }

    #[test]
    fn a_node_that_takes_nobody_wakes_whom_its_domain_helps() {
        let web = || labels(&[("app", "web")]);
        let mut waiting = Pod { labels: web(), ..pod() };
        waiting.node_selector.clear();
        waiting.spread = vec![SpreadConstraint {
            max_skew: 1,
            topology_key: "zone".into(),
            hard: true,
            selector: Some(LabelSelector::of_labels(&web())),
            min_domains: 2,
            ..SpreadConstraint::default()
        }];
        let mut cluster = Cluster::new(Settings::default());
        cluster.apply_node(node("n"));
        for (name, on) in [("first", "n"), ("second", "m")] {
            let key = PodKey::new("shop", name);
            cluster.apply_pod(Pod { key, labels: web(), node_name: Some(on.into()), ..Pod::default() });
        }
        let before = decide(&cluster, &waiting);
        assert_eq!(before.placed(), None, "one domain, and two are wanted");
        let events = cluster.apply_node(Node { labels: labels(&[("zone", "b")]), unschedulable: true, ..node("m") });
        assert!(events.iter().any(|event| before.wakes(event)));
        assert_eq!(decide(&cluster, &waiting).placed(), Some("n"));
    }

    #[test]
    fn what_the_profile_does_not_look_at_keeps_no_node_from_waking() {
        let mut profile = Profile::new("plain");
        profile.plugins = Plugins::none();
        profile.plugins.add(Point::Filter, Plugin::NodeAffinity);
        profile.fit.ignored = ["x.io/gpu".to_owned()].into();
        let of = |profile: Profile| {
            let profiles = Profiles::new([profile]).expect("there is one");
            let cluster = Cluster::new(Settings { profiles, ..Settings::default() });
            let mut asks = pod();
            asks.requests.extended.insert("x.io/gpu".into(), 1);
            NodeWait::new(cluster.view(), &asks, std::iter::empty())
        };
        let cordoned = Node { unschedulable: true, taints: vec![taint("other")], ..node("n") };
        let small = Node { allocatable: Resources { pods: 1, ..Resources::default() }, ..node("n") };
        let wakes = |wait: &NodeWait| [&node("n"), &cordoned, &small].map(|node| wait.added(node));
        assert_eq!(wakes(&of(profile.clone())), [true, true, true]);
        profile.plugins.add(Point::Filter, Plugin::NodeResourcesFit);
        assert_eq!(wakes(&of(profile.clone())), [true, true, false], "what is ignored need not be there");
        profile.plugins.add(Point::Filter, Plugin::NodeUnschedulable);
        assert_eq!(wakes(&of(profile)), [true, false, false]);
    }

    #[test]
    fn a_full_node_wakes_when_it_has_more_of_what_is_asked_for() {
        let used = Pod { node_name: Some("n".into()), key: PodKey::new("shop", "other"), ..pod() };
        let mut cluster = Cluster::new(Settings::default());
        cluster.apply_node(node("n"));
        cluster.apply_pod(used);
        let decision = decide(&cluster, &pod());
        let mut grows = |change: fn(&mut Node)| {
            let mut after = node("n");
            change(&mut after);
            let events = cluster.apply_node(after);
            let wakes = events.iter().any(|event| decision.wakes(event));
            cluster.apply_node(node("n"));
            wakes
        };
        assert!(grows(|node| node.allocatable.cpu = MilliCpu(6000)) && grows(|node| node.allocatable.pods = 11));
        assert!(!grows(|node| node.allocatable.memory = Bytes(80)) && !grows(|node| node.labels = labels(&[("zone", "a"), ("x", "y")])));
    }
}
