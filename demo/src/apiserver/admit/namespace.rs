//! Namespaces: what they contain from the start, and whether they still take new objects.

use serde_json::{Value, json};

use super::default;
use crate::apiserver::api::Api;
use crate::apiserver::resource::Shape;
use crate::apiserver::status::{ApiError, GroupResource};
use crate::apiserver::store::Expect;
use crate::apiserver::verbs::{Call, now};

/// Refuses an object whose namespace does not exist or is going away.
pub fn check_open(call: &Call<'_>, name: &str) -> Result<(), ApiError> {
    if !call.resource.namespaced {
        return Ok(());
    }
    let namespaces = GroupResource { group: "", resource: "namespaces" };
    let namespace = call.api.find("", "namespaces", "", call.namespace).ok_or_else(|| ApiError::not_found(namespaces, call.namespace))?;
    if namespace.field("status.phase") == Some("Terminating") {
        return Err(ApiError::terminating(call.resource.group_resource(), name, call.namespace));
    }
    Ok(())
}

/// The label that every namespace has.
pub fn label(value: &mut Value) {
    let name = value["metadata"]["name"].clone();
    default(&mut value["metadata"], "labels", json!({}));
    value["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
}

/// Label, finalizer and phase of a new namespace.
pub fn defaults(value: &mut Value) {
    label(value);
    default(value, "spec", json!({}));
    value["spec"]["finalizers"] = json!(["kubernetes"]);
    value["status"] = json!({ "phase": "Active" });
}

/// Puts what every namespace has into a new one: the default ServiceAccount and the CA of the server.
pub fn furnish(api: &Api, namespace: &str) {
    let account = json!({});
    let ca = json!({ "data": { "ca.crt": api.authority.pem() } });
    for (plural, name, body) in [("serviceaccounts", "default", account), ("configmaps", "kube-root-ca.crt", ca)] {
        put_simple(api, "", plural, namespace, name, body);
    }
}

/// Stores an object of the server's own, unless it is there.
pub fn put_simple(api: &Api, group: &str, plural: &str, namespace: &str, name: &str, mut value: Value) {
    let resource = api.builtin(group, plural);
    value["apiVersion"] = (*resource.stored_api_version).into();
    value["kind"] = (*resource.kind).into();
    let mut metadata = json!({ "name": name, "uid": uuid::Uuid::new_v4().to_string(), "creationTimestamp": now() });
    if !namespace.is_empty() {
        metadata["namespace"] = namespace.into();
    }
    if let Shape::Builtin(builtin) = &resource.shape
        && builtin.generation
    {
        metadata["generation"] = 1.into();
    }
    value["metadata"] = metadata;
    if plural == "namespaces" {
        defaults(&mut value);
    }
    // Someone else may have made it first, and that is as good.
    let _exists = api.store.put(&resource.storage, namespace, name, Expect::Absent, value);
}
