//! What routers feed back: how much is asked for, from where, and what is in flight.

use super::stream::LoadRow;
use serde::{Deserialize, Serialize};

/// Demand of one client site on one load balancer since the last report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DemandRow {
    /// `namespace/name` of the EdgeLoadBalancer or the Service.
    pub load_balancer: String,
    pub use_case: String,
    /// Node by which the clients enter.
    pub site: String,
    /// Requests per second over the reported window.
    pub rate: f64,
    /// Learned service time of requests that found a free slot, per device class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_us: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DemandReport {
    /// Node of the router.
    pub node: String,
    pub epoch: u64,
    pub sequence: u64,
    pub demand: Vec<DemandRow>,
    pub load: Vec<LoadRow>,
}
