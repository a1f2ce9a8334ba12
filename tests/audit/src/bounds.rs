//! Delay bounds against the true RTT matrix.
//!
//! A bound is judged when its pod is bound, against where its reference stands: of a workload, the replicas bound before, and where there are none
//! (pods that refer to each other are bound as a group) those bound later.

use crate::record::{Binding, Record, text};
use serde_json::Value;

#[derive(Default)]
pub struct Bounds {
    pub checked: usize,
    pub violated: usize,
    pub findings: Vec<String>,
}

struct Bound {
    from: String,
    max_us: f64,
    all: bool,
}

pub fn judge(record: &Record) -> Bounds {
    let mut result = Bounds::default();
    let bindings: Vec<&Binding> = record.bindings().collect();
    for (position, binding) in bindings.iter().enumerate() {
        let Some(pod) = record.pods.get(&binding.uid) else {
            result.violated += 1;
            result.findings.push(format!("{} was bound but never stored with uid {}", binding.pod, binding.uid));
            continue;
        };
        for bound in bounds_of(pod) {
            result.checked += 1;
            let rtts: Vec<Option<f64>> = places(record, pod, &bound.from, &bindings, position)
                .iter()
                .map(|at| record.world.true_rtt_us(at, &binding.node))
                .collect();
            let within = |rtt: &Option<f64>| rtt.is_some_and(|us| us <= bound.max_us);
            let holds = !rtts.is_empty() && if bound.all { rtts.iter().all(within) } else { rtts.iter().any(within) };
            if !holds {
                result.violated += 1;
                result.findings.push(format!(
                    "{} on {}: true RTT from {} is {rtts:?} us, bound {} us",
                    binding.pod, binding.node, bound.from, bound.max_us
                ));
            }
        }
    }
    result
}

/// Nodes that `from` stands on, as seen by the pod bound at `position`.
fn places<'a>(record: &'a Record, pod: &Value, from: &'a str, bindings: &[&'a Binding], position: usize) -> Vec<&'a str> {
    let (kind, name) = from.split_once('/').unwrap_or(("", from));
    if matches!(kind, "" | "node") && record.world.nodes.iter().any(|n| n.name == name) {
        return vec![name];
    }
    let matching = |binding: &&&Binding| {
        let Some(other) = record.pods.get(&binding.uid) else { return false };
        let workload = workload_of(other);
        text(other, "/metadata/namespace") == text(pod, "/metadata/namespace")
            && binding.uid != text(pod, "/metadata/uid")
            && match kind {
                "" => workload.1 == name || text(other, "/metadata/name") == name,
                "pod" => text(other, "/metadata/name") == name,
                kind => workload.0.eq_ignore_ascii_case(kind) && workload.1 == name,
            }
    };
    let before: Vec<&str> = bindings[..position].iter().filter(matching).map(|b| b.node.as_str()).collect();
    if !before.is_empty() {
        return before;
    }
    bindings[position..].iter().filter(matching).map(|b| b.node.as_str()).collect()
}

/// Kind and name of the pod's controller; the ReplicaSet of a Deployment counts as the Deployment.
fn workload_of(pod: &Value) -> (String, String) {
    let owner = pod.pointer("/metadata/ownerReferences/0").cloned().unwrap_or_default();
    let (kind, name) = (text(&owner, "/kind"), text(&owner, "/name"));
    match text(pod, "/metadata/labels/pod-template-hash") {
        hash if kind == "ReplicaSet" && !hash.is_empty() => {
            ("Deployment".into(), name.strip_suffix(&format!("-{hash}")).unwrap_or(name).to_owned())
        }
        _ => (kind.to_owned(), name.to_owned()),
    }
}

fn bounds_of(pod: &Value) -> Vec<Bound> {
    let mut bounds = Vec::new();
    for (key, value) in pod.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten() {
        if let (Some(from), Some(ms)) = (key.strip_prefix("delay_"), value.as_str().and_then(|v| v.parse::<f64>().ok())) {
            bounds.push(Bound { from: from.to_owned(), max_us: ms * 1000.0, all: false });
        }
    }
    let annotation = text(pod, "/metadata/annotations/edge-scheduler.io~1delay");
    let entries: Value = serde_json::from_str(annotation).unwrap_or_default();
    for (from, value) in entries.as_object().into_iter().flatten() {
        let max = value.as_str().unwrap_or_else(|| text(value, "/max"));
        if let Some(max_us) = duration_us(max) {
            bounds.push(Bound { from: from.clone(), max_us, all: value["replicas"] == "all" });
        }
    }
    bounds
}

fn duration_us(duration: &str) -> Option<f64> {
    for (unit, us) in [("ms", 1e3), ("us", 1.0), ("s", 1e6)] {
        if let Some(number) = duration.strip_suffix(unit) {
            return number.parse::<f64>().ok().map(|n| n * us);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    const WORLD: &str = r#"{"event":"world","nodes":[{"name":"edge-1"},{"name":"edge-2"},{"name":"far"}],"trueRttUs":[[0,900,40000],[900,0,40000],[41000,40000,0]]}"#;

    fn pod(name: &str, labels: &str, more: &str) -> String {
        format!(
            r#"{{"event":"object","verb":"ADDED","object":{{"kind":"Pod","metadata":{{"namespace":"d","name":"{name}","uid":"u-{name}","labels":{labels}{more}}}}}}}"#
        )
    }

    fn bind(name: &str, node: &str) -> String {
        format!(r#"{{"event":"binding","pod":"d/{name}","uid":"u-{name}","node":"{node}"}}"#)
    }

    fn check(lines: &[String], checked: usize, violated: usize) {
        let text = [&[WORLD.to_owned()], lines].concat().join("\n");
        let bounds = judge(&Record::read(text.as_bytes()).unwrap());
        assert_eq!((bounds.checked, bounds.violated), (checked, violated), "{:?}", bounds.findings);
    }

    #[test]
    fn a_bound_on_a_node_is_judged_by_the_larger_direction() {
        let near = pod("a", r#"{"delay_edge-1":"40.5"}"#, "");
        check(&[near.clone(), bind("a", "edge-2")], 1, 0);
        check(&[near, bind("a", "far")], 1, 1);
    }

    #[test]
    fn a_bound_on_a_workload_holds_when_one_replica_is_near() {
        let owner = r#","ownerReferences":[{"kind":"ReplicaSet","name":"api-5f"}]"#;
        let api = |name| pod(name, r#"{"pod-template-hash":"5f"}"#, owner);
        let user = pod("user", r#"{"delay_api":"1"}"#, "");
        check(&[api("x"), api("y"), user.clone(), bind("x", "far"), bind("y", "edge-1"), bind("user", "edge-2")], 1, 0);
        check(&[api("x"), user.clone(), bind("x", "far"), bind("user", "edge-2")], 1, 1);
        check(&[user, bind("user", "edge-2")], 1, 1);
    }

    #[test]
    fn the_annotation_counts_too() {
        let all = pod("a", "{}", r#","annotations":{"edge-scheduler.io/delay":"{\"node/edge-1\":{\"max\":\"0.5ms\"}}"}"#);
        check(&[all.clone(), bind("a", "edge-1")], 1, 0);
        check(&[all, bind("a", "edge-2")], 1, 1);
    }
}
