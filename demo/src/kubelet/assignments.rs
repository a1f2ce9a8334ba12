//! Which pods each simulated kubelet has taken on, and what it does about an event. No I/O: the runner acts on the decisions.

use std::collections::{HashMap, HashSet};

use placement::cluster::{Pod, PodPhase};

use super::admission::{Rejection, Room};
use crate::world::World;

/// What a kubelet does about a pod it was told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing: not ours, already done, or the node is down.
    Ignore,
    /// Start it on the node with this index.
    Run(usize),
    /// Mark it Failed.
    Reject(Rejection),
    /// Stop it, then delete it for good.
    Terminate,
    /// Delete it for good: it never ran here.
    Remove,
    /// It has ended: stop what is left of it.
    Drop,
}

struct Kubelet {
    room: Room,
    is_alive: bool,
}

pub(super) struct Assignments {
    nodes: HashMap<String, usize>,
    kubelets: Vec<Kubelet>,
    /// Node of every pod taken on, by UID.
    pods: HashMap<String, usize>,
    /// Refused pods, by UID: a kubelet does not change its mind when room appears before its word has reached the API.
    refused: HashSet<String>,
}

impl Assignments {
    pub fn new(world: &World) -> Assignments {
        let kubelet = |node: &crate::world::WorldNode| Kubelet { room: Room::new(node.allocatable.clone()), is_alive: true };
        Assignments {
            nodes: world.nodes.iter().enumerate().map(|(index, node)| (node.name.clone(), index)).collect(),
            kubelets: world.nodes.iter().map(kubelet).collect(),
            pods: HashMap::new(),
            refused: HashSet::new(),
        }
    }

    /// A pod appeared or changed.
    pub fn observe(&mut self, pod: &Pod) -> Decision {
        let Some(&node) = pod.node_name.as_ref().and_then(|name| self.nodes.get(name)) else { return Decision::Ignore };
        let kubelet = &mut self.kubelets[node];
        if !kubelet.is_alive {
            return Decision::Ignore;
        }
        let is_known = self.pods.contains_key(&pod.uid);
        if pod.phase == PodPhase::Ended {
            if is_known {
                self.forget(&pod.uid);
                return Decision::Drop;
            }
            return if pod.terminating { Decision::Remove } else { Decision::Ignore };
        }
        if pod.terminating {
            // It keeps its room until it is gone from the API, as for the scheduler.
            return if is_known { Decision::Terminate } else { Decision::Remove };
        }
        if is_known || self.refused.contains(&pod.uid) {
            return Decision::Ignore;
        }
        if pod.phase == PodPhase::Running {
            // It ran before this kubelet failed: kubelets don't judge such pods again.
            kubelet.room.hold(&pod.uid, pod.requests.clone());
        } else if let Err(rejection) = kubelet.room.admit(&pod.uid, pod.requests.clone()) {
            self.refused.insert(pod.uid.clone());
            return Decision::Reject(rejection);
        }
        self.pods.insert(pod.uid.clone(), node);
        Decision::Run(node)
    }

    /// A pod is gone.
    pub fn forget(&mut self, uid: &str) {
        self.refused.remove(uid);
        if let Some(node) = self.pods.remove(uid) {
            self.kubelets[node].room.release(uid);
        }
    }

    /// After a new list: forgets all pods that were not in it, and names them.
    pub fn retain(&mut self, seen: &HashSet<String>) -> Vec<String> {
        self.refused.retain(|uid| seen.contains(uid));
        let gone: Vec<String> = self.pods.keys().filter(|uid| !seen.contains(*uid)).cloned().collect();
        for uid in &gone {
            self.forget(uid);
        }
        gone
    }

    /// The node goes down with everything on it; names its pods.
    pub fn fail(&mut self, node: usize) -> Vec<String> {
        self.kubelets[node].is_alive = false;
        let lost: Vec<String> = self.pods.iter().filter(|(_, at)| **at == node).map(|(uid, _)| uid.clone()).collect();
        for uid in &lost {
            self.forget(uid);
        }
        lost
    }

