//! Strategic merge patch: lists merge by key where the type says so (`schema::merge_rules`), and `$` directives say more.

use serde_json::{Map, Value};

use crate::apiserver::schema::{Definitions, Schema, Typed};

/// Merges `patch` into `target`, an object of the given schema; without a schema no list merges.
pub fn merge(definitions: &Definitions, schema: Option<&Schema>, target: &mut Value, patch: &Value) -> Result<(), String> {
    merge_values(Typed::root(definitions, schema, false), target, patch)
}

fn merge_values(typed: Typed<'_>, target: &mut Value, patch: &Value) -> Result<(), String> {
    let Value::Object(patch) = patch else { return Err("a strategic merge patch must be a JSON object".into()) };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return Ok(()) };
    merge_maps(typed, target, patch)
}

fn merge_maps(typed: Typed<'_>, target: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), String> {
    match patch.get("$patch").map(|v| v.as_str().unwrap_or_default()) {
        Some("replace") => {
            *target = without_directives(patch);
            return Ok(());
        }
        Some("delete") => {
            target.clear();
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => return Err(format!("$patch must be \"replace\", \"merge\" or \"delete\", not {other:?}")),
    }
    if let Some(kept) = patch.get("$retainKeys").and_then(Value::as_array) {
        target.retain(|key, _| kept.iter().any(|k| k == key));
    }
    for (key, value) in patch {
        if let Some(field) = key.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = value.as_array().ok_or_else(|| format!("{key} must be a list"))?;
            if let Some(list) = target.get_mut(field).and_then(Value::as_array_mut) {
                list.retain(|item| !gone.contains(item));
            }
        }
    }
    let before = if patch.keys().any(|key| key.starts_with("$setElementOrder/")) { target.clone() } else { Map::new() };
    for (key, value) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        match (value, target.get_mut(key)) {
            (Value::Null, _) => {
                target.shift_remove(key);
            }
            (Value::Object(inner), Some(existing)) if typed.field(key).replaced() => *existing = Value::Object(without_directives(inner)),
            (Value::Object(inner), Some(Value::Object(existing))) => {
                merge_maps(typed.field(key), existing, inner)?;
                if inner.get("$patch").is_some_and(|directive| directive == "delete") {
                    target.shift_remove(key);
                }
            }
            (Value::Object(inner), _) => {
                let mut fresh = Map::new();
                merge_maps(typed.field(key), &mut fresh, inner)?;
                target.insert(key.clone(), Value::Object(fresh));
            }
            (Value::Array(items), existing) => {
                let old = match existing {
                    Some(Value::Array(old)) => std::mem::take(old),
                    _ => Vec::new(),
                };
                target.insert(key.clone(), Value::Array(merge_lists(typed.field(key), key, old, items)?));
            }
            (plain, _) => {
                target.insert(key.clone(), plain.clone());
            }
        }
    }
    for (key, order) in patch {
        if let Some(field) = key.strip_prefix("$setElementOrder/") {
            let order = order.as_array().ok_or_else(|| format!("{key} must be a list"))?;
            let old = before.get(field).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            if let Some(list) = target.get_mut(field).and_then(Value::as_array_mut) {
                *list = put_in_order(typed.field(field).patched().flatten(), std::mem::take(list), order, old);
            }
        }
    }
    Ok(())
}

fn merge_lists(typed: Typed<'_>, field: &str, old: Vec<Value>, patch: &[Value]) -> Result<Vec<Value>, String> {
    if patch.iter().any(|item| item.get("$patch").is_some_and(|d| d == "replace")) {
        let kept = patch.iter().filter(|item| item.get("$patch").is_none_or(|d| d != "replace"));
        return Ok(kept.map(plain).collect());
    }
    let Some(key) = typed.patched() else {
        return Ok(patch.iter().map(plain).collect());
    };
    let Some(key) = key else {
        let mut merged = old.clone();
        for item in patch {
            if !merged.contains(item) {
                merged.push(item.clone());
            }
        }
        return Ok(put_in_order(None, merged, patch, &old));
    };
    let mut merged = old.clone();
    for item in patch {
        let identity =
            item.get(key).ok_or_else(|| format!("map: {item} does not contain declared merge key: {key} (in the list {field})"))?;
        let found = merged.iter().position(|other| other.get(key) == Some(identity));
        match (item.get("$patch").and_then(Value::as_str), found) {
            (Some("delete"), Some(at)) => {
                merged.remove(at);
            }
            (Some("delete"), None) => {}
            (_, Some(at)) => merge_values(typed.item(), &mut merged[at], item)?,
            (_, None) => {
                let mut fresh = Value::Object(Map::new());
                merge_values(typed.item(), &mut fresh, item)?;
                merged.push(fresh);
            }
        }
    }
    Ok(put_in_order(Some(key), merged, patch, &old))
}

fn plain(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(without_directives(map)),
        other => other.clone(),
    }
}

fn without_directives(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter().filter(|(k, v)| !k.starts_with('$') && !v.is_null()).map(|(k, v)| (k.clone(), plain(v))).collect()
}

