//! Patch formats: JSON merge patch (RFC 7396), JSON patch (RFC 6902), strategic merge patch.

pub mod strategic;

use std::collections::BTreeMap;

use serde_json::Value;

use super::schema::{Definitions, Schema};
use super::status::ApiError;

/// A patch that has been read, to be applied as often as a concurrent write asks for.
#[derive(Debug)]
pub enum Patch {
    /// RFC 7396.
    Merge(Value),
    /// RFC 6902.
    Json(json_patch::Patch),
    /// Kubernetes' own, with merge keys.
    Strategic(Value),
}

/// Whether the content type is that of server-side apply, which is no patch of its own but a verb (`verbs::apply`).
pub fn is_apply(content_type: &str) -> bool {
    content_type.split(';').next().unwrap_or_default().trim() == "application/apply-patch+yaml"
}

/// The real server replaces what is not there by adding it.
fn or_add(operation: &json_patch::PatchOperation, target: &Value) -> json_patch::PatchOperation {
    match operation {
        json_patch::PatchOperation::Replace(replace) if target.pointer(replace.path.as_str()).is_none() => {
            json_patch::PatchOperation::Add(json_patch::AddOperation { path: replace.path.clone(), value: replace.value.clone() })
        }
        other => other.clone(),
    }
}

/// A value as Go prints it: `map[a:[1 2] b:<nil>]`, by key.
fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(go_text).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let fields: BTreeMap<&String, String> = map.iter().map(|(key, value)| (key, go_text(value))).collect();
            format!("map[{}]", fields.iter().map(|(key, value)| format!("{key}:{value}")).collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

impl Patch {
    /// Reads a patch by its content type. `typed` says whether the resource has merge keys at all.
    pub fn parse(content_type: &str, typed: bool, body: &[u8]) -> Result<Self, ApiError> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let value = || -> Result<Value, ApiError> { serde_json::from_slice(body).map_err(|_| ApiError::bad_request("invalid JSON patch")) };
        let object = || match value()? {
            value @ Value::Object(_) => Ok(value),
            Value::Array(_) => Err(ApiError::bad_request(
                "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
            )),
            _ => Err(ApiError::bad_request("error decoding patch: a merge patch must be a JSON object")),
        };
        match essence {
            "application/merge-patch+json" => Ok(Self::Merge(object()?)),
            "application/json-patch+json" => match value()? {
                Value::Object(_) => Err(ApiError::bad_request(
                    "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
                )),
                value => serde_json::from_value(value)
                    .map(Self::Json)
                    .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}"))),
            },
            "application/strategic-merge-patch+json" if typed => Ok(Self::Strategic(object()?)),
            "application/strategic-merge-patch+json" => Err(ApiError::unsupported_media_type(
                "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, \
                 application/merge-patch+json, application/apply-patch+yaml",
            )),
            _ => Err(ApiError::unsupported_patch()),
        }
    }

    /// A strategic merge patch as errors about what comes of it show it.
    pub fn as_go_prints_it(&self) -> Option<String> {
        match self {
            Self::Strategic(patch) => Some(go_text(patch)),
            Self::Merge(_) | Self::Json(_) => None,
        }
    }

    /// Applies the patch to the served form of an object; `schema` is what lists merge by.
    pub fn apply(&self, definitions: &Definitions, schema: Option<&Schema>, target: &mut Value) -> Result<(), ApiError> {
        match self {
            Self::Merge(patch) => {
                json_patch::merge(target, patch);
                Ok(())
            }
            Self::Json(patch) => {
                let before = target.clone();
                for operation in &patch.0 {
                    let done = json_patch::patch(target, &[or_add(operation, target)]);
                    if let Err(error) = done {
                        tracing::debug!(%error, "a JSON patch does not fit");
                        *target = before;
                        return Err(ApiError::unfit_patch());
                    }
                }
                Ok(())
            }
            Self::Strategic(patch) => strategic::merge(definitions, schema, target, patch).map_err(ApiError::bad_request),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(content_type: &str, patch: Value, expected: Result<Value, u16>) {
        let applied = Patch::parse(content_type, true, patch.to_string().as_bytes()).and_then(|patch| {
            let mut target = json!({ "a": 1, "b": { "c": 2 } });
            patch.apply(&Definitions::default(), None, &mut target).map(|()| target)
        });
        assert_eq!(applied.map_err(|e| e.code), expected);
    }

    #[test]
    fn formats() {
        let merge = "application/merge-patch+json";
        check(merge, json!({ "a": null, "b": { "d": 3 } }), Ok(json!({ "b": { "c": 2, "d": 3 } })));
        check(merge, json!([1]), Err(400));
        let json = "application/json-patch+json; charset=utf-8";
        check(json, json!([{ "op": "replace", "path": "/a", "value": 9 }]), Ok(json!({ "a": 9, "b": { "c": 2 } })));
        check(json, json!([{ "op": "test", "path": "/a", "value": 9 }]), Err(422));
        check(json, json!({ "op": "test" }), Err(400));
        check("application/apply-patch+yaml", json!({}), Err(415));
        check("text/plain", json!({}), Err(415));
    }

    #[test]
    fn errors_show_a_strategic_patch_as_go_does() {
        let patch = Patch::Strategic(json!({ "spec": { "b": null, "a": [1, "x"] } }));
        assert_eq!(patch.as_go_prints_it().as_deref(), Some("map[spec:map[a:[1 x] b:<nil>]]"));
    }
}
