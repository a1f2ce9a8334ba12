//! Pods that refer to each other, and so have to be placed together.

use super::ReferenceIndex;
use super::resolve::{Found, Position, find};
use super::{Reference, ReplicaRule};
use crate::cluster::{Pod, PodKey, Workload};
use petgraph::graph::{DiGraph, NodeIndex};
use std::collections::BTreeMap;

/// The strongly connected components, of two pods or more, of pending pods and the pending pods that they wait for. A pod waits for a
/// reference that has no node yet (with `replicas: all`: for every replica without one). Members and groups are sorted by key.
pub fn mutual_groups<'a, I: ReferenceIndex>(pods: impl IntoIterator<Item = &'a Pod>, index: &I) -> Vec<Vec<PodKey>> {
    let pods: Vec<&Pod> = pods.into_iter().collect();
    // A vertex per pod and one per workload: 1,000 replicas that refer to their own workload are 2,000 edges, not a million.
    let mut graph: DiGraph<Option<&PodKey>, ()> = DiGraph::new();
    let mut vertices: BTreeMap<&PodKey, NodeIndex> = BTreeMap::new();
    for pod in &pods {
        vertices.entry(&pod.key).or_insert_with(|| graph.add_node(Some(&pod.key)));
    }
    let mut workloads: BTreeMap<(&str, &str), Vec<(&Workload, NodeIndex)>> = BTreeMap::new();
    for pod in &pods {
        let Some(owner) = &pod.owner else { continue };
        let kinds = workloads.entry((&pod.key.namespace, &owner.name)).or_default();
        let hub = match kinds.iter().find(|(known, _)| known.kind == owner.kind) {
            Some(&(_, hub)) => hub,
            None => {
                let hub = graph.add_node(None);
                kinds.push((owner, hub));
                hub
            }
        };
        graph.update_edge(hub, vertices[&pod.key], ());
    }
    for pod in &pods {
        let from = vertices[&pod.key];
        for bound in &pod.delays {
            let Found::Pods(found) = find(&bound.from, &pod.key.namespace, index) else { continue };
            let placed = found.iter().any(|(key, position)| **key != pod.key && matches!(position, Position::On(_)));
            if placed && bound.replicas == ReplicaRule::Any {
                continue;
            }
            let hubs = workloads.get(&(pod.key.namespace.as_str(), bound.from.name()));
            let meant = |workload: &Workload| match &bound.from {
                Reference::Name(_) => true,
                Reference::Workload(kind, _) => *kind == workload.kind,
                Reference::Node(_) | Reference::Pod(_) => false,
            };
            let hubs: Vec<NodeIndex> = hubs.into_iter().flatten().filter(|(workload, _)| meant(workload)).map(|&(_, hub)| hub).collect();
            for &hub in &hubs {
                graph.update_edge(from, hub, ());
            }
            // A name that is a workload's does not mean the pod of that name.
            if hubs.is_empty() {
                for (key, _) in found.iter().filter(|(_, position)| *position == Position::Pending) {
                    if let Some(&to) = vertices.get(*key) {
                        graph.update_edge(from, to, ());
                    }
                }
            }
        }
    }
    // Kosaraju's, because petgraph's Tarjan recurses as deep as the longest chain of references.
    let components = petgraph::algo::kosaraju_scc(&graph).into_iter();
    let mut groups: Vec<Vec<PodKey>> =
        components.map(|component| component.into_iter().filter_map(|v| graph[v].cloned()).collect()).collect();
    groups.retain(|group| group.len() > 1);
    for group in &mut groups {
        group.sort();
    }
    groups.sort();
    groups
}
