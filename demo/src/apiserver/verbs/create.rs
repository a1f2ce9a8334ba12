//! `create`.

use http::StatusCode;
use serde_json::Value;

use super::{Call, Reply, now};
use crate::apiserver::admit;
use crate::apiserver::crd;
use crate::apiserver::fields::Managers;
use crate::apiserver::status::{ApiError, FieldError};
use crate::apiserver::store::{Expect, Object, WriteError};

/// Letters and digits that cannot spell words or be taken for each other.
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Five random characters, as `generateName` appends them.
pub fn random_suffix() -> String {
    let random = uuid::Uuid::new_v4().as_u128();
    let letters = SUFFIX_ALPHABET.len() as u128;
    (0..5).map(|i| char::from(SUFFIX_ALPHABET[(random.rotate_right(i * 20) % letters) as usize])).collect()
}

impl Call<'_> {
    /// Creates the object in `body`.
    pub fn create(&self, body: &[u8]) -> Result<Reply, ApiError> {
        let value = self.decode(body)?;
        self.create_value(value)
    }

    /// Creates an object from its served form.
    pub fn create_value(&self, mut value: Value) -> Result<Reply, ApiError> {
        let name = self.prepare_metadata(&mut value)?;
        admit::type_defaults(self, &mut value);
        let managers = self.first_managers(&value);
        self.store_new(&name, value, managers)
    }

    /// Creates an object that was applied, with its managers.
    pub fn create_owned(&self, mut value: Value, managers: Managers) -> Result<Reply, ApiError> {
        let name = self.prepare_metadata(&mut value)?;
        self.store_new(&name, value, managers)
    }

    fn store_new(&self, name: &str, value: Value, mut managers: Managers) -> Result<Reply, ApiError> {
        managers.0.retain(|manager| !manager.fields.is_empty());
        let mut value = self.resource.to_stored(value);
        if !managers.0.is_empty() {
            value["metadata"]["managedFields"] = managers.into_value();
        }
        admit::create(self, name, &mut value)?;
        let errors = admit::validate(self, &value, None);
        if !errors.is_empty() {
            return Err(self.invalid(name, &errors));
        }
        if self.dry_run() {
            return Ok(Reply::Served(StatusCode::CREATED, self.resource.to_served(value)));
        }
        let object = self.store(name, Expect::Absent, value).map_err(|error| match error {
            WriteError::Exists | WriteError::Missing | WriteError::Conflict => {
                ApiError::already_exists(self.resource.group_resource(), name)
            }
        })?;
        self.created(&object);
        Ok(Reply::Object(StatusCode::CREATED, object))
    }

    fn created(&self, object: &Object) {
        if self.resource.is("namespaces") {
            admit::namespace::furnish(self.api, &object.name);
        } else if self.resource.is("customresourcedefinitions.apiextensions.k8s.io") {
            let mut definition = object.value();
            crd::establish(&mut definition);
            // Whoever wrote in between has established it.
            let _written = self.store(&object.name, Expect::Version(object.rv), definition);
            self.api.serve_custom(&object.value());
        }
    }

    fn prepare_metadata(&self, value: &mut Value) -> Result<String, ApiError> {
        let metadata = value["metadata"].as_object_mut().expect("decoding puts metadata in place");
        let text = |map: &serde_json::Map<String, Value>, key: &str| map.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let namespace = text(metadata, "namespace");
        if !namespace.is_empty() && namespace != self.namespace {
            return Err(ApiError::bad_request("the namespace of the provided object does not match the namespace sent on the request"));
        }
        if !matches!(text(metadata, "resourceVersion").as_str(), "" | "0") {
            return Err(ApiError::unexplained("resourceVersion should not be set on objects to be created".to_owned()));
        }
        let (mut name, generate) = (text(metadata, "name"), text(metadata, "generateName"));
        if name.is_empty() {
            if generate.is_empty() {
                let error = FieldError::required("metadata.name", "name or generateName is required");
                return Err(self.invalid("", &[error]));
            }
            name = format!("{generate}{}", random_suffix());
        }
        for key in [
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "selfLink",
            "generation",
            "resourceVersion",
            "managedFields",
        ] {
            metadata.shift_remove(key);
        }
        metadata.insert("name".into(), name.as_str().into());
        if self.resource.namespaced {
            metadata.insert("namespace".into(), self.namespace.into());
        } else {
            metadata.shift_remove("namespace");
        }
        metadata.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
        metadata.insert("creationTimestamp".into(), now().into());
        if self.resource.generation {
            metadata.insert("generation".into(), 1.into());
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_differ_and_use_the_alphabet() {
        let (a, b) = (random_suffix(), random_suffix());
        assert_ne!(a, b);
        assert!(a.len() == 5 && a.bytes().all(|c| SUFFIX_ALPHABET.contains(&c)));
    }
}
