//! What may change in a pod after it was created.

use serde_json::Value;

use crate::apiserver::status::FieldError;

const ALLOWED: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
     `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
     tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Which forbidden changes `new` makes to `old`.
pub fn check(old: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let gated = old["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty());
    let gates = |pod: &Value| pod["spec"]["schedulingGates"].as_array().cloned().unwrap_or_default();
    if gates(new).iter().any(|gate| !gates(old).contains(gate)) {
        errors.push(FieldError::forbidden("spec.schedulingGates", "only deletion is allowed, but found new scheduling gate(s)"));
        return errors;
    }
    let tolerations = |pod: &Value| pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    let kept = |pod: &Value| tolerations(pod).iter().map(without_seconds).collect::<Vec<_>>();
    if tolerations(old).iter().any(|t| !kept(new).contains(&without_seconds(t))) {
        errors.push(FieldError::forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds"));
    }
    if masked(old, gated) != masked(new, gated) {
        errors.push(FieldError::forbidden("spec", ALLOWED));
    } else if gated {
        errors.extend(only_tightened(old, new));
    }
    errors
}

fn without_seconds(toleration: &Value) -> Value {
    let mut toleration = toleration.clone();
    if let Some(map) = toleration.as_object_mut() {
        map.shift_remove("tolerationSeconds");
    }
    toleration
}

/// The spec without what may change.
fn masked(pod: &Value, gated: bool) -> Value {
    let mut spec = pod["spec"].clone();
    if let Some(map) = spec.as_object_mut() {
        for key in ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "schedulingGates"] {
            map.shift_remove(key);
        }
        // A gated pod may still be aimed, but only more narrowly.
        if gated {
            map.shift_remove("nodeSelector");
            if let Some(affinity) = map.get_mut("affinity").and_then(Value::as_object_mut) {
                affinity.shift_remove("nodeAffinity");
            }
            if map.get("affinity").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty) {
                map.shift_remove("affinity");
            }
        }
    }
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(map) = container.as_object_mut() {
                map.shift_remove("image");
                map.shift_remove("imagePullPolicy");
            }
        }
    }
    spec
}

fn only_tightened(old: &Value, new: &Value) -> Option<FieldError> {
    let before = old["spec"]["nodeSelector"].as_object()?;
    let after = &new["spec"]["nodeSelector"];
    before.iter().any(|(key, value)| after[key.as_str()] != *value).then(|| {
        FieldError::invalid("spec.nodeSelector", after, "only additions are allowed to spec.nodeSelector (no mutations or deletions)")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check_change(old: Value, new: Value, allowed: bool) {
        let (old, new) = (json!({ "spec": old }), json!({ "spec": new }));
        assert_eq!(check(&old, &new).is_empty(), allowed, "{old} to {new}");
    }

    #[test]
    fn few_things_may_change() {
        check_change(
            json!({ "containers": [{ "name": "c", "image": "1" }] }),
            json!({ "containers": [{ "name": "c", "image": "2" }] }),
            true,
        );
        check_change(json!({ "nodeName": "" }), json!({ "nodeName": "n" }), false);
        check_change(json!({ "tolerations": [{ "key": "a" }] }), json!({ "tolerations": [] }), false);
        check_change(json!({}), json!({ "tolerations": [{ "key": "a" }] }), true);
    }

    #[test]
    fn gated_pods_may_be_aimed_more_narrowly() {
        let gates = json!([{ "name": "g" }]);
        check_change(json!({ "schedulingGates": gates }), json!({}), true);
        check_change(json!({}), json!({ "schedulingGates": gates }), false);
        check_change(
            json!({ "schedulingGates": gates, "nodeSelector": { "a": "1" } }),
            json!({ "schedulingGates": gates, "nodeSelector": { "a": "1", "b": "2" } }),
            true,
        );
        check_change(
            json!({ "schedulingGates": gates, "nodeSelector": { "a": "1" } }),
            json!({ "schedulingGates": gates, "nodeSelector": { "a": "2" } }),
            false,
        );
        check_change(json!({ "nodeSelector": {} }), json!({ "nodeSelector": { "a": "2" } }), false);
    }
}
