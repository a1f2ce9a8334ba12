//! Nodes against what was bound to them, and pods against being bound more than once.

use crate::record::{Change, Record, Step, text};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct Capacity {
    pub bound: usize,
    pub overcommitted: usize,
    pub double_bindings: usize,
    pub findings: Vec<String>,
}

type Amounts = BTreeMap<String, f64>;

pub fn judge(record: &Record) -> Capacity {
    let mut result = Capacity::default();
    let mut allocatable: BTreeMap<String, Amounts> = BTreeMap::new();
    let mut on_node: BTreeMap<String, BTreeMap<String, Amounts>> = BTreeMap::new();
    let mut bound: BTreeSet<String> = BTreeSet::new();
    let mut over: BTreeSet<String> = BTreeSet::new();
    for step in &record.steps {
        match step {
            Step::Binding(binding) => {
                if !bound.insert(binding.uid.clone()) {
                    result.double_bindings += 1;
                    result.findings.push(format!("{} ({}) was bound more than once", binding.pod, binding.uid));
                }
                let requests = record.pods.get(&binding.uid).map(requests).unwrap_or_default();
                on_node.entry(binding.node.clone()).or_default().insert(binding.uid.clone(), requests);
                if let Some(excess) = excess(allocatable.get(&binding.node), &on_node[&binding.node])
                    && over.insert(binding.node.clone())
                {
                    result.findings.push(format!("{} is over-committed by {}: {excess}", binding.node, binding.pod));
                }
            }
            Step::Object(change) if change.object["kind"] == "Node" => {
                let amounts = change.object.pointer("/status/allocatable").map(amounts).unwrap_or_default();
                allocatable.insert(text(&change.object, "/metadata/name").to_owned(), amounts);
            }
            Step::Object(change) if change.object["kind"] == "Pod" && has_ended(change) => {
                let uid = text(&change.object, "/metadata/uid");
                on_node.values_mut().for_each(|pods| drop(pods.remove(uid)));
            }
            _ => {}
        }
    }
    result.bound = bound.len();
    result.overcommitted = over.len();
    result
}

fn has_ended(change: &Change) -> bool {
    change.deleted || matches!(text(&change.object, "/status/phase"), "Succeeded" | "Failed")
}

/// What exceeds the node's allocatable, if anything does.
fn excess(allocatable: Option<&Amounts>, pods: &BTreeMap<String, Amounts>) -> Option<String> {
    let Some(allocatable) = allocatable else { return Some("the node was never stored".into()) };
    let mut used = Amounts::from([("pods".to_owned(), pods.len() as f64)]);
    for (name, amount) in pods.values().flatten() {
        *used.entry(name.clone()).or_default() += amount;
    }
    used.into_iter().find(|(name, amount)| *amount > allocatable.get(name).copied().unwrap_or(0.0)).map(|(name, amount)| {
        let limit = allocatable.get(&name).copied().unwrap_or(0.0);
        format!("{name} {amount} of {limit}")
    })
}

/// max(sum of containers and sidecars, each init container with the sidecars before it), plus overhead.
fn requests(pod: &Value) -> Amounts {
    let mut running = Amounts::new();
    for container in pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten() {
        add(&mut running, &container_requests(container));
    }
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for init in pod.pointer("/spec/initContainers").and_then(Value::as_array).into_iter().flatten() {
        let own = container_requests(init);
        let mut at_start = sidecars.clone();
        add(&mut at_start, &own);
        raise(&mut peak, &at_start);
        if init["restartPolicy"] == "Always" {
            add(&mut sidecars, &own);
            add(&mut running, &own);
        }
    }
    raise(&mut running, &peak);
    if let Some(whole) = pod.pointer("/spec/resources/requests") {
        running.extend(amounts(whole));
    }
    add(&mut running, &pod.pointer("/spec/overhead").map(amounts).unwrap_or_default());
    running
}

fn container_requests(container: &Value) -> Amounts {
    container.pointer("/resources/requests").map(amounts).unwrap_or_default()
}

fn add(to: &mut Amounts, more: &Amounts) {
    more.iter().for_each(|(name, amount)| *to.entry(name.clone()).or_default() += amount);
}

fn raise(to: &mut Amounts, least: &Amounts) {
    for (name, amount) in least {
        let entry = to.entry(name.clone()).or_default();
        *entry = entry.max(*amount);
    }
}

fn amounts(quantities: &Value) -> Amounts {
    quantities.as_object().into_iter().flatten().filter_map(|(name, q)| Some((name.clone(), quantity(q.as_str()?)?))).collect()
}

/// A Kubernetes quantity as a number; exact for what the demo uses.
fn quantity(text: &str) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 9] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
    ];
    match SUFFIXES.iter().find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, factor))) {
        Some((number, factor)) => number.parse::<f64>().ok().map(|n| n * factor),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(memory: &[&str]) -> Capacity {
        let mut lines = vec![
            json!({"event":"world","nodes":[{"name":"n"}],"trueRttUs":[[0]]}),
            json!({"event":"object","verb":"ADDED","object":{"kind":"Node","metadata":{"name":"n"},"status":{"allocatable":{"cpu":"4","memory":"8Gi","pods":"10"}}}}),
        ];
        for (i, memory) in memory.iter().enumerate() {
            lines.push(json!({"event":"object","verb":"ADDED","object":{"kind":"Pod","metadata":{"uid":format!("u{i}")},
                "spec":{"containers":[{"resources":{"requests":{"memory":memory}}}]}}}));
            lines.push(json!({"event":"binding","pod":format!("d/p{i}"),"uid":format!("u{i}"),"node":"n"}));
        }
        let text: Vec<String> = lines.iter().map(ToString::to_string).collect();
        judge(&Record::read(text.join("\n").as_bytes()).unwrap())
    }

    #[test]
    fn a_full_node_is_fine_and_one_byte_more_is_not() {
        assert_eq!(run(&["6Gi", "2Gi"]).overcommitted, 0);
        assert_eq!(run(&["6Gi", "2Gi", "1"]).overcommitted, 1);
    }

    #[test]
    fn sidecars_and_init_containers_count_as_they_run() {
        let pod = json!({"spec":{
            "containers":[{"resources":{"requests":{"cpu":"1"}}}],
            "initContainers":[
                {"restartPolicy":"Always","resources":{"requests":{"cpu":"500m"}}},
                {"resources":{"requests":{"cpu":"2"}}}],
            "overhead":{"cpu":"100m"}}});
        assert_eq!(requests(&pod)["cpu"], 2.6);
    }
}
