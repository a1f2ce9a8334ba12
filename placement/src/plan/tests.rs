//! The planner on small clusters whose answers are known.

use super::*;
use crate::cluster::*;
use crate::constraint::parse_label;
use crate::topology::{Kind, PairStat};
use crate::units::{Bytes, Micros, MilliCpu, Timestamp};
use std::time::Duration;

pub(super) const NOW: Timestamp = Timestamp(10_000_000);

pub(super) fn node(name: &str, cpu: i64, labels: &[(&str, &str)]) -> Node {
    Node {
        name: name.into(),
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        allocatable: Resources { cpu: MilliCpu(cpu), memory: Bytes(8 << 30), pods: 110, ..Resources::default() },
        ..Node::default()
    }
}

pub(super) fn pod(name: &str, cpu: i64, delays: &[(&str, &str)]) -> Pod {
    let requests = Resources { cpu: MilliCpu(cpu), memory: Bytes(1 << 30), ..Resources::default() };
    let (delays, delay_errors) = delays.iter().fold((vec![], vec![]), |(mut bounds, mut errors), (from, max)| {
        match parse_label(&format!("delay_{from}"), max).unwrap() {
            Ok(bound) => bounds.push(bound),
            Err(error) => errors.push(error),
        }
        (bounds, errors)
    });
    Pod {
        key: PodKey::new("default", name),
        uid: format!("uid-{name}"),
        scoring_requests: requests.clone(),
        requests,
        delays,
        delay_errors,
        ..Pod::default()
    }
}

pub(super) fn of(pod: Pod, deployment: &str) -> Pod {
    Pod { owner: Some(Workload { kind: WorkloadKind::Deployment, name: deployment.into() }), ..pod }
}

pub(super) fn rtt(cluster: &mut Cluster, a: &str, b: &str, us: u32) -> Changes {
    cluster.report_rtt(a, b, PairStat { kind: Kind::Measured, samples: 20, ..PairStat::declared(Micros(us), NOW) })
}

/// edge-1 and edge-2 at 3 ms, edge-3 at 31.2 ms from edge-1; a cloud node at 40 ms from every one; an untainted control plane.
fn world() -> Cluster {
    let mut cluster = Cluster::new(Settings::default());
    for (name, labels) in [
        ("edge-1", &[][..]),
        ("edge-2", &[]),
        ("edge-3", &[]),
        ("cloud-1", &[("kubernetes.io/role", "cloud")]),
        ("master", &[("node-role.kubernetes.io/control-plane", "")]),
    ] {
        cluster.apply_node(node(name, 4000, labels));
    }
    rtt(&mut cluster, "edge-1", "edge-2", 3_000);
    rtt(&mut cluster, "edge-1", "edge-3", 31_200);
    rtt(&mut cluster, "edge-2", "edge-3", 30_000);
    rtt(&mut cluster, "edge-1", "master", 1_000);
    for edge in ["edge-1", "edge-2", "edge-3"] {
        rtt(&mut cluster, edge, "cloud-1", 40_000);
    }
    cluster
}

/// Applies the pod, decides, and holds the two forms of the planner against each other.
fn place(cluster: &mut Cluster, pod: Pod) -> Decision {
    cluster.apply_pod(pod.clone());
    let (snapshot, mut planner) = (cluster.snapshot(), Planner::new());
    let decision = planner.place(&snapshot, &pod, NOW, Warmth::Warm);
    let brief = planner.decide(&snapshot, &pod, NOW, Warmth::Warm);
    assert_eq!((&brief.outcome, brief.message(), &brief.wake), (&decision.outcome, decision.message(), &decision.wake));
    assert_eq!(brief.nodes, if brief.placed().is_some() { Vec::new() } else { decision.nodes.clone() });
    match planner.choose(&snapshot, &pod, NOW, Warmth::Warm) {
        Choice::Place(ix) => assert_eq!(decision.placed(), Some(snapshot.name(ix))),
        Choice::Unschedulable => assert_eq!(decision.outcome, Outcome::Unschedulable),
        Choice::Held(hold) => assert_eq!(decision.outcome, Outcome::Held(hold)),
    }
    decision
}

/// Node and reason, or the message.
fn check(cluster: &mut Cluster, pod: Pod, expected: &str) {
    let decision = place(cluster, pod);
    let got = match &decision.outcome {
        Outcome::Place { node, because } => format!("{node}: {because}"),
        _ => decision.message(),
    };
    assert_eq!(got, expected);
}