/// Puts a merged list in order: what `wanted` names comes in its order, the others in theirs, and between the two the
/// list as it was decides where it knows both; else what is wanted comes first.
fn put_in_order(key: Option<&str>, merged: Vec<Value>, wanted: &[Value], before: &[Value]) -> Vec<Value> {
    let same = |a: &Value, b: &Value| match key {
        Some(key) => a.get(key).is_some() && a.get(key) == b.get(key),
        None => a == b,
    };
    let position = |list: &[Value], item: &Value| list.iter().position(|other| same(other, item));
    let (mut named, mut others): (Vec<Value>, Vec<Value>) = merged.into_iter().partition(|item| position(wanted, item).is_some());
    named.sort_by_key(|item| position(wanted, item));
    others.sort_by_key(|item| position(before, item));
    let mut ordered = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let other_first = match (others.peek(), named.peek()) {
            (Some(other), Some(next)) => {
                matches!((position(before, other), position(before, next)), (Some(other), Some(next)) if other < next)
            }
            (Some(_), None) => true,
            (None, _) => false,
        };
        match if other_first { others.next() } else { named.next() } {
            Some(item) => ordered.push(item),
            None => return ordered,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apiserver::resource::BUILTIN;

    fn check_kind(kind: &str, mut target: Value, patch: Value, expected: Value) {
        let definitions = Definitions::builtin();
        let builtin = BUILTIN.iter().find(|builtin| builtin.kind == kind).unwrap();
        merge(&definitions, Some(definitions.root(builtin)), &mut target, &patch).unwrap();
        assert_eq!(target, expected);
    }

    fn check(target: Value, patch: Value, expected: Value) {
        check_kind("Pod", json!({ "spec": target }), json!({ "spec": patch }), json!({ "spec": expected }));
    }

    #[test]
    fn lists_with_a_key_merge_and_others_are_replaced() {
        check(
            json!({ "containers": [{ "name": "a", "image": "1" }, { "name": "b" }], "tolerations": [{ "key": "x" }] }),
            json!({ "containers": [{ "name": "a", "image": "2", "env": [{ "name": "E", "value": "v" }] }],
                "tolerations": [{ "key": "y" }] }),
            json!({ "containers": [{ "name": "a", "image": "2", "env": [{ "name": "E", "value": "v" }] },
                { "name": "b" }], "tolerations": [{ "key": "y" }] }),
        );
        check_kind(
            "Pod",
            json!({ "status": { "conditions": [{ "type": "Ready", "status": "False", "reason": "r" }] } }),
            json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }, { "type": "New", "status": "True" }] } }),
            json!({ "status": { "conditions": [{ "type": "Ready", "status": "True", "reason": "r" },
                { "type": "New", "status": "True" }] } }),
        );
        check_kind(
            "Service",
            json!({ "spec": { "ports": [{ "port": 80, "name": "a" }] } }),
            json!({ "spec": { "ports": [{ "port": 80, "targetPort": 8080 }] } }),
            json!({ "spec": { "ports": [{ "port": 80, "name": "a", "targetPort": 8080 }] } }),
        );
        check_kind(
            "ConfigMap",
            json!({ "data": { "containers": "x" } }),
            json!({ "data": { "y": "z" } }),
            json!({ "data": { "containers": "x", "y": "z" } }),
        );
    }

    #[test]
    fn directives() {
        let containers = |env: Value| json!({ "containers": [{ "name": "c", "env": env }] });
        check(
            containers(json!([{ "name": "A" }, { "name": "B" }])),
            containers(json!([{ "name": "A", "$patch": "delete" }])),
            containers(json!([{ "name": "B" }])),
        );
        check(
            containers(json!([{ "name": "A" }])),
            containers(json!([{ "$patch": "replace" }, { "name": "C" }])),
            containers(json!([{ "name": "C" }])),
        );
        // What a patch names comes first where the old order does not say otherwise.
        check(
            containers(json!([{ "name": "A" }, { "name": "B" }])),
            containers(json!([{ "name": "C" }, { "name": "B", "value": "b" }])),
            containers(json!([{ "name": "C" }, { "name": "A" }, { "name": "B", "value": "b" }])),
        );
        check_kind(
            "Pod",
            json!({ "metadata": { "labels": { "a": "1", "b": "2" } } }),
            json!({ "metadata": { "labels": { "$patch": "replace", "c": "3" } } }),
            json!({ "metadata": { "labels": { "c": "3" } } }),
        );
        check_kind(
            "Pod",
            json!({ "metadata": { "finalizers": ["a", "b"] } }),
            json!({ "metadata": { "$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"] } }),
            json!({ "metadata": { "finalizers": ["c", "b"] } }),
        );
        check_kind(
            "Deployment",
            json!({ "spec": { "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1 } } } }),
            json!({ "spec": { "strategy": { "$retainKeys": ["type"], "type": "Recreate" } } }),
            json!({ "spec": { "strategy": { "type": "Recreate" } } }),
        );
        check(
            json!({ "containers": [{ "name": "a" }, { "name": "b" }] }),
            json!({ "$setElementOrder/containers": [{ "name": "c" }, { "name": "b" }, { "name": "a" }],
                "containers": [{ "name": "c" }] }),
            json!({ "containers": [{ "name": "c" }, { "name": "b" }, { "name": "a" }] }),
        );
    }

    #[test]
    fn a_missing_merge_key_is_named() {
        let definitions = Definitions::builtin();
        let pod = BUILTIN.iter().find(|builtin| builtin.kind == "Pod").unwrap();
        let patch = json!({ "spec": { "containers": [{ "image": "x" }] } });
        let error = merge(&definitions, Some(definitions.root(pod)), &mut json!({}), &patch).unwrap_err();
        assert!(error.contains("merge key: name"), "{error}");
    }
}
