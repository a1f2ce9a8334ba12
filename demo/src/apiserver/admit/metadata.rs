//! Names, labels, annotations, finalizers and owners.

use serde_json::{Map, Value};

use crate::apiserver::resource::{NameRule, Resource};
use crate::apiserver::status::FieldError;

/// All annotations together.
const ANNOTATIONS_LIMIT_BYTES: usize = 256 * 1024;

const LABEL_1123: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and \
     must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_1123: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' \
     or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const QUALIFIED_NAME: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and \
     end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
     '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
     '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex \
     used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// Why `text` is not a lowercase RFC 1123 label.
pub fn label_1123(text: &str) -> Option<&'static str> {
    if text.len() > 63 {
        return Some("must be no more than 63 characters");
    }
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let end = |c: u8| inner(c) && c != b'-';
    let bytes = text.as_bytes();
    let valid = bytes.iter().all(|c| inner(*c)) && bytes.first().is_some_and(|c| end(*c)) && bytes.last().is_some_and(|c| end(*c));
    match valid {
        true => None,
        false if text.contains('.') && subdomain_1123(text).is_none() => Some("must not contain dots"),
        false => Some(LABEL_1123),
    }
}

/// Why `text` is not a lowercase RFC 1123 subdomain.
pub fn subdomain_1123(text: &str) -> Option<&'static str> {
    if text.len() > 253 {
        return Some("must be no more than 253 characters");
    }
    let valid = text.split('.').all(|part| part.len() > 63 || label_1123(part).is_none());
    (!valid || text.is_empty()).then_some(SUBDOMAIN_1123)
}

fn qualified_word(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let bytes = text.as_bytes();
    bytes.iter().all(|c| inner(*c))
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
}

/// Why `text` is not the key of a label or annotation.
pub fn qualified_name(text: &str) -> Option<String> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    match prefix {
        Some("") => return Some("prefix part must be non-empty".to_owned()),
        Some(prefix) => {
            if let Some(why) = subdomain_1123(prefix) {
                return Some(format!("prefix part {why}"));
            }
        }
        None => {}
    }
    if name.is_empty() {
        Some("name part must be non-empty".to_owned())
    } else if name.len() > 63 {
        Some("name part must be no more than 63 characters".to_owned())
    } else {
        (!qualified_word(name)).then(|| QUALIFIED_NAME.to_owned())
    }
}

/// Why `text` is not the value of a label.
pub fn label_value(text: &str) -> Option<&'static str> {
    if text.len() > 63 {
        Some("must be no more than 63 characters")
    } else {
        (!text.is_empty() && !qualified_word(text)).then_some(LABEL_VALUE)
    }
}

fn name_error(rule: NameRule, name: &str) -> Option<&'static str> {
    match rule {
        NameRule::Subdomain => subdomain_1123(name),
        NameRule::Label => label_1123(name),
        NameRule::PathSegment => match name {
            "." => Some("may not be '.'"),
            ".." => Some("may not be '..'"),
            _ if name.contains('/') => Some("may not contain '/'"),
            _ if name.contains('%') => Some("may not contain '%'"),
            _ => None,
        },
    }
}

/// What is wrong with a map of labels at the given path.
pub fn labels(labels: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in labels.as_object().into_iter().flatten() {
        if let Some(why) = qualified_name(key) {
            errors.push(FieldError::invalid(path, &Value::from(key.as_str()), &why));
        }
        if let Some(why) = value.as_str().and_then(label_value) {
            errors.push(FieldError::invalid(path, value, why));
        }
    }
    errors
}

/// What is wrong with an object's metadata.
pub fn validate(resource: &Resource, value: &Value) -> Vec<FieldError> {
    let metadata = &value["metadata"];
    let mut errors = Vec::new();
    let name = &metadata["name"];
    if let Some(why) = name_error(resource.names, name.as_str().unwrap_or_default()) {
        errors.push(FieldError::invalid("metadata.name", name, why));
    }
    errors.extend(labels(&metadata["labels"], "metadata.labels"));
    errors.extend(annotations(metadata["annotations"].as_object()));
    for (at, owner) in metadata["ownerReferences"].as_array().into_iter().flatten().enumerate() {
        for key in ["apiVersion", "kind", "name", "uid"] {
            if owner[key].as_str().is_none_or(str::is_empty) {
                errors.push(FieldError::required(format!("metadata.ownerReferences[{at}].{key}"), "must not be empty"));
            }
        }
    }
    for finalizer in metadata["finalizers"].as_array().into_iter().flatten() {
        if let Some(why) = finalizer.as_str().and_then(qualified_name) {
            errors.push(FieldError::invalid("metadata.finalizers", finalizer, &why));
        }
    }
    errors
}

/// Finalizers that an update would put on an object that is being deleted.
pub fn added_finalizers(old: &Value, new: &Value) -> Option<FieldError> {
    let of = |value: &Value| value["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let had = of(old);
    let added: Vec<String> = of(new).iter().filter(|finalizer| !had.contains(finalizer)).map(Value::to_string).collect();
    (old["metadata"]["deletionTimestamp"].is_string() && !added.is_empty()).then(|| {
        let listed = added.join(", ");
        let why = format!("no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}");
        FieldError::forbidden("metadata.finalizers", &why)
    })
}

fn annotations(annotations: Option<&Map<String, Value>>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut bytes = 0;
    for (key, value) in annotations.into_iter().flatten() {
        bytes += key.len() + value.as_str().map_or(0, str::len);
        if let Some(why) = qualified_name(&key.to_lowercase()) {
            errors.push(FieldError::invalid("metadata.annotations", &Value::from(key.as_str()), &why));
        }
    }
    if bytes > ANNOTATIONS_LIMIT_BYTES {
        errors.push(FieldError::too_long("metadata.annotations", ANNOTATIONS_LIMIT_BYTES));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: NameRule, name: &str, valid: bool) {
        assert_eq!(name_error(rule, name).is_none(), valid, "{name} as {rule:?}");
    }

    #[test]
    fn names() {
        check(NameRule::Subdomain, "a.b-c", true);
        check(NameRule::Subdomain, "A", false);
        check(NameRule::Subdomain, "a..b", false);
        check(NameRule::Subdomain, "-a", false);
        check(NameRule::Subdomain, "", false);
        check(NameRule::Label, "a.b", false);
        check(NameRule::Label, &"a".repeat(64), false);
        check(NameRule::PathSegment, "system:node", true);
        check(NameRule::PathSegment, "a/b", false);
    }

    #[test]
    fn label_keys_and_values() {
        for (key, valid) in [("a", true), ("a.b/c_d", true), ("/c", false), ("a/", false), ("a b", false), ("-a", false)] {
            assert_eq!(qualified_name(key).is_none(), valid, "{key}");
        }
        for (value, valid) in [("", true), ("25", true), ("a b", false), ("-", false), ("12.5", true)] {
            assert_eq!(label_value(value).is_none(), valid, "{value}");
        }
    }
}