#[test]
fn the_four_classic_cases() {
    let mut cluster = world();
    check(&mut cluster, pod("near", 1000, &[("edge-1", "25")]), "edge-1: 0 ms from edge-1, bound 25 ms");
    check(&mut cluster, pod("free", 1000, &[]), "cloud-1: no delay bound, so a cloud node; score 452, best of 1");
    check(&mut cluster, pod("nearest", 1000, &[("edge-1", "1")]), "edge-1: 0 ms from edge-1, bound 1 ms");
    cluster.apply_pod(of(pod("api-1", 100, &[]), "api"));
    check(&mut cluster, pod("to-workload", 1000, &[("api", "5")]), "0/5 nodes are available: delay reference \"api\" is not placed yet.");
    cluster.assume(&PodKey::new("default", "api-1"), "uid-api-1", "edge-2").unwrap();
    check(&mut cluster, pod("to-workload", 1000, &[("api", "5")]), "edge-2: 0 ms from api (on edge-2), bound 5 ms");
}

#[test]
fn a_rejection_counts_every_reason_in_kube_schedulers_words() {
    let mut cluster = world();
    cluster.apply_node(Node { unschedulable: true, ..node("edge-2", 4000, &[]) });
    check(
        &mut cluster,
        pod("big", 5000, &[("edge-1", "25")]),
        "0/5 nodes are available: 1 node(s) were unschedulable, 4 Insufficient cpu.",
    );
    check(
        &mut cluster,
        pod("far", 100, &[("edge-3", "0.5"), ("edge-1", "25")]),
        "0/5 nodes are available: 1 RTT from edge-1 above 25 ms, 1 RTT from edge-3 not measured, 1 node(s) were unschedulable, 2 RTT from edge-3 above 0.5 ms.",
    );
}

#[test]
fn what_holds_a_pod_whatever_the_nodes_say() {
    let mut cluster = world();
    check(
        &mut cluster,
        pod("a", 1, &[("edge-9", "5")]),
        "0/5 nodes are available: delay reference \"edge-9\" is no node, and no workload or pod of namespace \"default\".",
    );
    check(&mut cluster, pod("self", 1, &[("self", "5")]), "0/5 nodes are available: delay reference \"self\" is the pod itself.");
    let gated = Pod { scheduling_gates: vec!["a".into(), "b".into()], ..pod("g", 1, &[]) };
    check(&mut cluster, gated, "0/5 nodes are available: waiting for scheduling gates: [a b].");
    let invalid = place(&mut cluster, pod("bad", 1, &[("edge-1", "abc")]));
    assert!(matches!(&invalid.outcome, Outcome::Held(Hold::DelayInvalid(errors)) if errors[0].value == "abc"));
    let warming =
        Planner::new().place(&cluster.snapshot(), &pod("w", 1, &[("edge-1", "25")]), NOW, Warmth::Warming { heard: 1, expected: 5 });
    assert_eq!(warming.message(), "0/5 nodes are available: the topology is warming up: 1 of 5 nodes have reported.");
    assert!(warming.wakes(&ClusterEvent::TopologyWarm));
    check(&mut Cluster::new(Settings::default()), pod("n", 1, &[]), "no nodes available to schedule pods");
}

#[test]
fn the_band_leaves_the_choice_among_near_equals_to_load() {
    let mut cluster = world();
    // edge-1 is nearest and full of other things; edge-2 is 0.4 ms away and empty; edge-3 is empty and out of the band.
    cluster.apply_pod(Pod { node_name: Some("edge-1".into()), ..pod("other", 3000, &[]) });
    rtt(&mut cluster, "edge-1", "edge-2", 400);
    check(&mut cluster, pod("a", 500, &[("edge-1", "50")]), "edge-2: 0.4 ms from edge-1, bound 50 ms");
    rtt(&mut cluster, "edge-1", "edge-2", 501);
    check(&mut cluster, pod("b", 500, &[("edge-1", "50")]), "edge-1: 0 ms from edge-1, bound 50 ms");
    let decision = place(&mut cluster, pod("c", 500, &[("edge-1", "50")]));
    let costs = decision.nodes.iter().map(|n| match &n.verdict {
        Verdict::Feasible { cost_us, in_band, .. } => Some((cost_us.unwrap(), *in_band)),
        Verdict::Rejected(_) => None,
    });
    // In the order of names: cloud-1, edge-1, edge-2, edge-3, master.
    let costs: Vec<_> = costs.collect();
    assert_eq!(costs, [Some((40_000.0, false)), Some((0.0, true)), Some((501.0, false)), Some((31_200.0, false)), None]);
}

