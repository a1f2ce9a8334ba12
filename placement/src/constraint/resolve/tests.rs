use super::super::{DelaySource, Statistic, mutual_groups, parse_label};
use super::*;
use crate::cluster::Pod;
use crate::topology::{Kind, PairStat};

const MAX_AGE: Span = Span(900_000);

#[derive(Default)]
struct Index {
    nodes: Vec<&'static str>,
    pods: Vec<(PodKey, Option<Workload>, Position)>,
}

impl ReferenceIndex for Index {
    fn node(&self, name: &str) -> Option<NodeIx> {
        self.nodes.iter().position(|n| *n == name).map(|at| NodeIx(at as u32))
    }
    fn workload_pods<'a>(
        &'a self,
        namespace: &'a str,
        kind: Option<WorkloadKind>,
        name: &'a str,
    ) -> impl Iterator<Item = (&'a PodKey, Position)> + 'a {
        let owned = move |owner: &Workload| owner.name == name && kind.is_none_or(|kind| kind == owner.kind);
        let pods = self.pods.iter().filter(move |(key, owner, _)| key.namespace == namespace && owner.as_ref().is_some_and(owned));
        pods.map(|(key, _, position)| (key, *position))
    }
    fn pod<'a>(&'a self, namespace: &str, name: &str) -> Option<(&'a PodKey, Position)> {
        self.pods.iter().find(|(key, ..)| key.namespace == namespace && key.name == name).map(|(key, _, position)| (key, *position))
    }
}

fn deployment(name: &str) -> Workload {
    Workload { kind: WorkloadKind::Deployment, name: name.into() }
}

/// Pods `(name, deployment, node)` of namespace `default`, on nodes `edge-1`, `edge-2` and `api`.
fn index(pods: &[(&str, &str, Option<u32>)]) -> Index {
    let position = |node: Option<u32>| node.map_or(Position::Pending, |node| Position::On(NodeIx(node)));
    let pods = pods.iter().map(|&(name, owner, node)| {
        let owner = (!owner.is_empty()).then(|| deployment(owner));
        (PodKey::new("default", name), owner, position(node))
    });
    Index { nodes: vec!["edge-1", "edge-2", "api"], pods: pods.collect() }
}

fn bound(from: Reference, replicas: ReplicaRule) -> DelayBound {
    let max = Micros(25_000);
    DelayBound { from, max, statistic: Statistic::P90, replicas, missing: Missing::Deny, source: DelaySource::Annotation }
}

/// Targets with `via`, or the hold; `None`: left for later. The referrer is pod `own` of deployment `mine`.
fn check(index: &Index, from: Reference, replicas: ReplicaRule, group: &[&str], expected: Result<Option<(&[u32], bool)>, Hold>) {
    let own = PodKey::new("default", "own");
    let group: Vec<PodKey> = group.iter().map(|name| PodKey::new("default", *name)).collect();
    let bounds = [bound(from, replicas)];
    let got = resolve(&bounds, "default", Referrer { pod: &own, owner: Some(&deployment("mine")), group: &group }, index);
    let got = got.map(|resolved| resolved.first().map(|r| (r.targets.iter().map(|t| t.0).collect::<Vec<_>>(), r.via)));
    assert_eq!(got, expected.map(|e| e.map(|(targets, via)| (targets.to_vec(), via))));
}

fn name(name: &str) -> Reference {
    Reference::Name(name.into())
}

#[test]
fn a_name_is_a_node_then_a_workload_then_a_pod() {
    let index = index(&[("api-1", "api", Some(0)), ("web", "", Some(0)), ("web-1", "web", Some(1))]);
    check(&index, name("api"), ReplicaRule::Any, &[], Ok(Some((&[2], false))));
    check(&index, Reference::Workload(WorkloadKind::Deployment, "api".into()), ReplicaRule::Any, &[], Ok(Some((&[0], true))));
    check(&index, name("web"), ReplicaRule::Any, &[], Ok(Some((&[1], true))));
    check(&index, Reference::Pod("web".into()), ReplicaRule::Any, &[], Ok(Some((&[0], true))));
    check(&index, name("web-1"), ReplicaRule::Any, &[], Ok(Some((&[1], true))));
}

