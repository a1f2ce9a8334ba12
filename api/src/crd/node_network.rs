//! `NodeNetwork` (short name `nn`): what one node's network looks like, for people and small controllers. The whole topology is served by
//! the topology service and never stored; this object stays under 2 kB and is written when a delay layer changes, at most every 30 s.

use super::Duration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The node that this object describes.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "edge-scheduler.io",
    version = "v1alpha1",
    kind = "NodeNetwork",
    plural = "nodenetworks",
    shortname = "nn",
    category = "edge",
    status = "NodeNetworkStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "NodeNetwork summarises the RTTs and devices of the node of the same name, as edge-pinger measures them.",
    printcolumn(name = "Site", type_ = "string", json_path = ".status.site", description = "Nodes close to each other, or the zone label"),
    printcolumn(name = "Peers", type_ = "string", json_path = ".status.peers", description = "Measured nodes of all others"),
    printcolumn(name = "Nearest", type_ = "string", json_path = ".status.nearest[0].node", description = "Node with the least RTT"),
    printcolumn(name = "P50", type_ = "string", json_path = ".status.nearest[0].p50", description = "Median RTT to the nearest"),
    printcolumn(
        name = "P90",
        type_ = "string",
        json_path = ".status.nearest[0].p90",
        description = "RTT to the nearest that bounds are held against",
        priority = 1
    ),
    printcolumn(name = "Devices", type_ = "string", json_path = ".status.devices[*].class", description = "Device classes"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct NodeNetworkSpec {
    /// Name of the node; the object has the same name.
    #[schemars(length(min = 1, max = 253))]
    pub node_name: String,
}

/// What is measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeNetworkStatus {
    /// When this was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Time>,

    /// Site of the node: its zone label, else the group of nodes close to each other that it was found in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub site: Option<String>,

    /// Measured nodes of all others, such as "12/13".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 15))]
    pub peers: Option<String>,

    /// How many nodes are within each delay of this one, by rising delay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub layers: Vec<LayerSummary>,

    /// The nearest nodes by median RTT.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub nearest: Vec<Neighbour>,

    /// Device classes of the node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub devices: Vec<DeviceSummary>,

    /// Reporting: the node's agent reports. AddressKnown: the node has an address to be probed at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The nodes within one delay of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LayerSummary {
    /// RTT of the layer, inclusive.
    pub within: Duration,
    /// Nodes in it, this one not counted.
    pub nodes: u32,
}

/// A near node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Neighbour {
    /// Its name.
    pub node: String,
    /// Median RTT of the window.
    pub p50: Duration,
    /// What delay bounds are held against: p90 of the window, its maximum below 16 samples.
    pub p90: Duration,
}

/// Devices of one class and model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceSummary {
    /// Device class, such as gpu.
    #[schemars(length(max = 63))]
    pub class: String,
    /// Model, as its driver names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub model: Option<String>,
    /// How many.
    pub count: u32,
    /// Their memory together, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<i64>,
}