#[test]
fn the_undelayed_rule_looks_for_cloud_nodes_and_prefers_nothing_else() {
    let mut cluster = world();
    check(&mut cluster, pod("big", 5000, &[]), "0/5 nodes are available: 5 Insufficient cpu.");
    check(&mut cluster, pod("a", 4000, &[]), "cloud-1: no delay bound, so a cloud node; score 396, best of 1");
    cluster.assume(&PodKey::new("default", "a"), "uid-a", "cloud-1").unwrap();
    check(&mut cluster, pod("b", 4000, &[]), "0/5 nodes are available: 1 Insufficient cpu, 4 node(s) without the cloud role.");
    cluster.delete_node("cloud-1");
    let decision = place(&mut cluster, pod("b", 4000, &[]));
    assert!(
        decision.placed().is_some_and(|node| node.starts_with("edge-")),
        "without any cloud node any node will do, but not the control plane"
    );
}

#[test]
fn with_the_delay_filter_off_bounds_mean_nothing() {
    let mut cluster = Cluster::new(Settings { delay_filter: false, ..Settings::default() });
    cluster.apply_node(node("near", 1000, &[]));
    cluster.apply_node(node("far", 4000, &[]));
    rtt(&mut cluster, "near", "far", 90_000);
    check(&mut cluster, pod("a", 500, &[("near", "5"), ("unknown", "1")]), "far: score 462, best of 2");
}

#[test]
fn a_bound_pod_is_explained_as_if_it_did_not_stand_there() {
    let mut cluster = world();
    let own = Pod { node_name: Some("edge-1".into()), ..pod("own", 4000, &[("edge-1", "1")]) };
    cluster.apply_pod(own.clone());
    let decision = Planner::new().place(&cluster.snapshot(), &own, NOW, Warmth::Warm);
    assert_eq!(decision.placed(), Some("edge-1"));
    assert_eq!(cluster.view().load()[0].pods.iter().sum::<i64>(), 1);
}

#[test]
fn a_dead_reference_serves_until_its_row_is_too_old() {
    let mut cluster = world();
    cluster.delete_node("edge-1");
    let near = pod("a", 100, &[("edge-1", "5")]);
    check(&mut cluster, near.clone(), "edge-2: 3 ms from edge-1, bound 5 ms");
    let late = Timestamp(NOW.0 + 15 * 60_000 + 1);
    let decision = Planner::new().place(&cluster.snapshot(), &near, late, Warmth::Warm);
    assert_eq!(decision.message(), "0/4 nodes are available: 4 RTT from edge-1 not measured.");
    let fresh = PairStat::declared(Micros(3_000), late);
    assert!(decision.wakes(&cluster.report_rtt("edge-1", "edge-2", fresh)[0]), "as far as before, but measured again");
    cluster.expire(Timestamp(2 * late.0), crate::units::Span(15 * 60_000));
    check(
        &mut cluster,
        near,
        "0/4 nodes are available: delay reference \"edge-1\" is no node, and no workload or pod of namespace \"default\".",
    );
}

#[test]
fn an_rtt_update_wakes_only_pods_whose_bound_it_crosses() {
    let mut cluster = world();
    let waiting = place(&mut cluster, pod("big", 3500, &[("edge-3", "20")]));
    assert_eq!(waiting.placed(), Some("edge-3"));
    cluster.assume(&PodKey::new("default", "big"), "uid-big", "edge-3").unwrap();
    let waiting = place(&mut cluster, pod("next", 3500, &[("edge-3", "20")]));
    assert_eq!(
        waiting.message(),
        "0/5 nodes are available: 1 Insufficient cpu, 1 RTT from edge-3 not measured, 3 RTT from edge-3 above 20 ms."
    );
    let wakes = |cluster: &mut Cluster, a: &str, b: &str, us| rtt(cluster, a, b, us).iter().any(|event| waiting.wakes(event));
    assert!(!wakes(&mut cluster, "edge-2", "edge-3", 21_000));
    assert!(!wakes(&mut cluster, "edge-1", "edge-2", 1_000));
    assert!(wakes(&mut cluster, "edge-2", "edge-3", 20_000));
    assert!(!wakes(&mut cluster, "edge-2", "edge-3", 19_000), "within before and after");
    assert!(waiting.wakes(&cluster.forget(&PodKey::new("default", "big"))[0]));
}

