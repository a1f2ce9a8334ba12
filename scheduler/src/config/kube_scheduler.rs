//! A KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1) as the configuration file, so that a cluster moves over with the file that it has. What is
//! ours stands below `edge`, in the keys of our own form: kube-scheduler's keys and ours never mix, whatever a later version of it adds.
//!
//! A key means what it means there, or is refused; the few that can have no meaning here are accepted and said at the start.

use api::fields::{Fields, Mistakes};
use chassis::config::{Duration, Problems, Translated};
use serde_json::{Map, Value, json};

const API_VERSION: &str = "kubescheduler.config.k8s.io/v1";
const KIND: &str = "KubeSchedulerConfiguration";

/// The file in our own keys; `None`: it is in them already, since it says neither apiVersion nor kind.
pub fn translate(document: &Value, problems: &mut Problems) -> Option<Translated> {
    if document.get("apiVersion").is_none() && document.get("kind").is_none() {
        return None;
    }
    let mistakes = Mistakes::default();
    let translated = read(Fields::of(document, "", &mistakes));
    for found in mistakes.into_list() {
        problems.wrong(&found.field, found.got, &found.want);
    }
    Some(translated)
}

/// What was read, in our own keys.
#[derive(Default)]
struct Own {
    values: Map<String, Value>,
    without_effect: Vec<String>,
}

impl Own {
    fn set(&mut self, section: &str, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.values.entry(section).or_insert_with(|| json!({}))[key] = value.into();
        }
    }

    fn explain(&mut self, key: String, given: bool, why: &str) {
        if given {
            self.without_effect.push(format!("{key}: {why}"));
        }
    }
}

fn read(mut fields: Fields<'_>) -> Translated {
    let mut own = Own::default();
    for (name, right) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        let given = fields.text(name).unwrap_or_default();
        if given != right {
            fields.wrong(name, format!("{given:?}"), right);
        }
    }
    connection(fields.section("clientConnection"), &mut own);
    leader_election(fields.section("leaderElection"), &mut own);
    let seconds = |seconds: Option<i64>| seconds.map(|seconds| format!("{seconds}s"));
    let longest = i64::from(u32::MAX);
    own.set("queue", "initialBackoff", seconds(fields.integer("podInitialBackoffSeconds", 1..=longest)));
    own.set("queue", "maxBackoff", seconds(fields.integer("podMaxBackoffSeconds", 1..=longest)));
    let percentage = fields.integer("percentageOfNodesToScore", 0..=100).is_some();
    own.explain("percentageOfNodesToScore".to_owned(), percentage, ALL_NODES);
    let parallelism = fields.integer("parallelism", 1..=i64::from(i32::MAX)).is_some();
    own.explain("parallelism".to_owned(), parallelism, "one core decides; binding.parallelism bounds the bindings under way at once");
    for name in ["enableProfiling", "enableContentionProfiling"] {
        let given = fields.flag(name) == Some(true);
        own.explain(name.to_owned(), given, "no profiles are served");
    }
    let delayed = fields.flag("delayCacheUntilActive") == Some(true);
    own.explain("delayCacheUntilActive".to_owned(), delayed, "every replica serves the topology, so its cache is always warm");
    for (path, _) in fields.list("extenders") {
        fields.wrong(&path, "an extender", "none: edge-scheduler asks no extenders, but can be one (edge.extender)");
    }
    profiles(&mut fields, &mut own);
    let edge = fields.value("edge").cloned();
    if edge.as_ref().is_some_and(|edge| edge.get("schedulerName").is_some() || edge.get("profiles").is_some()) {
        fields.wrong("edge", "schedulerName or profiles", "these beside it, as `profiles`");
    }
    fields.end();
    if !own.without_effect.is_empty() {
        own.values.insert("withoutEffect".to_owned(), own.without_effect.into());
    }
    Translated { values: own.values.into(), own: edge.map(|edge| ("edge", edge)) }
}

const ALL_NODES: &str = "all nodes are looked at and scored";
const STEPS: &str = "the search for devices ends after so many steps, not after a time";
const NO_CONDITIONS: &str = "devices with binding conditions are given to nobody, so none is waited for";
/// Of a lone profile without a name.
const DEFAULT_NAME: &str = "default-scheduler";

