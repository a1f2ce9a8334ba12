//! Collects the layers, lays them over the defaults and finds every mistake in them.

use super::{ConfigError, ConfigErrors, Configuration, Problems, Translated, keys};
use serde_json::Value;
use std::path::Path;

/// Variables under a program's prefix that are flags' fallbacks, not configuration keys.
pub(crate) const RESERVED: [&str; 5] = ["CONFIG", "KUBECONFIG", "CONTEXT", "LOG_LEVEL", "LOG_FORMAT"];

/// The layers of one configuration, in the order in which they are added: each wins over those before.
#[derive(Debug)]
pub struct Layers {
    env_prefix: String,
    given: Vec<Given>,
    variables: Vec<(String, String)>,
    errors: Vec<ConfigError>,
}

#[derive(Debug)]
struct Given {
    origin: String,
    value: GivenValue,
}

#[derive(Debug)]
enum GivenValue {
    Document(Value),
    Text {
        key: String,
        text: String,
    },
    /// Where the environment stands among the layers: its names are known only with the type.
    Environment,
}

/// One value for one key; `candidates` are its readings, the preferred first (text may be a number or a word).
struct Override {
    origin: String,
    key: String,
    candidates: Vec<Value>,
}

impl Layers {
    /// `env_prefix` such as `EDGE_SCHEDULER`.
    pub fn new(env_prefix: &str) -> Self {
        Self { env_prefix: env_prefix.to_owned(), given: Vec::new(), variables: Vec::new(), errors: Vec::new() }
    }

    /// Adds a YAML file.
    pub fn file(&mut self, path: &Path) {
        match std::fs::read_to_string(path) {
            Ok(text) => self.file_text(&path.display().to_string(), &text),
            Err(source) => self.errors.push(ConfigError::Unreadable { path: path.to_owned(), source }),
        }
    }

    /// Adds YAML text; `origin` names it in errors.
    pub fn file_text(&mut self, origin: &str, text: &str) {
        let origin = origin.to_owned();
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return;
        }
        match serde_saphyr::from_str::<Value>(text) {
            Ok(Value::Null) => {}
            Ok(document @ Value::Object(_)) => self.given.push(Given { origin, value: GivenValue::Document(document) }),
            Ok(other) => self.errors.push(ConfigError::NotAMapping { origin, got: other.to_string() }),
            Err(error) => {
                let message = error.to_string();
                let message = message.lines().next().unwrap_or_default().to_owned();
                self.errors.push(ConfigError::Syntax { origin, message });
            }
        }
    }

    /// Adds the environment; only variables under the prefix count.
    pub fn env(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        let prefix = format!("{}_", self.env_prefix);
        self.variables.extend(variables.into_iter().filter(|(name, _)| name.starts_with(&prefix)));
        self.given.push(Given { origin: String::new(), value: GivenValue::Environment });
    }

    /// Adds `key.path=value` as `--set` takes it.
    pub fn set(&mut self, text: &str) {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => self.flag("--set", key.trim(), value),
            _ => self.errors.push(ConfigError::MalformedSet { text: text.to_owned() }),
        }
    }

    /// Adds the value of a typed flag; `flag` names it in errors.
    pub fn flag(&mut self, flag: &str, key: &str, value: &str) {
        self.given.push(Given { origin: flag.to_owned(), value: GivenValue::Text { key: key.to_owned(), text: value.to_owned() } });
    }

    /// The configuration, or every mistake in every layer.
    pub fn load<C: Configuration>(self) -> Result<C, ConfigErrors> {
        match self.resolve() {
            (Some(config), errors) if errors.0.is_empty() => Ok(config),
            (_, errors) => Err(errors),
        }
    }

    /// Every mistake, and the configuration without those values that no type would take. Only without a mistake may it be used.
    pub fn resolve<C: Configuration>(self) -> (Option<C>, ConfigErrors) {
        let default = keys::default_value::<C>();
        let mut errors = self.errors;
        let mut overrides = Vec::new();
        for Given { origin, value } in self.given {
            match value {
                GivenValue::Document(document) => {
                    let mut problems = Problems::default();
                    match C::translate(&document, &mut problems) {
                        None => flatten(&document, Some(&default), "", &origin, &mut overrides),
                        Some(Translated { values, own }) => {
                            flatten(&values, Some(&default), "", &origin, &mut overrides);
                            if let Some((key, own)) = own {
                                flatten(&own, Some(&default), "", &format!("{origin}, below {key}"), &mut overrides);
                            }
                        }
                    }
                    errors.extend(problems.found);
                }
                GivenValue::Text { key, text } => overrides.push(text_override(origin, key, &text, &default)),
                GivenValue::Environment => {
                    environment(&self.env_prefix, &self.variables, &default, &mut overrides, &mut errors);
                }
            }
        }
        let accepted = accept::<C>(&default, overrides, &mut errors);
        let config = match serde_json::from_value::<C>(accepted) {
            Ok(config) => {
                let mut problems = Problems::default();
                config.validate(&mut problems);
                errors.extend(problems.found);
                Some(config)
            }
            Err(error) => {
                errors.push(ConfigError::Inconsistent { message: error.to_string() });
                None
            }
        };
        (config, ConfigErrors(errors))
    }
}