#[test]
fn price_counts_against_response_time() {
    let price = Price { label: "example.com/price".into(), weight_us: 1_000 };
    let check = |near: &str, far: &str, chosen: &str| {
        let mut cluster = Cluster::new(Settings { price: Some(price.clone()), ..Settings::default() });
        cluster.apply_node(node("near", 4000, &[("example.com/price", near)]));
        cluster.apply_node(node("far", 4000, &[("example.com/price", far)]));
        rtt(&mut cluster, "near", "far", 8_000);
        let decision = place(&mut cluster, pod("a", 100, &[("near", "25")]));
        assert_eq!(decision.placed(), Some(chosen), "{near} against {far}");
    };
    check("1", "1", "near");
    check("10", "1", "far");
    check("8.4", "1", "near");
    check("dear", "1", "near");
}

#[test]
fn demand_draws_the_pods_of_its_workload() {
    let mut cluster = world();
    let api = Workload { kind: WorkloadKind::Deployment, name: "api".into() };
    let replica = |name: &str| of(pod(name, 100, &[("edge-1", "50")]), "api");
    assert_eq!(place(&mut cluster, replica("a")).placed(), Some("edge-1"));
    let demand = vec![("edge-1".to_owned(), 1.0), ("edge-3".to_owned(), 9.0)];
    cluster.set_demand("default", &api, Some(demand), Micros(5_000));
    let decision = place(&mut cluster, replica("b"));
    assert_eq!(decision.placed(), Some("edge-3"));
    let Verdict::Feasible { cost_us, .. } = decision.nodes[3].verdict else { panic!("{decision:?}") };
    assert_eq!(cost_us, Some((31_200.0 + 5_000.0 + 9.0 * 5_000.0) / 10.0));
    cluster.set_demand("default", &api, None, Micros(0));
    assert_eq!(place(&mut cluster, replica("c")).placed(), Some("edge-1"));
}

#[test]
fn another_scheduler_is_advised_by_bounds_alone() {
    let cluster = world();
    let nodes = ["cloud-1", "edge-2", "edge-3", "nowhere"];
    let advise = |pod: &Pod, warm| Planner::new().advise(cluster.view(), pod, &nodes, NOW, warm);
    // Too large for every node, and without the cloud role: that is the other's business.
    let bounded = pod("web", 99_000, &[("edge-1", "40")]);
    let advice = advise(&bounded, Warmth::Warm).unwrap().unwrap();
    let [cloud, near, far, unknown] = &advice[..] else { panic!("{advice:?}") };
    assert_eq!((near, far), (&Advice::Within { score: 10 }, &Advice::Within { score: 1 }), "3 ms and 31.2 ms");
    assert_eq!(cloud, &Advice::Within { score: 0 });
    assert_eq!(unknown, &Advice::Outside(Reason::RttUnmeasured { from: "edge-1".into(), via: None }));
    let near_only = advise(&pod("web", 1, &[("edge-1", "5")]), Warmth::Warm).unwrap().unwrap();
    assert!(matches!(&near_only[0], Advice::Outside(Reason::RttAbove { .. })) && near_only[1] == Advice::Within { score: 10 });
    assert_eq!(advise(&pod("web", 1, &[]), Warmth::Warm), Ok(None));
    let unknown = advise(&pod("web", 1, &[("nobody", "5")]), Warmth::Warm);
    assert!(matches!(unknown, Err(Hold::UnknownReference { .. })), "{unknown:?}");
    assert!(advise(&bounded, Warmth::Warming { heard: 0, expected: 4 }).is_err());
}

