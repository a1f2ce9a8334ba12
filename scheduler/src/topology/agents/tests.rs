use super::*;
use api::protocol::ProbeMethod;

pub fn pair(to: &str, p90_us: u32) -> PairReport {
    PairReport {
        to: to.into(),
        method: ProbeMethod::Udp,
        samples: 10,
        lost: 0,
        p50_us: p90_us / 2,
        p90_us,
        jitter_us: 0,
        age_ms: 500,
        failing: false,
    }
}

pub fn report(node: &str, epoch: u64, sequence: u64, full: bool, pairs: Vec<PairReport>) -> Report {
    Report { node: node.into(), epoch, sequence, full, echo: Some(([0, 0, 0, 0], 7000).into()), pairs, devices: None }
}

const NOW: Timestamp = Timestamp(1_000_000);

/// Of a board whose agents' pace does not matter.
pub fn settings() -> Settings {
    Settings {
        probe_interval: Duration::from_secs(10),
        max_probes_per_second: 50.0,
        probe_timeout: Duration::from_secs(2),
        grace: Span(30_000),
        probing: true,
    }
}

fn agents(nodes: &[&str]) -> Agents {
    let mut agents = Agents::new(settings(), NOW);
    for (i, node) in nodes.iter().enumerate() {
        agents.apply_node(node, NodeFacts { addresses: vec![[10, 0, 0, i as u8].into()], ready: true });
    }
    agents
}

/// `to: p90` of the changes, `to: gone` where a pair is no longer reported.
fn changes(accepted: &Accepted) -> Vec<String> {
    let text = |change: &PairChange| match change.stat {
        Some(stat) => format!("{}: {}", change.to, stat.p90),
        None => format!("{}: gone", change.to),
    };
    accepted.changes.iter().map(text).collect()
}

fn check(agents: &mut Agents, report: Report, need_full: bool, expected: &[&str]) {
    let node = report.node.clone();
    let accepted = agents.accept(report, &node, NOW).expect("valid");
    assert_eq!((accepted.need_full, changes(&accepted)), (need_full, expected.iter().map(|s| (*s).to_owned()).collect()));
}

#[test]
fn deltas_build_on_the_sequence_before_and_anything_else_asks_for_the_whole_row() {
    let mut agents = agents(&["a", "b", "c"]);
    check(&mut agents, report("a", 1, 5, false, vec![pair("b", 1_000)]), true, &[]);
    check(&mut agents, report("a", 1, 6, true, vec![pair("b", 1_000), pair("c", 1_000)]), false, &["b: 1 ms", "c: 1 ms"]);
    check(&mut agents, report("a", 1, 6, true, vec![pair("b", 1_000), pair("c", 2_000)]), false, &["c: 2 ms"]);
    check(&mut agents, report("a", 1, 7, false, vec![pair("b", 3_000)]), false, &["b: 3 ms"]);
    check(&mut agents, report("a", 1, 7, false, vec![pair("b", 9_000)]), false, &[]);
    check(&mut agents, report("a", 1, 9, false, vec![pair("b", 9_000)]), true, &[]);
    check(&mut agents, report("a", 1, 10, true, vec![pair("c", 2_000)]), false, &["b: gone"]);
}

#[test]
fn a_new_run_of_the_agent_goes_on_from_its_predecessors_row_and_that_is_not_heard_any_more() {
    let mut agents = agents(&["a", "b", "c"]);
    check(&mut agents, report("a", 5, 9, true, vec![pair("b", 1_000), pair("c", 2_000)]), false, &["b: 1 ms", "c: 2 ms"]);
    check(&mut agents, report("a", 6, 1, false, vec![pair("b", 1_000)]), true, &[]);
    check(&mut agents, report("a", 6, 1, true, vec![pair("b", 4_000)]), false, &["b: 4 ms"]);
    check(&mut agents, report("a", 6, 2, true, vec![pair("b", 4_000)]), false, &["c: gone"]);
    check(&mut agents, report("a", 5, 10, true, vec![pair("b", 9_000)]), false, &[]);
    let later = Timestamp(NOW.0 + EPOCH_TAKEOVER.0);
    let accepted = agents.accept(report("a", 5, 11, true, vec![pair("b", 9_000)]), "a", later).expect("a clock set back");
    assert_eq!(changes(&accepted), ["b: 9 ms"]);
}

