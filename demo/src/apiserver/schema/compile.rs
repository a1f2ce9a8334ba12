//! From an OpenAPI v3 schema in JSON to the form that is walked.

use std::collections::HashMap;

use serde_json::Value;

use super::{Kind, Limits, ListType, Merge, Schema};

/// Compiles a CRD's schema.
pub fn compile(source: &Value) -> Result<Schema, String> {
    schema(source, false)
}

/// Compiles a built-in type's schema: only the JSON types bind, because the typed server fills missing fields with
/// their zero value.
pub(super) fn lenient(source: &Value) -> Schema {
    schema(source, true).unwrap_or_else(|_| Schema::any())
}

fn schema(source: &Value, lenient: bool) -> Result<Schema, String> {
    let text = |key: &str| source[key].as_str();
    let flag = |key: &str| source[key].as_bool().unwrap_or(false);
    // OpenAPI 3.0 wraps a reference that has a description of its own.
    let alone = source["allOf"].as_array().filter(|all| all.len() == 1 && source["type"].is_null()).and_then(|all| all[0]["$ref"].as_str());
    if let Some(reference) = text("$ref").or(alone) {
        let name = reference.rsplit('/').next().unwrap_or(reference);
        let mut found = Schema::any();
        found.reference = Some(name.into());
        found.merge = merge(source);
        if name.ends_with(".Quantity") {
            found.reference = None;
            found.kind = Kind::Quantity;
        }
        return Ok(found);
    }
    let one = |key: &str| match &source[key] {
        value @ Value::Object(_) => schema(value, lenient).map(|s| Some(Box::new(s))),
        _ => Ok(None),
    };
    let many =
        |key: &str| -> Result<Vec<Schema>, String> { source[key].as_array().into_iter().flatten().map(|s| schema(s, lenient)).collect() };
    let strings =
        |key: &str| -> Vec<Box<str>> { source[key].as_array().into_iter().flatten().filter_map(|v| v.as_str().map(Into::into)).collect() };
    let mut properties = HashMap::new();
    for (name, value) in source["properties"].as_object().into_iter().flatten() {
        properties.insert(name.as_str().into(), schema(value, lenient)?);
    }
    let int_or_string = flag("x-kubernetes-int-or-string");
    let kind = match text("type") {
        _ if int_or_string => Kind::IntOrString,
        Some("object") => Kind::Object,
        Some("array") => Kind::Array,
        Some("string") => Kind::String,
        Some("integer") => Kind::Integer,
        Some("number") => Kind::Number,
        Some("boolean") => Kind::Boolean,
        None if !properties.is_empty() => Kind::Object,
        None => Kind::Any,
        Some(other) => return Err(format!("unknown type {other:?}")),
    };
    let accepted = source["enum"].as_array().cloned().unwrap_or_default();
    // Value validations (inside anyOf and its like) have no type of their own and prune nothing.
    let additional = match &source["additionalProperties"] {
        Value::Bool(true) => Some(Box::new(Schema::any())),
        Value::Object(_) => one("additionalProperties")?,
        _ => None,
    };
    let open = kind == Kind::Object && properties.is_empty() && additional.is_none() && lenient;
    Ok(Schema {
        kind,
        nullable: lenient || flag("nullable"),
        properties,
        additional,
        items: one("items")?,
        required: if lenient { Vec::new() } else { strings("required") },
        accepted,
        default: source.get("default").filter(|_| !lenient).cloned(),
        preserve_unknown: flag("x-kubernetes-preserve-unknown-fields") || kind == Kind::Any || open,
        embedded: flag("x-kubernetes-embedded-resource"),
        limits: if lenient { Limits::default() } else { limits(source)? },
        // Of built-in types these say how to merge alone: a dual-stack node has two addresses of one type.
        list_keys: if lenient { Vec::new() } else { strings("x-kubernetes-list-map-keys") },
        is_set: !lenient && text("x-kubernetes-list-type") == Some("set"),
        all_of: many("allOf")?,
        any_of: if int_or_string { Vec::new() } else { many("anyOf")? },
        one_of: many("oneOf")?,
        not: one("not")?,
        reference: None,
        merge: merge(source),
        merge_required: strings("required"),
        written: Vec::new(),
    })
}

fn merge(source: &Value) -> Merge {
    let text = |key: &str| source[key].as_str().unwrap_or_default();
    let strategy = text("x-kubernetes-patch-strategy");
    let keys = source["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
    Merge {
        list: match text("x-kubernetes-list-type") {
            "set" => ListType::Set,
            "map" => ListType::Map(keys.filter_map(|key| key.as_str().map(Into::into)).collect()),
            _ => ListType::Atomic,
        },
        atomic: match text("x-kubernetes-map-type") {
            "atomic" => Some(true),
            "granular" => Some(false),
            _ => None,
        },
        patched: strategy.split(',').any(|part| part == "merge"),
        patch_key: Some(text("x-kubernetes-patch-merge-key")).filter(|key| !key.is_empty()).map(Into::into),
        replaced: strategy == "replace",
        implied: source.get("default").filter(|value| !value.is_object() && !value.is_array()).cloned(),
        by_value: source.get("default").is_some_and(|value| value.as_object().is_some_and(serde_json::Map::is_empty)),
    }
}

fn limits(source: &Value) -> Result<Limits, String> {
    let float = |key: &str| source[key].as_f64();
    let count = |key: &str| source[key].as_u64().and_then(|n| usize::try_from(n).ok());
    let flag = |key: &str| source[key].as_bool().unwrap_or(false);
    let pattern = match source["pattern"].as_str() {
        Some(pattern) => Some(regex::Regex::new(pattern).map_err(|e| format!("pattern {pattern:?} is not valid: {e}"))?),
        None => None,
    };
    Ok(Limits {
        minimum: float("minimum"),
        exclusive_minimum: flag("exclusiveMinimum"),
        maximum: float("maximum"),
        exclusive_maximum: flag("exclusiveMaximum"),
        multiple_of: float("multipleOf"),
        min_length: count("minLength"),
        max_length: count("maxLength"),
        min_items: count("minItems"),
        max_items: count("maxItems"),
        min_properties: count("minProperties"),
        max_properties: count("maxProperties"),
        pattern,
        date_time: source["format"] == "date-time",
    })
}
