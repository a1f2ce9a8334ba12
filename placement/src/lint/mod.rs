//! Judges a state or a plan against the invariants, without the planner's code: strings and maps, a plain reading of the rules.
//!
//! 1. No pod stands outside a delay bound, on an estimate, or on an unmeasured pair, unless the bound allows it.
//! 2. No node that carries pods of ours is over-committed; assumed pods count.
//! 3. A pod is bound once, with its UID, and never while it is deleting or gated.

mod bounds;
mod room;

use crate::cluster::{Node, Pod, PodKey, Settings, Snapshot};
use crate::topology::PairStat;
use crate::units::{Micros, Timestamp};
use std::collections::BTreeMap;

/// What is judged: objects by name. A pod stands where its `node_name` says.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub nodes: BTreeMap<String, Node>,
    pub pods: BTreeMap<PodKey, Pod>,
    /// Of unordered pairs, the lower name first: the larger direction.
    pub rtts: BTreeMap<(String, String), PairStat>,
    pub settings: Settings,
    pub now: Timestamp,
}

/// One binding of a plan, in the order in which they are carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub pod: PodKey,
    pub uid: String,
    pub node: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Violation {
    #[error("pod {pod} on {node} is {rtt} from {from}, bound {max}")]
    BoundExceeded { pod: PodKey, node: String, from: String, rtt: Micros, max: Micros },
    #[error("pod {pod} on {node}: the RTT from {from} is not measured")]
    Unmeasured { pod: PodKey, node: String, from: String },
    #[error("pod {pod} on {node}: nothing stands behind its delay reference {from}")]
    NoReference { pod: PodKey, node: String, from: String },
    #[error("pod {pod} is on a node although its delay bounds can't be read")]
    UnreadableBound { pod: PodKey },
    #[error("node {node} is over-committed: {used} of {allocatable} {resource}")]
    OverCommitted { node: String, resource: String, used: i64, allocatable: i64 },
    #[error("pod {pod} is bound more than once: to {first} and to {second}")]
    BoundTwice { pod: PodKey, first: String, second: String },
    #[error("pod {pod} is bound with UID {bound}, and its UID is {uid}")]
    WrongUid { pod: PodKey, bound: String, uid: String },
    #[error("pod {pod} is bound while it is being deleted")]
    Terminating { pod: PodKey },
    #[error("pod {pod} is bound although it has scheduling gates")]
    Gated { pod: PodKey },
    #[error("pod {pod} is bound, and no such pod exists")]
    UnknownPod { pod: PodKey },
    #[error("pod {pod} is bound to {node}, and no such node exists")]
    UnknownNode { pod: PodKey, node: String },
}

impl State {
    /// The snapshot's objects, with assumed pods on their nodes.
    pub fn of(snapshot: &Snapshot, now: Timestamp) -> State {
        let nodes = snapshot.nodes().map(|(_, node)| (node.name.clone(), (**node).clone())).collect();
        let stands = |node: Option<crate::cluster::NodeIx>| node.map(|ix| snapshot.name(ix).to_owned());
        let pods = snapshot.pods().map(|view| {
            let node_name = stands(view.node).or_else(|| view.pod.node_name.clone());
            (view.pod.key.clone(), Pod { node_name, ..(**view.pod).clone() })
        });
        let rtts = snapshot.rtt().pairs().map(|(a, b, stat)| (pair(snapshot.name(a), snapshot.name(b)), stat));
        State { nodes, pods: pods.collect(), rtts: rtts.collect(), settings: snapshot.settings().clone(), now }
    }

    /// Violations of pods of `scheduler` in the state as it is, sorted. RTTs change after a pod was bound: a violated bound here calls for repair and
    /// is no proof of a wrong decision.
    pub fn check(&self, scheduler: &str) -> Vec<Violation> {
        let ours = |pod: &&Pod| pod.scheduler_name == scheduler && pod.holds_capacity();
        let mut found: Vec<Violation> = self.pods.values().filter(ours).flat_map(|pod| bounds::check(self, pod)).collect();
        let hosts = self.pods.values().filter(ours).filter_map(|pod| pod.node_name.as_deref());
        let hosts: std::collections::BTreeSet<&str> = hosts.collect();
        found.extend(hosts.into_iter().flat_map(|host| room::check(self, host)));
        found.sort();
        found
    }

    /// Violations of carrying out the bindings on this state, sorted. Bounds are judged when all are carried out, so that groups may refer to each
    /// other; room, UIDs and states at each.
    pub fn check_plan(&self, bindings: &[Binding]) -> Vec<Violation> {
        let mut state = self.clone();
        let mut found = Vec::new();
        for Binding { pod: key, uid, node } in bindings {
            let Some(pod) = state.pods.get_mut(key) else {
                found.push(Violation::UnknownPod { pod: key.clone() });
                continue;
            };
            if pod.uid != *uid {
                found.push(Violation::WrongUid { pod: key.clone(), bound: uid.clone(), uid: pod.uid.clone() });
                continue;
            }
            if let Some(first) = pod.node_name.replace(node.clone()) {
                found.push(Violation::BoundTwice { pod: key.clone(), first, second: node.clone() });
            }
            if pod.terminating {
                found.push(Violation::Terminating { pod: key.clone() });
            }
            if !pod.scheduling_gates.is_empty() {
                found.push(Violation::Gated { pod: key.clone() });
            }
            if !state.nodes.contains_key(node) {
                found.push(Violation::UnknownNode { pod: key.clone(), node: node.clone() });
            }
            found.extend(room::check_for(&state, node, key));
        }
        let bound = bindings.iter().filter_map(|binding| state.pods.get(&binding.pod));
        found.extend(bound.flat_map(|pod| bounds::check(&state, pod)));
        found.sort();
        found.dedup();
        found
    }
}

fn pair(a: &str, b: &str) -> (String, String) {
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    (low.to_owned(), high.to_owned())
}

#[cfg(test)]
mod tests;
