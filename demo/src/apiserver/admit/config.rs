//! ConfigMaps and Secrets: the keys of their data, and that an immutable one stays as it is.

use serde_json::Value;

use crate::apiserver::status::FieldError;

/// All data of one object together.
const DATA_LIMIT_BYTES: usize = 1024 * 1024;

const KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  \
     or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// What is wrong with the data.
pub fn validate(value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut bytes = 0;
    for part in ["data", "binaryData"] {
        for (key, content) in value[part].as_object().into_iter().flatten() {
            bytes += content.as_str().map_or(0, str::len);
            let mut refuse = |why: &str| errors.push(FieldError::invalid(format!("{part}[{key}]"), &key.as_str().into(), why));
            if let Some(why) = key_error(key) {
                refuse(why);
            }
            if part == "data" && !value["binaryData"][key.as_str()].is_null() {
                refuse("duplicate of key present in binaryData");
            }
        }
    }
    if bytes > DATA_LIMIT_BYTES {
        errors.push(FieldError::too_long("", DATA_LIMIT_BYTES));
    }
    errors
}

fn key_error(key: &str) -> Option<&'static str> {
    if key.len() > 253 {
        return Some("must be no more than 253 characters");
    }
    if key.is_empty() || !key.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_')) {
        return Some(KEY);
    }
    match key {
        "." => Some("must not be '.'"),
        ".." => Some("must not be '..'"),
        _ if key.starts_with("..") => Some("must not start with '..'"),
        _ => None,
    }
}

/// Which changes an immutable object refuses.
pub fn immutable(old: &Value, new: &Value) -> Vec<FieldError> {
    // The type of a Secret never changes, immutable or not.
    let retyped = (old["type"] != new["type"]).then(|| FieldError::invalid("type", &new["type"], "field is immutable"));
    if old["immutable"] != true {
        return retyped.into_iter().collect();
    }
    let changed = ["immutable", "data", "binaryData"].into_iter().filter(|part| old[*part] != new[*part]);
    retyped.into_iter().chain(changed.map(|part| FieldError::forbidden(part, "field is immutable when `immutable` is set"))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(value: Value, expected: &[&str]) {
        let found: Vec<String> = validate(&value).into_iter().map(|error| error.field).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn keys() {
        check(json!({ "data": { "a.b-C_1": "" }, "binaryData": { "b": "" } }), &[]);
        check(json!({ "data": { "a b": "", "..": "" } }), &["data[a b]", "data[..]"]);
        check(json!({ "data": { "k": "" }, "binaryData": { "k": "" } }), &["data[k]"]);
    }

    #[test]
    fn an_immutable_one_stays() {
        let old = json!({ "immutable": true, "data": { "k": "v" } });
        assert_eq!(immutable(&old, &old), []);
        assert_eq!(immutable(&old, &json!({ "data": { "k": "w" } })).len(), 2);
        assert_eq!(immutable(&json!({ "data": {} }), &old), []);
    }
}
