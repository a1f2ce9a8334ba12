//! Defaults and validation of what owns pods.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{default, metadata, pod_rules, pod_spec};
use crate::apiserver::selector::LabelSelector;
use crate::apiserver::status::FieldError;

fn template(value: &mut Value) {
    default(value, "spec", json!({}));
    if value["spec"]["template"].is_object() {
        default(&mut value["spec"]["template"], "spec", json!({}));
        pod_spec::defaults(&mut value["spec"]["template"]["spec"]);
    }
}

/// Deployments.
pub fn deployment(value: &mut Value) {
    template(value);
    let spec = &mut value["spec"];
    default(spec, "replicas", 1);
    default(spec, "revisionHistoryLimit", 10);
    default(spec, "progressDeadlineSeconds", 600);
    default(spec, "strategy", json!({}));
    default(&mut spec["strategy"], "type", "RollingUpdate");
    if spec["strategy"]["type"] == "RollingUpdate" {
        default(&mut spec["strategy"], "rollingUpdate", json!({}));
        for key in ["maxUnavailable", "maxSurge"] {
            default(&mut spec["strategy"]["rollingUpdate"], key, "25%");
        }
    }
}

/// ReplicaSets and ReplicationControllers.
pub fn replica_set(value: &mut Value) {
    template(value);
    default(&mut value["spec"], "replicas", 1);
}

/// StatefulSets.
pub fn stateful_set(value: &mut Value) {
    template(value);
    let spec = &mut value["spec"];
    default(spec, "replicas", 1);
    default(spec, "revisionHistoryLimit", 10);
    default(spec, "podManagementPolicy", "OrderedReady");
    let strategy = json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } });
    default(spec, "updateStrategy", strategy);
}

/// DaemonSets.
pub fn daemon_set(value: &mut Value) {
    template(value);
    let spec = &mut value["spec"];
    default(spec, "revisionHistoryLimit", 10);
    let strategy = json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 0, "maxUnavailable": 1 } });
    default(spec, "updateStrategy", strategy);
}

/// Jobs, whose selector the server makes up.
pub fn job(value: &mut Value) {
    template(value);
    let (uid, name) = (value["metadata"]["uid"].clone(), value["metadata"]["name"].clone());
    let spec = &mut value["spec"];
    for key in ["parallelism", "completions"] {
        default(spec, key, 1);
    }
    default(spec, "backoffLimit", 6);
    default(spec, "completionMode", "NonIndexed");
    default(spec, "suspend", false);
    if spec["selector"].is_null() && spec["template"].is_object() {
        let labels = json!({ "batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name });
        spec["selector"] = json!({ "matchLabels": { "batch.kubernetes.io/controller-uid": uid } });
        default(&mut spec["template"], "metadata", json!({}));
        default(&mut spec["template"]["metadata"], "labels", json!({}));
        for (key, value) in labels.as_object().into_iter().flatten() {
            spec["template"]["metadata"]["labels"][key.as_str()] = value.clone();
        }
    }
}

/// Secrets take plain text and keep it as base64.
pub fn merge_string_data(secret: &mut Value) {
    let Some(Value::Object(plain)) = secret.as_object_mut().and_then(|map| map.shift_remove("stringData")) else {
        return;
    };
    default(secret, "data", json!({}));
    for (key, value) in plain {
        secret["data"][key.as_str()] = STANDARD.encode(value.as_str().unwrap_or_default()).into();
    }
}

/// What is wrong with a workload that has a selector and a template.
pub fn validate(value: &Value) -> Vec<FieldError> {
    let spec = &value["spec"];
    let mut errors = Vec::new();
    let labels = &spec["template"]["metadata"]["labels"];
    match LabelSelector::from_object(&spec["selector"]) {
        None => errors.push(FieldError::required("spec.selector", "")),
        Some(selector) if selector.0.is_empty() => {
            errors.push(FieldError::invalid("spec.selector", &spec["selector"], "empty selector is invalid for deployment"));
        }
        Some(selector) if !selector.matches(|key| labels[key].as_str().map(str::to_owned)) => {
            errors.push(FieldError::invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`"));
        }
        Some(_) => {}
    }
    if spec["replicas"].as_i64().is_some_and(|n| n < 0) {
        errors.push(FieldError::invalid("spec.replicas", &spec["replicas"], "must be greater than or equal to 0"));
    }
    errors.extend(metadata::labels(labels, "spec.template.labels"));
    errors.extend(pod_rules::spec(&spec["template"]["spec"], "spec.template.spec"));
    if let Some(policy) = spec["template"]["spec"]["restartPolicy"].as_str().filter(|p| *p != "Always") {
        errors.push(FieldError::unsupported("spec.template.spec.restartPolicy", &Value::from(policy), &["Always".to_owned()]));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_gets_its_defaults_and_is_judged() {
        let mut value = json!({ "spec": { "selector": { "matchLabels": { "a": "b" } }, "template": {
            "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } } } });
        deployment(&mut value);
        assert_eq!(value["spec"]["replicas"], 1);
        assert_eq!(value["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%");
        assert_eq!(validate(&value), []);
        value["spec"]["template"]["metadata"]["labels"]["a"] = "c".into();
        assert_eq!(validate(&value)[0].field, "spec.template.metadata.labels");
    }

    #[test]
    fn string_data_is_encoded() {
        let mut secret = json!({ "stringData": { "k": "v" } });
        merge_string_data(&mut secret);
        assert_eq!(secret, json!({ "data": { "k": "dg==" } }));
    }
}
