use super::*;
use crate::constraint::{Position, ReferenceIndex};
use crate::topology::PairStat;
use crate::units::{Bytes, Micros, MilliCpu, Span, Timestamp};
use std::sync::Arc;

fn node(name: &str) -> Node {
    Node {
        name: name.into(),
        allocatable: Resources { cpu: MilliCpu(4000), memory: Bytes(8 << 30), pods: 110, ..Resources::default() },
        ..Node::default()
    }
}

fn pod(name: &str, uid: &str, node: Option<&str>) -> Pod {
    let requests = Resources { cpu: MilliCpu(1000), extended: [("x.io/gpu".to_owned(), 2)].into(), ..Resources::default() };
    Pod {
        key: PodKey::new("default", name),
        uid: uid.into(),
        node_name: node.map(Into::into),
        owner: Some(Workload { kind: WorkloadKind::Deployment, name: "api".into() }),
        scoring_requests: requests.clone(),
        requests,
        ..Pod::default()
    }
}

/// CPU, GPUs and pods taken on a node of that name; zeros when the name is not known.
fn taken(cluster: &Cluster, name: &str) -> (i64, i64, i64) {
    let view = cluster.view();
    let Some(ix) = view.index(name) else { return (0, 0, 0) };
    let (chunk, slot) = (&view.load()[ix.at() / CHUNK], ix.at() % CHUNK);
    let gpus = view.resource("x.io/gpu").and_then(|r| chunk.extended(r)).map_or(0, |c| c.requested[slot]);
    (chunk.requested[0][slot], gpus, chunk.pods[slot])
}

/// Where the deployment's pods are, as references see them.
fn standing(cluster: &Cluster) -> Vec<(String, String)> {
    let view = cluster.view();
    let pods = view.workload_pods("default", None, "api").map(|(key, position)| {
        let on = match position {
            Position::On(ix) => view.name(ix).to_owned(),
            Position::Pending => "-".to_owned(),
        };
        (key.name.clone(), on)
    });
    pods.collect()
}

fn on(pod: &str, node: &str) -> Vec<(String, String)> {
    vec![(pod.into(), node.into())]
}

fn two_nodes() -> Cluster {
    let mut cluster = Cluster::new(Settings::default());
    cluster.apply_node(node("n1"));
    cluster.apply_node(node("n2"));
    cluster
}

const FULL: (i64, i64, i64) = (1000, 2, 1);
const EMPTY: (i64, i64, i64) = (0, 0, 0);

#[test]
fn an_assumed_pod_takes_room_until_it_is_confirmed_or_forgotten() {
    let mut cluster = two_nodes();
    let key = PodKey::new("default", "a");
    cluster.apply_pod(pod("a", "u1", None));
    assert_eq!(standing(&cluster), on("a", "-"));
    cluster.assume(&key, "u1", "n1").unwrap();
    assert_eq!((taken(&cluster, "n1"), standing(&cluster)), (FULL, on("a", "n1")));
    assert!(cluster.view().pod(&key).unwrap().assumed);

    let update = Pod { priority: 7, ..pod("a", "u1", None) };
    assert!(cluster.apply_pod(update).is_empty(), "an update that raced the binding helps nobody");
    assert_eq!(taken(&cluster, "n1"), FULL);

    assert!(cluster.apply_pod(pod("a", "u1", Some("n1"))).is_empty(), "the confirmation changes nothing that was not known");
    assert!(!cluster.view().pod(&key).unwrap().assumed);
    assert!(cluster.forget(&key).is_empty());
    assert_eq!(taken(&cluster, "n1"), FULL, "a bound pod can't be forgotten");

    cluster.delete_pod(&key);
    assert_eq!((taken(&cluster, "n1"), standing(&cluster), cluster.view().pod_count()), (EMPTY, vec![], 0));
}

#[test]
fn forget_gives_the_room_back() {
    let mut cluster = two_nodes();
    let key = PodKey::new("default", "a");
    cluster.apply_pod(pod("a", "u1", None));
    cluster.assume(&key, "u1", "n1").unwrap();
    let changes = cluster.forget(&key);
    assert!(matches!(&changes[..], [ClusterEvent::PodReleased { node, .. }] if node == "n1"));
    assert_eq!((taken(&cluster, "n1"), standing(&cluster)), (EMPTY, on("a", "-")));
    cluster.assume(&key, "u1", "n2").unwrap();
    assert_eq!(taken(&cluster, "n2"), FULL);
}

#[test]
fn deleted_or_replaced_during_assume_holds_nothing() {
    let mut cluster = two_nodes();
    let key = PodKey::new("default", "a");
    cluster.apply_pod(pod("a", "u1", None));
    cluster.assume(&key, "u1", "n1").unwrap();
    cluster.delete_pod(&key);
    assert_eq!(taken(&cluster, "n1"), EMPTY);
    assert!(cluster.forget(&key).is_empty());

    cluster.apply_pod(pod("a", "u2", None));
    cluster.assume(&key, "u2", "n1").unwrap();
    cluster.apply_pod(pod("a", "u3", None));
    assert_eq!((taken(&cluster, "n1"), standing(&cluster)), (EMPTY, on("a", "-")));
    assert!(matches!(cluster.assume(&key, "u2", "n1"), Err(AssumeError::UidMismatch { .. })));

    cluster.assume(&key, "u3", "n1").unwrap();
    cluster.apply_pod(pod("a", "u3", Some("n2")));
    assert_eq!((taken(&cluster, "n1"), taken(&cluster, "n2")), (EMPTY, FULL), "bound elsewhere than assumed");
}

