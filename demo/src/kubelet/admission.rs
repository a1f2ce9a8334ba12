//! What fits on a node, judged by the kubelet itself: the last check against two schedulers, or one scheduler's mistake.

use std::collections::HashMap;

use placement::cluster::Resources;

/// Why a kubelet refuses a pod, in a kubelet's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// `OutOfcpu`; the pod's `status.reason`.
    pub reason: String,
    /// The pod's `status.message`.
    pub message: String,
}

/// A node's room: what it offers and what its pods hold.
#[derive(Clone, Debug)]
pub struct Room {
    allocatable: Resources,
    pods: HashMap<String, Resources>,
}

impl Room {
    /// An empty node.
    pub fn new(allocatable: Resources) -> Room {
        Room { allocatable, pods: HashMap::new() }
    }

    /// Takes a pod in if it fits.
    pub fn admit(&mut self, uid: &str, requests: Resources) -> Result<(), Rejection> {
        self.check(&requests)?;
        self.hold(uid, requests);
        Ok(())
    }

    /// Takes a pod in that runs already, whether it fits or not.
    pub fn hold(&mut self, uid: &str, requests: Resources) {
        self.pods.insert(uid.to_owned(), requests);
    }

    /// Forgets a pod.
    pub fn release(&mut self, uid: &str) {
        self.pods.remove(uid);
    }

    fn check(&self, requests: &Resources) -> Result<(), Rejection> {
        let pods = self.pods.len() as i64;
        fits("pods", 1, pods, self.allocatable.pods)?;
        let used = |amount: fn(&Resources) -> i64| self.pods.values().map(amount).sum::<i64>();
        fits("cpu", requests.cpu.0, used(|held| held.cpu.0), self.allocatable.cpu.0)?;
        fits("memory", requests.memory.0, used(|held| held.memory.0), self.allocatable.memory.0)?;
        let storage = self.allocatable.ephemeral_storage.0;
        fits("ephemeral-storage", requests.ephemeral_storage.0, used(|held| held.ephemeral_storage.0), storage)?;
        for (name, requested) in &requests.extended {
            let of = |resources: &Resources| resources.extended.get(name).copied().unwrap_or(0);
            fits(name, *requested, self.pods.values().map(of).sum(), of(&self.allocatable))?;
        }
        Ok(())
    }
}

/// CPU counts in thousandths, memory and storage in bytes, others in units, as the kubelet prints them.
fn fits(resource: &str, requested: i64, used: i64, capacity: i64) -> Result<(), Rejection> {
    // Who asks for nothing is not refused for what others took.
    if requested == 0 || requested <= capacity - used {
        return Ok(());
    }
    Err(Rejection {
        reason: format!("OutOf{resource}"),
        message: format!(
            "Pod was rejected: Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
        ),
    })
}

#[cfg(test)]
mod tests {
    use placement::units::{Bytes, MilliCpu};

    use super::*;

    fn resources(cpu: i64, memory: i64, pods: i64, gpus: i64) -> Resources {
        Resources {
            cpu: MilliCpu(cpu),
            memory: Bytes(memory),
            pods,
            extended: [("nvidia.com/gpu".to_owned(), gpus)].into_iter().filter(|(_, count)| *count > 0).collect(),
            ..Resources::default()
        }
    }

    /// A node of 4 CPUs, 1000 bytes, 2 pods and 1 GPU that holds a pod of 3 CPUs, 600 bytes and no GPU.
    fn check(requests: Resources, expected: Result<(), (&str, &str)>) {
        let mut room = Room::new(resources(4000, 1000, 2, 1));
        room.admit("first", resources(3000, 600, 0, 0)).unwrap();
        let found = room.admit("second", requests);
        let expected = expected.map_err(|(reason, message)| Rejection {
            reason: reason.to_owned(),
            message: format!("Pod was rejected: Node didn't have enough resource: {message}"),
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn what_does_not_fit_is_refused_in_the_kubelets_words() {
        check(resources(1000, 400, 0, 1), Ok(()));
        check(resources(1001, 0, 0, 0), Err(("OutOfcpu", "cpu, requested: 1001, used: 3000, capacity: 4000")));
        check(resources(1001, 401, 0, 0), Err(("OutOfcpu", "cpu, requested: 1001, used: 3000, capacity: 4000")));
        check(resources(0, 401, 0, 0), Err(("OutOfmemory", "memory, requested: 401, used: 600, capacity: 1000")));
        check(resources(0, 0, 0, 2), Err(("OutOfnvidia.com/gpu", "nvidia.com/gpu, requested: 2, used: 0, capacity: 1")));
    }

    #[test]
    fn the_number_of_pods_is_a_resource() {
        let mut room = Room::new(resources(4000, 1000, 2, 0));
        room.admit("a", Resources::default()).unwrap();
        room.admit("b", Resources::default()).unwrap();
        assert_eq!(room.admit("c", Resources::default()).unwrap_err().reason, "OutOfpods");
        room.release("a");
        room.admit("c", Resources::default()).unwrap();
    }
}
