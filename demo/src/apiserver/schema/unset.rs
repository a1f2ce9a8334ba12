//! Fields that nobody set, as the built-in types write them: structs held by value are there if empty, required fields and times have
//! their zero, and an empty list or map is none at all.

use serde_json::{Map, Value};

use super::merge_rules::written_unset;
use super::{Definitions, Kind, Schema};

/// What stands in place of a field that is not set.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Unset {
    /// The struct with nothing in it, which may write fields of its own.
    Struct,
    /// A zero, or null.
    Zero(Value),
}

/// The fields of a definition that are written even where they are not set.
pub(super) fn of_definition(definitions: &Definitions, name: &str, schema: &Schema) -> Vec<(Box<str>, Unset)> {
    let listed = written_unset(name);
    let written = schema.properties.iter().filter(|(field, property)| {
        property.merge.by_value || schema.requires(field) || listed.iter().any(|(_, written)| *written == &***field)
    });
    written.map(|(field, property)| (field.clone(), unset(definitions, property))).collect()
}

fn unset(definitions: &Definitions, property: &Schema) -> Unset {
    if property.merge.by_value {
        return Unset::Struct;
    }
    let is_time = property.reference.as_ref().is_some_and(|name| name.ends_with("Time"));
    Unset::Zero(match definitions.resolve(property).kind {
        Kind::Integer | Kind::Number => 0.into(),
        Kind::Boolean => false.into(),
        Kind::Quantity => "0".into(),
        Kind::String if !is_time => "".into(),
        _ => Value::Null,
    })
}

/// Brings a value into the form that the types write. `stored` is that in which an empty list is null even where the field is always
/// written: what came from a client still tells them apart, and who owns the field depends on it.
pub(super) fn complete(definitions: &Definitions, schema: &Schema, value: &mut Value, stored: bool) {
    let schema = definitions.resolve(schema);
    match value {
        Value::Object(map) => {
            let written = |name: &str| schema.written.iter().any(|(field, _)| **field == *name);
            let goes =
                |name: &str| (stored || !written(name)) && schema.properties.get(name).is_some_and(|of| is_collection(definitions, of));
            map.retain(|name, field| !(is_empty(field) && goes(name)));
            for (name, unset) in &schema.written {
                if map.get(&**name).is_none_or(Value::is_null) {
                    let value = match unset {
                        Unset::Struct => Value::Object(Map::new()),
                        Unset::Zero(zero) => zero.clone(),
                    };
                    map.insert(name.to_string(), value);
                }
            }
            for (name, field) in map.iter_mut() {
                if let Some(inner) = schema.field(name) {
                    complete(definitions, inner, field, stored);
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = &schema.items {
                list.iter_mut().for_each(|item| complete(definitions, items, item, stored));
            }
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
}

/// Whether the field is a list or a map, which is nothing when it is empty; a struct is something.
fn is_collection(definitions: &Definitions, property: &Schema) -> bool {
    let target = definitions.resolve(property);
    target.kind == Kind::Array || (target.properties.is_empty() && target.additional.is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apiserver::resource::BUILTIN;

    fn check(kind: &str, mut value: Value, expected: Value) {
        let definitions = Definitions::builtin();
        let builtin = BUILTIN.iter().find(|builtin| builtin.kind == kind).unwrap();
        definitions.complete_stored(definitions.root(builtin), &mut value);
        assert_eq!(value, expected);
    }

    #[test]
    fn structs_zeros_and_times_are_written_and_empty_collections_are_not() {
        check(
            "EndpointSlice",
            json!({ "metadata": {}, "addressType": "IPv4", "endpoints": [{ "addresses": ["10.1.2.3"], "zone": "z" }], "ports": [] }),
            json!({ "metadata": {}, "addressType": "IPv4", "ports": null,
                "endpoints": [{ "addresses": ["10.1.2.3"], "conditions": {}, "zone": "z" }] }),
        );
        check(
            "PodDisruptionBudget",
            json!({ "metadata": { "labels": {} }, "spec": { "selector": {} } }),
            json!({ "metadata": {}, "spec": { "selector": {} },
                "status": { "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0 } }),
        );
        check(
            "Namespace",
            json!({ "status": { "conditions": [{ "type": "T", "status": "True" }] } }),
            json!({ "metadata": {}, "spec": {},
                "status": { "conditions": [{ "type": "T", "status": "True", "lastTransitionTime": null }] } }),
        );
    }
}
