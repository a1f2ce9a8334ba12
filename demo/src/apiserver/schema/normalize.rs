//! Pruning, defaults, and the stored form of quantities and nulls.

use serde_json::Value;

use super::quantity::canonical;
use super::{Definitions, Findings, Kind, Schema, Step, render};

pub(super) fn walk(definitions: &Definitions, schema: &Schema, value: &mut Value, path: &mut Vec<Step>, findings: &mut Findings) {
    let schema = definitions.resolve(schema);
    match value {
        Value::Number(number) if schema.kind == Kind::Quantity => {
            let text = number.to_string();
            *value = canonical(&text).unwrap_or(text).into();
        }
        Value::String(text) if schema.kind == Kind::Quantity => {
            if let Some(canonical) = canonical(text) {
                *text = canonical;
            }
        }
        Value::Object(map) if matches!(schema.kind, Kind::Object | Kind::Any) => {
            let keys: Vec<String> = map.keys().cloned().collect();
            for key in keys {
                let property = schema.properties.get(key.as_str());
                let Some(inner) = property.or(schema.additional.as_deref()) else {
                    let type_meta = path.is_empty() || schema.embedded;
                    let kept = schema.preserve_unknown || (type_meta && matches!(key.as_str(), "apiVersion" | "kind" | "metadata"));
                    if !kept {
                        path.push(Step::Field(key.clone()));
                        findings.unknown.push(render(path));
                        path.pop();
                        map.shift_remove(&key);
                    }
                    continue;
                };
                let target = definitions.resolve(inner);
                let null = map.get(&key).is_some_and(Value::is_null);
                if null && (target.default.is_some() || is_typed(inner, target)) && !explicit_null(target) {
                    map.shift_remove(&key);
                    continue;
                }
                path.push(if property.is_some() { Step::Field(key.clone()) } else { Step::Key(key.clone()) });
                if let Some(field) = map.get_mut(&key) {
                    walk(definitions, inner, field, path, findings);
                }
                path.pop();
            }
            for (name, property) in &schema.properties {
                if let Some(default) = &property.default
                    && !map.contains_key(&**name)
                {
                    let mut default = default.clone();
                    walk(definitions, property, &mut default, path, findings);
                    map.insert((**name).to_owned(), default);
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = &schema.items {
                for (at, item) in list.iter_mut().enumerate() {
                    path.push(Step::Index(at));
                    walk(definitions, items, item, path, findings);
                    path.pop();
                }
            }
        }
        _ => {}
    }
}

/// Whether null means "absent", as it does for every field of a built-in type.
fn is_typed(schema: &Schema, target: &Schema) -> bool {
    schema.nullable && target.nullable && target.kind != Kind::Any && target.required.is_empty()
}

/// Whether a custom resource may store null here.
fn explicit_null(target: &Schema) -> bool {
    target.nullable && target.default.is_none() && target.limits.date_time
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::compile;
    use super::*;

    fn check(schema: Value, mut value: Value, expected: Value, unknown: &[&str]) {
        let schema = compile(&schema).unwrap();
        let findings = Definitions::default().normalize(&schema, &mut value);
        assert_eq!(value, expected);
        assert_eq!(findings.unknown, unknown);
    }

    #[test]
    fn unknown_fields_go_and_defaults_come() {
        let schema = json!({ "type": "object", "properties": { "spec": { "type": "object", "properties": {
            "policy": { "type": "string", "default": "balance" },
            "nested": { "type": "object", "default": {}, "properties": { "n": { "type": "integer", "default": 3 } } },
            "free": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
            "list": { "type": "array", "items": { "type": "object", "properties": { "a": { "type": "string" } } } },
        } } } });
        check(
            schema,
            json!({ "apiVersion": "g/v1", "kind": "K", "metadata": { "name": "x" },
                "spec": { "policy": null, "odd": 1, "free": { "x": 1 }, "list": [{ "a": "b", "c": "d" }] } }),
            json!({ "apiVersion": "g/v1", "kind": "K", "metadata": { "name": "x" },
                "spec": { "policy": "balance", "nested": { "n": 3 }, "free": { "x": 1 }, "list": [{ "a": "b" }] } }),
            &["spec.odd", "spec.list[0].c"],
        );
    }

    #[test]
    fn built_in_types_lose_nulls_and_get_quantities_as_text() {
        let definitions = Definitions::builtin();
        let pod = super::super::super::resource::BUILTIN.iter().find(|b| b.kind == "Pod").unwrap();
        let mut value = json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "p", "creationTimestamp": null, "labels": { "a.b/c": "d" } },
            "spec": { "containers": [{ "name": "c", "resources": { "limits": { "cpu": 2 } }, "colour": "red" }],
                "nodeName": null } });
        let findings = definitions.normalize(definitions.root(pod), &mut value);
        assert_eq!(findings.unknown, ["spec.containers[0].colour"]);
        assert_eq!(
            value,
            json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "labels": { "a.b/c": "d" } },
            "spec": { "containers": [{ "name": "c", "resources": { "limits": { "cpu": "2" } } }] } })
        );
    }
}
