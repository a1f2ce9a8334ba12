//! Patch formats: JSON merge patch (RFC 7396), JSON patch (RFC 6902), strategic merge patch.

pub mod strategic;

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

impl Patch {
    /// Reads a patch by its content type. `typed` says whether the resource has merge keys at all.
    pub fn parse(content_type: &str, typed: bool, body: &[u8]) -> Result<Self, ApiError> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let value = || -> Result<Value, ApiError> {
            serde_json::from_slice(body).map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))
        };
        let object = || match value()? {
            value @ Value::Object(_) => Ok(value),
            _ => Err(ApiError::bad_request("error decoding patch: a merge patch must be a JSON object")),
        };
        match essence {
            "application/merge-patch+json" => Ok(Self::Merge(object()?)),
            "application/json-patch+json" => serde_json::from_value(value()?)
                .map(Self::Json)
                .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}"))),
            "application/strategic-merge-patch+json" if typed => Ok(Self::Strategic(object()?)),
            _ => Err(ApiError::unsupported_patch()),
        }
    }

    /// Applies the patch to the served form of an object; `schema` is what lists merge by.
    pub fn apply(&self, definitions: &Definitions, schema: Option<&Schema>, target: &mut Value) -> Result<(), ApiError> {
        match self {
            Self::Merge(patch) => {
                json_patch::merge(target, patch);
                Ok(())
            }
            Self::Json(patch) => json_patch::patch(target, patch).map_err(|error| {
                let mut status = ApiError::bad_request(format!("the server rejected our request: {error}"));
                (status.code, status.reason) = (422, "Invalid");
                status
            }),
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
}
