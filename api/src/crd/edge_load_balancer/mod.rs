//! `EdgeLoadBalancer` (short name `elb`): how requests for a use case reach the pods that serve it.
//!
//! The doc comments of the fields are what `kubectl explain elb` prints.

mod performance;
mod policy;
mod status;

pub use performance::{DevicePerformance, Performance, Serving};
pub use policy::{Objective, PolicyType, Spread};
pub use status::{DemandStatus, EdgeLoadBalancerStatus, EndpointStatus};

use super::Duration;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is served, by which pods, and how requests are shared among them. A Service whose pods are bound by edge-scheduler has one
/// with the defaults by itself, unless its annotation edge-scheduler.io/implicit is "false".
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "edge-scheduler.io",
    version = "v1alpha1",
    kind = "EdgeLoadBalancer",
    plural = "edgeloadbalancers",
    shortname = "elb",
    category = "edge",
    namespaced,
    status = "EdgeLoadBalancerStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "EdgeLoadBalancer steers the requests of a use case to the pods that answer them soonest.",
    printcolumn(name = "Use Case", type_ = "string", json_path = ".spec.useCase", description = "What is served", priority = 1),
    printcolumn(name = "Backend", type_ = "string", json_path = ".spec.backend.service", description = "Service whose pods serve"),
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.policy", description = "How endpoints are chosen"),
    printcolumn(
        name = "Max RTT",
        type_ = "string",
        json_path = ".spec.sla.maxRtt",
        description = "Largest RTT between client site and endpoint"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.ready", description = "Ready endpoints of all"),
    printcolumn(name = "Rate", type_ = "number", json_path = ".status.rate", description = "Requests per second over all sites"),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status",
        description = "Whether the spec could be taken",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct EdgeLoadBalancerSpec {
    /// Name under which demand is counted, such as "detect". The object's name when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub use_case: Option<String>,

    /// The pods that serve: of a Service, or by labels.
    pub backend: Backend,

    /// Requests that this load balancer takes besides those for the Host <service>.<namespace>: the first route that matches wins, a longer path before a shorter one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub routes: Vec<Route>,

    /// Device classes in the order of preference, such as ["gpu", "npu", "cpu"]. An endpoint on a class that is not listed is never picked. Empty: every class alike.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 63)))]
    pub device_priority: Vec<String>,

    /// How one of the endpoints within every bound is chosen. balance: of those whose response time is near the best, the one with most free compute; round-robin; squeeze: fill one up to the watermark before the next; random; weighted-round-robin; least-connections; optimized: the least of what objective names.
    #[serde(default)]
    pub policy: PolicyType,

    /// What policy "optimized" minimises, only with that policy: cost (the price of the node), performance (the response time), or mixed (response time plus weighted price).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objective>,

    /// Policy "balance": endpoints whose response time is within this share of the best count as equal, and the freest of them is picked. "all" lets every endpoint within the bounds take part.
    #[serde(default)]
    pub spread: Spread,

    /// Policy "balance": the spread is at least this long, so that tiny differences do not decide.
    #[serde(default = "spread_min")]
    pub spread_min: Duration,

    /// What one endpoint can take.
    #[serde(default)]
    pub performance: Performance,

    /// Utilisation of an endpoint's slots or fps, in percent, from which it gets nothing new while another endpoint is below it.
    #[serde(default = "watermark")]
    #[schemars(range(min = 1, max = 100))]
    pub watermark: u8,

    /// What is spoken to the endpoints: http (version 1.1), grpc (HTTP/2 without TLS), tcp or udp.
    #[serde(default)]
    pub protocol: Protocol,

    /// Whether requests of one client stay with one endpoint while it is within the bounds.
    #[serde(default)]
    pub affinity: Affinity,

    /// What must hold for every request.
    #[serde(default)]
    pub sla: Sla,

    /// Labels of the nodes that may serve. Empty: every node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub node_pool: BTreeMap<String, String>,

    /// How long the router waits for an endpoint.
    #[serde(default)]
    pub timeouts: Timeouts,
}

impl Default for EdgeLoadBalancerSpec {
    /// The defaults of the schema, with an empty backend.
    fn default() -> EdgeLoadBalancerSpec {
        EdgeLoadBalancerSpec {
            use_case: None,
            backend: Backend::default(),
            routes: Vec::new(),
            device_priority: Vec::new(),
            policy: PolicyType::default(),
            objective: None,
            spread: Spread::default(),
            spread_min: spread_min(),
            performance: Performance::default(),
            watermark: watermark(),
            protocol: Protocol::default(),
            affinity: Affinity::default(),
            sla: Sla::default(),
            node_pool: BTreeMap::new(),
            timeouts: Timeouts::default(),
        }
    }
}

impl EdgeLoadBalancerSpec {
    /// What a Service has without an object of its own: the defaults. `port` as in [`Backend::port`].
    pub fn implicit(service: &str, port: Option<IntOrString>) -> EdgeLoadBalancerSpec {
        let backend = Backend { service: Some(service.to_owned()), selector: None, port };
        EdgeLoadBalancerSpec { backend, ..EdgeLoadBalancerSpec::default() }
    }
}

/// The pods that serve. Either service or selector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Name of a Service of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub service: Option<String>,

    /// Labels of pods of this namespace, for use without a Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 16))]
    pub selector: Option<BTreeMap<String, String>>,

    /// Port by name or number: of the Service (its first port when not given), or of the pods' containers (needed with selector).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<IntOrString>,
}

