//! The demo's own checks. `demo-audit` makes them again from the output alone.

use super::clients::Sent;
use super::record::PodState;
use crate::world::World;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub ok: bool,
    pub figure: f64,
    pub unit: &'static str,
}

/// At least this share of the bounds is violated when they are not heeded.
const CONTROL_PERCENT: f64 = 30.0;

/// Where the machine is so busy that a measured RTT crosses the bound for a moment, the router rightly refuses; it must not do so often.
const SERVED_PERCENT: usize = 80;

/// So many of the pairs are measured as they are, up to what a busy machine adds ...
const MEASURED_PERCENT: f64 = 75.0;
/// ... which is this share of the true RTT and this much.
const MEASURED_SHARE: f64 = 0.02;
const MEASURED_FLOOR_US: u32 = 2_000;

/// Judges the first figures, p50 in microseconds by pair of nodes: never less than the truth, and for most pairs hardly more.
pub fn measured(world: &World, figures: &BTreeMap<(usize, usize), u32>) -> Check {
    let near = |&(&(a, b), &us): &(&(usize, usize), &u32)| {
        let rtt_us = world.rtt_us(a, b);
        us >= rtt_us && f64::from(us - rtt_us) <= f64::from(rtt_us) * MEASURED_SHARE + f64::from(MEASURED_FLOOR_US)
    };
    let figure = 100.0 * figures.iter().filter(near).count() as f64 / figures.len().max(1) as f64;
    Check { name: "rtt-measured", ok: figure >= MEASURED_PERCENT, figure, unit: "%" }
}

/// RTT of two nodes in microseconds, as it was measured.
pub type Measured<'a> = dyn Fn(usize, usize) -> Option<u32> + 'a;

/// What a run is judged by.
pub struct Seen<'a> {
    pub world: &'a World,
    pub pods: &'a [PodState],
    pub sent: &'a [Sent],
    pub max_rtt_us: u32,
    pub endpoints: &'a [usize],
    pub measured_p90: &'a Measured<'a>,
}

/// Judges pods and requests by the true RTTs.
pub fn judge(seen: &Seen<'_>, negative_control: bool) -> Vec<Check> {
    let Seen { world, pods, sent, max_rtt_us, endpoints, measured_p90 } = *seen;
    let ours: Vec<&PodState> = pods.iter().filter(|pod| pod.ours && !pod.gone).collect();
    let bound = ours.iter().filter(|pod| pod.node.is_some()).count();
    let owed: Vec<&&PodState> = ours.iter().filter(|pod| pod.node.is_none() && is_owed(world, pod, measured_p90)).collect();
    let silent = ours.iter().filter(|pod| pod.node.is_none() && pod.waiting.as_ref().is_none_or(|message| message.is_empty())).count();
    let double = pods.iter().filter(|pod| pod.bindings.len() > 1).count();
    let bounds: Vec<bool> = ours.iter().flat_map(|pod| node_bounds(world, pod)).collect();
    let violated = bounds.iter().filter(|holds| !**holds).count();
    let served = sent.iter().filter(|request| request.status == 200).count();
    let rtt = |request: &Sent, node: &str| Some(world.rtt_us(world.index_of(&request.from)?, world.index_of(node)?));
    let outside = sent
        .iter()
        .filter(|request| request.endpoint.as_ref().is_some_and(|e| rtt(request, &e.node).is_none_or(|rtt| rtt > max_rtt_us)))
        .count();
    let sites: BTreeSet<usize> = sent.iter().filter_map(|request| world.index_of(&request.from)).collect();
    let excluded =
        sites.iter().flat_map(|&site| endpoints.iter().map(move |&e| (site, e))).filter(|&(a, b)| world.rtt_us(a, b) > max_rtt_us).count();
    let check = |name, ok, figure: usize, unit| Check { name, ok, figure: figure as f64, unit };
    let mut checks = vec![
        check("pods-bound", bound > 0 && (negative_control || owed.is_empty()), bound, "pods"),
        check("double-bindings", double == 0, double, "pods"),
        check("waiting-with-reason", silent == 0, ours.len() - bound, "pods"),
    ];
    match negative_control {
        true => {
            let share = 100.0 * violated as f64 / bounds.len().max(1) as f64;
            checks.push(Check { name: "bounds-violated-share", ok: share >= CONTROL_PERCENT, figure: share, unit: "%" });
        }
        false => checks.extend([
            check("requests-served", served > 0 && served * 100 >= sent.len() * SERVED_PERCENT, served, "requests"),
            check("bounds-violated", violated == 0, violated, "bounds"),
            check("requests-outside-bound", outside == 0, outside, "requests"),
            check("pairs-excluded-by-bound", excluded > 0, excluded, "pairs"),
        ]),
    }
    checks
}

