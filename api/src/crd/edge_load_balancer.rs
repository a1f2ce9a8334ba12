//! `EdgeLoadBalancer` (short name `elb`): how requests for a use case reach the pods that serve it.
//!
//! The doc comments of the fields are what `kubectl explain elb` prints.

use super::Duration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use placement::units::{Fps, Micros};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

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
#[serde(rename_all = "camelCase", deny_unknown_fields)]
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
#[serde(rename_all = "camelCase", deny_unknown_fields)]
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
#[serde(rename_all = "camelCase", deny_unknown_fields)]
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

/// How an endpoint is chosen among those within every bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyType {
    #[default]
    Balance,
    RoundRobin,
    Squeeze,
    Random,
    WeightedRoundRobin,
    LeastConnections,
    Optimized,
}

/// What is minimised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    Cost,
    Performance,
    #[default]
    Mixed,
}

/// `20%` of the best response time, or `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Spread {
    Percent(u16),
    All,
}

impl Default for Spread {
    fn default() -> Spread {
        Spread::Percent(20)
    }
}

impl FromStr for Spread {
    type Err = String;

    fn from_str(text: &str) -> Result<Spread, String> {
        let percent =
            || text.strip_suffix('%').filter(|n| (1..=3).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit()))?.parse().ok();
        match text {
            "all" => Ok(Spread::All),
            _ => {
                percent().map(Spread::Percent).ok_or_else(|| format!("spread {text:?} is neither a percentage such as \"20%\" nor \"all\""))
            }
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spread::Percent(percent) => write!(f, "{percent}%"),
            Spread::All => f.write_str("all"),
        }
    }
}

impl Serialize for Spread {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Spread {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Spread, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Spread {
    fn schema_name() -> Cow<'static, str> {
        "Spread".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": 4, "pattern": "^([0-9]{1,3}%|all)$"})
    }
}

/// What one endpoint can take, and for single device classes where they differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Performance {
    /// Requests (frames) per second. Not given: not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub fps: Option<u32>,

    /// Requests served at once without queueing; 1 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub slots: Option<u32>,

    /// Time to serve one request without queueing. Routers learn it from requests; this is what is assumed before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_time: Option<Duration>,

    /// The same by device class, such as "gpu"; what a class does not give is taken from above.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub devices: BTreeMap<String, DevicePerformance>,
}

/// What an endpoint on one device class can take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DevicePerformance {
    /// Requests (frames) per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub fps: Option<u32>,

    /// Requests served at once without queueing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub slots: Option<u32>,

    /// Time to serve one request without queueing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_time: Option<Duration>,
}

/// What an endpoint on one device class can take, with everything filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serving {
    /// `None`: not limited.
    pub fps: Option<Fps>,
    pub slots: u32,
    /// Declared service time; zero when none is, until it is learned.
    pub service: Micros,
}

impl Performance {
    /// What holds for endpoints on this device class.
    pub fn of(&self, class: &str) -> Serving {
        let device = self.devices.get(class).cloned().unwrap_or_default();
        Serving {
            fps: device.fps.or(self.fps).map(Fps),
            slots: device.slots.or(self.slots).unwrap_or(1).max(1),
            service: device.service_time.or(self.service_time).unwrap_or_default().0,
        }
    }
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
#[serde(rename_all = "camelCase", deny_unknown_fields)]
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
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sla {
    /// Largest RTT between the client's site and the endpoint, such as "25ms". An endpoint beyond it, or not measured, is never picked. Not given: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rtt: Option<Duration>,
}

/// How long the router waits for an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
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

/// What the routers see and count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EdgeLoadBalancerStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready endpoints of all, such as "3/4".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,

    /// Requests per second over all client sites.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,

    /// The endpoints by pod, the first 64 by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["pod"]))]
    pub endpoints: Vec<EndpointStatus>,

    /// Requests per second by client site.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["site"]))]
    pub demand: Vec<DemandStatus>,

    /// Accepted: the spec could be taken. Ready: at least one endpoint is ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// One endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointStatus {
    /// Name of the pod.
    pub pod: String,
    /// Its node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Address that requests go to.
    pub address: String,
    /// Port that requests go to.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: u16,
    /// Whether it takes requests.
    pub ready: bool,
    /// Device class that it computes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Requests that it serves at once without queueing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<u32>,
    /// Requests in flight over all routers when this was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<f64>,
    /// Why it takes none, when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Demand of one client site.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DemandStatus {
    /// Node by which the clients enter.
    pub site: String,
    /// Requests per second.
    pub rate: f64,
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

    #[test]
    fn a_device_class_takes_from_the_whole_what_it_does_not_give() {
        let performance: Performance =
            serde_json::from_str(r#"{"fps": 30, "serviceTime": "20ms", "devices": {"gpu": {"slots": 8, "serviceTime": "5ms"}}}"#).unwrap();
        assert_eq!(performance.of("gpu"), Serving { fps: Some(Fps(30)), slots: 8, service: Micros(5_000) });
        assert_eq!(performance.of("cpu"), Serving { fps: Some(Fps(30)), slots: 1, service: Micros(20_000) });
    }

    #[test]
    fn a_spread_is_a_percentage_or_all() {
        let check = |text: &str, expected: Option<Spread>| assert_eq!(text.parse::<Spread>().ok(), expected, "{text}");
        check("20%", Some(Spread::Percent(20)));
        check("0%", Some(Spread::Percent(0)));
        check("all", Some(Spread::All));
        for wrong in ["", "%", "20", "-5%", "1000%", "2.5%", "+5%", "ALL"] {
            check(wrong, None);
        }
    }
}