#[test]
fn a_refused_report_leaves_the_row() {
    let mut agents = agents(&["a", "b"]);
    check(&mut agents, report("a", 1, 1, true, vec![pair("b", 1_000)]), false, &["b: 1 ms"]);
    let wrong = report("a", 1, 2, true, vec![pair("b", u32::MAX)]);
    assert!(matches!(agents.accept(wrong, "a", NOW), Err(ReportError::RttTooLong { .. })));
    assert!(matches!(agents.accept(report("a", 1, 2, true, vec![]), "b", NOW), Err(ReportError::ForeignRow { .. })));
    assert!(matches!(agents.accept(report("x", 1, 2, true, vec![]), "x", NOW), Err(ReportError::UnknownNode { .. })));
    check(&mut agents, report("a", 1, 2, false, vec![pair("b", 2_000)]), false, &["b: 2 ms"]);
}

#[test]
fn too_few_samples_change_nothing_and_the_figures_before_grow_old() {
    let mut agents = agents(&["a", "b"]);
    check(&mut agents, report("a", 1, 1, true, vec![PairReport { samples: 4, ..pair("b", 1_000) }]), false, &[]);
    let accepted = agents.accept(report("a", 1, 2, false, vec![PairReport { lost: 10, ..pair("b", 1_000) }]), "a", NOW).unwrap();
    let stat = accepted.changes[0].stat.unwrap();
    assert_eq!((stat.loss_permille, stat.at, stat.kind), (500, Timestamp(NOW.0 - 500), Kind::Measured));
    check(&mut agents, report("a", 1, 3, false, vec![PairReport { samples: 0, lost: 20, failing: true, ..pair("b", 0) }]), false, &[]);
}

#[test]
fn when_probes_fail_the_other_end_probes_too() {
    let names = ["a", "b"];
    let mut agents = agents(&names);
    let (prober, other) = if probe_plan::probes("a", "b") { ("a", "b") } else { ("b", "a") };
    let failing = PairReport { samples: 0, failing: true, ..pair(other, 0) };
    check(&mut agents, report(prober, 1, 1, true, vec![failing]), false, &[]);
    let ask = |agents: &mut Agents, sequence| agents.accept(report(other, 1, sequence, true, vec![]), other, NOW).unwrap().also_probe;
    assert_eq!(ask(&mut agents, 1), [prober]);
    check(&mut agents, report(prober, 1, 2, false, vec![pair(other, 1_000)]), false, &[&format!("{other}: 1 ms")]);
    assert!(ask(&mut agents, 2).is_empty());
}

#[test]
fn peers_carry_the_address_once_the_agent_has_reported_and_the_generation_says_so() {
    let mut agents = agents(&["a", "b"]);
    let before = agents.peers("a").unwrap();
    assert_eq!((before.peers.len(), before.peers[0].address, before.interval_ms), (1, None, 10_000));
    agents.accept(report("b", 1, 1, true, vec![]), "b", NOW).unwrap();
    assert_eq!(agents.publish(Timestamp(NOW.0 + 199)), None, "soon enough");
    assert!(agents.publish(Timestamp(NOW.0 + 200)).is_some());
    let after = agents.peers("a").unwrap();
    assert!(after.generation > before.generation);
    assert_eq!(after.peers[0].address, Some(([10, 0, 0, 1], 7000).into()), "an unspecified address means the node's");
    agents.accept(report("b", 1, 2, false, vec![]), "b", NOW).unwrap();
    assert_eq!(agents.publish(Timestamp(NOW.0 + 10_000)), None, "nothing new");
    assert!(agents.peers("x").is_none());
    assert_ne!(agents.peers("a").unwrap().peers[0].probe, agents.peers("b").unwrap().peers[0].probe, "one end probes");
}