#[test]
fn only_a_pending_pod_can_be_assumed_and_only_once() {
    let mut cluster = two_nodes();
    let fails = |cluster: &mut Cluster, pod: Pod, node: &str| {
        let (key, uid) = (pod.key.clone(), pod.uid.clone());
        cluster.apply_pod(pod);
        cluster.assume(&key, &uid, node).unwrap_err()
    };
    assert!(matches!(fails(&mut cluster, pod("a", "1", Some("n1")), "n2"), AssumeError::AlreadyPlaced { .. }));
    assert!(matches!(fails(&mut cluster, Pod { terminating: true, ..pod("b", "2", None) }, "n1"), AssumeError::Terminating(_)));
    assert!(matches!(fails(&mut cluster, Pod { scheduling_gates: vec!["g".into()], ..pod("c", "3", None) }, "n1"), AssumeError::Gated(_)));
    assert!(matches!(fails(&mut cluster, Pod { phase: PodPhase::Ended, ..pod("d", "4", None) }, "n1"), AssumeError::Ended(_)));
    assert!(matches!(fails(&mut cluster, pod("e", "5", None), "n9"), AssumeError::UnknownNode(_)));
    assert!(matches!(cluster.assume(&PodKey::new("default", "zzz"), "6", "n1"), Err(AssumeError::UnknownPod(_))));
    assert_eq!((taken(&cluster, "n1"), taken(&cluster, "n2")), (FULL, EMPTY));
}

#[test]
fn ended_pods_hold_nothing_and_terminating_ones_hold_room_but_are_no_target() {
    let mut cluster = two_nodes();
    cluster.apply_pod(pod("a", "1", Some("n1")));
    cluster.apply_pod(Pod { terminating: true, ..pod("a", "1", Some("n1")) });
    assert_eq!((taken(&cluster, "n1"), standing(&cluster)), (FULL, on("a", "-")));
    let changes = cluster.apply_pod(Pod { phase: PodPhase::Ended, ..pod("a", "1", Some("n1")) });
    assert!(matches!(&changes[..], [ClusterEvent::PodReleased { .. }]));
    assert_eq!((taken(&cluster, "n1"), standing(&cluster)), (EMPTY, vec![]));
}

#[test]
fn a_snapshot_keeps_its_moment() {
    let mut cluster = two_nodes();
    cluster.apply_pod(pod("a", "u1", None));
    let before = cluster.snapshot();
    cluster.assume(&PodKey::new("default", "a"), "u1", "n1").unwrap();
    cluster.delete_node("n2");
    assert_eq!((before.node_count(), cluster.view().node_count()), (2, 1));
    assert!(before.pod(&PodKey::new("default", "a")).unwrap().node.is_none());
    assert_eq!(before.load()[0].pods.iter().sum::<i64>(), 0);
    assert!(before.generation() < cluster.view().generation());

    let mut fork = Cluster::fork(&before);
    fork.apply_node(node("n3"));
    assert!(fork.view().identity() != before.identity() && before.node_index("n3").is_none());
}

#[test]
fn what_shares_memory_with_a_snapshot_stays_shared_but_for_what_changed() {
    let mut cluster = Cluster::new(Settings::default());
    for i in 0..1000 {
        cluster.apply_node(node(&format!("n{i:04}")));
    }
    cluster.apply_pod(pod("a", "u1", None));
    let before = cluster.snapshot();
    cluster.assume(&PodKey::new("default", "a"), "u1", "n0300").unwrap();
    let after = cluster.snapshot();
    let shared = before.load().iter().zip(after.load()).filter(|(a, b)| std::sync::Arc::ptr_eq(a, b)).count();
    assert_eq!((before.load().len(), shared), (4, 3));
    assert!(before.fixed().iter().zip(after.fixed()).all(|(a, b)| std::sync::Arc::ptr_eq(a, b)));
}

#[test]
fn an_index_outlives_the_node_object_while_pods_or_rows_need_it_and_is_used_again_afterwards() {
    let mut cluster = two_nodes();
    let stat = PairStat::declared(Micros(500), Timestamp(1000));
    cluster.report_rtt("n1", "n2", stat);
    cluster.apply_pod(pod("a", "u", Some("n2")));
    let ix = cluster.view().index("n2").unwrap();
    cluster.delete_node("n2");
    cluster.expire(Timestamp(1500), Span(500));
    assert_eq!(cluster.view().index("n2"), Some(ix));
    assert_eq!(cluster.view().rtt().get(ix, cluster.view().index("n1").unwrap()).unwrap().p90, Micros(500));
    cluster.expire(Timestamp(1501), Span(500));
    assert_eq!((cluster.view().index("n2"), taken(&cluster, "n2")), (Some(ix), FULL), "the pod still needs it");
    assert!(cluster.view().rtt().get(ix, cluster.view().index("n1").unwrap()).is_none());
    cluster.delete_pod(&PodKey::new("default", "a"));
    assert_eq!(cluster.view().index("n2"), None);
    cluster.apply_node(node("n7"));
    assert_eq!(cluster.view().index("n7"), Some(ix));
}

