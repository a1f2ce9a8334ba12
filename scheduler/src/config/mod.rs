//! The configuration of edge-scheduler: one file, environment and flags, checked whole before anything starts.
//!
//! The file may be a KubeSchedulerConfiguration too: see [`kube_scheduler`].

mod kube_scheduler;

use api::profile;
use chassis::client::ClientConfig;
use chassis::config::{Duration, Problems, Translated, Validate};
use chassis::lease::LeaseConfig;
use chassis::watches::WatchConfig;
use placement::cluster::{LabelMatch, Price, Profiles, Undelayed};
use placement::units::{Micros, Span};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    pub client: ClientConfig,
    /// Pods whose `schedulerName` is this are bound, where no profile names others.
    pub scheduler_name: String,
    /// `profiles` as kube-scheduler's configuration has them: pods are bound that name one, and judged by it. None: one, with everything as it is by default.
    pub profiles: Vec<Value>,
    /// Namespace of the CA's Secret and ConfigMap, and of the Service.
    pub namespace: String,
    /// /livez, /readyz, /metrics and /configz. Port 0: any.
    pub admin_address: SocketAddr,
    /// With more than one replica exactly one binds; the others keep their caches warm and serve the topology.
    pub leader_election: LeaseConfig,
    pub watches: WatchConfig,
    pub placement: PlacementConfig,
    pub binding: Binding,
    pub queue: QueueConfig,
    pub topology: Topology,
    pub extender: ExtenderConfig,
    /// Keys of a KubeSchedulerConfiguration that are accepted and change nothing here, each with the reason; said at the start.
    pub without_effect: Vec<String>,
}

/// Advice to a kube-scheduler that has this program in its `extenders`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExtenderConfig {
    /// Where it listens. Nothing: not at all. Port 0: any.
    pub address: Option<SocketAddr>,
    /// PEM file of the CAs whose client certificates may ask. With it the extender is served over TLS, with the topology service's certificate; without it,
    /// over plain HTTP, on a loopback address only.
    pub client_ca_file: Option<PathBuf>,
}

/// How nodes are judged. See the model's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PlacementConfig {
    /// Where a pod without delay bounds goes: cloud-preferred, cloud-only or any.
    pub undelayed: Undelayed,
    /// `key=value` or `key`: nodes with the cloud role.
    pub cloud: String,
    /// `key` or `key=value`: nodes of the control plane, kept out unless a pod tolerates that taint. Empty: only their taints count.
    pub control_plane: String,
    /// A measurement older than this is no measurement.
    pub max_age: Duration,
    /// Nodes whose cost is within this share of the best are equal in cost...
    pub band_percent: f64,
    /// ... and at least within this time.
    pub band_floor: Duration,
    pub price: Option<Price>,
    /// For negative controls in demonstrations only: `false` ignores every delay bound.
    pub delay_filter: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Binding {
    /// Bindings under way at once.
    pub parallelism: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct QueueConfig {
    pub initial_backoff: Duration,
    pub max_backoff: Duration,
    /// A pod that nothing woke for this long is tried anyway.
    pub flush_after: Duration,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Topology {
    pub source: Source,
    /// Of source `files`: the delay matrix, in ms.
    pub matrix: Option<PathBuf>,
    /// Of source `files`: JSON object, node name -> row of the matrix. Not needed where the matrix has a header.
    pub metadata: Option<PathBuf>,
    /// How often the files are looked at for changes.
    pub poll_interval: Duration,
    /// Where the topology service listens. Port 0: any.
    pub address: SocketAddr,
    /// Names and addresses besides the Service's that the serving certificate is for.
    pub server_names: Vec<String>,
    /// Time between two probes of a pair; longer where an agent would exceed `maxProbesPerSecond`.
    pub probe_interval: Duration,
    pub probe_timeout: Duration,
    pub max_probes_per_second: f64,
    /// How long pods with bounds wait for agents after a start before they are judged by what is known.
    pub warm_up: Duration,
    /// Least time between two writes of a node's NodeNetwork object.
    pub object_interval: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// edge-pinger on every node.
    #[default]
    Agents,
    /// A delay matrix and metadata on disk, read again when they change.
    Files,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            client: ClientConfig::default(),
            scheduler_name: api::labels::SCHEDULER_NAME.into(),
            profiles: Vec::new(),
            namespace: api::labels::SYSTEM_NAMESPACE.into(),
            admin_address: (Ipv4Addr::UNSPECIFIED, 10259).into(),
            leader_election: LeaseConfig::default(),
            watches: WatchConfig::default(),
            placement: PlacementConfig::default(),
            binding: Binding::default(),
            queue: QueueConfig::default(),
            topology: Topology::default(),
            extender: ExtenderConfig::default(),
            without_effect: Vec::new(),
        }
    }
}

