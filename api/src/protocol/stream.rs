//! What readers follow: the topology as one snapshot and then deltas.

use super::demand::DemandRow;
use super::report::DeviceReport;
use placement::topology::PairStat;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One node in the snapshot. Pairs refer to nodes by their index in `nodes`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeEntry {
    pub name: String,
    /// Site found by clustering or set by label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<DeviceReport>,
}

/// An unordered pair by node names: of both directions the larger counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PairEntry {
    pub a: Arc<str>,
    pub b: Arc<str>,
    /// `None`: no longer measured.
    pub stat: Option<PairStat>,
}

/// In-flight requests on a pod, summed over routers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadRow {
    /// `namespace/name` of the pod.
    pub pod: String,
    pub in_flight: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopologySnapshot {
    pub generation: u64,
    /// When the snapshot was made.
    pub at_ms: u64,
    /// Whether every known agent has reported since the service started.
    pub warm: bool,
    pub nodes: Vec<NodeEntry>,
    pub pairs: Vec<PairEntry>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopologyDelta {
    pub generation: u64,
    pub at_ms: u64,
    pub warm: bool,
    /// New or changed nodes.
    #[serde(default)]
    pub nodes: Vec<NodeEntry>,
    #[serde(default)]
    pub removed: Vec<String>,
    #[serde(default)]
    pub pairs: Vec<PairEntry>,
    #[serde(default)]
    pub load: Vec<LoadRow>,
    /// Requests per second by load balancer and site, as their routers last said; for who writes status.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub demand: Vec<DemandRow>,
}

/// One line of `GET /v1/stream`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum StreamEvent {
    Snapshot(TopologySnapshot),
    Delta(TopologyDelta),
    /// Nothing changed for five seconds; the connection lives.
    Heartbeat {
        generation: u64,
        at_ms: u64,
    },
}