#[test]
fn only_what_changed_of_a_node_is_told() {
    let mut cluster = two_nodes();
    let told = |cluster: &mut Cluster, node: Node| cluster.apply_node(node).into_vec();
    let updated = |before: &Node, after: &Node, taints: bool| ClusterEvent::NodeUpdated {
        before: Arc::new(before.clone()),
        after: Arc::new(after.clone()),
        labels: false,
        taints,
        allocatable: true,
        features: false,
    };
    assert_eq!(told(&mut cluster, node("n1")), []);
    assert_eq!(told(&mut cluster, Node { ready: true, ..node("n1") }), []);
    let bigger = Node { ready: true, allocatable: Resources { pods: 250, ..node("n1").allocatable }, ..node("n1") };
    let ready = Node { ready: true, ..node("n1") };
    assert_eq!(told(&mut cluster, bigger.clone()), [updated(&ready, &bigger, false)]);
    let before = cluster.view().static_generation();
    let cordoned = Node { unschedulable: true, ..node("n1") };
    assert_eq!(told(&mut cluster, cordoned.clone()), [updated(&bigger, &cordoned, true)]);
    assert!(cluster.view().static_generation() > before);
    let cloud = Node { labels: [("kubernetes.io/role".to_owned(), "cloud".to_owned())].into(), ..node("n3") };
    told(&mut cluster, cloud);
    assert_eq!((cluster.view().cloud_count(), cluster.view().node_count()), (1, 3));
    cluster.delete_node("n3");
    assert_eq!((cluster.view().cloud_count(), cluster.view().node_count(), cluster.view().nodes_by_name().len()), (0, 2, 2));
}

#[test]
fn a_pair_that_is_merely_confirmed_is_no_event() {
    let mut cluster = two_nodes();
    let mut told = |us, at| cluster.report_rtt("n1", "n2", PairStat::declared(Micros(us), Timestamp(at))).len();
    assert_eq!((told(500, 1000), told(500, 2000), told(501, 2000), told(501, 902_000), told(501, 1_802_001)), (1, 0, 1, 0, 1));
    assert!(cluster.report_rtt("n2", "n2", PairStat::declared(Micros(9), Timestamp(1))).is_empty(), "a node is no distance from itself");
}

#[test]
fn other_labels_of_a_placed_pod_are_told_and_its_status_is_not() {
    let mut cluster = Cluster::new(Settings::default());
    cluster.apply_node(node("n1"));
    let before = Pod { labels: [("app".to_owned(), "web".to_owned())].into(), ..pod("a", "u", Some("n1")) };
    cluster.apply_pod(before.clone());
    let mut check = |after: Pod, told: bool| {
        let changes = cluster.apply_pod(after.clone());
        assert_eq!(matches!(&changes[..], [ClusterEvent::PodRelabelled { after: pod, .. }] if **pod == after), told, "{changes:?}");
    };
    let running = Pod { phase: PodPhase::Running, ..before };
    check(running.clone(), false);
    let relabelled = Pod { labels: [("app".to_owned(), "api".to_owned())].into(), ..running };
    check(relabelled.clone(), true);
    check(Pod { terminating: true, ..relabelled }, true);
}

/// A thousand pods ask for a resource each that nobody else knows; all but three go again.
#[test]
fn resources_that_nobody_has_any_more_are_forgotten() {
    let mut cluster = two_nodes();
    let odd = |number: usize| {
        let requests = Resources { extended: [(format!("x.io/{number}"), 1), ("x.io/none".into(), 0)].into(), ..Resources::default() };
        Pod { requests, ..pod(&format!("p{number}"), "u", Some("n1")) }
    };
    let column = |cluster: &Cluster, number: usize| {
        let view = cluster.view();
        let ix = view.index("n1").unwrap().at();
        let found = view.load()[ix / CHUNK].extended(view.resource(&format!("x.io/{number}"))?)?;
        Some(found.requested[ix % CHUNK])
    };
    for number in 0..1000 {
        cluster.apply_pod(odd(number));
        assert_eq!(column(&cluster, number), Some(1));
        if number >= 3 {
            cluster.delete_pod(&PodKey::new("default", format!("p{number}")));
        }
    }
    assert_eq!([0, 1, 2, 3, 998].map(|number| column(&cluster, number)), [Some(1), Some(1), Some(1), None, None]);
    let view = cluster.view();
    assert_eq!(view.load().iter().map(|chunk| chunk.extended.len()).sum::<usize>(), 3);
    let known = (0..1000).filter(|number| view.resource(&format!("x.io/{number}")).is_some()).count();
    assert!(known <= 66, "{known} names");
}
