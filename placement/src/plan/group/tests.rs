use super::super::Hold;
use super::super::tests::{NOW, node, of, pod, rtt};
use super::*;
use crate::cluster::{Cluster, Profile, Settings};
use crate::constraint::{ReplicaRule, mutual_groups};
use proptest::prelude::*;

fn world(nodes: usize, rtts: &[(usize, usize, u32)]) -> Cluster {
    world_with(Settings::default(), nodes, rtts)
}

/// Nodes n0, n1, … of 4 CPU; RTTs as `(a, b, us)`, every other pair unmeasured.
fn world_with(settings: Settings, nodes: usize, rtts: &[(usize, usize, u32)]) -> Cluster {
    let mut cluster = Cluster::new(settings);
    for i in 0..nodes {
        cluster.apply_node(node(&format!("n{i}"), 4000, &[]));
    }
    for &(a, b, us) in rtts {
        rtt(&mut cluster, &format!("n{a}"), &format!("n{b}"), us);
    }
    cluster
}

fn place(cluster: &mut Cluster, pods: &[Pod]) -> GroupDecision {
    pods.iter().for_each(|pod| drop(cluster.apply_pod(pod.clone())));
    Planner::new().place_group(&cluster.snapshot(), pods, NOW, Warmth::Warm)
}

/// Nodes in the order of the pods, or the messages.
fn check(cluster: &mut Cluster, pods: &[Pod], expected: &[&str]) {
    let decision = place(cluster, pods);
    let got: Vec<String> = decision.decisions.iter().map(|d| d.placed().map_or_else(|| d.message(), ToOwned::to_owned)).collect();
    assert_eq!(got, expected);
    assert_eq!(decision.placed(), expected.iter().all(|e| e.starts_with('n')));
}

#[test]
fn a_pair_that_refers_to_each_other_is_placed_together() {
    let mut cluster = world(3, &[(0, 1, 9_000), (1, 2, 4_000), (0, 2, 9_000)]);
    // a stands at n0 or n1 only through b, which must be within 1 ms of n2.
    let pods = [pod("a", 3000, &[("b", "5"), ("n1", "1")]), pod("b", 3000, &[("a", "5"), ("n2", "1")])];
    check(&mut cluster, &pods, &["n1", "n2"]);
    let decision = place(&mut cluster, &pods);
    assert!(
        matches!(&decision.decisions[0].outcome, Outcome::Place { because, .. } if because == "4 ms from b (on n2), bound 5 ms; 0 ms from n1, bound 1 ms")
    );
    assert_eq!(Planner::groups(&cluster.snapshot(), &pods), [[pods[0].key.clone(), pods[1].key.clone()]]);
}

#[test]
fn members_keep_apart_that_must() {
    let mut cluster = world(3, &[(0, 1, 1_000), (1, 2, 1_000), (0, 2, 1_000)]);
    for i in 0..3 {
        let mut labelled = node(&format!("n{i}"), 4000, &[]);
        labelled.labels = [("host".to_owned(), format!("n{i}"))].into();
        cluster.apply_node(labelled);
    }
    let apart = |mut pod: Pod| {
        let selector = Some(Default::default());
        let term = crate::cluster::PodTerm {
            selector,
            namespaces: vec![pod.key.namespace.clone()],
            topology_key: "host".into(),
            ..Default::default()
        };
        pod.pod_anti_affinity.required = vec![term];
        pod
    };
    // b would stand on n0 beside a, being within 0 ms of it.
    let pods = [pod("a", 1000, &[("b", "5"), ("n0", "0")]), apart(pod("b", 1000, &[("a", "5")]))];
    let decision = place(&mut cluster, &pods);
    let placed: Vec<&str> = decision.decisions.iter().filter_map(|decision| decision.placed()).collect();
    assert!(placed[0] == "n0" && placed[1] != "n0", "{placed:?}");
    let pods = [pods[0].clone(), apart(pod("b", 1000, &[("a", "5"), ("n0", "0")]))];
    assert!(!place(&mut cluster, &pods).placed());
}

/// Both fit n0 alone, which has none of what an extender is to find room for.
#[test]
fn room_that_is_ignored_for_one_is_ignored_for_a_group() {
    let name = "x.io/gpu".to_owned();
    let pods = ["a", "b"].map(|name| pod(name, 1000, &[(if name == "a" { "b" } else { "a" }, "5"), ("n0", "0")]));
    let with_gpus = |ignored: bool| {
        let mut profile = Profile::new("");
        profile.fit.ignored.extend(ignored.then(|| name.clone()));
        let mut cluster = world_with(Settings { profiles: profile.into(), ..Settings::default() }, 2, &[(0, 1, 1_000)]);
        let asking = pods.clone().map(|mut pod| {
            pod.requests.extended.insert(name.clone(), i64::MAX);
            pod
        });
        place(&mut cluster, &asking).placed()
    };
    assert_eq!([true, false].map(with_gpus), [true, false]);
}