#[test]
fn names_match_whole_and_in_the_own_namespace_alone() {
    let mut index = index(&[("api-1", "backend", Some(0))]);
    index.pods.push((PodKey::new("other", "db"), None, Position::On(NodeIx(1))));
    for from in ["edge", "edge-11", "back", "ap", "db", ""] {
        check(&index, name(from), ReplicaRule::Any, &[], Err(Hold::UnknownReference { from: from.into(), namespace: "default".into() }));
    }
    let kind = Reference::Workload(WorkloadKind::Job, "backend".into());
    check(&index, kind, ReplicaRule::Any, &[], Err(Hold::UnknownReference { from: "backend".into(), namespace: "default".into() }));
}

#[test]
fn any_needs_one_placed_replica_and_all_needs_every_one() {
    let waits = || Err(Hold::ReferenceNotPlaced { from: "web".into() });
    let some = index(&[("web-1", "web", Some(1)), ("web-2", "web", None), ("web-3", "web", Some(0)), ("web-4", "web", Some(1))]);
    check(&some, name("web"), ReplicaRule::Any, &[], Ok(Some((&[0, 1], true))));
    check(&some, name("web"), ReplicaRule::All, &[], waits());
    let none = index(&[("web-1", "web", None)]);
    check(&none, name("web"), ReplicaRule::Any, &[], waits());
    check(&none, name("web"), ReplicaRule::Any, &["web-1"], Ok(None));
    check(&none, name("web"), ReplicaRule::All, &["web-1"], Ok(None));
}

#[test]
fn a_pod_that_refers_to_itself_alone_is_held() {
    let this = |from: &str| Err(Hold::SelfReference { from: from.into() });
    let alone = index(&[("own", "mine", None)]);
    check(&alone, name("own"), ReplicaRule::Any, &[], this("own"));
    check(&alone, name("mine"), ReplicaRule::Any, &[], this("mine"));
    check(&index(&[]), name("mine"), ReplicaRule::Any, &[], this("mine"));
    let sibling = index(&[("own", "mine", None), ("own-2", "mine", Some(1))]);
    check(&sibling, name("mine"), ReplicaRule::Any, &[], Ok(Some((&[1], true))));
}

#[test]
fn label_and_annotation_of_one_reference_both_hold() {
    let index = index(&[]);
    let own = PodKey::new("default", "own");
    let label = parse_label("delay_edge-1", "5").unwrap().unwrap();
    let bounds = [label, bound(Reference::Node("edge-1".into()), ReplicaRule::Any)];
    let resolved = resolve(&bounds, "default", Referrer { pod: &own, owner: None, group: &[] }, &index).unwrap();
    assert_eq!(resolved.iter().map(|r| (r.bound.max.0, r.targets[0].0)).collect::<Vec<_>>(), [(5_000, 0), (25_000, 0)]);
}

/// RTTs of node 9 to nodes 0, 1, 2 in us (`None`: unmeasured); the bound is 25 ms.
fn check_verdict(rtts: [Option<u32>; 3], replicas: ReplicaRule, missing: Missing, expected: BoundVerdict) {
    let mut store = RttStore::new(MAX_AGE);
    for (target, rtt) in rtts.into_iter().enumerate() {
        if let Some(rtt) = rtt {
            let stat = PairStat { kind: Kind::Measured, p50: Micros(0), ..PairStat::declared(Micros(rtt), Timestamp(0)) };
            store.set(NodeIx(target as u32), NodeIx(9), stat);
        }
    }
    let bound = DelayBound { missing, ..bound(name("web"), replicas) };
    let resolved = ResolvedBound { bound: &bound, targets: (0..3).map(NodeIx).collect(), via: true };
    assert_eq!(resolved.judge(&store, NodeIx(9), Timestamp(0), MAX_AGE), expected, "{rtts:?} {replicas:?} {missing:?}");
    let later = resolved.judge(&store, NodeIx(9), Timestamp(900_001), MAX_AGE);
    let expected = if missing == Missing::Allow { BoundVerdict::Met(None) } else { BoundVerdict::Unmeasured { target: NodeIx(0) } };
    assert_eq!(later, expected, "expired");
}

