//! What the server adds to and asks of an object before it is stored: admission, defaults, validation.

pub mod config;
pub mod endpoint_slice;
pub mod event;
pub mod lease;
pub mod metadata;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod pod_rules;
pub mod pod_spec;
pub mod pod_updates;
pub mod service;
pub mod workload;

use serde_json::{Value, json};

use super::crd;
use super::resource::{Resource, Shape, View};
use super::status::{ApiError, FieldError};
use super::verbs::Call;
use super::verbs::update::Part;

/// Sets a field unless it is there.
pub fn default(object: &mut Value, key: &str, value: impl Into<Value>) {
    if object[key].is_null() {
        object[key] = value.into();
    }
}

/// The items of a list, without putting a null where there is none, as indexing would.
pub fn items_mut<'a>(object: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

/// What the API's types default, before anything is admitted: fields that belong to whoever left them out.
pub fn type_defaults(call: &Call<'_>, value: &mut Value) {
    match &*call.resource.storage.id {
        _ if matches!(call.resource.shape, Shape::Custom(_)) => {}
        "pods" => {
            default_object(value, "spec");
            pod_spec::defaults(&mut value["spec"]);
            default(&mut value["spec"], "enableServiceLinks", true);
        }
        "namespaces" => namespace::label(value),
        "services" => service::type_defaults(value),
        "customresourcedefinitions.apiextensions.k8s.io" => crd::defaults(value),
        "jobs.batch" => {}
        _ => defaults(call, value),
    }
}

/// Admission and defaults at creation, on the stored form.
pub fn create(call: &Call<'_>, name: &str, value: &mut Value) -> Result<(), ApiError> {
    namespace::check_open(call, name)?;
    let resource = call.resource;
    let keeps_status = match &resource.shape {
        Shape::Builtin(builtin) => builtin.keeps_status || !builtin.status,
        Shape::Custom(_) => !resource.status,
    };
    if !keeps_status && let Some(map) = value.as_object_mut() {
        map.shift_remove("status");
    }
    match &*resource.storage.id {
        _ if matches!(resource.shape, Shape::Custom(_)) => {}
        "pods" => pod::admit(call, name, value)?,
        "namespaces" => namespace::defaults(value),
        "priorityclasses.scheduling.k8s.io" => default(value, "preemptionPolicy", "PreemptLowerPriority"),
        "customresourcedefinitions.apiextensions.k8s.io" => {
            crd::defaults(value);
            crd::submit(value);
        }
        "persistentvolumeclaims" | "persistentvolumes" => value["status"] = json!({ "phase": "Pending" }),
        _ => defaults(call, value),
    }
    complete(call, value);
    Ok(())
}

/// Writes what the type writes even where nobody set it, into a stored form. Events do it in the form in which they came.
pub fn complete(call: &Call<'_>, value: &mut Value) {
    if call.resource.view == View::Stored && matches!(call.resource.shape, Shape::Builtin(_)) {
        call.api.schemas.complete_stored(call.schema(), value);
    }
}

/// Admission and defaults at an update of the main part, on the stored form.
pub fn update(call: &Call<'_>, old: &Value, new: &mut Value) -> Result<(), ApiError> {
    let resource = call.resource;
    match &*resource.storage.id {
        _ if matches!(resource.shape, Shape::Custom(_)) => {}
        "pods" => pod::readmit(new),
        "namespaces" => {
            default_object(new, "spec");
            if call.subresource != "finalize" {
                new["spec"]["finalizers"] = old["spec"]["finalizers"].clone();
            }
        }
        "customresourcedefinitions.apiextensions.k8s.io" => {
            crd::defaults(new);
            crd::establish(new);
        }
        _ => {
            // What the server allotted stays, even where a client sends an object without it.
            match &*resource.storage.id {
                "services" => service::carry(old, new),
                "daemonsets.apps" => workload::count_template(old, new),
                _ => {}
            }
            defaults(call, new);
        }
    }
    Ok(())
}

fn default_object(object: &mut Value, key: &str) {
    default(object, key, json!({}));
}

