//! `pods/binding`: a pod gets its node, once.

use http::StatusCode;
use serde_json::{Value, json};

use crate::apiserver::status::{ApiError, FieldError, GroupResource};
use crate::apiserver::store::Binding;
use crate::apiserver::verbs::{Call, Reply, now};

/// Labels that a pod takes over from its node.
const TOPOLOGY_LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

const BINDING: GroupResource<'_> = GroupResource { group: "", resource: "pods/binding" };

impl Call<'_> {
    /// Binds a pod; `name` is absent for `POST bindings`, where the body names the pod. The call's resource is pods.
    pub fn bind(&self, name: Option<&str>, body: &[u8]) -> Result<Reply, ApiError> {
        let binding = self.decode_as("io.k8s.api.core.v1.Binding", body)?;
        let metadata = &binding["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let named = text(&metadata["name"]);
        let name = name.map_or_else(|| named.clone(), str::to_owned);
        if !named.is_empty() && named != name {
            return Err(ApiError::bad_request("name in URL does not match name in Binding object"));
        }
        let target = &binding["target"];
        let node = text(&target["name"]);
        let mut errors = Vec::new();
        if !matches!(target["kind"].as_str().unwrap_or_default(), "" | "Node") {
            errors.push(FieldError::unsupported("target.kind", &target["kind"], &["Node".to_owned(), "<empty>".to_owned()]));
        }
        if node.is_empty() {
            errors.push(FieldError::required("target.name", ""));
        }
        if !errors.is_empty() {
            // The real server expects no such binding, and answers without a reason.
            let listed: Vec<String> = errors.iter().map(FieldError::to_string).collect();
            let text = if let [one] = listed.as_slice() { one.clone() } else { format!("[{}]", listed.join(", ")) };
            return Err(ApiError::unexplained(text));
        }
        let (uid, version) = (text(&metadata["uid"]), text(&metadata["resourceVersion"]));
        let pod = self.change(&name, |current, pod| {
            let refuse = |why: String| Err(ApiError::conflict(BINDING, &name, &why));
            if !uid.is_empty() && uid != *current.uid {
                return Err(self.other_uid(current, &uid));
            }
            if !version.is_empty() && version.parse() != Ok(current.rv) {
                let difference = format!("ResourceVersion in precondition: {version}, ResourceVersion in object meta: {}", current.rv);
                return Err(self.other_object(current, &difference));
            }
            if pod["metadata"]["deletionTimestamp"].is_string() {
                return refuse(format!("pod {name} is being deleted, cannot be assigned to a host"));
            }
            if let Some(node) = pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()) {
                return refuse(format!("pod {name} is already assigned to node {node:?}"));
            }
            if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
                return refuse(format!("pod {name} has non-empty .spec.schedulingGates"));
            }
            Ok(Some(self.bound(pod, &node, metadata)))
        })?;
        if !self.dry_run() {
            self.api.store.report_bound(Binding {
                namespace: self.namespace.to_owned(),
                name,
                uid: pod.uid.to_string(),
                node,
                user: self.user.user.clone(),
                rv: pod.rv,
                at: jiff::Timestamp::now(),
            });
        }
        let done = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
        Ok(Reply::Document(StatusCode::CREATED, done))
    }

    /// The pod on its node.
    fn bound(&self, mut pod: Value, node: &str, binding: &Value) -> Value {
        pod["spec"]["nodeName"] = node.into();
        for key in ["annotations", "labels"] {
            for (name, value) in binding[key].as_object().into_iter().flatten() {
                pod["metadata"][key][name.as_str()] = value.clone();
            }
        }
        if let Some(found) = self.api.find("", "nodes", "", node) {
            for label in TOPOLOGY_LABELS {
                if let Some(value) = found.label(label) {
                    pod["metadata"]["labels"][label] = value.into();
                }
            }
        }
        let status = &mut pod["status"];
        if let Some(map) = status.as_object_mut() {
            map.shift_remove("nominatedNodeName");
        }
        set_condition(status, json!({ "type": "PodScheduled", "status": "True" }));
        pod
    }
}

/// Puts a condition in place of the one of its type; the time moves only when the status does.
pub fn set_condition(status: &mut Value, mut condition: Value) {
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else { return };
    condition["lastProbeTime"] = Value::Null;
    condition["lastTransitionTime"] = now().into();
    match conditions.iter_mut().find(|c| c["type"] == condition["type"]) {
        Some(found) => {
            if found["status"] == condition["status"] && found["lastTransitionTime"].is_string() {
                condition["lastTransitionTime"] = found["lastTransitionTime"].clone();
            }
            *found = condition;
        }
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_replaces_its_like() {
        let mut status = json!({ "conditions": [
            { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "lastTransitionTime": "t" },
            { "type": "Ready", "status": "False", "lastTransitionTime": "t" }] });
        set_condition(&mut status, json!({ "type": "PodScheduled", "status": "True" }));
        set_condition(&mut status, json!({ "type": "Ready", "status": "False", "reason": "r" }));
        assert_eq!(status["conditions"][0].get("reason"), None);
        assert_ne!(status["conditions"][0]["lastTransitionTime"], "t");
        assert_eq!(status["conditions"][1]["lastTransitionTime"], "t");
    }
}
