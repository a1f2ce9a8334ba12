//! Validation of pod specs: what a scheduler or kubelet could not make sense of.

use placement::units::Quantity;
use serde_json::Value;

use super::metadata::{label_1123, label_value, qualified_name, subdomain_1123};
use crate::apiserver::status::FieldError;

/// What is wrong with the pod spec at the given path.
pub fn spec(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let containers = spec["containers"].as_array();
    if containers.is_none_or(Vec::is_empty) {
        errors.push(FieldError::required(format!("{path}.containers"), ""));
    }
    let mut names: Vec<&str> = Vec::new();
    for list in ["initContainers", "containers"] {
        for (at, container) in spec[list].as_array().into_iter().flatten().enumerate() {
            let here = format!("{path}.{list}[{at}]");
            container_rules(container, &here, &mut names, &mut errors);
            mounts(container, &spec["volumes"], &here, &mut errors);
        }
    }
    resources(&spec["resources"], &format!("{path}.resources"), &mut errors);
    accepted(spec, path, "restartPolicy", &["Always", "OnFailure", "Never"], &mut errors);
    accepted(spec, path, "dnsPolicy", &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"], &mut errors);
    accepted(spec, path, "preemptionPolicy", &["PreemptLowerPriority", "Never"], &mut errors);
    if let Some(why) = spec["nodeName"].as_str().filter(|n| !n.is_empty()).and_then(subdomain_1123) {
        errors.push(FieldError::invalid(format!("{path}.nodeName"), &spec["nodeName"], why));
    }
    if spec["nodeName"].as_str().is_some_and(|n| !n.is_empty()) && spec["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty())
    {
        errors.push(FieldError::forbidden(format!("{path}.nodeName"), "cannot be set until all schedulingGates have been cleared"));
    }
    for (key, value) in spec["nodeSelector"].as_object().into_iter().flatten() {
        let field = format!("{path}.nodeSelector");
        if let Some(why) = qualified_name(key) {
            errors.push(FieldError::invalid(&field, &Value::from(key.as_str()), &why));
        }
        if let Some(why) = value.as_str().and_then(label_value) {
            errors.push(FieldError::invalid(&field, value, why));
        }
    }
    for (at, toleration) in spec["tolerations"].as_array().into_iter().flatten().enumerate() {
        tolerations(toleration, &format!("{path}.tolerations[{at}]"), &mut errors);
    }
    node_affinity(&spec["affinity"]["nodeAffinity"], &format!("{path}.affinity.nodeAffinity"), &mut errors);
    for (at, constraint) in spec["topologySpreadConstraints"].as_array().into_iter().flatten().enumerate() {
        let here = format!("{path}.topologySpreadConstraints[{at}]");
        if constraint["maxSkew"].as_i64().unwrap_or_default() <= 0 {
            let field = format!("{here}.maxSkew");
            errors.push(FieldError::invalid(field, &constraint["maxSkew"], "must be greater than zero"));
        }
        if constraint["topologyKey"].as_str().unwrap_or_default().is_empty() {
            errors.push(FieldError::required(format!("{here}.topologyKey"), "can not be empty"));
        }
        accepted(constraint, &here, "whenUnsatisfiable", &["DoNotSchedule", "ScheduleAnyway"], &mut errors);
    }
    errors
}

fn container_rules<'a>(container: &'a Value, here: &str, names: &mut Vec<&'a str>, errors: &mut Vec<FieldError>) {
    let name = container["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        errors.push(FieldError::required(format!("{here}.name"), ""));
    } else if let Some(why) = label_1123(name) {
        errors.push(FieldError::invalid(format!("{here}.name"), &container["name"], why));
    } else if names.contains(&name) {
        errors.push(FieldError::duplicate(format!("{here}.name"), &container["name"]));
    }
    names.push(name);
    if container["image"].as_str().unwrap_or_default().is_empty() {
        errors.push(FieldError::required(format!("{here}.image"), ""));
    }
    for (at, port) in container["ports"].as_array().into_iter().flatten().enumerate() {
        for key in ["containerPort", "hostPort"] {
            let required = key == "containerPort";
            match port[key].as_i64() {
                Some(1..=65535) => {}
                None if !required => {}
                None => errors.push(FieldError::required(format!("{here}.ports[{at}].{key}"), "")),
                Some(0) if !required => {}
                Some(_) => errors.push(FieldError::invalid(
                    format!("{here}.ports[{at}].{key}"),
                    &port[key],
                    "must be between 1 and 65535, inclusive",
                )),
            }
        }
    }
    accepted(container, here, "imagePullPolicy", &["Always", "IfNotPresent", "Never"], errors);
    resources(&container["resources"], &format!("{here}.resources"), errors);
}

/// What a container mounts has to be a volume of its pod.
fn mounts(container: &Value, volumes: &Value, here: &str, errors: &mut Vec<FieldError>) {
    for (at, mount) in container["volumeMounts"].as_array().into_iter().flatten().enumerate() {
        let field = format!("{here}.volumeMounts[{at}].name");
        if mount["name"].as_str().is_none_or(str::is_empty) {
            errors.push(FieldError::required(field, ""));
        } else if !volumes.as_array().into_iter().flatten().any(|volume| volume["name"] == mount["name"]) {
            errors.push(FieldError::not_found(field, &mount["name"]));
        }
    }
}

fn resources(resources: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for list in ["requests", "limits"] {
        for (name, amount) in resources[list].as_object().into_iter().flatten() {
            let field = format!("{path}.{list}[{name}]");
            let text = amount.as_str().unwrap_or_default();
            match Quantity::parse(text) {
                Err(error) => errors.push(FieldError::invalid(&field, amount, &error.to_string())),
                Ok(quantity) => {
                    if quantity.milli_value() < 0 {
                        errors.push(FieldError::invalid(&field, amount, "must be greater than or equal to 0"));
                    }
                    if name.contains('/') && quantity.milli_value() % 1000 != 0 {
                        errors.push(FieldError::invalid(&field, amount, "must be an integer"));
                    }
                }
            }
            if let Some(why) = qualified_name(name) {
                errors.push(FieldError::invalid(&field, &Value::from(name.as_str()), &why));
            }
        }
    }
    for (name, request) in resources["requests"].as_object().into_iter().flatten() {
        let parse = |v: &Value| v.as_str().and_then(|text| Quantity::parse(text).ok());
        let (Some(wanted), Some(limit)) = (parse(request), parse(&resources["limits"][name.as_str()])) else {
            continue;
        };
        let field = format!("{path}.requests");
        if wanted > limit {
            let why = format!(
                "must be less than or equal to {name} limit of {}",
                resources["limits"][name.as_str()].as_str().unwrap_or_default()
            );
            errors.push(FieldError::invalid(&field, request, &why));
        } else if name.contains('/') && wanted != limit {
            let why = format!("must be equal to {name} limit");
            errors.push(FieldError::invalid(&field, request, &why));
        }
    }
}

fn accepted(object: &Value, path: &str, key: &str, values: &[&str], errors: &mut Vec<FieldError>) {
    if let Some(found) = object[key].as_str()
        && !values.contains(&found)
    {
        let supported: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
        errors.push(FieldError::unsupported(format!("{path}.{key}"), &object[key], &supported));
    }
}

fn tolerations(toleration: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let key = toleration["key"].as_str().unwrap_or_default();
    let operator = toleration["operator"].as_str().filter(|o| !o.is_empty()).unwrap_or("Equal");
    if key.is_empty() && operator != "Exists" {
        let field = format!("{path}.operator");
        let value = Value::from(operator);
        errors.push(FieldError::invalid(
            field,
            &value,
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        ));
    }
    if !key.is_empty()
        && let Some(why) = qualified_name(key)
    {
        errors.push(FieldError::invalid(format!("{path}.key"), &toleration["key"], &why));
    }
    if !matches!(operator, "Exists" | "Equal" | "Gt" | "Lt") {
        let supported = ["Equal", "Exists"].map(str::to_owned);
        errors.push(FieldError::unsupported(format!("{path}.operator"), &toleration["operator"], &supported));
    }
    let effects = ["", "NoSchedule", "PreferNoSchedule", "NoExecute"];
    accepted(toleration, path, "effect", &effects, errors);
}

fn node_affinity(affinity: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let terms = &affinity[required]["nodeSelectorTerms"];
    if affinity[required].is_object() && terms.as_array().is_none_or(Vec::is_empty) {
        let field = format!("{path}.{required}.nodeSelectorTerms");
        errors.push(FieldError::required(field, "must have at least one node selector term"));
    }
    for (at, term) in terms.as_array().into_iter().flatten().enumerate() {
        for (of, rule) in term["matchExpressions"].as_array().into_iter().flatten().enumerate() {
            let here = format!("{path}.{required}.nodeSelectorTerms[{at}].matchExpressions[{of}]");
            let operators = ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];
            let count = rule["values"].as_array().map_or(0, Vec::len);
            match rule["operator"].as_str().unwrap_or_default() {
                "In" | "NotIn" if count == 0 => {
                    errors.push(FieldError::required(format!("{here}.values"), "must be specified when `operator` is 'In' or 'NotIn'"))
                }
                "Exists" | "DoesNotExist" if count > 0 => errors.push(FieldError::forbidden(
                    format!("{here}.values"),
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                )),
                "Gt" | "Lt" if count != 1 => errors
                    .push(FieldError::required(format!("{here}.values"), "must be specified single value when `operator` is 'Lt' or 'Gt'")),
                operator if !operators.contains(&operator) => {
                    errors.push(FieldError::invalid(format!("{here}.operator"), &rule["operator"], "not a valid selector operator"));
                }
                _ => {}
            }
            if let Some(why) = qualified_name(rule["key"].as_str().unwrap_or_default()) {
                errors.push(FieldError::invalid(format!("{here}.key"), &rule["key"], &why));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(mut extra: Value, expected: &[&str]) {
        let mut pod = json!({ "containers": [{ "name": "c", "image": "i" }] });
        for (key, value) in extra.as_object_mut().unwrap() {
            pod[key.as_str()] = value.take();
        }
        let found: Vec<String> = spec(&pod, "spec").iter().map(FieldError::to_string).collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found} should start with {expected}");
        }
    }

    #[test]
    fn pod_specs() {
        check(json!({}), &[]);
        check(json!({ "containers": [] }), &["spec.containers: Required value"]);
        check(
            json!({ "containers": [{ "name": "C" }] }),
            &["spec.containers[0].name: Invalid value: \"C\"", "spec.containers[0].image: Required value"],
        );
        check(
            json!({ "containers": [{ "name": "c", "image": "i", "imagePullPolicy": "Maybe", "volumeMounts": [{ "name": "v" }, { "name": "w" }] }],
                "volumes": [{ "name": "v" }] }),
            &[
                "spec.containers[0].imagePullPolicy: Unsupported value: \"Maybe\"",
                "spec.containers[0].volumeMounts[1].name: Not found: \"w\"",
            ],
        );
        check(json!({ "restartPolicy": "Maybe" }), &["spec.restartPolicy: Unsupported value: \"Maybe\""]);
        check(
            json!({ "resources": { "requests": { "cpu": "2" }, "limits": { "cpu": "1" } } }),
            &["spec.resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"],
        );
        check(json!({ "resources": { "requests": { "cpu": "much" } } }), &["spec.resources.requests[cpu]: Invalid value: \"much\""]);
        check(
            json!({ "nodeName": "n", "schedulingGates": [{ "name": "g" }] }),
            &["spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"],
        );
        check(json!({ "tolerations": [{ "value": "x" }] }), &["spec.tolerations[0].operator: Invalid value"]);
    }
}
