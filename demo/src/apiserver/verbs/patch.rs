//! `patch`, of the object and of its status.

use super::update::Part;
use super::{Call, Reply};
use crate::apiserver::patch::Patch;
use crate::apiserver::resource::Shape;
use crate::apiserver::status::{ApiError, FieldError};

impl Call<'_> {
    /// Reads a patch for this resource.
    pub fn read_patch(&self, content_type: &str, body: &[u8]) -> Result<Patch, ApiError> {
        Patch::parse(content_type, matches!(self.resource.shape, Shape::Builtin(_)), body)
    }

    /// Applies a patch to the object (or its status), again when someone else wrote in between.
    pub fn patch(&self, name: &str, part: Part, patch: &Patch) -> Result<Reply, ApiError> {
        loop {
            let current = self.find(name)?;
            let before = self.resource.to_served(current.value());
            let mut value = before.clone();
            patch.apply(&self.api.schemas, Some(self.schema()), &mut value)?;
            for key in ["uid", "resourceVersion", "name", "namespace"] {
                let (old, new) = (&before["metadata"][key], &value["metadata"][key]);
                if new.is_null() || new == old {
                    continue;
                }
                let resource = self.resource.group_resource();
                return Err(match (key, new.as_str()) {
                    ("resourceVersion", _) => ApiError::modified(resource, name),
                    ("uid", Some(_)) => self.invalid(name, &[FieldError::invalid("metadata.uid", new, "field is immutable")]),
                    ("name", Some(new)) => {
                        ApiError::bad_request(format!("the name of the object ({new}) does not match the name on the URL ({name})"))
                    }
                    _ => ApiError::bad_request("the namespace of the provided object does not match the namespace sent on the request"),
                });
            }
            // The real server takes the whole patched object for the field that is wrong, or else the patch.
            let told = patch.as_go_prints_it().unwrap_or_else(|| value.to_string());
            self.normalize(&mut value, Vec::new())
                .map_err(|why| ApiError::invalid("", "", "", &[FieldError::invalid("patch", &told.into(), &why)]))?;
            if let Ok(reply) = self.replace(&current, value, part)? {
                return Ok(reply);
            }
        }
    }
}