/// Bounds on nodes of the world (those on workloads are the audit's to judge): whether each holds.
fn node_bounds(world: &World, pod: &PodState) -> Vec<bool> {
    let Some(node) = pod.node.as_deref().and_then(|node| world.index_of(node)) else { return Vec::new() };
    bounds(world, pod).map(|(from, max_us)| world.rtt_us(from, node) <= max_us).collect()
}

fn bounds<'a>(world: &'a World, pod: &'a PodState) -> impl Iterator<Item = (usize, u32)> + 'a {
    pod.labels.iter().filter_map(|(key, value)| {
        let from = world.index_of(key.strip_prefix("delay_")?)?;
        Some((from, (value.parse::<f64>().ok()? * 1000.0) as u32))
    })
}

/// Whether a waiting pod should have been bound: it asks for nothing odd, some node meets all its bounds by the true RTTs and by what was measured of
/// them, with room for what changes on the way to the scheduler, and the scheduler does not name a resource as what is missing. On a busy machine
/// more is measured than is true, and a pod rightly waits.
pub fn is_owed(world: &World, pod: &PodState, measured_p90: &Measured<'_>) -> bool {
    let labels = pod.labels.keys().filter(|key| key.starts_with("delay_")).count();
    let bounds: Vec<(usize, u32)> = bounds(world, pod).collect();
    let room = |max_us: u32| max_us.saturating_sub(max_us / 20 + 300);
    let rtt_us = |a: usize, b: usize| measured_p90(a, b).map_or(u32::MAX, |us| us.max(world.rtt_us(a, b)));
    let meets = |node: &usize| bounds.iter().all(|&(from, max_us)| from == *node || rtt_us(from, *node) <= room(max_us));
    let met = (0..world.len()).filter(meets).count();
    let message = pod.waiting.as_deref().unwrap_or_default();
    labels == bounds.len() && met > full(message) && !message.contains("not supported")
}

