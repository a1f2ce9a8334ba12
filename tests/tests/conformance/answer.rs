//! What a server answered, brought into a form that two servers can share: what differs by nature gets a name, structure stays. Only the descriptions
//! of a table's columns are left out.

use regex::{Captures, Regex};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Status, the headers that clients act on, and the body; text that is not JSON is a string.
#[derive(Clone, Debug)]
pub struct Answer {
    pub code: u16,
    pub media_type: String,
    pub warnings: Vec<String>,
    pub retry_after: Option<String>,
    pub body: Value,
}

impl Answer {
    /// One value to compare, without what only this server can know.
    pub fn shared(&self, variables: &BTreeMap<String, String>, apart: impl Iterator<Item = String>) -> Value {
        let mut body = self.body.clone();
        for pointer in apart {
            remove(&mut body, &pointer);
        }
        normalise(&mut body, "", variables);
        let mut warnings = json!(self.warnings);
        normalise(&mut warnings, "", variables);
        json!({ "code": self.code, "contentType": self.media_type, "warnings": warnings, "retryAfter": self.retry_after, "body": body })
    }
}

/// `/a/*/b` leaves `b` out of every item of `a`.
fn remove(value: &mut Value, pointer: &str) {
    let Some(rest) = pointer.strip_prefix('/') else { return };
    let (key, rest) = rest.split_once('/').map_or((rest, None), |(key, rest)| (key, Some(format!("/{rest}"))));
    let key = key.replace("~1", "/").replace("~0", "~");
    let Some(rest) = rest else {
        match (value, key.parse::<usize>()) {
            (Value::Object(fields), _) => drop(fields.shift_remove(&key)),
            (Value::Array(items), Ok(index)) if index < items.len() => drop(items.remove(index)),
            _ => {}
        }
        return;
    };
    let within: Vec<&mut Value> = match value {
        Value::Array(items) if key == "*" => items.iter_mut().collect(),
        Value::Array(items) => key.parse().ok().and_then(|index: usize| items.get_mut(index)).into_iter().collect(),
        Value::Object(fields) if key == "*" => fields.values_mut().collect(),
        Value::Object(fields) => fields.get_mut(&key).into_iter().collect(),
        _ => Vec::new(),
    };
    within.into_iter().for_each(|value| remove(value, &rest));
}

/// Replaces what differs between any two servers: versions, ids, times, addresses given out, credentials.
fn normalise(value: &mut Value, key: &str, variables: &BTreeMap<String, String>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| normalise(item, key, variables)),
        Value::Object(fields) => {
            generated_name(fields);
            order_causes(fields);
            order_managers(fields);
            order_resources(fields);
            if key == "columnDefinitions" {
                fields.shift_remove("description"); // the reference documentation's text
            }
            let named_fields = std::mem::take(fields).into_iter().map(|(key, mut field)| {
                normalise(&mut field, &key, variables);
                (PATTERNS[0].0.replace_all(&key, PATTERNS[0].1).into_owned(), field)
            });
            *fields = named_fields.collect();
        }
        Value::String(text) => *text = named(text, key, variables),
        Value::Number(_) if matches!(key, "nodePort" | "healthCheckNodePort") => *value = "<port>".into(),
        _ => {}
    }
}

/// A name that the server made up from `generateName`.
fn generated_name(object: &mut serde_json::Map<String, Value>) {
    let (Some(Value::String(prefix)), Some(Value::String(name))) = (object.get("generateName"), object.get("name")) else { return };
    if name.strip_prefix(prefix.as_str()).is_some_and(|suffix| suffix.len() == 5) {
        let name = format!("{prefix}<generated>");
        object.insert("name".to_owned(), name.into());
    }
}

/// The causes of a refusal in the order of their texts, and the message with them: the real server walks maps, in any order, while it judges.
fn order_causes(status: &mut serde_json::Map<String, Value>) {
    let Some(Value::Array(causes)) = status.get_mut("details").and_then(|details| details.get_mut("causes")) else { return };
    let text =
        |cause: &Value| format!("{}: {}", cause["field"].as_str().unwrap_or_default(), cause["message"].as_str().unwrap_or_default());
    let listed = |causes: &[Value]| format!("[{}]", causes.iter().map(text).collect::<Vec<_>>().join(", "));
    let before = listed(causes);
    causes.sort_by_key(text);
    let after = listed(causes);
    if let Some(Value::String(message)) = status.get_mut("message") {
        *message = message.replace(&before, &after);
    }
}

/// The managers of an object's fields in the order of their names: servers sort them by times in whole seconds first, and between two requests to one
/// server a second may begin where none did at the other.
fn order_managers(metadata: &mut serde_json::Map<String, Value>) {
    let Some(Value::Array(managers)) = metadata.get_mut("managedFields") else { return };
    managers.sort_by_key(|entry| ["operation", "manager", "subresource"].map(|field| entry[field].as_str().unwrap_or_default().to_owned()));
}

/// The resources of a group in the order of their names: the real server lists custom ones as a map gives them.
fn order_resources(list: &mut serde_json::Map<String, Value>) {
    if list.get("kind").is_some_and(|kind| kind == "APIResourceList")
        && let Some(Value::Array(resources)) = list.get_mut("resources")
    {
        resources.sort_by_key(|resource| resource["name"].as_str().unwrap_or_default().to_owned());
    }
}

