//! Where two answers differ, one line a place.

use serde_json::Value;

/// Lines such as `body.spec.replicas: real 1, embedded absent`. With `part` the embedded value may lack fields and items that the real one has.
pub fn differences(real: &Value, embedded: &Value, part: bool) -> Vec<String> {
    let mut lines = Vec::new();
    compare("", Some(real), Some(embedded), part, &mut lines);
    lines
}

fn compare(path: &str, real: Option<&Value>, embedded: Option<&Value>, part: bool, lines: &mut Vec<String>) {
    if real == embedded || (part && embedded.is_none()) {
        return;
    }
    match (real, embedded) {
        (Some(Value::Object(real)), Some(Value::Object(embedded))) => {
            for key in real.keys().chain(embedded.keys().filter(|key| !real.contains_key(*key))) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(&path, real.get(key), embedded.get(key), part, lines);
            }
        }
        (Some(Value::Array(real)), Some(Value::Array(embedded))) if part => {
            for item in embedded {
                let twin = real.iter().find(|candidate| identity(candidate) == identity(item));
                compare(&format!("{path}[{}]", identity(item)), twin, Some(item), part, lines);
            }
        }
        (Some(Value::Array(real)), Some(Value::Array(embedded))) => {
            for index in 0..real.len().max(embedded.len()) {
                compare(&format!("{path}[{index}]"), real.get(index), embedded.get(index), part, lines);
            }
        }
        _ => lines.push(format!("{path}: real {}, embedded {}", shown(real), shown(embedded))),
    }
}

/// What tells items of a list apart.
fn identity(item: &Value) -> String {
    // The core group of aggregated discovery has no name, only versions.
    let fields = ["/metadata/name", "/name", "/groupVersion", "/resource", "/version", "/subresource", "/versions/0/version"];
    match fields.iter().find_map(|field| item.pointer(field)) {
        Some(name) => name.to_string(),
        None => item.to_string(),
    }
}

fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else { return "absent".to_owned() };
    let mut text = value.to_string();
    if let Some((cut, _)) = text.char_indices().nth(600) {
        text.truncate(cut);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(real: Value, embedded: Value, part: bool, expected: &[&str]) {
        assert_eq!(differences(&real, &embedded, part), expected);
    }

    #[test]
    fn every_place_is_a_line() {
        check(json!({"a": 1, "b": [1, 2]}), json!({"b": [1, 2], "a": 1}), false, &[]);
        check(json!({"a": {"b": 1}}), json!({"a": {"b": 2}}), false, &["a.b: real 1, embedded 2"]);
        check(json!({"a": null}), json!({}), false, &["a: real null, embedded absent"]);
        check(json!([1]), json!([1, 2]), false, &["[1]: real absent, embedded 2"]);
    }

    #[test]
    fn a_part_may_lack_but_not_add_or_change() {
        check(json!({"a": 1, "b": [{"name": "x"}, {"name": "y", "v": 1}]}), json!({"b": [{"name": "y", "v": 1}]}), true, &[]);
        check(json!([{"name": "y", "v": 1}]), json!([{"name": "y", "v": 2}]), true, &["[\"y\"].v: real 1, embedded 2"]);
        check(json!([]), json!([{"name": "y"}]), true, &["[\"y\"]: real absent, embedded {\"name\":\"y\"}"]);
    }
}
