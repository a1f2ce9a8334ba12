//! Admission of pods: namespace's ServiceAccount and its token volume, priority, default tolerations, quality of
//! service, scheduling gates.

use std::fmt::Display;

use placement::units::Quantity;
use serde_json::{Value, json};

use super::{default, items_mut, pod_spec};
use crate::apiserver::status::{ApiError, GroupResource};
use crate::apiserver::verbs::create::random_suffix;
use crate::apiserver::verbs::{Call, now};

/// How long a pod stays on a node that is not ready or not reachable, unless it says otherwise.
const TOLERATION_S: i64 = 300;

/// Lifetime of the token in the kube-api-access volume: one hour, and seven seconds that mark it as the default.
const TOKEN_LIFETIME_S: i64 = 3607;

const TOKEN_MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Defaults and admission of a new pod.
pub fn admit(call: &Call<'_>, name: &str, pod: &mut Value) -> Result<(), ApiError> {
    default(pod, "spec", json!({}));
    let spec = &mut pod["spec"];
    pod_spec::defaults(spec);
    default(spec, "enableServiceLinks", true);
    priority(call, name, spec)?;
    tolerations(spec);
    service_account(call, name, spec)?;
    merge_match_label_keys(pod);
    let mut status = json!({ "phase": "Pending", "qosClass": qos_class(&pod["spec"]) });
    if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        status["conditions"] = json!([{ "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastTransitionTime": now() }]);
    }
    pod["status"] = status;
    Ok(())
}

/// What an update of a pod brings with it: the default tolerations come back.
pub fn readmit(pod: &mut Value) {
    default(pod, "spec", json!({}));
    tolerations(&mut pod["spec"]);
}

fn priority(call: &Call<'_>, name: &str, spec: &mut Value) -> Result<(), ApiError> {
    let pods = GroupResource { group: "", resource: "pods" };
    let classes = call.api.builtin("scheduling.k8s.io", "priorityclasses");
    let wanted = spec["priorityClassName"].as_str().filter(|class| !class.is_empty()).map(str::to_owned);
    let class = match &wanted {
        Some(class) => Some(
            call.api
                .find("scheduling.k8s.io", "priorityclasses", "", class)
                .ok_or_else(|| {
                    let why = format!("no PriorityClass with name {class} was found");
                    ApiError::forbidden(pods, name, &why)
                })?
                .value(),
        ),
        None => {
            let (all, _) = call.api.store.list(&classes.storage, None);
            let defaults = all.iter().map(|o| o.value()).filter(|c| c["globalDefault"] == true);
            defaults.min_by_key(|c| c["value"].as_i64())
        }
    };
    let computed = |what: &str, given: &dyn Display, computed: &dyn Display| {
        let why = format!(
            "{what} ({given}) must not be provided in pod spec; priority admission controller computed {computed} from the given \
             PriorityClass name"
        );
        ApiError::forbidden(pods, name, &why)
    };
    let value = class.as_ref().and_then(|c| c["value"].as_i64()).unwrap_or_default();
    if let Some(given) = spec["priority"].as_i64().filter(|given| *given != value) {
        return Err(computed("the integer value of priority", &given, &value));
    }
    spec["priority"] = value.into();
    if let Some(class) = class {
        spec["priorityClassName"] = class["metadata"]["name"].clone();
        if let Some(policy) = class["preemptionPolicy"].as_str() {
            if let Some(given) = spec["preemptionPolicy"].as_str().filter(|given| *given != policy) {
                return Err(computed("the string value of PreemptionPolicy", &given, &policy));
            }
            spec["preemptionPolicy"] = policy.into();
        }
    }
    default(spec, "preemptionPolicy", "PreemptLowerPriority");
    Ok(())
}

fn tolerations(spec: &mut Value) {
    default(spec, "tolerations", json!([]));
    let Some(list) = spec["tolerations"].as_array_mut() else { return };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = list.iter().any(|t| {
            let this_key = t["key"].as_str().is_none_or(|k| k.is_empty() || k == key);
            let this_effect = t["effect"].as_str().is_none_or(|e| e.is_empty() || e == "NoExecute");
            this_key && this_effect
        });
        if !tolerated {
            list.push(json!({ "key": key, "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": TOLERATION_S }));
        }
    }
}