fn profiles(fields: &mut Fields<'_>, own: &mut Own) {
    let list = fields.list("profiles");
    for (path, profile) in &list {
        own.explain(format!("{path}.percentageOfNodesToScore"), !profile["percentageOfNodesToScore"].is_null(), ALL_NODES);
        let args = profile["pluginConfig"].as_array().into_iter().flatten().filter(|entry| entry["name"] == "DynamicResources");
        for args in args.map(|entry| &entry["args"]) {
            for (name, why) in [("filterTimeout", STEPS), ("bindingTimeout", NO_CONDITIONS)] {
                own.explain(format!("{path}.pluginConfig DynamicResources {name}"), !args[name].is_null(), why);
            }
        }
    }
    own.values.insert("schedulerName".to_owned(), DEFAULT_NAME.into());
    own.values.insert("profiles".to_owned(), list.into_iter().map(|(_, profile)| profile.clone()).collect());
}

fn connection(mut fields: Fields<'_>, own: &mut Own) {
    own.set("client", "kubeconfig", fields.text("kubeconfig").filter(|path| !path.is_empty()));
    // 0 is the default, and less than 0 no limit.
    let qps = fields.number("qps").filter(|qps| *qps != 0.0);
    own.set("client", "qps", qps.map(|qps| qps.max(0.0)));
    own.set("client", "burst", fields.integer("burst", 0..=i64::from(i32::MAX)).filter(|burst| *burst != 0));
    for name in ["contentType", "acceptContentTypes"] {
        let types = fields.text(name).unwrap_or_default();
        let known = |one: &str| matches!(one.trim(), "" | "application/json" | "application/vnd.kubernetes.protobuf");
        if !types.split(',').all(known) {
            fields.wrong(name, types, "application/json or application/vnd.kubernetes.protobuf");
        }
        own.explain(fields.at(name), types.contains("protobuf"), "protobuf is spoken where it saves most, else JSON");
    }
    fields.end();
}

