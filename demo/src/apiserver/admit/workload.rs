//! Defaults and validation of what owns pods.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{default, metadata, pod_rules, pod_spec};
use crate::apiserver::selector::LabelSelector;
use crate::apiserver::status::FieldError;

/// The annotation that counts the templates of a DaemonSet.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

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
    rolling_update(spec, "strategy", &json!({ "maxUnavailable": "25%", "maxSurge": "25%" }));
}

/// A strategy rolls updates out, at the given pace, unless it says otherwise.
fn rolling_update(spec: &mut Value, field: &str, pace: &Value) {
    default(spec, field, json!({}));
    let strategy = &mut spec[field];
    default(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        default(strategy, "rollingUpdate", json!({}));
        for (key, value) in pace.as_object().into_iter().flatten() {
            default(&mut strategy["rollingUpdate"], key, value.clone());
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
    rolling_update(spec, "updateStrategy", &json!({ "partition": 0 }));
}

/// DaemonSets.
pub fn daemon_set(value: &mut Value) {
    template(value);
    let spec = &mut value["spec"];
    default(spec, "revisionHistoryLimit", 10);
    rolling_update(spec, "updateStrategy", &json!({ "maxSurge": 0, "maxUnavailable": 1 }));
    default(&mut value["metadata"], "annotations", json!({}));
    default(&mut value["metadata"]["annotations"], TEMPLATE_GENERATION, "1");
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

/// Counts the templates of a DaemonSet, as annotations of its early versions did.
pub fn count_template(old: &Value, new: &mut Value) {
    let counted = old["metadata"]["annotations"][TEMPLATE_GENERATION].as_str().and_then(|text| text.parse::<i64>().ok());
    let changed = old["spec"]["template"] != new["spec"]["template"];
    default(&mut new["metadata"], "annotations", json!({}));
    new["metadata"]["annotations"][TEMPLATE_GENERATION] = (counted.unwrap_or(1) + i64::from(changed)).to_string().into();
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
    if spec["replicas"].as_i64().is_some_and(|n| n < 0) {
        errors.push(FieldError::invalid("spec.replicas", &spec["replicas"], "must be greater than or equal to 0"));
    }
    let selector = LabelSelector::from_object(&spec["selector"]);
    match &selector {
        None => errors.push(FieldError::required("spec.selector", "")),
        Some(selector) if selector.0.is_empty() => {
            errors.push(FieldError::invalid("spec.selector", &spec["selector"], "empty selector is invalid for deployment"));
        }
        Some(_) => {}
    }
    // No selector selects nothing, and so not the template either.
    if !selector.is_some_and(|selector| selector.matches(|key| labels[key].as_str().map(str::to_owned))) {
        errors.push(FieldError::invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`"));
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