#[test]
fn all_or_none() {
    let mut cluster = world(2, &[(0, 1, 9_000)]);
    let pods = [pod("a", 3000, &[("b", "5")]), pod("b", 3000, &[("a", "5")])];
    let message = "0/2 nodes are available: no placement meets every bound of the group that refers to each other: default/a, default/b.";
    check(&mut cluster, &pods, &[message, message]);
    let waiting = place(&mut cluster, &pods);
    let wakes =
        |cluster: &mut Cluster, us| rtt(cluster, "n0", "n1", us).iter().all(|event| waiting.decisions.iter().all(|d| d.wakes(event)));
    assert!(!wakes(&mut cluster, 8_000) && wakes(&mut cluster, 5_000));
    assert!(place(&mut cluster, &pods).placed());
}

#[test]
fn a_member_that_fits_nowhere_says_why_and_the_others_wait_for_it() {
    let mut cluster = world(2, &[(0, 1, 1_000)]);
    let pods = [pod("a", 100, &[("b", "5")]), pod("b", 9000, &[("a", "5")])];
    check(
        &mut cluster,
        &pods,
        &[
            "0/2 nodes are available: no placement meets every bound of the group that refers to each other: default/a, default/b.",
            "0/2 nodes are available: 2 Insufficient cpu.",
        ],
    );
    let held = [pod("c", 100, &[("d", "5"), ("nowhere", "1")]), pod("d", 100, &[("c", "5")])];
    let decision = place(&mut cluster, &held);
    assert!(matches!(&decision.decisions[0].outcome, Outcome::Held(Hold::UnknownReference { from, .. }) if from == "nowhere"));
}

#[test]
fn replicas_that_refer_to_their_own_workload_share_the_room() {
    let mut cluster = world(4, &[(0, 1, 2_000), (0, 2, 2_000), (1, 2, 2_000), (0, 3, 90_000), (1, 3, 90_000), (2, 3, 90_000)]);
    let replica = |i: usize| {
        let mut pod = of(pod(&format!("db-{i}"), 3000, &[("db", "5")]), "db");
        pod.delays[0].replicas = ReplicaRule::All;
        pod
    };
    let pods: Vec<Pod> = (0..3).map(replica).collect();
    pods.iter().for_each(|pod| drop(cluster.apply_pod(pod.clone())));
    assert_eq!(mutual_groups(&pods, &*cluster.snapshot()).len(), 1);
    let decision = place(&mut cluster, &pods);
    let mut nodes: Vec<&str> = decision.decisions.iter().filter_map(Decision::placed).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, ["n0", "n1", "n2"], "one to a node, and none on the far one");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Against every assignment there is: found when one exists, and what is found holds.
    #[test]
    fn the_search_agrees_with_trying_everything(rtts in proptest::collection::vec(proptest::option::weighted(0.8, 1u32..10), 6),
                                                bounds in proptest::collection::vec((0usize..3, 0usize..3, 1u32..10), 3..6),
                                                cpus in proptest::collection::vec(1i64..5, 3)) {
        let pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)];
        let measured: Vec<(usize, usize, u32)> = pairs.iter().zip(&rtts).filter_map(|(&(a, b), us)| Some((a, b, us.as_ref()? * 1000))).collect();
        let mut cluster = world(4, &measured);
        let name = |i: usize| format!("p{i}");
        let mut delays: Vec<Vec<(String, String)>> = vec![Vec::new(); 3];
        for &(a, b, ms) in bounds.iter().filter(|(a, b, _)| a != b) {
            if !delays[a].iter().any(|(to, _)| *to == name(b)) {
                delays[a].push((name(b), ms.to_string()));
            }
        }
        let pods: Vec<Pod> = (0..3).map(|i| {
            let labels: Vec<(&str, &str)> = delays[i].iter().map(|(to, ms)| (to.as_str(), ms.as_str())).collect();
            pod(&name(i), cpus[i] * 1000, &labels)
        }).collect();
        let us = |a: usize, b: usize| match a == b {
            true => Some(0),
            false => measured.iter().find(|&&(x, y, _)| (x, y) == (a.min(b), a.max(b))).map(|m| m.2),
        };
        let holds = |nodes: &[usize]| {
            let room = (0..4).all(|n| (0..3).filter(|&p| nodes[p] == n).map(|p| cpus[p]).sum::<i64>() <= 4);
            room && (0..3).all(|p| pods[p].delays.iter().all(|bound| {
                let other = bound.from.name()[1..].parse::<usize>().unwrap();
                us(nodes[p], nodes[other]).is_some_and(|us| us <= bound.max.0)
            }))
        };
        let possible = (0..64).any(|i| holds(&[i % 4, i / 4 % 4, i / 16]));
        let decision = place(&mut cluster, &pods);
        prop_assert_eq!(decision.placed(), possible);
        if possible {
            let nodes: Vec<usize> = decision.decisions.iter().map(|d| d.placed().unwrap()[1..].parse().unwrap()).collect();
            prop_assert!(holds(&nodes), "{:?}", nodes);
        }
    }
}