/// How many nodes lack a resource, by kube-scheduler's message: `0/14 nodes are available: 2 Insufficient memory, …`. A node that lacks several
/// is counted for each.
fn full(message: &str) -> usize {
    let of_nodes = message.split_once(" preemption: ").map_or(message, |(reasons, _)| reasons);
    let parts = of_nodes.split_once(": ").map_or("", |(_, reasons)| reasons).split(", ");
    let lacking = parts
        .filter_map(|part| part.split_once(' '))
        .filter(|(_, reason)| reason.starts_with("Insufficient") || reason.starts_with("Too many pods"));
    lacking.filter_map(|(count, _)| count.parse::<usize>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn pod(label: (&str, &str), node: Option<&str>, waiting: Option<&str>) -> PodState {
        PodState {
            ours: true,
            labels: BTreeMap::from([(label.0.to_owned(), label.1.to_owned())]),
            node: node.map(str::to_owned),
            waiting: waiting.map(str::to_owned),
            ..PodState::default()
        }
    }

    fn check(pods: &[PodState], control: bool, failed: &[&str]) {
        let world = World::built_in();
        let measured_p90 = |a, b| Some(world.rtt_us(a, b) + 100);
        let checks = judge(&Seen { world: &world, pods, sent: &[], max_rtt_us: 0, endpoints: &[], measured_p90: &measured_p90 }, control);
        let found: Vec<&str> =
            checks.iter().filter(|c| !c.ok && !["requests-served", "pairs-excluded-by-bound"].contains(&c.name)).map(|c| c.name).collect();
        assert_eq!(found, failed, "{checks:?}");
    }

    #[test]
    fn pods_are_judged_by_the_true_rtt() {
        let near = pod(("delay_edge-1", "1"), Some("edge-2"), None);
        let far = pod(("delay_edge-1", "1"), Some("cloud-1"), None);
        check(std::slice::from_ref(&near), false, &[]);
        check(&[near.clone(), far.clone()], false, &["bounds-violated"]);
        check(&[near.clone(), far], true, &[]);
        check(std::slice::from_ref(&near), true, &["bounds-violated-share"]);
        let twice = PodState { bindings: vec!["edge-1".into(), "edge-2".into()], ..near };
        check(&[twice], false, &["double-bindings"]);
    }

    #[test]
    fn a_pod_that_could_run_must_not_wait_and_none_waits_in_silence() {
        let near = pod(("delay_edge-1", "1"), Some("edge-2"), None);
        check(
            &[near.clone(), pod(("delay_edge-1", "25"), None, Some("0/14 nodes are available: 14 RTT from edge-1 above 25 ms."))],
            false,
            &["pods-bound"],
        );
        check(
            &[
                near.clone(),
                pod(
                    ("delay_edge-1", "25"),
                    None,
                    Some(
                        "0/14 nodes are available: 14 Insufficient memory. preemption: 0/14 nodes are available: 14 No preemption victims found for incoming pod.",
                    ),
                ),
            ],
            false,
            &[],
        );
        check(
            &[
                near.clone(),
                pod(("delay_edge-1", "1"), None, Some("0/14 nodes are available: 1 Insufficient memory, 13 RTT from edge-1 above 1 ms.")),
            ],
            false,
            &["pods-bound"],
        );
        check(&[near.clone(), pod(("delay_edge-99", "25"), None, Some("unknown"))], false, &[]);
        check(&[near, pod(("delay_edge-99", "25"), None, None)], false, &["waiting-with-reason"]);
    }

    #[test]
    fn a_pod_may_wait_where_a_busy_machine_measured_too_much() {
        let world = World::built_in();
        let waiting = pod(("delay_edge-1", "25"), None, Some("0/14 nodes are available: 14 RTT from edge-1 above 25 ms."));
        assert!(is_owed(&world, &waiting, &|a, b| Some(world.rtt_us(a, b))));
        // edge-1 itself is always near enough.
        let other =
            pod(("delay_edge-1", "25"), None, Some("0/14 nodes are available: 1 Insufficient memory, 13 RTT from edge-1 above 25 ms."));
        assert!(is_owed(&world, &other, &|a, b| Some(world.rtt_us(a, b))));
        assert!(!is_owed(&world, &other, &|_, _| Some(26_000)));
        assert!(!is_owed(&world, &other, &|_, _| None));
    }

    #[test]
    fn most_pairs_are_measured_as_they_are() {
        let world = World::built_in();
        let pairs = || (0..world.len()).flat_map(|b| (0..b).map(move |a| (a, b)));
        let check = |change: &dyn Fn(u32) -> u32, ok: bool| {
            let figures = pairs().map(|(a, b)| ((a, b), change(world.rtt_us(a, b)))).collect();
            assert_eq!(measured(&world, &figures).ok, ok, "{:?}", measured(&world, &figures));
        };
        check(&|us| us + 500, true);
        check(&|us| us + 5_000, false);
        check(&|us| us - 1, false);
        assert!(!measured(&world, &BTreeMap::new()).ok);
    }
}
