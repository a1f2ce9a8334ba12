use super::*;
use crate::cluster::*;
use crate::constraint::{Missing, ReplicaRule, parse_label};
use crate::topology::Kind;
use crate::units::{Bytes, MilliCpu};

const NOW: Timestamp = Timestamp(10_000_000);

fn pod(name: &str, delays: &[(&str, &str)]) -> Pod {
    Pod {
        key: PodKey::new("default", name),
        uid: format!("uid-{name}"),
        scheduler_name: "edge-scheduler".into(),
        requests: Resources { cpu: MilliCpu(1000), memory: Bytes(1), ..Resources::default() },
        delays: delays.iter().map(|(from, ms)| parse_label(&format!("delay_{from}"), ms).unwrap().unwrap()).collect(),
        ..Pod::default()
    }
}

fn on(node: &str, pod: Pod) -> Pod {
    Pod { node_name: Some(node.into()), ..pod }
}

/// Nodes a, b, c of 2 CPU. a-b 5 ms; a-c estimated at 1 ms; b-c 3 ms, stale.
fn state(pods: &[Pod]) -> State {
    let mut cluster = Cluster::new(Settings::default());
    for name in ["a", "b", "c"] {
        let allocatable = Resources { cpu: MilliCpu(2000), memory: Bytes(10), pods: 3, ..Resources::default() };
        cluster.apply_node(Node { name: name.into(), allocatable, ..Node::default() });
    }
    let stat = |us, at, kind| PairStat { kind, ..PairStat::declared(Micros(us), at) };
    cluster.report_rtt("a", "b", stat(5_000, NOW, Kind::Measured));
    cluster.report_rtt("a", "c", stat(1_000, NOW, Kind::Estimated));
    cluster.report_rtt("c", "b", stat(3_000, Timestamp(NOW.0 - 900_001), Kind::Measured));
    pods.iter().for_each(|pod| drop(cluster.apply_pod(pod.clone())));
    State::of(cluster.view(), NOW)
}

fn check(pods: &[Pod], expected: &[&str]) {
    let found: Vec<String> = state(pods).check("edge-scheduler").iter().map(ToString::to_string).collect();
    assert_eq!(found, expected);
}

fn binding(pod: &str, node: &str) -> Binding {
    Binding { pod: PodKey::new("default", pod), uid: format!("uid-{pod}"), node: node.into() }
}

fn check_plan(pods: &[Pod], bindings: &[Binding], expected: &[&str]) {
    let found: Vec<String> = state(pods).check_plan(bindings).iter().map(ToString::to_string).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_sound_state_has_no_violations() {
    check(&[on("b", pod("x", &[("a", "5")])), on("a", pod("y", &[("x", "5"), ("a", "0.5")])), pod("pending", &[("zzz", "1")])], &[]);
}

#[test]
fn bounds_estimates_and_stale_pairs_are_seen() {
    check(&[on("b", pod("x", &[("a", "4.9")]))], &["pod default/x on b is 5 ms from a, bound 4.9 ms"]);
    check(&[on("c", pod("x", &[("a", "5")]))], &["pod default/x on c: the RTT from a is not measured"]);
    check(&[on("c", pod("x", &[("b", "5")]))], &["pod default/x on c: the RTT from b is not measured"]);
    let mut allowed = on("c", pod("x", &[("b", "5")]));
    allowed.delays[0].missing = Missing::Allow;
    check(&[allowed], &[]);
    check(&[on("b", pod("x", &[("gone", "5")]))], &["pod default/x on b: nothing stands behind its delay reference gone"]);
    check(&[on("b", pod("x", &[("x", "5")]))], &["pod default/x on b: nothing stands behind its delay reference x"]);
    let unreadable = parse_label("delay_a", "abc").unwrap().unwrap_err();
    check(
        &[on("b", Pod { delay_errors: vec![unreadable], ..pod("x", &[]) })],
        &["pod default/x is on a node although its delay bounds can't be read"],
    );
    check(&[Pod { scheduler_name: "other".into(), ..on("b", pod("x", &[("a", "1")])) }], &[]);
}

#[test]
fn replicas_any_or_all() {
    let of_api = |name: &str, node: &str| Pod {
        owner: Some(Workload { kind: WorkloadKind::Deployment, name: "api".into() }),
        ..on(node, pod(name, &[]))
    };
    let mut all = on("a", pod("x", &[("api", "1")]));
    check(&[of_api("api-1", "a"), of_api("api-2", "b"), all.clone()], &[]);
    all.delays[0].replicas = ReplicaRule::All;
    check(&[of_api("api-1", "a"), of_api("api-2", "b"), all], &["pod default/x on a is 5 ms from api, bound 1 ms"]);
}

#[test]
fn overcommitted_nodes_are_seen() {
    let three: Vec<Pod> = ["x", "y", "z"].map(|name| on("a", pod(name, &[]))).into();
    check(&three[..2], &[]);
    check(&three, &["node a is over-committed: 3000 of 2000 cpu"]);
    let others: Vec<Pod> = three.iter().map(|pod| Pod { scheduler_name: "other".into(), ..pod.clone() }).collect();
    check(&others, &[]);
    let idle = |name: &str| on("a", Pod { requests: Resources::default(), ..pod(name, &[]) });
    check(&[idle("1"), idle("2"), idle("3"), idle("4")], &["node a is over-committed: 4 of 3 pods"]);
}

#[test]
fn a_plan_binds_once_with_the_uid_and_only_what_may_be_bound() {
    let pods = [
        pod("x", &[]),
        on("b", pod("bound", &[])),
        Pod { terminating: true, ..pod("dying", &[]) },
        Pod { scheduling_gates: vec!["g".into()], ..pod("gated", &[]) },
    ];
    check_plan(&pods, &[binding("x", "a")], &[]);
    check_plan(&pods, &[binding("x", "a"), binding("x", "b")], &["pod default/x is bound more than once: to a and to b"]);
    check_plan(&pods, &[binding("bound", "a")], &["pod default/bound is bound more than once: to b and to a"]);
    check_plan(
        &pods,
        &[Binding { uid: "old".into(), ..binding("x", "a") }],
        &["pod default/x is bound with UID old, and its UID is uid-x"],
    );
    check_plan(&pods, &[binding("dying", "a")], &["pod default/dying is bound while it is being deleted"]);
    check_plan(&pods, &[binding("gated", "a")], &["pod default/gated is bound although it has scheduling gates"]);
    check_plan(&pods, &[binding("nobody", "a")], &["pod default/nobody is bound, and no such pod exists"]);
    check_plan(&pods, &[binding("x", "nowhere")], &["pod default/x is bound to nowhere, and no such node exists"]);
}

#[test]
fn a_plan_may_place_a_group_and_may_not_fill_a_node_twice() {
    let pair = [pod("x", &[("y", "5")]), pod("y", &[("x", "5")])];
    check_plan(&pair, &[binding("x", "a"), binding("y", "b")], &[]);
    check_plan(&pair, &[binding("x", "a")], &["pod default/x on a: nothing stands behind its delay reference y"]);
    let three = ["x", "y", "z"].map(|name| pod(name, &[]));
    check_plan(&three, &[binding("x", "a"), binding("y", "a"), binding("z", "a")], &["node a is over-committed: 3000 of 2000 cpu"]);
}
