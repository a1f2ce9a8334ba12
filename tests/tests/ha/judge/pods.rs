//! Pods and nodes as the API server has them in the end: nobody over-committed, no bound violated, nobody forgotten.

use api::labels::SCHEDULER_NAME;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

/// RTTs in ms, by the names of both ends; the diagonal is 0.
#[derive(Clone, Debug)]
pub struct Matrix(pub BTreeMap<(String, String), f64>);

impl Matrix {
    /// The larger of both directions.
    fn rtt_ms(&self, a: &str, b: &str) -> f64 {
        let one_way = |from: &str, to: &str| self.0.get(&(from.to_owned(), to.to_owned())).copied().unwrap_or(f64::INFINITY);
        one_way(a, b).max(one_way(b, a))
    }
}

#[derive(Debug)]
pub struct Pods {
    pods: Vec<Pod>,
    /// Name to allocatable CPU in thousandths, and pods.
    nodes: BTreeMap<String, (i64, usize)>,
}

impl Pods {
    /// All pods of the cluster, of which those that ask for edge-scheduler are judged, and all nodes.
    pub fn new(pods: Vec<Pod>, nodes: &[Node]) -> Pods {
        let room = |node: &Node| {
            let allocatable = node.status.clone().unwrap_or_default().allocatable.unwrap_or_default();
            let pods = allocatable.get("pods").and_then(|quantity| quantity.0.parse().ok()).unwrap_or(0);
            (node.metadata.name.clone().unwrap_or_default(), (allocatable.get("cpu").map_or(0, thousandths), pods))
        };
        Pods { pods, nodes: nodes.iter().map(room).collect() }
    }

    fn ours(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(|pod| pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref()) == Some(SCHEDULER_NAME))
    }

    pub fn len(&self) -> usize {
        self.ours().count()
    }

    /// UIDs of those on a node.
    pub fn bound(&self) -> impl Iterator<Item = &str> {
        self.ours().filter(|pod| node(pod).is_some()).map(uid)
    }

    /// The node of a pod that is there.
    pub fn node_of(&self, of: &str) -> Option<Option<&str>> {
        self.pods.iter().find(|pod| uid(pod) == of).map(node)
    }

    /// CPU in thousandths and pods on each node.
    fn used(&self) -> BTreeMap<&str, (i64, usize)> {
        let mut used: BTreeMap<&str, (i64, usize)> = BTreeMap::new();
        for pod in &self.pods {
            if let Some(node) = node(pod) {
                let sum = used.entry(node).or_default();
                *sum = (sum.0 + cpu(pod), sum.1 + 1);
            }
        }
        used
    }

    pub fn over_committed(&self) -> Vec<String> {
        let used = self.used();
        let over = used.iter().filter_map(|(node, used)| {
            let room = self.nodes.get(*node).copied().unwrap_or_default();
            (used.0 > room.0 || used.1 > room.1)
                .then(|| format!("{node} is over-committed: {used:?} (thousandths of a CPU, pods) of {room:?}"))
        });
        over.collect()
    }

    pub fn out_of_bounds(&self, matrix: &Matrix) -> Vec<String> {
        let outside = self.ours().filter_map(|pod| {
            let node = node(pod)?;
            let (reference, bound_ms) = bounds(pod).into_iter().find(|(reference, bound_ms)| matrix.rtt_ms(reference, node) > *bound_ms)?;
            Some(format!(
                "{} is on {node}, {} ms from {reference}, above its bound of {bound_ms} ms",
                name(pod),
                matrix.rtt_ms(&reference, node)
            ))
        });
        outside.collect()
    }

    /// How many wait for a reason that is true, and what is wrong with the others that wait.
    pub fn waiting(&self, matrix: &Matrix) -> (usize, Vec<String>) {
        let used = self.used();
        let mut lost = Vec::new();
        let mut truly = 0;
        for pod in self.ours().filter(|pod| node(pod).is_none()) {
            let near = |node: &str| bounds(pod).iter().all(|(reference, bound_ms)| matrix.rtt_ms(reference, node) <= *bound_ms);
            let free = |node: &str| {
                let (room, used) = (self.nodes[node], used.get(node).copied().unwrap_or_default());
                used.0 + cpu(pod) <= room.0 && used.1 < room.1
            };
            let fits: Vec<&String> = self.nodes.keys().filter(|node| near(node) && free(node)).collect();
            let count = |is: &dyn Fn(&String) -> bool| self.nodes.keys().filter(|node| is(node)).count();
            let (far, full) = (count(&|node| !near(node)), count(&|node| !free(node)));
            let (reason, message) = condition(pod);
            if !fits.is_empty() {
                lost.push(format!("{} waits ({reason}: {message}) though {fits:?} would take it", name(pod)));
            } else if reason != "Unschedulable" || !message.starts_with(&format!("0/{} nodes are available", self.nodes.len())) {
                lost.push(format!("{} waits without the reason: {reason:?} {message:?}", name(pod)));
            } else if told(&message, "RTT") > far || told(&message, "Insufficient") > full || told(&message, "") != self.nodes.len() {
                let truth = format!("{far} nodes are outside its bounds, {full} are full");
                lost.push(format!("{} waits for a reason that is not true ({truth}): {message}", name(pod)));
            } else {
                truly += 1;
            }
        }
        (truly, lost)
    }
}

