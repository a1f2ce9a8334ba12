//! What happened on the cluster, as the API server stored it: JSON lines for programs, and the state that the checks read.

use super::say::Say;
use crate::apiserver::{ChangeKind, Observation};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, watch};

/// A pod of the demo as far as the checks need it.
#[derive(Clone, Debug, Default)]
pub struct PodState {
    pub key: String,
    pub labels: BTreeMap<String, String>,
    pub ours: bool,
    pub node: Option<String>,
    pub running: bool,
    pub gone: bool,
    /// Message of the PodScheduled condition while it is False.
    pub waiting: Option<String>,
    /// Nodes that a binding was accepted for.
    pub bindings: Vec<String>,
}

/// Everything seen, by uid.
#[derive(Debug, Default)]
pub struct Seen {
    pub pods: BTreeMap<String, PodState>,
    /// Events `FailedScheduling` and `Scheduled` already told, by pod and text.
    told: BTreeSet<(String, String)>,
}

/// Follows the API server's changes.
#[derive(Clone)]
pub struct Record {
    seen: Arc<Mutex<Seen>>,
    changed: watch::Sender<u64>,
    say: Say,
}

/// Kinds that programs get to see; leases, events, secrets and the like are left out.
const RECORDED: [&str; 7] = [
    "pods",
    "nodes",
    "deployments.apps",
    "replicasets.apps",
    "services",
    "edgeloadbalancers.edge-scheduler.io",
    "nodenetworks.edge-scheduler.io",
];

impl Record {
    pub fn new(say: Say) -> Record {
        Record { seen: Arc::default(), changed: watch::Sender::new(0), say }
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bumped at every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Takes in observations until the API server ends.
    pub async fn follow(self, mut observations: mpsc::UnboundedReceiver<Observation>) {
        while let Some(observation) = observations.recv().await {
            match observation {
                Observation::Change(change) => {
                    let kind = &*change.object.storage.id;
                    let interesting = RECORDED.contains(&kind) || kind == "events" || kind == "events.events.k8s.io";
                    if interesting {
                        self.object(kind, change.kind, change.object.value());
                    }
                }
                Observation::Bound(binding) => {
                    let pod = format!("{}/{}", binding.namespace, binding.name);
                    self.say.line(|at_ms| json!({"event": "binding", "atMs": at_ms, "pod": pod, "uid": binding.uid, "node": binding.node}));
                    self.seen().pods.entry(binding.uid.clone()).or_default().bindings.push(binding.node.clone());
                }
            }
            self.changed.send_modify(|n| *n += 1);
        }
    }

    fn object(&self, kind: &str, change: ChangeKind, mut object: Value) {
        if kind.starts_with("events") {
            return self.event(&object);
        }
        if kind == "pods" {
            self.pod(change, &object);
        }
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        let verb = match change {
            ChangeKind::Added => "ADDED",
            ChangeKind::Modified => "MODIFIED",
            ChangeKind::Deleted => "DELETED",
        };
        self.say.line(|at_ms| json!({"event": "object", "atMs": at_ms, "verb": verb, "object": object}));
    }

    fn pod(&self, change: ChangeKind, object: &Value) {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        let scheduled = conditions.into_iter().flatten().find(|c| c["type"] == "PodScheduled");
        let mut seen = self.seen();
        let pod = seen.pods.entry(text("/metadata/uid")).or_default();
        pod.key = format!("{}/{}", text("/metadata/namespace"), text("/metadata/name"));
        pod.labels = object.pointer("/metadata/labels").and_then(|labels| serde_json::from_value(labels.clone()).ok()).unwrap_or_default();
        pod.ours = text("/spec/schedulerName") == api::labels::SCHEDULER_NAME;
        pod.node = Some(text("/spec/nodeName")).filter(|node| !node.is_empty());
        pod.running = text("/status/phase") == "Running";
        pod.gone = change == ChangeKind::Deleted;
        pod.waiting = scheduled.filter(|c| c["status"] == "False").and_then(|c| c["message"].as_str().map(str::to_owned));
    }

    /// Tells bindings and waiting pods in the scheduler's own words.
    fn event(&self, object: &Value) {
        let note = object["note"].as_str().or(object["message"].as_str()).unwrap_or_default();
        let regarding = ["regarding", "involvedObject"].iter().find_map(|key| object.get(*key));
        let Some(pod) = regarding.and_then(|r| r["name"].as_str()) else { return };
        let mark = match object["reason"].as_str() {
            Some("Scheduled") => "bound  ",
            Some("FailedScheduling") => "waiting",
            _ => return,
        };
        if self.seen().told.insert((pod.to_owned(), note.to_owned())) {
            self.say.tell(format!("  {mark} {pod}: {note}"));
        }
    }
}