/// A host and path prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// Host of the request without port, such as "detect.example.com". Not given: every host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub host: Option<String>,

    /// Prefix of the path, by whole segments: "/v1" takes "/v1" and "/v1/a", not "/v10".
    #[serde(default = "root_path")]
    #[schemars(length(max = 1024), regex(pattern = "^/"))]
    pub path_prefix: String,
}

/// What is spoken to the endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Http,
    Grpc,
    Tcp,
    Udp,
}

/// Whether requests of one client stay with one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Affinity {
    /// What identifies a client: none, client (its address), or header.
    #[serde(default, rename = "type")]
    pub kind: AffinityType,

    /// Name of the header; only and always with type "header".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[A-Za-z0-9-]+$"))]
    pub header: Option<String>,
}

/// What identifies a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AffinityType {
    #[default]
    None,
    Client,
    Header,
}

/// What must hold for every request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sla {
    /// Largest RTT between the client's site and the endpoint, such as "25ms". An endpoint beyond it, or not measured, is never picked. Not given: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rtt: Option<Duration>,
}

/// How long the router waits for an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// Until the connection stands.
    #[serde(default = "connect_timeout")]
    pub connect: Duration,

    /// From the request until the head of the response.
    #[serde(default = "response_timeout")]
    pub response: Duration,

    /// Without a byte in either direction, before a stream or flow is given up.
    #[serde(default = "idle_timeout")]
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts { connect: connect_timeout(), response: response_timeout(), idle: idle_timeout() }
    }
}

fn spread_min() -> Duration {
    Duration::from_millis(2)
}
fn watermark() -> u8 {
    100
}
fn root_path() -> String {
    "/".to_owned()
}
fn connect_timeout() -> Duration {
    Duration::from_secs(1)
}
fn response_timeout() -> Duration {
    Duration::from_secs(30)
}
fn idle_timeout() -> Duration {
    Duration::from_secs(60)
}

impl EdgeLoadBalancer {
    /// The use case: as given, else the object's name.
    pub fn use_case(&self) -> &str {
        self.spec.use_case.as_deref().or(self.metadata.name.as_deref()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_the_type_are_those_of_the_wire() {
        let read: EdgeLoadBalancerSpec = serde_json::from_str(r#"{"backend": {"service": "detect"}}"#).unwrap();
        assert_eq!(read, EdgeLoadBalancerSpec::implicit("detect", None));
        assert_eq!((read.spread, read.spread_min, read.watermark), (Spread::Percent(20), Duration::from_millis(2), 100));
    }
}
