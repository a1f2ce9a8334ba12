//! Pods for a world: seeded sizes, and bounds relative to real nodes, tight enough to mean something and loose enough to be met.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Role, World};
use crate::random::Random;

/// Share of the edge's capacity that all pods together ask for, so that bounds rather than room decide.
const LOAD: f64 = 0.4;

/// `count` pods for edge-scheduler in `namespace`. Of twenty, two have no bound (and belong in the cloud), one asks for less than the
/// network allows, two are bound to two nodes at once, and the others to one node, met by it and its one to seven nearest.
pub fn pods(world: &World, namespace: &str, count: usize, seed: u64) -> Vec<Pod> {
    let mut random = Random::new(seed);
    let edges: Vec<usize> = world.with_role(Role::Edge).collect();
    let sum = |amount: fn(&super::WorldNode) -> i64| edges.iter().map(|&edge| amount(&world.nodes[edge])).sum::<i64>();
    let per_pod = |total: i64, least: f64, most: f64| (LOAD * total as f64 / count.max(1) as f64).clamp(least, most);
    let cpu_milli = per_pod(sum(|node| node.allocatable.cpu.0), 20.0, 1000.0);
    let memory_mib = per_pod(sum(|node| node.allocatable.memory.0 >> 20), 16.0, 2048.0);
    let width = count.saturating_sub(1).to_string().len();

    (0..count)
        .map(|index| {
            let labels = match random.below(20) {
                0 | 1 => BTreeMap::new(),
                2 => impossible(world, &edges, &mut random),
                3 | 4 => {
                    let mut labels = near(world, &edges, &mut random);
                    labels.extend(near_same(world, &labels, &mut random));
                    labels
                }
                _ => near(world, &edges, &mut random),
            };
            let size = [0.5, 1.0, 1.5][random.below(3) as usize];
            let requests = BTreeMap::from([
                ("cpu".to_owned(), Quantity(format!("{}m", (cpu_milli * size) as u64))),
                ("memory".to_owned(), Quantity(format!("{}Mi", (memory_mib * size) as u64))),
            ]);
            pod(format!("pod-{index:0width$}"), namespace, labels, requests)
        })
        .collect()
}

/// A bound to a random edge node that it and some of its nearest meet.
fn near(world: &World, edges: &[usize], random: &mut Random) -> BTreeMap<String, String> {
    let Some(&reference) = random.pick(edges) else { return BTreeMap::new() };
    let mut rtts: Vec<u32> = (0..world.len()).filter(|&node| node != reference).map(|node| world.rtt_us(reference, node)).collect();
    rtts.sort_unstable();
    let nearest = random.below(7) as usize;
    let reach_us = rtts.get(nearest.min(rtts.len().saturating_sub(1))).copied().unwrap_or(0);
    bound(world, reference, reach_us)
}

/// A second bound, to a neighbour of the first one's node, that holds wherever the first does.
fn near_same(world: &World, labels: &BTreeMap<String, String>, random: &mut Random) -> BTreeMap<String, String> {
    let first = labels.keys().find_map(|key| world.index_of(key.strip_prefix("delay_")?));
    let Some(first) = first else { return BTreeMap::new() };
    let others: Vec<usize> = (0..world.len()).filter(|&node| node != first && world.nodes[node].role == Role::Edge).collect();
    let Some(&second) = random.pick(&others) else { return BTreeMap::new() };
    bound(world, second, world.rtt_us(first, second))
}

/// Bounds to two nodes so far apart that no node meets both.
fn impossible(world: &World, edges: &[usize], random: &mut Random) -> BTreeMap<String, String> {
    let Some(&a) = random.pick(edges) else { return BTreeMap::new() };
    let Some(&b) = edges.iter().max_by_key(|&&b| (world.rtt_us(a, b), b)) else { return BTreeMap::new() };
    // Some node is the best compromise; a bound below its worse side excludes it and all others.
    let best_us = (0..world.len()).map(|node| world.rtt_us(a, node).max(world.rtt_us(b, node))).min().unwrap_or(0);
    let label = |node: usize| (format!("delay_{}", world.nodes[node].name), format!("{:.1}", f64::from(best_us / 200) / 10.0));
    BTreeMap::from([label(a), label(b)]).into_iter().filter(|(_, value)| value != "0.0").collect()
}