impl Default for PlacementConfig {
    fn default() -> PlacementConfig {
        let model = placement::cluster::Settings::default();
        let selector = |label: &LabelMatch| match &label.value {
            Some(value) => format!("{}={value}", label.key),
            None => label.key.clone(),
        };
        PlacementConfig {
            undelayed: model.undelayed,
            cloud: selector(&model.cloud),
            control_plane: model.control_plane.as_ref().map(selector).unwrap_or_default(),
            max_age: Duration::from_millis(model.max_age.0),
            band_percent: f64::from(model.band_permille) / 10.0,
            band_floor: std::time::Duration::from_micros(u64::from(model.band_floor.0)).into(),
            price: model.price,
            delay_filter: model.delay_filter,
        }
    }
}

impl Default for Binding {
    fn default() -> Binding {
        Binding { parallelism: 64 }
    }
}

impl Default for QueueConfig {
    fn default() -> QueueConfig {
        QueueConfig { initial_backoff: Duration::from_secs(1), max_backoff: Duration::from_secs(10), flush_after: Duration::from_secs(300) }
    }
}

impl Default for Topology {
    fn default() -> Topology {
        Topology {
            source: Source::default(),
            matrix: None,
            metadata: None,
            poll_interval: Duration::from_secs(1),
            address: (Ipv4Addr::UNSPECIFIED, 9443).into(),
            server_names: Vec::new(),
            probe_interval: Duration::from_secs(10),
            probe_timeout: Duration::from_secs(2),
            max_probes_per_second: 100.0,
            warm_up: Duration::from_secs(30),
            object_interval: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// The model's settings.
    pub fn model(&self) -> placement::cluster::Settings {
        // Checked by `validate`.
        let profiles = profile::read(&self.profiles, &self.scheduler_name);
        self.placement.model(profiles.unwrap_or_else(|_| placement::cluster::Profile::new(&self.scheduler_name).into()))
    }

    /// As it works: with every profile's plugins and arguments.
    pub fn effective(&self) -> Config {
        Config { profiles: self.model().profiles.iter().map(profile::show).collect(), ..self.clone() }
    }
}

impl PlacementConfig {
    fn model(&self, profiles: Profiles) -> placement::cluster::Settings {
        placement::cluster::Settings {
            profiles,
            undelayed: self.undelayed,
            cloud: label_match(&self.cloud),
            control_plane: (!self.control_plane.is_empty()).then(|| label_match(&self.control_plane)),
            max_age: span(self.max_age),
            band_permille: (self.band_percent * 10.0).round() as u32,
            band_floor: Micros(self.band_floor.as_micros().try_into().unwrap_or(u32::MAX)),
            price: self.price.clone(),
            delay_filter: self.delay_filter,
        }
    }
}

impl QueueConfig {
    pub fn settings(&self) -> crate::queue::Settings {
        crate::queue::Settings {
            initial_backoff: span(self.initial_backoff),
            max_backoff: span(self.max_backoff),
            unschedulable_limit: span(self.flush_after),
        }
    }
}

pub(crate) fn span(duration: Duration) -> Span {
    Span(duration.as_millis().try_into().unwrap_or(u64::MAX))
}

fn label_match(text: &str) -> LabelMatch {
    match text.split_once('=') {
        Some((key, value)) => LabelMatch { key: key.trim().into(), value: Some(value.trim().into()) },
        None => LabelMatch { key: text.trim().into(), value: None },
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        problems.within("client", |problems| self.client.validate(problems));
        if self.scheduler_name.is_empty() {
            problems.wrong("schedulerName", "\"\"", "the schedulerName that pods ask for");
        }
        for found in profile::read(&self.profiles, &self.scheduler_name).err().into_iter().flatten() {
            problems.wrong(&found.field, found.got, &found.want);
        }
        if self.namespace.is_empty() {
            problems.wrong("namespace", "\"\"", "a namespace such as edge-system");
        }
        let positive = |problems: &mut Problems, key: &str, value: Duration| {
            if value.is_zero() {
                problems.wrong(key, value, "more than 0s");
            }
        };
        problems.within("leaderElection", |problems| self.leader_election.validate(problems));
        problems.within("watches", |problems| self.watches.validate(problems));
        problems.within("placement", |problems| {
            positive(problems, "maxAge", self.placement.max_age);
            if label_match(&self.placement.cloud).key.is_empty() {
                problems.wrong("cloud", format!("{:?}", self.placement.cloud), "a label, key=value or key");
            }
            if !(0.0..=100.0).contains(&self.placement.band_percent) {
                problems.wrong("bandPercent", self.placement.band_percent, "0 to 100");
            }
        });
        if self.binding.parallelism == 0 {
            problems.within("binding", |problems| problems.wrong("parallelism", 0, "at least 1"));
        }
        problems.within("queue", |problems| {
            positive(problems, "initialBackoff", self.queue.initial_backoff);
            positive(problems, "flushAfter", self.queue.flush_after);
            if self.queue.max_backoff < self.queue.initial_backoff {
                problems.wrong("maxBackoff", self.queue.max_backoff, "at least initialBackoff");
            }
        });
        problems.within("topology", |problems| self.topology.validate(problems));
        problems.within("extender", |problems| self.extender.validate(problems));
    }

    fn translate(document: &Value, problems: &mut Problems) -> Option<Translated> {
        kube_scheduler::translate(document, problems)
    }
}

impl Validate for ExtenderConfig {
    fn validate(&self, problems: &mut Problems) {
        match (self.address, &self.client_ca_file) {
            (Some(address), None) if !address.ip().is_loopback() => {
                problems.wrong(
                    "address",
                    address,
                    "a loopback address, or clientCaFile beside it: whoever can ask learns where pods may go",
                );
            }
            (None, Some(file)) => problems.wrong("clientCaFile", file.display(), "nothing, or an address beside it"),
            _ => {}
        }
    }
}

impl Validate for Topology {
    fn validate(&self, problems: &mut Problems) {
        for (key, value) in
            [("pollInterval", self.poll_interval), ("probeInterval", self.probe_interval), ("probeTimeout", self.probe_timeout)]
        {
            if value.is_zero() {
                problems.wrong(key, value, "more than 0s");
            }
        }
        if !(self.max_probes_per_second > 0.0 && self.max_probes_per_second.is_finite()) {
            problems.wrong("maxProbesPerSecond", self.max_probes_per_second, "probes a second, more than 0");
        }
        match (self.source, &self.matrix) {
            (Source::Files, None) => problems.wrong("matrix", "nothing", "the path of a delay matrix, as source is files"),
            (Source::Agents, Some(path)) => problems.wrong("matrix", path.display(), "nothing, or source: files"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(yaml: &str) -> Result<Config, String> {
        let mut layers = chassis::config::Layers::new("EDGE_SCHEDULER");
        layers.file_text("scheduler.yaml", yaml);
        layers.load().map_err(|errors| errors.to_string())
    }

    #[test]
    fn defaults_are_the_models_and_kube_schedulers() {
        let config = load("").expect("valid");
        let model = config.model();
        let default = placement::cluster::Profile::new("edge-scheduler");
        assert_eq!(model.profiles, default.into());
        assert_eq!(model, placement::cluster::Settings { profiles: model.profiles.clone(), ..Default::default() });
        assert_eq!(format!("{:?}", config.queue.settings()), format!("{:?}", crate::queue::Settings::default()));
    }

    #[test]
    fn a_file_says_what_it_means() {
        let config = load(
            "placement: {undelayed: cloud-only, cloud: tier=dc, maxAge: 5m, bandPercent: 2.5, price: {label: cost, weightUs: 9}}\ntopology: {source: files, matrix: /m.csv}",
        )
        .expect("valid");
        let model = config.model();
        assert_eq!(model.cloud, LabelMatch { key: "tier".into(), value: Some("dc".into()) });
        assert_eq!((model.undelayed, model.max_age, model.band_permille), (Undelayed::CloudOnly, Span(300_000), 25));
        assert_eq!(model.price, Some(Price { label: "cost".into(), weight_us: 9 }));
    }

    fn check(yaml: &str, part: &str) {
        let errors = load(yaml).expect_err(yaml);
        assert!(errors.contains(part), "{errors}");
    }

    #[test]
    fn mistakes_are_named() {
        check("topolgy: {source: files}", r#"did you mean "topology.source"?"#);
        check("topology: {source: files}", r#""topology.matrix": got nothing"#);
        check("topology: {matrix: /m}", "source: files");
        check("topology: {maxProbesPerSecond: 0}", "more than 0");
        check("leaderElection: {leaseDuration: 5s}", "less than leaseDuration");
        check("placement: {bandPercent: 101}", "0 to 100");
        check("queue: {maxBackoff: 10ms}", "at least initialBackoff");
        check("binding: {parallelism: 0}", "at least 1");
        check("extender: {address: '0.0.0.0:8888'}", "a loopback address, or clientCaFile");
        check("extender: {clientCaFile: /ca.crt}", "an address beside it");
    }
}
