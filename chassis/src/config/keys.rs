//! The keys of a configuration: derived from its serialised default, named in the environment, looked up by likeness.

use serde::Serialize;
use serde_json::Value;

/// One key of a program's reference documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyReference {
    /// Path such as `topology.maxAge`.
    pub key: String,
    /// The environment variable that sets it.
    pub variable: String,
    pub default: Value,
}

/// Every key of `C` with its default, in the order in which the type declares them.
pub fn reference<C: Serialize + Default>(env_prefix: &str) -> Vec<KeyReference> {
    let default = default_value::<C>();
    leaves(&default)
        .into_iter()
        .map(|key| KeyReference { variable: env_name(env_prefix, &key), default: get(&default, &key).cloned().unwrap_or(Value::Null), key })
        .collect()
}

/// [`reference`] as a Markdown table.
pub fn reference_table<C: Serialize + Default>(env_prefix: &str) -> String {
    let rows = reference::<C>(env_prefix);
    let rows = rows.iter().map(|row| format!("| `{}` | `{}` | `{}` |\n", row.key, row.default, row.variable));
    format!("| key | default | environment |\n|---|---|---|\n{}", rows.collect::<String>())
}

/// The environment variable of a key: `topology.maxAge` is `EDGE_SCHEDULER_TOPOLOGY_MAX_AGE` under the prefix `EDGE_SCHEDULER`.
pub fn env_name(prefix: &str, key: &str) -> String {
    let mut name = format!("{prefix}_");
    let mut previous = '.';
    for c in key.chars() {
        match c {
            '.' | '-' => name.push('_'),
            upper if upper.is_uppercase() && (previous.is_lowercase() || previous.is_ascii_digit()) => {
                name.push('_');
                name.push(upper);
            }
            other => name.extend(other.to_uppercase()),
        }
        previous = c;
    }
    name
}

pub(super) fn default_value<C: Serialize + Default>() -> Value {
    serde_json::to_value(C::default()).expect("a configuration is plain data with text keys, which serialises")
}

/// Paths of all values that are not sections. A section is an object with a default content; an empty one is a value.
pub(super) fn leaves(value: &Value) -> Vec<String> {
    fn walk(value: &Value, path: &str, out: &mut Vec<String>) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (name, field) in fields {
                    walk(field, &join(path, name), out);
                }
            }
            _ if path.is_empty() => {}
            _ => out.push(path.to_owned()),
        }
    }
    let mut out = Vec::new();
    walk(value, "", &mut out);
    out
}

pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

pub(super) fn get<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, name| value.get(name))
}

/// Sets the value at `path`, making sections on the way; what stands in the way and is no section is replaced.
pub(super) fn put(value: &mut Value, path: &str, new: Value) {
    let mut at = value;
    for name in path.split('.') {
        if !at.is_object() {
            *at = Value::Object(Default::default());
        }
        at = &mut at[name];
    }
    *at = new;
}

/// The known name most like `wrong`: the same but for case and separators, the same last part or its beginning, or a small edit away.
pub(super) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let plain = |name: &str| name.chars().filter(|c| c.is_alphanumeric() || *c == '.').flat_map(char::to_lowercase).collect::<String>();
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let wrong = plain(wrong);
    // Below this likeness a suggestion misleads more than it helps.
    const ENOUGH: f64 = 0.7;
    // For the last part alone, which says less: one slip in a word of five letters or more.
    const CLOSE: f64 = 0.8;
    known
        .into_iter()
        .map(|name| {
            let candidate = plain(name);
            let likeness = strsim::normalized_damerau_levenshtein(&wrong, &candidate);
            let (given, last) = (last(&wrong), last(&candidate));
            let begins = given.len() >= 4 && last.starts_with(&given);
            let close = begins || strsim::normalized_damerau_levenshtein(&given, &last) >= CLOSE;
            (if close { likeness.max(ENOUGH) } else { likeness }, name)
        })
        .filter(|(likeness, _)| *likeness >= ENOUGH)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::Example;

    #[test]
    fn the_nearest_key_is_a_small_step_away() {
        let known = ["nodeName", "topology.maxAge", "admin.address"];
        for (wrong, expected) in [
            ("node", Some("nodeName")),
            ("adress", Some("admin.address")),
            ("topology.max_age", Some("topology.maxAge")),
            ("maxAge", Some("topology.maxAge")),
            ("zone", None),
            ("n", None),
        ] {
            assert_eq!(nearest(wrong, known).as_deref(), expected, "{wrong}");
        }
    }

    #[test]
    fn variables_are_the_key_in_upper_case() {
        assert_eq!(env_name("EDGE_SCHEDULER", "topology.maxAge"), "EDGE_SCHEDULER_TOPOLOGY_MAX_AGE");
        assert_eq!(env_name("P", "privateIP"), "P_PRIVATE_IP");
        assert_eq!(env_name("P", "ipv4Only"), "P_IPV4_ONLY");
    }

    #[test]
    fn the_reference_lists_every_key_with_its_default() {
        let table = reference_table::<Example>("EDGE_TEST");
        assert!(table.contains("| `topology.maxAge` | `\"15m\"` | `EDGE_TEST_TOPOLOGY_MAX_AGE` |\n"), "{table}");
        assert!(table.contains("| `sites` | `{}` | `EDGE_TEST_SITES` |\n"), "{table}");
    }
}