/// Turns a document into one override a key. Below a key that the default does not have, each innermost value is one.
fn flatten(value: &Value, default: Option<&Value>, path: &str, origin: &str, out: &mut Vec<Override>) {
    let section = default.is_none_or(|default| default.as_object().is_some_and(|fields| !fields.is_empty()));
    match value {
        Value::Object(fields) if section && !fields.is_empty() => {
            for (name, field) in fields {
                flatten(field, default.and_then(|default| default.get(name)), &keys::join(path, name), origin, out);
            }
        }
        Value::Object(fields) if default.is_some_and(Value::is_object) && !fields.is_empty() => {
            for (name, field) in fields {
                let key = keys::join(path, name);
                out.push(Override { origin: origin.to_owned(), key, candidates: vec![field.clone()] });
            }
        }
        // `section:` with nothing below it, as left behind by commenting its keys out.
        Value::Null if section && default.is_some() => {}
        value => out.push(Override { origin: origin.to_owned(), key: path.to_owned(), candidates: vec![value.clone()] }),
    }
}

/// Text from a flag or variable: YAML, or the words themselves; the words first where the default is text.
fn text_override(origin: String, key: String, text: &str, default: &Value) -> Override {
    let words = Value::String(text.to_owned());
    let mut candidates: Vec<Value> = serde_saphyr::from_str::<Value>(text).into_iter().chain([words]).collect();
    if keys::get(default, &key).is_some_and(Value::is_string) {
        candidates.reverse();
    }
    Override { origin, key, candidates }
}

fn environment(prefix: &str, variables: &[(String, String)], default: &Value, out: &mut Vec<Override>, errors: &mut Vec<ConfigError>) {
    let known: Vec<(String, String)> = keys::leaves(default).into_iter().map(|key| (keys::env_name(prefix, &key), key)).collect();
    for (name, text) in variables {
        let reserved = RESERVED.iter().any(|suffix| *name == format!("{prefix}_{suffix}"));
        if reserved || set_for_a_service(name, text) {
            continue;
        }
        match known.iter().find(|(variable, _)| variable == name) {
            Some((_, key)) => out.push(text_override(name.clone(), key.clone(), text, default)),
            None => errors.push(ConfigError::UnknownVariable {
                name: name.clone(),
                nearest: keys::nearest(name, known.iter().map(|(variable, _)| variable.as_str())),
            }),
        }
    }
}

/// Kubernetes gives every container variables for the Services of its namespace, and one of them may be called like a program:
/// `EDGE_SCHEDULER_SERVICE_HOST`, `EDGE_SCHEDULER_PORT=tcp://…`, `EDGE_SCHEDULER_PORT_9443_TCP_ADDR`.
fn set_for_a_service(name: &str, value: &str) -> bool {
    let link = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let port = name.rsplit_once("_PORT_").is_some_and(|(_, rest)| {
        rest.split_once('_').is_some_and(|(number, rest)| {
            number.parse::<u16>().is_ok() && ["TCP", "UDP", "SCTP"].iter().any(|protocol| rest.starts_with(protocol))
        })
    });
    (link && name.ends_with("_PORT")) || port || name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT")
}

