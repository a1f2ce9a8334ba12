//! The demo's own checks. `demo-audit` makes them again from the output alone.

use super::clients::Sent;
use super::record::PodState;
use crate::world::World;
use serde::Serialize;
use std::collections::BTreeSet;

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
const SERVED_PERCENT: usize = 95;

/// Judges pods and requests by the true RTTs.
pub fn judge(world: &World, pods: &[PodState], sent: &[Sent], max_rtt_us: u32, endpoints: &[usize], negative_control: bool) -> Vec<Check> {
    let ours: Vec<&PodState> = pods.iter().filter(|pod| pod.ours && !pod.gone).collect();
    let bound = ours.iter().filter(|pod| pod.node.is_some()).count();
    let owed: Vec<&&PodState> = ours.iter().filter(|pod| pod.node.is_none() && is_owed(world, pod)).collect();
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

/// Whether a waiting pod should have been bound: it asks for nothing odd, some node meets all its bounds by the true RTTs with room for what
/// measuring adds, and the scheduler does not name a resource as what is missing.
pub fn is_owed(world: &World, pod: &PodState) -> bool {
    let labels = pod.labels.keys().filter(|key| key.starts_with("delay_")).count();
    let bounds: Vec<(usize, u32)> = bounds(world, pod).collect();
    let room = |max_us: u32| max_us.saturating_sub(max_us / 20 + 300);
    let meets = |node: &usize| bounds.iter().all(|&(from, max_us)| from == *node || world.rtt_us(from, *node) <= room(max_us));
    let met = (0..world.len()).filter(meets).count();
    let message = pod.waiting.as_deref().unwrap_or_default();
    labels == bounds.len() && met > full(message) && !message.contains("not supported")
}

/// How many nodes lack a resource, by kube-scheduler's message: `0/14 nodes are available: 2 Insufficient memory, …`. A node that lacks several
/// is counted for each.
fn full(message: &str) -> usize {
    let parts = message.split_once(": ").map_or("", |(_, reasons)| reasons).split(", ");
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
        let checks = judge(&World::built_in(), pods, &[], 0, &[], control);
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
        check(&[near.clone(), pod(("delay_edge-1", "25"), None, Some("0/14 nodes are available: 14 Insufficient memory."))], false, &[]);
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
}
