//! `update`, of the object and of its status.

use http::StatusCode;
use serde_json::Value;

use super::apply::take_managers;
use super::{Call, Reply};
use crate::apiserver::admit;
use crate::apiserver::resource::Shape;
use crate::apiserver::status::{ApiError, FieldError};
use crate::apiserver::store::{Expect, Object, WriteError};

/// Which part of the object a write is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All but the status, where that is a subresource.
    Main,
    /// The status.
    Status,
}

/// Metadata that only the server writes.
const SERVER_METADATA: [&str; 8] =
    ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "resourceVersion"];

impl Call<'_> {
    /// Replaces the object (or its status) by the one in `body`.
    pub fn update(&self, name: &str, part: Part, body: &[u8]) -> Result<Reply, ApiError> {
        let value = self.decode(body)?;
        self.check_place(name, &value)?;
        loop {
            let current = self.find(name)?;
            let asked = self.check_identity(name, &current, &value)?;
            match self.replace(&current, value.clone(), part)? {
                Ok(reply) => return Ok(reply),
                Err(()) if asked => return Err(ApiError::modified(self.resource.group_resource(), name)),
                Err(()) => {}
            }
        }
    }

    /// Checks that the object says of itself what the path says.
    fn check_place(&self, name: &str, value: &Value) -> Result<(), ApiError> {
        let text = |key: &str| value["metadata"][key].as_str().unwrap_or_default();
        if text("name") != name {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({}) does not match the name on the URL ({name})",
                text("name"),
            )));
        }
        if self.resource.namespaced && !matches!(text("namespace"), "") && text("namespace") != self.namespace {
            return Err(ApiError::bad_request("the namespace of the provided object does not match the namespace sent on the request"));
        }
        Ok(())
    }

    /// Checks UID and resourceVersion of an update; says whether it named a resourceVersion.
    fn check_identity(&self, name: &str, current: &Object, value: &Value) -> Result<bool, ApiError> {
        let text = |key: &str| value["metadata"][key].as_str().unwrap_or_default();
        if !text("uid").is_empty() && text("uid") != &*current.uid {
            return Err(self.other_uid(current, text("uid")));
        }
        let version = text("resourceVersion");
        if matches!(version, "" | "0") {
            let needed = match &self.resource.shape {
                Shape::Builtin(builtin) => builtin.needs_version,
                Shape::Custom(_) => true,
            };
            if needed {
                // Here the real server names the resource, not the kind.
                return Err(ApiError::invalid(&self.resource.group, &self.resource.plural, name, &[FieldError::unset_version()]));
            }
            return Ok(false);
        }
        let asked: u64 =
            version.parse().map_err(|_| ApiError::unexplained(format!("strconv.ParseUint: parsing \"{version}\": invalid syntax")))?;
        if asked != current.rv {
            return Err(ApiError::modified(self.resource.group_resource(), name));
        }
        Ok(true)
    }

    /// 409 for a write of an object with another UID.
    pub fn other_uid(&self, current: &Object, uid: &str) -> ApiError {
        self.other_object(current, &format!("UID in precondition: {uid}, UID in object meta: {}", current.uid))
    }

    /// 409 for a write of an object that is not the one that is meant, in the words of the storage behind the real server.
    pub fn other_object(&self, current: &Object, difference: &str) -> ApiError {
        let group = if matches!(self.resource.shape, Shape::Custom(_)) { format!("{}/", self.resource.group) } else { String::new() };
        let namespace = if self.namespace.is_empty() { String::new() } else { format!("{}/", self.namespace) };
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{group}{}/{namespace}{}, ResourceVersion: 0, \
             AdditionalErrorMsg: Precondition failed: {difference}",
            self.resource.plural, current.name,
        );
        ApiError::conflict(self.resource.group_resource(), &current.name, &why)
    }

    /// Stores the new served value over the current object. The inner error says that someone else wrote first.
    pub fn replace(&self, current: &Object, value: Value, part: Part) -> Result<Result<Reply, ()>, ApiError> {
        self.replace_with(current, value, part, false)
    }

    /// The same; where the value is `owned`, its managers are what they should be.
    pub(super) fn replace_with(&self, current: &Object, value: Value, part: Part, owned: bool) -> Result<Result<Reply, ()>, ApiError> {
        let old = current.value();
        let mut new = self.resource.to_stored(value);
        self.carry(&old, &mut new, part);
        if part == Part::Main {
            admit::update(self, &old, &mut new)?;
        }
        let managers = if owned { take_managers(&mut new) } else { self.next_managers(&old, &mut new, part) };
        set_or_remove(&mut new["metadata"], "managedFields", &managers);
        admit::complete(self, &mut new);
        let mut errors = admit::validate(self, &new, Some((&old, part)));
        if part == Part::Main {
            errors.extend(admit::metadata::added_finalizers(&old, &new));
            errors.extend(admit::immutable(self, &old, &new));
        }
        if !errors.is_empty() {
            return Err(self.invalid(&current.name, &errors));
        }
        if part == Part::Main && self.resource.generation && spec_of(&old) != spec_of(&new) {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or_default() + 1;
            new["metadata"]["generation"] = generation.into();
        }
        if self.finalized(&new) {
            let gone = self.remove_now(current, true).map(|_| Reply::Served(StatusCode::OK, self.resource.to_served(new)));
            return Ok(gone.map_err(|_| ()));
        }
        if old == new {
            return Ok(Ok(Reply::Served(StatusCode::OK, self.resource.to_served(old))));
        }
        if self.dry_run() {
            return Ok(Ok(Reply::Served(StatusCode::OK, self.resource.to_served(new))));
        }
        match self.store(&current.name, Expect::Version(current.rv), new) {
            Ok(object) => {
                if self.resource.is("customresourcedefinitions.apiextensions.k8s.io") {
                    self.api.serve_custom(&object.value());
                }
                Ok(Ok(Reply::Object(StatusCode::OK, object)))
            }
            Err(WriteError::Missing) => Err(ApiError::not_found(self.resource.group_resource(), &current.name)),
            Err(WriteError::Conflict | WriteError::Exists) => Ok(Err(())),
        }
    }

    /// Whether a deletion only waited for finalizers that are gone now.
    fn finalized(&self, new: &Value) -> bool {
        let metadata = &new["metadata"];
        let none_left = metadata["finalizers"].as_array().is_none_or(Vec::is_empty);
        let namespace_done = !self.resource.is("namespaces") || new["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        metadata["deletionTimestamp"].is_string()
            && none_left
            && namespace_done
            && metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or_default() == 0
    }

    /// Takes over from the old object what this part of a write may not touch.
    fn carry(&self, old: &Value, new: &mut Value, part: Part) {
        if part == Part::Status {
            // Kubelets label and annotate through the status of their nodes and pods; other kinds may not.
            let managers = take_managers(new);
            let mut metadata = if self.resource.is("pods") || self.resource.is("nodes") {
                let mut metadata = new["metadata"].take();
                metadata["ownerReferences"] = old["metadata"]["ownerReferences"].clone();
                metadata["finalizers"] = old["metadata"]["finalizers"].clone();
                metadata
            } else {
                old["metadata"].clone()
            };
            metadata["managedFields"] = managers;
            let status = new["status"].take();
            *new = old.clone();
            new["metadata"] = metadata;
            set_or_remove(new, "status", &status);
        } else if self.resource.status {
            set_or_remove(new, "status", &old["status"]);
        }
        for key in SERVER_METADATA {
            let value = old["metadata"][key].clone();
            set_or_remove(&mut new["metadata"], key, &value);
        }
        for key in ["ownerReferences", "finalizers", "labels", "annotations", "generateName", "managedFields"] {
            let value = match key {
                "generateName" => old["metadata"][key].clone(),
                _ => new["metadata"][key].clone(),
            };
            set_or_remove(&mut new["metadata"], key, &value);
        }
    }
}

fn set_or_remove(object: &mut Value, key: &str, value: &Value) {
    let empty = match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty() && key != "status",
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    if !empty {
        object[key] = value.clone();
    } else if let Some(map) = object.as_object_mut() {
        map.shift_remove(key);
    }
}

/// Everything that counts for the generation: all but metadata, status and the type.
fn spec_of(value: &Value) -> Vec<(&String, &Value)> {
    let mut fields: Vec<_> = value
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| !matches!(key.as_str(), "metadata" | "status" | "apiVersion" | "kind"))
        .collect();
    fields.sort_by_key(|(key, _)| key.as_str());
    fields
}