/// The label of a bound a tenth and half a millisecond above `reach_us`: what measuring adds must not decide.
fn bound(world: &World, reference: usize, reach_us: u32) -> BTreeMap<String, String> {
    let ms = (f64::from(reach_us) * 1.1 / 1000.0 + 0.5).max(1.0);
    BTreeMap::from([(format!("delay_{}", world.nodes[reference].name), format!("{ms:.1}"))])
}

fn pod(name: String, namespace: &str, labels: BTreeMap<String, String>, requests: BTreeMap<String, Quantity>) -> Pod {
    let container = Container {
        name: "app".to_owned(),
        image: Some("registry.k8s.io/pause:3.10".to_owned()),
        resources: Some(ResourceRequirements { requests: Some(requests), ..Default::default() }),
        ..Default::default()
    };
    Pod {
        metadata: ObjectMeta { name: Some(name), namespace: Some(namespace.to_owned()), labels: Some(labels), ..Default::default() },
        spec: Some(PodSpec { scheduler_name: Some("edge-scheduler".to_owned()), containers: vec![container], ..Default::default() }),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nodes that meet all bounds of a pod.
    fn feasible(world: &World, pod: &Pod) -> usize {
        let bounds: Vec<(usize, u32)> = pod
            .metadata
            .labels
            .iter()
            .flatten()
            .map(|(key, value)| {
                let node = world.index_of(key.strip_prefix("delay_").unwrap()).unwrap();
                (node, (value.parse::<f64>().unwrap() * 1000.0) as u32)
            })
            .collect();
        (0..world.len()).filter(|&node| bounds.iter().all(|&(reference, bound)| world.rtt_us(reference, node) <= bound)).count()
    }

    fn check(world: &World) {
        let pods = pods(world, "demo", 400, 1);
        assert_eq!(pods, super::pods(world, "demo", 400, 1));
        assert_ne!(pods, super::pods(world, "demo", 400, 2));
        let bound: Vec<&Pod> = pods.iter().filter(|pod| pod.metadata.labels.as_ref().is_some_and(|labels| !labels.is_empty())).collect();
        assert!((20..=80).contains(&(400 - bound.len())), "{} pods without bound", 400 - bound.len());
        let met = bound.iter().filter(|pod| feasible(world, pod) > 0).count();
        assert!(met * 10 >= bound.len() * 8 && met < bound.len(), "{met} of {} bounds can be met", bound.len());
        let excluded: usize = bound.iter().map(|pod| world.len() - feasible(world, pod)).sum();
        assert!(excluded * 2 > bound.len() * world.len(), "bounds exclude {excluded} of {} choices", bound.len() * world.len());
    }

    #[test]
    fn most_bounds_can_be_met_and_exclude_most_nodes() {
        check(&World::built_in());
        check(&super::super::generate(80, 3).unwrap());
    }

    #[test]
    fn pods_ask_for_less_than_there_is() {
        let world = World::built_in();
        let total: i64 = world.nodes.iter().map(|node| node.allocatable.cpu.0).sum();
        let asked: i64 = pods(&world, "demo", 1000, 1)
            .iter()
            .map(|pod| {
                let requests = pod.spec.as_ref().unwrap().containers[0].resources.as_ref().unwrap().requests.as_ref().unwrap();
                placement::units::Quantity::parse(&requests["cpu"].0).unwrap().milli_value()
            })
            .sum();
        assert!(asked > 0 && asked < total, "{asked} of {total}");
        assert!(pods(&world, "demo", 0, 1).is_empty());
    }
}