/// Two nodes of 4 CPU; on `a` pods of priority 1 and 5, on `b` one of priority 2, each of 2 CPU, and on `b` another of 2.
fn full() -> Cluster {
    let mut cluster = Cluster::new(Settings { undelayed: Undelayed::Any, ..Settings::default() });
    for name in ["a", "b"] {
        cluster.apply_node(node(name, 4000, &[]));
    }
    for (name, on, priority, started) in [("a1", "a", 1, 10), ("a5", "a", 5, 10), ("b2", "b", 2, 20), ("b2-younger", "b", 2, 30)] {
        cluster.apply_pod(Pod {
            priority,
            started: Some(Timestamp(started)),
            node_name: Some(on.into()),
            labels: [("app".to_owned(), name.to_owned())].into(),
            ..pod(name, 2000, &[])
        });
    }
    cluster
}

/// What preemption answers for a pod of this priority and CPU: node, victims and budgets broken, or the message.
fn preempt(cluster: &mut Cluster, pod: Pod) -> Result<(String, Vec<String>, usize), String> {
    cluster.apply_pod(pod.clone());
    let (snapshot, mut planner) = (cluster.snapshot(), Planner::new());
    let decision = planner.place(&snapshot, &pod, NOW, Warmth::Warm);
    assert_eq!(decision.outcome, Outcome::Unschedulable);
    match planner.preempt(&snapshot, &pod, &decision, NOW).expect("the default profile preempts") {
        Preemption::Evict(Eviction { node, victims, violations, .. }) => {
            Ok((node, victims.iter().map(|victim| victim.key.name.clone()).collect(), violations))
        }
        no @ Preemption::No { .. } => Err(no.message()),
    }
}

fn urgent(priority: i32, cpu: i64) -> Pod {
    Pod { priority, ..pod("urgent", cpu, &[]) }
}

#[test]
fn the_node_whose_victims_matter_least_gives_room() {
    let check = |priority, cpu, node: &str, victims: &[&str]| {
        let found = preempt(&mut full(), urgent(priority, cpu)).expect("someone can go");
        assert_eq!((found.0.as_str(), found.1), (node, victims.iter().map(|v| (*v).to_owned()).collect()), "priority {priority}");
    };
    check(10, 1000, "a", &["a1"]);
    check(10, 4000, "b", &["b2", "b2-younger"]);
    check(3, 4000, "b", &["b2", "b2-younger"]);
    check(2, 1000, "a", &["a1"]);
    let mut cluster = full();
    cluster.delete_pod(&PodKey::new("default", "a1"));
    cluster.apply_pod(Pod { priority: 9, node_name: Some("a".into()), ..pod("a9", 2000, &[]) });
    assert_eq!(preempt(&mut cluster, urgent(10, 1000)).unwrap().1, ["b2-younger"], "of equals the younger");
}

#[test]
fn who_evicts_nobody_is_told_why() {
    let check =
        |priority, cpu, message: &str| assert_eq!(preempt(&mut full(), urgent(priority, cpu)), Err(format!("preemption: {message}")));
    check(1, 1000, "0/2 nodes are available: 2 No preemption victims found for incoming pod.");
    check(10, 5000, "0/2 nodes are available: 2 Preemption is not helpful for scheduling.");
    check(2, 4000, "0/2 nodes are available: 1 Insufficient cpu, 1 No preemption victims found for incoming pod.");
    let never = Pod { never_preempts: true, ..urgent(10, 1000) };
    assert_eq!(preempt(&mut full(), never), Err("preemption: not eligible due to preemptionPolicy=Never.".into()));
    let mut cluster = full();
    cluster.apply_pod(Pod {
        priority: 1,
        preempted: true,
        terminating: true,
        node_name: Some("a".into()),
        ..Pod::clone(cluster.view().pod_named("default", "a1").unwrap().pod)
    });
    let waiting = Pod { nominated_node: Some("a".into()), ..urgent(10, 1000) };
    assert_eq!(preempt(&mut cluster, waiting), Err("preemption: not eligible due to a terminating pod on the nominated node.".into()));
}

#[test]
fn budgets_of_disruption_are_broken_last() {
    let mut cluster = full();
    let protected: Labels = [("app".to_owned(), "a1".to_owned())].into();
    let selector = LabelSelector::of_labels(&protected);
    let budget = DisruptionBudget { namespace: "default".into(), name: "keep".into(), selector, ..DisruptionBudget::default() };
    cluster.apply_budget(budget.clone());
    assert_eq!(preempt(&mut cluster, urgent(10, 1000)), Ok(("b".into(), vec!["b2-younger".into()], 0)));
    cluster.apply_budget(DisruptionBudget { allowed: 1, ..budget.clone() });
    assert_eq!(preempt(&mut cluster, urgent(10, 1000)), Ok(("a".into(), vec!["a1".into()], 0)));
    cluster.apply_budget(budget);
    assert_eq!(preempt(&mut cluster, urgent(2, 1000)), Ok(("a".into(), vec!["a1".into()], 1)), "there is no other way");
}