fn defaults(call: &Call<'_>, value: &mut Value) {
    match &*call.resource.storage.id {
        "services" => service::defaults(call.api, value),
        "deployments.apps" => workload::deployment(value),
        "replicasets.apps" | "replicationcontrollers" => workload::replica_set(value),
        "statefulsets.apps" => workload::stateful_set(value),
        "daemonsets.apps" => workload::daemon_set(value),
        "nodes" => node::defaults(value),
        "endpointslices.discovery.k8s.io" => endpoint_slice::defaults(value),
        "jobs.batch" => workload::job(value),
        "secrets" => {
            workload::merge_string_data(value);
            default(value, "type", "Opaque");
        }
        _ => {}
    }
}

/// What is wrong with the object; `over` holds what it replaces and in which part.
pub fn validate(call: &Call<'_>, value: &Value, over: Option<(&Value, Part)>) -> Vec<FieldError> {
    let resource = call.resource;
    let mut errors = metadata::validate(resource, value);
    if let Shape::Custom(custom) = &resource.shape {
        // A status is judged with the rest, but what is wrong in the other part is not this writer's doing.
        let part = match over {
            Some((_, Part::Status)) => "status",
            _ => "",
        };
        let mut found = call.api.schemas.validate(&custom.schema, value);
        if found.iter().any(FieldError::is_blocking) {
            found.extend(custom.ruled.then(crd::rules::unchecked));
        } else {
            found.extend(crd::rules::broken(&custom.rules, value, over.map(|(old, _)| old)));
        }
        errors.extend(found.into_iter().filter(|e| part.is_empty() || e.field.starts_with(part)));
        return errors;
    }
    if matches!(over, Some((_, Part::Status))) {
        return errors;
    }
    match &*resource.storage.id {
        "configmaps" | "secrets" => errors.extend(config::validate(value)),
        "leases.coordination.k8s.io" => errors.extend(lease::validate(value)),
        "nodes" => errors.extend(node::validate(value)),
        "endpointslices.discovery.k8s.io" => errors.extend(endpoint_slice::validate(value, call.api.loopback_endpoints)),
        "events" => errors.extend(event::validate(value, resource.view == View::Events, over.map(|(old, _)| old))),
        "pods" => errors.extend(pod_rules::spec(&value["spec"], "spec")),
        "deployments.apps" | "replicasets.apps" | "statefulsets.apps" | "daemonsets.apps" => {
            errors.extend(workload::validate(value));
        }
        "services" => {
            errors.extend(service::validate(value));
            if over.is_none() {
                errors.extend(service::refused_address(call.api, value));
            }
        }
        "customresourcedefinitions.apiextensions.k8s.io" => errors.extend(crd::validate(value)),
        _ => {}
    }
    errors
}

/// Which immutable fields an update touches.
pub fn immutable(call: &Call<'_>, old: &Value, new: &Value) -> Vec<FieldError> {
    let resource = call.resource;
    match &*resource.storage.id {
        "pods" => return pod_updates::check(old, new),
        "configmaps" | "secrets" => return config::immutable(old, new),
        "services" => return service::immutable(old, new),
        _ => {}
    }
    let fixed: &[&str] = match &*resource.storage.id {
        _ if !matches!(resource.shape, Shape::Builtin(_)) => &[],
        "deployments.apps" | "replicasets.apps" | "daemonsets.apps" => &["spec.selector"],
        "statefulsets.apps" => &["spec.selector", "spec.serviceName", "spec.podManagementPolicy"],
        "jobs.batch" => &["spec.template", "spec.selector", "spec.completionMode"],
        "priorityclasses.scheduling.k8s.io" => &["value", "preemptionPolicy"],
        "storageclasses.storage.k8s.io" => &["provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"],
        "endpointslices.discovery.k8s.io" => &["addressType"],
        _ => &[],
    };
    let at = |value: &Value, path: &str| value.pointer(&format!("/{}", path.replace('.', "/"))).cloned();
    fixed
        .iter()
        .filter(|path| at(old, path) != at(new, path))
        .map(|path| {
            // The real server judges the address type of slices by a rule that does not tell the value.
            let value = if *path == "addressType" { Value::Null } else { at(new, path).unwrap_or_default() };
            FieldError::invalid(*path, &value, "field is immutable")
        })
        .collect()
}

/// Whether the object of a custom resource is namespaced where a namespace is given, and the other way round.
pub fn scope_matches(resource: &Resource, namespace: Option<&str>) -> bool {
    resource.namespaced || namespace.is_none()
}
