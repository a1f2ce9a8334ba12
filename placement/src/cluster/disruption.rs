//! What preemption reads besides pods: budgets of disruption, and the nodes that pods wait for.

use super::live::Cluster;
use super::snapshot::Snapshot;
use super::standing::WhatIf;
use super::{Changes, ClusterEvent, LabelSelector, NodeIx, Pod, PodKey};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A `policy/v1` PodDisruptionBudget, as far as preemption reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DisruptionBudget {
    pub namespace: String,
    pub name: String,
    /// Without requirements it protects nothing, as in kube-scheduler.
    pub selector: LabelSelector,
    /// `status.disruptionsAllowed`.
    pub allowed: i32,
    /// Names of pods whose eviction the API server has granted and counted already.
    pub disrupted: BTreeSet<String>,
}

impl DisruptionBudget {
    /// Whether evicting the pod takes from the budget.
    pub fn protects(&self, pod: &Pod) -> bool {
        self.namespace == pod.key.namespace
            && !pod.labels.is_empty()
            && !self.selector.is_empty()
            && self.selector.matches(&pod.labels)
            && !self.disrupted.contains(&pod.key.name)
    }
}

/// Pods without a node that are nominated to one, by the node's name. Changed in many a what-if: a copy shares names and pods.
pub(super) type Nominations = Arc<BTreeMap<Arc<str>, Arc<[Arc<Pod>]>>>;

impl Cluster {
    /// A budget appeared or changed.
    pub fn apply_budget(&mut self, budget: DisruptionBudget) {
        let key = (budget.namespace.clone(), budget.name.clone());
        if self.state.budgets.get(&key) != Some(&budget) {
            Arc::make_mut(&mut self.change().budgets).insert(key, budget);
        }
    }

    pub fn delete_budget(&mut self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        if self.state.budgets.contains_key(&key) {
            Arc::make_mut(&mut self.change().budgets).remove(&key);
        }
    }

    /// A pod without a node waits for room on this one (`None`: on none any more), before the API server has heard of it.
    pub fn nominate(&mut self, key: &PodKey, uid: &str, node: Option<&str>) -> Changes {
        let Some(view) = self.state.pod(key).filter(|view| view.pod.uid == uid && view.node.is_none()) else { return Changes::new() };
        if view.pod.nominated_node.as_deref() == node {
            return Changes::new();
        }
        let pod = Pod { nominated_node: node.map(str::to_owned), ..Pod::clone(view.pod) };
        let mut changes = self.apply_pod(pod);
        // The pod itself has not changed for whoever asked for this.
        changes.retain(|event| matches!(event, ClusterEvent::PromiseEnded { .. }));
        changes
    }
}

impl Snapshot {
    pub fn budgets(&self) -> impl Iterator<Item = &DisruptionBudget> {
        self.budgets.values()
    }

    /// Nodes that pods are nominated to, with those pods.
    pub fn nominations(&self) -> impl Iterator<Item = (NodeIx, impl Iterator<Item = &Arc<Pod>>)> {
        self.nominations.iter().filter_map(|(node, pods)| Some((self.node_index(node)?, pods.iter())))
    }

    /// Pods that are nominated to the node.
    pub fn nominated_to(&self, ix: NodeIx) -> impl Iterator<Item = &Arc<Pod>> {
        self.nominations.get(self.name(ix)).into_iter().flat_map(|pods| pods.iter())
    }

    pub fn what_if(&self) -> WhatIf {
        WhatIf::new(self)
    }
}

