//! A pod tried on one node after the other, while others leave the node and come to it: those that would be evicted for the pod, and those nominated to the
//! node, who waited for its room before. The room is theirs against pods of no higher priority; as in kube-scheduler a node must take the pod both beside
//! them and without them, since they may yet go elsewhere.

use super::Reason;
use super::columns::Columns;
use super::rank::Query;
use crate::cluster::{NodeIx, Pod, Snapshot, WhatIf};
use crate::filter::{self, Subject};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) struct Trial<'q, 'a> {
    query: &'q Query<'a>,
    /// Of all that others change by coming and leaving, the pod's filters look at the room they take alone: a hundredth of the work.
    room_alone: bool,
    /// What was copied for one node serves the next.
    what_if: Option<WhatIf>,
}

impl<'q, 'a> Trial<'q, 'a> {
    pub fn new(query: &'q Query<'a>) -> Trial<'q, 'a> {
        let repels = |pod: &Arc<Pod>| !pod.pod_anti_affinity.required.is_empty();
        let room_alone = query.wants_room_alone() && !query.snapshot.nominations().any(|(_, mut pods)| pods.any(repels));
        Trial { query, room_alone, what_if: None }
    }

    /// As things were before anyone moved.
    pub fn snapshot(&self) -> &'a Snapshot {
        self.query.snapshot
    }

    /// Why nodes can't take the pod beside those nominated to them; only nodes that can't.
    pub fn beside_nominated(&mut self, columns: &mut Columns, asked: impl Fn(NodeIx) -> bool) -> BTreeMap<NodeIx, Vec<Reason>> {
        let nominations = self.query.snapshot.nominations().filter(|(ix, _)| asked(*ix));
        let rejected = nominations.map(|(ix, nominated)| (ix, self.beside(columns, ix, nominated)));
        rejected.filter(|(_, reasons)| !reasons.is_empty()).collect()
    }

    /// Why the node can't take the pod as things are, alone or beside those nominated to it; empty where it can.
    pub fn reasons(&mut self, columns: &mut Columns, ix: NodeIx) -> Vec<Reason> {
        match self.beside(columns, ix, self.query.snapshot.nominated_to(ix)) {
            reasons if reasons.is_empty() => self.alone(columns, ix),
            reasons => reasons,
        }
    }

    /// The pod comes to the node or leaves it.
    pub fn put(&mut self, pod: &Pod, ix: NodeIx, there: bool) {
        let what_if = self.what_if.get_or_insert_with(|| self.query.snapshot.what_if());
        match self.room_alone {
            true => what_if.take_room(pod, ix, if there { 1 } else { -1 }),
            false => what_if.put(&pod.key, there.then_some(ix)),
        }
    }

    fn beside<'p>(&mut self, columns: &mut Columns, ix: NodeIx, nominated: impl Iterator<Item = &'p Arc<Pod>>) -> Vec<Reason> {
        let pod = self.query.pod;
        let others: Vec<&Arc<Pod>> = nominated.filter(|other| other.priority >= pod.priority && other.key != pod.key).collect();
        if others.is_empty() {
            return Vec::new();
        }
        others.iter().for_each(|other| self.put(other, ix, true));
        let reasons = self.alone(columns, ix);
        others.iter().for_each(|other| self.put(other, ix, false));
        reasons
    }

    fn alone(&self, columns: &mut Columns, ix: NodeIx) -> Vec<Reason> {
        let query = self.query;
        let snapshot: &Snapshot = self.what_if.as_ref().map_or(query.snapshot, WhatIf::view);
        match self.room_alone {
            true => filter::check(&Subject { snapshot, ..query.subject() }, ix),
            false => filter::check(&Query::once_more(columns, snapshot, query.pod, query.bounds, query.now).subject(), ix),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::cluster::{
        Cluster, EVERY_ADDRESS, HostPort, LabelSelector, Node, NodeSelectorTerm, Operator, PodKey, PodTerm, Protocol, Requirement,
        Resources, Settings, SpreadConstraint, Undelayed,
    };
    use crate::plan::{Planner, Warmth};
    use crate::units::{Bytes, MilliCpu, Timestamp};
    use proptest::prelude::*;

    fn resources(cpu: i64, pods: i64, gpus: i64) -> Resources {
        let extended = if gpus > 0 { [("x.io/gpu".to_owned(), gpus)].into() } else { Default::default() };
        Resources { cpu: MilliCpu(cpu), memory: Bytes(0), ephemeral_storage: Bytes(0), pods, extended }
    }

    fn cluster() -> Cluster {
        let mut cluster = Cluster::new(Settings { undelayed: Undelayed::Any, ..Settings::default() });
        for name in ["a", "b"] {
            let labels = [("zone".to_owned(), "z".to_owned())].into();
            cluster.apply_node(Node { name: name.into(), labels, allocatable: resources(4, 4, 2), ..Node::default() });
        }
        cluster
    }

    fn pod(name: impl Into<String>, cpu: i64, gpus: i64, port: u16, priority: i32) -> Pod {
        let (name, requests) = (name.into(), resources(cpu, 0, gpus));
        let host_ports = (port > 0).then_some(HostPort { ip: EVERY_ADDRESS, protocol: Protocol::Tcp, port });
        Pod {
            key: PodKey::new("default", name.clone()),
            uid: name,
            scoring_requests: requests.clone(),
            requests,
            host_ports: host_ports.into_iter().collect(),
            priority,
            ..Pod::default()
        }
    }

    fn some_pod() -> impl Strategy<Value = Pod> {
        (0..3i64, 0..2i64, 0..3u16, 0..3i32).prop_map(|(cpu, gpus, port, priority)| pod("", cpu, gpus, port, priority))
    }

    /// What each node says of `asking` as things are, and after each of `moves`: a pod leaves its node, or comes back.
    fn told(snapshot: &Snapshot, asking: &Pod, moves: &[usize], general: bool) -> Vec<Vec<Reason>> {
        let mut columns = Columns::default();
        let query = Query::new(&mut columns, snapshot, asking, None, Timestamp(0));
        let mut trial = Trial::new(&query);
        trial.room_alone &= !general;
        let mut standing: Vec<(NodeIx, &Pod, bool)> = snapshot.pods().filter_map(|view| Some((view.node?, &**view.pod, true))).collect();
        standing.sort_by_key(|(_, pod, _)| &pod.key);
        let nodes = snapshot.nodes_by_name();
        let mut told: Vec<Vec<Reason>> = nodes.iter().map(|ix| trial.reasons(&mut columns, *ix)).collect();
        for at in moves {
            let count = standing.len().max(1);
            let Some((ix, pod, there)) = standing.get_mut(at % count) else { continue };
            *there = !*there;
            trial.put(pod, *ix, *there);
            told.extend(nodes.iter().map(|ix| trial.reasons(&mut columns, *ix)));
        }
        told
    }

    proptest! {
        #[test]
        fn room_alone_tells_what_the_whole_state_tells(
            pods in prop::collection::vec((some_pod(), 0..4usize), 0..8), asking in some_pod(), moves in prop::collection::vec(0..8usize, 0..8)
        ) {
            let mut cluster = cluster();
            for (index, (pod, place)) in pods.into_iter().enumerate() {
                let name = format!("p{index}");
                let node = ["a", "b"][place % 2].to_owned();
                let (node_name, nominated_node) = if place < 2 { (Some(node), None) } else { (None, Some(node)) };
                cluster.apply_pod(Pod { key: PodKey::new("default", name.clone()), uid: name, node_name, nominated_node, ..pod });
            }
            let snapshot = cluster.snapshot();
            prop_assert_eq!(told(&snapshot, &asking, &moves, false), told(&snapshot, &asking, &moves, true));
        }
    }

    #[test]
    fn who_is_nominated_may_repel() {
        let mut cluster = cluster();
        let mut hermit = Pod { nominated_node: Some("a".into()), ..pod("hermit", 1, 0, 0, 9) };
        let everyone = PodTerm {
            selector: Some(LabelSelector::default()),
            namespaces: vec!["default".into()],
            namespace_selector: None,
            topology_key: "zone".into(),
        };
        hermit.pod_anti_affinity.required.push(everyone);
        cluster.apply_pod(hermit);
        let told = told(&cluster.snapshot(), &pod("asking", 1, 0, 0, 5), &[], false);
        assert_eq!(
            told,
            [vec![Reason::ExistingAntiAffinity { key: "zone".into() }], Vec::new()],
            "b is told of a's alone as in kube-scheduler"
        );
    }
    #[test]
    fn what_a_pod_was_found_by_stays_while_it_is_tried() {
        let mut cluster = cluster();
        let near_itself =
            SpreadConstraint { topology_key: "zone".into(), selector: Some(LabelSelector::default()), ..SpreadConstraint::default() };
        let with = |mut pod: Pod, value: usize| {
            let one = Requirement { key: "disk".into(), operator: Operator::In, values: vec![value.to_string()] };
            pod.affinity.preferred = vec![(1, NodeSelectorTerm { match_expressions: vec![one], match_fields: Vec::new() })];
            pod
        };
        cluster.apply_pod(Pod { nominated_node: Some("a".into()), ..pod("promised", 1, 0, 0, 9) });
        let snapshot = cluster.snapshot();
        let mut planner = Planner::new();
        // More lists of preferences than are kept.
        for value in 0..1_100 {
            let mut asking = with(pod("asking", 1, 0, 0, 5), value);
            asking.spread.push(near_itself.clone());
            let decision = planner.decide(&snapshot, &asking, Timestamp(0), Warmth::Warm);
            assert!(decision.placed().is_some(), "{}", decision.message());
        }
    }
}