    /// The node is back; its pods have to be observed again.
    pub fn heal(&mut self, node: usize) {
        self.kubelets[node].is_alive = true;
    }
}

#[cfg(test)]
mod tests {
    use placement::cluster::{PodKey, Resources};
    use placement::units::Bytes;

    use super::*;

    const GIB: i64 = 1 << 30;

    fn pod(uid: &str, node: &str, memory_gib: i64) -> Pod {
        Pod {
            key: PodKey::new("default", uid),
            uid: uid.to_owned(),
            node_name: Some(node.to_owned()),
            requests: Resources { memory: Bytes(memory_gib * GIB), ..Resources::default() },
            ..Pod::default()
        }
    }

    /// The built-in world: edge-1 has 8 GiB and index 0.
    fn check(events: &[(Pod, Decision)]) -> Assignments {
        let mut assignments = Assignments::new(&World::built_in());
        for (pod, expected) in events {
            assert_eq!(assignments.observe(pod), *expected, "for {pod:?}");
        }
        assignments
    }

    fn phase(pod: Pod, phase: PodPhase) -> Pod {
        Pod { phase, ..pod }
    }

    fn terminating(pod: Pod) -> Pod {
        Pod { terminating: true, ..pod }
    }

    #[test]
    fn a_bound_pod_is_started_once_and_ended_once() {
        let a = pod("a", "edge-1", 6);
        let mut assignments = check(&[
            (Pod { node_name: None, ..a.clone() }, Decision::Ignore),
            (pod("b", "elsewhere", 1), Decision::Ignore),
            (a.clone(), Decision::Run(0)),
            (a.clone(), Decision::Ignore),
            (phase(a.clone(), PodPhase::Running), Decision::Ignore),
            (terminating(a.clone()), Decision::Terminate),
        ]);
        // Until it is gone, nobody else gets its room.
        let c = pod("c", "edge-1", 6);
        assert!(matches!(assignments.observe(&c), Decision::Reject(rejection) if rejection.reason == "OutOfmemory"));
        assignments.forget("a");
        assert_eq!(assignments.observe(&c), Decision::Ignore);
        assert_eq!(assignments.observe(&pod("d", "edge-1", 6)), Decision::Run(0));
    }

    #[test]
    fn what_never_ran_here_is_only_removed() {
        let ended = phase(pod("a", "edge-1", 1), PodPhase::Ended);
        check(&[
            (terminating(pod("b", "edge-1", 1)), Decision::Remove),
            (ended.clone(), Decision::Ignore),
            (terminating(ended), Decision::Remove),
        ]);
    }

    #[test]
    fn an_ended_pod_gives_its_room_back() {
        let a = pod("a", "edge-1", 6);
        check(&[(a.clone(), Decision::Run(0)), (phase(a, PodPhase::Ended), Decision::Drop), (pod("b", "edge-1", 6), Decision::Run(0))]);
    }

    #[test]
    fn a_failed_node_is_silent_and_takes_its_running_pods_back() {
        let a = pod("a", "edge-1", 6);
        let mut assignments = check(&[(a.clone(), Decision::Run(0))]);
        assert_eq!(assignments.fail(0), ["a"]);
        assert_eq!(assignments.observe(&terminating(a.clone())), Decision::Ignore);
        assignments.heal(0);
        assert_eq!(assignments.observe(&phase(a.clone(), PodPhase::Running)), Decision::Run(0));
        assert_eq!(assignments.observe(&terminating(a)), Decision::Terminate);
    }

    #[test]
    fn pods_that_a_new_list_lacks_are_gone() {
        let mut assignments = check(&[(pod("a", "edge-1", 6), Decision::Run(0)), (pod("b", "edge-2", 6), Decision::Run(1))]);
        assert_eq!(assignments.retain(&HashSet::from(["b".to_owned()])), ["a"]);
        assert_eq!(assignments.observe(&pod("c", "edge-1", 6)), Decision::Run(0));
    }
}
