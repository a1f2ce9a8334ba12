//! A case and an answer, as they go through the pipe; see `tests/control-plane/kubernetes/oracle/case.go`.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// A cluster and a pod to be scheduled. Objects are as the API server stores them: defaulted, with UIDs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    pub id: i64,
    pub objects: Vec<Value>,
    pub pod: Value,
    /// One entry of `profiles` of a KubeSchedulerConfiguration; `None`: the default profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Answer {
    pub id: i64,
    /// The case could not be judged.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The pod was rejected as a whole, before any node was looked at.
    pub pre_filter: Option<Verdict>,
    #[serde(deserialize_with = "or_empty")]
    pub nodes: BTreeMap<String, Verdict>,
    /// By node that fits and plugin.
    #[serde(deserialize_with = "or_empty")]
    pub scores: BTreeMap<String, BTreeMap<String, Score>>,
    #[serde(deserialize_with = "or_empty")]
    pub total: BTreeMap<String, i64>,
    /// Nodes of the highest total, sorted.
    #[serde(deserialize_with = "or_empty")]
    pub best: Vec<String>,
    /// The pod's nominated node, where it fits: then it is taken whatever the scores say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub nominated: String,
    /// Why no node fits, without what preemption adds; empty where one does.
    pub message: String,
    /// Where no node fits. On our side the one candidate that was chosen, and `None` where a pod is held before any node is looked at.
    pub preemption: Option<Preemption>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// `Success`, `Unschedulable` or `UnschedulableAndUnresolvable`.
    pub code: String,
    /// The first filter that rejected; empty where PreFilter left the node out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub plugin: String,
    /// Sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// The code of a node that fits.
pub const SUCCESS: &str = "Success";

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    pub raw: i64,
    pub normalized: i64,
    pub weight: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Preemption {
    /// Candidates that nothing but chance decides between, sorted.
    pub best: Vec<String>,
    pub candidates: BTreeMap<String, Candidate>,
    pub message: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// `namespace/name`.
    pub victims: Vec<String>,
    #[serde(rename = "pdbViolations")]
    pub pdb_violations: i64,
}

/// Go writes an empty map or list as null.
fn or_empty<'de, T: Default + Deserialize<'de>, D: serde::Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Answer {
    /// Whether the filter of this name rejects some nodes and not all.
    pub fn rejects_some(&self, plugin: &str) -> bool {
        let rejected = self.nodes.values().filter(|verdict| verdict.plugin == plugin).count();
        rejected > 0 && rejected < self.nodes.len()
    }

    /// Whether the nodes that fit differ in the score of this name.
    pub fn score_differs(&self, plugin: &str) -> bool {
        let mut of_nodes = self.scores.values().map(|scores| scores.get(plugin).map(|score| score.normalized));
        let first = of_nodes.next();
        of_nodes.any(|score| Some(score) != first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_of_go_reads_as_one_of_ours() {
        let read: Answer = serde_json::from_value(json!({
            "id": 3, "preFilter": null, "nodes": {"a": {"code": "Success"}, "b": {"code": "Unschedulable", "plugin": "P", "reasons": ["r"]}},
            "scores": {"a": {"S": {"raw": 1, "normalized": 50, "weight": 2}}}, "skippedScores": [], "total": {"a": 100}, "best": ["a"],
            "message": "", "preemption": null,
        }))
        .unwrap();
        assert!(read.rejects_some("P") && !read.rejects_some("Q") && !read.score_differs("S"));
        let nothing: Answer = serde_json::from_value(json!({"id": 4, "error": "why", "nodes": null, "best": null, "message": ""})).unwrap();
        assert_eq!((nothing.error.as_str(), nothing.nodes.len()), ("why", 0));
    }
}
