//! Namespaces: what they contain from the start, and whether they still take new objects.

use serde_json::{Value, json};

use super::default;
use crate::apiserver::api::Api;
use crate::apiserver::fields::{Manager, first_managers};
use crate::apiserver::resource::Shape;
use crate::apiserver::schema::Typed;
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
    const CONTROLLERS: &str = "kube-controller-manager";
    let ca = json!({ "metadata": { "annotations": { "kubernetes.io/description": "The authority of the API server's certificate." } },
        "data": { "ca.crt": api.authority.pem() } });
    put_own(api, CONTROLLERS, ("", "serviceaccounts"), (namespace, "default"), json!({}));
    put_own(api, CONTROLLERS, ("", "configmaps"), (namespace, "kube-root-ca.crt"), ca);
}

/// Stores an object of the server's own, made by one of its parts, unless it is there. `kind` is group and plural, `place` namespace and name.
pub fn put_own(api: &Api, part: &str, kind: (&str, &str), place: (&str, &str), mut value: Value) {
    let resource = api.builtin(kind.0, kind.1);
    let Shape::Builtin(builtin) = &resource.shape else { return };
    let (namespace, name) = place;
    value["apiVersion"] = (*resource.stored_api_version).into();
    value["kind"] = (*resource.kind).into();
    default(&mut value, "metadata", json!({}));
    let metadata = &mut value["metadata"];
    metadata["name"] = name.into();
    if !namespace.is_empty() {
        metadata["namespace"] = namespace.into();
    }
    metadata["uid"] = uuid::Uuid::new_v4().to_string().into();
    metadata["creationTimestamp"] = now().into();
    if builtin.generation {
        metadata["generation"] = 1.into();
    }
    if kind.1 == "namespaces" {
        label(&mut value);
    }
    let schema = api.schemas.root(builtin);
    api.schemas.complete(schema, &mut value);
    if api.track_fields {
        let typed = Typed::root(&api.schemas, Some(schema), false);
        let managers = first_managers(typed, &value, Manager::updater(part, &resource.api_version()));
        if !managers.0.is_empty() {
            value["metadata"]["managedFields"] = managers.into_value();
        }
    }
    if kind.1 == "namespaces" {
        defaults(&mut value);
    }
    // Someone else may have made it first, and that is as good.
    let _exists = api.store.put(&resource.storage, namespace, name, Expect::Absent, value);
}