static PATTERNS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let pattern = |pattern: &str| Regex::new(pattern).unwrap();
    vec![
        (pattern(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<uid>"),
        (pattern(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"), "<micro time>"),
        (pattern(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "<time>"),
        (pattern(r"127\.0\.0\.1:\d+"), "<server>"),
        (pattern(r"\b10\.96\.\d+\.\d+\b"), "<service ip>"),
        (pattern(r":3\d{4}/"), ":<port>/"),
        (pattern(r"current: \d+"), "current: <version>"),
        (pattern(r"in record \(\d+\)"), "in record (<version>)"),
        (pattern(r"too old resource version: (\d+) \(\d+\)"), "too old resource version: $1 (<version>)"),
        (pattern(r#"\\"resourceVersion\\":\\"\d+\\""#), "<version>"),
        (pattern(r"^(\d+[smhd])+$"), "<age>"),
        (pattern(r"^ey[\w-]+\.[\w-]+\.[\w-]+$"), "<token>"),
    ]
});

/// An object that a text quotes.
static QUOTED_OBJECT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#""\{(?:[^"\\]|\\.)*\}""#).unwrap());

/// A quoted object with its fields in the order of their names: each server writes them in its own.
fn in_order(quoted: &str) -> String {
    let object = serde_json::from_str::<String>(quoted).and_then(|text| serde_json::from_str::<Value>(&text));
    object.map_or_else(
        |_| quoted.to_owned(),
        |mut object| {
            object.sort_all_objects();
            Value::from(object.to_string()).to_string()
        },
    )
}

fn named(text: &str, key: &str, variables: &BTreeMap<String, String>) -> String {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match key {
        "resourceVersion" | "metadata.resourceVersion" if digits && text != "0" => return "<version>".to_owned(),
        "continue" if !text.is_empty() => return "<continue>".to_owned(),
        _ => {}
    }
    let mut text = QUOTED_OBJECT.replace_all(text, |found: &Captures<'_>| in_order(&found[0])).into_owned();
    for (name, value) in variables.iter().filter(|(name, value)| value.len() > 4 && !matches!(name.as_str(), "ns" | "case")) {
        if value.bytes().any(|byte| !byte.is_ascii_digit()) {
            text = text.replace(value, &format!("<{name}>"));
        }
    }
    PATTERNS.iter().fold(text, |text, (pattern, name)| pattern.replace_all(&text, *name).into_owned())
}

#[test]
fn what_only_one_server_knows_gets_a_name() {
    let check = |given: Value, expected: Value| {
        let answer = Answer { code: 200, media_type: "a".to_owned(), warnings: vec![], retry_after: None, body: given };
        let variables = BTreeMap::from([("token".to_owned(), "secret-1".to_owned())]);
        assert_eq!(answer.shared(&variables, std::iter::once("/list/*/own".to_owned()))["body"], expected);
    };
    check(json!({"resourceVersion": "123"}), json!({"resourceVersion": "<version>"}));
    check(json!({"resourceVersion": "0"}), json!({"resourceVersion": "0"}));
    check(json!({"at": "2026-01-02T03:04:05Z"}), json!({"at": "<time>"}));
    check(json!({"at": "2026-01-02T03:04:05.000001Z"}), json!({"at": "<micro time>"}));
    check(json!({"generateName": "a-", "name": "a-x1y2z"}), json!({"generateName": "a-", "name": "a-<generated>"}));
    check(json!({"generateName": "a-", "name": "a-xy"}), json!({"generateName": "a-", "name": "a-xy"}));
    check(json!({"message": "the token secret-1 is"}), json!({"message": "the token <token> is"}));
    check(json!({"list": [{"own": 1, "all": 2}]}), json!({"list": [{"all": 2}]}));
    check(json!({"k:{\"uid\":\"01234567-89ab-cdef-0123-456789abcdef\"}": {}}), json!({"k:{\"uid\":\"<uid>\"}": {}}));
    check(json!({"columnDefinitions": [{"name": "Name", "description": "long"}]}), json!({"columnDefinitions": [{"name": "Name"}]}));
    check(json!({"absent": null}), json!({"absent": null}));
    let managers = |names: [&str; 2]| json!({"managedFields": names.map(|name| json!({"manager": name, "operation": "Update"}))});
    check(managers(["b", "a"]), managers(["a", "b"]));
    let resources = |names: [&str; 2]| json!({"kind": "APIResourceList", "resources": names.map(|name| json!({"name": name}))});
    check(resources(["b", "a"]), resources(["a", "b"]));
    let cause = |field: &str| json!({"field": field, "message": "m"});
    check(
        json!({"message": "is invalid: [b: m, a: m]", "details": {"causes": [cause("b"), cause("a")]}}),
        json!({"message": "is invalid: [a: m, b: m]", "details": {"causes": [cause("a"), cause("b")]}}),
    );
    check(json!({"m": r#"Invalid: "{\"b\":{},\"a\":[\"x\"]}": why"#}), json!({"m": r#"Invalid: "{\"a\":[\"x\"],\"b\":{}}": why"#}));
    check(json!({"m": r#""{not JSON}""#}), json!({"m": r#""{not JSON}""#}));
    check(json!({"cell": "80:30211/TCP"}), json!({"cell": "80:<port>/TCP"}));
}
