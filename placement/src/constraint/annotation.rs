//! The annotation form of bounds: a JSON object from reference to duration, or to an object with options.

use super::milliseconds;
use super::{DelayBound, DelayError, DelaySource, Missing, Reference, ReplicaRule, Statistic};
use crate::cluster::WorkloadKind;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeSet;
use std::fmt;

/// The annotation's key.
pub const ANNOTATION: &str = "edge-scheduler.io/delay";

const KINDS: [&str; 6] = ["node", "deployment", "statefulset", "daemonset", "job", "pod"];
const OPTIONS: [&str; 4] = ["max", "statistic", "replicas", "missing"];

/// Reads the annotation's value: the bounds that can be read, and an error for every entry that can't.
pub fn parse_annotation(json: &str) -> (Vec<DelayBound>, Vec<DelayError>) {
    let whole = |why: String| DelayError { key: format!("annotation {ANNOTATION}"), value: excerpt(json), why };
    let entries = match serde_json::from_str::<Json>(json) {
        Ok(Json::Object(entries)) => entries,
        Ok(other) => {
            let why = format!(r#"is {}, not an object; write {{"node/edge-1": "25ms"}}"#, other.kind());
            return (Vec::new(), vec![whole(why)]);
        }
        Err(error) => {
            let why = format!(r#"is not valid JSON: {error}; write {{"node/edge-1": "25ms"}}"#);
            return (Vec::new(), vec![whole(why)]);
        }
    };
    let (mut bounds, mut errors, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (key, value) in entries {
        let entry = match seen.insert(key.clone()) {
            true => entry(&key, &value),
            false => Err((value.text(), "repeats a key; write one entry for each reference".to_owned())),
        };
        match entry {
            Ok(bound) => bounds.push(bound),
            // An annotation may take 256 kB; what goes into conditions and events must not.
            Err((value, why)) => {
                let key = format!("annotation {ANNOTATION}, {:?}", excerpt(&key));
                errors.push(DelayError { key, value: excerpt(&value), why });
            }
        }
    }
    (bounds, errors)
}

/// What was wrong, as (value, why).
type Wrong = (String, String);

fn entry(key: &str, value: &Json) -> Result<DelayBound, Wrong> {
    let mut bound = DelayBound {
        from: reference(key).map_err(|why| (key.to_owned(), why))?,
        max: Default::default(),
        statistic: Statistic::default(),
        replicas: ReplicaRule::default(),
        missing: Missing::default(),
        source: DelaySource::Annotation,
    };
    let duration = |value: &Json| match value {
        Json::Text(text) if text.len() > 40 => Err((text.clone(), r#"is too long for a duration such as "25ms""#.to_owned())),
        Json::Text(text) => milliseconds::duration(text).map_err(|why| (text.clone(), why)),
        Json::Number(number) if number.starts_with('-') => {
            Err((number.clone(), r#"is negative; write a duration such as "25ms""#.to_owned()))
        }
        Json::Number(number) => Err((number.clone(), format!("has no unit; write {:?}", format!("{number}ms")))),
        other => Err((other.text(), format!(r#"is {}, not a duration such as "25ms""#, other.kind()))),
    };
    let Json::Object(options) = value else {
        bound.max = duration(value)?;
        return Ok(bound);
    };
    let mut seen = BTreeSet::new();
    for (option, value) in options {
        if !seen.insert(option.as_str()) {
            return Err((option.clone(), "is given twice".to_owned()));
        }
        match option.as_str() {
            "max" => bound.max = duration(value)?,
            "statistic" => bound.statistic = choice(option, value, [("p50", Statistic::P50), ("p90", Statistic::P90)])?,
            "replicas" => bound.replicas = choice(option, value, [("any", ReplicaRule::Any), ("all", ReplicaRule::All)])?,
            "missing" => bound.missing = choice(option, value, [("deny", Missing::Deny), ("allow", Missing::Allow)])?,
            other => {
                let why = format!("is no option; did you mean {:?}? Options are {}", nearest(other, &OPTIONS), OPTIONS.join(", "));
                return Err((other.to_owned(), why));
            }
        }
    }
    match seen.contains("max") {
        true => Ok(bound),
        false => Err((value.text(), r#"lacks "max", the bound, such as "25ms""#.to_owned())),
    }
}

fn choice<T: Copy>(option: &str, value: &Json, choices: [(&str, T); 2]) -> Result<T, Wrong> {
    let [(first, _), (second, _)] = choices;
    let found = choices.iter().find(|(name, _)| matches!(value, Json::Text(text) if text == name));
    found.map(|&(_, choice)| choice).ok_or_else(|| (value.text(), format!("is no value of {option:?}; write {first:?} or {second:?}")))
}

fn reference(key: &str) -> Result<Reference, String> {
    let named = |name: &str| match name {
        "" => Err(r#"names no reference; write "node/<name>", "<workload kind>/<name>" or "pod/<name>""#.to_owned()),
        _ if name.contains('/') => {
            Err(r#"has more than one "/"; references lie in the pod's own namespace: write "<kind>/<name>""#.to_owned())
        }
        _ => Ok(name.to_owned()),
    };
    let Some((kind, name)) = key.split_once('/') else { return named(key).map(Reference::Name) };
    let workload = |kind| named(name).map(|name| Reference::Workload(kind, name));
    match kind {
        "node" => named(name).map(Reference::Node),
        "pod" => named(name).map(Reference::Pod),
        "deployment" => workload(WorkloadKind::Deployment),
        "statefulset" => workload(WorkloadKind::StatefulSet),
        "daemonset" => workload(WorkloadKind::DaemonSet),
        "job" => workload(WorkloadKind::Job),
        other => {
            let right = nearest(&other.to_lowercase(), &KINDS);
            Err(format!("has the unknown kind {:?}; did you mean {right:?}? Kinds are {}", excerpt(other), KINDS.join(", ")))
        }
    }
}

fn nearest<'a>(word: &str, right: &[&'a str]) -> &'a str {
    let distance = |candidate: &&&str| (strsim::jaro_winkler(word, candidate) * -1000.0) as i64;
    right.iter().min_by_key(distance).copied().unwrap_or_default()
}

fn excerpt(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// JSON that keeps repeated keys, which `serde_json::Value` drops without a word.
enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List,
    Object(Vec<(String, Json)>),
}

impl Json {
    fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Number(_) => "a number",
            Json::Text(_) => "a string",
            Json::List => "a list",
            Json::Object(_) => "an object",
        }
    }

    fn text(&self) -> String {
        match self {
            Json::Bool(value) => value.to_string(),
            Json::Number(text) | Json::Text(text) => text.clone(),
            Json::Null => "null".to_owned(),
            Json::List => "[…]".to_owned(),
            Json::Object(entries) => format!("{{{}}}", entries.iter().map(|(key, _)| format!("{key:?}: …")).collect::<Vec<_>>().join(", ")),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Json;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Number(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Number(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                Ok(Json::Number(value.to_string()))
            }
            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::Text(value.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Json::List)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Json::Object(entries))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Micros;
    use proptest::prelude::*;

    fn bound(from: Reference, max_us: u32) -> DelayBound {
        DelayBound {
            from,
            max: Micros(max_us),
            statistic: Statistic::P90,
            replicas: ReplicaRule::Any,
            missing: Missing::Deny,
            source: DelaySource::Annotation,
        }
    }

    /// Bounds, and messages without the key's first part, which is the same for all.
    fn check(json: &str, bounds: &[DelayBound], errors: &[&str]) {
        let (got, wrong) = parse_annotation(json);
        let wrong: Vec<String> = wrong.iter().map(|e| e.to_string().replacen("annotation edge-scheduler.io/delay", "", 1)).collect();
        assert_eq!(
            (got.as_slice(), wrong.as_slice()),
            (bounds, errors.iter().map(|e| e.to_string()).collect::<Vec<_>>().as_slice()),
            "{json}"
        );
    }

    #[test]
    fn every_kind_and_option_is_read() {
        let api = Reference::Workload(WorkloadKind::Deployment, "api".into());
        let all = DelayBound { statistic: Statistic::P50, replicas: ReplicaRule::All, missing: Missing::Allow, ..bound(api, 5_000) };
        check(
            r#"{"node/edge-1": "25ms", "deployment/api": {"max": "5ms", "statistic": "p50", "replicas": "all", "missing": "allow"}}"#,
            &[bound(Reference::Node("edge-1".into()), 25_000), all],
            &[],
        );
        check(
            r#"{"statefulset/a":"1s","daemonset/b":"0.5ms","job/c":"40us","pod/d":"0ms","e":{"max":"1ms"}}"#,
            &[
                bound(Reference::Workload(WorkloadKind::StatefulSet, "a".into()), 1_000_000),
                bound(Reference::Workload(WorkloadKind::DaemonSet, "b".into()), 500),
                bound(Reference::Workload(WorkloadKind::Job, "c".into()), 40),
                bound(Reference::Pod("d".into()), 0),
                bound(Reference::Name("e".into()), 1_000),
            ],
            &[],
        );
        check("{}", &[], &[]);
    }

    #[test]
    fn one_bad_entry_leaves_the_others() {
        check(
            r#"{"node/a": -3, "node/b": "1ms", "node/c": 25}"#,
            &[bound(Reference::Node("b".into()), 1_000)],
            &[r#", "node/a": "-3" is negative; write a duration such as "25ms""#, r#", "node/c": "25" has no unit; write "25ms""#],
        );
    }

    #[test]
    fn what_is_no_object_says_where_it_breaks() {
        let right = r#"write {"node/edge-1": "25ms"}"#;
        check(
            r#"{"node/a": "1ms""#,
            &[],
            &[&format!(r#": "{{\"node/a\": \"1ms\"" is not valid JSON: EOF while parsing an object at line 1 column 16; {right}"#)],
        );
        check(
            r#"{"node/a": NaN}"#,
            &[],
            &[&format!(r#": "{{\"node/a\": NaN}}" is not valid JSON: expected value at line 1 column 12; {right}"#)],
        );
        check("", &[], &[&format!(r#": "" is not valid JSON: EOF while parsing a value at line 1 column 0; {right}"#)]);
        check("[]", &[], &[&format!(r#": "[]" is a list, not an object; {right}"#)]);
    }

    #[test]
    fn bad_entries_name_what_would_be_right() {
        let one = |json: &str, why: &str| check(json, &[], &[why]);
        one(r#"{"node/a": {}}"#, r#", "node/a": "{}" lacks "max", the bound, such as "25ms""#);
        one(
            r#"{"node/a": {"max": "1ms", "statstic": "p50"}}"#,
            r#", "node/a": "statstic" is no option; did you mean "statistic"? Options are max, statistic, replicas, missing"#,
        );
        one(r#"{"node/a": {"max": "1ms", "missing": true}}"#, r#", "node/a": "true" is no value of "missing"; write "deny" or "allow""#);
        one(r#"{"node/a": {"max": "1ms", "max": "2ms"}}"#, r#", "node/a": "max" is given twice"#);
        one(r#"{"node/a": null}"#, r#", "node/a": "null" is null, not a duration such as "25ms""#);
        one(
            r#"{"Deploy/a": "1ms"}"#,
            r#", "Deploy/a": "Deploy/a" has the unknown kind "Deploy"; did you mean "deployment"? Kinds are node, deployment, statefulset, daemonset, job, pod"#,
        );
        one(
            r#"{"node/": "1ms"}"#,
            r#", "node/": "node/" names no reference; write "node/<name>", "<workload kind>/<name>" or "pod/<name>""#,
        );
        one(
            r#"{"pod/x/y": "1ms"}"#,
            r#", "pod/x/y": "pod/x/y" has more than one "/"; references lie in the pod's own namespace: write "<kind>/<name>""#,
        );
    }

    #[test]
    fn a_repeated_key_is_refused() {
        let first = bound(Reference::Node("a".into()), 1_000);
        check(
            r#"{"node/a": "1ms", "node/a": "9ms"}"#,
            &[first],
            &[r#", "node/a": "9ms" repeats a key; write one entry for each reference"#],
        );
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_or_refused_in_a_few_words(key in "[a-z/ü]{0,12}", value in r#"[-+0-9.,a-zµ]{0,900}"#, raw in ".{0,80}") {
            let quoted = serde_json::to_string(&value).unwrap();
            for json in [format!("{{{}: {quoted}}}", serde_json::to_string(&key).unwrap()), raw] {
                let (bounds, errors) = parse_annotation(&json);
                prop_assert!(bounds.len() + errors.len() <= 1 || json.contains(','));
                for error in errors {
                    prop_assert!(error.to_string().len() < 600, "{error}");
                }
            }
            let label = super::super::parse_label(&format!("delay_{key}"), &value).unwrap();
            if let Ok(bound) = label {
                // Rounded down to the microsecond.
                let ms: f64 = value.parse().unwrap();
                prop_assert!((0.0..0.0011).contains(&(ms - bound.max.as_ms())), "{value}: {:?}", bound.max);
            }
        }
    }
}