#[test]
fn a_node_without_an_address_is_a_peer_that_cannot_be_probed() {
    let mut agents = agents(&["a", "b"]);
    agents.apply_node("b", NodeFacts { addresses: vec![], ready: true });
    agents.accept(report("b", 1, 1, true, vec![]), "b", NOW).unwrap();
    assert_eq!(agents.peers("a").unwrap().peers[0].address, None);
}

#[test]
fn a_peer_is_probed_in_a_family_that_both_ends_have_in_the_order_of_its_own_addresses() {
    let (v4, v6): (IpAddr, IpAddr) = ([10, 0, 0, 7].into(), "fd00::7".parse().unwrap());
    let check = |asking: &[IpAddr], peer: &[IpAddr], expected: Option<IpAddr>| {
        let mut agents = agents(&["a", "b"]);
        agents.apply_node("a", NodeFacts { addresses: asking.to_vec(), ready: true });
        agents.apply_node("b", NodeFacts { addresses: peer.to_vec(), ready: true });
        agents.accept(report("b", 1, 1, true, vec![]), "b", NOW).unwrap();
        assert_eq!(agents.peers("a").unwrap().peers[0].address.map(|address| address.ip()), expected, "{asking:?} to {peer:?}");
    };
    check(&[v4, v6], &[v6, v4], Some(v6));
    check(&[v4], &[v6, v4], Some(v4));
    check(&[v6], &[v4, v6], Some(v6));
    check(&[v4], &[v6], None);
    check(&[], &[v6], Some(v6));
}

#[test]
fn warm_once_every_ready_node_has_reported_or_the_grace_is_over() {
    let mut agents = agents(&["a", "b", "down"]);
    agents.apply_node("down", NodeFacts::default());
    assert_eq!((agents.heard(), agents.warm(NOW)), ((0, 2), false));
    for node in ["a", "b"] {
        agents.accept(report(node, 1, 1, true, vec![]), node, NOW).unwrap();
    }
    let with_peers =
        ["a", "b"].into_iter().filter(|node| agents.nodes.keys().any(|peer| **peer != **node && probe_plan::probes(node, peer)));
    for node in with_peers.collect::<Vec<_>>() {
        assert!(!agents.warm(NOW), "{node} has said nothing about its peers");
        agents.accept(report(node, 1, 2, true, vec![PairReport { failing: true, samples: 0, ..pair("down", 0) }]), node, NOW).unwrap();
    }
    assert_eq!((agents.heard(), agents.warm(NOW)), ((2, 2), true));
    agents.apply_node("late", NodeFacts { addresses: vec![], ready: true });
    assert!(!agents.warm(Timestamp(NOW.0 + 29_999)));
    assert!(agents.warm(Timestamp(NOW.0 + 30_000)));
}

#[test]
fn a_deleted_node_takes_its_row_along_and_what_was_measured_is_not_taken_back() {
    let mut agents = agents(&["a", "b", "c"]);
    check(&mut agents, report("a", 1, 1, true, vec![pair("b", 1_000)]), false, &["b: 1 ms"]);
    check(&mut agents, report("c", 1, 1, true, vec![pair("a", 2_000)]), false, &["a: 2 ms"]);
    agents.delete_node("a");
    check(&mut agents, report("c", 1, 2, true, vec![]), false, &[]);
    agents.apply_node("a", NodeFacts::default());
    check(&mut agents, report("a", 1, 2, false, vec![pair("b", 1_000)]), true, &[]);
}

#[test]
fn when_the_topology_comes_from_elsewhere_agents_probe_nobody() {
    let mut agents = agents(&["a", "b"]);
    agents.settings.probing = false;
    check(&mut agents, report("a", 1, 1, true, vec![pair("b", 1_000)]), false, &[]);
    assert!(agents.peers("a").unwrap().peers.is_empty());
}
