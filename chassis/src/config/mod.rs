//! Configuration in layers: defaults < one YAML file < environment < flags.
//!
//! The keys are those of the serialised `Default`, so there is no second list of them. Everything is checked before anything
//! starts, and every mistake is reported at once, with the nearest right key or the accepted values.

mod duration;
mod keys;
mod layers;
mod validate;

pub use duration::{Duration, ParseError, Size};
pub use keys::{KeyReference, env_name, reference, reference_table};
pub use layers::Layers;
pub use validate::{Problems, Translated, Validate};

use serde::{Serialize, de::DeserializeOwned};
use std::{fmt, path::PathBuf};

/// Exit code for a wrong flag or configuration (`EX_USAGE` of BSD's sysexits).
pub const EXIT_USAGE: u8 = 64;

/// What a program's configuration must be: plain data with a default for every key, and its own check of the values.
pub trait Configuration: Serialize + DeserializeOwned + Default + Validate + Send + 'static {}

impl<C: Serialize + DeserializeOwned + Default + Validate + Send + 'static> Configuration for C {}

/// One mistake in the configuration. `origin` says where it stands: a file, an environment variable or a flag.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{origin}: not YAML: {message}")]
    Syntax { origin: String, message: String },
    #[error("{origin}: expected keys with values (`key: value`), got {got}")]
    NotAMapping { origin: String, got: String },
    #[error("{origin}: unknown key {key:?}{}", did_you_mean(nearest))]
    UnknownKey { origin: String, key: String, nearest: Option<String> },
    #[error("unknown environment variable {name}{}", did_you_mean(nearest))]
    UnknownVariable { name: String, nearest: Option<String> },
    #[error("{origin}: wrong value for {key:?}: got {got}: {reason}")]
    WrongValue { origin: String, key: String, got: String, reason: String },
    #[error("wrong value for {key:?}: got {got}: expected {accepted}")]
    Invalid { key: String, got: String, accepted: String },
    #[error("--set {text:?}: expected key.path=value")]
    MalformedSet { text: String },
    #[error("the configuration does not fit together: {message}")]
    Inconsistent { message: String },
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|key| format!("; did you mean {key:?}?")).unwrap_or_default()
}