/// Enters (`sign` 1) or strikes out (-1) a pod that has no node.
pub(super) fn nominate(nominations: &mut Nominations, pod: &Arc<Pod>, sign: i64) {
    let Some(node) = pod.nominated_node.as_ref() else { return };
    let nominations = Arc::make_mut(nominations);
    let have = nominations.get(node.as_str()).map(|pods| &pods[..]).unwrap_or_default();
    let others = have.iter().filter(|other| other.key != pod.key);
    let mut now: Vec<Arc<Pod>> = others.chain((sign > 0).then_some(pod)).cloned().collect();
    now.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    match now.is_empty() {
        true => drop(nominations.remove(node.as_str())),
        false => drop(nominations.insert(node.as_str().into(), now.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Node, PodPhase, Resources, Settings};
    use crate::plan::{Planner, Warmth};
    use crate::units::{MilliCpu, Timestamp};

    #[test]
    fn a_pod_is_nominated_until_it_has_a_node_or_is_gone() {
        let mut cluster = Cluster::new(Settings::default());
        cluster.apply_node(Node { name: "n".into(), ..Node::default() });
        let pod = |node: Option<&str>| Pod {
            key: PodKey::new("d", "p"),
            uid: "u".into(),
            nominated_node: Some("n".into()),
            node_name: node.map(Into::into),
            ..Pod::default()
        };
        let nominated = |cluster: &Cluster| cluster.view().nominations().flat_map(|(_, pods)| pods.map(|pod| pod.key.name.clone())).count();
        cluster.apply_pod(pod(None));
        assert_eq!(nominated(&cluster), 1);
        cluster.assume_at(&PodKey::new("d", "p"), "u", cluster.view().node_index("n").unwrap()).unwrap();
        assert_eq!(nominated(&cluster), 0, "it holds the room itself");
        cluster.forget(&PodKey::new("d", "p"));
        assert_eq!(nominated(&cluster), 1);
        cluster.nominate(&PodKey::new("d", "p"), "u", None);
        assert_eq!(nominated(&cluster), 0);
        cluster.nominate(&PodKey::new("d", "p"), "u", Some("n"));
        cluster.apply_pod(Pod { phase: PodPhase::Ended, ..pod(None) });
        assert_eq!(nominated(&cluster), 0);
        cluster.apply_pod(pod(None));
        cluster.delete_pod(&PodKey::new("d", "p"));
        assert_eq!(nominated(&cluster), 0);
    }

    #[test]
    fn who_waits_for_room_that_was_promised_to_another_hears_when_it_no_longer_is() {
        let promised = Pod {
            key: PodKey::new("d", "p"),
            uid: "u".into(),
            priority: 9,
            nominated_node: Some("n".into()),
            requests: Resources { cpu: MilliCpu(2), ..Resources::default() },
            ..Pod::default()
        };
        let waiting = Pod { key: PodKey::new("d", "q"), uid: "q".into(), requests: promised.requests.clone(), ..Pod::default() };
        let check = |change: &dyn Fn(&mut Cluster) -> Changes, wakes: bool| {
            let mut cluster = Cluster::new(Settings::default());
            for (name, cpu) in [("n", 3), ("m", 0)] {
                let allocatable = Resources { cpu: MilliCpu(cpu), pods: 9, ..Resources::default() };
                cluster.apply_node(Node { name: name.into(), allocatable, ..Node::default() });
            }
            cluster.apply_pod(promised.clone());
            let decide = |cluster: &Cluster| Planner::new().decide(&cluster.snapshot(), &waiting, Timestamp(0), Warmth::Warm);
            let before = decide(&cluster);
            assert_eq!(before.placed(), None, "the room is promised");
            let events = change(&mut cluster);
            assert_eq!((events.iter().any(|event| before.wakes(event)), decide(&cluster).placed().is_some()), (wakes, wakes), "{events:?}");
        };
        let key = &promised.key;
        check(&|cluster| cluster.delete_pod(key), true);
        check(&|cluster| cluster.nominate(key, "u", None), true);
        check(&|cluster| cluster.nominate(key, "u", Some("m")), true);
        check(&|cluster| cluster.assume(key, "u", "m").unwrap(), true);
        check(&|cluster| cluster.apply_pod(Pod { nominated_node: None, ..promised.clone() }), true);
        check(&|cluster| cluster.apply_pod(Pod { node_name: Some("m".into()), ..promised.clone() }), true);
        check(&|cluster| cluster.apply_pod(Pod { phase: PodPhase::Ended, ..promised.clone() }), true);
        check(&|cluster| cluster.nominate(key, "u", Some("n")), false);
        check(&|cluster| cluster.assume(key, "u", "n").unwrap(), false);
        check(&|cluster| cluster.apply_pod(Pod { node_name: Some("n".into()), ..promised.clone() }), false);
        check(&|cluster| cluster.apply_pod(Pod { never_preempts: true, ..promised.clone() }), false);
    }

    #[test]
    fn who_is_nominated_is_known_as_it_is_now() {
        let mut cluster = Cluster::new(Settings::default());
        cluster.apply_node(Node { name: "n".into(), ..Node::default() });
        let pod = |name: &str, priority| Pod {
            key: PodKey::new("d", name),
            uid: name.into(),
            nominated_node: Some("n".into()),
            priority,
            ..Pod::default()
        };
        for (name, priority) in [("b", 1), ("a", 1), ("b", 7)] {
            cluster.apply_pod(pod(name, priority));
        }
        let ix = cluster.view().node_index("n").unwrap();
        let known: Vec<_> = cluster.view().nominated_to(ix).map(|pod| (pod.key.name.as_str(), pod.priority)).collect();
        assert_eq!(known, [("a", 1), ("b", 7)]);
    }

    #[test]
    fn a_budget_protects_what_it_selects_and_has_not_counted() {
        let labels = [("app".to_owned(), "a".to_owned())].into();
        let budget = DisruptionBudget { namespace: "d".into(), selector: LabelSelector::of_labels(&labels), ..DisruptionBudget::default() };
        let pod = Pod { key: PodKey::new("d", "p"), labels, ..Pod::default() };
        assert!(budget.protects(&pod));
        assert!(!budget.protects(&Pod { labels: Default::default(), ..pod.clone() }));
        assert!(!budget.protects(&Pod { key: PodKey::new("e", "p"), ..pod.clone() }));
        assert!(!DisruptionBudget { selector: LabelSelector::default(), ..budget.clone() }.protects(&pod));
        assert!(!DisruptionBudget { disrupted: ["p".to_owned()].into(), ..budget }.protects(&pod));
    }
}