/// How many nodes the message gives a reason for in which this word stands: `0/9 nodes are available: 2 Insufficient cpu, 7 RTT from a above 5 ms.`
fn told(message: &str, word: &str) -> usize {
    let of_nodes = message.split_once(" preemption: ").map_or(message, |(reasons, _)| reasons);
    let reasons = of_nodes.split_once(": ").map_or("", |(_, reasons)| reasons).split(", ").filter(|reason| reason.contains(word));
    reasons.filter_map(|reason| reason.split_whitespace().next()?.parse::<usize>().ok()).sum()
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|node| !node.is_empty())
}

fn cpu(pod: &Pod) -> i64 {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let requests = containers.filter_map(|container| container.resources.as_ref()?.requests.as_ref()?.get("cpu"));
    requests.map(thousandths).sum()
}

/// Whole CPUs, or thousandths with an m.
fn thousandths(quantity: &Quantity) -> i64 {
    match quantity.0.strip_suffix('m') {
        Some(thousandths) => thousandths.parse().unwrap_or(0),
        None => quantity.0.parse::<i64>().map_or(0, |cpus| cpus * 1000),
    }
}

/// `delay_<node>: "<ms>"`.
fn bounds(pod: &Pod) -> Vec<(String, f64)> {
    let labels = pod.metadata.labels.iter().flatten();
    labels.filter_map(|(key, value)| Some((key.strip_prefix("delay_")?.to_owned(), value.parse().ok()?))).collect()
}

/// Reason and message of PodScheduled.
fn condition(pod: &Pod) -> (String, String) {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let found = conditions.into_iter().find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    found.map(|found| (found.reason.clone().unwrap_or_default(), found.message.clone().unwrap_or_default())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MESSAGE: &str = "0/3 nodes are available: 1 Insufficient cpu, 2 RTT from a above 5 ms.";

    fn matrix() -> Matrix {
        let far = |a: &str, b: &str, rtt_ms: f64| ((a.to_owned(), b.to_owned()), rtt_ms);
        Matrix(BTreeMap::from([far("a", "a", 0.0), far("a", "b", 4.0), far("b", "a", 6.0), far("a", "c", 9.0), far("c", "a", 9.0)]))
    }

    fn pod(name: &str, node: Option<&str>, cpu: &str, message: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "uid": name, "labels": {"delay_a": "5"}},
            "spec": {"schedulerName": "edge-scheduler", "nodeName": node, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
            "status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]},
        }))
        .unwrap()
    }

    /// Nodes a, b and c with a CPU each.
    fn pods(pods: &[Pod]) -> Pods {
        let node = |name: &str| {
            serde_json::from_value(json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": "1", "pods": "2"}}})).unwrap()
        };
        Pods::new(pods.to_vec(), &["a", "b", "c"].map(node))
    }

    #[test]
    fn a_full_node_is_fine_and_a_thousandth_or_a_pod_more_is_not() {
        let check = |cpus: &[&str], over: usize| {
            let on_a: Vec<Pod> = cpus.iter().enumerate().map(|(i, cpu)| pod(&i.to_string(), Some("a"), cpu, "")).collect();
            assert_eq!(pods(&on_a).over_committed().len(), over, "{cpus:?}");
        };
        check(&["500m", "500m"], 0);
        check(&["500m", "501m"], 1);
        check(&["1m", "1m", "1m"], 1);
    }

    #[test]
    fn the_larger_direction_counts() {
        let check = |node: &str, outside: usize| {
            assert_eq!(pods(&[pod("p", Some(node), "1", "")]).out_of_bounds(&matrix()).len(), outside, "{node}")
        };
        check("a", 0);
        check("b", 1);
        check("c", 1);
    }

    #[test]
    fn who_waits_must_have_a_true_reason() {
        let check = |others: &[Pod], message: &str, expected: Result<(), &str>| {
            let all: Vec<Pod> = others.iter().cloned().chain([pod("p", None, "600m", message)]).collect();
            match (pods(&all).waiting(&matrix()), expected) {
                ((1, lost), Ok(())) if lost.is_empty() => {}
                ((0, lost), Err(why)) if lost.len() == 1 && lost[0].contains(why) => {}
                (found, _) => panic!("{message}: {found:?} is not {expected:?}"),
            }
        };
        let full = [pod("q", Some("a"), "500m", "")];
        check(&full, MESSAGE, Ok(()));
        check(&[], MESSAGE, Err("would take it"));
        check(&full, "", Err("without the reason"));
        check(&full, "0/3 nodes are available: 3 RTT from a above 5 ms.", Err("not true"));
        check(&full, "0/3 nodes are available: 2 Insufficient cpu, 1 RTT from a above 5 ms.", Err("not true"));
        check(&full, "0/3 nodes are available: 2 RTT from a above 5 ms.", Err("not true"));
    }
}