/// Lays the overrides over the default. Those that do not fit are reported and left out, so that the rest can still be checked.
fn accept<C: Configuration>(default: &Value, overrides: Vec<Override>, errors: &mut Vec<ConfigError>) -> Value {
    let mut accepted = default.clone();
    let known = keys::leaves(default);
    for (index, given) in overrides.iter().enumerate() {
        // A key that the default lacks may need its neighbours to make sense (the fields of an enum's variant).
        let neighbours = || {
            let parent = given.key.rsplit_once('.').map(|(parent, _)| format!("{parent}."));
            let beside = move |other: &&Override| parent.as_ref().is_some_and(|parent| other.key.starts_with(parent));
            let added = keys::get(default, &given.key).is_none();
            overrides.iter().enumerate().filter(move |(at, other)| added && *at != index && beside(other)).map(|(_, other)| other)
        };
        let tried = given.candidates.iter().map(|candidate| {
            let mut alone = default.clone();
            for other in neighbours() {
                keys::put(&mut alone, &other.key, other.candidates[0].clone());
            }
            keys::put(&mut alone, &given.key, candidate.clone());
            (candidate, fits::<C>(alone, &given.key))
        });
        let tried: Vec<_> = tried.collect();
        match tried.iter().find(|(_, result)| matches!(result, Fit::Yes)) {
            Some((candidate, _)) => keys::put(&mut accepted, &given.key, (*candidate).clone()),
            None => errors.push(refusal(given, &tried, &known)),
        }
    }
    accepted
}

enum Fit {
    Yes,
    /// The type has no such key: it refused it or dropped it.
    UnknownKey,
    WrongValue(String),
}

fn fits<C: Configuration>(value: Value, key: &str) -> Fit {
    let null = keys::get(&value, key).is_none_or(Value::is_null);
    match serde_json::from_value::<C>(value) {
        Ok(config) => match serde_json::to_value(&config) {
            // A null may be left out when serialised; every other value of a known key comes back.
            Ok(back) if null || keys::get(&back, key).is_some() => Fit::Yes,
            _ => Fit::UnknownKey,
        },
        Err(error) if error.to_string().starts_with("unknown field") => Fit::UnknownKey,
        Err(error) => Fit::WrongValue(error.to_string()),
    }
}

fn refusal(given: &Override, tried: &[(&Value, Fit)], known: &[String]) -> ConfigError {
    let origin = given.origin.clone();
    let key = given.key.clone();
    let wrong = tried.iter().find_map(|(value, fit)| match fit {
        Fit::WrongValue(reason) => Some((value, reason)),
        _ => None,
    });
    match wrong {
        Some((got, reason)) => {
            let section = known.iter().any(|leaf| leaf.starts_with(&format!("{key}.")));
            let reason = if section { "expected keys with values".to_owned() } else { plain_reason(reason) };
            ConfigError::WrongValue { origin, key, got: got.to_string(), reason }
        }
        None => ConfigError::UnknownKey { nearest: keys::nearest(&key, known.iter().map(String::as_str)), origin, key },
    }
}

/// Serde's words for what was expected, in terms of a configuration file rather than of Rust types.
fn plain_reason(reason: &str) -> String {
    if reason.contains("socket address") {
        return "expected an address with a port, such as 0.0.0.0:8080 or [::]:8080".to_owned();
    }
    if reason.contains("IP address") {
        return "expected an IP address, such as 10.0.0.1 or fd00::1".to_owned();
    }
    let Some((_, expected)) = reason.split_once(", expected ") else {
        return reason.to_owned();
    };
    if reason.starts_with("unknown variant") {
        return reason.to_owned();
    }
    let expected = match expected {
        "u8" => "an integer from 0 to 255",
        "u16" => "an integer from 0 to 65535",
        "u32" => "an integer from 0 to 4294967295",
        "u64" | "usize" => "an integer, 0 or more",
        "i32" | "i64" => "an integer",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "keys with values",
        "a string" | "path string" => "text",
        other => other,
    };
    format!("expected {expected}")
}
