//! kube-scheduler's extender protocol, `k8s.io/kube-scheduler/extender/v1`: JSON whose field names are Go's.

use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Of `filter` and `prioritize`. With `nodeCacheCapable: true` the caller names the nodes, else it sends them whole.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Args {
    pub pod: Pod,
    #[serde(default)]
    pub nodes: Option<NodeList>,
    #[serde(default)]
    pub node_names: Option<Vec<String>>,
}

/// Nodes go back as they came.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct NodeList {
    #[serde(default)]
    pub items: Vec<Value>,
}

impl NodeList {
    pub fn name(node: &Value) -> &str {
        node.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
    }
}

/// Reasons by node.
pub type FailedNodes = BTreeMap<String, String>;

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FilterResult {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeList>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_names: Option<Vec<String>>,
    /// Preempting pods would not help on these.
    pub failed_and_unresolvable_nodes: FailedNodes,
    /// Not empty: nothing could be judged, and the attempt fails with this text.
    pub error: String,
}

/// 0 to 10.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostPriority {
    pub host: String,
    pub score: i64,
}

/// Of `preempt`: whom kube-scheduler would evict on each node.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PreemptionArgs {
    pub pod: Pod,
    /// With `nodeCacheCapable: false`.
    #[serde(default)]
    pub node_name_to_victims: Option<BTreeMap<String, Victims>>,
    #[serde(default)]
    pub node_name_to_meta_victims: Option<BTreeMap<String, MetaVictims>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Victims {
    #[serde(default)]
    pub pods: Option<Vec<Pod>>,
    #[serde(default, rename = "NumPDBViolations")]
    pub num_pdb_violations: i64,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MetaVictims {
    #[serde(default)]
    pub pods: Option<Vec<MetaPod>>,
    #[serde(default, rename = "NumPDBViolations")]
    pub num_pdb_violations: i64,
}

#[derive(Debug, Deserialize, Serialize)]
pub struct MetaPod {
    #[serde(rename = "UID")]
    pub uid: String,
}

impl From<Victims> for MetaVictims {
    fn from(victims: Victims) -> MetaVictims {
        let pods = victims.pods.into_iter().flatten();
        let pods = pods.map(|pod| MetaPod { uid: pod.metadata.uid.unwrap_or_default() }).collect();
        MetaVictims { pods: Some(pods), num_pdb_violations: victims.num_pdb_violations }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PreemptionResult {
    pub node_name_to_meta_victims: BTreeMap<String, MetaVictims>,
}