#[test]
fn any_takes_the_nearest_all_the_farthest_and_the_bound_is_inclusive() {
    use ReplicaRule::{All, Any};
    let met = |rtt, target| BoundVerdict::Met(Some((Micros(rtt), NodeIx(target))));
    let above = |rtt, target| BoundVerdict::Above { rtt: Micros(rtt), target: NodeIx(target) };
    check_verdict([Some(30_000), Some(25_000), Some(40_000)], Any, Missing::Deny, met(25_000, 1));
    check_verdict([Some(30_000), Some(25_000), Some(40_000)], All, Missing::Deny, above(40_000, 2));
    check_verdict([Some(30_000), Some(25_005), Some(40_000)], Any, Missing::Deny, above(25_005, 1));
    check_verdict([Some(1_000), Some(25_000), Some(40)], All, Missing::Deny, met(25_000, 1));
}

#[test]
fn an_unmeasured_pair_admits_only_where_the_policy_says_so() {
    use ReplicaRule::{All, Any};
    let met = |rtt, target| BoundVerdict::Met(Some((Micros(rtt), NodeIx(target))));
    let above = |rtt, target| BoundVerdict::Above { rtt: Micros(rtt), target: NodeIx(target) };
    let unmeasured = |target| BoundVerdict::Unmeasured { target: NodeIx(target) };
    check_verdict([None, None, None], Any, Missing::Deny, unmeasured(0));
    check_verdict([None, None, None], Any, Missing::Allow, BoundVerdict::Met(None));
    check_verdict([Some(1_000), None, None], Any, Missing::Deny, met(1_000, 0));
    check_verdict([Some(30_000), None, None], Any, Missing::Deny, above(30_000, 0));
    check_verdict([Some(30_000), None, None], Any, Missing::Allow, BoundVerdict::Met(None));
    check_verdict([Some(1_000), None, None], All, Missing::Deny, unmeasured(1));
    check_verdict([Some(1_000), None, None], All, Missing::Allow, met(1_000, 0));
    check_verdict([Some(30_000), None, None], All, Missing::Allow, above(30_000, 0));
}

/// Pending pods `(name, deployment, references)`; placed ones are `(name, deployment)` on node 0.
fn check_groups(pending: &[(&str, &str, &[&str])], placed: &[(&str, &str)], expected: &[&[&str]]) {
    let all = pending.iter().map(|p| (p.0, p.1, None)).chain(placed.iter().map(|p| (p.0, p.1, Some(0))));
    let index = index(&all.collect::<Vec<_>>());
    let pods: Vec<Pod> = pending
        .iter()
        .map(|(pod, owner, references)| Pod {
            key: PodKey::new("default", *pod),
            owner: (!owner.is_empty()).then(|| deployment(owner)),
            delays: references.iter().map(|from| bound(name(from), ReplicaRule::Any)).collect(),
            ..Pod::default()
        })
        .collect();
    let groups = mutual_groups(&pods, &index);
    let names: Vec<Vec<&str>> = groups.iter().map(|group| group.iter().map(|key| key.name.as_str()).collect()).collect();
    assert_eq!(names, expected);
}

#[test]
fn pods_that_refer_to_each_other_are_a_group() {
    check_groups(&[("a", "", &["b"]), ("b", "", &["a"]), ("c", "", &["a"])], &[], &[&["a", "b"]]);
    check_groups(&[("a", "", &["b"]), ("b", "", &["c"]), ("c", "", &["a", "edge-1"]), ("d", "", &[])], &[], &[&["a", "b", "c"]]);
    check_groups(&[("a", "", &["b"]), ("b", "", &["edge-1"])], &[], &[]);
    check_groups(&[("a", "", &["a"])], &[], &[]);
}

#[test]
fn workloads_group_by_their_pods_until_one_is_placed() {
    check_groups(&[("x-1", "x", &["y"]), ("y-1", "y", &["x"]), ("y-2", "y", &["x"])], &[], &[&["x-1", "y-1", "y-2"]]);
    check_groups(&[("x-1", "x", &["x"]), ("x-2", "x", &["x"])], &[], &[&["x-1", "x-2"]]);
    check_groups(&[("x-1", "x", &["x"]), ("x-2", "x", &["x"])], &[("x-3", "x")], &[]);
    check_groups(&[("x-1", "x", &["y"]), ("y-1", "y", &["x"])], &[("y-2", "y")], &[]);
}
