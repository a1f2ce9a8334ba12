//! Defaults of a pod's spec, in a pod and in a workload's template.

use serde_json::{Value, json};

use super::{default, items_mut};

/// Fills in what the API's types default.
pub fn defaults(spec: &mut Value) {
    default(spec, "restartPolicy", "Always");
    default(spec, "terminationGracePeriodSeconds", 30);
    default(spec, "dnsPolicy", "ClusterFirst");
    default(spec, "securityContext", json!({}));
    default(spec, "schedulerName", "default-scheduler");
    // A ServiceAccount may be named by its deprecated alias; both are kept in step.
    for (from, to) in [("serviceAccountName", "serviceAccount"), ("serviceAccount", "serviceAccountName")] {
        if let Some(name) = spec[from].as_str().filter(|name| !name.is_empty()).map(str::to_owned) {
            default(spec, to, name);
        }
    }
    let host_network = spec["hostNetwork"] == true;
    for list in ["initContainers", "containers"] {
        for container in items_mut(spec, list) {
            container_defaults(container, host_network);
        }
    }
    if let Some(resources) = spec.get_mut("resources") {
        limits_are_requests(resources);
    }
    for volume in items_mut(spec, "volumes") {
        for source in ["configMap", "secret", "projected"] {
            if let Some(source) = volume.get_mut(source) {
                default(source, "defaultMode", 0o644);
            }
        }
        if let Some(source) = volume.get_mut("hostPath") {
            default(source, "type", "");
        }
    }
}

fn container_defaults(container: &mut Value, host_network: bool) {
    default(container, "terminationMessagePath", "/dev/termination-log");
    default(container, "terminationMessagePolicy", "File");
    let image = container["image"].as_str().unwrap_or_default();
    let last = image.rsplit('/').next().unwrap_or_default();
    let latest = !image.contains('@') && (!last.contains(':') || last.ends_with(":latest"));
    default(container, "imagePullPolicy", if latest { "Always" } else { "IfNotPresent" });
    default(container, "resources", json!({}));
    limits_are_requests(&mut container["resources"]);
    for port in items_mut(container, "ports") {
        default(port, "protocol", "TCP");
        if host_network && !port["containerPort"].is_null() {
            let number = port["containerPort"].clone();
            default(port, "hostPort", number);
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(probe) else { continue };
        for (key, value) in [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)] {
            default(probe, key, value);
        }
        if let Some(request) = probe.get_mut("httpGet") {
            default(request, "path", "/");
            default(request, "scheme", "HTTP");
        }
    }
}

/// A limit without a request is a request.
fn limits_are_requests(resources: &mut Value) {
    let Some(limits) = resources["limits"].as_object().cloned() else { return };
    default(resources, "requests", json!({}));
    for (name, amount) in limits {
        default(&mut resources["requests"], &name, amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_fill_what_is_missing_only() {
        let mut spec = json!({ "restartPolicy": "Never", "containers": [
            { "name": "a", "image": "x:1", "ports": [{ "containerPort": 80 }],
              "resources": { "limits": { "cpu": "1", "memory": "1Gi" }, "requests": { "cpu": "500m" } } },
            { "name": "b", "image": "localhost:5000/y" }] });
        defaults(&mut spec);
        assert_eq!(spec["restartPolicy"], "Never");
        assert_eq!(spec["schedulerName"], "default-scheduler");
        assert_eq!(spec["containers"][0]["resources"]["requests"], json!({ "cpu": "500m", "memory": "1Gi" }));
        assert_eq!(spec["containers"][0]["imagePullPolicy"], "IfNotPresent");
        assert_eq!(spec["containers"][0]["ports"][0], json!({ "containerPort": 80, "protocol": "TCP" }));
        assert_eq!(spec["containers"][1]["imagePullPolicy"], "Always");
        assert!(spec.get("resources").is_none() && spec["containers"][1].get("livenessProbe").is_none());
    }
}