#[test]
fn nobody_is_evicted_where_a_delay_bound_does_not_hold_nor_for_a_bound_to_the_victim() {
    let mut cluster = full();
    rtt(&mut cluster, "a", "b", 30_000);
    let near_b = Pod { priority: 10, ..pod("urgent", 1000, &[("b", "10")]) };
    assert_eq!(preempt(&mut cluster, near_b).unwrap().0, "b");
    let beside = Pod { priority: 10, ..pod("urgent", 1000, &[("a1", "10")]) };
    assert_eq!(preempt(&mut cluster, beside), Ok(("a".into(), vec!["a5".into()], 0)), "though a1 counts for less");
}

#[test]
fn promised_room_is_kept_from_pods_of_no_higher_priority() {
    let mut cluster = Cluster::new(Settings { undelayed: Undelayed::Any, ..Settings::default() });
    cluster.apply_node(node("a", 4000, &[]));
    let promised = Pod { priority: 5, nominated_node: Some("a".into()), ..pod("promised", 3000, &[]) };
    cluster.apply_pod(promised.clone());
    let with_priority = |name: &str, priority| Pod { priority, ..pod(name, 2000, &[]) };
    let decision = place(&mut cluster, with_priority("equal", 5));
    assert_eq!(decision.message(), "0/1 nodes are available: 1 Insufficient cpu.");
    assert_eq!(place(&mut cluster, with_priority("higher", 6)).placed(), Some("a"));
    cluster.apply_node(node("b", 64_000, &[]));
    assert_eq!(place(&mut cluster, promised).placed(), Some("a"), "its own room, though b is emptier");
}

#[test]
fn an_attempt_comes_by_the_stages_that_decide_it() {
    let attempt = |pod: Pod| {
        let mut cluster = world();
        cluster.apply_pod(pod.clone());
        let (snapshot, mut planner) = (cluster.snapshot(), Planner::timed(Stopwatch::new(|| Duration::ZERO)));
        planner.stopwatch.begin(true);
        let decision = planner.decide(&snapshot, &pod, NOW, Warmth::Warm);
        if decision.outcome == Outcome::Unschedulable {
            planner.preempt(&snapshot, &pod, &decision, NOW);
        }
        let points: Vec<Point> = planner.stopwatch.points().map(|(point, _)| point).collect();
        (points, planner.stopwatch)
    };
    let (points, watch) = attempt(pod("near", 1_000, &[("edge-1", "25")]));
    assert_eq!(points, [Point::PreFilter, Point::Filter, Point::PreScore, Point::Score]);
    let filters = [Plugin::NodeUnschedulable, Plugin::TaintToleration, Plugin::NodeResourcesFit, Plugin::DelayBound, Plugin::ControlPlane];
    assert_eq!(watch.asked(Point::Filter).collect::<Vec<_>>(), filters);
    let scores = [Plugin::TaintToleration, Plugin::NodeResourcesFit, Plugin::NodeResourcesBalancedAllocation, Plugin::ResponseTime];
    assert_eq!(watch.asked(Point::Score).collect::<Vec<_>>(), scores);
    let timed: Vec<(Point, Plugin)> = watch.plugins().map(|(point, plugin, _)| (point, plugin)).collect();
    let filter = |plugin| (Point::Filter, plugin);
    let wanted = [Plugin::TaintToleration, Plugin::NodeResourcesFit, Plugin::DelayBound].map(filter);
    assert_eq!(timed, [&wanted[..], &[(Point::Score, Plugin::ResponseTime)]].concat());

    let (points, watch) = attempt(pod("large", 40_000, &[]));
    assert_eq!(points, [Point::PreFilter, Point::Filter, Point::PostFilter]);
    assert_eq!(watch.asked(Point::PostFilter).collect::<Vec<_>>(), [Plugin::DefaultPreemption]);
    assert_eq!(watch.asked(Point::Score).next(), None);

    let (points, _) = attempt(pod("lost", 1_000, &[("nobody", "25")]));
    assert_eq!(points, [Point::PreFilter]);
}
