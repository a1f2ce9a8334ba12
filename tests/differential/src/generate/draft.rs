//! A case in the making: nodes, pods on them, and the pod to be scheduled.

use super::Draw;
use crate::case::Case;
use serde_json::{Value, json};

pub struct Draft {
    pub draw: Draw,
    pub nodes: Vec<Value>,
    /// Bound, waiting and ended.
    pub pods: Vec<Value>,
    /// Of other kinds.
    pub objects: Vec<Value>,
    pub pod: Value,
    pub profile: Option<Value>,
}

pub const ZONES: [&str; 3] = ["a", "b", "c"];
pub const NAMESPACES: [&str; 2] = ["shop", "plant"];
pub const APPS: [&str; 3] = ["web", "api", "db"];
pub const PRIORITIES: [i32; 6] = [0, 0, 0, 10, 100, -5];
const CPU: [&str; 8] = ["0", "50m", "100m", "250m", "500m", "0.5", "1", "1500m"];
const MEMORY: [&str; 7] = ["0", "64Mi", "200Mi", "500M", "1Gi", "1500Mi", "3Gi"];
/// 2026-01-01T00:00:00Z.
const EPOCH_S: i64 = 1_767_225_600;

/// Moments at different whole seconds, so that no two pods start at once.
pub fn moment(second: usize) -> String {
    jiff::Timestamp::from_second(EPOCH_S + second as i64).map(|time| time.to_string()).unwrap_or_default()
}

impl Draft {
    pub fn new(draw: Draw) -> Draft {
        let mut draft = Draft { draw, nodes: vec![], pods: vec![], objects: vec![], pod: Value::Null, profile: None };
        // Few clusters are so small that no filter rejects some of the nodes and lets others be.
        let nodes = 1 + draft.draw.below(12).max(draft.draw.below(12));
        draft.nodes = (0..nodes).map(|at| draft.node(at)).collect();
        let most = draft.draw.pick(&[0, 5, 15, 40]);
        let pods = draft.draw.below(most + 1);
        draft.stand(pods);
        draft.pod = draft.plain_pod("incoming", pods);
        draft
    }

    /// Names do not sort in the order in which nodes come.
    fn node(&mut self, at: usize) -> Value {
        let draw = &mut self.draw;
        let name = format!("{}-{at}", draw.pick(&["edge", "cloud", "rack"]));
        let mut labels = json!({"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"});
        if draw.chance(85) {
            labels["topology.kubernetes.io/zone"] = json!(draw.pick(&ZONES));
        }
        let mut allocatable = json!({
            "cpu": draw.pick(&["2", "3920m", "4", "8", "16", "32"]),
            "memory": draw.pick(&["4Gi", "7890Mi", "16Gi", "32Gi"]),
            "pods": "110",
        });
        if draw.chance(60) {
            allocatable["ephemeral-storage"] = json!(draw.pick(&["10Gi", "47093746742", "1Ti"]));
        }
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "uid": format!("node-{at}"), "labels": labels},
            "spec": {},
            "status": {
                "allocatable": allocatable,
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        })
    }

    pub fn node_name(&mut self) -> String {
        let at = self.draw.below(self.nodes.len());
        self.nodes[at]["metadata"]["name"].as_str().unwrap_or_default().to_owned()
    }

    /// Adds pods that are there already.
    pub fn stand(&mut self, pods: usize) {
        let first = self.pods.len();
        let more: Vec<Value> = (first..first + pods).map(|at| self.standing_pod(at)).collect();
        self.pods.extend(more);
    }

    /// A pod that is there already: mostly bound and running, now and then waiting, ended, terminating, or on a node that is gone.
    fn standing_pod(&mut self, at: usize) -> Value {
        let mut pod = self.plain_pod(&format!("pod-{at}"), at);
        let node = if self.draw.chance(2) { "gone".to_owned() } else { self.node_name() };
        if self.draw.chance(94) {
            pod["spec"]["nodeName"] = json!(node);
            pod["status"]["startTime"] = json!(moment(at));
            pod["status"]["phase"] =
                json!(self.draw.pick(&["Running", "Running", "Running", "Running", "Pending", "Unknown", "Succeeded", "Failed"]));
        }
        if self.draw.chance(7) {
            pod["metadata"]["deletionTimestamp"] = json!(moment(1000 + at));
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
        }
        pod
    }

    /// A pod of one or two containers, as admission leaves it.
    fn plain_pod(&mut self, name: &str, at: usize) -> Value {
        let containers = if self.draw.chance(25) { 2 } else { 1 };
        let containers: Vec<Value> = (0..containers).map(|i| self.container(&format!("c{i}"))).collect();
        let draw = &mut self.draw;
        let toleration = |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": name, "namespace": draw.pick(&NAMESPACES), "uid": name,
                "labels": {"app": draw.pick(&APPS)}, "creationTimestamp": moment(at),
            },
            "spec": {
                "schedulerName": "default-scheduler", "priority": draw.pick(&PRIORITIES), "preemptionPolicy": "PreemptLowerPriority",
                "restartPolicy": "Always", "containers": containers,
                "tolerations": [toleration("node.kubernetes.io/not-ready"), toleration("node.kubernetes.io/unreachable")],
            },
            "status": {"phase": "Pending"},
        })
    }

    /// A container with requests for CPU, memory, both, or neither.
    pub fn container(&mut self, name: &str) -> Value {
        let draw = &mut self.draw;
        let mut requests = json!({});
        if draw.chance(85) {
            requests["cpu"] = json!(draw.pick(&CPU));
        }
        if draw.chance(80) {
            requests["memory"] = json!(draw.pick(&MEMORY));
        }
        json!({"name": name, "image": format!("registry.test/{name}:1"), "resources": {"requests": requests}})
    }

    /// Pods on nodes that have not ended.
    pub fn bound_pods(&mut self) -> Vec<&mut Value> {
        let ended = |pod: &Value| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        self.pods.iter_mut().filter(|pod| pod["spec"]["nodeName"].is_string() && !ended(pod)).collect()
    }

    pub fn finish(self, id: i64) -> Case {
        Case { id, objects: [self.nodes, self.objects, self.pods].concat(), pod: self.pod, profile: self.profile }
    }
}

/// Adds to a list that may not be there yet.
pub fn push(list: &mut Value, item: Value) {
    match list {
        Value::Array(items) => items.push(item),
        _ => *list = json!([item]),
    }
}