fn service_account(call: &Call<'_>, name: &str, spec: &mut Value) -> Result<(), ApiError> {
    default(spec, "serviceAccountName", "default");
    let account = spec["serviceAccountName"].as_str().unwrap_or_default().to_owned();
    spec["serviceAccount"] = account.as_str().into();
    let pods = GroupResource { group: "", resource: "pods" };
    let found = call.api.find("", "serviceaccounts", call.namespace, &account).ok_or_else(|| {
        let namespace = call.namespace;
        let why = format!("error looking up service account {namespace}/{account}: serviceaccount \"{account}\" not found");
        ApiError::forbidden(pods, name, &why)
    })?;
    let mount =
        spec["automountServiceAccountToken"].as_bool().or_else(|| found.value()["automountServiceAccountToken"].as_bool()).unwrap_or(true);
    let mounted = |c: &Value| c["volumeMounts"].as_array().into_iter().flatten().any(|m| m["mountPath"] == TOKEN_MOUNT);
    let containers = |spec: &Value| -> Vec<Value> {
        ["initContainers", "containers"].iter().flat_map(|l| spec[*l].as_array().cloned().unwrap_or_default()).collect()
    };
    if !mount || containers(spec).iter().all(mounted) {
        return Ok(());
    }
    let volume = format!("kube-api-access-{}", random_suffix());
    for list in ["initContainers", "containers"] {
        for container in items_mut(spec, list) {
            if !mounted(container) {
                default(container, "volumeMounts", json!([]));
                if let Some(mounts) = container["volumeMounts"].as_array_mut() {
                    mounts.push(json!({ "name": volume, "readOnly": true, "mountPath": TOKEN_MOUNT }));
                }
            }
        }
    }
    default(spec, "volumes", json!([]));
    if let Some(volumes) = spec["volumes"].as_array_mut() {
        volumes.push(json!({ "name": volume, "projected": { "defaultMode": 0o644, "sources": [
            { "serviceAccountToken": { "expirationSeconds": TOKEN_LIFETIME_S, "path": "token" } },
            { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
            { "downwardAPI": { "items": [{ "path": "namespace",
                "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" } }] } }] } }));
    }
    Ok(())
}

/// The server, not the scheduler, turns `matchLabelKeys` into selector terms.
fn merge_match_label_keys(pod: &mut Value) {
    let labels = pod["metadata"]["labels"].clone();
    let merge = |term: &mut Value| {
        for (keys, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
            for key in term[keys].as_array().cloned().unwrap_or_default() {
                let Some(value) = key.as_str().and_then(|key| labels[key].as_str()) else { continue };
                default(term, "labelSelector", json!({}));
                default(&mut term["labelSelector"], "matchExpressions", json!([]));
                let rule = json!({ "key": key, "operator": operator, "values": [value] });
                if let Some(rules) = term["labelSelector"]["matchExpressions"].as_array_mut()
                    && !rules.contains(&rule)
                {
                    rules.push(rule);
                }
            }
        }
        if let Some(map) = term.as_object_mut() {
            map.retain(|_, value| !value.is_null());
        }
    };
    let spec = &mut pod["spec"];
    for constraint in items_mut(spec, "topologySpreadConstraints") {
        merge(constraint);
    }
    let Some(affinity) = spec.get_mut("affinity") else { return };
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(rules) = affinity.get_mut(kind) else { continue };
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        for term in items_mut(rules, required) {
            merge(term);
        }
        let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
        for term in items_mut(rules, preferred) {
            if let Some(term) = term.get_mut("podAffinityTerm") {
                merge(term);
            }
        }
    }
}

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub fn qos_class(spec: &Value) -> &'static str {
    let amount = |set: &Value, name: &str| set[name].as_str().and_then(|text| Quantity::parse(text).ok()).filter(|q| q.milli_value() > 0);
    let lists = ["initContainers", "containers"];
    let containers: Vec<&Value> = lists.iter().flat_map(|l| spec[*l].as_array().into_iter().flatten()).collect();
    let pod_level = spec["resources"].is_object();
    let owners: Vec<&Value> = if pod_level { vec![spec] } else { containers };
    let (mut any, mut guaranteed) = (false, !owners.is_empty());
    for owner in owners {
        for name in ["cpu", "memory"] {
            let request = amount(&owner["resources"]["requests"], name);
            let limit = amount(&owner["resources"]["limits"], name);
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_qos(resources: Value, expected: &str) {
        let spec = json!({ "containers": [{ "name": "c", "resources": resources }] });
        assert_eq!(qos_class(&spec), expected);
    }

    #[test]
    fn quality_of_service() {
        check_qos(json!({}), "BestEffort");
        check_qos(json!({ "requests": { "cpu": "1" } }), "Burstable");
        let both = json!({ "cpu": "1", "memory": "1Gi" });
        check_qos(json!({ "requests": both, "limits": { "cpu": "1000m", "memory": "1Gi" } }), "Guaranteed");
        check_qos(json!({ "requests": { "example.com/gpu": "1" } }), "BestEffort");
    }

    #[test]
    fn default_tolerations_yield_to_given_ones() {
        let mut spec = json!({ "tolerations": [{ "key": "node.kubernetes.io/not-ready", "operator": "Exists" }] });
        tolerations(&mut spec);
        let keys: Vec<&str> = spec["tolerations"].as_array().unwrap().iter().filter_map(|t| t["key"].as_str()).collect();
        assert_eq!(keys, ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]);
    }

    #[test]
    fn match_label_keys_become_selector_terms() {
        let mut pod = json!({ "metadata": { "labels": { "v": "1" } }, "spec": { "topologySpreadConstraints": [
            { "topologyKey": "zone", "matchLabelKeys": ["v", "absent"] }] } });
        merge_match_label_keys(&mut pod);
        let constraint = &pod["spec"]["topologySpreadConstraints"][0];
        assert_eq!(constraint["labelSelector"]["matchExpressions"], json!([{ "key": "v", "operator": "In", "values": ["1"] }]));
        assert!(constraint.get("mismatchLabelKeys").is_none());
    }
}
