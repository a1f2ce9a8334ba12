//! Strategic merge patch: lists merge by key where the type says so, and `$` directives say more.
//!
//! Which lists merge is a property of the Go types. Field names decide it almost alone, so that a table of names
//! (with the exceptions by what the items hold) stands in for the types.

use serde_json::{Map, Value};

/// The merge key of a list field, by the field's name and its items.
fn merge_key(field: &str, items: &[&Value]) -> Option<&'static str> {
    Some(match field {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "secrets"
        | "resourceClaims"
        | "resourceClaimStatuses"
        | "schedulingGates" => "name",
        "volumeMounts" => "mountPath",
        "volumeDevices" => "devicePath",
        "hostAliases" | "podIPs" | "hostIPs" => "ip",
        "topologySpreadConstraints" => "topologyKey",
        "conditions" | "addresses" => "type",
        "ownerReferences" => "uid",
        // A container's ports merge by containerPort, a Service's by port.
        "ports" if items.iter().any(|item| item.get("containerPort").is_some()) => "containerPort",
        "ports" => "port",
        _ => return None,
    })
}

/// Lists of plain values that merge as sets.
fn merges_as_set(field: &str) -> bool {
    matches!(field, "finalizers" | "podCIDRs")
}

/// Merges `patch` into `target`.
pub fn merge(target: &mut Value, patch: &Value) -> Result<(), String> {
    let Value::Object(patch) = patch else { return Err("a strategic merge patch must be a JSON object".into()) };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return Ok(()) };
    merge_maps(target, patch)
}

fn merge_maps(target: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), String> {
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
    for (key, value) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        match (value, target.get_mut(key)) {
            (Value::Null, _) => {
                target.shift_remove(key);
            }
            (Value::Object(inner), Some(Value::Object(existing))) => {
                merge_maps(existing, inner)?;
                if inner.get("$patch").is_some_and(|directive| directive == "delete") {
                    target.shift_remove(key);
                }
            }
            (Value::Object(inner), _) => {
                let mut fresh = Map::new();
                merge_maps(&mut fresh, inner)?;
                target.insert(key.clone(), Value::Object(fresh));
            }
            (Value::Array(items), existing) => {
                let old = match existing {
                    Some(Value::Array(old)) => std::mem::take(old),
                    _ => Vec::new(),
                };
                target.insert(key.clone(), Value::Array(merge_lists(key, old, items)?));
            }
            (plain, _) => {
                target.insert(key.clone(), plain.clone());
            }
        }
    }
    for (key, order) in patch {
        if let Some(field) = key.strip_prefix("$setElementOrder/") {
            let order = order.as_array().ok_or_else(|| format!("{key} must be a list"))?;
            if let Some(list) = target.get_mut(field).and_then(Value::as_array_mut) {
                sort_as_asked(field, list, order);
            }
        }
    }
    Ok(())
}

fn merge_lists(field: &str, old: Vec<Value>, patch: &[Value]) -> Result<Vec<Value>, String> {
    if patch.iter().any(|item| item.get("$patch").is_some_and(|d| d == "replace")) {
        let kept = patch.iter().filter(|item| item.get("$patch").is_none_or(|d| d != "replace"));
        return Ok(kept.map(plain).collect());
    }
    if merges_as_set(field) {
        let mut merged = old;
        for item in patch {
            if !merged.contains(item) {
                merged.push(item.clone());
            }
        }
        return Ok(merged);
    }
    let items: Vec<&Value> = old.iter().chain(patch).collect();
    let Some(key) = merge_key(field, &items).filter(|_| items.iter().all(|item| item.is_object())) else {
        return Ok(patch.iter().map(plain).collect());
    };
    let mut merged = old;
    for item in patch {
        let identity =
            item.get(key).ok_or_else(|| format!("map: {item} does not contain declared merge key: {key} (in the list {field})"))?;
        let found = merged.iter().position(|other| other.get(key) == Some(identity));
        match (item.get("$patch").and_then(Value::as_str), found) {
            (Some("delete"), Some(at)) => {
                merged.remove(at);
            }
            (Some("delete"), None) => {}
            (_, Some(at)) => merge(&mut merged[at], item)?,
            (_, None) => {
                let mut fresh = Value::Object(Map::new());
                merge(&mut fresh, item)?;
                merged.push(fresh);
            }
        }
    }
    Ok(merged)
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

/// Puts the listed elements in the asked order; others keep their place after the element they followed.
fn sort_as_asked(field: &str, list: &mut [Value], order: &[Value]) {
    let items: Vec<&Value> = list.iter().chain(order).collect();
    let key = merge_key(field, &items);
    let position = |item: &Value| {
        order.iter().position(|wanted| match key {
            Some(key) => wanted.get(key).is_some() && wanted.get(key) == item.get(key),
            None => wanted == item,
        })
    };
    let mut last = 0;
    let mut ranks: Vec<(usize, usize, Value)> = Vec::with_capacity(list.len());
    for (at, item) in list.iter().enumerate() {
        last = position(item).unwrap_or(last);
        ranks.push((last, at, item.clone()));
    }
    ranks.sort_by_key(|(rank, at, _)| (*rank, *at));
    for (slot, (_, _, item)) in list.iter_mut().zip(ranks) {
        *slot = item;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(mut target: Value, patch: Value, expected: Value) {
        merge(&mut target, &patch).unwrap();
        assert_eq!(target, expected);
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
        check(
            json!({ "conditions": [{ "type": "Ready", "status": "False", "reason": "r" }] }),
            json!({ "conditions": [{ "type": "Ready", "status": "True" }, { "type": "New", "status": "True" }] }),
            json!({ "conditions": [{ "type": "Ready", "status": "True", "reason": "r" },
                { "type": "New", "status": "True" }] }),
        );
        check(
            json!({ "ports": [{ "port": 80, "name": "a" }] }),
            json!({ "ports": [{ "port": 80, "targetPort": 8080 }] }),
            json!({ "ports": [{ "port": 80, "name": "a", "targetPort": 8080 }] }),
        );
    }

    #[test]
    fn directives() {
        check(
            json!({ "env": [{ "name": "A" }, { "name": "B" }] }),
            json!({ "env": [{ "name": "A", "$patch": "delete" }] }),
            json!({ "env": [{ "name": "B" }] }),
        );
        check(
            json!({ "env": [{ "name": "A" }] }),
            json!({ "env": [{ "$patch": "replace" }, { "name": "C" }] }),
            json!({ "env": [{ "name": "C" }] }),
        );
        check(
            json!({ "labels": { "a": "1", "b": "2" } }),
            json!({ "labels": { "$patch": "replace", "c": "3" } }),
            json!({ "labels": { "c": "3" } }),
        );
        check(
            json!({ "metadata": { "finalizers": ["a", "b"] } }),
            json!({ "metadata": { "$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"] } }),
            json!({ "metadata": { "finalizers": ["b", "c"] } }),
        );
        check(
            json!({ "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1 } } }),
            json!({ "strategy": { "$retainKeys": ["type"], "type": "Recreate" } }),
            json!({ "strategy": { "type": "Recreate" } }),
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
        let error = merge(&mut json!({}), &json!({ "containers": [{ "image": "x" }] })).unwrap_err();
        assert!(error.contains("merge key: name"), "{error}");
    }
}