/// The same keys as ours. The Lease that is not named is ours, not kube-scheduler's: the two may run side by side.
fn leader_election(mut fields: Fields<'_>, own: &mut Own) {
    own.set("leaderElection", "leaderElect", fields.flag("leaderElect"));
    for name in ["resourceName", "resourceNamespace"] {
        own.set("leaderElection", name, fields.text(name).filter(|name| !name.is_empty()));
    }
    for name in ["leaseDuration", "renewDeadline", "retryPeriod"] {
        let Some(text) = fields.text(name) else { continue };
        match text.parse::<Duration>() {
            Ok(_) => own.set("leaderElection", name, Some(text)),
            Err(error) => fields.wrong(name, text, error.to_string()),
        }
    }
    if let Some(lock) = fields.text("resourceLock").filter(|lock| !["", "leases"].contains(lock)) {
        fields.wrong("resourceLock", lock, "leases");
    }
    fields.end();
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;
    use placement::cluster::{Plugin, Point};

    fn load(yaml: &str) -> Result<Config, Vec<String>> {
        let mut layers = chassis::config::Layers::new("EDGE_SCHEDULER");
        layers.file_text("scheduler.yaml", yaml);
        layers.load().map_err(|errors| errors.0.iter().map(ToString::to_string).collect())
    }

    const HEAD: &str = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";

    #[test]
    fn nothing_said_serves_the_default_scheduler() {
        let config = load(HEAD).unwrap();
        let expected = Config { scheduler_name: "default-scheduler".into(), ..Config::default() };
        assert_eq!(config, expected);
        assert!(config.model().profiles.serve("default-scheduler"));
    }

    #[test]
    fn what_it_says_becomes_ours() {
        let config = load(&format!(
            "{HEAD}clientConnection: {{kubeconfig: /k, qps: -1, burst: 7, contentType: application/vnd.kubernetes.protobuf}}\n\
             leaderElection: {{leaderElect: false, resourceName: mine, leaseDuration: 1m0s, resourceLock: leases}}\n\
             parallelism: 8\npodInitialBackoffSeconds: 2\npodMaxBackoffSeconds: 20\npercentageOfNodesToScore: 30\n\
             enableProfiling: false\nprofiles: [{{schedulerName: a, plugins: {{placementScore: {{}}}}, \
             pluginConfig: [{{name: DynamicResources, args: {{bindingTimeout: 10m0s}}}}]}}, {{schedulerName: b, percentageOfNodesToScore: 5}}]\n\
             edge: {{topology: {{warmUp: 5s}}, client: {{timeout: 9s}}}}\n"
        ))
        .unwrap();
        assert_eq!((config.client.kubeconfig, config.client.qps, config.client.burst), (Some("/k".into()), 0.0, 7));
        assert_eq!((config.client.timeout, config.topology.warm_up), (Duration::from_secs(9), Duration::from_secs(5)));
        let lease = &config.leader_election;
        assert_eq!((lease.leader_elect, lease.resource_name.as_str(), lease.lease_duration), (false, "mine", Duration::from_secs(60)));
        assert_eq!(lease.resource_namespace, "edge-system");
        assert_eq!((config.queue.initial_backoff, config.queue.max_backoff), (Duration::from_secs(2), Duration::from_secs(20)));
        let explained: Vec<&str> = config.without_effect.iter().filter_map(|line| line.split(": ").next()).collect();
        let expected = [
            "clientConnection.contentType",
            "percentageOfNodesToScore",
            "parallelism",
            "profiles[0].pluginConfig DynamicResources bindingTimeout",
            "profiles[1].percentageOfNodesToScore",
        ];
        assert_eq!(explained, expected);
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let errors = load(
            "apiVersion: kubescheduler.config.k8s.io/v1beta3\nkind: KubeSchedulerConfiguration\npodMaxBackoffSecond: 3\n\
             clientConnection: {contentType: text/plain}\nleaderElection: {resourceLock: endpoints}\nparallelism: 0\n\
             extenders: [{urlPrefix: 'http://x'}]\nprofiles: [{plugins: {score: {enabled: [{name: X}]}}}]\nedge: {topolgy: {}, schedulerName: x}\n",
        )
        .unwrap_err();
        let expected = [
            r#"wrong value for "apiVersion": got "kubescheduler.config.k8s.io/v1beta3": expected kubescheduler.config.k8s.io/v1"#,
            r#"wrong value for "clientConnection.contentType": got text/plain: expected application/json or "#,
            r#"wrong value for "leaderElection.resourceLock": got endpoints: expected leases"#,
            r#"wrong value for "parallelism": got 0: expected an integer from 1 to 2147483647"#,
            r#"wrong value for "extenders[0]": got an extender: expected none: "#,
            r#"wrong value for "edge": got schedulerName or profiles: expected these beside it"#,
            r#"wrong value for "podMaxBackoffSecond": got 3: expected one of the fields "#,
            r#"scheduler.yaml, below edge: unknown key "topolgy""#,
            r#"wrong value for "profiles[0].plugins.score.enabled[0].name": got X: expected a plugin that is built in"#,
        ];
        assert_eq!(errors.len(), expected.len(), "{errors:#?}");
        for (error, expected) in errors.iter().zip(expected) {
            assert!(error.starts_with(expected), "{error}\n{expected}");
        }
    }

    /// The page for operators.
    const PAGE: &str = include_str!("../../../docs/kube-scheduler.md");

    #[test]
    fn the_example_for_operators_is_accepted() {
        let examples: Vec<&str> = PAGE.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        let config = examples.iter().find(|text| text.starts_with(HEAD)).map(|text| load(text)).expect("an example").unwrap();
        let names: Vec<String> = config.model().profiles.iter().map(|profile| profile.scheduler_name.clone()).collect();
        assert_eq!((names, config.without_effect.len()), (vec!["default-scheduler".to_owned(), "edge-scheduler".to_owned()], 0));
        let model = config.model();
        let ours = [(Point::Filter, Plugin::CloudRole), (Point::Filter, Plugin::ControlPlane), (Point::Score, Plugin::ResponseTime)];
        let has = model.profiles.iter().map(|profile| ours.map(|(point, plugin)| profile.plugins.has(point, plugin)));
        assert_eq!(has.collect::<Vec<_>>(), [[false; 3], [true; 3]]);
    }

    #[test]
    fn what_is_effective_reads_back() {
        let config = load(&format!("{HEAD}profiles: [{{plugins: {{score: {{disabled: [{{name: '*'}}]}}}}}}]\n")).unwrap();
        let shown = chassis::config::to_yaml(&config.effective()).unwrap();
        assert_eq!(load(&shown).unwrap().model(), config.model(), "{shown}");
    }
}
