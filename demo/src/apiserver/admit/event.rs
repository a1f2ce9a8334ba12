//! Events, judged in their stored form: an event with a time of its own must say who reports what, and what is written through
//! events.k8s.io may change in its series alone.

use serde_json::Value;

use super::metadata::qualified_name;
use crate::apiserver::status::FieldError;

/// Longest reason, action or instance.
const TEXT_LIMIT_CHARACTERS: usize = 128;

/// Longest message.
const MESSAGE_LIMIT_BYTES: usize = 1024;

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// What is wrong with an event; `strict` where it came through events.k8s.io, and `old` is what it replaces.
pub fn validate(event: &Value, strict: bool, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let namespace = text(&event["metadata"], "namespace");
    let regarding = text(&event["involvedObject"], "namespace");
    let timed = event["eventTime"].is_string();
    let homeless = if timed { matches!(namespace, "default" | "kube-system") } else { namespace == "default" };
    if (regarding.is_empty() && !homeless) || (!timed && !regarding.is_empty() && regarding != namespace) {
        errors.push(FieldError::invalid("involvedObject.namespace", &regarding.into(), "does not match event.namespace"));
    }
    if timed {
        errors.extend(reported(event, strict));
    }
    if strict {
        match old {
            Some(old) => errors.extend(changed(old, event)),
            None => errors.extend(created(event)),
        }
    }
    errors
}

fn reported(event: &Value, strict: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let controller = if strict { "reportingController" } else { "reportingComponent" };
    for (key, field) in
        [("reportingComponent", controller), ("reportingInstance", "reportingInstance"), ("action", "action"), ("reason", "reason")]
    {
        let found = text(event, key);
        if found.is_empty() {
            errors.push(FieldError::required(field, ""));
        }
        if key == "reportingComponent" {
            errors.extend(qualified_name(found).map(|why| FieldError::invalid(field, &event[key], &why)));
        } else if found.len() > TEXT_LIMIT_CHARACTERS {
            errors.push(FieldError::invalid(field, &"".into(), &format!("can have at most {TEXT_LIMIT_CHARACTERS} characters")));
        }
    }
    if text(event, "message").len() > MESSAGE_LIMIT_BYTES {
        errors.push(FieldError::invalid("message", &"".into(), &format!("can have at most {MESSAGE_LIMIT_BYTES} characters")));
    }
    errors
}

fn series(event: &Value) -> Vec<FieldError> {
    let series = &event["series"];
    let mut errors = Vec::new();
    if series.is_object() && series["count"].as_i64().unwrap_or_default() < 2 {
        errors.push(FieldError::invalid("series.count", &"".into(), "should be at least 2"));
    }
    if series.is_object() && !series["lastObservedTime"].is_string() {
        errors.push(FieldError::required("series.lastObservedTime", ""));
    }
    errors
}

fn created(event: &Value) -> Vec<FieldError> {
    let mut errors = series(event);
    if !event["eventTime"].is_string() {
        errors.push(FieldError::required("eventTime", ""));
    }
    let kind = text(event, "type");
    if !matches!(kind, "Normal" | "Warning") {
        errors.push(FieldError::invalid("type", &"".into(), &format!("has invalid value: {kind}")));
    }
    let source = &event["source"];
    let set = [
        ("firstTimestamp", event["firstTimestamp"].is_string()),
        ("lastTimestamp", event["lastTimestamp"].is_string()),
        ("count", event["count"].as_i64().is_some_and(|count| count != 0)),
        ("source", !text(source, "component").is_empty() || !text(source, "host").is_empty()),
    ];
    errors.extend(set.into_iter().filter(|(_, set)| *set).map(|(field, _)| FieldError::invalid(field, &"".into(), "needs to be unset")));
    errors
}

fn changed(old: &Value, new: &Value) -> Vec<FieldError> {
    const FIXED: [&str; 13] = [
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "type",
        "eventTime",
        "action",
        "related",
        "reportingComponent",
        "reportingInstance",
    ];
    let mut errors = if old["series"] == new["series"] { Vec::new() } else { series(new) };
    errors.extend(FIXED.into_iter().filter(|field| old[*field] != new[*field]).map(|field| {
        let named = if field == "reportingComponent" { "reportingController" } else { field };
        FieldError::invalid(named, &new[field], "field is immutable")
    }));
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event() -> Value {
        json!({ "metadata": { "namespace": "n" }, "involvedObject": { "namespace": "n" }, "eventTime": "2026-01-01T00:00:00.000000Z",
            "reportingComponent": "edge", "reportingInstance": "edge-0", "action": "Binding", "reason": "Scheduled", "type": "Normal" })
    }

    fn check(change: impl FnOnce(&mut Value), strict: bool, expected: &[&str]) {
        let mut event = event();
        change(&mut event);
        let found: Vec<String> = validate(&event, strict, None).into_iter().map(|error| error.field).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn creation() {
        check(|_| {}, true, &[]);
        check(|event| event["involvedObject"] = json!({ "namespace": "elsewhere" }), true, &[]);
        check(|event| event["involvedObject"] = json!({}), true, &["involvedObject.namespace"]);
        check(|event| event["eventTime"] = Value::Null, true, &["eventTime"]);
        check(|event| event["eventTime"] = Value::Null, false, &[]);
        check(|event| event["type"] = "Odd".into(), true, &["type"]);
        check(|event| event["type"] = "Odd".into(), false, &[]);
        check(|event| event["action"] = "".into(), false, &["action"]);
        check(|event| event["series"] = json!({ "count": 1, "lastObservedTime": "t" }), true, &["series.count"]);
    }

    #[test]
    fn only_the_series_changes() {
        let (old, mut new) = (event(), event());
        new["series"] = json!({ "count": 2, "lastObservedTime": "t" });
        assert_eq!(validate(&new, true, Some(&old)), []);
        new["message"] = "other".into();
        assert_eq!(validate(&new, true, Some(&old))[0].field, "message");
        assert_eq!(validate(&new, false, Some(&old)), []);
    }
}