/// Every mistake found, one a line.
#[derive(Debug)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// The configuration as YAML, as `--print-config` shows it; what it prints can be read back.
pub fn to_yaml<C: Serialize>(config: &C) -> Result<String, serde_saphyr::SerializeError> {
    serde_saphyr::to_string(config)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde::Deserialize;
    use std::{collections::BTreeMap, net::SocketAddr};

    #[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
    #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
    pub(crate) struct Example {
        pub client: crate::client::ClientConfig,
        pub topology: Topology,
        pub admin_address: SocketAddr,
        pub workers: u16,
        pub name: String,
        pub policy: Policy,
        pub sites: BTreeMap<String, u32>,
        pub endpoints: Vec<String>,
        pub zone: Option<String>,
    }

    #[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
    #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
    pub(crate) struct Topology {
        pub max_age: Duration,
        pub enabled: bool,
    }

    #[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
    #[serde(rename_all = "kebab-case")]
    pub(crate) enum Policy {
        Balance,
        RoundRobin,
    }

    impl Default for Topology {
        fn default() -> Self {
            Self { max_age: Duration::from_secs(900), enabled: true }
        }
    }

    impl Default for Example {
        fn default() -> Self {
            Self {
                client: Default::default(),
                topology: Default::default(),
                admin_address: SocketAddr::from(([127, 0, 0, 1], 8080)),
                workers: 4,
                name: "edge".to_owned(),
                policy: Policy::Balance,
                sites: BTreeMap::new(),
                endpoints: Vec::new(),
                zone: None,
            }
        }
    }

    impl Validate for Example {
        fn validate(&self, problems: &mut Problems) {
            if self.workers == 0 {
                problems.wrong("workers", self.workers, "at least 1");
            }
            problems.within("topology", |problems| {
                if self.topology.max_age.is_zero() {
                    problems.wrong("maxAge", self.topology.max_age, "more than 0s");
                }
            });
        }
    }

    fn load(file: &str, env: &[(&str, &str)], sets: &[&str]) -> Result<Example, Vec<String>> {
        let mut layers = Layers::new("EDGE_TEST");
        layers.file_text("config.yaml", file);
        layers.env(env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        for set in sets {
            layers.set(set);
        }
        layers.load().map_err(|errors| errors.0.iter().map(ToString::to_string).collect())
    }

    fn check_error(file: &str, env: &[(&str, &str)], sets: &[&str], expected: &[&str]) {
        let errors = load(file, env, sets).expect_err("must be refused");
        assert_eq!(errors, expected, "{file} {env:?} {sets:?}");
    }

    #[test]
    fn nothing_given_means_the_defaults() {
        assert_eq!(load("", &[], &[]), Ok(Example::default()));
        assert_eq!(load("# only a comment\ntopology:\n", &[], &[]), Ok(Example::default()));
    }

    #[test]
    fn later_layers_win() {
        let file = "workers: 1\nname: file\ntopology: {maxAge: 1m}\nsites: {a: 1, b: 2}\n";
        let env = [("EDGE_TEST_NAME", "env"), ("EDGE_TEST_TOPOLOGY_MAX_AGE", "2m"), ("UNRELATED", "x")];
        let got = load(file, &env, &["topology.maxAge=3m", "zone=east", "endpoints=[a, b]"]).expect("valid");
        assert_eq!(got.workers, 1);
        assert_eq!(got.name, "env");
        assert_eq!(got.topology.max_age, Duration::from_secs(180));
        assert_eq!(got.sites, BTreeMap::from([("a".into(), 1), ("b".into(), 2)]));
        assert_eq!(got.zone.as_deref(), Some("east"));
        assert_eq!(got.endpoints, ["a", "b"]);
    }

    #[test]
    fn text_takes_the_type_of_its_key() {
        let got = load("", &[("EDGE_TEST_NAME", "15"), ("EDGE_TEST_ZONE", "7")], &["workers=9", "policy=round-robin", "sites.a=3"])
            .expect("valid");
        assert_eq!((got.name.as_str(), got.zone.as_deref(), got.workers), ("15", Some("7"), 9));
        assert_eq!(got.policy, Policy::RoundRobin);
        assert_eq!(got.sites["a"], 3);
    }

    #[test]
    fn a_wrong_key_names_the_nearest_right_one() {
        let file = "topolgy: {maxAge: 1m}\nworker: 2\nmaxAge: 1m\nadmin_address: '[::1]:1'\nfrobnicate: 1\n";
        check_error(
            file,
            &[],
            &["topology.max-age=1m"],
            &[
                r#"config.yaml: unknown key "topolgy.maxAge"; did you mean "topology.maxAge"?"#,
                r#"config.yaml: unknown key "worker"; did you mean "workers"?"#,
                r#"config.yaml: unknown key "maxAge"; did you mean "topology.maxAge"?"#,
                r#"config.yaml: unknown key "admin_address"; did you mean "adminAddress"?"#,
                r#"config.yaml: unknown key "frobnicate""#,
                r#"--set: unknown key "topology.max-age"; did you mean "topology.maxAge"?"#,
            ],
        );
        check_error(
            "",
            &[("EDGE_TEST_TOPOLGY_MAX_AGE", "1m")],
            &["workers"],
            &[
                r#"--set "workers": expected key.path=value"#,
                r#"unknown environment variable EDGE_TEST_TOPOLGY_MAX_AGE; did you mean "EDGE_TEST_TOPOLOGY_MAX_AGE"?"#,
            ],
        );
    }

    #[test]
    fn a_wrong_value_names_what_is_accepted() {
        check_error(
            "workers: 70000\ntopology: {maxAge: 15, enabled: maybe}\npolicy: best\nadminAddress: here\nsites: {a: x}\n",
            &[("EDGE_TEST_WORKERS", "many")],
            &[],
            &[
                r#"config.yaml: wrong value for "workers": got 70000: expected an integer from 0 to 65535"#,
                r#"config.yaml: wrong value for "topology.maxAge": got 15: a duration needs a unit: 15s, 15ms or 15m?"#,
                r#"config.yaml: wrong value for "topology.enabled": got "maybe": expected true or false"#,
                r#"config.yaml: wrong value for "policy": got "best": unknown variant `best`, expected `balance` or `round-robin`"#,
                r#"config.yaml: wrong value for "adminAddress": got "here": expected an address with a port, such as 0.0.0.0:8080 or [::]:8080"#,
                r#"config.yaml: wrong value for "sites.a": got "x": expected an integer from 0 to 4294967295"#,
                r#"EDGE_TEST_WORKERS: wrong value for "workers": got "many": expected an integer from 0 to 65535"#,
            ],
        );
    }

    #[test]
    fn mistakes_of_every_kind_come_together() {
        check_error(
            "worker: 2\ntopology: {maxAge: 0s}\n",
            &[],
            &["workers=0"],
            &[
                r#"config.yaml: unknown key "worker"; did you mean "workers"?"#,
                r#"wrong value for "workers": got 0: expected at least 1"#,
                r#"wrong value for "topology.maxAge": got 0s: expected more than 0s"#,
            ],
        );
    }

    #[test]
    fn what_is_no_mapping_is_refused() {
        check_error("- a\n- b\n", &[], &[], &[r#"config.yaml: expected keys with values (`key: value`), got ["a","b"]"#]);
        check_error("topology: 5\n", &[], &[], &[r#"config.yaml: wrong value for "topology": got 5: expected keys with values"#]);
        let errors = load("a: [1\nb: }", &[], &[]).expect_err("not YAML");
        assert!(errors[0].starts_with("config.yaml: not YAML: "), "{errors:?}");
    }

    #[test]
    fn variables_that_kubernetes_sets_for_services_are_not_ours() {
        let env = [
            ("EDGE_TEST_PORT", "tcp://10.0.0.1:9443"),
            ("EDGE_TEST_PORT_9443_TCP_ADDR", "10.0.0.1"),
            ("EDGE_TEST_SERVICE_HOST", "10.0.0.1"),
            ("EDGE_TEST_SERVICE_PORT_HTTPS", "9443"),
            ("EDGE_TEST_METRICS_SERVICE_PORT", "9443"),
        ];
        assert_eq!(load("", &env, &[]), Ok(Example::default()));
    }

    #[test]
    fn an_unreadable_file_is_named() {
        let mut layers = Layers::new("EDGE_TEST");
        layers.file(std::path::Path::new("/nowhere/edge.yaml"));
        let error = layers.load::<Example>().expect_err("no such file").to_string();
        assert!(error.starts_with("cannot read the configuration file /nowhere/edge.yaml: No such file"), "{error}");
    }

    #[test]
    fn what_is_printed_reads_back() {
        let config = Example {
            zone: Some("yes".to_owned()),
            sites: BTreeMap::from([("1".into(), 2)]),
            name: "0x10".to_owned(),
            ..Default::default()
        };
        let text = to_yaml(&config).expect("serialises");
        assert_eq!(load(&text, &[], &[]), Ok(config), "{text}");
    }
}
