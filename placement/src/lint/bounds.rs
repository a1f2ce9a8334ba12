//! Delay bounds of one pod where it stands.

use super::{State, Violation, pair};
use crate::cluster::{Pod, PodPhase, Workload, WorkloadKind};
use crate::constraint::{DelayBound, Missing, Reference, ReplicaRule, Statistic};
use crate::units::Micros;

pub(super) fn check(state: &State, pod: &Pod) -> Vec<Violation> {
    let Some(node) = &pod.node_name else { return Vec::new() };
    let unreadable = (!pod.delay_errors.is_empty()).then(|| Violation::UnreadableBound { pod: pod.key.clone() });
    pod.delays.iter().filter_map(|bound| check_one(state, pod, node, bound)).chain(unreadable).collect()
}

fn check_one(state: &State, pod: &Pod, node: &str, bound: &DelayBound) -> Option<Violation> {
    let (pod_key, node_name, from) = (pod.key.clone(), node.to_owned(), bound.from.to_string());
    let behind = behind(state, pod, &bound.from);
    if behind.is_empty() {
        return Some(Violation::NoReference { pod: pod_key, node: node_name, from });
    }
    let rtts: Vec<Option<Micros>> = behind.iter().map(|target| rtt(state, target, node, bound.statistic)).collect();
    let meets = |rtt: &Option<Micros>| rtt.map_or(bound.missing == Missing::Allow, |rtt| rtt <= bound.max);
    let met = match bound.replicas {
        ReplicaRule::Any => rtts.iter().any(meets),
        ReplicaRule::All => rtts.iter().all(meets),
    };
    if met {
        return None;
    }
    let measured = rtts.iter().flatten();
    let decisive = if bound.replicas == ReplicaRule::Any { measured.min() } else { measured.max() };
    match decisive.filter(|rtt| **rtt > bound.max) {
        Some(&rtt) => Some(Violation::BoundExceeded { pod: pod_key, node: node_name, from, rtt, max: bound.max }),
        None => Some(Violation::Unmeasured { pod: pod_key, node: node_name, from }),
    }
}

/// A measurement (no estimate) that is fresh.
fn rtt(state: &State, a: &str, b: &str, statistic: Statistic) -> Option<Micros> {
    if a == b {
        return Some(Micros(0));
    }
    let stat = state.rtts.get(&pair(a, b)).filter(|stat| stat.kind.admits() && state.now.since(stat.at) <= state.settings.max_age)?;
    Some(match statistic {
        Statistic::P50 => stat.p50,
        Statistic::P90 => stat.p90,
    })
}

/// Names of the nodes that the reference stands for: a node, else the pods of a workload, else a pod, other than the pod itself.
fn behind<'a>(state: &'a State, pod: &Pod, reference: &'a Reference) -> Vec<&'a str> {
    let node = |name: &'a str| {
        let known = state.nodes.contains_key(name) || state.rtts.keys().any(|(a, b)| a == name || b == name);
        if known { vec![name] } else { Vec::new() }
    };
    let others = || {
        let alive = |other: &&'a Pod| other.phase != PodPhase::Ended && !other.terminating;
        state.pods.values().filter(|other| other.key.namespace == pod.key.namespace && other.key != pod.key).filter(alive)
    };
    let workload = |kind: Option<WorkloadKind>, name: &str| {
        let owned = |owner: &Workload| owner.name == name && kind.is_none_or(|kind| kind == owner.kind);
        let pods = others().filter(|other| other.owner.as_ref().is_some_and(owned));
        pods.filter_map(|other| other.node_name.as_deref()).collect::<Vec<&'a str>>()
    };
    let pod = |name: &str| {
        others().filter(|other| other.key.name == name).filter_map(|other| other.node_name.as_deref()).collect::<Vec<&'a str>>()
    };
    let first = |options: [Vec<&'a str>; 3]| options.into_iter().find(|found| !found.is_empty()).unwrap_or_default();
    match reference {
        Reference::Name(name) => first([node(name), workload(None, name), pod(name)]),
        Reference::Node(name) => node(name),
        Reference::Workload(kind, name) => workload(Some(*kind), name),
        Reference::Pod(name) => pod(name),
    }
}
