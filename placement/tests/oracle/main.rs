//! The planner against a plain reading of the rules, over strings and maps, on random clusters that change between decisions; and who waits for devices or
//! storage.

mod among_pods;
mod devices;
mod history;
mod rules;
mod storage;
mod waiting;

use history::{Event, settings, story};
use placement::cluster::*;
use placement::lint;
use placement::plan::*;
use placement::units::{Micros, Span, Timestamp};
use proptest::prelude::*;
use rules::{Answer, World, answer_of};
use std::collections::BTreeMap;
use waiting::Waiting;

const NOW: Timestamp = Timestamp(10_000_000);
const MAX_AGE: Span = Span(900_000);

/// Runs the events through the cluster and the plain world; every decision must be the same. Returns the decisions.
fn run(settings: Settings, events: &[Event], planner: &mut Planner) -> Result<Vec<Decision>, TestCaseError> {
    let mut world = World { settings: settings.clone(), ..World::default() };
    let mut cluster = Cluster::new(settings);
    let mut decisions = Vec::new();
    let mut held = None;
    let mut waiting = Waiting::default();
    for event in events {
        let mut changes = Changes::new();
        match event.clone() {
            Event::Node(node) => {
                changes = cluster.apply_node(node.clone());
                world.nodes.insert(node.name.clone(), node);
            }
            Event::DeleteNode(name) => {
                changes = cluster.delete_node(&name);
                world.nodes.remove(&name);
            }
            // A bound pod does not move; its name may be taken by a new one.
            Event::Pod(pod) => {
                if world.pods.get(&pod.key).is_none_or(|have| have.uid != pod.uid) {
                    waiting.forget(&pod.key);
                    changes = cluster.apply_pod(pod.clone());
                    world.pods.insert(pod.key.clone(), pod);
                }
            }
            Event::DeletePod(key) => {
                waiting.forget(&key);
                changes = cluster.delete_pod(&key);
                world.pods.remove(&key);
            }
            Event::Rtt(a, b, stat) => {
                if a != b {
                    changes = cluster.report_rtt(&a, &b, stat);
                    world.reports.insert((a, b), stat);
                    // Whether what stood before was stale by then can only be told of a report that comes when it was measured.
                    if stat.at != NOW {
                        waiting.judge_anew(&cluster, planner);
                    }
                }
            }
            Event::Service(name, selector) => {
                cluster.apply_service("default", name, selector.as_ref().map(LabelSelector::of_labels));
                match selector {
                    Some(selector) => world.services.insert(name.to_owned(), selector),
                    None => world.services.remove(name),
                };
            }
            Event::Demand(workload, demand) => {
                // Two rates of one site would be added up in an order that only the index knows.
                let demand = demand.map(|sites| sites.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect::<Vec<_>>());
                cluster.set_demand("default", &workload, demand.clone(), Micros(5_000));
                match demand {
                    Some(sites) => world.demand.insert(("default".into(), workload), sites),
                    None => world.demand.remove(&("default".into(), workload)),
                };
            }
            Event::Place(pod) => {
                if world.pods.get(&pod.key).is_some_and(|have| have.uid == pod.uid) {
                    continue;
                }
                waiting.forget(&pod.key);
                changes = cluster.apply_pod(pod.clone());
                world.pods.insert(pod.key.clone(), pod.clone());
                let snapshot = cluster.snapshot();
                let decision = planner.place(&snapshot, &pod, NOW, Warmth::Warm);
                let (got, expected) = (answer_of(&decision), world.answer(&pod));
                prop_assert!(same(&got, &expected), "{pod:#?}\ngot {got:#?}\nexpected {expected:#?}");
                let choice = planner.choose(&snapshot, &pod, NOW, Warmth::Warm);
                match (&choice, decision.placed()) {
                    (Choice::Place(ix), Some(node)) => prop_assert_eq!(snapshot.name(*ix), node),
                    (Choice::Unschedulable, None) => prop_assert_eq!(&decision.outcome, &Outcome::Unschedulable),
                    (Choice::Held(hold), None) => prop_assert_eq!(&decision.outcome, &Outcome::Held(hold.clone())),
                    _ => prop_assert!(false, "{:?} and {:?}", choice, decision.outcome),
                }
                if let Some(node) = decision.placed() {
                    let binding = lint::Binding { pod: pod.key.clone(), uid: pod.uid.clone(), node: node.to_owned() };
                    let violations = lint::State::of(&snapshot, NOW).check_plan(&[binding]);
                    // Without the filter bounds are violated, which is what it is switched off for.
                    prop_assert!(violations.is_empty() || !snapshot.settings().delay_filter, "{:?}", violations);
                    changes.extend(cluster.assume(&pod.key, &pod.uid, node).expect("the planner's answer can be assumed"));
                    world.pods.get_mut(&pod.key).expect("just put there").node_name = Some(node.to_owned());
                }
                waiting.check(&cluster, planner, &changes)?;
                changes.clear();
                waiting.add(pod, &decision);
                decisions.push(decision);
                // Kept, so that what follows has something to share memory with.
                held = Some(snapshot);
            }
        }
        waiting.check(&cluster, planner, &changes)?;
    }
    drop(held);
    Ok(decisions)
}

/// Costs may differ in the last bits: sums are the same in another order.
fn same(got: &Answer, expected: &Answer) -> bool {
    let (Answer::Judged(a, best_a), Answer::Judged(b, best_b)) = (got, expected) else { return got == expected };
    let close = |x: Option<f64>, y: Option<f64>| match (x, y) {
        (Some(x), Some(y)) => x == y || (x - y).abs() <= 1e-9 * y.abs(),
        (x, y) => x.is_none() && y.is_none(),
    };
    let alike = a.iter().zip(b).all(|(x, y)| {
        x.0 == y.0
            && match (x.1, y.1) {
                (Ok(x), Ok(y)) => close(x.0, y.0) && x.1 == y.1 && x.2 == y.2,
                (Err(x), Err(y)) => x == y,
                _ => false,
            }
    });
    a.len() == b.len() && alike && best_a == best_b
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// One planner sees many clusters that change under it: nothing that it keeps may go stale.
    #[test]
    fn the_planner_decides_as_the_rules_read(a in settings(), b in settings(), first in story(), second in story()) {
        let mut planner = Planner::new();
        run(a, &first, &mut planner)?;
        run(b, &second, &mut planner)?;
    }

    #[test]
    fn the_same_events_give_the_same_plan_byte_for_byte(settings in settings(), events in story()) {
        let plan = || -> Result<String, TestCaseError> {
            let decisions = run(settings.clone(), &events, &mut Planner::new())?;
            Ok(decisions.iter().map(|decision| format!("{decision:?}\n")).collect())
        };
        prop_assert_eq!(plan()?, plan()?);
    }
}
