//! What many tables share: ages, joined labels, and the columns of custom resources.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Heading;
use crate::apiserver::crd::Column;

/// `metadata.name`.
pub fn name(object: &Value) -> Value {
    object["metadata"]["name"].clone()
}

/// Name and age, for kinds that print nothing else.
pub fn name_and_age(object: &Value) -> Vec<Value> {
    vec![name(object), age(object)]
}

/// Name and time of creation, for kinds that the real server has no columns for.
pub fn name_and_creation(object: &Value) -> Vec<Value> {
    vec![name(object), object["metadata"]["creationTimestamp"].clone()]
}

/// Time since creation.
pub fn age(object: &Value) -> Value {
    since(&object["metadata"]["creationTimestamp"]).into()
}

/// Time since a timestamp, or `<unknown>`.
pub fn since(timestamp: &Value) -> String {
    match timestamp.as_str().and_then(|text| text.parse::<Timestamp>().ok()) {
        Some(then) => duration(Timestamp::now().as_second() - then.as_second()),
        None => "<unknown>".to_owned(),
    }
}

/// A duration in seconds as kubectl says it: the two largest units while the first is small.
pub fn duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, pair) = (hours / 24, |big: i64, unit: &str, small: i64, sub: &str| match small {
        0 => format!("{big}{unit}"),
        small => format!("{big}{unit}{small}{sub}"),
    });
    if seconds < -1 {
        "<invalid>".to_owned()
    } else if seconds < 0 {
        "0s".to_owned()
    } else if seconds < 120 {
        format!("{seconds}s")
    } else if minutes < 10 {
        pair(minutes, "m", seconds % 60, "s")
    } else if minutes < 180 {
        format!("{minutes}m")
    } else if hours < 8 {
        pair(hours, "h", minutes % 60, "m")
    } else if hours < 48 {
        format!("{hours}h")
    } else if hours < 192 {
        pair(days, "d", hours % 24, "h")
    } else if days < 730 {
        format!("{days}d")
    } else if days < 8 * 365 {
        pair(days / 365, "y", days % 365, "d")
    } else {
        format!("{}y", days / 365)
    }
}

/// A string, or the given text where there is none.
pub fn text_or(value: &Value, none: &str) -> Value {
    match value {
        Value::String(text) if !text.is_empty() => text.as_str().into(),
        Value::Number(number) => number.to_string().into(),
        Value::Bool(flag) => flag.to_string().into(),
        _ => none.into(),
    }
}

/// A whole number, 0 where there is none.
pub fn count(value: &Value) -> Value {
    value.as_i64().unwrap_or_default().into()
}

/// Joined texts, or `<none>`.
pub fn joined(parts: Vec<String>) -> Value {
    if parts.is_empty() { "<none>".into() } else { parts.join(",").into() }
}

/// A map of labels as `a=b,c=d`, or `<none>`.
pub fn labels(map: &Value) -> Value {
    let mut parts: Vec<String> =
        map.as_object().into_iter().flatten().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    parts.sort();
    joined(parts)
}

/// A label selector as kubectl prints it.
pub fn selector(selector: &Value) -> Value {
    let mut parts = Vec::new();
    if let Value::String(text) = labels(&selector["matchLabels"])
        && text != "<none>"
    {
        parts.push(text);
    }
    for rule in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = rule["key"].as_str().unwrap_or_default();
        let values: Vec<&str> = rule["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        parts.push(match rule["operator"].as_str() {
            Some("In") => format!("{key} in ({})", values.join(",")),
            Some("NotIn") => format!("{key} notin ({})", values.join(",")),
            Some("Exists") => key.to_owned(),
            _ => format!("!{key}"),
        });
    }
    joined(parts)
}

/// Names and images of the containers of a pod spec.
pub fn containers(spec: &Value) -> [Value; 2] {
    ["name", "image"].map(|key| {
        let list = spec["containers"].as_array().into_iter().flatten();
        joined(list.filter_map(|c| c[key].as_str().map(str::to_owned)).collect())
    })
}

/// Headings of a custom resource: the name, its own columns, and the age when it names none.
pub fn custom_headings(columns: &[Column]) -> Vec<Heading> {
    let fixed = |name: &str, kind: &str, format: &str| Heading {
        name: name.to_owned(),
        kind: kind.to_owned(),
        format: format.to_owned(),
        description: name.to_owned(),
        wide: false,
    };
    let mut headings = vec![fixed("Name", "string", "name")];
    headings.extend(columns.iter().map(|column| Heading {
        name: column.name.clone(),
        kind: column.kind.clone(),
        format: column.format.clone(),
        description: column.description.clone(),
        wide: column.priority > 0,
    }));
    if columns.is_empty() {
        headings.push(fixed("Age", "date", ""));
    }
    headings
}

/// Cells of a custom resource.
pub fn custom(columns: &[Column], object: &Value) -> Vec<Value> {
    let mut cells = vec![name(object)];
    for column in columns {
        let found = column.path.find(object);
        cells.push(match (column.kind.as_str(), found.as_slice()) {
            (_, []) => Value::Null,
            ("date", [first, ..]) => match first.as_str() {
                Some(_) => since(first).into(),
                None => Value::Null,
            },
            ("integer", [first, ..]) => first.as_i64().map_or(Value::Null, Value::from),
            ("number", [first, ..]) if first.is_number() => (*first).clone(),
            ("boolean", [first, ..]) if first.is_boolean() => (*first).clone(),
            ("string", [Value::String(text)]) => text.as_str().into(),
            (_, [one]) => one.to_string().into(),
            (_, many) => {
                let parts: Vec<String> = many.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect();
                parts.join(",").into()
            }
        });
    }
    if columns.is_empty() {
        cells.push(object["metadata"]["creationTimestamp"].as_str().map_or(json!(null), |_| age(object)));
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seconds: i64, expected: &str) {
        assert_eq!(duration(seconds), expected, "{seconds} s");
    }

    #[test]
    fn ages() {
        check(-5, "<invalid>");
        check(0, "0s");
        check(119, "119s");
        check(120, "2m");
        check(150, "2m30s");
        check(3600, "60m");
        check(4 * 3600 + 300, "4h5m");
        check(30 * 3600, "30h");
        check(3 * 86400, "3d");
        check(100 * 86400, "100d");
        check(900 * 86400, "2y170d");
    }

    #[test]
    fn custom_columns() {
        let columns = Column::list(&json!([
            { "name": "Policy", "type": "string", "jsonPath": ".spec.policy" },
            { "name": "Ready", "type": "integer", "jsonPath": ".status.ready" },
            { "name": "Hosts", "type": "string", "jsonPath": ".spec.hosts[*]", "priority": 1 },
        ]));
        let object = json!({ "metadata": { "name": "e" }, "spec": { "policy": "balance", "hosts": ["a", "b"] } });
        assert_eq!(custom(&columns, &object), [json!("e"), json!("balance"), Value::Null, json!("a,b")]);
        let headings = custom_headings(&columns);
        assert_eq!(headings.len(), 4);
        assert!(headings[3].wide);
        assert_eq!(custom_headings(&[])[1].name, "Age");
    }
}
